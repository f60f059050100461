"""Pictures that our own networks learn from: crowds drawn anew for every picture, and what each hand holds.

``dataset_making`` plays days as they happen, so its pictures show what shops show. Networks learn sooner from more than
that: more people at once, in more clothes, who reach everywhere, hold anything in either hand or hold nothing with an
arm raised, seen by cameras in corners, along aisles and steeply from above. A day is played here, too, but its people
change clothes and others are put among them, and one shop serves for many pictures, because building it costs most.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from store_sim.bodies import BUILDS, CHILD, coco_keypoints, pose
from store_sim.dataset_making import random_lens
from store_sim.figures import Figures, Goods, Whereabouts
from store_sim.lens import CameraEffects
from store_sim.processes import deaf_to_ctrl_c, single_threaded
from store_sim.random_days import RandomDay
from store_sim.render import Picture, Renderer, Thing, keypoints_seen, visible_boxes
from store_sim.world import STEPS_PER_S, World
from vision.arrays import BoolArray, FloatArray, ImageArray, IntArray, check_shape
from vision.cameras import Camera, looking_at
from vision.detections import KEYPOINT_COUNT
from vision.layout import StoreLayout

PICTURES_A_SHOP = 64
"""Building a shop and what eight cameras see of it takes 3 s, a picture 50 ms: more would show less that is new."""

_OWN_CAMERAS, _OTHER_CAMERAS = 4, 4
_WH = (640, 360)
_FOCALS_PX = (280.0, 440.0)  # 98 to 72 degrees across: cheap domes, a little beyond both ends
_HEIGHTS_M = (2.1, 3.3)
_GONDOLAS = (3, 10)
_STEP_S = (0.4, 1.5)  # between pictures: clothes, cameras and strangers change, so people need not have moved far
_NEW_CLOTHES_EVERY = 4  # pictures
_STRANGERS = (0, 6)
_SPARES = 64  # units that can be put into hands
_APART_M = 0.4  # between the middles of two strangers: shoulder to shoulder
_EMPTY_SHARE = 0.06
_SMALLEST_PX = 5.0
_MOST_HIDDEN = 0.93
_HELD_SEEN = 0.15  # share of a held unit that must be seen for a network to be told of it
_ADULT_M, _ADULT_SPREAD_M = 1.70, 0.09  # mean and standard deviation over men and women
_CHILD_M = (1.05, 1.5)
_QUALITY = 93

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PosedPeople:
    """The people in one picture, one row each.

    Attributes:
        xyxy: Boxes around what is to be seen of each, shape (n, 4), float32, pixels.
        hidden: Share of each silhouette that something else hides, shape (n,), float32.
        keypoints: COCO's 17 points (x, y, visibility), shape (n, 17, 3), float32; visibility 2 seen, 1 hidden, 0 not in
            the picture, and then x and y are 0.
        holds: What the left and right hand do, shape (n, 2), int64: 1 holds something that can be seen, 0 nothing,
            -1 holds something that is hidden.
        held_xyxy: Box around what each hand holds, shape (n, 2, 4), float32; nan where ``holds`` is not 1.
    """

    xyxy: FloatArray
    hidden: FloatArray
    keypoints: FloatArray
    holds: IntArray
    held_xyxy: FloatArray

    def __post_init__(self) -> None:
        n = len(self.xyxy)
        check_shape("PosedPeople.xyxy", self.xyxy, (n, 4))
        check_shape("PosedPeople.hidden", self.hidden, (n,))
        check_shape("PosedPeople.keypoints", self.keypoints, (n, KEYPOINT_COUNT, 3))
        check_shape("PosedPeople.holds", self.holds, (n, 2))
        check_shape("PosedPeople.held_xyxy", self.held_xyxy, (n, 2, 4))

    def __len__(self) -> int:
        return len(self.xyxy)


@dataclass(frozen=True, slots=True)
class PosedShelf:
    """Pictures of one shop as they lie in one file, encoded, with everybody in them.

    Attributes:
        jpeg: The encoded pictures one after the other, shape (b,), uint8.
        jpeg_end: Where each ends, shape (p,), int64.
        people_end: Where each picture's people end in ``people``, shape (p,), int64.
        people: Everybody, in the pictures' order.
    """

    jpeg: NDArray[np.uint8]
    jpeg_end: IntArray
    people_end: IntArray
    people: PosedPeople

    def __len__(self) -> int:
        return len(self.jpeg_end)

    def image(self, row: int) -> ImageArray:
        """Decode a picture, shape (h, w, 3), BGR.

        Raises:
            ValueError: It is damaged.
        """
        start = int(self.jpeg_end[row - 1]) if row else 0
        image = cv2.imdecode(self.jpeg[start : int(self.jpeg_end[row])], cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"picture {row}: expected a JPEG, got something else")
        return np.asarray(image, np.uint8)

    def people_in(self, row: int) -> PosedPeople:
        """Give the people in a picture."""
        rows = slice(int(self.people_end[row - 1]) if row else 0, int(self.people_end[row]))
        return PosedPeople(**{field.name: getattr(self.people, field.name)[rows] for field in fields(PosedPeople)})


def posed_pictures(number: int, count: int) -> Iterator[tuple[ImageArray, PosedPeople]]:
    """Make pictures of the random shop of a number.

    Args:
        number: Decides everything.
        count: How many pictures.

    Yields:
        A picture, shape (360, 640, 3), uint8 BGR, as a cheap camera gives it, and who is in it.
    """
    rng = np.random.default_rng([number, 2])
    gondolas = int(rng.integers(_GONDOLAS[0], _GONDOLAS[1] + 1))
    at_once = float(rng.uniform(2, 7))
    made, day = 0, 0
    while made < count:
        layout, scenario = RandomDay(number + day, gondolas, visits=14, shoppers_at_once=at_once).made()
        world = World(layout, scenario, keeps_order=False)
        world.reset(number)
        cameras = _cameras(rng, world.layout)
        renderer = Renderer(replace(world.layout, cameras=cameras), [each.camera_id for each in cameras], number)
        effects = {camera.camera_id: CameraEffects(random_lens(rng), rng.spawn(1)[0]) for camera in cameras}
        spare_sku = rng.integers(0, len(world.goods.skus), _SPARES).astype(world.goods.sku_index.dtype)
        due = round(float(rng.uniform(8, 40)) * STEPS_PER_S)
        while made < count and not world.done:
            for _ in range(due):
                if not world.done:
                    world.step()
            due = round(float(rng.uniform(*_STEP_S)) * STEPS_PER_S)
            if made % _NEW_CLOTHES_EVERY == 0:
                wardrobe = rng.integers(0, 2**31, 64)
            figures, goods = _crowd(rng, world, wardrobe, spare_sku)
            camera = cameras[int(rng.integers(len(cameras)))]
            skeletons = pose(figures)
            picture = renderer.render(camera.camera_id, figures, skeletons, goods, with_ids=True)
            people = _people(picture, camera, figures, coco_keypoints(skeletons), goods)
            if not len(people) and rng.random() > _EMPTY_SHARE:
                continue
            image = effects[camera.camera_id].apply(picture.image, world.now_ns)
            if image is None:
                continue
            made += 1
            yield image, people
        day += 1


def make_posed_shelf(file: Path, number: int, count: int) -> None:
    """Write pictures of the random shop of a number to one file.

    Raises:
        OSError: The file cannot be written.
    """
    jpegs, everybody = [], []
    for image, people in posed_pictures(number, count):
        written, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if not written:
            raise OSError(f"{file}: a picture could not be encoded")
        jpegs.append(np.asarray(data, np.uint8).ravel())
        everybody.append(people)
    arrays: dict[str, NDArray[Any]] = {
        field.name: np.concatenate([getattr(people, field.name) for people in everybody])
        for field in fields(PosedPeople)
    }
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez(
            stream,
            allow_pickle=False,
            jpeg=np.concatenate(jpegs),
            jpeg_end=np.cumsum([len(data) for data in jpegs]),
            people_end=np.cumsum([len(people) for people in everybody]),
            **arrays,
        )
    part.replace(file)


def read_posed_shelf(file: Path) -> PosedShelf:
    """Read what ``make_posed_shelf`` wrote.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is something else.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            people = PosedPeople(**{field.name: arrays[field.name] for field in fields(PosedPeople)})
            return PosedShelf(arrays["jpeg"], arrays["jpeg_end"], arrays["people_end"], people)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{file}: expected a shelf of pictures: {error}") from error


