"""Measures how well changes on shelf faces are seen, on rendered shelves of random shops with known truth."""

import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cart.drawing import page_template
from store_sim.processes import deaf_to_ctrl_c, single_threaded
from store_sim.shelf_pictures import Disturbance, ShelfSequence, TrueChange, shelf_sequence
from vision.arrays import BoolArray, ImageArray
from vision.layout import Bin
from vision.shelf import ShelfChange
from vision.shelf_faces import FaceWatcher

NANOSECONDS = 1_000_000_000
REPORT_SEEDS = 100
"""Shops from this seed on are for reports; thresholds were chosen while looking at those of seeds 0 to 9."""
MATCH_S = 3.0
"""A change is found where one is told of its bin at most so long before or after it took place."""
VISIBLE_GREY, VISIBLE_PX = 20, 40
"""A change can be seen if it changes so many pixels of an undisturbed picture by so many grey levels."""
MARGIN_PX = 24
SHOWN_HEIGHT_PX = 180
MOST_PICTURES = 200


@dataclass(frozen=True, slots=True)
class FaceJob:
    """One shelf of a random shop, several disturbances.

    Attributes:
        seed: Decides the shop, its shelf and what is taken.
        disturbances: What else happens; the same changes are played with each.
        changes: How many units are taken or put back.
    """

    seed: int
    disturbances: tuple[Disturbance, ...] = tuple(Disturbance)
    changes: int = 4

    def __post_init__(self) -> None:
        if self.seed < 0 or self.changes < 1 or not self.disturbances:
            raise ValueError(
                "expected a seed of 0 or more, at least one change and one disturbance, "
                f"got {self.seed}, {self.changes}, {len(self.disturbances)}"
            )


@dataclass(frozen=True, slots=True)
class Missed:
    """A true change that was not told.

    Attributes:
        truth: It.
        visible_px: How many pixels it changed.
        before: The shelf around it before, as it is without disturbance, shape (h, w, 3).
        after: And after it.
    """

    truth: TrueChange
    visible_px: int
    before: ImageArray
    after: ImageArray


@dataclass(frozen=True, slots=True)
class FaceScore:
    """How well the changes of one sequence were seen.

    Attributes:
        seed: Which shop.
        disturbance: What else happened.
        true: How many units were taken or put back.
        visible: How many of these change the picture.
        visible_found: How many of those were told.
        told: How many changes were told.
        right_way: How many of those found were told as what they were, pick or put-back.
        time_errors_s: Of those found, absolute.
        by_nobody: How many changes were seen that no hand had made; they are not told as handlings.
        missed: True changes that were not told.
        imagined: What was told and did not take place.
        cpu_s: Computing time of watching.
        frames: How many pictures were looked at.
    """

    seed: int
    disturbance: Disturbance
    true: int
    visible: int
    visible_found: int
    told: int
    right_way: int
    time_errors_s: tuple[float, ...]
    by_nobody: int
    missed: tuple[Missed, ...]
    imagined: tuple[ShelfChange, ...]
    cpu_s: float
    frames: int

    @property
    def found(self) -> int:
        """How many true changes were told."""
        return self.true - len(self.missed)


def changed_pixels(before: ImageArray, after: ImageArray) -> BoolArray:
    """Where two pictures of a shelf without any disturbance differ so that it can be seen, shape (h, w)."""
    return np.asarray(cv2.absdiff(before, after).max(axis=2) >= VISIBLE_GREY)


def play(job: FaceJob) -> tuple[FaceScore, ...]:
    """Watch one shelf, once with each disturbance."""
    sequence = shelf_sequence(job.seed, changes=job.changes)
    return tuple(watch(replace(sequence, disturbance=disturbance)) for disturbance in job.disturbances)


def watch(sequence: ShelfSequence) -> FaceScore:
    """Play one sequence through a watcher of faces and hold what it says against the truth."""
    told: list[ShelfChange] = []
    cpu_s, frames, by_nobody = 0.0, 0, 0
    if sequence.faces:
        watcher = FaceWatcher(sequence.faces)
        for frame in sequence.frames():
            begin_s = time.process_time()
            told += watcher.update(frame)
            cpu_s += time.process_time() - begin_s
            frames += 1
        told += watcher.finish()
        by_nobody = len(watcher.by_nobody)
    return score(sequence, told, by_nobody=by_nobody, cpu_s=cpu_s, frames=frames)


