"""Whose hand made a weight change, from when whose hands were where around its step."""

import numpy as np
from scipy.special import ndtr

from tracking.attribution_settings import STAYS, USUAL_STAY, AttributionSettings
from tracking.shelves import Shelves
from tracking.types import HandLines, HandPoints, UnseenHands, WeightChange
from tracking.whereabouts import REACH_M
from vision.arrays import FloatArray, IntArray
from vision.layout import Plate

NANOSECONDS = 1_000_000_000


def plates_of(change: WeightChange, shelves: Shelves) -> list[Plate]:
    """The plates of a change that the layout has."""
    return [shelves.plates[plate_id] for plate_id in change.plate_ids if plate_id in shelves.plates]


def plate_shares(change: WeightChange, plates: list[Plate]) -> list[float]:
    """How much of a change each of its plates bears: a shelf that bends changes plates far from what happened."""
    moved_g = {each.plate_ids[0]: abs(each.delta_g) for each in change.by_plate}
    shares = [moved_g.get(plate.plate_id, 0.0) for plate in plates]
    total = sum(shares)
    return [share / total for share in shares] if total > 0 else [1 / len(plates)] * len(plates)


def main_plates(change: WeightChange, plates: list[Plate], settings: AttributionSettings) -> list[Plate]:
    """The plates that bear a good part of a change."""
    shares = plate_shares(change, plates)
    return [plate for plate, share in zip(plates, shares, strict=True) if share >= settings.main_share * max(shares)]


def people_at(
    change: WeightChange, plates: list[Plate], hands: HandPoints, settings: AttributionSettings
) -> dict[int, float]:
    """Probability of each person whose hand came near or may have; what is missing to 1 is somebody unseen."""
    weight: dict[int, float] = {}
    plates = main_plates(change, plates, settings)
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
            own = np.flatnonzero(who == person)
            closest = float(near[own].max())
            when_s, best = _nearer_hands(from_s[own], here[own])
            if by_cameras[own].any() or not settings.weighs_stay:
                seen = _occupancy(when_s, best, -settings.contact_s, settings.contact_s)
                weight[person] = closest if seen is None else seen
                continue
            stay = 1.0
            for since_s, until_s, power in STAYS:
                seen = _occupancy(when_s, best, since_s, until_s)
                if seen is not None:
                    stay *= ((seen + settings.elsewhere) / (settings.unseen + settings.elsewhere)) ** power
            # Nobody takes anything without ever coming near it.
            weight[person] = stay / USUAL_STAY * min(closest / settings.near_enough, 1.0)
    for person, share in _on_lines(change, plates, hands.lines, settings).items():
        weight[person] = max(weight.get(person, 0.0), settings.one_camera * share)
    for person, share in _unseen_shares(change, plates, hands.unseen, settings).items():
        weight[person] = weight.get(person, 0.0) + settings.unseen_hand * share
    weight = {person: value * hands.worth.get(person, 1.0) for person, value in weight.items()}
    total = sum(weight.values()) + settings.nobody
    return {person: value / total for person, value in weight.items()}


def bins_reached(
    change: WeightChange,
    plates: list[Plate],
    shelves: Shelves,
    rows: IntArray,
    people: tuple[int, ...],
    hands: HandPoints,
    settings: AttributionSettings,
) -> FloatArray:
    """How much more than a hand anywhere along the changed plates each person's hand speaks for each bin.

    Along the shelf a hand is in the bin that it takes from, give or take ``along_m`` (a wrist is not a grip, and no
    hand is placed exactly); where it is says nothing of what was taken if it is the hand that a body hides.

    Args:
        change: What the scale saw.
        plates: Its plates.
        shelves: Where the bins are.
        rows: Bins on the plates, rows of ``shelves.boxes``, shape (b,); their boxes lie along one shelf.
        people: Who may have made it.
        hands: Hands seen in the world around the change.
        settings: How hands err.

    Returns:
        Likelihood ratios, shape (p + 1, b), 1 where no hand was seen there and in the last row, for somebody unseen.
    """
    told = np.ones((len(people) + 1, len(rows)))
    reach_ns = round(settings.contact_s * NANOSECONDS)
    inside = slice(
        *np.searchsorted(hands.timestamp_ns, [change.time_ns - reach_ns, change.time_ns + reach_ns]).tolist()
    )
    where_m = hands.hand_m[inside]
    if not len(where_m) or not len(rows):
        return told
    boxes = shelves.boxes
    away_m = np.min([plate.box.distances_m(where_m) for plate in plates], axis=0)
    from_s = (hands.timestamp_ns[inside] - change.time_ns) / NANOSECONDS
    worth = np.exp(-0.5 * (away_m / settings.hand_m) ** 2 - 0.5 * (from_s / settings.at_step_s) ** 2)
    axes, corners, sizes = boxes.axes[rows], boxes.corners_m[rows], boxes.sizes_m[rows]
    # All on the axis along the shelf of the first one.
    along = axes[0, :, 0]
    starts = corners @ along
    widths = np.einsum("bij,j->bi", axes.swapaxes(1, 2), along)[:, 0] * sizes[:, 0]
    low, high = np.minimum(starts, starts + widths), np.maximum(starts, starts + widths)
    first, last = low.min(), high.max()
    at_m = where_m @ along
    for place, person in enumerate(people):
        own = (hands.identity_id[inside] == person) & (worth > 0.01)
        if not own.any():
            continue
        hand_at_m = float(np.average(at_m[own], weights=worth[own]))
        stray = settings.stray_hand if hands.by_cameras[inside][own].any() else settings.astray
        density = _share_between(low, high, hand_at_m, settings.along_m) / (high - low)
        anywhere = float(_share_between(first, last, hand_at_m, settings.along_m) / (last - first))
        if anywhere > 0:
            told[place] = stray + (1 - stray) * density / anywhere
    return told


