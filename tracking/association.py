"""Decide which detection is which track: gate to the few possible pairs, weigh them, assign each at most once.

A handful of boxes is compared all with all, which is one operation on one small matrix. Of many, no full matrix is
made: a sweep over strips of the picture finds the pairs of boxes that touch, everything after that works on this list
of pairs, and what is left to decide after the obvious falls apart into independent groups of tracks and detections.
"""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vision.arrays import FloatArray, IntArray, check_shape
from vision.boxes import box_areas

_DENSE_CELLS = 4096  # up to here one dense matrix is faster than a list of pairs (64 tracks x 64 detections)
_ROUNDS = 8  # of taking what is certain; each makes more certain, and after a few nothing changes


@dataclass(frozen=True, slots=True)
class Pairs:
    """Possible matches of tracks (rows) and detections (columns).

    Attributes:
        row: Index of the track, shape (p,).
        column: Index of the detection, shape (p,).
    """

    row: IntArray
    column: IntArray

    def __post_init__(self) -> None:
        check_shape("Pairs.row", self.row, ("p",))
        check_shape("Pairs.column", self.column, self.row.shape)

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, kept: NDArray[Any] | slice) -> Self:
        """Keep the given pairs (indices, a mask or a slice)."""
        return type(self)(self.row[kept], self.column[kept])


class Likeness(Protocol):
    """How alike tracks and detections are, for those that touch."""

    def assign(
        self, rows: IntArray, columns: IntArray, weight: FloatArray | None, least: float
    ) -> tuple[IntArray, IntArray]:
        """Match some tracks with some detections so that the summed benefit is greatest.

        Args:
            rows: Indices of the tracks.
            columns: Indices of the detections.
            weight: What the likeness of each of these detections counts, shape of ``columns``; None for 1.
            least: Weighed likeness that a match must exceed. What is above it is the benefit.

        Returns:
            The matched tracks and the detection of each, as indices.
        """
        ...


def likeness(tracks: FloatArray, detections: FloatArray) -> Likeness:
    """Compare boxes: overlap (IoU) times the square root of how much of their heights they share.

    Two people one behind the other overlap, but the further one is smaller and stands higher in the picture, so heights
    tell apart what areas do not (Yang et al., "Hybrid-SORT: Weak Cues Matter for Online Multi-Object Tracking", AAAI
    2024, use the same cue).

    Args:
        tracks: Expected boxes (left, top, right, bottom), shape (n, 4), pixels, each with an area.
        detections: Boxes, shape (m, 4), pixels, each with an area.

    Returns:
        What ``assign`` can be asked of, once for each stage.
    """
    if len(tracks) * len(detections) <= _DENSE_CELLS:
        return _DenseLikeness(tracks, detections)
    return _SparseLikeness(tracks, detections)


class _DenseLikeness:
    """Of few boxes, as a matrix."""

    def __init__(self, tracks: FloatArray, detections: FloatArray) -> None:
        one, two = np.ascontiguousarray(tracks.T)[:, :, None], np.ascontiguousarray(detections.T)[:, None, :]
        shared = np.minimum(one[2:], two[2:])
        shared -= np.maximum(one[:2], two[:2])
        np.maximum(shared, 0, out=shared)
        sides, others = one[2:] - one[:2], two[2:] - two[:2]
        area = shared[0] * shared[1]
        value = area / (sides[0] * sides[1] + others[0] * others[1] - area)
        value *= np.sqrt(shared[1] / (sides[1] + others[1] - shared[1]))
        self._value = value

    def assign(
        self, rows: IntArray, columns: IntArray, weight: FloatArray | None, least: float
    ) -> tuple[IntArray, IntArray]:
        benefit = self._value[rows[:, None], columns]
        if weight is not None:
            benefit *= weight
        benefit -= least
        np.maximum(benefit, 0, out=benefit)
        row, column = linear_sum_assignment(benefit, maximize=True)
        good = benefit[row, column] > 0
        return rows[row[good]], columns[column[good]]


