import asyncio
import base64
import gc
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiomqtt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from cart.config import Settings
from cart.doors import Decision, ScanReason
from cart.gates import GateCommand, GateController, GateKind
from cart.mqtt import (
    Broker,
    GateDisplay,
    GateLink,
    GateNews,
    GateNewsKind,
    Inbox,
    PlateMessage,
    StoreLink,
    read_news,
    read_plates,
    read_scan,
)
from cart.outbox import NotYetError, Sweeper
from cart.sessions import SessionStatus
from store_sim.autocheckout import AutoCheckoutSource
from tests.cart.broker import RunningBroker, free_port
from tests.cart.people import People
from tests.cart.test_doors import STORE, Entrance
from tests.cart.test_gates import Bolt

NOW = datetime(2026, 5, 4, 8, 0, 0, tzinfo=UTC)
PATIENCE_S = 60.0
ROOT = f"tillfree/{STORE}"


def clock() -> datetime:
    return datetime.now(UTC)


def plates_json(
    grams: Any = None, at: datetime = NOW, gondola: int = 1, rate_hz: float = 60.0, **changes: Any
) -> dict[str, Any]:
    """A plate message: 12 samples of two shelves with three plates."""
    values = np.full((12, 3, 4), np.nan, "<f4") if grams is None else np.asarray(grams, "<f4")
    if grams is None:
        values[:, 1:, 1:] = np.arange(72).reshape(12, 2, 3)
    return {
        "timestamp": at.timestamp(),
        "gondola_id": gondola,
        "document": {
            "header": {},
            "plate_data": {
                "freq_samp": rate_hz,
                "values": {
                    "data": base64.b64encode(values.tobytes()).decode(),
                    "shape": list(values.shape),
                    "type": "DATATYPE_FLOAT32",
                },
            },
        },
    } | changes


def as_bytes(message: Any) -> bytes:
    return json.dumps(message).encode()


# What is read, without a broker.


def test_a_plate_message_of_12_samples_is_read() -> None:
    message = read_plates(as_bytes(plates_json()), 1, 0, NOW)

    assert message.plate_ids == ("1/1/1", "1/1/2", "1/1/3", "1/2/1", "1/2/2", "1/2/3")
    assert message.grams.shape == (12, 6)
    assert message.grams[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert message.timestamp_ns[-1] == int(NOW.timestamp()) * 10**9
    assert np.diff(message.timestamp_ns).tolist() == pytest.approx([1e9 / 60] * 11, abs=1)


def test_a_topic_of_one_shelf_takes_that_shelf() -> None:
    of_gondola = read_plates(as_bytes(plates_json()), 1, 2, NOW)
    alone = read_plates(as_bytes(plates_json(np.ones((12, 1, 4)))), 1, 5, NOW)

    assert of_gondola.plate_ids == ("1/2/1", "1/2/2", "1/2/3")
    assert of_gondola.grams[0].tolist() == [3, 4, 5]
    assert alone.plate_ids == ("1/5/1", "1/5/2", "1/5/3")


def test_only_plates_of_the_store_are_kept_and_impossible_readings_are_left_out() -> None:
    grams = np.full((12, 2, 4), 100.0)
    grams[:, 1, 1] = np.nan
    grams[3, 1, 2] = np.inf
    grams[4, 1, 2] = 2e6

    message = read_plates(as_bytes(plates_json(grams)), 1, 1, NOW, {"1/1/1", "1/1/2"})

    assert message.plate_ids == ("1/1/2",)
    assert np.isnan(message.grams[:, 0]).nonzero()[0].tolist() == [3, 4]
    assert read_plates(as_bytes(plates_json(grams)), 1, 1, NOW, {"2/1/1"}).grams.shape == (12, 0)


@settings(deadline=None)
@given(st.floats(-1, 3), st.floats(0.1, 200), st.integers(1, 20))
def test_samples_rise_and_none_is_later_than_its_message(origin_s: float, rate_hz: float, count: int) -> None:
    message = plates_json(np.ones((count, 2, 2)), rate_hz=rate_hz)
    message["document"]["header"]["t_origin"] = (NOW - timedelta(seconds=origin_s)).isoformat()

    times_ns = read_plates(as_bytes(message), 1, 1, NOW).timestamp_ns

    assert (np.diff(times_ns) > 0).all()
    assert times_ns[-1] <= NOW.timestamp() * 1e9


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\x00", "Invalid JSON"),
        (b"[" * 100_000, "Invalid JSON"),
        (as_bytes([]), "message"),
        (as_bytes({}), "timestamp"),
        (as_bytes(plates_json(timestamp="now")), "timestamp"),
        (as_bytes(plates_json(timestamp=True)), "timestamp"),
        (as_bytes(plates_json(timestamp=1e300)), "timestamp"),
        (b'{"timestamp": NaN}', "Invalid JSON|timestamp"),
        (as_bytes(plates_json(gondola_id=2)), "expected gondola 1"),
        (as_bytes(plates_json(gondola_id="1")), "gondola_id"),
        (as_bytes(plates_json(document=None)), "document"),
        (as_bytes(plates_json(at=NOW - timedelta(hours=2))), "one of the clocks is wrong"),
        (as_bytes(plates_json(at=NOW + timedelta(minutes=2))), "one of the clocks is wrong"),
        (as_bytes(plates_json(rate_hz=0)), "freq_samp"),
        (as_bytes(plates_json(np.ones((12, 2, 2)))), "expected shelf 3"),
        (as_bytes(plates_json(np.ones((601, 2, 2)))), "shape"),
        (as_bytes(plates_json(np.ones((2, 2, 1000)))), "shape"),
        (as_bytes(plates_json(np.ones((12, 2)))), "shape"),
        (bytes(2 << 20), "expected at most"),
    ],
)
def test_a_message_that_is_none_of_plates_says_what_is_wrong(message: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_plates(message, 1, 3, NOW)


@pytest.mark.parametrize("data", ["", "####", "AAAA", 5, "A" * 2_000])
def test_samples_have_to_be_what_their_shape_says(data: object) -> None:
    message = plates_json()
    message["document"]["plate_data"]["values"]["data"] = data

    with pytest.raises(ValueError, match=r"expected base64|expected 576 bytes|data"):
        read_plates(as_bytes(message), 1, 1, NOW)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.data())
