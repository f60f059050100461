"""Follow the people in one camera's picture."""

from dataclasses import dataclass

from tracking.types import Tracks
from vision.cameras import Camera
from vision.detections import Detections


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """When a box is a person, and when it is the same one. Being written: fields will be seconds and fractions."""


class Tracker:
    """Follows the people in one camera's picture."""

    def __init__(
        self,
        camera_id: str,
        camera: Camera | None = None,
        settings: TrackerSettings | None = None,
        *,
        resolution_wh: tuple[int, int] | None = None,
    ) -> None:
        raise NotImplementedError

    def update(self, detections: Detections) -> Tracks:
        """Take the detections of the next frame; rows are confirmed people matched in it."""
        raise NotImplementedError

    def first_seen_ns(self, track_id: int) -> int:
        """When a track was first seen, before it was confirmed."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget everybody; ids begin anew."""
        raise NotImplementedError
