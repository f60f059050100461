"""Explains a weight change: which product, how many units, and whose hand.

Every hypothesis about the product has a prior by place (what stands on the changed plates, what stands near them,
anything the store sells) and by quantity, and a likelihood from its mass. Beside them stands "something else" with a
broad density, and "the published mass is wrong", so that a poor fit is said to be one. Every hypothesis about the
person has a likelihood from how near a hand of theirs came to the plates around the step. Both are taken as
independent: a joint account of what people hold is not made here.
"""

import math
from dataclasses import dataclass
from uuid import UUID, uuid5

import numpy as np

from tracking.types import Candidate, HandPoints, Interaction, WeightChange
from vision.arrays import FloatArray
from vision.layout import Bin, Plate, StoreLayout
from vision.shelf import Handling

NANOSECONDS = 1_000_000_000
SECONDS_OF_SPAN = 4.0
"""No interaction claims a longer span."""


@dataclass(frozen=True, slots=True)
class AttributionSettings:
    """What is believed before a change is seen, and how masses and hands err.

    Attributes:
        near_prior: Weight of a product whose bin ends at the changed plates, against 1 for the bin on them.
        near_m: Distance over which that weight falls by e: a pack's width, which goods stray across a bin's edge.
        stray_pick: Weight of all products together for a pick anywhere: few misplaced goods stand about.
        stray_put_back: The same for a put-back: many put things back wherever they stand.
        something_else: Weight of an object that is not in the catalogue, or of two different ones at once.
        wrong_mass: Share of published masses that are wrong.
        another_unit: Probability that a grip holds one unit more.
        most_units: Largest quantity in one grip.
        mass_spread: Standard deviation of a pack's mass, share of the published one: about a third of what the OIML
            (R 87) tolerates for single packs.
        odd_share: Share of packs whose mass lies farther off.
        odd_spread: Their standard deviation, share of the published mass.
        scale_g: Error of a load cell that a change of place on the plate makes, grams.
        lightest_g: Nothing sold weighs less; a published mass below it is wrong.
        heaviest_g: Nothing that a hand takes from a shelf weighs more.
        least_share: A pick that weighs less than this share of the lightest product there is none.
        noise_sigmas: A change within so many standard deviations of 0 or short of the lightest product is none.
        hand_m: Standard deviation of a tracked hand.
        hand_s: Standard deviation of how far from the step in time a hand may be that made it.
        contact_s: The step's own time is known to so much.
        nobody: Weight of somebody unseen against 1 for a hand in the bin.
        least_probability: Candidates below it are left to "not known".
    """

    near_prior: float = 0.08
    near_m: float = 0.1
    stray_pick: float = 0.02
    stray_put_back: float = 0.3
    something_else: float = 0.03
    wrong_mass: float = 0.02
    another_unit: float = 0.1
    most_units: int = 8
    mass_spread: float = 0.01
    odd_share: float = 0.1
    odd_spread: float = 0.04
    scale_g: float = 1.0
    lightest_g: float = 5.0
    heaviest_g: float = 8000.0
    least_share: float = 0.5
    noise_sigmas: float = 3.0
    hand_m: float = 0.1
    hand_s: float = 0.4
    contact_s: float = 0.4
    nobody: float = 0.01
    least_probability: float = 0.002


@dataclass(frozen=True, slots=True)
class _Products:
    """Probability of each product (row) in each quantity (column, from 1), and of none of them."""

    skus: tuple[str, ...]
    probability: FloatArray
    something_else: float


