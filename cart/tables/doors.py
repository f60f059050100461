"""Tables of doors: keys of entry codes, used codes, scans, who was let in, commands to gates."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Integer, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from cart.tables.base import Base, keep_history


class EntryKeyRow(Base):
    """A secret from which a phone makes entry codes offline; see ``cart.entry_codes``."""

    __tablename__ = "entry_keys"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"), index=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class UsedCodeRow(Base):
    """An entry code that was shown: its primary key admits it once, whatever number of gates read it."""

    __tablename__ = "used_codes"

    code_sha256: Mapped[str] = mapped_column(primary_key=True)
    gate_id: Mapped[str]
    used_at: Mapped[datetime] = mapped_column(index=True)


class ScanRow(Base):
    """What a gate read and what it was told. Append-only."""

    __tablename__ = "scans"

    position: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    scan_id: Mapped[UUID] = mapped_column(unique=True)
    gate_id: Mapped[str] = mapped_column(index=True)
    scanned_at: Mapped[datetime] = mapped_column(index=True)
    decision: Mapped[str]
    reason: Mapped[str]
    account_id: Mapped[UUID | None] = mapped_column(index=True)
    session_id: Mapped[UUID | None] = mapped_column(index=True)


class AdmissionRow(Base):
    """The account and gate behind a visit, and whether more people may come in on its code."""

    __tablename__ = "admissions"
    __table_args__ = (CheckConstraint("guests_allowed >= 0", "guests_allowed"),)

    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.session_id"), primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"), index=True)
    gate_id: Mapped[str]
    admitted_at: Mapped[datetime]
    guests_allowed: Mapped[int]
    """How many more people the payer lets through; 0 once the party is closed."""


class GateCommandRow(Base):
    """An order to a gate to open once, and whether it did."""

    __tablename__ = "gate_commands"

    grant_id: Mapped[UUID] = mapped_column(primary_key=True)
    gate_id: Mapped[str] = mapped_column(index=True)
    session_id: Mapped[UUID | None] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    purpose: Mapped[str]
    """For whom: the payer (``welcome``), a ``guest``, ``staff``, or ``by_hand``."""
    issued_at: Mapped[datetime] = mapped_column(index=True)
    expires_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    opened: Mapped[bool | None] = mapped_column(Boolean)


keep_history(ScanRow)
