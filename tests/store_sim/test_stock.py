"""Units on shelves: how many stand where, which plates carry them, who took them."""

from dataclasses import replace

import numpy as np
import pytest

from store_sim.day import day_layout
from store_sim.figures import Whereabouts
from store_sim.scenarios import Place, Scenario, StockOverride
from store_sim.stock import FOREIGN_SKU, NOBODY, Stock
from tests.store_sim.shops import PLATES, UNSENSED, a_scenario, a_shop, at, mass_g
from vision.layout import StoreLayout

NEAR = np.array([0.2, -0.4])


def a_stock(scenario: Scenario | None = None, layout: StoreLayout | None = None, seed: int = 0) -> Stock:
    scenario = scenario or a_scenario([])
    return Stock(day_layout(layout or a_shop(), scenario), scenario, np.random.default_rng(seed))


def test_every_planned_product_starts_with_eight_units_in_its_bin() -> None:
    layout, stock = a_shop(), a_stock()
    assert len(stock.sku_index) == 8 * len(layout.bins)
    for a_bin in layout.bins:
        assert a_bin.box is not None
        assert a_bin.sku is not None
        place = at(a_bin.gondola_id or 0, a_bin.shelf_id or 0, *(int(p.split("/")[2]) for p in a_bin.plate_ids))
        rows = stock.standing(place, a_bin.sku)
        assert len(rows) == 8
        assert a_bin.box.distances_m(stock.position_m[rows]).max() < 0.01


def test_an_override_says_how_many_and_shares_a_plate_side_by_side() -> None:
    overrides = (StockOverride("211", at(1, 1, 1), 3), StockOverride("221", at(1, 1, 1), 2))
    stock = a_stock(a_scenario([], stock_overrides=overrides))
    one, two = stock.standing(at(1, 1, 1), "211"), stock.standing(at(1, 1, 1), "221")
    assert (len(one), len(two)) == (3, 2)
    assert stock.position_m[one, 0].max() < stock.position_m[two, 0].min() or (
        stock.position_m[two, 0].max() < stock.position_m[one, 0].min()
    )
    assert len(stock.standing(at(1, 1, 2), "111")) == 8


def test_an_empty_bin_is_empty() -> None:
    stock = a_stock(a_scenario([], stock_overrides=(StockOverride("211", at(1, 1, 1, 2), 0),)))
    assert stock.standing(at(1, 1, 1, 2), "211") == []


def test_masses_of_units_vary_by_about_a_hundredth() -> None:
    stock = a_stock()
    usual = np.array([mass_g(sku) if sku.isdigit() else 1.0 for sku in stock.skus])[stock.sku_index]
    spread = stock.mass_g / usual - 1
    assert 0.006 < spread.std() < 0.02
    assert abs(spread.mean()) < 0.005


def test_the_plates_under_a_unit_carry_all_of_it() -> None:
    stock = a_stock()
    for row in range(len(stock.sku_index)):
        shares = stock.shares(row)
        on_unsensed = stock.skus[stock.sku_index[row]].startswith(str(UNSENSED))
        assert sum(share for _, share in shares) == pytest.approx(0.0 if on_unsensed else 1.0)


def test_a_unit_over_two_plates_weighs_on_both_and_takes_its_weight_along() -> None:
    stock = a_stock()
    row = stock.standing(at(1, 1, 1, 2), "111")[0]
    slot = stock.slot_of(row)
    moved = replace(slot, local_m=np.array([0.2, 0.1, 0.0]))
    stock.take([row], 0, 1)
    gained = stock.put([row], [moved], at(1, 1, 1, 2))
    assert gained.keys() == {"1/1/1", "1/1/2"}
    assert sum(gained.values()) == pytest.approx(stock.mass_g[row])
    assert gained["1/1/1"] == pytest.approx(gained["1/1/2"])
    assert stock.take([row], 0, 1) == pytest.approx(gained)


def test_the_foremost_and_uppermost_units_are_taken_first() -> None:
    stock = a_stock()
    rows = stock.standing(at(1, 1, 1, 2), "111")
    depths, heights = stock.position_m[rows, 1], stock.position_m[rows, 2]
    top = heights > heights.max() - 0.01
    assert depths[0] == pytest.approx(depths[top].min(), abs=0.01)


def test_units_on_the_named_plate_come_before_others_of_the_bin() -> None:
    stock = a_stock()
    rows = stock.standing(at(1, 1, 2), "111")
    on_it = [any(plate == "1/1/2" and share > 0.5 for plate, share in stock.shares(row)) for row in rows]
    assert len(rows) == 8
    assert on_it[0]
    assert on_it == sorted(on_it, reverse=True)


