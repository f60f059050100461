"""Every single unit of a simulated store: where it stands, which plates it weighs on, who has it, who took it last."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from store_sim.day import starting_stock, true_masses
from store_sim.figures import Goods, Whereabouts
from store_sim.goods import look_of
from store_sim.scenarios import Action, Place, Scenario
from vision.arrays import FloatArray
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout

FOREIGN_SKU = "foreign"
"""What :class:`store_sim.figures.Goods` calls things that are not the store's."""
NOBODY = -1

TOLERANCE_G = ((0.0, 50.0, 100.0, 200.0, 300.0, 500.0, 1000.0, 10_000.0), (0.0, 4.5, 4.5, 9.0, 9.0, 15.0, 15.0, 150.0))
"""How much too little a pack of a mass may hold (OIML R 87), grams: 9 % of small packs, 1.5 % of large ones."""
FILL_SPREAD = 0.25  # of that is the spread of a filling machine that keeps it in use (OIML R 61, class X(1): 4 sigma)
BATCH_SPREAD = 0.125  # and that of its preset from the label: it may be off by a quarter (OIML R 61)
PACK_SPREAD = 0.004  # of the mass: glass, cans and cartons are not equal either
HAND_MADE = re.compile(r"\b(sandwich|salad|bowl(?! noodle))\b|\bwrap$", re.IGNORECASE)
HAND_MADE_SPREAD = 0.05  # a cook's ladle: chosen, half of what one tastes
ODD_MASS_SPREAD, ODD_SHARE = 0.04, 0.03  # and now and then a pack is odd: a free gift, a dent that leaks, a refill
OUT_OF_LINE, OUT_OF_LINE_M = 0.2, 0.012
"""So many units are out of line by about so much along the shelf, as far as there is room: shoppers leave them so, and
one in a few then stands on two plates."""
PLACING_M = 0.015  # so exactly does a hand set something down beside where it aims
UNKNOWN_MASS_G = 250.0  # a pack that no list names
BASE_SHARE = 0.8  # what stands on a shelf touches it with this part of its width: bottles and bags are rounded below
LEAST_SHARE = 0.08  # a plate that carries less of a unit than this is only brushed
HAND_M = 0.09  # breadth of a hand
HANDY_M = 0.35  # to either side one sets things down without walking
GAP_M = 0.004  # between units side by side
SPREAD_BINS = 0.25  # share of the bins whose units are lined up without regard to the plates beneath


Shares = list[tuple[str, float]]
"""Plates under something, and what part of it each carries."""


@dataclass(slots=True)
class _Shelf:
    """One shelf; its own axes are those of its first plate or bin.

    Attributes:
        key: Gondola and shelf.
        rotation: World from shelf, shape (3, 3).
        origin_m: World position of its zero, shape (3,).
        plate_ids: Its plates.
        numbers: Their numbers.
        plate_x_m: Where each begins and ends along the shelf, shape (p, 2).
        bins: Its bins, as (bin, intervals along the shelf).
        depth_m: From the front edge to the back.
        height_m: Room above.
        width_m: Where it begins and ends.
        rows: Units that stand on it.
    """

    key: tuple[int, int]
    rotation: FloatArray
    origin_m: FloatArray
    plate_ids: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    plate_x_m: list[tuple[float, float]] = field(default_factory=list)
    bins: list[tuple[Bin, list[tuple[float, float]]]] = field(default_factory=list)
    depth_m: float = 0.0
    height_m: float = 0.0
    width_m: tuple[float, float] = (np.inf, -np.inf)
    rows: list[int] = field(default_factory=list)

    def add_box(self, box: Box) -> tuple[float, float]:
        local = (box.corners_m - self.origin_m) @ self.rotation
        low, high = local.min(axis=0), local.max(axis=0)
        self.depth_m = max(self.depth_m, float(high[1]))
        self.height_m = max(self.height_m, float(high[2]))
        self.width_m = (min(self.width_m[0], float(low[0])), max(self.width_m[1], float(high[0])))
        return float(low[0]), float(high[0])

    def has_room(self, local_m: FloatArray, size_m: FloatArray, taken_m: FloatArray, taken_size_m: FloatArray) -> bool:
        """Whether a unit fits somewhere between others, of which no pile is looked at by layers, and on the shelf."""
        half = (taken_size_m[:, :2] + size_m[:2]) / 2
        if (np.abs(taken_m[:, :2] - local_m[:2]) < half).all(axis=1).any():
            return False
        low, high = self.width_m[0] + size_m[0] / 2, self.width_m[1] - size_m[0] / 2
        return bool(low <= local_m[0] <= high)

    def intervals(self, place: Place) -> list[tuple[float, float]]:
        """Where along the shelf the plates of a place lie; the whole shelf if it names none."""
        if not place.plates:
            return [self.width_m]
        return [x for number, x in zip(self.numbers, self.plate_x_m, strict=True) if number in place.plates]


