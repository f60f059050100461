"""Points of people's bodies as several cameras see them at the same instants, and who is who between the cameras."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from vision.arrays import BoolArray, FloatArray, IntArray, check_shape
from vision.cameras import Camera
from vision.detections import LEFT_ANKLE, RIGHT_ANKLE, Detections

MIN_VISIBILITY = 0.5
MIN_COMMON = 4  # key-points that two views of a person must share: fewer fit anybody
MAX_GAP_M = 0.6  # between rays, of cameras that are placed roughly: half a metre is off by a person's room
CLEARER = 2.0  # the next best person must miss by so many times more
EDGE_PX = 4  # key-points at the picture's edge are often pressed to it


@dataclass(frozen=True, slots=True)
class BodyPoints:
    """Key-points of people that two or more cameras saw at the same instant; one row each.

    Attributes:
        camera_ids: The cameras that ``camera`` counts.
        camera: Which camera saw it, shape (n,).
        instant: Number of the instant, shape (n,).
        time_s: When that was, shape (n,), seconds.
        body: Rows of one person at one instant share a number, shape (n,); it means nothing beyond the instant.
        point: Which of COCO's key-points, shape (n,).
        px: Where, shape (n, 2), pixels.
    """

    camera_ids: tuple[str, ...]
    camera: IntArray
    instant: IntArray
    time_s: FloatArray
    body: IntArray
    point: IntArray
    px: FloatArray

    def __post_init__(self) -> None:
        n = len(self.camera)
        for name in ("instant", "time_s", "body", "point"):
            check_shape(f"BodyPoints.{name}", getattr(self, name), (n,))
        check_shape("BodyPoints.px", self.px, (n, 2))

    def __len__(self) -> int:
        return len(self.camera)

    def rows(self, keep: BoolArray) -> "BodyPoints":
        """Keep some rows, by a mask of shape (n,)."""
        columns = (getattr(self, name)[keep] for name in ("camera", "instant", "time_s", "body", "point", "px"))
        return BodyPoints(self.camera_ids, *columns)

    @property
    def is_ankle(self) -> BoolArray:
        """Which rows are ankles, shape (n,)."""
        return np.asarray((self.point == LEFT_ANKLE) | (self.point == RIGHT_ANKLE))


def body_points(cameras: Mapping[str, Camera], instants: Sequence[tuple[float, Sequence[Detections]]]) -> BodyPoints:
    """Collect what cameras saw at the same instants, person by person.

    People of two views are the same person if the rays through their key-points pass each other closely and nobody
    else's pass nearly as closely. Where that is not clear the sighting is left out: there are always more.

    Args:
        cameras: Where the cameras hang, roughly, for pictures of the size that the detections are from.
        instants: The time in seconds and each camera's people with key-points, taken at that time.

    Returns:
        The key-points that at least two cameras saw.
    """
    ids = tuple(cameras)
    rows: list[tuple[int, int, float, int, int, float, float]] = []
    body = 0
    for instant, (time_s, views) in enumerate(instants):
        views = [view for view in views if view.camera_id in cameras and view.keypoints.shape[1]]
        for members in _same_people(cameras, views):
            points = [_seen(cameras[views[v].camera_id], views[v].keypoints[p]) for v, p in members]
            count = np.sum(points, axis=0)
            for (v, p), seen in zip(members, points, strict=True):
                camera = ids.index(views[v].camera_id)
                for point in np.flatnonzero(seen & (count >= 2)):
                    x, y = views[v].keypoints[p, point, :2]
                    rows.append((camera, instant, time_s, body, int(point), float(x), float(y)))
            body += 1
    table = np.array(rows, np.float64).reshape(-1, 7)
    whole = table[:, [0, 1, 3, 4]].astype(np.int64)
    return BodyPoints(ids, whole[:, 0], whole[:, 1], table[:, 2], whole[:, 2], whole[:, 3], table[:, 5:])


def _seen(camera: Camera, keypoints: FloatArray) -> BoolArray:
    """Which key-points, shape (k, 3), are surely seen and inside the picture."""
    size = np.array(camera.resolution_wh)
    inside = (keypoints[:, :2] >= EDGE_PX) & (keypoints[:, :2] < size - EDGE_PX)
    with np.errstate(invalid="ignore"):
        return np.asarray(inside.all(axis=1) & (keypoints[:, 2] >= MIN_VISIBILITY))


def _same_people(cameras: Mapping[str, Camera], views: Sequence[Detections]) -> list[list[tuple[int, int]]]:
    """Groups of (view, row) that are one person, at most one row of a view in each; only groups of two and more."""
    rays = [
        [cameras[view.camera_id].ray_directions(keypoints[:, :2]) for keypoints in view.keypoints] for view in views
    ]
    seen = [[_seen(cameras[view.camera_id], keypoints) for keypoints in view.keypoints] for view in views]
    links: list[tuple[float, tuple[int, int], tuple[int, int]]] = []
    for a in range(len(views)):
        for b in range(a + 1, len(views)):
            gaps = np.full((len(rays[a]), len(rays[b])), np.inf)
            base = cameras[views[b].camera_id].position_m - cameras[views[a].camera_id].position_m
            for i in range(len(rays[a])):
                for j in range(len(rays[b])):
                    both = seen[a][i] & seen[b][j]
                    if both.sum() >= MIN_COMMON:
                        gaps[i, j] = np.median(_ray_gaps(base, rays[a][i][both], rays[b][j][both]))
            links += [(gaps[i, j], (a, i), (b, j)) for i, j in _clear_pairs(gaps)]
    group: dict[tuple[int, int], int] = {}
    members: list[list[tuple[int, int]]] = []
    for _, one, other in sorted(links):
        first, second = group.get(one), group.get(other)
        if first is None and second is None:
            group[one] = group[other] = len(members)
            members.append([one, other])
        elif first is None or second is None:
            joined, new = (second, one) if first is None else (first, other)
            assert joined is not None
            if all(view != new[0] for view, _ in members[joined]):
                group[new] = joined
                members[joined].append(new)
    return members


def _clear_pairs(gaps: FloatArray) -> list[tuple[int, int]]:
    """Pairs of a table of gaps that fit and that nothing else comes near to."""
    if not gaps.size:
        return []
    usable = np.where(np.isfinite(gaps), gaps, 1e3)
    pairs = []
    for i, j in zip(*linear_sum_assignment(usable), strict=True):
        rivals = np.concatenate([np.delete(gaps[i], j), np.delete(gaps[:, j], i)])
        if gaps[i, j] <= MAX_GAP_M and (not len(rivals) or rivals.min() > CLEARER * max(gaps[i, j], 0.1)):
            pairs.append((int(i), int(j)))
    return pairs


def _ray_gaps(base: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """How far rays (unit vectors, shape (n, 3)) from two places ``base`` apart pass each other, shape (n,), metres.

    Rays that meet behind a camera give inf.
    """
    cosine = (a * b).sum(axis=1)
    along_a, along_b = a @ base, b @ base
    spread = np.maximum(1 - cosine**2, 1e-9)
    s = (along_a - cosine * along_b) / spread
    t = (cosine * along_a - along_b) / spread
    gap = np.linalg.norm(s[:, None] * a - base - t[:, None] * b, axis=1)
    return np.asarray(np.where((s > 0) & (t > 0), gap, np.inf))
