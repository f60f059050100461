"""Since when something has been where it now is: looking back at one place of a camera's picture."""

from collections import deque

import cv2
import numpy as np

from vision.arrays import FloatArray, ImageArray
from vision.frames import Frame

NANOSECONDS = 1_000_000_000
HALF_SIZE_PX = 4  # places are compared at 9 x 9 pixels, whatever their size in the picture
DIFFERENT_GREY = 12.0  # mean difference that no codec or sensor makes in a place that stays as it is


class PictureMemory:
    """Keeps the last pictures of some cameras, in grey, to say when a hand that is now seen came to its place.

    A pose model sees an arm that reaches away from the camera late or not at all; the picture of the place changes
    when the hand arrives all the same.

    Args:
        keep_s: How far back it can look.
    """

    def __init__(self, keep_s: float = 1.5) -> None:
        if not keep_s > 0:
            raise ValueError(f"PictureMemory: expected a positive time, got {keep_s}")
        self._keep_ns = int(keep_s * NANOSECONDS)
        self._pictures: dict[str, deque[tuple[int, ImageArray]]] = {}

    def add(self, frame: Frame) -> None:
        """Remember a picture."""
        kept = self._pictures.setdefault(frame.camera_id, deque())
        kept.append((frame.timestamp_ns, np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY), np.uint8)))
        while frame.timestamp_ns - kept[0][0] > self._keep_ns:
            kept.popleft()

    def arrival_ns(self, camera_id: str, point_px: FloatArray, radius_px: float) -> int | None:
        """Look back from the newest picture to when its content of a place came there.

        Args:
            camera_id: The camera.
            point_px: Middle of the place, shape (2,), pixels.
            radius_px: Half its size, pixels.

        Returns:
            Time of the first picture from which on the place looked more like now than like the oldest picture; None
            if it looks the same in all pictures, or there are none of that camera.
        """
        kept = self._pictures.get(camera_id)
        if not kept or len(kept) < 2:
            return None
        places = np.stack([_place(picture, point_px, radius_px) for _, picture in kept])
        to_now = np.abs(places - places[-1]).mean(axis=(1, 2))
        to_oldest = np.abs(places - places[0]).mean(axis=(1, 2))
        if to_now[0] < DIFFERENT_GREY:
            return None
        like_now = to_now < to_oldest
        first = len(kept) - 1
        while first > 0 and like_now[first - 1]:
            first -= 1
        return kept[first][0]


def _place(picture: ImageArray, point_px: FloatArray, radius_px: float) -> FloatArray:
    """Cut a place out at a fixed small size; beyond the picture's edge its border is repeated."""
    size = 2 * HALF_SIZE_PX + 1
    scale = radius_px / HALF_SIZE_PX
    # warpAffine with an inverse map reads picture pixel (x, y) for each pixel of the cut; centres lie at + 0.5.
    left, top = (np.asarray(point_px, float) - 0.5 - radius_px).tolist()
    smooth = cv2.blur(picture, (max(1, round(scale)),) * 2)
    cut = cv2.warpAffine(
        smooth,
        np.array([[scale, 0, left], [0, scale, top]]),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cut, np.float64)
