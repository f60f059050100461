from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.receipts import ReceiptLine
from cart.taxes import Discount, TaxRule, taxes_of, total_of

RULES = st.sampled_from(list(TaxRule))
RATES = st.sampled_from([0, 500, 700, 825, 1900, 10_000])
LINES = st.lists(
    st.builds(
        ReceiptLine,
        sku=st.sampled_from("abc"),
        name=st.just("x"),
        quantity=st.integers(1, 5),
        unit_price_minor=st.integers(0, 10**5),
        tax_rate_bp=RATES,
    ),
    max_size=6,
)


def line(amount_minor: int, tax_rate_bp: int = 700, sku: str = "042") -> ReceiptLine:
    return ReceiptLine(sku, "Oat bar", 1, amount_minor, tax_rate_bp)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10_000), RULES)
def test_tax_is_the_exact_one_to_half_a_unit(amount_minor: int, tax_rate_bp: int, rule: TaxRule) -> None:
    exact = Fraction(amount_minor * tax_rate_bp, 10_000 + (tax_rate_bp if rule.is_included else 0))
    tax_minor = rule.tax_of(amount_minor, tax_rate_bp)
    assert abs(tax_minor - exact) <= Fraction(1, 2)
    if abs(tax_minor - exact) == Fraction(1, 2):
        assert tax_minor % 2 == 0 if "half_even" in rule else abs(tax_minor) > abs(exact)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # Two lines of 0.50 at 5 %: 2.38 of tax are in each, 2.50 are to be put on each.
        (TaxRule.INCLUDED_PER_RATE, (100, 5)),
        (TaxRule.INCLUDED_PER_LINE, (100, 4)),
        (TaxRule.EXCLUDED_PER_RATE, (105, 5)),
        (TaxRule.EXCLUDED_PER_LINE, (106, 6)),
        (TaxRule.EXCLUDED_PER_LINE_HALF_EVEN, (104, 4)),
    ],
)
def test_each_rule_gives_its_own_total_and_tax(rule: TaxRule, expected: tuple[int, int]) -> None:
    taxes = taxes_of([line(50, 500), line(50, 500, "043")], (), rule)
    assert taxes is not None
    assert [(tax.gross_minor, tax.tax_minor) for tax in taxes] == [expected]


@given(LINES, RULES, st.randoms(use_true_random=False))
def test_the_order_of_lines_makes_no_difference(lines: list[ReceiptLine], rule: TaxRule, random: object) -> None:
    rates = {made.tax_rate_bp: (made.amount_minor or 0) // 2 for made in lines}
    discounts = [Discount("less", "offer:1", rate, off) for rate, off in rates.items() if off]
    shuffled = list(lines)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert taxes_of(shuffled, discounts, rule) == taxes_of(lines, discounts, rule)


@given(LINES, RULES, st.data())
def test_tax_is_never_negative_and_no_more_than_its_rate_of_what_is_paid(
    lines: list[ReceiptLine], rule: TaxRule, data: st.DataObject
) -> None:
    amounts: dict[int, int] = {}
    for made in lines:
        amounts[made.tax_rate_bp] = amounts.get(made.tax_rate_bp, 0) + (made.amount_minor or 0)
    off = {rate: data.draw(st.integers(0, amount)) for rate, amount in amounts.items()}
    discounts = [Discount("less", "offer:1", rate, minor) for rate, minor in off.items() if minor]
    taxes = taxes_of(lines, discounts, rule)
    assert taxes is not None
    for tax in taxes:
        paid = amounts[tax.tax_rate_bp] - off[tax.tax_rate_bp]
        assert paid == (tax.gross_minor if rule.is_included else tax.net_minor)
        assert tax.tax_minor >= 0
        exact = Fraction(tax.net_minor * tax.tax_rate_bp, 10_000)
        # Half a unit for each line that is rounded, both ways of stating the base taken together.
        assert abs(tax.tax_minor - exact) <= max(1, len(lines))


def test_an_unknown_price_leaves_tax_and_total_open() -> None:
    lines = [line(100), ReceiptLine("043", "043", 1, None, 0)]
    assert (taxes_of(lines), total_of(lines)) == (None, None)


def test_a_rule_has_the_name_it_is_kept_under() -> None:
    assert [TaxRule(rule.value) for rule in TaxRule] == list(TaxRule)
    assert TaxRule("included_per_rate").is_included
    assert TaxRule("excluded_per_line_half_even").is_per_line


def test_a_discount_takes_something_off_and_a_rate_is_not_negative() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Discount("nothing", "offer:1", 700, 0)
    with pytest.raises(ValueError, match="tax_rate_bp"):
        TaxRule.EXCLUDED_PER_RATE.tax_of(100, -1)


def test_a_discount_without_lines_is_a_row_of_its_own() -> None:
    taxes = taxes_of([line(-100)], [Discount("less", "coupon:X", 700, 50)], TaxRule.INCLUDED_PER_LINE)
    assert taxes is not None
    assert (taxes[0].gross_minor, taxes[0].tax_minor) == (-150, -10)
