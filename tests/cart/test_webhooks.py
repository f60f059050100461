import json
import random
import re
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

import cart
from cart.errors import AddressRefused, EndpointNotFound
from cart.outbox import Effect, MessageStatus, Sweeper, put
from cart.repository import Database
from cart.webhooks import EVENT_TYPES, MOST_ENDPOINTS, Webhooks, envelope, signed_headers
from tests.cart.aftercare import Shop, shop
from tests.cart.databases import KINDS, fresh

# The library at the receiver's end looks at the real clock.
START = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _every_test_starts_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is signed is good for five minutes, and this file may have been read long ago."""
    monkeypatch.setitem(globals(), "START", datetime.now(UTC))


@dataclass
class Received:
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A real HTTP server that answers as it is told to, and keeps what it gets."""

    url: str = ""
    got: list[Received] = field(default_factory=list)
    answer: Callable[[Received], int] = lambda received: 204
    extra: dict[str, str] = field(default_factory=dict)
    drip: threading.Event | None = None
    flood: bool = False

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(received.body) for received in self.got]


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received = Received({name.lower(): value for name, value in self.headers.items()}, body)
            receiver.got.append(received)
            if receiver.drip is not None:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not receiver.drip.wait(0.02):
                    self.wfile.write(b"a")
                    self.wfile.flush()
                return
            self.send_response(receiver.answer(received))
            for name, value in receiver.extra.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                while receiver.flood:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                pass

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        if receiver.drip is not None:
            receiver.drip.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as opened:
        yield opened


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with shop(request.param, tmp_path) as opened:
        opened.at = START
        yield opened


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Shop]:
    with shop("sqlite", tmp_path) as opened:
        opened.at = START
        yield opened


def tell(store: Shop, kind: str = "visit.closed", of: str = "7") -> None:
    with store.database.transaction() as repository:
        event = {"type": kind, "at": store.at.isoformat(), "session_id": of}
        put(repository, Effect.WEBHOOK, f"webhook:{kind}:{of}", event, store.at)


def sweep(store: Shop) -> None:
    """Twice: an event is first made into its deliveries."""
    store.sweeper.sweep(store.at)
    store.sweeper.sweep(store.at)


def test_a_delivery_is_verified_by_the_library(store: Shop, receiver: Receiver) -> None:
    made = store.webhooks.create(receiver.url)
    tell(store)
    sweep(store)
    (received,) = receiver.got
    assert Webhook(made.secret).verify(received.body, received.headers) == {
        "type": "visit.closed",
        "timestamp": START.isoformat(),
        "data": {"session_id": "7"},
    }
    assert made.secret.startswith("whsec_")
    assert received.headers["content-type"] == "application/json"


def test_a_whole_visit_is_told_in_signed_messages_once_each(store: Shop, receiver: Receiver) -> None:
    made = store.webhooks.create(receiver.url)
    ada = store.account()
    session_id = store.visit(ada, ("bar", 2))
    store.disputes.open(session_id, ada, "bar", 1)
    for _ in range(3):
        sweep(store)
    types = sorted(event["type"] for event in receiver.events())
    assert types == sorted(
        ["visit.closed", "receipt.issued", "dispute.opened", "dispute.settled", "receipt.issued", "refund.posted"]
    )
    for received in receiver.got:
        Webhook(made.secret).verify(received.body, received.headers)
    assert len({received.headers["webhook-id"] for received in receiver.got}) == len(types)


