"""A payment gateway for trying things out, as a process of its own: ``python -m cart.gateways.fake --port 8700``.

It keeps its books in a file (``--journal``), so it may be killed at any time, and it fails as told, by chance or on
order (``POST /admin/faults``). It listens on this machine alone and takes no card data: a shopper's id is all it knows.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import uvicorn
from fastapi import FastAPI, Header
from pydantic import BaseModel, ConfigDict, Field
from standardwebhooks import Webhook
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from cart.gateways.journal import (
    Call,
    GatewayFault,
    Journal,
    JournalPayment,
    RefusedError,
    StoredFailureError,
    delivery_order,
)
from cart.money import minor_digits

Share = Annotated[float, Field(ge=0, le=1)]
Key = Annotated[str, Header(alias="Idempotency-Key", min_length=1, max_length=255)]

_WEBHOOK_ATTEMPTS = 5


class Behaviour(BaseModel):
    """How the gateway misbehaves by chance. Shares are of all calls, between 0 and 1; their sum is at most 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lost_requests: Share = Field(default=0.0, description="Calls that are neither carried out nor answered.")
    lost_replies: Share = Field(default=0.0, description="Calls that are carried out but not answered.")
    declines: Share = Field(default=0.0, description="Holds, captures, voids and refunds that are refused for good.")
    errors_before: Share = Field(default=0.0, description="500s without anything done, replayed under their key.")
    errors_after: Share = Field(default=0.0, description="500s after the work was done, replayed under their key.")
    garbage: Share = Field(default=0.0, description="Calls that are carried out and answered with garbage.")
    delay_s: float = Field(default=0.0, ge=0, le=60, description="Longest wait before a call is dealt with.")
    silence_s: float = Field(
        default=0.0, ge=0, le=600, description="How long a lost call is left waiting before its connection is cut."
    )
    webhook_delay_s: float = Field(default=0.0, ge=0, le=600, description="How long webhooks are held back.")
    webhooks_doubled: Share = Field(default=0.0, description="Webhooks that are delivered twice.")
    webhooks_shuffled: bool = Field(default=False, description="Whether webhooks of one batch come in any order.")

    def shares(self) -> tuple[tuple[GatewayFault, float], ...]:
        """Each fault with its share."""
        return (
            (GatewayFault.LOST_REQUEST, self.lost_requests),
            (GatewayFault.LOST_REPLY, self.lost_replies),
            (GatewayFault.DECLINE, self.declines),
            (GatewayFault.ERROR_BEFORE, self.errors_before),
            (GatewayFault.ERROR_AFTER, self.errors_after),
            (GatewayFault.GARBAGE, self.garbage),
        )


class HoldOrder(BaseModel):
    """A hold to make."""

    shopper_id: str = Field(min_length=1, max_length=200)
    amount_minor: int = Field(gt=0, le=10**15)
    currency: str = Field(min_length=3, max_length=3)


class CaptureOrder(BaseModel):
    """What to take of a hold."""

    amount_minor: int | None = Field(default=None, description="All of it, if not said.")


class RefundOrder(BaseModel):
    """What to give back."""

    amount_minor: int


class FaultOrder(BaseModel):
    """Faults for the next calls of a kind."""

    call: Call
    fault: GatewayFault
    times: int = Field(default=1, ge=1, le=1000)


class _CutReply(Response):
    """An answer that never comes: after a silence the connection is closed in its middle."""

    def __init__(self, silence_s: float) -> None:
        super().__init__()
        self._silence_s = silence_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(self._silence_s)
        # The server closes a connection whose answer is shorter than it said.
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


def _problem(status: int, title: str, detail: str) -> JSONResponse:
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(content, status, media_type="application/problem+json")


