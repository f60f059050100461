"""What the API counts for Prometheus; each application has a registry of its own."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from cart.api.shop import Shop
from cart.outbox import MessageStatus
from cart.repository import Repository
from cart.tables import ChargeRow, OutboxRow, SessionRow

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
UNMATCHED = "unmatched"
"""What stands in place of a route that there is not, so that made-up addresses do not fill the memory."""
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Measures:
    """Counts requests, and reads the rest from the database when it is asked.

    Args:
        shop: The store.
    """

    def __init__(self, shop: Shop) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tillfree_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._times = Histogram(
            "tillfree_request_seconds",
            "Time to the head of the answer.",
            ("method", "route"),
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._registry.register(_StoreCollector(shop))

    def count(self, method: str, route: str | None, status: int, took_s: float) -> None:
        """Count a request.

        Args:
            method: HTTP method.
            route: The route's path as it is declared; None if there is none.
            status: Of the answer.
            took_s: Time to the head of the answer, seconds.
        """
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route or UNMATCHED, str(status)).inc()
        self._times.labels(known, route or UNMATCHED).observe(took_s)

    def text(self) -> bytes:
        """Everything in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)


_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class _StoreCollector(Collector):
    """Visits, charges and the outbox as the database has them at the moment of asking."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Names alone, so that registering asks the database nothing."""
        yield GaugeMetricFamily("tillfree_visits", "Visits by where they stand.")

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the numbers."""
        with self._shop.database.reading() as repository:
            sql = repository.sql
            visits = sql.execute(select(SessionRow.status, func.count()).group_by(SessionRow.status)).all()
            charges = sql.execute(select(ChargeRow.status, func.count()).group_by(ChargeRow.status)).all()
            outbox = sql.execute(
                select(OutboxRow.kind, OutboxRow.status, func.count())
                .where(OutboxRow.status != MessageStatus.DONE.value)
                .group_by(OutboxRow.kind, OutboxRow.status)
            ).all()
            late = how_late(repository, self._shop.now())
        family = GaugeMetricFamily("tillfree_visits", "Visits by where they stand.", labels=("status",))
        for status, count in visits:
            family.add_metric((status,), count)
        yield family
        family = GaugeMetricFamily("tillfree_charges", "Charges by where they stand.", labels=("status",))
        for status, count in charges:
            family.add_metric((status,), count)
        yield family
        family = GaugeMetricFamily("tillfree_outbox", "Effects that are not done.", labels=("kind", "status"))
        for kind, status, count in outbox:
            family.add_metric((kind, status), count)
        yield family
        yield GaugeMetricFamily(
            "tillfree_outbox_late_seconds", "How long the oldest effect has been due.", value=late.total_seconds()
        )


def how_late(repository: Repository, at: datetime) -> timedelta:
    """How long the oldest effect that waits in the outbox has been due."""
    due_at = repository.sql.scalar(
        select(func.min(OutboxRow.due_at)).where(OutboxRow.status == MessageStatus.WAITING.value)
    )
    return max(timedelta(0), at - due_at) if due_at is not None else timedelta(0)
