"""Receipts in every form, questions about their lines, and money given back."""

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field
from sqlalchemy import and_, or_, select

from cart import audit
from cart.accounts import Principal
from cart.api.conditions import NOT_MODIFIED, tag_of, tagged_bytes
from cart.api.negotiation import choose
from cart.api.paging import USUAL_ENTRIES, After, Key, Limit, Listing, Page, decode_cursor
from cart.api.problems import ProblemError
from cart.api.routes.visits import names_of, own_session
from cart.api.routing import Caller, Cause, SeesAll, ShopRoute, TheShop
from cart.api.schemas import Amount, Body, Note, Quantity, Shown, Sku, problems
from cart.api.shop import Shop
from cart.decisions import Dispute, DisputeStatus
from cart.disputes import Disputes
from cart.errors import (
    DisputeRefused,
    EventConflict,
    LineNotFound,
    PaymentUnknown,
    RefundExceedsPayment,
    SessionNotFound,
)
from cart.payments import RefundStatus
from cart.receipt_documents import installed_fonts, receipt_html, receipt_json, receipt_pdf, receipt_text
from cart.receipts import Receipt
from cart.sessions import Session, SessionStatus
from cart.tables import ReceiptRow, SessionRow
from cart.taxes import TaxRule

router = APIRouter(route_class=ShopRoute, tags=["receipts"])

_JSON, _HTML, _PDF, _TEXT = "application/json", "text/html", "application/pdf", "text/plain"
_FORMS = (_JSON, _HTML, _PDF, _TEXT)
# The page has its style in it and needs nothing else.
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"

ReceiptId = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(-[1-9][0-9]{0,5})?$",
        description="The visit's id for its newest receipt, or that with the receipt's sequence: `...-1` is that"
        " of the exit.",
    ),
]


class ReceiptHead(Shown):
    """A receipt in a list."""

    receipt_id: str
    session_id: UUID
    sequence: int = Field(description="1 is made at the exit, each correction makes another.")
    receipt_number: int | None = Field(description="Null unless it is charged.")
    status: SessionStatus
    issued_at: datetime
    total_minor: int | None
    currency: str


class ReceiptLineShown(Shown):
    """A line of a receipt."""

    sku: str
    name: str
    quantity: int
    unit_price_minor: int | None
    amount_minor: int | None
    tax_rate_bp: int
    probability: float = Field(description="How sure the store is, 0 to 1.")


class ReceiptDiscountShown(Shown):
    """What an offer or a coupon takes off, at one tax rate."""

    name: str
    source: str
    tax_rate_bp: int
    amount_minor: int


class ReceiptTaxShown(Shown):
    """The tax of one rate."""

    tax_rate_bp: int
    net_minor: int
    tax_minor: int
    gross_minor: int


class ReceiptShown(Shown):
    """A receipt; amounts are null where a price is not known."""

    version: int
    store: str
    session_id: UUID
    sequence: int
    receipt_number: int | None
    shopper_id: str
    status: SessionStatus
    issued_at: datetime
    currency: str
    tax_rule: TaxRule
    prices_include_tax: bool
    lines: list[ReceiptLineShown]
    discounts: list[ReceiptDiscountShown]
    taxes: list[ReceiptTaxShown] | None
    discount_minor: int
    subtotal_minor: int | None
    tax_minor: int | None
    total_minor: int | None = Field(description="What is to pay.")


class Question(Body):
    """A question about a line."""

    sku: Sku
    claimed_quantity: Quantity = Field(description="How many units one says one has.")
    message: Note = ""


class DisputeShown(Shown):
    """A question about a line of a receipt."""

    dispute_id: UUID
    session_id: UUID
    account_id: UUID
    sku: str
    claimed_quantity: int
    message: str
    status: DisputeStatus
    outcome: str | None = Field(description="The answer; null until it is settled.")
    opened_at: datetime
    settled_at: datetime | None


class RefundWish(Body):
    """Money to give back out of goodwill; the receipt stays as it is."""

    amount_minor: Amount
    reason: Annotated[Note, Field(min_length=1, max_length=500)]


