"""One visit of a shopper, from check-in to its end."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from cart.events import check_aware


class SessionStatus(StrEnum):
    """Where a visit stands. Only ``OPEN`` and ``CLOSED`` change by themselves."""

    OPEN = "open"
    """The shopper is in the store."""
    CLOSED = "closed"
    """The shopper left and a payment is under way; its outcome is not known yet."""
    CHARGED = "charged"
    """Paid."""
    NEEDS_REVIEW = "needs_review"
    """A person has to look at it; nothing was charged."""
    EMPTY = "empty"
    """The shopper took nothing; nothing was charged."""
    NO_ACCOUNT = "no_account"
    """The visitor has no account to charge."""
    PAYMENT_FAILED = "payment_failed"
    """The gateway declined for good; the shopper owes what is not paid yet."""
    ABANDONED = "abandoned"
    """Nobody came in: the hold was refused, or the shopper was let in and never seen; nothing was charged."""


@dataclass(frozen=True, slots=True)
class Session:
    """One visit.

    Attributes:
        session_id: Identity of the visit.
        shopper_id: The account's id; for somebody without one, the name the store gave them.
        has_account: Whether there is an account that can be charged.
        party_size: How many people shop on this account, at least 1.
        status: Where the visit stands.
        opened_at: Check-in, timezone-aware.
        closed_at: When the shopper left; None while they are in the store.
    """

    session_id: UUID
    shopper_id: str
    has_account: bool
    party_size: int
    status: SessionStatus
    opened_at: datetime
    closed_at: datetime | None = None

    def __post_init__(self) -> None:
        check_aware("Session.opened_at", self.opened_at)
        if self.closed_at is not None:
            check_aware("Session.closed_at", self.closed_at)
        if (self.closed_at is None) != (self.status is SessionStatus.OPEN):
            raise ValueError(f"Session: status {self.status} does not fit closed_at {self.closed_at}")
        if not self.shopper_id:
            raise ValueError("Session.shopper_id: expected text, got nothing")
        if self.party_size < 1:
            raise ValueError(f"Session.party_size: expected at least 1, got {self.party_size}")
