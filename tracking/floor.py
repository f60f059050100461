"""Where the people of one camera's picture stand on the floor, how sure that is, and what it leans on."""

from dataclasses import dataclass

import numpy as np

from tracking.types import Tracks
from vision.arrays import BoolArray, FloatArray, check_shape
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
    n = len(view)
    boxes = view.xyxy.astype(float)
    tall_px = np.maximum(boxes[:, 3] - boxes[:, 1], 1.0)
    origin = camera.position_m
    focal_px = float(camera.intrinsics[1, 1])
    has_points = view.keypoints.shape[1] == KEYPOINT_COUNT
    upper, slope, weight = np.zeros((n, 2)), np.zeros((n, 2)), np.zeros((n, 2, 2))
    sees_ankles = np.ones(n, bool)
    doubt_m: FloatArray = np.zeros(n)
    if has_points and n:
        points = view.keypoints.astype(float)
        visible = np.isfinite(points).all(axis=2) & (points[..., 2] >= MIN_VISIBILITY)
        sees_ankles = visible[:, 15:17].any(axis=1)
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
        width = camera.resolution_wh[0]
        seen = (boxes[:, 1] > EDGE_SHARE * tall_px) & (boxes[:, 0] > 2) & (boxes[:, 2] < width - 2)
        seen = seen[:, None]
        middle = np.column_stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 1]])[:, None]
        lean_m = np.full((n, 1), TOP_LEAN_M)
        share = np.ones(1)
    ways = camera.ray_directions(middle.reshape(-1, 2)).reshape(n, len(share), 3)
    seen &= ways[..., 2] < -MIN_SINK
    sigma_rad = np.hypot(BODY_SIGMA * tall_px, PIXEL_SIGMA) / focal_px
    for level in range(len(share)):
        rows = np.flatnonzero(seen[:, level])
        if not len(rows):
            continue
        way = ways[rows, level]
        gradient = way[:, :2] / way[:, 2:]
        spread = _spread(way, origin[2] - share[level] * usual_height_m, sigma_rad[rows])
        spread += np.eye(2) * lean_m[rows, level, None, None] ** 2
        information = np.linalg.inv(spread)
        weight[rows] += information
        upper[rows] += np.einsum("nij,nj->ni", information, origin[:2] - origin[2] * gradient)
        slope[rows] += np.einsum("nij,nj->ni", information, share[level] * gradient)
    known = np.asarray(seen.any(axis=1))
    cov = np.full((n, 2, 2), np.nan)
    cov[known] = np.linalg.inv(weight[known])
    upper = np.where(known[:, None], np.einsum("nij,nj->ni", np.nan_to_num(cov), upper), np.nan)
    slope = np.einsum("nij,nj->ni", np.nan_to_num(cov), slope)
    feet = np.array(view.floor_m, float)
    feet[~sees_ankles & known] = np.nan
    factor = np.where(sees_ankles & has_points, 1.0, BOX_BOTTOM_FACTOR)
    feet_cov = np.full((n, 2, 2), np.nan)
    rows = np.flatnonzero(np.isfinite(feet).all(axis=1))
    if len(rows):
        way = np.column_stack([feet[rows] - origin[:2], np.full(len(rows), -origin[2])])
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        sigma_rad = np.hypot(factor * FOOT_SIGMA * tall_px, PIXEL_SIGMA)[rows] / focal_px
        feet_cov[rows] = _spread(way, float(origin[2]), sigma_rad)
        feet_cov[rows] += np.eye(2) * np.where(sees_ankles, doubt_m, 0.0)[rows, None, None] ** 2
    bias = _calibration_cov(feet, camera)
    feet_cov += bias
    cov = cov + _calibration_cov(upper + slope * usual_height_m, camera)
    return FloorPoints(feet, feet_cov, upper, slope, cov)


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


def _spread(ways: FloatArray, drop_m: float, sigma_rad: FloatArray) -> FloatArray:
    """Covariance, shape (n, 2, 2), of where rays that err by an angle meet a level plane so far below the camera."""
    sink = np.maximum(-ways[:, 2], MIN_SINK)
    length = max(drop_m, 0.1) / sink
    flat = ways[:, :2] / np.maximum(np.linalg.norm(ways[:, :2], axis=1, keepdims=True), 1e-9)
    along = np.einsum("ni,nj->nij", flat, flat)
    across_m = length * sigma_rad
    return np.asarray((across_m**2)[:, None, None] * (np.eye(2) + along * (1 / sink**2 - 1)[:, None, None]))


def _calibration_cov(places_m: FloatArray, camera: Camera) -> FloatArray:
    """What a camera's wrong place and aim may add, shape (n, 2, 2), square metres."""
    away = np.nan_to_num(places_m - camera.position_m[:2])
    drop_m = max(float(camera.position_m[2]), 0.5)
    far2 = (away**2).sum(axis=1)
    # Aim errs by an angle: across the line of sight with distance, along it with the square of its slope.
    across2 = AIM_SIGMA_RAD**2 * (far2 + drop_m**2)
    along2 = across2 * (far2 + drop_m**2) / drop_m**2
    flat = away / np.maximum(np.sqrt(far2), 1e-9)[:, None]
    along = np.einsum("ni,nj->nij", flat, flat)
    return np.asarray(
        np.eye(2) * (CALIBRATION_SIGMA_M**2 + across2)[:, None, None] + along * (along2 - across2)[:, None, None]
    )


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
