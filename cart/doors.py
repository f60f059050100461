"""Who comes in: a gate's scan of an entry code becomes a decision, a visit with money held, and an order to the gate.

Entry fails closed: whatever is not known to be in order keeps the gate shut, and the reason is written down. A code
admits once, however many gates read it at the same moment, because the name under which it is remembered is a primary
key. A visit, its admission and the used code are written in one transaction; then the money is held, without a
transaction; then the order to the gate is written with the scan. What a crash leaves between these is found by
``Doorman.tidy``, which lets such a visit go.
"""

import logging
import secrets
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID, uuid4

from sqlalchemy import exists, func, select, update
from sqlalchemy.exc import IntegrityError

from cart import entry_codes, outbox, qr
from cart.accounts import AccountStatus, Role
from cart.entry_codes import CodeRefusal, CodeRefusedError, EntryCode, EntryKey, ReadCode
from cart.errors import (
    AccountBlocked,
    AccountNotFound,
    GrantNotFound,
    GuestsRefused,
    PaymentDeclined,
    PaymentUnknown,
    SessionAlreadyClosed,
    SessionNotFound,
    StoreError,
    VisitUnderWay,
)
from cart.events import check_aware
from cart.gates import GateCommand, check_gate_id
from cart.outbox import Effect, GivenUpError, Handler, Message
from cart.repository import Database, Repository
from cart.sessions import Session, SessionStatus
from cart.tables import (
    AccountRow,
    AdmissionRow,
    CartEventRow,
    EntryKeyRow,
    GateCommandRow,
    ScanRow,
    SessionRow,
    UsedCodeRow,
)

_log = logging.getLogger(__name__)

STAFF_PREFIX = "staff:"
"""A visitor whose name begins so works here and pays for nothing; ``cart.pipeline`` knows the same word."""
STAFF_ROLES = frozenset({Role.STAFF, Role.MANAGER, Role.OWNER})
PAYING_ROLES = frozenset({Role.SHOPPER, Role.REVIEWER, Role.ENGINEER, Role.VIEWER})
MAX_GUESTS = 20
MAX_KEYS = 10
"""Keys an account has at a time, one a phone; the oldest goes when another comes."""

_FEW = 500
# Asking the gateway for a hold takes no longer, with all its tries; a visit without an order to a gate by then was
# cut off.
_LONGEST_HOLD = timedelta(seconds=60)


class Decision(StrEnum):
    """What a gate is told."""

    OPEN = "open"
    REFUSE = "refuse"


class ScanReason(StrEnum):
    """Why a gate is told so. The first three open it."""

    WELCOME = "welcome"
    GUEST = "guest"
    STAFF = "staff"

    MALFORMED = "malformed"
    OTHER_STORE = "other_store"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    REVOKED = "revoked"
    EXPIRED = "expired"
    TOO_EARLY = "too_early"
    ALREADY_USED = "already_used"
    NO_CODE = "no_code"
    SEVERAL_CODES = "several_codes"
    BAD_PICTURE = "bad_picture"
    STORE_CLOSED = "store_closed"
    ACCOUNT_BLOCKED = "account_blocked"
    NO_PAYMENT_METHOD = "no_payment_method"
    DEBT = "debt"
    ALREADY_INSIDE = "already_inside"
    PAYMENT_DECLINED = "payment_declined"
    PAYMENT_UNAVAILABLE = "payment_unavailable"
    PAYER_LEFT = "payer_left"
    """The visit that a guest was to join ended at this very moment; the next code begins a new one."""
    FAILED = "failed"
    """Something went wrong that should not; the log says what."""


OPENING = frozenset({ScanReason.WELCOME, ScanReason.GUEST, ScanReason.STAFF})
_BY_HAND = "by_hand"


@dataclass(frozen=True, slots=True)
class ScanDecision:
    """What comes of a scan.

    Attributes:
        scan_id: Identity of the scan, as it is written down.
        decision: Open or refuse.
        reason: Why.
        session_id: The visit that the code opens or joins; None if it is refused.
        grant_id: The order to the gate; it opens once for it. None if it is refused.
        expires_at: From then on the gate does not open for the grant any more.
    """

    scan_id: UUID
    decision: Decision
    reason: ScanReason
    session_id: UUID | None = None
    grant_id: UUID | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """Somebody may pass a gate: what the part of the store that sees people is told.

    Attributes:
        session_id: The visit.
        shopper_id: The visit's shopper.
        gate_id: Which gate.
        grant_id: The order to it.
        reason: ``welcome``, ``guest`` or ``staff``.
        at: When, timezone-aware.
    """

    session_id: UUID
    shopper_id: str
    gate_id: str
    grant_id: UUID
    reason: ScanReason
    at: datetime


