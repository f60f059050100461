"""Measures the shop behind its API: how quickly people are let in and see their carts, and how many leave a second.

The shop runs in a process of its own, as ``tillfree serve`` does, with a real database and uvicorn; in another are its
shoppers, each with an app that listens to its live cart. What the floor sees is told to the shop's process through a
pipe, and dated there by the machine's monotonic clock, which all processes share.
"""

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import httpx
import numpy as np
import uvicorn
from sqlalchemy import make_url

from cart.accounts import Accounts, Role
from cart.api.app import create_app
from cart.api.shop import Shop
from cart.catalog import Catalogue, Product
from cart.checkout import Checkout
from cart.config import Settings
from cart.doors import Doorman
from cart.entry_codes import EntryKey, make_code
from cart.events import CartEvent
from cart.gateways.local import LocalGateway
from cart.passwords import Argon2Cost, Passwords
from cart.pricing import PriceBook, load_catalogue
from cart.repository import Database

CURRENCY, STORE, GATE = "EUR", "bench", "front"
SKUS = tuple(f"{number:03}" for number in range(1, 21))
READY_S, ARRIVAL_S = 120.0, 30.0


@dataclass(frozen=True, slots=True)
class ShopLoad:
    """How much is asked of the shop.

    Attributes:
        shoppers: How many are in the shop at once.
        picks: What each of them takes.
        seconds: How long that takes them: they come within the first third, and take things in the rest.
        exits: How many visits are closed to tell how many leave a second.
        leaving: How many of these are closed at once.
        seed: Of the moments.
    """

    shoppers: int = 50
    picks: int = 6
    seconds: float = 30.0
    exits: int = 400
    leaving: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.shoppers, self.picks, self.exits, self.leaving) < 1 or self.seconds <= 0:
            raise ValueError(f"ShopLoad: expected positive numbers, got {self}")


@dataclass(frozen=True, slots=True)
class ShopSpeed:
    """How quick the shop was.

    Attributes:
        database: Which database, for people.
        check_in_s: From a code at the gate to its answer, one for each shopper, seconds: the code is checked, money
            held, a visit opened.
        update_s: From what the floor saw to the shopper's screen, one for each thing taken, seconds.
        exits_per_s: Visits closed and paid a second, several at once.
        unseen: Things taken that reached no screen.
    """

    database: str
    check_in_s: tuple[float, ...]
    update_s: tuple[float, ...]
    exits_per_s: float
    unseen: int


def measure_shop(load: ShopLoad, database_url: str | None = None) -> ShopSpeed:
    """Run a shop in a process of its own and shop in it.

    Args:
        load: How much is asked of it.
        database_url: An empty database; a SQLite file in a temporary folder if left out.

    Raises:
        OSError: The shop did not start, or broke down.
    """
    with TemporaryDirectory() as folder:
        url = database_url or f"sqlite:///{folder}/shop.db"
        with process_of_a_shop(_serve, url, folder, load) as (pipe, opened):
            check_in_s, update_s, unseen = asyncio.run(_shop_in(pipe, opened, load))
            pipe.send(json.dumps({"close": load.exits}))
            exits_per_s = float(heard_from(pipe, READY_S + load.exits)["exits_per_s"])
    return ShopSpeed(kind_of(url), tuple(check_in_s), tuple(update_s), exits_per_s, unseen)


@contextmanager
def process_of_a_shop(serve: Callable[..., None], *arguments: object) -> Iterator[tuple[Connection, dict[str, Any]]]:
    """Run a shop in a process of its own until it is left.

    Args:
        serve: What the process does; it is given its end of a pipe and the arguments. Once the shop is open it sends
            a JSON object, and it ends when it is sent ``{"end": true}``.
        arguments: For ``serve``.

    Yields:
        The other end of the pipe, and what the shop has sent.

    Raises:
        OSError: The shop did not start, or broke down.
    """
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, *arguments), daemon=True)
    process.start()
    try:
        there.close()  # so that a shop that ends is noticed at once
        yield here, heard_from(here, READY_S)
    except EOFError as error:
        raise OSError("the shop broke down") from error
    finally:
        with contextlib.suppress(OSError):
            here.send(json.dumps({"end": True}))
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def heard_from(pipe: Connection, patience_s: float) -> dict[str, Any]:
    """What a shop says next.

    Raises:
        OSError: It says nothing in time, seconds.
        EOFError: It has ended.
    """
    if not pipe.poll(patience_s):
        raise OSError(f"the shop said nothing for {patience_s:.0f} s")
    said: dict[str, Any] = json.loads(pipe.recv())
    return said


def kind_of(database_url: str) -> str:
    """What a database is called by people."""
    name = make_url(database_url).get_backend_name()
    return {"sqlite": "SQLite", "postgresql": "PostgreSQL"}.get(name, name)


