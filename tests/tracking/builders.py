"""Builds what tracking is fed: cameras around a floor, people who walk through their pictures, hands, and a shelf."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tracking.identities import IdentitySettings, IdentityTracker
from tracking.types import HandContact, Identities, Sightings, Tracks, WeightChange
from vision.arrays import FloatArray
from vision.cameras import Camera
from vision.frames import JOINT_NAMES, TrackedBodies
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout
from vision.pose import body_feet

NANOSECONDS = 1_000_000_000
RATE_HZ = 15.0
RESOLUTION_WH = (1280, 720)
HEIGHT_M = 1.75

# COCO's 17 points of somebody standing and facing along x: forward, to the left, up; shares of their height
# (Drillis & Contini, Body Segment Parameters, 1966).
STANDING = HEIGHT_M * np.array(
    [
        (0.06, 0.0, 0.93),
        (0.05, 0.02, 0.95),
        (0.05, -0.02, 0.95),
        (0.0, 0.04, 0.94),
        (0.0, -0.04, 0.94),
        (0.0, 0.129, 0.818),
        (0.0, -0.129, 0.818),
        (0.02, 0.14, 0.63),
        (0.02, -0.14, 0.63),
        (0.1, 0.14, 0.5),
        (0.1, -0.14, 0.5),
        (0.0, 0.095, 0.53),
        (0.0, -0.095, 0.53),
        (0.0, 0.09, 0.285),
        (0.0, -0.09, 0.285),
        (0.0, 0.09, 0.039),
        (0.0, -0.09, 0.039),
    ]
)
HANDS = 0.375  # the grip beyond the wrist, as a share of the forearm

Place = tuple[float, float]
Way = Callable[[float], Place | None]


def nanoseconds(time_s: float) -> int:
    return round(time_s * NANOSECONDS)


def a_camera(
    camera_id: str, position_m: Sequence[float], looks_at_m: Sequence[float], focal_px: float = 700.0
) -> Camera:
    """A camera without distortion, level with the horizon, that looks from one point at another."""
    position, target = np.array(position_m, float), np.array(looks_at_m, float)
    ahead = (target - position) / np.linalg.norm(target - position)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = np.stack([right, np.cross(ahead, right), ahead])
    cam_from_world[:3, 3] = -cam_from_world[:3, :3] @ position
    width, height = RESOLUTION_WH
    intrinsics = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    return Camera(camera_id, intrinsics, np.zeros(5), cam_from_world, RESOLUTION_WH)


def ring_of_cameras(count: int, *, radius_m: float = 5.0, height_m: float = 3.0) -> tuple[Camera, ...]:
    """Cameras under the ceiling around the origin, evenly over the circle but never opposite each other."""
    angles = 2 * np.pi * np.arange(count) / (count if count % 2 else count + 1)
    return tuple(
        a_camera(f"c{i}", (radius_m * np.cos(angle), radius_m * np.sin(angle), height_m), (0.0, 0.0, 0.8))
        for i, angle in enumerate(angles)
    )


def square(half_m: float, centre_m: Place = (0.0, 0.0)) -> FloatArray:
    """A walkable floor."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)
    return np.asarray(corners * half_m + centre_m)


def a_store(cameras: Sequence[Camera], *, half_m: float = 3.0, exit_m: FloatArray | None = None) -> StoreLayout:
    """A bare floor under cameras."""
    return StoreLayout("floor", cameras=tuple(cameras), walkable_m=square(half_m), exit_m=exit_m)


def body_m(place: Place, facing_rad: float = 0.0, hands_m: FloatArray | None = None) -> FloatArray:
    """COCO's 17 points of somebody, shape (17, 3), metres; with both grips, shape (2, 3), where they are told to be."""
    turn = np.array([[np.cos(facing_rad), -np.sin(facing_rad)], [np.sin(facing_rad), np.cos(facing_rad)]])
    points = STANDING.copy()
    points[:, :2] = points[:, :2] @ turn.T + place
    if hands_m is not None:
        points[7:9] = (points[5:7] + hands_m) / 2
        points[9:11] = points[7:9] + (hands_m - points[7:9]) / (1 + HANDS)
    return points