def score(
    sequence: ShelfSequence, told: Sequence[ShelfChange], *, by_nobody: int = 0, cpu_s: float = 0.0, frames: int = 0
) -> FaceScore:
    """Match what was told with what took place: the same bin, nearest in time first, each once."""
    pairs = sorted(
        (abs(said.time_ns - truth.time_ns) / NANOSECONDS, t, s)
        for t, truth in enumerate(sequence.changes)
        for s, said in enumerate(told)
        if said.bin_id == truth.bin_id
    )
    said_of: dict[int, int] = {}
    errors_s = []
    for away_s, t, s in pairs:
        if away_s <= MATCH_S and t not in said_of and s not in said_of.values():
            said_of[t] = s
            errors_s.append(away_s)
    visible_px = [
        int(changed_pixels(before, after).sum())
        for before, after in zip(sequence.states[:-1], sequence.states[1:], strict=True)
    ]
    outlines = {a_bin.bin_id: a_bin for a_bin in sequence.faces}
    missed = []
    for t, truth in enumerate(sequence.changes):
        if t not in said_of:
            part = around(outlines[truth.bin_id], sequence.states[t])
            before, after = sequence.states[t][part], sequence.states[t + 1][part]
            missed.append(Missed(truth, visible_px[t], before, after))
    return FaceScore(
        sequence.seed,
        sequence.disturbance,
        len(sequence.changes),
        sum(pixels >= VISIBLE_PX for pixels in visible_px),
        sum(visible_px[t] >= VISIBLE_PX for t in said_of),
        len(told),
        sum(told[s].handling is sequence.changes[t].handling for t, s in said_of.items()),
        tuple(errors_s),
        by_nobody,
        tuple(missed),
        tuple(said for s, said in enumerate(told) if s not in said_of.values()),
        cpu_s,
        frames,
    )


def around(a_bin: Bin, image: ImageArray) -> tuple[slice, slice]:
    """Rows and columns of a picture around a face."""
    outline = np.asarray(a_bin.polygon_px)
    left, top = np.maximum(np.floor(outline.min(axis=0)).astype(int) - MARGIN_PX, 0).tolist()
    right, bottom = (np.ceil(outline.max(axis=0)).astype(int) + MARGIN_PX).tolist()
    return slice(top, min(bottom, image.shape[0])), slice(left, min(right, image.shape[1]))


def evaluate_faces(
    jobs: Sequence[FaceJob],
    processes: int | None = None,
    progress: Callable[[int, tuple[FaceScore, ...]], None] | None = None,
) -> tuple[FaceScore, ...]:
    """Play every job, on several cores.

    Args:
        jobs: What to play.
        processes: How many at a time; None for one for each core that this process may use. With 1 everything runs in
            this process.
        progress: Told after every job: how many are done, and what came of this one.

    Returns:
        The scores, in the order of ``jobs``.

    Raises:
        ValueError: ``processes`` is below 1.
    """
    processes = len(os.sched_getaffinity(0)) if processes is None else processes
    if processes < 1:
        raise ValueError(f"processes: expected at least 1, got {processes}")
    if processes == 1 or len(jobs) < 2:
        return _gathered((play(job) for job in jobs), progress)
    context = multiprocessing.get_context("spawn")
    with single_threaded(), deaf_to_ctrl_c():
        pool = context.Pool(min(processes, len(jobs)), initializer=_one_thread)
    with pool:
        return _gathered(pool.imap(play, jobs), progress)


def _gathered(
    results: Iterable[tuple[FaceScore, ...]], progress: Callable[[int, tuple[FaceScore, ...]], None] | None
) -> tuple[FaceScore, ...]:
    found: list[FaceScore] = []
    for done, scores in enumerate(results, start=1):
        found += scores
        if progress is not None:
            progress(done, scores)
    return tuple(found)


def _one_thread() -> None:
    cv2.setNumThreads(1)


@dataclass(frozen=True, slots=True)
class FaceRow:
    """All sequences with one disturbance together.

    Attributes:
        disturbance: What else happened.
        shelves: How many sequences.
        true: How many units were taken or put back.
        told: How many changes were told.
        precision: Share of those told that took place; nan if nothing was told.
        recall: Share of all true changes that were told.
        visible_share: Share of all true changes that change the picture.
        visible_recall: Share of these that were told.
        handling: Share of those found that were told as what they were, pick or put-back.
        time_median_s: Median error of the time.
        time_95_s: 95 of 100 errors are below it.
        by_nobody: Changes that no hand had made.
        ms_a_frame: Computing time.
    """

    disturbance: str
    shelves: int
    true: int
    told: int
    precision: float
    recall: float
    visible_share: float
    visible_recall: float
    handling: float
    time_median_s: float
    time_95_s: float
    by_nobody: int
    ms_a_frame: float


