"""Draws what the store knows onto a picture: people, hands, bins, zones, carts; and writes pictures as video."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from vision.arrays import FloatArray, ImageArray, check_shape
from vision.cameras import Camera
from vision.detections import KEYPOINT_COUNT
from vision.layout import Bin, StoreLayout, View

Colour = tuple[int, int, int]  # blue, green, red, 0 to 255
Rect = tuple[int, int, int, int]  # left, top, right, bottom, pixels

# Bright and far apart in hue, so that a thin line shows on a dark shelf and black letters are readable on each.
PERSON_COLOURS: tuple[Colour, ...] = (
    (80, 200, 255),
    (255, 190, 90),
    (120, 230, 120),
    (200, 150, 255),
    (240, 240, 110),
    (110, 150, 255),
    (170, 225, 215),
    (255, 160, 200),
)
INK: Colour = (24, 22, 20)
PAPER: Colour = (245, 245, 245)
MUTED: Colour = (175, 170, 165)
BACKGROUND: Colour = (36, 32, 28)
# People are coloured, places are not.
BIN_COLOUR: Colour = (190, 186, 182)
TOUCHED_COLOUR: Colour = (255, 255, 255)
SHELF_COLOUR: Colour = (205, 200, 190)
FLOOR_COLOUR: Colour = (120, 200, 110)
THING_COLOUR: Colour = (90, 220, 240)
EXIT_COLOUR: Colour = (110, 90, 255)
NOTICE_COLOUR: Colour = (80, 150, 255)  # something is wrong with a camera
PLAN_FLOOR: Colour = (58, 52, 46)
PLAN_SHELF: Colour = (112, 106, 100)

KEYPOINT_SHOWN = 0.3  # below this visibility a pose model's point is a guess that would only clutter the picture
SKELETON = (
    *((5, 7), (7, 9), (6, 8), (8, 10)),  # arms
    *((5, 6), (5, 11), (6, 12), (11, 12)),  # trunk
    *((11, 13), (13, 15), (12, 14), (14, 16)),  # legs
    *((0, 5), (0, 6)),  # head
)
EDGE_SAMPLES = 17  # points along a projected edge, enough that lens distortion bends it smoothly
PANEL_LEAST_PX = 120  # a panel less high has no room for a cart and what happened last
PLAN_SHARE = 0.26  # of a panel's height, so that three carts and the latest interactions still find room below
PLAN_LEAST_PX = 90  # a floor plan less high shows nothing
PLAN_MARGIN_PX = 6  # a person at the very edge of the floor still shows as a dot
ELLIPSE_CHI2 = 5.99  # 95 % of two degrees of freedom: where somebody stands, as far as is known
FRONT_STEP_M = 0.35  # where a person stands who uses a shelf, seen from its front

# Divides the frame times of all common rates (24, 25, 30, 50, 60, 30000/1001) and stays below MPEG-4's limit of 65535.
VIDEO_TICKS_PER_S = 60_000


@dataclass(frozen=True, slots=True)
class PersonMark:
    """A person in one picture.

    Attributes:
        label: Who, for people: ``"shopper 3"``.
        colour: See ``identity_colour``.
        xyxy: Box, shape (4,), pixels.
        keypoints: COCO's 17 points (x, y, visibility), shape (17, 3), or (0, 3) to draw no skeleton.
        hands_px: Left and right hand, shape (2, 2), pixels, nan when unseen.
    """

    label: str
    colour: Colour
    xyxy: FloatArray
    keypoints: FloatArray = field(default_factory=lambda: np.zeros((0, 3)))
    hands_px: FloatArray = field(default_factory=lambda: np.full((2, 2), np.nan))

    def __post_init__(self) -> None:
        check_shape("PersonMark.xyxy", self.xyxy, (4,))
        check_shape("PersonMark.keypoints", self.keypoints, ("k", 3))
        check_shape("PersonMark.hands_px", self.hands_px, (2, 2))


@dataclass(frozen=True, slots=True)
class BinMark:
    """A bin, or the shelf fronts of a gondola, in one picture.

    Attributes:
        name: Written at it; ``""`` for none.
        outlines_px: One or more polylines, each (n, 2), pixels.
        is_touched: Whether a hand is there now; drawn boldly.
        is_thin: A faint hairline, for shelf fronts that only give orientation.
    """

    name: str
    outlines_px: tuple[FloatArray, ...]
    is_touched: bool = False
    is_thin: bool = False

    def __post_init__(self) -> None:
        for outline in self.outlines_px:
            check_shape("BinMark.outlines_px", outline, ("n", 2))


@dataclass(frozen=True, slots=True)
class ThingMark:
    """A product that a detector sees.

    Attributes:
        label: Its name with how sure that is; ``""`` for none.
        xyxy: Box, shape (4,), pixels.
        colour: That of the person who holds it; None for a thing that nobody holds.
    """

    label: str
    xyxy: FloatArray
    colour: Colour | None = None

    def __post_init__(self) -> None:
        check_shape("ThingMark.xyxy", self.xyxy, (4,))


@dataclass(frozen=True, slots=True)
class Overlay:
    """What to draw onto one picture.

    Attributes:
        caption: In the upper left corner, such as ``"cam3  12.1 s"``.
        people: People in it.
        bins: Bins and shelf fronts in it.
        floor_px: Outlines of the walkable floor, polylines (n, 2), pixels.
        exit_px: The exit line or zone, polylines (n, 2), pixels.
        things: Products that are seen in it.
        state: In the upper right corner: how this very picture was looked at, such as ``"detected"``.
        notices: Along the lower edge: what is wrong with the camera, one short line each.
    """

    caption: str = ""
    people: tuple[PersonMark, ...] = ()
    bins: tuple[BinMark, ...] = ()
    floor_px: tuple[FloatArray, ...] = ()
    exit_px: tuple[FloatArray, ...] = ()
    things: tuple[ThingMark, ...] = ()
    state: str = ""
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, outlines in (("floor_px", self.floor_px), ("exit_px", self.exit_px)):
            for outline in outlines:
                check_shape(f"Overlay.{name}", outline, ("n", 2))


@dataclass(frozen=True, slots=True)
class CartPanel:
    """A live cart: the shopper's label and colour, one line of text an item, and what their hands are at just now."""

    shopper: str
    colour: Colour
    lines: tuple[str, ...]
    doing: str = ""


