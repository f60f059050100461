"""Turning TensorFlow Lite graphs into ONNX, for the few operators that small convolutional networks use.

Pictures run through the ONNX graph as (n, channels, h, w), as ONNX wants them; the input and what a reshape flattens
stay (n, h, w, channels), as TensorFlow has them. Quantised graphs stay quantised: every tensor that is 8 bits wide
there goes through ``QuantizeLinear`` and ``DequantizeLinear`` here, which ONNX Runtime fuses into integer operators.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.onnx_file import Attribute, Node, Port, onnx_bytes
from models.tflite import Graph, Operator, Tensor, read_graph

_NO_ACTIVATION, _RELU, _RELU6 = 0, 1, 3  # of ActivationFunctionType in schema.fbs
_SAME = 0  # of Padding
_TO_FIRST, _TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # where the channels go


@dataclass(frozen=True, slots=True)
class Converted:
    """A graph in ONNX's terms, to add to or to write.

    Attributes:
        nodes: Steps in the order to carry them out; more may be appended.
        constants: Fixed tensors by name; more may be added.
        inputs: What to give; the picture is called ``images``.
        outputs: What comes out, under the names that it had.
    """

    nodes: list[Node]
    constants: dict[str, NDArray[Any]]
    inputs: list[Port]
    outputs: list[Port]

    def add(self, operator: str, inputs: Sequence[str], **attributes: Attribute) -> str:
        """Append a step with one result; gives the result's name."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(Node(operator, tuple(inputs), (name,), attributes))
        return name

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add a fixed tensor; gives its name."""
        self.constants[name] = array
        return name

    def written(self, metadata: Mapping[str, str]) -> bytes:
        """The ONNX file, with remarks."""
        return onnx_bytes(self.nodes, self.constants, self.inputs, self.outputs, metadata)


def converted(content: bytes, outputs: Sequence[str] | None = None) -> Converted:
    """Turn a TensorFlow Lite file into an ONNX graph.

    Args:
        content: The TensorFlow Lite file.
        outputs: Names of the outputs to keep, in this order; all if None. What only the others need is left out.

    Returns:
        The graph; the same for the same input on every machine.

    Raises:
        ValueError: It is no TensorFlow Lite file, has an operator not known here, or no such output.
    """
    graph = read_graph(content)
    by_name = {graph.tensors[index].name: index for index in graph.outputs}
    for name in outputs or ():
        if name not in by_name:
            raise ValueError(f"expected an output named {name}, the file has {', '.join(by_name)}")
    wanted = list(graph.outputs) if outputs is None else [by_name[name] for name in outputs]
    return _Conversion(graph).run(wanted)


class _Conversion:
    """Walks over a graph and collects nodes and constants."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._made_graph = Converted([], {}, [], [])
        self._values: dict[int, str] = {}  # name of the float value of each tensor that has been made

    def run(self, wanted: list[int]) -> Converted:
        tensors, made = self._graph.tensors, self._made_graph
        for index in self._graph.inputs:
            tensor = tensors[index]
            made.inputs.append(Port("images", tensor.dtype.name, tensor.shape))
            name = "images"
            if tensor.dtype == np.uint8:
                name = self._add("DequantizeLinear", [name, *self._scale_names(index)])
            self._values[index] = self._turned(name, tensor, _TO_FIRST)
        for operator in self._needed(wanted):
            self._convert(operator)
        for index in wanted:
            tensor = tensors[index]
            name = self._turned(self._value(index), tensor, _TO_LAST)
            made.outputs.append(Port(tensor.name, "float32", tensor.shape))
            made.nodes.append(Node("Identity", (name,), (tensor.name,)))
        return made

    def _needed(self, wanted: list[int]) -> list[Operator]:
        """The operators that lead to the wanted tensors, in order."""
        open_tensors, kept = set(wanted), []
        for operator in reversed(self._graph.operators):
            if open_tensors.intersection(operator.outputs):
                open_tensors.update(operator.inputs)
                kept.append(operator)
        return kept[::-1]

    def _add(self, operator: str, inputs: Sequence[str], attributes: dict[str, Attribute] | None = None) -> str:
        return self._made_graph.add(operator, inputs, **(attributes or {}))

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        return self._made_graph.constant(name, array)

    def _turned(self, name: str, tensor: Tensor, order: tuple[int, ...]) -> str:
        """Move the channels of a picture; other tensors stay as they are."""
        return self._add("Transpose", [name], {"perm": order}) if len(tensor.shape) == 4 else name

    def _value(self, index: int) -> str:
        """The float value of a tensor: one made before, or a constant."""
        if index not in self._values:
            content = self._content(index)
            if content.ndim == 4:
                content = content.transpose(_TO_FIRST)
            self._values[index] = self._constant(f"c{index}", np.ascontiguousarray(content, np.float32))
        return self._values[index]

    def _content(self, index: int) -> NDArray[Any]:
        """A constant's elements; float16 ones come through a DEQUANTIZE, which is looked through."""
        tensor = self._graph.tensors[index]
        if tensor.content is not None:
            return tensor.content
        for operator in self._graph.operators:
            if operator.kind == "DEQUANTIZE" and operator.outputs == (index,):
                return np.asarray(self._content(operator.inputs[0]), np.float32)
        raise ValueError(f"tensor {tensor.name}: expected a constant, it is computed")

    def _scale_names(self, index: int) -> tuple[str, str]:
        tensor = self._graph.tensors[index]
        single = len(tensor.scale) == 1
        scale = tensor.scale.reshape(()) if single else tensor.scale
        zero = tensor.zero_point.astype(tensor.dtype)
        return (
            self._constant(f"s{index}", scale),
            self._constant(f"z{index}", zero.reshape(()) if single else zero),
        )

    def _made(self, index: int, name: str, activation: int) -> None:
        """Note a result, after its activation and, where it is quantised, rounded to its steps."""
        tensor = self._graph.tensors[index]
        limits = {_NO_ACTIVATION: None, _RELU: (0.0, np.inf), _RELU6: (0.0, 6.0)}
        if activation not in limits:
            raise ValueError(f"tensor {tensor.name}: activation {activation} is not one of those known")
        limit = limits[activation]
        is_quantised = tensor.dtype == np.int8
        if limit is not None:
            # Rounding to 8 bits clips as well; a second clip would keep ONNX Runtime from fusing.
            steps = np.array([-128, 127]) - tensor.zero_point[0] if is_quantised else np.array([-np.inf, np.inf])
            low, high = steps * float(tensor.scale[0]) if is_quantised else steps
            slack = float(tensor.scale[0]) / 2 if is_quantised else 0.0
            if limit[1] == np.inf:
                name = self._add("Relu", [name]) if low < -slack else name
            elif low < -slack or high > limit[1] + slack:
                bounds = [self._constant("zero", np.array(0, "f4")), self._constant("six", np.array(6, "f4"))]
                name = self._add("Clip", [name, *bounds])
        if is_quantised:
            scales = self._scale_names(index)
            name = self._add("DequantizeLinear", [self._add("QuantizeLinear", [name, *scales]), *scales])
        self._values[index] = name

    def _convert(self, operator: Operator) -> None:
        kind, options = operator.kind, operator.options
        out = operator.outputs[0]
        first = operator.inputs[0]
        if kind == "DEQUANTIZE":
            if self._graph.tensors[first].dtype != np.float16:
                self._values[out] = self._value(first)
        elif kind == "QUANTIZE":
            self._made(out, self._value(first), _NO_ACTIVATION)
        elif kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            self._convolution(operator)
        elif kind == "ADD":
            both = [self._value(index) for index in operator.inputs]
            self._made(out, self._add("Add", both), options["activation"])
        elif kind == "LOGISTIC":
            self._made(out, self._add("Sigmoid", [self._value(first)]), _NO_ACTIVATION)
        elif kind == "MAX_POOL_2D":
            window = (options["filter_h"], options["filter_w"])
            sizes: dict[str, Attribute] = {"kernel_shape": window, **self._windows(operator, window)}
            self._made(out, self._add("MaxPool", [self._value(first)], sizes), options["activation"])
        elif kind in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
            self._resize(operator)
        elif kind == "PAD":
            self._pad(operator)
        elif kind == "RESHAPE":
            flat = self._turned(self._value(first), self._graph.tensors[first], _TO_LAST)
            shape = self._constant(f"r{out}", np.array(self._graph.tensors[out].shape, np.int64))
            reshaped = self._add("Reshape", [flat, shape])
            self._made(out, self._turned(reshaped, self._graph.tensors[out], _TO_FIRST), _NO_ACTIVATION)
        elif kind == "CONCATENATION":
            rank = len(self._graph.tensors[out].shape)
            axis = options["axis"] % rank
            axis = _TO_FIRST.index(axis) if rank == 4 else axis
            parts = [self._value(index) for index in operator.inputs]
            self._made(out, self._add("Concat", parts, {"axis": axis}), options["activation"])
        else:
            raise ValueError(f"operator {kind} is not one of those that can be turned into ONNX")

    def _convolution(self, operator: Operator) -> None:
        tensors, options = self._graph.tensors, operator.options
        source, weights, *rest = operator.inputs
        is_depthwise = operator.kind == "DEPTHWISE_CONV_2D"
        content = self._content(weights)
        # TensorFlow: (out, h, w, in), depthwise (1, h, w, out); ONNX: (out, in, h, w), depthwise (out, 1, h, w).
        kernel = np.ascontiguousarray(content.transpose((3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2)))
        if tensors[weights].dtype == np.int8:
            name = self._add(
                "DequantizeLinear",
                [self._constant(f"c{weights}", kernel), *self._scale_names(weights)],
                {"axis": 0},
            )
        else:
            name = self._constant(f"c{weights}", kernel.astype(np.float32))
        inputs = [self._value(source), name]
        if rest and rest[0] >= 0:
            bias = self._content(rest[0])
            label = self._constant(f"c{rest[0]}", bias if bias.dtype == np.int32 else bias.astype(np.float32))
            if bias.dtype == np.int32:
                label = self._add("DequantizeLinear", [label, *self._scale_names(rest[0])], {"axis": 0})
            inputs.append(label)
        size = (int(kernel.shape[2]), int(kernel.shape[3]))
        attributes: dict[str, Attribute] = {
            "kernel_shape": size,
            "dilations": (options["dilation_h"], options["dilation_w"]),
            "group": tensors[source].shape[3] if is_depthwise else 1,
            **self._windows(operator, size),
        }
        self._made(operator.outputs[0], self._add("Conv", inputs, attributes), options["activation"])

    def _windows(self, operator: Operator, size: tuple[int, int]) -> dict[str, Attribute]:
        """Strides and padding; TensorFlow's SAME pads the odd pixel at the end."""
        options = operator.options
        strides = (options["stride_h"], options["stride_w"])
        before, after = [0, 0], [0, 0]
        if options["padding"] == _SAME:
            dilations = (options.get("dilation_h", 1), options.get("dilation_w", 1))
            shape = self._graph.tensors[operator.inputs[0]].shape[1:3]
            for axis in (0, 1):
                reach = (size[axis] - 1) * dilations[axis] + 1
                missing = max((-(-shape[axis] // strides[axis]) - 1) * strides[axis] + reach - shape[axis], 0)
                before[axis], after[axis] = missing // 2, missing - missing // 2
        return {"strides": strides, "pads": (*before, *after)}

    def _resize(self, operator: Operator) -> None:
        options, out = operator.options, operator.outputs[0]
        is_linear = operator.kind == "RESIZE_BILINEAR"
        rows, columns = self._graph.tensors[out].shape[1:3]
        source = self._graph.tensors[operator.inputs[0]]
        sizes = self._constant(f"r{out}", np.array([source.shape[0], source.shape[3], rows, columns], np.int64))
        grid = "asymmetric"
        if options["align_corners"]:
            grid = "align_corners"
        elif options["half_pixel_centers"]:
            grid = "half_pixel"
        attributes: dict[str, Attribute] = {
            "mode": "linear" if is_linear else "nearest",
            "coordinate_transformation_mode": grid,
            "nearest_mode": "floor" if grid == "asymmetric" else "round_prefer_ceil",
        }
        self._made(
            out, self._add("Resize", [self._value(operator.inputs[0]), "", "", sizes], attributes), _NO_ACTIVATION
        )

    def _pad(self, operator: Operator) -> None:
        out = operator.outputs[0]
        widths = self._content(operator.inputs[1])  # (axes, 2): before and after
        if len(widths) == 4:
            widths = widths[list(_TO_FIRST)]
        pads = self._constant(f"r{out}", np.concatenate([widths[:, 0], widths[:, 1]]).astype(np.int64))
        self._made(out, self._add("Pad", [self._value(operator.inputs[0]), pads], {"mode": "constant"}), _NO_ACTIVATION)
