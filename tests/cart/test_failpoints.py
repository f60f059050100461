"""Whatever point between the exit and the receipt a shop dies at, it goes on from there and nobody notices."""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from itertools import count, product
from pathlib import Path
from uuid import UUID, uuid5

import pytest
from sqlalchemy import event

from cart.checkout import Checkout
from cart.failpoints import (
    ENVIRONMENT,
    CrashError,
    FailpointDatabase,
    FailpointGateway,
    Failpoints,
    with_failpoints,
)
from cart.gateways.journal import Journal
from cart.ledger import GATEWAY, Balance, shopper_account
from cart.outbox import MONEY, Effect, Message, Sweeper
from cart.payments import FakeGateway, Fault, GatewayCall, PaymentState
from cart.repository import Database, make_engine
from cart.sessions import SessionStatus
from cart.torture import Counts, Driver, GatewayProcess, ShopProcess, TortureSettings, Trip, examine, settle_all
from cart.torture_shop import HOLD_MINOR as REAL_HOLD_MINOR
from cart.torture_shop import PRICES_MINOR, ShopOrder
from tests.cart.gateways.serving import free_port
from tests.cart.till import (
    HOLD_MINOR,
    LATER,
    MUCH_LATER,
    NOON,
    Faults,
    books,
    enter,
    on,
    till,
    waiting_keys,
)

CAUSE = UUID(int=5)


@dataclass(frozen=True)
class Story:
    """What is done at the till, until it is done; and how it has to end.

    Attributes:
        act: Done again, from the start, by whoever was told that the shop had died.
        items: What is in the cart.
        hold_minor: What was held at the entry.
        status: How the visit ends.
        kept_minor: What the gateway has taken and not given back.
        receipts: How many receipts are sent, each at least once.
        faults: What goes wrong at the gateway.
        told: What whoever listens is told, each once, in any order.
    """

    act: Callable[[Checkout, UUID], object]
    items: tuple[tuple[str, int], ...] = (("bar", 2),)
    hold_minor: int | None = HOLD_MINOR
    status: SessionStatus = SessionStatus.CHARGED
    kept_minor: int = 398
    receipts: int = 1
    faults: Callable[[], Faults] = lambda: lambda call, key: None
    told: tuple[str, ...] = ("receipt.issued", "visit.closed")
    flagged: bool = False


def leave(checkout: Checkout, session_id: UUID) -> None:
    checkout.close(session_id, LATER)


def be_reviewed(checkout: Checkout, session_id: UUID) -> None:
    checkout.close(session_id, LATER)
    checkout.correct(session_id, {"bar": 1}, CAUSE, LATER, "one of them was put back")


def get_some_back(checkout: Checkout, session_id: UUID) -> None:
    checkout.close(session_id, LATER)
    checkout.refund(session_id, 98, "it was stale", CAUSE, LATER)


def pay_later(checkout: Checkout, session_id: UUID) -> None:
    checkout.close(session_id, LATER)
    if checkout.session(session_id).status is SessionStatus.PAYMENT_FAILED:
        checkout.pay_debt("ada", LATER)


def declining_the_first(call: GatewayCall) -> Callable[[], Faults]:
    return lambda: on(call, Fault.DECLINE)


