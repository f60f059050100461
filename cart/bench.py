"""Measures speed on this machine: the whole store, its parts, and peers on the same work in the same run."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from filterpy.kalman import KalmanFilter

from cart.checkout import Checkout
from cart.eyes import load_models
from cart.pages_bench import PagesLoad, measure_console, measure_phones, rows_of_console, rows_of_phones
from cart.payments import FakeGateway
from cart.pipeline import StorePipeline, catalogue_of
from cart.repository import Database
from cart.seeing_bench import (
    CAMERA_FPS,
    CAMERA_S,
    CAMERA_WH,
    CAMERAS,
    FULL_HD,
    CameraLoad,
    SpeedPoint,
    cameras_on_one_core,
    compare_speeds,
    enlarged,
    missing_peer,
    pooled,
    shop_film,
)
from cart.shop_bench import ShopLoad, measure_shop, rows_of
from store_sim.bodies import Skeletons, pose
from store_sim.coverage import choose_cameras
from store_sim.day import day_layout
from store_sim.demo_shop import demo_simulation
from store_sim.figures import Figures, Goods
from store_sim.lens import CameraEffects, LensSettings
from store_sim.oracle import OracleDetector
from store_sim.random_shop import random_layout
from store_sim.random_visits import random_scenario
from store_sim.recording import RecordingWriter
from store_sim.render import Renderer
from store_sim.simulation import JOINTS, SCALES, SENSORS, Simulation
from tracking import kalman
from tracking.kalman import BoxNoise
from tracking.scales import WeightWatcher
from tracking.tracker import Tracker
from vision.arrays import FloatArray, ImageArray
from vision.blazepose import is_blazepose
from vision.detections import Detections
from vision.detector import ObjectDetector, load_detector
from vision.frames import Frame, ScaleSamples, Tick
from vision.layout import Box, Plate, StoreLayout
from vision.top_down import is_joints

NANOSECONDS = 1_000_000_000
FRAME_WH = (640, 360)
CROWDED_S = 31.0  # second of the demo at which two people stand at one shelf


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row of the table, as text for people; ``value`` is the number in ``unit``, ``peer_value`` the peer's."""

    what: str
    measured: str
    peer: str
    ratio: str
    value: float
    unit: str
    peer_value: float | None = None


def measure(seconds: float, models: Mapping[str, Sequence[Path]]) -> Iterator[Measurement]:
    """Measure one thing after the other; give each row when it is done.

    Args:
        seconds: About how long each measurement is repeated; the median of its rounds counts.
        models: Models to measure too: the files of each by its name.
    """
    yield _demo(seconds)
    yield from _busy_store()
    yield _full_store()
    yield from _pictures(seconds)
    yield _scales(seconds)
    for tracks in (10, 200):
        yield _box_filter(tracks, seconds)
    for people in (10, 50):
        yield _one_camera(people, seconds)
    for path in dict.fromkeys(file for files in models.values() for file in files):
        if not (is_joints(path) or is_blazepose(path)):  # those look at people whom another has found
            yield _model(path, seconds)


def measure_till(shoppers: int, database_url: str | None = None) -> Iterator[Measurement]:
    """Measure the shop behind its API, with so many shoppers in it at once.

    Args:
        shoppers: How many.
        database_url: An empty database; a SQLite file of its own if left out.

    Raises:
        OSError: The shop did not start, or broke down.
    """
    load = ShopLoad(shoppers)
    speed = measure_shop(load, database_url)
    if speed.unseen:
        raise OSError(f"{speed.unseen} things taken reached no live cart")
    for what, value, unit, shown in rows_of(speed, load):
        yield _alone(what, value, unit, shown)


def measure_pages(load: PagesLoad, clips: Sequence[Path], database_url: str | None = None) -> Iterator[Measurement]:
    """Measure how soon pictures with their overlay are on the console, and changes of carts on phones.

    Args:
        load: How much is asked of the pages.
        clips: Video files for the console's cameras; a simulated shop is filmed if there are none.
        database_url: An empty database for the store that phones follow; a SQLite file of its own if left out.

    Raises:
        OSError: A store did not start, or broke down, or a change reached no phone.
        ValueError: A clip is no video that can be read.
    """
    for what, value, unit, shown in rows_of_console(measure_console(load, clips), len(os.sched_getaffinity(0))):
        yield _alone(what, value, unit, shown)
    speed = measure_phones(load, database_url)
    if speed.unseen:
        raise OSError(f"{speed.unseen} changes of carts reached no phone")
    for what, value, unit, shown in rows_of_phones(speed, load):
        yield _alone(what, value, unit, shown)


