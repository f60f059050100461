"""The office in a real browser: what it shows, what is changed there, and who is not offered it."""

import csv
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from cart.accounts import Role
from cart.pages.serving import STATIC
from cart.serve import DEMO_TAX_BP
from cart.webhooks import EVENT_TYPES
from tests.cart.pages.browsing import be, settled, troubles, watched
from tests.cart.pages.conftest import Store

HONEY, GRANOLA = "2000000001067", "2000000001081"
REFUSED = [r"status of 422"]
LOCAL = "%Y-%m-%dT%H:%M"


@contextmanager
def office(
    browser: Browser, store: Store, view: str, role: Role = Role.MANAGER, allowed: Sequence[str] = ()
) -> Iterator[Page]:
    """The office's page, opened by somebody of a role who is in another time zone than the store."""
    with watched(browser, store.url, allowed, timezone_id="Asia/Tokyo") as (page, _):
        be(page.context, store.token(role))
        page.goto(f"/office#/{view}")
        settled(page)
        yield page


def state_of(page: Page, test_id: str, state: str) -> None:
    """Wait until a piece is in some state."""
    expect(page.locator(f"[data-test={test_id}][data-state={state}]")).to_have_count(1)


@pytest.mark.parametrize(
    ("view", "role"),
    [
        ("catalogue", Role.STAFF),
        ("webhooks", Role.REVIEWER),
        ("audit", Role.ENGINEER),
        ("people", Role.VIEWER),
        ("layout", Role.STAFF),
    ],
)
def test_a_view_is_not_offered_to_who_may_not_use_it(browser: Browser, store: Store, view: str, role: Role) -> None:
    with office(browser, store, view, role) as page:
        expect(page.get_by_test_id("figures")).to_be_visible()
        for what in (f"nav-{view}", view):
            expect(page.get_by_test_id(what)).to_have_count(0)


def test_a_viewer_sees_how_devices_do_and_neither_pictures_nor_tokens(browser: Browser, store: Store) -> None:
    with office(browser, store, "devices", Role.VIEWER) as page:
        expect(page.get_by_test_id("camera")).to_have_count(4)
        for what in ("camera-picture", "tokens", "to-layout"):
            expect(page.get_by_test_id(what)).to_have_count(0)


def test_a_camera_that_was_moved_is_told_with_the_way_to_its_calibration(browser: Browser, store: Store) -> None:
    moved = {
        "camera_id": "cam1",
        "healthy": True,
        "last_frame_at": None,
        "detail": "",
        "notice": "it seems to be moved",
    }
    with office(browser, store, "people", Role.OWNER) as page:
        page.route("**/v1/cameras", lambda route: route.fulfill(json={"items": [moved]}))
        page.get_by_test_id("nav-devices").press("Enter")
        expect(page.get_by_test_id("camera-notice")).to_contain_text("it seems to be moved")
        page.get_by_test_id("to-layout").press("Enter")
        expect(page.get_by_test_id("layout")).to_be_visible()


