from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.money import divide_half_away, format_amount, minor_digits, parse_amount, tax_included

AMOUNTS = st.integers(-(10**15), 10**15)
CURRENCIES = st.sampled_from(["USD", "EUR", "JPY", "KWD", "CLP", "TND"])


@given(AMOUNTS, CURRENCIES)
def test_an_amount_survives_being_written_and_read(amount_minor: int, currency: str) -> None:
    text = format_amount(amount_minor, currency)
    assert parse_amount(text, currency) == amount_minor
    assert Fraction(text) == Fraction(amount_minor, 10 ** minor_digits(currency))


@pytest.mark.parametrize(
    ("text", "currency"),
    [("1.234", "USD"), ("1.0", "JPY"), ("1,50", "EUR"), ("", "EUR"), ("1e3", "EUR"), ("٣", "EUR"), (" 1", "EUR")],
)
def test_text_that_is_no_amount_is_refused(text: str, currency: str) -> None:
    with pytest.raises(ValueError, match="expected a number with at most"):
        parse_amount(text, currency)


@pytest.mark.parametrize("currency", ["usd", "XXX", "", "US", "DEM"])
def test_a_currency_that_is_not_in_iso_4217_is_refused(currency: str) -> None:
    with pytest.raises(ValueError, match="ISO 4217"):
        format_amount(1, currency)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10_000))
def test_tax_is_the_exact_share_rounded_half_away_from_zero(gross_minor: int, tax_rate_bp: int) -> None:
    tax_minor = tax_included(gross_minor, tax_rate_bp)
    exact = Fraction(gross_minor * tax_rate_bp, 10_000 + tax_rate_bp)
    assert abs(tax_minor - exact) <= Fraction(1, 2)
    if abs(tax_minor - exact) == Fraction(1, 2):
        assert abs(tax_minor) > abs(exact)


def test_tax_does_not_depend_on_the_sign() -> None:
    assert tax_included(-1190, 1900) == -tax_included(1190, 1900) == -190


def test_a_negative_rate_or_divisor_is_refused() -> None:
    with pytest.raises(ValueError, match="tax_rate_bp"):
        tax_included(100, -1)
    with pytest.raises(ValueError, match="denominator"):
        divide_half_away(1, 0)
