from collections.abc import Callable

import cv2
import numpy as np
import pytest

from tests.store_sim.pictured import a_camera, a_shop
from vision.arrays import FloatArray, ImageArray
from vision.frames import Frame
from vision.layout import Bin
from vision.shelf import Handling, ShelfChange
from vision.shelf_faces import FaceSettings, FaceWatcher, drawn_faces, light_between, shift_between

SECOND = 1_000_000_000
WIDTH, HEIGHT = 320, 240
ITEM = (150, 90, 175, 140)


def a_scene(*, item: bool) -> FloatArray:
    """A shelf of two faces with goods all over it, and an item in the left one."""
    rng = np.random.default_rng(2)
    image = cv2.resize(rng.uniform(70, 190, (30, 40, 3)), (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    if item:
        left, top, right, bottom = ITEM
        image[top:bottom, left:right] = (40, 60, 220)
        image[top + 15 : top + 30, left + 4 : right - 4] = 240
    return np.asarray(image, float)


def faces() -> list[Bin]:
    def face(name: str, left: float, right: float) -> Bin:
        outline = np.array([[left, 70], [right, 70], [right, 160], [left, 160]], float)
        return Bin(name, camera_id="cam", polygon_px=outline)

    return [face("left", 90, 190), face("right", 192, 280)]


def watched(
    present: Callable[[float], bool],
    *,
    arm_s: tuple[float, float] = (2.0, 4.0),
    gain: Callable[[float], float] = lambda t: 1.0,
    shift_px: Callable[[int], float] = lambda i: 0.0,
    length_s: float = 8.0,
) -> list[ShelfChange]:
    watcher, changes, rng = FaceWatcher(faces()), [], np.random.default_rng(1)
    for i in range(int(length_s * 6)):
        t = i / 6
        image = a_scene(item=present(t))
        if arm_s[0] <= t < arm_s[1]:
            tip = 115 + round(3 * np.sin(9 * t))
            cv2.line(image, (200, HEIGHT + 20), (162, tip), (110, 140, 200), 26)
        matrix = np.array([[1, 0, shift_px(i)], [0, 1, 0]])
        shaken = np.asarray(cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE), float)
        image = shaken * gain(t) + rng.normal(0, 1.5, image.shape)
        frame = Frame("cam", i, round(t * SECOND), np.asarray(np.clip(image, 0, 255), np.uint8))
        changes += watcher.update(frame)
    return changes + watcher.finish()


def test_an_item_that_a_hand_takes_is_a_pick_from_its_face() -> None:
    (change,) = watched(lambda t: t < 3)
    assert (change.bin_id, change.quantity) == ("left", 1)
    assert change.start_ns <= 3 * SECOND <= change.end_ns
    assert change.item.size < change.before.size


def test_what_is_put_back_looks_as_it_did_before() -> None:
    watcher, changes, rng = FaceWatcher(faces()), [], np.random.default_rng(1)
    for i in range(6 * 12):
        t = i / 6
        image = a_scene(item=not 3 <= t < 7)
        for start in (2.0, 6.0):
            if start <= t < start + 2:
                cv2.line(image, (200, HEIGHT + 20), (162, 115 + round(3 * np.sin(9 * t))), (110, 140, 200), 26)
        image = np.clip(image + rng.normal(0, 1.5, image.shape), 0, 255)
        changes += watcher.update(Frame("cam", i, round(t * SECOND), np.asarray(image, np.uint8)))
    assert [change.handling for change in changes][1:] == [Handling.PUT_BACK]


def test_a_hand_that_takes_nothing_changes_nothing() -> None:
    assert watched(lambda t: True) == []


def test_a_step_of_the_exposure_changes_nothing() -> None:
    assert watched(lambda t: True, arm_s=(99, 99), gain=lambda t: 1.0 if t < 3 else 0.7) == []


def test_shake_changes_nothing() -> None:
    offsets = np.random.default_rng(5).normal(0, 0.8, 100).clip(-2, 2)
    assert watched(lambda t: True, arm_s=(99, 99), shift_px=lambda i: float(offsets[i])) == []


def test_a_shift_is_found_to_a_fraction_of_a_pixel() -> None:
    grey = cv2.GaussianBlur(np.random.default_rng(3).uniform(0, 255, (120, 160)).astype(np.float32), (0, 0), 1.5)
    moved = cv2.warpAffine(grey, np.array([[1, 0, 1.25], [0, 1, -0.5]]), (160, 120), borderMode=cv2.BORDER_REFLECT)
    assert shift_between(np.asarray(moved), np.asarray(grey)) == pytest.approx((1.25, -0.5), abs=0.35)


def test_light_is_told_from_things() -> None:
    difference = np.full((96, 128, 3), 0.4, np.float32)
    difference[40:70, 60:75] = -1.0
    light = light_between(difference, np.ones((96, 128), bool))
    assert light == pytest.approx(np.full_like(light, 0.4), abs=0.02)


def test_faces_are_drawn_for_a_camera_that_sees_them() -> None:
    camera = a_camera(resolution_wh=(640, 360))
    drawn = drawn_faces(a_shop(camera), camera)
    assert {a_bin.bin_id for a_bin in drawn} <= {"1/1/1", "1/1/2", "1/2/1", "1/2/2"}
    assert drawn
    for a_bin in drawn:
        outline = np.asarray(a_bin.polygon_px)
        assert (outline >= 0).all()
        assert (outline <= (640, 360)).all()
    behind = a_camera((2.0, -2.0, 2.5), resolution_wh=(640, 360))
    assert drawn_faces(a_shop(behind), behind) == ()


def test_settings_are_positive() -> None:
    with pytest.raises(ValueError, match=r"FaceSettings\.settle_s"):
        FaceSettings(settle_s=0)


def test_time_must_rise_and_size_must_stay() -> None:
    watcher = FaceWatcher(faces())
    image: ImageArray = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    watcher.update(Frame("cam", 0, SECOND, image))
    with pytest.raises(ValueError, match="expected a frame after"):
        watcher.update(Frame("cam", 1, SECOND, image))
    with pytest.raises(ValueError, match="expected pictures of"):
        watcher.update(Frame("cam", 1, 2 * SECOND, image[:100]))
