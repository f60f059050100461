"""The floor that simulated shoppers walk on: where fixtures and doors are, and the way around them."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from vision.arrays import BoolArray, FloatArray, IntArray
from vision.layout import Bin, Box, Plate, StoreLayout, polygon_margins

BODY_RADIUS_M = 0.2
"""Half the depth-to-breadth mean of a clothed adult (0.3 m by 0.5 m, Fruin, Pedestrian Planning and Design, 1971)."""
FRONT_DEPTH_M = 1.5
"""How deep the floor before a fixture is where the layout does not say: two people can pass each other in it."""
DOOR_M = 0.9
"""Width of a door where the layout names none: an ordinary single door."""
MOST_DOOR_PLACES = 4000  # every 5 cm of a wall of 200 m; on a longer one farther apart
RASTER_M = 0.04
MOST_CELLS = 1_500_000  # a hall of 50 m by 48 m; a larger one gets a coarser raster
MOST_FLOOR_CELLS = 100_000_000  # 200 m by 200 m: a floor is made out from the fixtures up to here
ROUTE_CELLS = 6000  # shortest ways over this many cells take 3 ms, and are kept by where they lead
MOST_ROUTE_CELLS = 200_000  # a hall of 110 m by 110 m; a larger one gets coarser cells
KEPT_BYTES = 16_000_000  # of such ways: more of them than a small shop has places, and a hundred of a hall

STANDING_M = (0.42, 0.36, 0.5, 0.6, 0.75, 0.95)
"""From a shelf's front to the middle of a body that reaches into it, the best first."""
ASIDE_M = (0.0, 0.2, -0.2, 0.38, -0.38, 0.55, -0.55)
"""And along the shelf from where the hand goes."""
FARTHEST_M = 1.0
"""From the middle of the body to the hand, bowed forward; further in nobody gets."""

_GAP_M = 0.5  # nobody lives in a notch narrower than this: it is filled when the floor is derived from the fixtures


@dataclass(frozen=True, slots=True)
class Door:
    """A line that people come in or go out over.

    Attributes:
        line_m: Its two ends, shape (2, 2), metres.
        inward: Unit vector across the line into the store, shape (2,).
    """

    line_m: FloatArray
    inward: FloatArray

    @property
    def middle_m(self) -> FloatArray:
        """Its middle, shape (2,), metres."""
        return np.asarray(self.line_m.mean(axis=0))

    @property
    def width_m(self) -> float:
        """Its length, metres."""
        return float(np.linalg.norm(self.line_m[1] - self.line_m[0]))

    def depth_m(self, points_m: FloatArray) -> FloatArray:
        """How far inside of the line points, shape (..., 2), lie: shape (...), metres, negative outside."""
        return np.asarray((points_m - self.line_m[0]) @ self.inward)


