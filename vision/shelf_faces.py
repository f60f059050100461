"""What changed on the faces of stocked shelves, seen by any calibrated camera.

``vision.shelf`` watches bins drawn by hand before a bare background, one by one. Faces of a stocked gondola tile the
picture: an arm crosses several of them, behind a taken unit stands another like it, shadows wander over all. So the
picture is watched as a whole here. A reference of how it looks without anybody is compared with every frame after
shake, exposure, tone curve and soft light have been taken out of the difference; what differs and reaches in from the
picture's rim, or moves, is somebody; what stays when they have gone is a change of the face it lies in.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from vision.arrays import BoolArray, FloatArray, ImageArray, IntArray
from vision.cameras import Camera
from vision.detections import Detections
from vision.frames import Frame
from vision.layout import Bin, Box, StoreLayout, polygon_area
from vision.products import Gallery, ProductRecogniser
from vision.shelf import (
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
WORKING_WIDTH = 640  # wider pictures are shrunk: faces keep enough pixels, and noise is averaged away
CELL_PX = 16  # light is told from things on a grid this fine ...
LIGHT_CELLS = 5  # ... as the median over so many cells each way: things hide less than half of 80 pixels
LEVELS = 24  # of the tone curve that is fitted between two pictures
DARKEST, BRIGHTEST = 6, 249  # beyond, a picture says nothing of how dark or bright a thing is
MOST_SHIFT_PX = 4.0  # a camera that has moved by more has been moved for good
LEAST_SHIFT_PX = 0.12  # less is the estimate's own noise
PHASE_TRUST = 0.08  # response of the phase correlation below which nothing is shifted
LIVELY = 0.08  # share of a thing's pixels that move if it is somebody; noise moves fewer
MEAN_WEIGHT = np.float32(0.35)  # of the newest frame: a mean over some five frames
STEADY = 0.6  # of the tolerance is left for such a mean, whose noise is 0.46 of a frame's
KNOCK_PX = 0.25  # what is left of shake after it was taken out, and half a row of an encoder's blocks
LIKE_BEFORE = 0.6  # a face has gone back to an earlier state if its difference from that falls below this share
EDGES_KEPT = 10  # frames; the reference follows within seconds
STATES_KEPT = 6  # earlier states of a face; hands seldom go deeper than a row of goods
PICK_PRIOR, EDGE_WEIGHT, DARK_WEIGHT = 0.9, 4.0, 5.0
"""Log-odds of a pick where nothing else is known, and by the share of edges that went and the logarithm of the light
lost: deeper on a shelf is darker, and a label ends there. Set by hand while looking at a few rendered shelves: the
probabilities that come of them are not calibrated."""


@dataclass(frozen=True, slots=True)
class FaceSettings:
    """How faces are watched. Shares are of a face's area in the picture.

    Attributes:
        settle_s: What stays without motion for this long, with nobody before it, has changed for good.
        motion_s: Motion is what differs between pictures this far apart.
        item_share: Smallest part of a face that an item changes.
        least_px: Fewest pixels that count as a thing.
        contrast: Least difference, in the logarithm of the grey level.
        noise_sigmas: ... and in standard deviations of a pixel's own noise.
        learn_s: The reference follows what is unchanged within this time.
        start_s: The first so long is taken for the reference, whatever it shows.
    """

    settle_s: float = 0.7
    motion_s: float = 0.35
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
    window = cv2.createHanningWindow((picture.shape[1], picture.shape[0]), cv2.CV_32F)
    (x, y), response = cv2.phaseCorrelate(reference, picture, window)
    length = float(np.hypot(x, y))
    if response < PHASE_TRUST or not LEAST_SHIFT_PX <= length <= MOST_SHIFT_PX:
        return 0.0, 0.0
    return float(x), float(y)


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
    thin = np.where(counted[..., None], difference, np.float32(np.nan))[::2, ::2]
    half = CELL_PX // 2
    padded = np.full((rows * half, columns * half, 3), np.nan, np.float32)
    padded[: thin.shape[0], : thin.shape[1]] = thin
    cells = padded.reshape(rows, half, columns, half, 3).transpose(0, 2, 4, 1, 3).reshape(rows, columns, 3, -1)
    ordered = np.sort(cells, axis=-1)  # nan last
    known = np.isfinite(ordered).sum(axis=-1)
    middle = np.take_along_axis(ordered, np.maximum(known - 1, 0)[..., None] // 2, axis=-1)[..., 0]
    everywhere = np.nanmedian(thin.reshape(-1, 3), axis=0) if counted.any() else np.zeros(3, np.float32)
    field = np.where(known > half, middle, np.nan_to_num(everywhere)).astype(np.float32)
    field = np.ascontiguousarray(field)
    smooth = cv2.merge([cv2.medianBlur(np.ascontiguousarray(field[..., c]), LIGHT_CELLS) for c in range(3)])
    smooth = cv2.GaussianBlur(smooth, (0, 0), 0.8)
    wide = cv2.resize(smooth, (columns * CELL_PX, rows * CELL_PX), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide[:height, :width], np.float32)


def tone_between(difference: LogPicture, reference: LogPicture, counted: BoolArray) -> LogPicture:
    """The part of a difference that depends on how bright a pixel was: another gain bends a camera's tone curve.

    Returns:
        Shape (h, w, 3): each channel's median difference at each level of the reference.
    """
    low, high = float(LOG_LEVELS[0]), float(LOG_LEVELS[-1])
    index = np.rint((reference - np.float32(low)) * np.float32(255 / (high - low))).clip(0, 255).astype(np.uint8)
    out = np.empty_like(difference)
    rows = counted[::3, ::3].ravel()
    for channel in range(3):
        fine = index[..., channel]
        level = (fine[::3, ::3].ravel()[rows].astype(np.int64) * LEVELS) >> 8
        values = difference[::3, ::3, channel].ravel()[rows]
        order = np.argsort(level, kind="stable")
        ends = np.searchsorted(level[order], np.arange(LEVELS + 1))
        ordered = values[order]
        known = [k for k in range(LEVELS) if ends[k + 1] - ends[k] >= 20]
        medians = [float(np.median(ordered[ends[k] : ends[k + 1]])) for k in known] or [0.0]
        # A camera's curve is smooth; a thing of one colour that came or went stands out at its level.
        padded = np.pad(np.array(medians), 2, mode="edge")
        medians = [float(np.median(padded[k : k + 5])) for k in range(len(medians))]
        places = (np.array(known or [0]) + 0.5) * 256 / LEVELS
        out[..., channel] = np.interp(np.arange(256), places, medians).astype(np.float32)[fine]
    return out


@dataclass(slots=True)
class _Face:
    """What is known of one face.

    Attributes:
        a_bin: Its bin, with its outline.
        mask: Its pixels, shape (h, w).
        area_px: Their number.
        box: Rows and columns around it.
        hidden_from_ns: When somebody first was before it, the last time; -1 for never.
        hidden_to_ns: When somebody last was.
        since_ns: Since when it has differed without motion or anybody before it; -1 while it does not.
        before: Its picture when it was last as the reference has it, shape (h, w, 3).
        states: Earlier states of its part of the reference, the latest last.
    """

    a_bin: Bin
    mask: BoolArray
    area_px: int
    box: tuple[slice, slice]
    hidden_from_ns: int = -1
    hidden_to_ns: int = -1
    since_ns: int = -1
    before: ImageArray | None = None
    states: deque[LogPicture] | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """A frame in the reference's place: grey levels, their logarithm, which pixels tell, and edges, (h, w, ...)."""

    timestamp_ns: int
    image: ImageArray
    picture: LogPicture
    counted: BoolArray
    edges: LogPicture


