"""A small scripted shop with scales and an oracle for bodies: what `tillfree demo` plays, with the truth beside it."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from vision.arrays import BoolArray, FloatArray, IntArray
from vision.frames import JOINT_NAMES, ScaleSamples, SourceNotice, Tick, TrackedBodies
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout
from vision.shelf import Handling

START_NS = 1_900_000_000_000_000_000  # an ordinary morning of the store clock
SCALE_RATE_HZ = 60.0
SAMPLES_A_BLOCK = 12
BODY_RATE_HZ = 15.0
CURRENCY = "EUR"

PLATE_M = np.array([0.2, 0.45, 0.4])  # wide, deep, and high up to the next shelf
PLATES_A_BIN = 2
SHELF_HEIGHTS_M = (0.85, 1.3)
ENTRANCE_M = np.array([[0.8, 0.4], [2.2, 0.4]])
EXIT_M = np.array([[3.8, 0.4], [5.2, 0.4]])
WALKABLE_M = np.array([[0.5, -0.6], [5.5, -0.6], [5.5, 4.4], [0.5, 4.4]])
DOORSTEP_M = np.array([0.0, 0.5])  # how far beyond the lines the tracker still sees people

# Proportions of body height (Drillis & Contini, Body Segment Parameters, 1966); a grip is in the middle of the hand.
HEAD, NECK, SHOULDER = 0.93, 0.87, 0.818
HALF_SHOULDERS, UPPER_ARM, FOREARM, WRIST_TO_GRIP = 0.129, 0.186, 0.146, 0.054
REACHABLE = 0.96  # share of the arm's length that people use before they rather lean forward

WALKING_MPS = 1.15
STANDING_M = 0.4  # from the shelf's front to the middle of the body
RAISING_S = 0.6  # from an arm hanging down to a hand in the bin
TOUCHING_S = 0.6  # hand on the goods before they leave or reach the shelf
RELEASING_S = 0.3  # and after it

JOINT_SWAY_M = 0.012  # slow error of a joint, as several cameras' disagreement gives it
JOINT_SWAY_S = 0.4
JOINT_NOISE_M = 0.008
JOINT_GAPS_PER_S, JOINT_GAP_S = 0.12, 0.2
BODY_GAPS_PER_S, BODY_GAP_S = 0.03, 0.3

PLATE_NOISE_G = 1.0  # median over the plates; single ones are up to some three times better or worse
PLATE_DRIFT_G = 0.25  # random walk, grams a square root of a second
PLATE_RESONANCE_HZ, PLATE_DAMPING = 7.0, 0.35  # a loaded plate rings a few times before it stands still

_LEFT, _RIGHT = 0, 1


@dataclass(frozen=True, slots=True)
class TrueInteraction:
    """What really happened at a shelf.

    Attributes:
        shopper: Who, as the bodies' ``target_id`` names them.
        kind: Pick or put-back.
        time_ns: When the item left or reached its place, store clock.
        bin_id: Where.
        sku: What.
        quantity: Units in one grip.
    """

    shopper: str
    kind: Handling
    time_ns: int
    bin_id: str
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class TrueLine:
    """Units of one product that a shopper carried out."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class TrueReceipt:
    """What a shopper should be charged.

    Attributes:
        shopper: Who.
        lines: What they carried out, by sku.
        total_minor: Its price in the currency's minor unit; None where a price is unknown.
        needs_review: Whether an honest till must ask a person, because a price is unknown.
    """

    shopper: str
    lines: tuple[TrueLine, ...]
    total_minor: int | None
    needs_review: bool


@dataclass(frozen=True, slots=True)
class ShopTruth:
    """What happened, in time order, and the receipts that are right, in the order people left."""

    interactions: tuple[TrueInteraction, ...]
    receipts: tuple[TrueReceipt, ...]


