import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from cart.cart import Cart, CartLine
from cart.catalog import Catalogue, Product
from cart.checkout import Checkout, Outcome
from cart.errors import CouponNotFound, CouponUsed, OffersOverlap
from cart.events import CartEvent
from cart.payments import FakeGateway
from cart.pricing import (
    BundlePrice,
    CheapestOff,
    Coupon,
    FixedPrices,
    Offer,
    PercentOff,
    PriceBook,
    PricedCart,
    TaxRule,
    add_coupon,
    add_offer,
    claim_coupon,
    coupons_of,
    end_offer,
    load_catalogue,
    offers_at,
    set_price,
)
from cart.repository import Database, Repository
from cart.sessions import SessionStatus
from cart.tables import AccountRow, CouponUseRow, PriceRow, ProductRow
from tests.cart import databases

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ADA, GRACE = UUID(int=1001), UUID(int=1002)
SHOP = Catalogue("EUR", [Product("042", "Oat bar", 199, "EUR", 700), Product("043", "Soap", 500, "EUR", 1900)])
BOOK = PriceBook("EUR")


@pytest.fixture
def database() -> Iterator[Database]:
    with Database.in_memory() as opened:
        with opened.transaction() as repository:
            stock(repository)
        yield opened


def stock(repository: Repository) -> None:
    for account_id, name in ((ADA, "ada"), (GRACE, "grace")):
        repository.sql.add(
            AccountRow(
                account_id=account_id,
                email=f"{name}@example.org",
                name=name,
                role="shopper",
                status="active",
                locale="en",
                created_at=NOON,
            )
        )
    load_catalogue(repository, SHOP, NOON)


def cart_of(**quantities: int) -> Cart:
    return Cart(tuple(CartLine(sku.removeprefix("x"), quantity, 1.0) for sku, quantity in sorted(quantities.items())))


def priced(database: Database, cart: Cart, at: datetime = NOON, shopper: UUID | str = "visitor") -> PricedCart:
    with database.reading() as repository:
        return BOOK.price(repository, cart, at, str(shopper))


def price_of(database: Database, sku: str, at: datetime) -> int | None:
    with database.reading() as repository:
        product = BOOK.catalogue(repository, at, [sku]).get(sku)
        return None if product is None else product.unit_price_minor


def coupon(code: str = "HELLO", **changes: Any) -> Coupon:
    return Coupon(**{"code": code, "name": "1.00 off", "valid_from": NOON, "amount_minor": 100, **changes})


def give(database: Database, made: Coupon, account_id: UUID = ADA) -> None:
    with database.transaction() as repository:
        add_coupon(repository, made)
        claim_coupon(repository, made.code, account_id, NOON)


def visit(checkout: Checkout, shopper: UUID, number: int, sku: str = "042", at: datetime = NOON) -> UUID:
    session = checkout.check_in(str(shopper), at)
    checkout.record(CartEvent(UUID(int=number), session.session_id, at, sku, 1))
    return session.session_id


def till(database: Database) -> Checkout:
    return Checkout(database, BOOK, FakeGateway())


def sources(outcome: Outcome) -> list[str]:
    return [discount.source for discount in outcome.receipt.discounts]


def test_a_loaded_catalogue_is_read_as_it_was_and_loading_it_again_changes_nothing(database: Database) -> None:
    with database.transaction() as repository:
        assert load_catalogue(repository, SHOP, NOON + DAY) == 0
        assert list(BOOK.catalogue(repository, NOON)) == list(SHOP)
        assert len(repository.sql.scalars(select(PriceRow)).all()) == 2


def test_a_changed_catalogue_adds_prices_and_changes_products(database: Database) -> None:
    changed = Catalogue(
        "EUR",
        [Product("042", "Oat bar, new", 209, "EUR", 700, 40.0), Product("043", "Soap", None, "EUR", 1900)],
    )
    with database.transaction() as repository:
        assert load_catalogue(repository, changed, NOON + DAY) == 3
        assert list(BOOK.catalogue(repository, NOON + DAY)) == list(changed)
        row = repository.sql.get(ProductRow, "042")
        assert row is not None
        assert row.changed_at == NOON + DAY
    assert price_of(database, "042", NOON + DAY - timedelta(seconds=1)) == 199
    assert price_of(database, "043", NOON + DAY) is None


