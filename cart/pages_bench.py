"""Measures the live pages: how soon a picture is on the console with its overlay, and a cart's change on a phone.

A whole store runs in a process of its own, as ``tillfree serve`` runs it; whoever looks is in another and reads the
streams that the pages read, over HTTP. On the console four cameras are played from recordings in real time, so that it
is known when each picture was due. On phones the demo's store trades: its bodies take things, and of everything they do
it is known when they did it. All processes are on one machine and share its clocks.
"""

import asyncio
import json
import random
import struct
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import httpx
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, Insert, event

from cart.accounts import Accounts, Role
from cart.config import Settings
from cart.demo_store import GATE, PAYMENT_METHOD
from cart.passwords import Argon2Cost, Passwords
from cart.seeing_bench import CAMERA_FPS, shop_film
from cart.serve import OWNER, ServeOptions, StoreServer
from cart.shop_bench import (
    ARRIVAL_S,
    READY_S,
    first_seen,
    follow_cart,
    heard_from,
    kind_of,
    process_of_a_shop,
    quantiles_ms,
)
from cart.tables import CartEventRow
from cart.terminal import counted
from store_sim.demo_shop import demo_simulation
from store_sim.live import Grip
from store_sim.recording import RecordingWriter
from store_sim.simulation import CAMERAS, SCALES, SensorSettings
from vision.arrays import ImageArray
from vision.layout import layout_to_yaml
from vision.sources import BgrConverter

NANOSECONDS = 1_000_000_000
PLAYED_CAMERAS = 4
SILENT_S = 10.0
"""A console that gets no picture for so long has seen them all."""
MATCHES_S = 3.0
"""So far apart, at most, are what a hand did and what the store has made of it."""
_UNLIMITED = Settings(requests_per_minute=1_000_000, sign_ins_per_minute=1_000_000, no_show_after_s=86_400.0)


@dataclass(frozen=True, slots=True)
class PagesLoad:
    """How much is asked of the pages.

    Attributes:
        console_s: How long cameras are watched.
        warm_s: What comes before it: models are slower at first.
        shoppers: How many phones follow a cart at once.
        bodies: How many of them are in the store at once: it is small.
        picks: How many products each of them wants.
        shopping_s: How long they may shop.
        arriving_s: Within how much of it they come.
        seed: Of the moments.
    """

    console_s: float = 45.0
    warm_s: float = 5.0
    shoppers: int = 50
    bodies: int = 6
    picks: int = 5
    shopping_s: float = 100.0
    arriving_s: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.shoppers, self.bodies, self.picks) < 1 or min(self.console_s, self.shopping_s) <= 0:
            raise ValueError(f"PagesLoad: expected positive numbers, got {self}")
        if min(self.warm_s, self.arriving_s) < 0:
            raise ValueError(f"PagesLoad: expected no negative times, got {self}")


@dataclass(frozen=True, slots=True)
class PictureSeen:
    """A picture that arrived at the console.

    Attributes:
        camera_id: Whose.
        captured_s: When it was due, seconds since 1970.
        marked_s: Of when its overlay is, likewise; None without one.
        arrived_s: When both had arrived, likewise.
        people: How many its overlay marks.
    """

    camera_id: str
    captured_s: float
    marked_s: float | None
    arrived_s: float
    people: int


@dataclass(frozen=True, slots=True)
class ConsoleSpeed:
    """How quick the console is.

    Attributes:
        late_s: From when a picture was due to when it was there with its overlay, one for each picture, seconds.
        overlay_age_s: How much older the overlay is than its picture, one for each that has one, seconds.
        per_second: Pictures a second of each camera.
        bare: Pictures without an overlay: the store had looked at nothing yet.
        people: How many people an overlay marks on average.
    """

    late_s: tuple[float, ...]
    overlay_age_s: tuple[float, ...]
    per_second: Mapping[str, float]
    bare: int
    people: float


@dataclass(frozen=True, slots=True)
class CartChange:
    """Something went into a cart, or out of it.

    Attributes:
        session_id: Whose visit.
        number: How many things had by then.
        known_s: When the store knew of it and had written nothing down yet, monotonic clock.
        occurred_ns: When it happened as far as the store knows, store clock.
        sku: What.
        quantity: How many, below 0 for what was put back.
    """

    session_id: str
    number: int
    known_s: float
    occurred_ns: int
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class PhoneSpeed:
    """How quick phones are.

    Attributes:
        database: Which database, for people.
        known_s: From the store's knowing of a change to the phone, one for each change, seconds.
        shown_s: From the hand to when the phone first told of it, sure or not, one for each product that a hand took.
        hand_s: From the hand to the line in the cart, one for each change whose hand was found, seconds.
        unseen: Changes that reached no phone.
    """

    database: str
    known_s: tuple[float, ...]
    shown_s: tuple[float, ...]
    hand_s: tuple[float, ...]
    unseen: int


