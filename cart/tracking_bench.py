"""Measures tracking in one camera: how right and how fast, beside other people's trackers in the same run.

Everybody gets the same detections. How right is said by TrackEval where it is installed, by our own measures (which are
equal to it) where not. How fast is CPU time of this process, or of norfair's.
"""

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from cart.tracking_peers import NORFAIR, Peer, Rows, installed, peers, run_norfair, run_peer, versions
from tracking.metrics import TrackingScore, score
from tracking.mot import MotBoxes, MotSequence, boxes_of, frames_of, read_sequence, write_mot
from tracking.tracker import Tracker
from vision.detections import Detections

OURS = "tillfree"
CROWDS = (10, 50, 200, 1000)
"""How many people the speed is measured with."""

_CROWD_FRAMES = {10: 300, 50: 150, 200: 50, 1000: 12}  # a slow tracker takes 0.1 s a frame of 1,000
_WARM_UP = 3  # frames in which tracks begin, which is another work than following them
_PATIENCE_S = 15.0  # a tracker that takes longer is judged by the frames it has done until then
_CROWD_HZ = 30.0
_PICTURE_WH = (1920.0, 1080.0)


@dataclass(frozen=True, slots=True)
class TrackingRow:
    """One tracker on one group of sequences.

    Attributes:
        group: The sequences: ``2015``, ``MOT17``, ``hall`` or what else lies there.
        tracker: Whose, and of which package.
        hota: 0 to 1, as the other shares.
        idf1: How much of everybody carries one id.
        ass_a: HOTA's share of right associations.
        det_a: HOTA's share of right boxes.
        switches: How often somebody's id changed.
        frames_per_s: Frames a CPU second.
    """

    group: str
    tracker: str
    hota: float
    idf1: float
    ass_a: float
    det_a: float
    switches: int
    frames_per_s: float


@dataclass(frozen=True, slots=True)
class CrowdRow:
    """One tracker with one number of people in view.

    Attributes:
        people: How many.
        tracker: Whose, and of which package.
        frames_per_s: Frames a CPU second.
        ratio: How many times as fast ours is; 1 for ours.
    """

    people: int
    tracker: str
    frames_per_s: float
    ratio: float


@dataclass(frozen=True, slots=True)
class TrackingBench:
    """What was measured.

    Attributes:
        scored_by: ``TrackEval``, or ``tillfree`` where that is not installed.
        versions: Of the packages compared with.
        missing: Trackers that could not be compared with, and why.
        accuracy: A row for each group and tracker.
        speed: A row for each number of people and tracker.
    """

    scored_by: str
    versions: dict[str, str]
    missing: tuple[str, ...]
    accuracy: tuple[TrackingRow, ...]
    speed: tuple[CrowdRow, ...]


def read_sequences(folder: Path) -> tuple[MotSequence, ...]:
    """Read all sequences of a folder that have a truth, ordered by group and name.

    Raises:
        ValueError: There is none, or a file is not as it should be.
        OSError: A file cannot be read.
    """
    found = [read_sequence(path.parent) for path in sorted(folder.glob("*/seqinfo.ini"))]
    kept = [sequence for sequence in found if sequence.truth is not None]
    if not kept:
        raise ValueError(f"{folder}: expected folders with seqinfo.ini, det/det.txt and gt/gt.txt, there are none")
    return tuple(sorted(kept, key=lambda sequence: (group_of(sequence.name), sequence.name)))


def group_of(name: str) -> str:
    """Say to which group a sequence belongs by its name; those of 2015 have names of places.

    >>> [group_of(name) for name in ("MOT17-02", "auditorium-IP2", "PETS09-S2L1")]
    ['MOT17', 'hall', '2015']
    """
    first = name.split("-")[0]
    if first.startswith("MOT"):
        return first
    return "hall" if first == "auditorium" else "2015"


