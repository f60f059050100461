"""Explains a weight change: which product, how many units, and whose hand.

Every hypothesis about the product has a prior by place (what stands on the changed plates, what stands near them,
anything the store sells) and by quantity, and a likelihood from its mass. Beside them stands "something else" with a
broad density, and "the published mass is wrong", so that a poor fit is said to be one. Every hypothesis about the
person has a likelihood from when a hand of theirs was at the plates around the step (``tracking.whose_hand``), in which
of the bins on them it was, and what it was seen to hold. For a put-back it also counts who holds what, and what it
weighed when it was taken; for a pick, what was put back there, and what that weighed. A level that lasted only briefly
between two others was either a hand's pressure or something that was taken or put back: whichever explains the weights
better.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid5

import numpy as np

from tracking.attribution_settings import AttributionSettings
from tracking.held_pictures import HeldPictures
from tracking.past import Past
from tracking.shelves import Shelves
from tracking.types import (
    LONGEST_SPAN_S,
    Candidate,
    Evidence,
    HandPoints,
    Interaction,
    WeightChange,
)
from tracking.whose_hand import bins_reached, by_one_grip, not_both, people_at, plate_shares, plates_of
from vision.arrays import FloatArray
from vision.layout import Plate
from vision.shelf import Handling

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Account:
    """How well each hypothesis about a change explains it.

    Attributes:
        people: Who may have made it, identities.
        skus: The products.
        joint: Weight of each person (in the order of ``people``, then somebody unseen), product and quantity (from 1).
        something_else: Weight of each person, as above, and none of the products.
        nearness: Weight of each bin by its place.
        again: The put-back whose very thing a pick most probably takes away again, and the weight of that.
    """

    people: tuple[int, ...]
    skus: tuple[str, ...]
    joint: FloatArray
    something_else: FloatArray
    nearness: FloatArray
    again: tuple[UUID, float] | None = None

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
    return _dealt(told, shelves, hands, settings)


def _dealt(
    told: Sequence[Interaction], shelves: Shelves, hands: HandPoints, settings: AttributionSettings
) -> tuple[Interaction, ...]:
    """Two picks of the same thing from the same plates within one change, dealt out among people together.

    It does not matter who took which of the two: one is put down to whoever has most probably one of them, the other to
    whoever most probably has the other. Each for itself, both might go to the likelier one though both surely took one.
    """
    is_joint = settings.both < 1
    if not is_joint or len(told) != 2 or any(each.kind is not Handling.PICK for each in told):
        return tuple(told)
    first, second = told
    if (first.sku, first.quantity, set(first.plate_ids)) != (second.sku, second.quantity, set(second.plate_ids)):
        return tuple(told)
    changes = [each.evidence.weight for each in told if each.evidence.weight is not None]
    shares = [people_at(change, plates_of(change, shelves), hands, settings) for change in changes]
    people = sorted(set(shares[0]) | set(shares[1]))
    one, other = ([*(each.get(who, 0.0) for who in people), 1 - sum(each.values())] for each in shares)
    joint = np.outer(one, other)
    apart_s = abs(changes[0].time_ns - changes[1].time_ns) / NANOSECONDS
    if settings.at_once_s < apart_s < settings.again_s:
        joint[np.arange(len(people)), np.arange(len(people))] *= settings.both
    total = float(joint.sum())
    if total <= 0:
        return tuple(told)
    order = np.argsort(-(joint.sum(axis=0) + joint.sum(axis=1)), kind="stable")
    ranked = joint[np.ix_(order, order)] / total
    in_turn, crossed = np.triu(ranked, 1), np.triu(ranked.T, 1)
    either = in_turn + crossed + np.diag(np.diag(ranked))
    likelier, rest = np.zeros(len(order)), np.zeros(len(order))
    likelier[order], rest[order] = either.sum(axis=1), either.sum(axis=0)
    dealt = (likelier, rest) if in_turn.sum() >= crossed.sum() else (rest, likelier)
    return tuple(
        replace(each, candidates=_told_of(each.candidates, dict(zip(people, share.tolist(), strict=False)), settings))
        for each, share in zip(told, dealt, strict=True)
    )


def _told_of(
    candidates: Sequence[Candidate], shares: Mapping[int, float], settings: AttributionSettings
) -> tuple[Candidate, ...]:
    """The same things of other people: candidates whose people have these probabilities."""
    things: defaultdict[tuple[str | None, int], float] = defaultdict(float)
    for candidate in candidates:
        things[candidate.sku, candidate.quantity] += candidate.probability
    total = sum(things.values())
    found = [
        Candidate(who, sku, quantity, share * weight / total)
        for who, share in shares.items()
        for (sku, quantity), weight in things.items()
        if share * weight / total >= settings.least_probability
    ]
    return tuple(sorted(found, key=lambda c: (-c.probability, c.identity_id, c.sku or "", c.quantity)))


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
            moved_g = max(abs(run.delta_g), *(abs(piece.delta_g) for piece, _ in pieces))
            nothing = settings.shifted * math.exp(-moved_g / settings.shift_g) / (2 * settings.shift_g)
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
        if opposite and both <= _pushed(change, sides, accounts, settings):
            continue
        if both > (evidence * settings.opposite_plates if opposite else evidence):
            evidence, best = both, list(zip(sides, accounts, strict=True))
    return evidence, best


def _pushed(
    change: WeightChange,
    sides: Sequence[WeightChange],
    accounts: Sequence[_Account | None],
    settings: AttributionSettings,
) -> float:
    """Density of goods that a hand pushed from one of two sides onto the other, a gram squared.

    They weigh what goods there weigh, and none left the shelf.
    """
    if min(abs(side.delta_g) for side in sides) < settings.least_exchange_g:
        return math.inf
    left = next(account for side, account in zip(sides, accounts, strict=True) if side.delta_g < 0)
    sigma_g = math.hypot(change.sigma_g, settings.scale_g)
    same = math.exp(-0.5 * (change.delta_g / sigma_g) ** 2) / (math.sqrt(2 * math.pi) * sigma_g)
    return settings.pushed * same * (left.evidence if left is not None else 0.0)


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
        again=None if account.again is None else (account.again[0], min(1.0, account.again[1] / account.evidence)),
    )


def _nearness(change: WeightChange, shelves: Shelves, plates: list[Plate], settings: AttributionSettings) -> FloatArray:
    """Weight of each bin by its place, shape (n,): 1 if it has all changed plates, falling with the distance."""
    centres = np.array([plate.box.centre_m for plate in plates])
    weights = np.zeros(len(shelves.bins))
    if len(shelves.boxed):
        away_m = shelves.boxes.distances_m(centres).min(axis=0)
        weights[shelves.boxed] = settings.near_prior * np.exp(-away_m / settings.near_m)
    shares: defaultdict[int, float] = defaultdict(float)
    for plate, part in zip(plates, plate_shares(change, plates), strict=True):
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
    plates = plates_of(change, shelves)
    if not plates:
        return None
    nearness = _nearness(change, shelves, plates, settings)
    moved_g = abs(change.delta_g)
    skus, mass_g = shelves.skus, shelves.mass_g
    row = shelves.row

    at_place = np.zeros(len(skus))
    planned = shelves.sku_row >= 0
    np.maximum.at(at_place, shelves.sku_row[planned], nearness[planned])
    units = np.arange(1, settings.most_units + 1, dtype=float)
    left = np.zeros((len(skus), settings.most_units))
    for (sku, quantity), still_there in _left_there(change, past).items():
        if sku in row:
            # All of it is rather taken as it came, with the weight that it had (``_take_again``).
            of_it = np.where(units < quantity, min(1.0, still_there * quantity), settings.left_there * still_there)
            left[row[sku]] = np.maximum(left[row[sku]], of_it)
    stray = settings.stray_pick if change.delta_g < 0 else settings.stray_put_back
    prior = np.maximum(at_place[:, None], left) + stray / max(len(skus), 1)
    at_place = np.maximum(at_place, left.max(axis=1, initial=0.0))

    credible = mass_g >= settings.lightest_g
    # For the noise floor: what a hand there may well move. Whose mass is not known may be as light as anything.
    plausible = prior.max(axis=1, initial=0.0) >= settings.near_prior / 10
    if change.delta_g > 0:
        plausible = np.ones(len(skus), bool)
    lightest_g = float(np.min(np.where(credible, mass_g, settings.lightest_g)[plausible], initial=math.inf))
    # Less than that may be a misplaced light thing, until it is so little that goods only shifted their weight.
    least_g = settings.least_share * lightest_g - settings.noise_sigmas * change.sigma_g
    if not math.isfinite(lightest_g):
        least_g = settings.lightest_g
    if moved_g < max(least_g, settings.noise_sigmas * change.sigma_g):
        return None

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

    shares = people_at(change, plates, hands, settings)
    for other in beside:
        shares = not_both(shares, change, other, shelves, hands, settings)
    for other in beside:
        shares = by_one_grip(shares, change, other, shelves, hands, settings)
    people = tuple(shares)
    joint = (prior * by_mass)[None]
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
    reached = _reached(change, plates, shelves, people, hands, at_place, stray, nearness, settings)
    if reached is not None:
        joint = joint * reached[:, :, None]
    something_else = by_person * something_else
    taken_again = None
    if change.delta_g < 0:
        taken_again = _take_again(joint, something_else, by_person, change, shelves, past, settings)
    if hands.pictures is not None:
        joint = joint * _pictured(change, people, skus, joint.sum(axis=(0, 2)), hands.pictures, settings)[:, :, None]
    _share_out(joint, by_person, settings)
    return _Account(people, skus, joint, something_else, nearness, taken_again)


def _take_again(
    joint: FloatArray,
    something_else: FloatArray,
    by_person: FloatArray,
    change: WeightChange,
    shelves: Shelves,
    past: Past,
    settings: AttributionSettings,
) -> tuple[UUID, float] | None:
    """Let a pick be that of a very thing that was put on its plates before, in place.

    It weighs what it weighed then, whatever it is, and is as probably this or that as it was then: so who sets a bag
    down, or something of the shop in a strange place, and takes it up again has what they had before.

    Args:
        joint: Weight of each person, the last being somebody unseen, product and quantity, shape (p + 1, s, q).
        something_else: Weight of each person and none of the products, shape (p + 1,).
        by_person: Share of each person, shape (p + 1,).
        change: What the scale saw.
        shelves: Products and plates.
        past: What was put there.
        settings: How often that happens.

    Returns:
        The put-back whose thing it most probably is and the weight of that; None where nothing lies there.
    """
    best: tuple[UUID, float] | None = None
    moved_g = abs(change.delta_g)
    for put in past.lying(change.plate_ids):
        weight = put.evidence.weight
        if weight is None or put.time_ns >= change.time_ns or not put.candidates:
            continue
        overlap = len(set(put.plate_ids) & set(change.plate_ids)) / len(set(put.plate_ids) | set(change.plate_ids))
        variance = change.sigma_g**2 + weight.sigma_g**2 + settings.scale_g**2
        fit = overlap * float(_gauss(moved_g, np.array(abs(weight.delta_g)), np.array(variance)))
        willing = by_person * fit * settings.again
        total = sum(candidate.probability for candidate in put.candidates)
        for candidate in put.candidates:
            share = candidate.probability / total
            row = -1 if candidate.sku is None else shelves.row.get(candidate.sku, -1)
            if row >= 0 and candidate.quantity <= joint.shape[2]:
                joint[:, row, candidate.quantity - 1] += share * willing
            else:
                something_else += share * willing
        if best is None or willing.sum() > best[1]:
            best = put.interaction_id, float(willing.sum())
    return best


def _reached(
    change: WeightChange,
    plates: list[Plate],
    shelves: Shelves,
    people: tuple[int, ...],
    hands: HandPoints,
    at_place: FloatArray,
    stray: float,
    nearness: FloatArray,
    settings: AttributionSettings,
) -> FloatArray | None:
    """How much each person's hand speaks for each product by the bin that it reached into, shape (p + 1, s).

    None where the changed plates have one bin only, so that there is nothing to tell.
    """
    on_plates = {row for plate in plates for row in shelves.on_plate.get(plate.plate_id, ())}
    rows = np.array(sorted(row for row in on_plates if shelves.box_row[row] >= 0), np.int64)
    if len(rows) < 2 or len(set(shelves.sku_row[rows].tolist())) < 2:
        return None
    told = bins_reached(change, plates, shelves, shelves.box_row[rows], people, hands, settings)
    reached = np.ones((len(people) + 1, len(shelves.skus)))
    for column, row in enumerate(rows.tolist()):
        product = int(shelves.sku_row[row])
        if product >= 0 and nearness[row] >= at_place[product]:
            # What is handled here though it belongs elsewhere may be anywhere on the plates.
            share = at_place[product] / (at_place[product] + stray)
            reached[:, product] = share * told[:, column] + 1 - share
    return reached


def _pictured(
    change: WeightChange,
    people: tuple[int, ...],
    skus: tuple[str, ...],
    weight: FloatArray,
    pictures: HeldPictures,
    settings: AttributionSettings,
) -> FloatArray:
    """How well each product explains what each person held after a pick or before a put-back, 1 where nothing was seen.

    Args:
        change: What the scale saw.
        people: Whose hands come into question.
        skus: The products.
        weight: How well each product explains the change otherwise, shape (s,).
        pictures: What hands held meanwhile.
        settings: When to look.

    Returns:
        Shape (p + 1, s), the last row for somebody unseen.
    """
    likelihood = np.ones((len(people) + 1, len(skus)))
    rows = np.flatnonzero(weight >= settings.pictured_from * weight.max(initial=0.0))
    among = [skus[row] for row in rows.tolist()]
    since_s, until_s = settings.picture_from_s, settings.picture_until_s
    if change.delta_g > 0:
        since_s, until_s = -until_s, -since_s
    since_ns, until_ns = (change.time_ns + round(s * NANOSECONDS) for s in (since_s, until_s))
    for place, person in enumerate(people):
        said = pictures.likelihood(person, since_ns, until_ns, among, settings.stray_picture)
        likelihood[place, rows] = [said.get(sku, 1.0) for sku in among]
    return likelihood


def _share_out(joint: FloatArray, by_person: FloatArray, settings: AttributionSettings) -> None:
    """Let several units be those of two people who both had a hand there, in place.

    Which of them took how many is not known then: what is taken from the likelier one is put down as fewer units of the
    other, any number as likely as any, so that both are doubted.

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
    each_way = moved / np.arange(1, moved.shape[1] + 1)
    joint[second, :, :-1] += each_way[:, ::-1].cumsum(axis=1)[:, ::-1]


def _left_there(change: WeightChange, past: Past) -> dict[tuple[str, int], float]:
    """Probability of so many of each product, that they were put back on the changed plates and are still there."""
    there: defaultdict[tuple[str, int], float] = defaultdict(float)
    for interaction in past.at_plates(change.plate_ids):
        overlap = len(set(interaction.plate_ids).intersection(change.plate_ids)) / len(change.plate_ids)
        for candidate in interaction.candidates:
            if not overlap or candidate.sku is None:
                continue
            share = overlap * candidate.probability
            if interaction.kind is Handling.PUT_BACK:
                there[candidate.sku, candidate.quantity] += share
                continue
            for (sku, quantity), known in there.items():
                if sku == candidate.sku:
                    there[sku, quantity] = max(0.0, known - share * candidate.quantity / quantity)
    return {key: min(1.0, share) for key, share in there.items()}


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
