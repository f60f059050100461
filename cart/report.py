"""Writes what a replay saw and charged as one HTML page that a person can check: timeline, evidence and receipts."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cart.drawing import page_template, percent, round_step, thinned
from cart.money import format_amount, minor_digits
from tracking.types import WeightChange
from vision.arrays import ImageArray
from vision.shelf import Handling

STATUS_WORDS = {
    "charged": "charged",
    "needs_review": "needs review",
    "empty": "nothing taken",
    "no_account": "no account",
}

# Drawings are laid out in CSS pixels of their view box.
LANE_PX, LANE_TOP_PX, BAR_PX = 46, 8, 14
TIMELINE_PX, TIMELINE_PX_PER_S, TIMELINE_MOST_PX = 1040, 8, 8000
TIMELINE_EDGE_PX = 16
CURVE_PX = (560, 190)
CURVE_EDGES_PX = (80, 12, 14, 32)  # left, top, right, bottom
CURVE_POINTS = 500
MOMENT_MOST_PX, BIN_MOST_PX = 800, 360  # widest embedded pictures; the page holds all of them
JPEG_QUALITY = 82

TIMES, MINUS = "\u00d7", "\u2212"


@dataclass(frozen=True, slots=True)
class VisitRow:
    """One person in the store, from coming to leaving. Times are seconds from the recording's start.

    Attributes:
        shopper: Label, unique in the report; the other rows refer to it.
        entered_s: When they came.
        left_s: When they were last seen.
        status: ``charged``, ``needs_review``, ``empty`` or ``no_account``.
    """

    shopper: str
    entered_s: float
    left_s: float
    status: str


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One explanation of an interaction: who, what, how many, and how probable (0 to 1)."""

    shopper: str
    product: str
    quantity: int
    probability: float


@dataclass(frozen=True, slots=True)
class InteractionRow:
    """One pick or put-back with the evidence behind it. Times are seconds from the recording's start.

    Attributes:
        kind: Pick or put-back.
        t_s: Best guess of the moment.
        start_s: First contact.
        end_s: Last contact.
        place: Where, for people: ``gondola 1, shelf 5, plate 11`` or a drawn bin's name.
        product: Name of the most probable product, ``""`` when not known.
        quantity: Units.
        candidates: Who took what, most probable first; empty when nobody was in view.
        weight: The weight change behind it, if a scale spoke.
        before: Picture of the bin before, (h, w, 3) BGR, if a camera saw it.
        after: The same afterwards.
        picture: What a camera saw at the moment, (h, w, 3) BGR.
        charged_to: Whose cart it went to, ``""`` when to nobody's.
    """

    kind: Handling
    t_s: float
    start_s: float
    end_s: float
    place: str
    product: str
    quantity: int
    candidates: tuple[CandidateRow, ...] = ()
    weight: WeightChange | None = None
    before: ImageArray | None = None
    after: ImageArray | None = None
    picture: ImageArray | None = None
    charged_to: str = ""


@dataclass(frozen=True, slots=True)
class ReceiptLineRow:
    """One line of a receipt.

    Attributes:
        name: Product name as the catalogue has it.
        barcode: Its barcode.
        quantity: Units; negative when more came back than was taken.
        amount_minor: Price of the line in the currency's minor unit; None when the price is not known.
    """

    name: str
    barcode: str
    quantity: int
    amount_minor: int | None


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """What the reviewer of a visit is asked.

    Attributes:
        text: One sentence.
        answers: What it may be and how likely that is, likeliest first.
    """

    text: str
    answers: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """What a shopper gets to see.

    Attributes:
        shopper: Label, as in ``VisitRow``.
        status: ``charged``, ``needs_review``, ``empty`` or ``no_account``.
        currency: ISO 4217 code.
        total_minor: Sum in the currency's minor unit; None when not known.
        lines: What is on it.
        number: Receipt number, ``""`` if none was issued.
        tax_minor: Tax contained in the total, minor unit; None to leave it out.
        reasons: Why a person has to look at it, one sentence each; empty when nobody has to.
        questions: What that person is asked.

    Raises:
        ValueError: The currency is not an active ISO 4217 code.
    """

    shopper: str
    status: str
    currency: str
    total_minor: int | None
    lines: tuple[ReceiptLineRow, ...] = ()
    number: str = ""
    tax_minor: int | None = None
    reasons: tuple[str, ...] = ()
    questions: tuple[QuestionRow, ...] = ()

    def __post_init__(self) -> None:
        minor_digits(self.currency)


