"""Tests of tracking.wardrobe."""

from collections.abc import Sequence

import numpy as np
import pytest

from tracking.looks import LOOK_LENGTH
from tracking.wardrobe import Exchange, Wardrobe
from vision.arrays import FloatArray

SECOND = 1_000_000_000
FAR = np.array([[0.0, 0.0], [3.0, 0.0], [6.0, 0.0]])
NEAR = np.array([[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]])
KEYS = (10, 11, 12)


def dressed(*colours: int) -> FloatArray:
    """Looks of people, each in one colour from head to foot, somewhat mottled; colour -1 is not seen."""
    half = LOOK_LENGTH // 2
    looks = np.full((len(colours), 2, half), 0.05)
    for row, colour in enumerate(colours):
        looks[row, :, colour] = 1.0
    looks /= np.linalg.norm(looks, axis=2, keepdims=True)
    looks[np.array(colours) < 0] = np.nan
    return looks.reshape(len(colours), LOOK_LENGTH)


class Day:
    """Three people who are looked at ten times a second."""

    def __init__(self) -> None:
        self.wardrobe = Wardrobe()
        self.numbers = [1, 2, 3]
        self.ticks = 0

    def go(self, seconds: float, places_m: FloatArray, colours: Sequence[int]) -> list[Exchange]:
        """What is said for a while; as in a store, nobody stays who they are said not to be."""
        told = []
        for _ in range(round(10 * seconds)):
            now_ns = self.ticks * SECOND // 10
            self.ticks += 1
            for exchange in self.wardrobe.update(now_ns, KEYS, self.numbers, places_m, dressed(*colours)):
                told.append(exchange)
                ring = [KEYS.index(key) for key in exchange.keys]
                for row, number in zip(ring, np.roll(np.array(self.numbers)[ring], -1).tolist(), strict=True):
                    self.numbers[row] = number
        return told


def test_two_who_went_on_with_each_others_bodies_are_told_once() -> None:
    day = Day()
    assert day.go(4, FAR, (0, 3, 6)) == []
    assert day.go(1, NEAR, (0, 3, 6)) == []
    (exchange,) = day.go(6, FAR, (3, 0, 6))
    assert sorted(exchange.keys) == [10, 11]
    assert exchange.since_ns == 4 * SECOND
    assert day.numbers == [2, 1, 3]


def test_three_who_went_round_are_told_together() -> None:
    day = Day()
    day.go(4, FAR, (0, 3, 6))
    day.go(1, NEAR, (0, 3, 6))
    (exchange,) = day.go(6, FAR, (3, 6, 0))
    assert sorted(exchange.keys) == [10, 11, 12]
    assert day.numbers == [2, 3, 1]


def test_who_is_taken_for_somebody_hidden_is_told() -> None:
    day = Day()
    day.go(4, FAR, (0, 3, 6))
    day.go(1, NEAR, (0, 3, 6))
    (exchange,) = day.go(6, FAR, (3, -1, 6))
    assert sorted(exchange.keys) == [10, 11]
    assert day.numbers == [2, 1, 3]


@pytest.mark.parametrize(
    ("meeting", "before", "after"),
    [
        pytest.param(FAR, (0, 3, 6), (3, 0, 6), id="never near each other"),
        pytest.param(NEAR, (0, 0, 0), (0, 0, 0), id="dressed alike"),
        pytest.param(NEAR, (0, 3, 6), (0, 3, 6), id="stayed who they were"),
        pytest.param(NEAR, (0, 3, 6), (0, -1, -1), id="others hidden"),
        pytest.param(NEAR, (0, 3, 6), (5, 5, 5), id="seen in a light that changes all"),
    ],
)
def test_nobody_is_somebody_else_without_need(meeting: FloatArray, before: Sequence[int], after: Sequence[int]) -> None:
    day = Day()
    assert day.go(4, FAR, before) == []
    assert day.go(1, meeting, before) == []
    assert day.go(20, FAR, after) == []


def test_a_moment_in_other_colours_moves_nobody() -> None:
    day = Day()
    day.go(4, FAR, (0, 3, 6))
    day.go(1, NEAR, (0, 3, 6))
    assert day.go(0.7, NEAR, (3, 0, 6)) == []
    assert day.go(4, FAR, (0, 3, 6)) == []


def test_those_who_surely_stayed_themselves_are_not_asked_about_each_other_later() -> None:
    day = Day()
    day.go(4, FAR, (0, 3, 6))
    day.go(1, NEAR, (0, 3, 6))
    day.go(3, FAR, (0, 3, 6))
    assert day.go(6, FAR, (3, 0, 6)) == []


def test_what_those_wore_who_left_is_forgotten() -> None:
    day = Day()
    day.go(4, FAR, (0, 3, 6))
    day.go(1, NEAR, (0, 3, 6))
    day.go(0.5, FAR, (0, 6, 3))
    assert day.wardrobe.update(9 * SECOND, (), (), np.zeros((0, 2)), dressed()) == []
    assert not any(len(kept) for kept in vars(day.wardrobe).values() if isinstance(kept, dict))