def test_each_endpoint_gets_what_it_asked_for_under_its_own_secret(store: Shop, receiver: Receiver) -> None:
    with receiving() as other:
        everything = store.webhooks.create(receiver.url)
        refunds = store.webhooks.create(other.url, ["refund.posted"])
        tell(store, "visit.closed")
        tell(store, "refund.posted")
        sweep(store)
        assert sorted(event["type"] for event in receiver.events()) == ["refund.posted", "visit.closed"]
        assert [event["type"] for event in other.events()] == ["refund.posted"]
        (received,) = other.got
        Webhook(refunds.secret).verify(received.body, received.headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(everything.secret).verify(received.body, received.headers)


def test_a_retry_has_the_same_id_and_body_and_a_new_time(store: Shop, receiver: Receiver) -> None:
    store.webhooks.create(receiver.url)
    receiver.answer = lambda received: 503 if len(receiver.got) < 3 else 200
    tell(store)
    sweep(store)
    for _ in range(4):
        store.later(seconds=30)
        store.sweeper.sweep(store.at)
    assert len(receiver.got) == 3
    assert len({(received.headers["webhook-id"], received.body) for received in receiver.got}) == 1
    assert len({received.headers["webhook-timestamp"] for received in receiver.got}) == 3


class Books:
    """A careful receiver: it verifies, counts each event once, and lets a newer one stand against an older."""

    def __init__(self, secret: str) -> None:
        self._webhook = Webhook(secret)
        self._seen: set[str] = set()
        self._newest: dict[str, str] = {}
        self.refunded: dict[str, int] = {}
        self.status: dict[str, str] = {}

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        try:
            event = self._webhook.verify(body, dict(headers))
        except (WebhookVerificationError, ValueError):
            return 401
        lowered = {name.lower(): value for name, value in headers.items()}
        if lowered["webhook-id"] in self._seen:
            return 200
        self._seen.add(lowered["webhook-id"])
        session_id = event["data"]["session_id"]
        if event["type"] == "refund.posted":
            self.refunded[session_id] = self.refunded.get(session_id, 0) + event["data"]["amount_minor"]
        elif event["timestamp"] > self._newest.get(session_id, ""):
            self._newest[session_id] = event["timestamp"]
            self.status[session_id] = event["data"]["status"]
        return 200

    @property
    def state(self) -> tuple[dict[str, int], dict[str, str]]:
        return self.refunded, self.status


SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" + "MfKQ9r8GKYo="
Sent = tuple[dict[str, str], bytes]


def history(count: int) -> list[Sent]:
    """What happened to three visits, as it is sent."""
    sent = []
    for number in range(count):
        at = START - timedelta(minutes=1) + timedelta(seconds=number)
        session_id = str(number % 3)
        refund = number % 4 == 3
        event: dict[str, Any] = {"type": "refund.posted" if refund else "visit.closed", "at": at.isoformat()}
        event |= {"session_id": session_id}
        event |= {"amount_minor": number} if refund else {"status": f"step {number}"}
        webhook_id, body = envelope(f"webhook:{number}", event)
        sent.append((signed_headers(SECRET, webhook_id, body, datetime.now(UTC)), body))
    return sent


def forged(sent: Sent, how: str) -> Sent:
    headers, body = dict(sent[0]), sent[1]
    if how == "stale":
        return signed_headers(SECRET, f"{headers['webhook-id']}x", body, datetime.now(UTC) - timedelta(minutes=6)), body
    if how == "of the future":
        return signed_headers(SECRET, f"{headers['webhook-id']}x", body, datetime.now(UTC) + timedelta(minutes=6)), body
    if how == "other secret":
        return signed_headers("whsec_" + "A" * 44, f"{headers['webhook-id']}x", body, datetime.now(UTC)), body
    if how == "other body":
        return headers | {"webhook-id": headers["webhook-id"] + "x"}, body.replace(b'"data":{', b'"data":{"amount":9,')
    if how == "other id":
        return headers | {"webhook-id": headers["webhook-id"] + "x"}, body
    if how == "other time":
        return headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}, body
    return {name: value for name, value in headers.items() if name != "webhook-signature"}, body


FORGERIES = ("stale", "of the future", "other secret", "other body", "other id", "other time", "unsigned")


@settings(deadline=None)
@given(
    count=st.integers(1, 12),
    repeats=st.lists(st.integers(0, 11), max_size=12),
    forgeries=st.lists(st.tuples(st.integers(0, 11), st.sampled_from(FORGERIES)), max_size=8),
    seed=st.integers(0, 2**32),
)
def test_doubled_shuffled_stale_and_forged_messages_leave_a_receiver_as_in_order(
    count: int, repeats: list[int], forgeries: list[tuple[int, str]], seed: int
) -> None:
    sent = history(count)
    in_order = Books(SECRET)
    assert [in_order.take(*message) for message in sent] == [200] * count
    whole = sent + [sent[number % count] for number in repeats]
    bad = [forged(sent[number % count], how) for number, how in forgeries]
    mixed = [(message, 200) for message in whole] + [(message, 401) for message in bad]
    random.Random(seed).shuffle(mixed)
    receiver = Books(SECRET)
    assert [receiver.take(*message) for message, _ in mixed] == [expected for _, expected in mixed]
    assert receiver.state == in_order.state