@dataclass(frozen=True)
class Seen:
    """Somebody in one camera's picture, as a tracker would tell it.

    Attributes:
        track_id: The camera's own number for them.
        xyxy: Their box, pixels.
        keypoints: COCO's 17 points (x, y, visibility).
        floor_m: Where their feet are taken to be, metres.
    """

    track_id: int
    xyxy: FloatArray
    keypoints: FloatArray
    floor_m: FloatArray


def seen_by(
    camera: Camera, track_id: int, body: FloatArray, rng: np.random.Generator, noise_px: float = 2.0
) -> Seen | None:
    """What a camera sees of a body, shape (17, 3), standing in its picture; None when too little of it is inside."""
    around = np.array([(dx, dy) for dx in (-0.12, 0.12) for dy in (-0.12, 0.12)])
    stands = body[[15, 16], :2].mean(axis=0)
    hull = [np.array([*(stands + step), z]) for step in around for z in (0.0, HEIGHT_M)]
    outline = camera.image_points(np.vstack([body, *hull]))
    if np.isnan(outline).any():
        return None
    outline = outline + rng.normal(0, noise_px, outline.shape)
    limits = np.array(camera.resolution_wh, float)
    whole = np.concatenate([outline.min(axis=0), outline.max(axis=0)])
    box = np.concatenate([np.clip(whole[:2], 0, limits), np.clip(whole[2:], 0, limits)])
    if np.prod(box[2:] - box[:2]) < 0.4 * np.prod(whole[2:] - whole[:2]):
        return None
    keypoints = np.column_stack([outline[:17], np.full(17, 0.9)])
    outside = ((keypoints[:, :2] < 0) | (keypoints[:, :2] >= limits)).any(axis=1)
    keypoints[outside, 2] = 0.1
    floor_m = camera.floor_points(body_feet(box[None], keypoints[None], camera.resolution_wh))[0]
    return Seen(track_id, box, keypoints, floor_m)


def tracks_of(
    camera_id: str, time_s: float, rows: Sequence[Seen], first_s: Mapping[int, float] | None = None
) -> Tracks:
    """One camera's tracks at one instant."""
    n = len(rows)
    first_s = first_s or {}
    return Tracks(
        camera_id,
        nanoseconds(time_s),
        np.array([row.track_id for row in rows], np.int64),
        np.array([row.xyxy for row in rows], np.float32).reshape(-1, 4),
        np.full(n, 0.9, np.float32),
        np.zeros(n, np.int64),
        np.array([row.keypoints for row in rows]).reshape(n, 17 if n else 0, 3),
        np.array([row.floor_m for row in rows]).reshape(-1, 2),
        np.array([nanoseconds(first_s.get(row.track_id, time_s)) for row in rows], np.int64),
    )


