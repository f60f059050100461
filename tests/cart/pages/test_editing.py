"""A layout's draft without a page: moving, turning, adding, undoing, and what is different in words."""

import json
import subprocess
from typing import Any

import numpy as np
import pytest
import yaml

from cart.pages.serving import STATIC
from store_sim.demo_shop import demo_layout
from tests.cart.pages.test_sources import NODE
from vision.layout import layout_from_entry, layout_to_yaml

MODULES = ("geometry", "editing", "differences")


def document() -> dict[str, Any]:
    """The demo's layout."""
    found: dict[str, Any] = yaml.safe_load(layout_to_yaml(demo_layout()))
    return found


def run(code: str, given: Any = None) -> Any:
    """What a function of JavaScript gives, with all that the modules have in reach, for what is ``given``."""
    folder = (STATIC / "office").as_uri()
    imports = "".join(f'import * as _{name} from "{folder}/{name}.js";\n' for name in MODULES)
    known = "const all = {..._geometry, ..._editing, ..._differences};\n"
    names = (
        "const {begun, applied, undone, redone, kept, isChanged, moved, turned, sized, removed, differences} = all;\n"
    )
    script = f"{imports}{known}{names}const given = {json.dumps(given)};\nconsole.log(JSON.stringify(({code})(given)));"
    ran = subprocess.run(
        [NODE, "--no-warnings", "--input-type=module"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_a_gondola_moves_with_its_bins_and_plates_and_nothing_else() -> None:
    before = document()
    after = run("given => moved(given, 'gondola:2', [0.5, -0.25])", before)
    for key in ("bins", "plates"):
        for old, new in zip(before[key], after[key], strict=True):
            number = old.get("gondola", int(str(old.get("plate", "0")).split("/")[0]))
            by = (0.5, -0.25, 0) if number == 2 else (0, 0, 0)
            assert np.allclose(np.subtract(new["corner_m"], old["corner_m"]), by)
    assert before | {"bins": 0, "plates": 0} == after | {"bins": 0, "plates": 0}


@pytest.mark.parametrize("degrees", [90, -37.5, 180])
def test_a_turned_gondola_keeps_its_middle_and_its_arrangement(degrees: float) -> None:
    before = document()
    after = layout_from_entry(run(f"given => turned(given, 'gondola:1', {degrees})", before))
    old, new = (
        np.array([each.box.centre_m for each in layout.bins if each.gondola_id == 1 and each.box is not None])
        for layout in (demo_layout(), after)
    )
    assert np.allclose(old.mean(axis=0), new.mean(axis=0), atol=1e-5)
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    assert np.allclose((old - old.mean(axis=0)) @ turn.T, new - new.mean(axis=0), atol=1e-5)


def test_a_stretched_gondola_stretches_what_it_has() -> None:
    after = layout_from_entry(run("given => sized(given, 'gondola:2', [3.2, 0.6])", document()))
    boxes = [each.box for each in after.bins if each.gondola_id == 2]
    assert {tuple(box.size_m.round(6)) for box in boxes if box is not None} == {(0.8, 0.6, 0.4)}
    corners = np.concatenate([box.corners_m for box in boxes if box is not None])
    assert np.allclose(np.ptp(corners, axis=0)[:2], (0.6, 3.2))


def test_a_camera_moves_turns_and_tilts_and_stays_a_camera() -> None:
    after = run(
        """given => {
          const at = moved(given, "camera:cam1", [0.5, 0.25, -0.1]);
          return all.numbered(all.numbered(at, "camera:cam1", "yaw", 120), "camera:cam1", "tilt", 60);
        }""",
        document(),
    )
    camera = layout_from_entry(after).camera("cam1")
    assert camera is not None
    assert np.allclose(camera.position_m, (1.3, 0.95, 2.7))
    rotation = camera.cam_from_world[:3, :3]
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    ahead = rotation[2]
    assert np.allclose(np.degrees(np.arctan2(ahead[1], ahead[0])), 120)
    assert np.allclose(np.degrees(np.arcsin(-ahead[2])), 60)


def test_what_is_added_is_a_layout_and_what_is_removed_is_gone() -> None:
    after = run(
        """given => [
          (each) => all.gondolaAdded(each, [3, 2]).document,
          (each) => all.shelfAdded(each, 4).document,
          (each) => all.binAdded(each, 4, 3).document,
          (each) => all.cameraAdded(each, "north", [1, 1], [1280, 720]).document,
          (each) => all.surfaceAdded(each, [2, 2]).document,
          (each) => removed(removed(each, "exit"), "plate:0"),
          (each) => removed(each, "gondola:1"),
          (each) => all.zoneAdded(each, "exit", [4, 0.4]).document,
        ].reduce((each, change) => change(each), given)""",
        document(),
    )
    layout = layout_from_entry(after)
    assert {each.gondola_id for each in layout.bins} == {2, 3, 4}
    assert len([each for each in layout.bins if each.gondola_id == 4]) == 13
    assert {each.gondola_id for each in layout.plates} == {2, 3}
    assert layout.camera("north") is not None
    assert layout.exit_m is not None
    assert len(layout.surfaces) == 6
    assert len({each.bin_id for each in layout.bins}) == len(layout.bins)


def test_a_plate_that_is_removed_is_named_by_no_bin() -> None:
    after = run("given => removed(given, 'plate:0')", document())
    assert after["bins"][0]["plates"] == ["1/1/2"]
    layout_from_entry(after)


def test_a_corner_box_keeps_its_form_until_it_is_turned() -> None:
    bins = [{"bin": "a", "min_m": [0, 0, 0], "max_m": [1, 0.5, 0.4]}]
    given = {"format": "tillfree-layout/1", "name": "x", "bins": bins}
    there, turned = run("given => [moved(given, 'bin:0', [0.1, 0]), turned(given, 'bin:0', 90, [0, 0])]", given)
    assert there["bins"] == [{"bin": "a", "min_m": [0.1, 0, 0], "max_m": [1.1, 0.5, 0.4]}]
    assert turned["bins"] == [{"bin": "a", "corner_m": [0, 0, 0], "yaw_deg": 90, "size_m": [1, 0.5, 0.4]}]


def test_undo_and_redo_go_back_and_forth_and_presses_of_one_key_are_one_step() -> None:
    told = run(
        """given => {
          const at = (history) => history.present.bins[0].corner_m[0];
          const press = (history) => applied(history, moved(history.present, "gondola:1", [0.05, 0]), "right");
          const start = begun(given);
          const pressed = press(press(press(start)));
          const moved_again = applied(pressed, moved(pressed.present, "gondola:1", [1, 0]));
          const back = undone(moved_again);
          const first = undone(back);
          const forth = redone(redone(first));
          const saved = kept(back, back.present);
          return {
            at: [start, pressed, moved_again, back, first, undone(first), forth].map(at),
            changed: [start, pressed, first, saved, undone(saved)].map(isChanged),
            lost: applied(first, moved(first.present, "gondola:2", [1, 0])).future.length,
          };
        }""",
        document(),
    )
    assert told["at"] == [2.2, 2.35, 3.35, 2.35, 2.2, 2.2, 3.35]
    assert told["changed"] == [False, True, False, False, True]
    assert told["lost"] == 0


def test_moving_snaps_the_things_own_corner_to_the_grid() -> None:
    given = document()
    given["bins"][0]["corner_m"][0] = 2.217
    after = run("given => all.movedOnGrid(given, 'bin:0', [0.11, 0.02], 0.05)", given)
    assert after["bins"][0]["corner_m"] == [2.35, 4.4, 0.85]


def test_handles_turn_stretch_and_move_points() -> None:
    turned, stretched, outlined, aimed = run(
        """given => {
          const [size, turn] = all.handlesOf(given, "gondola:1");
          const [point] = all.handlesOf(given, "floor");
          const [aim] = all.handlesOf(given, "camera:cam1");
          return [
            all.extentOf(all.drawnTo(given, "gondola:1", turn, [10, 4.63], 0.05), "gondola:1").yaw,
            all.extentOf(all.drawnTo(given, "gondola:1", size, [4.212, 5.01], 0.05), "gondola:1").size,
            all.drawnTo(given, "floor", point, [0.31, 0.27], 0.1).walkable_m[0],
            all.poseOf(all.drawnTo(given, "camera:cam1", aim, [0.8, 3], 0.05).cameras.cam1).heading,
          ];
        }""",
        document(),
    )
    assert (turned, stretched, outlined, aimed) == (90, [2.0, 0.6, 0.85], [0.3, 0.3], 90)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("moved(given, 'gondola:1', [0.3, 0.4])", [("moved", "gondola", "1")]),
        (
            "all.withField(moved(moved(given, 'gondola:1', [0.3, 0]), 'bin:2', [0.1, 0]), 'bin:3', 'bin', 'x')",
            [("moved", "gondola", "1"), ("moved", "bin", "1/1/3"), ("removed", "bin", "1/1/4"), ("added", "bin", "x")],
        ),
        ("turned(given, 'gondola:2', 15)", [("turned", "gondola", "2")]),
        ("removed(given, 'gondola:3')", [("removed", "gondola", "3")]),
        ("all.gondolaAdded(given, [3, 2]).document", [("added", "gondola", "4")]),
        ("moved(given, 'bin:0', [0, 0, 0.1])", [("moved", "bin", "1/1/1")]),
        ("all.withField(given, 'bin:1', 'capacity', 6)", [("capacity", "bin", "1/1/2")]),
        ("moved(given, 'camera:cam2', [0.1, 0, 0])", [("moved", "camera", "cam2")]),
        ("turned(given, 'camera:cam2', 5)", [("turned", "camera", "cam2")]),
        ("all.cameraRenamed(given, 'cam2', 'north')", [("removed", "camera", "cam2"), ("added", "camera", "north")]),
        ("removed(given, 'exit')", [("removed", "exit", "")]),
        ("moved(given, 'surface:1', [0.1, 0])", [("changed", "surface", "2")]),
        ("({...given, name: 'new', about: 'x'})", [("renamed", "store", "new"), ("added", "part", "about")]),
        ("given", []),
    ],
)
def test_differences_are_told_by_what_was_done(change: str, told: list[tuple[str, str, str]]) -> None:
    found = run(f"given => all.differences(given, {change})", document())
    assert [(each["key"], each["kind"], each["name"]) for each in found] == told


def test_a_product_in_a_bin_becomes_known_to_the_layout_and_is_told_by_name() -> None:
    product = {"sku": "77", "name": "Tea", "mass_g": None, "unit_price_minor": 250, "currency": "EUR", "gtin": None}
    found, after = run(
        "([given, product]) => { const next = all.withProduct(given, 'bin:0', product);"
        " return [all.differences(given, next), next]; }",
        [document(), product],
    )
    assert [each["key"] for each in found] == ["product", "added"]
    assert found[0]["values"] == {"from": "Tall Oak Oat Drink 1 l", "to": "Tea"}
    assert layout_from_entry(after).bin("1/1/1").sku == "77"


def test_objections_lead_to_the_things_that_they_concern() -> None:
    places = [["bins", 3, "size_m"], ["cameras", "cam2"], ["exit_m"], ["plates", 0], ["name"], [], ["bins", 99]]
    found = run("([given, places]) => places.map((each) => all.thingAt(given, each))", [document(), places])
    assert found == ["bin:3", "camera:cam2", "exit", "plate:0", "", "", ""]