def test_the_same_over_real_http_from_the_outbox(small: Shop, receiver: Receiver) -> None:
    """Replies get lost, so messages come twice and in another order; somebody else posts forgeries in between."""
    secret = small.webhooks.create(receiver.url).secret
    books, in_order = Books(secret), Books(secret)
    dice, tries = random.Random(7), Counter[str]()

    def answer(received: Received) -> int:
        status = books.take(received.headers, received.body)
        tries[received.headers["webhook-id"]] += 1
        is_lost = tries[received.headers["webhook-id"]] < 3 and dice.random() < 0.4
        return 500 if status == 200 and is_lost else status

    receiver.answer = answer
    with small.database.transaction() as repository:
        for number in range(30):
            at = START - timedelta(seconds=60 - number)
            event: dict[str, Any] = {"at": at.isoformat(), "session_id": str(number % 5)}
            if number % 3:
                event |= {"type": "visit.closed", "status": f"step {number}"}
            else:
                event |= {"type": "refund.posted", "amount_minor": number}
            put(repository, Effect.WEBHOOK, f"webhook:{number}", event, at)
            webhook_id, body = envelope(f"webhook:{number}", event)
            in_order.take(signed_headers(secret, webhook_id, body, datetime.now(UTC)), body)
    with httpx.Client(trust_env=False) as stranger:
        for _ in range(8):
            sweep(small)
            small.later(seconds=10)
            for how in FORGERIES:
                headers, body = forged(history(3)[dice.randrange(3)], how)
                assert stranger.post(receiver.url, content=body, headers=headers).status_code == 401
    ids = [received.headers["webhook-id"] for received in receiver.got if "Tillfree" in received.headers["user-agent"]]
    assert len(ids) > len(set(ids))
    assert books.state == in_order.state
    assert not [event for event in small.told() if event["status"] == "waiting"]


def test_redirects_are_not_followed(small: Shop, receiver: Receiver) -> None:
    with receiving() as elsewhere:
        small.webhooks.create(receiver.url)
        receiver.answer, receiver.extra = lambda received: 307, {"location": elsewhere.url}
        tell(small)
        sweep(small)
        assert (len(receiver.got), elsewhere.got) == (1, [])
    (endpoint,) = small.webhooks.endpoints()
    assert endpoint.failing_since == START


def test_an_endpoint_that_says_it_is_gone_is_disabled_and_its_owner_is_told(store: Shop, receiver: Receiver) -> None:
    store.account("Olga", "owner")
    made = store.webhooks.create(receiver.url)
    receiver.answer = lambda received: 410
    tell(store, of="1")
    sweep(store)
    assert store.webhooks.endpoint(made.endpoint.endpoint_id).disabled_at == START
    tell(store, of="2")
    sweep(store)
    assert len(receiver.got) == 1
    assert [letter.subject for letter in store.post.letters] == ["A webhook endpoint was disabled"]
    receiver.answer = lambda received: 200
    assert store.webhooks.enable(made.endpoint.endpoint_id).disabled_at is None
    tell(store, of="3")
    sweep(store)
    assert len(receiver.got) == 2


def test_an_endpoint_that_fails_for_five_days_is_disabled_and_one_success_starts_anew(
    small: Shop, receiver: Receiver
) -> None:
    endpoint_id = small.webhooks.create(receiver.url).endpoint.endpoint_id
    receiver.answer = lambda received: 500
    tell(small, of="1")
    sweep(small)
    small.later(days=4)
    receiver.answer = lambda received: 200
    sweep(small)
    assert small.webhooks.endpoint(endpoint_id).failing_since is None
    receiver.answer = lambda received: 500
    tell(small, of="2")
    sweep(small)
    since = small.webhooks.endpoint(endpoint_id).failing_since
    assert since == small.at
    small.later(days=4, hours=23)
    sweep(small)
    assert small.webhooks.endpoint(endpoint_id).disabled_at is None
    small.later(days=1)
    sweep(small)
    assert small.webhooks.endpoint(endpoint_id).disabled_at == small.at


