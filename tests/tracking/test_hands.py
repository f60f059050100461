from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracking.builders import a_camera, ring_of_cameras
from tracking.hands import MAX_MISS_M, HandView, place_hands
from vision.arrays import FloatArray
from vision.cameras import Camera

STANDS_M = np.array([0.3, -0.2])
HAND_M = np.array([0.7, 0.1, 1.1])
OTHER_M = np.array([0.1, -0.5, 0.9])
NOISE_PX = 2.0


def views_of(
    cameras: Sequence[Camera],
    hands_m: Sequence[FloatArray],
    *,
    swapped: Sequence[bool] | None = None,
    rng: np.random.Generator | None = None,
) -> list[HandView]:
    """One or two hands in every camera's picture; where swapped, the first is called right and the second left."""
    views = []
    for i, camera in enumerate(cameras):
        points = np.full((2, 2), np.nan)
        points[: len(hands_m)] = camera.image_points(np.array(hands_m))
        if rng is not None:
            points += rng.normal(0, NOISE_PX, (2, 2))
        if swapped is not None and swapped[i]:
            points = points[::-1]
        views.append(HandView(camera, points, np.where(np.isnan(points[:, 0]), 0.0, 0.9)))
    return views


def error_m(placed_m: FloatArray, true_m: FloatArray) -> float:
    """How far the placed hand that is nearest to the true one is from it."""
    away = np.linalg.norm(placed_m - true_m, axis=1)
    return float("inf") if np.isnan(away).all() else float(np.nanmin(away))


def test_two_cameras_place_both_hands() -> None:
    hands_m, miss_m = place_hands(views_of(ring_of_cameras(2), [HAND_M, OTHER_M]), STANDS_M)
    assert hands_m == pytest.approx(np.stack([HAND_M, OTHER_M]), abs=1e-3)
    assert miss_m == pytest.approx(np.zeros(2), abs=1e-3)


def test_one_camera_places_no_hand() -> None:
    hands_m, miss_m = place_hands(views_of(ring_of_cameras(1), [HAND_M, OTHER_M]), STANDS_M)
    assert np.isnan(hands_m).all()
    assert np.isnan(miss_m).all()


def test_nobody_in_view_has_no_hands() -> None:
    hands_m, _ = place_hands([], STANDS_M)
    assert np.isnan(hands_m).all()
    hands_m, _ = place_hands(views_of(ring_of_cameras(3), []), STANDS_M)
    assert np.isnan(hands_m).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(0.4, 1.9)),
    st.integers(0, 2**31),
)
def test_a_noisy_hand_is_placed_within_centimetres_whatever_side_the_cameras_call_it(
    count: int, swapped: list[bool], offset: tuple[float, float, float], seed: int
) -> None:
    hand_m = np.array([*STANDS_M, 0.0]) + offset
    views = views_of(ring_of_cameras(count), [hand_m], swapped=swapped, rng=np.random.default_rng(seed))
    hands_m, miss_m = place_hands(views, STANDS_M)
    assert np.isfinite(hands_m).all(axis=1).sum() == 1
    assert error_m(hands_m, hand_m) < 0.1
    assert np.nanmax(miss_m) <= MAX_MISS_M


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([3, 4, 6, 12]),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.floats(0.3, 0.9),
    st.floats(0, 6.28),
    st.floats(0.5, 1.7),
    st.floats(0.5, 1.7),
    st.integers(0, 2**31),
)
def test_both_noisy_hands_are_placed_although_cameras_disagree_which_is_left(
    count: int, swapped: list[bool], apart_m: float, angle: float, one_m: float, other_m: float, seed: int
) -> None:
    across = np.array([np.cos(angle), np.sin(angle)]) * apart_m / 2
    one, other = np.array([*(STANDS_M + across), one_m]), np.array([*(STANDS_M - across), other_m])
    views = views_of(ring_of_cameras(count), [one, other], swapped=swapped, rng=np.random.default_rng(seed))
    hands_m, _ = place_hands(views, STANDS_M)
    assert error_m(hands_m, one) < 0.1
    assert error_m(hands_m, other) < 0.1


