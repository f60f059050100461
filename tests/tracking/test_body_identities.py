from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tests.tracking.builders import nanoseconds
from tracking.body_identities import BodyIdentities
from tracking.body_sizes import LEAST, SIZES, BodySizes, log_likelihood, sizes_of
from tracking.types import Identities, MixUp
from vision.arrays import FloatArray
from vision.frames import JOINT_NAMES, TrackedBodies
from vision.layout import StoreLayout

RATE_HZ = 15
Place = tuple[float, float]
DOORS = StoreLayout(
    "floor",
    walkable_m=np.array([[0.0, 0.0], [12.0, 0.0], [12.0, 8.0], [0.0, 8.0]]),
    entrance_m=np.array([[0.0, 0.0], [1.0, 0.0]]),
    exit_m=np.array([[2.0, 0.0], [3.0, 0.0]]),
)
TALL, SMALL = 1.85, 1.58


def a_body(place: Place, height_m: float, rng: np.random.Generator) -> FloatArray:
    """Joints of somebody who stands upright, of usual proportions, with the errors of a good tracker."""
    scale = height_m / 1.7
    joints = {
        "head": (0.0, 0.0, 1.6),
        "neck": (0.0, 0.0, 1.42),
        "left_shoulder": (-0.18, 0.0, 1.4),
        "right_shoulder": (0.18, 0.0, 1.4),
        "left_elbow": (-0.22, 0.0, 1.12),
        "right_elbow": (0.22, 0.0, 1.12),
        "left_wrist": (-0.22, 0.1, 0.9),
        "right_wrist": (0.22, 0.1, 0.9),
    }
    points = scale * np.array([joints[name] for name in JOINT_NAMES])
    points[:, :2] += place
    return points + rng.normal(0, 0.008, points.shape)


def seen(time_s: float, people: Mapping[str, tuple[Place, float]], rng: np.random.Generator) -> TrackedBodies:
    joints = [a_body(place, height_m, rng) for place, height_m in people.values()]
    n = len(people)
    placed = np.array(joints).reshape(n, len(JOINT_NAMES), 3)
    return TrackedBodies(nanoseconds(time_s), tuple(people), placed, np.full((n, len(JOINT_NAMES)), 0.95))


def meeting(
    bodies: BodyIdentities, heights_m: tuple[float, float], *, swapped: bool, apart_s: float = 6.0
) -> tuple[Identities, list[MixUp]]:
    """Two walk towards each other, touch for a second, and walk apart; their names may be exchanged meanwhile."""
    rng = np.random.default_rng(3)
    told: list[MixUp] = []
    for k in range(round((5.0 + apart_s) * RATE_HZ)):
        time_s = k / RATE_HZ
        gap = min(0.3 + 0.8 * max(0.0, abs(time_s - 4.0) - 0.5), 3.0)
        names = ("b", "a") if swapped and time_s > 4.0 else ("a", "b")
        places = (6.0 - gap / 2, 5.0), (6.0 + gap / 2, 5.0)
        people = dict(zip(names, zip(places, heights_m, strict=True), strict=True))
        identities = bodies.update(seen(time_s, people, rng))
        told += bodies.take_mix_ups()
    return identities, told


def test_names_that_were_exchanged_are_exchanged_back_and_said() -> None:
    bodies = BodyIdentities(DOORS)
    identities, (mix_up,) = meeting(bodies, (TALL, SMALL), swapped=True)
    left = identities.identity_id[identities.position_m[:, 0].argmin()]
    assert left == 1
    assert mix_up.identity_ids == (1, 2)
    assert mix_up.until_ns is not None
    assert nanoseconds(2.5) < mix_up.since_ns < nanoseconds(4.0) < mix_up.until_ns
    assert bodies.name(1) == "b"


def test_who_meet_and_part_under_their_own_names_are_themselves() -> None:
    identities, told = meeting(BodyIdentities(DOORS), (TALL, SMALL), swapped=False)
    assert told == []
    assert identities.identity_id[identities.position_m[:, 0].argmin()] == 1


@pytest.mark.parametrize("swapped", [False, True])
def test_who_are_of_one_size_and_stood_together_for_long_are_in_doubt(swapped: bool) -> None:
    bodies, rng = BodyIdentities(DOORS), np.random.default_rng(4)
    for k in range(10 * RATE_HZ):
        bodies.update(seen(k / RATE_HZ, {"a": ((5.9, 5.0), 1.7), "b": ((6.1, 5.0), 1.7)}, rng))
    (mix_up,) = bodies.finish()
    assert (mix_up.identity_ids, mix_up.until_ns) == ((1, 2), None)


