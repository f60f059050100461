"""The cart of a visit: what its events add up to."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from cart.errors import EventConflict
from cart.events import CartEvent


@dataclass(frozen=True, slots=True)
class CartLine:
    """Units of one product in a cart.

    Attributes:
        sku: The product.
        quantity: Units, never 0. Negative when more came back than was seen leaving: something was missed.
        probability: That of the least sure event behind the line, 0 to 1.
    """

    sku: str
    quantity: int
    probability: float


@dataclass(frozen=True, slots=True)
class Cart:
    """What a visit holds: a pure fold of its cart events.

    The same events give the same cart in any order and however often each comes. Nothing is clamped, so a put-back
    that was seen before its pick is not lost.

    Attributes:
        lines: Lines by sku, in its order; products whose events cancel out are left out.
    """

    lines: tuple[CartLine, ...] = ()

    @classmethod
    def of(cls, events: Iterable[CartEvent]) -> Self:
        """Fold the events of one visit.

        Raises:
            EventConflict: One event id comes with two contents.
            ValueError: The events are of several visits.

        >>> from datetime import UTC, datetime
        >>> visit, noon = UUID(int=1), datetime(2026, 1, 1, 12, tzinfo=UTC)
        >>> pick = CartEvent(UUID(int=2), visit, noon, "042", 2)
        >>> put_back = CartEvent(UUID(int=3), visit, noon, "042", -1, probability=0.7)
        >>> Cart.of([put_back, pick, pick]).lines
        (CartLine(sku='042', quantity=1, probability=0.7),)
        """
        seen: dict[UUID, CartEvent] = {}
        for event in events:
            if seen.setdefault(event.event_id, event) != event:
                raise EventConflict(f"cart event {event.event_id} came with two contents")
        if len({event.session_id for event in seen.values()}) > 1:
            raise ValueError("Cart.of: expected the events of one visit, got those of several")
        quantities: dict[str, int] = {}
        probabilities: dict[str, float] = {}
        for event in seen.values():
            quantities[event.sku] = quantities.get(event.sku, 0) + event.quantity
            probabilities[event.sku] = min(probabilities.get(event.sku, 1.0), event.probability)
        return cls(
            tuple(CartLine(sku, quantities[sku], probabilities[sku]) for sku in sorted(quantities) if quantities[sku])
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in the cart."""
        return not self.lines
