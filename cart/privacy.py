"""What the store keeps of a person: giving it to them, forgetting them, and forgetting in time what nobody needs.

Receipts, charges and the ledger have to be kept by law, and history is never rewritten. So nothing personal is written
there in the first place: it names an account by its id alone, and to forget a person is to remove everything that says
whose id that is.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, String, case, cast, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute

from cart import audit
from cart.accounts import AccountStatus, Role, check_not_last_owner, may_manage
from cart.config import Settings
from cart.decisions import DisputeStatus
from cart.doors import STAFF_PREFIX
from cart.errors import AccountNotFound, ErasureRefused, NotAllowed
from cart.events import check_aware
from cart.ledger import TransferPhase, shopper_account
from cart.outbox import MONEY, Effect, MessageStatus
from cart.payments import ChargeStatus, HoldStatus, RefundStatus
from cart.repository import Database, Repository
from cart.sessions import SessionStatus
from cart.tables import (
    AccountRow,
    AdmissionRow,
    AuditRow,
    Base,
    CartEventRow,
    ChargeRow,
    CouponRow,
    CouponUseRow,
    DecisionRow,
    DisputeRow,
    EntryKeyRow,
    EvidenceRow,
    GateCommandRow,
    HoldRow,
    IdempotentReplyRow,
    LayoutVersionRow,
    OutboxRow,
    PasskeyChallengeRow,
    PasskeyRow,
    PasswordRow,
    ReceiptDiscountRow,
    ReceiptLineRow,
    ReceiptRow,
    ReceivedWebhookRow,
    RefundRow,
    ReviewFlagRow,
    ScanRow,
    SessionRow,
    TokenRow,
    TransferRow,
    UsedCodeRow,
)

_T = TypeVar("_T")
_AT_ONCE = 500
_BATCH = 1000
_SOMEBODY = "somebody else"
_SECRET_COLUMNS = frozenset({"argon2_hash", "secret_sha256", "secret", "public_key", "challenge", "media"})
"""What proves who somebody is, and pictures; a picture is got where the evidence is looked at."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What became of an account that was to be forgotten.

    Attributes:
        account_id: Its id, which stays.
        erased_at: When it was erased, timezone-aware: the first time, however often that was asked for.
    """

    account_id: UUID
    erased_at: datetime


class Privacy:
    """Gives people what is kept of them, and forgets them. Safe to share between threads.

    Args:
        database: Where everything is kept.
        now: The time, timezone-aware.
    """

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._now = now

    def export(self, account_id: UUID, *, by: UUID | None = None) -> dict[str, Any]:
        """Everything kept of an account, as JSON (the right of access, GDPR articles 15 and 20).

        Secrets are left out: hashes, keys, and tokens are named by when they were made. So are pictures, of which the
        facts are given, and the ids of other people in them.

        Args:
            account_id: Whose.
            by: Who asks, written into the audit log unless it is the account itself; None for the store itself.

        Returns:
            One list of objects for each kind of record, ``account`` first; times as ISO 8601, money in minor units.

        Raises:
            AccountNotFound: There is no such account. An erased one still has its visits.
            NotAllowed: Who asks may not manage accounts of this role.
        """
        at = self._now()
        with self._database.transaction() as repository:
            row = repository.sql.get(AccountRow, account_id)
            if row is None:
                raise AccountNotFound(f"there is no account {account_id}")
            _check_right(repository, by, row)
            audit.looked(repository, by, account_id, "export", at)
            visits = _visits(repository, account_id)
            records = {
                name: [_record(row, account_id) for row in repository.sql.scalars(query)]
                for name, query in _records(account_id).items()
            }
            records["audit"] = [_record(row, account_id) for row in _audit_rows(repository, account_id, visits)]
            records["messages"] = [_record(row, account_id) for row in _messages(repository, account_id, visits)]
        return {"account_id": str(account_id), "exported_at": at.isoformat(), **records}

    def erase(self, account_id: UUID, at: datetime | None = None, *, by: UUID | None = None) -> Erasure:
        """Forget a person (the right to erasure, GDPR article 17); doing so again changes nothing.

        Gone are the e-mail address, the name, how they pay, the password, passkeys, tokens and entry keys, evidence,
        what they wrote in questions about receipts, and letters to them. Visits, receipts and payments stay, under an
        id that nothing ties to anybody any more.

        Args:
            account_id: Whose.
            at: When, timezone-aware; now, if it is not said.
            by: Who asks; None for the store itself.

        Raises:
            AccountNotFound: There is no such account.
            ErasureRefused: A visit is open, money is pending, a question is open, or something is owed.
            NotAllowed: Who asks may not manage accounts of this role, or it is the store's last owner.
        """
        at = self._now() if at is None else at
        check_aware("at", at)
        with self._database.transaction() as repository:
            known = repository.sql.get(AccountRow, account_id)
            if known is None:
                raise AccountNotFound(f"there is no account {account_id}")
            _check_right(repository, by, known)
            if known.role == Role.OWNER and known.status == AccountStatus.ACTIVE:
                check_not_last_owner(repository, account_id)
            # Whoever lets somebody in holds the same row, so no visit begins behind our back. It is read anew: it may
            # have been erased while we waited for it.
            row = repository.sql.get(AccountRow, account_id, with_for_update=True, populate_existing=True)
            if row is None:
                raise AccountNotFound(f"there is no account {account_id}")
            if row.erased_at is not None:
                return Erasure(account_id, row.erased_at)
            visits = _visits(repository, account_id)
            _check_settled(repository, account_id, visits)
            _forget_letters(repository, account_id, visits, row.email, at)
            for table in (PasswordRow, PasskeyRow, PasskeyChallengeRow, TokenRow, EntryKeyRow):
                repository.sql.execute(delete(table).where(table.account_id == account_id))
            repository.sql.execute(delete(EvidenceRow).where(EvidenceRow.session_id.in_(_sessions(account_id))))
            repository.sql.execute(update(DisputeRow).where(DisputeRow.account_id == account_id).values(message=""))
            row.email, row.name, row.payment_method = None, "", None
            row.status, row.erased_at = AccountStatus.ERASED.value, at
            audit.record(repository, by, "account.erased", audit.account_subject(account_id), {}, at)
        return Erasure(account_id, at)


@dataclass(frozen=True, slots=True)
class Periods:
    """How long what is needed for a while is kept.

    What has an end of its own, challenges and evidence, goes when that has come.

    Attributes:
        used_codes: Entry codes that were shown. They are refused as too old after a minute anyway.
        tokens: Tokens that expired or were revoked, so that their owner can see what there was.
        idempotent_replies: Answers under an ``Idempotency-Key``.
        received_webhooks: Names of the payment provider's messages; older ones are refused for their age.
    """

    used_codes: timedelta = timedelta(days=1)
    tokens: timedelta = timedelta(days=30)
    idempotent_replies: timedelta = timedelta(days=1)
    received_webhooks: timedelta = timedelta(days=30)

    def __post_init__(self) -> None:
        if min(self.used_codes, self.idempotent_replies, self.received_webhooks) < timedelta(hours=1):
            raise ValueError(f"Periods: expected at least an hour, got {self}")
        if self.tokens < timedelta(0):
            raise ValueError(f"Periods.tokens: expected 0 or more, got {self.tokens}")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The periods that a store's settings say."""
        return cls(
            used_codes=timedelta(hours=settings.keep_used_codes_hours),
            tokens=timedelta(days=settings.keep_tokens_days),
            idempotent_replies=timedelta(hours=settings.keep_replies_hours),
            received_webhooks=timedelta(days=settings.keep_received_webhooks_days),
        )


