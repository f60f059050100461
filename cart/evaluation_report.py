"""Writes what an evaluation came to as one HTML page: scores, plots, and for every failure truth beside belief."""

import base64
import hashlib
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np

from cart.drawing import page_template, percent, round_step, thinned
from cart.evaluate import Evaluation, Summary
from cart.money import format_amount
from cart.scoring import BOUND, CALIBRATION_BINS, Belief, CalibrationBin, CaseScore, WrongLine
from store_sim.scale_comparison import ComparedCurve, PlateComparison
from store_sim.scales import PlateSettings
from store_sim.scenarios import Action
from store_sim.simulation import SCALES
from vision.arrays import FloatArray
from vision.shelf import Handling

CANDIDATES_SHOWN = 4
WRONG_LINES_SHOWN = 250
"""A page with more of them opens slowly and is read by nobody; the JSON file has them all."""

# Drawings are laid out in CSS pixels of their view box.
PLOT_PX = (560, 300)
PLOT_EDGES_PX = (64, 14, 26, 46)  # left, top, right, bottom
CURVE_PX = (560, 220)
CURVE_POINTS = 400
BAR_ROW_PX, BAR_LABEL_PX, BAR_PX, BAR_VALUE_PX = 30, 320, 420, 110
BAR_LABEL_LETTERS = 44
STORY_PX, STORY_EDGE_PX, STORY_LANE_PX = 1040, 16, 40

ASIDE_WORDS = {
    Action.HAND_OVER: "handed over",
    Action.DROP: "left behind",
    Action.CONSUME: "ate or drank",
    Action.CONCEAL: "put into a bag or pocket",
}

LESS, MINUS, TIMES = "\u2264", "\u2212", "\u00d7"


@dataclass(frozen=True, slots=True)
class ReportContext:
    """Where an evaluation comes from.

    Attributes:
        title: What was evaluated, for the heading.
        command: The command that made it, as typed.
        made_on: The date, for people.
        versions: (what, version) pairs: the project, Python, and what numbers depend on.
        sensors: What the store saw with, for people: ``scales, joints``.
    """

    title: str
    command: str = ""
    made_on: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    sensors: str = ""


def installed_versions() -> tuple[tuple[str, str], ...]:
    """Versions of what an evaluation's numbers depend on, for ``ReportContext``."""
    return (
        ("tillfree", version("tillfree")),
        ("Python", platform.python_version()),
        *((name, version(name)) for name in ("numpy", "scipy")),
    )


