"""Replays that engineers ask for: one at a time in a process of its own, and what each of them believed, kept in files.

A replay is a folder: ``state.json`` says how far it is, ``moments/nnnnnn.jsonl.gz`` hold what the pipeline believed,
five times a second, in pieces of thirty seconds, ``result.json`` everything that came of it, and
``pictures/CAMERA/MILLISECONDS.jpg`` what the cameras saw (``picture_folder``).
"""

import contextlib
import gzip
import json
import queue
import re
import shutil
import subprocess
import sys
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from cart.errors import RecordingNotFound, ReplayNotFound, ReplaysBusy
from cart.recordings import Recordings

DEMO_RECORDING = "demo day"
"""What the recording is called that the demo makes when it is asked for."""
SENSORS = ("cameras", "scales", "bodies", "gates")
"""What a replay may be done without."""
CHUNK_S = 30
MOST_WAITING, MOST_KEPT, LONGEST_WINDOW_S = 8, 50, 120.0
STATE_FILE, RESULT_FILE, MOMENTS_FOLDER, PICTURES_FOLDER = "state.json", "result.json", "moments", "pictures"


@dataclass(frozen=True, slots=True)
class ReplayState:
    """How far a replay is.

    Attributes:
        replay_id: Which.
        recording: What is replayed.
        label: What whoever asked for it calls it.
        without: Sensors that are left out, of ``SENSORS``.
        status: waiting, running, done or failed.
        progress: Share of the recording, 0 to 1.
        duration_s: Length so far, seconds.
        detail: Why it failed.
        created_at: When it was asked for, RFC 3339.
        started_at: When it began; None before.
        ended_at: When it was over; None before.
    """

    replay_id: str
    recording: str
    label: str
    without: tuple[str, ...]
    status: str
    progress: float
    duration_s: float
    detail: str
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None