def test_a_price_counts_from_its_moment_on_and_a_temporary_one_gives_way(database: Database) -> None:
    with database.transaction() as repository:
        set_price(repository, "042", 149, "EUR", NOON, NOON + DAY, NOON + 3 * DAY)
        set_price(repository, "042", 99, "EUR", NOON, NOON + 2 * DAY, NOON + 4 * DAY)
    days = [price_of(database, "042", NOON + number * DAY) for number in range(-1, 6)]
    assert days == [None, 199, 149, 99, 99, 199, 199]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.none() | st.integers(1, 9), st.none() | st.integers(0, 500)),
        max_size=6,
        unique_by=lambda row: row[0],
    )
)
def test_the_price_that_began_last_and_has_not_ended_counts(
    rows: list[tuple[int, int | None, int | None]],
) -> None:
    with Database.in_memory() as database:
        with database.transaction() as repository:
            repository.sql.add(ProductRow(sku="1", name="x", tax_rate_bp=0, changed_at=NOON))
            repository.sql.flush()
            for starts, lasts, price_minor in rows:
                until = None if lasts is None else NOON + (starts + lasts) * DAY
                set_price(repository, "1", price_minor, "EUR", NOON, NOON + starts * DAY, until)
        for day in range(12):
            valid = [row for row in rows if row[0] <= day and (row[1] is None or day < row[0] + row[1])]
            assert price_of(database, "1", NOON + day * DAY) == (max(valid)[2] if valid else None)


def test_an_unknown_price_is_none_and_stops_the_charge(database: Database) -> None:
    made = priced(database, cart_of(x042=1, x999=1))
    assert [(line.name, line.unit_price_minor) for line in made.lines] == [("Oat bar", 199), ("999", None)]
    assert made.total_minor is None
    # Nor is a price of another currency guessed into this one.
    with database.reading() as repository:
        assert PriceBook("USD").price(repository, cart_of(x042=1), NOON, "x").total_minor is None


def test_a_visit_is_priced_as_of_the_moment_it_is_closed(database: Database) -> None:
    with database.transaction() as repository:
        set_price(repository, "042", 149, "EUR", NOON, NOON + DAY)
    checkout = till(database)
    early, late = visit(checkout, ADA, 1), visit(checkout, ADA, 2)
    assert checkout.close(early, NOON + DAY - timedelta(microseconds=1)).receipt.total_minor == 199
    assert checkout.close(late, NOON + DAY).receipt.total_minor == 149
    with database.transaction() as repository:
        set_price(repository, "042", 1, "EUR", NOON + 2 * DAY)
    first = checkout.outcome(early)
    assert first is not None
    assert first.receipt.total_minor == 199


def test_prices_of_the_past_do_not_change(database: Database) -> None:
    with database.transaction() as repository:
        with pytest.raises(ValueError, match="or later"):
            set_price(repository, "042", 149, "EUR", NOON, NOON - DAY)
        with pytest.raises(ValueError, match="expected after"):
            set_price(repository, "042", 149, "EUR", NOON, NOON + DAY, NOON + DAY)
        with pytest.raises(ValueError, match="expected 0 to"):
            set_price(repository, "042", -1, "EUR", NOON)
        again = set_price(repository, "042", 199, "EUR", NOON)
        assert again == set_price(repository, "042", 199, "EUR", NOON)
        with pytest.raises(ValueError, match="at this same moment"):
            set_price(repository, "042", 198, "EUR", NOON)


def test_an_offer_counts_while_it_is_up(database: Database) -> None:
    three = Offer(UUID(int=1), "3 bars for 5.00", ("042",), BundlePrice(3, 500))
    half = Offer(UUID(int=2), "Second at half price", ("042", "043"), CheapestOff(2, 5000))
    with database.transaction() as repository:
        add_offer(repository, three, NOON + DAY, NOON + 3 * DAY)
        add_offer(repository, three, NOON + DAY, NOON + 3 * DAY)
        add_offer(repository, half, NOON + 2 * DAY)
        assert offers_at(repository, NOON + 2 * DAY) == (three, half)
        with pytest.raises(OffersOverlap, match="other terms"):
            add_offer(repository, replace(three, name="4 for 5"), NOON + DAY, NOON + 3 * DAY)
        end_offer(repository, half.offer_id, NOON + 4 * DAY)
        end_offer(repository, half.offer_id, NOON + 9 * DAY)
    totals = [priced(database, cart_of(x042=3), NOON + day * DAY).total_minor for day in range(5)]
    assert totals == [597, 500, 497, 497, 597]


