from dataclasses import replace

import cv2
import numpy as np
import pytest

from vision.arrays import FloatArray, ImageArray
from vision.camera_check import CameraState, check_camera, matched_features, scene_points, still_picture
from vision.cameras import Camera, looking_at
from vision.layout import Bin, StoreLayout, upright_box

CAMERA = Camera(
    "c",
    np.array([[360.0, 0, 320], [0, 360, 180], [0, 0, 1]]),
    np.zeros(5),
    looking_at(np.array([2.0, -0.5, 2.6]), np.array([2.0, 2.0, 0.5])),
    (640, 360),
)
SHELF = Bin("s", "sku", box=upright_box(np.array([1.0, 2.5, 0.0]), 0, np.array([2.0, 0.4, 1.5])), gondola_id=1)
LAYOUT = StoreLayout(name="room", bins=(SHELF,), walkable_m=np.array([[0.0, 0], [4, 0], [4, 3], [0, 3]]))
# One pattern for every plane of the room, 1 cm a pixel.
PATTERN = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (800, 800, 3)).astype(np.uint8), (0, 0), 1)
PATTERN = np.clip((PATTERN.astype(float) - 127) * 3 + 127, 0, 255).astype(np.uint8)


def picture(camera: Camera, *, noise: int = 0) -> ImageArray:
    """What a camera sees of the room, drawn by asking for each pixel what it lies on."""
    x, y = np.meshgrid(np.arange(640) + 0.0, np.arange(360) + 0.0)
    points, _ = scene_points(camera, LAYOUT, np.column_stack([x.ravel(), y.ravel()]))
    points = np.nan_to_num(points)
    column = (100 * (points[:, 0] + 0.37 * points[:, 2])).reshape(360, 640).astype(np.float32) % 799
    row = (100 * (points[:, 1] + 0.91 * points[:, 2])).reshape(360, 640).astype(np.float32) % 799
    image = cv2.remap(PATTERN, column, row, cv2.INTER_LINEAR)
    grain = np.random.default_rng(noise).normal(0, 2, image.shape)
    return np.asarray(np.clip(image + grain, 0, 255), np.uint8)


def hung(shift_m: FloatArray, turn_deg: float = 0.0) -> Camera:
    rotation = cv2.Rodrigues(np.deg2rad(turn_deg) * np.array([0.0, 1, 0]))[0] @ CAMERA.cam_from_world[:3, :3]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ (CAMERA.position_m + shift_m)
    return replace(CAMERA, cam_from_world=pose)


def test_rays_end_on_shelf_floor_or_guessed_wall() -> None:
    real = np.array([[1.0, 1.0, 0.0], [2.0, 2.5, 0.7], [0.4, 3.0, 1.2]])
    points, known = scene_points(CAMERA, LAYOUT, CAMERA.image_points(real))
    assert points == pytest.approx(real, abs=1e-6)
    assert known.tolist() == [True, True, False]


def test_a_camera_that_has_not_moved_is_fine_in_another_light() -> None:
    darker = [np.asarray(picture(CAMERA, noise=n) * 0.7, np.uint8) for n in (2, 3, 4)]
    check = check_camera(CAMERA, picture(CAMERA, noise=1), darker, LAYOUT)
    assert check.state is CameraState.FINE
    assert check.move is not None
    assert check.move.picture_px < 0.3


@pytest.mark.parametrize(
    ("shift_m", "turn_deg"), [((0.05, 0, 0), 0.0), ((0, 0.03, -0.04), 0.0), ((0, 0, 0), 2.0), ((0.1, 0, 0.05), 6.0)]
)
def test_a_moved_camera_is_told_with_how_far(shift_m: tuple[float, float, float], turn_deg: float) -> None:
    true = hung(np.array(shift_m), turn_deg)
    check = check_camera(CAMERA, picture(CAMERA), [picture(true, noise=n) for n in (1, 2, 3)], LAYOUT)
    assert check.state is CameraState.MOVED
    assert check.move is not None
    assert check.move.shift_m == pytest.approx(shift_m, abs=0.015)
    assert np.rad2deg(check.move.turn_rad) == pytest.approx(turn_deg, abs=0.3)
    assert "has moved by" in check.message


def test_what_is_before_the_lens_or_wrong_with_it_is_told() -> None:
    before, now = picture(CAMERA), [picture(CAMERA, noise=n) for n in (1, 2, 3)]
    rng = np.random.default_rng(1)
    haze = [np.asarray(image * 0.04 + 120 + rng.integers(0, 3, image.shape), np.uint8) for image in now]
    elsewhere = [np.asarray(cv2.rotate(image, cv2.ROTATE_180)[:, ::-1] * 0.9, np.uint8) for image in now]
    seen = {
        "dead": [],
        "frozen": [now[0]] * 3,
        "dark": [np.asarray(image // 25, np.uint8) for image in now],
        "covered": haze,
        "blurred": [np.asarray(cv2.GaussianBlur(image, (0, 0), 4), np.uint8) for image in now],
        "unclear": elsewhere,
    }
    for state, images in seen.items():
        check = check_camera(CAMERA, before, images, LAYOUT)
        assert (check.state.value, check.move) == (state, None)
        assert check.message.startswith("c ")


def test_the_same_pictures_always_give_the_same_answer() -> None:
    one, other = picture(CAMERA), picture(hung(np.array([0.05, 0, 0])))
    first, again = matched_features(one, other), matched_features(one, other)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_people_go_out_of_a_still_picture() -> None:
    images = [np.zeros((4, 6, 3), np.uint8) for _ in range(5)]
    images[2][:] = 255
    assert not still_picture(images).any()
    with pytest.raises(ValueError, match="pictures of one size"):
        still_picture([images[0], images[0][:2]])
    with pytest.raises(ValueError, match="at least one picture"):
        still_picture([])
    with pytest.raises(ValueError, match="expected pictures of shape"):
        check_camera(CAMERA, picture(CAMERA), images, LAYOUT)