class ShopSource:
    """The simulated sensors as a source of ticks (``vision.frames.Source``): scales and bodies, no cameras."""

    def __init__(self, ticks: Sequence[Tick]) -> None:
        """Play the given ticks, oldest first.

        Raises:
            ValueError: There is no tick.
        """
        if not ticks:
            raise ValueError("ShopSource: expected at least one tick, got none")
        self._start_ns = min(
            [ticks[0].timestamp_ns, *(int(s.timestamp_ns[0]) for tick in ticks for s in tick.scales if len(s.grams))]
        )
        self._end_ns = ticks[-1].timestamp_ns
        self._remaining = iter(tuple(ticks))

    @property
    def start_ns(self) -> int:
        """Earliest timestamp of any stream, store clock."""
        return self._start_ns

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self._end_ns - self._start_ns) / 1e9

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """No cameras."""
        return ()

    @property
    def resolutions_wh(self) -> dict[str, tuple[int, int]]:
        """No cameras, so no sizes."""
        return {}

    @property
    def has_gates(self) -> bool:
        """No gate."""
        return False

    @property
    def notices(self) -> tuple[SourceNotice, ...]:
        """Nothing is ever left out."""
        return ()

    def __iter__(self) -> Iterator[Tick]:
        """Read from where it stands to the end."""
        return self._remaining


def demo_shop(seed: int | np.random.Generator) -> tuple[StoreLayout, ShopSource, ShopTruth]:
    """Build the shop and play its visits.

    Six people come: Ada takes two units in one grip; Ben puts something back; Cleo and Dan use one shelf at the same
    time; Eve takes something that has no price, so that a person has to look at her visit; Fay only touches.

    Args:
        seed: A seed, or a generator that is then used up; decides the noise of scales and joints, people's sizes and
            paces, and which unit they grip. Equal seeds give equal shops.

    Returns:
        The layout, the source, and what really happened.

    >>> layout, source, truth = demo_shop(7)
    >>> len(layout.bins), [receipt.shopper for receipt in truth.receipts if receipt.needs_review]
    (24, ['Eve'])
    """
    rng = np.random.default_rng(seed)
    layout = _layout()
    visits = [_plan(shopper, layout, rng) for shopper in _SHOPPERS]
    end_s = max(visit.times_s[-1] for visit in visits) + 2.0
    scales = _scale_blocks(layout, visits, end_s, rng)
    bodies = _bodies(visits, end_s, rng)
    ticks = []
    waiting = deque(sorted(scales, key=lambda block: int(block.timestamp_ns[-1])))
    for body in bodies:
        due = []
        while waiting and waiting[0].timestamp_ns[-1] <= body.timestamp_ns:
            due.append(waiting.popleft())
        ticks.append(Tick(body.timestamp_ns, scales=tuple(due), bodies=body))
    return layout, ShopSource(ticks), _truth(layout, visits)


def gtin_check_digit(digits: str) -> str:
    """Return the check digit of a GTIN without it (GS1 General Specifications: weights 3, 1 from the right).

    >>> gtin_check_digit("629104150021")
    '3'
    """
    total = sum(int(digit) * (3, 1)[place % 2] for place, digit in enumerate(reversed(digits)))
    return str(-total % 10)


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

# Where a gondola's lower left front corner stands, and where its length and depth point; on three walls of the room.
_GONDOLAS = (
    ((2.2, 4.4), (1.0, 0.0), (0.0, 1.0)),
    ((0.5, 1.6), (0.0, 1.0), (-1.0, 0.0)),
    ((5.5, 3.2), (0.0, -1.0), (1.0, 0.0)),
)


