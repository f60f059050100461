"""What changed on a shelf face: the picture of a bin before and after a hand was there."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from vision.arrays import BoolArray, FloatArray, ImageArray
from vision.detections import Detections
from vision.frames import Frame
from vision.layout import Bin, polygon_area, polygon_margins

# COCO classes that people carry and shops sell: bags and sports goods, tableware and food, small electronics, and the
# household things from book to toothbrush (https://cocodataset.org/#explore, 80 classes). No people, animals,
# vehicles or furniture.
PRODUCT_CLASSES = (*range(24, 56), 58, *range(63, 68), *range(73, 80))

# Added to grey levels before the logarithm, so that the sensor's and the codec's noise in the dark does not look like
# contrast: at 8 levels one grey level is 12 %, in the middle of the range under 1 %.
DARK_LEVEL = 8.0
THUMBNAIL_WH = (64, 36)
NANOSECONDS = 1_000_000_000
LOG_LEVELS = np.log(np.arange(256, dtype=np.float32) + np.float32(DARK_LEVEL))
TRAIL_STEP_NS = NANOSECONDS // 15  # the moment of a change is found among looks this far apart
UNSETTLED = 0.75  # how much a verdict is worth when the stream began or ended with a hand in the bin
LIKENESS = 0.4  # a pixel looks like before if it differs from it by less than this share of the whole change
REST = 0.4  # an item is at rest when the motion where it is has fallen to this share of its peak
MOTION_NS = NANOSECONDS // 8  # what moves is seen between two looks this far apart
REST_NS = NANOSECONDS  # an item is on its way into or out of its place for less than this
KNOCK_PX = 0.5  # a shelf that is knocked, or a camera that trembles, may shift the patch by this much
TRAIL_LENGTH = 450  # a longer disturbance is kept in ever coarser steps

LogPicture: TypeAlias = NDArray[np.float32]


class Handling(StrEnum):
    """Which way an item went."""

    PICK = "pick"
    PUT_BACK = "put_back"


@dataclass(frozen=True, slots=True)
class ShelfChange:
    """What stood in a bin before a disturbance and after it differs in the picture.

    Attributes:
        bin_id: The bin.
        handling: Whether something left or came.
        quantity: How many units, at least 1.
        probability: That the change is real and of this kind, 0 to 1.
        start_ns: When the bin was first disturbed.
        time_ns: Best guess of the moment the item left or reached its place.
        end_ns: When the bin was still again.
        before: The bin's picture before, (h, w, 3) BGR.
        after: The same afterwards.
        region_px: Box around what changed in ``before`` and ``after``, (left, top, right, bottom) pixels; None where
            it is not known.
        skus: What it was, likeliest first, with probabilities; empty where nobody looked (``named``).
    """

    bin_id: str
    handling: Handling
    quantity: int
    probability: float
    start_ns: int
    time_ns: int
    end_ns: int
    before: ImageArray
    after: ImageArray
    region_px: tuple[int, int, int, int] | None = None
    skus: tuple[tuple[str, float], ...] = ()

    @property
    def item(self) -> ImageArray:
        """Picture of what was taken or put, shape (h, w, 3) BGR: where it changed, while the item stood there."""
        image = self.before if self.handling is Handling.PICK else self.after
        if self.region_px is None:
            return image
        left, top, right, bottom = self.region_px
        return np.asarray(image[top:bottom, left:right])


@dataclass(frozen=True, slots=True)
class ShelfSettings:
    """How a shelf face is watched. Shares are of the bin's area in the picture.

    Attributes:
        settle_s: A bin counts as still again when nothing in it moved for this long.
        patience_s: Something that reaches in over the outline is taken for an arm, and waited for, this long.
        contact_s: Longest span from first to last contact that is reported.
        disturbed_share: Less change than this is not looked at.
        item_share: Smallest visible part of an item that must change.
        noise_sigmas: A pixel has changed if it differs by this many standard deviations of its own noise ...
        contrast: ... and by at least this much in the logarithm of the grey level (0.07 is about 7 %; paper and
            plastic of two kinds differ more, the rounding of a codec less).
        min_confidence: Detections below this score are not counted.
        edge_balance: Without a detector one of the two pictures must have this much more edges than the other, as a
            share of both; less means that something only moved or turned.
        start_s: What stands still for this long when the stream begins with a hand in the bin stood there before.
        patch_px: The bin is compared at about this height or width, whichever is longer; averaging kills noise.
    """

    settle_s: float = 0.5
    patience_s: float = 8.0
    contact_s: float = 4.0
    disturbed_share: float = 0.01
    item_share: float = 0.02
    noise_sigmas: float = 4.0
    contrast: float = 0.07
    min_confidence: float = 0.25
    edge_balance: float = 0.15
    start_s: float = 0.3
    patch_px: int = 96

    def __post_init__(self) -> None:
        for name in ("settle_s", "patience_s", "contact_s", "start_s", "contrast", "noise_sigmas"):
            if not getattr(self, name) > 0:
                raise ValueError(f"ShelfSettings.{name}: expected a positive number, got {getattr(self, name)}")
        for name in ("disturbed_share", "item_share", "min_confidence", "edge_balance"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"ShelfSettings.{name}: expected a share between 0 and 1, got {getattr(self, name)}")
        if self.patch_px < 16:
            raise ValueError(f"ShelfSettings.patch_px: expected 16 or more, got {self.patch_px}")


def log_picture(image: ImageArray) -> LogPicture:
    """Logarithm of the grey levels, shape (h, w, 3): a change of exposure becomes an offset."""
    return np.asarray(LOG_LEVELS[image], np.float32)


def strongest(channels: LogPicture) -> LogPicture:
    """Largest of three channels, shape (..., 3): shape (...). Ten times faster than ``max`` along a short axis."""
    return np.asarray(np.maximum(np.maximum(channels[..., 0], channels[..., 1]), channels[..., 2]), np.float32)


def exposure_offset(picture: LogPicture, reference: LogPicture) -> LogPicture:
    """Offset of each channel, shape (3,), between two log pictures of one scene of which parts changed.

    The most frequent difference is taken, not the mean: pixels that did not change share one offset, those that did
    are scattered. So less than half of the picture may be enough.
    """
    difference = (picture - reference).reshape(-1, 3)
    grey = (difference[:, 0] + difference[:, 1] + difference[:, 2]) / 3
    # 150 steps of 2 % from -1.5 to 1.5: a factor of 4.5 either way.
    steps = np.clip((grey + 1.5) * 50, 0, 149).astype(np.int64)
    smooth = np.convolve(np.bincount(steps, minlength=150), np.ones(3), mode="same")
    peak = (int(smooth.argmax()) + 0.5) / 50 - 1.5
    near = np.abs(grey - peak) < 0.06
    rows = difference[near] if near.any() else difference
    return np.asarray(np.median(rows, axis=0), np.float32)


def without_shading(picture: LogPicture, reference: LogPicture) -> LogPicture:
    """Remove a smooth change of light from a log picture, so that it can be compared with a reference.

    The change is a plane in each channel (light that became stronger from one side), fitted with Tukey's biweight, so
    that what was taken or put, and differs more, does not count.

    Returns:
        The picture with the reference's light, shape (h, w, 3).
    """
    height, width = picture.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    basis = np.column_stack([np.ones(height * width), x.ravel(), y.ravel()]).astype(np.float32)
    difference = (picture - reference).reshape(-1, 3)
    shading = np.tile(exposure_offset(picture, reference), (height * width, 1))
    for width_of_trust in (0.2, 0.15, 0.1, 0.1):
        miss = strongest(np.abs(difference - shading)) / width_of_trust
        weight = np.where(miss < 1, (1 - miss**2) ** 2, 0).astype(np.float32)[:, None]
        normal = basis.T @ (weight * basis) + 1e-3 * np.eye(3, dtype=np.float32)
        shading = basis @ np.linalg.solve(normal, basis.T @ (weight * difference))
    return np.asarray(picture - shading.reshape(picture.shape), np.float32)


def edge_strength(picture: LogPicture) -> LogPicture:
    """Length of the gradient of a log picture, strongest channel, shape (h, w), per pixel."""
    dx = cv2.Sobel(picture, cv2.CV_32F, 1, 0) / 8
    dy = cv2.Sobel(picture, cv2.CV_32F, 0, 1) / 8
    return np.asarray(np.sqrt(strongest(np.asarray(dx**2 + dy**2, np.float32))), np.float32)


@dataclass(frozen=True, slots=True)
class _Patch:
    """Where a bin lies in the picture, and in the small patch that it is compared at.

    Attributes:
        rows: Rows of the picture, with a margin around the bin.
        columns: Columns of the picture.
        size_wh: Size of the patch.
        inside: Pixels of the patch that lie in the bin, shape (h, w).
        gate: Pixels on the patch's rim where something that reaches in from outside must be seen, shape (h, w). A
            side where the bin itself reaches the picture's edge is no gate.
        area_px: Number of pixels in the bin.
        scale: Patch pixels per picture pixel, (x, y).
    """

    rows: slice
    columns: slice
    size_wh: tuple[int, int]
    inside: BoolArray
    gate: BoolArray
    area_px: int
    scale: tuple[float, float]

    @classmethod
    def of(cls, a_bin: Bin, image_wh: tuple[int, int], patch_px: int) -> "_Patch":
        polygon = np.asarray(a_bin.polygon_px, float)
        low, high = polygon.min(axis=0), polygon.max(axis=0)
        margin = max(4.0, 0.25 * float((high - low).min()))
        left, top = np.floor(np.maximum(low - margin, 0)).astype(int)
        right, bottom = np.ceil(np.minimum(high + margin, image_wh)).astype(int)
        shrink = min(1.0, patch_px / max(*(high - low), 1.0))
        width, height = round((right - left) * shrink), round((bottom - top) * shrink)
        if min(width, height) < 8:
            raise ValueError(
                f"bin {a_bin.bin_id}: expected an outline that covers a good part of the {image_wh[0]}x{image_wh[1]} "
                f"picture, got x {low[0]:.0f} to {high[0]:.0f}, y {low[1]:.0f} to {high[1]:.0f}"
            )
        scale = width / (right - left), height / (bottom - top)
        canvas = np.zeros((height, width), np.uint8)
        # The corner (x, y) of a picture is the corner of a pixel, OpenCV's is the middle of one.
        corners = (polygon - (left, top)) * scale - 0.5
        cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 1)
        inside = canvas.astype(bool)
        if inside.sum() < 64:
            raise ValueError(
                f"bin {a_bin.bin_id}: only {inside.sum()} compared pixels lie in the picture, expected at least 64"
            )
        gate = np.zeros((height, width), bool)
        for rim in (np.s_[:2, :], np.s_[-2:, :], np.s_[:, :2], np.s_[:, -2:]):
            if not inside[rim].any():
                gate[rim] = True
        return cls(
            slice(int(top), int(bottom)),
            slice(int(left), int(right)),
            (width, height),
            inside,
            gate,
            int(inside.sum()),
            scale,
        )

    def cut(self, image: ImageArray) -> ImageArray:
        return np.asarray(
            cv2.resize(image[self.rows, self.columns], self.size_wh, interpolation=cv2.INTER_AREA), np.uint8
        )

    def share(self, mask: BoolArray) -> float:
        return float((mask & self.inside).sum()) / self.area_px

    def box_mask(self, boxes: FloatArray, margin: float = 0.0) -> BoolArray:
        """Pixels of the patch in boxes of the picture, shape (n, 4), each grown by a share of its size."""
        mask = np.zeros(self.inside.shape, bool)
        grow = margin * (boxes[:, 2:] - boxes[:, :2])
        for x1, y1, x2, y2 in np.column_stack([boxes[:, :2] - grow, boxes[:, 2:] + grow]):
            left, right = ((v - self.columns.start) * self.scale[0] for v in (x1, x2))
            top, bottom = ((v - self.rows.start) * self.scale[1] for v in (y1, y2))
            mask[max(0, int(top)) : max(0, round(bottom)), max(0, int(left)) : max(0, round(right))] = True
        return mask


@dataclass(frozen=True, slots=True)
class _Sample:
    """One look at one bin: the patch, the whole picture's thumbnail and the product boxes in the bin, shape (n, 4)."""

    timestamp_ns: int
    patch: ImageArray
    thumbnail: LogPicture
    boxes: FloatArray

    @property
    def picture(self) -> LogPicture:
        return log_picture(self.patch)


