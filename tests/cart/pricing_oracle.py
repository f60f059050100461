"""A second reckoning of what a cart costs, in ``Decimal`` and by trying everything, to compare ``cart.offers`` with."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext
from itertools import combinations
from random import Random
from uuid import UUID

from cart.offers import (
    BundlePrice,
    CheapestOff,
    Coupon,
    Deal,
    Offer,
    OfferUse,
    PercentOff,
    PricedCart,
    Unit,
    best_offers,
    price_lines,
)
from cart.receipts import ReceiptLine
from cart.taxes import TaxRule

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ONE = Decimal(1)
WHOLE_BP = Decimal(10_000)


def differences(
    lines: Sequence[ReceiptLine], offers: Sequence[Offer], coupons: Sequence[Coupon], rule: TaxRule
) -> list[str]:
    """What the shop's reckoning and this one say differently about a cart, one sentence each."""
    priced = price_lines(lines, offers, coupons, rule)
    with localcontext() as context:
        context.prec = 60
        if any(line.unit_price_minor is None for line in lines):
            free = priced.discounts == () and priced.total_minor is None and priced.taxes is None
            return [] if free else ["a cart with an unknown price was priced"]
        return _compare(priced, lines, best_offers(lines, offers), offers, coupons, rule)


def _compare(
    priced: PricedCart,
    lines: Sequence[ReceiptLine],
    uses: Sequence[OfferUse],
    offers: Sequence[Offer],
    coupons: Sequence[Coupon],
    rule: TaxRule,
) -> list[str]:
    found = []
    units = [
        Unit(line.unit_price_minor or 0, line.sku, line.tax_rate_bp) for line in lines for _ in range(line.quantity)
    ]
    taken = [unit for use in uses for unit in use.units]
    if any(taken.count(unit) > units.count(unit) for unit in taken):
        found.append("a unit is in two offers")
    off: dict[tuple[str, int], Decimal] = {}
    for use in uses:
        if len(use.units) != use.offer.deal.quantity or not {unit.sku for unit in use.units} <= set(use.offer.skus):
            found.append(f"{use.offer.name} was laid over units that it does not fit")
        shares = _shares(use.offer.deal, [Decimal(unit.price_minor) for unit in use.units])
        for unit, share in zip(use.units, shares, strict=True):
            key = (f"offer:{use.offer.offer_id}", unit.tax_rate_bp)
            off[key] = off.get(key, Decimal(0)) + share
    best, reached = _most_off(tuple(sorted(units)), offers), sum(off.values(), Decimal(0))
    if best != reached:
        found.append(f"offers could take off {best}, they take off {reached}")
    left: dict[int, Decimal] = {}
    for line in lines:
        if line.quantity > 0:
            amount = Decimal(line.unit_price_minor or 0) * line.quantity
            left[line.tax_rate_bp] = left.get(line.tax_rate_bp, Decimal(0)) + amount
    for (_, rate), amount in off.items():
        left[rate] -= amount
    off |= _coupon(coupons, left, sum((Decimal(unit.price_minor) for unit in units), Decimal(0)))
    said = {(discount.source, discount.tax_rate_bp): Decimal(discount.amount_minor) for discount in priced.discounts}
    if said != {key: amount for key, amount in off.items() if amount}:
        found.append(f"discounts are {said}, expected {off}")
    taxes = _taxes(lines, off, rule)
    if [(tax.tax_rate_bp, tax.gross_minor, tax.tax_minor) for tax in priced.taxes or ()] != taxes:
        found.append(f"taxes are {priced.taxes}, expected {taxes}")
    total = sum(gross for _, gross, _ in taxes)
    tax = sum(tax for _, _, tax in taxes)
    if (priced.total_minor, priced.tax_minor, priced.subtotal_minor) != (total, tax, total - tax):
        found.append(f"the total is {priced.total_minor} with {priced.tax_minor} of tax, expected {total} with {tax}")
    return found


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(ONE, ROUND_HALF_UP)


def _shares(deal: Deal, prices: Sequence[Decimal]) -> list[Decimal]:
    if isinstance(deal, BundlePrice):
        return _hamilton(max(Decimal(0), sum(prices, Decimal(0)) - deal.price_minor), prices)
    cheapest = min(range(len(prices)), key=lambda place: (prices[place], -place))
    off = _rounded(prices[cheapest] * deal.percent_bp / WHOLE_BP)
    return [off if place == cheapest else Decimal(0) for place in range(len(prices))]