def test_an_answer_without_end_is_not_waited_for(tmp_path: Path, receiver: Receiver) -> None:
    receiver.drip = threading.Event()
    with fresh("sqlite", tmp_path) as database:
        webhooks = Webhooks(database, lambda: START, allow_private=True, timeout_s=0.3)
        endpoint_id = webhooks.create(receiver.url).endpoint.endpoint_id
        webhooks.send_test(endpoint_id)
        webhooks.send_test(endpoint_id)
        sweeper = Sweeper(database, webhooks.handlers())
        assert sweeper.sweep(START) == 0
        assert webhooks.endpoint(endpoint_id).failing_since == START
        # The second one is not tried at an endpoint that has just failed.
        assert len(receiver.got) == 1


def test_the_body_of_an_answer_is_not_read(small: Shop, receiver: Receiver) -> None:
    receiver.flood = True
    small.webhooks.create(receiver.url)
    tell(small)
    sweep(small)
    assert {event["status"] for event in small.told()} == {"done"}


def test_a_receiver_that_asks_for_time_gets_it(small: Shop, receiver: Receiver) -> None:
    small.webhooks.create(receiver.url)
    receiver.answer, receiver.extra = lambda received: 429, {"retry-after": "600"}
    tell(small)
    sweep(small)
    small.later(seconds=599)
    sweep(small)
    assert len(receiver.got) == 1
    small.later(seconds=1)
    sweep(small)
    assert len(receiver.got) == 2


def test_what_waits_for_a_removed_endpoint_is_not_sent(small: Shop, receiver: Receiver) -> None:
    endpoint_id = small.webhooks.create(receiver.url).endpoint.endpoint_id
    tell(small)
    small.sweeper.sweep(small.at)
    small.webhooks.remove(endpoint_id)
    sweep(small)
    assert receiver.got == []
    assert [event["status"] for event in small.told()].count("failed") == 1


def test_a_new_secret_signs_from_then_on(small: Shop, receiver: Receiver) -> None:
    old = small.webhooks.create(receiver.url)
    new = small.webhooks.rotate_secret(old.endpoint.endpoint_id)
    assert new.secret != old.secret
    small.webhooks.send_test(old.endpoint.endpoint_id)
    sweep(small)
    (received,) = receiver.got
    Webhook(new.secret).verify(received.body, received.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old.secret).verify(received.body, received.headers)


def test_a_secret_is_shown_once_and_in_no_log(small: Shop, receiver: Receiver) -> None:
    made = small.webhooks.create(receiver.url)
    assert made.secret not in repr(made)
    assert made.secret not in repr(small.webhooks.endpoints())
    assert len(made.secret) == len("whsec_") + 44


REFUSED = (
    "http://hooks.example.org/",
    "https://127.0.0.1/",
    "https://[::1]/",
    "https://localhost/",
    "https://169.254.169.254/latest/meta-data",
    "https://10.0.0.8/",
    "https://2130706433/",
    "https://user:password@hooks.example.org/",
    "ftp://hooks.example.org/",
    "file:///etc/passwd",
    "hooks.example.org",
    "",
)


@pytest.mark.parametrize("url", REFUSED)
def test_addresses_within_are_refused_on_registration(url: str) -> None:
    with Database.in_memory() as database, pytest.raises(AddressRefused):
        Webhooks(database, lambda: START).create(url)


