"""Pictures of a simulated store that is open, drawn when somebody asks: what nobody looks at costs nothing.

A store remembers how its people and goods stood in the last minute (``Moments``); that is little. Pictures of any of
those instants are drawn from it afterwards (``LivePictures``).
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from store_sim.bodies import pose
from store_sim.figures import Figures, Goods
from store_sim.render import Renderer
from vision.arrays import ImageArray
from vision.layout import StoreLayout

NANOSECONDS = 1_000_000_000
REMEMBERED_S = 60.0
MOST_FPS = 10.0
RESTS = 1.0
"""After a picture was drawn for a live view, none is drawn for so many times as long: the store needs the processor."""


@dataclass(frozen=True, slots=True)
class Moment:
    """People and goods at one instant of the store clock; its arrays are its own."""

    timestamp_ns: int
    figures: Figures
    goods: Goods


class Moments:
    """How people and goods stood in the last minute. One thread adds, any may ask."""

    def __init__(self, remembered_s: float = REMEMBERED_S) -> None:
        self._remembered_ns = round(remembered_s * NANOSECONDS)
        self._kept: deque[Moment] = deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, timestamp_ns: int, figures: Figures, goods: Goods) -> None:
        """Remember an instant, later than the last; goods may be a view, they are copied."""
        own = replace(
            goods,
            whereabouts=goods.whereabouts.copy(),
            position_m=goods.position_m.copy(),
            yaw_rad=goods.yaw_rad.copy(),
            holder=goods.holder.copy(),
            hand=goods.hand.copy(),
        )
        with self._lock:
            self._kept.append(Moment(timestamp_ns, figures, own))
            while self._kept[0].timestamp_ns < timestamp_ns - self._remembered_ns:
                self._kept.popleft()

    def latest(self, until_ns: int | None = None) -> Moment | None:
        """The newest instant that is not after some time; the oldest one if all are."""
        with self._lock:
            for kept in reversed(self._kept):
                if until_ns is None or kept.timestamp_ns <= until_ns:
                    return kept
            return self._kept[0] if self._kept else None

    def between(self, start_ns: int, end_ns: int, fps: float) -> list[Moment]:
        """Instants of a span, in order, at most so many a second."""
        with self._lock:
            inside = [kept for kept in self._kept if start_ns <= kept.timestamp_ns <= end_ns]
        least_gap_ns = round(NANOSECONDS / fps) - 1_000_000
        chosen: list[Moment] = []
        for kept in inside:
            if not chosen or kept.timestamp_ns - chosen[-1].timestamp_ns >= least_gap_ns:
                chosen.append(kept)
        return chosen


class LivePictures:
    """Draws what cameras of an open store see, or saw in the last minute. Safe to ask from any thread.

    Args:
        layout: The store; its calibrated cameras are those that may be asked for.
        moments: How people and goods stood.
        seed: Decides floor, wall and paint.
        most_fps: A camera's live picture is drawn at most so often; whoever asks more often gets the same one.
    """

    def __init__(self, layout: StoreLayout, moments: Moments, seed: int = 0, *, most_fps: float = MOST_FPS) -> None:
        self.camera_ids = tuple(camera.camera_id for camera in layout.cameras)
        self.resolutions_wh = {camera.camera_id: camera.resolution_wh for camera in layout.cameras}
        self._layout, self._moments, self._seed = layout, moments, seed
        self._least_gap_s = 1.0 / most_fps
        # What is drawn of the past does not make the live view's renderer forget what stands still.
        self._live_lock, self._past_lock = threading.Lock(), threading.Lock()
        self._live: Renderer | None = None
        self._past: Renderer | None = None
        self._newest: dict[str, tuple[int, ImageArray, float]] = {}
        self._rested_s = -np.inf

    def latest(self, camera_id: str, until_ns: int | None = None) -> tuple[int, ImageArray] | None:
        """What a camera sees now.

        Args:
            camera_id: One of ``camera_ids``.
            until_ns: Now, store clock: the world may be a moment ahead of it; None for the newest instant.

        Returns:
            When, store clock, and the picture; None if nothing has happened yet or there is no such camera.
        """
        if camera_id not in self.camera_ids:
            return None
        with self._live_lock:
            known, now_s = self._newest.get(camera_id), time.monotonic()
            if known is not None and (now_s - known[2] < self._least_gap_s or now_s < self._rested_s):
                return known[0], known[1]
            moment = self._moments.latest(until_ns)
            if moment is None:
                return None
            if known is not None and known[0] == moment.timestamp_ns:
                return known[0], known[1]
            if self._live is None:
                self._live = Renderer(self._layout, self.camera_ids, self._seed)
            began_s = time.monotonic()
            image = _drawn(self._live, camera_id, moment)
            ended_s = time.monotonic()
            # Not yet drawn cameras all get their first picture, which takes longest.
            self._rested_s = ended_s + (0.0 if known is None else RESTS * (ended_s - began_s))
            self._newest[camera_id] = (moment.timestamp_ns, image, began_s)
            return moment.timestamp_ns, image

    def between(self, camera_id: str, start_ns: int, end_ns: int, fps: float) -> list[tuple[int, ImageArray]]:
        """What a camera saw in a span of time, at most so many pictures a second; nothing of what is forgotten."""
        if camera_id not in self.camera_ids:
            return []
        with self._past_lock:
            if self._past is None:
                self._past = Renderer(self._layout, self.camera_ids, self._seed)
            moments = self._moments.between(start_ns, end_ns, fps)
            return [(moment.timestamp_ns, _drawn(self._past, camera_id, moment)) for moment in moments]


def _drawn(renderer: Renderer, camera_id: str, moment: Moment) -> ImageArray:
    return renderer.render(camera_id, moment.figures, pose(moment.figures), moment.goods).image
