"""Keeps what cameras saw around an interaction: clips for whoever has to judge it, and one picture for its shopper.

A ``ClipKeeper`` looks on at the floor (``cart.live_store.FloorWatcher``) and does nothing there but remember who was
where. Pictures are fetched, blurred and encoded in a thread of its own that lets all others go first; what it cannot
keep up with is left out, never waited for.

The shopper's picture shows the surroundings of a hand and nothing else: the rest is blurred before it is kept, and
no picture is kept where somebody else's head may be near the hand.
"""

import logging
import queue
import tempfile
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import cv2
import numpy as np

from cart.evidence import LARGEST_MEDIA, Evidence, EvidenceKind, InteractionFacts
from cart.live_store import LEAST_SHARE, moment
from cart.pictures import RecentPictures, Taken
from cart.pipeline import InteractionSeen, StoreEvent, StorePipeline, VisitClosed, place_name, plate_numbers
from cart.priorities import give_way
from tracking.types import Interaction
from vision.annotate import VideoWriter
from vision.arrays import FloatArray, ImageArray
from vision.cameras import Camera
from vision.frames import Tick
from vision.layout import Bin, StoreLayout
from vision.shelf import Handling

_log = logging.getLogger(__name__)

BEFORE_S, AFTER_S = 2.0, 2.0
LONGEST_SIDE_S = 6.0
"""A clip reaches no further before and after the moment itself, however long hands were there."""
CLIP_FPS = 10.0
CLIP_WIDTHS_PX = (640, 320)
"""The second one is for a clip that would be too large."""
MOST_CAMERAS = 4
MOST_WAITING = 32
REMEMBERS_S = 40.0
"""How long an interaction that seemed sure is remembered, in case its visit turns out to need a look."""
STEP_S = 0.1
HAND_M = 0.3
"""What is left sharp reaches so far around the hand."""
HEAD_M, HEAD_HEIGHTS_M = 0.22, (0.9, 1.2, 1.5, 1.8)
"""A head lies somewhere above where somebody stands, from a child's or a stooping one's to a tall one's."""
SHARPEST_SHARE = 0.16  # of the picture's width, at most, is the radius of what is left sharp
LEAST_RADIUS_PX = 8.0  # of the surroundings of the hand in a camera's own picture: what is smaller shows nothing
NEAR_S = 0.4
BLURRED_WIDTH_PX = 20
JPEG_QUALITY = 80
PATIENCE_S = 2.0
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Whereabouts:
    """Where everybody and their hands were at one instant."""

    timestamp_ns: int
    identity_id: tuple[int, ...]
    position_m: FloatArray
    hands_m: FloatArray


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An interaction whose pictures are to be kept."""

    interaction: Interaction
    place: str
    sessions: tuple[UUID, ...]
    shown_to: UUID | None
    """The visit whose shopper sees the picture of the hand; None for nobody."""
    views: tuple[Camera, ...]
    """Calibrated cameras that see the hand, the nearest first."""
    drawn_camera_id: str | None
    """The camera in whose picture the bin is drawn, in a store whose cameras are not calibrated."""
    hand_m: FloatArray | None
    others_m: FloatArray
    with_clips: bool = False

    @property
    def start_ns(self) -> int:
        moment_ns, side = self.interaction.time_ns, round(LONGEST_SIDE_S * NANOSECONDS)
        return max(self.interaction.start_ns - round(BEFORE_S * NANOSECONDS), moment_ns - side)

    @property
    def end_ns(self) -> int:
        moment_ns, side = self.interaction.time_ns, round(LONGEST_SIDE_S * NANOSECONDS)
        return min(self.interaction.end_ns + round(AFTER_S * NANOSECONDS), moment_ns + side)


class ClipKeeper:
    """Looks on at a floor, and keeps what cameras saw around interactions. ``start`` it; ``close`` ends it.

    Args:
        evidence: Where it is kept.
        pictures: What cameras have shown in the last minute.
        everything: Whether clips are also made of what the store is sure of, while nothing else waits: for cameras
            whose pictures are there anyway, not for those whose pictures have to be drawn first.
    """

    def __init__(self, evidence: Evidence, pictures: RecentPictures, *, everything: bool = True) -> None:
        self._evidence, self._pictures, self._everything = evidence, pictures, everything
        self._whereabouts: deque[_Whereabouts] = deque(maxlen=round(REMEMBERS_S / STEP_S))
        self._coming: deque[_Wanted] = deque()
        self._sure: OrderedDict[UUID, _Wanted] = OrderedDict()
        self._doubtful: OrderedDict[UUID, None] = OrderedDict()
        self._queue: queue.Queue[_Wanted] = queue.Queue(MOST_WAITING)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clips", daemon=True)
        self.left_out = 0
        """Interactions of which nothing was kept, because too many waited."""

    def start(self) -> None:
        """Begin to keep."""
        self._thread.start()

    def close(self) -> None:
        """Stop; what still waits is left out."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(PATIENCE_S)

    # In the floor's thread

    def watched(self, tick: Tick, pipeline: StorePipeline, events: Sequence[StoreEvent]) -> None:
        """Look at one instant: nothing is done here but to remember it."""
        people = pipeline.people
        last_ns = self._whereabouts[-1].timestamp_ns if self._whereabouts else -NANOSECONDS
        if len(people) and tick.timestamp_ns - last_ns >= STEP_S * NANOSECONDS:
            ids = tuple(people.identity_id.tolist())
            self._whereabouts.append(_Whereabouts(tick.timestamp_ns, ids, people.position_m, people.hands_m))
        for event in events:
            if isinstance(event, InteractionSeen):
                self._coming.append(self._wanted(event, pipeline.layout))
            elif isinstance(event, VisitClosed) and event.outcome.flags:
                self._look_back(event.outcome.session.session_id)
        # They come in the order in which they were judged, not quite in that in which they are over.
        for wanted in [wanted for wanted in self._coming if wanted.end_ns <= tick.timestamp_ns]:
            self._coming.remove(wanted)
            self._put(wanted)
        oldest_ns = tick.timestamp_ns - round(REMEMBERS_S * NANOSECONDS)
        while self._sure and next(iter(self._sure.values())).interaction.time_ns < oldest_ns:
            self._sure.popitem(last=False)

    def _wanted(self, seen: InteractionSeen, layout: StoreLayout) -> _Wanted:
        interaction = seen.interaction
        place = layout.bin(interaction.bin_id)
        shares: dict[UUID, float] = {}
        for session, candidate in zip(seen.sessions, interaction.candidates, strict=False):
            if session is not None:
                shares[session.session_id] = shares.get(session.session_id, 0.0) + candidate.probability
        sessions = tuple(session_id for session_id, share in shares.items() if share >= LEAST_SHARE)
        doubtful = not seen.sure or any(session_id in self._doubtful for session_id in sessions)
        if not seen.sure:
            for session_id in sessions:
                self._doubtful[session_id] = None
            while len(self._doubtful) > 10 * MOST_WAITING:
                self._doubtful.popitem(last=False)
        best = interaction.candidates[0] if interaction.candidates else None
        actor = None if best is None or not seen.sessions else seen.sessions[0]
        hand_m, others_m = self._hand(interaction, place)
        views = () if hand_m is None else _views(layout.cameras, hand_m)
        return _Wanted(
            interaction,
            place_name(place, plate_numbers(interaction.plate_ids)),
            sessions,
            # Only whose hand it more probably is than not: nobody gets to see another one's.
            None if actor is None or shares[actor.session_id] <= 0.5 else actor.session_id,
            views,
            place.camera_id if place.box is None else None,
            hand_m,
            others_m,
            with_clips=doubtful,
        )

    def _hand(self, interaction: Interaction, place: Bin) -> tuple[FloatArray | None, FloatArray]:
        """Where the hand was, and where others stood; the bin's middle where no hand was seen."""
        middle_m = None if place.box is None else place.box.corners_m.mean(axis=0)
        near = [
            each for each in self._whereabouts if abs(each.timestamp_ns - interaction.time_ns) <= NEAR_S * NANOSECONDS
        ]
        actor = interaction.candidates[0].identity_id if interaction.candidates else None
        others, hands = [np.zeros((0, 2))], [np.zeros((0, 3))]
        for each in near:
            own = np.array([identity_id == actor for identity_id in each.identity_id])
            others.append(each.position_m[~own])
            hands.append(each.hands_m[own].reshape(-1, 3))
        others_m, hands_m = np.concatenate(others), np.concatenate(hands)
        others_m = others_m[np.isfinite(others_m).all(axis=1)]
        hands_m = hands_m[np.isfinite(hands_m).all(axis=1)]
        if middle_m is None or not len(hands_m):
            return middle_m, others_m
        return hands_m[np.linalg.norm(hands_m - middle_m, axis=1).argmin()], others_m

    def _look_back(self, session_id: UUID) -> None:
        """A visit needs a look after all: what seemed sure of it is kept as well, as far as it is remembered."""
        for interaction_id, wanted in [*self._sure.items()]:
            if session_id in wanted.sessions:
                del self._sure[interaction_id]
                self._put(replace(wanted, with_clips=True, shown_to=None))

    def _put(self, wanted: _Wanted) -> None:
        if not wanted.with_clips and self._everything and self._queue.empty():
            wanted = replace(wanted, with_clips=True)
        if not wanted.with_clips:
            self._sure[wanted.interaction.interaction_id] = wanted
            if wanted.shown_to is None:
                return
        try:
            self._queue.put_nowait(wanted)
        except queue.Full:
            self.left_out += 1
            _log.warning("there is no time for the clips of an interaction; %d were left out so far", self.left_out)

    # In its own thread

    def _run(self) -> None:
        give_way()
        while not self._closed.is_set():
            try:
                wanted = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                self._keep(wanted)
            except Exception:
                _log.exception("the clips of an interaction could not be kept")

    def _keep(self, wanted: _Wanted) -> None:
        known = set(self._pictures.camera_ids)
        if wanted.shown_to is not None and wanted.hand_m is not None:
            self._keep_hand(wanted, wanted.shown_to, [view for view in wanted.views if view.camera_id in known])
        if not wanted.with_clips or not wanted.sessions:
            return
        drawn = wanted.drawn_camera_id
        named = [view.camera_id for view in wanted.views] if drawn is None else [*known] if drawn == "*" else [drawn]
        for camera_id in [name for name in named if name in known][:MOST_CAMERAS]:
            if self._closed.is_set():
                return
            taken = self._pictures.between(camera_id, wanted.start_ns, wanted.end_ns, CLIP_FPS)
            clip = encoded_clip(taken)
            if clip is None:
                continue
            facts = _facts(wanted, camera_id, taken[0].timestamp_ns, taken[-1].timestamp_ns)
            self._add(wanted.sessions, wanted.interaction.interaction_id, EvidenceKind.CLIP, facts, clip, "video/mp4")

    def _keep_hand(self, wanted: _Wanted, session_id: UUID, views: Iterable[Camera]) -> None:
        time_ns, hand_m = wanted.interaction.time_ns, wanted.hand_m
        assert hand_m is not None
        margin_ns = round(NEAR_S * NANOSECONDS)
        for view in views:
            if not is_alone(view, hand_m, wanted.others_m):
                continue
            taken = self._pictures.between(view.camera_id, time_ns - margin_ns, time_ns + margin_ns, CLIP_FPS)
            if not taken:
                continue
            best = min(taken, key=lambda each: abs(each.timestamp_ns - time_ns))
            picture = hand_picture(best.image, view, hand_m)
            facts = _facts(wanted, view.camera_id, best.timestamp_ns, best.timestamp_ns)
            self._add((session_id,), wanted.interaction.interaction_id, EvidenceKind.HAND, facts, picture, "image/jpeg")
            return

    def _add(
        self,
        sessions: Sequence[UUID],
        interaction_id: UUID,
        kind: EvidenceKind,
        facts: InteractionFacts,
        media: bytes,
        media_type: str,
    ) -> None:
        for session_id in sessions:
            try:
                self._evidence.add(session_id, interaction_id, kind, facts, media, media_type)
            except ValueError as error:
                _log.warning("a %s of visit %s was not kept: %s", kind, session_id, error)


