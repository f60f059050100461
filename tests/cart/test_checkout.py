import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cart.cart import CartLine
from cart.catalog import Catalogue, Product
from cart.checkout import Checkout, Outcome
from cart.errors import EventConflict, SessionAlreadyClosed, SessionNotFound
from cart.events import CartEvent
from cart.ledger import GATEWAY, SALES, TAX, Balance, Ledger, shopper_account
from cart.payments import (
    ChargeStatus,
    FakeGateway,
    Fault,
    GatewayCall,
    Payment,
    PaymentGateway,
    PaymentRequest,
    PaymentState,
)
from cart.repository import Database, Repository, make_engine
from cart.sessions import SessionStatus
from cart.tables import Base

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)
CATALOGUE = Catalogue(
    "USD",
    [
        Product("bar", "Oat bar", 199, "USD", 700),
        Product("tea", "Iced tea", 250, "USD", 1900),
        Product("gift", "Sample", 0, "USD"),
        Product("secret", "No price", None, "USD"),
    ],
)
Faults = Callable[[GatewayCall, str], Fault | None]
Answer = TypeVar("Answer")


def in_turn(faults: Sequence[Fault | None]) -> Faults:
    """One fault for each call in turn, then none."""
    left = list(faults)
    return lambda call, key: left.pop(0) if left else None


@pytest.fixture
def database() -> Iterator[Database]:
    with Database.in_memory() as opened:
        yield opened


def shop(database: Database, gateway: PaymentGateway | None = None, attempts: int = 3) -> Checkout:
    return Checkout(database, CATALOGUE, gateway or FakeGateway(), payment_attempts=attempts)


def pick(session_id: UUID, sku: str, quantity: int = 1, event_id: UUID | None = None) -> CartEvent:
    return CartEvent(event_id or uuid4(), session_id, NOON, sku, quantity)


def visit(checkout: Checkout, *items: tuple[str, int], shopper: str = "ada", has_account: bool = True) -> UUID:
    session = checkout.check_in(shopper, NOON, has_account=has_account)
    for sku, quantity in items:
        checkout.record(pick(session.session_id, sku, quantity))
    return session.session_id


def books(database: Database) -> Ledger:
    with database.reading() as repository:
        return repository.ledger()


def check_paid_once(database: Database, gateway: FakeGateway, outcome: Outcome) -> None:
    """The visit is charged, the gateway took its total once, and the books say the same."""
    assert outcome.status is SessionStatus.CHARGED
    assert outcome.charge is not None
    assert outcome.charge.status is ChargeStatus.POSTED
    total_minor = outcome.receipt.total_minor
    assert gateway.captured_minor("USD") == total_minor
    assert [p.state for p in gateway.payments] == [PaymentState.CAPTURED]
    ledger = books(database)
    assert ledger.balance(GATEWAY, "USD") == Balance(total_minor or 0, 0)
    assert ledger.balance(shopper_account("ada"), "USD") == Balance(0, 0)
    assert all(total == Balance(0, 0) for total in ledger.sums())
    assert outcome.receipt.receipt_number == 1


def test_a_visit_is_charged_and_booked(database: Database) -> None:
    gateway = FakeGateway()
    checkout = shop(database, gateway)
    outcome = checkout.close(visit(checkout, ("bar", 3), ("tea", 1), ("bar", -1)), LATER)
    check_paid_once(database, gateway, outcome)
    assert [(line.sku, line.quantity, line.amount_minor) for line in outcome.receipt.lines] == [
        ("bar", 2, 398),
        ("tea", 1, 250),
    ]
    assert (outcome.receipt.total_minor, outcome.receipt.tax_minor) == (648, 26 + 40)
    assert books(database).balance(TAX, "USD").posted_minor == -66
    assert books(database).balance(SALES, "USD").posted_minor == -582
    assert outcome.session.closed_at == outcome.receipt.issued_at == LATER
    assert outcome.flags == ()


def test_closing_twice_charges_once(database: Database) -> None:
    gateway = FakeGateway()
    checkout = shop(database, gateway)
    session_id = visit(checkout, ("bar", 1))
    first = checkout.close(session_id, NOON)
    assert checkout.close(session_id, LATER) == first == checkout.outcome(session_id)
    check_paid_once(database, gateway, first)


