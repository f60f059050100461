"""What tests about people share: a clock, and accounts whose passwords cost next to nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from cart.accounts import Account, Accounts, Principal, Role
from cart.passwords import Argon2Cost, Passwords
from cart.repository import Database

START = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"
CHEAP = Argon2Cost(memory_kib=8, passes=1, lanes=1)
CHEAP_PASSWORDS = Passwords(CHEAP)


@dataclass
class Clock:
    """A clock that stands still until it is told to go on."""

    at: datetime = START

    def __call__(self) -> datetime:
        """The time."""
        return self.at

    def wait(self, **length: float) -> None:
        """Go on by so many ``seconds``, ``minutes``, ``days`` ..."""
        self.at += timedelta(**length)


def ascii_start(text: str) -> str:
    """The name of a test about a text that may be long or no text."""
    return ascii(text[:24])


def numbered_ids(seed: int = 1) -> Callable[[], UUID]:
    """Makes ids, the same ones each time."""
    random = Random(seed)
    return lambda: UUID(int=random.getrandbits(128), version=4)


@dataclass
class People:
    """Accounts on a database in memory."""

    database: Database = field(default_factory=Database.in_memory)
    clock: Clock = field(default_factory=Clock)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.new_id = numbered_ids()
        self.accounts = Accounts(
            self.database, self.clock, self.new_id, **{"passwords": CHEAP_PASSWORDS, **self.settings}
        )

    def person(self, role: Role = Role.SHOPPER, name: str = "Grace Hopper") -> Account:
        """A new account of a role."""
        email = f"{self.new_id()}@example.com"
        return self.accounts.create(email, PASSWORD, name, role, by=Role.OWNER)

    def principal(self, role: Role, scopes: tuple[str, ...] | None = None) -> Principal:
        """Somebody of a role who has signed in."""
        if role is Role.DEVICE:
            return self.accounts.authenticate(self.accounts.create_device("front", scopes).secret)
        token = self.accounts.issue_token(self.person(role).account_id, "test", scopes)
        return self.accounts.authenticate(token.secret)
