"""Invented products with realistic names, masses and prices: lines of one maker in several flavours, some twins."""

from dataclasses import dataclass

import numpy as np

from store_sim.goods import BELIEVED_G, LOOKALIKE
from vision.layout import ProductRecord

CURRENCY = "EUR"
TWINS, NEAR_TWINS = 0.22, 0.15
"""Shares of the products of a line, after its first, that weigh the same as it, or 1 to 3 % more or less.

Of the masses that the store of the public 2020 competition publishes, a fifth are those of another product too, to a
tenth of a gram: flavours of one line, mostly.
"""
LOOKALIKES = 0.01  # share of products that look like another: the same goods, imported under a barcode of their own
LINE_SIZES = (1, 1, 1, 2, 2, 3, 3, 4, 5, 6)

_FIRST = (
    *("Amber", "Silver", "Golden", "Quiet", "Merry", "Wild", "Tall", "Little", "Old", "Green", "Red", "Blue"),
    *("White", "Copper", "Bright", "Lucky", "Sunny", "Frosty", "Humble", "Brave", "Gentle", "Happy", "Noble"),
    *("Rustic", "Velvet", "Crimson", "Misty", "Royal", "Stony", "Swift", "Early", "Late", "Plain", "Grand"),
)
_SECOND = (
    *("Oak", "Fox", "Barn", "Mill", "Harbour", "Meadow", "Lantern", "Heron", "Orchard", "Hill", "River", "Field"),
    *("Bakery", "Garden", "Cellar", "Bee", "Crane", "Otter", "Pine", "Valley", "Bridge", "Coast", "Farm"),
    *("Maple", "Owl", "Peak", "Robin", "Stable", "Tower", "Willow", "Yard", "Anchor", "Comet"),
)
_FRUITS = (
    "Apple",
    "Cherry",
    "Lemon",
    "Lime",
    "Mango",
    "Orange",
    "Peach",
    "Pear",
    "Raspberry",
    "Strawberry",
    "Blueberry",
)
_SAVOURY = ("Sea Salt", "Paprika", "Sour Cream", "Cheddar", "Chilli", "Vinegar", "Rosemary", "Barbecue", "Plain")
_SWEET = ("Chocolate", "Caramel", "Vanilla", "Honey", "Hazelnut", "Coconut", "Cinnamon", "Plain", "Cranberry")


@dataclass(frozen=True, slots=True)
class _Family:
    """Products of one sort.

    Attributes:
        sort: The part of the shop it stands in.
        noun: What it is called.
        flavours: What varies within a line.
        median_g: Median mass of a unit with its pack.
        spread: Standard deviation of the logarithm of the mass between lines.
        cents_per_100g: Median price.
        unit: How the contents are printed: g or ml.
        contents: Share of the mass that is contents.
    """

    sort: str
    noun: str
    flavours: tuple[str, ...]
    median_g: float
    spread: float
    cents_per_100g: float
    unit: str = "g"
    contents: float = 0.95


