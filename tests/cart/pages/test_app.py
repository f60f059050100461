"""The shopper's app as an app: how much it loads first, that it can be installed, and its code without a network."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect

from cart.accounts import Role
from tests.cart.pages.browsing import (
    ARGUMENTS,
    PHONE,
    Watch,
    be,
    bytes_of_first_visit,
    chromium,
    watched,
)
from tests.cart.pages.conftest import Store

FIRST_PAGE_BYTES = 200_000
KEPT = """async () => {
  const { files } = await (await fetch("/shell.json")).json();
  const kept = async () => {
    if (!navigator.serviceWorker.controller) return false;
    for (const each of files) if (!(await caches.match(each))) return false;
    return true;
  };
  while (!(await kept())) await new Promise((resolve) => setTimeout(resolve, 50));
}"""
"""Waits until all that the app needs is on the device."""


@pytest.mark.parametrize("address", ["/", "/staff", "/office", "/engineer", "/gate"])
def test_the_first_page_is_small(browser: Browser, store: Store, address: str) -> None:
    with watched(browser, store.url, **PHONE) as (page, _):
        size = bytes_of_first_visit(page, address)
        assert 10_000 < size < FIRST_PAGE_BYTES


def test_the_app_can_be_installed(playwright: Playwright, store: Store, tmp_path: Path) -> None:
    # Not in a context that forgets everything: a browser installs nothing there.
    context = playwright.chromium.launch_persistent_context(
        tmp_path, executable_path=chromium(), args=list(ARGUMENTS), base_url=store.url
    )
    try:
        watch = Watch(store.url)
        watch.context(context)
        page = context.new_page()
        page.goto("/")
        page.evaluate("navigator.serviceWorker.ready.then(() => 0)")
        session = context.new_cdp_session(page)
        manifest = session.send("Page.getAppManifest")
        assert manifest["errors"] == []
        assert manifest["url"] == f"{store.url}/manifest.webmanifest"
        assert session.send("Page.getInstallabilityErrors")["installabilityErrors"] == []
        watch.check()
    finally:
        context.close()


def test_the_code_is_there_without_a_network_and_renews_itself(browser: Browser, store: Store) -> None:
    with watched(browser, store.url, **PHONE) as (page, watch):
        be(page.context, store.token())
        code = page.locator("[data-test=entry-code][data-code^=TF1]")
        page.goto("/")
        expect(code).to_be_visible()
        page.evaluate(KEPT)
        watch.allow("ERR_INTERNET_DISCONNECTED", "Failed to fetch")
        page.context.set_offline(True)
        page.reload()
        expect(code).to_be_visible()
        expect(page.get_by_test_id("offline")).to_be_visible()
        first = code.get_attribute("data-code")
        expect(page.locator(f"[data-test=entry-code]:not([data-code='{first}'])")).to_be_visible(timeout=20_000)
        second = code.get_attribute("data-code")
        assert second is not None
        page.context.set_offline(False)
        # What was made without a network opens the gate.
        with store.client(store.token()) as client:
            decided = client.post("/v1/gates/entrance/scans", json={"code": second}).json()
        assert decided["decision"] == "open"
        expect(page.get_by_test_id("live-visit")).to_be_visible()
        expect(page.get_by_test_id("offline")).to_be_hidden()


def test_a_shopper_and_an_owner_may_be_signed_in_side_by_side_in_one_browser(browser: Browser, store: Store) -> None:
    owner = store.somebody(Role.OWNER)
    shopper = store.somebody()
    with watched(browser, store.url) as (app, _):
        app.goto("/")
        app.evaluate("token => localStorage.setItem('tillfree.token', token)", shopper.token)
        office = app.context.new_page()
        office.goto(f"{store.url}/office")
        office.evaluate("token => localStorage.setItem('tillfree.work', token)", owner.token)
        office.reload()
        expect(office.locator("office-figures")).to_be_visible()
        office.get_by_test_id("signout").click()
        expect(office.get_by_test_id("signin")).to_be_visible()
        app.reload()
        expect(app.locator("[data-test=entry-code]")).to_be_visible()
