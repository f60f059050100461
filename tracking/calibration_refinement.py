"""Cameras placed better by the people who walk through: bundle adjustment over key-points that several cameras see.

A dozen clicked points place a camera to centimetres and tenths of degrees. People who walk through a shop show hundreds
of points to several cameras at the same instant: the cameras are turned and shifted until the rays through each point
meet (Triggs et al., *Bundle Adjustment: A Modern Synthesis*, 1999). Ankles are so high above the floor, and
where the cameras were placed before counts as a weak measurement: both keep the whole from drifting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.optimize import least_squares

from tracking.body_points import BodyPoints
from vision.arrays import FloatArray
from vision.cameras import UNDISTORTION_END, Camera

KEYPOINT_SD_SHARE = 1 / 200
"""How well key-points are found, as a share of the picture's width: small pose models miss by 1 to 2 % of a person's
height, which is 3 pixels of a picture 640 wide."""

ANKLE_HEIGHT_M, ANKLE_SD_M = 0.08, 0.04
"""Of the ankle of a foot on the floor: 0.039 of a person's height (Drillis & Contini, 1966) and the sole of a shoe; the
spread is that of a step, half of which one foot is in the air."""

PRIOR_SD_M, PRIOR_SD_RAD = 0.15, 0.035
"""How far a rough calibration is trusted: 15 cm and 2 degrees, what a dozen clicked points give at worst."""

PRIOR_SD_LOG_FOCAL = 0.05
MAX_POINTS = 6000  # more bring nothing but time
MIN_BODIES = 30  # sightings of people that a camera must share with others; fewer cover no picture
HELD_BACK_S = 5.0  # blocks of time that alternate between fitting and checking: neighbours in time are no check
MIN_GAIN = 0.02  # share of the held-back error that must go: less is noise
CORRELATED = 8.0  # key-point errors of one person last about as many instants as are taken from a passage
LEAST_DEPTH_M = 0.1


@dataclass(frozen=True, slots=True)
class CameraChange:
    """What refinement says of one camera.

    Attributes:
        before: The camera as it was taken to hang.
        after: The camera as it is found to hang; the same where nothing was changed.
        shift_m: How far its place differs, shape (3,), world metres.
        shift_cov_m2: Covariance of that, shape (3, 3).
        turn_rad: Angle between the two.
        turn_sd_rad: Standard deviation of that angle.
        bodies: Sightings of people that it shares with others.
    """

    before: Camera
    after: Camera
    shift_m: FloatArray
    shift_cov_m2: FloatArray
    turn_rad: float
    turn_sd_rad: float
    bodies: int

    @property
    def is_placed(self) -> bool:
        """Whether it was placed anew; anchors, and cameras that share too few sightings, stay as they are."""
        return bool(self.turn_sd_rad > 0)

    @property
    def shift_sd_m(self) -> float:
        """Standard deviation of the shift along its own direction, metres."""
        length = float(np.linalg.norm(self.shift_m))
        way = self.shift_m / length if length > 0 else np.ones(3) / np.sqrt(3)
        return float(np.sqrt(way @ self.shift_cov_m2 @ way))


@dataclass(frozen=True, slots=True)
class Refinement:
    """Cameras before and after.

    Attributes:
        changes: One for each camera.
        is_better: Whether the held-back half agrees better with the new cameras; if not, nothing should be changed.
        before_px: Median distance between key-points and where the other cameras put them, on the held-back half.
        after_px: The same with cameras refined on the other half alone.
        points: Key-points that were used.
        reason: Why nothing should be changed; empty if it should.
    """

    changes: tuple[CameraChange, ...]
    is_better: bool
    before_px: float
    after_px: float
    points: int
    reason: str

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """The cameras to use from now on."""
        return tuple(change.after if self.is_better else change.before for change in self.changes)


def refine(
    cameras: Mapping[str, Camera],
    points: BodyPoints,
    *,
    anchors: Sequence[str] = (),
    with_focal: bool = False,
) -> Refinement:
    """Place cameras by what they see of the same people.

    Two fits are made: one on half of the time, which is checked on the other half, and one on everything, which is
    given and is to be used if the first was better where it had not been fitted.

    Args:
        cameras: Where the cameras hang, roughly; for pictures of the size that the points are from.
        points: What they saw.
        anchors: Cameras that stay where they are.
        with_focal: Whether focal lengths may change too.

    Returns:
        The cameras, whether they are better, and how well they are known.

    Raises:
        ValueError: An anchor is not among the cameras, all cameras are anchors, or no camera shares enough sightings of
            people with another.
    """
    unknown = [name for name in anchors if name not in cameras]
    if unknown:
        raise ValueError(f"anchors: expected out of {', '.join(cameras)}, got {unknown[0]}")
    counts = {name: len(np.unique(points.body[points.camera == index])) for index, name in enumerate(points.camera_ids)}
    free = [name for name in points.camera_ids if name not in anchors and counts[name] >= MIN_BODIES]
    if not free:
        most = max(counts.values(), default=0)
        raise ValueError(f"expected a camera that shares at least {MIN_BODIES} sightings of people, the most is {most}")
    half = np.asarray((points.time_s // HELD_BACK_S) % 2 == 0)
    fitting, checking = _thinned(points.rows(half)), _thinned(points.rows(~half))
    if not len(fitting) or not len(checking):
        raise ValueError(
            f"expected people over more than {2 * HELD_BACK_S:.0f} s, to fit on one half and check the other"
        )
    problem = _Problem(cameras, fitting, free, with_focal)
    trial = problem.placed(problem.solved())
    before_px, after_px = misses_px(cameras, checking), misses_px(trial, checking)
    is_better = bool(after_px < before_px * (1 - MIN_GAIN))
    everything = _thinned(points)
    problem = _Problem(cameras, everything, free, with_focal)
    solution = problem.solved()
    placed, covariance = problem.placed(solution), problem.covariance(solution)
    changes = []
    for name, camera in cameras.items():
        row = free.index(name) if name in free else None
        changes.append(
            _change(camera, placed[name], None if row is None else covariance, row, problem.width, counts.get(name, 0))
        )
    reason = (
        ""
        if is_better
        else (
            f"on the half held back the cameras miss by {after_px:.2f} px after, {before_px:.2f} px before: no better"
        )
    )
    return Refinement(tuple(changes), is_better, before_px, after_px, len(everything), reason)


def misses_px(cameras: Mapping[str, Camera], points: BodyPoints) -> float:
    """Median distance of key-points from where all cameras together put them, pixels; nan without points."""
    if not len(points):
        return float("nan")
    problem = _Problem(cameras, points, [], False)
    missed = problem.missed_px(np.zeros(0))
    return float(np.median(np.linalg.norm(missed, axis=1)))


def _change(
    before: Camera, after: Camera, covariance: FloatArray | None, row: int | None, width: int, bodies: int
) -> CameraChange:
    shift = after.position_m - before.position_m
    turn = cv2.Rodrigues(after.cam_from_world[:3, :3] @ before.cam_from_world[:3, :3].T)[0].ravel()
    angle = float(np.linalg.norm(turn))
    if covariance is None or row is None:
        return CameraChange(before, after, shift, np.zeros((3, 3)), angle, 0.0, bodies)
    block = covariance[row * width : row * width + 6, row * width : row * width + 6]
    rotation = after.cam_from_world[:3, :3]
    # The camera's own axes: place = -R^T t, so a small shift of t moves it by -R^T of that.
    shift_cov = rotation.T @ block[3:, 3:] @ rotation
    way = turn / angle if angle > 0 else np.ones(3) / np.sqrt(3)
    return CameraChange(before, after, shift, shift_cov, angle, float(np.sqrt(way @ block[:3, :3] @ way)), bodies)


def _thinned(points: BodyPoints) -> BodyPoints:
    """Keep every so many-th sighting, evenly over time, so that a fit takes seconds."""
    bodies = np.unique(points.body)
    step = -(-len(points) // MAX_POINTS)
    return points.rows(np.isin(points.body, bodies[::step])) if step > 1 else points


class _Problem:
    """The least-squares problem: per free camera a small turn and shift in its own axes, and perhaps the focal length.

    The points themselves are no unknowns: for any cameras they are where the rays pass nearest to each other.
    """

    def __init__(
        self, cameras: Mapping[str, Camera], points: BodyPoints, free: Sequence[str], with_focal: bool
    ) -> None:
        self.width = 7 if with_focal else 6
        self._cameras, self._free, self._points = cameras, list(free), points
        each = [cameras[name] for name in points.camera_ids]
        self._rotation = np.stack([camera.cam_from_world[:3, :3] for camera in each])
        self._translation = np.stack([camera.cam_from_world[:3, 3] for camera in each])
        self._focal = np.array([camera.intrinsics[0, 0] for camera in each])
        self._sd_px = np.array([KEYPOINT_SD_SHARE * camera.resolution_wh[0] for camera in each])
        self._normalised = np.zeros((len(points), 2))
        for index, camera in enumerate(each):
            rows = points.camera == index
            if rows.any():
                self._normalised[rows] = cv2.undistortPoints(
                    points.px[rows][:, None],
                    np.asarray(camera.intrinsics, np.float64),
                    np.asarray(camera.distortion, np.float64),
                    criteria=UNDISTORTION_END,
                )[:, 0]
        keys = points.body * 64 + points.point
        _, self._group = np.unique(keys, return_inverse=True)
        self._groups = int(self._group.max()) + 1 if len(points) else 0
        first = np.full(self._groups, -1)
        first[self._group[::-1]] = np.arange(len(points))[::-1]
        self._ankle_groups = np.flatnonzero(points.is_ankle[first]) if self._groups else np.zeros(0, int)

    def _placed_arrays(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        rotation, translation = self._rotation.copy(), self._translation.copy()
        stretch = np.ones(len(rotation))
        for row, name in enumerate(self._free):
            index = self._points.camera_ids.index(name)
            part = x[row * self.width : (row + 1) * self.width]
            turn = cv2.Rodrigues(np.asarray(part[:3], np.float64))[0]
            rotation[index] = turn @ rotation[index]
            translation[index] = turn @ translation[index] + part[3:6]
            if self.width == 7:
                stretch[index] = np.exp(part[6])
        return rotation, translation, stretch

    def placed(self, x: FloatArray) -> dict[str, Camera]:
        """All cameras as the unknowns say."""
        rotation, translation, stretch = self._placed_arrays(x)
        out = dict(self._cameras)
        for index, name in enumerate(self._points.camera_ids):
            if name in self._free:
                pose = np.eye(4)
                # Composed turns drift from orthogonality by rounding alone; a Camera wants a rigid transform.
                pose[:3, :3], pose[:3, 3] = rotation[index], translation[index]
                intrinsics = self._cameras[name].intrinsics.copy()
                intrinsics[0, 0] *= stretch[index]
                intrinsics[1, 1] *= stretch[index]
                out[name] = replace(self._cameras[name], cam_from_world=pose, intrinsics=intrinsics)
        return out

    def _solved_points(
        self, rotation: FloatArray, translation: FloatArray, stretch: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Where the points are, shape (groups, 3), and the pictures (normalised) as the lens is now, shape (n, 2)."""
        camera = self._points.camera
        flat = self._normalised / stretch[camera][:, None]
        rays = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        directions = np.einsum("nji,nj->ni", rotation[camera], rays)
        origins = -np.einsum("cji,cj->ci", rotation, translation)[camera]
        projectors = np.eye(3) - directions[:, :, None] * directions[:, None, :]
        normal, right = np.zeros((self._groups, 3, 3)), np.zeros((self._groups, 3))
        np.add.at(normal, self._group, projectors)
        np.add.at(right, self._group, np.einsum("nij,nj->ni", projectors, origins))
        normal += 1e-9 * np.eye(3)  # parallel rays: somewhere far, but a number
        return np.linalg.solve(normal, right[..., None])[..., 0], flat

    def missed_px(self, x: FloatArray) -> FloatArray:
        """Where the cameras put the points less where they are seen, shape (n, 2), pixels."""
        return self._misses(x)[0]

    def _misses(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        rotation, translation, stretch = self._placed_arrays(x)
        points, flat = self._solved_points(rotation, translation, stretch)
        camera = self._points.camera
        seen = np.einsum("nij,nj->ni", rotation[camera], points[self._group]) + translation[camera]
        depth = np.maximum(seen[:, 2:], LEAST_DEPTH_M)
        missed = (seen[:, :2] / depth - flat) * (self._focal * stretch)[camera][:, None]
        return np.clip(missed, -1e4, 1e4), points

    def residuals(self, x: FloatArray) -> FloatArray:
        """All misses in standard deviations: key-points, ankles above the floor."""
        missed, points = self._misses(x)
        share = missed / self._sd_px[self._points.camera][:, None]
        ankles = (points[self._ankle_groups, 2] - ANKLE_HEIGHT_M) / ANKLE_SD_M
        return np.concatenate([share.ravel(), np.clip(ankles, -100, 100)])

    def _prior_sd(self) -> FloatArray:
        one = [PRIOR_SD_RAD] * 3 + [PRIOR_SD_M] * 3 + [PRIOR_SD_LOG_FOCAL] * (self.width - 6)
        return np.tile(np.array(one), len(self._free))

    def solved(self) -> FloatArray:
        """The unknowns that fit best, with outliers counting less (iteratively reweighted, Cauchy's weights)."""
        x = np.zeros(self.width * len(self._free))
        for _ in range(3):
            weights = self._weights(x)

            def cost(at: FloatArray, weights: FloatArray = weights) -> FloatArray:
                return np.concatenate([self.residuals(at) * weights, at / self._prior_sd()])

            found = least_squares(cost, x, method="lm", max_nfev=40 * len(x))
            x = np.asarray(found.x)
        return x

    def _weights(self, x: FloatArray) -> FloatArray:
        residuals = self.residuals(x)
        count = 2 * len(self._points)
        length = np.linalg.norm(residuals[:count].reshape(-1, 2), axis=1)
        both = np.concatenate(
            [np.repeat(1 / np.sqrt(1 + (length / 2) ** 2), 2), 1 / np.sqrt(1 + residuals[count:] ** 2)]
        )
        # Errors of one person's points last for a while: so many rows are worth one.
        return np.asarray(both / np.sqrt(CORRELATED))

    def covariance(self, x: FloatArray) -> FloatArray:
        """Covariance of the unknowns from the curvature of the fit."""
        weights = self._weights(x)
        step = 1e-5
        columns = [
            (self.residuals(x + step * unit) - self.residuals(x - step * unit)) * weights / (2 * step)
            for unit in np.eye(len(x))
        ]
        jacobian = np.stack(columns, axis=1)
        return np.asarray(np.linalg.inv(jacobian.T @ jacobian + np.diag(self._prior_sd() ** -2.0)))
