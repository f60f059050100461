"""Gates and shelf scales over MQTT (3.1.1 or 5, any broker): what they send becomes typed messages, orders reach gates.

Topics, below ``tillfree/{store}``:

====================================== ======================== =====================================================
topic                                  who sends, how           content, JSON
====================================== ======================== =====================================================
``gates/{gate}/scans``                 the gate, QoS 1          ``scan_id`` (its own), ``code``
``gates/{gate}/decisions``             the store, QoS 1         ``scan_id``, ``decision``, ``reason``, ``session_id``,
                                                                ``grant_id``, ``expires_at``
``gates/{gate}/commands``              the store, QoS 1         ``grant_id``, ``gate_id``, ``issued_at``,
                                                                ``expires_at``
``gates/{gate}/events``                the gate, QoS 1          ``news_id`` (its own), ``event``, ``grant_id``,
                                                                ``at``; see ``GateNewsKind``
``gates/{gate}/heard``                 the store, QoS 1         ``news_id``, once the event was dealt with
``scales/{gondola}/{shelf}/plates``    a scale, QoS 0 or 1      a plate message of the AutoCheckout format
====================================== ======================== =====================================================

QoS 1 lasts as far as the broker, which keeps nothing for a store that is away; so a gate repeats its news until the
store has heard them. QoS 1 repeats messages, too. A repeated command opens nothing twice (``cart.gates``), a repeated
scan is answered as before, and repeated or late samples are passed on as they are: whoever reads scales is used to
both. What cannot be read is counted and logged, and disturbs nothing else. The broker has to see to it that only gate X
may write below ``gates/X``.
"""

import asyncio
import base64
import binascii
import json
import logging
import math
import random
import re
import ssl
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar
from uuid import UUID, uuid4

import aiomqtt
import numpy as np
import numpy.typing as npt
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cart.config import Settings
from cart.doors import ScanDecision
from cart.errors import StoreError
from cart.gates import GateCommand, GateController, GateReason, check_gate_id
from cart.outbox import NotYetError

_log = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")

MAX_MESSAGE_BYTES = 1 << 20
MAX_GATE_MESSAGE_BYTES = 4096
MAX_SAMPLES, MAX_SHELVES, MAX_PLATES = 600, 64, 256
MIN_RATE_HZ, MAX_RATE_HZ = 0.1, 10_000.0
MAX_GRAMS = 1e6
MAX_LATE = timedelta(hours=1)
MAX_AHEAD = timedelta(minutes=1)
"""Scales' clocks may differ from the store's by so much; a message beyond is refused."""

