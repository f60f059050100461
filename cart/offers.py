"""Offers on several units and coupons: what they take off a cart, chosen for the shopper.

Each unit is in one offer at most, and among all ways to lay the offers over a cart that which takes off most is taken,
counted in the shop's prices (without tax, where these do not include it). That choice is exact, not greedy. Sort the
units from dear to cheap. Whatever units an offer gets in the best choice, it may take them in this order, group by
group: what a bundle saves depends on its units and not on how they are grouped, and the cheapest units of groups are
worth most together when groups are filled from the dear end. So one pass over the sorted units finds the best choice,
if it remembers how many units of each offer's current group are filled (dynamic programming over those counts). The
work grows with the number of units times the product of the group sizes of offers that share products; ``MAX_STATES``
bounds that product, and a shop that lays more offers over one another is told so when it puts them up.

>>> three = Offer(UUID(int=1), "Any 3 drinks for 5.00", ("1", "2"), BundlePrice(3, 500))
>>> lines = ReceiptLine("1", "Cola", 2, 199, 1900), ReceiptLine("2", "Juice", 2, 249, 700)
>>> priced = price_lines(lines, [three])
>>> priced.total_minor, [(discount.tax_rate_bp, discount.amount_minor) for discount in priced.discounts]
(699, [(700, 141), (1900, 56)])
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from cart.events import check_aware
from cart.money import divide_half_away, share_out
from cart.receipts import ReceiptLine
from cart.taxes import Discount, TaxAmount, TaxRule, taxes_of

MAX_STATES = 1_000
"""Most that the group sizes of offers which share products may multiply to: six of three units each, say."""

_WHOLE_BP = 10_000
_OFFER, _COUPON = "offer:", "coupon:"


@dataclass(frozen=True, slots=True)
class BundlePrice:
    """So many units for one price, as "3 for 5.00"; dearer than the units one by one, it is not used.

    Attributes:
        quantity: Units in a group, at least 1.
        price_minor: What the group costs, at least 0.
    """

    quantity: int
    price_minor: int

    def __post_init__(self) -> None:
        if self.quantity < 1 or self.price_minor < 0:
            raise ValueError(
                f"BundlePrice: expected a quantity of at least 1 and a price of at least 0,"
                f" got {self.quantity} and {self.price_minor}"
            )


@dataclass(frozen=True, slots=True)
class CheapestOff:
    """The cheapest of so many units is cheaper or free, as "buy 2, get 1 free" (3 units, all off).

    Attributes:
        quantity: Units in a group, at least 2.
        percent_bp: What is taken off the cheapest, basis points of its price, 1 to 10,000.
    """

    quantity: int
    percent_bp: int = _WHOLE_BP

    def __post_init__(self) -> None:
        if self.quantity < 2:
            raise ValueError(f"CheapestOff.quantity: expected at least 2, got {self.quantity}")
        _check_percent("CheapestOff", self.percent_bp)


@dataclass(frozen=True, slots=True)
class PercentOff:
    """Every unit is cheaper.

    Attributes:
        percent_bp: What is taken off, basis points of a unit's price, 1 to 10,000; rounded for each unit, half away
            from zero.
    """

    percent_bp: int

    def __post_init__(self) -> None:
        _check_percent("PercentOff", self.percent_bp)

    @property
    def quantity(self) -> int:
        """Each unit is its own group."""
        return 1


Deal = BundlePrice | CheapestOff | PercentOff

DEAL_KINDS: Mapping[str, type[Deal]] = {
    "bundle_price": BundlePrice,
    "cheapest_off": CheapestOff,
    "percent_off": PercentOff,
}
"""What the kinds of offers are called in the database."""


def _check_percent(name: str, percent_bp: int) -> None:
    if not 1 <= percent_bp <= _WHOLE_BP:
        raise ValueError(f"{name}.percent_bp: expected 1 to {_WHOLE_BP}, got {percent_bp}")


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer on units of some products, as often as a cart has enough of them.

    Attributes:
        offer_id: Its identity.
        name: For people, as it is printed.
        skus: Whose units count; they may be mixed.
        deal: What is cheaper.
    """

    offer_id: UUID
    name: str
    skus: tuple[str, ...]
    deal: Deal

    def __post_init__(self) -> None:
        if not self.skus or not self.name:
            raise ValueError(f"Offer {self.offer_id}: expected a name and at least one sku")


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """One unit in a cart.

    Attributes:
        price_minor: Its price.
        sku: The product.
        tax_rate_bp: Its tax rate, basis points.
    """

    price_minor: int
    sku: str
    tax_rate_bp: int