# The console


def measure_console(load: PagesLoad, clips: Sequence[Path] = ()) -> ConsoleSpeed:
    """Serve a store whose four cameras are played in real time, and watch them as the console does.

    Args:
        load: How long.
        clips: Video files to play instead of a simulated shop; fewer than four are played several times.

    Raises:
        OSError: The store did not start, or broke down, or no picture came.
        ValueError: A clip is no video that can be read.
    """
    with TemporaryDirectory() as folder:
        length_s = load.warm_s + load.console_s + 5.0
        sources = film_clips(clips, Path(folder), length_s) if clips else [film_demo(Path(folder) / "shop", length_s)]
        with process_of_a_shop(_serve_cameras, folder, [str(path) for path in sources]) as (_, opened):
            camera_ids, seen = asyncio.run(_watch(opened["url"], opened["token"], load))
    return console_speed(seen, camera_ids, load.warm_s)


def console_speed(seen: Sequence[PictureSeen], camera_ids: Sequence[str], warm_s: float = 0.0) -> ConsoleSpeed:
    """Reckon up what arrived.

    Args:
        seen: Every picture.
        camera_ids: The cameras that were watched.
        warm_s: What was due within so long after the first one does not count.

    Raises:
        OSError: None is left.
    """
    from_s = min((each.captured_s for each in seen), default=0.0) + warm_s
    kept = [each for each in seen if each.captured_s >= from_s]
    if not kept:
        raise OSError("no picture of a camera arrived")
    span_s = max(each.captured_s for each in kept) - from_s + 1 / CAMERA_FPS
    per_camera = Counter(each.camera_id for each in kept)
    return ConsoleSpeed(
        tuple(each.arrived_s - each.captured_s for each in kept),
        tuple(each.captured_s - each.marked_s for each in kept if each.marked_s is not None),
        {camera_id: per_camera[camera_id] / span_s for camera_id in camera_ids},
        sum(each.marked_s is None for each in kept),
        sum(each.people for each in kept) / len(kept),
    )


def film_demo(folder: Path, length_s: float) -> Path:
    """Record the first seconds of the demo's day with its four cameras and its scales.

    Args:
        folder: Where the recording goes.
        length_s: How much of it.
    """
    exact = SensorSettings(camera_clock_s=0.0)  # so that it is known when a picture was due
    simulation = demo_simulation(1, frozenset({CAMERAS, SCALES}), settings=exact)
    layout_yaml = layout_to_yaml(simulation.layout)
    with RecordingWriter(folder, simulation.layout.name, layout_yaml, has_gates=True) as writer:
        for tick in simulation:
            if tick.timestamp_ns - simulation.start_ns > length_s * NANOSECONDS:
                break
            writer.write(tick)
    return folder


def film_clips(clips: Sequence[Path], folder: Path, length_s: float) -> list[Path]:
    """Make four cameras' films of clips: of a camera's size and frame rate, over and over, each from another place.

    Args:
        clips: Video files, at least one.
        folder: Where films go.
        length_s: How long each is to be.

    Raises:
        ValueError: One is no video that can be read.
    """
    films = []
    for number in range(PLAYED_CAMERAS):
        clip = clips[number % len(clips)]
        begins_s = number // len(clips) * length_s / PLAYED_CAMERAS
        film = folder / f"camera-{number + 1}.mp4"
        films.append(shop_film(film, partial(_slowed, clip, begins_s), round(length_s * CAMERA_FPS)))
    return films


def _slowed(clip: Path, begins_s: float) -> Iterator[ImageArray]:
    """The pictures of a clip that a camera of ``CAMERA_FPS`` would have taken, over and over."""
    converter = BgrConverter()
    due_s, lap_s = begins_s, 0.0
    try:
        while True:
            last_s = None
            with av.open(str(clip)) as container:
                for frame in container.decode(video=0):
                    last_s = lap_s + float(frame.time or 0.0)
                    if last_s > due_s - 1e-6:  # sums of tenths are not exact
                        yield converter.picture(frame)
                        due_s += 1 / CAMERA_FPS
            if last_s is None:
                raise ValueError(f"{clip}: expected a video with pictures, it has none")
            lap_s = last_s + 1 / CAMERA_FPS
    except av.error.FFmpegError as error:
        raise ValueError(f"{clip}: expected a video, it cannot be read: {error}") from error


