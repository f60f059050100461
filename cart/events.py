"""What happens during a visit, as facts that are written once and never changed."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cart.questions import Question

# Nobody carries more units of a product in one go; together with the bound on prices it keeps every sum far inside a
# 64-bit database column.
MAX_QUANTITY = 1000


def check_aware(what: str, moment: datetime) -> None:
    """Raise ``ValueError`` unless a time knows its offset from UTC."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(f"{what}: expected a timezone-aware time, got {moment.isoformat()} without a timezone")


@dataclass(frozen=True, slots=True)
class CartEvent:
    """Units of one product went into a visit's cart or came out of it.

    Attributes:
        event_id: Identity of the event; the same id is counted once however often it comes. Derive it from the cause
            (uuid5), so that a replay gives the same ids.
        session_id: The visit.
        occurred_at: When it happened, timezone-aware.
        sku: The product as the catalogue names it.
        quantity: Units added; negative for units put back; never 0, at most ``MAX_QUANTITY`` either way.
        cause_id: The interaction, or the correction, behind it; None if there is no such thing.
        probability: How sure the cause is that just this happened, 0 to 1.
    """

    event_id: UUID
    session_id: UUID
    occurred_at: datetime
    sku: str
    quantity: int
    cause_id: UUID | None = None
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_aware("CartEvent.occurred_at", self.occurred_at)
        if not self.sku:
            raise ValueError("CartEvent.sku: expected text, got nothing")
        if not 1 <= abs(self.quantity) <= MAX_QUANTITY:
            raise ValueError(f"CartEvent.quantity: expected 1 to {MAX_QUANTITY} either way, got {self.quantity}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"CartEvent.probability: expected 0 to 1, got {self.probability}")


@dataclass(frozen=True, slots=True)
class ReviewFlag:
    """A reason why a person should look at a visit before anybody is charged.

    Attributes:
        session_id: The visit.
        reason: One sentence for the reviewer.
        cause_id: The interaction behind it; None if it is about the visit as a whole.
        raised_at: When it was noticed, timezone-aware.
        question: What the reviewer is asked; None where there is nothing to choose between.
    """

    session_id: UUID
    reason: str
    cause_id: UUID | None
    raised_at: datetime
    question: Question | None = None

    def __post_init__(self) -> None:
        check_aware("ReviewFlag.raised_at", self.raised_at)
        if not self.reason:
            raise ValueError("ReviewFlag.reason: expected a sentence, got nothing")
