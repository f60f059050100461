"""Whether an installed camera still sees what it saw when it was calibrated, or was moved, covered, blurred, darkened.

A picture of the still scene is kept from the day of calibration. Later, its fine features are looked for in a picture
of today; where they have gone, and how far away they lie by the layout (floor, shelves, walls), tells how the camera
has moved. What changes by itself, light, goods and people, moves few of the features or none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from vision.arrays import BoolArray, FloatArray, ImageArray
from vision.cameras import Camera
from vision.layout import StoreLayout

FEATURES = 600
FEATURE_QUALITY = 0.01
MATCH_RATIO = 0.8  # Lowe, 2004: a match is taken if the next best is clearly worse
LK_WINDOW_PX = 21
THERE_AND_BACK_PX = 0.5  # a feature that is followed there and back must come home
MIN_FEATURES = 25  # a pose has 6 unknowns; with fewer features than this a third of them wrong could agree by chance
MIN_FEATURE_SHARE = 0.08  # of those of the reference; where fewer are found again something is before the lens
FEATURE_SD_PX = 0.35  # what followed features of unmoved, noisy, compressed pictures of rendered shops miss by
MOVED_SHARE = 1 / 430
"""From how far features must have gone, in the median, to speak of a move, as a share of the width: 1.5 of 640 pixels.

