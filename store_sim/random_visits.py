"""Random days of a shop: who comes when, what they take, and the stated share of what they do to confuse it."""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from store_sim.day import USUAL_COUNT
from store_sim.navigation import with_doors
from store_sim.rules import due_receipts
from store_sim.scenarios import Action, Place, Role, Scenario, ScenarioEvent, ScenarioProduct, ScenarioShopper
from vision.arrays import FloatArray
from vision.layout import Bin, StoreLayout

SHOPPERS_AT_ONCE = (1.0, 30.0)
CONFUSING_SHARE = 0.4
"""Share of confusing actions in the published test of the 2020 competition's store."""

PACE_MPS = 1.1  # shoppers stroll (Weidmann, 1993, gives 1.34 m/s for pavements)
LOOKING_S = (1.2, 4.0)  # before a shelf until the item leaves it
AFTER_S = 1.3  # until the hand is back and the next thing can be done
MEAN_PICKS = 3.6  # of a visit to a small shop
GROUP_SHARE, CHILD_SHARE = 0.15, 0.3  # of arrivals that are groups; of groups that have a child with them
NO_CODE_SHARE = 0.01
FAST_S, TOGETHER_S = 2.0, 1.5
"""Two picks of one person on one shelf within the first, or of two people within the second, are one jumble."""
SAME_SPOT_M = 1.2  # bins so near can be used by two people who stand beside each other
PARTNER_S = 12.0  # nobody waits longer for another
LOW_STOCK, RESTOCK_BELOW, MOST_RESTOCKED = 2, 5, 8
TRIAL_VISITS = 40  # from which the mean length of a visit is measured before the day is made


@dataclass(frozen=True, slots=True)
class Confusion:
    """How much of what shoppers do is confusing.

    Attributes:
        actions: Events of shoppers; staff do not count.
        confusing: Those that are not an ordinary pick: see :func:`confusion_of`.
    """

    actions: int
    confusing: int

    @property
    def share(self) -> float:
        """Confusing actions over all; nan without any."""
        return self.confusing / self.actions if self.actions else math.nan


def confusion_of(scenario: Scenario, layout: StoreLayout) -> Confusion:
    """Count the actions of a scenario that are confusing.

    Ordinary is to take one unit of what belongs there. Confusing is everything else: other actions, several units in
    one grip, two picks of one person on one shelf within 2 s, two people on one shelf within 1.5 s, and to take what
    somebody else has misplaced.
    """
    planned: dict[str, set[str]] = {}
    for a_bin in layout.bins:
        for plate_id in a_bin.plate_ids:
            planned.setdefault(plate_id, set()).add(str(a_bin.sku))
    staff = {shopper.shopper_id for shopper in scenario.shoppers if shopper.role is Role.STAFF}
    events = [event for event in scenario.events if event.shopper not in staff]
    confusing = 0
    for row, event in enumerate(events):
        ordinary = event.action is Action.PICK and event.quantity == 1 and not _is_crowded(events, row)
        if ordinary and event.place is not None and event.place.plates:
            ordinary = any(event.barcode in planned.get(plate_id, ()) for plate_id in event.place.plate_ids)
        confusing += not ordinary
    return Confusion(len(events), confusing)


def _is_crowded(events: Sequence[ScenarioEvent], row: int) -> bool:
    """Whether something else happens on the same shelf at about the time of an event."""
    event = events[row]
    for step in (-1, 1):
        other = row + step
        while 0 <= other < len(events) and abs(events[other].t_s - event.t_s) <= FAST_S:
            there = events[other].place
            if there is not None and event.place is not None:
                same = (there.gondola, there.shelf) == (event.place.gondola, event.place.shelf)
                own = events[other].shopper == event.shopper and events[other].action is Action.PICK
                if same and (own or abs(events[other].t_s - event.t_s) <= TOGETHER_S):
                    return True
            other += step
    return False


