import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_sim.goods import look_of
from store_sim.navigation import BODY_RADIUS_M, floor_plan, footprints
from store_sim.random_shop import random_layout
from vision.arrays import FloatArray
from vision.layout import StoreLayout, layout_to_yaml, polygon_margins, read_layout

STANDING_M = 0.4  # from a shelf's front to the middle of the body

seeds = st.integers(0, 2**32)
counts = st.integers(3, 24)


def shop(seed: int, **settings: object) -> StoreLayout:
    return random_layout(np.random.default_rng(seed), **settings)  # type: ignore[arg-type]


def overlap(one: FloatArray, other: FloatArray) -> bool:
    """Whether two footprints along the axes overlap by more than a millimetre."""
    return bool(
        (np.minimum(one.max(axis=0), other.max(axis=0)) - np.maximum(one.min(axis=0), other.min(axis=0)) > 1e-3).all()
    )


def unreachable(layout: StoreLayout) -> list[str]:
    """Bins before which nobody can stand who comes in by the entrance and wants to get out."""
    plan = floor_plan(layout)
    _, areas = cv2.connectedComponents((plan.clearance_m >= BODY_RADIUS_M).astype(np.uint8))

    def area(point: FloatArray) -> int:
        rows, columns = plan.cells(point)
        return int(areas[rows, columns])

    inside = area(plan.entrance.middle_m + plan.entrance.inward * 0.5)
    assert inside != 0
    found = [] if area(plan.exit.middle_m + plan.exit.inward * 0.5) == inside else ["the exit"]
    for a_bin in layout.bins:
        assert a_bin.box is not None
        before = (a_bin.box.world_from_box @ [a_bin.box.size_m[0] / 2, -STANDING_M, 0, 1])[:2]
        if area(before) != inside:
            found.append(a_bin.bin_id)
    return found


@settings(deadline=None, max_examples=25)
@given(seeds, counts)
def test_no_two_gondolas_overlap_and_every_bin_can_be_walked_to(seed: int, gondolas: int) -> None:
    layout = shop(seed, gondolas=gondolas, cameras=False)
    outlines = footprints(layout)
    assert len(outlines) == gondolas
    assert not any(overlap(one, other) for k, one in enumerate(outlines) for other in outlines[:k])
    assert unreachable(layout) == []


@settings(deadline=None, max_examples=25)
@given(seeds, counts)
def test_shelves_hold_what_stands_on_them(seed: int, gondolas: int) -> None:
    layout = shop(seed, gondolas=gondolas, cameras=False)
    looks = {product.sku: look_of(product) for product in layout.products}
    plates = {plate.plate_id: plate for plate in layout.plates}
    for a_bin in layout.bins:
        assert a_bin.box is not None
        own = [plates[plate_id].box for plate_id in a_bin.plate_ids]
        assert 1 <= len(own) <= 4
        corners = np.concatenate([box.corners_m for box in own])
        assert (a_bin.box.corners_m >= corners.min(axis=0) - 1e-3).all()
        assert (a_bin.box.corners_m <= corners.max(axis=0) + 1e-3).all()
        for box in own:
            assert 0.1 <= box.size_m[0] <= 0.25
            assert 0.1 <= box.world_from_box[2, 3] <= 1.7
        if a_bin.sku is not None:
            width_m, _, height_m = looks[a_bin.sku].size_m
            assert height_m < a_bin.box.size_m[2]
            assert width_m < a_bin.box.size_m[0] or len(own) == 4


def test_every_plate_carries_a_bin_and_neighbours_touch() -> None:
    layout = shop(4, gondolas=12)
    assert {plate_id for a_bin in layout.bins for plate_id in a_bin.plate_ids} == {p.plate_id for p in layout.plates}
    for left, right in zip(layout.plates, layout.plates[1:], strict=False):
        if (left.gondola_id, left.shelf_id) == (right.gondola_id, right.shelf_id):
            end = (left.box.world_from_box @ [left.box.size_m[0], 0, 0, 1])[:3]
            np.testing.assert_allclose(right.box.world_from_box[:3, 3], end, atol=1e-3)


