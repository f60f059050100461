import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.arrays import FloatArray
from vision.detections import LEFT_ANKLE, LEFT_ELBOW, LEFT_WRIST, RIGHT_ANKLE, RIGHT_ELBOW, RIGHT_WRIST
from vision.pose import GRIP_PER_FOREARM, LEFT_KNEE, RIGHT_KNEE, SOLE_PER_SHANK, body_feet, hand_points

PICTURE = (640, 360)


def body(**points: tuple[float, float, float]) -> FloatArray:
    joints = {
        "left_elbow": LEFT_ELBOW,
        "right_elbow": RIGHT_ELBOW,
        "left_wrist": LEFT_WRIST,
        "right_wrist": RIGHT_WRIST,
        "left_knee": LEFT_KNEE,
        "right_knee": RIGHT_KNEE,
        "left_ankle": LEFT_ANKLE,
        "right_ankle": RIGHT_ANKLE,
    }
    keypoints = np.zeros((1, 17, 3))
    for name, point in points.items():
        keypoints[0, joints[name]] = point
    return keypoints


coordinates = st.floats(-500, 500)


@given(coordinates, coordinates, coordinates, coordinates)
def test_a_hand_lies_beyond_the_wrist_on_the_line_of_the_forearm(ex: float, ey: float, wx: float, wy: float) -> None:
    hands, score = hand_points(body(right_elbow=(ex, ey, 0.9), right_wrist=(wx, wy, 0.7)))
    beyond = np.array([wx, wy]) + GRIP_PER_FOREARM * np.array([wx - ex, wy - ey])
    np.testing.assert_allclose(hands[0, 1], beyond, atol=1e-9)
    assert np.isnan(hands[0, 0]).all()
    assert score.tolist() == [[0.0, 0.7]]


def test_the_wrist_stands_for_the_hand_where_the_elbow_is_hidden() -> None:
    hands, _ = hand_points(body(left_elbow=(10, 10, 0.2), left_wrist=(50, 60, 0.9)))
    assert hands[0, 0].tolist() == [50, 60]


def test_a_wrist_that_is_hardly_visible_gives_no_hand() -> None:
    unsure = body(left_elbow=(10, 10, 0.9), left_wrist=(50, 60, 0.4))
    assert np.isnan(hand_points(unsure)[0]).all()
    assert np.isfinite(hand_points(unsure, min_visibility=0.3)[0][0, 0]).all()


def test_points_that_are_nan_give_no_hand_and_nobody_gives_none() -> None:
    assert np.isnan(hand_points(np.full((2, 17, 3), np.nan))[0]).all()
    assert np.isnan(hand_points(np.zeros((3, 0, 3)))[0]).all()
    assert hand_points(np.zeros((0, 17, 3)))[0].shape == (0, 2, 2)


def test_key_points_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected shape \(n, 17, 3\), got \(1, 5, 3\)"):
        hand_points(np.zeros((1, 5, 3)))


def test_a_person_without_key_points_stands_at_the_bottom_of_the_box() -> None:
    assert body_feet(np.array([[100.0, 50, 160, 250]]), np.zeros((1, 0, 3)), PICTURE).tolist() == [[130.0, 250.0]]


@pytest.mark.parametrize(
    "xyxy",
    [
        (100.0, 200.0, 160.0, 359.0),  # cut below
        (0.0, 50.0, 60.0, 250.0),  # cut on the left
        (600.0, 50.0, 640.0, 250.0),  # cut on the right
        (100.0, 160.0, 160.0, 357.0),  # nearly at the lower edge: within what a box of this size misses by
    ],
)
def test_a_box_cut_by_the_edge_has_no_foot_point(xyxy: tuple[float, ...]) -> None:
    assert np.isnan(body_feet(np.array([xyxy]), np.zeros((1, 17, 3)), PICTURE)).all()


def test_a_box_cut_above_still_shows_its_feet() -> None:
    assert body_feet(np.array([[100.0, 0, 160, 250]]), np.zeros((1, 17, 3)), PICTURE).tolist() == [[130.0, 250.0]]


def test_ankles_that_are_seen_place_a_person_even_in_a_cut_box() -> None:
    legs = body(
        left_knee=(40, 200, 0.9),
        left_ankle=(40, 300, 0.9),
        right_knee=(60, 200, 0.9),
        right_ankle=(60, 310, 0.9),
    )
    feet = body_feet(np.array([[0.0, 50, 90, 359]]), legs, PICTURE)
    np.testing.assert_allclose(feet, [[50, 305 + SOLE_PER_SHANK * 105]])


def test_one_ankle_does_and_one_outside_the_picture_does_not_count() -> None:
    legs = body(left_ankle=(40, 300, 0.9), right_ankle=(60, 380, 0.9))
    assert body_feet(np.array([[0.0, 50, 90, 359]]), legs, PICTURE).tolist() == [[40.0, 300.0]]


def test_nobody_has_no_feet() -> None:
    assert body_feet(np.zeros((0, 4)), np.zeros((0, 17, 3)), PICTURE).shape == (0, 2)
