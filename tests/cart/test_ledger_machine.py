"""Everything that can happen at the till, in any order, with a gateway that fails and a process that dies.

A few seconds by default; ``TILLFREE_LEDGER_STEPS=50000`` in the environment makes it so many steps.
"""

import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar
from uuid import UUID, uuid5

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from cart.checkout import Checkout
from cart.errors import StoreError
from cart.events import CartEvent
from cart.ledger import GATEWAY, REFUNDS_DUE, shopper_account
from cart.outbox import Sweeper
from cart.payments import (
    FakeGateway,
    Fault,
    GatewayCall,
    PaymentState,
)
from cart.repository import make_engine
from cart.tables import Base
from tests.cart.test_checkout import BreakingDatabase, BreakingGateway, Crash, Steps
from tests.cart.till import CATALOGUE, NOON

STEPS_AN_EXAMPLE = 50
DEFAULT_STEPS = 1000
SHOPPERS = ("ada", "bob")
SKUS = ("bar", "tea", "gift")
HISTORY = ("transfers", "cart_events", "receipt_lines", "review_flags")
OVER = ("closed", "charged", "needs_review", "empty", "payment_failed")
places = st.integers(0, 10**6)
carts = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 5))


@cache
def empty_schema() -> bytes:
    """A database with the shop's tables and nothing in them, as bytes: making them anew takes a tenth of a second."""
    engine = make_engine("sqlite://")
    Base.metadata.create_all(engine)
    driver = engine.raw_connection().driver_connection
    assert isinstance(driver, sqlite3.Connection)
    written = driver.serialize()
    engine.dispose()
    return written


def open_empty(steps: Steps) -> BreakingDatabase:
    engine = make_engine("sqlite://")
    connection = engine.raw_connection()
    driver = connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.deserialize(empty_schema())
    connection.close()
    database = BreakingDatabase(engine)
    database.steps = steps
    return database


def has_visits(machine: "TillMachine") -> bool:
    return bool(machine.latest.visits)


