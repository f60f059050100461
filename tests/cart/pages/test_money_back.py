"""Money that goes back, in real browsers: refunds by hand, questions that a person answers or that settle at once."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from cart.accounts import Role
from cart.dispute_rules import DisputeRules
from cart.disputes import Disputes
from tests.cart.pages.browsing import PHONE, be, watched
from tests.cart.pages.conftest import Somebody, Store

OATS, JAM = "2000000001012", "2000000001050"
OATS_MINOR, JAM_MINOR = 219, 325
TOTAL_MINOR = 2 * OATS_MINOR + JAM_MINOR


@pytest.fixture
def shopper(store: Store) -> Somebody:
    """A shopper."""
    return store.somebody()


@pytest.fixture
def visit(store: Store, shopper: Somebody) -> UUID:
    """A paid visit of theirs: two of oats, one of jam."""
    return store.paid_visit(shopper, {OATS: 2, JAM: 1})


@pytest.fixture
def console(browser: Browser, store: Store) -> Iterator[Page]:
    """The console of a manager."""
    with watched(browser, store.url) as (page, watch):
        # A refund that is refused, or whose answer is lost; the browser says so too.
        watch.allow("status of 409", "ERR_FAILED")
        be(page.context, store.token(Role.MANAGER))
        yield page


def given_back(store: Store, shopper: Somebody) -> list[int]:
    """What has gone back to a shopper, minor units."""
    with store.client(shopper.token) as client:
        refunds: list[dict[str, Any]] = client.get("/v1/account/export").json()["refunds"]
    return [each["amount_minor"] for each in refunds if each["status"] == "posted"]


def ask_for(console: Page, amount: str, reason: str) -> None:
    """Fill in the dialog and send it."""
    console.get_by_test_id("refund-amount").fill(amount)
    console.get_by_test_id("refund-reason").fill(reason)
    console.get_by_test_id("refund-send").click()


def test_a_part_goes_back_then_the_rest_and_never_more(
    console: Page, store: Store, shopper: Somebody, visit: UUID
) -> None:
    console.goto(f"/staff#/visits/{visit}")
    console.get_by_test_id("refund").click()
    ask_for(console, "2.19", "one was broken")
    expect(console.get_by_role("dialog")).to_have_count(0)
    expect(console.get_by_test_id("refunds")).to_contain_text("one was broken")
    assert given_back(store, shopper) == [OATS_MINOR]

    console.get_by_test_id("refund").click()
    ask_for(console, "5.45", "too much")
    # What was written is still there, to be put right.
    expect(console.get_by_role("dialog").get_by_role("alert")).to_contain_text("more than was paid")
    expect(console.get_by_test_id("refund-reason")).to_have_value("too much")
    assert given_back(store, shopper) == [OATS_MINOR]

    ask_for(console, "5.44", "all of it")
    expect(console.get_by_role("dialog")).to_have_count(0)
    expect(console.get_by_test_id("refunds").locator("li")).to_have_count(2)
    assert sorted(given_back(store, shopper)) == [OATS_MINOR, TOTAL_MINOR - OATS_MINOR]


def test_a_refund_whose_answer_is_lost_is_given_once(
    console: Page, store: Store, shopper: Somebody, visit: UUID
) -> None:
    def swallow(route: Route) -> None:
        route.fetch()
        route.abort()

    console.goto(f"/staff#/visits/{visit}")
    console.get_by_test_id("refund").click()
    console.route("**/refunds", swallow)
    ask_for(console, "1", "goodwill")
    expect(console.get_by_role("dialog").get_by_role("alert")).to_contain_text("cannot be reached")
    console.unroute("**/refunds")
    console.get_by_test_id("refund-send").click()
    expect(console.get_by_role("dialog")).to_have_count(0)
    expect(console.get_by_test_id("refunds").locator("li")).to_have_count(1)
    assert given_back(store, shopper) == [100]


@pytest.mark.parametrize(
    ("role", "may"), [(Role.OWNER, True), (Role.MANAGER, True), (Role.REVIEWER, False), (Role.STAFF, False)]
)
def test_money_is_given_back_by_those_who_may(
    browser: Browser, store: Store, visit: UUID, role: Role, may: bool
) -> None:
    with watched(browser, store.url) as (page, _):
        be(page.context, store.token(role))
        page.goto(f"/staff#/visits/{visit}")
        expect(page.get_by_test_id("receipt-total")).to_be_visible()
        expect(page.get_by_test_id("refund")).to_have_count(int(may))


def complain(page: Page, visit: UUID, sku: str, claimed: int) -> None:
    """Say that a line is wrong."""
    page.goto(f"/#/receipts/{visit}")
    page.locator(f"[data-test=receipt-line][data-sku='{sku}'] [data-test=wrong]").click()
    page.locator(f"[data-test=claim][data-claim='{claimed}']").click()


def test_a_reviewer_answers_by_hand_and_the_shopper_sees_it(
    browser: Browser, store: Store, shopper: Somebody, visit: UUID
) -> None:
    with watched(browser, store.url, **PHONE) as (page, _), watched(browser, store.url) as (staff, _):
        be(page.context, shopper.token)
        be(staff.context, store.token(Role.REVIEWER))
        complain(page, visit, OATS, 0)
        expect(page.locator("[data-test=dispute][data-status=in_review]")).to_be_visible()
        assert given_back(store, shopper) == []

        staff.goto("/staff#/disputes")
        staff.get_by_test_id("dispute-row").filter(has_text=str(visit)[:8]).click()
        expect(staff.get_by_test_id("billed")).to_contain_text("2")
        # The reviewer finds that they had one of them.
        staff.get_by_test_id("settle-quantity").fill("1")
        staff.get_by_test_id("settle-note").fill("one on the clip")
        staff.get_by_test_id("settle").click()
        expect(staff.get_by_test_id("outcome")).to_be_visible()

        expect(page.locator("[data-test=dispute][data-status=settled]")).to_be_visible()
        expect(page.get_by_test_id("receipt")).to_have_attribute("data-total", str(OATS_MINOR + JAM_MINOR))
        expect(page.get_by_test_id("receipt")).not_to_contain_text("one on the clip")
        assert given_back(store, shopper) == [OATS_MINOR]


def test_a_small_matter_is_settled_at_once(
    browser: Browser, store: Store, shopper: Somebody, visit: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = store.server.shop
    generous = Disputes(shop.database, shop.checkout, shop.now, rules=DisputeRules())
    monkeypatch.setattr(store.server.app.state, "shop", replace(shop, disputes=generous))
    with watched(browser, store.url, **PHONE) as (page, _):
        be(page.context, shopper.token)
        complain(page, visit, JAM, 0)
        expect(page.locator("[data-test=dispute][data-status=settled]")).to_be_visible()
        expect(page.get_by_test_id("receipt")).to_have_attribute("data-total", str(2 * OATS_MINOR))
        expect(page.get_by_test_id("receipt")).to_have_attribute("data-sequence", "2")
        assert given_back(store, shopper) == [JAM_MINOR]
