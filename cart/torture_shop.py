"""The shop that the torture kills: a server process with a real checkout, its gateway and its sweeper.

It is started by a small parent that has everything loaded already and forks (``python -m cart.torture_shop``), so that
a hundred starts take seconds. The parent is told what to do on its standard input, line by line: ``start`` forks a
server, ``start POINT`` one that dies at a failpoint, ``kill`` ends it with SIGKILL. Each is answered once it is done.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import func, select
from starlette.responses import JSONResponse

from cart.catalog import Catalogue, Product
from cart.checkout import Checkout
from cart.errors import StoreError
from cart.events import CartEvent
from cart.failpoints import (
    ENVIRONMENT,
    KILLED,
    FailpointDatabase,
    FailpointGateway,
    Failpoints,
    with_failpoints,
)
from cart.gateways.remote import RemoteGateway
from cart.outbox import MONEY, Effect, Message, MessageStatus, Sweeper, SweeperThread
from cart.payments import Payment, PaymentGateway, PaymentRequest
from cart.repository import Database, make_engine
from cart.sessions import SessionStatus
from cart.tables import OutboxRow, SessionRow

CURRENCY = "EUR"
HOLD_MINOR = 2000
PRICES_MINOR = {f"sku-{number}": 37 + 61 * number for number in range(40)}
"""What the tortured shop sells."""
_SWEEP_EVERY_S = 0.25
_SETTLE_S = 10.0


@dataclass(frozen=True, slots=True)
class ShopOrder:
    """How to run the shop.

    Attributes:
        database_url: Its database, of the newest schema.
        gateway_url: Its gateway.
        port: Where it listens, on 127.0.0.1.
        mailbox: A file that every receipt sent is written to, a line each, as if it were the shoppers' mail.
        fresh_keys: Whether to make a new idempotency key for each try: a mistake, to see that it is found.
        gateway_timeout_s: How long to wait for the gateway.
    """

    database_url: str
    gateway_url: str
    port: int
    mailbox: str
    fresh_keys: bool = False
    gateway_timeout_s: float = 5.0


class FreshKeys:
    """A gateway under which every try has a new idempotency key, as a careless shop would have it.

    Args:
        gateway: Who moves the money.
        new_id: Makes the keys different.
    """

    def __init__(self, gateway: PaymentGateway, new_id: Callable[[], UUID] = uuid4) -> None:
        self._gateway = gateway
        self._new_id = new_id

    def authorise(self, request: PaymentRequest) -> Payment:
        """Hold an amount once more."""
        fresh = replace(request, idempotency_key=f"{request.idempotency_key}:{self._new_id()}")
        return replace(self._gateway.authorise(fresh), request=request)

    def capture(self, payment: Payment, amount_minor: int | None = None) -> Payment:
        """Take a held amount."""
        return replace(self._gateway.capture(payment, amount_minor), request=payment.request)

    def void(self, payment: Payment) -> Payment:
        """Let a hold go."""
        return replace(self._gateway.void(payment), request=payment.request)

    def refund(self, payment: Payment, amount_minor: int, idempotency_key: str) -> Payment:
        """Give something back once more."""
        key = f"{idempotency_key}:{self._new_id()}"
        return replace(self._gateway.refund(payment, amount_minor, key), request=payment.request)

    def look_up(self, idempotency_key: str) -> Payment | None:
        """Look for a key that nothing was ever made under."""
        return self._gateway.look_up(idempotency_key)

    def look_up_refund(self, idempotency_key: str) -> int | None:
        """Look for a key that nothing was ever given back under."""
        return self._gateway.look_up_refund(idempotency_key)


class _Entry(BaseModel):
    shopper_id: str
    with_hold: bool


class _Taken(BaseModel):
    event_id: UUID
    sku: str
    quantity: int


class _Picks(BaseModel):
    at: datetime
    events: list[_Taken]


class _Refund(BaseModel):
    amount_minor: int
    cause_id: UUID


def catalogue() -> Catalogue:
    """What the shop sells, at which prices."""
    return Catalogue(
        CURRENCY, [Product(sku, sku, price, CURRENCY, tax_rate_bp=1900) for sku, price in PRICES_MINOR.items()]
    )


def make_shop(
    database: Database,
    gateway: PaymentGateway,
    mailbox: str,
    now: Callable[[], datetime],
    points: Failpoints | None = None,
) -> FastAPI:
    """Make the shop's web application: ``/enter``, ``/visits/{id}/picks``, ``/exit``, ``/refund``; ``/settle``.

    Args:
        database: Its database.
        gateway: Its gateway.
        mailbox: The file that sent receipts are written to.
        now: The time.
        points: Where sending a receipt may end the process; nowhere, if not said.
    """
    holding = Checkout(database, catalogue(), gateway, hold_minor=HOLD_MINOR, now=now)
    plain = Checkout(database, catalogue(), gateway, now=now)
    mail = os.open(mailbox, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def send_receipt(message: Message) -> None:
        os.write(mail, f"{message.key}\n".encode())

    handlers = {Effect.RECEIPT: send_receipt}
    sweeper = Sweeper(database, plain.handlers() | (handlers if points is None else with_failpoints(handlers, points)))
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.sweeper = sweeper
    app.state.checkout = plain

    @app.exception_handler(StoreError)
    def say(_: object, error: StoreError) -> JSONResponse:
        return JSONResponse({"title": error.title, "detail": str(error)}, error.status)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/enter")
    def enter(entry: _Entry) -> dict[str, Any]:
        # Who was let in and does not know it, for the answer was lost, is let in to the same visit.
        with database.reading() as repository:
            session_id = repository.sql.scalars(
                select(SessionRow.session_id).where(
                    SessionRow.shopper_id == entry.shopper_id, SessionRow.status != SessionStatus.ABANDONED.value
                )
            ).first()
        if session_id is None:
            session_id = plain.check_in(entry.shopper_id, now()).session_id
        if entry.with_hold and plain.session(session_id).status is SessionStatus.OPEN:
            holding.hold(session_id, now())
        return {"session_id": str(session_id)}

    @app.post("/visits/{session_id}/picks")
    def pick(session_id: UUID, picks: _Picks) -> dict[str, int]:
        for taken in picks.events:
            plain.record(CartEvent(taken.event_id, session_id, picks.at, taken.sku, taken.quantity))
        return {"recorded": len(picks.events)}

    @app.post("/visits/{session_id}/exit")
    def leave(session_id: UUID) -> dict[str, str]:
        return {"status": plain.close(session_id, now()).status.value}

    @app.post("/visits/{session_id}/refund")
    def refund(session_id: UUID, wanted: _Refund) -> dict[str, str]:
        made = plain.refund(session_id, wanted.amount_minor, "it was spoilt", wanted.cause_id, now())
        return {"status": made.status.value}

    @app.post("/settle")
    def settle() -> dict[str, int]:
        """Go on with what is open, as if days had passed; for some seconds, then whoever asks has to ask again."""
        plain.resume(now())
        until = time.monotonic() + _SETTLE_S
        # What a sweeper claimed that then died is left alone for a while: hence more than one day.
        for days in (1, 2, 3):
            while sweeper.sweep(now() + timedelta(days=days)) and time.monotonic() < until:
                pass
        with database.reading() as repository:
            kinds = [*MONEY, Effect.RECEIPT]
            waiting = repository.sql.scalar(
                select(func.count())
                .select_from(OutboxRow)
                .where(OutboxRow.status == MessageStatus.WAITING.value, OutboxRow.kind.in_([k.value for k in kinds]))
            )
            pending = repository.pending_charges(), repository.pending_refunds(), repository.unsettled_holds()
        return {"waiting": waiting or 0, "pending": sum(map(len, pending))}

    return app


def serve(order: ShopOrder, points: Failpoints | None = None) -> None:
    """Run the shop until it is killed: go on with what was left behind, sweep, and serve.

    Args:
        order: How.
        points: Where it may die by itself; nowhere, if not said.
    """

    def now() -> datetime:
        return datetime.now(UTC)

    engine = make_engine(order.database_url)
    database = Database(engine) if points is None else FailpointDatabase(engine, points)
    remote = RemoteGateway(order.gateway_url, order.gateway_timeout_s)
    gateway: PaymentGateway = FreshKeys(remote) if order.fresh_keys else remote
    if points is not None:
        gateway = FailpointGateway(gateway, points)
    app = make_shop(database, gateway, order.mailbox, now, points)
    # Beside serving, as in a real shop: whoever comes back to a visit meets those who are settling it.
    threading.Thread(target=app.state.checkout.resume, args=(now(),), daemon=True).start()
    SweeperThread(app.state.sweeper, now, _SWEEP_EVERY_S).start()
    uvicorn.run(app, host="127.0.0.1", port=order.port, log_level="critical", access_log=False)


def main() -> None:
    """Be the parent: fork a shop when told so, kill it when told so."""
    order = ShopOrder(**json.loads(sys.argv[1]))
    logging.basicConfig(level=logging.ERROR)  # lost calls are what it is here for
    child = 0
    for line in sys.stdin:
        word, _, point = line.strip().partition(" ")
        if word == "start":
            child = os.fork()
            if child == 0:
                try:
                    serve(order, Failpoints.of_environment({ENVIRONMENT: point}))
                finally:
                    os._exit(1)
        elif word == "kill" and child:
            os.kill(child, signal.SIGKILL)
            _, ended = os.waitpid(child, 0)
            child, status = 0, os.waitstatus_to_exitcode(ended)
            if status not in (-signal.SIGKILL, KILLED):
                raise ChildProcessError(f"the shop ended by itself with status {status}")
        sys.stdout.write("done\n")
        sys.stdout.flush()
    # Whoever told it what to do is gone.
    if child:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def order_text(order: ShopOrder) -> str:
    """An order as the parent reads it on its command line."""
    return json.dumps(asdict(order))


if __name__ == "__main__":
    main()