def make_posed_dataset(
    folder: Path,
    shops: int,
    seed: int,
    *,
    count: int = PICTURES_A_SHOP,
    processes: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write pictures of many random shops, one file a shop; files that are there already are kept.

    Args:
        folder: Where to; made if it is not there.
        shops: How many shops.
        seed: Decides everything; sets of different seeds share no shop.
        count: Pictures of each shop.
        processes: How many shops at a time.
        progress: Told how many shops are there, after each.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.SeedSequence([seed, 77]).generate_state(shops, np.uint64) >> np.uint64(3)
    jobs = [(folder / f"shop{shop + 1:05d}.npz", int(number)) for shop, number in enumerate(numbers)]
    jobs = [(file, number) for file, number in jobs if not file.exists()]
    tell = progress or (lambda done: None)
    there = shops - len(jobs)
    tell(there)
    if processes == 1:
        for done, (file, number) in enumerate(jobs, there + 1):
            make_posed_shelf(file, number, count)
            tell(done)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _calm) as pool:
        with single_threaded(), deaf_to_ctrl_c():
            futures = [pool.submit(make_posed_shelf, file, number, count) for file, number in jobs]
        for done, future in enumerate(futures, there + 1):
            future.result()
            tell(done)


def _calm() -> None:
    cv2.setNumThreads(1)  # there is a process for every core


