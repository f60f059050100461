import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cart.offers
from cart.offers import (
    MAX_STATES,
    BundlePrice,
    CheapestOff,
    Coupon,
    Deal,
    Offer,
    PercentOff,
    PricedCart,
    best_offers,
    price_lines,
)
from cart.receipts import ReceiptLine
from cart.taxes import TaxRule
from tests.cart.pricing_oracle import differences, random_cart

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ORACLE_CARTS = int(os.environ.get("TILLFREE_ORACLE_CARTS", "300"))
SKUS = "abcd"
DEALS = st.one_of(
    st.builds(BundlePrice, st.integers(1, 4), st.integers(0, 2000)),
    st.builds(CheapestOff, st.integers(2, 4), st.integers(1, 10_000)),
    st.builds(PercentOff, st.integers(1, 10_000)),
)
OFFERS = st.lists(
    st.builds(
        Offer,
        offer_id=st.uuids(version=4),
        name=st.just("Offer"),
        skus=st.sets(st.sampled_from(SKUS), min_size=1).map(sorted).map(tuple),
        deal=DEALS,
    ),
    max_size=4,
    unique_by=lambda offer: offer.offer_id,
)
LINES = st.lists(
    st.builds(
        ReceiptLine,
        sku=st.sampled_from(SKUS),
        name=st.just("Product"),
        quantity=st.integers(1, 6),
        unit_price_minor=st.integers(0, 1000),
        tax_rate_bp=st.just(700),
    ),
    max_size=4,
    unique_by=lambda line: line.sku,
).map(lambda lines: [replace(line, tax_rate_bp={"a": 700, "b": 1900}.get(line.sku, 0)) for line in lines])
COUPONS = st.lists(
    st.one_of(
        st.builds(
            Coupon,
            code=st.text("AB", min_size=1, max_size=3),
            name=st.just("Coupon"),
            valid_from=st.just(NOON),
            amount_minor=st.integers(1, 5000),
            minimum_minor=st.integers(0, 3000),
        ),
        st.builds(
            Coupon,
            code=st.text("CD", min_size=1, max_size=3),
            name=st.just("Coupon"),
            valid_from=st.just(NOON),
            percent_bp=st.integers(1, 10_000),
        ),
    ),
    max_size=3,
    unique_by=lambda coupon: coupon.code,
)
RULES = st.sampled_from(list(TaxRule))


def line(sku: str, quantity: int, price_minor: int | None, tax_rate_bp: int = 700) -> ReceiptLine:
    return ReceiptLine(sku, f"Product {sku}", quantity, price_minor, tax_rate_bp)


def offer(deal: Deal, *skus: str, number: int = 1) -> Offer:
    return Offer(UUID(int=number), f"Offer {number}", skus or ("a",), deal)


def coupon(**changes: Any) -> Coupon:
    terms = {} if "percent_bp" in changes else {"amount_minor": 500}
    return Coupon(**{"code": "HELLO", "name": "5.00 off", "valid_from": NOON, **terms, **changes})


def off(lines: Sequence[ReceiptLine], *offers: Offer) -> int:
    return sum(use.amount_minor for use in best_offers(lines, offers))


def test_random_carts_cost_what_an_independent_reckoning_says() -> None:
    """Set TILLFREE_ORACLE_CARTS=100000 for the long run."""
    found = []
    with_offer = with_coupon = 0
    for seed in range(ORACLE_CARTS):
        drawn = random_cart(Random(seed))
        found += [f"cart {seed}: {difference}" for difference in differences(*drawn)]
        sources = {discount.source.split(":")[0] for discount in price_lines(*drawn).discounts}
        with_offer += "offer" in sources
        with_coupon += "coupon" in sources
    assert found == []
    # The carts are worth comparing: offers and coupons take something off many of them.
    assert with_offer > ORACLE_CARTS / 4
    assert with_coupon > ORACLE_CARTS / 8


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("share_out", lambda amount, weights: (amount, *(0 for _ in weights[1:]))),
        ("divide_half_away", lambda numerator, denominator: numerator // denominator),
        ("best_offers", lambda lines, offers: best_offers(lines, tuple(offers)[:1])),
    ],
)
def test_the_independent_reckoning_finds_a_till_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: object
) -> None:
    monkeypatch.setattr(cart.offers, name, wrong)
    assert sum(bool(differences(*random_cart(Random(seed)))) for seed in range(300)) > 10


