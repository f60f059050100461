"""Tests of store_sim.day."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from store_sim.day import BinStock, bins_at, day_layout, reach_of, starting_stock, true_masses
from store_sim.library_shop import library_shop
from store_sim.rules import check_scenario
from store_sim.scenarios import Fault, FaultKind, Scenario, ScenarioProduct, StockOverride, read_scenario, site_of
from tests.store_sim.visits import BREAD, BREAD_SHELF, JUICE, WATER, a_shop, cases_of, on, pick, put, visit
from vision.layout import ProductRecord, StoreLayout


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
    check_scenario(visit(pick(5, "A"), put(6, "A", place=on(6)), pick(7, "A", place=on(5, 6))), bare)
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
