"""Where a camera hangs and how it looks, from points whose pixels and places in the store are both known.

An installer clicks a dozen points in the picture (tile corners, shelf feet, posts) and measures where they are. The
pose always comes from these pairs; the focal length and one distortion coefficient do too unless they are known. A few
wrong pairs are found, left out of the fit and reported.
"""

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.optimize import least_squares

from vision.arrays import BoolArray, FloatArray, ImageArray, check_shape
from vision.cameras import Camera
from vision.layout import StoreLayout, layout_to_yaml

_log = logging.getLogger(__name__)

READING_SD_SHARE = 1 / 640
"""How well a person clicks a point, as a share of the picture's width: about one pixel of a 640 pixel wide picture."""

OUTLIER_SIGMAS = 3.5  # a right pair misses by more in 0.2 % of cases (Rayleigh distribution of a 2-D error)
MAX_FOCAL_SD_SHARE = 0.25  # a focal length known worse than this is a guess, and so is everything built on it
MAX_POSITION_SD_M = 1.0
MAX_MEDIAN_SHARE = 0.05  # pairs whose median error is above this share of the width describe no camera at all
FOCAL_SHARES = (0.4, 0.5, 0.65, 0.8, 1.0, 1.3, 1.7, 2.4, 3.5)  # of the width, to start from: 103 to 16 degrees wide
MAX_SUBSETS = 150
STARTS = 6
MIN_DEPTH_M = 0.01


@dataclass(frozen=True, slots=True)
class PointPairs:
    """Points of one camera's picture and where they are in the world.

    Attributes:
        camera_id: The camera.
        names: A name for each pair, length n.
        points_px: Points (x, y) in the picture, shape (n, 2), pixels.
        points_m: The same points in the world, shape (n, 3), metres, floor at z = 0.
        resolution_wh: Size of the picture, pixels; None if the file does not say.
        intrinsics: Camera matrix, shape (3, 3), pixels, if the file gives it.
        distortion: (k1, k2, p1, p2, k3), shape (5,), if the file gives it.
        world_from_cam: Pose that the file itself holds for right, shape (4, 4), metres, or None.
    """

    camera_id: str
    names: tuple[str, ...]
    points_px: FloatArray
    points_m: FloatArray
    resolution_wh: tuple[int, int] | None = None
    intrinsics: FloatArray | None = None
    distortion: FloatArray | None = None
    world_from_cam: FloatArray | None = None

    def __post_init__(self) -> None:
        n = len(self.names)
        check_shape(f"camera {self.camera_id}: points_px", self.points_px, (n, 2))
        check_shape(f"camera {self.camera_id}: points_m", self.points_m, (n, 3))


@dataclass(frozen=True, slots=True)
class Calibration:
    """A calibrated camera and how well it fits its pairs.

    Attributes:
        camera: The camera.
        pairs: What it was made from.
        errors_px: Distance in the picture between each pair's point and where the camera puts its place, shape (n,),
            pixels; also for the pairs that were left out.
        is_outlier: Pairs that do not agree with the others and were left out of the fit, shape (n,).
        floor_errors_m: For pairs on the floor (z = 0) the distance on the floor between where the camera sees the point
            and where it is, shape (n,), metres; nan for the others and above the horizon.
        focal_sd_px: Standard deviation of the focal length, pixels; 0 where it was given.
        position_sd_m: Standard deviation of the camera's position (root of the summed variances), metres.
    """

    camera: Camera
    pairs: PointPairs
    errors_px: FloatArray
    is_outlier: BoolArray
    floor_errors_m: FloatArray
    focal_sd_px: float
    position_sd_m: float

    def __post_init__(self) -> None:
        n = len(self.pairs.names)
        check_shape("Calibration.errors_px", self.errors_px, (n,))
        check_shape("Calibration.is_outlier", self.is_outlier, (n,))
        check_shape("Calibration.floor_errors_m", self.floor_errors_m, (n,))

    @property
    def rms_px(self) -> float:
        """Root mean square of the errors of the pairs that agree, pixels."""
        return float(np.sqrt(np.mean(self.errors_px[~self.is_outlier] ** 2)))

    @property
    def floor_rms_m(self) -> float:
        """Root mean square of the floor errors of the pairs that agree, metres; nan without a pair on the floor."""
        errors = self.floor_errors_m[~self.is_outlier & np.isfinite(self.floor_errors_m)]
        return float(np.sqrt(np.mean(errors**2))) if len(errors) else float("nan")

    @property
    def outlier_names(self) -> tuple[str, ...]:
        """Names of the pairs that were left out."""
        return tuple(name for name, out in zip(self.pairs.names, self.is_outlier, strict=True) if out)


