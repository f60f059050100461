"""Addresses of other programs that are told what happens, and what became of telling them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from cart.api.paging import MOST_ENTRIES, USUAL_ENTRIES
from cart.api.problems import ProblemError
from cart.api.routing import Caller, ShopRoute, TheShop
from cart.api.schemas import Body, Shown, problems
from cart.api.shop import Shop
from cart.errors import AddressRefused, EndpointNotFound
from cart.outbox import MessageStatus
from cart.webhooks import EVENT_TYPES, Delivery, Endpoint, NewSecret, Webhooks

router = APIRouter(route_class=ShopRoute, tags=["running the store"])

_EVENT = "|".join(sorted(event.replace(".", r"\.") for event in EVENT_TYPES))
EventType = Annotated[str, Field(pattern=f"^({_EVENT})$")]


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


class DeliveryShown(Shown):
    """An event on its way to an address, or what became of it."""

    type: str
    happened_at: datetime
    status: MessageStatus = Field(description="`failed` where it was given up.")
    attempts: int = Field(description="Tries that failed.")
    next_at: datetime | None = Field(description="When it is tried next; null once it is over.")
    ended_at: datetime | None
    problem: str = Field(description="Why the last try failed; empty if none did.")


class Deliveries(Shown):
    """The last deliveries, newest first."""

    items: list[DeliveryShown]


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
    return _with_secret(made)


@router.delete("/v1/webhooks/{endpoint_id}", status_code=204, responses=problems(EndpointNotFound))
def remove_endpoint(endpoint_id: UUID, shop: TheShop, caller: Caller) -> None:
    """Tell an address nothing any more."""
    _webhooks(shop).remove(endpoint_id, caller.account_id)


@router.get("/v1/webhooks/{endpoint_id}/deliveries", responses=problems(EndpointNotFound))
def list_deliveries(
    endpoint_id: UUID, shop: TheShop, limit: Annotated[int, Query(ge=1, le=MOST_ENTRIES)] = USUAL_ENTRIES
) -> Deliveries:
    """List what an address was told last, what is on its way to it, and what failed."""
    return Deliveries(items=[_delivery(delivery) for delivery in _webhooks(shop).deliveries(endpoint_id, limit)])


@router.post("/v1/webhooks/{endpoint_id}/test", status_code=204, responses=problems(EndpointNotFound))
def send_test(endpoint_id: UUID, shop: TheShop) -> None:
    """Send an address a `webhook.test`; see its deliveries for what comes of it."""
    _webhooks(shop).send_test(endpoint_id)


@router.post("/v1/webhooks/{endpoint_id}/secret", responses=problems(EndpointNotFound))
def rotate_secret(endpoint_id: UUID, shop: TheShop, caller: Caller) -> NewEndpoint:
    """Give an address a new secret, which is shown this once; the old one signs nothing any more."""
    return _with_secret(_webhooks(shop).rotate_secret(endpoint_id, caller.account_id))


@router.post("/v1/webhooks/{endpoint_id}/pause", responses=problems(EndpointNotFound))
def pause_endpoint(endpoint_id: UUID, shop: TheShop, caller: Caller) -> EndpointShown:
    """Tell an address nothing until it is resumed; what happens meanwhile it is never told."""
    return _endpoint(_webhooks(shop).disable(endpoint_id, caller.account_id))


@router.delete("/v1/webhooks/{endpoint_id}/pause", responses=problems(EndpointNotFound, AddressRefused))
def resume_endpoint(endpoint_id: UUID, shop: TheShop, caller: Caller) -> EndpointShown:
    """Tell an address what happens again, also one that was paused because it failed for too long."""
    return _endpoint(_webhooks(shop).enable(endpoint_id, caller.account_id))


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


def _with_secret(made: NewSecret) -> NewEndpoint:
    return NewEndpoint(**_endpoint(made.endpoint).model_dump(), secret=made.secret)


def _delivery(delivery: Delivery) -> DeliveryShown:
    return DeliveryShown(
        type=delivery.event_type,
        happened_at=delivery.created_at,
        status=delivery.status,
        attempts=delivery.attempts,
        next_at=delivery.due_at if delivery.status is MessageStatus.WAITING else None,
        ended_at=delivery.ended_at,
        problem=delivery.last_error,
    )
