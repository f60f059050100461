"""The shopper's account in a real browser: passkeys, signing out, debts, guests, what is kept and being forgotten."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from cart.accounts import Role
from cart.gateways.fake import make_gateway
from cart.gateways.journal import Journal
from tests.cart.gateways.serving import PATIENT_S, served
from tests.cart.pages.browsing import PHONE, Watch, be, watched
from tests.cart.pages.conftest import PASSWORD, SETTINGS, Somebody, Store, open_store

JAM, JAM_MINOR = "2000000001050", 325
CODE = "[data-test=entry-code][data-code^=TF1]"


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    """Address of a gateway that declines when it is told to."""
    with Journal(":memory:") as books, served(make_gateway(books)) as address:
        yield address


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, gateway: str) -> Iterator[Store]:
    """A store whose money is at that gateway."""
    settings = SETTINGS.model_copy(update={"gateway_url": gateway})
    with open_store(tmp_path_factory.mktemp("store"), settings) as store:
        yield store


@contextmanager
def app_of(browser: Browser, store: Store, who: Somebody, at: str = "/") -> Iterator[tuple[Page, Watch]]:
    """The app on somebody's phone."""
    with watched(browser, store.url, **PHONE) as (page, watch):
        be(page.context, who.token)
        page.goto(at)
        yield page, watch


def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """Fill in the form and send it."""
    page.locator("sign-in-form #email").fill(email)
    page.locator("sign-in-form #password").fill(password)
    page.locator("sign-in-form button.primary").click()


def scan(store: Store, code: str | None) -> dict[str, Any]:
    """Show a code at the gate."""
    with httpx.Client(base_url=store.url, timeout=30.0) as gate:
        decided: dict[str, Any] = gate.post("/v1/gates/entrance/scans", json={"code": code}).json()
    return decided


def shown_code(page: Page) -> str | None:
    """The code on the phone."""
    expect(page.locator(CODE)).to_be_visible()
    return page.locator(CODE).get_attribute("data-code")


def test_a_wrong_password_is_said_and_the_right_one_lets_in(browser: Browser, store: Store) -> None:
    who = store.somebody()
    with watched(browser, store.url, **PHONE) as (page, watch):
        watch.allow("status of 401")
        page.goto("/")
        sign_in(page, who.email, "wrong horse battery")
        expect(page.get_by_role("alert")).to_contain_text("password is wrong")
        expect(page.locator("#email")).to_have_value(who.email)
        sign_in(page, who.email)
        expect(page.locator(CODE)).to_be_visible()


@pytest.mark.parametrize("address", ["/staff", "/engineer"])
def test_a_wrong_password_is_said_to_those_who_work_here_too(browser: Browser, store: Store, address: str) -> None:
    with watched(browser, store.url) as (page, watch):
        watch.allow("status of 401")
        page.goto(address)
        sign_in(page, "nobody@example.com", "wrong horse battery")
        expect(page.get_by_role("alert")).to_contain_text("password is wrong")


def test_who_signs_out_is_gone_here_and_at_the_store_and_the_next_one_has_their_own_code(
    browser: Browser, store: Store
) -> None:
    ada, ben = store.somebody(), store.somebody()
    with watched(browser, store.url, **PHONE) as (page, watch):
        page.goto("/")
        sign_in(page, ada.email)
        shown_code(page)
        token = page.evaluate("localStorage.getItem('tillfree.token')")
        page.get_by_test_id("nav-me").click()
        page.get_by_test_id("sign-out").click()
        expect(page.locator("sign-in-form")).to_be_visible()
        assert page.evaluate("[localStorage.getItem('tillfree.token'), localStorage.getItem('tillfree.account')]") == [
            None,
            None,
        ]
        with store.client(token) as client:
            assert client.get("/v1/account").status_code == 401
        sign_in(page, ben.email)
        session_id = scan(store, shown_code(page))["session_id"]
        assert store.server.checkout.session(UUID(session_id)).shopper_id == str(ben.account_id)
        expect(page.get_by_test_id("live-visit")).to_be_visible()
        watch.check()


