"""The store as it is built: gondolas, shelves, bins, plates, cameras and zones, and the layout file that says so."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import cv2
import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vision.arrays import FloatArray, check_shape
from vision.cameras import Camera

ANY_CAMERA = "*"
LINE_WIDTH = 160  # of a written file; a bin with its plates still fits
MOST_NESTED = 100  # a layout nests 5 deep; the parser written in C would crash on a file nested without end
MOST = 1e6  # metres, pixels, degrees, grams, pieces: whoever writes more has slipped, and squares of it still count
MOST_MINOR = 10**12  # of a price: far beyond any, and a thousand of them still fit a column of 64 bits
UPRIGHT_TOLERANCE = 1e-6  # a box whose upward axis leans by more is tilted, which the layout format cannot say
MOST_TOLD = 10  # flaws in one message
FLATNESS_M = 0.01  # how far the fourth corner of a pane may lie off the plane of the others: sloppy measuring

SurfaceKind = Literal["glass", "mirror", "wall", "door"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that is wrong with a layout.

    Attributes:
        place: Where: keys and positions in a layout file, such as ``("bins", 3, "size_m")``; empty for no one place.
        message: What.
    """

    place: tuple[str | int, ...]
    message: str


class LayoutError(ValueError):
    """A layout contradicts itself.

    Args:
        flaws: All that is wrong, as far as it could be looked at.
    """

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        super().__init__("; ".join(flaw.message for flaw in flaws[:MOST_TOLD]))
        self.flaws = tuple(flaws)


@dataclass(frozen=True, slots=True)
class Box:
    """A box in the world.

    Attributes:
        world_from_box: Rigid transform, shape (4, 4), metres; the box spans 0 to ``size_m`` on its own axes.
        size_m: Length along each own axis, shape (3,), metres.
    """

    world_from_box: FloatArray
    size_m: FloatArray

    def __post_init__(self) -> None:
        check_shape("Box.world_from_box", self.world_from_box, (4, 4))
        check_shape("Box.size_m", self.size_m, (3,))
        if not (self.size_m > 0).all():
            raise ValueError(f"Box.size_m: expected positive lengths, got {self.size_m.tolist()}")

    @property
    def corners_m(self) -> FloatArray:
        """The eight corners in the world, shape (8, 3), metres."""
        unit = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], float)
        return np.asarray((unit * self.size_m) @ self.world_from_box[:3, :3].T + self.world_from_box[:3, 3])

    @property
    def centre_m(self) -> FloatArray:
        """The middle of the box in the world, shape (3,), metres."""
        return np.asarray(self.world_from_box[:3, :3] @ (self.size_m / 2) + self.world_from_box[:3, 3])

    def local_points(self, points_m: FloatArray) -> FloatArray:
        """Express world points, shape (n, 3), on the box's own axes, metres."""
        return np.asarray((np.asarray(points_m) - self.world_from_box[:3, 3]) @ self.world_from_box[:3, :3])

    def distances_m(self, points_m: FloatArray) -> FloatArray:
        """Distance of world points, shape (n, 3), from the box: shape (n,), metres, 0 inside, nan for nan."""
        local = self.local_points(points_m)
        return np.asarray(np.linalg.norm(local - np.clip(local, 0, self.size_m), axis=-1))


def upright_box(corner_m: FloatArray, yaw_deg: float, size_m: FloatArray) -> Box:
    """Make a box that stands upright, turned about the vertical through one corner.

    Args:
        corner_m: The lower corner at the box's own origin, shape (3,), metres; on a shelf the front left one, as seen
            by somebody who faces it.
        yaw_deg: How far the box's own x axis is turned from the world's, degrees anticlockwise seen from above. Whole
            quarter turns are exact.
        size_m: Length along each own axis, shape (3,), metres.

    Raises:
        ValueError: A length is not positive.

    >>> upright_box(np.array([1.0, 2, 0]), 90, np.array([0.5, 0.25, 1])).corners_m[1].tolist()
    [1.0, 2.5, 0.0]
    """
    world_from_box = np.eye(4)
    quarters, rest_deg = divmod(yaw_deg, 90)
    if rest_deg == 0:
        cosine, sine = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarters) % 4]
    else:
        cosine, sine = float(np.cos(np.radians(yaw_deg))), float(np.sin(np.radians(yaw_deg)))
    world_from_box[:2, :2] = [[cosine, -sine], [sine, cosine]]
    world_from_box[:3, 3] = corner_m
    return Box(world_from_box, np.asarray(size_m, float))