def _hamilton(amount: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    whole = sum(weights, Decimal(0))
    if not amount:
        return [Decimal(0)] * len(weights)
    exact = [amount * weight / whole for weight in weights]
    shares = [value.quantize(ONE, ROUND_FLOOR) for value in exact]
    # To 30 decimals, so that equal remainders are equal in spite of the digits that Decimal has to cut off.
    rests = [(value - share).quantize(Decimal("1e-30")) for value, share in zip(exact, shares, strict=True)]
    while sum(shares) < amount:
        place = max(range(len(rests)), key=lambda index: (rests[index], -index))
        shares[place] += 1
        rests[place] = Decimal(-1)
    return shares


def _most_off(units: tuple[Unit, ...], offers: Sequence[Offer]) -> Decimal:
    """Try every way to lay offers over units."""
    known: dict[tuple[Unit, ...], Decimal] = {}

    def most(rest: tuple[Unit, ...]) -> Decimal:
        if not rest:
            return Decimal(0)
        if rest in known:
            return known[rest]
        first, others = rest[0], rest[1:]
        best = most(others)
        for offer in offers:
            if first.sku not in offer.skus:
                continue
            fitting = [place for place, unit in enumerate(others) if unit.sku in offer.skus]
            for chosen in combinations(fitting, offer.deal.quantity - 1):
                group = [Decimal(unit.price_minor) for unit in (first, *(others[place] for place in chosen))]
                after = tuple(unit for place, unit in enumerate(others) if place not in chosen)
                best = max(best, sum(_shares(offer.deal, group), Decimal(0)) + most(after))
        known[rest] = best
        return best

    return most(units)


def _coupon(coupons: Sequence[Coupon], left: dict[int, Decimal], before: Decimal) -> dict[tuple[str, int], Decimal]:
    basket = sum(left.values(), Decimal(0))
    worth = []
    for coupon in coupons:
        if before < coupon.minimum_minor:
            continue
        if coupon.amount_minor is not None:
            off = min(Decimal(coupon.amount_minor), basket)
        else:
            off = _rounded(basket * Decimal(coupon.percent_bp or 0) / WHOLE_BP)
        ends = coupon.valid_until.timestamp() if coupon.valid_until else float("inf")
        worth.append((-off, ends, coupon.code))
    if not worth or not min(worth)[0]:
        return {}
    off, _, code = min(worth)
    rates = sorted(left)
    shares = _hamilton(-off, [left[rate] for rate in rates])
    return {(f"coupon:{code}", rate): share for rate, share in zip(rates, shares, strict=True)}


def _taxes(
    lines: Sequence[ReceiptLine], off: dict[tuple[str, int], Decimal], rule: TaxRule
) -> list[tuple[int, int, int]]:
    rounding = ROUND_HALF_EVEN if rule.value.endswith("half_even") else ROUND_HALF_UP
    included = rule.value.split("_")[0] == "included"
    taxes = []
    for rate in sorted({line.tax_rate_bp for line in lines}):
        of_rate = sorted((line for line in lines if line.tax_rate_bp == rate), key=lambda line: line.sku)
        amounts = [Decimal(line.unit_price_minor or 0) * line.quantity for line in of_rate]
        taken = sum((amount for (_, at), amount in off.items() if at == rate), Decimal(0))
        if "per_line" in rule.value:
            shares = _hamilton(taken, [max(amount, Decimal(0)) for amount in amounts])
            bases = [amount - share for amount, share in zip(amounts, shares, strict=True)]
        else:
            bases = [sum(amounts, Decimal(0)) - taken]
        base = WHOLE_BP + rate if included else WHOLE_BP
        tax = sum(((value * rate / base).quantize(ONE, rounding) for value in bases), Decimal(0))
        gross = sum(bases, Decimal(0)) + (0 if included else tax)
        taxes.append((rate, int(gross), int(tax)))
    return taxes


def random_cart(random: Random) -> tuple[list[ReceiptLine], list[Offer], list[Coupon], TaxRule]:
    """A small cart with offers and coupons that fight for it, any tax rule, now and then an unknown price."""
    most = random.choice([3, 20, 500, 100_000])
    skus = [f"{number:03d}" for number in random.sample(range(1000), random.randint(1, 4))]
    rates = random.choices([0, 500, 700, 825, 1900, 2550], k=2)
    lines, room = [], 6
    for sku in skus:
        quantity = random.randint(1, max(1, min(4, room)))
        room -= quantity
        price = None if random.random() < 0.01 else random.randint(0, most)
        lines.append(ReceiptLine(sku, f"Product {sku}", quantity, price, random.choice(rates)))
    if random.random() < 0.02:
        lines.append(ReceiptLine("zzz", "Came back", -1, random.randint(0, most), rates[0]))
    offers = []
    for number in range(random.randint(0, 3)):
        percent = random.choice([1, 333, 1000, 5000, 10_000])
        deals: list[Deal] = [
            BundlePrice(random.randint(1, 4), random.randint(0, 3 * most)),
            CheapestOff(random.randint(2, 4), percent),
            PercentOff(percent),
        ]
        names = tuple(random.sample(skus, random.randint(1, len(skus))))
        offers.append(Offer(UUID(int=random.getrandbits(64)), f"Offer {number}", names, random.choice(deals)))
    coupons = []
    for number in range(random.choice([0, 0, 1, 2])):
        is_amount = random.random() < 0.5
        coupons.append(
            Coupon(
                f"C{number}",
                f"Coupon {number}",
                NOON,
                amount_minor=random.randint(1, 4 * most) if is_amount else None,
                percent_bp=None if is_amount else random.choice([1, 500, 3333, 10_000]),
                minimum_minor=random.choice([0, 0, most]),
            )
        )
    random.shuffle(lines)
    return lines, offers, coupons, random.choice(list(TaxRule))
