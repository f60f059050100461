"""The AutoCheckout format: plate messages, tracked joints and the site files of the 2020 competition's store.

A recording is a folder with ``plate_data.jsonl`` (load cells), ``full_targets.jsonl`` (bodies of an outside tracker)
and, if there are any, video files. A site is a folder with ``Gondolas.json``, ``Shelves.json``, ``Plates.json``,
``planogram.jsonl``, ``products.jsonl`` and ``calibration.json``. Inches, normalised intrinsics and dollars are
converted here, at the rim.

When a sample was taken: a message gives ``t_issue`` (when it was sent, the same as ``timestamp``) and ``t_origin``. In
the recordings of this store ``t_origin`` ticks in exact steps of one message and lies 94 to 125 ms before ``t_issue``,
while twelve samples at 60 Hz span 183 ms. It is therefore taken as the middle of the block: as the time of the first
sample it would put the last samples after the moment they were sent, and as the middle it leaves 2 ms for sending at
the least. Without ``t_origin`` the last sample is taken at ``t_issue``.
"""

import base64
import binascii
import heapq
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vision.arrays import BoolArray, FloatArray
from vision.cameras import Camera
from vision.frames import JOINT_NAMES, ScaleSamples, SourceNotice, Tick, TrackedBodies
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout
from vision.sources import FileOpener, NoticeLog, VideoFilesSource, VideoReader, video_files

PLATES_FILE = "plate_data.jsonl"
TARGETS_FILE = "full_targets.jsonl"
SITE_FILES = ("Gondolas.json", "Shelves.json", "Plates.json")

NANO = 1_000_000_000
METRES_PER_INCH = 0.0254
# The published pictures; intrinsics are normalised, so the layout can be fitted to any other size.
PUBLISHED_RESOLUTION_WH = (640, 360)
UNKNOWN_PRICE = 10_000  # what the published product list says where nobody entered a price

# Messages that come this much later than their successors are put back in order.
REORDER_NS = 2 * NANO
# A step beyond this is a wrong clock, unless as many messages as below agree on it: then the recording has a hole.
MAX_STEP_NS = 3600 * NANO
AGREEING_MESSAGES = 8
# The newest and oldest messages are looked for in the last part of a file, to know the recording's length.
TAIL_BYTES = 1 << 20
FEW_KEYS = 4096  # keys of messages already seen are not worth forgetting before there are so many
MAX_LINE_BYTES = 16 << 20
MIN_RATE_HZ, MAX_RATE_HZ = 0.1, 10_000.0
MAX_BLOCK_SAMPLES = 100_000
MAX_REACH_INCH = 1e5  # 2.5 km: no joint is farther from the store's origin
# Rounding in published coordinates; a plate this far over its shelf's edge is drawn wrongly.
EDGE_TOLERANCE_M = 0.02
DEFAULT_SHELF_HEIGHT_M = 0.3  # of a top shelf without a stated height

