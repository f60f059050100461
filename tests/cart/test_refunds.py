from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cart.catalog import Catalogue, Product
from cart.checkout import Checkout
from cart.errors import (
    EventConflict,
    PaymentUnknown,
    PriceUnknown,
    RefundExceedsPayment,
    SessionNotFound,
    VisitUnderWay,
)
from cart.ledger import GATEWAY, REFUNDS_DUE, SALES, TAX, Balance, TransferCode, TransferPhase, shopper_account
from cart.payments import (
    ChargeKind,
    ChargeStatus,
    FakeGateway,
    Fault,
    GatewayCall,
    HoldStatus,
    RefundKind,
    RefundStatus,
)
from cart.repository import Database
from cart.sessions import SessionStatus
from tests.cart.till import (
    LATER,
    MUCH_LATER,
    NOON,
    Weather,
    books,
    check_books,
    enter,
    in_turn,
    on,
    sweep,
    till,
    waiting_keys,
    webhooks,
)

DECISION, ANOTHER, THIRD = UUID(int=7), UUID(int=8), UUID(int=9)


@pytest.fixture
def database() -> Iterator[Database]:
    with Database.in_memory() as opened:
        yield opened


def charged(checkout: Checkout, *items: tuple[str, int]) -> UUID:
    session_id = enter(checkout, *items)
    assert checkout.close(session_id, LATER).status is SessionStatus.CHARGED
    return session_id


def under_review(checkout: Checkout, *items: tuple[str, int]) -> UUID:
    session_id = enter(checkout, *items)
    checkout.flag(session_id, "two people reached in", None, NOON)
    assert checkout.close(session_id, LATER).status is SessionStatus.NEEDS_REVIEW
    return session_id