def test_who_takes_owes_until_it_stands_on_a_shelf_again() -> None:
    stock = a_stock()
    row = stock.standing(at(1, 1, 1, 2), "111")[0]
    stock.take([row], 2, 0)
    assert stock.taker[row] == 2
    stock.hand_to([row], 3, 1)
    assert (stock.taker[row], stock.holder[row], stock.hand[row]) == (2, 3, 1)
    place = at(2, 2, 1, 2)
    stock.put([row], stock.slots(place, [row], NEAR, np.random.default_rng(0)), place)
    assert stock.taker[row] == stock.holder[row] == NOBODY
    assert stock.standing(place, "111") == [row]
    assert stock.standing(at(2, 2, 2), "111") == [row], "it was put on plates 1 and 2, wherever it stands"
    assert stock.standing(at(2, 2, 3, 4), "111") == []


def test_slots_do_not_overlap_what_stands_there_while_there_is_room() -> None:
    stock = a_stock()
    place = at(2, 2, 3, 4)
    rows = stock.standing(place, "222")[:4]
    stock.take(rows, 0, 0)
    rng = np.random.default_rng(0)
    slots = stock.slots(place, rows, np.array([0.6, -1.6]), rng)
    stock.put(rows, slots, place)
    standing = stock.standing(place, "222")
    size = stock.sizes_m[stock.index("222")]
    apart = np.abs(stock.position_m[standing][:, None] - stock.position_m[standing])
    clash = (apart < size - 0.012).all(axis=2)
    np.fill_diagonal(clash, False)
    assert not clash.any()


def test_a_full_shelf_takes_more_on_top() -> None:
    stock = a_stock()
    place = at(1, 2, 1)
    rows = stock.standing(at(1, 1, 1, 2), "111")
    stock.take(rows, 0, 0)
    stock.put(rows, stock.slots(place, rows, NEAR, np.random.default_rng(0)), place)
    assert len(stock.standing(place, "111")) == 8
    assert np.isfinite(stock.position_m[rows]).all()


def test_the_newest_is_given_first_and_what_is_hidden_last() -> None:
    stock = a_stock()
    first, second, third = stock.standing(at(1, 1, 1, 2), "111")[:3]
    for row in (first, second, third):
        stock.take([row], 0, 0)
    stock.bag([third], hides=True)
    stock.bag([second])
    assert stock.carried(0, "111") == [second, first, third]
    assert stock.in_hand(0, 0) == [first]


def test_what_is_dropped_lies_on_the_floor_and_what_is_gone_is_nowhere() -> None:
    stock = a_stock()
    one, two = stock.standing(at(1, 1, 1, 2), "111")[:2]
    stock.take([one, two], 0, 0)
    stock.drop([one], np.array([0.5, -1.0]), 0.3)
    stock.gone([two])
    assert stock.whereabouts[[one, two]].tolist() == [Whereabouts.FLOOR, Whereabouts.GONE]
    assert stock.position_m[one].tolist() == [0.5, -1.0, 0.0]
    assert stock.taker[two] == 0


def test_a_unit_is_nudged_only_where_there_is_room() -> None:
    stock = a_stock()
    place = at(1, 1, 1, 2)
    rows = stock.standing(place, "111")
    stock.take(rows[1:], 0, 0)
    before = stock.position_m[rows[0]].copy()
    change = stock.nudge(rows[0], 0.02)
    assert stock.position_m[rows[0], 0] - before[0] == pytest.approx(0.02)
    assert sum(change.values()) == pytest.approx(0.0, abs=0.05)
    assert stock.nudge(rows[0], 9.0) == {}


def test_the_version_rises_with_every_change() -> None:
    stock = a_stock()
    before = stock.version
    row = stock.standing(at(1, 1, 1, 2), "111")[0]
    stock.take([row], 0, 0)
    assert stock.version > before


def test_foreign_things_are_no_product() -> None:
    stock = a_stock()
    goods = stock.goods(("Ann",))
    assert goods.skus[-1] == FOREIGN_SKU
    assert stock.index("unknown") == -1


def test_a_place_that_is_not_there_has_nothing() -> None:
    stock = a_stock()
    assert not stock.has(Place(9, 1, (1,)))
    assert not stock.has(at(1, 1, PLATES + 1))
    assert stock.has(at(UNSENSED, 1))
    assert stock.standing(Place(9, 1, (1,)), "111") == []


def test_two_stocks_from_one_seed_are_equal() -> None:
    one, other = a_stock(seed=4), a_stock(seed=4)
    assert one.position_m.tobytes() == other.position_m.tobytes()
    assert one.mass_g.tobytes() == other.mass_g.tobytes()
    assert one.mass_g.tobytes() != a_stock(seed=5).mass_g.tobytes()
