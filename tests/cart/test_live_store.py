"""The floor: what sensors say goes through the pipeline and into the database, whatever fails meanwhile."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from cart.api.shop import ScaleMessage
from cart.checkout import Checkout
from cart.events import CartEvent
from cart.evidence import Evidence
from cart.live_store import (
    Came,
    Floor,
    FloorEvent,
    FloorThread,
    Handled,
    InItsTime,
    Left,
    LiveFeed,
    Pace,
    moment,
    recover,
    scales_into,
    shifted,
)
from cart.mqtt import GateNews, GateNewsKind, Inbox
from cart.outbox import Effect, waiting
from cart.payments import FakeGateway
from cart.pipeline import catalogue_of
from cart.repository import Database
from cart.sessions import Session, SessionStatus
from cart.tables import AdmissionRow, AuditRow, GateCommandRow
from store_sim.demo_shop import DEMO_LAYOUT
from store_sim.live import LiveStore, Wish
from tests.cart.shopfloor import LAYOUT, START_NS, Touch, play, units_g
from vision.frames import Frame, GateEvent, ScaleSamples, Tick, TrackedBodies
from vision.layout import read_layout

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
SECOND = 1_000_000_000
OATS, JAM = "2000000001012", "2000000001050"


@dataclass
class Store:
    """A store's floor with its database, and what it has told."""

    database: Database = field(default_factory=Database.in_memory)
    told: list[FloorEvent] = field(default_factory=list)
    at: datetime = NOON

    def __post_init__(self) -> None:
        self.checkout = Checkout(self.database, catalogue_of(LAYOUT.products, "EUR"), FakeGateway())
        self.evidence = Evidence(self.database, lambda: self.at)

    def floor(self, **options: Any) -> Floor:
        """Its floor."""
        return Floor(
            LAYOUT, self.database, self.checkout, self.evidence, lambda: self.at, tell=self.told.append, **options
        )

    def admitted(self, *, opened_at: datetime | None = None, opened: bool | None = None) -> Session:
        """A visit that a doorman has begun; ``opened`` is the gate's answer to its order."""
        session = self.checkout.check_in(str(uuid4()), opened_at or self.at)
        with self.database.transaction() as repository:
            repository.sql.add(self._account(UUID(session.shopper_id)))
            repository.sql.flush()
            repository.sql.add(
                AdmissionRow(
                    session_id=session.session_id,
                    account_id=UUID(session.shopper_id),
                    gate_id="entrance",
                    admitted_at=session.opened_at,
                    guests_allowed=0,
                )
            )
            repository.sql.add(
                GateCommandRow(
                    grant_id=uuid4(),
                    gate_id="entrance",
                    session_id=session.session_id,
                    purpose="welcome",
                    issued_at=session.opened_at,
                    expires_at=session.opened_at + timedelta(seconds=10),
                    answered_at=None if opened is None else session.opened_at,
                    opened=opened,
                )
            )
        return session

    def grant_of(self, session: Session) -> UUID:
        """The order to the gate for a visit."""
        with self.database.reading() as repository:
            statement = select(GateCommandRow.grant_id).where(GateCommandRow.session_id == session.session_id)
            return repository.sql.scalars(statement).one()

    def answer(self, session: Session) -> None:
        """Let the gate say that it opened."""
        grant_id = self.grant_of(session)
        with self.database.transaction() as repository:
            row = repository.sql.get_one(GateCommandRow, grant_id)
            row.answered_at, row.opened = self.at, True

    @staticmethod
    def _account(account_id: UUID) -> Any:
        from cart.tables import AccountRow

        return AccountRow(
            account_id=account_id,
            email=f"{account_id}@example.com",
            name="Ada",
            role="shopper",
            status="active",
            locale="en",
            payment_method="pm_1",
            created_at=NOON,
            erased_at=None,
        )


def walk_in(live: LiveStore, floor: Floor, seconds: float = 90.0) -> None:
    """Feed a floor from a simulated store until everybody has left and is settled."""
    end_ns = live.now_ns + round(seconds * SECOND)
    while live.now_ns < end_ns and (live.people_inside or live.people_coming):
        for tick in live.ticks():
            floor.step(tick)
    for _ in range(60):
        for tick in live.ticks():
            floor.step(tick)