def test_offers_that_would_lie_too_thick_are_refused_where_they_meet_in_time(database: Database) -> None:
    with database.transaction() as repository:
        for number in range(4):
            add_offer(repository, Offer(UUID(int=number), "x", ("042",), BundlePrice(4, 1)), NOON, NOON + DAY)
        one_more = Offer(UUID(int=9), "x", ("042", "043"), BundlePrice(4, 1))
        with pytest.raises(OffersOverlap, match="multiply"):
            add_offer(repository, one_more, NOON)
        add_offer(repository, one_more, NOON + DAY)
        add_offer(repository, replace(one_more, offer_id=UUID(int=10), skus=("043",)), NOON)


def test_a_receipt_keeps_its_discounts_and_its_tax_rule(database: Database) -> None:
    with database.transaction() as repository:
        add_offer(repository, Offer(UUID(int=1), "Half", ("042",), PercentOff(5000)), NOON)
    give(database, coupon())
    checkout = Checkout(database, PriceBook("EUR", TaxRule.EXCLUDED_PER_LINE), FakeGateway())
    outcome = checkout.close(visit(checkout, ADA, 1, "043"), NOON)
    assert (outcome.status, outcome.receipt.tax_rule) == (SessionStatus.CHARGED, TaxRule.EXCLUDED_PER_LINE)
    assert (outcome.receipt.total_minor, outcome.receipt.subtotal_minor) == (476, 400)
    assert outcome.charge is not None
    assert outcome.charge.amount_minor == 476
    halved = checkout.close(visit(checkout, ADA, 2), NOON).receipt
    assert [(d.source, d.amount_minor) for d in halved.discounts] == [(f"offer:{UUID(int=1)}", 100)]


def test_a_coupon_is_claimed_by_one_account_and_used_once(database: Database) -> None:
    with database.transaction() as repository:
        add_coupon(repository, coupon("hello "))
        with pytest.raises(ValueError, match="there is a coupon HELLO"):
            add_coupon(repository, coupon("HELLO"))
    assert priced(database, cart_of(x042=1), shopper=ADA).discounts == ()
    with database.transaction() as repository:
        claimed = claim_coupon(repository, " Hello", ADA, NOON)
        assert (claimed.code, claimed.account_id) == ("HELLO", ADA)
        assert claim_coupon(repository, "HELLO", ADA, NOON) == claimed
        with pytest.raises(CouponNotFound):
            claim_coupon(repository, "HELLO", GRACE, NOON)
        with pytest.raises(CouponNotFound):
            claim_coupon(repository, "OTHER", ADA, NOON)
    checkout = till(database)
    first, second, other = (visit(checkout, who, number) for number, who in enumerate((ADA, ADA, GRACE), 1))
    outcomes = [checkout.close(session_id, NOON) for session_id in (other, first, second)]
    assert [outcome.receipt.total_minor for outcome in outcomes] == [199, 99, 199]
    assert [sources(outcome) for outcome in outcomes] == [[], ["coupon:HELLO"], []]
    with database.transaction() as repository:
        assert coupons_of(repository, ADA, NOON) == ()
        with pytest.raises(CouponUsed):
            claim_coupon(repository, "HELLO", ADA, NOON)


def test_a_coupon_counts_from_its_first_moment_to_its_end_and_from_its_minimum(database: Database) -> None:
    give(database, coupon(valid_from=NOON + DAY, valid_until=NOON + 3 * DAY, minimum_minor=398))
    baskets = [(1, 1), (2, 0), (2, 1), (2, 2), (2, 3)]
    taken = [
        priced(database, cart_of(x042=quantity), NOON + day * DAY, ADA).discount_minor for quantity, day in baskets
    ]
    assert taken == [0, 0, 100, 100, 0]
    with database.transaction() as repository, pytest.raises(CouponNotFound):
        claim_coupon(repository, "HELLO", ADA, NOON + 3 * DAY)


def test_a_visit_that_waits_for_a_person_does_not_use_up_a_coupon(database: Database) -> None:
    give(database, coupon())
    checkout = till(database)
    unsure, sure = visit(checkout, ADA, 1), visit(checkout, ADA, 2)
    checkout.flag(unsure, "the camera was blind", None, NOON)
    assert sources(checkout.close(unsure, NOON)) == ["coupon:HELLO"]
    assert sources(checkout.close(sure, NOON)) == ["coupon:HELLO"]
    # The other visit has it now, so the correction goes without.
    corrected = checkout.correct(unsure, {"042": 1}, UUID(int=50), NOON, "one bar was taken")
    assert (corrected.receipt.total_minor, sources(corrected)) == (199, [])


