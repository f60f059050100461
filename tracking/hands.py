"""Hands in the world: one person's wrists, seen by several cameras, become two points in the store."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision.arrays import BoolArray, FloatArray, IntArray, check_shape
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

STRANGER = 9.0
"""Cost of a ray that belongs to no hand, in squared standard deviations: at three a ray is rather a stranger."""

SAME_HAND_M = 0.05
"""Points nearer than this are one hand: both wrists of a key-point model have settled on it."""

SHORTLIST = 16
"""So many of the best places are tried together with a second one."""

MIN_SINE = 0.34
"""Rays that meet at less than 20 degrees place a hand three times worse along them than across them: not at all."""


@dataclass(frozen=True, slots=True)
class HandView:
    """One person's hands in one camera's picture.

    Attributes:
        camera: The calibrated camera.
        hands_px: Both hands, shape (2, 2), pixels, nan when unseen. Left and right need not agree between cameras.
        score: Visibility of each, shape (2,), 0 to 1.
        directions: Rays through them, unit vectors in the world, shape (2, 3), where somebody has reckoned these for
            everybody in the picture together, which is faster.
    """

    camera: Camera
    hands_px: FloatArray
    score: FloatArray
    directions: FloatArray | None = None

    def __post_init__(self) -> None:
        check_shape("HandView.hands_px", self.hands_px, (2, 2))
        check_shape("HandView.score", self.score, (2,))
        if self.directions is not None:
            check_shape("HandView.directions", self.directions, (2, 3))


@dataclass(frozen=True, slots=True)
class _Rays:
    """All rays through hands, one row each."""

    view: IntArray
    side: IntArray
    origin: FloatArray
    direction: FloatArray
    sigma_m: FloatArray
    sigma_rad: FloatArray

    def __len__(self) -> int:
        return len(self.view)

    def misses(self, points_m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Distances of points, shape (p, 3), from all rays, and their expected errors: both (p, r), metres."""
        offsets = points_m[:, None] - self.origin
        along = np.einsum("pri,ri->pr", offsets, self.direction)
        away = np.linalg.norm(offsets - along[:, :, None] * self.direction, axis=2)
        sigmas = np.hypot(self.sigma_m, self.sigma_rad * np.linalg.norm(offsets, axis=2))
        return np.asarray(np.where(along > 0, away, np.inf)), np.asarray(sigmas)


