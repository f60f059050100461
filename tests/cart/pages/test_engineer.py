"""The engineer's view of a filmed visit in a real browser: pictures, the scrubber, and two runs side by side."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from cart.accounts import Role
from store_sim.demo_shop import DEMO_LAYOUT, demo_layout
from tests.cart.pages.browsing import be, watched
from tests.cart.pages.conftest import SETTINGS, Store, open_store

RECORDING = "one-visit"
PICK_S = 5.0
REPLAY_MS = 120_000
BIN = next(a_bin for a_bin in demo_layout().bins if a_bin.bin_id == "1/2/4")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with a recording of one visit that two cameras have filmed."""
    recordings, folder = tmp_path_factory.mktemp("recordings"), tmp_path_factory.mktemp("store")
    where = {"gondola": 1, "shelf": 2, "plates": [7, 8]}
    pick = {"t_s": PICK_S, "shopper": "Ada", "action": "pick", "barcode": BIN.sku, "quantity": 1, "bin": where}
    scenario = {
        "format": "tillfree-scenario/1",
        "name": "one visit",
        "site": str(DEMO_LAYOUT),
        "shoppers": [{"id": "Ada", "enters_at_s": 0.5}],
        "events": [pick],
    }
    (folder / "visit.json").write_text(json.dumps(scenario), encoding="utf-8")
    command = [sys.executable, "-c", "from cart.cli import main; main()", "simulate", "visit.json", "--render"]
    words = ["--cameras", "2", "--out", str(recordings / RECORDING)]
    done = subprocess.run(
        [*command, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    settings = SETTINGS.model_copy(update={"recordings_folder": recordings})
    with open_store(folder, settings) as store:
        yield store


@pytest.fixture
def engineer(browser: Browser, store: Store) -> Iterator[Page]:
    """The page of an engineer."""
    with watched(browser, store.url) as (page, watch):
        # Before a camera's first picture there is none.
        watch.allow(r"status of 404 .*/pictures\?")
        be(page.context, store.token(Role.ENGINEER))
        page.goto("/engineer")
        yield page


def replay(page: Page, label: str, *without: str) -> Locator:
    """Have the recording replayed; the run's entry once it is done."""
    page.locator("#recording").select_option(RECORDING)
    page.locator("#label").fill(label)
    for sensor in without:
        page.locator(f"[name=without][value={sensor}]").check()
    page.get_by_test_id("start").click()
    entry = page.locator("replay-list li.card").filter(has_text=label)
    expect(entry.get_by_test_id("open")).to_be_visible(timeout=REPLAY_MS)
    return entry


def seek(page: Page, t_s: float) -> None:
    """Move the scrubber."""
    page.locator("input[type=range]").fill(str(t_s))


def test_a_filmed_visit_is_looked_at_instant_by_instant_and_compared_with_another_run(engineer: Page) -> None:
    page = engineer
    replay(page, "as it was")
    replay(page, "without scales", "scales")
    page.locator("replay-list li.card").filter(has_text="as it was").get_by_test_id("open").click()
    shot = page.locator(".shot img")
    expect(shot).to_be_visible()
    assert shot.evaluate("picture => picture.naturalWidth") > 100
    first = shot.get_attribute("src")
    seek(page, PICK_S)
    expect(page.locator(f".shot img:not([src='{first}'])")).to_be_visible()
    expect(page.locator(".plan .person")).to_have_count(1)
    expect(page.locator(".shot rect")).to_have_count(1)
    cameras = page.get_by_role("group", name="Cameras").get_by_role("button")
    expect(cameras).to_have_count(2)
    of_one = shot.get_attribute("src")
    cameras.nth(1).click()
    expect(page.locator(f".shot img:not([src='{of_one}'])")).to_be_visible()

    # What is refused late, of an instant that one has left, takes nothing away.
    held: list[Route] = []
    page.route(re.compile(r"/pictures\?.*t_s=1\.0$"), held.append)
    seek(page, 1.0)
    shown = shot.get_attribute("src")
    seek(page, PICK_S + 0.4)
    expect(page.locator(f".shot img:not([src='{shown}'])")).to_be_visible()
    held[0].fulfill(status=404)
    page.wait_for_timeout(300)
    expect(shot).to_be_visible()

    page.locator(".happened button").first.click()
    expect(page.locator("svg.curve")).to_be_visible()
    page.get_by_test_id("play").click()
    at = page.locator(".transport output")
    before = at.text_content() or ""
    expect(at).not_to_have_text(before)
    page.get_by_test_id("play").click()

    page.goto("/engineer#/")
    for box in page.locator("replay-list li.card input[type=checkbox]").all():
        box.check()
    page.get_by_test_id("compare").click()
    expect(page.locator("replay-pane")).to_have_count(2)
    expect(page.locator("replay-pane .shot img")).to_have_count(2)
    seek(page, PICK_S + 1)
    expect(page.locator("replay-pane .plan .person")).to_have_count(2)
    expect(page.locator("replay-pane").first.locator(".happened li")).to_have_count(1)
