"""The shop's side of the fake gateway's protocol: calls over HTTP, and what is known after each."""

from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from cart.errors import IdempotencyKeyReused, PaymentDeclined, PaymentUnknown
from cart.payments import Payment, PaymentRequest, PaymentState


class _PaymentReply(BaseModel):
    reference: str
    idempotency_key: str
    shopper_id: str
    amount_minor: int
    currency: str
    state: PaymentState
    captured_minor: int
    refunded_minor: int

    def payment(self) -> Payment:
        request = PaymentRequest(self.idempotency_key, self.shopper_id, self.amount_minor, self.currency)
        return Payment(self.reference, request, self.state, self.captured_minor, self.refunded_minor)


class _Found(BaseModel):
    payments: list[_PaymentReply]


class _FoundRefund(BaseModel):
    amount_minor: int | None


Reply = TypeVar("Reply", bound=BaseModel)


class RemoteGateway:
    """A ``PaymentGateway`` that is another process; see ``cart.gateways.fake``. Safe to call from several threads.

    What is not a clear yes or no is ``PaymentUnknown``: a time-out, a broken connection, any answer of 5xx or 429, and
    one that cannot be read. A definite no is ``PaymentDeclined``: 402, or that there is no such payment.

    Args:
        base_url: Where it listens, such as ``http://127.0.0.1:8700``.
        timeout_s: How long to wait for a connection, and for each piece of an answer.
        client: What to call through instead, as in tests.

    Raises:
        ValueError: The address is none, or the time-out is not positive.
    """

    def __init__(self, base_url: str, timeout_s: float = 5.0, client: httpx.Client | None = None) -> None:
        if timeout_s <= 0:
            raise ValueError(f"timeout_s: expected a positive number, got {timeout_s}")
        try:
            url = httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise ValueError(f"base_url: expected an address such as http://127.0.0.1:8700: {error}") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"base_url: expected an address such as http://127.0.0.1:8700, got {base_url}")
        # No proxies of the environment: money goes straight to the address that was configured.
        self._client = client or httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def authorise(self, request: PaymentRequest) -> Payment:
        """Hold an amount; see ``PaymentGateway.authorise``."""
        order = {
            "shopper_id": request.shopper_id,
            "amount_minor": request.amount_minor,
            "currency": request.currency,
        }
        payment = self._ask("POST", "/payments", _PaymentReply, order, request.idempotency_key).payment()
        if payment.request != request:
            raise PaymentUnknown(f"{request.idempotency_key}: the gateway answered with another payment")
        return payment

    def capture(self, payment: Payment, amount_minor: int | None = None) -> Payment:
        """Take a held amount, or a part of it; see ``PaymentGateway.capture``."""
        return self._ask("POST", _path(payment, "capture"), _PaymentReply, {"amount_minor": amount_minor}).payment()

    def void(self, payment: Payment) -> Payment:
        """Let a hold go; see ``PaymentGateway.void``."""
        return self._ask("POST", _path(payment, "void"), _PaymentReply).payment()

    def refund(self, payment: Payment, amount_minor: int, idempotency_key: str) -> Payment:
        """Give something back; see ``PaymentGateway.refund``."""
        order = {"amount_minor": amount_minor}
        return self._ask("POST", _path(payment, "refunds"), _PaymentReply, order, idempotency_key).payment()

    def look_up(self, idempotency_key: str) -> Payment | None:
        """Find a payment by its key; see ``PaymentGateway.look_up``.

        Of several, made because the gateway forgot the key in between, the one that took money counts, else the first
        that still holds some.
        """
        found = self._ask("GET", "/payments", _Found, query={"idempotency_key": idempotency_key}).payments
        order = (PaymentState.CAPTURED, PaymentState.AUTHORISED)
        ranked = sorted(found, key=lambda reply: order.index(reply.state) if reply.state in order else len(order))
        return ranked[0].payment() if ranked else None

    def look_up_refund(self, idempotency_key: str) -> int | None:
        """What was given back under a key; see ``PaymentGateway.look_up_refund``."""
        return self._ask("GET", "/refunds", _FoundRefund, query={"idempotency_key": idempotency_key}).amount_minor

    def _ask(
        self,
        method: str,
        path: str,
        reply: type[Reply],
        order: dict[str, Any] | None = None,
        key: str | None = None,
        query: dict[str, str] | None = None,
    ) -> Reply:
        headers = {} if key is None else {"Idempotency-Key": key}
        what = f"{method} {path}"
        try:
            answer = self._client.request(method, path, json=order, headers=headers, params=query)
        except httpx.HTTPError as error:
            raise PaymentUnknown(f"{what}: no answer: {type(error).__name__}") from error
        # Only the gateway's own 404 says that there is no such payment; a wrong address would answer 404 as well.
        is_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
        if answer.status_code == 402 or (answer.status_code == 404 and is_problem):
            raise PaymentDeclined(f"{what}: {_detail(answer)}")
        if answer.status_code == 422 and _title(answer) == "Idempotency key reused":
            raise IdempotencyKeyReused(f"{what}: {_detail(answer)}")
        if not answer.is_success:
            raise PaymentUnknown(f"{what}: the gateway answered {answer.status_code}: {_detail(answer)}")
        try:
            return reply.model_validate_json(answer.content)
        except ValidationError as error:
            raise PaymentUnknown(f"{what}: the gateway's answer cannot be read") from error


def _path(payment: Payment, verb: str) -> str:
    return f"/payments/{quote(payment.reference, safe='')}/{verb}"


def _member(answer: httpx.Response, name: str) -> str:
    try:
        problem = answer.json()
    except ValueError:
        return ""
    return str(problem.get(name, "")) if isinstance(problem, dict) else ""


def _title(answer: httpx.Response) -> str:
    return _member(answer, "title")


def _detail(answer: httpx.Response) -> str:
    return _member(answer, "detail") or "no reason given"
