"""The day of a scenario: the store as it is planned then, what stands where, and what its faults hit."""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from store_sim.navigation import with_doors
from store_sim.scenarios import Fault, FaultKind, Place, Scenario, StockOverride, errors_at
from vision.arrays import FloatArray
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout

USUAL_COUNT = 8
"""Units that every product starts with unless a count says otherwise."""


def bins_at(layout: StoreLayout, place: Place) -> tuple[Bin, ...]:
    """Return the bins of a place: those on any of its plates, or, where it names none, all on its shelf.

    Raises:
        ValueError: The layout has no such gondola, shelf or plate.
    """
    on_gondola = [b for b in layout.bins if b.gondola_id == place.gondola]
    plates = [p for p in layout.plates if p.gondola_id == place.gondola]
    if not on_gondola and not plates:
        raise ValueError(f"there is no gondola {place.gondola}")
    on_shelf = tuple(b for b in on_gondola if b.shelf_id == place.shelf)
    if not on_shelf and all(p.shelf_id != place.shelf for p in plates):
        raise ValueError(f"there is no shelf {place.gondola}/{place.shelf}")
    if not place.plates:
        return on_shelf
    known = {p.plate_id for p in plates}
    for plate_id in place.plate_ids:
        if plate_id not in known:
            raise ValueError(f"there is no plate {plate_id}")
    return tuple(b for b in on_shelf if not set(place.plate_ids).isdisjoint(b.plate_ids))


@dataclass(frozen=True, slots=True)
class BinStock:
    """Units that stand in a bin when the day begins."""

    bin_id: str
    sku: str
    quantity: int


def starting_stock(day: StoreLayout, scenario: Scenario) -> tuple[BinStock, ...]:
    """Say what stands in each bin of :func:`day_layout` with a product when the day begins, bins as listed.

    A bin has ``USUAL_COUNT`` units unless its override says otherwise; an override over plates that are no neighbours
    gives several bins, which share its count.
    """
    counts: dict[str, int] = {}
    for override in scenario.stock_overrides:
        own = [
            b
            for b in day.bins
            if b.sku == override.barcode
            and (b.gondola_id, b.shelf_id) == (override.place.gondola, override.place.shelf)
            and bool(b.plate_ids) == bool(override.place.plates)
            and set(b.plate_ids) <= set(override.place.plate_ids)
            and b.bin_id not in counts
        ]
        total = USUAL_COUNT if override.count is None else override.count
        for row, a_bin in enumerate(own):
            counts[a_bin.bin_id] = total * (row + 1) // len(own) - total * row // len(own)
    return tuple(BinStock(b.bin_id, b.sku, counts.get(b.bin_id, USUAL_COUNT)) for b in day.bins if b.sku is not None)


def true_masses(day: StoreLayout, scenario: Scenario) -> dict[str, float]:
    """Say what one unit of each product really weighs, grams: sku -> mass, products as ``day`` lists them.

    What the scenario says, else what the catalogue says. A product that neither knows weighs something all the same:
    between 50 and 800 g, as packs in small shops do, always the same for one barcode.
    """
    said = {product.barcode: product.mass_g for product in scenario.products}
    masses = {}
    for product in day.products:
        mass_g = said.get(product.sku)
        if mass_g is None:
            mass_g = product.mass_g
        if math.isnan(mass_g):
            share = zlib.crc32(product.sku.encode()) / 2**32
            mass_g = round(50.0 * 16.0**share, 1)
        masses[product.sku] = mass_g
    return masses


def day_layout(layout: StoreLayout, scenario: Scenario) -> StoreLayout:
    """Return the store as it is planned on the scenario's day, with a floor plan.

    Overridden plates carry what the overrides say, as bins of their own; several overrides on one plate stand side by
    side, as several bins that name the same plate. What is left of a planned bin keeps its product. Products that only
    the scenario knows are added; those whose mass it says the catalogue does not know lose it. Where people can walk,
    come in and go out is added if the layout does not say.

    Raises:
        ValueError: An override names a plate or shelf that the layout does not have; the message names the file and the
            number of the override.
    """
    bins = _overridden_bins(layout, scenario)
    return with_doors(replace(layout, bins=bins, products=_day_products(layout, bins, scenario)))


def _day_products(layout: StoreLayout, bins: Sequence[Bin], scenario: Scenario) -> tuple[ProductRecord, ...]:
    records = {product.sku: product for product in layout.products}
    currency = layout.products[0].currency if layout.products else "USD"
    for product in scenario.products:
        known = records.get(product.barcode)
        if known is None:
            mass_g = math.nan if product.mass_g is None else product.mass_g
            records[product.barcode] = ProductRecord(product.barcode, product.name, mass_g, None, currency)
        elif product.mass_g is None:
            records[product.barcode] = replace(known, mass_g=math.nan)
    named = [b.sku for b in bins] + [event.barcode for event in scenario.events]
    for sku in named:
        if sku is not None and sku not in records:
            records[sku] = ProductRecord(sku, sku, math.nan, None, currency)
    return tuple(records.values())


