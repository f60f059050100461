"""Measures store-wide tracking on random shops against the truth: ids, places on the floor, hands, camera faults."""

import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from cart.drawing import page_template
from cart.eyes import named_detector
from store_sim.bodies import coco_keypoints
from store_sim.coverage import choose_cameras
from store_sim.day import day_layout
from store_sim.oracle import OracleDetector
from store_sim.processes import deaf_to_ctrl_c, single_threaded
from store_sim.random_shop import random_layout
from store_sim.random_visits import random_scenario
from store_sim.scenarios import Fault, FaultKind, Scenario
from store_sim.simulation import CAMERAS, Simulation
from tracking.camera_faults import CameraNotice
from tracking.identities import IdentityTracker
from tracking.tracker import Tracker
from tracking.types import Identities
from vision.arrays import FloatArray, ImageArray, IntArray
from vision.cameras import Camera
from vision.detections import LEFT_ELBOW, LEFT_WRIST, RIGHT_ELBOW, RIGHT_WRIST, Detections
from vision.detector import ObjectDetector
from vision.frames import Frame
from vision.layout import StoreLayout, polygon_margins
from vision.pose import GRIP_PER_FOREARM

NANOSECONDS = 1_000_000_000
MATCH_M = 0.5
"""An identity is right where it is within this of a person: half a metre is one person's room."""
REPORTED_SIGMA_M = 0.5
"""Somebody hidden whose place is less sure than this is not put on the floor plan."""
SHIFT_M = 0.05
SKEW_S = 0.2
FAULT_FROM_S = 15.0
"""Faults begin when there are people in the shop."""
FILM_S = 45.0
GONDOLAS_LEAST, GONDOLAS_A_SHOPPER = 4, 0.5
"""A shop of a size that so many people would be found in: 4 gondolas, and one more for every two of them."""
TARGETS = {1: 0.97, 5: 0.95, 10: 0.93, 20: 0.88}
FAULTS = ("none", "dead", "moved", "skew")
JPEG_QUALITY = 92
_ORACLE_STREAM = 7


@dataclass(frozen=True, slots=True)
class TrackingJob:
    """One shop, one stretch of a day, one fault.

    Attributes:
        shoppers: How many people are inside at once.
        seed: Decides the shop, the day and every error.
        cameras: How many cameras look; all the shop has when it has fewer.
        fault: ``none``, ``dead`` (one camera gives nothing from 15 s on), ``moved`` (one hangs 5 cm beside where the
            layout says) or ``skew`` (the clock of one is 200 ms ahead).
        seconds: How long is filmed.
        weights: Models that see people in rendered pictures; without any an oracle that errs on purpose does.
    """

    shoppers: int
    seed: int
    cameras: int
    fault: str = "none"
    seconds: float = FILM_S
    weights: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"fault: expected one of {', '.join(FAULTS)}, got {self.fault}")
        if self.shoppers < 1 or self.cameras < 1 or not self.seconds > 0:
            raise ValueError(
                "expected at least one shopper, one camera and some seconds, "
                f"got {self.shoppers}, {self.cameras}, {self.seconds}"
            )


@dataclass(frozen=True, slots=True)
class Instant:
    """What the cameras saw at one moment, and who was really where.

    Attributes:
        timestamp_ns: Store clock.
        detections: Of each camera that gave a picture.
        pictures: The pictures as JPEG, in the order of ``detections``; empty without pixels.
        person: Number of everybody on the sales floor, shape (t,).
        position_m: Where they stand, shape (t, 2).
        hands_m: Left and right hand, a little beyond the wrist as the product reckons it, shape (t, 2, 3).
    """

    timestamp_ns: int
    detections: tuple[Detections, ...]
    pictures: tuple[bytes, ...]
    person: IntArray
    position_m: FloatArray
    hands_m: FloatArray


@dataclass(frozen=True, slots=True)
class Take:
    """A stretch of a day as the cameras saw it.

    Attributes:
        layout: The store as its owner believes it is, with the cameras that look.
        instants: In order of time.
        faulty: The camera that something is wrong with; None without a fault.
    """

    layout: StoreLayout
    instants: tuple[Instant, ...]
    faulty: str | None