@dataclass(frozen=True, slots=True)
class OfferUse:
    """An offer laid over some units.

    Attributes:
        offer: The offer.
        units: Which units.
        amounts_minor: What is taken off each of them, at least 0 and at most its price.
    """

    offer: Offer
    units: tuple[Unit, ...]
    amounts_minor: tuple[int, ...]

    @property
    def amount_minor(self) -> int:
        """What is taken off in all, above 0."""
        return sum(self.amounts_minor)


def _use(offer: Offer, units: tuple[Unit, ...]) -> OfferUse:
    """Lay an offer over a full group of units, sorted from dear to cheap."""
    prices = [unit.price_minor for unit in units]
    match offer.deal:
        case BundlePrice(price_minor=price_minor):
            # The group as a whole is cheaper, so each of its units is, in proportion.
            return OfferUse(offer, units, share_out(max(0, sum(prices) - price_minor), prices))
        case CheapestOff(percent_bp=percent_bp) | PercentOff(percent_bp=percent_bp):
            off = divide_half_away(prices[-1] * percent_bp, _WHOLE_BP)
            return OfferUse(offer, units, (*(0 for _ in prices[1:]), off))


def best_offers(lines: Iterable[ReceiptLine], offers: Iterable[Offer]) -> tuple[OfferUse, ...]:
    """Lay offers over a cart so that they take off most, each unit in one offer at most.

    Lines and offers may come in any order: the same uses come out. Lines without a price, and what came back, have no
    part in offers.

    Raises:
        ValueError: Offers lie so thick over one another that the best choice would take too long (``MAX_STATES``).
    """
    offers = tuple(offers)
    wanted = {sku for offer in offers for sku in offer.skus}
    units = sorted(
        (
            Unit(line.unit_price_minor, line.sku, line.tax_rate_bp)
            for line in lines
            if line.sku in wanted and line.unit_price_minor is not None
            for _ in range(line.quantity)
        ),
        key=lambda unit: (-unit.price_minor, unit.sku, unit.tax_rate_bp),
    )
    uses: list[OfferUse] = []
    useful = [offer for offer in offers if sum(unit.sku in offer.skus for unit in units) >= offer.deal.quantity]
    for together in sharing(useful):
        skus = {sku for offer in together for sku in offer.skus}
        uses += _best_of([unit for unit in units if unit.sku in skus], together)
    return tuple(uses)


def sharing(offers: Iterable[Offer]) -> list[list[Offer]]:
    """Group offers that share products, directly or through others; sorted by id within and between groups."""
    groups: list[tuple[set[str], list[Offer]]] = []
    for offer in sorted(offers, key=lambda offer: offer.offer_id):
        skus, members = set(offer.skus), [offer]
        apart = []
        for group in groups:
            if group[0].isdisjoint(skus):
                apart.append(group)
            else:
                skus |= group[0]
                members = group[1] + members
        groups = [*apart, (skus, members)]
    return [sorted(members, key=lambda offer: offer.offer_id) for _, members in groups]


def states_of(offers: Iterable[Offer]) -> int:
    """How many states a choice among offers that share products has to tell apart: the product of group sizes."""
    states = 1
    for offer in offers:
        states *= offer.deal.quantity
    return states


def _best_of(units: Sequence[Unit], offers: Sequence[Offer]) -> list[OfferUse]:
    """The best choice among offers that share products; units are sorted from dear to cheap."""
    if states_of(offers) > MAX_STATES:
        raise ValueError(
            f"best_offers: expected group sizes of offers that share products to multiply to at most {MAX_STATES},"
            f" got {states_of(offers)}"
        )
    # For each state, how many units are in the unfinished group of each offer: the most that can be taken off so far,
    # and how. What was chosen is a chain (offer's place or None, chain before), so that it is shared, not copied.
    best: dict[tuple[int, ...], tuple[int, Any]] = {(0,) * len(offers): (0, None)}
    for unit in units:
        following: dict[tuple[int, ...], tuple[int, Any]] = {}
        for state, (off_minor, chain) in best.items():
            choices: list[tuple[tuple[int, ...], int, int | None]] = [(state, off_minor, None)]
            for place, offer in enumerate(offers):
                if unit.sku in offer.skus:
                    filled = (state[place] + 1) % offer.deal.quantity
                    gain = _gain(offer.deal, unit.price_minor, completes=filled == 0)
                    choices.append(((*state[:place], filled, *state[place + 1 :]), off_minor + gain, place))
            for reached, taken_minor, choice in choices:
                if reached not in following or taken_minor > following[reached][0]:
                    following[reached] = (taken_minor, (choice, chain))
        best = following
    chain = best[(0,) * len(offers)][1]
    chosen: list[int | None] = []
    while chain is not None:
        chosen.append(chain[0])
        chain = chain[1]
    chosen.reverse()
    uses = []
    for place, offer in enumerate(offers):
        taken = [unit for unit, choice in zip(units, chosen, strict=True) if choice == place]
        size = offer.deal.quantity
        groups = [tuple(taken[start : start + size]) for start in range(0, len(taken), size)]
        uses += [use for use in (_use(offer, group) for group in groups) if use.amount_minor]
    return uses


