"""A browser for each worker, a store for each module."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from cart.accounts import Role
from cart.config import Settings
from cart.events import CartEvent
from cart.live_store import FloorEvent
from cart.serve import ServeOptions, StoreServer
from tests.cart.pages.browsing import chromium, launched

PASSWORD = "correct horse battery"
SETTINGS = Settings(
    requests_per_minute=100_000,
    sign_ins_per_minute=10_000,
    # Every question goes to a person.
    dispute_sure_from=0.0,
    dispute_small_minor=0,
    # Receivers of webhooks are on this machine.
    webhook_private_networks=True,
)


@dataclass(frozen=True)
class Somebody:
    """An account, and a token that speaks for it."""

    account_id: UUID
    email: str
    token: str


@dataclass
class Store:
    """A demo store that trades, and people who work there.

    Attributes:
        server: The store.
        happened: What happened on its floor, with when the store knew it, seconds since 1970.
    """

    server: StoreServer
    happened: list[tuple[float, FloorEvent]]

    def __post_init__(self) -> None:
        self._numbers = count(1)

    @property
    def url(self) -> str:
        """Where it is."""
        return self.server.url

    @property
    def local_url(self) -> str:
        """The same by a name, which browsers want for passkeys."""
        return f"http://localhost:{urlsplit(self.url).port}"

    def somebody(self, role: Role = Role.SHOPPER) -> Somebody:
        """Somebody new, who can pay."""
        name = f"{role}{next(self._numbers)}"
        email = f"{name}@example.com"
        made = self.server.accounts.create(email, PASSWORD, name.title(), role, by=Role.OWNER)
        self.server.accounts.set_payment_method(made.account_id, "pm_1")
        return Somebody(made.account_id, email, self.server.accounts.issue_token(made.account_id, "test", None).secret)

    def token(self, role: Role = Role.SHOPPER) -> str:
        """A token of somebody new, who can pay."""
        return self.somebody(role).token

    def visit(self, who: Somebody, lines: Mapping[str, int], probability: float = 0.999) -> UUID:
        """Have somebody take something; they are still inside, and nobody has seen them on the floor."""
        checkout, at = self.server.checkout, self.server.clock()
        session_id = checkout.check_in(str(who.account_id), at).session_id
        checkout.hold(session_id, at)
        for sku, quantity in lines.items():
            self.take(session_id, sku, quantity, probability)
        return session_id

    def take(self, session_id: UUID, sku: str, quantity: int = 1, probability: float = 0.999) -> UUID:
        """Put something into the cart of a visit; the interaction it is put down to."""
        cause_id = uuid4()
        event = CartEvent(uuid4(), session_id, self.server.clock(), sku, quantity, cause_id, probability)
        self.server.checkout.record(event)
        return cause_id

    def leave(self, session_id: UUID) -> None:
        """End a visit, and charge it."""
        self.server.checkout.close(session_id, self.server.clock())

    def paid_visit(self, who: Somebody, lines: Mapping[str, int], probability: float = 0.999) -> UUID:
        """A visit that is over and was charged."""
        session_id = self.visit(who, lines, probability)
        self.leave(session_id)
        return session_id

    def client(self, token: str) -> httpx.Client:
        """Speaks to the store for somebody."""
        return httpx.Client(base_url=self.url, timeout=30.0, headers={"authorization": f"Bearer {token}"})


# Not for the whole run: while it drives browsers, no other test of this process may run an event loop of its own.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """What drives browsers."""
    chromium()
    with sync_playwright() as playwright:
        playwright.selectors.set_test_id_attribute("data-test")
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """A browser."""
    browser = launched(playwright)
    yield browser
    browser.close()


@contextmanager
def open_store(
    folder: Path, settings: Settings = SETTINGS, database: str = "sqlite://", port: int = 0
) -> Iterator[Store]:
    """The demo store in real time, without shoppers of its own."""
    happened: list[tuple[float, FloorEvent]] = []
    options = ServeOptions(database, folder, port=port, demo=True, seed=3, regulars=False)
    server = StoreServer(options, settings, lambda event: happened.append((time.time(), event)))
    server.start()
    try:
        yield Store(server, happened)
    finally:
        assert server.stop(30.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store for a module."""
    with open_store(tmp_path_factory.mktemp("store")) as store:
        yield store
