"""Pure functions that score what a store believed against what really happened, as ``tillfree-scenario/1`` says.

An item is (payer, barcode), counted per unit: TP are units on a receipt and in the truth, FP are charged but not true,
FN are true but not charged. Every cart counts as the machine had it, sent to review or not. What somebody without an
account has in the cart is on nobody's receipt.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import beta

from cart.pipeline import InteractionSeen, VisitClosed, place_name, plate_numbers
from cart.replay import public_status
from store_sim.scenarios import Action, ScenarioEvent
from store_sim.truth import TrueInteraction, TrueReceipt, TrueVisit, Truth
from vision.layout import StoreLayout
from vision.shelf import Handling

NANOSECONDS = 1_000_000_000
MATCH_S = 2.0
"""A believed interaction is that of the truth if it is no farther from it: a message is 0.2 s long, a plate needs up to
a second to stand still after the hand has left, and one hand seldom comes twice within four seconds."""
NEAR_S = 4.0
"""What happened or was believed so near to a wrong line, at the same gondola, is told with it: an interaction's longest
span."""
CALIBRATION_BINS = 15
_ASIDE = frozenset({Action.HAND_OVER, Action.DROP, Action.CONSUME, Action.CONCEAL})
BOUND = 0.95


@dataclass(frozen=True, slots=True)
class VisitUnits:
    """One product in the cart of a closed visit.

    Attributes:
        sku: What.
        quantity: Units; negative when more came back than was seen leaving.
        probability: How sure the store was, 0 to 1.
        unit_price_minor: Price of one, minor unit; None if not known.
    """

    sku: str
    quantity: int
    probability: float
    unit_price_minor: int | None


@dataclass(frozen=True, slots=True)
class ClosedVisit:
    """A visit as the store closed it.

    Attributes:
        shopper: Whose account, or the store's name for somebody without one.
        has_account: Whether there is an account to charge.
        status: ``charged``, ``needs_review``, ``empty`` or ``no_account``.
        entered_ns: When it began, store clock.
        left_ns: When the shopper was last seen inside.
        receipt_ns: When the receipt was made out.
        lines: The cart.
        reasons: Why a person should look at it.
        currency: ISO 4217 code of the prices.
    """

    shopper: str
    has_account: bool
    status: str
    entered_ns: int
    left_ns: int
    receipt_ns: int
    lines: tuple[VisitUnits, ...]
    reasons: tuple[str, ...] = ()
    currency: str = "USD"

    @property
    def is_reviewed(self) -> bool:
        """Whether a person looks at it before anybody is charged."""
        return self.status == "needs_review"

    def units(self, sku: str) -> int:
        """Units of a product that are on the receipt, at least 0."""
        return sum(max(0, line.quantity) for line in self.lines if line.sku == sku)


@dataclass(frozen=True, slots=True)
class BelievedCandidate:
    """One explanation of an interaction: who, what (None: not known), how many, and how probable (0 to 1)."""

    shopper: str
    sku: str | None
    quantity: int
    probability: float


@dataclass(frozen=True, slots=True)
class BelievedInteraction:
    """A pick or put-back as the store saw it.

    Attributes:
        kind: Pick or put-back.
        time_ns: Best guess of the moment, store clock.
        gondola_id: Gondola, None for a bin drawn in a picture.
        shelf_id: Shelf on the gondola, None for a bin drawn in a picture.
        place: Where, for people.
        sku: The most probable product; None when not known.
        quantity: Units of it.
        candidates: Who took what, most probable first; empty when nobody was in view.
        recorded_for: Whose cart it went into; None when into nobody's.
        delta_g: Weight change behind it, grams; None without scales.
    """

    kind: Handling
    time_ns: int
    gondola_id: int | None
    shelf_id: int | None
    place: str
    sku: str | None
    quantity: int
    candidates: tuple[BelievedCandidate, ...] = ()
    recorded_for: str | None = None
    delta_g: float | None = None


@dataclass(frozen=True, slots=True)
class Playback:
    """What the store made of one played case.

    Attributes:
        start_ns: Store clock at second 0.
        end_ns: Store clock at the end.
        visits: Every visit, in the order they were closed.
        interactions: Every pick and put-back, in the order they were judged.
    """

    start_ns: int
    end_ns: int
    visits: tuple[ClosedVisit, ...]
    interactions: tuple[BelievedInteraction, ...]


@dataclass(frozen=True, slots=True)
class Deed:
    """What really happened at a shelf, for people; seconds from the start."""

    t_s: float
    shopper: str
    payer: str | None
    kind: Handling
    place: str
    sku: str | None
    product: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Aside:
    """What was done with a product away from the shelves, as the script says; ``t_s`` is on the script's own clock.

    Attributes:
        t_s: When, seconds on the script's clock, which runs behind the store's once people are late.
        shopper: Who.
        action: What: dropped, handed over, eaten, put into a bag.
        quantity: Units.
        other: To whom it was handed; None for anything else.
    """

    t_s: float
    shopper: str
    action: Action
    quantity: int
    other: str | None


@dataclass(frozen=True, slots=True)
class Belief:
    """What the store believed happened at a shelf, for people; seconds from the start."""

    t_s: float
    kind: Handling
    place: str
    product: str
    quantity: int
    candidates: tuple[tuple[str, str, int, float], ...]
    recorded_for: str | None
    delta_g: float | None


@dataclass(frozen=True, slots=True)
class WrongLine:
    """A product of a payer that was charged too often or too seldom.

    Attributes:
        payer: Whose account.
        sku: What.
        product: Its name.
        charged: Units on the payer's receipts.
        due: Units that should be.
        statuses: How each of the payer's visits ended; empty if none was ever closed.
        deeds: What happened with it, or near to what was believed, in time order.
        beliefs: What was believed, in time order.
        reasons: Why the store wanted a person to look.
        stays_s: When the payer's people were really inside, seconds from the start.
        visits_s: When the store believed so.
        asides: What the payer's people did with it away from the shelves.
    """

    payer: str
    sku: str
    product: str
    charged: int
    due: int
    statuses: tuple[str, ...]
    deeds: tuple[Deed, ...]
    beliefs: tuple[Belief, ...]
    reasons: tuple[str, ...]
    stays_s: tuple[tuple[float, float], ...]
    visits_s: tuple[tuple[float, float], ...]
    asides: tuple[Aside, ...] = ()


@dataclass(frozen=True, slots=True)
class SureUnits:
    """Units in a cart that the store was equally sure of.

    Attributes:
        probability: The probability it gave each of them.
        units: How many.
        right: How many of them are true; a fraction where it is open which ones are.
    """

    probability: float
    units: int
    right: float


@dataclass(frozen=True, slots=True)
class CaseScore:
    """How one case with one seed came out.

    Attributes:
        name: Of the case.
        class_name: The class it is reported under.
        seed: Of the simulation.
        tp: Units on a receipt and in the truth.
        fp: Units charged but not true.
        fn: Units true but not charged.
        visits: Visits the store closed.
        reviewed: Of them, sent to a person.
        no_account: Of them, of somebody who cannot be charged.
        wrong_charges: FP units on visits charged without review. Where a payer has reviewed and other visits and it is
            open on which a unit is wrong, it is taken to be on the other ones.
        unreviewed_units: All units charged without review.
        receipts_s: Seconds from each payer's last person leaving to the receipt, one for each stay that got one and
            needs no review.
        true_interactions: Picks and put-backs that happened.
        believed_interactions: Picks and put-backs the store saw.
        matched_interactions: Pairs of them that agree in payer, kind, product, quantity, gondola and shelf within
            ``MATCH_S``.
        overcharged_minor: Price of the units of ``wrong_charges``.
        undercharged_minor: Price of FN units of payers of whom a person looks at no visit.
        currency: ISO 4217 code of the amounts.
        sureness: How sure the store was of the units in its carts.
        wrong_lines: What was wrong, and why.
        remarks: What is doubtful about the case itself.
        store_s: Seconds of store time.
        cpu_s: Seconds of computing time for simulation and replay.
    """

    name: str
    class_name: str
    seed: int
    tp: int
    fp: int
    fn: int
    visits: int
    reviewed: int
    no_account: int
    wrong_charges: int
    unreviewed_units: int
    receipts_s: tuple[float, ...]
    true_interactions: int
    believed_interactions: int
    matched_interactions: int
    overcharged_minor: int
    undercharged_minor: int
    currency: str
    sureness: tuple[SureUnits, ...] = ()
    wrong_lines: tuple[WrongLine, ...] = ()
    remarks: tuple[str, ...] = ()
    store_s: float = math.nan
    cpu_s: float = math.nan

    @property
    def f1(self) -> float:
        """F1 of the receipts; 1 when nothing was due and nothing was charged."""
        return f1_score(self.tp, self.fp, self.fn)

    @property
    def interaction_f1(self) -> float:
        """F1 of picks and put-backs; 1 when nothing happened and nothing was seen."""
        missed = self.true_interactions - self.matched_interactions
        return f1_score(self.matched_interactions, self.believed_interactions - self.matched_interactions, missed)

    @property
    def receipt_s(self) -> float | None:
        """The longest that anybody waited for the receipt; None if nobody got one."""
        return max(self.receipts_s, default=None)


def f1_score(tp: int, fp: int, fn: int) -> float:
    """F1 from counts, 1 when all are 0.

    >>> f1_score(0, 0, 0), f1_score(1, 1, 0)
    (1.0, 0.6666666666666666)
    """
    return 1.0 if tp + fp + fn == 0 else 2 * tp / (2 * tp + fp + fn)


def ratio(part: float, whole: float, empty: float) -> float:
    """``part / whole``, or ``empty`` for a whole of 0."""
    return part / whole if whole else empty


def upper_bound(wrong: int, units: int, confidence: float = BOUND) -> float | None:
    """One-sided upper bound of a share of wrong units (Clopper & Pearson, Biometrika 26, 1934).

    With nothing wrong it is close to 3 / units, the rule of three.

    Args:
        wrong: Wrong units.
        units: All units.
        confidence: Of the bound, 0 to 1.

    Returns:
        The share, 0 to 1; None without units.

    >>> round(1000 * upper_bound(0, 1000), 2), upper_bound(3, 3), upper_bound(0, 0)
    (2.99, 1.0, None)
    """
    if units == 0:
        return None
    return 1.0 if wrong >= units else float(beta.ppf(confidence, wrong + 1, units - wrong))


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Units of which the store was about equally sure: how sure it was, how many were right, 0 to 1, and how many."""

    probability: float
    right: float
    units: float


