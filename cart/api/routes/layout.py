"""The store's layout: versions, changing over without a restart, calibration of cameras."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from pydantic import AllowInfNan, Field

from cart.api.conditions import check_unchanged
from cart.api.paging import USUAL_ENTRIES, After, Limit, Listing, Page, position
from cart.api.problems import ProblemError
from cart.api.routes.cameras import newest_picture
from cart.api.routing import Caller, ShopRoute, TheShop
from cart.api.schemas import Body, DeviceName, Note, Shown, problems
from cart.api.shop import Shop
from cart.errors import LayoutChanged, LayoutNotFound, LayoutRefused
from cart.layout_versions import KnownLens, LayoutVersion, LayoutVersions

router = APIRouter(route_class=ShopRoute, tags=["layout"])

_MOST_BYTES = 4_000_000
_MOST_OBJECTIONS = 100
VersionNumber = Annotated[int, Path(ge=0, le=2**31 - 1)]
Number = Annotated[float, AllowInfNan(False), Field(ge=-1e6, le=1e6)]
Focal = Annotated[float, AllowInfNan(False), Field(ge=1, le=1e6)]
Bend = Annotated[float, AllowInfNan(False), Field(ge=-10, le=10)]
Side = Annotated[int, Field(ge=1, le=100_000)]


class NewLayout(Body):
    """A layout as it is to be."""

    document: dict[str, Any] = Field(description="Format `tillfree-layout/1`, as JSON.")
    note: Note = ""
    apply: Literal["when_empty", "now", "later"] = "when_empty"


class Change(Body):
    """When the floor changes over; with `now` everybody inside is looked at by a person."""

    when: Literal["when_empty", "now"] = "when_empty"


class VersionShown(Shown):
    """A version, without its document."""

    version: int = Field(description="0 is what the store's files say.")
    note: str
    author_id: str | None
    created_at: datetime | None


class LayoutShown(VersionShown):
    """A version and the one that counts on the floor now."""

    document: dict[str, Any]
    active_version: int


class Pair(Body):
    """A point of the picture, and where it is in the store."""

    pixel: tuple[Number, Number]
    world_m: tuple[Number, Number, Number]


class Lens(Body):
    """A lens that is known."""

    focal_px: tuple[Focal, Focal]
    centre_px: tuple[Number, Number]
    distortion: tuple[Bend, Bend, Bend, Bend, Bend] = Field(
        default=(0.0, 0.0, 0.0, 0.0, 0.0), description="k1, k2, p1, p2, k3 as in OpenCV."
    )


class Pairs(Body):
    """What a camera is calibrated by."""

    points: Annotated[list[Pair], Field(min_length=4, max_length=200)]
    resolution_wh: tuple[Side, Side]
    lens: Lens | None = Field(default=None, description="Null to find the focal length too, which takes more points.")
    bends: bool = Field(default=False, description="Find how the lens bends straight lines; only without `lens`.")


class FitShown(Shown):
    """A camera as the points say; nothing is changed by it."""

    camera: dict[str, Any] = Field(description="Its entry in a layout's document.")
    rms_px: float
    residuals_px: list[float]
    worst: int = Field(description="Which point misses by most, from 0.")
    left_out: list[int] = Field(description="Points that do not agree with the others, from 0.")


class Drawn(Body):
    """A layout that may not have been kept yet."""

    document: dict[str, Any] = Field(description="Format `tillfree-layout/1`, as JSON.")


class ObjectionShown(Shown):
    """Something that is wrong with a layout."""

    place: list[str | int] = Field(description="Keys and positions that lead there; empty for no one place.")
    message: str


class Checked(Shown):
    """What speaks against a layout."""

    items: list[ObjectionShown]


@router.get("/v1/layout", responses=problems(404))
def read_layout(shop: TheShop, response: Response) -> LayoutShown:
    """Read the newest version; its tag goes into `If-Match` of a change."""
    layouts = _layouts(shop)
    newest = layouts.newest()
    response.headers["ETag"] = _tag(newest.version)
    return _shown(layouts, newest)


@router.put("/v1/layout", responses=problems(LayoutRefused, LayoutChanged, 404, 412), max_body_size=_MOST_BYTES)
def change_layout(body: NewLayout, request: Request, response: Response, shop: TheShop, caller: Caller) -> LayoutShown:
    """Keep a new version, and have the floor change over to it if that is wished."""
    layouts = _layouts(shop)
    newest = layouts.newest().version
    check_unchanged(request, _tag(newest))
    saved = layouts.save(body.document, body.note, caller.account_id, after=newest)
    if body.apply != "later":
        layouts.apply(saved.version, caller.account_id, at_once=body.apply == "now")
    response.headers["ETag"] = _tag(saved.version)
    return _shown(layouts, saved)


@router.post("/v1/layout/check", responses=problems(404), max_body_size=_MOST_BYTES)
def check_layout(body: Drawn, shop: TheShop) -> Checked:
    """Tell what speaks against a layout; nothing is kept."""
    found = _layouts(shop).check(body.document)[:_MOST_OBJECTIONS]
    return Checked(items=[ObjectionShown(place=list(each.place), message=each.message) for each in found])


@router.get("/v1/layout/versions", responses=problems(404))
def list_versions(
    request: Request, shop: TheShop, cursor: After = None, limit: Limit = USUAL_ENTRIES
) -> Page[VersionShown]:
    """List the versions, newest first."""
    found = _layouts(shop).versions(position("layout", cursor), limit + 1)
    return Listing("layout", request, limit).page(found, lambda each: (each.version,), _entry)


@router.get("/v1/layout/versions/{version}", responses=problems(LayoutNotFound))
def read_version(version: VersionNumber, shop: TheShop) -> LayoutShown:
    """Read a version."""
    return _shown(_layouts(shop), _layouts(shop).version(version))


@router.post("/v1/layout/versions/{version}/apply", responses=problems(LayoutNotFound, LayoutRefused))
def apply_version(version: VersionNumber, body: Change, shop: TheShop, caller: Caller) -> LayoutShown:
    """Have the floor change over to a version, also to one before."""
    layouts = _layouts(shop)
    layouts.apply(version, caller.account_id, at_once=body.when == "now")
    return _shown(layouts, layouts.version(version))


@router.post("/v1/cameras/{camera_id}/calibration", responses=problems(LayoutRefused, 404))
def calibrate(camera_id: DeviceName, body: Pairs, shop: TheShop) -> FitShown:
    """Find out where a camera is from points that were clicked; nothing is changed."""
    pixels, places_m = [pair.pixel for pair in body.points], [pair.world_m for pair in body.points]
    lens = None if body.lens is None else KnownLens(body.lens.focal_px, body.lens.centre_px, body.lens.distortion)
    fit = _layouts(shop).calibrate(camera_id, pixels, places_m, body.resolution_wh, lens, bends=body.bends)
    return FitShown(
        camera=fit.camera,
        rms_px=fit.rms_px,
        residuals_px=list(fit.residuals_px),
        worst=fit.worst,
        left_out=list(fit.left_out),
    )


@router.post(
    "/v1/cameras/{camera_id}/drawing",
    response_class=Response,
    responses={
        200: {
            "description": "What the camera sees, with the layout drawn into it.",
            "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(LayoutRefused, 404),
    },
    max_body_size=_MOST_BYTES,
)
def draw_layout(camera_id: DeviceName, body: Drawn, shop: TheShop) -> Response:
    """Draw a layout into what a camera sees, so that a person sees whether it fits; nothing is kept."""
    layouts = _layouts(shop)
    jpeg = layouts.drawn(body.document, camera_id, newest_picture(shop, camera_id).jpeg)
    return Response(jpeg, media_type="image/jpeg")


def _layouts(shop: Shop) -> LayoutVersions:
    if shop.layouts is None:
        raise ProblemError(404, "this store's layout cannot be edited")
    return shop.layouts


def _tag(version: int) -> str:
    return f'"{version}"'


def _entry(version: LayoutVersion) -> VersionShown:
    author = None if version.author_id is None else str(version.author_id)
    return VersionShown(version=version.version, note=version.note, author_id=author, created_at=version.created_at)


def _shown(layouts: LayoutVersions, version: LayoutVersion) -> LayoutShown:
    return LayoutShown(
        **_entry(version).model_dump(), document=dict(version.document), active_version=layouts.active_version
    )