@dataclass(frozen=True, slots=True)
class Surface:
    """A flat pane that light passes, comes back from, or ends at.

    Attributes:
        kind: ``glass`` is seen through and mirrors faintly, ``mirror`` shows the store again, a ``wall`` hides what is
            behind it, a ``door`` is of glass and opens for people.
        corners_m: Four corners in the order of the outline, shape (4, 3), metres, all in one plane to within 1 cm.
    """

    kind: SurfaceKind
    corners_m: FloatArray

    def __post_init__(self) -> None:
        if self.kind not in get_args(SurfaceKind):
            raise ValueError(f"Surface.kind: expected one of {', '.join(get_args(SurfaceKind))}, got {self.kind}")
        check_shape("Surface.corners_m", self.corners_m, (4, 3))
        if not np.isfinite(self.corners_m).all():
            raise ValueError("Surface.corners_m: expected finite corners")
        diagonals = self.corners_m[2:] - self.corners_m[:2]
        normal = np.cross(diagonals[0], diagonals[1])
        twice_area = float(np.linalg.norm(normal))
        if twice_area < 1e-6:
            raise ValueError(f"Surface.corners_m: the {self.kind} has no area")
        off_m = abs(float((self.corners_m[3] - self.corners_m[0]) @ normal)) / twice_area
        if off_m > FLATNESS_M:
            raise ValueError(f"Surface.corners_m: the {self.kind} is not flat, a corner lies {off_m:.3f} m off")


@dataclass(frozen=True, slots=True)
class Plate:
    """A load cell's plate.

    Attributes:
        plate_id: ``gondola/shelf/plate`` as published.
        gondola_id: Number of its gondola.
        shelf_id: Number of its shelf on the gondola.
        number: Number of the plate on the shelf.
        box: The space on the plate, up to the next shelf.
    """

    plate_id: str
    gondola_id: int
    shelf_id: int
    number: int
    box: Box


@dataclass(frozen=True, slots=True)
class Bin:
    """The smallest addressable place of a shelf.

    A bin has a ``box`` in the world, or a ``polygon_px`` drawn in one camera's picture.

    Attributes:
        bin_id: Unique in the store.
        sku: What the planogram puts there; None if unplanned.
        gondola_id: Number of the gondola, None for a drawn bin.
        shelf_id: Number of the shelf on its gondola, None for a drawn bin.
        plate_ids: Plates under it, as ``gondola/shelf/plate``; empty without scales. Bins side by side on one plate
            all name it.
        box: Its space in the world, or None.
        camera_id: The camera whose picture ``polygon_px`` is drawn in (``*``: whichever single camera there is).
        polygon_px: Outline in that picture, shape (n, 2), pixels, or None.
        capacity: Most units it holds, None if not known.
    """

    bin_id: str
    sku: str | None = None
    gondola_id: int | None = None
    shelf_id: int | None = None
    plate_ids: tuple[str, ...] = ()
    box: Box | None = None
    camera_id: str | None = None
    polygon_px: FloatArray | None = None
    capacity: int | None = None

    def __post_init__(self) -> None:
        if (self.box is None) == (self.polygon_px is None):
            raise ValueError(f"bin {self.bin_id}: expected either a box in the world or a polygon in a picture")
        if self.polygon_px is not None:
            check_polygon(f"bin {self.bin_id}", self.polygon_px)
            if self.camera_id is None:
                raise ValueError(f"bin {self.bin_id}: a drawn bin needs its camera_id")


@dataclass(frozen=True, slots=True)
class ProductRecord:
    """What a site publishes about a product.

    Attributes:
        sku: The barcode as published, text.
        name: Name for people.
        mass_g: Mass of one unit, grams; nan if not published.
        unit_price_minor: Price in the currency's minor unit; None if unknown.
        currency: ISO 4217 code.
        tax_rate_bp: Tax contained in the price, basis points of the price without tax; None if not published.
    """

    sku: str
    name: str
    mass_g: float
    unit_price_minor: int | None
    currency: str
    tax_rate_bp: int | None = None


@dataclass(frozen=True, slots=True)
class View:
    """Zones drawn in one camera's picture, for a camera that is not calibrated, or to cut something out of one that is.

    Attributes:
        camera_id: The camera, or ``*``.
        resolution_wh: Picture size the coordinates are for, pixels.
        walkable_px: Where feet may stand, shape (n, 2), pixels, or None for everywhere.
        exit_px: Where people leave the view for good, drawn for people to see, shape (n, 2), pixels, or None.
        follows_people: False for a camera that looks at a shelf from so near that nobody stands in its picture: what
            looks like a person there is an arm.
    """

    camera_id: str
    resolution_wh: tuple[int, int]
    walkable_px: FloatArray | None = None
    exit_px: FloatArray | None = None
    follows_people: bool = True