class TillMachine(RuleBasedStateMachine):
    """A till, its gateway, and what must hold between them after every step."""

    steps_made: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.steps = Steps()
        self.database = open_empty(self.steps)
        self.faults: list[Fault | None] = []
        self.gateway = FakeGateway(self._fault)
        self.now = NOON
        self.causes: list[tuple[UUID, UUID, dict[str, int]]] = []
        self.number = 0
        self.latest = self.snapshot()

    def _fault(self, call: GatewayCall, key: str) -> Fault | None:
        return self.faults.pop(0) if self.faults else None

    def _new_id(self) -> UUID:
        self.number += 1
        return uuid5(UUID(int=1), str(self.number))

    def _clock(self) -> datetime:
        return self.now

    @property
    def checkout(self) -> Checkout:
        """A till as a process has it that was just started."""
        return Checkout(
            self.database,
            CATALOGUE,
            BreakingGateway(self.gateway, self.steps),
            new_id=self._new_id,
            payment_attempts=2,
            hold_minor=600,
            now=self._clock,
        )

    def attempt(self, name: str, call: Callable[[], object]) -> None:
        """Do something at the till; it may refuse, and the process may die in the middle of it."""
        self.steps_made[name] += 1
        self.now += timedelta(minutes=1)
        try:
            call()
        except StoreError as refusal:
            self.steps_made[type(refusal).__name__] += 1
        except Crash:
            self.steps_made["Crash"] += 1
        self.steps.left = None

    def visit(self, place: int, *statuses: str) -> UUID:
        """A visit of a status for which the step makes sense; now and then any."""
        fitting = [v for v in self.latest.visits if v.status in statuses]
        visits = self.latest.visits if place % 10 == 0 or not fitting else fitting
        return UUID(visits[place % len(visits)].session_id)

    @initialize(shopper=st.sampled_from(SHOPPERS), lines=carts)
    def somebody_shops(self, shopper: str, lines: dict[str, int]) -> None:
        self.shop(shopper, True, lines, False)

    @rule(shopper=st.sampled_from(SHOPPERS), held=st.booleans(), lines=carts, flagged=st.booleans())
    def shop(self, shopper: str, held: bool, lines: dict[str, int], flagged: bool) -> None:
        """A whole visit, if nothing happens in the middle of it."""

        def visit() -> None:
            session_id = self.checkout.check_in(shopper, self.now).session_id
            if held:
                self.checkout.hold(session_id, self.now)
            for sku, quantity in lines.items():
                self.checkout.record(CartEvent(self._new_id(), session_id, self.now, sku, quantity))
            if flagged:
                self.checkout.flag(session_id, "two people reached in", None, self.now)
            self.checkout.close(session_id, self.now)

        self.attempt("shop", visit)

    @rule(shopper=st.sampled_from(SHOPPERS), held=st.booleans())
    def enter(self, shopper: str, held: bool) -> None:
        def come_in() -> None:
            session_id = self.checkout.check_in(shopper, self.now).session_id
            if held:
                self.checkout.hold(session_id, self.now)

        self.attempt("enter", come_in)

    @precondition(has_visits)
    @rule(place=places, sku=st.sampled_from(SKUS), quantity=st.integers(-3, 5).filter(bool))
    def pick_or_put_back(self, place: int, sku: str, quantity: int) -> None:
        event = CartEvent(self._new_id(), self.visit(place, "open"), self.now, sku, quantity)
        self.attempt("pick_or_put_back", lambda: self.checkout.record(event))

    @precondition(has_visits)
    @rule(place=places)
    def flag(self, place: int) -> None:
        visit = self.visit(place, "open")
        self.attempt("flag", lambda: self.checkout.flag(visit, "two people reached in", None, self.now))

    @precondition(has_visits)
    @rule(place=places, times=st.integers(1, 2))
    def close(self, place: int, times: int) -> None:
        visit = self.visit(place, "open", "closed")
        for _ in range(times):
            self.attempt("close", lambda: self.checkout.close(visit, self.now))

    @precondition(has_visits)
    @rule(place=places)
    def abandon(self, place: int) -> None:
        visit = self.visit(place, "open")
        self.attempt("abandon", lambda: self.checkout.abandon(visit, self.now))

    @precondition(has_visits)
    @rule(place=places, lines=carts)
    def correct(self, place: int, lines: dict[str, int]) -> None:
        cause_id, visit = self._new_id(), self.visit(place, *OVER)
        self.causes.append((visit, cause_id, lines))
        self.attempt("correct", lambda: self.checkout.correct(visit, lines, cause_id, self.now, "counted anew"))

    @precondition(lambda self: self.causes)
    @rule(which=places)
    def correct_again(self, which: int) -> None:
        visit, cause_id, lines = self.causes[which % len(self.causes)]
        self.attempt("correct_again", lambda: self.checkout.correct(visit, lines, cause_id, self.now, "counted anew"))

    @precondition(has_visits)
    @rule(place=places, amount_minor=st.integers(1, 700), caused=st.booleans())
    def refund(self, place: int, amount_minor: int, caused: bool) -> None:
        cause_id, visit = self._new_id() if caused else None, self.visit(place, "charged", "payment_failed")
        for _ in range(2 if caused else 1):
            self.attempt("refund", lambda: self.checkout.refund(visit, amount_minor, "sorry", cause_id, self.now))

    @rule(shopper=st.sampled_from(SHOPPERS))
    def pay_debt(self, shopper: str) -> None:
        self.attempt("pay_debt", lambda: self.checkout.pay_debt(shopper, self.now))

    @rule()
    def resume(self) -> None:
        self.attempt("resume", lambda: self.checkout.resume(self.now))

    @rule()
    def sweep(self) -> None:
        self.attempt("sweep", lambda: Sweeper(self.database, self.checkout.handlers()).sweep(self.now))

    @rule()
    def forget_keys(self) -> None:
        self.gateway.forget_keys()
        self.steps_made["forget_keys"] += 1

    @rule()
    def a_hold_expires(self) -> None:
        held = [p for p in self.gateway.payments if p.state is PaymentState.AUTHORISED]
        if held:
            faults, self.faults = self.faults, []
            self.gateway.void(held[-1])
            self.faults = faults
        self.steps_made["expire"] += 1

    @rule(faults=st.lists(st.sampled_from([None, None, *Fault]), min_size=1, max_size=8))
    def bad_weather(self, faults: list[Fault | None]) -> None:
        self.faults = faults
        self.steps_made["faults"] += 1

    @rule(after=st.integers(0, 12))
    def the_process_will_die(self, after: int) -> None:
        self.steps.left = after
        self.steps_made["crash_planned"] += 1

    @invariant()
    def everything_agrees(self) -> None:
        """What must hold after every step, also with payments under way."""
        now = self.snapshot()
        self.check_ledger(now)
        self.check_gateway(now)
        self.check_refunds(now)
        self.check_visits(now)
        live = Counter((c.session_id, c.kind, c.sequence) for c in now.charges if c.status in ("pending", "posted"))
        assert all(count == 1 for count in live.values())
        for table, before in self.latest.history.items():
            assert now.history[table][: len(before)] == before
        self.latest = now

    def check_ledger(self, now: "Snapshot") -> None:
        """Balances sum to zero and are those of the charges and refunds."""
        assert sum(now.posted.values()) == sum(now.pending.values()) == 0
        taken = sum(c.amount_minor for c in now.charges if c.status == "posted")
        back = sum(r.amount_minor for r in now.refunds if r.status == "posted")
        assert now.posted[GATEWAY] == taken - back
        under_way = sum(c.amount_minor for c in now.charges if c.status == "pending")
        under_way -= sum(r.amount_minor for r in now.refunds if r.status == "pending")
        assert now.pending[GATEWAY] == under_way
        assert now.posted[REFUNDS_DUE] == -sum(r.amount_minor for r in now.refunds if r.status == "failed")

    def check_gateway(self, now: "Snapshot") -> None:
        """What is written as taken or given back was taken or given back, once, and nothing else was."""
        by_key = {p.request.idempotency_key: p for p in self.gateway.payments}
        assert len(by_key) == len(self.gateway.payments), "the gateway was asked twice for one payment"
        known = {charge.idempotency_key for charge in now.charges}
        assert all(p.captured_minor == 0 or key in known for key, p in by_key.items())
        for charge in now.charges:
            payment = by_key.get(charge.idempotency_key)
            taken_minor = 0 if payment is None else payment.captured_minor
            may_be = {"posted": [charge.amount_minor], "pending": [0, charge.amount_minor]}
            assert taken_minor in may_be.get(charge.status, [0])
        given = {key: amount_minor for _, key, amount_minor in self.gateway._refunds}
        assert len(given) == len(self.gateway._refunds), "the gateway gave back twice for one refund"
        for refund in now.refunds:
            may_be = {"posted": [refund.amount_minor], "pending": [0, refund.amount_minor]}
            assert given.get(refund.idempotency_key, 0) in may_be.get(refund.status, [0])
        if not now.is_under_way:
            assert now.posted[GATEWAY] == self.gateway.captured_minor("USD") - self.gateway.refunded_minor("USD")

    def check_refunds(self, now: "Snapshot") -> None:
        """No charge, and no payment, has more given back than was taken."""
        taken = {c.charge_id: c.amount_minor for c in now.charges if c.status == "posted"}
        given: Counter[str] = Counter()
        for refund in now.refunds:
            given[refund.charge_id] += refund.amount_minor
        assert all(amount_minor <= taken[charge_id] for charge_id, amount_minor in given.items())
        assert all(p.refunded_minor <= p.captured_minor for p in self.gateway.payments)

    def check_visits(self, now: "Snapshot") -> None:
        """Visits have paid what they cost, and shoppers owe what their visits do not have."""
        due, kept, goodwill = Counter(now.totals), Counter[str](), Counter[str]()
        under_way = Counter[str]()
        for charge in now.charges:
            kept[charge.session_id] += charge.amount_minor if charge.status == "posted" else 0
            under_way[charge.session_id] += charge.amount_minor if charge.status == "pending" else 0
        for refund in now.refunds:
            kept[refund.session_id] -= refund.amount_minor
            goodwill[refund.session_id] += refund.amount_minor if refund.kind == "goodwill" else 0
        owed: Counter[str] = Counter()
        for visit in now.visits:
            cost = max(0, due[visit.session_id] - goodwill[visit.session_id])
            if visit.status == "charged":
                assert kept[visit.session_id] == cost
                assert visit.session_id in now.numbered
            elif visit.status == "payment_failed":
                assert kept[visit.session_id] < cost
                owed[visit.shopper_id] += cost - kept[visit.session_id]
            elif visit.status == "closed":
                # Of a hold and the charge of what exceeds it, one may be declined while the other is under way.
                owed[visit.shopper_id] += max(0, cost - kept[visit.session_id] - under_way[visit.session_id])
            else:
                assert kept[visit.session_id] == 0
        for shopper in SHOPPERS:
            assert self.checkout.debt_of(shopper) == owed[shopper]
            if not now.is_under_way:
                assert now.posted[shopper_account(shopper)] == owed[shopper]

    def snapshot(self) -> "Snapshot":
        """What the database holds, read with statements of its own."""
        with self.database.reading() as repository:
            return Snapshot(lambda statement: list(repository.sql.execute(text(statement))))

    def teardown(self) -> None:
        """The weather clears, the process lives, and everything comes to its end."""
        self.faults, self.steps.left = [], None
        for _ in range(3):
            self.now += timedelta(days=1)
            self.checkout.resume(self.now)
            Sweeper(self.database, self.checkout.handlers()).sweep(self.now)
        self.everything_agrees()
        now = self.snapshot()
        assert not now.is_under_way
        assert all(visit.status != "closed" for visit in now.visits)
        assert not any(now.pending.values())
        self.check_holds(now)
        for table in HISTORY:
            for statement in (f"UPDATE {table} SET rowid = rowid + 1000000", f"DELETE FROM {table}"):
                if now.history[table]:
                    with pytest.raises(IntegrityError, match="append-only"), self.database.transaction() as repository:
                        repository.sql.execute(text(statement))
        self.database.close()

    def check_holds(self, now: "Snapshot") -> None:
        """Nothing is held but for visits that are open or under review."""
        may_hold = {visit.session_id for visit in now.visits if visit.status in ("open", "needs_review")}
        held = {p.request.idempotency_key for p in self.gateway.payments if p.state is PaymentState.AUTHORISED}
        for hold in now.holds:
            assert hold.status not in ("pending", "releasing")
            assert hold.idempotency_key not in held or hold.session_id in may_hold
        assert held <= {hold.idempotency_key for hold in now.holds}


