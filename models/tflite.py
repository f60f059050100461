"""Reading TensorFlow Lite files: the operators and tensors of their first graph.

Only what a converter needs is read, straight from the FlatBuffers layout of TensorFlow's ``schema.fbs``, so that no
further package is needed. A file should have been checked against its checksum before: a broken one raises
``ValueError``, but nothing more is promised of it.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IDENTIFIER = b"TFL3"

_TYPES: dict[int, type[np.generic]] = {
    0: np.float32,
    1: np.float16,
    2: np.int32,
    3: np.uint8,
    4: np.int64,
    9: np.int8,
}
# Numbers of BuiltinOperator in schema.fbs.
_OPERATORS = {
    0: "ADD",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    14: "LOGISTIC",
    17: "MAX_POOL_2D",
    22: "RESHAPE",
    23: "RESIZE_BILINEAR",
    34: "PAD",
    97: "RESIZE_NEAREST_NEIGHBOR",
    114: "QUANTIZE",
}
# Fields of each operator's options in the order of schema.fbs, with their width; "" stands for one that has gone.
_OPTIONS: dict[str, tuple[tuple[str, str, int], ...]] = {
    "ADD": (("activation", "b", 0),),
    "CONCATENATION": (("axis", "i", 0), ("activation", "b", 0)),
    "CONV_2D": (
        ("padding", "b", 0),
        ("stride_w", "i", 0),
        ("stride_h", "i", 0),
        ("activation", "b", 0),
        ("dilation_w", "i", 1),
        ("dilation_h", "i", 1),
    ),
    "DEPTHWISE_CONV_2D": (
        ("padding", "b", 0),
        ("stride_w", "i", 0),
        ("stride_h", "i", 0),
        ("multiplier", "i", 0),
        ("activation", "b", 0),
        ("dilation_w", "i", 1),
        ("dilation_h", "i", 1),
    ),
    "MAX_POOL_2D": (
        ("padding", "b", 0),
        ("stride_w", "i", 0),
        ("stride_h", "i", 0),
        ("filter_w", "i", 0),
        ("filter_h", "i", 0),
        ("activation", "b", 0),
    ),
    "RESIZE_BILINEAR": (("", "i", 0), ("", "i", 0), ("align_corners", "?", 0), ("half_pixel_centers", "?", 0)),
    "RESIZE_NEAREST_NEIGHBOR": (("align_corners", "?", 0), ("half_pixel_centers", "?", 0)),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a graph.

    Attributes:
        name: Its name in the file; may be empty or not the only one.
        shape: Its shape.
        dtype: What its elements are.
        content: Its elements, where the file carries them; None for what is computed.
        scale: Quantisation scales, shape (k,); empty if it is not quantised. Value = scale * (element - zero point).
        zero_point: Zero points, shape (k,).
        axis: Which axis the scales belong to, where there are several.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    content: NDArray[Any] | None
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int


@dataclass(frozen=True, slots=True)
class Operator:
    """One step of a graph.

    Attributes:
        kind: What it does, as schema.fbs names it; ``BUILTIN_n`` for one that is not read here.
        inputs: Numbers of the tensors it takes; -1 for one left out.
        outputs: Numbers of the tensors it makes.
        options: Its settings by name.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int]