class Till(Protocol):
    """What the door asks of ``cart.checkout.Checkout``."""

    @property
    def hold_minor(self) -> int | None:
        """What is held, minor unit; None in a shop that holds nothing."""
        ...

    def hold(self, session_id: UUID, at: datetime) -> object:
        """Hold money for a visit, once, or raise ``PaymentDeclined`` or ``PaymentUnknown`` and let the visit go."""
        ...

    def join(self, session_id: UUID, at: datetime) -> Session:
        """One more person shops on an open visit."""
        ...

    def abandon(self, session_id: UUID, at: datetime) -> None:
        """Let a visit go that never began, and its hold."""
        ...

    def debt_of(self, shopper_id: str) -> int:
        """What a shopper owes, minor units."""
        ...


def always_open(at: datetime) -> bool:
    """The store never closes."""
    return True


class _CodeTakenError(Exception):
    """Another gate was faster with the same code."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    reason: ScanReason
    account_id: UUID | None = None
    session_id: UUID | None = None
    shopper_id: str = ""


class Doorman:
    """Decides who comes in. Safe to share between threads, and between processes that share the database.

    Args:
        database: Where everything is kept.
        checkout: Who holds the money.
        store_id: This store, as phones know it.
        now: The store's clock, timezone-aware.
        new_id: Makes ids.
        random_bytes: Gives so many unpredictable bytes, for keys.
        publish: Sends an order to its gate and returns once it has arrived, or raises; None where gates ask for
            their orders. It is called after an order was written down; what fails is left to the sweeper.
        on_admitted: Told of everybody who may come in, before the gate is.
        is_open: Whether shoppers may come in at a time; staff may always.
        command_life_s: How long a gate may carry out an order, seconds.
        no_show_after_s: A grant that no gate has answered so long after its end counts as never used, seconds.
    """

    def __init__(
        self,
        database: Database,
        checkout: Till,
        store_id: str,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID] = uuid4,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        publish: Callable[[GateCommand], None] | None = None,
        on_admitted: Callable[[Admitted], None] | None = None,
        is_open: Callable[[datetime], bool] = always_open,
        command_life_s: float = 10.0,
        no_show_after_s: float = 120.0,
    ) -> None:
        entry_codes.store_tag(store_id)
        if not 1 <= command_life_s <= 60 or no_show_after_s < 0:
            raise ValueError(
                f"Doorman: expected a command's life of 1 to 60 s and a wait of 0 s at least,"
                f" got {command_life_s} and {no_show_after_s}"
            )
        self.store_id = store_id
        self._database = database
        self._checkout = checkout
        self._now = now
        self._new_id = new_id
        self._random_bytes = random_bytes
        self._publish = publish
        self._on_admitted = on_admitted
        self._is_open = is_open
        self._life = timedelta(seconds=command_life_s)
        self._no_show_after = timedelta(seconds=no_show_after_s)

    def publish_with(self, publish: Callable[[GateCommand], None]) -> None:
        """Send orders to gates this way from now on, such as by a link that was itself made for this doorman."""
        self._publish = publish

    # Keys and codes.

    def issue_key(self, account_id: UUID) -> EntryKey:
        """Make a key for a phone of this account, which it keeps; an account's eleventh key replaces its oldest.

        Raises:
            AccountNotFound: There is no such account of a person.
            AccountBlocked: It is blocked.
        """
        at = self._now()
        key = entry_codes.new_key(account_id, at, self._random_bytes)
        with self._database.transaction() as repository:
            self._living_account(repository, account_id)
            kept = self._good_keys(repository, account_id)
            for old in kept[MAX_KEYS - 1 :]:
                old.revoked_at = at
            repository.sql.add(
                EntryKeyRow(key_id=key.key_id, account_id=account_id, secret=key.secret, created_at=at, revoked_at=None)
            )
        return key

    def keys(self, account_id: UUID) -> tuple[EntryKey, ...]:
        """The account's keys that are good, newest first."""
        with self._database.reading() as repository:
            return tuple(_key(row) for row in self._good_keys(repository, account_id))

    def revoke_key(self, account_id: UUID, key_id: str) -> bool:
        """Make a key worthless, as of a phone that was lost.

        Returns:
            Whether the account has such a key; one revoked before stays so.
        """
        with self._database.transaction() as repository:
            row = repository.sql.get(EntryKeyRow, key_id)
            if row is None or row.account_id != account_id:
                return False
            row.revoked_at = row.revoked_at or self._now()
            return True

    def entry_code(self, account_id: UUID, counter: int | None = None) -> EntryCode:
        """Make a code here, for a phone that holds no key.

        Args:
            account_id: Who pays.
            counter: 0 to 255, to have several codes for guests at once; None for the last that was not shown yet:
                phones that hold a key begin with the first, and neither is to spend a code that the other shows.

        Raises:
            AccountNotFound: There is no such account of a person.
            AccountBlocked: It is blocked.
        """
        at = self._now()
        with self._database.reading() as repository:
            self._living_account(repository, account_id)
            rows = self._good_keys(repository, account_id)
            key = _key(rows[0]) if rows else None
        if key is None:
            key = self.issue_key(account_id)
        if counter is not None:
            return entry_codes.make_entry_code(key, self.store_id, at, counter)
        for counter in reversed(range(entry_codes.MAX_COUNTER + 1)):
            made = entry_codes.make_entry_code(key, self.store_id, at, counter)
            with self._database.reading() as repository:
                if repository.sql.get(UsedCodeRow, entry_codes.fingerprint(made.code)) is None:
                    break
        return made

    def _living_account(self, repository: Repository, account_id: UUID) -> AccountRow:
        row = repository.sql.get(AccountRow, account_id)
        if row is None or row.status == AccountStatus.ERASED or row.role == Role.DEVICE:
            raise AccountNotFound(f"there is no account {account_id} of a person")
        if row.status != AccountStatus.ACTIVE:
            raise AccountBlocked("this account is blocked")
        return row

    def _good_keys(self, repository: Repository, account_id: UUID) -> list[EntryKeyRow]:
        rows = repository.sql.scalars(
            select(EntryKeyRow)
            .where(EntryKeyRow.account_id == account_id, EntryKeyRow.revoked_at.is_(None))
            .order_by(EntryKeyRow.created_at.desc(), EntryKeyRow.key_id)
        )
        return list(rows)

    # Scans.

    def scan(self, gate_id: str, code: str, at: datetime | None = None) -> ScanDecision:
        """Decide on a code that was shown at a gate.

        Args:
            gate_id: Which gate.
            code: What was shown.
            at: When, by the store's clock; now if None.

        Raises:
            ValueError: The gate's name is none, or the time has no timezone. Nothing else: what goes wrong refuses.
        """
        check_gate_id(gate_id)
        clock = self._now if at is None else lambda: at
        return self._decided(gate_id, clock, lambda moment: self._verdict(gate_id, code, moment))

    def scan_picture(self, gate_id: str, picture: bytes, at: datetime | None = None) -> ScanDecision:
        """Decide on the QR code in a picture of a gate's camera, JPEG or PNG; see ``cart.qr.read_codes``.

        A QR code that is no entry code, such as one on a poster, is not taken into account beside one that is.

        Args:
            gate_id: Which gate.
            picture: The file's content.
            at: When, by the store's clock; now if None.

        Raises:
            ValueError: The gate's name is none, or the time has no timezone.
        """
        check_gate_id(gate_id)
        clock = self._now if at is None else lambda: at
        return self._decided(gate_id, clock, lambda moment: self._verdict_on_picture(gate_id, picture, moment))

    def _verdict_on_picture(self, gate_id: str, picture: bytes, at: datetime) -> _Verdict:
        try:
            texts = qr.read_codes(picture)
        except ValueError as error:
            _log.info("gate %s: %s", gate_id, error)
            return _Verdict(ScanReason.BAD_PICTURE)
        texts = tuple(text for text in texts if text.startswith(entry_codes.PREFIX)) or texts
        if len(texts) != 1:
            return _Verdict(ScanReason.SEVERAL_CODES if texts else ScanReason.NO_CODE)
        return self._verdict(gate_id, texts[0], at)

    def _decided(
        self, gate_id: str, clock: Callable[[], datetime], judge: Callable[[datetime], _Verdict]
    ) -> ScanDecision:
        """Judge, write the scan down, have the gate open; anything unexpected refuses."""
        at = clock()
        check_aware("at", at)
        scan_id = self._new_id()
        verdict: _Verdict | None = None
        try:
            verdict = judge(at)
            if verdict.reason in OPENING:
                # The order's life begins when the money is held, which may have taken a while.
                return self._let_in(scan_id, gate_id, clock(), verdict)
            self._write_refusal(scan_id, gate_id, at, verdict)
        except Exception as error:
            # Messages of database errors hold the statement's values, which are shoppers'.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("gate %s: a scan failed and is refused: %s\n%s", gate_id, type(error).__name__, where)
            if verdict is not None and verdict.reason in OPENING and verdict.session_id is not None:
                self._try_to_undo(verdict.session_id, verdict.reason, at)
            if verdict is None or verdict.reason in OPENING:
                verdict = replace(verdict or _Verdict(ScanReason.FAILED), reason=ScanReason.FAILED, session_id=None)
                self._try_to_write_refusal(scan_id, gate_id, at, verdict)
        return ScanDecision(scan_id, Decision.REFUSE, verdict.reason)

    def _verdict(self, gate_id: str, code: str, at: datetime) -> _Verdict:
        account_id: UUID | None = None
        try:
            read = entry_codes.read_code(code)
            with self._database.reading() as repository:
                row = repository.sql.get(EntryKeyRow, read.key_id)
                key = None if row is None else _key(row)
                account = None if key is None else repository.sql.get(AccountRow, key.account_id)
                pays = account is not None and account.role in PAYING_ROLES
                used = repository.sql.get(UsedCodeRow, entry_codes.fingerprint(code)) is not None
            if key is not None:
                account_id = key.account_id
            entry_codes.check_code(code, key, self.store_id, at)
        except CodeRefusedError as error:
            known = account_id if error.key_id is not None else None
            return _Verdict(ScanReason(error.refusal.value), known)
        if account_id is None:
            return _Verdict(ScanReason.UNKNOWN_KEY)
        if used:
            return _Verdict(ScanReason.ALREADY_USED, account_id)
        owes = pays and self._checkout.debt_of(str(account_id)) > 0
        try:
            with self._database.transaction() as repository:
                verdict = self._admit(repository, gate_id, code, read, account_id, owes, at)
        except _CodeTakenError:
            return _Verdict(ScanReason.ALREADY_USED, account_id)
        if verdict.session_id is None:
            return verdict
        if verdict.reason is ScanReason.WELCOME:
            return self._held(verdict, at)
        if verdict.reason is ScanReason.GUEST:
            try:
                self._checkout.join(verdict.session_id, at)
            except (SessionAlreadyClosed, SessionNotFound):
                return _Verdict(ScanReason.PAYER_LEFT, account_id)
        return verdict

    def _admit(
        self,
        repository: Repository,
        gate_id: str,
        code: str,
        read: ReadCode,
        account_id: UUID,
        owes: bool,
        at: datetime,
    ) -> _Verdict:
        """Use the code up and begin or join a visit, in one transaction."""
        sql = repository.sql
        # Two codes of one account at two gates take turns here; SQLite has one writer anyway.
        account = sql.scalars(select(AccountRow).where(AccountRow.account_id == account_id).with_for_update()).one()
        fingerprint = entry_codes.fingerprint(code)
        if sql.get(UsedCodeRow, fingerprint) is not None:
            raise _CodeTakenError
        sql.add(UsedCodeRow(code_sha256=fingerprint, gate_id=gate_id, used_at=at))
        try:
            sql.flush()
        except IntegrityError:
            raise _CodeTakenError from None
        # Since it was read, the key may have been revoked.
        row = sql.get(EntryKeyRow, read.key_id, populate_existing=True)
        if row is None or row.revoked_at is not None:
            return _Verdict(ScanReason.REVOKED, account_id)
        is_staff = account.role in STAFF_ROLES
        if account.status != AccountStatus.ACTIVE or not (is_staff or account.role in PAYING_ROLES):
            return _Verdict(ScanReason.ACCOUNT_BLOCKED, account_id)
        shopper_id = f"{STAFF_PREFIX}{account_id}" if is_staff else str(account_id)
        inside = sql.scalars(
            select(SessionRow.session_id)
            .where(SessionRow.shopper_id == shopper_id, SessionRow.status == SessionStatus.OPEN.value)
            .order_by(SessionRow.opened_at.desc())
            .limit(1)
        ).first()
        if is_staff:
            # Staff go in and out all day, and nobody is charged if a way out was missed.
            session_id = inside or self._begin(repository, shopper_id, account_id, gate_id, at, has_account=False)
            return _Verdict(ScanReason.STAFF, account_id, session_id, shopper_id)
        if not self._is_open(at):
            return _Verdict(ScanReason.STORE_CLOSED, account_id)
        if inside is not None and self._never_came(repository, inside, at):
            # Its order was lost on the way to the gate, or never written. The visit waits for another.
            return _Verdict(ScanReason.WELCOME, account_id, inside, shopper_id)
        if inside is not None:
            joined = sql.execute(
                update(AdmissionRow)
                .where(AdmissionRow.session_id == inside, AdmissionRow.guests_allowed > 0)
                .values(guests_allowed=AdmissionRow.guests_allowed - 1)
                .returning(AdmissionRow.session_id)
            ).first()
            if joined is None:
                return _Verdict(ScanReason.ALREADY_INSIDE, account_id)
            return _Verdict(ScanReason.GUEST, account_id, inside, shopper_id)
        if account.payment_method is None:
            return _Verdict(ScanReason.NO_PAYMENT_METHOD, account_id)
        if owes:
            return _Verdict(ScanReason.DEBT, account_id)
        session_id = self._begin(repository, shopper_id, account_id, gate_id, at, has_account=True)
        return _Verdict(ScanReason.WELCOME, account_id, session_id, shopper_id)

    def _never_came(self, repository: Repository, session_id: UUID, at: datetime) -> bool:
        """Whether all orders to gates for a visit are over, no gate says that it opened, and nobody shops on it."""
        sql = repository.sql
        admission = sql.get(AdmissionRow, session_id)
        if admission is None:
            return False
        orders = sql.scalars(select(GateCommandRow).where(GateCommandRow.session_id == session_id)).all()
        if not orders and at < admission.admitted_at + _LONGEST_HOLD:
            return False
        if any(order.opened or (order.answered_at is None and at < order.expires_at) for order in orders):
            return False
        return not sql.scalar(select(exists().where(CartEventRow.session_id == session_id)))

    def _begin(
        self,
        repository: Repository,
        shopper_id: str,
        account_id: UUID,
        gate_id: str,
        at: datetime,
        *,
        has_account: bool,
    ) -> UUID:
        session = Session(self._new_id(), shopper_id, has_account, 1, SessionStatus.OPEN, at)
        repository.add_session(session)
        repository.sql.add(
            AdmissionRow(
                session_id=session.session_id,
                account_id=account_id,
                gate_id=gate_id,
                admitted_at=at,
                guests_allowed=0,
            )
        )
        repository.sql.flush()
        return session.session_id

    def _held(self, verdict: _Verdict, at: datetime) -> _Verdict:
        assert verdict.session_id is not None
        if self._checkout.hold_minor is None:
            return verdict
        try:
            self._checkout.hold(verdict.session_id, at)
        except PaymentDeclined:
            return _Verdict(ScanReason.PAYMENT_DECLINED, verdict.account_id)
        except PaymentUnknown:
            return _Verdict(ScanReason.PAYMENT_UNAVAILABLE, verdict.account_id)
        except Exception:
            self._let_go(verdict.session_id, at)
            raise
        return verdict

    def _let_in(self, scan_id: UUID, gate_id: str, at: datetime, verdict: _Verdict) -> ScanDecision:
        assert verdict.session_id is not None
        command = GateCommand(self._new_id(), gate_id, at, at + self._life)
        if self._on_admitted is not None:
            self._on_admitted(
                Admitted(verdict.session_id, verdict.shopper_id, gate_id, command.grant_id, verdict.reason, at)
            )
        with self._database.transaction() as repository:
            session = repository.session(verdict.session_id)
            if session.status is not SessionStatus.OPEN:
                raise SessionAlreadyClosed(f"visit {session.session_id} is {session.status}, expected an open one")
            self._order(repository, command, verdict.session_id, verdict.reason.value)
            _write_scan(repository, scan_id, at, gate_id, Decision.OPEN, verdict)
        self._send(command)
        return ScanDecision(
            scan_id, Decision.OPEN, verdict.reason, verdict.session_id, command.grant_id, command.expires_at
        )

    def _write_refusal(self, scan_id: UUID, gate_id: str, at: datetime, verdict: _Verdict) -> None:
        with self._database.transaction() as repository:
            _write_scan(repository, scan_id, at, gate_id, Decision.REFUSE, verdict)
            # A gate's camera reads the code that it has just taken once more; nobody wants to hear of that.
            if verdict.account_id is not None and verdict.reason is not ScanReason.ALREADY_USED:
                outbox.put(
                    repository,
                    Effect.WEBHOOK,
                    f"webhook:entry.refused:{scan_id}",
                    {
                        "type": "entry.refused",
                        "at": at.isoformat(),
                        "session_id": None,
                        "shopper_id": str(verdict.account_id),
                        "gate_id": gate_id,
                        "reason": verdict.reason.value,
                    },
                    at,
                )

    def _try_to_undo(self, session_id: UUID, reason: ScanReason, at: datetime) -> None:
        try:
            if reason is not ScanReason.STAFF:
                self._did_not_come(session_id, reason.value, at)
        except Exception as error:
            _log.error("visit %s is left to the next tidying: %s", session_id, type(error).__name__)

    def _try_to_write_refusal(self, scan_id: UUID, gate_id: str, at: datetime, verdict: _Verdict) -> None:
        try:
            self._write_refusal(scan_id, gate_id, at, verdict)
        except Exception as error:
            _log.error("gate %s: a refusal could not be written down: %s", gate_id, type(error).__name__)

    # Orders to gates.

    def open_by_hand(self, gate_id: str) -> GateCommand:
        """Have a gate open once without a code, as for a delivery; no visit begins.

        Raises:
            ValueError: The gate's name is none.
        """
        at = self._now()
        command = GateCommand(self._new_id(), gate_id, at, at + self._life)
        with self._database.transaction() as repository:
            self._order(repository, command, None, _BY_HAND)
        self._send(command)
        return command

    def commands_for(self, gate_id: str, at: datetime | None = None) -> tuple[GateCommand, ...]:
        """The orders to a gate that are good and not answered, oldest first: what a gate that asks is told."""
        moment = self._now() if at is None else at
        with self._database.reading() as repository:
            rows = repository.sql.scalars(
                select(GateCommandRow)
                .where(
                    GateCommandRow.gate_id == gate_id,
                    GateCommandRow.answered_at.is_(None),
                    GateCommandRow.issued_at >= moment - self._life,
                    GateCommandRow.expires_at > moment,
                )
                .order_by(GateCommandRow.issued_at, GateCommandRow.grant_id)
            )
            return tuple(GateCommand(row.grant_id, row.gate_id, row.issued_at, row.expires_at) for row in rows)

    def answer(self, grant_id: UUID, opened: bool, at: datetime | None = None, gate_id: str | None = None) -> None:
        """Note what a gate did about an order. The first answer counts; the same one again changes nothing.

        If it did not open, the shopper is not in: their visit is let go with its hold, a guest leaves the party.

        Args:
            grant_id: The order.
            opened: Whether the gate opened for it.
            at: When, timezone-aware; now if None.
            gate_id: Who says so; None if that was checked.

        Raises:
            GrantNotFound: There is no such order, or it was another gate's.
        """
        moment = self._now() if at is None else at
        with self._database.transaction() as repository:
            row = repository.sql.get(GateCommandRow, grant_id, with_for_update=True, populate_existing=True)
            if row is None or (gate_id is not None and row.gate_id != gate_id):
                raise GrantNotFound(f"there is no order {grant_id}" + (f" to gate {gate_id}" if gate_id else ""))
            if row.answered_at is not None:
                if row.opened != opened:
                    _log.warning("gate %s: a second, other answer to order %s", row.gate_id, grant_id)
                return
            row.answered_at, row.opened = moment, opened
            session_id, purpose = row.session_id, row.purpose
            outbox.finish(repository, _key_of(grant_id), moment)
        if not opened and session_id is not None:
            self._did_not_come(session_id, purpose, moment)

    def did_not_pass(self, grant_id: UUID, at: datetime | None = None, gate_id: str | None = None) -> None:
        """A gate opened and shut again without anybody passing: as if it had not opened.

        Raises:
            GrantNotFound: There is no such order, or it was another gate's.
        """
        moment = self._now() if at is None else at
        with self._database.transaction() as repository:
            row = repository.sql.get(GateCommandRow, grant_id, with_for_update=True, populate_existing=True)
            if row is None or (gate_id is not None and row.gate_id != gate_id):
                raise GrantNotFound(f"there is no order {grant_id}" + (f" to gate {gate_id}" if gate_id else ""))
            if row.answered_at is not None and row.opened is False:
                return
            row.answered_at, row.opened = moment, False
            session_id, purpose = row.session_id, row.purpose
            outbox.finish(repository, _key_of(grant_id), moment)
        if session_id is not None:
            self._did_not_come(session_id, purpose, moment)

    def handlers(self) -> dict[Effect, Handler]:
        """What the sweeper does with orders to gates: publish them, or leave them to gates that ask."""
        return {Effect.GATE: self._carry_out}

    def _carry_out(self, message: Message) -> None:
        grant_id = UUID(message.payload["grant_id"])
        with self._database.reading() as repository:
            row = repository.sql.get(GateCommandRow, grant_id)
            if row is None:
                raise GivenUpError(f"there is no order {grant_id}")
            command = GateCommand(row.grant_id, row.gate_id, row.issued_at, row.expires_at)
            answered = row.answered_at is not None
        if answered:
            return
        if self._now() >= command.expires_at:
            raise GivenUpError(f"order {grant_id} is stale")
        if self._publish is not None:
            self._publish(command)

    def _order(self, repository: Repository, command: GateCommand, session_id: UUID | None, purpose: str) -> None:
        repository.sql.add(
            GateCommandRow(
                grant_id=command.grant_id,
                gate_id=command.gate_id,
                session_id=session_id,
                purpose=purpose,
                issued_at=command.issued_at,
                expires_at=command.expires_at,
                answered_at=None,
                opened=None,
            )
        )
        repository.sql.flush()
        # It is sent right after the commit; the sweeper takes it up only if that fails.
        due_at = command.issued_at + timedelta(seconds=1)
        payload = {"grant_id": str(command.grant_id), "gate_id": command.gate_id}
        outbox.put(repository, Effect.GATE, _key_of(command.grant_id), payload, command.issued_at, due_at)

    def _send(self, command: GateCommand) -> None:
        """Publish an order at once, if somebody publishes; the sweeper does what fails here."""
        if self._publish is None:
            return
        try:
            self._publish(command)
            with self._database.transaction() as repository:
                outbox.finish(repository, _key_of(command.grant_id), self._now())
        except Exception as error:
            _log.warning("gate %s: order %s is left to the sweeper: %s", command.gate_id, command.grant_id, error)

    # Groups, and those who never came.

    def set_guests(self, session_id: UUID, guests_allowed: int) -> None:
        """Say how many more people may come in on an open visit's account; 0 closes the party.

        Args:
            session_id: The payer's visit.
            guests_allowed: 0 to 20.

        Raises:
            ValueError: Not such a number.
            SessionNotFound: Nobody came in on such a visit.
            SessionAlreadyClosed: It is over.
            GuestsRefused: It is a visit of staff, whom nobody accompanies.
        """
        if not 0 <= guests_allowed <= MAX_GUESTS:
            raise ValueError(f"guests_allowed: expected 0 to {MAX_GUESTS}, got {guests_allowed}")
        with self._database.transaction() as repository:
            session = repository.session(session_id)
            row = repository.sql.get(AdmissionRow, session_id, with_for_update=True, populate_existing=True)
            if row is None:
                raise SessionNotFound(f"nobody came in by a gate on visit {session_id}")
            if session.status is not SessionStatus.OPEN:
                raise SessionAlreadyClosed(f"visit {session_id} is {session.status}, expected an open one")
            if not session.has_account:
                raise GuestsRefused("a visit of staff takes no guests")
            row.guests_allowed = guests_allowed

    def guests_allowed(self, session_id: UUID) -> int:
        """How many more people may come in on a visit's account.

        Raises:
            SessionNotFound: Nobody came in on such a visit.
        """
        with self._database.reading() as repository:
            row = repository.sql.get(AdmissionRow, session_id)
            if row is None:
                raise SessionNotFound(f"nobody came in by a gate on visit {session_id}")
            return row.guests_allowed

    def tidy(self, at: datetime | None = None) -> int:
        """Let go what was left behind: grants that nobody used, visits that a crash cut off before the gate opened.

        Call it every few seconds or minutes. (Codes used long ago are forgotten by ``cart.privacy``.)

        Returns:
            How many grants and visits were let go.
        """
        moment = self._now() if at is None else at
        with self._database.reading() as repository:
            unused = repository.sql.scalars(
                select(GateCommandRow.grant_id)
                .where(
                    GateCommandRow.answered_at.is_(None),
                    GateCommandRow.expires_at <= moment - self._no_show_after,
                )
                .order_by(GateCommandRow.issued_at)
                .limit(_FEW)
            ).all()
            cut_off = repository.sql.scalars(
                select(AdmissionRow.session_id)
                .join(SessionRow, SessionRow.session_id == AdmissionRow.session_id)
                .where(
                    SessionRow.status == SessionStatus.OPEN.value,
                    AdmissionRow.admitted_at <= moment - max(_LONGEST_HOLD, self._no_show_after),
                    ~exists().where(GateCommandRow.session_id == AdmissionRow.session_id),
                    ~exists().where(CartEventRow.session_id == AdmissionRow.session_id),
                )
                .limit(_FEW)
            ).all()
        done = 0
        for grant_id in unused:
            done += _succeeds(self.answer, grant_id, False, moment)
        for session_id in cut_off:
            done += _succeeds(self._checkout.abandon, session_id, moment)
        return done

    def _did_not_come(self, session_id: UUID, purpose: str, at: datetime) -> None:
        with self._database.transaction() as repository:
            session = repository.session(session_id)
            if session.status is not SessionStatus.OPEN:
                return
            if purpose == ScanReason.GUEST.value:
                self._leave_party(repository, session)
                return
            # Whoever shops is in, whatever the gate says; and another order of this visit may have been carried out.
            is_in = repository.sql.scalar(
                select(
                    exists().where(CartEventRow.session_id == session_id)
                    | exists().where(
                        GateCommandRow.session_id == session_id,
                        GateCommandRow.opened.is_(True)
                        | (
                            GateCommandRow.answered_at.is_(None)
                            & (GateCommandRow.expires_at > at - self._no_show_after)
                        ),
                    )
                )
            )
        if is_in:
            _log.info("visit %s goes on, though one order to a gate was not carried out", session_id)
            return
        self._let_go(session_id, at)

    def _leave_party(self, repository: Repository, session: Session) -> None:
        repository.sql.execute(
            update(SessionRow)
            .where(SessionRow.session_id == session.session_id, SessionRow.party_size > 1)
            .values(party_size=SessionRow.party_size - 1)
        )
        repository.sql.execute(
            update(AdmissionRow)
            .where(AdmissionRow.session_id == session.session_id, AdmissionRow.guests_allowed < MAX_GUESTS)
            .values(guests_allowed=AdmissionRow.guests_allowed + 1)
        )

    def _let_go(self, session_id: UUID, at: datetime) -> None:
        try:
            self._checkout.abandon(session_id, at)
        except (SessionAlreadyClosed, VisitUnderWay) as error:
            _log.info("visit %s is not let go: %s", session_id, error)
        except Exception as error:
            _log.error("visit %s is left to the next tidying: %s", session_id, type(error).__name__)


