"""Tests of cart.face_evaluation and its command."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cart.cli import app
from cart.cli_faces import faces_table
from cart.face_evaluation import (
    MATCH_S,
    NANOSECONDS,
    REPORT_SEEDS,
    VISIBLE_PX,
    FaceJob,
    document,
    evaluate_faces,
    play,
    score,
    summarise,
    write_report,
)
from store_sim.shelf_pictures import Disturbance, ShelfSequence, TrueChange, shelf_sequence
from vision.shelf import Handling, ShelfChange


@cache
def a_sequence() -> ShelfSequence:
    return shelf_sequence(5, changes=3)


def said(truth: TrueChange, later_s: float = 0.0, bin_id: str | None = None) -> ShelfChange:
    picture = np.full((30, 20, 3), 90, np.uint8)
    time_ns = truth.time_ns + round(later_s * NANOSECONDS)
    return ShelfChange(
        bin_id or truth.bin_id, truth.handling, 1, 0.8, time_ns, time_ns, time_ns, picture, picture, (2, 2, 9, 9)
    )


def test_whoever_tells_exactly_what_took_place_scores_one() -> None:
    sequence = a_sequence()
    (row,) = summarise([score(sequence, [said(change, 0.5) for change in sequence.changes])])
    assert (row.precision, row.recall, row.visible_recall, row.handling) == (1, 1, 1, 1)
    assert row.time_median_s == pytest.approx(0.5)


def test_another_bin_or_another_time_is_missed_and_imagined() -> None:
    sequence = a_sequence()
    first = sequence.changes[0]
    other = next(face.bin_id for face in sequence.faces if face.bin_id not in {c.bin_id for c in sequence.changes})
    result = score(sequence, [said(first, bin_id=other), said(first, MATCH_S + 0.1)])
    assert (result.found, len(result.missed), len(result.imagined)) == (0, len(sequence.changes), 2)
    assert result.missed[0].visible_px >= VISIBLE_PX
    assert (result.missed[0].before != result.missed[0].after).any()


def test_what_is_told_twice_is_imagined_once() -> None:
    sequence = a_sequence()
    result = score(sequence, [said(sequence.changes[0], 0.4), said(sequence.changes[0], 0.1)])
    assert (result.found, len(result.imagined)) == (1, 1)
    assert result.time_errors_s == pytest.approx((0.1,))


def test_the_wrong_way_is_found_but_not_right() -> None:
    sequence = a_sequence()
    right = said(sequence.changes[0])
    other_way = Handling.PUT_BACK if right.handling is Handling.PICK else Handling.PICK
    result = score(sequence, [replace(right, handling=other_way)])
    assert (result.found, result.right_way) == (1, 0)


def test_a_change_that_does_not_show_is_counted_but_not_as_visible() -> None:
    sequence = a_sequence()
    unseen = replace(sequence, states=tuple(sequence.states[0] for _ in sequence.states))
    (row,) = summarise([score(unseen, [])])
    assert (row.visible_share, row.recall) == (0, 0)
    assert math.isnan(row.visible_recall)
    assert document([score(unseen, [])])["rows"][0]["visible_recall"] is None


def test_the_page_shows_what_was_missed_and_what_was_imagined(tmp_path: Path) -> None:
    sequence = a_sequence()
    scores = [score(sequence, [said(sequence.changes[0], 9.0)])]
    page = write_report(scores, tmp_path / "page").read_text()
    assert len(list((tmp_path / "page").glob("missed-*.png"))) == len(sequence.changes)
    assert len(list((tmp_path / "page").glob("imagined-*.png"))) == 1
    assert sequence.changes[0].bin_id in page
    assert faces_table(scores).row_count == 1


@pytest.mark.slow
def test_a_shelf_is_watched_the_same_twice() -> None:
    job = FaceJob(3, (Disturbance.NONE,), 1)
    (one,), (other,) = play(job), evaluate_faces([job], processes=1)
    assert one.time_errors_s == other.time_errors_s
    assert (one.true, one.found, one.told) == (1, 1, 1)


@pytest.mark.slow
def test_the_command_writes_a_table_a_document_and_a_page(tmp_path: Path) -> None:
    words = ["evaluate-faces", "--shops", "1", "--changes", "1", "--disturbance", "none,exposure", "--processes", "1"]
    words += ["--json", str(tmp_path / "faces.json"), "--report", str(tmp_path / "page")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "faces.json").read_text())["rows"]
    assert [row["disturbance"] for row in rows] == ["none", "exposure"]
    sequences = json.loads((tmp_path / "faces.json").read_text())["sequences"]
    assert {sequence["seed"] for sequence in sequences} == {REPORT_SEEDS}
    assert (tmp_path / "page" / "index.html").is_file()


def test_an_unknown_disturbance_is_refused() -> None:
    done = CliRunner().invoke(app, ["evaluate-faces", "--disturbance", "fog"])
    assert done.exit_code == 2


@pytest.mark.parametrize("change", [{"seed": -1}, {"changes": 0}, {"disturbances": ()}])
def test_a_job_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(FaceJob(1), **change)  # type: ignore[arg-type]


def test_processes_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        evaluate_faces([], processes=0)
