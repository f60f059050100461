"""The layout's editor in a real browser: things moved, products planned, versions saved, cameras placed by clicking."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from cart.accounts import Role
from store_sim.demo_shop import demo_layout
from tests.cart.pages.browsing import RENDERED_MS, be, settled, watched
from tests.cart.pages.conftest import Store

AT_FIRST_M = 2.2
"""Where the front left corner of gondola 1 stands along x."""


REFUSED = r"status of 4(12|22) "
"""What a browser's console says of an answer that the page shows."""


@pytest.fixture
def page(browser: Browser, store: Store) -> Iterator[Page]:
    """The editor, before a manager."""
    with watched(browser, store.url, [REFUSED], viewport={"width": 1280, "height": 1000}) as (page, _):
        be(page.context, store.token(Role.MANAGER))
        page.goto("/office#/layout")
        settled(page)
        expect(page.locator("[data-test=drawing] canvas")).to_be_visible()
        yield page


def in_window(page: Page, *place_m: float) -> tuple[float, float]:
    """Where a place of the store is drawn, pixels of the browser's window."""
    drawing = page.get_by_test_id("drawing")
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    assert box is not None
    code = """place => {
      const { drawing, plan } = document.querySelector("layout-editor, layout-calibration");
      return (drawing ?? plan).px(place);
    }"""
    at = page.evaluate(code, list(place_m))
    return box["x"] + at["x"], box["y"] + at["y"]


def draw(page: Page, start_m: tuple[float, float], end_m: tuple[float, float]) -> None:
    """Take hold of something at one place and let go at another."""
    page.mouse.move(*in_window(page, *start_m))
    page.mouse.down()
    page.mouse.move(*in_window(page, *end_m), steps=5)
    page.mouse.up()


def thing(page: Page, name: str) -> Any:
    """An entry of the list."""
    return page.locator(f"[data-test=thing][data-id='{name}']")


def field(page: Page, name: str) -> Any:
    """A field of what is selected."""
    return page.get_by_test_id(f"field-{name}")


def put(page: Page, name: str, value: str) -> None:
    """Write into a field of what is selected."""
    field(page, name).fill(value)
    field(page, name).press("Tab")


def newest(store: Store) -> Any:
    """The newest version of the layout."""
    with store.client(store.token(Role.MANAGER)) as client:
        return client.get("/v1/layout").json()


def save(page: Page, note: str) -> None:
    """Save the draft."""
    page.get_by_test_id("layout-note").fill(note)
    page.get_by_test_id("layout-save").click()


def test_a_gondola_is_moved_by_the_pointer_and_that_is_undone(page: Page) -> None:
    draw(page, (3.0, 4.6), (3.52, 4.21))
    expect(page.get_by_test_id("selected")).to_have_attribute("data-id", "gondola:1")
    expect(field(page, "x")).to_have_value("2.7")
    expect(field(page, "y")).to_have_value("4")
    expect(page.get_by_test_id("unsaved")).to_be_visible()
    page.keyboard.press("Control+z")
    expect(field(page, "x")).to_have_value("2.2")
    expect(page.get_by_test_id("unsaved")).to_be_hidden()
    page.keyboard.press("Control+y")
    expect(field(page, "x")).to_have_value("2.7")
    page.get_by_test_id("layout.undo").click()
    expect(page.get_by_test_id("layout.undo")).to_be_disabled()


def test_a_gondola_is_moved_by_keys_and_all_presses_are_one_step(page: Page) -> None:
    thing(page, "gondola:1").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(field(page, "x")).to_have_value("2.35")
    expect(page.get_by_test_id("spoken")).to_have_text("Gondola 1: x 2.35 m, y 4.4 m")
    page.keyboard.press("Shift+ArrowDown")
    expect(field(page, "y")).to_have_value("3.9")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    expect(field(page, "x")).to_have_value(str(AT_FIRST_M))
    expect(thing(page, "gondola:1")).to_be_focused()
    page.get_by_test_id("ArrowLeft").click()
    expect(field(page, "x")).to_have_value("2.15")


