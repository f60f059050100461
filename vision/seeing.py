"""Decides for each camera and frame whether to run the detector, to follow what is known, or to let a still scene be.

A detector takes twenty times as long as everything else that is done with a frame. So it is run on every n-th frame of
a camera, the cameras taking turns; in between boxes and key-points are carried along with the picture. It is run at
once when something moves where nobody was, when somebody is new, was just lost or moves fast; and not at all while
nothing in a picture changes, be it noisy or its exposure restless.

>>> SeeingSettings(detect_every=3).longest_gap_s
0.5
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from vision.arrays import BoolArray, FloatArray, ImageArray
from vision.boxes import clipped, iou_matrix
from vision.detections import Detections
from vision.detector import ObjectDetector
from vision.frames import Frame
from vision.motion import FLOW_WIDTH_PX, GATE_WIDTH_PX, BodyFlow, cells_of, changed_cells, shrunk

NANOSECONDS = 1_000_000_000
_STRANGER = "something moves where nobody was"
_CLOCK_SLACK_S = 1e-3  # timestamps of real files are rounded to about this


class Action(Enum):
    """What was done with a frame."""

    DETECTED = "detected"
    BETWEEN = "followed"
    STILL = "still"


@dataclass(frozen=True, slots=True)
class SeeingSettings:
    """How often to look. Times in seconds, so that the frame rate does not matter.

    Attributes:
        detect_every: Run the detector on every n-th frame of a camera; 1 is every frame.
        longest_gap_s: And whenever it has not run for so long while something moves, for cameras of few frames: in
            half a second a walker goes by about their own width, and a reach into a shelf lasts longer.
        sleeps: Whether a scene in which nothing changes is left alone.
        longest_sleep_s: It is looked at all the same after this long, because whatever the comparison overlooks is
            then overlooked for this long at most ...
        longest_rest_s: ... and after this long when there are people or hands in it: nobody stands stock-still longer.
        new_confidence: A person seen with at least this confidence who is not followed yet is looked at again in the
            next frame, so that a tracker can make up its mind as soon as without pauses.
        fast_share: Somebody who has moved by this share of their box's width since they were detected is looked at
            again: what is carried along by then no longer fits well.
        looks_again: Most frames in a row that are looked at for one of these reasons alone; flickers of a detector
            or a screen would else make it run on every frame.
    """

    detect_every: int = 1
    longest_gap_s: float = 0.5
    sleeps: bool = True
    longest_sleep_s: float = 2.0
    longest_rest_s: float = 0.5
    new_confidence: float = 0.5
    fast_share: float = 0.5
    looks_again: int = 4

    def __post_init__(self) -> None:
        if self.detect_every < 1:
            raise ValueError(f"SeeingSettings.detect_every: expected at least 1, got {self.detect_every}")
        if self.looks_again < 0:
            raise ValueError(f"SeeingSettings.looks_again: expected 0 or more, got {self.looks_again}")
        for name in ("longest_gap_s", "longest_sleep_s", "longest_rest_s", "fast_share"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"SeeingSettings.{name}: expected a positive number, got {value}")


@dataclass(frozen=True, slots=True)
class Look:
    """What was done with one frame, why, and what came of it.

    Attributes:
        action: What was done.
        reason: Why, in a few words for people.
        detections: What the detector saw in this frame; when it did not run, what it last saw, each thing carried
            along with the person it belongs to.
        xyxy: Where those whom :meth:`Seeing.follow` named are now, shape (n, 4), pixels; nan for one who was lost from
            sight between detections. No rows after a detection.
        keypoints: Their key-points, shape (n, k, 3), pixels.
    """

    action: Action
    reason: str
    detections: Detections
    xyxy: FloatArray
    keypoints: FloatArray


@dataclass(slots=True)
class _View:
    """What is remembered of one camera."""

    turn: int
    resolution_wh: tuple[int, int]
    frame_count: int = 0
    detected_ns: int = 0
    looked_again: int = 0
    reference: ImageArray | None = None
    seen: Detections | None = None
    flow: BodyFlow | None = None
    start_xyxy: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    xyxy: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    keypoints: FloatArray = field(default_factory=lambda: np.zeros((0, 0, 3)))
    known: BoolArray = field(default_factory=lambda: np.zeros(0, bool))
    followed_before: int = 0
    reason: str = ""
    look_again: str = ""


class Seeing:
    """Looks at the frames of a store's cameras as often as it pays.

    Call :meth:`look` with the frames of each instant, and :meth:`follow` after every frame that was detected in, with
    the people that the tracker makes of it; without the second nobody is carried along.

    Args:
        detector: What sees.
        settings: How often it looks.
    """

    def __init__(self, detector: ObjectDetector, settings: SeeingSettings | None = None) -> None:
        self._detector = detector
        self._settings = settings or SeeingSettings()
        self._every_frame = self._settings.detect_every == 1 and not self._settings.sleeps
        self._views: dict[str, _View] = {}
        self._counts = dict.fromkeys(Action, 0)

    @property
    def counts(self) -> dict[Action, int]:
        """How many frames each thing was done with so far."""
        return dict(self._counts)

    def look(self, frames: Sequence[Frame]) -> list[Look]:
        """See what is in each frame, or where it has gone.

        Args:
            frames: Frames of one instant, at most one a camera. A camera that gives none is passed over; when it
                comes back after more than ``longest_gap_s`` it is looked at at once.

        Returns:
            One entry a frame, in the same order.
        """
        looks: list[Look | None] = [self._without_detector(frame) for frame in frames]
        due = [row for row, look in enumerate(looks) if look is None or look.action is Action.DETECTED]
        reasons = [self._views[frames[row].camera_id].look_again for row in due]
        for row, reason, seen in zip(due, reasons, self._detector.detect([frames[row] for row in due]), strict=True):
            looks[row] = self._detected(frames[row], seen, reason)
        done = [look for look in looks if look is not None]
        for look in done:
            self._counts[look.action] += 1
        return done

    def follow(self, camera_id: str, xyxy: FloatArray, keypoints: FloatArray) -> None:
        """Say who is followed in the frame just detected in.

        Args:
            camera_id: The camera.
            xyxy: Their boxes, shape (n, 4), pixels.
            keypoints: Their key-points, shape (n, k, 3), pixels.

        Raises:
            ValueError: No frame of the camera was looked at yet.
        """
        view = self._views.get(camera_id)
        if view is None or view.seen is None:
            raise ValueError(f"camera {camera_id}: expected to follow somebody after a frame was looked at")
        if self._every_frame:
            return
        view.start_xyxy = view.xyxy = np.asarray(xyxy, float)
        view.keypoints = np.asarray(keypoints, float)
        view.known = np.ones(len(xyxy), bool)
        view.look_again = ""
        people = view.seen.people()
        sure = people[people.confidence >= self._settings.new_confidence]
        if len(sure) and (not len(xyxy) or (iou_matrix(sure.xyxy.astype(float), view.xyxy).max(axis=1) < 0.3).any()):
            view.look_again = "somebody is new"
        elif len(xyxy) < view.followed_before:
            view.look_again = "somebody was lost"
        elif len(xyxy) == view.followed_before and view.reason == _STRANGER:
            view.looked_again = self._settings.looks_again  # a door, a screen: that can wait for the camera's turn
        view.followed_before = len(xyxy)

    def _without_detector(self, frame: Frame) -> Look | None:
        """What can be said without the detector; None when it must run, for the reason left in ``look_again``."""
        settings = self._settings
        height, width = frame.image.shape[:2]
        view = self._views.get(frame.camera_id)
        if view is None or view.resolution_wh != (width, height):
            view = _View(len(self._views) if view is None else view.turn, (width, height))
            self._views[frame.camera_id] = view
        view.frame_count += 1
        if self._every_frame:
            view.look_again = "every frame"
            return None
        small = shrunk(frame.image, FLOW_WIDTH_PX)
        if view.seen is None or view.reference is None:
            view.look_again = "first frame"
            return None
        gap_s = (frame.timestamp_ns - view.detected_ns) / NANOSECONDS
        moved = changed_cells(view.reference, shrunk(small, GATE_WIDTH_PX))
        if settings.sleeps and not moved.any():
            watched = len(view.xyxy) or len(view.seen.people())
            if gap_s < (settings.longest_rest_s if watched else settings.longest_sleep_s) - _CLOCK_SLACK_S:
                return self._carried(frame, view, Action.STILL, "nothing changes")
        if (view.frame_count + view.turn) % settings.detect_every == 0:
            view.looked_again, view.look_again = 0, "its turn"
            return None
        if gap_s >= settings.longest_gap_s - _CLOCK_SLACK_S:
            view.looked_again, view.look_again = 0, "long not looked at"
            return None
        self._move_on(view, small)
        again = view.look_again or self._surprise(view, moved)
        if again and view.looked_again < settings.looks_again:
            view.looked_again, view.look_again = view.looked_again + 1, again
            return None
        return self._carried(frame, view, Action.BETWEEN, "between two looks")

    def _surprise(self, view: _View, moved: BoolArray) -> str:
        """Why what is carried along does not tell all; empty if it does."""
        assert view.seen is not None
        expected = np.concatenate([view.start_xyxy, view.xyxy[view.known], view.seen.xyxy])
        if (moved & ~cells_of(expected, view.resolution_wh, moved.shape, 0.15)).any():
            return _STRANGER
        gone = np.abs(view.xyxy - view.start_xyxy)[:, [0, 2]].min(axis=1)
        width = view.start_xyxy[:, 2] - view.start_xyxy[:, 0]
        if (gone[view.known] > self._settings.fast_share * width[view.known]).any():
            return "somebody moves fast"
        return ""

    def _move_on(self, view: _View, small: ImageArray) -> None:
        """Carry those who are followed to this picture."""
        if view.flow is None or not len(view.xyxy):
            return
        shift, keypoints, known = view.flow.step(small, view.xyxy, view.keypoints)
        known &= view.known
        boxes = view.xyxy + np.where(known[:, None], np.tile(np.nan_to_num(shift), 2), 0)
        view.xyxy = _kept_at_edges(view.start_xyxy, boxes, view.resolution_wh)
        view.keypoints = np.where(known[:, None, None], keypoints, view.keypoints)
        view.known = known

    def _carried(self, frame: Frame, view: _View, action: Action, reason: str) -> Look:
        assert view.seen is not None
        seen = replace(view.seen, timestamp_ns=frame.timestamp_ns)
        if len(view.xyxy) and len(seen):
            overlap = iou_matrix(seen.xyxy.astype(float), view.start_xyxy)
            whose = overlap.argmax(axis=1)
            # What lies mostly inside somebody's box, such as a bottle in a hand, goes with them too.
            inside = (overlap.max(axis=1) > 0.5) | _inside(seen.xyxy, view.start_xyxy[whose])
            shift = np.where(inside[:, None], (view.xyxy - view.start_xyxy)[whose], 0).astype(np.float32)
            keypoints = seen.keypoints.copy()
            keypoints[..., :2] += ((shift[:, :2] + shift[:, 2:]) / 2)[:, None]
            seen = replace(seen, xyxy=clipped(seen.xyxy + shift, view.resolution_wh), keypoints=keypoints)
        return Look(
            action,
            reason,
            seen,
            np.where(view.known[:, None], clipped(view.xyxy, view.resolution_wh), np.nan),
            view.keypoints.copy(),
        )

    def _detected(self, frame: Frame, seen: Detections, reason: str) -> Look:
        view = self._views[frame.camera_id]
        view.detected_ns, view.seen, view.reason = frame.timestamp_ns, seen, reason
        if not self._every_frame:
            small = shrunk(frame.image, FLOW_WIDTH_PX)
            view.reference = shrunk(small, GATE_WIDTH_PX)
            view.flow = BodyFlow(small, view.resolution_wh) if self._settings.detect_every > 1 else None
        nobody = np.zeros((0, seen.keypoints.shape[1], 3))
        view.start_xyxy = view.xyxy = np.zeros((0, 4))
        view.keypoints, view.known, view.look_again = nobody, np.zeros(0, bool), ""
        return Look(Action.DETECTED, reason, seen, np.zeros((0, 4)), nobody)


def _inside(xyxy: FloatArray, outer: FloatArray) -> BoolArray:
    middle = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    return np.asarray(((middle > outer[:, :2]) & (middle < outer[:, 2:])).all(axis=1))


def _kept_at_edges(start: FloatArray, boxes: FloatArray, resolution_wh: tuple[int, int]) -> FloatArray:
    """Boxes moved on, where the picture's edge cut them before still cut by it, as more of the body comes in."""
    low = np.minimum(boxes[:, :2], np.where(start[:, :2] <= 2, 0, np.inf))
    far = np.array(resolution_wh, float)
    high = np.maximum(boxes[:, 2:], np.where(start[:, 2:] >= far - 2, far, -np.inf))
    return np.concatenate([low, high], axis=1)
