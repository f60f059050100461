"""Visits and their carts: one's own, or, for those who work on the floor, everybody's."""

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

import anyio
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import Field
from sqlalchemy import ColumnElement, and_, or_, select
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from cart import audit
from cart.accounts import Principal
from cart.api.conditions import NOT_MODIFIED, tagged
from cart.api.live import LiveCart, LiveCarts, TooManyListenersError, read_live_cart
from cart.api.paging import USUAL_ENTRIES, After, Limit, Listing, Page, moment_and_id
from cart.api.problems import ProblemError
from cart.api.routing import Caller, SeesAll, ShopRoute, TheShop
from cart.api.schemas import Shown, problems
from cart.api.shop import Shop
from cart.doors import STAFF_PREFIX
from cart.errors import SessionNotFound
from cart.offers import PricedCart
from cart.repository import Repository
from cart.reviews import account_of
from cart.sessions import Session, SessionStatus
from cart.tables import AdmissionRow, SessionRow

router = APIRouter(route_class=ShopRoute, tags=["visits"])

_EVENT_SCHEMA = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["cart", "end", "problem"]},
        "id": {"type": "string"},
        "retry": {"type": "integer"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/CartShown"},
        },
    },
}
"""An event of a live cart, as OpenAPI describes what a stream consists of."""

HEARTBEAT_S = 15
"""So often a stream says that it lives, seconds: proxies cut connections that are silent for long."""
SEND_TIMEOUT_S = 10.0
"""A listener that takes nothing for so long is cut off, seconds."""
SHUTDOWN_S = 2.0
"""A stream that has not ended by itself so long after the server was told to stop is cut off, seconds."""
_LONGEST_EVENT_ID = 64

IdBeginning = Annotated[
    str,
    Query(
        min_length=1,
        max_length=100,
        pattern="^[A-Za-z0-9_.:-]+$",
        description="How the visit's id begins, or its shopper's: for who knows only a part of it.",
    ),
]


class SessionShown(Shown):
    """A visit."""

    session_id: UUID
    shopper_id: str = Field(description="The account's id; a name the store gave for somebody without one.")
    status: SessionStatus
    party_size: int
    guests_allowed: int = Field(description="How many more people may come in on it.")
    gate_id: str | None = Field(description="Where it began; null if not at a gate.")
    opened_at: datetime
    closed_at: datetime | None


class CartLineShown(Shown):
    """Units of one product in a cart."""

    sku: str
    name: str
    quantity: int = Field(description="Below 0 where more came back than was seen leaving; a person will look.")
    unit_price_minor: int | None = Field(description="As prices stand now; null if not known.")
    amount_minor: int | None
    probability: float = Field(description="How sure the store is, 0 to 1.")


class DiscountShown(Shown):
    """What an offer or a coupon takes off."""

    name: str
    amount_minor: int


class CartShown(Shown):
    """A visit's cart, priced as of now; what is charged is decided at the exit."""

    session_id: UUID
    status: SessionStatus
    party_size: int
    version: str = Field(description="Names this state of the cart.")
    currency: str
    lines: list[CartLineShown]
    discounts: list[DiscountShown]
    total_minor: int | None = Field(description="Null if a price is not known.")


def own_session(shop: Shop, caller: Principal, session_id: UUID, *, sees_all: bool, look: str | None = None) -> Session:
    """Read a visit that somebody may see.

    Args:
        shop: The store.
        caller: Who.
        session_id: The visit.
        sees_all: Whether they see everybody's.
        look: What they look at, written into the audit log if it is somebody else's; None where it is not worth that.

    Raises:
        SessionNotFound: There is no such visit, or it is none of theirs.
    """
    session = shop.checkout.session(session_id)
    if session.shopper_id in names_of(caller):
        return session
    if not sees_all:
        raise SessionNotFound(f"there is no visit {session_id}")
    owner = account_of(session)
    if look is not None and owner is not None:
        with shop.database.transaction() as repository:
            audit.looked(repository, caller.account_id, owner, f"{look}:{session_id}", shop.now())
    return session


def session_shown(shop: Shop, session: Session) -> SessionShown:
    """Tell of a visit."""
    with shop.database.reading() as repository:
        return _shown(repository, session)


@router.get("/v1/sessions")
def list_sessions(
    request: Request,
    shop: TheShop,
    caller: Caller,
    sees_all: SeesAll,
    cursor: After = None,
    limit: Limit = USUAL_ENTRIES,
    status: SessionStatus | None = None,
    mine: bool = False,
    begins_with: IdBeginning | None = None,
) -> Page[SessionShown]:
    """List visits, newest first."""
    after = moment_and_id("sessions", cursor)
    query = select(SessionRow.session_id).order_by(SessionRow.opened_at.desc(), SessionRow.session_id.desc())
    if mine or not sees_all:
        query = query.where(SessionRow.shopper_id.in_(names_of(caller)))
    if status is not None:
        query = query.where(SessionRow.status == status.value)
    if begins_with is not None:
        query = query.where(_begins_with(begins_with))
    if after is not None:
        at, session_id = after
        query = query.where(
            or_(SessionRow.opened_at < at, and_(SessionRow.opened_at == at, SessionRow.session_id < session_id))
        )
    with shop.database.reading() as repository:
        ids = repository.sql.scalars(query.limit(limit + 1)).all()
        found = [_shown(repository, repository.session(session_id)) for session_id in ids]
    return Listing("sessions", request, limit).page(
        found, lambda each: (each.opened_at.isoformat(), str(each.session_id)), lambda each: each
    )


