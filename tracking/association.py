"""Decide which detection is which track: gate to the few possible pairs, weigh them, assign each at most once.

No full cost matrix is made. A sweep along x finds the pairs of boxes that touch, everything after that works on this
list of pairs, and the assignment falls apart into independent groups of tracks and detections.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vision.arrays import FloatArray, IntArray, check_shape
from vision.boxes import box_areas

_DENSE_CELLS = 4096  # up to here one dense assignment is faster than splitting into groups (64 tracks x 64 detections)


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


def touching_pairs(a: FloatArray, b: FloatArray) -> Pairs:
    """Find the pairs of boxes that share area.

    Args:
        a: Boxes (left, top, right, bottom), shape (n, 4), pixels.
        b: Boxes, shape (m, 4), pixels.

    Returns:
        Rows into ``a`` and columns into ``b``, ordered by row, then column.
    """
    nothing = Pairs(np.zeros(0, np.intp), np.zeros(0, np.intp))
    if not (len(a) and len(b)):
        return nothing
    order = np.argsort(b[:, 0], kind="stable")
    left = b[order, 0]
    widest = float((b[:, 2] - b[:, 0]).max())
    first = np.searchsorted(left, a[:, 0] - widest, side="left")
    counts = np.maximum(np.searchsorted(left, a[:, 2], side="left") - first, 0)
    total = int(counts.sum())
    if not total:
        return nothing
    row = np.repeat(np.arange(len(a)), counts)
    within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    column = order[np.repeat(first, counts) + within]
    one, two = a[row], b[column]
    touching = (np.minimum(one[:, 2:], two[:, 2:]) > np.maximum(one[:, :2], two[:, :2])).all(axis=1)
    row, column = row[touching], column[touching]
    by_row = np.lexsort((column, row))
    return Pairs(row[by_row], column[by_row])


def pair_overlaps(a: FloatArray, b: FloatArray, pairs: Pairs) -> FloatArray:
    """Intersection over union of the given pairs of boxes, shape (p,), 0 to 1."""
    one, two = a[pairs.row], b[pairs.column]
    sides = np.maximum(np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2]), 0)
    shared = sides[:, 0] * sides[:, 1]
    union = box_areas(one) + box_areas(two) - shared
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
    useful = benefit > 0
    pairs, benefit = pairs[useful], np.asarray(benefit, np.float64)[useful]
    if not len(pairs):
        return pairs
    rivals = np.bincount(pairs.row)[pairs.row] + np.bincount(pairs.column)[pairs.column]
    alone = rivals == 2
    chosen = np.flatnonzero(alone)
    disputed = np.flatnonzero(~alone)
    if len(disputed):
        _, row = np.unique(pairs.row[disputed], return_inverse=True)
        _, column = np.unique(pairs.column[disputed], return_inverse=True)
        won = [
            disputed[group[_assign_dense(row[group], column[group], benefit[disputed[group]])]]
            for group in _groups(row, column)
        ]
        chosen = np.concatenate([chosen, *won])
    chosen = chosen[np.argsort(pairs.row[chosen])]
    return pairs[chosen]


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
