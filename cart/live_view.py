"""The floor as it is right now, for whoever looks at it: who is where, what has happened, pictures with their overlays.

``LiveView`` looks on while a floor works (``cart.live_store.FloorWatcher``) and keeps the last two seconds of what the
pipeline believed, so that a picture is shown with what was believed of that very instant, and not of a later one.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Literal, Self
from uuid import UUID

import numpy as np

from cart.api.shop import CameraHealth
from cart.doors import STAFF_PREFIX
from cart.floor_state import (
    BinMarked,
    ExpectedChange,
    FloorState,
    Happened,
    MarkedPicture,
    PersonMarked,
    PersonSeen,
    Plan,
    PlanBin,
    PlanCamera,
    PlanWall,
    PointM,
    PointPx,
)
from cart.live_store import AWAY_S, moment
from cart.pictures import RecentPictures, Taken
from cart.pipeline import InteractionSeen, StoreEvent, StorePipeline, VisitClosed
from tracking.types import Sightings
from vision.annotate import bin_mark
from vision.arrays import BoolArray, FloatArray
from vision.cameras import Camera
from vision.frames import Tick
from vision.layout import Bin, StoreLayout
from vision.shelf import Handling

NANOSECONDS = 1_000_000_000
INSTANTS = 90
REMEMBERED_EVENTS = 200
REMEMBERED_ENDS = 1000
SHOWN_S = 2.5
"""A bin is marked for so long after something was taken from it or put back."""
EXPECTS_NS = NANOSECONDS // 5
"""So often is asked what will probably go into carts."""
AHEAD_NS = NANOSECONDS
"""What is further ahead of the clock than this runs in a time of its own."""
BODY_HEIGHT_M, BODY_RADIUS_M = 1.75, 0.28
"""Of the outline of somebody whom an outside tracker has placed, and no camera of ours has measured."""
SIGHTED_M = (0.9, 1.2, 1.6)
"""Heights of hips, chest and head: whoever shows none of them is hidden."""
_CORNERS = np.array([[x, y, z] for z in (0.0, BODY_HEIGHT_M) for x in (-1, 1) for y in (-1, 1)], float) * (
    BODY_RADIUS_M,
    BODY_RADIUS_M,
    1.0,
)


@dataclass(frozen=True, slots=True)
class _Instant:
    """What was believed of one instant, and when it was known."""

    timestamp_ns: int
    latency_s: float
    people: tuple[PersonSeen, ...]
    sightings: tuple[Sightings, ...]
    touched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Boxes:
    """Where bins are, all together: what may stand between a camera and somebody.

    Attributes:
        origin_m: Corners, shape (n, 3).
        axes: Their own axes as columns, shape (n, 3, 3).
        size_m: Lengths along those, shape (n, 3).
    """

    origin_m: FloatArray
    axes: FloatArray
    size_m: FloatArray

    @classmethod
    def of(cls, layout: StoreLayout) -> Self:
        boxes = [each.box for each in layout.bins if each.box is not None]
        worlds = np.array([each.world_from_box for each in boxes], float).reshape(-1, 4, 4)
        sizes = np.array([each.size_m for each in boxes], float).reshape(-1, 3)
        return cls(worlds[:, :3, 3], worlds[:, :3, :3], sizes)


class LiveView:
    """Keeps the newest state of a floor (``cart.floor_state.LiveFloor``); one thread tells, any may ask.

    Args:
        layout: The store, until the first tick says what the pipeline has.
        now: The time, timezone-aware.
        pictures: What cameras see; None for a store without.
        health: How the cameras are doing as far as the floor knows; None where pictures are made when asked for.
    """

    def __init__(
        self,
        layout: StoreLayout,
        now: Callable[[], datetime],
        pictures: RecentPictures | None = None,
        health: Callable[[], tuple[CameraHealth, ...]] | None = None,
    ) -> None:
        self._now, self._pictures, self._health = now, pictures, health
        self._layout, self._plan, self._boxes = layout, plan_of(layout), _Boxes.of(layout)
        self._instants: deque[_Instant] = deque(maxlen=INSTANTS)
        self._happened: deque[Happened] = deque(maxlen=REMEMBERED_EVENTS)
        self._count = 0
        self._ended: OrderedDict[UUID, None] = OrderedDict()
        self._expected: dict[UUID, tuple[ExpectedChange, ...]] = {}
        self._expected_ns = 0
        self._camera_latency_s: dict[str, float] = {}
        self._resolutions_wh: dict[str, tuple[int, int]] = {}
        self._notices: dict[str, str] = {}
        self._lock = threading.Lock()
        camera_ids = () if pictures is None else pictures.camera_ids
        self._drawing = {camera_id: threading.Lock() for camera_id in camera_ids}
        self._outlines: OrderedDict[tuple[str, str, str, tuple[int, int]], tuple[PointPx, ...]] = OrderedDict()
        self._closed = threading.Event()

    # Looking on

    def watched(self, tick: Tick, pipeline: StorePipeline, events: Sequence[StoreEvent]) -> None:
        """Take what was believed of one instant."""
        now_ns = _nanoseconds(self._now())
        if pipeline.layout is not self._layout:
            plan, boxes = plan_of(pipeline.layout), _Boxes.of(pipeline.layout)
            with self._lock:
                self._layout, self._plan, self._boxes = pipeline.layout, plan, boxes
        for frame in tick.frames:
            self._camera_latency_s[frame.camera_id] = max(0.0, (now_ns - frame.timestamp_ns) / NANOSECONDS)
            self._resolutions_wh[frame.camera_id] = (frame.image.shape[1], frame.image.shape[0])
        if tick.frames:
            self._notices = {
                notice.camera_id: notice.message
                for notice in pipeline.camera_notices
                if notice.code != "camera-dead"  # whether pictures come is told by itself, and passes
            }
        if tick.bodies is not None or tick.frames:
            self._keep(tick, pipeline, now_ns)
        if events or not 0 <= tick.timestamp_ns - self._expected_ns < EXPECTS_NS:
            self._expect(pipeline, tick.timestamp_ns)
        for event in events:
            if isinstance(event, InteractionSeen):
                self._note(event, pipeline)
            elif isinstance(event, VisitClosed):
                self._ended[event.outcome.session.session_id] = None
                while len(self._ended) > REMEMBERED_ENDS:
                    self._ended.popitem(last=False)

    def close(self) -> None:
        """Have whoever listens go."""
        self._closed.set()

    # What may be asked

    @property
    def is_closed(self) -> bool:
        """Whether the store is closing."""
        return self._closed.is_set()

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """Cameras that pictures may be asked of."""
        return tuple(self._drawing)

    def plan(self) -> Plan:
        """The store from above."""
        return self._plan

    def state(self) -> FloorState | None:
        """The floor as of now."""
        instant = self._instant()
        return None if instant is None else FloorState(_moment(instant), instant.latency_s, instant.people)

    def happened_since(self, number: int) -> Sequence[Happened]:
        """What has happened after that number."""
        with self._lock:
            return [each for each in self._happened if each.number > number]

    def expected(self, session_id: UUID) -> tuple[ExpectedChange, ...]:
        """What will probably change in a visit's cart soon."""
        return self._expected.get(session_id, ())

    def has_ended(self, session_id: UUID) -> bool:
        """Whether a visit has ended a short while ago."""
        return session_id in self._ended

    def cameras(self) -> tuple[CameraHealth, ...]:
        """How the cameras are doing."""
        if self._health is not None:
            return tuple(
                replace(
                    each,
                    resolution_wh=self._resolutions_wh.get(each.camera_id),
                    latency_s=self._camera_latency_s.get(each.camera_id),
                    notice=self._notices.get(each.camera_id, ""),
                )
                for each in self._health()
            )
        instant = self._instant()
        last_at = None if instant is None else _moment(instant)
        well = last_at is not None and self._now() - last_at <= timedelta(seconds=AWAY_S)
        detail = "" if well else "no picture yet" if last_at is None else "no picture for some time"
        layout, latency_s = self._layout, None if instant is None else instant.latency_s
        return tuple(
            CameraHealth(
                camera_id,
                well,
                last_at,
                detail,
                None if (camera := layout.camera(camera_id)) is None else camera.resolution_wh,
                latency_s,
            )
            for camera_id in self._drawing
        )

    def picture(self, camera_id: str, known: datetime | None = None) -> MarkedPicture | None:
        """The newest picture of a camera, with what was believed of that instant; None if it is known already."""
        lock = self._drawing.get(camera_id)
        if lock is None or self._pictures is None:
            return None
        with lock:  # several who look at one camera have it drawn once
            taken = self._pictures.latest(camera_id)
        if taken is None or moment(taken.timestamp_ns) == known:
            return None
        layout, boxes = self._layout, self._boxes
        height, width = taken.image.shape[:2]
        small = taken.small()
        scale = small.resolution_wh[0] / width
        instant = self._instant_of(camera_id, taken.timestamp_ns)
        people = () if instant is None else _marked(instant, layout, boxes, camera_id, (width, height), scale)
        bins = self._marked_bins(instant, layout, taken, scale)
        return MarkedPicture(
            camera_id,
            moment(taken.timestamp_ns),
            None if instant is None else moment(_marked_ns(instant, camera_id)),
            small.jpeg,
            small.resolution_wh,
            people,
            tuple(bins),
        )

    # Within

    def _expect(self, pipeline: StorePipeline, now_ns: int) -> None:
        self._expected_ns = now_ns
        found: dict[UUID, tuple[ExpectedChange, ...]] = {}
        for each in pipeline.expected():
            change = ExpectedChange(each.sku, each.quantity, each.probability, moment(each.time_ns))
            found[each.session.session_id] = (*found.get(each.session.session_id, ()), change)
        self._expected = found

    def _keep(self, tick: Tick, pipeline: StorePipeline, now_ns: int) -> None:
        people = pipeline.people
        seen = []
        for row, identity_id in enumerate(people.identity_id.tolist()):
            session = pipeline.session(identity_id)
            place = people.position_m[row]
            hands = people.hands_m[row]
            seen.append(
                PersonSeen(
                    identity_id,
                    None if session is None else session.session_id,
                    _name(identity_id, None if session is None else (session.session_id, session.shopper_id)),
                    (float(place[0]), float(place[1])) if np.isfinite(place).all() else None,
                    tuple((float(x), float(y), float(z)) for x, y, z in hands[np.isfinite(hands).all(axis=1)]),
                )
            )
        instant = _Instant(
            tick.timestamp_ns,
            max(0.0, (now_ns - tick.timestamp_ns) / NANOSECONDS),
            tuple(seen),
            people.sightings,
            tuple(sorted({bin_id for _, bin_id in pipeline.open_contacts})),
        )
        with self._lock:
            self._instants.append(instant)

    def _note(self, seen: InteractionSeen, pipeline: StorePipeline) -> None:
        interaction = seen.interaction
        names = {product.sku: product.name for product in pipeline.layout.products}
        whose = seen.sessions[0] if seen.sessions and seen.recorded_for is not None else None
        best = interaction.candidates[0] if interaction.candidates else None
        with self._lock:
            self._count += 1
            self._happened.append(
                Happened(
                    self._count,
                    interaction.interaction_id,
                    moment(interaction.time_ns),
                    "pick" if interaction.kind is Handling.PICK else "put_back",
                    interaction.bin_id,
                    interaction.sku,
                    "" if interaction.sku is None else names.get(interaction.sku, interaction.sku),
                    interaction.quantity,
                    0.0 if best is None else best.probability,
                    None if whose is None else whose.session_id,
                )
            )

    def _instant(self) -> _Instant | None:
        """The newest instant that is not ahead of the clock."""
        now_ns = _nanoseconds(self._now())
        with self._lock:
            if not self._instants:
                return None
            newest = self._instants[-1]
            if newest.timestamp_ns > now_ns + AHEAD_NS:
                return newest
            return next((each for each in reversed(self._instants) if each.timestamp_ns <= now_ns), self._instants[0])

    def _instant_of(self, camera_id: str, timestamp_ns: int) -> _Instant | None:
        """What was believed of the very instant of a picture; the last before it where there was none."""
        with self._lock:
            instants = list(self._instants)
        for each in reversed(instants):
            if any(s.camera_id == camera_id and s.timestamp_ns == timestamp_ns for s in each.sightings):
                return each
        return next((each for each in reversed(instants) if each.timestamp_ns <= timestamp_ns), None)

    def _marked_bins(
        self, instant: _Instant | None, layout: StoreLayout, taken: Taken, scale: float
    ) -> list[BinMarked]:
        kinds: dict[str, Literal["touched", "pick", "put_back"]] = {}
        if instant is not None:
            kinds.update(dict.fromkeys(instant.touched, "touched"))
        at = moment(taken.timestamp_ns)
        with self._lock:
            recent = [each for each in self._happened if timedelta(0) <= at - each.at <= timedelta(seconds=SHOWN_S)]
        kinds.update({each.bin_id: each.kind for each in recent})
        height, width = taken.image.shape[:2]
        marked = []
        for bin_id, kind in kinds.items():
            outline = self._outline(layout, bin_id, taken.camera_id, (width, height))
            if outline:
                marked.append(BinMarked(bin_id, tuple((_px(x * scale), _px(y * scale)) for x, y in outline), kind))
        return marked

    def _outline(
        self, layout: StoreLayout, bin_id: str, camera_id: str, resolution_wh: tuple[int, int]
    ) -> tuple[PointPx, ...]:
        key = (self._plan.version, bin_id, camera_id, resolution_wh)
        with self._lock:
            known = self._outlines.get(key)
        if known is not None:
            return known
        try:
            mark = bin_mark(layout, bin_id, camera_id, resolution_wh)
        except ValueError:  # of the layout before this one
            mark = None
        points = () if mark is None else tuple((float(x), float(y)) for x, y in np.concatenate(mark.outlines_px))
        with self._lock:
            self._outlines[key] = points
            while len(self._outlines) > 2000:
                self._outlines.popitem(last=False)
        return points


