"""Tests of ``vision.top_down``: cut-outs, a toy network, and what hands hold."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from vision.arrays import FloatArray
from vision.detections import LEFT_WRIST, RIGHT_WRIST, Detections
from vision.frames import Frame
from vision.top_down import (
    HELD_PRODUCT,
    JointsOnCrops,
    TopDownDetector,
    crop_transform,
    cut_out,
    held_products,
    is_joints,
)

CROP_WH = (32, 40)


def write_joints(file: Path, found: FloatArray, *, task: str = "joints") -> Path:
    """Write a network that says the same 61 numbers of everybody."""
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers", "axes"], ["sums"], keepdims=0),
        helper.make_node("Mul", ["sums", "zero"], ["zeros"]),
        helper.make_node("Unsqueeze", ["zeros", "one"], ["column"]),
        helper.make_node("Add", ["column", "said"], ["found"]),
    ]
    constants: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {
        "axes": np.array([1, 2, 3], np.int64),
        "zero": np.zeros((), np.float32),
        "one": np.array([1], np.int64),
        "said": found.astype(np.float32)[None],
    }
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["people", CROP_WH[1], CROP_WH[0], 3])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, ["people", len(found)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key="task", value=task)
    onnx.save(model, str(file))
    return file


def numbers(*, left: float = 0.0, right: float = 0.0) -> FloatArray:
    """All joints in the cut-out's middle, but the wrists; both hands' boxes around their wrists."""
    points = np.tile([16.0, 20.0, 0.9], (17, 1))
    points[LEFT_WRIST], points[RIGHT_WRIST] = (8, 20, 0.8), (24, 20, 0.7)
    hands = [[left, 6, 18, 10, 22], [right, 22, 18, 26, 22]]
    return np.concatenate([points.ravel(), np.ravel(hands)])


class OnePerson:
    """A detector that sees the same things in every frame."""

    class_names = ("person", "bottle")
    has_keypoints = False

    def __init__(self, confidence: float = 0.9) -> None:
        self._confidence = confidence

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        boxes = np.array([[100, 50, 164, 130], [10, 10, 20, 20]], np.float32)
        confidence = np.array([self._confidence, 0.8], np.float32)
        none = np.zeros((2, 0, 3), np.float32)
        return [
            Detections(each.camera_id, each.timestamp_ns, boxes, confidence, np.array([0, 1]), none) for each in frames
        ]


def frame() -> Frame:
    """A grey picture."""
    return Frame("cam", 0, 5, np.full((200, 300, 3), 100, np.uint8))


def test_people_get_joints_where_they_are_in_the_picture(tmp_path: Path) -> None:
    detector = TopDownDetector(OnePerson(), JointsOnCrops(write_joints(tmp_path / "j.onnx", numbers())))
    (seen,) = detector.detect([frame()])
    assert detector.has_keypoints
    assert len(seen) == 2
    assert seen.timestamp_ns == 5
    # 64 px wide, grown by a quarter, in 32: a pixel of the cut-out is 2.5 of the picture, around (132, 90).
    assert seen.keypoints[0, 0].tolist() == pytest.approx([132, 90, 0.9], abs=1e-3)
    assert seen.keypoints[0, LEFT_WRIST].tolist() == pytest.approx([112, 90, 0.8], abs=1e-3)
    assert np.isnan(seen.keypoints[1]).all()


def test_what_a_hand_holds_says_whose_hand_it_is(tmp_path: Path) -> None:
    joints = JointsOnCrops(write_joints(tmp_path / "j.onnx", numbers(right=0.75)))
    detector = TopDownDetector(OnePerson(), joints)
    (seen,) = detector.detect([frame()])
    held = held_products(seen, detector.class_names)
    assert detector.class_names == ("person", "bottle", HELD_PRODUCT)
    assert held.person_row.tolist() == [0]
    assert held.hand.tolist() == [1]
    assert held.confidence.tolist() == [0.75]
    assert held.xyxy[0].tolist() == pytest.approx([147, 85, 157, 95], abs=1e-3)
    assert len(seen.people()) == 1


def test_both_hands_may_hold_something(tmp_path: Path) -> None:
    joints = JointsOnCrops(write_joints(tmp_path / "j.onnx", numbers(left=0.9, right=0.75)))
    detector = TopDownDetector(OnePerson(), joints)
    held = held_products(detector.detect([frame()])[0], detector.class_names)
    assert held.hand.tolist() == [0, 1]


def test_a_doubtful_person_is_not_looked_at(tmp_path: Path) -> None:
    joints = JointsOnCrops(write_joints(tmp_path / "j.onnx", numbers(left=0.9)))
    (seen,) = TopDownDetector(OnePerson(0.1), joints).detect([frame()])
    assert len(seen) == 2
    assert np.isnan(seen.keypoints).all()


def test_a_detector_that_sees_no_held_products_gives_none() -> None:
    assert len(held_products(OnePerson().detect([frame()])[0], OnePerson.class_names)) == 0


def test_a_joints_model_is_known_by_its_task(tmp_path: Path) -> None:
    assert is_joints(write_joints(tmp_path / "a.onnx", numbers()))
    assert not is_joints(write_joints(tmp_path / "b.onnx", numbers(), task="detect"))


def test_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected an input"):
        JointsOnCrops(write_joints(tmp_path / "a.onnx", np.zeros(5)))
    (tmp_path / "b.onnx").write_bytes(b"no")
    with pytest.raises(ValueError, match="not an ONNX model"):
        JointsOnCrops(tmp_path / "b.onnx")


@given(
    st.floats(-50, 600), st.floats(-50, 300), st.floats(2, 500), st.floats(2, 300), st.floats(1, 2), st.floats(-3, 3)
)
def test_a_box_lies_in_its_cut_out(
    left: float, top: float, width: float, height: float, grown: float, turn_rad: float
) -> None:
    box = np.array([left, top, left + width, top + height])
    transform = crop_transform(box, CROP_WH, grown, turn_rad=0.0)
    corners = transform @ [[box[0], box[2]], [box[1], box[3]], [1, 1]]
    assert (corners > -1e-6).all()
    assert (np.array(CROP_WH) + 1e-6 > corners.T).all()
    turned = crop_transform(box, CROP_WH, grown, turn_rad=turn_rad)
    middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1]
    assert (turned @ middle).tolist() == pytest.approx([16, 20])


def test_pixels_of_a_cut_out_are_those_of_the_picture() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    there = np.array([[1.0, 0, -20], [0, 1, -10]])
    assert np.array_equal(cut_out(image, there, CROP_WH), image[10:50, 20:52])
    slope = np.broadcast_to(np.arange(80, dtype=np.uint8)[None, :, None], (60, 80, 3))
    grown = cut_out(np.ascontiguousarray(slope), np.array([[2.0, 0, -40], [0, 2, -20]]), CROP_WH).astype(float)
    # Each pixel becomes two around the same middle.
    assert abs(grown.reshape(40, 16, 2, 3).mean(axis=2) - slope[:40, 20:36]).max() <= 0.5


def test_people_of_several_pictures_are_told_apart_whatever_thread_looks_at_them(tmp_path: Path) -> None:
    file = write_joints(tmp_path / "j.onnx", numbers(left=0.9))
    images = [np.zeros((90, 160, 3), np.uint8)] * 3
    boxes = [np.array([[10.0, 10, 30, 60], [60, 5, 100, 80]]), np.zeros((0, 4)), np.array([[20.0, 20, 90, 88]])]
    for threads in (1, 3):
        joints = JointsOnCrops(file, threads=threads)
        together = joints.look_at(images, boxes)
        for image, own, seen in zip(images, boxes, together, strict=True):
            alone = joints.look(image, own)
            assert len(seen.keypoints) == len(own)
            np.testing.assert_array_equal(seen.keypoints, alone.keypoints)
            np.testing.assert_array_equal(seen.held_xyxy, alone.held_xyxy)
        middles = [
            (seen.keypoints[:, 0, 0] - own[:, [0, 2]].mean(axis=1)) for seen, own in zip(together, boxes, strict=True)
        ]
        np.testing.assert_allclose(np.concatenate(middles), 0, atol=1)
