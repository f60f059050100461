"""Tells listeners of the floor: what everybody is told is put together once, however many listen."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from anyio.to_thread import run_sync
from sqlalchemy import func, select

from cart.floor_state import FloorState, Happened, LiveFloor
from cart.repository import Database
from cart.tables import CartEventRow, ReviewFlagRow

_log = logging.getLogger(__name__)

LEAST_GAP_S = 0.2
"""No listener is told more often."""
LOOK_S = 0.04
SILENT_S = 1.0
"""A floor on which nothing changes is told again so often, so that whoever looks knows that it is watched."""
CARTS_S = 0.5
MOST_LISTENERS = 200
FIRST_EVENTS = 20


@dataclass(frozen=True, slots=True)
class CartBrief:
    """What is known of a visit's cart at a glance."""

    units: int = 0
    flagged: bool = False


@dataclass(frozen=True, slots=True)
class FloorNews:
    """The floor at one instant, and what happened since the listener was last told."""

    state: FloorState
    happened: Sequence[Happened]
    carts: dict[UUID, CartBrief] = field(default_factory=dict)


def read_carts(database: Database, session_ids: Iterable[UUID]) -> dict[UUID, CartBrief]:
    """How many units are in each of some carts, and whether a person is to look at them."""
    ids = list(session_ids)
    if not ids:
        return {}
    with database.reading() as repository:
        rows = repository.sql.execute(
            select(CartEventRow.session_id, func.sum(CartEventRow.quantity))
            .where(CartEventRow.session_id.in_(ids))
            .group_by(CartEventRow.session_id)
        )
        units: dict[UUID, int] = {session_id: int(count) for session_id, count in rows}
        flagged = set(
            repository.sql.scalars(select(ReviewFlagRow.session_id).where(ReviewFlagRow.session_id.in_(ids)).distinct())
        )
    return {each: CartBrief(max(0, units.get(each, 0)), each in flagged) for each in ids}


class FloorFeed:
    """Looks at the floor while somebody listens. Its listeners live on one event loop.

    Args:
        live: The floor.
        database: Where carts are.
        most_listeners: How many there may be.
    """

    def __init__(self, live: LiveFloor, database: Database, most_listeners: int = MOST_LISTENERS) -> None:
        self._live, self._database, self._most_listeners = live, database, most_listeners
        self._changed = asyncio.Event()
        self._state: FloorState | None = None
        self._carts: dict[UUID, CartBrief] = {}
        self._worker: asyncio.Task[None] | None = None
        self.listeners = 0

    @property
    def is_full(self) -> bool:
        """Whether no more listeners are taken."""
        return self.listeners >= self._most_listeners

    async def listen(self, is_over: Callable[[], bool]) -> AsyncGenerator[FloorNews, None]:
        """Follow the floor until the store closes.

        Args:
            is_over: Whether this listener is to go.
        """
        self.listeners += 1
        try:
            if self._worker is None or self._worker.done():
                self._worker = asyncio.create_task(self._look(), name="floor feed")
            recent = self._live.happened_since(0)
            number = recent[-FIRST_EVENTS - 1].number if len(recent) > FIRST_EVENTS else 0
            told: FloorState | None = None
            while not (is_over() or self._live.is_closed):
                state = self._state
                if state is None or state is told:
                    changed = self._changed
                    try:
                        await asyncio.wait_for(changed.wait(), LEAST_GAP_S)
                    except TimeoutError:
                        continue
                    continue
                told = state
                happened = self._live.happened_since(number)
                if happened:
                    number = happened[-1].number
                yield FloorNews(state, happened, self._carts)
        finally:
            self.listeners -= 1
            if self.listeners == 0 and self._worker is not None:
                self._worker.cancel()
                self._worker, self._state = None, None

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        told_s, carts_s = -SILENT_S, -CARTS_S
        before: FloorState | None = None
        number = -1
        while True:
            state = self._live.state()
            now_s = loop.time()
            fresh = self._live.happened_since(max(0, number))
            news = state is not None and (before is None or state.at != before.at or bool(fresh))
            if state is not None and ((news and now_s - told_s >= LEAST_GAP_S) or now_s - told_s >= SILENT_S):
                if now_s - carts_s >= CARTS_S or fresh:
                    carts_s = now_s
                    try:
                        ids = {each.session_id for each in state.people if each.session_id is not None}
                        self._carts = await run_sync(read_carts, self._database, ids)
                    except Exception:
                        # A database that is away for a moment must not end everybody's stream.
                        _log.exception("carts of the live floor could not be read")
                before, told_s = state, now_s
                number = fresh[-1].number if fresh else number
                self._state = FloorState(state.at, state.latency_s, state.people)
                self._changed.set()
                self._changed = asyncio.Event()
            await asyncio.sleep(LOOK_S)
