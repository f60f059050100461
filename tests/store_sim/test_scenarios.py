"""Tests of store_sim.scenarios."""

import copy
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_sim.library_shop import LAYOUT_FILE, library_shop
from store_sim.scenarios import (
    Action,
    BinStock,
    Carried,
    Fault,
    FaultKind,
    Place,
    Role,
    Scenario,
    ScenarioEvent,
    ScenarioProduct,
    ScenarioShopper,
    StockOverride,
    bins_at,
    check_scenario,
    day_layout,
    due_receipts,
    due_unpaid,
    payers,
    reach_of,
    read_scenario,
    receipt_differences,
    scenario_to_json,
    site_of,
    starting_stock,
    true_masses,
)
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout

WATER, JUICE, BREAD = "111", "222", "333"


def at(x_m: float, width_m: float, height_m: float = 1.0) -> Box:
    """A box of a shelf that people face looking along y."""
    world_from_box = np.eye(4)
    world_from_box[:3, 3] = (x_m, 2.0, height_m)
    return Box(world_from_box, np.array([width_m, 0.4, 0.3]))


def a_shop() -> StoreLayout:
    """One shelf of six plates, three bins of two, and one bread shelf without scales."""
    plates = tuple(Plate(f"1/1/{n}", 1, 1, n, at(0.1 * n, 0.1)) for n in range(1, 7))
    bins = [
        Bin(f"1/1/{n}-{n + 1}", sku, 1, 1, (f"1/1/{n}", f"1/1/{n + 1}"), at(0.1 * n, 0.2))
        for n, sku in ((1, WATER), (3, JUICE), (5, None))
    ]
    bins += [Bin("2/1/a", BREAD, 2, 1, (), at(2.0, 0.5)), Bin("2/1/b", "444", 2, 1, (), at(2.5, 0.5))]
    products = tuple(
        ProductRecord(sku, name, mass_g, 100, "EUR")
        for sku, name, mass_g in (
            (WATER, "water", 500.0),
            (JUICE, "juice", 300.0),
            (BREAD, "bread", 750.0),
            ("444", "rolls", math.nan),
        )
    )
    return StoreLayout("small", bins=tuple(bins), plates=plates, products=products)


def on(*plates: int) -> Place:
    return Place(1, 1, plates)


BREAD_SHELF = Place(2, 1, ())


def does(
    t_s: float, shopper: str, action: Action, barcode: str | None = None, place: Place | None = None, **more: Any
) -> ScenarioEvent:
    return ScenarioEvent(t_s, shopper, action, barcode, place=place, **more)


def pick(
    t_s: float, shopper: str, barcode: str = WATER, place: Place | None = None, quantity: int = 1
) -> ScenarioEvent:
    return does(t_s, shopper, Action.PICK, barcode, place or on(1, 2), quantity=quantity)


def put(t_s: float, shopper: str, barcode: str = WATER, place: Place | None = None, quantity: int = 1) -> ScenarioEvent:
    return does(t_s, shopper, Action.PUT_BACK, barcode, place or on(1, 2), quantity=quantity)


def give(t_s: float, shopper: str, other: str, quantity: int = 1) -> ScenarioEvent:
    return does(t_s, shopper, Action.HAND_OVER, WATER, other=other, quantity=quantity)


def visit(*events: ScenarioEvent, shoppers: tuple[ScenarioShopper, ...] | None = None, **more: Any) -> Scenario:
    return Scenario("case", shoppers or (ScenarioShopper("A", 1.0), ScenarioShopper("B", 2.0)), events, **more)