@dataclass(frozen=True, slots=True)
class HandRow:
    """A hand in a bin, seconds from the recording's start."""

    shopper: str
    place: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """Something a source had to leave out or repair, or a layout says of itself."""

    stream: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """Everything on the page.

    Attributes:
        title: What was replayed, for the heading.
        start_ns: Store clock at second 0 of all rows; places weight curves on the same clock.
        media_s: Length of the recording, seconds.
        wall_s: How long the replay took, seconds; nan if not measured.
        frames: Pictures read.
        visits: In the order they entered.
        interactions: In the order they happened.
        receipts: In the order they were issued.
        hands: Hands in bins.
        notices: What was doubtful about the input.
        remarks: Sentences for the summary, such as how a simulated visit compares with its truth.
    """

    title: str
    start_ns: int
    media_s: float
    wall_s: float
    frames: int
    visits: tuple[VisitRow, ...] = ()
    interactions: tuple[InteractionRow, ...] = ()
    receipts: tuple[ReceiptRow, ...] = ()
    hands: tuple[HandRow, ...] = ()
    notices: tuple[NoticeRow, ...] = ()
    remarks: tuple[str, ...] = ()


def write_report(report: ReplayReport, folder: Path) -> Path:
    """Write the page.

    Args:
        report: What to show.
        folder: Where to; made if it is not there. Only ``index.html`` in it is written.

    Returns:
        The path of ``index.html``, which needs nothing beside it: styles, drawings and pictures are inside.

    Raises:
        OSError: The folder or the file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "index.html"
    page.write_text(render_report(report), encoding="utf-8", errors="replace")
    return page


def render_report(report: ReplayReport) -> str:
    """Return the page as HTML text; see ``write_report``."""
    shoppers = list(dict.fromkeys(visit.shopper for visit in report.visits))
    stories = [_story(number, row, report, shoppers) for number, row in enumerate(report.interactions, start=1)]
    return page_template("report.html.j2").render(
        report=report,
        facts=_facts(report),
        reviews=[receipt for receipt in report.receipts if receipt.status == "needs_review"],
        receipts=[_slip(receipt, shoppers) for receipt in report.receipts],
        timeline=_timeline(report, stories, shoppers),
        stories=stories,
    )


@dataclass(frozen=True, slots=True)
class _Fact:
    term: str
    value: str
    note: str = ""


def _facts(report: ReplayReport) -> list[_Fact]:
    facts = [_Fact("Recording", _duration(report.media_s), _count(report.frames, "picture") if report.frames else "")]
    if math.isfinite(report.wall_s) and report.wall_s > 0:
        speed = report.media_s / report.wall_s
        facts.append(
            _Fact("Replayed in", _duration(report.wall_s), f"{speed:.{0 if speed >= 10 else 1}f} times real time")
        )
    facts.append(_Fact("Visits", str(len(report.visits))))
    picks = sum(row.kind is Handling.PICK for row in report.interactions)
    put_backs = len(report.interactions) - picks
    facts.append(
        _Fact("Interactions", str(picks + put_backs), f"{_count(picks, 'pick')}, {_count(put_backs, 'put-back')}")
    )
    charged = [receipt for receipt in report.receipts if receipt.status == "charged"]
    sums: dict[str, int] = {}
    for receipt in charged:
        sums[receipt.currency] = sums.get(receipt.currency, 0) + (receipt.total_minor or 0)
    money = " + ".join(f"{format_amount(total, currency)} {currency}" for currency, total in sums.items())
    facts.append(_Fact("Charged", money or "nothing", _count(len(charged), "receipt")))
    reviews = sum(receipt.status == "needs_review" for receipt in report.receipts)
    lost = sum(not interaction.charged_to for interaction in report.interactions)
    said = "a person decides" if reviews else "nothing is in doubt"
    if lost:
        said = f"{_count(lost, 'interaction')} {'is' if lost == 1 else 'are'} nobody's"
    facts.append(_Fact("For review", str(reviews), said))
    return facts


@dataclass(frozen=True, slots=True)
class _SlipLine:
    name: str
    barcode: str
    quantity: int
    unit: str
    amount: str


@dataclass(frozen=True, slots=True)
class _Slip:
    """A receipt as its reader sees it, amounts written out."""

    row: ReceiptRow
    colour: int
    status: str
    lines: tuple[_SlipLine, ...]
    total: str
    tax: str


def _slip(receipt: ReceiptRow, shoppers: Sequence[str]) -> _Slip:
    def written(amount_minor: int | None) -> str:
        return "no price" if amount_minor is None else format_amount(amount_minor, receipt.currency)

    lines = []
    for line in receipt.lines:
        priced = line.amount_minor is not None and line.quantity and line.amount_minor % line.quantity == 0
        unit = written((line.amount_minor or 0) // line.quantity) if priced else ""
        lines.append(_SlipLine(line.name, line.barcode, line.quantity, unit, written(line.amount_minor)))
    return _Slip(
        receipt,
        _colour(receipt.shopper, shoppers),
        STATUS_WORDS.get(receipt.status, receipt.status),
        tuple(lines),
        "open" if receipt.total_minor is None else f"{written(receipt.total_minor)} {receipt.currency}",
        "" if receipt.tax_minor is None else f"{written(receipt.tax_minor)} {receipt.currency}",
    )


@dataclass(frozen=True, slots=True)
class _Bar:
    """One candidate as a bar."""

    shopper: str
    product: str
    quantity: int
    percent: str
    width: float
    colour: int


@dataclass(frozen=True, slots=True)
class _Story:
    """One interaction, told for people."""

    number: int
    row: InteractionRow
    who: str
    colour: int
    verb: str
    clock: str
    span: str
    percent: str
    bars: tuple[_Bar, ...]
    unknown: str
    unknown_width: float
    curve: "_Curve | None"
    before: str
    after: str
    picture: str

    @property
    def is_beside(self) -> bool:
        """Whether the picture of the moment stands beside other evidence, or has the place alone."""
        return bool(self.curve or self.before or self.after)

    @property
    def sentence(self) -> str:
        what = f"{self.row.quantity} {TIMES} {self.row.product or 'an unknown product'}"
        return f"{self.clock}: {self.who or 'nobody known'} {self.verb} {what}, {self.row.place}, {self.percent}"


def _story(number: int, row: InteractionRow, report: ReplayReport, shoppers: Sequence[str]) -> _Story:
    first = row.candidates[0] if row.candidates else None
    who = row.charged_to or (first.shopper if first else "")
    own = [candidate for candidate in row.candidates if candidate.shopper == who]
    sure = max((candidate.probability for candidate in own), default=0.0)
    rest = max(0.0, 1 - sum(candidate.probability for candidate in row.candidates))
    return _Story(
        number=number,
        row=row,
        who=who,
        colour=_colour(who, shoppers),
        verb="took" if row.kind is Handling.PICK else "put back",
        clock=_clock(row.t_s, report.media_s),
        span=f"hand there from {_clock(row.start_s, report.media_s)} to {_clock(row.end_s, report.media_s)}",
        percent=f"{percent(sure)} sure" if who else "nobody in view",
        bars=tuple(
            _Bar(
                c.shopper,
                c.product,
                c.quantity,
                percent(c.probability),
                100 * c.probability,
                _colour(c.shopper, shoppers),
            )
            for c in row.candidates
        ),
        unknown=percent(rest),
        unknown_width=100 * rest,
        curve=None if row.weight is None else _curve(row.weight, report.start_ns),
        before="" if row.before is None else _embedded(row.before, BIN_MOST_PX),
        after="" if row.after is None else _embedded(row.after, BIN_MOST_PX),
        picture="" if row.picture is None else _embedded(row.picture, MOMENT_MOST_PX),
    )


@dataclass(frozen=True, slots=True)
class _Tick:
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class _Mark:
    """An interaction on the timeline: a triangle up for a pick, down for a put-back."""

    number: int
    points: str
    kind: str
    is_doubtful: bool
    title: str


@dataclass(frozen=True, slots=True)
class _Span:
    left: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class _Lane:
    """One shopper's line of the timeline, or the one for what nobody is known to have done."""

    label: str
    label_x: float
    label_anchor: str
    top: float
    colour: int
    visits: tuple[_Span, ...]
    hands: tuple[_Span, ...]
    marks: tuple[_Mark, ...]


