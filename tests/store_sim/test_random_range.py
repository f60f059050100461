from collections import Counter

import numpy as np
import pytest

from store_sim.goods import LOOKALIKE, labels_of, look_of
from store_sim.random_range import SORTS, gtin_check_digit, random_range
from vision.layout import ProductRecord


def products(seed: int, count: int) -> list[ProductRecord]:
    return [invented.record for invented in random_range(np.random.default_rng(seed), count)]


@pytest.mark.parametrize("count", [1, 20, 2000])
def test_a_range_has_as_many_products_as_wanted_each_with_its_own_barcode_and_name(count: int) -> None:
    made = products(3, count)
    assert len(made) == len({p.sku for p in made}) == len({p.name for p in made}) == count


def test_barcodes_are_gtin_13_for_use_within_a_shop() -> None:
    for product in products(0, 300):
        assert product.sku.isdigit()
        assert (len(product.sku), product.sku[0]) == (13, "2")
        assert product.sku[-1] == gtin_check_digit(product.sku[:-1])


@pytest.mark.parametrize(
    ("digits", "check"), [("629104150021", "3"), ("400638133393", "1"), ("9031101", "7"), ("0", "0")]
)
def test_check_digits_are_those_of_published_barcodes(digits: str, check: str) -> None:
    assert gtin_check_digit(digits) == check


def test_masses_and_prices_are_those_of_groceries() -> None:
    made = products(1, 2000)
    masses_g = np.array([p.mass_g for p in made])
    assert 8 <= masses_g.min() <= masses_g.max() <= 2500
    assert 150 < np.median(masses_g) < 450
    prices = np.array([p.unit_price_minor for p in made], float)
    assert 29 <= prices.min() <= prices.max() < 5000
    assert ((prices % 10 == 9) | (prices == 29)).mean() > 0.95


def test_some_flavours_of_a_line_weigh_the_same_and_some_nearly() -> None:
    by_line: dict[str, list[float]] = {}
    for product in products(2, 1500):
        by_line.setdefault(" ".join(product.name.split()[:3]), []).append(product.mass_g)
    twins = near = siblings = 0
    for masses_g in by_line.values():
        for other in masses_g[1:]:
            off = abs(other / masses_g[0] - 1)
            siblings += 1
            twins += off == 0
            near += 0 < off <= 0.031
    assert 0.12 < twins / siblings < 0.4
    assert 0.08 < near / siblings < 0.3


def test_only_imports_look_like_another_product() -> None:
    made = products(4, 400)
    fronts = Counter(labels_of(p).front.tobytes() for p in made if not p.name.endswith(LOOKALIKE))
    assert set(fronts.values()) == {1}
    names = {p.name: p for p in made}
    imports = [p for p in made if p.name.endswith(LOOKALIKE)]
    assert imports
    for product in imports:
        own = names[product.name.removesuffix(LOOKALIKE)]
        assert np.array_equal(look_of(product).size_m, look_of(own).size_m)
        assert np.array_equal(labels_of(product).front, labels_of(own).front)


def test_equal_generators_invent_equal_ranges() -> None:
    assert random_range(np.random.default_rng(9), 150) == random_range(np.random.default_rng(9), 150)


def test_every_sort_is_sold() -> None:
    assert {invented.sort for invented in random_range(np.random.default_rng(5), 600)} == set(SORTS)