class FaceWatcher:
    """Watches the faces that one calibrated camera sees, and says which of them changed.

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
        self._first_ns, self._last_ns = -1, -1
        self._reference: LogPicture | None = None
        self._variance: LogPicture | None = None
        self._grey: FloatArray | None = None
        self._face_of: IntArray | None = None
        self._recent: deque[_Look] = deque()
        self._mean: LogPicture | None = None
        self._edges: LogPicture | None = None
        self._edges_age = 0

    @property
    def unsettled_since_ns(self) -> int | None:
        """Since when the oldest change that is not judged yet has been seen; None if every face is as it was."""
        return min((face.since_ns for face in self._faces if face.since_ns >= 0), default=None)

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
        gap_s = (now_ns - self._last_ns) / NANOSECONDS if self._last_ns >= 0 else 0.0
        self._last_ns = now_ns
        look = self._looked(frame)
        self._recent.append(look)
        while len(self._recent) > 2 and self._recent[1].timestamp_ns <= now_ns - self._settings.motion_s * NANOSECONDS:
            self._recent.popleft()
        if self._reference is None or self._variance is None:
            self._reference, self._variance = look.picture.copy(), np.full(look.counted.shape, 0.001, np.float32)
            self._first_ns = now_ns
            for face in self._faces:
                face.before = look.image[face.box].copy()
            return []
        differs, level = self._differs(look, self._reference, self._edges_now(), tone=True)
        then = self._recent[0]
        moves, _ = self._differs(look, then.picture, then.edges, tone=False)
        if now_ns - self._first_ns < self._settings.start_s * NANOSECONDS:
            self._learn(level, ~moves, max(gap_s, 0.3))
            return []
        somebody = self._somebody(differs, moves, detections)
        left_over = self._steadily_differs(look, level, somebody) & ~somebody
        changes = self._judge(look, level, left_over, somebody, now_ns)
        self._learn(level, ~(differs | left_over | somebody), gap_s)
        return sorted(changes, key=lambda change: change.time_ns)

    def finish(self) -> list[ShelfChange]:
        """Judge what is still open at the end of the stream: what nobody stands before."""
        if self._reference is None or not self._recent:
            return []
        look = self._recent[-1]
        differs, level = self._differs(look, self._reference, self._edges_now(), tone=True)
        then = self._recent[0]
        moves, _ = self._differs(look, then.picture, then.edges, tone=False)
        somebody = self._somebody(differs, moves, None)
        left_over = self._steadily_differs(look, level, somebody) & ~somebody
        wait_ns = int(self._settings.settle_s * NANOSECONDS / 2)
        return self._judge(look, level, left_over, somebody, look.timestamp_ns + wait_ns)

    def _begin(self, image_wh: tuple[int, int]) -> None:
        self._image_wh = image_wh
        self._scale = min(1.0, WORKING_WIDTH / image_wh[0])
        size_wh = round(image_wh[0] * self._scale), round(image_wh[1] * self._scale)
        self._face_of = np.full(size_wh[::-1], -1, np.int32)
        for a_bin in self._bins:
            canvas = np.zeros(size_wh[::-1], np.uint8)
            corners = np.asarray(a_bin.polygon_px) * self._scale - 0.5
            cv2.fillPoly(canvas, [np.rint(corners).astype(np.int32)], 1)
            mask = canvas.astype(bool)
            area = int(mask.sum())
            if area < self._settings.least_px:
                raise ValueError(
                    f"bin {a_bin.bin_id}: only {area} pixels of its face lie in the picture, expected at least "
                    f"{self._settings.least_px}"
                )
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
            self._face_of[mask] = len(self._faces)
            self._faces.append(_Face(a_bin, mask, area, box, states=deque(maxlen=STATES_KEPT)))

    def _looked(self, frame: Frame) -> _Look:
        image = frame.image
        if self._scale < 1:
            size = round(image.shape[1] * self._scale), round(image.shape[0] * self._scale)
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
        if self._grey is None:
            self._grey = grey
        x, y = shift_between(grey, self._grey)
        if x or y:
            matrix = np.array([[1, 0, -x], [0, 1, -y]])
            size_wh = image.shape[1], image.shape[0]
            image = np.asarray(cv2.warpAffine(image, matrix, size_wh, borderMode=cv2.BORDER_REPLICATE), np.uint8)
        soft = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.8), np.uint8)
        counted = (soft.max(axis=2) > DARKEST) & (soft.min(axis=2) < BRIGHTEST)
        picture = log_picture(soft)
        edges = cv2.dilate(edge_strength(picture), np.ones((3, 3), np.uint8))
        return _Look(frame.timestamp_ns, image, picture, counted, np.asarray(edges, np.float32))

    def _edges_now(self) -> LogPicture:
        """Edges of the reference, found anew once in a while: it changes slowly, but for changes on faces."""
        assert self._reference is not None
        if self._edges is None or self._edges_age >= EDGES_KEPT:
            edges = cv2.dilate(edge_strength(self._reference), np.ones((3, 3), np.uint8))
            self._edges, self._edges_age = np.asarray(edges, np.float32), 0
        self._edges_age += 1
        return self._edges

    def _differs(
        self, look: _Look, reference: LogPicture, edges: LogPicture, *, tone: bool
    ) -> tuple[BoolArray, LogPicture]:
        """Pixels that show something else than a reference with its edges, and the picture in the reference's light."""
        assert self._variance is not None
        difference = look.picture - reference
        if tone:
            difference = difference - tone_between(difference, reference, look.counted)
        difference = difference - light_between(difference, look.counted)
        settings = self._settings
        # Two frames differ by the noise of both.
        sigmas = settings.noise_sigmas * (1.0 if tone else 1.42)
        tolerance = np.maximum(sigmas * np.sqrt(self._variance), settings.contrast)
        tolerance = tolerance + np.float32(KNOCK_PX) * np.minimum(edges, look.edges)
        different = (strongest(np.abs(difference)) > tolerance) & look.counted
        opened = cv2.morphologyEx(different.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        return closed.astype(bool), np.asarray(reference + difference, np.float32)

    def _steadily_differs(self, look: _Look, level: LogPicture, somebody: BoolArray) -> BoolArray:
        """Pixels whose mean over the last frames without anybody before them differs from the reference."""
        assert self._reference is not None
        assert self._variance is not None
        if self._mean is None:
            self._mean = level.copy()
        self._mean = np.where(somebody[..., None], level, self._mean + MEAN_WEIGHT * (level - self._mean))
        spread = STEADY * self._settings.noise_sigmas * np.sqrt(self._variance)
        tolerance = np.maximum(spread, STEADY * self._settings.contrast)
        tolerance = tolerance + np.float32(STEADY * KNOCK_PX) * np.minimum(self._edges_now(), look.edges)
        different = (strongest(np.abs(self._mean - self._reference)) > tolerance) & look.counted
        opened = cv2.morphologyEx(different.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(bool))

    def _somebody(self, differs: BoolArray, moves: BoolArray, detections: Detections | None) -> BoolArray:
        """Pixels of what is before the shelf: what reaches in from the rim, what moves, and detected people."""
        hides = np.zeros(differs.shape, bool)
        count, labels, stats, _ = cv2.connectedComponentsWithStats((differs | moves).astype(np.uint8), connectivity=8)
        if count > 1:
            rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
            moving = np.bincount(labels[moves], minlength=count) / np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
            living = (moving > LIVELY) & (stats[:, cv2.CC_STAT_AREA] >= self._settings.least_px)
            touching = np.bincount(rim, minlength=count) > 3
            living |= touching & (stats[:, cv2.CC_STAT_AREA] >= 8 * self._settings.least_px)
            living[0] = False
            hides = living[labels]
        if detections is not None:
            people = detections.xyxy[detections.class_id == 0] * self._scale
            for left, top, right, bottom in people:
                part = np.s_[max(0, int(top)) : max(0, int(bottom)), max(0, int(left)) : max(0, int(right))]
                hides[part] |= differs[part] | moves[part]
        return np.asarray(cv2.dilate(hides.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool))

    def _judge(
        self, look: _Look, level: LogPicture, left_over: BoolArray, somebody: BoolArray, now_ns: int
    ) -> list[ShelfChange]:
        """Wait for what differs with nobody before it, and say what it is when it has stayed."""
        assert self._reference is not None
        assert self._face_of is not None
        settings = self._settings
        counts = np.bincount(self._face_of[somebody] + 1, minlength=len(self._faces) + 1)[1:]
        count, labels, stats, _ = cv2.connectedComponentsWithStats(left_over.astype(np.uint8), connectivity=8)
        things: dict[int, list[int]] = {}
        for thing in range(1, count):
            if stats[thing][cv2.CC_STAT_AREA] < settings.least_px:
                continue
            shares = np.bincount(self._face_of[labels == thing] + 1, minlength=len(self._faces) + 1)[1:]
            most = int(shares.argmax())
            if shares[most] >= settings.least_px // 2:
                things.setdefault(most, []).append(thing)
        changes = []
        for place, face in enumerate(self._faces):
            if counts[place] > 0.02 * face.area_px:
                if face.hidden_to_ns < 0 or now_ns - face.hidden_to_ns > settings.settle_s * NANOSECONDS:
                    face.hidden_from_ns = now_ns
                face.hidden_to_ns = now_ns
                face.since_ns = -1
                continue
            region = np.isin(labels, things.get(place, [])) if place in things else None
            if region is None or (region & face.mask).sum() < settings.item_share * face.area_px:
                face.since_ns = -1
                if place not in things:
                    face.before = look.image[face.box].copy()
                continue
            if face.since_ns < 0:
                face.since_ns = now_ns
            if now_ns - face.since_ns < settings.settle_s * NANOSECONDS:
                continue
            changes.append(self._changed(face, region, level, look, now_ns))
        return changes

    def _changed(self, face: _Face, region: BoolArray, level: LogPicture, look: _Look, now_ns: int) -> ShelfChange:
        assert self._reference is not None
        assert face.states is not None
        handling, probability = self._handled(face, region, level)
        seen_ns = face.since_ns
        recent = face.hidden_to_ns >= 0 and seen_ns - face.hidden_to_ns < 2 * NANOSECONDS
        start_ns, end_ns = (face.hidden_from_ns, face.hidden_to_ns) if recent else (seen_ns, seen_ns)
        rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
        top, left = face.box[0].start, face.box[1].start
        height, width = (part.stop - part.start for part in face.box)
        region_px = (
            int(np.clip(columns[0] - left, 0, width - 1)),
            int(np.clip(rows[0] - top, 0, height - 1)),
            int(np.clip(columns[-1] + 1 - left, 1, width)),
            int(np.clip(rows[-1] + 1 - top, 1, height)),
        )
        before = face.before if face.before is not None else look.image[face.box].copy()
        change = ShelfChange(
            face.a_bin.bin_id,
            handling,
            1,
            probability,
            start_ns,
            (start_ns + end_ns) // 2,
            end_ns,
            before,
            look.image[face.box].copy(),
            region_px,
        )
        face.states.append(self._reference[face.box].copy())
        grown = cv2.dilate(region.astype(np.uint8), np.ones((15, 15), np.uint8)).astype(bool) | face.mask
        # Without the tone curve, which the thing itself has bent where it is the only one of its brightness.
        plain = look.picture - light_between(look.picture - self._reference, look.counted)
        self._reference[grown] = plain[grown]
        if self._mean is not None:
            self._mean[grown] = plain[grown]
        self._edges = None
        face.since_ns = -1
        face.before = look.image[face.box].copy()
        return change

    def _handled(self, face: _Face, region: BoolArray, level: LogPicture) -> tuple[Handling, float]:
        """Tell which way an item went: back to an earlier state is a return; else by edges and light."""
        assert self._reference is not None
        assert face.states is not None
        part = region[face.box]
        now, reference = level[face.box], self._reference[face.box]
        apart = float(np.abs(now - reference)[part].mean())
        for state in reversed(face.states):
            away = float(np.abs(now - state)[part].mean())
            if away < LIKE_BEFORE * apart:
                return Handling.PUT_BACK, 0.9
        balance = edge_balance(reference, now, part)
        darker = float((reference - now)[part].mean())
        odds = PICK_PRIOR - EDGE_WEIGHT * balance + DARK_WEIGHT * darker
        pick = float(1 / (1 + np.exp(-np.clip(odds, -6, 6))))
        return (Handling.PICK, pick) if pick >= 0.5 else (Handling.PUT_BACK, 1 - pick)

    def _learn(self, level: LogPicture, same: BoolArray, gap_s: float) -> None:
        """Let the reference and its noise follow where nothing has changed."""
        assert self._reference is not None
        assert self._variance is not None
        weight = np.float32(min(0.5, gap_s / self._settings.learn_s))
        miss = np.where(same[..., None], level - self._reference, np.float32(0))
        self._reference += weight * miss
        spread = strongest(miss**2)
        self._variance += weight * np.where(same, spread - self._variance, np.float32(0))


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
        if not np.isfinite(outline).all():
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