def _gain(deal: Deal, price_minor: int, *, completes: bool) -> int:
    """What giving an offer one more unit adds to what it takes off; a bundle's price is counted when it is complete."""
    match deal:
        case BundlePrice():
            return price_minor - (deal.price_minor if completes else 0)
        case _:
            return divide_half_away(price_minor * deal.percent_bp, _WHOLE_BP) if completes else 0


@dataclass(frozen=True, slots=True)
class Coupon:
    """Something off a whole cart, once.

    Attributes:
        code: What is typed or scanned to claim it.
        name: For people, as it is printed.
        amount_minor: What it takes off, or ...
        percent_bp: ... how much of what is left after offers, basis points; exactly one of the two.
        minimum_minor: What the cart must cost before anything is taken off for it to count.
        valid_from: First moment, timezone-aware.
        valid_until: End, itself not in; None if it has none.
        account_id: Whose it is; None before an account claims it.
    """

    code: str
    name: str
    valid_from: datetime
    amount_minor: int | None = None
    percent_bp: int | None = None
    minimum_minor: int = 0
    valid_until: datetime | None = None
    account_id: UUID | None = None

    def __post_init__(self) -> None:
        if not self.code or not self.name:
            raise ValueError("Coupon: expected a code and a name")
        check_validity("Coupon", self.valid_from, self.valid_until)
        if (self.amount_minor is None) == (self.percent_bp is None):
            raise ValueError(f"Coupon {self.code}: expected either amount_minor or percent_bp")
        if self.percent_bp is not None:
            _check_percent("Coupon", self.percent_bp)
        if (self.amount_minor is not None and self.amount_minor <= 0) or self.minimum_minor < 0:
            raise ValueError(
                f"Coupon {self.code}: expected an amount above 0 and a minimum of at least 0,"
                f" got {self.amount_minor} and {self.minimum_minor}"
            )

    def off(self, left_minor: int, cart_minor: int) -> int:
        """What it takes off; 0 where it does not count, never more than there is.

        Args:
            left_minor: What is left of the prices after offers.
            cart_minor: What they were before. The minimum is compared with this, so that an offer, which makes a cart
                cheaper, cannot make it dearer by losing it its coupon.

        >>> from datetime import UTC
        >>> five = Coupon("HELLO", "5.00 off", datetime(2026, 1, 1, tzinfo=UTC), amount_minor=500, minimum_minor=300)
        >>> five.off(1200, 1200), five.off(200, 400), five.off(299, 299)
        (500, 200, 0)
        """
        if cart_minor < self.minimum_minor:
            return 0
        if self.amount_minor is not None:
            return min(self.amount_minor, left_minor)
        return divide_half_away(left_minor * (self.percent_bp or 0), _WHOLE_BP)


def check_validity(name: str, valid_from: datetime, valid_until: datetime | None) -> None:
    """Refuse an end that does not come after its beginning.

    Raises:
        ValueError: It does not, or one of them has no timezone.
    """
    check_aware(f"{name}.valid_from", valid_from)
    if valid_until is not None:
        check_aware(f"{name}.valid_until", valid_until)
        if valid_until <= valid_from:
            raise ValueError(f"{name}.valid_until: expected after {valid_from}, got {valid_until}")


