"""What changed on a shelf face: the picture of a bin before and after a hand was there."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from vision.arrays import ImageArray
from vision.detections import Detections
from vision.frames import Frame
from vision.layout import Bin


class Handling(StrEnum):
    """Which way an item went."""

    PICK = "pick"
    PUT_BACK = "put_back"


@dataclass(frozen=True, slots=True)
class ShelfChange:
    """What stood in a bin before a disturbance and after it differs in the picture.

    Attributes:
        bin_id: The bin.
        handling: Whether something left or came.
        quantity: How many units, at least 1.
        probability: That the change is real and of this kind, 0 to 1.
        start_ns: When the bin was first disturbed.
        time_ns: Best guess of the moment the item left or reached its place.
        end_ns: When the bin was still again.
        before: The bin's picture before, (h, w, 3) BGR.
        after: The same afterwards.
    """

    bin_id: str
    handling: Handling
    quantity: int
    probability: float
    start_ns: int
    time_ns: int
    end_ns: int
    before: ImageArray
    after: ImageArray


@dataclass(frozen=True, slots=True)
class ShelfSettings:
    """How a shelf face is watched."""


class ShelfWatcher:
    """Watches the bins drawn in one camera's picture and says what left them and what came.

    Args:
        bins: Bins with a ``polygon_px`` in this camera's picture, fitted to its size
            (`StoreLayout.for_pictures`).
        settings: How to watch.

    Raises:
        ValueError: A bin is not drawn in a picture, or bins of several cameras are mixed.
    """

    def __init__(self, bins: Sequence[Bin], settings: ShelfSettings | None = None) -> None:
        self._bins = tuple(bins)
        self._settings = settings or ShelfSettings()

    def update(self, frame: Frame, detections: Detections) -> list[ShelfChange]:
        """Look at the next frame and return the changes that are now certain enough, in order of their time.

        Args:
            frame: The camera's next picture; timestamps rise.
            detections: What was detected in it, all classes; empty if no detector runs.

        Raises:
            ValueError: Frame or detections are of another camera or size, or time ran backwards.
        """
        return []

    def finish(self) -> list[ShelfChange]:
        """Judge what is still open at the end of the stream."""
        return []