@dataclass(frozen=True, slots=True)
class PlanPerson:
    """Somebody on the floor plan.

    Attributes:
        label: Who, for people.
        colour: See ``identity_colour``.
        position_m: Where they stand, shape (2,), metres.
        covariance_m2: How sure that is, shape (2, 2), square metres; nan where it is not known.
        trail_m: Where they stood before, oldest first, shape (n, 2), metres.
        hands_m: Both hands from above, shape (2, 2), metres, nan when unseen.
    """

    label: str
    colour: Colour
    position_m: FloatArray
    covariance_m2: FloatArray = field(default_factory=lambda: np.full((2, 2), np.nan))
    trail_m: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    hands_m: FloatArray = field(default_factory=lambda: np.full((2, 2), np.nan))

    def __post_init__(self) -> None:
        check_shape("PlanPerson.position_m", self.position_m, (2,))
        check_shape("PlanPerson.covariance_m2", self.covariance_m2, (2, 2))
        check_shape("PlanPerson.trail_m", self.trail_m, ("n", 2))
        check_shape("PlanPerson.hands_m", self.hands_m, (2, 2))


@dataclass(frozen=True, slots=True)
class FloorPlan:
    """The store from above, x to the right and y upwards.

    Attributes:
        floor_m: Outlines of the walkable floor, polylines (n, 2), metres.
        shelves_m: Outlines of the gondolas, polylines (n, 2), metres.
        doors_m: Entrance and exit lines, each (2, 2), metres.
        cameras_m: Where cameras hang, shape (c, 2), metres.
        people: Everybody in the store.
    """

    floor_m: tuple[FloatArray, ...] = ()
    shelves_m: tuple[FloatArray, ...] = ()
    doors_m: tuple[FloatArray, ...] = ()
    cameras_m: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    people: tuple[PlanPerson, ...] = ()

    def __post_init__(self) -> None:
        for name in ("floor_m", "shelves_m", "doors_m"):
            for outline in getattr(self, name):
                check_shape(f"FloorPlan.{name}", outline, ("n", 2))
        check_shape("FloorPlan.cameras_m", self.cameras_m, ("c", 2))


@dataclass(frozen=True, slots=True)
class Panel:
    """What stands beside the pictures.

    Attributes:
        title: First line, such as the store's clock.
        carts: Live carts.
        latest: Latest interactions, newest first: ``"12.1 s  Ada took 1 x Jam, 93 %"``.
        plan: The store from above with everybody in it; None where no camera is calibrated.
    """

    title: str = ""
    carts: tuple[CartPanel, ...] = ()
    latest: tuple[str, ...] = ()
    plan: FloorPlan | None = None


def identity_colour(identity_id: int) -> Colour:
    """Return the colour of a person, the same in every camera; neighbours in number differ clearly."""
    return PERSON_COLOURS[identity_id % len(PERSON_COLOURS)]


def zone_marks(layout: StoreLayout, camera_id: str, resolution_wh: tuple[int, int]) -> Overlay:
    """Return what stays the same in a camera's pictures: drawn bins, shelf fronts, floor and exit.

    Compute it once a camera and fill in the rest with ``dataclasses.replace``.

    Args:
        layout: The store, already fitted to the pictures (``StoreLayout.for_pictures``).
        camera_id: The camera.
        resolution_wh: Size of its pictures, pixels.

    Returns:
        An overlay without caption and people. What the camera cannot see is left out: edges behind it or outside the
        picture, and shelf fronts that face away.
    """
    camera = _fitted_camera(layout, camera_id, resolution_wh)
    view = next((v for v in layout.views if v.camera_id == camera_id), View(camera_id, resolution_wh))
    bins = [
        BinMark(a_bin.bin_id, (_closed(a_bin.polygon_px),))
        for a_bin in layout.bins
        if a_bin.polygon_px is not None and a_bin.camera_id == camera_id
    ]
    floor = [] if view.walkable_px is None else [_closed(view.walkable_px)]
    way_out = [] if view.exit_px is None else [_closed(view.exit_px)]
    if camera is not None:
        bins += _shelf_fronts(layout, camera)
        if layout.walkable_m is not None:
            floor += _projected(camera, _closed(np.insert(layout.walkable_m, 2, 0.0, axis=1)))
        if layout.exit_m is not None:
            way_out += _projected(camera, np.insert(layout.exit_m, 2, 0.0, axis=1))
    return Overlay(bins=tuple(bins), floor_px=tuple(floor), exit_px=tuple(way_out))


