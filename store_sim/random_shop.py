"""Random shops: believable floor plans with shelves, plates, products and ceiling cameras, as many as one likes."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from store_sim.goods import look_of
from store_sim.random_range import SORTS, InventedProduct, random_range
from vision.arrays import BoolArray, FloatArray
from vision.cameras import Camera, looking_at
from vision.layout import Bin, Box, Plate, StoreLayout, Surface, SurfaceKind, upright_box

GONDOLAS, PRODUCTS = (3, 60), (20, 2000)
"""Least and most of what a random shop is made for."""

AISLES_M = (1.3, 1.9)  # two shoppers pass each other in 1.2 m; convenience shops have little more
FRONT_ZONE_M = 2.4  # between the doors and the first island
CORNER_M = 0.8  # no side gondola stands nearer to the back gondolas than somebody needs who stands before those
PLATE_WIDTHS_M = (0.1016, 0.125, 0.15, 0.2, 0.25)  # the first is the published store's: 4 inches
SHELF_LENGTHS_M = (0.9, 1.33)  # usual lengths of a gondola's bay
DEPTHS_M = (0.37, 0.47)  # usual depths of a shelf
SHELF_THICKNESS_M = 0.035
BACK_PANEL_M = 0.05  # between two gondolas back to back
WALL_SHELVES, ISLAND_SHELVES = (4, 6), (3, 5)
LOWEST_M = (0.15, 0.28)  # plate of the lowest shelf above the floor
WALL_TOPS_M, ISLAND_TOPS_M = (1.4, 1.65), (1.05, 1.3)  # plate of the uppermost: adults look over islands
TOP_ROOM_M = 0.36  # space that belongs to an uppermost shelf, as high as the highest packs
FINGERS_M = 0.02  # between a pack and the shelf above, and beside it
MOST_PLATES = 4
PLATES_A_PRODUCT = 1.7  # in a shop that is full
SHARED_SHARE = 0.03  # of narrow products that share one plate with the next, where two fit
WALL_GAP_M = 0.05

DOOR_WIDTHS_M = (1.1, 1.8)
DOORSTEP_M = 1.0  # how far outside of the doors people are still seen
DOOR_HEIGHT_M = 2.1

CAMERA_HEIGHTS_M = (2.4, 3.2)
RESOLUTION_WH = (640, 360)
FOCALS_PX = (320.0, 400.0)  # 90 to 77 degrees across; the published store's clips have 86
SEEN_FROM_M = 6.0  # from farther off an item in a hand is a few pixels wide
VIEWS_WANTED = 2
APART_M = 1.5  # cameras nearer to each other than this are hung only where that gains much
EDGE_PX = 8  # what lies nearer to the picture's edge does not count as seen
FLATTEST_SINE = 0.12  # a front seen at a flatter angle, about 7 degrees, shows nothing of what is in it


def random_layout(
    rng: np.random.Generator,
    *,
    gondolas: int | None = None,
    products: int | None = None,
    cameras: bool = True,
    with_scales: bool = True,
    unsensed_share: float = 0.0,
    surfaces: bool = True,
) -> StoreLayout:
    """Build a shop: gondolas along the walls and islands back to back, shelves full of products, cameras overhead.

    Products of one sort stand together. A shop with more room than products gives them several places; one with less
    room keeps the rest in its range without a place. Cameras look at
    the doors, and at every bin from two sides, as far as there is a place from where it can be seen.

    Args:
        rng: Decides everything: equal generators give equal shops.
        gondolas: How many, 3 to 60; drawn if left out, small shops more often.
        products: How many the shop sells, 20 to 2,000; drawn if left out, to fit the shelves.
        cameras: Whether there are any.
        with_scales: Whether there is a load cell under every plate.
        unsensed_share: Share of the gondolas that have no scales all the same.
        surfaces: Whether there are a glass front, doors and sometimes a mirror.

    Raises:
        ValueError: A number is out of its range.
    """
    if gondolas is None:
        gondolas = round(float(np.exp(rng.uniform(np.log(GONDOLAS[0]), np.log(GONDOLAS[1])))))
    _check_between("gondolas", gondolas, *GONDOLAS)
    _check_between("products", PRODUCTS[0] if products is None else products, *PRODUCTS)
    _check_between("unsensed_share", unsensed_share, 0, 1)
    room = _room(rng, gondolas, products or 0)
    if products is None:
        places = sum(len(fixture.heights_m) for fixture in room.fixtures) * room.plates_a_shelf
        products = int(np.clip(round(places * rng.uniform(0.3, 0.6)), *PRODUCTS))
    invented = random_range(rng, products)
    unsensed = rng.random(gondolas) < unsensed_share if with_scales else np.ones(gondolas, bool)
    plates, bins = _stocked(rng, room, invented, unsensed)
    return StoreLayout(
        name=f"random shop, {gondolas} gondolas, {products} products",
        bins=tuple(bins),
        plates=tuple(plates),
        products=tuple(product.record for product in invented),
        walkable_m=room.walkable_m,
        entrance_m=room.entrance_m,
        exit_m=room.exit_m,
        surfaces=tuple(_surfaces(rng, room)) if surfaces else (),
        cameras=tuple(_cameras(rng, room, bins)) if cameras else (),
    )


def _check_between(what: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"random_layout: {what}: expected {least} to {most}, got {value}")


@dataclass(frozen=True, slots=True)
class _Fixture:
    """A gondola: its front left lower corner, as somebody sees it who faces it, how it is turned, and its shelves.

    Attributes:
        corner_m: Shape (2,), metres.
        yaw_deg: Of its length from the world's x axis; whole quarter turns.
        heights_m: Of its plates above the floor, from below.
        rooms_m: Free height over each.
    """

    corner_m: FloatArray
    yaw_deg: float
    heights_m: tuple[float, ...]
    rooms_m: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Room:
    """The building and what stands in it.

    Attributes:
        size_m: Width (x) and depth (y), shape (2,); the front with the doors is y = 0.
        fixtures: The gondolas.
        plate_m: Width of a plate.
        plates_a_shelf: How many.
        depth_m: Of the shelves.
        walkable_m: Outline of the floor, shape (n, 2), metres.
        entrance_m: Shape (2, 2).
        exit_m: Shape (2, 2).
        bare_walls: Walls without gondolas: ``left``, ``right``, ``back``.
    """

    size_m: FloatArray
    fixtures: tuple[_Fixture, ...]
    plate_m: float
    plates_a_shelf: int
    depth_m: float
    walkable_m: FloatArray
    entrance_m: FloatArray
    exit_m: FloatArray
    bare_walls: tuple[str, ...]

    @property
    def length_m(self) -> float:
        """Length of a gondola."""
        return self.plate_m * self.plates_a_shelf


def _room(rng: np.random.Generator, gondolas: int, products: int) -> _Room:
    shelf_m = float(rng.uniform(*SHELF_LENGTHS_M))
    # A wide range needs narrow plates: most packs take one or two of them.
    fitting = [w for w in PLATE_WIDTHS_M if gondolas * WALL_SHELVES[0] * int(shelf_m / w) > PLATES_A_PRODUCT * products]
    plate_m = float(rng.choice(fitting or PLATE_WIDTHS_M[:1]))
    plates_a_shelf = round(shelf_m / plate_m)
    length_m = plate_m * plates_a_shelf
    depth_m = round(float(rng.uniform(*DEPTHS_M)), 2)
    aisle_m = round(float(rng.uniform(*AISLES_M)), 2)
    # Walls grow with the square root of the floor, so large shops are mostly islands.
    inner = float(np.clip(rng.uniform(0.4, 0.55) + 0.12 * math.log(gondolas / 8), 0, 0.8))
    pairs = 0 if gondolas < 5 else round(gondolas * inner / 2)
    rows, in_a_row = _island_rows(rng, pairs)
    width_m = max(2 * depth_m + 2 * aisle_m + in_a_row * length_m, 4.2)
    block_m = 2 * depth_m + BACK_PANEL_M
    room_m = max(FRONT_ZONE_M + rows * (block_m + aisle_m) + depth_m, FRONT_ZONE_M + length_m + CORNER_M)
    along_walls = gondolas - 2 * pairs
    while True:
        on_side = int((room_m - FRONT_ZONE_M * 0.6 - depth_m - CORNER_M) / length_m)
        on_back = int((width_m - 2 * depth_m - 2 * CORNER_M) / length_m)
        if 2 * on_side + on_back >= along_walls:
            break
        if width_m < room_m:
            width_m += 0.5
        else:
            room_m += 0.5
    width_m, room_m = round(width_m, 2), round(room_m, 2)
    side_shelves = _shelf_heights(rng, WALL_SHELVES, WALL_TOPS_M)
    island_shelves = _shelf_heights(rng, ISLAND_SHELVES, ISLAND_TOPS_M)
    # Wall gondolas: fill the back first, then the sides from the back to the front.
    slots: list[tuple[str, int]] = [("back", k) for k in range(on_back)]
    slots += [(side, k) for k in range(on_side) for side in ("left", "right")]
    used = slots[:along_walls] if rng.random() < 0.5 else [slots[k] for k in _some(rng, len(slots), along_walls)]
    fixtures = []
    first_back_m = (width_m - on_back * length_m) / 2
    last_side_m = room_m - depth_m - CORNER_M
    for wall, k in used:
        if wall == "back":
            corner, yaw_deg = (first_back_m + k * length_m, room_m - depth_m), 0.0
        elif wall == "left":
            corner, yaw_deg = (depth_m, last_side_m - (k + 1) * length_m), 90.0
        else:
            corner, yaw_deg = (width_m - depth_m, last_side_m - k * length_m), -90.0
        fixtures.append(_Fixture(np.array(corner), yaw_deg, *side_shelves))
    left_m = (width_m - in_a_row * length_m) / 2
    # Where the walls made the room deeper than the islands need, the aisles are wider.
    aisle_m = (room_m - depth_m - FRONT_ZONE_M - rows * block_m) / max(1, rows)
    for pair in range(pairs):
        row, place = divmod(pair, in_a_row)
        y = round(FRONT_ZONE_M + row * (block_m + aisle_m), 2)
        x = left_m + place * length_m
        fixtures.append(_Fixture(np.array([x, y]), 0.0, *island_shelves))
        fixtures.append(_Fixture(np.array([x + length_m, y + block_m]), 180.0, *island_shelves))
    entrance_m, exit_m = _doors(rng, width_m)
    walls = {wall for wall, _ in used}
    low = np.array([depth_m if "left" in walls else WALL_GAP_M, WALL_GAP_M])
    high = np.array([width_m, room_m]) - [depth_m if "right" in walls else WALL_GAP_M, WALL_GAP_M]
    high[1] = room_m - (depth_m if "back" in walls else WALL_GAP_M)
    return _Room(
        np.array([width_m, room_m]),
        tuple(fixtures),
        plate_m,
        plates_a_shelf,
        depth_m,
        _floor(low, high, [entrance_m, exit_m]),
        entrance_m,
        exit_m,
        tuple(wall for wall in ("left", "right", "back") if wall not in walls),
    )


def _some(rng: np.random.Generator, count: int, wanted: int) -> list[int]:
    return sorted(rng.choice(count, wanted, replace=False).tolist())


def _island_rows(rng: np.random.Generator, pairs: int) -> tuple[int, int]:
    """How many rows of islands, and how many pairs of gondolas in a row."""
    if not pairs:
        return 0, 0
    in_a_row = int(np.clip(round(math.sqrt(pairs) * float(rng.uniform(0.8, 1.6))), 1, 8))
    return math.ceil(pairs / in_a_row), in_a_row


def _shelf_heights(
    rng: np.random.Generator, counts: tuple[int, int], tops_m: tuple[float, float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Heights of plates from below, and the room above each."""
    count = int(rng.integers(counts[0], counts[1] + 1))
    heights = np.round(np.linspace(rng.uniform(*LOWEST_M), rng.uniform(*tops_m), count), 3)
    rooms = np.round(np.append(np.diff(heights) - SHELF_THICKNESS_M, TOP_ROOM_M), 3)
    return tuple(heights.tolist()), tuple(rooms.tolist())