def test_handles_stretch_and_turn_what_is_selected(page: Page) -> None:
    thing(page, "gondola:1").click()
    draw(page, (3.8, 4.85), (4.2, 5.0))
    expect(field(page, "width")).to_have_value("2")
    expect(field(page, "depth")).to_have_value("0.6")
    put(page, "yaw", "90")
    put(page, "x", "3")
    expect(field(page, "yaw")).to_have_value("90")
    expect(field(page, "x")).to_have_value("3")
    thing(page, "camera:cam1").click()
    draw(page, (0.8 + 0.9 * 0.7071, 0.7 + 0.9 * 0.7071), (0.8, 3.0))
    expect(field(page, "yaw")).to_have_value("90")


def test_a_pointer_that_is_let_go_by_escape_moves_nothing(page: Page) -> None:
    page.mouse.move(*in_window(page, 3.0, 4.6))
    page.mouse.down()
    page.mouse.move(*in_window(page, 3.5, 4.0), steps=3)
    page.keyboard.press("Escape")
    page.mouse.up()
    expect(field(page, "x")).to_have_value(str(AT_FIRST_M))
    expect(page.get_by_test_id("unsaved")).to_be_hidden()


def test_things_are_added_and_removed(page: Page) -> None:
    page.get_by_test_id("draw.add_gondola").click()
    expect(thing(page, "gondola:4")).to_be_focused()
    page.get_by_test_id("add-shelf").click()
    thing(page, "gondola:4").click()
    expect(page.get_by_test_id("slot")).to_have_count(12)
    page.locator("[data-test=add-bin][data-shelf='3']").click()
    expect(page.get_by_test_id("slot")).to_have_count(13)
    page.keyboard.press("Delete")
    expect(page.get_by_test_id("slot")).to_have_count(12)
    thing(page, "gondola:4").press("Delete")
    expect(thing(page, "gondola:4")).to_have_count(0)
    page.get_by_test_id("draw.add_camera").click()
    expect(field(page, "camera")).to_have_value("camera1")
    put(page, "camera", "window")
    expect(thing(page, "camera:window")).to_be_visible()
    thing(page, "exit").click()
    page.get_by_test_id("remove").click()
    page.get_by_test_id("draw.add_exit").click()
    expect(page.get_by_test_id("points").locator("tbody tr")).to_have_count(2)
    thing(page, "floor").click()
    page.get_by_test_id("point-add").first.click()
    expect(page.get_by_test_id("points").locator("tbody tr")).to_have_count(13)


def test_another_product_is_planned_for_a_bin(page: Page) -> None:
    # The first tap chooses the gondola, the next one its bin.
    for _ in range(2):
        page.mouse.click(*in_window(page, 2.4, 4.8))
    expect(page.get_by_test_id("selected")).to_contain_text("Bin 1/2/1")
    page.locator("[data-test=slot][data-bin='1/1/1']").click()
    expect(page.get_by_test_id("bin-product")).to_contain_text("Oat Drink")
    page.get_by_test_id("find-product").fill("honey")
    page.get_by_test_id("product-choice").first.click()
    expect(page.locator("[data-test=slot][data-bin='1/1/1']")).to_contain_text("Honey")
    put(page, "capacity", "6")
    expect(page.locator("[data-test=slot][data-bin='1/1/1']")).to_contain_text("up to 6")
    page.get_by_test_id("layout.undo").click()
    page.get_by_test_id("layout.undo").click()
    expect(page.get_by_test_id("bin-product")).to_contain_text("Oat Drink")
    page.get_by_test_id("no-product").click()
    expect(page.get_by_test_id("bin-product")).to_have_attribute("data-sku", "")


