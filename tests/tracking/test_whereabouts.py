"""Who stood where a short while ago."""

import numpy as np

from tracking.types import Identities
from tracking.whereabouts import KEPT_S, NANOSECONDS, REACH_M, Whereabouts


def people(seconds: float, places: dict[int, tuple[float, float]]) -> Identities:
    count = len(places)
    times = np.full(count, int(seconds * NANOSECONDS), np.int64)
    return Identities(
        int(seconds * NANOSECONDS),
        np.array(list(places), np.int64),
        np.array(list(places.values()), float).reshape(count, 2),
        np.zeros((count, 2)),
        np.tile(np.eye(2), (count, 1, 1)),
        np.full((count, 2, 3), np.nan),
        np.full((count, 2), np.nan),
        times,
        times,
    )


def test_whoever_stood_within_reach_around_the_moment_is_found() -> None:
    whereabouts = Whereabouts()
    for tenth in range(60):
        second = tenth / 10
        whereabouts.add(people(second, {7: (second - 3.0, 0.5), 9: (4.0, 4.0), 3: (np.nan, np.nan)}))
    assert list(whereabouts.within_reach(np.array([0.0, 0.0, 1.0]), 3 * NANOSECONDS)) == [7]
    assert list(whereabouts.within_reach(np.array([4.0, 4.0 + REACH_M - 0.01, 1.0]), 3 * NANOSECONDS)) == [9]
    assert list(whereabouts.within_reach(np.array([-3.0 - REACH_M, 0.0, 1.0]), 5 * NANOSECONDS)) == []


def test_what_is_long_ago_is_forgotten() -> None:
    whereabouts = Whereabouts()
    whereabouts.add(people(1.0, {1: (0.0, 0.0)}))
    assert list(whereabouts.within_reach(np.zeros(3), NANOSECONDS)) == [1]
    whereabouts.add(people(1.5 + KEPT_S, {2: (0.0, 0.0)}))
    assert list(whereabouts.within_reach(np.zeros(3), NANOSECONDS)) == []


def test_a_store_without_people_has_nobody_within_reach() -> None:
    whereabouts = Whereabouts()
    whereabouts.add(people(1.0, {}))
    assert list(whereabouts.within_reach(np.zeros(3), NANOSECONDS)) == []


def test_who_was_never_near_is_told_from_who_may_have_been() -> None:
    whereabouts = Whereabouts()
    for tenth in range(60):
        second = tenth / 10
        whereabouts.add(people(second, {7: (second, 0.5), 3: (np.nan, np.nan)}))
    place_m = np.array([1.0, 0.5, 1.2])

    def near(who: int, since_s: float, until_s: float) -> bool:
        return whereabouts.may_have_been_near(who, place_m, int(since_s * NANOSECONDS), int(until_s * NANOSECONDS), 0.7)

    assert near(7, 0.5, 5.0)
    assert not near(7, 3.0, 5.0)
    assert near(3, 3.0, 5.0), "somebody without a place on the floor"
    assert near(9, 3.0, 5.0), "somebody whom nobody saw"
    assert not near(9, 4.5, 5.0), "not for long"
    assert near(9, -1.0, 5.0), "a beginning that is forgotten"