def _doors(rng: np.random.Generator, width_m: float) -> tuple[FloatArray, FloatArray]:
    """Lines of entrance and exit on the front; now and then it is one door for both."""
    wide = [round(float(rng.uniform(*DOOR_WIDTHS_M)), 2) for _ in range(2)]
    margin_m = 0.6
    if rng.random() < 0.15:
        left = float(rng.uniform(margin_m, width_m - margin_m - wide[0]))
        line = np.round(np.array([[left, 0.0], [left + wide[0], 0.0]]), 2)
        return line, line.copy()
    wide = [min(w, (width_m - 2 * margin_m - 0.6) / 2) for w in wide]
    first = float(rng.uniform(margin_m, width_m / 2 - 0.3 - wide[0]))
    second = float(rng.uniform(width_m / 2 + 0.3, width_m - margin_m - wide[1]))
    lines = [np.round(np.array([[x, 0.0], [x + w, 0.0]]), 2) for x, w in zip((first, second), wide, strict=True)]
    return (lines[0], lines[1]) if rng.random() < 0.5 else (lines[1], lines[0])


def _floor(low: FloatArray, high: FloatArray, doors: Sequence[FloatArray]) -> FloatArray:
    """Outline of the floor, anticlockwise: a rectangle with a doorstep before each door."""
    corners = [[low[0], low[1]]]
    for left, right in sorted({(float(door[0, 0]), float(door[1, 0])) for door in doors}):
        corners += [[left, low[1]], [left, -DOORSTEP_M], [right, -DOORSTEP_M], [right, low[1]]]
    corners += [[high[0], low[1]], [high[0], high[1]], [low[0], high[1]]]
    return np.round(np.array(corners), 3)


