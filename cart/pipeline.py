"""Wires one store: what the sensors give becomes identities, interactions, cart events and receipts."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from uuid import UUID, uuid5

import numpy as np

from cart.catalog import Catalogue, Product, is_gtin
from cart.checkout import Checkout, Outcome
from cart.errors import SessionAlreadyClosed
from cart.events import CartEvent, ReviewFlag
from cart.questions import Possibility, Question, question_about, still_has
from cart.review_costs import ReviewCosts
from cart.sessions import Session
from tracking.attribution_settings import AttributionSettings
from tracking.between import tracks_between
from tracking.body_identities import BodyIdentities
from tracking.camera_faults import CameraNotice
from tracking.entries import Entry, EntryBinder
from tracking.held_pictures import HeldPictures
from tracking.identities import IdentityTracker
from tracking.interactions import InteractionWatcher
from tracking.scales import WeightWatcher
from tracking.tracker import Tracker
from tracking.types import Candidate, HandContact, Identities, Interaction, MixUp, Tracks, Unsettled, WeightChange
from tracking.visits import Leaving, VisitEnd, VisitWatcher
from tracking.whereabouts import Whereabouts
from vision.arrival import PictureMemory
from vision.detections import Detections
from vision.detector import ObjectDetector
from vision.frames import Frame, Tick
from vision.held import HeldLooker
from vision.layout import Bin, ProductRecord, StoreLayout
from vision.seeing import Action, Look, Seeing, SeeingSettings
from vision.shelf import Handling, ShelfChange, ShelfWatcher
from vision.shelf_faces import FaceWatcher, best_views

logger = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
STAFF_PREFIX = "staff:"
"""A code that begins so was shown by staff, who pay for nothing."""
NOBODYS_SHARE = 0.5  # a pick that all known people together explain less well than that was somebody's unseen hand
NEAR_M, HAND_NEAR_M, BEFORE_S = 1.8, 0.9, 1.5
"""Whoever was never within this of a plate that moves, from so long before on, has not moved it: an arm's reach (1.2 m)
and half a metre that trackers err by at most; a hand over it (0.4 m), the same half metre."""
SEEN_AT_ALL = 0.3  # what pictures or hands alone tell of is no line of a cart, only a question, below that
STORE_NAMESPACE = UUID("6f0d2c6e-5f1b-5b0e-9a55-5d1d4e0c7f3a")
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """When the store is sure enough.

    Attributes:
        costs: What mistakes and looks cost. An interaction is charged without a person's look from
            ``costs.charge_probability`` on; whoever may have taken something with at least
            ``costs.suspect_probability`` is not charged before a person has looked.
        attribution: How weight changes are explained.
        settle_s: A visit is charged this long after it ended, for messages that come late ...
        patience_s: ... and no plate or shelf that moved before it ended is still unsettled, or after this long.
        remembered_s: Evidence that comes later than that still finds whose visit it was for so long.
        watches_faces: Whether calibrated cameras watch the faces of bins whose plates, if they have any, are silent.
        faces_from_s: Plates that have not spoken for so long from the beginning are silent.
    """

    costs: ReviewCosts = field(default_factory=ReviewCosts)
    attribution: AttributionSettings = field(default_factory=AttributionSettings)
    settle_s: float = 1.5
    patience_s: float = 15.0
    remembered_s: float = 120.0
    watches_faces: bool = True
    faces_from_s: float = 2.0


@dataclass(frozen=True, slots=True)
class VisitOpened:
    """Somebody came in and was checked in; ``session`` is their visit."""

    shopper: str
    identity_id: int
    entered_ns: int
    session: Session | None = None


@dataclass(frozen=True, slots=True)
class HandSeen:
    """A hand was in a bin; ``shopper`` is whose it was."""

    shopper: str
    contact: HandContact


@dataclass(frozen=True, slots=True)
class InteractionSeen:
    """Something was taken or put back.

    Attributes:
        interaction: What the sensors say.
        shoppers: Who each candidate is, in the order of ``interaction.candidates``.
        recorded_for: Whose cart it went into; None when it was nobody's, or too unsure for any cart.
        sure: Whether it may be charged without a person's look.
        sessions: The visit of each candidate, in the same order; None for somebody without one.
    """

    interaction: Interaction
    shoppers: tuple[str, ...]
    recorded_for: str | None
    sure: bool
    sessions: tuple[Session | None, ...] = ()


@dataclass(frozen=True, slots=True)
class VisitClosed:
    """A visit ended and was charged, or says why not.

    Attributes:
        shopper: Whose visit.
        entered_ns: When it began, store clock.
        left_ns: When the shopper was last seen inside.
        leaving: How they left.
        outcome: Receipt, charge and reasons for review.
    """

    shopper: str
    entered_ns: int
    left_ns: int
    leaving: Leaving
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Expected:
    """What will probably go into a cart, or come out of it, once the plates have settled. Nobody is charged by it.

    Attributes:
        session: Whose visit.
        sku: What.
        quantity: How many units; below 0 for what comes back.
        probability: How sure the store is by now, 0 to 1.
        time_ns: When it was taken or put back, store clock.
    """

    session: Session
    sku: str
    quantity: int
    probability: float
    time_ns: int


StoreEvent: TypeAlias = VisitOpened | HandSeen | InteractionSeen | VisitClosed


@dataclass(frozen=True, slots=True)
class LiveCart:
    """A cart as it stands: whose, and (sku, units) of each line."""

    shopper: str
    identity_id: int
    lines: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class _SetDown:
    """Something that a visit has put on a shelf, for when it takes the very thing away again.

    Attributes:
        taken_out: Product and units that left the visit's cart by it; None if none did.
        doubts: What a person is to be asked if it stays there: reason, moment, question.
    """

    taken_out: tuple[str, int] | None = None
    doubts: list[tuple[str, datetime, Question | None]] = field(default_factory=list)


@dataclass(slots=True)
class _Visit:
    """A party on one account: usually one person; with gates, everybody let in on the same code while it is inside."""

    shopper: str
    session: Session
    entered_ns: int
    members: list[int]
    endings: dict[int, VisitEnd]
    recorded: list[tuple[int, UUID]] = field(default_factory=list)
    """When each interaction in its cart took place, store clock, and its id."""
    flagged: set[tuple[str, UUID | None]] = field(default_factory=set)
    """Why a person is to look at it, and the interaction behind each reason."""
    set_down: dict[UUID, "_SetDown"] = field(default_factory=dict)
    """What it has put on shelves, by the interaction."""

    @property
    def last(self) -> VisitEnd | None:
        """How the last member left; None while somebody of the party is inside."""
        if any(member not in self.endings for member in self.members):
            return None
        return max(self.endings.values(), key=lambda end: end.last_seen_ns)


class StorePipeline:
    """One store from its sensors to its receipts. Feed it ticks in order; it gives what happened.

    Without gates everybody who is tracked is a visit with an implied check-in on an account of their own. With gates
    a visit belongs to the code that was read when its first member came in; who comes in on the same code while that
    visit lasts joins it, and who comes in without one has no account.

    Args:
        layout: The store, fitted to its cameras' pictures (``StoreLayout.for_pictures``).
        checkout: Where carts are kept and charged.
        detector: Sees people and products; None for a store whose bodies come from an outside tracker.
        settings: When the store is sure enough.
        has_gates: Whether gates say who comes in.
        has_account: Whether the shopper of that name has an account that can be charged.
        seeing: How often the detector runs; None for every frame.
        held: Names what hands hold from its picture; None without a gallery of the shop's products.
        admitted: The open visit that a code stands for, where somebody else checks shoppers in when they show it; None,
            for a code it does not know, lets them be checked in here, and so does leaving it out.
    """

    def __init__(
        self,
        layout: StoreLayout,
        checkout: Checkout,
        detector: ObjectDetector | None = None,
        settings: PipelineSettings | None = None,
        *,
        has_gates: bool = False,
        has_account: Callable[[str], bool] = lambda shopper: True,
        seeing: SeeingSettings | None = None,
        held: HeldLooker | None = None,
        admitted: Callable[[str], Session | None] = lambda code: None,
    ) -> None:
        self.layout = layout
        self._names = {product.sku: product.name for product in layout.products}
        self.people = Identities.nobody(0)
        self.detections: tuple[Detections, ...] = ()
        self.looks: tuple[Look, ...] = ()
        self.looked: dict[str, str] = {}  # camera -> how its last frame was looked at, for people
        self._checkout = checkout
        self._detector = detector
        self._held = held
        every_frame = SeeingSettings(detect_every=1, sleeps=False)
        self._seeing = None if detector is None else Seeing(detector, seeing or every_frame)
        self._settings = settings or PipelineSettings()
        self._has_account = has_account
        self._admitted = admitted
        self._trackers: dict[str, Tracker] = {}
        self._last_frame_ns: dict[str, int] = {}
        self._pictures = PictureMemory()
        self._shelves = _shelf_watchers(layout)
        self._faces: dict[str, FaceWatcher] | None = None
        self._speaking_plates: set[str] = set()
        self._first_ns: int | None = None
        self._scales = WeightWatcher(layout.plates) if layout.plates else None
        self._identities = IdentityTracker(layout)
        self._bodies: BodyIdentities | None = None
        self._interactions = InteractionWatcher(
            layout, uuid5(STORE_NAMESPACE, layout.name), attribution=self._settings.attribution
        )
        self._visit_watcher = VisitWatcher(layout)
        self._entries = EntryBinder(layout) if has_gates else None
        self._visits: dict[int, _Visit] = {}
        self._leaving: list[_Visit] = []
        self._charged: dict[int, _Visit] = {}
        self._mix_ups: list[MixUp] = []
        self._whereabouts = Whereabouts()
        self._visit_count = 0
        self._now_ns = 0

    @property
    def open_contacts(self) -> tuple[tuple[int, str], ...]:
        """Who has a hand in which bin right now, as (identity_id, bin_id)."""
        return self._interactions.open_contacts

    @property
    def unsettled(self) -> list[Unsettled]:
        """What may still turn out to be an interaction."""
        watchers: list[ShelfWatcher | FaceWatcher] = [*self._shelves.values(), *(self._faces or {}).values()]
        faces_ns = [watcher.unsettled_since_ns for watcher in watchers]
        found = self._interactions.waiting() + [Unsettled(ns) for ns in faces_ns if ns is not None]
        if self._scales is not None:
            found += self._scales.unsettled()
        return found

    @property
    def changes_by_nobody(self) -> tuple[ShelfChange, ...]:
        """The last changes of watched faces that nobody was near enough to make, or no hand was seen to make."""
        unseen = [change for watcher in (self._faces or {}).values() for change in watcher.by_nobody]
        return tuple(sorted((*self._interactions.by_nobody, *unseen), key=lambda change: change.time_ns))

    @property
    def camera_notices(self) -> tuple[CameraNotice, ...]:
        """What was found wrong with cameras so far: dead, moved, or with a clock that is off."""
        return tuple(self._identities.notices)

    @property
    def frames_by_action(self) -> dict[Action, int]:
        """How many frames were detected in, followed through and left alone so far; empty without a detector."""
        return {} if self._seeing is None else self._seeing.counts

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the detector calls its classes, by ``class_id``; empty without one."""
        return () if self._detector is None else tuple(self._detector.class_names)

    def shopper(self, identity_id: int) -> str | None:
        """Who an identity is; None for somebody who is not in a visit."""
        visit = self._visits.get(identity_id)
        return None if visit is None else visit.shopper

    def session(self, identity_id: int) -> Session | None:
        """The visit of an identity; None for somebody who is not in one."""
        visit = self._visits.get(identity_id)
        return None if visit is None else visit.session

    def carts(self) -> tuple[LiveCart, ...]:
        """The carts of everybody in the store, in the order they came."""
        inside = [visit for visit in self._parties() if visit.last is None]
        carts = self._checkout.carts([visit.session.session_id for visit in inside])
        return tuple(
            LiveCart(
                visit.shopper,
                next(member for member in visit.members if member not in visit.endings),
                tuple((line.sku, line.quantity) for line in carts[visit.session.session_id].lines),
            )
            for visit in inside
        )

    def expected(self) -> tuple[Expected, ...]:
        """What plates that have moved will probably come to, in the order of its time."""
        found = []
        for interaction in self._interactions.expected([] if self._scales is None else self._scales.settling()):
            parties = _by_party(
                interaction, {c.identity_id: self._visit_of(c.identity_id) for c in interaction.candidates}
            )
            if not parties:
                continue
            best, probability = parties[0]
            if best.sku is None or probability < SEEN_AT_ALL:
                continue
            pays, _ = self._payer(interaction, best, self._visits.get(best.identity_id))
            if pays is not None:
                sign = 1 if interaction.kind is Handling.PICK else -1
                change = sign * best.quantity
                found.append(Expected(pays.session, best.sku, change, probability, interaction.time_ns))
        return tuple(found)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Every visit that is not closed, in the order they came."""
        return tuple(visit.session for visit in self._parties())

    def _parties(self) -> list[_Visit]:
        """Every visit that is not closed, once each, in the order they came."""
        return list({id(visit): visit for visit in self._visits.values()}.values())

    def step(self, tick: Tick) -> list[StoreEvent]:
        """Take everything of one instant; give what happened, in order."""
        self._now_ns = max(self._now_ns, tick.timestamp_ns)
        weight_changes: list[WeightChange] = []
        for samples in tick.scales:
            if self._scales is not None:
                self._interactions.plates_speak(samples.plate_id)
                self._speaking_plates.update(samples.plate_id)
                weight_changes += self._scales.update(samples)
        if self._entries is not None:
            self._entries.hear(tick.gates)
        shelf_changes = self._see(tick)
        self._interactions.add(weight_changes, shelf_changes)
        events: list[StoreEvent] = []
        if tick.bodies is not None or (tick.frames and self._bodies is None):
            events += self._follow()
        for interaction in self._interactions.judge(self._now_ns):
            events.append(self.record(interaction))
        if self._leaving:
            unsettled = self.unsettled
            events += self._close([visit for visit in self._leaving if self._is_settled(visit, unsettled)])
        return events

    def _is_settled(self, visit: _Visit, unsettled: Sequence[Unsettled]) -> bool:
        """Whether all that may belong to an ended visit is known."""
        ending = visit.last
        if ending is None:  # somebody has joined who is still inside
            return False
        gone_s = (self._now_ns - ending.last_seen_ns) / NANOSECONDS
        if gone_s < self._settings.settle_s:
            return False
        if gone_s >= self._settings.patience_s:
            return True
        return not any(self._may_be_of(visit, each, ending.last_seen_ns) for each in unsettled)

    def _may_be_of(self, visit: _Visit, unsettled: Unsettled, left_ns: int) -> bool:
        """Whether what is not settled yet may be of somebody of a visit, who left at some time."""
        if unsettled.since_ns > left_ns:
            return False
        if unsettled.identity_id is not None:
            return unsettled.identity_id in visit.members
        if unsettled.place_m is None:
            return True
        since_ns = unsettled.since_ns - int(BEFORE_S * NANOSECONDS)
        return any(
            self._whereabouts.may_have_been_near(member, unsettled.place_m, since_ns, left_ns, NEAR_M, HAND_NEAR_M)
            for member in visit.members
        )

    def finish(self, *, stopped: bool = False) -> list[StoreEvent]:
        """Close everything when the stream has ended.

        Args:
            stopped: Whether somebody ended it before its time: whoever is still inside is not charged for half a visit
                before a person has looked.
        """
        changes = [] if self._scales is None else self._scales.finish()
        watchers: list[ShelfWatcher | FaceWatcher] = [*self._shelves.values(), *(self._faces or {}).values()]
        shelf_changes = [change for watcher in watchers for change in watcher.finish()]
        self._interactions.add(changes, shelf_changes)
        contacts, interactions = self._interactions.finish()
        events = self._hands(contacts)
        events += [self.record(interaction) for interaction in interactions]
        self._end_visits(self._visit_watcher.finish())
        for mix_up in [*self._identities.finish(), *([] if self._bodies is None else self._bodies.finish())]:
            self.record_mix_up(mix_up)
        for visit in self._leaving if stopped else ():
            if visit.last is not None and visit.last.leaving is Leaving.RECORDING_ENDED:
                reason = "The store was stopped while this shopper was inside"
                self._flag(visit, reason, None, _moment(self._now_ns))
        events += self._close(list(self._leaving))
        return events

    def doubt_everybody(self, reason: str) -> None:
        """Have a person look at every visit that lasts, as after something was lost that may have been anybody's."""
        for visit in self._parties():
            self._flag(visit, reason, None, _moment(self._now_ns))

    def _see(self, tick: Tick) -> list[ShelfChange]:
        """Find who is there, from outside bodies or from pictures; give what changed on shelves."""
        changes: list[ShelfChange] = []
        self.detections, self.looks = (), ()
        if tick.bodies is not None:
            if self._bodies is None:
                # The outside tracker counts from 1 as well: whoever the cameras followed until now ends here.
                self._end_visits(self._visit_watcher.finish())
                self._bodies = BodyIdentities(self.layout)
            self.people = self._bodies.update(tick.bodies)
            for mix_up in self._bodies.take_mix_ups():
                self.record_mix_up(mix_up)
        frames = self._rising(tick.frames)
        if frames and self._seeing is not None:
            self.looks = tuple(self._seeing.look(frames))
            self.detections = tuple(look.detections for look in self.looks)
            self.looked |= {frame.camera_id: look.action.value for frame, look in zip(frames, self.looks, strict=True)}
            tracks: list[Tracks] = []
            for frame, look in zip(frames, self.looks, strict=True):
                watcher = self._shelves.get(frame.camera_id)
                if watcher is not None:
                    self._pictures.add(frame)
                    changes += watcher.update(frame, look.detections)
                tracks.append(self._track(frame, look, self._seeing))
            if self._bodies is None:
                self.people = self._identities.update(tick.timestamp_ns, tracks, frames)
                for mix_up in self._identities.take_mix_ups():
                    self.record_mix_up(mix_up)
                self._look_at_held(frames)
        return changes + self._watch_faces(frames)

    def _look_at_held(self, frames: Sequence[Frame]) -> None:
        """Look at what hands hold in frames that were detected in."""
        if self._held is None:
            return
        sightings = {view.camera_id: view for view in self.people.sightings}
        for frame, look in zip(frames, self.looks, strict=True):
            view = sightings.get(frame.camera_id)
            if view is None or look.action is not Action.DETECTED:
                continue
            seen = self._held.look(frame, look.detections, self.class_names)
            skus = self._held.gallery.skus
            pictures = HeldPictures.of(seen, view.identity_id, view.xyxy, skus, self._held.calibration)
            self._interactions.see_held(pictures)

    def _watch_faces(self, frames: Sequence[Frame]) -> list[ShelfChange]:
        """Let cameras that see faces of bins without a scale that speaks say what changed on them."""
        if not (self._settings.watches_faces and frames):
            return []
        if self._first_ns is None:
            self._first_ns = self._now_ns
        if self._faces is None:
            if self._now_ns - self._first_ns < self._settings.faces_from_s * NANOSECONDS:
                return []
            self._faces = _face_watchers(self.layout, self._speaking_plates, set(self._last_frame_ns))
        if not self._faces:
            return []
        detections = {each.camera_id: each for each in self.detections}
        changes: list[ShelfChange] = []
        for frame in frames:
            if frame.camera_id in self._faces:
                changes += self._faces[frame.camera_id].update(frame, detections.get(frame.camera_id))
        watchers = self._faces.values()
        self._interactions.faces_watched(
            frozenset().union(*(watcher.bin_ids for watcher in watchers)),
            frozenset().union(*(watcher.hidden for watcher in watchers)),
        )
        return changes

    def _rising(self, frames: Sequence[Frame]) -> list[Frame]:
        """Leave out frames that a camera with a wrong clock dates before its last one."""
        known_ns = self._last_frame_ns
        kept = [f for f in frames if f.camera_id not in known_ns or f.timestamp_ns > known_ns[f.camera_id]]
        known_ns.update({frame.camera_id: frame.timestamp_ns for frame in kept})
        return kept

    def _track(self, frame: Frame, look: Look, seeing: Seeing) -> Tracks:
        camera = self.layout.camera(frame.camera_id)
        tracker = self._trackers.get(frame.camera_id)
        if tracker is None:
            tracker = self._trackers[frame.camera_id] = Tracker(frame.camera_id, camera)
        if look.action is not Action.DETECTED:
            return tracks_between(tracker.coast(frame.timestamp_ns), look, camera)
        detections = look.detections
        view = self.layout.view(frame.camera_id)
        if view is not None and not view.follows_people:
            detections = detections[np.zeros(len(detections), bool)]
        tracks = tracker.update(detections)
        seeing.follow(frame.camera_id, tracks.xyxy, tracks.keypoints)
        return tracks

    def _follow(self) -> list[StoreEvent]:
        """Open and end visits, and follow hands."""
        self._whereabouts.add(self.people)
        came, gone = self._visit_watcher.update(self.people)
        if self._entries is None:
            entered = [Entry(identity_id, self._name(identity_id), first_ns) for identity_id, first_ns in came]
        else:
            entered = self._entries.update(self.people)
        events: list[StoreEvent] = [opened for entry in entered if (opened := self._let_in(entry)) is not None]
        for mix_up in [] if self._entries is None else self._entries.take_mix_ups():
            self.record_mix_up(mix_up)
        events += self._hands(self._interactions.see(self.people, self._pictures))
        self._end_visits(gone)
        return events

    def _name(self, identity_id: int) -> str:
        """What to call somebody whose name no gate gives."""
        return f"shopper-{self._visit_count + 1}" if self._bodies is None else self._bodies.name(identity_id)

    def _let_in(self, entry: Entry) -> VisitOpened | None:
        """Begin a visit, or join the one that lasts on the same code."""
        if not entry.came_in:
            self._interactions.never_came_in(entry.identity_id)
        for visit in self._parties() if self._entries is not None and entry.code is not None else ():
            if visit.shopper == entry.code and visit.session.has_account:
                visit.members.append(entry.identity_id)
                self._doubt(visit, entry)
                self._visits[entry.identity_id] = visit
                if visit in self._leaving:
                    self._leaving.remove(visit)
                return None
        self._visit_count += 1
        name = entry.code if entry.code is not None else f"unknown-{self._visit_count}"
        session = None if entry.code is None else self._admitted(entry.code)
        if session is None:
            has_account = entry.code is not None and not name.startswith(STAFF_PREFIX) and self._has_account(name)
            session = self._checkout.check_in(name, _moment(entry.entered_ns), has_account=has_account)
        visit = self._visits[entry.identity_id] = _Visit(name, session, entry.entered_ns, [entry.identity_id], {})
        self._doubt(visit, entry)
        return VisitOpened(name, entry.identity_id, entry.entered_ns, session)

    def _doubt(self, visit: _Visit, entry: Entry) -> None:
        """Have a person look at a visit whose code may be that of somebody who came in at the same moment."""
        if not entry.is_sure:
            reason = "Several people came in at nearly the same moment: this code may have been another's"
            self._flag(visit, reason, None, _moment(entry.entered_ns))

    def record_mix_up(self, mix_up: MixUp) -> None:
        """Have a person look at the visits of two who may have been mixed up, if anything was put down to them since.

        What they took before they met is theirs; only what was recorded since may be the other's.
        """
        self._mix_ups = [known for known in self._mix_ups if any(map(self._visit_of, known.identity_ids))]
        self._mix_ups.append(mix_up)
        found: list[tuple[_Visit, ReviewFlag]] = []
        for visit in {id(v): v for v in map(self._visit_of, mix_up.identity_ids) if v is not None}.values():
            for recorded_ns, interaction_id in visit.recorded:
                found += self._mixed_up(mix_up, recorded_ns, interaction_id)
        self._flag_all(found)

    def _mixed_up(self, mix_up: MixUp, recorded_ns: int, interaction_id: UUID) -> list[tuple[_Visit, ReviewFlag]]:
        """What a person is to look at because something was put down to one of two who may have been mixed up."""
        visits = [self._visit_of(identity_id) for identity_id in mix_up.identity_ids]
        late = mix_up.until_ns is not None and recorded_ns > mix_up.until_ns
        found: list[tuple[_Visit, ReviewFlag]] = []
        if recorded_ns < mix_up.since_ns or late or visits[0] is visits[1]:
            return found
        for visit, other in zip(visits, reversed(visits), strict=True):
            if visit is not None:
                named = "somebody else" if other is None else other.shopper
                reason = f"The cameras may have taken this shopper for {named} after the two were close together"
                flag = ReviewFlag(visit.session.session_id, reason, interaction_id, _moment(recorded_ns))
                found.append((visit, flag))
        return found

    def _flag(
        self, visit: _Visit, reason: str, cause_id: UUID | None, at: datetime, question: Question | None = None
    ) -> None:
        """Have a person look at a visit; what was said before is not written again."""
        self._flag_all([(visit, ReviewFlag(visit.session.session_id, reason, cause_id, at, question))])

    def _flag_all(self, flags: Sequence[tuple[_Visit, ReviewFlag]]) -> None:
        """Have a person look at several visits; what was said before is not written again."""
        new = [(visit, flag) for visit, flag in flags if (flag.reason, flag.cause_id) not in visit.flagged]
        self._checkout.flag_all([flag for _, flag in new])
        for visit, flag in new:
            visit.flagged.add((flag.reason, flag.cause_id))

    def _hands(self, contacts: Sequence[HandContact]) -> list[StoreEvent]:
        return [
            HandSeen(self._visits[contact.identity_id].shopper, contact)
            for contact in contacts
            if contact.identity_id in self._visits
        ]

    def _end_visits(self, ends: Sequence[VisitEnd]) -> None:
        for end in ends:
            visit = self._visits.get(end.identity_id)
            if visit is None:  # never came in
                continue
            visit.endings[end.identity_id] = end
            if visit.last is not None:
                self._leaving.append(visit)

    def record(self, interaction: Interaction) -> InteractionSeen:
        """Put an interaction into the cart it most probably belongs to, and say who cannot be charged on it.

        A visit that is already charged stays as it is; its flag is kept for whoever looks at it.
        """
        visits = {c.identity_id: self._visit_of(c.identity_id) for c in interaction.candidates}
        shoppers = tuple(
            f"person-{c.identity_id}" if (visit := visits[c.identity_id]) is None else visit.shopper
            for c in interaction.candidates
        )
        moment = _moment(interaction.time_ns)
        parties = _by_party(interaction, visits)
        best, probability = parties[0] if parties else (None, 0.0)
        open_visit = None if best is None else self._visits.get(best.identity_id)
        shares: dict[int, float] = {}  # by who stands for a party
        for candidate, share in parties:
            shares[candidate.identity_id] = shares.get(candidate.identity_id, 0.0) + share
        limit = self._settings.costs.charge_probability
        sure = best is not None and best.sku is not None and probability >= limit and not _is_only_seen(interaction)
        pays, returned = self._payer(interaction, best, open_visit)
        again = self._taken_again(interaction, best, open_visit, shares)
        for identity_id, share in shares.items():
            visit = visits[identity_id]
            if returned or visit is None or share < self._settings.costs.suspect_probability:
                continue
            if visit is open_visit and (sure or again is not None):
                continue
            verb = "taken from" if interaction.kind is Handling.PICK else "put back at"
            reason = f"Something was {verb} {place_name(self.layout.bin(interaction.bin_id))}: {share:.0%} sure that "
            reason += "it was this shopper"
            if best is not None and identity_id == best.identity_id and best.sku is not None:
                product = self._names.get(best.sku, best.sku)
                reason += f", {probability:.0%} that it was {best.quantity} x {product} and this shopper"
            question = self._question(interaction, shoppers, visit)
            if interaction.kind is Handling.PUT_BACK and visit is open_visit and share >= limit:
                self._set_down(visit, interaction).doubts.append((reason, moment, question))
                continue
            self._flag(visit, reason, interaction.interaction_id, moment, question)
        if interaction.kind is Handling.PUT_BACK and best is not None and open_visit is not None and not returned:
            self._doubt_holders(interaction, best, open_visit, moment)
        if interaction.kind is Handling.PICK and sum(shares.values()) < NOBODYS_SHARE:
            self._doubt_whoever_stood_there(interaction, moment)
        recorded_for = None
        if best is not None and again is not None and open_visit is not None:
            pays = open_visit
            back = open_visit.set_down[again].taken_out
            sku, quantity = back if back is not None else (None, 0)
        else:
            sku, quantity = (None, 0) if best is None else (best.sku, best.quantity)
        if (
            best is not None
            and sku is not None
            and pays is not None
            and shares[best.identity_id] >= self._settings.costs.suspect_probability
            and (probability >= SEEN_AT_ALL or not _is_only_seen(interaction))
        ):
            sign = 1 if interaction.kind is Handling.PICK else -1
            event = CartEvent(
                uuid5(interaction.interaction_id, pays.shopper),
                pays.session.session_id,
                moment,
                sku,
                sign * quantity,
                interaction.interaction_id,
                probability if again is None else shares[best.identity_id],
            )
            try:
                self._checkout.record(event)
                recorded_for = pays.shopper
                if interaction.kind is Handling.PUT_BACK and pays is open_visit:
                    self._set_down(pays, interaction).taken_out = sku, quantity
            except SessionAlreadyClosed:
                # Somebody has ended this visit by hand while its shopper is still inside.
                reason = "Something was handled after this visit had been ended by hand"
                self._flag(pays, reason, interaction.interaction_id, moment)
            pays.recorded.append((interaction.time_ns, interaction.interaction_id))
            concerned = [mix_up for mix_up in self._mix_ups if best.identity_id in mix_up.identity_ids]
            mixed_up = [self._mixed_up(each, interaction.time_ns, interaction.interaction_id) for each in concerned]
            self._flag_all([flag for flags in mixed_up for flag in flags])
        if again is not None and open_visit is not None:
            del open_visit.set_down[again]  # only now: were the database away, the question would be lost
        sessions = tuple(
            None if (visit := visits[c.identity_id]) is None else visit.session for c in interaction.candidates
        )
        return InteractionSeen(interaction, shoppers, recorded_for, sure or returned or again is not None, sessions)

    def _set_down(self, visit: _Visit, interaction: Interaction) -> _SetDown:
        return visit.set_down.setdefault(interaction.interaction_id, _SetDown())

    def _taken_again(
        self, interaction: Interaction, best: Candidate | None, visit: _Visit | None, shares: Mapping[int, float]
    ) -> UUID | None:
        """The put-back by which a visit has set down what it surely takes away again now, whatever that is."""
        limit = self._settings.costs.charge_probability
        if best is None or visit is None or interaction.again is None or shares[best.identity_id] < limit:
            return None
        put_back, probability = interaction.again
        return put_back if probability >= limit and put_back in visit.set_down else None

    def _payer(
        self, interaction: Interaction, best: Candidate | None, actor: _Visit | None
    ) -> tuple[_Visit | None, bool]:
        """Whose cart an interaction changes: the actor's, unless they return what only somebody else has.

        Who took something pays for it whoever carries it (hand-overs), and no longer once it is back.

        Returns:
            The visit, and whether it is sure that something of only this visit came back, whoever brought it.
        """
        if best is None or best.sku is None or interaction.kind is Handling.PICK or actor is None:
            return actor, False
        holders = self._holders(best.sku, best.quantity)
        if len(holders) == 1 and not actor.shopper.startswith(STAFF_PREFIX):
            limit = self._settings.costs.charge_probability
            return holders[0], _what(interaction, best) >= limit and not _is_only_seen(interaction)
        return actor, False

    def _holders(self, sku: str, quantity: int) -> list[_Visit]:
        """The visits of those in the store who have so many units of something."""
        parties = self._parties()
        carts = self._checkout.carts([visit.session.session_id for visit in parties])
        return [
            visit
            for visit in parties
            if sum(line.quantity for line in carts[visit.session.session_id].lines if line.sku == sku) >= quantity
        ]

    def _doubt_holders(self, interaction: Interaction, best: Candidate, actor: _Visit, moment: datetime) -> None:
        """Have a person look at who has what came back by somebody who has none of it.

        Staff restock, and they take things back; of a stranger nobody knows whose it was if several have one.
        """
        if best.sku is None:
            return
        product = self._names.get(best.sku, best.sku)
        holders = self._holders(best.sku, best.quantity)
        if actor in holders:
            return
        who = "Staff" if actor.shopper.startswith(STAFF_PREFIX) else "Somebody who has none"
        reason = f"{who} put {best.quantity} x {product} on a shelf, which may be what this shopper had"
        for visit in holders:
            question = self._still_has(interaction, best, visit)
            self._flag(visit, reason, interaction.interaction_id, moment, question)

    def _question(self, interaction: Interaction, shoppers: Sequence[str], visit: _Visit) -> Question:
        """Ask what of an interaction belongs into a visit's cart."""
        possibilities = [
            Possibility(who, c.sku, c.quantity, c.probability)
            for who, c in zip(shoppers, interaction.candidates, strict=True)
        ]
        came_back = interaction.kind is Handling.PUT_BACK
        happened = f"{'Put back at' if came_back else 'Taken from'} {place_name(self.layout.bin(interaction.bin_id))}"
        return question_about(visit.shopper, happened, possibilities, self._names, came_back=came_back)

    def _still_has(self, interaction: Interaction, best: Candidate, visit: _Visit) -> Question:
        """Ask whether what was put back is what a visit's cart has."""
        assert best.sku is not None
        where = place_name(self.layout.bin(interaction.bin_id))
        return still_has(visit.shopper, best.sku, best.quantity, self._names, where, min(1.0, _what(interaction, best)))

    def _doubt_whoever_stood_there(self, interaction: Interaction, moment: datetime) -> None:
        """Have a person look at the visits of those who could have taken what nobody was seen taking."""
        place = self.layout.bin(interaction.bin_id)
        if place.box is None:
            return
        reason = f"Something was taken from {place_name(place)}, most likely by nobody whose hand was seen; "
        reason += "this shopper stood within reach"
        for identity_id in self._whereabouts.within_reach(place.box.centre_m, interaction.time_ns):
            visit = self._visit_of(identity_id)
            if visit is not None:
                self._flag(visit, reason, interaction.interaction_id, moment)

    def _visit_of(self, identity_id: int) -> _Visit | None:
        """The visit of an identity, also one that was charged a short while ago."""
        return self._visits.get(identity_id) or self._charged.get(identity_id)

    def _close(self, visits: Sequence[_Visit]) -> list[StoreEvent]:
        events: list[StoreEvent] = []
        oldest_ns = self._now_ns - int(self._settings.remembered_s * NANOSECONDS)
        self._charged = {k: v for k, v in self._charged.items() if v.last and v.last.last_seen_ns > oldest_ns}
        for visit in visits:
            ending = visit.last
            assert ending is not None
            left_ns = ending.last_seen_ns
            for put_back, set_down in visit.set_down.items():
                for reason, at, question in set_down.doubts:
                    self._flag(visit, reason, put_back, at, question)
            # If the shop's database is away, the visit is still here to be closed the next time.
            outcome = self._checkout.close(visit.session.session_id, _moment(max(left_ns, self._now_ns)))
            self._leaving.remove(visit)
            for member in visit.members:
                if self._visits.get(member) is visit:
                    del self._visits[member]
                self._charged[member] = visit
            events.append(VisitClosed(visit.shopper, visit.entered_ns, left_ns, ending.leaving, outcome))
        return events


