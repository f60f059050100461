import logging
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from cart import entry_codes, pipeline, qr
from cart.accounts import Account, Role
from cart.catalog import Catalogue, Product
from cart.checkout import Checkout
from cart.doors import (
    MAX_GUESTS,
    MAX_KEYS,
    STAFF_PREFIX,
    Admitted,
    Decision,
    Doorman,
    ScanDecision,
    ScanReason,
    scan_counts,
)
from cart.entry_codes import EntryKey, make_code
from cart.errors import (
    AccountBlocked,
    AccountNotFound,
    GrantNotFound,
    GuestsRefused,
    SessionAlreadyClosed,
    SessionNotFound,
)
from cart.events import CartEvent
from cart.gates import GateCommand
from cart.outbox import Effect, NotYetError, Sweeper, failed
from cart.payments import FakeGateway, Fault, GatewayCall, PaymentState
from cart.sessions import Session, SessionStatus
from cart.tables import GateCommandRow, OutboxRow, ScanRow, SessionRow, UsedCodeRow
from tests.cart.databases import KINDS, fresh
from tests.cart.people import People
from tests.cart.test_qr import picture, png_header

STORE = "main-street"
HOLD_MINOR = 5000
CATALOGUE = Catalogue("EUR", [Product("tea", "Tea", 250, "EUR", 700)])
# How many codes are shown at 64 gates at once. The README's figure is that of 1000.
RACES = int(os.environ.get("TILLFREE_RACES", "2"))
GATES = 64


@dataclass
class Entrance:
    """A store's door with everything behind it."""

    people: People = field(default_factory=People)
    faults: Callable[[GatewayCall, str], Fault | None] = lambda call, key: None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = self.people.clock
        self.database = self.people.database
        self.gateway = FakeGateway(lambda call, key: self.faults(call, key))
        self.checkout = Checkout(
            self.database, CATALOGUE, self.gateway, self.people.new_id, 1, hold_minor=HOLD_MINOR, now=self.clock
        )
        random_bytes = random.Random(5).randbytes
        self.doorman = Doorman(
            self.database,
            self.checkout,
            STORE,
            self.clock,
            self.people.new_id,
            random_bytes=random_bytes,
            **self.settings,
        )

    def shopper(self, role: Role = Role.SHOPPER, pays: bool = True) -> Account:
        """A new account that can pay."""
        account = self.people.person(role)
        if pays:
            self.people.accounts.set_payment_method(account.account_id, "pm_visa")
        return account

    def code(self, account: Account, counter: int | None = None) -> str:
        """A code of this account's that was not shown yet."""
        return self.doorman.entry_code(account.account_id, counter).code

    def scan(self, account: Account, gate_id: str = "front") -> ScanDecision:
        """Show a new code of this account's."""
        return self.doorman.scan(gate_id, self.code(account))

    def come_in(self, account: Account) -> UUID:
        """Show a code and go through; the visit."""
        decision = self.scan(account)
        assert decision.grant_id is not None
        assert decision.session_id is not None
        self.doorman.answer(decision.grant_id, True)
        return decision.session_id

    def session(self, session_id: UUID | None) -> Session:
        """A visit as it stands."""
        assert session_id is not None
        return self.checkout.session(session_id)

    def take_tea(self, session_id: UUID) -> None:
        """Somebody takes a tea."""
        self.checkout.record(CartEvent(self.people.new_id(), session_id, self.clock(), "tea", 1))

    def rows(self, table: Any, *conditions: Any) -> int:
        """How many rows a table has."""
        with self.database.reading() as repository:
            return repository.sql.scalar(select(func.count()).select_from(table).where(*conditions)) or 0

    def states(self) -> list[PaymentState]:
        """Where every payment stands at the gateway."""
        return [payment.state for payment in self.gateway.payments]


@pytest.fixture
def entrance() -> Iterator[Entrance]:
    made = Entrance()
    with made.database:
        yield made


def told(decision: ScanDecision) -> tuple[Decision, ScanReason]:
    return decision.decision, decision.reason


def refused(decision: ScanDecision) -> ScanReason:
    """Why a scan was refused; it gave away nothing."""
    assert decision == ScanDecision(decision.scan_id, Decision.REFUSE, decision.reason)
    return decision.reason


def test_a_good_code_opens_a_visit_with_money_held_and_orders_the_gate_to_open(entrance: Entrance) -> None:
    ada = entrance.shopper()

    decision = entrance.scan(ada)

    assert told(decision) == (Decision.OPEN, ScanReason.WELCOME)
    session = entrance.session(decision.session_id)
    assert (session.shopper_id, session.has_account, session.party_size) == (str(ada.account_id), True, 1)
    assert [(p.state, p.request.amount_minor) for p in entrance.gateway.payments] == [
        (PaymentState.AUTHORISED, HOLD_MINOR)
    ]
    [command] = entrance.doorman.commands_for("front")
    assert command == GateCommand(
        decision.grant_id or UUID(int=0), "front", entrance.clock(), entrance.clock() + timedelta(seconds=10)
    )
    assert entrance.doorman.commands_for("back") == ()