def test_an_empty_cart_gives_an_empty_receipt_and_no_charge(database: Database) -> None:
    gateway = FakeGateway()
    checkout = shop(database, gateway)
    outcome = checkout.close(visit(checkout, ("bar", 1), ("bar", -1)), NOON)
    assert (outcome.status, outcome.receipt.lines, outcome.receipt.total_minor) == (SessionStatus.EMPTY, (), 0)
    assert (outcome.charge, gateway.payments, books(database).transfers) == (None, (), ())


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([("secret", 1)], "the price of No price (secret) is not known"),
        ([("never heard of", 1)], "the price of never heard of is not known"),
        ([("bar", 1), ("tea", -2)], "2 x Iced tea (tea) came back that nobody was seen taking"),
    ],
)
def test_a_visit_that_cannot_be_priced_goes_to_review(
    database: Database, items: list[tuple[str, int]], reason: str
) -> None:
    gateway = FakeGateway()
    checkout = shop(database, gateway)
    outcome = checkout.close(visit(checkout, *items), NOON)
    assert outcome.status is SessionStatus.NEEDS_REVIEW
    assert [flag.reason for flag in outcome.flags] == [reason]
    assert (outcome.charge, gateway.payments, outcome.receipt.receipt_number) == (None, (), None)
    assert checkout.close(outcome.session.session_id, LATER) == outcome


@pytest.mark.parametrize("items", [[], [("bar", 1)]])
def test_a_flagged_visit_goes_to_review(database: Database, items: list[tuple[str, int]]) -> None:
    gateway = FakeGateway()
    checkout = shop(database, gateway)
    session_id = visit(checkout, *items)
    for _ in range(2):
        checkout.flag(session_id, "two people reached in", UUID(int=5), NOON)
    checkout.flag(session_id, "two people reached in", UUID(int=6), LATER)
    outcome = checkout.close(session_id, LATER)
    assert outcome.status is SessionStatus.NEEDS_REVIEW
    assert [flag.cause_id for flag in outcome.flags] == [UUID(int=5), UUID(int=6)]
    assert gateway.payments == ()


def test_a_flag_on_a_closed_visit_is_kept_and_changes_nothing_else(database: Database) -> None:
    checkout = shop(database)
    session_id = visit(checkout, ("bar", 1))
    checkout.close(session_id, NOON)
    checkout.flag(session_id, "the shopper asked about it", None, LATER)
    outcome = checkout.close(session_id, LATER)
    assert (outcome.status, len(outcome.flags)) == (SessionStatus.CHARGED, 1)


@pytest.mark.parametrize("items", [[], [("bar", 1)], [("secret", 1)]])
def test_somebody_without_an_account_is_not_charged(database: Database, items: list[tuple[str, int]]) -> None:
    gateway = FakeGateway()
    checkout = shop(database, gateway)
    outcome = checkout.close(visit(checkout, *items, shopper="visitor-3", has_account=False), NOON)
    assert (outcome.status, outcome.receipt.shopper_id) == (SessionStatus.NO_ACCOUNT, "visitor-3")
    assert len(outcome.receipt.lines) == len(items)
    assert (outcome.charge, gateway.payments) == (None, ())


def test_what_is_free_is_settled_without_a_payment(database: Database) -> None:
    gateway = FakeGateway()
    checkout = shop(database, gateway)
    outcome = checkout.close(visit(checkout, ("gift", 2)), NOON)
    assert (outcome.status, outcome.receipt.total_minor, outcome.receipt.receipt_number) == (
        SessionStatus.CHARGED,
        0,
        1,
    )
    assert (outcome.charge, gateway.payments) == (None, ())


@pytest.mark.parametrize("call", [GatewayCall.AUTHORISE, GatewayCall.CAPTURE])
def test_after_a_definite_decline_the_total_is_owed(database: Database, call: GatewayCall) -> None:
    gateway = FakeGateway(lambda made, key: Fault.DECLINE if made is call else None)
    checkout = shop(database, gateway)
    outcome = checkout.close(visit(checkout, ("bar", 1)), NOON)
    assert outcome.status is SessionStatus.PAYMENT_FAILED
    assert checkout.close(outcome.session.session_id, LATER) == outcome
    assert checkout.resume(LATER) == []
    assert gateway.captured_minor("USD") == 0
    ledger = books(database)
    assert ledger.balance(shopper_account("ada"), "USD") == Balance(199, 0)
    assert ledger.balance(GATEWAY, "USD") == Balance(0, 0)


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_REPLY])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_lost_message_is_made_good_within_one_close(database: Database, fault: Fault, place: int) -> None:
    gateway = FakeGateway(in_turn([None] * place + [fault]))
    checkout = shop(database, gateway)
    check_paid_once(database, gateway, checkout.close(visit(checkout, ("bar", 1)), NOON))


