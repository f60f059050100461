"""Explains a weight change: which product, how many units, and whose hand.

Every hypothesis about the product has a prior by place (what stands on the changed plates, what stands near them,
anything the store sells) and by quantity, and a likelihood from its mass. Beside them stands "something else" with a
broad density, and "the published mass is wrong", so that a poor fit is said to be one. Every hypothesis about the
person has a likelihood from when a hand of theirs was at the plates around the step (``STAYS``). For a put-back it also
counts who holds what, and what it weighed when it was taken; for a pick, what was put back there. A level that lasted
only briefly between two others was either a hand's pressure or something that was taken or put back: whichever explains
the weights better.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid5

import numpy as np

from tracking.past import Past
from tracking.shelves import Shelves
from tracking.types import (
    LONGEST_SPAN_S,
    Candidate,
    Evidence,
    HandLines,
    HandPoints,
    Interaction,
    UnseenHands,
    WeightChange,
)
from tracking.whereabouts import REACH_M
from vision.arrays import BoolArray, FloatArray, IntArray
from vision.layout import Plate
from vision.shelf import Handling

NANOSECONDS = 1_000_000_000


STAYS = (
    (-1.2, -0.7, 0.8),
    (-0.7, -0.3, 0.5),
    (-0.3, 0.0, 0.3),
    (0.0, 0.3, 1.0),
    (0.3, 0.7, -0.4),
    (0.7, 1.2, -0.3),
)
"""Stretches of time around a step, seconds, and how much it says that a hand was at the plates then.

