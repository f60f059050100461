"""Tests of cart.cli_simulator: simulate, evaluate and dataset as people run them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from cart import cli_simulator
from cart import evaluate as evaluation_module
from cart.eyes import PARTS
from store_sim.datasets import read_coco, read_mot
from store_sim.demo_shop import demo_layout
from store_sim.recording import RecordingSource
from store_sim.scenarios import Action, Carried, FaultKind, Role, ScenarioShopper, library, read_scenario
from tests.cart.running import HEARS_CTRL_C, Tillfree, refusal
from tests.cart.shopfloor import write_people_model, write_site
from tests.cart.test_evaluate import ISSUE_KEYS
from tests.conftest import PROJECT
from tests.test_docs import fences
from vision.layout import layout_to_yaml

Entry = dict[str, Any]

SKU = demo_layout().bins[0].sku
TEA = {"gondola": 1, "shelf": 1, "plates": [1, 2]}
PICK = {"t_s": 5.0, "shopper": "Ada", "action": "pick", "barcode": SKU, "quantity": 1, "bin": TEA}
SMALL_SHOP = ("--gondolas", 3, "--products", 20, "--visits", 2, "--shoppers", 2)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The demo's shop with pictures so small that they cost nothing."""
    layout = demo_layout()
    small = layout.for_pictures({camera.camera_id: (96, 54) for camera in layout.cameras})
    path = tmp_path / "shop.yaml"
    path.write_text(layout_to_yaml(small), encoding="utf-8")
    return path


@pytest.fixture
def case(shop: Path) -> Callable[..., Path]:
    """Writes scenarios of Ada in the small shop."""

    def write(*events: Entry, name: str = "case", **keys: Any) -> Path:
        entry = {
            "format": "tillfree-scenario/1",
            "name": name,
            "site": "shop.yaml",
            "shoppers": [{"id": "Ada", "enters_at_s": 0.5}],
            "events": list(events),
            **keys,
        }
        path = shop.parent / f"{name}.json"
        path.write_text(json.dumps(entry), encoding="utf-8")
        return path

    return write


