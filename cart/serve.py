"""Puts a whole store together and runs it: sensors in, the API out, money, mail and gates between.

Everything runs in one process: the API in uvicorn's thread, the store's floor in one of its own (``cart.live_store``),
the sweeper in another, and the link to the MQTT broker in a fourth if there is one. They share the database and nothing
else, so that whatever ends suddenly can be started again.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial, reduce
from pathlib import Path
from types import FrameType
from typing import Protocol
from urllib.parse import urlsplit

import uvicorn
from sqlalchemy import make_url, select

from cart.accounts import Accounts, Role
from cart.addresses import check_public_url
from cart.api.app import create_app
from cart.api.shop import CameraHealth, Readiness, Shop
from cart.checkout import Checkout
from cart.clips import ClipKeeper
from cart.config import Settings
from cart.demo_pictures import draw_in_background
from cart.demo_store import MAIL_DOMAIN, DemoStore, StoreClock, demo_store_layout
from cart.disputes import Disputes
from cart.doors import Admitted, Doorman
from cart.evidence import Evidence
from cart.eyes import named_detector
from cart.gates import GateCommand
from cart.gateways.incoming import IncomingEvent
from cart.gateways.local import LocalGateway
from cart.gateways.remote import RemoteGateway
from cart.gateways.stripe import StripeGateway, payer_of_account, read_stripe_webhook
from cart.layouts import Layouts
from cart.live_store import (
    Feed,
    Floor,
    FloorEvent,
    FloorThread,
    FloorWatcher,
    InItsTime,
    LiveFeed,
    recover,
    scales_into,
)
from cart.live_view import LiveView
from cart.mail import FolderMailer, Letter, Mailer, SmtpMailer, SmtpSecurity
from cart.mqtt import Broker, Inbox, StoreLink
from cart.notifications import handlers as handlers_after_visits
from cart.outbox import Sweeper, SweeperThread
from cart.passkeys import Passkeys
from cart.payments import PaymentGateway
from cart.pictures import RecentPictures, RememberedPictures
from cart.pipeline import PipelineSettings, catalogue_of, taxed
from cart.pricing import PriceBook, load_catalogue
from cart.privacy import Periods, Privacy, Retention
from cart.recordings import Recordings
from cart.replays import Replays
from cart.repository import Database
from cart.reviews import Reviews
from cart.tables import AccountRow
from cart.webhooks import Webhooks
from store_sim.autocheckout import read_site
from store_sim.recording import RecordingSource
from store_sim.replay import find_site, open_recording
from vision.child_source import MEBIBYTE, ChildLimits, ChildReader, open_child_stream
from vision.detector import ObjectDetector
from vision.frames import Source
from vision.layout import StoreLayout, read_layout
from vision.seeing import SeeingSettings
from vision.sources import CameraAddress, PictureStream, StreamSettings, StreamSource

_log = logging.getLogger(__name__)

SWEEP_S, TIDY_S, FORGET_S = 0.5, 5.0, 3600.0
GRACE_S = 3
"""Streams of live carts only end with their visit or the server; nobody waits longer for them."""
PATIENCE_S = 5.0
FIRST_PICTURE_S = 15.0
CLAIM_S = 2.0  # children of a process that was killed may have its files open for a moment
DEMO_TAX_BP = 700  # food
OWNER = "owner@tillfree.invalid"


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What is to be run.

    Attributes:
        database: SQLAlchemy URL.
        folder: Where mails and the books of the gateway on trial go; None keeps neither.
        host: Address to listen on.
        port: Port to listen on; 0 for one that is free.
        sources: Cameras, or recordings; nothing for scales and gates alone.
        demo: Whether it is the simulated store.
        site: Folder of a site: gondolas, plates, planogram, products.
        layout: File of a layout that adds to it.
        weights: Models to see with; none for the project's own.
        detect_every: The models run on every so many frames.
        speed: How many times real time a recording or the simulated store runs.
        seed: Of the simulated store.
        regulars: Whether the simulated store has shoppers of its own.
    """

    database: str
    folder: Path | None
    host: str = "127.0.0.1"
    port: int = 8000
    sources: tuple[str, ...] = ()
    demo: bool = False
    site: Path | None = None
    layout: Path | None = None
    weights: tuple[str, ...] = ()
    detect_every: int = 2
    speed: float = 1.0
    seed: int = 0
    regulars: bool = True


@dataclass(frozen=True, slots=True)
class Owner:
    """The first account of a store; its password is known nowhere else, and only now."""

    email: str
    password: str = field(repr=False)


