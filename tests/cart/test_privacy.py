import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from cart import audit, outbox
from cart.accounts import Account, AccountStatus, Role
from cart.catalog import Catalogue, Product
from cart.checkout import Checkout
from cart.config import Settings
from cart.errors import (
    AccountNotFound,
    ErasureRefused,
    NotAllowed,
    PaymentUnknown,
    SignInFailed,
    StoreError,
    TokenRefused,
)
from cart.events import CartEvent
from cart.outbox import Effect, MessageStatus
from cart.passkeys import Passkeys
from cart.payments import FakeGateway, Fault, GatewayCall
from cart.privacy import NOT_ABOUT_ANYBODY, Periods, Privacy, Retention
from cart.repository import Repository
from cart.tables import (
    APPEND_ONLY,
    AccountRow,
    AdmissionRow,
    Base,
    CouponRow,
    CouponUseRow,
    DecisionRow,
    DisputeRow,
    EntryKeyRow,
    EvidenceRow,
    GateCommandRow,
    IdempotentReplyRow,
    LayoutVersionRow,
    OutboxRow,
    PasskeyChallengeRow,
    PasswordRow,
    ReceiptDiscountRow,
    ReceivedWebhookRow,
    ReviewFlagRow,
    ScanRow,
    SessionRow,
    TokenRow,
    UsedCodeRow,
)
from tests.cart.authenticator import Authenticator
from tests.cart.databases import KINDS, fresh
from tests.cart.people import PASSWORD, START, People

EMAIL, NAME, METHOD = "ada.lovelace@example.com", "Ada Lovelace", "pm_ada"
CATALOGUE = Catalogue("EUR", [Product("042", "Oat bar", 199, "EUR", 700), Product("043", "Iced tea", 250, "EUR", 1900)])