def random_scenario(
    layout: StoreLayout,
    rng: np.random.Generator,
    *,
    visits: int | None = None,
    seconds: float | None = None,
    shoppers_at_once: float = 3.0,
    confusing_share: float = CONFUSING_SHARE,
    name: str = "random day",
    site: str = "",
) -> Scenario:
    """Write a random day of a shop.

    Shoppers come as a Poisson process, alone and in groups; the first are there from the beginning. They take 3 to 4
    things on average. Shelves are restocked by staff before they are empty. Times are what walking takes at an ordinary
    pace; play it with ``World(keeps_order=False)``, so that nobody waits for strangers who are late.

    Args:
        layout: The shop; its bins need boxes, gondola and shelf.
        rng: Decides everything: equal generators give equal days.
        visits: How many people come; or give ``seconds``.
        seconds: How long people come; the last ones finish what they do.
        shoppers_at_once: How many are inside on average, 1 to 30.
        confusing_share: Share of the actions that are confusing, 0 to 0.8: see :func:`confusion_of`.
        name: Of the scenario.
        site: What the scenario says of where it plays.

    Raises:
        ValueError: A number is out of range, or no bin of the layout has a product and a place.
    """
    if (visits is None) == (seconds is None):
        raise ValueError("random_scenario: expected either visits or seconds")
    if not (visits or seconds or 0) > 0:
        raise ValueError(f"random_scenario: expected at least one visit or second, got {visits or seconds}")
    if not SHOPPERS_AT_ONCE[0] <= shoppers_at_once <= SHOPPERS_AT_ONCE[1]:
        raise ValueError(f"random_scenario: shoppers_at_once: expected 1 to 30, got {shoppers_at_once}")
    if not 0 <= confusing_share <= 0.8:
        raise ValueError(f"random_scenario: confusing_share: expected 0 to 0.8, got {confusing_share}")
    layout = with_doors(layout)
    trial = _Day(layout, np.random.default_rng(rng.integers(2**63)), confusing_share)
    trial.play(TRIAL_VISITS, math.inf, 1.0, 30.0)
    day = _Day(layout, np.random.default_rng(rng.integers(2**63)), confusing_share)
    day.play(
        math.inf if visits is None else visits, math.inf if seconds is None else seconds, shoppers_at_once, trial.stay_s
    )
    events = tuple(event for _, _, event in sorted(day.events, key=lambda entry: entry[:2]))
    named = {event.barcode for event in events}
    scenario = Scenario(
        name=name,
        class_name="random",
        site=site,
        shoppers=tuple(sorted(day.shoppers(), key=lambda shopper: shopper.enters_at_s)),
        events=events,
        products=tuple(
            ScenarioProduct(product.sku, product.name, None if math.isnan(product.mass_g) else product.mass_g)
            for product in layout.products
            if product.sku in named
        ),
    )
    counted = confusion_of(scenario, layout)
    note = f"{counted.confusing} of {counted.actions} actions of shoppers are confusing"
    return replace(scenario, receipts=due_receipts(scenario), notes=(note,))


@dataclass(slots=True)
class _Person:
    """Somebody who is inside, or about to come in.

    Attributes:
        shopper: As the scenario lists them.
        at_m: Where they were last, shape (2,).
        free_s: When they can do the next thing.
        wishes: How many things they still want.
        later: What they have still to do before they go, as (what, from when).
        turn: Rises when somebody else has made plans for them.
    """

    shopper: ScenarioShopper
    at_m: FloatArray
    free_s: float
    wishes: int
    later: list[tuple[Callable[["_Person"], None], float]] = field(default_factory=list)
    turn: int = 0

    @property
    def name(self) -> str:
        return self.shopper.shopper_id


@dataclass(slots=True)
class _Shelved:
    """A bin with a product.

    Attributes:
        place: As scenarios name it.
        sku: Its product.
        front_m: Where somebody stands who uses it, shape (2,), metres.
    """

    place: Place
    sku: str
    front_m: FloatArray


@dataclass(frozen=True, slots=True)
class _Stray:
    """A unit that stands where it does not belong, from a time on."""

    place: Place
    sku: str
    front_m: FloatArray
    from_s: float