def test_a_gateway_without_a_memory_for_keys_is_asked_before_every_retry(database: Database) -> None:
    faults = [Fault.LOST_REPLY]

    def forgetting(call: GatewayCall, key: str) -> Fault | None:
        gateway.forget_keys()
        return faults.pop() if faults else None

    gateway = FakeGateway(forgetting)
    checkout = shop(database, gateway)
    check_paid_once(database, gateway, checkout.close(visit(checkout, ("bar", 1)), NOON))


@pytest.mark.parametrize("forget", [False, True])
def test_a_silent_gateway_leaves_the_visit_closed_until_it_answers(
    database: Database, forget: bool, caplog: pytest.LogCaptureFixture
) -> None:
    silent = True

    def fault(call: GatewayCall, key: str) -> Fault | None:
        return Fault.LOST_REPLY if silent else None

    gateway = FakeGateway(fault)
    checkout = shop(database, gateway, attempts=2)
    with caplog.at_level(logging.WARNING):
        outcome = checkout.close(visit(checkout, ("bar", 1)), NOON)
    assert re.search(r"\bada\b", caplog.text) is None  # ids may hold these letters
    assert len(caplog.records) == 2
    assert outcome.status is SessionStatus.CLOSED
    assert outcome.receipt.receipt_number is None
    assert [o.status for o in checkout.resume(NOON)] == [SessionStatus.CLOSED]
    silent = False
    if forget:
        gateway.forget_keys()
    (outcome,) = checkout.resume(LATER)
    check_paid_once(database, gateway, outcome)
    assert outcome.receipt.issued_at == LATER
    assert checkout.resume(LATER) == []


def test_prices_are_those_of_the_moment_the_visit_was_closed(database: Database) -> None:
    gateway = FakeGateway(in_turn([Fault.LOST_REQUEST]))
    checkout = shop(database, gateway, attempts=1)
    session_id = visit(checkout, ("bar", 1))
    assert checkout.close(session_id, NOON).status is SessionStatus.CLOSED
    dearer = Catalogue("USD", [Product("bar", "Oat bar, new", 999, "USD")])
    outcome = Checkout(database, dearer, gateway).close(session_id, LATER)
    assert (outcome.receipt.total_minor, outcome.receipt.lines[0].name) == (199, "Oat bar")
    check_paid_once(database, gateway, outcome)


def test_a_gateway_that_answers_with_another_payment_is_not_believed(database: Database) -> None:
    class Confused(FakeGateway):
        def authorise(self, request: PaymentRequest) -> Payment:
            super().authorise(request)
            return Payment("x", PaymentRequest("charge:9", "bob", 1, "USD"), PaymentState.CAPTURED)

    checkout = shop(database, Confused(), attempts=1)
    assert checkout.close(visit(checkout, ("bar", 1)), NOON).status is SessionStatus.CLOSED


def test_an_event_counts_once_and_not_after_the_end(database: Database) -> None:
    checkout = shop(database)
    session_id = visit(checkout)
    event = pick(session_id, "bar", 2)
    for _ in range(3):
        assert checkout.record(event).lines == (CartLine("bar", 2, 1.0),)
    with pytest.raises(EventConflict):
        checkout.record(pick(session_id, "bar", 1, event.event_id))
    outcome = checkout.close(session_id, NOON)
    assert checkout.record(event) == checkout.cart(session_id)
    with pytest.raises(SessionAlreadyClosed):
        checkout.record(pick(session_id, "tea"))
    assert checkout.close(session_id, LATER) == outcome


def test_an_unknown_visit_is_said_to_be_unknown(database: Database) -> None:
    checkout = shop(database)
    nobody = UUID(int=9)
    calls: list[Callable[[], object]] = [
        lambda: checkout.record(pick(nobody, "bar")),
        lambda: checkout.flag(nobody, "why", None, NOON),
        lambda: checkout.close(nobody, NOON),
        lambda: checkout.outcome(nobody),
        lambda: checkout.session(nobody),
        lambda: checkout.cart(nobody),
    ]
    for call in calls:
        with pytest.raises(SessionNotFound):
            call()