def _stocked(
    rng: np.random.Generator, room: _Room, invented: Sequence[InventedProduct], unsensed: BoolArray
) -> tuple[list[Plate], list[Bin]]:
    """Put plates on the shelves and products on the plates, sort by sort."""
    queue = _Queue(rng, room, invented)
    plates: list[Plate] = []
    bins: list[Bin] = []
    for gondola_id, fixture in enumerate(room.fixtures, start=1):
        for shelf_id, height_m in enumerate(fixture.heights_m, start=1):
            free_m = fixture.rooms_m[shelf_id - 1]

            def space(
                first: float, last: float, fixture: _Fixture = fixture, z: float = height_m, high: float = free_m
            ) -> Box:
                """The space on a run of plates, counted from 0; halves of plates too."""
                forward = upright_box(np.zeros(3), fixture.yaw_deg, np.ones(3)).world_from_box[:2, 0]
                corner = np.round(np.append(fixture.corner_m + first * room.plate_m * forward, z), 4)
                return upright_box(
                    corner, fixture.yaw_deg, np.round([(last - first) * room.plate_m, room.depth_m, high], 4)
                )

            own = [
                Plate(f"{gondola_id}/{shelf_id}/{k + 1}", gondola_id, shelf_id, k + 1, space(k, k + 1))
                for k in range(room.plates_a_shelf)
            ]
            first = 0
            while first < len(own):
                skus, count = queue.next_of(len(own) - first, free_m)
                run = own[first : first + count]
                name = run[0].plate_id if count == 1 else f"{run[0].plate_id}-{run[-1].number}"
                width = count / len(skus)
                for k, sku in enumerate(skus):
                    bins.append(
                        Bin(
                            bin_id=name + "bc"[k - 1] * (k > 0),
                            sku=sku,
                            gondola_id=gondola_id,
                            shelf_id=shelf_id,
                            plate_ids=() if unsensed[gondola_id - 1] else tuple(plate.plate_id for plate in run),
                            box=space(first + k * width, first + (k + 1) * width),
                        )
                    )
                first += count
            plates += [] if unsensed[gondola_id - 1] else own
    return plates, bins


