"""The API as an ASGI application: ``create_app`` makes it of a store's services."""

import time
from datetime import timedelta
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cart.api import problems
from cart.api.idempotency import Replies
from cart.api.limits import RateLimiter
from cart.api.live import LiveCarts, nothing_expected
from cart.api.measures import Measures
from cart.api.problems import Problem, problem_response
from cart.api.routes import ROUTERS
from cart.api.routes.receipts import ReceiptShown
from cart.api.routing import ShopRoute
from cart.api.shop import Shop
from cart.pages.serving import page_routes

VERSION = "1.0.0"
_DESCRIPTION = """
A store without a checkout: a shopper shows an entry code at the gate, takes things, and walks out; the visit is charged
to their account and the receipt is there within seconds.

Every error is a problem of RFC 9457 (`application/problem+json`). Amounts are whole numbers of the currency's minor
unit. Times are RFC 3339 with an offset. Requests that create something or move money take an `Idempotency-Key`: the
repeat of a request gets the answer of the first. Lists come in pages; pass `next_cursor` as `cursor` for the next one.
"""

_SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


def create_app(shop: Shop) -> FastAPI:
    """Make the API of a store.

    Run it with a limit on graceful shutdown (uvicorn's ``timeout_graceful_shutdown``): live carts are streams that only
    end when their visit does, or the server.

    Args:
        shop: The store's services. They are not closed here.
    """
    app = FastAPI(
        title=f"{shop.store_name} API",
        version=VERSION,
        description=_DESCRIPTION.strip(),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.router.route_class = ShopRoute
    app.state.shop = shop
    app.state.limiter = RateLimiter(shop.clock)
    app.state.replies = Replies(shop.database, timedelta(hours=shop.settings.keep_replies_hours))
    app.state.live = LiveCarts(shop.database, expects=nothing_expected if shop.live is None else shop.live.expected)
    app.state.measures = Measures(shop)
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes.extend(page_routes())
    problems.install(app)
    app.add_middleware(Envelope, measures=app.state.measures)
    app.openapi = lambda: openapi_of(app)  # type: ignore[method-assign]
    return app


class Envelope:
    """Puts security headers on every answer, and counts it.

    Args:
        app: The application inside.
        measures: Where it is counted.
    """

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app = app
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Shared with whatever copies of the scope are made further inside.
        state: dict[str, Any] = scope.setdefault("state", {})
        began = time.perf_counter()
        answered = False

        async def send_in_envelope(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                headers = message.setdefault("headers", [])
                present = {name.lower() for name, _ in headers}
                message["headers"] = [
                    *headers,
                    *(
                        (name.encode(), value.encode())
                        for name, value in _SECURITY_HEADERS.items()
                        if name.encode() not in present
                    ),
                ]
                took_s = time.perf_counter() - began
                self._measures.count(scope["method"], state.get("route"), message["status"], took_s)
            await send(message)

        try:
            await self._app(scope, receive, send_in_envelope)
        except Exception:
            if not answered:
                # Answered here, so that this one is in an envelope as well; the error goes on to the server's log.
                await problem_response(500, "The store failed")(scope, receive, send_in_envelope)
            raise


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            openapi_version="3.1.0",
            description=app.description,
            routes=app.routes,
        )
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas[ReceiptShown.__name__] = ReceiptShown.model_json_schema(
            mode="serialization", ref_template="#/components/schemas/{model}"
        )
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas[Problem.__name__] = problem
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        _lift_definitions(document, schemas)
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "A token of `POST /v1/tokens`."}
        }
        app.openapi_schema = document
    return app.openapi_schema


def _lift_definitions(node: Any, schemas: dict[str, Any]) -> None:
    """Move the definitions that schemas bring along to where all schemas are."""
    if isinstance(node, dict):
        schemas.update(node.pop("$defs", {}))
        for value in list(node.values()):
            _lift_definitions(value, schemas)
    elif isinstance(node, list):
        for value in node:
            _lift_definitions(value, schemas)
