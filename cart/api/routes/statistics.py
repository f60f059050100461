"""How the store has done."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from cart.api.problems import ProblemError
from cart.api.routing import ShopRoute, TheShop
from cart.api.schemas import Moment, Shown, problems
from cart.statistics import By, statistics

router = APIRouter(route_class=ShopRoute, tags=["running the store"])

_USUAL = timedelta(days=7)


class FiguresShown(Shown):
    """What is counted; money in the currency's minor unit."""

    visits: int = Field(description="Visits that ended.")
    charged: int
    empty: int = Field(description="Visits in which nothing was taken.")
    reviewed: int = Field(description="Visits that a person decided.")
    waiting: int = Field(description="Visits that ended and wait for a person.")
    takings_minor: int
    refunded_minor: int
    corrected: int = Field(description="Visits that the store charged by itself, and whose receipt was changed later.")
    disputes: int
    shrink_units: int = Field(description="Units that left with nobody to bill.")
    shrink_minor: int
    receipt_p50_s: float | None = Field(description="From the end of a visit to its receipt.")
    receipt_p95_s: float | None


class PeriodShown(FiguresShown):
    """An hour or a day of the store's time zone."""

    start: datetime


class StatisticsShown(Shown):
    """Periods in order, those without a visit too."""

    currency: str = Field(description="ISO 4217 code.")
    items: list[PeriodShown]
    total: FiguresShown


@router.get("/v1/statistics", responses=problems(s422="The times are not in order, or too far apart"))
def read_statistics(
    shop: TheShop,
    since: Annotated[Moment | None, Query(alias="from", description="A week before `to` by default.")] = None,
    until: Annotated[Moment | None, Query(alias="to", description="Now by default.")] = None,
    by: By = By.DAY,
) -> StatisticsShown:
    """Tell how the store has done: visits, money, questions, and what left without being paid."""
    until = until or shop.now()
    since = since or until - _USUAL
    with shop.database.reading() as repository:
        try:
            found = statistics(repository, since, until, by, shop.zone)
        except ValueError as error:
            raise ProblemError(422, str(error), "period") from error
    return StatisticsShown(
        currency=shop.checkout.currency,
        items=[PeriodShown(start=period.start, **asdict(period.figures)) for period in found.periods],
        total=FiguresShown(**asdict(found.total)),
    )