def plan_of(layout: StoreLayout) -> Plan:
    """A store from above."""
    names = {product.sku: product.name for product in layout.products}
    walls = tuple(
        PlanWall(pane.kind, (_point(pane.corners_m[left]), _point(pane.corners_m[right])))
        for pane in layout.surfaces
        for left, right in (_ends(pane.corners_m),)
    )
    plan = Plan(
        layout.name,
        None if layout.walkable_m is None else tuple(_point(corner) for corner in layout.walkable_m),
        None if layout.entrance_m is None else tuple(_point(end) for end in layout.entrance_m),
        None if layout.exit_m is None else tuple(_point(end) for end in layout.exit_m),
        walls,
        tuple(_plan_bin(a_bin, names) for a_bin in layout.bins),
        tuple(_plan_camera(camera) for camera in layout.cameras),
        "",
    )
    return replace(plan, version=blake2b(repr(plan).encode(), digest_size=8).hexdigest())


def _plan_bin(a_bin: Bin, names: dict[str, str]) -> PlanBin:
    outline: tuple[PointM, ...] = ()
    height = None
    if a_bin.box is not None:
        corners = a_bin.box.corners_m
        outline = tuple(_point(corners[index]) for index in (0, 1, 3, 2))
        height = (round(float(corners[:, 2].min()), 3), round(float(corners[:, 2].max()), 3))
    name = None if a_bin.sku is None else names.get(a_bin.sku)
    return PlanBin(a_bin.bin_id, a_bin.sku, name, a_bin.gondola_id, a_bin.shelf_id, outline, height, a_bin.plate_ids)


