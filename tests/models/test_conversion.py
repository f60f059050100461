import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from models import conversion
from models.conversion import converted
from models.onnx_file import Node, Port, onnx_bytes
from models.tflite import Graph, Operator, Tensor, read_graph

NO_SCALE, NO_ZERO = np.zeros(0, np.float32), np.zeros(0, np.int64)


def tensor(
    name: str, shape: Sequence[int], content: NDArray[Any] | None = None, scale: float = 0.0, zero: int = 0
) -> Tensor:
    dtype = np.dtype(np.float32) if content is None else content.dtype
    if scale:
        dtype = np.dtype(np.int8) if content is None else content.dtype
        return Tensor(name, tuple(shape), dtype, content, np.array([scale], "f4"), np.array([zero]), 0)
    return Tensor(name, tuple(shape), dtype, content, NO_SCALE, NO_ZERO, 0)


def run(graph: Graph, picture: NDArray[Any], monkeypatch: pytest.MonkeyPatch) -> NDArray[Any]:
    monkeypatch.setattr(conversion, "read_graph", lambda content: graph)
    content = converted(b"").written({"task": "test"})
    onnx.checker.check_model(onnx.load_from_string(content))
    session = onnxruntime.InferenceSession(content)
    assert session.get_modelmeta().custom_metadata_map == {"task": "test"}
    return np.asarray(session.run(None, {"images": picture})[0])


def convolved(x: NDArray[Any], kernel: NDArray[Any], bias: NDArray[Any], stride: int) -> NDArray[Any]:
    """TensorFlow's SAME convolution, (1, h, w, c) with a kernel (out, kh, kw, in), written out."""
    (_, h, w, _), (n, kh, kw, _) = x.shape, kernel.shape
    rows, columns = -(-h // stride), -(-w // stride)
    missing = max((rows - 1) * stride + kh - h, 0), max((columns - 1) * stride + kw - w, 0)
    top, left = missing[0] // 2, missing[1] // 2
    padded = np.pad(x, ((0, 0), (top, missing[0] - top), (left, missing[1] - left), (0, 0)))
    out = np.zeros((1, rows, columns, n))
    for i in range(rows):
        for j in range(columns):
            window = padded[0, i * stride : i * stride + kh, j * stride : j * stride + kw]
            out[0, i, j] = np.einsum("hwc,nhwc->n", window, kernel) + bias
    return out


def test_a_convolution_pads_and_strides_as_tensorflow_does(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(size=(4, 3, 3, 2)).astype("f4"), rng.normal(size=4).astype("f4")
    options = {"padding": 0, "stride_w": 2, "stride_h": 2, "activation": 1, "dilation_w": 1, "dilation_h": 1}
    graph = Graph(
        (
            tensor("x", (1, 6, 8, 2)),
            tensor("w", kernel.shape, kernel),
            tensor("b", (4,), bias),
            tensor("y", (1, 3, 4, 4)),
        ),
        (Operator("CONV_2D", (0, 1, 2), (3,), options),),
        (0,),
        (3,),
    )
    picture = rng.normal(size=(1, 6, 8, 2)).astype("f4")
    expected = np.maximum(convolved(picture, kernel, bias, 2), 0)
    assert run(graph, picture, monkeypatch) == pytest.approx(expected, abs=1e-5)


def test_a_quantised_sum_is_rounded_to_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(
        (
            Tensor("x", (1, 2, 2, 1), np.dtype(np.uint8), None, np.array([0.5], "f4"), np.array([10]), 0),
            tensor("q", (1, 2, 2, 1), scale=0.5, zero=-118),
            tensor("y", (1, 2, 2, 1), scale=0.75, zero=3),
            tensor("f", (1, 2, 2, 1)),
        ),
        (
            Operator("QUANTIZE", (0,), (1,), {}),
            Operator("ADD", (1, 1), (2,), {"activation": 0}),
            Operator("DEQUANTIZE", (2,), (3,), {}),
        ),
        (0,),
        (3,),
    )
    picture = np.array([[10, 11], [14, 250]], np.uint8).reshape(1, 2, 2, 1)
    got = run(graph, picture, monkeypatch).ravel()
    # Sums 0, 1, 4, 240 in steps of 0.75, the last beyond what 8 bits hold: (127 - 3) * 0.75.
    assert got == pytest.approx([0, 0.75, 3.75, 93.0])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"align_corners": 0, "half_pixel_centers": 0}, [0, 0, 1, 1, 2]),
        ({"align_corners": 0, "half_pixel_centers": 1}, [0, 0, 1, 2, 2]),
    ],
)
def test_nearest_neighbours_are_those_of_tensorflow(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, int], expected: list[int]
) -> None:
    graph = Graph(
        (tensor("x", (1, 1, 3, 1)), tensor("s", (2,), np.array([1, 5], np.int32)), tensor("y", (1, 1, 5, 1))),
        (Operator("RESIZE_NEAREST_NEIGHBOR", (0, 1), (2,), options),),
        (0,),
        (2,),
    )
    picture = np.arange(3, dtype=np.float32).reshape(1, 1, 3, 1)
    assert run(graph, picture, monkeypatch).ravel().tolist() == expected


