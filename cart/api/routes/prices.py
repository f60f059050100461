"""Products, their prices over time, offers and coupons."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Request
from pydantic import Field, model_validator
from sqlalchemy import and_, or_, select

from cart import audit
from cart.api.paging import USUAL_ENTRIES, After, Limit, Listing, Page, moment_and_id, text_key
from cart.api.problems import ProblemError
from cart.api.routing import Caller, Cause, SeesAll, ShopRoute, TheShop
from cart.api.schemas import Amount, BasisPoints, Body, Moment, Name, Price, Shown, Sku, SkuPath, problems
from cart.catalog import Product, is_gtin
from cart.errors import CouponNotFound, CouponUsed, OffersOverlap
from cart.offers import BundlePrice, CheapestOff, Coupon, Offer, PercentOff
from cart.pricing import (
    DESCRIBED,
    PRICED,
    PriceBook,
    add_coupon,
    add_offer,
    claim_coupon,
    end_offer,
    offer_of,
    offers_at,
    product_subject,
    set_price,
)
from cart.product_pictures import pictured
from cart.repository import Repository
from cart.tables import AccountRow, CouponRow, CouponUseRow, OfferRow, PriceRow, ProductRow

router = APIRouter(route_class=ShopRoute, tags=["prices"])

_MOST_SKUS = 500
_MOST_UNITS = 100
CouponCode = Annotated[str, Field(min_length=3, max_length=40, pattern=r"^[A-Za-z0-9-]+$")]
_Percent = Annotated[int, Field(strict=True, ge=1, le=10_000, description="Basis points; 10000 is all of it.")]


class ProductShown(Shown):
    """A product at its price of now."""

    sku: str
    name: str
    unit_price_minor: int | None = Field(description="Null if not known.")
    currency: str
    tax_rate_bp: int
    mass_g: float | None
    gtin: str | None
    picture_url: str | None = Field(description="Where its picture is, relative; null if it has none.")


class ProductBody(Body):
    """What a product is; its price is set apart from it."""

    name: Name
    tax_rate_bp: BasisPoints = 0
    mass_g: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    gtin: Annotated[str, Field(pattern=r"^([0-9]{8}|[0-9]{12,14})$")] | None = None

    @model_validator(mode="after")
    def _has_a_right_check_digit(self) -> "ProductBody":
        if self.gtin is not None and not is_gtin(self.gtin):
            raise ValueError("gtin: the check digit is wrong")
        return self


class PriceBody(Body):
    """A price from a moment on."""

    unit_price_minor: Price | None = Field(description="Null from when on it is not known.")
    valid_from: Moment | None = Field(default=None, description="Not in the past; now by default.")
    valid_until: Moment | None = Field(default=None, description="A price with an end gives way to the one before it.")


class PriceShown(Shown):
    """A price from a moment on."""

    price_id: UUID
    sku: str
    unit_price_minor: int | None
    currency: str
    valid_from: datetime
    valid_until: datetime | None
    created_at: datetime


class BundleDeal(Body):
    """So many for one price."""

    kind: Literal["bundle_price"]
    quantity: Annotated[int, Field(strict=True, ge=2, le=_MOST_UNITS)]
    price_minor: Price


class CheapestDeal(Body):
    """The cheapest of so many is cheaper, or free."""

    kind: Literal["cheapest_off"]
    quantity: Annotated[int, Field(strict=True, ge=2, le=_MOST_UNITS)]
    percent_bp: _Percent = 10_000


class PercentDeal(Body):
    """Every unit is cheaper."""

    kind: Literal["percent_off"]
    percent_bp: _Percent


Deal = Annotated[BundleDeal | CheapestDeal | PercentDeal, Field(discriminator="kind")]


class OfferBody(Body):
    """An offer on units of some products."""

    name: Name
    skus: Annotated[list[Sku], Field(min_length=1, max_length=_MOST_SKUS)]
    deal: Deal
    valid_from: Moment | None = None
    valid_until: Moment | None = None


class OfferShown(Shown):
    """An offer that counts now."""

    offer_id: UUID
    name: str
    skus: list[str]
    deal: BundleDeal | CheapestDeal | PercentDeal


class Offers(Shown):
    """All offers that count now."""

    items: list[OfferShown]


class OfferInTime(OfferShown):
    """An offer of the past, of now or of the future."""

    valid_from: datetime
    valid_until: datetime | None


class CouponBody(Body):
    """Something off a whole cart, once: an amount or a part of it."""

    code: CouponCode
    name: Name
    amount_minor: Amount | None = None
    percent_bp: _Percent | None = None
    minimum_minor: Price = 0
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    account_id: UUID | None = Field(default=None, description="Whose it is; null for whoever claims it.")

    @model_validator(mode="after")
    def _is_one_of_two(self) -> "CouponBody":
        if (self.amount_minor is None) == (self.percent_bp is None):
            raise ValueError("expected either amount_minor or percent_bp")
        return self


class CouponShown(Shown):
    """A coupon."""

    code: str
    name: str
    amount_minor: int | None
    percent_bp: int | None
    minimum_minor: int
    valid_from: datetime
    valid_until: datetime | None
    account_id: UUID | None
    is_used: bool
    used_at: datetime | None
    session_id: UUID | None = Field(description="The visit that it was used on.")


@router.get("/v1/products")
def list_products(
    request: Request, shop: TheShop, cursor: After = None, limit: Limit = USUAL_ENTRIES
) -> Page[ProductShown]:
    """List products by sku, at their prices of now."""
    query = select(ProductRow.sku).order_by(ProductRow.sku).limit(limit + 1)
    after = text_key("products", cursor)
    if after is not None:
        query = query.where(ProductRow.sku > after)
    with shop.database.reading() as repository:
        skus = repository.sql.scalars(query).all()
        found = tuple(PriceBook(shop.checkout.currency).catalogue(repository, shop.now(), skus))
        pictures = picture_urls(repository, skus)
    return Listing("products", request, limit).page(
        found, lambda product: (product.sku,), lambda product: product_shown(product, pictures.get(product.sku))
    )


@router.put("/v1/products/{sku}")
def put_product(sku: SkuPath, product: ProductBody, shop: TheShop, caller: Caller) -> ProductShown:
    """Add a product, or say anew what it is."""
    at = shop.now()
    with shop.database.transaction() as repository:
        row = repository.sql.get(ProductRow, sku, with_for_update=True, populate_existing=True)
        if row is None:
            row = ProductRow(sku=sku)
            repository.sql.add(row)
        row.name, row.tax_rate_bp = product.name, product.tax_rate_bp
        row.mass_g, row.gtin, row.changed_at = product.mass_g, product.gtin, at
        repository.sql.flush()
        audit.record(repository, caller.account_id, DESCRIBED, product_subject(sku), {}, at)
        (found,) = PriceBook(shop.checkout.currency).catalogue(repository, at, [sku])
        picture_url = picture_urls(repository, [sku]).get(sku)
    return product_shown(found, picture_url)


@router.get("/v1/products/{sku}/prices", responses=problems(404))
def list_prices(
    sku: SkuPath, request: Request, shop: TheShop, cursor: After = None, limit: Limit = USUAL_ENTRIES
) -> Page[PriceShown]:
    """List a product's prices, those of the past and of the future, the latest first."""
    after = moment_and_id("prices", cursor)
    query = select(PriceRow).where(PriceRow.sku == sku).order_by(PriceRow.valid_from.desc(), PriceRow.price_id.desc())
    if after is not None:
        at, price_id = after
        query = query.where(
            or_(PriceRow.valid_from < at, and_(PriceRow.valid_from == at, PriceRow.price_id < price_id))
        )
    with shop.database.reading() as repository:
        check_product(repository, sku)
        found = [_price(row) for row in repository.sql.scalars(query.limit(limit + 1))]
    return Listing("prices", request, limit).page(
        found, lambda price: (price.valid_from.isoformat(), str(price.price_id)), lambda price: price
    )