def calibration(sureness: Iterable[SureUnits], bins: int = CALIBRATION_BINS) -> tuple[CalibrationBin, ...]:
    """Sort units by probability into bins of equal mass.

    A run of units with one probability may be spread over several bins; each part then gets the run's own share of
    right ones, so that no order within the run is made up.

    Args:
        sureness: The units, in any order.
        bins: How many bins.

    Returns:
        The bins, least sure first; fewer where there are fewer units than bins.
    """
    units: dict[float, int] = {}
    right: dict[float, float] = {}
    for entry in sureness:
        units[entry.probability] = units.get(entry.probability, 0) + entry.units
        right[entry.probability] = right.get(entry.probability, 0) + entry.right
    total = sum(units.values())
    if not total:
        return ()
    levels = np.array(sorted(units))
    counts = np.array([units[level] for level in levels.tolist()], float)
    rights = np.array([right[level] for level in levels.tolist()], float)
    bins = min(bins, total)
    ends = np.cumsum(counts)
    edges = np.linspace(0, total, bins + 1)
    found = []
    for low, high in pairwise(edges.tolist()):
        inside = np.clip(np.minimum(ends, high) - np.maximum(ends - counts, low), 0, None)
        mass = float(inside.sum())
        found.append(CalibrationBin(float(inside @ levels) / mass, float(inside @ (rights / counts)) / mass, mass))
    return tuple(found)


