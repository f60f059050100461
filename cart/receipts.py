"""What a visit cost: a priced cart, and its text for a terminal."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from cart.cart import Cart
from cart.catalog import Catalogue
from cart.events import check_aware
from cart.money import format_amount
from cart.sessions import Session, SessionStatus
from cart.taxes import Discount, TaxAmount, TaxRule, taxes_of, total_of

__all__ = [
    "Discount",
    "Receipt",
    "ReceiptLine",
    "TaxAmount",
    "TaxRule",
    "format_rate",
    "price_cart",
    "render_text",
    "taxes_of",
    "total_of",
]


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """One product on a receipt, priced when the visit was closed.

    Attributes:
        sku: The product.
        name: Its name then; the sku if the catalogue does not have it.
        quantity: Units; negative only on a visit that needs review.
        unit_price_minor: Price of one unit, with tax if the shop's prices include it; None if not known.
        tax_rate_bp: Tax in or on the price, basis points of the price without it.
        probability: How sure the line is, 0 to 1.
    """

    sku: str
    name: str
    quantity: int
    unit_price_minor: int | None
    tax_rate_bp: int
    probability: float = 1.0

    @property
    def amount_minor(self) -> int | None:
        """Price of the line before discounts, in the minor unit; None if the unit price is not known."""
        return None if self.unit_price_minor is None else self.unit_price_minor * self.quantity


def price_cart(cart: Cart, catalogue: Catalogue) -> tuple[ReceiptLine, ...]:
    """Price every line of a cart as the catalogue stands now; a product it does not have gets no price."""
    lines = []
    for line in cart.lines:
        product = catalogue.get(line.sku)
        if product is None:
            lines.append(ReceiptLine(line.sku, line.sku, line.quantity, None, 0, line.probability))
        else:
            lines.append(
                ReceiptLine(
                    line.sku,
                    product.name,
                    line.quantity,
                    product.unit_price_minor,
                    product.tax_rate_bp,
                    line.probability,
                )
            )
    return tuple(lines)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a visit cost, or would cost if a person agrees.

    Attributes:
        session_id: The visit.
        shopper_id: Whose it was.
        status: How the visit ended; ``CLOSED`` while the payment's outcome is not known.
        lines: Priced lines, by sku.
        currency: ISO 4217 code.
        taxes: Tax by rate; None if a price is not known.
        issued_at: When it was made out, timezone-aware.
        receipt_number: Running number without gaps; None unless the visit is charged.
        discounts: What offers and coupons take off.
        tax_rule: Whether prices include tax, and how it is rounded.
        sequence: Which receipt of the visit: 1 is made at the exit, each correction makes another.
    """

    session_id: UUID
    shopper_id: str
    status: SessionStatus
    lines: tuple[ReceiptLine, ...]
    currency: str
    taxes: tuple[TaxAmount, ...] | None
    issued_at: datetime
    receipt_number: int | None = None
    discounts: tuple[Discount, ...] = ()
    tax_rule: TaxRule = TaxRule.INCLUDED_PER_RATE
    sequence: int = 1

    def __post_init__(self) -> None:
        check_aware("Receipt.issued_at", self.issued_at)
        if self.status is SessionStatus.OPEN:
            raise ValueError("Receipt.status: expected a closed visit, got an open one")

    @classmethod
    def of(
        cls,
        session: Session,
        lines: tuple[ReceiptLine, ...],
        currency: str,
        issued_at: datetime,
        receipt_number: int | None = None,
        discounts: tuple[Discount, ...] = (),
        tax_rule: TaxRule = TaxRule.INCLUDED_PER_RATE,
        sequence: int = 1,
    ) -> Self:
        """Make out the receipt of a closed visit from its priced lines and what is taken off them."""
        return cls(
            session.session_id,
            session.shopper_id,
            session.status,
            lines,
            currency,
            taxes_of(lines, discounts, tax_rule),
            issued_at,
            receipt_number,
            discounts,
            tax_rule,
            sequence,
        )

    @property
    def total_minor(self) -> int | None:
        """What is to pay, with tax, in the minor unit; None if a price is not known."""
        return total_of(self.lines, self.discounts, self.tax_rule)

    @property
    def discount_minor(self) -> int:
        """What offers and coupons take off in all, in the minor unit."""
        return sum(discount.amount_minor for discount in self.discounts)

    @property
    def tax_minor(self) -> int | None:
        """The tax in the total, in the minor unit; None if a price is not known."""
        return None if self.taxes is None else sum(tax.tax_minor for tax in self.taxes)

    @property
    def subtotal_minor(self) -> int | None:
        """The total without tax, in the minor unit; None if a price is not known."""
        return None if self.taxes is None else sum(tax.net_minor for tax in self.taxes)


