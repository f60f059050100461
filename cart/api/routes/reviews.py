"""Reviews: visits that wait for a person, what is known of them, decisions; and questions of shoppers."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field, Strict, model_validator
from sqlalchemy import and_, or_, select

from cart import audit
from cart.api.conditions import PRIVATE
from cart.api.paging import USUAL_ENTRIES, After, Limit, Listing, Page, decode_cursor, encode_cursor, moment_and_id
from cart.api.problems import ProblemError
from cart.api.routes.receipts import DisputeShown, dispute_shown, disputes_of_shop
from cart.api.routes.visits import SessionShown, session_shown
from cart.api.routing import Caller, SeesAll, ShopRoute, TheShop
from cart.api.schemas import Body, Note, Quantity, Shown, Sku, problems
from cart.api.shop import Shop
from cart.cart import Cart
from cart.checkout import Outcome
from cart.decisions import DisputeStatus, dispute_from
from cart.errors import (
    DecisionRefused,
    DisputeNotFound,
    EvidenceNotFound,
    NotUnderReview,
    PriceUnknown,
    SessionNotFound,
    VisitUnderWay,
)
from cart.evidence import MEDIA_TYPES, Evidence, EvidencePiece
from cart.reviews import ReviewCase, Reviews, WaitingVisit, account_of
from cart.sessions import SessionStatus
from cart.tables import DisputeRow

router = APIRouter(route_class=ShopRoute, tags=["reviews"])

_MOST_LINES = 200
_MOST_ANSWERS = 200


class Waiting(Shown):
    """A visit that waits for a person."""

    session_id: UUID
    status: SessionStatus
    shopper_id: str
    closed_at: datetime | None
    waiting_since: datetime
    reasons: list[str] = Field(description="Why, one sentence each.")
    open_questions: int = Field(description="Questions that the machine asks about it.")
    open_disputes: int = Field(description="Questions that its shopper asks about it.")


class CartLineOnly(Shown):
    """Units of one product."""

    sku: str
    quantity: int
    probability: float


class AnswerShown(Shown):
    """What the answer to a question may be."""

    text: str
    sku: str | None
    quantity: int
    probability: float


class QuestionShown(Shown):
    """A question of the machine."""

    index: int
    text: str
    reason: str
    interaction_id: UUID | None
    answers: list[AnswerShown]
    counted: dict[str, int] = Field(
        description="Units by sku that the machine put into its cart because of that interaction; the answer takes"
        " their place."
    )


class FlagShown(Shown):
    """A reason why a person should look."""

    reason: str
    interaction_id: UUID | None
    raised_at: datetime


class EvidenceShown(Shown):
    """A piece of what the store saw."""

    evidence_id: UUID
    interaction_id: UUID
    kind: str
    facts: dict[str, Any] = Field(description="Kind, place, time, candidates, weight curve.")
    media_type: str | None
    media_url: str | None = Field(description="Where its picture or clip is, relative.")
    captured_at: datetime
    expires_at: datetime


class DecisionShown(Shown):
    """What was decided before."""

    decision_id: UUID
    dispute_id: UUID | None
    reviewer_id: UUID | None = Field(description="Null for the machine.")
    lines: dict[str, int]
    note: str
    decided_at: datetime


class Case(Shown):
    """Everything that is known of a visit."""

    session: SessionShown
    waits: bool = Field(description="Whether it waits for a decision.")
    flags: list[FlagShown]
    questions: list[QuestionShown]
    disputes: list[DisputeShown]
    machine_cart: list[CartLineOnly] = Field(description="As the machine had it.")
    cart: list[CartLineOnly] = Field(description="As it stands.")
    total_minor: int | None
    currency: str
    evidence: list[EvidenceShown]
    decisions: list[DecisionShown]


class DecidedLine(Body):
    """A line of the cart as a person says it was."""

    sku: Sku
    quantity: Quantity


class ChosenAnswer(Body):
    """The right answer to a question of the machine."""

    question: Annotated[int, Strict(), Field(ge=0, le=10_000)]
    answer: Annotated[int, Strict(), Field(ge=0, le=100)]


class DecisionBody(Body):
    """What a visit's cart was: its lines, or answers to all of the machine's questions."""

    lines: Annotated[list[DecidedLine], Field(max_length=_MOST_LINES)] | None = Field(
        default=None, description="The whole cart; empty for nothing."
    )
    answers: Annotated[list[ChosenAnswer], Field(min_length=1, max_length=_MOST_ANSWERS)] | None = None
    note: Note = Field(default="", description="For the record; the shopper does not get it.")
    reopen: Annotated[bool, Strict()] = Field(default=False, description="Decide anew about what is decided.")

    @model_validator(mode="after")
    def _is_one_of_two(self) -> "DecisionBody":
        if (self.lines is None) == (self.answers is None):
            raise ValueError("expected either lines or answers")
        if self.lines is not None and len({line.sku for line in self.lines}) < len(self.lines):
            raise ValueError("lines: expected each sku once")
        if self.answers is not None and len({each.question for each in self.answers}) < len(self.answers):
            raise ValueError("answers: expected one for each question")
        return self


class OutcomeShown(Shown):
    """How a visit stands now."""

    session_id: UUID
    status: SessionStatus
    receipt_id: str
    receipt_number: int | None
    total_minor: int | None
    paid_minor: int = Field(description="What was taken and not given back.")
    currency: str


class Settlement(Body):
    """The answer to a question about a line."""

    quantity: Quantity = Field(description="How many units of the product the shopper has, as the evidence shows.")
    note: Note = Field(default="", description="For the record; the shopper does not get it.")


@router.get("/v1/reviews", responses=problems(503))
def list_reviews(request: Request, shop: TheShop, cursor: After = None, limit: Limit = USUAL_ENTRIES) -> Page[Waiting]:
    """List what waits for a person, the longest waiting first."""
    # The queue has cursors of its own; ours hold them, so that one of another list is refused.
    after = None if cursor is None else str(decode_cursor("reviews", cursor, (str,))[0])
    try:
        found = _reviews(shop).queue(after, limit)
    except ValueError:
        raise ProblemError(400, "cursor: expected a next_cursor of reviews", "cursor") from None
    listing = Listing("reviews", request, limit)
    return listing.with_cursor(
        [_waiting(visit) for visit in found.visits],
        None if found.after is None else encode_cursor("reviews", (found.after,)),
    )


@router.get("/v1/reviews/{session_id}", responses=problems(SessionNotFound, 503))
def read_case(session_id: UUID, shop: TheShop, caller: Caller) -> Case:
    """Read everything that is known of a visit: it is written down who looked."""
    return _case(shop, _reviews(shop).case(session_id, reader_id=caller.account_id))


@router.get(
    "/v1/reviews/{session_id}/evidence/{evidence_id}",
    response_model=None,
    responses={
        200: {
            "description": "The picture or clip.",
            "content": {kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in sorted(MEDIA_TYPES)},
        },
        **problems(SessionNotFound, EvidenceNotFound, 503),
    },
)
def read_evidence(session_id: UUID, evidence_id: UUID, shop: TheShop, caller: Caller) -> Response:
    """Get the picture or clip of a piece of evidence: it is written down who looked."""
    evidence = _evidence(shop)
    session = shop.checkout.session(session_id)
    if all(piece.evidence_id != evidence_id for piece in evidence.of(session_id)):
        raise EvidenceNotFound(f"there is no picture or clip {evidence_id}")
    media_type, media = evidence.media(evidence_id)
    owner = account_of(session)
    if owner is not None:
        with shop.database.transaction() as repository:
            audit.looked(repository, caller.account_id, owner, f"evidence:{evidence_id}", shop.now())
    return Response(media, 200, {"Cache-Control": PRIVATE}, media_type)


@router.post(
    "/v1/reviews/{session_id}/decision",
    responses=problems(SessionNotFound, NotUnderReview, DecisionRefused, PriceUnknown, VisitUnderWay, 503),
)
def decide(session_id: UUID, decision: DecisionBody, shop: TheShop, caller: Caller) -> OutcomeShown:
    """Say what a visit's cart was: it is charged, or what was charged too much goes back, and the shopper is told."""
    reviews = _reviews(shop)
    if decision.answers is not None:
        answers = {each.question: each.answer for each in decision.answers}
        outcome = reviews.answer(session_id, caller.account_id, answers, decision.note, reopen=decision.reopen)
    else:
        lines = {line.sku: line.quantity for line in decision.lines or ()}
        outcome = reviews.decide(session_id, caller.account_id, lines, decision.note, reopen=decision.reopen)
    return outcome_shown(outcome)


