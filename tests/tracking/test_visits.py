from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tracking.builders import (
    Place,
    Way,
    a_store,
    at_instant,
    film,
    nanoseconds,
    ring_of_cameras,
    stands,
    walks,
)
from tracking.identities import IdentitySettings, IdentityTracker
from tracking.types import Identities
from tracking.visits import NEAR_EXIT_M, Leaving, VisitEnd, VisitWatcher, line_distances, near_line
from vision.arrays import FloatArray
from vision.layout import StoreLayout

EXIT_M = np.array([[3.0, -1.0], [3.0, 1.0]])
COORDINATE = st.floats(-5, 5)


def visits_of(
    layout: StoreLayout, ways: Sequence[Way], seconds: float, *, seed: int = 0
) -> tuple[list[tuple[int, int]], list[VisitEnd]]:
    """Who came and who went, from walks under the layout's cameras to the end of the recording."""
    tracker, watcher = IdentityTracker(layout), VisitWatcher(layout)
    came: list[tuple[int, int]] = []
    gone: list[VisitEnd] = []
    for time_ns, views in film(layout.cameras, ways, seconds, rng=np.random.default_rng(seed)):
        new, ended = watcher.update(tracker.update(time_ns, views))
        came += new
        gone += ended
    return came, gone + watcher.finish()


def present(time_s: float, places: dict[int, Place]) -> Identities:
    people = at_instant(time_s, {i: [] for i in places})
    people.position_m[:] = np.array(list(places.values()), float).reshape(-1, 2)
    return people


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_who_walks_out_through_the_exit_is_gone_at_their_last_moment_inside(count: int, seed: int) -> None:
    layout = a_store(ring_of_cameras(count), exit_m=EXIT_M)
    speed_mps, out_s = 1.2, 1.0 + 3.0 / 1.2
    came, gone = visits_of(
        layout, [walks((0.0, 0.0), (1.2 * 4.0, 0.0), 1.0, 1.0 + 4.0 * 1.2 / speed_mps)], 7.0, seed=seed
    )
    assert [identity_id for identity_id, _ in came] == [1]
    assert came[0][1] <= nanoseconds(0.1)
    assert [(end.identity_id, end.leaving) for end in gone] == [(1, Leaving.EXIT)]
    assert gone[0].last_seen_ns == pytest.approx(nanoseconds(out_s), abs=nanoseconds(0.3))


def test_who_disappears_at_the_exit_left_through_it_when_last_seen() -> None:
    def out_of_sight(time_s: float) -> Place | None:
        return (2.5, 0.0) if time_s < 2.0 else None

    layout = a_store(ring_of_cameras(3), exit_m=EXIT_M)
    _, gone = visits_of(layout, [out_of_sight], 7.0)
    assert [end.leaving for end in gone] == [Leaving.EXIT]
    assert gone[0].last_seen_ns == pytest.approx(nanoseconds(2.0), abs=nanoseconds(0.1))


def test_who_disappears_elsewhere_has_vanished() -> None:
    def out_of_sight(time_s: float) -> Place | None:
        return (-1.5, 0.0) if time_s < 2.0 else None

    layout = a_store(ring_of_cameras(2), exit_m=EXIT_M)
    _, gone = visits_of(layout, [out_of_sight], 3.0 + IdentitySettings().hidden_s)
    assert [end.leaving for end in gone] == [Leaving.VANISHED]
    assert gone[0].last_seen_ns == pytest.approx(nanoseconds(2.0), abs=nanoseconds(0.1))


def test_who_is_there_at_the_end_of_the_recording_leaves_with_it() -> None:
    layout = a_store(ring_of_cameras(2), exit_m=EXIT_M)
    _, gone = visits_of(layout, [stands((0.0, 0.0)), stands((2.5, 0.0))], 2.0)
    assert [(end.identity_id, end.leaving) for end in gone] == [
        (1, Leaving.RECORDING_ENDED),
        (2, Leaving.RECORDING_ENDED),
    ]


