"""How well tracks follow the truth: HOTA, IDF1 and MOTA, equal to TrackEval's.

HOTA is Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking" (IJCV 2021), IDF1 Ristani et
al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking" (ECCV workshops 2016), MOTA Bernardin
and Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics" (2008). Where a paper leaves
something open (the order in which boxes are matched, what a switch is after a gap), it is as TrackEval has it
(https://github.com/JonathonLuiten/TrackEval).
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from scipy.optimize import linear_sum_assignment

from tracking.mot import PEDESTRIAN, MotBoxes
from vision.arrays import BoolArray, FloatArray, IntArray, check_shape
from vision.boxes import iou_matrix

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""The overlaps over which HOTA is averaged."""

MATCH_IOU = 0.5
"""The overlap from which MOTA, IDF1 and the benchmark's own preparation count a box as found."""

DISTRACTORS = (2, 7, 8, 12)
"""Classes of MOT16's ground truth whose boxes are neither right nor wrong: people on vehicles, people who never move,
things like people, and mirror images."""

_EPSILON = float(np.finfo("float").eps)
_KEEP_MATCH = 1000.0  # MOTA goes on with the pair of the frame before, however little the boxes overlap by now


@dataclass(frozen=True, slots=True)
class TrackingScore:
    """Counts from which the measures follow; counts of several sequences add up.

    Attributes:
        found: True boxes found at each of ``ALPHAS``, shape (19,).
        missed: True boxes not found at each, shape (19,).
        false: Boxes that nobody was in at each, shape (19,).
        association: Sum over the found boxes of how well their whole tracks agree, at each, shape (19,).
        overlap: Sum of the found boxes' overlaps, at each, shape (19,).
        clear_found: True boxes found, as MOTA matches them at 0.5.
        clear_missed: True boxes not found.
        clear_false: Boxes that nobody was in.
        switches: How often a person's track became another.
        identity_found: Boxes right about who it is, under the best one-to-one match of tracks and people.
        identity_missed: True boxes without such a box.
        identity_false: Boxes without such a true box.
    """

    found: FloatArray
    missed: FloatArray
    false: FloatArray
    association: FloatArray
    overlap: FloatArray
    clear_found: int
    clear_missed: int
    clear_false: int
    switches: int
    identity_found: int
    identity_missed: int
    identity_false: int

    def __post_init__(self) -> None:
        for name in ("found", "missed", "false", "association", "overlap"):
            check_shape(f"TrackingScore.{name}", getattr(self, name), ALPHAS.shape)

    @classmethod
    def combined(cls, scores: Iterable[Self]) -> Self:
        """Add up the scores of several sequences, as the benchmark's COMBINED row does.

        Raises:
            ValueError: There are none.
        """
        kept = list(scores)
        if not kept:
            raise ValueError("TrackingScore.combined: expected at least one score")
        return cls(*(sum(getattr(score, field.name) for score in kept) for field in fields(cls)))

    @property
    def det_a(self) -> float:
        """Detection accuracy, 0 to 1."""
        return float(self._det_a.mean())

    @property
    def ass_a(self) -> float:
        """Association accuracy, 0 to 1."""
        return float(self._ass_a.mean())

    @property
    def hota(self) -> float:
        """Geometric mean of both at each overlap, averaged, 0 to 1."""
        return float(np.sqrt(self._det_a * self._ass_a).mean())

    @property
    def loc_a(self) -> float:
        """Mean overlap of found boxes, 0 to 1."""
        return float((np.maximum(self.overlap, 1e-10) / np.maximum(self.found, 1e-10)).mean())

    @property
    def mota(self) -> float:
        """1 minus misses, false boxes and switches per true box; below 0 for a very bad tracker."""
        true = self.clear_found + self.clear_missed
        return (self.clear_found - self.clear_false - self.switches) / max(true, 1)

    @property
    def idf1(self) -> float:
        """F1 of boxes that are right about who it is, 0 to 1."""
        return self.identity_found / max(
            1, self.identity_found + 0.5 * self.identity_missed + 0.5 * self.identity_false
        )

    @property
    def _det_a(self) -> FloatArray:
        return self.found / np.maximum(self.found + self.missed + self.false, 1)

    @property
    def _ass_a(self) -> FloatArray:
        return self.association / np.maximum(self.found, 1)


def score(truth: MotBoxes, result: MotBoxes, *, frames: int | None = None) -> TrackingScore:
    """Compare tracks with the truth.

    Rows of the truth with the flag 0, and of other classes than pedestrians, are not scored; boxes of the result that
    fit one of ``DISTRACTORS`` best are left out first. In files that know neither flags nor classes that is nothing.

    Args:
        truth: Who was where.
        result: What a tracker says; its confidences do not matter.
        frames: How many frames there are; to the last box of either if left out.

    Returns:
        The score.

    Raises:
        ValueError: An id comes twice in one frame, of the truth or the result.
    """
    count = frames if frames is not None else int(max(truth.frame.max(initial=0), result.frame.max(initial=0)))
    for name, boxes in (("truth", truth), ("result", result)):
        _check_single(name, boxes)
    true_rows, result_rows = truth.bounds(count), result.bounds(count)
    scored = (truth.class_id == PEDESTRIAN) & (truth.confidence != 0)
    distracting = np.isin(truth.class_id, DISTRACTORS)
    frames_kept: list[tuple[IntArray, IntArray, FloatArray]] = []
    for t in range(count):
        here, there = slice(true_rows[t], true_rows[t + 1]), slice(result_rows[t], result_rows[t + 1])
        overlap = iou_matrix(truth.xyxy[here], result.xyxy[there])
        kept = ~_on_distractors(overlap, distracting[here])
        frames_kept.append(
            (truth.track_id[here][scored[here]], result.track_id[there][kept], overlap[scored[here]][:, kept])
        )
    true_of = _numbered([ids for ids, _, _ in frames_kept])
    result_of = _numbered([ids for _, ids, _ in frames_kept])
    overlaps = [overlap for _, _, overlap in frames_kept]
    clear = _clear(true_of, result_of, overlaps)
    found, missed, false, association, overlap_sum = _hota(true_of, result_of, overlaps)
    identity = _identity(true_of, result_of, overlaps)
    return TrackingScore(found, missed, false, association, overlap_sum, *clear, *identity)


