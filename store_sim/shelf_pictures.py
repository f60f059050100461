"""Sequences of a camera that looks at a shelf face, with known changes and with what disturbs those who watch it.

A random shop's gondola is stocked and drawn once for every state of its goods; arms, shadows, exposure and shake come
over that picture, frame by frame, and then the camera's own faults. So a minute of video with a dozen true changes is
made in seconds, and what took place is known exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import cv2
import numpy as np

from store_sim.bodies import pose
from store_sim.figures import Figures, Goods, Whereabouts
from store_sim.goods import look_of
from store_sim.lens import CameraEffects, LensSettings
from store_sim.random_shop import random_layout
from store_sim.render import Renderer
from vision.arrays import FloatArray, ImageArray
from vision.cameras import Camera, looking_at
from vision.frames import Frame
from vision.layout import Bin, StoreLayout
from vision.shelf import Handling
from vision.shelf_faces import LEAST_FACE_PX, drawn_faces

NANOSECONDS = 1_000_000_000
RATE_HZ = 6.0
QUIET_S = 2.0  # before the first event
EVENT_S = 5.0  # from one event to the next
REACH_S = 1.6  # an arm goes in, stays and comes out
RESOLUTION_WH = (640, 360)
FINGERS_M = 0.015


class Disturbance(StrEnum):
    """What else happens while the shelf is watched."""

    NONE = "none"
    EXPOSURE = "exposure"  # gain and white balance jump, as when a camera adapts itself
    SHADOW = "shadow"  # soft shadows of people wander over the shelf
    HAND = "hand"  # arms reach in and rest without taking anything
    SHAKE = "shake"  # the camera trembles by one to two pixels
    LIGHT = "light"  # the light of the day comes and goes within a minute
    ALL = "all"  # all of these at once

    def has(self, other: "Disturbance") -> bool:
        """Whether another disturbance is this one or part of it."""
        return self is other or (self is Disturbance.ALL and other is not Disturbance.NONE)


@dataclass(frozen=True, slots=True)
class TrueChange:
    """One unit taken or put back.

    Attributes:
        bin_id: Where.
        handling: Which way.
        time_ns: When the hand had it.
        sku: What it was.
    """

    bin_id: str
    handling: Handling
    time_ns: int
    sku: str


@dataclass(frozen=True, slots=True)
class ShelfSequence:
    """A camera's pictures of one gondola, and what truly changed.

    Attributes:
        layout: The gondola alone with its camera.
        camera: It.
        faces: Its bins as the camera sees them.
        changes: In order of time.
        seed: Decides all that is drawn while frames are made.
        disturbance: What else happens.
        states: Picture after each change, the first before all, each shape (h, w, 3), uint8 BGR.
    """

    layout: StoreLayout
    camera: Camera
    faces: tuple[Bin, ...]
    changes: tuple[TrueChange, ...]
    seed: int
    disturbance: Disturbance
    states: tuple[ImageArray, ...]

    @property
    def length_s(self) -> float:
        """How long it lasts."""
        return QUIET_S + EVENT_S * (len(self.changes) + 1)

    def frames(self) -> Iterator[Frame]:
        """Make the pictures, one after another."""
        rng = np.random.default_rng([self.seed, 5])
        lens = CameraEffects(replace(LensSettings(), drops_per_s=0.0), np.random.default_rng([self.seed, 6]))
        outline = {a_bin.bin_id: np.asarray(a_bin.polygon_px) for a_bin in self.faces}
        reaches = [(c.time_ns / NANOSECONDS, outline[c.bin_id].mean(axis=0), REACH_S) for c in self.changes]
        if self.disturbance.has(Disturbance.HAND):
            for number in range(len(self.changes) + 1):
                face = outline[self.faces[int(rng.integers(len(self.faces)))].bin_id]
                reaches.append((QUIET_S + EVENT_S * number + rng.uniform(2.4, 3.4), face.mean(axis=0), 2.6))
        arms = [
            (middle_s, at, length_s, rng.uniform(0.5, 1.2) * np.array([rng.uniform(60, 150), 110, 170]))
            for middle_s, at, length_s in reaches
        ]
        gain, drift = np.ones(3), rng.uniform(0, 2 * np.pi, 4)
        steps_s = QUIET_S + EVENT_S * (np.arange(len(self.changes) + 1) + rng.uniform(0.55, 0.8))
        for index in range(int(self.length_s * RATE_HZ)):
            t = index / RATE_HZ
            done = sum(change.time_ns <= t * NANOSECONDS for change in self.changes)
            image = self.states[done].copy()
            if self.disturbance.has(Disturbance.EXPOSURE) and len(steps_s) and t >= steps_s[0]:
                steps_s = steps_s[1:]
                gain = np.exp(rng.normal(0, 0.3) + rng.normal(0, 0.06, 3))
            light: FloatArray = np.asarray(image * gain, np.float32)
            if self.disturbance.has(Disturbance.LIGHT):
                light *= np.float32(1 + 0.3 * np.sin(2 * np.pi * t / 40 + drift[0]))
                side = np.linspace(-1, 1, image.shape[1], dtype=np.float32)[None, :, None]
                light *= 1 + np.float32(0.15 * np.sin(2 * np.pi * t / 30 + drift[1])) * side
            if self.disturbance.has(Disturbance.SHADOW):
                light *= _shadow(t, drift, image.shape[:2])[..., None]
            for middle_s, at, length_s, colour in arms:
                _draw_arm(light, at, (t - middle_s) / length_s, colour, t)
            image = np.asarray(np.clip(light, 0, 255), np.uint8)
            if self.disturbance.has(Disturbance.SHAKE):
                shift = np.clip(rng.normal(0, 0.9, 2), -2, 2)
                matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
                moved = cv2.warpAffine(image, matrix, RESOLUTION_WH, borderMode=cv2.BORDER_REPLICATE)
                image = np.asarray(moved, np.uint8)
            timestamp_ns = round(t * NANOSECONDS)
            spoilt = lens.apply(image, timestamp_ns)
            assert spoilt is not None
            yield Frame(self.camera.camera_id, index, timestamp_ns, spoilt)


def shelf_sequence(seed: int, disturbance: Disturbance = Disturbance.NONE, changes: int = 4) -> ShelfSequence:
    """Stock a random gondola, hang a camera before it, and take and put back units.

    Args:
        seed: Of the shop and of what happens; the same shop and changes come with every disturbance.
        disturbance: What else happens; ``dataclasses.replace`` puts another over the same changes at no cost.
        changes: How many units are taken or put back; something was taken before it is put back.
    """
    rng = np.random.default_rng([seed, 61])
    layout = random_layout(rng, gondolas=3, cameras=False, surfaces=False)
    number = layout.bins[int(rng.integers(len(layout.bins)))].gondola_id
    bins = tuple(b for b in layout.bins if b.gondola_id == number)
    plates = tuple(plate for plate in layout.plates if plate.gondola_id == number)
    camera = _camera_before(bins, rng)
    alone = replace(layout, bins=bins, plates=plates, cameras=(camera,))
    faces = [a_bin for a_bin in drawn_faces(alone, camera) if _large(a_bin)]
    goods, rows = _stocked(alone)
    renderer = Renderer(alone, [camera.camera_id], seed)
    nobody = _nobody()
    skeletons = pose(nobody)

    def picture() -> ImageArray:
        return renderer.render(camera.camera_id, nobody, skeletons, goods).image

    states, happened = [picture()], []
    usable = [a_bin for a_bin in faces if rows.get(a_bin.bin_id)]
    taken: list[tuple[str, int]] = []
    for step in range(changes):
        if not usable:
            break
        time_ns = round((QUIET_S + EVENT_S * step + REACH_S) * NANOSECONDS)
        if taken and rng.random() < 0.4:
            bin_id, row = taken.pop(int(rng.integers(len(taken))))
            where, handling = Whereabouts.SHELF, Handling.PUT_BACK
        else:
            choices = [b.bin_id for b in usable if rows[b.bin_id]]
            bin_id = choices[int(rng.integers(len(choices)))]
            row = rows[bin_id].pop(0)
            where, handling = Whereabouts.GONE, Handling.PICK
            taken.append((bin_id, row))
        whereabouts = goods.whereabouts.copy()
        whereabouts[row] = int(where)
        if handling is Handling.PUT_BACK:
            rows[bin_id].insert(0, row)
        goods = replace(goods, version=goods.version + 1, whereabouts=whereabouts)
        states.append(picture())
        happened.append(TrueChange(bin_id, handling, time_ns, goods.skus[goods.sku_index[row]]))
    return ShelfSequence(alone, camera, tuple(faces), tuple(happened), seed, disturbance, tuple(states))


def _large(a_bin: Bin) -> bool:
    outline = np.asarray(a_bin.polygon_px)
    return bool((np.ptp(outline, axis=0) >= LEAST_FACE_PX).all())


def _camera_before(bins: tuple[Bin, ...], rng: np.random.Generator) -> Camera:
    boxes = [b.box for b in bins if b.box is not None]
    corners = np.concatenate([box.corners_m for box in boxes])
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    inwards = boxes[0].world_from_box[:3, 1]
    aside = boxes[0].world_from_box[:3, 0]
    place = middle - inwards * rng.uniform(1.7, 2.3) + aside * rng.uniform(-0.6, 0.6)
    place[2] = rng.uniform(1.6, 2.4)
    width, height = RESOLUTION_WH
    focal = rng.uniform(430, 560)
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return Camera("shelf", intrinsics, np.zeros(5), looking_at(place, middle), RESOLUTION_WH)


def _stocked(layout: StoreLayout) -> tuple[Goods, dict[str, list[int]]]:
    """Goods in rows and columns in every bin, and the rows of each bin's units, those in front first."""
    products = {product.sku: product for product in layout.products}
    skus = tuple(sorted({a_bin.sku for a_bin in layout.bins if a_bin.sku}))
    index: list[int] = []
    places, yaws = [], []
    rows: dict[str, list[int]] = {}
    for a_bin in layout.bins:
        if a_bin.sku is None or a_bin.box is None:
            continue
        wide, deep, _ = look_of(products[a_bin.sku]).size_m + FINGERS_M
        length, depth = a_bin.box.size_m[:2]
        columns, files = max(1, int(length / wide)), min(3, max(1, int(depth / deep)))
        outwards = -a_bin.box.world_from_box[:3, 1]
        rows[a_bin.bin_id] = []
        for file in range(files):
            for column in range(columns):
                local = np.array([(column + 0.5) * length / columns, 0.01 + (file + 0.5) * deep, 0.0])
                rows[a_bin.bin_id].append(len(index))
                index.append(skus.index(a_bin.sku))
                places.append(a_bin.box.world_from_box[:3, :3] @ local + a_bin.box.world_from_box[:3, 3])
                yaws.append(np.arctan2(outwards[1], outwards[0]))
    n = len(index)
    goods = Goods(
        version=1,
        skus=skus,
        sku_index=np.array(index, np.int64),
        mass_g=np.full(n, 300.0),
        whereabouts=np.full(n, int(Whereabouts.SHELF)),
        position_m=np.array(places).reshape(-1, 3),
        yaw_rad=np.array(yaws),
        holder=np.full(n, -1),
        hand=np.zeros(n, np.int64),
        holders=(),
    )
    return goods, rows


