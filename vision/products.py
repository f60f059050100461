"""Which product a crop shows: a learnt embedding compared with a gallery that a shop fills from a few pictures."""

import cv2
import numpy as np

from vision.arrays import ImageArray, check_shape

INPUT_PX = 64  # crops of ceiling cameras are seldom larger
PADDING = 114  # the grey that letterboxes are filled with since YOLOv5


def letterboxed(crop: ImageArray, size_px: int = INPUT_PX) -> ImageArray:
    """Fit a crop into a square without changing its proportions; what is left over is grey.

    Args:
        crop: Shape (h, w, 3), uint8.
        size_px: Side of the square.

    Returns:
        Shape (size, size, 3), uint8, the crop in its middle.

    Raises:
        ValueError: The crop has another shape or no pixel.

    >>> letterboxed(np.zeros((10, 20, 3), np.uint8))[:, 0, 0].tolist() == [114] * 16 + [0] * 32 + [114] * 16
    True
    """
    check_shape("crop", crop, ("h", "w", 3))
    if not crop.size or crop.dtype != np.uint8:
        raise ValueError(f"crop: expected uint8 with at least one pixel, got {crop.dtype} of shape {crop.shape}")
    height, width = crop.shape[:2]
    scale = size_px / max(height, width)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square = np.full((size_px, size_px, 3), PADDING, np.uint8)
    left, top = (size_px - size_wh[0]) // 2, (size_px - size_wh[1]) // 2
    square[top : top + size_wh[1], left : left + size_wh[0]] = cv2.resize(crop, size_wh, interpolation=how)
    return square
