"""Tests of tracking.shelves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tracking.test_attribution import a_store
from tracking.shelves import BinBoxes, Shelves


def test_bins_are_found_by_their_plates_and_products_by_their_name() -> None:
    layout = a_store()
    shelves = Shelves.of(layout)
    for row, a_bin in enumerate(layout.bins):
        assert all(row in shelves.on_plate[plate_id] for plate_id in a_bin.plate_ids)
        assert a_bin.sku is None or shelves.skus[shelves.sku_row[row]] == a_bin.sku
    for product in layout.products:
        assert shelves.mass_g[shelves.row[product.sku]] == pytest.approx(product.mass_g, nan_ok=True)


@given(st.tuples(*[st.floats(-3, 3)] * 3))
def test_distances_are_those_of_the_single_boxes(point: tuple[float, float, float]) -> None:
    layout = a_store()
    boxes = [a_bin.box for a_bin in layout.bins if a_bin.box is not None]
    found = BinBoxes.of(layout.bins).distances_m(np.array([point]))[0]
    assert found == pytest.approx([float(box.distances_m(np.array([point]))[0]) for box in boxes], abs=1e-9)


@given(st.lists(st.tuples(*[st.floats(-3, 3)] * 3), max_size=6), st.floats(0.01, 2))
def test_the_nearest_box_is_the_least_distance_unless_it_is_too_far(
    points: list[tuple[float, float, float]], within_m: float
) -> None:
    points_m = np.array(points).reshape(-1, 3)
    boxes = BinBoxes.of(a_store().bins)
    least_m = boxes.distances_m(points_m).min(axis=1, initial=np.inf)
    wanted = np.where(least_m <= within_m, least_m, np.inf)
    clear = abs(least_m - within_m) > 1e-9
    assert boxes.nearest_m(points_m, within_m)[clear] == pytest.approx(wanted[clear], abs=1e-9)


def test_no_box_is_near_where_there_is_none() -> None:
    assert BinBoxes.of(()).nearest_m(np.zeros((2, 3)), 1.0).tolist() == [np.inf, np.inf]