def make_gateway(
    journal: Journal,
    behaviour: Behaviour | None = None,
    *,
    seed: int = 0,
    declined_shoppers: Sequence[str] = (),
    webhook_url: str | None = None,
    webhook_secret: str | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FastAPI:
    """Make the gateway's web application.

    Args:
        journal: Its books.
        behaviour: How it misbehaves by chance; not at all, if not said. ``PUT /admin/behaviour`` changes it.
        seed: Of chance.
        declined_shoppers: Accounts that never pay.
        webhook_url: Who is told what happened; nobody, if not said.
        webhook_secret: Signs webhooks as Standard Webhooks 1.0.0 says (``whsec_...``); needed with an address.
        now: The time that webhooks are signed with.

    Raises:
        ValueError: There is an address for webhooks but no secret.
    """
    if webhook_url is not None and webhook_secret is None:
        raise ValueError("webhook_secret: expected one, webhooks are always signed")
    # A restarted gateway goes on elsewhere in the sequence, or it would repeat its faults.
    chance = random.Random(f"{seed}:{len(journal.payments())}:{sum(journal.faults().values())}")
    refusing = frozenset(declined_shoppers)
    acting = behaviour or Behaviour()

    def fault_of(call: Call) -> GatewayFault | None:
        fault = journal.next_ordered_fault(call)
        drawn = chance.random()
        for candidate, share in acting.shares():
            if fault is None and drawn < share:
                fault = candidate
            drawn -= share
        if call is Call.LOOK_UP and fault is GatewayFault.DECLINE:
            return None
        if fault is not None:
            journal.count_fault(fault)
        return fault

    async def answer(
        call: Call, carry_out: Callable[[bool], Any], status: int = 200, key: str | None = None, asked: str = ""
    ) -> Response:
        """Carry a call out, or not, and answer it, or not."""
        if acting.delay_s:
            await asyncio.sleep(chance.uniform(0, acting.delay_s))
        fault = fault_of(call)
        failed = _problem(500, "Gateway failed", "something went wrong here; whether it was carried out is not known")
        if fault is GatewayFault.LOST_REQUEST:
            return _CutReply(acting.silence_s)
        try:
            if key is not None:
                journal.check_key(key)
            if fault is GatewayFault.ERROR_BEFORE:
                if key is not None:
                    journal.keep_failure(key, asked)
                return failed
            reply: Response = JSONResponse(carry_out(fault is GatewayFault.DECLINE), status)
        except StoredFailureError:
            return failed
        except RefusedError as refused:
            reply = _problem(refused.status, refused.title, str(refused))
        if fault is GatewayFault.ERROR_AFTER:
            if key is not None:
                journal.fail_key(key)
            return failed
        if fault is GatewayFault.GARBAGE:
            return Response(b'{"reference": "fake-', status, media_type="application/json")
        return _CutReply(acting.silence_s) if fault is GatewayFault.LOST_REPLY else reply

    async def send_webhooks(url: str, secret: str) -> None:
        """Deliver events, batch by batch, until the gateway stops."""
        signer = Webhook(secret)
        tries: dict[int, int] = {}
        async with httpx.AsyncClient(timeout=5.0) as client:
            while True:
                batch = [
                    event for event in journal.events(unsent=True) if tries.get(event.number, 0) < _WEBHOOK_ATTEMPTS
                ]
                await asyncio.sleep(acting.webhook_delay_s if batch else 0.05)
                order = delivery_order(
                    tuple(batch), chance, doubled=acting.webhooks_doubled, shuffled=acting.webhooks_shuffled
                )
                for event in order:
                    tries[event.number] = tries.get(event.number, 0) + 1
                    at = now().astimezone(UTC)  # the library signs the wall clock of whatever zone it is given
                    headers = {
                        "webhook-id": event.event_id,
                        "webhook-timestamp": str(int(at.timestamp())),
                        "webhook-signature": signer.sign(event.event_id, at, event.body),
                        "content-type": "application/json",
                    }
                    try:
                        told = await client.post(url, content=event.body, headers=headers)
                    except httpx.HTTPError:
                        continue
                    if told.is_success:
                        journal.mark_sent(event)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sending = None
        if webhook_url is not None and webhook_secret is not None:
            sending = asyncio.create_task(send_webhooks(webhook_url, webhook_secret))
        yield
        if sending is not None:
            sending.cancel()

    app = FastAPI(title="Fake gateway", lifespan=lifespan, docs_url=None, redoc_url=None)

    # A page in a browser on this machine could otherwise reach it under a name of its own (DNS rebinding).
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    @app.post("/payments")
    async def authorise(order: HoldOrder, key: Key) -> Response:
        try:
            minor_digits(order.currency)
        except ValueError as error:
            return _problem(422, "Unknown currency", str(error))

        def carry_out(declined: bool) -> dict[str, Any]:
            refused = declined or order.shopper_id in refusing
            return asdict(
                journal.authorise(key, order.shopper_id, order.amount_minor, order.currency, declined=refused)
            )

        asked = json.dumps(["authorise", order.shopper_id, order.amount_minor, order.currency])
        return await answer(Call.AUTHORISE, carry_out, 201, key, asked)

    @app.post("/payments/{reference}/capture")
    async def capture(reference: str, order: CaptureOrder) -> Response:
        return await answer(
            Call.CAPTURE,
            lambda declined: asdict(journal.capture(reference, order.amount_minor, declined=declined)),
        )

    @app.post("/payments/{reference}/void")
    async def void(reference: str) -> Response:
        return await answer(Call.VOID, lambda declined: asdict(journal.void(reference, declined=declined)))

    @app.post("/payments/{reference}/refunds")
    async def refund(reference: str, order: RefundOrder, key: Key) -> Response:
        asked = json.dumps(["refund", reference, order.amount_minor])
        return await answer(
            Call.REFUND,
            lambda declined: asdict(journal.refund(reference, order.amount_minor, key, declined=declined)),
            201,
            key,
            asked,
        )

    @app.get("/payments")
    async def look_up(idempotency_key: str) -> Response:
        return await answer(
            Call.LOOK_UP, lambda _: {"payments": [asdict(payment) for payment in journal.look_up(idempotency_key)]}
        )

    @app.get("/refunds")
    async def look_up_refund(idempotency_key: str) -> Response:
        return await answer(Call.LOOK_UP, lambda _: {"amount_minor": journal.look_up_refund(idempotency_key)})

    @app.get("/admin/behaviour")
    async def read_behaviour() -> Behaviour:
        return acting

    @app.put("/admin/behaviour")
    async def change_behaviour(wanted: Behaviour) -> Behaviour:
        nonlocal acting
        acting = wanted
        return acting

    @app.post("/admin/faults", status_code=204)
    async def order_fault(order: FaultOrder) -> None:
        journal.order_fault(order.call, order.fault, order.times)

    @app.post("/admin/prune-keys")
    async def prune_keys() -> dict[str, int]:
        return {"forgotten": journal.prune_keys()}

    @app.get("/admin/journal")
    async def read_journal() -> dict[str, Any]:
        payments: tuple[JournalPayment, ...] = journal.payments()
        return {
            "payments": [asdict(payment) for payment in payments],
            "faults": journal.faults(),
            "events": [asdict(event) for event in journal.events()],
        }

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the gateway on this machine until it is stopped.

    Args:
        arguments: Of the command line; the process's own, if not said.
    """
    parser = argparse.ArgumentParser(prog="python -m cart.gateways.fake", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="where to listen, on 127.0.0.1")
    parser.add_argument("--journal", type=Path, required=True, help="the file that the books are kept in")
    parser.add_argument("--seed", type=int, default=time.time_ns(), help="of chance")
    parser.add_argument("--declined-shopper", action="append", default=[], help="an account that never pays")
    parser.add_argument("--webhook-url", help="who is told what happened")
    parser.add_argument("--webhook-secret", help="what webhooks are signed with (whsec_...)")
    for name, field in Behaviour.model_fields.items():
        option = f"--{name.replace('_', '-')}"
        if field.default is False:
            parser.add_argument(option, action="store_true", help=field.description)
        else:
            parser.add_argument(option, type=float, default=field.default, help=field.description)
    given = vars(parser.parse_args(arguments))
    try:
        behaviour = Behaviour(**{name: given[name] for name in Behaviour.model_fields})
        with Journal(given["journal"]) as journal:
            app = make_gateway(
                journal,
                behaviour,
                seed=given["seed"],
                declined_shoppers=given["declined_shopper"],
                webhook_url=given["webhook_url"],
                webhook_secret=given["webhook_secret"],
            )
            # Cut connections are what it is told to do; the server's complaints about them would fill the screen.
            uvicorn.run(
                app,
                host="127.0.0.1",
                port=given["port"],
                log_level="critical",
                access_log=False,
                timeout_graceful_shutdown=2,
            )
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