@settings(deadline=None, max_examples=10)
@given(seeds, st.integers(3, 16))
def test_people_come_in_and_out_through_doors_in_the_front(seed: int, gondolas: int) -> None:
    layout = shop(seed, gondolas=gondolas, cameras=False)
    assert layout.walkable_m is not None
    for line in (layout.entrance_m, layout.exit_m):
        assert line is not None
        assert 0.9 <= np.linalg.norm(line[1] - line[0]) <= 1.8
        steps = line.mean(axis=0) + np.array([[0, -0.5], [0, 0.5]])
        assert (polygon_margins(layout.walkable_m, steps) > 0.3).all()
    doors = [pane for pane in layout.surfaces if pane.kind == "door"]
    assert len(doors) in (1, 2)


@pytest.mark.parametrize(("gondolas", "seed"), [(3, 0), (8, 1), (20, 2), (45, 3)])
def test_cameras_look_at_every_bin_from_two_places(gondolas: int, seed: int) -> None:
    layout = shop(seed, gondolas=gondolas)
    assert {camera.resolution_wh for camera in layout.cameras} == {(640, 360)}
    fronts = []
    for a_bin in layout.bins:
        assert a_bin.box is not None
        fronts.append((a_bin.box.world_from_box @ [a_bin.box.size_m[0] / 2, 0, 0.4 * a_bin.box.size_m[2], 1])[:3])
    views = np.zeros(len(fronts), int)
    for camera in layout.cameras:
        assert 2.4 <= camera.position_m[2] <= 3.2
        pixels = camera.image_points(np.array(fronts))
        near = np.linalg.norm(np.array(fronts) - camera.position_m, axis=1) < 6
        with np.errstate(invalid="ignore"):
            views += near & (pixels > 0).all(axis=1) & (pixels < camera.resolution_wh).all(axis=1)
    assert (views >= 2).mean() > 0.98
    assert len(layout.cameras) <= 5 + 1.2 * gondolas


@pytest.mark.parametrize(("gondolas", "products"), [(3, 20), (3, 2000), (60, 20), (60, 2000)])
def test_the_smallest_and_the_largest_shops_can_be_built(gondolas: int, products: int) -> None:
    layout = shop(7, gondolas=gondolas, products=products)
    assert len({a_bin.gondola_id for a_bin in layout.bins}) == gondolas
    assert len(layout.products) == products
    placed = {a_bin.sku for a_bin in layout.bins} - {None}
    if gondolas * products != 3 * 2000:  # there the shelves are full long before
        assert len(placed) > 0.9 * products
    assert unreachable(layout) == []


def test_a_shop_is_written_and_read_back_with_the_same_places(tmp_path: Path) -> None:
    layout = shop(11, gondolas=10)
    (tmp_path / "shop.yaml").write_text(layout_to_yaml(layout), encoding="utf-8")
    again = read_layout(tmp_path / "shop.yaml")
    before, after = ([*(p.box for p in which.plates), *(b.box for b in which.bins)] for which in (layout, again))
    for one, other in zip(before, after, strict=True):
        assert one is not None
        assert other is not None
        assert np.array_equal(one.world_from_box, other.world_from_box)
        assert np.array_equal(one.size_m, other.size_m)
    assert again.products == layout.products


def test_gondolas_without_scales_have_bins_but_no_plates() -> None:
    assert shop(1, gondolas=6, with_scales=False).plates == ()
    mixed = shop(2, gondolas=20, unsensed_share=0.5)
    sensed = {plate.gondola_id for plate in mixed.plates}
    assert 4 < len(sensed) < 16
    assert all(bool(a_bin.plate_ids) == (a_bin.gondola_id in sensed) for a_bin in mixed.bins)


def test_some_narrow_products_share_a_plate() -> None:
    layout = shop(12, gondolas=40, products=1500, cameras=False)
    names = [plate_id for a_bin in layout.bins for plate_id in a_bin.plate_ids]
    shared = {name for name in names if names.count(name) == 2} if len(names) > len(set(names)) else set()
    assert shared


def test_a_shop_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="gondolas: expected 3 to 60, got 2"):
        shop(0, gondolas=2)
    with pytest.raises(ValueError, match="products: expected 20 to 2000, got 3000"):
        shop(0, products=3000)
    with pytest.raises(ValueError, match=r"unsensed_share: expected 0 to 1, got 1\.5"):
        shop(0, unsensed_share=1.5)


def test_another_process_builds_the_same_shop() -> None:
    code = (
        "import zlib; import numpy as np; from store_sim.random_shop import random_layout;"
        "from vision.layout import layout_to_yaml;"
        "print(zlib.crc32(layout_to_yaml(random_layout(np.random.default_rng(5), gondolas=7)).encode()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) == zlib.crc32(layout_to_yaml(shop(5, gondolas=7)).encode())
