"""Live carts: who listens to a visit is told the whole cart whenever it changes.

What is sent is a state and not a difference, so a listener that was away, or is slow, needs only the newest one: each
has a queue of bounded length out of which the oldest state falls. Changes are found by looking at the database, one
query for all visits that somebody listens to, so it does not matter which process wrote them; who writes in this
process can ``touch`` to have it looked at right away. If nobody listens, nothing is asked.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import blake2b
from typing import TypeAlias
from uuid import UUID

import anyio
from anyio.to_thread import run_sync
from sqlalchemy import func, select

from cart.cart import Cart
from cart.floor_state import ExpectedChange
from cart.repository import Database
from cart.sessions import SessionStatus
from cart.tables import CartEventRow, SessionRow

_log = logging.getLogger(__name__)

QUEUE_LENGTH = 4
MOST_LISTENERS = 1000
MOST_LISTENERS_A_VISIT = 8
SAME = timedelta(seconds=0.3)  # what was expected so close to a cart event has come true


Expects: TypeAlias = Callable[[UUID], tuple[ExpectedChange, ...]]
"""What will probably change in a visit's cart soon."""


def nothing_expected(session_id: UUID) -> tuple[ExpectedChange, ...]:
    """Of a store whose floor is not looked at."""
    return ()


@dataclass(frozen=True, slots=True)
class LiveCart:
    """The state of a visit's cart.

    Attributes:
        session_id: The visit.
        status: Where it stands.
        party_size: How many people shop on it.
        cart: What it holds.
        events: How many cart events it is made of.
        expected: What will probably change in it soon.
        expectation: Names what was expected when it was read; empty for nothing.
    """

    session_id: UUID
    status: SessionStatus
    party_size: int
    cart: Cart
    events: int
    expected: tuple[ExpectedChange, ...] = ()
    expectation: str = field(default="", repr=False)

    @property
    def version(self) -> str:
        """Names this state among those of its visit: cart events are only ever added."""
        return f"{self.events}-{self.status.value}-{self.party_size}{self.expectation}"

    @property
    def is_over(self) -> bool:
        """Whether the shopper has left, so that nothing more is to be told."""
        return self.status is not SessionStatus.OPEN


def read_live_cart(database: Database, session_id: UUID, expects: Expects = nothing_expected) -> LiveCart:
    """Read a visit's state.

    Raises:
        SessionNotFound: There is no such visit.
    """
    # Before the database: what comes true meanwhile is known by its time, and not lost between the two.
    expected = expects(session_id)
    with database.reading() as repository:
        session = repository.session(session_id)
        events = repository.cart_events(session_id)
    open_still = tuple(
        change for change in expected if not any(abs(event.occurred_at - change.at) < SAME for event in events)
    )
    expectation = _named(expected)
    return LiveCart(
        session_id, session.status, session.party_size, Cart.of(events), len(events), open_still, expectation
    )


def read_versions(
    database: Database, session_ids: Iterable[UUID], expects: Expects = nothing_expected
) -> dict[UUID, str]:
    """Read the versions of many visits' states in one query; a visit that is not there is left out."""
    ids = list(session_ids)
    expectations = {session_id: _named(expects(session_id)) for session_id in ids}
    events = func.count(CartEventRow.event_id)
    with database.reading() as repository:
        rows = repository.sql.execute(
            select(SessionRow.session_id, SessionRow.status, SessionRow.party_size, events)
            .outerjoin(CartEventRow, CartEventRow.session_id == SessionRow.session_id)
            .where(SessionRow.session_id.in_(ids))
            .group_by(SessionRow.session_id, SessionRow.status, SessionRow.party_size)
        ).all()
    return {
        session_id: f"{count}-{status}-{party_size}{expectations[session_id]}"
        for session_id, status, party_size, count in rows
    }


def _named(expected: tuple[ExpectedChange, ...]) -> str:
    """A short name of what is expected; how sure it is within a tenth makes no difference."""
    if not expected:
        return ""
    told = [(each.sku, each.quantity, round(each.probability, 1), each.at.isoformat()) for each in expected]
    return "-" + blake2b(repr(told).encode(), digest_size=6).hexdigest()


class TooManyListenersError(Exception):
    """No more listeners are taken, to this visit or at all."""