class _SparseLikeness:
    """Of many boxes, as a list of pairs."""

    def __init__(self, tracks: FloatArray, detections: FloatArray) -> None:
        self._shape = len(tracks), len(detections)
        self._pairs = touching_pairs(tracks, detections)
        row, column = self._pairs.row, self._pairs.column
        height = np.minimum(tracks[:, 3][row], detections[:, 3][column])
        height -= np.maximum(tracks[:, 1][row], detections[:, 1][column])
        both = (tracks[:, 3] - tracks[:, 1])[row] + (detections[:, 3] - detections[:, 1])[column]
        self._value = pair_overlaps(tracks, detections, self._pairs) * np.sqrt(height / (both - height))

    def assign(
        self, rows: IntArray, columns: IntArray, weight: FloatArray | None, least: float
    ) -> tuple[IntArray, IntArray]:
        here, weights = np.zeros(self._shape[0], bool), np.zeros(self._shape[1])
        here[rows] = True
        weights[columns] = 1.0 if weight is None else weight
        benefit = self._value * weights[self._pairs.column]
        benefit -= least
        useful = np.flatnonzero((benefit > 0) & here[self._pairs.row])
        chosen = assign(self._pairs[useful], benefit[useful])
        return chosen.row, chosen.column


def touching_pairs(a: FloatArray, b: FloatArray) -> Pairs:
    """Find the pairs of boxes that share area.

    The picture is cut into strips as high as the highest box, so that a box can only touch those that begin in its own
    strip, the one above or the one below; within a strip the boxes are sorted by their left edge.

    Args:
        a: Boxes (left, top, right, bottom), shape (n, 4), pixels.
        b: Boxes, shape (m, 4), pixels.

    Returns:
        Rows into ``a`` and columns into ``b``, ordered by row, then column.
    """
    if not (len(a) and len(b)):
        return Pairs(np.zeros(0, np.intp), np.zeros(0, np.intp))
    left, top, right, bottom = a.T
    left_b, top_b, right_b, bottom_b = b.T
    strip = max(float((bottom - top).max()), float((bottom_b - top_b).max()), 1e-9) * (1 + 1e-9)
    widest = float((right_b - left_b).max())
    west = min(float(left.min()), float(left_b.min())) - widest
    length = max(float(right.max()), float(left_b.max())) - west + 1  # of a strip, with room for every range within it
    north = min(float(top.min()), float(top_b.min()))
    key = np.floor((top_b - north) / strip) * length + (left_b - west)
    order = np.argsort(key, kind="stable")
    key = key[order]
    level = np.floor((top - north) / strip) * length
    begins, ends = level + (left - widest - west), level + (right - west)
    shifts = np.array([[-length], [0.0], [length]])
    first = np.searchsorted(key, (begins + shifts).T.ravel(), side="left")
    counts = np.searchsorted(key, (ends + shifts).T.ravel(), side="left") - first
    total = int(counts.sum())
    row = np.repeat(np.repeat(np.arange(len(a)), 3), counts)
    within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    column = order[np.repeat(first, counts) + within]
    touching = (right_b[column] > left[row]) & (left_b[column] < right[row])
    touching &= (bottom_b[column] > top[row]) & (top_b[column] < bottom[row])
    row, column = row[touching], column[touching]
    by_row = np.argsort(row * len(b) + column, kind="stable")
    return Pairs(row[by_row], column[by_row])