def place_hands(views: Sequence[HandView], stands_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Place one person's hands in the world.

    A pose model confuses left and right from behind, so hands are matched between cameras by geometry alone. Every two
    rays that meet within reach propose a place; the one or two places that together explain the rays of all cameras
    best are taken, where no camera shows one hand twice. Each point minimises the distances of its rays weighted by
    their expected error.

    Args:
        views: The person in each camera that sees them.
        stands_m: Where they stand, shape (2,), metres.

    Returns:
        Hands in the world, shape (2, 3), metres, and their ray misses, shape (2,), metres; nan where no two cameras
        agree. A hand that most cameras call left is in the first row if there are two.
    """
    hands_m, miss_m = np.full((2, 3), np.nan), np.full(2, np.nan)
    rays = _rays(views)
    proposed = _proposals(rays, stands_m)
    if not len(proposed):
        return hands_m, miss_m
    found = []
    for near_m, group in _explanation(rays, proposed, len(views)):
        hand = _meet(rays, group, near_m, stands_m)
        if hand is not None:
            found.append((*hand, int(np.where(rays.side[group] == 0, 1, -1).sum())))
    if len(found) == 2 and np.linalg.norm(found[0][0] - found[1][0]) < SAME_HAND_M:
        found.pop()
    if len(found) == 2:
        found.sort(key=lambda hand: -hand[2])
    for row, (point, miss, votes) in enumerate(found):
        row = 1 if len(found) == 1 and votes < 0 else row
        hands_m[row], miss_m[row] = point, miss
    return hands_m, miss_m


def _rays(views: Sequence[HandView]) -> _Rays:
    rows = []
    for index, view in enumerate(views):
        directions = view.directions
        if directions is None:
            directions = view.camera.ray_directions(view.hands_px)
        sigma_rad = PIXEL_SIGMA / float(view.camera.intrinsics[0, 0])
        origin = view.camera.position_m
        for side in (0, 1):
            if np.isfinite(directions[side]).all() and view.score[side] > 0:
                sigma_m = WRIST_SIGMA_M / float(view.score[side])
                rows.append((index, side, *origin, *directions[side], sigma_m, sigma_rad))
    table = np.array(rows, float).reshape(-1, 10)
    return _Rays(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        table[:, 2:5],
        table[:, 5:8],
        table[:, 8],
        table[:, 9],
    )


def _proposals(rays: _Rays, stands_m: FloatArray) -> FloatArray:
    """Where two rays of different cameras meet, well across each other and within reach: shape (p, 3), metres."""
    first, second = np.triu_indices(len(rays), 1)
    cosine = np.einsum("pi,pi->p", rays.direction[first], rays.direction[second])
    across = (rays.view[first] != rays.view[second]) & (1 - cosine**2 >= MIN_SINE**2)
    first, second, cosine = first[across], second[across], cosine[across]
    # Nearest points of two lines (Hartley & Sturm, "Triangulation", 1997): along the first, along the second.
    apart = rays.origin[second] - rays.origin[first]
    on_first = np.einsum("pi,pi->p", apart, rays.direction[first])
    on_second = np.einsum("pi,pi->p", apart, rays.direction[second])
    along_first = (on_first - cosine * on_second) / (1 - cosine**2)
    along_second = (cosine * on_first - on_second) / (1 - cosine**2)
    a = rays.origin[first] + along_first[:, None] * rays.direction[first]
    b = rays.origin[second] + along_second[:, None] * rays.direction[second]
    share = np.hypot(rays.sigma_m[first], rays.sigma_rad[first] * along_first) ** 2
    share = share / (share + np.hypot(rays.sigma_m[second], rays.sigma_rad[second] * along_second) ** 2)
    points = a + share[:, None] * (b - a)
    meet = (along_first > 0) & (along_second > 0) & (np.linalg.norm(b - a, axis=1) <= MAX_MISS_M)
    return np.asarray(points[meet & _reachable(points, stands_m)])


def _explanation(rays: _Rays, points_m: FloatArray, views: int) -> list[tuple[FloatArray, IntArray]]:
    """Choose the one or two places, shape (p, 3), that explain the rays best, and say which rays are of each."""
    away, sigmas = rays.misses(points_m)
    cost = np.where(away <= MAX_MISS_M, np.minimum((away / sigmas) ** 2, STRANGER), STRANGER)
    table = np.full((len(points_m), views, 2), STRANGER)
    table[:, rays.view, rays.side] = cost
    alone = table.min(axis=2).sum(axis=1)
    best = np.argsort(alone, kind="stable")[:SHORTLIST]
    # For two hands: a camera's left is of the one and its right of the other, or the other way round.
    crossed = np.stack(
        [
            table[best, None, :, 0] + table[None, :, :, 1],
            table[best, None, :, 1] + table[None, :, :, 0],
        ]
    )
    together = crossed.min(axis=0).sum(axis=2)
    near = np.linalg.norm(points_m[best][:, None] - points_m[None], axis=2) < SAME_HAND_M
    together[near] = np.inf
    i, j = np.unravel_index(int(together.argmin()), together.shape)
    groups: tuple[list[int], list[int]] = ([], [])
    # A second hand is worth it only where it explains two rays more; one ray places nothing.
    pair_helps = together[i, j] < alone[best[0]] + (views - 1) * STRANGER
    flipped = crossed[1, i, j] < crossed[0, i, j]
    for ray, (view, side) in enumerate(zip(rays.view.tolist(), rays.side.tolist(), strict=True)):
        if pair_helps:
            which = side ^ int(flipped[view])
            if table[(best[i], j)[which], view, side] < STRANGER:
                groups[which].append(ray)
        elif table[best[0], view, side] < STRANGER and side == int(table[best[0], view].argmin()):
            groups[0].append(ray)
    places = points_m[best[i]] if pair_helps else points_m[best[0]], points_m[j]
    return [(place, np.array(rows, np.int64)) for place, rows in zip(places, groups, strict=True) if len(rows) >= 2]


def _meet(rays: _Rays, group: IntArray, near_m: FloatArray, stands_m: FloatArray) -> tuple[FloatArray, float] | None:
    """Best common point of some rays and how far they miss it, metres; None where they do not meet within reach.

    Args:
        rays: All rays.
        group: Those of one hand.
        near_m: About where it is, shape (3,): how far each ray has come there decides how much it counts.
        stands_m: Where the owner stands, shape (2,).
    """
    while len(group) >= 2:
        origins, directions = rays.origin[group], rays.direction[group]
        sigmas = np.hypot(rays.sigma_m[group], rays.sigma_rad[group] * np.linalg.norm(near_m - origins, axis=1))
        point = nearest_to_rays(origins, directions, 1 / sigmas**2)
        if not np.isfinite(point).all():
            return None
        misses = ray_distances(point, origins, directions)
        miss = float(misses.sum() * 2 / len(group))
        if miss <= MAX_MISS_M:
            return (point, miss) if _reachable(point[None], stands_m)[0] else None
        group = np.delete(group, int((misses / sigmas).argmax()))
    return None


def _reachable(points_m: FloatArray, stands_m: FloatArray) -> BoolArray:
    """Which points, shape (p, 3), may be hands of somebody who stands there."""
    reachable = (points_m[:, 2] > -0.1) & (points_m[:, 2] < 2.4)
    if np.isfinite(stands_m).all():
        reachable &= np.linalg.norm(points_m[:, :2] - stands_m, axis=1) < REACH_M
    return np.asarray(reachable)