def test_no_message_does_worse_than_being_refused(data: st.DataObject) -> None:
    message: Any = plates_json()
    for _ in range(data.draw(st.integers(1, 3))):
        place, key = message, "document"
        while isinstance(place.get(key), dict) and data.draw(st.booleans()):
            place = place[key]
            key = data.draw(st.sampled_from(sorted(place) or ["x"]))
        place[key] = data.draw(json_values)
    payload = as_bytes(message)
    for read in (
        lambda: read_plates(payload, 1, 1, NOW),
        lambda: read_news(payload, "front"),
        lambda: read_scan(payload, "front"),
        lambda: read_plates(data.draw(st.binary(max_size=50)), 1, 1),
    ):
        with suppress(ValueError):
            read()


def test_recorded_messages_are_read_as_the_reader_of_recordings_reads_them(shared: Path) -> None:
    folder = shared / "nanostore" / "BENCHMARK-1"
    lines = (folder / "plate_data.jsonl").read_bytes().splitlines()
    ours = [read_plates(line, json.loads(line)["gondola_id"], 0) for line in lines]
    theirs = [block for tick in AutoCheckoutSource(folder) for block in tick.scales]

    assert len(ours) == len(theirs) == 344
    by_time = {(block.plate_id[0].split("/")[0], int(block.timestamp_ns[-1])): block for block in theirs}
    same = 0
    for message in ours:
        block = by_time.get((str(message.gondola_id), int(message.timestamp_ns[-1])))
        if block is not None and np.array_equal(block.timestamp_ns, message.timestamp_ns):
            assert block.plate_id == message.plate_ids
            np.testing.assert_array_equal(block.grams, message.grams)
            same += 1
    # The reader of recordings squeezes a block whose samples overlap those before; nothing else may differ.
    assert same > 300


def test_a_full_inbox_drops_the_oldest_samples_and_never_news() -> None:
    inbox = Inbox(capacity=3)
    samples = [read_plates(as_bytes(plates_json(at=NOW + timedelta(seconds=n))), 1, 1) for n in range(5)]
    news = [GateNews("front", GateNewsKind.PASSED_OUT, None, NOW + timedelta(seconds=n)) for n in range(10)]
    messages: list[GateNews | PlateMessage] = [*news[:5], *samples, *news[5:]]
    for message in messages:
        inbox.put(message)

    taken = inbox.take()

    assert [message for message in taken if isinstance(message, GateNews)] == news
    assert [m.timestamp_ns[-1] for m in taken if isinstance(m, PlateMessage)] == [
        m.timestamp_ns[-1] for m in samples[2:]
    ]
    assert (inbox.dropped, len(inbox), inbox.take()) == (2, 0, [])


