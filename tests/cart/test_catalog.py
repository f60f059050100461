from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.catalog import Catalogue, Product, is_gtin

BODIES = st.sampled_from([7, 11, 12, 13]).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n))


def product(**changes: Any) -> Product:
    return replace(Product("042", "Oat bar", 199, "USD"), **changes)


@given(BODIES)
def test_exactly_one_check_digit_fits_a_barcode(body: str) -> None:
    assert sum(is_gtin(body + digit) for digit in "0123456789") == 1


@given(BODIES, st.data())
def test_one_wrong_digit_breaks_a_barcode(body: str, data: st.DataObject) -> None:
    gtin = next(body + digit for digit in "0123456789" if is_gtin(body + digit))
    place = data.draw(st.integers(0, len(gtin) - 1))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != gtin[place]]))
    assert not is_gtin(gtin[:place] + other + gtin[place + 1 :])


@pytest.mark.parametrize("gtin", ["96385074", "614141000036", "4006381333931", "10614141000415"])
def test_published_barcodes_of_all_lengths_are_right(gtin: str) -> None:
    assert is_gtin(gtin)


@pytest.mark.parametrize("text", ["", "0", "400638133393", "40063813339310", "400638133393x", "\uff14006381333931"])
def test_text_that_is_no_barcode_is_none(text: str) -> None:
    assert not is_gtin(text)


def test_a_barcode_with_a_wrong_check_digit_is_a_sku_but_no_gtin() -> None:
    assert product(sku="4006381333932").gtin is None
    with pytest.raises(ValueError, match="check digit"):
        product(gtin="4006381333932")


@pytest.mark.parametrize(
    "changes",
    [
        {"sku": ""},
        {"unit_price_minor": -1},
        {"unit_price_minor": 10**13},
        {"currency": "usd"},
        {"tax_rate_bp": -1},
        {"tax_rate_bp": 10_001},
        {"mass_g": 0.0},
        {"mass_g": float("nan")},
    ],
)
def test_a_product_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        product(**changes)


def test_a_catalogue_has_each_product_once_and_one_currency() -> None:
    shop = Catalogue("USD", [product(), product(sku="043", unit_price_minor=None)])
    assert (len(shop), [p.sku for p in shop], shop.get("044")) == (2, ["042", "043"], None)
    with pytest.raises(ValueError, match="comes twice"):
        Catalogue("USD", [product(), product()])
    with pytest.raises(ValueError, match="expected prices in USD"):
        Catalogue("USD", [product(currency="EUR")])
