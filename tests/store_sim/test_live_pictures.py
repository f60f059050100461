"""Pictures of an open simulated store are drawn when they are asked for, of the instant that was asked for."""

import numpy as np
import pytest

from store_sim.demo_shop import demo_layout
from store_sim.live import LiveStore, Wish
from store_sim.live_pictures import LivePictures, Moments

SECOND_NS = 1_000_000_000
OATS = "2000000001012"


@pytest.fixture(scope="module")
def store() -> LiveStore:
    """A store in which somebody has walked for some seconds."""
    store = LiveStore(demo_layout(), 1)
    store.come_in("ada", [Wish(OATS)])
    until_ns = store.now_ns + 8 * SECOND_NS
    while store.now_ns < until_ns:
        store.ticks()
    return store


def test_a_span_is_drawn_as_often_as_is_wished_and_people_move_in_it(store: LiveStore) -> None:
    pictures = LivePictures(demo_layout(), store.moments)
    end_ns = store.now_ns
    found = pictures.between("cam1", end_ns - SECOND_NS, end_ns, 4)
    times_ns = [timestamp_ns for timestamp_ns, _ in found]
    assert 4 <= len(found) <= 5
    assert times_ns == sorted(times_ns)
    assert min(np.diff(times_ns)) >= SECOND_NS // 4 - 1_000_000
    assert {image.shape for _, image in found} == {(360, 640, 3)}
    assert (found[0][1] != found[-1][1]).any()


def test_what_is_asked_for_again_at_once_is_not_drawn_again(store: LiveStore) -> None:
    pictures = LivePictures(demo_layout(), store.moments, most_fps=0.001)
    first, again = pictures.latest("cam2"), pictures.latest("cam2")
    assert first is not None
    assert again is not None
    assert again[1] is first[1]


def test_a_live_picture_is_not_ahead_of_the_clock(store: LiveStore) -> None:
    pictures = LivePictures(demo_layout(), store.moments)
    until_ns = store.now_ns - SECOND_NS
    found = pictures.latest("cam1", until_ns)
    assert found is not None
    assert found[0] <= until_ns


def test_there_is_no_picture_of_another_camera_nor_of_what_is_forgotten(store: LiveStore) -> None:
    pictures = LivePictures(demo_layout(), store.moments)
    assert pictures.latest("nobody") is None
    assert pictures.between("nobody", 0, store.now_ns, 1) == []
    assert LivePictures(demo_layout(), Moments()).latest("cam1") is None
    moment = store.moments.latest()
    assert moment is not None
    few = Moments(remembered_s=1.0)
    for number in range(30):
        few.add(number * SECOND_NS // 10, moment.figures, moment.goods)
    assert len(few) == 11
    assert few.between(0, SECOND_NS, 10) == []