Who makes a step had a hand there before, has it there while it happens, and takes it away; whoever stays on has made no
step yet. Powers of the share of the stretch: a conditional logit of 391 steps of 30 random shops at which several had
hands nearby, rounded. Fitted on half of the shops, its log loss was 0.013 there and 0.045 on the other half, where
one window around the step had 0.055; the right person got 0.95 or more at 96 % of the steps of either half.
"""
USUAL_STAY = 3.2
"""What the powers come to at least for a hand that makes a step and is seen at it."""


@dataclass(frozen=True, slots=True)
class AttributionSettings:
    """What is believed before a change is seen, and how masses and hands err.

    Attributes:
        near_prior: Weight of a product whose bin ends at the changed plates, against 1 for the bin on them.
        near_m: Distance over which that weight falls by e: a pack's width, which goods stray across a bin's edge.
        stray_pick: Weight of all products together for a pick anywhere: few misplaced goods stand about.
        stray_put_back: The same for a put-back: many put things back wherever they stand.
        unseen_take: Share of put-backs of what nobody was seen taking, against 1 for what the person holds.
        handed_over: Weight of what somebody else holds against 1 for what the person holds.
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
        hand_m: Standard deviation of the hand of an outside tracker's body ...
        camera_hand_m: ... and of one that cameras place.
        stray_hand: Share of hands placed by cameras that are none: the model took a hand that the body hides for one
            that it sees. Measured with our own models in the demo's shop, as is ...
        stray_hand_m: ... how far those are off.
        main_share: A plate that bears less than this share of what the most changed one does only follows it.
        late_s: A hand that is not seen at a step counts where it is seen give or take this standard deviation.
        near_enough: A hand that never came nearer than this, as a share of one in the bin, is the less likely.
        unseen: Not having been seen is as good as having been there for this share of the time ...
        elsewhere: ... and having been elsewhere all the time as this share.
        at_once_s: Two changes nearer in time than this may be those of one person's two hands ...
        again_s: ... and farther apart than this those of one hand; between the two ...
        both: ... that weighs so much against 1 for two people.
        contact_s: The step's own time is known to so much.
        one_camera: Weight of a hand on a line of sight through the place, which may be before or behind it, against 1
            for a hand in the bin.
        unseen_hand: Weight of somebody who stands at the bin and whose hands are not seen meanwhile, against 1 for a
            hand in the bin; half of it for one unseen hand. A hand that is seen in the bin outweighs it, one that is
            seen two hands' breadths off does not.
        stand_m: Those who take something stand up to this far from it, from their feet to the middle of the plates ...
        stand_spread_m: ... and farther away the less likely, as the tail of a normal distribution with this deviation.
        nobody: Weight of somebody unseen against 1 for a hand in the bin.
        least_probability: Candidates below it are left to "not known".
        shifted: Weight of a hand that only moved goods a little on their plates, against 1 for the product there.
        shift_g: Typical weight that this seems to add or take, as plates weigh differently along their depth.
        two_at_once: Share of changes of neighbouring plates with different products that are of two things at once.
        two_people: Share of changes by several units of one product that two people made who both had a hand there.
        opposite_plates: Share of changes of one thing after which a plate beside it seems to change the other way.
        handled_again: Share of short-lived levels after which something else was handled, not only touched.
        press_g: Typical pressure of a hand at goods: half of all that a real visit shows lie within it.
        recalls: Whether what was taken and put back before counts.
        weighs_stay: Whether a hand's whole stay counts, or only where it was at the step.
    """

    near_prior: float = 0.008
    near_m: float = 0.05
    stray_pick: float = 0.003
    stray_put_back: float = 0.15
    unseen_take: float = 0.02
    handed_over: float = 0.03
    something_else: float = 0.01
    wrong_mass: float = 0.01
    another_unit: float = 0.15
    most_units: int = 8
    mass_spread: float = 0.01
    odd_share: float = 0.1
    odd_spread: float = 0.05
    scale_g: float = 1.0
    lightest_g: float = 5.0
    heaviest_g: float = 8000.0
    least_share: float = 0.5
    noise_sigmas: float = 3.0
    hand_m: float = 0.1
    camera_hand_m: float = 0.1
    stray_hand: float = 0.15
    stray_hand_m: float = 0.35
    main_share: float = 0.2
    late_s: float = 0.4
    near_enough: float = 0.3
    unseen: float = 0.3
    elsewhere: float = 0.02
    at_once_s: float = 0.15
    again_s: float = 0.9
    both: float = 0.1
    contact_s: float = 0.4
    one_camera: float = 0.4
    unseen_hand: float = 0.15
    stand_m: float = 0.7
    stand_spread_m: float = 0.2
    nobody: float = 0.002
    least_probability: float = 0.002
    shifted: float = 0.1
    shift_g: float = 5.0
    two_at_once: float = 0.05
    two_people: float = 0.7
    opposite_plates: float = 0.01
    handled_again: float = 0.2
    press_g: float = 100.0
    recalls: bool = True
    weighs_stay: bool = True


ABLATIONS = {
    "stock": "what was put back where, and who holds what",
    "splitting": "that one change may be several things or moments",
    "joint": "that several people act at once, and hardly anybody twice within a second",
    "stay": "a hand's whole stay around a step",
}
"""Parts of the account that can be left out, to measure what each brings."""


def ablated(settings: AttributionSettings, parts: Collection[str]) -> AttributionSettings:
    """Leave out parts of the account.

    Raises:
        ValueError: There is no such part.
    """
    strange = sorted(set(parts) - set(ABLATIONS))
    if strange:
        raise ValueError(f"expected some of {', '.join(ABLATIONS)}, got {', '.join(strange)}")
    if "stock" in parts:
        settings = replace(settings, recalls=False)
    if "splitting" in parts:
        settings = replace(settings, two_at_once=0.0, handled_again=1e-9)
    if "joint" in parts:
        settings = replace(settings, both=1.0, two_people=0.0)
    if "stay" in parts:
        settings = replace(settings, weighs_stay=False)
    return settings


@dataclass(frozen=True, slots=True)
class _Account:
    """How well each hypothesis about a change explains it.

    Attributes:
        people: Who may have made it, identities.
        skus: The products.
        joint: Weight of each person (in the order of ``people``, then somebody unseen), product and quantity (from 1).
        something_else: Weight of each person, as above, and none of the products.
        nearness: Weight of each bin by its place.
    """

    people: tuple[int, ...]
    skus: tuple[str, ...]
    joint: FloatArray
    something_else: FloatArray
    nearness: FloatArray

    @property
    def evidence(self) -> float:
        """Density of the change under all hypotheses together, a gram."""
        return float(self.joint.sum() + self.something_else.sum())


def explain_weight_change(
    change: WeightChange,
    shelves: Shelves,
    hands: HandPoints,
    namespace: UUID,
    settings: AttributionSettings | None = None,
    past: Past | None = None,
    beside: Sequence[WeightChange] = (),
) -> tuple[Interaction, ...]:
    """Say who took or put back what, with probabilities.

    Args:
        change: What the scale saw.
        shelves: Where every plate, bin and product is.
        hands: Hands seen in the world around the change; more time before and after does no harm.
        namespace: The store's uuid, so that a replay gives the same interaction id.
        settings: What is believed beforehand.
        past: What was taken and put back before, for who holds what and what stands where it does not belong.
        beside: Other changes at about the same time: whoever made one of these hardly made this one as well.

    Returns:
        The interaction. Several, in the order of their time, when the change is better explained by its parts. None
        when it is smaller than any product there explains at this noise, or its plates are not in the layout.
    """
    settings = settings or AttributionSettings()
    known = Past() if past is None or not settings.recalls else past
    told: list[Interaction] = []
    explained = _best_parts(change, shelves, hands, known, settings)
    for part, account in explained:
        # What the first part leaves changes what the others are.
        so_far = Past([*known.interactions, *told]) if told and settings.recalls else known
        others = [*beside, *(other for other, _ in explained if other is not part)]
        own = account
        if told or others:
            own = _account(part, shelves, hands, so_far, settings, others)
        if own is not None:
            told.append(_interaction(part, own, shelves, namespace, settings))
    return tuple(told)


def _best_parts(
    change: WeightChange,
    shelves: Shelves,
    hands: HandPoints,
    past: Past,
    settings: AttributionSettings,
) -> list[tuple[WeightChange, _Account | None]]:
    """The runs of a change's parts that explain it best, each taken as one change, with what explains it."""
    parts = change.parts or (change,)
    best: list[tuple[float, list[tuple[WeightChange, _Account | None]]]] = [(0.0, [])]
    for end in range(1, len(parts) + 1):
        ways = []
        for begin in range(end):
            whole = end - begin == len(parts)
            run = change if whole else _joined(parts[begin:end])
            evidence, pieces = _best_pieces(run, shelves, hands, past, settings)
            # What is left when a hand has only been there: goods that lie a little differently.
            nothing = settings.shifted * math.exp(-abs(run.delta_g) / settings.shift_g) / (2 * settings.shift_g)
            happened = evidence > nothing
            evidence = evidence if happened else max(nothing, 1e-300)
            score, before = best[begin]
            score += math.log(evidence) + (math.log(settings.handled_again) if begin else 0.0)
            level_g = 0.0
            for part in parts[begin : end - 1]:
                level_g += part.delta_g
                # Pressures are about as often below as above their typical one (Laplace).
                score += (
                    math.log((1 - settings.handled_again) / (2 * settings.press_g)) - abs(level_g) / settings.press_g
                )
            ways.append((score, [*before, *pieces] if happened else before))
        best.append(max(ways, key=lambda way: way[0]))
    return best[-1][1]


