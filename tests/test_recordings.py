"""What the shared recordings of real visits come to, through the command as it is installed.

Each recording is one test, so that its models run once.
"""

import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import av
import pytest

from tests.conftest import PROJECT
from tests.json_document import Entry, read_document

LAYOUTS = PROJECT / "store_sim" / "layouts"
POSE, OBJECTS = "yolov8n-pose_fp32_from_int8.onnx", "yolox_nano_416.onnx"
COMMAND = [sys.executable, "-c", "from cart.cli import main; main()"]


def replayed(tmp_path: Path, *words: object) -> Entry:
    """Replay with these words and read the document; the command must read the recording to its end."""
    file = tmp_path / "document.json"
    command = [*COMMAND, "replay", *map(str, words), "--json", str(file)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("note: ") for line in done.stderr.splitlines()), done.stderr
    return read_document(file)


def holds(row: Entry, time_s: float, tolerance_s: float) -> bool:
    """Whether a true time lies within a tolerance of an interaction's span, and of its moment."""
    in_span = row["start_s"] - tolerance_s <= time_s <= row["end_s"] + tolerance_s
    return bool(in_span and abs(row["t_s"] - time_s) <= tolerance_s)


def check_one_bottle_of_water(document: Entry) -> None:
    assert document["receipts"] == [
        {
            "shopper": "3325379692103139202",
            "status": "charged",
            "currency": "USD",
            "total_minor": 100,
            "lines": [{"barcode": "071142008582", "name": "ARRWHD SPRNG WTR", "quantity": 1, "amount_minor": 100}],
            "reasons": [],
            "questions": [],
        }
    ]
    (pick,) = document["interactions"]
    assert (pick["kind"], pick["gondola"], pick["shelf"], pick["barcode"]) == ("pick", 1, 5, "071142008582")
    assert 11 in pick["plates"]
    best = pick["candidates"][0]
    assert (best["shopper"], best["barcode"]) == ("3325379692103139202", "071142008582")
    assert [visit["shopper"] for visit in document["visits"]] == ["3325379692103139202"]


def test_a_visit_with_scales_and_joints_is_charged(shared: Path, tmp_path: Path) -> None:
    document = replayed(tmp_path, shared / "nanostore" / "BENCHMARK-1")
    check_one_bottle_of_water(document)
    assert document["frames"] == 0
    assert document["media_s"] == pytest.approx(19.5, abs=0.5)


def test_messages_twice_and_out_of_order_change_nothing(shared: Path, tmp_path: Path) -> None:
    rng = random.Random(5)
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("plate_data.jsonl", "full_targets.jsonl"):
        lines = (shared / "nanostore" / "BENCHMARK-1" / name).read_text().splitlines()
        lines += rng.sample(lines, 40)  # long after their time
        for i in range(0, len(lines) - 4, 4):
            lines[i : i + 4] = rng.sample(lines[i : i + 4], 4)
        lines.insert(7, '{"timestamp": ')
        (broken / name).write_text("\n".join(lines))
    document = replayed(tmp_path, broken, "--site", shared / "nanostore" / "site")
    check_one_bottle_of_water(document)
    assert {"malformed-message", "duplicate-message", "reordered-message"} <= {n["code"] for n in document["notices"]}


