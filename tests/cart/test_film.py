"""Tests of cart.film."""

import itertools
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from cart.evaluate import EvaluationSettings, open_store
from cart.film import Film
from cart.replay import Replay
from store_sim.demo_shop import demo_simulation
from store_sim.oracle import EXACT, OracleDetector
from store_sim.simulation import CAMERAS, SCALES
from tests.cart.shopfloor import SECOND, START_NS, Oracle, Touch, make_pipeline, play, units_g
from tests.cart.test_replay import BIN, Ticks, pictures
from vision.annotate import Overlay, Panel, compose
from vision.arrays import ImageArray
from vision.frames import Frame, Tick
from vision.layout import Bin, StoreLayout

BOX = np.array([[20.0, 10, 36, 44]])
LAYOUT = StoreLayout("corner", bins=(Bin("L", camera_id="door", polygon_px=np.array([[2.0, 2], [14, 2], [14, 30]])),))


def film(path: Path, ticks: list[Tick], layout: StoreLayout = LAYOUT, *, most_fps: float | None = None) -> Path:
    source = Ticks(ticks)
    running = Replay(source, make_pipeline(layout, Oracle({tick.timestamp_ns: BOX for tick in ticks})))
    with Film(path, source, running, most_fps=most_fps) as filming:
        for step in running.steps():
            filming.add(step)
    return path


def shown(path: Path) -> tuple[list[float], list[ImageArray]]:
    """When each picture of a film is shown, seconds, and the pictures."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(frame.time or 0) for frame in frames], [
        np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in frames
    ]


def test_a_film_has_a_picture_for_each_tick_at_its_time(tmp_path: Path) -> None:
    ticks = pictures(40, 100)
    del ticks[10:20]  # the recording has a hole
    times, images = shown(film(tmp_path / "f.mp4", ticks))
    assert times == pytest.approx([(tick.timestamp_ns - START_NS) / SECOND for tick in ticks], abs=0.002)
    assert {image.shape for image in images} == {images[0].shape}
    assert images[0].shape[1] > 64  # the carts have their place beside the picture


def test_a_film_may_have_fewer_pictures_than_there_are(tmp_path: Path) -> None:
    times, _ = shown(film(tmp_path / "f.mp4", pictures(40, 100), most_fps=5.0))
    assert times == pytest.approx([0.2 * number for number in range(20)], abs=0.002)


def test_a_person_is_drawn_into_the_picture(tmp_path: Path) -> None:
    _, images = shown(film(tmp_path / "f.mp4", pictures(20, 100)))
    _, bare = shown(film(tmp_path / "b.mp4", pictures(20, 100), StoreLayout("corner", bins=())))
    grey = np.abs(images[-1].astype(int) - 119).max(axis=2)
    assert (grey > 60).sum() > 50
    assert (images[-1] != bare[-1]).any()  # the bin


def test_cameras_at_one_instant_share_a_picture_and_a_dark_one_goes_on(tmp_path: Path) -> None:
    ticks = []
    for i, tick in enumerate(pictures(30, 100)):
        second = replace(tick.frames[0], camera_id="till", image=np.full((30, 40, 3), 50, np.uint8))
        ticks.append(replace(tick, frames=(*tick.frames, second) if i < 10 else tick.frames))
    times, images = shown(film(tmp_path / "f.mp4", ticks))
    assert len(times) == 30
    assert len({image.shape for image in images}) == 1


def test_instants_that_are_equal_are_shown_one_after_the_other(tmp_path: Path) -> None:
    # Cameras of different rates may give two ticks of one time.
    ticks = [replace(tick, timestamp_ns=START_NS + i // 2 * SECOND // 5) for i, tick in enumerate(pictures(20))]
    times, _ = shown(film(tmp_path / "f.mp4", ticks))
    assert len(times) == 20
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


def test_ticks_without_pictures_are_not_filmed(tmp_path: Path) -> None:
    ticks: list[Tick] = []
    picture = np.full((48, 64, 3), 90, np.uint8)
    for i, tick in enumerate(play([Touch("ada", BIN, 6.0, units_g(BIN, -1))], 9.0)):
        frames = (Frame("door", i, tick.timestamp_ns, picture),) if i % 3 == 0 else ()
        ticks.append(replace(tick, frames=frames))
    source = Ticks(ticks)
    running = Replay(source, make_pipeline())
    with Film(tmp_path / "f.mp4", source, running) as filming:
        for step in running.steps():
            filming.add(step)
    times, _ = shown(tmp_path / "f.mp4")
    assert len(times) == len(ticks) // 3
    assert running.document().receipts[0].status == "charged"


def test_without_cameras_there_is_nothing_to_film(tmp_path: Path) -> None:
    source = Ticks([Tick(START_NS)])
    with pytest.raises(ValueError, match="no cameras"):
        Film(tmp_path / "f.mp4", source, Replay(source, make_pipeline()))
    assert not (tmp_path / "f.mp4").exists()


def test_a_film_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        film(tmp_path / "nowhere" / "f.mp4", pictures(3))


def test_a_calibrated_store_is_shown_from_above_with_how_it_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[list[Overlay], Panel]] = []

    def noted(
        images: list[ImageArray | None], overlays: list[Overlay], panel: Panel, cell_wh: tuple[int, int]
    ) -> ImageArray:
        drawn.append((overlays, panel))
        return compose(images, overlays, panel, cell_wh)

    monkeypatch.setattr("cart.film.compose", noted)
    simulation = demo_simulation(2, frozenset({SCALES, CAMERAS}), ("cam1", "cam3"), pixels=False)
    oracle = OracleDetector(simulation, np.random.default_rng(2), EXACT)
    store = simulation.layout.for_pictures(simulation.resolutions_wh)
    running = Replay(simulation, open_store(store, EvaluationSettings(frozenset({"scales", "cameras"})), oracle))
    with Film(tmp_path / "f.mp4", simulation, running) as filming:
        for step in running.steps():
            if step.media_s > 3.0:
                filming.add(step)
            if step.media_s > 4.2:
                break
    overlays, panel = drawn[-1]
    assert [overlay.state for overlay in overlays] == ["detected", "detected"]
    assert panel.plan is not None
    (ada,) = panel.plan.people
    assert (ada.label, len(panel.plan.shelves_m), len(panel.plan.cameras_m)) == ("Ada", 3, 2)
    assert len(ada.trail_m) > 5
    assert np.isfinite(ada.covariance_m2).all()
    assert [cart.shopper for cart in panel.carts] == ["Ada"]
