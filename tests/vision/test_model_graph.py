from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vision.detector import Head, load_detector
from vision.frames import Frame
from vision.model_graph import with_input_size, with_metadata, with_picture_input

STRIDES = (8, 16, 32)
SIDE = 64


def write_seer(path: Path, *, constants_as_nodes: bool = False) -> Path:
    """Write a model with one box in every cell, scored by how bright the cell is, as YOLO writes it: (1, 5, cells)."""
    nodes, weights = [], []

    def constant(name: str, values: NDArray[np.generic]) -> str:
        tensor = numpy_helper.from_array(np.asarray(values), name)
        if constants_as_nodes:
            nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            weights.append(tensor)
        return name

    grids, cells = [], []
    for stride in STRIDES:
        side = SIDE // stride
        nodes.append(
            helper.make_node(
                "AveragePool", ["images"], [f"pool{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            )
        )
        nodes.append(helper.make_node("ReduceMean", [f"pool{stride}"], [f"grey{stride}"], axes=[1], keepdims=1))
        shape = constant(f"shape{stride}", np.array([1, 1, side * side], np.int64))
        nodes.append(helper.make_node("Reshape", [f"grey{stride}", shape], [f"flat{stride}"]))
        grids.append(f"flat{stride}")
        rows, columns = np.mgrid[0:side, 0:side] * stride + stride / 2
        size = np.full(side * side, stride)
        cells.append(np.stack([columns.ravel(), rows.ravel(), size, size]))
    boxes = constant("boxes", np.concatenate(cells, axis=1)[None].astype(np.float32))
    nodes.append(helper.make_node("Concat", grids, ["scores"], axis=2))
    nodes.append(helper.make_node("Concat", [boxes, "scores"], ["output"], axis=1))
    graph = helper.make_graph(
        nodes,
        "seer",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 5, 84])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"names": "['person']", "task": "detect"})
    onnx.save(model, str(path))
    return path


def answer(model: bytes, pictures: NDArray[np.generic]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: pictures})[0])


def channels(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_model_fed_with_pixels_says_what_it_said_of_channels(tmp_path: Path) -> None:
    model = write_seer(tmp_path / "m.onnx").read_bytes()
    fed = with_picture_input(model, rgb=True, scaled=True)
    onnx.checker.check_model(onnx.load_from_string(fed), full_check=True)
    picture = noise(SIDE, SIDE)
    np.testing.assert_allclose(answer(fed, picture[None]), answer(model, channels(picture)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("constants_as_nodes", [False, True])
def test_a_smaller_input_keeps_the_cells_that_are_left(tmp_path: Path, constants_as_nodes: bool) -> None:
    model = write_seer(tmp_path / "m.onnx", constants_as_nodes=constants_as_nodes).read_bytes()
    small = with_input_size(model, (64, 32), STRIDES)
    onnx.checker.check_model(onnx.load_from_string(small), full_check=True)
    picture = noise(32, 64)
    whole = np.concatenate([picture, np.zeros_like(picture)])
    kept = np.concatenate([np.arange(32), 64 + np.arange(8), 80 + np.arange(2)])
    given = answer(small, channels(picture))
    np.testing.assert_allclose(given, answer(model, channels(whole))[..., kept], rtol=1e-5, atol=1e-5)


def test_a_shrunk_model_gives_the_boxes_of_the_whole_one(tmp_path: Path) -> None:
    path = write_seer(tmp_path / "m.onnx")
    frame = Frame("a", 0, 0, noise(32, 64))
    shrunk = load_detector(path, threads=1, min_confidence=0.5)
    whole = load_detector(path, threads=1, min_confidence=0.5, rectangular=False)
    assert shrunk.head is Head.YOLO
    assert (shrunk.input_for((64, 32)), whole.input_for((64, 32))) == ((64, 32), (64, 64))
    (one,), (other,) = shrunk.detect([frame]), whole.detect([frame])
    assert len(one) > 5
    # The stripe lies at 16 px, so that the coarsest cells of the whole one see half of it.
    fine = [row for row in range(len(other)) if other.xyxy[row, 2] - other.xyxy[row, 0] < 10]
    for row in fine:
        near = np.abs(one.xyxy - other.xyxy[row]).max(axis=1)
        assert near.min() < 1e-3
        assert one.confidence[near.argmin()] == pytest.approx(other.confidence[row], abs=1e-5)


def test_sizes_that_do_not_suit_are_refused(tmp_path: Path) -> None:
    model = write_seer(tmp_path / "m.onnx").read_bytes()
    for size in ((128, 64), (64, 40), (0, 32)):
        with pytest.raises(ValueError, match="expected a size up to 64x64 in multiples of 32"):
            with_input_size(model, size, STRIDES)
    with pytest.raises(ValueError, match="expected an ONNX model"):
        with_picture_input(b"\x3a\xff\xff", rgb=True, scaled=True)
    with pytest.raises(ValueError, match="expected a float input"):
        with_picture_input(with_picture_input(model, rgb=True, scaled=True), rgb=True, scaled=True)


def test_notes_are_added_in_place_of_older_ones(tmp_path: Path) -> None:
    model = with_metadata(write_seer(tmp_path / "m.onnx").read_bytes(), {"task": "pose", "stride": "32"})
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"names": "['person']", "task": "pose", "stride": "32"}


def test_several_frames_side_by_side_are_seen_as_one_by_one(tmp_path: Path) -> None:
    detector = load_detector(write_seer(tmp_path / "m.onnx"), threads=2, min_confidence=0.5)
    frames = [Frame(f"cam{number}", 0, 0, noise(32, 64, number)) for number in range(5)]
    for frame, seen in zip(frames, detector.detect(frames), strict=True):
        (alone,) = detector.detect([frame])
        assert seen.camera_id == frame.camera_id
        np.testing.assert_allclose(seen.xyxy, alone.xyxy, atol=1e-4)


@pytest.mark.slow
def test_the_shared_pose_model_sees_the_same_people_in_the_shape_of_the_picture(shared: Path) -> None:
    path = shared / "weights" / "yolov8n-pose_fp32_from_int8.onnx"
    detector = load_detector(path, threads=1)
    assert detector.input_for((480, 270)) == (640, 384)
    assert detector.input_for((640, 640)) == (640, 640)
    assert load_detector(shared / "weights" / "yolox_nano_416.onnx", threads=1).input_for((640, 360)) == (416, 256)