def test_a_code_admits_once(entrance: Entrance) -> None:
    code = entrance.code(entrance.shopper())

    assert entrance.doorman.scan("front", code).decision is Decision.OPEN
    assert refused(entrance.doorman.scan("front", code)) is ScanReason.ALREADY_USED
    assert refused(entrance.doorman.scan("back", code)) is ScanReason.ALREADY_USED


def test_a_phone_makes_its_codes_offline(entrance: Entrance) -> None:
    ada = entrance.shopper()
    key = entrance.doorman.issue_key(ada.account_id)
    entrance.clock.wait(days=40)

    assert entrance.doorman.scan("front", make_code(key, STORE, entrance.clock())).decision is Decision.OPEN


SPOILT = ("malformed", "other_store", "unknown_key", "bad_signature", "expired", "too_early", "revoked")


def spoilt(entrance: Entrance, key: EntryKey, how: str) -> str:
    """A code that must not be taken."""
    at = entrance.clock()
    match how:
        case "malformed":
            return "https://example.com/menu"
        case "other_store":
            return make_code(key, "other-street", at)
        case "unknown_key":
            return make_code(replace(key, key_id="0" * 16), STORE, at)
        case "bad_signature":
            return make_code(replace(key, secret=bytes(32)), STORE, at)
        case "expired":
            return make_code(key, STORE, at - timedelta(seconds=31))
        case "too_early":
            return make_code(key, STORE, at + timedelta(seconds=31))
        case "revoked":
            entrance.doorman.revoke_key(key.account_id, key.key_id)
            return make_code(key, STORE, at)
    raise AssertionError(how)


@pytest.mark.parametrize("reason", SPOILT)
def test_forged_old_and_foreign_codes_open_nothing_and_say_why(entrance: Entrance, reason: str) -> None:
    key = entrance.doorman.issue_key(entrance.shopper().account_id)

    assert refused(entrance.doorman.scan("front", spoilt(entrance, key, reason))) == reason
    assert entrance.rows(SessionRow) == entrance.rows(UsedCodeRow) == entrance.rows(GateCommandRow) == 0
    assert entrance.states() == []


def test_no_bad_code_of_any_kind_is_admitted_and_the_good_one_is_once(entrance: Entrance) -> None:
    dice = random.Random(11)
    reasons: Counter[ScanReason] = Counter()
    for _ in range(RACES):
        ada = entrance.shopper()
        key = entrance.doorman.issue_key(ada.account_id)
        good = make_code(key, STORE, entrance.clock(), dice.randrange(256))
        assert entrance.doorman.scan("front", good).decision is Decision.OPEN
        flipped = list(good)
        flipped[dice.randrange(4, len(good))] = dice.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
        for code in (good, "".join(flipped), *(spoilt(entrance, key, how) for how in SPOILT[:-1])):
            reasons[refused(entrance.doorman.scan("front", code))] += 1
        # The key is worthless from here on.
        reasons[refused(entrance.doorman.scan("front", spoilt(entrance, key, SPOILT[-1])))] += 1
        entrance.clock.wait(seconds=7)
    assert entrance.rows(SessionRow) == RACES
    assert sum(reasons.values()) == 9 * RACES
    assert {*SPOILT, "already_used"} <= set(reasons)
    assert min(reasons.values()) >= RACES


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_nothing_but_a_fresh_code_of_this_store_is_ever_admitted(entrance: Entrance, data: st.DataObject) -> None:
    key = entrance.doorman.issue_key(entrance.shopper().account_id)
    text = bytearray(make_code(key, STORE, entrance.clock(), data.draw(st.integers(0, 255))).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 127))
    shown = text.decode()

    decision = entrance.doorman.scan("front", shown)

    if decision.decision is Decision.OPEN:
        # What was changed happens to be what it was.
        assert shown == make_code(key, STORE, entrance.clock(), entry_codes.read_code(shown).counter)


def test_a_code_made_here_is_none_that_a_phone_with_the_key_shows_in_the_same_step(entrance: Entrance) -> None:
    ada = entrance.shopper()
    key = entrance.doorman.issue_key(ada.account_id)
    shown = {make_code(key, STORE, entrance.clock(), counter) for counter in range(10)}
    made = [entrance.doorman.entry_code(ada.account_id).code]
    entrance.doorman.scan("front", made[0])
    made.append(entrance.doorman.entry_code(ada.account_id).code)
    assert len({*made, *shown}) == 12