@dataclass(frozen=True, slots=True)
class Slot:
    """Room for a unit on a shelf.

    Attributes:
        shelf: Gondola and shelf.
        local_m: Middle of the unit's underside on the shelf's axes, shape (3,), metres.
        position_m: The same in the world, shape (3,).
    """

    shelf: tuple[int, int]
    local_m: FloatArray
    position_m: FloatArray


class Stock:
    """All units, one row each; ``sizes_m`` and the arrays of ``goods`` belong to the world that owns this."""

    def __init__(self, layout: StoreLayout, scenario: Scenario, rng: np.random.Generator) -> None:
        """Stand every planned product in its bins, and keep ready what will be restocked or brought along.

        Args:
            layout: The layout of the day, with the scenario's overrides in its bins.
            scenario: Says how many stand where and what will be delivered.
            rng: Decides masses and where exactly things stand.
        """
        names = [*(p.sku for p in layout.products), *(b.sku for b in layout.bins if b.sku)]
        names += [e.barcode for e in scenario.events if e.barcode]
        self.skus = (*dict.fromkeys(names), FOREIGN_SKU)
        self._index = {sku: row for row, sku in enumerate(self.skus)}
        masses = true_masses(layout, scenario)
        usual_g = [masses.get(sku, UNKNOWN_MASS_G) for sku in self.skus]
        records = {product.sku: product for product in layout.products}
        self.sizes_m = np.array(
            [
                look_of(records.get(sku) or ProductRecord(sku, sku, mass_g, None, "USD")).size_m
                for sku, mass_g in zip(self.skus, usual_g, strict=True)
            ]
        )
        self.version = 0
        self._shelves = _shelves_of(layout)
        counts = {stock.bin_id: stock.quantity for stock in starting_stock(layout, scenario)}
        rows: list[tuple[int, FloatArray, tuple[int, int], frozenset[str]]] = []
        for shelf in self._shelves.values():
            for a_bin, intervals in shelf.bins:
                if a_bin.sku is not None:
                    index = self._index[a_bin.sku]
                    spots = _spots(shelf, a_bin, intervals, counts[a_bin.bin_id], self.sizes_m[index], rng)
                    rows += [(index, spot, shelf.key, frozenset(a_bin.plate_ids)) for spot in spots]
        later = [
            self._index[str(e.barcode)]
            for e in scenario.events
            if e.action is Action.RESTOCK
            for _ in range(e.quantity)
        ]
        foreign = [e.mass_g or 0.0 for e in scenario.events if e.action is Action.PLACE_FOREIGN]
        count = len(rows) + len(later) + len(foreign)
        self.sku_index = np.array([r[0] for r in rows] + later + [len(self.skus) - 1] * len(foreign), np.int64)
        self.mass_g = self._drawn_masses_g(np.array(usual_g), layout, rng)
        self._unit_size_m = self.sizes_m[self.sku_index]
        if foreign:
            self.mass_g[-len(foreign) :] = foreign
            self._unit_size_m[-len(foreign) :] = [_size_of(mass_g) for mass_g in foreign]
        self.whereabouts = np.full(count, Whereabouts.GONE, np.int64)
        self.position_m = np.full((count, 3), np.nan)
        self.yaw_rad = np.zeros(count)
        self.holder = np.full(count, NOBODY, np.int64)
        self.hand = np.zeros(count, np.int64)
        self.taker = np.full(count, NOBODY, np.int64)
        self.gained = np.zeros(count, np.int64)  # when its holder got it, as a rising number
        self._gains = 0
        self._local_m = np.full((count, 3), np.nan)
        self._shelf_of: list[tuple[int, int] | None] = [None] * count
        self._spots: list[frozenset[str]] = [frozenset()] * count  # the plates that a unit's place was told by
        self.hidden = np.zeros(count, bool)
        self._whim = rng.random(count).tolist()  # which of several columns people like
        for row, (_, spot, key, plate_ids) in enumerate(rows):
            self._stand(row, self._shelves[key], spot)
            self._spots[row] = plate_ids
        for row in np.flatnonzero(rng.random(len(rows)) < OUT_OF_LINE).tolist():
            self.nudge(row, float(rng.normal(0, OUT_OF_LINE_M)))
        self._beside = {
            plate_id: (shelf, place)
            for shelf in self._shelves.values()
            for place, plate_id in enumerate(shelf.plate_ids)
        }
        self.undelivered = list(range(len(rows), len(rows) + len(later)))
        self.first_foreign = len(rows) + len(later)
        self.version = 1

    def _drawn_masses_g(self, usual_g: FloatArray, layout: StoreLayout, rng: np.random.Generator) -> FloatArray:
        """Draw the mass of every unit: its batch differs from the label, and it from its batch."""
        names = {product.sku: product.name for product in layout.products}
        by_hand = np.array([bool(HAND_MADE.search(names.get(sku, ""))) for sku in self.skus])
        allowed_g = np.interp(usual_g, *TOLERANCE_G)
        spread_g = np.hypot(
            np.where(by_hand, HAND_MADE_SPREAD * usual_g, FILL_SPREAD * allowed_g), PACK_SPREAD * usual_g
        )
        batch_g = usual_g + BATCH_SPREAD * allowed_g * rng.standard_normal(len(usual_g))
        count = len(self.sku_index)
        spread_g = np.where(
            rng.random(count) < ODD_SHARE, ODD_MASS_SPREAD * usual_g[self.sku_index], spread_g[self.sku_index]
        )
        mass_g = batch_g[self.sku_index] + spread_g * rng.standard_normal(count)
        return np.asarray(np.clip(mass_g, 0.8 * usual_g[self.sku_index], 1.2 * usual_g[self.sku_index]))

    def goods(self, holders: tuple[str, ...]) -> Goods:
        """Everything as renderers see it; a view."""
        return Goods(
            self.version,
            self.skus,
            self.sku_index,
            self.mass_g,
            self.whereabouts,
            self.position_m,
            self.yaw_rad,
            self.holder,
            self.hand,
            holders,
        )

    def index(self, sku: str) -> int:
        """Row of a product in ``skus``, or -1."""
        return self._index.get(sku, -1)

    def has(self, place: Place) -> bool:
        """Whether there is such a shelf, with all these plates."""
        shelf = self._shelves.get((place.gondola, place.shelf))
        return shelf is not None and all(number in shelf.numbers for number in place.plates)

    def inward(self, shelf: tuple[int, int]) -> FloatArray:
        """The way into a shelf, a unit vector, shape (2,)."""
        return np.asarray(self._shelves[shelf].rotation[:2, 1])

    def standing(self, place: Place, sku: str) -> list[int]:
        """Units of a product that stand at a place, those first that a shopper would take.

        The plates of a place stand for the bins on them, as labels of real visits often name only some of a bin's
        plates. Units on the plates themselves come first, then the uppermost and foremost.
        """
        shelf = self._shelves.get((place.gondola, place.shelf))
        index = self._index.get(sku, -1)
        if shelf is None:
            return []
        named = shelf.intervals(place)
        names = set(place.plate_ids)
        around = set(names)
        for a_bin, _ in shelf.bins:
            if not names.isdisjoint(a_bin.plate_ids):
                around.update(a_bin.plate_ids)
        found = []
        for row in shelf.rows:
            if self.sku_index[row] != index:
                continue
            x, y, z = self._local_m[row].tolist()
            on_named = any(a <= x <= b for a, b in named)
            if on_named or not around.isdisjoint(self._spots[row]):
                found.append((not on_named, -round(z, 2), round(y, 2), self._whim[row], row))
        if not found:
            return []
        first = min(found)[-1]
        # Of several, those beside the first are taken with it.
        beside = np.abs(self._local_m[[entry[-1] for entry in found]] - self._local_m[first]).sum(axis=1).tolist()
        return [
            row for _, _, row in sorted((entry[0], far, entry[-1]) for entry, far in zip(found, beside, strict=True))
        ]

    def carried(self, holder: int, sku: str) -> list[int]:
        """Units of a product that somebody has with them, the newest first and what they hide last."""
        mine = np.flatnonzero((self.holder == holder) & (self.sku_index == self._index.get(sku, -1)))
        return sorted(mine.tolist(), key=lambda row: (self.hidden[row], -self.gained[row]))

    def in_hand(self, holder: int, hand: int) -> list[int]:
        """Units in one hand."""
        held = (self.holder == holder) & (self.whereabouts == Whereabouts.HAND) & (self.hand == hand)
        return [int(row) for row in np.flatnonzero(held)]

    def grip_m(self, row: int) -> FloatArray:
        """Where a hand takes a standing unit, shape (3,), metres: its middle, inside the bin."""
        shelf = self._shelves[self._shelf_of[row] or (0, 0)]
        return self._grip(shelf, self._local_m[row], float(self._unit_size_m[row, 2]))

    def slot_grip_m(self, slot: Slot, row: int) -> FloatArray:
        """Where a hand is when it sets a unit down in a slot, shape (3,), metres."""
        return self._grip(self._shelves[slot.shelf], slot.local_m, float(self._unit_size_m[row, 2]))

    def _grip(self, shelf: _Shelf, local_m: FloatArray, height_m: float) -> FloatArray:
        z = float(np.clip(local_m[2] + 0.5 * height_m, 0.02, max(0.03, shelf.height_m - 0.02)))
        y = float(np.clip(local_m[1], 0.02, shelf.depth_m - 0.02))
        return np.asarray(shelf.rotation @ [local_m[0], y, z] + shelf.origin_m)

    def shares(self, row: int) -> list[tuple[str, float]]:
        """Which plates carry a standing unit, and what part of its mass; empty on a shelf without scales."""
        key = self._shelf_of[row]
        if key is None:
            return []
        return _shares(self._shelves[key], float(self._local_m[row, 0]), float(self._unit_size_m[row, 0]))

    def _room(self, place: Place, sku: str | None) -> list[tuple[float, float]]:
        """Where along the shelf a product is put at a place; without plates, where it belongs if it belongs there."""
        shelf = self._shelves[(place.gondola, place.shelf)]
        own = [] if place.plates else [xs for a_bin, xs in shelf.bins if a_bin.sku is not None and a_bin.sku == sku]
        return own[0] if own else shelf.intervals(place)

    def middle_m(self, place: Place, sku: str | None) -> FloatArray:
        """A point a hand's breadth inside the middle of where a product is put at a place, shape (3,), metres."""
        shelf = self._shelves[(place.gondola, place.shelf)]
        room = self._room(place, sku)
        x = (min(x0 for x0, _ in room) + max(x1 for _, x1 in room)) / 2
        local = np.array([x, min(0.1, 0.5 * shelf.depth_m), min(0.1, 0.5 * shelf.height_m)])
        return np.asarray(shelf.rotation @ local + shelf.origin_m)

    def depth_m(self, place: Place, point_m: FloatArray) -> float:
        """How deep inside a shelf a point, shape (3,), lies, metres from the front."""
        shelf = self._shelves[(place.gondola, place.shelf)]
        return float((point_m - shelf.origin_m) @ shelf.rotation[:, 1])

    def beside(self, plate_id: str, way: int) -> str | None:
        """The plate that comes next along the shelf, one way (1) or the other (-1); None at its end."""
        shelf, place = self._beside[plate_id]
        order = sorted(range(len(shelf.plate_ids)), key=lambda k: shelf.plate_x_m[k])
        there = order.index(place) + way
        return shelf.plate_ids[order[there]] if 0 <= there < len(order) else None

    def within_reach(self, at_m: FloatArray, focus_m: FloatArray, reach_m: float, aside_m: float) -> list[int]:
        """Standing units at hand, the nearest of every pile first.

        Args:
            at_m: Where somebody stands, shape (2,), metres.
            focus_m: What they look at, shape (2,), metres.
            reach_m: How far from themselves they reach.
            aside_m: How far from what they look at, along the shelf.
        """
        far = np.linalg.norm(self.position_m[:, :2] - at_m, axis=1)
        way = (focus_m - at_m) / max(float(np.linalg.norm(focus_m - at_m)), 1e-6)
        away = self.position_m[:, :2] - focus_m
        aside = np.abs(away[:, 0] * way[1] - away[:, 1] * way[0])
        standing = self.whereabouts == Whereabouts.SHELF
        height_m = self.position_m[:, 2]
        handy = standing & (far < reach_m) & (aside < aside_m) & (height_m > 0.4) & (height_m < 1.6)
        rows = np.flatnonzero(handy)
        rows = rows[far[rows] < far[rows].min(initial=np.inf) + 0.15]
        return [int(row) for row in rows[np.argsort(far[rows], kind="stable")]]

    def edge(self, shelf: tuple[int, int], point_m: FloatArray, aside_m: float) -> tuple[FloatArray, Shares]:
        """Where a hand rests beside a point, shape (3,), on a shelf: near its front edge, and on which plates."""
        own = self._shelves[shelf]
        local = (point_m - own.origin_m) @ own.rotation
        x = float(np.clip(local[0] + aside_m, own.width_m[0] + 0.05, own.width_m[1] - 0.05))
        at = own.rotation @ [x, 0.03, min(0.08, 0.5 * own.height_m)] + own.origin_m
        return np.asarray(at), _shares(own, x, HAND_M / BASE_SHARE)

    def place_of(self, row: int) -> Place:
        """The shelf that a unit stands on, and the plates under it."""
        slot = self.slot_of(row)
        return Place(*slot.shelf, tuple(int(plate_id.rsplit("/", 1)[1]) for plate_id, _ in self.shares(row)))

    def at(self, place: Place) -> list[int]:
        """Units of any kind that stand at a place, the foremost first."""
        shelf = self._shelves[(place.gondola, place.shelf)]
        named = shelf.intervals(place)
        here = [row for row in shelf.rows if any(a <= self._local_m[row, 0] <= b for a, b in named)]
        return sorted(here, key=lambda row: (round(float(self._local_m[row, 1]), 2), self._whim[row]))

    def is_at(self, row: int, place: Place) -> bool:
        """Whether a unit stands at a place, or was put there."""
        shelf = self._shelf_of[row]
        if shelf != (place.gondola, place.shelf):
            return False
        names = frozenset(place.plate_ids)
        return not names or bool(names & self._spots[row]) or any(p in names for p, _ in self.shares(row))

    def plates_at(self, slot: Slot, row: int) -> list[tuple[str, float]]:
        """Which plates would carry a unit in a slot, and what part of its mass."""
        return _shares(self._shelves[slot.shelf], float(slot.local_m[0]), float(self._unit_size_m[row, 0]))

    def slots(self, place: Place, rows: Sequence[int], near_m: FloatArray, rng: np.random.Generator) -> list[Slot]:
        """Find room for units at a place: as far in front as there is any, else on top of what stands there.

        Args:
            place: Where.
            rows: The units that are to stand there, side by side.
            near_m: Where the shopper stands, shape (2,), metres, who puts things before themselves.
            rng: Decides between places as good as each other.
        """
        shelf = self._shelves[(place.gondola, place.shelf)]
        named = self._room(place, self.skus[int(self.sku_index[rows[0]])])
        near_x = float((np.array([*near_m, 0.0]) - shelf.origin_m) @ shelf.rotation[:, 0])
        others = np.array(shelf.rows, np.int64)
        taken_m, taken_size = self._local_m[others], self._unit_size_m[others]
        slots = []
        for row in rows:
            size = self._unit_size_m[row]
            local = _free_spot(shelf, _merged(named), size, taken_m, taken_size, near_x, rng)
            beside = local + np.array([rng.normal(0, PLACING_M), 0, 0])
            if local[2] < 0.005 and shelf.has_room(beside, size, taken_m, taken_size):
                local = beside
            slots.append(Slot(shelf.key, local, np.asarray(shelf.rotation @ local + shelf.origin_m)))
            taken_m = np.vstack([taken_m, local])
            taken_size = np.vstack([taken_size, self._unit_size_m[row]])
        return slots

    def take(self, rows: Sequence[int], holder: int, hand: int, *, takes: bool = True) -> dict[str, float]:
        """Lift units off their shelf into a hand.

        Args:
            rows: Standing units.
            holder: Who takes them.
            hand: Into which hand.
            takes: False if they are only lifted: whoever took them last stays who it was.

        Returns:
            Grams that each plate has lost, above 0.
        """
        lost: dict[str, float] = {}
        for row in rows:
            for plate_id, share in self.shares(row):
                lost[plate_id] = lost.get(plate_id, 0.0) + share * float(self.mass_g[row])
            key = self._shelf_of[row]
            if key is not None:
                self._shelves[key].rows.remove(row)
            self._shelf_of[row] = None
            if takes:
                self.taker[row] = holder
            self._hold(row, holder, hand)
        self.version += 1
        return lost

    def put(self, rows: Sequence[int], slots: Sequence[Slot], place: Place | None = None) -> dict[str, float]:
        """Stand units in slots; nobody has taken them then.

        Args:
            rows: The units.
            slots: Where each comes to stand.
            place: How the place was told; None for a unit that is only set down again.

        Returns:
            Grams that each plate has gained.
        """
        gained: dict[str, float] = {}
        for row, slot in zip(rows, slots, strict=True):
            self._stand(row, self._shelves[slot.shelf], slot.local_m)
            if place is not None:
                self.taker[row] = NOBODY
                self._spots[row] = frozenset(place.plate_ids)
            for plate_id, share in self.shares(row):
                gained[plate_id] = gained.get(plate_id, 0.0) + share * float(self.mass_g[row])
        self.version += 1
        return gained

    def slot_of(self, row: int) -> Slot:
        """Where a standing unit stands."""
        key = self._shelf_of[row]
        if key is None:
            raise ValueError(f"unit {row}: expected it on a shelf")
        return Slot(key, self._local_m[row].copy(), self.position_m[row].copy())

    def nudge(self, row: int, along_m: float) -> dict[str, float]:
        """Push a standing unit a little along its shelf if there is room.

        Returns:
            Grams that each plate gained (below 0: lost).
        """
        key = self._shelf_of[row]
        if key is None:
            return {}
        shelf, local, size = self._shelves[key], self._local_m[row], self._unit_size_m[row]
        there = local + np.array([along_m, 0, 0])
        others = np.array([other for other in shelf.rows if other != row], np.int64)
        if not shelf.has_room(there, size, self._local_m[others], self._unit_size_m[others]):
            return {}
        change = {plate_id: -share * float(self.mass_g[row]) for plate_id, share in self.shares(row)}
        self._local_m[row] = there
        self.position_m[row] = shelf.rotation @ there + shelf.origin_m
        for plate_id, share in self.shares(row):
            change[plate_id] = change.get(plate_id, 0.0) + share * float(self.mass_g[row])
        self.version += 1
        return {plate_id: grams for plate_id, grams in change.items() if abs(grams) > 0.01}

    def hand_to(self, rows: Sequence[int], holder: int, hand: int) -> None:
        """Put units that somebody has into a hand, their own or another's."""
        for row in rows:
            if self.holder[row] == holder:
                self.whereabouts[row] = Whereabouts.HAND
                self.hand[row] = hand
            else:
                self._hold(row, holder, hand)

    def bag(self, rows: Sequence[int], *, hides: bool = False) -> None:
        """Put units that somebody holds into their bag or pocket, openly or to hide them."""
        self.whereabouts[list(rows)] = Whereabouts.BAG
        self.hidden[list(rows)] |= hides

    def drop(self, rows: Sequence[int], position_m: FloatArray, yaw_rad: float) -> None:
        """Leave units on the floor, at about a point, shape (2,), metres."""
        for k, row in enumerate(rows):
            self.whereabouts[row] = Whereabouts.FLOOR
            self.holder[row] = NOBODY
            self.position_m[row] = (*(position_m + 0.09 * k * np.array([np.cos(yaw_rad), np.sin(yaw_rad)])), 0.0)
            self.yaw_rad[row] = yaw_rad
        self.version += 1

    def gone(self, rows: Sequence[int]) -> None:
        """Let units be used up or carried out; who took them last stays known."""
        self.whereabouts[list(rows)] = Whereabouts.GONE
        self.holder[list(rows)] = NOBODY

    def _hold(self, row: int, holder: int, hand: int) -> None:
        self.whereabouts[row] = Whereabouts.HAND
        self.hidden[row] = False
        self.holder[row] = holder
        self.hand[row] = hand
        self.position_m[row] = np.nan
        self._gains += 1
        self.gained[row] = self._gains

    def _stand(self, row: int, shelf: _Shelf, local_m: FloatArray) -> None:
        self.whereabouts[row] = Whereabouts.SHELF
        self.holder[row] = NOBODY
        self._local_m[row] = local_m
        self._shelf_of[row] = shelf.key
        self.position_m[row] = shelf.rotation @ local_m + shelf.origin_m
        self.yaw_rad[row] = np.arctan2(-shelf.rotation[1, 1], -shelf.rotation[0, 1])
        shelf.rows.append(row)