def test_a_passkey_is_added_signs_in_and_is_taken_away(browser: Browser, store: Store) -> None:
    who = store.somebody()
    with watched(browser, store.local_url, **PHONE) as (page, watch):
        watch.allow("status of 401")
        devtools = page.context.new_cdp_session(page)
        devtools.send("WebAuthn.enable")
        kind = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
        more = {"isUserVerified": True, "automaticPresenceSimulation": True}
        devtools.send("WebAuthn.addVirtualAuthenticator", {"options": kind | more})
        with_passkey = page.get_by_role("button", name="Sign in with a passkey")
        own = page.get_by_test_id("passkeys").locator("li")

        page.goto("/")
        # The device has none yet.
        with_passkey.click()
        expect(page.get_by_role("alert")).to_contain_text("No passkey was used")
        sign_in(page, who.email)
        page.get_by_test_id("nav-me").click()
        page.get_by_test_id("add-passkey").click()
        expect(own).to_have_count(1)
        # The same device is not added twice.
        page.get_by_test_id("add-passkey").click()
        expect(page.locator("#toasts")).to_contain_text("has a passkey of this account already")
        expect(own).to_have_count(1)

        page.get_by_test_id("sign-out").click()
        with_passkey.click()
        expect(page.locator(CODE)).to_be_visible()
        page.get_by_test_id("nav-me").click()
        expect(page.get_by_text(who.email)).to_be_visible()

        own.get_by_role("button").click()
        page.get_by_role("dialog").locator(".danger").click()
        expect(own).to_have_count(0)
        page.get_by_test_id("sign-out").click()
        with_passkey.click()
        expect(page.get_by_role("alert")).to_contain_text("passkey is not known here")


def test_a_declined_card_leaves_a_debt_that_is_paid_in_the_app(browser: Browser, store: Store, gateway: str) -> None:
    who = store.somebody()
    visit = store.visit(who, {JAM: 1})
    httpx.post(f"{gateway}/admin/faults", json={"call": "capture", "fault": "decline"}, timeout=PATIENT_S)
    httpx.post(f"{gateway}/admin/faults", json={"call": "authorise", "fault": "decline"}, timeout=PATIENT_S)
    store.leave(visit)
    with app_of(browser, store, who, f"/#/receipts/{visit}") as (page, _):
        expect(page.locator("[data-test=status][data-status=payment_failed]")).to_be_visible()
        page.get_by_test_id("nav-code").click()
        # Nobody is to learn it at the gate.
        expect(page.get_by_test_id("owes")).to_contain_text("3.25")
        assert scan(store, shown_code(page))["reason"] == "debt"
        page.get_by_test_id("owes").get_by_role("link").click()
        expect(page.get_by_test_id("debt")).to_contain_text("3.25")

        httpx.post(f"{gateway}/admin/faults", json={"call": "authorise", "fault": "decline"}, timeout=PATIENT_S)
        page.get_by_test_id("pay-debt").click()
        expect(page.locator("#toasts .warn")).to_be_visible()
        expect(page.get_by_test_id("debt")).to_contain_text("3.25")
        page.get_by_test_id("pay-debt").click()
        expect(page.get_by_test_id("debt")).to_contain_text("You owe nothing")

        page.get_by_test_id("nav-code").click()
        expect(page.get_by_test_id("owes")).to_have_count(0)
        with store.client(who.token) as client:
            code = client.post("/v1/entry-codes").json()["code"]
        assert scan(store, code)["decision"] == "open"
        expect(page.get_by_test_id("live-visit")).to_be_visible()


