"""The rules of scenarios: who pays for what, and what can happen at all, played on paper.

:func:`due_receipts` applies the format's rule of who pays; :func:`check_scenario` refuses what cannot happen in a given
store.

Which of several like units goes first, when somebody holds some that different people took off the shelves, is not in
the format. Here the unit that came into their hands last goes first, and what is in the hands before what is hidden
in a pocket.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from store_sim.day import bins_at, day_layout, reach_of, starting_stock
from store_sim.scenarios import Action, Role, Scenario, ScenarioEvent, errors_at
from vision.layout import Bin, StoreLayout


def payers(scenario: Scenario) -> dict[str, str | None]:
    """Say who pays for each shopper: themselves, another of their group, or nobody (None: no code, or staff)."""
    by_group: dict[str, str] = {}
    for shopper in scenario.shoppers:
        if shopper.group is not None and shopper.checks_in and shopper.role is not Role.STAFF:
            by_group.setdefault(shopper.group, shopper.shopper_id)
    found: dict[str, str | None] = {}
    for shopper in scenario.shoppers:
        if shopper.role is Role.STAFF:
            found[shopper.shopper_id] = None
        elif shopper.group is not None:
            found[shopper.shopper_id] = by_group.get(shopper.group)
        else:
            found[shopper.shopper_id] = shopper.shopper_id if shopper.checks_in else None
    return found


@dataclass(slots=True)
class _Held:
    """A unit away from the shelves."""

    barcode: str
    taker: str
    is_hidden: bool = False


class _Hands:
    """What everybody holds while a scenario is played on paper, newest last."""

    def __init__(self, scenario: Scenario) -> None:
        self._held: dict[str, list[_Held]] = {shopper.shopper_id: [] for shopper in scenario.shoppers}

    def take(self, shopper: str, units: Iterable[_Held]) -> None:
        """Add units to somebody's hands."""
        self._held[shopper].extend(units)

    def release(self, shopper: str, barcode: str, quantity: int) -> list[_Held]:
        """Take units out of somebody's hands, the newest first and what they hide last.

        Raises:
            ValueError: They do not hold so many.
        """
        own = [unit for unit in self._held[shopper] if unit.barcode == barcode]
        if len(own) < quantity:
            raise ValueError(f"{shopper} holds {len(own)} of {barcode}, not {quantity}")
        own.sort(key=lambda unit: not unit.is_hidden)
        released = own[len(own) - quantity :][::-1]
        self._held[shopper] = [unit for unit in self._held[shopper] if all(unit is not gone for gone in released)]
        for unit in released:
            unit.is_hidden = False
        return released

    def conceal(self, shopper: str, barcode: str, quantity: int) -> None:
        """Hide units that somebody shows in their hands.

        Raises:
            ValueError: They do not show so many.
        """
        shown = [unit for unit in self._held[shopper] if unit.barcode == barcode and not unit.is_hidden]
        if len(shown) < quantity:
            raise ValueError(f"{shopper} holds {len(shown)} of {barcode}, not {quantity}")
        for unit in shown[len(shown) - quantity :]:
            unit.is_hidden = True

    def carry_out(self, shopper: str) -> list[_Held]:
        """Let somebody leave with all they have."""
        units, self._held[shopper] = self._held[shopper], []
        return units


def _used_up(scenario: Scenario) -> list[_Held]:
    """Play the events on paper and give every unit that left the store or was used up in it, in that order."""
    hands = _Hands(scenario)
    gone: list[_Held] = []
    returning = sorted((s.returns_at_s, s.shopper_id) for s in scenario.shoppers if s.returns_at_s is not None)
    for number, event in enumerate(scenario.events, start=1):
        while returning and returning[0][0] <= event.t_s:
            gone += hands.carry_out(returning.pop(0)[1])
        with errors_at(f"{scenario.origin}: event {number}"):
            gone += _move(hands, event)
    for shopper in scenario.shoppers:
        gone += hands.carry_out(shopper.shopper_id)
    return gone