def _layout() -> StoreLayout:
    plates: list[Plate] = []
    bins: list[Bin] = []
    products: list[ProductRecord] = []
    names = iter(_RANGE)
    for gondola_id, (corner, along, inwards) in enumerate(_GONDOLAS, start=1):
        for shelf_id, height_m in enumerate(SHELF_HEIGHTS_M, start=1):
            for place in range(4):
                name, mass_g, price = next(names)
                stem = f"2000000{len(products) + 101:05d}"  # numbers from 20 on are free for use within one shop
                sku = stem + gtin_check_digit(stem)
                products.append(ProductRecord(sku, name, mass_g, price, CURRENCY))
                first = place * PLATES_A_BIN + 1
                own = []
                for number in range(first, first + PLATES_A_BIN):
                    box = _box(corner, along, inwards, height_m, (number - 1) * float(PLATE_M[0]), PLATE_M)
                    own.append(Plate(f"{gondola_id}/{shelf_id}/{number}", gondola_id, shelf_id, number, box))
                plates += own
                bins.append(
                    Bin(
                        bin_id=f"{gondola_id}/{shelf_id}/{place + 1}",
                        sku=sku,
                        gondola_id=gondola_id,
                        shelf_id=shelf_id,
                        plate_ids=tuple(plate.plate_id for plate in own),
                        box=Box(own[0].box.world_from_box, PLATE_M * [PLATES_A_BIN, 1, 1]),
                        capacity=12,
                    )
                )
    return StoreLayout(
        name="demo shop",
        bins=tuple(bins),
        plates=tuple(plates),
        products=tuple(products),
        walkable_m=WALKABLE_M,
        entrance_m=ENTRANCE_M,
        exit_m=EXIT_M,
    )


def _box(
    corner: tuple[float, float],
    along: tuple[float, float],
    inwards: tuple[float, float],
    height_m: float,
    offset_m: float,
    size_m: FloatArray,
) -> Box:
    world_from_box = np.eye(4)
    world_from_box[:2, 0], world_from_box[:2, 1] = along, inwards
    world_from_box[:3, 3] = (corner[0] + along[0] * offset_m, corner[1] + along[1] * offset_m, height_m)
    return Box(world_from_box, size_m)


@dataclass(frozen=True, slots=True)
class _Errand:
    """Use a bin at a time, seconds from the start; ``kind`` None only touches the goods."""

    kind: Handling | None
    bin_id: str
    at_s: float
    quantity: int = 1


@dataclass(frozen=True, slots=True)
class _Shopper:
    name: str
    enters_s: float
    errands: tuple[_Errand, ...]


_SHOPPERS = (
    _Shopper("Ada", 1.0, (_Errand(Handling.PICK, "1/1/1", 8.0, 2), _Errand(Handling.PICK, "1/2/4", 13.0))),
    _Shopper(
        "Ben",
        5.0,
        (
            _Errand(Handling.PICK, "2/1/2", 12.0),
            _Errand(Handling.PICK, "1/2/1", 19.0),
            _Errand(Handling.PUT_BACK, "2/1/2", 26.0),
        ),
    ),
    _Shopper("Cleo", 21.0, (_Errand(Handling.PICK, "3/2/1", 31.0),)),
    _Shopper("Dan", 22.5, (_Errand(Handling.PICK, "3/2/3", 31.2), _Errand(Handling.PICK, "1/1/2", 37.5))),
    _Shopper("Eve", 33.0, (_Errand(Handling.PICK, "3/1/1", 42.0), _Errand(Handling.PICK, "2/2/2", 49.0))),
    _Shopper("Fay", 40.0, (_Errand(None, "1/2/2", 48.5),)),
)


@dataclass(frozen=True, slots=True)
class _Reach:
    """A hand in a bin.

    Attributes:
        errand: What for.
        plate_id: The plate it reaches onto.
        sku: What stands there.
        load_g: Mass that leaves (below 0) or arrives, grams.
        target_m: Where the grip goes, shape (3,), metres.
        hand: Left or right.
    """

    errand: _Errand
    plate_id: str
    sku: str
    load_g: float
    target_m: FloatArray
    hand: int