_NANO = 1_000_000_000
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_STEADY_S = 10.0
_CALL_TIMEOUT_S = 5.0
_KEEPALIVE_S = 15
_QOS = 1
_REMEMBERED = 1000
_GATE_THREADS = 16
_GATE_MESSAGES_AT_ONCE = 256
_REPEAT_NEWS_S = 2.0
_NUMBER = re.compile(r"0|[1-9][0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class Broker:
    """How to reach the broker.

    Attributes:
        host: Its name or address.
        port: 1883 without TLS, 8883 with it, as a rule.
        username: None for nobody.
        password: Kept out of ``repr``.
        tls: Whether the connection is encrypted and the broker's certificate checked.
        ca_file: Certificates to check it against; None for those of the system.
    """

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        if not self.host or not 1 <= self.port <= 65535:
            raise ValueError(f"Broker: expected a host and a port of 1 to 65535, got {self.host!r} and {self.port}")

    @classmethod
    def of(cls, settings: Settings) -> "Broker | None":
        """The broker that the settings name; None if they name none."""
        if settings.mqtt_host is None:
            return None
        word = settings.mqtt_password
        return cls(
            settings.mqtt_host,
            settings.mqtt_port,
            settings.mqtt_username,
            None if word is None else word.get_secret_value(),
            settings.mqtt_tls,
            settings.mqtt_ca_file,
        )

    def _client(self, identifier: str) -> aiomqtt.Client:
        return aiomqtt.Client(
            self.host,
            self.port,
            username=self.username,
            password=self.password,
            identifier=identifier,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,
            keepalive=_KEEPALIVE_S,
            timeout=_CALL_TIMEOUT_S,
            tls_context=ssl.create_default_context(cafile=self.ca_file) if self.tls else None,
            queue_type=_Arrivals,
        )


@dataclass(frozen=True, slots=True)
class PlateMessage:
    """Samples of one gondola's plates, as one message brought them; maybe late, maybe for the second time.

    Attributes:
        gondola_id: The gondola's number.
        plate_ids: ``gondola/shelf/plate``, 1-based, as everywhere; shape (p,).
        timestamp_ns: When each sample was taken, store clock, rising; shape (s,).
        grams: Readings, float32 of shape (s, p); nan where a plate said nothing.
        rate_hz: Samples a second.
    """

    gondola_id: int
    plate_ids: tuple[str, ...]
    timestamp_ns: npt.NDArray[np.int64]
    grams: npt.NDArray[np.float32]
    rate_hz: float


class GateNewsKind(StrEnum):
    """What a gate says happened."""

    OPENED = "opened"
    NOT_OPENED = "not-opened"
    """A command was not carried out."""
    PASSED_IN = "passed-in"
    PASSED_OUT = "passed-out"
    NOT_PASSED = "not-passed"
    """It opened and shut, and nobody went through."""
    CONNECTED = "connected"
    """It can be reached, maybe after it could not: it is told again what it may have missed."""


@dataclass(frozen=True, slots=True)
class GateNews:
    """Something that happened at a gate.

    Attributes:
        gate_id: Which gate.
        kind: What.
        grant_id: The order behind it; None for a way out.
        at: When, by the gate's clock, timezone-aware.
        news_id: The gate's own name for it, by which it knows that it was heard; None from gates that do not ask.
    """

    gate_id: str
    kind: GateNewsKind
    grant_id: UUID | None
    at: datetime
    news_id: str | None = None


@dataclass(frozen=True, slots=True)
class CodeShown:
    """A gate read a code.

    Attributes:
        gate_id: Which gate.
        scan_id: The gate's own name for it, by which it knows the answer.
        code: What was shown.
    """

    gate_id: str
    scan_id: str
    code: str = field(repr=False)


class Door(Protocol):
    """What the link asks of ``cart.doors.Doorman``."""

    def scan(self, gate_id: str, code: str) -> ScanDecision:
        """Decide on a code."""
        ...

    def answer(self, grant_id: UUID, opened: bool, at: datetime | None = None, gate_id: str | None = None) -> None:
        """Note what a gate did about an order."""
        ...

    def did_not_pass(self, grant_id: UUID, at: datetime | None = None, gate_id: str | None = None) -> None:
        """Note that nobody went through."""
        ...

    def commands_for(self, gate_id: str) -> tuple[GateCommand, ...]:
        """The orders to a gate that are good and not answered."""
        ...


class Inbox:
    """Messages on their way from the link to whoever reads them, of bounded size. Safe to share between threads.

    When it is full, the oldest samples of scales give way, and are counted; news of gates never do.

    Args:
        capacity: Messages of scales it holds, at least 1.
    """

    def __init__(self, capacity: int = 2000) -> None:
        if capacity < 1:
            raise ValueError(f"capacity: expected at least 1, got {capacity}")
        self._capacity = capacity
        self._plates: deque[tuple[int, PlateMessage]] = deque()
        self._news: deque[tuple[int, GateNews]] = deque()
        self._count = 0
        self._dropped = 0
        self._changed = threading.Condition()

    @property
    def dropped(self) -> int:
        """How many messages of scales gave way so far."""
        with self._changed:
            return self._dropped

    def __len__(self) -> int:
        with self._changed:
            return len(self._plates) + len(self._news)

    def put(self, message: PlateMessage | GateNews) -> None:
        """Add a message."""
        with self._changed:
            self._count += 1
            if isinstance(message, GateNews):
                self._news.append((self._count, message))
            else:
                if len(self._plates) == self._capacity:
                    self._plates.popleft()
                    self._dropped += 1
                self._plates.append((self._count, message))
            self._changed.notify()

    def take(self, timeout_s: float = 0.0) -> list[PlateMessage | GateNews]:
        """Take everything there is, in the order of arrival; waits so long for something, if there is nothing."""
        with self._changed:
            if not self._plates and not self._news and timeout_s > 0:
                self._changed.wait(timeout_s)
            everything: list[tuple[int, PlateMessage | GateNews]] = [*self._plates, *self._news]
            self._plates.clear()
            self._news.clear()
        return [message for _, message in sorted(everything, key=lambda entry: entry[0])]


class _Gondola(BaseModel):
    id: Annotated[int, Field(ge=0, le=9999, strict=True)]


class _ShelfName(BaseModel):
    gondola_id: _Gondola


class _PlateName(BaseModel):
    shelf_id: _ShelfName


class _Values(BaseModel):
    data: Annotated[str, StringConstraints(max_length=MAX_MESSAGE_BYTES)]
    shape: tuple[
        Annotated[int, Field(ge=1, le=MAX_SAMPLES, strict=True)],
        Annotated[int, Field(ge=1, le=MAX_SHELVES + 1, strict=True)],
        Annotated[int, Field(ge=1, le=MAX_PLATES + 1, strict=True)],
    ]
    type: Annotated[str, StringConstraints(pattern=r"\ADATATYPE_FLOAT32\z")] = "DATATYPE_FLOAT32"


class _PlateData(BaseModel):
    plate_id: _PlateName | None = None
    freq_samp: Annotated[float, Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ, strict=True)]
    values: _Values