def write_evaluation_report(
    evaluation: Evaluation, folder: Path, context: ReportContext, plates: PlateComparison | None = None
) -> Path:
    """Write the page.

    Args:
        evaluation: What to show.
        folder: Where to; made if it is not there. Only ``index.html`` in it is written.
        context: Where it comes from.
        plates: How like real plates the simulated ones are; None to leave that section out.

    Returns:
        The path of ``index.html``, which needs nothing beside it: styles and drawings are inside.

    Raises:
        OSError: The folder or the file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "index.html"
    page.write_text(render_evaluation_report(evaluation, context, plates), encoding="utf-8", errors="replace")
    return page


def render_evaluation_report(
    evaluation: Evaluation, context: ReportContext, plates: PlateComparison | None = None
) -> str:
    """Return the page as HTML text; see ``write_evaluation_report``."""
    summary, classes = evaluation.summary(), evaluation.by_class()
    failures, hidden = _failures(evaluation.cases)
    script = files("cart").joinpath("web/sort.js").read_text(encoding="utf-8")
    return page_template("evaluation.html.j2").render(
        context=context,
        meta=_meta(context),
        facts=_facts(evaluation, summary),
        failed=evaluation.failed,
        remarks=_remarks(evaluation.cases),
        classes=[_row(name, each) for name, each in classes],
        class_bars=_class_bars(classes),
        cases=_case_rows(evaluation.cases, failures),
        wrong=[failure for failure in failures if failure.wrong_charges],
        plots=[
            plot
            for plot in (
                _waits_plot([wait_s for case in evaluation.cases for wait_s in case.receipts_s]),
                _reliability_plot(evaluation.calibration(), summary.calibration_error),
            )
            if plot is not None
        ],
        failures=failures,
        hidden=hidden,
        plates=plates,
        plate_names=[] if plates is None else [words for _, words in _plate_names(plates)],
        plate_settings=_plate_settings() if SCALES in context.sensors else [],
        curves=[] if plates is None else [_compared(curve, plates) for curve in plates.curves],
        statistics=[] if plates is None else _statistics(plates),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def _meta(context: ReportContext) -> str:
    """Date, sensors and versions on one line."""
    parts = [context.made_on, f"seen with {context.sensors}" if context.sensors else ""]
    parts += [f"{what} {version}" for what, version in context.versions]
    return " \u00b7 ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class _Fact:
    term: str
    value: str
    note: str = ""


def _facts(evaluation: Evaluation, summary: Summary) -> list[_Fact]:
    cases = evaluation.cases
    names, seeds = {case.name for case in cases}, {case.seed for case in cases}
    played = _count(len(names), "case")
    facts = [
        _Fact("Played", played, f"{_count(len(seeds), 'seed')}, {_length(summary.store_s)} of store time"),
        _Fact("Mean F1", _share(summary.mean_f1), "of the receipts, each case alike"),
        _Fact(
            "Pooled F1",
            _share(summary.f1),
            f"precision {_share(summary.precision)}, recall {_share(summary.recall)}",
        ),
        _Fact("Interactions F1", _share(summary.interaction_f1), "who, what, how many, where, when"),
        _Fact(
            "To review",
            _share(summary.review_rate),
            f"{summary.reviewed} of {_count(summary.visits, 'visit')}",
        ),
        _Fact("Wrong charges", _wrong_rate(summary), f"of 1,000 units; {_wrong_counts(summary)}"),
    ]
    if summary.receipt_median_s is not None:
        facts.append(
            _Fact(
                "Exit to receipt",
                f"{summary.receipt_median_s:.1f} s",
                f"median; 95 % within {summary.receipt_p95_s:.1f} s, longest {summary.receipt_max_s:.1f} s",
            )
        )
    for money in summary.money_wrong:
        over, under = (
            format_amount(round(minor), money.currency)
            for minor in (money.overcharged_minor_per_1000_visits, money.undercharged_minor_per_1000_visits)
        )
        facts.append(_Fact("Overcharged", over, f"{money.currency} in 1,000 visits; undercharged {under}"))
    if summary.calibration_error is not None:
        facts.append(
            _Fact("Calibration error", _share(summary.calibration_error), f"{CALIBRATION_BINS} bins of equal mass")
        )
    if summary.cpu_s > 0:
        facts.append(
            _Fact("Speed", f"{summary.store_s / summary.cpu_s:.0f}{TIMES}", "real time on one core, played and judged")
        )
    return facts


def _wrong_rate(summary: Summary) -> str:
    return f"{summary.wrong_charges_per_1000_units:.1f}"


def _wrong_counts(summary: Summary) -> str:
    bound = summary.wrong_charges_per_1000_units_upper
    said = f"{summary.wrong_charges} of {_count(summary.unreviewed_units, 'unit')} charged without review"
    return said if bound is None else f"{said}; {LESS} {bound:.1f} with {100 * BOUND:.0f} % confidence"


def _remarks(cases: Sequence[CaseScore]) -> list[str]:
    found: dict[str, list[str]] = {}
    for case in cases:
        for remark in case.remarks:
            found.setdefault(remark, []).append(f"{case.name} (seed {case.seed})")
    return [f"{', '.join(names)}: {remark}" for remark, names in found.items()]


@dataclass(frozen=True, slots=True)
class _Row:
    """Numbers of a class, written out."""

    name: str
    cases: int
    mean_f1: str
    f1: str
    precision: str
    recall: str
    interaction_f1: str
    visits: int
    review_rate: str
    wrong: str
    bound: str
    receipt: str


def _row(name: str, summary: Summary) -> _Row:
    bound = summary.wrong_charges_per_1000_units_upper
    return _Row(
        name,
        summary.cases,
        _share(summary.mean_f1),
        _share(summary.f1),
        _share(summary.precision),
        _share(summary.recall),
        _share(summary.interaction_f1),
        summary.visits,
        _share(summary.review_rate),
        _wrong_rate(summary),
        "" if bound is None else f"{LESS} {bound:.0f}",
        "" if summary.receipt_p95_s is None else f"{summary.receipt_p95_s:.1f} s",
    )


@dataclass(frozen=True, slots=True)
class _ClassBar:
    label: str
    top: float
    mean_width: float
    pooled_x: float
    value: str


@dataclass(frozen=True, slots=True)
class _ClassBars:
    """F1 of each class as bars; ticks are (x, text)."""

    width: float
    height: float
    left: float
    bars: tuple[_ClassBar, ...]
    ticks: tuple[tuple[float, str], ...]
    text: str


def _class_bars(classes: Sequence[tuple[str, Summary]]) -> _ClassBars:
    height = BAR_ROW_PX * len(classes) + 26
    return _ClassBars(
        BAR_LABEL_PX + BAR_PX + BAR_VALUE_PX,
        height,
        BAR_LABEL_PX,
        tuple(
            _ClassBar(
                _shortened(name, BAR_LABEL_LETTERS),
                BAR_ROW_PX * place + 6,
                round(BAR_PX * summary.mean_f1, 1),
                round(BAR_LABEL_PX + BAR_PX * summary.f1, 1),
                _share(summary.mean_f1),
            )
            for place, (name, summary) in enumerate(classes)
        ),
        tuple((BAR_LABEL_PX + BAR_PX * k / 4, f"{25 * k} %") for k in range(5)),
        "Mean F1 by class: " + ", ".join(f"{name} {_share(summary.mean_f1)}" for name, summary in classes),
    )


@dataclass(frozen=True, slots=True)
class _CaseRow:
    """A case over its seeds."""

    name: str
    class_name: str
    mean_f1: str
    mean_f1_value: float
    seeds: str
    interaction_f1: str
    tp: int
    fp: int
    fn: int
    visits: int
    reviewed: int
    wrong_charges: int
    receipt: str
    receipt_value: float
    failure: int | None


def _case_rows(cases: Sequence[CaseScore], failures: Sequence["_Failure"]) -> list[_CaseRow]:
    groups: dict[tuple[str, str], list[CaseScore]] = {}
    for case in cases:
        groups.setdefault((case.class_name, case.name), []).append(case)
    numbers: dict[str, int] = {}
    for failure in failures:
        numbers.setdefault(failure.name, failure.number)
    rows = []
    for (class_name, name), own in groups.items():
        mean = sum(case.f1 for case in own) / len(own)
        waits = [case.receipt_s for case in own if case.receipt_s is not None]
        rows.append(
            _CaseRow(
                name,
                class_name,
                _share(mean),
                mean,
                " ".join(f"{case.f1:.2f}" for case in own) if len(own) > 1 else "",
                _share(sum(case.interaction_f1 for case in own) / len(own)),
                sum(case.tp for case in own),
                sum(case.fp for case in own),
                sum(case.fn for case in own),
                sum(case.visits for case in own),
                sum(case.reviewed for case in own),
                sum(case.wrong_charges for case in own),
                f"{max(waits):.1f} s" if waits else "",
                max(waits, default=0.0),
                numbers.get(name),
            )
        )
    return sorted(rows, key=lambda row: (row.mean_f1_value, row.class_name, row.name))


@dataclass(frozen=True, slots=True)
class _Tick:
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class _Rect:
    left: float
    top: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class _Dot:
    x: float
    y: float
    radius: float
    title: str


@dataclass(frozen=True, slots=True)
class _Line:
    points: str
    look: str


@dataclass(frozen=True, slots=True)
class _Plot:
    """A drawing with two axes."""

    title: str
    caption: str
    text: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[_Tick, ...]
    y_ticks: tuple[_Tick, ...]
    x_label: str
    y_label: str
    rects: tuple[_Rect, ...] = ()
    dots: tuple[_Dot, ...] = ()
    lines: tuple[_Line, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Axes:
    """Maps numbers to a drawing of ``size_px``."""

    size_px: tuple[int, int]
    low: tuple[float, float]
    high: tuple[float, float]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the field."""
        left, top, right, bottom = PLOT_EDGES_PX
        return left, top, self.size_px[0] - right, self.size_px[1] - bottom

    def x(self, value: float) -> float:
        left, _, right, _ = self.box
        return round(left + (value - self.low[0]) / (self.high[0] - self.low[0]) * (right - left), 1)

    def y(self, value: float) -> float:
        _, top, _, bottom = self.box
        return round(bottom - (value - self.low[1]) / (self.high[1] - self.low[1]) * (bottom - top), 1)

    def points(self, xs: FloatArray, ys: FloatArray) -> str:
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in zip(xs.tolist(), ys.tolist(), strict=True))

    def ticks(self, axis: int, most: int, unit: str, scale: float = 1.0) -> tuple[_Tick, ...]:
        """Round values along an axis; ``scale`` turns them into what is written."""
        low, high = self.low[axis], self.high[axis]
        step = round_step(high - low, most)
        place = self.x if axis == 0 else self.y
        return tuple(
            _Tick(place(k * step), f"{round(k * step * scale, 9):g}{unit}".replace("-", MINUS))
            for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        )


