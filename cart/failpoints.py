"""Places at which a process can be made to die: before and after each commit and each call that leaves the shop.

Nothing in the shop knows of them. They are put around its database, its gateway and its outbox's handlers from outside,
so that a shop that does not ask for them does not have them:

>>> from cart.payments import FakeGateway, PaymentRequest
>>> points = Failpoints(crash_at="authorise.after:1")
>>> gateway = FailpointGateway(FakeGateway(), points)
>>> try:
...     gateway.authorise(PaymentRequest("charge:1", "ada", 199, "USD"))
... except CrashError as crash:
...     print(crash)
authorise.after:1
>>> points.reached
['authorise.before:1', 'authorise.after:1']
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn, Self, TypeVar

from sqlalchemy import Engine

from cart.outbox import Effect, Handler, Message
from cart.payments import Payment, PaymentGateway, PaymentRequest
from cart.repository import Database, Repository, make_engine

ENVIRONMENT = "TILLFREE_FAILPOINT"
"""Names the point at which a process that has them dies, such as ``commit.before:3``."""
KILLED = 137
"""How shells count a process that was ended by ``kill -9``."""

_T = TypeVar("_T")


class CrashError(BaseException):
    """The process dies here, so far as the code inside can tell; no ``except Exception`` holds it up."""


def _raise(point: str) -> NoReturn:
    raise CrashError(point)


def _exit(point: str) -> NoReturn:
    # As by kill -9: nothing is flushed, closed or rolled back.
    os._exit(KILLED)


class Failpoints:
    """Counts the points that are reached, and dies at one of them. Safe to use from several threads.

    Each is named for what happens there and how often it has: ``commit.after:2`` follows the second commit.

    Args:
        crash_at: The point to die at; None to count alone.
        die: How to die; raises ``CrashError``, if not said.
    """

    def __init__(self, crash_at: str | None = None, die: Callable[[str], NoReturn] = _raise) -> None:
        self._crash_at = crash_at
        self._die = die
        self._times: Counter[str] = Counter()
        self._reached: list[str] = []
        self._dead = False
        self._lock = threading.Lock()

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """What the environment asks for: to die for good at the point it names; None if it names none."""
        named = environment.get(ENVIRONMENT)
        return None if not named else cls(named, _exit)

    @property
    def reached(self) -> list[str]:
        """Every point that was reached, in order."""
        with self._lock:
            return list(self._reached)

    def reach(self, place: str) -> None:
        """Be at a place, and die there if it is the one.

        Raises:
            CrashError: It is; and everything after it, for a dead process does nothing more.
        """
        with self._lock:
            self._times[place] += 1
            point = f"{place}:{self._times[place]}"
            if not self._dead:
                self._reached.append(point)
            self._dead = self._dead or point == self._crash_at
            dead = self._dead
        if dead:
            self._die(point)

    def around(self, place: str, carry_out: Callable[[], _T]) -> _T:
        """Carry something out between two points."""
        self.reach(f"{place}.before")
        result = carry_out()
        self.reach(f"{place}.after")
        return result


class FailpointDatabase(Database):
    """A database with points before and after each commit.

    Args:
        engine: From ``make_engine``; its schema is the newest.
        points: The points.
    """

    def __init__(self, engine: Engine, points: Failpoints) -> None:
        super().__init__(engine)
        self._points = points

    @classmethod
    def at(cls, url: str, points: Failpoints) -> Self:
        """Open a database whose schema is the newest."""
        return cls(make_engine(url), points)

    @contextmanager
    def transaction(self) -> Iterator[Repository]:
        """A transaction that may die before its commit, when nothing of it stays, or after it."""
        with super().transaction() as repository:
            yield repository
            self._points.reach("commit.before")
        self._points.reach("commit.after")


class FailpointGateway:
    """A ``PaymentGateway`` with points before and after each call.

    Args:
        gateway: Who carries the calls out.
        points: The points.
    """

    def __init__(self, gateway: PaymentGateway, points: Failpoints) -> None:
        self._gateway = gateway
        self._points = points

    def authorise(self, request: PaymentRequest) -> Payment:
        """Hold an amount; see ``PaymentGateway.authorise``."""
        return self._points.around("authorise", lambda: self._gateway.authorise(request))

    def capture(self, payment: Payment, amount_minor: int | None = None) -> Payment:
        """Take a held amount; see ``PaymentGateway.capture``."""
        return self._points.around("capture", lambda: self._gateway.capture(payment, amount_minor))

    def void(self, payment: Payment) -> Payment:
        """Let a hold go; see ``PaymentGateway.void``."""
        return self._points.around("void", lambda: self._gateway.void(payment))

    def refund(self, payment: Payment, amount_minor: int, idempotency_key: str) -> Payment:
        """Give something back; see ``PaymentGateway.refund``."""
        return self._points.around("refund", lambda: self._gateway.refund(payment, amount_minor, idempotency_key))

    def look_up(self, idempotency_key: str) -> Payment | None:
        """Find a payment; see ``PaymentGateway.look_up``."""
        return self._points.around("look_up", lambda: self._gateway.look_up(idempotency_key))

    def look_up_refund(self, idempotency_key: str) -> int | None:
        """Find a refund; see ``PaymentGateway.look_up_refund``."""
        return self._points.around("look_up_refund", lambda: self._gateway.look_up_refund(idempotency_key))


def with_failpoints(handlers: Mapping[Effect, Handler], points: Failpoints) -> dict[Effect, Handler]:
    """Put points before and after what the outbox's handlers do."""

    def around(effect: Effect, handler: Handler) -> Handler:
        def carry_out(message: Message) -> None:
            points.around(effect.value, lambda: handler(message))

        return carry_out

    return {effect: around(effect, handler) for effect, handler in handlers.items()}
