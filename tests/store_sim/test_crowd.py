"""Bodies walk, make way, turn and reach."""

import numpy as np
import pytest

from store_sim.bodies import CHILD
from store_sim.crowd import CONTACT_M, LEFT, RIGHT, Crowd
from store_sim.navigation import floor_plan
from store_sim.scenarios import Carried, Role, ScenarioShopper
from tests.store_sim.shops import a_shop

STEP_S = 1 / 30
PLAN = floor_plan(a_shop())


def a_crowd(*places: tuple[float, float], seed: int = 0) -> Crowd:
    crowd = Crowd([ScenarioShopper(f"s{k}", 0.0) for k in range(len(places))], PLAN, np.random.default_rng(seed))
    for row, place in enumerate(places):
        crowd.appear(row, np.array(place), 0.0)
    return crowd


def walk(crowd: Crowd, seconds: float) -> float:
    """Let time pass; returns the least distance between any two."""
    least = np.inf
    for _ in range(round(seconds / STEP_S)):
        crowd.move(STEP_S)
        at = crowd.position_m[crowd.present]
        apart = np.linalg.norm(at[:, None] - at, axis=2) + 9 * np.eye(len(at))
        least = min(least, float(apart.min()))
    return least


def test_a_walker_arrives_stands_and_has_looked_where_they_went() -> None:
    crowd = a_crowd((-1.0, -1.0))
    crowd.go(0, np.array([[1.5, -1.0]]))
    walk(crowd, 1.5)
    assert crowd.speed_mps[0] == pytest.approx(crowd.pace_mps[0], rel=0.1)
    assert abs(crowd.heading_rad[0]) < 0.1
    walk(crowd, 3.0)
    assert crowd.position_m[0] == pytest.approx([1.5, -1.0], abs=0.05)
    assert crowd.speed_mps[0] < 0.1
    assert crowd.stride[0] > 1.0


def test_two_who_walk_towards_each_other_pass() -> None:
    crowd = a_crowd((-1.0, -1.0), (1.5, -1.0))
    crowd.go(0, np.array([[1.5, -1.0]]))
    crowd.go(1, np.array([[-1.0, -1.0]]))
    assert walk(crowd, 5.0) > 0.8 * CONTACT_M
    assert crowd.position_m == pytest.approx(np.array([[1.5, -1.0], [-1.0, -1.0]]), abs=0.1)


def test_one_gets_past_somebody_who_works_and_does_not_move_them() -> None:
    crowd = a_crowd((-1.0, -1.0), (0.3, -1.0))
    crowd.anchored[1] = True
    crowd.go(0, np.array([[1.5, -1.0]]))
    walk(crowd, 6.0)
    assert crowd.position_m[0] == pytest.approx([1.5, -1.0], abs=0.1)
    assert crowd.position_m[1].tolist() == [0.3, -1.0]


def test_who_only_stands_makes_way_for_whose_turn_it_is() -> None:
    crowd = a_crowd((-1.0, -1.0), (0.3, -0.95))
    crowd.rank[0] = 1
    crowd.go(0, np.array([[0.3, -1.0]]))
    walk(crowd, 4.0)
    assert crowd.position_m[0] == pytest.approx([0.3, -1.0], abs=0.12)
    assert np.linalg.norm(crowd.position_m[1] - crowd.position_m[0]) > 0.3


def test_a_ring_of_people_who_all_change_sides_comes_apart() -> None:
    turns = np.arange(8) * np.pi / 4
    ring = 0.75 * np.stack([np.cos(turns), np.sin(turns)], axis=1) + [0.3, -1.0]
    crowd = a_crowd(*((float(x), float(y)) for x, y in ring))
    for row, goal in enumerate(np.roll(ring, 4, axis=0)):
        crowd.go(row, goal[None])
    walk(crowd, 25.0)
    assert np.linalg.norm(crowd.position_m - np.roll(ring, 4, axis=0), axis=1).max() < 0.3


def test_a_hand_reaches_glides_to_the_next_thing_and_comes_back() -> None:
    crowd = a_crowd((0.3, -0.42))
    crowd.send_hand(0, RIGHT, np.array([0.3, 0.1, 0.9]), 0.5)
    walk_steps = 0
    while not crowd.hand_arrived(0, RIGHT):
        crowd.move(STEP_S)
        walk_steps += 1
    assert walk_steps * STEP_S == pytest.approx(0.5, abs=0.07)
    assert np.isnan(crowd.grip_m[0, LEFT]).all()
    crowd.send_hand(0, RIGHT, np.array([0.6, 0.1, 0.9]), 0.5)
    crowd.move(STEP_S)
    assert 0.3 < crowd.grip_m[0, RIGHT, 0] < 0.4
    assert crowd.reach[0, RIGHT] == 1
    crowd.ease_hand(0, RIGHT, 0.5)
    walk(crowd, 0.6)
    assert crowd.reach[0, RIGHT] == 0
    assert np.isnan(crowd.grip_m[0]).all()


def test_figures_say_who_is_there_with_what_the_scenario_says_of_them() -> None:
    shoppers = [
        ScenarioShopper("Ann", 0.0, height_m=1.83, carries=Carried.BAG),
        ScenarioShopper("Ben", 0.0, role=Role.CHILD),
        ScenarioShopper("Cem", 0.0, carries=Carried.TROLLEY, outfit="red"),
        ScenarioShopper("Dan", 0.0, outfit="red"),
    ]
    crowd = Crowd(shoppers, PLAN, np.random.default_rng(1))
    for row in (0, 1, 2, 3):
        crowd.appear(row, np.array([0.5 * row - 1, -1.0]), 0.0)
    crowd.disappear(0)
    figures = crowd.figures()
    assert figures.person_id == ("Ben", "Cem", "Dan")
    assert figures.build[0] == CHILD
    assert figures.height_m[0] < 1.4
    assert figures.trolley.tolist() == [False, True, False]
    assert figures.outfit[1] == figures.outfit[2] != figures.outfit[0]
    crowd.appear(0, np.array([0.0, -1.0]), 0.0)
    assert crowd.figures().height_m[0] == 1.83
    assert crowd.figures().bag[0]