class RefundShown(Shown):
    """Money given back."""

    refund_id: UUID
    session_id: UUID
    amount_minor: int
    currency: str
    status: RefundStatus
    reason: str
    created_at: datetime


def dispute_shown(dispute: Dispute) -> DisputeShown:
    """Tell of a question."""
    return DisputeShown(
        dispute_id=dispute.dispute_id,
        session_id=dispute.session_id,
        account_id=dispute.account_id,
        sku=dispute.sku,
        claimed_quantity=dispute.claimed_quantity,
        message=dispute.message,
        status=dispute.status,
        outcome=dispute.outcome,
        opened_at=dispute.opened_at,
        settled_at=dispute.settled_at,
    )


@router.get("/v1/receipts")
def list_receipts(
    request: Request,
    shop: TheShop,
    caller: Caller,
    sees_all: SeesAll,
    cursor: After = None,
    limit: Limit = USUAL_ENTRIES,
    mine: bool = False,
) -> Page[ReceiptHead]:
    """List receipts, newest first: one's own, or, for those who work on the floor, everybody's."""
    query = (
        select(ReceiptRow.session_id, ReceiptRow.sequence)
        .join(SessionRow, SessionRow.session_id == ReceiptRow.session_id)
        .order_by(ReceiptRow.issued_at.desc(), ReceiptRow.session_id.desc(), ReceiptRow.sequence.desc())
    )
    if mine or not sees_all:
        query = query.where(SessionRow.shopper_id.in_(names_of(caller)))
    if cursor is not None:
        query = query.where(_comes_after(cursor))
    with shop.database.reading() as repository:
        found = []
        for session_id, sequence in repository.sql.execute(query.limit(limit + 1)).all():
            receipt = repository.receipt(repository.session(session_id), sequence)
            if receipt is not None:
                found.append(_head(receipt))
    return Listing("receipts", request, limit).page(found, _key, lambda head: head)


@router.get(
    "/v1/receipts/{receipt_id}",
    response_model=None,
    responses={
        200: {
            "description": "The receipt, in the form that `Accept` asks for.",
            "content": {
                _JSON: {"schema": {"$ref": f"#/components/schemas/{ReceiptShown.__name__}"}},
                _HTML: {"schema": {"type": "string"}},
                _PDF: {"schema": {"type": "string", "contentMediaType": _PDF}},
                _TEXT: {"schema": {"type": "string"}},
            },
        },
        304: NOT_MODIFIED,
        **problems(SessionNotFound, 503, s406="None of the forms is accepted"),
    },
)
def read_receipt(receipt_id: ReceiptId, request: Request, shop: TheShop, caller: Caller, sees_all: SeesAll) -> Response:
    """Read a receipt as JSON, web page, PDF or plain text."""
    media_type = choose(request.headers.get("accept"), _FORMS)
    _, receipt = own_receipt(shop, caller, receipt_id, sees_all=sees_all)
    locale = shop.accounts.account(caller.account_id).locale
    content = json.dumps(receipt_json(receipt, shop.store_name), ensure_ascii=False)
    # Every form is made of just this, so the tag need not wait for the form.
    tag = tag_of(f"{media_type} {locale} {content}")
    match media_type:
        case "application/json":
            body = content.encode()
        case "text/html":
            body = receipt_html(receipt, shop.store_name, locale, shop.zone).encode()
        case "application/pdf":
            fonts = installed_fonts(shop.settings.receipt_font)
            body = receipt_pdf(receipt, shop.store_name, locale, shop.zone, fonts)
        case _:
            body = receipt_text(receipt, shop.store_name, locale, shop.zone).encode()
    response = tagged_bytes(request, body, media_type, tag, vary="Accept, Authorization")
    if media_type == _HTML:
        response.headers["Content-Security-Policy"] = _PAGE_POLICY
    if media_type == _PDF:
        response.headers["Content-Disposition"] = f'inline; filename="receipt-{receipt.sequence}.pdf"'
    return response


