"""What products look like: kind of pack, size, colours, and printed labels, all from what a site publishes of them."""

import re
import zlib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

from vision.arrays import FloatArray, ImageArray, check_shape
from vision.layout import ProductRecord

LOOKALIKE = " (import)"
"""A name that ends so is printed on the pack without it: two SKUs whose names differ in nothing else look alike."""

BELIEVED_G = (8.0, 5000.0)  # the lightest thing sold singly is a sachet or a stick of gum, the heaviest a 5 l canister


class Pack(StrEnum):
    """Kinds of packs, by the shape that a renderer draws."""

    BOTTLE = "bottle"
    CAN = "can"
    TIN = "tin"
    CARTON = "carton"
    JAR = "jar"
    CUP = "cup"
    BOX = "box"
    SMALL_BOX = "small box"
    BAG = "bag"
    POUCH = "pouch"
    BAR = "bar"
    TRAY = "tray"


@dataclass(frozen=True, slots=True)
class _Make:
    """How packs of a kind are built.

    Attributes:
        g_per_cm3: Mass over the volume of the box around it; measured on common packs, see the comments below.
        shape: Width, depth and height in proportion.
        typical_g: Mass of one whose mass is not published.
        mass_range_g: Published masses beyond it are wrong or of a multipack, and are taken as its nearest end.
        outline: For a round pack: (radius / half the width, height share) from the bottom up; empty for others.
        label: From which to which share of the height the label goes.
        lid: The share of the height above which cap or lid is.
    """

    g_per_cm3: float
    shape: tuple[float, float, float]
    typical_g: float
    mass_range_g: tuple[float, float]
    outline: tuple[tuple[float, float], ...] = ()
    label: tuple[float, float] = (0.0, 1.0)
    lid: float = 1.0


_MAKES = {
    # A 0.5 l water bottle: 523 g, 6.5 cm across, 21 cm high.
    Pack.BOTTLE: _Make(
        0.59,
        (1, 1, 3.2),
        520,
        (80, 2200),
        ((0.9, 0), (1, 0.03), (1, 0.62), (0.93, 0.7), (0.45, 0.88), (0.34, 0.92), (0.38, 0.925), (0.38, 1)),
        (0.2, 0.62),
        0.925,
    ),
    # A 355 ml drinks can: 370 g, 6.6 by 12.2 cm.
    Pack.CAN: _Make(
        0.70,
        (1, 1, 1.85),
        370,
        (60, 900),
        ((0.8, 0), (1, 0.06), (1, 0.9), (0.82, 0.98), (0.82, 1)),
        (0.03, 0.93),
        0.96,
    ),
    # Sardines: 155 g, 10.5 by 7.5 by 2.2 cm.
    Pack.TIN: _Make(0.90, (1, 0.71, 0.21), 155, (60, 500)),
    # A 1 l carton of milk: 1,047 g, 7 by 7 by 20 cm.
    Pack.CARTON: _Make(1.05, (1, 1, 2.75), 1040, (150, 2100), lid=0.97),
    # Jam: 700 g with the glass for 450 g of jam, 8 cm across, 11 cm high.
    Pack.JAR: _Make(
        0.85,
        (1, 1, 1.4),
        500,
        (60, 1500),
        ((0.92, 0), (1, 0.04), (1, 0.78), (0.86, 0.84), (0.9, 0.85), (0.9, 1)),
        (0.12, 0.74),
        0.85,
    ),
    # Yoghurt: 121 g, 7.5 cm across, 6.5 cm high.
    Pack.CUP: _Make(
        0.34, (1, 1, 0.9), 125, (40, 500), ((0.78, 0), (0.98, 0.95), (1, 0.96), (1, 1)), (0.03, 0.93), 0.96
    ),
    # Crackers: 429 g, 16 by 6.5 by 20 cm.
    Pack.BOX: _Make(0.22, (1, 0.4, 1.3), 300, (25, 900)),
    # Chewing gum: 35 g, 7.5 by 1.5 by 5.5 cm.
    Pack.SMALL_BOX: _Make(0.55, (1, 0.24, 0.74), 35, (8, 120)),
    # Crisps: 62 g, 14 by 5 by 19 cm when it stands among others.
    Pack.BAG: _Make(0.055, (1, 0.36, 1.35), 60, (15, 250)),
    # Nuts: 212 g, 11 by 4.5 by 15 cm.
    Pack.POUCH: _Make(0.32, (1, 0.4, 1.35), 200, (15, 1100)),
    # A cereal bar in its wrapper: 42 g, standing, 3.5 by 2 by 13 cm.
    Pack.BAR: _Make(0.46, (1, 0.55, 3.4), 45, (15, 160)),
    # A meal in a tray: 560 g, 17 by 13 by 5 cm.
    Pack.TRAY: _Make(0.5, (1, 0.78, 0.3), 520, (100, 900)),
}