class _Header(BaseModel):
    t_origin: Any = None


class _Document(BaseModel):
    header: _Header | None = None
    plate_data: _PlateData


class _PlateJson(BaseModel):
    # Recordings hold more than is needed here.
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    timestamp: Annotated[float, Field(ge=0, le=4e9, strict=True)]
    gondola_id: Annotated[int, Field(ge=0, le=9999, strict=True)] | None = None
    document: _Document


class _ScanJson(BaseModel):
    model_config = ConfigDict(extra="forbid")

    scan_id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    code: Annotated[str, StringConstraints(max_length=256)]


class _NewsJson(BaseModel):
    model_config = ConfigDict(extra="ignore")

    event: GateNewsKind
    grant_id: UUID | None = None
    at: AwareDatetime
    news_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None


def read_plates(
    payload: bytes, gondola_id: int, shelf_id: int, at: datetime | None = None, plates: Collection[str] | None = None
) -> PlateMessage:
    """Read a plate message of the AutoCheckout format, normally of 12 samples.

    ``values`` of ``shape`` (samples, shelves, plates) are float32, little-endian, base64; both numbers are 1-based, so
    entries with index 0 are empty. Shelf 0 in the topic means the whole gondola; else only that shelf's row counts, and
    it may be the message's only one. The samples lie around ``t_origin`` if there is one, else end at ``timestamp``.

    Args:
        payload: The message.
        gondola_id: As the topic says.
        shelf_id: As the topic says.
        at: Now; the message must not be an hour late or a minute early. None to take any.
        plates: Plates to keep; None for all that said anything.

    Raises:
        ValueError: It is no such message.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise ValueError(f"plates: expected at most {MAX_MESSAGE_BYTES} bytes, got {len(payload)}")
    try:
        message = _PlateJson.model_validate_json(payload)
    except ValidationError as error:
        raise ValueError(f"plates: {_first(error)}") from None
    data = message.document.plate_data
    named = message.gondola_id
    if named is None and data.plate_id is not None:
        named = data.plate_id.shelf_id.gondola_id.id
    if named is not None and named != gondola_id:
        raise ValueError(f"plates: expected gondola {gondola_id} as in the topic, got {named}")
    sent_ns = round(message.timestamp * 1e6) * 1000
    if at is not None:
        late = at - datetime.fromtimestamp(message.timestamp, UTC)
        if not -MAX_AHEAD <= late <= MAX_LATE:
            raise ValueError(f"plates: sent {late.total_seconds():.0f} s ago by its clock, one of the clocks is wrong")
    shape = data.values.shape
    try:
        raw = base64.b64decode(data.values.data, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("plates: expected base64") from None
    if len(raw) != 4 * math.prod(shape):
        raise ValueError(f"plates: expected {4 * math.prod(shape)} bytes for shape {shape}, got {len(raw)}")
    values = np.frombuffer(raw, "<f4").reshape(shape)
    with np.errstate(invalid="ignore"):
        grams = np.where(np.abs(values) <= MAX_GRAMS, values, np.float32(np.nan)).astype(np.float32)
    if shelf_id == 0:
        rows = {shelf: grams[:, shelf] for shelf in range(1, shape[1])}
    elif shape[1] == 1:
        rows = {shelf_id: grams[:, 0]}
    elif shelf_id < shape[1]:
        rows = {shelf_id: grams[:, shelf_id]}
    else:
        raise ValueError(f"plates: expected shelf {shelf_id} as in the topic, the message has {shape[1] - 1}")
    columns: dict[str, npt.NDArray[np.float32]] = {}
    for shelf, row in rows.items():
        for plate in range(1, shape[2]):
            name = f"{gondola_id}/{shelf}/{plate}"
            if (plates is None or name in plates) and not np.isnan(row[:, plate]).all():
                columns[name] = row[:, plate]
    readings = np.stack(list(columns.values()), axis=1) if columns else np.zeros((shape[0], 0), np.float32)
    times_ns = _sample_times_ns(sent_ns, message.document.header, shape[0], data.freq_samp)
    return PlateMessage(gondola_id, tuple(columns), times_ns, readings, data.freq_samp)


def _sample_times_ns(sent_ns: int, header: _Header | None, count: int, rate_hz: float) -> npt.NDArray[np.int64]:
    step_ns = _NANO / rate_hz
    last_ns = 0.0
    origin = None if header is None else header.t_origin
    if isinstance(origin, str):
        try:
            moment = datetime.fromisoformat(origin)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
            since_ns = sent_ns - round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1000
        except (ValueError, OverflowError):
            since_ns = -1
        # The origin is the middle of the block; one that does not fit the time of sending is of no use.
        if 0 <= since_ns <= _NANO + count * step_ns:
            last_ns = min(0.0, -since_ns + (count - 1) * step_ns / 2)
    offsets_ns: npt.NDArray[np.int64] = np.rint(last_ns + np.arange(1 - count, 1) * step_ns).astype(np.int64)
    return sent_ns + offsets_ns


def read_news(payload: bytes, gate_id: str) -> GateNews:
    """Read what a gate says happened.

    Raises:
        ValueError: It is no such message.
    """
    if len(payload) > MAX_GATE_MESSAGE_BYTES:
        raise ValueError(f"event: expected at most {MAX_GATE_MESSAGE_BYTES} bytes, got {len(payload)}")
    try:
        read = _NewsJson.model_validate_json(payload)
    except ValidationError as error:
        raise ValueError(f"event: {_first(error)}") from None
    return GateNews(gate_id, read.event, read.grant_id, read.at, read.news_id)


def read_scan(payload: bytes, gate_id: str) -> CodeShown:
    """Read a code that a gate posts.

    Raises:
        ValueError: It is no such message.
    """
    if len(payload) > MAX_GATE_MESSAGE_BYTES:
        raise ValueError(f"scan: expected at most {MAX_GATE_MESSAGE_BYTES} bytes, got {len(payload)}")
    try:
        read = _ScanJson.model_validate_json(payload)
    except ValidationError as error:
        raise ValueError(f"scan: {_first(error)}") from None
    return CodeShown(gate_id, read.scan_id, read.code)


def _first(error: ValidationError) -> str:
    """What is wrong with the first wrong field, without its value, which may be a code."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'message'}: {first['msg'][:200]}"