def test_whoever_is_inside_does_not_come_in_again_until_the_visit_is_over(entrance: Entrance) -> None:
    ada = entrance.shopper()
    session_id = entrance.come_in(ada)

    assert refused(entrance.scan(ada)) is ScanReason.ALREADY_INSIDE
    entrance.checkout.close(session_id, entrance.clock())
    entrance.clock.wait(minutes=1)

    again = entrance.scan(ada)
    assert told(again) == (Decision.OPEN, ScanReason.WELCOME)
    assert again.session_id != session_id


def test_blocked_accounts_and_those_that_cannot_pay_stay_outside(entrance: Entrance) -> None:
    blocked, poor = entrance.shopper(), entrance.shopper(pays=False)
    code = entrance.code(blocked)
    entrance.people.accounts.block(blocked.account_id)

    assert refused(entrance.doorman.scan("front", code)) is ScanReason.ACCOUNT_BLOCKED
    assert refused(entrance.scan(poor)) is ScanReason.NO_PAYMENT_METHOD
    assert entrance.rows(SessionRow) == 0


def test_whoever_owes_money_stays_outside_until_it_is_paid(entrance: Entrance) -> None:
    ada = entrance.shopper()
    session_id = entrance.come_in(ada)
    for _ in range(2):
        entrance.take_tea(session_id)
    entrance.faults = lambda call, key: Fault.DECLINE if call is not GatewayCall.LOOK_UP else None
    entrance.checkout.close(session_id, entrance.clock())
    assert entrance.checkout.debt_of(str(ada.account_id)) == 500

    assert refused(entrance.scan(ada)) is ScanReason.DEBT
    entrance.faults = lambda call, key: None
    entrance.checkout.pay_debt(str(ada.account_id), entrance.clock())

    assert entrance.scan(ada).decision is Decision.OPEN


def test_a_declined_hold_keeps_the_gate_shut(entrance: Entrance) -> None:
    ada = entrance.shopper()
    entrance.faults = lambda call, key: Fault.DECLINE

    assert refused(entrance.scan(ada)) is ScanReason.PAYMENT_DECLINED
    assert entrance.rows(SessionRow, SessionRow.status == SessionStatus.ABANDONED.value) == 1
    entrance.faults = lambda call, key: None
    assert entrance.scan(ada).decision is Decision.OPEN


def test_an_orders_life_begins_when_the_money_is_held(entrance: Entrance) -> None:
    def slowly(call: GatewayCall, key: str) -> Fault | None:
        entrance.clock.wait(seconds=12)
        return None

    entrance.faults = slowly
    decision = entrance.scan(entrance.shopper())

    assert decision.expires_at == entrance.clock() + timedelta(seconds=10)
    assert len(entrance.doorman.commands_for("front")) == 1


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_REPLY])
def test_entry_fails_closed_while_the_gateway_is_silent_and_what_it_held_is_let_go(
    entrance: Entrance, fault: Fault
) -> None:
    ada = entrance.shopper()
    entrance.faults = lambda call, key: fault

    assert refused(entrance.scan(ada)) is ScanReason.PAYMENT_UNAVAILABLE
    assert entrance.doorman.commands_for("front") == ()

    entrance.faults = lambda call, key: None
    entrance.clock.wait(minutes=1)
    Sweeper(entrance.database, entrance.checkout.handlers()).sweep(entrance.clock())
    assert PaymentState.AUTHORISED not in entrance.states()
    assert entrance.scan(ada).decision is Decision.OPEN


def test_a_closed_store_lets_in_staff_alone() -> None:
    entrance = Entrance(settings={"is_open": lambda at: False})
    with entrance.database:
        assert refused(entrance.scan(entrance.shopper())) is ScanReason.STORE_CLOSED
        assert told(entrance.scan(entrance.shopper(Role.STAFF))) == (Decision.OPEN, ScanReason.STAFF)


@pytest.mark.parametrize("role", [Role.STAFF, Role.MANAGER, Role.OWNER])
def test_staff_come_in_without_a_hold_as_often_as_they_like(entrance: Entrance, role: Role) -> None:
    someone = entrance.shopper(role, pays=False)

    decisions = [entrance.scan(someone) for _ in range(2)]

    assert [told(decision) for decision in decisions] == [(Decision.OPEN, ScanReason.STAFF)] * 2
    assert decisions[0].session_id == decisions[1].session_id
    session = entrance.session(decisions[0].session_id)
    assert (session.shopper_id, session.has_account) == (f"staff:{someone.account_id}", False)
    assert entrance.states() == []


def test_the_door_and_the_pipeline_mean_the_same_by_staff() -> None:
    assert STAFF_PREFIX == pipeline.STAFF_PREFIX


