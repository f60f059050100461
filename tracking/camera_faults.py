"""What is wrong with cameras, told from people whom several cameras see: dead, moved, or with a clock that is off."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracking.floor import FloorPoints
from vision.arrays import FloatArray, IntArray

logger = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
DEAD_S = 3.0
"""A camera that is silent for so long while others speak is dead: cameras give ten pictures a second and more."""

COMPARED_S = 0.5
"""Foot points err alike for about as long as a step takes ..."""

STRIDE_M = 0.4
"""... and for as long as somebody stands: nobody is compared again before they are a stride farther on."""

MEMORY_S = 180.0
"""What was seen longer ago counts e times less: faults of today, but enough people to be sure of one."""

FEWEST = 40
"""So many comparisons of one camera with others before anything is said of it."""

STRANGE_M = 0.5
"""Foot points of one person that lie farther apart are somebody else's, or no feet."""

NEARER_M = 0.05
"""Standard deviation of how much nearer than the middle of the feet a camera puts people: half their distance."""

MOVED_M, SKEWED_S = 0.04, 0.1
"""From so much on it is said. Sound cameras of simulated shops differ by up to 2 cm once enough is seen; clocks set
over a network keep to 20 ms, and a tenth of a second is a hand's breadth at a walk."""

SURE_GAIN = 12.0
"""So much chi-squared a fault must take away by itself: chance does for one of 400 cameras."""

SPREAD_M = 0.08
"""Standard deviation of one camera's foot point of another's: half a shoe, and a step's swing. Where a shop's cameras
scatter by more, as in a crowd, so much more must speak for a fault."""


@dataclass(frozen=True, slots=True)
class CameraNotice:
    """Something is wrong with a camera.

    Attributes:
        timestamp_ns: When it was noticed, store clock.
        camera_id: Which camera.
        code: ``camera-dead``, ``camera-moved`` or ``camera-skewed``.
        amount: How much: seconds without a picture, metres, seconds that its clock is ahead.
        message: For people.
    """

    timestamp_ns: int
    camera_id: str
    code: str
    amount: float
    message: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What may be wrong with one camera.

    Attributes:
        column: The camera's.
        skew_s: How far its clock is ahead.
        shift_m: How far beside it puts people, shape (2,).
        gain: How much chi-squared both take away ...
        skew_gain: ... how much of it the skew does that no shift could ...
        shift_gain: ... and the shift that no skew could.
    """

    column: int
    skew_s: float
    shift_m: FloatArray
    gain: float
    skew_gain: float
    shift_gain: float

    @classmethod
    def of(cls, column: int, normal: FloatArray, right: FloatArray) -> "Estimate":
        """Solve for one camera's skew and shift; ``normal`` is of shape (3, 3), ``right`` (3,)."""
        answer = np.linalg.solve(normal, right)
        cov = np.linalg.inv(normal)
        skew_gain = float(answer[0] ** 2 / cov[0, 0])
        shift_gain = float(answer[1:] @ np.linalg.solve(cov[1:, 1:], answer[1:]))
        return cls(column, float(answer[0]), answer[1:], float(answer @ right), skew_gain, shift_gain)