def scan_counts(repository: Repository, since: datetime) -> dict[tuple[Decision, ScanReason], int]:
    """How many scans since a time ended how, for whoever watches the doors."""
    rows = repository.sql.execute(
        select(ScanRow.decision, ScanRow.reason, func.count())
        .where(ScanRow.scanned_at >= since)
        .group_by(ScanRow.decision, ScanRow.reason)
    )
    return {(Decision(decision), ScanReason(reason)): count for decision, reason, count in rows}


def _succeeds(let_go: Callable[..., None], *arguments: object) -> bool:
    try:
        let_go(*arguments)
    except StoreError as error:
        _log.warning("what was left at a gate could not be let go: %s", error)
        return False
    return True


def _write_scan(
    repository: Repository, scan_id: UUID, at: datetime, gate_id: str, decision: Decision, verdict: _Verdict
) -> None:
    repository.sql.add(
        ScanRow(
            scan_id=scan_id,
            gate_id=gate_id,
            scanned_at=at,
            decision=decision.value,
            reason=verdict.reason.value,
            account_id=verdict.account_id,
            session_id=verdict.session_id,
        )
    )
    repository.sql.flush()


def _key(row: EntryKeyRow) -> EntryKey:
    return EntryKey(row.key_id, row.account_id, row.secret, row.created_at, row.revoked_at)


def _key_of(grant_id: UUID) -> str:
    return f"gate:{grant_id}"


assert {refusal.value for refusal in CodeRefusal} <= {reason.value for reason in ScanReason}