def _serve_cameras(pipe: Connection, folder: str, sources: list[str]) -> None:
    """The store's process."""
    options = ServeOptions(f"sqlite:///{folder}/shop.db", Path(folder), port=0, sources=tuple(sources))
    server = StoreServer(options, _UNLIMITED)
    server.start()
    try:
        owner = server.accounts.by_email(OWNER)
        assert owner is not None
        token = server.accounts.issue_token(owner.account_id, "bench").secret
        pipe.send(json.dumps({"url": server.url, "token": token}))
        pipe.recv()
    finally:
        server.stop()


async def _watch(url: str, token: str, load: PagesLoad) -> tuple[list[str], list[PictureSeen]]:
    """Look at the cameras and the floor as the console does; which cameras there are, and what of them arrived."""
    seen: list[PictureSeen] = []
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=READY_S) as client:
        named = [each["camera_id"] for each in (await client.get("/v1/cameras")).json()["items"]]
        floor = asyncio.create_task(_listen(client, "/v1/floor/events", headers))
        params = {"camera_id": named, "fps": str(CAMERA_FPS)}
        patience = httpx.Timeout(READY_S, read=SILENT_S)
        try:
            async with client.stream("GET", "/v1/cameras/live", params=params, timeout=patience) as answer:
                async for said, _ in records(answer.aiter_raw()):
                    seen.append(_picture(said, time.time()))
                    if seen[-1].captured_s - seen[0].captured_s >= load.warm_s + load.console_s:
                        break
        except httpx.ReadTimeout:
            pass  # what was recorded is over: it began to play before anybody looked
        finally:
            floor.cancel()
            await asyncio.gather(floor, return_exceptions=True)
    return named, seen


async def records(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[dict[str, Any], bytes]]:
    """Cut the stream of live pictures into its records: what is said of a picture, and the picture as JPEG."""
    waiting = bytearray()
    parts: list[bytes] = []
    async for chunk in chunks:
        waiting += chunk
        while len(waiting) >= 4 and len(waiting) >= 4 + (length := struct.unpack_from(">I", waiting)[0]):
            parts.append(bytes(waiting[4 : 4 + length]))
            del waiting[: 4 + length]
            if len(parts) == 2:
                yield json.loads(parts[0]), parts[1]
                parts = []


def _picture(said: Mapping[str, Any], arrived_s: float) -> PictureSeen:
    marked_at = said["marked_at"]
    return PictureSeen(
        said["camera_id"],
        datetime.fromisoformat(said["captured_at"]).timestamp(),
        None if marked_at is None else datetime.fromisoformat(marked_at).timestamp(),
        arrived_s,
        len(said["people"]),
    )


async def _listen(client: httpx.AsyncClient, path: str, headers: Mapping[str, str]) -> None:
    """Follow a stream of which nothing is measured."""
    async with client.stream("GET", path, headers=dict(headers)) as answer:
        async for _ in answer.aiter_raw():
            pass


def rows_of_console(speed: ConsoleSpeed, cores: int) -> Iterator[tuple[str, float, str, str]]:
    """What was measured as (what, value, unit, text for people).

    Args:
        speed: What was measured.
        cores: How many there were.
    """
    name = f"{len(speed.per_second)} cameras of recorded footage, {CAMERA_FPS} pictures a second, on {cores} cores"
    what = f"{name}: from when a picture was due to it and its overlay on the console"
    yield from _shares(
        what, speed.late_s, f"{counted(len(speed.late_s), 'picture')}, {speed.people:.1f} people in each"
    )
    yield from _shares(f"{name}: how much older than its picture an overlay is", speed.overlay_age_s, "", (50, 99))
    slowest = min(speed.per_second.values())
    yield f"{name}: pictures a second of the slowest camera", slowest, "pictures/s", f"{slowest:.1f} a second"
    yield f"{name}: pictures without an overlay", speed.bare, "pictures", f"{speed.bare}"


def rows_of_phones(speed: PhoneSpeed, load: PagesLoad) -> Iterator[tuple[str, float, str, str]]:
    """What was measured as (what, value, unit, text for people)."""
    name = f"cart on the phone, {load.shoppers} shoppers connected, {speed.database}"
    yield from _shares(f"{name}: after the store knew", speed.known_s, counted(len(speed.known_s), "change"))
    if speed.shown_s:
        what = f"{name}: first told of, sure or not, after the hand"
        yield from _shares(what, speed.shown_s, counted(len(speed.shown_s), "product"))
    if speed.hand_s:
        yield from _shares(f"{name}: after the hand", speed.hand_s, counted(len(speed.hand_s), "change"))


