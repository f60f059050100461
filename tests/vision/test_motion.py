import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.arrays import ImageArray
from vision.motion import FLOW_WIDTH_PX, GATE_WIDTH_PX, BodyFlow, cells_of, changed_cells, shrunk

WH = (640, 360)


def scene(seed: int = 0) -> ImageArray:
    """A picture with structure of all sizes, away from black and white."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(60, 180, (9, 16, 3)).astype(np.float32), WH, interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.normal(0, 60, (WH[1], WH[0], 3)).astype(np.float32), (0, 0), 2)
    return np.asarray(np.clip(coarse + fine, 30, 220), np.uint8)


def with_person(image: ImageArray, left: int, top: int, height: int, colour: tuple[int, int, int]) -> ImageArray:
    changed = image.copy()
    changed[top : top + height, left : left + height // 3] = colour
    return changed


def small(image: ImageArray) -> ImageArray:
    return shrunk(shrunk(image, FLOW_WIDTH_PX), GATE_WIDTH_PX)


@given(st.integers(0, 50), st.floats(0, 8), st.floats(0.75, 1.3), st.floats(-15, 15))
@settings(max_examples=25, deadline=None)
def test_noise_and_exposure_never_wake(seed: int, sigma: float, gain: float, offset: float) -> None:
    before = scene(seed % 3)
    rng = np.random.default_rng(seed)
    now = before * gain + offset + rng.normal(0, sigma, before.shape)
    noisy = np.clip(before + rng.normal(0, sigma, before.shape), 0, 255).astype(np.uint8)
    assert not changed_cells(small(noisy), small(np.clip(now, 0, 255).astype(np.uint8))).any()


@given(st.integers(0, 580), st.integers(0, 280), st.integers(60, 200), st.floats(0, 5), st.floats(0.85, 1.15))
@settings(max_examples=25, deadline=None)
def test_a_person_always_wakes(left: int, top: int, height: int, sigma: float, gain: float) -> None:
    before = scene(1)
    came = with_person(before, left, top, height, (20, 30, 240)) * gain
    now = np.clip(came + np.random.default_rng(height).normal(0, sigma, came.shape), 0, 255).astype(np.uint8)
    changed = changed_cells(small(before), small(now))
    assert changed.any()
    where = cells_of(np.array([[left, top, left + height // 3, top + height]], float), WH, changed.shape, 0.2)
    assert not (changed & ~where).any()


def test_boxes_and_key_points_go_with_the_picture() -> None:
    rng = np.random.default_rng(4)
    body = np.clip(cv2.GaussianBlur(rng.normal(120, 200, (120, 50, 3)).astype(np.float32), (0, 0), 2), 0, 255)
    before, now = scene(2), scene(2)
    before[100:220, 200:250] = now[104:224, 212:262] = body.astype(np.uint8)
    points = np.zeros((1, 17, 3))
    points[0, :, 0], points[0, :, 1], points[0, :, 2] = 225, np.linspace(115, 205, 17), 0.9
    points[0, 16, 2] = 0.1  # not seen: goes with the rest
    boxes = np.array([[200.0, 100, 250, 220], [400, 100, 450, 220]])
    flow = BodyFlow(shrunk(before, FLOW_WIDTH_PX), WH)
    shift, moved, known = flow.step(shrunk(now, FLOW_WIDTH_PX), boxes, np.concatenate([points, points + 200]))
    assert known.tolist() == [True, True]
    assert shift[0] == pytest.approx([12, 4], abs=1.5)
    assert shift[1] == pytest.approx([0, 0], abs=0.5)
    np.testing.assert_allclose(moved[0, :, :2] - points[0, :, :2], np.tile([12, 4], (17, 1)), atol=2)
    assert moved[0, :, 2].tolist() == points[0, :, 2].tolist()


def test_what_has_no_structure_is_not_said_to_be_followed() -> None:
    grey = np.full((360, 640, 3), 90, np.uint8)
    flow = BodyFlow(shrunk(grey, FLOW_WIDTH_PX), WH)
    shift, _, known = flow.step(shrunk(grey, FLOW_WIDTH_PX), np.array([[10.0, 10, 60, 110]]), np.zeros((1, 0, 3)))
    assert not known.any()
    assert np.isnan(shift).all()


def test_pictures_of_two_sizes_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="image"):
        changed_cells(np.zeros((9, 16, 3), np.uint8), np.zeros((9, 15, 3), np.uint8))
