"""A browser for each worker, a store for each module."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from cart.accounts import Role
from cart.config import Settings
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

    def token(self, role: Role = Role.SHOPPER, **account: Any) -> str:
        """A token of somebody new, who can pay."""
        name = f"{role}{next(self._numbers)}"
        made = self.server.accounts.create(f"{name}@example.com", PASSWORD, name.title(), role, by=Role.OWNER)
        self.server.accounts.set_payment_method(made.account_id, "pm_1")
        return self.server.accounts.issue_token(made.account_id, "test", None).secret

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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The demo store in real time, without shoppers of its own."""
    happened: list[tuple[float, FloorEvent]] = []
    options = ServeOptions("sqlite://", tmp_path_factory.mktemp("store"), port=0, demo=True, seed=3, regulars=False)
    server = StoreServer(options, SETTINGS, lambda event: happened.append((time.time(), event)))
    server.start()
    yield Store(server, happened)
    assert server.stop(30.0)
