import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cart.cli import app
from tracking.mot import read_mot

ROWS = "".join(f"{frame},-1,{100 + 3 * frame},50,40,100,0.9,-1,-1,-1\n" for frame in range(1, 21))

TRUTH = "".join(f"{frame},7,{100 + 3 * frame},50,40,100,1,-1,-1,-1\n" for frame in range(1, 21))


@pytest.fixture
def detections(tmp_path: Path) -> Path:
    path = tmp_path / "det.txt"
    path.write_text(ROWS)
    return path


def test_detections_become_tracks_and_are_scored(detections: Path, tmp_path: Path) -> None:
    truth, out = tmp_path / "gt.txt", tmp_path / "result.txt"
    truth.write_text(TRUTH)
    done = CliRunner().invoke(
        app, ["track", str(detections), "--fps", "10", "--out", str(out), "--gt", str(truth)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert "1 track in 20 frames" in done.output
    assert "HOTA" in done.output
    assert set(read_mot(out).track_id.tolist()) == {1}
    assert read_mot(out).frame.tolist() == list(range(3, 21))


def test_a_bad_row_ends_with_one_line(detections: Path, tmp_path: Path) -> None:
    detections.write_text(ROWS + "21,-1,a,50,40,100,0.9,-1,-1,-1\n")
    done = CliRunner().invoke(app, ["track", str(detections), "--fps", "10", "--out", str(tmp_path / "r.txt")])
    assert done.exit_code == 2
    assert "det.txt, line 21: expected a number, got 'a'" in done.output
    assert not (tmp_path / "r.txt").exists()


def test_a_folder_without_sequences_ends_with_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["track-bench", str(tmp_path)])
    assert done.exit_code == 2
    assert "expected folders with seqinfo.ini" in done.output


def test_several_cameras_are_scored_by_one_set_of_ids(tmp_path: Path) -> None:
    for camera in ("north", "south"):
        (tmp_path / f"{camera}.txt").write_text(ROWS)
        (tmp_path / f"{camera}-gt.txt").write_text(TRUTH)
    (tmp_path / "h.json").write_text(json.dumps({"H": np.eye(3).tolist()}))
    words = ["track", str(tmp_path / "north.txt"), str(tmp_path / "south.txt"), "--fps", "10"]
    words += ["--homography", str(tmp_path / "h.json"), "--out", str(tmp_path / "out")]
    truths = ["--gt", str(tmp_path / "north-gt.txt"), "--gt", str(tmp_path / "south-gt.txt")]
    done = CliRunner().invoke(app, [*words, *truths], catch_exceptions=False)
    assert "one set of ids" in done.output
    done = CliRunner().invoke(app, [*words, *truths[:2]])
    assert (done.exit_code, "expected a --gt for each of 2 cameras, got 1" in done.output) == (2, True)
    done = CliRunner().invoke(app, [*words[:2], "--fps", "10", "--out", str(tmp_path / "r.txt"), *truths])
    assert (done.exit_code, "expected one --gt" in done.output) == (2, True)