@dataclass
class Shop:
    """A shop where Ada has done everything there is to do."""

    people: People = field(default_factory=People)
    faults: list[Fault] = field(default_factory=list)
    declined: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.database, self.clock = self.people.database, self.people.clock
        self.privacy = Privacy(self.database, self.clock)
        self.gateway = FakeGateway(self._fault, self.declined)
        self.checkout = Checkout(
            self.database, CATALOGUE, self.gateway, self.people.new_id, hold_minor=5000, now=self.clock
        )
        self.ada = self.people.accounts.create(EMAIL, PASSWORD, NAME, locale="sl")

    def _fault(self, call: GatewayCall, key: str) -> Fault | None:
        return self.faults[0] if self.faults else None

    def enter(self, account: Account | None = None) -> UUID:
        """Somebody comes in, money is held."""
        who = self.ada if account is None else account
        session = self.checkout.check_in(str(who.account_id), self.clock.at)
        with self.database.transaction() as repository:
            repository.sql.add(
                AdmissionRow(
                    session_id=session.session_id,
                    account_id=who.account_id,
                    gate_id="front",
                    admitted_at=self.clock.at,
                    guests_allowed=0,
                )
            )
        return session.session_id

    def take(self, session_id: UUID, sku: str = "042", quantity: int = 1) -> None:
        """Something goes into the cart."""
        self.checkout.record(CartEvent(self.people.new_id(), session_id, self.clock.at, sku, quantity))

    def visit(self, account: Account | None = None) -> UUID:
        """Somebody comes in, takes a bar and leaves; it is paid."""
        session_id = self.enter(account)
        self.checkout.hold(session_id, self.clock.at)
        self.take(session_id)
        self.checkout.close(session_id, self.clock.at)
        return session_id

    def everything(self) -> UUID:
        """Ada leaves a trace in every table."""
        accounts, ada, new_id, at = self.people.accounts, self.ada, self.people.new_id, self.clock.at
        accounts.set_payment_method(ada.account_id, METHOD)
        accounts.sign_in(EMAIL, PASSWORD)
        passkeys = Passkeys(
            self.database, accounts, "shop.example", "Shop", ["https://shop.example"], self.clock, new_id
        )
        begun = passkeys.registration_options(ada.account_id)
        passkeys.register(ada.account_id, begun.challenge_id, Authenticator().register(begun.options), "Ada's phone")
        passkeys.registration_options(ada.account_id)
        session_id = self.visit()
        self.checkout.refund(session_id, 50, "goodwill", None, at)
        reviewer = self.people.person(Role.REVIEWER)
        with self.database.transaction() as repository:
            sql = repository.sql
            dispute_id = new_id()
            sql.add_all(
                [
                    EntryKeyRow(key_id="k1", account_id=ada.account_id, secret=b"s" * 32, created_at=at),
                    ScanRow(
                        scan_id=new_id(),
                        gate_id="front",
                        scanned_at=at,
                        decision="open",
                        reason="welcome",
                        account_id=ada.account_id,
                        session_id=session_id,
                    ),
                    evidence_of(session_id, ada.account_id, new_id(), at + timedelta(days=30)),
                    DisputeRow(
                        dispute_id=dispute_id,
                        session_id=session_id,
                        account_id=ada.account_id,
                        sku="042",
                        claimed_quantity=0,
                        message=f"I put it back. Yours, {NAME}",
                        status="settled",
                        outcome="You were right.",
                        opened_at=at,
                        settled_at=at,
                    ),
                    CouponRow(code="C1", account_id=ada.account_id, name="Welcome", terms={}, valid_from=at),
                    LayoutVersionRow(version=1, document={}, note="", author_id=ada.account_id, created_at=at),
                    ReviewFlagRow(flag_id=new_id(), session_id=session_id, reason="weak", raised_at=at),
                    gate_command(session_id, new_id(), at),
                ]
            )
            sql.flush()
            sql.add_all(
                [
                    DecisionRow(
                        decision_id=new_id(),
                        session_id=session_id,
                        dispute_id=dispute_id,
                        reviewer_id=reviewer.account_id,
                        lines=[],
                        note="",
                        decided_at=at,
                    ),
                    CouponUseRow(code="C1", session_id=session_id, used_at=at),
                    ReceiptDiscountRow(
                        session_id=session_id,
                        sequence=1,
                        position=0,
                        name="Welcome",
                        source="coupon:C1",
                        tax_rate_bp=700,
                        amount_minor=1,
                    ),
                    IdempotentReplyRow(
                        caller="192.0.2.1",
                        key="k",
                        request_sha256="",
                        status_code=201,
                        media_type="application/json",
                        body=json.dumps({"email": EMAIL}).encode(),
                        created_at=at,
                    ),
                    IdempotentReplyRow(
                        caller=str(ada.account_id),
                        key="k",
                        request_sha256="",
                        status_code=200,
                        media_type="application/json",
                        body=b'{"name": "Ada"}',
                        created_at=at,
                    ),
                ]
            )
            letter = {"account_id": str(ada.account_id), "to": EMAIL, "text": f"Dear {NAME}"}
            outbox.put(repository, Effect.MAIL, "mail:1", letter, at)
            outbox.put(repository, Effect.MAIL, "mail:2", {"to": EMAIL}, at)
            outbox.put(repository, Effect.WEBHOOK, "webhook:1", {"type": "x", "shopper_id": str(ada.account_id)}, at)
            outbox.finish(repository, "mail:2", at)
            audit.looked(repository, reviewer.account_id, ada.account_id, f"session:{session_id}", at)
            audit.record(repository, reviewer.account_id, "visit.decided", f"session:{session_id}", {}, at)
        return session_id


def evidence_of(session_id: UUID, account_id: UUID, evidence_id: UUID, expires_at: datetime) -> EvidenceRow:
    candidates = [
        {"shopper": str(account_id), "sku": "042", "quantity": 1, "probability": 0.8},
        {"shopper": str(UUID(int=99)), "sku": "042", "quantity": 1, "probability": 0.1},
    ]
    return EvidenceRow(
        evidence_id=evidence_id,
        session_id=session_id,
        interaction_id=uuid5(evidence_id, "interaction"),
        kind="picture",
        facts={"bin_id": "g1/s1/b1", "candidates": candidates},
        media_type="image/png",
        media=b"\x89PNG",
        captured_at=START,
        expires_at=expires_at,
    )


def gate_command(session_id: UUID, grant_id: UUID, at: datetime) -> GateCommandRow:
    return GateCommandRow(
        grant_id=grant_id, gate_id="front", session_id=session_id, purpose="welcome", issued_at=at, expires_at=at
    )


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    with made.database:
        yield made