def test_a_visit_that_the_doorman_opened_is_charged_on_its_account_with_evidence() -> None:
    store = Store()
    session = store.admitted()
    live = LiveStore(read_layout(DEMO_LAYOUT), 1)
    live.come_in(str(session.session_id), [Wish(OATS, 2)])
    walk_in(live, store.floor())
    assert [type(event) for event in store.told] == [Came, Handled, Left]
    came, handled, left = store.told
    assert isinstance(came, Came)
    assert isinstance(handled, Handled)
    assert isinstance(left, Left)
    assert (came.session.session_id, came.known) == (session.session_id, True)
    assert (handled.session_id, handled.taken, handled.quantity) == (session.session_id, True, 2)
    assert (left.session.status, left.lines) == (SessionStatus.CHARGED, ((OATS, 2),))
    (piece,) = store.evidence.of(session.session_id)
    assert piece.facts.candidates[0].shopper == session.shopper_id
    assert piece.facts.weight is not None
    assert min(piece.facts.weight.grams) < -1500


def test_whoever_comes_in_without_a_code_is_told_to_staff_once() -> None:
    store = Store()
    live = LiveStore(read_layout(DEMO_LAYOUT), 2)
    live.come_in(None, [])
    live.come_in("a code that nobody gave out", [], after_s=6.0)
    walk_in(live, store.floor())
    came = [event for event in store.told if isinstance(event, Came)]
    assert [event.known for event in came] == [False, False]
    with store.database.reading() as repository:
        messages = [message for message in waiting(repository, store.at) if message.effect is Effect.WEBHOOK]
        entries = repository.sql.scalars(select(AuditRow.action)).all()
    said = [message.payload for message in messages if message.payload["type"] == "entry.without_code"]
    assert {payload["session_id"] for payload in said} == {str(event.session.session_id) for event in came}
    assert list(entries).count("entry.without_code") == 2


def test_staff_who_come_in_on_their_visit_are_no_strangers() -> None:
    store = Store()
    session = store.checkout.check_in("staff:1", NOON, has_account=False)
    live = LiveStore(read_layout(DEMO_LAYOUT), 2)
    live.come_in(str(session.session_id), [])
    walk_in(live, store.floor())
    assert [(event.session.session_id, event.known) for event in store.told if isinstance(event, Came)] == [
        (session.session_id, True)
    ]


def test_after_a_failure_whoever_is_inside_is_looked_at_by_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cart.live_store.RETRY_S", 0.0)
    store = Store()
    floor = store.floor(has_gates=False, has_account=lambda name: True)
    ticks = play([Touch("ada", "1/1/1", 4.0, -units_g("1/1/1", 1))], 8.0)
    record = store.checkout.record
    failing = iter([OperationalError("UPDATE", {}, Exception("the disk is full"))])

    def fails_once(event: CartEvent) -> Any:
        for error in failing:
            raise error
        return record(event)

    monkeypatch.setattr(store.checkout, "record", fails_once)
    for tick in ticks:
        floor.step(tick)
    floor.finish(stopped=False)
    (left,) = [event for event in store.told if isinstance(event, Left)]
    assert left.session.status is SessionStatus.NEEDS_REVIEW
    assert any("failed for a moment" in reason for reason in left.reasons)


def test_a_visit_that_cannot_be_closed_is_closed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cart.live_store.RETRY_S", 0.0)
    store = Store()
    session = store.admitted()
    live = LiveStore(read_layout(DEMO_LAYOUT), 1)
    live.come_in(str(session.session_id), [Wish(OATS)])
    close, tries = store.checkout.close, []

    def fails_twice(session_id: UUID, at: datetime) -> Any:
        tries.append(session_id)
        if len(tries) < 3:
            raise OperationalError("COMMIT", {}, Exception("the database is away"))
        return close(session_id, at)

    monkeypatch.setattr(store.checkout, "close", fails_twice)
    walk_in(live, store.floor())
    assert tries == [session.session_id] * 3
    outcome = store.checkout.outcome(session.session_id)
    assert outcome is not None
    assert [line.quantity for line in outcome.receipt.lines] == [1]


def test_somebody_let_in_whom_no_sensor_finds_is_looked_at_by_a_person() -> None:
    store = Store()
    lost = store.admitted(opened=True)
    waits = store.admitted(opened=None)
    floor = store.floor()
    store.at = NOON + timedelta(minutes=4)
    floor.step(Tick(START_NS))
    assert store.checkout.session(lost.session_id).status is SessionStatus.OPEN
    floor = store.floor()
    store.at = NOON + timedelta(minutes=6)
    floor.step(Tick(START_NS))
    assert store.checkout.session(lost.session_id).status is SessionStatus.NEEDS_REVIEW
    assert store.checkout.session(waits.session_id).status is SessionStatus.OPEN