@dataclass(frozen=True, slots=True)
class PricedCart:
    """A cart with its prices, what is taken off them, and the tax.

    Attributes:
        lines: Priced lines, by sku.
        discounts: What offers take off, then what a coupon does; for each, lowest tax rate first.
        tax_rule: Whether prices include tax, and how it is rounded.
    """

    lines: tuple[ReceiptLine, ...]
    discounts: tuple[Discount, ...] = ()
    tax_rule: TaxRule = TaxRule.INCLUDED_PER_RATE

    @property
    def taxes(self) -> tuple[TaxAmount, ...] | None:
        """Tax by rate, lowest first; None if a price is not known."""
        return taxes_of(self.lines, self.discounts, self.tax_rule)

    @property
    def total_minor(self) -> int | None:
        """What is to pay, with tax, in the minor unit; None if a price is not known."""
        taxes = self.taxes
        return None if taxes is None else sum(tax.gross_minor for tax in taxes)

    @property
    def tax_minor(self) -> int | None:
        """The tax in the total, in the minor unit; None if a price is not known."""
        taxes = self.taxes
        return None if taxes is None else sum(tax.tax_minor for tax in taxes)

    @property
    def subtotal_minor(self) -> int | None:
        """The total without tax, in the minor unit; None if a price is not known."""
        taxes = self.taxes
        return None if taxes is None else sum(tax.net_minor for tax in taxes)

    @property
    def discount_minor(self) -> int:
        """What is taken off in all, in the minor unit."""
        return sum(discount.amount_minor for discount in self.discounts)

    @property
    def coupon_codes(self) -> tuple[str, ...]:
        """The coupons that took something off."""
        codes = (d.source.removeprefix(_COUPON) for d in self.discounts if d.source.startswith(_COUPON))
        return tuple(dict.fromkeys(codes))


def price_lines(
    lines: Iterable[ReceiptLine],
    offers: Iterable[Offer] = (),
    coupons: Iterable[Coupon] = (),
    tax_rule: TaxRule = TaxRule.INCLUDED_PER_RATE,
) -> PricedCart:
    """Take off priced lines what offers and at most one coupon allow.

    Offers come first (see ``best_offers``). A bundle's discount is shared by its units in proportion to their prices,
    that of a cheapest unit belongs to this unit; both thus have the tax rates of the units. Of the coupons the one that
    takes off most is used (where that is equal the one that ends first, then by code), on what is left, shared by tax
    rates in proportion to what is left of each. Shares are by largest remainder. A cart with an unknown price gets
    nothing off, for it cannot be charged as it is.

    Raises:
        ValueError: Too many offers share products; see ``best_offers``.
    """
    lines = tuple(lines)
    if any(line.unit_price_minor is None for line in lines):
        return PricedCart(lines, (), tax_rule)
    left: dict[int, int] = {}
    for line in lines:
        if line.quantity > 0:
            left[line.tax_rate_bp] = left.get(line.tax_rate_bp, 0) + (line.amount_minor or 0)
    cart_minor = sum(left.values())
    off: dict[tuple[UUID, int], Discount] = {}
    for use in best_offers(lines, offers):
        for unit, amount_minor in zip(use.units, use.amounts_minor, strict=True):
            key = (use.offer.offer_id, unit.tax_rate_bp)
            if amount_minor:
                known = off.get(key) or Discount(
                    use.offer.name, f"{_OFFER}{use.offer.offer_id}", unit.tax_rate_bp, amount_minor
                )
                off[key] = replace(known, amount_minor=known.amount_minor + amount_minor) if key in off else known
                left[unit.tax_rate_bp] -= amount_minor
    discounts = [off[key] for key in sorted(off)]
    discounts += _coupon_discounts(left, cart_minor, coupons)
    return PricedCart(lines, tuple(discounts), tax_rule)


def _coupon_discounts(left: Mapping[int, int], cart_minor: int, coupons: Iterable[Coupon]) -> list[Discount]:
    left_minor = sum(left.values())
    useful = [coupon for coupon in coupons if coupon.off(left_minor, cart_minor)]
    if not useful:
        return []
    best = min(
        useful,
        key=lambda coupon: (
            -coupon.off(left_minor, cart_minor),
            coupon.valid_until is None,
            coupon.valid_until or coupon.valid_from,
            coupon.code,
        ),
    )
    rates = sorted(left)
    shares = share_out(best.off(left_minor, cart_minor), [left[rate] for rate in rates])
    return [
        Discount(best.name, f"{_COUPON}{best.code}", rate, share)
        for rate, share in zip(rates, shares, strict=True)
        if share
    ]
