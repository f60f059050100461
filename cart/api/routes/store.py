"""Running the store: webhooks either way, the audit log."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import Field
from sqlalchemy.exc import IntegrityError
from starlette.concurrency import run_in_threadpool

from cart import audit
from cart.accounts import LOCALES
from cart.api.paging import USUAL_ENTRIES, After, Limit, Listing, Page, position
from cart.api.problems import ProblemError
from cart.api.routing import Caller, ShopRoute, TheShop, read_body
from cart.api.schemas import Body, Shown, problems
from cart.api.shop import Shop
from cart.errors import AddressRefused, EndpointNotFound
from cart.gateways.incoming import ForgedWebhookError, Reception, receive
from cart.webhooks import EVENT_TYPES, Endpoint, Webhooks

router = APIRouter(route_class=ShopRoute, tags=["running the store"])

_MOST_WEBHOOK_BYTES = 1_000_000
_EVENT = "|".join(sorted(event.replace(".", r"\.") for event in EVENT_TYPES))
EventType = Annotated[str, Field(pattern=f"^({_EVENT})$")]


class StoreShown(Shown):
    """What every visitor may know of the store."""

    store_id: str
    name: str
    currency: str = Field(description="ISO 4217 code.")
    time_zone: str
    is_demo: bool
    has_passkeys: bool
    languages: list[str]
    now: datetime = Field(description="The store's clock, which entry codes are checked against.")


class EndpointBody(Body):
    """An address that is to be told what happens."""

    url: Annotated[
        str,
        Field(
            min_length=8,
            max_length=2000,
            pattern=r"^https?://[\x21-\x7e]+$",
            description="`https://`, leading to a public address.",
            examples=["https://example.com/tillfree"],
        ),
    ]
    events: Annotated[list[EventType], Field(max_length=50)] = Field(
        default=[], description="What it is told of; everything if empty."
    )


class EndpointShown(Shown):
    """An address that is told what happens."""

    endpoint_id: UUID
    url: str
    events: list[str]
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None


class NewEndpoint(EndpointShown):
    """An endpoint with its secret, which is shown this once."""

    secret: str = Field(description="`whsec_...` of Standard Webhooks, to verify messages with.")


class Endpoints(Shown):
    """All endpoints, oldest first."""

    items: list[EndpointShown]


class Received(Shown):
    """What came of a message."""

    reception: Reception


class AuditEntryShown(Shown):
    """Something that was done."""

    position: int
    at: datetime
    actor_id: UUID | None = Field(description="Null for the store itself, or somebody without an account.")
    action: str
    subject: str
    detail: dict[str, Any]


@router.get("/v1/webhooks", responses=problems(404))
def list_endpoints(shop: TheShop) -> Endpoints:
    """List the addresses that are told what happens."""
    return Endpoints(items=[_endpoint(endpoint) for endpoint in _webhooks(shop).endpoints()])


@router.post(
    "/v1/webhooks",
    status_code=201,
    responses=problems(AddressRefused, s404="This store tells nobody", s409="There are too many"),
)
def create_endpoint(body: EndpointBody, shop: TheShop, caller: Caller) -> NewEndpoint:
    """Have an address told what happens; its secret is shown this once."""
    try:
        made = _webhooks(shop).create(body.url, body.events, caller.account_id)
    except ValueError as error:
        raise ProblemError(409, str(error), "webhooks") from error
    return NewEndpoint(**_endpoint(made.endpoint).model_dump(), secret=made.secret)


@router.delete("/v1/webhooks/{endpoint_id}", status_code=204, responses=problems(EndpointNotFound))
def remove_endpoint(endpoint_id: UUID, shop: TheShop, caller: Caller) -> None:
    """Tell an address nothing any more."""
    _webhooks(shop).remove(endpoint_id, caller.account_id)


@router.post(
    "/v1/payments/webhook",
    responses=problems(
        s400="Forged, stale, from the future, or no event", s404="This store's payments send no messages"
    ),
    max_body_size=_MOST_WEBHOOK_BYTES,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def take_payment_webhook(request: Request, shop: TheShop) -> Received:
    """Take a message of the payment provider: it counts once, and only makes the store ask the provider sooner."""
    if shop.payment_webhook is None:
        raise ProblemError(404, "this store's payments send no messages")
    body = await read_body(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        event = shop.payment_webhook(body, headers)
    except ForgedWebhookError as error:
        raise ProblemError(400, str(error), "webhook-refused") from error
    try:
        return Received(reception=await run_in_threadpool(receive, shop.database, event, shop.now()))
    except IntegrityError:
        # It came twice in the same moment.
        return Received(reception=Reception.SEEN_BEFORE)


@router.get("/v1/store")
def read_store(shop: TheShop) -> StoreShown:
    """Tell what every visitor may know of the store: its name, its currency, the languages of its pages."""
    return StoreShown(
        store_id=shop.settings.store_id,
        name=shop.store_name,
        currency=shop.checkout.currency,
        time_zone=shop.settings.time_zone,
        is_demo=shop.demo is not None,
        has_passkeys=shop.passkeys is not None,
        languages=list(LOCALES),
        now=shop.now(),
    )


@router.get("/v1/audit")
def read_audit(
    request: Request,
    shop: TheShop,
    cursor: After = None,
    limit: Limit = USUAL_ENTRIES,
    subject: Annotated[str | None, Query(max_length=200, pattern=r"^[\x20-\x7e]+$")] = None,
    actor_id: UUID | None = None,
    action: Annotated[str | None, Query(max_length=100, pattern=r"^[\x20-\x7e]+$")] = None,
) -> Page[AuditEntryShown]:
    """Read who did what, and who looked at whose records, newest first."""
    with shop.database.reading() as repository:
        found = audit.page(
            repository,
            subject=subject,
            actor_id=actor_id,
            action=action,
            older_than=position("audit", cursor),
            limit=limit + 1,
        )
    return Listing("audit", request, limit).page(found.entries, lambda entry: (entry.position,), _entry)


def _webhooks(shop: Shop) -> Webhooks:
    if shop.webhooks is None:
        raise ProblemError(404, "this store tells nobody what happens")
    return shop.webhooks


def _endpoint(endpoint: Endpoint) -> EndpointShown:
    return EndpointShown(
        endpoint_id=endpoint.endpoint_id,
        url=endpoint.url,
        events=list(endpoint.events),
        created_at=endpoint.created_at,
        failing_since=endpoint.failing_since,
        disabled_at=endpoint.disabled_at,
    )


def _entry(entry: audit.AuditEntry) -> AuditEntryShown:
    return AuditEntryShown(
        position=entry.position,
        at=entry.at,
        actor_id=entry.actor_id,
        action=entry.action,
        subject=entry.subject,
        detail=dict(entry.detail),
    )