def _shares(
    what: str, seconds: Sequence[float], note: str, percents: Sequence[int] = (50, 95, 99)
) -> Iterator[tuple[str, float, str, str]]:
    for percent, value_ms in zip(percents, quantiles_ms(seconds, percents), strict=True):
        called = "median" if percent == 50 else f"{percent}th percentile"
        noted = f" ({note})" if note and percent == percents[0] else ""
        yield f"{what}, {called}{noted}", value_ms, "ms", f"{value_ms:.0f} ms"


# Phones


def measure_phones(load: PagesLoad, database_url: str | None = None) -> PhoneSpeed:
    """Serve the demo's store, and go shopping in it with so many phones.

    Everybody has shown a code and follows their cart from the beginning, and goes in when there is room.

    Args:
        load: How much is asked of it.
        database_url: An empty database; a SQLite file in a temporary folder if left out.

    Raises:
        OSError: The store did not start, or broke down, or no cart changed.
    """
    with TemporaryDirectory() as folder:
        url = database_url or f"sqlite:///{folder}/shop.db"
        with process_of_a_shop(_serve_demo, url, folder, load) as (pipe, opened):
            arrivals, shown, told = asyncio.run(_shop(pipe, opened, load))
    grips = [Grip(**each) for each in told["grips"]]
    return phone_speed(kind_of(url), _changes(told), grips, arrivals, shown, told["monotonic_ns"])


def phone_speed(
    database: str,
    changes: Sequence[CartChange],
    grips: Sequence[Grip],
    arrivals: Mapping[tuple[str, int], float],
    shown: Mapping[tuple[str, str], float],
    monotonic_ns: int,
) -> PhoneSpeed:
    """Reckon up what arrived.

    Args:
        database: Which database, for people.
        changes: Every change of a cart.
        grips: What hands really did.
        arrivals: When phones had each state of a visit, monotonic clock, seconds.
        shown: When they first told of a product in a visit, sure or not, likewise.
        monotonic_ns: How far the monotonic clock is ahead of the store's.

    Raises:
        OSError: No cart changed.
    """
    if not changes:
        raise OSError("no cart changed")
    known_s, hand_s, unseen = [], [], 0
    shown_s: dict[tuple[str, str], float] = {}
    for change in changes:
        arrived_s = first_seen(arrivals, (change.session_id, change.number))
        if arrived_s is None:
            unseen += 1
            continue
        known_s.append(arrived_s - change.known_s)
        grip = grip_of(change, grips)
        if grip is not None:
            gripped_s = (grip.time_ns + monotonic_ns) / NANOSECONDS
            hand_s.append(arrived_s - gripped_s)
            product = (change.session_id, change.sku)
            if change.quantity > 0 and product in shown:
                shown_s.setdefault(product, shown[product] - gripped_s)
    return PhoneSpeed(database, tuple(known_s), tuple(shown_s.values()), tuple(hand_s), unseen)


def grip_of(change: CartChange, grips: Sequence[Grip]) -> Grip | None:
    """What a hand did that a change is of: with the same product, the same way, and nearest in time."""
    alike = [grip for grip in grips if grip.sku == change.sku and (grip.quantity > 0) == (change.quantity > 0)]
    nearest = min(alike, key=lambda grip: abs(grip.time_ns - change.occurred_ns), default=None)
    if nearest is None or abs(nearest.time_ns - change.occurred_ns) > MATCHES_S * NANOSECONDS:
        return None
    return nearest


