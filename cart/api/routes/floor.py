"""The floor while it works: its plan, who is where, and for shoppers where they are themselves."""

import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import anyio
from fastapi import APIRouter, Request
from pydantic import Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from cart.api.floor_feed import CartBrief, FloorFeed, FloorNews
from cart.api.problems import ProblemError
from cart.api.routes.visits import HEARTBEAT_S, SEND_TIMEOUT_S, SHUTDOWN_S, own_session
from cart.api.routing import Caller, SeesAll, ShopRoute, TheShop
from cart.api.schemas import Shown, problems
from cart.api.shop import Shop
from cart.errors import SessionNotFound
from cart.floor_state import FloorState, Happened, LiveFloor, PersonSeen, Plan
from cart.sessions import Session, SessionStatus

router = APIRouter(route_class=ShopRoute, tags=["live floor"])

PointM = tuple[float, float]

LONGEST_STREAM_S = 1800.0
"""A stream ends after so long; who goes on listening shows their token again."""
PLACE_S = 0.5
ENDED_S = 10.0
MOST_PLACES, MOST_PLACES_A_VISIT = 500, 4


class WallShown(Shown):
    """Glass, a mirror, an inner wall or a door, from above."""

    kind: str
    outline_m: list[PointM] = Field(description="Its two ends.")


class BinPlanShown(Shown):
    """A place on a shelf, from above."""

    bin_id: str
    sku: str | None
    name: str | None
    gondola_id: int | None
    shelf_id: int | None
    outline_m: list[PointM] = Field(description="Four corners in order; none for a place drawn in a picture.")
    height_m: tuple[float, float] | None = Field(description="Its lower and upper end.")
    plate_ids: list[str]


class CameraPlanShown(Shown):
    """Where a camera hangs."""

    camera_id: str
    position_m: tuple[float, float, float]
    looks_m: PointM = Field(description="The way it looks, from above.")


class FloorShown(Shown):
    """The store from above, metres, x to the right and y upwards."""

    name: str
    walkable_m: list[PointM] | None
    entrance_m: list[PointM] | None
    exit_m: list[PointM] | None
    walls: list[WallShown]
    bins: list[BinPlanShown]
    cameras: list[CameraPlanShown]
    version: str = Field(description="Changes when the layout does.")


class PersonShown(Shown):
    """Somebody on the floor."""

    identity_id: int
    session_id: UUID | None = Field(description="Null without a visit, or for a caller who may not see visits.")
    label: str
    position_m: PointM | None
    hands_m: list[tuple[float, float, float]]
    units: int
    flagged: bool = Field(description="Whether a person is to look at this visit.")


class HappenedShown(Shown):
    """Something was taken or put back."""

    id: UUID
    at: datetime
    kind: Literal["pick", "put_back"]
    bin_id: str
    sku: str | None
    name: str = Field(description="Empty if the product is not known.")
    quantity: int
    probability: float
    session_id: UUID | None


class FloorEventShown(Shown):
    """The floor at one instant."""

    at: datetime
    latency_s: float = Field(description="How long after that instant it was known.")
    people: list[PersonShown]
    happened: list[HappenedShown] = Field(description="Since the last event; the last twenty in the first one.")


class PlaceShown(Shown):
    """Where somebody is."""

    at: datetime
    position_m: PointM | None = Field(description="Null while the store does not see them.")


def _stream_schema(model: type[Shown], *events: str) -> dict[str, object]:
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"enum": list(events)},
            "retry": {"type": "integer"},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": model.model_json_schema(),
            },
        },
    }


def live_of(shop: Shop) -> LiveFloor:
    """The floor that may be looked at.

    Raises:
        ProblemError: 404, this store has none.
    """
    if shop.live is None:
        raise ProblemError(404, "this store's floor cannot be looked at")
    return shop.live


@router.get("/v1/floor", responses=problems(404))
def read_floor(shop: TheShop) -> FloorShown:
    """Read the plan of the store: shelves and what stands on them, doors, walls, cameras."""
    return _floor(live_of(shop).plan())


@router.get(
    "/v1/floor/events",
    response_class=EventSourceResponse,
    response_model=None,
    responses={
        200: {
            "description": "An event `floor` at most five times a second.",
            "content": {"text/event-stream": {"schema": _stream_schema(FloorEventShown, "floor")}},
        },
        **problems(404, s429="Too many listen already"),
    },
)
async def follow_floor(request: Request, shop: TheShop, caller: Caller) -> EventSourceResponse:
    """Follow who is where and what is taken (server-sent events).

    Whoever may not see visits is told of people by a number alone.
    """
    live = live_of(shop)
    feed: FloorFeed | None = getattr(request.app.state, "floor_feed", None)
    if feed is None:
        feed = request.app.state.floor_feed = FloorFeed(live, shop.database)
    if feed.is_full:
        raise ProblemError(429, "too many look at the floor already", "listeners", {"Retry-After": "5"})
    going_down = anyio.Event()
    return _event_source(_floor_events(feed, going_down, sees_visits=caller.may("visits")), going_down)


@router.get(
    "/v1/sessions/{session_id}/place/events",
    response_class=EventSourceResponse,
    response_model=None,
    responses={
        200: {
            "description": "An event `place` when it changes, at most twice a second; `end` when the visit is over.",
            "content": {"text/event-stream": {"schema": _stream_schema(PlaceShown, "place", "end")}},
        },
        **problems(SessionNotFound, s404="There is no such visit, or this store's floor cannot be looked at"),
        **problems(s429="Too many listen already"),
    },
)
async def follow_place(
    session_id: UUID, request: Request, shop: TheShop, caller: Caller, sees_all: SeesAll
) -> EventSourceResponse:
    """Follow where a shopper is while they shop (server-sent events): their own place, and nobody else's."""
    live = live_of(shop)
    session = await run_in_threadpool(own_session, shop, caller, session_id, sees_all=sees_all, look="place")
    places: dict[UUID, int] | None = getattr(request.app.state, "places", None)
    if places is None:
        places = request.app.state.places = {}
    if places.get(session_id, 0) >= MOST_PLACES_A_VISIT or sum(places.values()) >= MOST_PLACES:
        raise ProblemError(429, "too many listen to this visit already", "listeners", {"Retry-After": "5"})
    going_down = anyio.Event()
    return _event_source(_place_events(shop, live, session, places, going_down), going_down)