class Snapshot:
    """The money's tables as they stand."""

    def __init__(self, read: Callable[[str], list[Any]]) -> None:
        self.visits = read("SELECT session_id, shopper_id, status FROM sessions")
        self.charges = read(
            "SELECT session_id, charge_id, kind, sequence, amount_minor, status, idempotency_key FROM charges"
        )
        self.refunds = read("SELECT session_id, charge_id, kind, amount_minor, status, idempotency_key FROM refunds")
        self.holds = read("SELECT session_id, status, idempotency_key FROM holds")
        self.posted: Counter[str] = Counter()
        self.pending: Counter[str] = Counter()
        for row in read("SELECT debit_account_id, credit_account_id, amount_minor, phase FROM transfers"):
            moved, reserved = {"immediate": (1, 0), "pending": (0, 1), "post": (1, -1), "void": (0, -1)}[row.phase]
            for account, sign in ((row.debit_account_id, 1), (row.credit_account_id, -1)):
                self.posted[account] += sign * moved * row.amount_minor
                self.pending[account] += sign * reserved * row.amount_minor
        newest = "(SELECT session_id, max(sequence) AS sequence FROM receipts GROUP BY session_id)"
        self.totals: dict[str, int] = {
            row.session_id: row.total
            for row in read(
                "SELECT session_id, sum(quantity * unit_price_minor) AS total FROM receipt_lines"
                f" JOIN {newest} USING (session_id, sequence) GROUP BY session_id"
            )
        }
        self.numbered = {
            row.session_id
            for row in read(
                f"SELECT session_id FROM receipts JOIN {newest} USING (session_id, sequence)"
                " WHERE receipt_number IS NOT NULL"
            )
        }
        self.history = {table: read(f"SELECT * FROM {table} ORDER BY rowid") for table in HISTORY}

    @property
    def is_under_way(self) -> bool:
        """Whether an outcome is not known."""
        return any(row.status == "pending" for row in [*self.charges, *self.refunds])