def _share_between(low_m: FloatArray, high_m: FloatArray, at_m: float, sigma_m: float) -> FloatArray:
    """Probability that what was seen at a place is really between two others, for a normal distribution."""
    return np.asarray(ndtr((high_m - at_m) / sigma_m) - ndtr((low_m - at_m) / sigma_m))


def not_both(
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
    plates = plates_of(other, shelves)
    is_near = settings.at_once_s < apart_s < settings.again_s
    if not is_near or not plates or set(other.plate_ids) & set(change.plate_ids):
        return shares
    theirs = people_at(other, plates, hands, settings)
    weight = {who: share * (1 - (1 - settings.both) * theirs.get(who, 0.0)) for who, share in shares.items()}
    total = sum(weight.values()) + max(0.0, 1 - sum(shares.values()))
    return {who: value / total for who, value in weight.items()} if total > 0 else shares


def by_one_grip(
    shares: dict[int, float],
    change: WeightChange,
    other: WeightChange,
    shelves: Shelves,
    hands: HandPoints,
    settings: AttributionSettings,
) -> dict[int, float]:
    """Shares of people in a change, given that whoever made another one beside it at this moment may have made both.

    One grip takes two things, or the second hand is unseen. It is worth little against a hand that is seen in the bin
    and much against nobody's.
    """
    apart_s = abs(other.time_ns - change.time_ns) / NANOSECONDS
    plates, others = plates_of(change, shelves), plates_of(other, shelves)
    if apart_s > 3 * settings.one_grip_s or not plates or not others or set(other.plate_ids) & set(change.plate_ids):
        return shares
    if change.delta_g * other.delta_g < 0:
        return shares
    same_shelf = (plates[0].gondola_id, plates[0].shelf_id) == (others[0].gondola_id, others[0].shelf_id)
    away_m = float(np.linalg.norm(plates[0].box.centre_m - others[0].box.centre_m))
    if not same_shelf or away_m > settings.one_grip_m:
        return shares
    worth = settings.one_grip * float(np.exp(-0.5 * (apart_s / settings.one_grip_s) ** 2))
    nobody = max(1 - sum(shares.values()), 1e-12)
    weight = {who: share * settings.nobody / nobody for who, share in shares.items()}
    for who, share in people_at(other, others, hands, settings).items():
        weight[who] = weight.get(who, 0.0) + worth * share
    total = sum(weight.values()) + settings.nobody
    return {who: value / total for who, value in weight.items()}


def _nearer_hands(from_s: FloatArray, here: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How well the nearer of somebody's hands was at a place at each instant.

    Args:
        from_s: When each hand was seen, rising, shape (r,), at least one.
        here: How well it was at the place, shape (r,).

    Returns:
        The instants, rising, and how well it was there then, 0 to 1, both (k,).
    """
    is_next = np.ones(len(from_s), bool)
    np.not_equal(from_s[1:], from_s[:-1], out=is_next[1:])
    first = is_next.nonzero()[0]
    return from_s[first], np.maximum.reduceat(here, first)


def _occupancy(when_s: FloatArray, best: FloatArray, since_s: float, until_s: float) -> float | None:
    """How well somebody's nearer hand was at a place over a stretch of time, 0 to 1; None if it was unseen.

    Args:
        when_s: When it was seen, rising, shape (k,).
        best: How well it was at the place then, shape (k,).
        since_s: Beginning of the stretch.
        until_s: Its end.
    """
    first, last = np.searchsorted(when_s, [since_s, until_s]).tolist()
    return float(best[first:last].mean()) if last > first else None


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
