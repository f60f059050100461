"""Where frames come from: video files on one clock, and live cameras that come and go."""

import logging
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from vision.ahead import ReadAhead
from vision.arrays import ImageArray
from vision.frames import Frame, SourceNotice, Tick

NANO = 1_000_000_000
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4")

# Refused before any picture is decoded: no camera of a shop makes more, and one BGR picture of this size is 192 MB.
MAX_SIDE_PX = 8192
MAX_PIXELS = 64_000_000
# One day's recording is long; a header that claims more than a month is wrong.
MAX_DURATION_S = 31 * 86_400.0
# Footage has no holes longer than this; a longer step in the time stamps is a fault of the clock that wrote them.
MAX_GAP_S = 60.0
# Cameras whose first pictures lie farther apart were not stamped by one clock.
MAX_START_SPREAD_S = 60.0

# Containers that hold video and cannot send the reader to other files or hosts (playlists can).
_FILE_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,h264,hevc,mjpeg,ivf,ogg,asf"
# Formats whose header states the true length, so that a shorter stream was cut off.
_STATES_LENGTH = ("mov", "matroska", "avi", "flv")
_LIVE_SCHEMES = ("rtsp", "rtsps", "http", "https", "tcp", "udp", "rtp")
_LIVE_PROTOCOLS = "rtp,rtsp,rtsps,srtp,tcp,udp,tls,http,https,httpproxy"

_logger = logging.getLogger(__name__)


class NoticeLog:
    """Collects what sources had to leave out or repair: one notice for each kind and stream, with a count.

    Safe to use from several threads, and of bounded size however often the same thing happens.

    >>> log = NoticeLog()
    >>> log.add("cam1", "corrupt-video", "a packet could not be decoded and was left out")
    >>> log.add("cam1", "corrupt-video", "a packet could not be decoded and was left out")
    >>> log.notices[0].message
    'a packet could not be decoded and was left out (2 times)'
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: dict[tuple[str, str], str] = {}
        self._count: Counter[tuple[str, str]] = Counter()

    def add(self, stream: str, code: str, message: str) -> None:
        """Say something once more; the first message of its kind and stream stands.

        Args:
            stream: The file, camera or gondola it concerns.
            code: Short stable word.
            message: What was expected, what came, and what was done about it.
        """
        with self._lock:
            key = (stream, code)
            if key not in self._first:
                self._first[key] = message
                _logger.info("%s: %s: %s", stream, code, message)
            self._count[key] += 1

    @property
    def notices(self) -> tuple[SourceNotice, ...]:
        """What was said so far, in the order it was first said."""
        with self._lock:
            return tuple(
                SourceNotice(
                    stream,
                    code,
                    message if self._count[stream, code] == 1 else f"{message} ({self._count[stream, code]} times)",
                )
                for (stream, code), message in self._first.items()
            )


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded picture of a video file.

    Attributes:
        pts_ns: Presentation time as the file states it, nanoseconds; None where it states none.
        image: Pixels, upright, shape (h, w, 3), uint8, BGR.
    """

    pts_ns: int | None
    image: ImageArray


