"""Pictures of single products as cameras crop them: on a shelf face, in a hand, and as a shop takes them to enrol.

A pack and what stands around it are drawn on a raster hardly larger than the pack, with the shop's own looks, labels
and rasteriser, then spoilt as cheap cameras do (``store_sim.lens``), so that hundreds of crops come out of one core in
a second. Which pixels are the pack's is known exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from store_sim.goods import labels_of, look_of
from store_sim.lens import blurred, compressed, contrasted, noisy, sharpened
from store_sim.meshes import Mesh, Textures, block, joined
from store_sim.random_range import InventedProduct, random_range
from store_sim.raster import BRIGHTEST, painted, rasterise
from store_sim.scenery import pack_mesh
from vision.arrays import BoolArray, FloatArray, ImageArray, IntArray
from vision.layout import ProductRecord

FINER = 2  # drawn so much larger and shrunk, as what stands on shelves is in ``store_sim.render``
LEVELS_PX = (128, 64, 32)  # label heights: the finest that a pack of this size in the picture can show is taken
BORDER_PX = 6  # drawn around the crop, so that blur and the encoder's blocks see what is beside it
FINGER_M = 0.019  # across a finger, and from one to the next
VARIANTS = 0.3  # of the lines of several flavours, the share that are printed alike but for words and contents
ENROL_VIEWS = ((0.0, 12.0), (-40.0, 18.0), (40.0, 18.0), (90.0, 12.0), (180.0, 12.0), (10.0, 60.0))
"""Azimuth from the front and elevation of the camera, degrees, of the pictures that a shop takes of a product."""


class Setting(StrEnum):
    """Where a pack is when its picture is taken."""

    SHELF = "shelf"
    HAND = "hand"
    ENROLMENT = "enrolment"


@dataclass(frozen=True, slots=True)
class PrintedProduct:
    """A product, and whose design its pack takes over (``store_sim.goods.labels_of``)."""

    record: ProductRecord
    like: ProductRecord | None = None

    @property
    def design(self) -> str:
        """Name of the product whose design it bears: equal for variants that differ in words and contents only."""
        return (self.like or self.record).name


@dataclass(frozen=True, slots=True)
class ProductPicture:
    """One crop of a pack.

    Attributes:
        image: Shape (h, w, 3), uint8 BGR: the box around the pack, found as well as a detector finds it.
        size_px: Longer side of the exact box, before it was cut more or less well.
        azimuth_deg: Where the camera was: 0 before the front, anticlockwise from above, -180 to 180.
        elevation_deg: How high it was over the pack's middle.
        covered: Share of the pack's pixels that a hand or other goods hide.
    """

    image: ImageArray
    size_px: float
    azimuth_deg: float
    elevation_deg: float
    covered: float


def invented_shop(seed: int, count: int, variants: float = VARIANTS) -> tuple[PrintedProduct, ...]:
    """Invent the range of a shop, some lines of which are printed alike but for words and contents.

    Args:
        seed: Equal seeds give equal shops; different ones share no design but by chance.
        count: How many products.
        variants: Share of the lines of several flavours whose packs share one design.
    """
    rng = np.random.default_rng([seed, 41])
    first: dict[str, ProductRecord | None] = {}
    printed = []
    for product in random_range(rng, count):
        line = _line_of(product)
        if line not in first:
            first[line] = product.record if rng.random() < variants else None
            printed.append(PrintedProduct(product.record))
            continue
        like = first[line]
        # Another sort of pack has no room for the design.
        same = like is not None and look_of(like).kind == look_of(product.record).kind
        printed.append(PrintedProduct(product.record, like if same else None))
    return tuple(printed)


def _line_of(product: InventedProduct) -> str:
    return " ".join(product.record.name.split()[:3])


@dataclass(frozen=True, slots=True)
class _Scene:
    """What is drawn around a pack, in its frame: its underside's middle at the origin, its front looking along x."""

    mesh: Mesh
    target: BoolArray  # of each point of the mesh, whether it is the pack's
    backdrop: ImageArray  # shape (h, w, 3), uint8, stretched behind it all