_JOINT_KEYS = ("head", "neck", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist")
assert len(_JOINT_KEYS) == len(JOINT_NAMES)

PlateNumber = tuple[int, ...]  # gondola, shelf, plate
T = TypeVar("T")


class AutoCheckoutSource:
    """A recording in the AutoCheckout format, read as it stands in the files.

    One tick for each frame of joints, each plate message and each instant of video, in the order of time. Duplicate,
    late, malformed and absurdly timed messages are left out with a notice; messages up to two seconds out of order are
    put in order. Video files beside the messages carry no store clock, so they start with the recording, with a notice.

    Args:
        folder: Folder with ``plate_data.jsonl``, ``full_targets.jsonl`` or both.
        plates: The plates that the store has; columns of other plates are left out. None keeps every column that has
            readings.
        opener: Opens each video.

    Raises:
        OSError: The folder or both files are missing, or a file may not be read.
        ValueError: No message in the files can be read, or a video file in the folder is not a video.
    """

    def __init__(self, folder: Path, plates: Sequence[Plate] | None = None, opener: FileOpener = VideoReader) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: expected an AutoCheckout folder, there is no such folder")
        files = [folder / name for name in (PLATES_FILE, TARGETS_FILE) if (folder / name).is_file()]
        if not files:
            raise FileNotFoundError(f"{folder}: expected {PLATES_FILE} or {TARGETS_FILE}, found neither")
        self._notices = NoticeLog()
        self._columns = None if plates is None else _columns_of(plates)
        self._last_sample_ns: dict[int, int] = {}
        self._silent_checked: set[int] = set()
        self._streams: list[Iterator[_Message[Any]]] = []
        starts_ns, ends_ns = [], []
        for file in files:
            parse = _plate_message if file.name == PLATES_FILE else _targets_message
            ordered = _in_order(_parsed(file, parse, self._notices), file.name, self._notices)
            first = next(ordered, None)
            if first is None:
                continue
            starts_ns.append(first.time_ns)
            ends_ns.append(_last_time_ns(file, first.time_ns))
            self._streams.append(_chained(first, ordered))
        if not starts_ns:
            raise ValueError(f"{folder}: no message in {' or '.join(file.name for file in files)} can be read")
        self._start_ns = min(starts_ns)
        self._duration_s = (max(ends_ns) - self._start_ns) / NANO
        videos = video_files(folder)
        self._video = VideoFilesSource(videos, self._start_ns, opener) if videos else None
        if self._video is not None:
            self._notices.add(
                "video",
                "unsynchronised-video",
                "video files carry no store clock, so they start with the first message",
            )
            if math.isfinite(self._video.duration_s):
                self._duration_s = max(self._duration_s, self._video.duration_s)
        self._ticks = self._read()

    @property
    def start_ns(self) -> int:
        """Earliest time stamp of any message, store clock."""
        return self._start_ns

    @property
    def duration_s(self) -> float:
        """From the earliest to the latest message, seconds, as the ends of the files say."""
        return self._duration_s

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """Stems of the video files in the folder."""
        return () if self._video is None else self._video.camera_ids

    @property
    def resolutions_wh(self) -> dict[str, tuple[int, int]]:
        """Picture size of each camera, pixels."""
        return {} if self._video is None else self._video.resolutions_wh

    @property
    def has_gates(self) -> bool:
        """No gate speaks here."""
        return False

    @property
    def notices(self) -> tuple[SourceNotice, ...]:
        """What had to be left out or repaired so far."""
        return self._notices.notices + (() if self._video is None else self._video.notices)

    def __iter__(self) -> Iterator[Tick]:
        """Read from where the files stand to their end."""
        return self._ticks

    def _read(self) -> Iterator[Tick]:
        ticks: list[Iterator[Tick]] = [self._message_ticks(stream) for stream in self._streams]
        if self._video is not None:
            ticks.append(iter(self._video))
        return heapq.merge(*ticks, key=attrgetter("timestamp_ns"))

    def _message_ticks(self, messages: Iterator["_Message[Any]"]) -> Iterator[Tick]:
        for message in messages:
            if isinstance(message.content, TrackedBodies):
                yield Tick(message.time_ns, bodies=message.content)
            else:
                samples = self._samples(message.time_ns, message.content)
                if samples is not None:
                    yield Tick(message.time_ns, scales=(samples,))

    def _samples(self, issue_ns: int, block: "_PlateBlock") -> ScaleSamples | None:
        stream = f"gondola {block.gondola}"
        times_ns = _sample_times_ns(block, issue_ns)
        last_ns = self._last_sample_ns.get(block.gondola)
        if last_ns is not None and times_ns[0] <= last_ns:
            if times_ns[-1] <= last_ns:
                self._notices.add(
                    stream, "overlapping-message", "samples lie before those already read and were left out"
                )
                return None
            # The sender's clock jitters: squeeze the block behind its predecessor, in order to keep time rising.
            times_ns = np.linspace(last_ns, times_ns[-1], len(times_ns) + 1)[1:].astype(np.int64)
            if times_ns[0] <= last_ns or (np.diff(times_ns) <= 0).any():
                self._notices.add(
                    stream, "overlapping-message", "samples lie before those already read and were left out"
                )
                return None
        self._last_sample_ns[block.gondola] = int(times_ns[-1])
        shelves, plates, plate_ids = self._kept(block)
        if not plate_ids:
            self._notices.add(stream, "unknown-gondola", "the site lists no plate of it, so its messages were left out")
            return None
        return ScaleSamples(times_ns, plate_ids, block.grams[:, shelves, plates], block.rate_hz)

    def _kept(self, block: "_PlateBlock") -> tuple[Any, Any, tuple[str, ...]]:
        _, rows, columns = block.grams.shape
        if self._columns is None:
            answered: BoolArray = np.asarray(~np.isnan(block.grams).all(axis=0))
            answered[0, :], answered[:, 0] = False, False
            shelves, plates = np.nonzero(answered)
            names = tuple(f"{block.gondola}/{s}/{p}" for s, p in zip(shelves.tolist(), plates.tolist(), strict=True))
            return shelves, plates, names
        listed = self._columns.get(block.gondola)
        if listed is None:
            return None, None, ()
        kept = listed.within(rows, columns)
        if block.gondola not in self._silent_checked:
            self._silent_checked.add(block.gondola)
            left_out = len(listed.names) - len(kept.names)
            if left_out:
                self._notices.add(
                    f"gondola {block.gondola}",
                    "missing-plates",
                    f"the site lists {len(listed.names)} plates, the messages lack {left_out} of them",
                )
        return kept.shelves, kept.plates, kept.names


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which entries of a gondola's block belong to plates of the site."""

    shelves: Any
    plates: Any
    names: tuple[str, ...]
    cut: dict[tuple[int, int], "_Columns"]

    def within(self, rows: int, columns: int) -> "_Columns":
        if (rows, columns) not in self.cut:
            inside = (self.shelves < rows) & (self.plates < columns)
            names = tuple(name for name, keep in zip(self.names, inside, strict=True) if keep)
            self.cut[rows, columns] = _Columns(self.shelves[inside], self.plates[inside], names, {})
        return self.cut[rows, columns]


def _columns_of(plates: Sequence[Plate]) -> dict[int, _Columns]:
    by_gondola: dict[int, list[Plate]] = {}
    for plate in sorted(plates, key=attrgetter("gondola_id", "shelf_id", "number")):
        by_gondola.setdefault(plate.gondola_id, []).append(plate)
    return {
        gondola: _Columns(
            np.array([plate.shelf_id for plate in own]),
            np.array([plate.number for plate in own]),
            tuple(plate.plate_id for plate in own),
            {},
        )
        for gondola, own in by_gondola.items()
    }


@dataclass(frozen=True, slots=True)
class _Message(Generic[T]):
    time_ns: int
    keys: tuple[str, ...]  # any of them seen before makes it a duplicate
    content: T


@dataclass(frozen=True, slots=True)
class _PlateBlock:
    gondola: int
    origin_ns: int | None
    rate_hz: float
    grams: FloatArray  # (samples, shelves, plates), both 1-based: index 0 is empty


def _parsed(file: Path, parse: Any, notices: NoticeLog) -> Iterator[_Message[Any]]:
    for number, line in _lines(file, notices):
        try:
            yield parse(line, notices)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            notices.add(
                file.name, "malformed-message", f"line {number} is not a message and was left out: {_in_words(error)}"
            )


def _lines(file: Path, notices: NoticeLog) -> Iterator[tuple[int, bytes]]:
    number = 0
    with file.open("rb") as stream:
        while line := stream.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    pass
                notices.add(
                    file.name, "malformed-message", f"line {number} is longer than any message and was left out"
                )
            elif line.strip():
                yield number, line


def _in_words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it lacks {error.args[0]!r}"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _seconds_to_ns(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 4e9:
        raise ValueError(f"expected a time stamp in Unix seconds, got {value!r:.40}")
    return round(value * 1_000_000) * 1000  # a float of today's Unix time holds microseconds, no more


def _iso_to_ns(text: Any) -> int | None:
    """Nanoseconds of an ISO 8601 time, or None for one that cannot be read (it is only needed to refine)."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    elapsed = moment - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * NANO + elapsed.microseconds * 1000


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _message_id(message: Mapping[str, Any]) -> tuple[str, ...]:
    own_id = message.get("_id")
    if isinstance(own_id, dict):
        own_id = own_id.get("$oid")
    return (f"id {own_id}",) if isinstance(own_id, str) else ()


def _plate_message(line: bytes, notices: NoticeLog) -> _Message[_PlateBlock]:
    message = json.loads(line)
    time_ns = _seconds_to_ns(message["timestamp"])
    document = message["document"]
    header, plate_data = document.get("header") or {}, document["plate_data"]
    gondola = message.get("gondola_id")
    if gondola is None:
        gondola = plate_data["plate_id"]["shelf_id"]["gondola_id"]["id"]
    if isinstance(gondola, bool) or not isinstance(gondola, int):
        raise ValueError(f"expected the number of a gondola, got {gondola!r:.40}")
    rate_hz = plate_data.get("freq_samp", math.nan)
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, int | float) or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ValueError(f"expected a sampling rate in Hz, got {rate_hz!r:.40}")
    values = plate_data["values"]
    if values.get("type", "DATATYPE_FLOAT32") != "DATATYPE_FLOAT32":
        raise ValueError(f"expected values of type DATATYPE_FLOAT32, got {values['type']!r:.40}")
    shape = values["shape"]
    if not (
        isinstance(shape, list)
        and len(shape) == 3
        and all(isinstance(axis, int) and not isinstance(axis, bool) and axis > 0 for axis in shape)
        and shape[0] <= MAX_BLOCK_SAMPLES
    ):
        raise ValueError(f"expected a shape (samples, shelves, plates), got {shape!r:.60}")
    try:
        raw = base64.b64decode(values["data"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"expected base64, got something else: {error}") from error
    if len(raw) != 4 * math.prod(shape):
        raise ValueError(f"expected {4 * math.prod(shape)} bytes for shape {shape}, got {len(raw)}")
    grams = np.frombuffer(raw, "<f4").reshape(shape)
    if np.isinf(grams).any():
        grams = np.where(np.isinf(grams), np.float32(np.nan), grams)
    keys = _message_id(message)
    unique = header.get("uuid")
    if isinstance(unique, dict) and isinstance(unique.get("uuid"), str):
        keys += (f"uuid {unique['uuid']}",)
    keys += (f"gondola {gondola} at {time_ns}",)
    origin_ns = _iso_to_ns(header.get("t_origin"))
    if origin_ns is not None and not 0 <= time_ns - origin_ns <= NANO + shape[0] * NANO / rate_hz:
        notices.add(f"gondola {gondola}", "wrong-origin", "t_origin does not fit the message's time and was not used")
        origin_ns = None
    return _Message(
        time_ns, keys, _PlateBlock(gondola, origin_ns, float(rate_hz), grams.astype(np.float32, copy=False))
    )


def _sample_times_ns(block: _PlateBlock, issue_ns: int) -> Any:
    count = len(block.grams)
    step_ns = NANO / block.rate_hz
    last_ns = float(0)
    if block.origin_ns is not None:
        last_ns = min(float(0), block.origin_ns - issue_ns + (count - 1) * step_ns / 2)
    offsets_ns = np.rint(last_ns + (np.arange(count) - (count - 1)) * step_ns).astype(np.int64)
    return issue_ns + offsets_ns


def _targets_message(line: bytes, notices: NoticeLog) -> _Message[TrackedBodies]:
    message = json.loads(line)
    time_ns = _seconds_to_ns(message["timestamp"])
    targets = message["document"]["targets"].get("targets") or []
    names: list[str] = []
    joints = np.full((len(targets), len(_JOINT_KEYS), 3), np.nan)
    score = np.zeros((len(targets), len(_JOINT_KEYS)))
    for target in targets:
        name = target["target_id"]["id"]
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise ValueError(f"expected a target's id, got {name!r:.40}")
        if str(name) in names:
            notices.add(TARGETS_FILE, "duplicate-target", "a target is twice in one frame, the first was kept")
            continue
        row = len(names)
        names.append(str(name))
        for column, key in enumerate(_JOINT_KEYS):
            _read_joint(target.get(key), joints[row, column], score[row : row + 1, column])
    count = len(names)
    bodies = TrackedBodies(time_ns, tuple(names), joints[:count] * METRES_PER_INCH, score[:count])
    return _Message(time_ns, (*_message_id(message), f"at {time_ns}"), bodies)


def _read_joint(joint: Any, point: FloatArray, score: FloatArray) -> None:
    """Fill in one joint, inches; an absent one or one with an empty point is unseen and stays nan."""
    if joint is None:
        return
    coordinates = joint.get("point")
    if not coordinates:
        return
    # The writer leaves out coordinates that are zero.
    x, y, z = (coordinates.get(axis, 0.0) for axis in "xyz")
    confidence = joint.get("score", 0.0)
    numbers = (x, y, z, confidence)
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        raise ValueError(f"expected a joint's coordinates and score, got {joint!r:.80}")
    if all(abs(number) <= MAX_REACH_INCH for number in (x, y, z)):
        point[:] = x, y, z
        score[:] = min(max(confidence, 0.0), 1.0) if confidence == confidence else 0.0


def _in_order(messages: Iterable[_Message[T]], stream: str, notices: NoticeLog) -> Iterator[_Message[T]]:
    """Give messages in the order of time; duplicates, late ones and those hours away are left out.

    Holds back what is younger than ``REORDER_NS`` before the newest, so memory is bounded.
    """
    source = iter(messages)
    head: list[_Message[T]] = []
    while len(head) < AGREEING_MESSAGES and (message := next(source, None)) is not None:
        head.append(message)
    if not head:
        return
    # A first message with a wrong clock must not set the time for all others.
    newest_ns = sorted(message.time_ns for message in head)[(len(head) - 1) // 2]
    held: list[tuple[int, int, _Message[T]]] = []
    strays: list[_Message[T]] = []
    seen: dict[str, int] = {}
    prune_at = FEW_KEYS
    given_ns: int | None = None
    count = 0
    for message in _chained(head, source):
        if abs(message.time_ns - newest_ns) > MAX_STEP_NS:
            if message.time_ns < newest_ns:
                notices.add(stream, "misdated-message", "a message is hours older than its neighbours and was left out")
                continue
            strays.append(message)
            if any(abs(stray.time_ns - message.time_ns) > MAX_STEP_NS for stray in strays):
                notices.add(stream, "misdated-message", "a message is hours ahead of its neighbours and was left out")
                strays.pop(0)
            if len(strays) < AGREEING_MESSAGES:
                continue
            notices.add(stream, "gap", "nothing was recorded for more than an hour")
            accepted, strays = strays, []
        else:
            for _ in strays:
                notices.add(stream, "misdated-message", "a message is hours ahead of its neighbours and was left out")
            accepted, strays = [message], []
        for item in accepted:
            if any(key in seen for key in item.keys):
                notices.add(stream, "duplicate-message", "a message came twice, the second was left out")
                continue
            if given_ns is not None and item.time_ns < given_ns:
                notices.add(
                    stream, "late-message", f"a message came more than {REORDER_NS // NANO} s too late and was left out"
                )
                continue
            if item.time_ns < newest_ns and count:
                notices.add(stream, "reordered-message", "a message came late and was put in its place")
            seen.update(dict.fromkeys(item.keys, item.time_ns))
            count += 1
            heapq.heappush(held, (item.time_ns, count, item))
            newest_ns = max(newest_ns, item.time_ns) if count > 1 else item.time_ns
            while held and held[0][0] <= newest_ns - REORDER_NS:
                given_ns, _, ready = heapq.heappop(held)
                yield ready
        if len(seen) > prune_at:
            seen = {key: time_ns for key, time_ns in seen.items() if time_ns > newest_ns - 4 * REORDER_NS}
            prune_at = max(FEW_KEYS, 2 * len(seen))
    for _ in strays:
        notices.add(stream, "misdated-message", "a message is hours ahead of its neighbours and was left out")
    while held:
        yield heapq.heappop(held)[2]


def _chained(first: "_Message[T] | list[_Message[T]]", rest: Iterator[_Message[T]]) -> Iterator[_Message[T]]:
    yield from first if isinstance(first, list) else [first]
    yield from rest


def _last_time_ns(file: Path, first_ns: int) -> int:
    """The latest plausible time stamp in the last part of a file, for the progress bar."""
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - TAIL_BYTES))
        lines = stream.read(TAIL_BYTES).splitlines()
    times_ns = []
    for line in reversed(lines):
        try:
            times_ns.append(_seconds_to_ns(json.loads(line)["timestamp"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if len(times_ns) == AGREEING_MESSAGES:
            break
    if not times_ns:
        return first_ns
    middle_ns = sorted(times_ns)[len(times_ns) // 2]
    return max([first_ns, *(time_ns for time_ns in times_ns if abs(time_ns - middle_ns) <= MAX_STEP_NS)])


class _Lenient(BaseModel):
    """Site files hold more than is needed here, and leave out coordinates that are zero."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, frozen=True)


class _Vector(_Lenient):
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0

    @property
    def array(self) -> FloatArray:
        return np.array([self.x, self.y, self.z])


class _Transform(_Lenient):
    translation: _Vector = Field(default_factory=_Vector)
    rotation: _Vector = Field(default_factory=_Vector)

    @property
    def matrix(self) -> FloatArray:
        """Parent from own frame, shape (4, 4); the rotation is a Rodrigues vector, radians."""
        parent_from_own = np.eye(4)
        parent_from_own[:3, :3] = cv2.Rodrigues(self.rotation.array)[0]
        parent_from_own[:3, 3] = self.translation.array
        return parent_from_own


class _Coordinates(_Lenient):
    transform: _Transform = Field(default_factory=_Transform)
    dim_x: float = 0.0
    dim_y: float = 0.0
    dim_z: float = 0.0


class _GondolaId(_Lenient):
    id: int

    @property
    def numbers(self) -> tuple[int, ...]:
        return (self.id,)


class _ShelfId(_Lenient):
    gondola_id: _GondolaId
    shelf_index: int = Field(gt=0)

    @property
    def numbers(self) -> tuple[int, ...]:
        return self.gondola_id.id, self.shelf_index


class _PlateId(_Lenient):
    shelf_id: _ShelfId
    plate_index: int = Field(gt=0)

    @property
    def numbers(self) -> tuple[int, ...]:
        return (*self.shelf_id.numbers, self.plate_index)


class _Gondola(_Lenient):
    id: _GondolaId
    coordinates: _Coordinates = Field(default_factory=_Coordinates)


class _Shelf(_Lenient):
    id: _ShelfId
    coordinates: _Coordinates = Field(default_factory=_Coordinates)


class _Plate(_Lenient):
    id: _PlateId
    coordinates: _Coordinates = Field(default_factory=_Coordinates)


class _GondolasFile(_Lenient):
    gondolas: list[_Gondola]


class _ShelvesFile(_Lenient):
    shelves: list[_Shelf]


class _PlatesFile(_Lenient):
    plates: list[_Plate]


class _ProductId(_Lenient):
    id: str = ""


class _PlanogramRow(_Lenient):
    plate_ids: list[_PlateId] = Field(default_factory=list)
    planogram_product_id: _ProductId = Field(default_factory=_ProductId)


class _Metadata(BaseModel):
    """What is said about a product; numbers that make no sense are judged one by one, not refused with the line."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str = ""
    price: float | None = None
    weight: float | None = None


class _ProductRow(_Lenient):
    product_id: _ProductId
    metadata: _Metadata = Field(default_factory=_Metadata)


_Row3 = tuple[float, float, float]
_Row4 = tuple[float, float, float, float]


class _CameraEntry(_Lenient):
    K: tuple[_Row3, _Row3, _Row3]
    Tw: tuple[_Row4, _Row4, _Row4, _Row4]
    dist_coeffs: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)


class _CalibrationFile(_Lenient):
    cameras: dict[str, _CameraEntry]


ModelT = TypeVar("ModelT", bound=BaseModel)
NumberedT = TypeVar("NumberedT", _Gondola, _Shelf, _Plate)


def is_site(folder: Path) -> bool:
    """Whether a folder looks like a site in this format."""
    return any((folder / name).is_file() for name in SITE_FILES)


def read_site(folder: Path) -> StoreLayout:
    """Read a site: gondolas, shelves, plates, planogram, products and cameras.

    Plates are named ``gondola/shelf/plate`` and reach up to the next shelf. Each planogram row gives a bin over each
    run of neighbouring plates, named ``gondola/shelf/first-last``; each other plate gives a bin without a product. A
    price of 1 is 1.00 USD. Cameras with a number for a name are called ``cam1``, ``cam2`` and so on, as in recordings;
    depth cameras are left out.

    Args:
        folder: The site's folder.

    Returns:
        The layout, in metres. What is missing or doubtful is in its ``notices``.

    Raises:
        OSError: The folder, or one of ``Gondolas.json``, ``Shelves.json``, ``Plates.json`` is missing or unreadable.
        ValueError: A file is not in the format, or contradicts another: a plate outside its shelf, a shelf of a missing
            gondola, anything listed twice. The message names the file and the entry.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a site folder, there is no such folder")
    notices: list[str] = []
    plates = _read_plates(folder)
    rows = _read_rows(folder / "planogram.jsonl", _PlanogramRow, notices, "every bin is without a product")
    products = _read_products(folder / "products.jsonl", notices)
    bins, planned = _bins(plates, rows, notices)
    for sku in sorted(planned - set(products)):
        notices.append(f"planogram.jsonl: barcode {sku} is not in products.jsonl: mass and price are unknown")
        products[sku] = ProductRecord(sku, sku, math.nan, None, "USD")
    resolved = folder.resolve()
    return StoreLayout(
        name=resolved.parent.name if resolved.name == "site" else resolved.name,
        cameras=tuple(_read_cameras(folder / "calibration.json", notices)),
        bins=tuple(bins),
        plates=tuple(plates.values()),
        products=tuple(products.values()),
        notices=tuple(notices),
    )


def _read_model(path: Path, model: type[ModelT]) -> ModelT:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a site file, there is no such file")
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path}: {_first_fault(error)}") from error