class _Queue:
    """Products that wait for a place, sort by sort; when all have one, they come again in any order."""

    def __init__(self, rng: np.random.Generator, room: _Room, invented: Sequence[InventedProduct]) -> None:
        self._rng = rng
        self._plate_m = room.plate_m
        sizes: dict[str, list[float]] = {
            product.record.sku: look_of(product.record).size_m.tolist() for product in invented
        }
        self._widths_m = {sku: size_m[0] for sku, size_m in sizes.items()}
        self._heights_m = {sku: size_m[2] + FINGERS_M for sku, size_m in sizes.items()}
        self._needed = {
            sku: min(max(math.ceil((width_m + FINGERS_M) / room.plate_m), 1), MOST_PLATES)
            for sku, width_m in self._widths_m.items()
        }
        shelves = sum(len(fixture.heights_m) for fixture in room.fixtures)
        # Where there is room, products get more plates than they need.
        self._slack = shelves * room.plates_a_shelf / sum(self._needed.values())
        sorts = [SORTS[k] for k in rng.permutation(len(SORTS))]
        self._waiting = [product.record.sku for sort in sorts for product in invented if product.sort == sort]
        self._again: list[str] = []

    def next_of(self, plates: int, height_m: float) -> tuple[list[str | None], int]:
        """Say what comes next on a shelf.

        Args:
            plates: How many of its plates are free.
            height_m: How high packs may be.

        Returns:
            One product, or two side by side, or None for a place without one; and how many plates they get.
        """

        def fits(sku: str) -> bool:
            return self._needed[sku] <= plates and self._heights_m[sku] <= height_m

        chosen = self._first(fits)
        if chosen is None:
            return [None], min(plates, MOST_PLATES)
        count = self._needed[chosen]
        while count < min(plates, MOST_PLATES) and self._rng.random() > 1 / self._slack:
            count += 1
        half_m = self._plate_m / 2 - FINGERS_M / 2
        if count == 1 and self._widths_m[chosen] <= half_m and self._rng.random() < SHARED_SHARE:
            other = self._first(lambda sku: fits(sku) and self._widths_m[sku] <= half_m and sku != chosen)
            if other is not None:
                return [chosen, other], 1
        return [chosen], count

    def _first(self, fits: Callable[[str], bool]) -> str | None:
        """Take the first that fits, of those that wait or else of those that have a place already."""
        for waiting in (self._waiting, self._again):
            if waiting is self._again and not any(fits(sku) for sku in waiting):
                everything = list(self._widths_m)
                self._again[:] = [everything[k] for k in self._rng.permutation(len(everything))]
            for place, sku in enumerate(waiting):
                if fits(sku):
                    return waiting.pop(place)
        return None


