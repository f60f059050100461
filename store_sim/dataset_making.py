"""Pictures for training: random shops with people in them, rendered, spoiled by cheap cameras, exactly annotated."""

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from store_sim.bodies import pose
from store_sim.datasets import (
    IMAGES,
    PERSON,
    PRODUCT,
    AnnotatedFrame,
    TrackNumbers,
    from_picture,
    write_coco,
    write_yolo,
)
from store_sim.lens import CameraEffects, LensSettings
from store_sim.processes import deaf_to_ctrl_c, single_threaded
from store_sim.random_days import RandomDay
from store_sim.render import Renderer
from store_sim.scenarios import Scenario
from store_sim.world import STEPS_PER_S, World
from vision.arrays import FloatArray, ImageArray
from vision.cameras import Camera
from vision.layout import StoreLayout

TRAIN, VAL = "train", "val"
PICTURES_A_SHOP = 40
"""So many pictures are worth the second or two that building a shop costs, and few enough that shops differ often."""

POSE_FOLDER, COCO_FOLDER = "pose", "coco"

_GONDOLAS = (3, 12)  # cameras look no farther than 10 m or so: larger shops cost more and show nothing new
_CAMERAS_A_SHOP = 4
_PICTURE_EVERY_S = (0.8, 4.0)  # people must have moved before the next
_BEGINS_S = (5.0, 45.0)  # a shop that has just opened is emptier than shops are
_EMPTY_SHARE = 0.05  # pictures that may show nobody: a detector has to learn shelves too
_QUALITY = 92  # of the files; the camera's own compression is already in the pictures
_MOST_STEPS = 60 * 60 * STEPS_PER_S  # an hour of store time for the pictures of one shop: then something is wrong

_MOST_DAYS = 50

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MadeDataset:
    """What was made.

    Attributes:
        shops: Shops of each split, by name of the split.
        pictures: Pictures of each split.
        people: Annotated people in all.
        products: Annotated products in hands.
    """

    shops: dict[str, int]
    pictures: dict[str, int]
    people: int
    products: int


def annotated_frames(
    layout: StoreLayout,
    scenario: Scenario,
    seed: int,
    camera_ids: Sequence[str],
    *,
    every_steps: int = 3,
    keeps_order: bool = True,
    image_folder: str = "img1",
) -> Iterator[tuple[str, AnnotatedFrame, ImageArray]]:
    """Play a scenario and annotate what its cameras see, for instance for ``datasets.write_mot``.

    Args:
        layout: The store on that day.
        scenario: What happens.
        seed: Decides what the scenario leaves open.
        camera_ids: Cameras to see through.
        every_steps: Steps of the world, thirtieths of a second, from one picture to the next.
        keeps_order: See ``store_sim.world.World``.
        image_folder: The pictures' folder in the frames' paths; names count from 000001.

    Yields:
        Camera, annotations and the picture as the lens saw it, BGR, faultless. Tracks are numbered anew by each camera.

    Raises:
        ValueError: There is no such camera, or the scenario cannot be played.
    """
    world = World(layout, scenario, keeps_order=keeps_order)
    world.reset(seed)
    cameras = {camera.camera_id: camera for camera in world.layout.cameras}
    renderer = Renderer(world.layout, camera_ids, seed)
    tracks = {camera_id: TrackNumbers() for camera_id in camera_ids}
    step = 0
    while not world.done:
        world.step()
        step += 1
        if step % every_steps:
            continue
        figures = world.figures
        skeletons = pose(figures)
        for camera_id in camera_ids:
            picture = renderer.render(camera_id, figures, skeletons, world.goods, with_ids=True)
            path = f"{image_folder}/{step // every_steps:06d}.jpg"
            frame = from_picture(picture, cameras[camera_id], figures, skeletons, path, tracks[camera_id])
            yield camera_id, frame, picture.image