_HEADINGS = {
    SessionStatus.CLOSED: "Payment not confirmed yet",
    SessionStatus.CHARGED: "Paid",
    SessionStatus.NEEDS_REVIEW: "Not charged: a person will look at this visit",
    SessionStatus.EMPTY: "Nothing taken, nothing charged",
    SessionStatus.NO_ACCOUNT: "Not charged: no account",
    SessionStatus.PAYMENT_FAILED: "Payment declined: the total is owed",
    SessionStatus.ABANDONED: "Nobody came in, nothing charged",
}


def render_text(receipt: Receipt, store_name: str, width: int = 44) -> str:
    """Write a receipt as plain text for a terminal.

    Args:
        receipt: The receipt.
        store_name: Printed at the top.
        width: Columns, at least 30.

    Returns:
        Lines of at most ``width`` characters, except that headings are never cut; no newline at the end.

    Raises:
        ValueError: ``width`` is too small for the amounts.
    """
    if width < 30:
        raise ValueError(f"width: expected at least 30, got {width}")

    def row(left: str, amount_minor: int | None) -> str:
        amount = "?" if amount_minor is None else format_amount(amount_minor, receipt.currency)
        room = width - len(amount) - 1
        if len(left) > room:
            left = left[: room - 1] + "…"
        return f"{left.ljust(room)} {amount}"

    number = "" if receipt.receipt_number is None else f"Receipt {receipt.receipt_number}"
    rule = "-" * width
    issued_at = receipt.issued_at.astimezone(UTC)
    # A video without a clock counts from the start of 1970, which is no date to print.
    issued = f"{issued_at:%Y-%m-%d %H:%M} UTC" if issued_at.year > 1970 else ""
    rows = [store_name.center(width).rstrip()]
    if number or issued:
        rows.append((number.ljust(width - len(issued)) + issued if number else issued).rstrip())
    rows += [f"Shopper {receipt.shopper_id}", rule]
    for line in receipt.lines:
        rows.append(row(f"{line.quantity} x {line.name}", line.amount_minor))
    off: dict[tuple[str, str], int] = {}
    for discount in receipt.discounts:
        key = (discount.source, discount.name)
        off[key] = off.get(key, 0) + discount.amount_minor
    rows += [row(f"  {name}", -amount_minor) for (_, name), amount_minor in off.items()]
    if receipt.lines:
        rows.append(rule)
    total = row(f"Total {receipt.currency}", receipt.total_minor)
    taxes = [(format_rate(tax.tax_rate_bp), tax.tax_minor) for tax in receipt.taxes or () if tax.tax_rate_bp]
    if receipt.tax_rule.is_included:
        rows += [total, *(row(f"  incl. {rate} tax", tax_minor) for rate, tax_minor in taxes)]
    else:
        rows += [
            row("Without tax", receipt.subtotal_minor),
            *(row(f"{rate} tax", minor) for rate, minor in taxes),
            total,
        ]
    rows.append(_HEADINGS[receipt.status])
    return "\n".join(rows)


def format_rate(tax_rate_bp: int) -> str:
    """Write basis points as per cent.

    >>> format_rate(1900), format_rate(825)
    ('19 %', '8.25 %')
    """
    whole, rest = divmod(tax_rate_bp, 100)
    fraction = f".{rest:02d}".rstrip("0") if rest else ""
    return f"{whole}{fraction} %"
