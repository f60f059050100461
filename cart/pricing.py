"""The shop's prices: over time, with offers and coupons, from the database or fixed.

A price is a row that is never changed: a new one is added, and counts from its moment on. A visit is priced as of the
moment it was closed. A product whose price is not known then has none, and nothing is guessed.

>>> from datetime import timedelta
>>> from cart.cart import CartLine
>>> from cart.repository import Database
>>> noon, book = datetime(2026, 1, 1, 12, tzinfo=UTC), PriceBook("EUR")
>>> database, cart = Database.in_memory(), Cart((CartLine("042", 3, 1.0),))
>>> with database.transaction() as repository:
...     changes = load_catalogue(repository, Catalogue("EUR", [Product("042", "Oat bar", 199, "EUR", 700)]), noon)
...     sale = set_price(repository, "042", 149, "EUR", noon, noon + timedelta(days=1), noon + timedelta(days=8))
...     add_offer(repository, Offer(UUID(int=1), "3 oat bars for 5.00", ("042",), BundlePrice(3, 500)), noon)
>>> with database.reading() as repository:
...     [book.price(repository, cart, noon + timedelta(days=days), "ada").total_minor for days in (-1, 0, 1, 8)]
[None, 500, 447, 500]
"""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID, uuid5

from sqlalchemy import Select, or_, select, update
from sqlalchemy.exc import IntegrityError

from cart import audit
from cart.cart import Cart
from cart.catalog import Catalogue, Product
from cart.errors import CouponNotFound, CouponUsed, OffersOverlap
from cart.events import check_aware
from cart.money import minor_digits
from cart.offers import (
    DEAL_KINDS,
    MAX_STATES,
    BundlePrice,
    CheapestOff,
    Coupon,
    Offer,
    PercentOff,
    PricedCart,
    check_validity,
    price_lines,
    sharing,
    states_of,
)
from cart.receipts import price_cart
from cart.repository import Repository
from cart.tables import CouponRow, CouponUseRow, OfferRow, PriceRow, ProductRow
from cart.taxes import Discount, TaxRule

__all__ = [
    "DESCRIBED",
    "PRICED",
    "BundlePrice",
    "CheapestOff",
    "Coupon",
    "Discount",
    "FixedPrices",
    "Offer",
    "PercentOff",
    "PriceBook",
    "PricedCart",
    "Pricing",
    "TaxRule",
    "add_coupon",
    "add_offer",
    "claim_coupon",
    "coupons_of",
    "end_offer",
    "load_catalogue",
    "offer_of",
    "offers_at",
    "product_subject",
    "set_price",
]

DESCRIBED, PRICED = "product.changed", "price.set"
"""What the audit log calls it when somebody says what a product is, or what it costs."""
_NAMESPACE = UUID("a4f0b7d2-88c1-5a0c-9a44-0d2d7e1b6f35")


def product_subject(sku: str) -> str:
    """The subject of an entry of the audit log about a product."""
    return f"product:{sku}"


class Pricing(Protocol):
    """How a shop prices a cart."""

    @property
    def currency(self) -> str:
        """ISO 4217 code of all its prices."""

    def price(
        self, repository: Repository, cart: Cart, at: datetime, shopper_id: str, session_id: UUID | None = None
    ) -> PricedCart:
        """Price a cart as of a moment.

        Args:
            repository: The transaction.
            cart: What is in it.
            at: When the visit was closed, or now, timezone-aware.
            shopper_id: Whose coupons count: an account's id as text.
            session_id: The visit, if coupons that it has used already are to count again, as for a correction.
        """

    def use(self, repository: Repository, priced: PricedCart, session_id: UUID, at: datetime) -> None:
        """Mark the coupons in a priced cart as used by a visit, in the transaction that priced it.

        Raises:
            CouponUsed: One was used by another visit.
        """


class FixedPrices:
    """Prices that do not change, as for a replay: those of a catalogue.

    Args:
        catalogue: What is sold.
        tax_rule: Whether its prices include tax, and how it is rounded.
        offers: Offers that always count.
    """

    def __init__(
        self, catalogue: Catalogue, tax_rule: TaxRule = TaxRule.INCLUDED_PER_RATE, offers: Iterable[Offer] = ()
    ) -> None:
        self._catalogue = catalogue
        self._tax_rule = tax_rule
        self._offers = tuple(offers)

    @property
    def currency(self) -> str:
        """ISO 4217 code of all prices."""
        return self._catalogue.currency

    def price(
        self, repository: Repository, cart: Cart, at: datetime, shopper_id: str, session_id: UUID | None = None
    ) -> PricedCart:
        """Price a cart; see ``Pricing.price``. The moment and the shopper make no difference."""
        return price_lines(price_cart(cart, self._catalogue), self._offers, (), self._tax_rule)

    def use(self, repository: Repository, priced: PricedCart, session_id: UUID, at: datetime) -> None:
        """Do nothing: there are no coupons."""


