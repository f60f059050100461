"""The shop's database: opening it, one transaction for each use case, and every SQL statement there is."""

import threading
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid5
from weakref import WeakValueDictionary

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import (
    Connection,
    Engine,
    StaticPool,
    Table,
    case,
    create_engine,
    event,
    func,
    insert,
    make_url,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.orm import Session as SqlSession

import cart.migrations
from cart.errors import LedgerConflict, SessionNotFound
from cart.events import CartEvent, ReviewFlag
from cart.ledger import Ledger, Transfer, TransferCode, TransferPhase, check_resolution
from cart.payments import (
    Charge,
    ChargeKind,
    ChargeStatus,
    Hold,
    HoldStatus,
    Refund,
    RefundKind,
    RefundStatus,
    hold_of_key,
)
from cart.questions import Answer, Question
from cart.receipts import Receipt, ReceiptLine
from cart.sessions import Session, SessionStatus
from cart.tables import Base
from cart.taxes import Discount, TaxRule

# A writer waits this long for another one before SQLite gives up. One commit takes about a millisecond.
_BUSY_TIMEOUT_S = 30.0
_BEGIN = "sqlite_begin"
# Statements are written for tables, not for mapped rows: what is read here becomes the shop's own types at once.
_SESSIONS = Base.metadata.tables["sessions"]
_CART_EVENTS = Base.metadata.tables["cart_events"]
_REVIEW_FLAGS = Base.metadata.tables["review_flags"]
_CHARGES = Base.metadata.tables["charges"]
_HOLDS = Base.metadata.tables["holds"]
_REFUNDS = Base.metadata.tables["refunds"]
_TRANSFERS = Base.metadata.tables["transfers"]
_RECEIPTS = Base.metadata.tables["receipts"]
_RECEIPT_LINES = Base.metadata.tables["receipt_lines"]
_RECEIPT_DISCOUNTS = Base.metadata.tables["receipt_discounts"]
_COUNTERS = Base.metadata.tables["counters"]
# Connections of one process to a database server: as many as requests are served at once, and some more for a rush.
_POOL_SIZE, _POOL_OVERFLOW = 20, 20


def upgrade(engine: Engine) -> None:
    """Bring a database to the newest schema, in one transaction; nothing happens if it is there already.

    Raises:
        ValueError: The database is of a newer version of the program.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(cart.migrations.__file__).parent).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise ValueError(f"{engine.url}: the database does not fit this version: {error}") from error


def make_engine(url: str) -> Engine:
    """Make an engine for a database, with the settings the shop relies on.

    SQLite gets foreign keys, write-ahead logging, a full sync at each commit, and explicit transactions; a database
    in memory keeps its one connection. ``postgresql://`` is reached through psycopg.

    Raises:
        ValueError: The URL is none, or names a kind of database that is unknown or whose driver is missing.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_size=_POOL_SIZE, max_overflow=_POOL_OVERFLOW, pool_pre_ping=True)
        arguments: dict[str, Any] = {"connect_args": {"timeout": _BUSY_TIMEOUT_S}}
        if _is_in_memory(parsed.database):
            arguments["poolclass"] = StaticPool
            arguments["connect_args"]["check_same_thread"] = False
        engine = create_engine(parsed, **arguments)
    except ArgumentError as error:
        raise ValueError(f"database: expected a URL such as sqlite:///shop.db: {error}") from error
    except ModuleNotFoundError as error:
        raise ValueError(f"database: {parsed.drivername} needs the Python package {error.name}") from error
    event.listen(engine, "connect", _on_sqlite_connect)
    event.listen(engine, "begin", _on_sqlite_begin)
    return engine


def _is_in_memory(database: str | None) -> bool:
    return not database or database == ":memory:"


def _on_sqlite_connect(dbapi_connection: Any, _: object) -> None:
    # The driver's own transaction handling begins too late to lock out a second writer; we begin ourselves.
    dbapi_connection.isolation_level = None
    for pragma in ("foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL"):
        dbapi_connection.execute(f"PRAGMA {pragma}")


def _on_sqlite_begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN IMMEDIATE"))


