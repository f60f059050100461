"""What the store sells: products, their prices, and the check digit of their barcodes."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cart.money import minor_digits

GTIN_LENGTHS = (8, 12, 13, 14)
MAX_TAX_RATE_BP = 10_000
# Unit prices stay far below what a 64-bit database column holds, so that no sum of them can leave it.
MAX_UNIT_PRICE_MINOR = 10**12


def is_gtin(text: str) -> bool:
    """Whether a barcode is a GTIN-8, -12, -13 or -14 with a right check digit (GS1 General Specifications 7.9.1).

    >>> is_gtin("4006381333931"), is_gtin("4006381333932"), is_gtin("4006381")
    (True, False, False)
    """
    if len(text) not in GTIN_LENGTHS or not (text.isascii() and text.isdigit()):
        return False
    # From the right, starting beside the check digit, digits weigh 3, 1, 3, 1 ...; with the check digit the sum is a
    # multiple of 10.
    weighted = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(reversed(text)))
    return weighted % 10 == 0


@dataclass(frozen=True, slots=True)
class Product:
    """Something the store sells.

    Attributes:
        sku: The store's name for it, as published; a barcode with a wrong check digit will do.
        name: Name for people.
        unit_price_minor: Price of one unit with tax, in the currency's minor unit; None if not known.
        currency: ISO 4217 code.
        tax_rate_bp: Tax contained in the price, basis points of the price without tax; 1900 is 19 %.
        mass_g: Mass of one unit, grams; None if not known.
        gtin: GTIN, its check digit right; None if there is none.
    """

    sku: str
    name: str
    unit_price_minor: int | None
    currency: str
    tax_rate_bp: int = 0
    mass_g: float | None = None
    gtin: str | None = None

    def __post_init__(self) -> None:
        minor_digits(self.currency)
        if not self.sku:
            raise ValueError("Product.sku: expected text, got nothing")
        if self.unit_price_minor is not None and not 0 <= self.unit_price_minor <= MAX_UNIT_PRICE_MINOR:
            raise ValueError(
                f"Product.unit_price_minor of {self.sku}: expected 0 to {MAX_UNIT_PRICE_MINOR},"
                f" got {self.unit_price_minor}"
            )
        if not 0 <= self.tax_rate_bp <= MAX_TAX_RATE_BP:
            raise ValueError(
                f"Product.tax_rate_bp of {self.sku}: expected 0 to {MAX_TAX_RATE_BP}, got {self.tax_rate_bp}"
            )
        if self.mass_g is not None and not (math.isfinite(self.mass_g) and self.mass_g > 0):
            raise ValueError(f"Product.mass_g of {self.sku}: expected a positive number, got {self.mass_g}")
        if self.gtin is not None and not is_gtin(self.gtin):
            raise ValueError(f"Product.gtin of {self.sku}: expected a GTIN with a right check digit, got {self.gtin}")


class Catalogue:
    """The products of one store, all priced in one currency.

    Args:
        currency: ISO 4217 code.
        products: Products, each sku once.

    Raises:
        ValueError: A sku comes twice, or a product is priced in another currency.

    >>> shop = Catalogue("USD", [Product("042", "Oat bar", 199, "USD")])
    >>> shop.get("042").name, shop.get("043")
    ('Oat bar', None)
    """

    def __init__(self, currency: str, products: Iterable[Product] = ()) -> None:
        minor_digits(currency)
        self.currency = currency
        self._products: dict[str, Product] = {}
        for product in products:
            if product.currency != currency:
                raise ValueError(f"Catalogue: expected prices in {currency}, {product.sku} has {product.currency}")
            if product.sku in self._products:
                raise ValueError(f"Catalogue: sku {product.sku} comes twice")
            self._products[product.sku] = product

    def get(self, sku: str) -> Product | None:
        """The product of that sku, or None."""
        return self._products.get(sku)

    def __len__(self) -> int:
        return len(self._products)

    def __iter__(self) -> Iterator[Product]:
        return iter(self._products.values())