def test_the_broker_comes_from_the_settings() -> None:
    assert Broker.of(Settings()) is None
    named = Settings(
        mqtt_host="broker.local", mqtt_port=8883, mqtt_username="store", mqtt_password=SecretStr("word"), mqtt_tls=True
    )

    assert Broker.of(named) == Broker("broker.local", 8883, "store", "word", tls=True)
    assert "word" not in repr(Broker.of(named))
    with pytest.raises(ValueError, match="Broker: expected a host"):
        Broker("")


# With a real broker.


async def until(condition: Callable[[], object]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


class Store:
    """A store and one of its gates, which know each other by a broker alone."""

    def __init__(self, broker: Broker, folder: Path, entrance: Entrance) -> None:
        self.entrance, self.broker = entrance, broker
        self.inbox = Inbox(100)
        self.news: list[GateNews] = []
        self.link = StoreLink(broker, STORE, entrance.doorman, self.inbox, clock, jitter=lambda: 0.0)
        entrance.doorman.publish_with(self.link.publish)
        self.bolt = Bolt()
        self.controller = GateController("front", GateKind.ENTRY, folder / "grants", self.bolt, clock)
        self.gate = GateLink(broker, STORE, self.controller, clock, jitter=lambda: 0.0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Store"]:
        """Both ends, connected."""
        tasks = [asyncio.create_task(self.link.run()), asyncio.create_task(self.gate.run())]
        try:
            await until(lambda: self.link.is_connected and self.gate.is_connected)
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def heard_of(self, kind: GateNewsKind, grant_id: UUID | None = None) -> int:
        """How often the store heard such news."""
        self.news += [message for message in self.inbox.take() if isinstance(message, GateNews)]
        return sum((entry.kind, entry.grant_id) == (kind, grant_id) for entry in self.news)

    async def count(self, what: str, number: int) -> None:
        """Wait for so many messages of a kind."""
        await until(lambda: self.link.counts.get(what, 0) >= number)

    @asynccontextmanager
    async def somebody(self) -> AsyncIterator[aiomqtt.Client]:
        """Another client of the broker."""
        context = None if not self.broker.tls else ssl.create_default_context(cafile=self.broker.ca_file)
        async with aiomqtt.Client(
            self.broker.host,
            self.broker.port,
            username=self.broker.username,
            password=self.broker.password,
            tls_context=context,
        ) as client:
            yield client


@pytest.fixture(scope="module")
def running_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with RunningBroker(tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture
def store(running_broker: RunningBroker, tmp_path: Path) -> Iterator[Store]:
    with real_time() as entrance:
        yield Store(Broker("127.0.0.1", running_broker.port), tmp_path, entrance)


class real_time:  # noqa: N801
    """An entrance whose clock is that of the gates and the broker."""

    def __enter__(self) -> Entrance:
        people = People()
        people.clock = clock  # type: ignore[assignment]
        self.entrance = Entrance(people)
        return self.entrance

    def __exit__(self, *_: object) -> None:
        self.entrance.database.close()


def run(work: Awaitable[None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            await work

    asyncio.run(limited())


def test_a_scan_over_mqtt_is_decided_and_the_gate_opens_once(store: Store) -> None:
    ada = store.entrance.shopper()
    code = store.entrance.code(ada)

    async def work() -> None:
        async with store.running():
            shown = await store.gate.show(code)
            assert (shown.decision, shown.reason) == (Decision.OPEN, ScanReason.WELCOME)
            await until(lambda: store.bolt.moved)
            assert (await store.gate.show(code)).reason == ScanReason.ALREADY_USED
            await store.gate.tell(GateNewsKind.PASSED_IN, shown.grant_id)
            await until(lambda: store.heard_of(GateNewsKind.PASSED_IN, shown.grant_id))
            assert [(entry.kind, entry.grant_id) for entry in store.news] == [
                (GateNewsKind.CONNECTED, None),
                (GateNewsKind.OPENED, shown.grant_id),
                (GateNewsKind.PASSED_IN, shown.grant_id),
            ]
            await until(lambda: not store.entrance.doorman.commands_for("front"))

    run(work())
    assert store.bolt.moved == 1


def test_a_command_that_comes_again_and_again_opens_once(store: Store) -> None:
    async def work() -> None:
        async with store.running(), store.somebody() as network:
            command = await asyncio.to_thread(store.entrance.doorman.open_by_hand, "front")
            await until(lambda: store.bolt.moved)
            for _ in range(5):
                await network.publish(f"{ROOT}/gates/front/commands", command.to_json(), qos=1)
            await until(lambda: store.heard_of(GateNewsKind.OPENED, command.grant_id) == 6)

    run(work())
    assert store.bolt.moved == 1


def test_a_scan_that_comes_twice_is_answered_twice_the_same(store: Store) -> None:
    code = store.entrance.code(store.entrance.shopper())

    async def work() -> None:
        async with store.running(), store.somebody() as gate:
            await gate.subscribe(f"{ROOT}/gates/back/decisions", qos=1)
            for _ in range(2):
                await gate.publish(f"{ROOT}/gates/back/scans", as_bytes({"scan_id": "7", "code": code}), qos=1)
            answers = []
            async for message in gate.messages:
                answers.append(json.loads(message.payload))
                if len(answers) == 2:
                    break
            assert answers[0] == answers[1]
            assert answers[0]["decision"] == "open"

    run(work())
    assert len(store.entrance.gateway.payments) == 1


def test_stale_commands_and_foreign_rubbish_move_nothing(store: Store) -> None:
    ago = clock() - timedelta(seconds=30)
    stale = GateCommand(uuid4(), "front", ago, ago + timedelta(seconds=10))
    code = store.entrance.code(store.entrance.shopper())

    async def work() -> None:
        async with store.running(), store.somebody() as network:
            for payload in (stale.to_json().encode(), b"", b"\xff" * 100, b"{}", b"[" * 4000, bytes(100_000)):
                for topic in ("gates/front/commands", "gates/front/decisions", "gates/front/heard"):
                    await network.publish(f"{ROOT}/{topic}", payload, qos=1)
            for topic in ("gates/front/scans", "gates/front/events", "scales/1/1/plates", "scales/x/1/plates"):
                for payload in (b"", b"\xff" * 100, b"{}", b"[" * 4000, as_bytes({"code": 7, "scan_id": []})):
                    await network.publish(f"{ROOT}/{topic}", payload, qos=1)
            foreign = {"event": "opened", "grant_id": str(uuid4()), "at": clock().isoformat()}
            await network.publish(f"{ROOT}/gates/front/events", as_bytes(foreign), qos=1)
            await network.publish(f"{ROOT}/gates/-x/scans", as_bytes({"scan_id": "1", "code": code}), qos=1)
            await store.count("unreadable", 21)
            assert store.bolt.moved == 0
            # Everything works as before.
            assert (await store.gate.show("rubbish")).reason == ScanReason.MALFORMED
            assert (await store.gate.show(code)).decision == Decision.OPEN
            await until(lambda: store.bolt.moved)

    run(work())
    assert store.bolt.moved == 1
    assert store.link.counts["unreadable"] == 21


def test_what_the_broker_kept_from_the_past_is_not_taken(store: Store) -> None:
    code = store.entrance.code(store.entrance.shopper())

    async def work() -> None:
        async with store.somebody() as network:
            topic = f"{ROOT}/gates/front/scans"
            await network.publish(topic, as_bytes({"scan_id": "1", "code": code}), qos=1, retain=True)
            async with store.running():
                await store.count("retained", 1)
            await network.publish(topic, b"", qos=1, retain=True)

    run(work())
    assert "scans" not in store.link.counts


def test_samples_arrive_also_late_and_doubled_ones(store: Store) -> None:
    first, second = (plates_json(at=clock() - timedelta(seconds=age_s)) for age_s in (2, 1))

    async def work() -> None:
        async with store.running(), store.somebody() as scale:
            for message in (second, first, first):
                await scale.publish(f"{ROOT}/scales/1/2/plates", as_bytes(message), qos=1)
            await store.count("plates", 3)

    run(work())
    taken = [message for message in store.inbox.take() if isinstance(message, PlateMessage)]
    assert [message.plate_ids for message in taken] == [("1/2/1", "1/2/2", "1/2/3")] * 3
    assert [int(message.timestamp_ns[-1] // 1000) for message in taken] == [
        round(message["timestamp"] * 1e6) for message in (second, first, first)
    ]


def test_a_flood_of_samples_does_not_hold_up_a_scan(store: Store) -> None:
    code = store.entrance.code(store.entrance.shopper())
    payload = as_bytes(plates_json(at=clock()))

    async def work() -> None:
        async with store.running(), store.somebody() as scale:
            for _ in range(300):
                await scale.publish(f"{ROOT}/scales/1/2/plates", payload, qos=0)
            assert (await store.gate.show(code, PATIENCE_S)).decision == Decision.OPEN
            await store.count("plates", 300)

    run(work())
    assert store.inbox.dropped == 200


def test_a_broker_that_is_killed_and_comes_back_loses_nothing_and_opens_nothing_twice(tmp_path: Path) -> None:
    with RunningBroker(tmp_path) as broker, real_time() as entrance:
        store = Store(Broker("127.0.0.1", broker.port), tmp_path, entrance)
        sweeper = Sweeper(entrance.database, entrance.doorman.handlers(), first_wait_s=0.01)
        entrance.doorman._life = timedelta(seconds=PATIENCE_S)

        async def work() -> None:
            async with store.running():
                first = await asyncio.to_thread(entrance.doorman.open_by_hand, "front")
                await until(lambda: store.heard_of(GateNewsKind.OPENED, first.grant_id) == 1)

                await asyncio.to_thread(broker.kill)
                await until(lambda: not store.link.is_connected and not store.gate.is_connected)
                with pytest.raises(NotYetError):
                    await store.gate.show("TF1:", 0.1)
                with pytest.raises(NotYetError, match="not connected"):
                    await asyncio.to_thread(store.link.publish, first)
                # A code that is shown by HTTP meanwhile: the order waits in the outbox; the gate's news wait too.
                shopper = await asyncio.to_thread(entrance.shopper)
                decision = await asyncio.to_thread(entrance.scan, shopper)
                assert decision.decision is Decision.OPEN
                await store.gate.tell(GateNewsKind.PASSED_OUT)
                assert store.bolt.moved == 1

                await asyncio.to_thread(broker.start)
                await until(lambda: store.link.is_connected and store.gate.is_connected)
                await asyncio.to_thread(sweeper.sweep, clock() + timedelta(seconds=30))
                await until(lambda: store.bolt.moved == 2)
                await until(lambda: not entrance.doorman.commands_for("front"))
                await asyncio.to_thread(store.link.publish, first)
                await until(lambda: store.heard_of(GateNewsKind.OPENED, first.grant_id) >= 2)
                await until(lambda: store.heard_of(GateNewsKind.PASSED_OUT) >= 1)
                assert store.bolt.moved == 2
                assert store.link.connections == 2

        run(work())
        assert store.heard_of(GateNewsKind.PASSED_OUT) == 1


def test_a_gate_that_was_away_is_told_what_it_missed(store: Store) -> None:
    async def work() -> None:
        link = asyncio.create_task(store.link.run())
        await until(lambda: store.link.is_connected)
        command = await asyncio.to_thread(store.entrance.doorman.open_by_hand, "front")
        gate = asyncio.create_task(store.gate.run())
        await until(lambda: store.bolt.moved)
        assert clock() < command.expires_at
        for task in (link, gate):
            task.cancel()
        await asyncio.gather(link, gate, return_exceptions=True)

    store.entrance.doorman._life = timedelta(seconds=PATIENCE_S)
    run(work())
    assert store.bolt.moved == 1


def test_a_scan_that_nobody_can_decide_opens_nothing_and_disturbs_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    code = store.entrance.code(store.entrance.shopper())

    async def work() -> None:
        async with store.running():
            with monkeypatch.context() as patch:
                patch.setattr(store.entrance.doorman, "scan", None)
                with pytest.raises(NotYetError, match="no decision"):
                    await store.gate.show(code, 0.5)
                await store.count("failed", 1)
            assert store.bolt.moved == 0
            assert (await store.gate.show(code)).decision == Decision.OPEN
            await until(lambda: store.bolt.moved)

    run(work())
    assert code not in caplog.text


def test_what_a_gate_said_while_the_store_was_away_is_heard_once_it_is_back(store: Store) -> None:
    decision = store.entrance.scan(store.entrance.shopper())
    assert decision.grant_id is not None

    async def work() -> None:
        gate = asyncio.create_task(store.gate.run())
        await until(lambda: store.gate.is_connected)
        # The broker takes it, and nobody is there to hear it.
        await store.gate.tell(GateNewsKind.PASSED_IN, decision.grant_id)
        await store.gate.tell(GateNewsKind.PASSED_OUT)
        link = asyncio.create_task(store.link.run())
        await until(lambda: store.heard_of(GateNewsKind.PASSED_OUT))
        await until(lambda: not store.gate._unheard)
        for task in (link, gate):
            task.cancel()
        await asyncio.gather(link, gate, return_exceptions=True)

    run(work())
    assert store.entrance.doorman.commands_for("front") == ()
    assert store.heard_of(GateNewsKind.PASSED_IN, decision.grant_id) == 1
    assert store.heard_of(GateNewsKind.PASSED_OUT) == 1


def test_news_that_come_again_are_passed_on_once_and_confirmed_again(store: Store) -> None:
    news = {"news_id": "7", "event": "passed-out", "at": clock().isoformat()}

    async def work() -> None:
        async with store.running(), store.somebody() as gate:
            await gate.subscribe(f"{ROOT}/gates/back/heard", qos=1)
            for _ in range(2):
                await gate.publish(f"{ROOT}/gates/back/events", as_bytes(news), qos=1)
            heard = []
            async for message in gate.messages:
                heard.append(json.loads(message.payload))
                if len(heard) == 2:
                    break
            assert heard == [{"news_id": "7"}] * 2

    run(work())
    assert store.heard_of(GateNewsKind.PASSED_OUT) == 1


def test_a_gate_that_does_not_open_says_so_and_the_visit_is_let_go(store: Store) -> None:
    store.bolt.stuck = True
    code = store.entrance.code(store.entrance.shopper())
    shown: list[GateDisplay] = []

    async def work() -> None:
        async with store.running():
            shown.append(await store.gate.show(code))
            with store.entrance.database.reading() as repository:
                session_id = repository.sql.connection().exec_driver_sql("SELECT session_id FROM sessions").scalar()
            visit = UUID(str(session_id))
            await until(lambda: store.entrance.session(visit).status is SessionStatus.ABANDONED)

    run(work())
    assert shown[0].decision == Decision.OPEN
    assert store.bolt.moved == 0


# The library leaves the socket to the garbage collector when a certificate is not what it should be.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_way_to_the_broker_may_be_encrypted_and_need_a_password(tmp_path: Path) -> None:
    with RunningBroker(tmp_path, [("store", "sesame")], tls=True) as running, real_time() as entrance:
        broker = Broker("localhost", running.port, "store", "sesame", tls=True, ca_file=running.certificate)
        store = Store(broker, tmp_path, entrance)

        async def work() -> None:
            async with store.running():
                assert (await store.gate.show("rubbish")).reason == ScanReason.MALFORMED
            for wrong in (
                replace(broker, password="open"),
                replace(broker, username=None, password=None),
                replace(broker, ca_file=None),
                replace(broker, host="127.0.0.1"),  # the certificate is for another name
            ):
                with pytest.raises((aiomqtt.MqttError, OSError)):
                    async with wrong._client("intruder"):
                        pass

        run(work())
        gc.collect()


def test_a_store_without_its_broker_waits_for_it(tmp_path: Path) -> None:
    with real_time() as entrance:
        link = StoreLink(Broker("127.0.0.1", free_port()), STORE, entrance.doorman, Inbox(), clock, jitter=lambda: 0.0)
        command = GateCommand(uuid4(), "front", clock(), clock() + timedelta(seconds=5))

        async def work() -> None:
            task = asyncio.create_task(link.run())
            await asyncio.sleep(0.5)
            assert not task.done()
            with pytest.raises(NotYetError):
                await asyncio.to_thread(link.publish, command)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        run(work())


@pytest.mark.parametrize("turns", [0, 1, 3, 10, 30])
def test_an_end_that_is_cancelled_ends_whatever_it_is_doing(store: Store, turns: int) -> None:
    async def work() -> None:
        tasks = [asyncio.create_task(store.link.run()), asyncio.create_task(store.gate.run())]
        await until(lambda: store.gate.is_connected)
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        done, pending = await asyncio.wait(tasks, timeout=PATIENCE_S)
        assert not pending
        assert all(task.cancelled() for task in done)

    run(work())
    assert not store.gate.is_connected
    assert not store.link.is_connected


def test_a_links_own_thread_must_not_wait_for_itself(store: Store) -> None:
    command = GateCommand(uuid4(), "front", clock(), clock() + timedelta(seconds=5))

    async def work() -> None:
        async with store.running():
            with pytest.raises(RuntimeError, match="another thread"):
                store.link.publish(command)

    run(work())


@pytest.mark.parametrize("store_id", ["", "a/b", "#", "+"])
def test_a_store_is_one_level_of_a_topic(store_id: str) -> None:
    with real_time() as entrance, pytest.raises(ValueError, match="expected a name"):
        StoreLink(Broker("127.0.0.1"), store_id, entrance.doorman, Inbox(), clock)
