"""What is wrong with cameras, told from people whom several cameras see: dead, moved, or with a clock that is off."""

from collections.abc import Sequence
from dataclasses import dataclass

from tracking.floor import FloorPoints
from vision.arrays import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class CameraNotice:
    """Something is wrong with a camera.

    Attributes:
        timestamp_ns: When it was noticed, store clock.
        camera_id: Which camera.
        code: ``dead``, ``moved`` or ``skewed``.
        amount: How much: seconds without a picture, metres, seconds that its clock is ahead.
        message: For people.
    """

    timestamp_ns: int
    camera_id: str
    code: str
    amount: float
    message: str


class CameraWatch:
    """Placeholder."""

    def __init__(self, camera_ids: Sequence[str]) -> None:
        self.notices: tuple[CameraNotice, ...] = ()

    def skew_s(self, column: int) -> float:
        return 0.0

    def hear(self, timestamp_ns: int, columns: Sequence[int]) -> None:
        pass

    def compare(
        self, timestamp_ns: int, seen: Sequence[tuple[int, FloorPoints, float]], row: IntArray, state: FloatArray
    ) -> None:
        pass