def document(path: Path) -> Entry:
    found = json.loads(path.read_text("utf-8"), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert isinstance(found, dict)
    return found


def of_library(name: str) -> Path:
    (path,) = (path for path in library() if path.stem == name)
    return path


# Simulating


def test_a_visit_is_simulated_and_replayed_as_it_is_evaluated(tillfree: Tillfree, tmp_path: Path) -> None:
    path, seed = of_library("hand_over_across_groups"), 1
    ran = tillfree("simulate", path, "--out", tmp_path / "visit", "--seed", seed)
    assert (ran.status, ran.err) == (0, "")
    assert f"Recording: {tmp_path / 'visit'} (tillfree replay {tmp_path / 'visit'})" in ran.out
    assert "times real time" in ran.out
    assert tillfree("replay", tmp_path / "visit", "--json", tmp_path / "v.json").status == 0
    charged: dict[tuple[str, str], int] = {}
    for receipt in document(tmp_path / "v.json")["receipts"]:
        for line in receipt["lines"]:
            key = (receipt["shopper"], line["barcode"])
            charged[key] = charged.get(key, 0) + max(0, line["quantity"])
    receipts = read_scenario(path).receipts or {}
    due = {(payer, sku): quantity for payer, lines in receipts.items() for sku, quantity in lines.items()}
    tp = sum(min(charged.get(key, 0), quantity) for key, quantity in due.items())
    words = ("--seeds", seed + 1, "--processes", 1, "--json", tmp_path / "e.json")
    assert tillfree("evaluate", path, *words).status == 0
    believed = document(tmp_path / "e.json")["cases"][seed]
    assert believed["seed"] == seed
    assert (believed["tp"], believed["fp"], believed["fn"]) == (
        tp,
        sum(charged.values()) - tp,
        sum(due.values()) - tp,
    )
    assert sum(charged.values()) > 0


def test_a_recording_holds_its_truth_which_plays_again(
    tillfree: Tillfree, case: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "elsewhere" / "visit"
    assert tillfree("simulate", case(PICK), "--out", out, "--seed", 4).status == 0
    assert RecordingSource(out).seed == 4
    truth = read_scenario(out / "truth.json")
    assert truth.receipts == {"Ada": {SKU: 1}}
    assert truth.site == "layout.yaml"
    ran = tillfree("evaluate", out / "truth.json", "--processes", 1, "--json", tmp_path / "e.json")
    assert (ran.status, ran.err) == (0, "")
    assert document(tmp_path / "e.json")["cases"][0]["tp"] == 1


def test_a_made_up_shop_is_simulated(tillfree: Tillfree, tmp_path: Path) -> None:
    words = ("--seed", 7, *SMALL_SHOP, "--confusing", 0)
    ran = tillfree("simulate", "--random", "--out", tmp_path / "day", *words)
    assert (ran.status, ran.err) == (0, "")
    layout = yaml.safe_load((tmp_path / "day" / "layout.yaml").read_text("utf-8"))
    assert len({row["gondola"] for row in layout["bins"]}) == 3
    assert len(layout["products"]) == 20
    assert len(read_scenario(tmp_path / "day" / "truth.json").shoppers) == 2
    assert tillfree("replay", tmp_path / "day").status == 0


def test_a_visit_is_recorded_by_the_sensors_that_are_asked_for(
    tillfree: Tillfree, case: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "visit"
    ran = tillfree("simulate", case(), "--out", out, "--sensors", "scales,cameras", "--cameras", 1)
    assert ran.status == 0
    ticks = list(RecordingSource(out))
    assert not any(tick.bodies for tick in ticks)
    assert any(tick.scales for tick in ticks)
    assert any(tick.frames for tick in ticks)
    assert any(tick.gates for tick in ticks)
    assert "sensors: expected some of" in refusal(tillfree("simulate", case(), "--sensors", "radar"))


def test_a_visit_is_filmed_by_one_camera(tillfree: Tillfree, case: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "visit"
    ran = tillfree("simulate", case(), "--out", out, "--render", "--cameras", 1)
    assert ran.status == 0
    assert "0 interactions, 1 camera;" in ran.out
    source = RecordingSource(out)
    frames = [frame for tick in source for frame in tick.frames]
    assert len(source.camera_ids) == 1
    assert len(frames) > 50
    assert frames[0].image.shape == (54, 96, 3)
    assert np.std(frames[0].image) > 5
    ran = tillfree("replay", out, "--report", tmp_path / "report")
    assert ran.status == 0
    assert ran.err == "note: the recording's joints say who is where; --weights lets a model look too\n"
    assert f"{len(frames)} pictures" in ran.out


def test_cameras_may_be_named(tillfree: Tillfree, case: Callable[..., Path], tmp_path: Path) -> None:
    assert tillfree("simulate", case(), "--out", tmp_path / "v", "--render", "--cameras", "cam4, cam2").status == 0
    assert sorted(RecordingSource(tmp_path / "v").camera_ids) == ["cam2", "cam4"]


def test_receipts_that_the_rule_does_not_give_are_said_and_played(
    tillfree: Tillfree, case: Callable[..., Path], tmp_path: Path
) -> None:
    path = case(PICK, receipts={"Ada": {SKU: 2}})
    said = f"note: case: Ada: {SKU}: the file says 2, the rule says 1\n"
    ran = tillfree("simulate", path, "--out", tmp_path / "visit")
    assert (ran.status, ran.err) == (0, said)
    ran = tillfree("evaluate", path, "--processes", 1, "--json", tmp_path / "e.json")
    assert (ran.status, ran.err) == (0, said)
    (found,) = document(tmp_path / "e.json")["cases"]
    assert (found["tp"], found["fn"]) == (1, 1)


def test_a_store_that_is_not_where_the_scenario_says_is_replaced_and_said(
    tillfree: Tillfree, case: Callable[..., Path], shop: Path, tmp_path: Path
) -> None:
    path = case(site="../shops/gone.yaml")
    assert "--site" in refusal(tillfree("simulate", path, "--out", tmp_path / "visit"))
    ran = tillfree("simulate", path, "--out", tmp_path / "visit", "--site", shop)
    assert ran.status == 0
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("note: ")
    assert "gone.yaml" in ran.err


def test_the_example_on_the_page_about_scenarios_plays(tillfree: Tillfree, tmp_path: Path) -> None:
    folder = PROJECT / "store_sim"
    (example,) = fences((folder / "SCENARIOS.md").read_text("utf-8"), {"json"})
    entry = json.loads(example)
    (tmp_path / "visit.json").write_text(json.dumps(entry | {"site": str(folder / entry["site"])}), encoding="utf-8")
    ran = tillfree("simulate", tmp_path / "visit.json", "--out", tmp_path / "visit")
    assert (ran.status, ran.err) == (0, "")
    assert "1 visit, 2 interactions" in ran.out


def test_the_page_about_scenarios_names_all_that_the_format_has() -> None:
    page = (PROJECT / "store_sim" / "SCENARIOS.md").read_text("utf-8")
    words = [*Action, *FaultKind, *Role, *Carried, *(column.name for column in fields(ScenarioShopper)[1:])]
    assert [word for word in words if f"`{word}`" not in page] == []


def test_a_published_visit_is_simulated_in_its_site(tillfree: Tillfree, shared: Path, tmp_path: Path) -> None:
    path = shared / "nanostore" / "cases" / "ALL-SIMPLE-CHIP-1.json"
    assert "--site" in refusal(tillfree("simulate", path, "--out", tmp_path / "visit"))
    ran = tillfree("simulate", path, "--site", shared / "nanostore" / "site", "--out", tmp_path / "visit")
    assert ran.status == 0
    assert "1 visit, 2 interactions" in ran.out


# Evaluating


def test_an_evaluation_writes_what_others_read(tillfree: Tillfree, case: Callable[..., Path], tmp_path: Path) -> None:
    paths = [case(PICK, name="takes", **{"class": "taking"}), case(name="walks")]
    words = ("--seeds", 2, "--processes", 1, "--json", tmp_path / "e.json", "--report", tmp_path / "report")
    ran = tillfree("evaluate", *paths, *words)
    assert (ran.status, ran.err) == (0, "")
    assert "taking" in ran.out
    assert "no class" in ran.out
    assert f"JSON: {tmp_path / 'e.json'}" in ran.out
    page = tmp_path / "report" / "index.html"
    assert f"Report: {page}" in ran.out
    assert "2 scenarios" in page.read_text("utf-8")
    found = document(tmp_path / "e.json")
    assert {"cases", "mean_f1", "precision", "recall", "f1", "review_rate", "wrong_charges_per_1000_units"} <= set(
        found
    )
    assert [(entry["name"], entry["class"], entry["seed"]) for entry in found["cases"]] == [
        *(("takes", "taking", 0), ("takes", "taking", 1)),
        *(("walks", "no class", 0), ("walks", "no class", 1)),
    ]
    assert all(set(entry) >= ISSUE_KEYS for entry in found["cases"])
    assert found["mean_f1"] == 1.0
    assert found["failed"] == []


def test_the_library_is_evaluated_as_a_whole(
    tillfree: Tillfree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    few = (of_library("tailgater"), of_library("walks_through"))
    monkeypatch.setattr(cli_simulator, "library", lambda: few)
    ran = tillfree("evaluate", "--library", "--processes", 1, "--report", tmp_path / "report")
    assert (ran.status, ran.err) == (0, "")
    assert "entry" in ran.out
    assert "exit_operations" in ran.out
    assert "the library" in (tmp_path / "report" / "index.html").read_text("utf-8")


def test_made_up_days_are_evaluated(tillfree: Tillfree, tmp_path: Path) -> None:
    words = (*SMALL_SHOP, "--confusing", 0, "--processes", 1, "--json", tmp_path / "e.json")
    assert tillfree("evaluate", "--random", 2, *words).status == 0
    cases = document(tmp_path / "e.json")["cases"]
    assert [(entry["name"], entry["class"]) for entry in cases] == [
        ("random-day-0", "random day, 0 % confusing, small shop"),
        ("random-day-1", "random day, 0 % confusing, small shop"),
    ]


@pytest.mark.parametrize("sensors", ["cameras", "scales,cameras"])
def test_cameras_see_with_an_oracle(
    tillfree: Tillfree, case: Callable[..., Path], tmp_path: Path, sensors: str
) -> None:
    words = ("--sensors", sensors, "--oracle", "--cameras", 2, "--processes", 1, "--json", tmp_path / "e.json")
    assert tillfree("evaluate", case(PICK), *words, "--report", tmp_path / "report").status == 0
    (found,) = document(tmp_path / "e.json")["cases"]
    assert found["visits"] >= 1
    assert "with an oracle in place of a model" in (tmp_path / "report" / "index.html").read_text("utf-8")


def test_cameras_see_with_a_model(tillfree: Tillfree, case: Callable[..., Path], tmp_path: Path) -> None:
    people = write_people_model(tmp_path / "people.onnx")
    words = ("--sensors", "scales,cameras", "--cameras", "cam1", "--weights", people, "--processes", 1)
    ran = tillfree("evaluate", case(), *words, "--json", tmp_path / "e.json")
    assert ran.status == 0
    assert len(document(tmp_path / "e.json")["cases"]) == 1


def test_cameras_see_with_our_own_models_unless_others_are_named(
    tillfree: Tillfree, case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(PARTS, "tillfree", (str(write_people_model(tmp_path / "people.onnx")),))
    ran = tillfree("evaluate", case(), "--sensors", "scales,cameras", "--cameras", "cam1", "--processes", 1)
    assert ran.status == 0
    assert "note: seen with the project's own models (tillfree)" in ran.err


def test_one_case_that_fails_is_told_and_the_others_are_evaluated(
    tillfree: Tillfree, case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(evaluation_module, "LONGEST_STRETCH", 0.0)
    monkeypatch.setattr(evaluation_module, "LONGEST_WAIT_S", 30.0)
    stays = case(name="stays", shoppers=[{"id": "Ada", "enters_at_s": 0.5, "leaves_at_s": 60.0}])
    ran = tillfree("evaluate", stays, case(name="walks"), "--processes", 1, "--json", tmp_path / "e.json")
    assert ran.status == 1
    assert ran.err == "tillfree: stays, seed 0: ValueError: expected it to end within 30 s of store time, it did not\n"
    assert "1 case could not be played" in ran.out
    found = document(tmp_path / "e.json")
    assert [entry["name"] for entry in found["cases"]] == ["walks"]
    assert [entry["name"] for entry in found["failed"]] == ["stays"]


@pytest.mark.slow
def test_real_plates_stand_beside_simulated_ones(tillfree: Tillfree, shared: Path, tmp_path: Path) -> None:
    store = shared / "nanostore"
    words = ("--site", store / "site", "--processes", 1, "--report", tmp_path / "report")
    path = store / "cases" / "ALL-SIMPLE-CHIP-1.json"
    ran = tillfree("evaluate", path, *words, "--real-scales", store / "BENCHMARK-1")
    assert ran.status == 0
    assert "BENCHMARK-1" in (tmp_path / "report" / "index.html").read_text("utf-8")


def test_plates_beside_a_site_that_show_no_pick_are_said_and_left_out(
    tillfree: Tillfree, case: Callable[..., Path], tmp_path: Path
) -> None:
    site = write_site(tmp_path / "site")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "plate_data.jsonl").write_text("{\n")
    ran = tillfree("evaluate", case(), "--site", site, "--processes", 1, "--report", tmp_path / "report")
    assert ran.status == 0
    assert ran.err.startswith("note: no comparison with real plates: ")
    assert ran.err.count("\n") == 1


# Making data sets


def test_pictures_are_made_to_train_on(tillfree: Tillfree, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    words = ("--images", 4, "--seed", 3, "--validation", 0.5, "--processes", 1)
    ran = tillfree("dataset", "--out", out, *words)
    assert (ran.status, ran.err) == (0, "")
    assert "train: 2 pictures of 1 shop" in ran.out
    assert "val: 2 pictures of 1 shop" in ran.out
    frames = read_coco(out / "coco" / "train.json")
    assert len(frames) == 2
    assert all((out / frame.image_path).is_file() for frame in frames)


def test_a_visit_becomes_a_tracking_sequence(tillfree: Tillfree, case: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "mot"
    ran = tillfree("dataset", case(), "--out", out, "--cameras", "cam1", "--seed", 1)
    assert (ran.status, ran.err) == (0, "")
    assert [path.name for path in out.iterdir()] == ["cam1"]
    frames = read_mot(out / "cam1").frames
    pictures = sorted((out / "cam1" / "img1").iterdir())
    assert f"cam1: {len(pictures)} pictures: {out / 'cam1'}" in ran.out
    assert len(frames) == len(pictures) > 50
    picture = cv2.imread(str(pictures[0]))
    assert picture is not None
    assert picture.shape == (54, 96, 3)


# Refusing


@pytest.mark.parametrize("command", ["simulate", "evaluate", "dataset"])
@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([PICK | {"action": "dance"}], "event 1: unknown action 'dance'"),
        ([PICK, PICK | {"t_s": 4.0}], "event 2: time runs backwards: 4 s after 5 s"),
        ([PICK | {"action": "put_back"}], f"event 1: Ada holds 0 of {SKU}, not 1"),
        ([PICK, PICK | {"bin": TEA | {"plates": [99]}}], "event 2: there is no plate 1/1/99"),
        ([PICK | {"bin": TEA | {"gondola": 9}}], "event 1: there is no gondola 9"),
        ([PICK | {"shopper": "Zoe"}], "event 1: there is no shopper Zoe"),
        ([PICK | {"quantity": 9}], f"event 1: 8 of {SKU} stand there, not 9"),
    ],
)
def test_a_scenario_that_cannot_happen_is_refused(
    tillfree: Tillfree,
    case: Callable[..., Path],
    tmp_path: Path,
    command: str,
    events: list[Entry],
    said: str,
) -> None:
    path = case(*events)
    out = () if command == "evaluate" else ("--out", tmp_path / "out")
    assert refusal(tillfree(command, path, *out)).startswith(f"{path}: {said}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected a scenario file, or --random, and not both"),
        (["case.json", "--random"], "expected a scenario file, or --random, and not both"),
        (["nowhere.json"], "nowhere.json: no such file"),
        (["shop.yaml"], "not a JSON file"),
        (["."], "is a directory"),
        (["case.json", "--cameras", "2"], "--cameras: only with --render"),
        (["case.json", "--visits", "2"], "--visits: only with --random"),
        (["--random", "--site", "shop.yaml"], "--site: only with a scenario"),
        (["case.json", "--render", "--cameras", "cam9"], "there is no camera cam9, only cam1, cam2, cam3, cam4"),
        (["case.json", "--render", "--cameras", "0"], "expected at least one camera, got 0"),
        (["case.json", "--render", "--cameras", ","], "--cameras: expected a number or names, got ','"),
        (["case.json", "--render", "--cameras", "²"], "there is no camera ²"),
        (["case.json", "--seed", "-1"], "--seed"),
        (["case.json", "--site"], "--site"),
        (["plain.json"], "plays in the store 'my-shop'; --site must give"),
        (["plain.json", "--site", "nowhere"], "nowhere"),
        (["plain.json", "--site", "."], "Gondolas.json"),
        (["case.json", "--out", "shop.yaml"], "shop.yaml: expected a new or an empty folder"),
        (["case.json", "--out", "shop.yaml/x"], "shop.yaml/x"),
        (["case.json", "--out", "."], "expected a new or an empty folder"),
        (["--random", "--gondolas", "2"], "--gondolas"),
        (["--random", "--products", "5000"], "--products"),
        (["--random", "--shoppers", "99"], "--shoppers"),
        (["--random", "--confusing", "1"], "--confusing"),
    ],
)
def test_a_simulation_that_cannot_be_done_is_refused(
    tillfree: Tillfree,
    case: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    said: str,
) -> None:
    case()
    case(name="plain", site="my-shop")
    monkeypatch.chdir(tmp_path)
    assert said in refusal(tillfree("simulate", *words))
    assert not (tmp_path / "recording").exists()


def test_a_recording_is_not_written_over(tillfree: Tillfree, case: Callable[..., Path], tmp_path: Path) -> None:
    path, out = case(), tmp_path / "visit"
    assert tillfree("simulate", path, "--out", out).status == 0
    before = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    assert "expected a new or an empty folder" in refusal(tillfree("simulate", path, "--out", out))
    assert {file.name: file.stat().st_mtime_ns for file in out.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected scenario files, --library or --random N"),
        (["--random", "0"], "expected scenario files, --library or --random N"),
        (["--random", "-1"], "--random"),
        (["case.json", "nowhere.json"], "nowhere.json: no such file"),
        (["plain.json"], "plays in the store 'my-shop'; --site must give"),
        (["case.json", "--sensors", "ears"], "expected some of cameras, joints, scales, got ears"),
        (["case.json", "--sensors", ""], "expected some of cameras, joints, scales, got none"),
        (["case.json", "--sensors", "scales"], "scales do not see people"),
        (["case.json", "--sensors", "cameras", "--cameras", "cam9"], "there is no camera cam9"),
        (["case.json", "--cameras", "2"], "--cameras: only with cameras among --sensors"),
        (["case.json", "--oracle"], "--oracle: only with cameras among --sensors"),
        (["case.json", "--sensors", "cameras", "--oracle", "--weights", "w.onnx"], "--oracle: not with --weights"),
        (["case.json", "--weights", "shop.yaml"], "--weights: only with cameras among --sensors"),
        (["case.json", "--sensors", "cameras", "--weights", "nowhere.onnx"], "no such model file"),
        (["case.json", "--seeds", "0"], "--seeds"),
        (["case.json", "--processes", "0"], "--processes"),
        (["case.json", "--confusing", "0.1"], "--confusing: only with --random"),
        (["case.json", "--json", "nowhere/e.json"], "there is no folder"),
        (["case.json", "--json", "."], "it is a folder"),
        (["case.json", "--report", "shop.yaml"], "expected a folder to write the report into, it is a file"),
        (["case.json", "--report", "shop.yaml/x"], "not a directory"),
        (["case.json", "--real-scales", "."], "--real-scales: needs --report"),
        (["case.json", "--real-scales", "x", "--report", "r", "--site", "shop.yaml"], "--real-scales: "),
    ],
)
def test_an_evaluation_that_cannot_be_done_is_refused(
    tillfree: Tillfree,
    case: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    said: str,
) -> None:
    case()
    case(name="plain", site="my-shop")
    monkeypatch.chdir(tmp_path)
    ran = tillfree("evaluate", *words)
    assert said in refusal(ran)
    assert ran.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--images", "4"], "--out"),
        (["--out", "d", "--images", "1"], "--images"),
        (["--out", "d", "--validation", "1"], "--validation"),
        (["--out", "d", "--cameras", "2"], "--cameras: only with a scenario"),
        (["--out", "d", "--site", "shop.yaml"], "--site: only with a scenario"),
        (["--out", ".", "--images", "2"], "expected a new or an empty folder"),
        (["--out", "shop.yaml", "--images", "2"], "expected a new or an empty folder"),
        (["case.json", "--out", "."], "expected a new or an empty folder"),
        (["case.json", "--out", "d", "--images", "5"], "--images: only with random shops"),
        (["case.json", "--out", "d", "--processes", "5"], "--processes: only with random shops"),
        (["case.json", "--out", "d", "--cameras", "cam9"], "there is no camera cam9"),
        (["plain.json", "--out", "d"], "--site must give"),
    ],
)
def test_a_data_set_that_cannot_be_made_is_refused(
    tillfree: Tillfree,
    case: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    said: str,
) -> None:
    case()
    case(name="plain", site="my-shop")
    monkeypatch.chdir(tmp_path)
    assert said in refusal(tillfree("dataset", *words))
    assert not (tmp_path / "d").exists()


# Stopping


@pytest.mark.slow  # each starts a process, which imports everything, and two of them start more
@pytest.mark.parametrize(
    ("words", "begun"),
    [
        (("simulate", "CASE", "--out", "out"), "out/ticks.i64"),
        (("evaluate", "CASE", "--seeds", "4", "--processes", "2", "--report", "out"), "out"),
        (("dataset", "--images", "200", "--processes", "2", "--out", "out"), "out/images/train"),
    ],
)
def test_ctrl_c_ends_a_command_in_one_line(
    case: Callable[..., Path], tmp_path: Path, words: tuple[str, ...], begun: str
) -> None:
    path = case(shoppers=[{"id": "Ada", "enters_at_s": 0.5, "leaves_at_s": 3000.0}])
    command = [sys.executable, "-c", f"{HEARS_CTRL_C}from cart.cli import main\nif __name__ == '__main__': main()"]
    running = subprocess.Popen(
        [*command, *(str(path) if word == "CASE" else word for word in words)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 120
    while not (tmp_path / begun).exists() and running.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130, said
    lines = said.splitlines()
    assert lines[-1] == "tillfree: stopped by hand"
    if words[0] == "simulate":
        assert lines[:-1] == ["note: out breaks off where you stopped it, and has no truth"]
        assert [notice.code for notice in RecordingSource(tmp_path / "out").notices] == ["incomplete-recording"]
    else:
        assert lines[:-1] == []
