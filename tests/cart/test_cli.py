"""Tests of cart.cli: the command as people run it, with what it prints and its exit status."""

import hashlib
import itertools
import json
import math
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import yaml

from cart.eyes import PARTS
from models import weights as model_files
from store_sim.autocheckout import read_site
from store_sim.demo_shop import demo_simulation
from store_sim.recording import LAYOUT_FILE, RecordingWriter
from store_sim.simulation import Simulation
from tests.cart.running import Ran, Tillfree, refusal
from tests.cart.shopfloor import (
    SITE_PRODUCTS,
    Touch,
    play,
    write_autocheckout,
    write_people_model,
    write_site,
)
from tests.vision.test_sources import write_clip
from vision.layout import read_layout

Entry = dict[str, Any]


@pytest.fixture
def visit(tmp_path: Path) -> Path:
    """An AutoCheckout recording of ada, who takes one tea; its site lies beside it."""
    site = write_site(tmp_path / "site")
    source = play([Touch("ada", "1/1/1-2", 6.0, -300.0)], 10.0, layout=read_site(site))
    return write_autocheckout(tmp_path / "visit", source)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return write_people_model(tmp_path / "people.onnx")


def document(path: Path) -> Entry:
    found = json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert isinstance(found, dict)
    return found


def codes(found: Entry) -> set[str]:
    return {notice["code"] for notice in found["notices"]}


# Replaying


def test_a_visit_is_replayed_to_its_receipt(tillfree: Tillfree, visit: Path, tmp_path: Path) -> None:
    ran = tillfree("replay", visit, "--json", tmp_path / "v.json", "--report", tmp_path / "report")
    assert (ran.status, ran.err) == (0, "")
    assert re.search(r"^ +0\.0 s  ada came in$", ran.out, re.MULTILINE)
    assert re.search(r"^ +6\.\d s  pick 1 x Tea at gondola 1, shelf 1, plates? .*: ada, \d+% sure$", ran.out, re.M)
    assert "ada left: charged 2.50 USD" in ran.out
    assert "Receipt 1" in ran.out
    found = document(tmp_path / "v.json")
    assert found["receipts"] == [
        {
            "shopper": "ada",
            "status": "charged",
            "currency": "USD",
            "total_minor": 250,
            "lines": [{"barcode": "0012", "name": "Tea", "quantity": 1, "amount_minor": 250}],
            "reasons": [],
            "questions": [],
        }
    ]
    (pick,) = found["interactions"]
    assert (pick["kind"], pick["bin"], pick["gondola"], pick["shelf"]) == ("pick", "1/1/1-2", 1, 1)
    assert 1 in pick["plates"]
    assert pick["t_s"] == pytest.approx(6.2, abs=0.3)  # the first plate message is 0.2 s before the first body
    (stay,) = found["visits"]
    assert (stay["shopper"], stay["left_s"]) == ("ada", pytest.approx(10.0, abs=0.3))
    assert [hand["bin"] for hand in found["hands"]] == ["1/1/1-2"]
    assert found["frames"] == 0
    assert found["media_s"] == pytest.approx(10.0, abs=0.3)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Tea" in page
    assert 'src="http' not in page


def test_a_site_given_wins_over_the_one_beside(tillfree: Tillfree, visit: Path, tmp_path: Path) -> None:
    dear = write_site(tmp_path / "dear" / "site", [("0012", "Tea", 300.0, 7.0)])
    ran = tillfree("replay", visit, "--site", dear)
    assert "charged 7.00 USD" in ran.out


@pytest.mark.parametrize("price", [None, 10000, 0, -2])
def test_what_has_no_price_sends_the_visit_to_review(
    tillfree: Tillfree, visit: Path, tmp_path: Path, price: float | None
) -> None:
    site = write_site(tmp_path / "other" / "site", [("0012", "Tea", 300.0, price), *SITE_PRODUCTS[1:]])
    assert tillfree("replay", visit, "--site", site, "--json", tmp_path / "v.json").status == 0
    (receipt,) = document(tmp_path / "v.json")["receipts"]
    assert (receipt["status"], receipt["total_minor"]) == ("needs_review", None)
    assert receipt["lines"] == [{"barcode": "0012", "name": "Tea", "quantity": 1, "amount_minor": None}]
    assert "the price of Tea (0012) is not known" in receipt["reasons"][0]