@dataclass(frozen=True, slots=True)
class FixtureShift:
    """Where fixtures really stand, measured in the shop, against what the site's files say.

    Attributes:
        gondola_id: The gondola, or None for all that have no shift of their own.
        shift_m: What to add to its published position, shape (3,), metres.
    """

    gondola_id: int | None
    shift_m: FloatArray

    def __post_init__(self) -> None:
        check_shape("FixtureShift.shift_m", self.shift_m, (3,))


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """A store as it is built.

    Attributes:
        name: The store.
        cameras: Calibrated cameras.
        views: Zones drawn in pictures.
        bins: All bins.
        plates: All load-cell plates.
        products: The products that bins refer to, and others the store sells.
        walkable_m: Floor that shoppers can stand on, shape (n, 2), metres; None if not known (everywhere).
        entrance_m: Line that people come in over, shape (2, 2), metres, or None.
        exit_m: Line that people leave over, shape (2, 2), metres, or None.
        fixture_shifts: Corrections to the fixtures of the layout that this one is laid over.
        surfaces: Glass, mirrors, inner walls and doors.
        notices: What was doubtful in the files it was read from, for people.
    """

    name: str
    cameras: tuple[Camera, ...] = ()
    views: tuple[View, ...] = ()
    bins: tuple[Bin, ...] = ()
    plates: tuple[Plate, ...] = ()
    products: tuple[ProductRecord, ...] = ()
    walkable_m: FloatArray | None = None
    entrance_m: FloatArray | None = None
    exit_m: FloatArray | None = None
    fixture_shifts: tuple[FixtureShift, ...] = ()
    notices: tuple[str, ...] = field(default=())
    surfaces: tuple[Surface, ...] = ()

    def __post_init__(self) -> None:
        flaws: list[Flaw] = []
        for key, what, names in (
            ("cameras", "camera", [camera.camera_id for camera in self.cameras]),
            ("views", "view", [view.camera_id for view in self.views]),
            ("bins", "bin", [a_bin.bin_id for a_bin in self.bins]),
            ("plates", "plate", [plate.plate_id for plate in self.plates]),
            ("products", "product", [product.sku for product in self.products]),
        ):
            seen: set[str] = set()
            for index, name in enumerate(names):
                if name in seen:
                    flaws.append(Flaw((key, index), f"layout {self.name}: {what} {name} is listed twice"))
                seen.add(name)
        known = {plate.plate_id for plate in self.plates}
        for index, a_bin in enumerate(self.bins):
            missing = [plate_id for plate_id in a_bin.plate_ids if plate_id not in known]
            if missing:
                told = f"bin {a_bin.bin_id} names plate {missing[0]}, which the layout does not have"
                flaws.append(Flaw(("bins", index, "plates"), f"layout {self.name}: {told}"))
        if self.walkable_m is not None:
            with _noted(flaws, "walkable_m"):
                check_polygon(f"layout {self.name}: walkable", self.walkable_m)
        for what, line in (("entrance", self.entrance_m), ("exit", self.exit_m)):
            if line is None:
                continue
            with _noted(flaws, f"{what}_m"):
                check_shape(f"layout {self.name}: {what}", line, (2, 2))
                if np.linalg.norm(line[1] - line[0]) < 0.05:
                    raise ValueError(f"layout {self.name}: the {what} line is shorter than 5 cm")
        if flaws:
            raise LayoutError(flaws)

    def camera(self, camera_id: str) -> Camera | None:
        """Return a calibrated camera by its id, or None."""
        return next((c for c in self.cameras if c.camera_id == camera_id), None)

    def view(self, camera_id: str) -> View | None:
        """Return the zones drawn in a camera's picture, or None."""
        return next((v for v in self.views if v.camera_id == camera_id), None)

    def bin(self, bin_id: str) -> Bin:
        """Return a bin by its id.

        Raises:
            ValueError: The layout has no such bin.
        """
        found = next((b for b in self.bins if b.bin_id == bin_id), None)
        if found is None:
            raise ValueError(f"layout {self.name}: there is no bin {bin_id}")
        return found

    def overlaid(self, other: "StoreLayout") -> "StoreLayout":
        """Return this layout with another's cameras, views, bins, products and zones added or replacing its own.

        Surfaces have no names: the other's are added, but for those that this layout has already.
        """
        return replace(
            self,
            name=self.name or other.name,
            cameras=_overlay(self.cameras, other.cameras, "camera_id"),
            views=_overlay(self.views, other.views, "camera_id"),
            bins=_overlay(_shifted(self.bins, other.fixture_shifts), other.bins, "bin_id"),
            plates=_overlay(_shifted(self.plates, other.fixture_shifts), other.plates, "plate_id"),
            products=_overlay(self.products, other.products, "sku"),
            walkable_m=self.walkable_m if other.walkable_m is None else other.walkable_m,
            entrance_m=self.entrance_m if other.entrance_m is None else other.entrance_m,
            exit_m=self.exit_m if other.exit_m is None else other.exit_m,
            notices=self.notices + other.notices,
            surfaces=self.surfaces
            + tuple(
                pane
                for pane in other.surfaces
                if not any(
                    pane.kind == own.kind and np.array_equal(pane.corners_m, own.corners_m) for own in self.surfaces
                )
            ),
        )

    def for_pictures(self, resolutions_wh: dict[str, tuple[int, int]]) -> "StoreLayout":
        """Fit the layout to the cameras that are really there and their picture sizes.

        Calibrations and drawn outlines are scaled to the pictures; what is drawn for ``*`` goes to the one
        camera of the recording.

        Args:
            resolutions_wh: Width and height of the pictures of each camera, pixels.

        Raises:
            ValueError: A ``*`` is used with several cameras.
        """
        everywhere = [v for v in self.views if v.camera_id == ANY_CAMERA]
        if everywhere and len(resolutions_wh) > 1:
            raise ValueError(
                f"layout {self.name}: camera '*' stands for the only camera, but there are {len(resolutions_wh)}"
            )
        only = next(iter(resolutions_wh), ANY_CAMERA)
        drawn_wh = {
            (only if view.camera_id == ANY_CAMERA else view.camera_id): view.resolution_wh for view in self.views
        }
        drawn_wh |= {
            camera.camera_id: camera.resolution_wh for camera in self.cameras if camera.camera_id not in drawn_wh
        }

        def scaled(camera_id: str, points: FloatArray | None) -> FloatArray | None:
            if points is None or camera_id not in resolutions_wh or camera_id not in drawn_wh:
                return points
            return np.asarray(points * (np.array(resolutions_wh[camera_id]) / drawn_wh[camera_id]))

        def named(camera_id: str | None) -> str | None:
            return only if camera_id == ANY_CAMERA else camera_id

        views = []
        for view in self.views:
            camera_id = named(view.camera_id) or only
            views.append(
                View(
                    camera_id,
                    resolutions_wh.get(camera_id, view.resolution_wh),
                    scaled(camera_id, view.walkable_px),
                    scaled(camera_id, view.exit_px),
                    view.follows_people,
                )
            )
        return replace(
            self,
            cameras=tuple(
                camera.resized(resolutions_wh.get(camera.camera_id, camera.resolution_wh)) for camera in self.cameras
            ),
            views=tuple(views),
            bins=tuple(
                replace(
                    a_bin,
                    camera_id=named(a_bin.camera_id),
                    polygon_px=scaled(named(a_bin.camera_id) or "", a_bin.polygon_px),
                )
                for a_bin in self.bins
            ),
        )


