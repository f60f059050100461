"""Tests of store_sim.scenarios."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_sim.library_shop import LAYOUT_FILE
from store_sim.scenarios import (
    Action,
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
    read_scenario,
    scenario_to_json,
    site_of,
)
from tests.store_sim.visits import (
    JUICE,
    WATER,
    on,
    pick,
    visit,
)


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


def test_events_in_memory_must_keep_time_order_too() -> None:
    with pytest.raises(ValueError, match=r"^case: event 2: time runs backwards: 4 s after 5 s$"):
        visit(pick(5, "A"), pick(4, "A"))
    with pytest.raises(ValueError, match=r"^case: event 1: there is no shopper Z$"):
        visit(pick(5, "Z"))


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