def entry() -> dict[str, Any]:
    """A file with one of everything."""
    water_bin = {"gondola": 1, "shelf": 1, "plates": [1, 2]}
    return {
        "format": "tillfree-scenario/1",
        "name": "case",
        "site": "nanostore",
        "shoppers": [
            {"id": "A", "enters_at_s": 1.0, "group": "g", "leaves_at_s": 60, "returns_at_s": 70},
            {"id": "B", "enters_at_s": 2, "group": "g", "checks_in": False, "role": "child", "carries": "bag"},
        ],
        "products": {WATER: {"name": "water", "mass_g": 500.0}, JUICE: {"name": "juice", "mass_g": None}},
        "stock_overrides": [{"barcode": WATER, "gondola": 1, "shelf": 1, "plates": [3], "count": 3}],
        "faults": [{"t_s": 3.0, "fault": "camera_dead", "camera": "cam1", "seconds": 4}],
        "events": [
            {"t_s": 8.0, "shopper": "A", "action": "pick", "barcode": WATER, "quantity": 2, "bin": water_bin},
            {"t_s": 9.0, "shopper": "A", "action": "hand_over", "barcode": WATER, "quantity": 1, "to": "B"},
            {"t_s": 9.5, "shopper": "B", "action": "touch", "bin": water_bin, "seconds": 2.0},
            {"t_s": 10.0, "shopper": "A", "action": "place_foreign", "mass_g": 120.0, "bin": water_bin},
            {"t_s": 12.0, "shopper": "A", "action": "take_foreign"},
            {"t_s": 13.0, "shopper": "A", "action": "swap_place", "with": "B"},
            {"t_s": 14.0, "shopper": "A", "action": "hold", "barcode": WATER, "seconds": 2, "bin": water_bin},
        ],
        "receipts": {"A": {WATER: 2}},
        "notes": ["a note"],
    }


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "case.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    scenario = read_scenario(written(tmp_path, entry()))
    assert scenario.shoppers[0] == ScenarioShopper("A", 1.0, "g", 60.0, returns_at_s=70.0)
    assert scenario.shoppers[1].role is Role.CHILD
    assert scenario.shoppers[1].carries is Carried.BAG
    assert scenario.products[1] == ScenarioProduct(JUICE, "juice", None)
    assert scenario.stock_overrides == (StockOverride(WATER, on(3), 3),)
    assert scenario.faults == (Fault(3.0, FaultKind.CAMERA_DEAD, "cam1", 4.0),)
    assert scenario.events[0] == pick(8.0, "A", quantity=2)
    assert scenario.events[1].other == "B"
    assert scenario.events[4].place == on(1, 2), "it is taken back from where it was placed"
    assert scenario.receipts == {"A": {WATER: 2}}


def test_keys_that_the_format_does_not_have_are_ignored(tmp_path: Path) -> None:
    strange = entry() | {"author": {"name": "somebody"}}
    strange["events"][0]["mood"] = "good"
    strange["shoppers"][0]["age"] = 44
    strange["products"][WATER]["colour"] = "clear"
    plain, tolerated = written(tmp_path, entry()), None
    expected = read_scenario(plain)
    tolerated = read_scenario(written(tmp_path, strange))
    assert tolerated == expected


def test_what_is_null_is_absent(tmp_path: Path) -> None:
    optional = ("group", "leaves_at_s", "returns_at_s", "checks_in", "role", "outfit", "height_m", "carries")
    shopper = {"id": "A", "enters_at_s": 0} | dict.fromkeys(optional)
    content: dict[str, object] = {"format": "tillfree-scenario/1", "shoppers": [shopper], "events": []}
    content |= dict.fromkeys(("class", "site", "source", "products", "stock_overrides", "faults", "receipts", "notes"))
    assert read_scenario(written(tmp_path, content)).shoppers == (ScenarioShopper("A", 0.0),)


