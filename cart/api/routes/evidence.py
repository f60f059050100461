"""What the store saw of a visit, for its shopper: their own interactions, and nothing of anybody else."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field
from sqlalchemy import select

from cart.api.conditions import PRIVATE
from cart.api.problems import ProblemError
from cart.api.routes.receipts import ReceiptId, own_receipt
from cart.api.routing import Caller, SeesAll, ShopRoute, TheShop
from cart.api.schemas import Shown, problems
from cart.api.shop import Shop
from cart.decisions import decisions_of
from cart.errors import EvidenceNotFound, SessionNotFound
from cart.events import CartEvent
from cart.evidence import Evidence, EvidenceKind, EvidencePiece, pieces_of
from cart.repository import Repository
from cart.sessions import Session
from cart.tables import ProductRow

router = APIRouter(route_class=ShopRoute, tags=["receipts"])


class CurveShown(Shown):
    """What the shelf's scales read, for drawing."""

    times_s: list[float] = Field(description="Seconds since the hand came; below 0 before it.")
    grams: list[float] = Field(description="Against the level before.")


class SeenShown(Shown):
    """Something that the store saw a shopper take or put back."""

    evidence_id: UUID
    interaction_id: UUID
    sku: str | None = Field(description="Null where the store does not know what it was.")
    name: str | None
    kind: Literal["pick", "put_back"]
    quantity: int
    probability: float = Field(description="How sure the store is of it, 0 to 1.")
    place: str
    started_at: datetime
    ended_at: datetime
    cameras: list[str]
    curve: CurveShown | None = Field(description="Null where no scale spoke.")
    picture_url: str | None = Field(description="Where its picture is, relative; null if there is none.")


class ReceiptEvidence(Shown):
    """What was seen of a visit, in the order in which it happened."""

    items: list[SeenShown]


@router.get("/v1/receipts/{receipt_id}/evidence", responses=problems(SessionNotFound, 503))
def list_receipt_evidence(receipt_id: ReceiptId, shop: TheShop, caller: Caller, sees_all: SeesAll) -> ReceiptEvidence:
    """Read what the store saw of a visit: what was taken and put back, when, how sure that is, and what scales read."""
    _evidence(shop)
    session, _ = own_receipt(shop, caller, receipt_id, sees_all=sees_all, look="evidence")
    with shop.database.reading() as repository:
        pieces = pieces_of(repository, session.session_id, shop.now())
        seen = _seen(repository, session, pieces)
        wanted = {sku for sku, _, _ in seen.values() if sku is not None}
        rows = repository.sql.scalars(select(ProductRow).where(ProductRow.sku.in_(wanted)))
        names = {row.sku: row.name for row in rows}
    pictured = {piece.interaction_id for piece in pieces if piece.kind is EvidenceKind.HAND}
    return ReceiptEvidence(
        items=[
            _item(piece, seen[piece.interaction_id], names, receipt_id if piece.interaction_id in pictured else None)
            for piece in pieces
            if piece.kind is EvidenceKind.INTERACTION and piece.interaction_id in seen
        ]
    )


@router.get(
    "/v1/receipts/{receipt_id}/evidence/{evidence_id}/picture",
    response_model=None,
    responses={
        200: {
            "description": "The picture.",
            "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(SessionNotFound, EvidenceNotFound, 503),
    },
)
def read_receipt_picture(
    receipt_id: ReceiptId, evidence_id: UUID, shop: TheShop, caller: Caller, sees_all: SeesAll
) -> Response:
    """Get the picture of something taken or put back, blurred but for the surroundings of the hand."""
    evidence = _evidence(shop)
    session, _ = own_receipt(shop, caller, receipt_id, sees_all=sees_all, look="evidence")
    with shop.database.reading() as repository:
        pieces = pieces_of(repository, session.session_id, shop.now())
        seen = _seen(repository, session, pieces)
    asked = [piece for piece in pieces if piece.evidence_id == evidence_id and piece.interaction_id in seen]
    found = [
        piece
        for piece in pieces
        if piece.kind is EvidenceKind.HAND and any(piece.interaction_id == each.interaction_id for each in asked)
    ]
    if not found:
        raise EvidenceNotFound(f"there is no picture of {evidence_id}")
    media_type, media = evidence.media(found[0].evidence_id)
    return Response(media, 200, {"Cache-Control": PRIVATE}, media_type)


def _evidence(shop: Shop) -> Evidence:
    if shop.evidence is None:
        raise ProblemError(503, "this store keeps no evidence")
    return shop.evidence


_Told = tuple[str | None, int, float]
"""What it was, how many units, and how sure that is."""


def _seen(repository: Repository, session: Session, pieces: tuple[EvidencePiece, ...]) -> Mapping[UUID, _Told]:
    """The interactions that a visit's shopper is told of: what went into their cart, and what was most probably theirs.

    What was most probably somebody else's is kept as evidence of both visits, but it tells of the other one.
    """
    decided = {decision.decision_id for decision in decisions_of(repository, session.session_id)}
    booked: dict[UUID, CartEvent] = {}
    for event in repository.cart_events(session.session_id):
        if event.cause_id is not None and event.cause_id not in decided:
            booked.setdefault(event.cause_id, event)
    told: dict[UUID, _Told] = {}
    for piece in pieces:
        if piece.kind is not EvidenceKind.INTERACTION:
            continue
        event_of_it = booked.get(piece.interaction_id)
        candidates = piece.facts.candidates
        if event_of_it is not None:
            told[piece.interaction_id] = (event_of_it.sku, abs(event_of_it.quantity), event_of_it.probability)
        elif candidates and candidates[0].shopper == session.shopper_id:
            told[piece.interaction_id] = (candidates[0].sku, candidates[0].quantity, candidates[0].probability)
    return told


def _item(piece: EvidencePiece, told: _Told, names: Mapping[str, str], picture_of: str | None) -> SeenShown:
    facts = piece.facts
    sku, quantity, probability = told
    return SeenShown(
        evidence_id=piece.evidence_id,
        interaction_id=piece.interaction_id,
        sku=sku,
        name=None if sku is None else names.get(sku, sku),
        kind="pick" if facts.kind == "pick" else "put_back",
        quantity=quantity,
        probability=probability,
        place=facts.place,
        started_at=facts.started_at,
        ended_at=facts.ended_at,
        cameras=list(facts.cameras),
        curve=None
        if facts.weight is None
        else CurveShown(times_s=list(facts.weight.times_s), grams=list(facts.weight.grams)),
        picture_url=None if picture_of is None else f"/v1/receipts/{picture_of}/evidence/{piece.evidence_id}/picture",
    )