def test_a_version_is_saved_compared_and_the_one_before_restored(page: Page, store: Store) -> None:
    before = newest(store)["version"]
    thing(page, "gondola:1").press("Shift+ArrowDown")
    thing(page, "gondola:2").press("Delete")
    save(page, "wider aisle")
    row = page.locator(f"[data-test=version][data-version='{before + 1}']")
    expect(row).to_contain_text("wider aisle")
    expect(page.get_by_test_id("unsaved")).to_be_hidden()
    saved = newest(store)
    assert (saved["version"], saved["note"], saved["active_version"]) == (before + 1, "wider aisle", 0)
    assert {each["gondola"] for each in saved["document"]["bins"]} == {1, 3}

    first = page.locator("[data-test=version][data-version='0']")
    first.get_by_test_id("layout.compare").click()
    expect(page.get_by_test_id("difference")).to_have_text(["Gondola 1: moved by 0.5 m", "Gondola 2: removed"])
    first.get_by_test_id("layout.restore").click()
    page.locator("dialog .danger").click()
    expect(page.locator(f"[data-test=version][data-version='{before + 2}']")).to_contain_text("Version 0 restored")
    expect(thing(page, "gondola:2")).to_be_visible()
    expect(page.get_by_test_id("no-differences")).to_be_visible()
    restored = newest(store)["document"]
    assert [each["gondola"] for each in restored["bins"]] == [1] * 8 + [2] * 8 + [3] * 8
    assert restored["bins"][0]["corner_m"][1] == 4.4


def test_what_is_refused_is_said_at_the_thing_and_at_its_field(page: Page, store: Store) -> None:
    before = newest(store)["version"]
    thing(page, "gondola:1").click()
    page.locator("[data-test=slot][data-bin='1/1/2']").click()
    put(page, "bin", "1/1/1")
    thing(page, "camera:cam3").click()
    save(page, "wrong")
    objection = page.get_by_test_id("objection")
    expect(objection).to_contain_text("listed twice")
    expect(thing(page, "gondola:1")).to_contain_text("Wrong")
    objection.get_by_test_id("to-objection").click()
    expect(page.get_by_test_id("selected")).to_have_attribute("data-id", "bin:1")
    expect(page.get_by_test_id("thing-problem")).to_contain_text("listed twice")
    page.get_by_test_id("layout.undo").click()
    put(page, "z", "3000000")
    page.get_by_test_id("layout.check").click()
    expect(field(page, "z")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#f-z-problem")).to_contain_text("less than or equal")
    put(page, "z", "0.85")
    page.get_by_test_id("layout.check").click()
    expect(page.get_by_test_id("no-objections")).to_be_visible()
    assert newest(store)["version"] == before


def test_document_and_drawing_are_the_same_draft(page: Page) -> None:
    thing(page, "gondola:1").press("ArrowRight")
    page.get_by_test_id("tab-document").click()
    area = page.get_by_test_id("document")
    document = json.loads(area.input_value())
    assert document["bins"][0]["corner_m"][0] == 2.25
    area.fill("{")
    page.get_by_test_id("tab-drawn").click()
    expect(page.get_by_test_id("document-problem")).to_contain_text("not JSON")
    expect(area).to_have_value("{")
    document["bins"] = document["bins"][:8]
    area.fill(json.dumps(document))
    page.get_by_test_id("tab-drawn").click()
    expect(thing(page, "gondola:1")).to_be_visible()
    thing(page, "gondola:2").click()
    expect(page.get_by_test_id("slot")).to_have_count(0)
    page.get_by_test_id("layout.undo").click()
    expect(page.get_by_test_id("slot")).to_have_count(8)


def test_what_is_not_saved_is_there_after_looking_at_another_view(page: Page) -> None:
    thing(page, "gondola:1").press("ArrowRight")
    page.get_by_test_id("nav-devices").click()
    expect(page.get_by_test_id("devices")).to_be_visible()
    page.get_by_test_id("nav-layout").click()
    expect(page.get_by_test_id("unsaved")).to_be_visible()
    thing(page, "gondola:1").click()
    expect(field(page, "x")).to_have_value("2.25")


def test_what_somebody_else_saved_meanwhile_is_not_overwritten_unseen(page: Page, store: Store) -> None:
    thing(page, "gondola:1").press("ArrowRight")
    with store.client(store.token(Role.MANAGER)) as client:
        found = client.get("/v1/layout")
        theirs = {"document": found.json()["document"] | {"about": "theirs"}, "apply": "later"}
        saved = client.put("/v1/layout", json=theirs, headers={"if-match": found.headers["etag"]})
        assert saved.status_code == 200
    save(page, "mine")
    expect(page.get_by_test_id("document-problem")).to_contain_text("Somebody saved a newer version")
    assert newest(store)["version"] == saved.json()["version"]


PAIRS_M = ((2.2, 4.4, 0.85), (3.8, 4.4, 0.85), (5.5, 3.2, 0.85), (5.5, 4.4, 0.0), (2.2, 0.45, 0.0), (3.8, 0.45, 0.0))
"""Corners of shelves and of the floor that the demo's first camera sees."""


def test_a_camera_is_placed_by_clicking_pairs_in_its_rendered_picture(page: Page) -> None:
    camera = demo_layout().cameras[0]
    thing(page, "camera:cam1").click()
    put(page, "x", "1.6")
    put(page, "yaw", "20")
    page.get_by_test_id("to-calibration").click()
    shot = page.get_by_test_id("shot")
    expect(shot.locator("img")).to_be_visible(timeout=RENDERED_MS)
    for (u, v), place_m in zip(camera.image_points(np.array(PAIRS_M)), PAIRS_M, strict=True):
        assert 0 < u < 640
        assert 0 < v < 360
        page.get_by_test_id("at-height").fill(str(place_m[2]))
        page.get_by_test_id("at-height").press("Tab")
        shot.scroll_into_view_if_needed()
        box = shot.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + u / 640 * box["width"], box["y"] + v / 360 * box["height"])
        expect(page.get_by_test_id("next")).to_have_text("Now click the same point on the plan.")
        page.mouse.click(*in_window(page, *place_m[:2]))
    expect(page.get_by_test_id("pair")).to_have_count(len(PAIRS_M))
    page.get_by_test_id("fit-camera").click()
    fit = page.get_by_test_id("fit")
    expect(fit).to_be_visible()
    assert float(fit.get_attribute("data-rms") or "nan") < 1.5
    errors = [float(each) for each in page.get_by_test_id("pair-error").all_inner_texts()]
    assert len(errors) == len(PAIRS_M)
    assert max(errors) < 3
    fitted = page.get_by_test_id("fitted")
    expect(fitted).to_be_visible(timeout=RENDERED_MS)
    assert fitted.evaluate("async image => (await image.decode(), image.naturalWidth)") == 640
    page.get_by_test_id("take").click()
    page.get_by_test_id("tab-drawn").click()
    thing(page, "camera:cam1").click()
    found = [float(field(page, name).input_value()) for name in ("x", "y", "z", "yaw")]
    assert np.allclose(found[:3], camera.position_m, atol=0.08)
    assert abs(found[3] - 45) < 1.5
    expect(page.get_by_test_id("unsaved")).to_be_visible()