@dataclass(frozen=True, slots=True)
class Graph:
    """The first graph of a file.

    Attributes:
        tensors: All tensors; operators name them by their place here.
        operators: Steps in the order to carry them out.
        inputs: Tensors to give.
        outputs: Tensors to take.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graph(content: bytes) -> Graph:
    """Read the first graph of a TensorFlow Lite file.

    Raises:
        ValueError: It is no such file, it is broken, or a tensor is of a type not read here.
    """
    if content[4:8] != IDENTIFIER:
        raise ValueError(f"expected a TensorFlow Lite file (TFL3), got one that has {content[4:8]!r} there")
    try:
        return _graph(content)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"expected a TensorFlow Lite file, it is broken: {error}") from error


def _graph(content: bytes) -> Graph:
    model = _Table(content, struct.unpack_from("<I", content, 0)[0])
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    buffers = model.tables(4)
    graphs = model.tables(2)
    if not graphs:
        raise ValueError("expected a TensorFlow Lite file with a graph, it has none")
    graph = graphs[0]
    return Graph(
        tuple(_tensor(table, buffers) for table in graph.tables(0)),
        tuple(_operator(table, codes) for table in graph.tables(3)),
        tuple(graph.numbers(1, "i").tolist()),
        tuple(graph.numbers(2, "i").tolist()),
    )


def _tensor(table: "_Table", buffers: "list[_Table]") -> Tensor:
    kind = table.number(1, "b")
    if kind not in _TYPES:
        raise ValueError(f"tensor {table.text(3)}: its type {kind} is not one of those read ({sorted(_TYPES)})")
    dtype = np.dtype(_TYPES[kind])
    shape = tuple(table.numbers(0, "i").tolist())
    raw = buffers[table.number(2, "I")].numbers(0, "B")
    content = np.frombuffer(raw.tobytes(), dtype.newbyteorder("<")).reshape(shape) if len(raw) else None
    quantisation = table.table(4)
    return Tensor(
        table.text(3),
        shape,
        dtype,
        content,
        np.zeros(0, np.float32) if quantisation is None else quantisation.numbers(2, "f"),
        np.zeros(0, np.int64) if quantisation is None else quantisation.numbers(3, "q"),
        0 if quantisation is None else quantisation.number(6, "i"),
    )


def _operator(table: "_Table", codes: list[int]) -> Operator:
    code = codes[table.number(0, "I")]
    kind = _OPERATORS.get(code, f"BUILTIN_{code}")
    options: dict[str, int] = {}
    given = table.table(4)
    for field, (name, width, default) in enumerate(_OPTIONS.get(kind, ())):
        if name:
            options[name] = default if given is None else given.number(field, width, default)
    return Operator(kind, tuple(table.numbers(1, "i").tolist()), tuple(table.numbers(2, "i").tolist()), options)


@dataclass(frozen=True, slots=True)
class _Table:
    """A FlatBuffers table: fields by number, absent ones have their default."""

    content: bytes
    at: int

    def _field(self, field: int) -> int:
        """Where a field lies; 0 if it is absent."""
        vtable = self.at - struct.unpack_from("<i", self.content, self.at)[0]
        if 4 + 2 * field >= struct.unpack_from("<H", self.content, vtable)[0]:
            return 0
        offset = int(struct.unpack_from("<H", self.content, vtable + 4 + 2 * field)[0])
        return self.at + offset if offset else 0

    def number(self, field: int, width: str, default: int = 0) -> int:
        at = self._field(field)
        return int(struct.unpack_from(f"<{width}", self.content, at)[0]) if at else default

    def _pointed(self, at: int) -> int:
        return at + int(struct.unpack_from("<I", self.content, at)[0])

    def table(self, field: int) -> "_Table | None":
        at = self._field(field)
        return _Table(self.content, self._pointed(at)) if at else None

    def tables(self, field: int) -> "list[_Table]":
        at = self._field(field)
        if not at:
            return []
        start = self._pointed(at)
        count = struct.unpack_from("<I", self.content, start)[0]
        return [_Table(self.content, self._pointed(start + 4 + 4 * row)) for row in range(count)]

    def numbers(self, field: int, width: str) -> NDArray[Any]:
        dtype = np.dtype(f"<{ {'i': 'i4', 'f': 'f4', 'q': 'i8', 'B': 'u1'}[width] }")
        at = self._field(field)
        if not at:
            return np.zeros(0, dtype)
        start = self._pointed(at)
        count = int(struct.unpack_from("<I", self.content, start)[0])
        end = start + 4 + count * dtype.itemsize
        if end > len(self.content):
            raise IndexError("a list goes beyond the end")
        return np.frombuffer(self.content[start + 4 : end], dtype)

    def text(self, field: int) -> str:
        return bytes(self.numbers(field, "B")).decode("utf-8")