def test_one_leaves_while_another_stays_and_a_third_comes() -> None:
    layout = a_store(ring_of_cameras(3), exit_m=EXIT_M)

    def later(time_s: float) -> Place | None:
        return (0.0, -2.0) if time_s >= 4.0 else None

    came, gone = visits_of(layout, [walks((0.0, 0.0), (4.5, 0.0), 0.5, 4.5), stands((-1.5, 1.0)), later], 6.0)
    assert [identity_id for identity_id, _ in came] == [1, 2, 3]
    assert came[2][1] == pytest.approx(nanoseconds(4.0), abs=nanoseconds(0.1))
    assert [(end.identity_id, end.leaving) for end in gone] == [
        (1, Leaving.EXIT),
        (2, Leaving.RECORDING_ENDED),
        (3, Leaving.RECORDING_ENDED),
    ]


def test_everybody_comes_once_and_goes_once() -> None:
    watcher = VisitWatcher(StoreLayout("floor"))
    came, gone = watcher.update(present(0, {1: (0, 0), 2: (1, 0)}))
    assert ([i for i, _ in came], gone) == ([1, 2], [])
    came, gone = watcher.update(present(1, {1: (0, 0), 2: (1, 0)}))
    assert (came, gone) == ([], [])
    came, gone = watcher.update(present(2, {2: (1, 0), 3: (2, 0)}))
    assert [i for i, _ in came] == [3]
    assert gone == [VisitEnd(1, nanoseconds(1), Leaving.VANISHED)]
    assert [end.identity_id for end in watcher.finish()] == [2, 3]
    assert watcher.finish() == []


def test_who_comes_back_after_going_is_a_new_visit() -> None:
    watcher = VisitWatcher(StoreLayout("floor", exit_m=EXIT_M))
    watcher.update(present(0, {1: (2.5, 0)}))
    _, gone = watcher.update(present(1, {}))
    assert [end.leaving for end in gone] == [Leaving.EXIT]
    came, _ = watcher.update(present(2, {1: (2.5, 0)}))
    assert [i for i, _ in came] == [1]


def test_without_a_place_nobody_left_through_the_exit() -> None:
    watcher = VisitWatcher(StoreLayout("floor", exit_m=EXIT_M))
    watcher.update(present(0, {1: (np.nan, np.nan)}))
    _, gone = watcher.update(present(1, {}))
    assert [end.leaving for end in gone] == [Leaving.VANISHED]


@given(st.floats(0, 1), st.floats(-2, 2))
def test_near_a_line_means_within_a_stride_of_it(along: float, aside: float) -> None:
    line = np.array([[0.0, 0.0], [0.0, 3.0]])
    place: FloatArray = np.array([aside, 3 * along])
    if abs(abs(aside) - NEAR_EXIT_M) > 1e-6:
        assert near_line(line, place) == (abs(aside) < NEAR_EXIT_M)


def test_beyond_the_ends_of_a_line_its_ends_count() -> None:
    line = np.array([[0.0, 0.0], [0.0, 3.0]])
    assert near_line(line, np.array([0.0, 3.9]))
    assert not near_line(line, np.array([0.8, 3.8]))
    assert not near_line(line, np.array([np.nan, np.nan]))


@given(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=4, max_size=4), st.tuples(COORDINATE, COORDINATE))
def test_many_places_are_near_a_line_if_each_is(corners: list[tuple[float, float]], end: tuple[float, float]) -> None:
    line = np.array([corners[0], end])
    places = np.array([*corners, (np.nan, 0.0)])
    told = line_distances(line, places) <= 1.3
    for near, place in zip(told.tolist(), places, strict=True):  # on the very edge the last digit decides
        assert near_line(line, place, 1.3 - 1e-9) <= near <= near_line(line, place, 1.3 + 1e-9)
