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
"""Foot points err alike for about as long as a step takes."""

MEMORY_S = 180.0
"""What was seen longer ago counts e times less: faults of today, but enough people to be sure of one."""

FEWEST = 40
"""So many comparisons of one camera with others before anything is said of it."""

STRANGE_M = 0.5
"""Foot points of one person that lie farther apart are somebody else's, or no feet."""

MOVED_M, SKEWED_S = 0.04, 0.1
"""From so much on it is said. Feet seen from different sides differ by 2 to 3 cm in simulated shops without a fault;
clocks set over a network keep to 20 ms, and a tenth of a second is a hand's breadth at a walk."""

SURE_GAIN = 50.0
"""So much chi-squared a fault must take away: sound cameras of simulated shops stay below 30."""

SPREAD_M = 0.08
"""Standard deviation of one camera's foot point of another's: half a shoe, and a step's swing."""


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


class CameraWatch:
    """Watches all calibrated cameras of a store.

    One person's feet, seen by several cameras at one time, are in one place. Where one camera puts people beside where
    the others do, it has been moved; where it puts them behind where they are going, its clock is ahead. All cameras'
    shifts and skews are the unknowns of one least-squares problem whose sums are kept; the fault that explains most is
    found first, and the next in what remains (orthogonal matching pursuit), so that a fault is not blamed on those
    whom the faulty camera is compared with.

    Args:
        camera_ids: The cameras, in the order of their columns.
    """

    def __init__(self, camera_ids: Sequence[str]) -> None:
        count = len(camera_ids)
        self._camera_ids = tuple(camera_ids)
        self._notices: dict[tuple[str, str], CameraNotice] = {}
        self._heard_ns: dict[int, int] = {}
        self._compared_ns: int | None = None
        self._normal = np.zeros((3 * count, 3 * count))
        self._right = np.zeros(3 * count)
        self._counts = np.zeros(count)
        self._skews_s = np.zeros(count)

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
        self, timestamp_ns: int, seen: Sequence[tuple[int, FloorPoints, float]], row: IntArray, state: FloatArray
    ) -> None:
        """Hold the cameras' foot points of everybody against each other.

        Args:
            timestamp_ns: Store clock.
            seen: Column of each camera with a picture, what it says, and how far its stamp lies after now, seconds.
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
        for person in range(len(row)):
            places, columns = [], []
            velocity = state[person, 2:4]
            for column, points, lag_s in seen:
                r = int(row[person, column])
                if r >= 0 and np.isfinite(points.feet_m[r]).all():
                    places.append(points.feet_m[r] - lag_s * velocity)
                    columns.append(column)
            if len(columns) >= 2:
                self._add(np.array(places), np.array(columns), velocity)
        self._judge(timestamp_ns)

    def _add(self, places_m: FloatArray, columns: IntArray, velocity_mps: FloatArray) -> None:
        """One person's foot points of several cameras, shape (m, 2)."""
        near = np.linalg.norm(places_m - np.median(places_m, axis=0), axis=1) <= STRANGE_M
        places_m, columns = places_m[near], columns[near]
        m = len(columns)
        if m < 2:
            return
        # Where the person is is not known: what all cameras share is taken out.
        shared = np.eye(m) - 1 / m
        for axis in (0, 1):
            design = np.zeros((m, len(self._right)))
            design[np.arange(m), 3 * columns] = -velocity_mps[axis]
            design[np.arange(m), 3 * columns + 1 + axis] = 1.0
            # Whatever lies far off counts less (Huber): feet are half hidden more often than they are seen badly.
            offsets = shared @ places_m[:, axis]
            weight = min(1.0, 1.5 * SPREAD_M / max(float(np.abs(offsets).max()), 1e-9)) / SPREAD_M**2
            reduced = shared @ design
            self._normal += weight * reduced.T @ reduced
            self._right += weight * reduced.T @ offsets
        self._counts[columns] += 1

    def estimates(self) -> tuple[tuple[int, float, FloatArray, float], ...]:
        """Faults that explain what was seen, greatest first: column, skew (s), shift (2,) in metres, and gain.

        A gain is how much chi-squared the fault takes away.
        """
        right = self._right.copy()
        found: list[tuple[int, float, FloatArray, float]] = []
        left = [column for column in range(len(self._camera_ids)) if self._counts[column] >= FEWEST]
        while left:
            options = []
            for column in left:
                own = slice(3 * column, 3 * column + 3)
                # Nobody walking yet: a clock that nothing speaks of is right (to 0.3 s), a camera hangs (to 0.3 m).
                block = self._normal[own, own] + np.eye(3) / 0.3**2
                answer = np.linalg.solve(block, right[own])
                options.append((float(answer @ right[own]), column, answer))
            gain, column, answer = max(options, key=lambda option: option[0])
            found.append((column, float(answer[0]), answer[1:], gain))
            right -= self._normal[:, 3 * column : 3 * column + 3] @ answer
            left.remove(column)
        return tuple(found)

    def _judge(self, timestamp_ns: int) -> None:
        for column, skew_s, shift_m, gain in self.estimates():
            if gain < SURE_GAIN:
                continue
            camera_id = self._camera_ids[column]
            moved_m = float(np.linalg.norm(shift_m))
            if abs(skew_s) >= SKEWED_S:
                self._skews_s[column] = skew_s
                way = "ahead" if skew_s > 0 else "behind"
                text = f"the clock of camera {camera_id} is {1000 * abs(skew_s):.0f} ms {way}; allowed for"
                self._say(timestamp_ns, camera_id, "camera-skewed", skew_s, text)
            if moved_m >= MOVED_M:
                text = f"camera {camera_id} has moved: it puts people {100 * moved_m:.0f} cm beside where the others do"
                self._say(timestamp_ns, camera_id, "camera-moved", moved_m, text)

    def _say(self, timestamp_ns: int, camera_id: str, code: str, amount: float, message: str) -> None:
        before = self._notices.get((camera_id, code))
        first_ns = timestamp_ns if before is None else before.timestamp_ns
        if before is None:
            logger.info("%s", message)
        self._notices[camera_id, code] = CameraNotice(first_ns, camera_id, code, amount, message)
