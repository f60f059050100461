"""Where the people of one camera's picture stand on the floor, how sure that is, and what it leans on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tracking.types import Tracks
from vision.arrays import BoolArray, FloatArray, IntArray, check_shape
from vision.cameras import Camera
from vision.detections import KEYPOINT_COUNT
from vision.pose import EDGE_SHARE, MIN_VISIBILITY

FOOT_SIGMA = 0.03
"""Standard deviation of a foot point in the picture, as a share of the box's height: small pose models' ankles."""

BODY_SIGMA = 0.03
"""The same for points of the upper body."""

PIXEL_SIGMA = 1.5
"""What a model's grid and the lens add, pixels."""

CALIBRATION_SIGMA_M = 0.05
"""Floor error that is the same in every frame of a camera, near it: placing a camera by hand-picked points ..."""

AIM_SIGMA_RAD = 0.004
"""... and what a quarter of a degree of wrong aim adds with distance."""

BOX_BOTTOM_FACTOR = 2.0
"""A box's lower edge misses where somebody stands by about this much more than their ankles do."""

ONE_FOOT_SIGMA_M = 0.12
"""One foot alone is half a step beside where somebody stands. Both numbers fit residuals of our own model and of the
simulator's oracle on random shops."""

DOUBTED_FOOT_SIGMA_M = 0.09
"""What feet err by besides where the model is not sure that it sees both: they are half hidden, and half guessed."""

SURE_VISIBILITY, DOUBTED_VISIBILITY = 0.9, 0.65
"""From where on a foot is surely seen, and below which it is as doubtful as that."""

MIN_SINK = 0.08
"""A ray flatter than about 5 degrees meets no level plane at a place that means anything."""

LEVELS = ((0, 1, 2, 3, 4), (5, 6), (11, 12))
"""COCO's points of the upper body, in the three groups that lie at one height each: head, shoulders, hips."""

LEVEL_SHARE = (0.93, 0.82, 0.53)
"""How high each lies, as a share of body height (Drillis & Contini, *Body Segment Parameters*, 1966)."""

LEVEL_LEAN_M = (0.17, 0.13, 0.09)
"""How far each is from above the feet while people walk, look down and reach; standard deviation."""

TOP_LEAN_M = 0.2
"""The same for the upper edge of a box, where there are no points."""


@dataclass(frozen=True, slots=True)
class FloorPoints:
    """What one camera says of where each of its tracks stands.

    Feet give a place outright. Points of the upper body give one that depends on how tall the person is: ``upper_m +
    slope * height``.

    Attributes:
        feet_m: Where the feet are, shape (n, 2), metres; nan where they are not seen.
        feet_cov_m2: Covariance of that, shape (n, 2, 2).
        upper_m: Where the upper body's rays would meet the floor of a person of no height, shape (n, 2); nan without.
        slope: What each metre of body height adds, shape (n, 2).
        upper_cov_m2: Covariance at a given height, shape (n, 2, 2).
    """

    feet_m: FloatArray
    feet_cov_m2: FloatArray
    upper_m: FloatArray
    slope: FloatArray
    upper_cov_m2: FloatArray

    def __post_init__(self) -> None:
        n = len(self.feet_m)
        check_shape("FloorPoints.feet_m", self.feet_m, (n, 2))
        check_shape("FloorPoints.feet_cov_m2", self.feet_cov_m2, (n, 2, 2))
        check_shape("FloorPoints.upper_m", self.upper_m, (n, 2))
        check_shape("FloorPoints.slope", self.slope, (n, 2))
        check_shape("FloorPoints.upper_cov_m2", self.upper_cov_m2, (n, 2, 2))


def floor_points(view: Tracks, camera: Camera, usual_height_m: float) -> FloorPoints:
    """Say where the people of a picture stand.

    A foot point that comes from a box's lower edge although a pose model sees no ankle is where a shelf or somebody
    else begins, not where the person stands: it is left out as long as anything of the upper body is seen.

    Args:
        view: One camera's tracks.
        camera: Its calibration, for pictures of that size.
        usual_height_m: For the reach of rays through points whose owner's height is not known yet.
    """
    return floor_points_of([(view, camera)], usual_height_m)[0]


