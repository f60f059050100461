"""Tables of prices: products, their prices over time, offers, coupons, and what they took off a receipt."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from cart.tables.base import Base, keep_history


class ProductRow(Base):
    """A product of the catalogue; see ``cart.catalog.Product``. Its price stands in ``prices``."""

    __tablename__ = "products"
    __table_args__ = (CheckConstraint("tax_rate_bp BETWEEN 0 AND 10000", "tax_rate_bp"),)

    sku: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    gtin: Mapped[str | None]
    mass_g: Mapped[float | None]
    tax_rate_bp: Mapped[int]
    changed_at: Mapped[datetime]


class PriceRow(Base):
    """What a unit costs from a moment on, until the next price of that product. Append-only."""

    __tablename__ = "prices"
    __table_args__ = (
        CheckConstraint("unit_price_minor >= 0", "unit_price_minor"),
        Index("ix_prices_sku_valid_from", "sku", "valid_from"),
    )

    price_id: Mapped[UUID] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"))
    unit_price_minor: Mapped[int | None] = mapped_column(BigInteger)
    """None from when on the price is not known."""
    currency: Mapped[str]
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime | None]
    """A price with an end, such as a week's, gives way then to the one before it."""
    created_at: Mapped[datetime]


class OfferRow(Base):
    """An offer on several units; see ``cart.pricing.Offer``."""

    __tablename__ = "offers"

    offer_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    skus: Mapped[list[Any]] = mapped_column(JSON)
    terms: Mapped[dict[str, Any]] = mapped_column(JSON)
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime | None]


class CouponRow(Base):
    """A coupon, used once; see ``cart.pricing.Coupon``."""

    __tablename__ = "coupons"

    code: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.account_id"), index=True)
    """Whose it is; None before an account claims it."""
    name: Mapped[str]
    terms: Mapped[dict[str, Any]] = mapped_column(JSON)
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime | None]


class CouponUseRow(Base):
    """On which visit a coupon was used: its primary key lets it be used once. Append-only."""

    __tablename__ = "coupon_uses"

    code: Mapped[str] = mapped_column(ForeignKey("coupons.code"), primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    used_at: Mapped[datetime]


class ReceiptDiscountRow(Base):
    """What an offer or a coupon took off a receipt. Append-only."""

    __tablename__ = "receipt_discounts"
    __table_args__ = (
        ForeignKeyConstraint(["session_id", "sequence"], ["receipts.session_id", "receipts.sequence"]),
        CheckConstraint("amount_minor > 0", "amount_minor"),
    )

    session_id: Mapped[UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    source: Mapped[str]
    """``offer:...`` or ``coupon:...``."""
    tax_rate_bp: Mapped[int]
    amount_minor: Mapped[int] = mapped_column(BigInteger)


keep_history(PriceRow)
keep_history(CouponUseRow)
keep_history(ReceiptDiscountRow)
