"""What moved in a picture since another one: whether anything did, and where boxes and points have gone.

Both work on pictures shrunk to a few hundred pixels, and cost about as much as a hundredth of a detector's run.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vision.arrays import BoolArray, FloatArray, ImageArray, check_shape

FLOW_WIDTH_PX = 320
"""Pictures are followed at this width: points on bodies stay apart, and a fast walk is 20 px at 10 frames a second."""
GATE_WIDTH_PX = 160
"""Pictures are compared at this width: each pixel is the mean of 16 or more, which leaves little of their noise."""
DIFFERENT_GREY = 10.0
"""Grey levels by which no codec and no lamp changes the mean of 16 pixels, once the exposure is taken out."""
NOISE_SIGMAS = 6.0  # and no noise, be it as strong as it likes
CLUSTER_CELLS = 5  # of 9 neighbours that must have changed: a hand at ceiling height is 15 to 25 cells
_FIT_ROUNDS = 2

_WINDOW_PX = 13  # of the flow: a limb at FLOW_WIDTH_PX
_LEVELS = 2
# A thirtieth of a pixel is nothing beside the box; OpenCV's own hundredth takes a quarter longer.
_ENOUGH = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03)
_RETURN_PX = 1.0  # a point followed there and back ends within this of where it began, or was not followed
_LEAST_POINTS = 4
_GRID = (3, 5)  # points across and down the middle of a box


def shrunk(image: ImageArray, width_px: int) -> ImageArray:
    """Shrink a picture, shape (h, w, 3), to a width, each pixel the mean of those it stands for; never grown."""
    height, width = image.shape[:2]
    if width <= width_px:
        return image
    size = (width_px, max(round(height * width_px / width), 1))
    # OpenCV takes means of two by two pixels several times as fast as of any other number.
    while width >= 2 * width_px and not (width % 2 or height % 2):
        width, height = width // 2, height // 2
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if (width, height) == size:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def changed_cells(reference: ImageArray, image: ImageArray) -> BoolArray:
    """Say where two small pictures of one camera differ by more than light, exposure and noise.

    The exposure is a gain and an offset of each channel, fitted to what did not change. A cell counts when it and
    some neighbours differ: noise comes in single cells, things do not.

    Args:
        reference: How it looked, shape (h, w, 3), as :func:`shrunk` gives it.
        image: How it looks, same shape.

    Returns:
        Shape (h, w).
    """
    check_shape("image", image, reference.shape)
    if cv2.norm(reference, image, cv2.NORM_INF) <= DIFFERENT_GREY:
        return np.zeros(reference.shape[:2], bool)
    # A few hundred cells tell the exposure and the noise as well as all of them.
    some = np.s_[:: max(len(reference) // 24, 1), :: max(reference.shape[1] // 40, 1)]
    few_before, few_now = (
        np.ascontiguousarray(picture[some].reshape(-1, 3).T, np.float32) for picture in (reference, image)
    )
    gap = few_now - few_before
    gap -= _middle(gap)[:, None]
    gain = offset = np.zeros(3, np.float32)
    for _ in range(_FIT_ROUNDS):
        worst = np.abs(gap).max(axis=0)
        same = worst <= _middle(worst) * 3 + 1  # a cell in the noise; at least half of them pass
        gain, offset = _exposure(few_before[:, same], few_now[:, same])
        gap = few_now - (gain[:, None] * few_before + offset[:, None])
    sigma = 1.4826 * float(_middle(np.abs(gap).max(axis=0)))
    # What the reference would look like at the exposure of now: a table for each channel, in one pass of OpenCV.
    levels = np.arange(256, dtype=np.float32)[:, None] * gain + offset
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)[None]
    gone = cv2.absdiff(cv2.LUT(reference, table), image)
    least = int(max(DIFFERENT_GREY, NOISE_SIGMAS * sigma))
    alike = cv2.inRange(gone, np.zeros(3), np.full(3, float(least)))
    different = np.asarray(alike == 0, np.uint8)
    near = cv2.boxFilter(different, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray((different > 0) & (near >= CLUSTER_CELLS))


def _middle(values: FloatArray) -> FloatArray:
    """The upper median along the last axis; ``numpy.median`` takes several times as long for so few."""
    half = values.shape[-1] // 2
    return np.asarray(np.partition(values, half, axis=-1)[..., half])


def _exposure(before: FloatArray, now: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gain and offset of each channel that make one set of cells, shape (3, n), another, shape (3,) each."""
    mean_x, mean_y = before.mean(axis=1), now.mean(axis=1)
    from_mean = before - mean_x[:, None]
    spread = (from_mean**2).mean(axis=1)
    slope = (from_mean * now).mean(axis=1) / np.maximum(spread, 1e-6)
    # A grey wall says nothing of the gain, and no camera changes it tenfold between two pictures.
    gain = np.where(spread > 1, np.clip(slope, 0.1, 10.0), 1.0).astype(np.float32)
    return gain, np.asarray(mean_y - gain * mean_x, np.float32)