@dataclass(frozen=True, slots=True)
class FloorPlan:
    """Where one can stand.

    Attributes:
        walkable_m: Outline of the floor, shape (n, 2), metres.
        obstacles_m: Footprints of the fixtures, shape (k, 4, 2), metres.
        entrance: Where people come in.
        exit: Where they go out.
        origin_m: World position of the middle of the raster's first cell, shape (2,), metres.
        cell_m: Side of a raster cell.
        clearance_m: Distance from each cell to the nearest fixture or wall, shape (rows, columns), metres, rows along
            y; negative inside a fixture or outside the floor.
        away: Unit vectors that lead away from it, shape (rows, columns, 2); zero where there is no way that is best.
    """

    walkable_m: FloatArray
    obstacles_m: FloatArray
    entrance: Door
    exit: Door
    origin_m: FloatArray
    cell_m: float
    clearance_m: FloatArray
    away: FloatArray

    def cells(self, points_m: FloatArray) -> tuple[IntArray, IntArray]:
        """Rows and columns of the raster cells that points, shape (..., 2), lie in; what is outside gets the border."""
        at = np.rint((points_m - self.origin_m) / self.cell_m).astype(np.int64)
        rows, columns = self.clearance_m.shape
        at = np.minimum(np.maximum(at, 0), (columns - 1, rows - 1))
        return at[..., 1], at[..., 0]

    def clearances_m(self, points_m: FloatArray) -> FloatArray:
        """Distance of points, shape (..., 2), from fixtures and walls: shape (...), metres, good to about a cell."""
        rows, columns = self.cells(points_m)
        return np.asarray(self.clearance_m[rows, columns])

    def pushed_clear(self, points_m: FloatArray, fallback_m: FloatArray, radius_m: float) -> FloatArray:
        """Move points out of fixtures and walls.

        Args:
            points_m: Points, shape (n, 2), metres.
            fallback_m: Where each goes if it cannot be freed, shape (n, 2), metres: where it stood before.
            radius_m: How far from everything they must be.

        Returns:
            The points, shape (n, 2), metres; those that were clear are unchanged.
        """
        rows, columns = self.cells(points_m)
        lacking = radius_m - self.clearance_m[rows, columns]
        if (lacking <= 0).all():
            return points_m
        moved = points_m + self.away[rows, columns] * np.maximum(lacking, 0)[:, None]
        after = self.clearances_m(moved)
        # The field is only as good as its raster: whoever is still inside by more than a cell stays where they were,
        # unless they were worse off there.
        stuck = (after < radius_m - self.cell_m) & (self.clearances_m(fallback_m) >= after)
        return np.where(stuck[:, None], fallback_m, moved)

    def sees(self, start_m: FloatArray, ends_m: FloatArray, radius_m: float = BODY_RADIUS_M) -> BoolArray:
        """Whether one can walk straight from a point, shape (2,), to others, shape (n, 2): shape (n,).

        Both ends may themselves be nearer to a wall than ``radius_m``; the way between may not.
        """
        longest = float(np.sqrt(((ends_m - start_m) ** 2).sum(axis=1).max(initial=0)))
        count = max(2, int(longest / (1.5 * self.cell_m)) + 1)
        share = np.linspace(0, 1, count)[:, None, None]
        points = start_m + share * (ends_m - start_m)
        clear = self.clearances_m(points) >= radius_m - 0.5 * self.cell_m
        clear |= ((points - start_m) ** 2).sum(axis=2) < BODY_RADIUS_M**2
        clear |= ((points - ends_m) ** 2).sum(axis=2) < BODY_RADIUS_M**2
        return np.asarray(clear.all(axis=0))


