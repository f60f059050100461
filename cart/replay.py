"""Replays a recording through the store and keeps what came of it: receipts, interactions, visits, hands."""

import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np

from cart.pipeline import (
    HandSeen,
    InteractionSeen,
    StoreEvent,
    StorePipeline,
    VisitClosed,
    VisitOpened,
    place_name,
    plate_numbers,
)
from cart.report import (
    CandidateRow,
    HandRow,
    InteractionRow,
    NoticeRow,
    QuestionRow,
    ReceiptLineRow,
    ReceiptRow,
    ReplayReport,
    VisitRow,
)
from cart.sessions import SessionStatus
from tracking.types import Interaction
from vision.annotate import Overlay, bin_mark, draw
from vision.arrays import ImageArray
from vision.frames import Source, Tick
from vision.layout import ProductRecord, StoreLayout

NANOSECONDS = 1_000_000_000
SNAPSHOT_PERIOD_S = 0.2
SNAPSHOTS_KEPT_S = 15.0
LONGEST_SPAN_MS = 3_999  # 4 s is the longest allowed, and the difference of two rounded numbers must not exceed it

# What the four published words do not cover needs a person as much as an unsure cart does.
PUBLIC_STATUS = {
    SessionStatus.CHARGED: "charged",
    SessionStatus.EMPTY: "empty",
    SessionStatus.NO_ACCOUNT: "no_account",
}


@dataclass(frozen=True, slots=True)
class ReceiptLineEntry:
    """A line of a receipt in the JSON document."""

    barcode: str
    name: str
    quantity: int
    amount_minor: int | None


@dataclass(frozen=True, slots=True)
class AnswerEntry:
    """An answer to a question in the JSON document; ``barcode`` is None where nothing is taken or put back."""

    text: str
    barcode: str | None
    quantity: int
    probability: float


@dataclass(frozen=True, slots=True)
class QuestionEntry:
    """What a reviewer is asked, in the JSON document."""

    text: str
    answers: tuple[AnswerEntry, ...]


@dataclass(frozen=True, slots=True)
class ReceiptEntry:
    """A receipt in the JSON document; ``status`` is charged, needs_review, empty or no_account."""

    shopper: str
    status: str
    currency: str
    total_minor: int | None
    lines: tuple[ReceiptLineEntry, ...]
    reasons: tuple[str, ...] = ()
    questions: tuple[QuestionEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class CandidateEntry:
    """A candidate in the JSON document."""

    shopper: str
    barcode: str | None
    quantity: int
    probability: float


@dataclass(frozen=True, slots=True)
class InteractionEntry:
    """An interaction in the JSON document. Times are seconds from the earliest timestamp of any stream."""

    kind: str
    t_s: float
    start_s: float
    end_s: float
    bin: str
    gondola: int | None
    shelf: int | None
    plates: tuple[int, ...] | None
    barcode: str | None
    quantity: int
    candidates: tuple[CandidateEntry, ...]


@dataclass(frozen=True, slots=True)
class VisitEntry:
    """A visit in the JSON document, seconds."""

    shopper: str
    entered_s: float
    left_s: float


@dataclass(frozen=True, slots=True)
class HandEntry:
    """A hand in a bin in the JSON document, seconds."""

    shopper: str
    bin: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class NoticeEntry:
    """Something that had to be left out or repaired, in the JSON document."""

    stream: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ReplayDocument:
    """What ``tillfree replay --json`` writes."""

    receipts: tuple[ReceiptEntry, ...]
    interactions: tuple[InteractionEntry, ...]
    visits: tuple[VisitEntry, ...]
    hands: tuple[HandEntry, ...]
    frames: int
    wall_s: float
    media_s: float
    notices: tuple[NoticeEntry, ...] = ()

    def write(self, path: Path) -> None:
        """Write the document as JSON.

        Raises:
            OSError: The file cannot be written.
        """
        path.write_text(json.dumps(asdict(self), indent=1, allow_nan=False) + "\n", encoding="utf-8")


@dataclass(slots=True)
class _Snapshots:
    """Pictures of the last seconds, compressed, so that the moment of an interaction can be shown."""

    kept: deque[tuple[int, str, bytes]] = field(default_factory=deque)
    last_ns: dict[str, int] = field(default_factory=dict)

    def add(self, tick: Tick) -> None:
        for frame in tick.frames:
            if frame.timestamp_ns - self.last_ns.get(frame.camera_id, -NANOSECONDS) < SNAPSHOT_PERIOD_S * NANOSECONDS:
                continue
            self.last_ns[frame.camera_id] = frame.timestamp_ns
            done, data = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, 85])
            if done:
                self.kept.append((frame.timestamp_ns, frame.camera_id, data.tobytes()))
        while self.kept and tick.timestamp_ns - self.kept[0][0] > SNAPSHOTS_KEPT_S * NANOSECONDS:
            self.kept.popleft()

    def nearest(self, timestamp_ns: int, camera_id: str | None) -> ImageArray | None:
        """The picture nearest in time, of the given camera if it has one."""
        own = [entry for entry in self.kept if entry[1] == camera_id] or list(self.kept)
        if not own:
            return None
        best = min(own, key=lambda entry: abs(entry[0] - timestamp_ns))
        return np.asarray(cv2.imdecode(np.frombuffer(best[2], np.uint8), cv2.IMREAD_COLOR), np.uint8)


