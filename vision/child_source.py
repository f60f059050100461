"""Decodes video from outside in a process of its own, with limits: a bomb, a crash or a hang costs pictures, no more.

Decoders are large, written in C, and fed by whoever sent the file or sits behind the camera's address. So each of them
runs in a child process that may use so much memory and processor time and write no file, knows nothing of this
process's environment and open files, and is killed when it gives nothing for too long. What it sends is not trusted
either: it is a few fixed fields and pixels, whose size is checked before it is believed.

``ChildReader`` stands in for ``vision.sources.VideoReader``, ``open_child_stream`` for ``vision.sources.open_stream``.
"""

import contextlib
import json
import math
import os
import resource
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from vision.arrays import ImageArray
from vision.sources import (
    MAX_DURATION_S,
    MAX_PIXELS,
    CameraAddress,
    NoticeLog,
    Picture,
    PictureStream,
    StreamSettings,
    VideoReader,
    check_resolution,
    open_stream,
)

MEBIBYTE = 1 << 20
_LENGTH = struct.Struct("!i")  # as ``multiprocessing.connection`` writes it, which the child uses
_HEAD = struct.Struct("<?qII")
_OPENED, _PICTURE, _NOTICE, _FAILED, _ENDED = b"o", b"p", b"n", b"f", b"e"
_LONGEST_TEXT = 64 * 1024
_LONGEST_MESSAGE = max(1 + _HEAD.size + 3 * MAX_PIXELS, _LONGEST_TEXT)
_MOST_NOTICES = 1000
_LONGEST_REASON = 500
_FAREWELL_S = 2.0
_OPEN_FILES = 64
_LARGEST_TIME_NS = 2**62
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What a decoder may use.

    Attributes:
        memory_bytes: Address space beyond what it has when it begins; a picture of 64 megapixels needs 0.5 GiB.
        cpu_s: Processor time in all, seconds; a decoder of a live camera gets a new life when it is used up.
        open_s: Longest wait for it to start and open its source.
        stall_s: Longest wait for its next picture, while somebody waits for it.
    """

    memory_bytes: int = 1024 * MEBIBYTE
    cpu_s: float = 6 * 3600.0
    open_s: float = 30.0
    stall_s: float = 15.0

    def __post_init__(self) -> None:
        if self.memory_bytes < MEBIBYTE:
            raise ValueError(f"ChildLimits.memory_bytes: expected at least 1 MiB, got {self.memory_bytes}")
        for name in ("cpu_s", "open_s", "stall_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"ChildLimits.{name}: expected a positive time, got {getattr(self, name)}")


class _LostError(Exception):
    """The child is gone, or is not to be listened to any more; the message says why, ``code`` in a word."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class _Child:
    """A decoder's process, and what it says."""

    def __init__(self, task: dict[str, Any], limits: ChildLimits) -> None:
        self._limits = limits
        ours, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from vision.child_source import main; main()", str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs,),
                env=_environment(),
                cwd="/",
                start_new_session=True,  # Ctrl-C is for this process, which then ends the child
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._pipe = ours
        self._ready = select.poll()
        self._ready.register(ours, select.POLLIN)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died already, which is noticed in a moment
            self._process.stdin.write(json.dumps(task | {"limits": asdict(limits)}).encode() + b"\n")
            self._process.stdin.flush()

    def next(self, wait_s: float) -> tuple[bytes, memoryview]:
        """Wait for the next message: its kind and its content.

        Raises:
            _LostError: None came in time, not to its end, or none will come.
        """
        deadline_s = time.monotonic() + wait_s
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, deadline_s, wait_s))
        if not 1 <= length <= _LONGEST_MESSAGE:
            raise _LostError("decoder-died", "the decoder said something that makes no sense")
        message = self._read(length, deadline_s, wait_s)
        return bytes(message[:1]), memoryview(message)[1:]

    def _read(self, count: int, deadline_s: float, wait_s: float) -> bytearray:
        """So many bytes; a child that stops in the middle of a message must not keep anybody waiting."""
        content = bytearray()
        while len(content) < count:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not self._ready.poll(left_s * 1000):
                raise _LostError("decoder-hung", f"nothing came for {wait_s:g} s")
            try:
                some = os.read(self._pipe, min(count - len(content), MEBIBYTE))
            except OSError as error:
                raise _LostError("decoder-died", self._why_it_died()) from error
            if not some:
                raise _LostError("decoder-died", self._why_it_died())
            content += some
        return content

    def close(self) -> None:
        """End the process, wherever it is."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        if self._pipe >= 0:
            pipe, self._pipe = self._pipe, -1
            os.close(pipe)

    def _why_it_died(self) -> str:
        try:
            status = self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            return "the decoder stopped speaking"
        if status >= 0:
            return f"the decoder ended early, with status {status}"
        names = {9: "was killed", 11: "crashed", 6: "crashed", 24: "used up its processor time", 25: "wrote to a file"}
        return f"the decoder {names.get(-status, 'was ended')} (signal {-status})"


class ChildReader:
    """Decodes the first video stream of one file in a limited process; see ``vision.sources.VideoReader``.

    What goes wrong after it was opened costs pictures and gives a notice (``decoder-died``, ``decoder-hung``), never an
    exception.

    Args:
        path: The file.
        notices: Where to say what was wrong; the stream is named by the file's name.
        limits: What the decoder may use.

    Raises:
        OSError: The file is missing or may not be read.
        ValueError: It is not a video that can be decoded within the limits.
    """

    def __init__(self, path: Path, notices: NoticeLog, limits: ChildLimits | None = None) -> None:
        self.path = path
        self._notices = notices
        self._limits = limits or ChildLimits()
        if not path.exists():
            raise FileNotFoundError(f"{path}: expected a video file, there is no such file")
        self._child = _Child({"file": str(path.absolute())}, self._limits)
        try:
            self._opened = _opened(self._child, self._limits, str(path))
        except BaseException:
            self._child.close()
            raise

    @property
    def resolution_wh(self) -> tuple[int, int]:
        """Picture size as announced, pixels, before turning pictures upright."""
        return self._opened.resolution_wh

    @property
    def period_ns(self) -> int:
        """Nominal time from one picture to the next."""
        return self._opened.period_ns

    @property
    def duration_s(self) -> float:
        """Length that the file states, seconds; nan if it states none or an absurd one."""
        return self._opened.duration_s

    def __iter__(self) -> Iterator[Picture]:
        """Decode from the beginning to where the file ends, or its decoder does. Call it once."""
        name = self.path.name
        try:
            yield from _pictures(self._child, self._limits.stall_s, name, self._notices)
        except _LostError as lost:
            self._notices.add(name, lost.code, f"{lost}; its pictures are missing from here on")
        finally:
            self._child.close()

    def close(self) -> None:
        """Let go of the file."""
        self._child.close()


class _ChildStream:
    """A live camera whose decoder is a limited process (``vision.sources.PictureStream``)."""

    def __init__(self, address: CameraAddress, settings: StreamSettings, limits: ChildLimits) -> None:
        self._shown = address.shown
        self._stall_s = settings.stall_s
        camera = {"camera_id": address.camera_id, "url": address.url}
        self._child = _Child({"camera": camera, "settings": asdict(settings)}, limits)
        try:
            _opened(self._child, limits, address.shown)
        except BaseException:
            self._child.close()
            raise

    def __iter__(self) -> Iterator[ImageArray]:
        try:
            for picture in _pictures(self._child, self._stall_s, self._shown, NoticeLog()):
                yield picture.image
        except _LostError as lost:
            raise OSError(f"{self._shown}: {lost}") from lost
        finally:
            self._child.close()

    def close(self) -> None:
        self._child.close()


def open_child_stream(
    address: CameraAddress, settings: StreamSettings, limits: ChildLimits | None = None
) -> PictureStream:
    """Open a live camera in a limited process; see ``vision.sources.open_stream``.

    Args:
        address: The camera.
        settings: Gives the time-outs.
        limits: What the decoder may use.

    Raises:
        OSError: It does not answer, or is not a video stream.
        ValueError: Its pictures are absurdly large.
    """
    return _ChildStream(address, settings, limits or ChildLimits(open_s=settings.open_timeout_s + 10.0))


@dataclass(frozen=True, slots=True)
class _Opened:
    resolution_wh: tuple[int, int]
    period_ns: int
    duration_s: float


def _opened(child: _Child, limits: ChildLimits, name: str) -> _Opened:
    """Wait until the child has opened its source.

    Raises:
        OSError: It says that there is none, or that it may not be read.
        ValueError: It is no video, or the child came to its end over it.
    """
    try:
        kind, content = child.next(limits.open_s)
        said = _said(content)
        if kind == _FAILED:
            reason = " ".join(str(said.get("reason", "")).split())[:_LONGEST_REASON] or f"{name}: cannot be read"
            raise OSError(reason) if said.get("is_os_error") is True else ValueError(reason)
        width, height, period_ns = said["width"], said["height"], said["period_ns"]
        duration_s = said["duration_s"]
        if kind != _OPENED or not all(isinstance(number, int) for number in (width, height, period_ns)):
            raise _LostError("decoder-died", "the decoder answered in a way that makes no sense")
    except (KeyError, _LostError) as lost:
        reason = str(lost) if isinstance(lost, _LostError) else "the decoder answered in a way that makes no sense"
        raise ValueError(f"{name}: expected a video that can be decoded within limits: {reason}") from lost
    if width or height:
        check_resolution(name, (width, height))
    stated = float(duration_s) if isinstance(duration_s, int | float) else math.nan
    return _Opened((width, height), max(1, period_ns), stated if 0 < stated <= MAX_DURATION_S else math.nan)


def _pictures(child: _Child, stall_s: float, name: str, notices: NoticeLog) -> Iterator[Picture]:
    told = 0
    while True:
        kind, content = child.next(stall_s)
        if kind == _ENDED:
            return
        if kind == _PICTURE and len(content) >= _HEAD.size:
            has_time, pts_ns, width, height = _HEAD.unpack_from(content)
            try:
                check_resolution(name, (width, height))
                image = np.frombuffer(content, np.uint8, offset=_HEAD.size).reshape(height, width, 3)
            except ValueError as error:
                raise _LostError("decoder-died", "the decoder sent a picture of another size than it said") from error
            yield Picture(pts_ns if has_time else None, image)
        elif kind == _NOTICE and told < _MOST_NOTICES:
            told += 1
            said = _said(content)
            notices.add(name, str(said.get("code", ""))[:100], str(said.get("message", ""))[:_LONGEST_REASON])
        else:
            raise _LostError("decoder-died", "the decoder said something that makes no sense")


def _said(content: memoryview) -> dict[str, Any]:
    try:
        said = json.loads(bytes(content[:_LONGEST_TEXT]))
    except (ValueError, RecursionError) as error:
        raise _LostError("decoder-died", "the decoder said something that makes no sense") from error
    if not isinstance(said, dict):
        raise _LostError("decoder-died", "the decoder said something that makes no sense")
    return said


def _environment() -> dict[str, str]:
    """Nothing of this process's own environment, which may hold secrets, but for where things are."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG", "TZ") if name in os.environ}
    path = os.pathsep.join(dict.fromkeys([str(_ROOT), *(part for part in sys.path if part)]))
    return kept | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}