STORIES = {
    "paid without a hold": Story(leave, hold_minor=None),
    "taken of the hold": Story(leave),
    "more than the hold": Story(leave, (("tea", 6),), kept_minor=1500),
    "nothing taken": Story(leave, (), status=SessionStatus.EMPTY, kept_minor=0, receipts=0, told=("visit.closed",)),
    "the hold had expired": Story(leave, faults=declining_the_first(GatewayCall.CAPTURE)),
    "an answer was lost": Story(leave, hold_minor=None, faults=lambda: on(GatewayCall.CAPTURE, Fault.LOST_REPLY)),
    "reviewed and charged": Story(
        be_reviewed,
        kept_minor=199,
        told=("receipt.issued", "visit.closed", "visit.needs_review"),
        flagged=True,
    ),
    "corrected and given back": Story(
        be_reviewed,
        kept_minor=199,
        receipts=2,
        told=("receipt.issued", "receipt.issued", "refund.posted", "visit.closed"),
    ),
    "given back out of goodwill": Story(
        get_some_back, kept_minor=300, told=("receipt.issued", "refund.posted", "visit.closed")
    ),
    "declined and paid later": Story(
        pay_later,
        hold_minor=None,
        receipts=2,
        faults=declining_the_first(GatewayCall.AUTHORISE),
        told=("debt.paid", "payment.failed", "receipt.issued", "visit.closed"),
    ),
}

TWICE = 10
"""How many pairs of points each story dies at, one after the other."""
QUICK = ("paid without a hold", "more than the hold")