def test_a_correction_keeps_the_coupon_that_its_visit_has_used(database: Database) -> None:
    give(database, coupon())
    give(database, coupon("BETTER", amount_minor=300))
    checkout = till(database)
    session_id = visit(checkout, ADA, 1, "043")
    assert sources(checkout.close(session_id, NOON)) == ["coupon:BETTER"]
    corrected = checkout.correct(session_id, {"042": 1}, UUID(int=50), NOON, "it was a bar")
    assert (corrected.receipt.total_minor, sources(corrected)) == (0, ["coupon:BETTER"])
    with database.reading() as repository:
        assert [row.code for row in repository.sql.scalars(select(CouponUseRow))] == ["BETTER"]


@pytest.mark.parametrize("kind", databases.KINDS)
def test_of_visits_that_end_at_once_one_gets_the_coupon(kind: str, tmp_path: Path) -> None:
    numbers = count(1)
    with databases.fresh(kind, tmp_path) as database:
        with database.transaction() as repository:
            stock(repository)
        for round_number in range(3):
            give(database, coupon(f"ROUND{round_number}"))
            checkout = till(database)
            visits = [visit(checkout, ADA, next(numbers)) for _ in range(4)]
            ready, outcomes = threading.Barrier(len(visits)), []

            def leave(session_id: UUID) -> None:
                ready.wait()  # noqa: B023
                outcomes.append(checkout.close(session_id, NOON))  # noqa: B023

            threads = [threading.Thread(target=leave, args=(session_id,)) for session_id in visits]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(outcome.receipt.total_minor or 0 for outcome in outcomes) == [99, 199, 199, 199]
            assert {outcome.status for outcome in outcomes} == {SessionStatus.CHARGED}
        with database.reading() as repository:
            assert len(repository.sql.scalars(select(CouponUseRow)).all()) == 3


@pytest.mark.parametrize("kind", databases.KINDS)
def test_of_accounts_that_claim_a_coupon_at_once_one_gets_it(kind: str, tmp_path: Path) -> None:
    with databases.fresh(kind, tmp_path) as database:
        with database.transaction() as repository:
            stock(repository)
            add_coupon(repository, coupon())
        ready, got = threading.Barrier(2), []

        def claim(account_id: UUID) -> None:
            ready.wait()
            try:
                with database.transaction() as repository:
                    claim_coupon(repository, "HELLO", account_id, NOON)
            except CouponNotFound:
                return
            got.append(account_id)

        threads = [threading.Thread(target=claim, args=(account_id,)) for account_id in (ADA, GRACE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1


def test_using_a_coupon_twice_fails_even_past_the_till(database: Database) -> None:
    give(database, coupon())
    checkout = till(database)
    first, second = visit(checkout, ADA, 1), visit(checkout, ADA, 2)
    made = priced(database, cart_of(x042=1), shopper=ADA)
    assert made.coupon_codes == ("HELLO",)
    with database.transaction() as repository:
        BOOK.use(repository, made, first, NOON)
        BOOK.use(repository, made, first, NOON)
        with pytest.raises(CouponUsed):
            BOOK.use(repository, made, second, NOON)


@pytest.mark.parametrize("kind", databases.KINDS)
def test_prices_offers_and_coupons_read_the_same_from_each_database(kind: str, tmp_path: Path) -> None:
    with databases.fresh(kind, tmp_path) as database:
        with database.transaction() as repository:
            stock(repository)
            add_offer(repository, Offer(UUID(int=1), "Half", ("042",), PercentOff(5000)), NOON)
            set_price(repository, "043", 400, "EUR", NOON, NOON, NOON + DAY)
        give(database, coupon())
        made = priced(database, cart_of(x042=2, x043=1), NOON, ADA)
        assert [d.amount_minor for d in made.discounts] == [200, 33, 67]
        assert made.total_minor == 798 - 300


def test_fixed_prices_are_those_of_a_catalogue(database: Database) -> None:
    fixed = FixedPrices(SHOP, offers=[Offer(UUID(int=1), "Half", ("042",), PercentOff(5000))])
    with database.transaction() as repository:
        made = fixed.price(repository, cart_of(x042=1), NOON, str(ADA))
        fixed.use(repository, made, UUID(int=1), NOON)
    assert fixed.currency == "EUR"
    assert made.discount_minor == 100


def test_a_currency_that_is_none_and_a_naive_time_are_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="ISO 4217"):
        PriceBook("euro")
    with pytest.raises(ValueError, match="timezone-aware"):
        priced(database, cart_of(x042=1), datetime(2026, 1, 1))
