import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vision.arrays import FloatArray
from vision.cameras import Camera, triangulate


def camera(
    position_m: tuple[float, float, float] = (0.0, 0.0, 3.0),
    target_m: tuple[float, float, float] = (2.0, 1.0, 0.0),
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0),
    camera_id: str = "cam",
) -> Camera:
    forward = np.array(target_m, float) - position_m
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = rotation
    cam_from_world[:3, 3] = -rotation @ position_m
    intrinsics = np.array([[600.0, 0, 320], [0, 600.0, 180], [0, 0, 1]])
    return Camera(camera_id, intrinsics, np.array(distortion), cam_from_world, (640, 360))


def seen(cameras: list[Camera], point_m: FloatArray) -> FloatArray:
    return np.concatenate([c.image_points(point_m[None]) for c in cameras])


def test_what_the_camera_is_turned_to_is_in_the_middle_of_its_picture() -> None:
    image = camera().image_points(np.array([[2.0, 1.0, 0.0]]))
    assert image[0] == pytest.approx([320, 180])


@given(st.floats(0, 640), st.floats(0, 360), st.floats(0, 0.1), st.floats(0, 1.5))
def test_a_floor_point_seen_again_is_where_it_was(x: float, y: float, k1: float, height_m: float) -> None:
    eye = camera(distortion=(k1, 0, 0, 0, 0))
    point_px = np.array([[x, y]])
    floor = eye.floor_points(point_px, height_m)
    assume(np.isfinite(floor).all() and np.linalg.norm(floor) < 50)
    again = eye.image_points(np.column_stack([floor, [height_m]]))
    np.testing.assert_allclose(again, point_px, atol=0.5)


def test_points_above_the_horizon_have_no_floor_point() -> None:
    level = camera(target_m=(2.0, 0.0, 3.0))
    floor = level.floor_points(np.array([[320.0, 0.0], [320.0, 180.0], [320.0, 350.0]]))
    assert np.isnan(floor[:2]).all()
    assert np.isfinite(floor[2]).all()


def test_points_behind_the_camera_are_not_in_the_picture() -> None:
    image = camera().image_points(np.array([[-2.0, -1.0, 6.0], [2.0, 1.0, 0.0], [np.nan, 0, 0]]))
    assert np.isnan(image[[0, 2]]).all()
    assert np.isfinite(image[1]).all()


def test_no_points_give_no_points() -> None:
    assert camera().image_points(np.zeros((0, 3))).shape == (0, 2)
    assert camera().ray_directions(np.zeros((0, 2))).shape == (0, 3)
    assert camera().floor_points(np.zeros((0, 2))).shape == (0, 2)


def test_an_unseen_point_gives_nan_everywhere() -> None:
    assert np.isnan(camera().floor_points(np.full((1, 2), np.nan))).all()


@given(st.floats(0.5, 3.5), st.floats(0.5, 2.5), st.floats(0.0, 2.0), st.integers(2, 4))
def test_a_point_seen_by_several_cameras_is_found(x: float, y: float, z: float, count: int) -> None:
    corners = [(0.0, 0.0, 3.0), (4.0, 0.0, 3.0), (4.0, 3.0, 2.5), (0.0, 3.0, 2.8)][:count]
    cameras = [camera(corner, (2.0, 1.5, 1.0), (0.05, 0, 0, 0, 0)) for corner in corners]
    point = np.array([x, y, z])
    found, miss_m = triangulate(cameras, seen(cameras, point))
    np.testing.assert_allclose(found, point, atol=2e-3)
    assert miss_m < 5e-3


def test_the_miss_distance_is_the_gap_between_two_rays() -> None:
    cameras = [camera((0, 0, 1), (2, 0, 1)), camera((2, -2, 1.1), (2, 0, 1.1))]
    found, miss_m = triangulate(cameras, np.array([[320.0, 180.0], [320.0, 180.0]]))
    assert found == pytest.approx([2, 0, 1.05])
    assert miss_m == pytest.approx(0.1)


def test_parallel_rays_meet_nowhere() -> None:
    cameras = [camera((0, 0, 1), (2, 0, 1)), camera((0, 1, 1), (2, 1, 1))]
    found, miss_m = triangulate(cameras, np.array([[320.0, 180.0], [320.0, 180.0]]))
    assert np.isnan(found).all()
    assert miss_m == float("inf")


def test_rays_that_part_meet_behind_the_cameras_and_count_as_nowhere() -> None:
    cameras = [camera((0, 0, 1), (2, -1, 1)), camera((0, 1, 1), (2, 2, 1))]
    found, _ = triangulate(cameras, np.array([[320.0, 180.0], [320.0, 180.0]]))
    assert np.isnan(found).all()


def test_a_point_that_one_camera_does_not_see_is_not_found() -> None:
    cameras = [camera(), camera((4, 0, 3))]
    found, miss_m = triangulate(cameras, np.array([[320.0, 180.0], [np.nan, np.nan]]))
    assert np.isnan(found).all()
    assert miss_m == float("inf")


def test_one_camera_cannot_triangulate() -> None:
    with pytest.raises(ValueError, match="two or more cameras, got 1"):
        triangulate([camera()], np.zeros((1, 2)))


@given(st.integers(64, 4000), st.integers(64, 4000))
def test_a_resized_camera_sees_the_same_points_at_scaled_places(width: int, height: int) -> None:
    eye = camera(distortion=(0.05, 0.01, 0, 0, 0))
    points = np.array([[2.0, 1.0, 0.0], [1.5, 1.2, 0.7]])
    small = eye.resized((width, height)).image_points(points)
    np.testing.assert_allclose(small, eye.image_points(points) * (width / 640, height / 360), rtol=1e-6)


def test_the_position_of_a_camera_is_where_it_hangs() -> None:
    assert camera((1.0, 2.0, 2.5), (3.0, 3.0, 0.0)).position_m == pytest.approx([1.0, 2.0, 2.5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intrinsics": np.eye(2)}, "expected shape"),
        ({"intrinsics": np.diag([-1.0, 1, 1])}, "focal lengths must be positive"),
        ({"distortion": np.zeros(4)}, "expected shape"),
        ({"distortion": np.full(5, np.nan)}, "not finite"),
        ({"cam_from_world": np.diag([2.0, 1, 1, 1])}, "not a rigid transform"),
        ({"cam_from_world": np.diag([-1.0, 1, 1, 1])}, "not a rigid transform"),
    ],
)
def test_a_camera_that_cannot_be_is_refused(change: dict[str, FloatArray], message: str) -> None:
    good = {"intrinsics": np.eye(3), "distortion": np.zeros(5), "cam_from_world": np.eye(4)}
    with pytest.raises(ValueError, match=message):
        Camera("cam", resolution_wh=(640, 360), **(good | change))
