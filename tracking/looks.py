"""What people's clothes look like from a ceiling camera: coarse colour histograms, which live as long as a visit."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vision.arrays import BoolArray, FloatArray, ImageArray, IntArray
from vision.detections import KEYPOINT_COUNT
from vision.pose import MIN_VISIBILITY

_HUES, _SHADES = 8, 4
_PART_LENGTH = _HUES * 2 + _SHADES
LOOK_LENGTH = 2 * _PART_LENGTH
"""Of one look: the colours of the trunk and of the legs."""

_GRID = 9
"""So many points a side are looked at of each part: enough for a histogram of twenty bins."""

_TINTED, _LIT = (20.0, 60.0), (20.0, 60.0)
"""Below such a saturation, or lightness, of 255, a colour has no hue that a camera's white balance would keep."""

_STRONG = (80.0, 160.0)
"""Where colours begin to be called strong, and where all are."""

_NEWEST_SHARE = 0.1
"""What one picture counts in what a track has worn of late."""

_TRUNK_SHARE, _LEGS_SHARE = (0.2, 0.45), (0.55, 0.85)
"""Where trunk and legs are in a box without key points, from its upper edge."""


def _ramp(values: FloatArray, none: float, all_of: float) -> FloatArray:
    return np.asarray(np.clip((values - none) / (all_of - none), 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class _Bins:
    """For each of 256 levels of hue or lightness, one of the two bins it counts for, and how much it does."""

    bins: IntArray
    shares: FloatArray


_LEVELS = np.arange(256.0)
_HUE = _LEVELS / 180 * _HUES
_SHADE = np.clip(_LEVELS / 256 * _SHADES - 0.5, 0.0, _SHADES - 1)
_TINTED_BY, _LIT_BY, _STRONG_BY = _ramp(_LEVELS, *_TINTED), _ramp(_LEVELS, *_LIT), _ramp(_LEVELS, *_STRONG)
_HUE_BINS = (
    _Bins(_HUE.astype(int) % _HUES * 2, 1 - _HUE % 1),
    _Bins((_HUE.astype(int) + 1) % _HUES * 2, _HUE % 1),
)
_SHADE_BINS = (
    _Bins(2 * _HUES + _SHADE.astype(int), 1 - _SHADE % 1),
    _Bins(2 * _HUES + np.minimum(_SHADE.astype(int) + 1, _SHADES - 1), _SHADE % 1),
)


def looks_of(image: ImageArray, xyxy: FloatArray, keypoints: FloatArray) -> FloatArray:
    """Describe the clothes of people in a picture; no face is looked at.

    Args:
        image: Shape (h, w, 3), BGR.
        xyxy: Boxes, shape (n, 4), pixels.
        keypoints: COCO's points, shape (n, 17, 3), or (n, 0, 3).

    Returns:
        Square roots of histograms of hue (in two strengths) and, of what has none, lightness: of the trunk, then of the
        legs; shape (n, LOOK_LENGTH). A part that is not in the picture is nan.
    """
    return looks_in([(image, xyxy, keypoints)])[0]


def looks_in(pictures: Sequence[tuple[ImageArray, FloatArray, FloatArray]]) -> list[FloatArray]:
    """Describe the clothes of people in several pictures, each as :func:`looks_of` does; together is faster.

    Args:
        pictures: Image, boxes and COCO's points of each.

    Returns:
        One entry a picture.
    """
    ends = np.cumsum([len(xyxy) for _, xyxy, _ in pictures]).tolist()
    owned = [slice(end - len(xyxy), end) for end, (_, xyxy, _) in zip(ends, pictures, strict=True)]
    n = ends[-1] if ends else 0
    if not n:
        return [np.zeros((0, LOOK_LENGTH)) for _ in pictures]
    boxes, points = np.empty((n, 4)), np.zeros((n, KEYPOINT_COUNT, 3))
    sizes = np.empty((n, 1, 2))
    for rows, (image, xyxy, keypoints) in zip(owned, pictures, strict=True):
        boxes[rows], sizes[rows] = xyxy, image.shape[1::-1]
        if keypoints.shape[1] == KEYPOINT_COUNT:
            points[rows] = keypoints
    quads = np.stack([_trunks(boxes, points), _legs(boxes, points)], axis=1)  # (n, 2, 4): box of each part
    steps = (np.arange(_GRID) + 0.5) / _GRID
    at = quads[..., None, :2] + steps[:, None] * (quads[..., 2:] - quads[..., :2])[..., None, :]  # (n, 2, g, 2)
    inside = (at >= 0) & (at < sizes[:, None])
    whole = np.clip(at, 0, sizes[:, None] - 1).astype(int)
    columns, lines = whole[..., None, :, 0], whole[..., :, None, 1]
    pixels = [image[lines[rows], columns[rows]] for rows, (image, _, _) in zip(owned, pictures, strict=True)]
    valid = (inside[..., :, None, 1] & inside[..., None, :, 0]).reshape(2 * n, -1)
    counts = _histograms(np.concatenate(pixels).reshape(2 * n, -1, 3), valid).reshape(n, 2, _PART_LENGTH)
    total = counts.sum(axis=2, keepdims=True)
    known = total >= 0.5 * _GRID**2
    looks = np.where(known, np.sqrt(counts / np.maximum(total, 1)), np.nan).reshape(n, LOOK_LENGTH)
    return [looks[rows] for rows in owned]


def _histograms(pixels: ImageArray, valid: BoolArray) -> FloatArray:
    """Histograms of hue and lightness, shape (k, _PART_LENGTH), of k parts' pixels, shape (k, p, 3), where valid."""
    hsv = cv2.cvtColor(np.ascontiguousarray(pixels.reshape(1, -1, 3)), cv2.COLOR_BGR2HSV).reshape(pixels.shape)
    hue, saturation, value = (np.asarray(hsv[..., k], np.uint8) for k in range(3))
    tint: FloatArray = _TINTED_BY.take(saturation) * _LIT_BY.take(value)
    grey = (1 - tint) * valid
    tint = tint * valid
    strong = _STRONG_BY.take(saturation)
    kinds = tint * (1 - strong), tint * strong, grey
    # Each pixel counts for the two nearest bins of each kind: a shade between two is not now one, now the other.
    bins, weights = np.empty((2, 3, *hue.shape), np.intp), np.empty((2, 3, *hue.shape))
    part = np.arange(len(pixels))[:, None] * _PART_LENGTH
    for step, (hue_of, shade_of) in enumerate(zip(_HUE_BINS, _SHADE_BINS, strict=True)):
        np.add(hue_of.bins.take(hue), part, out=bins[step, 0])
        np.add(bins[step, 0], 1, out=bins[step, 1])
        np.add(shade_of.bins.take(value), part, out=bins[step, 2])
        shares = hue_of.shares.take(hue)
        for kind, (weight, share) in enumerate(zip(kinds, (shares, shares, shade_of.shares.take(value)), strict=True)):
            np.multiply(weight, share, out=weights[step, kind])
    length = len(pixels) * _PART_LENGTH
    counts = np.bincount(bins.ravel(), weights.ravel(), length)
    return np.asarray(counts.reshape(-1, _PART_LENGTH), float)


@dataclass(slots=True)
class _Recent:
    look: FloatArray
    count: int
    last_ns: int


class RecentLooks:
    """What the tracks of cameras have worn of late: one picture's look is noisy, a second's is not.

    Looks are running means, in which the last ten or so count, so that a track that goes over to somebody else soon
    shows it.
    """

    def __init__(self) -> None:
        self._of: dict[tuple[int, int], _Recent] = {}

    def update(self, timestamp_ns: int, camera: int, track_ids: IntArray, looks: FloatArray) -> FloatArray:
        """Take the looks of one camera's tracks.

        Args:
            timestamp_ns: Store clock, nanoseconds.
            camera: The camera's number.
            track_ids: Its tracks, shape (n,).
            looks: What each wears in this picture, shape (n, LOOK_LENGTH); nan where it is not seen.

        Returns:
            What each has worn of late, shape (n, LOOK_LENGTH); nan where that was never seen.
        """
        worn = np.full(looks.shape, np.nan)
        seen = np.asarray(np.isfinite(looks).all(axis=1)).tolist()
        for row, track_id in enumerate(track_ids.tolist()):
            known = self._of.get((camera, track_id))
            if seen[row]:
                if known is None:
                    known = self._of[camera, track_id] = _Recent(looks[row].copy(), 0, timestamp_ns)
                known.count += 1
                share = max(1 / known.count, _NEWEST_SHARE)
                known.look = (1 - share) * known.look + share * looks[row]
            if known is not None:
                known.last_ns = timestamp_ns
                worn[row] = known.look
        return worn

    def forget(self, oldest_ns: int) -> None:
        """Forget tracks that were last there at an instant of the store clock or before."""
        self._of = {track: recent for track, recent in self._of.items() if recent.last_ns > oldest_ns}


def look_distances(looks: FloatArray, others: FloatArray) -> FloatArray:
    """Hellinger distances between looks, shape (n, LOOK_LENGTH) and (m, LOOK_LENGTH): shape (n, m), 0 to 1; or nan."""
    return np.asarray(np.sqrt(np.clip(1 - _unit(looks) @ _unit(others).T / 2, 0.0, 1.0)))


def _unit(looks: FloatArray) -> FloatArray:
    """Looks, or means of several, with each part of length 1."""
    parts = looks.reshape(len(looks), 2, _PART_LENGTH)
    return np.asarray((parts / np.maximum(np.linalg.norm(parts, axis=2, keepdims=True), 1e-9)).reshape(looks.shape))


def _trunks(xyxy: FloatArray, keypoints: FloatArray) -> FloatArray:
    """Boxes in the middle of trunks, shape (n, 4)."""
    return _part(xyxy, keypoints, (5, 6), (11, 12), _TRUNK_SHARE)


def _legs(xyxy: FloatArray, keypoints: FloatArray) -> FloatArray:
    """Boxes in the middle of upper legs, shape (n, 4)."""
    return _part(xyxy, keypoints, (11, 12), (13, 14), _LEGS_SHARE)


def _part(
    xyxy: FloatArray, keypoints: FloatArray, above: tuple[int, int], below: tuple[int, int], shares: tuple[float, float]
) -> FloatArray:
    wide, tall = xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]
    middle = (xyxy[:, 0] + xyxy[:, 2]) / 2
    part = np.column_stack(
        [middle - wide / 6, xyxy[:, 1] + shares[0] * tall, middle + wide / 6, xyxy[:, 1] + shares[1] * tall]
    )
    points = keypoints[:, [*above, *below]]
    seen = (points[..., 2] >= MIN_VISIBILITY).all(axis=1)
    points, tall = points[seen], tall[seen]
    centre = points[..., 0].mean(axis=1)
    half = np.maximum(0.12 * tall / 2, 2.0)
    tops, bottoms = points[:, :2, 1].mean(axis=1), points[:, 2:, 1].mean(axis=1)
    low, high = np.minimum(tops, bottoms), np.maximum(tops, bottoms)
    margin = np.maximum(3.0 - (high - low) / 2, 0.0)
    part[seen] = np.column_stack([centre - half, low - margin, centre + half, high + margin])
    return part