def _best_pieces(
    change: WeightChange, shelves: Shelves, hands: HandPoints, past: Past, settings: AttributionSettings
) -> tuple[float, list[tuple[WeightChange, _Account | None]]]:
    """Whether a change of several plates at one moment is that of one thing, or of two beside each other.

    Returns:
        Density of the change, a gram, and the one or two changes with what explains them.
    """
    whole = _account(change, shelves, hands, past, settings)
    evidence = 0.0 if whole is None else whole.evidence
    best: list[tuple[WeightChange, _Account | None]] = [(change, whole)]
    alone = change.by_plate
    # One thing shares its weight out between its plates: any way is as likely as another, and no plate gets the
    # opposite of another's.
    scale_g = max(abs(change.delta_g), settings.lightest_g)
    for end in range(1, len(alone)):
        sides = [_joined(alone[:end]), _joined(alone[end:])]
        bins = [{row for plate_id in side.plate_ids for row in shelves.on_plate.get(plate_id, ())} for side in sides]
        if bins[0] & bins[1] or not all(bins):
            continue
        accounts = [_account(side, shelves, hands, past, settings) for side in sides]
        if any(account is None for account in accounts):
            continue
        both = settings.two_at_once * scale_g * math.prod(account.evidence for account in accounts if account)
        opposite = sides[0].delta_g * sides[1].delta_g < 0
        if both > (evidence * settings.opposite_plates if opposite else evidence):
            evidence, best = both, list(zip(sides, accounts, strict=True))
    return evidence, best


