"""A store's bins and plates as arrays and look-ups, made once, for what is asked of them all day."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from vision.arrays import BoolArray, FloatArray, IntArray
from vision.layout import Bin, Plate, StoreLayout


@dataclass(frozen=True, slots=True)
class BinBoxes:
    """The boxes of bins as arrays, one row a bin.

    Attributes:
        axes: Own axes in columns, shape (b, 3, 3).
        corners_m: Where the own axes begin, shape (b, 3), metres.
        sizes_m: Length along each own axis, shape (b, 3), metres.
        limits_m: Least and largest world coordinates of each, shape (b, 2, 3), metres.
        groups: Gondola of each as a number from 0, shape (b,); all boxes without one are a gondola, too.
        group_limits_m: Least and largest world coordinates of each gondola's boxes, shape (g, 2, 3), metres.
    """

    axes: FloatArray
    corners_m: FloatArray
    sizes_m: FloatArray
    limits_m: FloatArray
    groups: IntArray
    group_limits_m: FloatArray

    @classmethod
    def of(cls, bins: Sequence[Bin]) -> Self:
        """The boxes of bins that have one in the world, in their order."""
        boxes = [a_bin.box for a_bin in bins if a_bin.box is not None]
        frames = np.array([box.world_from_box for box in boxes], float).reshape(-1, 4, 4)
        sizes = np.array([box.size_m for box in boxes], float).reshape(-1, 3)
        axes, corners = frames[:, :3, :3], frames[:, :3, 3]
        sides = axes * sizes[:, None]
        limits = np.stack(
            [corners + np.minimum(sides, 0).sum(axis=2), corners + np.maximum(sides, 0).sum(axis=2)], axis=1
        )
        gondolas = [-1 if a_bin.gondola_id is None else a_bin.gondola_id for a_bin in bins if a_bin.box is not None]
        numbers, groups = np.unique(np.array(gondolas, np.int64), return_inverse=True)
        group_limits = np.array(
            [
                [limits[groups == group, 0].min(axis=0), limits[groups == group, 1].max(axis=0)]
                for group in range(len(numbers))
            ]
        ).reshape(-1, 2, 3)
        return cls(axes, corners, sizes, limits, groups, group_limits)

    def local(self, points_m: FloatArray) -> FloatArray:
        """Points, shape (h, 3), on the axes of every box: shape (b, h, 3)."""
        return np.asarray((points_m - self.corners_m[:, None]) @ self.axes)

    def distances_m(self, points_m: FloatArray) -> FloatArray:
        """Distance of points, shape (h, 3), from every box: shape (h, b), 0 inside."""
        local = self.local(points_m)
        outside = np.maximum(np.maximum(-local, local - self.sizes_m[:, None]), 0.0)
        return np.asarray(np.sqrt(np.einsum("bhi,bhi->hb", outside, outside)))

    def nearest_m(self, points_m: FloatArray, within_m: float) -> FloatArray:
        """Distance of points, shape (h, 3), from the nearest box: shape (h,), inf where none is within ``within_m``."""
        nearest = np.full(len(points_m), np.inf)
        points, gondolas = np.nonzero(_around(self.group_limits_m[None], points_m[:, None], within_m))
        for gondola in dict.fromkeys(gondolas.tolist()):  # most hands are near none, a few near one
            mine = points[gondolas == gondola]
            boxes = np.flatnonzero(self.groups == gondola)
            rows, columns = np.nonzero(_around(self.limits_m[None, boxes], points_m[mine, None], within_m))
            rows, columns = mine[rows], boxes[columns]
            local = np.einsum("ni,nij->nj", points_m[rows] - self.corners_m[columns], self.axes[columns])
            outside = np.maximum(np.maximum(-local, local - self.sizes_m[columns]), 0.0)
            away = np.sqrt(np.einsum("ni,ni->n", outside, outside))
            np.minimum.at(nearest, rows, np.where(away <= within_m, away, np.inf))
        return nearest


def _around(limits_m: FloatArray, points_m: FloatArray, within_m: float) -> BoolArray:
    """Whether points, shape (..., 3), are within limits, shape (..., 2, 3), and so much around them."""
    reach_m = within_m + 1e-6  # for rounding
    inside = (points_m >= limits_m[..., 0, :] - reach_m) & (points_m <= limits_m[..., 1, :] + reach_m)
    return np.asarray(inside.all(axis=-1))


@dataclass(frozen=True, slots=True)
class Shelves:
    """What attribution asks of a layout.

    Attributes:
        bins: All bins, in the layout's order.
        boxes: Boxes of those that have one in the world.
        boxed: Row in ``bins`` of each box, shape (b,).
        plates: Every plate by its id.
        on_plate: Rows in ``bins`` of those that stand on a plate, by its id.
        skus: Every product the store sells or plans.
        row: Row in ``skus`` of each product.
        mass_g: Published mass of each, shape (k,), grams; nan where there is none.
        sku_row: Row in ``skus`` of each bin's product, shape (n,); -1 for a bin without one.
    """

    bins: tuple[Bin, ...]
    boxes: BinBoxes
    boxed: IntArray
    plates: dict[str, Plate]
    on_plate: dict[str, tuple[int, ...]]
    skus: tuple[str, ...]
    row: dict[str, int]
    mass_g: FloatArray
    sku_row: IntArray

    @classmethod
    def of(cls, layout: StoreLayout) -> Self:
        """Read a layout."""
        on_plate: defaultdict[str, list[int]] = defaultdict(list)
        for row, a_bin in enumerate(layout.bins):
            for plate_id in a_bin.plate_ids:
                on_plate[plate_id].append(row)
        masses = {product.sku: product.mass_g for product in layout.products}
        for a_bin in layout.bins:
            if a_bin.sku is not None:
                masses.setdefault(a_bin.sku, np.nan)
        rows = {sku: row for row, sku in enumerate(masses)}
        return cls(
            bins=layout.bins,
            boxes=BinBoxes.of(layout.bins),
            boxed=np.array([row for row, a_bin in enumerate(layout.bins) if a_bin.box is not None], np.int64),
            plates={plate.plate_id: plate for plate in layout.plates},
            on_plate={plate_id: tuple(found) for plate_id, found in on_plate.items()},
            skus=tuple(masses),
            row=rows,
            mass_g=np.array(list(masses.values()), float),
            sku_row=np.array([-1 if a_bin.sku is None else rows[a_bin.sku] for a_bin in layout.bins], np.int64),
        )
