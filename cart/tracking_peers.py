"""Other people's trackers, driven with our boxes: what ours is compared with.

None of them is needed by anything else. Those of ``trackers`` and ``ultralytics`` run in this process, norfair, which
wants an old numpy, in another Python. All have their authors' defaults, no appearance and no picture, so nothing that
compensates for a moving camera.
"""

import json
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from vision.arrays import FloatArray, IntArray
from vision.detections import Detections

Rows: TypeAlias = tuple[IntArray, FloatArray]
"""Ids, shape (n,), and boxes (left, top, right, bottom), shape (n, 4), pixels, of one frame."""

Step: TypeAlias = Callable[[Detections], Rows]
"""What a tracker makes of the next frame."""

NORFAIR = "norfair"

_NORFAIR_SCRIPT = """
import json, sys, time
import numpy as np
import norfair
work = json.load(open(sys.argv[1]))
out = {"seconds": [], "rows": []}
for frames in work:
    tracker = norfair.Tracker(distance_function="iou", distance_threshold=0.7)
    boxes = [np.array(f, float).reshape(-1, 5) for f in frames]
    rows, began = [], time.process_time()
    for table in boxes:
        seen = [norfair.Detection(r[:4].reshape(2, 2), np.array([r[4], r[4]])) for r in table]
        kept = [t for t in tracker.update(seen) if t.live_points.all()]
        rows.append([[t.id, *t.estimate.ravel().tolist()] for t in kept])
    out["seconds"].append(time.process_time() - began)
    out["rows"].append(rows)
json.dump(out, open(sys.argv[2], "w"))
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A tracker of somebody else.

    Attributes:
        name: As in the table, with the package it is of.
        start: Makes a new one for a frame rate; raises ``ImportError`` where its package is not installed.
    """

    name: str
    start: Callable[[float], Step]


def peers() -> tuple[Peer, ...]:
    """All that run in this process, whether installed or not."""
    made = [
        Peer(f"{name} (trackers)", _starter_of_trackers(class_name, options))
        for name, class_name, options in (
            ("SORT", "SORTTracker", {}),
            ("ByteTrack", "ByteTrackTracker", {}),
            ("BoT-SORT", "BoTSORTTracker", {"enable_cmc": False}),
            ("OC-SORT", "OCSORTTracker", {}),
        )
    ]
    made += [
        Peer(f"{name} (ultralytics)", _starter_of_ultralytics(kind))
        for name, kind in (
            ("ByteTrack", "bytetrack"),
            ("BoT-SORT", "botsort"),
            ("TrackTrack", "tracktrack"),
            ("OC-SORT", "ocsort"),
        )
    ]
    return tuple(made)


def installed(peer: Peer) -> bool:
    """Say whether a peer can be started here."""
    try:
        peer.start(30.0)
    except ImportError:
        return False
    return True


def versions() -> dict[str, str]:
    """Versions of the packages that are compared with, where installed."""
    found = {}
    for name in ("trackers", "ultralytics-opencv-headless", "ultralytics", "trackeval", "lapx"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _starter_of_trackers(class_name: str, options: dict[str, Any]) -> Callable[[float], Step]:
    def start(frame_rate_hz: float) -> Step:
        made = getattr(import_module("trackers"), class_name)
        supervision = import_module("supervision")
        tracker = made(frame_rate=frame_rate_hz, **options)

        def step(seen: Detections) -> Rows:
            tracked = tracker.update(supervision.Detections(xyxy=seen.xyxy, confidence=seen.confidence))
            if tracked.tracker_id is None or not len(tracked):
                return np.zeros(0, np.int64), np.zeros((0, 4))
            kept = tracked.tracker_id >= 0
            return tracked.tracker_id[kept], tracked.xyxy[kept]

        return step

    return start


def _starter_of_ultralytics(kind: str) -> Callable[[float], Step]:
    def start(frame_rate_hz: float) -> Step:
        del frame_rate_hz  # its trackers count frames
        _make_torchvision_importable()
        module, settings = import_module("ultralytics.trackers.track"), import_module("ultralytics.utils")
        boxes = import_module("ultralytics.engine.results").Boxes
        path = import_module("ultralytics.utils.checks").check_yaml(f"{kind}.yaml")
        args = settings.IterableSimpleNamespace(**settings.YAML.load(path))
        args.gmc_method, args.device = "none", "cpu"
        tracker = module.TRACKER_MAP[kind](args)

        def step(seen: Detections) -> Rows:
            table = np.concatenate([seen.xyxy, seen.confidence[:, None], np.zeros((len(seen), 1), np.float32)], axis=1)
            tracked = np.asarray(tracker.update(boxes(table, (1, 1))), np.float64).reshape(-1, 8)
            return tracked[:, 4].astype(np.int64), tracked[:, :4]

        return step

    return start


def _make_torchvision_importable() -> None:
    """Put something in torchvision's place where it does not fit the torch installed: no tracker uses it."""
    try:
        import_module("torchvision")
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        stub, ops = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
        stub.__version__ = "0"  # type: ignore[attr-defined]
        stub.ops = ops  # type: ignore[attr-defined]
        sys.modules.update({"torchvision": stub, "torchvision.ops": ops})


def run_peer(peer: Peer, frames: Sequence[Detections], frame_rate_hz: float) -> tuple[list[Rows], float]:
    """Follow a sequence.

    Args:
        peer: Whose tracker.
        frames: What was detected, frame by frame.
        frame_rate_hz: Frames a second.

    Returns:
        Rows of each frame, and the CPU seconds that following took.

    Raises:
        ImportError: Its package is not installed.
    """
    step = peer.start(frame_rate_hz)
    began_s = time.process_time()
    rows = [step(seen) for seen in frames]
    return rows, time.process_time() - began_s


def run_norfair(python: Path, sequences: Sequence[Sequence[Detections]]) -> Iterator[tuple[list[Rows], float]]:
    """Follow sequences with norfair in another Python.

    Norfair has no defaults for its distance; overlap with the threshold 0.7 is that of its own demonstrations with
    detectors of boxes.

    Args:
        python: An interpreter that has norfair.
        sequences: What was detected, frame by frame, of each.

    Yields:
        For each sequence the rows of each frame, and the CPU seconds that following took.

    Raises:
        OSError: The interpreter cannot be run, or it fails; the message ends with its last line.
    """
    work = [
        [np.column_stack([seen.xyxy, seen.confidence]).astype(float).tolist() for seen in frames]
        for frames in sequences
    ]
    with tempfile.TemporaryDirectory() as folder:
        given, taken = Path(folder) / "in.json", Path(folder) / "out.json"
        given.write_text(json.dumps(work), "utf-8")
        done = subprocess.run(
            [str(python), "-c", _NORFAIR_SCRIPT, str(given), str(taken)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise OSError(f"{python}: norfair did not run: {said[-1]}")
        result = json.loads(taken.read_text("utf-8"))
    for rows, seconds in zip(result["rows"], result["seconds"], strict=True):
        tables = [np.array(frame, float).reshape(-1, 5) for frame in rows]
        yield [(table[:, 0].astype(np.int64), table[:, 1:]) for table in tables], float(seconds)