@dataclass(frozen=True, slots=True)
class Swept:
    """How many records were forgotten, of each kind."""

    used_codes: int
    challenges: int
    tokens: int
    idempotent_replies: int
    evidence: int
    received_webhooks: int

    @property
    def total(self) -> int:
        """All of them together."""
        return (
            self.used_codes
            + self.challenges
            + self.tokens
            + self.idempotent_replies
            + self.evidence
            + self.received_webhooks
        )


class Retention:
    """Forgets what is not needed any more; call it once in a while, such as every hour.

    Args:
        database: Where everything is kept.
        periods: How long what is kept.
    """

    def __init__(self, database: Database, periods: Periods | None = None) -> None:
        self._database = database
        self._periods = periods or Periods()

    def sweep(self, at: datetime) -> Swept:
        """Forget everything whose time is over, a thousand records at a time: nobody waits long for the database.

        Args:
            at: Now, timezone-aware.
        """
        check_aware("at", at)
        periods = self._periods
        ended_before = at - periods.tokens
        return Swept(
            used_codes=self._forget(UsedCodeRow, UsedCodeRow.used_at <= at - periods.used_codes),
            challenges=self._forget(PasskeyChallengeRow, PasskeyChallengeRow.expires_at <= at),
            tokens=self._forget(
                TokenRow, or_(TokenRow.expires_at <= ended_before, TokenRow.revoked_at <= ended_before)
            ),
            idempotent_replies=self._forget(
                IdempotentReplyRow, IdempotentReplyRow.created_at <= at - periods.idempotent_replies
            ),
            evidence=self._forget(EvidenceRow, EvidenceRow.expires_at <= at),
            received_webhooks=self._forget(
                ReceivedWebhookRow, ReceivedWebhookRow.received_at <= at - periods.received_webhooks
            ),
        )

    def _forget(self, table: type[Base], condition: ColumnElement[bool]) -> int:
        keys = list(table.__table__.primary_key)
        forgotten = 0
        while True:
            with self._database.transaction() as repository:
                found = repository.sql.execute(select(*keys).where(condition).limit(_BATCH)).all()
                if found:
                    chosen = (
                        keys[0].in_([name[0] for name in found])
                        if len(keys) == 1
                        else tuple_(*keys).in_([tuple(name) for name in found])
                    )
                    repository.sql.execute(delete(table).where(chosen))
            forgotten += len(found)
            if len(found) < _BATCH:
                return forgotten


