"""Whether the store is alive, ready, and how it does; and the document of the API itself."""

import threading
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from cart.api.measures import MEDIA_TYPE, Measures, how_late
from cart.api.routing import ShopRoute, TheShop
from cart.api.schemas import Shown
from cart.api.shop import Readiness, Shop
from cart.errors import StoreError

router = APIRouter(route_class=ShopRoute, tags=["operations"])

LATEST_S = 120.0
"""An effect that has been due for longer says that the sweeper does not do its work."""
_PROBE = "probe:readiness"


class Alive(Shown):
    """The process answers."""

    status: str = "alive"


class Check(Shown):
    """Whether a part of the store does its work."""

    name: str
    ready: bool
    detail: str = ""


class Ready(Shown):
    """Whether the store can let people in."""

    ready: bool
    checks: list[Check] = Field(description="Part by part.")


@router.get("/healthz")
def healthz() -> Alive:
    """Tell that the process answers; it asks nobody else."""
    return Alive()


@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready, "description": "Not ready."}})
def readyz(shop: TheShop) -> Any:
    """Tell whether database, sweeper and payment gateway do their work, and whatever else the store needs."""
    found = [_database(shop)]
    if found[0].ready and shop.sweeper is not None:
        found.append(_sweeper(shop))
    if shop.gateway is not None:
        found.append(_gateway(shop))
    found += [check() for check in shop.checks]
    ready = all(check.ready for check in found)
    answer = Ready(
        ready=ready, checks=[Check(name=check.name, ready=check.ready, detail=check.detail) for check in found]
    )
    return JSONResponse(answer.model_dump(), 200 if ready else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
)
def metrics(request: Request) -> Response:
    """Tell counts for Prometheus: requests by route and status, visits, charges, what waits in the outbox."""
    measures: Measures = request.app.state.measures
    return Response(measures.text(), media_type=MEDIA_TYPE)


@router.get("/openapi.json", response_model=None)
def openapi(request: Request) -> dict[str, Any]:
    """Give this document."""
    document: dict[str, Any] = request.app.openapi()
    return document


def _database(shop: Shop) -> Readiness:
    try:
        with shop.database.reading() as repository:
            repository.sql.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        return Readiness("database", False, type(error).__name__)
    return Readiness("database", True)


def _sweeper(shop: Shop) -> Readiness:
    try:
        with shop.database.reading() as repository:
            late_s = how_late(repository, shop.now()).total_seconds()
    except SQLAlchemyError as error:
        return Readiness("sweeper", False, type(error).__name__)
    return Readiness("sweeper", late_s <= LATEST_S, "" if late_s <= LATEST_S else f"an effect is {late_s:.0f} s late")


# A probe that hangs holds one thread, however many ask for it meanwhile.
_probing = threading.Lock()


def _gateway(shop: Shop) -> Readiness:
    if shop.gateway is None:
        return Readiness("gateway", False)
    if not _probing.acquire(timeout=1.0):
        return Readiness("gateway", False, "no answer")
    try:
        shop.gateway.look_up(_PROBE)
    except StoreError as error:
        return Readiness("gateway", False, error.title)
    finally:
        _probing.release()
    return Readiness("gateway", True)