def test_whatever_happens_books_gateway_and_visits_agree() -> None:
    steps = int(os.environ.get("TILLFREE_LEDGER_STEPS", DEFAULT_STEPS))
    TillMachine.steps_made.clear()
    run_state_machine_as_test(
        TillMachine,
        settings=settings(
            max_examples=max(1, steps // STEPS_AN_EXAMPLE),
            stateful_step_count=STEPS_AN_EXAMPLE,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    made = TillMachine.steps_made
    assert all(made[name] for name in ("shop", "close", "correct", "refund", "pay_debt", "sweep", "Crash"))


def test_a_refund_under_way_is_not_given_again_beside_a_second_one() -> None:
    machine = TillMachine()
    machine.shop("ada", False, {"bar": 2}, False)
    machine.everything_agrees()
    kept_minor = machine.latest.charges[0].amount_minor
    # Enough is left to give it once more, then too little.
    for amount_minor in (kept_minor // 3, kept_minor - kept_minor // 2):
        machine.faults = [Fault.LOST_REPLY] * 2
        machine.refund(1, amount_minor, False)
        assert [refund.status for refund in machine.snapshot().refunds].count("pending") == 1
        machine.forget_keys()
        machine.refund(1, 10, False)
        machine.everything_agrees()
        assert all(refund.status == "posted" for refund in machine.latest.refunds)
    machine.teardown()


def test_a_gateway_that_forgets_payments_would_be_found_out() -> None:
    class Forgetful(FakeGateway):
        def look_up(self, idempotency_key: str) -> None:
            return None

    machine = TillMachine()
    machine.gateway = Forgetful(machine._fault)
    machine.faults = [Fault.LOST_REPLY] * 2
    machine.shop("ada", False, {"bar": 1}, False)
    machine.forget_keys()
    machine.resume()
    with pytest.raises(AssertionError, match="asked twice"):
        machine.everything_agrees()
    machine.database.close()


def test_a_gateway_that_forgets_refunds_would_be_found_out() -> None:
    class Forgetful(FakeGateway):
        def look_up_refund(self, idempotency_key: str) -> None:
            return None

    machine = TillMachine()
    machine.gateway = Forgetful(machine._fault)
    machine.shop("ada", False, {"bar": 2}, False)
    machine.everything_agrees()
    machine.faults = [Fault.LOST_REPLY] * 2
    machine.refund(1, 100, False)
    machine.forget_keys()
    machine.resume()
    with pytest.raises(AssertionError, match="gave back twice"):
        machine.everything_agrees()
    machine.database.close()
