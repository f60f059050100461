"""The demo: a simulated store whose bodies shop for visitors."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from cart.api.problems import ProblemError
from cart.api.routes.prices import ProductShown, picture_urls, product_shown
from cart.api.routes.visits import own_session
from cart.api.routing import Caller, SeesAll, ShopRoute, TheShop
from cart.api.schemas import Body, Shown, Sku, Units, problems
from cart.api.shop import DemoStore, Shop
from cart.errors import DemoRefused, NotTheDemoVisit, SessionAlreadyClosed, SessionNotFound
from cart.sessions import SessionStatus

router = APIRouter(route_class=ShopRoute, tags=["demo"])

_MOST_LINES = 20


class WishedLine(Body):
    """Units of one product that the body is to take."""

    sku: Sku
    quantity: Units = 1


class Errand(Body):
    """What the simulated body is to take; something of its own choice if nothing is said."""

    lines: Annotated[list[WishedLine], Field(max_length=_MOST_LINES)] = Field(default=[])


class Sent(Shown):
    """The body is on its way."""

    session_id: UUID
    lines: dict[str, int] = Field(description="What it is to take; empty for something of its own choice.")


class DemoProducts(Shown):
    """What the demo's shelves hold."""

    items: list[ProductShown]


@router.get("/v1/demo/products")
def list_demo_products(shop: TheShop) -> DemoProducts:
    """List what the demo's shelves hold."""
    products = _demo(shop).products()
    with shop.database.reading() as repository:
        pictures = picture_urls(repository, [product.sku for product in products])
    return DemoProducts(items=[product_shown(product, pictures.get(product.sku)) for product in products])


@router.post(
    "/v1/demo/sessions/{session_id}/shop",
    status_code=202,
    responses=problems(
        SessionNotFound,
        SessionAlreadyClosed,
        NotTheDemoVisit,
        DemoRefused,
        s422="The request does not fit, or the store has no such thing",
    ),
)
def send_body(session_id: UUID, shop: TheShop, caller: Caller, sees_all: SeesAll, errand: Errand | None = None) -> Sent:
    """Have a simulated body take something, or what is named, and walk out; the receipt follows."""
    demo = _demo(shop)
    session = own_session(shop, caller, session_id, sees_all=sees_all)
    if session.status is not SessionStatus.OPEN:
        raise SessionAlreadyClosed(f"visit {session_id} is {session.status}, expected an open one")
    lines: dict[str, int] = {}
    for line in () if errand is None else errand.lines:
        lines[line.sku] = lines.get(line.sku, 0) + line.quantity
    unknown = sorted(lines.keys() - {product.sku for product in demo.products()})
    if unknown:
        raise ProblemError(422, f"lines: the store has no {', '.join(unknown)}, see /v1/demo/products", "validation")
    demo.shop(session_id, lines)
    return Sent(session_id=session_id, lines=lines)


def _demo(shop: Shop) -> DemoStore:
    if shop.demo is None:
        raise ProblemError(404, "this is no demo store")
    return shop.demo