class VideoReader:
    """Decodes the first video stream of one file, picture by picture.

    Damage inside the file costs pictures and gives notices (``corrupt-video``, ``truncated-video``,
    ``resolution-changed``), never an exception.

    Args:
        path: The file.
        notices: Where to say what was wrong; the stream is named by the file's name.

    Raises:
        OSError: The file is missing or may not be read.
        ValueError: It is empty, is not a video, has no video stream, or its pictures are absurdly large.
    """

    def __init__(self, path: Path, notices: NoticeLog) -> None:
        self.path = path
        self._notices = notices
        self._container = _open_file(path)
        try:
            if not self._container.streams.video:
                raise ValueError(f"{path}: expected a video, got a file without a video stream")
            self._stream = self._container.streams.video[0]
            codec = self._stream.codec_context
            if codec is None:
                raise ValueError(f"{path}: the video is in a format that cannot be decoded here")
            check_resolution(str(path), (codec.width, codec.height))
            self._announced_wh = (codec.width, codec.height)
            self._last_ns: int | None = None
            self._bgr = BgrConverter()
            self._turns: int | None = None  # the first picture's, so that all have one size
            self._ahead: ReadAhead[Picture] | None = None
        except BaseException:
            self._container.close()
            raise

    @property
    def resolution_wh(self) -> tuple[int, int]:
        """Picture size as announced, pixels, before turning pictures upright."""
        return self._announced_wh

    @property
    def period_ns(self) -> int:
        """Nominal time from one picture to the next; 40 ms where the file does not say.

        Files with a variable frame rate may state the ticks of their clock instead, thousands a second.
        """
        for rate in (self._stream.average_rate, self._stream.guessed_rate):
            if rate and 0.1 <= rate <= 240:
                return round(NANO / rate)
        return NANO // 25

    @property
    def duration_s(self) -> float:
        """Length that the file states, seconds; nan if it states none or an absurd one."""
        stated = self._stated_duration_s()
        return stated if 0 < stated <= MAX_DURATION_S else math.nan

    def __iter__(self) -> Iterator[Picture]:
        """Decode from the beginning to where the file ends or cannot be read on, a little ahead. Call it once."""
        self._ahead = ReadAhead(self._read())
        return self._ahead

    def _read(self) -> Iterator[Picture]:
        name = self.path.name
        last_s, first_s, given, cut_off = math.nan, math.nan, 0, False
        for frame in self._frames():
            picture = self._picture(frame)
            if picture is None:
                continue
            given += 1
            if picture.pts_ns is not None:
                last_s = picture.pts_ns / NANO
                first_s = last_s if math.isnan(first_s) else first_s
            yield picture
        stated_s, period_s = self._stated_duration_s(), self.period_ns / NANO
        # Stream durations are exact, container durations cover the sound too and are rounded.
        slack_s = 1.5 * period_s + (0.05 if self._stream.duration else 1.0)
        if any(self._container.format.name.startswith(known) for known in _STATES_LENGTH):
            cut_off = last_s - min(first_s, 0.0) + period_s < stated_s - slack_s and given < (
                self._stream.frames or 2**62
            )
        if given and cut_off and stated_s <= MAX_DURATION_S:
            self._notices.add(
                name, "truncated-video", f"expected {stated_s:.1f} s of video, it ends after {last_s + period_s:.1f} s"
            )
        elif given and stated_s > MAX_DURATION_S:
            self._notices.add(
                name, "absurd-duration", f"the file claims {stated_s:.0f} s of video, which was not believed"
            )

    def close(self) -> None:
        """Let go of the file."""
        if self._ahead is not None:
            self._ahead.close()
        self._container.close()

    def _stated_duration_s(self) -> float:
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return self._container.duration / 1e6 if self._container.duration else math.nan

    def _pts_ns(self, frame: VideoFrame) -> int | None:
        stamp = frame.pts
        if self._container.format.name == "avi":
            # AVI has decoding times only: pictures that were reordered carry each other's. The decoder's own clock
            # rises; the last pictures, which come when the file has ended, have none.
            stamp = frame.dts
            if stamp is None and self._last_ns is not None:
                return self._last_ns + self.period_ns
        return round(stamp * NANO * frame.time_base) if stamp is not None and frame.time_base else None

    def _frames(self) -> Iterator[VideoFrame]:
        name = self.path.name
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from (frame for frame in packet.decode() if isinstance(frame, VideoFrame))
                except av.error.EOFError:
                    break
                except (av.error.FFmpegError, ValueError, MemoryError):
                    self._notices.add(name, "corrupt-video", "a packet could not be decoded and was left out")
        except (av.error.FFmpegError, ValueError) as error:
            self._notices.add(name, "truncated-video", f"the file cannot be read on from here: {_reason(error)}")

    def _picture(self, frame: VideoFrame) -> Picture | None:
        name = self.path.name
        try:
            check_resolution(name, (frame.width, frame.height))
            if self._turns is None:
                self._turns = round(frame.rotation / 90) % 4
            turns = self._turns
            if (frame.width, frame.height) != self._announced_wh:
                self._notices.add(
                    name,
                    "resolution-changed",
                    f"expected pictures of {_by(self._announced_wh)}, got {frame.width}x{frame.height}, resized",
                )
            image = self._bgr.picture(frame, self._announced_wh)
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            self._notices.add(
                name, "corrupt-video", f"a picture could not be converted and was left out: {_reason(error)}"
            )
            return None
        if frame.is_corrupt:
            self._notices.add(name, "corrupt-video", "a picture is damaged and was used as it is")
        self._last_ns = pts_ns = self._pts_ns(frame)
        return Picture(pts_ns, np.ascontiguousarray(np.rot90(image, turns)) if turns else image)


