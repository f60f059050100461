"""The console in a store that has had ten thousand visits: it asks for pages of them and draws what is in sight."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from sqlalchemy import insert

from cart.accounts import Role
from cart.sessions import SessionStatus
from cart.tables import SessionRow
from tests.cart.pages.browsing import Watch, be, watched
from tests.cart.pages.conftest import Store

VISITS = 10_000
PAGE = 100
NEWEST = datetime(2026, 5, 4, 12, tzinfo=UTC)
MOST_ROWS = 60


def visit(number: int) -> UUID:
    """The id of a visit; 0 is the newest."""
    return UUID(int=(0xABC00000 + number) << 96 | 0x4000_8000 << 48)


@pytest.fixture(scope="module")
def many(store: Store) -> Store:
    """The store, with all those visits."""
    rows = [
        {
            "session_id": visit(number),
            "shopper_id": str(UUID(int=number % 500 + 1)),
            "has_account": True,
            "party_size": 1,
            "status": (SessionStatus.EMPTY if number % 10 else SessionStatus.ABANDONED).value,
            "opened_at": NEWEST - timedelta(minutes=number),
            "closed_at": NEWEST - timedelta(minutes=number) + timedelta(seconds=50),
        }
        for number in range(VISITS)
    ]
    with store.server.database.transaction() as repository:
        repository.sql.execute(insert(SessionRow), rows)
    return store


@pytest.fixture
def console(browser: Browser, many: Store) -> Iterator[tuple[Page, Watch]]:
    """All visits, as a manager sees them."""
    with watched(browser, many.url) as (page, watch):
        be(page.context, many.token(Role.MANAGER))
        page.goto("/staff#/visits")
        page.get_by_test_id("scope-all").click()
        expect(row(page, 0)).to_be_visible()
        yield page, watch


def row(page: Page, number: int) -> Locator:
    """The row of a visit."""
    return page.locator(f"[data-test=visit-row][data-visit='{visit(number)}']")


def pages_asked(watch: Watch) -> int:
    """How many pages of all visits were asked for."""
    return len([each for each in watch.fetched if "/v1/sessions?" in each and "status=open" not in each])


def test_only_what_is_in_sight_is_asked_for_and_drawn(console: tuple[Page, Watch]) -> None:
    page, watch = console
    assert pages_asked(watch) == 1
    area = page.locator(".rows")
    for number in (PAGE - 1, 3 * PAGE):
        while row(page, number).count() == 0:
            area.evaluate("area => (area.scrollTop += area.clientHeight)")
            page.wait_for_timeout(50)
        assert page.get_by_test_id("visit-row").count() < MOST_ROWS
    assert pages_asked(watch) <= 6
    # By keyboard, too, and back again.
    area.focus()
    page.keyboard.press("Home")
    expect(row(page, 0)).to_be_visible()
    # How many pages are there by now depends on how quick they came; a busy machine's browser may drop a key.
    for _ in range(40):
        page.keyboard.press("End")
        page.wait_for_timeout(500)
        if row(page, 0).count() == 0:
            break
    expect(row(page, 0)).to_have_count(0)
    assert area.evaluate("area => area.scrollTop") > 2 * PAGE * 50


def test_an_old_visit_is_found_without_all_between(console: tuple[Page, Watch]) -> None:
    page, watch = console
    before = pages_asked(watch)
    page.get_by_test_id("search").fill(str(visit(9_876))[:8])
    expect(page.get_by_test_id("visit-row")).to_have_count(1)
    expect(row(page, 9_876)).to_be_visible()
    expect(page.get_by_test_id("visits-count")).to_contain_text("1 visit")
    # By who came: each of the five hundred came twenty times.
    page.get_by_test_id("search").fill(str(UUID(int=7)))
    expect(page.get_by_test_id("visits-count")).to_contain_text("20 visits")
    assert pages_asked(watch) - before <= 4
    page.get_by_test_id("search").fill("fedcba98")
    expect(page.get_by_text("No visit fits")).to_be_visible()
    page.get_by_test_id("search").fill("")
    expect(row(page, 0)).to_be_visible()


def test_a_late_answer_to_what_nobody_asks_any_more_is_left_out(browser: Browser, many: Store) -> None:
    with watched(browser, many.url) as (page, _):
        be(page.context, many.token(Role.MANAGER))
        held: list[Route] = []
        page.route("**/v1/sessions?*status=open*", lambda route: held.append(route))
        page.goto("/staff#/visits")
        page.get_by_test_id("scope-all").click()
        expect(row(page, 0)).to_be_visible()
        with page.expect_response("**/v1/sessions?*status=open*"):
            held[0].continue_()
        page.wait_for_timeout(300)
        expect(row(page, 0)).to_be_visible()


def test_a_status_is_chosen_among_all(console: tuple[Page, Watch]) -> None:
    page, watch = console
    before = pages_asked(watch)
    page.get_by_test_id("status-filter").select_option("abandoned")
    expect(page.locator("[data-test=visit-row] [data-status=abandoned]").nth(10)).to_be_visible()
    expect(page.locator("[data-test=visit-row] [data-status=empty]")).to_have_count(0)
    assert pages_asked(watch) - before <= 2