def test_a_refund_goes_back_through_the_gateway_and_reverses_sale_tax_and_payment(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = charged(checkout, ("tea", 2))
    refund = checkout.refund(session_id, 250, "it was warm", DECISION, MUCH_LATER)
    assert (refund.status, refund.kind, refund.amount_minor) == (RefundStatus.POSTED, RefundKind.GOODWILL, 250)
    ledger = books(database)
    assert ledger.balance(TAX, "USD") == Balance(-(80 - 40), 0)
    assert ledger.balance(SALES, "USD") == Balance(-(420 - 210), 0)
    codes = [(t.code, t.phase) for t in ledger.transfers[-4:]]
    assert codes == [
        (TransferCode.REFUND, TransferPhase.PENDING),
        (TransferCode.SALE, TransferPhase.IMMEDIATE),
        (TransferCode.TAX, TransferPhase.IMMEDIATE),
        (TransferCode.REFUND, TransferPhase.POST),
    ]
    outcome = checkout.outcome(session_id)
    assert outcome is not None
    assert (outcome.status, outcome.receipt.total_minor, outcome.paid_minor) == (SessionStatus.CHARGED, 500, 250)
    assert "refund.posted" in webhooks(database)
    check_books(database, gateway)


def test_all_refunds_together_give_back_all_of_the_tax(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = charged(checkout, ("tea", 1), ("bar", 1))
    for amount in (1, 7, 41, 100, 300):
        checkout.refund(session_id, amount, "sorry", None, MUCH_LATER)
    ledger = books(database)
    assert ledger.balance(TAX, "USD") == ledger.balance(SALES, "USD") == Balance(0, 0)
    assert gateway.refunded_minor("USD") == gateway.captured_minor("USD") == 449
    check_books(database, gateway)


def test_a_refund_of_more_than_is_left_is_refused_and_changes_nothing(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = charged(checkout, ("tea", 1))
    checkout.refund(session_id, 200, "sorry", None, LATER)
    before = books(database).transfers
    with pytest.raises(RefundExceedsPayment, match="at most 50, got 51"):
        checkout.refund(session_id, 51, "sorry", None, LATER)
    assert books(database).transfers == before
    assert gateway.refunded_minor("USD") == 200


def test_the_same_cause_gives_the_same_refund(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = charged(checkout, ("tea", 1))
    first = checkout.refund(session_id, 100, "sorry", DECISION, LATER)
    assert checkout.refund(session_id, 100, "sorry", DECISION, MUCH_LATER) == first
    with pytest.raises(EventConflict, match="two amounts"):
        checkout.refund(session_id, 101, "sorry", DECISION, MUCH_LATER)
    assert gateway.refunded_minor("USD") == 100


def test_a_refund_is_taken_from_several_charges_if_one_is_not_enough(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = charged(checkout, ("tea", 5))
    checkout.refund(session_id, 1100, "sorry", DECISION, LATER)
    assert [payment.refunded_minor for payment in gateway.payments] == [850, 250]
    assert checkout.refund(session_id, 1100, "sorry", DECISION, LATER).status is RefundStatus.POSTED
    check_books(database, gateway)


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_REPLY, Fault.STORED_ERROR])
@pytest.mark.parametrize("forget", [False, True])
def test_a_refund_whose_reply_is_lost_is_looked_up_and_made_once(
    database: Database, fault: Fault, forget: bool
) -> None:
    weather = Weather(fault, GatewayCall.REFUND)
    gateway = FakeGateway(weather)
    checkout = till(database, gateway, attempts=1)
    session_id = charged(checkout, ("tea", 1))
    assert checkout.refund(session_id, 100, "sorry", DECISION, LATER).status is RefundStatus.PENDING
    if forget:
        gateway.forget_keys()
    weather.fault = None
    assert sweep(database, checkout, MUCH_LATER) == 1
    assert gateway.refunded_minor("USD") == 100
    check_books(database, gateway)


def test_resume_goes_on_with_refunds_and_holds_too(database: Database) -> None:
    weather = Weather(Fault.LOST_REPLY, GatewayCall.REFUND)
    gateway = FakeGateway(weather)
    checkout = till(database, gateway, attempts=1)
    session_id = charged(checkout, ("tea", 1))
    checkout.refund(session_id, 100, "sorry", DECISION, LATER)
    weather.fault, weather.call = Fault.LOST_REQUEST, GatewayCall.VOID
    checkout.close(enter(checkout), LATER)
    weather.fault = None
    (outcome,) = checkout.resume(MUCH_LATER)
    assert outcome.refunds[0].status is RefundStatus.POSTED
    assert checkout.resume(MUCH_LATER) == []
    check_books(database, gateway)


def test_a_refund_that_the_gateway_refuses_is_owed_by_the_store_and_shown_to_a_person(database: Database) -> None:
    gateway = FakeGateway(on(GatewayCall.REFUND, Fault.DECLINE))
    checkout = till(database, gateway)
    session_id = charged(checkout, ("tea", 1))
    assert checkout.refund(session_id, 100, "sorry", DECISION, LATER).status is RefundStatus.FAILED
    assert books(database).balance(REFUNDS_DUE, "USD") == Balance(-100, 0)
    outcome = checkout.outcome(session_id)
    assert outcome is not None
    assert [flag.reason for flag in outcome.flags] == ["the gateway refused a refund: it has to be paid another way"]
    with pytest.raises(RefundExceedsPayment):
        checkout.refund(session_id, 151, "sorry", None, LATER)
    check_books(database, gateway)


def test_nothing_can_be_refunded_before_something_is_taken(database: Database) -> None:
    weather = Weather()
    checkout = till(database, FakeGateway(weather))
    visit = enter(checkout, ("tea", 1))
    with pytest.raises(RefundExceedsPayment):
        checkout.refund(visit, 1, "sorry", None, NOON)
    weather.fault = Fault.LOST_REPLY
    checkout.close(visit, LATER)
    with pytest.raises(PaymentUnknown, match="under way"):
        checkout.refund(visit, 1, "sorry", None, LATER)
    with pytest.raises(SessionNotFound):
        checkout.refund(THIRD, 1, "sorry", None, LATER)
    for amount, reason in ((0, "sorry"), (-1, "sorry"), (1, "")):
        with pytest.raises(ValueError, match="expected a positive amount and a reason"):
            checkout.refund(visit, amount, reason, None, LATER)


def test_a_visit_under_review_is_charged_for_what_was_decided(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway, hold_minor=None)
    session_id = under_review(checkout, ("bar", 1), ("tea", -1))
    outcome = checkout.correct(session_id, {"bar": 2, "tea": 0}, DECISION, LATER, "the clip shows it")
    assert outcome.status is SessionStatus.CHARGED
    assert [(line.sku, line.quantity) for line in outcome.receipt.lines] == [("bar", 2)]
    assert (outcome.receipt.sequence, outcome.receipt.receipt_number, outcome.receipt.total_minor) == (2, 1, 398)
    assert [(r.sequence, r.receipt_number) for r in checkout.receipts(session_id)] == [(1, None), (2, 1)]
    with database.reading() as repository:
        events = repository.cart_events(session_id)
    assert [(e.sku, e.quantity) for e in events if e.cause_id == DECISION] == [("bar", 1), ("tea", 1)] or [
        (e.sku, e.quantity) for e in events if e.cause_id == DECISION
    ] == [("tea", 1), ("bar", 1)]
    assert waiting_keys(database, "receipt") == [f"receipt:{session_id}:2"]
    check_books(database, gateway)


def test_a_visit_whose_cart_was_right_is_charged_as_it_stands(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    outcome = checkout.correct(under_review(checkout, ("bar", 1)), {"bar": 1}, DECISION, LATER, "all as seen")
    assert (outcome.status, outcome.paid_minor) == (SessionStatus.CHARGED, 199)
    check_books(database, gateway)


def test_a_visit_under_review_that_took_nothing_is_empty_and_its_hold_let_go(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = under_review(checkout, ("bar", 1))
    outcome = checkout.correct(session_id, {}, DECISION, LATER, "somebody else took it")
    assert (outcome.status, outcome.receipt.total_minor, outcome.charge) == (SessionStatus.EMPTY, 0, None)
    assert outcome.hold is not None
    assert outcome.hold.status is HoldStatus.VOIDED
    assert waiting_keys(database, "receipt") == [f"receipt:{session_id}:2"]
    check_books(database, gateway)


def test_a_charged_visit_that_was_charged_too_much_gets_the_difference_back(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = charged(checkout, ("bar", 2), ("tea", 1))
    outcome = checkout.correct(session_id, {"bar": 1}, DECISION, MUCH_LATER, "one bar and the tea went back")
    assert (outcome.status, outcome.receipt.receipt_number, outcome.paid_minor) == (SessionStatus.CHARGED, 2, 199)
    (refund,) = outcome.refunds
    assert (refund.amount_minor, refund.kind, refund.cause_id) == (449, RefundKind.CORRECTION, DECISION)
    assert books(database).balance(TAX, "USD").posted_minor == -13
    assert waiting_keys(database, "receipt") == [f"receipt:{session_id}:1", f"receipt:{session_id}:2"]
    check_books(database, gateway)


def test_a_charged_visit_that_was_charged_too_little_is_charged_the_difference(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = charged(checkout, ("bar", 1))
    outcome = checkout.correct(session_id, {"bar": 1, "tea": 1}, DECISION, MUCH_LATER, "a tea was missed")
    assert (outcome.status, outcome.receipt.receipt_number, outcome.paid_minor) == (SessionStatus.CHARGED, 2, 449)
    assert [(c.kind, c.sequence, c.amount_minor) for c in outcome.charges] == [
        (ChargeKind.CAPTURE, 1, 199),
        (ChargeKind.CAPTURE, 2, 250),
    ]
    check_books(database, gateway)


def test_a_difference_that_is_declined_is_owed(database: Database) -> None:
    gateway = FakeGateway(on(GatewayCall.AUTHORISE, None, Fault.DECLINE))
    checkout = till(database, gateway)
    session_id = charged(checkout, ("bar", 1))
    outcome = checkout.correct(session_id, {"bar": 2}, DECISION, MUCH_LATER, "one was missed")
    assert (outcome.status, outcome.receipt.receipt_number) == (SessionStatus.PAYMENT_FAILED, None)
    assert checkout.debt_of("ada") == 199
    (paid,) = checkout.pay_debt("ada", MUCH_LATER)
    assert (paid.status, paid.receipt.receipt_number, paid.paid_minor) == (SessionStatus.CHARGED, 2, 398)
    check_books(database, gateway)


def test_a_visit_may_be_corrected_again_and_again(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = charged(checkout, ("bar", 1))
    for number, count in enumerate((3, 0, 7, 2, 2), 1):
        outcome = checkout.correct(session_id, {"bar": count}, UUID(int=100 + number), MUCH_LATER, "again")
        assert (outcome.status, outcome.receipt.sequence) == (SessionStatus.CHARGED, number + 1)
        assert outcome.paid_minor == outcome.receipt.total_minor == 199 * count
        check_books(database, gateway)
    assert [r.receipt_number for r in checkout.receipts(session_id)] == [1, 2, 3, 4, 5, 6]


def test_the_same_decision_counts_once_also_after_another_one(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = charged(checkout, ("bar", 3))
    first = checkout.correct(session_id, {"bar": 1}, DECISION, LATER, "two went back")
    assert checkout.correct(session_id, {"bar": 1}, DECISION, MUCH_LATER, "two went back") == first
    second = checkout.correct(session_id, {"bar": 2}, ANOTHER, MUCH_LATER, "one went back")
    assert checkout.correct(session_id, {"bar": 1}, DECISION, MUCH_LATER, "two went back") == second
    check_books(database, gateway)


def test_goodwill_stays_when_the_cart_is_corrected(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = charged(checkout, ("tea", 2))
    checkout.refund(session_id, 100, "it was warm", None, LATER)
    assert checkout.correct(session_id, {"tea": 1}, DECISION, LATER, "one went back").paid_minor == 150
    assert checkout.correct(session_id, {"tea": 3}, ANOTHER, LATER, "no, three").paid_minor == 650
    assert checkout.correct(session_id, {}, THIRD, LATER, "no, none").paid_minor == 0
    check_books(database, gateway)


def test_a_visit_that_owes_money_owes_what_was_decided(database: Database) -> None:
    gateway = FakeGateway(on(GatewayCall.AUTHORISE, None, Fault.DECLINE))
    checkout = till(database, gateway)
    session_id = enter(checkout, ("tea", 6))
    assert checkout.close(session_id, LATER).status is SessionStatus.PAYMENT_FAILED
    for count, status, owed_minor, paid_minor in (
        (7, SessionStatus.PAYMENT_FAILED, 750, 1000),
        (5, SessionStatus.PAYMENT_FAILED, 250, 1000),
        (3, SessionStatus.CHARGED, 0, 750),
    ):
        outcome = checkout.correct(session_id, {"tea": count}, UUID(int=count), MUCH_LATER, "counted anew")
        assert (outcome.status, checkout.debt_of("ada"), outcome.paid_minor) == (status, owed_minor, paid_minor)
        check_books(database, gateway, owed_minor)
    assert outcome.receipt.receipt_number == 1


def test_a_visit_that_was_empty_is_charged_for_what_was_found(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = enter(checkout)
    assert checkout.close(session_id, LATER).status is SessionStatus.EMPTY
    outcome = checkout.correct(session_id, {"bar": 1}, DECISION, MUCH_LATER, "the clip shows one")
    assert (outcome.status, outcome.paid_minor) == (SessionStatus.CHARGED, 199)
    check_books(database, gateway)


def test_somebody_without_an_account_gets_a_corrected_receipt_and_no_charge(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = checkout.check_in("visitor-3", NOON, has_account=False).session_id
    checkout.close(session_id, LATER)
    outcome = checkout.correct(session_id, {"bar": 1}, DECISION, LATER, "the clip shows one")
    assert (outcome.status, outcome.receipt.total_minor, outcome.charge) == (SessionStatus.NO_ACCOUNT, 199, None)
    assert (gateway.payments, books(database).transfers) == ((), ())


def test_a_correction_first_finds_out_what_became_of_a_payment(database: Database) -> None:
    weather = Weather(Fault.LOST_REPLY, GatewayCall.CAPTURE)
    gateway = FakeGateway(weather)
    checkout = till(database, gateway, attempts=1)
    session_id = enter(checkout, ("bar", 2))
    assert checkout.close(session_id, LATER).status is SessionStatus.CLOSED
    weather.call = None
    with pytest.raises(PaymentUnknown):
        checkout.correct(session_id, {"bar": 1}, DECISION, LATER, "one went back")
    weather.fault = None
    outcome = checkout.correct(session_id, {"bar": 1}, DECISION, LATER, "one went back")
    assert (outcome.status, outcome.paid_minor) == (SessionStatus.CHARGED, 199)
    check_books(database, gateway)


def test_what_cannot_be_corrected_is_refused_and_changes_nothing(database: Database) -> None:
    checkout = till(database)
    visit = enter(checkout, ("bar", 1))
    with pytest.raises(VisitUnderWay):
        checkout.correct(visit, {"bar": 2}, DECISION, LATER, "why")
    checkout.close(visit, LATER)
    before = checkout.outcome(visit)
    for sku in ("secret", "never heard of"):
        with pytest.raises(PriceUnknown):
            checkout.correct(visit, {sku: 1}, DECISION, LATER, "why")
    for lines, reason in (({"bar": -1}, "why"), ({"bar": 1001}, "why"), ({"": 1}, "why"), ({"bar": 1}, "")):
        with pytest.raises(ValueError, match="expected"):
            checkout.correct(visit, lines, DECISION, LATER, reason)
    with pytest.raises(ValueError, match="timezone"):
        checkout.correct(visit, {}, DECISION, datetime(2026, 1, 1), "why")
    with pytest.raises(SessionNotFound):
        checkout.correct(THIRD, {}, DECISION, LATER, "why")
    assert checkout.outcome(visit) == before


def test_a_cart_far_beyond_one_event_is_brought_back_in_several(database: Database) -> None:
    checkout = till(database, hold_minor=None)
    visit = under_review(checkout, ("bar", 1000), ("bar", 1000), ("bar", 500))
    assert checkout.correct(visit, {"bar": 1}, DECISION, LATER, "a scale went wild").paid_minor == 199
    assert [line.quantity for line in checkout.cart(visit).lines] == [1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("refund"), st.integers(1, 2500)),
            st.tuples(st.just("correct"), st.integers(0, 9)),
        ),
        max_size=6,
    ),
    faults=st.lists(st.sampled_from([None, None, *Fault]), max_size=12),
)
def test_refunds_never_exceed_what_was_taken(
    counts: tuple[int, int], steps: list[tuple[str, int]], faults: list[Fault | None]
) -> None:
    gateway = FakeGateway(in_turn([None, *faults]))
    with Database.in_memory() as database:
        checkout = till(database, gateway, attempts=1)
        visit = enter(checkout, *[(sku, n) for sku, n in zip(("bar", "tea"), counts, strict=True) if n])
        checkout.close(visit, LATER)
        for number, (step, amount) in enumerate(steps):
            try:
                if step == "refund":
                    checkout.refund(visit, amount, "sorry", UUID(int=number), LATER)
                else:
                    checkout.correct(visit, {"bar": amount}, UUID(int=number), LATER, "counted anew")
            except (RefundExceedsPayment, PaymentUnknown):
                pass
            outcome = checkout.outcome(visit)
            assert outcome is not None
            posted = {c.charge_id: c.amount_minor for c in outcome.charges if c.status is ChargeStatus.POSTED}
            for charge_id, amount_minor in posted.items():
                assert sum(r.amount_minor for r in outcome.refunds if r.charge_id == charge_id) <= amount_minor
            assert all(refund.charge_id in posted for refund in outcome.refunds)
            assert all(p.refunded_minor <= p.captured_minor for p in gateway.payments)
        checkout.resume(MUCH_LATER)
        for _ in range(12):
            checkout.resume(MUCH_LATER)
        ledger = books(database)
        net = gateway.captured_minor("USD") - gateway.refunded_minor("USD")
        assert ledger.balance(GATEWAY, "USD") == Balance(net, 0)
        assert ledger.balance(shopper_account("ada"), "USD").posted_minor == checkout.debt_of("ada")
        assert all(total == Balance(0, 0) for total in ledger.sums())


def test_a_correction_keeps_the_prices_of_the_exit(database: Database) -> None:
    gateway = FakeGateway()
    session_id = charged(till(database, gateway), ("bar", 2))
    dearer = Catalogue("USD", [Product("bar", "Oat bar", 300, "USD", 700)])
    outcome = Checkout(database, dearer, gateway).correct(session_id, {"bar": 1}, DECISION, LATER, "one went back")
    assert outcome.paid_minor == 199
    check_books(database, gateway)
