from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from cart.events import CartEvent, ReviewFlag

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": 0},
        {"quantity": 1001},
        {"quantity": -1001},
        {"sku": ""},
        {"probability": 1.1},
        {"probability": float("nan")},
        {"occurred_at": datetime(2026, 1, 1)},
    ],
)
def test_a_cart_event_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    event: dict[str, Any] = {
        "event_id": UUID(int=1),
        "session_id": UUID(int=2),
        "occurred_at": NOON,
        "sku": "042",
        "quantity": 1,
    }
    CartEvent(**event)
    with pytest.raises(ValueError, match="expected"):
        CartEvent(**(event | changes))


def test_a_flag_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a sentence"):
        ReviewFlag(UUID(int=1), "", None, NOON)