class ProductStudio:
    """Takes pictures of the packs of one shop; equal generators give equal pictures."""

    def __init__(self, products: Sequence[PrintedProduct]) -> None:
        """Print the packs.

        Raises:
            ValueError: There is no product.
        """
        if not products:
            raise ValueError("ProductStudio: expected at least one product, got none")
        self.products = tuple(products)
        self._textures = Textures()
        self._packs: dict[int, Mesh] = {}

    def pack(self, row: int) -> Mesh:
        """The pack of a product by its row; the material of each point is the finest of three, one after another."""
        if row not in self._packs:
            printed = self.products[row]
            look, labels = look_of(printed.record), labels_of(printed.record, printed.like)
            if printed.like is not None:
                model = look_of(printed.like)
                look = replace(look, lid_rgb=model.lid_rgb, size_m=model.size_m)
                if not look.is_round:
                    look = replace(look, body_rgb=model.body_rgb)
            body, lid = (self._levels(colour[None, None]) for colour in (look.body_rgb, look.lid_rgb))
            faces = (labels.wrap,) if look.is_round else (labels.front, labels.side, labels.top)
            prints = [self._levels(face) for face in faces]
            self._packs[row] = pack_mesh(look, body, lid, prints[0], prints[-2 % len(prints)], prints[-1])
        return self._packs[row]

    def _levels(self, rgb: ImageArray) -> int:
        first = -1
        for height in LEVELS_PX:
            times = max(1, round(len(rgb) / height))
            size = max(1, rgb.shape[1] // times), max(1, len(rgb) // times)
            material = self._textures.add(
                np.asarray(cv2.resize(rgb[..., ::-1], size, interpolation=cv2.INTER_AREA), np.uint8)
            )
            first = material if first < 0 else first
        return first

    def picture(
        self,
        row: int,
        setting: Setting,
        rng: np.random.Generator,
        *,
        size_px: float | None = None,
        view_deg: tuple[float, float] | None = None,
    ) -> ProductPicture:
        """Take a picture of one pack.

        Args:
            row: Which product.
            setting: Where it is.
            rng: Decides all that is left open.
            size_px: Longer side of the exact box; drawn between 18 and 128, small ones more often, if left out.
            view_deg: Azimuth and elevation of the camera; drawn as usual for the setting if left out.
        """
        if size_px is None:
            size_px = float(np.exp(rng.uniform(np.log(18), np.log(128))))
        if view_deg is None:
            view_deg = _drawn_view(setting, rng)
        scene = self._scene(row, setting, rng)
        distance_m = {Setting.SHELF: rng.uniform(0.6, 4), Setting.HAND: rng.uniform(0.7, 4)}.get(
            setting, rng.uniform(0.35, 0.6)
        )
        roll = {Setting.SHELF: 4.0, Setting.HAND: 22.0, Setting.ENROLMENT: 3.0}[setting] * float(rng.standard_normal())
        seen = _seen_from(scene.mesh.points_m, self._middle(row), view_deg, roll, distance_m)
        own = seen[scene.target]
        flat = own[:, :2] / own[:, 2:]
        low, high = flat.min(axis=0), flat.max(axis=0)
        focal = size_px / float((high - low).max())
        size_wh = np.ceil(focal * (high - low)).astype(int) + 1
        margin = np.ceil(0.16 * size_wh).astype(int) + BORDER_PX
        full_wh = size_wh + 2 * margin
        fine, visible, whole = self._drawn(scene, seen, focal * FINER, (low + high) / 2, full_wh * FINER, size_px)
        if setting is Setting.HAND and rng.random() < 0.85:
            _grip(fine, visible, FINER * focal * FINGER_M / distance_m, rng)
        covered = 1 - float(visible.sum()) / max(int(whole.sum()), 1)
        image = np.asarray(cv2.resize(fine, tuple(full_wh.tolist()), interpolation=cv2.INTER_AREA), np.uint8)
        image = _spoilt(image, setting, rng)
        box = _found_box(margin, size_wh, setting, rng)
        box[2:] = np.minimum(box[2:], full_wh - 1)
        return ProductPicture(
            np.ascontiguousarray(image[box[1] : box[3], box[0] : box[2]]), float(size_px), *view_deg, max(0.0, covered)
        )

    def portrait(self, row: int, size_px: int = 256, view_deg: tuple[float, float] = (24.0, 12.0)) -> NDArray[np.uint8]:
        """Draw one pack alone and unspoilt, as a shop shows what it sells.

        Args:
            row: Which product.
            size_px: Longer side of the picture, up to one pixel.
            view_deg: Azimuth and elevation of the camera.

        Returns:
            Shape (h, w, 4), uint8, BGR and opacity; clear around the pack.
        """
        own = self.pack(row)
        scene = _Scene(own, np.ones(len(own.points_m), bool), np.zeros((2, 2, 3), np.uint8))
        seen = _seen_from(own.points_m, self._middle(row), view_deg, 0.0, 0.9)
        flat = seen[:, :2] / seen[:, 2:]
        low, high = flat.min(axis=0), flat.max(axis=0)
        focal = (size_px - 1) / float((high - low).max())
        size_wh = np.ceil(focal * (high - low)).astype(int) + 1
        fine, visible, _ = self._drawn(scene, seen, focal * FINER, (low + high) / 2, size_wh * FINER, size_px)
        # Shrunk with its opacity, so that its edges do not take on the colour of what is not there.
        solid = visible.astype(np.float32)[..., None]
        size = tuple(size_wh.tolist())
        opacity = cv2.resize(solid, size, interpolation=cv2.INTER_AREA)
        colour = cv2.resize(fine * solid, size, interpolation=cv2.INTER_AREA) / np.maximum(opacity, 1e-3)[..., None]
        return np.asarray(np.clip(np.dstack([colour, 255 * opacity]) + 0.5, 0, 255), np.uint8)

    def enrolment(self, row: int, rng: np.random.Generator, views: int = len(ENROL_VIEWS)) -> list[ImageArray]:
        """Take the pictures that a shop takes of a new product, the first some of ``ENROL_VIEWS``, about 160 px large.

        Returns:
            Pictures, each shape (h, w, 3), uint8 BGR.
        """
        pictures = []
        for azimuth, elevation in ENROL_VIEWS[:views]:
            view = azimuth + 6 * float(rng.standard_normal()), elevation + 4 * float(rng.standard_normal())
            size_px = float(rng.uniform(130, 190))
            pictures.append(self.picture(row, Setting.ENROLMENT, rng, size_px=size_px, view_deg=view).image)
        return pictures

    def _middle(self, row: int) -> FloatArray:
        return np.array([0.0, 0.0, float(self.pack(row).points_m[:, 2].max()) / 2])

    def _scene(self, row: int, setting: Setting, rng: np.random.Generator) -> _Scene:
        own = self.pack(row)
        if setting is not Setting.SHELF:
            return _Scene(own, np.ones(len(own.points_m), bool), _backdrop(rng, plain=setting is Setting.ENROLMENT))
        deep, wide, high = (float(np.ptp(own.points_m[:, axis])) for axis in range(3))
        parts, target = [own], [np.ones(len(own.points_m), bool)]

        def stand(other: int, x: float, y: float, shade: float) -> None:
            mesh = self.pack(other)
            yaw = np.array([0.05 * float(rng.standard_normal())])
            parts.append(mesh.repeated(np.array([[x, y, 0.0]]), yaw, np.array([shade]), np.array([1])))
            target.append(np.zeros(len(mesh.points_m), bool))

        for side in (-1.0, 1.0):
            place = side * wide / 2
            for _ in range(2):
                other = row if rng.random() < 0.5 else int(rng.integers(len(self.products)))
                half = float(np.ptp(self.pack(other).points_m[:, 1])) / 2
                place += side * (half + rng.uniform(0.004, 0.03))
                if rng.random() < 0.85:
                    stand(other, -rng.uniform(0, 0.05), place, rng.uniform(0.8, 1.0))
                place += side * half
        if rng.random() < 0.65:
            stand(row, -1.04 * deep, 0.0, 0.75)
        grey = np.asarray(np.clip(rng.uniform(60, 235) + 8 * rng.standard_normal(3), 0, 255), np.uint8)
        shelf, wall = (
            self._levels(grey[None, None]),
            self._levels(np.asarray(grey * rng.uniform(0.5, 1), np.uint8)[None, None]),
        )
        front = deep / 2 + rng.uniform(0.005, 0.06)
        scenery = [
            block([-0.4, -0.7, -0.035], [front, 0.7, 0.0], step_m=0.7).marked(material=shelf),
            block([-0.45, -0.8, -0.5], [-0.4, 0.8, 1.0], step_m=0.8).marked(material=wall),
        ]
        if rng.random() < 0.6:
            above = high + rng.uniform(0.03, 0.2)
            scenery.append(block([-0.4, -0.7, above], [front, 0.7, above + 0.035], step_m=0.7).marked(material=shelf))
        for mesh in scenery:
            shaded = np.clip(0.7 + 0.3 * mesh.normals[:, 2] + 0.1 * mesh.normals[:, 0], 0.3, 1).astype(np.float32)
            parts.append(replace(mesh, light=shaded))
            target.append(np.zeros(len(mesh.points_m), bool))
        return _Scene(joined(parts), np.concatenate(target), _backdrop(rng, plain=True))

    def _drawn(
        self, scene: _Scene, seen: FloatArray, focal: float, middle: FloatArray, size_wh: IntArray, size_px: float
    ) -> tuple[ImageArray, BoolArray, BoolArray]:
        """Draw a scene.

        Returns:
            The picture (h, w, 3) uint8 BGR, which pixels show the pack, and which would if nothing hid it, (h, w).
        """
        width, height = (int(length) for length in size_wh)
        half = height / 2
        depth_m = seen[:, 2]
        drawn = np.stack(
            [
                focal * (seen[:, 0] - middle[0] * depth_m) / half,
                focal * (seen[:, 1] - middle[1] * depth_m) / half,
                -depth_m,
            ],
            axis=1,
        ).astype(np.float32)
        mesh = scene.mesh
        faces = mesh.faces[(depth_m[mesh.faces] > 0.1).all(axis=1)]
        pairs, slot = np.unique(mesh.material.astype(np.int64) * 2 + scene.target, return_inverse=True)
        level = min(len(LEVELS_PX) - 1, max(0, int(np.log2(LEVELS_PX[0] / (0.75 * size_px) + 0.5))))
        values, buffer = painted(mesh, slot), np.zeros((height, width, 3), np.float32)
        depth = np.ones((height, width), np.float32)
        rasterise(drawn, np.ascontiguousarray(faces), values, buffer, depth)
        number = np.floor(buffer[..., 2]).astype(np.int32)
        light = (buffer[..., 2] - number) * np.float32(BRIGHTEST)
        material = (pairs // 2 + level).astype(np.int32)[number]
        colour = self._textures.sample(material, buffer[..., 0], buffer[..., 1]) * light[..., None]
        nothing = depth >= 1
        colour[nothing] = cv2.resize(scene.backdrop, (width, height), interpolation=cv2.INTER_CUBIC)[nothing]
        visible = (pairs % 2 == 1)[number] & ~nothing
        whole = visible
        if not scene.target.all():
            alone = np.ones((height, width), np.float32)
            own = faces[scene.target[faces].all(axis=1)]
            rasterise(drawn, np.ascontiguousarray(own), values, np.zeros_like(buffer), alone)
            whole = alone < 1
        return np.asarray(np.clip(colour, 0, 255), np.uint8), visible.copy(), whole


def _drawn_view(setting: Setting, rng: np.random.Generator) -> tuple[float, float]:
    """Azimuth and elevation: shelves are seen from before, hands turn packs at will, ceiling cameras look down."""
    if setting is Setting.ENROLMENT:
        azimuth, elevation = ENROL_VIEWS[int(rng.integers(len(ENROL_VIEWS)))]
        return azimuth + 6 * float(rng.standard_normal()), elevation + 4 * float(rng.standard_normal())
    if setting is Setting.SHELF:
        return float(rng.uniform(-60, 60)), float(rng.uniform(-5, 50))
    azimuth = float(rng.uniform(-75, 75) if rng.random() < 0.6 else rng.uniform(-180, 180))
    return azimuth, float(rng.uniform(-15, 60))


def _seen_from(
    points_m: FloatArray, middle_m: FloatArray, view_deg: tuple[float, float], roll_deg: float, distance_m: float
) -> FloatArray:
    """Points, shape (n, 3), in the frame of a camera that looks at a middle: right, up, ahead, metres."""
    azimuth, elevation = np.radians(np.clip(view_deg[0], -360, 360)), np.radians(np.clip(view_deg[1], -85, 85))
    towards = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    up = np.cross(towards, right)
    turn = np.radians(roll_deg)
    across, upright = np.cos(turn) * right + np.sin(turn) * up, np.cos(turn) * up - np.sin(turn) * right
    relative = points_m - middle_m
    return np.stack([relative @ across, relative @ upright, distance_m - relative @ towards], axis=1)


def _backdrop(rng: np.random.Generator, *, plain: bool) -> ImageArray:
    """What is far behind: a wall, a floor, clothes; a few large patches of colour, for plain ones nearly alike."""
    base = rng.uniform(25, 235) + rng.uniform(-18, 18, 3)
    cells = (2, 2, 3) if plain else (int(rng.integers(2, 7)), int(rng.integers(2, 7)), 3)
    spread = 8.0 if plain else rng.uniform(5, 70)
    patches = base + spread * (rng.standard_normal(cells) * 0.5 + rng.standard_normal((*cells[:2], 1)))
    return np.asarray(np.clip(patches, 0, 255), np.uint8)


def _grip(image: ImageArray, visible: BoolArray, finger_px: float, rng: np.random.Generator) -> None:
    """Draw fingers around a pack, in place, and take what they hide out of ``visible``.

    Four fingers come around one edge and a thumb around the other; how far depends on the pack's width.
    """
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not len(rows):
        return
    top, low, left, right = rows[0], rows[-1], columns[0], columns[-1]
    hue = np.array([rng.uniform(70, 160), rng.uniform(95, 185), rng.uniform(130, 230)]) * rng.uniform(0.45, 1.1)
    skin = np.clip(np.sort(hue), 10, 245)
    thick = max(2.0, finger_px * rng.uniform(0.85, 1.1))
    side = 1 if rng.random() < 0.5 else -1
    edge, other = (left, right) if side > 0 else (right, left)
    reach = rng.uniform(1.2, 3.2) * thick
    start = rng.uniform(top, max(top + 1, low - 3.2 * thick))
    slope = rng.uniform(-0.35, 0.35)
    strokes = [(edge, start + k * thick * 1.02, side * reach * rng.uniform(0.8, 1.05)) for k in range(4)]
    if rng.random() < 0.7:
        strokes.append((other, start + rng.uniform(-0.5, 2.5) * thick, -side * reach * rng.uniform(0.5, 0.9)))
    mask = np.zeros(visible.shape, np.uint8)
    for x, y, length in strokes:
        ends = (int(x - np.sign(length) * 2 * thick), int(y - slope * length)), (int(x + length), int(y))
        cv2.line(image, *ends, (skin * 0.7).tolist(), round(thick), cv2.LINE_AA)
        cv2.line(image, *ends, skin.tolist(), max(1, round(0.72 * thick)), cv2.LINE_AA)
        cv2.line(mask, *ends, 1, round(thick))
    visible &= mask == 0


def _found_box(margin: IntArray, size_wh: IntArray, setting: Setting, rng: np.random.Generator) -> IntArray:
    """The box around a pack as somebody draws it or a detector finds it: left, top, right, bottom, shape (4,)."""
    loose = {Setting.SHELF: 0.07, Setting.HAND: 0.08, Setting.ENROLMENT: 0.05}[setting]
    off = np.clip(loose * rng.standard_normal(4) + 0.02, -0.12, 0.15) * np.tile(size_wh, 2)
    box = np.concatenate([margin - off[:2], margin + size_wh + off[2:]])
    return np.asarray(np.maximum(np.rint(box).astype(int), 0))


@lru_cache(maxsize=1)
def _noise() -> FloatArray:
    """A field of noise that is read from another place for every picture, shape (512, 512, 3), float32."""
    field = np.random.default_rng(17).standard_normal((512, 512, 3), np.float32)
    soft = np.asarray(cv2.GaussianBlur(field, (0, 0), 0.6), np.float32)
    return np.asarray(soft / soft.std(), np.float32)


def _spoilt(image: ImageArray, setting: Setting, rng: np.random.Generator) -> ImageArray:
    """Light, lens, sensor and encoder; shops' cameras are worse than a phone."""
    phone = setting is Setting.ENROLMENT
    height, width = image.shape[:2]
    gain = float(np.exp(rng.normal(0, 0.12 if phone else 0.25)))
    tint = np.exp(rng.normal(0, 0.04 if phone else 0.07, 3))
    light: FloatArray = np.asarray(image * (gain * tint), np.float32)
    if rng.random() < 0.6:  # light from one side
        slope = rng.uniform(-0.25, 0.25, 2).astype(np.float32) * (0.5 if phone else 1.0)
        x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
        light *= (1 + slope[0] * x[None] + slope[1] * y[:, None])[..., None]
    sigma = rng.uniform(0, 0.8) if phone else abs(rng.normal(0.3, 0.35))
    light = np.asarray(cv2.GaussianBlur(light, (0, 0), sigma) if sigma > 0.2 else light, np.float32)
    if not phone and rng.random() < 0.2:  # moved by some pixels while the shutter was open
        length = int(rng.integers(2, 5))
        kernel = np.zeros((length, length), np.float32)
        cv2.line(kernel, (0, int(rng.integers(length))), (length - 1, int(rng.integers(length))), 1.0)
        kernel = kernel if rng.random() < 0.5 else kernel.T
        light = np.asarray(cv2.filter2D(light, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.float32)
    bank = _noise()
    down, right = (int(rng.integers(0, bank.shape[axis] - light.shape[axis])) for axis in range(2))
    shot, read = (rng.uniform(0.3, 2), 0.5) if phone else (rng.uniform(0.5, 6), rng.uniform(0.3, 2.5))
    light = noisy(light, bank[down : down + height, right : right + width], shot, read)
    spoilt = np.asarray(np.clip(light, 0, 255), np.uint8)
    spoilt = contrasted(spoilt, rng.uniform(0, 0.3 if phone else 0.5))
    if rng.random() < 0.7:
        spoilt = sharpened(spoilt, rng.uniform(0, 0.6 if phone else 1.8))
    if rng.random() < 0.1:
        spoilt = blurred(spoilt, 0.5)
    return compressed(spoilt, int(rng.integers(80, 95) if phone else rng.integers(40, 92)))