def film(job: TrackingJob) -> Take:
    """Play a random day and look at it.

    Raises:
        ValueError: A number is out of range.
        OSError: A model cannot be read.
    """
    shop, day, pick = (
        np.random.default_rng(each) for each in np.random.SeedSequence([job.seed, job.shoppers]).spawn(3)
    )
    gondolas = GONDOLAS_LEAST + round(GONDOLAS_A_SHOPPER * job.shoppers)
    layout = random_layout(shop, gondolas=gondolas)
    scenario = random_scenario(layout, day, seconds=job.seconds, shoppers_at_once=float(job.shoppers))
    chosen = choose_cameras(layout, job.cameras)
    faulty = None if job.fault == "none" else str(pick.choice(chosen))
    scenario, hung = _with_fault(job, scenario, layout, faulty, pick)
    simulation = Simulation(
        day_layout(hung, scenario),
        scenario,
        job.seed,
        sensors=frozenset({CAMERAS}),
        cameras=chosen,
        keeps_order=False,
        pixels=bool(job.weights),
    )
    detector: ObjectDetector
    if job.weights:
        detector = named_detector(job.weights, threads=1)
    else:
        detector = OracleDetector(simulation, np.random.default_rng([job.seed, _ORACLE_STREAM]))
    numbers: dict[str, int] = {}
    instants = []
    for tick in simulation:
        if (tick.timestamp_ns - simulation.start_ns) / NANOSECONDS > job.seconds:
            break
        if not tick.frames:
            continue
        detections = tuple(detector.detect(tick.frames))
        pictures = tuple(_jpeg(frame) for frame in tick.frames) if job.weights else ()
        scene = simulation.scene(tick.frames[0])
        assert scene is not None
        figures, points_m = scene.figures, coco_keypoints(scene.skeletons)
        inside = np.ones(len(figures), bool)
        if simulation.layout.walkable_m is not None and len(figures):
            inside = polygon_margins(simulation.layout.walkable_m, figures.position_m) >= 0
        wrists, elbows = points_m[:, [LEFT_WRIST, RIGHT_WRIST]], points_m[:, [LEFT_ELBOW, RIGHT_ELBOW]]
        names = [numbers.setdefault(name, len(numbers) + 1) for name in figures.person_id]
        instants.append(
            Instant(
                tick.timestamp_ns,
                detections,
                pictures,
                np.array(names, np.int64)[inside],
                figures.position_m[inside].copy(),
                (wrists + GRIP_PER_FOREARM * (wrists - elbows))[inside],
            )
        )
    believed = replace(layout, cameras=tuple(camera for camera in layout.cameras if camera.camera_id in chosen))
    return Take(believed, tuple(instants), faulty)


def _with_fault(
    job: TrackingJob, scenario: Scenario, layout: StoreLayout, faulty: str | None, rng: np.random.Generator
) -> tuple[Scenario, StoreLayout]:
    """A day on which something is wrong, and the store as it really hangs."""
    if job.fault == "dead":
        fault = Fault(FAULT_FROM_S, FaultKind.CAMERA_DEAD, target=faulty)
        return replace(scenario, faults=(*scenario.faults, fault)), layout
    if job.fault == "skew":
        fault = Fault(0.0, FaultKind.CLOCK_SKEW, target=faulty, amount=SKEW_S)
        return replace(scenario, faults=(*scenario.faults, fault)), layout
    if job.fault == "moved":
        angle = float(rng.uniform(0, 2 * math.pi))
        step_m = SHIFT_M * np.array([math.cos(angle), math.sin(angle), 0.0])
        cameras = tuple(_shifted(camera, step_m) if camera.camera_id == faulty else camera for camera in layout.cameras)
        return scenario, replace(layout, cameras=cameras)
    return scenario, layout


def _shifted(camera: Camera, step_m: FloatArray) -> Camera:
    """A camera that hangs beside where it hung, metres."""
    cam_from_world = camera.cam_from_world.copy()
    cam_from_world[:3, 3] -= cam_from_world[:3, :3] @ step_m
    return replace(camera, cam_from_world=cam_from_world)


def _jpeg(frame: Frame) -> bytes:
    done, coded = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return bytes(coded.tobytes())