def test_pads_pools_and_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = {"padding": 0, "stride_w": 2, "stride_h": 2, "filter_w": 2, "filter_h": 2, "activation": 0}
    widths = np.array([[0, 0], [1, 0], [0, 1], [0, 0]], np.int32)
    graph = Graph(
        (
            tensor("x", (1, 3, 3, 1)),
            tensor("w", (4, 2), widths),
            tensor("p", (1, 4, 4, 1)),
            tensor("m", (1, 2, 2, 1)),
            tensor("j", (1, 2, 2, 2)),
            tensor("s", (2,), np.array([1, 8], np.int32)),
            tensor("r", (1, 8)),
        ),
        (
            Operator("PAD", (0, 1), (2,), {}),
            Operator("MAX_POOL_2D", (2,), (3,), pool),
            Operator("CONCATENATION", (3, 3), (4,), {"axis": 3, "activation": 0}),
            Operator("RESHAPE", (4, 5), (6,), {}),
        ),
        (0,),
        (6,),
    )
    picture = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    # Padded above and on the right: rows of maxima 1 2 / 7 8, each twice as channels lie beside each other.
    assert run(graph, picture, monkeypatch).tolist() == [[1, 1, 2, 2, 7, 7, 8, 8]]


def test_what_no_wanted_output_needs_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(
        (tensor("x", (1, 1, 1, 1)), tensor("y", (1, 1, 1, 1)), tensor("z", (1, 1, 1, 1))),
        (Operator("LOGISTIC", (0,), (1,), {}), Operator("BUILTIN_99", (0,), (2,), {})),
        (0,),
        (1, 2),
    )
    monkeypatch.setattr(conversion, "read_graph", lambda content: graph)
    assert [port.name for port in converted(b"", ["y"]).outputs] == ["y"]
    with pytest.raises(ValueError, match="operator BUILTIN_99 is not one of those"):
        converted(b"")
    with pytest.raises(ValueError, match="expected an output named q, the file has y, z"):
        converted(b"", ["q"])


def test_what_is_no_tflite_file_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a TensorFlow Lite file"):
        read_graph(b"PK\x03\x04 something else")
    with pytest.raises(ValueError, match="it is broken"):
        read_graph(struct.pack("<I", 5000) + b"TFL3" + bytes(20))


def test_the_same_graph_gives_the_same_bytes_and_numbers_of_every_kind(tmp_path: Path) -> None:
    nodes = [Node("LeakyRelu", ("x",), ("y",), {"alpha": 0.25})]
    content = onnx_bytes(nodes, {}, [Port("x", "float32", (1, 0))], [Port("y", "float32", (1, 0))], {})
    assert content == onnx_bytes(nodes, {}, [Port("x", "float32", (1, 0))], [Port("y", "float32", (1, 0))], {})
    onnx.checker.check_model(onnx.load_from_string(content))
    session = onnxruntime.InferenceSession(content)
    assert session.run(None, {"x": np.array([[-4.0, 2.0]], "f4")})[0].tolist() == [[-1.0, 2.0]]
    with pytest.raises(ValueError, match="expected an element type of float32"):
        onnx_bytes([], {}, [Port("x", "float64", (1,))], [], {})
