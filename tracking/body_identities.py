"""Identities of bodies that an outside tracker has already followed and placed in the store.

Such a tracker forgets whom it has lost for a second and gives them a new name, and it may exchange the names of two who
stand close together. Nobody appears in the middle of a shop: a new name there is somebody who was lost. And bodies keep
their sizes (``tracking.body_sizes``): they tell whether two who met went on under each other's names.
"""

import logging
import math
from dataclasses import dataclass, field

import numpy as np

from tracking.body_sizes import BodySizes, log_likelihood, sizes_of
from tracking.entries import inward
from tracking.types import Identities, MixUp
from tracking.visits import near_line
from vision.arrays import BoolArray, FloatArray
from vision.frames import JOINT_NAMES, TrackedBodies
from vision.layout import StoreLayout
from vision.pose import GRIP_PER_FOREARM

logger = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
BEYOND_M = 0.3
"""Who is farther than this beyond the exit has left: a trunk leans over a line before its feet cross it."""
_TRUNK = [JOINT_NAMES.index(name) for name in ("head", "neck", "left_shoulder", "right_shoulder")]
_WRISTS = [JOINT_NAMES.index("left_wrist"), JOINT_NAMES.index("right_wrist")]
_ELBOWS = [JOINT_NAMES.index("left_elbow"), JOINT_NAMES.index("right_elbow")]


@dataclass(frozen=True, slots=True)
class BodySettings:
    """When names of an outside tracker are believed.

    Attributes:
        followed_s: Who is missing for so long is gone ...
        vanish_s: ... near the exit after so long ...
        beyond_s: ... and beyond it after so long, which is what a tracker takes to find somebody again.
        doorstep_m: A new name farther than this from the doors is somebody who was lost ...
        stray_m: ... who may be so far from where they were last seen ...
        hurrying_mps: ... and as much farther as this takes them.
        near_m: The names of two who were nearer than this to each other, bodies touching, may have been exchanged ...
        apart_m: ... as is found out when they are farther apart than this.
        exchanges_per_s: How often that happens to two who are that near.
        enough: Measurements of both since they parted after which it is said whether they were, if that is clear ...
        patience_s: ... and it is said after so long whatever there is.
        exchanged: Probability from which names are exchanged back ...
        doubt: ... and from which two may have been mixed up.
    """

    followed_s: float = 30.0
    vanish_s: float = 3.0
    beyond_s: float = 0.7
    doorstep_m: float = 2.0
    stray_m: float = 0.8
    hurrying_mps: float = 2.0
    near_m: float = 0.4
    apart_m: float = 0.8
    exchanges_per_s: float = 0.02
    enough: int = 30
    patience_s: float = 15.0
    exchanged: float = 0.95
    doubt: float = 0.05


@dataclass(slots=True)
class _Body:
    """Somebody whom an outside tracker follows."""

    identity_id: int
    first_seen_ns: int
    last_seen_ns: int
    sizes: BodySizes = field(default_factory=BodySizes)


@dataclass(slots=True)
class _Meeting:
    """Two who came so near to each other that their names may have been exchanged.

    Attributes:
        since_ns: When.
        near_s: How long they were that near.
        sizes_m: Sizes of both before, shape (2, 5).
        parted_ns: When they were apart again, None until then.
        after: What was measured of both since.
    """

    since_ns: int
    sizes_m: FloatArray
    near_s: float = 0.0
    parted_ns: int | None = None
    after: tuple[BodySizes, BodySizes] = field(default_factory=lambda: (BodySizes(), BodySizes()))