A ceiling camera that is shifted by 5 cm shifts the picture of what is 3 m away by 6 pixels, one turned by 2 degrees
by 12; warmth and heavy doors make mounts give by a pixel."""

DEPTH_ERROR_SHARE = 0.1
"""Shelves are not filled to their fronts and walls are guessed: depths are off by a tenth, and so is a move."""

WALL_SD_M = 0.5  # how well the depth of what the layout does not know is guessed
DARK_LEVEL = 16.0  # grey levels: the darkest that limited-range video has for black
FLAT_SHARE = 0.25  # of the reference's contrast: less, and the lens is covered or fogged
BLUR_SHARE = 0.3  # of the reference's fine detail, light for light: what 1.5 pixels of defocus leave
FROZEN_LEVEL = 0.02  # mean grey levels between two pictures: a sensor's own noise is ten times that
NEAR_M, FAR_M = 0.2, 30.0


class CameraState(Enum):
    """What a check says of a camera; the first that holds."""

    DEAD = "dead"
    FROZEN = "frozen"
    DARK = "dark"
    COVERED = "covered"
    BLURRED = "blurred"
    MOVED = "moved"
    UNCLEAR = "unclear"
    FINE = "fine"


@dataclass(frozen=True, slots=True)
class CameraMove:
    """How a camera has moved, as far as its pictures tell.

    A small turn and a small shift look alike where everything is equally far away: the standard deviations say so.

    Attributes:
        shift_m: Of its place, shape (3,), world metres.
        shift_cov_m2: Covariance of that, shape (3, 3).
        turn_rad: Angle between how it hung and how it hangs.
        turn_sd_rad: Its standard deviation.
        picture_px: How far the picture has gone, median over the features, pixels.
        features: Features that agree with this move.
        cam_from_world: Where it hangs now, shape (4, 4).
    """

    shift_m: FloatArray
    shift_cov_m2: FloatArray
    turn_rad: float
    turn_sd_rad: float
    picture_px: float
    features: int
    cam_from_world: FloatArray

    @property
    def shift_sd_m(self) -> float:
        """Standard deviation of the shift along its own direction, metres."""
        length = float(np.linalg.norm(self.shift_m))
        way = self.shift_m / length if length > 0 else np.ones(3) / np.sqrt(3)
        return float(np.sqrt(way @ self.shift_cov_m2 @ way))


@dataclass(frozen=True, slots=True)
class CameraCheck:
    """What a check of one camera found.

    Attributes:
        camera_id: The camera.
        state: In one word.
        message: In one sentence, facts with their uncertainty.
        brightness: Mean grey level of today's picture; nan without one.
        contrast: Spread of its grey levels against the reference's.
        sharpness: Fine detail against the reference's, light for light.
        move: How it has moved, where enough features were found again.
    """

    camera_id: str
    state: CameraState
    message: str
    brightness: float
    contrast: float
    sharpness: float
    move: CameraMove | None


def still_picture(images: Sequence[ImageArray]) -> ImageArray:
    """The scene without what moves: the median of pictures over some time, shape (h, w, 3).

    Raises:
        ValueError: There is none, or they differ in size.
    """
    if not len(images):
        raise ValueError("still_picture: expected at least one picture, got none")
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        raise ValueError(f"still_picture: expected pictures of one size, got {shapes[0]} and {shapes[1]}")
    return np.asarray(np.median(np.stack(images), axis=0), np.uint8)


def check_camera(
    camera: Camera, reference: ImageArray, images: Sequence[ImageArray], layout: StoreLayout
) -> CameraCheck:
    """Compare what a camera sees with what it saw when it was calibrated.

    Args:
        camera: As it was calibrated.
        reference: Its still scene on that day, shape (h, w, 3) BGR.
        images: Pictures of today over a minute or so, of the same size as the reference; the more, the better what
            moves goes out of them. With three or more a frozen camera is told.
        layout: What stands where, for the distance of what is seen.

    Returns:
        What was found. A camera without pictures is dead.

    Raises:
        ValueError: A picture has another size than the reference.
    """
    name = camera.camera_id
    if not len(images):
        return CameraCheck(name, CameraState.DEAD, f"{name} sends no pictures", np.nan, np.nan, np.nan, None)
    for image in images:
        if image.shape != reference.shape:
            raise ValueError(f"camera {name}: expected pictures of shape {reference.shape}, got {image.shape}")
    today = still_picture(images)
    brightness = float(today.mean())
    contrast, sharpness = _contrast_share(reference, today), _sharpness_share(reference, today)

    def said(state: CameraState, text: str, move: CameraMove | None = None) -> CameraCheck:
        return CameraCheck(name, state, f"{name} {text}", brightness, contrast, sharpness, move)

    if len(images) > 2 and max(_difference(a, images[0]) for a in images[1:]) < FROZEN_LEVEL:
        return said(CameraState.FROZEN, f"sends the same picture again and again ({len(images)} looked at)")
    if brightness < DARK_LEVEL:
        return said(
            CameraState.DARK, f"is dark: mean grey level {brightness:.0f} of 255, {reference.mean():.0f} before"
        )
    start, end = matched_features(reference, today)
    found_share = len(start) / max(len(_corners(_grey(reference))), 1)
    lost = f"{found_share:.0%} of the reference's features are found again"
    if contrast < FLAT_SHARE:
        return said(CameraState.COVERED, f"is covered or fogged: {contrast:.0%} of the contrast is left, {lost}")
    if sharpness < BLUR_SHARE:
        return said(CameraState.BLURRED, f"is blurred: {sharpness:.0%} of the fine detail is left, {lost}")
    if len(start) < MIN_FEATURES or found_share < MIN_FEATURE_SHARE:
        return said(CameraState.UNCLEAR, f"sees another scene, or something is before the lens: {lost}")
    fitted = camera.resized((reference.shape[1], reference.shape[0]))
    move = camera_move(fitted, layout, start, end)
    if move is None:
        return said(CameraState.UNCLEAR, f"sees features that agree with no move: {lost}")
    if not is_moved(move, reference.shape[1]):
        return said(CameraState.FINE, f"has not moved: the picture is where it was to {move.picture_px:.1f} px", move)
    return said(CameraState.MOVED, f"has moved by {described(move)}: the picture by {move.picture_px:.1f} px", move)


def described(move: CameraMove) -> str:
    """A move for people, with standard deviations: ``5.2 cm (± 0.8) and 1.3 degrees (± 0.2)``."""
    shift, turn = 100 * float(np.linalg.norm(move.shift_m)), float(np.rad2deg(move.turn_rad))
    return (
        f"{shift:.1f} cm (± {100 * move.shift_sd_m:.1f}) and {turn:.1f} degrees (± {np.rad2deg(move.turn_sd_rad):.1f})"
    )


def is_moved(move: CameraMove, width_px: int) -> bool:
    """Whether the picture has gone farther than mounts give by themselves; features err by a tenth of that."""
    return move.picture_px > MOVED_SHARE * width_px


def matched_features(before: ImageArray, after: ImageArray) -> tuple[FloatArray, FloatArray]:
    """Find fine features of a picture again in another of nearly the same view.

    Features are matched by what they look like (SIFT, Lowe 2004), which gives how the picture has gone as a whole
    (a homography); corners are then followed from there to parts of a pixel (Lucas & Kanade, 1981), there and back.

    Args:
        before: Shape (h, w, 3) BGR.
        after: The same size.

    Returns:
        Points (x, y) before and after, each shape (n, 2), pixels.
    """
    one, other = _grey(before), _grey(after)
    corners = _corners(one)
    if not len(corners):
        return np.zeros((0, 2)), np.zeros((0, 2))
    guess = _warped(corners, _homography(one, other))
    start = np.ascontiguousarray(corners[:, None], np.float32)
    goal = np.ascontiguousarray(guess[:, None], np.float32)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.01)
    window = (LK_WINDOW_PX, LK_WINDOW_PX)
    there, ok, _ = cv2.calcOpticalFlowPyrLK(
        one,
        other,
        start,
        goal,
        winSize=window,
        maxLevel=2,
        criteria=criteria,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(
        other,
        one,
        there,
        start.copy(),
        winSize=window,
        maxLevel=2,
        criteria=criteria,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    home = np.linalg.norm(back[:, 0] - start[:, 0], axis=1) < THERE_AND_BACK_PX
    height, width = one.shape
    inside = ((there[:, 0] >= 0) & (there[:, 0] < [width, height])).all(axis=1)
    kept = (ok[:, 0] == 1) & (ok_back[:, 0] == 1) & home & inside & _alike(one, other, start[:, 0], there[:, 0])
    return start[kept, 0].astype(np.float64), there[kept, 0].astype(np.float64)


def camera_move(camera: Camera, layout: StoreLayout, before_px: FloatArray, after_px: FloatArray) -> CameraMove | None:
    """How a camera has moved, from where features of the still scene were and are.

    Args:
        camera: As it hung before.
        layout: What stands where.
        before_px: Features before, shape (n, 2), pixels.
        after_px: The same features after, shape (n, 2), pixels.

    Returns:
        The move; None if too few features agree on one.
    """
    points, known = scene_points(camera, layout, before_px)
    usable = np.isfinite(points).all(axis=1)
    points, known = points[usable], known[usable]
    start, end = before_px[usable], after_px[usable]
    if len(points) < MIN_FEATURES:
        return None
    # How much a wrong depth shows in a feature's place is not known before the shift is; 5 cm stand for it.
    depth = points @ camera.cam_from_world[2, :3] + camera.cam_from_world[2, 3]
    doubt_px = np.where(known, 0.0, camera.intrinsics[0, 0] * 0.05 * WALL_SD_M / np.maximum(depth, NEAR_M) ** 2)
    sd_px = np.hypot(FEATURE_SD_PX, doubt_px)[:, None]
    unmoved = camera.image_points(points)

    def missed(x: FloatArray) -> FloatArray:
        seen = _moved(camera, x).image_points(points) - unmoved
        return np.asarray(np.nan_to_num(seen - (end - start), nan=1e3) / sd_px)

    def flat(x: FloatArray) -> FloatArray:
        return missed(x).ravel()

    x = np.zeros(6)
    for scale in (10.0, 3.0, 2.0):  # from far off to near: in the end only what agrees counts
        found = least_squares(flat, x, loss="cauchy", f_scale=scale, x_scale=[0.01] * 3 + [0.05] * 3)
        x = np.asarray(found.x)
    errors = missed(x)
    agrees = np.linalg.norm(errors, axis=1) < 5
    if agrees.sum() < MIN_FEATURES or agrees.mean() < 0.3:
        return None
    step = 1e-5
    jacobian = np.stack(
        [(missed(x + step * unit) - missed(x - step * unit))[agrees].ravel() / (2 * step) for unit in np.eye(6)], axis=1
    )
    variance = max(float((errors[agrees] ** 2).sum() / (2 * agrees.sum() - 6)), 1.0)
    covariance = variance * np.linalg.inv(jacobian.T @ jacobian + 1e-9 * np.eye(6))
    # Errors of depth and lens are shared by neighbouring features: one in ten is independent of the others.
    covariance *= 10.0
    after = _moved(camera, x)
    shift = after.position_m - camera.position_m
    # What a wrong depth makes of the shift it makes of the turn that goes with it too, seen from usual distances.
    doubt_m = DEPTH_ERROR_SHARE * float(np.linalg.norm(shift))
    doubt_rad = doubt_m / float(np.median(depth))
    rotation = after.cam_from_world[:3, :3]
    angle = float(np.linalg.norm(x[:3]))
    way = x[:3] / angle if angle > 0 else np.ones(3) / np.sqrt(3)
    return CameraMove(
        shift,
        rotation.T @ covariance[3:, 3:] @ rotation + doubt_m**2 * np.eye(3),
        angle,
        float(np.hypot(np.sqrt(way @ covariance[:3, :3] @ way), doubt_rad)),
        float(np.median(np.linalg.norm((end - start)[agrees], axis=1))),
        int(agrees.sum()),
        after.cam_from_world,
    )


def scene_points(camera: Camera, layout: StoreLayout, points_px: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Where in the world picture points lie on what the layout knows to stand still.

    That is the nearest of shelves (the boxes of the bins), the floor, and, for want of better, walls around everything.

    Args:
        camera: The camera.
        layout: What stands where.
        points_px: Picture points, shape (n, 2), pixels.

    Returns:
        World points, shape (n, 3), metres, nan where nothing is met; and whether each lies on the floor or a shelf,
        shape (n,), rather than on a guessed wall.
    """
    origin, directions = camera.position_m, camera.ray_directions(points_px)
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = np.where(directions[:, 2] < 0, -origin[2] / directions[:, 2], np.inf)
    shelves = np.full(len(directions), np.inf)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for each in layout.bins:
        if each.box is None:
            continue
        corners = each.box.corners_m
        low, high = np.minimum(low, corners[:, :2].min(axis=0)), np.maximum(high, corners[:, :2].max(axis=0))
        shelves = np.minimum(shelves, _box_distances(each.box.world_from_box, each.box.size_m, origin, directions))
    if layout.walkable_m is not None:
        low, high = np.minimum(low, layout.walkable_m.min(axis=0)), np.maximum(high, layout.walkable_m.max(axis=0))
    walls = np.full(len(directions), np.inf)
    if np.isfinite([low, high]).all():
        with np.errstate(divide="ignore", invalid="ignore"):
            ways = np.where(
                directions[:, :2] > 0, (high - origin[:2]) / directions[:, :2], (low - origin[:2]) / directions[:, :2]
            )
        ways[~(ways > 0)] = np.inf
        walls = ways.min(axis=1)
    surely = np.minimum(floor, shelves)
    distance = np.minimum(surely, walls)
    distance[~((distance > NEAR_M) & (distance < FAR_M))] = np.nan
    return origin + distance[:, None] * directions, np.asarray(surely <= walls)


