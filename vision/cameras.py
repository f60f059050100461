"""Cameras with lens distortion: world to image, image to ray, image to floor, and two views to one point."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from vision.arrays import BoolArray, FloatArray, IntArray, check_shape

# OpenCV stops after 5 rounds by default, which leaves centimetres on the floor at the edge of a wide-angle picture.
UNDISTORTION_END = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
HORIZON_SINE = 0.02  # a ray flatter than about 1 degree hits the floor too far away to mean anything


@dataclass(frozen=True, slots=True)
class Camera:
    """A calibrated camera: pinhole with Brown-Conrady distortion (OpenCV's k1, k2, p1, p2, k3).

    Attributes:
        camera_id: Name of the camera; for video files the file's stem.
        intrinsics: Camera matrix K, shape (3, 3), pixels.
        distortion: (k1, k2, p1, p2, k3), shape (5,).
        cam_from_world: Rigid transform, shape (4, 4), metres. World is right-handed, z up, floor at z = 0.
        resolution_wh: Picture size that the intrinsics are for, pixels.
        world_from_cam: Inverse of ``cam_from_world``, shape (4, 4).
    """

    camera_id: str
    intrinsics: FloatArray
    distortion: FloatArray
    cam_from_world: FloatArray
    resolution_wh: tuple[int, int]
    world_from_cam: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_shape("Camera.intrinsics", self.intrinsics, (3, 3))
        check_shape("Camera.distortion", self.distortion, (5,))
        check_shape("Camera.cam_from_world", self.cam_from_world, (4, 4))
        for name in ("intrinsics", "distortion", "cam_from_world"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"camera {self.camera_id}: {name} has a number that is not finite")
        if not (self.intrinsics[0, 0] > 0 and self.intrinsics[1, 1] > 0):
            raise ValueError(f"camera {self.camera_id}: focal lengths must be positive")
        rotation = self.cam_from_world[:3, :3]
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
            raise ValueError(f"camera {self.camera_id}: cam_from_world is not a rigid transform")
        inverse = np.eye(4)
        inverse[:3, :3] = rotation.T
        inverse[:3, 3] = -rotation.T @ self.cam_from_world[:3, 3]
        object.__setattr__(self, "world_from_cam", inverse)  # asked for many times a frame

    @property
    def position_m(self) -> FloatArray:
        """Where the camera hangs in the world, shape (3,), metres."""
        return self.world_from_cam[:3, 3]

    def resized(self, resolution_wh: tuple[int, int]) -> "Camera":
        """Return this camera for pictures of another size of the same view."""
        if resolution_wh == self.resolution_wh:
            return self
        scale = np.diag(
            [
                resolution_wh[0] / self.resolution_wh[0],
                resolution_wh[1] / self.resolution_wh[1],
                1.0,
            ]
        )
        return Camera(
            self.camera_id,
            scale @ self.intrinsics,
            self.distortion,
            self.cam_from_world,
            resolution_wh,
        )

    def image_points(self, points_m: FloatArray) -> FloatArray:
        """Project world points into the picture.

        Args:
            points_m: World points, shape (n, 3), metres.

        Returns:
            Image points (x, y) in pixels, shape (n, 2). A point behind the camera gives nan; one beyond the picture's
            edge keeps its coordinates.
        """
        points = np.asarray(points_m, np.float64).reshape(-1, 3)
        if not len(points):
            return np.zeros((0, 2))
        in_camera = points @ self.cam_from_world[:3, :3].T + self.cam_from_world[:3, 3]
        in_front = np.nan_to_num(in_camera[:, 2], nan=-1.0) > 1e-6
        image = np.full((len(points), 2), np.nan)
        if in_front.any():
            projected, _ = cv2.projectPoints(
                in_camera[in_front][:, None],
                np.zeros(3),
                np.zeros(3),
                np.asarray(self.intrinsics, np.float64),
                np.asarray(self.distortion, np.float64),
            )
            image[in_front] = projected[:, 0]
        return image

    def ray_directions(self, points_px: FloatArray) -> FloatArray:
        """Directions from the camera through image points.

        Args:
            points_px: Image points, shape (n, 2), pixels; nan rows give nan.

        Returns:
            Unit vectors in the world, shape (n, 3).
        """
        points = np.asarray(points_px, np.float64).reshape(-1, 2)
        if not len(points):
            return np.zeros((0, 3))
        normalised = cv2.undistortPoints(
            points[:, None],
            np.asarray(self.intrinsics, np.float64),
            np.asarray(self.distortion, np.float64),
            criteria=UNDISTORTION_END,
        )[:, 0]
        in_camera = np.column_stack([normalised, np.ones(len(points))])
        in_world = in_camera @ self.cam_from_world[:3, :3]
        return np.asarray(in_world / np.linalg.norm(in_world, axis=1, keepdims=True))

    def floor_points(self, points_px: FloatArray, height_m: float = 0.0) -> FloatArray:
        """Project image points onto the floor, or another level plane.

        Pass the bottom centre of a person's box to get where they stand.

        Args:
            points_px: Image points (x, y) in pixels, shape (n, 2).
            height_m: Height of the level plane above the floor.

        Returns:
            Points (x, y) in world metres, shape (n, 2). A point on or above the horizon has no floor point and gives
            nan.
        """
        directions = self.ray_directions(points_px)
        origin = self.position_m
        slope = directions[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = (height_m - origin[2]) / slope
            hits = origin[:2] + distance[:, None] * directions[:, :2]
        hits[~((distance > 0) & (np.abs(slope) > HORIZON_SINE))] = np.nan
        return np.asarray(hits)


def nearest_to_rays(origins: FloatArray, directions: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Find the point with the least weighted sum of squared perpendicular distances to rays.

    Args:
        origins: Where the rays start, shape (n, 3), metres.
        directions: Unit vectors, shape (n, 3).
        weights: How much each ray counts, shape (n,); all the same if left out.

    Returns:
        The point, shape (3,), metres; nan if the rays are parallel or it lies behind the start of one.
    """
    weights = np.ones(len(origins)) if weights is None else weights
    return np.asarray(nearest_to_many_rays(origins, directions, np.zeros(1, np.int64), weights)[0])


def nearest_to_many_rays(
    origins: FloatArray, directions: FloatArray, begins: IntArray, weights: FloatArray
) -> FloatArray:
    """Find, for each of several groups of rays, what :func:`nearest_to_rays` finds; together is faster.

    Args:
        origins: Where the rays start, shape (n, 3), metres, one group after the other.
        directions: Unit vectors, shape (n, 3).
        begins: Row in which each group begins, shape (g,), rising from 0; none is empty.
        weights: How much each ray counts, shape (n,).

    Returns:
        The points, shape (g, 3), metres; nan where the rays of a group are parallel or the point lies behind the start
        of one.
    """
    projectors = (np.eye(3) - directions[:, :, None] * directions[:, None, :]) * weights[:, None, None]
    normal = np.add.reduceat(projectors, begins, axis=0)
    target = np.add.reduceat(np.einsum("nij,nj->ni", projectors, origins), begins, axis=0)
    points = np.full((len(begins), 3), np.nan)
    solvable: BoolArray = np.asarray(np.isfinite(normal).all(axis=(1, 2)) & np.isfinite(target).all(axis=1))
    spread = np.linalg.eigvalsh(np.where(solvable[:, None, None], normal, np.eye(3)))  # rising, cheaper than a rank
    solvable &= spread[:, 2] <= 1e6 * spread[:, 0]
    points[solvable] = np.linalg.solve(normal[solvable], target[solvable, :, None])[..., 0]
    count = np.diff(np.append(begins, len(origins)))
    along = np.einsum("ni,ni->n", np.repeat(points, count, axis=0) - origins, directions)
    points[np.logical_or.reduceat(along <= 0, begins)] = np.nan
    return points


def looking_at(position_m: FloatArray, aim_m: FloatArray) -> FloatArray:
    """Camera from world, shape (4, 4), of a camera that hangs upright and looks at a point.

    Args:
        position_m: Where it hangs, shape (3,), metres.
        aim_m: What is in the middle of its picture, shape (3,), metres; not right above or below it.

    >>> looking_at(np.array([0.0, 0, 2]), np.array([0.0, 4, 2]))[:3, 3].tolist()
    [0.0, 2.0, 0.0]
    """
    forward = (aim_m - position_m) / np.linalg.norm(aim_m - position_m)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.array([right, np.cross(forward, right), forward])
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = rotation
    cam_from_world[:3, 3] = -rotation @ position_m
    return cam_from_world


def ray_distances(point_m: FloatArray, origins: FloatArray, directions: FloatArray) -> FloatArray:
    """Perpendicular distance of a point, shape (3,), from rays, shape (n, 3): shape (n,), metres."""
    offsets = point_m - origins
    along = np.einsum("ni,ni->n", offsets, directions)
    return np.asarray(np.linalg.norm(offsets - along[:, None] * directions, axis=1))


def triangulate(cameras: Sequence[Camera], points_px: FloatArray) -> tuple[FloatArray, float]:
    """Find the world point nearest to the rays of one point seen by several cameras.

    Linear least squares over the perpendicular distances to the rays (the midpoint method of Hartley & Sturm,
    *Triangulation*, 1997, for any number of views).

    Args:
        cameras: Two or more cameras.
        points_px: The point in each camera's picture, shape (len(cameras), 2), pixels.

    Returns:
        The point in world metres, shape (3,), and the miss distance: the largest distance in metres from it to a
        ray, doubled, so that for two cameras it is the gap between the rays. Nan and inf if the rays are parallel
        or meet behind a camera.
    """
    if len(cameras) < 2:
        raise ValueError(f"triangulate: expected two or more cameras, got {len(cameras)}")
    check_shape("points_px", np.asarray(points_px), (len(cameras), 2))
    origins = np.stack([camera.position_m for camera in cameras])
    directions = np.concatenate([camera.ray_directions(points_px[i : i + 1]) for i, camera in enumerate(cameras)])
    point = nearest_to_rays(origins, directions)
    if not np.isfinite(point).all():
        return point, float("inf")
    return point, float(2 * ray_distances(point, origins, directions).max())