def test_a_payer_lets_so_many_guests_in_and_closes_the_party(entrance: Entrance) -> None:
    ada = entrance.shopper()
    session_id = entrance.come_in(ada)
    entrance.doorman.set_guests(session_id, 3)

    guests = [entrance.scan(ada) for _ in range(2)]

    assert [told(guest) for guest in guests] == [(Decision.OPEN, ScanReason.GUEST)] * 2
    assert {guest.session_id for guest in guests} == {session_id}
    assert entrance.session(session_id).party_size == 3
    assert entrance.doorman.guests_allowed(session_id) == 1
    entrance.doorman.set_guests(session_id, 0)
    assert refused(entrance.scan(ada)) is ScanReason.ALREADY_INSIDE
    assert entrance.session(session_id).party_size == 3
    assert len(entrance.gateway.payments) == 1


def test_a_guest_who_does_not_come_in_leaves_the_party(entrance: Entrance) -> None:
    ada = entrance.shopper()
    session_id = entrance.come_in(ada)
    entrance.doorman.set_guests(session_id, 1)
    guest = entrance.scan(ada)
    assert guest.grant_id is not None

    entrance.doorman.answer(guest.grant_id, False)

    assert entrance.session(session_id).party_size == 1
    assert entrance.session(session_id).status is SessionStatus.OPEN
    assert entrance.doorman.guests_allowed(session_id) == 1


def test_guests_need_an_open_visit_of_a_payer(entrance: Entrance) -> None:
    ada, staff = entrance.shopper(), entrance.shopper(Role.STAFF)
    over, at_work = entrance.come_in(ada), entrance.come_in(staff)
    entrance.checkout.close(over, entrance.clock())

    with pytest.raises(SessionAlreadyClosed):
        entrance.doorman.set_guests(over, 1)
    with pytest.raises(GuestsRefused):
        entrance.doorman.set_guests(at_work, 1)
    for unknown in (UUID(int=1), entrance.checkout.check_in("unknown-1", entrance.clock()).session_id):
        with pytest.raises(SessionNotFound):
            entrance.doorman.set_guests(unknown, 1)
        with pytest.raises(SessionNotFound):
            entrance.doorman.guests_allowed(unknown)
    for number in (-1, MAX_GUESTS + 1):
        with pytest.raises(ValueError, match="guests_allowed: expected 0 to 20"):
            entrance.doorman.set_guests(over, number)


@pytest.mark.parametrize("word", ["answer", "did_not_pass"])
def test_a_shopper_who_did_not_come_through_the_gate_is_let_go_with_the_money(entrance: Entrance, word: str) -> None:
    ada = entrance.shopper()
    decision = entrance.scan(ada)
    assert decision.grant_id is not None

    if word == "answer":
        entrance.doorman.answer(decision.grant_id, False)
    else:
        entrance.doorman.answer(decision.grant_id, True)
        entrance.doorman.did_not_pass(decision.grant_id)
        entrance.doorman.did_not_pass(decision.grant_id)

    assert entrance.session(decision.session_id).status is SessionStatus.ABANDONED
    assert entrance.states() == [PaymentState.VOIDED]
    assert entrance.scan(ada).decision is Decision.OPEN


def test_the_first_answer_of_a_gate_counts(entrance: Entrance) -> None:
    decision = entrance.scan(entrance.shopper())
    assert decision.grant_id is not None

    for opened in (True, True, False):
        entrance.doorman.answer(decision.grant_id, opened)

    assert entrance.session(decision.session_id).status is SessionStatus.OPEN
    assert entrance.doorman.commands_for("front") == ()


def test_a_gate_answers_for_its_own_orders_alone(entrance: Entrance) -> None:
    decision = entrance.scan(entrance.shopper())
    assert decision.grant_id is not None

    for tell in (entrance.doorman.did_not_pass, lambda *a, **k: entrance.doorman.answer(a[0], False, **k)):
        with pytest.raises(GrantNotFound):
            tell(decision.grant_id, gate_id="back")
        with pytest.raises(GrantNotFound):
            tell(UUID(int=3))
    assert entrance.session(decision.session_id).status is SessionStatus.OPEN


def test_whoever_shops_is_in_whatever_the_gate_says(entrance: Entrance) -> None:
    decision = entrance.scan(entrance.shopper())
    assert decision.session_id is not None
    assert decision.grant_id is not None
    entrance.take_tea(decision.session_id)

    entrance.doorman.answer(decision.grant_id, False)

    assert entrance.session(decision.session_id).status is SessionStatus.OPEN