def _is_of_scales(topic: str) -> bool:
    return "/scales/" in topic


class _Arrivals(asyncio.Queue[aiomqtt.Message]):
    """What has arrived and was not looked at yet: the oldest samples give way there too when it is too much."""

    LIMIT = 5000

    def _put(self, item: aiomqtt.Message) -> None:
        waiting: deque[aiomqtt.Message] = self._queue  # type: ignore[attr-defined]
        if len(waiting) >= self.LIMIT and _is_of_scales(str(item.topic)):
            for position, message in enumerate(waiting):
                if _is_of_scales(str(message.topic)):
                    del waiting[position]
                    break
        super()._put(item)


class _Connection:
    """Keeps one connection to the broker going, and comes back after each loss."""

    def __init__(
        self,
        broker: Broker,
        identifier: str,
        topics: Collection[str],
        take: Callable[[aiomqtt.Message], Awaitable[None]],
        jitter: Callable[[], float],
        greet: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._broker = broker
        self._identifier = identifier
        self._topics = tuple(topics)
        self._take = take
        self._greet = greet
        self._jitter = jitter
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: aiomqtt.Client | None = None
        self.connections = 0

    @property
    def is_up(self) -> bool:
        return self._client is not None

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        wait_s = _SHORTEST_WAIT_S
        while True:
            began = self._loop.time()
            try:
                await self._stay_connected()
            except (aiomqtt.MqttError, OSError) as error:
                _log.warning("%s: the broker is lost: %s", self._identifier, error)
            _stop_if_cancelled()
            if self._loop.time() - began > _STEADY_S:
                wait_s = _SHORTEST_WAIT_S
            # A broker that comes back must not meet all its clients at once.
            await asyncio.sleep(wait_s * (0.5 + self._jitter() / 2))
            wait_s = min(_LONGEST_WAIT_S, 2 * wait_s)

    async def _stay_connected(self) -> None:
        async with self._broker._client(self._identifier) as client:
            for topic in self._topics:
                await client.subscribe(topic, qos=_QOS)
                _stop_if_cancelled()
            self._client = client
            self.connections += 1
            _log.info("%s: connected to %s:%d", self._identifier, self._broker.host, self._broker.port)
            try:
                if self._greet is not None:
                    await self._greet()
                _stop_if_cancelled()
                async for message in client.messages:
                    await self._take(message)
                    _stop_if_cancelled()
            finally:
                self._client = None

    async def send(self, topic: str, payload: str) -> None:
        client = self._client
        if client is None:
            raise aiomqtt.MqttError("not connected")
        await client.publish(topic, payload, qos=_QOS, timeout=_CALL_TIMEOUT_S)

    def send_from_thread(self, topic: str, payload: str) -> None:
        loop = self._loop
        if loop is None or self._client is None:
            raise NotYetError("the broker is not connected")
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is loop:
            raise RuntimeError("this call waits for the broker: make it from another thread")
        try:
            asyncio.run_coroutine_threadsafe(self.send(topic, payload), loop).result(_CALL_TIMEOUT_S + 1)
        except (aiomqtt.MqttError, OSError, TimeoutError, RuntimeError) as error:
            raise NotYetError(f"the broker did not take it: {error}") from error


def _stop_if_cancelled() -> None:
    """Be cancelled, if somebody asked for that: ``asyncio.wait_for`` loses it when its result comes at that moment."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class StoreLink:
    """The store's end of MQTT.

    Args:
        broker: How to reach the broker.
        store_id: This store; a single level of a topic.
        door: Who decides on codes, from other threads.
        inbox: Where samples and news of gates go.
        now: The store's clock, timezone-aware.
        plates: The plates that the store has, ``gondola/shelf/plate``; None to take all that say anything.
        jitter: 0 to 1, to spread waits.
    """

    def __init__(
        self,
        broker: Broker,
        store_id: str,
        door: Door,
        inbox: Inbox,
        now: Callable[[], datetime],
        plates: Collection[str] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        check_gate_id(store_id)
        self._root = f"tillfree/{store_id}"
        self._door = door
        self._inbox = inbox
        self._now = now
        self._plates = None if plates is None else frozenset(plates)
        self._counts: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._connection = _Connection(
            broker,
            f"tillfree-store-{store_id}",
            (f"{self._root}/gates/+/scans", f"{self._root}/gates/+/events", f"{self._root}/scales/+/+/plates"),
            self._take,
            jitter,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: dict[str, asyncio.Lock] = {}
        self._answered: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._passed_on: OrderedDict[tuple[str, str], None] = OrderedDict()

    @property
    def is_connected(self) -> bool:
        """Whether the broker can be reached at this moment."""
        return self._connection.is_up

    @property
    def connections(self) -> int:
        """How often a connection was made."""
        return self._connection.connections

    @property
    def counts(self) -> dict[str, int]:
        """How many messages came: ``plates``, ``scans``, ``events``, ``unreadable``, ``retained``, ``failed``."""
        with self._counting:
            return dict(self._counts)

    async def run(self) -> None:
        """Connect, and stay connected until cancelled; what gates have sent by then is still dealt with."""
        self._slots = asyncio.Semaphore(_GATE_MESSAGES_AT_ONCE)
        self._turns.clear()
        with ThreadPoolExecutor(_GATE_THREADS, "gate") as self._threads:
            try:
                await self._connection.run()
            finally:
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=_CALL_TIMEOUT_S)
                for task in self._tasks:
                    task.cancel()

    def publish(self, command: GateCommand) -> None:
        """Send an order to its gate; returns once the broker has it. Call it from another thread than the link's.

        Raises:
            NotYetError: The broker does not have it, as far as is known.
        """
        self._connection.send_from_thread(f"{self._root}/gates/{command.gate_id}/commands", command.to_json())

    async def _take(self, message: aiomqtt.Message) -> None:
        if message.retain:
            # Something from the past that the broker kept for newcomers: neither codes nor samples are meant to be.
            self._count("retained")
            return
        topic, payload = str(message.topic), message.payload
        try:
            match topic.removeprefix(f"{self._root}/").split("/"), payload:
                case ["scales", gondola, shelf, "plates"], bytes() as content:
                    self._inbox.put(self._read_plates(content, gondola, shelf))
                    self._count("plates")
                case ["gates", gate_id, "scans"], bytes() as content:
                    shown = read_scan(content, check_gate_id(gate_id))
                    await self._in_turn(gate_id, lambda: self._answer_scan(shown))
                    self._count("scans")
                case ["gates", gate_id, "events"], bytes() as content:
                    news = read_news(content, check_gate_id(gate_id))
                    await self._in_turn(gate_id, lambda: self._hear(news))
                    self._count("events")
                case _:
                    raise ValueError("expected a scan, an event or plates")
        except ValueError as error:
            count = self._count("unreadable")
            # Whoever sends rubbish sends much of it: the first, second, fourth ... are logged.
            if count & (count - 1) == 0:
                _log.warning("%r: message %d that cannot be read: %s", topic[:100], count, error)

    def _read_plates(self, payload: bytes, gondola: str, shelf: str) -> PlateMessage:
        if not _NUMBER.fullmatch(gondola) or not _NUMBER.fullmatch(shelf):
            raise ValueError("expected numbers of a gondola and a shelf in the topic")
        return read_plates(payload, int(gondola), int(shelf), self._now(), self._plates)

    def _count(self, what: str) -> int:
        with self._counting:
            self._counts[what] += 1
            return self._counts[what]

    async def _in_turn(self, gate_id: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do something for a gate after what it sent before, beside what other gates sent."""
        await self._slots.acquire()
        turn = self._turns.setdefault(gate_id, asyncio.Lock())

        async def wait_and_work() -> None:
            try:
                async with turn:
                    await work()
            except Exception:
                self._count("failed")
                _log.exception("gate %s: a message was not dealt with", gate_id)
            finally:
                self._slots.release()

        task = asyncio.create_task(wait_and_work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_scan(self, shown: CodeShown) -> None:
        key = (shown.gate_id, shown.scan_id)
        answer = self._answered.get(key)
        if answer is None:
            loop = asyncio.get_running_loop()
            decision = await loop.run_in_executor(self._threads, self._door.scan, shown.gate_id, shown.code)
            answer = _decision_json(shown.scan_id, decision)
            _remember(self._answered, key, answer)
        await self._try_to_send(shown.gate_id, "decisions", answer)

    async def _try_to_send(self, gate_id: str, topic: str, payload: str) -> None:
        try:
            await self._connection.send(f"{self._root}/gates/{gate_id}/{topic}", payload)
        except (aiomqtt.MqttError, OSError) as error:
            _log.warning("gate %s: its %s did not reach the broker: %s", gate_id, topic, error)

    async def _hear(self, news: GateNews) -> None:
        """Deal with news once, and tell the gate so; what fails is not confirmed, and so comes again."""
        key = (news.gate_id, news.news_id or "")
        if news.news_id is None or key not in self._passed_on:
            self._inbox.put(news)
            _remember(self._passed_on, key, None)
        await self._note(news)
        if news.news_id is not None:
            await self._try_to_send(news.gate_id, "heard", json.dumps({"news_id": news.news_id}))

    async def _note(self, news: GateNews) -> None:
        loop = asyncio.get_running_loop()
        if news.kind is GateNewsKind.CONNECTED:
            for command in await loop.run_in_executor(self._threads, self._door.commands_for, news.gate_id):
                await self._connection.send(f"{self._root}/gates/{news.gate_id}/commands", command.to_json())
        if news.grant_id is None:
            return
        try:
            await loop.run_in_executor(self._threads, self._tell_door, news, news.grant_id)
        except StoreError as error:
            _log.warning("gate %s: %s", news.gate_id, error)

    def _tell_door(self, news: GateNews, grant_id: UUID) -> None:
        at = self._now()
        if news.kind is GateNewsKind.NOT_PASSED:
            self._door.did_not_pass(grant_id, at, news.gate_id)
        elif news.kind is not GateNewsKind.PASSED_OUT:
            self._door.answer(grant_id, news.kind is not GateNewsKind.NOT_OPENED, at, news.gate_id)


def _remember(known: OrderedDict[K, V], key: K, what: V) -> None:
    known[key] = what
    if len(known) > _REMEMBERED:
        known.popitem(last=False)


def _decision_json(scan_id: str, decision: ScanDecision) -> str:
    return json.dumps(
        {
            "scan_id": scan_id,
            "decision": decision.decision.value,
            "reason": decision.reason.value,
            "session_id": None if decision.session_id is None else str(decision.session_id),
            "grant_id": None if decision.grant_id is None else str(decision.grant_id),
            "expires_at": None if decision.expires_at is None else decision.expires_at.isoformat(),
        }
    )


@dataclass(frozen=True, slots=True)
class GateDisplay:
    """What a gate may show after a scan.

    Attributes:
        decision: ``open`` or ``refuse``.
        reason: Why, one of ``cart.doors.ScanReason``.
        grant_id: The order that the gate gets; None if it is refused.
    """

    decision: str
    reason: str
    grant_id: UUID | None


class _DecisionJson(BaseModel):
    model_config = ConfigDict(extra="ignore")

    scan_id: str
    decision: str
    reason: str
    grant_id: UUID | None = None


class _HeardJson(BaseModel):
    model_config = ConfigDict(extra="ignore")

    news_id: str


class GateLink:
    """A gate's end of MQTT: it obeys commands by its controller's rules and says what it did, if later.

    What it could not say without the line it says when the line is back, and it is told then what it missed.

    Args:
        broker: How to reach the broker.
        store_id: The store.
        controller: The gate's rules.
        now: The gate's clock, timezone-aware.
        new_id: Makes names of scans.
        jitter: 0 to 1, to spread waits.
    """

    def __init__(
        self,
        broker: Broker,
        store_id: str,
        controller: GateController,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID] = uuid4,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        check_gate_id(store_id)
        self._root = f"tillfree/{store_id}/gates/{controller.gate_id}"
        self._controller = controller
        self._now = now
        self._new_id = new_id
        self._unheard: OrderedDict[str, str] = OrderedDict()
        self._asked: dict[str, asyncio.Future[GateDisplay]] = {}
        self._connection = _Connection(
            broker,
            f"tillfree-gate-{store_id}-{controller.gate_id}",
            (f"{self._root}/commands", f"{self._root}/decisions", f"{self._root}/heard"),
            self._take,
            jitter,
            self._greet,
        )

    @property
    def is_connected(self) -> bool:
        """Whether the broker can be reached at this moment."""
        return self._connection.is_up

    async def run(self) -> None:
        """Connect, and stay connected until cancelled."""
        repeating = asyncio.create_task(self._repeat())
        try:
            await self._connection.run()
        finally:
            repeating.cancel()

    async def show(self, code: str, timeout_s: float = 5.0) -> GateDisplay:
        """Post a code and wait for the decision, for the display; what opens the gate is the command that follows.

        Raises:
            NotYetError: No decision came.
        """
        scan_id = str(self._new_id())
        decided = self._asked[scan_id] = asyncio.get_running_loop().create_future()
        try:
            await self._connection.send(f"{self._root}/scans", json.dumps({"scan_id": scan_id, "code": code}))
            return await asyncio.wait_for(decided, timeout_s)
        except (aiomqtt.MqttError, OSError, TimeoutError) as error:
            raise NotYetError(f"gate {self._controller.gate_id}: no decision: {error}") from error
        finally:
            del self._asked[scan_id]

    async def tell(self, kind: GateNewsKind, grant_id: UUID | None = None) -> None:
        """Say that something happened, again and again until the store has heard it."""
        news_id = str(self._new_id())
        content = {"news_id": news_id, "event": kind.value, "grant_id": None if grant_id is None else str(grant_id)}
        _remember(self._unheard, news_id, json.dumps({**content, "at": self._now().isoformat()}))
        await self._try_to_send_news([news_id])

    async def _greet(self) -> None:
        # A broker need not keep commands for a gate that is away, and forgets them itself when it restarts.
        await self._try_to_send_news(list(self._unheard))
        await self.tell(GateNewsKind.CONNECTED)

    async def _repeat(self) -> None:
        while True:
            before = list(self._unheard)
            await asyncio.sleep(_REPEAT_NEWS_S)
            await self._try_to_send_news([news_id for news_id in before if news_id in self._unheard])

    async def _try_to_send_news(self, news_ids: Collection[str]) -> None:
        try:
            for news_id in news_ids:
                if news_id in self._unheard:
                    await self._connection.send(f"{self._root}/events", self._unheard[news_id])
        except (aiomqtt.MqttError, OSError) as error:
            _log.info("gate %s: news wait for the broker: %s", self._controller.gate_id, error)

    async def _take(self, message: aiomqtt.Message) -> None:
        payload = message.payload
        if not isinstance(payload, bytes) or len(payload) > MAX_GATE_MESSAGE_BYTES:
            _log.warning("gate %s: expected a short message", self._controller.gate_id)
        elif str(message.topic).endswith("/commands"):
            # The bolt takes its time, and the line has to stay alive.
            answer = await asyncio.to_thread(self._controller.obey, payload)
            if answer.grant_id is not None and answer.reason not in (GateReason.OTHER_GATE, GateReason.IN_DOUBT):
                await self.tell(GateNewsKind.OPENED if answer.opened else GateNewsKind.NOT_OPENED, answer.grant_id)
        elif str(message.topic).endswith("/heard"):
            self._note_heard(payload)
        else:
            self._show(payload)

    def _note_heard(self, payload: bytes) -> None:
        try:
            read = _HeardJson.model_validate_json(payload)
        except ValidationError as error:
            _log.warning("gate %s: nothing that was heard: %s", self._controller.gate_id, _first(error))
            return
        self._unheard.pop(read.news_id, None)

    def _show(self, payload: bytes) -> None:
        try:
            read = _DecisionJson.model_validate_json(payload)
        except ValidationError as error:
            _log.warning("gate %s: not a decision: %s", self._controller.gate_id, _first(error))
            return
        decided = self._asked.get(read.scan_id)
        if decided is not None and not decided.done():
            decided.set_result(GateDisplay(read.decision, read.reason, read.grant_id))
