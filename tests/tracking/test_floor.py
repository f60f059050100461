"""Tests of tracking.floor."""

from dataclasses import replace

import numpy as np
import pytest

from tests.tracking.builders import HEIGHT_M, a_camera, body_m, seen_by, tracks_of
from tracking.floor import floor_points

CAMERA = a_camera("c", (4.0, 0.0, 3.0), (0.0, 0.0, 0.8))
PLACE = (0.3, -0.2)


def test_feet_and_head_of_somebody_standing_are_in_one_place() -> None:
    seen = seen_by(CAMERA, 1, body_m(PLACE), np.random.default_rng(0), noise_px=0.0)
    assert seen is not None
    points = floor_points(tracks_of("c", 0.0, [seen]), CAMERA, HEIGHT_M)
    np.testing.assert_allclose(points.feet_m[0], PLACE, atol=0.1)
    np.testing.assert_allclose((points.upper_m + points.slope * HEIGHT_M)[0], PLACE, atol=0.25)
    assert (np.linalg.eigvalsh(points.feet_cov_m2[0]) > 0).all()
    assert (np.linalg.eigvalsh(points.upper_cov_m2[0]) > 0).all()


def test_a_taller_person_with_the_same_head_stands_nearer_to_the_camera() -> None:
    seen = seen_by(CAMERA, 1, body_m(PLACE), np.random.default_rng(0), noise_px=0.0)
    assert seen is not None
    points = floor_points(tracks_of("c", 0.0, [seen]), CAMERA, HEIGHT_M)
    short, tall = (points.upper_m + points.slope * height_m for height_m in (1.5, 1.9))
    camera_m = CAMERA.position_m[:2]
    assert np.linalg.norm(tall[0] - camera_m) < np.linalg.norm(short[0] - camera_m)


def test_a_foot_point_without_ankles_is_not_believed() -> None:
    seen = seen_by(CAMERA, 1, body_m(PLACE), np.random.default_rng(0))
    assert seen is not None
    hidden = seen.keypoints.copy()
    hidden[13:, 2] = 0.1
    points = floor_points(tracks_of("c", 0.0, [replace(seen, keypoints=hidden)]), CAMERA, HEIGHT_M)
    assert np.isnan(points.feet_m).all()
    assert np.isfinite(points.upper_m).all()


@pytest.mark.parametrize(("visibility", "beside_m"), [((0.99, 0.1), 0.1), ((0.6, 0.99), 0.08), ((0.1, 0.6), 0.13)])
def test_feet_that_are_half_hidden_are_believed_less(visibility: tuple[float, float], beside_m: float) -> None:
    seen = seen_by(CAMERA, 1, body_m(PLACE), np.random.default_rng(0), noise_px=0.0)
    assert seen is not None
    spreads = []
    for numbers in ((0.99, 0.99), visibility):
        points = seen.keypoints.copy()
        points[15:, 2] = numbers
        told = floor_points(tracks_of("c", 0.0, [replace(seen, keypoints=points)]), CAMERA, HEIGHT_M)
        spreads.append(np.linalg.eigvalsh(told.feet_cov_m2[0]))
    assert (spreads[1] - spreads[0] >= beside_m**2 - 1e-9).all()


@pytest.mark.parametrize("far_m", [1.0, 2.0])
def test_who_is_farther_away_is_placed_worse(far_m: float) -> None:
    spreads = []
    for x in (1.0, 1.0 - far_m):
        seen = seen_by(CAMERA, 1, body_m((x, 0.0)), np.random.default_rng(0), noise_px=0.0)
        assert seen is not None
        spreads.append(np.trace(floor_points(tracks_of("c", 0.0, [seen]), CAMERA, HEIGHT_M).feet_cov_m2[0]))
    assert spreads[1] > spreads[0]


def test_nobody_is_nowhere() -> None:
    assert floor_points(tracks_of("c", 0.0, []), CAMERA, HEIGHT_M).feet_m.shape == (0, 2)