def test_a_grant_that_no_gate_answers_is_let_go_after_a_while(entrance: Entrance) -> None:
    decision = entrance.scan(entrance.shopper())

    entrance.clock.wait(seconds=129)
    assert entrance.doorman.tidy() == 0
    entrance.clock.wait(seconds=1)
    assert entrance.doorman.tidy() == 1

    assert entrance.session(decision.session_id).status is SessionStatus.ABANDONED
    assert entrance.states() == [PaymentState.VOIDED]
    assert entrance.doorman.tidy() == 0


def test_whose_order_was_lost_gets_another_for_the_same_visit(entrance: Entrance) -> None:
    ada = entrance.shopper()
    first = entrance.scan(ada)

    assert refused(entrance.scan(ada)) is ScanReason.ALREADY_INSIDE  # the gate may still open
    entrance.clock.wait(seconds=11)
    second = entrance.scan(ada)

    assert told(second) == (Decision.OPEN, ScanReason.WELCOME)
    assert second.session_id == first.session_id
    assert second.grant_id != first.grant_id
    assert len(entrance.gateway.payments) == 1
    entrance.clock.wait(seconds=5)
    assert second.grant_id is not None
    entrance.doorman.answer(second.grant_id, True)
    entrance.clock.wait(minutes=5)
    entrance.doorman.tidy()
    assert entrance.session(first.session_id).status is SessionStatus.OPEN


class CrashError(BaseException):
    """The process dies; nothing catches it."""


@pytest.mark.parametrize("place", ["hold", "after hold", "join"])
def test_what_a_crash_cuts_off_is_let_go_and_the_shopper_comes_in_later(entrance: Entrance, place: str) -> None:
    ada = entrance.shopper()
    checkout = entrance.checkout
    session_id = entrance.come_in(ada) if place == "join" else None
    if session_id is not None:
        entrance.doorman.set_guests(session_id, 2)

    class Crashing:
        hold_minor = HOLD_MINOR
        debt_of = staticmethod(checkout.debt_of)
        abandon = staticmethod(checkout.abandon)

        def hold(self, session_id: UUID, at: datetime) -> object:
            if place == "after hold":
                checkout.hold(session_id, at)
            raise CrashError

        def join(self, session_id: UUID, at: datetime) -> Session:
            raise CrashError

    dying = Doorman(
        entrance.database, Crashing(), STORE, entrance.clock, entrance.people.new_id, random_bytes=os.urandom
    )
    with pytest.raises(CrashError):
        dying.scan("front", entrance.code(ada))

    if session_id is not None:
        # The guest who was cut off has spent one of two places, and nothing else.
        assert entrance.session(session_id).party_size == 1
        assert told(entrance.scan(ada)) == (Decision.OPEN, ScanReason.GUEST)
        return
    assert refused(entrance.scan(ada)) is ScanReason.ALREADY_INSIDE
    entrance.clock.wait(seconds=61)
    later = entrance.scan(ada)
    assert told(later) == (Decision.OPEN, ScanReason.WELCOME)
    assert len(entrance.gateway.payments) == 1
    entrance.clock.wait(minutes=10)
    entrance.doorman.tidy()
    assert entrance.states() == [PaymentState.VOIDED]
    assert entrance.session(later.session_id).status is SessionStatus.ABANDONED


def test_a_visit_that_a_crash_cut_off_is_tidied_away_when_nobody_comes_back(entrance: Entrance) -> None:
    ada = entrance.shopper()

    def die(_: Admitted) -> None:
        raise CrashError

    dying = Entrance(entrance.people, settings={"on_admitted": die})
    with pytest.raises(CrashError):
        dying.doorman.scan("front", entrance.code(ada))
    entrance.clock.wait(seconds=120)

    assert dying.doorman.tidy() == 1
    assert dying.states() == [PaymentState.VOIDED]
    assert entrance.scan(ada).decision is Decision.OPEN


def test_anything_unexpected_keeps_the_gate_shut_and_shows_no_shopper_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(admitted: Admitted) -> None:
        raise RuntimeError(f"what befell {admitted.shopper_id}")

    entrance = Entrance(settings={"on_admitted": fail})
    with entrance.database, caplog.at_level(logging.DEBUG):
        ada = entrance.shopper()
        code = entrance.code(ada)
        assert refused(entrance.doorman.scan("front", code)) is ScanReason.FAILED

        assert "RuntimeError" in caplog.text
        assert code not in caplog.text
        assert str(ada.account_id) not in caplog.text
        assert entrance.states() == [PaymentState.VOIDED]
        assert entrance.rows(GateCommandRow) == 0
        assert entrance.rows(SessionRow, SessionRow.status == SessionStatus.OPEN.value) == 0