def floor_plan(layout: StoreLayout, camera_ids: Sequence[str] = ()) -> FloorPlan | None:
    """Return the store from above without people; fill them in with ``dataclasses.replace``.

    Args:
        layout: The store.
        camera_ids: Cameras that are looked through; others of the store are left out.

    Returns:
        The plan; None for a store that is only drawn in pictures.
    """
    corners = [
        (a_bin.gondola_id, a_bin.box.corners_m[:, :2]) for a_bin in layout.bins if a_bin.box is not None
    ]  # bins of one gondola share its axes, so the hull of all corners is its outline
    shelves = []
    for gondola_id in dict.fromkeys(number for number, _ in corners):
        points = np.concatenate([own for number, own in corners if number == gondola_id])
        shelves.append(_closed(cv2.convexHull(points.astype(np.float32)).reshape(-1, 2).astype(float)))
    floor = () if layout.walkable_m is None else (_closed(np.asarray(layout.walkable_m, float)),)
    if not shelves and not floor:
        return None
    doors = tuple(np.asarray(line, float) for line in (layout.entrance_m, layout.exit_m) if line is not None)
    cameras = [camera.position_m[:2] for camera in layout.cameras if camera.camera_id in camera_ids]
    return FloorPlan(floor, tuple(shelves), doors, np.array(cameras, float).reshape(-1, 2))


def bin_mark(layout: StoreLayout, bin_id: str, camera_id: str, resolution_wh: tuple[int, int]) -> BinMark | None:
    """Return one bin as a touched mark, or None where this camera does not show it.

    Args:
        layout: The store, already fitted to the pictures.
        bin_id: The bin.
        camera_id: The camera.
        resolution_wh: Size of its pictures, pixels.

    Raises:
        ValueError: The layout has no such bin.
    """
    a_bin = layout.bin(bin_id)
    if a_bin.polygon_px is not None:
        return BinMark(bin_id, (_closed(a_bin.polygon_px),), is_touched=True) if a_bin.camera_id == camera_id else None
    camera = _fitted_camera(layout, camera_id, resolution_wh)
    if camera is None:
        return None
    neighbours = [b for b in layout.bins if b.box is not None and b.gondola_id == a_bin.gondola_id]
    front = _Front.of(neighbours, layout, camera)
    outlines = _projected(camera, _closed(front.face_m([a_bin])))
    return BinMark(bin_id, tuple(outlines), is_touched=True) if outlines else None


def draw(image: ImageArray, overlay: Overlay, size_wh: tuple[int, int] | None = None) -> ImageArray:
    """Draw an overlay onto a copy of a picture.

    Args:
        image: Pixels, shape (h, w, 3), BGR.
        overlay: What to draw, in this picture's pixels. Lines and letters grow with the height that comes out.
        size_wh: Scale the picture and the overlay to this size first, so that letters stay legible in a small one;
            None keeps the picture's size.

    Returns:
        A new picture, shape (h, w, 3), or that of ``size_wh``.
    """
    check_shape("draw: image", image, ("h", "w", 3))
    height, width = image.shape[:2]
    if size_wh is None or size_wh == (width, height):
        canvas, scale = image.copy(), np.ones(2)
    else:
        canvas, scale = _scaled(image, size_wh), np.array(size_wh) / (width, height)
    pen = _Pen(canvas)
    for outline in overlay.floor_px:
        pen.line(outline * scale, FLOOR_COLOUR, dashed=True)
    for outline in overlay.exit_px:
        pen.line(outline * scale, EXIT_COLOUR, wide=True)
    for mark in sorted(overlay.bins, key=lambda m: m.is_touched):
        for outline in mark.outlines_px:
            if mark.is_thin:
                pen.hairline(outline * scale, SHELF_COLOUR)
            else:
                pen.line(outline * scale, TOUCHED_COLOUR if mark.is_touched else BIN_COLOUR, wide=mark.is_touched)
    for thing in overlay.things:
        left, top, right, bottom = (thing.xyxy * np.tile(scale, 2)).tolist()
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
        pen.line(corners, thing.colour or THING_COLOUR, dashed=thing.colour is None, wide=thing.colour is not None)
    for person in overlay.people:
        _draw_person(pen, person, scale)
    # Labels come last, so that no line runs through one; the most important choose their place first.
    pen.label(overlay.caption, [(0, 0)], PAPER, INK)
    if overlay.state:
        pen.label(overlay.state, [(canvas.shape[1], 0)], INK, PAPER)
    for place, notice in enumerate(reversed(overlay.notices), start=1):
        pen.label(notice, [(0, canvas.shape[0] - place * pen.label_size(notice)[1])], NOTICE_COLOUR, INK)
    for person in overlay.people:
        if np.isfinite(person.xyxy).all():
            left, top, right, bottom = (person.xyxy * np.tile(scale, 2)).tolist()
            wide, tall = pen.label_size(person.label)
            spots = [(left, top - tall), (right - wide, top - tall), (left, top), (right - wide, top)]
            spots += [(left, bottom), (right, top), (left - wide, top), (left, bottom - tall)]
            pen.label(person.label, spots, person.colour, INK)
    for thing in overlay.things:
        left, top, right, bottom = (thing.xyxy * np.tile(scale, 2)).tolist()
        _, tall = pen.label_size(thing.label)
        spots = [(left, bottom), (left, top - tall), (right, top), (left, bottom - tall)]
        pen.label(thing.label, spots, thing.colour or THING_COLOUR, INK)
    for mark in sorted(overlay.bins, key=lambda m: (m.is_thin, not m.is_touched)):
        points = [p for outline in mark.outlines_px for p in (outline * scale).tolist() if pen.shows(p)]
        if points:
            left, top = min(p[0] for p in points), min(p[1] for p in points)
            bottom = max(p[1] for p in points)
            wide, tall = pen.label_size(mark.name)
            if mark.is_thin:
                x, y = (np.mean(points, axis=0) - (wide / 2, tall / 2)).tolist()
                spots = [(x, y), (x, y + tall), (x, y - tall)]
                pen.label(mark.name, spots, INK, SHELF_COLOUR, may_overlap=False)
            else:
                spots = [(left, top - tall), (left, top), (left, bottom - tall), (left, bottom)]
                pen.label(mark.name, spots, TOUCHED_COLOUR if mark.is_touched else BIN_COLOUR, INK)
    return canvas