def quantiles_ms(seconds: Sequence[float], percents: Sequence[float] = (50, 99)) -> tuple[float, ...]:
    """Percentiles of some times, seconds, in milliseconds."""
    return tuple((np.percentile(seconds, percents) * 1000).tolist())


class _Gate:
    """One gate and its queue: nobody waits longer than for the one before them."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self._client, self._token = client, token

    async def scan(self, code: str) -> tuple[float, str]:
        """Show a code; how long the answer took, seconds, and the visit."""
        began_s = time.monotonic()
        answer = await self._client.post(
            f"/v1/gates/{GATE}/scans", json={"code": code}, headers={"Authorization": f"Bearer {self._token}"}
        )
        took_s = time.monotonic() - began_s
        told = answer.json()
        if told.get("decision") != "open":
            raise OSError(f"the gate refused: {told}")
        return took_s, str(told["session_id"])


async def _shop_in(pipe: Connection, opened: dict[str, Any], load: ShopLoad) -> tuple[list[float], list[float], int]:
    chance = random.Random(load.seed)
    arrivals: dict[tuple[str, int], float] = {}
    taken: dict[tuple[str, int], float] = {}
    limits = httpx.Limits(max_connections=load.shoppers + 20)
    async with httpx.AsyncClient(base_url=opened["url"], limits=limits, timeout=READY_S) as client:
        gate = _Gate(client, opened["gate_token"])
        listening: list[asyncio.Task[None]] = []

        async def one(shopper: dict[str, Any], picks: list[float], comes_s: float) -> float:
            await asyncio.sleep(comes_s)
            key = EntryKey(shopper["key_id"], UUID(shopper["account_id"]), bytes.fromhex(shopper["secret"]), _now())
            took_s, session_id = await gate.scan(make_code(key, STORE, _now()))
            heard = asyncio.Event()
            listening.append(asyncio.create_task(follow_cart(client, session_id, shopper["token"], arrivals, heard)))
            await heard.wait()
            for number, wait_s in enumerate(picks, 1):
                await asyncio.sleep(wait_s)
                pipe.send(json.dumps({"take": session_id, "number": number, "sku": chance.choice(SKUS)}))
            return took_s

        stay_s = load.seconds * 2 / 3
        told = threading.Thread(target=_hear, args=(pipe, taken, load.shoppers * load.picks), daemon=True)
        told.start()
        check_in_s = await asyncio.gather(
            *(
                one(
                    shopper,
                    [chance.uniform(0, 2 * stay_s / load.picks) for _ in range(load.picks)],
                    chance.uniform(0, load.seconds / 3),
                )
                for shopper in opened["shoppers"]
            )
        )
        await asyncio.to_thread(told.join, ARRIVAL_S)
        until_s = time.monotonic() + ARRIVAL_S
        while time.monotonic() < until_s and not all(first_seen(arrivals, key) for key in taken):
            await asyncio.sleep(0.05)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    seen = {key: at for key in taken if (at := first_seen(arrivals, key)) is not None}
    return list(check_in_s), [at - taken[key] for key, at in seen.items()], load.shoppers * load.picks - len(seen)


def first_seen(arrivals: Mapping[tuple[str, int], float], key: tuple[str, int]) -> float | None:
    """When a visit's state with so many events, or with more, arrived."""
    session_id, number = key
    later = [at for (whose, events), at in arrivals.items() if whose == session_id and events >= number]
    return min(later, default=None)


def _hear(pipe: Connection, taken: dict[tuple[str, int], float], count: int) -> None:
    """Take down when the floor saw what was taken."""
    for _ in range(count):
        told = json.loads(pipe.recv())
        taken[told["session_id"], int(told["number"])] = float(told["at_s"])


async def follow_cart(
    client: httpx.AsyncClient,
    session_id: str,
    token: str,
    arrivals: dict[tuple[str, int], float],
    heard: asyncio.Event,
    shown: dict[tuple[str, str], float] | None = None,
) -> None:
    """Follow a live cart, as the app does.

    Args:
        client: Where the shop is.
        session_id: The visit.
        token: Of whoever follows it.
        arrivals: Filled with when, on the machine's monotonic clock, each state of the visit arrived first, by the
            visit and the number of cart events it is made of.
        heard: Set when the first one has.
        shown: Filled with when each product was told of first, likewise, by the visit and the product: as a line, or as
            what the store is still making sure of.
    """
    headers = {"Authorization": f"Bearer {token}"}
    async with client.stream("GET", f"/v1/sessions/{session_id}/cart/events", headers=headers) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                arrivals.setdefault((session_id, int(line[4:].split("-")[0])), time.monotonic())
                heard.set()
            elif shown is not None and line.startswith("data: ") and '"lines"' in line:
                cart = json.loads(line[6:])
                for each in (*cart["lines"], *cart["expected"]):
                    if each["quantity"] > 0:
                        shown.setdefault((session_id, each["sku"]), time.monotonic())