def _waits_plot(waits_s: Sequence[float]) -> _Plot | None:
    """How long shoppers waited for their receipts."""
    if not waits_s:
        return None
    low, high = min(0.0, *waits_s), max(1.0, *waits_s)
    width_s = round_step(high - low, 20)
    first, last = math.floor(low / width_s), math.ceil(high / width_s)
    counts, edges = np.histogram(waits_s, np.arange(first, last + 1) * width_s)
    axes = _Axes(PLOT_PX, (float(edges[0]), 0.0), (float(edges[-1]), float(counts.max()) * 1.05))
    left, top, right, bottom = axes.box
    rects = tuple(
        _Rect(
            axes.x(edge) + 1,
            axes.y(count),
            round(axes.x(edge + width_s) - axes.x(edge) - 2, 1),
            round(bottom - axes.y(count), 1),
            f"{edge:g} to {edge + width_s:g} s: {_count(count, 'receipt')}",
        )
        for edge, count in zip(edges[:-1].tolist(), counts.tolist(), strict=True)
        if count
    )
    median = float(np.median(waits_s))
    return _Plot(
        title="How long a receipt takes",
        caption="Seconds of store time from the true exit of an account\u2019s last person to the receipt. Below 0: "
        "the store took somebody for gone who was still there.",
        text=f"Histogram of {_count(len(waits_s), 'receipt')}: median {median:.1f} s, longest {max(waits_s):.1f} s",
        width=PLOT_PX[0],
        height=PLOT_PX[1],
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=axes.ticks(0, 8, " s"),
        y_ticks=tuple(tick for tick in axes.ticks(1, 5, "") if "." not in tick.text),
        x_label="from exit to receipt",
        y_label="receipts",
        rects=rects,
    )