def catalogue_of(records: Sequence[ProductRecord], default_currency: str) -> Catalogue:
    """Make the shop's catalogue from what a site publishes.

    Args:
        records: The published products; all must be priced in one currency.
        default_currency: ISO 4217 code of an empty catalogue.

    Raises:
        ValueError: Products are priced in several currencies.
    """
    currencies = sorted({record.currency for record in records}) or [default_currency]
    if len(currencies) > 1:
        raise ValueError(f"the site prices products in several currencies: {', '.join(currencies)}")
    return Catalogue(
        currencies[0],
        [
            Product(
                record.sku,
                record.name,
                record.unit_price_minor,
                record.currency,
                record.tax_rate_bp or 0,
                mass_g=record.mass_g if np.isfinite(record.mass_g) and record.mass_g > 0 else None,
                gtin=record.sku if is_gtin(record.sku) else None,
            )
            for record in records
        ],
    )


def taxed(layout: StoreLayout, usual_rate_bp: int) -> StoreLayout:
    """Give the products of a layout that name no tax rate the usual one, basis points of the price without tax."""
    products = (
        replace(product, tax_rate_bp=usual_rate_bp) if product.tax_rate_bp is None else product
        for product in layout.products
    )
    return replace(layout, products=tuple(products))


def place_name(place: Bin, plates: tuple[int, ...] = ()) -> str:
    """A bin for people: ``gondola 1, shelf 5, plates 11-12``, or a drawn bin's name.

    Args:
        place: The bin.
        plates: Numbers to name instead of all plates of the bin.
    """
    numbers = sorted(plates or plate_numbers(place.plate_ids))
    if place.gondola_id is None or place.shelf_id is None:
        return place.bin_id
    name = f"gondola {place.gondola_id}, shelf {place.shelf_id}"
    if not numbers:
        return name
    if len(numbers) == 1:
        return f"{name}, plate {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{name}, plates {numbers[0]}-{numbers[-1]}"
    return f"{name}, plates {', '.join(str(number) for number in numbers)}"


