"""What cameras see: how they are doing, their newest pictures, and pictures with what the store knows of them, live."""

import asyncio
import json
import math
import struct
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from cart.api.problems import ProblemError
from cart.api.routes.floor import LONGEST_STREAM_S, live_of
from cart.api.routes.visits import SEND_TIMEOUT_S
from cart.api.routing import Caller, ShopRoute, TheShop
from cart.api.schemas import Shown, problems
from cart.api.shop import Shop
from cart.floor_state import LiveFloor, MarkedPicture

router = APIRouter(route_class=ShopRoute, tags=["cameras"])

FRAMES = "application/vnd.tillfree.frames"
CameraId = Annotated[str, Query(max_length=100)]
MOST_FPS = 15.0
MOST_CAMERAS = 16
MOST_VIEWERS = 16
LOOK_S = 0.02


class CameraShown(Shown):
    """How a camera is doing."""

    camera_id: str
    healthy: bool
    last_frame_at: datetime | None
    detail: str
    resolution_wh: tuple[int, int] | None
    latency_s: float | None
    notice: str


class Cameras(Shown):
    """All cameras."""

    items: list[CameraShown]


class Frames(StreamingResponse):
    """An endless stream of pictures; a viewer that takes nothing for some time is cut off.

    Args:
        records: What is sent.
        viewers: Counts who looks, for as long as this one does.
    """

    media_type = FRAMES

    def __init__(self, records: AsyncIterator[bytes], viewers: "Viewers") -> None:
        super().__init__(records, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._viewers = viewers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send pictures until the viewer goes."""
        self._viewers.count += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._viewers.count -= 1

    async def stream_response(self, send: Send) -> None:
        """Send each record within its time."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for record in self.body_iterator:
            with anyio.move_on_after(SEND_TIMEOUT_S) as patience:
                await send({"type": "http.response.body", "body": record, "more_body": True})
            if patience.cancelled_caught:
                break
        with anyio.move_on_after(SEND_TIMEOUT_S):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class Viewers:
    """How many look at live pictures."""

    def __init__(self) -> None:
        self.count = 0


@router.get("/v1/cameras", responses=problems(404))
def list_cameras(shop: TheShop) -> Cameras:
    """Tell how the cameras are doing."""
    if shop.cameras is None:
        raise ProblemError(404, "this store has no cameras")
    return Cameras(
        items=[
            CameraShown(
                camera_id=each.camera_id,
                healthy=each.healthy,
                last_frame_at=each.last_frame_at,
                detail=each.detail,
                resolution_wh=each.resolution_wh,
                latency_s=None if each.latency_s is None else round(each.latency_s, 3),
                notice=each.notice,
            )
            for each in shop.cameras()
        ]
    )


@router.get(
    "/v1/cameras/live",
    response_class=Response,
    responses={
        200: {
            "description": "Records without end: the length of a JSON text as four bytes, big-endian, and the text;"
            " the length of a JPEG likewise, and the JPEG. The text says which camera, `captured_at`, `sent_at`,"
            " `latency_s` between the two, the picture's size, and where people, their hands and handled places are in"
            " this very picture, in its pixels, as of `marked_at`, which is `captured_at` unless the store has not"
            " looked at that picture, and null if it has not looked at all; who `is_hidden` stands behind shelves.",
            "content": {FRAMES: {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(404, s429="Too many look already"),
    },
)
async def watch_cameras(
    request: Request,
    shop: TheShop,
    caller: Caller,
    camera_id: Annotated[list[CameraId], Query(max_length=MOST_CAMERAS)] = [],  # noqa: B006
    fps: Annotated[float, Query(ge=0.1, le=MOST_FPS)] = 10.0,
) -> Response:
    """Watch cameras live, all of them if none is named: pictures, each with what the store knew of that instant."""
    live = live_of(shop)
    chosen = list(dict.fromkeys(camera_id)) or list(live.camera_ids)[:MOST_CAMERAS]
    for each in chosen:
        _check_camera(live, each)
    viewers: Viewers | None = getattr(request.app.state, "viewers", None)
    if viewers is None:
        viewers = request.app.state.viewers = Viewers()
    if viewers.count >= MOST_VIEWERS:
        raise ProblemError(429, "too many look at the cameras already", "listeners", {"Retry-After": "5"})
    return Frames(_records(shop, live, chosen, fps, sees_visits=caller.may("visits")), viewers)


@router.get(
    "/v1/cameras/{camera_id}/picture",
    response_class=Response,
    responses={
        200: {
            "description": "The newest picture; `X-Captured-At` says when it was taken.",
            "headers": {"X-Captured-At": {"schema": {"type": "string", "format": "date-time"}}},
            "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(404),
    },
)
def read_camera_picture(camera_id: str, shop: TheShop) -> Response:
    """Read what a camera sees."""
    picture = newest_picture(shop, camera_id)
    return Response(picture.jpeg, media_type="image/jpeg", headers={"X-Captured-At": picture.captured_at.isoformat()})


def newest_picture(shop: Shop, camera_id: str) -> MarkedPicture:
    """The newest picture of a camera; a problem if there is none."""
    live = live_of(shop)
    _check_camera(live, camera_id)
    picture = live.picture(camera_id)
    if picture is None:
        raise ProblemError(404, f"camera {camera_id} has given no picture yet", headers={"Retry-After": "1"})
    return picture


def _check_camera(live: LiveFloor, camera_id: str) -> None:
    if camera_id not in live.camera_ids:
        raise ProblemError(404, f"there is no camera {camera_id}")


async def _records(
    shop: Shop, live: LiveFloor, camera_ids: Sequence[str], fps: float, *, sees_visits: bool
) -> AsyncIterator[bytes]:
    """Records of each camera's newest picture, as soon as there is one, on average at most so many a second."""
    least_gap_s = 1.0 / fps
    sent: dict[str, datetime] = {}
    due_s = dict.fromkeys(camera_ids, -math.inf)
    until_s = time.monotonic() + LONGEST_STREAM_S
    while not live.is_closed and time.monotonic() < until_s:
        for camera_id in camera_ids:
            now_s = time.monotonic()
            if now_s < due_s[camera_id]:
                continue
            picture = await run_in_threadpool(live.picture, camera_id, sent.get(camera_id))
            if picture is None:
                continue
            sent[camera_id] = picture.captured_at
            due_s[camera_id] = next_due_s(due_s[camera_id], now_s, least_gap_s)
            yield record_of(picture, shop.now(), sees_visits=sees_visits)
            if live.is_closed:
                return
        await asyncio.sleep(LOOK_S)


def next_due_s(due_s: float, sent_s: float, gap_s: float) -> float:
    """When a camera's next picture may be sent.

    One that came late does not hold up the next: no camera's pace is quite even, and at its own pace none is lost.

    Args:
        due_s: When the last one might have been sent.
        sent_s: When it was.
        gap_s: Between two, on average.

    >>> next_due_s(10.0, 10.03, 0.1), next_due_s(10.0, 12.0, 0.1)
    (10.1, 12.0)
    """
    return max(due_s, sent_s - gap_s) + gap_s


def record_of(picture: MarkedPicture, sent_at: datetime, *, sees_visits: bool) -> bytes:
    """One record of the stream.

    Args:
        picture: What is sent.
        sent_at: Now, timezone-aware.
        sees_visits: Whether the viewer may know whose visit it is.
    """
    document: dict[str, Any] = {
        "camera_id": picture.camera_id,
        "captured_at": picture.captured_at.isoformat(),
        "marked_at": None if picture.marked_at is None else picture.marked_at.isoformat(),
        "sent_at": sent_at.isoformat(),
        "latency_s": round((sent_at - picture.captured_at).total_seconds(), 4),
        "resolution_wh": picture.resolution_wh,
        "people": [
            {
                "identity_id": each.identity_id,
                "label": each.name if sees_visits else str(each.identity_id),
                "box_px": each.box_px,
                "feet_px": each.feet_px,
                "hands_px": each.hands_px,
                "is_hidden": each.is_hidden,
            }
            for each in picture.people
        ],
        "bins": [{"bin_id": each.bin_id, "outline_px": each.outline_px, "kind": each.kind} for each in picture.bins],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    return b"".join((struct.pack(">I", len(text)), text, struct.pack(">I", len(picture.jpeg)), picture.jpeg))
