"""How well cameras are placed and checked, measured on rendered random shops with known truth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from store_sim.coverage import choose_cameras
from store_sim.lens import CameraEffects, LensSettings
from store_sim.oracle import OracleDetector
from store_sim.random_shop import random_layout
from store_sim.random_visits import random_scenario
from store_sim.render import Renderer
from store_sim.simulation import CAMERAS, Simulation
from tracking.body_points import body_points
from tracking.calibration_refinement import Refinement, refine
from vision.arrays import FloatArray, ImageArray
from vision.camera_check import CameraCheck, CameraState, check_camera, still_picture
from vision.cameras import Camera
from vision.detections import Detections
from vision.layout import StoreLayout

FRAMES_A_SECOND = 10
PICTURES, PICTURES_APART = 9, 60  # for a still scene: one every 6 s over a minute
SHIFT_M, TURN_RAD = 0.05, float(np.deg2rad(2.0))
ROUGH_M, ROUGH_RAD = 0.08, float(np.deg2rad(1.5))  # what a dozen clicked points leave where they lie badly
REFINING_S = 150.0
INSTANTS_APART = 5  # half a second: people have moved
GRID_SHARES = (0.15, 0.85)  # of the picture, where floor errors are measured


@dataclass(frozen=True, slots=True)
class CheckTrial:
    """One check of one camera of a rendered shop.

    Attributes:
        seed: Which shop.
        kind: What was done to the camera: ``unmoved``, ``shifted`` (5 cm), ``turned`` (2 degrees), ``covered``,
            ``dark``, ``blurred``, ``frozen`` or ``dead``.
        check: What was found.
        shift_error_m: How far the found shift is from the true one, metres; nan where no move was found.
        turn_error_rad: The same for the turn.
    """

    seed: int
    kind: str
    check: CameraCheck
    shift_error_m: float
    turn_error_rad: float


@dataclass(frozen=True, slots=True)
class PlacedCamera:
    """How well one camera of one shop is placed, before and after.

    Attributes:
        seed: Which shop.
        camera_id: The camera.
        place_m: Distance of its place from the true one, before and after, metres.
        turn_rad: Angle to how it truly hangs, before and after.
        floor_m: Median distance between where it sees points of the floor and where they are, before and after, metres.
        said_sd_m: Standard deviation that was given for its new place, metres.
    """

    seed: int
    camera_id: str
    place_m: tuple[float, float]
    turn_rad: tuple[float, float]
    floor_m: tuple[float, float]
    said_sd_m: float


def check_trials(seed: int, cameras: int = 2) -> Iterator[CheckTrial]:
    """Check cameras of one random shop on another day: as they were, and after each thing that can happen to them.

    The other day has other people, goods taken and moved, another light (strength, tone, side), noise and compression.

    Args:
        seed: Which shop; shops below 1,000,000 are for trying things out, as nothing here is trained.
        cameras: How many of its cameras.
    """
    shop, first_day, other_day, hand = (np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(4))
    layout = random_layout(shop, gondolas=int(shop.integers(3, 7)), products=60)
    chosen = choose_cameras(layout, cameras)
    before = _filmed(layout, layout, chosen, seed, first_day, first_day, from_frame=10)
    for name in chosen:
        camera = _camera(layout, name)
        reference = still_picture(before[name])
        moves = {
            "unmoved": camera,
            "shifted": _knocked(camera, hand, SHIFT_M, 0.0),
            "turned": _knocked(camera, hand, 0.0, TURN_RAD),
        }
        for kind, true in moves.items():
            hung = replace(layout, cameras=tuple(true if c.camera_id == name else c for c in layout.cameras))
            images = _filmed(layout, hung, [name], seed, other_day, hand, from_frame=200)[name]
            check = check_camera(camera, reference, images, layout)
            yield _trial(seed, kind, check, camera, true)
            if kind == "unmoved":
                for spoilt, pictures in _spoilt(images).items():
                    yield _trial(seed, spoilt, check_camera(camera, reference, pictures, layout), camera, camera)


def refinement_trial(seed: int, *, anchored: bool = True) -> tuple[Refinement, list[PlacedCamera]]:
    """Knock the cameras of a random shop, let people walk through, and refine.

    Key-points are the simulator's, with the errors of a small pose model; who is who between cameras is not told.

    Args:
        seed: Which shop.
        anchored: Whether the camera that shares most sightings hangs right, and is the anchor; it is not in the result.
    """
    shop, day, hand = (np.random.default_rng(each) for each in np.random.SeedSequence([seed, 1]).spawn(3))
    layout = random_layout(shop, gondolas=int(shop.integers(3, 9)), products=80)
    scenario = random_scenario(layout, day, visits=6, shoppers_at_once=2.0)
    simulation = Simulation(layout, scenario, seed, sensors=frozenset({CAMERAS}), pixels=False)
    detector = OracleDetector(simulation, hand)
    instants: list[tuple[float, Sequence[Detections]]] = []
    frames = 0
    for tick in simulation:
        if not tick.frames:
            continue
        frames += 1
        if frames % INSTANTS_APART == 0:
            instants.append((frames / FRAMES_A_SECOND, detector.detect(tick.frames)))
        if frames > REFINING_S * FRAMES_A_SECOND:
            break
    true = {camera.camera_id: camera for camera in simulation.layout.cameras}
    rough = {name: _knocked(camera, hand, ROUGH_M, ROUGH_RAD) for name, camera in true.items()}
    points = body_points(rough, instants)
    anchors = []
    if anchored:
        most = int(np.bincount(points.camera, minlength=len(rough)).argmax())
        anchors = [points.camera_ids[most]]
        rough |= {name: true[name] for name in anchors}
        points = body_points(rough, instants)
    refinement = refine(rough, points, anchors=anchors)
    placed = []
    for change, camera in zip(refinement.changes, refinement.cameras, strict=True):
        name = change.before.camera_id
        if name in anchors:
            continue
        both = (change.before, camera)
        placed.append(
            PlacedCamera(
                seed,
                name,
                _two(float(np.linalg.norm(each.position_m - true[name].position_m)) for each in both),
                _two(_angle(each, true[name]) for each in both),
                _two(_floor_error_m(each, true[name]) for each in both),
                change.shift_sd_m,
            )
        )
    return refinement, placed


def _two(values: Iterator[float]) -> tuple[float, float]:
    before, after = values
    return before, after


def _trial(seed: int, kind: str, check: CameraCheck, camera: Camera, true: Camera) -> CheckTrial:
    shift_error = turn_error = float("nan")
    if check.move is not None and check.state is CameraState.MOVED:
        shift_error = float(np.linalg.norm(check.move.shift_m - (true.position_m - camera.position_m)))
        turn_error = _angle(replace(camera, cam_from_world=check.move.cam_from_world), true)
    return CheckTrial(seed, kind, check, shift_error, turn_error)


def _camera(layout: StoreLayout, name: str) -> Camera:
    return next(camera for camera in layout.cameras if camera.camera_id == name)


def _filmed(
    shop: StoreLayout,
    hung: StoreLayout,
    names: Sequence[str],
    seed: int,
    day: np.random.Generator,
    light: np.random.Generator,
    *,
    from_frame: int,
) -> dict[str, list[ImageArray]]:
    """Pictures of some cameras over a minute of a day with people, each day in its own light."""
    scenario = random_scenario(shop, np.random.default_rng(day.integers(2**32)), visits=8, shoppers_at_once=3.0)
    simulation = Simulation(hung, scenario, seed, sensors=frozenset({CAMERAS}), cameras=names, pixels=False)
    renderer = Renderer(hung, names, seed)
    effects = {name: CameraEffects(LensSettings(drops_per_s=0.0), light) for name in names}
    tone = {name: _Light.drawn(light) for name in names}
    images: dict[str, list[ImageArray]] = {name: [] for name in names}
    frames = 0
    for tick in simulation:
        if not tick.frames:
            continue
        frames += 1
        if frames < from_frame or (frames - from_frame) % PICTURES_APART:
            continue
        for frame in tick.frames:
            scene = simulation.scene(frame)
            if scene is None:
                continue
            picture = renderer.render(frame.camera_id, scene.figures, scene.skeletons, simulation.world.goods)
            lit = tone[frame.camera_id].on(picture.image)
            spoilt = effects[frame.camera_id].apply(lit, frame.timestamp_ns)
            if spoilt is not None:
                images[frame.camera_id].append(spoilt)
        if all(len(each) >= PICTURES for each in images.values()):
            break
    return images


@dataclass(frozen=True, slots=True)
class _Light:
    """The light of a day: strength, tone curve, and how much stronger it is on one side."""

    gain: float
    gamma: float
    slope: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "_Light":
        return cls(float(rng.uniform(0.75, 1.25)), float(rng.uniform(0.8, 1.25)), float(rng.uniform(-0.2, 0.2)))

    def on(self, image: ImageArray) -> ImageArray:
        across = 1 + self.slope * np.linspace(-1, 1, image.shape[1])[None, :, None]
        lit = 255 * (np.clip(image / 255 * self.gain * across, 0, 1)) ** self.gamma
        return np.asarray(np.rint(lit), np.uint8)


def _spoilt(images: Sequence[ImageArray]) -> dict[str, list[ImageArray]]:
    """What happens to cameras besides being moved."""
    rng = np.random.default_rng(0)
    haze = np.full(images[0].shape, 150, np.uint8)
    return {
        "covered": [
            np.clip(
                cv2.GaussianBlur(cv2.addWeighted(image, 0.05, haze, 0.95, 0), (0, 0), 8) + rng.integers(0, 3, 1), 0, 255
            ).astype(np.uint8)
            for image in images
        ],
        "dark": [np.asarray(image // 30 + rng.integers(0, 2, image.shape), np.uint8) for image in images],
        "blurred": [np.asarray(cv2.GaussianBlur(image, (0, 0), 2.5), np.uint8) for image in images],
        "frozen": [images[0]] * len(images),
        "dead": [],
    }


def _knocked(camera: Camera, rng: np.random.Generator, shift_m: float, turn_rad: float) -> Camera:
    """A camera elsewhere by so much and turned by so much, both in a random direction."""
    way, axis = rng.normal(size=3), rng.normal(size=3)
    turn = cv2.Rodrigues(turn_rad * axis / np.linalg.norm(axis))[0]
    rotation = turn @ camera.cam_from_world[:3, :3]
    place = camera.position_m + shift_m * way / np.linalg.norm(way)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ place
    return replace(camera, cam_from_world=pose)


def _angle(one: Camera, other: Camera) -> float:
    turn = cv2.Rodrigues(one.cam_from_world[:3, :3] @ other.cam_from_world[:3, :3].T)[0]
    return float(np.linalg.norm(turn))


def _floor_error_m(camera: Camera, true: Camera) -> float:
    width, height = camera.resolution_wh
    shares = np.linspace(*GRID_SHARES, 6)
    grid = np.stack(np.meshgrid(shares * width, shares * height), axis=-1).reshape(-1, 2)
    found, real = camera.floor_points(grid), true.floor_points(grid)
    near = np.linalg.norm(real - true.position_m[:2], axis=1) < 8.0  # beyond, shelves stand before the floor
    missed: FloatArray = np.linalg.norm(found - real, axis=1)[near]
    missed = missed[np.isfinite(missed)]
    return float(np.median(missed)) if len(missed) else float("nan")