def rows_of(shop: Shop, table: type[Base]) -> int:
    with shop.database.reading() as repository:
        return repository.sql.scalar(select(func.count()).select_from(table)) or 0


def everything_in(shop: Shop) -> str:
    """The whole database as text."""
    with shop.database.reading() as repository:
        return "\n".join(
            str([bytes(value) if isinstance(value, memoryview) else value for value in row])
            for table in Base.metadata.sorted_tables
            for row in repository.sql.execute(select(table))
        )


# Export


def test_an_export_gives_everything_kept_of_an_account(shop: Shop) -> None:
    session_id = shop.everything()
    export = shop.privacy.export(shop.ada.account_id)
    assert json.loads(json.dumps(export)) == export
    assert (export["account_id"], export["exported_at"]) == (str(shop.ada.account_id), START.isoformat())
    assert export["account"] == [
        {
            "account_id": str(shop.ada.account_id),
            "email": EMAIL,
            "name": NAME,
            "role": "shopper",
            "status": "active",
            "locale": "sl",
            "payment_method": METHOD,
            "created_at": START.isoformat(),
            "erased_at": None,
        }
    ]
    empty = [name for name, records in export.items() if not records]
    assert empty == []
    assert [entry["session_id"] for entry in export["sessions"]] == [str(session_id)]
    assert [entry["amount_minor"] for entry in export["charges"]] == [199]
    assert [entry["amount_minor"] for entry in export["refunds"]] == [50]
    assert export["disputes"][0]["message"].startswith("I put it back")
    assert {"looked", "visit.decided", "account.created"} <= {entry["action"] for entry in export["audit"]}
    assert {"mail", "webhook"} <= {entry["kind"] for entry in export["messages"]}


def test_every_table_is_exported_or_is_about_nobody(shop: Shop) -> None:
    export = shop.privacy.export(shop.ada.account_id)
    called = {"account": "accounts", "audit": "audit_log", "messages": "outbox"}
    exported = {called.get(name, name) for name in export} - {"account_id", "exported_at"}
    assert exported & NOT_ABOUT_ANYBODY == set()
    assert exported | NOT_ABOUT_ANYBODY == set(Base.metadata.tables)


def test_an_export_has_no_secrets_no_pictures_and_nobody_else_in_it(shop: Shop) -> None:
    shop.everything()
    issued = shop.people.accounts.sign_in(EMAIL, PASSWORD)
    eve = shop.people.person(name="Eve Mallory")
    eves = shop.visit(eve)
    export = shop.privacy.export(shop.ada.account_id)
    text = json.dumps(export)
    for secret in ("argon2", "sha256", "secret", "public_key", "PNG", issued.secret[3:]):
        assert secret not in text
    for other in (str(eve.account_id), str(eves), eve.email or "", "Eve", str(UUID(int=99))):
        assert other not in text
    (evidence,) = export["evidence"]
    assert [each["shopper"] for each in evidence["facts"]["candidates"]] == [str(shop.ada.account_id), "somebody else"]
    assert evidence["media_bytes"] == 4


def test_an_export_for_somebody_else_is_written_down_and_ones_own_is_not(shop: Shop) -> None:
    owner = shop.people.person(Role.OWNER)
    shop.privacy.export(shop.ada.account_id, by=shop.ada.account_id)
    shop.privacy.export(shop.ada.account_id, by=owner.account_id)
    with shop.database.reading() as repository:
        entries = audit.who_looked(repository, shop.ada.account_id).entries
    assert [(entry.actor_id, entry.detail) for entry in entries] == [(owner.account_id, {"what": "export"})]


def test_what_staff_do_in_the_store_is_exported_to_them(shop: Shop) -> None:
    staff = shop.people.person(Role.STAFF)
    session = shop.checkout.check_in(f"staff:{staff.account_id}", START, has_account=False)
    assert [s["session_id"] for s in shop.privacy.export(staff.account_id)["sessions"]] == [str(session.session_id)]
    with pytest.raises(ErasureRefused, match="visit is open"):
        shop.privacy.erase(staff.account_id, START)


def test_nobody_is_neither_exported_nor_erased(shop: Shop) -> None:
    with pytest.raises(AccountNotFound):
        shop.privacy.export(UUID(int=7))
    with pytest.raises(AccountNotFound):
        shop.privacy.erase(UUID(int=7), START)


