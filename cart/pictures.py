"""What cameras have shown in the last minute, for live views and for clips."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from cart.pipeline import StoreEvent, StorePipeline
from store_sim.live_pictures import LivePictures
from vision.arrays import ImageArray
from vision.frames import Tick

_log = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
REMEMBERED_S = 30.0
REMEMBERED_FPS = 10.0
WIDEST_PX = 960
"""Remembered pictures are made so wide at most: a minute of four cameras must fit into memory."""
QUALITY = 80
MOST_BYTES = 256 * 1024 * 1024
WAITING = 64


@dataclass(frozen=True, slots=True)
class Small:
    """A picture made at most ``WIDEST_PX`` wide: as JPEG, and its size in pixels."""

    jpeg: bytes
    resolution_wh: tuple[int, int]


class Taken:
    """A picture that a camera took. Safe to ask from any thread.

    Attributes:
        camera_id: The camera.
        timestamp_ns: When, on the store's clock.
        image: Shape (h, w, 3), 8 bits, blue-green-red.
    """

    def __init__(self, camera_id: str, timestamp_ns: int, image: ImageArray) -> None:
        self.camera_id, self.timestamp_ns, self.image = camera_id, timestamp_ns, image
        self._lock = threading.Lock()
        self._small: Small | None = None

    def small(self) -> Small:
        """The picture made small and coded: once, however many ask.

        Raises:
            ValueError: It cannot be coded.
        """
        with self._lock:
            if self._small is None:
                image = made_narrow(self.image, WIDEST_PX)
                self._small = Small(jpeg_of(image), (image.shape[1], image.shape[0]))
            return self._small


class RecentPictures(Protocol):
    """Pictures of the recent past. Safe to ask from any thread."""

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """Cameras that have pictures, in order."""
        ...

    def latest(self, camera_id: str) -> Taken | None:
        """The newest picture of a camera; None if there is none. May take some tens of milliseconds."""
        ...

    def between(self, camera_id: str, start_ns: int, end_ns: int, fps: float) -> Sequence[Taken]:
        """Pictures of a span of time, in order, at most so many a second; empty for what is forgotten.

        May take seconds where pictures are made when they are asked for.
        """
        ...


class RememberedPictures:
    """Remembers what real cameras gave (``RecentPictures``), as it looks on at the floor (``FloorWatcher``).

    The newest picture of each camera is kept as it came; those before are kept small and coded, by a thread of its own.

    Args:
        camera_ids: The cameras.
        remembered_s: For how long.
        fps: How many pictures a second of each camera.
        most_bytes: What all of them may take; the oldest are forgotten sooner if that is not enough.
    """

    def __init__(
        self,
        camera_ids: Sequence[str],
        remembered_s: float = REMEMBERED_S,
        fps: float = REMEMBERED_FPS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._camera_ids = tuple(camera_ids)
        self._remembered_ns = round(remembered_s * NANOSECONDS)
        self._least_gap_ns = round(NANOSECONDS / fps) - 1_000_000
        self._most_bytes = most_bytes // max(1, len(self._camera_ids))
        self._newest: dict[str, Taken] = {}
        self._taken_ns: dict[str, int] = {}
        self._kept: dict[str, deque[tuple[int, bytes]]] = {camera_id: deque() for camera_id in self._camera_ids}
        self._bytes = dict.fromkeys(self._camera_ids, 0)
        self._lock = threading.Lock()
        self._queue: queue.Queue[Taken | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._code, name="remembered pictures", daemon=True)
        self._thread.start()

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """The cameras."""
        return self._camera_ids

    def watched(self, tick: Tick, pipeline: StorePipeline, events: Sequence[StoreEvent]) -> None:
        """Take the pictures of one instant."""
        for frame in tick.frames:
            if frame.camera_id not in self._kept:
                continue
            taken = self._newest[frame.camera_id] = Taken(frame.camera_id, frame.timestamp_ns, frame.image)
            last_ns = self._taken_ns.get(frame.camera_id)
            if last_ns is not None and 0 <= frame.timestamp_ns - last_ns < self._least_gap_ns:
                continue
            self._taken_ns[frame.camera_id] = frame.timestamp_ns
            try:
                self._queue.put_nowait(taken)
            except queue.Full:
                continue  # the machine is busy: a clip with a gap is better than a floor that waits

    def latest(self, camera_id: str) -> Taken | None:
        """The newest picture of a camera as it came."""
        return self._newest.get(camera_id)

    def between(self, camera_id: str, start_ns: int, end_ns: int, fps: float) -> Sequence[Taken]:
        """Pictures of a span of time, made small."""
        with self._lock:
            kept = [each for each in self._kept.get(camera_id, ()) if start_ns <= each[0] <= end_ns]
        least_gap_ns = round(NANOSECONDS / fps) - 1_000_000
        chosen: list[Taken] = []
        for timestamp_ns, coded in kept:
            if chosen and timestamp_ns - chosen[-1].timestamp_ns < least_gap_ns:
                continue
            image = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
            if image is not None:
                chosen.append(Taken(camera_id, timestamp_ns, image.astype(np.uint8, copy=False)))
        return chosen

    def close(self) -> None:
        """End the thread that codes pictures."""
        try:
            self._queue.put(None, timeout=1.0)
        except queue.Full:
            return  # it is stuck, and ends with the process
        self._thread.join(2.0)

    def _code(self) -> None:
        while (taken := self._queue.get()) is not None:
            try:
                coded = taken.small().jpeg
            except (cv2.error, ValueError):
                _log.exception("a picture of camera %s could not be remembered", taken.camera_id)
                continue
            with self._lock:
                kept = self._kept[taken.camera_id]
                kept.append((taken.timestamp_ns, coded))
                self._bytes[taken.camera_id] += len(coded)
                while kept and (
                    kept[0][0] < taken.timestamp_ns - self._remembered_ns
                    or self._bytes[taken.camera_id] > self._most_bytes
                ):
                    self._bytes[taken.camera_id] -= len(kept.popleft()[1])


class RenderedPictures:
    """Pictures of the demo's store, drawn when they are asked for (``RecentPictures``).

    Args:
        pictures: Draws them.
        now_ns: The store clock.
        shift_ns: How much later the store's sensors say it is than the simulated world does.
    """

    def __init__(
        self, pictures: LivePictures, now_ns: Callable[[], int], shift_ns: Callable[[], int] = lambda: 0
    ) -> None:
        self._pictures, self._now_ns, self._shift_ns = pictures, now_ns, shift_ns
        self._newest: dict[str, Taken] = {}

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """Cameras of the demo's store."""
        return self._pictures.camera_ids

    def latest(self, camera_id: str) -> Taken | None:
        """What a camera sees now."""
        shift_ns = self._shift_ns()
        found = self._pictures.latest(camera_id, self._now_ns() - shift_ns)
        if found is None:
            return None
        known = self._newest.get(camera_id)
        if known is None or known.timestamp_ns != found[0] + shift_ns:
            # Whoever else asks for it is given the same, which is coded once.
            known = self._newest[camera_id] = Taken(camera_id, found[0] + shift_ns, found[1])
        return known

    def between(self, camera_id: str, start_ns: int, end_ns: int, fps: float) -> Sequence[Taken]:
        """What a camera saw in a span of time; takes some hundredths of a second for each picture."""
        shift_ns = self._shift_ns()
        found = self._pictures.between(camera_id, start_ns - shift_ns, end_ns - shift_ns, fps)
        return [Taken(camera_id, timestamp_ns + shift_ns, image) for timestamp_ns, image in found]


def made_narrow(image: ImageArray, widest_px: int) -> ImageArray:
    """A picture made at most so wide; as it is if it is not wider."""
    height, width = image.shape[:2]
    if width <= widest_px:
        return image
    size_wh = (widest_px, max(1, round(height * widest_px / width)))
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg_of(image: ImageArray, quality: int = QUALITY) -> bytes:
    """Code a picture.

    Raises:
        ValueError: It cannot be coded.
    """
    done, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of shape {image.shape} cannot be coded")
    return bytes(coded.tobytes())