def summarise(scores: Sequence[FaceScore]) -> tuple[FaceRow, ...]:
    """Take sequences with one disturbance together, in the order of their first."""
    rows = []
    for disturbance in dict.fromkeys(each.disturbance for each in scores):
        own = [each for each in scores if each.disturbance is disturbance]
        true, told = sum(each.true for each in own), sum(each.told for each in own)
        found, visible = sum(each.found for each in own), sum(each.visible for each in own)
        errors_s = np.array([error for each in own for error in each.time_errors_s])
        rows.append(
            FaceRow(
                disturbance.value,
                len(own),
                true,
                told,
                _share(found, told),
                _share(found, true),
                _share(visible, true),
                _share(sum(each.visible_found for each in own), visible),
                _share(sum(each.right_way for each in own), found),
                float(np.median(errors_s)) if len(errors_s) else math.nan,
                float(np.quantile(errors_s, 0.95)) if len(errors_s) else math.nan,
                sum(each.by_nobody for each in own),
                1000 * _share(sum(each.cpu_s for each in own), sum(each.frames for each in own)),
            )
        )
    return tuple(rows)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def document(scores: Sequence[FaceScore]) -> dict[str, Any]:
    """Everything as JSON has it; a number that there is not is None."""

    def entry(value: object) -> object:
        if isinstance(value, float):
            return round(value, 4) if math.isfinite(value) else None
        return value

    return {
        "match_s": MATCH_S,
        "visible": {"grey_levels": VISIBLE_GREY, "pixels": VISIBLE_PX},
        "rows": [{name: entry(getattr(row, name)) for name in FaceRow.__slots__} for row in summarise(scores)],
        "sequences": [
            {
                "seed": each.seed,
                "disturbance": each.disturbance.value,
                "true": each.true,
                "visible": each.visible,
                "found": each.found,
                "right_way": each.right_way,
                "by_nobody": each.by_nobody,
                "time_errors_s": [entry(error) for error in each.time_errors_s],
                "missed": [
                    {
                        "bin": missed.truth.bin_id,
                        "kind": missed.truth.handling.value,
                        "t_s": entry(missed.truth.time_ns / NANOSECONDS),
                        "visible_px": missed.visible_px,
                    }
                    for missed in each.missed
                ],
                "imagined": [
                    {
                        "bin": said.bin_id,
                        "kind": said.handling.value,
                        "t_s": entry(said.time_ns / NANOSECONDS),
                        "probability": entry(said.probability),
                    }
                    for said in each.imagined
                ],
            }
            for each in scores
        ],
    }


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the report and what to write under it."""

    name: str
    text: str


def before_and_after(before: ImageArray, after: ImageArray) -> ImageArray:
    """Two pictures of a face side by side, and what differs between them in the middle, all at one height."""
    difference = cv2.absdiff(before, after).max(axis=2)
    shown = np.repeat(np.minimum(3 * difference.astype(int), 255).astype(np.uint8)[..., None], 3, axis=2)
    scale = SHOWN_HEIGHT_PX / before.shape[0]
    size_wh = max(1, round(before.shape[1] * scale)), SHOWN_HEIGHT_PX
    parts = [cv2.resize(part, size_wh, interpolation=cv2.INTER_CUBIC) for part in (before, shown, after)]
    gap = np.full((SHOWN_HEIGHT_PX, 6, 3), 255, np.uint8)
    return np.asarray(np.hstack([parts[0], gap, parts[1], gap, parts[2]]), np.uint8)


def write_report(scores: Sequence[FaceScore], folder: Path) -> Path:
    """Write a page with the table, and pictures of what was missed and of what was imagined.

    Returns:
        The page.

    Raises:
        OSError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missed: list[Shown] = []
    imagined: list[Shown] = []
    for each in scores:
        where = f"seed {each.seed}, {each.disturbance.value}"
        for number, lost in enumerate(each.missed):
            truth = lost.truth
            text = f"{where}: {truth.handling.value} at {truth.bin_id}, {truth.time_ns / NANOSECONDS:.1f} s, "
            text += f"changes {lost.visible_px} pixels"
            name = f"missed-{each.seed}-{each.disturbance.value}-{number}.png"
            if len(missed) < MOST_PICTURES:
                _write(folder / name, before_and_after(lost.before, lost.after))
                missed.append(Shown(name, text))
        for number, said in enumerate(each.imagined):
            text = f"{where}: {said.handling.value} at {said.bin_id}, {said.time_ns / NANOSECONDS:.1f} s, "
            text += f"{said.probability:.0%} sure"
            name = f"imagined-{each.seed}-{each.disturbance.value}-{number}.png"
            if len(imagined) < MOST_PICTURES:
                _write(folder / name, before_and_after(_marked(said), said.after))
                imagined.append(Shown(name, text))
    page = folder / "index.html"
    page.write_text(
        page_template("face_report.html").render(
            rows=summarise(scores),
            missed=missed,
            imagined=imagined,
            match_s=MATCH_S,
            visible_grey=VISIBLE_GREY,
            visible_px=VISIBLE_PX,
        ),
        encoding="utf-8",
    )
    return page


def _marked(said: ShelfChange) -> ImageArray:
    """A face before a change, with a box around what is said to have changed."""
    image = said.before.copy()
    if said.region_px is not None:
        left, top, right, bottom = said.region_px
        cv2.rectangle(image, (left, top), (right - 1, bottom - 1), (0, 0, 255), 1)
    return image


def _write(path: Path, image: ImageArray) -> None:
    done, coded = cv2.imencode(".png", image)
    assert done
    path.write_bytes(coded.tobytes())


def write_document(scores: Sequence[FaceScore], path: Path) -> None:
    """Write the document as JSON.

    Raises:
        OSError: The file cannot be written.
    """
    path.write_text(json.dumps(document(scores), indent=1, allow_nan=False) + "\n", encoding="utf-8")
