"""The corner shop that the library of hard cases plays in, built from a list of its goods.

Seven by 5.6 metres: gondolas along three walls, an island in the middle, a fridge behind a glass door, a bread shelf
without scales, a storeroom that makes a corner, a mirror on its wall, a front of glass with two doors. The goods are
invented, and chosen to be hard to tell apart where a case needs that: twins in one mass or one look, near-twins a few
grams apart, one that weighs as much as two of another.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from store_sim.random_range import gtin_check_digit
from vision.arrays import FloatArray
from vision.cameras import Camera, looking_at
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout, Surface, layout_to_yaml, upright_box

LAYOUT_FILE = Path(__file__).parent / "library" / "corner_shop.yaml"
"""Where :func:`library_shop` is written down, for scenarios to name."""

ABOUT = "The corner shop of the library of hard cases; written by store_sim/library_shop.py, do not edit by hand."
CURRENCY = "EUR"
PLATE_WIDTH_M = 0.15  # two carry a bottle's or a bag's facing, three a box's; the published store's are 0.1 m
DEPTH_M = 0.45  # what shops call a 47 cm shelf
SHELF_THICKNESS_M = 0.04

SHELVES_M = (0.2, 0.57, 0.94, 1.3, 1.66)
"""Heights of a wall gondola's plates: the top one is beyond a child's reach and at the end of a small adult's."""
FRIDGE_SHELVES_M = (0.25, 0.65, 1.05, 1.45)
ISLAND_SHELVES_M = (0.25, 0.65, 1.05)
TOP_SPACE_M = 0.33

ROOM_M = (7.0, 5.6)
CEILING_M = 2.9
WALKABLE_M = (
    *((0.5, 0.15), (0.85, 0.15), (0.85, -0.7), (2.15, -0.7), (2.15, 0.15)),
    *((4.85, 0.15), (4.85, -0.7), (6.15, -0.7), (6.15, 0.15), (6.5, 0.15)),
    *((6.5, 4.2), (4.9, 4.2), (4.9, 5.1), (0.5, 5.1)),
)
ENTRANCE_M = ((0.9, 0.0), (2.1, 0.0))
EXIT_M = ((4.9, 0.0), (6.1, 0.0))

RESOLUTION_WH = (640, 360)
FOCAL_PX = 342.0  # 86 degrees across, as the cameras of the published store have
DISTORTION = (-0.06, 0.01, 0.0, 0.0, 0.0)  # a cheap wide lens: straight lines bend by a few pixels at the edge
CAMERAS_M = (
    ((4.1, 1.75), (2.4, 3.4)),
    ((1.6, 1.75), (2.5, 4.0)),
    ((3.1, 0.85), (4.8, 2.5)),
    ((4.6, 4.9), (4.6, 2.5)),
    ((4.1, 4.0), (1.9, 3.1)),
    ((2.6, 1.3), (4.8, 2.2)),
    ((1.6, 4.0), (2.5, 1.8)),
    ((4.1, 2.65), (1.7, 2.7)),
)
"""Where each camera hangs below the ceiling, and the point of the floor below what it looks at.

Chosen by greedy cover over a grid of places, so that two of them see nearly every bin from its front, most from
directions 25 degrees apart, and each door.
"""
LOOKED_AT_M = 0.9


@dataclass(frozen=True, slots=True)
class _Good:
    """A product on a shelf: name, grams, cents, and how many plates wide it stands."""

    name: str
    mass_g: float
    price: int
    plates: int


@dataclass(frozen=True, slots=True)
class _Gondola:
    """A gondola: its lower front left corner as somebody sees it who faces it, and the way its axes are turned."""

    corner_m: tuple[float, float]
    yaw_deg: int
    heights_m: tuple[float, ...]
    shelves: tuple[tuple[_Good, ...], ...]
    has_scales: bool = True