@router.post("/v1/products/{sku}/prices", status_code=201, responses=problems(404))
def add_price(sku: SkuPath, price: PriceBody, shop: TheShop, caller: Caller) -> PriceShown:
    """Give a product a price from a moment on; the prices of the past stay as they were."""
    at = shop.now()
    with _fitting(), shop.database.transaction() as repository:
        check_product(repository, sku)
        price_id = set_price(
            repository,
            sku,
            price.unit_price_minor,
            shop.checkout.currency,
            at,
            price.valid_from,
            price.valid_until,
        )
        detail = {"price_id": str(price_id), "unit_price_minor": price.unit_price_minor}
        audit.record(repository, caller.account_id, PRICED, product_subject(sku), detail, at)
        row = repository.sql.get_one(PriceRow, price_id)
        return _price(row)


@router.get("/v1/offers")
def list_offers(shop: TheShop) -> Offers:
    """List the offers that count now."""
    with shop.database.reading() as repository:
        return Offers(items=[_offer(offer) for offer in offers_at(repository, shop.now())])


@router.get("/v1/offers/history")
def list_offers_in_time(
    request: Request, shop: TheShop, cursor: After = None, limit: Limit = USUAL_ENTRIES
) -> Page[OfferInTime]:
    """List offers, those of the past and of the future too, the one that begins last first."""
    after = moment_and_id("offers", cursor)
    query = select(OfferRow).order_by(OfferRow.valid_from.desc(), OfferRow.offer_id.desc())
    if after is not None:
        at, offer_id = after
        query = query.where(
            or_(OfferRow.valid_from < at, and_(OfferRow.valid_from == at, OfferRow.offer_id < offer_id))
        )
    with shop.database.reading() as repository:
        found = [_offer_in_time(row) for row in repository.sql.scalars(query.limit(limit + 1))]
    return Listing("offers", request, limit).page(
        found, lambda offer: (offer.valid_from.isoformat(), str(offer.offer_id)), lambda offer: offer
    )


