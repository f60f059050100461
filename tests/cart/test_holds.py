from collections.abc import Iterator
from datetime import datetime
from uuid import UUID, uuid4

import pytest

from cart.errors import PaymentDeclined, PaymentUnknown, SessionAlreadyClosed, SessionNotFound, VisitUnderWay
from cart.events import CartEvent
from cart.outbox import Sweeper
from cart.payments import (
    ChargeStatus,
    FakeGateway,
    Fault,
    GatewayCall,
    HoldStatus,
    Payment,
    PaymentRequest,
    PaymentState,
)
from cart.repository import Database
from cart.sessions import SessionStatus
from tests.cart.till import (
    HOLD_MINOR,
    LATER,
    MUCH_LATER,
    NOON,
    Weather,
    check_books,
    enter,
    in_turn,
    on,
    sweep,
    till,
    waiting_keys,
    webhooks,
)


@pytest.fixture
def database() -> Iterator[Database]:
    with Database.in_memory() as opened:
        yield opened


def states(gateway: FakeGateway) -> list[PaymentState]:
    return [payment.state for payment in gateway.payments]


def event(session_id: UUID, sku: str) -> CartEvent:
    return CartEvent(uuid4(), session_id, NOON, sku, 1)


def test_an_amount_is_held_at_the_entry_and_the_exit_takes_of_it_what_the_visit_cost(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = enter(checkout, ("bar", 2))
    assert states(gateway) == [PaymentState.AUTHORISED]
    assert gateway.payments[0].request.amount_minor == HOLD_MINOR
    outcome = checkout.close(session_id, LATER)
    assert outcome.status is SessionStatus.CHARGED
    assert (states(gateway), gateway.captured_minor("USD")) == ([PaymentState.CAPTURED], 398)
    assert outcome.hold is not None
    assert outcome.hold.status is HoldStatus.CAPTURED
    assert outcome.charge is not None
    assert outcome.charge.idempotency_key == outcome.hold.idempotency_key
    assert checkout.close(session_id, MUCH_LATER) == outcome
    check_books(database, gateway)


def test_holding_twice_holds_once(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = enter(checkout)
    assert checkout.hold(session_id, LATER).amount_minor == HOLD_MINOR
    assert len(gateway.payments) == 1


def test_what_exceeds_the_hold_is_a_second_charge(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    outcome = checkout.close(enter(checkout, ("tea", 5)), LATER)
    assert outcome.status is SessionStatus.CHARGED
    assert [(c.sequence, c.amount_minor, c.status) for c in outcome.charges] == [
        (1, 1000, ChargeStatus.POSTED),
        (2, 250, ChargeStatus.POSTED),
    ]
    assert outcome.receipt.total_minor == gateway.captured_minor("USD") == 1250
    check_books(database, gateway)


def test_a_total_of_just_the_hold_is_one_charge(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    assert len(checkout.close(enter(checkout, ("tea", 4)), LATER).charges) == 1
    check_books(database, gateway)


def test_if_the_second_charge_is_declined_the_hold_is_paid_and_the_rest_is_owed(database: Database) -> None:
    gateway = FakeGateway(on(GatewayCall.AUTHORISE, None, Fault.DECLINE))
    checkout = till(database, gateway)
    outcome = checkout.close(enter(checkout, ("tea", 5)), LATER)
    assert outcome.status is SessionStatus.PAYMENT_FAILED
    assert (gateway.captured_minor("USD"), checkout.debt_of("ada")) == (1000, 250)
    check_books(database, gateway, owed_minor=250)


@pytest.mark.parametrize("items", [[], [("bar", 1), ("bar", -1)], [("gift", 1)]])
def test_a_hold_is_let_go_if_there_is_nothing_to_pay(database: Database, items: list[tuple[str, int]]) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    outcome = checkout.close(enter(checkout, *items), LATER)
    assert outcome.status in (SessionStatus.EMPTY, SessionStatus.CHARGED)
    assert outcome.hold is not None
    assert (outcome.hold.status, states(gateway)) == (HoldStatus.VOIDED, [PaymentState.VOIDED])
    check_books(database, gateway)


def test_a_hold_is_kept_while_a_visit_is_under_review_and_captured_once_it_is_decided(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = enter(checkout, ("bar", 2))
    checkout.flag(session_id, "two people reached in", None, NOON)
    assert checkout.close(session_id, LATER).status is SessionStatus.NEEDS_REVIEW
    assert (states(gateway), sweep(database, checkout, MUCH_LATER)) == ([PaymentState.AUTHORISED], 0)
    outcome = checkout.correct(session_id, {"bar": 1}, UUID(int=7), MUCH_LATER, "the clip shows one")
    assert (outcome.status, outcome.receipt.total_minor) == (SessionStatus.CHARGED, 199)
    assert (states(gateway), gateway.captured_minor("USD")) == ([PaymentState.CAPTURED], 199)
    check_books(database, gateway)


def test_a_hold_that_expired_meanwhile_is_replaced_by_a_payment_of_its_own(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = enter(checkout, ("tea", 5))
    gateway.void(gateway.payments[0])
    outcome = checkout.close(session_id, LATER)
    assert outcome.status is SessionStatus.CHARGED
    assert [(c.sequence, c.status, c.hold_id is None) for c in outcome.charges] == [
        (1, ChargeStatus.VOIDED, False),
        (1, ChargeStatus.POSTED, True),
        (2, ChargeStatus.POSTED, True),
    ]
    assert outcome.hold is not None
    assert outcome.hold.status is HoldStatus.VOIDED
    check_books(database, gateway)


def test_who_is_declined_at_the_entry_does_not_come_in(database: Database) -> None:
    gateway = FakeGateway(declined_shoppers=["ada"])
    checkout = till(database, gateway)
    session_id = checkout.check_in("ada", NOON).session_id
    for _ in range(2):
        with pytest.raises((PaymentDeclined, SessionAlreadyClosed)):
            checkout.hold(session_id, NOON)
    outcome = checkout.outcome(session_id)
    assert outcome is not None
    assert (outcome.status, outcome.receipt.lines, outcome.charge) == (SessionStatus.ABANDONED, (), None)
    assert webhooks(database) == ["payment.failed"]
    check_books(database, gateway)


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_REPLY, Fault.STORED_ERROR])
def test_one_silence_at_the_entry_is_made_good(database: Database, fault: Fault) -> None:
    gateway = FakeGateway(in_turn([fault]))
    checkout = till(database, gateway)
    assert checkout.close(enter(checkout, ("bar", 1)), LATER).status is SessionStatus.CHARGED
    assert len(gateway.payments) == 1
    check_books(database, gateway)


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_REPLY, Fault.STORED_ERROR])
def test_a_gateway_that_stays_silent_lets_nobody_in_and_holds_nothing_in_the_end(
    database: Database, fault: Fault
) -> None:
    weather = Weather(fault)
    gateway = FakeGateway(weather)
    checkout = till(database, gateway)
    session_id = checkout.check_in("ada", NOON).session_id
    with pytest.raises(PaymentUnknown):
        checkout.hold(session_id, NOON)
    assert checkout.session(session_id).status is SessionStatus.ABANDONED
    assert sweep(database, checkout, MUCH_LATER) == 0
    weather.fault = None
    assert sweep(database, checkout, MUCH_LATER + (MUCH_LATER - NOON)) > 0
    assert PaymentState.AUTHORISED not in states(gateway)
    check_books(database, gateway)


def test_a_visit_that_nobody_came_for_lets_its_hold_go(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = enter(checkout)
    for _ in range(2):
        checkout.abandon(session_id, LATER)
    assert checkout.session(session_id).closed_at == LATER
    assert checkout.session(session_id).status is SessionStatus.ABANDONED
    assert states(gateway) == [PaymentState.VOIDED]
    assert checkout.close(session_id, MUCH_LATER).status is SessionStatus.ABANDONED
    with pytest.raises(SessionAlreadyClosed):
        checkout.correct(session_id, {"bar": 1}, UUID(int=7), MUCH_LATER, "why")
    check_books(database, gateway)


def test_a_visit_with_something_in_its_cart_is_not_abandoned(database: Database) -> None:
    checkout = till(database)
    with pytest.raises(VisitUnderWay):
        checkout.abandon(enter(checkout, ("bar", 1)), LATER)
    closed = enter(checkout, ("bar", 1))
    checkout.close(closed, LATER)
    with pytest.raises(SessionAlreadyClosed):
        checkout.abandon(closed, LATER)


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_REPLY, Fault.STORED_ERROR, Fault.DECLINE])
def test_a_void_that_fails_is_tried_again_by_the_sweeper(database: Database, fault: Fault) -> None:
    weather = Weather(fault, GatewayCall.VOID)
    gateway = FakeGateway(weather)
    checkout = till(database, gateway, attempts=1)
    session_id = enter(checkout)
    outcome = checkout.close(session_id, NOON)
    assert outcome.hold is not None
    assert outcome.hold.status is HoldStatus.RELEASING
    weather.fault = None
    assert sweep(database, checkout) == 1
    assert states(gateway) == [PaymentState.VOIDED]
    check_books(database, gateway)


def test_a_close_while_the_hold_is_unclear_takes_a_payment_of_its_own_and_lets_the_hold_go(database: Database) -> None:
    class Dying(FakeGateway):
        def authorise(self, request: PaymentRequest) -> Payment:
            payment = super().authorise(request)
            if request.idempotency_key.startswith("hold:"):
                raise KeyboardInterrupt
            return payment

    gateway = Dying()
    checkout = till(database, gateway)
    session_id = checkout.check_in("ada", NOON).session_id
    with pytest.raises(KeyboardInterrupt):
        checkout.hold(session_id, NOON)
    for sku in ("bar", "tea"):
        checkout.record(event(session_id, sku))
    outcome = checkout.close(session_id, LATER)
    assert outcome.status is SessionStatus.CHARGED
    assert states(gateway) == [PaymentState.VOIDED, PaymentState.CAPTURED]
    check_books(database, gateway)


def test_the_sweeper_finishes_a_hold_whose_process_died(database: Database) -> None:
    class Dying(FakeGateway):
        def authorise(self, request: PaymentRequest) -> Payment:
            super().authorise(request)
            raise KeyboardInterrupt

    gateway = Dying()
    checkout = till(database, gateway)
    session_id = checkout.check_in("ada", NOON).session_id
    with pytest.raises(KeyboardInterrupt):
        checkout.hold(session_id, NOON)
    assert Sweeper(database, checkout.handlers()).sweep(NOON) == 0  # left to whoever wrote it for a while
    assert sweep(database, checkout) == 1
    assert checkout.hold(session_id, LATER).status is HoldStatus.HELD
    assert len(gateway.payments) == 1


def test_a_reply_that_comes_after_the_hold_was_given_up_lets_it_go_after_all(database: Database) -> None:
    class Slow(FakeGateway):
        def authorise(self, request: PaymentRequest) -> Payment:
            # The visit is given up, and the gateway asked, before this call arrives there.
            checkout.abandon(session_id, LATER)
            assert checkout.resume(LATER) == []
            return super().authorise(request)

    gateway = Slow()
    checkout = till(database, gateway)
    session_id = checkout.check_in("ada", NOON).session_id
    with pytest.raises(PaymentDeclined):
        checkout.hold(session_id, NOON)
    sweep(database, checkout, MUCH_LATER)
    assert states(gateway) == [PaymentState.VOIDED]
    check_books(database, gateway)


def test_more_people_may_join_an_open_visit(database: Database) -> None:
    checkout = till(database)
    session_id = enter(checkout)
    assert checkout.join(session_id, LATER).party_size == 2
    assert checkout.join(session_id, LATER) == checkout.session(session_id)
    checkout.close(session_id, LATER)
    with pytest.raises(SessionAlreadyClosed):
        checkout.join(session_id, LATER)


def test_what_cannot_be_held_is_said_to_be_so(database: Database) -> None:
    checkout = till(database)
    with pytest.raises(SessionNotFound):
        checkout.hold(UUID(int=9), NOON)
    with pytest.raises(PaymentDeclined, match="no account"):
        checkout.hold(checkout.check_in("visitor-3", NOON, has_account=False).session_id, NOON)
    closed = enter(checkout)
    checkout.close(closed, NOON)
    with pytest.raises(SessionAlreadyClosed):
        checkout.hold(closed, NOON)
    plain = till(database, hold_minor=None)
    assert plain.hold_minor is None
    with pytest.raises(ValueError, match="holds nothing"):
        plain.hold(enter(plain), NOON)
    with pytest.raises(ValueError, match="hold_minor"):
        till(database, hold_minor=0)
    for call in (checkout.hold, checkout.abandon, checkout.join):
        with pytest.raises(ValueError, match="timezone-aware"):
            call(closed, datetime(2026, 1, 1))


def test_receipts_and_listeners_are_told_in_the_transaction_that_ends_the_visit(database: Database) -> None:
    checkout = till(database)
    session_id = enter(checkout, ("bar", 1))
    checkout.close(session_id, LATER)
    assert waiting_keys(database, "receipt") == [f"receipt:{session_id}:1"]
    assert webhooks(database) == ["receipt.issued", "visit.closed"]
    unsure = enter(checkout, ("bar", 1))
    checkout.flag(unsure, "the camera was blind", None, NOON)
    checkout.close(unsure, LATER)
    assert waiting_keys(database, "receipt") == [f"receipt:{session_id}:1"]
    assert webhooks(database) == ["receipt.issued", "visit.closed", "visit.closed", "visit.needs_review"]