def test_pairs_that_say_nothing_are_refused_and_can_be_typed_and_removed(page: Page) -> None:
    page.get_by_test_id("tab-calibration").click()
    page.get_by_test_id("which-camera").select_option("cam2")
    expect(page.get_by_test_id("shot").locator("img")).to_be_visible(timeout=RENDERED_MS)
    for number in range(4):
        page.get_by_test_id("add-pair").click()
        page.get_by_test_id("pair-pixel-0").nth(number).fill(str(100 + 50 * number))
        page.get_by_test_id("pair-place-0").nth(number).fill(str(number))
        page.get_by_test_id("pair-place-0").nth(number).press("Tab")
    page.get_by_test_id("fit-camera").click()
    expect(page.get_by_test_id("fit-problem")).to_contain_text("lie in one line")
    page.get_by_test_id("pair-remove").first.click()
    expect(page.get_by_test_id("pair")).to_have_count(3)
    expect(page.get_by_test_id("fit-camera")).to_be_disabled()
    expect(page.get_by_test_id("next")).to_have_text("One more pair is needed.")


def test_a_phone_moves_a_gondola_by_touch(browser: Browser, store: Store) -> None:
    with watched(browser, store.url, viewport={"width": 390, "height": 844}, has_touch=True) as (page, _):
        be(page.context, store.token(Role.ENGINEER))
        page.goto("/office#/layout")
        settled(page)
        expect(page.locator("[data-test=drawing] canvas")).to_be_visible()
        page.touchscreen.tap(*in_window(page, 3.0, 4.6))
        expect(page.get_by_test_id("selected")).to_have_attribute("data-id", "gondola:1")
        page.get_by_test_id("ArrowUp").tap()
        expect(field(page, "y")).to_have_value("4.45")
