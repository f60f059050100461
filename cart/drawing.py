"""What the HTML pages share: their template environment, round axes, thinned curves and honest percentages."""

import math

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from vision.arrays import FloatArray

_CONTROLS = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127), "\ufffd")


def page_template(name: str) -> Template:
    """A template of ``cart/web`` that escapes everything and knows no undefined names."""
    environment = Environment(
        loader=PackageLoader("cart", "web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    return environment.get_template(name)


def _printable(value: object) -> object:
    # HTML has no place for most control characters, and product names come from strangers.
    return value.translate(_CONTROLS) if type(value) is str else value


def round_step(span: float, most: int) -> float:
    """Return the smallest step of 1, 2 or 5 times a power of ten that divides a span into at most ``most`` parts.

    >>> round_step(17, 5), round_step(0.9, 5)
    (5.0, 0.2)
    """
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def percent(probability: float) -> str:
    """Write a probability; nothing that was only probable is rounded to certainty.

    >>> percent(0.999), percent(0.42), percent(1)
    ('> 99 %', '42 %', '100 %')
    """
    if 0.995 <= probability < 1:
        return "> 99 %"
    if 0 < probability < 0.005:
        return "< 1 %"
    return f"{100 * probability:.0f} %"


def thinned(times: FloatArray, levels: FloatArray, most: int) -> tuple[FloatArray, FloatArray]:
    """Keep the lowest and the highest level of every stretch, so that no spike of a long curve is lost.

    Args:
        times: Shape (n,).
        levels: Shape (n,); rows with nan are left out.
        most: About how many rows to keep.
    """
    known = np.isfinite(levels)
    times, levels = times[known], levels[known]
    if len(times) <= most:
        return times, levels
    kept: list[int] = []
    for rows in np.array_split(np.arange(len(times)), most // 2):
        kept += sorted({int(rows[np.argmin(levels[rows])]), int(rows[np.argmax(levels[rows])])})
    return times[kept], levels[kept]