def _joined(parts: Sequence[WeightChange]) -> WeightChange:
    """Several changes, one after the other, as one."""
    if len(parts) == 1:
        return parts[0]
    delta_g = sum(part.delta_g for part in parts)
    moments = [part for part in parts if part.delta_g * delta_g > 0] or list(parts)
    largest = max(moments, key=lambda part: abs(part.delta_g))
    return replace(
        largest,
        plate_ids=tuple(dict.fromkeys(plate_id for part in (largest, *parts) for plate_id in part.plate_ids)),
        delta_g=delta_g,
        sigma_g=math.hypot(*(part.sigma_g for part in parts)),
        start_ns=min(part.start_ns for part in parts),
        end_ns=max(part.end_ns for part in parts),
    )


def _interaction(
    change: WeightChange, account: _Account, shelves: Shelves, namespace: UUID, settings: AttributionSettings
) -> Interaction:
    products = account.joint.sum(axis=0)
    best_row, best_column = (0, 0)
    named = False
    if products.size:
        best_row, best_column = divmod(int(products.argmax()), products.shape[1])
        named = float(products[best_row].sum()) > float(account.something_else.sum())
    sku = account.skus[best_row] if named else None
    quantity = best_column + 1 if named else 1
    bin_id = _place(shelves, account.nearness, sku, change)
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
        candidates=_candidates(account, settings),
        evidence=Evidence(weight=change),
    )


def _plates(change: WeightChange, shelves: Shelves) -> list[Plate]:
    return [shelves.plates[plate_id] for plate_id in change.plate_ids if plate_id in shelves.plates]


def _plate_shares(change: WeightChange, plates: list[Plate]) -> list[float]:
    """How much of a change each of its plates bears: a shelf that bends changes plates far from what happened."""
    moved_g = {each.plate_ids[0]: abs(each.delta_g) for each in change.by_plate}
    shares = [moved_g.get(plate.plate_id, 0.0) for plate in plates]
    total = sum(shares)
    return [share / total for share in shares] if total > 0 else [1 / len(plates)] * len(plates)


def _main_plates(change: WeightChange, plates: list[Plate], settings: AttributionSettings) -> list[Plate]:
    """The plates that bear a good part of a change."""
    shares = _plate_shares(change, plates)
    return [plate for plate, share in zip(plates, shares, strict=True) if share >= settings.main_share * max(shares)]


def _nearness(change: WeightChange, shelves: Shelves, plates: list[Plate], settings: AttributionSettings) -> FloatArray:
    """Weight of each bin by its place, shape (n,): 1 if it has all changed plates, falling with the distance."""
    centres = np.array([plate.box.centre_m for plate in plates])
    weights = np.zeros(len(shelves.bins))
    if len(shelves.boxed):
        away_m = shelves.boxes.distances_m(centres).min(axis=0)
        weights[shelves.boxed] = settings.near_prior * np.exp(-away_m / settings.near_m)
    shares: defaultdict[int, float] = defaultdict(float)
    for plate, part in zip(plates, _plate_shares(change, plates), strict=True):
        for row in shelves.on_plate.get(plate.plate_id, ()):
            shares[row] += part
    for row, share in shares.items():
        weights[row] = share
    return weights