class Queue:
    """A lock that is given to whoever has waited longest.

    SQLite lets one writer in at a time and has the others ask again and again, so that luck decides and some wait for
    a hundred turns. Writers of one process queue here instead; those of another process still have to be asked for.

    >>> queue = Queue()
    >>> with queue:
    ...     queue.waiting
    0
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        with self._guard:
            return len(self._waiting)

    def __enter__(self) -> Self:
        with self._guard:
            if not self._taken:
                self._taken = True
                return self
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            turn.acquire()
        except BaseException:  # such as Ctrl-C while waiting: the turn must not be given to somebody who left
            with self._guard:
                here = turn in self._waiting
                if here:
                    self._waiting.remove(turn)
            if not here:
                self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


_queues: WeakValueDictionary[str, Queue] = WeakValueDictionary()
_queues_guard = threading.Lock()


def _queue_for(engine: Engine) -> AbstractContextManager[Any]:
    """The queue of a SQLite file's writers, one for all who open it in this process; other databases need none."""
    if engine.dialect.name != "sqlite":
        return nullcontext()
    path = str(Path(engine.url.database or "").resolve())
    with _queues_guard:
        queue = _queues.get(path)
        if queue is None:
            queue = _queues[path] = Queue()
        return queue


class Database:
    """The shop's database. Safe to share between threads.

    Use ``open`` or ``in_memory``; close it, or use it as a context manager.

    Args:
        engine: From ``make_engine``; its schema is the newest.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        if engine.dialect.name == "sqlite":
            self._reading_engine = engine.execution_options(**{_BEGIN: "BEGIN"})
        else:
            # As in SQLite, all statements of a reader see the same moment.
            self._reading_engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # A database in memory has one connection, so its users, readers too, take turns.
        one_connection = isinstance(engine.pool, StaticPool)
        self._writing: AbstractContextManager[Any] = Queue() if one_connection else _queue_for(engine)
        self._reading: AbstractContextManager[Any] = self._writing if one_connection else nullcontext()

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a database, make or upgrade its tables.

        Args:
            url: SQLAlchemy URL, such as ``sqlite:///shop.db``; ``sqlite://`` is one in memory.

        Raises:
            ValueError: The URL is none, or the database is of a newer version of the program.
            OSError: The database cannot be opened.
        """
        engine = make_engine(url)
        try:
            if isinstance(engine.pool, StaticPool):
                # Nothing to upgrade from: the tables are made at once, which takes a tenth of the time.
                Base.metadata.create_all(engine)
            else:
                upgrade(engine)
        except DatabaseError as error:
            engine.dispose()
            raise OSError(f"{engine.url}: cannot be opened: {error.orig}") from error
        except ValueError:
            engine.dispose()
            raise
        return cls(engine)

    @classmethod
    def in_memory(cls) -> Self:
        """An empty database that is gone when it is closed, as for a replay."""
        return cls.open("sqlite://")

    @contextmanager
    def transaction(self) -> Iterator["Repository"]:
        """One use case: everything in it is written, or nothing if an exception leaves it. Writers take turns."""
        with self._writing, SqlSession(self._engine) as sql, sql.begin():
            yield Repository(sql, locking=True)

    @contextmanager
    def reading(self) -> Iterator["Repository"]:
        """A consistent view for reading, beside whoever writes."""
        with self._reading, SqlSession(self._reading_engine) as sql, sql.begin():
            yield Repository(sql, locking=False)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Repository:
    """What one transaction can read and write, in the shop's own types.

    Args:
        sql: The transaction.
        locking: Whether reading a visit keeps other writers off it until the end (SQLite has one writer anyway).
            Whoever writes about a visit reads it first.
    """

    def __init__(self, sql: SqlSession, *, locking: bool) -> None:
        self._sql = sql
        self._locking = locking

    @property
    def sql(self) -> SqlSession:
        """The transaction itself, for the statements of other parts of the shop."""
        return self._sql

    @property
    def locking(self) -> bool:
        """Whether this transaction writes, and keeps others off what it reads in order to change it."""
        return self._locking

    def _insert(self, table: Table, **values: Any) -> None:
        self._sql.flush()  # what other parts of the shop have added as mapped rows comes before
        self._sql.execute(insert(table), values)

    def add_session(self, session: Session) -> None:
        """Write a new visit."""
        self._insert(
            _SESSIONS,
            session_id=session.session_id,
            shopper_id=session.shopper_id,
            has_account=session.has_account,
            party_size=session.party_size,
            status=session.status.value,
            opened_at=session.opened_at,
            closed_at=session.closed_at,
        )

    def session(self, session_id: UUID) -> Session:
        """Read a visit.

        Raises:
            SessionNotFound: There is no such visit.
        """
        one = select(_SESSIONS).where(_SESSIONS.c.session_id == session_id)
        row = self._sql.execute(one.with_for_update() if self._locking else one).first()
        if row is None:
            raise SessionNotFound(f"there is no visit {session_id}")
        return Session(
            row.session_id,
            row.shopper_id,
            row.has_account,
            row.party_size,
            SessionStatus(row.status),
            row.opened_at,
            row.closed_at,
        )

    def lock_sessions(self, session_ids: Collection[UUID]) -> None:
        """Keep other writers off several visits until the end, as reading each of them does.

        Raises:
            SessionNotFound: There is no such visit.
        """
        # In one order for everybody, so that no two wait for each other.
        some = (
            select(_SESSIONS.c.session_id)
            .where(_SESSIONS.c.session_id.in_(session_ids))
            .order_by(_SESSIONS.c.session_id)
        )
        found = set(self._sql.scalars(some.with_for_update() if self._locking else some))
        for session_id in session_ids:
            if session_id not in found:
                raise SessionNotFound(f"there is no visit {session_id}")

    def change_session(self, session: Session) -> None:
        """Write a visit's new status, its end, and how many people it is for."""
        self._sql.execute(
            update(_SESSIONS)
            .where(_SESSIONS.c.session_id == session.session_id)
            .values(status=session.status.value, closed_at=session.closed_at, party_size=session.party_size)
        )

    def sessions_of(self, shopper_id: str, status: SessionStatus) -> tuple[UUID, ...]:
        """A shopper's visits in a status, oldest first."""
        rows = self._sql.scalars(
            select(_SESSIONS.c.session_id)
            .where(_SESSIONS.c.shopper_id == shopper_id, _SESSIONS.c.status == status.value)
            .order_by(_SESSIONS.c.opened_at, _SESSIONS.c.session_id)
        )
        return tuple(rows)

    def add_cart_event(self, event: CartEvent) -> None:
        """Write a new cart event."""
        self._insert(
            _CART_EVENTS,
            event_id=event.event_id,
            session_id=event.session_id,
            occurred_at=event.occurred_at,
            sku=event.sku,
            quantity=event.quantity,
            cause_id=event.cause_id,
            probability=event.probability,
        )

    def cart_event(self, event_id: UUID) -> CartEvent | None:
        """Read a cart event; None if there is none of this id."""
        row = self._sql.execute(select(_CART_EVENTS).where(_CART_EVENTS.c.event_id == event_id)).first()
        return None if row is None else _cart_event(row)

    def cart_events(self, session_id: UUID) -> tuple[CartEvent, ...]:
        """Read a visit's cart events, oldest first."""
        rows = self._sql.execute(
            select(_CART_EVENTS)
            .where(_CART_EVENTS.c.session_id == session_id)
            .order_by(_CART_EVENTS.c.occurred_at, _CART_EVENTS.c.event_id)
        )
        return tuple(_cart_event(row) for row in rows)

    def cart_events_of(self, session_ids: Collection[UUID]) -> dict[UUID, list[CartEvent]]:
        """Read the cart events of several visits, oldest first; a visit without any is left out."""
        rows = self._sql.execute(
            select(_CART_EVENTS)
            .where(_CART_EVENTS.c.session_id.in_(session_ids))
            .order_by(_CART_EVENTS.c.occurred_at, _CART_EVENTS.c.event_id)
        )
        found: dict[UUID, list[CartEvent]] = {}
        for row in rows:
            found.setdefault(row.session_id, []).append(_cart_event(row))
        return found

    def add_flag(self, flag: ReviewFlag) -> None:
        """Write a flag; the same reason and cause again changes nothing."""
        self.add_flags([flag])

    def add_flags(self, flags: Collection[ReviewFlag]) -> None:
        """Write flags; the same visit, reason and cause again changes nothing."""
        by_id: dict[UUID, ReviewFlag] = {}
        for flag in flags:
            by_id.setdefault(uuid5(flag.session_id, f"flag:{flag.cause_id}:{flag.reason}"), flag)
        known = set(self._sql.scalars(select(_REVIEW_FLAGS.c.flag_id).where(_REVIEW_FLAGS.c.flag_id.in_(by_id))))
        rows = [
            {
                "flag_id": flag_id,
                "session_id": flag.session_id,
                "reason": flag.reason,
                "cause_id": flag.cause_id,
                "raised_at": flag.raised_at,
                "question": None if flag.question is None else asdict(flag.question),
            }
            for flag_id, flag in by_id.items()
            if flag_id not in known
        ]
        if rows:
            self._sql.flush()
            self._sql.execute(insert(_REVIEW_FLAGS), rows)

    def flags(self, session_id: UUID) -> tuple[ReviewFlag, ...]:
        """Read why a visit needs a person, oldest first."""
        rows = self._sql.execute(
            select(_REVIEW_FLAGS)
            .where(_REVIEW_FLAGS.c.session_id == session_id)
            .order_by(_REVIEW_FLAGS.c.raised_at, _REVIEW_FLAGS.c.reason)  # ids differ from run to run
        )
        return tuple(
            ReviewFlag(row.session_id, row.reason, row.cause_id, row.raised_at, _question(row.question)) for row in rows
        )

    def add_charge(self, charge: Charge) -> None:
        """Write a new charge with its idempotency key.

        Raises:
            sqlalchemy.exc.IntegrityError: The visit has a pending or posted charge of this kind and sequence.
        """
        self._insert(
            _CHARGES,
            charge_id=charge.charge_id,
            session_id=charge.session_id,
            kind=charge.kind.value,
            sequence=charge.sequence,
            amount_minor=charge.amount_minor,
            currency=charge.currency,
            status=charge.status.value,
            idempotency_key=charge.idempotency_key,
            gateway_reference=charge.gateway_reference,
            created_at=charge.created_at,
        )

    def charge(self, session_id: UUID) -> Charge | None:
        """Read the newest charge of a visit; None if it has none."""
        charges = self.charges(session_id)
        return charges[-1] if charges else None

    def charges(self, session_id: UUID) -> tuple[Charge, ...]:
        """Read all charges of a visit, oldest first; a declined one comes before the one that takes its place."""
        settled = case((_CHARGES.c.status.in_([s.value for s in _LIVE_CHARGE]), 1), else_=0)
        rows = self._sql.execute(
            select(_CHARGES)
            .where(_CHARGES.c.session_id == session_id)
            .order_by(_CHARGES.c.created_at, _CHARGES.c.kind, _CHARGES.c.sequence, settled, _CHARGES.c.charge_id)
        )
        return tuple(_charge(row) for row in rows)

    def charge_by_id(self, charge_id: UUID) -> Charge | None:
        """Read a charge; None if there is none of this id."""
        row = self._sql.execute(select(_CHARGES).where(_CHARGES.c.charge_id == charge_id)).first()
        return None if row is None else _charge(row)

    def pending_charges(self) -> tuple[Charge, ...]:
        """Read every charge whose outcome is not known, oldest first."""
        rows = self._sql.execute(
            select(_CHARGES)
            .where(_CHARGES.c.status == ChargeStatus.PENDING.value)
            .order_by(_CHARGES.c.created_at, _CHARGES.c.charge_id)
        )
        return tuple(_charge(row) for row in rows)

    def change_charge(self, charge: Charge) -> None:
        """Write a charge's new status and the gateway's reference."""
        self._sql.execute(
            update(_CHARGES)
            .where(_CHARGES.c.charge_id == charge.charge_id)
            .values(status=charge.status.value, gateway_reference=charge.gateway_reference)
        )

    def add_hold(self, hold: Hold) -> None:
        """Write a new hold with its idempotency key.

        Raises:
            sqlalchemy.exc.IntegrityError: The visit has one already.
        """
        self._insert(
            _HOLDS,
            hold_id=hold.hold_id,
            session_id=hold.session_id,
            amount_minor=hold.amount_minor,
            currency=hold.currency,
            status=hold.status.value,
            idempotency_key=hold.idempotency_key,
            gateway_reference=hold.gateway_reference,
            created_at=hold.created_at,
        )

    def hold(self, session_id: UUID) -> Hold | None:
        """Read the hold of a visit; None if it has none."""
        row = self._sql.execute(select(_HOLDS).where(_HOLDS.c.session_id == session_id)).first()
        return None if row is None else _hold(row)

    def hold_by_id(self, hold_id: UUID) -> Hold | None:
        """Read a hold; None if there is none of this id."""
        row = self._sql.execute(select(_HOLDS).where(_HOLDS.c.hold_id == hold_id)).first()
        return None if row is None else _hold(row)

    def unsettled_holds(self) -> tuple[Hold, ...]:
        """Read every hold of which the gateway has still to be heard, oldest first."""
        rows = self._sql.execute(
            select(_HOLDS)
            .where(_HOLDS.c.status.in_([HoldStatus.PENDING.value, HoldStatus.RELEASING.value]))
            .order_by(_HOLDS.c.created_at, _HOLDS.c.hold_id)
        )
        return tuple(_hold(row) for row in rows)

    def change_hold(self, hold: Hold) -> None:
        """Write a hold's new status and the gateway's reference."""
        self._sql.execute(
            update(_HOLDS)
            .where(_HOLDS.c.hold_id == hold.hold_id)
            .values(status=hold.status.value, gateway_reference=hold.gateway_reference)
        )

    def add_refund(self, refund: Refund) -> None:
        """Write a new refund with its idempotency key."""
        self._insert(
            _REFUNDS,
            refund_id=refund.refund_id,
            session_id=refund.session_id,
            charge_id=refund.charge_id,
            amount_minor=refund.amount_minor,
            currency=refund.currency,
            status=refund.status.value,
            kind=refund.kind.value,
            reason=refund.reason,
            cause_id=refund.cause_id,
            idempotency_key=refund.idempotency_key,
            gateway_reference=refund.gateway_reference,
            created_at=refund.created_at,
        )

    def refunds(self, session_id: UUID) -> tuple[Refund, ...]:
        """Read all refunds of a visit, oldest first."""
        rows = self._sql.execute(
            select(_REFUNDS)
            .where(_REFUNDS.c.session_id == session_id)
            .order_by(_REFUNDS.c.created_at, _REFUNDS.c.refund_id)
        )
        return tuple(_refund(row) for row in rows)

    def refund_by_id(self, refund_id: UUID) -> Refund | None:
        """Read a refund; None if there is none of this id."""
        row = self._sql.execute(select(_REFUNDS).where(_REFUNDS.c.refund_id == refund_id)).first()
        return None if row is None else _refund(row)

    def pending_refunds(self) -> tuple[Refund, ...]:
        """Read every refund whose outcome is not known, oldest first."""
        rows = self._sql.execute(
            select(_REFUNDS)
            .where(_REFUNDS.c.status == RefundStatus.PENDING.value)
            .order_by(_REFUNDS.c.created_at, _REFUNDS.c.refund_id)
        )
        return tuple(_refund(row) for row in rows)

    def change_refund(self, refund: Refund) -> None:
        """Write a refund's new status and the gateway's reference."""
        self._sql.execute(
            update(_REFUNDS)
            .where(_REFUNDS.c.refund_id == refund.refund_id)
            .values(status=refund.status.value, gateway_reference=refund.gateway_reference)
        )

    def add_transfer(self, transfer: Transfer) -> None:
        """Write a transfer into the ledger; the same one again changes nothing.

        Raises:
            LedgerConflict: The id was used for another transfer, or a post or void does not fit a pending transfer
                that is still unresolved.
        """
        known = self.transfer(transfer.transfer_id)
        if known == transfer:
            return
        if known is not None:
            raise LedgerConflict(f"transfer {transfer.transfer_id} came with two contents")
        if transfer.pending_id is not None:
            check_resolution(transfer, self.transfer(transfer.pending_id))
            if self._sql.execute(select(_TRANSFERS).where(_TRANSFERS.c.pending_id == transfer.pending_id)).first():
                raise LedgerConflict(f"transfer {transfer.pending_id} was posted or voided before")
        self._insert(
            _TRANSFERS,
            transfer_id=transfer.transfer_id,
            debit_account_id=transfer.debit_account_id,
            credit_account_id=transfer.credit_account_id,
            amount_minor=transfer.amount_minor,
            currency=transfer.currency,
            code=transfer.code.value,
            phase=transfer.phase.value,
            pending_id=transfer.pending_id,
            created_at=transfer.created_at,
        )

    def transfer(self, transfer_id: UUID) -> Transfer | None:
        """Read a transfer; None if there is none of this id."""
        row = self._sql.execute(select(_TRANSFERS).where(_TRANSFERS.c.transfer_id == transfer_id)).first()
        return None if row is None else _transfer(row)

    def expected_minor(self, account_id: str, currency: str) -> int:
        """What an account holds once every pending transfer is posted, debits less credits, minor unit."""
        expected = case(
            (_TRANSFERS.c.phase.in_([TransferPhase.IMMEDIATE.value, TransferPhase.PENDING.value]), 1),
            (_TRANSFERS.c.phase == TransferPhase.VOID.value, -1),
            else_=0,
        )
        side = case((_TRANSFERS.c.debit_account_id == account_id, 1), else_=-1)
        total = self._sql.scalar(
            select(func.sum(_TRANSFERS.c.amount_minor * expected * side)).where(
                or_(_TRANSFERS.c.debit_account_id == account_id, _TRANSFERS.c.credit_account_id == account_id),
                _TRANSFERS.c.currency == currency,
            )
        )
        return int(total or 0)

    def ledger(self) -> Ledger:
        """Read the whole ledger, as for an audit."""
        return Ledger(_transfer(row) for row in self._sql.execute(select(_TRANSFERS).order_by(_TRANSFERS.c.position)))

    def add_receipt(self, receipt: Receipt, cause_id: UUID | None = None) -> None:
        """Write a receipt.

        Args:
            receipt: That of a visit that was just closed, or a correction of the one before it.
            cause_id: The decision behind a correction.
        """
        self._insert(
            _RECEIPTS,
            session_id=receipt.session_id,
            sequence=receipt.sequence,
            currency=receipt.currency,
            receipt_number=receipt.receipt_number,
            issued_at=receipt.issued_at,
            tax_rule=receipt.tax_rule.value,
            cause_id=cause_id,
        )
        of = {"session_id": receipt.session_id, "sequence": receipt.sequence}
        if receipt.lines:
            lines = [
                of
                | {
                    "position": position,
                    "sku": line.sku,
                    "name": line.name,
                    "quantity": line.quantity,
                    "unit_price_minor": line.unit_price_minor,
                    "tax_rate_bp": line.tax_rate_bp,
                    "probability": line.probability,
                }
                for position, line in enumerate(receipt.lines)
            ]
            self._sql.execute(insert(_RECEIPT_LINES), lines)
        if receipt.discounts:
            discounts = [
                of
                | {
                    "position": position,
                    "name": discount.name,
                    "source": discount.source,
                    "tax_rate_bp": discount.tax_rate_bp,
                    "amount_minor": discount.amount_minor,
                }
                for position, discount in enumerate(receipt.discounts)
            ]
            self._sql.execute(insert(_RECEIPT_DISCOUNTS), discounts)

    def issue_receipt(self, session_id: UUID, receipt_number: int, issued_at: datetime, sequence: int = 1) -> None:
        """Give a receipt its number and date."""
        self._sql.execute(
            update(_RECEIPTS)
            .where(_RECEIPTS.c.session_id == session_id, _RECEIPTS.c.sequence == sequence)
            .values(receipt_number=receipt_number, issued_at=issued_at)
        )

    def corrected_by(self, session_id: UUID, cause_id: UUID) -> bool:
        """Whether a decision has led to a receipt of this visit already."""
        row = select(_RECEIPTS.c.sequence).where(_RECEIPTS.c.session_id == session_id, _RECEIPTS.c.cause_id == cause_id)
        return self._sql.scalars(row).first() is not None

    def receipts(self, session: Session) -> tuple[Receipt, ...]:
        """Read every receipt of a visit, that of the exit first, each with the visit's status."""
        rows = self._sql.scalars(
            select(_RECEIPTS.c.sequence)
            .where(_RECEIPTS.c.session_id == session.session_id)
            .order_by(_RECEIPTS.c.sequence)
        ).all()
        found = [self.receipt(session, sequence) for sequence in rows]
        return tuple(receipt for receipt in found if receipt is not None)

    def receipt(self, session: Session, sequence: int | None = None) -> Receipt | None:
        """Read a receipt of a visit, with the visit's status; None if there is no such one.

        Args:
            session: The visit.
            sequence: Which of its receipts; None for the newest.
        """
        heads = select(_RECEIPTS).where(_RECEIPTS.c.session_id == session.session_id)
        if sequence is not None:
            heads = heads.where(_RECEIPTS.c.sequence == sequence)
        head = self._sql.execute(heads.order_by(_RECEIPTS.c.sequence.desc()).limit(1)).first()
        if head is None:
            return None
        rows = self._sql.execute(
            select(_RECEIPT_LINES)
            .where(_RECEIPT_LINES.c.session_id == session.session_id, _RECEIPT_LINES.c.sequence == head.sequence)
            .order_by(_RECEIPT_LINES.c.position)
        )
        lines = tuple(
            ReceiptLine(row.sku, row.name, row.quantity, row.unit_price_minor, row.tax_rate_bp, row.probability)
            for row in rows
        )
        taken_off = self._sql.execute(
            select(_RECEIPT_DISCOUNTS)
            .where(
                _RECEIPT_DISCOUNTS.c.session_id == session.session_id, _RECEIPT_DISCOUNTS.c.sequence == head.sequence
            )
            .order_by(_RECEIPT_DISCOUNTS.c.position)
        )
        return Receipt.of(
            session,
            lines,
            head.currency,
            head.issued_at,
            head.receipt_number,
            tuple(Discount(row.name, row.source, row.tax_rate_bp, row.amount_minor) for row in taken_off),
            TaxRule.INCLUDED_PER_RATE if head.tax_rule is None else TaxRule(head.tax_rule),
            head.sequence,
        )

    def next_number(self, name: str) -> int:
        """Take the next number of a running series, starting at 1; it is given back if the transaction fails."""
        # One statement, so that two who take the first number at once both get one.
        upsert = postgresql.insert if self._sql.get_bind().dialect.name == "postgresql" else sqlite.insert
        value = self._sql.scalar(
            upsert(_COUNTERS)
            .values(name=name, value=1)
            .on_conflict_do_update(index_elements=["name"], set_={"value": _COUNTERS.c.value + 1})
            .returning(_COUNTERS.c.value)
        )
        return int(value or 0)