def _picture(coded: bytes) -> ImageArray:
    return np.asarray(cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR))


@dataclass(frozen=True, slots=True)
class Followed:
    """What tracking made of a take, one entry for each instant.

    Attributes:
        identity: Numbers of who is on the floor plan, shape (p,) each.
        position_m: Where, shape (p, 2) each.
        hands_m: Their hands, shape (p, 2, 3) each, nan where no two cameras saw them.
        notices: What was said about the cameras.
        cpu_s: Computing time of trackers and identities, without detecting.
    """

    identity: tuple[IntArray, ...]
    position_m: tuple[FloatArray, ...]
    hands_m: tuple[FloatArray, ...]
    notices: tuple[CameraNotice, ...]
    cpu_s: float


def follow(take: Take) -> Followed:
    """Track everybody through a take, as a live store would."""
    resolutions = {camera.camera_id: camera.resolution_wh for camera in take.layout.cameras}
    layout = take.layout.for_pictures(resolutions)
    trackers = {camera.camera_id: Tracker(camera.camera_id, camera) for camera in layout.cameras}
    identities = IdentityTracker(layout)
    people: list[Identities] = []
    cpu_s = 0.0
    for instant in take.instants:
        frames = tuple(
            Frame(seen.camera_id, 0, seen.timestamp_ns, _picture(coded))
            for seen, coded in zip(instant.detections, instant.pictures, strict=False)
        )
        began = time.process_time()
        tracks = [trackers[seen.camera_id].update(seen) for seen in instant.detections]
        people.append(identities.update(instant.timestamp_ns, tracks, frames))
        cpu_s += time.process_time() - began
    shown = [_sure(each) for each in people]
    return Followed(
        tuple(each.identity_id[rows] for each, rows in zip(people, shown, strict=True)),
        tuple(each.position_m[rows] for each, rows in zip(people, shown, strict=True)),
        tuple(each.hands_m[rows] for each, rows in zip(people, shown, strict=True)),
        identities.notices,
        cpu_s,
    )


def _sure(people: Identities) -> IntArray:
    """Rows whose place is known well enough to be put on the floor plan."""
    if not len(people):
        return np.zeros(0, np.int64)
    spread = np.sqrt(np.trace(people.position_cov_m2, axis1=1, axis2=2) / 2)
    return np.asarray(np.flatnonzero(spread <= REPORTED_SIGMA_M))


@dataclass(frozen=True, slots=True)
class Break:
    """Somebody's identity changed here.

    Attributes:
        at_s: When, seconds from the take's beginning.
        person: The simulator's number.
        before: Identity before.
        after: Identity after.
        position_m: Where they stood, shape (2,).
    """

    at_s: float
    person: int
    before: int
    after: int
    position_m: tuple[float, float]


@dataclass(frozen=True, slots=True)
class TrackingScore:
    """How well a take was followed.

    Attributes:
        job: Which.
        idf1: Identity F1 (Ristani et al., 2016) on the floor, matches within ``MATCH_M``.
        idp: Identity precision.
        idr: Identity recall.
        recall: Share of people and instants with some identity within ``MATCH_M``.
        best_idf1: What it would be with the same places and ids from the truth.
        people: Different people who were on the floor.
        identities: Different identities that were given.
        breaks: Where somebody's identity changed.
        floor_error_m: Distances of matched identities, sampled.
        hand_error_m: Distances of hands that two cameras saw from the nearest true hand of their owner, sampled.
        notices: What was said about cameras.
        faulty: The camera that really had a fault.
        seconds: Length of the take.
        cpu_s: Computing time of tracking.
        cameras: How many looked.
        walkable_m: The floor, for drawing.
        ways: Each person's way, for drawing: shape (k, 2) each.
    """

    job: TrackingJob
    idf1: float
    idp: float
    idr: float
    recall: float
    best_idf1: float
    people: int
    identities: int
    breaks: tuple[Break, ...]
    floor_error_m: FloatArray
    hand_error_m: FloatArray
    notices: tuple[CameraNotice, ...]
    faulty: str | None
    seconds: float
    cpu_s: float
    cameras: int
    walkable_m: FloatArray
    ways: tuple[FloatArray, ...]


