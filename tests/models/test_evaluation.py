"""Tests of ``models.evaluation`` with detectors that are as good as they say."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import pytest

from models.evaluation import average_precision, evaluate, is_wanted
from store_sim.posed_pictures import PosedPeople, PosedShelf
from vision.detections import Detections
from vision.frames import Frame
from vision.top_down import HANDS, HELD_PRODUCT


@cache
def shelf() -> PosedShelf:
    """Two pictures of two people each; the first holds something in the left hand, the last is hidden."""
    written, data = cv2.imencode(".jpg", np.full((100, 200, 3), 90, np.uint8))
    assert written
    xyxy = np.array([[10, 10, 50, 90], [100, 10, 140, 90]] * 2, np.float32)
    keypoints = np.zeros((4, 17, 3), np.float32)
    keypoints[:, :, 0] = xyxy[:, None, 0] + np.arange(17)
    keypoints[:, :, 1] = 40
    keypoints[:, :, 2] = 2
    keypoints[:, 0, 2] = 1
    holds = np.zeros((4, 2), np.int64)
    held = np.full((4, 2, 4), np.nan, np.float32)
    holds[0, 0], held[0, 0] = 1, [12, 38, 22, 48]
    people = PosedPeople(xyxy, np.array([0, 0, 0, 0.9], np.float32), keypoints, holds, held)
    data = np.asarray(data, np.uint8).ravel()
    return PosedShelf(np.tile(data, 2), np.array([len(data), 2 * len(data)]), np.array([2, 4]), people)


class Oracle:
    """Sees what is there, shifted by some pixels, with some confidences."""

    class_names = ("person", HELD_PRODUCT)
    has_keypoints = True

    def __init__(self, *, shift_px: float = 0.0, joints_px: float = 0.0, holds: bool = True, ghosts: int = 0) -> None:
        self._shift_px, self._joints_px, self._holds, self._ghosts = shift_px, joints_px, holds, ghosts
        self._row = 0

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        people = shelf().people_in(self._row)
        self._row += 1
        boxes = people.xyxy + np.float32(self._shift_px)
        points = people.keypoints.copy()
        points[..., :2] += np.float32(self._joints_px)
        points[..., 2] = points[..., 2] == 2
        ghosts = np.tile(np.array([[150, 60, 190, 95]], np.float32), (self._ghosts, 1))
        held = people.held_xyxy[people.holds == 1] if self._holds else np.zeros((0, 4), np.float32)
        whose, hand = np.nonzero((people.holds == 1) & self._holds)
        marks = np.full((len(held), 17, 3), np.nan, np.float32)
        marks[np.arange(len(held)), np.array(HANDS)[hand]] = points[whose, np.array(HANDS)[hand]]
        n = len(boxes) + len(ghosts)
        return [
            Detections(
                "c",
                0,
                np.concatenate([boxes, ghosts, held]),
                np.concatenate([np.full(len(boxes), 0.9), np.full(len(ghosts), 0.95), np.full(len(held), 0.8)]),
                np.concatenate([np.zeros(n, np.int64), np.ones(len(held), np.int64)]),
                np.concatenate([points, np.full((len(ghosts), 17, 3), np.nan, np.float32), marks]),
            )
        ]


def test_an_oracle_is_right_everywhere() -> None:
    scores = evaluate(Oracle(), [shelf()])
    assert (scores.pictures, scores.people) == (2, 3)
    assert scores.ap50 == scores.ap50_95 == scores.precision == scores.recall == 1
    assert scores.joints.count == 3 * 16
    assert scores.joints.median_px == 0
    assert scores.wrists.near == scores.wrists.said_seen == scores.seen_f1 == 1
    assert scores.hidden_said_seen == 0
    assert scores.held_f1 == scores.held_overlap == 1


def test_shifted_boxes_are_right_at_small_overlaps_only() -> None:
    scores = evaluate(Oracle(shift_px=4), [shelf()])
    assert scores.ap50 == 1
    assert 0.4 < scores.ap50_95 < 0.8


def test_what_is_not_there_costs_precision_but_nobody_who_is_hidden_does() -> None:
    assert evaluate(Oracle(ghosts=1), [shelf()]).precision == pytest.approx(3 / 5)
    assert evaluate(Oracle(ghosts=1), [shelf()]).recall == 1


def test_joints_are_measured_in_pixels_and_shares_of_the_person() -> None:
    wrists = evaluate(Oracle(joints_px=3), [shelf()]).wrists
    assert wrists.median_px == pytest.approx(3 * 2**0.5)
    assert wrists.median_share == pytest.approx(3 * 2**0.5 / 80)
    assert wrists.near == 0


def test_wrists_are_told_apart_by_the_size_of_people() -> None:
    by_size = evaluate(Oracle(), [shelf()]).wrists_by_size
    assert [each.count for each in by_size] == [0, 6, 0]
    assert np.isnan(by_size[0].median_px)


def test_holding_that_is_not_seen_costs_recall() -> None:
    scores = evaluate(Oracle(holds=False), [shelf()])
    assert scores.held_recall == scores.held_f1 == 0


def test_small_and_hidden_people_need_not_be_found() -> None:
    people = shelf().people
    assert is_wanted(people).tolist() == [True, True, True, False]


def test_pictures_of_nobody_measure_nothing() -> None:
    empty = shelf()
    none = PosedShelf(empty.jpeg, empty.jpeg_end, np.array([0, 0]), empty.people_in(0))
    with pytest.raises(ValueError, match="expected pictures of people"):
        evaluate(_Blind(), [none])


class _Blind:
    class_names = ("person",)
    has_keypoints = False

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        return [Detections.empty("c", 0)]


def test_average_precision_of_nothing_found_is_zero() -> None:
    assert average_precision(np.zeros(0, bool), 5) == 0