def _plan_camera(camera: Camera) -> PlanCamera:
    x, y, z = (round(float(value), 3) for value in camera.position_m)
    return PlanCamera(camera.camera_id, (x, y, z), _point(camera.world_from_cam[:2, 2]))


def _ends(corners_m: FloatArray) -> tuple[int, int]:
    """The two corners of a pane that lie furthest apart from above."""
    apart_m = np.linalg.norm(corners_m[:, None, :2] - corners_m[None, :, :2], axis=-1)
    left, right = np.unravel_index(int(apart_m.argmax()), apart_m.shape)
    return int(left), int(right)


def _point(point: FloatArray) -> PointM:
    return round(float(point[0]), 3), round(float(point[1]), 3)


def _name(identity_id: int, visit: tuple[UUID, str] | None) -> str:
    """What those who work on the floor call somebody: enough to find the visit, and no name."""
    if visit is None:
        return str(identity_id)
    session_id, shopper_id = visit
    return "staff" if shopper_id.startswith(STAFF_PREFIX) else session_id.hex[:4]


def _marked_ns(instant: _Instant, camera_id: str) -> int:
    """When people were where an instant has them in a camera's picture."""
    return next((each.timestamp_ns for each in instant.sightings if each.camera_id == camera_id), instant.timestamp_ns)


