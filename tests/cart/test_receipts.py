from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.cart import Cart, CartLine
from cart.catalog import Catalogue, Product
from cart.money import tax_included
from cart.receipts import Receipt, ReceiptLine, price_cart, render_text
from cart.sessions import Session, SessionStatus
from cart.taxes import Discount, TaxRule

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LINES = st.lists(
    st.builds(
        ReceiptLine,
        sku=st.text(min_size=1, max_size=5),
        name=st.text("abc é", min_size=1, max_size=60),
        quantity=st.integers(-20, 20).filter(bool),
        unit_price_minor=st.none() | st.integers(0, 10**6),
        tax_rate_bp=st.sampled_from([0, 700, 825, 1900]),
    ),
    max_size=6,
).map(tuple)


def receipt(
    lines: tuple[ReceiptLine, ...],
    status: SessionStatus = SessionStatus.CHARGED,
    number: int | None = None,
    at: datetime = NOON,
) -> Receipt:
    session = Session(UUID(int=1), "ada", True, 1, status, at, at)
    return Receipt.of(session, lines, "EUR", at, number)


@given(LINES)
def test_subtotal_and_tax_add_up_to_what_the_lines_cost(lines: tuple[ReceiptLine, ...]) -> None:
    made = receipt(lines)
    if any(line.unit_price_minor is None for line in lines):
        assert (made.total_minor, made.tax_minor, made.subtotal_minor, made.taxes) == (None,) * 4
        return
    assert made.total_minor == sum(line.amount_minor or 0 for line in lines)
    assert made.taxes is not None
    assert made.tax_minor == sum(tax_included(tax.gross_minor, tax.tax_rate_bp) for tax in made.taxes)
    assert made.subtotal_minor is not None
    assert made.tax_minor is not None
    assert made.subtotal_minor + made.tax_minor == made.total_minor


def test_tax_is_rounded_once_for_a_rate_not_once_for_a_line() -> None:
    line = ReceiptLine("042", "Oat bar", 1, 8, 700)
    # 0.523 cents of tax in 8 cents: a line alone rounds to 1, ten lines to 5.
    assert receipt((line,)).tax_minor == 1
    assert receipt((line,) * 10).tax_minor == 5


def test_an_empty_receipt_costs_nothing() -> None:
    made = receipt((), SessionStatus.EMPTY)
    assert (made.subtotal_minor, made.tax_minor, made.total_minor) == (0, 0, 0)


def test_a_product_the_catalogue_does_not_have_gets_its_sku_for_a_name_and_no_price() -> None:
    shop = Catalogue("EUR", [Product("042", "Oat bar", 199, "EUR", 700)])
    lines = price_cart(Cart((CartLine("042", 2, 0.9), CartLine("043", 1, 1.0))), shop)
    assert lines == (ReceiptLine("042", "Oat bar", 2, 199, 700, 0.9), ReceiptLine("043", "043", 1, None, 0))
    assert [line.amount_minor for line in lines] == [398, None]


@given(LINES, st.sampled_from(sorted(set(SessionStatus) - {SessionStatus.OPEN})), st.none() | st.integers(1, 10**9))
def test_a_rendered_receipt_keeps_its_width(
    lines: tuple[ReceiptLine, ...], status: SessionStatus, number: int | None
) -> None:
    text = render_text(receipt(lines, status, number), "Corner shop", 48)
    assert max(map(len, text.split("\n"))) <= 48
    assert len(text.split("\n")) >= len(lines) + 5


def test_a_rendered_receipt_reads_as_expected() -> None:
    lines = (ReceiptLine("042", "Oat bar", 2, 199, 700), ReceiptLine("7", "A name that is far too long", 1, 5, 1900))
    text = render_text(receipt(lines, number=12, at=NOON.astimezone(timezone(timedelta(hours=2)))), "Corner shop", 34)
    assert text.split("\n") == [
        "           Corner shop",
        "Receipt 12    2026-01-01 12:00 UTC",
        "Shopper ada",
        "-" * 34,
        "2 x Oat bar                   3.98",
        "1 x A name that is far too lo… 0.05".replace("lo… ", "l… "),
        "-" * 34,
        "Total EUR                     4.03",
        "  incl. 7 % tax               0.26",
        "  incl. 19 % tax              0.01",
        "Paid",
    ]


def test_discounts_are_shown_once_and_tax_on_top_before_the_total() -> None:
    lines = (ReceiptLine("042", "Oat bar", 2, 199, 700), ReceiptLine("7", "Soap", 1, 500, 1900))
    session = Session(UUID(int=1), "ada", True, 1, SessionStatus.CHARGED, NOON, NOON)
    discounts = (Discount("Welcome", "coupon:HI", 700, 40), Discount("Welcome", "coupon:HI", 1900, 60))
    made = Receipt.of(session, lines, "EUR", NOON, 1, discounts, TaxRule.EXCLUDED_PER_RATE)
    assert (made.discount_minor, made.subtotal_minor, made.tax_minor, made.total_minor) == (100, 798, 109, 907)
    assert render_text(made, "Corner shop", 34).split("\n")[4:] == [
        "2 x Oat bar                   3.98",
        "1 x Soap                      5.00",
        "  Welcome                    -1.00",
        "-" * 34,
        "Without tax                   7.98",
        "7 % tax                       0.25",
        "19 % tax                      0.84",
        "Total EUR                     9.07",
        "Paid",
    ]


def test_the_time_is_left_out_where_the_recording_has_no_clock() -> None:
    at = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    assert render_text(receipt((), at=at), "Corner shop", 34).split("\n")[1] == "Shopper ada"
    assert render_text(receipt((), number=12, at=at), "Corner shop", 34).split("\n")[1] == "Receipt 12"


def test_an_unknown_price_is_shown_as_such() -> None:
    text = render_text(receipt((ReceiptLine("042", "042", 1, None, 0),), SessionStatus.NEEDS_REVIEW), "Corner shop")
    assert text.split("\n")[-4].endswith(" ?")
    assert text.split("\n")[-2].endswith(" ?")


def test_a_receipt_needs_a_closed_visit_and_some_room() -> None:
    with pytest.raises(ValueError, match="open"):
        Receipt(UUID(int=1), "ada", SessionStatus.OPEN, (), "EUR", (), NOON)
    with pytest.raises(ValueError, match="width"):
        render_text(receipt(()), "Corner shop", 20)