def _cameras(rng: np.random.Generator, layout: StoreLayout) -> tuple[Camera, ...]:
    """Some of the shop's own cameras, and others as somebody else might have hung them."""
    own = layout.cameras
    chosen = [own[row] for row in sorted(rng.choice(len(own), min(_OWN_CAMERAS, len(own)), replace=False).tolist())]
    low, high = _floor(layout).min(axis=0), _floor(layout).max(axis=0)
    low = np.array([low[0], max(low[1], 0.0)])  # not out on the street
    middle = (low + high) / 2
    for number in range(_OTHER_CAMERAS):
        focal_px = float(rng.uniform(*_FOCALS_PX))
        intrinsics = np.array([[focal_px, 0, _WH[0] / 2], [0, focal_px, _WH[1] / 2], [0, 0, 1]])
        distortion = np.array([float(rng.uniform(-0.12, 0.0)), float(rng.uniform(0, 0.02)), 0, 0, 0])
        height_m = float(rng.uniform(*_HEIGHTS_M))
        kind = ("corner", "corner", "aisle", "above")[number % 4]
        if kind == "corner":
            # Under the ceiling in a corner of the floor, as of a small shop, looking over it.
            side = rng.integers(0, 2, 2)
            place = np.where(side == 1, high - 0.2, low + 0.2)
            inward = np.sign(middle - place)
            away_m = float(rng.uniform(2.0, 4.5))
            aim = np.array([*(place + inward * away_m * rng.uniform(0.45, 0.9, 2)), float(rng.uniform(0.3, 1.2))])
        else:
            place = rng.uniform(low + 0.3, high - 0.3)
            way = float(rng.uniform(0, 2 * np.pi))
            away_m, aim_z = (float(rng.uniform(3, 7)), 1.0) if kind == "aisle" else (float(rng.uniform(0.3, 1.5)), 0.5)
            aim = np.array([place[0] + np.cos(way) * away_m, place[1] + np.sin(way) * away_m, aim_z])
        cam_from_world = looking_at(np.array([*place, height_m]), aim)
        chosen.append(Camera(f"other{number + 1}", intrinsics, distortion, cam_from_world, _WH))
    return tuple(chosen)


def _crowd(rng: np.random.Generator, world: World, wardrobe: IntArray, spare_sku: IntArray) -> tuple[Figures, Goods]:
    """The people of the day in other clothes, with strangers among them, and goods put into some of their hands."""
    own = world.figures
    dressed = replace(
        own,
        build=np.array([_build(np.random.default_rng(int(seed))) for seed in wardrobe[: len(own)]], np.int64),
        outfit=wardrobe[: len(own)].astype(np.int64),
    )
    strangers = _strangers(rng, world, wardrobe[32:], own.position_m)
    figures = Figures(
        (*dressed.person_id, *strangers.person_id),
        **{
            field.name: np.concatenate([getattr(dressed, field.name), getattr(strangers, field.name)])
            for field in fields(Figures)
            if field.name != "person_id"
        },
    )
    return figures, _handed_out(rng, world.goods, spare_sku, strangers, dressed)


