import numpy as np
import pytest

from tests.tracking.builders import a_camera, a_sighting, at_instant
from tracking.hand_lines import lone_hands
from vision.cameras import Camera

CAMERA = a_camera("cam", (0.0, -4.0, 2.8), (0.0, 0.0, 1.0))
HAND_M = np.array([0.3, 0.1, 1.0])
FAR_M = np.array([-0.4, -0.2, 0.8])


def seen_at(camera: Camera, point_m: np.ndarray) -> tuple[float, float]:
    x, y = camera.image_points(point_m[None])[0].tolist()
    return float(x), float(y)


def test_a_hand_in_one_picture_lies_on_the_line_from_the_camera() -> None:
    people = at_instant(1.0, {4: [None]}, (a_sighting("cam", 1.0, {4: [seen_at(CAMERA, HAND_M), None]}),))
    lines, unseen = lone_hands(people, {"cam": CAMERA})
    assert lines.identity_id.tolist() == [4]
    np.testing.assert_allclose(lines.nearest_m(HAND_M)[0], HAND_M, atol=1e-6)
    assert unseen.tolist() == pytest.approx([(2 - 0.9) / 2])


def test_a_line_through_a_hand_that_is_known_is_not_another_hand() -> None:
    sighting = a_sighting("cam", 1.0, {4: [seen_at(CAMERA, HAND_M), seen_at(CAMERA, FAR_M)]})
    lines, unseen = lone_hands(at_instant(1.0, {4: [HAND_M]}, (sighting,)), {"cam": CAMERA})
    assert len(lines.score) == 1
    np.testing.assert_allclose(lines.nearest_m(FAR_M)[0], FAR_M, atol=1e-6)
    assert unseen.tolist() == pytest.approx([0.05])


def test_who_has_both_hands_in_the_world_needs_no_lines() -> None:
    sighting = a_sighting("cam", 1.0, {4: [seen_at(CAMERA, HAND_M), (10.0, 10.0)]})
    lines, unseen = lone_hands(at_instant(1.0, {4: [HAND_M, FAR_M]}, (sighting,)), {"cam": CAMERA})
    assert (len(lines.score), unseen.tolist()) == (0, [0.0])


def test_cameras_of_which_nobody_knows_where_they_hang_tell_no_lines() -> None:
    people = at_instant(1.0, {4: [None]}, (a_sighting("phone", 1.0, {4: [(5.0, 5.0), None]}),))
    lines, unseen = lone_hands(people, {"cam": CAMERA})
    assert (len(lines.score), unseen.tolist()) == (0, [1.0])


def test_several_cameras_that_see_one_hand_do_not_make_it_two() -> None:
    other = a_camera("other", (3.0, -3.0, 2.8), (0.0, 0.0, 1.0))
    sightings = tuple(
        a_sighting(camera.camera_id, 1.0, {4: [seen_at(camera, HAND_M), None]}) for camera in (CAMERA, other)
    )
    _, unseen = lone_hands(at_instant(1.0, {4: [None]}, sightings), {"cam": CAMERA, "other": other})
    assert unseen.tolist() == pytest.approx([(2 - 0.9) / 2])
