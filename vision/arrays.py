"""Array aliases, and the one check that every struct of arrays makes of its shapes."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]
ImageArray: TypeAlias = NDArray[np.uint8]


def check_shape(name: str, array: NDArray[Any], expected: Sequence[int | str]) -> None:
    """Raise unless an array has the expected shape.

    Args:
        name: What to call the array in the message.
        array: The array to look at.
        expected: One entry an axis: a number it must equal, or a letter for "any length".

    Raises:
        ValueError: The number of axes or a fixed length differs; the message gives both shapes.
    """
    if array.shape == expected:
        return
    if array.ndim == len(expected):
        # A plain loop, not all(...): this runs thousands of times a second.
        for have, want in zip(array.shape, expected, strict=True):
            if have != want and not isinstance(want, str):
                break
        else:
            return
    wanted = ", ".join(str(axis) for axis in expected)
    raise ValueError(f"{name}: expected shape ({wanted}), got {array.shape}")
