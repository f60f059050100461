from collections.abc import Iterator
from datetime import datetime

import pytest

from cart.ledger import shopper_account
from cart.payments import ChargeKind, ChargeStatus, FakeGateway, Fault, GatewayCall
from cart.repository import Database
from cart.sessions import SessionStatus
from tests.cart.till import (
    LATER,
    MUCH_LATER,
    Weather,
    books,
    check_books,
    enter,
    sweep,
    till,
    waiting_keys,
    webhooks,
)


@pytest.fixture
def database() -> Iterator[Database]:
    with Database.in_memory() as opened:
        yield opened


def test_who_paid_everything_owes_nothing(database: Database) -> None:
    checkout = till(database)
    checkout.close(enter(checkout, ("tea", 1)), LATER)
    assert (checkout.debt_of("ada"), checkout.debt_of("nobody"), checkout.pay_debt("ada", LATER)) == (0, 0, ())


def test_declined_payments_add_up_to_a_debt_that_is_paid_visit_by_visit(database: Database) -> None:
    weather = Weather(Fault.DECLINE)
    gateway = FakeGateway(weather)
    checkout = till(database, gateway, hold_minor=None)
    for items, shopper in ((("tea", 1), "ada"), (("bar", 1), "ada"), (("bar", 2), "bob")):
        checkout.close(enter(checkout, items, shopper=shopper), LATER)
    assert (checkout.debt_of("ada"), checkout.debt_of("bob")) == (449, 398)
    weather.fault = None
    outcomes = checkout.pay_debt("ada", MUCH_LATER)
    assert [o.status for o in outcomes] == [SessionStatus.CHARGED] * 2
    assert sorted(o.receipt.receipt_number or 0 for o in outcomes) == [1, 2]
    for outcome in outcomes:
        assert outcome.receipt.issued_at == MUCH_LATER
        assert [(c.kind, c.sequence, c.status) for c in outcome.charges] == [
            (ChargeKind.CAPTURE, 1, ChargeStatus.FAILED),
            (ChargeKind.DEBT, 1, ChargeStatus.POSTED),
        ]
        assert len({c.idempotency_key for c in outcome.charges}) == 2
    assert (checkout.debt_of("ada"), checkout.debt_of("bob")) == (0, 398)
    assert books(database).balance(shopper_account("bob"), "USD").posted_minor == 398
    assert gateway.captured_minor("USD") == 449
    assert webhooks(database).count("debt.paid") == 2
    check_books(database, gateway)


def test_a_debt_that_is_declined_again_stays_and_may_be_tried_again(database: Database) -> None:
    weather = Weather(Fault.DECLINE)
    gateway = FakeGateway(weather)
    checkout = till(database, gateway, hold_minor=None)
    session_id = enter(checkout, ("tea", 1))
    checkout.close(session_id, LATER)
    for _ in range(2):
        (outcome,) = checkout.pay_debt("ada", LATER)
        assert (outcome.status, checkout.debt_of("ada")) == (SessionStatus.PAYMENT_FAILED, 250)
    weather.fault = None
    (outcome,) = checkout.pay_debt("ada", LATER)
    assert (outcome.status, outcome.paid_minor) == (SessionStatus.CHARGED, 250)
    keys = [charge.idempotency_key for charge in outcome.charges]
    assert len(keys) == len(set(keys)) == 4
    assert webhooks(database).count("payment.failed") == 3
    check_books(database, gateway)


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_REPLY, Fault.STORED_ERROR])
@pytest.mark.parametrize("forget", [False, True])
def test_a_debt_under_way_is_not_owed_and_not_taken_twice(database: Database, fault: Fault, forget: bool) -> None:
    weather = Weather(Fault.DECLINE)
    gateway = FakeGateway(weather)
    checkout = till(database, gateway, hold_minor=None, attempts=1)
    checkout.close(enter(checkout, ("tea", 1)), LATER)
    weather.fault, weather.call = fault, GatewayCall.CAPTURE
    (outcome,) = checkout.pay_debt("ada", LATER)
    assert (outcome.status, checkout.debt_of("ada"), checkout.pay_debt("ada", LATER)) == (SessionStatus.CLOSED, 0, ())
    if forget:
        gateway.forget_keys()
    weather.fault = None
    assert sweep(database, checkout, MUCH_LATER) == 1
    assert (checkout.debt_of("ada"), gateway.captured_minor("USD")) == (0, 250)
    check_books(database, gateway)


def test_only_what_the_hold_did_not_cover_is_a_debt(database: Database) -> None:
    weather = Weather()
    gateway = FakeGateway(weather)
    checkout = till(database, gateway)
    session_id = enter(checkout, ("tea", 6))
    weather.fault, weather.call = Fault.DECLINE, GatewayCall.AUTHORISE
    checkout.close(session_id, LATER)
    assert checkout.debt_of("ada") == 500
    weather.fault = None
    (outcome,) = checkout.pay_debt("ada", LATER)
    assert [charge.amount_minor for charge in outcome.charges] == [1000, 500, 500]
    check_books(database, gateway)


def test_the_shopper_is_told_of_a_debt_and_of_its_payment(database: Database) -> None:
    weather = Weather(Fault.DECLINE)
    checkout = till(database, FakeGateway(weather), hold_minor=None)
    session_id = enter(checkout, ("tea", 1))
    checkout.close(session_id, LATER)
    assert waiting_keys(database, "receipt") == [f"receipt:{session_id}:1"]
    checkout.pay_debt("ada", LATER)
    weather.fault = None
    checkout.pay_debt("ada", LATER)
    assert waiting_keys(database, "receipt") == [f"receipt:{session_id}:1", f"receipt:{session_id}:1:paid"]


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="timezone"):
        till(database).pay_debt("ada", datetime(2026, 1, 1))
