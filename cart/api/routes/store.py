"""Running the store: what everybody may know of it, the payment provider's messages, the audit log."""

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
from cart.api.routing import ShopRoute, TheShop, read_body
from cart.api.schemas import Moment, Shown, problems
from cart.gateways.incoming import ForgedWebhookError, Reception, receive

router = APIRouter(route_class=ShopRoute, tags=["running the store"])

_MOST_WEBHOOK_BYTES = 1_000_000


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
    action: Annotated[
        str | None,
        Query(max_length=100, pattern=r"^[\x20-\x7e]+$", description="Such as `account.blocked`; `account` for all."),
    ] = None,
    since: Annotated[Moment | None, Query(alias="from")] = None,
    until: Annotated[Moment | None, Query(alias="to")] = None,
) -> Page[AuditEntryShown]:
    """Read who did what, and who looked at whose records, newest first."""
    with shop.database.reading() as repository:
        found = audit.page(
            repository,
            subject=subject,
            actor_id=actor_id,
            action=action,
            since=since,
            until=until,
            older_than=position("audit", cursor),
            limit=limit + 1,
        )
    return Listing("audit", request, limit).page(found.entries, lambda entry: (entry.position,), _entry)


def _entry(entry: audit.AuditEntry) -> AuditEntryShown:
    return AuditEntryShown(
        position=entry.position,
        at=entry.at,
        actor_id=entry.actor_id,
        action=entry.action,
        subject=entry.subject,
        detail=dict(entry.detail),
    )
