"""The few endpoints of Stripe that the shop uses, with its rules as documented, for tests of our side of them."""

import json
from collections import deque
from copy import deepcopy
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

API_KEY = "sk_test_tillfree"
GOOD, DECLINED, NEEDS_AUTHENTICATION, UNCLEAR = "pm_good", "pm_declined", "pm_authentication", "pm_processing"
CUSTOMER = "cus_ada"


class StripeError(Exception):
    """An answer with an error in it."""

    def __init__(self, status: int, kind: str, code: str | None = None, param: str | None = None, **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": {"type": kind, "code": code, "param": param, "message": f"{kind} {code}", **more}}


class Cut(Response):
    """The connection breaks before the answer is whole."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})


class FakeStripe:
    """What Stripe remembers.

    Attributes:
        trouble: What goes wrong with the next calls: None, ``lost_request``, ``lost_reply``, ``error_before``,
            ``error_after`` or ``busy``.
        search_is_fresh: Whether the search sees what has happened since ``index`` was called.
        time_s: What it writes as the time of new things.
    """

    def __init__(self) -> None:
        self.intents: dict[str, dict[str, Any]] = {}
        self.refunds: list[dict[str, Any]] = []
        self.keys: dict[str, tuple[str, int, dict[str, Any]]] = {}
        self.trouble: deque[str | None] = deque()
        self.search_is_fresh = True
        self.time_s = 1_800_000_000
        self.asked: list[str] = []
        self._indexed: list[dict[str, Any]] = []
        self.app = Starlette(
            routes=[
                Route("/v1/payment_intents", self._endpoint, methods=["GET", "POST"]),
                Route("/v1/payment_intents/{rest:path}", self._endpoint, methods=["GET", "POST"]),
                Route("/v1/refunds", self._endpoint, methods=["GET", "POST"]),
            ]
        )

    def index(self) -> None:
        """Let the search catch up."""
        self._indexed = deepcopy(list(self.intents.values()))

    async def _endpoint(self, request: Request) -> Response:
        text = (await request.body()).decode() if request.method == "POST" else request.url.query
        given = dict(parse_qsl(text))
        path = request.url.path.removeprefix("/v1/")
        self.asked.append(f"{request.method} {path}")
        trouble = self.trouble.popleft() if self.trouble else None
        if request.headers.get("authorization") != f"Bearer {API_KEY}":
            return JSONResponse({"error": {"type": "invalid_request_error", "message": "no such key"}}, 401)
        if trouble == "lost_request":
            return Cut()
        if trouble == "busy":
            return JSONResponse({"error": {"type": "invalid_request_error", "message": "slow down"}}, 429)
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        asked = f"{path}?{text}"
        headers = {}
        if key is not None and key in self.keys:
            before, status, body = self.keys[key]
            headers["Idempotent-Replayed"] = "true"
            if before != asked:
                status, body = 400, {"error": {"type": "idempotency_error", "message": "other parameters"}}
        else:
            status, body = 500, {"error": {"type": "api_error", "message": "our fault"}}
            if trouble != "error_before":
                try:
                    carried_out = self._carry_out(request.method, path, given)
                except StripeError as error:
                    carried_out = error.status, error.body
                if trouble != "error_after":
                    status, body = carried_out
            # A request that does not pass validation is not kept.
            if key is not None and (status in (200, 402) or status >= 500):
                self.keys[key] = asked, status, deepcopy(body)
        return Cut() if trouble == "lost_reply" else JSONResponse(body, status, headers)

    def _carry_out(self, method: str, path: str, given: dict[str, str]) -> tuple[int, dict[str, Any]]:
        match [method, *path.split("/")]:
            case ["POST", "payment_intents"]:
                return 200, self._create(given)
            case ["GET", "payment_intents"]:
                return 200, self._listed("payment_intents", [self._shown(one) for one in self.intents.values()], given)
            case ["GET", "payment_intents", "search"]:
                return 200, self._search(given)
            case ["GET", "payment_intents", name]:
                return 200, self._shown(self._intent(name), expanded="expand[0]" in given)
            case ["POST", "payment_intents", name, "capture"]:
                return 200, self._shown(self._capture(self._intent(name), given))
            case ["POST", "payment_intents", name, "cancel"]:
                return 200, self._shown(self._cancel(self._intent(name)))
            case ["POST", "refunds"]:
                return 200, self._refund(given)
            case ["GET", "refunds"]:
                return 200, self._listed("refunds", self.refunds, given)
        raise StripeError(404, "invalid_request_error", "url_invalid")

    def _create(self, given: dict[str, str]) -> dict[str, Any]:
        required = {"confirm": "true", "off_session": "true", "capture_method": "manual"}
        if any(given.get(name) != value for name, value in required.items()):
            raise StripeError(400, "invalid_request_error", "parameter_missing", "confirm")
        method = given["payment_method"]
        if given["customer"] != CUSTOMER or method not in (GOOD, DECLINED, NEEDS_AUTHENTICATION, UNCLEAR):
            raise StripeError(404, "invalid_request_error", "resource_missing", "customer")
        amount = int(given["amount"])
        if amount < 50:
            raise StripeError(400, "invalid_request_error", "amount_too_small", "amount")
        status = {GOOD: "requires_capture", UNCLEAR: "processing"}.get(method, "requires_payment_method")
        intent = {
            "id": f"pi_{len(self.intents) + 1}",
            "object": "payment_intent",
            "amount": amount,
            "amount_received": 0,
            "created": self.time_s,
            "currency": given["currency"],
            "status": status,
            "metadata": {name[9:-1]: value for name, value in given.items() if name.startswith("metadata[")},
            "latest_charge": f"ch_{len(self.intents) + 1}",
            "amount_refunded": 0,
        }
        self.intents[str(intent["id"])] = intent
        if status == "requires_payment_method":
            code = "card_declined" if method == DECLINED else "authentication_required"
            raise StripeError(402, "card_error", code, payment_intent=self._shown(intent))
        return self._shown(intent)

    def _intent(self, name: str) -> dict[str, Any]:
        if name not in self.intents:
            raise StripeError(404, "invalid_request_error", "resource_missing", "intent")
        return self.intents[name]

    def _capture(self, intent: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
        if intent["status"] != "requires_capture":
            raise StripeError(400, "invalid_request_error", "payment_intent_unexpected_state")
        amount = int(given.get("amount_to_capture", intent["amount"]))
        if not 0 < amount <= intent["amount"]:
            raise StripeError(400, "invalid_request_error", "amount_too_large", "amount_to_capture")
        intent |= {"status": "succeeded", "amount_received": amount}
        return intent

    def _cancel(self, intent: dict[str, Any]) -> dict[str, Any]:
        if intent["status"] in ("succeeded", "canceled"):
            raise StripeError(400, "invalid_request_error", "payment_intent_unexpected_state")
        intent["status"] = "canceled"
        return intent

    def _refund(self, given: dict[str, str]) -> dict[str, Any]:
        intent, amount = self._intent(given["payment_intent"]), int(given["amount"])
        left = intent["amount_received"] - intent["amount_refunded"]
        if left == 0:
            raise StripeError(400, "invalid_request_error", "charge_already_refunded")
        if amount > left:
            raise StripeError(400, "invalid_request_error", None, "amount")
        intent["amount_refunded"] += amount
        refund = {
            "id": f"re_{len(self.refunds) + 1}",
            "object": "refund",
            "amount": amount,
            "status": "succeeded",
            "created": self.time_s,
            "payment_intent": intent["id"],
            "metadata": {name[9:-1]: value for name, value in given.items() if name.startswith("metadata[")},
        }
        self.refunds.append(refund)
        return refund

    def _listed(self, what: str, made: list[dict[str, Any]], given: dict[str, str]) -> dict[str, Any]:
        newest = [one for one in reversed(made) if one["created"] >= int(given["created[gte]"])]
        if "starting_after" in given:
            after = [one["id"] for one in newest].index(given["starting_after"])
            newest = newest[after + 1 :]
        # Pages of two, so that more than one is needed.
        return {"object": "list", "url": f"/v1/{what}", "data": newest[:2], "has_more": len(newest) > 2}

    def _search(self, given: dict[str, str]) -> dict[str, Any]:
        if self.search_is_fresh:
            self.index()
        name, _, value = given["query"].removeprefix("metadata['").partition("']:'")
        wanted = value.removesuffix("'").replace("\\'", "'").replace("\\\\", "\\")
        found = [intent for intent in reversed(self._indexed) if intent["metadata"].get(name) == wanted]
        return {
            "object": "search_result",
            "url": "/v1/payment_intents/search",
            "data": [self._shown(intent) for intent in found],
            "has_more": False,
            "next_page": None,
        }

    def _shown(self, intent: dict[str, Any], *, expanded: bool = False) -> dict[str, Any]:
        shown = {name: value for name, value in deepcopy(intent).items() if name != "amount_refunded"}
        if expanded:
            charge = {"id": shown["latest_charge"], "object": "charge", "amount_refunded": intent["amount_refunded"]}
            shown["latest_charge"] = charge
        return shown


def event_body(event_id: str, kind: str, subject: dict[str, Any]) -> bytes:
    """The body of a webhook."""
    return json.dumps({"id": event_id, "object": "event", "type": kind, "data": {"object": subject}}).encode()