def _reliability_plot(bins: Sequence[CalibrationBin], error: float | None) -> _Plot | None:
    """How often units were right, by how sure the store was of them."""
    if not bins or error is None:
        return None
    lowest = min(min(entry.probability, entry.right) for entry in bins)
    low = max(0.0, min(0.8, math.floor(lowest * 10) / 10))
    axes = _Axes(PLOT_PX, (low, low), (1.0, 1.0))
    left, top, right, bottom = axes.box
    most = max(entry.units for entry in bins)
    units = sum(entry.units for entry in bins)
    return _Plot(
        title="Sure and right",
        caption=f"Each dot is about one {CALIBRATION_BINS}th of the {units:.0f} units in all carts. On the line the "
        f"store is as often right as it says; below it, it is too sure. Expected calibration error {_share(error)}.",
        text="Reliability plot: "
        + ", ".join(f"{percent(entry.probability)} sure, {percent(entry.right)} right" for entry in bins),
        width=PLOT_PX[0],
        height=PLOT_PX[1],
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=axes.ticks(0, 5, " %", 100),
        y_ticks=axes.ticks(1, 5, " %", 100),
        x_label="how sure the store was",
        y_label="how often right",
        dots=tuple(
            _Dot(
                axes.x(entry.probability),
                axes.y(entry.right),
                round(4 + 3 * math.sqrt(entry.units / most), 1),
                f"{entry.units:.0f} units: {percent(entry.probability)} sure, {percent(entry.right)} right",
            )
            for entry in bins
        ),
        lines=(_Line(f"{left},{bottom} {right},{top}", "ideal"),),
    )


