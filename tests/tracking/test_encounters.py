import numpy as np
import pytest

from tests.tracking.builders import nanoseconds
from tracking.encounters import Encounters, EncounterSettings, Parting
from tracking.looks import LOOK_LENGTH

RED, BLUE = 0, 4
RATE_HZ = 10


def wearing(colour: int) -> np.ndarray:
    """The look of somebody all in one colour."""
    look = np.zeros(LOOK_LENGTH)
    look[[colour, LOOK_LENGTH // 2 + colour]] = 1
    return look


def met(
    *,
    before: tuple[int, int] = (RED, BLUE),
    after: tuple[int, int] = (RED, BLUE),
    closest_m: float = 0.1,
    looked: int = 50,
    age_s: float = 10.0,
    vanishes: bool = False,
    dark: bool = False,
    are_two: bool = False,
) -> list[Parting]:
    """Two people walk towards each other, stand together for a second, and walk apart."""
    watch = Encounters()
    told: list[Parting] = []
    for k in range(80):
        time_s = k / RATE_HZ
        apart_m = closest_m + max(0.0, abs(time_s - 2.5) - 0.5)
        places = np.array([[0.0, 0.0], [apart_m, 0.0]])
        worn = np.stack([wearing(colour) for colour in (before if time_s < 2.5 else after)])
        now = np.full_like(worn, np.nan) if dark else worn
        keys = [1] if vanishes and time_s > 3.2 else [1, 2]
        told += watch.update(
            nanoseconds(age_s + time_s),
            keys,
            np.zeros(len(keys), np.int64),
            places[: len(keys)],
            np.stack([wearing(colour) for colour in before])[: len(keys)],
            np.full(len(keys), float(looked)),
            now[: len(keys)],
            {(1, 2)} if are_two else (),
        )
    return told


def test_those_who_go_on_in_each_others_clothes_were_exchanged() -> None:
    (parting,) = met(after=(BLUE, RED))
    assert (parting.keys, parting.exchanged, parting.is_sure) == ((1, 2), True, True)
    np.testing.assert_array_equal(parting.looks, [wearing(RED), wearing(BLUE)])
    assert nanoseconds(11.0) < parting.since_ns < nanoseconds(12.5)


def test_those_who_go_on_in_their_own_clothes_are_themselves() -> None:
    assert met() == []


@pytest.mark.parametrize("why", [{"before": (RED, RED), "after": (RED, RED)}, {"looked": 3}, {"dark": True}])
def test_where_clothes_do_not_tell_the_doubt_is_said(why: dict[str, object]) -> None:
    (parting,) = met(**why)  # type: ignore[arg-type]
    assert (parting.exchanged, parting.is_sure) == (False, False)


def test_who_stayed_half_a_step_away_was_told_apart_by_place() -> None:
    assert met(closest_m=0.45, dark=True) == []
    assert met(closest_m=0.8, dark=True) == []


def test_who_is_lost_while_together_may_be_anybody() -> None:
    (parting,) = met(vanishes=True)
    assert not parting.is_sure


def test_a_second_look_at_somebody_is_nobody_they_have_met() -> None:
    assert met(age_s=-3.0, dark=True) == []


def test_people_who_come_together_again_are_judged_when_they_part_for_good() -> None:
    watch, told = Encounters(), []
    looks = np.stack([wearing(RED), wearing(BLUE)])
    apart = [0.1, *[1.2] * 5, 0.1, *[1.2] * (EncounterSettings().enough + 1)]
    for k, apart_m in enumerate(apart):
        worn = looks[::-1] if k > 6 else looks
        places = np.array([[0.0, 0.0], [apart_m, 0.0]])
        told += watch.update(
            nanoseconds(9 + k / RATE_HZ), [1, 2], np.zeros(2, int), places, looks, np.full(2, 50.0), worn
        )
    assert [parting.exchanged for parting in told] == [True]
    assert watch.of(1) == []


def test_those_who_are_still_together_when_the_stream_ends_are_in_doubt() -> None:
    watch = Encounters()
    for k in range(20):
        places = np.array([[0.0, 0.0], [max(0.1, 2.0 - k / RATE_HZ), 0.0]])
        now = np.stack([wearing(RED), wearing(BLUE)])
        watch.update(nanoseconds(10 + k / RATE_HZ), [1, 2], np.zeros(2, np.int64), places, now, np.full(2, 50.0), now)
    assert [(parting.keys, parting.is_sure) for parting in watch.finish()] == [((1, 2), False)]
    assert watch.finish() == []


def test_of_an_encounter_whose_end_is_known_nothing_more_is_told() -> None:
    watch = Encounters()
    looks = np.stack([wearing(RED), wearing(BLUE), wearing(2)])
    places = np.array([[0.0, 0.0], [0.1, 0.0], [0.2, 0.0]])
    watch.update(nanoseconds(10.0), [1, 2, 3], np.zeros(3, np.int64), places, looks, np.full(3, 50.0), looks)
    watch.forget((1, 2))
    assert sorted(parting.keys for parting in watch.finish()) == [(1, 3), (2, 3)]


@pytest.mark.parametrize(("are_two", "told"), [(False, 0), (True, 1)])
def test_newcomers_have_met_only_if_they_are_known_to_be_two(are_two: bool, told: int) -> None:
    assert len(met(age_s=-2.0, dark=True, are_two=are_two)) == told