def calibrate_camera(
    points_px: FloatArray,
    points_m: FloatArray,
    resolution_wh: tuple[int, int],
    *,
    camera_id: str = "camera",
    names: Sequence[str] | None = None,
    intrinsics: FloatArray | None = None,
    distortion: FloatArray | None = None,
    estimate_distortion: bool = False,
) -> Calibration:
    """Find a camera from pairs of picture points and world points.

    Starts come from many small sets of pairs (least median of squares: Rousseeuw, *Least Median of Squares Regression*,
    1984; poses by SQPnP: Terzakis & Lourakis, 2020), so that up to nearly half of the pairs may be wrong; the best are
    refined by robust least squares, pairs that do not agree are flagged, and the rest is fitted once more.

    Args:
        points_px: Points (x, y) in the picture, shape (n, 2), pixels.
        points_m: The same points in the world, shape (n, 3), metres, right-handed with z up and the floor at z = 0.
        resolution_wh: Size of the picture, pixels.
        camera_id: What to call the camera.
        names: A name for each pair; numbers from 1 if None.
        intrinsics: Camera matrix, shape (3, 3), pixels. If None the focal length is estimated, with the principal point
            in the middle of the picture and square pixels.
        distortion: (k1, k2, p1, p2, k3), shape (5,); none if None.
        estimate_distortion: Estimate k1 instead; only without given intrinsics and distortion.

    Returns:
        The camera with the error of every pair.

    Raises:
        ValueError: The pairs do not determine a camera: too few (4; for the focal length 6, unless all lie in one
            plane), in one line, contradicting each other, a mirrored world, or a view that leaves the focal length
            open.
    """
    image = np.asarray(points_px, np.float64)
    world = np.asarray(points_m, np.float64)
    pairs = PointPairs(
        camera_id,
        tuple(names) if names is not None else tuple(str(number) for number in range(1, len(image) + 1)),
        image,
        world,
        resolution_wh,
        intrinsics,
        distortion,
    )
    if min(resolution_wh) < 1:
        raise ValueError(f"camera {camera_id}: expected a picture with pixels, got {resolution_wh}")
    if estimate_distortion and (distortion is not None or intrinsics is not None):
        raise ValueError(f"camera {camera_id}: distortion can only be estimated where no lens parameters are given")
    _check_enough(pairs, estimate_distortion)
    problem = _Problem(
        world,
        image,
        resolution_wh,
        None if intrinsics is None else np.asarray(intrinsics, np.float64),
        np.zeros(5) if distortion is None else np.asarray(distortion, np.float64),
        estimate_distortion,
    )
    reading_sd_px = READING_SD_SHARE * resolution_wh[0]
    parameters = _consensus(problem, reading_sd_px)
    if parameters is None:
        raise ValueError(f"camera {camera_id}: no camera sees these pairs; are picture and world points swapped?")
    parameters, is_outlier = _refined(problem, parameters, reading_sd_px)
    errors = problem.errors_px(parameters)
    median = float(np.median(errors))
    if median > MAX_MEDIAN_SHARE * resolution_wh[0]:
        raise ValueError(
            f"camera {camera_id}: the pairs contradict each other: half of them miss by over {median:.0f} px"
        )
    camera = problem.camera(camera_id, parameters)
    _check_position(camera, world)
    focal_sd_px, position_sd_m = _uncertainty(problem, parameters, ~is_outlier, reading_sd_px)
    if not focal_sd_px <= MAX_FOCAL_SD_SHARE * camera.intrinsics[0, 0]:
        raise ValueError(
            f"camera {camera_id}: these pairs leave the focal length open ({camera.intrinsics[0, 0]:.0f} px, "
            f"give or take {focal_sd_px:.0f}): add points at other heights or distances, or give the intrinsics"
        )
    if not position_sd_m <= MAX_POSITION_SD_M:
        raise ValueError(
            f"camera {camera_id}: these pairs leave its place open by {position_sd_m:.1f} m: spread them further apart"
        )
    if is_outlier.any():
        _log.warning("camera %s: %d of %d pairs do not agree", camera_id, is_outlier.sum(), len(errors))
    return Calibration(
        camera,
        pairs,
        errors,
        is_outlier,
        _floor_errors_m(camera, image, world),
        focal_sd_px,
        position_sd_m,
    )