# Erasure


def test_erasing_leaves_no_trace_of_who_somebody_was_and_keeps_the_books(shop: Shop) -> None:
    session_id = shop.everything()
    token = shop.people.accounts.sign_in(EMAIL, PASSWORD)
    before = shop.privacy.export(shop.ada.account_id)
    later = START + timedelta(days=3)
    erasure = shop.privacy.erase(shop.ada.account_id, later)
    assert erasure.erased_at == later
    kept = everything_in(shop)
    for word in (EMAIL, NAME, "Lovelace", METHOD, "Ada's phone", "I put it back", "PNG"):
        assert word not in kept
    assert rows_of(shop, PasswordRow) == 1  # the reviewer's
    account = shop.people.accounts.account(shop.ada.account_id)
    assert (account.email, account.name, account.payment_method) == (None, "", None)
    assert account.status is AccountStatus.ERASED
    with pytest.raises(TokenRefused):
        shop.people.accounts.authenticate(token.secret)
    with pytest.raises(SignInFailed):
        shop.people.accounts.sign_in(EMAIL, PASSWORD)
    after = shop.privacy.export(shop.ada.account_id)
    books = (
        "sessions",
        "cart_events",
        "receipts",
        "receipt_lines",
        "charges",
        "refunds",
        "holds",
        "transfers",
        "scans",
    )
    assert [after[name] for name in books] == [before[name] for name in books]
    assert [len(after[name]) for name in ("tokens", "passkeys", "entry_keys", "evidence")] == [0, 0, 0, 0]
    assert shop.checkout.outcome(session_id) is not None


def test_a_letter_to_somebody_erased_is_not_sent_and_other_effects_are_still_carried_out(shop: Shop) -> None:
    shop.everything()
    shop.privacy.erase(shop.ada.account_id, START)
    with shop.database.reading() as repository:
        rows = {
            key: (status, payload)
            for key, status, payload in repository.sql.execute(
                select(OutboxRow.deduplication_key, OutboxRow.status, OutboxRow.payload)
            )
        }
        waiting = {message.key for message in outbox.waiting(repository, START + timedelta(days=1))}
    assert rows["mail:1"] == (MessageStatus.FAILED, {})
    assert rows["mail:2"] == (MessageStatus.DONE, {})
    assert "webhook:1" in waiting
    with shop.database.transaction() as repository:
        assert not outbox.put(repository, Effect.MAIL, "mail:1", {"to": EMAIL}, START)


def test_an_address_in_a_mail_servers_complaint_is_forgotten_too(shop: Shop) -> None:
    with shop.database.transaction() as repository:
        outbox.put(repository, Effect.RECEIPT, "receipt:1", {"session_id": "1"}, START)
        outbox.give_up(repository, "receipt:1", START, f"550 <{EMAIL.upper()}> unknown")
    shop.privacy.erase(shop.ada.account_id, START)
    assert EMAIL not in everything_in(shop).lower()


def test_erasing_one_leaves_everybody_else_as_they_were(shop: Shop) -> None:
    shop.everything()
    eve = shop.people.person(name="Eve Mallory")
    token = shop.people.accounts.sign_in(eve.email or "", PASSWORD)
    session_id = shop.visit(eve)
    with shop.database.transaction() as repository:
        repository.sql.add(evidence_of(session_id, eve.account_id, UUID(int=5), START + timedelta(days=9)))
        outbox.put(repository, Effect.MAIL, "mail:eve", {"to": eve.email}, START)
    before = shop.privacy.export(eve.account_id)
    shop.privacy.erase(shop.ada.account_id, START)
    after = shop.privacy.export(eve.account_id)
    before["audit"] = before["audit"] + after["audit"][len(before["audit"]) :]
    assert after == before
    assert shop.people.accounts.authenticate(token.secret).account_id == eve.account_id


def test_erasing_twice_is_once(shop: Shop) -> None:
    shop.everything()
    first = shop.privacy.erase(shop.ada.account_id, START)
    kept = everything_in(shop)
    shop.clock.wait(days=1)
    assert shop.privacy.erase(shop.ada.account_id, shop.clock.at) == first
    assert everything_in(shop) == kept
    with shop.database.reading() as repository:
        assert len(audit.page(repository, action="account.erased").entries) == 1