class CameraWatch:
    """Watches all calibrated cameras of a store.

    One person's feet, seen by several cameras at one time, are in one place, and so is their head. Where one camera
    puts people beside where the others do, it has been moved; where it puts them behind where they are going, its clock
    is ahead. All cameras' shifts and skews are the unknowns of one least-squares problem whose sums are kept; the fault
    that explains most is found first, and the next in what remains (orthogonal matching pursuit), so that a fault is
    not blamed on those whom the faulty camera is compared with.

    Of two feet the nearer one is seen more often, so that each camera puts people towards itself by some
    centimetres. That is no fault: it is one more unknown of each camera, and only what it does not explain speaks of
    faults.

    Args:
        camera_ids: The cameras, in the order of their columns.
        positions_m: Where they hang, above which point of the floor, shape (c, 2), metres.
    """

    def __init__(self, camera_ids: Sequence[str], positions_m: FloatArray) -> None:
        count = len(camera_ids)
        self._camera_ids = tuple(camera_ids)
        self._positions_m = positions_m
        self._notices: dict[tuple[str, str], CameraNotice] = {}
        self._heard_ns: dict[int, int] = {}
        self._compared_ns: int | None = None
        self._normal = np.zeros((5 * count, 5 * count))
        self._right = np.zeros(5 * count)
        self._counts = np.zeros(count)
        self._squares = self._degrees = 0.0
        self._skews_s = np.zeros(count)
        self._compared_m: dict[int, FloatArray] = {}

    @property
    def notices(self) -> tuple[CameraNotice, ...]:
        """What is wrong, each thing once, with the amount as known by now."""
        return tuple(self._notices.values())

    def skew_s(self, column: int) -> float:
        """How far a camera's clock is ahead, as far as that is sure, seconds."""
        return float(self._skews_s[column])

    def hear(self, timestamp_ns: int, columns: Sequence[int]) -> None:
        """Note which cameras gave a picture."""
        for column in columns:
            self._heard_ns[column] = timestamp_ns
            gone = self._notices.pop((self._camera_ids[column], "camera-dead"), None)
            if gone is not None:
                logger.info("camera %s gives pictures again", gone.camera_id)
        for column, heard_ns in self._heard_ns.items():
            silent_s = (timestamp_ns - heard_ns) / NANOSECONDS
            if columns and silent_s >= DEAD_S:
                camera_id = self._camera_ids[column]
                text = f"expected pictures of camera {camera_id}, there have been none for {silent_s:.0f} s"
                self._say(timestamp_ns, camera_id, "camera-dead", silent_s, text)

    def compare(
        self,
        timestamp_ns: int,
        seen: Sequence[tuple[int, FloorPoints, float]],
        key: IntArray,
        row: IntArray,
        state: FloatArray,
    ) -> None:
        """Hold the cameras' foot points of everybody against each other.

        Args:
            timestamp_ns: Store clock.
            seen: Column of each camera with a picture, what it says, and how far its stamp lies after now, seconds.
            key: A number of each person that is theirs alone, shape (n,).
            row: Each person's row in each camera's ``FloorPoints``, shape (n, cameras), -1 where not seen.
            state: (x, y, vx, vy, height) of each person, shape (n, 5).
        """
        if self._compared_ns is not None and timestamp_ns - self._compared_ns < COMPARED_S * NANOSECONDS:
            return
        since_s = 0.0 if self._compared_ns is None else (timestamp_ns - self._compared_ns) / NANOSECONDS
        self._compared_ns = timestamp_ns
        kept = math.exp(-since_s / MEMORY_S)
        self._normal *= kept
        self._right *= kept
        self._counts *= kept
        self._squares *= kept
        self._degrees *= kept
        self._compared_m = {who: self._compared_m[who] for who in key.tolist() if who in self._compared_m}
        for person, who in enumerate(key.tolist()):
            place_m = state[person, :2].copy()
            if np.linalg.norm(place_m - self._compared_m.get(who, np.inf)) < STRIDE_M:
                continue
            feet, feet_of, heads, heads_of = [], [], [], []
            velocity = state[person, 2:4]
            for column, points, lag_s in seen:
                r = int(row[person, column])
                if r >= 0 and np.isfinite(points.feet_m[r]).all():
                    feet.append(points.feet_m[r] - lag_s * velocity)
                    feet_of.append(column)
                if r >= 0 and np.isfinite(points.upper_m[r]).all():
                    heads.append(points.upper_m[r] + state[person, 4] * points.slope[r] - lag_s * velocity)
                    heads_of.append(column)
            for kind, places, columns in ((0, feet, feet_of), (1, heads, heads_of)):
                if len(columns) >= 2:
                    self._add(kind, np.array(places), np.array(columns), place_m, velocity)
                    self._compared_m[who] = place_m
        self._judge(timestamp_ns)

    def _add(
        self, kind: int, places_m: FloatArray, columns: IntArray, place_m: FloatArray, velocity_mps: FloatArray
    ) -> None:
        """One person's places by several cameras, shape (m, 2): by the feet (kind 0) or by the upper body (1)."""
        near = np.linalg.norm(places_m - np.median(places_m, axis=0), axis=1) <= STRANGE_M
        places_m, columns = places_m[near], columns[near]
        m = len(columns)
        if m < 2:
            return
        # Where the person is is not known: what all cameras share is taken out.
        shared = np.eye(m) - 1 / m
        # From where they are by all that is known: each camera's own place would turn the way with its error.
        nearer = self._positions_m[columns] - place_m
        nearer /= np.maximum(np.linalg.norm(nearer, axis=1, keepdims=True), 0.5)
        for axis in (0, 1):
            design = np.zeros((m, len(self._right)))
            design[np.arange(m), 3 * columns] = -velocity_mps[axis]
            design[np.arange(m), 3 * columns + 1 + axis] = 1.0
            design[np.arange(m), (3 + kind) * len(self._camera_ids) + columns] = nearer[:, axis]
            # Whatever lies far off counts less (Huber): feet are half hidden more often than they are seen badly.
            offsets = shared @ places_m[:, axis]
            weight = min(1.0, 1.5 * SPREAD_M / max(float(np.abs(offsets).max()), 1e-9)) / SPREAD_M**2
            reduced = shared @ design
            self._normal += weight * reduced.T @ reduced
            self._right += weight * reduced.T @ offsets
            self._squares += weight * float(offsets @ offsets)
        self._degrees += 2 * (m - 1)
        self._counts[columns] += 1

    def estimates(self) -> tuple["Estimate", ...]:
        """Faults that explain what was seen, greatest first."""
        normal, right = self._faults_alone()
        found: list[Estimate] = []
        left = [column for column in range(len(self._camera_ids)) if self._counts[column] >= FEWEST]
        while left:
            options = []
            for column in left:
                own = slice(3 * column, 3 * column + 3)
                # Nobody walking yet: a clock that nothing speaks of is right (to 0.3 s), a camera hangs (to 0.3 m).
                block = normal[own, own] + np.eye(3) / 0.3**2
                options.append(Estimate.of(column, block, right[own]))
            best = max(options, key=lambda option: option.gain)
            found.append(best)
            right -= normal[:, 3 * best.column : 3 * best.column + 3] @ [best.skew_s, *best.shift_m]
            left.remove(best.column)
        return tuple(found)

    def _faults_alone(self) -> tuple[FloatArray, FloatArray]:
        """The sums without what feet seen nearer to each camera explain (a Schur complement)."""
        count = len(self._camera_ids)
        fault, near = slice(0, 3 * count), slice(3 * count, None)
        block = self._normal[near, near] + np.eye(2 * count) / NEARER_M**2
        share = np.linalg.solve(block, self._normal[near, fault]).T
        normal = self._normal[fault, fault] - share @ self._normal[near, fault]
        return normal, self._right[fault] - share @ self._right[near]

    def _scatter(self, explained: float) -> float:
        """How many times more chi-squared is left than there should be, at least 1."""
        unknown = len(self._right)
        return max((self._squares - explained) / max(self._degrees - unknown, 1.0), 1.0)

    def _judge(self, timestamp_ns: int) -> None:
        found = self.estimates()
        sure_gain = SURE_GAIN * self._scatter(sum(each.gain for each in found))
        for each in found:
            camera_id = self._camera_ids[each.column]
            if abs(each.skew_s) >= SKEWED_S and each.skew_gain >= sure_gain:
                self._skews_s[each.column] = each.skew_s
                way = "ahead" if each.skew_s > 0 else "behind"
                text = f"the clock of camera {camera_id} is {1000 * abs(each.skew_s):.0f} ms {way}; allowed for"
                self._say(timestamp_ns, camera_id, "camera-skewed", each.skew_s, text)
            moved_m = float(np.linalg.norm(each.shift_m))
            if moved_m >= MOVED_M and each.shift_gain >= sure_gain:
                text = f"camera {camera_id} has moved: it puts people {100 * moved_m:.0f} cm beside where the others do"
                self._say(timestamp_ns, camera_id, "camera-moved", moved_m, text)

    def _say(self, timestamp_ns: int, camera_id: str, code: str, amount: float, message: str) -> None:
        before = self._notices.get((camera_id, code))
        first_ns = timestamp_ns if before is None else before.timestamp_ns
        if before is None:
            logger.info("%s", message)
        self._notices[camera_id, code] = CameraNotice(first_ns, camera_id, code, amount, message)