_FAMILIES = (
    _Family(
        "drinks", "Spring Water", ("Still", "Sparkling", "Lemon", "Lime", "Peach", "Mint"), 540, 0.4, 18, "ml", 0.97
    ),
    _Family("drinks", "Lemonade", _FRUITS, 430, 0.3, 35, "ml", 0.9),
    _Family("drinks", "Fruit Juice", _FRUITS, 700, 0.35, 35, "ml", 0.85),
    _Family("drinks", "Iced Tea", ("Lemon", "Peach", "Green", "Black", "Mint", "Hibiscus"), 540, 0.15, 30, "ml", 0.92),
    _Family("drinks", "Cola", ("Classic", "Cherry", "Zero", "Lime", "Vanilla", "Decaf"), 368, 0.06, 35, "ml", 0.9),
    _Family("drinks", "Energy Drink", ("Original", "Zero", *_FRUITS), 270, 0.1, 60, "ml", 0.93),
    _Family("drinks", "Lager", ("Pale", "Dark", "Alcohol free", "Amber"), 362, 0.12, 40, "ml", 0.92),
    _Family("drinks", "Oat Drink", ("Plain", "Barista", "Chocolate", "Vanilla", "Calcium"), 1040, 0.2, 22, "ml", 0.97),
    _Family("chilled", "Yoghurt", (*_FRUITS, "Plain", "Vanilla"), 155, 0.3, 60),
    _Family("chilled", "Custard", ("Vanilla", "Chocolate", "Caramel"), 140, 0.2, 70),
    _Family("chilled", "Curry Bowl", ("Chicken", "Tofu", "Lentil", "Prawn", "Paneer"), 420, 0.2, 130),
    _Family("chilled", "Salad", ("Caesar", "Greek", "Tuna", "Garden", "Quinoa", "Egg"), 320, 0.15, 150),
    _Family("chilled", "Rice Bowl", ("Beef", "Salmon", "Vegetable", "Teriyaki", "Kimchi"), 450, 0.15, 140),
    _Family("breakfast", "Granola", _SWEET, 390, 0.25, 110),
    _Family("breakfast", "Muesli", (*_SWEET, "Raspberry"), 520, 0.25, 80),
    _Family("breakfast", "Jam", _FRUITS, 430, 0.25, 80, "g", 0.62),
    _Family("breakfast", "Honey", ("Blossom", "Forest", "Acacia", "Heather"), 520, 0.3, 140, "g", 0.66),
    _Family("breakfast", "Peanut Butter", ("Smooth", "Crunchy", "Salted"), 430, 0.25, 100, "g", 0.72),
    _Family("breakfast", "Coffee Beans", ("House", "Dark", "Decaf", "Single Farm"), 262, 0.4, 260),
    _Family("breakfast", "Herbal Tea", ("Mint", "Chamomile", "Ginger", "Fennel", "Rooibos", "Lemon"), 68, 0.25, 420),
    _Family("larder", "Rice", ("Jasmine", "Basmati", "Brown", "Risotto"), 515, 0.3, 40),
    _Family("larder", "Penne", ("Durum", "Wholemeal", "Lentil", "Tricolour"), 515, 0.15, 35),
    _Family("larder", "Red Lentils", ("Split", "Whole", "Organic"), 510, 0.2, 50),
    _Family("larder", "Chickpeas", ("Plain", "Salted", "Organic", "Spiced"), 470, 0.12, 25, "g", 0.85),
    _Family("larder", "Sardines", ("in Oil", "in Tomato", "with Lemon", "with Chilli"), 155, 0.2, 180, "g", 0.7),
    _Family("larder", "Passata", ("Plain", "Basil", "Garlic", "Chilli"), 720, 0.15, 30, "g", 0.68),
    _Family("larder", "Olives", ("Green", "Black", "Stuffed", "Garlic"), 350, 0.2, 110, "g", 0.6),
    _Family("larder", "Pesto", ("Basil", "Tomato", "Rocket"), 260, 0.15, 150, "g", 0.7),
    _Family("larder", "Soy Sauce", ("Light", "Dark", "Reduced Salt"), 330, 0.3, 110, "ml", 0.6),
    _Family("larder", "Olive Oil", ("Mild", "Fruity", "Chilli"), 760, 0.35, 120, "ml", 0.68),
    _Family("larder", "Noodle Cup", ("Chicken", "Beef", "Shrimp", "Vegetable", "Curry"), 85, 0.2, 160),
    _Family("snacks", "Crisps", _SAVOURY, 110, 0.5, 130),
    _Family("snacks", "Popcorn", ("Sea Salt", "Caramel", "Butter", "Sweet"), 80, 0.3, 180),
    _Family("snacks", "Tortilla Chips", _SAVOURY, 185, 0.2, 90),
    _Family("snacks", "Pretzels", ("Salted", "Sesame", "Chocolate", "Mustard"), 165, 0.3, 90),
    _Family("snacks", "Crackers", _SAVOURY, 195, 0.3, 90),
    _Family("snacks", "Almonds", ("Salted", "Smoked", "Plain", "Honey"), 170, 0.3, 190),
    _Family("snacks", "Cashews", ("Salted", "Roasted", "Chilli", "Plain"), 175, 0.3, 190),
    _Family("snacks", "Trail Mix", ("Tropical", "Berry", "Nut", "Chocolate"), 235, 0.25, 130),
    _Family("sweets", "Dark Chocolate", ("70 %", "85 %", "Orange", "Sea Salt", "Hazelnut", "Mint"), 107, 0.08, 230),
    _Family("sweets", "Gummy Bears", ("Sour", "Fruit", "Cola", "Berry", "Yoghurt"), 175, 0.3, 90),
    _Family("sweets", "Protein Bar", _SWEET, 58, 0.12, 380),
    _Family("sweets", "Nut Bar", _SWEET, 41, 0.12, 300),
    _Family("sweets", "Fruit Bar", _FRUITS, 36, 0.2, 330),
    _Family("sweets", "Chewing Gum", ("Spearmint", "Peppermint", "Cinnamon", "Fruit", "Menthol"), 32, 0.2, 600),
    _Family("sweets", "Mints", ("Extra Strong", "Soft", "Sugar free", "Liquorice"), 38, 0.3, 400),
    _Family("sweets", "Butter Biscuits", _SWEET, 185, 0.3, 100),
    _Family("household", "Dish Liquid", ("Lemon", "Aloe", "Sensitive", "Orange"), 560, 0.15, 40, "ml", 0.9),
    _Family("household", "Shampoo", ("Mild", "Herbal", "Sport", "Apple"), 320, 0.15, 100, "ml", 0.9),
    _Family("household", "Paper Tissues", ("Soft", "Menthol", "Recycled"), 150, 0.2, 110),
)
SORTS = tuple(dict.fromkeys(family.sort for family in _FAMILIES))
"""The parts of a shop, in the order in which they are laid out."""


