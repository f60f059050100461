import numpy as np
import pytest

from store_sim.scale_comparison import ComparedCurve, compare, curves_of
from store_sim.scale_fit import simulated_visit
from store_sim.scale_statistics import pick_of
from tests.store_sim.plates import store


def test_curves_begin_at_0_and_lie_around_their_moment() -> None:
    visit = simulated_visit(store(), "2/3/5", 300.0, seed=3)
    pick = pick_of(visit)
    assert pick is not None
    ((times_s, grams),) = curves_of(visit, ["2/3/5"], pick[1], before_s=2, after_s=1)
    assert -2 <= times_s[0] < -1.9
    assert 0.9 < times_s[-1] <= 1
    assert np.median(grams[times_s < -0.5]) == 0
    assert np.median(grams[times_s > 0.2]) == pytest.approx(-300, abs=6)


def test_curves_of_an_unknown_plate_are_refused() -> None:
    with pytest.raises(ValueError, match="got '7/7/7'"):
        curves_of(simulated_visit(store(), "2/3/5", 300.0, seed=3), ["7/7/7"], 0)


def test_a_comparison_shows_both_sides() -> None:
    one, other = (simulated_visit(store(), "2/3/5", 300.0, seed) for seed in (1, 2))
    comparison = compare(one, other, store(), "here", "there")
    assert (comparison.real_name, comparison.simulated_name) == ("here", "there")
    assert comparison.curves[0].plate_id == "2/3/5"
    assert comparison.curves[0].real_g.min() < -290
    assert comparison.curves[0].simulated_g.min() < -290
    assert all(len(curve.real_s) and len(curve.simulated_s) for curve in comparison.curves)
    assert len({row.name for row in comparison.statistics}) == len(comparison.statistics) > 30


def test_a_comparison_without_a_pick_is_refused() -> None:
    one, other = (simulated_visit(store(), "2/3/5", grams, 1) for grams in (300.0, 0.0))
    with pytest.raises(ValueError, match="there: expected a plate whose load changes"):
        compare(one, other, store(), "here", "there")


def test_a_curve_of_unequal_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ComparedCurve\.real_g"):
        ComparedCurve("x", "1/1/1", np.zeros(3), np.zeros(2), np.zeros(1), np.zeros(1))