def _first_fault(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    message = " ".join(first["msg"].split())
    return f"at {place}: {message}" if place else message


def _read_rows(path: Path, model: type[ModelT], notices: list[str], without: str) -> list[tuple[int, ModelT]]:
    """Rows of a JSON lines file with their line numbers; a line that cannot be read is left out with a notice."""
    if not path.is_file():
        notices.append(f"{path.name}: there is no such file, so {without}")
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, model.model_validate_json(line)))
        except ValidationError as error:
            notices.append(f"{path.name}: line {number} was left out: {_first_fault(error)}")
    return rows


def _read_plates(folder: Path) -> dict[PlateNumber, Plate]:
    gondolas = _by_number(
        folder / "Gondolas.json", "gondola", _read_model(folder / "Gondolas.json", _GondolasFile).gondolas
    )
    shelves_path, plates_path = folder / "Shelves.json", folder / "Plates.json"
    shelves = _by_number(shelves_path, "shelf", _read_model(shelves_path, _ShelvesFile).shelves)
    for gondola, number in shelves:
        if (gondola,) not in gondolas:
            raise ValueError(
                f"{shelves_path}: shelf {gondola}/{number} is on gondola {gondola}, which Gondolas.json lacks"
            )
    plates = {}
    for numbers, entry in sorted(
        _by_number(plates_path, "plate", _read_model(plates_path, _PlatesFile).plates).items()
    ):
        gondola, shelf_index, plate_index = numbers
        name = "/".join(map(str, numbers))
        shelf = shelves.get((gondola, shelf_index))
        if shelf is None:
            raise ValueError(
                f"{plates_path}: plate {name} is on shelf {gondola}/{shelf_index}, which Shelves.json lacks"
            )
        _check_on_shelf(plates_path, name, entry.coordinates, shelf.coordinates)
        gondola_entry = gondolas[gondola,]
        world_from_plate = (
            gondola_entry.coordinates.transform.matrix
            @ shelf.coordinates.transform.matrix
            @ entry.coordinates.transform.matrix
        )
        size = np.array([entry.coordinates.dim_x, entry.coordinates.dim_y, _shelf_height_m(shelf, shelves)])
        plates[numbers] = Plate(name, gondola, shelf_index, plate_index, Box(world_from_plate, size))
    return plates