def _box_distances(
    world_from_box: FloatArray, size_m: FloatArray, origin: FloatArray, directions: FloatArray
) -> FloatArray:
    """How far rays go until they enter a box, shape (n,), metres; inf if they miss it (slabs: Kay & Kajiya, 1986)."""
    rotation = world_from_box[:3, :3]
    start = (origin - world_from_box[:3, 3]) @ rotation
    ways = directions @ rotation
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = -start / ways, (size_m - start) / ways
    near, far = np.fmin(one, other).max(axis=1), np.fmax(one, other).min(axis=1)
    return np.asarray(np.where((near <= far) & (near > 0), near, np.inf))


def _moved(camera: Camera, x: FloatArray) -> Camera:
    """A camera turned (rotation vector) and shifted in its own axes, x of shape (6,)."""
    change = np.eye(4)
    change[:3, :3], change[:3, 3] = cv2.Rodrigues(np.asarray(x[:3], np.float64))[0], x[3:]
    return replace(camera, cam_from_world=np.asarray(change @ camera.cam_from_world))


def _grey(image: ImageArray) -> ImageArray:
    """Grey picture with the light evened out, so that shadows and lamps count less."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.createCLAHE(2.0, (8, 8)).apply(grey), np.uint8)


def _corners(grey: ImageArray) -> FloatArray:
    found = cv2.goodFeaturesToTrack(grey, FEATURES, FEATURE_QUALITY, 7)
    return np.zeros((0, 2)) if found is None else np.asarray(found[:, 0], np.float64)


def _homography(one: ImageArray, other: ImageArray) -> FloatArray:
    """How one picture has gone to another as a whole, shape (3, 3); the identity if that cannot be told."""
    sift = cv2.SIFT.create(nfeatures=800)
    (points, looks), (others, other_looks) = sift.detectAndCompute(one, None), sift.detectAndCompute(other, None)
    if looks is None or other_looks is None or len(other_looks) < 2:
        return np.eye(3)
    pairs = [
        (points[best.queryIdx].pt, others[best.trainIdx].pt)
        for best, second in cv2.BFMatcher().knnMatch(looks, other_looks, k=2)
        if best.distance < MATCH_RATIO * second.distance
    ]
    if len(pairs) < 12:
        return np.eye(3)
    start, end = (np.array(side, np.float32) for side in zip(*pairs, strict=True))
    cv2.setRNGSeed(0)  # the same pictures always give the same answer
    found, inliers = cv2.findHomography(start, end, cv2.RANSAC, 4.0)
    if found is None or inliers.sum() < 12:
        return np.eye(3)
    return np.asarray(found)


def _warped(points: FloatArray, homography: FloatArray) -> FloatArray:
    return np.asarray(cv2.perspectiveTransform(points[:, None], homography)[:, 0])


def _alike(one: ImageArray, other: ImageArray, start: NDArray[Any], end: NDArray[Any]) -> BoolArray:
    """Whether what is around two points looks alike, light for light: correlation above 0.8."""
    size = (15, 15)
    good = np.zeros(len(start), np.bool_)
    for row, (a, b) in enumerate(zip(start, end, strict=True)):
        first = cv2.getRectSubPix(one, size, (float(a[0]), float(a[1]))).astype(np.float64)
        second = cv2.getRectSubPix(other, size, (float(b[0]), float(b[1]))).astype(np.float64)
        first, second = first - first.mean(), second - second.mean()
        spread = np.sqrt((first**2).sum() * (second**2).sum())
        good[row] = spread > 0 and (first * second).sum() > 0.8 * spread
    return good


def _difference(one: ImageArray, other: ImageArray) -> float:
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())


def _contrast_share(reference: ImageArray, today: ImageArray) -> float:
    return float(today.std() / max(reference.std(), 1e-6))


def _sharpness_share(reference: ImageArray, today: ImageArray) -> float:
    """Fine detail of today against the reference's, each against its own coarser detail, which light changes alike."""

    def detail(image: ImageArray) -> float:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float64)
        fine = grey - cv2.GaussianBlur(grey, (0, 0), 1.0)
        coarse = cv2.GaussianBlur(grey, (0, 0), 2.0) - cv2.GaussianBlur(grey, (0, 0), 6.0)
        return float(fine.std() / max(coarse.std(), 1e-6))

    return detail(today) / max(detail(reference), 1e-6)