class Router:
    """Shortest ways over a floor plan. Those used last are kept by where they lead, so that ways repeat cheaply."""

    def __init__(self, plan: FloorPlan) -> None:
        """Lay a grid over the floor, coarse enough to be searched in milliseconds."""
        self._plan = plan
        low, high = plan.walkable_m.min(axis=0), plan.walkable_m.max(axis=0)
        area_m2 = float(np.prod(high - low))
        self._cell_m = float(np.clip(np.sqrt(area_m2 / ROUTE_CELLS), 0.1, 0.25))
        self._cell_m = max(self._cell_m, math.sqrt(area_m2 / MOST_ROUTE_CELLS))
        shape = np.ceil((high - low) / self._cell_m).astype(int) + 1
        self._low, self._shape = low, (int(shape[1]), int(shape[0]))
        rows, columns = np.mgrid[: self._shape[0], : self._shape[1]]
        self._points = np.stack([columns.ravel(), rows.ravel()], axis=1) * self._cell_m + low
        clearance = plan.clearances_m(self._points)
        self._free = clearance >= BODY_RADIUS_M
        if not self._free.any():
            raise ValueError("floor plan: expected room for a person somewhere, found none")
        _, (down, right) = distance_transform_edt(~self._free.reshape(self._shape), return_indices=True)
        self._nearest = down * self._shape[1] + right
        # Along walls and shelves it is a little longer to the feeling: people keep half a metre off where they can.
        cost = np.where(clearance < 0.45, 1.3, 1.0)
        self._graph = self._edges(cost)
        self._fields: dict[int, IntArray] = {}  # the one used last stands last
        self._kept = max(1, KEPT_BYTES // (4 * len(self._points)))

    def _edges(self, cost: FloatArray) -> csr_matrix:
        cells = np.arange(len(self._points)).reshape(self._shape)
        free = self._free.reshape(self._shape)
        starts, ends = [], []
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            a = (slice(0, self._shape[0] - down), slice(max(0, -right), self._shape[1] - max(0, right)))
            b = (slice(down, self._shape[0]), slice(max(0, right), self._shape[1] - max(0, -right)))
            both = free[a] & free[b]
            starts.append(cells[a][both])
            ends.append(cells[b][both])
        start, end = np.concatenate(starts), np.concatenate(ends)
        length = np.linalg.norm(self._points[start] - self._points[end], axis=1) * (cost[start] + cost[end]) / 2
        n = len(self._points)
        return csr_matrix(
            (np.r_[length, length], (np.r_[start, end], np.r_[end, start])),
            shape=(n, n),
        )

    def _cell_near(self, point_m: FloatArray) -> int:
        """The free cell nearest to the cell of a point."""
        column, row = np.rint((point_m - self._low) / self._cell_m).astype(np.int64).tolist()
        rows, columns = self._shape
        return int(self._nearest[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)])

    def route(self, start_m: FloatArray, goal_m: FloatArray) -> FloatArray:
        """Find the way from one point to another around the fixtures.

        Args:
            start_m: Where one stands, shape (2,), metres.
            goal_m: Where one wants to go, shape (2,), metres.

        Returns:
            The corners of the way after the start, shape (k, 2), the last of them the goal. Where there is no way, it
            leads straight there.
        """
        if self._plan.sees(start_m, goal_m[None])[0]:
            return np.asarray(goal_m[None])
        goal, start = self._cell_near(goal_m), self._cell_near(start_m)
        before = self._field(goal)
        way = [start]
        while way[-1] != goal and before[way[-1]] >= 0:
            way.append(int(before[way[-1]]))
        if way[-1] != goal:
            return np.asarray(goal_m[None])
        return self._pulled(start_m, np.vstack([self._points[way], goal_m]))

    def _field(self, goal: int) -> IntArray:
        """The next cell on the way to a goal, for every cell; negative where none leads there."""
        field = self._fields.pop(goal, None)
        if field is None:
            _, found = dijkstra(self._graph, indices=[goal], return_predecessors=True)
            field = np.asarray(found[0], np.int32)
            while len(self._fields) >= self._kept:
                del self._fields[next(iter(self._fields))]
        self._fields[goal] = field
        return field

    def _pulled(self, start_m: FloatArray, way_m: FloatArray) -> FloatArray:
        """Pull a way over cells tight, like a string round the corners."""
        corners, here, first = [], start_m, 0
        while first < len(way_m):
            last = first
            # Looking over the whole rest at once is dear on a long way: look 40 cells ahead at a time.
            while last < len(way_m) - 1:
                ahead = np.arange(last + 1, min(last + 41, len(way_m)))
                seen = self._plan.sees(here, way_m[ahead])
                last = int(ahead[np.flatnonzero(seen)[-1]]) if seen.any() else last
                if not seen[-1]:
                    break
            corners.append(way_m[last])
            here, first = way_m[last], last + 1
        return np.array(corners)


def way_length_m(start_m: FloatArray, way_m: FloatArray) -> float:
    """Length of a way from a start, shape (2,), over its corners, shape (k, 2), metres."""
    return float(np.linalg.norm(np.diff(np.vstack([start_m, way_m]), axis=0), axis=1).sum())


def placed(layout: StoreLayout) -> list[tuple[Plate | Bin, Box]]:
    """Plates and bins that have a place in the world, with their boxes."""
    items: list[Plate | Bin] = [*layout.plates, *layout.bins]
    return [(item, item.box) for item in items if item.box is not None]


def footprints(layout: StoreLayout) -> FloatArray:
    """Footprints of the fixtures: around each gondola's plates and bins, turned as they are.

    Returns:
        Corners, shape (k, 4, 2), metres, anticlockwise.
    """
    groups: dict[object, list[Box]] = {}
    for item, box in placed(layout):
        name = item.bin_id if isinstance(item, Bin) and item.gondola_id is None else item.gondola_id
        groups.setdefault(name, []).append(box)
    outlines = []
    for boxes in groups.values():
        turn = boxes[0].world_from_box[:2, :2]
        corners = np.concatenate([box.corners_m[:, :2] for box in boxes]) @ turn
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
        outlines.append(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) @ turn.T)
    return np.array(outlines).reshape(-1, 4, 2)


def fronts(layout: StoreLayout) -> tuple[FloatArray, FloatArray]:
    """Where one faces the fixtures.

    Returns:
        The middle of the front edge of every plate and bin, shape (n, 2), metres, and the unit vectors from there into
        the fixture, shape (n, 2).
    """
    boxes = [box for _, box in placed(layout)]
    middles = [(box.world_from_box @ [box.size_m[0] / 2, 0, 0, 1])[:2] for box in boxes]
    inward = [box.world_from_box[:2, 1] for box in boxes]
    return np.array(middles).reshape(-1, 2), np.array(inward).reshape(-1, 2)


