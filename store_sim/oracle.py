"""A detector that reads the simulated world's truth instead of pixels, and is then made as wrong as a real one.

It is for work on everything behind the detector: a whole visit on several cameras in a second, without pictures and
without weights. Boxes and key points are projected through the camera as it really hangs; what fixtures and other
people hide is found with boxes and cylinders, not with pixels.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from store_sim.bodies import SKELETON, Skeletons, coco_keypoints, grips
from store_sim.figures import Figures
from store_sim.joints import gondola_boxes
from store_sim.simulation import Scene
from vision.arrays import BoolArray, FloatArray
from vision.cameras import Camera
from vision.detections import COCO_PERSON, KEYPOINT_COUNT, Detections
from vision.detector import COCO_CLASS_NAMES
from vision.frames import Frame
from vision.layout import Box, StoreLayout

NANOSECONDS = 1_000_000_000

# How thick a body is around its joints, in body heights (widths and depths of Drillis & Contini, 1966, halved).
_THICK = {
    "pelvis": 0.09,
    "spine": 0.085,
    "chest": 0.09,
    "neck": 0.035,
    "head": 0.055,
    "left_clavicle": 0.05,
    "right_clavicle": 0.05,
    "left_shoulder": 0.04,
    "right_shoulder": 0.04,
    "left_hip": 0.055,
    "right_hip": 0.055,
    "left_elbow": 0.027,
    "right_elbow": 0.027,
    "left_knee": 0.035,
    "right_knee": 0.035,
    "left_wrist": 0.02,
    "right_wrist": 0.02,
    "left_ankle": 0.04,
    "right_ankle": 0.04,
}
_GRIP_THICK, _SKULL_THICK = 0.03, 0.062
_SKULL_ABOVE_EYES = 0.01  # heights from the eyes up to the middle of the skull
_THICKNESS = np.array([*(_THICK[name] for name in SKELETON), _GRIP_THICK, _GRIP_THICK, _SKULL_THICK])
_TRUNK_M = 0.2  # radius of the cylinder that a standing person hides others with
_APART_M = 0.3  # somebody hides another only if they stand nearer to the camera by this
_CHORD_M = 0.25  # so much of a shelf between camera and point hides it: goods and boards, looked through lengthways
_EYES = [1, 2]


@dataclass(frozen=True, slots=True)
class OracleSettings:
    """How well the oracle sees. The numbers are of the size that small pose models show on ceiling cameras.

    Attributes:
        box_jitter: Error of each side of a box, as a share of the box's width or height.
        keypoint_jitter: Error of a visible key point on each axis, as a share of the box's height.
        hidden_jitter: The same for one that is hidden, which pose models guess.
        misses_per_s: How often somebody who is fully seen is missed for a while.
        miss_s: For how long on average, seconds.
        least_share: Who shows less than this share of their key points is never seen ...
        sure_share: ... and from this share on never missed for being hidden.
        confidence: Score of somebody fully seen.
        confidence_spread: Standard deviation of the score.
        least_height_px: Whoever is smaller in the picture is not seen.
        ghosts_per_s: How often each camera sees somebody who is not there, for one frame, with a low score.
    """

    box_jitter: float = 0.015
    keypoint_jitter: float = 0.01
    hidden_jitter: float = 0.05
    misses_per_s: float = 0.05
    miss_s: float = 0.3
    least_share: float = 0.2
    sure_share: float = 0.5
    confidence: float = 0.88
    confidence_spread: float = 0.04
    least_height_px: float = 16.0
    ghosts_per_s: float = 0.01

    def __post_init__(self) -> None:
        for name in ("box_jitter", "keypoint_jitter", "hidden_jitter", "misses_per_s", "confidence_spread"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"OracleSettings.{name}: expected 0 or more, got {getattr(self, name)}")
        if not self.miss_s > 0:
            raise ValueError(f"OracleSettings.miss_s: expected a number above 0, got {self.miss_s}")
        if not 0 <= self.least_share < self.sure_share <= 1:
            raise ValueError(
                "OracleSettings: expected 0 <= least_share < sure_share <= 1, "
                f"got {self.least_share} and {self.sure_share}"
            )


EXACT = OracleSettings(
    box_jitter=0.0,
    keypoint_jitter=0.0,
    hidden_jitter=0.0,
    misses_per_s=0.0,
    least_share=0.0,
    sure_share=1e-9,
    confidence=1.0,
    confidence_spread=0.0,
    least_height_px=0.0,
    ghosts_per_s=0.0,
)
"""An oracle that makes no mistake: everybody with a key point that can be seen, where they are."""


class Scenes(Protocol):
    """Who knows the truth behind frames: ``store_sim.simulation.Simulation``."""

    @property
    def layout(self) -> StoreLayout:
        """The store."""
        ...

    def scene(self, frame: Frame) -> Scene | None:
        """The truth behind a frame, None if it is not known any more."""
        ...


class OracleDetector:
    """Sees people in a simulation's frames without their pixels (``vision.detector.ObjectDetector``).

    Args:
        simulation: The store that the frames come from; ``pixels=False`` will do.
        rng: Where its mistakes come from; every camera gets a stream of its own.
        settings: How many it makes.
    """

    def __init__(self, simulation: Scenes, rng: np.random.Generator, settings: OracleSettings | None = None) -> None:
        self._simulation = simulation
        self._settings = settings or OracleSettings()
        self._entropy = int(rng.integers(2**63))
        self._fixtures = _Fixtures(simulation.layout)
        self._eyes: dict[str, _Eye] = {}
        self._points: tuple[Skeletons, FloatArray, FloatArray] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """COCO's."""
        return COCO_CLASS_NAMES

    @property
    def has_keypoints(self) -> bool:
        """Always."""
        return True

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Say who is in each frame; nobody in a frame that the simulation has forgotten."""
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: Frame) -> Detections:
        scene = self._simulation.scene(frame)
        if scene is None:
            return Detections.empty(frame.camera_id, frame.timestamp_ns, KEYPOINT_COUNT)
        eye = self._eyes.get(frame.camera_id)
        if eye is None:
            seed = np.random.SeedSequence([self._entropy, zlib.crc32(frame.camera_id.encode())])
            eye = self._eyes[frame.camera_id] = _Eye(np.random.default_rng(seed), self._settings)
        if self._points is None or self._points[0] is not scene.skeletons:
            self._points = scene.skeletons, coco_keypoints(scene.skeletons), outline(scene.skeletons)
        _, keypoints_m, outline_m = self._points
        view = _View.of(scene.camera, scene.figures, keypoints_m, outline_m, self._fixtures)
        return eye.seen(frame, scene.figures, view)


def outline(skeletons: Skeletons) -> FloatArray:
    """Balls that fill bodies: (x, y, z, radius) of each joint, both grips and the skull, (n, balls, 4), metres."""
    n = len(skeletons)
    eyes = coco_keypoints(skeletons)[:, _EYES].mean(axis=1)
    tall = skeletons.height_m[:, None]
    skull = 0.5 * (eyes + skeletons.joints_m[:, SKELETON.index("head")])
    skull[:, 2:] = np.maximum(skull[:, 2:], eyes[:, 2:]) + _SKULL_ABOVE_EYES * tall
    centres = np.concatenate([skeletons.joints_m, grips(skeletons), skull[:, None]], axis=1)
    radii = np.broadcast_to(_THICKNESS * tall, (n, len(_THICKNESS)))
    return np.concatenate([centres, radii[..., None]], axis=2)


@dataclass(frozen=True, slots=True)
class _View:
    """What one camera could see of n people at best.

    Attributes:
        keypoints_px: Shape (n, 17, 2), pixels; nan behind the camera or far beside the picture.
        shows: Whether each key point is in the picture and nothing hides it, shape (n, 17).
        inside: Whether it is in the picture, shape (n, 17).
        xyxy: Box around what shows of each, cut at the picture's edges, shape (n, 4), pixels; nan where nothing does.
    """

    keypoints_px: FloatArray
    shows: BoolArray
    inside: BoolArray
    xyxy: FloatArray

    @classmethod
    def of(
        cls,
        camera: Camera,
        figures: Figures,
        keypoints_m: FloatArray,
        outline_m: FloatArray,
        fixtures: "_Fixtures",
    ) -> "_View":
        count = keypoints_m.shape[1]
        points_m = np.concatenate([keypoints_m, outline_m[..., :3]], axis=1)
        flat = points_m.reshape(-1, 3)
        points_px, depth_m = _projected(camera, flat)
        behind_goods = fixtures.hide(camera.position_m, flat).reshape(points_m.shape[:2])
        hidden = behind_goods | _hidden_by_people(camera.position_m, points_m, figures)
        points_px, depth_m = points_px.reshape((*points_m.shape[:2], 2)), depth_m.reshape(points_m.shape[:2])
        width, height = camera.resolution_wh
        with np.errstate(invalid="ignore"):
            inside = np.asarray(((points_px >= 0) & (points_px <= (width, height))).all(axis=2))
        keypoints_px, balls_px = points_px[:, :count], points_px[:, count:]
        shown = np.asarray(~hidden[:, count:] & np.isfinite(balls_px).all(axis=2))
        focal_px = np.array([camera.intrinsics[0, 0], camera.intrinsics[1, 1]])
        radius_px = outline_m[..., 3, None] * focal_px / np.maximum(depth_m[:, count:, None], 0.05)
        low = np.where(shown[..., None], balls_px - radius_px, np.inf).min(axis=1, initial=np.inf)
        high = np.where(shown[..., None], balls_px + radius_px, -np.inf).max(axis=1, initial=-np.inf)
        xyxy = np.concatenate([np.maximum(low, 0.0), np.minimum(high, (width, height))], axis=1)
        empty = (xyxy[:, 2:] <= xyxy[:, :2]).any(axis=1) | ~np.isfinite(xyxy).all(axis=1)
        xyxy[np.asarray(empty)] = np.nan
        return cls(keypoints_px, inside[:, :count] & ~hidden[:, :count], inside[:, :count], xyxy)


class _Fixtures:
    """Gondolas that hide what stands behind them."""

    def __init__(self, layout: StoreLayout) -> None:
        boxes: list[Box] = gondola_boxes(layout)
        self._axes = np.array([box.world_from_box[:3, :3] for box in boxes]).reshape(-1, 3, 3)
        self._origin = np.array([box.world_from_box[:3, 3] for box in boxes]).reshape(-1, 3)
        self._size_m = np.array([box.size_m for box in boxes]).reshape(-1, 3)
        # A gondola stands on the floor, whatever its lowest plate does.
        self._size_m[:, 2] += self._origin[:, 2]
        self._origin[:, 2] = 0.0

    def hide(self, from_m: FloatArray, points_m: FloatArray) -> BoolArray:
        """Whether a gondola stands between a camera, shape (3,), and points, shape (m, 3): shape (m,).

        The slab method of Kay & Kajiya (Ray Tracing Complex Scenes, 1986), on each gondola's own axes.
        """
        if not len(self._size_m) or not len(points_m):
            return np.zeros(len(points_m), bool)
        start = np.einsum("gi,gij->gj", from_m - self._origin, self._axes)
        way = np.tensordot(points_m - from_m, self._axes, axes=(1, 1))  # (m, g, 3)
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = -start / way, (self._size_m - start) / way
        enters = np.fmax(np.fmin(one, other).max(axis=2), 0.0)
        leaves = np.fmin(np.fmax(one, other).min(axis=2), 1.0)
        length_m = np.linalg.norm(points_m - from_m, axis=1)[:, None]
        return np.asarray(((leaves - enters) * length_m > _CHORD_M).any(axis=1))


def _hidden_by_people(from_m: FloatArray, points_m: FloatArray, figures: Figures) -> BoolArray:
    """Whether somebody else stands between a camera and points of people, shape (n, k, 3): shape (n, k)."""
    n = len(figures)
    way = points_m - from_m
    length = np.linalg.norm(way[..., :2], axis=2)[..., None]  # (n, k, 1), along the floor
    to = figures.position_m - from_m[:2]  # (n, 2)
    along = (way[..., :2] @ to.T) / np.maximum(length, 1e-9) ** 2  # (n, k, n): share of the way beside each person
    aside = np.abs(way[..., 0, None] * to[:, 1] - way[..., 1, None] * to[:, 0]) / np.maximum(length, 1e-9)
    height = from_m[2] + along * way[..., 2, None]
    hides = (aside < _TRUNK_M) & (along > 0) & ((1 - along) * length > _APART_M)
    hides &= (height > 0) & (height < 0.98 * figures.height_m)
    hides[np.arange(n), :, np.arange(n)] = False
    return np.asarray(hides.any(axis=2))


def _projected(camera: Camera, points_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Image points, shape (m, 2), and depths, shape (m,); nan where the lens does not look.

    The distortion's polynomial folds points far beside the picture back into it: those are left out by their angle.
    """
    in_camera = points_m @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
    depth_m = in_camera[:, 2]
    width, height = camera.resolution_wh
    corners = camera.ray_directions(np.array([[0.0, 0], [width, 0], [0, height], [width, height]]))
    ahead = corners @ camera.cam_from_world[:3, :3].T
    widest = 1.2 * float(np.max(np.linalg.norm(ahead[:, :2], axis=1) / np.maximum(ahead[:, 2], 1e-3)))
    looks = (depth_m > 0.05) & (np.linalg.norm(in_camera[:, :2], axis=1) < widest * depth_m)
    image = np.full((len(points_m), 2), np.nan)
    if looks.any():
        image[looks] = camera.image_points(points_m[looks])
    return image, depth_m