def _by_number(path: Path, what: str, entries: Sequence[NumberedT]) -> dict[tuple[int, ...], NumberedT]:
    """Entries under their numbers, outermost first; ``ValueError`` if two have the same."""
    found: dict[tuple[int, ...], NumberedT] = {}
    for entry in entries:
        if entry.id.numbers in found:
            raise ValueError(f"{path}: {what} {'/'.join(map(str, entry.id.numbers))} is listed twice")
        found[entry.id.numbers] = entry
    return found


def _check_on_shelf(path: Path, name: str, plate: _Coordinates, shelf: _Coordinates) -> None:
    if plate.dim_x <= 0 or plate.dim_y <= 0:
        raise ValueError(
            f"{path}: plate {name}: expected a positive width and depth, got {plate.dim_x} x {plate.dim_y} m"
        )
    corners = np.array([[x, y, 0, 1] for x in (0, plate.dim_x) for y in (0, plate.dim_y)])
    on_shelf = (corners @ plate.transform.matrix.T)[:, :2]
    if (on_shelf < -EDGE_TOLERANCE_M).any() or (
        on_shelf > [s + EDGE_TOLERANCE_M for s in (shelf.dim_x, shelf.dim_y)]
    ).any():
        spans = f"x {on_shelf[:, 0].min():.3f} to {on_shelf[:, 0].max():.3f}, y {on_shelf[:, 1].min():.3f} to "
        raise ValueError(
            f"{path}: plate {name} lies outside its shelf of {shelf.dim_x:.3f} x {shelf.dim_y:.3f} m: "
            f"{spans}{on_shelf[:, 1].max():.3f}"
        )