def floor_points_of(views: Sequence[tuple[Tracks, Camera]], usual_height_m: float) -> list[FloorPoints]:
    """Say where the people of several pictures stand, each as :func:`floor_points` does; together is faster.

    Args:
        views: The tracks of each camera and its calibration.
        usual_height_m: As there.

    Returns:
        One entry a view.
    """
    found: dict[int, FloorPoints] = {}
    for has_points in (True, False):
        rows = [
            row
            for row, (view, _) in enumerate(views)
            if (view.keypoints.shape[1] == KEYPOINT_COUNT) is has_points or not len(view)
        ]
        if rows:
            found |= zip(rows, _alike(_Sight.of([views[row] for row in rows]), usual_height_m, has_points), strict=True)
    return [found[row] for row in range(len(views))]


@dataclass(frozen=True, slots=True)
class _Sight:
    """Tracks of several cameras, one row each, with what their cameras are.

    Attributes:
        views: The views they are of.
        boxes: Shape (n, 4), pixels.
        points: COCO's points of each, shape (n, 17, 3), or (n, 0, 3).
        floor_m: Foot points, shape (n, 2), metres.
        origin_m: Where the camera hangs, shape (n, 3), metres.
        focal_px: Its focal length, shape (n,).
        width_px: The width of its picture, shape (n,).
    """

    views: Sequence[tuple[Tracks, Camera]]
    boxes: FloatArray
    points: FloatArray
    floor_m: FloatArray
    origin_m: FloatArray
    focal_px: FloatArray
    width_px: IntArray

    @classmethod
    def of(cls, views: Sequence[tuple[Tracks, Camera]]) -> Self:
        """Join views whose tracks have equally many points, or which have none."""
        count = [len(view) for view, _ in views]
        full = [view.keypoints for view, _ in views if len(view)] or [views[0][0].keypoints]
        return cls(
            views,
            np.concatenate([view.xyxy for view, _ in views]).astype(float),
            np.concatenate(full).astype(float),
            np.concatenate([view.floor_m for view, _ in views]).astype(float),
            np.repeat([camera.position_m for _, camera in views], count, axis=0),
            np.repeat([float(camera.intrinsics[1, 1]) for _, camera in views], count),
            np.repeat([camera.resolution_wh[0] for _, camera in views], count),
        )

    @property
    def slices(self) -> list[slice]:
        """The rows of each view."""
        ends = np.cumsum([len(view) for view, _ in self.views]).tolist()
        return [slice(end - len(view), end) for end, (view, _) in zip(ends, self.views, strict=True)]

    def ray_directions(self, points_px: FloatArray) -> FloatArray:
        """Directions through points of each picture, shape (n, k, 2): shape (n, k, 3)."""
        rays = [
            camera.ray_directions(points_px[rows].reshape(-1, 2))
            for rows, (_, camera) in zip(self.slices, self.views, strict=True)
        ]
        return np.concatenate(rays).reshape(*points_px.shape[:2], 3)