def test_a_guest_whose_scan_fails_does_not_count() -> None:
    failing = False

    def fail(_: Admitted) -> None:
        if failing:
            raise RuntimeError("no")

    entrance = Entrance(settings={"on_admitted": fail})
    with entrance.database:
        ada = entrance.shopper()
        session_id = entrance.come_in(ada)
        entrance.doorman.set_guests(session_id, 1)
        failing = True

        assert refused(entrance.scan(ada)) is ScanReason.FAILED
        assert entrance.session(session_id).party_size == 1
        assert entrance.doorman.guests_allowed(session_id) == 1


def test_a_database_that_is_gone_keeps_the_gate_shut(tmp_path: Path) -> None:
    with fresh("sqlite", tmp_path) as database:
        entrance = Entrance(People(database))
        code = entrance.code(entrance.shopper())
        with database.transaction() as repository:
            repository.sql.connection().exec_driver_sql("ALTER TABLE used_codes RENAME TO gone")

        assert refused(entrance.doorman.scan("front", code)) is ScanReason.FAILED


def test_every_scan_is_written_down_and_refusals_of_known_shoppers_are_told(entrance: Entrance) -> None:
    poor = entrance.shopper(pays=False)
    entrance.scan(entrance.shopper())
    refusal = entrance.scan(poor)
    entrance.doorman.scan("back", "rubbish")

    with entrance.database.reading() as repository:
        rows = repository.sql.scalars(select(ScanRow).order_by(ScanRow.position)).all()
        assert [(row.gate_id, row.decision, row.reason) for row in rows] == [
            ("front", "open", "welcome"),
            ("front", "refuse", "no_payment_method"),
            ("back", "refuse", "malformed"),
        ]
        assert [row.account_id for row in rows][1:] == [poor.account_id, None]
        counts = scan_counts(repository, entrance.clock() - timedelta(hours=1))
        assert counts[Decision.REFUSE, ScanReason.MALFORMED] == 1
        [webhook] = repository.sql.scalars(select(OutboxRow).where(OutboxRow.kind == Effect.WEBHOOK.value)).all()
        assert webhook.deduplication_key == f"webhook:entry.refused:{refusal.scan_id}"
        assert webhook.payload["type"] == "entry.refused"
        assert webhook.payload["reason"] == "no_payment_method"


def test_whoever_watches_the_store_is_told_who_comes_in_before_the_gate_is() -> None:
    told_of: list[object] = []
    entrance = Entrance(settings={"on_admitted": told_of.append, "publish": told_of.append})
    with entrance.database:
        ada = entrance.shopper()

        decision = entrance.scan(ada)

        [admitted, command] = told_of
        assert isinstance(admitted, Admitted)
        assert (admitted.session_id, admitted.shopper_id) == (decision.session_id, str(ada.account_id))
        assert isinstance(command, GateCommand)
        assert admitted.grant_id == command.grant_id == decision.grant_id
        assert entrance.rows(OutboxRow, OutboxRow.kind == "gate", OutboxRow.status == "done") == 1


def test_an_order_that_could_not_be_published_is_left_to_the_sweeper_until_it_is_stale() -> None:
    line_is_up = False
    arrived: list[GateCommand] = []

    def publish(command: GateCommand) -> None:
        if not line_is_up:
            raise NotYetError("the broker is not connected")
        arrived.append(command)

    entrance = Entrance(settings={"publish": publish})
    with entrance.database:
        sweeper = Sweeper(entrance.database, entrance.doorman.handlers())
        first = entrance.scan(entrance.shopper())
        second = entrance.scan(entrance.shopper())
        assert first.decision is second.decision is Decision.OPEN
        assert second.grant_id is not None
        entrance.doorman.answer(second.grant_id, True)  # it heard of it some other way

        entrance.clock.wait(seconds=2)
        assert sweeper.sweep(entrance.clock()) == 0
        line_is_up = True
        entrance.clock.wait(seconds=3)
        assert sweeper.sweep(entrance.clock()) == 1
        assert [command.grant_id for command in arrived] == [first.grant_id]

        line_is_up = False
        third = entrance.scan(entrance.shopper())
        line_is_up = True
        entrance.clock.wait(seconds=10)
        assert sweeper.sweep(entrance.clock()) == 0
        assert len(arrived) == 1
        with entrance.database.reading() as repository:
            [(message, error)] = failed(repository)
        assert message.payload["grant_id"] == str(third.grant_id)
        assert "stale" in error


def test_gates_that_ask_are_told_what_is_good_and_not_answered(entrance: Entrance) -> None:
    first, second = entrance.scan(entrance.shopper()), entrance.scan(entrance.shopper())
    Sweeper(entrance.database, entrance.doorman.handlers()).sweep(entrance.clock() + timedelta(seconds=2))

    assert [command.grant_id for command in entrance.doorman.commands_for("front")] == sorted(
        [first.grant_id, second.grant_id], key=str
    )
    assert first.grant_id is not None
    entrance.doorman.answer(first.grant_id, True)
    assert [command.grant_id for command in entrance.doorman.commands_for("front")] == [second.grant_id]
    entrance.clock.wait(seconds=10)
    assert entrance.doorman.commands_for("front") == ()