def _floor(layout: StoreLayout) -> FloatArray:
    assert layout.walkable_m is not None  # random shops say where their floor is
    return layout.walkable_m


def _build(rng: np.random.Generator) -> int:
    return CHILD if rng.random() < 0.06 else int(rng.integers(len(BUILDS) - 1))


def _strangers(rng: np.random.Generator, world: World, wardrobe: IntArray, taken_m: FloatArray) -> Figures:
    """People who stand, walk and reach anywhere, mostly before shelves."""
    layout = world.layout
    boxes = [a_bin.box for a_bin in layout.bins if a_bin.box is not None]
    outline = _floor(layout).astype(np.float32)
    low, high = outline.min(axis=0), outline.max(axis=0)
    places: list[FloatArray] = []
    headings: list[float] = []
    grips: list[FloatArray] = []
    for _ in range(int(rng.integers(_STRANGERS[0], _STRANGERS[1] + 1))):
        grip = np.full((2, 3), np.nan)
        if rng.random() < 0.6 and boxes:
            box = boxes[int(rng.integers(len(boxes)))]
            share = rng.uniform([0.1, 0.0, 0.05], [0.9, 0.6, 0.7])
            point = (box.world_from_box @ [*(box.size_m * share), 1.0])[:3]
            outward = -box.world_from_box[:2, 1]
            aside = np.array([-outward[1], outward[0]]) * float(rng.normal(0, 0.25))
            place = point[:2] + outward * (float(rng.uniform(0.35, 0.6)) + share[1] * box.size_m[1]) + aside
            heading = float(np.arctan2(-outward[1], -outward[0]) + rng.normal(0, 0.35))
            if rng.random() < 0.75:
                grip[int(rng.integers(2))] = point
            if rng.random() < 0.25:
                grip[int(rng.integers(2))] = point + rng.normal(0, 0.15, 3)
        else:
            place = rng.uniform(low, high)
            heading = float(rng.uniform(-np.pi, np.pi))
            for hand, chance in enumerate(rng.random(2)):
                if chance < 0.3:
                    ahead, aside_m = rng.uniform(0.05, 0.65), rng.uniform(-0.15, 0.5) * (1 - 2 * hand)
                    turned = [
                        ahead * np.cos(heading) - aside_m * np.sin(heading),
                        ahead * np.sin(heading) + aside_m * np.cos(heading),
                    ]
                    grip[hand] = [*(place + turned), rng.uniform(0.3, 1.9)]
        inside = cv2.pointPolygonTest(outline[:, None], (float(place[0]), float(place[1])), False) > 0
        others = np.concatenate([taken_m, np.array(places).reshape(-1, 2)])
        if not inside or (len(others) and np.linalg.norm(others - place, axis=1).min() < _APART_M):
            continue
        places.append(place)
        headings.append(heading)
        grips.append(grip)
    n = len(places)
    build = np.array([_build(np.random.default_rng(int(seed))) for seed in wardrobe[:n]], np.int64)
    height = np.where(
        build == CHILD,
        rng.uniform(*_CHILD_M, n),
        np.clip(_ADULT_M + _ADULT_SPREAD_M * rng.standard_normal(n), 1.45, 2.05),
    )
    reaching = np.isfinite(np.array(grips).reshape(n, 2, 3)[:, :, 0])
    walking = (rng.random(n) < 0.4) & ~reaching.any(axis=1)
    return Figures(
        tuple(f"stranger{row}" for row in range(n)),
        build,
        wardrobe[:n].astype(np.int64),
        height,
        np.array(places).reshape(n, 2),
        np.array(headings),
        np.where(walking, rng.uniform(0.3, 1.5, n), 0.0),
        rng.random(n),
        np.array(grips).reshape(n, 2, 3),
        np.where(reaching, np.where(rng.random((n, 2)) < 0.6, 1.0, rng.uniform(0.1, 1.0, (n, 2))), 0.0),
        rng.random((n, 2)) < 0.3,
        rng.random(n) < 0.35,
        (rng.random(n) < 0.08) & ~reaching.any(axis=1),
    )


