"""Decisions: what a reviewer, or the machine, says a visit's cart was, and how that becomes money and news.

A decision is a row that is never changed. The transaction that writes it also puts its carrying out into the outbox, so
that a visit is corrected however often the process dies in between; the decision's id is the cause of every correction
that follows from it, by which a repeat is told.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select, update

from cart import audit
from cart.cart import Cart
from cart.checkout import Checkout, Outcome
from cart.errors import DecisionRefused, NotUnderReview, PaymentUnknown, StoreError
from cart.events import MAX_QUANTITY
from cart.money import format_amount
from cart.outbox import Effect, GivenUpError, Handler, Message, NotYetError, finish, give_up, is_waiting, put
from cart.repository import Database, Repository
from cart.sessions import Session, SessionStatus
from cart.tables import DecisionRow, DisputeRow, ReceiptRow

_log = logging.getLogger(__name__)

LONGEST_NOTE = 2000
MOST_LINES = 500
_LEFT_TO_CALLER = timedelta(seconds=30)
_REOPENED = frozenset({SessionStatus.CHARGED, SessionStatus.PAYMENT_FAILED, SessionStatus.EMPTY})


class DisputeStatus(StrEnum):
    """Where a question about a line stands."""

    OPEN = "open"
    """The machine settles it at this moment."""
    IN_REVIEW = "in_review"
    """A person has to look at it."""
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Dispute:
    """A shopper's question about a line of their receipt.

    Attributes:
        dispute_id: Identity.
        session_id: The visit.
        account_id: Whose question.
        sku: Which line.
        claimed_quantity: How many units the shopper says they have.
        message: What they say.
        status: Where it stands.
        outcome: One sentence for the shopper; None until it is settled.
        opened_at: When it was asked, timezone-aware.
        settled_at: When it was settled; None until then.
    """

    dispute_id: UUID
    session_id: UUID
    account_id: UUID
    sku: str
    claimed_quantity: int
    message: str
    status: DisputeStatus
    outcome: str | None
    opened_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decided about a visit.

    Attributes:
        decision_id: Identity, and the cause of every correction that follows.
        session_id: The visit.
        dispute_id: The question that it answers; None for the visit as a whole.
        reviewer_id: Who; None for the machine.
        lines: The cart as decided, (sku, units), by sku.
        note: What the reviewer noted; not for the shopper.
        decided_at: When, timezone-aware.
    """

    decision_id: UUID
    session_id: UUID
    dispute_id: UUID | None
    reviewer_id: UUID | None
    lines: tuple[tuple[str, int], ...]
    note: str
    decided_at: datetime

    @property
    def key(self) -> str:
        """The key under which the outbox has it carried out."""
        return f"decision:{self.decision_id}"