class _Eye:
    """The mistakes of the detector on one camera."""

    def __init__(self, rng: np.random.Generator, settings: OracleSettings) -> None:
        self._rng, self._settings = rng, settings
        self._missed_until_ns: dict[str, int] = {}
        self._last_ns: int | None = None

    def seen(self, frame: Frame, figures: Figures, view: _View) -> Detections:
        """Spoil what could be seen at best."""
        settings, rng, now_ns = self._settings, self._rng, frame.timestamp_ns
        step_s = 0.1 if self._last_ns is None else max((now_ns - self._last_ns) / NANOSECONDS, 0.0)
        self._last_ns = now_ns
        n = len(figures)
        share = view.shows.mean(axis=1) if n else np.zeros(0)
        begins, luck, kick = rng.random(n), rng.random(n), rng.standard_normal(n)
        for row in np.flatnonzero(begins < settings.misses_per_s * step_s):
            self._missed_until_ns[figures.person_id[row]] = now_ns + round(
                float(rng.exponential(settings.miss_s)) * NANOSECONDS
            )
        clear = np.clip((share - settings.least_share) / (settings.sure_share - settings.least_share), 0.0, 1.0)
        with np.errstate(invalid="ignore"):
            large = view.xyxy[:, 3] - view.xyxy[:, 1] >= settings.least_height_px
        found = large & (luck < clear)
        if self._missed_until_ns:
            self._missed_until_ns = {who: end_ns for who, end_ns in self._missed_until_ns.items() if end_ns >= now_ns}
            found &= np.array([who not in self._missed_until_ns for who in figures.person_id], bool)
        boxes, keypoints = self._spoiled(view, found)
        confidence = settings.confidence * (0.5 + 0.5 * clear[found]) + settings.confidence_spread * kick[found]
        if rng.random() < settings.ghosts_per_s * step_s:
            ghost, points = self._ghost(frame)
            boxes, keypoints = np.concatenate([boxes, ghost]), np.concatenate([keypoints, points])
            confidence = np.append(confidence, rng.uniform(0.1, 0.4))
        return Detections(
            frame.camera_id,
            now_ns,
            boxes.astype(np.float32),
            np.clip(confidence, 0.05, 1.0).astype(np.float32),
            np.full(len(boxes), COCO_PERSON, np.int64),
            keypoints.astype(np.float32),
        )

    def _spoiled(self, view: _View, found: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Boxes (m, 4) and key points (m, 17, 3) with errors."""
        settings, rng = self._settings, self._rng
        boxes = view.xyxy[found]
        size = boxes[:, 2:] - boxes[:, :2]
        boxes = boxes + settings.box_jitter * np.concatenate([size, size], axis=1) * rng.standard_normal(boxes.shape)
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
        shows, inside = view.shows[found], view.inside[found]
        jitter = np.where(shows, settings.keypoint_jitter, settings.hidden_jitter)[..., None] * size[:, None, 1:]
        points = view.keypoints_px[found] + jitter * rng.standard_normal((*shows.shape, 2))
        visibility = np.where(shows, 0.9, np.where(inside, 0.3, 0.03)) + rng.uniform(-0.1, 0.1, shows.shape)
        keypoints = np.concatenate([points, np.clip(visibility, 0.0, 1.0)[..., None]], axis=2)
        # A pose model always names a point; one that it cannot see is somewhere in the box.
        middle = np.broadcast_to(((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None], points.shape)
        keypoints[..., :2] = np.where(np.isfinite(points), points, middle)
        return boxes, keypoints

    def _ghost(self, frame: Frame) -> tuple[FloatArray, FloatArray]:
        """Somebody who is not there: a box (1, 4) and key points (1, 17, 3) that are hardly visible."""
        height, width = frame.image.shape[:2]
        tall = self._rng.uniform(0.2, 0.6) * height
        middle = self._rng.uniform(0, 1, 2) * (width, height)
        half = np.array([0.2 * tall, 0.5 * tall])
        box = np.clip(np.concatenate([middle - half, middle + half]), 0.0, [width, height, width, height])[None]
        points = np.empty((1, KEYPOINT_COUNT, 3))
        points[..., :2] = self._rng.uniform(box[0, :2], box[0, 2:], (KEYPOINT_COUNT, 2))
        points[..., 2] = self._rng.uniform(0.0, 0.4, KEYPOINT_COUNT)
        return box, points