def _size_of(mass_g: float) -> FloatArray:
    """Width, depth and height, shape (3,), metres, of a pack of ordinary density (0.6 g/cm3), half as high again."""
    side_m = (max(mass_g, 5.0) / 0.6e6 / 1.5) ** (1 / 3)
    return np.array([side_m, side_m, 1.5 * side_m])


def _shelves_of(layout: StoreLayout) -> dict[tuple[int, int], _Shelf]:
    shelves: dict[tuple[int, int], _Shelf] = {}

    def shelf_at(item: Bin | Plate, box: Box, loose: int) -> _Shelf:
        key = (-1, loose)  # of a bin that no scenario can name
        if item.gondola_id is not None and item.shelf_id is not None:
            key = (item.gondola_id, item.shelf_id)
        if key not in shelves:
            axes = box.world_from_box
            shelves[key] = _Shelf(key, axes[:3, :3].copy(), axes[:3, 3].copy())
        return shelves[key]

    for plate in layout.plates:
        shelf = shelf_at(plate, plate.box, 0)
        shelf.plate_ids.append(plate.plate_id)
        shelf.numbers.append(plate.number)
        shelf.plate_x_m.append(shelf.add_box(plate.box))
    boxed = [(a_bin, a_bin.box) for a_bin in layout.bins if a_bin.box is not None]
    spans = []
    for k, (a_bin, box) in enumerate(boxed):
        shelf = shelf_at(a_bin, box, k)
        spans.append((shelf, a_bin, shelf.add_box(box)))
    for shelf in shelves.values():
        mine = [(a_bin, span) for other, a_bin, span in spans if other is shelf]
        for a_bin, span in mine:
            shelf.bins.append((a_bin, _bin_intervals(shelf, a_bin, span, mine)))
    return shelves