def encoded_clip(
    taken: Sequence[Taken], widths_px: Sequence[int] = CLIP_WIDTHS_PX, most_bytes: int = LARGEST_MEDIA
) -> bytes | None:
    """Pictures as an MP4 file.

    Args:
        taken: In time order, of one size.
        widths_px: Widths to try, one after another, until the file is small enough; nothing is made wider.
        most_bytes: What is small enough.

    Returns:
        The file; None of fewer than two pictures, or if it is too large in every width.
    """
    if len(taken) < 2:
        return None
    for width_px in widths_px:
        with tempfile.TemporaryDirectory(prefix="tillfree-clip-") as folder:
            path = Path(folder) / "clip.mp4"
            with VideoWriter(path, CLIP_FPS) as writer:
                last_ns = -1
                for each in taken:
                    # Pictures closer than the file's clock can tell apart are one.
                    if each.timestamp_ns - last_ns > NANOSECONDS // 500:
                        writer.write(_as_wide(each.image, width_px), each.timestamp_ns)
                        last_ns = each.timestamp_ns
            clip = path.read_bytes()
        if len(clip) <= most_bytes:
            return clip
    return None


def hand_picture(image: ImageArray, camera: Camera, hand_m: FloatArray) -> bytes:
    """A camera's picture, blurred but for the surroundings of a hand, as JPEG.

    What is blurred is first shrunk to ``BLURRED_WIDTH_PX`` in width, so that nothing sharper can be got back from it.

    Args:
        image: Shape (h, w, 3), BGR.
        camera: The camera, for pictures of any size.
        hand_m: Where the hand is, shape (3,), world metres; the camera has to see it.
    """
    image = _as_wide(image, CLIP_WIDTHS_PX[0])
    height, width = image.shape[:2]
    camera = camera.resized((width, height))
    centre = camera.image_points(hand_m[None])[0]
    radius = min(_radius_px(camera, hand_m, HAND_M), SHARPEST_SHARE * width)
    small = cv2.resize(
        image,
        (BLURRED_WIDTH_PX, max(1, round(BLURRED_WIDTH_PX * height / width))),
        interpolation=cv2.INTER_AREA,
    )
    blurred = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:height, :width]
    far = np.hypot(columns - centre[0], rows - centre[1])
    # Soft inwards: beyond the radius nothing is sharp.
    sharp = np.clip((radius - far) / (0.25 * radius), 0, 1)[..., None]
    mixed = np.asarray(np.clip(image * sharp + blurred * (1 - sharp), 0, 255), np.uint8)
    _, file = cv2.imencode(".jpg", mixed, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return file.tobytes()


def is_alone(camera: Camera, hand_m: FloatArray, others_m: FloatArray) -> bool:
    """Whether nobody else's head can be where a picture of a hand is left sharp.

    Args:
        camera: Whose picture.
        hand_m: Where the hand is, shape (3,), metres.
        others_m: Where others stand, shape (n, 2), metres.
    """
    centre = camera.image_points(hand_m[None])[0]
    radius = min(_radius_px(camera, hand_m, HAND_M), SHARPEST_SHARE * camera.resolution_wh[0])
    for x, y in others_m:
        for height_m in HEAD_HEIGHTS_M:
            head_m = np.array([x, y, height_m])
            place = camera.image_points(head_m[None])[0]
            if np.isfinite(place).all() and np.hypot(*(place - centre)) < radius + _radius_px(camera, head_m, HEAD_M):
                return False
    return True


def _views(cameras: Iterable[Camera], hand_m: FloatArray) -> tuple[Camera, ...]:
    """Cameras in whose pictures a hand is, those that show it largest first."""
    found = []
    for camera in cameras:
        x, y = camera.image_points(hand_m[None])[0]
        width, height = camera.resolution_wh
        radius_px = _radius_px(camera, hand_m, HAND_M)
        if 0 <= x < width and 0 <= y < height and radius_px >= LEAST_RADIUS_PX:
            found.append((radius_px, camera))
    return tuple(camera for _, camera in sorted(found, key=lambda each: -each[0]))


def _radius_px(camera: Camera, point_m: FloatArray, radius_m: float) -> float:
    """How large a ball around a point is in a picture."""
    distance_m = float(np.linalg.norm(point_m - camera.position_m))
    return float(camera.intrinsics[0, 0]) * radius_m / max(distance_m, radius_m)


def _as_wide(image: ImageArray, width_px: int) -> ImageArray:
    height, width = image.shape[:2]
    if width <= width_px:
        return image
    size = (width_px, max(2, round(height * width_px / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _facts(wanted: _Wanted, camera_id: str, start_ns: int, end_ns: int) -> InteractionFacts:
    kind = "pick" if wanted.interaction.kind is Handling.PICK else "put_back"
    return InteractionFacts(
        kind,
        wanted.interaction.bin_id,
        wanted.place,
        moment(start_ns),
        moment(end_ns),
        (camera_id,),
        camera_id=camera_id,
    )