class PictureReader(Protocol):
    """Decodes one file: a ``VideoReader``, or whatever stands in for it."""

    @property
    def resolution_wh(self) -> tuple[int, int]:
        """Picture size as announced, pixels, before turning pictures upright."""
        ...

    @property
    def period_ns(self) -> int:
        """Nominal time from one picture to the next."""
        ...

    @property
    def duration_s(self) -> float:
        """Length that the file states, seconds; nan if it states none or an absurd one."""
        ...

    def __iter__(self) -> Iterator[Picture]:
        """Decode from the beginning to where the file ends or cannot be read on. Call it once."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


FileOpener = Callable[[Path, NoticeLog], PictureReader]
"""Opens one video file; raises as ``VideoReader`` does."""


class BgrConverter:
    """Turns the decoded frames of one stream into pictures.

    Setting up a conversion takes longer than converting a small picture, so it is kept for the stream.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def picture(self, frame: VideoFrame, size_wh: tuple[int, int] | None = None) -> ImageArray:
        """Give a frame's pixels, shape (h, w, 3), BGR, in another size if one is given.

        Raises:
            ValueError: It is in a format that cannot be converted.
            av.error.FFmpegError: FFmpeg cannot convert it.
        """
        width, height = size_wh or (frame.width, frame.height)
        # One thread: on pictures of this size handing work over costs more than it saves.
        converted = self._reformatter.reformat(frame, width=width, height=height, format="bgr24", threads=1)
        return np.asarray(converted.to_ndarray(), np.uint8)


def check_resolution(stream: str, resolution_wh: tuple[int, int]) -> None:
    """Raise ``ValueError`` unless pictures of this width and height, pixels, can be worked with.

    >>> check_resolution("cam1", (99999, 99999))
    Traceback (most recent call last):
    ...
    ValueError: cam1: expected pictures of at most 8192 pixels a side and 64 megapixels, got 99999x99999
    """
    width, height = resolution_wh
    if width <= 0 or height <= 0:
        raise ValueError(f"{stream}: expected a video, got one without a picture size")
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        raise ValueError(
            f"{stream}: expected pictures of at most {MAX_SIDE_PX} pixels a side and {MAX_PIXELS // 10**6} megapixels, "
            f"got {width}x{height}"
        )


