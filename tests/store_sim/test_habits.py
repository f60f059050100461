"""What shoppers do besides what a scenario says."""

from dataclasses import replace

import numpy as np
import pytest

from store_sim.habits import NO_HABITS, Habits, restlessness
from store_sim.happenings import Happenings
from store_sim.rules import due_receipts
from store_sim.scenarios import Scenario, ScenarioShopper
from store_sim.world import World
from tests.store_sim.shops import a_scenario, a_shop, at, pick

RESTLESS = Habits(1, 1, 1, 0, 1, 1, 1, 1, 1, day_spread=0, person_spread=0)
POINTING = Habits(fingers=1, handles=1, points=1, day_spread=0, person_spread=0)


def a_visit() -> Scenario:
    return a_scenario([pick(14.0, "Ann", at(1, 1, 1, 2)), pick(30.0, "Ann", at(2, 2, 5, 6), 2)])


def played(habits: Habits, seed: int = 0) -> tuple[World, list[Happenings]]:
    world = World(a_shop(), a_visit(), habits=habits)
    world.reset(seed)
    steps = []
    while not world.done:
        steps.append(world.step())
    return world, steps


def test_nobody_owes_more_or_less_for_what_they_do_besides() -> None:
    for seed in range(4):
        world, _ = played(RESTLESS, seed)
        owed = {r.payer: {line.sku: line.quantity for line in r.lines} for r in world.truth.receipts}
        assert owed == due_receipts(a_visit())
        assert [(i.sku, i.quantity) for i in world.truth.interactions] == [("111", 1), ("223", 2)]


def test_plates_feel_much_of_it_and_weigh_the_same_in_the_end() -> None:
    quiet, restless = (played(habits)[1] for habits in (NO_HABITS, RESTLESS))
    felt = [sum(len(step.presses) + len(step.loads) for step in steps) for steps in (quiet, restless)]
    assert felt[1] > 3 * felt[0]
    world, steps = played(RESTLESS)
    change_g = sum(load.grams for step in steps for load in step.loads)
    carried_out = world.stock.taker >= 0
    assert change_g == pytest.approx(-float(world.stock.mass_g[carried_out].sum()), abs=1e-6)


def test_hands_go_to_other_shelves_than_the_script_says_and_are_back_before_their_moment() -> None:
    world = World(a_shop(), a_visit(), habits=RESTLESS)
    world.reset(1)
    out_s = []
    while not world.done:
        world.step()
        if len(world.figures) and (world.figures.reach > 0).any():
            out_s.append(world.now_s)
    assert sum(second < 12 for second in out_s) > 5, "it fingers goods long before it takes any"
    first, second = (done.time_ns * 1e-9 for done in world.truth.interactions)
    assert second - first == pytest.approx(16.0, abs=0.1), "the script need not wait for it"


def test_who_only_points_touches_nothing() -> None:
    world = World(a_shop(), a_scenario([], ScenarioShopper("Ann", 1.0, leaves_at_s=60.0)), habits=POINTING)
    world.reset(0)
    boxes = [a_bin.box for a_bin in world.layout.bins if a_bin.box is not None]
    pointed = 0
    while not world.done:
        step = world.step()
        assert not step.presses
        assert not step.loads
        for grip in world.figures.grip_m[world.figures.reach >= 1]:
            pointed += 1
            assert min(box.distances_m(grip[None])[0] for box in boxes) == pytest.approx(0.15, abs=0.01)
    assert pointed


def test_who_brushes_past_a_shelf_brushes_goods_at_the_height_of_hips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store_sim.world.BRUSH_PER_S", 30.0)
    monkeypatch.setattr("store_sim.world.BRUSH_M", 0.8)
    monkeypatch.setattr("store_sim.world.BRUSHED_M", 0.8)
    heights = {plate.plate_id: float(plate.box.world_from_box[2, 3]) for plate in a_shop().plates}
    for habits in (NO_HABITS, replace(NO_HABITS, brushes=1.0)):
        steps = [step for seed in range(2) for step in played(habits, seed)[1] if step.knocks]
        assert steps
        brushed = {press.plate_id for step in steps for press in step.presses}
        assert bool(brushed) == bool(habits.brushes)
        assert all(0.6 <= heights[plate_id] <= 1.2 for plate_id in brushed)


def test_people_differ() -> None:
    drawn = restlessness(Habits(), 1000, np.random.default_rng(0))
    assert np.median(drawn) == pytest.approx(1.0, rel=0.7)
    assert np.percentile(drawn, 90) > 3 * np.percentile(drawn, 10)


def test_habits_are_shares() -> None:
    with pytest.raises(ValueError, match=r"Habits.leans: expected a share from 0 to 1, got 1.5"):
        Habits(leans=1.5)