@router.post(
    "/v1/receipts/{receipt_id}/disputes",
    status_code=201,
    response_model=DisputeShown,
    responses=problems(SessionNotFound, LineNotFound, DisputeRefused, 503),
)
def ask_about_line(receipt_id: ReceiptId, question: Question, shop: TheShop, caller: Caller) -> Any:
    """Ask about a line of one's own receipt: the machine looks again and settles it, or a person does."""
    session, _ = own_receipt(shop, caller, receipt_id, sees_all=False)
    dispute = disputes_of_shop(shop).open(
        session.session_id, caller.account_id, question.sku, question.claimed_quantity, question.message
    )
    location = {"Location": f"/v1/disputes/{dispute.dispute_id}"}
    return JSONResponse(dispute_shown(dispute).model_dump(mode="json"), 201, location)


@router.post(
    "/v1/sessions/{session_id}/refunds",
    status_code=201,
    responses=problems(SessionNotFound, RefundExceedsPayment, EventConflict, PaymentUnknown),
)
def give_back(session_id: UUID, wish: RefundWish, shop: TheShop, caller: Caller, cause: Cause) -> RefundShown:
    """Give money of a visit back, never more than was taken."""
    refund = shop.checkout.refund(session_id, wish.amount_minor, wish.reason, cause, shop.now())
    with shop.database.transaction() as repository:
        detail = {"amount_minor": refund.amount_minor, "currency": refund.currency, "refund_id": str(refund.refund_id)}
        audit.record(repository, caller.account_id, "refund.given", f"session:{session_id}", detail, shop.now())
    return RefundShown(
        refund_id=refund.refund_id,
        session_id=refund.session_id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        status=refund.status,
        reason=refund.reason,
        created_at=refund.created_at,
    )


def disputes_of_shop(shop: Shop) -> Disputes:
    """Who answers questions about lines."""
    if shop.disputes is None:
        raise ProblemError(503, "this store takes no questions")
    return shop.disputes


def own_receipt(
    shop: Shop, caller: Principal, receipt_id: str, *, sees_all: bool, look: str = "receipt"
) -> tuple[Session, Receipt]:
    """Read a receipt that somebody may see, and its visit.

    Args:
        shop: The store.
        caller: Who.
        receipt_id: The receipt, as in a path.
        sees_all: Whether they see everybody's.
        look: What they look at, for the audit log.

    Raises:
        SessionNotFound: There is no such receipt, or it is none of theirs.
    """
    session_id, _, sequence = receipt_id[:36], receipt_id[36:37], receipt_id[37:]
    session = own_session(shop, caller, UUID(session_id), sees_all=sees_all, look=look)
    with shop.database.reading() as repository:
        receipt = repository.receipt(session, int(sequence) if sequence else None)
    if receipt is None:
        raise SessionNotFound(f"there is no receipt {receipt_id}")
    return session, receipt


def _head(receipt: Receipt) -> ReceiptHead:
    return ReceiptHead(
        receipt_id=f"{receipt.session_id}-{receipt.sequence}",
        session_id=receipt.session_id,
        sequence=receipt.sequence,
        receipt_number=receipt.receipt_number,
        status=receipt.status,
        issued_at=receipt.issued_at,
        total_minor=receipt.total_minor,
        currency=receipt.currency,
    )


def _key(head: ReceiptHead) -> Key:
    return head.issued_at.isoformat(), str(head.session_id), head.sequence


def _comes_after(cursor: str) -> Any:
    moment, session_id, sequence = decode_cursor("receipts", cursor, (str, str, int))
    try:
        at, visit, number = datetime.fromisoformat(str(moment)), UUID(str(session_id)), int(sequence)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ProblemError(400, "cursor: expected a next_cursor of receipts", "cursor")
    row = ReceiptRow
    return or_(
        row.issued_at < at,
        and_(row.issued_at == at, row.session_id < visit),
        and_(row.issued_at == at, row.session_id == visit, row.sequence < number),
    )