def library_shop() -> StoreLayout:
    """Build the shop.

    >>> shop = library_shop()
    >>> len({b.gondola_id for b in shop.bins}), len(shop.plates), len(shop.products), len(shop.cameras)
    (9, 304, 122, 8)
    """
    plates: list[Plate] = []
    bins: list[Bin] = []
    products: list[ProductRecord] = []
    for gondola_id, gondola in enumerate(_GONDOLAS, start=1):
        tops_m = (*gondola.heights_m[1:], gondola.heights_m[-1] + TOP_SPACE_M + SHELF_THICKNESS_M)
        for shelf_id, goods in enumerate(gondola.shelves, start=1):
            height_m = gondola.heights_m[shelf_id - 1]
            space_m = tops_m[shelf_id - 1] - SHELF_THICKNESS_M - height_m
            first = 1
            for good in goods:
                number = len(products) + 1
                products.append(
                    ProductRecord(in_store_barcode(number), good.name, float(good.mass_g), good.price, CURRENCY)
                )
                box = _box(gondola, first - 1, good.plates, height_m, space_m)
                own = [
                    Plate(
                        f"{gondola_id}/{shelf_id}/{n}",
                        gondola_id,
                        shelf_id,
                        n,
                        _box(gondola, n - 1, 1, height_m, space_m),
                    )
                    for n in range(first, first + good.plates)
                ]
                last = first + good.plates - 1
                plates += own if gondola.has_scales else []
                bins.append(
                    Bin(
                        bin_id=f"{gondola_id}/{shelf_id}/{first}" + (f"-{last}" if last > first else ""),
                        sku=products[-1].sku,
                        gondola_id=gondola_id,
                        shelf_id=shelf_id,
                        plate_ids=tuple(plate.plate_id for plate in own) if gondola.has_scales else (),
                        box=box,
                    )
                )
                first = last + 1
    return StoreLayout(
        name="corner shop",
        cameras=tuple(_camera(number, *placed) for number, placed in enumerate(CAMERAS_M, start=1)),
        bins=tuple(bins),
        plates=tuple(plates),
        products=tuple(products),
        walkable_m=np.array(WALKABLE_M),
        entrance_m=np.array(ENTRANCE_M),
        exit_m=np.array(EXIT_M),
        surfaces=tuple(_surfaces()),
    )


def library_shop_yaml() -> str:
    """Write the shop as the layout file that the library keeps."""
    return layout_to_yaml(library_shop(), about=ABOUT)


def in_store_barcode(number: int) -> str:
    """Return a barcode that is free for use within one shop (GS1 prefix 20), with its check digit.

    >>> in_store_barcode(1)
    '2000000000015'
    """
    digits = f"20{number:010d}"
    return digits + gtin_check_digit(digits)


def _box(gondola: _Gondola, first: int, plates: int, height_m: float, space_m: float) -> Box:
    size_m = np.round([plates * PLATE_WIDTH_M, DEPTH_M, space_m], 3)
    row = upright_box(np.array([*gondola.corner_m, height_m]), gondola.yaw_deg, size_m).world_from_box
    # Rounding keeps the committed file free of 0.30000000000000004.
    return upright_box(np.round((row @ [first * PLATE_WIDTH_M, 0, 0, 1])[:3], 3), gondola.yaw_deg, size_m)


def _camera(number: int, hangs_m: tuple[float, float], looks_m: tuple[float, float]) -> Camera:
    pose = looking_at(np.array([*hangs_m, CEILING_M]), np.array([*looks_m, LOOKED_AT_M]))
    width, height = RESOLUTION_WH
    intrinsics = np.array([[FOCAL_PX, 0, width / 2], [0, FOCAL_PX, height / 2], [0, 0, 1.0]])
    return Camera(f"cam{number}", intrinsics, np.array(DISTORTION), pose, RESOLUTION_WH)