@dataclass(slots=True)
class SeeingResults:
    """What :func:`measure_seeing` found besides its rows: points of plots, loads of cameras, and what was left out."""

    speeds: list[SpeedPoint] = field(default_factory=list)
    loads: list[CameraLoad] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def measure_seeing(
    clips: Sequence[Path], models: Mapping[str, Sequence[Path]], most_frames: int, results: SeeingResults
) -> Iterator[Measurement]:
    """Measure how fast people are followed through clips, and how many cameras one core carries.

    Args:
        clips: Video files; without one nothing is compared. Cameras are always played from a film of the demo's shop,
            and from the first clip as well.
        models: The files of each model by its name. Several of one name look together; they are not compared with a
            program that takes one.
        most_frames: How many frames of each clip, 0 for all.
        results: Filled while it runs.
    """
    absent = missing_peer()
    if clips and models and absent:
        results.notes.append(f"model.track() was not measured: {absent}")
    with TemporaryDirectory() as folder:
        films: list[tuple[str, Path]] = []
        if models:
            shop = Path(folder) / "shop.mp4"
            films.append(("a small shop", shop_film(shop, _demo_pictures, round(CAMERAS * CAMERA_S * CAMERA_FPS / 4))))
        if models and clips:
            busy = Path(folder) / "busy.mp4"
            films.append((clips[0].stem, enlarged(clips[0], busy, CAMERA_WH, 0, fps=CAMERA_FPS)))
        for name, files in models.items():
            sizes: dict[str, list[SpeedPoint]] = {"all clips": [], "all clips-1080p": []}
            for clip in clips if len(files) == 1 else ():
                larger = enlarged(clip, Path(folder) / f"{clip.stem}-1080p.mp4", FULL_HD, most_frames or 300)
                for every, file, most in zip(
                    sizes.values(), (clip, larger), (most_frames, most_frames or 300), strict=True
                ):
                    points: list[SpeedPoint] = []
                    for point in compare_speeds(file, files[0], most):
                        points.append(point)
                        yield _speed_row(point, points)
                    every += points
            for called, every in sizes.items():
                together = pooled(every, called) if len(clips) > 1 else []
                for point in together:
                    yield _speed_row(point, together)
                results.speeds += [*every, *together]
            for film, played in films:
                load = cameras_on_one_core(played, load_models(files, threads=1), f"{name}, {film}")
                results.loads.append(load)
                parts = (load.decode_ms, load.gate_ms, load.detect_ms, load.track_ms)
                split = "decode {:.1f}, compare and follow {:.1f}, detect {:.1f}, track {:.1f} ms".format(*parts)
                split += f"; looked at {load.detected_share:.0%}"
                yield _alone(
                    f"{load.model}: cameras of {CAMERA_FPS} frames a second, 640x360, on one core ({split})",
                    load.cameras,
                    "cameras",
                    f"{load.cameras:.1f} cameras",
                )


def _speed_row(point: SpeedPoint, before: Sequence[SpeedPoint]) -> Measurement:
    """A row for one run; its peer is the run of the other program that it was compared with."""
    what = f"{point.clip}, {point.model}: {point.name}"
    shown = f"{point.frames_per_s:.1f} frames/s ({point.cpu_ms:.1f} CPU ms)"
    peer = next((each for each in before if each.is_peer and each.name == point.reference and not point.is_peer), None)
    if peer is None:
        return _alone(what, point.frames_per_s, "frames a second", shown)
    ratio = point.frames_per_s / peer.frames_per_s
    return Measurement(
        f"{what}, against {peer.name}",
        f"{shown}, F1 {point.f1:.3f}",
        f"{peer.frames_per_s:.1f} frames/s ({peer.cpu_ms:.1f} CPU ms)",
        f"{ratio:.1f} x faster",
        point.frames_per_s,
        "frames a second",
        peer.frames_per_s,
    )


BUSIEST_CAMERA = "cam3"  # of the demo's shop: most of its people are in view most of the time


def _demo_pictures() -> Iterator[ImageArray]:
    for tick in demo_simulation(1, SENSORS, (BUSIEST_CAMERA,)):
        for frame in tick.frames:
            yield frame.image


