"""What plates feel of hands and goods."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_sim.happenings import PlateLoad
from store_sim.touches import Touches

PLATES = (("1/1/1", 0.7), ("1/1/2", 0.3))
SECOND_NS = 1_000_000_000


def some_touches(seed: int = 0) -> Touches:
    touches = Touches(np.random.default_rng(seed))
    touches.begin(SECOND_NS)
    return touches


def test_weight_that_goes_begins_to_go_now() -> None:
    touches = some_touches()
    touches.weigh({"1/1/1": 200.0}, -1.0)
    (load,) = touches.loads
    assert (load.plate_id, load.grams) == ("1/1/1", -200.0)
    assert load.time_ns - load.rise_s / 2 * SECOND_NS == pytest.approx(SECOND_NS, abs=10)


def test_a_step_forgets_the_one_before() -> None:
    touches = some_touches()
    touches.lean(PLATES)
    touches.weigh({"1/1/1": 200.0})
    touches.begin(2 * SECOND_NS)
    assert not touches.loads
    assert not touches.presses


def test_a_hand_leans_on_plates_by_their_shares() -> None:
    touches = some_touches()
    touches.lean(PLATES)
    one, other = touches.presses
    assert 0 < other.grams < one.grams
    assert other.grams / one.grams == pytest.approx(3 / 7)
    assert SECOND_NS <= one.start_ns < one.end_ns < 1.6 * SECOND_NS


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 30.0))
def test_what_hovers_weighs_again_to_the_gram_when_it_is_back(seed: int, seconds: float) -> None:
    touches = some_touches(seed)
    touches.hover({"1/1/1": 300.0, "1/1/2": 100.0}, seconds)
    loads: list[PlateLoad] = []
    for tick in range(round((seconds + 1) * 30)):
        touches.begin(SECOND_NS + tick * SECOND_NS // 30)
        loads += touches.loads
    for plate_id, mass_g in (("1/1/1", 300.0), ("1/1/2", 100.0)):
        course = np.cumsum([load.grams for load in loads if load.plate_id == plate_id])
        assert course[-1] == pytest.approx(0.0, abs=1e-6)
        assert course.min() >= -mass_g - 1e-6
        assert course[0] <= -0.2 * mass_g + 1e-6


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 500.0), st.floats(0.1, 10.0))
def test_nobody_lifts_more_than_stands_there(seed: int, mass_g: float, seconds: float) -> None:
    touches = some_touches(seed)
    touches.handle(PLATES, mass_g, seconds)
    assert touches.presses
    assert min(press.grams for press in touches.presses) >= -mass_g
    assert max(press.end_ns for press in touches.presses) <= SECOND_NS * (1 + seconds + 0.25)


def test_goods_that_are_set_down_thud_and_the_hand_lets_go() -> None:
    touches = some_touches()
    touches.set_down({"1/1/1": 500.0})
    thud, release = touches.presses
    assert 0 < thud.grams < 250.0
    assert thud.end_ns - thud.start_ns < 0.2 * SECOND_NS
    assert release.grams > 0


@given(seed=st.integers(0, 1000))
def test_what_is_tipped_goes_in_two_parts_and_all_of_it_soon(seed: int) -> None:
    touches = Touches(np.random.default_rng(seed), tilts=1.0)
    touches.begin(SECOND_NS)
    settled_s = touches.weigh({"1/1/1": 200.0, "1/1/2": 50.0}, -1.0)
    loads = list(touches.loads)
    for step in range(2, 40):
        touches.begin(SECOND_NS + step * SECOND_NS // 30)
        loads += touches.loads
    assert len(loads) == 4
    assert sum(load.grams for load in loads) == pytest.approx(-250.0)
    last_s = max(load.time_ns / SECOND_NS + load.rise_s / 2 for load in loads) - 1
    assert last_s == pytest.approx(settled_s, abs=1e-6)
    assert settled_s < 0.66


def test_a_hand_that_rests_weighs_nothing_when_it_is_gone() -> None:
    touches = some_touches()
    touches.rest(PLATES, 1.5)
    loads: list[PlateLoad] = []
    for step in range(1, 90):
        touches.begin(SECOND_NS + step * SECOND_NS // 30)
        loads += touches.loads
    assert sum(load.grams for load in loads) == pytest.approx(0.0)
    assert max(load.grams for load in loads) > 20
