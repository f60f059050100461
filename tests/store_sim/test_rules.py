"""Tests of store_sim.rules."""

from dataclasses import replace
from pathlib import Path

import pytest

from store_sim.rules import check_scenario, due_receipts, due_unpaid, payers, receipt_differences
from store_sim.scenarios import Action, Place, Role, ScenarioEvent, ScenarioShopper, site_of
from tests.store_sim.visits import BREAD, BREAD_SHELF, JUICE, WATER, a_shop, cases_of, does, give, on, pick, put, visit


def test_the_first_of_a_group_with_a_code_pays() -> None:
    people = (
        ScenarioShopper("A", 1, "g", checks_in=False),
        ScenarioShopper("S", 1, "g", role=Role.STAFF),
        ScenarioShopper("B", 1, "g"),
        ScenarioShopper("C", 1, "g"),
        ScenarioShopper("D", 1, checks_in=False),
        ScenarioShopper("E", 1),
        ScenarioShopper("F", 1, "h", checks_in=False),
    )
    assert payers(visit(shoppers=people)) == {
        "A": "B",
        "S": None,
        "B": "B",
        "C": "B",
        "D": None,
        "E": "E",
        "F": None,
    }


def test_who_puts_everything_back_owes_nothing() -> None:
    scenario = visit(pick(5, "A", quantity=2), put(7, "A"), put(8, "A", place=on(5)))
    assert due_receipts(scenario) == {"A": {}, "B": {}}


def test_the_picker_pays_for_what_another_carries_out() -> None:
    assert due_receipts(visit(pick(5, "A"), give(7, "A", "B"))) == {"A": {WATER: 1}, "B": {}}


def test_nobody_pays_for_what_another_puts_back() -> None:
    assert due_receipts(visit(pick(5, "A"), give(7, "A", "B"), put(9, "B"))) == {"A": {}, "B": {}}


def test_who_takes_what_another_left_in_a_wrong_bin_pays_for_it() -> None:
    scenario = visit(pick(5, "A"), put(7, "A", place=on(5)), pick(9, "B", place=on(5)))
    assert due_receipts(scenario) == {"A": {}, "B": {WATER: 1}}


def test_what_is_left_on_the_floor_is_not_charged_and_what_is_eaten_or_hidden_is() -> None:
    scenario = visit(
        pick(5, "A", quantity=3),
        does(7, "A", Action.DROP, WATER),
        does(8, "A", Action.CONSUME, WATER),
        does(9, "A", Action.CONCEAL, WATER),
    )
    assert due_receipts(scenario)["A"] == {WATER: 2}


def test_of_like_units_the_one_that_came_last_goes_first_and_the_hidden_one_last() -> None:
    mixed = visit(pick(5, "A"), pick(5, "B"), give(7, "A", "B"), put(9, "B"))
    assert due_receipts(mixed) == {"A": {}, "B": {WATER: 1}}
    hidden = visit(
        pick(4, "B"), pick(5, "A"), give(7, "A", "B"), does(8, "B", Action.CONCEAL, WATER), put(9, "B"), put(10, "B")
    )
    assert due_receipts(hidden) == {"A": {}, "B": {}}
    assert due_receipts(replace(hidden, events=hidden.events[:-1])) == {"A": {WATER: 1}, "B": {}}


def test_staff_pay_nothing_and_restocking_is_nobodys() -> None:
    people = (ScenarioShopper("A", 1.0), ScenarioShopper("S", 1.0, role=Role.STAFF))
    scenario = visit(
        pick(5, "S"), does(6, "S", Action.RESTOCK, WATER, on(1)), give(7, "S", "A"), pick(9, "S"), shoppers=people
    )
    assert due_receipts(scenario) == {"A": {}}
    assert due_unpaid(scenario) == ()


def test_what_people_without_a_code_take_is_reported() -> None:
    people = (ScenarioShopper("A", 1.0), ScenarioShopper("T", 1.0, checks_in=False))
    scenario = visit(pick(5, "A"), pick(5, "T", quantity=2), pick(6, "T", JUICE, on(3)), shoppers=people)
    assert due_receipts(scenario) == {"A": {WATER: 1}}
    assert due_unpaid(scenario) == (("T", WATER, 2), ("T", JUICE, 1))


def test_both_visits_of_who_comes_back_are_on_one_receipt() -> None:
    people = (ScenarioShopper("A", 1.0, leaves_at_s=10.0, returns_at_s=30.0),)
    scenario = visit(pick(5, "A"), pick(35, "A", quantity=2), put(40, "A"), shoppers=people)
    assert due_receipts(scenario) == {"A": {WATER: 2}}


def test_what_was_carried_out_cannot_be_put_back_on_the_next_visit() -> None:
    people = (ScenarioShopper("A", 1.0, leaves_at_s=10.0, returns_at_s=30.0),)
    scenario = visit(pick(5, "A"), put(35, "A"), shoppers=people)
    with pytest.raises(ValueError, match=r"^case: event 2: A holds 0 of 111, not 1$"):
        due_receipts(scenario)
    with pytest.raises(ValueError, match=r"^case: event 2: A holds 0 of 111, not 1$"):
        check_scenario(scenario, a_shop())


def test_receipts_that_differ_from_the_rule_are_named() -> None:
    scenario = visit(pick(5, "A"), receipts={"A": {WATER: 2, JUICE: 1}, "Z": {}})
    assert receipt_differences(scenario) == (
        f"A: {WATER}: the file says 2, the rule says 1",
        f"A: {JUICE}: the file says 1, the rule says 0",
        "B pays but has no receipt",
        "Z has a receipt but pays for nobody",
    )
    assert receipt_differences(replace(scenario, receipts=None)) == ()
    check_scenario(scenario, a_shop())