@router.get("/v1/disputes", responses=problems(503))
def list_disputes(
    request: Request,
    shop: TheShop,
    caller: Caller,
    sees_all: SeesAll,
    cursor: After = None,
    limit: Limit = USUAL_ENTRIES,
    status: DisputeStatus | None = None,
    mine: bool = False,
) -> Page[DisputeShown]:
    """List questions about lines, newest first: one's own, or, for reviewers, everybody's."""
    after = moment_and_id("disputes", cursor)
    query = select(DisputeRow).order_by(DisputeRow.opened_at.desc(), DisputeRow.dispute_id.desc())
    if mine or not sees_all:
        query = query.where(DisputeRow.account_id == caller.account_id)
    if status is not None:
        query = query.where(DisputeRow.status == status.value)
    if after is not None:
        at, dispute_id = after
        query = query.where(
            or_(DisputeRow.opened_at < at, and_(DisputeRow.opened_at == at, DisputeRow.dispute_id < dispute_id))
        )
    with shop.database.reading() as repository:
        found = [dispute_from(row) for row in repository.sql.scalars(query.limit(limit + 1))]
    return Listing("disputes", request, limit).page(
        found, lambda dispute: (dispute.opened_at.isoformat(), str(dispute.dispute_id)), dispute_shown
    )