# What words in a name say of the pack; the first that matches decides, with the grams between which it does.
_WORDS: tuple[tuple[str, Pack, float, float], ...] = (
    ("gumm|haribo|sour |trolli|candy|candies|sweets|peach rings|starburst", Pack.POUCH, 25, 1e9),
    (r"\bgums?\b|\bgun\b|trident|orbit|extra .*mint|\bmints?\b(?!.*(bar|honey|tea|choc))", Pack.SMALL_BOX, 0, 90),
    (r"lozenge|bandage|dressing|matches|\bmio\b|c[ry]+stal light|batteries|seaweed", Pack.SMALL_BOX, 0, 120),
    (r"\bbars?\b|larabar|\brx\b|kit kat(?!.*pouch)|nougat|pocky|rope\b", Pack.BAR, 0, 160),
    ("chips(?! ahoy)|crisps", Pack.BAG, 0, 420),
    (r"sardine|tuna\b(?!.*sandwich)|mackerel|anchov|\btins?\b", Pack.TIN, 0, 400),
    ("oat drink|soy drink|milk box|carton|coconut water|vita coco|almond drink", Pack.CARTON, 0, 1e9),
    ("yog|noosa|pudding|instant lunch|noodle|quark|skyr|custard", Pack.CUP, 0, 420),
    (r"\bcan\b|coke|coca|cola\b|pepsi|sprite|7 ?up|pepper 12|mtn dew|soda|ginger ale|red ?bull", Pack.CAN, 150, 440),
    (r"spindrift|bubly|la croix|izze|energy|lager|\bale\b|\bbeer", Pack.CAN, 150, 440),
    ("chickpeas|baked beans|sweetcorn|cold brew|chopped tomatoes", Pack.CAN, 150, 900),
    (r"fl oz|\d ?oz$|\brtd\b|\balo\b|sprite|coca", Pack.BOTTLE, 250, 1e9),
    (r"salad|sandwich|bowl|burger|wrap\b(?!.*(cling|alum|sq))|tacos|chicken(?!.*instant)|salmon", Pack.TRAY, 250, 1e9),
    ("sushi|curry|tikka|paneer|risotto|lasagne|focaccia|tofu|shrimp|meal|quiche", Pack.TRAY, 250, 1e9),
    (r"ribs?\b|pork|steak|beef|vindaloo|kitchen", Pack.TRAY, 250, 1e9),
    (r"sauce|vinegar|\boil\b|syrup|ketchup|dressing", Pack.BOTTLE, 100, 1e9),
    (r"\bjam\b|honey(?!.*(roast|mustard|tea))|peanut butter(?!.*(bar|cand|cook|choc))|olives", Pack.JAR, 100, 1e9),
    (r"salsa|passata|\bjar\b|pickle|pesto|mustard|candle|marmalade|gherkin|capers|spread", Pack.JAR, 100, 1e9),
    ("water|wtr|bottle|drink|juice|lemonade|smoothie|kombucha|soylent|frappuccino|aloe", Pack.BOTTLE, 140, 1e9),
    (r"\baz\b|clear americ?an|aquafina|\bice\b|\bmilk\b(?!.*choc)|kefir|iced tea|cordial|tonic", Pack.BOTTLE, 140, 1e9),
    ("arrowhead|purelife|corepower|pure ?leaf|bisque", Pack.BOTTLE, 140, 1e9),
    (r"cleaner|liquid|dishwash|detergent|\bdawn\b|pine-sol|fabuloso|lysol|spray|shampoo", Pack.BOTTLE, 140, 1e9),
    ("wipes|freshener|killer|booster", Pack.BOTTLE, 140, 1e9),
    (r"\btea\b|crackers|ritz|cereal|granola|flakes|rusks|biscuits|cookies.*oz|\bbox\b|muesli", Pack.BOX, 0, 1e9),
    ("napkin|gloves|foil|alumin|plates|cups|cling|tissue|towel|trash|kitchen bags", Pack.BOX, 0, 1e9),
    (r"chips ahoy|rolls\b(?!.*bread)|cake|crispbread|cocoa|sugar cubes", Pack.BOX, 0, 1e9),
    ("popcorn|puffs|doritos|cheetos|fritos|lay'?s|pretzel|snaps|snapea|tortilla|cheez|fries", Pack.BAG, 0, 420),
    ("straws|kettle|cracklins|taco bell|chex|boomchick|paqui|corn", Pack.BAG, 0, 420),
    (r"nuts?\b|almond|cashew|pistach|trail mix|raisin|apricot|dried|seeds|dates|chocolate|cookies", Pack.POUCH, 0, 1e9),
    (
        r"rice|penne|pasta|spaghetti|lentil|flour|sugar|beans|coffee|bread|bites|minis?\b|oats|couscous",
        Pack.POUCH,
        0,
        1e9,
    ),
)
_SPOKEN = tuple((re.compile(pattern), pack, low, high) for pattern, pack, low, high in _WORDS)


