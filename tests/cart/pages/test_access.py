"""Nobody is kept out of a page: axe finds nothing serious, in either direction of writing, light and dark."""

from uuid import UUID

import pytest
from playwright.sync_api import Browser, expect

from cart.accounts import Role
from cart.errors import PaymentDeclined
from cart.evidence import EvidenceCandidate, EvidenceKind, InteractionFacts, WeightCurve
from tests.cart.api.shops import picture_file
from tests.cart.pages.browsing import DESKTOP, PHONE, be, settled, troubles, watched
from tests.cart.pages.conftest import Somebody, Store

OPEN_PRODUCT = "#/catalogue"
"""Where a product is opened, which shows its prices."""
JAM = "2000000001050"
CURVE = WeightCurve((-0.5, 0.0, 1.5), (0.0, -3.5, -421.0))
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


def seen_visit(store: Store, who: Somebody) -> UUID:
    """A paid visit of which a picture and what the scale weighed are kept, and a question about it."""
    evidence = store.server.shop.evidence
    assert evidence is not None
    at = store.server.clock()
    visit = store.visit(who, {})
    cause = store.take(visit, JAM)
    candidates = (EvidenceCandidate(str(who.account_id), JAM, 1, 0.9),)
    facts = InteractionFacts("pick", "1/2/1", "gondola 1, shelf 2", at, at, ("cam1",), candidates, CURVE)
    evidence.add(visit, cause, EvidenceKind.INTERACTION, facts)
    taken = InteractionFacts("pick", "1/2/1", "gondola 1, shelf 2", at, at, camera_id="cam1")
    evidence.add(visit, cause, EvidenceKind.HAND, taken, picture_file("JPEG"), "image/jpeg")
    store.leave(visit)
    with store.client(who.token) as client:
        question = {"sku": JAM, "claimed_quantity": 0, "message": "I put it back"}
        client.post(f"/v1/receipts/{visit}/disputes", json=question).raise_for_status()
    return visit


@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("ar", "dark")])
def test_axe_finds_nothing_serious_in_what_a_visit_leaves_behind(
    browser: Browser, store: Store, language: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, owing, manager = store.somebody(), store.somebody(), store.somebody(Role.MANAGER)
    visit, unpaid = seen_visit(store, who), store.visit(owing, {JAM: 1})
    look = {"locale": language, "color_scheme": scheme}
    found = []
    with watched(browser, store.url, **look, **PHONE) as (page, _):
        be(page.context, who.token)
        page.goto(f"/#/receipts/{visit}")
        page.get_by_test_id("why").click()
        expect(page.locator("img.seen")).to_be_visible()
        found += troubles(page)
        page.goto("/#/me")
        page.get_by_test_id("show-kept").click()
        expect(page.get_by_test_id("looks")).to_be_visible()
        found += troubles(page)
        page.goto("/#/")
        with store.client(who.token) as client:
            code = client.post("/v1/entry-codes").json()["code"]
            client.post("/v1/gates/entrance/scans", json={"code": code}).raise_for_status()
        page.get_by_test_id("guests").locator("summary").click()
        page.get_by_test_id("let-in").click()
        expect(page.get_by_test_id("guests-open")).to_be_visible()
        found += troubles(page)
    with watched(browser, store.url, ["status of 409"], **look) as (page, _):
        be(page.context, manager.token)
        page.goto("/staff#/disputes")
        page.get_by_test_id("dispute-row").filter(has_text=str(visit)[:8]).click()
        expect(page.get_by_test_id("settle-form")).to_be_visible()
        found += troubles(page)
        page.goto(f"/staff#/visits/{visit}")
        page.get_by_test_id("refund").click()
        page.get_by_test_id("refund-amount").fill("99")
        page.get_by_test_id("refund-reason").fill("too much")
        page.get_by_test_id("refund-send").click()
        expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
        found += troubles(page)

    def decline(*_: object) -> None:
        raise PaymentDeclined("no")

    monkeypatch.setattr(store.server.shop.gateway, "authorise", decline)
    monkeypatch.setattr(store.server.shop.gateway, "capture", decline)
    store.leave(unpaid)
    with watched(browser, store.url, **look, **PHONE) as (page, _):
        be(page.context, owing.token)
        page.goto("/")
        expect(page.get_by_test_id("owes")).to_be_visible()
        found += troubles(page)
        page.goto("/#/me")
        expect(page.get_by_test_id("pay-debt")).to_be_visible()
        found += troubles(page)
        page.goto(f"/#/receipts/{unpaid}")
        expect(page.locator("[data-test=status][data-status=payment_failed]")).to_be_visible()
        found += troubles(page)
    assert found == []


@pytest.mark.parametrize("address", ["/staff", "/office", "/engineer"])
def test_a_shopper_is_shown_the_way_out(browser: Browser, store: Store, address: str) -> None:
    with watched(browser, store.url) as (page, _):
        be(page.context, store.token())
        page.goto(address)
        settled(page)
        expect(page.get_by_test_id("not-for-you")).to_be_visible()