@dataclass(frozen=True, slots=True)
class ReplayStep:
    """One tick of a replay: the tick (None after the last) and what happened."""

    tick: Tick | None
    media_s: float
    events: tuple[StoreEvent, ...]


class Replay:
    """A recording going through the store, step by step.

    Args:
        source: The recording.
        pipeline: The store.
        keep_pictures: Keep a picture of the moment of every interaction, for the report.
    """

    def __init__(self, source: Source, pipeline: StorePipeline, *, keep_pictures: bool = False) -> None:
        self.pipeline = pipeline
        self.frames = 0
        self.wall_s = 0.0
        self.waiting_s = 0.0  # of that, until the source gave its next tick
        self.media_s = 0.0
        self.interactions: list[InteractionSeen] = []
        self.closed: list[VisitClosed] = []
        self.hands: list[HandSeen] = []
        self._pictures: dict[int, ImageArray] = {}
        self._unplaced_scales = False
        self._source = source
        self._snapshots = _Snapshots() if keep_pictures else None

    def steps(self) -> Iterator[ReplayStep]:
        """Read the recording to its end; the clock of ``wall_s`` stops while the caller works."""
        start_ns = self._source.start_ns
        ticks = iter(self._source)
        while True:
            began = time.perf_counter()
            tick = next(ticks, None)
            self.waiting_s += time.perf_counter() - began
            if tick is None:
                events = self.pipeline.finish()
            else:
                self.frames += len(tick.frames)
                self._unplaced_scales |= bool(tick.scales) and not self.pipeline.layout.plates
                if self._snapshots is not None:
                    self._snapshots.add(tick)
                events = self.pipeline.step(tick)
                self.media_s = max(self.media_s, (tick.timestamp_ns - start_ns) / NANOSECONDS)
            for event in events:
                self._keep(event)
            self.wall_s += time.perf_counter() - began
            yield ReplayStep(tick, self.media_s, tuple(events))
            if tick is None:
                break
        if np.isfinite(self._source.duration_s):
            self.media_s = max(self.media_s, self._source.duration_s)

    def interrupt(self) -> tuple[StoreEvent, ...]:
        """End the replay here; a person looks at the visits of those who are still inside."""
        events = tuple(self.pipeline.finish(stopped=True))
        for event in events:
            self._keep(event)
        return events

    def seconds(self, timestamp_ns: int) -> float:
        """Store clock as seconds from the earliest timestamp of any stream."""
        return (timestamp_ns - self._source.start_ns) / NANOSECONDS

    def _keep(self, event: StoreEvent) -> None:
        if isinstance(event, VisitOpened):
            return  # it will be closed
        if isinstance(event, HandSeen):
            self.hands.append(event)
        elif isinstance(event, VisitClosed):
            self.closed.append(event)
        else:
            if self._snapshots is not None:
                picture = self._moment_picture(event, self._best_camera(event))
                if picture is not None:
                    self._pictures[len(self.interactions)] = picture
            self.interactions.append(event)

    def _best_camera(self, event: InteractionSeen) -> str | None:
        """The camera a bin is drawn in, or the calibrated one that shows most of the bin's corners from nearest."""
        place = self.pipeline.layout.bin(event.interaction.bin_id)
        if place.camera_id is not None or place.box is None:
            return place.camera_id
        best, best_rank = None, (0, 0.0)
        for camera in self.pipeline.layout.cameras:
            if camera.camera_id not in self._source.camera_ids:
                continue  # the site knows more cameras than were recorded
            corners = camera.image_points(place.box.corners_m)
            shown = np.isfinite(corners).all(axis=1) & (corners >= 0).all(axis=1)
            shown &= (corners <= np.array(camera.resolution_wh)).all(axis=1)
            rank = int(shown.sum()), -float(np.linalg.norm(camera.position_m - place.box.centre_m))
            if shown.any() and rank > best_rank:
                best, best_rank = camera.camera_id, rank
        return best

    def _moment_picture(self, event: InteractionSeen, camera_id: str | None) -> ImageArray | None:
        """What a camera saw at the moment, with the bin drawn in."""
        assert self._snapshots is not None
        picture = self._snapshots.nearest(event.interaction.time_ns, camera_id)
        if picture is None or camera_id is None:
            return picture
        height, width = picture.shape[:2]
        mark = bin_mark(self.pipeline.layout, event.interaction.bin_id, camera_id, (width, height))
        return picture if mark is None else draw(picture, Overlay(caption=camera_id, bins=(mark,)))

    def document(self) -> ReplayDocument:
        """Everything that came of it, for machines."""
        return ReplayDocument(
            receipts=tuple(_receipt_entry(closed) for closed in self.closed),
            interactions=tuple(
                sorted((self._interaction_entry(seen) for seen in self.interactions), key=lambda entry: entry.t_s)
            ),
            visits=tuple(
                VisitEntry(c.shopper, self._rounded(c.entered_ns), self._rounded(c.left_ns))
                for c in sorted(self.closed, key=lambda c: c.entered_ns)
            ),
            hands=tuple(
                HandEntry(
                    h.shopper, h.contact.bin_id, self._rounded(h.contact.start_ns), self._rounded(h.contact.end_ns)
                )
                for h in sorted(self.hands, key=lambda h: h.contact.start_ns)
            ),
            frames=self.frames,
            wall_s=round(self.wall_s, 4),
            media_s=round(self.media_s, 3),
            notices=tuple(NoticeEntry(n.stream, n.code, n.message) for n in self._notices()),
        )

    def report(self, title: str, remarks: tuple[str, ...] = ()) -> ReplayReport:
        """Everything that came of it, for people."""
        layout = self.pipeline.layout
        products = {product.sku: product for product in layout.products}
        interactions = []
        for index, seen in enumerate(self.interactions):
            interaction = seen.interaction
            shelf = interaction.evidence.shelf
            interactions.append(
                InteractionRow(
                    kind=interaction.kind,
                    t_s=self.seconds(interaction.time_ns),
                    start_s=self.seconds(interaction.start_ns),
                    end_s=self.seconds(interaction.end_ns),
                    place=place_name(layout.bin(interaction.bin_id), plate_numbers(interaction.plate_ids)),
                    product=_product_name(products, interaction.sku),
                    quantity=interaction.quantity,
                    candidates=tuple(
                        CandidateRow(shopper, _product_name(products, c.sku), c.quantity, c.probability)
                        for shopper, c in zip(seen.shoppers, interaction.candidates, strict=True)
                    ),
                    weight=interaction.evidence.weight,
                    before=None if shelf is None else shelf.before,
                    after=None if shelf is None else shelf.after,
                    picture=self._pictures.get(index),
                    charged_to=seen.recorded_for or "",
                )
            )
        return ReplayReport(
            title=title,
            start_ns=self._source.start_ns,
            media_s=self.media_s,
            wall_s=self.wall_s,
            frames=self.frames,
            visits=tuple(
                VisitRow(c.shopper, self.seconds(c.entered_ns), self.seconds(c.left_ns), public_status(c))
                for c in sorted(self.closed, key=lambda c: c.entered_ns)
            ),
            interactions=tuple(sorted(interactions, key=lambda row: row.t_s)),
            receipts=tuple(_receipt_row(closed) for closed in self.closed),
            hands=tuple(
                HandRow(
                    h.shopper,
                    place_name(layout.bin(h.contact.bin_id)),
                    self.seconds(h.contact.start_ns),
                    self.seconds(h.contact.end_ns),
                )
                for h in self.hands
            ),
            notices=tuple(self._notices()),
            remarks=remarks,
        )

    def _rounded(self, timestamp_ns: int) -> float:
        return round(self.seconds(timestamp_ns), 3)

    def _span_s(self, interaction: Interaction) -> tuple[float, float, float]:
        """Start, moment and end in seconds; a span that is too long is cut where it is farther from the moment."""
        start, moment, end = (
            round(self.seconds(t) * 1000) for t in (interaction.start_ns, interaction.time_ns, interaction.end_ns)
        )
        start = max(start, min(moment, end - LONGEST_SPAN_MS))
        end = min(end, start + LONGEST_SPAN_MS)
        return start / 1000, moment / 1000, end / 1000

    def _notices(self) -> list[NoticeRow]:
        rows = [NoticeRow(n.stream, n.code, n.message) for n in self._source.notices]
        rows += [NoticeRow(n.camera_id, n.code, n.message) for n in self.pipeline.camera_notices]
        if self._unplaced_scales:
            rows.append(NoticeRow("site", "no-plates", "no site says where the plates of these scales are: give one"))
        return rows + [NoticeRow("site", "layout", message) for message in self.pipeline.layout.notices]

    def _interaction_entry(self, seen: InteractionSeen) -> InteractionEntry:
        interaction = seen.interaction
        place = self.pipeline.layout.bin(interaction.bin_id)
        plates = plate_numbers(interaction.plate_ids or place.plate_ids)
        start_s, t_s, end_s = self._span_s(interaction)
        return InteractionEntry(
            kind=interaction.kind.value,
            t_s=t_s,
            start_s=start_s,
            end_s=end_s,
            bin=interaction.bin_id,
            gondola=place.gondola_id,
            shelf=place.shelf_id,
            plates=plates or None,
            barcode=interaction.sku,
            quantity=interaction.quantity,
            candidates=tuple(
                CandidateEntry(shopper, c.sku, c.quantity, round(c.probability, 4))
                for shopper, c in zip(seen.shoppers, interaction.candidates, strict=True)
            ),
        )


