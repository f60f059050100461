import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vision.arrays import FloatArray, ImageArray
from vision.detections import COCO_PERSON, Detections
from vision.detector import (
    COCO_CLASS_NAMES,
    PAD_GREY,
    DetectorBank,
    Head,
    Letterbox,
    load_detector,
)
from vision.frames import Frame

WIDTH, HEIGHT = 96, 64  # input of the toy models
CELLS = 21 * 3 * 2  # of their grids at strides 8, 16 and 32
BOTTLE = COCO_CLASS_NAMES.index("bottle")


def write_model(
    path: Path,
    output: FloatArray,
    *,
    batch: int | str = 1,
    size: tuple[int | str, int | str] = (HEIGHT, WIDTH),
    channels_last: bool = False,
    input_type: int = TensorProto.FLOAT,
    gain: FloatArray | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a model that answers every picture with ``output``, shape (rows, columns).

    ``gain``, of the same shape, is added times the mean of the picture's first channel.
    """
    shape = [batch, *size, 3] if channels_last else [batch, 3, *size]
    constants = [
        numpy_helper.from_array(output[None].astype(np.float32), "answer"),
        numpy_helper.from_array((np.zeros_like(output) if gain is None else gain)[None].astype(np.float32), "gain"),
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array([1], np.int64), "second"),
        numpy_helper.from_array(np.array([3 if channels_last else 1], np.int64), "channel_axis"),
        numpy_helper.from_array(np.array([0, 1, 1], np.int64), "per_picture"),
    ]
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["numbers", "first", "second", "channel_axis"], ["channel"]),
        helper.make_node("ReduceMean", ["channel"], ["mean4"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Reshape", ["mean4", "per_picture"], ["mean"]),
        helper.make_node("Mul", ["mean", "gain"], ["varying"]),
        helper.make_node("Add", ["varying", "answer"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("images", input_type, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, *output.shape])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path


def yolo_answer(class_count: int, found: Sequence[tuple[int, tuple[float, ...], int, float]]) -> FloatArray:
    """An answer (4 + classes, cells) with (cell, box as centre and size, class, score)."""
    answer = np.zeros((4 + class_count, CELLS))
    for cell, box, class_id, score in found:
        answer[:4, cell] = box
        answer[4 + class_id, cell] = score
    return answer


def frame(width: int = WIDTH, height: int = HEIGHT, colour: tuple[int, int, int] = (0, 0, 0), name: str = "a") -> Frame:
    return Frame(name, 0, 7, np.full((height, width, 3), colour, np.uint8))


def assert_same(a: Detections, b: Detections) -> None:
    for field in ("xyxy", "confidence", "class_id", "keypoints"):
        np.testing.assert_allclose(getattr(a, field), getattr(b, field), rtol=1e-5, atol=1e-5)


sizes = st.tuples(st.integers(1, 4000), st.integers(1, 4000))


@given(sizes, st.sampled_from([(640, 640), (416, 416), (640, 384), (96, 64)]), st.booleans(), st.data())
def test_a_letterbox_is_undone_exactly(
    source: tuple[int, int], input_wh: tuple[int, int], centred: bool, data: st.DataObject
) -> None:
    box = Letterbox.fit(source, input_wh, centred=centred)
    x, y = data.draw(st.floats(0, source[0])), data.draw(st.floats(0, source[1]))
    point = np.array([x, y])
    inside = box.fitted(point)
    assert (inside >= -1e-9).all()
    assert (inside <= np.array(input_wh) + 1e-9).all()
    np.testing.assert_allclose(box.restored(inside), point, atol=1e-6 * max(source))
    corners = np.array([[0, 0], source], float)
    low, high = box.fitted(corners)
    assert low.tolist() == list(box.offset_xy)
    np.testing.assert_allclose(high - low, box.resized_wh)


def test_a_letterbox_pads_in_grey_in_the_middle_or_at_the_far_edges() -> None:
    image = np.full((32, 96, 3), 250, np.uint8)
    middle = Letterbox.fit((96, 32), (96, 64), centred=True).applied(image)
    corner = Letterbox.fit((96, 32), (96, 64), centred=False).applied(image)
    assert (middle[16:48] == 250).all()
    assert (middle[:16] == PAD_GREY).all()
    assert (middle[48:] == PAD_GREY).all()
    assert (corner[:32] == 250).all()
    assert (corner[32:] == PAD_GREY).all()


def test_a_picture_without_pixels_is_refused(tmp_path: Path) -> None:
    detector = load_detector(write_model(tmp_path / "m.onnx", yolo_answer(80, [])))
    with pytest.raises(ValueError, match=r"camera a, frame 0: expected a picture with pixels, got one of 0x5"):
        detector.detect([Frame("a", 0, 0, np.zeros((5, 0, 3), np.uint8))])


def test_a_yolo_head_gives_boxes_of_the_picture(tmp_path: Path) -> None:
    answer = yolo_answer(80, [(3, (48, 32, 40, 20), BOTTLE, 0.8), (9, (48, 32, 20, 64), COCO_PERSON, 0.3)])
    detector = load_detector(write_model(tmp_path / "m.onnx", answer))
    assert detector.head is Head.YOLO
    assert detector.input_wh == (WIDTH, HEIGHT)
    (seen,) = detector.detect([frame(192, 64)])  # half size, with 16 rows of padding above and below
    assert seen.camera_id == "a"
    assert seen.timestamp_ns == 7
    assert seen.class_id.tolist() == [BOTTLE, COCO_PERSON]
    np.testing.assert_allclose(seen.confidence, [0.8, 0.3])
    np.testing.assert_allclose(seen.xyxy, [[56, 12, 136, 52], [76, 0, 116, 64]], atol=1e-4)
    assert seen.keypoints.shape == (2, 0, 3)
    assert seen.xyxy.dtype == np.float32


def test_a_pose_head_gives_key_points_of_the_picture(tmp_path: Path) -> None:
    answer = np.zeros((56, CELLS))
    answer[:5, 4] = 48, 32, 40, 20, 0.6
    answer[5:, 4] = np.column_stack([np.full(17, 60.0), np.full(17, 30.0), np.linspace(0, 1, 17)]).ravel()
    detector = load_detector(write_model(tmp_path / "m.onnx", answer))
    assert detector.head is Head.YOLO_POSE
    assert detector.has_keypoints
    (seen,) = detector.detect([frame(192, 64)])
    assert seen.keypoints.shape == (1, 17, 3)
    np.testing.assert_allclose(seen.keypoints[0, :, :2], [[120.0, 28.0]] * 17, atol=1e-4)
    np.testing.assert_allclose(seen.keypoints[0, :, 2], np.linspace(0, 1, 17), atol=1e-6)


@pytest.mark.parametrize("keypoints", [0, 17])
def test_an_end_to_end_head_gives_its_finished_rows(tmp_path: Path, keypoints: int) -> None:
    answer = np.zeros((300, 6 + 3 * keypoints))
    answer[0, :6] = 10, 20, 30, 60, 0.7, BOTTLE
    answer[1, :6] = 40, 20, 60, 60, 0.05, 0
    answer[2, :6] = 40, 20, 60, 60, 0.5, np.nan
    answer[3, :6] = np.nan, 20, 60, 60, 0.5, 0
    detector = load_detector(write_model(tmp_path / "m.onnx", answer))
    assert detector.head is (Head.END_TO_END_POSE if keypoints else Head.END_TO_END)
    (seen,) = detector.detect([frame()])
    assert seen.class_id.tolist() == [BOTTLE]
    np.testing.assert_allclose(seen.xyxy, [[10, 20, 30, 60]])
    assert seen.keypoints.shape == (1, keypoints, 3)


def test_a_yolox_grid_is_decoded_at_each_stride(tmp_path: Path) -> None:
    answer = np.zeros((CELLS, 85))
    # One box in each grid: the second cell of the second row (12, 6 and 3 columns wide).
    for row, stride in ((13, 8), (96 + 7, 16), (96 + 24 + 4, 32)):
        answer[row, :4] = 0.5, 0.25, np.log(10 / stride), np.log(20 / stride)
        answer[row, 4], answer[row, 5 + BOTTLE] = 0.8, 0.5
    detector = load_detector(write_model(tmp_path / "m.onnx", answer))
    assert detector.head is Head.YOLOX
    (seen,) = detector.detect([frame()])
    np.testing.assert_allclose(seen.confidence, [0.4] * 3, atol=1e-6)
    centres = (seen.xyxy[:, :2] + seen.xyxy[:, 2:]) / 2
    np.testing.assert_allclose(centres[:2], [[12, 10], [24, 20]], atol=1e-4)
    np.testing.assert_allclose(seen.xyxy[2], [43, 30, 53, 50], atol=1e-4)


def test_a_yolox_picture_lies_at_the_top_left(tmp_path: Path) -> None:
    answer = np.zeros((CELLS, 85))
    answer[0, :4] = 1, 1, np.log(2), np.log(1)
    answer[0, 4], answer[0, 5] = 0.9, 0.9
    detector = load_detector(write_model(tmp_path / "m.onnx", answer))
    (seen,) = detector.detect([frame(192, 64)])
    np.testing.assert_allclose(seen.xyxy, [[0, 8, 32, 24]], atol=1e-4)


def test_numbers_that_overflow_do_no_harm(tmp_path: Path) -> None:
    answer = np.zeros((CELLS, 85))
    answer[:, 4] = answer[:, 5] = 0.9
    answer[0, :4] = 0, 0, 1000, 1000
    answer[1:, :4] = np.nan
    (seen,) = load_detector(write_model(tmp_path / "m.onnx", answer)).detect([frame()])
    np.testing.assert_allclose(seen.xyxy, [[0, 0, WIDTH, HEIGHT]])


def test_yolo_sees_red_first_between_0_and_1_and_yolox_blue_first_up_to_255(tmp_path: Path) -> None:
    yolo, yolox = yolo_answer(80, [(3, (48, 32, 40, 20), 0, 0.0)]), np.zeros((CELLS, 85))
    yolox[3, 4] = 1
    gain_yolo, gain_yolox = np.zeros_like(yolo), np.zeros_like(yolox)
    gain_yolo[4, 3], gain_yolox[3, 5] = 1, 1 / 255
    one = load_detector(write_model(tmp_path / "a.onnx", yolo, gain=gain_yolo))
    two = load_detector(write_model(tmp_path / "b.onnx", yolox, gain=gain_yolox))
    picture = [frame(colour=(51, 0, 204))]
    assert one.detect(picture)[0].confidence[0] == pytest.approx(0.8, abs=1e-4)
    assert two.detect(picture)[0].confidence[0] == pytest.approx(0.2, abs=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("input_type", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8])
def test_a_model_reads_pictures_as_its_input_says(tmp_path: Path, channels_last: bool, input_type: int) -> None:
    answer = yolo_answer(80, [(3, (48, 32, 40, 20), 0, 0.0)])
    gain = np.zeros_like(answer)
    gain[4, 3] = 1 / 255 if input_type == TensorProto.UINT8 else 1  # a uint8 model scales by itself
    path = write_model(tmp_path / "m.onnx", answer, gain=gain, channels_last=channels_last, input_type=input_type)
    (seen,) = load_detector(path).detect([frame(colour=(0, 0, 204))])
    assert seen.confidence[0] == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("batch", [1, 3, "n"])
def test_batches_give_what_single_frames_give(tmp_path: Path, batch: int | str) -> None:
    answer = yolo_answer(80, [(3, (48, 32, 40, 20), BOTTLE, 0.0), (70, (20, 20, 10, 10), 0, 0.2)])
    gain = np.zeros_like(answer)
    gain[4 + BOTTLE, 3] = 1
    detector = load_detector(write_model(tmp_path / "m.onnx", answer, batch=batch, gain=gain), max_batch=4)
    frames = [frame(20 + 13 * i, 90 - 3 * i, (i, i, 25 * i), f"cam{i}") for i in range(10)]
    together = detector.detect(frames)
    assert [each.camera_id for each in together] == [each.camera_id for each in frames]
    for one, all_in_one in zip(frames, together, strict=True):
        assert_same(detector.detect([one])[0], all_in_one)
    assert len({float(each.confidence.max()) for each in together}) > 5  # each picture had its own answer


def test_no_frames_give_no_detections(tmp_path: Path) -> None:
    assert load_detector(write_model(tmp_path / "m.onnx", yolo_answer(80, []))).detect([]) == []


def test_an_open_input_size_follows_the_picture(tmp_path: Path) -> None:
    answer = np.zeros((300, 6))
    answer[0] = 8, 16, 16, 32, 0.9, 0
    path = write_model(tmp_path / "m.onnx", answer, size=("h", "w"), batch="n", metadata={"imgsz": "[96, 96]"})
    detector = load_detector(path)
    assert detector.input_wh is None
    wide, tall = detector.detect([frame(192, 108), frame(48, 96)])
    np.testing.assert_allclose(wide.xyxy, [[16, 22, 32, 54]], atol=1e-4)  # 96x64 with 5 rows above
    np.testing.assert_allclose(tall.xyxy, [[0, 16, 8, 32]], atol=1e-4)  # 64x96 with 8 columns to the left


def test_weak_detections_come_down_to_the_least_confidence_and_doubles_go(tmp_path: Path) -> None:
    found = [
        (1, (48, 32, 40, 40), 0, 0.9),
        (2, (49, 33, 40, 40), 0, 0.8),  # the same person
        (3, (48, 32, 40, 40), BOTTLE, 0.7),  # another class at the same place
        (4, (10, 10, 10, 10), 0, 0.11),
        (5, (80, 50, 10, 10), 0, 0.09),
    ]
    path = write_model(tmp_path / "m.onnx", yolo_answer(80, found))
    (seen,) = load_detector(path).detect([frame()])
    np.testing.assert_allclose(seen.confidence, [0.9, 0.7, 0.11], atol=1e-6)
    (seen,) = load_detector(path, min_confidence=0.5).detect([frame()])
    assert len(seen) == 2


def test_every_anchor_firing_stays_bounded(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    answer = np.zeros((2000, 6))
    answer[:, :2] = rng.uniform(0, 90, (2000, 2))
    answer[:, 2:4] = answer[:, :2] + 1
    answer[:, 4] = rng.uniform(0.2, 0.9, 2000)
    (seen,) = load_detector(write_model(tmp_path / "m.onnx", answer)).detect([frame()])
    assert len(seen) == 300


def test_class_names_of_the_file_are_given_cocos_numbers(tmp_path: Path) -> None:
    answer = yolo_answer(3, [(1, (48, 32, 40, 20), 0, 0.9), (2, (10, 10, 9, 9), 1, 0.8), (3, (80, 9, 9, 9), 2, 0.7)])
    names = {"names": "{0: 'bottle', 1: 'crisps', 2: 'person'}", "task": "detect"}
    detector = load_detector(write_model(tmp_path / "m.onnx", answer, metadata=names))
    (seen,) = detector.detect([frame()])
    assert seen.class_id.tolist() == [BOTTLE, 80, COCO_PERSON]
    assert detector.class_names[80] == "crisps"
    named = load_detector(write_model(tmp_path / "n.onnx", answer), class_names=["cup", "person", "tin"])
    assert [named.class_names[i] for i in named.detect([frame()])[0].class_id] == ["cup", "person", "tin"]


def test_52_classes_are_not_a_pose_head_if_the_file_says_so(tmp_path: Path) -> None:
    names = repr({i: f"thing {i}" for i in range(52)})
    path = write_model(tmp_path / "m.onnx", yolo_answer(52, []), metadata={"names": names, "task": "detect"})
    assert load_detector(path).head is Head.YOLO


def test_metadata_that_makes_no_sense_is_passed_over(tmp_path: Path) -> None:
    noise = {"names": "{0: 'person'", "kpt_shape": "__import__('os')", "imgsz": "[9999999, 'x']"}
    detector = load_detector(write_model(tmp_path / "m.onnx", yolo_answer(80, []), metadata=noise))
    assert detector.class_names == COCO_CLASS_NAMES


def test_a_file_may_say_from_which_overlap_on_two_boxes_are_one_thing(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", yolo_answer(80, []), metadata={"nms_iou": "0.55"})
    assert load_detector(path).nms_iou == 0.55
    assert load_detector(path, nms_iou=0.3).nms_iou == 0.3
    path = write_model(tmp_path / "n.onnx", yolo_answer(80, []), metadata={"nms_iou": "7"})
    assert load_detector(path).nms_iou == 0.7


def test_too_few_class_names_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", yolo_answer(3, []))
    with pytest.raises(ValueError, match="expected 3 class names, as many as the head has, got 1"):
        load_detector(path, class_names=["person"])


def test_key_points_of_another_body_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", yolo_answer(10, []), metadata={"task": "pose", "kpt_shape": "[3, 3]"})
    with pytest.raises(ValueError, match=r"expected key-points of shape \(17, 3\) as in COCO, got \(3, 3\)"):
        load_detector(path)


@pytest.mark.parametrize("shape", [(10, 10), (1000, 1)])
def test_an_unknown_head_is_named_with_the_heads_that_are_read(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = write_model(tmp_path / "m.onnx", np.zeros(shape))
    with pytest.raises(
        ValueError, match=rf"YOLOv8/11.*end to end.*YOLOX.* for input 96x64, got 1x{shape[0]}x"
    ) as error:
        load_detector(path)
    assert "\n" not in str(error.value)


def test_an_input_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", yolo_answer(80, []), size=(HEIGHT, WIDTH))
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7
    onnx.save(model, str(path))
    with pytest.raises(ValueError, match="expected an input of pictures, Nx3xHxW or NxHxWx3, got 1x7x64x96"):
        load_detector(path)


def test_files_that_are_no_models_are_refused_in_one_line(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "whole.onnx", yolo_answer(80, [])).read_bytes()
    for name, content in (
        ("text.onnx", b"this is not a model"),
        ("cut.onnx", whole[: len(whole) // 2]),
        ("zeros.onnx", bytes(5000)),
        ("picture.onnx", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not an ONNX model that can be run") as error:
            load_detector(path)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 400
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ValueError, match="got an empty file"):
        load_detector(tmp_path / "empty.onnx")
    with pytest.raises(OSError, match="missing"):
        load_detector(tmp_path / "missing.onnx")
    with pytest.raises(OSError, match="directory"):
        load_detector(tmp_path)


def test_a_missing_provider_matters_only_to_who_insists(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_model(tmp_path / "m.onnx", yolo_answer(80, []))
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(ValueError, match="this ONNX Runtime has no CUDAExecutionProvider"):
            load_detector(path, providers="cuda")
    if importlib.util.find_spec("openvino") is None:
        with pytest.raises(ValueError, match="openvino: the package is not installed"):
            load_detector(path, providers="openvino")
    with caplog.at_level(logging.INFO, logger="vision.detector"):
        assert load_detector(path, providers="cpu").provider == "cpu"
        assert load_detector(path).provider in ("cpu", "cuda", "openvino")
    assert "m.onnx: yolo head, 80 classes, input 96x64, runs on cpu" in caplog.text


def test_openvino_gives_what_onnx_runtime_gives(tmp_path: Path) -> None:
    answer = yolo_answer(80, [(3, (48, 32, 40, 20), 0, 0.3)])
    gain = np.zeros_like(answer)
    gain[4, 3] = 0.5
    path = write_model(tmp_path / "m.onnx", answer, gain=gain, batch="n")
    pytest.importorskip("openvino")
    detector = load_detector(path, providers="openvino", threads=1)
    frames = [frame(colour=(0, 0, 200)), frame(50, 50), frame(colour=(0, 0, 99))]
    for one, other in zip(detector.detect(frames), load_detector(path, providers="cpu").detect(frames), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_confidence": 1.0}, "min_confidence: expected 0 up to 1, got 1.0"),
        ({"nms_iou": 0.0}, "nms_iou: expected more than 0 and up to 1, got 0.0"),
        ({"max_batch": 0}, "max_batch: expected at least 1, got 0"),
        ({"threads": 0}, "threads: expected at least 1, got 0"),
        ({"providers": "tpu"}, "providers: expected auto, cpu, cuda or openvino, got tpu"),
    ],
)
def test_arguments_out_of_bounds_are_refused(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    path = write_model(tmp_path / "m.onnx", yolo_answer(80, []))
    with pytest.raises(ValueError, match=message):
        load_detector(path, **wrong)


def pose_answer(boxes: Sequence[tuple[float, ...]], score: float) -> NDArray[np.float64]:
    answer = np.zeros((56, CELLS))
    for cell, box in enumerate(boxes):
        answer[:4, cell], answer[4, cell], answer[5:, cell] = box, score, 0.5
    return answer


def test_in_a_bank_people_come_from_the_pose_model_and_things_from_the_plain_one(tmp_path: Path) -> None:
    pose = write_model(tmp_path / "pose.onnx", pose_answer([(30, 32, 20, 40)], 0.8))
    plain = write_model(
        tmp_path / "plain.onnx",
        yolo_answer(
            80, [(1, (31, 32, 20, 40), 0, 0.9), (2, (80, 30, 20, 40), 0, 0.4), (3, (60, 30, 9, 9), BOTTLE, 0.9)]
        ),
    )
    bank = DetectorBank([load_detector(plain), load_detector(pose)])
    assert bank.has_keypoints
    first, second = bank.detect([frame(name="a"), frame(name="b")])
    assert (first.camera_id, second.camera_id) == ("a", "b")
    assert first.class_id.tolist() == [BOTTLE, COCO_PERSON]
    np.testing.assert_allclose(first.confidence, [0.9, 0.8], atol=1e-6)
    assert first.keypoints.shape == (2, 17, 3)
    assert np.isnan(first.keypoints[0]).all()
    assert np.isfinite(first.keypoints[1]).all()


def test_a_bank_of_plain_models_counts_a_thing_once_and_keeps_names_apart(tmp_path: Path) -> None:
    crisps = {"names": "['crisps']"}
    cans = {"names": "['can', 'bottle']"}
    one = write_model(tmp_path / "1.onnx", yolo_answer(1, [(1, (20, 20, 10, 10), 0, 0.5)]), metadata=crisps)
    two = write_model(
        tmp_path / "2.onnx",
        yolo_answer(2, [(1, (20, 20, 10, 10), 0, 0.6), (2, (60, 40, 20, 20), 1, 0.7)]),
        metadata=cans,
    )
    three = write_model(tmp_path / "3.onnx", yolo_answer(80, [(2, (60, 40, 20, 20), BOTTLE, 0.3)]))
    bank = DetectorBank([load_detector(each) for each in (one, two, three)])
    (seen,) = bank.detect([frame()])
    assert [bank.class_names[i] for i in seen.class_id] == ["bottle", "can", "crisps"]
    assert not bank.has_keypoints
    assert seen.keypoints.shape == (3, 0, 3)


def test_a_bank_of_one_gives_what_the_model_gives_and_one_of_none_is_refused(tmp_path: Path) -> None:
    detector = load_detector(write_model(tmp_path / "m.onnx", yolo_answer(80, [(1, (20, 20, 10, 10), 0, 0.5)])))
    assert_same(DetectorBank([detector]).detect([frame()])[0], detector.detect([frame()])[0])
    with pytest.raises(ValueError, match="expected at least one detector"):
        DetectorBank([])


def pictures(path: Path, every: int, count: int) -> list[Frame]:
    frames = []
    with av.open(str(path)) as container:
        for number, picture in enumerate(container.decode(video=0)):
            if number % every == 0:
                image: ImageArray = picture.to_ndarray(format="bgr24").astype(np.uint8)
                frames.append(Frame("clip", number, number, image))
            if len(frames) == count:
                break
    return frames


@pytest.mark.slow
def test_people_in_a_shop_aisle_are_seen_by_both_shared_models(shared: Path) -> None:
    frames = pictures(shared / "footage" / "store-aisle.mp4", 10, 4)
    plain = load_detector(shared / "weights" / "yolox_nano_416.onnx", threads=1)
    pose = load_detector(shared / "weights" / "yolov8n-pose_fp32_from_int8.onnx", threads=1)
    assert (plain.head, pose.head) == (Head.YOLOX, Head.YOLO_POSE)
    for one, other in zip(plain.detect(frames), pose.detect(frames), strict=True):
        for seen in (one.people(), other.people()):
            assert (seen.confidence > 0.5).sum() >= 2
            sure = seen[seen.confidence > 0.5]
            assert (sure.xyxy[:, 3] - sure.xyxy[:, 1] > 100).all()
        assert (other.keypoints[:2, :, 2].max(axis=1) > 0.8).all()


@pytest.mark.slow
def test_the_bottles_of_the_bottle_clip_are_seen_where_they_stand(shared: Path) -> None:
    frames = pictures(shared / "footage" / "bottle-detection.mp4", 20, 5)
    detector = load_detector(shared / "weights" / "yolox_nano_416.onnx", threads=1)
    for seen in detector.detect(frames):
        bottles = seen[(seen.class_id == BOTTLE) & (seen.confidence > 0.5)]
        middles = sorted(bottles.xyxy[:, [0, 2]].mean(axis=1).tolist())
        assert middles == pytest.approx([90, 315, 545], abs=15)