def write_measurements(rows: Sequence[Measurement], path: Path) -> None:
    """Write rows as JSON.

    Raises:
        OSError: The file cannot be written.
    """
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def _median_s(work: Callable[[], None], seconds: float) -> float:
    """Median CPU time of the process for one call, after one call to warm up."""
    work()
    times: list[float] = []
    deadline_s = time.perf_counter() + seconds
    while not times or time.perf_counter() < deadline_s:
        began_s = time.process_time()
        work()
        times.append(time.process_time() - began_s)
    return float(np.median(times))


def _alone(what: str, value: float, unit: str, shown: str) -> Measurement:
    return Measurement(what, shown, "", "", value, unit)


def _store_of(layout: StoreLayout, detector: ObjectDetector | None = None) -> StorePipeline:
    checkout = Checkout(Database.in_memory(), catalogue_of(layout.products, "EUR"), FakeGateway())
    return StorePipeline(layout, checkout, detector, has_gates=True)


def _demo(seconds: float) -> Measurement:
    simulation = demo_simulation(1)
    ticks = tuple(simulation)  # simulating is not what is measured here

    def work() -> None:
        store = _store_of(simulation.layout)
        for tick in ticks:
            store.step(tick)
        store.finish()

    speed = simulation.duration_s / _median_s(work, seconds)
    return _alone("demo shop, scales and joints to receipts", speed, "times real time", f"{speed:.0f} x real time")


BUSY_GONDOLAS, BUSY_SHOPPERS, BUSY_S = 11, 10, 180.0
"""The random shop that is measured has 600 plates and a few; seconds count while nine to eleven people are in it."""


def _busy_store() -> Iterator[Measurement]:
    """Simulate and replay a store of 600 plates while ten people are in it."""
    rng = np.random.default_rng(5)
    layout = random_layout(rng, gondolas=BUSY_GONDOLAS, cameras=False)
    scenario = random_scenario(layout, rng, seconds=3 * BUSY_S, shoppers_at_once=BUSY_SHOPPERS)
    layout = day_layout(layout, scenario)
    simulation = Simulation(layout, scenario, 0, sensors=frozenset({SCALES, JOINTS}), keeps_order=False)
    store = _store_of(layout)
    ticks = iter(simulation)
    spent = {"simulate": 0.0, "replay": 0.0}
    people: list[int] = []
    length_s, inside, last_ns = 0.0, 0, simulation.start_ns
    while length_s < BUSY_S:
        began_s = time.process_time()
        tick = next(ticks, None)
        simulated_s = time.process_time()
        if tick is None:
            break
        store.step(tick)
        replayed_s = time.process_time()
        if abs(inside - BUSY_SHOPPERS) <= 1:
            length_s += (tick.timestamp_ns - last_ns) / NANOSECONDS
            spent["simulate"] += simulated_s - began_s
            spent["replay"] += replayed_s - simulated_s
            people.append(inside)
        last_ns = tick.timestamp_ns
        inside = inside if tick.bodies is None else len(tick.bodies.target_id)
    what = f"{np.mean(people):.1f} shoppers, {len(layout.plates)} plates"
    for part, cpu_s in (*spent.items(), ("simulate and replay", sum(spent.values()))):
        speed = length_s / cpu_s
        yield _alone(f"{what}: {part}", speed, "times real time", f"{speed:.0f} x real time")


class _Timed:
    """A detector whose own time is counted, so that it can be taken off."""

    def __init__(self, detector: ObjectDetector) -> None:
        self._detector = detector
        self.class_names = tuple(detector.class_names)
        self.cpu_s = 0.0

    @property
    def has_keypoints(self) -> bool:
        """As the detector's."""
        return self._detector.has_keypoints

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """As the detector does."""
        began_s = time.process_time()
        seen = self._detector.detect(frames)
        self.cpu_s += time.process_time() - began_s
        return seen


FULL_SHOPPERS, FULL_CAMERAS, FULL_S, WARM_S = 26, 12, 40.0, 30.0
"""What one core should keep up with: detections of twelve cameras and 600 plates, once thirty people are there.
Seconds count after the shop has filled."""


