"""Scenarios in memory in a shop of two shelves, one of them without scales; and the published cases."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from store_sim.scenarios import Action, Place, Scenario, ScenarioEvent, ScenarioShopper, read_scenario
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


def cases_of(shared: Path) -> list[Scenario]:
    return [read_scenario(path) for path in sorted((shared / "nanostore" / "cases").glob("*.json"))]
