"""One's own place over HTTP: who may follow it, what they are told of it, and when that ends."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast
from uuid import UUID

import httpx
import pytest

from cart.accounts import Account, Role
from cart.api.routes.floor import MOST_PLACES_A_VISIT
from cart.floor_state import FloorState, LiveFloor, PersonSeen, PointM
from tests.cart.api.shops import NOON, ApiStore
from tests.cart.gateways.serving import served


@dataclass
class StoodOn:
    """A floor (``LiveFloor``) on which a test says who stands where."""

    places: dict[UUID, PointM | None] = field(default_factory=dict)
    ended: set[UUID] = field(default_factory=set)
    is_closed: bool = False
    is_seen: bool = True

    def state(self) -> FloorState | None:
        """Everybody."""
        if not self.is_seen:
            return None
        people = [PersonSeen(number, each, "x", at, ()) for number, (each, at) in enumerate(self.places.items())]
        return FloorState(NOON + timedelta(seconds=1), 0.1, tuple(people))

    def has_ended(self, session_id: UUID) -> bool:
        """Whether a visit is over."""
        return session_id in self.ended


@dataclass
class Served:
    """A store with such a floor, on a real socket.

    Attributes:
        shop: The store.
        floor: Its floor.
        url: Where it answers.
    """

    shop: ApiStore
    floor: StoodOn
    url: str

    @contextmanager
    def followed(self, session_id: UUID, account: Account) -> Iterator[httpx.Response]:
        """The stream of somebody's place, as somebody asks for it."""
        headers = {"authorization": f"Bearer {self.shop.token_of(account)}"}
        address = f"{self.url}/v1/sessions/{session_id}/place/events"
        with httpx.Client(timeout=30.0) as client, client.stream("GET", address, headers=headers) as stream:
            yield stream


@pytest.fixture
def at() -> Iterator[Served]:
    """A store on whose floor two people are."""
    shop, floor = ApiStore(), StoodOn()
    shop.give_floor(cast(LiveFloor, floor))
    with served(shop.app) as url:
        yield Served(shop, floor, url)
        floor.is_closed = True


def events(stream: httpx.Response) -> Iterator[tuple[str, PointM | None]]:
    """What is told, one by one."""
    name = ""
    for line in stream.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            place = json.loads(line.removeprefix("data: "))["position_m"]
            yield name, None if place is None else (place[0], place[1])


def test_one_is_told_where_one_is_and_nothing_of_anybody_else(at: Served) -> None:
    ada, eve = at.shop.account("ada"), at.shop.account("eve")
    visit, other = at.shop.visit(ada).session_id, at.shop.visit(eve).session_id
    at.floor.places = {other: (9.0, 9.0), visit: (1.234, 2.0)}
    with at.followed(visit, ada) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        told = events(stream)
        assert next(told) == ("place", (1.23, 2.0))
        at.floor.places[other] = (8.0, 8.0)
        at.floor.places[visit] = (1.5, 2.0)
        assert next(told) == ("place", (1.5, 2.0))
        at.floor.places[visit] = None
        assert next(told) == ("place", None)
        at.floor.ended.add(visit)
        assert list(told) == [("end", None)]


def test_before_anybody_is_seen_one_is_nowhere(at: Served) -> None:
    ada = at.shop.account("ada")
    visit = at.shop.visit(ada).session_id
    at.floor.is_seen = False
    with at.followed(visit, ada) as stream:
        told = events(stream)
        assert next(told) == ("place", None)
        at.floor.places, at.floor.is_seen = {visit: (1.0, 1.0)}, True
        assert next(told) == ("place", (1.0, 1.0))


def test_another_ones_place_does_not_exist_and_a_look_of_those_who_work_here_is_written_down(at: Served) -> None:
    ada, eve, sam = at.shop.account("ada"), at.shop.account("eve"), at.shop.account("sam", Role.STAFF)
    visit = at.shop.visit(ada).session_id
    at.floor.places = {visit: (1.0, 2.0)}
    with at.followed(visit, eve) as stream:
        assert stream.status_code == 404
    with at.followed(visit, sam) as stream:
        assert next(events(stream)) == ("place", (1.0, 2.0))
    kept = at.shop.client(at.shop.token_of(ada)).get("/v1/account/export").json()
    looks = [each for each in kept["audit"] if each["action"] == "looked"]
    assert [(each["actor_id"], each["detail"]["what"]) for each in looks] == [(str(sam.account_id), f"place:{visit}")]


def test_a_visit_that_is_over_ends_at_once(at: Served) -> None:
    ada = at.shop.account("ada")
    visit = at.shop.paid_visit(ada).session_id
    at.floor.places = {visit: (1.0, 2.0)}
    with at.followed(visit, ada) as stream:
        assert list(events(stream)) == [("end", None)]


def test_only_so_many_follow_one_visit_and_whoever_goes_makes_room(at: Served) -> None:
    ada = at.shop.account("ada")
    visit = at.shop.visit(ada).session_id
    with ExitStack() as all_of_them:
        told = [events(all_of_them.enter_context(at.followed(visit, ada))) for _ in range(MOST_PLACES_A_VISIT)]
        for each in told:
            next(each)
        with at.followed(visit, ada) as stream:
            assert stream.status_code == 429
            assert stream.headers["retry-after"] == "5"
    for _ in range(200):
        with at.followed(visit, ada) as stream:
            if stream.status_code == 200:
                break
    else:
        raise AssertionError("nobody made room")


def test_a_store_that_closes_ends_the_stream(at: Served) -> None:
    ada = at.shop.account("ada")
    visit = at.shop.visit(ada).session_id
    with at.followed(visit, ada) as stream:
        told = events(stream)
        next(told)
        at.floor.is_closed = True
        # Ended, not cut off: that would be an error.
        assert list(told) == []
