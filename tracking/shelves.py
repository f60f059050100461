"""A store's bins and plates as arrays and look-ups, made once, for what is asked of them all day."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from vision.arrays import FloatArray, IntArray
from vision.layout import Bin, Plate, StoreLayout


@dataclass(frozen=True, slots=True)
class BinBoxes:
    """The boxes of bins as arrays, one row a bin.

    Attributes:
        axes: Own axes in columns, shape (b, 3, 3).
        corners_m: Where the own axes begin, shape (b, 3), metres.
        sizes_m: Length along each own axis, shape (b, 3), metres.
        low_m: Least world coordinates of each, shape (3, b), metres.
        high_m: Largest, shape (3, b), metres.
    """

    axes: FloatArray
    corners_m: FloatArray
    sizes_m: FloatArray
    low_m: FloatArray
    high_m: FloatArray

    @classmethod
    def of(cls, bins: Sequence[Bin]) -> Self:
        """The boxes of bins that have one in the world, in their order."""
        boxes = [a_bin.box for a_bin in bins if a_bin.box is not None]
        frames = np.array([box.world_from_box for box in boxes], float).reshape(-1, 4, 4)
        sizes = np.array([box.size_m for box in boxes], float).reshape(-1, 3)
        axes, corners = frames[:, :3, :3], frames[:, :3, 3]
        sides = axes * sizes[:, None]
        low, high = corners + np.minimum(sides, 0).sum(axis=2), corners + np.maximum(sides, 0).sum(axis=2)
        return cls(axes, corners, sizes, np.ascontiguousarray(low.T), np.ascontiguousarray(high.T))

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
        reach_m = within_m + 1e-6  # for rounding
        around = np.ones((len(points_m), len(self.sizes_m)), bool)
        for axis, low, high in zip(points_m.T[..., None], self.low_m - reach_m, self.high_m + reach_m, strict=True):
            around &= axis >= low
            around &= axis <= high
        rows, boxes = np.nonzero(around)
        local = np.einsum("ni,nij->nj", points_m[rows] - self.corners_m[boxes], self.axes[boxes])
        outside = np.maximum(np.maximum(-local, local - self.sizes_m[boxes]), 0.0)
        away = np.sqrt(np.einsum("ni,ni->n", outside, outside))
        np.minimum.at(nearest, rows, np.where(away <= within_m, away, np.inf))
        return nearest


@dataclass(frozen=True, slots=True)
class Shelves:
    """What attribution asks of a layout.

    Attributes:
        bins: All bins, in the layout's order.
        boxes: Boxes of those that have one in the world.
        boxed: Row in ``bins`` of each box, shape (b,).
        box_row: Row in ``boxes`` of each bin, shape (n,); -1 for a bin without a box.
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
    box_row: IntArray
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
        has_box = np.array([a_bin.box is not None for a_bin in layout.bins], bool)
        return cls(
            bins=layout.bins,
            boxes=BinBoxes.of(layout.bins),
            boxed=np.flatnonzero(has_box),
            box_row=np.where(has_box, np.cumsum(has_box) - 1, -1),
            plates={plate.plate_id: plate for plate in layout.plates},
            on_plate={plate_id: tuple(found) for plate_id, found in on_plate.items()},
            skus=tuple(masses),
            row=rows,
            mass_g=np.array(list(masses.values()), float),
            sku_row=np.array([-1 if a_bin.sku is None else rows[a_bin.sku] for a_bin in layout.bins], np.int64),
        )
