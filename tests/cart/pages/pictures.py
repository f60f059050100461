"""Makes the README's picture of the pages: a shopper's phone and the staff's console, beside each other.

Run it as ``python -m tests.cart.pages.pictures cart/pages/pages.png``; it takes about a minute.
"""

import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from cart.accounts import Role
from cart.config import Settings
from cart.serve import ServeOptions, StoreServer
from tests.cart.pages.browsing import launched

PASSWORD = "correct horse battery"
HEIGHT_PX, GAP_PX, WISHES = 844, 16, 3


def main(target: Path) -> None:
    """Open a demo store, go shopping in it, and write what phone and console show meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        options = ServeOptions("sqlite://", Path(folder), port=0, demo=True, seed=5)
        server = StoreServer(options, Settings())
        server.start()
        try:
            shots = _shots(server)
        finally:
            server.stop()
    whole = Image.new("RGB", (sum(shot.width for shot in shots) + GAP_PX, HEIGHT_PX), (120, 128, 122))
    whole.paste(shots[0], (0, 0))
    whole.paste(shots[1], (shots[0].width + GAP_PX, 0))
    whole.quantize(192).save(target, optimize=True)


def _shots(server: StoreServer) -> list[Image.Image]:
    server.accounts.create("staff@example.com", PASSWORD, "Staff", Role.MANAGER, by=Role.OWNER)
    with sync_playwright() as playwright:
        playwright.selectors.set_test_id_attribute("data-test")
        browser = launched(playwright)
        phone = browser.new_page(base_url=server.url, viewport={"width": 390, "height": HEIGHT_PX})
        phone.goto("/")
        phone.locator("sign-in-form button.plain").click()
        phone.fill("#email", "you@example.com")
        phone.fill("#password", PASSWORD)
        phone.locator("sign-in-form button.primary").click()
        code = phone.get_by_test_id("entry-code").get_attribute("data-code", timeout=20_000)
        gate = browser.new_page(base_url=server.url)
        gate.goto("/gate")
        gate.fill("[data-test=typed-code]", str(code))
        gate.get_by_test_id("check-code").click()
        phone.locator("[data-test=body] summary").click()
        wishes = phone.locator("[data-test=body] li")
        for number in range(WISHES):
            # The store that has just opened draws its products' pictures one by one.
            sku = wishes.nth(number).get_attribute("data-sku")
            while not phone.request.get(f"/v1/products/{sku}/picture").ok:
                phone.wait_for_timeout(200)
        phone.reload()
        phone.locator("[data-test=body] summary").click()
        for number in range(WISHES):
            wishes.nth(number).get_by_test_id("more").click()
        phone.get_by_test_id("send-body").click()
        staff = browser.new_page(base_url=server.url, viewport={"width": 1280, "height": HEIGHT_PX})
        staff.goto("/staff")
        staff.fill("#email", "staff@example.com")
        staff.fill("#password", PASSWORD)
        staff.locator("sign-in-form button.primary").click()
        # What it is sure of, and what it has just seen.
        phone.locator("[data-test=cart-line]:not([data-quantity='0'])").first.wait_for(timeout=60_000)
        phone.get_by_test_id("checking").first.wait_for(timeout=60_000)
        phone.evaluate("window.scrollTo(0, 0)")
        return [Image.open(BytesIO(page.screenshot())).convert("RGB") for page in (phone, staff)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