def test_an_erased_account_is_not_used_again_and_its_address_is_free(shop: Shop) -> None:
    shop.privacy.erase(shop.ada.account_id, START)
    accounts, ada = shop.people.accounts, shop.ada.account_id
    calls: list[Callable[[], object]] = [
        lambda: accounts.set_payment_method(ada, "pm_1"),
        lambda: accounts.change(ada, name="Ada"),
        lambda: accounts.change_password(ada, PASSWORD, PASSWORD),
        lambda: accounts.issue_token(ada, "x"),
        lambda: accounts.block(ada),
        lambda: accounts.unblock(ada),
    ]
    for call in calls:
        with pytest.raises(AccountNotFound):
            call()
    assert accounts.create(EMAIL, PASSWORD, NAME).account_id != ada


def test_a_blocked_account_can_be_erased(shop: Shop) -> None:
    shop.people.accounts.block(shop.ada.account_id)
    shop.privacy.erase(shop.ada.account_id, START)
    assert shop.people.accounts.account(shop.ada.account_id).status is AccountStatus.ERASED


def test_the_last_owner_is_not_erased(shop: Shop) -> None:
    owner, other = shop.people.person(Role.OWNER), shop.people.person(Role.OWNER)
    shop.privacy.erase(owner.account_id, START, by=other.account_id)
    with pytest.raises(NotAllowed, match="last owner"):
        shop.privacy.erase(other.account_id, START)
    with shop.database.reading() as repository:
        (entry,) = audit.page(repository, action="account.erased").entries
    assert (entry.actor_id, entry.subject) == (other.account_id, audit.account_subject(owner.account_id))


@pytest.mark.parametrize("by", Role)
def test_who_may_export_and_erase_accounts_of_which_role(shop: Shop, by: Role) -> None:
    actor = shop.people.principal(by).account_id
    for role in Role:
        target = shop.people.principal(role).account_id
        if by is Role.OWNER or (by is Role.MANAGER and role not in (Role.OWNER, Role.MANAGER)):
            shop.privacy.export(target, by=actor)
            shop.privacy.erase(target, START, by=actor)
        else:
            with pytest.raises(NotAllowed):
                shop.privacy.export(target, by=actor)
            with pytest.raises(NotAllowed):
                shop.privacy.erase(target, START, by=actor)
    with pytest.raises(NotAllowed):
        shop.privacy.export(shop.ada.account_id, by=UUID(int=7))


def refused(shop: Shop, reason: str) -> None:
    """The account cannot be erased, and nothing of it was."""
    before = everything_in(shop)
    with pytest.raises(ErasureRefused, match=reason):
        shop.privacy.erase(shop.ada.account_id, START)
    assert everything_in(shop) == before


def test_nobody_is_erased_while_they_are_in_the_store(shop: Shop) -> None:
    session_id = shop.enter()
    refused(shop, "visit is open")
    shop.checkout.close(session_id, START)
    shop.privacy.erase(shop.ada.account_id, START)


def test_nobody_is_erased_while_a_payment_is_not_known(shop: Shop) -> None:
    session_id = shop.enter()
    shop.checkout.hold(session_id, START)
    shop.take(session_id)
    shop.faults.append(Fault.LOST_REPLY)
    shop.checkout.close(session_id, START)
    refused(shop, "money is pending")
    shop.faults.clear()
    shop.checkout.resume(START)
    shop.privacy.erase(shop.ada.account_id, START)


def test_nobody_is_erased_while_a_hold_is_not_let_go(shop: Shop) -> None:
    session_id = shop.enter()
    shop.faults.append(Fault.LOST_REPLY)
    with pytest.raises(PaymentUnknown):
        shop.checkout.hold(session_id, START)
    refused(shop, "money is pending: a hold")
    shop.faults.clear()
    shop.checkout.resume(START)
    shop.privacy.erase(shop.ada.account_id, START)


def test_nobody_is_erased_while_a_visit_is_under_review(shop: Shop) -> None:
    session_id = shop.enter()
    shop.take(session_id)
    shop.checkout.flag(session_id, "weak", None, START)
    shop.checkout.close(session_id, START)
    refused(shop, "not settled")
    shop.checkout.correct(session_id, {"042": 1}, UUID(int=1), START, "seen on the clip")
    shop.privacy.erase(shop.ada.account_id, START)


