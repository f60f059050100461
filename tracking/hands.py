"""Hands in the world: people's wrists, each seen by several cameras, become two points in the store."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision.arrays import BoolArray, FloatArray, IntArray, check_shape
from vision.cameras import Camera, nearest_to_many_rays

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
    """All rays through hands, one row each, those of one person next to each other.

    Attributes:
        owner: Whose hand it is, a row of the people, shape (r,), rising.
        view: Which of the views of that person it is in, from 0, shape (r,).
        side: Which hand it is there, shape (r,).
        origin: Where each ray begins, shape (r, 3), metres.
        direction: Unit vectors, shape (r, 3).
        sigma_m: Expected error at the hand, shape (r,), metres ...
        sigma_rad: ... and for each metre between camera and hand.
    """

    owner: IntArray
    view: IntArray
    side: IntArray
    origin: FloatArray
    direction: FloatArray
    sigma_m: FloatArray
    sigma_rad: FloatArray

    def __len__(self) -> int:
        return len(self.owner)

    def misses(self, points_m: FloatArray, rays: IntArray) -> tuple[FloatArray, FloatArray]:
        """Distances of points, shape (k, 3), each from one ray, and their expected errors: both (k,), metres."""
        offsets = points_m - self.origin[rays]
        directions = self.direction[rays]
        along = np.einsum("ki,ki->k", offsets, directions)
        away = _lengths(offsets - along[:, None] * directions)
        sigmas = np.hypot(self.sigma_m[rays], self.sigma_rad[rays] * _lengths(offsets))
        return np.where(along > 0, away, np.inf), sigmas


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
    hands_m, miss_m = place_everybodys_hands([views], stands_m[None])
    return hands_m[0], miss_m[0]


def place_everybodys_hands(views: Sequence[Sequence[HandView]], stands_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Place the hands of several people, each as :func:`place_hands` does; together is faster.

    Args:
        views: Each person in each camera that sees them.
        stands_m: Where they stand, shape (n, 2), metres.

    Returns:
        Hands in the world, shape (n, 2, 3), metres, and their ray misses, shape (n, 2), metres; nan where no two
        cameras agree.
    """
    hands_m, miss_m = np.full((len(views), 2, 3), np.nan), np.full((len(views), 2), np.nan)
    rays = _rays(views)
    proposed, owner = _proposals(rays, stands_m)
    if not len(proposed):
        return hands_m, miss_m
    near_m, hand_of = _explanation(rays, proposed, owner, np.array([len(own) for own in views]))
    found: dict[int, list[tuple[FloatArray, float, int]]] = {}
    for hand, point_m, miss, votes in _meetings(rays, near_m, hand_of, stands_m):
        found.setdefault(hand // 2, []).append((point_m, miss, votes))
    for person, hands in found.items():
        if len(hands) == 2 and np.linalg.norm(hands[0][0] - hands[1][0]) < SAME_HAND_M:
            hands.pop()
        if len(hands) == 2:
            hands.sort(key=lambda hand: -hand[2])
        for row, (point_m, miss, votes) in enumerate(hands):
            row = 1 if len(hands) == 1 and votes < 0 else row
            hands_m[person, row], miss_m[person, row] = point_m, miss
    return hands_m, miss_m


def _rays(views: Sequence[Sequence[HandView]]) -> _Rays:
    every = [(person, index, view) for person, own in enumerate(views) for index, view in enumerate(own)]
    if not every:
        none = np.zeros(0, np.int64)
        return _Rays(none, none, none, np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    directions = np.array(
        [
            view.camera.ray_directions(view.hands_px) if view.directions is None else view.directions
            for _, _, view in every
        ]
    )
    score = np.array([view.score for _, _, view in every], float)
    row, side = np.nonzero(np.isfinite(directions).all(axis=2) & (score > 0))
    return _Rays(
        np.array([person for person, _, _ in every])[row],
        np.array([index for _, index, _ in every])[row],
        side,
        np.array([view.camera.position_m for _, _, view in every])[row],
        directions[row, side],
        WRIST_SIGMA_M / score[row, side],
        np.array([PIXEL_SIGMA / float(view.camera.intrinsics[0, 0]) for _, _, view in every])[row],
    )


def _proposals(rays: _Rays, stands_m: FloatArray) -> tuple[FloatArray, IntArray]:
    """Where two rays of different cameras meet, well across each other and within reach.

    Returns:
        Places, shape (p, 3), metres, and whose hands may be there, shape (p,), rising.
    """
    together = (rays.owner[:, None] == rays.owner) & (rays.view[:, None] != rays.view)
    first, second = np.nonzero(np.triu(together, 1))
    cosine = np.einsum("pi,pi->p", rays.direction[first], rays.direction[second])
    across = 1 - cosine**2 >= MIN_SINE**2
    first, second, cosine = first[across], second[across], cosine[across]
    # Nearest points of two lines (Hartley & Sturm, "Triangulation", 1997): along the first, along the second.
    origin, direction = rays.origin[first], rays.direction[first]
    other_origin, other_direction = rays.origin[second], rays.direction[second]
    apart = other_origin - origin
    on_first = np.einsum("pi,pi->p", apart, direction)
    on_second = np.einsum("pi,pi->p", apart, other_direction)
    along_first = (on_first - cosine * on_second) / (1 - cosine**2)
    along_second = (cosine * on_first - on_second) / (1 - cosine**2)
    a = origin + along_first[:, None] * direction
    b = other_origin + along_second[:, None] * other_direction
    share = np.hypot(rays.sigma_m[first], rays.sigma_rad[first] * along_first) ** 2
    share = share / (share + np.hypot(rays.sigma_m[second], rays.sigma_rad[second] * along_second) ** 2)
    points, owner = a + share[:, None] * (b - a), rays.owner[first]
    meet = (along_first > 0) & (along_second > 0) & (_lengths(b - a) <= MAX_MISS_M)
    meet &= _reachable(points, stands_m[owner])
    return points[meet], owner[meet]


def _explanation(
    rays: _Rays, points_m: FloatArray, owner: IntArray, view_count: IntArray
) -> tuple[FloatArray, IntArray]:
    """Choose the one or two places of each person that explain their rays best, and say which rays are of each.

    Args:
        rays: All rays.
        points_m: Places, shape (p, 3).
        owner: Whose each is, shape (p,), rising.
        view_count: How many views there are of each person, shape (n,).

    Returns:
        The place of hand 0 and of hand 1 of each person, shape (2 n, 3), and the hand that each ray goes through,
        shape (r,): twice the person and 0 or 1, or -1.
    """
    people, most = len(view_count), int(view_count.max())
    point, ray = np.nonzero(owner[:, None] == rays.owner)
    away, sigmas = rays.misses(points_m[point], ray)
    table = np.full((len(points_m), most, 2), STRANGER)  # a view that somebody has not is strange to all
    table[point, rays.view[ray], rays.side[ray]] = np.where(
        away <= MAX_MISS_M, np.minimum((away / sigmas) ** 2, STRANGER), STRANGER
    )
    alone = table.min(axis=2).sum(axis=1)
    order = np.lexsort((alone, owner))  # by person, then the best first
    begins = np.searchsorted(owner, np.arange(people + 1))
    best = order[np.arange(len(order)) - begins[owner] < SHORTLIST]
    # For two hands: a camera's left is of the one and its right of the other, or the other way round.
    at, j = np.nonzero(owner[best][:, None] == owner)
    i = best[at]
    left, right = table[:, :, 0], table[:, :, 1]
    together = np.minimum(left[i] + right[j], right[i] + left[j]).sum(axis=1)
    together[_lengths(points_m[i] - points_m[j]) < SAME_HAND_M] = np.inf
    ends = np.searchsorted(owner[i], np.arange(people + 1))
    one, other, helps = np.zeros(people, np.int64), np.zeros(people, np.int64), np.zeros(people, bool)
    known = np.diff(begins) > 0
    for person in np.flatnonzero(known).tolist():
        chosen = int(ends[person] + together[ends[person] : ends[person + 1]].argmin())
        first = order[begins[person]]
        # A second hand is worth it only where it explains two rays more; one ray places nothing.
        helps[person] = together[chosen] < alone[first] + (most - 1) * STRANGER
        one[person], other[person] = i[chosen] if helps[person] else first, j[chosen]
    flipped = right[one] + left[other] < left[one] + right[other]
    whose, view, side = rays.owner, rays.view, rays.side
    which = np.where(helps[whose], side ^ flipped[whose, view], 0)
    cost = table[np.where(which == 0, one[whose], other[whose]), view, side]
    is_of = known[whose] & (cost < STRANGER)
    is_of &= helps[whose] | (side == table[one[whose], view].argmin(axis=1))
    places = np.stack([points_m[one], points_m[other]], axis=1).reshape(-1, 3)
    return places, np.where(is_of, 2 * whose + which, -1)


def _meetings(
    rays: _Rays, near_m: FloatArray, hand_of: IntArray, stands_m: FloatArray
) -> list[tuple[int, FloatArray, float, int]]:
    """Best common point of the rays of each hand; a ray that misses it by too much is left out, the worst first.

    Args:
        rays: All rays.
        near_m: About where each hand is, shape (h, 3): how far each ray has come there decides how much it counts.
        hand_of: Which hand each ray goes through, shape (r,); -1 for none.
        stands_m: Where the owner of each two hands stands, shape (h / 2, 2).

    Returns:
        Of each hand whose rays meet within reach, in rising order: which, where it is, shape (3,), metres, how far the
        rays miss that, metres, and how many rays more call it left than right.
    """
    votes = np.zeros(len(near_m), np.int64)
    np.add.at(votes, hand_of[hand_of >= 0], np.where(rays.side[hand_of >= 0] == 0, 1, -1))
    group = np.flatnonzero(hand_of >= 0)
    group = group[np.argsort(hand_of[group], kind="stable")]
    found: list[tuple[int, FloatArray, float, int]] = []
    while True:
        hands, begins, count = np.unique(hand_of[group], return_index=True, return_counts=True)
        group = group[np.repeat(count >= 2, count)]
        hands, count = hands[count >= 2], count[count >= 2]
        if not len(hands):
            return sorted(found, key=lambda hand: hand[0])
        begins = np.cumsum(count) - count
        origins, directions = rays.origin[group], rays.direction[group]
        sigmas = np.hypot(rays.sigma_m[group], rays.sigma_rad[group] * _lengths(near_m[hand_of[group]] - origins))
        points = nearest_to_many_rays(origins, directions, begins, 1 / sigmas**2)
        offsets = np.repeat(points, count, axis=0) - origins
        along = np.einsum("ni,ni->n", offsets, directions)
        misses = _lengths(offsets - along[:, None] * directions)
        miss = np.add.reduceat(misses, begins) * 2 / count
        known, close = np.isfinite(points).all(axis=1), miss <= MAX_MISS_M
        within = known & close & _reachable(points, stands_m[hands // 2])
        for row in np.flatnonzero(within).tolist():
            found.append((int(hands[row]), points[row], float(miss[row]), int(votes[hands[row]])))
        left = np.repeat(known & ~close, count)
        for row in np.flatnonzero(known & ~close).tolist():
            rows = slice(begins[row], begins[row] + count[row])
            left[begins[row] + int((misses[rows] / sigmas[rows]).argmax())] = False
        group = group[left]


def _reachable(points_m: FloatArray, stands_m: FloatArray) -> BoolArray:
    """Which points, shape (p, 3), may be hands of those who stand there, shape (p, 2), nan where that is not known."""
    away = points_m[:, :2] - stands_m
    near = (np.hypot(away[:, 0], away[:, 1]) < REACH_M) | ~np.isfinite(stands_m).all(axis=1)
    return np.asarray((points_m[:, 2] > -0.1) & (points_m[:, 2] < 2.4) & near)


def _lengths(vectors: FloatArray) -> FloatArray:
    """Lengths of vectors, shape (n, 3): shape (n,)."""
    return np.asarray(np.sqrt(np.einsum("ni,ni->n", vectors, vectors)))
