"""How tax is reckoned: contained in prices or put on top of them, rounded by a rule that has a name."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cart.money import divide_half_away, divide_half_even, share_out

_WHOLE_BP = 10_000


class TaxRule(StrEnum):
    """Whether prices contain the tax, over what it is rounded, and how a half is.

    *Once a rate*: all that is taxed at one rate is added up and rounded once, as EN 16931 (rule BR-CO-17) does for
    invoices; errors of half a unit then do not add up over many lines. *Once a line*: each line of the receipt is
    rounded by itself, its share of the discounts taken off before. A half goes away from zero (DIN 1333, "commercial")
    unless the name ends in ``half_even`` (IEEE 754, "bankers'").
    """

    INCLUDED_PER_RATE = "included_per_rate"
    INCLUDED_PER_LINE = "included_per_line"
    EXCLUDED_PER_RATE = "excluded_per_rate"
    EXCLUDED_PER_LINE = "excluded_per_line"
    INCLUDED_PER_RATE_HALF_EVEN = "included_per_rate_half_even"
    INCLUDED_PER_LINE_HALF_EVEN = "included_per_line_half_even"
    EXCLUDED_PER_RATE_HALF_EVEN = "excluded_per_rate_half_even"
    EXCLUDED_PER_LINE_HALF_EVEN = "excluded_per_line_half_even"

    @property
    def is_included(self) -> bool:
        """Whether prices contain the tax."""
        return self.value.startswith("included")

    @property
    def is_per_line(self) -> bool:
        """Whether tax is rounded once a line, not once a rate."""
        return "_per_line" in self.value

    def tax_of(self, amount_minor: int, tax_rate_bp: int) -> int:
        """The tax that belongs to an amount, rounded, in the minor unit.

        Args:
            amount_minor: A sum of prices: with tax if it is included, else without.
            tax_rate_bp: Basis points of the amount without tax; 1900 is 19 %.

        Raises:
            ValueError: The rate is negative.

        >>> TaxRule.INCLUDED_PER_RATE.tax_of(1190, 1900), TaxRule.EXCLUDED_PER_RATE.tax_of(1000, 1900)
        (190, 190)
        """
        if tax_rate_bp < 0:
            raise ValueError(f"tax_rate_bp: expected 0 or more, got {tax_rate_bp}")
        divide = divide_half_even if self.value.endswith("half_even") else divide_half_away
        return divide(amount_minor * tax_rate_bp, _WHOLE_BP + (tax_rate_bp if self.is_included else 0))


@dataclass(frozen=True, slots=True)
class TaxAmount:
    """The tax of one rate on a receipt.

    Attributes:
        tax_rate_bp: The rate, basis points.
        gross_minor: What is to pay for all that is taxed at this rate, with tax.
        tax_minor: The tax in it.
    """

    tax_rate_bp: int
    gross_minor: int
    tax_minor: int

    @property
    def net_minor(self) -> int:
        """What is to pay without the tax."""
        return self.gross_minor - self.tax_minor


@dataclass(frozen=True, slots=True)
class Discount:
    """What an offer or a coupon takes off a receipt, at one tax rate.

    Attributes:
        name: For people.
        source: ``offer:`` or ``coupon:`` and which.
        tax_rate_bp: The rate of what became cheaper, basis points.
        amount_minor: What is taken off, above 0; of prices, so with tax only if prices include it.
    """

    name: str
    source: str
    tax_rate_bp: int
    amount_minor: int

    def __post_init__(self) -> None:
        if self.amount_minor <= 0:
            raise ValueError(f"Discount.amount_minor of {self.source}: expected above 0, got {self.amount_minor}")


class PricedLine(Protocol):
    """What is asked of a line to tax it."""

    @property
    def sku(self) -> str:
        """The product."""

    @property
    def tax_rate_bp(self) -> int:
        """Basis points."""

    @property
    def amount_minor(self) -> int | None:
        """Price of the line; None if it is not known."""


def taxes_of(
    lines: Sequence[PricedLine],
    discounts: Sequence[Discount] = (),
    tax_rule: TaxRule = TaxRule.INCLUDED_PER_RATE,
) -> tuple[TaxAmount, ...] | None:
    """Tax by rate, lowest rate first; None if a price is not known.

    Lines may come in any order.
    """
    amounts: dict[int, list[tuple[str, int]]] = {}
    for line in lines:
        if line.amount_minor is None:
            return None
        amounts.setdefault(line.tax_rate_bp, []).append((line.sku, line.amount_minor))
    off: dict[int, int] = {}
    for discount in discounts:
        off[discount.tax_rate_bp] = off.get(discount.tax_rate_bp, 0) + discount.amount_minor
    return tuple(
        _tax_at(rate, [amount for _, amount in sorted(amounts.get(rate, []))], off.get(rate, 0), tax_rule)
        for rate in sorted(amounts.keys() | off.keys())
    )


def _tax_at(tax_rate_bp: int, amounts_minor: list[int], off_minor: int, tax_rule: TaxRule) -> TaxAmount:
    base_minor = sum(amounts_minor) - off_minor
    if tax_rule.is_per_line:
        tax_minor = sum(tax_rule.tax_of(amount, tax_rate_bp) for amount in _less(amounts_minor, off_minor))
    else:
        tax_minor = tax_rule.tax_of(base_minor, tax_rate_bp)
    return TaxAmount(tax_rate_bp, base_minor if tax_rule.is_included else base_minor + tax_minor, tax_minor)


def _less(amounts_minor: list[int], off_minor: int) -> list[int]:
    """The lines' amounts, each less its share of what is taken off; what came back has none."""
    weights = [max(amount, 0) for amount in amounts_minor]
    if off_minor and not any(weights):
        return [*amounts_minor, -off_minor]
    return [amount - share for amount, share in zip(amounts_minor, share_out(off_minor, weights), strict=True)]


def total_of(
    lines: Sequence[PricedLine],
    discounts: Sequence[Discount] = (),
    tax_rule: TaxRule = TaxRule.INCLUDED_PER_RATE,
) -> int | None:
    """What is to pay, with tax, in the minor unit; None if a price is not known."""
    taxes = taxes_of(lines, discounts, tax_rule)
    return None if taxes is None else sum(tax.gross_minor for tax in taxes)