def _nobody() -> Figures:
    none, flat = np.zeros(0), np.zeros(0, bool)
    whole = np.zeros(0, np.int64)
    return Figures(
        (),
        whole,
        whole,
        none,
        np.zeros((0, 2)),
        none,
        none,
        none,
        np.zeros((0, 2, 3)),
        np.zeros((0, 2)),
        np.zeros((0, 2), bool),
        flat,
        flat,
    )


def _draw_arm(image: FloatArray, at_px: FloatArray, phase: float, colour: FloatArray, t: float) -> None:
    """Draw an arm that comes from below, stays at a place and leaves, in place; ``phase`` -0.5 to 0.5 of its stay."""
    if not -0.5 <= phase <= 0.5:
        return
    share = min(1.0, 5 * (0.5 - abs(phase)))
    start = np.array([at_px[0] + 0.25 * (image.shape[1] / 2 - at_px[0]), image.shape[0] + 40.0])
    tip = start + share * (at_px - start) + 1.5 * np.array([np.sin(9 * t), np.cos(11 * t)])
    elbow = start + 0.5 * share * (at_px - start) + [14.0, 0.0]
    sleeve = (0.6 * colour[::-1]).tolist()
    for begin, end, width, paint in ((start, elbow, 34, sleeve), (elbow, tip, 24, colour.tolist())):
        cv2.line(image, np.rint(begin).astype(int).tolist(), np.rint(end).astype(int).tolist(), paint, width)
    cv2.circle(image, np.rint(tip).astype(int).tolist(), 17, colour.tolist(), -1, cv2.LINE_AA)


def _shadow(t: float, drift: FloatArray, shape_hw: tuple[int, int]) -> FloatArray:
    """Light left by two people's soft shadows that wander to and fro, shape (h, w), float32."""
    height, width = shape_hw
    x = np.arange(width, dtype=np.float32)[None] / width
    y = np.arange(height, dtype=np.float32)[:, None] / height
    kept = np.ones(shape_hw, np.float32)
    for number in range(2):
        at = 0.5 + 0.7 * np.sin(2 * np.pi * t / (13 + 6 * number) + drift[number])
        tilt = 0.3 * np.sin(drift[2 + number])
        away = (x - np.float32(at) + np.float32(tilt) * (y - np.float32(0.5))) / np.float32(0.09)
        kept *= 1 - np.float32(0.35) * np.exp(-0.5 * away**2)
    return kept