@dataclass(frozen=True, slots=True)
class Look:
    """How a product looks.

    Attributes:
        kind: Its pack.
        size_m: Width (along the shelf), depth and height as it stands, shape (3,), metres.
        body_rgb: Colour of the bare pack, and of the contents of a clear one, shape (3,), uint8.
        lid_rgb: Colour of cap or lid, shape (3,), uint8.
        outline: Of a round pack, (radius / half the width, share of the height) from the bottom up, shape (k, 2); no
            rows for a pack with flat sides.
        label_span: From which to which share of the height the printed label goes.
        lid_from: The share of the height above which cap or lid is; 1 without.
    """

    kind: Pack
    size_m: FloatArray
    body_rgb: ImageArray
    lid_rgb: ImageArray
    outline: FloatArray
    label_span: tuple[float, float]
    lid_from: float

    def __post_init__(self) -> None:
        check_shape("Look.size_m", self.size_m, (3,))
        check_shape("Look.outline", self.outline, ("k", 2))

    @property
    def is_round(self) -> bool:
        """Whether it is turned about its upright axis, as bottles and cans are."""
        return len(self.outline) > 0


@lru_cache(maxsize=8192)
def look_of(product: ProductRecord) -> Look:
    """Say how a product looks; equal names printed on packs of about equal mass look alike, no others do.

    The pack is guessed from words in the name and from the mass; its size follows from the mass, with the density and
    the proportions of such packs. The same product always gets the same look.

    >>> water = look_of(ProductRecord("1", "Grey Heron Spring Water 0.5 l", 523, 89, "EUR"))
    >>> water.kind.value, water.size_m.round(2).tolist()
    ('bottle', [0.07, 0.07, 0.21])
    """
    kind = pack_of(product)
    make = _MAKES[kind]
    mass_g = _believed_g(product)
    mass_g = make.typical_g if np.isnan(mass_g) else float(np.clip(mass_g, *make.mass_range_g))
    rng = _generator(product)
    proportions = np.array(make.shape, float)
    # Makers differ: up to some 8 % slimmer or stouter at the same volume, and a little more or less air inside.
    proportions[2] *= rng.uniform(0.92, 1.08) ** 1.5
    volume_m3 = mass_g / make.g_per_cm3 * rng.uniform(0.94, 1.06) * 1e-6
    size_m = proportions * np.cbrt(volume_m3 / proportions.prod())
    colours = _colours_of(product)
    return Look(
        kind,
        size_m,
        colours.body,
        colours.lid,
        np.array(make.outline, float).reshape(-1, 2),
        make.label,
        make.lid,
    )


def pack_of(product: ProductRecord) -> Pack:
    """Guess the kind of pack from the words in a product's name and its mass."""
    name = product.name.lower()
    mass_g = _believed_g(product)
    for pattern, pack, low_g, high_g in _SPOKEN:
        if pattern.search(name) and (np.isnan(mass_g) or low_g <= mass_g <= high_g):
            return pack
    # Nothing said: small things are bars, the middle is bags, boxes and pouches alike, what is heavy is food in a tray.
    if np.isnan(mass_g) or 70 < mass_g <= 350:
        return (Pack.POUCH, Pack.BOX, Pack.BAG)[_crc(_printed(product)) % 3]
    return Pack.BAR if mass_g <= 70 else Pack.TRAY


def _believed_g(product: ProductRecord) -> float:
    """The published mass, nan where it cannot be one of a single pack: published lists have such slips."""
    return product.mass_g if BELIEVED_G[0] <= product.mass_g <= BELIEVED_G[1] else float("nan")


@dataclass(frozen=True, slots=True)
class _Colours:
    body: ImageArray
    lid: ImageArray
    ground: ImageArray
    accent: ImageArray
    ink: ImageArray
    fruit: ImageArray


def _printed(product: ProductRecord) -> str:
    return product.name.removesuffix(LOOKALIKE)


def _crc(text: str) -> int:
    return zlib.crc32(text.encode())


def _generator(product: ProductRecord) -> np.random.Generator:
    return np.random.default_rng([_crc(_printed(product)), 1])


def _rgb(hue: float, saturation: float, value: float) -> ImageArray:
    """Colour from hue, saturation and value, each 0 to 1."""
    sector = (np.array([5.0, 3.0, 1.0]) + (hue % 1) * 6) % 6
    rgb = value - value * saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return np.asarray(np.rint(rgb * 255), np.uint8)


def _colours_of(product: ProductRecord) -> _Colours:
    rng = np.random.default_rng([_crc(_printed(product)), 2])
    hue = rng.random()
    return _Colours(*(_rgb(hue, 0.6, 0.8) for _ in range(6)))