def write_json(path: Path, document: object) -> None:
    """Write a file so that whoever reads it finds either the old one or the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(document, allow_nan=False, ensure_ascii=False), encoding="utf-8")
    fresh.replace(path)


def picture_folder(folder: Path, camera_id: str) -> Path:
    """Where a replay's pictures of a camera lie, whatever signs its name has; the name of most is its folder's.

    Args:
        folder: The replay's.
        camera_id: The camera.

    >>> picture_folder(Path("replay"), "north").name, picture_folder(Path("replay"), "../hall").name
    ('north', '%2E.%2Fhall')
    """
    name = re.sub(r"[%/\\\0]|^\.", lambda sign: f"%{ord(sign[0]):02X}", camera_id)
    return folder / PICTURES_FOLDER / name


def read_state(folder: Path) -> ReplayState:
    """Read how far the replay in a folder is.

    Raises:
        OSError: It has none.
    """
    found = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    return ReplayState(**{**found, "without": tuple(found["without"])})


class Replays:
    """The replays of a store.

    Args:
        folder: Where they are kept; it is made.
        recordings: Where recordings lie; None for a store without such a folder.
        now: The time, timezone-aware.
        offers_demo: Whether there is also the demo's own day.
    """

    def __init__(
        self,
        folder: Path,
        recordings: Recordings | None,
        now: Callable[[], datetime],
        *,
        offers_demo: bool = False,
    ) -> None:
        self._folder, self._recordings, self._now, self._offers_demo = folder, recordings, now, offers_demo
        self._waiting: queue.Queue[UUID | None] = queue.Queue(MOST_WAITING)
        self._lock = threading.Lock()
        self._child: tuple[UUID, subprocess.Popen[bytes]] | None = None
        self._closed = False
        folder.mkdir(parents=True, exist_ok=True)
        for state in self._states():
            if state.status in ("waiting", "running"):
                self._write(replace(state, status="failed", detail="the store was closed before this was over"))
        self._thread = threading.Thread(target=self._work, name="replays", daemon=True)
        self._thread.start()

    def recordings(self) -> tuple[str, ...]:
        """What can be replayed, by name."""
        own = (DEMO_RECORDING,) if self._offers_demo else ()
        return own + (() if self._recordings is None else self._recordings.names())

    def ask(self, recording: str, *, without: Sequence[str] = (), label: str = "") -> ReplayState:
        """Have a recording replayed; this returns at once.

        Args:
            recording: Its name.
            without: Sensors to leave out, of ``SENSORS``.
            label: What to call the replay.

        Raises:
            RecordingNotFound: There is no such recording.
            RecordingRefused: The name leads elsewhere.
            ReplaysBusy: Too many wait already, or are kept.
            ValueError: There is no such sensor.
        """
        unknown = sorted(set(without) - set(SENSORS))
        if unknown:
            raise ValueError(f"without: expected some of {', '.join(SENSORS)}, got {', '.join(unknown)}")
        self._path(recording)
        if len(self._states()) >= MOST_KEPT:
            raise ReplaysBusy(f"{MOST_KEPT} replays are kept already, delete one")
        replay_id = uuid4()
        state = ReplayState(
            replay_id=str(replay_id),
            recording=recording,
            label=label,
            without=tuple(sensor for sensor in SENSORS if sensor in without),
            status="waiting",
            progress=0.0,
            duration_s=0.0,
            detail="",
            created_at=self._now().isoformat(),
        )
        (self._folder / str(replay_id)).mkdir()
        self._write(state)
        try:
            self._waiting.put_nowait(replay_id)
        except queue.Full as error:
            shutil.rmtree(self._folder / str(replay_id))
            raise ReplaysBusy(f"{MOST_WAITING} replays wait already") from error
        return state

    def all(self) -> tuple[ReplayState, ...]:
        """Every replay that is kept, newest first."""
        return tuple(sorted(self._states(), key=lambda state: state.created_at, reverse=True))

    def state(self, replay_id: UUID) -> ReplayState:
        """How far a replay is.

        Raises:
            ReplayNotFound: There is no such replay.
        """
        try:
            return read_state(self._folder / str(replay_id))
        except OSError as error:
            raise ReplayNotFound("there is no such replay") from error

    def result(self, replay_id: UUID) -> dict[str, Any] | None:
        """The floor, and everything that came of a replay; None before it is over.

        Raises:
            ReplayNotFound: There is no such replay.
        """
        self.state(replay_id)
        path = self._folder / str(replay_id) / RESULT_FILE
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def moments(self, replay_id: UUID, from_s: float, to_s: float) -> list[dict[str, Any]]:
        """What the pipeline believed within a span of the recording.

        Args:
            replay_id: Which replay.
            from_s: Beginning, seconds from the recording's.
            to_s: End; at most ``LONGEST_WINDOW_S`` after it is given.

        Raises:
            ReplayNotFound: There is no such replay.
        """
        self.state(replay_id)
        to_s = min(to_s, from_s + LONGEST_WINDOW_S)
        found: list[dict[str, Any]] = []
        for chunk in range(int(from_s // CHUNK_S), int(to_s // CHUNK_S) + 1):
            path = self._folder / str(replay_id) / MOMENTS_FOLDER / f"{chunk:06d}.jsonl.gz"
            if path.exists():
                with gzip.open(path, "rt", encoding="utf-8") as lines:
                    found += [moment for line in lines if from_s <= (moment := json.loads(line))["t_s"] <= to_s]
        return found

    def picture(self, replay_id: UUID, camera_id: str, t_s: float) -> bytes | None:
        """The last picture of a camera at an instant, a JPEG; None if there is none.

        Raises:
            ReplayNotFound: There is no such replay.
        """
        self.state(replay_id)
        pictures = picture_folder(self._folder / str(replay_id), camera_id)
        # Looked up among what is there, so that no name leads anywhere else.
        if not pictures.parent.is_dir() or pictures not in pictures.parent.iterdir():
            return None
        files = sorted(pictures.glob("*.jpg"))
        place = bisect_right([int(file.stem) for file in files], round(t_s * 1000)) - 1
        return files[place].read_bytes() if place >= 0 else None

    def delete(self, replay_id: UUID) -> None:
        """Forget a replay; one that runs ends.

        Raises:
            ReplayNotFound: There is no such replay.
        """
        self.state(replay_id)
        with self._lock:
            running = self._child
            if running is not None and running[0] == replay_id:
                running[1].kill()
                running[1].wait()
            shutil.rmtree(self._folder / str(replay_id), ignore_errors=True)

    def close(self) -> None:
        """End what runs; what is done stays."""
        self._closed = True
        with self._lock:
            if self._child is not None:
                self._child[1].kill()
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(5.0)

    def _path(self, recording: str) -> Path:
        if self._offers_demo and recording == DEMO_RECORDING:
            return self._folder / ".demo-day"
        if self._recordings is None:
            raise RecordingNotFound("this store has no folder of recordings")
        return self._recordings.path(recording)

    def _states(self) -> list[ReplayState]:
        return list(self._each_state())

    def _each_state(self) -> Iterator[ReplayState]:
        for folder in self._folder.iterdir():
            if not folder.name.startswith("."):
                # One may be deleted while they are read.
                with contextlib.suppress(OSError, ValueError):
                    yield read_state(folder)

    def _write(self, state: ReplayState) -> None:
        write_json(self._folder / state.replay_id / STATE_FILE, asdict(state))

    def _work(self) -> None:
        while not self._closed:
            replay_id = self._waiting.get()
            if replay_id is None:
                return
            with contextlib.suppress(ReplayNotFound, OSError):
                self._run(replay_id)

    def _run(self, replay_id: UUID) -> None:
        folder = self._folder / str(replay_id)
        state = replace(self.state(replay_id), status="running", started_at=self._now().isoformat())
        self._write(state)
        command = [sys.executable, "-m", "cart.replay_runner", str(folder), str(self._path(state.recording))]
        with self._lock:
            if self._closed or not folder.exists():
                return
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            self._child = replay_id, child
        _, said = child.communicate()
        with self._lock:
            self._child = None
            if not folder.exists():
                return
            state = replace(read_state(folder), ended_at=self._now().isoformat())
            if child.returncode == 0:
                self._write(replace(state, status="done", progress=1.0))
            else:
                lines = said.decode(errors="replace").strip().splitlines()
                reason = lines[-1][:500] if lines else f"ended with {child.returncode}"
                self._write(replace(state, status="failed", detail=reason))