def _account(
    change: WeightChange,
    shelves: Shelves,
    hands: HandPoints,
    past: Past,
    settings: AttributionSettings,
    beside: Sequence[WeightChange] = (),
) -> _Account | None:
    """Weigh every person, product and quantity; None for a change that is too small to be any product's."""
    plates = _plates(change, shelves)
    if not plates:
        return None
    nearness = _nearness(change, shelves, plates, settings)
    moved_g = abs(change.delta_g)
    skus, mass_g = shelves.skus, shelves.mass_g
    row = shelves.row

    at_place = np.zeros(len(skus))
    planned = shelves.sku_row >= 0
    np.maximum.at(at_place, shelves.sku_row[planned], nearness[planned])
    for sku, still_there in _left_there(change, past).items():
        if sku in row:
            at_place[row[sku]] = max(at_place[row[sku]], still_there)
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
    in_one_grip = (1 - settings.another_unit) * settings.another_unit ** (units - 1)
    expected_g: FloatArray = np.where(credible, mass_g, np.nan)[:, None] * units
    with np.errstate(invalid="ignore"):
        fit = (1 - settings.odd_share) * _density(moved_g, expected_g, change.sigma_g, settings.mass_spread, settings)
        fit += settings.odd_share * _density(moved_g, expected_g, change.sigma_g, settings.odd_spread, settings)
    # Anything from the lightest to the heaviest, each factor of two as probable as the next.
    broad = 1 / (math.log(settings.heaviest_g / settings.lightest_g) * max(moved_g, settings.lightest_g))
    by_mass: FloatArray = np.where(np.isfinite(fit), (1 - settings.wrong_mass) * fit, 0.0)
    unknown = np.where(np.isnan(mass_g), 1.0, settings.wrong_mass) * broad
    by_mass *= in_one_grip
    by_mass[:, 0] += np.where(at_place > 0, unknown, np.where(credible, 0.0, unknown))

    shares = _people(change, plates, hands, settings)
    for other in beside:
        shares = _not_both(shares, change, other, shelves, hands, settings)
    people = tuple(shares)
    joint = (prior[:, None] * by_mass)[None]
    something_else = np.full(len(people) + 1, settings.something_else * broad)
    if change.delta_g > 0:
        joint = np.repeat(joint * settings.unseen_take, len(people) + 1, axis=0)
        something_else *= settings.unseen_take
        held = past.held()
        column = np.array([-1 if sku is None else row.get(sku, -1) for sku in held.sku], np.int64)
        unit_g, unit_sigma_g = held.unit_g[:, None], held.unit_sigma_g[:, None]
        up_to = units <= held.quantity[:, None]
        spread = np.where(units < held.quantity[:, None], settings.mass_spread, 0.0)
        variance = change.sigma_g**2 + unit_sigma_g**2 * units**2 + settings.scale_g**2
        again: FloatArray = _gauss(moved_g, units * unit_g, variance + (spread * units * unit_g) ** 2)
        again = np.where(up_to & np.isfinite(again), (1 - settings.odd_share) * again * in_one_grip, 0.0)
        mine = np.array([people.index(who) if who in people else -1 for who in held.identity_id.tolist()], np.int64)
        # Somebody else may hold it by now; who took it most probably still does.
        extra = 1 - settings.handed_over
        is_known = column >= 0
        i, own = column[is_known], mine[is_known]
        odd = np.where(np.isfinite(held.unit_g[is_known]), settings.odd_share, 1.0)[:, None]
        known = again[is_known] + np.where(up_to[is_known], odd, 0.0) * by_mass[i]
        known *= (held.probability[is_known] * (settings.stray_put_back + at_place[i]))[:, None]
        by_anybody = np.zeros_like(by_mass)
        np.add.at(by_anybody, i, known)
        joint += settings.handed_over * by_anybody
        np.add.at(joint, (own[own >= 0], i[own >= 0]), extra * known[own >= 0])
        strange = held.probability[~is_known] * settings.stray_put_back * again[~is_known].sum(axis=1)
        own = mine[~is_known]
        something_else += settings.handed_over * strange.sum()
        np.add.at(something_else, own[own >= 0], extra * strange[own >= 0])
    by_person = np.array([*shares.values(), 1 - sum(shares.values())])
    joint = by_person[:, None, None] * joint
    _share_out(joint, by_person, settings)
    return _Account(people, skus, joint, by_person * something_else, nearness)