def plate_numbers(plate_ids: tuple[str, ...]) -> tuple[int, ...]:
    """The published numbers of plates on their shelf, from ``gondola/shelf/plate``."""
    return tuple(int(plate_id.rsplit("/", 1)[-1]) for plate_id in plate_ids)


def _by_party(interaction: Interaction, visits: Mapping[int, _Visit | None]) -> list[tuple[Candidate, float]]:
    """What each party may have done, the most probable first: a candidate that stands for it, and the probability.

    Of those on one account it does not matter who it was; whoever is the likeliest of them stands for all.
    """
    stands_for: dict[int, int] = {}
    parties: dict[tuple[int, str | None, int], list[Candidate]] = {}
    for candidate in interaction.candidates:
        visit = visits[candidate.identity_id]
        party = candidate.identity_id if visit is None else stands_for.setdefault(id(visit), candidate.identity_id)
        parties.setdefault((party, candidate.sku, candidate.quantity), []).append(candidate)
    found = [
        (replace(same[0], identity_id=party), sum(candidate.probability for candidate in same))
        for (party, _, _), same in parties.items()
    ]
    return sorted(found, key=lambda each: -each[1])


def _what(interaction: Interaction, best: Candidate) -> float:
    """How sure it is what was handled, and how many, whoever did it."""
    same = [c for c in interaction.candidates if (c.sku, c.quantity) == (best.sku, best.quantity)]
    return sum(candidate.probability for candidate in same)