def test_without_a_way_to_pay_there_is_no_code_until_one_is_added(browser: Browser, store: Store) -> None:
    who = store.somebody()
    with app_of(browser, store, who) as (page, _):
        code = shown_code(page)
        page.get_by_test_id("nav-me").click()
        page.get_by_test_id("remove-payment").click()
        # It is asked first, and not done where one thinks better of it.
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        page.get_by_test_id("remove-payment").click()
        page.get_by_role("dialog").locator(".danger").click()
        expect(page.get_by_test_id("add-payment")).to_be_visible()
        assert scan(store, code)["reason"] == "no_payment_method"
        page.get_by_test_id("nav-code").click()
        expect(page.get_by_test_id("entry-code")).to_have_count(0)
        page.get_by_test_id("add-payment").click()
        expect(page.locator(CODE)).to_be_visible()


def test_guests_come_in_on_the_hosts_code_and_then_no_more(browser: Browser, store: Store) -> None:
    who = store.somebody()
    with app_of(browser, store, who) as (page, _):
        assert scan(store, shown_code(page))["reason"] == "welcome"
        guests = page.get_by_test_id("guests")
        guests.locator("summary").click()
        guests.get_by_role("button", name="One guest more").click()
        page.get_by_test_id("let-in").click()
        for still_open in ("2 more may come in", "1 more may come in"):
            expect(page.get_by_test_id("guests-open")).to_contain_text(still_open)
            before = shown_code(page)
            assert scan(store, before)["reason"] == "guest"
        expect(page.get_by_test_id("guests-open")).to_have_count(0)
        expect(guests).to_contain_text("3 people shop on this visit")
        with store.client(who.token) as client:
            code = client.post("/v1/entry-codes").json()["code"]
        assert scan(store, code)["reason"] == "already_inside"

        expect(page.get_by_test_id("let-in")).to_be_hidden()
        guests.locator("summary").click()
        page.get_by_test_id("let-in").click()
        expect(page.get_by_test_id("guests-open")).to_be_visible()
        code = shown_code(page)
        page.get_by_test_id("let-nobody-in").click()
        expect(page.get_by_test_id("guests-open")).to_have_count(0)
        assert scan(store, code)["reason"] == "already_inside"


def test_one_sees_what_is_kept_and_who_looked_and_takes_it_along(browser: Browser, store: Store) -> None:
    who = store.somebody()
    visit = store.paid_visit(who, {JAM: 1})
    with app_of(browser, store, who, "/#/me") as (page, _):
        page.get_by_test_id("show-kept").click()
        expect(page.get_by_test_id("kept")).to_contain_text("Receipts")
        expect(page.get_by_test_id("looks")).to_contain_text("Nobody")
        with store.client(store.token(Role.STAFF)) as staff:
            assert staff.get(f"/v1/receipts/{visit}").status_code == 200
        page.reload()
        page.get_by_test_id("show-kept").click()
        expect(page.get_by_test_id("looks").locator("li")).to_have_count(1)
        expect(page.get_by_test_id("looks")).to_contain_text("looked at: a receipt")
        with page.expect_download() as downloading:
            page.get_by_test_id("export").click()
        kept = json.loads(downloading.value.path().read_text("utf-8"))
        assert downloading.value.suggested_filename == "tillfree-account.json"
        assert kept["account"][0]["email"] == who.email
        assert [each["session_id"] for each in kept["receipts"]] == [str(visit)]


def test_who_is_forgotten_cannot_sign_in_any_more_but_not_before_all_is_settled(browser: Browser, store: Store) -> None:
    who = store.somebody()
    visit = store.visit(who, {JAM: 1})
    with app_of(browser, store, who, "/#/me") as (page, watch):
        watch.allow("status of 409")
        page.get_by_test_id("erase").click()
        page.get_by_role("dialog").locator(".danger").click()
        expect(page.locator("#toasts")).to_contain_text("Not yet")
        store.leave(visit)
        page.get_by_test_id("erase").click()
        page.get_by_role("dialog").locator(".danger").click()
        expect(page.locator("sign-in-form")).to_be_visible()
        watch.check()
        watch.allow("status of 401")
        sign_in(page, who.email)
        expect(page.get_by_role("alert")).to_contain_text("password is wrong")
        with store.client(who.token) as client:
            assert client.get("/v1/account").status_code == 401
