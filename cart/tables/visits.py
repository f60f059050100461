"""Tables of visits: sessions, cart events, flags, receipts."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cart.tables.base import Base, keep_history


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


class ReceiptRow(Base):
    """The head of a receipt; see ``cart.receipts.Receipt``. Sequence 1 is the exit's, later ones are corrections."""

    __tablename__ = "receipts"

    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.session_id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    currency: Mapped[str]
    receipt_number: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    issued_at: Mapped[datetime]
    cause_id: Mapped[UUID | None]
    """The decision behind a correction; None at the exit."""
    tax_rule: Mapped[str | None]
    """Whether prices include tax, and how it is rounded; see ``cart.pricing.TaxRule``. None: included, once a rate."""


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


for _row in (CartEventRow, ReviewFlagRow, ReceiptLineRow):
    keep_history(_row)