def _is_only_seen(interaction: Interaction) -> bool:
    """Whether pictures or hands alone tell of it: however sure they are, a person looks before anybody is charged."""
    evidence = interaction.evidence
    return evidence.weight is None and (evidence.shelf is not None or bool(evidence.contacts))


def _shelf_watchers(layout: StoreLayout) -> dict[str, ShelfWatcher]:
    cameras = {b.camera_id for b in layout.bins if b.polygon_px is not None and b.camera_id is not None}
    return {
        camera_id: ShelfWatcher([b for b in layout.bins if b.camera_id == camera_id and b.polygon_px is not None])
        for camera_id in sorted(cameras)
    }


def _face_watchers(layout: StoreLayout, speaking: set[str], camera_ids: set[str]) -> dict[str, FaceWatcher]:
    """A watcher for each calibrated camera that sees best the face of a bin which no scale that speaks is under.

    Args:
        layout: The store.
        speaking: Plates whose samples arrive.
        camera_ids: Cameras whose pictures arrive.
    """
    silent = {b.bin_id for b in layout.bins if b.sku is not None and not speaking & set(b.plate_ids)}
    return {
        camera_id: FaceWatcher(faces)
        for camera_id, views in best_views(layout, camera_ids).items()
        if (faces := [face for face in views if face.bin_id in silent])
    }


def _moment(timestamp_ns: int) -> datetime:
    return UNIX_EPOCH + timedelta(microseconds=timestamp_ns // 1000)