def _surfaces() -> Iterable[Surface]:
    width, depth = ROOM_M
    for x_from, x_to in ((0.0, 0.9), (2.1, 4.9), (6.1, width)):
        yield Surface("glass", _pane((x_from, 0.0), (x_to, 0.0), 0.0, 2.4))
    for line in (ENTRANCE_M, EXIT_M):
        yield Surface("door", _pane(*line, 0.0, 2.2))
    yield Surface("wall", _pane((5.0, depth), (5.0, 4.3), 0.0, CEILING_M))
    yield Surface("wall", _pane((5.0, 4.3), (width, 4.3), 0.0, CEILING_M))
    yield Surface("mirror", _pane((5.2, 4.29), (6.3, 4.29), 0.8, 2.0))
    (x_m, y_m), wide_m = _FRIDGE.corner_m, 8 * PLATE_WIDTH_M
    yield Surface("door", _pane((x_m, y_m - 0.03), (x_m + wide_m, y_m - 0.03), 0.2, 1.85))


def _pane(start_m: tuple[float, float], end_m: tuple[float, float], low_m: float, high_m: float) -> FloatArray:
    """Corners of an upright pane over a line on the floor, shape (4, 3), metres."""
    return np.array([[*start_m, low_m], [*end_m, low_m], [*end_m, high_m], [*start_m, high_m]])