def _surfaces(rng: np.random.Generator, room: _Room) -> Iterator[Surface]:
    """The front with its doors, of glass or not, and sometimes a mirror on a wall that has no gondolas."""
    width_m, room_m = room.size_m.tolist()
    ceiling_m = 2.6
    kind: SurfaceKind = "glass" if rng.random() < 0.7 else "wall"

    def pane(what: SurfaceKind, start: tuple[float, float], end: tuple[float, float], high_m: float) -> Surface:
        return Surface(what, np.array([[*start, 0.0], [*end, 0.0], [*end, high_m], [*start, high_m]]))

    reached_m = 0.0
    doors = sorted({(float(line[0, 0]), float(line[1, 0])) for line in (room.entrance_m, room.exit_m)})
    for left, right in doors:
        if left - reached_m > 0.1:
            yield pane(kind, (reached_m, 0.0), (left, 0.0), ceiling_m)
        yield pane("door", (left, 0.0), (right, 0.0), DOOR_HEIGHT_M)
        reached_m = right
    if width_m - reached_m > 0.1:
        yield pane(kind, (reached_m, 0.0), (width_m, 0.0), ceiling_m)
    if room.bare_walls and rng.random() < 0.3:
        wall = str(rng.choice(room.bare_walls))
        first, last = (0.3 * room_m, 0.7 * room_m) if wall != "back" else (0.3 * width_m, 0.7 * width_m)
        if wall == "back":
            yield pane("mirror", (first, room_m), (last, room_m), 2.2)
        else:
            x = 0.0 if wall == "left" else width_m
            yield pane("mirror", (x, first), (x, last), 2.2)