def _shelf_height_m(shelf: _Shelf, shelves: Mapping[Any, _Shelf]) -> float:
    """Clear height above a shelf: as stated, else up to the next shelf of the gondola."""
    if shelf.coordinates.dim_z > 0:
        return shelf.coordinates.dim_z
    own_z = shelf.coordinates.transform.translation.z
    above = [
        other.coordinates.transform.translation.z - own_z
        for (gondola, _), other in shelves.items()
        if gondola == shelf.id.gondola_id.id and other.coordinates.transform.translation.z > own_z
    ]
    return min(above, default=DEFAULT_SHELF_HEIGHT_M)


def _bins(
    plates: Mapping[PlateNumber, Plate], rows: Sequence[tuple[int, _PlanogramRow]], notices: list[str]
) -> tuple[list[Bin], set[str]]:
    free = dict(plates)
    bins: list[tuple[PlateNumber, Bin]] = []
    planned = set()
    for line, row in rows:
        sku = row.planogram_product_id.id
        wanted = sorted({plate.numbers for plate in row.plate_ids})
        if not sku:
            notices.append(f"planogram.jsonl: line {line} has no product: its plates count as unplanned")
            continue
        for numbers in wanted:
            name = "/".join(map(str, numbers))
            if numbers not in plates:
                notices.append(f"planogram.jsonl: line {line} puts {sku} on plate {name}, which the site does not have")
            elif numbers not in free:
                notices.append(f"planogram.jsonl: line {line} puts {sku} on plate {name}, which is already taken")
        own = [free.pop(numbers) for numbers in wanted if numbers in free]
        if not own:
            notices.append(f"planogram.jsonl: line {line} leaves no plate to {sku}")
            continue
        planned.add(sku)
        bins.extend((_number(run[0]), _bin(run, sku)) for run in _runs(own))
    bins.extend((_number(plate), _bin([plate], None)) for plate in free.values())
    return [a_bin for _, a_bin in sorted(bins, key=lambda entry: entry[0])], planned


