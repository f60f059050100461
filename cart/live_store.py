"""A store that is open: what its sensors say goes through the pipeline in a thread of its own, and into the database.

``Floor`` is the store from the sensors' side: it feeds ticks to ``cart.pipeline`` and writes down what comes of them,
for reviewers, for staff, and for whoever watches. Visits are begun by ``cart.doors``: the code that a gate's event
carries is the id of the visit that the doorman opened. Where ticks come from is for the sources here: a recording in
its own time (``InItsTime``), cameras with what gates and scales send (``LiveFeed``), or the demo's simulated store.
"""

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import numpy as np
from sqlalchemy import exists, select
from sqlalchemy.exc import SQLAlchemyError

from cart import audit, outbox
from cart.api.shop import CameraHealth, PlateHealth, Readiness, ScaleMessage
from cart.checkout import Checkout
from cart.doors import STAFF_PREFIX
from cart.errors import SessionNotFound, StoreError
from cart.events import check_aware
from cart.evidence import Evidence, EvidenceCandidate, EvidenceKind, InteractionFacts, WeightCurve
from cart.mqtt import GateNews, GateNewsKind, Inbox, PlateMessage
from cart.outbox import Effect
from cart.pipeline import (
    InteractionSeen,
    PipelineSettings,
    StoreEvent,
    StorePipeline,
    VisitClosed,
    VisitOpened,
    place_name,
    plate_numbers,
)
from cart.repository import Database
from cart.sessions import Session, SessionStatus
from cart.tables import AdmissionRow, CartEventRow, GateCommandRow, SessionRow
from vision.detector import ObjectDetector
from vision.frames import GateEvent, ScaleSamples, Tick, TrackedBodies
from vision.layout import StoreLayout
from vision.seeing import SeeingSettings
from vision.shelf import Handling

_log = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
LEAST_SHARE = 0.02  # who is less likely than that to have done something is not in its evidence
MOST_CANDIDATES = 20
AWAY_S = 5.0
"""A camera that gave no picture for so long is not well."""
SILENT_S = 15.0
"""A floor that took no tick for so long does not work."""
STEP_S = 0.1
LAGGING_S = 5.0  # a source that is so far behind its time, as after a laptop slept, does not hurry after it
RETRY_S = 0.5
ASKS_AGAIN_S = 1.0
"""So often a layout that waits looks whether it can be changed to, and what failed when it counted is tried again."""
LOOKS_AT_GATES_S = 0.25
REMEMBERED_GRANTS = 1000
LOOKS_FOR_LOST_S = 10.0
LOST_AFTER = timedelta(minutes=5)
_NEVER_SEEN = "A gate opened for this shopper, but no sensor has seen them inside"
_RESTARTED = "The store was started anew while this shopper was inside"
_REBUILT = "The store's layout was changed while this shopper was inside"
_FAILED = "The store failed for a moment while this shopper was inside, and may have missed something"


@dataclass(frozen=True, slots=True)
class Came:
    """Somebody came in; ``session`` is their visit, ``known`` whether they came with a code."""

    session: Session
    known: bool


@dataclass(frozen=True, slots=True)
class Handled:
    """Something was taken or put back.

    Attributes:
        session_id: In whose cart it is; None if it is in nobody's.
        taken: Whether it was taken, not put back.
        name: What; "something" where that is not known.
        quantity: How many.
        probability: How sure that is, 0 to 1.
        place: Where, for people.
    """

    session_id: UUID | None
    taken: bool
    name: str
    quantity: int
    probability: float
    place: str


@dataclass(frozen=True, slots=True)
class Left:
    """A visit ended.

    Attributes:
        session: The visit.
        receipt_number: None if nothing was charged.
        total_minor: None if a price is not known.
        currency: ISO 4217 code.
        lines: What is on the receipt, units by sku.
        reasons: Why a person has to look at it.
    """

    session: Session
    receipt_number: int | None
    total_minor: int | None
    currency: str
    lines: tuple[tuple[str, int], ...]
    reasons: tuple[str, ...]


FloorEvent = Came | Handled | Left