def film(
    cameras: Sequence[Camera],
    ways: Sequence[Way],
    seconds: float,
    *,
    rng: np.random.Generator,
    noise_px: float = 2.0,
    dead: Callable[[str, float], bool] = lambda camera_id, time_s: False,
    blind: Callable[[str, int, float], bool] = lambda camera_id, person, time_s: False,
    spoil: Callable[[str, Seen, float], Seen] = lambda camera_id, seen, time_s: seen,
) -> list[tuple[int, list[Tracks]]]:
    """Let cameras follow people who walk.

    Args:
        cameras: The cameras.
        ways: Where each person is at a time in seconds; None while they are not in the shop. A person's track has the
            same number in every camera of a time without interruption, and a new one after each.
        seconds: How long.
        rng: Where the noise comes from.
        noise_px: Error of every point in the picture.
        dead: Whether a camera gives no picture at a time.
        blind: Whether somebody is hidden from a camera at a time.
        spoil: What a camera makes of what it sees.
    """
    ticks = []
    numbers: dict[tuple[str, int], int] = {}
    next_number = {camera.camera_id: 1 for camera in cameras}
    previous = [way(0.0) for way in ways]
    facing = [0.0 for _ in ways]
    for k in range(round(seconds * RATE_HZ)):
        time_s = k / RATE_HZ
        places = [way(time_s) for way in ways]
        for i, (place, before) in enumerate(zip(places, previous, strict=True)):
            if place is not None and before is not None and np.hypot(place[0] - before[0], place[1] - before[1]) > 0.01:
                facing[i] = float(np.arctan2(place[1] - before[1], place[0] - before[0]))
        views = []
        for camera in cameras:
            if dead(camera.camera_id, time_s):
                continue
            rows = []
            for i, place in enumerate(places):
                key = camera.camera_id, i
                hidden = place is None or blind(camera.camera_id, i, time_s)
                number = numbers.get(key, next_number[camera.camera_id])
                seen = (
                    None
                    if place is None or hidden
                    else seen_by(camera, number, body_m(place, facing[i]), rng, noise_px)
                )
                if seen is None:
                    numbers.pop(key, None)
                    continue
                if key not in numbers:
                    numbers[key] = number
                    next_number[camera.camera_id] += 1
                rows.append(spoil(camera.camera_id, seen, time_s))
            views.append(tracks_of(camera.camera_id, time_s, rows))
        ticks.append((nanoseconds(time_s), views))
        previous = places
    return ticks


def follow(
    layout: StoreLayout, ticks: Sequence[tuple[int, list[Tracks]]], settings: IdentitySettings | None = None
) -> list[Identities]:
    tracker = IdentityTracker(layout, settings)
    return [tracker.update(time_ns, views) for time_ns, views in ticks]


def everybody(people: Sequence[Identities]) -> list[int]:
    """All ids in the order in which they came."""
    return list(dict.fromkeys(int(i) for instant in people for i in instant.identity_id))


def who_stands_at(people: Identities, place: Place, within_m: float = 0.4) -> int | None:
    """The identity nearest to a place, if one is near."""
    if not len(people):
        return None
    distances = np.linalg.norm(people.position_m - np.array(place), axis=1)
    return int(people.identity_id[distances.argmin()]) if distances.min() <= within_m else None


def stands(place: Place) -> Way:
    return lambda time_s: place


def walks(start: Place, end: Place, from_s: float = 0.0, to_s: float = 4.0) -> Way:
    """Stands, walks from one place to another, stands again."""

    def at(time_s: float) -> Place:
        share = float(np.clip((time_s - from_s) / (to_s - from_s), 0, 1))
        return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])

    return at


BIN_M = np.array([0.3, 0.4, 0.3])
SHELF_FRONT_M = 0.0
SHELF_HEIGHTS_M = (0.6, 1.0)
BINS_A_SHELF = 4


def a_shelf(*, plates: bool = False) -> StoreLayout:
    """Two shelves of four bins along x whose front is the plane y = 0 and whose floor is at 0.6 and 1.0 m.

    Bin ``1/0`` is the left one of the lower shelf, and holds product ``sku-1-0``, which weighs 400 g.
    """
    bins, plate_list, products = [], [], []
    for shelf, height_m in enumerate(SHELF_HEIGHTS_M, start=1):
        for place in range(BINS_A_SHELF):
            world_from_box = np.eye(4)
            world_from_box[:3, 3] = (BIN_M[0] * place, SHELF_FRONT_M, height_m)
            box = Box(world_from_box, BIN_M)
            name = f"{shelf}/{place}"
            plate_id = f"1/{name}"
            if plates:
                plate_list.append(Plate(plate_id, 1, shelf, place, box))
            sku = f"sku-{shelf}-{place}"
            products.append(ProductRecord(sku, sku, 400.0 + 150 * place + 37 * shelf, 250, "EUR"))
            bins.append(Bin(name, sku, 1, shelf, (plate_id,) if plates else (), box, capacity=8))
    return StoreLayout("shelf", bins=tuple(bins), plates=tuple(plate_list), products=tuple(products))