@router.get(
    "/v1/sessions/{session_id}",
    response_model=SessionShown,
    responses={**problems(SessionNotFound), 304: NOT_MODIFIED},
)
def read_session(session_id: UUID, request: Request, shop: TheShop, caller: Caller, sees_all: SeesAll) -> Response:
    """Read a visit."""
    session = own_session(shop, caller, session_id, sees_all=sees_all, look="session")
    return tagged(request, session_shown(shop, session))


@router.get(
    "/v1/sessions/{session_id}/cart",
    response_model=CartShown,
    responses={**problems(SessionNotFound), 304: NOT_MODIFIED},
)
def read_cart(session_id: UUID, request: Request, shop: TheShop, caller: Caller, sees_all: SeesAll) -> Response:
    """Read a visit's cart as it stands."""
    session = own_session(shop, caller, session_id, sees_all=sees_all, look="cart")
    return tagged(request, cart_shown(shop, session, read_live_cart(shop.database, session_id)))


@router.get(
    "/v1/sessions/{session_id}/cart/events",
    response_class=EventSourceResponse,
    response_model=None,
    responses={
        200: {
            "description": "An event `cart` with the whole cart as JSON at once and whenever it changes; its id is the"
            " cart's version. The last one is an event `end` with the cart of a visit that is over.",
            "content": {"text/event-stream": {"schema": _EVENT_SCHEMA}},
        },
        **problems(SessionNotFound, s429="Too many listen already"),
    },
)
async def follow_cart(
    session_id: UUID,
    request: Request,
    shop: TheShop,
    caller: Caller,
    sees_all: SeesAll,
    last_event_id: Annotated[str | None, Header(max_length=_LONGEST_EVENT_ID)] = None,
) -> EventSourceResponse:
    """Follow a visit's cart while it is filled (server-sent events).

    Whoever comes back after a break says with `Last-Event-ID` what they have, and is told of the cart only if it is
    another one now.
    """
    session = await run_in_threadpool(own_session, shop, caller, session_id, sees_all=sees_all, look="cart")
    live: LiveCarts = request.app.state.live
    if live.is_full(session_id):
        raise ProblemError(429, "too many listen to this visit already", "listeners", {"Retry-After": "5"})
    going_down = anyio.Event()
    return EventSourceResponse(
        _events(shop, session, live, last_event_id, going_down),
        ping=HEARTBEAT_S,
        send_timeout=SEND_TIMEOUT_S,
        headers={"Cache-Control": "no-store"},
        shutdown_event=going_down,
        shutdown_grace_period=SHUTDOWN_S,
    )


async def _events(
    shop: Shop, session: Session, live: LiveCarts, last_event_id: str | None, going_down: anyio.Event
) -> AsyncIterator[ServerSentEvent]:
    try:
        async for state in live.listen(session.session_id, last_event_id, going_down):
            cart = await run_in_threadpool(cart_shown, shop, session, state)
            yield ServerSentEvent(
                cart.model_dump_json(), event="end" if state.is_over else "cart", id=state.version, retry=2000
            )
    except TooManyListenersError:
        # They all came in the same moment; whoever is one too many asks again.
        yield ServerSentEvent(json.dumps({"title": "too many listen already"}), event="problem", retry=5000)


def _begins_with(text: str) -> ColumnElement[bool]:
    names = (text, f"{STAFF_PREFIX}{text}")
    found = [SessionRow.shopper_id.startswith(name, autoescape=True) for name in names]
    digits = text.replace("-", "")
    if re.fullmatch("[0-9a-fA-F]{1,32}", digits):
        # Each database keeps ids in its own way, but all keep them in this order.
        first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
        return or_(SessionRow.session_id.between(first, last), *found)
    return or_(*found)


def cart_shown(shop: Shop, session: Session, state: LiveCart) -> CartShown:
    """Tell of a cart, priced as of now."""
    priced = _priced(shop, session, state)
    names = {} if priced is None else {line.sku: line for line in priced.lines}
    lines = []
    for line in state.cart.lines:
        known = names.get(line.sku)
        lines.append(
            CartLineShown(
                sku=line.sku,
                name=line.sku if known is None else known.name,
                quantity=line.quantity,
                unit_price_minor=None if known is None else known.unit_price_minor,
                amount_minor=None if known is None else known.amount_minor,
                probability=line.probability,
            )
        )
    return CartShown(
        session_id=state.session_id,
        status=state.status,
        party_size=state.party_size,
        version=state.version,
        currency=shop.checkout.currency,
        lines=lines,
        discounts=[]
        if priced is None
        else [DiscountShown(name=each.name, amount_minor=each.amount_minor) for each in priced.discounts],
        total_minor=None if priced is None else priced.total_minor,
    )


def _priced(shop: Shop, session: Session, state: LiveCart) -> PricedCart | None:
    if shop.pricing is None:
        return None
    with shop.database.reading() as repository:
        return shop.pricing.price(repository, state.cart, shop.now(), session.shopper_id, session.session_id)


def names_of(caller: Principal) -> tuple[str, str]:
    """What the caller's visits have as shopper: who works here comes in under another name, and pays nothing."""
    return str(caller.account_id), f"{STAFF_PREFIX}{caller.account_id}"


def _shown(repository: Repository, session: Session) -> SessionShown:
    admission = repository.sql.get(AdmissionRow, session.session_id)
    return SessionShown(
        session_id=session.session_id,
        shopper_id=session.shopper_id,
        status=session.status,
        party_size=session.party_size,
        guests_allowed=0 if admission is None else admission.guests_allowed,
        gate_id=None if admission is None else admission.gate_id,
        opened_at=session.opened_at,
        closed_at=session.closed_at,
    )