def test_nobody_is_erased_while_a_refund_is_not_known(shop: Shop) -> None:
    session_id = shop.visit()
    shop.faults.append(Fault.LOST_REPLY)
    shop.checkout.refund(session_id, 50, "goodwill", None, START)
    refused(shop, "money is pending: a refund")
    shop.faults.clear()
    shop.checkout.resume(START)
    shop.privacy.erase(shop.ada.account_id, START)


def test_nobody_is_erased_who_owes_something(shop: Shop) -> None:
    session_id = shop.enter()
    shop.take(session_id, "042", 2)
    shop.faults.append(Fault.DECLINE)
    shop.checkout.close(session_id, START)
    refused(shop, "398 .* EUR are owed")
    shop.faults.clear()
    shop.checkout.pay_debt(str(shop.ada.account_id), START)
    shop.privacy.erase(shop.ada.account_id, START)


@pytest.mark.parametrize("status", ["open", "in_review"])
def test_nobody_is_erased_while_a_question_is_open(shop: Shop, status: str) -> None:
    session_id = shop.visit()
    dispute = DisputeRow(
        dispute_id=UUID(int=3),
        session_id=session_id,
        account_id=shop.ada.account_id,
        sku="042",
        claimed_quantity=0,
        message="",
        status=status,
        opened_at=START,
    )
    with shop.database.transaction() as repository:
        repository.sql.add(dispute)
    refused(shop, "question")


def test_nobody_is_erased_while_a_decision_is_not_carried_out(shop: Shop) -> None:
    session_id = shop.visit()
    decision_id = UUID(int=4)
    with shop.database.transaction() as repository:
        repository.sql.add(
            DecisionRow(decision_id=decision_id, session_id=session_id, lines=[], note="", decided_at=START)
        )
        outbox.put(repository, Effect.DECISION, f"decision:{decision_id}", {"decision_id": str(decision_id)}, START)
    refused(shop, "correction")
    with shop.database.transaction() as repository:
        outbox.finish(repository, f"decision:{decision_id}", START)
    shop.privacy.erase(shop.ada.account_id, START)


def test_history_that_is_only_added_to_has_no_room_for_personal_things(shop: Shop) -> None:
    shop.everything()
    with shop.database.reading() as repository:
        for name in APPEND_ONLY:
            text = str(repository.sql.execute(select(Base.metadata.tables[name])).all())
            assert not any(word in text for word in (EMAIL, NAME, METHOD)), name


STEPS = ("visit", "token", "evidence", "letter", "question", "export", "change", "review", "debt", "open")


@given(st.lists(st.sampled_from(STEPS), max_size=6))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_somebody_did_an_erasure_is_refused_or_leaves_no_trace(steps: list[str]) -> None:
    shop = Shop()
    with shop.database:
        ada = shop.ada.account_id
        sessions = [shop.visit()]
        for number, step in enumerate(steps):
            if step == "visit":
                sessions.append(shop.visit())
            elif step == "token":
                shop.people.accounts.sign_in(EMAIL, PASSWORD, label=f"{NAME}'s phone")
            elif step == "export":
                shop.privacy.export(ada, by=ada)
            elif step == "change":
                shop.people.accounts.change(ada, name=f"{NAME} {number}")
            elif step in ("review", "debt", "open"):
                session_id = shop.enter()
                shop.take(session_id)
                if step == "review":
                    shop.checkout.flag(session_id, "weak", None, START)
                if step == "debt":
                    shop.faults.append(Fault.DECLINE)
                if step != "open":
                    shop.checkout.close(session_id, START)
                shop.faults.clear()
            else:
                with shop.database.transaction() as repository:
                    leave(repository, step, shop, sessions[-1], UUID(int=number + 1))
        try:
            shop.privacy.erase(ada, START)
        except ErasureRefused:
            assert {"review", "debt", "open"} & set(steps)
            assert EMAIL in everything_in(shop)
        else:
            assert not {"review", "debt", "open"} & set(steps)
            kept = everything_in(shop) + json.dumps(shop.privacy.export(ada))
            assert not any(word in kept for word in (EMAIL, NAME, "Lovelace"))