@pytest.mark.slow
def test_a_visit_on_four_cameras_becomes_two_picks_and_one_receipt(shared: Path, tmp_path: Path) -> None:
    document = replayed(
        tmp_path,
        shared / "nanostore" / "cps-test-01",
        "--layout",
        LAYOUTS / "nanostore_test01.yaml",
        "--weights",
        shared / "weights" / POSE,
    )
    (visit,) = document["visits"]
    assert visit["left_s"] == pytest.approx(21.5, abs=1)
    truth = [(10.9, 2, 5, "071063437089"), (16.9, 1, 5, "632565000012")]
    picks = document["interactions"]
    assert len(picks) == len(truth)
    for row, (time_s, gondola, shelf, barcode) in zip(picks, truth, strict=True):
        assert row["kind"] == "pick"
        assert holds(row, time_s, 1.0)
        assert (row["gondola"], row["shelf"]) == (gondola, shelf)
        assert barcode in [candidate["barcode"] for candidate in row["candidates"][:3]]
        assert {candidate["shopper"] for candidate in row["candidates"]} == {visit["shopper"]}
    (receipt,) = document["receipts"]
    assert receipt["shopper"] == visit["shopper"]
    bought = {line["barcode"]: line["quantity"] for line in receipt["lines"]}
    right = bought == {barcode: 1 for _, _, _, barcode in truth}
    assert receipt["status"] == "needs_review" or (receipt["status"] == "charged" and right)
    assert all(hand["shopper"] == visit["shopper"] and hand["start_s"] < 22.5 for hand in document["hands"])
    assert document["frames"] == pytest.approx(4 * 338, abs=8)


@pytest.mark.slow
def test_three_bottles_are_taken_and_put_back_eight_times(shared: Path, tmp_path: Path) -> None:
    document = replayed(
        tmp_path,
        shared / "footage" / "bottle-detection.mp4",
        "--layout",
        LAYOUTS / "bottles.yaml",
        "--weights",
        shared / "weights" / OBJECTS,
    )
    truth = [
        ("L", "pick", 6.8),
        ("L", "put_back", 12.1),
        ("L", "pick", 17.4),
        ("M", "pick", 17.5),
        ("M", "put_back", 22.9),
        ("L", "put_back", 27.9),
        ("R", "pick", 31.7),
        ("R", "put_back", 36.4),
    ]
    rows = document["interactions"]
    for bin_id, kind, time_s in truth:
        matching = [r for r in rows if (r["bin"], r["kind"]) == (bin_id, kind) and holds(r, time_s, 0.8)]
        assert len(matching) == 1, (bin_id, kind, time_s, rows)
        assert (matching[0]["gondola"], matching[0]["shelf"], matching[0]["plates"]) == (None, None, None)
    assert len(rows) == len(truth)
    assert (document["receipts"], document["visits"]) == ([], [])


@pytest.mark.long
def test_six_people_come_one_by_one(shared: Path, tmp_path: Path) -> None:
    document = replayed(
        tmp_path,
        shared / "footage" / "one-by-one-person-detection.mp4",
        "--layout",
        LAYOUTS / "one_by_one.yaml",
        "--weights",
        shared / "weights" / POSE,
    )
    truth = [(7, 19), (23, 45), (50, 69), (74, 87), (92, 120), (124, 136)]
    visits = document["visits"]
    assert len(visits) == len(truth)
    for visit, (entered_s, left_s) in zip(visits, truth, strict=True):
        assert visit["entered_s"] == pytest.approx(entered_s, abs=1.5)
        assert visit["left_s"] == pytest.approx(left_s, abs=1.5)
    assert all(one["left_s"] < next_one["entered_s"] for one, next_one in itertools.pairwise(visits))
    assert [receipt["status"] for receipt in document["receipts"]] == ["empty"] * 6


@pytest.mark.slow
def test_three_people_in_an_aisle_and_a_hand_at_the_shelf(shared: Path, tmp_path: Path) -> None:
    film, report = tmp_path / "film.mp4", tmp_path / "report"
    document = replayed(
        tmp_path,
        shared / "footage" / "store-aisle.mp4",
        "--layout",
        LAYOUTS / "store_aisle.yaml",
        "--weights",
        shared / "weights" / POSE,
        "--video",
        film,
        "--report",
        report,
    )
    assert len(document["visits"]) == 3
    hands = [hand for hand in document["hands"] if hand["bin"] == "right_shelf"]
    assert 0.4 <= min(hand["start_s"] for hand in hands) <= 1.2
    assert {hand["shopper"] for hand in hands} <= {visit["shopper"] for visit in document["visits"]}
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == document["frames"]
    assert "right_shelf" in (report / "index.html").read_text()