NOT_ABOUT_ANYBODY = frozenset(
    {
        "counters",
        "idempotent_replies",  # copies of answers, of things that are in the other tables, kept for a day
        "offers",
        "passkey_challenges",  # random numbers, for five minutes
        "passwords",
        "prices",
        "product_pictures",
        "products",
        "received_webhooks",
        "used_codes",  # digests, which name nobody
        "webhook_endpoints",
    }
)
"""Tables from which an export has nothing to give."""


def _check_right(repository: Repository, by: UUID | None, row: AccountRow) -> None:
    """Refuse others' records to who may not manage accounts of that role, whatever let them get so far."""
    if by in (None, row.account_id):
        return
    actor = repository.sql.get(AccountRow, by)
    if actor is None or not may_manage(Role(actor.role), Role(row.role)):
        raise NotAllowed(f"whoever asks may not have, or erase, the records of a {row.role}")


def _sessions(account_id: UUID) -> Select[UUID]:
    """Ids of an account's visits."""
    return select(SessionRow.session_id).where(
        or_(
            SessionRow.shopper_id.in_(_names(account_id)),
            SessionRow.session_id.in_(select(AdmissionRow.session_id).where(AdmissionRow.account_id == account_id)),
        )
    )


def _names(account_id: UUID) -> tuple[str, ...]:
    """What an account is called in a visit."""
    return str(account_id), f"{STAFF_PREFIX}{account_id}"


def _visits(repository: Repository, account_id: UUID) -> tuple[UUID, ...]:
    return tuple(repository.sql.scalars(_sessions(account_id)))


