"""What hands hold, named by its picture: crops of held things compared with the shop's gallery."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision.arrays import FloatArray, check_shape
from vision.detections import Detections
from vision.frames import Frame
from vision.products import Gallery, ProductRecogniser
from vision.top_down import held_products

SMALLEST_PX = 18  # of smaller crops it was never measured how often they are named rightly
SLIMMEST_PX = 4  # of a pack at the picture's edge


@dataclass(frozen=True, slots=True)
class HeldLooks:
    """What the things in hands look like in one frame, one row each.

    Attributes:
        camera_id: The camera.
        timestamp_ns: Store clock of the frame, nanoseconds.
        owner_xyxy: Box of whose hand it is, shape (n, 4), pixels.
        size_px: Longer side of the thing's box, shape (n,).
        similarity: Cosine with the most similar picture of each product of the gallery, shape (n, k).
    """

    camera_id: str
    timestamp_ns: int
    owner_xyxy: FloatArray
    size_px: FloatArray
    similarity: FloatArray

    def __post_init__(self) -> None:
        n = len(self.size_px)
        check_shape("HeldLooks.owner_xyxy", self.owner_xyxy, (n, 4))
        check_shape("HeldLooks.size_px", self.size_px, (n,))
        check_shape("HeldLooks.similarity", self.similarity, (n, "k"))

    def __len__(self) -> int:
        return len(self.size_px)


class HeldLooker:
    """Compares what hands hold with a gallery."""

    def __init__(self, recogniser: ProductRecogniser, gallery: Gallery) -> None:
        """Take a gallery and the model that it was made with.

        Raises:
            ValueError: The gallery was made with another model.
        """
        if gallery.model_sha256 != recogniser.model_sha256:
            raise ValueError(
                f"gallery: expected one of model {recogniser.model_sha256[:12]}, got one of model "
                f"{gallery.model_sha256[:12]}; enrol its pictures again"
            )
        self.gallery = gallery
        self.calibration = recogniser.calibration
        self._recogniser = recogniser

    def look(self, frame: Frame, seen: Detections, class_names: Sequence[str]) -> HeldLooks:
        """Look at everything that is held in a frame.

        Args:
            frame: The picture.
            seen: What a ``TopDownDetector`` saw in it.
            class_names: The detector's.
        """
        held = held_products(seen, class_names)
        height, width = frame.image.shape[:2]
        corner = np.floor(held.xyxy[:, :2]).astype(int).clip(0)
        other = np.minimum(np.ceil(held.xyxy[:, 2:]).astype(int), [width, height])
        sides_px = other - corner
        large = (sides_px >= SLIMMEST_PX).all(axis=1) & (sides_px >= SMALLEST_PX).any(axis=1)
        rows = np.flatnonzero(large)
        crops = [frame.image[corner[row, 1] : other[row, 1], corner[row, 0] : other[row, 0]] for row in rows.tolist()]
        return HeldLooks(
            frame.camera_id,
            frame.timestamp_ns,
            seen.xyxy[held.person_row[rows]],
            sides_px[rows].max(axis=1, initial=0).astype(float),
            self.gallery.similarity(self._recogniser.embed(crops)),
        )