class PriceBook:
    """Prices, offers and coupons as they stand in the database.

    Args:
        currency: ISO 4217 code; a price in another currency counts as not known.
        tax_rule: Whether prices include tax, and how it is rounded.

    Raises:
        ValueError: The currency is none.
    """

    def __init__(self, currency: str, tax_rule: TaxRule = TaxRule.INCLUDED_PER_RATE) -> None:
        minor_digits(currency)
        self._currency = currency
        self._tax_rule = tax_rule

    @property
    def currency(self) -> str:
        """ISO 4217 code of all prices."""
        return self._currency

    @property
    def tax_rule(self) -> TaxRule:
        """Whether prices include tax, and how it is rounded."""
        return self._tax_rule

    def catalogue(self, repository: Repository, at: datetime, skus: Iterable[str] | None = None) -> Catalogue:
        """The products, by sku, with their prices as of a moment.

        Of the prices that are valid then the one that began last counts (then the one that was set last, then the one
        that ends first), so that a week's price hides the lasting one until its end. A product without a price then
        has none; nothing is guessed.

        Args:
            repository: The transaction.
            at: The moment, timezone-aware.
            skus: Which products; None for all.
        """
        check_aware("at", at)
        of_products, of_prices = select(ProductRow).order_by(ProductRow.sku), _prices_at(at)
        if skus is not None:
            wanted = sorted(set(skus))
            of_products = of_products.where(ProductRow.sku.in_(wanted))
            of_prices = of_prices.where(PriceRow.sku.in_(wanted))
        prices = {row.sku: row for row in repository.sql.scalars(of_prices)}
        products = []
        for row in repository.sql.scalars(of_products):
            price = prices.get(row.sku)
            known = price is not None and price.currency == self._currency
            products.append(
                Product(
                    row.sku,
                    row.name,
                    price.unit_price_minor if price is not None and known else None,
                    self._currency,
                    row.tax_rate_bp,
                    row.mass_g,
                    row.gtin,
                )
            )
        return Catalogue(self._currency, products)

    def price(
        self, repository: Repository, cart: Cart, at: datetime, shopper_id: str, session_id: UUID | None = None
    ) -> PricedCart:
        """Price a cart; see ``Pricing.price``. In a transaction that writes, the shopper's coupons are kept for it."""
        catalogue = self.catalogue(repository, at, (line.sku for line in cart.lines))
        account_id = _account_id(shopper_id)
        coupons = () if account_id is None else coupons_of(repository, account_id, at, session_id)
        return price_lines(price_cart(cart, catalogue), offers_at(repository, at), coupons, self._tax_rule)

    def use(self, repository: Repository, priced: PricedCart, session_id: UUID, at: datetime) -> None:
        """Mark coupons as used; see ``Pricing.use``."""
        for code in priced.coupon_codes:
            known = repository.sql.get(CouponUseRow, code)
            if known is None:
                repository.sql.add(CouponUseRow(code=code, session_id=session_id, used_at=at))
                try:
                    repository.sql.flush()
                except IntegrityError as error:
                    raise CouponUsed(f"coupon {code} was used by another visit at this moment") from error
            elif known.session_id != session_id:
                raise CouponUsed(f"coupon {code} was used by another visit")


def _prices_at(at: datetime) -> Select[PriceRow]:
    """Prices that are valid at a moment; for each product the one that counts comes last."""
    return (
        select(PriceRow)
        .where(PriceRow.valid_from <= at, or_(PriceRow.valid_until.is_(None), PriceRow.valid_until > at))
        .order_by(
            PriceRow.sku,
            PriceRow.valid_from,
            PriceRow.created_at,
            PriceRow.valid_until.is_not(None),
            PriceRow.valid_until.desc(),
        )
    )


def _account_id(shopper_id: str) -> UUID | None:
    try:
        return UUID(shopper_id)
    except ValueError:
        return None