_Shelf = tuple[int | None, int | None]


def _overridden_bins(layout: StoreLayout, scenario: Scenario) -> tuple[Bin, ...]:
    if not scenario.stock_overrides:
        return layout.bins
    by_shelf: dict[_Shelf, list[StockOverride]] = {}
    for number, override in enumerate(scenario.stock_overrides, start=1):
        with errors_at(f"{scenario.origin}: stock override {number}"):
            bins_at(layout, override.place)
        by_shelf.setdefault((override.place.gondola, override.place.shelf), []).append(override)
    taken: set[str] = set()
    bins: list[Bin] = []
    done: set[_Shelf] = set()
    names = {b.bin_id for b in layout.bins if (b.gondola_id, b.shelf_id) not in by_shelf}
    for a_bin in layout.bins:
        shelf = (a_bin.gondola_id, a_bin.shelf_id)
        if shelf not in by_shelf:
            bins.append(a_bin)
        elif shelf not in done:
            done.add(shelf)
            own = [b for b in layout.bins if (b.gondola_id, b.shelf_id) == shelf]
            plates = {p.plate_id: p for p in layout.plates if (p.gondola_id, p.shelf_id) == shelf}
            for new in _shelf_of_the_day(own, plates, by_shelf[shelf]):
                bins.append(replace(new, bin_id=_free_name(new.bin_id, names | taken)))
                taken.add(bins[-1].bin_id)
    return tuple(bins)


def _free_name(name: str, taken: set[str]) -> str:
    letters = "bcdefghijklmnopqrstuvwxyz"
    choices = (name, *(name + letter for letter in letters), *(f"{name}-{k}" for k in range(27, len(taken) + 29)))
    return next(choice for choice in choices if choice not in taken)


def _shelf_of_the_day(
    planned: Sequence[Bin], plates: Mapping[str, Plate], overrides: Sequence[StockOverride]
) -> list[Bin]:
    """Return the bins of one shelf: what is left of the planned ones, and the overrides' own; from plate to plate."""
    overridden = {plate_id for override in overrides for plate_id in override.place.plate_ids}
    replaces_all = any(not override.place.plates for override in overrides)
    bins: list[tuple[tuple[int, ...], Bin]] = []
    for a_bin in planned:
        if not overridden.intersection(a_bin.plate_ids):
            if not (replaces_all and not a_bin.plate_ids):
                bins.append((_numbers(a_bin.plate_ids), a_bin))
            continue
        left = [plates[plate_id] for plate_id in a_bin.plate_ids if plate_id not in overridden]
        for run in _runs(left):
            box = _hull([plate.box for plate in run])
            name = _run_name(run)
            own = replace(a_bin, bin_id=name, plate_ids=tuple(p.plate_id for p in run), box=box, capacity=None)
            bins.append((_numbers(own.plate_ids), own))
    for override, own_plates, box in _placed(planned, plates, overrides):
        name = _run_name(own_plates) if own_plates else f"{override.place.gondola}/{override.place.shelf}"
        own = Bin(
            bin_id=name,
            sku=override.barcode,
            gondola_id=override.place.gondola,
            shelf_id=override.place.shelf,
            plate_ids=tuple(plate.plate_id for plate in own_plates),
            box=box,
        )
        bins.append((_numbers(own.plate_ids), own))
    return [a_bin for _, a_bin in sorted(bins, key=lambda entry: entry[0])]


def _numbers(plate_ids: Iterable[str]) -> tuple[int, ...]:
    return tuple(int(plate_id.rsplit("/", 1)[-1]) for plate_id in plate_ids)


def _runs(plates: Iterable[Plate]) -> list[list[Plate]]:
    """Split plates of one shelf into runs of neighbours by number."""
    runs: list[list[Plate]] = []
    for plate in sorted(plates, key=lambda plate: plate.number):
        if runs and plate.number == runs[-1][-1].number + 1:
            runs[-1].append(plate)
        else:
            runs.append([plate])
    return runs


def _run_name(run: Sequence[Plate]) -> str:
    return run[0].plate_id if len(run) == 1 else f"{run[0].plate_id}-{run[-1].number}"


def _hull(boxes: Sequence[Box]) -> Box:
    """Return the smallest box on the first one's axes around boxes."""
    corners = boxes[0].local_points(np.concatenate([box.corners_m for box in boxes]))
    return _part(boxes[0], corners.min(axis=0), corners.max(axis=0))


def _part(box: Box, low: FloatArray, high: FloatArray) -> Box:
    """Return the box between two corners given on another box's own axes, metres."""
    world_from_box = box.world_from_box.copy()
    world_from_box[:3, 3] += box.world_from_box[:3, :3] @ low
    return Box(world_from_box, high - low)