def leave(repository: Repository, step: str, shop: Shop, session_id: UUID, an_id: UUID) -> None:
    """Leave a trace in the database."""
    if step == "evidence":
        repository.sql.add(evidence_of(session_id, shop.ada.account_id, an_id, START + timedelta(days=1)))
    elif step == "letter":
        outbox.put(repository, Effect.MAIL, f"mail:{an_id}", {"to": EMAIL, "session_id": str(session_id)}, START)
    else:
        repository.sql.add(
            DisputeRow(
                dispute_id=an_id,
                session_id=session_id,
                account_id=shop.ada.account_id,
                sku="042",
                claimed_quantity=0,
                message=f"It was not me, {NAME}",
                status="settled",
                opened_at=START,
                settled_at=START,
            )
        )


def at_once(*calls: Callable[[], object]) -> list[str]:
    """Carry calls out in threads of their own; what came of each, as the name of a class, in order."""
    gate = threading.Barrier(len(calls))

    def carry_out(call: Callable[[], object]) -> str:
        gate.wait()
        try:
            return type(call()).__name__
        except StoreError as error:
            return type(error).__name__

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(carry_out, calls))


@pytest.mark.parametrize("kind", KINDS)
def test_on_either_database_everything_can_be_exported_erased_and_swept(kind: str, tmp_path: Path) -> None:
    with fresh(kind, tmp_path) as database:
        shop = Shop(People(database))
        shop.everything()
        assert all(shop.privacy.export(shop.ada.account_id).values())
        erased = at_once(*[lambda: shop.privacy.erase(shop.ada.account_id, START)] * 4)
        assert erased == ["Erasure"] * 4
        kept = everything_in(shop)
        assert not any(word in kept for word in (EMAIL, NAME, METHOD, "PNG"))
        fill(shop, [timedelta(days=40)], shop.people.person())
        assert Retention(database).sweep(START).total == 7
        with database.reading() as repository:
            assert len(audit.page(repository, action="account.erased").entries) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_on_either_database_an_address_is_taken_once_and_one_owner_remains(kind: str, tmp_path: Path) -> None:
    with fresh(kind, tmp_path) as database:
        people = People(database)
        taken = at_once(*[lambda: people.accounts.create(EMAIL, PASSWORD, NAME)] * 8)
        assert sorted(taken) == ["Account", *["EmailTaken"] * 7]
        owners = [people.principal(Role.OWNER) for _ in range(2)]
        for _ in range(5):
            blocked = at_once(
                lambda: people.accounts.block(owners[0].account_id, by=owners[1]),
                lambda: people.accounts.block(owners[1].account_id, by=owners[0]),
            )
            assert sorted(blocked) == ["Account", "NotAllowed"]
            for owner in owners:
                people.accounts.unblock(owner.account_id)


@pytest.mark.parametrize("kind", KINDS)
def test_on_either_database_a_passkeys_answer_works_once_however_many_send_it(kind: str, tmp_path: Path) -> None:
    with fresh(kind, tmp_path) as database:
        people, phone = People(database), Authenticator()
        passkeys = Passkeys(database, people.accounts, "shop.example", "Shop", ["https://shop.example"], people.clock)
        ada = people.person().account_id
        begun = passkeys.registration_options(ada)
        answer = phone.register(begun.options)
        added = at_once(*[lambda: passkeys.register(ada, begun.challenge_id, answer)] * 6)
        assert sorted(added) == ["Passkey", *["PasskeyRefused"] * 5]
        asked = passkeys.sign_in_options()
        signed = phone.sign(asked.options)
        signed_in = at_once(*[lambda: passkeys.sign_in(asked.challenge_id, signed)] * 6)
        assert sorted(signed_in) == ["IssuedToken", *["SignInFailed"] * 5]


# Retention


def fill(shop: Shop, ages: list[timedelta], account: Account | None = None) -> None:
    """One record of every kind for each age: used, made or ended so long before the clock's time."""
    who = account or shop.ada
    session_id = shop.visit(who)
    now = shop.clock.at
    with shop.database.transaction() as repository:
        for number, age in enumerate(ages):
            at, an_id = now - age, UUID(int=number + 1)
            repository.sql.add_all(
                [
                    UsedCodeRow(code_sha256=f"{number}", gate_id="front", used_at=at),
                    PasskeyChallengeRow(challenge_id=an_id, purpose="sign_in", challenge=b"", expires_at=at),
                    token_row(who, an_id, expires_at=at),
                    token_row(who, uuid5(an_id, "revoked"), expires_at=now + timedelta(days=9), revoked_at=at),
                    IdempotentReplyRow(caller="ada", key=f"{number}", request_sha256="", created_at=at),
                    evidence_of(session_id, who.account_id, an_id, at),
                    ReceivedWebhookRow(provider="fake", event_id=f"{number}", kind="x", received_at=at),
                ]
            )


