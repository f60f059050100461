"""The whole story in a real browser: an account, the code at a gate's camera, the cart, the receipt, a refund."""

import logging
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, Playwright, expect

from cart.accounts import Role
from cart.live_store import Handled
from tests.cart.pages.browsing import DESKTOP, PHONE, be, launched, watched
from tests.cart.pages.conftest import PASSWORD, Store

OATS, JAM = "2000000001012", "2000000001050"
OATS_MINOR, JAM_MINOR = 219, 325
PATIENCE_S = 10.0
VISIT_MS = 120_000
CAMERA_WH = (640, 480)

RECORD_CART = """() => {
  window.charged = {};
  window.shown = {};
  const look = () => {
    for (const { dataset } of document.querySelectorAll("[data-test=cart-line]")) {
      const quantity = Number(dataset.quantity);
      for (let n = 1; n <= quantity; n++) window.charged[`${dataset.sku} ${n}`] ??= Date.now();
      for (let n = 1; n <= quantity + Number(dataset.pending); n++) window.shown[`${dataset.sku} ${n}`] ??= Date.now();
    }
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""

_log = logging.getLogger(__name__)
_numbers = count(1)


def film_of(shown: Locator, path: Path) -> None:
    """Write what a screen shows, as a camera in front of it films it (YUV4MPEG2, 4:2:0)."""
    picture = cv2.imdecode(np.frombuffer(shown.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    width, height = CAMERA_WH
    side = 360
    seen = np.full((height, width), 96, np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    seen[top : top + side, left : left + side] = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    frame = b"FRAME\n" + seen.tobytes() + bytes([128]) * (width * height // 2)
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F20:1 Ip A1:1 C420jpeg\n".encode() + frame * 2)


def open_account(page: Page) -> None:
    """Open an account; the demo lets it pay at once."""
    page.goto("/")
    page.locator("sign-in-form button.plain").click()
    page.fill("#email", f"you{next(_numbers)}@example.com")
    page.fill("#password", PASSWORD)
    page.locator("sign-in-form button.primary").click()
    expect(page.locator("[data-test=entry-code][data-code^=TF1]")).to_be_visible()


def send_body(page: Page, wanted: dict[str, int]) -> None:
    """Send a body in that takes something."""
    page.get_by_test_id("body").locator("summary").click()
    for sku, quantity in wanted.items():
        for _ in range(quantity):
            page.locator(f"[data-test=body] [data-sku='{sku}'] [data-test=more]").click()
    page.get_by_test_id("send-body").click()
    expect(page.get_by_test_id("body-sent")).to_be_visible()


def decide(staff: Page, session_id: str) -> None:
    """Find the shopper right."""
    staff.goto("/staff#/disputes")
    staff.get_by_test_id("dispute-row").first.click()
    expect(staff.locator(f"[data-test=dispute] a[href='#/visits/{session_id}']")).to_be_visible()
    staff.get_by_test_id("settle-quantity").fill("0")
    staff.get_by_test_id("settle").click()
    expect(staff.get_by_test_id("outcome")).to_be_visible()


@pytest.mark.parametrize(
    ("device", "language"),
    [
        pytest.param(PHONE, "en", id="phone-en"),
        pytest.param(DESKTOP, "ar", id="desktop-ar"),
        pytest.param(PHONE, "ar", id="phone-ar", marks=pytest.mark.long),
        pytest.param(DESKTOP, "en", id="desktop-en", marks=pytest.mark.long),
    ],
)
def test_a_visit_from_the_account_to_the_refund(
    playwright: Playwright, browser: Browser, store: Store, tmp_path: Path, device: dict[str, Any], language: str
) -> None:
    film = tmp_path / "gate.y4m"
    gate_browser = launched(
        playwright,
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    )
    with (
        watched(browser, store.url, locale=language, **device) as (page, watch),
        watched(gate_browser, store.url, locale=language, permissions=["camera"]) as (gate, _),
        watched(browser, store.url, locale=language) as (staff, _),
    ):
        # A receipt that is not made yet.
        watch.allow(r"status of 404 .*/v1/receipts/[\w-]+\)$")
        open_account(page)
        assert page.evaluate("[document.documentElement.lang, document.documentElement.dir]") == [
            language,
            "rtl" if language == "ar" else "ltr",
        ]
        film_of(page.locator("[data-test=entry-code] svg"), film)
        gate.goto("/gate?gate=entrance")
        expect(gate.locator("[data-test=answer][data-decision=open]")).to_be_visible(timeout=15_000)
        gate.close()

        page.evaluate(RECORD_CART)
        visit = page.get_by_test_id("live-visit")
        session_id = visit.get_attribute("data-session")
        assert session_id is not None
        send_body(page, {OATS: 2, JAM: 1})
        receipt = page.get_by_test_id("receipt")
        expect(receipt.locator("[data-test=status][data-status=charged]")).to_be_visible(timeout=VISIT_MS)
        expect(receipt).to_have_attribute("data-total", str(2 * OATS_MINOR + JAM_MINOR))

        hands = hands_of(store, session_id)
        charged_s, shown_s = (
            {unit: at_ms / 1000 for unit, at_ms in page.evaluate(f"window.{which}").items()}
            for which in ("charged", "shown")
        )
        assert charged_s.keys() == hands.keys()
        assert shown_s.keys() >= hands.keys()
        # Told beside each other: when the app first showed a unit, and when it was a line of the cart.
        shown_late_s = {unit: round(shown_s[unit] - hands[unit], 2) for unit in hands}
        charged_late_s = {unit: round(charged_s[unit] - hands[unit], 2) for unit in hands}
        _log.info("after the hand: shown %s, in the cart %s", shown_late_s, charged_late_s)
        # The page is held to when the floor knew.
        knew = [
            at
            for at, event in store.happened
            if isinstance(event, Handled) and str(event.session_id) == session_id
            for _ in range(event.quantity)
        ]
        behind_s = [round(shown - at, 2) for shown, at in zip(sorted(charged_s.values()), knew, strict=True)]
        assert max(behind_s) < PATIENCE_S, f"behind the floor: {behind_s}; behind the hands: {charged_late_s}"

        page.locator(f"[data-test=receipt-line][data-sku='{JAM}'] [data-test=why]").click()
        expect(page.get_by_test_id("piece")).to_have_count(1)
        page.locator(f"[data-test=receipt-line][data-sku='{JAM}'] [data-test=wrong]").click()
        page.locator("[data-test=claim][data-claim='0']").click()
        expect(page.locator("[data-test=dispute][data-status=in_review]")).to_be_visible()
        be(staff.context, store.token(Role.REVIEWER))
        decide(staff, session_id)
        expect(page.locator("[data-test=dispute][data-status=settled]")).to_be_visible()
        expect(receipt).to_have_attribute("data-total", str(2 * OATS_MINOR))
        expect(receipt).to_have_attribute("data-sequence", "2")
    gate_browser.close()


def hands_of(store: Store, session_id: str) -> dict[str, float]:
    """When each unit had been taken off its shelf, seconds since 1970, by ``sku number``."""
    with store.client(store.token(Role.REVIEWER)) as client:
        pieces = client.get(f"/v1/receipts/{session_id}/evidence").json()["items"]
    found: dict[str, float] = {}
    for piece in sorted(pieces, key=lambda each: each["ended_at"]):
        for _ in range(piece["quantity"]):
            number = 1 + sum(unit.startswith(piece["sku"]) for unit in found)
            found[f"{piece['sku']} {number}"] = datetime.fromisoformat(piece["ended_at"]).timestamp()
    return found
