"""A store in memory behind its API, for tests: its clock is set by hand, its gateway fails as told."""

import atexit
import io
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI
from PIL import Image

with warnings.catch_warnings():
    # The test client's warning is about a package that is not needed here.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from cart.accounts import Account, Accounts, Role
from cart.api.app import create_app
from cart.api.shop import CameraHealth, ScaleMessage, Shop
from cart.catalog import Catalogue, Product
from cart.checkout import Checkout
from cart.config import Settings
from cart.decisions import Decisions
from cart.disputes import Disputes
from cart.doors import Doorman
from cart.entry_codes import STEP_S
from cart.events import CartEvent
from cart.evidence import Evidence, EvidenceCandidate, InteractionFacts, WeightCurve
from cart.floor_state import LiveFloor
from cart.layouts import Layouts
from cart.outbox import Sweeper
from cart.passkeys import Passkeys
from cart.passwords import Argon2Cost, Passwords
from cart.payments import FakeGateway
from cart.pricing import PriceBook, load_catalogue
from cart.privacy import Privacy
from cart.questions import Answer, Question
from cart.recordings import Recordings
from cart.replays import PICTURES_FOLDER, STATE_FILE, Replays, ReplayState, write_json
from cart.repository import Database
from cart.reviews import Reviews
from cart.sessions import Session
from cart.webhooks import Webhooks
from store_sim.demo_shop import demo_layout
from vision.layout import StoreLayout

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
PASSWORD = "correct horse"
CURRENCY = "EUR"
OAT_BAR = Product("042", "Oat bar", 199, CURRENCY, tax_rate_bp=700)
COLA = Product("043", "Cola", 249, CURRENCY, tax_rate_bp=1900)
CAMERA = CameraHealth("north", True, NOON)
RECORDING = "monday"


@cache
def _event_loop() -> BlockingPortal:
    """The event loop of all test clients, in a thread of its own until the process ends."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(start_blocking_portal())


@dataclass
class DemoShelves:
    """A demo store that remembers whom it was to send."""

    sent: list[tuple[UUID, dict[str, int]]] = field(default_factory=list)

    def shop(self, session_id: UUID, lines: Mapping[str, int]) -> None:
        """Remember it."""
        self.sent.append((session_id, dict(lines)))

    @property
    def gate_ids(self) -> frozenset[str]:
        """Its gates."""
        return frozenset({"entrance", "front", "back"})

    def products(self) -> tuple[Product, ...]:
        """Two products."""
        return OAT_BAR, COLA


class FloorAtOnce:
    """A floor that changes over whenever it is asked to."""

    layout: StoreLayout | None = None

    def change_layout(self, layout: StoreLayout, *, at_once: bool, done: Callable[[], None]) -> None:
        """Change over."""
        self.layout = layout
        done()


def picture_file(kind: str = "PNG", size: tuple[int, int] = (60, 40), colour: str = "red") -> bytes:
    """The content of a picture's file."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