def grip_in(layout: StoreLayout, bin_id: str, *, into_m: float = 0.15, up_m: float = 0.08) -> FloatArray:
    """Where a hand is that grips something in a bin, shape (3,): so far behind its front and above its floor."""
    box = layout.bin(bin_id).box
    assert box is not None
    return np.asarray(box.world_from_box[:3, :3] @ [box.size_m[0] / 2, into_m, up_m] + box.world_from_box[:3, 3])


def at_instant(
    time_s: float,
    hands: Mapping[int, Sequence[Sequence[float] | FloatArray | None]],
    sightings: tuple[Sightings, ...] = (),
) -> Identities:
    """Everybody's hands at one instant: up to two points for each identity, None for a hand that is not seen."""
    n = len(hands)
    hands_m = np.full((n, 2, 3), np.nan)
    for row, points in enumerate(hands.values()):
        for side, point in enumerate(points):
            if point is not None:
                hands_m[row, side] = point
    times_ns = np.full(n, nanoseconds(time_s), np.int64)
    return Identities(
        nanoseconds(time_s),
        np.array(list(hands), np.int64),
        np.nan_to_num(hands_m[:, 0, :2]) - np.array([0.0, 0.6]),
        np.zeros((n, 2)),
        np.tile(np.eye(2) * 0.01, (n, 1, 1)),
        hands_m,
        np.where(np.isfinite(hands_m).all(axis=2), 0.03, np.nan),
        np.zeros(n, np.int64),
        times_ns,
        sightings,
    )


def a_sighting(camera_id: str, time_s: float, hands_px: Mapping[int, Sequence[Place | None]]) -> Sightings:
    """Where one camera sees the hands of identities, pixels."""
    n = len(hands_px)
    points = np.full((n, 2, 2), np.nan)
    for row, sides in enumerate(hands_px.values()):
        for side, point in enumerate(sides):
            if point is not None:
                points[row, side] = point
    return Sightings(
        camera_id,
        nanoseconds(time_s),
        np.array(list(hands_px), np.int64),
        np.tile([0.0, 0.0, 100.0, 200.0], (n, 1)),
        points,
        np.where(np.isfinite(points).all(axis=2), 0.9, 0.0),
    )


def a_contact(bin_id: str, start_s: float, end_s: float, identity_id: int = 1) -> HandContact:
    return HandContact(identity_id, bin_id, nanoseconds(start_s), nanoseconds(end_s), 0.0, ((bin_id, 1.0),))


def a_weight_change(plate_id: str, time_s: float, delta_g: float, *, lasts_s: float = 0.6) -> WeightChange:
    time_ns, half_ns = nanoseconds(time_s), nanoseconds(lasts_s / 2)
    curve_ns = np.array([time_ns - half_ns, time_ns, time_ns + half_ns], np.int64)
    return WeightChange(
        (plate_id,),
        delta_g,
        2.0,
        time_ns - half_ns,
        time_ns,
        time_ns + half_ns,
        curve_ns,
        np.array([0, delta_g, delta_g]),
    )


def bodies_at(time_s: float, joints_m: Mapping[str, Mapping[str, Sequence[float]]]) -> TrackedBodies:
    """Bodies of an outside tracker: the joints of each that it sees, by name."""
    points = np.full((len(joints_m), len(JOINT_NAMES), 3), np.nan)
    for row, joints in enumerate(joints_m.values()):
        for joint, point in joints.items():
            points[row, JOINT_NAMES.index(joint)] = point
    score = np.where(np.isfinite(points).all(axis=2), 0.9, 0.0)
    return TrackedBodies(nanoseconds(time_s), tuple(joints_m), points, score)