def _alike(sight: _Sight, usual_height_m: float, has_points: bool) -> list[FloorPoints]:
    """Where people stand whose tracks all have points, or all have none; one entry a view."""
    n, boxes, origin = len(sight.boxes), sight.boxes, sight.origin_m
    tall_px = np.maximum(boxes[:, 3] - boxes[:, 1], 1.0)
    sees_ankles: BoolArray = np.ones(n, bool)
    doubt_m: FloatArray = np.zeros(n)
    if has_points and n:
        points = sight.points
        visible = np.isfinite(points).all(axis=2) & (points[..., 2] >= MIN_VISIBILITY)
        sees_ankles = np.asarray(visible[:, 15:17].any(axis=1))
        doubt_m = _foot_doubt(visible[:, 15:17], points[:, 15:17, 2])
        count = np.stack([visible[:, list(level)].sum(axis=1) for level in LEVELS], axis=1)  # (n, levels)
        placed = np.where(visible[..., None], points[..., :2], 0.0)
        middle = np.stack([placed[:, list(level)].sum(axis=1) for level in LEVELS], axis=1)
        # One shoulder or hip alone is half a body's width beside the middle: worse, but something.
        lean_m = np.array(LEVEL_LEAN_M) * np.where((count == 1) & (np.arange(3) > 0), 1.5, 1.0)
        seen = count > 0
        middle = middle / np.maximum(count, 1)[..., None]
        share = np.array(LEVEL_SHARE)
    else:
        seen = (boxes[:, 1] > EDGE_SHARE * tall_px) & (boxes[:, 0] > 2) & (boxes[:, 2] < sight.width_px - 2)
        seen = seen[:, None]
        middle = np.column_stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 1]])[:, None]
        lean_m = np.full((n, 1), TOP_LEAN_M)
        share = np.ones(1)
    ways = sight.ray_directions(middle)
    seen &= ways[..., 2] < -MIN_SINK
    ways = np.where(seen[..., None], ways, (0.0, 0.0, -1.0))  # what is not seen weighs nothing
    sigma_rad = np.hypot(BODY_SIGMA * tall_px, PIXEL_SIGMA) / sight.focal_px
    gradient = ways[..., :2] / ways[..., 2:]
    spread = _spread(ways, origin[:, 2:] - share * usual_height_m, sigma_rad[:, None])
    spread += np.eye(2) * lean_m[..., None, None] ** 2
    information = inverse_2x2(spread) * seen[..., None, None]
    upright = origin[:, None, :2] - origin[:, None, 2:] * gradient
    known = np.asarray(seen.any(axis=1))
    weight = np.where(known[:, None, None], information.sum(axis=1), np.eye(2))
    cov = np.where(known[:, None, None], inverse_2x2(weight), 0.0)
    upper = np.einsum("nij,nj->ni", cov, np.einsum("nlij,nlj->ni", information, upright))
    upper[~known] = np.nan
    slope = np.einsum("nij,nj->ni", cov, np.einsum("nlij,nlj->ni", information, share[:, None] * gradient))
    cov[~known] = np.nan
    feet = sight.floor_m.copy()
    feet[~sees_ankles & known] = np.nan
    factor = np.where(sees_ankles & has_points, 1.0, BOX_BOTTOM_FACTOR)
    feet_cov = np.full((n, 2, 2), np.nan)
    rows = np.flatnonzero(np.isfinite(feet).all(axis=1))
    if len(rows):
        way = np.column_stack([feet[rows] - origin[rows, :2], -origin[rows, 2]])
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        sigma_rad = np.hypot(factor * FOOT_SIGMA * tall_px, PIXEL_SIGMA)[rows] / sight.focal_px[rows]
        feet_cov[rows] = _spread(way, origin[rows, 2], sigma_rad)
        feet_cov[rows] += np.eye(2) * np.where(sees_ankles, doubt_m, 0.0)[rows, None, None] ** 2
    feet_cov += _calibration_cov(feet, origin)
    cov = cov + _calibration_cov(upper + slope * usual_height_m, origin)
    return [FloorPoints(feet[own], feet_cov[own], upper[own], slope[own], cov[own]) for own in sight.slices]


def inverse_2x2(matrices: FloatArray) -> FloatArray:
    """Inverses of symmetric matrices, shape (..., 2, 2), of which none is singular."""
    a, b, d = matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 1, 1]
    determinant = a * d - b * b
    inverses = np.empty_like(matrices)
    inverses[..., 0, 0], inverses[..., 1, 1] = d / determinant, a / determinant
    inverses[..., 0, 1] = inverses[..., 1, 0] = -b / determinant
    return inverses