@settings(deadline=None)
@given(LINES, OFFERS, COUPONS, RULES, st.randoms(use_true_random=False))
def test_any_order_of_lines_offers_and_coupons_gives_the_same_receipt(
    lines: list[ReceiptLine], offers: list[Offer], coupons: list[Coupon], rule: TaxRule, random: Any
) -> None:
    priced = price_lines(lines, offers, coupons, rule)
    for shuffled in (lines, offers, coupons):
        random.shuffle(shuffled)
    again = price_lines(lines, offers, coupons, rule)
    assert (again.discounts, again.taxes, again.total_minor) == (priced.discounts, priced.taxes, priced.total_minor)


@settings(deadline=None)
@given(LINES, OFFERS, COUPONS, RULES)
def test_nothing_costs_less_than_nothing(
    lines: list[ReceiptLine], offers: list[Offer], coupons: list[Coupon], rule: TaxRule
) -> None:
    for use in best_offers(lines, offers):
        for unit, amount_minor in zip(use.units, use.amounts_minor, strict=True):
            assert 0 <= amount_minor <= unit.price_minor
    priced = price_lines(lines, offers, coupons, rule)
    for tax in priced.taxes or ():
        assert 0 <= tax.tax_minor <= tax.gross_minor
    shelf_minor = sum(made.amount_minor or 0 for made in lines)
    assert 0 <= priced.discount_minor <= shelf_minor
    paid = priced.total_minor if rule.is_included else priced.subtotal_minor
    assert paid == shelf_minor - priced.discount_minor


@settings(deadline=None)
@given(LINES, OFFERS, COUPONS, RULES)
def test_another_offer_never_makes_a_cart_dearer(
    lines: list[ReceiptLine], offers: list[Offer], coupons: list[Coupon], rule: TaxRule
) -> None:
    carts = [price_lines(lines, offers[:count], coupons, rule) for count in range(len(offers) + 1)]
    assert all(after.discount_minor >= before.discount_minor for before, after in pairwise(carts))
    if rule.is_included:
        assert all((after.total_minor or 0) <= (before.total_minor or 0) for before, after in pairwise(carts))


@settings(deadline=None)
@given(LINES, OFFERS)
def test_a_unit_is_in_one_offer_at_most(lines: list[ReceiptLine], offers: list[Offer]) -> None:
    uses = best_offers(lines, offers)
    for made in lines:
        assert sum(unit.sku == made.sku for use in uses for unit in use.units) <= made.quantity
    for use in uses:
        assert len(use.units) == use.offer.deal.quantity
        assert use.amount_minor > 0


def test_three_for_a_price_counts_as_often_as_there_are_three() -> None:
    three = offer(BundlePrice(3, 500))
    assert [off([line("a", quantity, 199)], three) for quantity in (2, 3, 5, 6)] == [0, 97, 97, 194]


def test_a_bundle_that_would_be_dearer_is_not_used() -> None:
    assert best_offers([line("a", 3, 100)], [offer(BundlePrice(3, 300))]) == ()
    assert best_offers([line("a", 3, 100)], [offer(BundlePrice(3, 301))]) == ()


def test_two_and_one_free_gives_the_cheapest_of_each_three() -> None:
    free = offer(CheapestOff(3), "a", "b", "c")
    lines = [line("a", 2, 300), line("b", 2, 200), line("c", 2, 100)]
    # Filled from the dear end: 300 300 200 and 200 100 100.
    assert off(lines, free) == 300


def test_the_second_at_half_price() -> None:
    assert off([line("a", 2, 199)], offer(CheapestOff(2, 5000))) == 100


def test_percent_off_is_rounded_for_each_unit() -> None:
    assert off([line("a", 3, 33)], offer(PercentOff(1000))) == 9


def test_the_choice_is_best_where_a_greedy_one_is_not() -> None:
    # Taking the offer that saves most first (a and b, 90) leaves nothing for the two that save 80 each.
    lines = [line("a", 1, 100), line("b", 1, 100), line("c", 1, 100), line("d", 1, 100)]
    greedy_bait = offer(BundlePrice(2, 110), "a", "b", number=1)
    left, right = offer(BundlePrice(2, 120), "a", "c", number=2), offer(BundlePrice(2, 120), "b", "d", number=3)
    assert off(lines, greedy_bait) == 90
    assert off(lines, greedy_bait, left, right) == 160


