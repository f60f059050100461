"""The bodies of simulated shoppers: how they walk around each other and the fixtures, turn, and move their hands."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from store_sim.bodies import BUILDS, CHILD, cycle_m
from store_sim.figures import Figures
from store_sim.navigation import BODY_RADIUS_M, FloorPlan
from store_sim.scenarios import Carried, Role, ScenarioShopper
from vision.arrays import BoolArray, FloatArray, IntArray

LEFT, RIGHT = 0, 1
NO_HURRY = 1e9
"""Rank of somebody who has nothing to do: everybody goes before them."""

PACE_MPS = 1.1  # shoppers stroll: 1.0 to 1.2 m/s in stores, against 1.34 m/s on pavements (Weidmann, 1993)
CHILD_PACE_MPS = 1.0
SWAP_PACE_MPS = 1.7
HURRIED_MPS = 1.8  # nobody runs, also when jostled
SETTLING_S = 0.22  # a walker changes velocity within a step
COURTESY_M = 0.8  # distance between middles at which one begins to make way
STANDING_COURTESY_M = 0.5  # and from which on somebody who stands does
CONTACT_M = 0.38  # shoulders touch at half a metre, but people turn them
PUSHED_MPS = 0.9
PATIENCE_S, SQUEEZING_S = 1.5, 2.0  # who gets nowhere for so long turns sideways and squeezes past
SLIMMEST = 0.25
TRY_OTHER_SIDE_S = 0.8  # before that, who does not get past somebody on one side tries the other
CORNER_M = 0.25  # a corner of the way is passed within this
TURNING_RADPS = 4.5
HAND_MPS = 1.5  # a hand from one thing to the next on a shelf
ARRIVED_M = 1e-3

_TALL_M = {
    Role.SHOPPER: (1.70, 0.09, 1.5, 1.95),
    Role.STAFF: (1.71, 0.08, 1.55, 1.92),
    Role.CHILD: (1.22, 0.07, 1.1, 1.38),
}


class Crowd:
    """Everybody of a scenario as arrays, one row each in the scenario's order; rows of the absent are stale.

    The world sets where they want to go and what their hands do, and calls :meth:`move` once a step.

    Attributes:
        present: Whether somebody is there, shape (n,).
        position_m: Shape (n, 2).
        heading_rad: Shape (n,).
        look_rad: Where they want to face, shape (n,); nan for where they walk.
        pace_mps: How fast they like to walk, shape (n,).
        rank: Whose turn it is, shape (n,): lower goes first, others make way.
        anchored: Who stands and works, and cannot be pushed, shape (n,).
        between: Who is in a doorway, where the floor's border does not hold them, shape (n,).
        walking: Who wants to get somewhere, shape (n,).
        stuck_s: How long walkers have got nowhere, shape (n,).
        grip_m: Where hands are going, shape (n, 2, 3); nan at ease.
        aim_m: Where they are to go next, shape (n, 2, 3).
        reach: Shape (n, 2), 0 at ease to 1 arrived.
        reach_to: What ``reach`` is becoming, shape (n, 2).
        reach_s: How long the whole way takes a hand, shape (n, 2).
        carries: Whether hands hold something, shape (n, 2).
    """

    def __init__(self, shoppers: Sequence[ScenarioShopper], plan: FloorPlan, rng: np.random.Generator) -> None:
        """Make their bodies; nobody is there yet."""
        n = len(shoppers)
        self._plan = plan
        self.ids = tuple(shopper.shopper_id for shopper in shoppers)
        self.present: BoolArray = np.zeros(n, bool)
        self.position_m: FloatArray = np.zeros((n, 2))
        self._at = self.position_m.view(np.complex128)[:, 0]
        self._velocity = np.zeros(n, np.complex128)
        self.heading_rad: FloatArray = np.zeros(n)
        self.look_rad: FloatArray = np.full(n, np.nan)
        self.speed_mps: FloatArray = np.zeros(n)
        self.stride: FloatArray = rng.random(n)
        child = np.array([shopper.role is Role.CHILD for shopper in shoppers], bool)
        tall = np.array([_TALL_M[shopper.role] for shopper in shoppers]).reshape(n, 4)
        self.height_m: FloatArray = np.clip(tall[:, 0] + tall[:, 1] * rng.standard_normal(n), tall[:, 2], tall[:, 3])
        self.usual_pace_mps: FloatArray = np.where(child, CHILD_PACE_MPS, PACE_MPS) * rng.uniform(0.88, 1.12, n)
        self.pace_mps: FloatArray = self.usual_pace_mps.copy()
        self.child = child
        self.build = rng.choice(np.array([k for k in range(len(BUILDS)) if k != CHILD]), n)
        self.build[child] = CHILD
        self.outfit = rng.integers(0, 2**31, n)
        said = np.array([np.nan if s.height_m is None else s.height_m for s in shoppers])
        self.height_m = np.where(np.isnan(said), self.height_m, said)
        self._dress_alike(shoppers)
        self.bag: BoolArray = (rng.random(n) < 0.6) & ~child
        self.bag |= np.array([shopper.carries is Carried.BAG for shopper in shoppers], bool)
        self.trolley: BoolArray = np.array([shopper.carries is Carried.TROLLEY for shopper in shoppers], bool)
        self.favourite = np.where(rng.random(n) < 0.88, RIGHT, LEFT)
        self.rank: FloatArray = np.full(n, NO_HURRY)
        self.anchored: BoolArray = np.zeros(n, bool)
        self.between: BoolArray = np.zeros(n, bool)
        self.walking: BoolArray = np.zeros(n, bool)
        self.stuck_s: FloatArray = np.zeros(n)
        self._drift = np.zeros(n, np.complex128)
        self._side: FloatArray = np.ones(n)
        self._target = np.zeros(n, np.complex128)
        self._last_leg: BoolArray = np.ones(n, bool)
        self._ways: list[list[FloatArray]] = [[] for _ in range(n)]
        self.grip_m: FloatArray = np.full((n, 2, 3), np.nan)
        self.aim_m: FloatArray = np.full((n, 2, 3), np.nan)
        self.reach: FloatArray = np.zeros((n, 2))
        self.reach_to: FloatArray = np.zeros((n, 2))
        self.reach_s: FloatArray = np.full((n, 2), 0.6)
        self.carries: BoolArray = np.zeros((n, 2), bool)
        self._here = np.zeros(0, np.int64)

    def _dress_alike(self, shoppers: Sequence[ScenarioShopper]) -> None:
        first: dict[tuple[str, bool], int] = {}
        for row, shopper in enumerate(shoppers):
            if shopper.outfit is not None:
                # A child is nobody's double: builds stay within their kind.
                model = first.setdefault((shopper.outfit, bool(self.child[row])), row)
                self.outfit[row], self.build[row] = self.outfit[model], self.build[model]
                if shopper.height_m is None:
                    self.height_m[row] = self.height_m[model]

    def change_clothes(self, row: int, outfit: int) -> None:
        """Let somebody look different from now on."""
        self.outfit[row] = outfit

    def change_body(self, row: int, shopper: ScenarioShopper, rng: np.random.Generator) -> None:
        """Let somebody else have a body who looks and walks differently; nobody is in it now."""
        child = shopper.role is Role.CHILD
        middle_m, spread_m, least_m, most_m = _TALL_M[shopper.role]
        drawn_m = min(max(middle_m + spread_m * float(rng.standard_normal()), least_m), most_m)
        self.child[row] = child
        self.height_m[row] = drawn_m if shopper.height_m is None else shopper.height_m
        self.usual_pace_mps[row] = (CHILD_PACE_MPS if child else PACE_MPS) * float(rng.uniform(0.88, 1.12))
        self.pace_mps[row] = self.usual_pace_mps[row]
        self.build[row] = CHILD if child else rng.choice([k for k in range(len(BUILDS)) if k != CHILD])
        self.outfit[row] = rng.integers(0, 2**31)
        self.bag[row] = shopper.carries is Carried.BAG or (not child and rng.random() < 0.6)
        self.trolley[row] = shopper.carries is Carried.TROLLEY
        self.favourite[row] = RIGHT if rng.random() < 0.88 else LEFT

    def appear(self, row: int, position_m: FloatArray, heading_rad: float) -> None:
        """Let somebody be there."""
        self.present[row] = True
        self.position_m[row] = position_m
        self._velocity[row] = self._drift[row] = 0
        self.heading_rad[row] = heading_rad
        self.look_rad[row] = np.nan
        self.anchored[row] = False
        self.reach[row] = self.reach_to[row] = 0
        self.grip_m[row] = np.nan
        self._here = np.flatnonzero(self.present)
        self.stop(row)

    def disappear(self, row: int) -> None:
        """Let somebody be gone."""
        self.present[row] = False
        self._here = np.flatnonzero(self.present)

    def go(self, row: int, way_m: FloatArray) -> None:
        """Send somebody along the corners of a way, shape (k, 2), metres."""
        corners = list(way_m)
        self._target[row] = complex(*corners[0])
        self._ways[row] = corners[1:]
        self._last_leg[row] = len(corners) == 1
        self.walking[row] = True
        self.stuck_s[row] = 0
        self.look_rad[row] = np.nan

    def stop(self, row: int) -> None:
        """Let somebody stand where they are."""
        self.walking[row] = False
        self._ways[row] = []
        self._last_leg[row] = True
        self._target[row] = self._at[row]
        self.stuck_s[row] = 0

    def goal_m(self, row: int) -> FloatArray:
        """Where somebody is going, shape (2,), metres."""
        target = self._target[row]
        return self._ways[row][-1] if self._ways[row] else np.array([target.real, target.imag])

    def goals_m(self, rows: IntArray) -> FloatArray:
        """Where some are going, shape (k, 2), metres."""
        return np.array([self.goal_m(row) for row in rows.tolist()]).reshape(-1, 2)

    def send_hand(self, row: int, hand: int, aim_m: FloatArray, seconds: float) -> None:
        """Send a hand to a point, shape (3,), metres, so that it takes about so long from an arm at ease."""
        self.aim_m[row, hand] = aim_m
        self.reach_to[row, hand] = 1
        self.reach_s[row, hand] = seconds

    def ease_hand(self, row: int, hand: int, seconds: float) -> None:
        """Take a hand back."""
        self.reach_to[row, hand] = 0
        self.reach_s[row, hand] = seconds

    def hand_arrived(self, row: int, hand: int) -> bool:
        """Whether a hand is where it was sent."""
        away = self.grip_m[row, hand] - self.aim_m[row, hand]
        return bool(self.reach[row, hand] >= 1 and abs(away).max() < ARRIVED_M)

    def move(self, dt_s: float) -> None:
        """Let a step of time pass."""
        here = self._here
        if len(here):
            self._walk(here, dt_s)
            self._turn(here, dt_s)
            self._use_hands(here, dt_s)

    def _walk(self, here: IntArray, dt_s: float) -> None:
        # Points and velocities as complex numbers: half the operations, and a turn to the left is a factor of 1j.
        at, walking, anchored = self._at[here], self.walking[here], self.anchored[here]
        to = self._target[here] - at
        far = np.abs(to)
        last_leg = self._last_leg[here]
        passing = walking & (far < CORNER_M) & ~last_leg
        if passing.any():
            for row in here[passing].tolist():
                self._next_corner(row)
            to = self._target[here] - at
            far = np.abs(to)
            last_leg = self._last_leg[here]
        # They slow down over the last third of a metre, and stand when they are there.
        speed = np.where(last_leg, np.minimum(far / 0.3, 1), 1.0) * self.pace_mps[here] * walking
        wanted = to * (speed / np.maximum(far, 1e-6))
        stuck = self.stuck_s[here]
        slim = 1 - (1 - SLIMMEST) * np.minimum(np.maximum((stuck - PATIENCE_S) / SQUEEZING_S, 0), 1)
        near = self._near_pairs(at) if len(here) > 1 else None
        if near is not None:
            one, other = near
            rank = self.rank[here]
            share = np.where(rank[one] > rank[other], 0.85, np.where(rank[one] < rank[other], 0.15, 0.5))
            share[anchored[other]] = 1.0
            share[anchored[one]] = 0.0
            slimmer = np.minimum(slim[one], slim[other])
            wanted = wanted + self._courtesy(here, wanted, at, one, other, share * slimmer)
        velocity = self._velocity[here]
        velocity = velocity + (wanted - velocity) * min(1.0, dt_s / SETTLING_S)
        velocity[anchored] = 0
        new = at + velocity * dt_s
        if near is not None:
            apart = new[one] - new[other]
            distance = np.abs(apart)
            overlap = CONTACT_M * slimmer - distance
            if (overlap > 0).any():
                push = np.minimum(np.maximum(overlap, 0), PUSHED_MPS * dt_s) * share / np.maximum(distance, 1e-3)
                new = new + _summed(one, push * apart, len(here))
        step = new - at
        new = at + step * np.minimum(1, HURRIED_MPS * dt_s / np.maximum(np.abs(step), 1e-9))
        new = self._kept_on_floor(here, new, at)
        new[anchored] = at[anchored]
        moved = (new - at) / dt_s
        self._at[here] = new
        self._velocity[here] = moved
        # Jostling is no progress, and no gait either.
        drift = self._drift[here]
        drift = drift + (moved - drift) * min(1.0, dt_s / SETTLING_S)
        self._drift[here] = drift
        speed = np.abs(drift)
        self.speed_mps[here] = speed
        slow = walking & ~anchored & (speed < 0.25) & (far > 0.1)
        longer = np.where(slow, stuck + dt_s, np.maximum(0, stuck - dt_s))
        self.stuck_s[here] = longer
        turning = slow & (stuck < TRY_OTHER_SIDE_S) & (longer >= TRY_OTHER_SIDE_S)
        side = self._side[here]
        self._side[here] = np.where(turning, -side, np.where(stuck > 0, side, 1.0))
        self.stride[here] += speed * dt_s / cycle_m(self.height_m[here], speed)

    def _near_pairs(self, at: NDArray[np.complex128]) -> tuple[IntArray, IntArray] | None:
        """Who is so near to whom that one of them makes way, each pair both ways round."""
        distance = np.abs(at[:, None] - at)
        close = distance < COURTESY_M
        close.ravel()[:: len(at) + 1] = False
        one, other = np.nonzero(close)
        return (one, other) if len(one) else None

    def _courtesy(
        self,
        here: IntArray,
        wanted: NDArray[np.complex128],
        at: NDArray[np.complex128],
        one: IntArray,
        other: IntArray,
        share: FloatArray,
    ) -> NDArray[np.complex128]:
        """What people change in their velocity for each other."""
        walking = self.walking[here]
        apart = at[one] - at[other]
        distance = np.abs(apart)
        unit = apart / np.maximum(distance, 1e-6)
        begins = np.where(walking[one], COURTESY_M, STANDING_COURTESY_M)
        force = PUSHED_MPS * share * np.minimum(np.maximum((begins - distance) / 0.4, 0), 1)
        force *= walking[one] | walking[other]  # who stands only makes way for who walks
        # One passes others on the side that they leave free, and on the right of who comes straight on.
        left = (wanted[one] * unit.conj()).imag
        side = np.where(left > np.where(walking[other], -0.25, 0.0), 1.0, -1.0) * self._side[here][one]
        return _summed(one, force * unit * (1 + 0.7j * side), len(here))

    def _kept_on_floor(
        self, here: IntArray, new: NDArray[np.complex128], at: NDArray[np.complex128]
    ) -> NDArray[np.complex128]:
        free = ~self.between[here]
        points, before = _points(new), _points(at)
        if free.all():
            return _complex(self._plan.pushed_clear(points, before, BODY_RADIUS_M))
        if free.any():
            points[free] = self._plan.pushed_clear(points[free], before[free], BODY_RADIUS_M)
        return _complex(points)

    def _next_corner(self, row: int) -> None:
        way = self._ways[row]
        self._target[row] = complex(*way.pop(0))
        self._last_leg[row] = not way

    def _turn(self, here: IntArray, dt_s: float) -> None:
        heading, look, velocity = self.heading_rad[here], self.look_rad[here], self._velocity[here]
        along = np.where(self.speed_mps[here] > 0.25, np.angle(velocity), heading)
        off = _turned(np.where(np.isnan(look), along, look) - heading)
        most = TURNING_RADPS * dt_s
        off = np.minimum(np.maximum(off * min(1.0, 6 * dt_s), -most), most)
        self.heading_rad[here] = _turned(heading + off)

    def _use_hands(self, here: IntArray, dt_s: float) -> None:
        busy = ((self.reach[here] > 0) | (self.reach_to[here] > 0)).any(axis=1)
        if not busy.any():
            return
        here = here[busy]
        reach = self.reach[here]
        step = dt_s / self.reach_s[here]
        reach = reach + np.minimum(np.maximum(self.reach_to[here] - reach, -step), step)
        self.reach[here] = reach
        grip, aim = self.grip_m[here], self.aim_m[here]
        away = aim - grip
        far = np.sqrt((away * away).sum(axis=2))
        glide = np.minimum(1, HAND_MPS * dt_s / np.maximum(far, 1e-9))
        grip = np.where((np.isnan(far) | (reach < 0.1))[..., None], aim, grip + glide[..., None] * away)
        grip[reach <= 0] = np.nan
        self.grip_m[here] = grip

    def figures(self) -> Figures:
        """Everybody who is there."""
        here = self._here
        reach = self.reach[here]
        return Figures(
            tuple(self.ids[row] for row in here.tolist()),
            self.build[here],
            self.outfit[here],
            self.height_m[here],
            self.position_m[here],
            self.heading_rad[here],
            self.speed_mps[here],
            self.stride[here],
            self.grip_m[here],
            reach * reach * (3 - 2 * reach),
            self.carries[here],
            self.bag[here],
            self.trolley[here],
        )

    def hip_m(self, row: int, hand: int) -> FloatArray:
        """Where a hand is at the pocket or bag, shape (3,), metres."""
        return self._before(row, 0.12, 0.2 if hand == RIGHT else -0.2, 0.53)

    def mouth_m(self, row: int, hand: int) -> FloatArray:
        """Where a hand is that brings something to the mouth, shape (3,), metres."""
        return self._before(row, 0.16, 0.03 if hand == RIGHT else -0.03, 0.88)

    def down_m(self, row: int, hand: int) -> FloatArray:
        """Where a hand lets something fall, shape (3,), metres."""
        return self._before(row, 0.3, 0.15 if hand == RIGHT else -0.15, 0.3)

    def _before(self, row: int, ahead_m: float, right_m: float, share_of_height: float) -> FloatArray:
        turn = float(self.heading_rad[row])
        forward = np.array([np.cos(turn), np.sin(turn)])
        right = np.array([forward[1], -forward[0]])
        at = self.position_m[row] + ahead_m * forward + right_m * right
        return np.array([*at, share_of_height * float(self.height_m[row])])


def _turned(angle_rad: FloatArray) -> FloatArray:
    """Angles between minus pi and pi."""
    return np.asarray((angle_rad + np.pi) % (2 * np.pi) - np.pi)


def _points(numbers: NDArray[np.complex128]) -> FloatArray:
    """Complex numbers, shape (n,), as points, shape (n, 2)."""
    return numbers.view(np.float64).reshape(-1, 2)


def _complex(points: FloatArray) -> NDArray[np.complex128]:
    """Points, shape (n, 2), as complex numbers, shape (n,)."""
    return np.ascontiguousarray(points, np.float64).view(np.complex128)[:, 0]


def _summed(rows: IntArray, numbers: NDArray[np.complex128], count: int) -> NDArray[np.complex128]:
    """Add numbers up by row."""
    return np.asarray(np.bincount(rows, numbers.real, count) + 1j * np.bincount(rows, numbers.imag, count))