def _compared(curve: ComparedCurve, plates: PlateComparison) -> _Plot:
    """A real and a simulated plate around the same deed."""
    real = thinned(curve.real_s, curve.real_g, CURVE_POINTS)
    simulated = thinned(curve.simulated_s, curve.simulated_g, CURVE_POINTS)
    times = np.concatenate([real[0], simulated[0], [0.0, 0.1]])
    grams = np.concatenate([real[1], simulated[1], [0.0, 1.0]])
    spare = 0.06 * float(np.ptp(grams))
    axes = _Axes(
        CURVE_PX, (float(times.min()), float(grams.min()) - spare), (float(times.max()), float(grams.max()) + spare)
    )
    left, top, right, bottom = axes.box
    return _Plot(
        title=curve.title,
        caption=f"Plate {curve.plate_id}",
        text=f"{curve.title}: weight on plate {curve.plate_id}, real and simulated",
        width=CURVE_PX[0],
        height=CURVE_PX[1],
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=axes.ticks(0, 8, " s"),
        y_ticks=axes.ticks(1, 5, " g"),
        x_label="from the deed",
        y_label="",
        lines=(_Line(axes.points(*real), "real"), _Line(axes.points(*simulated), "simulated")),
        legend=_plate_names(plates),
    )


def _plate_settings() -> list[tuple[str, str]]:
    """How the simulated plates behave: every setting and its value."""
    usual = PlateSettings()
    return [(one.name, f"{getattr(usual, one.name):g}".replace("-", MINUS)) for one in fields(usual)]


def _plate_names(plates: PlateComparison) -> tuple[tuple[str, str], ...]:
    """Kind and words of both recordings: ``real: BENCHMARK-1``, without saying one thing twice."""
    named = (("real", plates.real_name), ("simulated", plates.simulated_name))
    return tuple((kind, kind if name.casefold() == kind else f"{kind}: {name}") for kind, name in named)