def test_visits_that_a_dead_process_left_open_are_looked_at_by_a_person() -> None:
    store = Store()
    inside = store.checkout.check_in("ada", NOON)
    shopping = store.admitted()
    store.checkout.record(CartEvent(uuid4(), shopping.session_id, NOON, OATS, 1))
    before_the_door = store.admitted()
    long_ago = store.admitted(opened_at=NOON - timedelta(minutes=10))
    assert recover(store.database, store.checkout, NOON + timedelta(seconds=5)) == 3
    statuses = [store.checkout.session(each.session_id).status for each in (inside, shopping, long_ago)]
    assert statuses == [SessionStatus.NEEDS_REVIEW] * 3
    assert store.checkout.session(before_the_door.session_id).status is SessionStatus.OPEN
    assert recover(store.database, store.checkout, NOON + timedelta(seconds=6)) == 0


def test_a_camera_is_well_while_pictures_come_and_the_floor_while_ticks_do() -> None:
    store = Store()
    floor = store.floor()
    assert not floor.readiness().ready
    floor.step(Tick(START_NS))
    assert floor.readiness().ready
    (never,) = floor.camera_health(["door"])
    assert (never.healthy, never.last_frame_at, never.detail) == (False, None, "no picture yet")


# Feeds


def a_tick(second: float, **parts: Any) -> Tick:
    """A tick of a recording that began at second 100."""
    return Tick(round((100 + second) * SECOND), **parts)


def test_a_recording_plays_as_if_it_happened_now() -> None:
    samples = ScaleSamples(np.array([100 * SECOND]), ("1/1/1",), np.zeros((1, 1), np.float32), 60.0)
    bodies = TrackedBodies(100 * SECOND, (), np.zeros((0, 8, 3)), np.zeros((0, 8)))
    gates = (GateEvent(100 * SECOND, "entrance", "passed-in", "ada"),)
    ticks = [a_tick(0, scales=(samples,), bodies=bodies, gates=gates), a_tick(1.5)]
    played = list(InItsTime(ticks, 100 * SECOND, lambda: 5000 * SECOND, speed=np.inf))
    assert [tick.timestamp_ns for tick in played] == [5000 * SECOND, round(5001.5 * SECOND)]
    first = played[0]
    assert first.bodies is not None
    assert {first.scales[0].timestamp_ns[0], first.bodies.timestamp_ns, first.gates[0].timestamp_ns} == {5000 * SECOND}
    assert shifted(first, 0) is first


def filmed(number: int) -> Tick:
    """A tick of two cameras: the first gives ten pictures a second, the other every third of these."""
    at_ns = (100 * SECOND) + number * SECOND // 10
    cameras = ("door", "shelf") if number % 3 == 0 else ("door",)
    return Tick(at_ns, tuple(Frame(camera_id, number, at_ns, np.zeros((2, 2, 3), np.uint8)) for camera_id in cameras))


def pictures_given(speed: float, slow_at: int, by_s: float) -> tuple[list[list[str]], InItsTime]:
    """Whose pictures come in ticks of a recording, where the machine takes so long for one of them."""
    now_s = [0.0]
    feed = InItsTime(map(filmed, range(9)), 100 * SECOND, lambda: 5000 * SECOND, speed, lambda: now_s[0])
    given = []
    for number, tick in enumerate(feed):
        given.append([frame.camera_id for frame in tick.frames])
        now_s[0] = max(now_s[0], (number + 1) / 10) + (by_s if number == slow_at else 0.0)
    return given, feed


def test_a_picture_whose_successor_is_due_is_left_out_as_a_camera_would() -> None:
    both, door, shelf = ["door", "shelf"], ["door"], ["shelf"]
    nobody: list[str] = []
    on_time = [both, door, door] * 3
    assert pictures_given(1.0, 0, 0.05)[0] == on_time
    given, feed = pictures_given(1.0, 0, 0.45)
    # At 0.55 s the pictures of 0.1 to 0.4 s are stale; the other camera's of 0.3 s has no successor yet.
    assert given == [both, nobody, nobody, shelf, nobody, door, both, door, door]
    assert feed.left_out == 4
    assert pictures_given(2.0, 0, 0.45)[0] == on_time


def test_what_is_played_after_the_machine_slept_happens_later() -> None:
    now_s = [0.0]
    feed = InItsTime(map(filmed, range(3)), 100 * SECOND, lambda: 5000 * SECOND, 1.0, lambda: now_s[0])
    times_s = []
    for tick in feed:
        times_s.append((tick.timestamp_ns - 5000 * SECOND) / SECOND)
        now_s[0] = 60.1 if len(times_s) == 1 else 60.2
    assert times_s == pytest.approx([0.0, 60.1, 60.2])


def test_a_feed_that_is_closed_gives_nothing_more() -> None:
    feed = InItsTime((a_tick(second) for second in range(1000)), 100 * SECOND, speed=1.0)
    ticks = iter(feed)
    next(ticks)
    feed.close()
    assert list(ticks) == []


