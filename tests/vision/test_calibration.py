import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vision.arrays import FloatArray
from vision.calibration import (
    PointPairs,
    calibrate_camera,
    calibrate_pairs,
    draw_calibration,
    read_point_pairs,
    write_calibration,
)
from vision.cameras import Camera
from vision.layout import read_layout

SIZE = (640, 360)


def looking(
    position_m: tuple[float, float, float],
    at_m: tuple[float, float, float],
    focal_px: float = 342.0,
    k1: float = 0.0,
    roll_rad: float = 0.0,
) -> Camera:
    """Build a camera at a place that looks at another, turned about its axis by ``roll_rad``."""
    forward = np.subtract(at_m, position_m)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    turned = cv2.Rodrigues(np.array([0.0, 0.0, roll_rad]))[0] @ np.stack([right, np.cross(forward, right), forward])
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = turned
    cam_from_world[:3, 3] = -turned @ np.array(position_m)
    matrix = np.array([[focal_px, 0, SIZE[0] / 2], [0, focal_px, SIZE[1] / 2], [0, 0, 1.0]])
    return Camera("door", matrix, np.array([k1, 0, 0, 0, 0]), cam_from_world, SIZE)


def visible(camera: Camera, points_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Keep the world points that lie in the picture; also where."""
    image = camera.image_points(points_m)
    inside = (np.nan_to_num(image, nan=-1) >= 0).all(axis=1) & (np.nan_to_num(image, nan=1e9) < SIZE).all(axis=1)
    return image[inside], points_m[inside]


def floor_points() -> FloatArray:
    return np.array([[x, y, 0.0] for x in np.arange(0, 4.1, 0.8) for y in np.arange(-3, 3.1, 0.75)])


def shelf_points() -> FloatArray:
    return np.array([[x, y, z] for x in (0.5, 2.0, 3.5) for y in (-1.5, 0.0, 1.5) for z in (0.0, 0.9, 1.7)])


CAMERA = looking((-1.5, 0.3, 2.6), (2.2, 0.0, 0.3))


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.floats(-4, 0), st.floats(-3, 3), st.floats(2.0, 4.0)),
    st.tuples(st.floats(1, 4), st.floats(-1, 1), st.floats(0, 1)),
    st.floats(300, 900),
    st.floats(-0.06, 0.1),  # with 1.5 focal lengths below: where a barrel does not fold over yet
    st.floats(-0.6, 0.6),
)
def test_floor_to_picture_to_floor_gives_the_point_back(
    position: tuple[float, float, float], at: tuple[float, float, float], focal: float, k1: float, roll: float
) -> None:
    camera = looking(position, at, focal, k1, roll)
    image, world = visible(camera, floor_points())
    straight = looking(position, at, focal, 0.0, roll).image_points(world)
    near = np.linalg.norm(straight - np.array(SIZE) / 2, axis=1) < 1.5 * focal
    np.testing.assert_allclose(camera.floor_points(image)[near], world[near, :2], atol=1e-4)


@settings(deadline=None, max_examples=6)
@given(
    st.tuples(st.floats(-2.5, -0.5), st.floats(-2, 2), st.floats(2.0, 3.5)),
    st.floats(280, 600),
    st.floats(-0.4, 0.4),
    st.integers(0, 1000),
)
def test_a_camera_is_found_from_noisy_pairs_with_and_without_its_lens(
    position: tuple[float, float, float], focal: float, roll: float, seed: int
) -> None:
    truth = looking(position, (2.0, 0.0, 0.6), focal, roll_rad=roll)
    image, world = visible(truth, np.concatenate([floor_points()[::3], shelf_points()]))
    assume(len(image) >= 12)
    noisy = image + np.random.default_rng(seed).normal(0, 0.5, image.shape)
    known = calibrate_camera(noisy, world, SIZE, intrinsics=truth.intrinsics)
    found = calibrate_camera(noisy, world, SIZE)
    for result in (known, found):
        assert result.rms_px < 1.5
        off_m = float(np.linalg.norm(result.camera.position_m - truth.position_m))
        assert off_m < max(5 * result.position_sd_m, 0.02)
    assert abs(found.camera.intrinsics[0, 0] - focal) < 5 * found.focal_sd_px
    assert known.focal_sd_px == 0


def test_the_focal_length_comes_from_the_floor_alone() -> None:
    image, world = visible(CAMERA, floor_points())
    result = calibrate_camera(image, world, SIZE)
    assert result.camera.intrinsics[0, 0] == pytest.approx(342, rel=1e-3)
    assert result.floor_rms_m < 1e-3
    four = [0, len(image) // 3, len(image) // 2, len(image) - 1]
    assert calibrate_camera(image[four], world[four], SIZE).camera.intrinsics[0, 0] == pytest.approx(342, rel=0.01)


def test_one_distortion_coefficient_is_found() -> None:
    truth = looking((-1.5, 0.3, 2.6), (2.2, 0.0, 0.3), k1=-0.12)
    image, world = visible(truth, np.concatenate([floor_points(), shelf_points()]))
    result = calibrate_camera(image, world, SIZE, estimate_distortion=True)
    assert result.camera.distortion[0] == pytest.approx(-0.12, abs=5e-3)
    assert result.camera.intrinsics[0, 0] == pytest.approx(342, rel=5e-3)


def test_a_given_distortion_is_used() -> None:
    truth = looking((-1.5, 0.3, 2.6), (2.2, 0.0, 0.3), k1=-0.12)
    image, world = visible(truth, floor_points())
    result = calibrate_camera(image, world, SIZE, intrinsics=truth.intrinsics, distortion=truth.distortion)
    assert result.rms_px < 0.01
    np.testing.assert_allclose(result.camera.position_m, truth.position_m, atol=1e-3)


@pytest.mark.parametrize("with_lens", [True, False])
def test_wrong_pairs_are_flagged_and_do_not_move_the_camera(with_lens: bool) -> None:
    image, world = visible(CAMERA, np.concatenate([floor_points()[::4], shelf_points()]))
    image = image + np.random.default_rng(1).normal(0, 0.5, image.shape)
    wrong = [1, 4, 9]
    image[wrong] += [[80, -40], [-15, 25], [0, 60]]
    names = [f"p{i}" for i in range(len(image))]
    result = calibrate_camera(
        image, world, SIZE, names=names, intrinsics=CAMERA.intrinsics if with_lens else None, camera_id="door"
    )
    assert result.outlier_names == ("p1", "p4", "p9")
    assert result.errors_px[wrong].min() > 15
    assert result.rms_px < 1
    np.testing.assert_allclose(result.camera.position_m, CAMERA.position_m, atol=0.05)
    assert len(result.errors_px) == len(image)


def test_two_places_swapped_are_both_flagged() -> None:
    image, world = visible(CAMERA, shelf_points())
    world[[2, 7]] = world[[7, 2]]
    result = calibrate_camera(image, world, SIZE, intrinsics=CAMERA.intrinsics)
    assert result.outlier_names == ("3", "8")


def test_the_same_pairs_give_the_same_camera() -> None:
    image, world = visible(CAMERA, floor_points())
    image = image + np.random.default_rng(2).normal(0, 1, image.shape)
    one, two = calibrate_camera(image, world, SIZE), calibrate_camera(image, world, SIZE)
    np.testing.assert_array_equal(one.camera.cam_from_world, two.camera.cam_from_world)


def test_the_floor_error_is_the_distance_on_the_floor() -> None:
    image, world = visible(CAMERA, np.concatenate([floor_points(), shelf_points()]))
    moved = world.copy()
    result = calibrate_camera(image, moved, SIZE, intrinsics=CAMERA.intrinsics)
    on_floor = world[:, 2] == 0
    assert np.isnan(result.floor_errors_m[~on_floor]).all()
    assert result.floor_errors_m[on_floor].max() < 1e-3


def refused(message: str, image: FloatArray, world: FloatArray, **options: object) -> None:
    with pytest.raises(ValueError, match=message) as error:
        calibrate_camera(image, world, SIZE, camera_id="door", **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("camera door")


def test_pairs_that_determine_no_camera_are_refused() -> None:
    image, world = visible(CAMERA, floor_points())
    lens = CAMERA.intrinsics
    refused("expected at least 4 pairs, got 3", image[:3], world[:3], intrinsics=lens)
    refused("expected at least 4 pairs, got 0", image[:0], world[:0], intrinsics=lens)
    line = np.array([[x, 0.3, 0.0] for x in np.linspace(0.5, 4, 8)])
    refused("the world points lie in one line", CAMERA.image_points(line), line, intrinsics=lens)
    refused("the picture points lie in one line", np.linspace([10, 10], [200, 90], 8), world[:8], intrinsics=lens)
    image_3d, world_3d = visible(CAMERA, shelf_points())
    refused("expected at least 6 pairs to find the lens as well, got 5", image_3d[2:12:2], world_3d[2:12:2])
    refused("a pair has a number that is not finite", np.full((5, 2), np.nan), world[:5])
    refused("distortion can only be estimated where no lens", image, world, intrinsics=lens, estimate_distortion=True)
    refused(r"points_m: expected shape \(\d+, 3\), got", image, world[:5])


def test_a_view_straight_down_leaves_the_focal_length_open() -> None:
    above = Camera("up", CAMERA.intrinsics, np.zeros(5), np.diag([1.0, -1.0, -1.0, 1.0]), SIZE)
    raised = above.cam_from_world.copy()
    raised[2, 3] = 3.0
    above = Camera("up", CAMERA.intrinsics, np.zeros(5), raised, SIZE)
    image, world = visible(above, np.array([[x, y, 0.0] for x in (-1, 0, 1) for y in (-1, 0, 1)], float))
    refused("leave the focal length open", image, world)
    assert calibrate_camera(image, world, SIZE, intrinsics=CAMERA.intrinsics).camera.position_m[2] == pytest.approx(3)


def test_a_mirrored_world_is_told() -> None:
    image, world = visible(CAMERA, floor_points())
    refused("below the floor; is the world right-handed", image, world * [1, -1, 1], intrinsics=CAMERA.intrinsics)


def test_pairs_without_any_sense_are_refused() -> None:
    rng = np.random.default_rng(4)
    refused("contradict each other|below the floor", rng.uniform(0, 360, (30, 2)), rng.uniform(0, 4, (30, 3)))


OURS = """
format: tillfree-pairs/1
cameras:
  door:
    resolution_wh: [640, 360]
    pairs:
      - {name: A, pixel: [311.1, 331.4], world_m: [3.848, -0.418, 0]}
      - {pixel: [1, 2], world_m: [3, 4, 5.5]}
  till:
    intrinsics: [[300, 0, 320], [0, 300, 180], [0, 0, 1]]
    distortion: [0.1, 0, 0, 0, 0]
    pairs: []
"""


def test_our_pairs_are_read(tmp_path: Path) -> None:
    (tmp_path / "pairs.yaml").write_text(OURS, encoding="utf-8")
    door, till = read_point_pairs(tmp_path / "pairs.yaml")
    assert (door.camera_id, door.resolution_wh, door.names) == ("door", SIZE, ("A", "2"))
    assert door.points_px.tolist() == [[311.1, 331.4], [1, 2]]
    assert door.points_m.tolist() == [[3.848, -0.418, 0], [3, 4, 5.5]]
    assert door.intrinsics is None
    assert till.points_px.shape == (0, 2)
    assert till.distortion is not None
    assert till.distortion[0] == 0.1
    with pytest.raises(ValueError, match="camera till: the size of its picture is needed"):
        calibrate_pairs(till)


def test_a_solved_calibration_is_read_with_its_pose_and_lens(tmp_path: Path) -> None:
    entry = {
        "K_px": CAMERA.intrinsics.tolist(),
        "dist": [0, 0, 0, 0, 0],
        "Tw_m": CAMERA.world_from_cam.tolist(),
        "pairs": [{"name": "A", "pixel": [1, 2], "world_m": [3, 4, 5]}],
    }
    (tmp_path / "c.json").write_text(json.dumps({"3": entry, "door": entry}), encoding="utf-8")
    one, two = read_point_pairs(tmp_path / "c.json")
    assert (one.camera_id, two.camera_id) == ("cam3", "door")
    assert one.world_from_cam is not None
    np.testing.assert_allclose(one.world_from_cam, CAMERA.world_from_cam)
    assert one.intrinsics is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected point pairs .*, got list"),
        ("", "got NoneType"),
        ("a: [", "not a YAML or JSON file"),
        ("\x00", "not a YAML or JSON file"),
        ("format: tillfree-layout/1", "at format"),
        (
            "format: tillfree-pairs/1\ncameras: {a: {pairs: [{pixel: [1], world_m: [1, 2, 3]}]}}",
            r"at cameras.a.pairs.0.p",
        ),
        ("format: tillfree-pairs/1\ncameras: {a: {pairs: [{pixel: [1, .nan], world_m: [1, 2, 3]}]}}", "finite"),
        ('{"1": {"K_px": 3}}', "at K_px"),
        ("{1: 2}", "valid dictionary"),
    ],
)
def test_files_that_are_no_pairs_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pairs.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        read_point_pairs(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing"):
        read_point_pairs(tmp_path / "nothing.yaml")


def test_a_written_calibration_is_read_back_as_a_layout(tmp_path: Path) -> None:
    image, world = visible(CAMERA, floor_points())
    result = calibrate_camera(image, world, SIZE, camera_id="door")
    path = tmp_path / "layout.yaml"
    write_calibration([result], path, name="my shop")
    layout = read_layout(path)
    assert layout.name == "my shop"
    camera = layout.camera("door")
    assert camera is not None
    np.testing.assert_allclose(camera.cam_from_world, result.camera.cam_from_world, atol=1e-9)
    np.testing.assert_allclose(camera.intrinsics, result.camera.intrinsics)
    assert camera.resolution_wh == SIZE
    assert f"door: {len(image)} of {len(image)} pairs" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="camera door is listed twice"):
        write_calibration([result, result], path, name="my shop")


def test_the_overlay_marks_each_pair_and_the_wrong_ones_in_red() -> None:
    image, world = visible(CAMERA, np.concatenate([floor_points()[::3], shelf_points()]))
    image[5] += [70, 30]
    result = calibrate_camera(image, world, SIZE, intrinsics=CAMERA.intrinsics)
    blank = np.full((720, 1280, 3), 255, np.uint8)
    drawn = draw_calibration(blank, result)
    assert (blank == 255).all()
    x, y = (2 * image[5]).astype(int)
    assert drawn[y - 2 : y + 3, x - 2 : x + 3, 1].min() < 100  # little green or blue where the red cross is
    x, y = (2 * image[0]).astype(int)
    assert drawn[y - 2 : y + 3, x - 2 : x + 3, 2].min() < 100
    assert drawn.shape == blank.shape


def test_a_pair_behind_the_camera_is_drawn_without_its_reprojection() -> None:
    image, world = visible(CAMERA, np.concatenate([floor_points()[::3], shelf_points()]))
    image[0], world[0] = (320, 180), (-9.0, 0.0, 2.0)
    result = calibrate_camera(image, world, SIZE, intrinsics=CAMERA.intrinsics)
    assert result.is_outlier[0]
    assert draw_calibration(np.zeros((360, 640, 3), np.uint8), result).any()


def test_pairs_check_their_shapes() -> None:
    with pytest.raises(ValueError, match=r"camera a: points_m: expected shape \(1, 3\), got \(1, 2\)"):
        PointPairs("a", ("x",), np.zeros((1, 2)), np.zeros((1, 2)))


def test_the_shared_pairs_give_the_published_cameras(shared: Path) -> None:
    pairs = read_point_pairs(shared / "nanostore" / "cps-test-01" / "calibration.json")
    assert [each.camera_id for each in pairs] == ["cam1", "cam3", "cam5", "cam7"]
    for each in pairs:
        assert each.world_from_cam is not None
        assert each.intrinsics is not None
        assert each.distortion is not None
        published = Camera(each.camera_id, each.intrinsics, each.distortion, np.linalg.inv(each.world_from_cam), SIZE)
        result = calibrate_pairs(each, SIZE)
        assert result.rms_px < 3
        # What was published also follows the rails of the shelves, so it fits these pairs less closely.
        there = published.image_points(each.points_m)
        here = result.camera.image_points(each.points_m)
        assert np.linalg.norm(there - here, axis=1).max() < 12
        assert np.linalg.norm(result.camera.position_m - published.position_m) < 0.1
        assert result.floor_rms_m < 0.05
        assert not result.is_outlier.any()
