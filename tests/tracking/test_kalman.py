import filterpy.kalman
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking import kalman
from tracking.kalman import BoxNoise, BoxStates, body_heights_px
from vision.arrays import FloatArray
from vision.boxes import cxcywh_from_xyxy

NOISE = BoxNoise()


def random_boxes(rng: np.random.Generator, count: int) -> FloatArray:
    corner = rng.uniform(0, 500, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 300, (count, 2))], axis=1)


def filterpy_twins(states: BoxStates) -> list[filterpy.kalman.KalmanFilter]:
    twins = []
    for mean, covariance in zip(states.mean, states.covariance, strict=True):
        twin = filterpy.kalman.KalmanFilter(dim_x=8, dim_z=4)
        twin.x, twin.P, twin.H = mean[:, None].copy(), covariance.copy(), np.eye(4, 8)
        twins.append(twin)
    return twins


def scale_of(twin: filterpy.kalman.KalmanFilter) -> float:
    return float(body_heights_px(twin.x[2:4].T)[0])


def twin_predict(twin: filterpy.kalman.KalmanFilter, dt_s: float) -> None:
    transition = np.eye(8)
    transition[:4, 4:] = dt_s * np.eye(4)
    q = np.diag((scale_of(twin) * NOISE.acceleration) ** 2)
    sway = (scale_of(twin) * NOISE.sway_sigma) ** 2 * np.eye(4)
    noise = np.block([[q * dt_s**3 / 3 + sway * dt_s, q * dt_s**2 / 2], [q * dt_s**2 / 2, q * dt_s]])
    twin.predict(F=transition, Q=noise)


def assert_equal_to_twins(states: BoxStates, twins: list[filterpy.kalman.KalmanFilter]) -> None:
    np.testing.assert_allclose(states.mean, [twin.x[:, 0] for twin in twins], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(states.covariance, [twin.P for twin in twins], rtol=1e-9, atol=1e-9)


def test_filter_agrees_with_filterpy_over_irregular_steps() -> None:
    rng = np.random.default_rng(3)
    truth = random_boxes(rng, 12)
    states = kalman.start(truth, NOISE)
    twins = filterpy_twins(states)
    for _ in range(40):
        dt_s = float(rng.choice([0.0, 1 / 30, 0.1, 0.7]))
        truth = truth + rng.normal(0, 4, (12, 1)) + rng.normal(0, 1, truth.shape)
        states = kalman.predict(states, dt_s, NOISE)
        for twin in twins:
            twin_predict(twin, dt_s)
        assert_equal_to_twins(states, twins)
        seen = np.flatnonzero(rng.random(12) < 0.7)
        states = states.replaced(seen, kalman.update(states[seen], truth[seen], NOISE))
        for row in seen:
            sigma = scale_of(twins[row]) * NOISE.measurement
            twins[row].update(cxcywh_from_xyxy(truth[row])[:, None], R=np.diag(sigma**2))
        assert_equal_to_twins(states, twins)


@given(dt_s=st.floats(0.001, 3), parts=st.integers(2, 10), seed=st.integers(0, 1000))
def test_one_long_step_equals_many_short_ones(dt_s: float, parts: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = kalman.start(random_boxes(rng, 3), NOISE)
    start.mean[:, 4:6] = rng.normal(0, 100, (3, 2))
    once, often = kalman.predict(start, dt_s, NOISE), start
    for _ in range(parts):
        often = kalman.predict(often, dt_s / parts, NOISE)
    np.testing.assert_allclose(once.mean, often.mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(once.covariance, often.covariance, rtol=1e-9, atol=1e-9)


@given(scale=st.floats(0.1, 10), seed=st.integers(0, 1000))
def test_a_resized_picture_gives_the_same_filter_resized(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 4) + 20
    moved = boxes + rng.normal(0, 3, boxes.shape)

    def filtered(factor: float) -> BoxStates:
        states = kalman.predict(kalman.start(boxes * factor, NOISE), 0.1, NOISE)
        return kalman.update(states, moved * factor, NOISE)

    np.testing.assert_allclose(filtered(scale).mean, filtered(1.0).mean * scale, rtol=1e-9, atol=1e-9)


@given(seed=st.integers(0, 1000), steps=st.lists(st.floats(0, 5), max_size=30))
def test_covariances_stay_positive(seed: int, steps: list[float]) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 3)
    states = kalman.start(boxes, NOISE)
    for dt_s in steps:
        states = kalman.update(kalman.predict(states, dt_s, NOISE), boxes, NOISE)
    assert np.linalg.eigvalsh(states.covariance).min() > 0


def test_velocity_is_learnt_in_pixels_a_second() -> None:
    states = kalman.start(np.array([[0.0, 0.0, 40.0, 100.0]]), NOISE)
    for frame in range(1, 40):
        states = kalman.predict(states, 0.05, NOISE)
        left = 3.0 * frame
        states = kalman.update(states, np.array([[left, 0.0, left + 40.0, 100.0]]), NOISE)
    assert states.mean[0, 4] == pytest.approx(60, rel=0.02)
    assert states.mean[0, 5] == pytest.approx(0, abs=1)


def test_a_box_cut_short_is_measured_by_its_width() -> None:
    assert body_heights_px(np.array([[40.0, 100.0], [90.0, 30.0]])).tolist() == [100.0, 180.0]


def test_steadied_boxes_keep_their_size_and_go_on_moving() -> None:
    states = kalman.start(np.array([[0.0, 0.0, 40.0, 100.0]] * 2), NOISE)
    states.mean[:, 4:] = [10, 0, -20, -50]
    later = kalman.predict(kalman.steadied(states, np.array([True, False])), 1.0, NOISE)
    assert later.mean[0, :4].tolist() == [30.0, 50.0, 40.0, 100.0]
    assert later.mean[1, 2:4].tolist() == [20.0, 50.0]


def test_a_box_never_turns_inside_out() -> None:
    states = kalman.start(np.array([[0.0, 0.0, 40.0, 100.0]]), NOISE)
    states.mean[:, 6:] = -1000
    box = kalman.predict(states, 1.0, NOISE).xyxy[0]
    assert (box[2:] > box[:2]).all()


def test_nobody_is_filtered_without_complaint() -> None:
    states = kalman.update(kalman.predict(BoxStates.empty(), 0.1, NOISE), np.zeros((0, 4)), NOISE)
    assert len(states) == 0
    assert states.xyxy.shape == (0, 4)


def test_time_that_runs_backwards_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more seconds, got -1"):
        kalman.predict(BoxStates.empty(), -1, NOISE)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_noise_must_be_positive_and_finite(value: float) -> None:
    with pytest.raises(ValueError, match=r"BoxNoise\.sway_sigma: expected a positive number"):
        BoxNoise(sway_sigma=value)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"BoxStates\.table: expected shape \(20, n\), got \(7, 2\)"):
        BoxStates(np.zeros((7, 2)))
    with pytest.raises(ValueError, match=r"update: xyxy: expected shape \(0, 4\), got \(1, 4\)"):
        kalman.update(BoxStates.empty(), np.zeros((1, 4)), NOISE)