def test_a_week_s_price_is_planned_and_changed_in_place(browser: Browser, store: Store) -> None:
    now = store.server.shop.now()
    with office(browser, store, "catalogue") as page:
        row = page.locator(f"[data-test=product][data-sku='{HONEY}']")
        row.get_by_test_id("product-edit").press("Enter")
        expect(page.get_by_test_id("product-name")).to_be_focused()
        expect(page.get_by_test_id("product-tax")).to_have_value("7")
        state_of(page, "price-row", "now")
        page.get_by_test_id("price-value").fill("5.99")
        page.get_by_test_id("price-from").fill((now + timedelta(days=2)).strftime(LOCAL))
        page.get_by_test_id("price-until").fill((now + timedelta(days=9)).strftime(LOCAL))
        page.get_by_test_id("price-value").press("Enter")
        state_of(page, "price-row", "planned")
        planned = page.locator("[data-test=price-row][data-state=planned]")
        expect(planned).to_contain_text("€5.99")
        expect(planned).to_contain_text(f"{now.hour % 12 or 12}:{now.minute:02}")
        expect(row.get_by_test_id("price")).to_have_text("€6.49")
        planned.get_by_test_id("price-change").press("Enter")
        expect(page.get_by_test_id("price-value")).to_be_focused()
        page.get_by_test_id("price-value").fill("5.49")
        page.get_by_test_id("price-value").press("Enter")
        expect(planned).to_contain_text("€5.49")
        state_of(page, "price-row", "replaced")
        page.locator("[data-test=price-row][data-state=now]").get_by_test_id("price-change").click()
        page.get_by_test_id("price-value").fill("6.99")
        page.get_by_test_id("price-save").click()
        expect(row.get_by_test_id("price")).to_have_text("€6.99")
        page.get_by_test_id("product-close").press("Enter")
        expect(row.get_by_test_id("product-edit")).to_be_focused()
    with store.client(store.token(Role.MANAGER)) as client:
        prices = client.get(f"/v1/products/{HONEY}/prices").json()["items"]
    assert sorted(price["unit_price_minor"] for price in prices) == [549, 599, 649, 699]


def test_a_price_of_the_past_is_refused_and_what_was_typed_stays(browser: Browser, store: Store) -> None:
    with office(browser, store, "catalogue", allowed=REFUSED) as page:
        page.locator(f"[data-test=product][data-sku='{GRANOLA}']").get_by_test_id("product-edit").click()
        page.get_by_test_id("price-value").fill("1")
        page.get_by_test_id("price-from").fill("2020-01-01T00:00")
        page.get_by_test_id("price-save").click()
        expect(page.locator("#toasts .bad")).to_be_visible()
        expect(page.get_by_test_id("price-value")).to_have_value("1")


def test_a_new_product_is_taxed_like_the_others_and_then_given_a_price(browser: Browser, store: Store) -> None:
    with office(browser, store, "catalogue") as page:
        page.get_by_test_id("product-add").click()
        page.get_by_test_id("product-sku").fill("figs")
        page.get_by_test_id("product-name").fill("Dried figs")
        page.get_by_test_id("product-save").click()
        page.get_by_test_id("price-value").fill("4.50")
        page.get_by_test_id("price-save").click()
        row = page.locator("[data-test=product][data-sku=figs]")
        expect(row.get_by_test_id("price")).to_have_text("€4.50")
        expect(row.get_by_test_id("tax")).to_have_text("7%")
    with store.client(store.token()) as client:
        items = client.get("/v1/products", params={"limit": 100}).json()["items"]
    assert next(item["tax_rate_bp"] for item in items if item["sku"] == "figs") == DEMO_TAX_BP


def test_an_offer_is_put_up_and_ended(browser: Browser, store: Store) -> None:
    with office(browser, store, "catalogue/offers") as page:
        page.get_by_test_id("offer-name").fill("Breakfast")
        page.get_by_test_id("offer-quantity").fill("3")
        page.get_by_test_id("offer-price").fill("10")
        page.get_by_test_id("offer-save").click()
        expect(page.locator("#toasts .warn")).to_be_visible()
        expect(page.get_by_test_id("offer-find")).to_be_focused()
        for sku in (HONEY, GRANOLA):
            page.locator(f"[data-test=offer-sku][value='{sku}']").press("Space")
        page.get_by_test_id("offer-save").press("Enter")
        state_of(page, "offer", "running")
        expect(page.get_by_test_id("offer")).to_contain_text("3 for €10.00")
        with store.client(store.token()) as client:
            (offer,) = client.get("/v1/offers").json()["items"]
        assert offer["skus"] == [HONEY, GRANOLA]
        page.get_by_test_id("offer-end").click()
        page.locator("dialog .danger").press("Enter")
        state_of(page, "offer", "ended")