# What runs in the child.


def main() -> None:
    """Be the child: read a task from standard input, and decode into the pipe whose number is the only argument."""
    pipe = Connection(int(sys.argv[1]), readable=False)
    task = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limits = ChildLimits(**task["limits"])
    _limit(limits)
    try:
        if "file" in task:
            _decode_file(Path(task["file"]), pipe)
        else:
            _decode_camera(CameraAddress(**task["camera"]), StreamSettings(**task["settings"]), pipe)
        pipe.send_bytes(_ENDED)
    except (ValueError, OSError, MemoryError) as error:
        with contextlib.suppress(OSError):
            reason = str(error) or type(error).__name__
            is_os_error = isinstance(error, OSError)
            pipe.send_bytes(_FAILED + json.dumps({"reason": reason, "is_os_error": is_os_error}).encode())
    os._exit(0)  # decoders' threads may hang


def _end_with_parent() -> None:
    """End when standard input does: the parent holds its other end, and is gone then."""
    while sys.stdin.buffer.read(1):
        pass
    os._exit(1)


def _limit(limits: ChildLimits) -> None:
    statm = Path("/proc/self/statm")
    if statm.exists():
        used = int(statm.read_text("ascii").split()[0]) * resource.getpagesize()
        _at_most(resource.RLIMIT_AS, used + limits.memory_bytes)
    spent_s = time.process_time()
    _at_most(resource.RLIMIT_CPU, math.ceil(spent_s + limits.cpu_s))
    _at_most(resource.RLIMIT_FSIZE, 0)
    _at_most(resource.RLIMIT_CORE, 0)
    _at_most(resource.RLIMIT_NOFILE, _OPEN_FILES)


