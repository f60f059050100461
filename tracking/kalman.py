"""A constant-velocity Kalman filter over boxes, all tracks at once, in seconds and body sizes.

The filter is Kalman's (R. E. Kalman, "A New Approach to Linear Filtering and Prediction Problems", J. Basic Eng. 82,
1960) on the box state that SORT made usual (Bewley et al., "Simple Online and Realtime Tracking", ICIP 2016), with
noise in proportion to the box as in DeepSORT and ByteTrack (Zhang et al., ECCV 2022). Three things differ from them:

* Time is real. The process noise is a continuous white acceleration integrated over the true interval (Bar-Shalom, Li,
  Kirubarajan, "Estimation with Applications to Tracking and Navigation", 2001, section 6.2), so one long step equals
  many short ones, and a dropped frame or a variable frame rate needs no special case.
* The four axes (centre x, centre y, width, height) do not mix: F, Q, H and R are block-diagonal, so the 8x8 covariance
  is exactly four 2x2 blocks, held as three arrays of shape (n, 4).
* Noise is scaled by the size of the body, not by the height of the box: a box that furniture or the picture's edge has
  cut short still has its width.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vision.arrays import FloatArray, check_shape
from vision.boxes import cxcywh_from_xyxy, xyxy_from_cxcywh

BODY_HEIGHT_PER_WIDTH = 2.0
"""Least height of an uncut standing body per width of its box; walking, box aspect ratios lie between 2 and 3."""

_SMALLEST_PX = 1.0  # a state never gets narrower: half a pixel of noise must not turn a box inside out


@dataclass(frozen=True, slots=True)
class BoxNoise:
    """How people move in a picture and how well a detector sees them. Lengths are fractions of the body's height.

    Attributes:
        position_sigma: Standard deviation of a detected centre. Boxes of one standing person jump by about 2 % and,
            with swinging arms and legs or partial cover, by 5 %.
        size_sigma: Standard deviation of a detected width or height.
        sway_sigma: How far a box wanders about the body that it shows in one second, growing with the square root of
            time: swinging limbs, a bent back, partial cover. Half the box's width is 0.2 body heights. Without it the
            filter takes every swing for a change of velocity.
        acceleration_sigma: Random acceleration of the centre: its effect on the velocity after one second, in body
            heights a second. A walk (1.4 m/s) is 0.8 body heights a second; in one second people take up or lose half
            of it.
        size_acceleration_sigma: The same for width and height, which change with distance only: half as fast.
        start_velocity_sigma: Velocity of a new track's centre, of which nothing is known.
        start_size_velocity_sigma: The same for width and height; a person who steps into the picture grows fast.
    """

    position_sigma: float = 0.05
    size_sigma: float = 0.05
    sway_sigma: float = 0.2
    acceleration_sigma: float = 0.4
    size_acceleration_sigma: float = 0.2
    start_velocity_sigma: float = 1.0
    start_size_velocity_sigma: float = 0.5

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"BoxNoise.{name}: expected a positive number, got {value}")

    @property
    def measurement(self) -> FloatArray:
        """Standard deviation of a detection along the four axes, shape (4,)."""
        return np.array([self.position_sigma, self.position_sigma, self.size_sigma, self.size_sigma])

    @property
    def acceleration(self) -> FloatArray:
        """Standard deviation of the velocity gained in a second along the four axes, shape (4,)."""
        return np.repeat([self.acceleration_sigma, self.size_acceleration_sigma], 2)

    @property
    def start_velocity(self) -> FloatArray:
        """Standard deviation of a new track's velocity along the four axes, shape (4,)."""
        return np.repeat([self.start_velocity_sigma, self.start_size_velocity_sigma], 2)


@dataclass(frozen=True, slots=True)
class BoxStates:
    """Gaussian estimates of n boxes.

    Attributes:
        mean: (cx, cy, w, h, vx, vy, vw, vh), shape (n, 8), pixels and pixels a second.
        position_var: Variance of the four positions, shape (n, 4), square pixels.
        cross_cov: Covariance of each position with its own velocity, shape (n, 4).
        velocity_var: Variance of the four velocities, shape (n, 4).
    """

    mean: FloatArray
    position_var: FloatArray
    cross_cov: FloatArray
    velocity_var: FloatArray

    def __post_init__(self) -> None:
        n = len(self.mean)
        check_shape("BoxStates.mean", self.mean, (n, 8))
        check_shape("BoxStates.position_var", self.position_var, (n, 4))
        check_shape("BoxStates.cross_cov", self.cross_cov, (n, 4))
        check_shape("BoxStates.velocity_var", self.velocity_var, (n, 4))

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: NDArray[Any] | slice) -> Self:
        """Keep the given rows (indices, a mask or a slice)."""
        return type(self)(self.mean[rows], self.position_var[rows], self.cross_cov[rows], self.velocity_var[rows])

    @classmethod
    def empty(cls) -> Self:
        """No boxes."""
        return cls(np.zeros((0, 8)), np.zeros((0, 4)), np.zeros((0, 4)), np.zeros((0, 4)))

    @property
    def xyxy(self) -> FloatArray:
        """The estimated boxes (left, top, right, bottom), shape (n, 4), pixels."""
        size = np.maximum(self.mean[:, 2:4], _SMALLEST_PX)
        return xyxy_from_cxcywh(np.concatenate([self.mean[:, :2], size], axis=1))

    @property
    def covariance(self) -> FloatArray:
        """The full covariances, shape (n, 8, 8), in the order of ``mean``."""
        full = np.zeros((len(self), 8, 8))
        axis = np.arange(4)
        full[:, axis, axis] = self.position_var
        full[:, axis, axis + 4] = full[:, axis + 4, axis] = self.cross_cov
        full[:, axis + 4, axis + 4] = self.velocity_var
        return full

    def joined(self, other: "BoxStates") -> "BoxStates":
        """Return these rows and then those of another."""
        return BoxStates(
            np.concatenate([self.mean, other.mean]),
            np.concatenate([self.position_var, other.position_var]),
            np.concatenate([self.cross_cov, other.cross_cov]),
            np.concatenate([self.velocity_var, other.velocity_var]),
        )

    def replaced(self, rows: NDArray[Any], other: "BoxStates") -> "BoxStates":
        """Return these rows with some, given by their indices, exchanged for those of another."""
        result = BoxStates(self.mean.copy(), self.position_var.copy(), self.cross_cov.copy(), self.velocity_var.copy())
        result.mean[rows] = other.mean
        result.position_var[rows] = other.position_var
        result.cross_cov[rows] = other.cross_cov
        result.velocity_var[rows] = other.velocity_var
        return result


