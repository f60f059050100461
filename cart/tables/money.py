"""Tables of money: holds, charges, refunds, the ledger's transfers, running numbers."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from cart.tables.base import Base, keep_history


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


class HoldRow(Base):
    """Money held on a shopper's account while they shop; see ``cart.payments.Hold``.

    It is written, with its key, before the gateway is called, as a charge is.
    """

    __tablename__ = "holds"
    __table_args__ = (CheckConstraint("amount_minor > 0", "amount_minor"),)

    hold_id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.session_id"), unique=True)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    gateway_reference: Mapped[str | None]
    created_at: Mapped[datetime]


class RefundRow(Base):
    """Money given back of a posted charge; see ``cart.payments.Refund``. Written before the gateway is called."""

    __tablename__ = "refunds"
    __table_args__ = (CheckConstraint("amount_minor > 0", "amount_minor"),)

    refund_id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    charge_id: Mapped[UUID] = mapped_column(ForeignKey("charges.charge_id"), index=True)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    reason: Mapped[str]
    cause_id: Mapped[UUID | None]
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


class CounterRow(Base):
    """The last number of a running series. Taken in the transaction that uses it, so the series has no gaps."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


keep_history(TransferRow)
