"""What networks are shown while they learn: cut-outs of rendered pictures, spoiled in more ways than one camera would.

Rendered shops are all alike in ways that real ones are not, so colours, light, sharpness and noise are drawn wide; what
is true of people (upright, heads above feet, either way round) is kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from store_sim.datasets import MIRRORED_KEYPOINTS
from store_sim.posed_pictures import PosedPeople, PosedShelf, read_posed_shelf
from vision.arrays import BoolArray, FloatArray, ImageArray, IntArray
from vision.detector import PAD_GREY
from vision.top_down import CROP_PER_BOX, crop_transform, cut_out

PEOPLE_STRIDES = (8, 16, 32)
PEOPLE_SIDES_PX = ((0.0, 80.0), (64.0, 176.0), (144.0, 1e9))
"""Longer sides of the people whom each of the detector's grids answers for; they overlap, so nobody falls between."""
CENTRE_CELLS = 1.5  # cells this near to the middle of somebody answer for them (Tian et al., FCOS, 2019)
SMALLEST_PX = 10.0  # at the size that the network sees; smaller people are neither taught nor held against it
MOST_HIDDEN = 0.88

JOINTS_WH = (128, 160)
"""Size of the pictures of single people."""
HEAT_STRIDE = 4


@dataclass(frozen=True, slots=True)
class PeopleBatch:
    """Cut-outs for the detector.

    Attributes:
        images: Shape (b, h, w, 3), uint8 BGR.
        kind: For each cell of all grids one after the other, 1 somebody, 0 nobody, -1 not to be judged, shape (b, c).
        sides_px: Way from a cell's middle to the left, top, right and bottom of who is there, shape (b, c, 4).
    """

    images: ImageArray
    kind: IntArray
    sides_px: FloatArray


@dataclass(frozen=True, slots=True)
class JointsBatch:
    """Pictures of single people.

    Attributes:
        images: Shape (b, h, w, 3), uint8 BGR.
        keypoints: (x, y, visibility), shape (b, 17, 3), pixels of the cut-out; visibility 0 for points outside of it.
        holds: Shape (b, 2); see ``PosedPeople``.
        held_xyxy: Shape (b, 2, 4), pixels of the cut-out.
    """

    images: ImageArray
    keypoints: FloatArray
    holds: IntArray
    held_xyxy: FloatArray


class PictureStore:
    """All pictures of a folder of shops, decoded once into one file beside them, and everybody in them."""

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        """Read a folder that ``store_sim.posed_pictures.make_posed_dataset`` made.

        Args:
            folder: The shops.
            cache: File for decoded pictures; None keeps them in memory.

        Raises:
            OSError: There are no shops, or one cannot be read.
            ValueError: A file is no shop.
        """
        files = sorted(folder.glob("shop*.npz"))
        if not files:
            raise FileNotFoundError(f"{folder}: expected shops of rendered pictures, there are none")
        shelves = [read_posed_shelf(file) for file in files]
        count = sum(len(shelf) for shelf in shelves)
        first = shelves[0].image(0)
        shape = (count, *first.shape)
        if cache is None:
            self._images = np.empty(shape, np.uint8)
            self._fill(shelves)
        elif cache.exists() and (known := np.load(cache, mmap_mode="r")).shape == shape:
            self._images = known
        else:
            part = cache.with_suffix(".part")
            self._images = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
            self._fill(shelves)
            self._images.flush()
            part.replace(cache)
        self.people: list[PosedPeople] = [shelf.people_in(row) for shelf in shelves for row in range(len(shelf))]
        self.shop = np.concatenate([np.full(len(shelf), number) for number, shelf in enumerate(shelves)])

    def _fill(self, shelves: Sequence[PosedShelf]) -> None:
        row = 0
        for shelf in shelves:
            for number in range(len(shelf)):
                self._images[row] = shelf.image(number)
                row += 1

    def __len__(self) -> int:
        return len(self._images)

    def image(self, row: int) -> ImageArray:
        """A picture, shape (h, w, 3), BGR; not to be written to."""
        return np.asarray(self._images[row])


def people_batches(
    store: PictureStore, batch: int, size_wh: tuple[int, int], scales: tuple[float, float], rng: np.random.Generator
) -> Iterator[PeopleBatch]:
    """Give cut-outs for the detector for ever.

    Args:
        store: Pictures.
        batch: How many at a time.
        size_wh: Size of the cut-outs, pixels, multiples of 32.
        scales: Least and most that a picture is grown.
        rng: Decides everything.
    """
    order = np.zeros(0, np.int64)
    while True:
        if len(order) < batch:
            order = np.concatenate([order, rng.permutation(len(store))])
        rows, order = order[:batch], order[batch:]
        images = np.empty((batch, size_wh[1], size_wh[0], 3), np.uint8)
        kinds, sides = [], []
        for place, row in enumerate(rows.tolist()):
            images[place], xyxy, hidden = _people_cut(store.image(row), store.people[row], size_wh, scales, rng)
            kind, side = people_targets(xyxy, hidden, size_wh)
            kinds.append(kind)
            sides.append(side)
        yield PeopleBatch(images, np.stack(kinds), np.stack(sides))