def test_a_barcode_that_no_list_knows_is_said_and_not_charged(tillfree: Tillfree, visit: Path, tmp_path: Path) -> None:
    site = write_site(tmp_path / "other" / "site", SITE_PRODUCTS[1:])
    ran = tillfree("replay", visit, "--site", site, "--json", tmp_path / "v.json")
    assert ran.status == 0
    assert "barcode 0012 is not in products.jsonl" in ran.err
    (receipt,) = document(tmp_path / "v.json")["receipts"]
    assert receipt["status"] == "needs_review"


def test_lines_that_are_no_messages_are_left_out_and_said(tillfree: Tillfree, visit: Path, tmp_path: Path) -> None:
    for name in ("plate_data.jsonl", "full_targets.jsonl"):
        lines = (visit / name).read_text().splitlines()
        lines[10:10] = ["{", "[]", "null", '{"timestamp": "noon"}', lines[10][: len(lines[10]) // 2], "\x00\xff"]
        (visit / name).write_text("\n".join([*lines, lines[-1], lines[-1]]))
    ran = tillfree("replay", visit, "--json", tmp_path / "v.json")
    assert ran.status == 0
    found = document(tmp_path / "v.json")
    assert found["receipts"][0]["status"] == "charged"
    assert {"malformed-message", "duplicate-message"} <= codes(found)
    assert "is not a message and was left out" in ran.err


def test_scales_alone_give_interactions_of_nobody(tillfree: Tillfree, visit: Path, tmp_path: Path) -> None:
    (visit / "full_targets.jsonl").unlink()
    assert tillfree("replay", visit, "--json", tmp_path / "v.json").status == 0
    found = document(tmp_path / "v.json")
    assert (found["receipts"], found["visits"], found["hands"]) == ([], [], [])
    (pick,) = found["interactions"]
    assert (pick["barcode"], pick["candidates"]) == ("0012", [])


def test_bodies_alone_give_visits_for_review(tillfree: Tillfree, visit: Path, tmp_path: Path) -> None:
    (visit / "plate_data.jsonl").unlink()
    assert tillfree("replay", visit, "--json", tmp_path / "v.json").status == 0
    found = document(tmp_path / "v.json")
    assert [receipt["status"] for receipt in found["receipts"]] == ["needs_review"]
    assert [hand["bin"] for hand in found["hands"]] == ["1/1/1-2"]


def test_scales_without_a_site_are_said_to_need_one(tillfree: Tillfree, visit: Path, tmp_path: Path) -> None:
    (tmp_path / "site").rename(tmp_path / "elsewhere")
    ran = tillfree("replay", visit, "--json", tmp_path / "v.json")
    assert ran.status == 0
    assert codes(document(tmp_path / "v.json")) == {"no-plates"}
    assert ran.err.count("\n") == 1


def test_our_own_recording_is_replayed_with_the_site_inside(tillfree: Tillfree, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    with RecordingWriter(folder, store="corner") as writer:
        site = write_site(folder / "site")
        for tick in play([Touch("ada", "1/1/1-2", 6.0, -300.0)], 10.0, layout=read_site(site)):
            writer.write(tick)
    ran = tillfree("replay", folder)
    assert (ran.status, ran.err) == (0, "")
    assert "ada left: charged 2.50 USD" in ran.out


def test_the_layout_inside_our_own_recording_is_used(tillfree: Tillfree, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    with RecordingWriter(folder, store="corner") as writer:
        for tick in play([Touch("ada", "1/1/1-2", 6.0)], 9.0, layout=read_site(write_site(tmp_path / "s"))):
            writer.write(tick)
    places = {"bin": "tea", "sku": "0012", "min_m": [1.0, 3.0, 0.9], "max_m": [1.4, 3.4, 1.2]}
    layout = {"format": "tillfree-layout/1", "name": "corner", "bins": [places]}
    (folder / LAYOUT_FILE).write_text(yaml.safe_dump(layout))
    assert tillfree("replay", folder, "--json", tmp_path / "v.json").status == 0
    assert [hand["bin"] for hand in document(tmp_path / "v.json")["hands"]] == ["tea"]


def test_a_video_is_replayed_and_filmed(tillfree: Tillfree, people: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "door.mp4", size_wh=(96, 64))
    film = tmp_path / "film.mp4"
    ran = tillfree("replay", clip, "--weights", people, "--json", tmp_path / "v.json", "--video", film)
    assert (ran.status, ran.err) == (0, "")
    found = document(tmp_path / "v.json")
    assert found["frames"] == 20
    assert found["media_s"] == pytest.approx(2.0, abs=0.11)
    assert [(v["shopper"], v["entered_s"]) for v in found["visits"]] == [("shopper-1", 0.0)]
    assert found["visits"][0]["left_s"] == pytest.approx(1.9, abs=0.11)
    assert [receipt["status"] for receipt in found["receipts"]] == ["empty"]
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_a_cut_video_is_read_as_far_as_it_goes(tillfree: Tillfree, people: Path, tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", [i / 10 for i in range(60)], (96, 64), faststart=True)
    cut = tmp_path / "door.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    ran = tillfree("replay", cut, "--weights", people, "--json", tmp_path / "v.json")
    assert ran.status == 0
    assert ran.err.startswith("note: door.mp4: ")
    assert 5 < document(tmp_path / "v.json")["frames"] < 60
    assert "truncated-video" in codes(document(tmp_path / "v.json"))


def test_cameras_that_the_layout_names_in_vain_are_said(tillfree: Tillfree, people: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "door.mp4", size_wh=(96, 64))
    layout = tmp_path / "layout.yaml"
    size = "{resolution_wh: [96, 64]}"
    layout.write_text(f"{{format: tillfree-layout/1, name: shop, cameras: {{door: {size}, till: {size}}}}}")
    ran = tillfree("replay", clip, "--weights", people, "--layout", layout)
    assert ran.status == 0
    assert ran.err.count("\n") == 1
    assert "cameras that this recording does not have: till" in ran.err


def test_a_layout_for_other_cameras_is_refused(tillfree: Tillfree, people: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "door.mp4", size_wh=(96, 64))
    layout = tmp_path / "layout.yaml"
    layout.write_text("{format: tillfree-layout/1, name: shop, cameras: {till: {resolution_wh: [96, 64]}}}")
    said = refusal(tillfree("replay", clip, "--weights", people, "--layout", layout))
    assert "is for the cameras till, this recording has door" in said


def test_equal_inputs_give_equal_documents(tillfree: Tillfree, visit: Path, tmp_path: Path) -> None:
    found = []
    for name in ("a.json", "b.json"):
        assert tillfree("replay", visit, "--json", tmp_path / name).status == 0
        found.append(document(tmp_path / name))
        assert found[-1].pop("wall_s") > 0
    assert found[0] == found[1]


# Refusing


def test_a_missing_recording_is_refused(tillfree: Tillfree, tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(tillfree("replay", tmp_path / "nowhere"))


def test_an_empty_folder_is_refused(tillfree: Tillfree, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    assert "found none of them" in refusal(tillfree("replay", tmp_path / "r"))


def test_several_folders_are_refused(tillfree: Tillfree, visit: Path) -> None:
    assert "several folders" in refusal(tillfree("replay", visit, visit.parent))


@pytest.mark.parametrize("content", [b"", b"a shopping list\n" * 50, bytes(range(256)) * 64])
def test_what_is_no_video_is_refused(tillfree: Tillfree, people: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "door.mp4").write_bytes(content)
    assert "door.mp4" in refusal(tillfree("replay", tmp_path / "door.mp4", "--weights", people))


def test_a_video_without_its_index_is_refused(tillfree: Tillfree, people: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "door.mp4")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert "door.mp4" in refusal(tillfree("replay", clip, "--weights", people))


def test_messages_that_are_all_broken_are_refused(tillfree: Tillfree, visit: Path) -> None:
    for name in ("plate_data.jsonl", "full_targets.jsonl"):
        (visit / name).write_text("{\n{\n")
    assert "no message" in refusal(tillfree("replay", visit))


def test_cameras_are_seen_with_our_own_models_unless_others_are_named(
    tillfree: Tillfree, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PARTS, "tillfree", (str(people),))
    clip = write_clip(tmp_path / "door.mp4")
    ran = tillfree("replay", clip)
    assert ran.status == 0
    assert (
        "note: seen with the project's own models (tillfree), trained on rendered shops; --weights names others"
        in ran.err
    )
    by_name = tillfree("replay", clip, "--weights", "tillfree")
    assert (by_name.status, by_name.err) == (0, "")
    assert tillfree("replay", clip, "--weights", people).err == ""


def test_weights_for_a_recording_without_cameras_are_refused(tillfree: Tillfree, visit: Path, people: Path) -> None:
    assert "no cameras" in refusal(tillfree("replay", visit, "--weights", people))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("nowhere.onnx", "no such model file"),
        ("no-such-name", "tillfree models list"),
        ("corrupt.onnx", "corrupt.onnx"),
        ("empty.onnx", "empty.onnx"),
        (".", "got a folder"),
        ("yolox-nano", "tillfree models pull yolox-nano"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(
    tillfree: Tillfree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str, said: str
) -> None:
    clip = write_clip(tmp_path / "door.mp4")
    (tmp_path / "corrupt.onnx").write_bytes(b"\x08\x09nonsense" * 100)
    (tmp_path / "empty.onnx").write_bytes(b"")
    monkeypatch.setenv("TILLFREE_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    assert said in refusal(tillfree("replay", clip, "--weights", weights))


DRAWN = "{{format: tillfree-layout/1, name: shop, cameras: {{door: {{resolution_wh: [64, 48]}}}}, bins: [{}]}}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{: [", "not a YAML file"),
        ("a shopping list", "layout.yaml"),
        ("", "layout.yaml"),
        ("{format: tillfree-layout/9, name: shop}", "at format"),
        (DRAWN.format("{bin: L, camera: door, polygon_px: [[0, 0], [9, 9], [9, 0], [0, 8]]}"), "cross"),
        (DRAWN.format("{bin: L, camera: till, polygon_px: [[0, 0], [9, 0], [9, 9]]}"), "camera till"),
        (DRAWN.format("{bin: L, min_m: [0, 0, 0], max_m: [1, 1, -1]}"), "max_m must lie beyond"),
        (DRAWN.format("{bin: L, gondola: 1}"), "bin L"),
        ("{format: tillfree-layout/1, name: shop, walkable_m: [[0, 0], [1, 1], [1, 0], [0, 0.8]]}", "cross"),
        ("{format: tillfree-layout/1, name: shop, walkable_m: [[0, 0], [1, .nan], [1, 0]]}", "walkable_m"),
        ("{format: tillfree-layout/1, name: shop, exit_m: [[0, 0], [0, 0]]}", "exit"),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(tillfree: Tillfree, visit: Path, content: str, said: str) -> None:
    layout = visit / "layout.yaml"
    layout.write_text(content)
    message = refusal(tillfree("replay", visit, "--layout", layout))
    assert "layout.yaml" in message
    assert said in message


def test_a_missing_layout_is_refused(tillfree: Tillfree, visit: Path) -> None:
    assert "nowhere.yaml" in refusal(tillfree("replay", visit, "--layout", visit / "nowhere.yaml"))


def test_a_layout_for_the_only_camera_is_refused_with_two(tillfree: Tillfree, people: Path, tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    layout = tmp_path / "layout.yaml"
    layout.write_text('{format: tillfree-layout/1, name: shop, cameras: {"*": {resolution_wh: [64, 48]}}}')
    message = refusal(tillfree("replay", *clips, "--layout", layout, "--weights", people))
    assert "only camera" in message


def spoil(site: Path, name: str, old: str, new: str) -> None:
    text = (site / name).read_text()
    assert old in text
    (site / name).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("Plates.json", '"plate_index": 2', '"plate_index": 1', "listed twice"),
        ("Plates.json", '"x": 0.2', '"x": 4.2', "outside its shelf"),
        ("Shelves.json", '"id": 1', '"id": 8', "gondola 8"),
        ("Gondolas.json", "{", "<", "Gondolas.json"),
    ],
)
def test_a_site_that_contradicts_itself_is_refused(
    tillfree: Tillfree, visit: Path, name: str, old: str, new: str, said: str
) -> None:
    spoil(visit.parent / "site", name, old, new)
    assert said in refusal(tillfree("replay", visit))


def test_a_site_that_is_none_is_refused(tillfree: Tillfree, visit: Path) -> None:
    assert "expected the folder of a site" in refusal(tillfree("replay", visit, "--site", visit / "nowhere"))
    assert "Gondolas.json" in refusal(tillfree("replay", visit, "--site", visit))


def test_several_currencies_are_refused(tillfree: Tillfree, visit: Path) -> None:
    layout = visit / "layout.yaml"
    priced = "{sku: '77', name: Soap, unit_price_minor: 99, currency: EUR}"
    layout.write_text(f"{{format: tillfree-layout/1, name: shop, products: [{priced}]}}")
    assert "several currencies: EUR, USD" in refusal(tillfree("replay", visit, "--layout", layout))


def test_filming_a_recording_without_cameras_is_refused(tillfree: Tillfree, visit: Path) -> None:
    assert "no cameras" in refusal(tillfree("replay", visit, "--video", visit / "film.mp4"))


@pytest.mark.parametrize("option", ["--json", "--video"])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(tillfree: Tillfree, visit: Path, option: str) -> None:
    ran = tillfree("replay", visit, option, visit / "nowhere" / "file")
    assert "there is no folder" in refusal(ran)
    assert ran.out == ""
    ran = tillfree("replay", visit, option, visit)
    assert "it is a folder" in refusal(ran)
    assert ran.out == ""


def test_a_report_over_a_file_is_refused_before_any_work(tillfree: Tillfree, visit: Path) -> None:
    ran = tillfree("replay", visit, "--report", visit / "plate_data.jsonl")
    assert "it is a file" in refusal(ran)
    assert ran.out == ""
    ran = tillfree("replay", visit, "--report", visit / "plate_data.jsonl" / "report")
    assert "plate_data.jsonl" in refusal(ran)
    assert ran.out == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [("CURRENCY", "doubloons"), ("CURRENCY", ""), ("REVIEW_COST", "700"), ("PAYMENT_ATTEMPTS", "many")],
)
def test_a_setting_that_makes_no_sense_is_refused(
    tillfree: Tillfree, visit: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TILLFREE_{name}", value)
    message = refusal(tillfree("replay", visit))
    assert message.startswith(f"TILLFREE_{name}: ")
    assert "pydantic" not in message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["replay"], "Missing argument"),
        (["replay", "--nonsense"], "--nonsense"),
        (["replay", "x", "--json"], "--json"),
        (["demo", "--seed", "x"], "--seed"),
        (["nonsense"], "nonsense"),
        (["replay", "door=rtsp://127.0.0.1:9/door", "x.mp4"], "together"),
        (["replay", "gopher://nowhere"], "gopher"),
    ],
)
def test_words_that_make_no_command_are_refused(tillfree: Tillfree, words: list[str], said: str) -> None:
    assert said in refusal(tillfree(*words))


def test_cameras_that_never_answer_are_refused(
    tillfree: Tillfree, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cart.cli.LIVE_WAIT_S", 0.3)
    ran = tillfree("replay", "door=rtsp://ada:secret@127.0.0.1:9/door", "--weights", people)
    message = refusal(ran)
    assert "door" in message
    assert "secret" not in ran.err + ran.out


def test_the_installed_command_refuses_in_one_line_too(tmp_path: Path) -> None:
    (tmp_path / "door.mp4").write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(200))
    (tmp_path / "w.onnx").write_bytes(b"\x08\x09nonsense" * 100)
    clip = write_clip(tmp_path / "good.mp4")
    command = [sys.executable, "-c", "from cart.cli import main; main()", "replay"]
    for words in ([tmp_path / "door.mp4"], [clip, "--weights", tmp_path / "w.onnx"]):
        done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, check=False, timeout=300)
        assert refusal(Ran(done.returncode, done.stdout, done.stderr))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--only-seeing", "--only-pages"), "leave nothing to measure"),
        (("--only-shop", "--only-pages"), "leave nothing to measure"),
        (("--database", "sqlite://"), "--only-shop and --only-pages"),
    ],
)
def test_parts_of_the_benchmark_that_exclude_each_other_are_refused(
    tillfree: Tillfree, words: tuple[str, ...], reason: str
) -> None:
    assert reason in refusal(tillfree("bench", *words))


# Helping


@pytest.mark.parametrize(
    "words",
    [
        *((), ("replay",), ("demo",), ("calibrate",), ("bench",), ("models",), ("models", "list"), ("models", "pull")),
        *(("simulate",), ("evaluate",), ("dataset",)),
    ],
)
def test_every_command_explains_itself(tillfree: Tillfree, words: tuple[str, ...]) -> None:
    ran = tillfree(*words, "--help")
    assert (ran.status, ran.err) == (0, "")
    assert "Usage: tillfree" in ran.out


def test_without_a_command_there_is_help(tillfree: Tillfree) -> None:
    ran = tillfree()
    assert "replay" in ran.out
    assert "Traceback" not in ran.out + ran.err


# The demo


def played(seed: int) -> Simulation:
    """The demo's morning as it really was."""
    simulation = demo_simulation(seed)
    for _ in simulation:
        pass
    return simulation


@pytest.fixture(scope="module")
def morning(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo as it is installed, run once, with joints in place of a model."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-c", "from cart.cli import main; main()", "demo", "--joints", "--out"]
    done = subprocess.run([*command, str(folder / "out")], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "out", done.stdout


def test_the_demo_charges_what_was_carried_out(morning: tuple[Path, str]) -> None:
    folder, out = morning
    simulation = played(2)
    right, prices = simulation.true_receipts, {p.sku: p.unit_price_minor for p in simulation.layout.products}
    found = {receipt["shopper"]: receipt for receipt in document(folder / "demo.json")["receipts"]}
    assert set(found) == set(right)
    for payer, lines in right.items():
        got = found[payer]
        due = [(prices[sku], quantity) for sku, quantity in lines.items()]
        is_priced = all(price is not None for price, _ in due)
        assert got["status"] == ("needs_review" if not is_priced else "charged" if lines else "empty")
        assert {line["barcode"]: line["quantity"] for line in got["lines"]} == lines
        assert got["total_minor"] == (sum((price or 0) * quantity for price, quantity in due) if is_priced else None)
        assert payer in out
    assert "5 of 6 visits ended with exactly what was carried out, 1 went to review, 0 were charged wrongly." in out


def test_the_demo_shows_what_a_shop_meets(morning: tuple[Path, str]) -> None:
    folder, out = morning
    found = document(folder / "demo.json")
    simulation = played(2)
    truth = simulation.truth
    assert len(found["interactions"]) == len(truth.interactions)
    for got, true in zip(found["interactions"], truth.interactions, strict=True):
        assert (got["kind"], got["barcode"], got["quantity"]) == (true.kind.value, true.sku, true.quantity)
        assert (got["gondola"], got["shelf"]) == (true.gondola_id, true.shelf_id)
        true_s = (true.time_ns - simulation.start_ns) / 1e9
        assert got["start_s"] - 0.5 <= true_s <= got["end_s"] + 0.5
        assert got["t_s"] == pytest.approx(true_s, abs=0.5)
        assert got["candidates"][0]["shopper"] == true.shopper
    assert "put_back" in [row["kind"] for row in found["interactions"]]
    statuses = [receipt["status"] for receipt in found["receipts"]]
    assert statuses.count("needs_review") == 1
    together = [
        (one, other)
        for one in found["hands"]
        for other in found["hands"]
        if one["shopper"] < other["shopper"]
        and one["bin"].rsplit("/", 1)[0] == other["bin"].rsplit("/", 1)[0]
        and one["start_s"] < other["end_s"]
        and other["start_s"] < one["end_s"]
    ]
    assert together
    assert "put back" in out


def test_the_demo_ends_with_its_report(morning: tuple[Path, str]) -> None:
    folder, out = morning
    page = folder / "report" / "index.html"
    assert page.is_file()
    assert out.splitlines()[-1] == f"Report: {page}"
    assert "Ada" in page.read_text()


@pytest.mark.long
def test_another_morning_ends_as_well(tillfree: Tillfree, tmp_path: Path) -> None:
    ran = tillfree("demo", "--joints", "--out", tmp_path / "out", "--seed", 3)
    assert (ran.status, ran.err) == (0, "")
    assert "0 were charged wrongly" in ran.out


def test_a_demo_with_joints_takes_no_weights(tillfree: Tillfree, people: Path, tmp_path: Path) -> None:
    ran = tillfree("demo", "--joints", "--weights", people, "--out", tmp_path / "out")
    assert "--weights: not with --joints" in refusal(ran)


def test_a_demo_that_cannot_write_is_refused(tillfree: Tillfree, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in refusal(tillfree("demo", "--out", tmp_path / "file"))


# Calibrating


def write_pairs(path: Path) -> Path:
    """Pairs of a camera 2.5 m high that looks along x and down, focal length 342 pixels."""
    down = math.radians(35)
    forward = np.array([math.cos(down), 0, -math.sin(down)])
    right = np.array([0.0, -1.0, 0.0])
    world_to_camera = np.stack([right, np.cross(forward, right), forward])
    pairs: list[Entry] = []
    for place in itertools.product((1.5, 2.5, 3.5, 4.5), (-1.0, 0.0, 1.0), (0.0, 0.8)):
        u, v, w = (world_to_camera @ (np.array(place) - [0, 0, 2.5])).tolist()
        x, y = 320 + 342 * u / w, 180 + 342 * v / w
        if 0 <= x < 640 and 0 <= y < 360:
            pairs.append({"name": str(place), "pixel": [round(x, 1), round(y, 1)], "world_m": list(place)})
    path.write_text(yaml.safe_dump({"format": "tillfree-pairs/1", "cameras": {"door": {"pairs": pairs}}}))
    return path


def test_a_camera_is_calibrated_from_pairs(tillfree: Tillfree, tmp_path: Path) -> None:
    pairs, picture = write_pairs(tmp_path / "pairs.yaml"), tmp_path / "door.png"
    assert cv2.imwrite(str(picture), np.full((360, 640, 3), 60, np.uint8))
    out, pictures = tmp_path / "door.yaml", tmp_path / "drawn"
    words = ["--size", "640x360", "--image", picture, "--out", out, "--pictures", pictures]
    ran = tillfree("calibrate", pairs, *words)
    assert (ran.status, ran.err) == (0, "")
    assert re.search(r"door: reprojection error 0\.\d+ px; hangs at x -?0\.0\d, y -?0\.0\d, z 2\.(49|5\d) m", ran.out)
    camera = read_layout(out).camera("door")
    assert camera is not None
    np.testing.assert_allclose(camera.position_m, [0, 0, 2.5], atol=0.02)
    assert camera.intrinsics[0, 0] == pytest.approx(342, rel=0.01)
    drawn = cv2.imread(str(pictures / "door.png"))
    assert drawn is not None
    assert drawn.shape == (360, 640, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", "640"], "expected WIDTHxHEIGHT"),
        (["--size", "0x0"], "expected WIDTHxHEIGHT"),
        (["--size", "640x360", "--image", "nowhere.png"], "nowhere.png"),
        (["--size", "640x360", "--image", "pairs.yaml"], "expected a picture"),
        (["--size", "640x360", "--image", "till=good.png"], "one of the cameras door"),
        (["--size", "640x360", "--out", "nowhere/door.yaml"], "nowhere"),
    ],
)
def test_a_calibration_that_cannot_be_done_is_refused(
    tillfree: Tillfree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "pairs.yaml")
    cv2.imwrite("good.png", np.zeros((360, 640, 3), np.uint8))
    assert said in refusal(tillfree("calibrate", "pairs.yaml", *words))


def test_pairs_that_are_none_are_refused(tillfree: Tillfree, tmp_path: Path) -> None:
    for content in ("", "[]", "{: [", "{format: tillfree-pairs/1, cameras: {door: {pairs: []}}}"):
        (tmp_path / "pairs.yaml").write_text(content)
        message = refusal(tillfree("calibrate", tmp_path / "pairs.yaml", "--size", "640x360"))
        assert "pairs.yaml" in message or "camera door: expected at least 4 pairs" in message


def test_the_recorded_cameras_are_calibrated_again(tillfree: Tillfree, shared: Path, tmp_path: Path) -> None:
    pairs = shared / "nanostore" / "cps-test-01" / "calibration.json"
    ran = tillfree("calibrate", pairs, "--size", "640x360", "--out", tmp_path / "cameras.yaml")
    assert (ran.status, ran.err) == (0, "")
    published = json.loads(pairs.read_text())
    layout = read_layout(tmp_path / "cameras.yaml")
    assert [camera.camera_id for camera in layout.cameras] == [f"cam{key}" for key in published]
    for key, entry in published.items():
        camera = layout.camera(f"cam{key}")
        assert camera is not None
        assert np.linalg.norm(camera.position_m - np.array(entry["Tw_m"])[:3, 3]) < 0.15
    assert ran.out.count("reprojection error") == len(published)


# Models


class _Files(ThreadingHTTPServer):
    content = b""


class _Handler(BaseHTTPRequestHandler):
    server: _Files

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Files]:
    """A server on the loopback, and a manifest that names its one model ``people``."""
    with _Files(("127.0.0.1", 0), _Handler) as server:
        server.content = people.read_bytes()
        row = {
            "name": "people",
            "about": "People.",
            "url": f"http://127.0.0.1:{server.server_address[1]}/people.onnx",
            "sha256": hashlib.sha256(server.content).hexdigest(),
            "size_bytes": len(server.content),
            "licence": "CC0-1.0",
            "input": "1x3x64x96 RGB 0..1",
            "head": "yolo",
            "made_by": "this test",
        }
        manifest = tmp_path / "manifest.json"
        manifest.write_text(json.dumps({"format": "tillfree-models/1", "models": [row]}))
        for function in (model_files.list_models, model_files.resolve_weights, model_files.pull, model_files.verify):
            monkeypatch.setitem(function.__kwdefaults__ or {}, "manifest", manifest)
        monkeypatch.setattr(model_files.list_models, "__defaults__", (manifest,))
        monkeypatch.setenv("TILLFREE_MODELS", str(tmp_path / "models"))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_model_is_listed_pulled_verified_and_used(tillfree: Tillfree, published: _Files, tmp_path: Path) -> None:
    assert re.search(r"people +│ missing", tillfree("models", "list").out)
    assert tillfree("models", "verify").out == "people: missing\n"
    clip = write_clip(tmp_path / "door.mp4", size_wh=(96, 64))
    assert "tillfree models pull people" in refusal(tillfree("replay", clip, "--weights", "people"))
    ran = tillfree("models", "pull", "people")
    assert (ran.status, ran.out.strip()) == (0, str(tmp_path / "models" / "people.onnx"))
    assert re.search(r"people +│ good", tillfree("models", "list").out)
    assert "1 visit," in tillfree("replay", clip, "--weights", "people").out
    (tmp_path / "models" / "people.onnx").write_bytes(b"x")
    assert "damaged: people" in refusal(tillfree("models", "verify"))
    assert "expected SHA-256" in refusal(tillfree("replay", clip, "--weights", "people"))


def test_a_download_that_is_not_what_it_should_be_is_refused(tillfree: Tillfree, published: _Files) -> None:
    published.content = published.content[:-1] + b"\x00"
    assert "expected SHA-256" in refusal(tillfree("models", "pull", "people"))
    published.content = b""
    assert "expected" in refusal(tillfree("models", "pull", "people"))
    assert "neither a file nor a model's name" in refusal(tillfree("models", "pull", "nobody"))


def test_the_shipped_manifest_is_listed(tillfree: Tillfree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLFREE_MODELS", str(tmp_path))
    ran = tillfree("models", "list")
    assert ran.status == 0
    assert "yolox-nano" in ran.out
    assert str(tmp_path) in ran.out
    assert tillfree("models", "verify").status == 0


def test_the_program_says_its_version(tillfree: Tillfree) -> None:
    assert tillfree("--version").out.strip() == f"tillfree {metadata.version('tillfree')}"
