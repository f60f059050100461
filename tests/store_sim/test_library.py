"""Tests of the library of hard cases, store_sim/library."""

from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest

from store_sim.day import day_layout
from store_sim.library_shop import LAYOUT_FILE
from store_sim.rules import check_scenario, due_receipts, due_unpaid
from store_sim.scenarios import Action, FaultKind, Scenario, library, read_scenario, scenario_to_json, site_of
from store_sim.world import STEPS_PER_S, World
from vision.layout import StoreLayout, read_layout

# What the library was asked for, and a file that has it; there are more files than these.
REQUIRED = {
    "entry": {
        *("group_on_one_code", "tailgater", "no_code", "reentry", "near_simultaneous", "staff_on_the_floor"),
        *("child_takes_sweets", "trolley"),
    },
    "tracking": {
        *("long_occlusion", "crossing", "identical_clothes", "jacket_off", "place_swap", "crowd", "dead_camera"),
        *("fogged_camera", "clock_skew"),
    },
    "put_backs": {
        *("right_bin", "wrong_bin_other_gondola", "another_buys_the_misplaced", "a_picks_b_returns", "touch_only"),
        *("long_hold", "hold_then_take"),
    },
    "quantity": {
        *("fast_chain", "slow_shopper", "several_of_one", "several_products_in_one_grip", "pick_and_put_at_once"),
        *("two_shoppers_at_one_plate", "reach_across"),
    },
    "sensing": {
        *("same_mass_neighbours", "near_equal_mass", "drift", "leaning", "bump", "hidden_pick", "floor_drop"),
        *("eaten_inside", "foreign_object", "decoy_swap", "concealment"),
    },
    "fixtures": {
        *("unsensed_fixture", "fridge_door", "wrong_planogram", "wrong_pack_mass", "restock_while_trading"),
        "split_pack",
    },
    "between_people": {
        *("hand_over_in_a_group", "hand_over_across_groups", "staff_takes_an_item_back", "item_in_anothers_bag"),
        "help_from_the_top_shelf_by_a_stranger",
    },
    "exit_operations": {
        *("unresolved_at_exit", "group_leaves_in_parts", "empty_cart", "late_messages", "duplicate_messages"),
        "power_cut",
    },
}
FILES = library()


@lru_cache
def shop() -> StoreLayout:
    return read_layout(LAYOUT_FILE)


@lru_cache
def case(path: Path) -> Scenario:
    return read_scenario(path)


def test_every_case_asked_for_is_there() -> None:
    there = {group: {path.stem for path in FILES if path.parent.name == group} for group in REQUIRED}
    missing = {group: sorted(names - there[group]) for group, names in REQUIRED.items() if names - there[group]}
    assert not missing
    assert {path.parent.name for path in FILES} == set(REQUIRED)
    assert len(FILES) >= 50


def test_names_are_unique_and_the_files_own() -> None:
    assert all(case(path).name == path.stem for path in FILES)
    assert max(Counter(path.stem for path in FILES).values()) == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_case_can_happen_and_pays_by_the_rule(path: Path) -> None:
    scenario = case(path)
    assert (path.parent / scenario.site).resolve() == LAYOUT_FILE.resolve()
    check_scenario(scenario, shop())
    assert scenario.receipts == due_receipts(scenario)
    assert scenario.notes, "what is hard about it"
    assert scenario.class_name in {path.parent.name, "same-mass", "near-mass"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_case_is_written_as_the_writer_writes_it(path: Path) -> None:
    assert scenario_to_json(case(path)) == path.read_text("utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_names_and_masses_are_the_catalogues_unless_that_is_the_case(path: Path) -> None:
    catalogue = {product.sku: product for product in shop().products}
    for product in case(path).products:
        assert product.name == catalogue[product.barcode].name
        if "mass" not in path.stem:
            assert product.mass_g == catalogue[product.barcode].mass_g


def test_cases_between_twins_are_a_class_of_their_own() -> None:
    assert Counter(case(path).class_name for path in FILES)["same-mass"] >= 5


def test_every_action_and_every_fault_occurs() -> None:
    assert {event.action for path in FILES for event in case(path).events} == set(Action)
    assert {fault.kind for path in FILES for fault in case(path).faults} == set(FaultKind)


def test_the_site_of_a_case_is_found_from_its_file() -> None:
    assert site_of(case(FILES[0])).name == "corner shop"


def played(path: Path, seed: int) -> World:
    world = World(day_layout(shop(), case(path)), case(path))
    world.reset(seed)
    for _ in range(STEPS_PER_S * 300):
        world.step()
        if world.done:
            break
    return world


def moved(world: World) -> Counter[tuple[str, str | None]]:
    """How many units of what everybody moved on and off shelves."""
    moves: Counter[tuple[str, str | None]] = Counter()
    for interaction in world.truth.interactions:
        moves[interaction.shopper, interaction.sku] += interaction.quantity
    return moves


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_case_plays_to_its_end_and_comes_to_what_the_rule_says(path: Path) -> None:
    world, scenario = played(path, 3), case(path)
    assert world.done, "within five minutes"
    assert {r.payer: {line.sku: line.quantity for line in r.lines} for r in world.truth.receipts} == scenario.receipts
    assert world.truth.unpaid == due_unpaid(scenario)
    on_shelves = {Action.PICK, Action.PUT_BACK, Action.RESTOCK, Action.PLACE_FOREIGN, Action.TAKE_FOREIGN}
    scripted: Counter[tuple[str, str | None]] = Counter()
    for event in scenario.events:
        if event.action in on_shelves:
            scripted[event.shopper, event.barcode] += event.quantity
    assert moved(world) == scripted


def test_staff_deliver_more_than_two_hands_hold() -> None:
    path = next(path for path in FILES if path.stem == "wrong_planogram")
    world = played(path, 3)
    assert world.done
    assert sum(i.quantity for i in world.truth.interactions if i.shopper == "Sam") == 6
