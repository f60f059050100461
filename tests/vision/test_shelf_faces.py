from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest

from tests.store_sim.pictured import a_camera, a_shop
from vision.arrays import FloatArray, ImageArray
from vision.detections import Detections
from vision.frames import Frame
from vision.layout import Bin
from vision.shelf import Handling, ShelfChange, log_picture
from vision.shelf_faces import (
    FaceSettings,
    FaceWatcher,
    best_views,
    changed_structure,
    drawn_faces,
    light_between,
    pick_probability,
    shift_between,
)

SECOND = 1_000_000_000
WIDTH, HEIGHT = 320, 240
ITEM = (150, 90, 175, 140)


def a_scene(*, item: bool, behind: bool = False) -> FloatArray:
    """A shelf of two faces with goods all over it, and an item in the left one, perhaps another like it behind."""
    rng = np.random.default_rng(2)
    image = cv2.resize(rng.uniform(70, 190, (30, 40, 3)), (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    left, top, right, bottom = ITEM
    pack = np.full((bottom - top, right - left, 3), (40, 60, 220), float)
    pack[15:30, 4:-4] = 240
    if behind:  # a little farther away: a little smaller and higher, in part hidden by the one in front
        small = cv2.resize(pack, (22, 45), interpolation=cv2.INTER_AREA)
        image[top - 4 : top + 41, left + 1 : left + 23] = 0.9 * small
    if item:
        image[top:bottom, left:right] = pack
    return np.asarray(image, float)


def faces() -> list[Bin]:
    def face(name: str, left: float, right: float) -> Bin:
        outline = np.array([[left, 70], [right, 70], [right, 160], [left, 160]], float)
        return Bin(name, camera_id="cam", polygon_px=outline)

    return [face("left", 90, 190), face("right", 192, 280)]


def arm(image: FloatArray, t: float, tip: tuple[int, int] = (162, 115)) -> None:
    """Draw an arm that reaches in from below, in place."""
    cv2.line(image, (tip[0] + 38, HEIGHT + 20), (tip[0], tip[1] + round(3 * np.sin(9 * t))), (110, 140, 200), 26)


def watched(
    present: Callable[[float], bool],
    *,
    arm_s: Sequence[tuple[float, float]] = ((2.0, 4.0),),
    behind: bool = False,
    light: Callable[[float], FloatArray | float] = lambda t: 1.0,
    shift_px: Callable[[int], float] = lambda i: 0.0,
    also: Callable[[FloatArray, float], None] = lambda image, t: None,
    length_s: float = 9.0,
    rate_hz: float = 6.0,
    watcher: FaceWatcher | None = None,
) -> list[ShelfChange]:
    """What a watcher says of a shelf where an item is ``present``, under some light, with arms before it at times."""
    watcher, rng = watcher or FaceWatcher(faces()), np.random.default_rng(1)
    changes: list[ShelfChange] = []
    for i in range(int(length_s * rate_hz)):
        t = i / rate_hz
        image = a_scene(item=present(t), behind=behind)
        if any(start <= t < end for start, end in arm_s):
            arm(image, t)
        also(image, t)
        matrix = np.array([[1, 0, shift_px(i)], [0, 1, 0]])
        shaken = np.asarray(cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE), float)
        image = shaken * light(t) + rng.normal(0, 1.5, image.shape)
        frame = Frame("cam", i, round(t * SECOND), np.asarray(np.clip(image, 0, 255), np.uint8))
        changes += watcher.update(frame)
    return changes + watcher.finish()


def wandering_shadow(t: float) -> FloatArray:
    """Light left by a soft shadow that moves to and fro, shape (h, w, 1)."""
    at = WIDTH * (0.5 + 0.4 * np.sin(2 * np.pi * t / 7))
    row = 1 - 0.4 * np.exp(-0.5 * ((np.arange(WIDTH) - at) / 45) ** 2)
    return np.broadcast_to(row[None, :, None], (HEIGHT, WIDTH, 1))


def test_an_item_that_a_hand_takes_is_a_pick_from_its_face() -> None:
    (change,) = watched(lambda t: t < 3)
    assert (change.bin_id, change.quantity) == ("left", 1)
    assert change.start_ns <= 3 * SECOND <= change.end_ns
    assert change.item.size < change.before.size


def test_what_is_put_back_looks_as_it_did_before() -> None:
    changes = watched(lambda t: not 3 <= t < 8, arm_s=((2, 4), (7, 9)), length_s=13)
    assert [change.handling for change in changes] == [Handling.PICK, Handling.PUT_BACK]


def test_a_unit_behind_which_another_like_it_stands_is_seen_to_go_and_to_come_back() -> None:
    changes = watched(lambda t: not 3 <= t < 8, arm_s=((2, 4), (7, 9)), behind=True, length_s=13)
    assert [(c.bin_id, c.handling) for c in changes] == [("left", Handling.PICK), ("left", Handling.PUT_BACK)]


def test_a_hand_that_takes_nothing_changes_nothing() -> None:
    assert watched(lambda t: True) == []


@pytest.mark.parametrize("gain", [0.6, 0.8, 1.25, 1.7])
def test_a_step_of_the_exposure_changes_nothing(gain: float) -> None:
    watcher = FaceWatcher(faces())
    assert watched(lambda t: True, arm_s=(), light=lambda t: 1.0 if t < 3 else gain, watcher=watcher) == []
    assert watcher.by_nobody == ()


@pytest.mark.parametrize("gain", [0.6, 1.7])
def test_a_step_of_the_exposure_while_a_hand_is_there_neither_hides_nor_makes_a_change(gain: float) -> None:
    step: Callable[[float], float] = lambda t: 1.0 if t < 3 else gain  # noqa: E731
    assert watched(lambda t: True, light=step) == []
    assert [change.bin_id for change in watched(lambda t: t < 3, light=step)] == ["left"]


def test_a_soft_shadow_neither_hides_nor_makes_a_change() -> None:
    watcher = FaceWatcher(faces())
    assert watched(lambda t: True, light=wandering_shadow, watcher=watcher) == []
    assert watcher.by_nobody == ()
    (change,) = watched(lambda t: t < 3, light=wandering_shadow)
    assert (change.bin_id, change.handling) == ("left", Handling.PICK)


def test_shake_changes_nothing_and_hides_nothing() -> None:
    offsets = np.random.default_rng(5).normal(0, 0.8, 100).clip(-2, 2)
    assert watched(lambda t: True, arm_s=(), shift_px=lambda i: float(offsets[i])) == []
    assert [c.bin_id for c in watched(lambda t: t < 3, shift_px=lambda i: float(offsets[i]))] == ["left"]


def test_a_camera_that_is_pushed_away_changes_no_shelf() -> None:
    """Six faces show something else at once, behind a hand that was there."""
    outlines = [
        np.array([[x, y], [x + 58, y], [x + 58, y + 55], [x, y + 55]], float) for y in (60, 120) for x in (70, 130, 190)
    ]
    grid = [Bin(f"{k}", camera_id="cam", polygon_px=outline) for k, outline in enumerate(outlines)]
    watcher = FaceWatcher(grid)
    assert watched(lambda t: True, shift_px=lambda i: 0.0 if i < 20 else 14.0, watcher=watcher, length_s=16) == []
    assert watcher.by_nobody == ()


def test_what_changes_with_nobody_there_is_told_of_nobody() -> None:
    watcher = FaceWatcher(faces())
    assert watched(lambda t: t < 3, arm_s=(), watcher=watcher) == []
    assert [change.bin_id for change in watcher.by_nobody] == ["left"]


def test_what_stays_only_for_a_moment_after_a_hand_is_no_change() -> None:
    def wrapper(image: FloatArray, t: float) -> None:
        if 4.0 <= t < 5.4:
            image[80:110, 100:130] = np.random.default_rng(7).uniform(0, 255, (30, 30, 3))

    assert watched(lambda t: True, also=wrapper) == []


def test_a_hand_that_rests_at_one_face_hides_no_change_of_the_other() -> None:
    def resting(image: FloatArray, t: float) -> None:
        if 2.5 <= t < 8:
            arm(image, t, (240, 120))

    changes = watched(lambda t: t < 3, also=resting, length_s=11)
    assert [change.bin_id for change in changes] == ["left"]


def test_a_thing_that_reaches_to_the_pictures_rim_is_no_arm() -> None:
    """The face is cut by the picture's lower edge, and so is what was put there."""

    def box(image: FloatArray, t: float) -> None:
        if t >= 3:
            image[190:, 120:160] = (40, 60, 220)
            image[200:215, 125:155] = 240
        if 2 <= t < 4:
            arm(image, t, (140, 210))

    outline = np.array([[90, 170], [190, 170], [190, HEIGHT], [90, HEIGHT]], float)
    watcher = FaceWatcher([Bin("low", camera_id="cam", polygon_px=outline)])
    (change,) = watched(lambda t: True, arm_s=(), also=box, watcher=watcher, length_s=12)
    assert change.time_ns == pytest.approx(3 * SECOND, abs=0.7 * SECOND)


def test_somebody_detected_who_stands_stock_still_is_no_thing() -> None:
    watcher, rng = FaceWatcher(faces()), np.random.default_rng(1)
    changes = []
    for i in range(6 * 22):
        t = i / 6
        image = a_scene(item=True)
        stands = 2 <= t < 18
        if stands:
            image[60:, 110:170] = (90, 60, 50)
        picture = np.asarray(np.clip(image + rng.normal(0, 1.5, image.shape), 0, 255), np.uint8)
        boxes = np.array([(105, 50, 175, HEIGHT)], np.float32)[: int(stands)]
        seen = Detections(
            "cam",
            round(t * SECOND),
            boxes,
            np.full(len(boxes), 0.9, np.float32),
            np.zeros(len(boxes), np.int64),
            np.zeros((len(boxes), 0, 3), np.float32),
        )
        changes += watcher.update(Frame("cam", i, round(t * SECOND), picture), seen)
    assert changes + watcher.finish() == []


def test_an_arm_beside_a_face_changes_nothing_of_it() -> None:
    def beside(image: FloatArray, t: float) -> None:
        if 2 <= t < 9:
            cv2.line(image, (203, HEIGHT + 20), (203, 80 + round(3 * np.sin(9 * t))), (110, 140, 200), 26)

    assert watched(lambda t: True, arm_s=(), also=beside, length_s=9) == []


def test_a_hand_that_comes_back_at_once_does_not_lose_the_change_before() -> None:
    changes = watched(lambda t: t < 3, arm_s=((2, 4), (5.4, 6.6)), length_s=10)
    assert [change.bin_id for change in changes] == ["left"]
    assert 2 * SECOND <= changes[0].time_ns <= 4 * SECOND


def test_frames_that_come_too_soon_are_left_out() -> None:
    watcher = FaceWatcher(faces())
    image = np.asarray(a_scene(item=True), np.uint8)
    for i in range(60):
        # Every second frame is of another place altogether, and comes 33 ms after the one before.
        watcher.update(Frame("cam", 2 * i, i * SECOND // 6, image))
        watcher.update(Frame("cam", 2 * i + 1, i * SECOND // 6 + SECOND // 30, image[::-1].copy()))
        assert watcher.unsettled_since_ns is None
    assert watcher.finish() == []


def test_black_pictures_say_nothing() -> None:
    watcher = FaceWatcher(faces())
    image = np.asarray(a_scene(item=True), np.uint8)
    changes = []
    for i in range(72):
        changes += watcher.update(Frame("cam", i, i * SECOND // 6, image if i < 24 or i >= 48 else 0 * image))
    assert changes + watcher.finish() == []


def test_a_face_is_hidden_while_somebody_is_before_it_and_until_it_is_judged() -> None:
    watcher, rng = FaceWatcher(faces()), np.random.default_rng(1)
    hidden = {}
    for i in range(6 * 8):
        t = i / 6
        image = a_scene(item=True)
        if 2 <= t < 4:
            arm(image, t)
        picture = np.asarray(np.clip(image + rng.normal(0, 1.5, image.shape), 0, 255), np.uint8)
        watcher.update(Frame("cam", i, round(t * SECOND), picture))
        hidden[i] = "left" in watcher.hidden
        assert (watcher.unsettled_since_ns is not None) == bool(watcher.hidden)
    assert not hidden[10]
    assert hidden[20]
    assert not hidden[47]


def test_structure_changes_with_things_and_not_with_light() -> None:
    scene = log_picture(np.asarray(a_scene(item=True), np.uint8))
    gone = log_picture(np.asarray(np.clip(1.3 * a_scene(item=False), 0, 255), np.uint8))
    brighter = log_picture(np.asarray(np.clip(1.3 * a_scene(item=True), 0, 255), np.uint8))
    everywhere = np.ones(scene.shape[:2], bool)
    assert not changed_structure(scene, brighter, everywhere).any()
    changed = changed_structure(scene, gone, everywhere)
    left, top, right, bottom = ITEM
    assert changed[top:bottom, left:right].mean() > 0.5
    changed[top - 8 : bottom + 8, left - 8 : right + 8] = False
    assert not changed.any()


def test_what_leaves_bare_floor_was_taken() -> None:
    full = np.full((40, 30, 3), 200, np.uint8)
    full[5:35, 8:22] = (30, 60, 200)
    full[12:20, 10:20] = (20, 220, 230)
    bare, region = np.full((40, 30, 3), 180, np.uint8), np.zeros((40, 30), bool)
    region[4:36, 7:23] = True
    before, after = log_picture(full), log_picture(bare)
    assert pick_probability(before, after, region) > 0.9
    assert pick_probability(after, before, region) < 0.1


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


def test_a_face_that_the_lens_model_folds_outside_the_picture_is_not_drawn() -> None:
    folding = np.array([-0.3, 0.0, 0.0, 0.0, 0.0])
    folded = 0
    for x_m in np.arange(-1.0, 5.0, 0.25).tolist():
        for aim_x_m in (0.0, 2.0, 4.0):
            camera = a_camera((x_m, 1.6, 1.5), (aim_x_m, 0.8, 0.8), distortion=folding, resolution_wh=(640, 360))
            shop = a_shop(camera)
            for face in drawn_faces(shop, camera):
                assert cv2.isContourConvex(np.asarray(face.polygon_px, np.float32))
            for a_bin in shop.bins:
                if a_bin.box is not None:
                    corners = camera.image_points(a_bin.box.corners_m[[4, 5, 1, 0]])
                    folded += bool(np.isfinite(corners).all() and not cv2.isContourConvex(corners.astype(np.float32)))
    assert folded


def test_each_face_is_watched_by_the_camera_that_sees_it_largest() -> None:
    far, near = (
        a_camera(resolution_wh=(640, 360)),
        a_camera((2.0, 2.4, 1.8), camera_id="near", resolution_wh=(640, 360)),
    )
    shop = a_shop(far, near)
    views = best_views(shop)
    named = [face.bin_id for faces_of in views.values() for face in faces_of]
    assert len(named) == len(set(named))
    assert set(named) == {face.bin_id for camera in (far, near) for face in drawn_faces(shop, camera)}
    assert {str(face.camera_id) for face in views["near"]} == {"near"}
    assert "1/2/1" in {face.bin_id for face in views["near"]}
    # A camera that sends no picture watches nothing.
    alone = best_views(shop, {"near"})
    assert set(alone) == {"near"}
    assert {face.bin_id for face in alone["near"]} >= {face.bin_id for face in views["near"]}


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
