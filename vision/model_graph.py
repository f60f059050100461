"""Small changes to the graph of an ONNX file, made in memory before it is run, without the ``onnx`` package.

An ONNX file is one Protocol Buffers message (https://protobuf.dev/programming-guides/encoding/, field numbers from
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). Three changes are worth making on a plain CPU:

- :func:`with_picture_input` lets a model of float channels take a picture as it is, rows of uint8 BGR pixels. Turning
  640x384 pixels into scaled channels outside costs 3 to 8 ms a picture, inside 1 ms.
- :func:`with_input_size` shrinks a fixed square input to the shape of the pictures: 640x384 for pictures of 16:9 saves
  40 % of the work, which was spent on grey stripes. What the file has baked in for every cell of its grids is cut down
  to the cells that are left.
- :func:`with_metadata` adds notes, such as the class names, to a file that lacks them.

None of them checks that the model still says the same; who uses them runs both once (``vision/detector.py`` does).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_Value: TypeAlias = int | bytes

# ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto, ValueInfoProto with TypeProto, as far as used here.
_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_INTS, _ATTRIBUTE_TYPE = 1, 3, 5, 8, 20
_TYPE_INT, _TYPE_INTS = 2, 7
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_FLOATS, _TENSOR_INT32S, _TENSOR_INT64S = 1, 2, 4, 5, 7
_TENSOR_NAME, _TENSOR_RAW, _TENSOR_LOCATION = 8, 9, 14
_INFO_NAME, _INFO_TYPE, _TYPE_TENSOR, _TENSOR_ELEMENT, _TENSOR_SHAPE, _SHAPE_DIM, _DIM_VALUE = 1, 2, 1, 1, 2, 1, 1
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

_FLOAT, _UINT8, _INT32, _INT64, _FLOAT16 = 1, 2, 6, 7, 10
_NUMPY: dict[int, Any] = {_FLOAT: "<f4", _INT32: "<i4", _INT64: "<i8", _FLOAT16: "<f2"}
_PREFIX = "tillfree/"  # no exporter names anything so


@dataclass(slots=True)
class _Message:
    """One Protocol Buffers message: (field number, wire type, value) in the order of the file."""

    fields: list[tuple[int, int, _Value]]

    @classmethod
    def read(cls, data: bytes) -> Self:
        fields: list[tuple[int, int, _Value]] = []
        at = 0
        while at < len(data):
            key, at = _varint(data, at)
            number, wire = key >> 3, key & 7
            if wire == _VARINT:
                value, at = _varint(data, at)
                fields.append((number, wire, value))
                continue
            if wire == _BYTES:
                length, at = _varint(data, at)
            elif wire in (_FIXED32, _FIXED64):
                length = 4 if wire == _FIXED32 else 8
            else:
                raise ValueError(f"expected an ONNX model, got a message with wire type {wire}")
            if number == 0 or at + length > len(data):
                raise ValueError("expected an ONNX model, got a message that is cut off")
            fields.append((number, wire, data[at : at + length]))
            at += length
        return cls(fields)

    def written(self) -> bytes:
        parts: list[bytes] = []
        for number, wire, value in self.fields:
            parts.append(_as_varint(number << 3 | wire))
            if isinstance(value, int):
                parts.append(_as_varint(value))
            else:
                parts += [_as_varint(len(value)), value] if wire == _BYTES else [value]
        return b"".join(parts)

    def all(self, number: int) -> list[bytes]:
        return [value for each, _, value in self.fields if each == number and isinstance(value, bytes)]

    def first(self, number: int) -> bytes:
        return next(iter(self.all(number)), b"")

    def text(self, number: int) -> str:
        return self.first(number).decode("utf-8", "replace")

    def texts(self, number: int) -> list[str]:
        return [value.decode("utf-8", "replace") for value in self.all(number)]

    def integers(self, number: int) -> list[int]:
        """Every integer of a repeated field, packed or not."""
        found: list[int] = []
        for each, wire, value in self.fields:
            if each != number:
                continue
            if isinstance(value, int):
                found.append(value)
            elif wire == _BYTES:
                at = 0
                while at < len(value):
                    one, at = _varint(value, at)
                    found.append(one)
        return [one - 2**64 if one >= 2**63 else one for one in found]

    def without(self, *numbers: int) -> "_Message":
        return _Message([field for field in self.fields if field[0] not in numbers])

    def changed(self, number: int, change: Callable[[bytes], bytes]) -> "_Message":
        """The same message with every message in one field changed."""
        return _Message(
            [
                (each, wire, change(value) if each == number and isinstance(value, bytes) else value)
                for each, wire, value in self.fields
            ]
        )


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("expected an ONNX model, got a message that is cut off")
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7


def _as_varint(value: int) -> bytes:
    value &= 2**64 - 1
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _text(number: int, text: str) -> tuple[int, int, _Value]:
    return number, _BYTES, text.encode()


def _part(number: int, message: _Message) -> tuple[int, int, _Value]:
    return number, _BYTES, message.written()


def _array(tensor: _Message) -> NDArray[Any] | None:
    """The numbers of a tensor; None for one that lies elsewhere, or of a kind that no shape or grid has."""
    kinds = tensor.integers(_TENSOR_TYPE)
    if len(kinds) != 1 or kinds[0] not in _NUMPY or tensor.integers(_TENSOR_LOCATION) == [1]:
        return None
    kind = _NUMPY[kinds[0]]
    raw, shape = tensor.first(_TENSOR_RAW), tensor.integers(_TENSOR_DIMS)
    if raw:
        values = np.frombuffer(raw, kind)
    elif kinds[0] == _FLOAT:
        values = np.frombuffer(
            b"".join(v for n, _, v in tensor.fields if n == _TENSOR_FLOATS and type(v) is bytes), kind
        )
    elif kinds[0] in (_INT64, _INT32):
        values = np.array(tensor.integers(_TENSOR_INT64S if kinds[0] == _INT64 else _TENSOR_INT32S), kind)
    else:
        return None
    return values.reshape(shape) if values.size == np.prod(shape, dtype=np.int64) else None


def _tensor(name: str, values: NDArray[Any], kind: int) -> _Message:
    return _Message(
        [
            *((_TENSOR_DIMS, _VARINT, axis) for axis in values.shape),
            (_TENSOR_TYPE, _VARINT, kind),
            _text(_TENSOR_NAME, name),
            (_TENSOR_RAW, _BYTES, np.ascontiguousarray(values, _NUMPY[kind]).tobytes()),
        ]
    )


def _input(name: str, kind: int, shape: Sequence[int]) -> _Message:
    dims = [_part(_SHAPE_DIM, _Message([(_DIM_VALUE, _VARINT, axis)] if axis else [])) for axis in shape]
    tensor = _Message([(_TENSOR_ELEMENT, _VARINT, kind), _part(_TENSOR_SHAPE, _Message(dims))])
    return _Message([_text(_INFO_NAME, name), _part(_INFO_TYPE, _Message([_part(_TYPE_TENSOR, tensor)]))])


def _node(op: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> _Message:
    fields = [_text(_NODE_INPUT, name) for name in inputs]
    fields += [_text(_NODE_OUTPUT, output), _text(_NODE_NAME, f"{_PREFIX}{op}"), _text(_NODE_OP, op)]
    for name, value in attributes.items():
        if isinstance(value, int):
            said = [(_ATTRIBUTE_INT, _VARINT, value), (_ATTRIBUTE_TYPE, _VARINT, _TYPE_INT)]
        else:
            said = [*((_ATTRIBUTE_INTS, _VARINT, one) for one in value), (_ATTRIBUTE_TYPE, _VARINT, _TYPE_INTS)]
        fields.append(_part(_NODE_ATTRIBUTE, _Message([_text(_ATTRIBUTE_NAME, name), *said])))
    return _Message(fields)


def _taken_apart(model: bytes) -> tuple[_Message, _Message, _Message]:
    """The model, its graph, and the one input of it that is no weight."""
    whole = _Message.read(model)
    graph = _Message.read(whole.first(_MODEL_GRAPH))
    weights = {_Message.read(data).text(_TENSOR_NAME) for data in graph.all(_GRAPH_INITIALIZER)}
    inputs = [_Message.read(data) for data in graph.all(_GRAPH_INPUT)]
    inputs = [each for each in inputs if each.text(_INFO_NAME) not in weights]
    if len(inputs) != 1:
        raise ValueError(f"expected a model with one input, got {len(inputs)}")
    return whole, graph, inputs[0]


def _tensor_type(info: _Message) -> _Message:
    return _Message.read(_Message.read(info.first(_INFO_TYPE)).first(_TYPE_TENSOR))


def _input_shape(info: _Message) -> list[int]:
    """Length of each axis, 0 where it is open."""
    dims = _Message.read(_tensor_type(info).first(_TENSOR_SHAPE)).all(_SHAPE_DIM)
    return [next(iter(_Message.read(dim).integers(_DIM_VALUE)), 0) for dim in dims]


def _put_together(whole: _Message, graph: _Message) -> bytes:
    return whole.changed(_MODEL_GRAPH, lambda _: graph.written()).written()


def _with_input(graph: _Message, old: _Message, new: _Message) -> _Message:
    name = old.text(_INFO_NAME)
    return graph.changed(
        _GRAPH_INPUT, lambda data: new.written() if _Message.read(data).text(_INFO_NAME) == name else data
    )


def with_picture_input(model: bytes, *, rgb: bool, scaled: bool) -> bytes:
    """Let a model of float channels take pictures as they are.

    Args:
        model: An ONNX file with one float32 input of shape (n, 3, h, w); any of n, h and w may be open.
        rgb: Whether it was made for RGB; the pictures given are BGR all the same.
        scaled: Whether it was made for numbers 0 to 1 instead of 0 to 255.

    Returns:
        The model with one input (n, h, w, 3), uint8, BGR.

    Raises:
        ValueError: The file is no such model.
    """
    whole, graph, info = _taken_apart(model)
    shape, kind = _input_shape(info), _tensor_type(info).integers(_TENSOR_ELEMENT)
    if len(shape) != 4 or shape[1] != 3 or kind != [_FLOAT]:
        raise ValueError(f"expected a float input of shape (n, 3, h, w), got {shape} of type {kind}")
    name, pixels = info.text(_INFO_NAME), f"{_PREFIX}pixels"
    steps: list[tuple[str, list[str], dict[str, int | Sequence[int]]]] = [
        ("Transpose", [], {"perm": (0, 3, 1, 2)}),
        ("Cast", [], {"to": _FLOAT}),
    ]
    constants = []
    if rgb:
        constants.append(_tensor(f"{_PREFIX}order", np.array([2, 1, 0]), _INT64))
        steps.append(("Gather", [f"{_PREFIX}order"], {"axis": 1}))
    if scaled:
        constants.append(_tensor(f"{_PREFIX}scale", np.array(1 / 255), _FLOAT))
        steps.append(("Mul", [f"{_PREFIX}scale"], {}))
    nodes, last = [], pixels
    for number, (op, more, attributes) in enumerate(steps):
        output = name if number == len(steps) - 1 else f"{_PREFIX}step{number}"
        nodes.append(_node(op, [last, *more], output, **attributes))
        last = output
    n, _, height, width = shape
    graph = _with_input(graph, info, _input(pixels, _UINT8, (n, height, width, 3)))
    added = [_part(_GRAPH_NODE, node) for node in nodes]
    added += [_part(_GRAPH_INITIALIZER, constant) for constant in constants]
    return _put_together(whole, _Message([*added, *graph.fields]))


def with_input_size(model: bytes, input_wh: tuple[int, int], strides: Sequence[int]) -> bytes:
    """Shrink the fixed input of a detector, so that its grids keep their top left cells only.

    Whatever has one entry for each cell of all grids, as its last axis, is cut down to the cells that are left; shapes
    that name a grid's cell count, its sides, or the count of all cells, name the new ones.

    Args:
        model: An ONNX file with one input of fixed size, (n, 3, h, w) or (n, h, w, 3).
        input_wh: New width and height, pixels; not more than the old ones, multiples of the coarsest stride.
        strides: Cell sizes of its grids in the order in which the cells follow each other, pixels.

    Returns:
        The model for the new size.

    Raises:
        ValueError: The file is no such model, or the size does not suit.
    """
    whole, graph, info = _taken_apart(model)
    shape = _input_shape(info)
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or 0 in shape:
        raise ValueError(f"expected an input of fixed shape (n, 3, h, w) or (n, h, w, 3), got {shape}")
    rows_axis = 2 if shape[1] == 3 else 1
    old_h, old_w = shape[rows_axis : rows_axis + 2]
    new_w, new_h = input_wh
    coarsest = max(strides)
    if not (0 < new_w <= old_w and 0 < new_h <= old_h) or new_w % coarsest or new_h % coarsest:
        raise ValueError(
            f"expected a size up to {old_w}x{old_h} in multiples of {coarsest}, got {new_w}x{new_h}"
        )  # a grid that does not divide evenly has cells that no smaller one has
    cells = _GridCells.cut((old_w, old_h), input_wh, strides)
    reshapes, resizes = _shape_names(graph)

    def tensor_changed(data: bytes, name: str) -> bytes:
        tensor = _Message.read(data)
        values = _array(tensor)
        if values is None or values.ndim == 0:
            return data
        if values.dtype.kind == "i" and values.ndim == 1:
            if name in reshapes:
                values = cells.reshaped(values)
            elif name in resizes and len(values) == 4:
                values = values * np.array([1, 1, new_h, new_w]) // np.array([1, 1, old_h, old_w])
            else:
                return data
        elif values.shape[-1] == cells.old_total:
            values = values[..., cells.kept]
        elif values.ndim > 1 and values.shape[-2] == cells.old_total:
            values = values[..., cells.kept, :]
        else:
            return data
        (kind,) = tensor.integers(_TENSOR_TYPE)
        return _tensor(tensor.text(_TENSOR_NAME), values, kind).written()

    def node_changed(data: bytes) -> bytes:
        node = _Message.read(data)
        if node.text(_NODE_OP) != "Constant":
            return data
        name = node.text(_NODE_OUTPUT)
        return node.changed(
            _NODE_ATTRIBUTE,
            lambda attribute: (
                _Message.read(attribute)
                .changed(_ATTRIBUTE_TENSOR, lambda tensor: tensor_changed(tensor, name))
                .written()
            ),
        ).written()

    shape[rows_axis : rows_axis + 2] = new_h, new_w
    (kind,) = _tensor_type(info).integers(_TENSOR_ELEMENT)
    graph = _with_input(graph, info, _input(info.text(_INFO_NAME), kind, shape))
    graph = graph.without(_GRAPH_VALUE_INFO).changed(
        _GRAPH_OUTPUT, lambda data: _with_shape(data, {cells.old_total: len(cells.kept)})
    )
    graph = graph.changed(_GRAPH_NODE, node_changed)
    graph = graph.changed(_GRAPH_INITIALIZER, lambda data: tensor_changed(data, _Message.read(data).text(_TENSOR_NAME)))
    return _put_together(whole, graph)


@dataclass(frozen=True, slots=True)
class _GridCells:
    """Which cells of a detector's grids are left in a smaller input, and how counts and sides change with it."""

    old_total: int
    kept: NDArray[np.int64]
    counts: dict[int, int]
    sides: dict[tuple[int, int], tuple[int, int]]

    @classmethod
    def cut(cls, old_wh: tuple[int, int], new_wh: tuple[int, int], strides: Sequence[int]) -> Self:
        kept, counts, sides, total = [], {}, {}, 0
        for stride in strides:
            columns, rows = old_wh[0] // stride, old_wh[1] // stride
            left = np.arange(rows * columns).reshape(rows, columns)[: new_wh[1] // stride, : new_wh[0] // stride]
            kept.append(total + left.ravel())
            counts[rows * columns] = left.size
            sides[rows, columns] = (left.shape[0], left.shape[1])
            total += rows * columns
        counts[total] = sum(map(len, kept))
        return cls(total, np.concatenate(kept), counts, sides)

    def reshaped(self, shape: NDArray[Any]) -> NDArray[Any]:
        numbers = shape.tolist()
        if tuple(numbers[-2:]) in self.sides:
            numbers[-2:] = self.sides[numbers[-2], numbers[-1]]
        elif tuple(numbers[1:3]) in self.sides:
            numbers[1:3] = self.sides[numbers[1], numbers[2]]
        # The first two axes are pictures and channels; a channel count may well equal a cell count.
        return np.array([*numbers[:1], *(self.counts.get(number, number) for number in numbers[1:])])


def _shape_names(graph: _Message) -> tuple[set[str], set[str]]:
    """Names of the constants that give shapes to reshape or expand to, and sizes to resize to."""
    reshapes, resizes = set(), set()
    for node in _nodes(graph):
        op, inputs = node.text(_NODE_OP), node.texts(_NODE_INPUT)
        if op in ("Reshape", "Expand") and len(inputs) > 1:
            reshapes.add(inputs[1])
        elif op == "Resize" and len(inputs) > 3:
            resizes.add(inputs[3])
    return reshapes, resizes


def _nodes(graph: _Message) -> Iterator[_Message]:
    return (_Message.read(data) for data in graph.all(_GRAPH_NODE))


def _with_shape(info: bytes, counts: Mapping[int, int]) -> bytes:
    """An input or output with some axes of its shape, given by their lengths, changed to others."""

    def axis_changed(data: bytes) -> bytes:
        return _Message(
            [
                (number, wire, counts.get(value, value) if isinstance(value, int) and number == _DIM_VALUE else value)
                for number, wire, value in _Message.read(data).fields
            ]
        ).written()

    def inside(number: int, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        return lambda data: _Message.read(data).changed(number, change).written()

    return inside(_INFO_TYPE, inside(_TYPE_TENSOR, inside(_TENSOR_SHAPE, inside(_SHAPE_DIM, axis_changed))))(info)


def with_metadata(model: bytes, metadata: Mapping[str, str]) -> bytes:
    """Add notes to a model, in place of those of the same name.

    Args:
        model: An ONNX file.
        metadata: Notes by name, such as Ultralytics' ``names``, ``task``, ``kpt_shape`` and ``imgsz``.

    Raises:
        ValueError: The file is no ONNX model.
    """
    whole = _Message.read(model)
    kept = [
        field
        for field in whole.fields
        if field[0] != _MODEL_METADATA
        or not isinstance(field[2], bytes)
        or _Message.read(field[2]).text(_ENTRY_KEY) not in metadata
    ]
    added = [
        _part(_MODEL_METADATA, _Message([_text(_ENTRY_KEY, key), _text(_ENTRY_VALUE, value)]))
        for key, value in metadata.items()
    ]
    return _Message([*kept, *added]).written()