def _number(plate: Plate) -> PlateNumber:
    return plate.gondola_id, plate.shelf_id, plate.number


def _runs(plates: Sequence[Plate]) -> Iterator[list[Plate]]:
    """Split sorted plates into runs of neighbours on one shelf."""
    run: list[Plate] = []
    for plate in plates:
        if run and _number(plate) != (run[-1].gondola_id, run[-1].shelf_id, run[-1].number + 1):
            yield run
            run = []
        run.append(plate)
    if run:
        yield run


def _bin(run: Sequence[Plate], sku: str | None) -> Bin:
    first, last = run[0], run[-1]
    name = first.plate_id if len(run) == 1 else f"{first.plate_id}-{last.number}"
    # Neighbours may count against the shelf's x axis, so the box is the hull on the first plate's axes.
    corners = first.box.local_points(np.concatenate([plate.box.corners_m for plate in run]))
    world_from_bin = first.box.world_from_box.copy()
    world_from_bin[:3, 3] += first.box.world_from_box[:3, :3] @ corners.min(axis=0)
    return Bin(
        bin_id=name,
        sku=sku,
        gondola_id=first.gondola_id,
        shelf_id=first.shelf_id,
        plate_ids=tuple(plate.plate_id for plate in run),
        box=Box(world_from_bin, np.ptp(corners, axis=0)),
    )