def _people_cut(
    image: ImageArray,
    people: PosedPeople,
    size_wh: tuple[int, int],
    scales: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[ImageArray, FloatArray, FloatArray]:
    """Cut out a part; also the boxes in it, pixels of the cut-out, and how hidden each is."""
    height, width = image.shape[:2]
    scale = float(np.exp(rng.uniform(*np.log(scales))))
    stretch = float(np.exp(rng.normal(0, 0.05)))
    across, down = scale * stretch, scale / stretch
    flip = rng.random() < 0.5
    # Anywhere where the cut-out and the picture cover each other as much as they can.
    room_x, room_y = width * across - size_wh[0], height * down - size_wh[1]
    left = float(rng.uniform(min(0, room_x), max(0, room_x)))
    top = float(rng.uniform(min(0, room_y), max(0, room_y)))
    to_cut = np.array([[across, 0, -left], [0, down, -top]])
    if flip:
        to_cut = np.array([[-across, 0, size_wh[0] + left], [0, down, -top]])
    # Pixel edges map to pixel edges; OpenCV counts from the middle of the first pixel.
    shifted = to_cut.copy()
    shifted[:, 2] += to_cut[:, :2] @ [0.5, 0.5] - 0.5
    cut = cv2.warpAffine(
        image,
        shifted,
        size_wh,
        flags=cv2.INTER_LINEAR if scale > 0.6 else cv2.INTER_AREA,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(PAD_GREY,) * 3,
    )
    corners = people.xyxy.reshape(-1, 2, 2) @ to_cut[:, :2].T + to_cut[:, 2]
    xyxy = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    inside = np.clip(xyxy, 0, np.tile(size_wh, 2))
    area = np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1)
    left_over = np.prod(np.maximum(inside[:, 2:] - inside[:, :2], 0), axis=1) / np.maximum(area, 1e-6)
    kept = left_over > 0
    # Of whom the cut leaves a sliver, there is as little to be seen as of who is hidden.
    hidden = 1 - (1 - people.hidden) * np.minimum(1, 4 * left_over)
    return spoiled(np.asarray(cut, np.uint8), rng), inside[kept], hidden[kept]


def people_targets(xyxy: FloatArray, hidden: FloatArray, size_wh: tuple[int, int]) -> tuple[IntArray, FloatArray]:
    """Say which cells of the detector's grids answer for whom.

    Args:
        xyxy: Boxes, shape (n, 4), pixels of the input.
        hidden: How much of each is hidden, shape (n,).
        size_wh: Size of the input.

    Returns:
        As in ``PeopleBatch``, of one picture.
    """
    kinds, sides = [], []
    longer = (xyxy[:, 2:] - xyxy[:, :2]).max(axis=1, initial=0)
    taught = (longer >= SMALLEST_PX) & (hidden <= MOST_HIDDEN)
    order = np.argsort(-np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1), kind="stable")
    for stride, (least, most) in zip(PEOPLE_STRIDES, PEOPLE_SIDES_PX, strict=True):
        columns, rows = size_wh[0] // stride, size_wh[1] // stride
        x = (np.arange(columns) + 0.5) * stride
        y = (np.arange(rows) + 0.5) * stride
        kind = np.zeros((rows, columns), np.int64)
        side = np.ones((rows, columns, 4), np.float32)
        for row in order.tolist():  # small boxes last: where two answer for one cell, it is the smaller's
            left, top, right, bottom = xyxy[row].tolist()
            if not taught[row]:
                kind[np.ix_((y > top) & (y < bottom), (x > left) & (x < right))] = -1
                continue
            if not least <= longer[row] < most:
                continue
            middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
            near_x = (np.abs(x - middle_x) < CENTRE_CELLS * stride) & (x > left) & (x < right)
            near_y = (np.abs(y - middle_y) < CENTRE_CELLS * stride) & (y > top) & (y < bottom)
            near_x[np.abs(x - middle_x).argmin()] = near_y[np.abs(y - middle_y).argmin()] = True
            own = np.ix_(near_y, near_x)
            kind[own] = 1
            side[own] = np.stack(
                np.broadcast_arrays(
                    x[near_x][None] - left,
                    y[near_y][:, None] - top,
                    right - x[near_x][None],
                    bottom - y[near_y][:, None],
                ),
                axis=-1,
            )
        kinds.append(kind.ravel())
        sides.append(side.reshape(-1, 4))
    return np.concatenate(kinds), np.concatenate(sides)