def _records(account_id: UUID) -> Mapping[str, Select[Any]]:
    """What to read for each part of an export."""
    visits = _sessions(account_id)
    ledger = shopper_account(str(account_id))

    def of_account(column: InstrumentedAttribute[Any], *order: InstrumentedAttribute[Any]) -> Select[Any]:
        return select(column.class_).where(column == account_id).order_by(*order)

    def of_visits(column: InstrumentedAttribute[Any], *order: InstrumentedAttribute[Any]) -> Select[Any]:
        return select(column.class_).where(column.in_(visits)).order_by(*order)

    return {
        "account": of_account(AccountRow.account_id, AccountRow.account_id),
        "tokens": of_account(TokenRow.account_id, TokenRow.created_at, TokenRow.token_id),
        "passkeys": of_account(PasskeyRow.account_id, PasskeyRow.created_at, PasskeyRow.credential_id),
        "entry_keys": of_account(EntryKeyRow.account_id, EntryKeyRow.created_at, EntryKeyRow.key_id),
        "sessions": of_visits(SessionRow.session_id, SessionRow.opened_at, SessionRow.session_id),
        "admissions": of_account(AdmissionRow.account_id, AdmissionRow.admitted_at, AdmissionRow.session_id),
        "scans": of_account(ScanRow.account_id, ScanRow.position),
        "gate_commands": of_visits(GateCommandRow.session_id, GateCommandRow.issued_at, GateCommandRow.grant_id),
        "cart_events": of_visits(CartEventRow.session_id, CartEventRow.occurred_at, CartEventRow.event_id),
        "review_flags": of_visits(ReviewFlagRow.session_id, ReviewFlagRow.raised_at, ReviewFlagRow.flag_id),
        "evidence": of_visits(EvidenceRow.session_id, EvidenceRow.captured_at, EvidenceRow.evidence_id),
        "decisions": of_visits(DecisionRow.session_id, DecisionRow.decided_at, DecisionRow.decision_id),
        "disputes": of_account(DisputeRow.account_id, DisputeRow.opened_at, DisputeRow.dispute_id),
        "receipts": of_visits(ReceiptRow.session_id, ReceiptRow.issued_at, ReceiptRow.session_id, ReceiptRow.sequence),
        "receipt_lines": of_visits(
            ReceiptLineRow.session_id, ReceiptLineRow.session_id, ReceiptLineRow.sequence, ReceiptLineRow.position
        ),
        "receipt_discounts": of_visits(
            ReceiptDiscountRow.session_id,
            ReceiptDiscountRow.session_id,
            ReceiptDiscountRow.sequence,
            ReceiptDiscountRow.position,
        ),
        "holds": of_visits(HoldRow.session_id, HoldRow.created_at, HoldRow.hold_id),
        "charges": of_visits(ChargeRow.session_id, ChargeRow.created_at, ChargeRow.charge_id),
        "refunds": of_visits(RefundRow.session_id, RefundRow.created_at, RefundRow.refund_id),
        "transfers": select(TransferRow)
        .where(or_(TransferRow.debit_account_id == ledger, TransferRow.credit_account_id == ledger))
        .order_by(TransferRow.position),
        "layout_versions": of_account(LayoutVersionRow.author_id, LayoutVersionRow.version),
        "coupons": of_account(CouponRow.account_id, CouponRow.code),
        "coupon_uses": of_visits(CouponUseRow.session_id, CouponUseRow.used_at, CouponUseRow.code),
    }


def _record(row: Base, account_id: UUID) -> dict[str, Any]:
    """One row as JSON, without what is secret and without other people."""
    members = {}
    for column in row.__table__.columns:
        value = getattr(row, column.key)
        if column.key not in _SECRET_COLUMNS:
            members[column.key] = str(value) if isinstance(value, UUID) else value
            if isinstance(value, datetime):
                members[column.key] = value.isoformat()
    if isinstance(row, EvidenceRow):
        members["facts"] = _without_others(row.facts, _names(account_id))
        members["media_bytes"] = len(row.media or b"")
    return members