class VideoFilesSource:
    """Recorded video of one or several cameras on one clock, decoded as it is read.

    A camera is named after its file's stem. Frames of several cameras within half a frame period share a tick. The
    earliest picture is at ``start_ns``; the offsets between the files' own time stamps are kept, unless the stamps
    start so far apart that no common clock can have written them.

    Args:
        paths: The files.
        start_ns: Store clock of the earliest picture.
        opener: Opens one file; ``vision.child_source.ChildReader`` for files that somebody else sent.

    Raises:
        OSError: A file is missing or may not be read.
        ValueError: There is no file, two share a stem, or one is not a video that can be read.
    """

    def __init__(self, paths: Sequence[Path], start_ns: int = 0, opener: FileOpener = VideoReader) -> None:
        if not paths:
            raise ValueError("expected at least one video file, got none")
        stems = Counter(path.stem for path in paths)
        twice = [stem for stem, count in stems.items() if count > 1]
        if twice:
            named = " and ".join(str(path) for path in paths if path.stem == twice[0])
            raise ValueError(f"a camera is named after its file, but {named} are both {twice[0]}")
        self._notices = NoticeLog()
        self._cameras: list[_CameraFile] = []
        try:
            for path in paths:
                self._cameras.append(_CameraFile(path, self._notices, opener))
        except BaseException:
            self.close()
            raise
        starts_ns = [camera.first_ns for camera in self._cameras]
        apart = max(starts_ns) - min(starts_ns) > MAX_START_SPREAD_S * NANO
        if apart:
            spread_s = (max(starts_ns) - min(starts_ns)) / NANO
            self._notices.add(
                "video",
                "unsynchronised-video",
                f"time stamps start {spread_s:.0f} s apart, so each file starts at zero",
            )
        for camera in self._cameras:
            camera.shift_ns = start_ns - (camera.first_ns if apart else min(starts_ns))
        self._start_ns = start_ns
        ends_s = [camera.duration_s + (camera.first_ns + camera.shift_ns - start_ns) / NANO for camera in self._cameras]
        self._duration_s = max((end for end in ends_s if math.isfinite(end)), default=math.nan)
        self._ticks = self._read()

    @property
    def start_ns(self) -> int:
        """Store clock of the earliest picture."""
        return self._start_ns

    @property
    def duration_s(self) -> float:
        """Length as the files state it, seconds; nan if none does."""
        return self._duration_s

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """The files' stems, in the order given."""
        return tuple(camera.camera_id for camera in self._cameras)

    @property
    def resolutions_wh(self) -> dict[str, tuple[int, int]]:
        """Picture size of each camera, pixels, after turning the pictures upright."""
        return {camera.camera_id: camera.resolution_wh for camera in self._cameras}

    @property
    def has_gates(self) -> bool:
        """No gate speaks here."""
        return False

    @property
    def notices(self) -> tuple[SourceNotice, ...]:
        """What had to be left out or repaired so far."""
        return self._notices.notices

    def __iter__(self) -> Iterator[Tick]:
        """Read from where the files stand to the end of the longest."""
        return self._ticks

    def close(self) -> None:
        """Let go of the files. Reading to the end does it too."""
        for camera in self._cameras:
            camera.close()

    def _read(self) -> Iterator[Tick]:
        half_period_ns = min(camera.period_ns for camera in self._cameras) // 2
        now_ns = self._start_ns
        try:
            while True:
                waiting = [camera for camera in self._cameras if camera.waiting is not None]
                if not waiting:
                    return
                earliest_ns = min(camera.waiting_ns for camera in waiting)
                frames = tuple(camera.take() for camera in waiting if camera.waiting_ns <= earliest_ns + half_period_ns)
                now_ns = max(now_ns, *(frame.timestamp_ns for frame in frames))
                yield Tick(now_ns, frames)
        finally:
            self.close()


class _CameraFile:
    """One file of a ``VideoFilesSource``, with its next picture already decoded and timed."""

    def __init__(self, path: Path, notices: NoticeLog, opener: FileOpener) -> None:
        self.camera_id = path.stem
        self.shift_ns = 0
        self._name = path.name
        self._notices = notices
        self._reader = opener(path, notices)
        self._pictures = iter(self._reader)
        self._timeline = Timeline(self._reader.period_ns)
        self._frame_idx = 0
        self.period_ns = self._reader.period_ns
        self.duration_s = self._reader.duration_s
        self.waiting: Picture | None = None
        self.first_ns = 0
        self._advance()
        if self.waiting is None:
            self.close()
            raise ValueError(f"{path}: expected a video, but no picture in it can be decoded")
        self.first_ns = self._waiting_ns
        self.resolution_wh: tuple[int, int] = (self.waiting.image.shape[1], self.waiting.image.shape[0])

    @property
    def waiting_ns(self) -> int:
        return self._waiting_ns + self.shift_ns

    def take(self) -> Frame:
        assert self.waiting is not None
        frame = Frame(self.camera_id, self._frame_idx, self.waiting_ns, self.waiting.image)
        self._frame_idx += 1
        self._advance()
        return frame

    def close(self) -> None:
        self._reader.close()

    def _advance(self) -> None:
        self.waiting = next(self._pictures, None)
        if self.waiting is None:
            return
        self._waiting_ns, fault = self._timeline.place(self.waiting.pts_ns)
        if fault:
            self._notices.add(
                self._name, "retimed-video", f"{fault}, so pictures were timed one frame period apart there"
            )


