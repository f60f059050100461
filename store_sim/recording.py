"""Our own recording folder, ``tillfree-recording/1``: everything the sensors of a store gave, tick by tick.

::

    recording.json         manifest: format, store, cameras, seed, versions, whether the writer came to its end
    ticks.i64              int64 little-endian, one row a tick: timestamp_ns
    cameras/<id>.mp4       pictures of one camera, H.264, upright; times in microseconds from its first frame
    cameras/<id>.i64       int64 little-endian, three columns a frame: tick number, frame_idx, timestamp_ns
    plates/<nnnnnn>.npz    blocks of plate samples in the order written (see below); absent without scales
    joints.jsonl           one line for each tick with tracked bodies
    gates.jsonl            one line for each event at a gate or door; absent where there are no gates
    layout.yaml            the store as built, ``tillfree-layout/1``; optional
    site/                  the site in its published format; optional, placed there by whoever records
    truth.json             what really happened, ``tillfree-scenario/1``; optional

A chunk of plates holds, for b blocks: ``tick`` (b,), ``samples`` (b,) and ``rate_hz`` (b,) of each block, ``columns``
(b,), an index into ``plate_ids`` (text, the names of one set of columns joined by spaces), and all blocks' times and
readings end to end in ``timestamp_ns`` (int64) and ``grams`` (float32, row by row).

A line of ``joints.jsonl`` is ``{"tick", "timestamp_ns", "target_id": [n], "joints_m": [n][8][3], "score": [n][8]}``,
null where a number is nan; of ``gates.jsonl`` ``{"tick", "timestamp_ns", "gate", "event", "code"}``.

Every stream is only ever appended to, so that a power cut costs the last seconds and not the recording. Everything but
the pictures comes back exactly as it was written.
"""

import json
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from zipfile import ZipFile

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vision.arrays import IntArray
from vision.frames import JOINT_NAMES, Frame, GateEvent, ScaleSamples, SourceNotice, Tick, TrackedBodies
from vision.sources import FileOpener, NoticeLog, PictureReader, VideoReader, check_resolution

FORMAT = "tillfree-recording/1"
MANIFEST_FILE = "recording.json"
TICKS_FILE = "ticks.i64"
JOINTS_FILE = "joints.jsonl"
GATES_FILE = "gates.jsonl"
LAYOUT_FILE = "layout.yaml"
TRUTH_FILE = "truth.json"
CAMERAS_FOLDER = "cameras"
PLATES_FOLDER = "plates"

NANO = 1_000_000_000
LONGEST_SILENCE_S = 3600  # a beginning further before the first tick than this is a damaged one
# Large enough for few files, small enough that a power cut loses seconds.
CHUNK_BYTES = 4 << 20
CHUNK_BLOCKS = 4096
MOST_CHUNK_BYTES = 16 * CHUNK_BYTES
"""Unpacked; a few kilobytes that unpack to more were not written here."""
MAX_LINE_BYTES = 16 << 20
_INT64 = np.dtype("<i8")
_MICROSECOND = Fraction(1, 1_000_000)


class _CameraEntry(BaseModel):
    model_config = ConfigDict(extra="ignore")
    camera_id: str = Field(min_length=1)
    file: str = Field(pattern=r"^[\w.-]+$")
    resolution_wh: tuple[int, int]


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="ignore")
    format: str
    store: str = ""
    start_ns: int = 0
    complete: bool = False
    seed: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    cameras: list[_CameraEntry] = Field(default_factory=list)


