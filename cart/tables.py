"""The shop's database tables.

Cart events, flags, transfers and receipt lines are only ever added: the database itself refuses to change or delete
them (triggers on SQLite). A change here needs a migration in ``cart/migrations/versions``; a test compares the two.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    TypeDecorator,
    Uuid,
    event,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cart.events import check_aware


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware time, kept in UTC; SQLite keeps it without its timezone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn a timezone-aware time into UTC; a naive one is a ``ValueError``."""
        if value is None:
            return None
        check_aware("database time", value)
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the time its timezone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The tables' common registry; constraints get predictable names, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {UUID: Uuid(), datetime: UtcDateTime(), float: Double()}


class SessionRow(Base):
    """A visit; see ``cart.sessions.Session``."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("party_size >= 1", "party_size"),
        CheckConstraint("(status = 'open') = (closed_at IS NULL)", "closed_at"),
    )

    session_id: Mapped[UUID] = mapped_column(primary_key=True)
    shopper_id: Mapped[str] = mapped_column(index=True)
    has_account: Mapped[bool]
    party_size: Mapped[int]
    status: Mapped[str]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class CartEventRow(Base):
    """A cart event; see ``cart.events.CartEvent``. Append-only."""

    __tablename__ = "cart_events"
    __table_args__ = (
        CheckConstraint("quantity <> 0", "quantity"),
        CheckConstraint("probability BETWEEN 0 AND 1", "probability"),
    )

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    occurred_at: Mapped[datetime]
    sku: Mapped[str]
    quantity: Mapped[int]
    cause_id: Mapped[UUID | None]
    probability: Mapped[float]


class ReviewFlagRow(Base):
    """A reason to look at a visit; see ``cart.events.ReviewFlag``. Append-only."""

    __tablename__ = "review_flags"

    flag_id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    reason: Mapped[str]
    cause_id: Mapped[UUID | None]
    raised_at: Mapped[datetime]
    question: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """A ``cart.questions.Question``: what is asked, and the answers in the order in which they are shown."""


class ChargeRow(Base):
    """A charge; see ``cart.payments.Charge``. It is written, with its key, before the gateway is called."""

    __tablename__ = "charges"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", "amount_minor"),
        CheckConstraint("sequence >= 1", "sequence"),
        # Stronger than one posted charge: while one is pending its outcome is open, so there must be no second.
        Index(
            "uq_charges_live",
            "session_id",
            "kind",
            "sequence",
            unique=True,
            sqlite_where=text("status IN ('pending', 'posted')"),
            postgresql_where=text("status IN ('pending', 'posted')"),
        ),
    )

    charge_id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    kind: Mapped[str]
    sequence: Mapped[int]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    gateway_reference: Mapped[str | None]
    created_at: Mapped[datetime]


class TransferRow(Base):
    """A ledger transfer; see ``cart.ledger.Transfer``. Append-only."""

    __tablename__ = "transfers"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", "amount_minor"),
        CheckConstraint("debit_account_id <> credit_account_id", "two_accounts"),
        CheckConstraint("(phase IN ('post', 'void')) = (pending_id IS NOT NULL)", "pending_id"),
    )

    # The order of writing, which the books are read in.
    position: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    transfer_id: Mapped[UUID] = mapped_column(unique=True)
    debit_account_id: Mapped[str] = mapped_column(index=True)
    credit_account_id: Mapped[str] = mapped_column(index=True)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    code: Mapped[str]
    phase: Mapped[str]
    # Unique: a pending transfer is posted or voided once.
    pending_id: Mapped[UUID | None] = mapped_column(ForeignKey("transfers.transfer_id"), unique=True)
    created_at: Mapped[datetime]


class ReceiptRow(Base):
    """The head of a receipt; see ``cart.receipts.Receipt``. Its sequence is that of the charge it belongs to."""

    __tablename__ = "receipts"

    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.session_id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    currency: Mapped[str]
    receipt_number: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    issued_at: Mapped[datetime]


class ReceiptLineRow(Base):
    """A receipt's line, priced when the visit was closed. Append-only."""

    __tablename__ = "receipt_lines"
    __table_args__ = (
        ForeignKeyConstraint(["session_id", "sequence"], ["receipts.session_id", "receipts.sequence"]),
        CheckConstraint("unit_price_minor >= 0", "unit_price_minor"),
        CheckConstraint("quantity <> 0", "quantity"),
    )

    session_id: Mapped[UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sku: Mapped[str]
    name: Mapped[str]
    quantity: Mapped[int]
    unit_price_minor: Mapped[int | None] = mapped_column(BigInteger)
    tax_rate_bp: Mapped[int]
    probability: Mapped[float]


class CounterRow(Base):
    """The last number of a running series. Taken in the transaction that uses it, so the series has no gaps."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


APPEND_ONLY = (CartEventRow, ReviewFlagRow, TransferRow, ReceiptLineRow)

for _row in APPEND_ONLY:
    _name = _row.__tablename__
    for _verb in ("UPDATE", "DELETE"):
        event.listen(
            Base.metadata.tables[_name],
            "after_create",
            DDL(  # type: ignore[no-untyped-call]
                f"CREATE TRIGGER {_name}_no_{_verb.lower()} BEFORE {_verb} ON {_name}"
                f" BEGIN SELECT RAISE(ABORT, '{_name} is append-only'); END"
            ).execute_if(dialect="sqlite"),
        )
