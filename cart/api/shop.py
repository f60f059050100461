"""What the API is given: the services of one store, made by whoever runs it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Protocol
from uuid import UUID, uuid4

from cart.config import Settings
from cart.repository import Database

if TYPE_CHECKING:
    from cart.accounts import Accounts
    from cart.catalog import Product
    from cart.checkout import Checkout
    from cart.disputes import Disputes
    from cart.doors import Doorman
    from cart.evidence import Evidence
    from cart.floor_state import LiveFloor
    from cart.gateways.incoming import IncomingEvent
    from cart.layout_versions import LayoutVersions
    from cart.outbox import Sweeper
    from cart.passkeys import Passkeys
    from cart.payments import PaymentGateway
    from cart.pricing import Pricing
    from cart.privacy import Privacy
    from cart.replays import Replays
    from cart.reviews import Reviews
    from cart.webhooks import Webhooks


class DemoStore(Protocol):
    """A simulated store in which bodies shop for visitors."""

    @property
    def gate_ids(self) -> frozenset[str]:
        """The gates that it has."""
        ...

    def shop(self, session_id: UUID, lines: Mapping[str, int]) -> None:
        """Have a simulated body take something and walk out; it does so after this has returned.

        Args:
            session_id: An open visit.
            lines: What it takes, units by SKU; empty for something of its own choice.

        Raises:
            StoreError: The visit is not open, or the store has no such product, or not so many.
        """
        ...

    def products(self) -> tuple["Product", ...]:
        """What its shelves hold."""
        ...


@dataclass(frozen=True, slots=True)
class ScaleMessage:
    """What a scale's plate sends: samples of equal distance.

    Attributes:
        plate_id: The plate.
        timestamp_ns: Of the first sample, on the store's clock.
        rate_hz: Samples a second.
        grams: The samples, grams.
    """

    plate_id: str
    timestamp_ns: int
    rate_hz: float
    grams: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """How a camera is doing.

    Attributes:
        camera_id: The camera.
        healthy: Whether pictures come as they should.
        last_frame_at: When the last one came, timezone-aware; None if there was none.
        detail: One sentence.
        resolution_wh: Size of its pictures, pixels; None if not known.
        latency_s: How old its last picture was when the store had dealt with it; None if not known.
        notice: What else is wrong with it, such as that it was moved; empty for nothing.
    """

    camera_id: str
    healthy: bool
    last_frame_at: datetime | None
    detail: str = ""
    resolution_wh: tuple[int, int] | None = None
    latency_s: float | None = None
    notice: str = ""


@dataclass(frozen=True, slots=True)
class PlateHealth:
    """How a plate of a scale is doing.

    Attributes:
        plate_id: The plate, ``gondola/shelf/plate``.
        gondola_id: The gondola it is in.
        shelf_id: The shelf it is under.
        last_at: When its last sample came, timezone-aware; None if there was none.
        rate_hz: Samples a second, as it says; None if it has not spoken.
        grams: Its last reading, grams; only changes mean anything. None if it did not answer.
        healthy: Whether samples come as they should.
        detail: One sentence.
    """

    plate_id: str
    gondola_id: int
    shelf_id: int
    last_at: datetime | None
    rate_hz: float | None
    grams: float | None
    healthy: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a part of the store does its work.

    Attributes:
        name: The part.
        ready: Whether it does.
        detail: Why not; nothing secret, it is public.
    """

    name: str
    ready: bool
    detail: str = ""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """The services of one store. What is None the store does not have; its routes then answer 404 or 503.

    Attributes:
        database: Where everything is kept.
        settings: The store's settings.
        accounts: People and devices, and how they prove who they are.
        checkout: Visits and their money.
        doorman: Who is let in.
        reviews: What reviewers decide.
        disputes: Questions about lines of receipts.
        webhooks: Who is told of what happens.
        pricing: What a cart costs now; None leaves live carts without prices.
        sweeper: Carries out what is left in the outbox.
        evidence: What the store saw.
        passkeys: Signing in without a password.
        privacy: Export and erasure.
        gateway: Who takes the money.
        payment_webhook: Reads a message of the payment provider, its body and its headers by their names in lower
            case; raises ``ForgedWebhookError`` for one that is not to be believed.
        scales: Takes what scales send by HTTP.
        cameras: Tells how the cameras are doing.
        live: The floor as it is right now.
        plates: Tells how the plates of the scales are doing.
        layouts: The layout, version by version.
        checks: Further parts that must work for the store to be ready, such as the sweeper's thread.
        replays: Recordings seen again, for engineers.
        demo: The simulated store; only in the demo, where scanning is open to everybody and accounts can pay at once.
        store_name: Printed on receipts.
        zone: The store's time zone, for receipts.
        now: The time, timezone-aware.
        clock: Seconds that never go back, for rate limits.
        new_id: Makes ids.
    """

    database: Database
    accounts: "Accounts"
    checkout: "Checkout"
    settings: Settings
    doorman: "Doorman | None" = None
    reviews: "Reviews | None" = None
    disputes: "Disputes | None" = None
    webhooks: "Webhooks | None" = None
    pricing: "Pricing | None" = None
    sweeper: "Sweeper | None" = None
    evidence: "Evidence | None" = None
    passkeys: "Passkeys | None" = None
    privacy: "Privacy | None" = None
    gateway: "PaymentGateway | None" = None
    payment_webhook: "Callable[[bytes, Mapping[str, str]], IncomingEvent] | None" = None
    scales: Callable[[ScaleMessage], None] | None = None
    cameras: Callable[[], tuple[CameraHealth, ...]] | None = None
    live: "LiveFloor | None" = None
    plates: Callable[[], tuple[PlateHealth, ...]] | None = None
    layouts: "LayoutVersions | None" = None
    checks: tuple[Callable[[], Readiness], ...] = ()
    demo: DemoStore | None = None
    replays: "Replays | None" = None
    store_name: str = "Tillfree"
    zone: tzinfo = UTC
    now: Callable[[], datetime] = _utc_now
    clock: Callable[[], float] = time.monotonic
    new_id: Callable[[], UUID] = uuid4