@dataclass(frozen=True, slots=True)
class _Visit:
    """How one shopper moves.

    Attributes:
        shopper: Their name.
        height_m: How tall they are.
        times_s: Times of the corners of their way, shape (n,), rising.
        way_m: Where they are then, shape (n, 2).
        facing: Where they look from then on, shape (n, 2), unit vectors.
        reaches: What they do at the shelves.
        leaves_s: When they are over the exit line.
    """

    shopper: str
    height_m: float
    times_s: FloatArray
    way_m: FloatArray
    facing: FloatArray
    reaches: tuple[_Reach, ...]


def _plan(shopper: _Shopper, layout: StoreLayout, rng: np.random.Generator) -> _Visit:
    pace = WALKING_MPS * rng.uniform(0.9, 1.15)
    handed = _RIGHT if rng.random() < 0.8 else _LEFT
    height_m = rng.uniform(1.6, 1.86)
    masses = {product.sku: product.mass_g for product in layout.products}
    plates = {plate.plate_id: plate for plate in layout.plates}
    entrance = ENTRANCE_M.mean(axis=0) + np.array([rng.uniform(-0.3, 0.3), 0])
    way_out = EXIT_M.mean(axis=0) + np.array([rng.uniform(-0.3, 0.3), 0])
    times, way, facing = [shopper.enters_s], [entrance - DOORSTEP_M], [np.array([0.0, 1.0])]

    def walk(to: FloatArray) -> None:
        leg = to - way[-1]
        length = float(np.linalg.norm(leg))
        times.append(times[-1] + max(length / pace, 1e-3))
        way.append(to)
        facing[-1] = leg / max(length, 1e-9)
        facing.append(facing[-1])

    walk(entrance + DOORSTEP_M)
    reaches = []
    for errand in shopper.errands:
        a_bin = layout.bin(errand.bin_id)
        plate = plates[a_bin.plate_ids[int(rng.integers(len(a_bin.plate_ids)))]]
        axes, size = plate.box.world_from_box, plate.box.size_m
        spot = np.array([size[0] * rng.uniform(0.35, 0.65), rng.uniform(0.1, 0.18), rng.uniform(0.1, 0.15), 1.0])
        target = (axes @ spot)[:3]
        shoulder_m = HALF_SHOULDERS * height_m * (1 if handed == _RIGHT else -1)
        standing = (axes @ [spot[0] - 0.6 * shoulder_m, -STANDING_M, 0, 1])[:2]
        walk(standing)
        if times[-1] > errand.at_s - TOUCHING_S - RAISING_S:
            raise ValueError(f"{shopper.name}: reaches bin {errand.bin_id} only {times[-1]:.1f} s after the start")
        facing[-1] = axes[:2, 1]
        times.append(errand.at_s + RELEASING_S + RAISING_S)
        way.append(standing)
        facing.append(axes[:2, 1])
        sku = str(a_bin.sku)
        sign = {Handling.PICK: -1, Handling.PUT_BACK: 1, None: 0}[errand.kind]
        reaches.append(_Reach(errand, plate.plate_id, sku, sign * errand.quantity * masses[sku], target, handed))
    walk(way_out + DOORSTEP_M)
    walk(way_out - DOORSTEP_M)
    return _Visit(shopper.name, height_m, np.array(times), np.array(way), np.array(facing), tuple(reaches))


def _truth(layout: StoreLayout, visits: Sequence[_Visit]) -> ShopTruth:
    products = {product.sku: product for product in layout.products}
    interactions, receipts = [], []
    for visit in sorted(visits, key=lambda v: float(v.times_s[-1])):
        carried: Counter[str] = Counter()
        for reach in visit.reaches:
            errand = reach.errand
            if errand.kind is None:
                continue
            carried[reach.sku] += errand.quantity if errand.kind is Handling.PICK else -errand.quantity
            interactions.append(
                TrueInteraction(visit.shopper, errand.kind, _ns(errand.at_s), errand.bin_id, reach.sku, errand.quantity)
            )
        lines = tuple(TrueLine(sku, quantity) for sku, quantity in sorted(carried.items()) if quantity)
        prices = [(products[line.sku].unit_price_minor, line.quantity) for line in lines]
        known = [price * quantity for price, quantity in prices if price is not None]
        complete = len(known) == len(prices)
        receipts.append(TrueReceipt(visit.shopper, lines, sum(known) if complete else None, not complete))
    return ShopTruth(tuple(sorted(interactions, key=lambda i: i.time_ns)), tuple(receipts))


