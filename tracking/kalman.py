"""A constant-velocity Kalman filter over boxes, all tracks at once, in seconds and body sizes.

The filter is Kalman's (R. E. Kalman, "A New Approach to Linear Filtering and Prediction Problems", J. Basic Eng. 82,
1960) on the box state that SORT made usual (Bewley et al., "Simple Online and Realtime Tracking", ICIP 2016), with
noise in proportion to the box as in DeepSORT and ByteTrack (Zhang et al., ECCV 2022). Three things differ from them:

* Time is real. The process noise is a continuous white acceleration integrated over the true interval (Bar-Shalom, Li,
  Kirubarajan, "Estimation with Applications to Tracking and Navigation", 2001, section 6.2), so one long step equals
  many short ones, and a dropped frame or a variable frame rate needs no special case.
* The four axes (centre x, centre y, width, height) do not mix: F, Q, H and R are block-diagonal, so the 8x8 covariance
  is exactly four 2x2 blocks, held as three rows of four variances and covariances.
* Noise is scaled by the size of the body, not by the height of the box: a box that furniture or the picture's edge has
  cut short still has its width.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vision.arrays import FloatArray, check_shape
from vision.boxes import cxcywh_from_xyxy

BODY_HEIGHT_PER_WIDTH = 2.0
"""Least height of an uncut standing body per width of its box; walking, box aspect ratios lie between 2 and 3."""

_SMALLEST_PX = 1.0  # a state never gets narrower: half a pixel of noise must not turn a box inside out


@dataclass(frozen=True, slots=True)
class BoxNoise:
    """How people move in a picture and how well a detector sees them. Lengths are fractions of the body's height.

    Attributes:
        position_sigma: Standard deviation of a detected centre. Boxes of one standing person jump by about 2 % and,
            with swinging arms and legs or partial cover, by 5 % and more.
        size_sigma: Standard deviation of a detected width or height.
        sway_sigma: How far a box wanders about the body that it shows in one second, growing with the square root of
            time: swinging limbs, a bent back, partial cover. Half the box's width is 0.2 body heights. Without it the
            filter takes every swing for a change of velocity.
        acceleration_sigma: Random acceleration of the centre: its effect on the velocity after one second, in body
            heights a second. A walk (1.4 m/s) is 0.8 body heights a second; in one second people take up or lose
            two fifths of it.
        size_acceleration_sigma: The same for width and height, which change with distance only: half as fast.
        start_velocity_sigma: Velocity of a new track's centre, of which nothing is known.
        start_size_velocity_sigma: The same for width and height; a person who steps into the picture grows fast.
    """

    position_sigma: float = 0.06
    size_sigma: float = 0.05
    sway_sigma: float = 0.2
    acceleration_sigma: float = 0.33
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


_POSITION, _VELOCITY = slice(0, 4), slice(4, 8)
_POSITION_VAR, _CROSS_COV, _VELOCITY_VAR = slice(8, 12), slice(12, 16), slice(16, 20)

# The same table by quantity, axis and box, so that what is done alike to two quantities is one operation.
_BLOCKS = (5, 4, -1)
_MOVING, _RATES = slice(0, None, 3), slice(1, None, 3)  # position and covariance; velocity and its variance
_WITH_POSITION = slice(2, 4)  # variance of the position, and its covariance with the velocity


@dataclass(frozen=True, slots=True)
class BoxStates:
    """Gaussian estimates of n boxes.

    All numbers lie in one table with a column for each box, so that everything that is done to all boxes, or to some,
    is one operation on long rows.

    Attributes:
        table: Shape (20, n), in rows of four axes (cx, cy, w, h) each: position in pixels, velocity in pixels a second,
            variance of the position, covariance of position and velocity, variance of the velocity.
    """

    table: FloatArray

    def __post_init__(self) -> None:
        check_shape("BoxStates.table", self.table, (20, "n"))

    def __len__(self) -> int:
        return int(self.table.shape[1])

    def __getitem__(self, rows: NDArray[Any] | slice) -> Self:
        """Keep the given boxes (indices, a mask or a slice)."""
        if isinstance(rows, np.ndarray):  # take is several times faster than an index on the second axis
            return type(self)(self.table.take(rows.nonzero()[0] if rows.dtype == bool else rows, axis=1))
        return type(self)(self.table[:, rows])

    @classmethod
    def empty(cls) -> Self:
        """No boxes."""
        return cls(np.zeros((20, 0)))

    @property
    def mean(self) -> FloatArray:
        """(cx, cy, w, h, vx, vy, vw, vh) of each, shape (n, 8), pixels and pixels a second; a view."""
        return self.table[:8].T

    @property
    def corners(self) -> FloatArray:
        """The estimated boxes as rows left, top, right and bottom, shape (4, n), pixels."""
        half = np.maximum(self.table[2:4], _SMALLEST_PX)
        half *= 0.5
        corners = np.empty((4, self.table.shape[1]))
        np.subtract(self.table[:2], half, out=corners[:2])
        np.add(self.table[:2], half, out=corners[2:])
        return corners

    @property
    def xyxy(self) -> FloatArray:
        """The estimated boxes (left, top, right, bottom), shape (n, 4), pixels."""
        return self.corners.T

    @property
    def covariance(self) -> FloatArray:
        """The full covariances, shape (n, 8, 8), in the order of ``mean``."""
        full = np.zeros((len(self), 8, 8))
        axis = np.arange(4)
        full[:, axis, axis] = self.table[_POSITION_VAR].T
        full[:, axis, axis + 4] = full[:, axis + 4, axis] = self.table[_CROSS_COV].T
        full[:, axis + 4, axis + 4] = self.table[_VELOCITY_VAR].T
        return full

    def joined(self, other: "BoxStates") -> "BoxStates":
        """Return these boxes and then those of another."""
        return BoxStates(np.concatenate([self.table, other.table], axis=1))

    def replaced(self, rows: NDArray[Any], other: "BoxStates") -> "BoxStates":
        """Return these boxes with some, given by their indices, exchanged for those of another."""
        table = self.table.copy()
        table[:, rows] = other.table
        return BoxStates(table)


def body_heights_px(size_px: FloatArray) -> FloatArray:
    """Height a body would have uncut, the yardstick of all noise.

    Args:
        size_px: Widths and heights of boxes, shape (n, 2), pixels.

    Returns:
        Shape (n,), pixels: the box's height, or ``BODY_HEIGHT_PER_WIDTH`` widths where that is more.
    """
    return _heights(size_px[:, 0], size_px[:, 1])


def _heights(width: FloatArray, height: FloatArray) -> FloatArray:
    tall = np.maximum(height, BODY_HEIGHT_PER_WIDTH * width)
    return np.asarray(np.maximum(tall, BODY_HEIGHT_PER_WIDTH * _SMALLEST_PX, out=tall))


def start(xyxy: FloatArray, noise: BoxNoise) -> BoxStates:
    """Begin tracks at rest at detected boxes.

    Args:
        xyxy: Boxes, shape (n, 4), pixels.
        noise: How well they are seen and how fast they may move.

    Returns:
        One state for each box.
    """
    measured = cxcywh_from_xyxy(np.asarray(xyxy, np.float64)).T
    scale = _heights(measured[2], measured[3])
    table = np.zeros((20, measured.shape[1]))
    table[_POSITION] = measured
    table[_POSITION_VAR] = (scale * noise.measurement[:, None]) ** 2
    table[_VELOCITY_VAR] = (scale * noise.start_velocity[:, None]) ** 2
    return BoxStates(table)


@lru_cache(maxsize=64)
def _process(noise: BoxNoise, dt_s: float) -> FloatArray:
    """What a step adds to the three rows of covariances of a body of height 1, shape (12, 1)."""
    q, sway = noise.acceleration**2, noise.sway_sigma**2
    return np.concatenate([q * dt_s**3 / 3 + sway * dt_s, q * dt_s**2 / 2, q * dt_s])[:, None]


@lru_cache(maxsize=16)
def _measured_variance(noise: BoxNoise) -> FloatArray:
    """Variance of a detection of a body of height 1, shape (4, 1)."""
    return noise.measurement[:, None] ** 2


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
    before = states.table
    table = before.copy()
    scale = _heights(before[2], before[3])
    scale *= scale
    blocks = table.reshape(_BLOCKS)
    moving = blocks[_MOVING]
    moving += dt_s * blocks[_RATES]
    spread = before[_CROSS_COV] + table[_CROSS_COV]
    spread *= dt_s
    position_var, covariances = table[_POSITION_VAR], table[8:]
    position_var += spread
    covariances += scale * _process(noise, dt_s)
    return BoxStates(table)


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
    return corrected(states, cxcywh_from_xyxy(np.asarray(xyxy, np.float64)).T, noise)


def corrected(states: BoxStates, measured: FloatArray, noise: BoxNoise) -> BoxStates:
    """Do what ``update`` does, with boxes given as rows cx, cy, w and h, shape (4, n), pixels."""
    before = states.table
    scale = _heights(before[2], before[3])
    scale *= scale
    measured_var = scale * _measured_variance(noise)
    innovation_var = before[_POSITION_VAR] + measured_var
    innovation = measured - before[_POSITION]
    innovation /= innovation_var
    measured_var /= innovation_var
    learnt = before[_CROSS_COV] * before[_CROSS_COV]
    learnt /= innovation_var
    table = np.empty(before.shape)
    blocks, corrected_blocks = before.reshape(_BLOCKS), table.reshape(_BLOCKS)
    with_position, mean = blocks[_WITH_POSITION], corrected_blocks[:2]
    np.multiply(with_position, innovation, out=mean)
    mean += blocks[:2]
    np.multiply(with_position, measured_var, out=corrected_blocks[_WITH_POSITION])
    np.subtract(before[_VELOCITY_VAR], learnt, out=table[_VELOCITY_VAR])
    return BoxStates(table)


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
    table = states.table.copy()
    table[6:8, rows] = 0
    return BoxStates(table)