def _marked(
    instant: _Instant,
    layout: StoreLayout,
    boxes: _Boxes,
    camera_id: str,
    resolution_wh: tuple[int, int],
    scale: float,
) -> tuple[PersonMarked, ...]:
    """Everybody in a picture: where a camera has seen them, or where the outside tracker says that they are."""
    known = {person.identity_id: person for person in instant.people}
    sightings = next((each for each in instant.sightings if each.camera_id == camera_id), None)
    if sightings is not None:
        return tuple(
            _seen_by_camera(known.get(identity_id), sightings, row, scale)
            for row, identity_id in enumerate(sightings.identity_id.tolist())
        )
    camera = layout.camera(camera_id)
    if camera is None:
        return ()
    fitted = camera.resized(resolution_wh)
    marked = [_projected(person, fitted, scale, boxes) for person in instant.people]
    return tuple(each for each in marked if each is not None)


def _seen_by_camera(person: PersonSeen | None, sightings: Sightings, row: int, scale: float) -> PersonMarked:
    left, top, right, bottom = (_px(float(value) * scale) for value in sightings.xyxy[row])
    hands = sightings.hands_px[row]
    identity_id = int(sightings.identity_id[row])
    return PersonMarked(
        identity_id,
        None if person is None else person.session_id,
        str(identity_id) if person is None else person.name,
        (left, top, right, bottom),
        (_px((left + right) / 2), bottom),
        tuple((_px(float(x) * scale), _px(float(y) * scale)) for x, y in hands[np.isfinite(hands).all(axis=1)]),
    )