@dataclass(slots=True)
class _Still:
    """How a bin looks when nothing moves.

    Attributes:
        picture: Mean log patch.
        variance: Of each pixel over time, shape (h, w).
        thumbnail: Mean log thumbnail of the whole picture.
        places: Where detected products stand, shape (n, 4), pixels of the picture.
        presence: In which share of the frames each was detected, shape (n,).
        image: The bin at full size, for people.
        provisional: The stream began with a hand in the bin, so the picture is not to be trusted.
    """

    picture: LogPicture
    variance: LogPicture
    thumbnail: LogPicture
    places: FloatArray
    presence: FloatArray
    image: ImageArray
    provisional: bool = False

    @classmethod
    def of(cls, samples: Sequence[_Sample], image: ImageArray, provisional: bool = False) -> "_Still":
        last = samples[-1]
        pictures = np.stack([sample.picture - exposure_offset(sample.thumbnail, last.thumbnail) for sample in samples])
        places, presence = standing_boxes([sample.boxes for sample in samples], settled=0.85 if provisional else 0.0)
        return cls(
            pictures.mean(axis=0),
            strongest(pictures.var(axis=0)),
            last.thumbnail,
            places,
            presence,
            image,
            provisional,
        )


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What happened, how sure, and the pixels of the patch that show it, shape (h, w)."""

    handling: Handling
    quantity: int
    probability: float
    region: BoolArray


def box_overlap(box: FloatArray, boxes: FloatArray) -> FloatArray:
    """Intersection over union of one box, shape (4,), with others, shape (n, 4): shape (n,)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(common / np.maximum(np.prod(box[2:] - box[:2]) + areas - common, 1e-9))


