"""Hands in the world: one person's wrists, seen by several cameras, become two points in the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from vision.arrays import FloatArray, check_shape
from vision.cameras import Camera, nearest_to_rays, ray_distances

MAX_MISS_M = 0.15
"""Rays of one hand miss each other by less: about twice the 5 to 8 cm that key-points and calibration err by at ceiling
distance. Rays of different hands, or of a hand and something like one, usually miss by more."""

REACH_M = 1.1
"""No hand is farther than this from where its owner stands: arm and lean of a tall adult, plus the floor error."""

WRIST_SIGMA_M = 0.05
"""Standard deviation of a surely seen wrist across the line of sight: COCO's per-key-point constant for wrists
(https://cocodataset.org/#keypoints-eval) on a body of 1.75 m, about 3 % of its height."""

PIXEL_SIGMA = 2.0
"""What calibration and the model's grid add, pixels."""

MIN_SINE = 0.34
"""Rays that meet at less than 20 degrees place a hand three times worse along them than across them: not at all."""


@dataclass(frozen=True, slots=True)
class HandView:
    """One person's hands in one camera's picture.

    Attributes:
        camera: The calibrated camera.
        hands_px: Both hands, shape (2, 2), pixels, nan when unseen. Left and right need not agree between cameras.
        score: Visibility of each, shape (2,), 0 to 1.
    """

    camera: Camera
    hands_px: FloatArray
    score: FloatArray

    def __post_init__(self) -> None:
        check_shape("HandView.hands_px", self.hands_px, (2, 2))
        check_shape("HandView.score", self.score, (2,))


@dataclass(frozen=True, slots=True)
class _Ray:
    view: int
    side: int
    origin: FloatArray
    direction: FloatArray
    sigma_m: float
    sigma_rad: float

    def sigma_at(self, distance_m: float) -> float:
        return float(np.hypot(self.sigma_m, self.sigma_rad * distance_m))


def place_hands(views: Sequence[HandView], stands_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Place one person's hands in the world.

    A pose model confuses left and right from behind, so hands are matched between cameras by geometry alone: the pairs
    of rays that meet best, most surely and within reach are taken first, then further cameras that agree are added. The
    point minimises the ray distances weighted by their expected error.

    Args:
        views: The person in each camera that sees them.
        stands_m: Where they stand, shape (2,), metres.

    Returns:
        Hands in the world, shape (2, 3), metres, and their ray misses, shape (2,), metres; nan where no two cameras
        agree. A hand that most cameras call left is in the first row if there are two.
    """
    hands_m, miss_m = np.full((2, 3), np.nan), np.full(2, np.nan)
    rays = _rays(views)
    pairs = []
    for a, b in combinations(rays, 2):
        if a.view == b.view or np.linalg.norm(np.cross(a.direction, b.direction)) < MIN_SINE:
            continue
        point, miss, cost = _meet([a, b])
        if miss <= MAX_MISS_M and _reachable(point, stands_m):
            pairs.append((cost, a, b))
    pairs.sort(key=lambda pair: pair[0])
    used: set[tuple[int, int]] = set()
    found: list[tuple[FloatArray, float, int]] = []
    for _, a, b in pairs:
        if len(found) == 2:
            break
        if (a.view, a.side) in used or (b.view, b.side) in used:
            continue
        group = [a, b]
        for ray in rays:
            if (ray.view, ray.side) in used or any(ray.view == other.view for other in group):
                continue
            _, miss, _ = _meet([*group, ray])
            if miss <= MAX_MISS_M:
                group.append(ray)
        point, miss, _ = _meet(group)
        if found and np.linalg.norm(point - found[0][0]) < 0.05:
            continue
        used |= {(ray.view, ray.side) for ray in group}
        found.append((point, miss, sum(1 if ray.side == 0 else -1 for ray in group)))
    if len(found) == 2 and found[0][2] < found[1][2]:
        found.reverse()
    elif len(found) == 1 and found[0][2] < 0:
        found.insert(0, (np.full(3, np.nan), float("nan"), 0))
    for row, (point, miss, _) in enumerate(found):
        hands_m[row], miss_m[row] = point, miss
    return hands_m, miss_m


def _rays(views: Sequence[HandView]) -> list[_Ray]:
    rays = []
    for index, view in enumerate(views):
        origin = view.camera.position_m
        directions = view.camera.ray_directions(view.hands_px)
        focal_px = float(view.camera.intrinsics[0, 0])
        for side in (0, 1):
            if np.isfinite(directions[side]).all() and view.score[side] > 0:
                sigma_m = WRIST_SIGMA_M / float(view.score[side])
                rays.append(_Ray(index, side, origin, directions[side], sigma_m, PIXEL_SIGMA / focal_px))
    return rays


def _meet(rays: Sequence[_Ray]) -> tuple[FloatArray, float, float]:
    """Best common point of rays, the largest gap between them in metres, and how badly they fit (lower is better)."""
    origins = np.stack([ray.origin for ray in rays])
    directions = np.stack([ray.direction for ray in rays])
    point = nearest_to_rays(origins, directions)
    if not np.isfinite(point).all():
        return point, float("inf"), float("inf")
    sigmas = np.array([ray.sigma_at(float(np.linalg.norm(point - ray.origin))) for ray in rays])
    point = nearest_to_rays(origins, directions, 1 / sigmas**2)
    if not np.isfinite(point).all():
        return point, float("inf"), float("inf")
    misses = ray_distances(point, origins, directions)
    projectors = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    information = (projectors / sigmas[:, None, None] ** 2).sum(axis=0)
    spread = float(np.trace(np.linalg.inv(information)))
    cost = float(((misses / sigmas) ** 2).sum() + np.log(spread))
    return point, float(misses.sum() * 2 / len(rays)), cost


def _reachable(point_m: FloatArray, stands_m: FloatArray) -> bool:
    if not -0.1 < point_m[2] < 2.4:
        return False
    return not np.isfinite(stands_m).all() or bool(np.linalg.norm(point_m[:2] - stands_m) < REACH_M)
