"""How large the parts of people's bodies are, to tell who is who when an outside tracker mixes up names.

Height, shoulders, upper arms and the neck are as long after a meeting as before it, whatever somebody does with them.
Errors of single joints are a centimetre or two and last for a second; a median over some seconds errs by less than one,
while people differ by two to ten.
"""

import math
from collections import deque

import numpy as np

from vision.arrays import FloatArray
from vision.frames import JOINT_NAMES

PARTS = (
    ("head", "neck"),
    ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("right_shoulder", "right_elbow"),
)
"""Joints whose distance is measured; how high the head is comes last."""
SIZES = len(PARTS) + 1
SIGMA_M = np.array([0.010, 0.008, 0.010, 0.010, 0.010])
"""Standard deviation of a median over some seconds, of the simulated store's outside tracker, which errs as the one of
the only published recording does."""
POSTURE = 0.15  # share of the times at which a part is bent, hidden or mixed up, so that its size says nothing ...
RANGE_M = 0.3  # ... and may be anything within this
LEAST = 10
"""Fewer measurements say nothing."""
_ENDS = np.array([[JOINT_NAMES.index(name) for name in part] for part in PARTS]).T
_HEAD = JOINT_NAMES.index("head")
_UPRIGHT = 75.0  # percentile of head heights: people stand straight more often than not


def sizes_of(joints_m: FloatArray) -> FloatArray:
    """Measure bodies.

    Args:
        joints_m: World positions of ``JOINT_NAMES``, shape (n, 8, 3), metres, nan where unseen.

    Returns:
        Lengths of ``PARTS`` and height of the head, shape (n, 5), metres, nan where unseen.
    """
    parts = np.linalg.norm(joints_m[:, _ENDS[0]] - joints_m[:, _ENDS[1]], axis=2)
    return np.concatenate([parts, joints_m[:, _HEAD, 2:]], axis=1)


class BodySizes:
    """What was measured of one body lately.

    Args:
        most: So many measurements are remembered.
    """

    def __init__(self, most: int = 300) -> None:
        self._seen: deque[FloatArray] = deque(maxlen=most)

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, sizes_m: FloatArray) -> None:
        """Take a measurement, shape (5,), metres, nan where unseen."""
        self._seen.append(sizes_m)

    def usual_m(self) -> FloatArray:
        """The sizes, shape (5,), nan for those that were hardly measured."""
        if len(self._seen) < LEAST:
            return np.full(SIZES, np.nan)
        seen = np.array(self._seen)
        known = np.isfinite(seen).sum(axis=0) >= LEAST
        usual = np.full(SIZES, np.nan)
        usual[known] = np.nanmedian(seen[:, known], axis=0)
        if known[-1]:
            usual[-1] = np.nanpercentile(seen[:, -1], _UPRIGHT)
        return usual


def log_likelihood(usual_m: FloatArray, other_m: FloatArray) -> float:
    """How well two measurements, shape (5,), fit as those of one body; parts that are not known say nothing."""
    known = np.isfinite(usual_m - other_m)
    sigma_m = math.sqrt(2) * SIGMA_M[known]
    apart = (usual_m - other_m)[known] / sigma_m
    same = (1 - POSTURE) * np.exp(-0.5 * apart**2) / (math.sqrt(2 * math.pi) * sigma_m)
    return float(np.log(same + POSTURE / RANGE_M).sum())
