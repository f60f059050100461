"""Reviews: visits that wait for a person, what is known of each, and what the person decides."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import and_, func, or_, select, union_all

from cart import audit
from cart.cart import Cart
from cart.checkout import Checkout, Outcome
from cart.decisions import (
    Decision,
    Decisions,
    Dispute,
    DisputeStatus,
    checked_lines,
    decisions_of,
    disputes_of,
    machine_cart,
)
from cart.errors import DecisionRefused, NotUnderReview
from cart.events import CartEvent, ReviewFlag
from cart.evidence import EvidencePiece, pieces_of
from cart.questions import UNKNOWN, Question
from cart.receipts import Receipt
from cart.repository import Database, Repository
from cart.sessions import Session, SessionStatus
from cart.tables import DisputeRow, SessionRow
from cart.tables.base import UtcDateTime

LONGEST_PAGE = 200


@dataclass(frozen=True, slots=True)
class WaitingVisit:
    """A visit in the queue.

    Attributes:
        session: The visit.
        waiting_since: Since when a person has to look at it, timezone-aware.
        reasons: Why, one sentence each, oldest first.
        open_questions: How many questions the machine asks about it.
        open_disputes: How many questions its shopper asks about it.
    """

    session: Session
    waiting_since: datetime
    reasons: tuple[str, ...]
    open_questions: int
    open_disputes: int


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """A part of the queue, the longest waiting first.

    Attributes:
        visits: What is in it.
        after: Pass it to get the next page; None on the last one.
    """

    visits: tuple[WaitingVisit, ...]
    after: str | None


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A question of the machine about a visit.

    Attributes:
        index: Its number within the visit, from 0; it does not change.
        question: What is asked, and what it may be.
        cause_id: The interaction behind it; None if there is none.
        reason: Why it is asked, one sentence.
    """

    index: int
    question: Question
    cause_id: UUID | None
    reason: str


@dataclass(frozen=True, slots=True)
class ReviewCase:
    """Everything that is known of a visit, for whoever decides about it.

    Attributes:
        session: The visit.
        flags: Why a person should look, oldest first.
        questions: What the machine asks.
        disputes: What the shopper asks, oldest first.
        machine_cart: The cart as the machine had it.
        cart: The cart as it stands, with earlier decisions.
        receipt: The receipt as it stands.
        evidence: What the store saw, in the order in which it happened.
        decisions: What was decided before, oldest first.
        waits: Whether it waits for a decision.
        counted: What the machine put into its cart because of each interaction, units by sku; an answer to a question
            about the interaction takes its place.
    """

    session: Session
    flags: tuple[ReviewFlag, ...]
    questions: tuple[OpenQuestion, ...]
    disputes: tuple[Dispute, ...]
    machine_cart: Cart
    cart: Cart
    receipt: Receipt | None
    evidence: tuple[EvidencePiece, ...]
    decisions: tuple[Decision, ...]
    waits: bool
    counted: Mapping[UUID, Mapping[str, int]]


