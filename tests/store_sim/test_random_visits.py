import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_sim.autocheckout import read_site
from store_sim.day import day_layout
from store_sim.random_shop import random_layout
from store_sim.random_visits import confusion_of, random_scenario
from store_sim.rules import check_scenario, due_receipts
from store_sim.scenarios import (
    Action,
    Place,
    Role,
    Scenario,
    ScenarioEvent,
    ScenarioShopper,
    read_scenario,
    scenario_to_json,
)
from store_sim.world import World
from vision.layout import StoreLayout


def shop(seed: int = 3, gondolas: int = 8, **settings: object) -> StoreLayout:
    return random_layout(np.random.default_rng(seed), gondolas=gondolas, cameras=False, **settings)  # type: ignore[arg-type]


def day(layout: StoreLayout, seed: int = 0, **settings: object) -> Scenario:
    return random_scenario(layout, np.random.default_rng(seed), **settings)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**32),
    st.integers(3, 12),
    st.integers(1, 40),
    st.floats(1, 30),
    st.floats(0, 0.8),
    st.booleans(),
)
def test_whatever_happens_can_happen(
    seed: int, gondolas: int, visits: int, at_once: float, share: float, has_scales: bool
) -> None:
    layout = shop(seed, gondolas, products=30, with_scales=has_scales)
    scenario = day(layout, seed, visits=visits, shoppers_at_once=at_once, confusing_share=share)
    check_scenario(scenario, layout)
    assert scenario.receipts == due_receipts(scenario)
    assert sum(shopper.role is not Role.STAFF for shopper in scenario.shoppers) == visits


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.7])
def test_the_share_of_confusing_actions_is_the_stated_one(share: float) -> None:
    layout = shop(5, 16)
    counts = [
        confusion_of(day(layout, seed, visits=250, shoppers_at_once=6, confusing_share=share), layout)
        for seed in (1, 2)
    ]
    actions, confusing = (sum(getattr(c, key) for c in counts) for key in ("actions", "confusing"))
    # Four standard errors of a share of so many actions, and a hundredth for jumbles that come about by chance.
    assert abs(confusing / actions - share) < 4 * math.sqrt(0.25 / actions) + 0.01


def test_what_is_confusing_is_counted_by_what_happens() -> None:
    layout = shop(1, 3)
    first = next(b for b in layout.bins if b.sku and b.plate_ids)
    other = next(b for b in layout.bins if b.sku and b.sku != first.sku and b.gondola_id != first.gondola_id)
    places = [
        Place(b.gondola_id or 0, b.shelf_id or 0, tuple(int(p.rsplit("/", 1)[1]) for p in b.plate_ids))
        for b in (first, other)
    ]

    def count(*events: ScenarioEvent) -> tuple[int, int]:
        people = tuple(ScenarioShopper(name, 0.0) for name in "AB")
        found = confusion_of(Scenario("x", people, events), layout)
        return found.confusing, found.actions

    def pick(t_s: float, who: str, quantity: int = 1, place: int = 0) -> ScenarioEvent:
        return ScenarioEvent(t_s, who, Action.PICK, first.sku, quantity, places[place])

    assert count() == (0, 0)
    assert count(pick(5, "A"), pick(20, "A")) == (0, 2)
    assert count(pick(5, "A", 2)) == (1, 1)
    assert count(pick(5, "A"), pick(6.8, "A")) == (2, 2)
    assert count(pick(5, "A"), pick(6, "B"), pick(9, "B")) == (2, 3)
    assert count(pick(5, "A"), pick(6.8, "B")) == (0, 2)
    assert count(pick(5, "A", place=1)) == (1, 1)
    assert count(ScenarioEvent(5, "A", Action.TOUCH, place=places[0], seconds=1.0)) == (1, 1)