def checked_lines(lines: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """A decided cart, by sku, without lines of nothing.

    Raises:
        DecisionRefused: A line has less than nothing, or too much, or there are too many lines.
    """
    if len(lines) > MOST_LINES:
        raise DecisionRefused(f"expected at most {MOST_LINES} lines, got {len(lines)}")
    for sku, quantity in lines.items():
        if not sku or isinstance(quantity, bool) or not 0 <= quantity <= MAX_QUANTITY:
            raise DecisionRefused(f"line {sku!r}: expected 0 to {MAX_QUANTITY} units, got {quantity}")
    return tuple((sku, lines[sku]) for sku in sorted(lines) if lines[sku])


def decisions_of(repository: Repository, session_id: UUID) -> tuple[Decision, ...]:
    """Everything that was decided about a visit, oldest first."""
    rows = repository.sql.scalars(
        select(DecisionRow)
        .where(DecisionRow.session_id == session_id)
        .order_by(DecisionRow.decided_at, DecisionRow.decision_id)
    )
    return tuple(_decision(row) for row in rows)


def disputes_of(repository: Repository, session_id: UUID) -> tuple[Dispute, ...]:
    """Every question about a visit's lines, oldest first."""
    rows = repository.sql.scalars(
        select(DisputeRow)
        .where(DisputeRow.session_id == session_id)
        .order_by(DisputeRow.opened_at, DisputeRow.dispute_id)
    )
    return tuple(dispute_from(row) for row in rows)


def dispute_from(row: DisputeRow) -> Dispute:
    """Read a row."""
    return Dispute(
        row.dispute_id,
        row.session_id,
        row.account_id,
        row.sku,
        row.claimed_quantity,
        row.message,
        DisputeStatus(row.status),
        row.outcome,
        row.opened_at,
        row.settled_at,
    )


def machine_cart(repository: Repository, session_id: UUID) -> Cart:
    """A visit's cart as the machine had it, without what decisions changed."""
    decided = {decision.decision_id for decision in decisions_of(repository, session_id)}
    return Cart.of(event for event in repository.cart_events(session_id) if event.cause_id not in decided)


class Decisions:
    """Writes decisions and carries them out.

    Args:
        database: The shop's.
        checkout: Corrects visits.
        now: The time, timezone-aware.
    """

    def __init__(self, database: Database, checkout: Checkout, now: Callable[[], datetime]) -> None:
        self._database = database
        self._checkout = checkout
        self._now = now

    def write(self, repository: Repository, decision: Decision, session: Session, *, reopen: bool = False) -> None:
        """Write a decision, in the transaction of whoever decided; call ``carry_out`` after it.

        Args:
            repository: The transaction; it has locked the visit.
            decision: What was decided.
            session: The visit.
            reopen: Decide anew about a visit that waits for no decision.

        Raises:
            NotUnderReview: The visit waits for no decision, or one about it is being carried out.
            DecisionRefused: The note is too long.
        """
        if len(decision.note) > LONGEST_NOTE:
            raise DecisionRefused(f"note: expected at most {LONGEST_NOTE} characters, got {len(decision.note)}")
        before = decisions_of(repository, session.session_id)
        if is_waiting(repository, [earlier.key for earlier in before]):
            raise NotUnderReview(f"visit {session.session_id}: a decision about it is being carried out")
        awaited = session.status is SessionStatus.NEEDS_REVIEW or decision.dispute_id is not None
        if not awaited:
            awaited = session.status in _REOPENED and any(
                dispute.status is DisputeStatus.IN_REVIEW for dispute in disputes_of(repository, session.session_id)
            )
        if not awaited and not (reopen and session.status in _REOPENED):
            raise NotUnderReview(f"visit {session.session_id} is {session.status} and waits for no decision")
        repository.sql.add(
            DecisionRow(
                decision_id=decision.decision_id,
                session_id=decision.session_id,
                dispute_id=decision.dispute_id,
                reviewer_id=decision.reviewer_id,
                lines=[{"sku": sku, "quantity": quantity} for sku, quantity in decision.lines],
                note=decision.note,
                decided_at=decision.decided_at,
            )
        )
        repository.sql.flush()
        audit.record(
            repository,
            decision.reviewer_id,
            "visit.decided",
            f"session:{decision.session_id}",
            {
                "decision_id": str(decision.decision_id),
                "dispute_id": None if decision.dispute_id is None else str(decision.dispute_id),
                "reopened": not awaited,
            },
            decision.decided_at,
        )
        at = decision.decided_at
        payload = {"decision_id": str(decision.decision_id)}
        put(repository, Effect.DECISION, decision.key, payload, at, at + _LEFT_TO_CALLER)

    def carry_out(self, decision_id: UUID) -> Outcome:
        """Correct a visit as it was decided, settle the questions that this answers, and have the shopper told.

        Again is no harm.

        Returns:
            How the visit stands then; as it was before if the payment's outcome is not known yet.

        Raises:
            DecisionRefused: It can never be carried out; a person has to decide anew.
        """
        with self._database.reading() as repository:
            row = repository.sql.get(DecisionRow, decision_id)
            if row is None:
                raise ValueError(f"there is no decision {decision_id}")
            decision = _decision(row)
        try:
            outcome = self._corrected(decision)
        except PaymentUnknown as error:
            # The outbox goes on with it.
            _log.warning("%s: %s", decision.key, error)
            known = self._checkout.outcome(decision.session_id)
            if known is None:
                raise
            return known
        except (StoreError, ValueError) as error:
            if isinstance(error, StoreError) and error.status >= 500:
                raise
            with self._database.transaction() as repository:
                give_up(repository, decision.key, self._now(), f"{type(error).__name__}: {error}")
            raise DecisionRefused(f"decision {decision_id} cannot be carried out: {error}") from error
        self._settle(decision, outcome)
        return outcome

    def handlers(self) -> dict[Effect, Handler]:
        """What the sweeper calls for decisions that were left behind."""
        return {Effect.DECISION: self._carry_out_again}

    def _carry_out_again(self, message: Message) -> None:
        try:
            self.carry_out(UUID(message.payload["decision_id"]))
        except DecisionRefused as error:
            raise GivenUpError(str(error)) from error
        with self._database.reading() as repository:
            if is_waiting(repository, [message.key]):
                raise NotYetError("the payment's outcome is not known")

    def _corrected(self, decision: Decision) -> Outcome:
        known = self._checkout.outcome(decision.session_id)
        cart = self._checkout.cart(decision.session_id)
        stands = {line.sku: line.quantity for line in cart.lines} == dict(decision.lines)
        if known is not None and stands and known.status in _REOPENED:
            # It is as it was billed, so there is no new receipt either.
            return known
        reason = "a person looked at it" if decision.reviewer_id is not None else "settled at once"
        return self._checkout.correct(
            decision.session_id, dict(decision.lines), decision.decision_id, decision.decided_at, reason
        )

    def _settle(self, decision: Decision, outcome: Outcome) -> None:
        """Write what became of it, and have it told, once."""
        at = self._now()
        lines = dict(decision.lines)
        with self._database.transaction() as repository:
            session = repository.session(decision.session_id)
            if not is_waiting(repository, [decision.key]):
                return
            # A line that is gone has its name on an earlier receipt.
            names = {line.sku: line.name for receipt in repository.receipts(session) for line in receipt.lines}
            difference_minor = _difference_minor(repository, session, decision)
            told = {
                "at": at.isoformat(),
                "session_id": str(session.session_id),
                "shopper_id": session.shopper_id,
                "decision_id": str(decision.decision_id),
            }
            for dispute in disputes_of(repository, session.session_id):
                if decision.dispute_id is None:
                    answered = dispute.status is DisputeStatus.IN_REVIEW
                else:
                    answered = dispute.dispute_id == decision.dispute_id
                if not answered or dispute.status is DisputeStatus.SETTLED:
                    continue
                sentence = _sentence(
                    decision,
                    names.get(dispute.sku, dispute.sku),
                    lines.get(dispute.sku, 0),
                    difference_minor,
                    outcome.receipt.currency,
                )
                repository.sql.execute(
                    update(DisputeRow)
                    .where(DisputeRow.dispute_id == dispute.dispute_id)
                    .values(status=DisputeStatus.SETTLED.value, outcome=sentence, settled_at=at)
                )
                about = told | {"type": "dispute.settled", "dispute_id": str(dispute.dispute_id), "sku": dispute.sku}
                put(repository, Effect.WEBHOOK, f"webhook:dispute.settled:{dispute.dispute_id}", about, at)
                letter = {"letter": "dispute_settled", "dispute_id": str(dispute.dispute_id)}
                put(repository, Effect.MAIL, f"mail:dispute_settled:{dispute.dispute_id}", letter, at)
            if decision.dispute_id is None:
                about = told | {"type": "review.decided", "status": session.status.value}
                put(repository, Effect.WEBHOOK, f"webhook:review.decided:{decision.decision_id}", about, at)
                letter = {"letter": "review_decided", "session_id": str(session.session_id)}
                put(repository, Effect.MAIL, f"mail:review_decided:{decision.decision_id}", letter, at)
            finish(repository, decision.key, at)


def _difference_minor(repository: Repository, session: Session, decision: Decision) -> int:
    """By how much a decision made a visit dearer; below 0 for cheaper, 0 where it changed nothing."""
    sequence = repository.sql.scalar(
        select(ReceiptRow.sequence).where(
            ReceiptRow.session_id == session.session_id, ReceiptRow.cause_id == decision.decision_id
        )
    )
    if sequence is None:
        return 0
    after, before = repository.receipt(session, sequence), repository.receipt(session, sequence - 1)
    if after is None or before is None or after.total_minor is None or before.total_minor is None:
        return 0
    return after.total_minor - before.total_minor


def _sentence(decision: Decision, name: str, quantity: int, difference_minor: int, currency: str) -> str:
    """What the shopper is told of a question that is settled."""
    stands = f"{quantity} x {name} on your receipt" if quantity else f"no {name} on your receipt"
    money = ""
    if difference_minor:
        amount = f"{format_amount(abs(difference_minor), currency)} {currency}"
        money = f", which makes it {amount} {'less' if difference_minor < 0 else 'more'}"
    if decision.reviewer_id is None:
        return f"The store takes your word for it: there is now {stands}{money}."
    return f"A person looked at what the store saw: there is {stands}{money}."


def _decision(row: DecisionRow) -> Decision:
    return Decision(
        row.decision_id,
        row.session_id,
        row.dispute_id,
        row.reviewer_id,
        tuple((line["sku"], line["quantity"]) for line in row.lines),
        row.note,
        row.decided_at,
    )