def _share_out(joint: FloatArray, by_person: FloatArray, settings: AttributionSettings) -> None:
    """Let several units be those of two people who both had a hand there, in place.

    Which of them took how many is not known then: what is taken from the likelier one is put down as one unit of the
    other, so that both are doubted.

    Args:
        joint: Weight of each person, the last being somebody unseen, product and quantity, shape (p + 1, s, q).
        by_person: Share of each person, shape (p + 1,).
        settings: How often that happens.
    """
    if len(by_person) < 3:
        return
    first, second = np.argsort(-by_person[:-1], kind="stable")[:2].tolist()
    if by_person[first] <= 0:
        return
    share = settings.two_people * math.sqrt(float(by_person[second] / by_person[first]))
    moved = share * joint[first, :, 1:]
    joint[first, :, 1:] -= moved
    joint[second, :, 0] += moved.sum(axis=1)


def _left_there(change: WeightChange, past: Past) -> dict[str, float]:
    """Probability of each product that it was put back on the changed plates and is still there."""
    there: defaultdict[str, float] = defaultdict(float)
    for interaction in past.at_plates(change.plate_ids):
        overlap = len(set(interaction.plate_ids).intersection(change.plate_ids)) / len(change.plate_ids)
        sign = 1 if interaction.kind is Handling.PUT_BACK else -1
        for candidate in interaction.candidates:
            if overlap and candidate.sku is not None:
                units = there[candidate.sku] + sign * overlap * candidate.quantity * candidate.probability
                there[candidate.sku] = max(0.0, units)
    return {sku: min(1.0, units) for sku, units in there.items()}


def _density(
    moved_g: float, expected_g: FloatArray, sigma_g: float, spread: float, settings: AttributionSettings
) -> FloatArray:
    """Gaussian density of the moved mass for each expected one, a gram."""
    return _gauss(moved_g, expected_g, sigma_g**2 + settings.scale_g**2 + (spread * expected_g) ** 2)


def _gauss(moved_g: float, expected_g: FloatArray, variance: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-0.5 * (moved_g - expected_g) ** 2 / variance) / np.sqrt(2 * np.pi * variance))


def _place(shelves: Shelves, nearness: FloatArray, sku: str | None, change: WeightChange) -> str:
    """The bin where it happened: of those on the changed plates, the product's own if there is one."""
    on_plates = {row for plate_id in change.plate_ids for row in shelves.on_plate.get(plate_id, ())}
    among = sorted(on_plates) or list(range(len(shelves.bins)))
    if not among:
        return change.plate_ids[0]
    first = change.plate_ids[0]

    def fits(row: int) -> tuple[bool, bool, float]:
        a_bin = shelves.bins[row]
        return a_bin.sku == sku, first in a_bin.plate_ids, float(nearness[row])

    return shelves.bins[max(among, key=fits)].bin_id