def score(job: TrackingJob, take: Take, followed: Followed) -> TrackingScore:
    """Hold what tracking made of a take against the truth."""
    true_total = sum(len(instant.person) for instant in take.instants)
    said_total = sum(len(ids) for ids in followed.identity)
    persons = sorted({int(p) for instant in take.instants for p in instant.person})
    said = sorted({int(i) for ids in followed.identity for i in ids})
    row_of = {p: r for r, p in enumerate(persons)}
    column_of = {i: c for c, i in enumerate(said)}
    together = np.zeros((len(persons), len(said)))
    held: dict[int, int] = {}
    breaks: list[Break] = []
    floor_errors, hand_errors, found = [], [], 0
    start_ns = take.instants[0].timestamp_ns if take.instants else 0
    for instant, ids, places, hands in zip(
        take.instants, followed.identity, followed.position_m, followed.hands_m, strict=True
    ):
        if not len(instant.person) or not len(ids):
            continue
        away = np.linalg.norm(instant.position_m[:, None] - places[None], axis=2)
        near = away <= MATCH_M
        rows = np.array([row_of[int(p)] for p in instant.person])
        columns = np.array([column_of[int(i)] for i in ids])
        together[np.ix_(rows, columns)] += near
        # Keep a match that still holds, as CLEAR MOT does; the rest by distance.
        cost = np.where(near, away, 1e3)
        for t, person in enumerate(instant.person.tolist()):
            for c in np.flatnonzero(ids == held.get(person, -1)).tolist():
                if near[t, c]:
                    cost[t, c] = -1.0
        matched = linear_sum_assignment(cost)
        for t, c in zip(matched[0].tolist(), matched[1].tolist(), strict=True):
            if not near[t, c]:
                continue
            found += 1
            person, identity = int(instant.person[t]), int(ids[c])
            floor_errors.append(away[t, c])
            if held.get(person, identity) != identity:
                x, y = instant.position_m[t].tolist()
                at_s = (instant.timestamp_ns - start_ns) / NANOSECONDS
                breaks.append(Break(at_s, person, held[person], identity, (x, y)))
            held[person] = identity
            for hand in hands[c][np.isfinite(hands[c]).all(axis=1)]:
                hand_errors.append(float(np.linalg.norm(instant.hands_m[t] - hand, axis=1).min()))
    idtp = 0.0
    if together.size:
        chosen = linear_sum_assignment(-together)
        idtp = float(together[chosen].sum())
    ways = tuple(
        np.array([i.position_m[i.person == p][0] for i in take.instants[::3] if (i.person == p).any()]).reshape(-1, 2)
        for p in persons
    )
    seconds = (take.instants[-1].timestamp_ns - start_ns) / NANOSECONDS if take.instants else 0.0
    walkable = take.layout.walkable_m
    return TrackingScore(
        job,
        2 * idtp / max(true_total + said_total, 1),
        idtp / max(said_total, 1),
        idtp / max(true_total, 1),
        found / max(true_total, 1),
        2 * found / max(true_total + said_total, 1),
        len(persons),
        len(said),
        tuple(breaks),
        np.array(floor_errors),
        np.array(hand_errors),
        followed.notices,
        take.faulty,
        seconds,
        followed.cpu_s,
        len(take.layout.cameras),
        np.zeros((0, 2)) if walkable is None else walkable,
        ways,
    )


def evaluate_tracking(
    jobs: Sequence[TrackingJob],
    processes: int | None = None,
    progress: Callable[[int, int, TrackingScore], None] | None = None,
) -> tuple[TrackingScore, ...]:
    """Film, follow and score every job, on several cores.

    Args:
        jobs: What to play.
        processes: How many at a time; None for one for each core that this process may use. With 1 everything runs in
            this process.
        progress: Told after every job: how many are done, how many there are, and what came of this one.

    Returns:
        The scores, in the order of ``jobs``.

    Raises:
        ValueError: ``processes`` is below 1, or a job cannot be played.
        OSError: A model cannot be read.
    """
    processes = len(os.sched_getaffinity(0)) if processes is None else processes
    if processes < 1:
        raise ValueError(f"processes: expected at least 1, got {processes}")
    found: dict[int, TrackingScore] = {}
    if processes == 1 or len(jobs) < 2:
        results = ((index, play(job)) for index, job in enumerate(jobs))
        return _gathered(results, len(jobs), found, progress)
    context = multiprocessing.get_context("spawn")
    with single_threaded(), deaf_to_ctrl_c():
        pool = context.Pool(min(processes, len(jobs)), initializer=_one_thread)
    with pool:
        return _gathered(pool.imap_unordered(_numbered, list(enumerate(jobs))), len(jobs), found, progress)