def gtin_check_digit(digits: str) -> str:
    """Return the check digit of a GTIN without it (GS1 General Specifications: weights 3, 1 from the right).

    >>> gtin_check_digit("629104150021")
    '3'
    """
    total = sum(int(digit) * (3, 1)[place % 2] for place, digit in enumerate(reversed(digits)))
    return str(-total % 10)


@dataclass(frozen=True, slots=True)
class InventedProduct:
    """A product, and the part of the shop (one of ``SORTS``) where it belongs."""

    record: ProductRecord
    sort: str


def random_range(rng: np.random.Generator, count: int) -> tuple[InventedProduct, ...]:
    """Invent what a shop sells, line by line.

    Args:
        rng: Decides everything.
        count: How many products.

    Returns:
        Products with different barcodes and names; barcodes are GTIN-13 from the block for use within one shop.
    """
    products: list[InventedProduct] = []
    skus: set[str] = set()
    names: set[str] = set()

    def add(name: str, sort: str, mass_g: float, price: int) -> bool:
        if name in names or len(products) == count:
            return False
        names.add(name)
        products.append(InventedProduct(ProductRecord(_barcode(rng, skus), name, mass_g, price, CURRENCY), sort))
        return True

    while len(products) < count:
        family = _FAMILIES[int(rng.integers(len(_FAMILIES)))]
        brand = f"{_FIRST[int(rng.integers(len(_FIRST)))]} {_SECOND[int(rng.integers(len(_SECOND)))]}"
        base_g = _mass(rng, family, family.median_g)
        cents_per_100g = family.cents_per_100g * float(np.exp(0.2 * rng.standard_normal()))
        size = min(int(rng.choice(LINE_SIZES)), len(family.flavours))
        flavours = rng.permutation(len(family.flavours))[:size]
        for place, flavour in enumerate(flavours.tolist()):
            mass_g = base_g if place == 0 else _sibling_mass(rng, family, base_g)
            contents = _rounded_contents(mass_g * family.contents)
            name = f"{brand} {family.noun} {family.flavours[flavour]} {contents} {family.unit}"
            price = _price(cents_per_100g * mass_g / 100)
            if add(name, family.sort, mass_g, price) and rng.random() < LOOKALIKES:
                add(name + LOOKALIKE, family.sort, mass_g, _price(price * 0.9))
    return tuple(products)


def _mass(rng: np.random.Generator, family: _Family, around_g: float) -> float:
    """Draw a mass, log-normal; what is beyond three times of usual is another sort of thing."""
    factor = float(np.exp(np.clip(family.spread * rng.standard_normal(), -1.1, 1.1)))
    return round(float(np.clip(around_g * factor, BELIEVED_G[0], BELIEVED_G[1] / 2)), 1)


def _sibling_mass(rng: np.random.Generator, family: _Family, base_g: float) -> float:
    """Mass of another flavour of a line: a twin of the first, a near-twin, or another size."""
    draw = rng.random()
    if draw < TWINS:
        return base_g
    if draw < TWINS + NEAR_TWINS:
        off = rng.uniform(0.01, 0.03) * (1 if rng.random() < 0.5 else -1)
        return round(base_g * (1 + off), 1)
    return _mass(rng, family, base_g)


def _rounded_contents(amount: float) -> int:
    step = 5 if amount < 200 else 10 if amount < 600 else 50
    return max(step, round(amount / step) * step)


def _price(cents: float) -> int:
    """The nearest price that ends in 9, as shops like them."""
    return max(29, round((cents + 1) / 10) * 10 - 1)


def _barcode(rng: np.random.Generator, taken: set[str]) -> str:
    while True:
        stem = "2" + "".join(str(digit) for digit in rng.integers(0, 10, 11).tolist())
        if stem not in taken:
            taken.add(stem)
            return stem + gtin_check_digit(stem)