_LIVE_CHARGE = (ChargeStatus.PENDING, ChargeStatus.POSTED)


def _cart_event(row: Any) -> CartEvent:
    return CartEvent(
        row.event_id, row.session_id, row.occurred_at, row.sku, row.quantity, row.cause_id, row.probability
    )


def _question(entry: dict[str, Any] | None) -> Question | None:
    if entry is None:
        return None
    return Question(entry["text"], tuple(Answer(**answer) for answer in entry["answers"]))


def _charge(row: Any) -> Charge:
    return Charge(
        row.charge_id,
        row.session_id,
        ChargeKind(row.kind),
        row.sequence,
        row.amount_minor,
        row.currency,
        ChargeStatus(row.status),
        row.created_at,
        row.gateway_reference,
        hold_of_key(row.idempotency_key),
    )


def _hold(row: Any) -> Hold:
    return Hold(
        row.hold_id,
        row.session_id,
        row.amount_minor,
        row.currency,
        HoldStatus(row.status),
        row.created_at,
        row.gateway_reference,
    )


def _refund(row: Any) -> Refund:
    return Refund(
        row.refund_id,
        row.session_id,
        row.charge_id,
        row.amount_minor,
        row.currency,
        RefundStatus(row.status),
        RefundKind(row.kind),
        row.reason,
        row.created_at,
        row.cause_id,
        row.gateway_reference,
    )


def _transfer(row: Any) -> Transfer:
    return Transfer(
        row.transfer_id,
        row.debit_account_id,
        row.credit_account_id,
        row.amount_minor,
        row.currency,
        TransferCode(row.code),
        TransferPhase(row.phase),
        row.created_at,
        row.pending_id,
    )
