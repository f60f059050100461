"""Nobody is kept out of a page: axe finds nothing serious, in either direction of writing, light and dark."""

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from cart.accounts import Role
from cart.pages.serving import LIBRARIES
from tests.cart.pages.browsing import DESKTOP, PHONE, be, settled, watched
from tests.cart.pages.conftest import Store

AXE = LIBRARIES / "axe-core" / "axe.min.js"
OPEN_PRODUCT = "#/catalogue"
"""Where a product is opened, which shows its prices."""
VIEWS: dict[tuple[str, Role | None], list[str]] = {
    ("/", None): [""],
    ("/", Role.SHOPPER): ["#/", "#/receipts", "#/me"],
    ("/gate", None): [""],
    ("/staff", None): [""],
    ("/staff", Role.OWNER): ["#/floor", "#/cameras", "#/visits", "#/reviews", "#/disputes"],
    ("/office", None): [""],
    ("/office", Role.OWNER): [
        "",
        "#/layout/document",
        "#/layout/calibration",
        "#/catalogue/offers",
        "#/catalogue/coupons",
        OPEN_PRODUCT,
    ],
    ("/engineer", None): [""],
    ("/engineer", Role.ENGINEER): [""],
}
"""Pages, who looks at them, and the views they see there; where a page has a navigation, all that it names too."""


def troubles(page: Page) -> list[str]:
    """What axe finds serious or critical in a page as it stands."""
    page.evaluate(AXE.read_text("utf-8"))
    found: list[dict[str, Any]] = page.evaluate("axe.run().then(({ violations }) => violations)")
    return [
        f"{page.url}: {each['impact']} {each['id']}: {node['html'][:160]}: {node['failureSummary'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]


@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("ar", "dark")])
@pytest.mark.parametrize(("address", "role"), VIEWS, ids=lambda each: str(each or "nobody").strip("/") or "app")
def test_axe_finds_nothing_serious(
    browser: Browser, store: Store, address: str, role: Role | None, language: str, scheme: str
) -> None:
    device = PHONE if address == "/" else DESKTOP
    with watched(browser, store.url, locale=language, color_scheme=scheme, **device) as (page, _):
        if role is not None:
            be(page.context, store.token(role))
        page.goto(address)
        settled(page)
        named = page.locator("nav a[href^='#/']").evaluate_all("all => all.map(each => each.getAttribute('href'))")
        found = []
        for view in dict.fromkeys([*VIEWS[address, role], *named]):
            if view:
                page.evaluate("view => (location.hash = view)", view)
                settled(page)
            if view == OPEN_PRODUCT:
                page.get_by_test_id("product-edit").first.click()
                settled(page)
            page.wait_for_timeout(150)  # what a view loads after its skeleton
            found += troubles(page)
        assert found == []


@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("ar", "dark")])
def test_axe_finds_nothing_serious_while_a_layout_is_edited(
    browser: Browser, store: Store, language: str, scheme: str
) -> None:
    with watched(browser, store.url, locale=language, color_scheme=scheme, **DESKTOP) as (page, _):
        be(page.context, store.token(Role.OWNER))
        page.goto("/office#/layout")
        settled(page)
        found = []
        for name in ("floor", "gondola:1", "camera:cam1", "surface:0", "bin:1"):
            if name == "bin:1":
                page.locator("[data-test=thing][data-id='gondola:1']").click()
            page.locator(f"[data-test=thing][data-id='{name}']").click()
            expect(page.get_by_test_id("selected")).to_have_attribute("data-id", name)
            found += troubles(page)
        page.get_by_test_id("find-product").fill("a")
        expect(page.get_by_test_id("product-choice").first).to_be_visible()
        page.get_by_test_id("field-bin").fill("1/1/1")
        page.get_by_test_id("layout.check").click()
        expect(page.get_by_test_id("thing-problem")).to_be_visible()
        page.get_by_test_id("layout.compare").first.click()
        expect(page.get_by_test_id("difference").first).to_be_visible()
        found += troubles(page)
        page.get_by_test_id("tab-calibration").click()
        page.get_by_test_id("add-pair").click()
        expect(page.get_by_test_id("pair")).to_have_count(1)
        found += troubles(page)
        assert found == []


@pytest.mark.parametrize("address", ["/staff", "/office", "/engineer"])
def test_a_shopper_is_shown_the_way_out(browser: Browser, store: Store, address: str) -> None:
    with watched(browser, store.url) as (page, _):
        be(page.context, store.token())
        page.goto(address)
        settled(page)
        expect(page.get_by_test_id("not-for-you")).to_be_visible()