@dataclass(frozen=True, slots=True)
class _Timeline:
    width: float
    height: float
    ticks: tuple[_Tick, ...]
    lanes: tuple[_Lane, ...]


def _timeline(report: ReplayReport, stories: Sequence[_Story], shoppers: Sequence[str]) -> _Timeline:
    end_s = max(
        [report.media_s, 1.0]
        + [visit.left_s for visit in report.visits if math.isfinite(visit.left_s)]
        + [row.end_s for row in report.interactions]
    )
    width = min(max(TIMELINE_PX, TIMELINE_PX_PER_S * end_s), TIMELINE_MOST_PX)

    def x(time_s: float) -> float:
        share = min(max(time_s / end_s, 0.0), 1.0)
        return round(TIMELINE_EDGE_PX + share * (width - 2 * TIMELINE_EDGE_PX), 1)

    def span(start_s: float, stop_s: float, title: str) -> _Span:
        stop_s = stop_s if math.isfinite(stop_s) else end_s
        return _Span(x(start_s), round(max(3.0, x(stop_s) - x(start_s)), 1), title)

    lanes = []
    nobody = [story for story in stories if story.who not in shoppers]
    for place, name in enumerate([*shoppers, *([""] if nobody else [])]):
        top = LANE_TOP_PX + place * LANE_PX
        visits = [visit for visit in report.visits if visit.shopper == name] if name else []
        middle = top + LANE_PX - 6 - BAR_PX / 2
        statuses = ", ".join(STATUS_WORDS.get(visit.status, visit.status) for visit in visits)
        label_x = x(visits[0].entered_s) if visits else float(TIMELINE_EDGE_PX)
        lanes.append(
            _Lane(
                label=f"{name} · {statuses}" if name else "not attributed",
                label_x=label_x if label_x < 0.7 * width else x(visits[-1].left_s),
                label_anchor="start" if label_x < 0.7 * width else "end",
                top=top,
                colour=_colour(name, shoppers),
                visits=tuple(
                    span(
                        v.entered_s,
                        v.left_s,
                        f"{name}: in the store from {_clock(v.entered_s, end_s)} to "
                        f"{_clock(v.left_s, end_s)}, {STATUS_WORDS.get(v.status, v.status)}",
                    )
                    for v in visits
                ),
                hands=tuple(
                    span(
                        hand.start_s,
                        hand.end_s,
                        f"{name}: hand at {hand.place}, {_clock(hand.start_s, end_s)} to {_clock(hand.end_s, end_s)}",
                    )
                    for hand in report.hands
                    if name and hand.shopper == name
                ),
                marks=tuple(
                    _Mark(
                        story.number,
                        _triangle(x(story.row.t_s), middle, up=story.row.kind is Handling.PICK),
                        story.row.kind.value,
                        not story.bars or story.bars[0].width < 50,
                        story.sentence,
                    )
                    for story in (nobody if not name else stories)
                    if not name or story.who == name
                ),
            )
        )
    step = round_step(end_s, round(width / 100))
    ticks = tuple(_Tick(x(k * step), _clock(k * step, end_s, whole=True)) for k in range(int(end_s / step) + 1))
    return _Timeline(width, LANE_TOP_PX + len(lanes) * LANE_PX + 26, ticks, tuple(lanes))


