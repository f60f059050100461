"""Small shops at the till for the tests: visits with something in the cart, and what must hold of the money."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import select

from cart.catalog import Catalogue, Product
from cart.checkout import Checkout
from cart.events import CartEvent
from cart.ledger import GATEWAY, Balance, Ledger, shopper_account
from cart.outbox import Sweeper
from cart.payments import FakeGateway, Fault, GatewayCall, PaymentGateway
from cart.repository import Database
from cart.tables import OutboxRow

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)
MUCH_LATER = NOON + timedelta(days=2)
HOLD_MINOR = 1000
CATALOGUE = Catalogue(
    "USD",
    [
        Product("bar", "Oat bar", 199, "USD", 700),
        Product("tea", "Iced tea", 250, "USD", 1900),
        Product("gift", "Sample", 0, "USD"),
        Product("secret", "No price", None, "USD"),
    ],
)
Faults = Callable[[GatewayCall, str], Fault | None]


def in_turn(faults: Sequence[Fault | None]) -> Faults:
    """One fault for each call in turn, then none."""
    left = list(faults)
    return lambda call, key: left.pop(0) if left else None


def on(call: GatewayCall, *faults: Fault | None) -> Faults:
    """Faults for such calls in turn, then none; all other calls succeed."""
    left = list(faults)
    return lambda made, key: left.pop(0) if made is call and left else None


class Weather:
    """A fault that the test switches on and off."""

    def __init__(self, fault: Fault | None = None, call: GatewayCall | None = None) -> None:
        self.fault, self.call = fault, call

    def __call__(self, call: GatewayCall, key: str) -> Fault | None:
        return self.fault if self.call in (None, call) else None


def till(
    database: Database,
    gateway: PaymentGateway | None = None,
    hold_minor: int | None = HOLD_MINOR,
    attempts: int = 2,
    now: datetime = LATER,
) -> Checkout:
    """A till that holds an amount at the entry."""
    return Checkout(
        database,
        CATALOGUE,
        gateway or FakeGateway(),
        payment_attempts=attempts,
        hold_minor=hold_minor,
        now=lambda: now,
    )


def enter(checkout: Checkout, *items: tuple[str, int], shopper: str = "ada") -> UUID:
    """A visit of somebody whose account was asked first, if this shop does so, with things in the cart."""
    session_id = checkout.check_in(shopper, NOON).session_id
    if checkout.hold_minor is not None:
        checkout.hold(session_id, NOON)
    for sku, quantity in items:
        checkout.record(CartEvent(uuid4(), session_id, NOON, sku, quantity))
    return session_id


def sweep(database: Database, checkout: Checkout, at: datetime = LATER) -> int:
    """Carry out what is due of the money's effects."""
    return Sweeper(database, checkout.handlers()).sweep(at)


def books(database: Database) -> Ledger:
    """The whole ledger."""
    with database.reading() as repository:
        return repository.ledger()


def waiting_keys(database: Database, *kinds: str) -> list[str]:
    """Keys of what waits in the outbox, of some kinds, sorted."""
    with database.reading() as repository:
        rows = repository.sql.scalars(select(OutboxRow).where(OutboxRow.status == "waiting", OutboxRow.kind.in_(kinds)))
        return sorted(row.deduplication_key for row in rows)


def webhooks(database: Database) -> list[str]:
    """Types of what listeners are told, sorted."""
    with database.reading() as repository:
        rows = repository.sql.scalars(select(OutboxRow).where(OutboxRow.kind == "webhook"))
        return sorted(row.payload["type"] for row in rows)


def check_books(database: Database, gateway: FakeGateway, owed_minor: int = 0, shopper: str = "ada") -> None:
    """With nothing pending, the ledger sums to zero, equals the gateway, and says what the shopper owes."""
    ledger = books(database)
    assert all(total == Balance(0, 0) for total in ledger.sums())
    at_gateway = gateway.captured_minor("USD") - gateway.refunded_minor("USD")
    assert ledger.balance(GATEWAY, "USD") == Balance(at_gateway, 0)
    assert ledger.balance(shopper_account(shopper), "USD") == Balance(owed_minor, 0)
    assert waiting_keys(database, "hold", "charge", "refund") == []
