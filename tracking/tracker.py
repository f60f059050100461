"""Follow the people in one camera's picture: a Kalman filter in seconds and association in two stages.

The order of association is ByteTrack's (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection
Box", ECCV 2022): sure detections first, then the unsure ones for the tracks that found none, since a person half
covered by a shelf or by somebody else gives a weak box where a strong one was expected. Tracks of whom little is known
yet come last, so that a flicker cannot take a detection from a person.

What counts as sure is measured: every detector has its own idea of a score, and 0.6 is much from a small one in a dim
hall and little from a large one. So the line follows the confidence that people usually have in this very video.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from tracking import kalman
from tracking.association import likeness, pair_overlaps, touching_pairs
from tracking.kalman import BoxNoise, BoxStates
from tracking.types import Tracks
from vision.arrays import BoolArray, FloatArray, IntArray
from vision.boxes import cxcywh_from_xyxy
from vision.cameras import Camera
from vision.detections import COCO_PERSON, Detections
from vision.pose import body_feet

NS_PER_S = 1_000_000_000
_CLOCK_SLACK_NS = 1_000_000  # timestamps of real files are rounded to about this; 0.2 s must mean the frame at 0.1999 s

_NOTHING = np.zeros(0, np.intp)


_SHARES = ("low_confidence", "high_confidence", "min_affinity", "min_low_likeness", "start_overlap")
_ID, _FIRST, _LAST, _HITS = range(4)


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """When a box is a person, and when it is the same one. Times in seconds, so that the frame rate does not matter.

    Attributes:
        low_confidence: Weakest detection that may continue a track; below it detectors return mostly background.
        high_confidence: From here a detection is more probably a person than not, as long as ``usual_confidence`` is
            what people usually get. Such a one may begin a track, and a track's mean confidence must reach it before
            the track counts as a person. It rises and falls in proportion to the mean confidence of those followed in
            this video.
        usual_confidence: Mean confidence of a person fully in view, before anything is known of the video: that of the
            YOLO family at its usual sizes.
        usual_weight: How many detections that first idea is worth; a few seconds of a few people.
        usual_memory: Over how many detections the mean goes; minutes, since light and crowd change slowly.
        min_affinity: Least product of likeness and confidence for a sure detection to continue a track. Low, because a
            fast walker filmed at 10 frames a second moves by half of their own width between two frames, and because
            the alternative to a weak match is a lost identity.
        min_low_likeness: Least likeness for an unsure detection to continue a track: weak evidence must at least be
            where it was expected.
        low_gap_s: A track that was not seen in the frame before and is unseen for longer than this is continued by sure
            detections only; unsure ones are too often background.
        start_overlap: A detection that overlaps somebody followed, or a surer detection, by more begins no new track.
            Just below what detectors' own suppression of duplicates lets through (0.65 to 0.7).
        confirm_s: A track must have been followed for this long to count as a person. Flickers of a detector last one
            or two frames, and what shakes a picture or a light longer; 0.1 s is an eighth of a step.
        confirm_hits: And must have been detected this often, since at a low frame rate time alone is no evidence.
        tentative_gap_s: A track not yet confirmed is dropped when a frame missed it and it is unseen for longer: two
            missed frames at 10 a second.
        lost_timeout_s: A confirmed track is kept while unseen for this long. Passing behind another person or a pillar
            takes one to two seconds; after that a prediction at constant velocity means nothing.
        noise: How people move in pictures, and how well boxes are seen.
    """

    low_confidence: float = 0.1
    high_confidence: float = 0.53
    usual_confidence: float = 0.77
    usual_weight: float = 50.0
    usual_memory: float = 1000.0
    min_affinity: float = 0.1
    min_low_likeness: float = 0.5
    low_gap_s: float = 0.1
    start_overlap: float = 0.6
    confirm_s: float = 0.1
    confirm_hits: int = 3
    tentative_gap_s: float = 0.3
    lost_timeout_s: float = 2.0
    noise: BoxNoise = field(default_factory=BoxNoise)

    def __post_init__(self) -> None:
        for name in _SHARES:
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
        if not 1 <= self.usual_weight <= self.usual_memory < np.inf:
            raise ValueError(
                "TrackerSettings: expected 1 <= usual_weight <= usual_memory,"
                f" got {self.usual_weight} and {self.usual_memory}"
            )
        if not 0 < self.usual_confidence <= 1:
            raise ValueError(f"TrackerSettings.usual_confidence: expected above 0 to 1, got {self.usual_confidence}")
        if self.confirm_hits < 1:
            raise ValueError(f"TrackerSettings.confirm_hits: expected at least 1, got {self.confirm_hits}")


@dataclass(frozen=True, slots=True)
class _Followed:
    """Everybody being followed: states, and the evidence that they are people, with a column for each.

    Attributes:
        states: Where they are and how they move.
        counts: Shape (4, n), in rows: id, first and last time seen in nanoseconds, and hits.
        confidence_sum: Over all hits, shape (n,).
        confirmed: Whether they count as people, shape (n,).
    """

    states: BoxStates
    counts: IntArray
    confidence_sum: FloatArray
    confirmed: BoolArray

    def __len__(self) -> int:
        return len(self.confidence_sum)

    def __getitem__(self, rows: IntArray) -> Self:
        return type(self)(
            self.states[rows],
            self.counts.take(rows, axis=1),
            self.confidence_sum.take(rows),
            self.confirmed.take(rows),
        )

    @classmethod
    def started(cls, first_id: int, xyxy: FloatArray, confidence: FloatArray, now_ns: int, noise: BoxNoise) -> Self:
        """Begin to follow detections, numbered from ``first_id``."""
        counts = np.empty((4, len(xyxy)), np.int64)
        counts[_ID] = np.arange(first_id, first_id + len(xyxy))
        counts[_FIRST] = counts[_LAST] = now_ns
        counts[_HITS] = 1
        return cls(kalman.start(xyxy, noise), counts, confidence.copy(), np.zeros(len(xyxy), bool))

    @classmethod
    def nobody(cls) -> Self:
        return cls.started(0, np.zeros((0, 4)), np.zeros(0), 0, BoxNoise())

    def joined(self, other: "_Followed") -> "_Followed":
        """Return these and then the others."""
        return _Followed(
            self.states.joined(other.states),
            np.concatenate([self.counts, other.counts], axis=1),
            np.concatenate([self.confidence_sum, other.confidence_sum]),
            np.concatenate([self.confirmed, other.confirmed]),
        )


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
        self._settings = kept = settings or TrackerSettings()
        self._next_id = 1
        self._lost_ns, self._tentative_ns, self._low_ns = (
            round(time_s * NS_PER_S) + _CLOCK_SLACK_NS
            for time_s in (kept.lost_timeout_s, kept.tentative_gap_s, kept.low_gap_s)
        )
        self._surely_kept_ns = min(self._lost_ns, self._tentative_ns)
        self._confirm_ns = round(kept.confirm_s * NS_PER_S) - _CLOCK_SLACK_NS
        self.reset()

    def reset(self) -> None:
        """Forget everybody, the time, and how sure the detector usually is; ids go on counting."""
        self._now_ns: int | None = None
        self._followed = _Followed.nobody()
        self._shown: tuple[_Followed, IntArray, Detections] | None = None
        self._usual_weight = self._settings.usual_weight
        self._usual_confidence = self._settings.usual_confidence

    def first_seen_ns(self, track_id: int) -> int:
        """When a person was first seen, which is before they were confirmed and first came in ``Tracks``.

        Args:
            track_id: A track from the latest ``Tracks``, or one lost since for less than ``lost_timeout_s``.

        Returns:
            Store clock, nanoseconds.

        Raises:
            ValueError: The track is not being followed.
        """
        rows = np.flatnonzero(self._followed.counts[_ID] == track_id)
        if not len(rows):
            raise ValueError(f"camera {self.camera_id}: track {track_id} is not being followed")
        return int(self._followed.counts[_FIRST, rows[0]])

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
        detections, corners = self._usable(detections)
        xyxy, confidence = corners.T, detections.confidence.astype(np.float64)
        sure = self._settings.high_confidence * self._usual_confidence / self._settings.usual_confidence
        high = confidence >= sure

        followed = self._advanced(now_ns)
        match = self._matched(followed, xyxy, confidence, high, now_ns)
        seen = match >= 0
        self._correct(followed, match, seen, corners, confidence, sure, now_ns)
        shown = (seen & followed.confirmed).nonzero()[0]
        shown_as = match.take(shown)
        self._learn_usual(confidence.take(shown_as), sure)
        fresh = self._fresh(match[seen], xyxy, confidence, high)
        if len(fresh):
            started = _Followed.started(self._next_id, xyxy[fresh], confidence[fresh], now_ns, self._settings.noise)
            followed = followed.joined(started)
            self._next_id += len(fresh)
        self._now_ns = now_ns
        self._followed = followed
        self._shown = followed, shown, detections[shown_as]
        return self._tracks(followed.counts.take(shown, axis=1), self._boxes(followed.states, shown), self._shown[2])

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
            return self._tracks(
                np.zeros((4, 0), np.int64), np.zeros((0, 4)), Detections.empty(self.camera_id, timestamp_ns)
            )
        if timestamp_ns < self._now_ns:
            raise ValueError(
                f"camera {self.camera_id}: time ran backwards, from {self._now_ns} ns to {timestamp_ns} ns"
            )
        followed, shown, seen = self._shown
        before = followed.states[shown]
        states = kalman.predict(before, (timestamp_ns - self._now_ns) / NS_PER_S, self._settings.noise)
        old, new = cxcywh_from_xyxy(before.xyxy)[:, None], cxcywh_from_xyxy(states.xyxy)[:, None]
        growth = new[..., 2:] / old[..., 2:]
        corners = (seen.xyxy.reshape(-1, 2, 2) - old[..., :2]) * growth + new[..., :2]
        keypoints = seen.keypoints.copy()
        keypoints[..., :2] = (keypoints[..., :2] - old[..., :2]) * growth + new[..., :2]
        moved = replace(
            seen, timestamp_ns=timestamp_ns, xyxy=corners.reshape(-1, 4).astype(seen.xyxy.dtype), keypoints=keypoints
        )
        return self._tracks(followed.counts.take(shown, axis=1), states.xyxy, moved)

    def _usable(self, detections: Detections) -> tuple[Detections, FloatArray]:
        """People with a finite area and some confidence, and their boxes as rows left, top, right, bottom."""
        corners = np.array(detections.xyxy.T, np.float64, order="C")
        sized, finite = corners[2:] > corners[:2], np.isfinite(corners)
        usable = detections.confidence >= self._settings.low_confidence
        usable &= detections.class_id == COCO_PERSON
        if _all(sized) and _all(finite) and _all(usable):
            return detections, corners
        usable &= sized.all(axis=0) & finite.all(axis=0)
        return detections[usable], corners[:, usable]

    def _advanced(self, now_ns: int) -> _Followed:
        """Everybody still worth following, moved to now."""
        followed = self._followed
        if self._now_ns is None or not len(followed):
            return followed
        last_ns = followed.counts[_LAST]
        unseen_ns = now_ns - last_ns
        if np.count_nonzero(unseen_ns > self._surely_kept_ns):
            lasting = followed.confirmed | (last_ns == self._now_ns)
            kept = unseen_ns <= np.where(lasting, self._lost_ns, self._tentative_ns)
            followed = followed[kept.nonzero()[0]]
        dt_s = (now_ns - self._now_ns) / NS_PER_S
        states = kalman.predict(followed.states, dt_s, self._settings.noise)
        return _Followed(states, followed.counts, followed.confidence_sum, followed.confirmed)

    def _matched(
        self, followed: _Followed, xyxy: FloatArray, confidence: FloatArray, high: BoolArray, now_ns: int
    ) -> IntArray:
        """Which detection continues each track, shape (n,): its index, or -1."""
        settings = self._settings
        detection_of = np.full(len(followed), -1, np.intp)
        if not (len(followed) and len(xyxy)):
            return detection_of
        alike = likeness(followed.states.xyxy, xyxy)
        last_ns = followed.counts[_LAST]
        recent = (now_ns - last_ns <= self._low_ns) | (last_ns == self._now_ns)
        free_high, free_low = high.copy(), ~high
        for stage in (followed.confirmed, ~followed.confirmed):
            rows = stage.nonzero()[0]
            if not len(rows):
                continue
            columns = free_high.nonzero()[0]
            if len(columns):
                row, column = alike.assign(rows, columns, confidence.take(columns), settings.min_affinity)
                detection_of[row] = column
                free_high[column] = False
            columns = free_low.nonzero()[0]
            if len(columns):
                rows = (stage & recent & (detection_of < 0)).nonzero()[0]
                if len(rows):
                    row, column = alike.assign(rows, columns, None, settings.min_low_likeness)
                    detection_of[row] = column
                    free_low[column] = False
        return detection_of

    def _correct(
        self,
        followed: _Followed,
        match: IntArray,
        seen: BoolArray,
        corners: FloatArray,
        confidence: FloatArray,
        sure: float,
        now_ns: int,
    ) -> None:
        """Take into account, in place, which tracks were seen, and as which detections."""
        settings, table, counts = self._settings, followed.states.table, followed.counts
        seen_count = np.count_nonzero(seen)
        if seen_count < len(followed):
            np.copyto(table[6:8], 0, where=~seen)  # as kalman.steadied does
        if not seen_count:
            return
        boxes = corners.take(match, axis=1)  # for those not seen a box of somebody else: the masks leave it out again
        measured = np.empty_like(boxes)
        centre = np.add(boxes[:2], boxes[2:], out=measured[:2])
        centre /= 2
        np.subtract(boxes[2:], boxes[:2], out=measured[2:])
        np.copyto(table, kalman.corrected(followed.states, measured, settings.noise).table, where=seen)
        confidence_sum, hits = followed.confidence_sum, counts[_HITS]
        np.add(confidence_sum, confidence.take(match), out=confidence_sum, where=seen)
        np.add(hits, 1, out=hits, where=seen)
        np.copyto(counts[_LAST], now_ns, where=seen)
        if not _all(followed.confirmed):
            evident = (
                (counts[_LAST] - counts[_FIRST] >= self._confirm_ns)
                & (hits >= settings.confirm_hits)
                & (confidence_sum >= sure * hits)
            )
            np.logical_or(followed.confirmed, evident, out=followed.confirmed)  # once confirmed, always confirmed

    def _learn_usual(self, confidence: FloatArray, sure: float) -> None:
        """Learn how confident the detector usually is from those who were seen well."""
        well = confidence[confidence >= sure]
        if not len(well):
            return
        total = self._usual_confidence * self._usual_weight + float(np.add.reduce(well))
        self._usual_weight += len(well)
        self._usual_confidence = total / self._usual_weight
        self._usual_weight = min(self._usual_weight, self._settings.usual_memory)

    def _fresh(self, taken: IntArray, xyxy: FloatArray, confidence: FloatArray, high: BoolArray) -> IntArray:
        """Detections that show somebody new: sure, unmatched, no second box of somebody."""
        free = high.copy()
        free[taken] = False
        fresh = free.nonzero()[0]
        if not len(fresh):
            return _NOTHING
        fresh = fresh[np.argsort(-confidence[fresh], kind="stable")]
        known = np.concatenate([taken, fresh])
        pairs = touching_pairs(xyxy[fresh], xyxy[known])
        pairs = pairs[pairs.column < pairs.row + len(taken)]  # with those followed already, and with surer new ones
        double = pairs.row[pair_overlaps(xyxy[fresh], xyxy[known], pairs) > self._settings.start_overlap]
        return np.sort(np.delete(fresh, np.unique(double)))

    def _boxes(self, states: BoxStates, shown: IntArray) -> FloatArray:
        """Filtered boxes of those who are shown, shape (n, 4)."""
        corners = states.corners
        return corners.T if len(shown) == len(states) else corners.take(shown, axis=1).T

    def _tracks(self, counts: IntArray, xyxy: FloatArray, detections: Detections) -> Tracks:
        if self._camera is not None and len(xyxy):
            feet = body_feet(detections.xyxy, detections.keypoints, self._camera.resolution_wh)
            floor_m = self._camera.floor_points(feet)
        else:
            floor_m = np.empty((len(xyxy), 2))
            floor_m.fill(np.nan)
        return Tracks(
            self.camera_id,
            detections.timestamp_ns,
            counts[_ID],
            xyxy.astype(np.float32, order="C"),
            detections.confidence,
            detections.class_id,
            detections.keypoints,
            floor_m,
            counts[_FIRST],
        )


def _all(mask: BoolArray) -> bool:
    """``mask.all()``, of few numbers in a quarter of the time."""
    return bool(np.count_nonzero(mask) == mask.size)