def test_a_coupon_is_issued_and_its_use_is_seen(browser: Browser, store: Store) -> None:
    with office(browser, store, "catalogue/coupons") as page:
        page.get_by_test_id("coupon-code").fill("welcome-5")
        page.get_by_test_id("coupon-name").fill("5 off")
        page.get_by_test_id("coupon-amount").fill("5")
        page.get_by_test_id("coupon-minimum").fill("20")
        page.get_by_test_id("coupon-save").press("Enter")
        row = page.locator("[data-test=coupon][data-code=WELCOME-5]")
        expect(row).to_have_attribute("data-used", "false")
        expect(row).to_contain_text("€5.00")
        expect(row).to_contain_text("Not claimed")
        with store.client(store.token()) as client:
            assert client.post("/v1/coupons/welcome-5/claim").status_code == 200
        page.reload()
        expect(row).to_contain_text("Claimed, not used")


def test_cameras_show_their_last_picture_and_a_device_gets_a_token_once(browser: Browser, store: Store) -> None:
    with office(browser, store, "devices") as page:
        expect(page.get_by_test_id("camera-picture")).to_have_count(4, timeout=60_000)
        assert page.get_by_test_id("camera-picture").first.evaluate(
            "each => each.decode().then(() => each.naturalWidth)"
        )
        expect(page.get_by_test_id("camera-notice").first).to_have_attribute("data-moved", "false")
        page.get_by_test_id("device-name").fill("back")
        page.get_by_test_id("device-kind").select_option("gate")
        page.get_by_test_id("device-name").press("Enter")
        secret = page.get_by_test_id("secret").input_value()
        assert troubles(page) == []
        with store.client(secret) as gate:
            assert gate.get("/v1/gates/back/commands").status_code == 200
            page.get_by_test_id("secret-kept").press("Enter")
            row = page.locator("[data-test=token][data-device=back]")
            expect(row).to_contain_text("gate:back")
            assert secret not in page.content()
            row.get_by_test_id("token-revoke").click()
            page.locator("dialog .danger").press("Enter")
            expect(row).to_have_count(0)
            assert gate.get("/v1/gates/back/commands").status_code == 401