def test_people_take_three_to_four_things_and_every_deed_comes_up() -> None:
    layout = shop(6, 16)
    scenario = day(layout, 4, visits=600, shoppers_at_once=8)
    people = [shopper for shopper in scenario.shoppers if shopper.role is not Role.STAFF]
    taken = sum(event.quantity for event in scenario.events if event.action is Action.PICK)
    assert 3.0 < taken / len(people) < 4.3
    assert {event.action for event in scenario.events} == set(Action)
    assert any(shopper.role is Role.CHILD for shopper in people)
    assert any(not shopper.checks_in and shopper.group is None for shopper in people)
    groups = Counter(shopper.group for shopper in people if shopper.group)
    assert groups
    assert set(groups.values()) <= {2, 3}


@pytest.mark.parametrize("at_once", [2.0, 12.0, 30.0])
def test_as_many_shoppers_are_inside_as_wanted(at_once: float) -> None:
    layout = shop(8, 24)
    scenario = day(layout, 2, seconds=1200, shoppers_at_once=at_once)
    inside = np.zeros(1100)
    for shopper in scenario.shoppers:
        if shopper.role is not Role.STAFF and shopper.leaves_at_s is not None:
            inside[max(0, int(shopper.enters_at_s) - 100) : max(0, int(shopper.leaves_at_s) - 100)] += 1
    assert abs(inside.mean() / at_once - 1) < 0.4
    assert max(shopper.enters_at_s for shopper in scenario.shoppers if shopper.role is not Role.STAFF) <= 1210


def test_shelves_are_restocked_before_they_are_empty() -> None:
    layout = shop(2, 3, products=20)
    scenario = day(layout, 1, visits=400, shoppers_at_once=5)
    check_scenario(scenario, layout)
    restocked = [event for event in scenario.events if event.action is Action.RESTOCK]
    staff = {shopper.shopper_id for shopper in scenario.shoppers if shopper.role is Role.STAFF}
    assert restocked
    assert {event.shopper for event in restocked} <= staff


def test_equal_generators_give_equal_days_and_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    layout = shop()
    one, other = (day(layout, 7, visits=30) for _ in range(2))
    assert one == other
    assert one != day(layout, 8, visits=30)
    path = tmp_path_factory.mktemp("days") / "day.json"
    path.write_text(scenario_to_json(one), encoding="utf-8")
    again = read_scenario(path)
    assert (again.events, again.shoppers, again.receipts) == (one.events, one.shoppers, one.receipts)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "either visits or seconds"),
        ({"visits": 3, "seconds": 10}, "either visits or seconds"),
        ({"visits": 0}, "at least one visit or second"),
        ({"visits": 3, "shoppers_at_once": 50}, "expected 1 to 30, got 50"),
        ({"visits": 3, "confusing_share": 1.0}, "expected 0 to 0.8, got 1.0"),
    ],
)
def test_a_day_out_of_range_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        day(shop(), 0, **wrong)


def test_a_shop_without_products_has_no_day() -> None:
    layout = shop()
    bare = StoreLayout("bare", plates=layout.plates)
    with pytest.raises(ValueError, match="bare: expected bins with a product"):
        day(bare, 0, visits=2)


def test_days_can_be_made_up_for_a_real_store(shared: Path) -> None:
    site = read_site(shared / "nanostore" / "site")
    scenario = day(site, 3, visits=60, shoppers_at_once=2)
    check_scenario(scenario, site)
    assert 0.3 < confusion_of(scenario, site).share < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gondolas", "visits", "at_once", "has_scales"), [(3, 12, 2, True), (9, 30, 8, True), (5, 10, 3, False)]
)
def test_the_world_plays_random_days_to_their_end(gondolas: int, visits: int, at_once: float, has_scales: bool) -> None:
    layout = shop(gondolas, gondolas, with_scales=has_scales)
    scenario = day(layout, gondolas, visits=visits, shoppers_at_once=at_once)
    world = World(day_layout(layout, scenario), scenario, keeps_order=False)
    world.reset(1)
    end_s = scenario.events[-1].t_s
    while not world.done and world.now_s < 2 * end_s + 120:
        world.step()
    assert world.done
    owed = {receipt.payer: {line.sku: line.quantity for line in receipt.lines} for receipt in world.truth.receipts}
    assert owed == scenario.receipts
    assert world.now_s < 1.3 * end_s + 40  # the times that were estimated are about those that walking takes