@contextmanager
def _noted(flaws: list[Flaw], *place: str | int) -> Iterator[None]:
    """Note what is wrong at a place, so that what stands elsewhere is looked at too."""
    try:
        yield
    except ValueError as error:
        flaws.append(Flaw(place, str(error)))


def _overlay(below: tuple[T, ...], above: tuple[T, ...], key: str) -> tuple[T, ...]:
    merged = {getattr(item, key): item for item in below}
    merged |= {getattr(item, key): item for item in above}
    return tuple(merged.values())


Placed = TypeVar("Placed", Bin, Plate)


def _shifted(placed: tuple[Placed, ...], shifts: tuple[FixtureShift, ...]) -> tuple[Placed, ...]:
    by_gondola = {shift.gondola_id: shift.shift_m for shift in shifts}
    moved = []
    for item in placed:
        shift_m = by_gondola.get(item.gondola_id, by_gondola.get(None))
        if shift_m is not None and item.box is not None:
            world_from_box = item.box.world_from_box.copy()
            world_from_box[:3, 3] += shift_m
            item = replace(item, box=replace(item.box, world_from_box=world_from_box))
        moved.append(item)
    return tuple(moved)


def check_polygon(what: str, polygon: FloatArray) -> None:
    """Raise ``ValueError`` unless a polygon, shape (n, 2), has three corners, an area, and no crossing sides."""
    check_shape(what, polygon, ("n", 2))
    if len(polygon) < 3 or not np.isfinite(polygon).all():
        raise ValueError(f"{what}: expected a polygon of at least three finite corners")
    if abs(polygon_area(polygon)) <= 0:
        raise ValueError(f"{what}: the polygon has no area")
    starts, ends = polygon, np.roll(polygon, -1, axis=0)
    n = len(polygon)
    for i in range(n):
        for j in range(i + 2, n):
            if i == 0 and j == n - 1:
                continue
            if segments_cross(starts[i], ends[i], starts[j], ends[j]):
                raise ValueError(f"{what}: sides {i + 1} and {j + 1} of the polygon cross")