def make_dataset(
    out: Path,
    images: int,
    seed: int = 0,
    *,
    val_share: float = 0.2,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> MadeDataset:
    """Render random shops into a data set: ``coco/*.json``, YOLO boxes in the folder itself, YOLO poses in ``pose``.

    A shop's pictures are all in one split, so what is validated on was never seen in training: not the shelves, not the
    goods, not the light. Equal seeds and numbers of images give equal files, however many processes make them.

    Args:
        out: The folder; it must be new or empty.
        images: How many pictures, both splits together, from 2.
        seed: Decides everything.
        val_share: Share of the shops that are kept for validation, 0 to 1; at least one shop of each kind is made.
        processes: How many shops at a time; 1 makes them in this process.
        progress: Told after every shop: pictures made, pictures in all.

    Raises:
        OSError: The folder is not empty or cannot be written.
        ValueError: A number is out of range.
    """
    if images < 2:
        raise ValueError(f"data set: expected at least 2 pictures, one of each split, got {images}")
    if not 0 < val_share < 1:
        raise ValueError(f"data set: expected a share between 0 and 1 for validation, got {val_share}")
    if processes < 1:
        raise ValueError(f"data set: expected at least 1 process, got {processes}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out}: expected a new or an empty folder, there is something")
    jobs = _jobs(out, images, seed, val_share)
    for split in (TRAIN, VAL):
        (out / IMAGES / split).mkdir(parents=True, exist_ok=True)
    made: dict[int, tuple[AnnotatedFrame, ...]] = {}
    for number, frames in _all_made(jobs, min(processes, len(jobs))):
        made[number] = frames
        if progress is not None:
            progress(sum(len(each) for each in made.values()), images)
    splits: dict[str, list[AnnotatedFrame]] = {TRAIN: [], VAL: []}
    for number, job in enumerate(jobs):
        splits[job.split] += made[number]
    for split, own in splits.items():
        write_coco(out / COCO_FOLDER / f"{split}.json", own)
    write_yolo(out, splits, "detect")
    write_yolo(out / POSE_FOLDER, splits, "pose", pictures=out)
    every = [frame for own in splits.values() for frame in own]
    return MadeDataset(
        {split: sum(job.split == split for job in jobs) for split in splits},
        {split: len(own) for split, own in splits.items()},
        sum(int((frame.class_id == PERSON).sum()) for frame in every),
        sum(int((frame.class_id == PRODUCT).sum()) for frame in every),
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """One shop's pictures."""

    out: Path
    split: str
    shop: int
    seed: int
    images: int


def _jobs(out: Path, images: int, seed: int, val_share: float) -> list[_Job]:
    """Split the pictures evenly over shops, and the shops over training and validation."""
    # Few pictures still come from as many shops as it takes to keep that share of them for validation.
    shops = max(round(images / PICTURES_A_SHOP), min(images, max(2, round(1 / min(val_share, 1 - val_share)))))
    in_val = min(max(1, round(shops * val_share)), shops - 1)
    numbers = np.random.SeedSequence(seed).generate_state(shops, np.uint64)
    jobs = []
    for shop, own in enumerate(np.array_split(np.arange(images), shops)):
        # Spread evenly, so that progress tells of both.
        is_val = (shop + 1) * in_val // shops > shop * in_val // shops
        jobs.append(_Job(out, VAL if is_val else TRAIN, shop + 1, int(numbers[shop] >> np.uint64(1)), len(own)))
    return jobs


def _all_made(jobs: Sequence[_Job], processes: int) -> Iterator[tuple[int, tuple[AnnotatedFrame, ...]]]:
    if processes == 1:
        for number, job in enumerate(jobs):
            yield number, _made(job)
        return
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(processes, context, _calm) as pool:
        with single_threaded(), deaf_to_ctrl_c():  # giving out jobs starts the processes
            running: dict[Future[tuple[AnnotatedFrame, ...]], int] = {
                pool.submit(_made, job): number for number, job in enumerate(jobs)
            }
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        except BaseException:
            # Nobody waits for shops that nobody will look at.
            for child in multiprocessing.active_children():
                if child not in others:
                    child.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _calm() -> None:
    cv2.setNumThreads(1)  # there is a process for every core


def _made(job: _Job) -> tuple[AnnotatedFrame, ...]:
    """Build a shop, let people shop in it, and take pictures until there are enough."""
    rng = np.random.default_rng([job.seed, 1])
    frames: list[AnnotatedFrame] = []
    day = 0
    while len(frames) < job.images:
        gondolas = int(rng.integers(_GONDOLAS[0], _GONDOLAS[1] + 1))
        number = int(rng.integers(2**62))
        layout, scenario = RandomDay(number, gondolas, visits=12, shoppers_at_once=float(rng.uniform(2, 8))).made()
        before = len(frames)
        for frame, image in _taken(layout, scenario, number, rng, job.images - before):
            path = f"{IMAGES}/{job.split}/shop{job.shop:05d}_{len(frames) + 1:04d}.jpg"
            written, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
            if not written:
                raise OSError(f"{path}: the picture could not be encoded")
            (job.out / path).write_bytes(data.tobytes())
            frames.append(replace(frame, image_path=path))
        day += 1
        if len(frames) == before:
            _LOG.warning("shop %d, day %d: nobody came into a picture", job.shop, day)
        if day >= _MOST_DAYS:
            raise ValueError(f"data set: {job.images} pictures of shop {job.shop} are not to be had in {day} days")
    return tuple(frames)


def _taken(
    layout: StoreLayout, scenario: Scenario, seed: int, rng: np.random.Generator, images: int
) -> Iterator[tuple[AnnotatedFrame, ImageArray]]:
    """Play a day and take pictures at odd moments, each through a camera that has somebody before it."""
    world = World(layout, scenario, keeps_order=False)
    world.reset(seed)
    every = world.layout.cameras
    if not every:
        return
    chosen = [every[k] for k in sorted(rng.choice(len(every), min(_CAMERAS_A_SHOP, len(every)), replace=False))]
    renderer = Renderer(world.layout, [camera.camera_id for camera in chosen], seed)
    effects = {camera.camera_id: CameraEffects(random_lens(rng), rng.spawn(1)[0]) for camera in chosen}
    tracks = {camera.camera_id: TrackNumbers() for camera in chosen}
    due, taken = round(float(rng.uniform(*_BEGINS_S)) * STEPS_PER_S), 0
    for step in range(_MOST_STEPS):
        if world.done or taken >= images:
            return
        world.step()
        if step < due or not world.people_inside:
            continue
        figures = world.figures
        may_be_empty = rng.random() < _EMPTY_SHARE
        before = [camera for camera in chosen if may_be_empty or _in_view(camera, figures.position_m)]
        if not before:
            continue
        camera = before[int(rng.integers(len(before)))]
        skeletons = pose(figures)
        picture = renderer.render(camera.camera_id, figures, skeletons, world.goods, with_ids=True)
        image = effects[camera.camera_id].apply(picture.image, world.now_ns)
        due = step + round(float(rng.uniform(*_PICTURE_EVERY_S)) * STEPS_PER_S)
        if image is None:  # the camera lost it
            continue
        frame = from_picture(picture, camera, figures, skeletons, "picture.jpg", tracks[camera.camera_id])
        if len(frame) or may_be_empty:
            taken += 1
            yield frame, image


def _in_view(camera: Camera, position_m: FloatArray) -> bool:
    """Tell whether the chest of somebody, 1.2 m above where they stand, lies in a camera's picture."""
    chests = np.concatenate([position_m, np.full((len(position_m), 1), 1.2)], axis=1)
    points = camera.image_points(chests)
    with np.errstate(invalid="ignore"):
        return bool(((points >= 0) & (points < np.array(camera.resolution_wh))).all(axis=1).any())


def random_lens(rng: np.random.Generator) -> LensSettings:
    """Draw a camera from good to bad, around the cheap dome that is the default."""
    usual = LensSettings()
    worse = float(np.exp(rng.normal(0, 0.35)))
    return LensSettings(
        blur_px=usual.blur_px * worse * float(rng.uniform(0.5, 1.6)),
        vignette=float(rng.uniform(0, 0.4)),
        exposure_wander=usual.exposure_wander * float(rng.uniform(1, 3)),
        tint_wander=usual.tint_wander * float(rng.uniform(1, 3)),
        shot_noise=usual.shot_noise * worse * float(rng.uniform(0.5, 4)),
        read_noise=usual.read_noise * worse * float(rng.uniform(0.5, 4)),
        contrast=float(rng.uniform(0, 2 * usual.contrast)),
        sharpening=float(rng.uniform(0, 1.5 * usual.sharpening)),
        ghosting=0.0,  # pictures are seconds apart: there is no last one to shine through
        jpeg_quality=int(rng.integers(40, 90)),
        drops_per_s=0.0,
    )