def load_catalogue(repository: Repository, catalogue: Catalogue, at: datetime) -> int:
    """Bring the database's products and lasting prices to those of a catalogue; loading it again changes nothing.

    Products that the catalogue does not have are left alone, and so are prices with an end. Once people who work here
    have said what a product is, or what it costs, their word counts and no longer the catalogue's.

    Args:
        repository: The transaction.
        catalogue: The products.
        at: From when on its prices count, timezone-aware.

    Returns:
        How many products or prices are new or changed.
    """
    check_aware("at", at)
    lasting = {row.sku: row for row in repository.sql.scalars(_prices_at(at).where(PriceRow.valid_until.is_(None)))}
    rows = {row.sku: row for row in repository.sql.scalars(select(ProductRow))}
    described, priced = (audit.subjects(repository, action) for action in (DESCRIBED, PRICED))
    changes = 0
    for product in catalogue:
        if product.sku in rows and product_subject(product.sku) in described:
            continue
        facts = (product.name, product.gtin, product.mass_g, product.tax_rate_bp)
        row = rows.get(product.sku)
        if row is None:
            row = ProductRow(sku=product.sku)
            repository.sql.add(row)
        if (row.name, row.gtin, row.mass_g, row.tax_rate_bp) != facts:
            row.name, row.gtin, row.mass_g, row.tax_rate_bp = facts
            row.changed_at = at
            changes += 1
    repository.sql.flush()
    for product in catalogue:
        if product_subject(product.sku) in priced:
            continue
        price = lasting.get(product.sku)
        known = None if price is None else price.unit_price_minor
        if known != product.unit_price_minor or (price is not None and price.currency != catalogue.currency):
            set_price(repository, product.sku, product.unit_price_minor, catalogue.currency, at)
            changes += 1
    return changes


def set_price(
    repository: Repository,
    sku: str,
    unit_price_minor: int | None,
    currency: str,
    at: datetime,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
) -> UUID:
    """Give a product a price from a moment on; the prices before stay as they were.

    Args:
        repository: The transaction.
        sku: A product of the database.
        unit_price_minor: Price of a unit in the minor unit; None from when on it is not known.
        currency: ISO 4217 code.
        at: Now, timezone-aware.
        valid_from: When it begins, not before ``at``: prices of the past do not change. ``at`` if None.
        valid_until: When it ends, itself not in, and gives way to the one before; None for a lasting price.

    Returns:
        The price's id; the same price set again at the same moment is the same one.

    Raises:
        ValueError: The price is no price, would change the past, or another one was set for those moments at this one.
    """
    check_aware("at", at)
    starts = at if valid_from is None else valid_from
    check_validity("set_price", starts, valid_until)
    if starts < at:
        raise ValueError(f"valid_from: expected {at} or later, got {starts}")
    # Checks sku, price and currency as everywhere.
    Product(sku, sku, unit_price_minor, currency)
    moments = ("" if moment is None else moment.astimezone(UTC).isoformat() for moment in (starts, valid_until, at))
    price_id = uuid5(_NAMESPACE, "\n".join((sku, *moments)))
    known = repository.sql.get(PriceRow, price_id)
    if known is None:
        repository.sql.add(
            PriceRow(
                price_id=price_id,
                sku=sku,
                unit_price_minor=unit_price_minor,
                currency=currency,
                valid_from=starts,
                valid_until=valid_until,
                created_at=at,
            )
        )
        repository.sql.flush()
    elif (known.unit_price_minor, known.currency) != (unit_price_minor, currency):
        raise ValueError(f"set_price: {sku} was given another price for that time at this same moment")
    return price_id


def add_offer(repository: Repository, offer: Offer, valid_from: datetime, valid_until: datetime | None = None) -> None:
    """Put an offer up; the same one again changes nothing.

    Args:
        repository: The transaction.
        offer: The offer.
        valid_from: When it begins, timezone-aware.
        valid_until: When it ends, itself not in; None for no end.

    Raises:
        OffersOverlap: Too many offers would share products at a time (``MAX_STATES``), or the id is another offer's.
    """
    check_validity("add_offer", valid_from, valid_until)
    known = repository.sql.get(OfferRow, offer.offer_id)
    if known is not None:
        if (offer_of(known), known.valid_from, known.valid_until) == (offer, valid_from, valid_until):
            return
        raise OffersOverlap(f"offer {offer.offer_id} exists with other terms; end it and give the new one its own id")
    beside = select(OfferRow).where(or_(OfferRow.valid_until.is_(None), OfferRow.valid_until > valid_from))
    if valid_until is not None:
        beside = beside.where(OfferRow.valid_from < valid_until)
    rows = repository.sql.scalars(beside).all()
    # Offers that are up together are all up at the moment when the last of them begins.
    for moment in {valid_from, *(row.valid_from for row in rows if row.valid_from > valid_from)}:
        up = (row for row in rows if row.valid_from <= moment and (row.valid_until is None or row.valid_until > moment))
        for together in sharing([offer, *map(offer_of, up)]):
            if states_of(together) > MAX_STATES:
                raise OffersOverlap(
                    f"offer {offer.offer_id}: expected group sizes of offers that share products to multiply to at"
                    f" most {MAX_STATES}, got {states_of(together)} with {len(together) - 1} others"
                )
    kind = next(kind for kind, deal in DEAL_KINDS.items() if isinstance(offer.deal, deal))
    repository.sql.add(
        OfferRow(
            offer_id=offer.offer_id,
            name=offer.name,
            kind=kind,
            skus=list(offer.skus),
            terms=asdict(offer.deal),
            valid_from=valid_from,
            valid_until=valid_until,
        )
    )
    repository.sql.flush()