class LiveCarts:
    """Tells listeners of changes. Its listeners live on one event loop; ``touch`` may be called from any thread.

    Args:
        database: Where visits are.
        poll_s: How often visits that somebody listens to are looked at.
        most_listeners: How many there may be.
        most_a_visit: How many there may be to one visit.
        expects: What will probably change in a visit's cart soon; asked from other threads.
    """

    def __init__(
        self,
        database: Database,
        poll_s: float = 0.25,
        most_listeners: int = MOST_LISTENERS,
        most_a_visit: int = MOST_LISTENERS_A_VISIT,
        expects: Expects = nothing_expected,
    ) -> None:
        if poll_s <= 0:
            raise ValueError(f"poll_s: expected a positive time, got {poll_s}")
        self._database, self._expects = database, expects
        self._poll_s = poll_s
        self._most_listeners, self._most_a_visit = most_listeners, most_a_visit
        self._queues: dict[UUID, list[asyncio.Queue[LiveCart | None]]] = {}
        self._versions: dict[UUID, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._poller: asyncio.Task[None] | None = None
        self._wake: asyncio.Event | None = None
        self._is_closed = False

    @property
    def listeners(self) -> int:
        """How many listen."""
        return sum(len(queues) for queues in self._queues.values())

    def is_full(self, session_id: UUID) -> bool:
        """Whether no more listeners are taken, to this visit or at all."""
        return self.listeners >= self._most_listeners or len(self._queues.get(session_id, ())) >= self._most_a_visit

    def read(self, session_id: UUID) -> LiveCart:
        """Read a visit's state as listeners are told it; from any thread.

        Raises:
            SessionNotFound: There is no such visit.
        """
        return read_live_cart(self._database, session_id, self._expects)

    def touch(self) -> None:
        """Say that something was written, so that nobody waits for the next look."""
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(wake.set)

    def close(self) -> None:
        """Have whoever listens go; nobody listens any more."""
        self._is_closed = True
        loop = self._loop
        if loop is not None and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(self._end)

    async def listen(
        self, session_id: UUID, seen: str | None = None, stop: anyio.Event | None = None
    ) -> AsyncGenerator[LiveCart, None]:
        """Follow a visit until it ends.

        Args:
            session_id: The visit.
            seen: The version the listener has already; only what differs from it is given.
            stop: Ends it at once, as ``close`` does for everybody.

        Yields:
            The state now, and each one after it; a listener that is too slow misses states, never the newest. The last
            one says that the visit is over.

        Raises:
            SessionNotFound: There is no such visit.
            TooManyListenersError: No more are taken.
        """
        if self.is_full(session_id):
            raise TooManyListenersError(f"{self.listeners} listen already")
        queue: asyncio.Queue[LiveCart | None] = asyncio.Queue(QUEUE_LENGTH)
        # Listening starts before the first look, so that no change falls between the two.
        self._add(session_id, queue)
        try:
            state = await run_sync(self.read, session_id)
            while True:
                if state.version != seen:
                    seen = state.version
                    yield state
                if state.is_over or self._is_closed:
                    return
                changed = await _next(queue, stop)
                if changed is None:
                    return
                state = changed
        finally:
            self._remove(session_id, queue)

    def _add(self, session_id: UUID, queue: asyncio.Queue[LiveCart | None]) -> None:
        self._queues.setdefault(session_id, []).append(queue)
        loop = asyncio.get_running_loop()
        if self._poller is None or self._poller.done() or self._loop is not loop:
            self._loop, self._wake = loop, asyncio.Event()
            self._poller = loop.create_task(self._poll(self._wake), name="live carts")

    def _remove(self, session_id: UUID, queue: asyncio.Queue[LiveCart | None]) -> None:
        queues = self._queues.get(session_id, [])
        if queue in queues:
            queues.remove(queue)
        if not queues:
            self._queues.pop(session_id, None)
            self._versions.pop(session_id, None)
        if not self._queues and self._poller is not None:
            self._poller.cancel()
            self._poller = None

    async def _poll(self, wake: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), self._poll_s)
            wake.clear()
            try:
                versions = await run_sync(read_versions, self._database, tuple(self._queues), self._expects)
                for session_id in self._changed(versions):
                    state = await run_sync(self.read, session_id)
                    self._versions[session_id] = state.version
                    self._tell(state)
            except Exception:
                # A database that is away for a moment must not end everybody's stream.
                _log.exception("live carts could not be read")

    def _changed(self, versions: Mapping[UUID, str]) -> list[UUID]:
        return [
            session_id
            for session_id, version in versions.items()
            if session_id in self._queues and self._versions.get(session_id) != version
        ]

    def _tell(self, state: LiveCart) -> None:
        for queue in self._queues.get(state.session_id, ()):
            _put(queue, state)

    def _end(self) -> None:
        for queues in self._queues.values():
            for queue in queues:
                _put(queue, None)


def _put(queue: asyncio.Queue[LiveCart | None], state: LiveCart | None) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(state)


async def _next(queue: asyncio.Queue[LiveCart | None], stop: anyio.Event | None) -> LiveCart | None:
    """What comes next out of a queue; None if it is to stop before anything does."""
    if stop is None:
        return await queue.get()
    getting, stopping = asyncio.ensure_future(queue.get()), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({getting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return getting.result() if getting.done() else None
    finally:
        getting.cancel()
        stopping.cancel()