def calibration_error(bins: Sequence[CalibrationBin]) -> float | None:
    """Expected calibration error: mean distance of sureness from rightness, weighted by units; None without units.

    Naeini, Cooper & Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015; with bins of
    equal mass instead of equal width.
    """
    total = sum(entry.units for entry in bins)
    if not total:
        return None
    return sum(entry.units * abs(entry.probability - entry.right) for entry in bins) / total


def closed_visit(event: VisitClosed, receipt_ns: int) -> ClosedVisit:
    """Keep what scoring needs of a visit; ``receipt_ns`` is when it was closed, store clock."""
    outcome = event.outcome
    return ClosedVisit(
        shopper=event.shopper,
        has_account=outcome.session.has_account,
        status=public_status(event),
        entered_ns=event.entered_ns,
        left_ns=event.left_ns,
        receipt_ns=receipt_ns,
        lines=tuple(
            VisitUnits(line.sku, line.quantity, line.probability, line.unit_price_minor)
            for line in outcome.receipt.lines
        ),
        reasons=tuple(flag.reason for flag in outcome.flags),
        currency=outcome.receipt.currency,
    )


def believed_interaction(seen: InteractionSeen, layout: StoreLayout) -> BelievedInteraction:
    """Keep what scoring needs of an interaction."""
    interaction = seen.interaction
    place = layout.bin(interaction.bin_id)
    weight = interaction.evidence.weight
    return BelievedInteraction(
        kind=interaction.kind,
        time_ns=interaction.time_ns,
        gondola_id=place.gondola_id,
        shelf_id=place.shelf_id,
        place=place_name(place, plate_numbers(interaction.plate_ids)),
        sku=interaction.sku,
        quantity=interaction.quantity,
        candidates=tuple(
            BelievedCandidate(shopper, c.sku, c.quantity, c.probability)
            for shopper, c in zip(seen.shoppers, interaction.candidates, strict=True)
        ),
        recorded_for=seen.recorded_for,
        delta_g=None if weight is None else weight.delta_g,
    )


