"""Joins hands, weight and picture: from what was touched and what changed to who took or put back what."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid5

import numpy as np

from tracking.attribution import explain_weight_change
from tracking.attribution_settings import AttributionSettings
from tracking.contacts import ContactWatcher
from tracking.hand_lines import lone_hands
from tracking.held_pictures import HeldPictures
from tracking.past import Past
from tracking.shelves import Shelves
from tracking.types import (
    LONGEST_SPAN_S,
    Candidate,
    Evidence,
    HandContact,
    HandLines,
    HandPoints,
    Identities,
    Interaction,
    UnseenHands,
    Unsettled,
    WeightChange,
)
from tracking.whereabouts import Whereabouts
from vision.arrays import FloatArray
from vision.arrival import PictureMemory
from vision.layout import Bin, StoreLayout
from vision.shelf import Handling, ShelfChange

NANOSECONDS = 1_000_000_000
BESIDE_NS = 10 * NANOSECONDS  # a change is told within this of others that happened at the same time
NOBODY_KEPT = 100


@dataclass(frozen=True, slots=True)
class InteractionSettings:
    """How evidence is joined.

    Attributes:
        wait_s: After a change this long is waited for hands that are seen late.
        hands_kept_s: How far back hands are remembered: the longest contact and a settling scale.
        around_s: A hand this long before or after a change of the picture may have made it.
        shortest_take_s: Nobody takes anything in less.
        dwell_s: With hands alone, time at the bin after which two thirds of all contacts are takings.
        hands_alone: Largest probability of a taking that rests on a hand's stay alone.
        unseen_hand: Share of a change of the picture that goes to people in view whose hands were not seen there.
        past_s: How far back it is remembered who took what, and what was put back where: most visits are shorter.
        face_wait_s: A hand at a face that a calibrated camera watches is judged by its stay alone if the face has not
            changed for so long ...
        face_patience_s: ... or, while somebody stands before it, for so long.
        face_alone: Largest probability of a change that rests on a face's picture: how often that errs on real shelves
            is not known, so a person looks at it.
        stand_m: Those who take something from a face stand up to this far from the bin's middle ...
        stand_spread_m: ... and farther away the less likely, as the tail of a normal distribution with this deviation.
        never_came_in: Weight of somebody who is first seen deep inside and whom no gate let in.
        unseen_take: Weight of a put-back at a face of what nobody was seen taking, against 1 for what its owner has ...
        misplaced: ... and that of something they have that is planned elsewhere.
        face_by_reach: Share of a change of such a face, at which no hand was seen, that goes to those within reach.
        least_share: A hand was at a face if it was in its bin with at least this probability.
        unchanged: How much a hand's stay still counts where a face looks as it did before.
    """

    wait_s: float = 0.7
    hands_kept_s: float = 12.0
    around_s: float = 0.7
    shortest_take_s: float = 0.4
    dwell_s: float = 0.8
    hands_alone: float = 0.6
    unseen_hand: float = 0.3
    past_s: float = 3600.0
    face_wait_s: float = 4.0
    face_patience_s: float = 15.0
    face_alone: float = 0.85
    stand_m: float = 0.7
    stand_spread_m: float = 0.2
    never_came_in: float = 0.1
    unseen_take: float = 0.05
    misplaced: float = 0.15
    face_by_reach: float = 0.8
    least_share: float = 0.05
    unchanged: float = 0.5


class InteractionWatcher:
    """Turns contacts, weight changes and changes of the shelf's picture into interactions.

    A bin's scale decides where it has one that speaks, else the bin's picture where a camera looks at its face, else
    only a hand's stay is left, which says that something may have been taken and no more.
    """

    def __init__(
        self,
        layout: StoreLayout,
        namespace: UUID,
        settings: InteractionSettings | None = None,
        attribution: AttributionSettings | None = None,
    ) -> None:
        self._shelves = Shelves.of(layout)
        self._namespace = namespace
        self._settings = settings or InteractionSettings()
        self._attribution = attribution or AttributionSettings()
        self._contacts = ContactWatcher(layout)
        self._bins = {a_bin.bin_id: a_bin for a_bin in layout.bins}
        self._cameras = {camera.camera_id: camera for camera in layout.cameras}
        self._hands: deque[HandPoints] = deque()  # one entry an instant
        self._lines: deque[HandLines] = deque()
        self._unseen: deque[UnseenHands] = deque()
        self._pictures: deque[HeldPictures] = deque()
        self._recent: deque[HandContact] = deque()
        self._in_view: deque[tuple[int, str, frozenset[int]]] = deque()
        self._weight_changes: list[WeightChange] = []
        self._told_changes: list[WeightChange] = []
        self._shelf_changes: list[ShelfChange] = []
        self._speaking_plates: set[str] = set()
        self._heard: set[tuple[str, ...]] = set()
        self._ended: list[HandContact] = []
        self._past = Past()
        self._watched: frozenset[str] = frozenset()
        self._hidden: frozenset[str] = frozenset()
        self._hidden_ns: dict[str, int] = {}
        self._waiting: list[HandContact] = []
        self._whereabouts = Whereabouts()
        self._by_nobody: list[ShelfChange] = []
        self._never_came_in: dict[int, int] = {}  # identity -> when they were last there
        self._now_ns = 0
        self._expected: dict[tuple[tuple[str, ...], int, int], list[Interaction]] = {}

    @property
    def by_nobody(self) -> tuple[ShelfChange, ...]:
        """Changes of watched faces that nobody was near enough to make: told as no interaction."""
        return tuple(self._by_nobody)

    @property
    def open_contacts(self) -> tuple[tuple[int, str], ...]:
        """Who has a hand in which bin right now, as (identity_id, bin_id)."""
        return self._contacts.open_contacts

    def waiting(self) -> list[Unsettled]:
        """Changes and contacts that are known but not judged yet."""
        found = [Unsettled(change.start_ns, self._centre_of(change.plate_ids)) for change in self._weight_changes]
        for shelf_change in self._shelf_changes:
            box = self._bins[shelf_change.bin_id].box
            found.append(Unsettled(shelf_change.start_ns, None if box is None else box.centre_m))
        return found + [Unsettled(contact.start_ns, None, contact.identity_id) for contact in self._waiting]

    def _centre_of(self, plate_ids: Sequence[str]) -> FloatArray | None:
        centres = [self._shelves.plates[each].box.centre_m for each in plate_ids if each in self._shelves.plates]
        return np.asarray(np.mean(centres, axis=0)) if centres else None

    def plates_speak(self, plate_ids: Sequence[str]) -> None:
        """Say that samples of these plates arrive, so that their scales decide."""
        block = tuple(plate_ids)
        if block not in self._heard:  # the same few blocks come all day
            self._heard.add(block)
            self._speaking_plates.update(block)

    def never_came_in(self, identity_id: int) -> None:
        """Say that somebody was first seen deep inside: nobody at all most likely, or somebody who was lost."""
        self._never_came_in[identity_id] = self._now_ns

    def faces_watched(self, watched: frozenset[str], hidden: frozenset[str]) -> None:
        """Say which bins' faces calibrated cameras watch at this moment, and before which of them somebody stands."""
        self._watched, self._hidden = watched, hidden

    def add(self, weight_changes: Sequence[WeightChange], shelf_changes: Sequence[ShelfChange]) -> None:
        """Take what scales and shelf pictures saw; it is judged when hands around it are known."""
        self._weight_changes.extend(weight_changes)
        self._shelf_changes.extend(shelf_changes)

    def see(self, people: Identities, pictures: PictureMemory | None = None) -> list[HandContact]:
        """Take everybody's place and hands at one instant; give the contacts that have ended.

        Args:
            people: Everybody at this instant.
            pictures: The last pictures of cameras that bins are drawn in, as for ``ContactWatcher.update``.
        """
        now_ns = self._now_ns = people.timestamp_ns
        if self._never_came_in:
            here = set(people.identity_id.tolist())
            kept_ns = now_ns - int((self._settings.face_patience_s + self._settings.hands_kept_s) * NANOSECONDS)
            seen_ns = {who: now_ns if who in here else last_ns for who, last_ns in self._never_came_in.items()}
            self._never_came_in = {who: last_ns for who, last_ns in seen_ns.items() if last_ns > kept_ns}
        finite = np.isfinite(people.hands_m).all(axis=2) & self._attribution.sees_hands
        rows, sides = np.nonzero(finite)
        if len(rows):
            self._hands.append(
                HandPoints(
                    np.full(len(rows), now_ns, np.int64),
                    people.identity_id[rows],
                    people.hands_m[rows, sides],
                    people.hand_miss_m[rows, sides] > 0,
                )
            )
        lines, share = lone_hands(people, self._cameras)
        if not self._attribution.sees_hands:
            lines, share = lines[:0], np.ones(len(people))
        if len(lines.timestamp_ns):
            self._lines.append(lines)
        hidden = np.flatnonzero((share > 0) & np.isfinite(people.position_m).all(axis=1))
        if len(hidden):
            self._unseen.append(
                UnseenHands(
                    np.full(len(hidden), now_ns, np.int64),
                    people.identity_id[hidden],
                    people.position_m[hidden],
                    share[hidden],
                )
            )
        for view in people.sightings:
            self._in_view.append((now_ns, view.camera_id, frozenset(view.identity_id.tolist())))
        oldest_ns = now_ns - int(self._settings.hands_kept_s * NANOSECONDS)
        remembered: tuple[deque[HandPoints] | deque[HandLines] | deque[UnseenHands] | deque[HeldPictures], ...]
        remembered = self._hands, self._lines, self._unseen, self._pictures
        for moments in remembered:
            while moments and moments[0].timestamp_ns[0] < oldest_ns:
                moments.popleft()
        while self._in_view and self._in_view[0][0] < oldest_ns:
            self._in_view.popleft()
        while self._recent and self._recent[0].end_ns < oldest_ns:
            self._recent.popleft()
        if self._watched:
            self._whereabouts.add(people)
        ended = self._contacts.update(people, pictures)
        self._remember(ended)
        return ended

    def see_held(self, pictures: HeldPictures) -> None:
        """Take what hands hold in one frame."""
        if len(pictures.timestamp_ns):
            self._pictures.append(pictures)

    def judge(self, now_ns: int) -> list[Interaction]:
        """Give the interactions whose surroundings are known by now, in the order they happened."""
        if not (self._weight_changes or self._shelf_changes or self._ended or self._waiting):
            return []
        wait_ns = int(self._settings.wait_s * NANOSECONDS)
        ready_weight = [c for c in self._weight_changes if c.end_ns + wait_ns <= now_ns]
        ready_shelf = [c for c in self._shelf_changes if c.end_ns + wait_ns <= now_ns]
        self._weight_changes = [c for c in self._weight_changes if c.end_ns + wait_ns > now_ns]
        self._shelf_changes = [c for c in self._shelf_changes if c.end_ns + wait_ns > now_ns]
        self._waiting += [contact for contact in self._ended if self._is_watched(contact)]
        alone = [(contact, 1.0) for contact in self._ended if not self._is_watched(contact)]
        found = [i for change in ready_shelf if (i := self._from_picture(change)) is not None]
        alone += [(contact, self._settings.unchanged) for contact in self._waited_for(now_ns)]
        found += [i for contact, worth in alone if (i := self._from_contact(contact, worth)) is not None]
        interactions = [self._told(interaction) for interaction in found]
        self._ended = []
        known = [*ready_weight, *self._weight_changes, *self._told_changes]
        for change in sorted(ready_weight, key=lambda change: change.time_ns):
            beside = [other for other in known if other is not change]
            interactions += [self._told(interaction) for interaction in self._from_weight(change, beside)]
        self._told_changes = [c for c in (*self._told_changes, *ready_weight) if c.end_ns + BESIDE_NS > now_ns]
        if interactions:
            oldest_ns = max(i.time_ns for i in interactions) - int(self._settings.past_s * NANOSECONDS)
            self._past.forget(oldest_ns)
        return sorted(interactions, key=lambda i: i.time_ns)

    def expected(self, settling: Sequence[WeightChange]) -> list[Interaction]:
        """What will probably be judged soon, in the order of its time, by the hands known when each was first seen.

        Args:
            settling: Changes that the scales are not sure of yet.
        """
        changes = sorted([*self._weight_changes, *settling], key=lambda change: change.time_ns)
        known = [*changes, *self._told_changes]
        before, self._expected = self._expected, {}
        for change in changes:
            key = (change.plate_ids, change.start_ns, round(change.delta_g))
            if key not in before:  # a level that drifts by less is not explained anew
                before[key] = self._from_weight(change, [other for other in known if other is not change])
            self._expected[key] = before[key]
        return [interaction for interactions in self._expected.values() for interaction in interactions]

    def finish(self) -> tuple[list[HandContact], list[Interaction]]:
        """Judge what is left when the recording has ended."""
        ended = self._contacts.finish()
        self._remember(ended)
        return ended, self.judge(np.iinfo(np.int64).max)

    def _remember(self, ended: Sequence[HandContact]) -> None:
        self._recent.extend(ended)
        self._ended.extend(ended)

    def _told(self, interaction: Interaction) -> Interaction:
        """Remember an interaction, under an id of its own: two hands may take from one bin at one instant."""
        own_id = interaction.interaction_id
        while own_id in self._past:
            own_id = uuid5(own_id, "another")
        if own_id != interaction.interaction_id:
            interaction = replace(interaction, interaction_id=own_id)
        self._past.add(interaction)
        return interaction

    def _known_contacts(self) -> list[HandContact]:
        """Contacts that have ended lately, those that wait for a face, and those of hands that are still there."""
        return [*dict.fromkeys([*self._recent, *self._waiting]), *self._contacts.ongoing()]

    def _is_watched(self, contact: HandContact) -> bool:
        return contact.bin_id in self._watched and not self._speaks(self._bins[contact.bin_id])

    def _waited_for(self, now_ns: int) -> list[HandContact]:
        """Take out the contacts at watched faces that no change has come of by now."""
        wait_ns = int(self._settings.face_wait_s * NANOSECONDS)
        patience_ns = int(self._settings.face_patience_s * NANOSECONDS)
        self._hidden_ns |= dict.fromkeys(self._hidden, now_ns)
        waiting = [
            contact
            for contact in self._waiting
            if now_ns - max(contact.end_ns, self._hidden_ns.get(contact.bin_id, 0)) < wait_ns
            and now_ns - contact.end_ns < patience_ns
        ]
        done = [contact for contact in self._waiting if contact not in waiting]
        self._waiting = waiting
        return done

    def _from_weight(self, change: WeightChange, beside: Sequence[WeightChange]) -> list[Interaction]:
        hands = HandPoints(
            np.concatenate([np.zeros(0, np.int64), *(seen.timestamp_ns for seen in self._hands)]),
            np.concatenate([np.zeros(0, np.int64), *(seen.identity_id for seen in self._hands)]),
            np.concatenate([np.zeros((0, 3)), *(seen.hand_m for seen in self._hands)]),
            np.concatenate([np.zeros(0, bool), *(seen.by_cameras for seen in self._hands)]),
            HandLines(
                np.concatenate([np.zeros(0, np.int64), *(line.timestamp_ns for line in self._lines)]),
                np.concatenate([np.zeros(0, np.int64), *(line.identity_id for line in self._lines)]),
                np.concatenate([np.zeros((0, 3)), *(line.origin_m for line in self._lines)]),
                np.concatenate([np.zeros((0, 3)), *(line.direction for line in self._lines)]),
                np.concatenate([np.zeros(0), *(line.score for line in self._lines)]),
                np.concatenate([np.zeros((0, 2)), *(line.body_m for line in self._lines)]),
            ),
            UnseenHands(
                np.concatenate([np.zeros(0, np.int64), *(hidden.timestamp_ns for hidden in self._unseen)]),
                np.concatenate([np.zeros(0, np.int64), *(hidden.identity_id for hidden in self._unseen)]),
                np.concatenate([np.zeros((0, 2)), *(hidden.body_m for hidden in self._unseen)]),
                np.concatenate([np.zeros(0), *(hidden.share for hidden in self._unseen)]),
            ),
            HeldPictures.joined(tuple(self._pictures)),
            dict.fromkeys(self._never_came_in, self._settings.never_came_in),
        )
        return [
            replace(interaction, evidence=replace(interaction.evidence, contacts=self._contacts_of(interaction)))
            for interaction in explain_weight_change(
                change, self._shelves, hands, self._namespace, self._attribution, self._past, beside
            )
        ]

    def _contacts_of(self, interaction: Interaction) -> tuple[HandContact, ...]:
        """The hands that were at an interaction's plates."""
        plates = set(interaction.plate_ids)
        return tuple(
            contact
            for contact in self._known_contacts()
            if plates & set(self._bins[contact.bin_id].plate_ids)
            and contact.start_ns <= interaction.end_ns
            and contact.end_ns >= interaction.start_ns
        )

    def _from_picture(self, change: ShelfChange) -> Interaction | None:
        a_bin = self._bins[change.bin_id]
        return self._from_shelf(change) if a_bin.box is None else self._from_face(change, a_bin)

    def _from_face(self, change: ShelfChange, a_bin: Bin) -> Interaction | None:
        """A change of a face that a calibrated camera watches: by those whose hands were there, else nearby."""
        settings = self._settings
        if self._speaks(a_bin):
            return None
        around_ns = int(settings.around_s * NANOSECONDS)
        first_ns, last_ns = change.start_ns - around_ns, change.end_ns + around_ns
        stays: dict[int, float] = {}
        near: list[tuple[float, HandContact]] = []
        for contact in self._known_contacts():
            share = dict(contact.bin_shares).get(change.bin_id, 0.0)
            overlap_ns = min(contact.end_ns, last_ns) - max(contact.start_ns, first_ns)
            if share >= settings.least_share and overlap_ns > 0:
                near.append((share * overlap_ns, contact))
                stays[contact.identity_id] = stays.get(contact.identity_id, 0.0) + share * overlap_ns
        probability = min(change.probability, settings.face_alone)
        start_ns, time_ns, end_ns = change.start_ns, change.time_ns, change.end_ns
        if near:
            likeliest = max(near, key=lambda each: each[0])[1]
            start_ns, time_ns, end_ns = likeliest.start_ns, likeliest.end_ns, likeliest.end_ns
            # A hand nearby that was more likely at another bin may have taken something there as well.
            used = [likeliest, *(contact for _, contact in near if contact.bin_id == change.bin_id)]
            self._waiting = [contact for contact in self._waiting if contact not in used]
        else:
            assert a_bin.box is not None
            within = self._whereabouts.within_reach(a_bin.box.centre_m, first_ns, last_ns)
            if not within:
                self._by_nobody = [*self._by_nobody[1 - NOBODY_KEPT :], change]
                return None
            beyond = {who: max(0.0, away_m - settings.stand_m) for who, away_m in within.items()}
            stays = {who: float(np.exp(-0.5 * (m / settings.stand_spread_m) ** 2)) for who, m in beyond.items()}
            probability *= settings.face_by_reach
        stays = {
            who: stay * (settings.never_came_in if who in self._never_came_in else 1) for who, stay in stays.items()
        }
        candidates = self._face_candidates(change, a_bin.sku, stays, probability)
        half_ns = int(LONGEST_SPAN_S * NANOSECONDS / 2)
        return Interaction(
            uuid5(self._namespace, f"{change.bin_id}@{change.start_ns}"),
            change.handling,
            change.bin_id,
            (),
            candidates[0].sku,
            candidates[0].quantity,
            max(start_ns, time_ns - half_ns),
            time_ns,
            min(end_ns, time_ns + half_ns),
            candidates,
            Evidence(shelf=change, contacts=tuple(contact for _, contact in near)),
        )

    def _face_candidates(
        self, change: ShelfChange, planned: str | None, stays: dict[int, float], probability: float
    ) -> tuple[Candidate, ...]:
        """Who took what from a face or put it there, most probable first.

        What is put back is something that its owner took before, most often what the face is planned for; that they
        bring something that nobody saw them take is less likely than that the picture errs.

        Args:
            change: What the picture saw.
            planned: The product of the face.
            stays: How likely each person's hand was there, in proportion; at least one above 0.
            probability: That it took place, whoever did it and with what.
        """
        settings, total = self._settings, sum(stays.values())
        if change.handling is Handling.PICK:
            found = [
                Candidate(who, planned, change.quantity, probability * stay / total) for who, stay in stays.items()
            ]
            return tuple(sorted(found, key=lambda c: -c.probability))
        held = self._past.held()
        weight: dict[tuple[int, str | None], float] = {}
        for who, stay in stays.items():
            weight[who, planned] = settings.unseen_take * stay / total
        for who, sku, share in zip(held.identity_id.tolist(), held.sku, held.probability.tolist(), strict=True):
            if who in stays and sku is not None:
                place = 1.0 if sku == planned else settings.misplaced
                weight[who, sku] = weight.get((who, sku), 0.0) + place * share * stays[who] / total
        real = sum(weight.values())
        scale = probability * min(real, 1.0) / (probability * min(real, 1.0) + 1 - probability) / real
        found = [Candidate(who, sku, change.quantity, scale * share) for (who, sku), share in weight.items()]
        return tuple(sorted(found, key=lambda c: -c.probability))

    def _from_shelf(self, change: ShelfChange) -> Interaction:
        settings = self._settings
        around_ns = int(settings.around_s * NANOSECONDS)
        a_bin = self._bins[change.bin_id]
        first_ns, last_ns = change.start_ns - around_ns, change.end_ns + around_ns
        near = [
            c
            for c in self._known_contacts()
            if c.bin_id == change.bin_id and c.start_ns <= last_ns and c.end_ns >= first_ns
        ]
        stays: dict[int, float] = {}
        for contact in near:
            overlap = min(contact.end_ns, last_ns) - max(contact.start_ns, first_ns)
            stays[contact.identity_id] = stays.get(contact.identity_id, 0.0) + overlap / NANOSECONDS
        probability = change.probability
        if not stays:
            in_view = frozenset[int]().union(
                *(
                    ids
                    for t, camera_id, ids in self._in_view
                    if camera_id == a_bin.camera_id and first_ns <= t <= last_ns
                )
            )
            stays = dict.fromkeys(in_view, 1.0)
            probability *= settings.unseen_hand
        total = sum(stays.values())
        candidates = [
            Candidate(identity_id, a_bin.sku, change.quantity, probability * stay / total)
            for identity_id, stay in stays.items()
            if total > 0
        ]
        candidates.sort(key=lambda c: -c.probability)
        return Interaction(
            uuid5(self._namespace, f"{change.bin_id}@{change.start_ns}"),
            change.handling,
            change.bin_id,
            (),
            a_bin.sku,
            change.quantity,
            change.start_ns,
            change.time_ns,
            change.end_ns,
            tuple(candidates),
            Evidence(shelf=change, contacts=tuple(near)),
        )

    def _from_contact(self, contact: HandContact, worth: float = 1.0) -> Interaction | None:
        """A hand at bins where neither a scale nor a picture says more: something may have been taken."""
        settings = self._settings
        where = self._bins[contact.bin_id]
        stay_s = (contact.end_ns - contact.start_ns) / NANOSECONDS
        if where.box is None or self._speaks(where) or stay_s < settings.shortest_take_s:
            return None
        taken = worth * settings.hands_alone * (1 - float(np.exp(-stay_s / settings.dwell_s)))
        products: dict[str | None, float] = {}
        for bin_id, share in contact.bin_shares:
            sku = self._bins[bin_id].sku
            products[sku] = products.get(sku, 0.0) + share
        ranked = sorted(((share, sku) for sku, share in products.items() if sku is not None), key=lambda x: -x[0])
        if not ranked:
            return None
        return Interaction(
            uuid5(self._namespace, f"{contact.bin_id}@{contact.start_ns}/{contact.identity_id}"),
            Handling.PICK,
            contact.bin_id,
            (),
            ranked[0][1],
            1,
            max(contact.start_ns, contact.end_ns - int(LONGEST_SPAN_S * NANOSECONDS)),
            contact.end_ns,
            contact.end_ns,
            tuple(Candidate(contact.identity_id, sku, 1, taken * share) for share, sku in ranked),
            Evidence(contacts=(contact,)),
        )

    def _speaks(self, a_bin: Bin) -> bool:
        return bool(self._speaking_plates & set(a_bin.plate_ids))
