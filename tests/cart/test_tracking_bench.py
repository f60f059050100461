import json
from pathlib import Path

import numpy as np
import pytest

from cart.cli_tracking import bench_tables
from cart.tracking_bench import (
    _ours,
    _start_ours,
    _trackeval,
    crowd,
    group_of,
    read_sequences,
    tracked,
    tracking_bench,
    write_tracking_bench,
)
from cart.tracking_peers import Peer, Step
from tracking.mot import MotSequence, read_mot, read_sequence, write_mot


@pytest.fixture(scope="module")
def street(shared: Path) -> MotSequence:
    return read_sequence(shared / "mot" / "KITTI-17")


def test_ours_is_compared_with_those_that_are_installed(
    street: MotSequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Made anew each time, as the real ones are: no two are equal.
    monkeypatch.setattr(
        "cart.tracking_bench.peers",
        lambda: (Peer("Twin", lambda hz: _start_ours(hz)), Peer("NoSuch (nowhere)", lambda hz: _not_there(hz))),
    )
    said: list[str] = []
    bench = tracking_bench([street], crowds=(5,), step=said.append)
    assert [(row.group, row.tracker) for row in bench.accuracy] == [("2015", "tillfree"), ("2015", "Twin")]
    assert bench.accuracy[0].hota == bench.accuracy[1].hota
    assert bench.accuracy[0].hota > 0.4
    assert [(row.people, row.tracker) for row in bench.speed] == [(5, "tillfree"), (5, "Twin")]
    assert bench.speed[0].ratio == 1
    assert bench.missing == ("NoSuch (nowhere): not installed", "norfair: no Python for it given")
    assert "tillfree: KITTI-17" in said
    write_tracking_bench(bench, tmp_path / "bench.json")
    assert json.loads((tmp_path / "bench.json").read_text())["accuracy"][0]["tracker"] == "tillfree"
    assert [table.row_count for table in bench_tables(bench)] == [2, 2]


def _not_there(frame_rate_hz: float) -> Step:
    raise ImportError(f"no tracker for {frame_rate_hz} Hz")


def test_trackeval_and_our_measures_agree(street: MotSequence, tmp_path: Path) -> None:
    pytest.importorskip("trackeval")
    write_mot(tmp_path / "result.txt", tracked(street))
    result = read_mot(tmp_path / "result.txt")
    one, two = _ours([street], [result]), _trackeval([street], [result])
    assert (one.hota, one.idf1, one.ass_a, one.det_a) == pytest.approx((two.hota, two.idf1, two.ass_a, two.det_a))
    assert one.switches == two.switches


def test_a_crowd_is_the_same_from_the_same_seed() -> None:
    one, two, other = crowd(20, 5), crowd(20, 5), crowd(20, 5, seed=2)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.xyxy, b.xyxy)
    assert one[0].xyxy.shape != other[0].xyxy.shape or (one[0].xyxy != other[0].xyxy).any()


def test_sequences_are_read_by_group(shared: Path, tmp_path: Path) -> None:
    groups = [group_of(sequence.name) for sequence in read_sequences(shared / "mot")]
    assert groups == ["2015"] * 6 + ["MOT17"] * 2 + ["hall"] * 2
    with pytest.raises(ValueError, match="there are none"):
        read_sequences(tmp_path)