def _scale_blocks(
    layout: StoreLayout, visits: Sequence[_Visit], end_s: float, rng: np.random.Generator
) -> list[ScaleSamples]:
    blocks = []
    count = int(end_s * SCALE_RATE_HZ) // SAMPLES_A_BLOCK * SAMPLES_A_BLOCK
    times_s = np.arange(count) / SCALE_RATE_HZ
    reaches = [reach for visit in visits for reach in visit.reaches]
    for gondola_id in dict.fromkeys(plate.gondola_id for plate in layout.plates):
        plate_ids = tuple(plate.plate_id for plate in layout.plates if plate.gondola_id == gondola_id)
        load_g = np.zeros((count, len(plate_ids)))
        for reach in reaches:
            if reach.plate_id in plate_ids:
                _press(load_g, times_s, plate_ids, reach, rng)
        grams = _weighed(load_g, rng).astype(np.float32)
        timestamps = _ns_array(times_s)
        for first in range(0, count, SAMPLES_A_BLOCK):
            rows = slice(first, first + SAMPLES_A_BLOCK)
            blocks.append(ScaleSamples(timestamps[rows], plate_ids, grams[rows], SCALE_RATE_HZ))
    return blocks


def _press(
    load_g: FloatArray, times_s: FloatArray, plate_ids: tuple[str, ...], reach: _Reach, rng: np.random.Generator
) -> None:
    """Add what one reach puts onto the plates: the hand's pressure, and the goods that leave or arrive."""
    column = plate_ids.index(reach.plate_id)
    at_s = reach.errand.at_s
    lift_s = rng.uniform(0.08, 0.2)  # goods do not leave a plate at once: they tip, then rise
    load_g[:, column] += reach.load_g * np.clip((times_s - at_s) / lift_s + 0.5, 0, 1)
    pushes = [(at_s - TOUCHING_S + rng.uniform(0, 0.15), rng.uniform(0.25, 0.4), rng.uniform(15, 80))]
    if reach.errand.kind is Handling.PUT_BACK:
        pushes.append((at_s, rng.uniform(0.08, 0.15), 0.3 * reach.load_g))  # set down, not lowered by a crane
        pushes.append((at_s + 0.1, RELEASING_S, rng.uniform(10, 50)))
    elif reach.errand.kind is None:
        pushes.append((at_s - 0.1, rng.uniform(0.25, 0.4), rng.uniform(-90, -30)))  # lifted a little, let go again
    shelf = reach.plate_id.rsplit("/", 1)[0]
    for start_s, length_s, push_g in pushes:
        push = push_g * np.sin(np.pi * np.clip((times_s - start_s) / length_s, 0, 1))
        load_g[:, column] += push
        for neighbour in (column - 1, column + 1):
            if 0 <= neighbour < len(plate_ids) and plate_ids[neighbour].rsplit("/", 1)[0] == shelf:
                load_g[:, neighbour] += 0.2 * rng.random() * push