class Refusing(BaseHTTPRequestHandler):
    """A receiver that takes nothing."""

    def do_POST(self) -> None:
        """Refuse."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_error(500)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_webhook_is_added_tested_seen_to_fail_paused_and_removed(browser: Browser, store: Store) -> None:
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    with office(browser, store, "webhooks") as page:
        page.get_by_test_id("webhook-url").fill(f"http://127.0.0.1:{receiver.server_port}/hook")
        page.locator("[data-test=webhook-event][value='visit.closed']").press("Space")
        page.get_by_test_id("webhook-url").press("Enter")
        assert page.get_by_test_id("secret").input_value().startswith("whsec_")
        page.get_by_test_id("secret-kept").press("Enter")
        expect(page.get_by_test_id("endpoint")).to_contain_text("visit.closed")
        page.get_by_test_id("webhook-test").press("Enter")
        delivery = page.locator("[data-test=delivery][data-status=waiting]")
        expect(delivery).to_contain_text("got 500")
        expect(delivery).to_contain_text("webhook.test")
        assert troubles(page) == []
        page.get_by_test_id("webhook-secret").click()
        page.locator("dialog .danger").press("Enter")
        assert page.get_by_test_id("secret").input_value().startswith("whsec_")
        page.get_by_test_id("secret-kept").press("Enter")
        page.get_by_test_id("webhook-pause").click()
        page.locator("dialog .danger").press("Enter")
        state_of(page, "endpoint-state", "paused")
        page.get_by_test_id("webhook-pause").click()
        state_of(page, "endpoint-state", "well")
        page.get_by_test_id("webhook-remove").click()
        page.locator("dialog .danger").press("Enter")
        expect(page.get_by_test_id("endpoint")).to_have_count(0)
    receiver.shutdown()
    receiver.server_close()


def test_an_address_that_the_store_would_not_send_to_is_refused(browser: Browser, store: Store) -> None:
    with office(browser, store, "webhooks", allowed=REFUSED) as page:
        page.get_by_test_id("webhook-url").fill("http://me:secret@127.0.0.1/hook")
        page.get_by_test_id("webhook-add").click()
        expect(page.locator("#toasts .bad")).to_be_visible()
        expect(page.get_by_test_id("endpoint")).to_have_count(0)


def test_the_page_knows_every_event() -> None:
    script = (STATIC / "office" / "webhooks.js").read_text("utf-8")
    (listed,) = re.findall(r"EVENTS = \[(.*?)\]", script, re.DOTALL)
    assert set(re.findall(r'"([\w.]+)"', listed)) == EVENT_TYPES


def test_the_audit_log_is_narrowed_turned_page_by_page_and_kept_as_a_file(
    browser: Browser, store: Store, tmp_path: Path
) -> None:
    with store.client(store.token(Role.MANAGER)) as client:
        who = client.get("/v1/account").json()
        for number in range(60):
            price = {"unit_price_minor": 100 + number}
            assert client.post(f"/v1/products/{GRANOLA}/prices", json=price).status_code == 201
    with office(browser, store, "audit", Role.OWNER) as page:
        page.get_by_test_id("audit-actor").select_option(label=who["name"])
        page.get_by_test_id("audit-action").fill("price")
        page.get_by_test_id("audit-action").press("Enter")
        entries = page.locator("[data-test=audit-entry][data-action='price.set']")
        expect(entries).to_have_count(50)
        expect(page.get_by_test_id("audit-entry")).to_have_count(50)
        page.get_by_test_id("audit-more").click()
        expect(entries).to_have_count(60)
        with page.expect_download() as download:
            page.get_by_test_id("audit-csv").click()
        download.value.save_as(tmp_path / "audit.csv")
        rows = list(csv.DictReader((tmp_path / "audit.csv").read_text("utf-8").splitlines()))
        assert [row["action"] for row in rows] == ["price.set"] * 60
        assert {row["actor_id"] for row in rows} == {who["account_id"]}
        page.get_by_test_id("audit-until").fill("2020-01-01T00:00")
        page.get_by_test_id("audit-apply").click()
        expect(page.get_by_test_id("audit-entry")).to_have_count(0)


def test_figures_are_drawn_and_told_over_the_period_that_is_chosen(browser: Browser, store: Store) -> None:
    with office(browser, store, "figures", Role.VIEWER, REFUSED) as page:
        for name in ("takings", "rates", "shrink"):
            expect(page.get_by_test_id(f"chart-{name}").locator("canvas")).to_be_visible()
        rows = page.get_by_test_id("figures-row")
        expect(rows).to_have_count(16)  # the total, fourteen days back, today
        page.get_by_test_id("period-week").press("Enter")
        expect(rows).to_have_count(9)
        page.get_by_test_id("period-between").press("Enter")
        assert troubles(page) == []
        page.get_by_test_id("period-from").fill("2026-01-05")
        page.get_by_test_id("period-to").fill("2026-01-18")
        page.get_by_test_id("period-show").press("Enter")
        expect(rows).to_have_count(15)
        page.get_by_test_id("period-to").fill("2026-01-04")
        page.get_by_test_id("period-show").click()
        expect(page.get_by_test_id("figures").locator("[role=alert]")).to_be_visible()


def test_a_share_below_one_is_never_told_as_all_of_it(browser: Browser, store: Store) -> None:
    with office(browser, store, "figures") as page:
        shares = [0, 0.5, 0.99, 0.994, 0.996, 0.9999999, 1]
        told = page.evaluate("some => import('/static/common/i18n.js').then(i18n => some.map(i18n.percent))", shares)
        assert told == ["0%", "50%", "99%", "99%", "99%", "99%", "100%"]
