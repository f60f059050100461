"""Writing ONNX files without the ``onnx`` package: nodes and constants in, bytes out.

Just enough of ``onnx.proto3`` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3) for graphs of tensors of known
shape. The same graph always gives the same bytes, so that what is made on two machines can be compared by checksum.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

OPSET = 13  # the first with a quantisation scale for every channel
IR_VERSION = 7  # of onnx 1.8, which brought that opset

Attribute: TypeAlias = float | int | str | Sequence[int]

_ELEMENT_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "float16": 10}
_VARINT, _BYTES, _FIXED32 = 0, 2, 5


@dataclass(frozen=True, slots=True)
class Node:
    """One step: an operator of ONNX with the names of what it takes and makes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph: its name, NumPy type and shape, 0 for an axis of no fixed length."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def onnx_bytes(
    nodes: Sequence[Node],
    constants: Mapping[str, NDArray[Any]],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    metadata: Mapping[str, str],
) -> bytes:
    """Write a graph as an ONNX file.

    Args:
        nodes: Steps in the order to carry them out.
        constants: Weights and other fixed tensors by name.
        inputs: What to give.
        outputs: What to take.
        metadata: Remarks to carry along.

    Returns:
        The file.

    Raises:
        ValueError: An element type is not one of those written.
    """
    graph = b"".join(_message(1, _node(node)) for node in nodes)
    graph += _text(2, "graph")
    graph += b"".join(_message(5, _tensor(name, array)) for name, array in constants.items())
    graph += b"".join(_message(11, _port(port)) for port in inputs)
    graph += b"".join(_message(12, _port(port)) for port in outputs)
    model = _number(1, IR_VERSION) + _text(2, "tillfree")
    model += _message(7, graph) + _message(8, _text(1, "") + _number(2, OPSET))
    return model + b"".join(_message(14, _text(1, key) + _text(2, value)) for key, value in metadata.items())


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are written as two's complement of 64 bits
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _text(number: int, value: str) -> bytes:
    return _message(number, value.encode())


def _element_type(dtype: str) -> int:
    if dtype not in _ELEMENT_TYPES:
        raise ValueError(f"expected an element type of {', '.join(_ELEMENT_TYPES)}, got {dtype}")
    return _ELEMENT_TYPES[dtype]


def _tensor(name: str, array: NDArray[Any]) -> bytes:
    dims = b"".join(_number(1, size) for size in array.shape)
    raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return dims + _number(2, _element_type(array.dtype.name)) + _text(8, name) + _message(9, raw)


def _port(port: Port) -> bytes:
    shape = b"".join(_message(1, _number(1, size) if size else _text(2, "rows")) for size in port.shape)
    tensor = _number(1, _element_type(port.dtype)) + _message(2, shape)
    return _text(1, port.name) + _message(2, _message(1, tensor))


def _node(node: Node) -> bytes:
    content = b"".join(_text(1, name) for name in node.inputs)
    content += b"".join(_text(2, name) for name in node.outputs)
    content += _text(3, node.outputs[0]) + _text(4, node.operator)
    return content + b"".join(_message(5, _attribute(name, value)) for name, value in node.attributes.items())


def _attribute(name: str, value: Attribute) -> bytes:
    content = _text(1, name)
    if isinstance(value, float):
        return content + _varint(2 << 3 | _FIXED32) + struct.pack("<f", value) + _number(20, 1)
    if isinstance(value, int):
        return content + _number(3, value) + _number(20, 2)
    if isinstance(value, str):
        return content + _text(4, value) + _number(20, 3)
    return content + b"".join(_number(8, each) for each in value) + _number(20, 7)
