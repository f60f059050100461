"""Tests of store_sim.library_shop."""

import numpy as np
import pytest

from store_sim.coverage import visible
from store_sim.goods import look_of
from store_sim.library_shop import LAYOUT_FILE, in_store_barcode, library_shop, library_shop_yaml
from store_sim.navigation import floor_plan
from vision.layout import Bin, StoreLayout, polygon_margins, read_layout


@pytest.fixture(scope="module")
def shop() -> StoreLayout:
    return library_shop()


def test_the_committed_layout_is_what_the_list_of_goods_gives(shop: StoreLayout) -> None:
    """Cameras are inverted matrices, whose last digits are the machine's; all else is equal to the letter."""
    kept = read_layout(LAYOUT_FILE)
    own, committed = library_shop_yaml(), LAYOUT_FILE.read_text("utf-8")
    assert own.partition("walkable_m")[2] == committed.partition("walkable_m")[2]
    assert [c.camera_id for c in kept.cameras] == [c.camera_id for c in shop.cameras]
    for ours, theirs in zip(shop.cameras, kept.cameras, strict=True):
        assert np.allclose(ours.cam_from_world, theirs.cam_from_world, atol=1e-9)
        assert np.array_equal(ours.intrinsics, theirs.intrinsics)
        assert np.array_equal(ours.distortion, theirs.distortion)


def test_products_have_names_prices_and_barcodes_of_their_own(shop: StoreLayout) -> None:
    assert len({product.name for product in shop.products}) == len(shop.products)
    assert all(product.unit_price_minor and product.currency == "EUR" for product in shop.products)
    assert all(len(product.sku) == 13 and product.sku.startswith("20") for product in shop.products)
    # GTIN-13: digits weighted 1, 3, 1, ... from the left sum to a multiple of ten.
    assert all(sum(int(d) * (1, 3)[i % 2] for i, d in enumerate(p.sku)) % 10 == 0 for p in shop.products)
    assert in_store_barcode(7) == "2000000000077"


def test_there_are_twins_near_twins_and_a_pack_as_heavy_as_two(shop: StoreLayout) -> None:
    masses = np.sort([product.mass_g for product in shop.products])
    assert (np.diff(masses) == 0).sum() >= 10
    assert ((np.diff(masses) > 0) & (np.diff(masses) <= 4)).sum() >= 20
    by_name = {product.name: product.mass_g for product in shop.products}
    assert by_name["Night Owl Dark Chocolate double pack"] == 2 * by_name["Night Owl Dark Chocolate"]


def test_fronts_face_the_floor_and_the_floor_is_clear_before_them(shop: StoreLayout) -> None:
    plan = floor_plan(shop)
    for a_bin in shop.bins:
        assert a_bin.box is not None
        before = (a_bin.box.world_from_box @ [a_bin.box.size_m[0] / 2, -0.4, 0, 1])[:2]
        assert plan.clearances_m(before) > 0.2, a_bin.bin_id


def test_doors_lead_from_outside_onto_the_floor(shop: StoreLayout) -> None:
    plan = floor_plan(shop)
    assert shop.walkable_m is not None
    for door in (plan.entrance, plan.exit):
        assert door.inward == pytest.approx([0, 1])
        outside = door.middle_m - 0.4 * door.inward
        assert polygon_margins(shop.walkable_m, outside[None])[0] > 0.2


def test_nearly_every_bin_is_seen_by_two_cameras(shop: StoreLayout) -> None:
    points = np.array([front_middle(b) for b in shop.bins])
    looks = np.sum([visible(camera, points) for camera in shop.cameras], axis=0)
    assert (looks >= 1).all()
    assert (looks >= 2).mean() > 0.95


def front_middle(a_bin: Bin) -> list[float]:
    assert a_bin.box is not None
    size_m = a_bin.box.size_m
    return [float(x) for x in (a_bin.box.world_from_box @ [size_m[0] / 2, 0, size_m[2] / 2, 1])[:3]]


def test_goods_fit_under_the_shelf_above_and_most_of_eight_onto_their_plates(shop: StoreLayout) -> None:
    records = {product.sku: product for product in shop.products}
    for a_bin in shop.bins:
        assert a_bin.box is not None
        assert a_bin.sku is not None
        size_m = look_of(records[a_bin.sku]).size_m
        assert size_m[2] < a_bin.box.size_m[2], records[a_bin.sku].name
        assert int(a_bin.box.size_m[0] // size_m[0]) * int(a_bin.box.size_m[1] // size_m[1]) >= 5
