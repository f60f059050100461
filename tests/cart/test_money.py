from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.money import (
    divide_half_away,
    divide_half_even,
    format_amount,
    minor_digits,
    parse_amount,
    share_out,
    tax_included,
)

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
    for divide in (divide_half_away, divide_half_even):
        with pytest.raises(ValueError, match="denominator"):
            divide(1, 0)


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**6))
def test_division_to_even_is_that_of_python_fractions(numerator: int, denominator: int) -> None:
    assert divide_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_shares_add_up_and_are_their_exact_value_rounded_up_or_down(amount_minor: int, weights: list[int]) -> None:
    if not any(weights):
        weights[0] = 1
    shares = share_out(amount_minor, weights)
    assert sum(shares) == amount_minor
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(amount_minor * weight, sum(weights))) < 1
        if amount_minor <= sum(weights):
            assert share <= weight


@given(st.integers(0, 10**6), st.lists(st.integers(1, 10**6), min_size=2, max_size=8))
def test_a_larger_remainder_is_rounded_up_first(amount_minor: int, weights: list[int]) -> None:
    exact = [Fraction(amount_minor * weight, sum(weights)) for weight in weights]
    rounded_up = [share > value for share, value in zip(share_out(amount_minor, weights), exact, strict=True)]
    rests = [value % 1 for value in exact]
    up = [rest for rest, is_up in zip(rests, rounded_up, strict=True) if is_up]
    down = [rest for rest, is_up in zip(rests, rounded_up, strict=True) if not is_up]
    assert not up or not down or min(up) >= max(down)


@pytest.mark.parametrize(("amount_minor", "weights"), [(-1, [1]), (1, [-1, 5]), (1, [0, 0]), (1, [])])
def test_what_cannot_be_dealt_out_is_refused(amount_minor: int, weights: list[int]) -> None:
    with pytest.raises(ValueError, match="share_out"):
        share_out(amount_minor, weights)