class RecordingWriter:
    """Writes a recording while it happens. A context manager; leaving it completes the recording.

    Args:
        folder: Where to write; it is made, and must not hold a recording yet.
        store: Name of the store.
        layout_yaml: Text of the store's layout file, kept beside the recording.
        truth_json: Text of what really happened, if it is known.
        seed: What a simulator started from.
        versions: Name and version of whatever made the recording.
        crf: Constant rate factor of H.264; 0 loses nothing, 18 looks the same, 51 is worst.
        has_gates: Whether the store has gates, also if none ever says a word.
        start_ns: When it began, store clock, if that was before the first tick.

    Raises:
        OSError: The folder cannot be written.
        ValueError: The folder already holds a recording.
    """

    def __init__(
        self,
        folder: Path,
        store: str = "",
        layout_yaml: str | None = None,
        truth_json: str | None = None,
        seed: int | None = None,
        versions: Mapping[str, str] | None = None,
        crf: int = 20,
        has_gates: bool = False,
        start_ns: int | None = None,
    ) -> None:
        if (folder / MANIFEST_FILE).exists():
            raise ValueError(f"{folder}: expected a new folder, it already holds a recording")
        if not 0 <= crf <= 51:
            raise ValueError(f"crf: expected 0 to 51, got {crf}")
        self._folder, self._crf, self._start_ns = folder, crf, start_ns
        self._manifest = _Manifest(format=FORMAT, store=store, seed=seed, versions=dict(versions or {}))
        self._cameras: dict[str, _CameraWriter] = {}
        self._plates = _PlateWriter(folder / PLATES_FOLDER)
        self._tick_count = 0
        self._last_ns: int | None = None
        self._joints: IO[str] | None = None
        self._gates: IO[str] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if layout_yaml is not None:
            (folder / LAYOUT_FILE).write_text(layout_yaml, encoding="utf-8")
        if truth_json is not None:
            self.write_truth(truth_json)
        self._ticks: IO[bytes] = (folder / TICKS_FILE).open("wb")
        if has_gates:
            self._gates = (folder / GATES_FILE).open("w", encoding="utf-8")
        self._write_manifest()

    def __enter__(self) -> Self:
        """Write inside a ``with`` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Complete the recording; one that broke off is closed but stays marked as incomplete."""
        self._close(complete=kind is None)

    def write(self, tick: Tick) -> None:
        """Append one tick.

        Raises:
            ValueError: It lies before the last one, or a camera's pictures changed their size.
            OSError: The disk does not take it.
        """
        if self._last_ns is not None and tick.timestamp_ns < self._last_ns:
            raise ValueError(
                f"expected ticks in the order of time, got one {self._last_ns - tick.timestamp_ns} ns earlier"
            )
        if self._tick_count == 0:
            earliest_ns = tick.timestamp_ns if self._start_ns is None else self._start_ns
            self._manifest.start_ns = min(earliest_ns, tick.timestamp_ns)
        for frame in tick.frames:
            self._camera(frame).write(self._tick_count, frame)
        for samples in tick.scales:
            self._plates.write(self._tick_count, samples)
        if tick.bodies is not None:
            self._write_bodies(tick.bodies)
        for event in tick.gates:
            self._write_gate_event(event)
        self._ticks.write(np.array(tick.timestamp_ns, _INT64).tobytes())
        self._last_ns = tick.timestamp_ns
        self._tick_count += 1

    def _write_gate_event(self, event: GateEvent) -> None:
        if self._gates is None:
            self._gates = (self._folder / GATES_FILE).open("w", encoding="utf-8")
        line = {
            "tick": self._tick_count,
            "timestamp_ns": event.timestamp_ns,
            "gate": event.gate_id,
            "event": event.event,
            "code": event.code,
        }
        self._gates.write(json.dumps(line) + "\n")

    def write_truth(self, truth_json: str) -> None:
        """Keep what really happened, as the text of a ``tillfree-scenario/1`` file; replaces an earlier one."""
        (self._folder / TRUTH_FILE).write_text(truth_json, encoding="utf-8")

    def close(self) -> None:
        """Complete the recording. Does nothing the second time."""
        self._close(complete=True)

    def _camera(self, frame: Frame) -> "_CameraWriter":
        if frame.camera_id not in self._cameras:
            taken = {camera.file_stem for camera in self._cameras.values()}
            writer = _CameraWriter(self._folder / CAMERAS_FOLDER, frame, self._crf, taken)
            self._cameras[frame.camera_id] = writer
            self._manifest.cameras.append(
                _CameraEntry(camera_id=frame.camera_id, file=writer.file_stem, resolution_wh=writer.resolution_wh)
            )
            self._write_manifest()
        return self._cameras[frame.camera_id]

    def _write_bodies(self, bodies: TrackedBodies) -> None:
        if self._joints is None:
            self._joints = (self._folder / JOINTS_FILE).open("w", encoding="utf-8")
        line = {
            "tick": self._tick_count,
            "timestamp_ns": bodies.timestamp_ns,
            "target_id": list(bodies.target_id),
            "joints_m": _without_nan(bodies.joints_m),
            "score": _without_nan(bodies.score),
        }
        self._joints.write(json.dumps(line, allow_nan=False) + "\n")

    def _write_manifest(self) -> None:
        text = json.dumps(self._manifest.model_dump(), indent=2) + "\n"
        new = self._folder / (MANIFEST_FILE + ".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self._folder / MANIFEST_FILE)

    def _close(self, complete: bool) -> None:
        if self._ticks.closed:
            return
        self._ticks.close()
        for file in (self._joints, self._gates):
            if file is not None:
                file.close()
        self._plates.flush()
        for camera in self._cameras.values():
            camera.close()
        self._manifest.complete = complete
        self._write_manifest()


def _without_nan(array: Any) -> Any:
    """Nested lists of an array with None for nan; ``ValueError`` for an infinite number."""
    array = np.asarray(array, np.float64)
    if np.isinf(array).any():
        raise ValueError("expected finite numbers or nan in tracked bodies, got an infinite one")
    nested = array.astype(object)
    nested[np.isnan(array)] = None
    return nested.tolist()


class _CameraWriter:
    def __init__(self, folder: Path, first: Frame, crf: int, taken: set[str]) -> None:
        folder.mkdir(exist_ok=True)
        height, width = first.image.shape[:2]
        check_resolution(first.camera_id, (width, height))
        self.camera_id, self.resolution_wh = first.camera_id, (width, height)
        # A camera may be named after a URL; the manifest keeps the true name.
        stem = re.sub(r"[^\w.-]", "_", first.camera_id).lstrip(".") or "camera"
        self.file_stem = stem
        while self.file_stem.casefold() in {name.casefold() for name in taken}:
            self.file_stem += "_"
        self._first_ns = first.timestamp_ns
        self._last_pts = -1
        self._index: IO[bytes] = (folder / f"{self.file_stem}.i64").open("wb")
        # Fragments make what was written before a power cut readable; they become a plain file in the end.
        self._container: OutputContainer = av.open(
            f"file:{folder / self.file_stem}.mp4", "w", format="mp4", options={"movflags": "hybrid_fragmented"}
        )
        # Without B-frames and look-ahead pictures reach the file soon, and presentation times start at zero.
        options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency", "bf": "0", "g": "50", "threads": "1"}
        self._stream: VideoStream = self._container.add_stream("libx264", rate=25, options=options)
        self._stream.width, self._stream.height = width, height
        # Half-resolution colour needs even sizes.
        self._stream.pix_fmt = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
        self._stream.time_base = _MICROSECOND
        self._stream.codec_context.time_base = _MICROSECOND

    def write(self, tick_idx: int, frame: Frame) -> None:
        if frame.image.shape[1::-1] != self.resolution_wh:
            expected, got = self.resolution_wh, frame.image.shape[1::-1]
            raise ValueError(
                f"camera {self.camera_id}: expected pictures of {expected[0]}x{expected[1]}, got {got[0]}x{got[1]}"
            )
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame.image), format="bgr24")
        self._last_pts = _pts(frame.timestamp_ns, self._first_ns, self._last_pts)
        picture.pts, picture.time_base = self._last_pts, _MICROSECOND
        self._container.mux(self._stream.encode(picture))
        self._index.write(np.array([tick_idx, frame.frame_idx, frame.timestamp_ns], _INT64).tobytes())

    def close(self) -> None:
        self._index.close()
        self._container.mux(self._stream.encode(None))
        self._container.close()