def test_a_pace_waits_until_a_moment_is_due_and_does_not_hurry_after_a_long_sleep() -> None:
    clock_s = [1000.0]
    pace = Pace(2.0, lambda: clock_s[0])
    assert (pace.wait_s(0.0), pace.wait_s(4.0)) == (0.0, 2.0)
    clock_s[0] = 1002.5
    assert pace.wait_s(4.0) == 0.0
    assert pace.skipped_s == 0.0
    clock_s[0] = 1103.0
    assert pace.wait_s(6.0) == 0.0
    assert (pace.skipped_s, pace.wait_s(8.0)) == (200.0, 1.0)
    assert Pace(np.inf).wait_s(1e9) == 0.0


@dataclass
class Cameras:
    """Cameras that give these ticks."""

    ticks: Sequence[Tick]
    closed: bool = False

    def __iter__(self) -> Iterator[Tick]:
        """Give them."""
        return iter(self.ticks)

    def close(self) -> None:
        """Remember it."""
        self.closed = True


def test_what_scales_and_gates_say_joins_the_pictures() -> None:
    store = Store()
    session = store.admitted()
    inbox = Inbox()
    scales_into(inbox)(ScaleMessage("2/1/3", 50 * SECOND, 60.0, (1.0, 2.0, 3.0)))
    grant_id = store.grant_of(session)
    inbox.put(GateNews("entrance", GateNewsKind.OPENED, grant_id, NOON))
    inbox.put(GateNews("entrance", GateNewsKind.PASSED_IN, grant_id, NOON))
    inbox.put(GateNews("exit", GateNewsKind.PASSED_OUT, None, NOON))
    inbox.put(GateNews("entrance", GateNewsKind.PASSED_IN, uuid4(), NOON))
    (tick,) = LiveFeed(Cameras([Tick(40 * SECOND)]), inbox, store.database, lambda: 0)
    (block,) = tick.scales
    assert (block.plate_id, block.grams.ravel().tolist()) == (("2/1/3",), [1.0, 2.0, 3.0])
    assert block.timestamp_ns.tolist() == [50 * SECOND, 50 * SECOND + 16_666_667, 50 * SECOND + 33_333_333]
    assert tick.timestamp_ns == block.timestamp_ns[-1]
    said = [(gate.gate_id, gate.event, gate.code) for gate in tick.gates]
    code = str(session.session_id)
    assert said == [("entrance", "passed-in", code), ("exit", "passed-out", None), ("entrance", "passed-in", None)]


def test_a_gate_that_only_answers_its_orders_is_taken_to_have_been_passed_once() -> None:
    store = Store(at=datetime.now(UTC))
    session = store.admitted()
    feed = LiveFeed(None, Inbox(), store.database)
    store.answer(session)
    seen = []
    for count, tick in enumerate(feed):
        seen += [(gate.event, gate.code) for gate in tick.gates]
        if count == 8:
            feed.close()
    assert seen == [("passed-in", str(session.session_id))]


def test_a_gate_that_tells_who_passed_is_not_counted_twice() -> None:
    store = Store(at=datetime.now(UTC))
    session = store.admitted()
    inbox = Inbox()
    inbox.put(GateNews("entrance", GateNewsKind.OPENED, store.grant_of(session), store.at))
    store.answer(session)
    feed = LiveFeed(None, inbox, store.database)
    seen = []
    for count, tick in enumerate(feed):
        seen += [gate.event for gate in tick.gates]
        if count == 4:
            inbox.put(GateNews("entrance", GateNewsKind.PASSED_IN, store.grant_of(session), store.at))
        if count == 8:
            feed.close()
    assert seen == ["passed-in"]


def test_the_floors_thread_closes_every_visit_when_its_source_ends_or_fails() -> None:
    store = Store()
    ticks = play([Touch("ada", "1/1/1", 2.0)], 4.0)

    def breaks() -> Iterator[Tick]:
        yield from ticks
        raise OSError("the recording cannot be read on")

    for source, status in ((iter(ticks), SessionStatus.EMPTY), (breaks(), SessionStatus.NEEDS_REVIEW)):
        store.told.clear()
        floor = store.floor(has_gates=False, has_account=lambda name: True)
        thread = FloorThread(floor, InItsTime(source, START_NS, speed=np.inf))
        thread.start()
        thread._thread.join(60)
        assert not thread.is_running
        assert thread.stop(1.0)
        assert [event.session.status for event in store.told if isinstance(event, Left)] == [status]
    assert thread.error == "the recording cannot be read on"


def test_a_moment_of_the_store_clock_is_utc() -> None:
    assert moment(1_700_000_000_123_456_789) == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
