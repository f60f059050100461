"""What pages do when the line to the store breaks, or the store itself stops and comes back: they say so, and go on."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from cart.accounts import Role
from tests.cart.pages.browsing import PHONE, be, watched
from tests.cart.pages.cables import Cable, cable_to
from tests.cart.pages.conftest import Store, open_store

OATS, JAM = "2000000001012", "2000000001050"
AWAY = ("ERR_", "Failed to fetch", "network error")
"""What a browser says of a line that is broken."""
VISIT_MS = 60_000


@pytest.fixture
def cable(store: Store) -> Iterator[Cable]:
    """The line to the store."""
    with cable_to(urlsplit(store.url).port or 0) as cable:
        yield cable


def line(page: Page, sku: str) -> Locator:
    """A line of the cart."""
    return page.locator(f"[data-test=cart-line][data-sku='{sku}']")


class Follower(threading.Thread):
    """Follows a stream to its end."""

    def __init__(self, address: str, token: str) -> None:
        super().__init__(daemon=True)
        self._address, self._token = address, token
        self._told = threading.Event()
        self._how = "not yet"
        self.start()

    def run(self) -> None:
        """Read it."""
        headers = {"authorization": f"Bearer {self._token}"}
        try:
            with httpx.stream("GET", self._address, headers=headers, timeout=60.0) as answer:
                for _ in answer.iter_raw():
                    self._told.set()
            self._how = "well"
        except httpx.HTTPError as error:
            self._how = repr(error)

    def wait_until_told(self) -> None:
        """Wait until something came."""
        assert self._told.wait(30.0)

    def ended(self) -> str:
        """How it ended."""
        self.join(30.0)
        return self._how


def test_a_cart_goes_on_after_a_break_with_what_was_taken_meanwhile(
    browser: Browser, store: Store, cable: Cable
) -> None:
    who = store.somebody()
    visit = store.visit(who, {OATS: 1})
    with watched(browser, cable.url, AWAY, **PHONE) as (page, _):
        be(page.context, who.token)
        page.goto("/")
        expect(line(page, OATS)).to_be_visible()
        lost = page.locator(".lost")
        expect(lost).to_have_text("")
        cable.cut()
        expect(lost).to_contain_text("connection is lost")
        # What was known stays to be seen.
        expect(line(page, OATS)).to_be_visible()
        store.take(visit, JAM)
        cable.mend()
        expect(line(page, JAM)).to_be_visible()
        expect(lost).to_have_text("")
        cable.cut()
        expect(lost).to_contain_text("connection is lost")
        store.leave(visit)
        cable.mend()
        # The visit ended while nobody could tell.
        expect(page.get_by_test_id("receipt")).to_have_attribute("data-total", str(219 + 325))


def test_the_floor_goes_on_after_a_break_and_shows_what_happened_meanwhile(
    browser: Browser, store: Store, cable: Cable
) -> None:
    who = store.somebody()
    with store.client(who.token) as client, watched(browser, cable.url, AWAY) as (page, _):
        be(page.context, store.token(Role.MANAGER))
        page.goto("/staff#/floor")
        lost = page.get_by_test_id("lost")
        code = client.post("/v1/entry-codes").json()["code"]
        visit = client.post("/v1/gates/entrance/scans", json={"code": code}).json()["session_id"]
        client.post(f"/v1/demo/sessions/{visit}/shop", json={"lines": [{"sku": JAM}]}).raise_for_status()
        person = page.locator(f"[data-test=person][data-visit='{visit}']")
        person.click(timeout=VISIT_MS)
        expect(page.get_by_test_id("cart-total")).to_be_visible()
        expect(page.get_by_test_id("happening")).to_have_count(0)
        cable.cut()
        expect(lost).to_be_visible()
        with client.stream("GET", f"/v1/sessions/{visit}/cart/events") as told:
            next(each for each in told.iter_lines() if JAM in each)
        cable.mend()
        expect(page.get_by_test_id("happening")).to_have_count(1)
        expect(lost).to_have_count(0)
        expect(page.get_by_test_id("chosen").get_by_test_id("cart-line")).to_have_count(1)


def test_a_store_that_counts_people_anew_does_not_pass_one_off_as_another(browser: Browser, store: Store) -> None:
    told = [{"label": "aaaa", "session_id": str(UUID(int=1))}]

    def tell(route: Route) -> None:
        unseen = {"identity_id": 1, "position_m": [1.0, 1.0], "hands_m": [], "units": 0, "flagged": False}
        news = {"at": "2026-05-04T12:00:00Z", "latency_s": 0.1, "people": [unseen | told[-1]], "happened": []}
        route.fulfill(content_type="text/event-stream", body=f"event: floor\ndata: {json.dumps(news)}\n\n")

    with watched(browser, store.url, ["status of 404 .*/cart/events"]) as (page, _):
        be(page.context, store.token(Role.MANAGER))
        page.route("**/v1/floor/events", tell)
        page.goto("/staff#/floor")
        page.get_by_test_id("person").filter(has_text="aaaa").click()
        expect(page.get_by_test_id("chosen")).to_contain_text("aaaa")
        told.append({"label": "bbbb", "session_id": str(UUID(int=2))})
        other = page.get_by_test_id("person").filter(has_text="bbbb")
        expect(other).to_have_attribute("aria-pressed", "false")
        expect(page.get_by_test_id("chosen")).to_contain_text("aaaa")


def test_pictures_go_on_after_a_break(browser: Browser, store: Store, cable: Cable) -> None:
    with watched(browser, cable.url, AWAY) as (page, _):
        be(page.context, store.token(Role.MANAGER))
        page.goto("/staff#/cameras")
        shown = page.locator("canvas[data-captured-at]").first
        expect(shown).to_be_visible()
        cable.cut()
        expect(page.get_by_test_id("lost")).to_be_visible()
        before = shown.get_attribute("data-captured-at")
        cable.mend()
        expect(page.locator(f"canvas[data-captured-at]:not([data-captured-at='{before}'])").first).to_be_visible()
        expect(page.get_by_test_id("lost")).to_have_count(0)


def test_a_store_that_stops_waits_for_no_page_and_pages_find_it_again(browser: Browser, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'shop.db'}"
    with ExitStack() as stack, ExitStack() as first:
        store = first.enter_context(open_store(tmp_path, database=database))
        port = urlsplit(store.url).port or 0
        who, manager = store.somebody(), store.somebody(Role.MANAGER)
        visit = store.visit(who, {OATS: 1})
        phone, _ = stack.enter_context(watched(browser, store.url, AWAY, **PHONE))
        console, _ = stack.enter_context(watched(browser, store.url, AWAY))
        be(phone.context, who.token)
        be(console.context, manager.token)
        phone.goto("/")
        expect(line(phone, OATS)).to_be_visible()
        console.goto("/staff#/floor")
        expect(console.get_by_test_id("latency")).to_be_visible()
        followed = [
            Follower(f"{store.url}/v1/{path}", token)
            for path, token in (
                (f"sessions/{visit}/cart/events", who.token),
                (f"sessions/{visit}/place/events", who.token),
                ("floor/events", manager.token),
                ("cameras/live", manager.token),
            )
        ]
        for each in followed:
            each.wait_until_told()
        first.close()
        # None was cut off by a server that would not wait any longer.
        assert [each.ended() for each in followed] == ["well"] * len(followed)
        expect(phone.locator(".lost")).to_contain_text("connection is lost")
        expect(console.get_by_test_id("lost")).to_be_visible()
        stack.enter_context(open_store(tmp_path, database=database, port=port))
        expect(console.get_by_test_id("lost")).to_have_count(0)
        # Whoever was inside is looked at by a person; the page says so, and what they had is there.
        expect(phone.locator("[data-test=status][data-status=needs_review]")).to_be_visible()
        expect(phone.locator(f"[data-test=receipt-line][data-sku='{OATS}']")).to_be_visible()