def _handed_out(rng: np.random.Generator, goods: Goods, spare_sku: IntArray, strangers: Figures, own: Figures) -> Goods:
    """Put spare units into hands. They lie on no shelf, so that no shelf has to be drawn again without them."""
    holders = (*goods.holders, *strangers.person_id)
    busy = {
        (goods.holders[goods.holder[unit]], int(goods.hand[unit]))
        for unit in np.flatnonzero(goods.whereabouts == Whereabouts.HAND).tolist()
    }
    n, spares = len(goods.sku_index), len(spare_sku)
    whereabouts = np.append(goods.whereabouts, np.full(spares, int(Whereabouts.GONE), goods.whereabouts.dtype))
    holder = np.append(goods.holder, np.full(spares, -1, goods.holder.dtype))
    hands = np.append(goods.hand, np.zeros(spares, goods.hand.dtype))
    unused = rng.permutation(spares).tolist()
    for figures, chance in ((strangers, 0.5), (own, 0.2)):
        for row, person in enumerate(figures.person_id):
            for hand in range(2):
                raised = bool(figures.carries[row, hand]) or figures.reach[row, hand] > 0.5
                if (person, hand) in busy or rng.random() >= (chance if raised else 0.3 * chance):
                    continue
                # Now and then a hand has two.
                for _ in range(1 if rng.random() < 0.9 else 2):
                    if unused and person in holders:
                        unit = n + unused.pop()
                        whereabouts[unit], holder[unit], hands[unit] = Whereabouts.HAND, holders.index(person), hand
    return replace(
        goods,
        sku_index=np.append(goods.sku_index, spare_sku),
        mass_g=np.append(goods.mass_g, np.zeros(spares)),
        whereabouts=whereabouts,
        position_m=np.concatenate([goods.position_m, np.zeros((spares, 3))]),
        yaw_rad=np.append(goods.yaw_rad, np.zeros(spares)),
        holder=holder,
        hand=hands,
        holders=holders,
    )


def _people(picture: Picture, camera: Camera, figures: Figures, points_m: FloatArray, goods: Goods) -> PosedPeople:
    """Annotate everybody of whom enough is to be seen."""
    boxes = visible_boxes(picture)
    sides = boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]
    is_person = boxes.kind == int(Thing.PERSON)
    rows = np.flatnonzero(is_person & (sides >= _SMALLEST_PX).all(axis=1) & (1 - boxes.share <= _MOST_HIDDEN))
    n, who = len(rows), boxes.row[rows]
    keypoints = np.zeros((n, KEYPOINT_COUNT, 3), np.float32)
    if n:
        seen = keypoints_seen(picture, camera, points_m)[who]
        flat = camera.image_points(points_m[who].reshape(-1, 3)).reshape(n, KEYPOINT_COUNT, 2)
        keypoints[..., :2] = np.where(seen[..., None] > 0, flat, 0)
        keypoints[..., 2] = seen
    holds = np.zeros((n, 2), np.int64)
    held = np.full((n, 2, 4), np.nan, np.float32)
    place = {figures.person_id[row]: k for k, row in enumerate(who.tolist())}
    for unit in np.flatnonzero(goods.whereabouts == Whereabouts.HAND).tolist():
        k = place.get(goods.holders[goods.holder[unit]])
        if k is not None and holds[k, goods.hand[unit]] == 0:
            holds[k, goods.hand[unit]] = -1
    units: BoolArray = (boxes.kind == int(Thing.UNIT)) & (boxes.share > _HELD_SEEN)
    for row in np.flatnonzero(units & (sides >= 2).all(axis=1)).tolist():
        unit = int(boxes.row[row])
        if goods.whereabouts[unit] != Whereabouts.HAND:
            continue  # in a trolley
        k, hand = place.get(goods.holders[goods.holder[unit]]), int(goods.hand[unit])
        if k is None:
            continue
        box = boxes.xyxy[row]
        if holds[k, hand] == 1:  # several units in one hand are one thing to be found
            held[k, hand] = [*np.minimum(held[k, hand, :2], box[:2]), *np.maximum(held[k, hand, 2:], box[2:])]
        else:
            holds[k, hand], held[k, hand] = 1, box
    hidden = np.clip(1 - boxes.share[rows], 0, 1).astype(np.float32)
    return PosedPeople(boxes.xyxy[rows].astype(np.float32), hidden, keypoints, holds, held)