def standing_boxes(
    frames: Sequence[FloatArray], overlap: float = 0.75, settled: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Boxes that stay in one place over several frames.

    Args:
        frames: The boxes of each frame, each of shape (n, 4).
        overlap: Boxes of two frames are the same if their intersection over union is at least this.
        settled: The first and the last box of one must overlap at least this much: less if it is carried.

    Returns:
        Mean boxes, shape (k, 4), and the share of the frames that each was seen in, shape (k,); none below a half.
    """
    sums: list[FloatArray] = []
    hits: list[int] = []
    ends: list[tuple[FloatArray, FloatArray]] = []
    for boxes in frames:
        free = list(range(len(sums)))
        for box in boxes:
            if free:
                means = np.stack([sums[i] / hits[i] for i in free])
                overlaps = box_overlap(box, means)
                best = int(overlaps.argmax())
                if overlaps[best] >= overlap:
                    i = free.pop(best)
                    sums[i] = sums[i] + box
                    hits[i] += 1
                    ends[i] = ends[i][0], box
                    continue
            sums.append(np.asarray(box, float))
            hits.append(1)
            ends.append((box, box))
    kept = [
        i
        for i, (first, last) in enumerate(ends)
        if 2 * hits[i] >= len(frames) and box_overlap(first, last[None])[0] >= settled
    ]
    if not kept:
        return np.zeros((0, 4)), np.zeros(0)
    return np.stack([sums[i] / hits[i] for i in kept]), np.array([hits[i] / len(frames) for i in kept])


def products_in_bin(detections: Detections, a_bin: Bin, min_confidence: float) -> FloatArray:
    """Boxes of products that stand in a bin.

    Returns:
        Boxes, shape (n, 4), pixels: their centre lies in the outline, they are no larger than it, and of boxes that
        cover each other (two classes for one thing) only the surest is left.
    """
    polygon = np.asarray(a_bin.polygon_px, float)
    wanted = np.isin(detections.class_id, PRODUCT_CLASSES) & (detections.confidence >= min_confidence)
    boxes = detections.xyxy[wanted].astype(float)
    sizes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    here = (polygon_margins(polygon, centres) > 0) & (sizes <= 1.2 * abs(polygon_area(polygon)))
    boxes = boxes[here][np.argsort(-detections.confidence[wanted][here], kind="stable")]
    kept: list[FloatArray] = []
    for box in boxes:
        if not kept or box_overlap(box, np.stack(kept)).max() < 0.6:
            kept.append(box)
    return np.stack(kept) if kept else np.zeros((0, 4))


def unmatched_boxes(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """Which of some boxes, shape (n, 4), have no partner among others, nearest pairs first: indices, shape (k,)."""
    centres, other_centres = (np.asarray(b[:, :2] + b[:, 2:]) / 2 for b in (boxes, others))
    distances = np.linalg.norm(centres[:, None] - other_centres[None], axis=2)
    free = set(range(len(boxes)))
    for _ in range(min(len(boxes), len(others))):
        i, j = np.unravel_index(int(distances.argmin()), distances.shape)
        free.discard(int(i))
        distances[i, :] = distances[:, j] = np.inf
    return np.array(sorted(free), int)


def changed_pixels(picture: LogPicture, reference: LogPicture, tolerance: LogPicture) -> BoolArray:
    """Pixels whose strongest channel differs by more than a tolerance, shape (h, w), without lone ones."""
    different = (strongest(np.abs(picture - reference)) > tolerance).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(different, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)).astype(bool))


def reaching_in(changed: BoolArray, inside: BoolArray, gate: BoolArray) -> BoolArray:
    """Those changed pixels that belong to something that comes in from outside: an arm, not an item.

    Args:
        changed: Changed pixels, shape (h, w).
        inside: Pixels of the bin.
        gate: Pixels at the rim, well outside the bin.

    Returns:
        The connected regions of ``changed`` that touch both.
    """
    count, labels = cv2.connectedComponents(changed.astype(np.uint8), connectivity=8)
    touches = np.zeros(count, bool)
    touches[np.intersect1d(labels[changed & inside], labels[changed & gate])] = True
    touches[0] = False
    return np.asarray(touches[labels])


def edge_balance(before: LogPicture, after: LogPicture, region: BoolArray) -> float:
    """Which of two log pictures shows an item in a region, and which the bare shelf.

    An item ends at an outline and has a label; what is behind it goes on beneath. So the picture with the item has
    more edges in and around the region in which the two differ.

    Args:
        before: Log picture, shape (h, w, 3).
        after: The same afterwards, with the same light.
        region: Where they differ, shape (h, w).

    Returns:
        From -1 (all edges are gone) to 1 (all edges are new); near 0 when something only moved.
    """
    around = cv2.dilate(region.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    edges_before, edges_after = (float(edge_strength(p)[around].sum()) for p in (before, after))
    return (edges_after - edges_before) / max(edges_before + edges_after, 1e-9)


def shadows(before: LogPicture, after: LogPicture, region: BoolArray) -> BoolArray:
    """Those connected parts of a region that only became darker or brighter, shape (h, w).

    A shadow leaves the colour and the texture beneath as they were and has a soft edge.
    """
    shadow = np.zeros_like(region)
    count, labels = cv2.connectedComponents(region.astype(np.uint8), connectivity=8)
    step = edge_strength(after - before)
    for label in range(1, count):
        part = labels == label
        difference = (after - before)[part]
        depth = float(np.abs(np.median(difference.mean(axis=1))))
        colour = float(np.ptp(np.median(difference, axis=0)))
        rim = part & ~cv2.erode(part.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        sharpness = float(np.median(step[rim])) / max(depth, 1e-6)
        if colour < 0.25 * depth and sharpness < 0.2:
            shadow |= part
    return shadow


def step_moment(resemblance: FloatArray) -> int:
    """Index at which a series turns from looking like before to looking like after.

    Args:
        resemblance: From -1 (like before) through 0 (like neither, a hand is in front) to 1 (like after), shape (n,).

    Returns:
        The first index that belongs to "after", 0 to n - 1: the split with the best agreement on both sides.
    """
    agreement = np.cumsum(resemblance[::-1])[::-1] - np.concatenate([[0.0], np.cumsum(resemblance)[:-1]])
    return int(agreement.argmax())


class _BinWatch:
    """The state of one bin: still, or disturbed since some time."""

    def __init__(self, a_bin: Bin, settings: ShelfSettings, image_wh: tuple[int, int]) -> None:
        self._bin = a_bin
        self._settings = settings
        self._patch = _Patch.of(a_bin, image_wh, settings.patch_px)
        self._still: _Still | None = None
        self._recent: deque[_Sample] = deque()
        self._trail: list[_Sample] = []
        self._trail_step_ns = TRAIL_STEP_NS
        self._first_ns = -1
        self._started_ns: int | None = None
        self._moved_ns = 0
        self._image: ImageArray = np.zeros((1, 1, 3), np.uint8)
        self._quiet: list[_Sample] = []
        self._quiet_image: ImageArray | None = None

    @property
    def started_ns(self) -> int | None:
        return self._started_ns

    def update(self, frame: Frame, thumbnail: LogPicture, detections: Detections) -> ShelfChange | None:
        settings = self._settings
        now_ns = frame.timestamp_ns
        boxes = products_in_bin(detections, self._bin, settings.min_confidence)
        sample = _Sample(now_ns, self._patch.cut(frame.image), thumbnail, boxes)
        self._recent.append(sample)
        self._image = frame.image
        # One sample older than the span is kept, so that the span is always covered.
        while len(self._recent) > 2 and self._recent[1].timestamp_ns <= now_ns - settings.settle_s * NANOSECONDS:
            self._recent.popleft()
        if self._first_ns < 0:
            self._first_ns = now_ns
        if self._still is None:
            if now_ns - self._first_ns < settings.start_s * NANOSECONDS:
                return None
            self._still = _Still.of(self._recent, self._cut_full(), provisional=True)
            self._begin(self._first_ns)
        tolerance = self._tolerance(self._still)
        moving = self._moving(sample, tolerance)
        picture = sample.picture - exposure_offset(sample.thumbnail, self._still.thumbnail)
        changed = changed_pixels(picture, self._still.picture, tolerance)
        if self._started_ns is None:
            if max(self._patch.share(moving), self._patch.share(changed)) >= settings.disturbed_share:
                self._begin(now_ns)
            elif moving.mean() < settings.disturbed_share:
                self._learn(sample, picture)
            return None
        self._keep(sample)
        if self._patch.share(moving) >= settings.disturbed_share:
            self._moved_ns = now_ns
        if now_ns - self._moved_ns < settings.settle_s * NANOSECONDS:
            return None
        if (
            self._patch.share(self._differs(sample.picture, self._recent[0].picture, tolerance))
            >= settings.disturbed_share
        ):
            return None
        if now_ns - self._moved_ns < settings.patience_s * NANOSECONDS and self._reached_into(
            sample.picture, tolerance
        ):
            return None
        return self._settle(_Still.of(self._recent, self._cut_full()))

    def _differs(self, picture: LogPicture, reference: LogPicture, tolerance: LogPicture) -> BoolArray:
        return changed_pixels(without_shading(picture, reference), reference, tolerance)

    def _reached_into(self, picture: LogPicture, tolerance: LogPicture) -> bool:
        """Whether something reaches in over the outline that was not there when the bin was last still."""
        still = self._still
        if still is None or still.provisional:
            return False
        level = without_shading(picture, still.picture)
        arms = self._arms(changed_pixels(level, still.picture, tolerance))
        if self._patch.share(arms) < self._settings.disturbed_share:
            return False
        return edge_balance(still.picture, level, arms) > 0

    def _arms(self, changed: BoolArray) -> BoolArray:
        # An arm is thick; the thin lines are edges of the shelf after a knock.
        thick = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(bool)
        return reaching_in(thick, self._patch.inside, self._patch.gate)

    def finish(self) -> ShelfChange | None:
        if self._started_ns is None or self._still is None or not self._recent:
            return None
        end_ns = self._recent[-1].timestamp_ns
        since_ns = end_ns - self._settings.start_s * NANOSECONDS
        samples = [sample for sample in self._recent if sample.timestamp_ns >= since_ns]
        if len(samples) < 2:
            return None
        calm = self._moved_ns < since_ns
        return self._settle(_Still.of(samples, self._cut_full(), provisional=not calm))

    def _cut_full(self, image: ImageArray | None = None) -> ImageArray:
        return (self._image if image is None else image)[self._patch.rows, self._patch.columns].copy()

    def _begin(self, start_ns: int) -> None:
        if self._still is not None and self._quiet:
            self._still.places, self._still.presence = standing_boxes([sample.boxes for sample in self._quiet])
            self._still.image = self._cut_full(self._quiet_image)
        self._quiet, self._quiet_image = [], None
        self._started_ns = self._moved_ns = start_ns
        self._trail = list(self._recent)
        self._trail_step_ns = TRAIL_STEP_NS

    def _keep(self, sample: _Sample) -> None:
        if sample.timestamp_ns - self._trail[-1].timestamp_ns >= self._trail_step_ns:
            self._trail.append(sample)
        if len(self._trail) > TRAIL_LENGTH:
            self._trail = self._trail[::2]
            self._trail_step_ns *= 2

    def _tolerance(self, still: _Still) -> LogPicture:
        # An edge that trembles by a fraction of a pixel makes its neighbours uncertain too.
        spread = cv2.dilate(np.sqrt(still.variance), np.ones((3, 3), np.uint8))
        noise = np.maximum(self._settings.noise_sigmas * spread, self._settings.contrast)
        return np.asarray(noise + KNOCK_PX * edge_strength(still.picture), np.float32)

    def _moving(self, sample: _Sample, tolerance: LogPicture) -> BoolArray:
        """Pixels that differ from about a sixth of a second ago, or from the frame before if that is longer."""
        then = next(
            (s for s in reversed(self._recent) if s.timestamp_ns <= sample.timestamp_ns - NANOSECONDS // 6),
            self._recent[0],
        )
        offset = exposure_offset(sample.thumbnail, then.thumbnail)
        return changed_pixels(sample.picture - offset, then.picture, tolerance)

    def _learn(self, sample: _Sample, picture: LogPicture) -> None:
        """Let the still picture and its noise follow slow changes of the light."""
        still = self._still
        assert still is not None
        gap_s = (sample.timestamp_ns - self._recent[-2].timestamp_ns) / NANOSECONDS if len(self._recent) > 1 else 0.0
        weight = np.float32(min(1.0, gap_s / 2.0))
        miss = picture - still.picture
        still.picture = still.picture + weight * miss
        still.variance = still.variance + weight * (strongest(miss**2) - still.variance)
        self._quiet = list(self._recent)
        self._quiet_image = self._image

    def _settle(self, after: _Still) -> ShelfChange | None:
        before, started_ns = self._still, self._started_ns
        assert before is not None
        assert started_ns is not None
        change = self._judge(before, after, started_ns)
        self._still = replace(after, variance=np.maximum(after.variance, 0.25 * before.variance))
        self._started_ns = None
        return change

    def _judge(self, before: _Still, after: _Still, started_ns: int) -> ShelfChange | None:
        """Say what left or came between two still pictures, or None."""
        level = without_shading(after.picture, before.picture)
        tolerance = np.maximum(self._tolerance(before), self._tolerance(after))
        changed = changed_pixels(level, before.picture, tolerance)
        verdict = self._counted(before, after, level, changed)
        if verdict is None and not before.provisional:
            verdict = self._pictured(before, after, level, changed)
        if verdict is None:
            return None
        certainty = UNSETTLED if before.provisional or after.provisional else 1.0
        time_ns = self._moment(before, level, verdict.region)
        half_ns = int(self._settings.contact_s * NANOSECONDS / 2)
        return ShelfChange(
            self._bin.bin_id,
            verdict.handling,
            verdict.quantity,
            certainty * verdict.probability,
            max(min(started_ns, time_ns), time_ns - half_ns),
            time_ns,
            min(max(self._moved_ns, time_ns), time_ns + half_ns),
            before.image,
            after.image,
        )

    def _counted(self, before: _Still, after: _Still, level: LogPicture, changed: BoolArray) -> _Verdict | None:
        """Judge by the number of products that the detector sees, where the picture changed as well."""
        came = after.places[unmatched_boxes(after.places, before.places)]
        left = before.places[unmatched_boxes(before.places, after.places)]
        if not len(came) and not len(left):
            return None
        put = len(came) > 0
        boxes = came if put else left
        region = changed & self._patch.inside & self._patch.box_mask(boxes)
        if self._patch.share(region) < self._settings.item_share:
            return None
        balance = edge_balance(before.picture, level, region)
        agreement = balance if put else -balance
        handling = Handling.PUT_BACK if put else Handling.PICK
        return _Verdict(handling, len(boxes), float(np.clip(0.9 + 0.1 * agreement, 0.6, 0.98)), region)

    def _pictured(self, before: _Still, after: _Still, level: LogPicture, changed: BoolArray) -> _Verdict | None:
        """Judge by the picture alone, away from products that were detected before and after: those only moved."""
        # A detector's boxes are not exact to the pixel.
        detected = self._patch.box_mask(np.concatenate([before.places, after.places]), margin=0.1)
        region = changed & self._patch.inside & ~self._arms(changed) & ~detected
        region &= ~shadows(before.picture, level, region)
        balance = edge_balance(before.picture, level, region)
        if self._patch.share(region) < self._settings.item_share or abs(balance) < self._settings.edge_balance:
            return None
        handling = Handling.PUT_BACK if balance > 0 else Handling.PICK
        return _Verdict(handling, 1, float(min(0.8, 0.5 + 0.6 * abs(balance))), region)

    def _moment(self, before: _Still, after: LogPicture, region: BoolArray) -> int:
        """When the item left or reached its place.

        The region turns from looking like before to looking like after while the item is on its way, a little above
        its place. A put item comes to rest only after that, a picked one began to move before; the middle is taken.
        """
        old, new = before.picture[region], after[region]
        apart = np.maximum(np.linalg.norm(new - old, axis=1), 1e-6)
        times_ns = np.array([sample.timestamp_ns for sample in self._trail])
        seen = [
            log_picture(sample.patch[region]) - exposure_offset(sample.thumbnail, before.thumbnail)
            for sample in self._trail
        ]
        resemblance, motion = np.zeros(len(seen)), np.zeros(len(seen))
        then = np.maximum(np.searchsorted(times_ns, times_ns - MOTION_NS, side="right") - 1, 0)
        for i, look in enumerate(seen):
            to_old, to_new = np.linalg.norm(look - old, axis=1), np.linalg.norm(look - new, axis=1)
            like_new = (to_new < to_old) & (to_new < LIKENESS * apart)
            like_old = (to_old <= to_new) & (to_old < LIKENESS * apart)
            resemblance[i] = like_new.mean() - like_old.mean()
            motion[i] = np.minimum(np.linalg.norm(look - seen[then[i]], axis=1) / apart, 1).mean()
        turn = step_moment(resemblance)
        near = np.abs(times_ns - times_ns[turn]) <= REST_NS
        calm = near & (motion < REST * motion[near].max())
        put = edge_balance(before.picture, after, region) > 0
        order = np.arange(turn, len(seen)) if put else np.arange(turn, -1, -1)
        order = order[near[order]]
        rest = next((i for i in order if calm[i]), order[motion[order].argmin()])
        rest_ns = (times_ns[rest] + times_ns[then[rest]]) // 2
        return int((times_ns[turn] + rest_ns) // 2)


class ShelfWatcher:
    """Watches the bins drawn in one camera's picture and says what left them and what came.

    Each bin is still or disturbed. A still bin's picture and noise are learnt; a bin is disturbed when something in it
    moves or differs, and still again when nothing has moved for a while and nothing reaches in over its outline. Then
    the still pictures before and after, and the products detected in them, are compared. A hand that leaves
    everything as it was gives nothing.

    Args:
        bins: Bins with a ``polygon_px`` in this camera's picture, fitted to its size
            (`StoreLayout.for_pictures`).
        settings: How to watch.

    Raises:
        ValueError: A bin is not drawn in a picture, or bins of several cameras are mixed.
    """

    def __init__(self, bins: Sequence[Bin], settings: ShelfSettings | None = None) -> None:
        for a_bin in bins:
            if a_bin.polygon_px is None:
                raise ValueError(f"bin {a_bin.bin_id}: expected an outline drawn in a picture, got a box in the world")
        cameras = sorted({str(a_bin.camera_id) for a_bin in bins})
        if len(cameras) > 1:
            raise ValueError(f"ShelfWatcher: expected bins of one camera, got {', '.join(cameras)}")
        self._bins = tuple(bins)
        self._settings = settings or ShelfSettings()
        self._watches: list[_BinWatch] = []
        self._image_wh: tuple[int, int] | None = None
        self._last_ns: int | None = None

    @property
    def unsettled_since_ns(self) -> int | None:
        """When the oldest disturbance began that is not judged yet, store clock; None if every bin is still."""
        return min((watch.started_ns for watch in self._watches if watch.started_ns is not None), default=None)

    def update(self, frame: Frame, detections: Detections) -> list[ShelfChange]:
        """Look at the next frame and return the changes that are now certain enough, in order of their time.

        Args:
            frame: The camera's next picture; timestamps rise.
            detections: What was detected in it, all classes; empty if no detector runs.

        Raises:
            ValueError: Frame or detections are of another camera or size, or time ran backwards.
        """
        if detections.camera_id != frame.camera_id:
            raise ValueError(f"expected detections of camera {frame.camera_id}, got {detections.camera_id}")
        image_wh = frame.image.shape[1], frame.image.shape[0]
        if self._image_wh is None:
            self._watches = [_BinWatch(a_bin, self._settings, image_wh) for a_bin in self._bins]
            self._image_wh = image_wh
        if image_wh != self._image_wh:
            raise ValueError(
                f"camera {frame.camera_id}: expected pictures of {self._image_wh[0]}x{self._image_wh[1]}, "
                f"got {image_wh[0]}x{image_wh[1]}"
            )
        if self._last_ns is not None and frame.timestamp_ns <= self._last_ns:
            raise ValueError(
                f"camera {frame.camera_id}: expected a frame after {self._last_ns} ns, got {frame.timestamp_ns} ns"
            )
        self._last_ns = frame.timestamp_ns
        thumbnail = log_picture(
            np.asarray(cv2.resize(frame.image, THUMBNAIL_WH, interpolation=cv2.INTER_AREA), np.uint8)
        )
        changes = [watch.update(frame, thumbnail, detections) for watch in self._watches]
        return sorted((c for c in changes if c is not None), key=lambda c: c.time_ns)

    def finish(self) -> list[ShelfChange]:
        """Judge what is still open at the end of the stream."""
        changes = [watch.finish() for watch in self._watches]
        return sorted((c for c in changes if c is not None), key=lambda c: c.time_ns)