class _Day:
    """A shop while a day of it is made up, always going on with who is free first."""

    def __init__(self, layout: StoreLayout, rng: np.random.Generator, confusing_share: float) -> None:
        self._rng = rng
        self._wanted_share = confusing_share
        self._bins = [_shelved(a_bin) for a_bin in layout.bins if _is_usable(a_bin)]
        if not self._bins:
            raise ValueError(f"layout {layout.name}: expected bins with a product, a box, a gondola and a shelf")
        self._counts = np.full(len(self._bins), USUAL_COUNT)  # units that are there and promised to nobody
        self._fronts = np.array([a_bin.front_m for a_bin in self._bins])
        self._neighbours: dict[tuple[int, int], list[int]] = {}
        for row, a_bin in enumerate(self._bins):
            self._neighbours.setdefault((a_bin.place.gondola, a_bin.place.shelf), []).append(row)
        # What sells best sells many times more than what sells worst; log-normal popularity.
        self._popularity = np.exp(0.8 * rng.standard_normal(len(self._bins)))
        self._way_in_m, self._way_out_m = np.zeros((2, 2))
        if layout.entrance_m is not None and layout.exit_m is not None:
            self._way_in_m, self._way_out_m = layout.entrance_m.mean(axis=0), layout.exit_m.mean(axis=0)
        self.events: list[tuple[float, int, ScenarioEvent]] = []
        self._present: dict[str, _Person] = {}
        self._gone: list[_Person] = []
        self._queue: list[tuple[float, int, int, _Person]] = []
        self._queued = 0
        self._arriving: list[tuple[float, int, int]] = []  # units on their way back into a bin: when, which, how many
        self._strays: list[_Stray] = []
        self._ordinary = self._confusing = 0
        self._busy: dict[tuple[int, int], list[float]] = {}  # when something happens on a shelf
        self._staff = 0
        self._staff_inside = False
        self._stays_s: list[float] = []

    @property
    def stay_s(self) -> float:
        """How long people stayed on average."""
        return float(np.mean(self._stays_s)) if self._stays_s else 30.0

    def shoppers(self) -> list[ScenarioShopper]:
        """Everybody who came."""
        return [person.shopper for person in self._gone]

    def play(self, visits: float, seconds: float, at_once: float, stay_s: float) -> None:
        """Let people come until there are enough, and finish what they do."""
        rng = self._rng
        count = 0
        for _ in range(round(at_once)):
            # Those of the beginning are somewhere in the middle of their visits.
            if count < visits:
                share = float(rng.random())
                count += self._arrive(float(rng.uniform(0.5, 1 + 1.2 * at_once)), share, int(min(visits - count, 1)))
        mean_size = 1 + GROUP_SHARE * 1.3
        gap_s = stay_s * mean_size / at_once
        next_s = 1 + float(rng.exponential(gap_s))
        while True:
            waits_s = self._queue[0][0] if self._queue else math.inf
            if count < visits and next_s <= seconds and next_s <= waits_s:
                size = int(min(visits - count, 2 + (rng.random() < 0.3))) if rng.random() < GROUP_SHARE else 1
                count += self._arrive(next_s, 1.0, size)
                next_s += float(rng.exponential(gap_s))
            elif self._queue:
                now_s, _, turn, person = heapq.heappop(self._queue)
                if person.turn == turn:
                    self._settle(now_s)
                    self._go_on(person)
            else:
                break

    def _arrive(self, at_s: float, share: float, size: int) -> int:
        rng = self._rng
        number = len(self._present) + len(self._gone) + 1
        group = f"group {number}" if size > 1 else None
        has_code = rng.random() >= NO_CODE_SHARE
        for k in range(size):
            is_child = k == size - 1 > 0 and rng.random() < CHILD_SHARE
            shopper = ScenarioShopper(
                f"shopper {number + k}",
                _rounded(at_s + k * float(rng.uniform(0.8, 1.6))),
                group=group,
                checks_in=bool(has_code and not is_child),
                role=Role.CHILD if is_child else Role.SHOPPER,
            )
            picks = 1 + int(rng.poisson(MEAN_PICKS - 1)) if not is_child else 1
            self._enter(shopper, max(1, round(picks * share)))
        return size

    def _enter(self, shopper: ScenarioShopper, wishes: int) -> None:
        person = _Person(shopper, self._way_in_m, shopper.enters_at_s + 2.0, wishes)
        self._present[person.name] = person
        self._wait(person)

    def _wait(self, person: _Person) -> None:
        person.turn += 1
        self._queued += 1
        heapq.heappush(self._queue, (person.free_s, self._queued, person.turn, person))

    def _settle(self, now_s: float) -> None:
        """Let units that were put back be there, and staff come when shelves run low."""
        while self._arriving and self._arriving[0][0] <= now_s:
            _, row, units = heapq.heappop(self._arriving)
            self._counts[row] += units
        if not self._staff_inside and self._counts.min() <= LOW_STOCK:
            self._staff += 1
            self._staff_inside = True
            self._enter(ScenarioShopper(f"staff {self._staff}", _rounded(now_s + 2.0), role=Role.STAFF), MOST_RESTOCKED)

    def _go_on(self, person: _Person) -> None:
        if person.shopper.role is Role.STAFF:
            if not self._restock(person):
                self._leave(person)
                return
        elif person.wishes > 0 and not (person.later and self._rng.random() < 0.3):
            self._act(person)
        elif person.later:
            what, from_s = person.later.pop(0)
            person.free_s = max(person.free_s, from_s)
            what(person)
        else:
            self._leave(person)
            return
        self._wait(person)

    def _leave(self, person: _Person) -> None:
        person.shopper = replace(person.shopper, leaves_at_s=_rounded(person.free_s + 0.5))
        del self._present[person.name]
        self._gone.append(person)
        if person.shopper.role is Role.STAFF:
            self._staff_inside = False
        else:
            out_s = person.free_s + _walk_s(person.at_m, self._way_out_m)
            self._stays_s.append(out_s - person.shopper.enters_at_s)

    def _restock(self, person: _Person) -> bool:
        low = np.flatnonzero(self._counts < RESTOCK_BELOW).tolist()
        on_the_way = {row for _, row, _ in self._arriving}
        low = [row for row in low if row not in on_the_way]
        if not low or not person.wishes:
            return False
        row = min(low, key=lambda k: (round(_walk_s(person.at_m, self._bins[k].front_m), 1), k))
        a_bin = self._bins[row]
        t_s = self._reach(person, a_bin.front_m, a_bin.place) + 2.0
        units = USUAL_COUNT - int(self._counts[row])
        self._event(t_s, person, Action.RESTOCK, a_bin.sku, a_bin.place, quantity=units)
        heapq.heappush(self._arriving, (t_s + 1.0, row, units))
        person.wishes -= 1
        person.free_s = t_s + 2.0
        return True

    # What shoppers do. Every deed leaves its people free at the time when it is over.

    def _act(self, person: _Person) -> None:
        total = self._ordinary + self._confusing
        # Steered towards the wanted share, gently, so that neither kind comes in blocks.
        lacking = self._wanted_share * (total + 1) - self._confusing
        chance = np.clip(self._wanted_share + 0.3 * lacking, 0.0, 1.0) if self._wanted_share else 0.0
        if self._rng.random() < chance:
            deeds = [deed for deed, _ in _DEEDS]
            weights = np.array([weight for _, weight in _DEEDS])
            order = self._rng.choice(len(deeds), len(deeds), replace=False, p=weights / weights.sum())
            for k in order.tolist():
                if deeds[k](self, person):
                    return
        row = self._wish(person)
        if row is None:
            person.wishes = 0
            return
        self._pick(person, row)
        self._ordinary += 1

    def _wish(self, person: _Person, units: int = 1) -> int | None:
        """A bin that somebody wants something from: popular, rather near, and with enough in it."""
        far_m = np.abs(self._fronts - person.at_m).sum(axis=1)
        weight = self._popularity * np.exp(-far_m / 8.0) * (self._counts >= units)
        total = weight.sum()
        return int(self._rng.choice(len(weight), p=weight / total)) if total > 0 else None

    def _reach(self, person: _Person, front_m: FloatArray, place: Place) -> float:
        """Walk somebody to a place and let them wait for their turn; returns when their hand can be at it."""
        t_s = person.free_s + _walk_s(person.at_m, front_m) + float(self._rng.uniform(*LOOKING_S))
        person.at_m = front_m
        busy = self._busy.get((place.gondola, place.shelf), [])
        while any(abs(t_s - other_s) < FAST_S for other_s in busy):
            t_s += FAST_S / 2
        return t_s

    def _pick(self, person: _Person, row: int, *, units: int = 1, t_s: float | None = None) -> float:
        a_bin = self._bins[row]
        if t_s is None:
            t_s = self._reach(person, a_bin.front_m, a_bin.place)
        self._counts[row] -= units
        self._event(t_s, person, Action.PICK, a_bin.sku, a_bin.place, quantity=units)
        person.at_m = a_bin.front_m
        person.free_s = t_s + AFTER_S
        person.wishes -= 1
        return t_s

    def _event(
        self,
        t_s: float,
        person: _Person,
        action: Action,
        sku: str | None = None,
        place: Place | None = None,
        *,
        quantity: int = 1,
        seconds: float | None = None,
        other: str | None = None,
        mass_g: float | None = None,
    ) -> None:
        event = ScenarioEvent(_rounded(t_s), person.name, action, sku, quantity, place, seconds, other, mass_g)
        self.events.append((event.t_s, len(self.events), event))
        if place is not None:
            self._busy.setdefault((place.gondola, place.shelf), []).append(event.t_s)

    def _beside(self, row: int, *, same: bool = False) -> list[int]:
        """Bins with stock on the same shelf that can be used by somebody who stands beside; nearest first."""
        key = (self._bins[row].place.gondola, self._bins[row].place.shelf)
        away = {k: float(np.abs(self._fronts[k] - self._fronts[row]).sum()) for k in self._neighbours[key]}
        near = [k for k, far_m in away.items() if far_m <= SAME_SPOT_M and self._counts[k] > 0 and (same or k != row)]
        return sorted(near, key=lambda k: (away[k], k))

    def _partner(self, person: _Person, *, of_group: bool = False) -> _Person | None:
        """Somebody else who is free at about the same time; rather one of the own group."""
        others = [
            other
            for other in self._present.values()
            if other is not person
            and other.shopper.role is not Role.STAFF
            and abs(other.free_s - person.free_s) < PARTNER_S
            and other.shopper.enters_at_s + 2.0 <= max(person.free_s, other.free_s)
        ]
        own = [other for other in others if other.shopper.group and other.shopper.group == person.shopper.group]
        if own:
            return own[int(self._rng.integers(len(own)))]
        return others[int(self._rng.integers(len(others)))] if others and not of_group else None

    def _meet(self, person: _Person, other: _Person, row: int) -> float:
        """Walk two people to one bin; returns when both are there."""
        a_bin = self._bins[row]
        return max(self._reach(who, a_bin.front_m, a_bin.place) for who in (person, other))

    def _several(self, person: _Person) -> bool:
        units = 2 if self._rng.random() < 0.75 else 3
        row = self._wish(person, units)
        if row is None:
            return False
        beside = self._beside(row)
        if beside and self._rng.random() < 0.25:
            t_s = self._pick(person, row)
            self._pick(person, beside[0], t_s=t_s)
            self._confusing += 2
        else:
            self._pick(person, row, units=units)
            self._confusing += 1
        return True

    def _chain(self, person: _Person) -> bool:
        row = self._wish(person)
        if row is None or len(self._beside(row)) < 1:
            return False
        t_s = self._pick(person, row)
        self._confusing += 1
        for other in self._beside(row)[: int(self._rng.integers(1, 4))]:
            t_s += float(self._rng.uniform(1.1, 1.8))
            self._pick(person, other, t_s=t_s)
            self._confusing += 1
        return True

    def _touch(self, person: _Person) -> bool:
        a_bin = self._bins[int(self._rng.integers(len(self._bins)))]
        seconds = _rounded(float(self._rng.uniform(0.6, 2.5)))
        t_s = self._reach(person, a_bin.front_m, a_bin.place)
        self._event(t_s, person, Action.TOUCH, None, a_bin.place, seconds=seconds)
        person.free_s = t_s + seconds + AFTER_S
        self._confusing += 1
        return True

    def _hold(self, person: _Person) -> bool:
        row = self._wish(person, 2)
        if row is None:
            return False
        seconds = _rounded(float(self._rng.uniform(1.5, 6.0)))
        t_s = self._reach(person, self._bins[row].front_m, self._bins[row].place)
        self._event(t_s, person, Action.HOLD, self._bins[row].sku, self._bins[row].place, seconds=seconds)
        person.free_s = t_s + seconds + AFTER_S
        self._confusing += 1
        if self._rng.random() < 0.4:  # looked at it, then takes it
            self._pick(person, row, t_s=person.free_s + 0.8)
            self._ordinary += 1
        return True

    def _put_back_right(self, person: _Person) -> bool:
        row = self._wish(person)
        if row is None:
            return False
        t_s = self._pick(person, row)
        self._ordinary += 1
        person.later.append((lambda who: self._return(who, row), t_s + float(self._rng.uniform(2.5, 6.0))))
        return True

    def _return(self, person: _Person, row: int) -> None:
        a_bin = self._bins[row]
        t_s = self._reach(person, a_bin.front_m, a_bin.place)
        self._event(t_s, person, Action.PUT_BACK, a_bin.sku, a_bin.place)
        heapq.heappush(self._arriving, (t_s + 2.0, row, 1))
        person.free_s = t_s + AFTER_S
        self._confusing += 1

    def _put_back_wrong(self, person: _Person) -> bool:
        row = self._wish(person)
        if row is None:
            return False
        t_s = self._pick(person, row)
        self._ordinary += 1
        person.later.append((lambda who: self._misplace(who, row), t_s + 2.5))
        return True

    def _misplace(self, person: _Person, row: int) -> None:
        sku = self._bins[row].sku
        near = np.abs(self._fronts - person.at_m).sum(axis=1)
        choices = [k for k, a_bin in enumerate(self._bins) if a_bin.sku != sku and a_bin.place.plates]
        if not choices:
            self._return(person, row)
            return
        choices.sort(key=lambda k: (float(near[k]), k))
        there = self._bins[choices[int(self._rng.integers(min(len(choices), 25)))]]
        place = replace(there.place, plates=there.place.plates[:1])
        t_s = self._reach(person, there.front_m, there.place)
        self._event(t_s, person, Action.PUT_BACK, sku, place)
        self._strays.append(_Stray(place, sku, there.front_m, t_s + 2.0))
        person.free_s = t_s + AFTER_S
        self._confusing += 1

    def _buy_misplaced(self, person: _Person) -> bool:
        for row, stray in enumerate(self._strays):
            if stray.from_s < person.free_s:
                del self._strays[row]
                t_s = self._reach(person, stray.front_m, stray.place)
                self._event(t_s, person, Action.PICK, stray.sku, stray.place)
                person.free_s = t_s + AFTER_S
                person.wishes -= 1
                self._confusing += 1
                return True
        return False

    def _two_at_once(self, person: _Person) -> bool:
        other, row = self._partner(person), self._wish(person, 2)
        if other is None or row is None:
            return False
        beside = self._beside(row, same=True)
        t_s = self._meet(person, other, row)
        self._pick(person, row, t_s=t_s)
        place = int(self._rng.integers(min(3, len(beside))))
        self._pick(other, beside[place], t_s=t_s + float(self._rng.uniform(0, TOGETHER_S - 0.3)))
        self._confusing += 2
        if self._rng.random() < 0.15:
            t_s += 3.0
            self._event(t_s, person, Action.SWAP_PLACE, other=other.name)
            person.free_s = other.free_s = t_s + 2.5
            self._confusing += 1
        self._wait(other)
        return True

    def _reach_across(self, person: _Person) -> bool:
        other, row = self._partner(person), self._wish(person, 2)
        if other is None or row is None:
            return False
        beside = self._beside(row, same=True)
        t_s = self._meet(person, other, row)
        self._event(t_s, other, Action.HOLD, self._bins[row].sku, self._bins[row].place, seconds=6.0)
        self._event(t_s + 1.5, person, Action.REACH_ACROSS, other=other.name)
        self._pick(person, beside[min(1, len(beside) - 1)], t_s=t_s + 3.0)
        other.free_s = t_s + 6.0 + AFTER_S
        self._confusing += 2
        self._ordinary += 1
        self._wait(other)
        return True

    def _hand_over(self, person: _Person) -> bool:
        other, row = self._partner(person, of_group=bool(self._rng.random() < 0.6)), self._wish(person)
        if other is None or row is None:
            return False
        t_s = self._pick(person, row)
        self._ordinary += 1
        t_s = max(t_s + 2.5, other.free_s + _walk_s(other.at_m, person.at_m) + 1.0)
        self._event(t_s, person, Action.HAND_OVER, self._bins[row].sku, other=other.name)
        self._confusing += 1
        person.free_s = other.free_s = t_s + AFTER_S
        other.at_m = person.at_m
        if self._rng.random() < 0.5:
            other.later.append((lambda who: self._return(who, row), t_s + 2.5))
        self._wait(other)
        return True

    def _use_up(self, person: _Person) -> bool:
        row = self._wish(person)
        if row is None:
            return False
        draw = self._rng.random()
        action = Action.CONCEAL if draw < 0.4 else Action.CONSUME if draw < 0.75 else Action.DROP
        t_s = self._pick(person, row) + float(self._rng.uniform(2.0, 4.0))
        self._event(t_s, person, action, self._bins[row].sku)
        # Eating takes a while; nobody does it within a second.
        person.free_s = t_s + (5.0 if action is Action.CONSUME else 2.0)
        self._ordinary += 1
        self._confusing += 1
        return True

    def _foreign(self, person: _Person) -> bool:
        choices = [a_bin for a_bin in self._bins if a_bin.place.plates]
        if not choices:
            return False
        a_bin = choices[int(self._rng.integers(len(choices)))]
        mass_g = round(float(np.exp(self._rng.uniform(np.log(40), np.log(800)))), 1)
        place = replace(a_bin.place, plates=a_bin.place.plates[:1])
        t_s = self._reach(person, a_bin.front_m, a_bin.place)
        self._event(t_s, person, Action.PLACE_FOREIGN, place=place, mass_g=mass_g)
        person.free_s = t_s + AFTER_S
        self._confusing += 1

        def take_back(who: _Person) -> None:
            taken_s = self._reach(who, a_bin.front_m, a_bin.place)
            self._event(taken_s, who, Action.TAKE_FOREIGN, place=place, mass_g=mass_g)
            who.free_s = taken_s + AFTER_S
            self._confusing += 1

        person.later.append((take_back, t_s + 4.0))
        return True