def _pts(timestamp_ns: int, first_ns: int, last_pts: int) -> int:
    """Presentation time of a frame in microseconds; rises strictly, whatever the clock did."""
    return max(last_pts + 1, (timestamp_ns - first_ns) // 1000)


class _PlateWriter:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._chunk = 0
        self._blocks: list[tuple[int, ScaleSamples]] = []
        self._bytes = 0

    def write(self, tick_idx: int, samples: ScaleSamples) -> None:
        if any(not name or " " in name for name in samples.plate_id):
            raise ValueError("expected plate names without spaces")
        self._blocks.append((tick_idx, samples))
        self._bytes += samples.grams.nbytes + samples.timestamp_ns.nbytes
        if self._bytes >= CHUNK_BYTES or len(self._blocks) >= CHUNK_BLOCKS:
            self.flush()

    def flush(self) -> None:
        if not self._blocks:
            return
        self._folder.mkdir(exist_ok=True)
        column_sets: dict[tuple[str, ...], int] = {}
        columns = [column_sets.setdefault(block.plate_id, len(column_sets)) for _, block in self._blocks]
        path = self._folder / f"{self._chunk:06d}.npz"
        new = path.with_suffix(".new")
        with new.open("wb") as stream:
            np.savez(
                stream,
                tick=np.array([tick_idx for tick_idx, _ in self._blocks], _INT64),
                samples=np.array([len(block.timestamp_ns) for _, block in self._blocks], _INT64),
                rate_hz=np.array([block.rate_hz for _, block in self._blocks], np.float64),
                columns=np.array(columns, _INT64),
                plate_ids=np.array([" ".join(names) for names in column_sets]),
                timestamp_ns=np.concatenate([block.timestamp_ns for _, block in self._blocks]).astype(_INT64),
                grams=np.concatenate([block.grams.ravel() for _, block in self._blocks]).astype("<f4"),
            )
        new.replace(path)
        self._blocks, self._bytes = [], 0
        self._chunk += 1


class RecordingSource:
    """Reads a recording folder back, tick by tick; pictures are decoded as they are needed.

    Streams are independent: one that is damaged or missing gives a notice and nothing more from there on, and the
    ticks come all the same. A tick's frames are in the order of ``camera_ids``.

    Args:
        folder: The recording's folder.
        opener: Opens each camera's video; ``vision.child_source.ChildReader`` for recordings that somebody else made.

    Raises:
        OSError: The folder or its manifest is missing or may not be read.
        ValueError: The manifest is not one of this format, or there is not a single tick.
    """

    def __init__(self, folder: Path, opener: FileOpener = VideoReader) -> None:
        self._folder = folder
        self._notices = NoticeLog()
        self._manifest = _read_manifest(folder)
        if not self._manifest.complete:
            self._notices.add(MANIFEST_FILE, "incomplete-recording", "the writer did not come to its end")
        self._ticks_ns = _rising(_read_int64(folder / TICKS_FILE, 1, self._notices)[:, 0], self._notices)
        if not len(self._ticks_ns):
            raise ValueError(f"{folder}: expected a recording, but {TICKS_FILE} holds no tick")
        self._cameras: list[_CameraReader] = []
        for entry in self._manifest.cameras:
            self._cameras.append(_CameraReader(folder / CAMERAS_FOLDER, entry, self._notices, opener))
        self._ticks = self._read()

    @property
    def start_ns(self) -> int:
        """When the recording began, store clock: not after its first tick."""
        first_ns, said_ns = int(self._ticks_ns[0]), self._manifest.start_ns
        return said_ns if 0 <= first_ns - said_ns <= LONGEST_SILENCE_S * NANO else first_ns

    @property
    def duration_s(self) -> float:
        """From the beginning to the last tick, seconds."""
        return (int(self._ticks_ns[-1]) - self.start_ns) / NANO

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """Cameras in the order in which they first gave a frame."""
        return tuple(camera.camera_id for camera in self._cameras)

    @property
    def resolutions_wh(self) -> dict[str, tuple[int, int]]:
        """Picture size of each camera, pixels."""
        return {camera.camera_id: camera.resolution_wh for camera in self._cameras}

    @property
    def has_gates(self) -> bool:
        """Whether the store had gates."""
        return (self._folder / GATES_FILE).is_file()

    @property
    def has_bodies(self) -> bool:
        """Whether an outside tracker followed people's joints."""
        return (self._folder / JOINTS_FILE).is_file()

    @property
    def notices(self) -> tuple[SourceNotice, ...]:
        """What had to be left out or repaired so far."""
        return self._notices.notices

    @property
    def store(self) -> str:
        """Name of the store it was recorded in."""
        return self._manifest.store

    @property
    def seed(self) -> int | None:
        """What the simulator started from, None if it was no simulator."""
        return self._manifest.seed

    @property
    def layout_path(self) -> Path | None:
        """The layout kept with the recording, or None."""
        path = self._folder / LAYOUT_FILE
        return path if path.is_file() else None

    @property
    def truth_path(self) -> Path | None:
        """What really happened, or None."""
        path = self._folder / TRUTH_FILE
        return path if path.is_file() else None

    def __iter__(self) -> Iterator[Tick]:
        """Read from where the recording stands to its end."""
        return self._ticks

    def _read(self) -> Iterator[Tick]:
        scales = _Cursor(_read_blocks(self._folder / PLATES_FOLDER, self._notices))
        bodies = _Cursor(_lines(self._folder / JOINTS_FILE, _bodies, self._notices))
        gates = _Cursor(_lines(self._folder / GATES_FILE, _gate_event, self._notices))
        try:
            for tick_idx, timestamp_ns in enumerate(map(int, self._ticks_ns)):
                frames = tuple(frame for camera in self._cameras for frame in camera.frames.up_to(tick_idx))
                joints = bodies.up_to(tick_idx)
                yield Tick(
                    timestamp_ns,
                    frames,
                    tuple(scales.up_to(tick_idx)),
                    joints[-1] if joints else None,
                    tuple(gates.up_to(tick_idx)),
                )
        finally:
            for camera in self._cameras:
                camera.close()


class _Cursor:
    """Walks a stream of (tick number, item) along with the ticks."""

    def __init__(self, items: Iterator[tuple[int, Any]]) -> None:
        self._items = items
        self._next = next(items, None)

    def up_to(self, tick_idx: int) -> list[Any]:
        """Items of this tick; those of an earlier one, out of order in a damaged file, are dropped."""
        found = []
        while self._next is not None and self._next[0] <= tick_idx:
            if self._next[0] == tick_idx:
                found.append(self._next[1])
            self._next = next(self._items, None)
        return found


class _CameraReader:
    def __init__(self, folder: Path, entry: _CameraEntry, notices: NoticeLog, opener: FileOpener) -> None:
        self.camera_id, self.resolution_wh = entry.camera_id, entry.resolution_wh
        self._notices = notices
        self._reader: PictureReader | None = None
        index = _read_int64(folder / f"{entry.file}.i64", 3, notices)
        try:
            self._reader = opener(folder / f"{entry.file}.mp4", notices)
            if self._reader.resolution_wh != entry.resolution_wh:
                notices.add(
                    entry.camera_id, "resolution-changed", "the video's size is not the manifest's, which was not used"
                )
            self.resolution_wh = self._reader.resolution_wh
        except (OSError, ValueError) as error:
            notices.add(entry.camera_id, "missing-video", f"{error}; the camera has no frames")
        self.frames = _Cursor(self._frames(index))

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _frames(self, index: IntArray) -> Iterator[tuple[int, Frame]]:
        if self._reader is None or not len(index):
            return
        rows: dict[int, tuple[int, int, int]] = {}
        pts, first_ns = -1, int(index[0, 2])
        for tick_idx, frame_idx, timestamp_ns in index.tolist():
            pts = _pts(timestamp_ns, first_ns, pts)
            rows[pts] = (tick_idx, frame_idx, timestamp_ns)
        for picture in self._reader:
            # Presentation times, not counting, tell which frame it is: a damaged one may be missing.
            row = None if picture.pts_ns is None else rows.get(round(picture.pts_ns / 1000))
            if row is None:
                self._notices.add(
                    self.camera_id, "unknown-frame", "a picture is not in the camera's index and was left out"
                )
                continue
            tick_idx, frame_idx, timestamp_ns = row
            yield tick_idx, Frame(self.camera_id, frame_idx, timestamp_ns, picture.image)


def _read_manifest(folder: Path) -> _Manifest:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a recording's manifest, there is no such file")
    try:
        manifest = _Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the top"
        raise ValueError(f"{path}: at {place}: {' '.join(first['msg'].split())}") from error
    if manifest.format != FORMAT:
        raise ValueError(f"{path}: expected format {FORMAT}, got {manifest.format!r:.60}")
    names = [camera.camera_id for camera in manifest.cameras]
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: a camera is listed twice")
    for camera in manifest.cameras:
        check_resolution(f"{path}: camera {camera.camera_id}", camera.resolution_wh)
    return manifest


def _read_int64(path: Path, columns: int, notices: NoticeLog) -> IntArray:
    try:
        content = path.read_bytes()
    except OSError as error:
        notices.add(path.name, "missing-stream", f"cannot be read: {error.strerror or error}")
        return np.zeros((0, columns), np.int64)
    row_bytes = columns * _INT64.itemsize
    if len(content) % row_bytes:
        notices.add(path.name, "truncated-stream", f"{len(content) % row_bytes} bytes after the last row were left out")
    return np.frombuffer(content[: len(content) - len(content) % row_bytes], _INT64).reshape(-1, columns)


def _rising(ticks_ns: IntArray, notices: NoticeLog) -> IntArray:
    """Ticks whose time does not run backwards; a damaged row takes the time of the one before."""
    if len(ticks_ns) and (np.diff(ticks_ns) < 0).any():
        notices.add(TICKS_FILE, "retimed-ticks", "ticks run backwards, and were held until time rises again")
        return np.asarray(np.maximum.accumulate(ticks_ns))
    return ticks_ns


def _read_blocks(folder: Path, notices: NoticeLog) -> Iterator[tuple[int, ScaleSamples]]:
    for path in sorted(folder.glob("*.npz")):
        try:
            blocks = _chunk_blocks(path)
        except Exception as error:  # a damaged archive fails in more ways than its readers document
            reason = " ".join(str(error).split())[:200]
            notices.add(PLATES_FOLDER, "damaged-chunk", f"{path.name} cannot be read and was left out: {reason}")
            continue
        yield from blocks


def _chunk_blocks(path: Path) -> list[tuple[int, ScaleSamples]]:
    with ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > MOST_CHUNK_BYTES:
        raise ValueError(f"expected at most {MOST_CHUNK_BYTES} bytes unpacked, it claims {unpacked}")
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as chunk:
        ticks, counts, columns = (_whole_numbers(chunk, name).tolist() for name in ("tick", "samples", "columns"))
        rates_hz = chunk["rate_hz"].tolist()
        names = [tuple(str(text).split()) for text in chunk["plate_ids"]]
        timestamp_ns, grams = _whole_numbers(chunk, "timestamp_ns"), chunk["grams"]
    blocks, row, cell = [], 0, 0
    for tick_idx, count, column_set, rate_hz in zip(ticks, counts, columns, rates_hz, strict=True):
        plate_id = names[column_set]
        cells = count * len(plate_id)
        samples = ScaleSamples(
            timestamp_ns[row : row + count],
            plate_id,
            grams[cell : cell + cells].reshape(count, len(plate_id)),
            rate_hz,
        )
        blocks.append((tick_idx, samples))
        row, cell = row + count, cell + cells
    return blocks


def _whole_numbers(chunk: Mapping[str, NDArray[Any]], name: str) -> IntArray:
    numbers = chunk[name]
    if numbers.ndim != 1 or numbers.dtype.kind != "i":
        raise ValueError(f"{name}: expected a row of whole numbers, got {numbers.dtype} of shape {numbers.shape}")
    return numbers


def _lines(path: Path, parse: Any, notices: NoticeLog) -> Iterator[tuple[int, Any]]:
    if not path.is_file():
        return
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES):
            number += 1
            try:
                yield parse(json.loads(line))
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
                reason = " ".join(str(error).split())[:200]
                notices.add(path.name, "malformed-line", f"line {number} was left out: {reason}")


def _bodies(line: Any) -> tuple[int, TrackedBodies]:
    names = line["target_id"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("expected target_id to be a list of names")
    count = len(names)
    joints = np.array(line["joints_m"], np.float64).reshape(count, len(JOINT_NAMES), 3)
    score = np.array(line["score"], np.float64).reshape(count, len(JOINT_NAMES))
    return _integer(line["tick"]), TrackedBodies(_integer(line["timestamp_ns"]), tuple(names), joints, score)


def _gate_event(line: Any) -> tuple[int, GateEvent]:
    gate, event, code = line["gate"], line["event"], line.get("code")
    if not isinstance(gate, str) or not isinstance(event, str) or not isinstance(code, str | None):
        raise ValueError("expected gate, event and code to be text")
    return _integer(line["tick"]), GateEvent(_integer(line["timestamp_ns"]), gate, event, code)


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError(f"expected a whole number of 64 bits, got {value!r:.40}")
    return value
