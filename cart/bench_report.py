"""The page of ``tillfree bench --report``: speed against accuracy, ours and the peers', as plots and tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cart.bench import Measurement
from cart.drawing import page_template, round_step
from cart.seeing_bench import CameraLoad, SpeedPoint

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 150, 16, 46


@dataclass(frozen=True, slots=True)
class PlotPoint:
    """One dot of a plot: what it is, how fast, how good, and whether it is another program's."""

    name: str
    frames_per_s: float
    score: float
    is_peer: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """One line of a plot's grid: where it lies, in the plot's own units, and what it says."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One dot where it is drawn, with its name beside it."""

    x: float
    y: float
    text_y: float
    name: str
    is_peer: bool


@dataclass(frozen=True, slots=True)
class Plot:
    """A finished plot: speed to the right in powers of ten, the score upwards."""

    title: str
    caption: str
    score_name: str
    dots: tuple[Dot, ...]
    columns: tuple[Tick, ...]
    rows: tuple[Tick, ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = _HEIGHT - _BOTTOM


def speed_plot(title: str, caption: str, score_name: str, points: Sequence[PlotPoint]) -> Plot:
    """Lay a plot out.

    Args:
        title: Above it.
        caption: Below it.
        score_name: What goes upwards.
        points: What is drawn, at least one, speeds above 0; one without a score is left out.

    Raises:
        ValueError: There is no point to draw.
    """
    drawn = [point for point in points if math.isfinite(point.score) and point.frames_per_s > 0]
    if not drawn:
        raise ValueError(f"{title}: expected at least one point with a speed and a score, got none")
    speeds = [math.log10(point.frames_per_s) for point in drawn]
    low_x, high_x = min(speeds) - 0.1, max(speeds) + 0.1
    scores = [point.score for point in drawn]
    step = round_step(max(max(scores) - min(scores), 0.04), 5)
    low_y = step * math.floor(min(scores) / step - 0.2)
    high_y = step * math.ceil(max(scores) / step - 1e-9)

    def x(speed: float) -> float:
        return round(_LEFT + (speed - low_x) / (high_x - low_x) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(score: float) -> float:
        return round(_HEIGHT - _BOTTOM - (score - low_y) / (high_y - low_y) * (_HEIGHT - _BOTTOM - _TOP), 1)

    dots: list[Dot] = []
    above = -math.inf
    for point in sorted(drawn, key=lambda point: (-point.score, -point.frames_per_s)):
        text_y = max(y(point.score) + 4, above + 14)  # names never lie on each other, best on top
        above = text_y
        dots.append(Dot(x(math.log10(point.frames_per_s)), y(point.score), round(text_y, 1), point.name, point.is_peer))
    steps = [factor * 10.0**power for power in range(-2, 7) for factor in (1, 2, 5)]
    columns = [Tick(x(math.log10(step)), f"{step:g}") for step in steps if low_x <= math.log10(step) <= high_x]
    levels = [low_y + number * step for number in range(round((high_y - low_y) / step) + 1)]
    return Plot(
        title,
        caption,
        score_name,
        tuple(dots),
        tuple(columns),
        tuple(Tick(y(level), f"{level:.2f}") for level in levels),
    )


def write_bench_report(
    rows: Sequence[Measurement],
    speeds: Sequence[SpeedPoint],
    loads: Sequence[CameraLoad],
    folder: Path,
    *,
    tracking: Sequence[PlotPoint] = (),
    notes: Sequence[str] = (),
    command: str = "tillfree bench",
) -> Path:
    """Write the page, ``index.html``, which needs no other file and no network.

    Args:
        rows: Everything measured.
        speeds: Following people through clips.
        loads: What cameras cost on one core.
        folder: Where it goes; made if it is absent.
        tracking: Trackers alone on given boxes, with their HOTA as the score, 0 to 1.
        notes: What could not be measured, and why.
        command: What made it.

    Returns:
        The page.

    Raises:
        OSError: It cannot be written.
    """
    plots = []
    for clip, model in dict.fromkeys((point.clip, point.model) for point in speeds):
        here = [point for point in speeds if (point.clip, point.model) == (clip, model)]
        default = next((point.reference for point in here if point.is_peer), "")
        points = [
            PlotPoint(point.name, point.frames_per_s, point.f1, point.is_peer)
            for point in here
            if point.is_peer or point.reference == default
        ]
        if any(math.isfinite(point.score) for point in points):
            plots.append(
                speed_plot(
                    f"{clip}, {model}",
                    f"Frames a second with all cores. F1 at IoU 0.5 with the boxes of {default}; another peer's dot is "
                    "at 1 because it is its own reference.",
                    "agreement of boxes, F1",
                    points,
                )
            )
    if tracking:
        plots.append(speed_plot("Tracking alone, on given boxes", "Frames a second of one core.", "HOTA", tracking))
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "index.html"
    text = page_template("bench.html.j2").render(
        rows=rows, speeds=speeds, loads=loads, plots=plots, notes=notes, command=command
    )
    page.write_text(text, encoding="utf-8")
    return page
