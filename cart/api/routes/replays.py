"""Recordings, and what the pipeline believed while it saw them again."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field, StringConstraints

from cart.api.problems import ProblemError
from cart.api.routing import ShopRoute, TheShop
from cart.api.schemas import Body, Name, Shown, problems
from cart.api.shop import Shop
from cart.errors import RecordingNotFound, RecordingRefused, ReplayNotFound, ReplaysBusy
from cart.recordings import LONGEST_NAME
from cart.replays import LONGEST_WINDOW_S, Replays, ReplayState

router = APIRouter(route_class=ShopRoute, tags=["recordings"])

_LONGEST_S = 366 * 86_400.0
Seconds = Annotated[float, Query(ge=0, le=_LONGEST_S, allow_inf_nan=False)]
Sensor = Annotated[str, StringConstraints(pattern="^(cameras|scales|bodies|gates)$")]


class Recording(Shown):
    """Something that can be replayed."""

    name: str


class RecordingsShown(Shown):
    """Everything that can be replayed, by name."""

    items: list[Recording]


class ReplayBody(Body):
    """What is to be replayed, and without what."""

    recording: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]
    without: Annotated[list[Sensor], Field(max_length=4)] = Field(
        default=[], description="Sensors to leave out, to see what they are good for."
    )
    label: Name | None = None


class ReplayShown(Shown):
    """How far a replay is."""

    replay_id: UUID
    recording: str
    label: str
    without: list[str]
    status: str = Field(description="waiting, running, done or failed.")
    progress: float
    duration_s: float
    detail: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class ReplayList(Shown):
    """Every replay that is kept, newest first."""

    items: list[ReplayShown]


class ReplayResult(ReplayShown):
    """A replay with what came of it."""

    document: dict[str, Any] | None = Field(
        description="The floor, its cameras, its interactions with why, and the receipts; null until it is done."
    )


class Moments(Shown):
    """What the pipeline believed, instant by instant."""

    items: list[dict[str, Any]]


@router.get("/v1/recordings", responses=problems(404))
def list_recordings(shop: TheShop) -> RecordingsShown:
    """Tell what can be replayed."""
    return RecordingsShown(items=[Recording(name=name) for name in _replays(shop).recordings()])


@router.post("/v1/replays", status_code=202, responses=problems(RecordingNotFound, RecordingRefused, ReplaysBusy))
def start_replay(shop: TheShop, body: ReplayBody) -> ReplayShown:
    """Have a recording replayed; one at a time, the others wait."""
    return ReplayShown(**_fields(_replays(shop).ask(body.recording, without=body.without, label=body.label or "")))


@router.get("/v1/replays", responses=problems(404))
def list_replays(shop: TheShop) -> ReplayList:
    """Tell what was replayed, newest first."""
    return ReplayList(items=[ReplayShown(**_fields(state)) for state in _replays(shop).all()])


@router.get("/v1/replays/{replay_id}", responses=problems(ReplayNotFound))
def read_replay(shop: TheShop, replay_id: UUID) -> ReplayResult:
    """Tell how far a replay is, and what came of it once it is done."""
    replays = _replays(shop)
    return ReplayResult(**_fields(replays.state(replay_id)), document=replays.result(replay_id))


@router.get("/v1/replays/{replay_id}/moments", responses=problems(ReplayNotFound))
def read_moments(shop: TheShop, replay_id: UUID, from_s: Seconds = 0.0, to_s: Seconds = LONGEST_WINDOW_S) -> Moments:
    """Tell what the pipeline believed within a span of at most two minutes."""
    if to_s < from_s:
        raise ProblemError(422, "to_s: expected at least from_s")
    return Moments(items=_replays(shop).moments(replay_id, from_s, to_s))


@router.get(
    "/v1/replays/{replay_id}/pictures",
    responses={**problems(ReplayNotFound), 200: {"content": {"image/jpeg": {}}}},
    response_class=Response,
)
def read_picture(
    shop: TheShop, replay_id: UUID, camera_id: Annotated[str, Query(min_length=1, max_length=100)], t_s: Seconds
) -> Response:
    """Show what a camera saw last at an instant."""
    found = _replays(shop).picture(replay_id, camera_id, t_s)
    if found is None:
        raise ProblemError(404, "there is no picture of this camera at this time")
    return Response(found, media_type="image/jpeg")


@router.delete("/v1/replays/{replay_id}", status_code=204, responses=problems(ReplayNotFound))
def delete_replay(shop: TheShop, replay_id: UUID) -> None:
    """Forget a replay; one that runs ends."""
    _replays(shop).delete(replay_id)


def _replays(shop: Shop) -> Replays:
    if shop.replays is None:
        raise ProblemError(404, "this store replays no recordings")
    return shop.replays


def _fields(state: ReplayState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in ReplayShown.model_fields}
