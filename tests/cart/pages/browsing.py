"""A real browser on the pages of a store, in which whatever should not happen fails the test."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, Response, expect

from cart.pages.serving import LIBRARIES

AXE = LIBRARIES / "axe-core" / "axe.min.js"
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PATIENCE_MS = 20_000
RENDERED_MS = 60_000
"""The demo draws what a camera sees when it is asked, which takes seconds at first, and more on a busy machine."""
NO_PICTURE = r"status of 404 .*/v1/products/\w+/picture\)$"
"""A browser's words where a product has no picture, or a store that has just opened has not drawn it yet."""
expect.set_options(timeout=PATIENCE_MS)


def chromium() -> str:
    """Where the browser is; without one the test is skipped, or fails where CI is set."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        told = "needs a browser; on Debian: apt-get install chromium (make test does that as root)"
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            pytest.fail(told)
        pytest.skip(told)
    return found


def launched(playwright: Playwright, *more: str) -> Browser:
    """A browser of its own."""
    return playwright.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS, *more])


@dataclass
class Watch:
    """What happens in the pages of a context that should not.

    Attributes:
        url: The store.
        allowed: What may happen in this test, as regular expressions.
        bad: What happened.
        fetched: Addresses of what was asked for.
    """

    url: str
    allowed: list[str] = field(default_factory=lambda: [NO_PICTURE])
    bad: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def context(self, context: BrowserContext) -> None:
        """Watch a context and all its pages."""
        context.on("page", self._page)
        context.on("request", self._request)
        context.on("response", self._response)
        context.on("console", self._console)
        context.on("weberror", lambda error: self._note(f"page error: {error.error}"))
        context.add_init_script(
            "document.addEventListener('securitypolicyviolation', each =>"
            " console.error(`policy: ${each.violatedDirective} ${each.blockedURI} ${each.sourceFile}`))"
        )

    def allow(self, *patterns: str) -> None:
        """What may happen from now on."""
        self.allowed += patterns

    def check(self) -> None:
        """Fail if something happened that should not."""
        assert self.bad == [], "\n".join(self.bad)

    def _note(self, told: str) -> None:
        if not any(re.search(pattern, told) for pattern in self.allowed):
            self.bad.append(told)

    def _page(self, page: Page) -> None:
        page.on("crash", lambda _: self._note(f"{page.url}: the page crashed"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._note(f"console {message.type}: {message.text} ({message.location.get('url', '')})")

    def _request(self, request: Request) -> None:
        self.fetched.append(request.url)
        if urlsplit(request.url).scheme in ("data", "blob"):
            return
        if not request.url.startswith(self.url + "/"):
            self._note(f"asked another place: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 500:
            self._note(f"{response.request.method} {response.url}: {response.status}")


@contextmanager
def watched(browser: Browser, url: str, allowed: Sequence[str] = (), **options: Any) -> Iterator[tuple[Page, Watch]]:
    """A page in a context of its own; afterwards, nothing may have happened that should not."""
    context = browser.new_context(base_url=url, **({"locale": "en"} | DESKTOP | options))
    context.set_default_timeout(PATIENCE_MS)
    watch = Watch(url)
    watch.allow(*allowed)
    watch.context(context)
    page = context.new_page()
    try:
        yield page, watch
        watch.check()
    except BaseException as error:
        for told in watch.bad:
            error.add_note(told)
        if not page.is_closed():
            error.add_note(f"{page.url} shows: {page.evaluate('document.body.innerText')}"[:1500])
        raise
    finally:
        context.close()


def be(context: BrowserContext, token: str) -> None:
    """Sign in as whoever a token is of."""
    for key in ("tillfree.token", "tillfree.work"):
        context.add_init_script(f"localStorage.setItem('{key}', {token!r})")


def settled(page: Page) -> None:
    """Wait until a page shows what it loads."""
    page.wait_for_load_state("load")
    # Not by a function to wait for: that is evaluated in a way that the page's policy forbids.
    expect(page.locator("h1").first).to_be_visible()
    expect(page.locator(".skeleton")).to_have_count(0, timeout=RENDERED_MS)


def bytes_of_first_visit(page: Page, address: str) -> int:
    """What goes over the wire until a page is there, heads included; what its worker fetches later is not counted."""
    session = page.context.new_cdp_session(page)
    lengths: list[float] = []
    session.on("Network.loadingFinished", lambda event: lengths.append(event["encodedDataLength"]))
    session.send("Network.enable")
    page.goto(address)
    page.wait_for_load_state("networkidle")
    session.detach()
    return round(sum(lengths))


def picture_of(page: Page, path: Path) -> Path:
    """Take a picture of a page."""
    page.screenshot(path=path)
    return path


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