def joints_batches(store: PictureStore, batch: int, rng: np.random.Generator) -> Iterator[JointsBatch]:
    """Give pictures of single people for ever."""
    index = np.array(
        [
            (row, person)
            for row, people in enumerate(store.people)
            for person in range(len(people))
            if is_taught(people)[person]
        ]
    )
    order = np.zeros(0, np.int64)
    while True:
        if len(order) < batch:
            order = np.concatenate([order, rng.permutation(len(index))])
        chosen, order = index[order[:batch]], order[batch:]
        made = [_joints_cut(store.image(row), store.people[row], person, rng) for row, person in chosen.tolist()]
        yield JointsBatch(*(np.stack(column) for column in zip(*made, strict=True)))


def is_taught(people: PosedPeople) -> BoolArray:
    """Say of whom a network on single people can learn something, shape (n,): large enough and not all hidden."""
    sides = people.xyxy[:, 2:] - people.xyxy[:, :2]
    return np.asarray((sides.max(axis=1, initial=0) >= 28) & (people.hidden <= 0.85))


def _joints_cut(
    image: ImageArray, people: PosedPeople, person: int, rng: np.random.Generator
) -> tuple[ImageArray, FloatArray, IntArray, FloatArray]:
    box = people.xyxy[person].astype(float)
    size = np.tile(box[2:] - box[:2], 2)
    # A detector's box misses by a few per cent a side, sometimes by more.
    box = box + size * np.clip(rng.normal(0, 0.05, 4), -0.2, 0.2)
    turn_rad = float(rng.normal(0, np.radians(8)))
    to_cut = crop_transform(box, JOINTS_WH, CROP_PER_BOX * float(np.exp(rng.normal(0, 0.1))), turn_rad=turn_rad)
    flip = rng.random() < 0.5
    if flip:
        to_cut = np.array([[-1, 0], [0, 1]]) @ to_cut + np.array([[0, 0, JOINTS_WH[0]], [0, 0, 0]])
    keypoints, holds, held = (
        people.keypoints[person].copy(),
        people.holds[person].copy(),
        people.held_xyxy[person].copy(),
    )
    if flip:
        keypoints, holds, held = keypoints[list(MIRRORED_KEYPOINTS)], holds[::-1], held[::-1]
    keypoints[:, :2] = keypoints[:, :2] @ to_cut[:, :2].T + to_cut[:, 2]
    outside = ((keypoints[:, :2] < 0) | (keypoints[:, :2] >= JOINTS_WH)).any(axis=1)
    keypoints[outside | (keypoints[:, 2] == 0)] = 0
    corners = held[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(2, 4, 2) @ to_cut[:, :2].T + to_cut[:, 2]
    held = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    middle = (held[:, :2] + held[:, 2:]) / 2
    with np.errstate(invalid="ignore"):
        gone = (holds == 1) & ((middle < 0) | (middle >= JOINTS_WH)).any(axis=1)
    holds = np.where(gone, -1, holds)
    return spoiled(cut_out(image, to_cut, JOINTS_WH), rng), keypoints.astype(np.float32), holds, held


def spoiled(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Change light, colours, sharpness and noise of a picture, and cover parts of it; shape (h, w, 3), uint8."""
    height, width = image.shape[:2]
    level = np.arange(256, dtype=np.float32) / 255
    if rng.random() < 0.85:
        gamma = float(np.exp(rng.normal(0, 0.25)))
        gain = np.exp(rng.normal(0, 0.18)) * np.exp(rng.normal(0, 0.07, 3))
        shift = rng.normal(0, 0.05)
        contrast = np.exp(rng.normal(0, 0.15))
        curve = (level**gamma)[:, None] * gain * contrast + shift + 0.4 * (1 - contrast)
        table = np.clip(curve * 255, 0, 255).astype(np.uint8)[None]
        image = np.asarray(cv2.LUT(image, table), np.uint8)
    draw = rng.random(5)
    if draw[0] < 0.35:  # how colourful, and now and then a turned palette: clothes of colours that no wardrobe has
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        share = float(rng.uniform(-0.6, 1.0)) if draw[0] > 0.05 else 1.0
        image = np.asarray(cv2.addWeighted(image, 1 - share, grey, share, 0), np.uint8)
    elif draw[0] < 0.45:
        image = np.ascontiguousarray(image[..., rng.permutation(3)])
    if draw[1] < 0.25:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.5))), np.uint8)
    if draw[2] < 0.3:
        noise = np.empty(image.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31)))
        cv2.randn(noise, np.zeros(3), np.full(3, float(rng.uniform(2, 14))))
        image = np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)
    if draw[3] < 0.3:
        image = image.copy()
        for _ in range(int(rng.integers(1, 4))):
            size = rng.uniform(0.05, 0.25, 2) * min(width, height)
            corner = rng.uniform(0, [width, height])
            low, high = corner.astype(int), (corner + size).astype(int)
            image[low[1] : high[1], low[0] : high[0]] = rng.integers(0, 256, 3)
    return image