def _weighed(load_g: FloatArray, rng: np.random.Generator) -> FloatArray:
    """What load cells make of a load, shape (s, p), grams: ringing, drift, noise and an arbitrary zero."""
    count, plates = load_g.shape
    omega = 2 * np.pi * PLATE_RESONANCE_HZ
    pole = np.exp(omega / SCALE_RATE_HZ * (-PLATE_DAMPING + 1j * np.sqrt(1 - PLATE_DAMPING**2)))
    spring = np.array([1.0, -2 * pole.real, abs(pole) ** 2])  # a damped oscillator, sampled
    rung = lfilter([spring.sum()], spring, load_g, axis=0)
    noise_g = PLATE_NOISE_G * np.exp(rng.normal(0, 0.4, plates)) * rng.normal(size=(count, plates))
    drift_g = np.cumsum(rng.normal(0, PLATE_DRIFT_G / np.sqrt(SCALE_RATE_HZ), (count, plates)), axis=0)
    zero_g = rng.uniform(300, 9000, plates)
    return np.asarray(zero_g + rung + drift_g + noise_g)


def _bodies(visits: Sequence[_Visit], end_s: float, rng: np.random.Generator) -> list[TrackedBodies]:
    times_s = np.arange(int(end_s * BODY_RATE_HZ) + 1) / BODY_RATE_HZ
    everyone = [_seen(visit, times_s, rng) for visit in visits]
    bodies = []
    for k, time_s in enumerate(times_s):
        rows = [i for i, (_, _, present) in enumerate(everyone) if present[k]]
        bodies.append(
            TrackedBodies(
                _ns(float(time_s)),
                tuple(visits[i].shopper for i in rows),
                np.array([everyone[i][0][k] for i in rows]).reshape(-1, len(JOINT_NAMES), 3),
                np.array([everyone[i][1][k] for i in rows]).reshape(-1, len(JOINT_NAMES)),
            )
        )
    return bodies


def _seen(visit: _Visit, times_s: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, BoolArray]:
    """What an outside tracker says of a visit: joints (t, 8, 3) with errors and gaps, scores (t, 8), presence (t,)."""
    count = len(times_s)
    present = (times_s >= visit.times_s[0]) & (times_s <= visit.times_s[-1])
    joints = np.full((count, len(JOINT_NAMES), 3), np.nan)
    joints[present] = [_pose(visit, float(time_s)) for time_s in times_s[present]]
    keep = np.exp(-1 / (BODY_RATE_HZ * JOINT_SWAY_S))
    kicks = rng.normal(0, JOINT_SWAY_M * np.sqrt(1 - keep**2), joints.shape)
    joints += lfilter([1.0], [1.0, -keep], kicks, axis=0) + rng.normal(0, JOINT_NOISE_M, joints.shape)
    hidden = np.stack([_gaps(count, JOINT_GAPS_PER_S, JOINT_GAP_S, rng) for _ in JOINT_NAMES], axis=1)
    score = np.where(hidden, 0.0, rng.uniform(0.6, 0.98, hidden.shape))
    present &= ~_gaps(count, BODY_GAPS_PER_S, BODY_GAP_S, rng)
    return np.where(hidden[:, :, None], np.nan, joints), score, present


def _gaps(count: int, gaps_per_s: float, gap_s: float, rng: np.random.Generator) -> BoolArray:
    """Mark the instants, shape (count,), that fall into gaps of exponential length."""
    hidden = np.zeros(count, bool)
    for start in np.flatnonzero(rng.random(count) < gaps_per_s / BODY_RATE_HZ):
        hidden[start : start + 1 + int(rng.exponential(gap_s) * BODY_RATE_HZ)] = True
    return hidden