def end_offer(repository: Repository, offer_id: UUID, at: datetime) -> None:
    """Let an offer end now; one that has ended, or is not known, stays so."""
    check_aware("at", at)
    repository.sql.execute(
        update(OfferRow)
        .where(OfferRow.offer_id == offer_id, or_(OfferRow.valid_until.is_(None), OfferRow.valid_until > at))
        .values(valid_until=at)
    )


def offers_at(repository: Repository, at: datetime) -> tuple[Offer, ...]:
    """The offers that count at a moment, by id."""
    rows = repository.sql.scalars(
        select(OfferRow)
        .where(OfferRow.valid_from <= at, or_(OfferRow.valid_until.is_(None), OfferRow.valid_until > at))
        .order_by(OfferRow.offer_id)
    )
    return tuple(map(offer_of, rows))


def offer_of(row: OfferRow) -> Offer:
    """The offer that a row of the database holds."""
    return Offer(row.offer_id, row.name, tuple(row.skus), DEAL_KINDS[row.kind](**row.terms))


def add_coupon(repository: Repository, coupon: Coupon) -> None:
    """Write a new coupon; its code is kept in capitals.

    Raises:
        ValueError: There is a coupon with this code.
    """
    code = _code(coupon.code)
    if repository.sql.get(CouponRow, code) is not None:
        raise ValueError(f"add_coupon: there is a coupon {code}")
    repository.sql.add(
        CouponRow(
            code=code,
            account_id=coupon.account_id,
            name=coupon.name,
            terms={
                "amount_minor": coupon.amount_minor,
                "percent_bp": coupon.percent_bp,
                "minimum_minor": coupon.minimum_minor,
            },
            valid_from=coupon.valid_from,
            valid_until=coupon.valid_until,
        )
    )
    repository.sql.flush()


def claim_coupon(repository: Repository, code: str, account_id: UUID, at: datetime) -> Coupon:
    """Give a coupon to an account, once and for good; its own coupon again changes nothing.

    Args:
        repository: The transaction.
        code: As typed; capitals and spaces around it make no difference.
        account_id: Who claims it.
        at: Now, timezone-aware.

    Raises:
        CouponNotFound: There is none of this code, it has ended, or it is somebody else's; it is not said which.
        CouponUsed: It was used already.
    """
    check_aware("at", at)
    code = _code(code)
    # One conditional statement: of two who claim at once the database lets one have it.
    repository.sql.execute(
        update(CouponRow)
        .where(
            CouponRow.code == code,
            CouponRow.account_id.is_(None),
            or_(CouponRow.valid_until.is_(None), CouponRow.valid_until > at),
        )
        .values(account_id=account_id)
    )
    row = repository.sql.get(CouponRow, code, populate_existing=True)
    if row is None or row.account_id != account_id or (row.valid_until is not None and row.valid_until <= at):
        raise CouponNotFound(f"there is no coupon {code} to claim")
    if repository.sql.get(CouponUseRow, code) is not None:
        raise CouponUsed(f"coupon {code} was used already")
    return _coupon(row)


def coupons_of(
    repository: Repository, account_id: UUID, at: datetime, session_id: UUID | None = None
) -> tuple[Coupon, ...]:
    """The coupons that an account can use at a moment, by code.

    In a transaction that writes, they are kept from other visits until its end. A coupon is used up by its use,
    whatever becomes of the visit.

    Args:
        repository: The transaction.
        account_id: Whose.
        at: The moment, timezone-aware.
        session_id: A visit that is priced again: if it used a coupon, that one alone counts.
    """
    check_aware("at", at)
    of_account = (
        select(CouponRow)
        .where(
            CouponRow.account_id == account_id,
            CouponRow.valid_from <= at,
            or_(CouponRow.valid_until.is_(None), CouponRow.valid_until > at),
        )
        .order_by(CouponRow.code)
    )
    rows = repository.sql.scalars(of_account.with_for_update() if repository.locking else of_account).all()
    # A statement of its own, after the lock: it then sees what whoever held the lock before has used.
    used_by = {
        row.code: row.session_id
        for row in repository.sql.scalars(select(CouponUseRow).where(CouponUseRow.code.in_([row.code for row in rows])))
    }
    coupons = [_coupon(row) for row in rows]
    own = [coupon for coupon in coupons if session_id is not None and used_by.get(coupon.code) == session_id]
    return tuple(own or (coupon for coupon in coupons if coupon.code not in used_by))


def _coupon(row: CouponRow) -> Coupon:
    return Coupon(
        row.code,
        row.name,
        row.valid_from,
        valid_until=row.valid_until,
        account_id=row.account_id,
        **row.terms,
    )


def _code(text: str) -> str:
    return text.strip().upper()