def _bin_intervals(
    shelf: _Shelf, a_bin: Bin, span: tuple[float, float], mine: Sequence[tuple[Bin, tuple[float, float]]]
) -> list[tuple[float, float]]:
    """Where along the shelf a bin's units stand: several bins over one plate share it side by side."""
    overlapping = [b for b, s in mine if min(s[1], span[1]) - max(s[0], span[0]) > 0.01]
    if len(overlapping) == 1:
        inside = [x for p, x in zip(shelf.plate_ids, shelf.plate_x_m, strict=True) if p in a_bin.plate_ids]
        inside = [(max(a, span[0]), min(b, span[1])) for a, b in inside]
        return [x for x in inside if x[1] - x[0] > 0.01] or [span]
    if not a_bin.plate_ids:
        place, width = overlapping.index(a_bin), (span[1] - span[0]) / len(overlapping)
        return [(span[0] + place * width, span[0] + (place + 1) * width)]
    centre = {id(b): sum(s) for b, s in mine}
    parts = []
    for plate_id, (x0, x1) in zip(shelf.plate_ids, shelf.plate_x_m, strict=True):
        if plate_id in a_bin.plate_ids:
            sharing = sorted((b for b, _ in mine if plate_id in b.plate_ids), key=lambda b: centre[id(b)])
            place, width = [id(b) for b in sharing].index(id(a_bin)), (x1 - x0) / len(sharing)
            parts.append((x0 + place * width, x0 + (place + 1) * width))
    return sorted(parts)