def tracking_bench(
    sequences: Sequence[MotSequence],
    *,
    norfair_python: Path | None = None,
    crowds: Sequence[int] = CROWDS,
    step: Callable[[str], None] | None = None,
) -> TrackingBench:
    """Measure ours and everybody else's.

    Args:
        sequences: With truth, ordered by group.
        norfair_python: An interpreter that has norfair; it is left out without.
        crowds: How many people to measure the speed with; none to leave it out.
        step: Told what is done next.

    Returns:
        All rows, ours first in each group and crowd.

    Raises:
        OSError: The other interpreter fails.
    """
    tell = step or (lambda _: None)
    everybody = peers()
    here = [peer for peer in everybody if installed(peer)]
    missing = [f"{peer.name}: not installed" for peer in everybody if peer not in here]
    trackers = [Peer(OURS, _start_ours), *here]
    seen = [list(frames_of(s.detections, s.frame_rate_hz, frames=s.frame_count)) for s in sequences]
    taken: list[tuple[str, int, MotBoxes, float]] = []
    for peer in trackers:
        for index, sequence in enumerate(sequences):
            tell(f"{peer.name}: {sequence.name}")
            rows, seconds = run_peer(peer, seen[index], sequence.frame_rate_hz)
            taken.append((peer.name, index, _boxes(rows), seconds))
    if norfair_python is None:
        missing.append(f"{NORFAIR}: no Python for it given")
    else:
        tell(NORFAIR)
        for index, (rows, seconds) in enumerate(run_norfair(norfair_python, seen)):
            taken.append((NORFAIR, index, _boxes(rows), seconds))
    tell("scoring")
    judge, scored_by = (_trackeval, "TrackEval") if _has_trackeval() else (_ours, OURS)
    groups: dict[str, list[int]] = {}
    for index, sequence in enumerate(sequences):
        groups.setdefault(group_of(sequence.name), []).append(index)
    accuracy = [
        _row(group, tracker, judge, sequences, [entry for entry in taken if entry[0] == tracker], members)
        for group, members in groups.items()
        for tracker in dict.fromkeys(name for name, *_ in taken)
    ]
    speed = [row for count in crowds for row in _crowd_rows(count, trackers, norfair_python, tell)]
    return TrackingBench(scored_by, versions(), tuple(missing), tuple(accuracy), tuple(speed))


def write_tracking_bench(bench: TrackingBench, path: Path) -> None:
    """Write what was measured as JSON, for plots and for the next release.

    Raises:
        OSError: The file cannot be written.
    """
    path.write_text(json.dumps(asdict(bench), indent=1) + "\n", encoding="utf-8")


def crowd(people: int, frames: int, seed: int = 1) -> list[Detections]:
    """Make up people who walk about: boxes that cover the picture about once, 5 % missed, a fifth of them unsure.

    Args:
        people: How many.
        frames: How many frames, at 30 a second.
        seed: Another seed, other walks.
    """
    rng = np.random.default_rng(seed)
    size = np.array(_PICTURE_WH)
    height = min(200.0, float(np.sqrt(1.2 * size.prod() / people)))  # as high as that, boxes of 0.4 of it overlap
    box = np.array([0.4 * height, height])
    place = rng.uniform((0, 0), size, (people, 2))
    pace = rng.normal(0, 0.5 * height / _CROWD_HZ, (people, 2))  # half a body height a second: a walk
    made = []
    for index in range(frames):
        place += pace
        pace[(place < 0) | (place > size)] *= -1
        kept = rng.random(people) < 0.95
        centre = place[kept] + rng.normal(0, 0.02 * height, (int(kept.sum()), 2))
        half = box * (1 + rng.normal(0, 0.02, centre.shape)) / 2
        count = len(centre)
        made.append(
            Detections(
                "camera",
                round(index * 1_000_000_000 / _CROWD_HZ),
                np.concatenate([centre - half, centre + half], axis=1).astype(np.float32),
                np.sqrt(rng.uniform(0.2, 0.95, count)).astype(np.float32),
                np.zeros(count, np.int64),
                np.zeros((count, 0, 3), np.float32),
            )
        )
    return made


def _start_ours(frame_rate_hz: float) -> Callable[[Detections], Rows]:
    del frame_rate_hz  # the frames carry their times
    tracker = Tracker("camera")

    def step(seen: Detections) -> Rows:
        tracks = tracker.update(seen)
        return tracks.track_id, tracks.xyxy

    return step


def _boxes(rows: Sequence[Rows]) -> MotBoxes:
    return MotBoxes.of(
        np.repeat(np.arange(1, len(rows) + 1), [len(ids) for ids, _ in rows]),
        np.concatenate([ids for ids, _ in rows]),
        np.concatenate([boxes for _, boxes in rows]).astype(np.float64),
    )