def _without_others(facts: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """What is known of an interaction, with nobody else's id in it."""
    candidates = [
        {**each, "shopper": each["shopper"] if each["shopper"] in names else _SOMEBODY}
        for each in facts.get("candidates", ())
    ]
    return {**facts, **({"candidates": candidates} if candidates else {})}


def _parts(values: Iterable[_T]) -> Iterable[list[_T]]:
    """Values in lists short enough for one statement."""
    several = list(values)
    return (several[i : i + _AT_ONCE] for i in range(0, len(several), _AT_ONCE))


def _audit_rows(repository: Repository, account_id: UUID, visits: Iterable[UUID]) -> list[AuditRow]:
    """Entries about an account and its visits, and about what it did."""
    disputes = repository.sql.scalars(select(DisputeRow.dispute_id).where(DisputeRow.account_id == account_id))
    subjects = [
        audit.account_subject(account_id),
        *(f"session:{session_id}" for session_id in visits),
        *(f"dispute:{dispute_id}" for dispute_id in disputes),
    ]
    found = list(repository.sql.scalars(select(AuditRow).where(AuditRow.actor_id == account_id)))
    for some in _parts(subjects):
        found += repository.sql.scalars(select(AuditRow).where(AuditRow.subject.in_(some)))
    return sorted({row.position: row for row in found}.values(), key=lambda row: row.position)


def _messages(repository: Repository, account_id: UUID, visits: Iterable[UUID]) -> list[OutboxRow]:
    """Effects that are about an account or its visits."""
    payload = OutboxRow.payload
    names = _names(account_id)
    query = select(OutboxRow)
    found = list(
        repository.sql.scalars(
            query.where(or_(payload["shopper_id"].as_string().in_(names), payload["account_id"].as_string().in_(names)))
        )
    )
    for some in _parts(map(str, visits)):
        found += repository.sql.scalars(query.where(payload["session_id"].as_string().in_(some)))
    return sorted({row.message_id: row for row in found}.values(), key=lambda row: (row.created_at, row.message_id))


def _check_settled(repository: Repository, account_id: UUID, visits: tuple[UUID, ...]) -> None:
    """Refuse while anything is going on that needs to know who somebody is.

    Raises:
        ErasureRefused: A visit is open, money is pending, a question is open, or something is owed.
    """
    sql = repository.sql
    sessions = _sessions(account_id)
    going_on: tuple[tuple[str, Select[Any]], ...] = (
        (
            "a visit is open",
            select(SessionRow.session_id).where(
                SessionRow.session_id.in_(sessions), SessionRow.status == SessionStatus.OPEN.value
            ),
        ),
        (
            "money is pending: a visit is not settled",
            select(SessionRow.session_id).where(
                SessionRow.session_id.in_(sessions),
                SessionRow.status.in_((SessionStatus.CLOSED.value, SessionStatus.NEEDS_REVIEW.value)),
            ),
        ),
        (
            "money is pending: a hold is not let go",
            select(HoldRow.hold_id).where(
                HoldRow.session_id.in_(sessions),
                HoldRow.status.in_((HoldStatus.PENDING.value, HoldStatus.HELD.value, HoldStatus.RELEASING.value)),
            ),
        ),
        (
            "money is pending: a charge",
            select(ChargeRow.charge_id).where(
                ChargeRow.session_id.in_(sessions), ChargeRow.status == ChargeStatus.PENDING.value
            ),
        ),
        (
            "money is pending: a refund",
            select(RefundRow.refund_id).where(
                RefundRow.session_id.in_(sessions), RefundRow.status == RefundStatus.PENDING.value
            ),
        ),
        (
            "a question about a receipt is open",
            select(DisputeRow.dispute_id).where(
                DisputeRow.account_id == account_id, DisputeRow.status != DisputeStatus.SETTLED.value
            ),
        ),
    )
    for reason, query in going_on:
        if sql.scalars(query.limit(1)).first() is not None:
            raise ErasureRefused(f"the account cannot be erased yet: {reason}")
    if _has_waiting_money(repository, account_id, visits):
        raise ErasureRefused("the account cannot be erased yet: money is pending: a correction is not carried out")
    for currency, balance_minor in _balances(repository, account_id):
        if balance_minor > 0:
            raise ErasureRefused(f"the account cannot be erased yet: {balance_minor} (minor units) {currency} are owed")
        if balance_minor < 0:
            raise ErasureRefused("the account cannot be erased yet: money is pending: the store owes some of it")


def _has_waiting_money(repository: Repository, account_id: UUID, visits: tuple[UUID, ...]) -> bool:
    """Whether the outbox still has a decision, or another effect on money, of these visits."""
    waits = (
        OutboxRow.status == MessageStatus.WAITING.value,
        OutboxRow.kind.in_([effect.value for effect in sorted(MONEY)]),
    )
    decisions = repository.sql.scalars(
        select(DecisionRow.decision_id).where(DecisionRow.session_id.in_(_sessions(account_id)))
    )
    for member, ids in (("decision_id", tuple(decisions)), ("session_id", visits)):
        for some in _parts(map(str, ids)):
            query = select(OutboxRow.message_id).where(*waits, OutboxRow.payload[member].as_string().in_(some))
            if repository.sql.scalars(query.limit(1)).first() is not None:
                return True
    return False


def _balances(repository: Repository, account_id: UUID) -> Iterable[tuple[str, int]]:
    """What an account owes the store in each currency, minor units; below zero what the store owes it."""
    account = shopper_account(str(account_id))
    sign = case((TransferRow.debit_account_id == account, 1), else_=-1)
    rows = repository.sql.execute(
        select(TransferRow.currency, func.sum(sign * TransferRow.amount_minor))
        .where(
            or_(TransferRow.debit_account_id == account, TransferRow.credit_account_id == account),
            TransferRow.phase.in_((TransferPhase.IMMEDIATE.value, TransferPhase.POST.value)),
        )
        .group_by(TransferRow.currency)
        .order_by(TransferRow.currency)
    )
    return [(currency, int(balance_minor)) for currency, balance_minor in rows]


def _forget_letters(
    repository: Repository, account_id: UUID, visits: tuple[UUID, ...], email: str | None, at: datetime
) -> None:
    """Empty what was written to somebody, and the answers that they got.

    A message keeps its row and key, so that no effect happens twice. The e-mail address is looked for in all of them,
    wherever it stands; that reads the whole outbox, which is no matter for something so rare.
    """
    letters = [row for row in _messages(repository, account_id, visits) if row.kind == Effect.MAIL]
    if email is not None:
        # As JSON has it, which is how a database keeps it.
        text = json.dumps(email)[1:-1]
        letters += repository.sql.scalars(
            select(OutboxRow).where(
                or_(
                    cast(OutboxRow.payload, String).contains(text, autoescape=True),
                    # A mail server's complaint may repeat it.
                    func.lower(OutboxRow.last_error).contains(email, autoescape=True),
                )
            )
        )
    for row in letters:
        row.payload, row.last_error = {}, None
        if row.status == MessageStatus.WAITING:
            row.status, row.finished_at, row.last_error = MessageStatus.FAILED.value, at, "the account was erased"
    repository.sql.flush()
    # One without a status is a request under way, such as the one that asks for this.
    own = IdempotentReplyRow.caller.contains(str(account_id)) & IdempotentReplyRow.status_code.is_not(None)
    repository.sql.execute(delete(IdempotentReplyRow).where(own))
    if email is not None:
        needles = {email.encode(), json.dumps(email)[1:-1].encode()}
        replies = select(IdempotentReplyRow).where(IdempotentReplyRow.body.is_not(None))
        for reply in repository.sql.scalars(replies.execution_options(yield_per=_AT_ONCE)):
            if any(needle in (reply.body or b"") for needle in needles):
                repository.sql.delete(reply)
        repository.sql.flush()