class Closable(Protocol):
    """Something that is closed when the store is."""

    def close(self) -> None:
        """Close it."""
        ...


class StoreServer:
    """A whole store. Make it, ``start`` it, ``stop`` it; or ``run`` it until the process is told to end.

    Args:
        options: What is to be run.
        settings: The store's settings.
        tell: Told of what happens on the floor, in its thread.

    Raises:
        ValueError: An option is not as it should be.
        OSError: The database or a source cannot be opened, or the port is taken.
        StoreError: A camera's address or a recording is none that may be read.
    """

    def __init__(
        self, options: ServeOptions, settings: Settings, tell: Callable[[FloorEvent], None] = lambda event: None
    ) -> None:
        self._options, self._settings = options, settings
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._closing: list[Closable] = []
        self._socket: socket.socket | None = None
        try:
            self._socket = _listening(options.host, options.port)
            self._closing.append(_Claim(options.database))
            self._build(tell)
        except BaseException:
            self._close()
            raise

    @property
    def url(self) -> str:
        """Where the API answers."""
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> None:
        """Open the store; returns when the API answers."""
        self._floor.start()
        self._sweepers.start()
        self._run_in_thread("tidier", self._tidy)
        if self.demo is not None:
            products = self.demo.layout.products
            drawing = partial(draw_in_background, self.database, products, self.clock, self._stopping)
            self._run_in_thread("product pictures", drawing)
        if self._link is not None:
            self._run_in_thread("mqtt", partial(self._be_linked, self._link))
        self._run_in_thread("api", lambda: self._server.run(sockets=[self._socket] if self._socket else None))
        while not self._server.started and self._threads[-1].is_alive():
            self._stopping.wait(0.02)
        if not self._server.started:
            self.stop()
            raise OSError("the API could not be started")

    def stop(self, patience_s: float = PATIENCE_S) -> bool:
        """Close the store: people inside are looked at by a person before they are charged.

        Args:
            patience_s: Longest wait for each of its threads, beyond what streams of the API are given.

        Returns:
            Whether everything ended in time.
        """
        self._stopping.set()
        self._live.close()
        self.app.state.live.close()
        self._server.should_exit = True
        if self._loop is not None and self._link_task is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._link_task.cancel)
        done = self._floor.stop(patience_s)
        done &= self._sweepers.stop(GRACE_S)
        for thread in self._threads:
            thread.join(GRACE_S + patience_s)
            done &= not thread.is_alive()
        self._close()
        return done

    def run(self, started: Callable[[], None] = lambda: None) -> bool:
        """Run the store until SIGINT or SIGTERM; from the main thread.

        Args:
            started: Called when the API answers.

        Returns:
            Whether everything ended in time.
        """
        told = threading.Event()

        def hear(number: int, frame: FrameType | None) -> None:
            if told.is_set():
                raise KeyboardInterrupt  # a second time: at once
            told.set()

        before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self.start()
            started()
            while not told.wait(0.5):
                pass
            return self.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # Putting it together

    def _build(self, tell: Callable[[FloorEvent], None]) -> None:
        options, settings = self._options, self._settings
        self.clock = StoreClock(options.speed if options.demo else 1.0)
        now = self.clock
        self.database = database = self._kept(Database.open(options.database))
        source, layout = (None, demo_store_layout()) if options.demo else self._opened()
        usual_tax_bp = DEMO_TAX_BP if options.demo else settings.usual_tax_rate_bp
        catalogue = catalogue_of(taxed(layout, usual_tax_bp).products, settings.currency)
        with database.transaction() as repository:
            load_catalogue(repository, catalogue, now())
        fit: Callable[[StoreLayout], StoreLayout] = (
            (lambda drawn: taxed(drawn, usual_tax_bp))
            if source is None
            else (lambda drawn: taxed(drawn.for_pictures(source.resolutions_wh), usual_tax_bp))
        )
        layouts = Layouts(database, layout, now, catalogue.currency, fit)
        drawn = layouts.starting(layout)
        gateway = self._gateway()
        pricing = PriceBook(catalogue.currency, settings.tax_rule)
        self.accounts = accounts = Accounts(database, now)
        self.checkout = checkout = Checkout(
            database,
            pricing,
            gateway,
            payment_attempts=settings.payment_attempts,
            hold_minor=settings.hold_minor or None,
            now=now,
        )
        self.owner = self._first_owner()
        self.demo: DemoStore | None = None
        if options.demo:
            self.demo = DemoStore(
                catalogue, self.clock, options.seed, speed=options.speed, regulars=options.regulars, layout=layout
            )
        self.doorman = Doorman(
            database,
            checkout,
            settings.store_id,
            now,
            random_bytes=secrets.token_bytes,
            publish=None if settings.mqtt_host is None else self._publish,
            on_admitted=self._admitted,
            command_life_s=settings.gate_command_life_s,
            no_show_after_s=settings.no_show_after_s,
        )
        if self.demo is not None:
            self.demo.open(accounts, self.doorman)
        self.closed_anew = recover(database, checkout, now())
        evidence = Evidence(database, now, timedelta(days=settings.keep_evidence_days))
        webhooks = Webhooks(database, now, allow_private=settings.webhook_private_networks)
        mailer = _Mail(self._mailer(), MAIL_DOMAIN)
        sweeper = Sweeper(
            database,
            {
                **checkout.handlers(),
                **self.doorman.handlers(),
                **handlers_after_visits(
                    database,
                    checkout,
                    webhooks,
                    mailer,
                    settings.store_name,
                    now,
                    settings.zone,
                    settings.receipt_font,
                ),
            },
        )
        inbox = Inbox()
        recorded = source is not None and not isinstance(source, StreamSource)
        camera_ids = () if source is None else source.camera_ids
        self.pictures: RecentPictures | None = None
        watchers: list[FloorWatcher] = []
        if self.demo is not None:
            self.pictures = self.demo.pictures()
        elif camera_ids:
            remembered = RememberedPictures(camera_ids)
            self._closing.append(remembered)
            self.pictures = remembered
            watchers.append(remembered)

        def health() -> tuple[CameraHealth, ...]:
            return floor.camera_health(camera_ids)

        self._live = LiveView(drawn, now, self.pictures, health if self.demo is None else None)
        # Before the pictures: what was believed of one is there when it can be asked for.
        watchers.insert(0, self._live)
        if self.pictures is not None:
            # Pictures that have to be drawn first are drawn of what needs a look alone.
            clips = ClipKeeper(evidence, self.pictures, everything=self.demo is None)
            watchers.append(clips)
            self._closing.append(clips)
            clips.start()
        floor: Floor = Floor(
            drawn,
            database,
            checkout,
            evidence,
            now,
            detector=self._detector(source),
            settings=PipelineSettings(costs=settings.costs),
            has_gates=source is None or not recorded or source.has_gates,
            has_account=lambda code: recorded and settings.stripe_secret_key is None,
            seeing=SeeingSettings(detect_every=options.detect_every, sleeps=options.detect_every > 1),
            tell=self._teller(tell),
            watchers=watchers,
        )
        layouts.serve(floor)
        feed: Feed
        if self.demo is not None:
            feed = self.demo
        elif source is None or isinstance(source, StreamSource):
            feed = LiveFeed(source, inbox, database)
        else:
            feed = InItsTime(source, source.start_ns, speed=options.speed)
        self._floor = FloorThread(floor, feed)
        # Each lane has a thread of its own: a webhook that hangs holds up no charge.
        self._sweepers = SweeperThread(sweeper, now, SWEEP_S)
        self._retention = Retention(database, Periods.of(settings))
        self.shop = Shop(
            database=database,
            settings=settings,
            accounts=accounts,
            checkout=checkout,
            doorman=self.doorman,
            reviews=Reviews(database, checkout, now),
            disputes=Disputes(database, checkout, now, rules=settings.dispute_rules),
            webhooks=webhooks,
            pricing=pricing,
            sweeper=sweeper,
            evidence=evidence,
            passkeys=self._passkeys(now),
            privacy=Privacy(database, now),
            gateway=gateway,
            payment_webhook=self._payment_webhook(now),
            scales=scales_into(inbox) if isinstance(feed, LiveFeed) else None,
            cameras=self._live.cameras,
            live=self._live,
            plates=floor.plate_health,
            layouts=layouts,
            checks=(floor.readiness, self._sweeper_readiness),
            replays=self._replays(now),
            demo=self.demo,
            store_name=settings.store_name,
            zone=settings.zone,
            now=now,
        )
        self.app = create_app(self.shop)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self.app,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=GRACE_S,
                server_header=False,
            )
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link_task: asyncio.Task[None] | None = None
        self._link: StoreLink | None = None
        broker = Broker.of(settings)
        if broker is not None:
            plates = tuple(plate.plate_id for plate in drawn.plates) or None
            self._link = StoreLink(broker, settings.store_id, self.doorman, inbox, now, plates)

    def _kept(self, thing: "Database") -> "Database":
        self._closing.append(thing)
        return thing

    def _gateway(self) -> PaymentGateway:
        settings, folder = self._settings, self._options.folder
        if settings.stripe_secret_key is not None and not self._options.demo:
            key = settings.stripe_secret_key.get_secret_value()
            stripe = StripeGateway(key, payer_of_account(self.database), self.clock)
            self._closing.append(stripe)
            return stripe
        if settings.gateway_url is not None:
            remote = RemoteGateway(settings.gateway_url)
            self._closing.append(remote)
            return remote
        in_memory = make_url(self._options.database).database in (None, "", ":memory:") or folder is None
        local = LocalGateway(":memory:" if folder is None or in_memory else folder / "payments.db")
        self._closing.append(local)
        return local

    def _replays(self, now: Callable[[], datetime]) -> Replays | None:
        folder, root = self._options.folder, self._settings.recordings_folder
        if folder is None or (root is None and not self._options.demo):
            return None
        recordings = None if root is None else Recordings(root)
        replays = Replays(folder / "replays", recordings, now, offers_demo=self._options.demo)
        self._closing.append(replays)
        return replays

    def _mailer(self) -> Mailer:
        settings = self._settings
        if settings.smtp_host is None:
            folder = self._options.folder
            return _NoMail() if folder is None else FolderMailer(folder / "mail", settings.mail_sender)
        return SmtpMailer(
            settings.smtp_host,
            settings.smtp_port,
            settings.mail_sender,
            settings.store_name,
            SmtpSecurity(settings.smtp_security),
            settings.smtp_user,
            None if settings.smtp_password is None else settings.smtp_password.get_secret_value(),
        )

    def _passkeys(self, now: Callable[[], datetime]) -> Passkeys | None:
        origins = self._settings.passkey_origins
        if not origins and self._options.demo:
            # Browsers take a passkey for no address that is a number, and for this name without encryption.
            origins = (f"http://localhost:{urlsplit(self.url).port}",)
        if not origins:
            return None
        domain = urlsplit(origins[0]).hostname
        if domain is None:
            raise ValueError("TILLFREE_PASSKEY_ORIGINS: expected origins such as https://shop.example")
        return Passkeys(self.database, self.accounts, domain, self._settings.store_name, origins, now)

    def _payment_webhook(
        self, now: Callable[[], datetime]
    ) -> Callable[[bytes, Mapping[str, str]], IncomingEvent] | None:
        secret = self._settings.stripe_webhook_secret
        if secret is None:
            return None
        return lambda body, headers: read_stripe_webhook(
            body, headers.get("stripe-signature"), secret.get_secret_value(), now()
        )

    def _first_owner(self) -> Owner | None:
        """Open the owner's account in a store that has none."""
        with self.database.reading() as repository:
            if repository.sql.scalars(select(AccountRow.account_id).where(AccountRow.role == Role.OWNER)).first():
                return None
        owner = Owner(OWNER, secrets.token_urlsafe(15))
        self.accounts.create(owner.email, owner.password, "Owner", Role.OWNER, by=Role.OWNER)
        return owner

    def _opened(self) -> tuple[Source | None, StoreLayout]:
        """Open what the store is to see, and find out where its shelves are."""
        options = self._options
        live = [name for name in options.sources if "://" in name or name.startswith("/dev/video")]
        if live and len(live) != len(options.sources):
            raise ValueError("--source: live cameras and recordings cannot be served together")
        limits = ChildLimits(memory_bytes=self._settings.decoder_memory_mb * MEBIBYTE)
        source: Source | None = None
        site = options.site
        layers: list[StoreLayout] = []
        if live:
            source = self._cameras([CameraAddress.parse(name) for name in live], limits)
        elif options.sources:
            paths = [self._recording(name) for name in options.sources]
            site = site or find_site(paths)
            layers += [] if site is None else [read_site(site)]
            plates = layers[0].plates or None if layers else None
            source = open_recording(paths, plates, partial(ChildReader, limits=limits))
        if site is not None and not layers:
            layers.append(read_site(site))
        if isinstance(source, RecordingSource) and source.layout_path is not None and options.site is None:
            layers.append(read_layout(source.layout_path))
        if options.layout is not None:
            layers.append(read_layout(options.layout))
        if not layers:
            layers.append(StoreLayout(name=self._settings.store_name))
        layout = reduce(StoreLayout.overlaid, layers)
        return source, layout if source is None else layout.for_pictures(source.resolutions_wh)

    def _recording(self, name: str) -> Path:
        """A recording by its name in the folder of recordings, or by its path where there is no such folder."""
        root = self._settings.recordings_folder
        return Path(name) if root is None else Recordings(root).path(name)

    def _cameras(self, addresses: Sequence[CameraAddress], limits: ChildLimits) -> StreamSource:
        allow_private = self._settings.camera_private_networks

        def checked(address: CameraAddress) -> CameraAddress:
            if address.is_webcam:
                return address
            found = check_public_url(address.url, allow_private=allow_private, allow_login=True)
            return CameraAddress(address.camera_id, found.connect_url)

        def opened(address: CameraAddress, settings: StreamSettings) -> PictureStream:
            # Each time anew, and connected to what was checked: a name may lead somewhere else by now.
            return open_child_stream(checked(address), settings, replace(limits, open_s=settings.open_timeout_s + 10.0))

        for address in addresses:
            checked(address)
        stream = StreamSource(addresses, opener=opened)
        self._closing.append(stream)
        stream.open(FIRST_PICTURE_S)
        return stream

    def _detector(self, source: Source | None) -> ObjectDetector | None:
        if source is None or not source.camera_ids:
            return None
        if isinstance(source, RecordingSource) and source.has_bodies and not self._options.weights:
            return None
        return named_detector(self._options.weights)

    def _teller(self, tell: Callable[[FloorEvent], None]) -> Callable[[FloorEvent], None]:
        def told(event: FloorEvent) -> None:
            self.app.state.live.touch()
            if self.demo is not None:
                self.demo.heard(event)
            tell(event)

        return told

    def _admitted(self, admitted: Admitted) -> None:
        if self.demo is not None:
            self.demo.admitted(admitted)

    def _publish(self, command: GateCommand) -> None:
        assert self._link is not None
        self._link.publish(command)

    # Running it

    def _run_in_thread(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _tidy(self) -> None:
        """Let go who never came, forget what is over, until the store is closed."""
        next_tidy, next_forget = 0.0, 60.0
        passed_s = 0.0
        while not self._stopping.wait(SWEEP_S):
            passed_s += SWEEP_S
            try:
                if passed_s >= next_tidy:
                    next_tidy = passed_s + TIDY_S
                    self.doorman.tidy(self.clock())
                if passed_s >= next_forget:
                    next_forget = passed_s + FORGET_S
                    self._retention.sweep(self.clock())
            except Exception:
                _log.exception("the store could not be tidied; it is tried again")

    def _sweeper_readiness(self) -> Readiness:
        alive = self._sweepers.is_alive
        return Readiness("sweeper's thread", alive, "" if alive else "it does not run")

    def _be_linked(self, link: StoreLink) -> None:
        async def linked() -> None:
            self._loop = asyncio.get_running_loop()
            self._link_task = asyncio.current_task()
            if not self._stopping.is_set():
                await link.run()

        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(linked())

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        while self._closing:
            with contextlib.suppress(OSError):
                self._closing.pop().close()


class _NoMail:
    """Sends nothing."""

    def send(self, letter: Letter) -> None:
        """Do nothing."""


class _Mail:
    """Sends letters, but for those to people who are only simulated."""

    def __init__(self, mailer: Mailer, simulated: str) -> None:
        self._mailer, self._simulated = mailer, f"@{simulated}"

    def send(self, letter: Letter) -> None:
        """Send a letter."""
        if not letter.to.endswith(self._simulated):
            self._mailer.send(letter)


def _listening(host: str, port: int) -> socket.socket:
    """Take the port first of all, so that what is wrong with it is told before anything else is begun."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = f"{host}:{port}: cannot listen there: {error.strerror or error}"
        raise OSError(f"{reason}; --port chooses another port") from error


class _Claim:
    """Keeps a second process from running a store on the same SQLite file, until it is closed or its process ends.

    Args:
        database: The database's address; one that is not a file is not claimed.

    Raises:
        OSError: Another process has claimed it.
    """

    def __init__(self, database: str) -> None:
        url = make_url(database)
        self._file: int | None = None
        if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
            return
        self._file = os.open(f"{url.database}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        until_s = time.monotonic() + CLAIM_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if time.monotonic() > until_s:
                    os.close(self._file)
                    raise OSError(f"{url.database}: another process runs a store on it already") from error
            time.sleep(0.1)

    def close(self) -> None:
        """Let others have it."""
        if self._file is not None:
            os.close(self._file)
