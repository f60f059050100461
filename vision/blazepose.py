"""Key-points of people by BlazePose: a network that looks at one person at a time.

Bazarevsky et al., *BlazePose: On-device Real-time Body Pose Tracking*, 2020. It was made to follow one person; here a
detector says where people are, and each is cut out and looked at. Its 33 landmarks are given as COCO's 17 points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from vision.arrays import FloatArray, ImageArray
from vision.detections import COCO_PERSON, KEYPOINT_COUNT, Detections
from vision.detector import Detector, ObjectDetector
from vision.frames import Frame
from vision.sessions import open_session

TASK = "blazepose"  # what the model file's metadata says
SIDE_PX = 256
CROP_PER_BOX = 1.25  # as in MediaPipe's graphs: the square around a body, a quarter larger
NUMBERS_PER_LANDMARK = 5  # x, y, z, visibility, presence
COCO_LANDMARKS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""Which landmark is each of COCO's points: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles."""

MIN_PRESENCE = 0.5  # below it the network itself holds "no body here" for the likelier


class BlazePose:
    """BlazePose's landmark network, as ``tillfree models pull blazepose`` brings it."""

    def __init__(self, weights: Path, *, threads: int | None = None) -> None:
        """Read the model file.

        Args:
            weights: The ONNX file.
            threads: CPU threads for one run; None leaves it to the runtime.

        Raises:
            ValueError: It is another model.
            OSError: The file cannot be read.
        """
        self._session = open_session(weights, threads=threads)
        shapes = [each.shape for each in (*self._session.get_inputs(), *self._session.get_outputs())]
        if shapes != [[1, SIDE_PX, SIDE_PX, 3], [1, 195], [1, 1]]:
            raise ValueError(f"{weights}: expected BlazePose's input and outputs, got {shapes}")

    def keypoints(self, image: ImageArray, xyxy: FloatArray) -> FloatArray:
        """Find the key-points of people in a picture.

        Args:
            image: The picture, shape (h, w, 3) BGR.
            xyxy: Their boxes, shape (n, 4), pixels.

        Returns:
            (x, y, visibility) of COCO's 17 points, shape (n, 17, 3), float32, pixels of the picture; nan where the
            network sees no body. For the visibility stands the network's "presence": on footage from ceilings its own
            visibility said 0.1 of wrists that were right to 4 % of a person's height, and nothing of the wrong ones.
        """
        found = np.full((len(xyxy), KEYPOINT_COUNT, 3), np.nan, np.float32)
        for row, box in enumerate(xyxy):
            middle = (box[:2] + box[2:]) / 2
            side = float(CROP_PER_BOX * (box[2:] - box[:2]).max())
            if not np.isfinite(side) or side < 1:
                continue
            scale = SIDE_PX / side
            # Pixel centres of the crop lie half a pixel off its edges, as in the picture.
            shift = (SIDE_PX / 2 - 0.5) - scale * (middle - 0.5)
            warp = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
            crop = cv2.warpAffine(image, warp, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR)
            picture = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)[None].astype(np.float32) / 255
            landmarks, presence = self._session.run(None, {"images": picture})
            if float(presence[0, 0]) < MIN_PRESENCE:
                continue
            points = landmarks.reshape(-1, NUMBERS_PER_LANDMARK)[list(COCO_LANDMARKS)]
            found[row, :, :2] = (points[:, :2] - SIDE_PX / 2) / scale + middle
            found[row, :, 2] = 1 / (1 + np.exp(-points[:, 4].astype(np.float64)))
        return found


@dataclass(frozen=True, slots=True)
class PosedDetector:
    """A detector whose people get key-points by BlazePose; an ``ObjectDetector`` itself.

    Attributes:
        detector: What finds people and other things.
        pose: What finds the key-points.
        min_confidence: People below it go without: most are none, and each costs a run of the network.
    """

    detector: ObjectDetector
    pose: BlazePose
    min_confidence: float = 0.3

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each ``class_id``."""
        return self.detector.class_names

    @property
    def has_keypoints(self) -> bool:
        """Whether people come with COCO's 17 key-points: yes."""
        return True

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """See what is in each frame; people carry key-points, other things nan."""
        return [self._posed(frame, seen) for frame, seen in zip(frames, self.detector.detect(frames), strict=True)]

    def _posed(self, frame: Frame, seen: Detections) -> Detections:
        keypoints = np.full((len(seen), KEYPOINT_COUNT, 3), np.nan, np.float32)
        rows = np.flatnonzero((seen.class_id == COCO_PERSON) & (seen.confidence >= self.min_confidence))
        keypoints[rows] = self.pose.keypoints(frame.image, seen.xyxy[rows])
        return replace(seen, keypoints=keypoints)


def is_blazepose(weights: Path) -> bool:
    """Whether a model file is BlazePose, by what its end says; reads no more than a kilobyte.

    Raises:
        OSError: The file cannot be read.
    """
    with weights.open("rb") as file:
        file.seek(max(weights.stat().st_size - 1024, 0))
        return TASK.encode() in file.read()


def with_poses(detectors: Sequence[Detector], pose: BlazePose) -> list[ObjectDetector]:
    """Let BlazePose look at the people of the first detector that names people and gives no key-points itself.

    Raises:
        ValueError: There is no such detector.
    """
    for place, detector in enumerate(detectors):
        if "person" in detector.class_names and not detector.has_keypoints:
            return [*detectors[:place], PosedDetector(detector, pose), *detectors[place + 1 :]]
    raise ValueError("blazepose: expected a detector of people beside it, such as efficientdet-lite0")