def explain_weight_change(
    change: WeightChange,
    layout: StoreLayout,
    hands: HandPoints,
    namespace: UUID,
    settings: AttributionSettings | None = None,
) -> Interaction | None:
    """Say who took or put back what, with probabilities.

    Args:
        change: What the scale saw.
        layout: Where every plate, bin and product is.
        hands: Hands seen in the world around the change; more time before and after does no harm.
        namespace: The store's uuid, so that a replay gives the same interaction id.
        settings: What is believed beforehand.

    Returns:
        The interaction, or None when the change is smaller than any product there explains at this noise, or its plates
        are not in the layout.
    """
    settings = settings or AttributionSettings()
    plates = [plate for plate in layout.plates if plate.plate_id in change.plate_ids]
    if not plates:
        return None
    nearness = _nearness(layout, plates, settings)
    products = _products(change, layout, nearness, settings)
    if products is None:
        return None

    best_row, best_column = (0, 0)
    named = False
    if products.probability.size:
        best_row, best_column = divmod(int(products.probability.argmax()), products.probability.shape[1])
        named = float(products.probability[best_row].sum()) > products.something_else
    sku = products.skus[best_row] if named else None
    quantity = best_column + 1 if named else 1
    bin_id = _place(layout, nearness, sku, change)
    start_ns, end_ns = _span(change)
    return Interaction(
        interaction_id=uuid5(namespace, f"{bin_id}@{change.start_ns}"),
        kind=Handling.PICK if change.delta_g < 0 else Handling.PUT_BACK,
        bin_id=bin_id,
        plate_ids=change.plate_ids,
        sku=sku,
        quantity=quantity,
        start_ns=start_ns,
        time_ns=change.time_ns,
        end_ns=end_ns,
        candidates=_candidates(products, _people(change, plates, hands, settings), settings),
    )


def _nearness(layout: StoreLayout, plates: list[Plate], settings: AttributionSettings) -> list[tuple[Bin, float]]:
    """Weight of each bin of the store by its place: 1 if it has all changed plates, falling with the distance."""
    changed = {plate.plate_id for plate in plates}
    centres = np.array([plate.box.centre_m for plate in plates])
    weights = []
    for a_bin in layout.bins:
        share = len(changed.intersection(a_bin.plate_ids)) / len(changed)
        if share:
            weights.append((a_bin, share))
        elif a_bin.box is not None:
            away_m = float(a_bin.box.distances_m(centres).min())
            weights.append((a_bin, settings.near_prior * math.exp(-away_m / settings.near_m)))
    return weights


def _products(
    change: WeightChange, layout: StoreLayout, nearness: list[tuple[Bin, float]], settings: AttributionSettings
) -> _Products | None:
    moved_g = abs(change.delta_g)
    masses = {product.sku: product.mass_g for product in layout.products}
    masses |= {b.sku: math.nan for b, _ in nearness if b.sku is not None and b.sku not in masses}
    skus = tuple(masses)
    row = {sku: i for i, sku in enumerate(skus)}
    mass_g = np.array(list(masses.values()), float)

    at_place = np.zeros(len(skus))
    for a_bin, weight in nearness:
        if a_bin.sku is not None:
            at_place[row[a_bin.sku]] = max(at_place[row[a_bin.sku]], weight)
    stray = settings.stray_pick if change.delta_g < 0 else settings.stray_put_back
    prior = at_place + stray / max(len(skus), 1)

    credible = mass_g >= settings.lightest_g
    # For the noise floor: what a hand there may well move. Whose mass is not known may be as light as anything.
    plausible = prior >= settings.near_prior / 10
    if change.delta_g > 0:
        plausible = np.ones(len(skus), bool)
    lightest_g = float(np.min(np.where(credible, mass_g, settings.lightest_g)[plausible], initial=math.inf))
    # Less than that may be a misplaced light thing, until it is so little that goods only shifted their weight.
    least_g = settings.least_share * lightest_g - settings.noise_sigmas * change.sigma_g
    if not math.isfinite(lightest_g):
        least_g = settings.lightest_g
    if moved_g < max(least_g, settings.noise_sigmas * change.sigma_g):
        return None

    units = np.arange(1, settings.most_units + 1, dtype=float)
    expected_g: FloatArray = np.where(credible, mass_g, np.nan)[:, None] * units
    with np.errstate(invalid="ignore"):
        fit = (1 - settings.odd_share) * _density(moved_g, expected_g, change.sigma_g, settings.mass_spread, settings)
        fit += settings.odd_share * _density(moved_g, expected_g, change.sigma_g, settings.odd_spread, settings)
    # Anything from the lightest to the heaviest, each factor of two as probable as the next.
    broad = 1 / (math.log(settings.heaviest_g / settings.lightest_g) * max(moved_g, settings.lightest_g))
    by_mass: FloatArray = np.where(np.isfinite(fit), (1 - settings.wrong_mass) * fit, 0.0)
    unknown = np.where(np.isnan(mass_g), 1.0, settings.wrong_mass) * broad
    by_mass *= (1 - settings.another_unit) * settings.another_unit ** (units - 1)
    by_mass[:, 0] += np.where(at_place > 0, unknown, np.where(credible, 0.0, unknown))
    joint: FloatArray = prior[:, None] * by_mass
    something_else = settings.something_else * broad
    total = float(joint.sum()) + something_else
    return _Products(skus, joint / total, something_else / total)