class ApiStore:
    """A store, its services, and clients that speak to its API.

    Args:
        demo: Whether it is the demo store.
        settings: Settings that differ from the default.
        database: Where everything is kept; in memory by default.
    """

    def __init__(self, *, demo: bool = False, database: Database | None = None, **settings: Any) -> None:
        self.at = NOON
        self.elapsed_s = 0.0
        self.database = database or Database.in_memory()
        self.gateway = FakeGateway()
        self.shelves = DemoShelves()
        self.weighed: list[ScaleMessage] = []
        now: Callable[[], datetime] = lambda: self.at  # noqa: E731
        pricing = PriceBook(CURRENCY)
        with self.database.transaction() as repository:
            load_catalogue(repository, Catalogue(CURRENCY, [OAT_BAR, COLA]), NOON)
        self.accounts = Accounts(self.database, now, passwords=Passwords(Argon2Cost(8, 1, 1)))
        self.checkout = Checkout(self.database, pricing, self.gateway, hold_minor=2000, now=now)
        self.evidence = Evidence(self.database, now)
        handlers = {**self.checkout.handlers(), **Decisions(self.database, self.checkout, now).handlers()}
        usual: dict[str, Any] = {
            "currency": CURRENCY,
            "sign_ins_per_minute": 100_000,
            "requests_per_minute": 100_000,
        }
        self.shop = Shop(
            database=self.database,
            accounts=self.accounts,
            checkout=self.checkout,
            settings=Settings(**usual | settings),
            doorman=Doorman(self.database, self.checkout, "main-street", now, random_bytes=self._random_bytes),
            reviews=Reviews(self.database, self.checkout, now),
            disputes=Disputes(self.database, self.checkout, now),
            webhooks=Webhooks(self.database, now, allow_private=True),
            pricing=pricing,
            sweeper=Sweeper(self.database, handlers),
            evidence=self.evidence,
            passkeys=Passkeys(self.database, self.accounts, "localhost", "Tillfree", ["http://localhost"], now),
            privacy=Privacy(self.database, now),
            gateway=self.gateway,
            scales=self.weighed.append,
            cameras=lambda: (CAMERA,),
            demo=self.shelves if demo else None,
            store_name="Corner shop",
            now=now,
            clock=lambda: self.elapsed_s,
        )
        self.app: FastAPI = create_app(self.shop)
        self._drawn = 0

    def give_layouts(self) -> None:
        """Let the layout be edited: one of a single camera, over which nothing is sold."""
        base = StoreLayout("corner shop", demo_layout().cameras[:1])
        layouts = Layouts(self.database, base, lambda: self.at, CURRENCY)
        layouts.serve(FloorAtOnce())
        self._give(layouts=layouts)

    def give_replays(self) -> UUID:
        """Let recordings be replayed; returns a replay that is over, with a picture of the camera "north"."""
        folder = Path(tempfile.mkdtemp(prefix="tillfree-test-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        (folder / "recordings" / RECORDING).mkdir(parents=True)
        replay_id, at = uuid4(), NOON.isoformat()
        kept = folder / "replays" / str(replay_id)
        pictures = kept / PICTURES_FOLDER / CAMERA.camera_id
        pictures.mkdir(parents=True)
        (pictures / "0.jpg").write_bytes(picture_file("JPEG"))
        write_json(kept / STATE_FILE, asdict(ReplayState(str(replay_id), RECORDING, "", (), "done", 1.0, 9.0, "", at)))
        replays = Replays(folder / "replays", Recordings(folder / "recordings"), lambda: self.at)
        atexit.register(replays.close)
        self._give(replays=replays)
        return replay_id

    def give_floor(self, floor: LiveFloor) -> None:
        """Let the floor be looked at."""
        self._give(live=floor)

    def _give(self, **services: Any) -> None:
        self.shop = self.app.state.shop = replace(self.shop, **services)

    def _random_bytes(self, count: int) -> bytes:
        self._drawn += 1
        return uuid5(UUID(int=self._drawn), "bytes").bytes.ljust(count, b"\x5a")[:count]

    def pass_time(self, **duration: float) -> None:
        """Let time pass, on every clock."""
        step = timedelta(**duration)
        self.at += step
        self.elapsed_s += step.total_seconds()

    def client(self, token: str | None = None, *, raise_server_exceptions: bool = True) -> TestClient:
        """A client of the API, with a token or without."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        client = TestClient(self.app, headers=headers, raise_server_exceptions=raise_server_exceptions)
        # One event loop for all requests, instead of a thread and a loop for each.
        client.portal = _event_loop()
        return client

    def account(self, name: str, role: Role = Role.SHOPPER) -> Account:
        """Open a person's account that can pay."""
        account = self.accounts.create(f"{name}@example.com", PASSWORD, name, role, by=Role.OWNER)
        return self.accounts.set_payment_method(account.account_id, "pm_1")

    def token_of(self, account: Account, *scopes: str) -> str:
        """A token of an account, narrowed to scopes if there are any."""
        return self.accounts.issue_token(account.account_id, "test", scopes or None).secret

    def signed_in(self, name: str, role: Role = Role.SHOPPER) -> tuple[Account, TestClient]:
        """An account that can pay, and a client that speaks for it."""
        if role is Role.DEVICE:
            issued = self.accounts.create_device(name)
            return self.accounts.account(issued.token.account_id), self.client(issued.secret)
        account = self.account(name, role)
        return account, self.client(self.token_of(account))

    def device(self, name: str = "front") -> TestClient:
        """A client that speaks for a gate."""
        return self.client(self.accounts.create_device(name).secret)

    def visit(self, account: Account) -> Session:
        """Let an account's owner in, money held."""
        session = self.checkout.check_in(str(account.account_id), self.at)
        self.checkout.hold(session.session_id, self.at)
        return session

    def take(self, session_id: UUID, sku: str = OAT_BAR.sku, quantity: int = 1, probability: float = 1.0) -> None:
        """Put something into a visit's cart."""
        self.checkout.record(CartEvent(uuid4(), session_id, self.at, sku, quantity, uuid4(), probability))

    def paid_visit(self, account: Account, quantity: int = 2) -> Session:
        """A visit that is over and paid."""
        session = self.visit(account)
        self.take(session.session_id, quantity=quantity)
        self.checkout.close(session.session_id, self.at)
        return self.checkout.session(session.session_id)

    def doubtful_visit(self, account: Account) -> Session:
        """A visit that is over and waits for a reviewer, with one question."""
        session = self.visit(account)
        interaction = uuid4()
        question = Question(
            "Taken from shelf 3: 1 or 2 x Oat bar?",
            (Answer("1 x Oat bar", OAT_BAR.sku, 1, 0.6), Answer("2 x Oat bar", OAT_BAR.sku, 2, 0.4)),
        )
        self.checkout.flag(session.session_id, "two hands at one shelf", interaction, self.at, question)
        self.checkout.close(session.session_id, self.at)
        return self.checkout.session(session.session_id)

    def facts_of(self, *accounts: Account, kind: str = "pick", weight: WeightCurve | None = None) -> InteractionFacts:
        """What was seen of two oat bars, most probably by the first of some accounts."""
        share = 0.9
        candidates = []
        for account in accounts:
            candidates.append(EvidenceCandidate(str(account.account_id), OAT_BAR.sku, 2, share))
            share = (1 - sum(each.probability for each in candidates)) / 2
        end = NOON + timedelta(seconds=2)
        return InteractionFacts(kind, "b1", "gondola 1, shelf 3", NOON, end, ("north",), tuple(candidates), weight)

    def next_step(self) -> None:
        """Let the next entry code begin."""
        self.pass_time(seconds=STEP_S)
