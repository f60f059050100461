"""What products look like: kind of pack, size, colours, and printed labels, all from what a site publishes of them."""

import re
import zlib
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import cv2
import numpy as np

from vision.arrays import FloatArray, ImageArray, check_shape
from vision.layout import ProductRecord

LOOKALIKE = " (import)"
"""A name that ends so is printed on the pack without it: two SKUs whose names differ in nothing else look alike."""

LABEL_PX = 128  # a pack an arm's length before a shelf camera is some 100 px high; ceiling cameras show 20
SMALL_M = 0.07  # packs smaller than this get labels of half the size
FINER = 2  # drawn so much larger and shrunk: smooth letters

TEXT_SHARE = 0.86  # of a label's width that text takes at most

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
    (
        "gumm|haribo|sour (patch|brite|gummi|cubes|eggs)|trolli|candy|candies|sweets|peach rings|starburst",
        Pack.POUCH,
        25,
        1e9,
    ),
    (r"\bgums?\b|\bgun\b|trident|orbit|extra .*mint|\bmints?\b(?!.*(bar|honey|tea|choc))", Pack.SMALL_BOX, 0, 90),
    (r"lozenge|bandage|dressing|matches|\bmio\b|c[ry]+stal light|batteries|seaweed", Pack.SMALL_BOX, 0, 120),
    (r"\bbars?\b|larabar|\brx\b|kit kat(?!.*pouch)|nougat|pocky|rope\b", Pack.BAR, 0, 160),
    ("chips(?! ahoy)|crisps", Pack.BAG, 0, 420),
    (r"sardine|^(?!.*(salad|sandwich)).*tuna\b|mackerel|anchov|\btins?\b", Pack.TIN, 0, 400),
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
    ('bottle', [0.06, 0.06, 0.2])
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
class Labels:
    """What is printed on a pack: textures whose sides are powers of two, row 0 at the top.

    Attributes:
        front: The face that looks at the shopper, shape (h, w, 3), uint8 RGB.
        side: The face beside it, with bar code and small print, shape (h, v, 3), uint8 RGB.
        top: As seen from above, shape (64, 64, 3), uint8 RGB.
    """

    front: ImageArray
    side: ImageArray
    top: ImageArray

    def __post_init__(self) -> None:
        check_shape("Labels.front", self.front, ("h", "w", 3))
        check_shape("Labels.side", self.side, (len(self.front), "v", 3))
        check_shape("Labels.top", self.top, ("h", "w", 3))

    @property
    def wrap(self) -> ImageArray:
        """The label once around a round pack, shape (h, 4 w, 3): fronts before and behind, sides left and right.

        The middle of the front is the middle of the texture, so that column 0 is at the very back.
        """
        height, width = self.front.shape[:2]
        side = cv2.resize(self.side, (width, height), interpolation=cv2.INTER_AREA)
        around = np.concatenate([side, self.front, side, self.front], axis=1)
        return np.asarray(np.roll(around, width // 2, axis=1))


@lru_cache(maxsize=1024)
def labels_of(product: ProductRecord, like: ProductRecord | None = None) -> Labels:
    """Draw what is printed on a pack; drawn once, then remembered: do not write into the arrays.

    Packs whose names differ get other colours, another arrangement and their own name; packs that differ only in their
    barcode differ only on their sides.

    Args:
        product: What is in the pack.
        like: A product of the same maker whose arrangement and colours the pack takes over, so that only what is
            written and the colour of the contents differ, as makers do it with the flavours of a line.
    """
    look = look_of(product)
    colours = _colours_of(product)
    if like is not None:
        colours = replace(_colours_of(like), fruit=colours.fruit)
    rng = np.random.default_rng([_crc(_printed(like or product)), 3])
    across_m, deep_m, high_m = look.size_m * [1, 1, look.label_span[1] - look.label_span[0]]
    height = LABEL_PX if max(across_m, high_m) > SMALL_M else LABEL_PX // 2
    # A label much narrower than high needs no more columns; one much wider than high gets all the same rows.
    width = height if across_m > 0.6 * high_m else height // 2
    front = _front(product, look.kind, colours, (width * FINER, height * FINER), rng)
    side_width = height if deep_m > 0.6 * high_m else height // 2
    side = _side(product, colours, (side_width * FINER, height * FINER), rng)
    return Labels(
        _shrunk(front, (width, height)),
        _shrunk(side, (side_width, height)),
        _shrunk(_top(look, colours), (64, 64)),
    )


@dataclass(frozen=True, slots=True)
class _Colours:
    """Colours of a design, each shape (3,), uint8 RGB."""

    body: ImageArray
    lid: ImageArray
    ground: ImageArray
    accent: ImageArray
    fruit: ImageArray


def _printed(product: ProductRecord) -> str:
    return product.name.removesuffix(LOOKALIKE)


def _crc(text: str) -> int:
    return zlib.crc32(text.encode())


def _generator(product: ProductRecord) -> np.random.Generator:
    return np.random.default_rng([_crc(_printed(product)), 1])


def _rgb(hue: float, saturation: float, value: float) -> ImageArray:
    """Colour from hue, saturation and value, each 0 to 1.

    >>> _rgb(1 / 3, 1, 0.5).tolist()
    [0, 128, 0]
    """
    sector = (np.array([5.0, 3.0, 1.0]) + (hue % 1) * 6) % 6
    rgb = value - value * saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return np.asarray(np.rint(rgb * 255), np.uint8)


def _brightness(rgb: ImageArray) -> float:
    """Luma of a colour, 0 to 1 (ITU-R BT.601)."""
    return float(rgb @ np.array([0.299, 0.587, 0.114]) / 255)


# Hue, saturation and value that shoppers connect with a flavour; the first that a name contains decides.
_FLAVOURS: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("strawberr|cherry|pomegran|watermelon|cranberr|red ", (0.98, 0.85, 0.8)),
    ("raspberr|rhubarb|beet", (0.93, 0.8, 0.75)),
    ("tomato|passata|salsa|chil|hot|fire|diablo|paprika|ketchup", (0.015, 0.9, 0.8)),
    ("orange|mandarin|clementine|mango|apricot|peach|carrot|cheddar|cheese", (0.08, 0.9, 0.95)),
    ("lemon|citrus|banana|pineapple|butter|corn", (0.145, 0.85, 0.97)),
    ("lime|apple|pear|olive|pickle|gherkin|green|aloe|pea|herb|pesto|matcha", (0.26, 0.75, 0.7)),
    ("mint|spearmint|eucalypt|menthol", (0.44, 0.6, 0.75)),
    ("blueberr|blackberr|plum|grape|currant|prune|blue", (0.7, 0.65, 0.5)),
    ("lavender|violet|fig", (0.76, 0.5, 0.6)),
    ("choc|cocoa|coffee|cola|mocha|date|tea|soy|brown", (0.06, 0.75, 0.36)),
    ("coconut|vanilla|milk|yog|cream|almond drink|oat|rice|sugar", (0.13, 0.12, 0.96)),
    ("honey|nut|almond|cashew|caramel|bread|pasta|penne|granola|rusk|ginger|cereal", (0.095, 0.65, 0.75)),
    ("water|wtr|ice|salt|sea", (0.56, 0.5, 0.85)),
)
_TASTES = tuple((re.compile(pattern), colour) for pattern, colour in _FLAVOURS)


def _colours_of(product: ProductRecord) -> _Colours:
    rng = np.random.default_rng([_crc(_printed(product)), 2])
    name = _printed(product).lower()
    kind = pack_of(product)
    hue = float(rng.random())
    taste = next((colour for pattern, colour in _TASTES if pattern.search(name)), None)
    if taste is None:
        taste = (float(rng.random()), float(rng.uniform(0.5, 0.9)), float(rng.uniform(0.4, 0.9)))
    elif rng.random() < 0.45:  # about every other design takes up the colour of what is inside
        hue = taste[0] + rng.normal(0, 0.03)
    temper = rng.random()
    if temper < 0.62:
        ground = _rgb(hue, rng.uniform(0.55, 0.95), rng.uniform(0.55, 0.95))
    elif temper < 0.84:
        ground = _rgb(hue, rng.uniform(0.02, 0.15), rng.uniform(0.9, 0.99))
    elif temper < 0.94:
        ground = _rgb(hue, rng.uniform(0.3, 0.7), rng.uniform(0.12, 0.25))
    else:
        ground = _rgb(rng.uniform(0.07, 0.11), rng.uniform(0.3, 0.45), rng.uniform(0.6, 0.8))  # brown paper
    accent = _rgb(hue + rng.choice([0.08, -0.08, 0.33, 0.5, 0.6]), rng.uniform(0.5, 0.95), rng.uniform(0.5, 0.95))
    if abs(_brightness(accent) - _brightness(ground)) < 0.18:
        accent = _rgb(hue + 0.5, 0.12, 0.97) if _brightness(ground) < 0.6 else _rgb(hue + 0.5, 0.8, 0.3)
    fruit = _rgb(taste[0] + rng.normal(0, 0.01), taste[1], taste[2])
    body, lid = ground, accent
    if kind is Pack.BOTTLE:
        body = _rgb(0.55, 0.12, 0.88) if re.search("water|wtr|tonic|soda", name) else fruit
        lid = (accent, ground, np.array([245, 245, 245], np.uint8))[int(rng.integers(3))]
    elif kind is Pack.JAR:
        body = fruit
        lid = (accent, np.array([190, 170, 110], np.uint8), np.array([235, 235, 235], np.uint8))[int(rng.integers(3))]
    elif kind in (Pack.CAN, Pack.TIN):
        lid = np.array([196, 198, 202], np.uint8)  # bare aluminium
    elif kind is Pack.TRAY:
        body = np.array([28, 28, 30], np.uint8)
    elif kind is Pack.CUP:
        body, lid = np.array([240, 240, 238], np.uint8), accent
    return _Colours(body, lid, ground, accent, fruit)


def _shrunk(image: ImageArray, size_wh: tuple[int, int]) -> ImageArray:
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _ints(rgb: ImageArray) -> tuple[int, int, int]:
    return int(rgb[0]), int(rgb[1]), int(rgb[2])


def _ink(on: ImageArray) -> tuple[int, int, int]:
    return (252, 252, 250) if _brightness(on) < 0.55 else (24, 22, 30)


def _plain(size_wh: tuple[int, int], rgb: ImageArray, fade: float = 0.1) -> ImageArray:
    """A ground that is a little lighter at the top than at the bottom, as printed foil looks under a ceiling lamp."""
    shade = np.linspace(1 + fade, 1 - fade, size_wh[1])[:, None, None]
    return np.repeat(np.clip(rgb * shade, 0, 255).astype(np.uint8), size_wh[0], axis=1)


def _front(
    product: ProductRecord, kind: Pack, colours: _Colours, size_wh: tuple[int, int], rng: np.random.Generator
) -> ImageArray:
    width, height = size_wh
    image = _plain(size_wh, colours.ground)
    arrangement = int(rng.integers(8))
    band = _arranged(image, arrangement, colours, rng)
    clear = kind in (Pack.POUCH, Pack.TRAY) and rng.random() < 0.5
    if clear:
        _window(image, colours, rng)
    elif rng.random() < 0.8:
        _fruits(
            image, (0.5 + rng.uniform(-0.12, 0.12), rng.uniform(0.7, 0.84)), colours.fruit, int(rng.integers(2, 8)), rng
        )
    brand, rest = _words_of(_printed(product))
    font = int(rng.choice([cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_COMPLEX]))
    top, low, on = band
    _written(image, [brand], (top, low), _ink(on), font, heavy=True)
    lines = _in_lines(rest, 2 if width < height else 3)
    lower = min(low + 0.24, 0.66)
    _written(
        image, lines, (low + 0.02, lower), _ink(_mean(image, low + 0.02, lower)), cv2.FONT_HERSHEY_SIMPLEX, heavy=False
    )
    amount = re.search(r"\d+(?:[.,]\d+)? ?(?:ml|cl|l|g|kg|oz|fl oz|ltr)\b", product.name.lower())
    shown = amount[0] if amount else ("" if np.isnan(product.mass_g) else f"{product.mass_g:.0f} g")
    if shown:
        _written(image, [shown], (0.93, 0.985), _ink(_mean(image, 0.93, 0.985)), cv2.FONT_HERSHEY_SIMPLEX, heavy=False)
    if kind in (Pack.BAG, Pack.BAR, Pack.POUCH):
        seal = max(2, height // 32)  # crimped seams
        for rows in (slice(0, seal), slice(height - seal, height)):
            image[rows] = np.clip(image[rows] * 0.8 + 40 * (np.arange(width) // 3 % 2)[None, :, None], 0, 255)
    return image


def _arranged(
    image: ImageArray, arrangement: int, colours: _Colours, rng: np.random.Generator
) -> tuple[float, float, ImageArray]:
    """Lay out colour; returns where the brand goes, as shares of the height, and on which colour it stands."""
    height, width = image.shape[:2]
    accent = _ints(colours.accent)
    if arrangement == 0:  # a band across
        top = rng.uniform(0.08, 0.22)
        cv2.rectangle(image, (0, int(top * height)), (width, int((top + 0.2) * height)), accent, -1)
        return top + 0.02, top + 0.18, colours.accent
    if arrangement == 1:  # a slanted lower half
        left, right = rng.uniform(0.35, 0.75, 2)
        corners = np.array([[0, left * height], [width, right * height], [width, height], [0, height]])
        cv2.fillPoly(image, [corners.astype(np.int32)], accent, cv2.LINE_AA)
        return 0.1, 0.28, colours.ground
    if arrangement == 2:  # an oval badge
        centre = (width // 2, int(0.27 * height))
        axes = (int(0.46 * width), int(rng.uniform(0.13, 0.17) * height))
        cv2.ellipse(image, centre, axes, 0, 0, 360, accent, -1, cv2.LINE_AA)
        cv2.ellipse(image, centre, axes, 0, 0, 360, _ink(colours.accent), max(1, width // 64), cv2.LINE_AA)
        return 0.2, 0.34, colours.accent
    if arrangement == 3:  # two halves
        split = rng.uniform(0.34, 0.5)
        cv2.rectangle(image, (0, 0), (width, int(split * height)), accent, -1)
        cv2.line(
            image, (0, int(split * height)), (width, int(split * height)), _ink(colours.accent), max(1, height // 64)
        )
        return split - 0.24, split - 0.06, colours.accent
    if arrangement == 4:  # upright stripes
        count = int(rng.integers(3, 7))
        for k in range(count):
            left = int((k + 0.25) * width / count)
            cv2.rectangle(image, (left, 0), (left + max(1, width // (count * 3)), height), accent, -1)
        cv2.rectangle(image, (0, int(0.14 * height)), (width, int(0.36 * height)), _ints(colours.ground), -1)
        return 0.16, 0.34, colours.ground
    if arrangement == 5:  # rays
        sun = np.array([width * 0.5, height * rng.uniform(0.55, 0.75)])
        count = int(rng.integers(7, 14))
        for k in range(count):
            angles = 2 * np.pi * (k + np.array([0.0, 0.5])) / count
            far = sun + 2 * height * np.column_stack([np.cos(angles), np.sin(angles)])
            soft = _ints(np.asarray(0.5 * colours.accent + 0.5 * colours.ground, np.uint8))
            cv2.fillPoly(image, [np.vstack([sun, far]).astype(np.int32)], soft, cv2.LINE_AA)
        return 0.1, 0.28, np.asarray(0.25 * colours.accent + 0.75 * colours.ground, np.uint8)
    if arrangement == 6:  # a wave
        columns = np.arange(width + 1)
        turns, start = rng.uniform(0.5, 1.6), rng.uniform(0, 6.3)
        rows = height * (0.55 + 0.07 * np.sin(2 * np.pi * turns * columns / width + start))
        edge = np.column_stack([columns, rows])
        cv2.fillPoly(image, [np.vstack([edge, [[width, height], [0, height]]]).astype(np.int32)], accent, cv2.LINE_AA)
        return 0.12, 0.3, colours.ground
    margin = max(2, width // 20)  # a frame
    cv2.rectangle(image, (margin, margin), (width - margin, height - margin), accent, max(1, width // 24))
    return 0.14, 0.32, colours.ground


def _fruits(
    image: ImageArray, at: tuple[float, float], fruit: ImageArray, count: int, rng: np.random.Generator
) -> None:
    """Draw a heap of round things with a shade and a light spot around a place, in shares of width and height."""
    height, width = image.shape[:2]
    radius = rng.uniform(0.09, 0.17) * min(width, height) * (1.4 if count < 4 else 1.0)
    stretch = rng.uniform(0.7, 1.0)
    for _ in range(count):
        x = int((at[0] + rng.uniform(-0.24, 0.24)) * width)
        y = int((at[1] + rng.uniform(-0.08, 0.08)) * height)
        size = radius * rng.uniform(0.75, 1.25)
        axes = (max(2, int(size)), max(2, int(size * stretch)))
        turned = float(rng.uniform(0, 180))
        light = np.clip(fruit * rng.uniform(0.85, 1.1), 0, 255).astype(np.uint8)
        cv2.ellipse(image, (x, y), axes, turned, 0, 360, _ints((fruit * 0.6).astype(np.uint8)), -1, cv2.LINE_AA)
        inner = (max(1, int(axes[0] * 0.88)), max(1, int(axes[1] * 0.88)))
        cv2.ellipse(image, (x - axes[0] // 12, y - axes[1] // 10), inner, turned, 0, 360, _ints(light), -1, cv2.LINE_AA)
        shine = np.clip(light * 0.5 + 140, 0, 255).astype(np.uint8)
        cv2.circle(image, (x - axes[0] // 3, y - axes[1] // 3), max(1, int(size / 6)), _ints(shine), -1, cv2.LINE_AA)


def _window(image: ImageArray, colours: _Colours, rng: np.random.Generator) -> None:
    """Cut a clear window that shows the goods."""
    height, width = image.shape[:2]
    inside = _plain((width, height), np.asarray(colours.fruit * 0.55, np.uint8))
    for _ in range(5):
        _fruits(inside, (rng.uniform(0.2, 0.8), rng.uniform(0.6, 0.9)), colours.fruit, 7, rng)
    mask = np.zeros((height, width), np.uint8)
    centre = (width // 2, int(0.76 * height))
    cv2.ellipse(mask, centre, (int(0.38 * width), int(0.15 * height)), 0, 0, 360, 255, -1)
    image[mask > 0] = inside[mask > 0]


def _words_of(name: str) -> tuple[str, str]:
    """Split a name into what is printed large and the rest, in the letters that the font has."""
    words = [word for word in "".join(c if 32 <= ord(c) < 127 else " " for c in name).split() if word]
    if not words:
        return "", ""
    large = 2 if len(words) > 2 and len(words[0]) + len(words[1]) <= 11 else 1
    return " ".join(words[:large]).upper(), " ".join(words[large:])


def _in_lines(text: str, most: int) -> list[str]:
    """Break text into lines of about equal length."""
    words = text.split()
    if not words:
        return []
    count = min(most, len(words), 1 + len(text) // 9)
    wanted = len(text) / count
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) / 2 > wanted and len(lines) < count:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _mean(image: ImageArray, top: float, low: float) -> ImageArray:
    rows = image[int(top * len(image)) : max(int(low * len(image)), int(top * len(image)) + 1)]
    return np.asarray(rows.reshape(-1, 3).mean(axis=0), np.uint8)


def _written(
    image: ImageArray,
    lines: list[str],
    between: tuple[float, float],
    ink: tuple[int, int, int],
    font: int,
    *,
    heavy: bool,
) -> None:
    """Write lines in the middle, as large as fits between two heights given as shares."""
    lines = [line for line in lines if line]
    if not lines:
        return
    height, width = image.shape[:2]
    room = (between[1] - between[0]) * height / len(lines)
    widest = max(cv2.getTextSize(line, font, 1.0, 2)[0][0] for line in lines)
    scale = min(TEXT_SHARE * width / widest, 0.8 * room / 22)  # capitals of these fonts are 22 px high at scale 1
    thickness = max(1, round(scale * (2.4 if heavy else 1.4)))
    for k, line in enumerate(lines):
        (across, high), _ = cv2.getTextSize(line, font, scale, thickness)
        y = int(between[0] * height + (k + 0.5) * room + high / 2)
        cv2.putText(image, line, (int((width - across) / 2), y), font, scale, ink, thickness, cv2.LINE_AA)


def _side(product: ProductRecord, colours: _Colours, size_wh: tuple[int, int], rng: np.random.Generator) -> ImageArray:
    width, height = size_wh
    image = _plain(size_wh, colours.ground)
    brand, _ = _words_of(_printed(product))
    _written(image, [brand], (0.04, 0.15), _ink(colours.ground), cv2.FONT_HERSHEY_DUPLEX, heavy=True)
    left, right = int(0.1 * width), int(0.9 * width)
    cv2.rectangle(image, (left, int(0.2 * height)), (right, int(0.58 * height)), (246, 246, 242), -1)
    for k in range(9):  # a table of contents
        y = int((0.23 + 0.037 * k) * height)
        ends = (left + width // 20, left + width // 20 + int(rng.uniform(0.2, 0.45) * width))
        cv2.line(image, (ends[0], y), (ends[1], y), (60, 60, 60), max(1, height // 160))
        cv2.line(image, (right - width // 6, y), (right - width // 20, y), (60, 60, 60), max(1, height // 160))
    cv2.rectangle(image, (left, int(0.66 * height)), (right, int(0.92 * height)), (252, 252, 252), -1)
    digits = np.array([ord(c) for c in product.sku[-14:]] or [0])
    bars = np.unpackbits(digits.astype(np.uint8).repeat(2) ^ np.arange(2 * len(digits), dtype=np.uint8) % 2 * 90)
    columns = np.linspace(left + width // 20, right - width // 20, len(bars) + 1).astype(int)
    for bar, start, end in zip(bars, columns[:-1], columns[1:], strict=True):
        if bar:
            image[int(0.69 * height) : int(0.88 * height), start:end] = 20
    return image


def _top(look: Look, colours: _Colours) -> ImageArray:
    size: tuple[int, int] = (64 * FINER, 64 * FINER)
    if look.is_round:
        image = _plain(size, colours.lid, 0.04)
        dark = _ints((colours.lid * 0.72).astype(np.uint8))
        cv2.circle(image, (size[0] // 2, size[1] // 2), int(0.42 * size[0]), dark, size[0] // 40, cv2.LINE_AA)
        if look.kind is Pack.CAN:
            cv2.ellipse(image, (size[0] // 2, int(0.42 * size[1])), (12, 20), 0, 0, 360, dark, -1, cv2.LINE_AA)
        return image
    image = _plain(size, colours.ground, 0.04)
    cv2.rectangle(image, (0, int(0.4 * size[1])), (size[0], int(0.6 * size[1])), _ints(colours.accent), -1)
    return image