def test_a_bundle_is_shared_by_tax_rates_in_proportion_and_a_free_unit_has_its_own() -> None:
    lines = [line("a", 1, 300, 700), line("b", 1, 100, 1900)]
    shared = price_lines(lines, [offer(BundlePrice(2, 301), "a", "b")])
    assert [(d.tax_rate_bp, d.amount_minor) for d in shared.discounts] == [(700, 74), (1900, 25)]
    free = price_lines(lines, [offer(CheapestOff(2), "a", "b")])
    assert [(d.tax_rate_bp, d.amount_minor) for d in free.discounts] == [(1900, 100)]


def test_nothing_is_taken_off_a_cart_with_an_unknown_price() -> None:
    priced = price_lines([line("a", 3, 199), line("b", 1, None)], [offer(BundlePrice(3, 500))], [coupon()])
    assert (priced.discounts, priced.total_minor, priced.taxes, priced.tax_minor, priced.subtotal_minor) == (
        (),
        None,
        None,
        None,
        None,
    )


def test_what_came_back_has_no_part_in_offers_and_coupons() -> None:
    priced = price_lines([line("a", -3, 199), line("b", 1, 100)], [offer(PercentOff(10_000), "a")], [coupon()])
    assert [(d.source, d.amount_minor) for d in priced.discounts] == [("coupon:HELLO", 100)]


def test_the_coupon_that_takes_off_most_is_used_and_the_one_that_ends_first_where_that_is_equal() -> None:
    lines = [line("a", 1, 2000)]
    small, large = coupon(code="SMALL", amount_minor=100), coupon(code="LARGE", percent_bp=1000)
    assert price_lines(lines, (), [small, large]).coupon_codes == ("LARGE",)
    later = coupon(code="A", valid_until=NOON + timedelta(days=9))
    sooner = coupon(code="B", valid_until=NOON + timedelta(days=3))
    assert price_lines(lines, (), [coupon(code="0"), later, sooner]).coupon_codes == ("B",)


def test_a_coupon_takes_what_is_left_after_offers_and_never_more() -> None:
    lines = [line("a", 2, 300)]
    priced = price_lines(lines, [offer(PercentOff(5000))], [coupon()])
    assert (priced.total_minor, priced.discount_minor) == (0, 600)
    assert price_lines(lines, (), [coupon(minimum_minor=601)]).discounts == ()
    # The offer leaves 300, but the cart was worth its 600.
    assert price_lines(lines, [offer(PercentOff(5000))], [coupon(minimum_minor=600)]).coupon_codes == ("HELLO",)
    assert price_lines(lines, [offer(PercentOff(10_000))], [coupon()]).coupon_codes == ()


def test_offers_that_lie_too_thick_are_refused() -> None:
    thick = [offer(BundlePrice(4, 100), "a", "b", number=number) for number in range(1, 6)]
    assert MAX_STATES < 4**5
    with pytest.raises(ValueError, match="share products"):
        best_offers([line("a", 9, 100)], thick)
    apart = [offer(BundlePrice(4, 100), sku, number=number) for number, sku in enumerate("abcdef")]
    assert off([line(sku, 4, 100) for sku in "abcdef"], *apart) == 6 * 300


@pytest.mark.parametrize(
    "make",
    [
        lambda: BundlePrice(0, 100),
        lambda: BundlePrice(2, -1),
        lambda: CheapestOff(1),
        lambda: CheapestOff(2, 10_001),
        lambda: PercentOff(0),
        lambda: Offer(UUID(int=1), "", ("a",), PercentOff(1)),
        lambda: Offer(UUID(int=1), "none", (), PercentOff(1)),
        lambda: coupon(code=""),
        lambda: coupon(amount_minor=0),
        lambda: coupon(amount_minor=5, percent_bp=5),
        lambda: coupon(percent_bp=10_001),
        lambda: coupon(minimum_minor=-1),
        lambda: coupon(valid_until=NOON),
        lambda: coupon(valid_from=datetime(2026, 1, 1)),
    ],
)
def test_terms_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


def test_a_priced_cart_adds_up() -> None:
    priced = PricedCart((line("a", 1, 1000, 1900),), (), TaxRule.EXCLUDED_PER_RATE)
    assert (priced.subtotal_minor, priced.tax_minor, priced.total_minor) == (1000, 190, 1190)