def _gathered(
    results: Iterable[tuple[int, TrackingScore]],
    count: int,
    found: dict[int, TrackingScore],
    progress: Callable[[int, int, TrackingScore], None] | None,
) -> tuple[TrackingScore, ...]:
    for index, result in results:
        found[index] = result
        if progress is not None:
            progress(len(found), count, result)
    return tuple(found[index] for index in range(count))


def play(job: TrackingJob) -> TrackingScore:
    """Film, follow and score one job in this process."""
    take = film(job)
    return score(job, take, follow(take))


def _numbered(entry: tuple[int, TrackingJob]) -> tuple[int, TrackingScore]:
    return entry[0], play(entry[1])


def _one_thread() -> None:
    cv2.setNumThreads(1)


@dataclass(frozen=True, slots=True)
class TrackingRow:
    """All takes of one number of shoppers and one fault together.

    Attributes:
        shoppers: How many were inside at once.
        fault: What was wrong.
        takes: How many takes.
        idf1: Their mean.
        target: What it should reach; None where nothing is promised.
        best_idf1: Mean of what it would be with the same places and ids from the truth.
        recall: Mean share of people and instants that somebody was placed at.
        switches_per_minute: Changes of identity for each minute of film.
        floor_median_m: Median floor error.
        hand_median_m: Median error of hands that two cameras saw; nan without any.
        told: In how many takes the right camera was named with the right fault; with ``none``, in how many nothing was.
        amount: Median of what was said of it (metres, seconds); nan without.
        speed: How many times faster than real time trackers and identities ran.
    """

    shoppers: int
    fault: str
    takes: int
    idf1: float
    target: float | None
    best_idf1: float
    recall: float
    switches_per_minute: float
    floor_median_m: float
    hand_median_m: float
    told: int
    amount: float
    speed: float


_CODE_OF = {"dead": "camera-dead", "moved": "camera-moved", "skew": "camera-skewed"}


def summarise(scores: Sequence[TrackingScore]) -> tuple[TrackingRow, ...]:
    """Take takes of one kind together, in the order of their first."""
    rows = []
    for shoppers, fault in dict.fromkeys((each.job.shoppers, each.job.fault) for each in scores):
        own = [each for each in scores if (each.job.shoppers, each.job.fault) == (shoppers, fault)]
        amounts, told = [], 0
        for each in own:
            right = [n for n in each.notices if n.camera_id == each.faulty and n.code == _CODE_OF.get(fault)]
            told += bool(right) if fault != "none" else not each.notices
            amounts += [notice.amount for notice in right]
        floor = np.concatenate([each.floor_error_m for each in own])
        hands = np.concatenate([each.hand_error_m for each in own])
        minutes = sum(each.seconds for each in own) / 60
        cpu_s = sum(each.cpu_s for each in own)
        rows.append(
            TrackingRow(
                shoppers,
                fault,
                len(own),
                float(np.mean([each.idf1 for each in own])),
                TARGETS.get(shoppers),
                float(np.mean([each.best_idf1 for each in own])),
                float(np.mean([each.recall for each in own])),
                sum(len(each.breaks) for each in own) / max(minutes, 1e-9),
                _median(floor),
                _median(hands),
                told,
                _median(np.array(amounts)),
                60 * minutes / max(cpu_s, 1e-9),
            )
        )
    return tuple(rows)


def _median(values: FloatArray) -> float:
    return float(np.median(values)) if len(values) else math.nan


