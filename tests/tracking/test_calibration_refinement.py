from collections.abc import Mapping

import cv2
import numpy as np
import pytest

from tracking.body_points import BodyPoints, body_points
from tracking.calibration_refinement import misses_px, refine
from vision.arrays import FloatArray
from vision.cameras import Camera, looking_at
from vision.detections import Detections

INTRINSICS = np.array([[360.0, 0, 320], [0, 360, 180], [0, 0, 1]])
HEIGHTS_M = np.array([1.6, *[1.65] * 4, *[1.4] * 2, *[1.15] * 2, *[0.95] * 2, *[0.9] * 2, *[0.5] * 2, *[0.08] * 2])
ACROSS_M = np.array([0, 0.03, -0.03, 0.07, -0.07, *[0.2, -0.2] * 3, *[0.12, -0.12] * 3])


def camera(name: str, x: float, y: float, aim: tuple[float, float, float] = (2.0, 2.0, 0.8)) -> Camera:
    return Camera(name, INTRINSICS, np.zeros(5), looking_at(np.array([x, y, 2.6]), np.array(aim)), (640, 360))


def knocked(camera: Camera, rng: np.random.Generator, shift_m: float, turn_deg: float) -> Camera:
    way, axis = rng.normal(size=3), rng.normal(size=3)
    rotation = cv2.Rodrigues(np.deg2rad(turn_deg) * axis / np.linalg.norm(axis))[0] @ camera.cam_from_world[:3, :3]
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ (camera.position_m + shift_m * way / np.linalg.norm(way))
    return Camera(camera.camera_id, camera.intrinsics, camera.distortion, pose, camera.resolution_wh)


def body_m(x: float, y: float, yaw: float) -> FloatArray:
    """Seventeen points of somebody who stands there, shape (17, 3), metres."""
    return np.column_stack([x + ACROSS_M * np.cos(yaw), y + ACROSS_M * np.sin(yaw), HEIGHTS_M])


def seen(cameras: Mapping[str, Camera], bodies: list[FloatArray], rng: np.random.Generator) -> list[Detections]:
    views = []
    for name, each in cameras.items():
        points = [each.image_points(body) + rng.normal(0, 1.5, (17, 2)) for body in bodies]
        keypoints = np.zeros((len(bodies), 17, 3), np.float32)
        keypoints[..., :2], keypoints[..., 2] = np.array(points), 0.9
        order = rng.permutation(len(bodies))
        boxes = np.tile(np.array([0, 0, 10, 10], np.float32), (len(bodies), 1))
        scores = np.full(len(bodies), 0.9, np.float32)
        views.append(Detections(name, 0, boxes, scores, np.zeros(len(bodies), np.int64), keypoints[order]))
    return views


def walked(cameras: Mapping[str, Camera], rng: np.random.Generator) -> list[tuple[float, list[Detections]]]:
    """Two people who walk about for a minute and a half, seen every half second."""
    instants = []
    for step in range(180):
        phase = step / 12
        bodies = [
            body_m(2 + 1.2 * np.cos(phase), 2 + 1.1 * np.sin(1.3 * phase), phase),
            body_m(2 + 1.2 * np.cos(phase + 3), 2.2 + 1.1 * np.sin(1.3 * phase + 2), -phase),
        ]
        instants.append((step / 2, seen(cameras, bodies, rng)))
    return instants


TRUE = {
    each.camera_id: each
    for each in (camera("a", -0.5, -0.5), camera("b", 4.5, 0.0), camera("c", 2.0, 5.0), camera("d", 4.5, 4.5))
}


def test_knocked_cameras_are_found_again_and_the_doubt_is_honest() -> None:
    rng = np.random.default_rng(3)
    rough = {name: each if name == "a" else knocked(each, rng, 0.08, 1.5) for name, each in TRUE.items()}
    points = body_points(rough, walked(TRUE, rng))
    refinement = refine(rough, points, anchors=["a"])
    assert refinement.is_better
    assert refinement.after_px < 0.5 * refinement.before_px
    assert refinement.cameras[0] is rough["a"]
    for change in refinement.changes[1:]:
        missed = np.linalg.norm(change.after.position_m - TRUE[change.before.camera_id].position_m)
        assert missed < 0.03
        assert missed < 4 * np.sqrt(np.trace(change.shift_cov_m2))
        assert change.turn_rad == pytest.approx(np.deg2rad(1.5), abs=np.deg2rad(0.4))
    assert misses_px({c.camera_id: c for c in refinement.cameras}, points) < 2.5


def test_cameras_that_hang_right_are_left_alone() -> None:
    rng = np.random.default_rng(4)
    refinement = refine(TRUE, body_points(TRUE, walked(TRUE, rng)))
    assert not refinement.is_better
    assert "no better" in refinement.reason
    assert refinement.cameras == tuple(TRUE.values())


def test_a_wrong_focal_length_is_found_where_it_may_change() -> None:
    rng = np.random.default_rng(5)
    wrong = Camera("b", INTRINSICS * np.array([[1.04], [1.04], [1]]), np.zeros(5), TRUE["b"].cam_from_world, (640, 360))
    wrong.intrinsics[:2, 2] = [320, 180]
    rough = TRUE | {"b": wrong}
    refinement = refine(rough, body_points(rough, walked(TRUE, rng)), anchors=["a", "c", "d"], with_focal=True)
    assert refinement.is_better
    assert refinement.cameras[1].intrinsics[0, 0] == pytest.approx(360, abs=4)


def test_people_are_told_apart_between_cameras() -> None:
    rng = np.random.default_rng(6)
    points = body_points(TRUE, [(0.0, seen(TRUE, [body_m(1, 1, 0), body_m(3, 3, 1), body_m(1, 3.2, 2)], rng))])
    assert len(np.unique(points.body)) == 3
    assert misses_px(TRUE, points) < 2.5
    # Two who stand in one place are nobody's: either could be either.
    twins = body_points(TRUE, [(0.0, seen(TRUE, [body_m(2, 2, 0), body_m(2.05, 2, 0)], rng))])
    assert len(twins) == 0


def test_too_few_sightings_and_wrong_anchors_are_told() -> None:
    rng = np.random.default_rng(7)
    few = body_points(TRUE, walked(TRUE, rng)[:5])
    with pytest.raises(ValueError, match="shares at least 30 sightings of people, the most is 10"):
        refine(TRUE, few)
    with pytest.raises(ValueError, match="anchors: expected out of a, b, c, d, got q"):
        refine(TRUE, few, anchors=["q"])
    two = np.zeros(2, np.int64)
    with pytest.raises(ValueError, match=r"BodyPoints.px"):
        BodyPoints(("a",), two, two, np.zeros(2), two, two, np.zeros((3, 2)))