def _full_store() -> Measurement:
    """Everything but looking at pixels, for a full shop: what twelve cameras' detectors and the plates say."""
    rng = np.random.default_rng(5)
    layout = random_layout(rng, gondolas=BUSY_GONDOLAS)
    scenario = random_scenario(layout, rng, seconds=2 * (WARM_S + FULL_S), shoppers_at_once=FULL_SHOPPERS)
    layout = day_layout(layout, scenario)
    simulation = Simulation(
        layout,
        scenario,
        0,
        sensors=SENSORS - {JOINTS},
        cameras=choose_cameras(layout, FULL_CAMERAS),
        keeps_order=False,
        pixels=False,
    )
    seen_by = _Timed(OracleDetector(simulation, np.random.default_rng(1)))
    store = _store_of(layout.for_pictures(simulation.resolutions_wh), seen_by)
    people: list[int] = []
    cpu_s, length_s, last_ns = 0.0, 0.0, simulation.start_ns
    for tick in simulation:
        began_s, looked_s = time.process_time(), seen_by.cpu_s
        store.step(tick)
        spent_s = time.process_time() - began_s - (seen_by.cpu_s - looked_s)
        if tick.timestamp_ns - simulation.start_ns > WARM_S * NANOSECONDS:
            cpu_s += spent_s
            length_s += (tick.timestamp_ns - last_ns) / NANOSECONDS
            people.append(len(simulation.world.figures))
        last_ns = tick.timestamp_ns
        if length_s >= FULL_S:
            break
    what = f"{np.mean(people):.0f} people, {len(layout.plates)} plates, {FULL_CAMERAS} cameras' detections to receipts"
    return _alone(what, length_s / cpu_s, "times real time", f"{length_s / cpu_s:.1f} x real time")