def test_a_gate_can_be_opened_by_hand(entrance: Entrance) -> None:
    command = entrance.doorman.open_by_hand("back")

    assert entrance.doorman.commands_for("back") == (command,)
    entrance.doorman.answer(command.grant_id, False)
    assert entrance.rows(SessionRow) == 0


def test_a_code_is_read_from_a_picture(entrance: Entrance) -> None:
    code = entrance.code(entrance.shopper())

    decision = entrance.doorman.scan_picture("front", picture(code, "https://example.com/menu", kind="JPEG", noise=8))

    assert told(decision) == (Decision.OPEN, ScanReason.WELCOME)


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        (ScanReason.NO_CODE, lambda code: picture()),
        (ScanReason.SEVERAL_CODES, lambda code: picture(code[0], code[1])),
        (ScanReason.SEVERAL_CODES, lambda code: picture("ONE", "TWO")),
        (ScanReason.MALFORMED, lambda code: picture("https://example.com/menu")),
        (ScanReason.BAD_PICTURE, lambda code: picture(code[0])[:300]),
        (ScanReason.BAD_PICTURE, lambda code: b"GIF89a"),
        (ScanReason.BAD_PICTURE, lambda code: png_header(60_000, 60_000)),
    ],
)
def test_a_picture_without_one_good_code_opens_nothing(
    entrance: Entrance, reason: ScanReason, shown: Callable[[list[str]], bytes]
) -> None:
    ada = entrance.shopper()
    codes = [entrance.code(ada, counter) for counter in range(2)]

    assert refused(entrance.doorman.scan_picture("front", shown(codes))) is reason
    assert entrance.rows(ScanRow) == 1
    assert entrance.doorman.scan_picture("front", qr.png(codes[0])).decision is Decision.OPEN


@pytest.mark.parametrize("gate_id", ["", "a/b", "+", "x" * 65])
def test_a_scan_needs_a_gate(entrance: Entrance, gate_id: str) -> None:
    with pytest.raises(ValueError, match="gate: expected a name"):
        entrance.doorman.scan(gate_id, "TF1:")
    with pytest.raises(ValueError, match="gate: expected a name"):
        entrance.doorman.scan_picture(gate_id, b"")


def test_an_account_has_few_keys_and_revokes_its_own_alone(entrance: Entrance) -> None:
    ada, bob = entrance.shopper(), entrance.shopper()
    keys = []
    for _ in range(MAX_KEYS + 1):
        keys.append(entrance.doorman.issue_key(ada.account_id))
        entrance.clock.wait(seconds=20)

    assert entrance.doorman.keys(ada.account_id) == tuple(reversed(keys[1:]))
    assert not entrance.doorman.revoke_key(bob.account_id, keys[1].key_id)
    assert not entrance.doorman.revoke_key(ada.account_id, "0" * 16)
    assert entrance.doorman.revoke_key(ada.account_id, keys[1].key_id)
    assert entrance.doorman.keys(ada.account_id) == tuple(reversed(keys[2:]))
    shown = make_code(keys[1], STORE, entrance.clock())
    assert refused(entrance.doorman.scan("front", shown)) is ScanReason.REVOKED


def test_only_people_with_a_good_account_get_keys_and_codes(entrance: Entrance) -> None:
    blocked = entrance.shopper()
    entrance.people.accounts.block(blocked.account_id)
    gate = entrance.people.accounts.create_device("front", by=Role.OWNER).token.account_id

    for make in (entrance.doorman.issue_key, entrance.doorman.entry_code):
        with pytest.raises(AccountBlocked):
            make(blocked.account_id)
        for nobody in (UUID(int=1), gate):
            with pytest.raises(AccountNotFound):
                make(nobody)


def test_codes_made_here_are_new_until_256_were_shown(entrance: Entrance) -> None:
    ada = entrance.shopper()
    entrance.come_in(ada)

    codes = {entrance.code(ada, counter) for counter in range(256)}

    assert len(codes) == 256
    assert entrance.code(ada) == entrance.code(ada, 254)  # 255 was shown when they came in


def test_a_shop_that_holds_nothing_lets_in_whoever_has_a_way_to_pay(entrance: Entrance) -> None:
    ada = entrance.shopper()
    trusting = Checkout(entrance.database, CATALOGUE, entrance.gateway, now=entrance.clock)
    doorman = Doorman(entrance.database, trusting, STORE, entrance.clock, random_bytes=os.urandom)

    assert doorman.scan("front", entrance.code(ada)).decision is Decision.OPEN
    assert entrance.states() == []