def _statistics(plates: PlateComparison) -> list[tuple[str, str, str, str]]:
    def written(value: float, unit: str) -> str:
        if not math.isfinite(value):
            return "none seen"
        number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
        return f"{number} {unit}".strip().replace("-", MINUS)

    rows = []
    for row in plates.statistics:
        both = math.isfinite(row.real) and math.isfinite(row.simulated) and row.real != 0
        rows.append(
            (
                row.name,
                written(row.real, row.unit),
                written(row.simulated, row.unit),
                f"{row.simulated / row.real:.2f}".replace("-", MINUS) if both else "",
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class _Mark:
    points: str
    look: str
    title: str


@dataclass(frozen=True, slots=True)
class _StoryLane:
    label: str
    top: float
    spans: tuple[_Rect, ...]
    marks: tuple[_Mark, ...]


@dataclass(frozen=True, slots=True)
class _Story:
    """A wrong line: what is wrong with it, and truth beside belief along time."""

    line: WrongLine
    verdict: str
    status: str
    status_look: str
    width: float
    height: float
    ticks: tuple[_Tick, ...]
    lanes: tuple[_StoryLane, ...]
    text: str
    deeds: tuple[tuple[str, str, str], ...]
    asides: tuple[str, ...]
    beliefs: tuple["_Told", ...]


@dataclass(frozen=True, slots=True)
class _Told:
    """A belief, for people."""

    clock: str
    sentence: str
    candidates: tuple[str, ...]
    recorded: str


@dataclass(frozen=True, slots=True)
class _Failure:
    """A case with a seed in which something was wrong."""

    number: int
    name: str
    class_name: str
    seed: int
    f1: str
    counts: str
    wrong_charges: int
    money: str
    stories: tuple[_Story, ...]


def _failures(cases: Sequence[CaseScore]) -> tuple[list[_Failure], int]:
    """Cases with something wrong, the worst first, and how many wrong lines are left out."""
    wrong = sorted((case for case in cases if case.wrong_lines), key=lambda case: (-case.wrong_charges, case.f1))
    found: list[_Failure] = []
    shown = 0
    for number, case in enumerate(wrong, start=1):
        lines = case.wrong_lines[: max(0, WRONG_LINES_SHOWN - shown)]
        if not lines:
            break
        shown += len(lines)
        found.append(
            _Failure(
                number,
                case.name,
                case.class_name,
                case.seed,
                _share(case.f1),
                f"{case.tp} right, {case.fp} wrong, {case.fn} missed",
                case.wrong_charges,
                f"{format_amount(case.overcharged_minor, case.currency)} {case.currency}" if case.currency else "",
                tuple(_story(line) for line in lines),
            )
        )
    return found, sum(len(case.wrong_lines) for case in cases) - shown


def _story(line: WrongLine) -> _Story:
    excess = line.charged - line.due
    verdict = f"{excess} too many" if excess > 0 else f"{-excess} missed"
    if not line.statuses:
        status, look = "no visit was ever closed", "needs_review"
    elif all(status == "needs_review" for status in line.statuses):
        status, look = "a person looks at it", "needs_review"
    else:
        status, look = "nobody looks at it", "wrong"
    moments = [deed.t_s for deed in line.deeds] + [belief.t_s for belief in line.beliefs]
    moments += [t for span in (*line.stays_s, *line.visits_s) for t in span]
    low, high = (min(moments), max(moments)) if moments else (0.0, 1.0)
    high = max(high, low + 1)

    def x(t_s: float) -> float:
        return round(STORY_EDGE_PX + (t_s - low) / (high - low) * (STORY_PX - 2 * STORY_EDGE_PX), 1)

    def spans(times: Sequence[tuple[float, float]], top: float, said: str) -> tuple[_Rect, ...]:
        return tuple(
            _Rect(x(begin), top, round(max(3.0, x(end) - x(begin)), 1), 14, f"{said} from {begin:.1f} to {end:.1f} s")
            for begin, end in times
        )

    def mark(t_s: float, top: float, kind: Handling, own: bool, title: str) -> _Mark:
        tall = -9 if kind is Handling.PICK else 9
        centre, middle = x(t_s), top + 7
        points = (
            f"{centre - 7.5:.1f},{middle - tall * 0.7:.1f} {centre + 7.5:.1f},{middle - tall * 0.7:.1f} "
            f"{centre:.1f},{middle + tall * 0.9:.1f}"
        )
        return _Mark(points, f"{kind.value}{'' if own else ' other'}", title)

    tops = 24.0, 24.0 + STORY_LANE_PX
    step = round_step(high - low, 8)
    deeds = tuple(
        (
            f"{deed.t_s:.1f} s",
            f"{deed.shopper} {'took' if deed.kind is Handling.PICK else 'put back'} "
            f"{deed.quantity} {TIMES} {deed.product}",
            f"{deed.place}; {'nobody pays' if deed.payer is None else f'{deed.payer} pays'}",
        )
        for deed in line.deeds
    )
    beliefs = tuple(
        _Told(
            f"{belief.t_s:.1f} s",
            f"{'taken' if belief.kind is Handling.PICK else 'put back'}: {belief.quantity} {TIMES} "
            f"{belief.product or 'an unknown product'}, {belief.place}"
            + ("" if belief.delta_g is None else f", {belief.delta_g:+.0f} g".replace("-", MINUS)),
            _candidates(belief),
            f"in the cart of {belief.recorded_for}" if belief.recorded_for else "in nobody\u2019s cart",
        )
        for belief in line.beliefs
    )
    return _Story(
        line=line,
        verdict=verdict,
        status=status,
        status_look=look,
        width=STORY_PX,
        height=2 * STORY_LANE_PX + 32,
        ticks=tuple(
            _Tick(x(k * step), f"{k * step:g} s") for k in range(math.ceil(low / step), math.floor(high / step) + 1)
        ),
        lanes=(
            _StoryLane(
                "what happened",
                tops[0],
                spans(line.stays_s, tops[0], f"{line.payer}\u2019s people inside"),
                tuple(
                    mark(
                        deed.t_s,
                        tops[0],
                        deed.kind,
                        deed.payer == line.payer and deed.sku == line.sku,
                        f"{told[0]}: {told[1]}",
                    )
                    for deed, told in zip(line.deeds, deeds, strict=True)
                ),
            ),
            _StoryLane(
                "what was believed",
                tops[1],
                spans(line.visits_s, tops[1], f"visit of {line.payer}"),
                tuple(
                    mark(
                        belief.t_s,
                        tops[1],
                        belief.kind,
                        belief.recorded_for == line.payer and belief.product == line.product,
                        f"{told.clock}: {told.sentence}",
                    )
                    for belief, told in zip(line.beliefs, beliefs, strict=True)
                ),
            ),
        ),
        text=f"{line.product}, {line.payer}: {_count(len(line.deeds), 'deed')} in truth, "
        f"{_count(len(line.beliefs), 'interaction')} believed; the lists below say the same",
        deeds=deeds,
        asides=tuple(
            f"{aside.shopper} {ASIDE_WORDS[aside.action]} {aside.quantity}"
            + (f" to {aside.other}" if aside.other else "")
            + f", at {aside.t_s:.1f} s of the script"
            for aside in line.asides
        ),
        beliefs=beliefs,
    )


def _candidates(belief: Belief) -> tuple[str, ...]:
    """The most probable explanations of a belief, for people, and how much the others come to."""
    told = [
        f"{percent(probability)} {shopper}, {quantity} {TIMES} {product or 'an unknown product'}"
        for shopper, product, quantity, probability in belief.candidates[:CANDIDATES_SHOWN]
    ]
    others = belief.candidates[CANDIDATES_SHOWN:]
    if others:
        told.append(f"{percent(sum(each[3] for each in others))} {_count(len(others), 'other explanation')}")
    return tuple(told)


def _share(value: float) -> str:
    """A share as per cent with one decimal; not quite all is never written as all."""
    if not math.isfinite(value):
        return "none"
    if 0.9995 <= value < 1:
        return "> 99.9 %"
    return f"{100 * value:.1f} %" if 0 < value < 1 else f"{100 * value:.0f} %"


def _length(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "unknown length"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
