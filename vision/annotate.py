"""Draws what the store knows onto a picture: people, hands, bins, zones, carts; and writes pictures as video."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from vision.arrays import FloatArray, ImageArray
from vision.cameras import Camera
from vision.layout import StoreLayout

Colour = tuple[int, int, int]  # blue, green, red, 0 to 255


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


@dataclass(frozen=True, slots=True)
class BinMark:
    """A bin, or a whole shelf front, in one picture.

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


@dataclass(frozen=True, slots=True)
class Overlay:
    """What to draw onto one picture.

    Attributes:
        caption: In the upper left corner, such as ``"cam3  12.1 s"``.
        people: People in it.
        bins: Bins and shelf fronts in it.
        floor_px: Outlines of the walkable floor, polylines (n, 2), pixels.
        exit_px: The exit line or zone, polylines (n, 2), pixels.
    """

    caption: str = ""
    people: tuple[PersonMark, ...] = ()
    bins: tuple[BinMark, ...] = ()
    floor_px: tuple[FloatArray, ...] = ()
    exit_px: tuple[FloatArray, ...] = ()


@dataclass(frozen=True, slots=True)
class CartPanel:
    """A live cart: the shopper's label and colour, and one line of text an item."""

    shopper: str
    colour: Colour
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """What stands beside the pictures.

    Attributes:
        title: First line, such as the store's clock.
        carts: Live carts.
        latest: Latest interactions, newest first: ``"12.1 s  put back L  0.93"``.
    """

    title: str = ""
    carts: tuple[CartPanel, ...] = ()
    latest: tuple[str, ...] = ()


def identity_colour(identity_id: int) -> Colour:
    """Return the colour of a person, the same in every camera; neighbours in number differ clearly."""
    raise NotImplementedError


def zone_marks(layout: StoreLayout, camera_id: str, resolution_wh: tuple[int, int]) -> Overlay:
    """Return what stays the same in a camera's pictures: drawn bins, shelf fronts, floor and exit.

    Compute it once a camera and fill in the rest with ``dataclasses.replace``.

    Args:
        layout: The store, already fitted to the pictures (``StoreLayout.for_pictures``).
        camera_id: The camera.
        resolution_wh: Size of its pictures, pixels.
    """
    raise NotImplementedError


def bin_mark(layout: StoreLayout, bin_id: str, camera_id: str, resolution_wh: tuple[int, int]) -> BinMark | None:
    """Return one bin as a touched mark, or None where this camera does not show it."""
    raise NotImplementedError


def draw(image: ImageArray, overlay: Overlay) -> ImageArray:
    """Draw an overlay onto a copy of a picture.

    Args:
        image: Pixels, shape (h, w, 3), BGR.
        overlay: What to draw; lines and letters grow with the picture's height.

    Returns:
        A new picture of the same shape.
    """
    raise NotImplementedError


def draw_panel(panel: Panel, height_px: int) -> ImageArray:
    """Draw a panel of the given height; its width follows from it."""
    raise NotImplementedError


def mosaic(images: Sequence[ImageArray]) -> ImageArray:
    """Lay pictures of several cameras out in a grid, all at the size of the largest, keeping their shapes."""
    raise NotImplementedError


def compose(images: Sequence[ImageArray], panel: Panel) -> ImageArray:
    """Lay out the pictures of all cameras with the panel on their right, with even width and height."""
    raise NotImplementedError


class VideoWriter:
    """Writes pictures with their own timestamps as an MP4 file, H.264 where the PyAV build has it.

    Use it as a context manager; the file is complete after leaving it.
    """

    def __init__(self, path: Path, fps: float) -> None:
        """Open nothing yet: the first picture decides the size.

        Args:
            path: The file to write, replaced if it is there.
            fps: Nominal rate, for players and the encoder; the pictures' timestamps decide when each is shown.
        """
        raise NotImplementedError

    def write(self, image: ImageArray, timestamp_ns: int) -> None:
        """Append a picture; all must have the first one's size, and time must rise.

        Raises:
            ValueError: The size differs, or time did not rise.
            OSError: The file cannot be written.
        """
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError


def shelf_front_outlines(camera: Camera, layout: StoreLayout) -> tuple[FloatArray, ...]:
    """Return the front edges of all shelves that a camera sees, as polylines (n, 2) in pixels."""
    raise NotImplementedError