def test_the_hand_that_most_cameras_call_left_is_first() -> None:
    cameras = ring_of_cameras(3)
    hands_m, _ = place_hands(views_of(cameras, [HAND_M, OTHER_M], swapped=[False, True, False]), STANDS_M)
    assert hands_m[0] == pytest.approx(HAND_M, abs=0.02)
    hands_m, _ = place_hands(views_of(cameras, [HAND_M, OTHER_M], swapped=[True, True, False]), STANDS_M)
    assert hands_m[0] == pytest.approx(OTHER_M, abs=0.02)


def test_a_lone_right_hand_is_in_the_second_row() -> None:
    hands_m, miss_m = place_hands(views_of(ring_of_cameras(3), [HAND_M], swapped=[True] * 3), STANDS_M)
    assert np.isnan(hands_m[0]).all()
    assert hands_m[1] == pytest.approx(HAND_M, abs=1e-3)
    assert np.isfinite(miss_m).tolist() == [False, True]


def test_rays_that_miss_each_other_by_30_cm_place_no_hand() -> None:
    one, two = ring_of_cameras(2)
    across = np.cross(HAND_M - one.position_m, HAND_M - two.position_m)
    beside_m = HAND_M + 0.3 * across / np.linalg.norm(across)
    views = [*views_of([one], [HAND_M]), *views_of([two], [beside_m])]
    hands_m, _ = place_hands(views, STANDS_M)
    assert np.isnan(hands_m).all()


def test_a_camera_that_saw_something_else_does_not_spoil_the_hand() -> None:
    cameras = ring_of_cameras(4)
    views = [*views_of(cameras[:3], [HAND_M]), *views_of(cameras[3:], [HAND_M + np.array([0.0, 0.3, 0.4])])]
    hands_m, _ = place_hands(views, STANDS_M)
    assert error_m(hands_m, HAND_M) < 0.02
    assert np.isfinite(hands_m).all(axis=1).sum() == 1


def test_a_hand_out_of_its_owners_reach_is_not_theirs() -> None:
    views = views_of(ring_of_cameras(3), [HAND_M])
    hands_m, _ = place_hands(views, HAND_M[:2] + np.array([1.5, 0.0]))
    assert np.isnan(hands_m).all()
    hands_m, _ = place_hands(views, np.full(2, np.nan))
    assert error_m(hands_m, HAND_M) < 1e-3


def test_a_hand_under_the_floor_or_above_everybody_is_none() -> None:
    for height_m in (-0.4, 2.5):
        hand_m = np.array([*STANDS_M, height_m])
        hands_m, _ = place_hands(views_of(ring_of_cameras(3), [hand_m]), STANDS_M)
        assert np.isnan(hands_m).all()


def test_cameras_side_by_side_place_no_hand() -> None:
    cameras = [a_camera("a", (5.0, 0.0, 3.0), (0.0, 0.0, 0.8)), a_camera("b", (5.0, 0.4, 3.0), (0.0, 0.0, 0.8))]
    hands_m, _ = place_hands(views_of(cameras, [HAND_M]), STANDS_M)
    assert np.isnan(hands_m).all()


def test_both_wrists_on_one_hand_are_one_hand() -> None:
    hands_m, _ = place_hands(views_of(ring_of_cameras(3), [HAND_M, HAND_M + np.array([0.01, 0.0, 0.0])]), STANDS_M)
    assert np.isfinite(hands_m).all(axis=1).sum() == 1


def test_an_unsure_wrist_counts_less() -> None:
    one, two, three = ring_of_cameras(3)
    sure = views_of([one, two], [HAND_M])
    off = views_of([three], [HAND_M + np.array([0.0, 0.0, 0.08])])[0]
    trusted, _ = place_hands([*sure, off], STANDS_M)
    doubted, _ = place_hands([*sure, HandView(off.camera, off.hands_px, np.array([0.5, 0.0]))], STANDS_M)
    assert error_m(doubted, HAND_M) < error_m(trusted, HAND_M)


def test_views_of_another_shape_are_refused() -> None:
    camera = ring_of_cameras(1)[0]
    with pytest.raises(ValueError, match=r"HandView.hands_px"):
        HandView(camera, np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(ValueError, match=r"HandView.score"):
        HandView(camera, np.zeros((2, 2)), np.zeros(3))
