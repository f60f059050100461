"""The small shop of ``make demo``: three gondolas on three walls, 24 products with scales, four cameras, six visits.

The shop is written down in ``demo/shop.yaml`` and its visits in ``demo/six_visits.json``, so that they can be played,
looked at and changed like any others. Six people come: Ada takes two units in one grip; Ben puts something back; Cleo
and Dan use one shelf at the same time; Eve takes something that has no price, so that a person has to look at her
visit; Fay only touches.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from store_sim.day import day_layout
from store_sim.random_range import gtin_check_digit
from store_sim.scenarios import read_scenario, site_of
from store_sim.simulation import JOINTS, SCALES, SensorSettings, Simulation
from vision.arrays import FloatArray
from vision.cameras import Camera, looking_at
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout, Surface, SurfaceKind, upright_box

DEMO_LAYOUT = Path(__file__).parent / "demo" / "shop.yaml"
DEMO_SCENARIO = Path(__file__).parent / "demo" / "six_visits.json"

ABOUT = "The shop of the demo; written by store_sim/demo_shop.py, do not edit by hand."
CURRENCY = "EUR"
PLATE_M = (0.2, 0.45, 0.4)  # wide, deep, and high up to the next shelf
PLATES_A_BIN, BINS_A_SHELF = 2, 4
SHELF_HEIGHTS_M = (0.85, 1.3)
CAPACITY = 12

# Where a gondola's lower left front corner stands, and how it is turned; on three walls of the room.
_GONDOLAS = (((2.2, 4.4), 0.0), ((0.5, 1.6), 90.0), ((5.5, 3.2), -90.0))
_FRONT_Y_M, _STREET_Y_M, _BACK_Y_M = 0.4, -0.6, 4.4
_LEFT_X_M, _RIGHT_X_M = 0.5, 5.5
_ENTRANCE_X_M, _EXIT_X_M = (0.8, 2.2), (3.8, 5.2)
_CEILING_M, _DOOR_M = 2.8, 2.1

# In the four corners under the ceiling. Whoever takes something hides it from the corners behind them; the two beside
# the shelf see the hand from the side, if their pictures are wide and look low enough: every hand is to be in two
# pictures, a hand's breadth from the edge.
_CAMERAS_M = ((0.8, 0.7), (5.2, 0.7), (0.8, 4.1), (5.2, 4.1))
_AIMS_M = ((2.6, 2.5, 0.3), (3.4, 2.5, 0.3), (2.6, 2.1, 0.3), (3.4, 2.1, 0.3))
_RESOLUTION_WH = (640, 360)
_FOCAL_PX = 250.0  # 104 degrees across, as of a 2.8 mm lens: from a corner both walls beside it are in the picture

# Name, grams, cents; gondola by gondola, shelf by shelf from below, four bins each, seen from the front left to right.
_RANGE: tuple[tuple[str, float, int | None], ...] = (
    ("Tall Oak Oat Drink 1 l", 1047, 219),
    ("Orchard Lane Apple Juice 0.7 l", 1165, 279),
    ("Grey Heron Spring Water 0.5 l", 523, 89),
    ("Little Still Lemonade 0.33 l", 372, 149),
    ("Hedgerow Strawberry Jam", 421, 325),
    ("Forest Edge Honey", 689, 649),
    ("Two Nuts Peanut Butter", 566, 399),
    ("Early Bird Granola", 351, 459),
    ("Paper Crane Jasmine Rice", 507, 269),
    ("Mill Street Penne", 467, 159),
    ("Red Barn Passata", 731, 199),
    ("White Bean Jar", 604, 179),
    ("Harbour Sardines", 178, 329),
    ("Slow Morning Coffee Beans", 263, 749),
    ("Garden Gate Herbal Tea", 71, 289),
    ("Lantern Soy Sauce", 318, 349),
    ("Sunday Almond Cake, baked today", 437, None),
    ("Baker's Dozen Rusks", 246, 219),
    ("Blue Jar Olives", 342, 379),
    ("Field Day Rye Bread", 552, 299),
    ("Night Owl Dark Chocolate", 109, 249),
    ("Sea Breeze Crisps", 157, 199),
    ("Salted Almonds", 216, 429),
    ("Ginger Snaps", 189, 239),
)


def demo_simulation(
    seed: int,
    sensors: frozenset[str] = frozenset({SCALES, JOINTS}),
    cameras: Sequence[str] = (),
    *,
    pixels: bool = True,
    settings: SensorSettings | None = None,
) -> Simulation:
    """Open the shop of the demo on its day, as its two files describe it.

    Args:
        seed: Another seed, other people, paces and noise.
        sensors: Which sensors it has.
        cameras: Which cameras film; empty for all.
        pixels: False for frames without content (``Simulation``).
        settings: How good the sensors are.
    """
    scenario = read_scenario(DEMO_SCENARIO)
    layout = day_layout(site_of(scenario), scenario)
    return Simulation(layout, scenario, seed, sensors=sensors, cameras=cameras, pixels=pixels, settings=settings)


def demo_layout() -> StoreLayout:
    """Build the shop that ``demo/shop.yaml`` says.

    >>> layout = demo_layout()
    >>> len(layout.bins), len(layout.plates), len(layout.cameras)
    (24, 48, 4)
    """
    plates: list[Plate] = []
    bins: list[Bin] = []
    products: list[ProductRecord] = []
    for gondola_id, (corner, yaw_deg) in enumerate(_GONDOLAS, start=1):
        for shelf_id, height_m in enumerate(SHELF_HEIGHTS_M, start=1):
            for place in range(BINS_A_SHELF):
                stem = f"2000000{len(products) + 101:05d}"  # numbers from 20 on are free for use within one shop
                name, mass_g, price = _RANGE[len(products)]
                products.append(ProductRecord(stem + gtin_check_digit(stem), name, mass_g, price, CURRENCY))
                first = place * PLATES_A_BIN
                own = [
                    Plate(
                        f"{gondola_id}/{shelf_id}/{k + 1}",
                        gondola_id,
                        shelf_id,
                        k + 1,
                        _space(corner, yaw_deg, height_m, k, 1),
                    )
                    for k in range(first, first + PLATES_A_BIN)
                ]
                plates += own
                bins.append(
                    Bin(
                        bin_id=f"{gondola_id}/{shelf_id}/{place + 1}",
                        sku=products[-1].sku,
                        gondola_id=gondola_id,
                        shelf_id=shelf_id,
                        plate_ids=tuple(plate.plate_id for plate in own),
                        box=_space(corner, yaw_deg, height_m, first, PLATES_A_BIN),
                        capacity=CAPACITY,
                    )
                )
    return StoreLayout(
        name="demo shop",
        cameras=tuple(
            _camera(number, place, aim)
            for number, (place, aim) in enumerate(zip(_CAMERAS_M, _AIMS_M, strict=True), start=1)
        ),
        bins=tuple(bins),
        plates=tuple(plates),
        products=tuple(products),
        walkable_m=_floor(),
        entrance_m=np.array([[x, _FRONT_Y_M] for x in _ENTRANCE_X_M]),
        exit_m=np.array([[x, _FRONT_Y_M] for x in _EXIT_X_M]),
        surfaces=_front(),
    )


def _space(corner: tuple[float, float], yaw_deg: float, height_m: float, first: int, plates: int) -> Box:
    """The space on a run of plates of a shelf, counted from 0."""
    along = upright_box(np.zeros(3), yaw_deg, np.ones(3)).world_from_box[:2, 0]
    low = np.round([*(np.array(corner) + along * first * PLATE_M[0]), height_m], 3)
    return upright_box(low, yaw_deg, np.array([plates * PLATE_M[0], *PLATE_M[1:]]))


def _camera(number: int, place: tuple[float, float], aim: tuple[float, float, float]) -> Camera:
    intrinsics = np.array([[_FOCAL_PX, 0, _RESOLUTION_WH[0] / 2], [0, _FOCAL_PX, _RESOLUTION_WH[1] / 2], [0, 0, 1]])
    pose = looking_at(np.array([*place, _CEILING_M]), np.array(aim))
    return Camera(f"cam{number}", intrinsics, np.array([-0.05, 0.01, 0, 0, 0]), pose, _RESOLUTION_WH)


def _floor() -> FloatArray:
    """The room, and the street before each door."""
    y = _FRONT_Y_M + 0.05
    outline = [(_LEFT_X_M, y)]
    for left, right in (_ENTRANCE_X_M, _EXIT_X_M):
        outline += [(left, y), (left, _STREET_Y_M), (right, _STREET_Y_M), (right, y)]
    return np.array([*outline, (_RIGHT_X_M, y), (_RIGHT_X_M, _BACK_Y_M), (_LEFT_X_M, _BACK_Y_M)])


def _front() -> tuple[Surface, ...]:
    """A front of glass with two doors."""
    edges = (_LEFT_X_M, *_ENTRANCE_X_M, *_EXIT_X_M, _RIGHT_X_M)
    kinds: tuple[SurfaceKind, ...] = ("glass", "door", "glass", "door", "glass")
    return tuple(
        Surface(
            kind,
            np.array(
                [[left, _FRONT_Y_M, 0], [right, _FRONT_Y_M, 0], [right, _FRONT_Y_M, top], [left, _FRONT_Y_M, top]]
            ),
        )
        for kind, left, right in zip(kinds, edges[:-1], edges[1:], strict=True)
        for top in (_DOOR_M if kind == "door" else _CEILING_M,)
    )