def with_doors(layout: StoreLayout) -> StoreLayout:
    """Fill in the walkable floor and the doors of a layout that does not say.

    The floor is what lies up to 1.5 m before the fixtures' fronts. The door is the place on its border that is farthest
    from all fronts; entrance and exit are then one door. What the layout says is kept.

    Raises:
        ValueError: Nothing in the layout has a place in the world, or there is no room for a door.
    """
    if layout.walkable_m is None:
        layout = replace(layout, walkable_m=_floor_before(layout))
    if layout.entrance_m is None and layout.exit_m is None:
        door = _farthest_door(layout)
        return replace(layout, entrance_m=door, exit_m=door.copy())
    return replace(
        layout,
        entrance_m=layout.exit_m if layout.entrance_m is None else layout.entrance_m,
        exit_m=layout.entrance_m if layout.exit_m is None else layout.exit_m,
    )


def floor_plan(layout: StoreLayout) -> FloorPlan:
    """Work out where people can stand and walk in a layout; see :func:`with_doors` for what it does not say.

    Raises:
        ValueError: Nothing in the layout has a place in the world, or there is no room for a door.
    """
    layout = with_doors(layout)
    if layout.walkable_m is None or layout.entrance_m is None or layout.exit_m is None:
        raise ValueError(f"layout {layout.name}: expected a floor and doors")
    obstacles = footprints(layout)
    origin, cell_m, clearance = _clearances(layout.walkable_m, obstacles)
    down, right = np.gradient(clearance, cell_m)
    slope = np.stack([right, down], axis=-1)
    steepness = np.linalg.norm(slope, axis=-1, keepdims=True)
    return FloorPlan(
        layout.walkable_m,
        obstacles,
        _door(layout.entrance_m, layout.walkable_m),
        _door(layout.exit_m, layout.walkable_m),
        origin,
        cell_m,
        clearance,
        np.divide(slope, steepness, out=np.zeros_like(slope), where=steepness > 0.2),
    )


def _clearances(walkable: FloatArray, obstacles: FloatArray) -> tuple[FloatArray, float, FloatArray]:
    every = np.vstack([walkable, obstacles.reshape(-1, 2)])
    low, high = every.min(axis=0) - 1.0, every.max(axis=0) + 1.0
    cell_m = float(max(RASTER_M, np.sqrt(np.prod(high - low) / MOST_CELLS)))
    columns, rows = (np.ceil((high - low) / cell_m).astype(int) + 1).tolist()
    free = np.zeros((rows, columns), np.uint8)
    _fill(free, walkable, low, cell_m, 1)
    for outline in obstacles:
        _fill(free, outline, low, cell_m, 0)
    outside, inside = (_distances(mask) for mask in (free, 1 - free))
    # Distances run between middles of cells; the border lies half a cell before the first middle beyond it.
    signed = np.where(free > 0, outside - 0.5, 0.5 - inside) * cell_m
    return low, cell_m, signed.astype(np.float32)


def _distances(mask: IntArray) -> FloatArray:
    """Distance of every cell of a mask, shape (h, w), to the nearest cell that is 0, cells.

    OpenCV's last digits depend on how many threads it may use; squared, distances between cells are whole numbers.
    """
    distances = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
    return np.asarray(np.sqrt(np.rint(distances**2)))


def _fill(raster: FloatArray | IntArray, outline: FloatArray, low: FloatArray, cell_m: float, value: int) -> None:
    shift = 4  # OpenCV takes sixteenths of a cell
    points = np.rint((outline - low) / cell_m * 2**shift).astype(np.int32)
    cv2.fillPoly(raster, [points], value, shift=shift)


def _door(line: FloatArray, walkable: FloatArray) -> Door:
    along = line[1] - line[0]
    across = np.array([-along[1], along[0]]) / np.linalg.norm(along)
    middle = line.mean(axis=0)
    sides = polygon_margins(walkable, np.array([middle + 0.3 * across, middle - 0.3 * across]))
    return Door(line, across if sides[0] >= sides[1] else -across)