def _projected(person: PersonSeen, camera: Camera, scale: float, boxes: _Boxes) -> PersonMarked | None:
    """Somebody whose place is known, in a camera's picture; None for somebody who is not in it."""
    if person.position_m is None:
        return None
    place_m = np.array([*person.position_m, 0.0])
    hands_m = np.array(person.hands_m, float).reshape(-1, 3)
    px = camera.image_points(np.concatenate([place_m[None], place_m + _CORNERS, hands_m]))
    width, height = camera.resolution_wh
    body = px[: 1 + len(_CORNERS)]
    if not np.isfinite(body).all():
        return None  # partly behind the camera: no outline that means anything
    low, high = np.clip(body[1:].min(axis=0), 0, (width, height)), np.clip(body[1:].max(axis=0), 0, (width, height))
    if (high - low < 2).any():
        return None
    inside: BoolArray = np.asarray((np.isfinite(px) & (px >= 0) & (px < (width, height))).all(axis=1))
    hands = px[1 + len(_CORNERS) :][inside[1 + len(_CORNERS) :]]
    return PersonMarked(
        person.identity_id,
        person.session_id,
        person.name,
        (_px(low[0] * scale), _px(low[1] * scale), _px(high[0] * scale), _px(high[1] * scale)),
        (_px(px[0, 0] * scale), _px(px[0, 1] * scale)) if inside[0] else None,
        tuple((_px(x * scale), _px(y * scale)) for x, y in hands.tolist()),
        _is_hidden(place_m, camera, boxes),
    )


def _is_hidden(place_m: FloatArray, camera: Camera, boxes: _Boxes) -> bool:
    """Whether boxes stand between a camera and all that could be seen of somebody at a place."""
    ends_m = place_m + np.array([[0.0, 0.0, height] for height in SIGHTED_M])
    return bool(_crossed(camera.position_m, ends_m, boxes).any(axis=0).all())


def _crossed(start_m: FloatArray, ends_m: FloatArray, boxes: _Boxes) -> BoolArray:
    """Which boxes the lines from a point to several others go through (slabs): shape (boxes, lines)."""
    start = np.einsum("bi,bij->bj", start_m - boxes.origin_m, boxes.axes)[:, None]
    along = np.einsum("bni,bij->bnj", ends_m - boxes.origin_m[:, None], boxes.axes) - start
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = np.stack([-start / along, (boxes.size_m[:, None] - start) / along])
    # A line along a side that it lies in is in that slab all the way.
    enters = np.nan_to_num(sides.min(axis=0), nan=-np.inf).max(axis=-1)
    leaves = np.nan_to_num(sides.max(axis=0), nan=np.inf).min(axis=-1)
    return np.asarray((enters < leaves) & (leaves > 0) & (enters < 1))


def _px(value: float) -> float:
    return round(float(value), 1)


def _moment(instant: _Instant) -> datetime:
    return moment(instant.timestamp_ns)


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1e6) * 1000
