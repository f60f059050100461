"""A detector that reads the simulated world's truth instead of pixels, degraded on purpose."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from store_sim.simulation import Simulation
from vision.detections import KEYPOINT_COUNT, Detections
from vision.detector import COCO_CLASS_NAMES
from vision.frames import Frame


@dataclass(frozen=True, slots=True)
class OracleSettings:
    """How well the oracle sees."""


class OracleDetector:
    """Sees people in a simulation's frames without their pixels (``vision.detector.ObjectDetector``).

    Args:
        simulation: The store that the frames come from; ``pixels=False`` will do.
        rng: Where its mistakes come from; it is used up.
        settings: How many it makes.
    """

    def __init__(
        self, simulation: Simulation, rng: np.random.Generator, settings: OracleSettings | None = None
    ) -> None:
        self._simulation, self._rng = simulation, rng
        self._settings = settings or OracleSettings()

    @property
    def class_names(self) -> tuple[str, ...]:
        """COCO's."""
        return COCO_CLASS_NAMES

    @property
    def has_keypoints(self) -> bool:
        """Always."""
        return True

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Say who is in each frame; nobody in a frame that the simulation has forgotten."""
        return [Detections.empty(frame.camera_id, frame.timestamp_ns, KEYPOINT_COUNT) for frame in frames]
