"""The shop's database: opening it, one transaction for each use case, and every SQL statement there is."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid5

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, StaticPool, create_engine, event, make_url, select, update
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.orm import Session as SqlSession

import cart.migrations
from cart.errors import LedgerConflict, SessionNotFound
from cart.events import CartEvent, ReviewFlag
from cart.ledger import Ledger, Transfer, TransferCode, TransferPhase, check_resolution
from cart.payments import Charge, ChargeKind, ChargeStatus
from cart.questions import Answer, Question
from cart.receipts import Receipt, ReceiptLine
from cart.sessions import Session, SessionStatus
from cart.tables import (
    Base,
    CartEventRow,
    ChargeRow,
    CounterRow,
    ReceiptLineRow,
    ReceiptRow,
    ReviewFlagRow,
    SessionRow,
    TransferRow,
)

# A writer waits this long for another one before SQLite gives up. One commit takes about a millisecond.
_BUSY_TIMEOUT_S = 30.0
_BEGIN = "sqlite_begin"
# Receipts belong to the capture at the exit until visits can be charged a second time.
_EXIT_SEQUENCE = 1


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
    in memory keeps its one connection.

    Raises:
        ValueError: The URL is none, or names a kind of database that is unknown or whose driver is missing.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed)
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


class Database:
    """The shop's database. Safe to share between threads.

    Use ``open`` or ``in_memory``; close it, or use it as a context manager.

    Args:
        engine: From ``make_engine``; its schema is the newest.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading_engine = engine.execution_options(**{_BEGIN: "BEGIN"})
        # A database in memory has one connection, so its users take turns.
        one_connection = isinstance(engine.pool, StaticPool)
        self._turn: AbstractContextManager[Any] = threading.Lock() if one_connection else nullcontext()

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
        with self._turn, SqlSession(self._engine) as sql, sql.begin():
            yield Repository(sql, locking=True)

    @contextmanager
    def reading(self) -> Iterator["Repository"]:
        """A consistent view for reading, beside whoever writes."""
        with self._turn, SqlSession(self._reading_engine) as sql, sql.begin():
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
    """

    def __init__(self, sql: SqlSession, *, locking: bool) -> None:
        self._sql = sql
        self._locking = locking

    @property
    def sql(self) -> SqlSession:
        """The transaction itself, for the statements of other parts of the shop."""
        return self._sql

    def add_session(self, session: Session) -> None:
        """Write a new visit."""
        self._sql.add(
            SessionRow(
                session_id=session.session_id,
                shopper_id=session.shopper_id,
                has_account=session.has_account,
                party_size=session.party_size,
                status=session.status.value,
                opened_at=session.opened_at,
                closed_at=session.closed_at,
            )
        )
        self._sql.flush()

    def session(self, session_id: UUID) -> Session:
        """Read a visit.

        Raises:
            SessionNotFound: There is no such visit.
        """
        row = self._sql.get(SessionRow, session_id, with_for_update=True if self._locking else None)
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

    def change_session(self, session: Session) -> None:
        """Write a visit's new status and its end."""
        self._sql.execute(
            update(SessionRow)
            .where(SessionRow.session_id == session.session_id)
            .values(status=session.status.value, closed_at=session.closed_at)
        )

    def add_cart_event(self, event: CartEvent) -> None:
        """Write a new cart event."""
        self._sql.add(
            CartEventRow(
                event_id=event.event_id,
                session_id=event.session_id,
                occurred_at=event.occurred_at,
                sku=event.sku,
                quantity=event.quantity,
                cause_id=event.cause_id,
                probability=event.probability,
            )
        )
        self._sql.flush()

    def cart_event(self, event_id: UUID) -> CartEvent | None:
        """Read a cart event; None if there is none of this id."""
        row = self._sql.get(CartEventRow, event_id)
        return None if row is None else _cart_event(row)

    def cart_events(self, session_id: UUID) -> tuple[CartEvent, ...]:
        """Read a visit's cart events, oldest first."""
        rows = self._sql.scalars(
            select(CartEventRow)
            .where(CartEventRow.session_id == session_id)
            .order_by(CartEventRow.occurred_at, CartEventRow.event_id)
        )
        return tuple(_cart_event(row) for row in rows)

    def add_flag(self, flag: ReviewFlag) -> None:
        """Write a flag; the same reason and cause again changes nothing."""
        flag_id = uuid5(flag.session_id, f"flag:{flag.cause_id}:{flag.reason}")
        if self._sql.get(ReviewFlagRow, flag_id) is None:
            self._sql.add(
                ReviewFlagRow(
                    flag_id=flag_id,
                    session_id=flag.session_id,
                    reason=flag.reason,
                    cause_id=flag.cause_id,
                    raised_at=flag.raised_at,
                    question=None if flag.question is None else asdict(flag.question),
                )
            )
            self._sql.flush()

    def flags(self, session_id: UUID) -> tuple[ReviewFlag, ...]:
        """Read why a visit needs a person, oldest first."""
        rows = self._sql.scalars(
            select(ReviewFlagRow)
            .where(ReviewFlagRow.session_id == session_id)
            .order_by(ReviewFlagRow.raised_at, ReviewFlagRow.reason)  # ids differ from run to run
        )
        return tuple(
            ReviewFlag(row.session_id, row.reason, row.cause_id, row.raised_at, _question(row.question)) for row in rows
        )

    def add_charge(self, charge: Charge) -> None:
        """Write a new charge with its idempotency key.

        Raises:
            sqlalchemy.exc.IntegrityError: The visit has a pending or posted charge of this kind and sequence.
        """
        self._sql.add(
            ChargeRow(
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
        )
        self._sql.flush()

    def charge(self, session_id: UUID) -> Charge | None:
        """Read the newest charge of a visit; None if it has none."""
        row = self._sql.scalars(
            select(ChargeRow)
            .where(ChargeRow.session_id == session_id)
            .order_by(ChargeRow.sequence.desc(), ChargeRow.created_at.desc())
            .limit(1)
        ).first()
        return None if row is None else _charge(row)

    def pending_charges(self) -> tuple[Charge, ...]:
        """Read every charge whose outcome is not known, oldest first."""
        rows = self._sql.scalars(
            select(ChargeRow)
            .where(ChargeRow.status == ChargeStatus.PENDING.value)
            .order_by(ChargeRow.created_at, ChargeRow.charge_id)
        )
        return tuple(_charge(row) for row in rows)

    def change_charge(self, charge: Charge) -> None:
        """Write a charge's new status and the gateway's reference."""
        self._sql.execute(
            update(ChargeRow)
            .where(ChargeRow.charge_id == charge.charge_id)
            .values(status=charge.status.value, gateway_reference=charge.gateway_reference)
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
            if self._sql.scalars(select(TransferRow).where(TransferRow.pending_id == transfer.pending_id)).first():
                raise LedgerConflict(f"transfer {transfer.pending_id} was posted or voided before")
        self._sql.add(
            TransferRow(
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
        )
        self._sql.flush()

    def transfer(self, transfer_id: UUID) -> Transfer | None:
        """Read a transfer; None if there is none of this id."""
        row = self._sql.scalars(select(TransferRow).where(TransferRow.transfer_id == transfer_id)).first()
        return None if row is None else _transfer(row)

    def ledger(self) -> Ledger:
        """Read the whole ledger."""
        return Ledger(_transfer(row) for row in self._sql.scalars(select(TransferRow).order_by(TransferRow.position)))

    def add_receipt(self, receipt: Receipt) -> None:
        """Write the receipt of a visit that was just closed."""
        self._sql.add(
            ReceiptRow(
                session_id=receipt.session_id,
                sequence=_EXIT_SEQUENCE,
                currency=receipt.currency,
                receipt_number=receipt.receipt_number,
                issued_at=receipt.issued_at,
            )
        )
        self._sql.flush()
        self._sql.add_all(
            ReceiptLineRow(
                session_id=receipt.session_id,
                sequence=_EXIT_SEQUENCE,
                position=position,
                sku=line.sku,
                name=line.name,
                quantity=line.quantity,
                unit_price_minor=line.unit_price_minor,
                tax_rate_bp=line.tax_rate_bp,
                probability=line.probability,
            )
            for position, line in enumerate(receipt.lines)
        )
        self._sql.flush()

    def issue_receipt(self, session_id: UUID, receipt_number: int, issued_at: datetime) -> None:
        """Give a receipt its number and date."""
        self._sql.execute(
            update(ReceiptRow)
            .where(ReceiptRow.session_id == session_id, ReceiptRow.sequence == _EXIT_SEQUENCE)
            .values(receipt_number=receipt_number, issued_at=issued_at)
        )

    def receipt(self, session: Session) -> Receipt | None:
        """Read the receipt of a visit, with the visit's status; None if it has none yet."""
        head = self._sql.get(ReceiptRow, (session.session_id, _EXIT_SEQUENCE))
        if head is None:
            return None
        rows = self._sql.scalars(
            select(ReceiptLineRow)
            .where(ReceiptLineRow.session_id == session.session_id, ReceiptLineRow.sequence == _EXIT_SEQUENCE)
            .order_by(ReceiptLineRow.position)
        )
        lines = tuple(
            ReceiptLine(row.sku, row.name, row.quantity, row.unit_price_minor, row.tax_rate_bp, row.probability)
            for row in rows
        )
        return Receipt.of(session, lines, head.currency, head.issued_at, head.receipt_number)

    def next_number(self, name: str) -> int:
        """Take the next number of a running series, starting at 1; it is given back if the transaction fails."""
        row = self._sql.get(CounterRow, name, with_for_update=True)
        if row is None:
            row = CounterRow(name=name, value=0)
            self._sql.add(row)
        row.value += 1
        self._sql.flush()
        return row.value


def _cart_event(row: CartEventRow) -> CartEvent:
    return CartEvent(
        row.event_id, row.session_id, row.occurred_at, row.sku, row.quantity, row.cause_id, row.probability
    )


def _question(entry: dict[str, Any] | None) -> Question | None:
    if entry is None:
        return None
    return Question(entry["text"], tuple(Answer(**answer) for answer in entry["answers"]))


def _charge(row: ChargeRow) -> Charge:
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
    )


def _transfer(row: TransferRow) -> Transfer:
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
