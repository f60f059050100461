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

_NO_INDICES = np.zeros(0, np.intp)


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
        self._value = _values(shared, _areas_and_heights(one), _areas_and_heights(two))

    def assign(
        self, rows: IntArray, columns: IntArray, weight: FloatArray | None, least: float
    ) -> tuple[IntArray, IntArray]:
        benefit = self._value.take(rows, axis=0).take(columns, axis=1)
        if weight is not None:
            benefit *= weight
        benefit -= least
        np.maximum(benefit, 0, out=benefit)
        row, column = linear_sum_assignment(benefit, maximize=True)
        good = (benefit[row, column] > 0).nonzero()[0]
        return rows.take(row.take(good)), columns.take(column.take(good))


class _SparseLikeness:
    """Of many boxes, as a list of pairs."""

    def __init__(self, tracks: FloatArray, detections: FloatArray) -> None:
        self._shape = len(tracks), len(detections)
        one, two = tracks.T, detections.T
        self._row, self._column, shared = _touching(one, two)
        self._value = _values(
            shared,
            _areas_and_heights(one).take(self._row, axis=1),
            _areas_and_heights(two).take(self._column, axis=1),
        )

    def assign(
        self, rows: IntArray, columns: IntArray, weight: FloatArray | None, least: float
    ) -> tuple[IntArray, IntArray]:
        here, weights = np.zeros(self._shape[0], bool), np.zeros(self._shape[1])
        here[rows] = True
        weights[columns] = 1.0 if weight is None else weight
        benefit = self._value * weights.take(self._column)
        benefit -= least
        useful = benefit > 0
        useful &= here.take(self._row)
        kept = useful.nonzero()[0]
        row, column = self._row.take(kept), self._column.take(kept)
        chosen = _chosen(row, column, benefit.take(kept))
        return row.take(chosen), column.take(chosen)


def _areas_and_heights(corners: FloatArray) -> FloatArray:
    """Of boxes given as rows left, top, right and bottom, shape (4, ...): shape (2, ...)."""
    sides = corners[2:] - corners[:2]
    sides[0] *= sides[1]
    return sides


def _values(shared: FloatArray, one: FloatArray, two: FloatArray) -> FloatArray:
    """Likeness from the width and height that boxes share, which is overwritten, and the area and height of each."""
    shared[0] *= shared[1]
    both = one + two
    both -= shared
    shared /= both
    return np.asarray(shared[0] * np.sqrt(shared[1]))


def touching_pairs(a: FloatArray, b: FloatArray) -> Pairs:
    """Find the pairs of boxes that share area.

    Args:
        a: Boxes (left, top, right, bottom), shape (n, 4), pixels.
        b: Boxes, shape (m, 4), pixels.

    Returns:
        Rows into ``a`` and columns into ``b``, ordered by row, then column.
    """
    if not (len(a) and len(b)):
        return Pairs(_NO_INDICES, _NO_INDICES)
    row, column, _ = _touching(a.T, b.T)
    order = np.argsort(row * len(b) + column)
    return Pairs(row[order], column[order])


