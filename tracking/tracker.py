"""Follow the people in one camera's picture: a Kalman filter in seconds and association in two stages.

The order of association is ByteTrack's (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection
Box", ECCV 2022): sure detections first, then the unsure ones for the tracks that found none, since a person half
covered by a shelf or by somebody else gives a weak box where a strong one was expected. Tracks of whom little is known
yet come last, so that a flicker cannot take a detection from a person.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tracking import kalman
from tracking.association import assign, pair_overlaps, touching_pairs
from tracking.kalman import BoxNoise, BoxStates
from tracking.types import Tracks
from vision.arrays import BoolArray, FloatArray, IntArray
from vision.boxes import cxcywh_from_xyxy
from vision.cameras import Camera
from vision.detections import COCO_PERSON, Detections
from vision.pose import body_feet

NS_PER_S = 1_000_000_000
_CLOCK_SLACK_S = 1e-3  # timestamps of real files are rounded to about this, and 0.2 s must mean the frame at 0.1999 s


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """When a box is a person, and when it is the same one. Times in seconds, so that the frame rate does not matter.

    Attributes:
        low_confidence: Weakest detection that may continue a track; below it detectors return mostly background.
        high_confidence: From here a detection is more probably a person than not. Such a one may begin a track, and
            a track's mean confidence must reach it before the track counts as a person.
        min_affinity: Least product of overlap (IoU) and confidence for a sure detection to continue a track. Low,
            because a fast walker filmed at 10 frames a second moves by half of their own width between two frames, and
            because the alternative to a weak match is a lost identity.
        min_low_overlap: Least overlap for an unsure detection to continue a track: weak evidence must at least be
            where it was expected.
        low_gap_s: A track that was not seen in the frame before and is unseen for longer than this is continued by sure
            detections only; unsure ones are too often background.
        start_overlap: A detection that overlaps somebody followed, or a surer detection, by more begins no new track.
            Just below what detectors' own suppression of duplicates lets through (0.65 to 0.7).
        confirm_s: A track must have been followed for this long to count as a person. Flickers of a detector last one
            or two frames; 0.2 s is a quarter of a step.
        confirm_hits: And must have been detected this often, since at a low frame rate time alone is no evidence.
        tentative_gap_s: A track not yet confirmed is dropped when a frame missed it and it is unseen for longer: two
            missed frames at 10 a second.
        lost_timeout_s: A confirmed track is kept while unseen for this long. Passing behind another person or a pillar
            takes one to two seconds; after that a prediction at constant velocity means nothing.
        noise: How people move in pictures, and how well boxes are seen.
    """

    low_confidence: float = 0.1
    high_confidence: float = 0.5
    min_affinity: float = 0.1
    min_low_overlap: float = 0.5
    low_gap_s: float = 0.1
    start_overlap: float = 0.6
    confirm_s: float = 0.2
    confirm_hits: int = 3
    tentative_gap_s: float = 0.3
    lost_timeout_s: float = 2.0
    noise: BoxNoise = field(default_factory=BoxNoise)

    def __post_init__(self) -> None:
        for name in ("low_confidence", "high_confidence", "min_affinity", "min_low_overlap", "start_overlap"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"TrackerSettings.{name}: expected 0 to 1, got {value}")
        for name in ("low_gap_s", "confirm_s", "tentative_gap_s", "lost_timeout_s"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"TrackerSettings.{name}: expected 0 or more seconds, got {value}")
        if self.low_confidence > self.high_confidence:
            raise ValueError(
                f"TrackerSettings: low_confidence {self.low_confidence} exceeds high_confidence {self.high_confidence}"
            )
        if self.confirm_hits < 1:
            raise ValueError(f"TrackerSettings.confirm_hits: expected at least 1, got {self.confirm_hits}")


@dataclass(frozen=True, slots=True)
class _Followed:
    """Everybody being followed, one row each: ids, states and the evidence that they are people."""

    track_id: IntArray
    states: BoxStates
    confirmed: BoolArray
    hits: IntArray
    confidence_sum: FloatArray
    first_seen_ns: IntArray
    last_seen_ns: IntArray

    def __len__(self) -> int:
        return len(self.track_id)

    def __getitem__(self, rows: NDArray[Any] | slice) -> Self:
        return type(self)(*(getattr(self, name)[rows] for name in self.__slots__))

    @classmethod
    def started(cls, first_id: int, xyxy: FloatArray, confidence: FloatArray, now_ns: int, noise: BoxNoise) -> Self:
        """Begin to follow detections, numbered from ``first_id``."""
        n = len(xyxy)
        return cls(
            np.arange(first_id, first_id + n, dtype=np.int64),
            kalman.start(xyxy, noise),
            np.zeros(n, bool),
            np.ones(n, np.int64),
            confidence.copy(),
            np.full(n, now_ns, np.int64),
            np.full(n, now_ns, np.int64),
        )

    @classmethod
    def nobody(cls) -> Self:
        return cls.started(0, np.zeros((0, 4)), np.zeros(0), 0, BoxNoise())

    def joined(self, other: "_Followed") -> "_Followed":
        """Return these and then the others."""
        return _Followed(
            np.concatenate([self.track_id, other.track_id]),
            self.states.joined(other.states),
            np.concatenate([self.confirmed, other.confirmed]),
            np.concatenate([self.hits, other.hits]),
            np.concatenate([self.confidence_sum, other.confidence_sum]),
            np.concatenate([self.first_seen_ns, other.first_seen_ns]),
            np.concatenate([self.last_seen_ns, other.last_seen_ns]),
        )

    def gaps_s(self, now_ns: int) -> FloatArray:
        """How long each has not been seen, shape (n,), seconds."""
        return np.asarray((now_ns - self.last_seen_ns) / NS_PER_S)


class Tracker:
    """Follows the people in one camera's picture.

    Ids count up from 1, belong to this tracker alone, and are never used twice, not even after ``reset``. The same
    detections always give the same tracks.

    A frame that is missing is simply not given: time is taken from the timestamps. A second set of detections with the
    timestamp of the one before counts as another look at the same instant (nothing moves in between, every track may
    be matched once more).

    Attributes:
        camera_id: The camera.

    >>> tracker = Tracker("door")
    >>> box = np.array([[10.0, 10.0, 50.0, 110.0]], np.float32)
    >>> for frame in range(4):
    ...     seen = Detections("door", frame * 100_000_000, box, np.array([0.9]), np.array([0]), np.zeros((1, 0, 3)))
    ...     tracks = tracker.update(seen)
    >>> tracks.track_id.tolist(), tracker.first_seen_ns(1)
    ([1], 0)
    """

    def __init__(self, camera_id: str, camera: Camera | None = None, settings: TrackerSettings | None = None) -> None:
        """Start with nobody.

        Args:
            camera_id: The camera whose detections will come.
            camera: Its calibration for the pictures' size; without one ``floor_m`` is nan.
            settings: When a box is a person and when it is the same one.
        """
        self.camera_id = camera_id
        self._camera = camera
        self._settings = settings or TrackerSettings()
        self._next_id = 1
        self._now_ns: int | None = None
        self._followed = _Followed.nobody()
        self._shown: tuple[_Followed, Detections] | None = None

    def reset(self) -> None:
        """Forget everybody, and the time; ids go on counting."""
        self._now_ns = None
        self._followed = _Followed.nobody()
        self._shown = None

    def first_seen_ns(self, track_id: int) -> int:
        """When a person was first seen, which is before they were confirmed and first came in ``Tracks``.

        Args:
            track_id: A track from the latest ``Tracks``, or one lost since for less than ``lost_timeout_s``.

        Returns:
            Store clock, nanoseconds.

        Raises:
            ValueError: The track is not being followed.
        """
        rows = np.flatnonzero(self._followed.track_id == track_id)
        if not len(rows):
            raise ValueError(f"camera {self.camera_id}: track {track_id} is not being followed")
        return int(self._followed.first_seen_ns[rows[0]])

    def update(self, detections: Detections) -> Tracks:
        """Take what was detected in the next frame.

        Args:
            detections: Of this camera, weak ones too; others than people, and boxes without a finite area, are left
                out.

        Returns:
            The confirmed people who were detected in this frame, by track id: box filtered, confidence, key-points
            and foot point of the detection that each was matched with.

        Raises:
            ValueError: The detections are another camera's, or earlier than the last ones.
        """
        now_ns = detections.timestamp_ns
        if detections.camera_id != self.camera_id:
            raise ValueError(f"tracker of camera {self.camera_id}: got detections of camera {detections.camera_id}")
        if self._now_ns is not None and now_ns < self._now_ns:
            raise ValueError(f"camera {self.camera_id}: time ran backwards, from {self._now_ns} ns to {now_ns} ns")
        detections = self._usable(detections)
        xyxy = detections.xyxy.astype(np.float64)
        confidence = detections.confidence.astype(np.float64)

        followed = self._advanced(now_ns)
        match = self._matched(followed, xyxy, confidence, now_ns)
        followed = self._corrected(followed, match, xyxy, confidence, now_ns)
        fresh = self._fresh(match, xyxy, confidence)
        started = _Followed.started(self._next_id, xyxy[fresh], confidence[fresh], now_ns, self._settings.noise)
        followed = self._judged(followed.joined(started))
        match = np.concatenate([match, fresh])

        self._next_id += len(fresh)
        self._now_ns = now_ns
        self._followed = followed
        shown = followed.confirmed & (match >= 0)
        self._shown = followed[shown], detections[match[shown]]
        return self._tracks(*self._shown)

    def coast(self, timestamp_ns: int) -> Tracks:
        """Say where those whom the last frame showed are by now, in a frame in which nobody was looked for.

        Nothing is remembered of it: to be coasted is neither to be seen nor to be missed, and it does not matter how
        often or at which instants it is asked between two frames with detections.

        Args:
            timestamp_ns: Store clock of the frame, nanoseconds, not before the last frame with detections.

        Returns:
            The people of the last ``update``, each moved on at their velocity: the filtered box, and with it foot point
            and key-points of the last detection as the box moves and grows; its confidence as it was. At the time of
            the last frame it is what ``update`` gave. Nobody before the first frame.

        Raises:
            ValueError: The time lies before the last frame's.
        """
        if self._now_ns is None or self._shown is None:
            return self._tracks(_Followed.nobody(), Detections.empty(self.camera_id, timestamp_ns))
        if timestamp_ns < self._now_ns:
            raise ValueError(
                f"camera {self.camera_id}: time ran backwards, from {self._now_ns} ns to {timestamp_ns} ns"
            )
        before, seen = self._shown
        states = kalman.predict(before.states, (timestamp_ns - self._now_ns) / NS_PER_S, self._settings.noise)
        old, new = cxcywh_from_xyxy(before.states.xyxy)[:, None], cxcywh_from_xyxy(states.xyxy)[:, None]
        growth = new[..., 2:] / old[..., 2:]
        corners = (seen.xyxy.reshape(-1, 2, 2) - old[..., :2]) * growth + new[..., :2]
        keypoints = seen.keypoints.copy()
        keypoints[..., :2] = (keypoints[..., :2] - old[..., :2]) * growth + new[..., :2]
        moved = replace(
            seen, timestamp_ns=timestamp_ns, xyxy=corners.reshape(-1, 4).astype(seen.xyxy.dtype), keypoints=keypoints
        )
        return self._tracks(replace(before, states=states), moved)

    def _usable(self, detections: Detections) -> Detections:
        boxes = detections.xyxy
        sized = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        sure = detections.confidence >= self._settings.low_confidence
        return detections[sized & sure & (detections.class_id == COCO_PERSON)]

    def _advanced(self, now_ns: int) -> _Followed:
        """Everybody still worth following, moved to now."""
        if self._now_ns is None:
            return self._followed
        lasting = self._followed.confirmed | (self._followed.last_seen_ns == self._now_ns)
        patience_s = np.where(lasting, self._settings.lost_timeout_s, self._settings.tentative_gap_s)
        kept = self._followed[self._followed.gaps_s(now_ns) <= patience_s + _CLOCK_SLACK_S]
        dt_s = (now_ns - self._now_ns) / NS_PER_S
        return replace(kept, states=kalman.predict(kept.states, dt_s, self._settings.noise))

    def _matched(self, followed: _Followed, xyxy: FloatArray, confidence: FloatArray, now_ns: int) -> IntArray:
        """Which detection continues each track, shape (n,): its index, or -1."""
        settings = self._settings
        expected = followed.states.xyxy
        detection_of = np.full(len(followed), -1, np.intp)
        free = np.ones(len(xyxy), bool)

        def associate(tracks: BoolArray, candidates: BoolArray, weight: FloatArray, least: float) -> None:
            rows = np.flatnonzero(tracks & (detection_of < 0))
            columns = np.flatnonzero(candidates & free)
            pairs = touching_pairs(expected[rows], xyxy[columns])
            affinity = pair_overlaps(expected[rows], xyxy[columns], pairs) * weight[columns][pairs.column]
            chosen = assign(pairs, affinity - least)
            detection_of[rows[chosen.row]] = columns[chosen.column]
            free[columns[chosen.column]] = False

        high = confidence >= settings.high_confidence
        recent = followed.gaps_s(now_ns) <= settings.low_gap_s + _CLOCK_SLACK_S
        if self._now_ns is not None:
            recent |= followed.last_seen_ns == self._now_ns
        for stage in (followed.confirmed, ~followed.confirmed):
            associate(stage, high, confidence, settings.min_affinity)
            associate(stage & recent, ~high, np.ones(len(xyxy)), settings.min_low_overlap)
        return detection_of

    def _corrected(
        self, followed: _Followed, match: IntArray, xyxy: FloatArray, confidence: FloatArray, now_ns: int
    ) -> _Followed:
        """Everybody after seeing this frame."""
        seen = match >= 0
        rows, columns = np.flatnonzero(seen), match[seen]
        states = kalman.steadied(followed.states, ~seen)
        states = states.replaced(rows, kalman.update(states[rows], xyxy[columns], self._settings.noise))
        confidence_sum = followed.confidence_sum.copy()
        confidence_sum[rows] += confidence[columns]
        return replace(
            followed,
            states=states,
            hits=followed.hits + seen,
            confidence_sum=confidence_sum,
            last_seen_ns=np.where(seen, now_ns, followed.last_seen_ns),
        )

    def _fresh(self, match: IntArray, xyxy: FloatArray, confidence: FloatArray) -> IntArray:
        """Detections that show somebody new: sure, unmatched, no second box of somebody."""
        free = confidence >= self._settings.high_confidence
        free[match[match >= 0]] = False
        fresh = np.flatnonzero(free)
        fresh = fresh[np.argsort(-confidence[fresh], kind="stable")]
        taken = match[match >= 0]
        known = np.concatenate([taken, fresh])
        pairs = touching_pairs(xyxy[fresh], xyxy[known])
        pairs = pairs[pairs.column < pairs.row + len(taken)]  # with those followed already, and with surer new ones
        double = pairs.row[pair_overlaps(xyxy[fresh], xyxy[known], pairs) > self._settings.start_overlap]
        return np.sort(np.delete(fresh, np.unique(double)))

    def _judged(self, followed: _Followed) -> _Followed:
        """Confirm those with enough evidence; once confirmed, always confirmed."""
        settings = self._settings
        age_s = (followed.last_seen_ns - followed.first_seen_ns) / NS_PER_S
        evident = (
            (age_s >= settings.confirm_s - _CLOCK_SLACK_S)
            & (followed.hits >= settings.confirm_hits)
            & (followed.confidence_sum >= settings.high_confidence * followed.hits)
        )
        return replace(followed, confirmed=followed.confirmed | evident)

    def _tracks(self, shown: _Followed, detections: Detections) -> Tracks:
        floor_m = np.full((len(shown), 2), np.nan)
        if self._camera is not None and len(shown):
            feet = body_feet(detections.xyxy, detections.keypoints, self._camera.resolution_wh)
            floor_m = self._camera.floor_points(feet)
        return Tracks(
            self.camera_id,
            detections.timestamp_ns,
            shown.track_id,
            shown.states.xyxy.astype(np.float32),
            detections.confidence,
            detections.class_id,
            detections.keypoints,
            floor_m,
            shown.first_seen_ns,
        )