def polygon_area(polygon: FloatArray) -> float:
    """Signed area of a polygon, shape (n, 2), by the shoelace formula; positive when counter-clockwise."""
    x, y = polygon[:, 0], polygon[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def segments_cross(a: FloatArray, b: FloatArray, c: FloatArray, d: FloatArray) -> bool:
    """Whether the segments a-b and c-d, points of shape (2,), properly cross."""

    def side(p: FloatArray, q: FloatArray, r: FloatArray) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def polygon_margins(polygon: FloatArray, points: FloatArray) -> FloatArray:
    """How far inside a polygon points lie.

    Args:
        polygon: Corners, shape (n, 2).
        points: Points in the same unit, shape (m, 2).

    Returns:
        Distance to the nearest side, shape (m,): positive inside, negative outside, nan for nan.
    """
    outline = np.asarray(polygon, np.float32)[:, None]
    return np.array(
        [
            cv2.pointPolygonTest(outline, (float(x), float(y)), True) if np.isfinite(x) and np.isfinite(y) else np.nan
            for x, y in np.asarray(points, float).reshape(-1, 2)
        ]
    )


def nearest_on_outline(polygon: FloatArray, points: FloatArray) -> FloatArray:
    """Where points come nearest to the sides of a polygon.

    Args:
        polygon: Corners, shape (n, 2).
        points: Points in the same unit, shape (m, 2).

    Returns:
        Points on the sides, shape (m, 2).
    """
    along = np.roll(polygon, -1, axis=0) - polygon
    away = points[:, None] - polygon
    length2 = np.maximum((along**2).sum(axis=1), 1e-12)
    share = np.clip((away * along).sum(axis=2) / length2, 0.0, 1.0)
    feet = polygon + share[..., None] * along
    nearest = np.linalg.norm(points[:, None] - feet, axis=2).argmin(axis=1)
    return np.asarray(feet[np.arange(len(points)), nearest])


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


Number = Annotated[float, Field(ge=-MOST, le=MOST)]
Polygon = Annotated[list[tuple[Number, Number]], Field(min_length=3)]
Line = Annotated[list[tuple[Number, Number]], Field(min_length=2, max_length=2)]
Row3 = tuple[Number, Number, Number]
Row4 = tuple[Number, Number, Number, Number]
Side = Annotated[int, Field(gt=0, le=MOST)]
FixtureNumber = Annotated[int, Field(ge=-(10**9), le=10**9)]


class _CameraEntry(_Strict):
    resolution_wh: tuple[Side, Side]
    intrinsics: tuple[Row3, Row3, Row3] | None = None
    distortion: tuple[Number, Number, Number, Number, Number] = (0.0, 0.0, 0.0, 0.0, 0.0)
    world_from_cam: tuple[Row4, Row4, Row4, Row4] | None = None
    walkable_px: Polygon | None = None
    exit_px: Polygon | None = None
    follows_people: bool = True


class _PlateEntry(_Strict):
    plate: Annotated[str, Field(pattern=r"^-?[0-9]{1,9}/-?[0-9]{1,9}/-?[0-9]{1,9}$")]
    corner_m: Row3
    yaw_deg: Number = 0.0
    size_m: Row3


class _SurfaceEntry(_Strict):
    kind: SurfaceKind
    corners_m: Annotated[list[Row3], Field(min_length=4, max_length=4)]


class _BinEntry(_Strict):
    bin: Annotated[str, Field(min_length=1)]
    sku: str | None = None
    capacity: Annotated[int, Field(gt=0, le=MOST)] | None = None
    gondola: FixtureNumber | None = None
    shelf: FixtureNumber | None = None
    camera: str | None = None
    polygon_px: Polygon | None = None
    min_m: Row3 | None = None
    max_m: Row3 | None = None
    corner_m: Row3 | None = None
    yaw_deg: Number | None = None
    size_m: Row3 | None = None
    plates: list[str] = Field(default_factory=list)


class _ProductEntry(_Strict):
    sku: Annotated[str, Field(min_length=1)]
    name: str
    mass_g: Annotated[float, Field(gt=0, le=MOST)] | None = None
    unit_price_minor: Annotated[int, Field(ge=0, le=MOST_MINOR)] | None = None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "USD"
    tax_rate_bp: Annotated[int, Field(ge=0, le=10_000)] | None = None


class _FixtureShiftEntry(_Strict):
    gondola: FixtureNumber | None = None
    shift_m: Row3


class _LayoutFile(_Strict):
    format: Literal["tillfree-layout/1"]
    name: Annotated[str, Field(min_length=1)]
    about: str = ""
    cameras: dict[str, _CameraEntry] = Field(default_factory=dict)
    walkable_m: Polygon | None = None
    entrance_m: Line | None = None
    exit_m: Line | None = None
    fixture_shifts: list[_FixtureShiftEntry] = Field(default_factory=list)
    surfaces: list[_SurfaceEntry] = Field(default_factory=list)
    plates: list[_PlateEntry] = Field(default_factory=list)
    bins: list[_BinEntry] = Field(default_factory=list)
    products: list[_ProductEntry] = Field(default_factory=list)


def read_layout(path: Path) -> StoreLayout:
    """Read a layout file (YAML or JSON, format ``tillfree-layout/1``; see ``store_sim/layouts/README.md``).

    Raises:
        ValueError: The file is not a layout or contradicts itself; the message names the file and the place.
        OSError: The file cannot be read.
    """
    try:
        entry = _LayoutFile.model_validate(_content(path.read_text(encoding="utf-8")))
        return _layout_from(entry)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the top"
        raise ValueError(" ".join(f"{path}: at {place}: {first['msg']}".split())) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not a YAML file: {reason}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def layout_from_entry(content: object) -> StoreLayout:
    """Make a layout of what a layout file holds, already parsed, such as JSON.

    Raises:
        LayoutError: It is not a layout or contradicts itself; the message names the places.
    """
    try:
        return _layout_from(_LayoutFile.model_validate(content))
    except ValidationError as error:
        flaws = [
            Flaw(each["loc"], f"at {'.'.join(str(part) for part in each['loc']) or 'the top'}: {each['msg']}")
            for each in error.errors()
        ]
        raise LayoutError(flaws) from error


def _content(text: str) -> object:
    """Parse YAML with the parser written in C where there is one, some fifteen times faster."""
    if not hasattr(yaml, "CSafeLoader"):
        return yaml.safe_load(text)
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_NESTED:
            raise yaml.YAMLError(f"expected at most {MOST_NESTED} collections within each other")
    return yaml.load(text, Loader=yaml.CSafeLoader)


def _layout_from(entry: _LayoutFile) -> StoreLayout:
    flaws: list[Flaw] = []
    cameras: list[Camera] = []
    views = []
    for camera_id, camera in entry.cameras.items():
        with _noted(flaws, "cameras", camera_id):
            cameras += _cameras_from(camera_id, camera)
        views.append(
            View(
                camera_id,
                camera.resolution_wh,
                _points(camera.walkable_px),
                _points(camera.exit_px),
                camera.follows_people,
            )
        )
    bins, plates, surfaces = [], [], []
    for index, a_bin in enumerate(entry.bins):
        with _noted(flaws, "bins", index):
            bins.append(_bin_from(a_bin, entry.cameras))
    for index, plate in enumerate(entry.plates):
        with _noted(flaws, "plates", index):
            plates.append(_plate_from(plate))
    for index, pane in enumerate(entry.surfaces):
        with _noted(flaws, "surfaces", index):
            surfaces.append(Surface(pane.kind, np.array(pane.corners_m, float)))
    if flaws:
        raise LayoutError(flaws)
    return StoreLayout(
        name=entry.name,
        cameras=tuple(cameras),
        views=tuple(views),
        bins=tuple(bins),
        plates=tuple(plates),
        products=tuple(
            ProductRecord(
                p.sku,
                p.name,
                float("nan") if p.mass_g is None else p.mass_g,
                p.unit_price_minor,
                p.currency,
                p.tax_rate_bp,
            )
            for p in entry.products
        ),
        walkable_m=_points(entry.walkable_m),
        entrance_m=_points(entry.entrance_m),
        exit_m=_points(entry.exit_m),
        fixture_shifts=tuple(FixtureShift(s.gondola, np.array(s.shift_m)) for s in entry.fixture_shifts),
        surfaces=tuple(surfaces),
    )


def _cameras_from(camera_id: str, entry: _CameraEntry) -> Iterable[Camera]:
    """The camera if it is calibrated."""
    if (entry.intrinsics is None) != (entry.world_from_cam is None):
        raise ValueError(f"camera {camera_id}: intrinsics and world_from_cam only make sense together")
    if entry.intrinsics is None or entry.world_from_cam is None:
        return ()
    world_from_cam = np.array(entry.world_from_cam)
    if abs(np.linalg.det(world_from_cam)) < 1e-9:
        raise ValueError(f"camera {camera_id}: world_from_cam cannot be inverted")
    intrinsics, distortion = np.array(entry.intrinsics), np.array(entry.distortion)
    return (Camera(camera_id, intrinsics, distortion, np.linalg.inv(world_from_cam), entry.resolution_wh),)


def _bin_from(entry: _BinEntry, cameras: dict[str, _CameraEntry]) -> Bin:
    if entry.polygon_px is not None and entry.camera not in cameras:
        raise ValueError(f"bin {entry.bin}: drawn in camera {entry.camera}, which the layout does not have")
    return Bin(
        bin_id=entry.bin,
        sku=entry.sku,
        gondola_id=entry.gondola,
        shelf_id=entry.shelf,
        plate_ids=tuple(entry.plates),
        box=_box_from(entry),
        camera_id=entry.camera if entry.polygon_px is not None else None,
        polygon_px=_points(entry.polygon_px),
        capacity=entry.capacity,
    )


def _box_from(entry: _BinEntry) -> Box | None:
    if entry.corner_m is not None or entry.size_m is not None or entry.yaw_deg is not None:
        if entry.corner_m is None or entry.size_m is None:
            raise ValueError(f"bin {entry.bin}: corner_m and size_m only make sense together, yaw_deg only with them")
        if entry.min_m is not None or entry.max_m is not None:
            raise ValueError(f"bin {entry.bin}: expected either min_m and max_m or corner_m and size_m, not both")
        try:
            return upright_box(np.array(entry.corner_m), entry.yaw_deg or 0.0, np.array(entry.size_m))
        except ValueError as error:
            raise ValueError(f"bin {entry.bin}: size_m must be positive on every axis") from error
    if entry.min_m is None and entry.max_m is None:
        return None
    if entry.min_m is None or entry.max_m is None:
        raise ValueError(f"bin {entry.bin}: min_m and max_m only make sense together")
    try:
        return upright_box(np.array(entry.min_m), 0.0, np.array(entry.max_m) - np.array(entry.min_m))
    except ValueError as error:
        raise ValueError(f"bin {entry.bin}: max_m must lie beyond min_m") from error


def _plate_from(entry: _PlateEntry) -> Plate:
    gondola, shelf, number = (int(part) for part in entry.plate.split("/"))
    try:
        box = upright_box(np.array(entry.corner_m), entry.yaw_deg, np.array(entry.size_m))
    except ValueError as error:
        raise ValueError(f"plate {entry.plate}: size_m must be positive on every axis") from error
    return Plate(entry.plate, gondola, shelf, number, box)


def _points(points: list[tuple[float, float]] | None) -> FloatArray | None:
    return None if points is None else np.array(points, float)


def layout_to_yaml(layout: StoreLayout, *, about: str = "") -> str:
    """Write a layout as a file of format ``tillfree-layout/1``; :func:`read_layout` reads it back.

    Args:
        layout: The layout.
        about: A sentence for people.

    Raises:
        ValueError: It has what the format cannot say: a box that leans, or a plate whose name is not its numbers.
    """
    entry: dict[str, object] = {"format": "tillfree-layout/1", "name": layout.name}
    if about:
        entry["about"] = about
    cameras = _camera_entries(layout)
    if cameras:
        entry["cameras"] = cameras
    for key, points in (
        ("walkable_m", layout.walkable_m),
        ("entrance_m", layout.entrance_m),
        ("exit_m", layout.exit_m),
    ):
        if points is not None:
            entry[key] = points.tolist()
    if layout.fixture_shifts:
        entry["fixture_shifts"] = [
            ({} if shift.gondola_id is None else {"gondola": shift.gondola_id}) | {"shift_m": shift.shift_m.tolist()}
            for shift in layout.fixture_shifts
        ]
    if layout.surfaces:
        entry["surfaces"] = [_Line(kind=pane.kind, corners_m=pane.corners_m.tolist()) for pane in layout.surfaces]
    if layout.plates:
        entry["plates"] = [_plate_entry(layout, plate) for plate in layout.plates]
    if layout.bins:
        entry["bins"] = [_bin_entry(layout, a_bin) for a_bin in layout.bins]
    if layout.products:
        entry["products"] = [
            _Line(
                {
                    "sku": product.sku,
                    "name": product.name,
                    **({} if np.isnan(product.mass_g) else {"mass_g": float(product.mass_g)}),
                    **({} if product.unit_price_minor is None else {"unit_price_minor": product.unit_price_minor}),
                    "currency": product.currency,
                    **({} if product.tax_rate_bp is None else {"tax_rate_bp": product.tax_rate_bp}),
                }
            )
            for product in layout.products
        ]
    written = yaml.dump(
        entry, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=LINE_WIDTH
    )
    return str(written)


class _Line(dict[str, object]):
    """An entry that is written on one line."""


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes each :class:`_Line` on one line, and everything else as the safe dumper does."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    _Line, lambda dumper, line: dumper.represent_mapping("tag:yaml.org,2002:map", line, flow_style=True)
)


