"""The engineer's view of a filmed visit in a real browser: pictures, the scrubber, and two runs side by side."""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from cart.accounts import Role
from cart.replays import MOMENTS_FOLDER, PICTURES_FOLDER, RESULT_FILE, write_json
from store_sim.demo_shop import DEMO_LAYOUT, demo_layout
from tests.cart.api.shops import picture_file
from tests.cart.pages.browsing import be, troubles, watched
from tests.cart.pages.conftest import SETTINGS, Store, open_store

COMMAND = (sys.executable, "-c", "from cart.cli import main; main()")
RECORDING = "one-visit"
CAMERAS = ("cam1", "cam2")
PICK_S = 5.0
REPLAY_MS = 300_000
BIN = next(a_bin for a_bin in demo_layout().bins if a_bin.bin_id == "1/2/4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store keeps its things; recordings lie in a folder of their own in it."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "recordings").mkdir()
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
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[Store]:
    """A store with a recording of one visit."""
    simulate(folder, RECORDING)
    with open_store(folder, SETTINGS.model_copy(update={"recordings_folder": folder / "recordings"})) as store:
        yield store


def simulate(folder: Path, name: str, *words: str) -> None:
    """Record the visit."""
    done = subprocess.run(
        [*COMMAND, "simulate", "visit.json", "--out", str(folder / "recordings" / name), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


def film(replay: Path) -> None:
    """Give a run without cameras what one with two of them keeps: pictures, and where people were in them."""
    result = json.loads((replay / RESULT_FILE).read_text("utf-8"))
    result |= {"cameras": list(CAMERAS), "resolutions_wh": {each: [320, 180] for each in CAMERAS}}
    write_json(replay / RESULT_FILE, result)
    for path in (replay / MOMENTS_FOLDER).glob("*.gz"):
        moments = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        for moment in moments:
            seen = {"label": "Ada", "box_px": [100, 20, 160, 170], "hands_px": [[150, 80]]}
            boxes = [seen | {"identity_id": each["identity_id"]} for each in moment["people"]]
            moment["boxes"] = dict.fromkeys(CAMERAS, boxes)
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, moments)).encode()))
    for camera, colour in zip(CAMERAS, ("navy", "maroon"), strict=True):
        (replay / PICTURES_FOLDER / camera).mkdir(parents=True)
        for at_ms in range(400, 20_000, 400):
            picture = picture_file("JPEG", (320, 180), colour)
            (replay / PICTURES_FOLDER / camera / f"{at_ms:010d}.jpg").write_bytes(picture)


@pytest.fixture
def engineer(browser: Browser, store: Store) -> Iterator[Page]:
    """The page of an engineer."""
    with watched(browser, store.url) as (page, watch):
        # Before a camera's first picture there is none.
        watch.allow(r"status of 404 .*/pictures\?")
        be(page.context, store.token(Role.ENGINEER))
        page.goto("/engineer")
        yield page


def replay(page: Page, recording: str, label: str, *without: str) -> None:
    """Have a recording replayed; waits until it is done."""
    page.locator("#recording").select_option(recording)
    page.locator("#label").fill(label)
    for sensor in without:
        page.locator(f"[name=without][value={sensor}]").check()
    page.get_by_test_id("start").click()
    expect(entry(page, label).get_by_test_id("open")).to_be_visible(timeout=REPLAY_MS)


def entry(page: Page, label: str) -> Locator:
    """A run in the list."""
    return page.locator("replay-list li.card").filter(has_text=label)


def seek(page: Page, t_s: float) -> None:
    """Move the scrubber."""
    page.locator("input[type=range]").fill(str(t_s))


def look_through(page: Page) -> None:
    """Look at the pictures of both cameras, before and at the instant at which something is taken."""
    shot = page.locator(".shot img")
    seek(page, 1.0)
    expect(shot).to_be_visible()
    assert shot.evaluate("picture => picture.naturalWidth") > 100
    first = shot.get_attribute("src")
    seek(page, PICK_S)
    expect(page.locator(f".shot img:not([src='{first}'])")).to_be_visible()
    expect(page.locator(".plan .person")).to_have_count(1)
    cameras = page.get_by_role("group", name="Cameras").get_by_role("button")
    expect(cameras).to_have_count(len(CAMERAS))
    of_one = shot.get_attribute("src")
    cameras.nth(1).click()
    expect(page.locator(f".shot img:not([src='{of_one}'])")).to_be_visible()


def test_a_run_is_looked_at_instant_by_instant_and_compared_with_another(engineer: Page, folder: Path) -> None:
    page = engineer
    replay(page, RECORDING, "as it was")
    replay(page, RECORDING, "nothing weighed", "scales")
    for each in (folder / "replays").iterdir():
        film(each)
    entry(page, "as it was").get_by_test_id("open").click()
    look_through(page)
    expect(page.locator(".shot rect")).to_have_count(1)

    # What is refused late, of an instant that one has left, takes nothing away.
    shot = page.locator(".shot img")
    held: list[Route] = []
    page.route(re.compile(r"/pictures\?.*t_s=1\.0$"), lambda route: held.append(route))
    before = shot.get_attribute("src")
    seek(page, 1.0)
    seek(page, PICK_S + 0.4)
    expect(page.locator(f".shot img:not([src='{before}'])")).to_be_visible()
    held[0].fulfill(status=404)
    page.wait_for_timeout(300)
    expect(shot).to_be_visible()

    page.locator(".happened button").first.click()
    expect(page.locator("svg.curve")).to_be_visible()
    found = troubles(page)
    page.get_by_test_id("play").click()
    at = page.locator(".transport output")
    expect(at).not_to_have_text(at.text_content() or "")
    page.get_by_test_id("play").click()

    page.goto("/engineer#/")
    for label in ("as it was", "nothing weighed"):
        entry(page, label).get_by_role("checkbox").check()
    page.get_by_test_id("compare").click()
    panes = page.locator("replay-pane")
    expect(panes).to_have_count(2)
    seek(page, PICK_S)
    expect(panes.locator(".shot img")).to_have_count(2)
    expect(panes.locator(".plan .person")).to_have_count(2)
    assert found + troubles(page) == []


@pytest.mark.long
def test_a_filmed_visit_is_shown_with_what_its_cameras_saw(engineer: Page, folder: Path) -> None:
    page = engineer
    simulate(folder, "filmed", "--render", "--cameras", str(len(CAMERAS)))
    page.reload()
    # Without the tracker's bodies people are found in the pictures.
    replay(page, "filmed", "by pictures alone", "bodies")
    entry(page, "by pictures alone").get_by_test_id("open").click()
    look_through(page)
    expect(page.locator(".shot rect")).to_have_count(1)