def _foot_doubt(visible: BoolArray, visibility: FloatArray) -> FloatArray:
    """Standard deviation, metres, shape (n,), that feet have because not both of them are surely seen.

    Args:
        visible: Which ankles are seen, shape (n, 2).
        visibility: The model's numbers for that, shape (n, 2).
    """
    both = np.asarray(visible.all(axis=1))
    told = np.where(visible, visibility, 0.0)
    least = np.where(both, told.min(axis=1), told.max(axis=1))
    unsure = np.clip((SURE_VISIBILITY - least) / (SURE_VISIBILITY - DOUBTED_VISIBILITY), 0.0, 1.0)
    return np.asarray(np.hypot(DOUBTED_FOOT_SIGMA_M * unsure, np.where(both, 0.0, ONE_FOOT_SIGMA_M)))


def _spread(ways: FloatArray, drop_m: FloatArray, sigma_rad: FloatArray) -> FloatArray:
    """Covariance of where rays that err by an angle meet a level plane so far below the camera.

    Args:
        ways: Unit vectors, shape (..., 3).
        drop_m: How far below the plane is, shape (...).
        sigma_rad: How much each errs, shape (...).

    Returns:
        Shape (..., 2, 2), square metres.
    """
    sink = np.maximum(-ways[..., 2], MIN_SINK)
    across_m = np.maximum(drop_m, 0.1) / sink * sigma_rad
    level = np.maximum(np.hypot(ways[..., 0], ways[..., 1]), 1e-9)
    return _oriented(ways[..., :2] / level[..., None], across_m**2, (across_m / sink) ** 2)


def _oriented(flat: FloatArray, across2: FloatArray, along2: FloatArray) -> FloatArray:
    """Covariances, shape (..., 2, 2), with one variance along directions, shape (..., 2), and another across them."""
    return np.asarray(
        np.eye(2) * across2[..., None, None]
        + flat[..., :, None] * flat[..., None, :] * (along2 - across2)[..., None, None]
    )


def _calibration_cov(places_m: FloatArray, origin_m: FloatArray) -> FloatArray:
    """What a camera's wrong place and aim may add to places, shape (n, 2): shape (n, 2, 2), square metres."""
    away = np.nan_to_num(places_m - origin_m[:, :2])
    drop2 = np.maximum(origin_m[:, 2], 0.5) ** 2
    far2 = (away**2).sum(axis=1)
    # Aim errs by an angle: across the line of sight with distance, along it with the square of its slope.
    across2 = AIM_SIGMA_RAD**2 * (far2 + drop2)
    along2 = across2 * (far2 + drop2) / drop2
    flat = away / np.maximum(np.sqrt(far2), 1e-9)[:, None]
    return _oriented(flat, CALIBRATION_SIGMA_M**2 + across2, CALIBRATION_SIGMA_M**2 + along2)


def gated_boxes(places_m: FloatArray, heights_m: FloatArray, camera: Camera) -> tuple[FloatArray, BoolArray]:
    """Boxes that people standing on the floor would fill in a picture.

    Args:
        places_m: Where they stand, shape (p, 2), metres.
        heights_m: How tall they are, shape (p,).
        camera: The camera.

    Returns:
        Boxes cut at the picture's edges, shape (p, 4), pixels, and whether at least half of each is in the picture,
        shape (p,).
    """
    p = len(places_m)
    half_m = 0.3
    offsets = np.array([(dx, dy, z) for dx in (-half_m, half_m) for dy in (-half_m, half_m) for z in (0.0, 1.0)])
    corners = np.empty((p, 8, 3))
    corners[..., :2] = places_m[:, None] + offsets[None, :, :2]
    corners[..., 2] = offsets[None, :, 2] * heights_m[:, None]
    px = camera.image_points(corners.reshape(-1, 3)).reshape(p, 8, 2)
    limits = np.array(camera.resolution_wh, float)
    whole = np.concatenate([px.min(axis=1), px.max(axis=1)], axis=1)
    ok = np.isfinite(whole).all(axis=1)
    whole = np.nan_to_num(whole)
    cut = np.concatenate([np.clip(whole[:, :2], 0, limits), np.clip(whole[:, 2:], 0, limits)], axis=1)
    area = np.prod(np.maximum(whole[:, 2:] - whole[:, :2], 1e-9), axis=1)
    inside = ok & (np.prod(cut[:, 2:] - cut[:, :2], axis=1) >= 0.5 * area)
    return cut, np.asarray(inside)