PAIR = (ScenarioShopper("A", 1.0, leaves_at_s=50.0), ScenarioShopper("B", 2.0, role=Role.STAFF))


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ((put(5, "A"),), "event 1: A holds 0 of 111, not 1"),
        ((pick(5, "A"), put(6, "A", quantity=2)), "event 2: A holds 1 of 111, not 2"),
        ((pick(5, "A"), put(6, "A", JUICE)), "event 2: A holds 0 of 222, not 1"),
        ((pick(5, "A", place=on(9)),), "event 1: there is no plate 1/1/9"),
        ((pick(5, "A", place=Place(1, 7, (1,))),), "event 1: there is no shelf 1/7"),
        ((pick(5, "A", place=Place(8, 1, (1,))),), "event 1: there is no gondola 8"),
        ((pick(5, "A", place=on(3, 4)),), "event 1: 0 of 111 stand there, not 1"),
        ((pick(5, "A", quantity=9),), "event 1: 8 of 111 stand there, not 9"),
        ((pick(5, "A", quantity=8), pick(6, "A")), "event 2: 0 of 111 stand there, not 1"),
        ((pick(0.5, "A"),), "event 1: A enters only at 1 s"),
        ((pick(51, "A"),), "event 1: A leaves at 50 s"),
        ((pick(5, "A"), give(6, "A", "A")), "event 2: hand_over: A cannot do this with themselves"),
        ((give(6, "A", "B"),), "event 1: A holds 0 of 111, not 1"),
        ((does(5, "A", Action.SWAP_PLACE, other="A"),), "event 1: swap_place: A cannot do this with themselves"),
        ((does(1.5, "A", Action.REACH_ACROSS, other="B"),), "event 1: B enters only at 2 s"),
        ((does(51, "B", Action.SWAP_PLACE, other="A"),), "event 1: A leaves at 50 s"),
        ((does(5, "A", Action.DROP, WATER),), "event 1: A holds 0 of 111, not 1"),
        ((does(5, "A", Action.CONSUME, WATER),), "event 1: A holds 0 of 111, not 1"),
        ((does(5, "A", Action.CONCEAL, WATER),), "event 1: A holds 0 of 111, not 1"),
        (
            (pick(5, "A"), does(6, "A", Action.CONCEAL, WATER), does(7, "A", Action.CONCEAL, WATER)),
            "event 3: A holds 0 of 111, not 1",
        ),
        ((does(5, "A", Action.RESTOCK, WATER, on(1)),), "event 1: restock: A is not staff"),
        ((does(5, "A", Action.HOLD, JUICE, on(1), seconds=1.0),), "event 1: 0 of 222 stand there, not 1"),
        ((does(5, "A", Action.TOUCH, None, on(8), seconds=1.0),), "event 1: there is no plate 1/1/8"),
        ((does(5, "A", Action.TAKE_FOREIGN, None, on(1)),), "event 1: take_foreign: nothing foreign stands there"),
        (
            (
                does(5, "A", Action.PLACE_FOREIGN, None, on(1), mass_g=9.0),
                does(6, "A", Action.TAKE_FOREIGN, None, on(1)),
                does(7, "A", Action.TAKE_FOREIGN, None, on(1)),
            ),
            "event 3: take_foreign: nothing foreign stands there",
        ),
    ],
)
def test_what_cannot_happen_is_refused(events: tuple[ScenarioEvent, ...], reason: str) -> None:
    scenario = visit(*events, shoppers=PAIR, path=Path("there/case.json"))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        check_scenario(scenario, a_shop())
    assert str(caught.value) == f"{Path('there/case.json')}: {reason}"


@pytest.mark.parametrize(
    "events",
    [
        (pick(5, "A"), put(6, "A", place=on(6)), pick(7, "B", place=on(5, 6))),
        (pick(5, "A", place=on(2, 3)), pick(6, "A", JUICE, on(2, 3))),
        (pick(5, "A", quantity=8), does(6, "B", Action.RESTOCK, WATER, on(4), quantity=3), pick(7, "A", place=on(4))),
        (pick(5, "A", BREAD, BREAD_SHELF, 8), put(7, "A", BREAD, BREAD_SHELF), pick(9, "B", BREAD, BREAD_SHELF)),
        (pick(5, "A"), put(6, "A", place=BREAD_SHELF), pick(7, "B", place=BREAD_SHELF)),
        (pick(5, "A"), does(6, "A", Action.CONCEAL, WATER), put(7, "A")),
        (pick(5, "A"), does(5, "A", Action.HOLD, WATER, on(1), seconds=9.0), give(6, "A", "B"), put(7, "B")),
    ],
    ids=["misplaced", "label-noise", "restocked", "unsensed", "left-on-unsensed", "concealed-and-back", "handed-over"],
)
def test_what_can_happen_is_accepted(events: tuple[ScenarioEvent, ...]) -> None:
    check_scenario(visit(*events, shoppers=PAIR), a_shop())


def test_what_stands_on_the_very_plates_is_taken_before_what_stands_beside() -> None:
    """Else the second pick would find its plate empty."""
    events = (pick(5, "A", quantity=8), put(6, "A", place=on(3)), put(7, "A", place=on(1)))
    check_scenario(visit(*events, pick(8, "B", place=on(2, 3)), pick(9, "B", place=on(1)), shoppers=PAIR), a_shop())


def test_the_published_cases_play_on_paper_and_pay_by_the_rule(shared: Path) -> None:
    cases = cases_of(shared)
    assert len(cases) == 20
    layout = site_of(cases[0], shared / "nanostore" / "site")
    for scenario in cases:
        check_scenario(scenario, layout)
        assert due_receipts(scenario) == scenario.receipts
        assert receipt_differences(scenario) == ()