class Ledger:
    """Takes down what goes into carts at the moment in which it is about to be written."""

    def __init__(self) -> None:
        self.changes: list[CartChange] = []
        self._numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(1))

    def hear(
        self,
        connection: SqlConnection,
        statement: Any,
        many: Sequence[Mapping[str, Any]],
        one: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        """Look at a statement before it is executed (``sqlalchemy.event``, ``before_execute``)."""
        if not (isinstance(statement, Insert) and statement.table is CartEventRow.__table__):
            return
        known_s = time.monotonic()
        for values in many or [one]:
            session_id = str(values["session_id"])
            number = next(self._numbers[session_id])
            occurred_ns = round(values["occurred_at"].timestamp() * 1e6) * 1000
            self.changes.append(CartChange(session_id, number, known_s, occurred_ns, values["sku"], values["quantity"]))


def _serve_demo(pipe: Connection, url: str, folder: str, load: PagesLoad) -> None:
    """The store's process."""
    ledger = Ledger()
    event.listen(Engine, "before_execute", ledger.hear)
    options = ServeOptions(url, Path(folder), port=0, demo=True, seed=load.seed, regulars=False)
    server = StoreServer(options, _UNLIMITED)
    demo = server.demo
    assert demo is not None
    # Hashing fifty passwords is not what is measured.
    accounts = Accounts(server.database, server.clock, passwords=Passwords(Argon2Cost(8, 1, 1)))
    tokens = []
    for number in range(load.shoppers):
        account = accounts.create(f"shopper{number}@example.com", "correct horse battery", "You", by=Role.OWNER)
        accounts.set_payment_method(account.account_id, PAYMENT_METHOD)
        tokens.append(accounts.issue_token(account.account_id, "bench").secret)
    server.start()
    try:
        skus = [product.sku for product in demo.products() if product.unit_price_minor is not None]
        pipe.send(json.dumps({"url": server.url, "tokens": tokens, "skus": skus}))
        while "end" not in (asked := json.loads(pipe.recv())):
            if "changes" in asked:
                said = {
                    "changes": [_fields(each) for each in list(ledger.changes)],
                    "grips": [_fields(each) for each in demo.grips],
                    "monotonic_ns": time.monotonic_ns() - time.time_ns(),
                }
                pipe.send(json.dumps(said))
    finally:
        server.stop()


def _fields(row: CartChange | Grip) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


def _changes(told: Mapping[str, Any]) -> list[CartChange]:
    return [CartChange(**each) for each in told["changes"]]


async def _shop(
    pipe: Connection, opened: Mapping[str, Any], load: PagesLoad
) -> tuple[dict[tuple[str, int], float], dict[tuple[str, str], float], dict[str, Any]]:
    """Let everybody in, follow their carts, send bodies in for them.

    Returns:
        When phones had each state of each visit, when they first told of each product, and what the store tells of what
        happened.
    """
    chance = random.Random(load.seed)
    arrivals: dict[tuple[str, int], float] = {}
    shown: dict[tuple[str, str], float] = {}
    limits = httpx.Limits(max_connections=3 * load.shoppers + 20)
    async with httpx.AsyncClient(base_url=opened["url"], limits=limits, timeout=READY_S) as client:

        async def one(token: str, comes_s: float) -> None:
            await asyncio.sleep(comes_s)
            headers = {"Authorization": f"Bearer {token}"}
            code = (await _asked(client, "/v1/entry-codes", {}, headers))["code"]
            session_id = (await _asked(client, f"/v1/gates/{GATE}/scans", {"code": code}, {}))["session_id"]
            heard = asyncio.Event()
            wanted = chance.sample(opened["skus"], min(load.picks, len(opened["skus"])))
            lines = {"lines": [{"sku": sku} for sku in wanted]}
            async with asyncio.TaskGroup() as phone:
                cart = phone.create_task(follow_cart(client, session_id, token, arrivals, heard, shown))
                phone.create_task(_listen(client, f"/v1/sessions/{session_id}/place/events", headers))
                await heard.wait()
                async with room:
                    await _asked(client, f"/v1/demo/sessions/{session_id}/shop", lines, headers)
                    await asyncio.wait([cart])  # until they have left

        room = asyncio.Semaphore(load.bodies)
        shopping = [asyncio.create_task(one(token, chance.uniform(0, load.arriving_s))) for token in opened["tokens"]]
        done, _ = await asyncio.wait(shopping, timeout=load.shopping_s, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        pipe.send(json.dumps({"changes": True}))
        told = await asyncio.to_thread(heard_from, pipe, READY_S)
        keys = [(change.session_id, change.number) for change in _changes(told)]
        until_s = time.monotonic() + ARRIVAL_S
        while time.monotonic() < until_s and not all(first_seen(arrivals, key) for key in keys):
            await asyncio.sleep(0.05)
        for task in shopping:
            task.cancel()
        await asyncio.gather(*shopping, return_exceptions=True)
    return arrivals, shown, told


async def _asked(
    client: httpx.AsyncClient, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> dict[str, Any]:
    answer = await client.post(path, json=dict(body), headers=dict(headers))
    said: dict[str, Any] = answer.json()
    if answer.is_error or said.get("decision", "open") != "open":
        raise OSError(f"{path}: {answer.status_code} {said}")
    return said
