"""Joints of people and what they hold: a second network looks at cut-outs of the people whom the first one found.

A detector has to find people of all sizes at once; cut out and brought to one size they are all alike, so a small
network finds their joints, says which it can see, and what each hand holds. Its file says ``task: joints`` and has one
input, ``(n, height, width, 3)`` uint8 BGR, and one output, ``(n, 61)``: (x, y, chance of being seen) of COCO's 17
points, then for the left and right hand the chance that it holds a product and the product's corners; pixels of the
cut-out.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vision.arrays import FloatArray, ImageArray, IntArray, check_shape
from vision.detections import COCO_PERSON, KEYPOINT_COUNT, LEFT_WRIST, RIGHT_WRIST, Detections
from vision.detector import Detector, ObjectDetector
from vision.frames import Frame
from vision.sessions import open_session

TASK = "joints"  # what the metadata of such a model says
HELD_PRODUCT = "held product"
"""Name of the class of products in hands, beside those of the detector of people."""
HANDS = (LEFT_WRIST, RIGHT_WRIST)
PAD_GREY = 114  # what lies beyond the picture's edge, as in training
CROP_PER_BOX = 1.25
"""How much larger than the box the cut-out is: raised hands are often cut off by a detector's box."""
MIN_PERSON = 0.25
"""People less sure than this get no joints: most of them are nobody, and each costs a run of the network."""
MIN_HELD = 0.5  # it is a chance: from here on, held is the likelier

_NUMBERS = 3 * KEYPOINT_COUNT + 2 * 5


@dataclass(frozen=True, slots=True)
class BodiesSeen:
    """Joints and held products of people in one picture, one row a person.

    Attributes:
        keypoints: (x, y, chance of being seen) of COCO's 17 points, shape (n, 17, 3), float32, pixels of the picture.
        holding: Chance that the left and right hand hold a product, shape (n, 2), float32.
        held_xyxy: Box of what each hand holds, if it does, shape (n, 2, 4), float32, pixels of the picture.
    """

    keypoints: FloatArray
    holding: FloatArray
    held_xyxy: FloatArray

    def __post_init__(self) -> None:
        n = len(self.keypoints)
        check_shape("BodiesSeen.keypoints", self.keypoints, (n, KEYPOINT_COUNT, 3))
        check_shape("BodiesSeen.holding", self.holding, (n, 2))
        check_shape("BodiesSeen.held_xyxy", self.held_xyxy, (n, 2, 4))


@dataclass(frozen=True, slots=True)
class HeldProducts:
    """Products in hands that a ``TopDownDetector`` saw in one frame, one row each.

    Attributes:
        xyxy: Box, shape (n, 4), pixels.
        confidence: Chance that the hand holds a product, shape (n,).
        person_row: Row of whose hand it is in the frame's ``Detections``, shape (n,).
        hand: 0 left, 1 right, shape (n,).
    """

    xyxy: FloatArray
    confidence: FloatArray
    person_row: IntArray
    hand: IntArray

    def __len__(self) -> int:
        return len(self.xyxy)


