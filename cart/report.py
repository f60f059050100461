"""Writes what a replay saw and charged as one HTML page that a person can check: timeline, evidence and receipts."""

from dataclasses import dataclass
from pathlib import Path

from tracking.types import WeightChange
from vision.arrays import ImageArray
from vision.shelf import Handling


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
    """

    shopper: str
    status: str
    currency: str
    total_minor: int | None
    lines: tuple[ReceiptLineRow, ...] = ()
    number: str = ""
    tax_minor: int | None = None
    reasons: tuple[str, ...] = ()


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
    raise NotImplementedError
