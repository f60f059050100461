import itertools
from pathlib import Path

import av
import numpy as np
import pytest

from cart.bench import Measurement
from cart.bench_report import PlotPoint, speed_plot, write_bench_report
from cart.seeing_bench import (
    CameraLoad,
    SpeedPoint,
    box_agreement,
    cameras_on_one_core,
    enlarged,
    missing_peer,
    pooled,
    shop_film,
)
from tests.vision.test_seeing import Eyes, picture

PEER = "ultralytics, tracktrack"


def point(
    name: str, rate: float, f1: float, *, peer: bool = False, clip: str = "clip", boxes: int = 10, frames: int = 60
) -> SpeedPoint:
    return SpeedPoint(clip, "model", name, peer, rate, 1000 / rate, 0.5, f1, PEER, boxes, frames)


def test_clips_together_count_by_their_frames_and_boxes() -> None:
    measured = [
        point(PEER, 10, 1, peer=True, clip="a", boxes=100, frames=100),
        point("tillfree", 20, 0.9, clip="a", boxes=100, frames=100),
        point(PEER, 10, 1, peer=True, clip="b", boxes=300, frames=300),
        point("tillfree", 60, 1.0, clip="b", boxes=300, frames=300),
    ]
    theirs, ours = pooled(measured, "both")
    assert (theirs.clip, theirs.is_peer, theirs.f1) == ("both", True, 1)
    assert theirs.frames_per_s == pytest.approx(10)
    assert ours.frames_per_s == pytest.approx(400 / (5 + 5))
    assert ours.cpu_ms == pytest.approx((100 * 50 + 300 * 1000 / 60) / 400)
    assert ours.f1 == pytest.approx(0.975)
    assert (ours.boxes, ours.frames) == (400, 400)


def test_clips_without_a_peer_have_no_agreement() -> None:
    (alone,) = pooled([SpeedPoint("a", "model", "tillfree", False, 20, 50, 1, float("nan"), "", 10, 60)], "all")
    assert np.isnan(alone.f1)
    assert alone.frames_per_s == 20


def test_boxes_agree_one_to_one() -> None:
    box = np.array([[0.0, 0, 10, 10]])
    assert box_agreement([box], [box]) == 1
    assert box_agreement([box], [np.concatenate([box, box + 1])]) == pytest.approx(2 / 3)
    assert box_agreement([box], [box + 20]) == 0
    assert box_agreement([np.zeros((0, 4))], [np.zeros((0, 4))]) == 1


def test_what_is_missing_is_said_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cart.seeing_bench.find_spec", lambda name: None)
    assert missing_peer() == "ultralytics and torch not installed: pip install 'tillfree[train]'"
    monkeypatch.setattr("cart.seeing_bench.find_spec", lambda name: name)
    assert missing_peer() is None


def test_a_film_is_played_as_many_cameras(tmp_path: Path) -> None:
    film = shop_film(tmp_path / "film.mp4", lambda: (picture() for _ in range(40)), 20)
    load = cameras_on_one_core(film, Eyes(), "eyes", cameras=3, seconds=1.0)
    assert load.cameras > 0
    assert 0 < load.detected_share < 1
    large = enlarged(film, tmp_path / "large.mp4", (1280, 720), 5)
    with av.open(str(large)) as container:
        frames = [(frame.width, frame.height) for frame in container.decode(video=0)]
    assert frames == [(1280, 720)] * 5


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    speeds = [
        point(PEER, 20, 1, peer=True),
        point("tillfree, <every> frame", 50, 0.99),
        point("tillfree, every 5th frame", 150, 0.97),
    ]
    row = Measurement("what", "1 ms", "", "", 1.0, "ms")
    load = CameraLoad("model", 14.2, 0.5, 0.7, 5.0, 0.2, 0.3)
    tracking = [PlotPoint("SORT", 900, 0.5, is_peer=True), PlotPoint("tillfree", 2500, 0.55, is_peer=False)]
    page = write_bench_report([row], speeds, [load], tmp_path / "report", tracking=tracking, notes=["a note"])
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 2
    assert "tillfree, &lt;every&gt; frame" in text
    assert "14.2" in text
    assert "http" not in text.replace("http-equiv", "")


def test_names_in_a_plot_never_lie_on_each_other() -> None:
    plot = speed_plot("t", "c", "F1", [PlotPoint(f"p{n}", 10 + n, 0.98, is_peer=False) for n in range(6)])
    heights = sorted(dot.text_y for dot in plot.dots)
    assert min(b - a for a, b in itertools.pairwise(heights)) > 13.9
    with pytest.raises(ValueError, match="expected at least one point"):
        speed_plot("t", "c", "F1", [PlotPoint("p", 10, float("nan"), is_peer=False)])