def _move(hands: _Hands, event: ScenarioEvent) -> list[_Held]:
    """Change who holds what as one event does; returns the units it used up."""
    if event.barcode is None:
        return []
    if event.action is Action.PICK:
        hands.take(event.shopper, [_Held(event.barcode, event.shopper) for _ in range(event.quantity)])
    elif event.action is Action.CONCEAL:
        hands.conceal(event.shopper, event.barcode, event.quantity)
    elif event.action in (Action.PUT_BACK, Action.DROP):
        hands.release(event.shopper, event.barcode, event.quantity)
    elif event.action is Action.HAND_OVER and event.other is not None:
        hands.take(event.other, hands.release(event.shopper, event.barcode, event.quantity)[::-1])
    elif event.action is Action.CONSUME:
        return hands.release(event.shopper, event.barcode, event.quantity)
    return []


def due_receipts(scenario: Scenario) -> dict[str, dict[str, int]]:
    """Say what each payer owes, by the format's rule and from the events alone.

    The payer of whoever took a unit off a shelf last pays for it if it leaves the store or is used up in it.

    Returns:
        Payer -> barcode -> quantity, payers as listed, barcodes sorted; who pays and owes nothing has an empty one.

    Raises:
        ValueError: Somebody puts back, passes on, drops, hides or uses what they do not hold.
    """
    paying = payers(scenario)
    due: dict[str, dict[str, int]] = {shopper: {} for shopper, payer in paying.items() if payer == shopper}
    for unit in _used_up(scenario):
        payer = paying[unit.taker]
        if payer is not None:
            due[payer][unit.barcode] = due[payer].get(unit.barcode, 0) + 1
    return {payer: dict(sorted(lines.items())) for payer, lines in due.items()}


def due_unpaid(scenario: Scenario) -> tuple[tuple[str, str, int], ...]:
    """Say what people without a payer took for good, staff aside: (shopper, barcode, quantity), as listed, sorted.

    Raises:
        ValueError: As :func:`due_receipts`.
    """
    paying = payers(scenario)
    shoppers = {shopper.shopper_id: shopper for shopper in scenario.shoppers}
    lost: dict[tuple[str, str], int] = {}
    for unit in _used_up(scenario):
        if paying[unit.taker] is None and shoppers[unit.taker].role is not Role.STAFF:
            lost[unit.taker, unit.barcode] = lost.get((unit.taker, unit.barcode), 0) + 1
    place = {shopper.shopper_id: row for row, shopper in enumerate(scenario.shoppers)}
    return tuple(
        (shopper, barcode, lost[shopper, barcode])
        for shopper, barcode in sorted(lost, key=lambda key: (place[key[0]], key[1]))
    )


def receipt_differences(scenario: Scenario) -> tuple[str, ...]:
    """Say where a scenario's own receipts differ from the rule, one sentence each; empty if it has none or they agree.

    Raises:
        ValueError: As :func:`due_receipts`.
    """
    if scenario.receipts is None:
        return ()
    due = due_receipts(scenario)
    found = []
    for payer in dict.fromkeys([*due, *scenario.receipts]):
        if payer not in due:
            found.append(f"{payer} has a receipt but pays for nobody")
        elif payer not in scenario.receipts:
            found.append(f"{payer} pays but has no receipt")
        own, ruled = scenario.receipts.get(payer, {}), due.get(payer, {})
        for barcode in sorted({*own, *ruled}):
            if own.get(barcode, 0) != ruled.get(barcode, 0):
                found.append(
                    f"{payer}: {barcode}: the file says {own.get(barcode, 0)}, the rule says {ruled.get(barcode, 0)}"
                )
    return tuple(found)


@dataclass(slots=True)
class _Pile:
    """Like units on one place of a shelf, while a scenario is played on paper."""

    spots: frozenset[str]
    quantity: int