@router.post("/v1/offers", status_code=201, responses=problems(OffersOverlap, s404="There is no such product"))
def create_offer(body: OfferBody, shop: TheShop, caller: Caller, cause: Cause) -> OfferShown:
    """Put an offer up."""
    at = shop.now()
    with _fitting(), shop.database.transaction() as repository:
        offer = Offer(cause, body.name, tuple(dict.fromkeys(body.skus)), _deal(body.deal))
        for sku in offer.skus:
            check_product(repository, sku)
        add_offer(repository, offer, body.valid_from or at, body.valid_until)
        audit.record(repository, caller.account_id, "offer.created", f"offer:{cause}", {}, at)
    return _offer(offer)


@router.delete("/v1/offers/{offer_id}", status_code=204)
def withdraw_offer(offer_id: UUID, shop: TheShop, caller: Caller) -> None:
    """Let an offer end now; one that has ended stays so."""
    at = shop.now()
    with shop.database.transaction() as repository:
        end_offer(repository, offer_id, at)
        audit.record(repository, caller.account_id, "offer.ended", f"offer:{offer_id}", {}, at)


@router.get("/v1/coupons")
def list_coupons(
    request: Request,
    shop: TheShop,
    caller: Caller,
    sees_all: SeesAll,
    cursor: After = None,
    limit: Limit = USUAL_ENTRIES,
    mine: bool = False,
) -> Page[CouponShown]:
    """List coupons by code: one's own, or, for those who make them, all."""
    after = text_key("coupons", cursor)
    query = select(CouponRow).order_by(CouponRow.code).limit(limit + 1)
    if mine or not sees_all:
        query = query.where(CouponRow.account_id == caller.account_id)
    if after is not None:
        query = query.where(CouponRow.code > after)
    with shop.database.reading() as repository:
        rows = repository.sql.scalars(query).all()
        uses = select(CouponUseRow).where(CouponUseRow.code.in_([row.code for row in rows]))
        used = {use.code: use for use in repository.sql.scalars(uses)}
        found = [_coupon(row, used.get(row.code)) for row in rows]
    return Listing("coupons", request, limit).page(found, lambda coupon: (coupon.code,), lambda coupon: coupon)


@router.post("/v1/coupons", status_code=201, responses=problems(s409="There is a coupon with this code"))
def create_coupon(body: CouponBody, shop: TheShop, caller: Caller) -> CouponShown:
    """Make a coupon."""
    at = shop.now()
    code = body.code.upper()
    with _fitting(), shop.database.transaction() as repository:
        if repository.sql.get(CouponRow, code) is not None:
            raise ProblemError(409, "there is a coupon with this code", "coupon-exists")
        if body.account_id is not None:
            _check_account(repository, body.account_id)
        coupon = Coupon(
            code,
            body.name,
            body.valid_from or at,
            amount_minor=body.amount_minor,
            percent_bp=body.percent_bp,
            minimum_minor=body.minimum_minor,
            valid_until=body.valid_until,
            account_id=body.account_id,
        )
        add_coupon(repository, coupon)
        audit.record(repository, caller.account_id, "coupon.created", f"coupon:{code}", {}, at)
        return _coupon(repository.sql.get_one(CouponRow, code), None)