def _at_most(what: int, amount: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        amount = min(amount, hard)
    resource.setrlimit(what, (amount, amount))


def _decode_file(path: Path, pipe: Connection) -> None:
    notices = NoticeLog()
    reader = VideoReader(path, notices)
    width, height = reader.resolution_wh
    stated = reader.duration_s
    _say(pipe, _OPENED, width=width, height=height, period_ns=reader.period_ns, duration_s=_finite(stated))
    for picture in reader:
        _show(pipe, picture)
    for notice in notices.notices[:_MOST_NOTICES]:
        _say(pipe, _NOTICE, code=notice.code, message=notice.message)


def _decode_camera(address: CameraAddress, settings: StreamSettings, pipe: Connection) -> None:
    stream = open_stream(address, settings)
    _say(pipe, _OPENED, width=0, height=0, period_ns=1, duration_s=None)
    for image in stream:
        _show(pipe, Picture(None, image))


def _show(pipe: Connection, picture: Picture) -> None:
    height, width = picture.image.shape[:2]
    pts_ns = picture.pts_ns
    if pts_ns is not None and abs(pts_ns) > _LARGEST_TIME_NS:
        pts_ns = None
    head = _HEAD.pack(pts_ns is not None, pts_ns or 0, width, height)
    pipe.send_bytes(b"".join((_PICTURE, head, np.ascontiguousarray(picture.image).data)))


def _say(pipe: Connection, kind: bytes, **fields: object) -> None:
    pipe.send_bytes(kind + json.dumps(fields).encode()[: _LONGEST_TEXT - 1])


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