class Timeline:
    """Makes presentation times rise, whatever a file says.

    A missing time, one that does not rise, and a leap of more than a minute are each replaced by one period after the
    picture before, and what follows is shifted by as much.

    >>> timeline = Timeline(period_ns=100)
    >>> [timeline.place(pts)[0] for pts in (0, 100, 90, 190)]
    [0, 100, 200, 300]

    Args:
        period_ns: Nominal time from one picture to the next.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._last_ns: int | None = None
        self._shift_ns = 0

    def place(self, pts_ns: int | None) -> tuple[int, str]:
        """Give the time of the next picture, nanoseconds, and what was wrong with the stated one (empty if nothing)."""
        if self._last_ns is None:
            # A month is more than any recording, and a stamp this far from zero comes from a damaged file.
            absurd = pts_ns is None or abs(pts_ns) > 2**62
            self._last_ns = 0 if pts_ns is None or absurd else pts_ns
            return self._last_ns, "the first time stamp is missing" if absurd else ""
        due_ns = self._last_ns + self._period_ns
        placed_ns, fault = due_ns, ""
        if pts_ns is None:
            fault = "a time stamp is missing"
        else:
            placed_ns = pts_ns + self._shift_ns
            step_ns = placed_ns - self._last_ns
            if step_ns <= 0:
                fault = f"time stamps run backwards by {-step_ns / NANO:.3f} s"
            elif step_ns > MAX_GAP_S * NANO:
                fault = f"time stamps leap by {step_ns / NANO:.0f} s"
            if fault:
                self._shift_ns += due_ns - placed_ns
                placed_ns = due_ns
        self._last_ns = placed_ns
        return placed_ns, fault


def _open_file(path: Path) -> InputContainer:
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected a video file, there is no such file")
    if not path.is_file():
        raise ValueError(f"{path}: expected a video file, got something that is not a regular file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: expected a video, got an empty file")
    options = {"format_whitelist": _FILE_FORMATS, "protocol_whitelist": "file"}
    try:
        # The prefix keeps a file name such as "concat:x" from being taken for a protocol.
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except PermissionError as error:
        raise PermissionError(f"{path}: may not be read") from error
    except (av.error.FFmpegError, ValueError) as error:
        raise ValueError(
            f"{path}: expected a video file, got one that cannot be read as such: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__


def _by(resolution_wh: tuple[int, int]) -> str:
    return f"{resolution_wh[0]}x{resolution_wh[1]}"


@dataclass(frozen=True, slots=True)
class CameraAddress:
    """Where a live camera is.

    Attributes:
        camera_id: What to call it.
        url: ``rtsp://…``, ``http://…`` and their like, or a webcam as ``/dev/video0``.
    """

    camera_id: str
    url: str

    def __post_init__(self) -> None:
        if not self.camera_id:
            raise ValueError("CameraAddress.camera_id: expected a name, got an empty one")
        if not self.is_webcam and urlsplit(self.url).scheme not in _LIVE_SCHEMES:
            schemes = ", ".join(_LIVE_SCHEMES)
            raise ValueError(
                f"camera {self.camera_id}: expected /dev/videoN or a URL with one of {schemes}, got {self.shown}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NAME=URL``, or a URL alone, which is named after its host and path.

        >>> CameraAddress.parse("door=rtsp://10.0.0.7/live").camera_id
        'door'
        >>> CameraAddress.parse("rtsp://user:secret@10.0.0.7:554/live").camera_id
        '10.0.0.7-live'
        >>> CameraAddress.parse("/dev/video2").camera_id
        'video2'

        Raises:
            ValueError: It is neither a webcam nor a URL of a kind that is supported.
        """
        name, equals, url = text.partition("=")
        if equals and re.fullmatch(r"[\w.-]+", name):
            return cls(name, url)
        if text.startswith("/dev/"):
            return cls(Path(text).name, text)
        parts = urlsplit(text)
        return cls(re.sub(r"[^\w.]+", "-", f"{parts.hostname or ''}{parts.path}").strip("-") or "camera", text)

    @property
    def is_webcam(self) -> bool:
        """Whether this is a local Video4Linux device."""
        return re.fullmatch(r"/dev/video\d+", self.url) is not None

    @property
    def shown(self) -> str:
        """The address without user name and password, for messages."""
        return re.sub(r"//[^/@]*@", "//", self.url)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How a ``StreamSource`` waits, gives up and tries again. All times in seconds.

    Attributes:
        tick_s: Time from one tick to the next.
        open_timeout_s: Longest wait for a camera to answer.
        stall_s: Longest wait for the next picture before the camera counts as lost.
        first_delay_s: Wait before the first new attempt; it doubles from attempt to attempt.
        max_delay_s: Longest wait between two attempts.
        max_hung_threads: How many decoders a camera may leave hanging before no new one is started for it.
    """

    tick_s: float = 0.1
    open_timeout_s: float = 10.0
    stall_s: float = 5.0
    first_delay_s: float = 0.5
    max_delay_s: float = 30.0
    max_hung_threads: int = 4

    def __post_init__(self) -> None:
        for name in ("tick_s", "open_timeout_s", "stall_s", "first_delay_s", "max_delay_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"StreamSettings.{name}: expected a positive time, got {getattr(self, name)}")
        if self.max_delay_s < self.first_delay_s:
            raise ValueError("StreamSettings: expected first_delay_s <= max_delay_s")
        if self.max_hung_threads < 1:
            raise ValueError(f"StreamSettings.max_hung_threads: expected at least 1, got {self.max_hung_threads}")

    def delay_s(self, failures: int) -> float:
        """Wait after this many failed attempts in a row: exponential, bounded.

        >>> [StreamSettings(first_delay_s=0.5, max_delay_s=3.0).delay_s(n) for n in (1, 2, 3, 4, 1000)]
        [0.5, 1.0, 2.0, 3.0, 3.0]
        """
        doublings = min(max(failures - 1, 0), 60)
        return float(min(self.first_delay_s * 2.0**doublings, self.max_delay_s))


class PictureStream(Protocol):
    """An open live camera: iterating it blocks until the next picture, and ends when the camera does."""

    def __iter__(self) -> Iterator[ImageArray]:
        """Give pictures, (h, w, 3) uint8 BGR, as they come; ``OSError`` or ``ValueError`` when the stream breaks."""
        ...

    def close(self) -> None:
        """Let go of the camera."""
        ...


Opener = Callable[[CameraAddress, StreamSettings], PictureStream]


class _LiveVideo:
    """An open RTSP stream or webcam, through PyAV."""

    def __init__(self, container: InputContainer, stream: VideoStream, shown: str) -> None:
        self._container, self._stream, self._shown = container, stream, shown
        self._bgr = BgrConverter()

    def __iter__(self) -> Iterator[ImageArray]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, ValueError) as error:
                raise OSError(f"{self._shown}: the stream broke: {_reason(error)}") from error
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, ValueError):
                continue  # a damaged packet; the next key frame mends the picture
            for frame in frames:
                if isinstance(frame, VideoFrame):
                    check_resolution(self._shown, (frame.width, frame.height))
                    yield self._bgr.picture(frame)

    def close(self) -> None:
        self._container.close()


def open_stream(address: CameraAddress, settings: StreamSettings) -> PictureStream:
    """Open an RTSP or HTTP stream, or a webcam.

    Args:
        address: The camera.
        settings: Gives the time-outs.

    Raises:
        OSError: It does not answer, or is not a video stream.
        ValueError: Its pictures are absurdly large.
    """
    options = {"fflags": "nobuffer"}
    if address.is_webcam:
        format_name: str | None = "video4linux2"
    else:
        format_name = None
        options["protocol_whitelist"] = _LIVE_PROTOCOLS
        if urlsplit(address.url).scheme in ("rtsp", "rtsps"):
            options["rtsp_transport"] = "tcp"  # lost UDP packets smear the picture
    try:
        container = av.open(
            address.url,
            format=format_name,
            options=options,
            metadata_errors="replace",
            timeout=(settings.open_timeout_s, settings.stall_s),
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise OSError(f"{address.shown}: cannot be opened: {_reason(error)}") from error
    try:
        if not container.streams.video:
            raise OSError(f"{address.shown}: expected video, got a stream without it")
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"  # frame threads would hold back several pictures
        codec = stream.codec_context
        if codec is None:
            raise OSError(f"{address.shown}: the video is in a format that cannot be decoded here")
        if codec.width or codec.height:
            check_resolution(address.shown, (codec.width, codec.height))
    except BaseException:
        container.close()
        raise
    return _LiveVideo(container, stream, address.shown)


class StreamSource:
    """Live cameras: RTSP, HTTP and webcams, each decoded in its own daemon thread.

    Every ``tick_s`` there is a tick with the newest picture of each camera that gave one since the last tick. A slow
    reader loses pictures, never memory: one picture a camera is kept. A camera that is missing gives ticks without its
    frame and a notice, and is tried again with growing pauses for as long as the source is open. The watchdog is in
    the reading thread, because a decoder can hang, or end without an error, when a server dies.

    Frames are stamped with the store clock when they have been decoded.

    >>> source = StreamSource([CameraAddress("door", "rtsp://10.0.0.7/live")])
    >>> source.camera_ids
    ('door',)

    Args:
        addresses: The cameras.
        settings: Times and bounds.
        opener: Opens one camera; tests pass their own.
        clock_ns: The store clock, nanoseconds.
        monotonic_s: A clock that is never set, for the watchdog, seconds.

    Raises:
        ValueError: There is no camera, or two have the same name.
    """

    def __init__(
        self,
        addresses: Sequence[CameraAddress],
        settings: StreamSettings | None = None,
        opener: Opener = open_stream,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if not addresses:
            raise ValueError("expected at least one camera address, got none")
        twice = [name for name, count in Counter(a.camera_id for a in addresses).items() if count > 1]
        if twice:
            raise ValueError(f"camera {twice[0]} is listed twice")
        self._settings = settings or StreamSettings()
        self._clock_ns, self._monotonic_s = clock_ns, monotonic_s
        self._stopped = threading.Event()
        self._notices = NoticeLog()
        self._cameras = [
            _LiveCamera(address, self._settings, opener, clock_ns, monotonic_s, self._notices, self._stopped)
            for address in addresses
        ]
        self._start_ns = clock_ns()

    def __enter__(self) -> Self:
        """Start connecting."""
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the cameras."""
        self.close()

    @property
    def start_ns(self) -> int:
        """When the source was made, store clock."""
        return self._start_ns

    @property
    def duration_s(self) -> float:
        """A live source has no length: nan."""
        return math.nan

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """The cameras, whether they answer or not."""
        return tuple(camera.camera_id for camera in self._cameras)

    @property
    def resolutions_wh(self) -> dict[str, tuple[int, int]]:
        """Picture size of each camera that has given a picture so far, pixels."""
        sizes = {camera.camera_id: camera.resolution_wh for camera in self._cameras}
        return {camera_id: size for camera_id, size in sizes.items() if size is not None}

    @property
    def has_gates(self) -> bool:
        """No gate speaks here."""
        return False

    @property
    def notices(self) -> tuple[SourceNotice, ...]:
        """What went wrong so far; one entry for each camera and kind."""
        return self._notices.notices

    def open(self, wait_s: float = 0.0) -> None:
        """Start connecting, and wait until every camera has given a picture or the time is over.

        Args:
            wait_s: Longest wait, seconds.
        """
        for camera in self._cameras:
            camera.start()
        deadline_s = self._monotonic_s() + wait_s
        while len(self.resolutions_wh) < len(self._cameras) and self._monotonic_s() < deadline_s:
            if self._stopped.wait(0.02):
                return
            self._watch()

    def close(self) -> None:
        """Let go of the cameras; a reader that is in the middle of iterating gets no more ticks."""
        self._stopped.set()
        for camera in self._cameras:
            camera.join(1.0)

    def __iter__(self) -> Iterator[Tick]:
        """Give ticks until the source is closed."""
        self.open()
        next_s = self._monotonic_s()
        now_ns = self._start_ns
        while not self._stopped.is_set():
            self._watch()
            frames = tuple(frame for camera in self._cameras if (frame := camera.take()) is not None)
            # Should the store clock be set back, ticks stand still until it has caught up.
            now_ns = max(now_ns, self._clock_ns())
            yield Tick(now_ns, frames)
            next_s = max(next_s + self._settings.tick_s, self._monotonic_s())
            if self._stopped.wait(max(0.0, next_s - self._monotonic_s())):
                return

    def _watch(self) -> None:
        for camera in self._cameras:
            camera.watch()