def _triangle(x: float, y: float, up: bool) -> str:
    tall = -9 if up else 9
    return f"{x - 7.5:.1f},{y - tall * 0.7:.1f} {x + 7.5:.1f},{y - tall * 0.7:.1f} {x:.1f},{y + tall * 0.9:.1f}"


@dataclass(frozen=True, slots=True)
class _Curve:
    """A weight change as a drawing in ``CURVE_PX``."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    points: str
    before_y: float
    after_y: float
    band_top: float
    band_height: float
    step_x: float
    contact_left: float
    contact_width: float
    x_ticks: tuple[_Tick, ...]
    y_ticks: tuple[_Tick, ...]
    caption: str
    text: str


def _curve(weight: WeightChange, start_ns: int) -> _Curve:
    (width, height), (left, top, edge_right, edge_bottom) = CURVE_PX, CURVE_EDGES_PX
    right, bottom = width - edge_right, height - edge_bottom
    times_s, grams = thinned((weight.curve_ns - start_ns) / 1e9, np.asarray(weight.curve_g, float), CURVE_POINTS)
    begin_s, end_s, step_s = ((t - start_ns) / 1e9 for t in (weight.start_ns, weight.end_ns, weight.time_ns))
    low_s, high_s = (float(times_s[0]), float(times_s[-1])) if len(times_s) else (begin_s, end_s)
    low_s, high_s = min(low_s, begin_s), max(high_s, end_s, low_s + 0.1)
    levels = [0.0, weight.delta_g - weight.sigma_g, weight.delta_g + weight.sigma_g, *grams.tolist()]
    low_g, high_g = min(levels), max(levels)
    spare = 0.08 * max(high_g - low_g, 1.0)
    low_g, high_g = low_g - spare, high_g + spare

    def x(time_s: float) -> float:
        return round(left + (time_s - low_s) / (high_s - low_s) * (right - left), 1)

    def y(level_g: float) -> float:
        return round(float(bottom - (level_g - low_g) / (high_g - low_g) * (bottom - top)), 1)

    x_step, y_step = round_step(high_s - low_s, 6), round_step(high_g - low_g, 4)
    band = y(weight.delta_g + weight.sigma_g)
    plates = ", ".join(weight.plate_ids)
    change = f"{weight.delta_g:+.0f} g ± {weight.sigma_g:.1f} g".replace("-", MINUS)
    return _Curve(
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        points=" ".join(f"{x(t)},{y(g)}" for t, g in zip(times_s.tolist(), grams.tolist(), strict=True)),
        before_y=y(0.0),
        after_y=y(weight.delta_g),
        band_top=band,
        band_height=round(max(1.0, y(weight.delta_g - weight.sigma_g) - band), 1),
        step_x=x(step_s),
        contact_left=x(begin_s),
        contact_width=round(max(1.0, x(end_s) - x(begin_s)), 1),
        x_ticks=tuple(
            _Tick(x(k * x_step), f"{k * x_step:g} s")
            for k in range(math.ceil(low_s / x_step), math.floor(high_s / x_step) + 1)
        ),
        y_ticks=tuple(
            _Tick(y(k * y_step), f"{k * y_step:g} g".replace("-", MINUS))
            for k in range(math.ceil(low_g / y_step), math.floor(high_g / y_step) + 1)
        ),
        caption=f"{'Plate' if len(weight.plate_ids) == 1 else 'Plates'} {plates}: {change}",
        text=f"Weight curve: steady before, a step of {change} at {step_s:.1f} s, steady after.",
    )


def _embedded(image: ImageArray, most_px: int) -> str:
    """Return a picture as a JPEG data URI, scaled down to at most ``most_px`` wide."""
    height, width = image.shape[:2]
    if width > most_px:
        size = (most_px, max(1, round(height * most_px / width)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    if not image.size:
        return ""
    _, coded = cv2.imencode(".jpg", image, [int(cv2.IMWRITE_JPEG_QUALITY), JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")


def _colour(shopper: str, shoppers: Sequence[str]) -> int:
    """Number of a shopper's colour on the page; 0 is for nobody."""
    return 1 + shoppers.index(shopper) % 8 if shopper in shoppers else 0


def _clock(time_s: float, media_s: float, whole: bool = False) -> str:
    if not math.isfinite(time_s):
        return "the end"
    if media_s < 300:
        return f"{time_s:g} s" if whole else f"{time_s:.1f} s"
    minutes, seconds = divmod(round(time_s, 0 if whole else 1), 60)
    return f"{minutes:.0f}:{seconds:02.0f}" if whole else f"{minutes:.0f}:{seconds:04.1f}"


def _duration(length_s: float) -> str:
    if not math.isfinite(length_s):
        return "unknown"
    return f"{length_s:.1f} s" if length_s < 300 else f"{length_s / 60:.1f} min"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