def pair_overlaps(a: FloatArray, b: FloatArray, pairs: Pairs) -> FloatArray:
    """Intersection over union of the given pairs of boxes, shape (p,), 0 to 1."""
    row, column = pairs.row, pairs.column
    width = np.minimum(a[:, 2][row], b[:, 2][column]) - np.maximum(a[:, 0][row], b[:, 0][column])
    height = np.minimum(a[:, 3][row], b[:, 3][column]) - np.maximum(a[:, 1][row], b[:, 1][column])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = box_areas(a)[row] + box_areas(b)[column] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def assign(pairs: Pairs, benefit: FloatArray) -> Pairs:
    """Choose pairs so that each row and each column is used at most once and the summed benefit is greatest.

    This is the assignment with a cost limit of ByteTrack and its kin, where an unmatched track and an unmatched
    detection together cost the limit, with benefit = limit - cost; no padding of the matrix is needed.

    Args:
        pairs: Possible matches, each listed once.
        benefit: What each gains over leaving both unmatched, shape (p,); those of 0 and less are never taken.

    Returns:
        The chosen pairs, ordered by row.
    """
    check_shape("assign: benefit", benefit, (len(pairs),))
    useful = np.flatnonzero(np.asarray(benefit) > 0)
    if not len(useful):
        return pairs[useful]
    row, column, gain = pairs.row[useful], pairs.column[useful], np.asarray(benefit, np.float64)[useful]
    won, open_ = _certain(row, column, gain)
    if len(open_):
        row, column, gain = row[open_], column[open_], gain[open_]
        _, row = np.unique(row, return_inverse=True)
        _, column = np.unique(column, return_inverse=True)
        groups = _groups(row, column)
        won += [open_[group[_assign_dense(row[group], column[group], gain[group])]] for group in groups]
    chosen = useful[np.concatenate(won)]
    return pairs[chosen[np.argsort(pairs.row[chosen])]]


def _certain(row: IntArray, column: IntArray, gain: FloatArray) -> tuple[list[IntArray], IntArray]:
    """Take pairs that some best assignment has for certain, and say which pairs remain possible.

    A pair that gains at least as much as the best other pair of its row and the best other pair of its column together
    can replace these two in any assignment without loss. In a crowd, most people are as certain as that.
    """
    certain: list[IntArray] = []
    open_ = np.arange(len(row))
    rows, columns = int(row.max()) + 1, int(column.max()) + 1
    for _ in range(_ROUNDS):
        r, c, g = row[open_], column[open_], gain[open_]
        best_of_row, best_of_column = np.zeros(rows), np.zeros(columns)
        np.maximum.at(best_of_row, r, g)
        np.maximum.at(best_of_column, c, g)
        mutual = (g == best_of_row[r]) & (g == best_of_column[c])
        mutual &= (np.bincount(r[mutual], minlength=rows)[r] == 1) & (np.bincount(c[mutual], minlength=columns)[c] == 1)
        others = np.where(mutual, 0.0, g)
        next_of_row, next_of_column = np.zeros(rows), np.zeros(columns)
        np.maximum.at(next_of_row, r, others)
        np.maximum.at(next_of_column, c, others)
        taken = mutual & (g >= next_of_row[r] + next_of_column[c])
        if not taken.any():
            break
        certain.append(open_[taken])
        row_free, column_free = np.ones(rows, bool), np.ones(columns, bool)
        row_free[r[taken]] = False
        column_free[c[taken]] = False
        open_ = open_[row_free[r] & column_free[c]]
        if not len(open_):
            break
    return certain, open_


def _groups(row: IntArray, column: IntArray) -> list[IntArray]:
    """Split pairs into groups that share neither rows nor columns; small problems stay whole."""
    rows, columns = int(row.max()) + 1, int(column.max()) + 1
    if rows * columns <= _DENSE_CELLS:
        return [np.arange(len(row))]
    graph = coo_array((np.ones(len(row), bool), (row, rows + column)), shape=(rows + columns, rows + columns))
    _, label = connected_components(graph, directed=False)
    label = label[row]
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def _assign_dense(row: IntArray, column: IntArray, benefit: FloatArray) -> IntArray:
    """Indices of the pairs of one group that are chosen."""
    _, row = np.unique(row, return_inverse=True)
    _, column = np.unique(column, return_inverse=True)
    gain = np.zeros((int(row.max()) + 1, int(column.max()) + 1))
    index = np.full(gain.shape, -1)
    gain[row, column] = benefit
    index[row, column] = np.arange(len(row))
    chosen = index[linear_sum_assignment(gain, maximize=True)]
    return np.asarray(chosen[chosen >= 0])
