"""Live carts: what listeners are told, and that streams end with their visit, their listener, or the server."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from cart.api.live import QUEUE_LENGTH, LiveCart, LiveCarts, TooManyListenersError, read_live_cart
from cart.errors import SessionNotFound
from cart.floor_state import ExpectedChange
from cart.repository import Database
from cart.sessions import SessionStatus
from tests.cart.api.shops import ApiStore

SHORT_S = 0.005


async def next_of(states: AsyncIterator[LiveCart]) -> LiveCart:
    """The next state, or a failure instead of a test that hangs."""
    async with asyncio.timeout(60):
        return await anext(states)


def quantities(state: LiveCart) -> list[int]:
    """Units of each line."""
    return [line.quantity for line in state.cart.lines]


def test_a_listener_is_told_the_cart_at_once_and_after_each_change_until_the_visit_ends() -> None:
    store = ApiStore()
    ada, _ = store.signed_in("ada")
    visit = store.visit(ada).session_id

    async def follow() -> None:
        live = LiveCarts(store.database, SHORT_S)
        states = live.listen(visit)
        assert quantities(await next_of(states)) == []
        await asyncio.to_thread(store.take, visit)
        assert quantities(await next_of(states)) == [1]
        await asyncio.to_thread(store.take, visit)
        assert quantities(await next_of(states)) == [2]
        await asyncio.to_thread(store.checkout.close, visit, store.at)
        last = await next_of(states)
        while last.status is SessionStatus.OPEN:
            last = await next_of(states)
        assert last.is_over
        with pytest.raises(StopAsyncIteration):
            await next_of(states)
        assert live.listeners == 0

    asyncio.run(follow())


def test_a_listener_is_told_what_is_expected_and_when_it_is_not_any_more() -> None:
    store = ApiStore()
    ada, _ = store.signed_in("ada")
    visit = store.visit(ada).session_id
    expected: dict[UUID, tuple[ExpectedChange, ...]] = {}

    async def follow() -> None:
        live = LiveCarts(store.database, SHORT_S, expects=lambda session_id: expected.get(session_id, ()))
        states = live.listen(visit)
        first = await next_of(states)
        assert first.expected == ()
        oats = ExpectedChange("2000000001012", 1, 0.93, store.at - timedelta(minutes=1))
        expected[visit] = (oats,)
        second = await next_of(states)
        assert (second.expected, quantities(second)) == ((oats,), [])
        assert second.version != first.version
        expected[visit] = ()
        third = await next_of(states)
        assert (third.expected, third.version) == ((), first.version)

    asyncio.run(follow())


def test_what_has_come_true_is_not_expected_beside_it() -> None:
    store = ApiStore()
    ada, _ = store.signed_in("ada")
    visit = store.visit(ada).session_id
    store.take(visit)
    with store.database.reading() as repository:
        (event,) = repository.cart_events(visit)
    same = ExpectedChange(event.sku, 1, 0.9, event.occurred_at + timedelta(seconds=0.1))
    other = ExpectedChange(event.sku, 1, 0.9, event.occurred_at + timedelta(seconds=2))
    assert read_live_cart(store.database, visit, lambda session_id: (same, other)).expected == (other,)


def test_a_listener_that_comes_back_is_told_only_what_it_does_not_have() -> None:
    store = ApiStore()
    ada, _ = store.signed_in("ada")
    visit = store.visit(ada).session_id

    async def follow() -> None:
        live = LiveCarts(store.database, SHORT_S)
        async with aclosing(live.listen(visit)) as states:
            seen = (await next_of(states)).version
        async with aclosing(live.listen(visit, seen)) as states:
            waiting = asyncio.create_task(next_of(states))
            await asyncio.sleep(10 * SHORT_S)
            assert not waiting.done()
            await asyncio.to_thread(store.take, visit)
            assert quantities(await waiting) == [1]

    asyncio.run(follow())


def test_a_slow_listener_misses_states_but_never_the_newest() -> None:
    store = ApiStore()
    ada, _ = store.signed_in("ada")
    visit = store.visit(ada).session_id
    changes = 3 * QUEUE_LENGTH

    async def follow() -> None:
        live = LiveCarts(store.database, SHORT_S)
        async with aclosing(live.listen(visit)) as slow, aclosing(live.listen(visit)) as quick:
            await next_of(slow)
            await next_of(quick)
            for count in range(1, changes + 1):
                await asyncio.to_thread(store.take, visit)
                while quantities(await next_of(quick)) != [count]:
                    pass
            told = [await next_of(slow)]
            while quantities(told[-1]) != [changes]:
                told.append(await next_of(slow))
            assert len(told) <= QUEUE_LENGTH

    asyncio.run(follow())


def test_only_so_many_listen_and_whoever_leaves_makes_room() -> None:
    store = ApiStore()
    ada, _ = store.signed_in("ada")
    visit, other = store.visit(ada).session_id, store.visit(ada).session_id

    async def follow() -> None:
        live = LiveCarts(store.database, SHORT_S, most_listeners=3, most_a_visit=2)
        first, second, third = live.listen(visit), live.listen(visit), live.listen(other)
        await next_of(first)
        await next_of(second)
        with pytest.raises(TooManyListenersError):
            await next_of(live.listen(visit))
        await next_of(third)
        assert live.is_full(other)
        await first.aclose()
        assert not live.is_full(other)
        await second.aclose()
        await third.aclose()
        assert live.listeners == 0

    asyncio.run(follow())


def test_all_listeners_go_when_the_store_closes_and_none_comes_after() -> None:
    store = ApiStore()
    ada, _ = store.signed_in("ada")
    visit = store.visit(ada).session_id

    async def follow() -> None:
        live = LiveCarts(store.database, SHORT_S)
        states = live.listen(visit)
        await next_of(states)
        waiting = asyncio.create_task(next_of(states))
        await asyncio.sleep(10 * SHORT_S)
        # From another thread, as a server is closed.
        await asyncio.to_thread(live.close)
        with pytest.raises(StopAsyncIteration):
            await waiting
        late = live.listen(visit)
        await next_of(late)
        with pytest.raises(StopAsyncIteration):
            await next_of(late)
        assert live.listeners == 0

    asyncio.run(follow())


def test_nobody_listens_to_a_visit_that_does_not_exist() -> None:
    store = ApiStore()

    async def follow() -> None:
        live = LiveCarts(store.database, SHORT_S)
        with pytest.raises(SessionNotFound):
            await next_of(live.listen(uuid4()))
        assert live.listeners == 0

    asyncio.run(follow())


def test_a_touch_has_a_visit_looked_at_before_its_time() -> None:
    store = ApiStore()
    ada, _ = store.signed_in("ada")
    visit = store.visit(ada).session_id

    async def follow() -> None:
        live = LiveCarts(store.database, poll_s=3600.0)
        live.touch()  # nobody listens yet
        async with aclosing(live.listen(visit)) as states:
            await next_of(states)
            await asyncio.to_thread(store.take, visit)
            live.touch()
            assert quantities(await next_of(states)) == [1]

    asyncio.run(follow())


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    version: str
    cart: dict[str, object]


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    """Read a stream of events; comments, which say that it lives, are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and fields:
            yield Event(fields["event"], fields["id"], json.loads(fields["data"]))
            fields = {}