def token_row(account: Account, token_id: UUID, expires_at: datetime, revoked_at: datetime | None = None) -> TokenRow:
    return TokenRow(
        token_id=token_id,
        account_id=account.account_id,
        secret_sha256=str(token_id),
        scopes=["*"],
        label="old",
        created_at=expires_at - timedelta(days=1),
        expires_at=expires_at,
        revoked_at=revoked_at,
    )


def test_what_is_over_its_time_is_forgotten_at_that_moment_and_not_before(shop: Shop) -> None:
    shop.clock.at = datetime(2026, 9, 1, tzinfo=UTC)
    instant = timedelta(microseconds=1)
    hour, day, month = timedelta(hours=1), timedelta(days=1), timedelta(days=30)
    fill(shop, [-instant, timedelta(0), hour, day - instant, day, month - instant, month])
    swept = Retention(shop.database, Periods()).sweep(shop.clock.at)
    assert (swept.challenges, swept.evidence) == (6, 6)
    assert (swept.used_codes, swept.idempotent_replies) == (3, 3)
    assert (swept.tokens, swept.received_webhooks) == (2, 1)
    assert swept.total == 21
    again = Retention(shop.database).sweep(shop.clock.at)
    assert again.total == 0
    later = Retention(shop.database).sweep(shop.clock.at + month + instant)
    assert later.total == 7 * 7 - 21
    assert [rows_of(shop, table) for table in (UsedCodeRow, EvidenceRow, ReceivedWebhookRow)] == [0, 0, 0]


def test_a_token_that_works_and_the_books_are_not_swept(shop: Shop) -> None:
    session_id = shop.visit()
    issued = shop.people.accounts.sign_in(EMAIL, PASSWORD)
    shop.clock.wait(days=89)
    Retention(shop.database).sweep(shop.clock.at)
    assert shop.people.accounts.authenticate(issued.secret).account_id == shop.ada.account_id
    assert shop.checkout.outcome(session_id) is not None
    assert rows_of(shop, SessionRow) == 1


def test_more_than_one_batch_is_swept_at_once(shop: Shop) -> None:
    with shop.database.transaction() as repository:
        repository.sql.add_all(
            UsedCodeRow(code_sha256=f"{number}", gate_id="front", used_at=START - timedelta(days=2))
            for number in range(2500)
        )
        repository.sql.add_all(
            IdempotentReplyRow(
                caller=f"{number % 7}", key=f"{number}", request_sha256="", created_at=START - timedelta(days=2)
            )
            for number in range(1000)
        )
    swept = Retention(shop.database).sweep(START)
    assert (swept.used_codes, swept.idempotent_replies) == (2500, 1000)
    assert (rows_of(shop, UsedCodeRow), rows_of(shop, IdempotentReplyRow)) == (0, 0)


def test_the_periods_are_the_stores_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Periods.of(Settings()) == Periods()
    monkeypatch.setenv("TILLFREE_KEEP_TOKENS_DAYS", "7")
    monkeypatch.setenv("TILLFREE_KEEP_USED_CODES_HOURS", "48")
    assert Periods.of(Settings()) == Periods(tokens=timedelta(days=7), used_codes=timedelta(days=2))


@pytest.mark.parametrize(
    "periods",
    [
        {"used_codes": timedelta(minutes=59)},
        {"idempotent_replies": timedelta(0)},
        {"received_webhooks": timedelta(0)},
        {"tokens": timedelta(seconds=-1)},
    ],
)
def test_a_period_too_short_to_protect_anybody_is_refused(periods: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Periods"):
        Periods(**periods)


def test_a_refused_erasure_is_an_error_of_the_store_that_can_be_tried_again() -> None:
    assert issubclass(ErasureRefused, StoreError)
    assert ErasureRefused.status == 409
    assert AccountRow.__table__.c.erased_at.nullable
