"""What cameras have shown in the last minute, for live views and for clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vision.arrays import ImageArray


@dataclass(frozen=True, slots=True)
class Taken:
    """A picture that a camera took.

    Attributes:
        camera_id: The camera.
        timestamp_ns: When, on the store's clock.
        image: Shape (h, w, 3), 8 bits, blue-green-red.
    """

    camera_id: str
    timestamp_ns: int
    image: ImageArray


class RecentPictures(Protocol):
    """Pictures of the recent past. Safe to ask from any thread."""

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """Cameras that have pictures, in order."""
        ...

    def latest(self, camera_id: str) -> Taken | None:
        """The newest picture of a camera; None if there is none. May take some tens of milliseconds."""
        ...

    def between(self, camera_id: str, start_ns: int, end_ns: int, fps: float) -> Sequence[Taken]:
        """Pictures of a span of time, in order, at most so many a second; empty for what is forgotten.

        May take seconds where pictures are made when they are asked for.
        """
        ...