def _floor_before(layout: StoreLayout) -> FloatArray:
    boxes = [box for _, box in placed(layout)]
    if not boxes:
        raise ValueError(f"layout {layout.name}: expected bins or plates with a place in the world, got none")
    areas = [
        np.array(
            [
                (box.world_from_box @ [x, y, 0, 1])[:2]
                for x, y in ((0, 0.02), (box.size_m[0], 0.02), (box.size_m[0], -FRONT_DEPTH_M), (0, -FRONT_DEPTH_M))
            ]
        )
        for box in boxes
    ]
    cell_m = 0.02
    every = np.concatenate(areas)
    low = every.min(axis=0) - 1.0
    columns, rows = (np.ceil((every.max(axis=0) + 1.0 - low) / cell_m).astype(int) + 1).tolist()
    if columns * rows > MOST_FLOOR_CELLS:
        raise ValueError(
            f"layout {layout.name}: expected fixtures within a hall, they stand over {columns * cell_m:.0f} m by "
            f"{rows * cell_m:.0f} m: say walkable_m"
        )
    floor = np.zeros((rows, columns), np.uint8)
    for area in areas:
        _fill(floor, area, low, cell_m, 1)
    kernel = np.ones((2 * round(_GAP_M / cell_m / 2) + 1,) * 2, np.uint8)
    floor = cv2.morphologyEx(floor, cv2.MORPH_CLOSE, kernel)
    outlines, _ = cv2.findContours(floor, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if len(outlines) == 1:
        outline = cv2.approxPolyDP(outlines[0], 2.0, True)
    else:
        # Fixtures that look away from each other: the floor is the whole room around them.
        outline = cv2.convexHull(np.concatenate(outlines))
    return np.asarray(outline[:, 0] * cell_m + low, float)


def _farthest_door(layout: StoreLayout) -> FloatArray:
    walkable = layout.walkable_m
    middles, _ = fronts(layout)
    if walkable is None or not len(middles):
        raise ValueError(f"layout {layout.name}: expected bins or plates with a place in the world, got none")
    obstacles = footprints(layout)
    best: tuple[tuple[float, float], FloatArray] | None = None
    for start, end in zip(walkable, np.roll(walkable, -1, axis=0), strict=True):
        length = float(np.linalg.norm(end - start))
        if length < DOOR_M:
            continue
        along = (end - start) / length
        across = np.array([-along[1], along[0]])
        at = np.linspace(DOOR_M / 2, length - DOOR_M / 2, min(MOST_DOOR_PLACES, int((length - DOOR_M) / 0.05) + 1))
        centres = start + at[:, None] * along
        nearest = np.linalg.norm(centres[:, None] - middles, axis=2)
        for centre, far in zip(centres, nearest, strict=True):
            probes = np.concatenate([centre + side * across * d for side in (1, -1) for d in (0.5, 1.0)]).reshape(-1, 2)
            if any((polygon_margins(outline, probes) > -BODY_RADIUS_M).any() for outline in obstacles):
                continue
            # A decimetre more or less is no difference to people; among such places the one far from everything.
            score = (round(float(far.min()), 1), float(far.mean()))
            if best is None or score > best[0]:
                best = score, np.array([centre - along * DOOR_M / 2, centre + along * DOOR_M / 2])
    if best is None:
        raise ValueError(f"layout {layout.name}: there is no room for a door of {DOOR_M} m in the border of the floor")
    return best[1]


def places_before(
    plan: FloorPlan, target_m: FloatArray, inward: FloatArray, depth_m: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Where one can stand to reach something on a shelf.

    Args:
        plan: The floor.
        target_m: What the hand goes to, shape (2,), metres.
        inward: The way into the shelf, a unit vector, shape (2,).
        depth_m: How deep in the shelf it is.

    Returns:
        Places, shape (n, 2), metres, with how far each lies to the right of the target as one faces the shelf, shape
        (n,), and how awkward it is, shape (n,), about metres that one would walk to avoid it. None at all where there
        is no room; where nothing near enough is free, the farther ones that are.
    """
    along = np.array([inward[1], -inward[0]])
    aside, before = (np.array(grid).ravel() for grid in np.meshgrid(ASIDE_M, STANDING_M))
    spots = target_m - inward * depth_m + aside[:, None] * along - before[:, None] * inward
    free = plan.clearances_m(spots) >= BODY_RADIUS_M + 0.01
    fits = free & (np.linalg.norm(spots - target_m, axis=1) <= FARTHEST_M)
    kept = fits if fits.any() else free & (before > 0.7)
    farther = np.maximum(before - STANDING_M[0], 0)
    return spots[kept], aside[kept], (np.abs(aside) + 1.5 * farther)[kept]
