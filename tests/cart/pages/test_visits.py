"""The console's list of visits in a real browser: what it searches for is found wherever it lies."""

from datetime import timedelta
from uuid import uuid4

from playwright.sync_api import Browser, expect

from cart.accounts import Role
from tests.cart.pages.browsing import be, settled, watched
from tests.cart.pages.conftest import Store

MANY = 130
"""More than come with a page of the list."""


def test_a_visit_that_is_far_down_the_list_is_found_by_the_store(browser: Browser, store: Store) -> None:
    checkout, now = store.server.checkout, store.server.shop.now()
    shopper = f"guest-{uuid4()}"
    visits = []
    for number in range(MANY):
        at = now - timedelta(minutes=MANY - number)
        visit = checkout.check_in(shopper if number == 0 else f"somebody-{number}", at)
        checkout.close(visit.session_id, at)
        visits.append(str(visit.session_id))
    with watched(browser, store.url) as (page, watch):
        be(page.context, store.token(Role.STAFF))
        page.goto("/staff#/visits")
        settled(page)
        page.get_by_test_id("scope-all").click()
        expect(page.locator(f"[data-test=visit-row][data-visit='{visits[-1]}']")).to_be_visible()
        rows = page.get_by_test_id("visit-row")
        before = len(watch.fetched)
        for text in (visits[0][:12], shopper[:20].upper()):
            page.get_by_test_id("search").fill(text)
            expect(rows).to_have_count(1)
            expect(rows).to_have_attribute("data-visit", visits[0])
        asked = [address for address in watch.fetched[before:] if "search=" in address]
        assert all("cursor=" not in address for address in asked)
        page.get_by_test_id("search").fill("nobody's")
        expect(rows).to_have_count(0)
        page.get_by_test_id("search").fill(visits[0])
        expect(rows).to_have_count(1)
        expect(rows).to_have_attribute("data-visit", visits[0])