def document(scores: Sequence[TrackingScore]) -> dict[str, Any]:
    """Everything as JSON has it; a number that there is not is None."""

    def entry(value: object) -> object:
        if isinstance(value, float):
            return round(value, 5) if math.isfinite(value) else None
        return value

    return {
        "match_m": MATCH_M,
        "rows": [{name: entry(getattr(row, name)) for name in TrackingRow.__slots__} for row in summarise(scores)],
        "takes": [
            {
                "shoppers": each.job.shoppers,
                "seed": each.job.seed,
                "cameras": each.cameras,
                "fault": each.job.fault,
                "faulty_camera": each.faulty,
                "idf1": entry(each.idf1),
                "idp": entry(each.idp),
                "idr": entry(each.idr),
                "best_idf1": entry(each.best_idf1),
                "recall": entry(each.recall),
                "people": each.people,
                "identities": each.identities,
                "floor_median_m": entry(_median(each.floor_error_m)),
                "hand_median_m": entry(_median(each.hand_error_m)),
                "hands": len(each.hand_error_m),
                "cpu_s": entry(each.cpu_s),
                "seconds": entry(each.seconds),
                "notices": [
                    {"camera": n.camera_id, "code": n.code, "amount": entry(n.amount), "message": n.message}
                    for n in each.notices
                ],
                "breaks": [
                    {
                        "t_s": entry(b.at_s),
                        "person": b.person,
                        "before": b.before,
                        "after": b.after,
                        "position_m": [entry(v) for v in b.position_m],
                    }
                    for b in each.breaks
                ],
            }
            for each in scores
        ],
    }


PIXELS_A_METRE = 60
_MARGIN_M = 0.5


def floor_plan(each: TrackingScore) -> ImageArray:
    """Draw a take from above: the floor, everybody's way, and a red cross wherever an identity broke."""
    points = [each.walkable_m, *each.ways] if len(each.walkable_m) else list(each.ways)
    filled = [p for p in points if len(p)] or [np.zeros((1, 2))]
    low = np.min([p.min(axis=0) for p in filled], axis=0) - _MARGIN_M
    high = np.max([p.max(axis=0) for p in filled], axis=0) + _MARGIN_M
    width, height = np.ceil((high - low) * PIXELS_A_METRE).astype(int).tolist()
    picture = np.full((max(height, 1), max(width, 1), 3), 255, np.uint8)

    def pixels(places: FloatArray) -> IntArray:
        scaled = (places - low) * PIXELS_A_METRE
        return np.asarray(np.column_stack([scaled[:, 0], height - scaled[:, 1]]).round().astype(np.int32))

    if len(each.walkable_m):
        cv2.fillPoly(picture, [pixels(each.walkable_m)], (238, 238, 238))
    for number, way in enumerate(each.ways):
        hue = np.array([[[37 * number % 180, 200, 170]]], np.uint8)
        colour = tuple(int(v) for v in cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0])
        if len(way):
            cv2.polylines(picture, [pixels(way)], False, colour, 1, cv2.LINE_AA)
    for broken in each.breaks:
        x, y = pixels(np.array([broken.position_m]))[0].tolist()
        cv2.drawMarker(picture, (x, y), (0, 0, 220), cv2.MARKER_TILTED_CROSS, 12, 2)
        text = f"{broken.before}>{broken.after} {broken.at_s:.0f}s"
        cv2.putText(picture, text, (x + 8, y), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (0, 0, 160), 1, cv2.LINE_AA)
    return picture


def write_report(scores: Sequence[TrackingScore], folder: Path) -> Path:
    """Write a page with the table and a floor plan of every take.

    Returns:
        The page.

    Raises:
        OSError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for each in scores:
        name = f"{each.job.shoppers}-shoppers-seed-{each.job.seed}-{each.job.fault}.png"
        done, coded = cv2.imencode(".png", floor_plan(each))
        assert done
        (folder / name).write_bytes(coded.tobytes())
        names.append(name)
    page = folder / "index.html"
    template = page_template("tracking_report.html")
    page.write_text(
        template.render(rows=summarise(scores), takes=list(zip(scores, names, strict=True)), match_m=MATCH_M),
        encoding="utf-8",
    )
    return page


def write_document(scores: Sequence[TrackingScore], path: Path) -> None:
    """Write the document as JSON.

    Raises:
        OSError: The file cannot be written.
    """
    path.write_text(json.dumps(document(scores), indent=1, allow_nan=False) + "\n", encoding="utf-8")