def _serve(pipe: Connection, url: str, folder: str, load: ShopLoad) -> None:
    """The shop's process: its API in one thread, what the floor sees in another."""
    with Database.open(url) as database:
        products = [Product(sku, f"Product {sku}", 100 + 10 * int(sku), CURRENCY, tax_rate_bp=700) for sku in SKUS]
        started_at = _now()
        with database.transaction() as repository:
            load_catalogue(repository, Catalogue(CURRENCY, products), started_at)
        gateway = LocalGateway(Path(folder) / "payments.db")
        checkout = Checkout(database, PriceBook(CURRENCY), gateway, hold_minor=5000, now=_now)
        accounts = Accounts(database, _now, passwords=Passwords(Argon2Cost(8, 1, 1)))
        doorman = Doorman(database, checkout, STORE, _now)
        settings = Settings(currency=CURRENCY, requests_per_minute=1_000_000, sign_ins_per_minute=1_000_000)
        shop = Shop(
            database=database,
            accounts=accounts,
            checkout=checkout,
            settings=settings,
            doorman=doorman,
            pricing=PriceBook(CURRENCY),
            now=_now,
        )
        app = create_app(shop)
        server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off")
        )
        serving = threading.Thread(target=server.run, daemon=True)
        serving.start()
        while not server.started:
            if not serving.is_alive():
                return
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        shoppers = []
        for number in range(load.shoppers):
            account = accounts.create(
                f"shopper{number}@example.com", "correct horse", f"Shopper {number}", by=Role.OWNER
            )
            accounts.set_payment_method(account.account_id, "pm_1")
            key = doorman.issue_key(account.account_id)
            token = accounts.issue_token(account.account_id, "bench").secret
            ids = {"key_id": key.key_id, "account_id": str(account.account_id)}
            shoppers.append({**ids, "secret": key.secret.hex(), "token": token})
        gate_token = accounts.create_device(GATE).secret
        pipe.send(json.dumps({"url": f"http://127.0.0.1:{port}", "shoppers": shoppers, "gate_token": gate_token}))
        with ThreadPoolExecutor(1) as floor:
            while "end" not in (asked := json.loads(pipe.recv())):
                if "take" in asked:
                    floor.submit(_take, pipe, checkout, asked, time.monotonic())
                else:
                    pipe.send(json.dumps({"exits_per_s": _exits_per_s(checkout, asked["close"], load)}))
        server.should_exit = True
        serving.join(5)


def _take(pipe: Connection, checkout: Checkout, asked: dict[str, Any], at_s: float) -> None:
    checkout.record(CartEvent(uuid4(), UUID(asked["take"]), _now(), asked["sku"], 1, uuid4()))
    pipe.send(json.dumps({"session_id": asked["take"], "number": asked["number"], "at_s": at_s}))


def _exits_per_s(checkout: Checkout, exits: int, load: ShopLoad) -> float:
    """How many visits, with a hold and some things taken, are closed and paid a second."""
    sessions = []
    for number in range(exits):
        session = checkout.check_in(f"leaving-{number}", _now())
        checkout.hold(session.session_id, _now())
        for sku in SKUS[: load.picks]:
            checkout.record(CartEvent(uuid4(), session.session_id, _now(), sku, 1, uuid4()))
        sessions.append(session.session_id)
    began_s = time.monotonic()
    with ThreadPoolExecutor(load.leaving) as people:
        paid = list(people.map(lambda session_id: checkout.close(session_id, _now()).paid_minor, sessions))
    if not all(paid):
        raise OSError("a visit was not paid")
    return exits / (time.monotonic() - began_s)


def _now() -> datetime:
    return datetime.now(UTC)


def rows_of(speed: ShopSpeed, load: ShopLoad) -> Iterator[tuple[str, float, str, str]]:
    """What was measured as (what, value, unit, text for people)."""
    for what, times in (("check-in", speed.check_in_s), ("live cart's update", speed.update_s)):
        p50, p99 = quantiles_ms(times)
        name = f"{what}, {load.shoppers} shoppers, {speed.database}"
        yield f"{name}, median", p50, "ms", f"{p50:.0f} ms"
        yield f"{name}, 99th percentile", p99, "ms", f"{p99:.0f} ms"
    shown = f"{speed.exits_per_s:.0f} a second"
    yield f"exits paid, {load.leaving} at once, {speed.database}", speed.exits_per_s, "exits/s", shown
