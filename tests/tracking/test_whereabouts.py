"""Who stood where a short while ago."""

import numpy as np

from tracking.types import Identities
from tracking.whereabouts import KEPT_S, NANOSECONDS, REACH_M, Whereabouts


def people(seconds: float, places: dict[int, tuple[float, float]], hands: dict[int, float] | None = None) -> Identities:
    """People at places; ``hands`` are those of whom both are seen, so far to the side of their feet, at 1.2 m."""
    count = len(places)
    hands_m = np.full((count, 2, 3), np.nan)
    for row, (who, (x, y)) in enumerate(places.items()):
        if hands is not None and who in hands:
            hands_m[row] = (x + hands[who], y, 1.2)
    times = np.full(count, int(seconds * NANOSECONDS), np.int64)
    return Identities(
        int(seconds * NANOSECONDS),
        np.array(list(places), np.int64),
        np.array(list(places.values()), float).reshape(count, 2),
        np.zeros((count, 2)),
        np.tile(np.eye(2), (count, 1, 1)),
        hands_m,
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


def test_whose_hands_were_never_near_was_not_there() -> None:
    whereabouts = Whereabouts()
    for tenth in range(60):
        second = tenth / 10
        # 7 keeps both hands back, 3 reaches over for a moment, of 5 no hand is seen.
        places = {7: (1.5, 0.5), 3: (1.5, 0.5), 5: (1.5, 0.5)}
        whereabouts.add(people(second, places, {7: 0.6, 3: -0.4 if 2.8 < second < 3.2 else 0.6}))
    place_m = np.array([1.0, 0.5, 1.2])

    def near(who: int, until_s: float = 5.0) -> bool:
        until_ns = int(until_s * NANOSECONDS)
        return whereabouts.may_have_been_near(who, place_m, NANOSECONDS, until_ns, 0.7, 0.9)

    assert not near(7)
    assert near(3)
    assert not near(3, 2.5), "before it reached"
    assert near(5)
