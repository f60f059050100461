"""A small shop for tests of what comes after a visit: people, visits, and a sweeper with everything behind it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select

from cart.catalog import Catalogue, Product
from cart.checkout import Checkout
from cart.disputes import DisputeRules, Disputes
from cart.events import CartEvent
from cart.evidence import Evidence, EvidenceCandidate, EvidenceKind, InteractionFacts, WeightCurve
from cart.mail import Letter
from cart.notifications import handlers
from cart.outbox import Effect, Sweeper
from cart.payments import FakeGateway, Fault, GatewayCall, no_fault
from cart.questions import Answer, Question
from cart.repository import Database
from cart.reviews import Reviews
from cart.tables import AccountRow, OutboxRow
from cart.webhooks import Webhooks
from tests.cart.databases import fresh

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CATALOGUE = Catalogue(
    "USD",
    [
        Product("bar", "Oat bar", 199, "USD", 700),
        Product("tea", "Iced tea", 250, "USD", 1900),
        Product("wine", "Old wine", 9900, "USD", 1900),
        Product("secret", "No price", None, "USD"),
    ],
)


class Outbasket:
    """A mailer that keeps letters."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []

    def send(self, letter: Letter) -> None:
        self.letters.append(letter)


@dataclass
class Shop:
    """The shop. Its clock stands still until it is moved."""

    database: Database
    rules: DisputeRules = field(default_factory=DisputeRules)
    at: datetime = NOON

    def __post_init__(self) -> None:
        self.faults: Callable[[GatewayCall, str], Fault | None] = no_fault
        self.gateway = FakeGateway(lambda call, key: self.faults(call, key))
        self.checkout = Checkout(self.database, CATALOGUE, self.gateway, now=self.now)
        self.reviews = Reviews(self.database, self.checkout, self.now)
        self.disputes = Disputes(self.database, self.checkout, self.now, rules=self.rules)
        self.evidence = Evidence(self.database, self.now)
        self.webhooks = Webhooks(self.database, self.now, allow_private=True)
        self.post = Outbasket()
        after = handlers(self.database, self.checkout, self.webhooks, self.post, "Corner shop", self.now)
        self.sweeper = Sweeper(self.database, {**self.checkout.handlers(), **after})

    def now(self) -> datetime:
        return self.at

    def later(self, **span: float) -> None:
        self.at += timedelta(**span)

    def account(self, name: str = "Ada", role: str = "shopper") -> UUID:
        account_id = uuid4()
        with self.database.transaction() as repository:
            repository.sql.add(
                AccountRow(
                    account_id=account_id,
                    email=f"{account_id}@example.org",
                    name=name,
                    role=role,
                    status="active",
                    locale="en",
                    payment_method=None,
                    created_at=self.at,
                    erased_at=None,
                )
            )
        return account_id

    def visit(
        self, account_id: UUID, *items: tuple[str, int], sure: float = 1.0, flags: Sequence[str] = (), seen: bool = True
    ) -> UUID:
        """A visit that is over: each item one interaction, with evidence for it if it was seen."""
        session_id = self.checkout.check_in(str(account_id), self.at).session_id
        for sku, quantity in items:
            interaction_id = uuid4()
            event = CartEvent(uuid4(), session_id, self.at, sku, quantity, interaction_id, sure)
            self.checkout.record(event)
            if seen:
                candidates = (EvidenceCandidate(str(account_id), sku, abs(quantity), sure),)
                self.evidence.add(
                    session_id, interaction_id, EvidenceKind.INTERACTION, facts(candidates, taken=quantity > 0)
                )
        for reason in flags:
            self.checkout.flag(session_id, reason, None, self.at)
        self.checkout.close(session_id, self.at)
        return session_id

    def ask(self, session_id: UUID, cause_id: UUID | None, *answers: tuple[str | None, int, float]) -> None:
        """Ask a reviewer what of an interaction belongs into a visit's cart."""
        said = tuple(
            Answer("nothing" if sku is None else f"{abs(quantity)} x {sku}", sku, quantity, probability)
            for sku, quantity, probability in answers
        )
        self.checkout.flag(session_id, "not sure", cause_id, self.at, Question("What was it?", said))

    def told(self, effect: Effect = Effect.WEBHOOK) -> list[dict[str, Any]]:
        """What was put into the outbox of a kind."""
        with self.database.reading() as repository:
            rows = repository.sql.scalars(
                select(OutboxRow).where(OutboxRow.kind == effect.value).order_by(OutboxRow.created_at)
            )
            return [row.payload | {"status": row.status} for row in rows]

    def types_told(self) -> list[str]:
        return sorted(event["type"] for event in self.told() if "type" in event)

    def quantities(self, session_id: UUID) -> dict[str, int]:
        return {line.sku: line.quantity for line in self.checkout.cart(session_id).lines}

    @property
    def kept_minor(self) -> int:
        """What the gateway took and did not give back."""
        return self.gateway.captured_minor("USD") - self.gateway.refunded_minor("USD")


def facts(candidates: Sequence[EvidenceCandidate] = (), *, taken: bool = True, at: datetime = NOON) -> InteractionFacts:
    return InteractionFacts(
        "pick" if taken else "put_back",
        "g1/s2/b3",
        "gondola 1, shelf 2",
        at,
        at + timedelta(seconds=2),
        ("cam-1", "cam-2"),
        tuple(candidates),
        WeightCurve((0.0, 1.0, 2.0), (0.0, -20.0, -41.0)),
    )


@contextmanager
def shop(kind: str, folder: Path, rules: DisputeRules | None = None) -> Iterator[Shop]:
    with fresh(kind, folder) as database:
        yield Shop(database, rules or DisputeRules())