def test_wrong_settings_are_refused(entrance: Entrance) -> None:
    for wrong in ({"command_life_s": 0.5}, {"command_life_s": 61}, {"no_show_after_s": -1}):
        with pytest.raises(ValueError, match="Doorman: expected"):
            Entrance(entrance.people, settings=wrong)


def at_once(pool: ThreadPoolExecutor, number: int, work: Callable[[int], ScanDecision]) -> list[ScanDecision]:
    """Do something in so many threads of a pool at the same moment."""
    barrier = threading.Barrier(number)

    def wait_and_work(index: int) -> ScanDecision:
        barrier.wait()
        return work(index)

    return list(pool.map(wait_and_work, range(number)))


def scan_at_gate(entrance: Entrance, code: str, number: int) -> ScanDecision:
    """Show a code at the gate of this number."""
    return entrance.doorman.scan(f"gate-{number}", code)


@pytest.mark.parametrize("kind", KINDS)
def test_64_gates_that_scan_one_code_at_once_admit_once(kind: str, tmp_path: Path) -> None:
    with fresh(kind, tmp_path) as database, ThreadPoolExecutor(GATES) as pool:
        entrance = Entrance(People(database))
        for _ in range(RACES):
            code = entrance.code(entrance.shopper())

            decisions = at_once(pool, GATES, partial(scan_at_gate, entrance, code))

            assert Counter(map(told, decisions)) == {
                (Decision.OPEN, ScanReason.WELCOME): 1,
                (Decision.REFUSE, ScanReason.ALREADY_USED): GATES - 1,
            }
        assert entrance.rows(SessionRow) == entrance.rows(GateCommandRow) == len(entrance.gateway.payments) == RACES
        assert entrance.rows(ScanRow) == RACES * GATES


@pytest.mark.parametrize("kind", KINDS)
def test_many_codes_of_one_account_at_once_open_one_visit_and_no_more_guests_than_allowed(
    kind: str, tmp_path: Path
) -> None:
    with fresh(kind, tmp_path) as database, ThreadPoolExecutor(16) as pool:
        entrance = Entrance(People(database))
        ada = entrance.shopper()
        codes = [entrance.code(ada, counter) for counter in range(32)]

        decisions = at_once(pool, 16, lambda index: entrance.doorman.scan(f"gate-{index}", codes[index]))

        assert Counter(decision.reason for decision in decisions) == {
            ScanReason.WELCOME: 1,
            ScanReason.ALREADY_INSIDE: 15,
        }
        [payer] = [decision for decision in decisions if decision.decision is Decision.OPEN]
        assert payer.session_id is not None
        assert payer.grant_id is not None
        entrance.doorman.answer(payer.grant_id, True)
        entrance.doorman.set_guests(payer.session_id, 3)

        decisions = at_once(pool, 16, lambda index: entrance.doorman.scan(f"gate-{index}", codes[16 + index]))

        assert Counter(decision.reason for decision in decisions) == {
            ScanReason.GUEST: 3,
            ScanReason.ALREADY_INSIDE: 13,
        }
        assert entrance.session(payer.session_id).party_size == 4
        assert entrance.doorman.guests_allowed(payer.session_id) == 0


def test_the_race_is_won_by_the_primary_key_itself(tmp_path: Path) -> None:
    # As if the look-up before it had seen nothing: the same code is written down twice, by two who know nothing of
    # each other.
    with fresh("postgresql", tmp_path) as database:
        name = entry_codes.fingerprint("TF1:" + "A" * 56)

        def write(_: int) -> str:
            with database.transaction() as repository:
                repository.sql.add(UsedCodeRow(code_sha256=name, gate_id="front", used_at=datetime.now().astimezone()))
            return "written"

        with ThreadPoolExecutor(8) as pool:
            outcomes = [future.exception() for future in [pool.submit(write, number) for number in range(8)]]

    assert outcomes.count(None) == 1


def test_the_whole_way_in_and_out_on_either_database(tmp_path: Path) -> None:
    for kind in KINDS:
        with fresh(kind, tmp_path) as database:
            whole_way(Entrance(People(database)))


def whole_way(entrance: Entrance) -> None:
    ada = entrance.shopper()
    session_id = entrance.come_in(ada)
    entrance.take_tea(session_id)
    outcome = entrance.checkout.close(session_id, entrance.clock())
    assert outcome.status is SessionStatus.CHARGED
    assert entrance.gateway.captured_minor("EUR") == 250
    assert entrance.scan(ada).decision is Decision.OPEN
    entrance.clock.wait(minutes=5)
    assert entrance.doorman.tidy() == 1
