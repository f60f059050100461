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