class FloorWatcher(Protocol):
    """Somebody who looks on while a floor works, such as the live view or whoever keeps clips."""

    def watched(self, tick: Tick, pipeline: StorePipeline, events: Sequence[StoreEvent]) -> None:
        """Look at one instant after the pipeline has; in the floor's thread, so it must be quick.

        Args:
            tick: What the sensors said.
            pipeline: What it has come to; not to be kept or changed.
            events: What has happened, in order.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Change:
    """A layout that waits to be changed to."""

    layout: StoreLayout
    pipeline: StorePipeline
    at_once: bool
    done: Callable[[], None]


class Floor:
    """The store from its sensors' side. Feed it ticks from one thread.

    Args:
        layout: The store, fitted to its cameras' pictures.
        database: The shop's.
        checkout: Where carts are kept and charged.
        evidence: Where what the sensors saw is kept.
        now: The time, timezone-aware.
        detector: Sees people; None for a store whose bodies come from an outside tracker.
        settings: When the store is sure enough.
        has_gates: Whether gates say who comes in.
        has_account: Whether a code that no doorman gave out stands for an account, as in a recording.
        seeing: How often the detector runs.
        tell: Told of everything that happens, in the same thread; what it raises is logged.
        watchers: Look on after every instant; what they raise is logged.
    """

    def __init__(
        self,
        layout: StoreLayout,
        database: Database,
        checkout: Checkout,
        evidence: Evidence,
        now: Callable[[], datetime],
        *,
        detector: ObjectDetector | None = None,
        settings: PipelineSettings | None = None,
        has_gates: bool = True,
        has_account: Callable[[str], bool] = lambda code: False,
        seeing: SeeingSettings | None = None,
        tell: Callable[[FloorEvent], None] = lambda event: None,
        watchers: Sequence[FloorWatcher] = (),
    ) -> None:
        self._layout = layout
        self._watchers = tuple(watchers)
        self._database, self._checkout, self._evidence, self._now = database, checkout, evidence, now
        self._tell = tell
        self._names = {product.sku: product.name for product in layout.products}

        def pipeline_for(layout: StoreLayout) -> StorePipeline:
            return StorePipeline(
                layout,
                checkout,
                detector,
                settings,
                has_gates=has_gates,
                has_account=has_account,
                seeing=seeing,
                admitted=self._admitted,
            )

        self._pipeline_for = pipeline_for
        self._pipeline = pipeline_for(layout)
        self._next: _Change | None = None
        self._changing = threading.Lock()
        self._counts: Callable[[], None] | None = None
        self._asked_s = -np.inf
        self._inside: set[UUID] = set()
        self._looked_s = -np.inf
        self._failed = False
        self._ticked_s: float | None = None
        self._cameras: dict[str, datetime] = {}
        self._plates: dict[str, tuple[datetime, float, float]] = {}

    def step(self, tick: Tick) -> None:
        """Take everything of one instant.

        Whatever fails, the store goes on: whoever is inside is then looked at by a person before they are charged.
        """
        at = self._now()
        for frame in tick.frames:
            self._cameras[frame.camera_id] = at
        for block in tick.scales:
            if len(block.grams):
                for plate_id, grams in zip(block.plate_id, block.grams[-1].tolist(), strict=True):
                    self._plates[plate_id] = (at, block.rate_hz, grams)
        try:
            ended = self._change_over()
            if self._failed:
                self._pipeline.doubt_everybody(_FAILED)
                self._failed = False
            events = self._pipeline.step(tick)
        except Exception:
            _log.exception("a tick could not be dealt with")
            self._failed = True
            time.sleep(RETRY_S)
            return
        self._ticked_s = time.monotonic()
        for event in events:
            self._deal_with(event)
        for watcher in self._watchers:
            try:
                watcher.watched(tick, self._pipeline, (*ended, *events))
            except Exception:
                _log.exception("whoever looks on at the floor failed")
        if self._ticked_s - self._looked_s > LOOKS_FOR_LOST_S:
            self._looked_s = self._ticked_s
            self._look_for_lost()

    def finish(self, *, stopped: bool) -> None:
        """Close every visit: the source has ended, or was stopped with people inside."""
        try:
            events = self._pipeline.finish(stopped=stopped)
        except Exception:
            _log.exception("visits that lasted were left as they are; they are looked at when the store starts again")
            return
        for event in events:
            self._deal_with(event)

    def camera_health(self, camera_ids: Sequence[str]) -> tuple[CameraHealth, ...]:
        """How cameras are doing."""
        now, found = self._now(), []
        for camera_id in camera_ids:
            last_at = self._cameras.get(camera_id)
            well = last_at is not None and now - last_at <= timedelta(seconds=AWAY_S)
            detail = "" if well else "no picture yet" if last_at is None else "no picture for some time"
            found.append(CameraHealth(camera_id, well, last_at, detail))
        return tuple(found)

    def change_layout(self, layout: StoreLayout, *, at_once: bool, done: Callable[[], None]) -> None:
        """Change over to another layout between two ticks; from any thread. What waited to be changed to is dropped.

        Args:
            layout: The new one, fitted to the cameras' pictures.
            at_once: Whether also with people inside: their visits end, and a person looks at them. Else it waits until
                nobody is, nor on their way in.
            done: Called in the floor's thread when it counts, again and again until it raises nothing.

        Raises:
            ValueError: The pipeline cannot work with it; the one before stays.
        """
        change = _Change(layout, self._pipeline_for(layout), at_once, done)
        with self._changing:
            self._next, self._asked_s = change, -np.inf

    def _change_over(self) -> Sequence[StoreEvent]:
        """Change to the layout that waits if it is time; give what happened to those who were inside."""
        if self._next is None and self._counts is None:
            return ()
        now_s = time.monotonic()
        if now_s - self._asked_s < ASKS_AGAIN_S:
            return ()
        self._asked_s = now_s
        with self._changing:
            change = self._next
        events: Sequence[StoreEvent] = ()
        if change is not None and (change.at_once or self._is_empty()):
            events = self._ended_for(_REBUILT)
            self._layout, self._pipeline = change.layout, change.pipeline
            self._names = {product.sku: product.name for product in change.layout.products}
            self._counts = change.done
            with self._changing:
                if self._next is change:  # else a newer one came meanwhile, and is next
                    self._next = None
            for event in events:
                self._deal_with(event)
        if self._counts is not None:
            try:
                self._counts()
                self._counts = None
            except Exception:
                _log.exception("that another layout counts now cannot be written down yet")
        return events

    def _is_empty(self) -> bool:
        """Whether nobody is inside, nor let in and on their way."""
        if self._pipeline.sessions:
            return False
        with self._database.reading() as repository:
            is_open = select(exists().where(SessionRow.status == SessionStatus.OPEN.value))
            return not repository.sql.scalar(is_open)

    def _ended_for(self, reason: str) -> Sequence[StoreEvent]:
        """End every visit that lasts, and have a person look at it, whatever fails meanwhile."""
        sessions = self._pipeline.sessions
        try:
            self._pipeline.doubt_everybody(reason)
            return self._pipeline.finish()
        except Exception:
            _log.exception("what the sensors said last is lost; a person looks at whoever was inside")
        at = self._now()
        for session in sessions:
            self._inside.discard(session.session_id)
            try:
                self._checkout.flag(session.session_id, reason, None, at)
                self._checkout.close(session.session_id, at)
            except Exception:
                # It stays open, and is looked for like that of anybody whom no sensor has found.
                _log.exception("visit %s could not be ended", session.session_id)
        return ()

    def plate_health(self) -> tuple[PlateHealth, ...]:
        """How the plates of the layout are doing."""
        now, found = self._now(), []
        for plate in self._layout.plates:
            last_at, rate_hz, reading = self._plates.get(plate.plate_id, (None, None, np.nan))
            grams = None if np.isnan(reading) else round(reading, 1)
            detail = ""
            if last_at is None:
                detail = "it has not spoken yet"
            elif now - last_at > timedelta(seconds=AWAY_S):
                detail = "it has been silent for some time"
            elif grams is None:
                detail = "its shelf speaks, but the plate does not answer"
            place = (plate.plate_id, plate.gondola_id, plate.shelf_id)
            found.append(PlateHealth(*place, last_at, rate_hz, grams, not detail, detail))
        return tuple(found)

    def readiness(self) -> Readiness:
        """Whether ticks come and are dealt with."""
        if self._ticked_s is None:
            return Readiness("floor", False, "no sensor has spoken yet")
        if time.monotonic() - self._ticked_s > SILENT_S:
            return Readiness("floor", False, "no sensor speaks")
        return Readiness("floor", True)

    def _admitted(self, code: str) -> Session | None:
        """The open visit that a gate's code stands for."""
        try:
            session = self._checkout.session(UUID(code))
        except (ValueError, SessionNotFound):
            return None
        return session if session.status is SessionStatus.OPEN else None

    def _deal_with(self, event: StoreEvent) -> None:
        try:
            if isinstance(event, VisitOpened) and event.session is not None:
                self._opened(event, event.session)
            elif isinstance(event, InteractionSeen):
                self._handled(event)
            elif isinstance(event, VisitClosed):
                outcome = event.outcome
                self._inside.discard(outcome.session.session_id)
                receipt = outcome.receipt
                reasons = tuple(flag.reason for flag in outcome.flags)
                lines = tuple((line.sku, line.quantity) for line in receipt.lines)
                number, total_minor = receipt.receipt_number, receipt.total_minor
                self._tell(Left(outcome.session, number, total_minor, receipt.currency, lines, reasons))
        except Exception:
            _log.exception("an event could not be written down or told")

    def _look_for_lost(self) -> None:
        """Have a person look at visits of people who were let in and whom no sensor has found since."""
        at = self._now()
        try:
            with self._database.reading() as repository:
                ids = repository.sql.scalars(
                    select(SessionRow.session_id)
                    .join(AdmissionRow, AdmissionRow.session_id == SessionRow.session_id)
                    .where(
                        SessionRow.status == SessionStatus.OPEN.value,
                        SessionRow.has_account.is_(True),
                        SessionRow.opened_at < at - LOST_AFTER,
                        exists().where(
                            GateCommandRow.session_id == SessionRow.session_id, GateCommandRow.opened.is_(True)
                        ),
                    )
                ).all()
            for session_id in ids:
                if session_id not in self._inside:
                    self._checkout.flag(session_id, _NEVER_SEEN, None, at)
                    self._checkout.close(session_id, at)
        except Exception:
            _log.exception("visits of people whom nobody sees cannot be looked for; they are later")

    def _opened(self, event: VisitOpened, session: Session) -> None:
        self._inside.add(session.session_id)
        known = session.has_account or session.shopper_id.startswith(STAFF_PREFIX)
        if not known:
            at = self._now()
            with self._database.transaction() as repository:
                subject = f"session:{session.session_id}"
                audit.record(repository, None, "entry.without_code", subject, {}, at)
                said = {"type": "entry.without_code", "at": at.isoformat(), "session_id": str(session.session_id)}
                outbox.put(repository, Effect.WEBHOOK, f"webhook:entry.without_code:{session.session_id}", said, at)
        self._tell(Came(session, known))

    def _handled(self, seen: InteractionSeen) -> None:
        interaction = seen.interaction
        place = place_name(self._layout.bin(interaction.bin_id), plate_numbers(interaction.plate_ids))
        facts = self._facts(seen, place)
        shares: dict[UUID, float] = {}
        for session, candidate in zip(seen.sessions, interaction.candidates, strict=False):
            if session is not None:
                shares[session.session_id] = shares.get(session.session_id, 0.0) + candidate.probability
        for session_id, share in shares.items():
            if share >= LEAST_SHARE:
                self._evidence.add(session_id, interaction.interaction_id, EvidenceKind.INTERACTION, facts)
        best = interaction.candidates[0] if interaction.candidates else None
        whose = seen.sessions[0] if seen.sessions and seen.recorded_for is not None else None
        self._tell(
            Handled(
                None if whose is None else whose.session_id,
                interaction.kind is Handling.PICK,
                "something" if interaction.sku is None else self._names.get(interaction.sku, interaction.sku),
                interaction.quantity,
                0.0 if best is None else best.probability,
                place,
            )
        )

    def _facts(self, seen: InteractionSeen, place: str) -> InteractionFacts:
        interaction = seen.interaction
        weight = interaction.evidence.weight
        candidates = tuple(
            EvidenceCandidate(
                name if session is None else session.shopper_id, each.sku, each.quantity, round(each.probability, 6)
            )
            for each, name, session in zip(interaction.candidates, seen.shoppers, seen.sessions, strict=True)
        )[:MOST_CANDIDATES]
        curve = None
        if weight is not None and len(weight.curve_ns):
            known = np.isfinite(weight.curve_g)
            times_s = (weight.curve_ns[known] - interaction.start_ns) / NANOSECONDS
            if len(times_s):
                grams = weight.curve_g[known]
                curve = WeightCurve(tuple(times_s.round(3).tolist()), tuple(grams.round(1).tolist()))
        start, end = moment(interaction.start_ns), moment(max(interaction.end_ns, interaction.start_ns))
        cameras = tuple(dict.fromkeys(self._cameras))
        kind = "pick" if interaction.kind is Handling.PICK else "put_back"
        return InteractionFacts(kind, interaction.bin_id, place, start, end, cameras, candidates, curve)