_WATER = _Gondola(
    (0.5, 0.9),
    90,
    SHELVES_M,
    (
        (_Good("Grey Heron Spring Water 1.5 l", 1541, 119, 4), _Good("Grey Heron Sparkling Water 1.5 l", 1541, 119, 4)),
        (
            _Good("Orchard Lane Apple Juice 0.7 l", 1165, 279, 3),
            _Good("Orchard Lane Pear Juice 0.7 l", 1165, 279, 2),
            _Good("Elder Hill Cordial 0.5 l", 862, 449, 3),
        ),
        (
            _Good("Grey Heron Spring Water 0.5 l", 523, 89, 3),
            _Good("Grey Heron Sparkling Water 0.5 l", 523, 89, 2),
            _Good("Little Still Lemonade 0.33 l", 372, 149, 3),
        ),
        (
            _Good("Copper Kettle Cola can", 355, 99, 2),
            _Good("Copper Kettle Cola Zero can", 349, 99, 2),
            _Good("Copper Kettle Ginger Ale can", 358, 109, 2),
            _Good("Night Shift Energy can", 270, 159, 2),
        ),
        (_Good("Tall Oak Oat Drink 1 l", 1047, 219, 4), _Good("Tall Oak Almond Drink 1 l", 1033, 249, 4)),
    ),
)
_SNACKS = _Gondola(
    (0.5, 2.5),
    90,
    SHELVES_M,
    (
        (
            _Good("Party Fort Tortilla Chips 300 g", 318, 299, 3),
            _Good("Party Fort Pretzel Mix 300 g", 321, 299, 3),
            _Good("Two Rivers Popcorn 90 g", 98, 179, 2),
        ),
        (
            _Good("Sea Breeze Crisps Salt", 62, 129, 3),
            _Good("Sea Breeze Crisps Paprika", 62, 129, 2),
            _Good("Sea Breeze Crisps Vinegar", 64, 129, 3),
        ),
        (
            _Good("Salted Almonds", 216, 429, 2),
            _Good("Smoked Almonds", 216, 449, 2),
            _Good("Quiet Wood Trail Mix", 208, 399, 2),
            _Good("Quiet Wood Dried Apricot", 257, 379, 2),
        ),
        (
            _Good("Night Owl Dark Chocolate", 109, 249, 2),
            _Good("Night Owl Milk Chocolate", 109, 249, 2),
            _Good("Night Owl Dark Chocolate double pack", 218, 449, 2),
            _Good("Ginger Snaps", 112, 239, 2),
        ),
        (
            _Good("Bear Trail Gummi Mix", 228, 199, 3),
            _Good("Sour Kite Gummi Rings", 231, 199, 2),
            _Good("Field Mints", 34, 119, 3),
        ),
    ),
)
_PANTRY = _Gondola(
    (0.7, 5.1),
    0,
    SHELVES_M,
    (
        (
            _Good("Paper Crane Jasmine Rice 1 kg", 1012, 349, 4),
            _Good("Paper Crane Basmati Rice 1 kg", 1012, 379, 4),
        ),
        (
            _Good("Mill Street Penne", 507, 159, 3),
            _Good("Mill Street Spaghetti", 507, 159, 2),
            _Good("Mill Street Red Lentil Pasta", 262, 289, 3),
        ),
        (
            _Good("Red Barn Passata", 731, 199, 2),
            _Good("Red Barn Salsa", 402, 279, 2),
            _Good("Blue Jar Olives", 342, 379, 2),
            _Good("White Bean Jar", 604, 179, 2),
        ),
        (
            _Good("Harbour Sardines", 178, 329, 2),
            _Good("Harbour Mackerel", 181, 349, 2),
            _Good("Lantern Soy Sauce", 318, 349, 2),
            _Good("Lantern Soy Sauce (import)", 318, 499, 2),
        ),
        (_Good("Stone Mill Oats", 521, 179, 4), _Good("Early Bird Granola", 351, 459, 4)),
    ),
)
_FRIDGE = _Gondola(
    (2.1, 5.1),
    0,
    FRIDGE_SHELVES_M,
    (
        (
            _Good("Tall Oak Fresh Milk 1 l", 1048, 139, 3),
            _Good("Tall Oak Low Fat Milk 1 l", 1049, 139, 2),
            _Good("Tall Oak Kefir 0.5 l", 541, 159, 3),
        ),
        (
            _Good("Morning Pond Yoghurt Plain", 163, 79, 3),
            _Good("Morning Pond Yoghurt Cherry", 164, 89, 2),
            _Good("Morning Pond Skyr", 412, 249, 3),
        ),
        (
            _Good("Lunch Lane Egg Sandwich", 258, 379, 3),
            _Good("Lunch Lane Cheese Sandwich", 262, 379, 2),
            _Good("Lunch Lane Chicken Salad", 283, 549, 3),
        ),
        (
            _Good("Slow Press Orange Juice 0.25 l", 284, 299, 3),
            _Good("Slow Press Carrot Juice 0.25 l", 285, 299, 2),
            _Good("Slow Press Berry Smoothie 0.25 l", 291, 329, 3),
        ),
    ),
)
_BREAKFAST = _Gondola(
    (3.5, 5.1),
    0,
    SHELVES_M,
    (
        (
            _Good("Slow Morning Coffee Beans 1 kg", 1031, 1899, 3),
            _Good("Slow Morning Coffee Beans 250 g", 263, 749, 2),
            _Good("Slow Morning Ground Coffee 250 g", 263, 729, 3),
        ),
        (
            _Good("Early Bird Corn Flakes", 436, 279, 3),
            _Good("Early Bird Muesli", 794, 399, 3),
            _Good("Baker's Dozen Rusks", 246, 219, 2),
        ),
        (
            _Good("Hedgerow Strawberry Jam", 421, 325, 2),
            _Good("Hedgerow Apricot Jam", 421, 325, 2),
            _Good("Forest Edge Honey", 689, 649, 2),
            _Good("Two Nuts Peanut Butter", 566, 399, 2),
        ),
        (
            _Good("Garden Gate Herbal Tea", 71, 289, 2),
            _Good("Garden Gate Mint Tea", 71, 289, 2),
            _Good("Garden Gate Black Tea", 112, 319, 2),
            _Good("Field Sugar Cubes", 262, 189, 2),
        ),
        (_Good("Early Bird Crispbread", 268, 239, 4), _Good("Chimney Cocoa", 287, 419, 4)),
    ),
)
_HOUSEHOLD = _Gondola(
    (6.5, 3.9),
    270,
    SHELVES_M,
    (
        (
            _Good("Bright Pane Floor Cleaner 1 l", 1074, 329, 3),
            _Good("Bright Pane Washing Liquid 1.5 l", 1628, 899, 2),
            _Good("Soft Cloud Kitchen Towel", 372, 299, 3),
        ),
        (
            _Good("Bright Pane Dishwash Lemon", 552, 189, 3),
            _Good("Bright Pane Dishwash Mint", 552, 189, 2),
            _Good("Bright Pane Glass Spray", 581, 249, 3),
        ),
        (
            _Good("Soft Cloud Tissue Box", 203, 159, 2),
            _Good("Long Night Candle Jar", 412, 599, 2),
            _Good("Fern Shampoo 0.3 l", 341, 399, 2),
            _Good("Fern Shower Liquid 0.3 l", 338, 299, 2),
        ),
        (
            _Good("Spark Batteries AA 4", 97, 549, 2),
            _Good("Spark Batteries AAA 4", 48, 549, 2),
            _Good("Camp Matches", 26, 99, 2),
            _Good("Plain Bandage Box", 42, 259, 2),
        ),
        (_Good("Soft Cloud Trash Bags Box", 244, 279, 4), _Good("Kitchen Foil Box", 318, 249, 4)),
    ),
)
_BREAD = _Gondola(
    (6.5, 2.4),
    270,
    (0.3, 0.7, 1.1, 1.5),
    (
        (_Good("Field Day Rye Bread", 752, 359, 4), _Good("Field Day Wheat Bread", 748, 339, 4)),
        (_Good("Corner Roll Bread 4", 248, 199, 4), _Good("Corner Baguette Bread", 261, 169, 4)),
        (_Good("Sunday Almond Cake", 437, 499, 4), _Good("Sunday Apple Cake", 452, 499, 4)),
        (_Good("Corner Cinnamon Rolls 2", 184, 279, 4), _Good("Corner Butter Cookies", 221, 329, 4)),
    ),
    has_scales=False,
)
_ISLAND_FRONT = _Gondola(
    (2.4, 2.45),
    0,
    ISLAND_SHELVES_M,
    (
        (
            _Good("Hearth Baked Beans can", 465, 119, 3),
            _Good("Hearth Chickpeas can", 462, 119, 3),
            _Good("Hearth Sweetcorn can", 352, 129, 3),
            _Good("Hearth Chopped Tomatoes can", 468, 109, 3),
        ),
        (
            _Good("Kite Noodle Cup Chicken", 84, 149, 3),
            _Good("Kite Noodle Cup Mushroom", 84, 149, 3),
            _Good("Kite Noodle Cup Tom Yum", 86, 149, 3),
            _Good("Kite Rice Noodle Box", 227, 219, 3),
        ),
        (
            _Good("Trek Oat Bar Cherry", 44, 129, 3),
            _Good("Trek Oat Bar Cocoa", 44, 129, 3),
            _Good("Trek Protein Bar", 62, 229, 3),
            _Good("Trek Nut Bar", 41, 149, 3),
        ),
    ),
)
_ISLAND_BACK = _Gondola(
    (4.2, 3.35),
    180,
    ISLAND_SHELVES_M,
    (
        (
            _Good("Old Press Olive Oil 0.5 l", 918, 899, 3),
            _Good("Old Press Sunflower Oil 0.5 l", 925, 349, 3),
            _Good("Old Press Vinegar 0.5 l", 941, 279, 3),
            _Good("Harvest Gherkin Jar", 672, 229, 3),
        ),
        (
            _Good("Pepper Lane Mustard", 262, 179, 3),
            _Good("Pepper Lane Ketchup", 562, 249, 3),
            _Good("Pepper Lane Pesto Jar", 291, 329, 3),
            _Good("Harvest Capers", 148, 259, 3),
        ),
        (
            _Good("Mint Arrow Gum", 35, 129, 3),
            _Good("Mint Arrow Gum Strong", 35, 129, 3),
            _Good("Honey Lozenge Box", 58, 219, 3),
            _Good("Cocoa Nougat Bar", 53, 109, 3),
        ),
    ),
)
_GONDOLAS = (_WATER, _SNACKS, _PANTRY, _FRIDGE, _BREAKFAST, _HOUSEHOLD, _BREAD, _ISLAND_FRONT, _ISLAND_BACK)