@router.post("/v1/coupons/{code}/claim", responses=problems(CouponNotFound, CouponUsed))
def claim(
    code: Annotated[str, Path(min_length=3, max_length=40, pattern=r"^[A-Za-z0-9-]+$")], shop: TheShop, caller: Caller
) -> CouponShown:
    """Make a coupon one's own; it counts at the next exit that it fits."""
    with shop.database.transaction() as repository:
        coupon = claim_coupon(repository, code, caller.account_id, shop.now())
        return _coupon(repository.sql.get_one(CouponRow, coupon.code), None)


@contextmanager
def _fitting() -> Iterator[None]:
    """Answer what prices refuse as a request that does not fit; its message says what was expected."""
    try:
        yield
    except ValueError as error:
        raise ProblemError(422, str(error)[:300], "validation") from error


def picture_urls(repository: Repository, skus: Collection[str]) -> dict[str, str]:
    """Where the pictures of products are, by sku, of those that have one; another picture has another address."""
    return {
        sku: f"/v1/products/{sku}/picture?of={round(changed_at.timestamp() * 1000)}"
        for sku, changed_at in pictured(repository, skus).items()
    }


def product_shown(product: Product, picture_url: str | None) -> ProductShown:
    """Tell of a product."""
    return ProductShown(
        sku=product.sku,
        name=product.name,
        unit_price_minor=product.unit_price_minor,
        currency=product.currency,
        tax_rate_bp=product.tax_rate_bp,
        mass_g=product.mass_g,
        gtin=product.gtin,
        picture_url=picture_url,
    )


def check_product(repository: Repository, sku: str) -> None:
    """Answer 404 if there is no such product."""
    if repository.sql.get(ProductRow, sku) is None:
        raise ProblemError(404, f"there is no product {sku}", "product-not-found")


def _check_account(repository: Repository, account_id: UUID) -> None:
    if repository.sql.get(AccountRow, account_id) is None:
        raise ProblemError(422, f"account_id: there is no account {account_id}", "validation")


def _deal(deal: BundleDeal | CheapestDeal | PercentDeal) -> BundlePrice | CheapestOff | PercentOff:
    match deal:
        case BundleDeal():
            return BundlePrice(deal.quantity, deal.price_minor)
        case CheapestDeal():
            return CheapestOff(deal.quantity, deal.percent_bp)
        case PercentDeal():
            return PercentOff(deal.percent_bp)


def _offer(offer: Offer) -> OfferShown:
    deal: BundleDeal | CheapestDeal | PercentDeal
    match offer.deal:
        case BundlePrice(quantity, price_minor):
            deal = BundleDeal(kind="bundle_price", quantity=quantity, price_minor=price_minor)
        case CheapestOff(quantity, percent_bp):
            deal = CheapestDeal(kind="cheapest_off", quantity=quantity, percent_bp=percent_bp)
        case PercentOff(percent_bp):
            deal = PercentDeal(kind="percent_off", percent_bp=percent_bp)
    return OfferShown(offer_id=offer.offer_id, name=offer.name, skus=list(offer.skus), deal=deal)


def _offer_in_time(row: OfferRow) -> OfferInTime:
    shown = _offer(offer_of(row))
    return OfferInTime(**shown.model_dump(), valid_from=row.valid_from, valid_until=row.valid_until)


def _price(row: PriceRow) -> PriceShown:
    return PriceShown(
        price_id=row.price_id,
        sku=row.sku,
        unit_price_minor=row.unit_price_minor,
        currency=row.currency,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        created_at=row.created_at,
    )


def _coupon(row: CouponRow, use: CouponUseRow | None) -> CouponShown:
    return CouponShown(
        code=row.code,
        name=row.name,
        amount_minor=row.terms["amount_minor"],
        percent_bp=row.terms["percent_bp"],
        minimum_minor=row.terms["minimum_minor"],
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        account_id=row.account_id,
        is_used=use is not None,
        used_at=None if use is None else use.used_at,
        session_id=None if use is None else use.session_id,
    )
