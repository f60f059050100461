"""What a detector saw in one frame, as a struct of arrays."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vision.arrays import FloatArray, IntArray, check_shape

COCO_PERSON = 0
# COCO key-point indices (https://cocodataset.org/#keypoints-2020), 17 points.
KEYPOINT_COUNT = 17
LEFT_SHOULDER, RIGHT_SHOULDER = 5, 6
LEFT_ELBOW, RIGHT_ELBOW = 7, 8
LEFT_WRIST, RIGHT_WRIST = 9, 10
LEFT_HIP, RIGHT_HIP = 11, 12
LEFT_ANKLE, RIGHT_ANKLE = 15, 16


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects in one frame of one camera.

    Attributes:
        camera_id: The camera.
        timestamp_ns: Store clock of the frame, nanoseconds.
        xyxy: Boxes (left, top, right, bottom), shape (n, 4), float32, pixels from the image's top-left corner.
        confidence: Raw detector score, shape (n,), 0 to 1.
        class_id: COCO class index, shape (n,), int64.
        keypoints: (x, y, visibility) of COCO's 17 points, shape (n, 17, 3); (n, 0, 3) from a plain detector. A detector
            that gives no visible point gives nan.
    """

    camera_id: str
    timestamp_ns: int
    xyxy: FloatArray
    confidence: FloatArray
    class_id: IntArray
    keypoints: FloatArray

    def __post_init__(self) -> None:
        n = len(self.xyxy)
        check_shape("Detections.xyxy", self.xyxy, (n, 4))
        check_shape("Detections.confidence", self.confidence, (n,))
        check_shape("Detections.class_id", self.class_id, (n,))
        check_shape("Detections.keypoints", self.keypoints, (n, "k", 3))

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, rows: NDArray[Any] | slice) -> Self:
        """Keep the given rows (indices, a mask or a slice)."""
        return type(self)(
            self.camera_id,
            self.timestamp_ns,
            self.xyxy[rows],
            self.confidence[rows],
            self.class_id[rows],
            self.keypoints[rows],
        )

    @classmethod
    def empty(cls, camera_id: str, timestamp_ns: int, keypoint_count: int = 0) -> Self:
        """Nothing seen."""
        return cls(
            camera_id,
            timestamp_ns,
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int64),
            np.zeros((0, keypoint_count, 3), np.float32),
        )

    def people(self) -> Self:
        """Keep the people."""
        return self[self.class_id == COCO_PERSON]