def cells_of(xyxy: FloatArray, resolution_wh: tuple[int, int], shape: tuple[int, ...], margin: float) -> BoolArray:
    """Which cells of a small picture some boxes cover.

    Args:
        xyxy: Boxes, shape (n, 4), pixels of the picture.
        resolution_wh: Size of the picture, pixels.
        shape: Height and width of the small picture.
        margin: What to add on each side, as a share of the box's own size.

    Returns:
        Shape (h, w).
    """
    covered = np.zeros(shape[:2], bool)
    scale = np.array([shape[1], shape[0]] * 2) / np.array([*resolution_wh] * 2)
    for left, top, right, bottom in xyxy * scale:
        x, y = margin * (right - left) + 1, margin * (bottom - top) + 1
        covered[
            max(int(top - y), 0) : max(int(np.ceil(bottom + y)), 0),
            max(int(left - x), 0) : max(int(np.ceil(right + x)), 0),
        ] = True
    return covered


class BodyFlow:
    """Carries boxes and key-points along with the picture, by sparse optical flow.

    Points on a body are followed with the pyramid of Bouguet ("Pyramidal Implementation of the Lucas Kanade Feature
    Tracker", 2000), there and back; the median of those that come back moves the box.

    Args:
        image: The picture in which the boxes are known, shape (h, w, 3), as :func:`shrunk` to ``FLOW_WIDTH_PX``.
        resolution_wh: Size of the picture in which boxes are measured, pixels.
    """

    def __init__(self, image: ImageArray, resolution_wh: tuple[int, int]) -> None:
        self._wh = np.array(resolution_wh, float)
        self._grey = _grey(image)
        self._scale = np.array(self._grey.shape[::-1]) / self._wh

    def step(
        self, image: ImageArray, xyxy: FloatArray, keypoints: FloatArray
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Go on to the next picture.

        Args:
            image: The next picture, of the size of the one before.
            xyxy: Boxes in the picture before, shape (n, 4), pixels.
            keypoints: (x, y, visibility) of each, shape (n, k, 3), k may be 0.

        Returns:
            Shift of each box, shape (n, 2), pixels, nan where too few of its points could be followed; where each
            key-point now is, shape (n, k, 3), those that could not be followed moved with their box; and which boxes
            were followed, shape (n,).
        """
        n, k = keypoints.shape[:2]
        check_shape("xyxy", xyxy, (n, 4))
        before, self._grey = self._grey, _grey(image)
        shift, moved = np.full((n, 2), np.nan), keypoints.copy()
        if not n:
            return shift, moved, np.zeros(0, bool)
        points = np.concatenate([keypoints[..., :2], _inner_points(xyxy)], axis=1)
        usable = np.isfinite(points).all(axis=2) & (points >= 0).all(axis=2) & (points < self._wh).all(axis=2)
        usable[:, :k] &= np.nan_to_num(keypoints[..., 2]) >= 0.3  # below, the point is a guess beside the body
        flow, followed = np.zeros_like(points), np.zeros_like(usable)
        if usable.any():
            gone, good = _followed(before, self._grey, points[usable] * self._scale)
            flow[usable] = gone / self._scale
            followed[usable] = good
        for row in range(n):
            body = followed[row].copy()
            if body[:k].sum() >= _LEAST_POINTS:
                body[k:] = False  # key-points lie on the body; points of the grid may show what is behind it
            if body.sum() < _LEAST_POINTS:
                continue
            shift[row] = np.median(flow[row, body], axis=0)
            own = followed[row, :k]
            moved[row, :, :2] += np.where(own[:, None], flow[row, :k], shift[row])
        known = np.isfinite(shift).all(axis=1)
        return shift, moved, known


def _grey(image: ImageArray) -> ImageArray:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


def _inner_points(xyxy: FloatArray) -> FloatArray:
    """A grid of points in the middle of each box, where the body is, shape (n, grid, 2)."""
    across, down = np.linspace(0.3, 0.7, _GRID[0]), np.linspace(0.15, 0.75, _GRID[1])
    shares = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
    return np.asarray(xyxy[:, None, :2] + shares * (xyxy[:, None, 2:] - xyxy[:, None, :2]), float)


def _followed(before: ImageArray, now: ImageArray, points: FloatArray) -> tuple[FloatArray, BoolArray]:
    """How far points of a small grey picture have gone, shape (n, 2), and which could be followed, shape (n,)."""
    start = points.astype(np.float32)[:, None]
    there, found, _ = _lucas_kanade(before, now, start)
    back, returned, _ = _lucas_kanade(now, before, there)
    good = (found[:, 0] == 1) & (returned[:, 0] == 1)
    good &= np.linalg.norm((back - start)[:, 0], axis=1) <= _RETURN_PX
    return np.asarray((there - start)[:, 0], float), np.asarray(good)


def _lucas_kanade(before: ImageArray, now: ImageArray, points: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
    # The stubs of OpenCV know no call without a place to write the result to.
    return cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload,no-any-return]
        before, now, points, None, winSize=(_WINDOW_PX, _WINDOW_PX), maxLevel=_LEVELS, criteria=_ENOUGH
    )
