"""How gates and scales are doing."""

from datetime import datetime, timedelta

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import func, select

from cart.api.routing import ShopRoute, TheShop
from cart.api.schemas import Shown
from cart.doors import Decision
from cart.tables import GateCommandRow, ScanRow

router = APIRouter(route_class=ShopRoute, tags=["running the store"])

_LOOKS_BACK = timedelta(days=30)
"""A gate that has said nothing for longer is no longer one of the store's."""
_UNANSWERED_AFTER = timedelta(seconds=30)


class GateShown(Shown):
    """How a gate is doing."""

    gate_id: str
    last_seen_at: datetime | None = Field(description="When it last read a code or answered an order.")
    last_scan_at: datetime | None
    opened_today: int
    refused_today: int
    healthy: bool = Field(description="Whether it answered its last order; true if it was given none.")
    detail: str


class Gates(Shown):
    """All gates that were used in the last 30 days."""

    items: list[GateShown]


class ScaleShown(Shown):
    """How a plate of a scale is doing."""

    plate_id: str
    gondola_id: int
    shelf_id: int
    last_at: datetime | None
    rate_hz: float | None
    grams: float | None = Field(description="What it weighed last.")
    healthy: bool
    detail: str


class Scales(Shown):
    """All plates of the layout."""

    items: list[ScaleShown]


@router.get("/v1/gates")
def list_gates(shop: TheShop) -> Gates:
    """Tell how the gates are doing."""
    now = shop.now()
    today = now.astimezone(shop.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    since = now - _LOOKS_BACK
    with shop.database.reading() as repository:
        scans = {
            row.gate_id: (row[1], row[2], row[3])
            for row in repository.sql.execute(
                select(
                    ScanRow.gate_id,
                    func.max(ScanRow.scanned_at),
                    func.count().filter(ScanRow.scanned_at >= today, ScanRow.decision == Decision.OPEN.value),
                    func.count().filter(ScanRow.scanned_at >= today, ScanRow.decision == Decision.REFUSE.value),
                )
                .where(ScanRow.scanned_at >= since)
                .group_by(ScanRow.gate_id)
            )
        }
        answers = {
            row.gate_id: (row[1], row[2])
            for row in repository.sql.execute(
                select(GateCommandRow.gate_id, func.max(GateCommandRow.answered_at), func.max(GateCommandRow.issued_at))
                .where(GateCommandRow.issued_at >= since)
                .group_by(GateCommandRow.gate_id)
            )
        }
        last_orders = {
            gate_id: repository.sql.scalars(
                select(GateCommandRow)
                .where(GateCommandRow.gate_id == gate_id, GateCommandRow.issued_at == issued_at)
                .limit(1)
            ).first()
            for gate_id, (_, issued_at) in answers.items()
        }
        items = []
        for gate_id in sorted({*scans, *answers}):
            scanned_at, opened, refused = scans.get(gate_id, (None, 0, 0))
            order = last_orders.get(gate_id)
            detail = ""
            if order is not None and order.answered_at is None and now - order.issued_at > _UNANSWERED_AFTER:
                detail = "it has not answered its last order"
            elif order is not None and order.opened is False:
                detail = "it could not open the last time"
            times = [at for at in (scanned_at, answers.get(gate_id, (None, None))[0]) if at is not None]
            items.append(
                GateShown(
                    gate_id=gate_id,
                    last_seen_at=max(times, default=None),
                    last_scan_at=scanned_at,
                    opened_today=opened,
                    refused_today=refused,
                    healthy=not detail,
                    detail=detail,
                )
            )
    return Gates(items=items)


@router.get("/v1/scales")
def list_scales(shop: TheShop) -> Scales:
    """Tell how the plates of the scales are doing."""
    return Scales(
        items=[
            ScaleShown(
                plate_id=each.plate_id,
                gondola_id=each.gondola_id,
                shelf_id=each.shelf_id,
                last_at=each.last_at,
                rate_hz=each.rate_hz,
                grams=each.grams,
                healthy=each.healthy,
                detail=each.detail,
            )
            for each in (() if shop.plates is None else shop.plates())
        ]
    )