def _camera_entries(layout: StoreLayout) -> dict[str, dict[str, object]]:
    entries: dict[str, dict[str, object]] = {}
    for camera in layout.cameras:
        entries[camera.camera_id] = {
            "resolution_wh": list(camera.resolution_wh),
            "intrinsics": camera.intrinsics.tolist(),
            "distortion": camera.distortion.tolist(),
            # Rounded to a picometre, for the last digits of an inverse differ between processors; + 0.0 turns -0 to 0.
            "world_from_cam": (np.linalg.inv(camera.cam_from_world).round(12) + 0.0).tolist(),
        }
    for view in layout.views:
        entry = entries.setdefault(view.camera_id, {"resolution_wh": list(view.resolution_wh)})
        if entry["resolution_wh"] != list(view.resolution_wh):
            raise ValueError(
                f"layout {layout.name}: camera {view.camera_id} is calibrated for {entry['resolution_wh']} pixels "
                f"but its zones are drawn for {list(view.resolution_wh)}"
            )
        for key, points in (("walkable_px", view.walkable_px), ("exit_px", view.exit_px)):
            if points is not None:
                entry[key] = points.tolist()
        if not view.follows_people:
            entry["follows_people"] = False
    return entries


def _bin_entry(layout: StoreLayout, a_bin: Bin) -> dict[str, object]:
    place: dict[str, object] = {}
    if a_bin.polygon_px is not None:
        place = {"camera": a_bin.camera_id, "polygon_px": a_bin.polygon_px.tolist()}
    elif a_bin.box is not None:
        place = _box_entry(f"layout {layout.name}: bin {a_bin.bin_id}", a_bin.box)
        low, size = a_bin.box.world_from_box[:3, 3], a_bin.box.size_m
        # The opposite corner is easier to read, but a length is not always the exact difference of two corners.
        if "yaw_deg" not in place and np.array_equal((low + size) - low, size):
            place = {"min_m": low.tolist(), "max_m": (low + size).tolist()}
    known = {
        "bin": a_bin.bin_id,
        "sku": a_bin.sku,
        "capacity": a_bin.capacity,
        "gondola": a_bin.gondola_id,
        "shelf": a_bin.shelf_id,
    }
    if a_bin.plate_ids:
        place["plates"] = list(a_bin.plate_ids)
    return _Line({key: value for key, value in known.items() if value is not None} | place)


def _plate_entry(layout: StoreLayout, plate: Plate) -> dict[str, object]:
    where = f"layout {layout.name}: plate {plate.plate_id}"
    if plate.plate_id != f"{plate.gondola_id}/{plate.shelf_id}/{plate.number}":
        raise ValueError(
            f"{where}: expected gondola/shelf/plate as its name, {plate.gondola_id}/{plate.shelf_id}/{plate.number}"
        )
    return _Line({"plate": plate.plate_id} | _box_entry(where, plate.box))


def _box_entry(where: str, box: Box) -> dict[str, object]:
    rotation = box.world_from_box[:3, :3]
    # Nine places are finer than any measuring, and coarse enough that reading and writing again changes nothing.
    yaw_deg = round(float(np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0]))), 9) + 0.0
    upright = upright_box(box.world_from_box[:3, 3], yaw_deg, box.size_m)
    if not np.allclose(rotation, upright.world_from_box[:3, :3], atol=UPRIGHT_TOLERANCE):
        raise ValueError(f"{where}: the layout format has no boxes that lean")
    turned = {"yaw_deg": yaw_deg} if yaw_deg else {}
    return {"corner_m": box.world_from_box[:3, 3].tolist()} | turned | {"size_m": box.size_m.tolist()}