def _check_single(name: str, boxes: MotBoxes) -> None:
    order = np.lexsort((boxes.track_id, boxes.frame))
    frame, track_id = boxes.frame[order], boxes.track_id[order]
    twice = np.flatnonzero((np.diff(frame) == 0) & (np.diff(track_id) == 0))
    if len(twice):
        raise ValueError(f"{name}: id {track_id[twice[0]]} comes twice in frame {frame[twice[0]]}")


def _on_distractors(overlap: FloatArray, distracting: BoolArray) -> BoolArray:
    """Which boxes of a result fit something that is neither right nor wrong, shape (n,)."""
    found = np.zeros(overlap.shape[1], bool)
    if not distracting.any() or not overlap.size:
        return found
    fit = np.where(overlap >= MATCH_IOU - _EPSILON, overlap, 0)
    row, column = linear_sum_assignment(fit, maximize=True)
    taken = (fit[row, column] > _EPSILON) & distracting[row]
    found[column[taken]] = True
    return found


def _numbered(ids: list[IntArray]) -> list[IntArray]:
    """Number ids from 0, frame by frame."""
    if not ids:
        return []
    _, number = np.unique(np.concatenate(ids), return_inverse=True)
    return np.split(number, np.cumsum([len(frame) for frame in ids])[:-1])


def _people(ids: list[IntArray]) -> IntArray:
    """How often each number comes, shape (k,)."""
    return np.bincount(np.concatenate(ids)) if ids else np.zeros(0, np.int64)


def _hota(true_of: list[IntArray], result_of: list[IntArray], overlaps: list[FloatArray]) -> tuple[FloatArray, ...]:
    true_count, result_count = _people(true_of), _people(result_of)
    shared = np.zeros((len(true_count), len(result_count)))
    for true, said, overlap in zip(true_of, result_of, overlaps, strict=True):
        union = overlap.sum(axis=0)[None, :] + overlap.sum(axis=1)[:, None] - overlap
        shared[np.ix_(true, said)] += np.divide(overlap, union, out=np.zeros_like(overlap), where=union > _EPSILON)
    both = true_count[:, None] + result_count[None, :]
    alignment = shared / np.maximum(both - shared, _EPSILON)
    found, overlap_sum = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS))
    matches = np.zeros((len(ALPHAS), *shared.shape))
    for true, said, overlap in zip(true_of, result_of, overlaps, strict=True):
        if not overlap.size:
            continue
        row, column = linear_sum_assignment(alignment[np.ix_(true, said)] * overlap, maximize=True)
        fit = overlap[row, column]
        right = fit[None, :] >= ALPHAS[:, None] - _EPSILON
        found += right.sum(axis=1)
        overlap_sum += (right * fit).sum(axis=1)
        matches[:, true[row], said[column]] += right
    agreement = matches / np.maximum(both[None] - matches, 1)
    association = (matches * agreement).sum(axis=(1, 2))
    return found, true_count.sum() - found, result_count.sum() - found, association, overlap_sum


def _clear(true_of: list[IntArray], result_of: list[IntArray], overlaps: list[FloatArray]) -> tuple[int, int, int, int]:
    people = len(_people(true_of))
    last, now = np.full(people, -1), np.full(people, -1)  # whose track ever, and in the frame before
    found = missed = false = switches = 0
    for true, said, overlap in zip(true_of, result_of, overlaps, strict=True):
        if not (len(true) and len(said)):
            missed, false = missed + len(true), false + len(said)
            continue
        fit = _KEEP_MATCH * (said[None, :] == now[true][:, None]) + overlap
        fit[overlap < MATCH_IOU - _EPSILON] = 0
        row, column = linear_sum_assignment(fit, maximize=True)
        good = fit[row, column] > _EPSILON
        who, track = true[row[good]], said[column[good]]
        switches += int(((last[who] >= 0) & (last[who] != track)).sum())
        last[who] = track
        now[:] = -1
        now[who] = track
        found += len(who)
        missed += len(true) - len(who)
        false += len(said) - len(who)
    return found, missed, false, switches


def _identity(true_of: list[IntArray], result_of: list[IntArray], overlaps: list[FloatArray]) -> tuple[int, int, int]:
    true_count, result_count = _people(true_of), _people(result_of)
    together = np.zeros((len(true_count), len(result_count)))
    for true, said, overlap in zip(true_of, result_of, overlaps, strict=True):
        together[np.ix_(true, said)] += overlap >= MATCH_IOU
    # TrackEval pads the matrix so that anybody may stay unmatched; a match without a common box costs the same as none.
    row, column = linear_sum_assignment(together, maximize=True)
    found = int(together[row, column].sum())
    return found, int(true_count.sum()) - found, int(result_count.sum()) - found