_DEEDS: tuple[tuple[Callable[[_Day, _Person], bool], float], ...] = (
    (_Day._put_back_right, 0.2),
    (_Day._put_back_wrong, 0.13),
    (_Day._touch, 0.13),
    (_Day._hold, 0.1),
    (_Day._several, 0.13),
    (_Day._chain, 0.07),
    (_Day._two_at_once, 0.06),
    (_Day._buy_misplaced, 0.05),
    (_Day._hand_over, 0.05),
    (_Day._reach_across, 0.03),
    (_Day._use_up, 0.03),
    (_Day._foreign, 0.02),
)
"""What confuses, and how often each comes beside the others: put-backs and touches are what real shoppers do most."""


def _is_usable(a_bin: Bin) -> bool:
    return None not in (a_bin.sku, a_bin.box, a_bin.gondola_id, a_bin.shelf_id)


def _shelved(a_bin: Bin) -> _Shelved:
    assert a_bin.box is not None and a_bin.gondola_id is not None and a_bin.shelf_id is not None  # noqa: PT018
    numbers = tuple(int(plate_id.rsplit("/", 1)[-1]) for plate_id in a_bin.plate_ids)
    front = (a_bin.box.world_from_box @ [a_bin.box.size_m[0] / 2, -0.4, 0, 1])[:2]
    return _Shelved(Place(a_bin.gondola_id, a_bin.shelf_id, numbers), str(a_bin.sku), np.asarray(front))


def _walk_s(start_m: FloatArray, end_m: FloatArray) -> float:
    """How long a walk takes; fixtures stand along the axes, so the way around them is about that over the corner."""
    way_m = float(abs(end_m[0] - start_m[0]) + abs(end_m[1] - start_m[1]))
    return way_m / PACE_MPS + (0.6 if way_m > 0.3 else 0.0)


def _rounded(seconds: float) -> float:
    return round(seconds, 2)