def test_an_open_visit_has_no_outcome_and_ids_come_from_outside(database: Database) -> None:
    ids = iter(UUID(int=n) for n in range(1, 9))
    checkout = Checkout(database, CATALOGUE, FakeGateway(), new_id=lambda: next(ids))
    session = checkout.check_in("ada", NOON, party_size=3)
    assert session.session_id == UUID(int=1)
    assert checkout.outcome(session.session_id) is None
    assert checkout.session(session.session_id) == session
    checkout.record(pick(session.session_id, "bar"))
    charge = checkout.close(session.session_id, NOON).charge
    assert charge is not None
    assert charge.idempotency_key == f"charge:{UUID(int=2)}"


def test_arguments_without_a_timezone_or_an_attempt_are_refused(database: Database) -> None:
    checkout = shop(database)
    session_id = visit(checkout)
    naive = datetime(2026, 1, 1)
    for call in (checkout.resume, lambda at: checkout.close(session_id, at), lambda at: checkout.check_in("ada", at)):
        with pytest.raises(ValueError, match="timezone-aware"):
            call(naive)
    with pytest.raises(ValueError, match="payment_attempts"):
        shop(database, attempts=0)


class Crash(BaseException):
    """The process dies here."""


class Steps:
    """Counts the steps of a close and dies at one of them."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.taken = 0

    def take(self) -> None:
        self.taken += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Crash


class BreakingDatabase(Database):
    """A database whose process may die before a transaction, before its commit, and after it."""

    steps: Steps

    @contextmanager
    def transaction(self) -> Iterator[Repository]:
        self.steps.take()
        with super().transaction() as repository:
            yield repository
            self.steps.take()
        self.steps.take()


class BreakingGateway:
    """A gateway whose caller may die before a call arrives, and after it was carried out."""

    def __init__(self, gateway: FakeGateway, steps: Steps) -> None:
        self._gateway, self._steps = gateway, steps

    def authorise(self, request: PaymentRequest) -> Payment:
        return self._around(lambda: self._gateway.authorise(request))

    def capture(self, payment: Payment, amount_minor: int | None = None) -> Payment:
        return self._around(lambda: self._gateway.capture(payment, amount_minor))

    def void(self, payment: Payment) -> Payment:
        return self._around(lambda: self._gateway.void(payment))

    def refund(self, payment: Payment, amount_minor: int, idempotency_key: str) -> Payment:
        return self._around(lambda: self._gateway.refund(payment, amount_minor, idempotency_key))

    def look_up(self, idempotency_key: str) -> Payment | None:
        return self._around(lambda: self._gateway.look_up(idempotency_key))

    def look_up_refund(self, idempotency_key: str) -> int | None:
        return self._around(lambda: self._gateway.look_up_refund(idempotency_key))

    def _around(self, call: Callable[[], Answer]) -> Answer:
        self._steps.take()
        answer = call()
        self._steps.take()
        return answer


def open_breaking(path: Path, steps: Steps) -> BreakingDatabase:
    """Open the database file anew, as a restarted process does."""
    new = not path.exists()
    engine = make_engine(f"sqlite:///{path}")
    if new:
        Base.metadata.create_all(engine)
    database = BreakingDatabase(engine)
    database.steps = steps
    return database


def close_with_crashes(
    path: Path, gateway: FakeGateway, crashes: Sequence[int], *, forget_keys: bool = False
) -> tuple[Outcome, int]:
    """Close one visit while the process dies at the given steps, one life each; returns also how often it died."""
    steps, died = Steps(), 0
    with open_breaking(path, steps) as database:
        session_id = visit(shop(database), ("bar", 2), ("tea", 1))
    for crash in crashes:
        with open_breaking(path, steps) as database:
            steps.left = crash
            checkout = shop(database, BreakingGateway(gateway, steps), attempts=5)
            try:
                checkout.resume(LATER)
                checkout.close(session_id, LATER)
            except Crash:
                died += 1
        if forget_keys:
            gateway.forget_keys()
    steps.left = None
    with open_breaking(path, steps) as database:
        return shop(database, BreakingGateway(gateway, steps), attempts=9).close(session_id, LATER), died


@pytest.mark.parametrize("fault", [None, Fault.LOST_REPLY, Fault.LOST_REQUEST])
def test_a_crash_at_any_step_neither_loses_nor_doubles_a_charge(tmp_path: Path, fault: Fault | None) -> None:
    crash = died = 0
    while True:
        path, gateway = tmp_path / f"{crash}.db", FakeGateway(in_turn([fault, None, fault]))
        outcome, deaths = close_with_crashes(path, gateway, [crash])
        with open_breaking(path, Steps()) as database:
            check_paid_once(database, gateway, outcome)
        died += deaths
        if not deaths:
            break
        crash += 1
    # Three steps of each of two transactions, and two around each call of the gateway.
    assert died >= 10


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    crashes=st.lists(st.integers(0, 14), max_size=4),
    faults=st.lists(st.sampled_from([None, Fault.LOST_REPLY, Fault.LOST_REQUEST, Fault.DECLINE]), max_size=5),
    forget_keys=st.booleans(),
)
def test_crashes_silences_and_declines_together_leave_money_and_books_equal(
    tmp_path: Path, crashes: list[int], faults: list[Fault | None], forget_keys: bool
) -> None:
    path = tmp_path / f"{uuid4()}.db"
    gateway = FakeGateway(in_turn(faults))
    outcome, _ = close_with_crashes(path, gateway, crashes, forget_keys=forget_keys)
    assert len(gateway.payments) <= 1
    with open_breaking(path, Steps()) as database:
        ledger = books(database)
    taken = gateway.captured_minor("USD")
    assert ledger.balance(GATEWAY, "USD") == Balance(taken, 0)
    assert ledger.balance(shopper_account("ada"), "USD") == Balance(648 - taken, 0)
    assert taken == (648 if outcome.status is SessionStatus.CHARGED else 0)
    assert outcome.status in (SessionStatus.CHARGED, SessionStatus.PAYMENT_FAILED)
    if outcome.status is SessionStatus.PAYMENT_FAILED:
        assert Fault.DECLINE in faults


def test_a_checkout_that_does_not_look_up_would_charge_twice(tmp_path: Path) -> None:
    class Forgetful(FakeGateway):
        def look_up(self, idempotency_key: str) -> Payment | None:
            return None

    gateway = Forgetful(in_turn([None, Fault.LOST_REPLY]))
    with Database.in_memory() as database:
        checkout = shop(database, gateway, attempts=1)
        session_id = visit(checkout, ("bar", 1))
        checkout.close(session_id, NOON)
        gateway.forget_keys()
        checkout.close(session_id, NOON)
    assert gateway.captured_minor("USD") == 2 * 199


@pytest.mark.parametrize("separate", [False, True])
def test_threads_that_close_one_visit_at_once_charge_it_once(tmp_path: Path, separate: bool) -> None:
    url, gateway, threads = f"sqlite:///{tmp_path}/shop.db", FakeGateway(), 4
    first = Database.open(url)
    databases = [Database.open(url) if separate else first for _ in range(threads)]
    session_id = visit(shop(first), ("bar", 1))
    start = threading.Barrier(threads)

    def close(database: Database) -> Outcome:
        checkout = shop(database, gateway)
        start.wait()
        return checkout.close(session_id, NOON)

    with ThreadPoolExecutor(threads) as pool:
        outcomes = list(pool.map(close, databases))
    check_paid_once(first, gateway, outcomes[0])
    assert all(outcome == outcomes[0] for outcome in outcomes)
    for database in {id(d): d for d in [first, *databases]}.values():
        database.close()


def test_threads_share_a_database_in_memory(database: Database) -> None:
    gateway = FakeGateway()
    checkout = shop(database, gateway)
    with ThreadPoolExecutor(4) as pool:
        session_ids = list(pool.map(lambda n: visit(checkout, ("bar", n), shopper=f"shopper-{n}"), range(1, 9)))
        outcomes = list(pool.map(lambda session_id: checkout.close(session_id, NOON), session_ids))
    assert sorted(outcome.receipt.receipt_number or 0 for outcome in outcomes) == list(range(1, 9))
    assert gateway.captured_minor("USD") == 199 * sum(range(1, 9))


def test_two_events_at_once_are_both_in_the_cart(tmp_path: Path) -> None:
    with Database.open(f"sqlite:///{tmp_path}/shop.db") as database:
        checkout = shop(database)
        session_id = visit(checkout)
        event = pick(session_id, "tea")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(checkout.record, [event, event, pick(session_id, "bar"), pick(session_id, "bar")]))
        assert checkout.cart(session_id).lines == (CartLine("bar", 2, 1.0), CartLine("tea", 1, 1.0))