def _placed(
    planned: Sequence[Bin], plates: Mapping[str, Plate], overrides: Sequence[StockOverride]
) -> Iterable[tuple[StockOverride, list[Plate], Box]]:
    """Give each override of a shelf its space, one entry for each run of neighbouring plates.

    Overrides on the same plates divide their whole width; of those that overlap otherwise each has its share of every
    plate, in the order in which they stand.
    """
    blocks: dict[tuple[int, ...], list[StockOverride]] = {}
    for override in overrides:
        for run in _runs(plates[plate_id] for plate_id in override.place.plate_ids):
            blocks.setdefault(tuple(plate.number for plate in run), []).append(override)
        if not override.place.plates:
            blocks.setdefault((), []).append(override)
    by_number = {plate.number: plate for plate in plates.values()}
    for numbers, members in blocks.items():
        if numbers:
            space = _hull([_share(by_number, number, numbers, list(blocks)) for number in numbers])
        else:
            unsensed = [b.box for b in planned if not b.plate_ids and b.box is not None]
            space = _hull(unsensed or [b.box for b in planned if b.box is not None])
        width_m = space.size_m[0] / len(members)
        for place, override in enumerate(members):
            low, high = np.zeros(3), space.size_m.copy()
            low[0], high[0] = place * width_m, (place + 1) * width_m
            yield override, [by_number[n] for n in numbers], _part(space, low, high)


def _share(
    by_number: Mapping[int, Plate], number: int, numbers: tuple[int, ...], blocks: Sequence[tuple[int, ...]]
) -> Box:
    """Return the part of a plate's box that one block of overrides has among all that stand on it."""
    box = by_number[number].box

    def middle_m(block: tuple[int, ...]) -> float:
        return float(np.mean([box.local_points(by_number[n].box.centre_m[None])[0, 0] for n in block]))

    here = sorted((block for block in blocks if number in block), key=middle_m)
    width_m = box.size_m[0] / len(here)
    low, high = np.zeros(3), box.size_m.copy()
    low[0], high[0] = here.index(numbers) * width_m, (here.index(numbers) + 1) * width_m
    return _part(box, low, high)


@dataclass(frozen=True, slots=True)
class FaultReach:
    """What a fault hits in a store.

    Attributes:
        cameras: Ids of the cameras.
        plates: Ids of the plates.
        joints: Whether the tracked joints are hit.
    """

    cameras: tuple[str, ...]
    plates: tuple[str, ...]
    joints: bool


_CAMERA_FAULTS = (FaultKind.CAMERA_DEAD, FaultKind.CAMERA_FOGGED, FaultKind.CAMERA_MOVED)
_PLATE_FAULTS = (FaultKind.PLATE_STUCK, FaultKind.BUMP, FaultKind.DRIFT)
_STREAM_NAMES = {
    "cameras": "cameras",
    "scales": "scales",
    "plates": "scales",
    "joints": "joints",
    "targets": "joints",
    "bodies": "joints",
}


def reach_of(fault: Fault, layout: StoreLayout) -> FaultReach:
    """Say what a fault hits.

    A fault without a target hits all that its kind can hit: cameras, plates, or every stream of messages. Only a clock
    that runs wrong everywhere would be no fault: without a target it is the cameras' and the joints', which come from
    them.

    Raises:
        ValueError: The layout has no such camera, gondola, shelf or plate, or the kind does not hit such a thing.
    """
    cameras = tuple(camera.camera_id for camera in layout.cameras)
    plates = tuple(plate.plate_id for plate in layout.plates)
    hits_cameras, hits_plates = fault.kind not in _PLATE_FAULTS, fault.kind not in _CAMERA_FAULTS
    if fault.target is None:
        if fault.kind is FaultKind.CLOCK_SKEW:
            return FaultReach(cameras, (), True)
        return FaultReach(cameras if hits_cameras else (), plates if hits_plates else (), hits_cameras and hits_plates)
    hit_cameras: list[str] = []
    hit_plates: list[str] = []
    joints = False
    for name in fault.target.split(","):
        stream = _STREAM_NAMES.get(name.lower())
        as_camera = next((c for c in (name, f"cam{name}") if c in cameras), None)
        on = [p for p in plates if p == name or p.startswith(f"{name}/")]
        if stream is not None:
            hit_cameras += cameras if stream == "cameras" else ()
            hit_plates += plates if stream == "scales" else ()
            joints |= stream == "joints"
        elif as_camera is not None and hits_cameras and not (on and hits_plates and as_camera != name):
            hit_cameras.append(as_camera)
        elif on and hits_plates:
            hit_plates += on
        else:
            what = "camera" if not hits_plates else "plate" if not hits_cameras else "camera or plate"
            raise ValueError(f"{fault.kind}: there is no {what} {name}")
    return FaultReach(
        tuple(c for c in cameras if c in hit_cameras), tuple(p for p in plates if p in set(hit_plates)), joints
    )