class World:
    """A shop's database in a file, and what is outside it and lives on when the shop dies."""

    def __init__(self, story: Story, file: Path) -> None:
        self.story = story
        self.gateway = FakeGateway(story.faults())
        self.mail: list[str] = []
        self.heard: list[tuple[str, str]] = []
        self._file = file
        with self._opened(Failpoints()) as database:
            checkout = till(database, self.gateway, story.hold_minor)
            self.session_id = enter(checkout, *story.items)
            if story.flagged:
                checkout.flag(self.session_id, "the camera was blind", None, NOON)

    def live(self, points: Failpoints, *, again: bool) -> bool:
        """Have the shop run, from its start to the last effect in its outbox; whether it survived that.

        Args:
            points: Where it dies.
            again: Whether it ran before, and died.
        """
        with self._opened(points) as database:
            checkout = till(database, FailpointGateway(self.gateway, points), self.story.hold_minor)
            outside = with_failpoints({Effect.RECEIPT: self._send, Effect.WEBHOOK: self._tell}, points)
            sweeper = Sweeper(database, checkout.handlers() | outside)
            try:
                if again:
                    checkout.resume(LATER)
                self.story.act(checkout, self.session_id)
                # What a sweeper claimed that then died is left alone for a while: hence more than one day.
                for days in range(3):
                    sweeper.sweep(MUCH_LATER + timedelta(days=days))
            except CrashError:
                return False
        return True

    def _opened(self, points: Failpoints) -> FailpointDatabase:
        engine = make_engine(f"sqlite:///{self._file}")
        # Nobody pulls a plug here, so nothing has to wait for the disk.
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
        return FailpointDatabase(engine, points)

    def _send(self, message: Message) -> None:
        self.mail.append(message.key)

    def _tell(self, message: Message) -> None:
        self.heard.append((message.key, message.payload["type"]))

    def violations(self) -> list[str]:
        """What is not as it has to be at the end."""
        story = self.story
        with self._opened(Failpoints()) as database:
            checkout = till(database, self.gateway, story.hold_minor)
            outcome, ledger = checkout.outcome(self.session_id), books(database)
            waiting = waiting_keys(database, *(effect.value for effect in (*MONEY, Effect.RECEIPT, Effect.WEBHOOK)))
        assert outcome is not None
        kept_minor = self.gateway.captured_minor("USD") - self.gateway.refunded_minor("USD")
        facts = {
            "status": (outcome.status, story.status),
            "taken": (kept_minor, story.kept_minor),
            "paid": (outcome.paid_minor, story.kept_minor),
            "ledger": (ledger.balance(GATEWAY, "USD"), Balance(kept_minor, 0)),
            "owed": (ledger.balance(shopper_account("ada"), "USD"), Balance(0, 0)),
            "sums": ([total for total in ledger.sums() if total != Balance(0, 0)], []),
            "holds": ([p for p in self.gateway.payments if p.state is PaymentState.AUTHORISED], []),
            "waiting": (waiting, []),
            "mail": (len(set(self.mail)), story.receipts),
            "told": (sorted(kind for _, kind in set(self.heard)), sorted(story.told)),
            "numbered": (outcome.receipt.receipt_number is not None, story.status is SessionStatus.CHARGED),
        }
        return [f"{what}: expected {wanted}, got {found}" for what, (found, wanted) in facts.items() if found != wanted]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with the newest tables, to be copied."""
    file = tmp_path_factory.mktemp("tables") / "shop.db"
    Database.open(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def worlds(tables: Path, tmp_path: Path) -> Callable[[Story], World]:
    numbers = count()

    def make(story: Story) -> World:
        file = tmp_path / f"shop-{next(numbers)}.db"
        shutil.copyfile(tables, file)
        return World(story, file)

    return make


def points_of(story: Story, worlds: Callable[[Story], World]) -> list[str]:
    """Every point that a story comes by when nothing crashes."""
    world, points = worlds(story), Failpoints()
    assert world.live(points, again=False)
    assert world.violations() == []
    return points.reached


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in STORIES]
)
def test_a_shop_that_dies_at_any_point_of_a_story_ends_it_as_if_it_had_not(
    name: str, worlds: Callable[[Story], World]
) -> None:
    story = STORIES[name]
    reached = points_of(story, worlds)
    assert {point.split(":")[0] for point in reached} >= {"commit.before", "commit.after", "webhook.after"}
    for point in reached:
        world = worlds(story)
        assert not world.live(Failpoints(point), again=False), point
        assert world.live(Failpoints(), again=True), point
        assert world.violations() == [], point


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_a_shop_that_dies_once_more_while_it_recovers_ends_the_story_all_the_same(
    name: str, worlds: Callable[[Story], World]
) -> None:
    story, chance = STORIES[name], random.Random(name)
    reached = points_of(story, worlds)
    for _ in range(TWICE):
        first = chance.choice(reached)
        # Where the second death can be depends on the first.
        world, recovery = worlds(story), Failpoints()
        assert not world.live(Failpoints(first), again=False)
        assert world.live(recovery, again=True)
        second = chance.choice(recovery.reached)
        world = worlds(story)
        assert not world.live(Failpoints(first), again=False)
        assert not world.live(Failpoints(second), again=True), (first, second)
        assert world.live(Failpoints(), again=True), (first, second)
        assert world.violations() == [], (first, second)


def test_a_shop_that_forgot_its_key_would_be_found_out(worlds: Callable[[Story], World]) -> None:
    # The check must be able to fail: the money is taken once more behind the shop's back.
    world = worlds(STORIES["paid without a hold"])
    assert world.live(Failpoints(), again=False)
    charged = world.gateway.payments[0].request
    world.gateway.forget_keys()
    world.gateway.capture(world.gateway.authorise(charged))
    assert [line.split(":")[0] for line in world.violations()] == ["taken", "ledger"]


def test_points_count_what_is_reached_and_a_dead_process_stays_dead() -> None:
    points = Failpoints("commit.after:2")
    points.reach("commit.after")
    for _ in range(2):
        with pytest.raises(CrashError):
            points.reach("commit.after")
    with pytest.raises(CrashError):
        points.reach("capture.before")
    assert points.reached == ["commit.after:1", "commit.after:2"]


def test_the_environment_names_a_point_or_none() -> None:
    assert Failpoints.of_environment({}) is None
    assert Failpoints.of_environment({ENVIRONMENT: ""}) is None
    assert Failpoints.of_environment({ENVIRONMENT: "commit.after:1"}) is not None


def test_a_transaction_that_dies_before_its_commit_leaves_nothing_and_after_it_everything(tables: Path) -> None:
    for point, kept in (("commit.before:1", 0), ("commit.after:1", 1)):
        with FailpointDatabase.at(f"sqlite:///{tables}", Failpoints(point)) as database:
            checkout = till(database)
            with pytest.raises(CrashError):
                checkout.check_in(point, NOON)
        with Database.open(f"sqlite:///{tables}") as after, after.reading() as repository:
            assert len(repository.sessions_of(point, SessionStatus.OPEN)) == kept


def test_every_call_of_the_gateway_lies_between_two_points() -> None:
    points = Failpoints()
    gateway = FailpointGateway(FakeGateway(), points)
    with Database.in_memory() as database:
        checkout = till(database, gateway)
        charged = enter(checkout, ("bar", 2))
        checkout.close(charged, LATER)
        checkout.close(enter(checkout), LATER)
        checkout.refund(charged, 1, "it was stale", CAUSE, LATER)
    gateway.look_up_refund("refund:none")
    assert {point.split(".")[0] for point in points.reached} == {
        *("authorise", "capture", "void", "refund", "look_up", "look_up_refund")
    }


PLACES = (
    *("commit.before", "commit.after", "authorise.before", "authorise.after"),
    *("capture.before", "capture.after", "void.before", "void.after", "refund.before", "refund.after"),
    *("look_up.before", "look_up.after", "receipt.before", "receipt.after"),
)


@pytest.fixture
def real_shop(tmp_path: Path) -> Iterator[tuple[ShopProcess, GatewayProcess, Driver, ShopOrder]]:
    """A shop's process and a gateway's, both real."""
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    Database.open(url).close()
    gateway = GatewayProcess(tmp_path, TortureSettings(lost_replies=0, lost_requests=0, errors=0))
    order = ShopOrder(url, gateway.url, free_port(), str(tmp_path / "mailbox.txt"))
    gateway.start()
    try:
        with ShopProcess(order, tmp_path / "shop.log") as shop, Driver(shop.url, Counts()) as driver:
            yield shop, gateway, driver, order
    finally:
        gateway.kill()


def trip_of(number: int, kind: int) -> Trip:
    """Shoppers of two kinds: 0 takes more than is held, and gets something back; 1 takes nothing after all."""
    sku, price = max(PRICES_MINOR.items(), key=lambda item: item[1])
    units = (2, 0)[kind]
    changes = [2] if units else [2, -2]
    events = tuple((uuid5(CAUSE, f"{number}:{place}"), sku, quantity) for place, quantity in enumerate(changes))
    assert 2 * price > REAL_HOLD_MINOR
    return Trip(number, events, True, units * price, 100 if units else 0)


@pytest.mark.slow
def test_a_real_process_that_dies_at_any_point_charges_once_and_loses_nothing(
    tmp_path: Path, real_shop: tuple[ShopProcess, GatewayProcess, Driver, ShopOrder]
) -> None:
    shop, gateway, driver, order = real_shop
    trips: list[Trip] = []
    deaths: Counter[str] = Counter()

    def visit(trip: Trip) -> None:
        done = driver.go_through(trip)
        settle_all(driver, gateway.url)
        while not done:
            done = driver.give_back(trip)
            settle_all(driver, gateway.url)

    with ThreadPoolExecutor(1) as shopper:
        for kind, place in product(range(2), PLACES):
            # Where it is passed several times on one visit, the first time; all of them take minutes.
            for number in count(1) if os.environ.get("TILLFREE_EVERY_DEATH") else (1,):
                trip = trip_of(len(trips), kind)
                trips.append(trip)
                shop.start(f"{place}:{number}")
                visiting = shopper.submit(visit, trip)
                died = False
                while not wait([visiting], timeout=0.005).done:
                    if not shop.is_alive():
                        died = True
                        deaths[place] += 1
                        shop.kill()
                        shop.start()
                visiting.result()
                shop.kill()
                if not died:
                    break
    assert deaths.keys() == {*PLACES}
    with Journal(gateway.journal) as journal, Database.open(order.database_url) as database:
        audit = examine(trips, database, journal, Path(order.mailbox).read_text("utf-8").split())
    assert audit.violations == 0, audit
    assert audit.charged + audit.empty == len(trips)
