"""What changed on a shelf face: the picture of a bin before and after a hand was there."""

from dataclasses import dataclass
from enum import StrEnum

from vision.arrays import ImageArray


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
