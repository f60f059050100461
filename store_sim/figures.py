"""People and goods of a simulated store as they are at one instant: what sensors look at and renderers draw."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vision.arrays import BoolArray, FloatArray, IntArray, check_shape


@dataclass(frozen=True, slots=True)
class Figures:
    """People as they stand at one instant, from which ``store_sim.bodies`` poses their bodies.

    Attributes:
        person_id: The scenario's id of each, length n.
        build: Which baked body each has, shape (n,), an index into ``store_sim.bodies.BUILDS``.
        outfit: Seed of clothes, hair and bag, shape (n,); equal seeds on equal builds look alike.
        height_m: Shape (n,).
        position_m: Where they stand, shape (n, 2), metres.
        heading_rad: Where the trunk faces, shape (n,), radians anticlockwise from world x.
        speed_mps: Shape (n,).
        stride: Gait phase, shape (n,), cycles of two steps; only its fraction matters.
        grip_m: Where the left and right hand's grip is going, shape (n, 2, 3), metres; nan for an arm at ease.
        reach: How far each hand is on its way there, shape (n, 2), 0 at ease to 1 arrived.
        carries: Whether each hand holds something before the body, shape (n, 2).
        bag: Whether they carry a bag on the shoulder, shape (n,).
        trolley: Whether they push a trolley, shape (n,).
    """

    person_id: tuple[str, ...]
    build: IntArray
    outfit: IntArray
    height_m: FloatArray
    position_m: FloatArray
    heading_rad: FloatArray
    speed_mps: FloatArray
    stride: FloatArray
    grip_m: FloatArray
    reach: FloatArray
    carries: BoolArray
    bag: BoolArray
    trolley: BoolArray

    def __post_init__(self) -> None:
        n = len(self.person_id)
        for name in ("build", "outfit", "height_m", "heading_rad", "speed_mps", "stride", "bag", "trolley"):
            check_shape(f"Figures.{name}", getattr(self, name), (n,))
        check_shape("Figures.position_m", self.position_m, (n, 2))
        check_shape("Figures.grip_m", self.grip_m, (n, 2, 3))
        check_shape("Figures.reach", self.reach, (n, 2))
        check_shape("Figures.carries", self.carries, (n, 2))

    def __len__(self) -> int:
        return len(self.person_id)

    def __getitem__(self, rows: NDArray[Any]) -> Self:
        """Keep the given rows (indices or a mask)."""
        return type(self)(
            tuple(self.person_id[row] for row in np.arange(len(self))[rows]),
            self.build[rows],
            self.outfit[rows],
            self.height_m[rows],
            self.position_m[rows],
            self.heading_rad[rows],
            self.speed_mps[rows],
            self.stride[rows],
            self.grip_m[rows],
            self.reach[rows],
            self.carries[rows],
            self.bag[rows],
            self.trolley[rows],
        )


class Whereabouts(IntEnum):
    """Where a unit of a product is."""

    SHELF = 0
    HAND = 1
    BAG = 2
    FLOOR = 3
    GONE = 4  # carried out, eaten, or not yet delivered


@dataclass(frozen=True, slots=True)
class Goods:
    """Every unit of every product, one row each; arrays are views of the world's own and must not be written to.

    Attributes:
        version: Rises whenever anything on a shelf or on the floor has moved, so that a renderer may keep what it drew.
        skus: Names of the products that ``sku_index`` points into.
        sku_index: Shape (u,).
        mass_g: True mass of each unit, shape (u,), grams: units differ a little from what the catalogue says.
        whereabouts: Shape (u,), values of ``Whereabouts``.
        position_m: Middle of the unit's underside, shape (u, 3), metres; for SHELF and FLOOR.
        yaw_rad: Shape (u,): the way its front looks, radians anticlockwise from world x; for SHELF and FLOOR.
        holder: Row of who holds it, as an index into ``holders``, shape (u,); -1 where nobody does. For HAND and BAG.
        hand: 0 left, 1 right, shape (u,); for HAND.
        holders: The scenario's ids that ``holder`` points into.
    """

    version: int
    skus: tuple[str, ...]
    sku_index: IntArray
    mass_g: FloatArray
    whereabouts: IntArray
    position_m: FloatArray
    yaw_rad: FloatArray
    holder: IntArray
    hand: IntArray
    holders: tuple[str, ...]

    def __post_init__(self) -> None:
        u = len(self.sku_index)
        for name in ("mass_g", "whereabouts", "yaw_rad", "holder", "hand"):
            check_shape(f"Goods.{name}", getattr(self, name), (u,))
        check_shape("Goods.position_m", self.position_m, (u, 3))