class Reviews:
    """The queue of visits that wait for a person.

    Args:
        database: The shop's.
        checkout: Corrects visits.
        now: The time, timezone-aware.
        new_id: Makes ids of decisions.
    """

    def __init__(
        self,
        database: Database,
        checkout: Checkout,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._database = database
        self._checkout = checkout
        self._now = now
        self._new_id = new_id
        self._decisions = Decisions(database, checkout, now)

    def queue(self, after: str | None = None, limit: int = 50) -> ReviewPage:
        """What waits, the longest waiting first.

        Args:
            after: A page's ``after``, to go on from there; None to begin.
            limit: At most so many, 1 to 200.

        Raises:
            ValueError: ``after`` is not from a page, or the limit is out of bounds.
        """
        if not 1 <= limit <= LONGEST_PAGE:
            raise ValueError(f"limit: expected 1 to {LONGEST_PAGE}, got {limit}")
        both = union_all(
            select(SessionRow.session_id, SessionRow.closed_at.label("since")).where(
                SessionRow.status == SessionStatus.NEEDS_REVIEW.value
            ),
            select(DisputeRow.session_id, DisputeRow.opened_at.label("since")).where(
                DisputeRow.status == DisputeStatus.IN_REVIEW.value
            ),
        ).subquery()
        since = func.min(both.c.since, type_=UtcDateTime()).label("since")
        grouped = select(both.c.session_id, since).group_by(both.c.session_id).subquery()
        query = select(grouped.c.session_id, grouped.c.since).order_by(grouped.c.since, grouped.c.session_id)
        if after is not None:
            from_at, from_id = _read_cursor(after)
            query = query.where(
                or_(grouped.c.since > from_at, and_(grouped.c.since == from_at, grouped.c.session_id > from_id))
            )
        with self._database.reading() as repository:
            rows = repository.sql.execute(query.limit(limit + 1)).all()
            visits = tuple(self._waiting(repository, session_id, at) for session_id, at in rows[:limit])
        more = len(rows) > limit
        return ReviewPage(visits, _cursor(visits[-1]) if more else None)

    def case(self, session_id: UUID, reader_id: UUID | None = None) -> ReviewCase:
        """Everything that is known of a visit.

        Args:
            session_id: The visit.
            reader_id: Who looks; written into the audit log, for these are somebody's records. None for the store
                itself.

        Raises:
            SessionNotFound: There is no such visit.
        """
        at = self._now()
        with self._database.reading() as repository:
            session = repository.session(session_id)
            flags = repository.flags(session_id)
            disputes = disputes_of(repository, session_id)
            case = ReviewCase(
                session,
                flags,
                questions_of(flags),
                disputes,
                machine_cart(repository, session_id),
                Cart.of(repository.cart_events(session_id)),
                None if session.status is SessionStatus.OPEN else repository.receipt(session),
                pieces_of(repository, session_id, at),
                decisions_of(repository, session_id),
                session.status is SessionStatus.NEEDS_REVIEW
                or any(dispute.status is DisputeStatus.IN_REVIEW for dispute in disputes),
                _counted(repository.cart_events(session_id)),
            )
        owner = account_of(session)
        if reader_id is not None and owner is not None:
            with self._database.transaction() as repository:
                audit.looked(repository, reader_id, owner, f"session:{session_id}", at)
        return case

    def decide(
        self,
        session_id: UUID,
        reviewer_id: UUID,
        lines: Mapping[str, int],
        note: str = "",
        *,
        reopen: bool = False,
    ) -> Outcome:
        """Say what a visit's cart was. It is charged, or what was charged too much goes back, and the shopper is told.

        Questions of the shopper that wait for a person are answered by it.

        Args:
            session_id: The visit.
            reviewer_id: Who decides.
            lines: The whole cart, units by sku; empty for nothing.
            note: For the record; the shopper does not get it.
            reopen: Decide anew about a visit that is decided already.

        Returns:
            How the visit stands then.

        Raises:
            SessionNotFound: There is no such visit.
            NotUnderReview: It waits for no decision, or somebody else was faster.
            DecisionRefused: The lines are no cart, or cannot be charged.
        """
        return self._decide(session_id, reviewer_id, lambda _: lines, note, reopen=reopen)

    def answer(
        self,
        session_id: UUID,
        reviewer_id: UUID,
        answers: Mapping[int, int],
        note: str = "",
        *,
        reopen: bool = False,
    ) -> Outcome:
        """Decide by answering the machine's questions; see ``decide``.

        Args:
            session_id: The visit.
            reviewer_id: Who decides.
            answers: For every question, by its index, the index of its right answer.
            note: For the record; the shopper does not get it.
            reopen: Decide anew about a visit that is decided already.

        Raises:
            SessionNotFound: There is no such visit.
            NotUnderReview: It waits for no decision, or somebody else was faster.
            DecisionRefused: An answer is missing, does not exist, names no product, or leaves less than nothing.
        """
        return self._decide(
            session_id,
            reviewer_id,
            lambda repository: lines_by_answers(repository, session_id, answers),
            note,
            reopen=reopen,
        )

    def _decide(
        self,
        session_id: UUID,
        reviewer_id: UUID,
        lines: Callable[[Repository], Mapping[str, int]],
        note: str,
        *,
        reopen: bool,
    ) -> Outcome:
        decision_id = self._new_id()
        with self._database.transaction() as repository:
            session = repository.session(session_id)
            if session.status is SessionStatus.OPEN:
                raise NotUnderReview(f"visit {session_id} is not over yet")
            decision = Decision(
                decision_id, session_id, None, reviewer_id, checked_lines(lines(repository)), note, self._now()
            )
            self._decisions.write(repository, decision, session, reopen=reopen)
        return self._decisions.carry_out(decision_id)

    def _waiting(self, repository: Repository, session_id: UUID, since: datetime) -> WaitingVisit:
        flags = repository.flags(session_id)
        disputes = sum(dispute.status is DisputeStatus.IN_REVIEW for dispute in disputes_of(repository, session_id))
        reasons = tuple(dict.fromkeys(flag.reason for flag in flags))
        return WaitingVisit(repository.session(session_id), since, reasons, len(questions_of(flags)), disputes)


def questions_of(flags: tuple[ReviewFlag, ...]) -> tuple[OpenQuestion, ...]:
    """The questions of a visit's flags, each once for each interaction."""
    found: dict[tuple[UUID | None, Question], str] = {}
    for flag in flags:
        if flag.question is not None:
            found.setdefault((flag.cause_id, flag.question), flag.reason)
    return tuple(
        OpenQuestion(index, question, cause_id, reason)
        for index, ((cause_id, question), reason) in enumerate(found.items())
    )


def lines_by_answers(repository: Repository, session_id: UUID, answers: Mapping[int, int]) -> dict[str, int]:
    """The cart that answers to the machine's questions give.

    What the machine put into the cart because of an interaction that was asked about gives way to the answer; the rest
    of its cart stays. Two questions about one interaction that get the same answer count once.

    Raises:
        DecisionRefused: An answer is missing, does not exist, names no product, or leaves less than nothing.
    """
    questions = questions_of(repository.flags(session_id))
    if not questions:
        raise DecisionRefused(f"visit {session_id}: nothing is asked about it, expected the lines of its cart")
    missing = [question.index for question in questions if question.index not in answers]
    unknown = sorted(answers.keys() - {question.index for question in questions})
    if missing or unknown:
        raise DecisionRefused(
            f"expected answers to questions 0 to {len(questions) - 1}, {missing or unknown} do not fit"
        )
    said: dict[UUID | None, dict[tuple[str, int], None]] = {}
    for question in questions:
        chosen = answers[question.index]
        if not 0 <= chosen < len(question.question.answers):
            raise DecisionRefused(
                f"question {question.index}: expected an answer from 0 to {len(question.question.answers) - 1},"
                f" got {chosen}"
            )
        answer = question.question.answers[chosen]
        if answer.text == UNKNOWN:
            raise DecisionRefused(f"question {question.index}: its answer names no product, give the cart's lines")
        because = said.setdefault(question.cause_id, {})
        if answer.sku is not None:
            because[answer.sku, answer.quantity] = None
    decided = {decision.decision_id for decision in decisions_of(repository, session_id)}
    lines: dict[str, int] = {}
    for event in repository.cart_events(session_id):
        asked_about = event.cause_id is not None and event.cause_id in said
        if event.cause_id not in decided and not asked_about:
            lines[event.sku] = lines.get(event.sku, 0) + event.quantity
    for because in said.values():
        for sku, quantity in because:
            lines[sku] = lines.get(sku, 0) + quantity
    return lines


def _counted(events: Iterable[CartEvent]) -> dict[UUID, dict[str, int]]:
    found: dict[UUID, dict[str, int]] = {}
    for event in events:
        if event.cause_id is not None:
            because = found.setdefault(event.cause_id, {})
            because[event.sku] = because.get(event.sku, 0) + event.quantity
    return found


def account_of(session: Session) -> UUID | None:
    """The account behind a visit; None for somebody without one."""
    try:
        return UUID(session.shopper_id) if session.has_account else None
    except ValueError:
        return None


def _cursor(visit: WaitingVisit) -> str:
    text = f"{visit.waiting_since.isoformat()}|{visit.session.session_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, _, session_id = text.partition("|")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError("no timezone")
        return moment, UUID(session_id)
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise ValueError("after: expected what a page of the queue gave") from error