def _event_source(events: AsyncIterator[ServerSentEvent], going_down: anyio.Event) -> EventSourceResponse:
    return EventSourceResponse(
        events,
        ping=HEARTBEAT_S,
        send_timeout=SEND_TIMEOUT_S,
        headers={"Cache-Control": "no-store"},
        shutdown_event=going_down,
        shutdown_grace_period=SHUTDOWN_S,
    )


async def _floor_events(
    feed: FloorFeed, going_down: anyio.Event, *, sees_visits: bool
) -> AsyncIterator[ServerSentEvent]:
    until_s = time.monotonic() + LONGEST_STREAM_S
    async for news in feed.listen(lambda: going_down.is_set() or time.monotonic() > until_s):
        shown = _floor_event(news, sees_visits=sees_visits)
        yield ServerSentEvent(shown.model_dump_json(), event="floor", retry=2000)


async def _place_events(
    shop: Shop, live: LiveFloor, session: Session, places: dict[UUID, int], going_down: anyio.Event
) -> AsyncIterator[ServerSentEvent]:
    session_id = session.session_id
    places[session_id] = places.get(session_id, 0) + 1
    told: PlaceShown | None = None
    began_s = asked_s = time.monotonic()
    over = session.status is not SessionStatus.OPEN
    try:
        while not (going_down.is_set() or live.is_closed or time.monotonic() - began_s > LONGEST_STREAM_S):
            now_s = time.monotonic()
            if not over and now_s - asked_s > ENDED_S:
                asked_s = now_s
                current = await run_in_threadpool(shop.checkout.session, session_id)
                over = current.status is not SessionStatus.OPEN
            over = over or live.has_ended(session_id)
            place = _place(live.state(), session_id, shop.now())
            if over:
                ended = PlaceShown(at=place.at, position_m=None)
                yield ServerSentEvent(ended.model_dump_json(), event="end", retry=2000)
                return
            if told is None or place.position_m != told.position_m:
                told = place
                yield ServerSentEvent(place.model_dump_json(), event="place", retry=2000)
            with anyio.move_on_after(PLACE_S):
                await going_down.wait()
    finally:
        left = places.get(session_id, 1) - 1
        if left > 0:
            places[session_id] = left
        else:
            places.pop(session_id, None)


def _place(state: FloorState | None, session_id: UUID, now: datetime) -> PlaceShown:
    if state is None:
        return PlaceShown(at=now, position_m=None)
    # Of a party the one who came in first: the phone is theirs.
    found = next((each for each in state.people if each.session_id == session_id and each.position_m), None)
    return PlaceShown(at=state.at, position_m=None if found is None else _rounded(found.position_m))


def _rounded(point: PointM | None) -> PointM | None:
    return None if point is None else (round(point[0], 2), round(point[1], 2))


def _floor_event(news: FloorNews, *, sees_visits: bool) -> FloorEventShown:
    state = news.state
    return FloorEventShown(
        at=state.at,
        latency_s=round(state.latency_s, 3),
        people=[_person(each, news.carts, sees_visits=sees_visits) for each in state.people],
        happened=[_happened(each, sees_visits=sees_visits) for each in news.happened],
    )


def _person(person: PersonSeen, carts: dict[UUID, CartBrief], *, sees_visits: bool) -> PersonShown:
    cart = CartBrief() if person.session_id is None else carts.get(person.session_id, CartBrief())
    return PersonShown(
        identity_id=person.identity_id,
        session_id=person.session_id if sees_visits else None,
        label=person.name if sees_visits else str(person.identity_id),
        position_m=_rounded(person.position_m),
        hands_m=[(round(x, 2), round(y, 2), round(z, 2)) for x, y, z in person.hands_m],
        units=cart.units,
        flagged=cart.flagged,
    )


def _happened(each: Happened, *, sees_visits: bool) -> HappenedShown:
    return HappenedShown(
        id=each.interaction_id,
        at=each.at,
        kind=each.kind,
        bin_id=each.bin_id,
        sku=each.sku,
        name=each.name,
        quantity=each.quantity,
        probability=round(each.probability, 4),
        session_id=each.session_id if sees_visits else None,
    )


def _floor(plan: Plan) -> FloorShown:
    return FloorShown(
        name=plan.name,
        walkable_m=_line(plan.walkable_m),
        entrance_m=_line(plan.entrance_m),
        exit_m=_line(plan.exit_m),
        walls=[WallShown(kind=wall.kind, outline_m=list(wall.outline_m)) for wall in plan.walls],
        bins=[
            BinPlanShown(
                bin_id=each.bin_id,
                sku=each.sku,
                name=each.name,
                gondola_id=each.gondola_id,
                shelf_id=each.shelf_id,
                outline_m=list(each.outline_m),
                height_m=each.height_m,
                plate_ids=list(each.plate_ids),
            )
            for each in plan.bins
        ],
        cameras=[
            CameraPlanShown(camera_id=each.camera_id, position_m=each.position_m, looks_m=each.looks_m)
            for each in plan.cameras
        ],
        version=plan.version,
    )


def _line(points: Sequence[PointM] | None) -> list[PointM] | None:
    return None if points is None else list(points)