def body_heights_px(size_px: FloatArray) -> FloatArray:
    """Height a body would have uncut, the yardstick of all noise.

    Args:
        size_px: Widths and heights of boxes, shape (n, 2), pixels.

    Returns:
        Shape (n,), pixels: the box's height, or ``BODY_HEIGHT_PER_WIDTH`` widths where that is more.
    """
    size = np.maximum(size_px, _SMALLEST_PX)
    return np.asarray(np.maximum(size[:, 1], BODY_HEIGHT_PER_WIDTH * size[:, 0]))


def start(xyxy: FloatArray, noise: BoxNoise) -> BoxStates:
    """Begin tracks at rest at detected boxes.

    Args:
        xyxy: Boxes, shape (n, 4), pixels.
        noise: How well they are seen and how fast they may move.

    Returns:
        One state for each box.
    """
    measured = cxcywh_from_xyxy(np.asarray(xyxy, np.float64))
    scale = body_heights_px(measured[:, 2:])[:, None]
    return BoxStates(
        np.concatenate([measured, np.zeros_like(measured)], axis=1),
        (scale * noise.measurement) ** 2,
        np.zeros_like(measured),
        (scale * noise.start_velocity) ** 2,
    )


def predict(states: BoxStates, dt_s: float, noise: BoxNoise) -> BoxStates:
    """Move states forward in time.

    With the mean and covariance of each axis, F = [[1, dt], [0, 1]] and Q = q [[dt^3/3, dt^2/2], [dt^2/2, dt]] +
    s [[dt, 0], [0, 0]], q being the squared acceleration and s the squared sway.

    Args:
        states: Where the boxes were.
        dt_s: Seconds that have passed, 0 or more; 0 changes nothing.
        noise: How people move.

    Returns:
        Where they are expected now, and how surely.

    Raises:
        ValueError: ``dt_s`` is negative.
    """
    if not dt_s >= 0:
        raise ValueError(f"predict: expected 0 or more seconds, got {dt_s}")
    scale = body_heights_px(states.mean[:, 2:4])[:, None]
    q = (scale * noise.acceleration) ** 2
    sway = (scale * noise.sway_sigma) ** 2
    mean = states.mean.copy()
    mean[:, :4] += dt_s * mean[:, 4:]
    return BoxStates(
        mean,
        states.position_var
        + 2 * dt_s * states.cross_cov
        + dt_s**2 * states.velocity_var
        + q * dt_s**3 / 3
        + sway * dt_s,
        states.cross_cov + dt_s * states.velocity_var + q * dt_s**2 / 2,
        states.velocity_var + q * dt_s,
    )


def update(states: BoxStates, xyxy: FloatArray, noise: BoxNoise) -> BoxStates:
    """Correct states with the boxes that were detected for them.

    Args:
        states: Predicted states.
        xyxy: The detected box of each state, shape (n, 4), pixels.
        noise: How well boxes are seen.

    Returns:
        The corrected states.
    """
    check_shape("update: xyxy", xyxy, (len(states), 4))
    scale = body_heights_px(states.mean[:, 2:4])[:, None]
    innovation_var = states.position_var + (scale * noise.measurement) ** 2
    position_gain = states.position_var / innovation_var
    velocity_gain = states.cross_cov / innovation_var
    innovation = cxcywh_from_xyxy(np.asarray(xyxy, np.float64)) - states.mean[:, :4]
    mean = states.mean.copy()
    mean[:, :4] += position_gain * innovation
    mean[:, 4:] += velocity_gain * innovation
    return BoxStates(
        mean,
        (1 - position_gain) * states.position_var,
        (1 - position_gain) * states.cross_cov,
        states.velocity_var - velocity_gain * states.cross_cov,
    )


def steadied(states: BoxStates, rows: NDArray[Any]) -> BoxStates:
    """Stop the growth of boxes that are not seen now.

    A box that was shrinking while somebody stepped in front of it would otherwise go on shrinking behind them
    (ByteTrack does the same with the height).

    Args:
        states: All states.
        rows: Which of them to steady, indices or a mask.

    Returns:
        The states, with the velocities of width and height of these rows at zero.
    """
    mean = states.mean.copy()
    mean[rows, 6:] = 0
    return BoxStates(mean, states.position_var, states.cross_cov, states.velocity_var)
