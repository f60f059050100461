from collections.abc import Sequence

import numpy as np
import pytest

from tests.vision.test_motion import WH, scene
from vision.arrays import ImageArray
from vision.detections import Detections
from vision.detector import COCO_CLASS_NAMES
from vision.frames import Frame
from vision.seeing import Action, Look, Seeing, SeeingSettings

MS = 1_000_000
BODY = np.random.default_rng(9).integers(0, 256, (30, 10, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)


class Eyes:
    """Sees one person wherever BODY stands, and counts how often it was asked."""

    class_names = COCO_CLASS_NAMES
    has_keypoints = False

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        self.asked.append([frame.camera_id for frame in frames])
        return [self._seen(frame) for frame in frames]

    def _seen(self, frame: Frame) -> Detections:
        rows, columns = np.nonzero((frame.image[:-119, :-39] == BODY[0, 0]).all(axis=2))
        boxes = [
            (x, y, x + 40, y + 120)
            for x, y in zip(columns, rows, strict=True)
            if (frame.image[y : y + 120, x : x + 40] == BODY).all()
        ]
        n = len(boxes)
        return Detections(
            frame.camera_id,
            frame.timestamp_ns,
            np.array(boxes, np.float32).reshape(n, 4),
            np.full(n, 0.9, np.float32),
            np.zeros(n, np.int64),
            np.zeros((n, 0, 3), np.float32),
        )


def picture(left: int | None = None) -> ImageArray:
    image = scene(0)
    if left is not None:
        image[100:220, left : left + 40] = BODY
    return image


def frame(number: int, image: ImageArray, name: str = "a") -> Frame:
    return Frame(name, number, number * 100 * MS, image)


def looked(seeing: Seeing, given: Frame) -> Look:
    (look,) = seeing.look([given])
    if look.action is Action.DETECTED:
        seeing.follow(given.camera_id, look.detections.xyxy, look.detections.keypoints)
    return look


def test_by_default_every_moving_frame_is_detected_in() -> None:
    seeing = Seeing(Eyes())
    assert [looked(seeing, frame(n, picture(100 + 5 * n))).action for n in range(5)] == [Action.DETECTED] * 5


def test_an_empty_shop_is_left_alone_but_looked_at_now_and_then() -> None:
    eyes = Eyes()
    seeing = Seeing(eyes, SeeingSettings(detect_every=3, longest_sleep_s=2.0))
    rng = np.random.default_rng(0)
    actions = []
    for n in range(41):
        noisy = np.clip(picture() + rng.normal(0, 3, (WH[1], WH[0], 3)), 0, 255).astype(np.uint8)
        actions.append(looked(seeing, frame(n, noisy)).action)
    assert [n for n, action in enumerate(actions) if action is Action.DETECTED] == [0, 20, 40]
    assert seeing.counts == {Action.DETECTED: 3, Action.BETWEEN: 0, Action.STILL: 38}


def test_somebody_who_comes_in_wakes_at_once() -> None:
    seeing = Seeing(Eyes(), SeeingSettings(detect_every=10))
    for n in range(4):
        looked(seeing, frame(n, picture()))
    look = looked(seeing, frame(4, picture(50)))
    assert (look.action, look.reason) == (Action.DETECTED, "something moves where nobody was")


def test_people_are_carried_along_between_looks() -> None:
    seeing = Seeing(Eyes(), SeeingSettings(detect_every=4))
    looks = [looked(seeing, frame(n, picture(200 + 4 * n))) for n in range(9)]
    between = [(n, look) for n, look in enumerate(looks) if look.action is Action.BETWEEN]
    assert len(between) >= 5
    for n, look in between:
        left = 200 + 4 * n
        np.testing.assert_allclose(look.xyxy, [[left, 100, left + 40, 220]], atol=3)
        np.testing.assert_allclose(look.detections.xyxy, look.xyxy, atol=1e-3)
        assert look.detections.timestamp_ns == n * 100 * MS


def test_who_moves_is_never_slept_through() -> None:
    seeing = Seeing(Eyes(), SeeingSettings(detect_every=4))
    actions = [looked(seeing, frame(n, picture(100 + 6 * n))).action for n in range(20)]
    assert Action.STILL not in actions


def test_who_stands_still_is_looked_at_twice_a_second() -> None:
    seeing = Seeing(Eyes(), SeeingSettings(detect_every=3, longest_rest_s=0.5))
    looks = [looked(seeing, frame(n, picture(100))) for n in range(11)]
    assert [n for n, look in enumerate(looks) if look.action is Action.DETECTED] == [0, 5, 10]
    np.testing.assert_allclose(looks[3].xyxy, [[100, 100, 140, 220]])


def test_cameras_take_turns() -> None:
    eyes = Eyes()
    seeing = Seeing(eyes, SeeingSettings(detect_every=3, sleeps=False))
    names = ("a", "b", "c")
    for n in range(10):
        frames = [frame(n, picture(200 + 2 * n), name) for name in names]
        for given, look in zip(frames, seeing.look(frames), strict=True):
            if look.action is Action.DETECTED:
                seeing.follow(given.camera_id, look.detections.xyxy, look.detections.keypoints)
    assert sorted(eyes.asked[0]) == ["a", "b", "c"]  # the first frame of each
    assert all(len(asked) == 1 for asked in eyes.asked[1:])
    assert sorted(name for asked in eyes.asked[1:4] for name in asked) == ["a", "b", "c"]


def test_a_camera_that_was_dead_is_looked_at_when_it_comes_back() -> None:
    eyes = Eyes()
    seeing = Seeing(eyes, SeeingSettings(detect_every=20, sleeps=False, longest_gap_s=0.5))
    for n in (0, 1, 2):
        seeing.look([frame(n, picture(200), "a"), frame(n, picture(200), "b")])
    (look,) = seeing.look([frame(9, picture(200), "b")])
    assert (look.action, look.reason) == (Action.DETECTED, "long not looked at")
    assert seeing.look([]) == []


def test_a_camera_that_changes_its_size_begins_anew() -> None:
    seeing = Seeing(Eyes(), SeeingSettings(detect_every=20))
    seeing.look([frame(0, picture())])
    (look,) = seeing.look([frame(1, np.ascontiguousarray(picture()[:180, :320]))])
    assert look.reason == "first frame"


def test_who_is_followed_must_have_been_looked_at() -> None:
    with pytest.raises(ValueError, match="camera a: expected to follow somebody after a frame was looked at"):
        Seeing(Eyes()).follow("a", np.zeros((0, 4)), np.zeros((0, 0, 3)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"detect_every": 0}, "SeeingSettings.detect_every: expected at least 1, got 0"),
        ({"looks_again": -1}, "SeeingSettings.looks_again: expected 0 or more, got -1"),
        ({"longest_gap_s": 0.0}, "SeeingSettings.longest_gap_s: expected a positive number, got 0.0"),
    ],
)
def test_settings_out_of_bounds_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeeingSettings(**wrong)  # type: ignore[arg-type]