def draw_panel(panel: Panel, height_px: int) -> ImageArray:
    """Draw a panel of carts and latest interactions.

    Args:
        panel: What to write. What does not fit is counted in a last line.
        height_px: Height, at least 120 pixels.

    Returns:
        Pixels, shape (height_px, w, 3), BGR; the width follows from the height.
    """
    if height_px < PANEL_LEAST_PX:
        raise ValueError(f"draw_panel: expected a height of at least {PANEL_LEAST_PX} pixels, got {height_px}")
    canvas = np.full((height_px, max(220, round(0.6 * height_px)), 3), BACKGROUND, np.uint8)
    pen = _Pen(canvas, max(11, round(4 + height_px / 42)))
    step, margin = round(1.55 * pen.text_px), pen.text_px
    y = margin
    if panel.title:
        pen.write(panel.title, (margin, y), PAPER, weight=600)
        y += round(1.3 * step)
    plan_px = round(PLAN_SHARE * height_px)
    if panel.plan is not None and plan_px >= PLAN_LEAST_PX:
        _draw_plan(canvas[y : y + plan_px, margin : canvas.shape[1] - margin], panel.plan)
        y += plan_px + step // 2
    rows: list[tuple[str, Colour]] = []
    for text in panel.latest:
        lines = pen.wrapped(text, margin)
        if rows and len(rows) + len(lines) > max(2, height_px // step // 4):
            break
        rows += [(line, MUTED if rows else PAPER) for line in lines]
    latest_top = height_px - margin // 2 - step * (len(rows) + 1 if rows else 0)
    _write_carts(pen, panel.carts, y, latest_top - step)
    if rows:
        cv2.line(canvas, (margin, latest_top - step // 4), (canvas.shape[1] - margin, latest_top - step // 4), MUTED, 1)
        pen.write("Latest", (margin, latest_top), MUTED)
        for row, (text, colour) in enumerate(rows, start=1):
            pen.write(text, (margin, latest_top + row * step), colour)
    return canvas


def cell_size(resolutions_wh: Sequence[tuple[int, int]], limit_wh: tuple[int, int] = (1920, 1080)) -> tuple[int, int]:
    """Return the size at which each camera's picture goes into a mosaic of all of them.

    Args:
        resolutions_wh: Picture size of each camera, pixels.
        limit_wh: The mosaic shall not be larger than this.

    Returns:
        Even width and height in pixels: the largest picture's, made smaller if the mosaic would pass the limit, and
        larger if a panel beside it would have no room for text.

    Raises:
        ValueError: There is no camera.
    """
    if not resolutions_wh:
        raise ValueError("cell_size: expected at least one camera, got none")
    width, height = max(resolutions_wh, key=lambda wh: wh[0] * wh[1])
    columns, rows = _grid(len(resolutions_wh))
    scale = min(1.0, limit_wh[0] / (columns * width), limit_wh[1] / (rows * height))
    scale = max(scale, PANEL_LEAST_PX / (rows * height))
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def mosaic(images: Sequence[ImageArray], cell_wh: tuple[int, int] | None = None) -> ImageArray:
    """Lay pictures of several cameras out in a grid, each scaled to one size with its shape kept.

    Args:
        images: Pictures, shape (h, w, 3), BGR; row by row in the order given.
        cell_wh: Size of each, pixels; None for ``cell_size`` of them.

    Returns:
        One picture; what is left of the grid is dark.

    Raises:
        ValueError: There is no picture.
    """
    cell = cell_wh or cell_size([(image.shape[1], image.shape[0]) for image in images])
    if len(images) == 1 and images[0].shape[:2] == (cell[1], cell[0]):
        return images[0]
    columns, rows = _grid(max(1, len(images)))
    canvas = np.full((rows * cell[1], columns * cell[0], 3), BACKGROUND, np.uint8)
    for place, image in enumerate(images):
        fitted = _scaled(image, _fitted_wh(image, cell))
        top = place // columns * cell[1] + (cell[1] - fitted.shape[0]) // 2
        left = place % columns * cell[0] + (cell[0] - fitted.shape[1]) // 2
        canvas[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return canvas


def compose(
    images: Sequence[ImageArray | None],
    overlays: Sequence[Overlay],
    panel: Panel,
    cell_wh: tuple[int, int],
) -> ImageArray:
    """Draw the overlays and lay out the pictures of all cameras with the panel on their right.

    The size that comes out depends only on how many cameras there are and on ``cell_wh``, as a video needs.

    Args:
        images: The picture of each camera; None where a camera gave none.
        overlays: What to draw onto each.
        panel: Carts and latest interactions.
        cell_wh: Size of each picture in the mosaic, see ``cell_size``.

    Returns:
        One picture of even width and height.

    Raises:
        ValueError: There is no camera, or not one overlay for each.
    """
    if not images or len(images) != len(overlays):
        raise ValueError(f"compose: expected one overlay for each picture, got {len(overlays)} for {len(images)}")
    cells = []
    for image, overlay in zip(images, overlays, strict=True):
        if image is None:
            blank = np.full((cell_wh[1], cell_wh[0], 3), BACKGROUND, np.uint8)
            said = Overlay(caption=f"{overlay.caption}  no picture".strip(), notices=overlay.notices)
            cells.append(draw(blank, said))
        else:
            cells.append(draw(image, overlay, _fitted_wh(image, cell_wh)))
    pictures = mosaic(cells, cell_wh)
    return _even(np.hstack([pictures, draw_panel(panel, pictures.shape[0])]))


class VideoWriter:
    """Writes pictures with their own timestamps as an MP4 file, H.264 where the PyAV build has it, else MPEG-4.

    Use it as a context manager; the file is complete after leaving it. Where no picture was written there is no file.
    """

    def __init__(self, path: Path, fps: float) -> None:
        """Open nothing yet.

        Args:
            path: The file to write, replaced if it is there.
            fps: Nominal rate, for players and the encoder; the pictures' timestamps decide when each is shown.

        Raises:
            ValueError: The rate is not a positive number.
        """
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"VideoWriter: expected a positive frame rate, got {fps}")
        self._path = path
        self._rate = Fraction(fps).limit_denominator(1001)
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._shape: tuple[int, ...] = ()
        self._first_ns = 0
        self._last_pts = -1

    def write(self, image: ImageArray, timestamp_ns: int) -> None:
        """Append a picture.

        Args:
            image: Pixels, shape (h, w, 3), BGR; all have the first one's size. An odd width or height loses its last
                column or row, because the encoders halve both for colour.
            timestamp_ns: When it was taken; the first one is the start of the video.

        Raises:
            ValueError: The size differs, or time did not rise.
            OSError: The file cannot be written.
        """
        check_shape("VideoWriter.write: image", image, ("h", "w", 3))
        if not self._shape:
            self._shape, self._first_ns = image.shape, timestamp_ns
        if image.shape != self._shape:
            raise ValueError(f"{self._path}: expected pictures of shape {self._shape}, got {image.shape}")
        pts = round((timestamp_ns - self._first_ns) * VIDEO_TICKS_PER_S / 1e9)
        if pts <= self._last_pts:
            raise ValueError(f"{self._path}: expected a picture later than the one before, got {timestamp_ns} ns")
        self._last_pts = pts
        try:
            container, stream = self._opened(_even(image))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(_even(image)), format="bgr24")
            frame.pts, frame.time_base = pts, Fraction(1, VIDEO_TICKS_PER_S)
            container.mux(stream.encode(frame))
        except av.FFmpegError as error:
            raise OSError(f"{self._path}: cannot write the video: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is None or self._stream is None:
            return
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        except av.FFmpegError as failure:
            raise OSError(f"{self._path}: cannot finish the video: {failure.strerror}") from failure
        finally:
            self._container = self._stream = None

    def _opened(self, image: ImageArray) -> tuple[OutputContainer, VideoStream]:
        if self._container is None or self._stream is None:
            codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            container = av.open(str(self._path), "w", format="mp4", options={"movflags": "+faststart"})
            stream = container.add_stream(codec, rate=self._rate)
            assert isinstance(stream, VideoStream)
            stream.height, stream.width = image.shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, VIDEO_TICKS_PER_S)
            stream.options = {"crf": "23", "preset": "veryfast"} if codec == "libx264" else {"qscale": "4"}
            container.start_encoding()
            self._container, self._stream = container, stream
        return self._container, self._stream


class _Pen:
    """Draws on one picture with widths that fit its height, and remembers where labels are."""

    def __init__(self, canvas: ImageArray, text_px: int | None = None) -> None:
        self.canvas = canvas
        height = int(canvas.shape[0])
        # A film of four cameras is often looked at 1280 pixels wide: then 11 pixels are left of 15.
        self.text_px = text_px or max(11, round(6 + height / 40))
        self.line_px = max(1, round(height / 400))
        self._font = cv2.FontFace("sans")
        self._labels: list[Rect] = []

    def shows(self, point: Sequence[float]) -> bool:
        height, width = self.canvas.shape[:2]
        return bool(0 <= point[0] < width and 0 <= point[1] < height)

    def line(self, points: FloatArray, colour: Colour, wide: bool = False, dashed: bool = False) -> None:
        # A dark seam on both sides keeps a line visible on any background.
        width = self.line_px + (self.line_px if wide else 0)
        pieces = _dashes(points, 8.0 * self.line_px) if dashed else [points]
        self._polylines(pieces, INK, width + 2)
        self._polylines(pieces, colour, width)

    def hairline(self, points: FloatArray, colour: Colour) -> None:
        self._polylines([points], colour, 1)

    def dot(self, point: FloatArray, colour: Colour) -> None:
        radius = 2 * self.line_px + 2
        centre = _pixel(point)
        cv2.circle(self.canvas, centre, radius + 2, INK, -1, cv2.LINE_AA)
        cv2.circle(self.canvas, centre, radius + 1, PAPER, -1, cv2.LINE_AA)
        cv2.circle(self.canvas, centre, radius, colour, -1, cv2.LINE_AA)

    def label_size(self, text: str) -> tuple[int, int]:
        return self._width(text, 600) + self.text_px // 2 + 2, round(1.45 * self.text_px)

    def label(
        self, text: str, spots: Sequence[tuple[float, float]], backing: Colour, ink: Colour, may_overlap: bool = True
    ) -> None:
        """Write on a backing at the first spot (left, top) that is free, or else where least is covered."""
        if not text:
            return
        wide, tall = self.label_size(text)
        height, width = self.canvas.shape[:2]
        rects = []
        for x, y in spots:
            left, top = round(min(max(x, 0), max(0, width - wide))), round(min(max(y, 0), max(0, height - tall)))
            rects.append((left, top, left + wide, top + tall))
        covered = [sum(_shared_area(rect, other) for other in self._labels) for rect in rects]
        if min(covered) > 0 and not may_overlap:
            return
        best = rects[covered.index(min(covered))]
        self._labels.append(best)
        cv2.rectangle(self.canvas, best[:2], (best[2] - 1, best[3] - 1), backing, -1)
        self.write(text, (best[0] + self.text_px // 4 + 1, best[1] + round(0.22 * self.text_px)), ink, weight=600)

    def write(self, text: str, left_top: tuple[int, int], colour: Colour, weight: int = 400) -> None:
        """Write one line, cut short with an ellipsis where the picture ends."""
        flat = " ".join(text.split())
        room = self.canvas.shape[1] - left_top[0] - self.text_px // 4
        if self._width(flat, weight) > room:
            while flat and self._width(flat + "…", weight) > room:
                flat = flat[:-1]
            flat = flat.rstrip() + "…"
        baseline = (left_top[0], left_top[1] + round(0.82 * self.text_px))
        cv2.putText(self.canvas, flat, baseline, colour, self._font, self.text_px, weight)

    def wrapped(self, text: str, left: int) -> list[str]:
        """Break a text between words into lines that fit between ``left`` and the picture's right edge."""
        room = self.canvas.shape[1] - left - self.text_px // 4
        lines: list[str] = []
        for word in text.split():
            if lines and self._width(f"{lines[-1]} {word}", 400) <= room:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines

    def _width(self, text: str, weight: int) -> int:
        return int(cv2.getTextSize((0, 0), text, (0, 0), self._font, self.text_px, weight)[2])

    def _polylines(self, lines: Sequence[FloatArray], colour: Colour, width: int) -> None:
        # OpenCV takes a sixteenth of a pixel (shift 4) and overflows far outside the picture, so both are bounded.
        reach = 4 * max(self.canvas.shape[:2])
        finite = [np.asarray(line, float)[np.isfinite(line).all(axis=1)] for line in lines]
        fixed = [np.round(np.clip(line, -reach, reach) * 16).astype(np.int32) for line in finite if len(line) >= 2]
        if fixed:
            cv2.polylines(self.canvas, fixed, False, colour, width, cv2.LINE_AA, 4)


def _draw_person(pen: _Pen, person: PersonMark, scale: FloatArray) -> None:
    if np.isfinite(person.xyxy).all():
        left, top, right, bottom = (person.xyxy * np.tile(scale, 2)).tolist()
        pen.line(_closed(np.array([[left, top], [right, top], [right, bottom], [left, bottom]])), person.colour)
    if len(person.keypoints) == KEYPOINT_COUNT:
        seen = np.nan_to_num(person.keypoints[:, 2]) >= KEYPOINT_SHOWN
        for a, b in SKELETON:
            if seen[a] and seen[b]:
                pen.line(person.keypoints[[a, b], :2] * scale, person.colour)
    for hand in person.hands_px * scale:
        if np.isfinite(hand).all() and pen.shows(hand):
            pen.dot(hand, person.colour)


def _draw_plan(canvas: ImageArray, plan: FloorPlan) -> None:
    """Draw a floor plan as large as it fits into a picture, in place."""
    outlines = [*plan.floor_m, *plan.shelves_m, *plan.doors_m, plan.cameras_m]
    points = np.concatenate([np.zeros((0, 2)), *outlines])
    if not len(points):
        return
    pen = _Pen(canvas, max(11, round(canvas.shape[0] / 15)))
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.array([canvas.shape[1], canvas.shape[0]], float) - 2 * PLAN_MARGIN_PX
    px_per_m = float((size / np.maximum(high - low, 0.1)).min())
    middle = (low + high) / 2

    def placed(points_m: FloatArray) -> FloatArray:
        offset = (np.asarray(points_m, float) - middle) * px_per_m
        return np.asarray(offset * (1, -1) + np.array([canvas.shape[1], canvas.shape[0]]) / 2)

    for outline in plan.floor_m:
        cv2.fillPoly(canvas, [np.round(placed(outline)).astype(np.int32)], PLAN_FLOOR, cv2.LINE_AA)
    for outline in plan.shelves_m:
        cv2.fillPoly(canvas, [np.round(placed(outline)).astype(np.int32)], PLAN_SHELF, cv2.LINE_AA)
    for line in plan.doors_m:
        pen.line(placed(line), EXIT_COLOUR)
    for place in placed(plan.cameras_m):
        cv2.circle(canvas, _pixel(place), 3, MUTED, 1, cv2.LINE_AA)
    here = [person for person in plan.people if np.isfinite(person.position_m).all()]
    for person in here:
        pen.line(placed(person.trail_m), person.colour)
        if np.isfinite(person.covariance_m2).all():
            pen.hairline(placed(_ellipse(person.position_m, person.covariance_m2)), person.colour)
        for hand_m in person.hands_m[np.isfinite(person.hands_m).all(axis=1)]:
            pen.hairline(placed(np.stack([person.position_m, hand_m])), person.colour)
            cv2.circle(canvas, _pixel(placed(hand_m)), 2, person.colour, -1, cv2.LINE_AA)
    for person in here:
        pen.dot(placed(person.position_m), person.colour)
    for person in here:
        x, y = placed(person.position_m).tolist()
        wide, tall = pen.label_size(person.label)
        reach = 9.0
        spots = [(x + reach, y - tall / 2), (x - reach - wide, y - tall / 2), (x - wide / 2, y - reach - tall)]
        pen.label(person.label, [*spots, (x - wide / 2, y + reach)], person.colour, INK)


def _ellipse(centre: FloatArray, covariance: FloatArray) -> FloatArray:
    """Outline of the 95 % ellipse of a normal distribution, shape (25, 2)."""
    values, vectors = np.linalg.eigh(covariance)
    angles = np.linspace(0, 2 * np.pi, 25)
    unit = np.column_stack([np.cos(angles), np.sin(angles)])
    return np.asarray(centre + (unit * np.sqrt(ELLIPSE_CHI2 * np.maximum(values, 0.0))) @ vectors.T)


def _write_carts(pen: _Pen, carts: Sequence[CartPanel], y: int, bottom: int) -> None:
    step, margin = round(1.55 * pen.text_px), pen.text_px
    if not carts:
        pen.write("No open carts", (margin, y), MUTED)
    for place, cart in enumerate(carts):
        left_over = len(carts) - place
        if (y + 2 * step > bottom and left_over > 1) or y + step > bottom:
            pen.write(f"and {left_over} more {'cart' if left_over == 1 else 'carts'}", (margin, y), MUTED)
            return
        swatch = pen.text_px
        cv2.rectangle(pen.canvas, (margin, y), (margin + swatch - 1, y + swatch - 1), cart.colour, -1)
        name = cart.shopper if not cart.doing else f"{cart.shopper}  {cart.doing}"
        pen.write(name, (margin + swatch + swatch // 2, y), PAPER, weight=600)
        y += step
        for row, line in enumerate(cart.lines or ("nothing yet",)):
            hidden = len(cart.lines) - row
            if hidden > 1 and y + (2 if left_over == 1 else 3) * step > bottom:
                pen.write(f"and {hidden} more", (margin + swatch + swatch // 2, y), MUTED)
                y += step
                break
            pen.write(line, (margin + swatch + swatch // 2, y), PAPER if cart.lines else MUTED)
            y += step
        y += step // 3


@dataclass(frozen=True, slots=True)
class _Front:
    """The side of a gondola that people reach into, on the own axes of one of its boxes.

    Attributes:
        world_from_box: The axes, shape (4, 4).
        axis: Number of the axis that points out of the shelf.
        outwards: 1 or -1, its direction.
        up: Number of the axis that points up.
    """

    world_from_box: FloatArray
    axis: int
    outwards: int
    up: int

    @classmethod
    def of(cls, bins: Sequence[Bin], layout: StoreLayout, camera: Camera) -> Self:
        """Find the front of a gondola: a long side, the one towards the walkable floor, else towards the camera."""
        boxes = [b.box for b in bins if b.box is not None]
        axes = boxes[0].world_from_box
        low, high = _bounds(bins, axes)
        up = int(np.argmax(np.abs(axes[2, :3])))
        flat = [axis for axis in range(3) if axis != up]
        out = min(flat, key=lambda axis: high[axis] - low[axis])
        best, side = -math.inf, 1
        for outwards in (1, -1):
            standing = (low + high) / 2
            standing[out] = (high[out] if outwards > 0 else low[out]) + outwards * FRONT_STEP_M
            place = axes[:3, :3] @ standing + axes[:3, 3]
            if layout.walkable_m is not None:
                outline = np.asarray(layout.walkable_m, np.float32)
                score = cv2.pointPolygonTest(outline, (float(place[0]), float(place[1])), True)
            else:
                score = -float(np.linalg.norm(place[:2] - camera.position_m[:2]))
            if score > best:
                best, side = score, outwards
        return cls(axes, out, side, up)

    def face_m(self, bins: Sequence[Bin]) -> FloatArray:
        """Corners of the common front of some bins, shape (4, 3), metres: bottom edge first."""
        low, high = _bounds(bins, self.world_from_box)
        along = next(axis for axis in range(3) if axis not in (self.axis, self.up))
        corners = np.zeros((4, 3))
        corners[:, self.axis] = high[self.axis] if self.outwards > 0 else low[self.axis]
        corners[:, along] = [low[along], high[along], high[along], low[along]]
        rises = self.world_from_box[2, self.up] > 0
        bottom, top = (low[self.up], high[self.up]) if rises else (high[self.up], low[self.up])
        corners[:, self.up] = [bottom, bottom, top, top]
        return np.asarray(corners @ self.world_from_box[:3, :3].T + self.world_from_box[:3, 3])

    def faces(self, camera: Camera, face_m: FloatArray) -> bool:
        """Whether the camera sees this face from outside."""
        outwards_m = self.world_from_box[:3, self.axis] * self.outwards
        return bool((camera.position_m - face_m.mean(axis=0)) @ outwards_m > 0)


def _bounds(bins: Sequence[Bin], axes: FloatArray) -> tuple[FloatArray, FloatArray]:
    corners = np.concatenate([b.box.corners_m for b in bins if b.box is not None])
    local = (corners - axes[:3, 3]) @ axes[:3, :3]
    return local.min(axis=0), local.max(axis=0)


def _shelf_fronts(layout: StoreLayout, camera: Camera) -> list[BinMark]:
    marks = []
    world_bins = [b for b in layout.bins if b.box is not None]
    for gondola_id in dict.fromkeys(b.gondola_id for b in world_bins):
        bins = [b for b in world_bins if b.gondola_id == gondola_id]
        front = _Front.of(bins, layout, camera)
        if not front.faces(camera, front.face_m(bins)):
            continue
        # Only the shelves' lower front edges, the rails: how high a top shelf reaches, nobody has built.
        outlines: list[FloatArray] = []
        for shelf_id in dict.fromkeys(b.shelf_id for b in bins):
            shelf = front.face_m([b for b in bins if b.shelf_id == shelf_id])
            outlines += _projected(camera, shelf[:2])
        if outlines:
            name = "" if gondola_id is None else f"gondola {gondola_id}"
            marks.append(BinMark(name, tuple(outlines), is_thin=True))
    return marks


def _fitted_camera(layout: StoreLayout, camera_id: str, resolution_wh: tuple[int, int]) -> Camera | None:
    camera = layout.camera(camera_id)
    return None if camera is None else camera.resized(resolution_wh)


def _projected(camera: Camera, points_m: FloatArray) -> list[FloatArray]:
    """Project a polyline, shape (n, 3), and keep the stretches in or near the picture.

    The distortion polynomial folds points far outside the view back into it; so what the undistorted pinhole puts more
    than half a picture away is left out before it can do so.
    """
    steps = np.linspace(0.0, 1.0, EDGE_SAMPLES)[:, None]
    edges = [a + (b - a) * steps for a, b in itertools.pairwise(points_m)]
    points = np.concatenate(edges)
    in_camera = points @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        pinhole = (in_camera / in_camera[:, 2:]) @ camera.intrinsics.T
    size = np.array(camera.resolution_wh)
    near = (in_camera[:, 2] > 0.05) & (np.abs(pinhole[:, :2] - size / 2) < size).all(axis=1)
    image = camera.image_points(points)
    pieces = np.split(np.arange(len(points)), np.flatnonzero(np.diff(near.astype(int))) + 1)
    inside = [image[rows] for rows in pieces if near[rows[0]] and len(rows) > 1]
    return [piece for piece in inside if ((piece >= 0) & (piece < size)).all(axis=1).any()]


def _closed(points: FloatArray) -> FloatArray:
    return np.concatenate([points, points[:1]])


def _dashes(points: FloatArray, dash_px: float) -> list[FloatArray]:
    pieces = []
    for a, b in itertools.pairwise(points):
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            continue
        length = float(np.linalg.norm(b - a))
        if not math.isfinite(length) or length == 0:
            continue
        count = max(1, min(200, round(length / (2 * dash_px))))
        for k in range(count):
            pieces.append(np.stack([a + (b - a) * k / count, a + (b - a) * (k + 0.55) / count]))
    return pieces


def _grid(count: int) -> tuple[int, int]:
    columns = math.ceil(math.sqrt(count))
    return columns, math.ceil(count / columns)


def _fitted_wh(image: ImageArray, cell_wh: tuple[int, int]) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = min(cell_wh[0] / width, cell_wh[1] / height)
    return min(cell_wh[0], max(1, round(width * scale))), min(cell_wh[1], max(1, round(height * scale)))


def _scaled(image: ImageArray, size_wh: tuple[int, int]) -> ImageArray:
    if (image.shape[1], image.shape[0]) == size_wh:
        return image
    shrinks = size_wh[0] < image.shape[1]
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), "u1")


def _even(image: ImageArray) -> ImageArray:
    height, width = image.shape[:2]
    return image[: max(2, height - height % 2), : max(2, width - width % 2)]


def _pixel(point: FloatArray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _shared_area(a: Rect, b: Rect) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