def _pictures(seconds: float) -> Iterator[Measurement]:
    """A frame of the demo's shop with people in it: drawing, ids, the lens, and H.264, each on its own."""
    simulation = demo_simulation(1)
    for tick in simulation:
        if tick.timestamp_ns - simulation.start_ns > CROWDED_S * NANOSECONDS:
            break
    figures, goods = simulation.world.figures, simulation.world.goods
    skeletons = pose(figures)
    camera_ids = (BUSIEST_CAMERA,)
    renderer = Renderer(simulation.layout, camera_ids, 1)
    shown = f"{len(figures)} people, 640x360"

    def draw() -> None:
        renderer.render(camera_ids[0], figures, skeletons, goods)

    def draw_with_ids() -> None:
        renderer.render(camera_ids[0], figures, skeletons, goods, with_ids=True)

    began_s = time.process_time()
    draw_with_ids()
    first_ms = (time.process_time() - began_s) * 1000
    for what, work in (("rendered frame", draw), ("rendered frame with its id pass", draw_with_ids)):
        taken_ms = _median_s(work, seconds) * 1000
        yield _alone(f"{what}, {shown}", taken_ms, "CPU ms a frame", f"{taken_ms:.1f} CPU ms")
    yield _alone("what stands still, drawn once a camera (twice as fine)", first_ms, "CPU ms", f"{first_ms:.0f} CPU ms")
    image = renderer.render(camera_ids[0], figures, skeletons, goods).image
    smooth = Renderer(simulation.layout, camera_ids, 1, antialias=True)
    taken_ms = _median_s(lambda: _drawn(smooth, camera_ids[0], figures, skeletons, goods), seconds) * 1000
    yield _alone(
        f"rendered frame, people antialiased too, {shown}", taken_ms, "CPU ms a frame", f"{taken_ms:.1f} CPU ms"
    )
    lens = CameraEffects(LensSettings(), np.random.default_rng(1))
    now = count(0, NANOSECONDS // 10)
    taken_ms = _median_s(lambda: _looked_through(lens, image, next(now)), seconds) * 1000
    yield _alone("a lens's faults, 640x360", taken_ms, "CPU ms a frame", f"{taken_ms:.1f} CPU ms")
    with TemporaryDirectory() as folder, RecordingWriter(Path(folder) / "r") as writer:
        number = count()

        def encode() -> None:
            idx = next(number)
            frame = Frame("camera", idx, idx * NANOSECONDS // 10, image)
            writer.write(Tick(frame.timestamp_ns, (frame,)))

        taken_ms = _median_s(encode, seconds) * 1000
    yield _alone("H.264 of a recording, 640x360", taken_ms, "CPU ms a frame", f"{taken_ms:.1f} CPU ms")


def _drawn(renderer: Renderer, camera_id: str, figures: Figures, skeletons: Skeletons, goods: Goods) -> None:
    renderer.render(camera_id, figures, skeletons, goods)


def _looked_through(lens: CameraEffects, image: ImageArray, now_ns: int) -> None:
    lens.apply(image, now_ns)


def _scales(seconds: float) -> Measurement:
    rng = np.random.default_rng(1)
    count, rate_hz, block = 600, 60.0, 12
    box = Box(np.eye(4), np.array([0.1, 0.4, 0.3]))
    plates = [Plate(f"1/{n // 12 + 1}/{n % 12 + 1}", 1, n // 12 + 1, n % 12 + 1, box) for n in range(count)]
    names = tuple(plate.plate_id for plate in plates)
    blocks = []
    for first in range(0, 600, block):
        stamps = ((np.arange(first, first + block) / rate_hz) * NANOSECONDS).astype(np.int64)
        blocks.append(ScaleSamples(stamps, names, rng.normal(1000, 1, (block, count)).astype(np.float32), rate_hz))

    def work() -> None:
        watcher = WeightWatcher(plates)
        for samples in blocks:
            watcher.update(samples)
        watcher.finish()

    speed = 600 / rate_hz / _median_s(work, seconds)
    return _alone(
        "600 plates at 60 Hz, samples to weight changes", speed, "times real time", f"{speed:.0f} x real time"
    )


def _boxes(rng: np.random.Generator, count: int) -> FloatArray:
    corner = rng.uniform(0, 1800, (count, 2))
    return np.concatenate([corner, corner + rng.uniform((40, 80), (80, 200), (count, 2))], axis=1)


def _box_filter(count: int, seconds: float) -> Measurement:
    """Predict and update with boxes, against one filterpy filter a track with the same matrices."""
    rng = np.random.default_rng(1)
    noise, boxes, dt_s = BoxNoise(), _boxes(rng, count), 0.1
    states = kalman.start(boxes, noise)

    def ours() -> None:
        kalman.update(kalman.predict(states, dt_s, noise), boxes, noise)

    transition = np.eye(8)
    transition[:4, 4:] = dt_s * np.eye(4)
    peers = []
    for mean, covariance in zip(states.mean, states.covariance, strict=True):
        peer = KalmanFilter(dim_x=8, dim_z=4)
        peer.x, peer.P, peer.F, peer.H = mean[:, None].copy(), covariance.copy(), transition, np.eye(4, 8)
        peers.append(peer)

    def theirs() -> None:
        for peer, mean in zip(peers, states.mean, strict=True):
            peer.predict()
            peer.update(mean[:4, None])

    ours_us = _median_s(_repeated(ours, 50), seconds) / 50 * 1e6
    theirs_us = _median_s(theirs, seconds) * 1e6
    return Measurement(
        f"box filter, {count} tracks, against filterpy",
        f"{ours_us:.0f} us",
        f"{theirs_us:.0f} us",
        f"{theirs_us / ours_us:.0f} x faster",
        ours_us,
        "us a step",
        theirs_us,
    )


def _repeated(work: Callable[[], None], times: int) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(times):
            work()

    return repeated


def _one_camera(count: int, seconds: float) -> Measurement:
    rng = np.random.default_rng(1)
    boxes = _boxes(rng, count)
    steps = rng.normal(0, 3, (60, count, 1)).cumsum(axis=0)
    frames = [
        Detections(
            "camera",
            n * NANOSECONDS // 10,
            (boxes + steps[n]).astype(np.float32),
            np.full(count, 0.9, np.float32),
            np.zeros(count, np.int64),
            np.zeros((count, 0, 3), np.float32),
        )
        for n in range(len(steps))
    ]

    def work() -> None:
        tracker = Tracker("camera")
        for detections in frames:
            tracker.update(detections)

    rate_hz = len(frames) / _median_s(work, seconds)
    return _alone(f"tracker of one camera, {count} people", rate_hz, "frames a second", f"{rate_hz:.0f} frames/s")


def _model(path: Path, seconds: float) -> Measurement:
    detector = load_detector(path, threads=1)
    image = np.random.default_rng(1).integers(0, 255, (FRAME_WH[1], FRAME_WH[0], 3), dtype=np.uint8)
    frame = Frame("camera", 0, 0, image)
    taken_ms = _median_s(lambda: _looked(detector.detect, frame), seconds) * 1000
    return _alone(f"{path.stem} on one thread, 640x360", taken_ms, "CPU ms a frame", f"{taken_ms:.1f} CPU ms")


def _looked(detect: Callable[[Sequence[Frame]], list[Detections]], frame: Frame) -> None:
    detect([frame])