def _cameras(rng: np.random.Generator, room: _Room, bins: Sequence[Bin]) -> list[Camera]:
    """Hang cameras until every bin's front is seen by two, as far as there is a place from where it can be seen.

    Places are tried before every gondola; the one that shows most of what still lacks a view is taken, again and again
    (the greedy answer to set cover).
    """
    height_m = round(float(rng.uniform(*CAMERA_HEIGHTS_M)), 2)
    focal_px = round(float(rng.uniform(*FOCALS_PX)), 1)
    distortion = np.array([round(float(rng.uniform(-0.1, -0.02)), 3), round(float(rng.uniform(0, 0.02)), 3), 0, 0, 0])
    intrinsics = np.array([[focal_px, 0, RESOLUTION_WH[0] / 2], [0, focal_px, RESOLUTION_WH[1] / 2], [0, 0, 1.0]])
    boxes = [a_bin.box for a_bin in bins if a_bin.box is not None]
    fronts = np.array([(box.world_from_box @ [box.size_m[0] / 2, 0, 0.4 * box.size_m[2], 1])[:3] for box in boxes])
    outward = np.array([-box.world_from_box[:3, 1] for box in boxes])
    solids = _solids(room)
    candidates = []
    for fixture in room.fixtures:
        turned = upright_box(np.zeros(3), fixture.yaw_deg, np.ones(3)).world_from_box[:2, :2]
        middle = fixture.corner_m + turned[:, 0] * room.length_m / 2
        for off_m in (0.6, 1.1, 1.7):
            for along_m in (-1.4, -0.6, 0.6, 1.4):
                place = middle - turned[:, 1] * off_m + turned[:, 0] * along_m
                if (place < 0.15).any() or (place > room.size_m - 0.15).any():
                    continue
                position = np.round(np.append(place + rng.uniform(-0.1, 0.1, 2), height_m), 2)
                aim = np.append(middle + turned[:, 0] * along_m * -0.25, 0.7)
                candidates.append(Camera("", intrinsics, distortion, looking_at(position, aim), RESOLUTION_WH))
    first_of_doors = len(candidates)
    for middle_m in sorted({float(line[:, 0].mean()) for line in (room.entrance_m, room.exit_m)}):
        position = np.round([middle_m, min(2.2, float(room.size_m[1]) / 2), height_m], 2)
        pose = looking_at(position, np.array([middle_m, 0.0, 0.6]))
        candidates.append(Camera("", intrinsics, distortion, pose, RESOLUTION_WH))
    seen = np.array([_sees(camera, fronts, outward, solids) for camera in candidates])
    places = np.array([camera.position_m for camera in candidates])
    wanted = np.minimum(VIEWS_WANTED, seen.sum(axis=0))
    weight = np.ones(len(candidates))
    chosen: list[int] = []
    to_place = list(range(first_of_doors, len(candidates)))  # the doors are always looked at
    while to_place or (wanted > 0).any():
        best = to_place.pop() if to_place else int(np.argmax((seen & (wanted > 0)).sum(axis=1) * weight))
        chosen.append(best)
        wanted = np.maximum(wanted - seen[best], 0)
        weight[np.linalg.norm(places - places[best], axis=1) < APART_M] *= 0.4
        weight[best] = 0
    return [replace(candidates[row], camera_id=f"cam{number}") for number, row in enumerate(chosen, start=1)]


def _solids(room: _Room) -> FloatArray:
    """Opposite corners of the gondolas as boxes along the world's axes, shape (k, 2, 3), metres."""
    solids = []
    for fixture in room.fixtures:
        size_m = np.array([room.length_m, room.depth_m, fixture.heights_m[-1] + 0.2])
        corners = upright_box(np.append(fixture.corner_m, 0.0), fixture.yaw_deg, size_m).corners_m
        solids.append([corners.min(axis=0), corners.max(axis=0)])
    return np.array(solids)


def _sees(camera: Camera, fronts: FloatArray, outward: FloatArray, solids: FloatArray) -> BoolArray:
    """Which fronts, shape (n, 3), a camera has in its picture, near and not behind a gondola: shape (n,)."""
    position = camera.position_m
    away = position - fronts
    distance = np.linalg.norm(away, axis=1)
    seen = (distance < SEEN_FROM_M) & ((away * outward).sum(axis=1) > FLATTEST_SINE * distance)
    rows = np.flatnonzero(seen)
    pixels = camera.image_points(fronts[rows])
    with np.errstate(invalid="ignore"):
        inside = (pixels > EDGE_PX).all(axis=1) & (pixels < np.array(camera.resolution_wh) - EDGE_PX).all(axis=1)
    rows = rows[inside]
    # A little before the front, so that the gondola itself does not hide it.
    starts = fronts[rows] + 0.02 * outward[rows]
    step = position - starts
    step[step == 0] = 1e-12  # along an axis: keeps 0 / 0 out
    first = (solids[None, :, 0] - starts[:, None]) / step[:, None]
    second = (solids[None, :, 1] - starts[:, None]) / step[:, None]
    enters = np.minimum(first, second).max(axis=2)
    leaves = np.maximum(first, second).min(axis=2)
    hidden = ((enters < leaves) & (leaves > 0) & (enters < 1)).any(axis=1)
    found = np.zeros(len(fronts), bool)
    found[rows[~hidden]] = True
    return found