class JointsOnCrops:
    """The network on cut-outs of single people."""

    def __init__(self, weights: Path, *, threads: int | None = None) -> None:
        """Read the model file.

        Args:
            weights: An ONNX file as this module's text says.
            threads: CPU threads; None for as many as there are cores. Each person is looked at with one: a network so
                small is slower with several, all the more on a machine that has other things to do.

        Raises:
            ValueError: It is another model.
            OSError: The file cannot be read.
        """
        self._session = open_session(weights, threads=1)
        self._thread_count = len(os.sched_getaffinity(0)) if threads is None else threads
        self._threads: ThreadPoolExecutor | None = None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        sound = (
            len(shape) == 4
            and shape[3] == 3
            and all(isinstance(side, int) for side in shape[1:3])
            and inputs[0].type == "tensor(uint8)"
            and len(outputs) == 1
            and outputs[0].shape[-1] == _NUMBERS
        )
        if not sound:
            raise ValueError(f"{weights}: expected an input (n, height, width, 3) and an output (n, {_NUMBERS})")
        self._input_name = inputs[0].name
        self.crop_wh = int(shape[2]), int(shape[1])

    def look(self, image: ImageArray, xyxy: FloatArray) -> BodiesSeen:
        """Find the joints of people in a picture, and what they hold.

        Args:
            image: The picture, shape (h, w, 3), uint8 BGR.
            xyxy: Their boxes, shape (n, 4), pixels.
        """
        return self.look_at([image], [xyxy])[0]

    def look_at(self, images: Sequence[ImageArray], xyxy: Sequence[FloatArray]) -> list[BodiesSeen]:
        """Find the joints of people in several pictures; one entry a picture, in the same order.

        Args:
            images: Pictures, shape (h, w, 3), uint8 BGR.
            xyxy: The boxes of people in each of them, shape (n, 4), pixels.
        """
        for boxes in xyxy:
            check_shape("xyxy", boxes, ("n", 4))
        people = [(image, box) for image, boxes in zip(images, xyxy, strict=True) for box in np.asarray(boxes, float)]
        # One by one: on a CPU a batch of people takes as long, and keeps the caches less warm.
        found: list[tuple[FloatArray, FloatArray]]
        if len(people) > 1 and self._thread_count > 1:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._thread_count, "joints")
            found = list(self._threads.map(self._look_at_one, people))
        else:
            found = [self._look_at_one(each) for each in people]
        seen, first = [], 0
        for boxes in xyxy:
            rows, first = found[first : first + len(boxes)], first + len(boxes)
            keypoints = np.array([each[0] for each in rows], np.float32).reshape(-1, KEYPOINT_COUNT, 3)
            hands = np.array([each[1] for each in rows], np.float32).reshape(-1, 2, 5)
            seen.append(BodiesSeen(keypoints, hands[..., 0], hands[..., 1:]))
        return seen

    def _look_at_one(self, person: tuple[ImageArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Joints, shape (17, 3), and hands, shape (2, 5), of whoever is in a box of a picture."""
        image, box = person
        crop_from_picture = crop_transform(box, self.crop_wh)
        found = self._run(cut_out(image, crop_from_picture, self.crop_wh)[None])[0]
        inverse = cv2.invertAffineTransform(crop_from_picture)
        keypoints = found[: 3 * KEYPOINT_COUNT].reshape(KEYPOINT_COUNT, 3)
        keypoints[:, :2] = keypoints[:, :2] @ inverse[:, :2].T + inverse[:, 2]
        hands = found[3 * KEYPOINT_COUNT :].reshape(2, 5)
        corners = hands[:, 1:].reshape(2, 2, 2) @ inverse[:, :2].T + inverse[:, 2]
        hands[:, 1:] = corners.reshape(2, 4)
        return keypoints, hands

    def _run(self, crops: NDArray[Any]) -> FloatArray:
        return np.asarray(self._session.run(None, {self._input_name: crops})[0], np.float32)


class TopDownDetector:
    """A detector of people whose people get joints, and whose hands what they hold; an ``ObjectDetector`` itself.

    Detections of people carry COCO's 17 points. What hands hold follows as rows of a class of its own,
    ``HELD_PRODUCT``: all their key-points are nan but for the wrist of the hand (row 9 or 10), which is where it is in
    the person's own row, so a row says whose it is; ``held_products`` reads that back.
    """

    def __init__(
        self,
        people: ObjectDetector,
        joints: JointsOnCrops,
        *,
        min_person: float = MIN_PERSON,
        min_held: float = MIN_HELD,
    ) -> None:
        """Put the two together.

        Args:
            people: What finds people, and other things if it likes.
            joints: What looks at each of them.
            min_person: People less sure than this go without joints.
            min_held: Held products less sure than this are not reported.
        """
        self._people, self._joints = people, joints
        self._min_person, self._min_held = min_person, min_held
        names = people.class_names
        self.class_names = names if HELD_PRODUCT in names else (*names, HELD_PRODUCT)
        self._held_id = self.class_names.index(HELD_PRODUCT)

    @property
    def has_keypoints(self) -> bool:
        """Whether people come with COCO's 17 key-points: yes."""
        return True

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """See who is in each frame, where their joints are and what they hold; one entry a frame, in the same order."""
        found = self._people.detect(frames)
        rows = [self._sure_people(seen) for seen in found]
        boxes = [seen.xyxy[own] for seen, own in zip(found, rows, strict=True)]
        bodies = self._joints.look_at([frame.image for frame in frames], boxes)
        return [self._posed(*each) for each in zip(frames, found, rows, bodies, strict=True)]

    def _sure_people(self, seen: Detections) -> IntArray:
        """Rows of people who get joints."""
        return np.flatnonzero((seen.class_id == COCO_PERSON) & (seen.confidence >= self._min_person))

    def _posed(self, frame: Frame, seen: Detections, rows: IntArray, bodies: BodiesSeen) -> Detections:
        keypoints = np.full((len(seen), KEYPOINT_COUNT, 3), np.nan, np.float32)
        keypoints[rows] = bodies.keypoints
        person, hand = np.nonzero(bodies.holding >= self._min_held)
        height, width = frame.image.shape[:2]
        held = np.clip(bodies.held_xyxy[person, hand], 0, np.array([width, height, width, height], np.float32))
        inside = (held[:, 2:] > held[:, :2]).all(axis=1)
        person, hand, held = person[inside], hand[inside], held[inside]
        owner = np.full((len(person), KEYPOINT_COUNT, 3), np.nan, np.float32)
        wrist = np.array(HANDS)[hand]
        owner[np.arange(len(person)), wrist] = bodies.keypoints[person, wrist]
        return Detections(
            seen.camera_id,
            seen.timestamp_ns,
            np.concatenate([seen.xyxy, held]).astype(np.float32),
            np.concatenate([seen.confidence, bodies.holding[person, hand]]).astype(np.float32),
            np.concatenate([seen.class_id, np.full(len(person), self._held_id, np.int64)]),
            np.concatenate([keypoints, owner]),
        )


def held_products(seen: Detections, class_names: Sequence[str]) -> HeldProducts:
    """Read from a frame's detections what hands hold, and whose hands.

    Args:
        seen: What a ``TopDownDetector`` saw, or a bank with one.
        class_names: The detector's.

    Returns:
        Rows whose person is not among the detections are left out.
    """
    if HELD_PRODUCT not in class_names or seen.keypoints.shape[1] != KEYPOINT_COUNT:
        nobody = np.zeros(0, np.int64)
        return HeldProducts(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), nobody, nobody)
    people = np.flatnonzero(seen.class_id == COCO_PERSON)
    rows, owners, hands = [], [], []
    for row in np.flatnonzero(seen.class_id == class_names.index(HELD_PRODUCT)).tolist():
        for hand, wrist in enumerate(HANDS):
            point = seen.keypoints[row, wrist]
            same = people[(seen.keypoints[people, wrist] == point).all(axis=1)]
            if len(same):
                rows.append(row)
                owners.append(int(same[0]))
                hands.append(hand)
    return HeldProducts(seen.xyxy[rows], seen.confidence[rows], np.array(owners, np.int64), np.array(hands, np.int64))


def crop_transform(
    xyxy: FloatArray, crop_wh: tuple[int, int], grown: float = CROP_PER_BOX, *, turn_rad: float = 0.0
) -> FloatArray:
    """Say where a box goes in a cut-out that it fills but for a margin.

    Args:
        xyxy: The box, shape (4,), pixels.
        crop_wh: Size of the cut-out, pixels.
        grown: How much larger the cut-out is than the box.
        turn_rad: By how much it is turned.

    Returns:
        Cut-out from picture, shape (2, 3); pixel edges map to pixel edges.

    >>> crop_transform(np.array([10.0, 10.0, 50.0, 90.0]), (128, 160), 1.0) @ [30, 50, 1]
    array([64., 80.])
    """
    middle = (xyxy[:2] + xyxy[2:]) / 2
    size = np.maximum(xyxy[2:] - xyxy[:2], 1) * grown
    scale = float(min(crop_wh[0] / size[0], crop_wh[1] / size[1]))
    cos, sin = scale * np.cos(turn_rad), scale * np.sin(turn_rad)
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.concatenate([turn, (np.array(crop_wh) / 2 - turn @ middle)[:, None]], axis=1)


def cut_out(image: ImageArray, crop_from_picture: FloatArray, crop_wh: tuple[int, int]) -> ImageArray:
    """Cut a part out of a picture, shape (h, w, 3), uint8, by a transform such as :func:`crop_transform` gives."""
    shifted = np.array(crop_from_picture, np.float64)
    shifted[:, 2] += shifted[:, :2] @ [0.5, 0.5] - 0.5  # OpenCV counts from the middle of the first pixel
    return np.asarray(
        cv2.warpAffine(
            image,
            shifted,
            crop_wh,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(PAD_GREY,) * 3,
        ),
        np.uint8,
    )


def is_joints(weights: Path) -> bool:
    """Whether a model file is a network on cut-outs of people, by what its end says; reads no more than a kilobyte.

    Raises:
        OSError: The file cannot be read.
    """
    with weights.open("rb") as file:
        file.seek(max(weights.stat().st_size - 1024, 0))
        end = file.read()
    return b"\x04task\x12" + bytes([len(TASK)]) + TASK.encode() in end


def with_joints(detectors: Sequence[Detector], joints: JointsOnCrops) -> list[ObjectDetector]:
    """Let the network look at the people of the first detector that names people and gives no key-points itself.

    Raises:
        ValueError: There is no such detector.
    """
    for place, detector in enumerate(detectors):
        if "person" in detector.class_names and not detector.has_keypoints:
            return [*detectors[:place], TopDownDetector(detector, joints), *detectors[place + 1 :]]
    raise ValueError("joints: expected a detector of people beside it, such as tillfree-people")
