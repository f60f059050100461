"""Tables of what comes after a visit: evidence, questions about lines, what reviewers decided."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from cart.tables.base import Base, keep_history


class EvidenceRow(Base):
    """What the store saw of one interaction: candidates, weight curve, pictures; kept until its time is over."""

    __tablename__ = "evidence"

    evidence_id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    interaction_id: Mapped[UUID] = mapped_column(index=True)
    kind: Mapped[str]
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    media_type: Mapped[str | None]
    media: Mapped[bytes | None] = mapped_column(LargeBinary)
    captured_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class DisputeRow(Base):
    """A shopper's question about a line of a receipt; see ``cart.disputes.Dispute``."""

    __tablename__ = "disputes"
    __table_args__ = (
        # One open question a line; a settled one may be asked anew.
        Index(
            "uq_disputes_open",
            "session_id",
            "sku",
            unique=True,
            sqlite_where=text("status IN ('open', 'in_review')"),
            postgresql_where=text("status IN ('open', 'in_review')"),
        ),
    )

    dispute_id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"), index=True)
    sku: Mapped[str]
    claimed_quantity: Mapped[int]
    """How many units the shopper says they have."""
    message: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    outcome: Mapped[str | None]
    """One sentence for the shopper, once it is settled."""
    opened_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]


class DecisionRow(Base):
    """What a reviewer, or the machine, decided about a visit. Append-only."""

    __tablename__ = "decisions"

    decision_id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    dispute_id: Mapped[UUID | None] = mapped_column(ForeignKey("disputes.dispute_id"))
    reviewer_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.account_id"))
    """None for the machine."""
    lines: Mapped[list[Any]] = mapped_column(JSON)
    """The cart as decided: sku and units of each line."""
    note: Mapped[str]
    decided_at: Mapped[datetime]


keep_history(DecisionRow)