class _LiveCamera:
    """One camera of a ``StreamSource``: a slot for its newest picture, and the threads that fill it.

    Of several threads (all but one of them hung), only the one of the current generation may write.
    """

    def __init__(
        self,
        address: CameraAddress,
        settings: StreamSettings,
        opener: Opener,
        clock_ns: Callable[[], int],
        monotonic_s: Callable[[], float],
        notices: NoticeLog,
        stopped: threading.Event,
    ) -> None:
        self.camera_id = address.camera_id
        self.resolution_wh: tuple[int, int] | None = None
        self._address, self._settings, self._opener = address, settings, opener
        self._clock_ns, self._monotonic_s = clock_ns, monotonic_s
        self._notices, self._stopped = notices, stopped
        self._lock = threading.Lock()
        self._newest: Frame | None = None
        self._last_ns = 0
        self._frame_idx = 0
        self._generation = 0
        self._failures = 0
        self._due_s = math.inf  # when the watchdog loses patience; inf while the thread sleeps on purpose
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        if not self._threads:
            self._start_thread()

    def join(self, timeout_s: float) -> None:
        if self._threads:
            self._threads[-1].join(timeout_s)

    def take(self) -> Frame | None:
        with self._lock:
            frame, self._newest = self._newest, None
            return frame

    def watch(self) -> None:
        """Replace the thread if it has been silent for too long."""
        with self._lock:
            silent = self._monotonic_s() > self._due_s
        if not silent:
            return
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) > self._settings.max_hung_threads:
            self._notices.add(
                self.camera_id,
                "camera-hung",
                f"{len(self._threads)} decoders hang, so no further one is started for now",
            )
            with self._lock:
                self._due_s = self._monotonic_s() + self._settings.max_delay_s
            return
        self._notices.add(
            self.camera_id,
            "camera-stalled",
            f"expected a picture within {self._settings.stall_s:g} s, none came; connecting anew",
        )
        self._start_thread()

    def _start_thread(self) -> None:
        with self._lock:
            self._generation += 1
            generation = self._generation
            self._due_s = self._monotonic_s() + self._settings.open_timeout_s + self._settings.stall_s
        thread = threading.Thread(target=self._run, args=(generation,), name=f"camera-{self.camera_id}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, generation: int) -> None:
        while not self._stopped.is_set():
            with self._lock:
                if generation != self._generation:
                    return
                self._due_s = self._monotonic_s() + self._settings.open_timeout_s + self._settings.stall_s
            try:
                stream = self._opener(self._address, self._settings)
                try:
                    for image in stream:
                        if self._stopped.is_set() or not self._put(image, generation):
                            return
                    ended = "the stream ended"
                finally:
                    stream.close()
            except Exception as error:  # whatever a decoder does, the store goes on without this camera
                ended = _reason(error)
            with self._lock:
                if generation != self._generation:
                    return
                self._failures += 1
                delay_s = self._settings.delay_s(self._failures)
                self._due_s = math.inf
            self._notices.add(self.camera_id, "camera-lost", f"{ended}; trying again")
            if self._stopped.wait(delay_s):
                return

    def _put(self, image: ImageArray, generation: int) -> bool:
        with self._lock:
            if generation != self._generation:
                return False
            size_wh = (image.shape[1], image.shape[0])
            self.resolution_wh = self.resolution_wh or size_wh
            if size_wh != self.resolution_wh:
                expected = f"expected pictures of {_by(self.resolution_wh)}, got {_by(size_wh)}, resized"
                self._notices.add(self.camera_id, "resolution-changed", expected)
                image = np.asarray(cv2.resize(image, self.resolution_wh, interpolation=cv2.INTER_AREA), np.uint8)
            # Should the store clock be set back, the camera's time still rises.
            self._last_ns = max(self._last_ns + 1, self._clock_ns())
            self._newest = Frame(self.camera_id, self._frame_idx, self._last_ns, image)
            self._frame_idx += 1
            self._failures = 0
            self._due_s = self._monotonic_s() + self._settings.stall_s
            return True


def video_files(folder: Path) -> tuple[Path, ...]:
    """The video files of a folder, known by their suffix, sorted by name so that cam2 comes before cam10."""
    return tuple(sorted(_with_suffix(folder.iterdir()), key=_natural))


def _with_suffix(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())


def _natural(path: Path) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name))
