"""Tests of tracking.camera_faults."""

import numpy as np
import pytest

from tracking.camera_faults import CameraWatch
from tracking.floor import FloorPoints

SECOND = 1_000_000_000


def watched(
    shift_m: tuple[float, float] = (0.0, 0.0),
    skew_s: float = 0.0,
    dead_s: float = 1e9,
    seconds: float = 90.0,
    nearer_m: float = 0.0,
    spread_m: float = 0.06,
    seed: int = 3,
) -> CameraWatch:
    """Three cameras that see three people walk to and fro; something is wrong with the last.

    Each puts people nearer to itself than they are by ``nearer_m``, and errs by ``spread_m``.
    """
    rng = np.random.default_rng(seed)
    hang_m = np.array([[4.0, 0.0], [-2.0, 3.5], [-2.0, -3.5]])
    watch = CameraWatch(("a", "b", "c"), hang_m)
    row = np.repeat(np.arange(3)[:, None], 3, axis=1)
    angles = rng.uniform(0, 2 * np.pi, 3)
    for k in range(int(seconds * 2)):
        now_ns = k * SECOND // 2
        velocity = 1.0 * np.column_stack([np.cos(angles + k / 5), np.sin(angles + k / 5)])
        places = rng.uniform(-2, 2, (3, 2))
        seen = []
        for column in range(3):
            if column == 2 and k / 2 >= dead_s:
                continue
            nearer = hang_m[column] - places
            feet = places + rng.normal(0, spread_m, (3, 2))
            feet += nearer_m * nearer / np.linalg.norm(nearer, axis=1, keepdims=True)
            lag_s = 0.0
            if column == 2:
                feet = feet + shift_m
                lag_s = skew_s
            cov = np.repeat(np.eye(2)[None] * 0.01, 3, axis=0)
            seen.append((column, FloorPoints(feet, cov, feet, np.zeros((3, 2)), cov), lag_s))
        watch.hear(now_ns, [column for column, _, _ in seen])
        watch.compare(now_ns, seen, np.arange(3), row, np.column_stack([places, velocity, np.full(3, 1.7)]))
    return watch


@pytest.mark.parametrize("nearer_m", [0.0, 0.05, 0.1])
def test_nothing_is_said_of_sound_cameras_that_see_the_nearer_foot(nearer_m: float) -> None:
    assert watched(nearer_m=nearer_m).notices == ()


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_said_of_sound_cameras_that_see_a_crowd_badly(seed: int) -> None:
    assert watched(spread_m=0.25, seed=seed).notices == ()


def test_who_stands_is_compared_once() -> None:
    watch = CameraWatch(("a", "b"), np.array([[4.0, 0.0], [0.0, 4.0]]))
    state = np.array([[0.0, 0.0, 0.0, 0.0, 1.7]])
    cov = np.eye(2)[None] * 0.01
    for k in range(400):
        seen = []
        for column, off in enumerate(((0.0, 0.0), (0.08, -0.05))):
            feet = np.array([off])
            seen.append((column, FloorPoints(feet, cov, feet, np.zeros((1, 2)), cov), 0.0))
        watch.compare(k * SECOND // 2, seen, np.zeros(1, np.int64), np.zeros((1, 2), np.int64), state)
    assert watch.estimates() == ()
    assert watch.notices == ()


@pytest.mark.parametrize("shift_m", [(0.06, 0.0), (-0.05, 0.05)])
def test_a_moved_camera_is_named_with_how_far(shift_m: tuple[float, float]) -> None:
    (notice,) = watched(shift_m=shift_m).notices
    assert (notice.camera_id, notice.code) == ("c", "camera-moved")
    assert notice.amount == pytest.approx(np.hypot(*shift_m), abs=0.02)


@pytest.mark.parametrize("skew_s", [0.2, -0.3])
def test_a_clock_that_is_off_is_named_and_allowed_for(skew_s: float) -> None:
    watch = watched(skew_s=skew_s)
    (notice,) = watch.notices
    assert (notice.camera_id, notice.code) == ("c", "camera-skewed")
    assert watch.skew_s(2) == pytest.approx(skew_s, abs=0.04)
    assert watch.skew_s(0) == watch.skew_s(1) == 0.0


def test_a_dead_camera_is_named_until_it_sees_again() -> None:
    watch = watched(dead_s=10.0, seconds=20.0)
    (notice,) = watch.notices
    assert (notice.camera_id, notice.code) == ("c", "camera-dead")
    assert notice.amount == pytest.approx(10.0, abs=1.0)
    watch.hear(21 * SECOND, [0, 1, 2])
    assert watch.notices == ()