@router.get("/v1/disputes/{dispute_id}", responses=problems(DisputeNotFound, 503))
def read_dispute(dispute_id: UUID, shop: TheShop, caller: Caller, sees_all: SeesAll) -> DisputeShown:
    """Read a question about a line."""
    dispute = disputes_of_shop(shop).dispute(dispute_id)
    if dispute.account_id != caller.account_id:
        if not sees_all:
            raise DisputeNotFound(f"there is no dispute {dispute_id}")
        with shop.database.transaction() as repository:
            audit.looked(repository, caller.account_id, dispute.account_id, f"dispute:{dispute_id}", shop.now())
    return dispute_shown(dispute)


@router.post(
    "/v1/disputes/{dispute_id}/settlement",
    responses=problems(DisputeNotFound, NotUnderReview, DecisionRefused, PriceUnknown, VisitUnderWay, 503),
)
def settle(dispute_id: UUID, settlement: Settlement, shop: TheShop, caller: Caller) -> DisputeShown:
    """Answer a question that was handed to a person."""
    return dispute_shown(
        disputes_of_shop(shop).settle(dispute_id, caller.account_id, settlement.quantity, settlement.note)
    )


def outcome_shown(outcome: Outcome) -> OutcomeShown:
    """Tell of how a visit stands."""
    receipt = outcome.receipt
    return OutcomeShown(
        session_id=outcome.session.session_id,
        status=outcome.status,
        receipt_id=f"{receipt.session_id}-{receipt.sequence}",
        receipt_number=receipt.receipt_number,
        total_minor=receipt.total_minor,
        paid_minor=outcome.paid_minor,
        currency=receipt.currency,
    )


def _reviews(shop: Shop) -> Reviews:
    if shop.reviews is None:
        raise ProblemError(503, "this store reviews nothing")
    return shop.reviews


def _evidence(shop: Shop) -> Evidence:
    if shop.evidence is None:
        raise ProblemError(503, "this store keeps no evidence")
    return shop.evidence


def _waiting(visit: WaitingVisit) -> Waiting:
    return Waiting(
        session_id=visit.session.session_id,
        status=visit.session.status,
        shopper_id=visit.session.shopper_id,
        closed_at=visit.session.closed_at,
        waiting_since=visit.waiting_since,
        reasons=list(visit.reasons),
        open_questions=visit.open_questions,
        open_disputes=visit.open_disputes,
    )


def _lines(cart: Cart) -> list[CartLineOnly]:
    return [CartLineOnly(sku=line.sku, quantity=line.quantity, probability=line.probability) for line in cart.lines]


def _piece(piece: EvidencePiece) -> EvidenceShown:
    return EvidenceShown(
        evidence_id=piece.evidence_id,
        interaction_id=piece.interaction_id,
        kind=piece.kind.value,
        facts=piece.facts.as_json(),
        media_type=piece.media_type,
        media_url=None if piece.media_type is None else f"/v1/reviews/{piece.session_id}/evidence/{piece.evidence_id}",
        captured_at=piece.captured_at,
        expires_at=piece.expires_at,
    )


def _case(shop: Shop, case: ReviewCase) -> Case:
    return Case(
        session=session_shown(shop, case.session),
        waits=case.waits,
        flags=[
            FlagShown(reason=flag.reason, interaction_id=flag.cause_id, raised_at=flag.raised_at) for flag in case.flags
        ],
        questions=[
            QuestionShown(
                index=each.index,
                text=each.question.text,
                reason=each.reason,
                interaction_id=each.cause_id,
                answers=[
                    AnswerShown(
                        text=answer.text, sku=answer.sku, quantity=answer.quantity, probability=answer.probability
                    )
                    for answer in each.question.answers
                ],
                counted=dict(case.counted.get(each.cause_id, {})) if each.cause_id is not None else {},
            )
            for each in case.questions
        ],
        disputes=[dispute_shown(dispute) for dispute in case.disputes],
        machine_cart=_lines(case.machine_cart),
        cart=_lines(case.cart),
        total_minor=None if case.receipt is None else case.receipt.total_minor,
        currency=shop.checkout.currency,
        evidence=[_piece(piece) for piece in case.evidence],
        decisions=[
            DecisionShown(
                decision_id=decision.decision_id,
                dispute_id=decision.dispute_id,
                reviewer_id=decision.reviewer_id,
                lines=dict(decision.lines),
                note=decision.note,
                decided_at=decision.decided_at,
            )
            for decision in case.decisions
        ],
    )
