from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from tracking.association import Pairs, _DenseLikeness, _SparseLikeness, assign, pair_overlaps, touching_pairs
from vision.arrays import FloatArray
from vision.boxes import iou_matrix


def boxes(seed: int, count: int, spread_px: float = 300.0) -> FloatArray:
    rng = np.random.default_rng([seed, count])
    corner = rng.uniform(0, spread_px, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 120, (count, 2))], axis=1)


def gains(seed: int, rows: int, columns: int, density: float) -> tuple[Pairs, FloatArray, FloatArray]:
    """A random sparse problem, also as a matrix in which absent pairs gain nothing."""
    rng = np.random.default_rng([seed, rows, columns])
    row, column = np.nonzero(rng.random((rows, columns)) < density)
    benefit = rng.uniform(-0.3, 1, len(row))
    matrix = np.zeros((rows, columns))
    matrix[row, column] = np.maximum(benefit, 0)
    return Pairs(row, column), benefit, matrix


def total(pairs: Pairs, matrix: FloatArray) -> float:
    return float(matrix[pairs.row, pairs.column].sum())


@given(seed=st.integers(0, 10_000), n=st.integers(0, 30), m=st.integers(0, 30))
def test_the_sweep_finds_exactly_the_boxes_that_overlap(seed: int, n: int, m: int) -> None:
    a, b = boxes(seed, n), boxes(seed + 1, m)
    overlaps = iou_matrix(a, b)
    pairs = touching_pairs(a, b)
    expected = np.argwhere(overlaps > 0)
    assert np.column_stack([pairs.row, pairs.column]).tolist() == expected.tolist()
    np.testing.assert_allclose(pair_overlaps(a, b, pairs), overlaps[pairs.row, pairs.column])


@given(seed=st.integers(0, 10_000), rows=st.integers(0, 25), columns=st.integers(0, 25), density=st.floats(0, 1))
def test_assignment_is_one_to_one_gated_and_best(seed: int, rows: int, columns: int, density: float) -> None:
    pairs, benefit, matrix = gains(seed, rows, columns, density)
    chosen = assign(pairs, benefit)
    assert len(np.unique(chosen.row)) == len(np.unique(chosen.column)) == len(chosen)
    assert (matrix[chosen.row, chosen.column] > 0).all()
    assert (np.diff(chosen.row) > 0).all()
    best = linear_sum_assignment(matrix, maximize=True)
    assert total(chosen, matrix) == pytest.approx(matrix[best].sum())


@given(seed=st.integers(0, 10_000), density=st.floats(0.1, 1))
def test_small_problems_agree_with_trying_everything(seed: int, density: float) -> None:
    pairs, benefit, matrix = gains(seed, 4, 4, density)
    everything = max(matrix[range(4), list(order)].sum() for order in permutations(range(4)))
    assert total(assign(pairs, benefit), matrix) == pytest.approx(everything)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_large_sparse_problems_fall_apart_without_loss(seed: int) -> None:
    pairs, benefit, matrix = gains(seed, 120, 110, 0.02)
    best = linear_sum_assignment(matrix, maximize=True)
    assert total(assign(pairs, benefit), matrix) == pytest.approx(matrix[best].sum())


@given(seed=st.integers(0, 10_000))
def test_the_order_of_the_pairs_does_not_matter(seed: int) -> None:
    pairs, benefit, _ = gains(seed, 8, 8, 0.5)
    order = np.random.default_rng(seed).permutation(len(pairs))
    one, two = assign(pairs, benefit), assign(pairs[order], benefit[order])
    assert one.row.tolist() == two.row.tolist()
    assert one.column.tolist() == two.column.tolist()


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), least=st.floats(0, 0.6))
def test_few_boxes_and_many_are_matched_by_the_same_rule(seed: int, least: float) -> None:
    a, b = boxes(seed, 40), boxes(seed + 1, 35)
    rng = np.random.default_rng(seed)
    rows, columns = np.flatnonzero(rng.random(40) < 0.8), np.flatnonzero(rng.random(35) < 0.8)
    weight = rng.uniform(0.3, 1, len(columns))
    dense = _DenseLikeness(a, b).assign(rows, columns, weight, least)
    sparse = _SparseLikeness(a, b).assign(rows, columns, weight, least)
    assert sorted(zip(*(one.tolist() for one in dense), strict=True)) == sorted(
        zip(*(one.tolist() for one in sparse), strict=True)
    )
    assert set(dense[0].tolist()) <= set(rows.tolist())
    assert set(dense[1].tolist()) <= set(columns.tolist())


def test_a_sure_match_is_kept_only_where_no_two_others_gain_more() -> None:
    pairs = Pairs(np.array([0, 0, 1, 2]), np.array([0, 1, 0, 2]))
    assert assign(pairs, np.array([0.9, 0.5, 0.5, 0.1])).column.tolist() == [1, 0, 2]
    assert assign(pairs, np.array([1.1, 0.5, 0.5, 0.1])).column.tolist() == [0, 2]


def test_two_weak_matches_beat_one_strong_one_when_they_gain_more() -> None:
    pairs = Pairs(np.array([0, 0, 1]), np.array([0, 1, 0]))
    assert assign(pairs, np.array([0.6, 0.5, 0.5])).column.tolist() == [1, 0]
    assert assign(pairs, np.array([0.9, 0.1, 0.1])).column.tolist() == [0]


def test_pairs_without_gain_are_never_chosen() -> None:
    assert len(assign(Pairs(np.array([0]), np.array([0])), np.array([0.0]))) == 0


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Pairs\.column: expected shape \(2\), got \(1,\)"):
        Pairs(np.zeros(2, int), np.zeros(1, int))
    with pytest.raises(ValueError, match="assign: benefit"):
        assign(Pairs(np.zeros(1, int), np.zeros(1, int)), np.zeros(2))
