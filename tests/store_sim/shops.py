"""Builds a small shop with scales and scenarios in it: two gondolas face each other over an aisle."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from store_sim.happenings import Happenings
from store_sim.scenarios import Action, Place, Scenario, ScenarioEvent, ScenarioProduct, ScenarioShopper
from store_sim.world import World
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout

PLATE_M = np.array([0.2, 0.4, 0.35])
SHELVES_M = {1: 0.7, 2: 1.15}
PLATES = 6
AISLE_M = 2.0
UNSENSED = 3  # a gondola without scales


def sku_at(gondola: int, shelf: int, number: int) -> str:
    """What is planned over a plate and its neighbour, from the odd one to the even one."""
    return f"{gondola}{shelf}{(number + 1) // 2}"


def mass_g(sku: str) -> float:
    return 50.0 + int(sku) % 97 * 7


def a_shop(*, has_doors: bool = True) -> StoreLayout:
    """Gondola 1 stands at y = 0 and looks along -y, gondola 2 faces it, 3 (without scales) stands at the end."""
    plates, bins, products = [], [], []
    for gondola in (1, 2, UNSENSED):
        for shelf, height_m in SHELVES_M.items():
            boxes = []
            for number in range(1, PLATES + 1):
                pose = np.eye(4)
                x = PLATE_M[0] * (number - 1)
                if gondola == 1:
                    pose[:3, 3] = (x, 0.0, height_m)
                elif gondola == 2:
                    pose[:2, :2] = [[-1, 0], [0, -1]]
                    pose[:3, 3] = (PLATES * PLATE_M[0] - x, -AISLE_M, height_m)
                else:
                    pose[:2, :2] = [[0, 1], [-1, 0]]
                    pose[:3, 3] = (2.2, -0.4 - x, height_m)
                boxes.append(Box(pose, PLATE_M))
                if gondola != UNSENSED:
                    plates.append(Plate(f"{gondola}/{shelf}/{number}", gondola, shelf, number, boxes[-1]))
            for first in range(0, PLATES, 2):
                sku = sku_at(gondola, shelf, first + 1)
                names = tuple(f"{gondola}/{shelf}/{n}" for n in (first + 1, first + 2))
                box = Box(boxes[first].world_from_box, PLATE_M * [2, 1, 1])
                on_plates = () if gondola == UNSENSED else names
                bins.append(Bin(f"{gondola}/{shelf}/{first + 1}", sku, gondola, shelf, on_plates, box))
                products.append(ProductRecord(sku, f"Tin of {sku}", mass_g(sku), 199, "EUR"))
    return StoreLayout(
        "small shop",
        bins=tuple(bins),
        plates=tuple(plates),
        products=tuple(products),
        walkable_m=np.array([[-1.5, -2.0], [2.2, -2.0], [2.2, 0.0], [-1.5, 0.0]]) if has_doors else None,
        entrance_m=np.array([[-1.5, -1.9], [-1.5, -1.0]]) if has_doors else None,
        exit_m=np.array([[-1.5, -1.0], [-1.5, -0.1]]) if has_doors else None,
    )


def at(gondola: int = 1, shelf: int = 1, *numbers: int) -> Place:
    return Place(gondola, shelf, numbers or ((1, 2) if gondola != UNSENSED else ()))


def event(t_s: float, shopper: str, action: Action, **what: Any) -> ScenarioEvent:
    """An event; its barcode is what is planned at its place unless said otherwise."""
    place = what.get("place")
    if place is not None and action in (Action.PICK, Action.PUT_BACK, Action.HOLD, Action.RESTOCK):
        what.setdefault("barcode", sku_at(place.gondola, place.shelf, place.plates[0] if place.plates else 1))
    return ScenarioEvent(t_s, shopper, action, **what)


def pick(t_s: float, shopper: str, place: Place, quantity: int = 1, **what: Any) -> ScenarioEvent:
    return event(t_s, shopper, Action.PICK, place=place, quantity=quantity, **what)


def a_scenario(events: Sequence[ScenarioEvent], *shoppers: ScenarioShopper, **what: Any) -> Scenario:
    """A scenario; shoppers that are not given come in one after the other, a second apart."""
    names = dict.fromkeys(name for e in events for name in (e.shopper, e.other) if name is not None)
    given = {shopper.shopper_id for shopper in shoppers}
    others = [ScenarioShopper(name, 1.0 + k) for k, name in enumerate(n for n in names if n not in given)]
    products = tuple(ScenarioProduct(p.sku, p.name, p.mass_g) for p in a_shop().products)
    return Scenario("test", (*shoppers, *others), tuple(events), products=products, **what)


def played(scenario: Scenario, seed: int = 0, *, keeps_order: bool = True) -> tuple[World, list[Happenings]]:
    """Play a scenario in the small shop to its end."""
    world = World(a_shop(), scenario, keeps_order=keeps_order)
    world.reset(seed)
    steps = []
    while not world.done:
        steps.append(world.step())
    return world, steps


def receipts(world: World) -> dict[str, dict[str, int]]:
    return {r.payer: {line.sku: line.quantity for line in r.lines} for r in world.truth.receipts}
