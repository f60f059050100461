"""What changed on the faces of stocked shelves, seen by any calibrated camera.

``vision.shelf`` watches bins drawn by hand before a bare background, one by one. Faces of a stocked gondola tile the
picture: an arm crosses several of them, behind a taken unit stands another like it, shadows wander over all. So the
picture is watched as a whole here. At half its size it is compared with a reference, frame by frame, after shake,
exposure, tone curve and soft light have been taken out of the difference: what differs and reaches in from the rim, or
moves, is somebody. When they have gone from before a face, means of some frames just before and just after are compared
at full size; what shows another fine structure there has been taken or put.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import cv2
import numpy as np

from vision.arrays import BoolArray, FloatArray, ImageArray, IntArray
from vision.cameras import Camera
from vision.detections import Detections
from vision.frames import Frame
from vision.layout import Bin, Box, StoreLayout, polygon_area
from vision.products import Gallery, ProductRecogniser
from vision.shelf import (
    DARK_LEVEL,
    LOG_LEVELS,
    Handling,
    LogPicture,
    ShelfChange,
    edge_balance,
    edge_strength,
    log_picture,
    strongest,
)

NANOSECONDS = 1_000_000_000
FLATTEST_SINE = 0.2  # a face seen at a flatter angle, 12 degrees, shows its goods' edges only
MOSTLY = 0.7  # the share of a face that must lie in the picture
NARROWEST_PX, SMALLEST_FACE_PX = 12.0, 300.0  # a face smaller than this has too few pixels to be compared
LEAST_FACE_PX = 24  # narrower or lower faces show too little of what stands in them to be watched
WORKING_WIDTH = 640  # wider pictures are shrunk: faces keep enough pixels, and noise is averaged away
AROUND_PX = 48  # of the picture around the faces is watched as well: whoever reaches in comes from there
CELL_PX = 8  # of half the picture's size: light is told from things on a grid this fine ...
LIGHT_CELLS = 5  # ... as the median over so many cells each way: things hide less than half of 80 pixels
LEVELS = 24  # of the tone curve that is fitted between two pictures
DARKEST, BRIGHTEST = 6, 249  # beyond, a picture says nothing of how dark or bright a thing is
MOST_SHIFT_PX = 4.0  # a camera that has moved by more has been moved for good
LEAST_SHIFT_PX = 0.06  # less is the estimate's own noise
PHASE_TRUST = 0.08  # response of the phase correlation below which nothing is shifted
LIVELY = 0.08  # share of a thing's pixels that move if it is somebody; noise moves fewer
HIDDEN_SHARE = 0.02  # of a face; less is not somebody before it
KNOCK_PX = 0.25  # what is left of shake after it was taken out, and half a row of an encoder's blocks
SOFT_PX = 0.8  # pictures are compared a little out of focus: noise and rows of blocks count less
FINE_PX, FINE_NOISE = 3.0, 0.03  # structure is what is finer than this; less than this much of it is noise
BESIDE_PX = 13  # twice how far the blur of structure reaches
WINDOW_PX = 3.0  # structure is compared within about this
UNLIKE = 0.6  # things are other things if so much of both structures is not shared ...
LEAST_STRUCTURE, LEAST_CONTRAST = 0.07, 0.1  # ... and it differs by this, in the logarithm of grey levels
LIKE_BEFORE = 0.6  # a face has gone back to an earlier state if its structure correlates with that state's so much
LASTING = 0.5  # what a second look does not find at as much of the same place was light, or somebody
MOST_AT_ONCE = 0.3  # of what is seen around faces; where more changes at once it was the camera, or the light
EDGES_KEPT = 10  # frames; the reference follows within seconds
STATES_KEPT = 6  # earlier states of a face; hands seldom go deeper than a row of goods
NOBODY_KEPT = 100
STILL_S = 1.0  # stills are means over so long, and made as often
ARRIVES_S = 0.35  # somebody may have been in the picture for so long before it was noticed
KEPT_S = 1.6
ANCHOR_S = 300.0  # what shifts are measured against follows light and stock as often as this
FOOT = 0.33  # of a region's height is where a thing stands
FIRST_ODDS = 2.0  # of a pick where nothing was taken before: few things are put where they were not taken from
EDGE_WEIGHT, FOOT_EDGE_WEIGHT, FOOT_COLOUR_WEIGHT = 10.0, 6.0, 5.0
"""Log-odds against a pick by the share of edges and the logarithm of colour gained. Fitted on 96 changes of rendered
shelves, of 16 shops; the probabilities that come of them are not calibrated on others."""


@dataclass(frozen=True, slots=True)
class FaceSettings:
    """How faces are watched. Shares are of a face's area in the picture.

    Attributes:
        every_s: Frames that come sooner after the last one that was looked at are left out.
        settle_s: What is before a face must have been gone for this long before the face is compared.
        motion_s: Motion is what differs between pictures this far apart.
        patience_s: What reaches in and does not even tremble for longer than this is taken for a thing, unless it was
            detected as a person.
        reach_s: Somebody was before a face for at least this long if they took something; a lamp or a falling thing is
            not.
        nobody_s: What has changed with nobody before it is compared when it has stayed for this long.
        item_share: Smallest part of a face that an item changes.
        least_px: Fewest pixels that count as a thing.
        contrast: Least difference of somebody before the shelf, in the logarithm of the grey level ...
        noise_sigmas: ... and in standard deviations of a pixel's own noise.
        learn_s: The reference follows what is unchanged within this time.
        start_s: The first so long is taken for the reference, whatever it shows.
    """

    every_s: float = 0.15
    settle_s: float = 0.7
    motion_s: float = 0.35
    patience_s: float = 2.5
    reach_s: float = 0.45
    nobody_s: float = 2.0
    item_share: float = 0.012
    least_px: int = 40
    contrast: float = 0.1
    noise_sigmas: float = 3.0
    learn_s: float = 4.0
    start_s: float = 1.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"FaceSettings.{name}: expected a positive number, got {getattr(self, name)}")


def shift_between(picture: FloatArray, reference: FloatArray) -> tuple[float, float]:
    """How far a picture is shifted against a reference, (x, y) pixels; (0, 0) where that cannot be told.

    Args:
        picture: Grey levels, shape (h, w), float32.
        reference: The same.
    """
    (x, y), response = cv2.phaseCorrelate(reference, picture, _window(picture.shape[1], picture.shape[0]))
    length = float(np.hypot(x, y))
    if response < PHASE_TRUST or not LEAST_SHIFT_PX <= length <= MOST_SHIFT_PX:
        return 0.0, 0.0
    return float(x), float(y)


@lru_cache(maxsize=16)
def _window(width: int, height: int) -> FloatArray:
    return np.asarray(cv2.createHanningWindow((width, height), cv2.CV_32F))


def light_between(difference: LogPicture, counted: BoolArray) -> LogPicture:
    """The part of a difference of two log pictures that is light: exposure, shade and soft shadow.

    Args:
        difference: Shape (h, w, 3).
        counted: Pixels that tell, shape (h, w).

    Returns:
        A smooth field, shape (h, w, 3): medians of cells, then over neighbouring cells, so that things do not count.
    """
    height, width = difference.shape[:2]
    rows, columns = -(-height // CELL_PX), -(-width // CELL_PX)
    # Every other pixel is enough for a median.
    thin = np.where(counted[::2, ::2, None], difference[::2, ::2], np.float32(np.nan))
    half = CELL_PX // 2
    padded = np.full((rows * half, columns * half, 3), np.nan, np.float32)
    padded[: thin.shape[0], : thin.shape[1]] = thin
    cells = padded.reshape(rows, half, columns, half, 3).transpose(0, 2, 4, 1, 3).reshape(rows, columns, 3, -1)
    ordered = np.sort(cells, axis=-1)  # nan last
    known = np.isfinite(ordered).sum(axis=-1)
    middle = np.take_along_axis(ordered, np.maximum(known - 1, 0)[..., None] // 2, axis=-1)[..., 0]
    enough = known >= known.max() // 4
    field = np.where(enough, middle, _filled(middle, enough)).astype(np.float32)
    smooth = cv2.merge([cv2.medianBlur(np.ascontiguousarray(field[..., c]), LIGHT_CELLS) for c in range(3)])
    smooth = cv2.GaussianBlur(smooth, (0, 0), 0.8)
    wide = cv2.resize(smooth, (columns * CELL_PX, rows * CELL_PX), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide[:height, :width], np.float32)


def _filled(cells: LogPicture, known: BoolArray) -> LogPicture:
    """What cells that tell nothing would say by those around them, shape (r, c, 3)."""
    if not known.any():
        return np.zeros_like(cells)
    weight = known.astype(np.float32)
    whole = np.where(known, cells, 0).sum(axis=(0, 1)) / np.maximum(weight.sum(axis=(0, 1)), 1)
    near = cv2.GaussianBlur(np.where(known, cells, np.float32(0)).astype(np.float32), (0, 0), 2.0)
    total = cv2.GaussianBlur(weight, (0, 0), 2.0)
    return np.asarray((near + 1e-3 * whole) / (total + 1e-3), np.float32)


def tone_curves(difference: LogPicture, reference: LogPicture, counted: BoolArray) -> LogPicture:
    """How a difference depends on how bright a pixel was: another gain bends a camera's tone curve.

    Args:
        difference: Shape (h, w, 3), without the part that is light.
        reference: Log picture of the same shape.
        counted: Pixels that tell, shape (h, w).

    Returns:
        Shape (256, 3): each channel's median difference at each level of the reference (`levels_of`).
    """
    index = levels_of(reference)
    curves = np.zeros((256, 3), np.float32)
    rows = counted.ravel()
    for channel in range(3):
        level = (index[..., channel].ravel()[rows].astype(np.int32) * LEVELS) >> 8
        values = np.rint(difference[..., channel].ravel()[rows] * 4096).clip(-(1 << 15), (1 << 15) - 1)
        # Levels and, within each, values in order by one sort of whole numbers.
        ordered = np.sort((level << 16) + (values.astype(np.int32) + (1 << 15)))
        ends = np.searchsorted(ordered, np.arange(LEVELS + 1) << 16)
        known = np.flatnonzero(np.diff(ends) >= 20)
        if not len(known):
            continue
        medians = ((ordered[(ends[known] + ends[known + 1]) // 2] & 0xFFFF) - (1 << 15)) / 4096
        # A camera's curve is smooth; a thing of one colour that came or went stands out at its level.
        padded = np.pad(medians, 2, mode="edge")
        smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
        curves[:, channel] = np.interp(np.arange(256), (known + 0.5) * 256 / LEVELS, smooth)
    return curves


def levels_of(picture: LogPicture) -> ImageArray:
    """Log picture, shape (h, w, 3), as 256 even steps of the logarithm."""
    low, high = float(LOG_LEVELS[0]), float(LOG_LEVELS[-1])
    scaled = (picture - np.float32(low)) * np.float32(255 / (high - low))
    return np.asarray(cv2.convertScaleAbs(np.maximum(scaled, 0)), np.uint8)


def toned(reference: LogPicture, curves: LogPicture) -> LogPicture:
    """What curves of shape (256, 3) say at every pixel of a log picture, shape (h, w, 3)."""
    return np.asarray(cv2.LUT(levels_of(reference), curves[None]), np.float32)


def same_structure(before: LogPicture, after: LogPicture, region: BoolArray) -> float:
    """How alike the fine structure of a region is in two log pictures, whatever their light: -1 to 1, 0 without any.

    Args:
        before: Shape (h, w, 3).
        after: The same.
        region: Where, shape (h, w).
    """
    fine = [picture - cv2.GaussianBlur(picture, (0, 0), FINE_PX) for picture in (before, after)]
    a, b = (each[region].astype(np.float64) for each in fine)
    noise = len(a) * 3 * FINE_NOISE**2
    return float((a * b).sum() / np.sqrt(((a**2).sum() + noise) * ((b**2).sum() + noise)))


@dataclass(frozen=True, slots=True)
class _Look:
    """A frame in the reference's place.

    Attributes:
        timestamp_ns: When.
        image: The part of the picture that is watched, shape (h, w, 3).
        shift_px: How far it is shifted.
        picture: Its logarithm at half the size, without the shift.
        counted: Which pixels of it tell.
        edges: Its edges.
        clear: Which pixels of it nobody is before.
    """

    timestamp_ns: int
    image: ImageArray
    shift_px: tuple[float, float]
    picture: LogPicture
    counted: BoolArray
    edges: LogPicture
    clear: BoolArray


@dataclass(frozen=True, slots=True)
class _Still:
    """A mean over some looks.

    Attributes:
        first_ns: Time of the first of them.
        last_ns: Of the last.
        image: The mean, shape (h, w, 3), uint8.
        picture: Its logarithm.
        clear: Pixels that nobody was before in some of the looks; only these are in the mean there.
    """

    first_ns: int
    last_ns: int
    image: ImageArray
    picture: LogPicture
    clear: BoolArray


@dataclass(frozen=True, slots=True)
class _Suspicion:
    """What seems to have changed on a face.

    Attributes:
        since_ns: When that was found.
        region: Where, shape (h, w).
        after: The still that shows it.
        hidden_from_ns: When somebody first was before the face; -1 for nobody.
        hidden_to_ns: When somebody last was; when the difference was first seen if nobody was.
    """

    since_ns: int
    region: BoolArray
    after: _Still
    hidden_from_ns: int
    hidden_to_ns: int


@dataclass(slots=True, eq=False)
class _Face:
    """What is known of one face. Masks and boxes are of the watched part of the picture.

    Attributes:
        a_bin: Its bin, with its outline.
        mask: Its pixels, shape (h, w).
        area_px: Their number.
        box: Rows and columns around it.
        still: How it last looked with nobody before it.
        hidden_from_ns: When somebody first was before it, the last time; -1 while it is not waited for.
        hidden_to_ns: When somebody last was.
        moved_ns: When something before it last moved.
        suspicion: What seems to have changed, until it is looked at once more.
        differs_since_ns: Since when it has differed with nobody before it; -1 while it does not.
        states: Earlier stills, and how many units more there were than at the beginning.
        units: How many more there are now.
    """

    a_bin: Bin
    mask: BoolArray
    area_px: int
    box: tuple[slice, slice]
    still: _Still | None = None
    hidden_from_ns: int = -1
    hidden_to_ns: int = -1
    moved_ns: int = -1
    suspicion: _Suspicion | None = None
    differs_since_ns: int = -1
    states: deque[tuple[LogPicture, int]] = field(default_factory=lambda: deque(maxlen=STATES_KEPT))
    units: int = 0


class FaceWatcher:
    """Watches the faces that one calibrated camera sees, and says which of them changed.

    A change is told of a face if something reached in or moved before it and the face shows other things afterwards
    than just before. What changes with nobody there is kept apart: it was light, or a thing that no hand touched.

    Args:
        faces: Bins with outlines in this camera's picture, all of one camera: ``drawn_faces(layout, camera)``.
        settings: How to watch.

    Raises:
        ValueError: A bin has no outline, or bins of several cameras are mixed.
    """

    def __init__(self, faces: Sequence[Bin], settings: FaceSettings | None = None) -> None:
        for a_bin in faces:
            if a_bin.polygon_px is None:
                raise ValueError(f"bin {a_bin.bin_id}: expected an outline in a picture, got a box in the world")
        cameras = sorted({str(a_bin.camera_id) for a_bin in faces})
        if len(cameras) > 1:
            raise ValueError(f"FaceWatcher: expected faces of one camera, got {', '.join(cameras)}")
        self._bins, self._settings = tuple(faces), settings or FaceSettings()
        self._faces: list[_Face] = []
        self._image_wh: tuple[int, int] | None = None
        self._scale = 1.0
        self._part = np.s_[0:0, 0:0]
        self._first_ns, self._last_ns = -1, -1
        self._reference: LogPicture | None = None
        self._variance: LogPicture = np.zeros((0, 0), np.float32)
        self._grey: FloatArray | None = None
        self._grey_ns = -1
        self._small_face_of: IntArray = np.zeros((0, 0), np.int32)
        self._small_area: IntArray = np.zeros(0, np.int64)
        self._face_of: IntArray = np.zeros((0, 0), np.int32)
        self._looks: deque[_Look] = deque()
        self._edges: LogPicture | None = None
        self._edges_age = 0
        self._still_ns = -1
        self._by_nobody: deque[ShelfChange] = deque(maxlen=NOBODY_KEPT)

    @property
    def unsettled_since_ns(self) -> int | None:
        """Since when somebody has been before a face that is not judged yet; None if there is no such face."""
        return min((face.hidden_from_ns for face in self._faces if face.hidden_from_ns >= 0), default=None)

    @property
    def bin_ids(self) -> frozenset[str]:
        """The bins whose faces are watched."""
        return frozenset(a_bin.bin_id for a_bin in self._bins)

    @property
    def hidden(self) -> frozenset[str]:
        """The bins before whose faces somebody has been who is not known to be gone for good."""
        return frozenset(face.a_bin.bin_id for face in self._faces if face.hidden_from_ns >= 0)

    @property
    def by_nobody(self) -> tuple[ShelfChange, ...]:
        """The last changes that were seen with nobody before the face, in order of their time: no handlings."""
        return tuple(self._by_nobody)

    def update(self, frame: Frame, detections: Detections | None = None) -> list[ShelfChange]:
        """Look at the next frame and return the changes that are now certain enough, in order of their time.

        Args:
            frame: The camera's next picture; timestamps rise.
            detections: What was detected in it; people (class 0) hide what is behind them. None if no detector runs.

        Raises:
            ValueError: The frame has another size than the first, or time ran backwards.
        """
        image_wh = frame.image.shape[1], frame.image.shape[0]
        if self._image_wh is None:
            self._begin(image_wh)
        if image_wh != self._image_wh:
            raise ValueError(
                f"camera {frame.camera_id}: expected pictures of {self._image_wh}, got {image_wh[0]}x{image_wh[1]}"
            )
        now_ns = frame.timestamp_ns
        if now_ns <= self._last_ns:
            raise ValueError(f"camera {frame.camera_id}: expected a frame after {self._last_ns} ns, got {now_ns} ns")
        self._last_ns = now_ns
        looked_ns = self._looks[-1].timestamp_ns if self._looks else -1
        if looked_ns >= 0 and now_ns - looked_ns < self._settings.every_s * NANOSECONDS:
            return []
        if int(frame.image[::16, ::16].max()) <= DARKEST:  # a covered lens, or a stream without pictures
            return []
        look = self._looked(frame)
        self._looks.append(look)
        while self._looks[0].timestamp_ns < now_ns - KEPT_S * NANOSECONDS:
            self._looks.popleft()
        if self._reference is None:
            self._reference = look.picture.copy()
            self._variance = np.full(look.counted.shape, 0.001, np.float32)
            self._first_ns = now_ns
            return []
        gap_s = (now_ns - looked_ns) / NANOSECONDS
        differs, moves, level = self._seen(look)
        if now_ns - self._first_ns < self._settings.start_s * NANOSECONDS:
            self._learn(level, ~moves, max(gap_s, 0.3))
            return []
        people = self._people(differs | moves, detections)
        somebody = self._somebody(differs, moves, people)
        self._looks[-1] = replace(look, clear=~somebody)
        changes = self._judge(differs & ~somebody, moves | people, somebody, now_ns)
        self._learn(level, ~(differs | somebody), gap_s)
        self._remember_stills(now_ns)
        return sorted(changes, key=lambda change: change.time_ns)

    def finish(self) -> list[ShelfChange]:
        """Judge what is still open at the end of the stream: what nobody stands before."""
        if self._reference is None or not self._looks:
            return []
        end_ns = self._looks[-1].timestamp_ns
        half_ns = int(self._settings.settle_s * NANOSECONDS / 2)
        ready = [f for f in self._faces if f.hidden_from_ns >= 0 and end_ns - f.hidden_to_ns >= half_ns]
        return sorted(self._compared(ready, end_ns, twice=False), key=lambda change: change.time_ns)

    def _begin(self, image_wh: tuple[int, int]) -> None:
        self._image_wh = image_wh
        self._scale = min(1.0, WORKING_WIDTH / image_wh[0])
        width, height = round(image_wh[0] * self._scale), round(image_wh[1] * self._scale)
        outlines = [np.asarray(a_bin.polygon_px) * self._scale - 0.5 for a_bin in self._bins]
        if not outlines:
            return
        corners = np.concatenate(outlines)
        left, top = (max(0, int(v) - AROUND_PX) for v in corners.min(axis=0))
        right, bottom = (int(v) + AROUND_PX for v in corners.max(axis=0))
        # An even number of rows and columns: half the size is exactly half.
        right, bottom = min(right, width), min(bottom, height)
        self._part = np.s_[top : bottom - (bottom - top) % 2, left : right - (right - left) % 2]
        shape = self._part[0].stop - top, self._part[1].stop - left
        self._face_of = np.full(shape, -1, np.int32)
        for a_bin, outline in zip(self._bins, outlines, strict=True):
            canvas = np.zeros(shape, np.uint8)
            cv2.fillPoly(canvas, [np.rint(outline - (left, top)).astype(np.int32)], 1)
            mask = canvas.astype(bool)
            area = int(mask.sum())
            if area < self._settings.least_px:
                raise ValueError(
                    f"bin {a_bin.bin_id}: only {area} pixels of its face lie in the picture, expected at least "
                    f"{self._settings.least_px}"
                )
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = np.s_[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
            self._face_of[mask] = len(self._faces)
            self._faces.append(_Face(a_bin, mask, area, box))
        self._small_face_of = np.ascontiguousarray(self._face_of[::2, ::2])
        self._small_area = np.maximum(self._counts(self._small_face_of >= 0), 1)

    def _counts(self, mask: BoolArray) -> IntArray:
        """How many pixels of a mask of half the size lie in each face, shape (faces,)."""
        return np.bincount(self._small_face_of[mask] + 1, minlength=len(self._faces) + 1)[1:]

    def _looked(self, frame: Frame) -> _Look:
        image = frame.image
        if self._scale < 1:
            size = round(image.shape[1] * self._scale), round(image.shape[0] * self._scale)
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        image = np.ascontiguousarray(image[self._part])
        size_wh = image.shape[1] // 2, image.shape[0] // 2
        small = np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
        if self._grey is None:
            self._grey, self._grey_ns = grey, frame.timestamp_ns
        x, y = shift_between(grey, self._grey)
        if x or y:
            small = _shifted(small, -x, -y)
        counted = _telling(small)
        picture = log_picture(small)
        edges = cv2.dilate(edge_strength(picture), np.ones((3, 3), np.uint8))
        everywhere = np.ones(counted.shape, bool)
        return _Look(
            frame.timestamp_ns, image, (2 * x, 2 * y), picture, counted, np.asarray(edges, np.float32), everywhere
        )

    def _edges_now(self) -> LogPicture:
        """Edges of the reference, found anew once in a while: it changes slowly, but for changes on faces."""
        assert self._reference is not None
        if self._edges is None or self._edges_age >= EDGES_KEPT:
            edges = cv2.dilate(edge_strength(self._reference), np.ones((3, 3), np.uint8))
            self._edges, self._edges_age = np.asarray(edges, np.float32), 0
        self._edges_age += 1
        return self._edges

    def _seen(self, look: _Look) -> tuple[BoolArray, BoolArray, LogPicture]:
        """Where a look differs from the reference, where something moves, and the look in the reference's light."""
        assert self._reference is not None
        difference = look.picture - self._reference
        difference = difference - light_and_tone(difference, self._reference, look.counted)
        differs = self._differs(difference, look, self._edges_now(), 1.0)
        before_ns = look.timestamp_ns - self._settings.motion_s * NANOSECONDS
        then = next((each for each in reversed(self._looks) if each.timestamp_ns <= before_ns), self._looks[0])
        counted = look.counted & then.counted
        motion = look.picture - then.picture
        motion = motion - light_between(motion, counted)
        # Two frames differ by the noise of both.
        moves = self._differs(motion, look, then.edges, 1.42)
        return differs, moves, np.asarray(self._reference + difference, np.float32)

    def _differs(self, difference: LogPicture, look: _Look, edges: LogPicture, frames: float) -> BoolArray:
        settings = self._settings
        tolerance = np.maximum(settings.noise_sigmas * frames * np.sqrt(self._variance), settings.contrast)
        tolerance = tolerance + np.float32(KNOCK_PX) * np.minimum(edges, look.edges)
        different = (strongest(np.abs(difference)) > tolerance) & look.counted
        opened = cv2.morphologyEx(different.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        return np.asarray(closed.astype(bool))

    def _people(self, seen: BoolArray, detections: Detections | None) -> BoolArray:
        """Which of the pixels that show something else lie in the boxes of detected people."""
        inside = np.zeros(seen.shape, bool)
        if detections is not None:
            offset = np.array([self._part[1].start, self._part[0].start] * 2)
            boxes = (detections.xyxy[detections.class_id == 0] * self._scale - offset) / 2
            for left, top, right, bottom in boxes:
                inside[max(0, int(top)) : max(0, int(bottom)), max(0, int(left)) : max(0, int(right))] = True
        return inside & seen

    def _somebody(self, differs: BoolArray, moves: BoolArray, people: BoolArray) -> BoolArray:
        """Pixels of what is before the shelf: what reaches in from the rim, what moves, and detected people."""
        hides = np.zeros(differs.shape, bool)
        least_px = self._settings.least_px // 4
        count, labels, stats, _ = cv2.connectedComponentsWithStats((differs | moves).astype(np.uint8), connectivity=8)
        if count > 1:
            rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
            moving = np.bincount(labels[moves], minlength=count) / np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
            living = (moving > LIVELY) & (stats[:, cv2.CC_STAT_AREA] >= least_px)
            touching = np.bincount(rim, minlength=count) > 3
            living |= touching & (stats[:, cv2.CC_STAT_AREA] >= 8 * least_px)
            living[0] = False
            hides = living[labels]
        hides |= people
        return np.asarray(cv2.dilate(hides.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool))

    def _judge(self, differs: BoolArray, moves: BoolArray, somebody: BoolArray, now_ns: int) -> list[ShelfChange]:
        """Wait until nobody is before a face, and compare it with what it showed before."""
        settings = self._settings
        hidden = self._counts(somebody) > HIDDEN_SHARE * self._small_area
        moving = self._counts(somebody & moves) > 0
        apart = self._counts(differs) > settings.item_share * self._small_area
        ready = []
        for place, face in enumerate(self._faces):
            if moving[place]:
                face.moved_ns = now_ns
            suspected_ns = -1 if face.suspicion is None else face.suspicion.since_ns
            if hidden[place] and now_ns - face.moved_ns < settings.patience_s * NANOSECONDS:
                if face.hidden_from_ns < 0 or face.hidden_to_ns < suspected_ns:
                    face.hidden_from_ns = now_ns
                face.hidden_to_ns, face.differs_since_ns = now_ns, -1
            elif face.hidden_from_ns >= 0:
                if hidden[place]:
                    self._is_a_thing(face)
                if now_ns - max(face.hidden_to_ns, suspected_ns) >= settings.settle_s * NANOSECONDS:
                    ready.append(face)
            elif not apart[place]:
                face.differs_since_ns, face.suspicion = -1, None
            elif face.differs_since_ns < 0:
                face.differs_since_ns = now_ns
            elif now_ns - max(face.differs_since_ns, suspected_ns) >= settings.nobody_s * NANOSECONDS:
                ready.append(face)
        return self._compared(ready, now_ns)

    def _is_a_thing(self, face: _Face) -> None:
        """Take what is before a face for a thing since it last moved, not for somebody."""
        face.hidden_to_ns = max(face.hidden_from_ns, face.moved_ns)
        part = self._small_part(face)
        for look in self._looks:
            if look.timestamp_ns > face.moved_ns:
                look.clear[part] = True

    def _small_part(self, face: _Face) -> tuple[slice, slice]:
        """Rows and columns of half the size a little beyond a face."""
        rows, columns = (slice(max(0, s.start - 8) // 2, (s.stop + 8) // 2 + 1) for s in face.box)
        return rows, columns

    def _still(self, since_ns: int, until_ns: int) -> _Still | None:
        """The mean over the looks of a time; None if there is none."""
        looks = [look for look in self._looks if since_ns <= look.timestamp_ns <= until_ns]
        if not looks:
            return None
        shape = looks[0].image.shape
        total, count = np.zeros(shape, np.float32), np.zeros(shape[:2], np.float32)
        ones = np.ones(shape[:2], np.float32)
        for look in looks:
            x, y = look.shift_px
            mask = cv2.resize(look.clear.astype(np.uint8), shape[1::-1], interpolation=cv2.INTER_NEAREST)
            cv2.accumulate(_shifted(look.image, -x, -y) if x or y else look.image, total, mask)
            cv2.accumulate(ones, count, mask)
        clear = count > 0
        # Where somebody was all the time, the last picture stands in; it is not compared.
        mean = np.where(clear[..., None], total / np.maximum(count, 1)[..., None], looks[-1].image).astype(np.float32)
        picture = np.log(cv2.GaussianBlur(mean, (0, 0), SOFT_PX) + np.float32(DARK_LEVEL))
        image = np.asarray(np.rint(mean), np.uint8)
        return _Still(looks[0].timestamp_ns, looks[-1].timestamp_ns, image, np.asarray(picture, np.float32), clear)

    def _remember_stills(self, now_ns: int) -> None:
        """Once a second, keep how faces look that nobody has been before, up to a moment before now."""
        if now_ns - self._still_ns < STILL_S * NANOSECONDS:
            return
        self._still_ns = now_ns
        until_ns = now_ns - int(ARRIVES_S * NANOSECONDS)
        still = self._still(until_ns - int(STILL_S * NANOSECONDS), until_ns)
        if still is not None and now_ns - self._grey_ns > ANCHOR_S * NANOSECONDS and not self.hidden:
            small = cv2.resize(still.image, (still.image.shape[1] // 2, still.image.shape[0] // 2))
            self._grey, self._grey_ns = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32), now_ns
        for face in self._faces if still is not None else ():
            assert still is not None
            calm = face.hidden_from_ns < 0 and face.differs_since_ns < 0 and face.hidden_to_ns < still.first_ns
            if face.still is None or calm:
                face.still = still

    def _compared(self, faces: Sequence[_Face], now_ns: int, *, twice: bool = True) -> list[ShelfChange]:
        """Compare faces as they are now with what they were, say what changed, and go on from there.

        Args:
            faces: Which.
            now_ns: Time of the last look.
            twice: Whether what is found for the first time is only suspected, and looked at once more later.
        """
        changes: list[ShelfChange] = []
        for before in {id(face.still): face.still for face in faces}.values():
            together = [face for face in faces if face.still is before]
            gone_ns = max(max(face.hidden_to_ns, face.differs_since_ns) for face in together)
            after = self._still(max(gone_ns + 1, now_ns - int(self._settings.settle_s * NANOSECONDS)), now_ns)
            if after is None:
                continue
            regions = {} if before is None else self._regions(before, after, together)
            done = []
            for face in together:
                region, suspicion = regions.get(self._faces.index(face)), face.suspicion
                if region is None or (suspicion is not None and _overlap(suspicion.region, region) < LASTING):
                    done.append(face)
                    continue
                if suspicion is None:
                    touched = face.hidden_from_ns >= 0
                    span_ns = face.hidden_from_ns, face.hidden_to_ns if touched else face.differs_since_ns
                    suspicion = _Suspicion(now_ns, region, after, *span_ns)
                    # A thing that was waited for has been looked at for long enough.
                    waited = touched and now_ns - face.hidden_to_ns >= self._settings.patience_s * NANOSECONDS
                    if twice and not waited:
                        face.suspicion = suspicion
                        continue
                change = self._changed(face, suspicion)
                by_hand = suspicion.hidden_to_ns - suspicion.hidden_from_ns >= self._settings.reach_s * NANOSECONDS
                (changes if by_hand and suspicion.hidden_from_ns >= 0 else self._by_nobody).append(change)
                if face.hidden_to_ns > suspicion.since_ns:  # somebody has been there again: what came of that is open
                    face.still, face.suspicion = suspicion.after, None
                else:
                    done.append(face)
            self._go_on(done, after)
        return changes

    def _go_on(self, faces: Sequence[_Face], after: _Still) -> None:
        """Take what faces show now for how they are."""
        assert self._reference is not None
        if not faces:
            return
        look = self._looks[-1]
        plain = look.picture - light_between(look.picture - self._reference, look.counted)
        for face in faces:
            part = self._small_part(face)
            clear = look.clear[part]
            self._reference[part][clear] = plain[part][clear]
            face.still, face.suspicion = after, None
            face.hidden_from_ns = face.differs_since_ns = -1
        self._edges = None

    def _regions(self, before: _Still, after: _Still, faces: Sequence[_Face]) -> dict[int, BoolArray]:
        """What shows other things after than before around some faces, by the face most of it lies in, (h, w) each."""
        settings = self._settings
        near = self._around(faces)
        clear = before.clear[near] & after.clear[near]
        # Fine structure beside somebody is in part theirs.
        clear = cv2.erode(clear.astype(np.uint8), np.ones((BESIDE_PX, BESIDE_PX), np.uint8)).astype(bool)
        # A full or black picture has lost what the other still shows: things have changed if both say so.
        other = changed_structure(before.picture[near], after.picture[near], clear)
        other &= changed_structure(after.picture[near], before.picture[near], clear)
        if other.sum() > MOST_AT_ONCE * clear.sum():
            return {}
        opened = cv2.morphologyEx(other.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        count, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
        face_of = self._face_of[near]
        regions: dict[int, BoolArray] = {}
        for thing in range(1, count):
            if stats[thing][cv2.CC_STAT_AREA] < settings.least_px:
                continue
            own = labels == thing
            shares = np.bincount(face_of[own] + 1, minlength=len(self._faces) + 1)[1:]
            most = int(shares.argmax())
            if shares[most] < max(settings.least_px // 2, settings.item_share * self._faces[most].area_px):
                continue
            regions.setdefault(most, np.zeros(self._face_of.shape, bool))[near] |= own
        return regions

    def _around(self, faces: Sequence[_Face]) -> tuple[slice, slice]:
        """Rows and columns around some faces, with enough of their surroundings to tell light; even numbers of them."""
        part = []
        for axis, length in enumerate(self._face_of.shape):
            first = max(0, min(face.box[axis].start for face in faces) - AROUND_PX) // 2 * 2
            last = min(length, (max(face.box[axis].stop for face in faces) + AROUND_PX + 1) // 2 * 2)
            part.append(slice(first, last))
        return part[0], part[1]

    def _changed(self, face: _Face, found: _Suspicion) -> ShelfChange:
        assert face.still is not None
        before, after, region = face.still, found.after, found.region
        handling, probability = self._handled(face, region, before, after)
        face.states.append((before.picture[face.box].copy(), face.units))
        face.units += 1 if handling is Handling.PUT_BACK else -1
        start_ns, end_ns = found.hidden_from_ns if found.hidden_from_ns >= 0 else before.last_ns, found.hidden_to_ns
        rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
        top, left = face.box[0].start, face.box[1].start
        height, width = (part.stop - part.start for part in face.box)
        region_px = (
            int(np.clip(columns[0] - left, 0, width - 1)),
            int(np.clip(rows[0] - top, 0, height - 1)),
            int(np.clip(columns[-1] + 1 - left, 1, width)),
            int(np.clip(rows[-1] + 1 - top, 1, height)),
        )
        return ShelfChange(
            face.a_bin.bin_id,
            handling,
            1,
            probability,
            start_ns,
            (start_ns + end_ns) // 2,
            end_ns,
            before.image[face.box].copy(),
            after.image[face.box].copy(),
            region_px,
        )

    def _handled(self, face: _Face, region: BoolArray, before: _Still, after: _Still) -> tuple[Handling, float]:
        """Tell which way an item went: back to an earlier state, or else by edges and light."""
        part = region[face.box]
        was, now = before.picture[face.box], after.picture[face.box]
        apart = same_structure(was, now, part)
        likest, units = max(
            ((same_structure(state, now, part), units) for state, units in face.states), default=(-1.0, 0)
        )
        if likest > max(LIKE_BEFORE, apart + 0.2) and units != face.units:
            return (Handling.PUT_BACK if units > face.units else Handling.PICK), 0.9
        near = self._around([face])
        box = tuple(slice(f.start - n.start, f.stop - n.start) for f, n in zip(face.box, near, strict=True))
        clear = before.clear[near] & after.clear[near]
        lit = in_light_of(before.picture[near], after.picture[near], clear)[box]
        odds = FIRST_ODDS if face.units >= 0 else 0.0
        pick = pick_probability(lit, now, part, odds)
        return (Handling.PICK, pick) if pick >= 0.5 else (Handling.PUT_BACK, 1 - pick)

    def _learn(self, level: LogPicture, same: BoolArray, gap_s: float) -> None:
        """Let the reference and its noise follow where nothing has changed."""
        assert self._reference is not None
        weight = np.float32(min(0.5, gap_s / self._settings.learn_s))
        miss = np.where(same[..., None], level - self._reference, np.float32(0))
        self._reference += weight * miss
        spread = strongest(miss**2)
        self._variance += weight * np.where(same, spread - self._variance, np.float32(0))


def light_and_tone(difference: LogPicture, reference: LogPicture, counted: BoolArray) -> LogPicture:
    """The part of a difference of log pictures, shape (h, w, 3), that is light or the camera's tone curve."""
    # Light first: a shadow says nothing of the camera, but covers dark and bright things unevenly.
    curves = tone_curves(
        (difference - light_between(difference, counted))[::2, ::2], reference[::2, ::2], counted[::2, ::2]
    )
    tone = toned(reference, curves)
    return np.asarray(tone + light_between(difference - tone, counted), np.float32)


def in_light_of(picture: LogPicture, other: LogPicture, counted: BoolArray) -> LogPicture:
    """A log picture as it would look in the light and with the exposure of another, shape (h, w, 3).

    Light comes first and the camera's tone curve after it, so a place in the shade is not full where others are.

    Args:
        picture: Even numbers of rows and columns.
        other: Of the same place.
        counted: Pixels that tell, shape (h, w).
    """
    size_wh = picture.shape[1] // 2, picture.shape[0] // 2
    small, aim = (np.asarray(cv2.resize(p, size_wh, interpolation=cv2.INTER_AREA)) for p in (picture, other))
    told = np.ascontiguousarray(counted[::2, ::2])
    first = light_between(aim - small, told)
    curves = tone_curves(aim - small - first, small + first, told)
    second = light_between(aim - small - first - toned(small + first, curves), told)
    size_wh = picture.shape[1], picture.shape[0]
    wide, rest = (cv2.resize(light, size_wh, interpolation=cv2.INTER_LINEAR) for light in (first, second))
    lit = np.asarray(picture + wide, np.float32)
    return np.asarray(np.minimum(lit + toned(lit, curves) + rest, LOG_LEVELS[-1]), np.float32)


def changed_structure(picture: LogPicture, other: LogPicture, counted: BoolArray) -> BoolArray:
    """Where two log pictures of one place show other things, whatever their light, shape (h, w).

    Args:
        picture: It is brought into the other's light.
        other: Shape (h, w, 3).
        counted: Pixels that tell, shape (h, w).
    """
    lit = in_light_of(picture, other, counted)
    level = strongest(np.abs(other - lit))
    one, two = (each - cv2.GaussianBlur(each, (0, 0), FINE_PX) for each in (lit, other))
    own, others, apart = (_energy(each) for each in (one, two, one - two))
    # 1 minus the correlation, for equal energies; noise has some of its own.
    share = apart / (own + others + np.float32(2 * FINE_NOISE**2))
    near = cv2.dilate((level > LEAST_CONTRAST).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.asarray((share > UNLIKE) & (apart > np.float32(LEAST_STRUCTURE**2)) & near & counted)


def _energy(fine: LogPicture) -> LogPicture:
    """Mean square of fine structure, shape (h, w, 3), around each pixel: shape (h, w)."""
    return np.asarray(cv2.GaussianBlur((fine**2).mean(axis=2), (0, 0), WINDOW_PX), np.float32)


def pick_probability(before: LogPicture, after: LogPicture, region: BoolArray, odds: float = 0.0) -> float:
    """How likely it is that what changed a region was taken, not put, judged by what is seen there.

    A thing in front has more edges than what is behind it, above all where it stands, and more colour than a shelf's
    floor: at its foot a taken unit leaves bare floor, even where another like it stands behind.

    Args:
        before: Log picture, shape (h, w, 3).
        after: The same in the same light.
        region: What changed, shape (h, w).
        odds: Log-odds of a pick before looking.
    """
    rows = np.flatnonzero(region.any(axis=1))
    foot = region.copy()
    foot[: int(rows[0] + (1 - FOOT) * (rows[-1] - rows[0]))] = False
    colour = [strongest(each) + strongest(-each) for each in (before, after)]  # largest minus smallest channel
    odds -= EDGE_WEIGHT * edge_balance(before, after, region)
    odds -= FOOT_EDGE_WEIGHT * edge_balance(before, after, foot)
    odds -= FOOT_COLOUR_WEIGHT * float((colour[1] - colour[0])[foot].mean())
    return float(1 / (1 + np.exp(-np.clip(odds, -4, 4))))


def _overlap(one: BoolArray, other: BoolArray) -> float:
    """Common pixels of two regions as a share of the smaller one."""
    return float((one & other).sum() / max(1, min(one.sum(), other.sum())))


def _telling(image: ImageArray) -> BoolArray:
    """Pixels that are neither black nor full, shape (h, w)."""
    blue, green, red = image[..., 0], image[..., 1], image[..., 2]
    brightest, darkest = np.maximum(np.maximum(blue, green), red), np.minimum(np.minimum(blue, green), red)
    return np.asarray((brightest > DARKEST) & (darkest < BRIGHTEST))


def _shifted(image: ImageArray, x: float, y: float) -> ImageArray:
    matrix = np.array([[1, 0, x], [0, 1, y]])
    size_wh = image.shape[1], image.shape[0]
    return np.asarray(cv2.warpAffine(image, matrix, size_wh, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def named(
    change: ShelfChange, recogniser: ProductRecogniser, gallery: Gallery, among: Sequence[str] | None = None
) -> ShelfChange:
    """Say what was taken or put, by the picture of the item.

    Args:
        change: With or without a region.
        recogniser: The model.
        gallery: The shop's products.
        among: Only these come into question; all if left out.

    Returns:
        The change with up to three likeliest products; what is left of 1 is that it was none of the gallery's.
    """
    said = recogniser.recognise([change.item], gallery, among)
    return replace(change, skus=said.top(0))


def drawn_faces(layout: StoreLayout, camera: Camera) -> tuple[Bin, ...]:
    """Draw the faces of a layout's bins into the picture of a calibrated camera that sees them.

    The face of a bin is the front of its box. It is seen if the camera is before it, most of it lies in the picture,
    it is not too narrow to be compared, and no other gondola stands between.

    Args:
        layout: The store; bins without a box are left out.
        camera: One of its cameras.

    Returns:
        Bins of the same names with an outline in the camera's picture instead of a box, in the layout's order.
    """
    solids = _gondola_boxes(layout)
    faces = []
    for a_bin in layout.bins:
        if a_bin.box is None:
            continue
        wide, _, high = a_bin.box.size_m
        corners = np.array([[0, 0, high], [wide, 0, high], [wide, 0, 0], [0, 0, 0]], float)
        corners = corners @ a_bin.box.world_from_box[:3, :3].T + a_bin.box.world_from_box[:3, 3]
        middle = corners.mean(axis=0)
        away = camera.position_m - middle
        sine = float(-a_bin.box.world_from_box[:3, 1] @ away / max(float(np.linalg.norm(away)), 1e-9))
        if sine < FLATTEST_SINE:
            continue
        outline = camera.image_points(corners)
        # Far outside the picture a lens model folds the world over; such a face is not mostly in it anyway.
        if not np.isfinite(outline).all() or not cv2.isContourConvex(outline.astype(np.float32)):
            continue
        inside = _within(outline, camera.resolution_wh)
        if len(inside) < 3 or abs(polygon_area(inside)) < MOSTLY * abs(polygon_area(outline)):
            continue
        if np.ptp(inside, axis=0).min() < NARROWEST_PX or abs(polygon_area(inside)) < SMALLEST_FACE_PX:
            continue
        others = [box for number, box in solids if number != a_bin.gondola_id]
        steps = np.linspace(0.02, 0.98, 50)[:, None]
        if any((box.distances_m(middle + steps * away) == 0).any() for box in others):
            continue
        faces.append(replace(a_bin, box=None, camera_id=camera.camera_id, polygon_px=inside))
    return tuple(faces)


def watchable_faces(layout: StoreLayout, camera: Camera) -> tuple[tuple[Bin, float], ...]:
    """Faces that are large enough in a camera's picture to be watched, at least ``LEAST_FACE_PX`` wide and high.

    Returns:
        Each face as ``drawn_faces`` draws it, and its area, pixels of the picture at the width at which it is watched.
    """
    # Pictures are watched at this width, however wide they are.
    scale = min(1.0, WORKING_WIDTH / camera.resolution_wh[0])
    faces = []
    for face in drawn_faces(layout, camera):
        outline = np.asarray(face.polygon_px)
        area = abs(polygon_area(outline)) * scale**2
        if scale * np.ptp(outline, axis=0).min() >= LEAST_FACE_PX and area >= SMALLEST_FACE_PX:
            faces.append((face, area))
    return tuple(faces)


def best_views(layout: StoreLayout, camera_ids: Collection[str] | None = None) -> dict[str, tuple[Bin, ...]]:
    """Faces that are large enough to be watched, each by the camera that sees it largest.

    Args:
        layout: The store with its calibrated cameras.
        camera_ids: Cameras that there are pictures of; all if left out.

    Returns:
        By camera, those that see any best (``watchable_faces``).
    """
    best: dict[str, tuple[float, Bin]] = {}
    for camera in layout.cameras:
        if camera_ids is not None and camera.camera_id not in camera_ids:
            continue
        for face, area in watchable_faces(layout, camera):
            if area > best.get(face.bin_id, (0.0, face))[0]:
                best[face.bin_id] = area, face
    views: dict[str, list[Bin]] = {}
    for _, face in best.values():
        views.setdefault(str(face.camera_id), []).append(face)
    return {camera_id: tuple(faces) for camera_id, faces in views.items()}


def _within(outline: FloatArray, resolution_wh: tuple[int, int]) -> FloatArray:
    """The part of a convex outline, shape (n, 2), that lies in a picture."""
    width, height = resolution_wh
    picture = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    area, common = cv2.intersectConvexConvex(outline.astype(np.float32), picture)
    if area <= 0 or common is None:
        return np.zeros((0, 2))
    return np.asarray(common, float).reshape(-1, 2)


def _gondola_boxes(layout: StoreLayout) -> list[tuple[int | None, Box]]:
    """A box around all bins of each gondola."""
    together: dict[int | None, list[Box]] = {}
    for a_bin in layout.bins:
        if a_bin.box is not None and a_bin.gondola_id is not None:
            together.setdefault(a_bin.gondola_id, []).append(a_bin.box)
    solids = []
    for number, boxes in together.items():
        corners = boxes[0].local_points(np.concatenate([box.corners_m for box in boxes]))
        low, high = corners.min(axis=0), corners.max(axis=0)
        world_from_box = boxes[0].world_from_box.copy()
        world_from_box[:3, 3] += world_from_box[:3, :3] @ low
        solids.append((number, Box(world_from_box, np.maximum(high - low, 1e-3))))
    return solids
