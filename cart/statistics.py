"""How a store has done, hour by hour or day by day: visits, money, questions, what left without being paid."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any

import numpy as np
from sqlalchemy import BigInteger, ColumnElement, and_, cast, distinct, exists, extract, func, select
from sqlalchemy.orm import aliased

from cart.events import check_aware
from cart.payments import ChargeStatus, RefundStatus
from cart.repository import Repository
from cart.sessions import SessionStatus
from cart.tables import ChargeRow, DecisionRow, DisputeRow, ReceiptLineRow, ReceiptRow, RefundRow, SessionRow

MOST_PERIODS = 800
"""A page cannot show more, and a reader cannot read them."""
_GRAIN_S = 900
"""What the database adds up is this fine: every time zone differs from UTC by whole quarters of an hour."""


class By(StrEnum):
    """How long a period is."""

    HOUR = "hour"
    DAY = "day"


@dataclass(slots=True)
class Figures:
    """What is counted in one period; money in the currency's minor unit.

    Attributes:
        visits: Visits that ended.
        charged: Of them paid.
        empty: Of them, those in which nothing was taken.
        reviewed: Visits that a person decided.
        waiting: Visits that ended and wait for a person.
        takings_minor: Money taken.
        refunded_minor: Money given back.
        corrected: Visits that the store charged by itself, and whose receipt was changed later.
        disputes: Questions that shoppers asked.
        shrink_units: Units that left with nobody to bill.
        shrink_minor: Their price, as far as it is known.
        receipt_p50_s: Half of the receipts were made out so soon after the visit ended; None without any.
        receipt_p95_s: The same for 95 of 100.
    """

    visits: int = 0
    charged: int = 0
    empty: int = 0
    reviewed: int = 0
    waiting: int = 0
    takings_minor: int = 0
    refunded_minor: int = 0
    corrected: int = 0
    disputes: int = 0
    shrink_units: int = 0
    shrink_minor: int = 0
    receipt_p50_s: float | None = None
    receipt_p95_s: float | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """One hour or day.

    Attributes:
        start: When it began, in the store's time zone.
        figures: What is counted in it.
    """

    start: datetime
    figures: Figures


@dataclass(frozen=True, slots=True)
class Statistics:
    """How a store has done.

    Attributes:
        periods: In order, those without any visit too.
        total: All of them together.
    """

    periods: tuple[Period, ...]
    total: Figures


def statistics(repository: Repository, since: datetime, until: datetime, by: By, zone: tzinfo) -> Statistics:
    """Count what has happened from the beginning of the period that ``since`` lies in to ``until``.

    Args:
        repository: The transaction.
        since: Where to begin, timezone-aware.
        until: Where to end, timezone-aware.
        by: How long a period is.
        zone: The store's time zone, whose hours and days they are.

    Raises:
        ValueError: It ends before it begins, or there are too many periods.
    """
    check_aware("since", since)
    check_aware("until", until)
    starts = list(_starts(since, until, by, zone))
    begin = starts[0]
    figures = [Figures() for _ in starts]
    seconds: list[list[float]] = [[] for _ in starts]
    edges = [start.timestamp() for start in starts]

    def period_of(quarter: int) -> int:
        return int(np.searchsorted(edges, quarter * _GRAIN_S, side="right")) - 1

    for quarter, name, amount in _sums(repository, begin, until):
        into = figures[period_of(quarter)]
        setattr(into, name, getattr(into, name) + amount)
    for ended_at, issued_at in _receipts(repository, begin, until):
        row = int(np.searchsorted(edges, ended_at.timestamp(), side="right")) - 1
        seconds[row].append(max(0.0, (issued_at - ended_at).total_seconds()))
    total = Figures()
    for field in fields(Figures):
        if isinstance(getattr(total, field.name), int):
            setattr(total, field.name, sum(getattr(each, field.name) for each in figures))
    everything = [taken_s for period in seconds for taken_s in period]
    for each, taken in [*zip(figures, seconds, strict=True), (total, everything)]:
        if taken:
            each.receipt_p50_s, each.receipt_p95_s = (round(float(s), 3) for s in np.percentile(taken, (50, 95)))
    return Statistics(tuple(Period(start, each) for start, each in zip(starts, figures, strict=True)), total)


def _starts(since: datetime, until: datetime, by: By, zone: tzinfo) -> Iterable[datetime]:
    """When each period begins: days by the calendar, which has days of 23 and 25 hours."""
    if not since < until:
        raise ValueError(f"expected a time after {since.isoformat()} to end at, got {until.isoformat()}")
    length = timedelta(hours=1) if by is By.HOUR else timedelta(days=1)
    if (until - since) / length > MOST_PERIODS:
        raise ValueError(f"expected at most {MOST_PERIODS} periods of a {by}, got {(until - since) // length}")
    start = since.astimezone(zone).replace(minute=0, second=0, microsecond=0)
    if by is By.DAY:
        start = start.replace(hour=0, fold=0)
    while start < until:
        yield start
        # Sums of local times follow the clock on the wall; hours follow time itself.
        start = start + length if by is By.DAY else (start.astimezone(UTC) + length).astimezone(zone)


def _sums(repository: Repository, since: datetime, until: datetime) -> Iterable[tuple[int, str, int]]:
    """What the database adds up, as (quarter of an hour since 1970, figure, amount)."""
    is_sqlite = repository.sql.get_bind().dialect.name == "sqlite"

    def summed(at: Any, where: ColumnElement[bool], **what: Any) -> Iterable[tuple[int, str, int]]:
        second = extract("epoch", at)
        quarter = cast(second if is_sqlite else func.floor(second), BigInteger) // _GRAIN_S
        query = select(quarter.label("quarter"), *what.values()).where(at >= since, at < until, where)
        for row in repository.sql.execute(query.group_by("quarter")):
            for name, amount in zip(what, row[1:], strict=True):
                if amount:
                    yield int(row[0]), name, int(amount)

    ended, status = SessionRow.closed_at, SessionRow.status
    first, later = aliased(ReceiptRow), aliased(ReceiptRow)
    was_corrected = and_(
        exists().where(
            first.session_id == SessionRow.session_id, first.sequence == 1, first.receipt_number.is_not(None)
        ),
        exists().where(later.session_id == SessionRow.session_id, later.sequence > 1),
    )
    yield from summed(
        ended,
        status != SessionStatus.OPEN.value,
        visits=func.count(),
        charged=func.count().filter(status == SessionStatus.CHARGED.value),
        empty=func.count().filter(status == SessionStatus.EMPTY.value),
        waiting=func.count().filter(status == SessionStatus.NEEDS_REVIEW.value),
        corrected=func.count().filter(was_corrected),
    )
    yield from summed(
        DecisionRow.decided_at,
        DecisionRow.reviewer_id.is_not(None),
        reviewed=func.count(distinct(DecisionRow.session_id)),
    )
    yield from summed(DisputeRow.opened_at, DisputeRow.dispute_id.is_not(None), disputes=func.count())
    is_taken, is_returned = ChargeRow.status == ChargeStatus.POSTED.value, RefundRow.status == RefundStatus.POSTED.value
    yield from summed(ChargeRow.created_at, is_taken, takings_minor=func.sum(ChargeRow.amount_minor))
    yield from summed(RefundRow.created_at, is_returned, refunded_minor=func.sum(RefundRow.amount_minor))
    newest = (
        select(func.max(ReceiptRow.sequence))
        .where(ReceiptRow.session_id == ReceiptLineRow.session_id)
        .correlate(ReceiptLineRow)
        .scalar_subquery()
    )
    left_unpaid = and_(
        status == SessionStatus.NO_ACCOUNT.value,
        ReceiptLineRow.session_id == SessionRow.session_id,
        ReceiptLineRow.sequence == newest,
    )
    yield from summed(
        ended,
        left_unpaid,
        shrink_units=func.sum(ReceiptLineRow.quantity),
        shrink_minor=func.sum(ReceiptLineRow.quantity * func.coalesce(ReceiptLineRow.unit_price_minor, 0)),
    )


def _receipts(repository: Repository, since: datetime, until: datetime) -> Iterable[tuple[datetime, datetime]]:
    """When visits that the store charged by itself ended, and when their receipts were made out."""
    query = (
        select(SessionRow.closed_at, ReceiptRow.issued_at)
        .join(ReceiptRow, ReceiptRow.session_id == SessionRow.session_id)
        .where(
            ReceiptRow.sequence == 1,
            ReceiptRow.receipt_number.is_not(None),
            SessionRow.closed_at >= since,
            SessionRow.closed_at < until,
        )
    )
    for ended_at, issued_at in repository.sql.execute(query):
        if ended_at is not None:
            yield ended_at, issued_at