def test_the_least_a_file_may_have(tmp_path: Path) -> None:
    least = {"format": "tillfree-scenario/1", "shoppers": [{"id": "A", "enters_at_s": 0}], "events": []}
    scenario = read_scenario(written(tmp_path, least))
    assert (scenario.name, scenario.receipts) == ("case", None)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("format",), "tillfree-scenario/2", "expected format \"tillfree-scenario/1\", got 'tillfree-scenario/2'"),
        (("shoppers",), [], "shoppers: expected at least one"),
        (("shoppers",), None, "shoppers: expected a list, got None"),
        (("events",), {}, "events: expected a list, got {}"),
        (("shoppers", 1, "id"), "A", "shopper 2: A is listed twice"),
        (("shoppers", 1, "id"), 7, "shopper 2: id: expected text, got 7"),
        (("shoppers", 0, "enters_at_s"), "1", "shopper 1: enters_at_s: expected a number from 0 to 86400, got '1'"),
        (("shoppers", 0, "leaves_at_s"), 0.5, "shopper 1: time runs backwards: leaves at 0.5 s, enters at 1 s"),
        (("shoppers", 0, "returns_at_s"), 5, "shopper 1: time runs backwards: returns at 5 s, was there until 60 s"),
        (("shoppers", 1, "role"), "thief", "shopper 2: unknown role 'thief', expected one of shopper, staff, child"),
        (("shoppers", 1, "checks_in"), "no", "shopper 2: checks_in: expected true or false, got 'no'"),
        (("products", WATER, "mass_g"), 0, f"product {WATER}: mass_g: expected a number above 0, got 0"),
        (("products",), [], "products: expected an object of barcodes, got []"),
        (
            ("stock_overrides", 0, "count"),
            -1,
            "stock override 1: count: expected a whole number from 0 to 1000, got -1",
        ),
        (("stock_overrides", 0, "plates"), [3, 3], "stock override 1: plates: expected each once, got [3, 3]"),
        (("faults", 0, "fault"), "flood", "fault 1: unknown fault 'flood', expected one of camera_dead,"),
        (("faults", 0, "camera"), True, "fault 1: camera: expected a camera, a gondola, a shelf or a plate, got True"),
        (("events", 0, "action"), "steal", "event 1: unknown action 'steal', expected one of pick,"),
        (("events", 0, "action"), None, "event 1: unknown action None"),
        (("events", 0, "quantity"), 0, "event 1: quantity: expected a whole number from 1 to 1000, got 0"),
        (("events", 0, "quantity"), -2, "event 1: quantity: expected a whole number from 1 to 1000, got -2"),
        (("events", 0, "quantity"), 1.5, "event 1: quantity: expected a whole number from 1 to 1000, got 1.5"),
        (("events", 0, "quantity"), True, "event 1: quantity: expected a whole number from 1 to 1000, got True"),
        (("events", 0, "quantity"), 10**9, "event 1: quantity: expected a whole number from 1 to 1000, got 1000000000"),
        (("events", 0, "t_s"), 10**400, "event 1: t_s: expected a number from 0 to 86400, got 1000"),
        (("events", 0, "t_s"), 1e9, "event 1: t_s: expected a number from 0 to 86400, got 1000000000.0"),
        (
            ("faults", 0),
            {"t_s": 1, "fault": "bump", "plate": 3},
            "fault 1: gondola: expected a whole number from 0 to 1000000000",
        ),
        (("faults", 0, "amount"), math.nan, "fault 1: amount: expected a number from -1e+06 to 1e+06, got nan"),
        (("shoppers", 0, "height_m"), 17, "shopper 1: height_m: expected a number from 0.6 to 2.4, got 17"),
        (("events", 0, "barcode"), None, "event 1: barcode: expected text, got None"),
        (("events", 0, "barcode"), 111, "event 1: barcode: expected text, got 111"),
        (("events", 0, "bin"), None, "event 1: bin: missing"),
        (("events", 0, "bin"), "1/1/1", "event 1: bin: expected an object, got '1/1/1'"),
        (
            ("events", 0, "bin", "shelf"),
            None,
            "event 1: bin: shelf: expected a whole number from 0 to 1000000000, got None",
        ),
        (("events", 0, "t_s"), math.nan, "event 1: t_s: expected a number from 0 to 86400, got nan"),
        (("events", 0, "t_s"), math.inf, "event 1: t_s: expected a number from 0 to 86400, got inf"),
        (("events", 0, "t_s"), -1, "event 1: t_s: expected a number from 0 to 86400, got -1"),
        (("events", 1, "t_s"), 7.0, "event 2: time runs backwards: 7 s after 8 s"),
        (("events", 1, "to"), None, "event 2: to: expected text, got None"),
        (("events", 1, "to"), "Z", "event 2: there is no shopper Z"),
        (("events", 2, "shopper"), "Z", "event 3: there is no shopper Z"),
        (("events", 2, "seconds"), 0, "event 3: seconds: expected a number above 0, got 0"),
        (("events", 2, "seconds"), None, "event 3: seconds: expected a number from 0 to 86400, got None"),
        (("events", 3, "mass_g"), -5, "event 4: mass_g: expected a number from 0 to 1e+06, got -5"),
        (("events", 4, "shopper"), "B", "event 5: bin: missing, and B has placed nothing"),
        (("events", 5), "swap", "event 6: expected an object, got 'swap'"),
        (("events", 1, "to"), "Z\n", "event 2: to: expected text on one line, got 'Z\\n'"),
        (("events", 0, "barcode"), "\ud800", "event 1: barcode: expected text on one line, got '\\ud800'"),
        (("products", "1\n1"), {"name": "two lines", "mass_g": 1}, "barcode: expected text on one line, got '1\\n1'"),
        (("receipts", "A\n"), {}, "payer: expected text on one line, got 'A\\n'"),
        (("events", 0, "bin", "gondola"), 10**400, "event 1: bin: gondola: expected a whole number from 0 to"),
        (("faults", 0, "amount"), 1e308, "fault 1: amount: expected a number from -1e+06 to 1e+06, got 1e+308"),
        (("faults", 0, "seconds"), 1e308, "fault 1: seconds: expected a number from 0 to 1e+09, got 1e+308"),
        (("source",), "\ud800", "source: expected text that can be written as UTF-8, got '\\ud800'"),
        (("receipts", "A", WATER), -1, f"receipt of A: {WATER}: expected a whole number from 0 to 1000000000, got -1"),
        (("notes",), 3, "notes: expected a list, got 3"),
    ],
)
def test_what_is_not_in_the_format_is_refused(tmp_path: Path, place: tuple[Any, ...], value: Any, reason: str) -> None:
    content: Any = copy.deepcopy(entry())
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path = written(tmp_path, content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        read_scenario(path)
    assert str(caught.value).startswith(f"{path}: {reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '"text"', "[" * 100_000, "\x00", "[" + "9" * 5000 + "]"])
def test_what_is_no_scenario_at_all_is_refused(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=r"case\.json: (not a JSON file|expected format)"):
        read_scenario(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match="not a JSON file"):
        read_scenario(path)


@pytest.mark.parametrize(
    ("keys", "target"),
    [
        ({}, None),
        ({"target": "all"}, None),
        ({"target": "cam3"}, "cam3"),
        ({"camera": 3}, "3"),
        ({"camera": ["cam1", "cam2"]}, "cam1,cam2"),
        ({"plate": "1/2/3"}, "1/2/3"),
        ({"plate": {"gondola": 1, "shelf": 2, "plate": 3}}, "1/2/3"),
        ({"gondola": 1, "shelf": 2, "plate": 3}, "1/2/3"),
        ({"bin": {"gondola": 1, "shelf": 2, "plates": [3, 4]}}, "1/2/3,1/2/4"),
        ({"gondola": 4}, "4"),
        ({"target": "gondola 4"}, "4"),
        ({"target": {"gondola": 4}}, "4"),
        ({"gondola": 4, "shelf": 2}, "4/2"),
        ({"shelf": {"gondola": 4, "shelf": 2}}, "4/2"),
        ({"target": {"camera": "cam9"}}, "cam9"),
    ],
)
def test_what_a_fault_hits_may_be_spelled_in_many_ways(
    tmp_path: Path, keys: dict[str, object], target: str | None
) -> None:
    content = entry() | {"faults": [{"t_s": 1.0, "fault": "clock_skew", **keys}]}
    assert read_scenario(written(tmp_path, content)).faults[0].target == target


def test_faults_come_in_time_order(tmp_path: Path) -> None:
    content = entry() | {"faults": [{"t_s": 9, "fault": "bump"}, {"t_s": 3, "fault": "drift"}]}
    assert [fault.t_s for fault in read_scenario(written(tmp_path, content)).faults] == [3, 9]


line = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
names = st.text(line, min_size=1, max_size=5)
numbers = st.floats(0.001, 2e4)
places = st.builds(
    Place, st.integers(0, 60), st.integers(0, 9), st.lists(st.integers(0, 20), max_size=3, unique=True).map(tuple)
)


@st.composite
def shoppers(draw: st.DrawFn, shopper_id: str) -> ScenarioShopper:
    enters_s = draw(numbers)
    stays_s, away_s = draw(st.none() | numbers), draw(st.none() | st.floats(1, 2e4))
    leaves_s = None if stays_s is None else enters_s + stays_s
    return ScenarioShopper(
        shopper_id,
        enters_s,
        draw(st.none() | names),
        leaves_s,
        draw(st.booleans()),
        draw(st.sampled_from(Role)),
        None if away_s is None else (enters_s if leaves_s is None else leaves_s) + away_s,
        draw(st.none() | names),
        draw(st.none() | st.floats(0.6, 2.4)),
        draw(st.none() | st.sampled_from(Carried)),
        draw(st.none() | numbers),
    )


@st.composite
def events(draw: st.DrawFn, t_s: float, ids: list[str]) -> ScenarioEvent:
    action = draw(st.sampled_from(Action))
    has_units = action in {Action.PICK, Action.PUT_BACK, Action.HAND_OVER, Action.DROP, Action.CONSUME, Action.CONCEAL}
    has_units |= action is Action.RESTOCK
    has_place = action in {Action.PICK, Action.PUT_BACK, Action.RESTOCK, Action.TOUCH, Action.HOLD}
    has_place |= action in {Action.PLACE_FOREIGN, Action.TAKE_FOREIGN}
    has_partner = action in {Action.HAND_OVER, Action.SWAP_PLACE, Action.REACH_ACROSS}
    return ScenarioEvent(
        t_s,
        draw(st.sampled_from(ids)),
        action,
        draw(names) if has_units or action is Action.HOLD else None,
        draw(st.integers(1, 9)) if has_units else 1,
        draw(places) if has_place else None,
        draw(numbers) if action in {Action.TOUCH, Action.HOLD} else None,
        draw(st.sampled_from(ids)) if has_partner else None,
        draw(numbers) if action is Action.PLACE_FOREIGN else None,
    )


targets = st.sampled_from([None, "cam1", "4", "4/2", "4/2/3", "1/2/3,1/2/4", "scales", "cam1,cam2"])


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    ids = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    times_s = sorted(draw(st.lists(numbers, max_size=5)))
    amounts = st.none() | st.floats(-1e3, 1e3)
    faults = st.builds(Fault, numbers, st.sampled_from(FaultKind), targets, st.none() | numbers, amounts)
    products = st.builds(ScenarioProduct, names, names, st.none() | numbers)
    return Scenario(
        name=draw(names),
        shoppers=tuple(draw(shoppers(shopper_id)) for shopper_id in ids),
        events=tuple(draw(events(t_s, ids)) for t_s in times_s),
        class_name=draw(st.text(line, max_size=5)),
        site=draw(st.text(line, max_size=5)),
        products=tuple(draw(st.lists(products, max_size=2, unique_by=lambda product: product.barcode))),
        stock_overrides=tuple(
            draw(st.lists(st.builds(StockOverride, names, places, st.none() | st.integers(0, 9)), max_size=2))
        ),
        faults=tuple(sorted(draw(st.lists(faults, max_size=2)), key=lambda fault: fault.t_s)),
        receipts=draw(
            st.none() | st.dictionaries(names, st.dictionaries(names, st.integers(0, 9), max_size=2), max_size=2)
        ),
        source=draw(st.text(max_size=5)),
        notes=tuple(draw(st.lists(st.text(max_size=5), max_size=2))),
    )


@settings(max_examples=60, deadline=None)
@given(scenario=scenarios())
def test_a_scenario_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, scenario: Scenario) -> None:
    path = tmp_path_factory.mktemp("round") / "case.json"
    path.write_text(scenario_to_json(scenario), encoding="utf-8")
    assert read_scenario(path) == replace(scenario, path=path)


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


def test_events_in_memory_must_keep_time_order_too() -> None:
    with pytest.raises(ValueError, match=r"^case: event 2: time runs backwards: 4 s after 5 s$"):
        visit(pick(5, "A"), pick(4, "A"))
    with pytest.raises(ValueError, match=r"^case: event 1: there is no shopper Z$"):
        visit(pick(5, "Z"))


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


def overridden(*overrides: tuple[str, tuple[int, ...]], count: int | None = None) -> Scenario:
    return visit(stock_overrides=tuple(StockOverride(sku, on(*plates), count) for sku, plates in overrides))


def shelf_of(day: StoreLayout) -> dict[str, tuple[str | None, tuple[int, ...], float, float]]:
    """Each bin of shelf 1/1: product, plates, and where it begins and ends along the shelf."""
    return {
        b.bin_id: (
            b.sku,
            tuple(int(p.rsplit("/", 1)[-1]) for p in b.plate_ids),
            round(float(b.box.world_from_box[0, 3]), 3),
            round(float(b.box.world_from_box[0, 3] + b.box.size_m[0]), 3),
        )
        for b in day.bins
        if b.box is not None and b.gondola_id == 1
    }


def test_an_override_takes_its_plates_and_leaves_the_rest_of_the_bin() -> None:
    day = day_layout(a_shop(), overridden((JUICE, (2,))))
    assert shelf_of(day) == {
        "1/1/1": (WATER, (1,), 0.1, 0.2),
        "1/1/2": (JUICE, (2,), 0.2, 0.3),
        "1/1/3-4": (JUICE, (3, 4), 0.3, 0.5),
        "1/1/5-6": (None, (5, 6), 0.5, 0.7),
    }


def test_overrides_on_the_same_plates_stand_side_by_side() -> None:
    day = day_layout(a_shop(), overridden((JUICE, (1, 2)), (BREAD, (1, 2))))
    shelf = shelf_of(day)
    assert shelf["1/1/1-2"] == (JUICE, (1, 2), 0.1, 0.2)
    assert shelf["1/1/1-2b"] == (BREAD, (1, 2), 0.2, 0.3)
    assert WATER not in {sku for sku, *_ in shelf.values()}


def test_overrides_that_share_one_plate_divide_it() -> None:
    shelf = shelf_of(day_layout(a_shop(), overridden((JUICE, (2, 3)), (BREAD, (3, 4)))))
    assert shelf["1/1/2-3"] == (JUICE, (2, 3), 0.2, 0.35)
    assert shelf["1/1/3-4"] == (BREAD, (3, 4), 0.35, 0.5)


def test_an_override_on_plates_apart_gives_several_bins_that_share_its_count() -> None:
    scenario = overridden((BREAD, (1, 5, 6)), count=5)
    day = day_layout(a_shop(), scenario)
    assert {b for b, (sku, *_) in shelf_of(day).items() if sku == BREAD} == {"1/1/1", "1/1/5-6"}
    stock = {entry.bin_id: entry.quantity for entry in starting_stock(day, scenario)}
    assert stock == {"1/1/1": 2, "1/1/5-6": 3, "1/1/2": 8, "1/1/3-4": 8, "2/1/a": 8, "2/1/b": 8}


def test_an_override_without_plates_takes_the_shelf_without_scales() -> None:
    scenario = visit(stock_overrides=(StockOverride(WATER, BREAD_SHELF, 2), StockOverride(JUICE, BREAD_SHELF)))
    day = day_layout(a_shop(), scenario)
    bread = [b for b in day.bins if b.gondola_id == 2]
    assert [(b.sku, b.plate_ids) for b in bread] == [(WATER, ()), (JUICE, ())]
    assert [round(float(b.box.size_m[0]), 3) for b in bread if b.box is not None] == [0.5, 0.5]
    assert BinStock(bread[0].bin_id, WATER, 2) in starting_stock(day, scenario)


def test_a_planned_day_is_planned_once() -> None:
    scenario = overridden((JUICE, (1, 2)), (BREAD, (1, 2)), (BREAD, (5,)))
    once = day_layout(a_shop(), scenario)
    assert shelf_of(day_layout(once, scenario)) == shelf_of(once)


def test_a_day_has_a_floor_and_doors_and_keeps_those_of_the_layout() -> None:
    day = day_layout(a_shop(), visit())
    assert day.walkable_m is not None
    assert day.entrance_m is not None
    assert day.exit_m is not None
    shop = library_shop()
    kept = day_layout(shop, visit())
    assert np.array_equal(kept.walkable_m, shop.walkable_m)  # type: ignore[arg-type]


def test_an_override_on_a_plate_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^case: stock override 1: there is no plate 1/1/8$"):
        day_layout(a_shop(), overridden((JUICE, (8,))))


def test_the_catalogue_keeps_its_mass_and_the_scenario_says_the_true_one() -> None:
    scenario = visit(
        pick(5, "A", "777"),
        products=(
            ScenarioProduct(WATER, "water", 480.0),
            ScenarioProduct(JUICE, "juice", None),
            ScenarioProduct("555", "cake", 400.0),
        ),
    )
    day = day_layout(a_shop(), scenario)
    known = {product.sku: product for product in day.products}
    assert known[WATER].mass_g == 500.0
    assert math.isnan(known[JUICE].mass_g)
    assert known["555"] == ProductRecord("555", "cake", 400.0, None, "EUR")
    assert math.isnan(known["777"].mass_g)
    masses = true_masses(day, scenario)
    assert (masses[WATER], masses[BREAD], masses["555"]) == (480.0, 750.0, 400.0)
    assert all(50 <= masses[sku] <= 800 for sku in (JUICE, "444", "777"))
    assert masses == true_masses(day, scenario)


def test_bins_of_a_place_are_those_on_any_of_its_plates() -> None:
    assert [b.bin_id for b in bins_at(a_shop(), on(2, 3))] == ["1/1/1-2", "1/1/3-4"]
    assert [b.bin_id for b in bins_at(a_shop(), BREAD_SHELF)] == ["2/1/a", "2/1/b"]


def test_a_plate_that_no_bin_stands_on_can_be_used_and_overridden() -> None:
    bare = replace(a_shop(), bins=a_shop().bins[:2])
    check_scenario(visit(pick(5, "A"), put(6, "A", place=on(6)), pick(7, "A", place=on(5, 6)), shoppers=PAIR), bare)
    assert shelf_of(day_layout(bare, overridden((BREAD, (5, 6)))))["1/1/5-6"] == (BREAD, (5, 6), 0.5, 0.7)


def test_a_fault_reaches_what_it_names() -> None:
    shop = library_shop()
    cameras, plates = tuple(c.camera_id for c in shop.cameras), tuple(p.plate_id for p in shop.plates)

    def reached(kind: FaultKind, target: str | None) -> tuple[int, int, bool]:
        reach = reach_of(Fault(1.0, kind, target), shop)
        return len(reach.cameras), len(reach.plates), reach.joints

    assert reached(FaultKind.CAMERA_DEAD, None) == (8, 0, False)
    assert reached(FaultKind.CAMERA_DEAD, "cam3") == (1, 0, False)
    assert reached(FaultKind.CAMERA_DEAD, "3") == (1, 0, False)
    assert reached(FaultKind.BUMP, None) == (0, len(plates), False)
    assert reached(FaultKind.BUMP, "3") == (0, 40, False)
    assert reached(FaultKind.DRIFT, "3/2") == (0, 8, False)
    assert reached(FaultKind.PLATE_STUCK, "3/2/1") == (0, 1, False)
    assert reached(FaultKind.CLOCK_SKEW, None) == (8, 0, True)
    assert reached(FaultKind.CLOCK_SKEW, "3")[0] == 0
    assert reached(FaultKind.MESSAGES_LATE, "joints") == (0, 0, True)
    assert reached(FaultKind.MESSAGES_LATE, "scales") == (0, len(plates), False)
    assert reached(FaultKind.POWER_CUT, None) == (len(cameras), len(plates), True)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(1.0, FaultKind.CAMERA_DEAD, "cam99"), "camera_dead: there is no camera cam99"),
        (Fault(1.0, FaultKind.PLATE_STUCK, "1/1/99"), "plate_stuck: there is no plate 1/1/99"),
        (Fault(1.0, FaultKind.PLATE_STUCK, "cam1"), "plate_stuck: there is no plate cam1"),
        (Fault(1.0, FaultKind.MESSAGES_LATE, "lamp"), "messages_late: there is no camera or plate lamp"),
    ],
)
def test_a_fault_on_what_the_store_does_not_have_is_refused(fault: Fault, reason: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        check_scenario(visit(faults=(fault,)), library_shop())
    assert str(caught.value) == f"case: fault 1: {reason}"


def test_a_layout_beside_the_scenario_is_its_site(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(LAYOUT_FILE.read_text("utf-8"), encoding="utf-8")
    folder = tmp_path / "cases"
    folder.mkdir()
    scenario = visit(site="../shop.yaml", path=folder / "case.json")
    assert site_of(scenario).name == "corner shop"
    assert site_of(scenario, tmp_path / "missing").name == "corner shop"


def test_a_plain_name_needs_to_be_told_its_site() -> None:
    scenario = visit(site="nanostore")
    assert site_of(scenario, LAYOUT_FILE).name == "corner shop"
    with pytest.raises(FileNotFoundError, match=r"^case: plays in the store 'nanostore'; --site must"):
        site_of(scenario)
    with pytest.raises(FileNotFoundError, match=r"^case: does not say in which store it plays; --site must"):
        site_of(visit(site=""))


def test_a_path_that_leads_nowhere_is_an_error_without_a_site_and_a_notice_with_one() -> None:
    with pytest.raises(FileNotFoundError, match="which is no layout file and no site's folder; --site must"):
        site_of(visit(site="shops/none.yaml"))
    layout = site_of(visit(site="shops/none.yaml"), LAYOUT_FILE)
    assert layout.name == "corner shop"
    (said,) = layout.notices
    assert said.startswith("shops/none.yaml is no layout file")


def cases_of(shared: Path) -> list[Scenario]:
    return [read_scenario(path) for path in sorted((shared / "nanostore" / "cases").glob("*.json"))]


def test_the_published_cases_play_on_paper_and_pay_by_the_rule(shared: Path) -> None:
    cases = cases_of(shared)
    assert len(cases) == 20
    layout = site_of(cases[0], shared / "nanostore" / "site")
    for scenario in cases:
        check_scenario(scenario, layout)
        assert due_receipts(scenario) == scenario.receipts
        assert receipt_differences(scenario) == ()


def test_the_published_case_with_two_products_on_one_plate_has_two_bins(shared: Path) -> None:
    scenario = read_scenario(shared / "nanostore" / "cases" / "cps-test-19.json")
    day = day_layout(site_of(scenario, shared / "nanostore" / "site"), scenario)
    both = [b for b in day.bins if "5/5/4" in b.plate_ids]
    assert [b.sku for b in both] == ["038000197352", "040000515166"]
    boxes = [b.box for b in both if b.box is not None]
    # Side by side along the shelf: the second begins where the first ends.
    assert boxes[0].local_points(boxes[1].world_from_box[None, :3, 3])[0] == pytest.approx([0.1016, 0, 0], abs=1e-4)


def test_every_plate_of_a_published_day_has_a_bin(shared: Path) -> None:
    for scenario in cases_of(shared):
        day = day_layout(site_of(scenario, shared / "nanostore" / "site"), scenario)
        covered = Counter(plate_id for b in day.bins for plate_id in b.plate_ids)
        assert set(covered) == {plate.plate_id for plate in day.plates}