def calibrate_pairs(
    pairs: PointPairs, resolution_wh: tuple[int, int] | None = None, *, estimate_distortion: bool = False
) -> Calibration:
    """Find a camera from pairs as read from a file, with the lens parameters that the file gives, if any.

    Args:
        pairs: The pairs.
        resolution_wh: Size of the picture, where the file does not say.
        estimate_distortion: Estimate k1; only where the file gives no lens parameters.

    Raises:
        ValueError: The size of the picture is not known, or as for :func:`calibrate_camera`.
    """
    size = pairs.resolution_wh or resolution_wh
    if size is None:
        raise ValueError(f"camera {pairs.camera_id}: the size of its picture is needed, the file does not give it")
    return calibrate_camera(
        pairs.points_px,
        pairs.points_m,
        size,
        camera_id=pairs.camera_id,
        names=pairs.names,
        intrinsics=pairs.intrinsics,
        distortion=pairs.distortion,
        estimate_distortion=estimate_distortion,
    )


@dataclass(frozen=True, slots=True)
class _Problem:
    """The least-squares problem: the parameters are rotation vector, translation, log focal length and k1."""

    world: FloatArray
    image: FloatArray
    resolution_wh: tuple[int, int]
    intrinsics: FloatArray | None
    distortion: FloatArray
    estimate_distortion: bool

    @property
    def lens_bounds(self) -> list[tuple[float, float]]:
        """Limits of the lens parameters that are open: any lens between a fisheye and a long telephoto."""
        width = self.resolution_wh[0]
        open_focal = [(np.log(0.15 * width), np.log(15.0 * width))] if self.intrinsics is None else []
        return open_focal + ([(-0.6, 0.6)] if self.estimate_distortion else [])

    def lens(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Camera matrix, shape (3, 3), and distortion, shape (5,)."""
        distortion = self.distortion
        if self.estimate_distortion:
            distortion = np.array([parameters[-1], 0.0, 0.0, 0.0, 0.0])
        if self.intrinsics is not None:
            return self.intrinsics, distortion
        focal = float(np.exp(parameters[6]))
        width, height = self.resolution_wh
        return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]]), distortion

    def residuals(self, parameters: FloatArray) -> FloatArray:
        """Where the camera puts the world points, less where they are in the picture, shape (n, 2), pixels."""
        rotation = cv2.Rodrigues(parameters[:3])[0]
        depth = self.world @ rotation[2] + parameters[5]
        matrix, distortion = self.lens(parameters)
        projected = cv2.projectPoints(self.world[:, None], parameters[:3], parameters[3:6], matrix, distortion)[0][:, 0]
        missed = np.asarray(projected, np.float64) - self.image
        # A point behind the camera has no picture; far off, and farther the deeper it is, leads the search back.
        behind = depth < MIN_DEPTH_M
        missed[behind] = 10.0 * self.resolution_wh[0] * (1.0 + np.abs(depth[behind, None]))
        return np.nan_to_num(missed, nan=1e6, posinf=1e6, neginf=-1e6)

    def errors_px(self, parameters: FloatArray) -> FloatArray:
        """Length of each residual, shape (n,), pixels."""
        return np.asarray(np.linalg.norm(self.residuals(parameters), axis=1))

    def camera(self, camera_id: str, parameters: FloatArray) -> Camera:
        """The camera that the parameters describe."""
        matrix, distortion = self.lens(parameters)
        cam_from_world = np.eye(4)
        cam_from_world[:3, :3] = cv2.Rodrigues(parameters[:3])[0]
        cam_from_world[:3, 3] = parameters[3:6]
        return Camera(camera_id, matrix, distortion, cam_from_world, self.resolution_wh)

    def fitted(self, start: FloatArray, rows: BoolArray, robust_px: float | None) -> FloatArray:
        """Minimise the residuals of some rows, plainly or with errors beyond ``robust_px`` counting less and less."""
        bounds = [(-np.inf, np.inf)] * 6 + self.lens_bounds
        low, high = np.array(bounds).T

        def flat(parameters: FloatArray) -> FloatArray:
            return self.residuals(parameters)[rows].ravel()

        options: dict[str, Any] = {} if robust_px is None else {"loss": "cauchy", "f_scale": robust_px}
        found = least_squares(
            flat, np.clip(start, low, high), bounds=(low, high), x_scale="jac", max_nfev=300, **options
        )
        return np.asarray(found.x)


def _check_enough(pairs: PointPairs, estimate_distortion: bool) -> None:
    """Raise unless the pairs are finite, enough, and spread over more than a line in world and picture."""
    who = f"camera {pairs.camera_id}"
    n = len(pairs.names)
    if not (np.isfinite(pairs.points_px).all() and np.isfinite(pairs.points_m).all()):
        raise ValueError(f"{who}: a pair has a number that is not finite")
    if n < 4:
        raise ValueError(f"{who}: expected at least 4 pairs, got {n}")
    spread_m = np.linalg.svd(pairs.points_m - pairs.points_m.mean(axis=0), compute_uv=False) / np.sqrt(n)
    spread_px = np.linalg.svd(pairs.points_px - pairs.points_px.mean(axis=0), compute_uv=False) / np.sqrt(n)
    # 1 cm is what a tape measure is good for; a line wider than that is one all the same if it is 100 times longer.
    if spread_m[1] < max(0.01, 0.01 * spread_m[0]):
        raise ValueError(f"{who}: the world points lie in one line: spread them over an area")
    if spread_px[1] < max(1.0, 0.01 * spread_px[0]):
        raise ValueError(f"{who}: the picture points lie in one line: spread them over the picture")
    if pairs.intrinsics is not None:
        return
    is_flat = spread_m[2] < max(0.01, 0.01 * spread_m[0])
    wanted = (4 if is_flat else 6) + (2 if estimate_distortion else 0)
    if n < wanted:
        raise ValueError(f"{who}: expected at least {wanted} pairs to find the lens as well, got {n}")


def _check_position(camera: Camera, world: FloatArray) -> None:
    height = float(camera.position_m[2])
    if height < 0 and world[:, 2].min() >= -0.01:
        raise ValueError(
            f"camera {camera.camera_id}: it comes out {-height:.1f} m below the floor; "
            "is the world right-handed with z up?"
        )


def _consensus(problem: _Problem, reading_sd_px: float) -> FloatArray | None:
    """Find the parameters that most pairs agree on, from many small sets of pairs."""
    n = len(problem.world)
    subsets: list[tuple[int, ...]]
    if n <= 9:
        subsets = list(itertools.combinations(range(n), 4))
    else:
        # A fixed seed: the same pairs always give the same camera.
        rng = np.random.default_rng(0)
        subsets = [tuple(rng.choice(n, 4, replace=False)) for _ in range(MAX_SUBSETS)]
    subsets.append(tuple(range(n)))
    shares = FOCAL_SHARES if problem.intrinsics is None else (1.0,)
    starts: list[tuple[float, FloatArray]] = []
    for share in shares:
        lens_start = np.array([np.log(share * problem.resolution_wh[0]), 0.0][: len(problem.lens_bounds)])
        matrix, distortion = problem.lens(np.concatenate([np.zeros(6), lens_start]))
        for subset in subsets:
            rows = list(subset)
            try:
                ok, rotation, translation = cv2.solvePnP(
                    problem.world[rows][:, None],
                    problem.image[rows][:, None],
                    matrix,
                    distortion,
                    flags=cv2.SOLVEPNP_SQPNP,
                )
            except cv2.error:
                continue  # this small set is degenerate
            if not ok or not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
                continue
            parameters = np.concatenate([rotation.ravel(), translation.ravel(), lens_start])
            starts.append((float(np.median(problem.errors_px(parameters))), parameters))
    starts.sort(key=lambda start: start[0])
    every = np.ones(n, np.bool_)

    def cost(parameters: FloatArray) -> float:
        squares = (problem.errors_px(parameters) / (2 * reading_sd_px)) ** 2
        return float(np.log1p(squares).sum())

    refined = [problem.fitted(start, every, 2 * reading_sd_px) for _, start in _spread(starts)]
    return min(refined, key=cost, default=None)


def _spread(starts: list[tuple[float, FloatArray]]) -> list[tuple[float, FloatArray]]:
    """Keep the best few starts, not more than two of one focal length."""
    kept: list[tuple[float, FloatArray]] = []
    for start in starts:
        same = sum(np.array_equal(start[1][6:], other[1][6:]) for other in kept)
        if len(start[1]) == 6 or same < 2:
            kept.append(start)
        if len(kept) == STARTS:
            break
    return kept


def _refined(problem: _Problem, parameters: FloatArray, reading_sd_px: float) -> tuple[FloatArray, BoolArray]:
    """Flag the pairs that do not agree and fit the rest, until the flags stay."""
    n = len(problem.world)
    unknowns = len(parameters)
    is_outlier = _flags(problem.errors_px(parameters), reading_sd_px, unknowns)
    for _ in range(10):
        if 2 * int((~is_outlier).sum()) < unknowns:
            return parameters, is_outlier
        parameters = problem.fitted(parameters, ~is_outlier, None)
        again = _flags(problem.errors_px(parameters), reading_sd_px, unknowns)
        if np.array_equal(again, is_outlier) or n - int(again.sum()) < 4:
            break
        is_outlier = again
    return parameters, is_outlier


def _flags(errors_px: FloatArray, reading_sd_px: float, unknowns: int) -> BoolArray:
    """Which errors are too large for the spread of the rest (median absolute deviation of a 2-D error)."""
    n = len(errors_px)
    spare = max(1 - unknowns / (2 * n), 0.1)  # a fit with few spare pairs makes errors look small
    sigma = float(np.median(errors_px)) / 1.1774 / np.sqrt(spare)
    return np.asarray(errors_px > OUTLIER_SIGMAS * max(sigma, reading_sd_px))


def _uncertainty(
    problem: _Problem, parameters: FloatArray, rows: BoolArray, reading_sd_px: float
) -> tuple[float, float]:
    """Standard deviation of focal length (pixels) and position (metres) from the curvature of the fit."""

    def residuals(x: FloatArray) -> FloatArray:
        return problem.residuals(x)[rows].ravel()

    jacobian = _jacobian(residuals, parameters)
    spare = max(len(jacobian) - len(parameters), 1)
    variance = max(float((residuals(parameters) ** 2).sum()) / spare, reading_sd_px**2)
    scale = np.maximum(np.linalg.norm(jacobian, axis=0), 1e-12)
    normal = (jacobian / scale).T @ (jacobian / scale)
    if np.linalg.cond(normal) > 1e12:
        return float("inf"), float("inf")
    covariance = variance * np.linalg.inv(normal) / np.outer(scale, scale)

    def position(x: FloatArray) -> FloatArray:
        return np.asarray(-cv2.Rodrigues(x[:3])[0].T @ x[3:6])

    by_parameter = _jacobian(position, parameters)
    position_sd_m = float(np.sqrt(np.trace(by_parameter @ covariance @ by_parameter.T)))
    if problem.intrinsics is not None:
        return 0.0, position_sd_m
    return float(np.exp(parameters[6]) * np.sqrt(covariance[6, 6])), position_sd_m


def _jacobian(function: Callable[[FloatArray], FloatArray], at: FloatArray) -> FloatArray:
    """Central differences of a function of a vector, shape (outputs, len(at))."""
    step = 1e-5 * np.maximum(np.abs(at), 1.0)
    columns = [
        (function(at + unit * size) - function(at - unit * size)) / (2 * size)
        for unit, size in zip(np.eye(len(at)), step, strict=True)
    ]
    return np.stack(columns, axis=1)


def _floor_errors_m(camera: Camera, image: FloatArray, world: FloatArray) -> FloatArray:
    errors = np.full(len(world), np.nan)
    on_floor = world[:, 2] == 0
    if on_floor.any():
        seen = camera.floor_points(image[on_floor])
        errors[on_floor] = np.linalg.norm(seen - world[on_floor, :2], axis=1)
    return errors


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


_Row3 = tuple[float, float, float]
_Row4 = tuple[float, float, float, float]
_Size = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]


class _Pair(_Strict):
    name: str | None = None
    pixel: tuple[float, float]
    world_m: _Row3


class _CameraPairs(_Strict):
    resolution_wh: _Size | None = None
    intrinsics: tuple[_Row3, _Row3, _Row3] | None = None
    distortion: tuple[float, float, float, float, float] | None = None
    pairs: list[_Pair]


class _PairsFile(_Strict):
    format: Literal["tillfree-pairs/1"]
    cameras: dict[str, _CameraPairs]


class _SolvedPairs(_Strict):
    K_px: tuple[_Row3, _Row3, _Row3]
    dist: tuple[float, float, float, float, float]
    Tw_m: tuple[_Row4, _Row4, _Row4, _Row4]
    pairs: list[_Pair]


def read_point_pairs(path: Path) -> tuple[PointPairs, ...]:
    """Read the point pairs of one or more cameras from YAML or JSON.

    Two formats are read. Ours::

        format: tillfree-pairs/1
        cameras:
          door:
            resolution_wh: [640, 360]   # optional, also intrinsics (3 x 3) and distortion (5)
            pairs:
              - {name: A, pixel: [311.1, 331.4], world_m: [3.848, -0.418, 0]}

    And that of a solved calibration: cameras by number, each with ``K_px``, ``dist``, ``Tw_m`` (world from camera,
    metres) and ``pairs``. Camera 3 is then called ``cam3``, as the video files of that format are.

    Returns:
        One entry for each camera, in the file's order.

    Raises:
        ValueError: The file is neither; the message names the place.
        OSError: The file cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a YAML or JSON file: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: expected point pairs (format: tillfree-pairs/1), got {type(content).__name__}")
    try:
        if "format" in content:
            cameras = _PairsFile.model_validate(content).cameras
            return tuple(_pairs_from(camera_id, entry) for camera_id, entry in cameras.items())
        solved = {str(key): _SolvedPairs.model_validate(entry) for key, entry in content.items()}
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the top"
        raise ValueError(f"{path}: at {place}: {first['msg']}") from error
    found = []
    for key, entry in solved.items():
        lens = _CameraPairs(intrinsics=entry.K_px, distortion=entry.dist, pairs=entry.pairs)
        plain = _pairs_from(f"cam{key}" if key.isdigit() else key, lens)
        found.append(replace(plain, world_from_cam=np.array(entry.Tw_m)))
    return tuple(found)


def _pairs_from(camera_id: str, entry: _CameraPairs) -> PointPairs:
    return PointPairs(
        camera_id,
        tuple(pair.name or str(number) for number, pair in enumerate(entry.pairs, 1)),
        np.array([pair.pixel for pair in entry.pairs], float).reshape(-1, 2),
        np.array([pair.world_m for pair in entry.pairs], float).reshape(-1, 3),
        entry.resolution_wh,
        None if entry.intrinsics is None else np.array(entry.intrinsics),
        None if entry.distortion is None else np.array(entry.distortion),
    )


def write_calibration(calibrations: Sequence[Calibration], path: Path, *, name: str) -> None:
    """Write cameras as a layout file (format ``tillfree-layout/1``), for ``--layout`` or to go on editing.

    Args:
        calibrations: One for each camera.
        path: The file to write.
        name: What to call the layout.

    Raises:
        ValueError: A camera is there twice.
        OSError: The file cannot be written.
    """
    layout = StoreLayout(name=name, cameras=tuple(each.camera for each in calibrations))
    about = "; ".join(_about(each) for each in calibrations)
    path.write_text(layout_to_yaml(layout, about=about), encoding="utf-8")


def _about(calibration: Calibration) -> str:
    kept = int((~calibration.is_outlier).sum())
    text = f"{calibration.camera.camera_id}: {kept} of {len(calibration.is_outlier)} pairs, {calibration.rms_px:.1f} px"
    return text + (f", floor {100 * calibration.floor_rms_m:.0f} cm" if np.isfinite(calibration.floor_rms_m) else "")


PAIR_COLOUR = (0, 200, 0)
OUTLIER_COLOUR = (0, 0, 255)
GRID_COLOUR = (200, 160, 60)
GRID_STEP_M = 0.5


def draw_calibration(image: ImageArray, calibration: Calibration) -> ImageArray:
    """Show how well a camera fits: each pair's point (cross), where the camera puts it (ring), and a floor grid.

    The grid has lines every half metre over the area of the pairs; it should lie flat on the floor. Pairs that were
    left out are red.

    Args:
        image: The camera's picture, shape (h, w, 3) BGR; of any size of the same view.
        calibration: What to show.

    Returns:
        A new picture.
    """
    canvas = image.copy()
    height, width = canvas.shape[:2]
    camera = calibration.camera.resized((width, height))
    scale = np.array([width, height]) / np.array(calibration.camera.resolution_wh)
    for line in _floor_grid(calibration.pairs.points_m):
        points = camera.image_points(line)
        for start, end in itertools.pairwise(points):
            if np.isfinite([start, end]).all() and np.abs([start, end]).max() < 4 * max(width, height):
                cv2.line(canvas, _pixel(start), _pixel(end), GRID_COLOUR, 1, cv2.LINE_AA)
    placed = camera.image_points(calibration.pairs.points_m)
    for name, clicked, seen, out in zip(
        calibration.pairs.names, calibration.pairs.points_px * scale, placed, calibration.is_outlier, strict=True
    ):
        colour = OUTLIER_COLOUR if out else PAIR_COLOUR
        cv2.drawMarker(canvas, _pixel(clicked), colour, cv2.MARKER_CROSS, 9, 1, cv2.LINE_AA)
        if np.isfinite(seen).all() and np.abs(seen).max() < 4 * max(width, height):
            cv2.circle(canvas, _pixel(seen), 5, colour, 1, cv2.LINE_AA)
            cv2.line(canvas, _pixel(clicked), _pixel(seen), colour, 1, cv2.LINE_AA)
        x, y = _pixel(clicked)
        cv2.putText(canvas, name, (x + 7, y - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
    return canvas


def _floor_grid(points_m: FloatArray) -> list[FloatArray]:
    """Lines on the floor every half metre over the area of some points, each cut short enough to bend with the lens."""
    low = np.floor(points_m[:, :2].min(axis=0) / GRID_STEP_M) * GRID_STEP_M
    high = np.ceil(points_m[:, :2].max(axis=0) / GRID_STEP_M) * GRID_STEP_M
    step = GRID_STEP_M * max(1.0, np.ceil((high - low).max() / (40 * GRID_STEP_M)))
    lines: list[FloatArray] = []
    for axis in (0, 1):
        along = np.linspace(low[1 - axis], high[1 - axis], 41)
        for at in np.arange(low[axis], high[axis] + 1e-9, step):
            line = np.zeros((len(along), 3))
            line[:, axis], line[:, 1 - axis] = at, along
            lines.append(line)
    return lines


def _pixel(point: FloatArray) -> tuple[int, int]:
    return int(np.floor(point[0])), int(np.floor(point[1]))
