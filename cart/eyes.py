"""The models that a store sees with: the project's own where nobody names others."""

import time
from collections.abc import Sequence
from pathlib import Path

from models import weights as model_files
from vision.blazepose import BlazePose, is_blazepose, with_poses
from vision.detections import Detections
from vision.detector import Detector, DetectorBank, ObjectDetector, load_detector
from vision.frames import Frame
from vision.top_down import JointsOnCrops, is_joints, with_joints

OURS = "tillfree"
"""The name of the models that come with the project, taken together."""
PARTS: dict[str, tuple[str, ...]] = {
    OURS: ("tillfree-people", "tillfree-joints"),
    f"{OURS}-int8": ("tillfree-people-int8", "tillfree-joints"),
}
"""Models of the manifest that belong together, under one name."""


def weight_files(names: Sequence[str] = ()) -> tuple[Path, ...]:
    """Find the files of models.

    Args:
        names: Names of ``PARTS`` or of the manifest, or files; none for the project's own.

    Returns:
        At least one file.

    Raises:
        ValueError: There is no such name, or a file is not what it should be.
        OSError: A file is missing; the message says how to get it.
    """
    parts = [part for name in names or (OURS,) for part in PARTS.get(name, (name,))]
    return tuple(model_files.resolve_weights(part) for part in dict.fromkeys(parts))


def load_models(files: Sequence[Path], *, threads: int | None = None) -> ObjectDetector:
    """Load models to look at the same frames together.

    A network on cut-outs of people (the project's joints, or BlazePose) looks at those whom the first detector of
    people finds.

    Args:
        files: One or more ONNX files.
        threads: CPU threads for a run of one model; None leaves it to the runtime.

    Raises:
        ValueError: A file is no model, or there is no detector of people for a network on cut-outs.
        OSError: A file cannot be read.
    """
    loaded: list[Detector] = []
    joints: list[JointsOnCrops] = []
    poses: list[BlazePose] = []
    for file in files:
        if file.suffix == ".pt":
            raise ValueError(f"{file}: expected an ONNX model, got PyTorch weights; run: tillfree models export {file}")
        if is_joints(file):
            joints.append(JointsOnCrops(file, threads=threads))
        elif is_blazepose(file):
            poses.append(BlazePose(file, threads=threads))
        else:
            loaded.append(load_detector(file, threads=threads))
    if len(joints) + len(poses) > 1:
        raise ValueError("expected one model of joints, got several")
    together: Sequence[ObjectDetector] = loaded
    if joints:
        together = with_joints(loaded, joints[0])
    elif poses:
        together = with_poses(loaded, poses[0])
    return together[0] if len(together) == 1 else DetectorBank(together)


def named_detector(names: Sequence[str] = (), *, threads: int | None = None) -> ObjectDetector:
    """Load models by name or path (:func:`weight_files`, :func:`load_models`)."""
    return load_models(weight_files(names), threads=threads)


class TimedDetector:
    """A detector that measures how long it looks.

    Attributes:
        wall_s: Seconds spent in ``detect`` so far.
    """

    def __init__(self, detector: ObjectDetector) -> None:
        self._detector = detector
        self.wall_s = 0.0

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each ``class_id``."""
        return tuple(self._detector.class_names)

    @property
    def has_keypoints(self) -> bool:
        """Whether people come with COCO's 17 key-points."""
        return self._detector.has_keypoints

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """See what is in each frame; one entry a frame, in the same order."""
        began_s = time.perf_counter()
        try:
            return self._detector.detect(frames)
        finally:
            self.wall_s += time.perf_counter() - began_s