class Feed(Protocol):
    """Where ticks come from: in their time, until it is closed or has ended."""

    def __iter__(self) -> Iterator[Tick]:
        """Give ticks; blocks until each is due."""
        ...

    def close(self) -> None:
        """Stop soon; from any thread."""
        ...


class FloorThread:
    """Feeds a floor in a thread of its own.

    Args:
        floor: The store.
        feed: Where its ticks come from.
    """

    def __init__(self, floor: Floor, feed: Feed) -> None:
        self._floor, self._feed = floor, feed
        self._stopping = threading.Event()
        self.error = ""
        self._thread = threading.Thread(target=self._run, name="floor", daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether ticks are still taken."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Open the store."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Close the store, and every visit in it; returns whether that was done in time."""
        self._stopping.set()
        self._feed.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for tick in self._feed:
                self._floor.step(tick)
                if self._stopping.is_set():
                    break
        except Exception as error:
            _log.exception("the store's sensors cannot be read any more")
            self.error = " ".join(str(error).split())[:200] or type(error).__name__
        finally:
            self._floor.finish(stopped=self._stopping.is_set() or bool(self.error))


class InItsTime:
    """Gives the ticks of something recorded as if they happened now, in real time (``Feed``).

    In real time it loses pictures as cameras do: one whose successor is due already when its turn comes is left out, so
    that a machine that is too slow sees fewer pictures, and never older ones. At any other speed all are given.

    Args:
        ticks: In time order.
        start_ns: The recording's beginning, on its own clock.
        clock_ns: The store clock.
        speed: How many times real time; infinite for as fast as it goes.
        clock_s: A clock that is never set, seconds.

    Attributes:
        left_out: How many pictures were.
    """

    def __init__(
        self,
        ticks: Iterable[Tick],
        start_ns: int,
        clock_ns: Callable[[], int] = time.time_ns,
        speed: float = 1.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed: expected more than 0, got {speed}")
        self._ticks, self._start_ns, self._clock_ns, self._speed = ticks, start_ns, clock_ns, speed
        self._clock_s = clock_s
        self._closed = threading.Event()
        self._filmed_ns: dict[str, int] = {}
        self.left_out = 0

    def close(self) -> None:
        """Stop."""
        self._closed.set()

    def __iter__(self) -> Iterator[Tick]:
        """Give ticks when they are due."""
        began_ns = self._clock_ns() - self._start_ns
        pace = Pace(self._speed, self._clock_s)
        for tick in self._ticks:
            wait_s = pace.ahead_s((tick.timestamp_ns - self._start_ns) / NANOSECONDS)
            if self._closed.wait(wait_s) if wait_s > 0 else self._closed.is_set():
                return
            if self._speed == 1.0:
                # After the machine slept, what is played later happens later.
                shift_ns = began_ns + round(pace.skipped_s * NANOSECONDS)
                yield shifted(self._without_stale(tick, -wait_s), shift_ns)
            else:
                yield shifted(tick, began_ns)

    def _without_stale(self, tick: Tick, late_s: float) -> Tick:
        """Leave out pictures whose successors are due already."""
        kept = []
        for frame in tick.frames:
            before_ns = self._filmed_ns.get(frame.camera_id, -np.inf)
            self._filmed_ns[frame.camera_id] = frame.timestamp_ns
            if late_s * NANOSECONDS <= frame.timestamp_ns - before_ns:
                kept.append(frame)
        if len(kept) == len(tick.frames):
            return tick
        if not self.left_out:
            _log.warning("this machine is too slow for all pictures in real time; some are left out")
        self.left_out += len(tick.frames) - len(kept)
        return replace(tick, frames=tuple(kept))


class Pace:
    """Says how long to wait until a moment of something played is due.

    Args:
        speed: How many times real time.
        clock_s: A clock that is never set, seconds.
    """

    def __init__(self, speed: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._speed, self._clock_s = speed, clock_s
        self._began_s: float | None = None
        self.skipped_s = 0.0

    def wait_s(self, played_s: float) -> float:
        """Seconds until a moment, told from the beginning of what is played; 0 if it is due.

        After a long sleep of the machine nothing hurries to catch up: the rest is played later by as much, which
        ``skipped_s`` adds up, in seconds of what is played.
        """
        return max(0.0, self.ahead_s(played_s))

    def ahead_s(self, played_s: float) -> float:
        """The same; below 0 for how long a moment has been due already."""
        if self._speed == np.inf:
            return 0.0
        now_s = self._clock_s()
        if self._began_s is None:
            self._began_s = now_s - played_s / self._speed
        due_s = self._began_s + played_s / self._speed
        if now_s - due_s > LAGGING_S:
            self._began_s += now_s - due_s
            self.skipped_s += (now_s - due_s) * self._speed
            return 0.0
        return due_s - now_s


class Sightings(Protocol):
    """Cameras as a source of ticks; see ``vision.sources.StreamSource``."""

    def __iter__(self) -> Iterator[Tick]:
        """Give ticks as they come."""
        ...

    def close(self) -> None:
        """Let go of the cameras."""
        ...


class LiveFeed:
    """Puts together what cameras, scales and gates of a real store say (``Feed``).

    Scales and gates speak into an inbox, over MQTT or HTTP. A gate that only answers its orders (HTTP) is taken to have
    been passed when it says that it opened; one that also tells who passed (MQTT) is believed.

    Args:
        cameras: The cameras; None for a store without.
        inbox: What scales and gates say.
        database: Knows which visit an order to a gate was for.
        clock_ns: The store clock.
    """

    def __init__(
        self,
        cameras: Sightings | None,
        inbox: Inbox,
        database: Database,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._cameras, self._inbox, self._database, self._clock_ns = cameras, inbox, database, clock_ns
        self._closed = threading.Event()
        self._told: OrderedDict[UUID, None] = OrderedDict()
        self._looked_at = moment(clock_ns())
        self._look_s = -np.inf
        self._last_ns = 0

    def close(self) -> None:
        """Stop."""
        self._closed.set()
        if self._cameras is not None:
            self._cameras.close()

    def __iter__(self) -> Iterator[Tick]:
        """Give ticks about ten times a second."""
        for tick in self._instants() if self._cameras is None else self._cameras:
            if self._closed.is_set():
                return
            yield self._with_messages(tick)

    def _instants(self) -> Iterator[Tick]:
        while not self._closed.wait(STEP_S):
            yield Tick(self._clock_ns())

    def _with_messages(self, tick: Tick) -> Tick:
        scales: list[ScaleSamples] = []
        gates: list[GateEvent] = []
        for message in self._inbox.take():
            if isinstance(message, PlateMessage):
                scales.append(ScaleSamples(message.timestamp_ns, message.plate_ids, message.grams, message.rate_hz))
            else:
                gates += self._heard(message)
        gates += self._answered()
        latest = max((int(block.timestamp_ns[-1]) for block in scales), default=0)
        self._last_ns = max(self._last_ns, tick.timestamp_ns, latest)
        return replace(tick, timestamp_ns=self._last_ns, scales=(*tick.scales, *scales), gates=(*tick.gates, *gates))

    def _heard(self, news: GateNews) -> list[GateEvent]:
        """What a gate said by itself."""
        at_ns = _nanoseconds(news.at)
        if news.kind is GateNewsKind.PASSED_OUT:
            return [GateEvent(at_ns, news.gate_id, "passed-out")]
        if news.kind is GateNewsKind.PASSED_IN:
            session_id = None if news.grant_id is None else self._visit_of(news.grant_id)
            return [GateEvent(at_ns, news.gate_id, "passed-in", None if session_id is None else str(session_id))]
        if news.grant_id is not None:  # it will say when somebody has passed
            self._remember(news.grant_id)
        return []

    def _answered(self) -> list[GateEvent]:
        """Gates that have answered an order since the last look, and say nothing else."""
        now_s = time.monotonic()
        if now_s - self._look_s < LOOKS_AT_GATES_S:
            return []
        self._look_s = now_s
        since = self._looked_at - timedelta(seconds=2)  # what was written a moment late is seen all the same
        try:
            with self._database.reading() as repository:
                rows = repository.sql.scalars(
                    select(GateCommandRow).where(GateCommandRow.answered_at >= since, GateCommandRow.opened.is_(True))
                ).all()
                found = [(row.grant_id, row.gate_id, row.session_id, row.answered_at) for row in rows]
        except SQLAlchemyError:
            _log.exception("what gates have answered cannot be read; it is read later")
            return []
        events = []
        for grant_id, gate_id, session_id, answered_at in found:
            if answered_at is None:
                continue
            self._looked_at = max(self._looked_at, answered_at)
            if grant_id not in self._told:
                self._remember(grant_id)
                code = None if session_id is None else str(session_id)
                events.append(GateEvent(_nanoseconds(answered_at), gate_id, "passed-in", code))
        return events

    def _visit_of(self, grant_id: UUID) -> UUID | None:
        self._remember(grant_id)
        try:
            with self._database.reading() as repository:
                row = repository.sql.get(GateCommandRow, grant_id)
                return None if row is None else row.session_id
        except SQLAlchemyError:
            _log.exception("which visit order %s was for cannot be read", grant_id)
            return None

    def _remember(self, grant_id: UUID) -> None:
        self._told[grant_id] = None
        while len(self._told) > REMEMBERED_GRANTS:
            self._told.popitem(last=False)


def scales_into(inbox: Inbox) -> Callable[[ScaleMessage], None]:
    """Take what scales send over HTTP as if it had come over MQTT."""

    def take(message: ScaleMessage) -> None:
        times_ns = message.timestamp_ns + np.round(np.arange(len(message.grams)) * NANOSECONDS / message.rate_hz)
        gondola = message.plate_id.partition("/")[0]
        inbox.put(
            PlateMessage(
                int(gondola) if gondola.isdecimal() else 0,
                (message.plate_id,),
                times_ns.astype(np.int64),
                np.array(message.grams, np.float32)[:, None],
                message.rate_hz,
            )
        )

    return take


def recover(database: Database, checkout: Checkout, at: datetime) -> int:
    """Have a person look at visits that a process of this store left open when it ended; nobody sees those people now.

    A visit that has only just begun is left alone: whoever opened it may still be before the door. The doorman lets it
    go if nobody comes.

    Args:
        database: The shop's.
        checkout: Closes them.
        at: Now, timezone-aware.

    Returns:
        How many visits were closed.
    """
    check_aware("at", at)
    with database.reading() as repository:
        rows = repository.sql.execute(
            select(SessionRow.session_id, SessionRow.opened_at, AdmissionRow.session_id)
            .outerjoin(AdmissionRow, AdmissionRow.session_id == SessionRow.session_id)
            .where(SessionRow.status == SessionStatus.OPEN.value)
            .order_by(SessionRow.opened_at)
        ).all()
        used = set(
            repository.sql.scalars(
                select(CartEventRow.session_id).where(CartEventRow.session_id.in_([row[0] for row in rows])).distinct()
            )
        )
    count = 0
    for session_id, opened_at, admitted in rows:
        if admitted is not None and session_id not in used and at - opened_at < LOST_AFTER:
            continue
        with contextlib.suppress(StoreError):
            checkout.flag(session_id, _RESTARTED, None, at)
            checkout.close(session_id, at)
            count += 1
    return count


def shifted(tick: Tick, shift_ns: int) -> Tick:
    """The same tick at another time."""
    if not shift_ns:
        return tick
    bodies: TrackedBodies | None = tick.bodies
    if bodies is not None:
        bodies = replace(bodies, timestamp_ns=bodies.timestamp_ns + shift_ns)
    return Tick(
        tick.timestamp_ns + shift_ns,
        tuple(replace(frame, timestamp_ns=frame.timestamp_ns + shift_ns) for frame in tick.frames),
        tuple(replace(block, timestamp_ns=block.timestamp_ns + shift_ns) for block in tick.scales),
        bodies,
        tuple(replace(gate, timestamp_ns=gate.timestamp_ns + shift_ns) for gate in tick.gates),
    )


def moment(timestamp_ns: int) -> datetime:
    """A time of the store clock, UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=timestamp_ns // 1000)


def _nanoseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