def named(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Have a name server give these addresses in turn, the last one for good; what it was asked."""
    asked: list[str] = []
    left = list(answers)

    def resolve(host: str, port: int, *args: object, **options: object) -> list[Any]:
        asked.append(host)
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("cart.addresses.socket.getaddrinfo", resolve)
    return asked


def test_a_name_that_later_leads_within_is_refused_on_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, "93.184.215.14", "127.0.0.1")
    with fresh("sqlite", tmp_path) as database:
        webhooks = Webhooks(database, lambda: START)
        endpoint_id = webhooks.create("https://hooks.example.org/").endpoint.endpoint_id
        webhooks.send_test(endpoint_id)
        assert Sweeper(database, webhooks.handlers()).sweep(START) == 0
        with database.reading() as repository:
            error = repository.sql.connection().exec_driver_sql("SELECT last_error FROM outbox").scalar()
        assert "expected a public address, 127.0.0.1 is this machine" in str(error)


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server of that name shows, and what a client trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(START - timedelta(days=1))
        .not_valid_after(START + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    shown = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(shown)
    return server, ssl.create_default_context(cadata=made.public_bytes(serialization.Encoding.PEM).decode())


@pytest.mark.parametrize(("name", "arrives"), [("hooks.example.org", True), ("other.example.org", False)])
def test_the_checked_address_is_connected_to_under_the_name_of_the_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arrives: bool
) -> None:
    server_tls, client_tls = certificate(tmp_path, name)
    with receiving(server_tls) as receiver, fresh("sqlite", tmp_path) as database:
        asked = named(monkeypatch, "127.0.0.1")
        port = httpx.URL(receiver.url).port
        webhooks = Webhooks(database, lambda: START, allow_private=True, tls=client_tls)
        endpoint_id = webhooks.create(f"https://hooks.example.org:{port}").endpoint.endpoint_id
        webhooks.send_test(endpoint_id)
        asked.clear()
        assert Sweeper(database, webhooks.handlers()).sweep(START) == arrives
        # Nobody but the check has asked the name server; what it found was connected to.
        assert asked == ["hooks.example.org"]
        expected = [f"hooks.example.org:{port}"] if arrives else []
        assert [received.headers["host"] for received in receiver.got] == expected


def test_unknown_endpoints_and_events_and_too_many_are_refused(small: Shop, receiver: Receiver) -> None:
    for call in (
        small.webhooks.endpoint,
        small.webhooks.enable,
        small.webhooks.disable,
        small.webhooks.remove,
        small.webhooks.rotate_secret,
        small.webhooks.send_test,
        small.webhooks.deliveries,
    ):
        with pytest.raises(EndpointNotFound):
            call(uuid4())
    with pytest.raises(ValueError, match="expected some of"):
        small.webhooks.create(receiver.url, ["visit.imagined"])
    for _ in range(MOST_ENDPOINTS):
        small.webhooks.create(receiver.url)
    with pytest.raises(ValueError, match="at most"):
        small.webhooks.create(receiver.url)


def test_it_is_told_what_became_of_each_delivery(small: Shop, receiver: Receiver) -> None:
    endpoint_id = small.webhooks.create(receiver.url, ["visit.closed"]).endpoint.endpoint_id
    other = small.webhooks.create(receiver.url, ["refund.posted"]).endpoint.endpoint_id
    assert small.webhooks.deliveries(endpoint_id) == ()
    receiver.answer = lambda received: 500
    small.webhooks.send_test(endpoint_id)
    sweep(small)
    (delivery,) = small.webhooks.deliveries(endpoint_id)
    assert (delivery.event_type, delivery.status, delivery.attempts) == ("webhook.test", MessageStatus.WAITING, 1)
    assert delivery.last_error == "expected an answer of 200 to 299, got 500"
    assert delivery.due_at > small.at
    receiver.answer = lambda received: 200
    small.later(hours=1)
    tell(small)
    sweep(small)
    newest, first = small.webhooks.deliveries(endpoint_id)
    assert (newest.event_type, newest.status, newest.last_error) == ("visit.closed", MessageStatus.DONE, "")
    assert (first.status, first.ended_at, first.created_at) == (MessageStatus.DONE, small.at, START)
    assert small.webhooks.deliveries(endpoint_id, limit=1) == (newest,)
    assert small.webhooks.deliveries(other) == ()


def test_a_disabled_endpoint_gets_nothing(small: Shop, receiver: Receiver) -> None:
    endpoint_id = small.webhooks.create(receiver.url).endpoint.endpoint_id
    assert small.webhooks.disable(endpoint_id).disabled_at == START
    tell(small)
    sweep(small)
    assert receiver.got == []


def test_every_event_that_the_shop_tells_of_can_be_asked_for() -> None:
    told = re.compile(r"""["']?webhook:([a-z_]+\.[a-z_]+):|tell\(\s*repository,\s*"([a-z_]+\.[a-z_]+)\"""")
    source = "".join(path.read_text() for path in Path(cart.__file__).parent.rglob("*.py"))
    assert {found for match in told.findall(source) for found in match if found} == EVENT_TYPES


@pytest.mark.parametrize("wrong", [{"timeout_s": 0.0}, {"give_up_after": timedelta(0)}])
def test_times_have_bounds(wrong: dict[str, Any]) -> None:
    with Database.in_memory() as database, pytest.raises(ValueError, match="above 0"):
        Webhooks(database, lambda: START, **wrong)
