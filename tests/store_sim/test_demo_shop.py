import numpy as np
import pytest

from store_sim.day import day_layout
from store_sim.demo_shop import ABOUT, DEMO_LAYOUT, DEMO_SCENARIO, demo_layout
from store_sim.rules import check_scenario, due_receipts
from store_sim.scenarios import Action, read_scenario, site_of
from store_sim.world import World
from vision.layout import layout_to_yaml, read_layout


def test_the_file_says_what_the_code_builds() -> None:
    assert DEMO_LAYOUT.read_text(encoding="utf-8") == layout_to_yaml(demo_layout(), about=ABOUT)


def test_the_scenario_plays_in_the_shop_beside_it() -> None:
    scenario = read_scenario(DEMO_SCENARIO)
    layout = site_of(scenario)
    check_scenario(scenario, layout)
    assert scenario.receipts == due_receipts(scenario)
    assert [layout.name, len(scenario.shoppers)] == ["demo shop", 6]


def test_the_six_visits_show_what_they_promise() -> None:
    scenario = read_scenario(DEMO_SCENARIO)
    prices = {product.sku: product.unit_price_minor for product in read_layout(DEMO_LAYOUT).products}
    receipts = due_receipts(scenario)
    assert 2 in receipts["Ada"].values()
    assert [event.shopper for event in scenario.events if event.action is Action.PUT_BACK] == ["Ben"]
    assert None in [prices[sku] for sku in receipts["Eve"]]
    assert receipts["Fay"] == {}
    cleo, dan = (next(e for e in scenario.events if e.shopper == name) for name in ("Cleo", "Dan"))
    assert cleo.place is not None
    assert dan.place is not None
    assert (cleo.place.gondola, cleo.place.shelf) == (dan.place.gondola, dan.place.shelf)


def test_every_bin_of_the_demo_is_in_the_pictures_of_two_cameras() -> None:
    layout = demo_layout()
    for a_bin in layout.bins:
        assert a_bin.box is not None
        front = (a_bin.box.world_from_box @ [a_bin.box.size_m[0] / 2, 0, 0.15, 1])[:3]
        outward = -a_bin.box.world_from_box[:3, 1]
        views = 0
        for camera in layout.cameras:
            pixel = camera.image_points(front[None])[0]
            views += bool(
                (pixel > 0).all()
                and (pixel < camera.resolution_wh).all()
                and (camera.position_m - front) @ outward > 0.5
            )
        assert views >= 2, a_bin.bin_id


@pytest.mark.parametrize("seed", [0, 1])
def test_the_world_plays_the_demo_to_its_end(seed: int) -> None:
    scenario = read_scenario(DEMO_SCENARIO)
    world = World(day_layout(site_of(scenario), scenario), scenario)
    world.reset(seed)
    while not world.done and world.now_s < 120:
        world.step()
    assert world.done
    owed = {receipt.payer: {line.sku: line.quantity for line in receipt.lines} for receipt in world.truth.receipts}
    assert owed == scenario.receipts
    assert np.isclose(world.now_s, 62, atol=15)