def followed(instants: Sequence[Mapping[str, tuple[Place, float]]]) -> tuple[BodyIdentities, list[list[int]]]:
    bodies, rng = BodyIdentities(DOORS), np.random.default_rng(5)
    return bodies, [bodies.update(seen(k / 2, people, rng)).identity_id.tolist() for k, people in enumerate(instants)]


def test_a_new_name_in_the_middle_of_the_shop_is_who_was_lost() -> None:
    there, gone = {"a": ((6.0, 5.0), 1.7)}, {"x": ((6.5, 5.5), 1.7)}
    bodies, numbers = followed([there, there, {}, {}, {}, gone])
    assert numbers == [[1]] * 6
    assert bodies.name(1) == "x"
    assert bodies.take_mix_ups() == []


def test_a_new_name_at_the_door_is_somebody_new() -> None:
    _, numbers = followed([{"a": ((6.0, 5.0), 1.7)}, {}, {}, {"x": ((0.5, 0.5), 1.7)}])
    assert numbers[-1] == [1, 2]


def test_a_new_name_farther_away_than_anybody_can_have_walked_is_somebody_new() -> None:
    _, numbers = followed([{"a": ((3.0, 5.0), 1.7)}, {}, {"x": ((11.0, 5.0), 1.7)}])
    assert numbers[-1] == [1, 2]


def test_a_new_name_that_may_be_either_of_two_who_were_lost_is_in_doubt() -> None:
    both = {"a": ((6.0, 5.0), 1.7), "b": ((6.6, 5.0), 1.7)}
    bodies, numbers = followed([both, {}, {}, {"x": ((6.1, 5.0), 1.7)}])
    assert numbers[-1] == [1, 2]
    assert [mix_up.identity_ids for mix_up in bodies.take_mix_ups()] == [(1, 2)]


@pytest.mark.parametrize(("y", "gone_after_s"), [(-0.6, 1.0), (0.5, 3.5), (5.0, 30.5)])
def test_who_is_lost_beyond_the_exit_has_left_sooner_than_who_is_lost_inside(y: float, gone_after_s: float) -> None:
    _, numbers = followed([{"a": ((2.5, y), 1.7)}, *[{}] * 70])
    assert numbers.index([]) / 2 == pytest.approx(gone_after_s, abs=0.5)


def test_somebody_without_any_place_is_somebody_new() -> None:
    bodies = BodyIdentities(DOORS)
    rng = np.random.default_rng(6)
    bodies.update(seen(0.0, {"a": ((6.0, 5.0), 1.7)}, rng))
    blank = TrackedBodies(nanoseconds(1.0), ("x",), np.full((1, 8, 3), np.nan), np.zeros((1, 8)))
    assert bodies.update(blank).identity_id.tolist() == [1, 2]


def test_sizes_are_those_of_the_body_however_it_turns() -> None:
    rng = np.random.default_rng(7)
    sizes = BodySizes()
    assert np.isnan(sizes.usual_m()).all()
    for _ in range(60):
        sizes.add(sizes_of(a_body((rng.uniform(0, 9), rng.uniform(0, 9)), 1.7, rng)[None])[0])
    assert sizes.usual_m() == pytest.approx([0.18, 0.36, 0.283, 0.283, 1.605], abs=0.01)


def test_a_part_that_was_hardly_seen_says_nothing() -> None:
    sizes = BodySizes()
    for k in range(LEAST + 5):
        sizes.add(np.array([0.2, np.nan if k else 0.4, 0.3, 0.3, 1.6]))
    assert np.isnan(sizes.usual_m()).tolist() == [False, True, False, False, False]
    assert log_likelihood(np.full(SIZES, np.nan), sizes.usual_m()) == 0


def test_a_like_body_fits_better_than_another_and_a_stooping_one_costs_little() -> None:
    usual = np.array([0.18, 0.36, 0.28, 0.28, 1.6])
    stooping = usual - [0.0, 0.0, 0.0, 0.0, 0.6]
    other = usual * 1.08
    assert log_likelihood(usual, usual) > log_likelihood(usual, stooping) > log_likelihood(usual, other)


def test_two_meetings_of_one_person_may_end_at_one_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BodyIdentities, "_exchanged", lambda bodies, met: 0.99)
    bodies, rng = BodyIdentities(DOORS), np.random.default_rng(8)
    for k in range(6 * RATE_HZ):
        gap = 0.35 if k < RATE_HZ else 1.5
        people = {name: ((4.0 + i * gap, 5.0), 1.7) for i, name in enumerate("abc")}
        identities = bodies.update(seen(k / RATE_HZ, people, rng))
        apart = np.abs(identities.hands_m[:, :, 0].mean(axis=1) - identities.position_m[:, 0])
        assert apart.max() < 0.3  # hands go with their owners also at the instant of an exchange
    assert len(bodies.take_mix_ups()) == 2