def _density(
    moved_g: float, expected_g: FloatArray, sigma_g: float, spread: float, settings: AttributionSettings
) -> FloatArray:
    """Gaussian density of the moved mass for each expected one, a gram."""
    variance = sigma_g**2 + settings.scale_g**2 + (spread * expected_g) ** 2
    return np.asarray(np.exp(-0.5 * (moved_g - expected_g) ** 2 / variance) / np.sqrt(2 * np.pi * variance))


def _place(layout: StoreLayout, nearness: list[tuple[Bin, float]], sku: str | None, change: WeightChange) -> str:
    """The bin where it happened: of those on the changed plates, the product's own if there is one."""
    on_plates = [(b, weight) for b, weight in nearness if set(b.plate_ids) & set(change.plate_ids)]
    among = on_plates or nearness
    if not among:
        return change.plate_ids[0]
    first = change.plate_ids[0]
    return max(among, key=lambda entry: (entry[0].sku == sku, first in entry[0].plate_ids, entry[1]))[0].bin_id


def _span(change: WeightChange) -> tuple[int, int]:
    """Contact around the step, no longer than an interaction may claim."""
    most_ns = round(SECONDS_OF_SPAN * NANOSECONDS)
    start_ns, end_ns = min(change.start_ns, change.time_ns), max(change.end_ns, change.time_ns)
    if end_ns - start_ns > most_ns:
        start_ns = max(start_ns, change.time_ns - most_ns // 2)
        end_ns = min(end_ns, start_ns + most_ns)
    return start_ns, end_ns


def _people(
    change: WeightChange, plates: list[Plate], hands: HandPoints, settings: AttributionSettings
) -> dict[int, float]:
    """Probability of each person whose hand came near; what is missing to 1 is somebody unseen."""
    reach_ns = round((settings.contact_s + 6 * settings.hand_s) * NANOSECONDS)
    rows = slice(*np.searchsorted(hands.timestamp_ns, [change.time_ns - reach_ns, change.time_ns + reach_ns]).tolist())
    times_ns, who, where_m = hands.timestamp_ns[rows], hands.identity_id[rows], hands.hand_m[rows]
    if not len(times_ns):
        return {}
    away_m = np.min([plate.box.distances_m(where_m) for plate in plates], axis=0)
    # The hand that made the step was there then; if it was unseen, seeing it near shortly before or after nearly does.
    late_s = np.maximum(0.0, np.abs(times_ns - change.time_ns) / NANOSECONDS - settings.contact_s)
    cost = 0.5 * (away_m / settings.hand_m) ** 2 + 0.5 * (late_s / settings.hand_s) ** 2
    weight = {int(person): math.exp(-float(cost[who == person].min())) for person in np.unique(who).tolist()}
    total = sum(weight.values()) + settings.nobody
    return {person: value / total for person, value in weight.items()}


def _candidates(products: _Products, people: dict[int, float], settings: AttributionSettings) -> tuple[Candidate, ...]:
    likely = np.argwhere(products.probability >= settings.least_probability).tolist()
    found = []
    for person, share in people.items():
        things: list[tuple[str | None, int, float]] = [
            (products.skus[i], units + 1, float(products.probability[i, units])) for i, units in likely
        ]
        things.append((None, 1, products.something_else))
        found += [
            Candidate(person, sku, quantity, min(1.0, share * probability))
            for sku, quantity, probability in things
            if share * probability >= settings.least_probability
        ]
    return tuple(sorted(found, key=lambda c: (-c.probability, c.identity_id, c.sku or "", c.quantity)))