SERVER = """
import socket, sys, uvicorn
from cart.repository import Database
from tests.cart.api.shops import ApiStore

store = ApiStore(database=Database.open(sys.argv[1]))
account = store.account("ada")
visit = store.visit(account)
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], store.token_of(account), visit.session_id, flush=True)
config = uvicorn.Config(store.app, log_level="warning", timeout_graceful_shutdown=5)
uvicorn.Server(config).run(sockets=[listening])
"""


def test_a_stream_over_the_network_follows_the_cart_and_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SERVER, url],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        port, token, visit = server.stdout.readline().split()
        place = f"http://127.0.0.1:{port}/v1/sessions/{visit}/cart/events"
        headers = {"Authorization": f"Bearer {token}"}
        writer = ApiStore(database=Database.open(url))
        with httpx.stream("GET", place, headers=headers, timeout=60) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            events = events_of(answer.iter_lines())
            first = next(events)
            assert (first.name, first.cart["lines"]) == ("cart", [])
            writer.take(UUID(visit))
            second = next(events)
            assert (second.cart["total_minor"], second.version != first.version) == (199, True)
        resumed = {**headers, "Last-Event-ID": first.version}
        with httpx.stream("GET", place, headers=resumed, timeout=60) as answer:
            events = events_of(answer.iter_lines())
            assert next(events) == second
            server.send_signal(signal.SIGTERM)
            assert list(events) == []
        assert server.wait(timeout=60) in (0, -signal.SIGTERM)
        writer.database.close()
    finally:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()
