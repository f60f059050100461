"""The shop around the goods, from its layout alone: floor, walls, doors, lamps, gondolas, and how all this is lit."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from store_sim.goods import Look
from store_sim.meshes import Mesh, Textures, block, box_sides, disc, joined, panel, pillow, turned_solid
from vision.arrays import FloatArray, ImageArray
from vision.layout import Box, StoreLayout, Surface

WALL_M = 2.6  # ordinary height of a shop's room, where no camera hangs higher
DOOR_M = 2.1  # clear height of doors, as in building codes
AROUND_M = 1.5  # floor kept around gondolas where the layout does not say what is walkable
DOORSTEP_M = 1.5  # walkable floor that is outside of a door reaches no farther
OUTSIDE_M = 3.0  # how far the world goes on behind doors and glass
BOARD_M = 0.025  # shelf boards of common gondolas are 2 to 3 cm thick, their price rails 3.5 to 4 cm high
RAIL_M = 0.038
LAMP_GRID_M = 2.4  # 60 cm lamp panels in every fourth ceiling tile
EXPOSURE = 1.15  # cameras expose for people and goods, and let floors and lamps burn out
BASKET_HEIGHT_M = 0.56  # bottom of a common trolley's basket
AMBIENT = 0.62  # share of light that comes from walls and ceiling rather than straight from lamps


@dataclass(frozen=True, slots=True)
class Shelf:
    """A board that goods stand on, in the frame of its gondola.

    Attributes:
        low_m: Left, front and top of the board, shape (3,).
        high_m: Right, back, and as high as goods may reach, shape (3,).
        covered: Whether another board is above it.
    """

    low_m: FloatArray
    high_m: FloatArray
    covered: bool


@dataclass(frozen=True, slots=True)
class Gondola:
    """A gondola as its bins and plates tell.

    Attributes:
        number: The layout's number; None for bins that belong to no gondola.
        world_from_gondola: Rigid transform, shape (4, 4); x along the shelves, y into them, z up, origin on the floor.
        low_m: Least corner of all its shelves on its own axes, shape (3,).
        high_m: Greatest corner, shape (3,).
        shelves: From below.
    """

    number: int | None
    world_from_gondola: FloatArray
    low_m: FloatArray
    high_m: FloatArray
    shelves: tuple[Shelf, ...]

    def local_points(self, points_m: FloatArray) -> FloatArray:
        """Express world points, shape (n, 3), on its own axes."""
        return np.asarray((points_m - self.world_from_gondola[:3, 3]) @ self.world_from_gondola[:3, :3])

    def footprint_distances_m(self, points_m: FloatArray) -> FloatArray:
        """Level distance of world points, shape (n, 3), from where it stands: shape (n,), 0 inside."""
        local = self.local_points(points_m)[:, :2]
        return np.asarray(np.linalg.norm(local - np.clip(local, self.low_m[:2], self.high_m[:2]), axis=1))

    def shade(self, points_m: FloatArray) -> FloatArray:
        """How much of the light reaches points between its shelves: shape (n,) for (n, 3), 1 outside of them.

        Seen from deep inside a shelf, boards above and below leave only the front open; half of the light is left at
        the back of a shelf that is as high as deep.
        """
        local = self.local_points(points_m)
        shade = np.ones(len(local))
        for shelf in self.shelves:
            depth = np.clip((local[:, 1] - shelf.low_m[1]) / (shelf.high_m[1] - shelf.low_m[1]), 0, 1)
            up = (local[:, 2] - shelf.low_m[2]) / (shelf.high_m[2] - shelf.low_m[2])
            within = (up >= -0.15) & (up <= 1.0) & (depth > 0) & (local[:, 1] <= shelf.high_m[1] + 0.006)
            within &= (local[:, 0] >= shelf.low_m[0] - 0.002) & (local[:, 0] <= shelf.high_m[0] + 0.002)
            lost = 0.22 + 0.42 * depth + 0.14 * np.clip(up, 0, 1) if shelf.covered else 0.22 * depth
            shade = np.where(within, np.minimum(shade, 1 - lost), shade)
        return shade


def gondolas_of(layout: StoreLayout) -> tuple[Gondola, ...]:
    """Find gondolas and their shelves from the boxes of plates and bins, in order of their numbers."""
    boxes: dict[int | None, dict[int | None, list[Box]]] = defaultdict(lambda: defaultdict(list))
    for plate in layout.plates:
        boxes[plate.gondola_id][plate.shelf_id].append(plate.box)
    for a_bin in layout.bins:
        if a_bin.box is not None and not a_bin.plate_ids:
            boxes[a_bin.gondola_id][a_bin.shelf_id].append(a_bin.box)
    numbers = sorted(boxes, key=lambda number: (number is None, number or 0))
    return tuple(_gondola(number, boxes[number]) for number in numbers)


def _gondola(number: int | None, shelves: dict[int | None, list[Box]]) -> Gondola:
    first = next(box for on_shelf in shelves.values() for box in on_shelf)
    world_from_gondola = np.eye(4)
    along = first.world_from_box[:2, 0] / max(float(np.linalg.norm(first.world_from_box[:2, 0])), 1e-9)
    world_from_gondola[:2, 0] = along
    world_from_gondola[:2, 1] = [-along[1], along[0]]
    world_from_gondola[:2, 3] = first.world_from_box[:2, 3]
    rotation, origin = world_from_gondola[:3, :3], world_from_gondola[:3, 3]
    spans = []
    for on_shelf in shelves.values():
        corners = (np.concatenate([box.corners_m for box in on_shelf]) - origin) @ rotation
        spans.append((corners.min(0), corners.max(0)))
    spans.sort(key=lambda span: float(span[0][2]))
    found = [
        Shelf(low, high, covered=any(above[0][2] > low[2] + 0.05 for above in spans[i + 1 :]))
        for i, (low, high) in enumerate(spans)
    ]
    low = np.min([span[0] for span in spans], axis=0)
    high = np.max([span[1] for span in spans], axis=0)
    return Gondola(number, world_from_gondola, low, high, tuple(found))


@dataclass(frozen=True, slots=True)
class Room:
    """The room of a shop.

    Attributes:
        low_m: Least corner, shape (3,); the floor is z = 0.
        high_m: Greatest corner, shape (3,).
        lamps_m: Where lamps are on the ceiling, shape (n, 3).
    """

    low_m: FloatArray
    high_m: FloatArray
    lamps_m: FloatArray


def room_of(layout: StoreLayout, gondolas: Sequence[Gondola]) -> Room:
    """Find the walls around what is walkable, all gondolas and all cameras."""
    points = [camera.position_m[:2][None] for camera in layout.cameras if camera.position_m[2] > 1.0]
    for gondola in gondolas:
        corners = np.array([[x, y, 0] for x in (0, 1) for y in (0, 1)]) * (gondola.high_m - gondola.low_m)
        corners = (corners + gondola.low_m) @ gondola.world_from_gondola[:3, :3].T + gondola.world_from_gondola[:3, 3]
        points.append(corners[:, :2])
        if layout.walkable_m is None:
            points.append(corners[:, :2] + AROUND_M)
            points.append(corners[:, :2] - AROUND_M)
    if layout.walkable_m is not None:
        points.append(_without_doorsteps(layout.walkable_m, _door_lines(layout)))
    if not points:
        points.append(np.array([[0.0, 0.0], [4.0, 4.0]]))
    every = np.concatenate(points)
    heights = [camera.position_m[2] + 0.12 for camera in layout.cameras]
    top = max([WALL_M, *heights, *(gondola.high_m[2] + 0.2 for gondola in gondolas)])
    low, high = np.array([*(every.min(0) - 0.06), 0.0]), np.array([*(every.max(0) + 0.06), top])
    counts = np.maximum(1, np.rint((high - low)[:2] / LAMP_GRID_M)).astype(int)
    x, y = (low[i] + (np.arange(counts[i]) + 0.5) / counts[i] * (high - low)[i] for i in range(2))
    grid = np.array([[a, b, top] for a in x for b in y])
    return Room(low, high, grid)


def _door_lines(layout: StoreLayout) -> list[FloatArray]:
    return [line for line in (layout.entrance_m, layout.exit_m) if line is not None]


def _without_doorsteps(walkable_m: FloatArray, lines: Sequence[FloatArray]) -> FloatArray:
    """Corners of what is walkable within the room, shape (n, 2), and the ends of the lines that people come in over."""
    corners = walkable_m
    for line in lines:
        way = line[1] - line[0]
        inwards = np.array([-way[1], way[0]]) / np.linalg.norm(way)
        before = (corners - line[0]) @ inwards
        if before.sum() < 0:
            before = -before
        # People are seen a step or two before a door; where there is more, the line runs through the room.
        if before.min() > -DOORSTEP_M:
            corners = np.concatenate([corners[before > -0.01], line])
    return corners


def lit(mesh: Mesh, room: Room, shade: FloatArray | float = 1.0) -> Mesh:
    """Light a mesh by the lamps of a room: Lambert's cosine law at both ends, the inverse square, and ambient light."""
    normals = mesh.normals
    received = np.zeros(len(mesh.points_m))
    for lamp in room.lamps_m:
        away = lamp - mesh.points_m
        square = np.maximum((away**2).sum(1), 0.3)
        facing = np.clip((away * normals).sum(1), 0, None) * np.clip(away[:, 2], 0, None)
        received += facing / square**2
    # The same sum for a level surface a metre above the middle of the floor is what 1 means.
    middle = np.array([*((room.low_m + room.high_m)[:2] / 2), 1.0])
    away = room.lamps_m - middle
    full = float((away[:, 2] ** 2 / (away**2).sum(1) ** 2).sum())
    light = AMBIENT * (0.92 + 0.08 * normals[:, 2]) + (1 - AMBIENT) * np.minimum(received / full, 1.3)
    return replace(mesh, light=(EXPOSURE * light * shade).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Paints:
    """Materials of a shop, as numbers of its textures.

    Attributes:
        floor: Tiles, planks or bare screed.
        wall: Painted, with a skirting.
        ceiling: Tiles of a hung ceiling.
        lamp: A shining panel.
        outside: Pavement in daylight.
        metal: Powder-coated sheet of boards and sides.
        back: Perforated back panels.
        rail: Price rails with labels.
        dark: Plinths, feet and frames.
        post: Gate posts.
        steel: Bare wire of trolleys.
        mirror: What stands for a mirror until its reflection is drawn.
    """

    floor: int
    wall: int
    ceiling: int
    lamp: int
    outside: int
    metal: int
    back: int
    rail: int
    dark: int
    post: int
    steel: int
    mirror: int


def paints(textures: Textures, rng: np.random.Generator) -> Paints:
    """Draw floor, walls and metal of a shop."""
    dark_metal = bool(rng.random() < 0.5)
    tone = 62 if dark_metal else 205
    return Paints(
        floor=textures.add(_floor(rng)),
        wall=textures.add(_wall(rng)),
        ceiling=textures.add(_tiles(rng, 128, 2, np.array([218, 222, 224]), 2, 0.8)),
        lamp=textures.plain((255, 255, 255)),
        outside=textures.add(_tiles(rng, 256, 4, np.array([150.0, 152, 152]), 3, 0.8)),
        metal=textures.add(_grain(rng, np.full((64, 64, 3), float(tone)), 4)),
        back=textures.add(_perforated(rng, tone)),
        rail=textures.add(_rail(rng)),
        dark=textures.plain((44, 42, 40)),
        post=textures.plain((150, 148, 146)),
        steel=textures.plain((178, 176, 172)),
        mirror=textures.plain((120, 118, 115)),
    )


def _grain(rng: np.random.Generator, image: FloatArray, strength: float) -> ImageArray:
    fine = rng.normal(0, strength, image.shape[:2])
    small = rng.normal(0, strength, (max(2, image.shape[0] // 16), max(2, image.shape[1] // 16)))
    coarse = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(image + (0.6 * fine + coarse)[..., None], 0, 255), np.uint8)


def _tiles(
    rng: np.random.Generator, size: int, count: int, bgr: FloatArray, grout: int, darker: float, spread: float = 5
) -> ImageArray:
    image = np.empty((size, size, 3))
    step = size // count
    for row in range(count):
        for column in range(count):
            image[row * step : (row + 1) * step, column * step : (column + 1) * step] = bgr + rng.normal(0, spread)
    for line in range(count):
        image[line * step : line * step + grout] *= darker
        image[:, line * step : line * step + grout] *= darker
    return _grain(rng, image, 3)


def _floor(rng: np.random.Generator) -> ImageArray:
    """A square of 2.4 m of floor."""
    kind = rng.integers(3)
    if kind == 0:
        return _tiles(rng, 512, 4, np.array([168, 176, 182]) + rng.normal(0, 10), 2, 0.72)
    if kind == 1:
        image = np.empty((512, 512, 3))
        base = np.array([118.0, 152.0, 180.0]) + rng.normal(0, 8, 3)
        for plank in range(16):  # 15 cm boards
            rows = slice(plank * 32, plank * 32 + 32)
            grey = cv2.resize(rng.normal(0, 7, (32, 8)), (512, 32), interpolation=cv2.INTER_LINEAR)
            image[rows] = base + rng.normal(0, 9) + grey[..., None]
            image[plank * 32] *= 0.75
            joint = int(rng.integers(512))
            image[rows, joint : joint + 1] *= 0.7
        return _grain(rng, image, 3)
    # Plywood sheets, worn: as laid in shops that are set up for a while.
    image = np.broadcast_to(np.array([158.0, 176.0, 190.0]) + rng.normal(0, 6, 3), (512, 512, 3)).copy()
    grey = cv2.resize(rng.normal(0, 5, (512, 12)), (512, 512), interpolation=cv2.INTER_LINEAR)
    image += grey[..., None]
    image[:2] *= 0.75
    image[:, 256:258] *= 0.75
    for _ in range(14):
        x, y = (int(place) for place in rng.integers(0, 500, 2))
        cv2.line(image, (x, y), (x + int(rng.integers(-25, 25)), y + int(rng.integers(-25, 25))), (120, 130, 140), 1)
    return _grain(rng, image, 5)


def _wall(rng: np.random.Generator) -> ImageArray:
    """A wall over its whole height."""
    base = np.array([[206, 212, 216], [196, 200, 198], [178, 190, 198], [190, 186, 178]][int(rng.integers(4))], float)
    image = np.broadcast_to(base, (256, 256, 3)).copy()
    image[-10:] = base * 0.45
    return _grain(rng, image, 2.5)


def _perforated(rng: np.random.Generator, tone: float) -> ImageArray:
    """Ten centimetres of a back panel, holes 2.5 cm apart."""
    image = np.full((32, 32, 3), float(tone) * 0.9)
    for row in range(4):
        for column in range(4):
            image[row * 8 + 3 : row * 8 + 5, column * 8 + 3 : column * 8 + 5] *= 0.5
    return _grain(rng, image, 3)


def _rail(rng: np.random.Generator) -> ImageArray:
    """A metre of price rail with labels of different lengths."""
    image = np.full((16, 256, 3), 226.0)
    image[:2] *= 0.7
    x = 4
    while x < 236:
        wide = int(rng.integers(12, 20))
        paper = np.array([[250, 250, 250], [250, 250, 250], [120, 232, 250]][int(rng.integers(3))], float)
        image[3:15, x : x + wide] = paper
        image[6:8, x + 2 : x + wide - 4] = 60
        image[10:13, x + wide - 8 : x + wide - 2] = 40
        x += wide + int(rng.integers(4, 22))
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def room_meshes(layout: StoreLayout, gondolas: Sequence[Gondola], room: Room, paint: Paints) -> Iterator[Mesh]:
    """Floor, ceiling with lamps, walls with openings at the doors, and what is outside.

    Walls are seen from inside only: a camera that hangs at the outer side of one looks through.
    """
    low, high = room.low_m, room.high_m
    x, y, z = np.diag(high - low)
    floor = panel(low + y, x, -y, texture_m=2.4).marked(material=paint.floor)
    near = np.min([g.footprint_distances_m(floor.points_m) for g in gondolas], axis=0) if gondolas else np.inf
    # Contact shadow: the light that a tall body keeps from the floor before it fades over some 20 cm.
    yield lit(floor, room, 1 - 0.5 * np.exp(-np.asarray(near) / 0.2))
    ceiling = lit(panel(low + z, x, y, texture_m=1.2).marked(material=paint.ceiling), room)
    yield replace(ceiling, light=np.full_like(ceiling.light, 0.8))
    for lamp in room.lamps_m:
        corner = lamp - [0.3, 0.3, 0.004]
        shining = panel(corner, np.array([0.6, 0, 0]), np.array([0, 0.6, 0])).marked(material=paint.lamp)
        yield replace(shining, light=np.full_like(shining.light, 1.5))

    around = np.array([OUTSIDE_M, OUTSIDE_M, 0])
    outer = np.diag(high - low + 2 * around)
    # A little lower than the floor, which lies on it.
    corner = low - around + outer[1] - [0, 0, 0.02]
    ground = panel(corner, outer[0], -outer[1], texture_m=1.6).marked(material=paint.outside)
    yield replace(ground, light=np.full_like(ground.light, 1.35))

    lines = _door_lines(layout)
    # Corner, way to the right and normal of each wall as seen from inside.
    for corner, right, normal in (
        (low, y, np.array([1.0, 0, 0])),
        (low + x + y, -y, np.array([-1.0, 0, 0])),
        (low + x, -x, np.array([0, 1.0, 0])),
        (low + y, x, np.array([0, -1.0, 0])),
    ):
        length = float(np.linalg.norm(right))
        way = right / length
        if _has_own_wall(layout.surfaces, corner, normal, way, length):
            continue
        holes = sorted(
            tuple(sorted(((line - corner[:2]) @ way[:2]).tolist()))
            for line in lines
            if np.abs((line - corner[:2]) @ normal[:2]).max() < 0.6
        )
        for start, end, from_m, to_m in _wall_parts(holes, length, float(z[2])):
            wall = panel(
                corner + way * start + [0, 0, to_m], way * (end - start), np.array([0, 0, from_m - to_m]), step_m=0.12
            )
            # The texture's height is the room's, so that a skirting is at the floor only.
            v = 1 - wall.points_m[:, 2] / z[2]
            u = ((wall.points_m - corner) @ way) / 2.5
            wall = replace(wall, texture_uv=np.stack([u, v], 1).astype(np.float32)).marked(material=paint.wall)
            yield lit(wall, room)
    for line in lines:
        for end in line:
            post = block([end[0] - 0.06, end[1] - 0.06, 0], [end[0] + 0.06, end[1] + 0.06, 1.05])
            yield lit(post.marked(material=paint.post), room)


def _has_own_wall(
    surfaces: Sequence[Surface], corner: FloatArray, normal: FloatArray, way: FloatArray, length: float
) -> bool:
    """Whether glass or walls of the layout take the place of more than half of a side of the room."""
    covered = 0.0
    for surface in surfaces:
        away = surface.corners_m - corner
        if surface.kind != "mirror" and np.abs(away @ normal).max() < 0.6:
            covered += float(np.ptp(away @ way))
    return covered > 0.5 * length


def _wall_parts(
    holes: Sequence[tuple[float, ...]], length: float, height: float
) -> Iterator[tuple[float, float, float, float]]:
    """Rectangles (from, to along the wall, from, to above the floor) that leave door openings."""
    at = 0.0
    for start, end in holes:
        start, end = max(start, 0.0), min(end, length)
        if start > at:
            yield at, start, 0.0, height
        if end > max(at, start):
            yield max(at, start), end, DOOR_M, height
        at = max(at, end)
    if at < length:
        yield at, length, 0.0, height


def gondola_mesh(gondola: Gondola, others: Sequence[Gondola], room: Room, paint: Paints, thing: int) -> Mesh:
    """Back panel, boards, price rails, sides and plinth of a gondola, lit."""
    parts = []
    low, high = gondola.low_m, gondola.high_m
    wide = high[0] - low[0]
    back_y = max(shelf.high_m[1] for shelf in gondola.shelves) + 0.004
    for shelf in gondola.shelves:
        left, front, top = shelf.low_m
        right, back, _ = shelf.high_m
        board = block([left, front, top - BOARD_M], [right, back_y, top - 0.002], texture_m=0.4)
        parts.append(board.marked(material=paint.metal))
        rail = panel(
            np.array([left, front - 0.012, top + 0.004]),
            np.array([right - left, 0, 0]),
            np.array([0, 0, -RAIL_M]),
        )
        rail = replace(rail, texture_uv=(rail.texture_uv * [(right - left) / 1.0, 1]).astype(np.float32))
        parts.append(rail.marked(material=paint.rail))
        lip = panel(np.array([left, front, top + 0.004]), np.array([right - left, 0, 0]), np.array([0, -0.012, 0]))
        parts.append(lip.marked(material=paint.rail))
    back = panel(np.array([low[0], back_y, high[2]]), np.array([wide, 0, 0]), np.array([0, 0, -high[2]]), texture_m=0.1)
    parts.append(back.marked(material=paint.back))
    rear = panel(
        np.array([high[0], back_y + 0.012, high[2]]),
        np.array([-wide, 0, 0]),
        np.array([0, 0, -high[2]]),
        texture_m=0.4,
    )
    parts.append(rear.marked(material=paint.metal))
    cap = block([low[0], back_y, high[2] - 0.01], [high[0], back_y + 0.012, high[2]])
    parts.append(cap.marked(material=paint.metal))
    lowest = gondola.shelves[0]
    if lowest.low_m[2] > 0.04:
        plinth = block([low[0], lowest.low_m[1] + 0.03, 0], [high[0], back_y, min(0.14, lowest.low_m[2] - 0.03)])
        parts.append(plinth.marked(material=paint.dark))
    for x, outwards in ((low[0], -1.0), (high[0], 1.0)):
        probe = np.array([[x + outwards * 0.05, (low[1] + high[1]) / 2, 0]])
        beside = probe @ gondola.world_from_gondola[:3, :3].T + gondola.world_from_gondola[:3, 3]
        if any(other is not gondola and other.footprint_distances_m(beside)[0] <= 0 for other in others):
            continue  # one gondola goes on in the next
        side = block([min(x, x + outwards * 0.012), low[1], 0], [max(x, x + outwards * 0.012), back_y, high[2]])
        parts.append(side.marked(material=paint.metal))
    mesh = joined(parts).placed(gondola.world_from_gondola).marked(thing=thing)
    return lit(mesh, room, gondola.shade(mesh.points_m))


def surface_mesh(surface: Surface, paint: Paints, room: Room) -> Mesh:
    """A wall or mirror of the layout, both sides alike."""
    first, second, _, last = surface.corners_m
    flat = joined([panel(first, second - first, last - first), panel(second, first - second, last - first)])
    material = paint.wall if surface.kind == "wall" else paint.mirror
    return lit(flat.marked(material=material), room)


def frame_mesh(surface: Surface, room: Room, paint: Paints) -> Mesh:
    """The dark frame around a pane of glass or a door."""
    bars = []
    for start, end in zip(surface.corners_m, np.roll(surface.corners_m, -1, axis=0), strict=True):
        bars.append(_bar(start, end, 0.025))
    return lit(joined(bars).marked(material=paint.dark), room)


def _bar(start: FloatArray, end: FloatArray, half_m: float) -> Mesh:
    way = end - start
    length = float(np.linalg.norm(way))
    x = way / length
    aside = np.cross(x, [0.0, 0.0, 1.0] if abs(x[2]) < 0.9 else [1.0, 0.0, 0.0])
    aside /= np.linalg.norm(aside)
    world_from_bar = np.eye(4)
    world_from_bar[:3, :3] = np.stack([x, aside, np.cross(x, aside)], axis=1)
    world_from_bar[:3, 3] = start
    return block([-half_m, -half_m, -half_m], [length + half_m, half_m, half_m]).placed(world_from_bar)


def pack_mesh(look: Look, body: int, lid: int, front: int, side: int, top: int) -> Mesh:
    """One unit of a product, its underside's middle at the origin, its front looking along x.

    Args:
        look: Its shape.
        body: Material of the bare pack.
        lid: Material of cap or lid.
        front: Material of the printed label: once around a round pack, before and behind on another.
        side: Material of the sides of a pack that is not round.
        top: Material of its top.
    """
    wide, deep, high = (float(length) for length in look.size_m)
    if not look.is_round:
        if look.kind in ("bag", "pouch"):
            return _shaded(pillow(wide, deep, high).marked(material=front))
        sides = box_sides([-deep / 2, -wide / 2, 0], [deep / 2, wide / 2, high], step_m=1.0)
        # A unit's underside is never seen.
        materials = (front, front, side, side, top)
        return _shaded(joined([panel.marked(material=m) for panel, m in zip(sides[:5], materials, strict=True)]))
    parts = []
    low, high_label = look.label_span
    radius, height = look.outline.T
    for start, end, material in (
        (0.0, low, body),
        (low, high_label, front),
        (high_label, look.lid_from, body),
        (look.lid_from, 1, lid),
    ):
        if end - start < 1e-6:
            continue
        inside = (height > start) & (height < end)
        levels = np.array([start, *height[inside], end])
        radii = np.interp(levels, height, radius) * wide / 2
        part = turned_solid(np.stack([radii, (levels - start) * high], axis=1)).marked(material=material)
        shift = np.eye(4)
        shift[2, 3] = start * high
        parts.append(part.placed(shift))
    parts.append(disc(float(radius[-1]) * wide / 2, high).marked(material=lid))
    return _shaded(joined(parts))


def _shaded(mesh: Mesh) -> Mesh:
    """Light by the way a surface looks: most light in a shop comes from above, some from the front."""
    up, front = mesh.normals[:, 2], mesh.normals[:, 0]
    light = 0.66 + 0.24 * up + 0.12 * front
    height = mesh.points_m[:, 2].max() or 1.0
    # Goods shade each other's feet.
    light = light * (0.72 + 0.28 * np.clip(mesh.points_m[:, 2] / height, 0, 1))
    return replace(mesh, light=light.astype(np.float32))


def handle_m(position_m: FloatArray, heading_rad: float, height_m: float) -> FloatArray:
    """Where on the floor the handle of a trolley is that somebody pushes, shape (2,): a forearm before the body."""
    return np.asarray(position_m + 0.24 * height_m * np.array([np.cos(heading_rad), np.sin(heading_rad)]))


def trolley_mesh(paint: Paints) -> Mesh:
    """A shopping trolley, its handle at the origin above the floor, going along x; sizes of a common 100 l one."""
    bars: list[Mesh] = []

    def bar(start: Sequence[float], end: Sequence[float], half_m: float = 0.006) -> None:
        bars.append(_bar(np.array(start, float), np.array(end, float), half_m))

    floor, rim = BASKET_HEIGHT_M - 0.01, 0.88
    for y in (-0.26, 0.26):
        bar([0.0, y, 1.0], [0.06, y, floor], 0.012)
        bar([0.06, y, floor], [0.1, y, 0.12], 0.012)
        bar([0.1, y * 0.9, 0.12], [0.85, y * 0.75, 0.12], 0.012)
        for height in (floor, 0.65, 0.75, 0.85):
            bar([0.08, y, height], [0.85, y * 0.8, height])
        for x in np.linspace(0.08, 0.85, 9):
            inner = y * (1 - 0.2 * (x - 0.08) / 0.77)
            bar([x, inner, floor], [x, inner, rim])
        for x in (0.14, 0.8):
            bars.append(block([x - 0.05, y * 0.85 - 0.02, 0], [x + 0.05, y * 0.85 + 0.02, 0.1]))
    bar([0.0, -0.26, 1.0], [0.0, 0.26, 1.0], 0.015)
    for x in np.linspace(0.08, 0.85, 9):
        bar([x, -0.25, floor], [x, 0.25, floor])
    for y in np.linspace(-0.21, 0.21, 8):
        bar([0.08, y, floor], [0.85, y * 0.8, floor])
        bar([0.85, y * 0.8, floor], [0.85, y * 0.8, rim])
    return _shaded(joined(bars).marked(material=paint.steel))
