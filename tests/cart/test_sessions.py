from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from cart.sessions import Session, SessionStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "changes",
    [
        {"party_size": 0},
        {"shopper_id": ""},
        {"closed_at": NOON},
        {"status": SessionStatus.EMPTY},
        {"status": SessionStatus.ABANDONED},
        {"opened_at": datetime(2026, 1, 1)},
    ],
)
def test_a_visit_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    visit: dict[str, Any] = {
        "session_id": UUID(int=1),
        "shopper_id": "ada",
        "has_account": True,
        "party_size": 1,
        "status": SessionStatus.OPEN,
        "opened_at": NOON,
    }
    Session(**visit)
    with pytest.raises(ValueError, match=r"Session|expected"):
        Session(**(visit | changes))