def public_status(closed: VisitClosed) -> str:
    """One of the four words for how a visit ended: charged, needs_review, empty, no_account."""
    return PUBLIC_STATUS.get(closed.outcome.status, "needs_review")


def product_names(layout: StoreLayout) -> dict[str, str]:
    """The name of each product of a layout, by sku."""
    return {product.sku: product.name for product in layout.products}


def _product_name(products: dict[str, ProductRecord], sku: str | None) -> str:
    if sku is None:
        return ""
    return products[sku].name if sku in products else sku


def _receipt_entry(closed: VisitClosed) -> ReceiptEntry:
    receipt = closed.outcome.receipt
    return ReceiptEntry(
        shopper=closed.shopper,
        status=public_status(closed),
        currency=receipt.currency,
        total_minor=receipt.total_minor,
        lines=tuple(ReceiptLineEntry(line.sku, line.name, line.quantity, line.amount_minor) for line in receipt.lines),
        reasons=tuple(flag.reason for flag in closed.outcome.flags),
        questions=tuple(
            QuestionEntry(
                question.text, tuple(AnswerEntry(a.text, a.sku, a.quantity, a.probability) for a in question.answers)
            )
            for question in closed.outcome.questions
        ),
    )


def _receipt_row(closed: VisitClosed) -> ReceiptRow:
    receipt = closed.outcome.receipt
    return ReceiptRow(
        shopper=closed.shopper,
        status=public_status(closed),
        currency=receipt.currency,
        total_minor=receipt.total_minor,
        lines=tuple(ReceiptLineRow(line.name, line.sku, line.quantity, line.amount_minor) for line in receipt.lines),
        number="" if receipt.receipt_number is None else str(receipt.receipt_number),
        tax_minor=receipt.tax_minor or None,  # a line that says 0.00 says nothing
        reasons=tuple(flag.reason for flag in closed.outcome.flags),
        questions=tuple(
            QuestionRow(question.text, tuple((answer.text, answer.probability) for answer in question.answers))
            for question in closed.outcome.questions
        ),
    )