def score_case(
    name: str,
    class_name: str,
    seed: int,
    receipts: Sequence[TrueReceipt],
    truth: Truth,
    playback: Playback,
    layout: StoreLayout,
    events: Sequence[ScenarioEvent] = (),
) -> CaseScore:
    """Hold what the store believed against the truth.

    Args:
        name: Of the case.
        class_name: The class it is reported under.
        seed: Of the simulation.
        receipts: What every payer should be charged, also empty ones.
        truth: What happened.
        playback: What the store made of it.
        layout: The store that day, for names and prices.
        events: The script, for what people did away from the shelves.
    """
    due = {receipt.payer: {line.sku: line.quantity for line in receipt.lines} for receipt in receipts}
    accounts = [visit for visit in playback.visits if visit.has_account]
    payers = [*due, *sorted({visit.shopper for visit in accounts} - set(due))]
    prices = {product.sku: product.unit_price_minor for product in layout.products}
    tp = fp = fn = wrong = over_minor = under_minor = 0
    sureness: list[SureUnits] = []
    wrong_lines: list[WrongLine] = []
    for payer in payers:
        visits = [visit for visit in accounts if visit.shopper == payer]
        all_reviewed = bool(visits) and all(visit.is_reviewed for visit in visits)
        skus = sorted({line.sku for visit in visits for line in visit.lines} | set(due.get(payer, {})))
        for sku in skus:
            owed = due.get(payer, {}).get(sku, 0)
            charged = sum(visit.units(sku) for visit in visits)
            unreviewed = sum(visit.units(sku) for visit in visits if not visit.is_reviewed)
            right = min(charged, owed)
            price = prices.get(sku) or 0
            tp, fp, fn = tp + right, fp + charged - right, fn + owed - right
            wrong += min(charged - right, unreviewed)
            over_minor += min(charged - right, unreviewed) * price
            under_minor += 0 if all_reviewed else (owed - right) * price
            sureness += _sureness(visits, sku, right, charged)
            if charged != owed:
                wrong_lines.append(_wrong_line(payer, sku, charged, owed, visits, truth, playback, layout, events))
    matched = _matched(truth, playback.interactions)
    return CaseScore(
        name=name,
        class_name=class_name,
        seed=seed,
        tp=tp,
        fp=fp,
        fn=fn,
        visits=len(playback.visits),
        reviewed=sum(visit.is_reviewed for visit in playback.visits),
        no_account=sum(not visit.has_account for visit in playback.visits),
        wrong_charges=wrong,
        unreviewed_units=sum(
            max(0, line.quantity) for visit in accounts if not visit.is_reviewed for line in visit.lines
        ),
        receipts_s=_receipts_s(truth, accounts),
        true_interactions=len(truth.interactions),
        believed_interactions=len(playback.interactions),
        matched_interactions=matched,
        overcharged_minor=over_minor,
        undercharged_minor=under_minor,
        currency=next((visit.currency for visit in playback.visits), ""),
        sureness=tuple(sureness),
        wrong_lines=tuple(wrong_lines),
        store_s=(playback.end_ns - playback.start_ns) / NANOSECONDS,
    )