class BodyIdentities:
    """Numbers bodies that an outside tracker follows.

    Args:
        layout: Where the doors are.
        settings: When names are believed.
    """

    def __init__(self, layout: StoreLayout, settings: BodySettings | None = None) -> None:
        self._layout = layout
        self._settings = settings or BodySettings()
        exit_m = layout.exit_m
        self._out_of_exit = np.zeros(2) if exit_m is None else -inward(layout, exit_m)
        self._numbers: dict[str, int] = {}
        self._people: dict[int, _Body] = {}
        self._places: dict[int, FloatArray] = {}
        self._meetings: dict[tuple[int, int], _Meeting] = {}
        self._mix_ups: list[MixUp] = []
        self._next_number = 1
        self._now_ns: int | None = None

    def name(self, identity_id: int) -> str:
        """The outside tracker's latest name of an identity.

        Raises:
            ValueError: There is no such identity.
        """
        for name, number in reversed(self._numbers.items()):
            if number == identity_id:
                return name
        raise ValueError(f"identity {identity_id} is not known")

    def take_mix_ups(self) -> list[MixUp]:
        """Give the pairs of identities that, as has turned out since the last call, may have been mixed up."""
        mix_ups, self._mix_ups = self._mix_ups, []
        return mix_ups

    def finish(self) -> list[MixUp]:
        """Give, when the stream has ended, also those pairs who met and of whom nothing more will be seen."""
        for pair in list(self._meetings):
            self._part(pair)
        return self.take_mix_ups()

    def update(self, bodies: TrackedBodies) -> Identities:
        """Take the bodies of one instant; who is missing is kept for ``followed_s``, near the exit for ``vanish_s``."""
        now_ns = bodies.timestamp_ns
        step_s = 0.0 if self._now_ns is None else max(0, now_ns - self._now_ns) / NANOSECONDS
        self._now_ns = now_ns
        wrists, elbows = bodies.joints_m[:, _WRISTS], bodies.joints_m[:, _ELBOWS]
        forearms = np.where(np.isfinite(elbows), wrists - elbows, 0.0)
        hands_m = wrists + GRIP_PER_FOREARM * forearms
        trunks_m = bodies.joints_m[:, _TRUNK, :2]
        known: BoolArray = np.asarray(np.isfinite(trunks_m).all(axis=2))
        counts = known.sum(axis=1).tolist()
        # Nobody's trunk hides for long: all at once, and one by one where a part is missing.
        places_m = trunks_m.sum(axis=1) / len(_TRUNK)
        for row in np.flatnonzero((known.sum(axis=1) > 0) & ~known.all(axis=1)).tolist():
            places_m[row] = trunks_m[row][known[row]].mean(axis=0)
        sizes_m = sizes_of(bodies.joints_m)
        here = {self._numbers[name] for name in bodies.target_id if name in self._numbers}
        rows: dict[int, int] = {}
        for row, name in enumerate(bodies.target_id):
            place_m = places_m[row] if counts[row] else None
            number = self._numbers.get(name)
            if number is None:
                number = self._numbers[name] = self._number_of(name, place_m, now_ns, here)
                here.add(number)
            if place_m is not None:
                self._places[number] = place_m
            person = self._people.get(number)
            if person is None:
                person = self._people[number] = _Body(number, now_ns, now_ns)
            person.last_seen_ns = now_ns
            rows[number] = row
        self._meet(rows, sizes_m, now_ns, step_s)
        rows = {self._numbers[name]: row for row, name in enumerate(bodies.target_id)}  # some may be exchanged now
        # Who is here needs no patience.
        self._people = {
            k: p for k, p in self._people.items() if k in rows or now_ns - p.last_seen_ns < self._patience_ns(k)
        }
        people = list(self._people.values())
        if not people:
            return Identities.nobody(now_ns)
        nowhere = np.full(2, np.nan)
        placed = np.full((len(people), 2, 3), np.nan)
        seen = [i for i, p in enumerate(people) if p.identity_id in rows]
        placed[seen] = hands_m[[rows[people[i].identity_id] for i in seen]]
        return Identities(
            now_ns,
            np.array([p.identity_id for p in people], np.int64),
            np.array([self._places.get(p.identity_id, nowhere) for p in people]),
            np.full((len(people), 2), np.nan),
            np.full((len(people), 2, 2), np.nan),
            placed,
            np.where(np.isfinite(placed).all(axis=2), 0.0, np.nan),
            np.array([p.first_seen_ns for p in people], np.int64),
            np.array([p.last_seen_ns for p in people], np.int64),
        )

    def _patience_ns(self, number: int) -> int:
        """How long somebody may be out of sight: briefly after going to the exit, long elsewhere."""
        settings, exit_m, place_m = self._settings, self._layout.exit_m, self._places.get(number)
        wait_s = settings.followed_s
        if exit_m is not None and place_m is not None and near_line(exit_m, place_m):
            is_beyond = float((place_m - exit_m[0]) @ self._out_of_exit) > BEYOND_M
            wait_s = settings.beyond_s if is_beyond else settings.vanish_s
        return int(wait_s * NANOSECONDS)

    def _number_of(self, name: str, place_m: FloatArray | None, now_ns: int, here: set[int]) -> int:
        """Whom a new name is: somebody who was lost, if it turns up where nobody comes in."""
        settings = self._settings
        doors = [line for line in (self._layout.entrance_m, self._layout.exit_m) if line is not None]
        lost: list[tuple[float, int]] = []
        if place_m is not None and doors and not any(near_line(door, place_m, settings.doorstep_m) for door in doors):
            for number, person in self._people.items():
                if number in here or number not in self._places:
                    continue
                away_m = float(np.linalg.norm(self._places[number] - place_m))
                gone_s = (now_ns - person.last_seen_ns) / NANOSECONDS
                if away_m <= settings.stray_m + settings.hurrying_mps * gone_s:
                    lost.append((away_m, number))
        if not lost:
            self._next_number += 1
            return self._next_number - 1
        lost.sort()
        number = lost[0][1]
        logger.info("body %s is who was lost as identity %d", name, number)
        # Whoever else is lost just now may be this one as well.
        self._mix_ups += [MixUp((number, other), now_ns) for _, other in lost[1:]]
        return number

    def _meet(self, rows: dict[int, int], sizes_m: FloatArray, now_ns: int, step_s: float) -> None:
        """Watch who comes near whom, and say how it ended."""
        settings = self._settings
        numbers = sorted(number for number in rows if number in self._places)
        places_m = np.array([self._places[number] for number in numbers]).reshape(-1, 2)
        away_m = np.linalg.norm(places_m[:, None] - places_m[None], axis=2)
        busy: set[int] = set()
        for i, j in np.argwhere(np.triu(away_m < settings.near_m, 1)).tolist():
            pair = numbers[i], numbers[j]
            met = self._meetings.get(pair)
            if met is None:
                usual = np.array([self._people[number].sizes.usual_m() for number in pair])
                met = self._meetings[pair] = _Meeting(now_ns, usual)
            elif met.parted_ns is not None:  # together again before it was clear who is who
                met.parted_ns, met.after = None, (BodySizes(), BodySizes())
            met.near_s += step_s
        place = dict(zip(numbers, places_m, strict=True))
        ended = []
        for pair, met in self._meetings.items():
            if any(number not in self._people for number in pair):
                ended.append(pair)
                continue
            if met.parted_ns is None:
                both = [place[number] for number in pair if number in place]
                if len(both) == 2 and float(np.linalg.norm(both[0] - both[1])) > settings.apart_m:
                    met.parted_ns = now_ns
                else:
                    busy.update(pair)
                    continue
            for number, after in zip(pair, met.after, strict=True):
                if number in rows:
                    after.add(sizes_m[rows[number]])
            waited_s = (now_ns - met.parted_ns) / NANOSECONDS
            is_enough = len(met.after[0]) % settings.enough == 0 and min(map(len, met.after)) >= settings.enough
            if waited_s > settings.patience_s or (is_enough and self._is_clear(met)):
                ended.append(pair)
        for number, row in rows.items():
            # Joints of people close together are mixed up too.
            if number not in busy:
                self._people[number].sizes.add(sizes_m[row])
        for pair in ended:
            if pair in self._meetings:  # else the one before has shown that it was somebody else's; it ends next time
                self._part(pair)

    def _exchanged(self, met: _Meeting) -> float:
        """Probability that two who met go on under each other's names."""
        prior = min(max(1 - math.exp(-self._settings.exchanges_per_s * met.near_s), 1e-4), 0.5)
        after = [sizes.usual_m() for sizes in met.after]
        before = met.sizes_m
        odds = math.log(prior / (1 - prior))
        odds += log_likelihood(before[0], after[1]) + log_likelihood(before[1], after[0])
        odds -= log_likelihood(before[0], after[0]) + log_likelihood(before[1], after[1])
        return 1 / (1 + math.exp(-max(min(odds, 50.0), -50.0)))

    def _is_clear(self, met: _Meeting) -> bool:
        return not self._settings.doubt < self._exchanged(met) < self._settings.exchanged

    def _part(self, pair: tuple[int, int]) -> None:
        """Say whether two who met went on under each other's names."""
        settings, met = self._settings, self._meetings.pop(pair)
        exchanged = self._exchanged(met)
        if exchanged <= settings.doubt:
            return
        until_ns = None
        if exchanged >= settings.exchanged and all(number in self._people for number in pair):
            logger.info("identities %d and %d had been exchanged; the sizes of their bodies tell", *pair)
            self._exchange(pair, met)
            until_ns = self._now_ns
        self._mix_ups.append(MixUp(pair, met.since_ns, until_ns))

    def _exchange(self, pair: tuple[int, int], met: _Meeting) -> None:
        """Give the names of two, with where they are, to each other."""
        first, second = pair
        other = {first: second, second: first}
        self._numbers = {name: other.get(number, number) for name, number in self._numbers.items()}
        self._places[first], self._places[second] = self._places[second], self._places[first]
        ahead, behind = self._people[first], self._people[second]
        ahead.last_seen_ns, behind.last_seen_ns = behind.last_seen_ns, ahead.last_seen_ns
        # What was measured since they met is of the other one; what was measured after they parted is of the right one.
        ahead.sizes, behind.sizes = met.after[1], met.after[0]
        sizes_m = dict(zip(pair, met.sizes_m, strict=True))
        # Whom either has met meanwhile has really met the other.
        meetings = {}
        for old, each in self._meetings.items():
            new = [other.get(number, number) for number in old]
            for row, number in enumerate(new):
                if number in sizes_m:
                    each.sizes_m[row] = sizes_m[number]
            if new[0] > new[1]:
                new, each.sizes_m, each.after = new[::-1], each.sizes_m[::-1].copy(), each.after[::-1]
            meetings[new[0], new[1]] = each
        self._meetings = meetings
