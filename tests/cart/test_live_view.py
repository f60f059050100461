"""The floor as it is right now: who is where, what has happened, and one telling for however many listen."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import cast
from uuid import UUID, uuid4

import numpy as np
import pytest

from cart.api.floor_feed import FIRST_EVENTS, FloorFeed, FloorNews, read_carts
from cart.events import CartEvent
from cart.floor_state import FloorState, Happened, LiveFloor, PersonMarked, PersonSeen
from cart.live_store import Left
from cart.live_view import LiveView
from cart.pictures import RememberedPictures, Taken
from cart.pipeline import StorePipeline
from store_sim.demo_shop import demo_layout
from store_sim.live import LiveStore, Wish
from tests.cart.test_live_store import NOON, OATS, Store, walk_in
from tracking.types import Identities, Sightings
from vision.arrays import ImageArray
from vision.cameras import Camera, looking_at
from vision.frames import Frame, Tick
from vision.layout import Bin, StoreLayout, upright_box


@dataclass
class Told:
    """A floor (``LiveFloor``) whose state a test says."""

    people: tuple[PersonSeen, ...] = ()
    tick: int = 0
    happened: list[Happened] = field(default_factory=list)
    is_closed: bool = False
    asked: int = 0

    def state(self) -> FloorState:
        """The floor as of now."""
        self.asked += 1
        return FloorState(NOON + timedelta(seconds=self.tick), 0.1, self.people)

    def happened_since(self, number: int) -> list[Happened]:
        """What has happened after that number."""
        return [each for each in self.happened if each.number > number]


def took(number: int) -> Happened:
    """Somebody took something."""
    return Happened(number, UUID(int=number), NOON, "pick", "1/1/1", OATS, "Oats", 1, 0.9, None)


async def first_news(feed: FloorFeed, count: int) -> list[FloorNews]:
    """What a newcomer is told first."""
    heard = []
    async for news in feed.listen(lambda: False):
        heard.append(news)
        if len(heard) == count:
            break
    return heard


def test_the_view_knows_whose_visit_it_is_what_they_took_and_that_they_left() -> None:
    store = Store()
    session = store.admitted()
    live = LiveStore(demo_layout(), 1)
    view = LiveView(demo_layout(), lambda: NOON)
    floor = store.floor(watchers=[view])
    live.come_in(str(session.session_id), [Wish(OATS, 2)])
    while not store.told:
        for tick in live.ticks():
            floor.step(tick)
    state = view.state()
    assert state is not None
    seen = [person for person in state.people if person.session_id == session.session_id]
    assert [person.name for person in seen] == [session.session_id.hex[:4]]
    assert seen[0].position_m is not None
    assert not view.has_ended(session.session_id)
    walk_in(live, floor)
    (happened,) = view.happened_since(0)
    assert (happened.kind, happened.sku, happened.quantity) == ("pick", OATS, 2)
    assert (happened.session_id, view.happened_since(happened.number)) == (session.session_id, [])
    assert view.has_ended(session.session_id)


def test_the_plan_changes_with_the_layout() -> None:
    store, live = Store(), LiveStore(demo_layout(), 1)
    view = LiveView(demo_layout(), lambda: NOON)
    floor = store.floor(watchers=[view])
    before = view.plan().version
    floor.change_layout(replace(demo_layout(), name="another"), at_once=True, done=lambda: None)
    for _ in range(5):
        for tick in live.ticks():
            floor.step(tick)
    assert view.plan().name == "another"
    assert view.plan().version != before


def test_a_newcomer_is_told_of_the_last_things_alone() -> None:
    told = Told(happened=[took(number) for number in range(1, 51)])
    database = Store().database
    (news,) = asyncio.run(first_news(FloorFeed(cast(LiveFloor, told), database), 1))
    assert [each.number for each in news.happened] == list(range(51 - FIRST_EVENTS, 51))


def test_nothing_is_told_twice() -> None:
    told = Told(happened=[took(1)])
    feed = FloorFeed(cast(LiveFloor, told), Store().database)

    async def listen() -> list[list[int]]:
        heard = []
        async for news in feed.listen(lambda: False):
            heard.append([each.number for each in news.happened])
            if len(heard) == 3:
                break
            told.tick += 1
            told.happened.append(took(len(heard) + 1))
        return heard

    assert asyncio.run(listen()) == [[1], [2], [3]]


@pytest.mark.parametrize("how", ["the listener goes", "the store closes"])
def test_a_listener_goes_when_it_is_over_and_nobody_is_asked_any_more(how: str) -> None:
    told, over = Told(), threading.Event()
    feed = FloorFeed(cast(LiveFloor, told), Store().database, most_listeners=1)

    async def listen() -> int:
        async for _ in feed.listen(over.is_set):
            assert feed.is_full
            if how == "the listener goes":
                over.set()
            else:
                told.is_closed = True
        await asyncio.sleep(0.1)
        asked = told.asked
        await asyncio.sleep(0.3)
        return told.asked - asked

    assert asyncio.run(asyncio.wait_for(listen(), 30)) == 0
    assert not feed.is_full


def test_carts_at_a_glance() -> None:
    store = Store()
    ada, ben = store.admitted(), store.admitted()
    for session, quantity in ((ada, 3), (ada, -1), (ben, 1)):
        store.checkout.record(CartEvent(uuid4(), session.session_id, NOON, OATS, quantity))
    store.checkout.flag(ben.session_id, "somebody stood in between", None, NOON)
    briefs = read_carts(store.database, [ada.session_id, ben.session_id])
    assert (briefs[ada.session_id].units, briefs[ada.session_id].flagged) == (2, False)
    assert (briefs[ben.session_id].units, briefs[ben.session_id].flagged) == (1, True)
    assert read_carts(store.database, []) == {}


FILMED = StoreLayout("filmed")


def film(view: LiveView, pictures: RememberedPictures, number: int, *, looked: bool = True) -> Frame:
    """A camera gives a picture with somebody in it, at whom the store looks or not."""
    at_ns = round(NOON.timestamp() * 1e9) + number * 100_000_000
    frame = Frame("door", number, at_ns, np.full((40, 80, 3), number, np.uint8))
    tick = Tick(at_ns, (frame,))
    box = np.array([[number, 5.0, number + 10, 35.0]])
    hands = np.full((1, 2, 2), np.nan)
    seen = Sightings("door", at_ns, np.array([7]), box, hands, np.zeros((1, 2)))
    people = Identities.nobody(at_ns, (seen,) if looked else ())
    pipeline = SimpleNamespace(layout=FILMED, people=people, camera_notices=(), open_contacts=(), expected=tuple)
    if looked:
        view.watched(tick, cast(StorePipeline, pipeline), ())
    pictures.watched(tick, cast(StorePipeline, pipeline), ())
    return frame


@pytest.fixture
def remembered() -> Iterator[RememberedPictures]:
    pictures = RememberedPictures(["door"])
    yield pictures
    pictures.close()


def test_a_picture_comes_with_what_was_seen_in_it_and_says_of_when_that_is(remembered: RememberedPictures) -> None:
    view = LiveView(FILMED, lambda: NOON + timedelta(seconds=5), remembered)
    assert view.picture("door") is None
    film(view, remembered, 1)
    film(view, remembered, 2)
    picture = view.picture("door")
    assert picture is not None
    assert picture.marked_at == picture.captured_at == NOON + timedelta(seconds=0.2)
    assert [person.box_px for person in picture.people] == [(2, 5, 12, 35)]
    film(view, remembered, 3, looked=False)
    later = view.picture("door")
    assert later is not None
    assert (later.captured_at, later.marked_at) == (NOON + timedelta(seconds=0.3), NOON + timedelta(seconds=0.2))
    assert view.picture("window") is None


def test_a_picture_that_is_known_is_not_given_again(remembered: RememberedPictures) -> None:
    view = LiveView(FILMED, lambda: NOON + timedelta(seconds=5), remembered)
    film(view, remembered, 1)
    first = view.picture("door")
    assert first is not None
    assert view.picture("door", first.captured_at) is None
    film(view, remembered, 2)
    assert view.picture("door", first.captured_at) is not None


def test_a_picture_is_coded_once_however_many_look(
    remembered: RememberedPictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded: list[int] = []

    def code(image: ImageArray) -> bytes:
        coded.append(int(image[0, 0, 0]))
        return b"jpeg"

    monkeypatch.setattr("cart.pictures.jpeg_of", code)
    view = LiveView(FILMED, lambda: NOON + timedelta(seconds=5), remembered)
    film(view, remembered, 1)
    given = [view.picture("door") for _ in range(3)]
    remembered.close()  # which has remembered it as well by then
    assert {None if picture is None else picture.jpeg for picture in given} == {b"jpeg"}
    assert coded == [1]


def test_what_a_hand_has_just_taken_is_expected_for_its_visit_until_it_is_in_the_cart() -> None:
    store = Store()
    session = store.admitted()
    live = LiveStore(demo_layout(), 1)
    view = LiveView(demo_layout(), lambda: NOON)
    floor = store.floor(watchers=[view])
    live.come_in(str(session.session_id), [Wish(OATS, 1)])
    expected: list[list[tuple[str, int]]] = []
    while not any(isinstance(event, Left) for event in store.told):
        for tick in live.ticks():
            floor.step(tick)
            expected.append([(each.sku, each.quantity) for each in view.expected(session.session_id)])
    assert [(OATS, 1)] in expected
    assert expected[-1] == []
    assert view.expected(UUID(int=9)) == ()


@dataclass
class OnePicture:
    """A camera (``RecentPictures``) that has taken one picture, of nothing."""

    taken: Taken

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """The camera."""
        return (self.taken.camera_id,)

    def latest(self, camera_id: str) -> Taken | None:
        """The picture."""
        return self.taken

    def between(self, camera_id: str, start_ns: int, end_ns: int, fps: float) -> tuple[Taken, ...]:
        """Nothing."""
        return ()


def marked_in(layout: StoreLayout, place_m: tuple[float, float]) -> PersonMarked:
    """How somebody is marked whom an outside tracker has placed."""
    at_ns = round(NOON.timestamp()) * 1_000_000_000
    view = LiveView(layout, lambda: NOON, OnePicture(Taken("north", at_ns, np.zeros((360, 640, 3), np.uint8))))
    hands_m = np.full((1, 2, 3), np.nan)
    people = SimpleNamespace(identity_id=np.array([1]), position_m=np.array([place_m]), hands_m=hands_m, sightings=())
    pipeline = SimpleNamespace(layout=layout, people=people, session=lambda _: None, open_contacts=(), expected=tuple)
    tick = SimpleNamespace(timestamp_ns=at_ns, frames=(), bodies=())
    view.watched(cast(Tick, tick), cast(StorePipeline, pipeline), ())
    picture = view.picture("north")
    assert picture is not None
    (person,) = picture.people
    return person


@pytest.mark.parametrize(
    ("place_m", "yaw_deg", "is_hidden"),
    [((2.0, 6.0), 0.0, True), ((2.0, 6.0), 30.0, True), ((4.5, 6.0), 0.0, False), ((2.0, 3.0), 0.0, False)],
    ids=["behind a shelf", "behind one that is turned", "beside it", "before it"],
)
def test_who_stands_behind_a_shelf_is_marked_as_hidden(
    place_m: tuple[float, float], yaw_deg: float, is_hidden: bool
) -> None:
    hangs_at_m, intrinsics = np.array([2.0, 0.0, 2.5]), np.array([[400.0, 0, 320], [0, 400, 180], [0, 0, 1]])
    camera = Camera("north", intrinsics, np.zeros(5), looking_at(hangs_at_m, np.array([2.0, 5.0, 1.0])), (640, 360))
    shelf = Bin("a", box=upright_box(np.array([1.0, 4.0, 0.0]), yaw_deg, np.array([2.0, 0.5, 2.4])))
    layout = StoreLayout("one shelf", cameras=(camera,), bins=(shelf,))
    assert marked_in(layout, place_m).is_hidden == is_hidden
    assert not marked_in(replace(layout, bins=()), place_m).is_hidden