def _crowd_rows(
    people: int, trackers: Sequence[Peer], norfair_python: Path | None, tell: Callable[[str], None]
) -> Iterator[CrowdRow]:
    frames = crowd(people, _CROWD_FRAMES.get(people, max(12, 3000 // people)) + _WARM_UP)
    rates: dict[str, float] = {}
    for peer in trackers:
        tell(f"{peer.name}: {people} people")
        step = peer.start(_CROWD_HZ)
        for seen in frames[:_WARM_UP]:
            step(seen)
        began_s, done = time.process_time(), 0
        for seen in frames[_WARM_UP:]:
            step(seen)
            done += 1
            if time.process_time() - began_s > _PATIENCE_S:
                break
        rates[peer.name] = done / max(time.process_time() - began_s, 1e-9)
    if norfair_python is not None:
        tell(f"{NORFAIR}: {people} people")
        _, seconds = next(run_norfair(norfair_python, [frames]))
        rates[NORFAIR] = len(frames) / max(seconds, 1e-9)
    for name, rate in rates.items():
        yield CrowdRow(people, name, rate, rates[OURS] / rate)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the table shows of a score."""

    hota: float
    idf1: float
    ass_a: float
    det_a: float
    switches: int


def _row(
    group: str,
    tracker: str,
    judge: Callable[[Sequence[MotSequence], Sequence[MotBoxes]], _Judged],
    sequences: Sequence[MotSequence],
    taken: Sequence[tuple[str, int, MotBoxes, float]],
    members: Sequence[int],
) -> TrackingRow:
    mine = [entry for entry in taken if entry[1] in members]
    judged = judge([sequences[entry[1]] for entry in mine], [entry[2] for entry in mine])
    frames = sum(sequences[entry[1]].frame_count for entry in mine)
    rate = frames / max(sum(entry[3] for entry in mine), 1e-9)
    return TrackingRow(group, tracker, judged.hota, judged.idf1, judged.ass_a, judged.det_a, judged.switches, rate)


def _ours(sequences: Sequence[MotSequence], results: Sequence[MotBoxes]) -> _Judged:
    total = TrackingScore.combined(
        score(_truth(sequence), result, frames=sequence.frame_count)
        for sequence, result in zip(sequences, results, strict=True)
    )
    return _Judged(total.hota, total.idf1, total.ass_a, total.det_a, total.switches)


def _truth(sequence: MotSequence) -> MotBoxes:
    if sequence.truth is None:
        raise ValueError(f"{sequence.name}: expected a truth to score with")
    return sequence.truth


def _has_trackeval() -> bool:
    try:
        import_module("trackeval")
    except ImportError:
        return False
    return True


def _trackeval(sequences: Sequence[MotSequence], results: Sequence[MotBoxes]) -> _Judged:
    """Ask TrackEval, through the files that it reads."""
    module = import_module("trackeval")
    names = [sequence.name for sequence in sequences]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        root = Path(folder)
        data = root / "results" / OURS / "data"
        data.mkdir(parents=True)
        for sequence, result in zip(sequences, results, strict=True):
            (root / "truth" / sequence.name / "gt").mkdir(parents=True)
            _write_truth(root / "truth" / sequence.name / "gt" / "gt.txt", _truth(sequence))
            write_mot(data / f"{sequence.name}.txt", result)
        dataset = module.datasets.MotChallenge2DBox(
            {
                "GT_FOLDER": str(root / "truth"),
                "TRACKERS_FOLDER": str(root / "results"),
                "TRACKERS_TO_EVAL": [OURS],
                "BENCHMARK": "MOT17",  # its preparation does nothing to sequences without other classes
                "SKIP_SPLIT_FOL": True,
                "SEQ_INFO": {sequence.name: sequence.frame_count for sequence in sequences},
                "PRINT_CONFIG": False,
            }
        )
        quiet = {"PRINT_CONFIG": False}
        metrics = {
            "hota": module.metrics.HOTA(),
            "clear": module.metrics.CLEAR(quiet),
            "identity": module.metrics.Identity(quiet),
        }
        prepared = {
            name: dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data(OURS, name), "pedestrian")
            for name in names
        }
        total = {
            key: metric.combine_sequences({name: metric.eval_sequence(prepared[name]) for name in names})
            for key, metric in metrics.items()
        }
    return _Judged(
        float(np.mean(total["hota"]["HOTA"])),
        float(total["identity"]["IDF1"]),
        float(np.mean(total["hota"]["AssA"])),
        float(np.mean(total["hota"]["DetA"])),
        int(total["clear"]["IDSW"]),
    )


def _write_truth(path: Path, truth: MotBoxes) -> None:
    size = truth.xyxy[:, 2:] - truth.xyxy[:, :2]
    table = np.column_stack(
        [truth.frame, truth.track_id, truth.xyxy[:, :2], size, truth.confidence != 0, truth.class_id]
    )
    lines = [",".join(f"{value:.10g}" for value in row) + ",1\n" for row in table.tolist()]
    path.write_text("".join(lines), "utf-8")


def tracked(sequence: MotSequence) -> MotBoxes:
    """Follow a sequence with our tracker.

    Args:
        sequence: Its detections and frame rate.

    Returns:
        The tracks.
    """
    tracker = Tracker("camera")
    frames = frames_of(sequence.detections, sequence.frame_rate_hz, frames=sequence.frame_count)
    return boxes_of([tracker.update(frame) for frame in frames])