def _merged(intervals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if merged and start - merged[-1][1] < 0.02:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _spots(
    shelf: _Shelf,
    a_bin: Bin,
    intervals: Sequence[tuple[float, float]],
    count: int,
    size_m: FloatArray,
    rng: np.random.Generator,
) -> list[FloatArray]:
    """Where the units of a full bin stand, on the shelf's axes: columns side by side, one behind the other, stacked."""
    width, depth, height = size_m.tolist()
    spread = rng.random() < SPREAD_BINS or any(x1 - x0 < width + GAP_M for x0, x1 in intervals)
    columns: list[float] = []
    for x0, x1 in _merged(intervals) if spread else intervals:
        across = max(1, int((x1 - x0) / (width + GAP_M)))
        slack = max(0.0, (x1 - x0) / across - width - GAP_M)
        columns += [
            x0 + (k + 0.5) * (x1 - x0) / across + rng.uniform(-0.3, 0.3) * min(slack, 0.02) for k in range(across)
        ]
    low = float((a_bin.box.world_from_box[:3, 3] - shelf.origin_m) @ shelf.rotation[:, 2]) if a_bin.box else 0.0
    room_m = float(a_bin.box.size_m[2]) if a_bin.box else shelf.height_m
    deep_m = float(a_bin.box.size_m[1]) if a_bin.box else shelf.depth_m
    needed = max(1, -(-count // len(columns)))
    behind = max(1, int((deep_m - 0.01) / (depth + GAP_M)))
    layers = min(-(-needed // behind), max(1, int(room_m / height)))
    behind = -(-needed // layers)
    pitch = min(depth + GAP_M, (deep_m - 0.01) / behind)
    spots = []
    for k in range(count):
        column, place = k % len(columns), k // len(columns)
        y = 0.01 + min(depth, pitch) / 2 + (place % behind) * pitch
        spots.append(np.array([columns[column], min(y, deep_m - 0.01), low + (place // behind) * height]))
    return spots


def _shares(shelf: _Shelf, x: float, width: float) -> list[tuple[str, float]]:
    if not shelf.plate_ids:
        return []
    low, high = x - BASE_SHARE * width / 2, x + BASE_SHARE * width / 2
    overlaps = [max(0.0, min(b, high) - max(a, low)) / (high - low) for a, b in shelf.plate_x_m]
    kept = [(plate_id, share) for plate_id, share in zip(shelf.plate_ids, overlaps, strict=True) if share > LEAST_SHARE]
    if not kept:
        nearest = min(range(len(shelf.plate_ids)), key=lambda k: abs(sum(shelf.plate_x_m[k]) / 2 - x))
        return [(shelf.plate_ids[nearest], 1.0)]
    total = sum(share for _, share in kept)
    return [(plate_id, share / total) for plate_id, share in kept]


def _free_spot(
    shelf: _Shelf,
    intervals: Sequence[tuple[float, float]],
    size_m: FloatArray,
    taken_m: FloatArray,
    taken_size_m: FloatArray,
    near_x: float,
    rng: np.random.Generator,
) -> FloatArray:
    width, depth, height = size_m.tolist()
    xs = []
    for x0, x1 in intervals:
        room = x1 - x0 - width
        xs.append(np.linspace(x0 + width / 2, x1 - width / 2, int(room / 0.02) + 1) if room > 0 else [(x0 + x1) / 2])
    along = np.concatenate(xs)
    deep = np.arange(0.01 + depth / 2, max(shelf.depth_m - depth / 2, 0.02 + depth / 2), 0.03)
    half = (taken_size_m[:, :2] + size_m[:2]) / 2 - 0.002
    beside = np.abs(along[:, None] - taken_m[:, 0]) < half[:, 0]
    before = np.abs(deep[:, None] - taken_m[:, 1]) < half[:, 1]
    blocked = beside.astype(np.int64) @ before.T.astype(np.int64) > 0
    if not blocked.all():
        handy = ~blocked & (np.abs(along - near_x) < HANDY_M)[:, None]
        handy = handy if handy.any() else ~blocked
        row = int(np.argmax(handy.any(axis=0)))
        choices = np.flatnonzero(handy[:, row])
        return np.array([along[choices[int(rng.integers(len(choices)))]], deep[row], 0.0])
    # Of what stands there, the lowest pile before the shopper.
    near = np.flatnonzero(beside.any(axis=0))
    tops = taken_m[near, 2] + taken_size_m[near, 2]
    lowest = near[int(np.argmin(tops + 0.1 * taken_m[near, 1] + 0.1 * np.abs(taken_m[near, 0] - near_x)))]
    top = min(float(taken_m[lowest, 2] + taken_size_m[lowest, 2]), max(0.0, shelf.height_m - height))
    return np.array([*taken_m[lowest, :2], top])