def _read_products(path: Path, notices: list[str]) -> dict[str, ProductRecord]:
    products: dict[str, ProductRecord] = {}
    for line, row in _read_rows(path, _ProductRow, notices, "names, masses and prices are unknown"):
        sku, metadata = row.product_id.id, row.metadata
        if not sku:
            notices.append(f"{path.name}: line {line} has no barcode and was left out")
            continue
        record = ProductRecord(
            sku,
            metadata.name.strip() or sku,
            metadata.weight if metadata.weight and 0 < metadata.weight < math.inf else math.nan,
            _price_minor(metadata.price),
            "USD",
        )
        known = products.setdefault(sku, record)
        if known is not record and not _same(known, record):
            notices.append(f"{path.name}: line {line} says other things of {sku} than an earlier line, which stands")
    return products


def _price_minor(price: float | None) -> int | None:
    if price is None or not 0 < price < UNKNOWN_PRICE:
        return None
    return round(price * 100) or None


def _same(one: ProductRecord, other: ProductRecord) -> bool:
    same_mass = one.mass_g == other.mass_g or (math.isnan(one.mass_g) and math.isnan(other.mass_g))
    return same_mass and (one.name, one.unit_price_minor) == (other.name, other.unit_price_minor)


def _read_cameras(path: Path, notices: list[str]) -> Iterator[Camera]:
    if not path.is_file():
        notices.append(f"{path.name}: there is no such file, so no camera is calibrated")
        return
    width, height = PUBLISHED_RESOLUTION_WH
    for name, entry in _read_model(path, _CalibrationFile).cameras.items():
        if name.endswith("-depth"):
            continue
        world_from_cam = np.array(entry.Tw)
        world_from_cam[:3, 3] *= METRES_PER_INCH
        try:
            yield Camera(
                f"cam{name}" if name.isdigit() else name,
                np.diag([width, height, 1.0]) @ np.array(entry.K),
                np.array(entry.dist_coeffs),
                np.linalg.inv(world_from_cam),
                PUBLISHED_RESOLUTION_WH,
            )
        except (ValueError, np.linalg.LinAlgError) as error:
            raise ValueError(f"{path}: camera {name}: {' '.join(str(error).split())}") from error