def _span(change: WeightChange) -> tuple[int, int]:
    """Contact around the step, no longer than an interaction may claim."""
    most_ns = round(LONGEST_SPAN_S * NANOSECONDS)
    start_ns, end_ns = min(change.start_ns, change.time_ns), max(change.end_ns, change.time_ns)
    if end_ns - start_ns > most_ns:
        start_ns = max(start_ns, change.time_ns - most_ns // 2)
        end_ns = min(end_ns, start_ns + most_ns)
    return start_ns, end_ns


def _people(
    change: WeightChange, plates: list[Plate], hands: HandPoints, settings: AttributionSettings
) -> dict[int, float]:
    """Probability of each person whose hand came near or may have; what is missing to 1 is somebody unseen."""
    weight: dict[int, float] = {}
    plates = _main_plates(change, plates, settings)
    reach_ns = round((settings.contact_s + 4 * settings.late_s) * NANOSECONDS)
    rows = slice(*np.searchsorted(hands.timestamp_ns, [change.time_ns - reach_ns, change.time_ns + reach_ns]).tolist())
    times_ns, who, where_m = hands.timestamp_ns[rows], hands.identity_id[rows], hands.hand_m[rows]
    if len(times_ns):
        away_m = np.min([plate.box.distances_m(where_m) for plate in plates], axis=0)
        by_cameras = hands.by_cameras[rows]
        strays = settings.stray_hand * by_cameras
        spread_m = np.where(by_cameras, settings.camera_hand_m, settings.hand_m)
        here = (1 - strays) * np.exp(-0.5 * (away_m / spread_m) ** 2)
        here += strays * np.exp(-0.5 * (away_m / settings.stray_hand_m) ** 2)
        from_s = (times_ns - change.time_ns) / NANOSECONDS
        near = here * np.exp(-0.5 * (np.maximum(0.0, np.abs(from_s) - settings.contact_s) / settings.late_s) ** 2)
        for person in np.unique(who).tolist():
            own = who == person
            closest = float(near[own].max())
            if by_cameras[own].any() or not settings.weighs_stay:
                seen = _occupancy(from_s, here, own, -settings.contact_s, settings.contact_s)
                weight[person] = closest if seen is None else seen
                continue
            stay = 1.0
            for since_s, until_s, power in STAYS:
                seen = _occupancy(from_s, here, own, since_s, until_s)
                if seen is not None:
                    stay *= ((seen + settings.elsewhere) / (settings.unseen + settings.elsewhere)) ** power
            # Nobody takes anything without ever coming near it.
            weight[person] = stay / USUAL_STAY * min(closest / settings.near_enough, 1.0)
    for person, share in _on_lines(change, plates, hands.lines, settings).items():
        weight[person] = max(weight.get(person, 0.0), settings.one_camera * share)
    for person, share in _unseen_shares(change, plates, hands.unseen, settings).items():
        weight[person] = weight.get(person, 0.0) + settings.unseen_hand * share
    total = sum(weight.values()) + settings.nobody
    return {person: value / total for person, value in weight.items()}


def _not_both(
    shares: dict[int, float],
    change: WeightChange,
    other: WeightChange,
    shelves: Shelves,
    hands: HandPoints,
    settings: AttributionSettings,
) -> dict[int, float]:
    """Shares of people in a change, given that one person hardly makes two within a second, but for both hands at once.

    It is the sum over who made the other change, each pair of the same person weighing ``both`` and any other pair 1.
    """
    apart_s = abs(other.time_ns - change.time_ns) / NANOSECONDS
    plates = _plates(other, shelves)
    is_near = settings.at_once_s < apart_s < settings.again_s
    if not is_near or not plates or set(other.plate_ids) & set(change.plate_ids):
        return shares
    theirs = _people(other, plates, hands, settings)
    weight = {who: share * (1 - (1 - settings.both) * theirs.get(who, 0.0)) for who, share in shares.items()}
    total = sum(weight.values()) + max(0.0, 1 - sum(shares.values()))
    return {who: value / total for who, value in weight.items()} if total > 0 else shares


def _occupancy(from_s: FloatArray, here: FloatArray, own: BoolArray, since_s: float, until_s: float) -> float | None:
    """How well the nearer of somebody's hands was at a place over a stretch of time, 0 to 1; None if it was unseen.

    Args:
        from_s: When each hand was seen, rising, shape (r,).
        here: How well it was at the place, shape (r,).
        own: Which of them are theirs, shape (r,).
        since_s: Beginning of the stretch.
        until_s: Its end.
    """
    rows = np.flatnonzero(own & (from_s >= since_s) & (from_s < until_s))
    if not len(rows):
        return None
    _, first = np.unique(from_s[rows], return_index=True)
    return float(np.maximum.reduceat(here[rows], first).mean())


def _on_lines(
    change: WeightChange, plates: list[Plate], lines: HandLines | None, settings: AttributionSettings
) -> dict[int, float]:
    """How well a line of sight through each person's hand goes through the plates around the step, 0 to 1."""
    if lines is None or not len(lines.timestamp_ns):
        return {}
    rows = _around(lines.timestamp_ns, change, settings)
    near = lines[rows[_stands_there(plates, lines.body_m[rows], settings) > 0]]
    passing = np.zeros(len(near.score))
    for plate in plates:
        away_m = plate.box.distances_m(near.nearest_m(plate.box.centre_m))
        passing = np.fmax(passing, np.exp(-0.5 * (away_m / settings.camera_hand_m) ** 2))
    fits = passing * near.score * _stands_there(plates, near.body_m, settings)
    who = near.identity_id
    return {int(person): float(fits[who == person].max()) for person in np.unique(who).tolist()}


def _unseen_shares(
    change: WeightChange, plates: list[Plate], unseen: UnseenHands | None, settings: AttributionSettings
) -> dict[int, float]:
    """Share of each person's hands that nobody saw around the step while they stood at the plates, 0 to 1."""
    if unseen is None or not len(unseen.timestamp_ns):
        return {}
    rows = _around(unseen.timestamp_ns, change, settings)
    share = unseen.share[rows] * _stands_there(plates, unseen.body_m[rows], settings)
    who = unseen.identity_id[rows]
    return {int(person): float(share[who == person].max()) for person in np.unique(who[share > 0]).tolist()}


def _around(times_ns: IntArray, change: WeightChange, settings: AttributionSettings) -> IntArray:
    """Rows of rising times at which the hand that made a step was at its plates."""
    around_ns = round(settings.contact_s * NANOSECONDS)
    first, last = np.searchsorted(times_ns, [change.time_ns - around_ns, change.time_ns + around_ns + 1]).tolist()
    return np.arange(first, last)


def _stands_there(plates: list[Plate], body_m: FloatArray, settings: AttributionSettings) -> FloatArray:
    """How well people who stand at places, shape (n, 2), metres, stand for taking from plates: 0 to 1, shape (n,)."""
    centre_m = np.mean([plate.box.centre_m[:2] for plate in plates], axis=0)
    away_m = np.linalg.norm(body_m - centre_m, axis=1)
    beyond = np.maximum(0.0, away_m - settings.stand_m) / settings.stand_spread_m
    return np.asarray(np.where(away_m <= REACH_M, np.exp(-0.5 * beyond**2), 0.0))


def _candidates(account: _Account, settings: AttributionSettings) -> tuple[Candidate, ...]:
    total = account.evidence
    joint, nothing = account.joint / total, account.something_else / total
    found = [
        Candidate(account.people[p], account.skus[i], units + 1, min(1.0, float(joint[p, i, units])))
        for p, i, units in np.argwhere(joint[:-1] >= settings.least_probability).tolist()
    ]
    found += [
        Candidate(person, None, 1, min(1.0, float(nothing[p])))
        for p, person in enumerate(account.people)
        if nothing[p] >= settings.least_probability
    ]
    return tuple(sorted(found, key=lambda c: (-c.probability, c.identity_id, c.sku or "", c.quantity)))