def _touching(a: FloatArray, b: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Find the pairs of boxes that share area, in any order, and the width and height of what each pair shares.

    The picture is cut into strips as high as the highest box, so that a box can only touch those that begin in its own
    strip, the one above or the one below; within a strip the boxes are sorted by their left edge.

    Args:
        a: One box and more as rows left, top, right and bottom, shape (4, n), pixels.
        b: The same, shape (4, m).

    Returns:
        Rows into ``a`` and columns into ``b``, shape (p,), and the shared sides, shape (2, p).
    """
    left, top, right, bottom = a
    count = len(left)
    widest, tallest = np.maximum.reduce(b[2:] - b[:2], axis=1).tolist()
    strip = max(float((bottom - top).max()), tallest, 1e-9) * (1 + 1e-9)
    west, north = np.minimum(np.minimum.reduce(a[:2], axis=1), np.minimum.reduce(b[:2], axis=1)).tolist()
    west -= widest
    length = max(float(right.max()), float(b[0].max())) - west + 1  # of a strip, with room for every range within it
    key = np.floor((b[1] - north) / strip) * length + (b[0] - west)
    order = key.argsort()
    level = np.floor((top - north) / strip) * length
    spans = np.empty((2, 3, count))  # begin and end of what each box may touch, in the three strips
    np.add(level + (left - widest - west), [[-length], [0.0], [length]], out=spans[0])
    np.add(level + (right - west), [[-length], [0.0], [length]], out=spans[1])
    first, end = key.take(order).searchsorted(spans.ravel()).reshape(2, -1)
    counts = end - first
    span = np.arange(3 * count).repeat(counts)
    ends = counts.cumsum()
    column = order.take(np.arange(ends[-1]) + (end - ends).take(span))
    row = span % count
    one, two = a.take(row, axis=1), b.take(column, axis=1)
    shared = np.minimum(one[2:], two[2:])
    shared -= np.maximum(one[:2], two[:2])
    touching = ((shared[0] > 0) & (shared[1] > 0)).nonzero()[0]
    return row.take(touching), column.take(touching), shared.take(touching, axis=1)


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
    chosen = useful[_chosen(pairs.row[useful], pairs.column[useful], np.asarray(benefit, np.float64)[useful])]
    return pairs[chosen[np.argsort(pairs.row[chosen])]]


def _chosen(row: IntArray, column: IntArray, gain: FloatArray) -> IntArray:
    """Indices of the pairs of the best assignment, in any order, all gains being above 0."""
    if not len(row):
        return _NO_INDICES
    rows, columns = int(row.max()) + 1, int(column.max()) + 1
    ends = np.concatenate([row, column + rows]).reshape(2, -1)
    won, open_ = _certain(ends, gain, rows + columns)
    if len(open_):
        row, column, gain = row.take(open_), column.take(open_), gain.take(open_)
        groups = _groups(row, column)
        won += [open_[group[_assign_dense(row[group], column[group], gain[group])]] for group in groups]
    return np.concatenate(won)


def _certain(ends: IntArray, gain: FloatArray, count: int) -> tuple[list[IntArray], IntArray]:
    """Take pairs that some best assignment has for certain, and say which pairs remain possible.

    A pair that gains at least as much as the best other pair of its row and the best other pair of its column together
    can replace these two in any assignment without loss. In a crowd, most people are as certain as that.

    Args:
        ends: Row and column of each pair, shape (2, p), the columns numbered on from the rows: what is done to rows and
            to columns is then one operation.
        gain: What each pair gains, shape (p,).
        count: How many rows and columns there are.

    Returns:
        Indices of the pairs taken, a list to join, and of those left open.
    """
    certain: list[IntArray] = []
    open_ = np.arange(len(gain))
    for _ in range(_ROUNDS):
        both_ends, gains = ends.ravel(), np.concatenate([gain, gain])
        best = np.zeros(count)
        np.maximum.at(best, both_ends, gains)
        is_best = best.take(ends) == gain
        mutual = (is_best[0] & is_best[1]).nonzero()[0]
        its_ends = ends.take(mutual, axis=1)
        alone = np.bincount(its_ends.ravel(), minlength=count).take(its_ends) == 1  # not so where two gain the same
        if np.count_nonzero(alone) < alone.size:
            mutual = mutual[alone[0] & alone[1]]
            its_ends = ends.take(mutual, axis=1)
        gains.reshape(2, -1)[:, mutual] = 0
        next_best = np.zeros(count)
        np.maximum.at(next_best, both_ends, gains)
        others = next_best.take(its_ends)
        taken = (gain.take(mutual) >= others[0] + others[1]).nonzero()[0]
        if not len(taken):
            break
        certain.append(open_.take(mutual.take(taken)))
        free = np.ones(count, bool)
        free[its_ends.take(taken, axis=1)] = False
        free_ends = free.take(ends)
        left = (free_ends[0] & free_ends[1]).nonzero()[0]
        open_, ends, gain = open_.take(left), ends.take(left, axis=1), gain.take(left)
        if not len(left):
            break
    return certain, open_


def _groups(row: IntArray, column: IntArray) -> list[IntArray]:
    """Split pairs into groups that share neither rows nor columns; small problems stay whole."""
    if np.count_nonzero(np.bincount(row)) * np.count_nonzero(np.bincount(column)) <= _DENSE_CELLS:
        return [np.arange(len(row))]
    rows, columns = int(row.max()) + 1, int(column.max()) + 1
    graph = coo_array((np.ones(len(row), bool), (row, rows + column)), shape=(rows + columns, rows + columns))
    _, label = connected_components(graph, directed=False)
    label = label[row]
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def _assign_dense(row: IntArray, column: IntArray, benefit: FloatArray) -> IntArray:
    """Indices of the pairs of one group that are chosen."""
    (row, rows), (column, columns) = _renumbered(row), _renumbered(column)
    gain = np.zeros((rows, columns))
    gain[row, column] = benefit
    column_of = np.full(rows, -1)
    assigned, its_column = linear_sum_assignment(gain, maximize=True)
    column_of[assigned] = its_column
    return np.flatnonzero(column_of.take(row) == column)


def _renumbered(index: IntArray) -> tuple[IntArray, int]:
    """Number the indices that occur from 0 without gaps, and say how many they are."""
    number = (np.bincount(index) > 0).cumsum()
    return number.take(index) - 1, int(number[-1])