def _pose(visit: _Visit, time_s: float) -> FloatArray:
    """Return the true joints of a shopper, shape (8, 3), in the order of ``JOINT_NAMES``, metres."""
    height = visit.height_m
    leg = int(np.clip(np.searchsorted(visit.times_s, time_s, side="right") - 1, 0, len(visit.times_s) - 2))
    span = visit.times_s[leg + 1] - visit.times_s[leg]
    share = float(np.clip((time_s - visit.times_s[leg]) / span, 0, 1))
    floor = visit.way_m[leg] + (visit.way_m[leg + 1] - visit.way_m[leg]) * share
    walks = bool(np.linalg.norm(visit.way_m[leg + 1] - visit.way_m[leg]) > 0.05)
    # Nobody turns at once: over the last third of a second of a leg the body turns towards the next.
    ahead = min(leg + 1, len(visit.facing) - 1)
    turned = float(np.clip((time_s - visit.times_s[leg + 1]) / 0.35 + 1, 0, 1))
    forward = _unit(visit.facing[leg] * (1 - turned) + visit.facing[ahead] * turned + 1e-6)
    right = np.array([forward[1], -forward[0], 0.0])
    forward = np.array([forward[0], forward[1], 0.0])
    middle = np.array([floor[0], floor[1], 0.0])
    up = np.array([0.0, 0.0, height])

    swing = 0.12 * np.sin(2 * np.pi * 0.9 * time_s) if walks else 0.0
    reach = min(visit.reaches, key=lambda r: abs(r.errand.at_s - time_s), default=None)
    raised = 0.0 if reach is None else _raised(time_s - reach.errand.at_s)
    shoulders = [middle + side * right * HALF_SHOULDERS * height + up * SHOULDER for side in (-1, 1)]
    arm = height * (UPPER_ARM + FOREARM + WRIST_TO_GRIP)
    grips: list[FloatArray] = [
        shoulder - [0, 0, 0.93 * arm] + forward * (0.1 + side * swing)
        for side, shoulder in zip((-1, 1), shoulders, strict=True)
    ]
    lean: FloatArray = np.zeros(3)
    if reach is not None and raised > 0:
        grips[reach.hand] = grips[reach.hand] * (1 - raised) + reach.target_m * raised
        away = grips[reach.hand] - shoulders[reach.hand]
        lean = away * max(0.0, 1 - REACHABLE * arm / float(np.linalg.norm(away)))
    trunk = [middle + up * HEAD + forward * 0.04, middle + up * NECK]
    bent = [_bent_arm(s + lean, g, height, forward) for s, g in zip(shoulders, grips, strict=True)]
    elbows, wrists = [elbow for elbow, _ in bent], [wrist for _, wrist in bent]
    return np.stack([*(point + lean for point in trunk), *(s + lean for s in shoulders), *elbows, *wrists])


def _raised(after_s: float) -> float:
    """How far a hand is on its way into the bin, 0 hanging to 1 inside, at a time from the moment of the grip."""
    coming = (after_s + TOUCHING_S + RAISING_S) / RAISING_S
    going = (RELEASING_S + RAISING_S - after_s) / RAISING_S
    share = float(np.clip(min(coming, going), 0, 1))
    return share * share * (3 - 2 * share)


def _bent_arm(
    shoulder: FloatArray, grip: FloatArray, height_m: float, forward: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Place elbow and wrist between shoulder and grip: a triangle with the elbow down and back (law of cosines)."""
    upper, lower = UPPER_ARM * height_m, (FOREARM + WRIST_TO_GRIP) * height_m
    along = grip - shoulder
    distance = float(np.clip(np.linalg.norm(along), abs(upper - lower) + 1e-3, upper + lower))
    direction = _unit(along)
    down = np.array([0.0, 0.0, -1.0]) - 0.5 * forward
    aside = _unit(down - (down @ direction) * direction)
    cosine = (upper**2 + distance**2 - lower**2) / (2 * upper * distance)
    elbow = shoulder + upper * (cosine * direction + np.sqrt(max(0.0, 1 - cosine**2)) * aside)
    wrist = elbow + (grip - elbow) * FOREARM / (FOREARM + WRIST_TO_GRIP)
    return elbow, wrist


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


def _ns(time_s: float) -> int:
    return START_NS + round(time_s * 1e9)


def _ns_array(times_s: FloatArray) -> IntArray:
    return START_NS + np.round(times_s * 1e9).astype(np.int64)