class _Stage:
    """A store and its people while a scenario is played on paper."""

    def __init__(self, day: StoreLayout, scenario: Scenario) -> None:
        self._day = day
        self._hands = _Hands(scenario)
        bins = {b.bin_id: b for b in day.bins}
        self._piles: dict[str, list[_Pile]] = {}
        for stock in starting_stock(day, scenario):
            self._stand(stock.sku, _spots((bins[stock.bin_id],)), stock.quantity)
        self._foreign: list[tuple[str, frozenset[str]]] = []
        self._away: set[str] = set()
        self._shoppers = {shopper.shopper_id: shopper for shopper in scenario.shoppers}

    def play(self, event: ScenarioEvent) -> None:
        """Play one event.

        Raises:
            ValueError: It cannot happen.
        """
        self._check_inside(event.shopper, event.t_s)
        if event.other is not None:
            if event.other == event.shopper:
                raise ValueError(f"{event.action}: {event.shopper} cannot do this with themselves")
            self._check_inside(event.other, event.t_s)
        spots: frozenset[str] = frozenset()
        if event.place is not None:
            bins = bins_at(self._day, event.place)
            spots = frozenset(event.place.plate_ids) or _spots(bins)
            around = spots | _spots(bins)
            if event.action is Action.PICK and event.barcode is not None:
                self._take(event.barcode, spots, around, event.quantity)
            elif event.action is Action.HOLD and event.barcode is not None:
                self._find(event.barcode, spots, around, event.quantity)
        if event.action is Action.RESTOCK and self._shoppers[event.shopper].role is not Role.STAFF:
            raise ValueError(f"restock: {event.shopper} is not staff")
        elif event.action is Action.PLACE_FOREIGN:
            self._foreign.append((event.shopper, spots))
        elif event.action is Action.TAKE_FOREIGN:
            standing = [row for row, (_, on) in enumerate(self._foreign) if on & spots]
            if not standing:
                raise ValueError("take_foreign: nothing foreign stands there")
            own = [row for row in standing if self._foreign[row][0] == event.shopper]
            del self._foreign[(own or standing)[-1]]
        _move(self._hands, event)
        if event.action in (Action.PUT_BACK, Action.RESTOCK) and event.barcode is not None:
            self._stand(event.barcode, spots, event.quantity)

    def _stand(self, sku: str, spots: frozenset[str], quantity: int) -> None:
        self._piles.setdefault(sku, []).append(_Pile(spots, quantity))

    def _check_inside(self, shopper_id: str, t_s: float) -> None:
        shopper = self._shoppers[shopper_id]
        if t_s < shopper.enters_at_s:
            raise ValueError(f"{shopper_id} enters only at {shopper.enters_at_s:g} s")
        has_returned = shopper.returns_at_s is not None and t_s >= shopper.returns_at_s
        if has_returned and shopper_id not in self._away:
            self._away.add(shopper_id)
            self._hands.carry_out(shopper_id)
        if shopper.leaves_at_s is not None and t_s > shopper.leaves_at_s and not has_returned:
            raise ValueError(f"{shopper_id} leaves at {shopper.leaves_at_s:g} s")

    def _find(self, sku: str, spots: frozenset[str], around: frozenset[str], quantity: int) -> list[_Pile]:
        """Give the piles of a product in the bins around: what stands on the very spots first, the newest of that."""
        newest_first = self._piles.get(sku, [])[::-1]
        piles = [pile for pile in newest_first if pile.quantity and pile.spots & around]
        standing = sum(pile.quantity for pile in piles)
        if standing < quantity:
            raise ValueError(f"{standing} of {sku} stand there, not {quantity}")
        return sorted(piles, key=lambda pile: -len(pile.spots & spots) / len(pile.spots))

    def _take(self, sku: str, spots: frozenset[str], around: frozenset[str], quantity: int) -> None:
        for pile in self._find(sku, spots, around, quantity):
            taken = min(quantity, pile.quantity)
            pile.quantity -= taken
            quantity -= taken


def _spots(bins: Iterable[Bin]) -> frozenset[str]:
    """Name what bins stand on: their plates; a bin without scales is a spot of its own."""
    return frozenset(spot for b in bins for spot in (b.plate_ids or (f"bin {b.bin_id}",)))


def check_scenario(scenario: Scenario, layout: StoreLayout) -> None:
    """Play a scenario on paper and refuse it at the first thing that cannot happen in a store.

    A pick may come from any bin that stands on one of its plates, as labels made by people are only so exact.

    Args:
        scenario: The scenario.
        layout: The store's layout, before or after :func:`day_layout`.

    Raises:
        ValueError: ``FILE: event N: reason``, or the number of the fault or override that names what the store does not
            have.
    """
    day = day_layout(layout, scenario)
    for number, fault in enumerate(scenario.faults, start=1):
        with errors_at(f"{scenario.origin}: fault {number}"):
            reach_of(fault, day)
    stage = _Stage(day, scenario)
    for number, event in enumerate(scenario.events, start=1):
        with errors_at(f"{scenario.origin}: event {number}"):
            stage.play(event)