def _sureness(visits: Sequence[ClosedVisit], sku: str, right: int, charged: int) -> list[SureUnits]:
    """How sure the store was of a payer's units of one product; nobody can say which of them are the right ones."""
    lines = [line for visit in visits for line in visit.lines if line.sku == sku and line.quantity > 0]
    return [SureUnits(line.probability, line.quantity, right * line.quantity / charged) for line in lines]


def _payer_of(truth: Truth, shopper: str, time_ns: int) -> str | None:
    """Who paid for what somebody did at a time."""
    own = [visit for visit in truth.visits if visit.shopper == shopper]
    now = [
        visit for visit in own if visit.entered_ns <= time_ns and (visit.left_ns is None or time_ns <= visit.left_ns)
    ]
    return next((visit.payer for visit in now or own), None)


def _matched(truth: Truth, believed: Sequence[BelievedInteraction]) -> int:
    """How many interactions of the truth were believed, each at most once.

    Within one key both sides are points in time that may pair up within a fixed distance, so taking the earliest
    possible partner each time gives the most pairs.
    """
    payers = {visit.payer for visit in truth.visits if visit.payer is not None}
    happened: dict[tuple[object, ...], list[int]] = {}
    for deed in truth.interactions:
        payer = _payer_of(truth, deed.shopper, deed.time_ns)
        key: tuple[object, ...] = payer, deed.kind, deed.sku, deed.quantity, deed.gondola_id, deed.shelf_id
        happened.setdefault(key, []).append(deed.time_ns)
    seen: dict[tuple[object, ...], list[int]] = {}
    for belief in believed:
        best = belief.candidates[0] if belief.candidates else None
        who = best.shopper if best is not None and best.shopper in payers else None
        sku, quantity = (belief.sku, belief.quantity) if best is None else (best.sku, best.quantity)
        seen.setdefault((who, belief.kind, sku, quantity, belief.gondola_id, belief.shelf_id), []).append(
            belief.time_ns
        )
    matched = 0
    for key, times_ns in happened.items():
        waiting = sorted(seen.get(key, []))
        for time_ns in sorted(times_ns):
            while waiting and waiting[0] < time_ns - MATCH_S * NANOSECONDS:
                waiting.pop(0)
            if waiting and waiting[0] <= time_ns + MATCH_S * NANOSECONDS:
                waiting.pop(0)
                matched += 1
    return matched


@dataclass(frozen=True, slots=True)
class _Stay:
    """A payer's people inside, from the first to come to the last to leave; ``left_ns`` None while somebody is."""

    entered_ns: int
    left_ns: int | None


def _stays(visits: Iterable[TrueVisit]) -> list[_Stay]:
    stays: list[_Stay] = []
    for visit in sorted(visits, key=lambda visit: visit.entered_ns):
        last = stays[-1] if stays else None
        if last is not None and (last.left_ns is None or visit.entered_ns <= last.left_ns):
            left_ns = None if last.left_ns is None or visit.left_ns is None else max(last.left_ns, visit.left_ns)
            stays[-1] = _Stay(last.entered_ns, left_ns)
        else:
            stays.append(_Stay(visit.entered_ns, visit.left_ns))
    return stays


def _receipts_s(truth: Truth, accounts: Sequence[ClosedVisit]) -> tuple[float, ...]:
    """Seconds from the end of each stay of which nobody looks at a visit to its last receipt."""
    waits = []
    for payer in dict.fromkeys(visit.payer for visit in truth.visits if visit.payer is not None):
        stays = _stays(visit for visit in truth.visits if visit.payer == payer)
        receipts: dict[int, int] = {}
        reviewed: set[int] = set()
        for visit in accounts:
            if visit.shopper == payer:
                best = max(range(len(stays)), key=lambda k: _shared_ns(stays[k], visit))
                receipts[best] = max(receipts.get(best, visit.receipt_ns), visit.receipt_ns)
                if visit.is_reviewed:
                    reviewed.add(best)
        for k, stay in enumerate(stays):
            if k in receipts and k not in reviewed and stay.left_ns is not None:
                waits.append((receipts[k] - stay.left_ns) / NANOSECONDS)
    return tuple(waits)


