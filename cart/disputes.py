"""Disputes: a shopper asks about a line of a receipt; the machine looks again, and a person where it may not decide.

The rule, with the settings of ``DisputeRules``. Only for less than was billed, and only where no person has decided
about the visit before, the line is corrected at once and the difference goes back, if the account has had fewer than
``refunds_at_once`` of these within ``window``, and

* the store was not sure: replayed from the evidence, the billed quantity has a probability below ``sure_from``, and the
  difference is at most ``unsure_limit_minor``; or
* it is a small matter: the difference is at most ``small_minor``.

Everything else goes to a person. The machine never decides against a shopper.

>>> quantity_probabilities([{2: 0.9, 1: 0.08}, {-1: 0.5}])      # two taken, surely; one came back, perhaps
{-1: 0.01, 0: 0.05, 1: 0.49, 2: 0.45}
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from cart import audit
from cart.cart import Cart
from cart.checkout import Checkout
from cart.decisions import (
    Decision,
    Decisions,
    Dispute,
    DisputeStatus,
    checked_lines,
    decisions_of,
    dispute_from,
    disputes_of,
)
from cart.dispute_rules import DisputeRules
from cart.errors import DisputeNotFound, DisputeRefused, LineNotFound, NotUnderReview, SessionNotFound
from cart.events import MAX_QUANTITY
from cart.evidence import EvidenceKind, keep_until, pieces_of
from cart.outbox import Effect, put
from cart.receipts import Receipt
from cart.repository import Database, Repository
from cart.reviews import account_of
from cart.sessions import Session, SessionStatus
from cart.tables import AccountRow, DecisionRow, DisputeRow

__all__ = [
    "Dispute",
    "DisputeRules",
    "DisputeStatus",
    "Disputes",
    "Replay",
    "quantity_probabilities",
]

LONGEST_MESSAGE = 2000
_ASKABLE = frozenset({SessionStatus.CHARGED, SessionStatus.PAYMENT_FAILED})
_MOST_QUANTITIES = 200


@dataclass(frozen=True, slots=True)
class Replay:
    """What the machine finds when it looks at a line again.

    Attributes:
        billed_quantity: How many units were billed.
        claimed_quantity: How many the shopper says they have.
        billed_probability: How likely the evidence makes the billed quantity, 0 to 1.
        claimed_probability: How likely it makes the claimed one.
        difference_minor: What the claim is worth, minor units, above 0 in the shopper's favour; None if the price is
            not known.
    """

    billed_quantity: int
    claimed_quantity: int
    billed_probability: float
    claimed_probability: float
    difference_minor: int | None


class Disputes:
    """Questions of shoppers about lines of their receipts.

    Args:
        database: The shop's.
        checkout: Corrects visits.
        now: The time, timezone-aware.
        new_id: Makes ids of disputes and decisions.
        rules: When a question is settled at once.
    """

    def __init__(
        self,
        database: Database,
        checkout: Checkout,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID] = uuid4,
        rules: DisputeRules | None = None,
    ) -> None:
        self._database = database
        self._checkout = checkout
        self._now = now
        self._new_id = new_id
        self._rules = rules or DisputeRules()
        self._decisions = Decisions(database, checkout, now)

    def open(self, session_id: UUID, account_id: UUID, sku: str, claimed_quantity: int, message: str = "") -> Dispute:
        """Ask about a line. It is settled at once by the rule at this module's top, or handed to a person.

        Args:
            session_id: The visit; it is the account's own.
            account_id: Whose question.
            sku: Which line of the receipt.
            claimed_quantity: How many units the shopper says they have, 0 to ``MAX_QUANTITY``.
            message: What they say, at most ``LONGEST_MESSAGE`` characters.

        Returns:
            The question as it stands then.

        Raises:
            SessionNotFound: There is no such visit, or it is somebody else's.
            LineNotFound: Its receipt has no such line.
            DisputeRefused: The line says so already or is being asked about, it is too late, there are too many
                questions, or the visit is under review anyhow.
            ValueError: A number or text out of bounds.
        """
        if not 0 <= claimed_quantity <= MAX_QUANTITY:
            raise ValueError(f"claimed_quantity: expected 0 to {MAX_QUANTITY}, got {claimed_quantity}")
        message = _clean(message)
        at = self._now()
        dispute_id, decision_id = self._new_id(), self._new_id()
        at_once = False
        try:
            with self._database.transaction() as repository:
                session = repository.session(session_id)
                if account_of(session) != account_id:
                    raise SessionNotFound(f"there is no visit {session_id}")
                receipt = self._receipt(repository, session, at)
                replay = self._replay(repository, session, receipt, sku, claimed_quantity)
                self._check(repository, session, account_id, sku, replay, at)
                at_once = self._is_settled_at_once(repository, session_id, account_id, replay, at)
                status = DisputeStatus.OPEN if at_once else DisputeStatus.IN_REVIEW
                repository.sql.add(
                    DisputeRow(
                        dispute_id=dispute_id,
                        session_id=session_id,
                        account_id=account_id,
                        sku=sku,
                        claimed_quantity=claimed_quantity,
                        message=message,
                        status=status.value,
                        outcome=None,
                        opened_at=at,
                        settled_at=None,
                    )
                )
                repository.sql.flush()
                about = {
                    "type": "dispute.opened",
                    "at": at.isoformat(),
                    "session_id": str(session_id),
                    "shopper_id": session.shopper_id,
                    "dispute_id": str(dispute_id),
                    "sku": sku,
                    "claimed_quantity": claimed_quantity,
                    "in_review": not at_once,
                }
                put(repository, Effect.WEBHOOK, f"webhook:dispute.opened:{dispute_id}", about, at)
                audit.record(
                    repository,
                    account_id,
                    "dispute.opened",
                    f"session:{session_id}",
                    {"dispute_id": str(dispute_id)},
                    at,
                )
                if at_once:
                    lines = _with_line(repository, session_id, sku, claimed_quantity)
                    decision = Decision(
                        decision_id, session_id, dispute_id, None, lines, _reasoning(replay, self._rules), at
                    )
                    self._decisions.write(repository, decision, session)
                else:
                    keep_until(repository, session_id, at + self._rules.evidence_kept)
                    letter = {"letter": "dispute_received", "dispute_id": str(dispute_id)}
                    put(repository, Effect.MAIL, f"mail:dispute_received:{dispute_id}", letter, at)
        except IntegrityError as error:
            raise DisputeRefused(f"visit {session_id}: line {sku} is being asked about already") from error
        if at_once:
            self._decisions.carry_out(decision_id)
        return self.dispute(dispute_id)

    def settle(self, dispute_id: UUID, reviewer_id: UUID, quantity: int, note: str = "") -> Dispute:
        """Answer a question that was handed to a person.

        Args:
            dispute_id: The question.
            reviewer_id: Who answers.
            quantity: How many units of the product the shopper has, as the evidence shows.
            note: For the record; the shopper does not get it.

        Returns:
            The question as it stands then.

        Raises:
            DisputeNotFound: There is no such question.
            NotUnderReview: It is settled already, or somebody else was faster.
            DecisionRefused: The quantity is out of bounds, or the cart cannot be charged.
        """
        decision_id = self._new_id()
        at = self._now()
        with self._database.transaction() as repository:
            row = repository.sql.get(DisputeRow, dispute_id)
            if row is None:
                raise DisputeNotFound(f"there is no dispute {dispute_id}")
            session = repository.session(row.session_id)
            # Only now is the visit locked against a second reviewer.
            repository.sql.refresh(row)
            if row.status != DisputeStatus.IN_REVIEW.value:
                raise NotUnderReview(f"dispute {dispute_id} is {row.status}, it waits for no decision")
            lines = _with_line(repository, row.session_id, row.sku, quantity)
            decision = Decision(decision_id, row.session_id, dispute_id, reviewer_id, lines, note, at)
            self._decisions.write(repository, decision, session)
        self._decisions.carry_out(decision_id)
        return self.dispute(dispute_id)

    def dispute(self, dispute_id: UUID) -> Dispute:
        """One question.

        Raises:
            DisputeNotFound: There is no such question.
        """
        with self._database.reading() as repository:
            row = repository.sql.get(DisputeRow, dispute_id)
            if row is None:
                raise DisputeNotFound(f"there is no dispute {dispute_id}")
            return dispute_from(row)

    def of_visit(self, session_id: UUID) -> tuple[Dispute, ...]:
        """Every question about a visit, oldest first."""
        with self._database.reading() as repository:
            return disputes_of(repository, session_id)

    def replay(self, session_id: UUID, sku: str, claimed_quantity: int) -> Replay:
        """Look at a line again, as ``open`` does, and change nothing.

        Raises:
            SessionNotFound: There is no such visit.
            LineNotFound: Its receipt has no such line.
            DisputeRefused: It has no receipt that can be asked about.
        """
        with self._database.reading() as repository:
            session = repository.session(session_id)
            receipt = self._receipt(repository, session, self._now())
            return self._replay(repository, session, receipt, sku, claimed_quantity)

    def _receipt(self, repository: Repository, session: Session, at: datetime) -> Receipt:
        if session.status is SessionStatus.NEEDS_REVIEW:
            raise DisputeRefused(f"visit {session.session_id}: a person is looking at it anyhow")
        receipt = repository.receipt(session) if session.status in _ASKABLE else None
        if receipt is None or session.closed_at is None:
            raise DisputeRefused(f"visit {session.session_id} is {session.status} and has no receipt to ask about")
        if at - session.closed_at > self._rules.oldest:
            days = self._rules.oldest.days
            raise DisputeRefused(f"visit {session.session_id}: its lines can be asked about for {days} days")
        return receipt

    def _replay(
        self, repository: Repository, session: Session, receipt: Receipt, sku: str, claimed_quantity: int
    ) -> Replay:
        # An earlier question may have changed the line since the receipt was made out: the cart is what stands.
        billed = _quantity(Cart.of(repository.cart_events(session.session_id)), sku)
        line = next((line for line in receipt.lines if line.sku == sku), None)
        if line is None:
            raise LineNotFound(f"the receipt of visit {session.session_id} has no line of {sku}")
        spread = quantity_probabilities(self._changes(repository, session, sku))
        price = line.unit_price_minor
        return Replay(
            billed,
            claimed_quantity,
            min(1.0, spread.get(billed, 0.0)),
            min(1.0, spread.get(claimed_quantity, 0.0)),
            None if price is None else (billed - claimed_quantity) * price,
        )

    def _changes(self, repository: Repository, session: Session, sku: str) -> list[dict[int, float]]:
        """For each interaction, by how many units of a product it may have changed this visit's cart."""
        decided = {decision.decision_id for decision in decisions_of(repository, session.session_id)}
        seen: dict[UUID, dict[int, float]] = {}
        for piece in pieces_of(repository, session.session_id, self._now()):
            if piece.kind is not EvidenceKind.INTERACTION:
                continue
            sign = 1 if piece.facts.kind == "pick" else -1
            changes = seen.setdefault(piece.interaction_id, {})
            for candidate in piece.facts.candidates:
                if candidate.shopper == session.shopper_id and candidate.sku == sku:
                    change = sign * candidate.quantity
                    changes[change] = changes.get(change, 0.0) + candidate.probability
        # Where the evidence is gone, what is left is how sure each line was.
        unseen = [
            {event.quantity: event.probability}
            for event in repository.cart_events(session.session_id)
            if event.sku == sku and event.cause_id not in seen and event.cause_id not in decided
        ]
        return [changes for changes in seen.values() if changes] + unseen

    def _check(
        self, repository: Repository, session: Session, account_id: UUID, sku: str, replay: Replay, at: datetime
    ) -> None:
        if replay.claimed_quantity == replay.billed_quantity:
            raise DisputeRefused(f"line {sku}: {replay.billed_quantity} is what it says")
        disputes = disputes_of(repository, session.session_id)
        if any(dispute.sku == sku and dispute.status is not DisputeStatus.SETTLED for dispute in disputes):
            raise DisputeRefused(f"visit {session.session_id}: line {sku} is being asked about already")
        if len(disputes) >= self._rules.per_visit:
            raise DisputeRefused(f"visit {session.session_id}: expected at most {self._rules.per_visit} questions")
        recent = repository.sql.scalar(
            select(func.count()).where(
                DisputeRow.account_id == account_id, DisputeRow.opened_at > at - self._rules.window
            )
        )
        if (recent or 0) >= self._rules.per_account:
            raise DisputeRefused(
                f"expected at most {self._rules.per_account} questions in {self._rules.window.days} days"
            )

    def _is_settled_at_once(
        self, repository: Repository, session_id: UUID, account_id: UUID, replay: Replay, at: datetime
    ) -> bool:
        worth = replay.difference_minor
        if worth is None or worth < 0 or replay.claimed_quantity > replay.billed_quantity:
            return False
        if any(decision.reviewer_id is not None for decision in decisions_of(repository, session_id)):
            return False
        unsure = replay.billed_probability < self._rules.sure_from and worth <= self._rules.unsure_limit_minor
        if not (unsure or worth <= self._rules.small_minor):
            return False
        # Serialises the account's own questions, on PostgreSQL as well: the count must not be read twice at once.
        repository.sql.execute(
            select(AccountRow.account_id).where(AccountRow.account_id == account_id).with_for_update()
        )
        settled = repository.sql.scalar(
            select(func.count())
            .select_from(DecisionRow)
            .join(DisputeRow, DisputeRow.dispute_id == DecisionRow.dispute_id)
            .where(
                DisputeRow.account_id == account_id,
                DecisionRow.reviewer_id.is_(None),
                DecisionRow.decided_at > at - self._rules.window,
            )
        )
        return (settled or 0) < self._rules.refunds_at_once


