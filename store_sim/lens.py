"""What a cheap camera does to a picture: light, blur, noise, compression, lost frames."""

from dataclasses import dataclass

import numpy as np

from vision.arrays import ImageArray


@dataclass(frozen=True, slots=True)
class LensSettings:
    """How bad a camera is."""


class CameraEffects:
    """The faults of one camera over time."""

    def __init__(self, settings: LensSettings, rng: np.random.Generator) -> None:
        """Take a camera with its own random stream."""

    def apply(self, image: ImageArray, time_ns: int, *, fog: float = 0.0) -> ImageArray | None:
        """Spoil a picture, shape (h, w, 3) uint8 BGR; None when the camera lost the frame."""
        return image