def _shared_ns(stay: _Stay, visit: ClosedVisit) -> int:
    """How long a stay and a visit overlap; below 0: how far they are apart."""
    end_ns = visit.left_ns if stay.left_ns is None else min(stay.left_ns, visit.left_ns)
    return end_ns - max(stay.entered_ns, visit.entered_ns)


def _wrong_line(
    payer: str,
    sku: str,
    charged: int,
    due: int,
    visits: Sequence[ClosedVisit],
    truth: Truth,
    playback: Playback,
    layout: StoreLayout,
    events: Sequence[ScenarioEvent],
) -> WrongLine:
    names = {product.sku: product.name for product in layout.products}

    def seconds(time_ns: int) -> float:
        return (time_ns - playback.start_ns) / NANOSECONDS

    def near(deed: TrueInteraction, belief: BelievedInteraction) -> bool:
        apart_ns = abs(deed.time_ns - belief.time_ns)
        return deed.gondola_id == belief.gondola_id and apart_ns <= NEAR_S * NANOSECONDS

    payers = [_payer_of(truth, deed.shopper, deed.time_ns) for deed in truth.interactions]
    own = [d for d, who in zip(truth.interactions, payers, strict=True) if who == payer and d.sku == sku]
    beliefs = [
        belief
        for belief in playback.interactions
        if (belief.recorded_for == payer and belief.sku == sku)
        or any(c.shopper == payer and c.sku == sku for c in belief.candidates)
        or any(near(deed, belief) for deed in own)
    ]
    deeds = [
        (deed, who)
        for deed, who in zip(truth.interactions, payers, strict=True)
        if (who == payer and deed.sku == sku) or any(near(deed, belief) for belief in beliefs)
    ]
    stays = _stays(visit for visit in truth.visits if visit.payer == payer)
    people = {visit.shopper for visit in truth.visits if visit.payer == payer}
    return WrongLine(
        payer=payer,
        sku=sku,
        product=names.get(sku, sku),
        charged=charged,
        due=due,
        statuses=tuple(visit.status for visit in visits),
        deeds=tuple(
            Deed(
                seconds(deed.time_ns),
                deed.shopper,
                who,
                deed.kind,
                _place(deed),
                deed.sku,
                "something foreign" if deed.sku is None else names.get(deed.sku, deed.sku),
                deed.quantity,
            )
            for deed, who in sorted(deeds, key=lambda entry: entry[0].time_ns)
        ),
        beliefs=tuple(
            Belief(
                seconds(belief.time_ns),
                belief.kind,
                belief.place,
                _name(names, belief.sku),
                belief.quantity,
                tuple((c.shopper, _name(names, c.sku), c.quantity, c.probability) for c in belief.candidates),
                belief.recorded_for,
                belief.delta_g,
            )
            for belief in sorted(beliefs, key=lambda belief: belief.time_ns)
        ),
        reasons=tuple(dict.fromkeys(reason for visit in visits for reason in visit.reasons)),
        stays_s=tuple(
            (seconds(stay.entered_ns), seconds(playback.end_ns if stay.left_ns is None else stay.left_ns))
            for stay in stays
        ),
        visits_s=tuple((seconds(visit.entered_ns), seconds(visit.left_ns)) for visit in visits),
        asides=tuple(
            Aside(event.t_s, event.shopper, event.action, event.quantity, event.other)
            for event in events
            if event.barcode == sku and event.action in _ASIDE and people & {event.shopper, event.other}
        ),
    )


def _name(names: dict[str, str], sku: str | None) -> str:
    return "" if sku is None else names.get(sku, sku)


def _place(deed: TrueInteraction) -> str:
    plates = ", ".join(str(number) for number in plate_numbers(deed.plate_ids))
    where = f"gondola {deed.gondola_id}, shelf {deed.shelf_id}"
    return f"{where}, plate{'s' if len(deed.plate_ids) > 1 else ''} {plates}" if plates else where