def quantity_probabilities(changes: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """How many units a visit holds, if each interaction changed that on its own.

    Args:
        changes: For each interaction, the probability of each change; the rest is "no change".

    Returns:
        The probability of each quantity, lowest first; they sum to 1, rounded to 12 decimals.
    """
    spread = {0: 1.0}
    for change in changes:
        rest = max(0.0, 1.0 - sum(change.values()))
        after: dict[int, float] = {}
        for quantity, probability in spread.items():
            for step, share in [*change.items(), (0, rest)]:
                if share > 0:
                    after[quantity + step] = after.get(quantity + step, 0.0) + probability * share
        # What is as good as impossible is let go, or many interactions would spread without end.
        likeliest = sorted(after.items(), key=lambda entry: (-entry[1], entry[0]))[:_MOST_QUANTITIES]
        spread = dict(likeliest)
    return {quantity: round(spread[quantity], 12) for quantity in sorted(spread)}


def _quantity(cart: Cart, sku: str) -> int:
    return sum(line.quantity for line in cart.lines if line.sku == sku)


def _with_line(repository: Repository, session_id: UUID, sku: str, quantity: int) -> tuple[tuple[str, int], ...]:
    """The cart as it stands, but for one line."""
    cart = Cart.of(repository.cart_events(session_id))
    return checked_lines({line.sku: line.quantity for line in cart.lines} | {sku: quantity})


def _reasoning(replay: Replay, rules: DisputeRules) -> str:
    """Why the machine settled a question, for the record."""
    if replay.billed_probability < rules.sure_from:
        return f"billed with probability {replay.billed_probability:.2f}, below {rules.sure_from:.2f}"
    return f"a matter of {replay.difference_minor}, at most {rules.small_minor} minor units"


def _clean(message: str) -> str:
    """A shopper's text without control characters.

    Raises:
        ValueError: It is too long.
    """
    if len(message) > LONGEST_MESSAGE:
        raise ValueError(f"message: expected at most {LONGEST_MESSAGE} characters, got {len(message)}")
    return "".join(letter for letter in message if letter.isprintable() or letter in "\n\t").strip()
