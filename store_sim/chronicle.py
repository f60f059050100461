"""Writes down what really happens in the simulated store, and works out from it what everybody owes."""

from collections.abc import Mapping, Sequence

from store_sim.rules import payers
from store_sim.scenarios import Place, Role, Scenario
from store_sim.stock import FOREIGN_SKU, NOBODY, Stock
from store_sim.truth import TrueInteraction, TrueLine, TrueReceipt, TrueVisit, Truth
from vision.shelf import Handling


class Chronicle:
    """Everything up to now, kept from the world's own doings and not from the scenario."""

    def __init__(self, scenario: Scenario, stock: Stock) -> None:
        """Begin with nothing.

        Args:
            scenario: Says who pays for whom.
            stock: Knows who took each unit off a shelf last.
        """
        self._shoppers = scenario.shoppers
        self._payers = payers(scenario)
        self._stock = stock
        self._interactions: list[TrueInteraction] = []
        self._visits: dict[int, TrueVisit] = {}
        self._count = 0
        self._used: list[int] = []
        self._told = 0

    @property
    def people_inside(self) -> int:
        """How many have come in and not yet gone."""
        return sum(visit.left_ns is None for visit in self._visits.values())

    def payer(self, shopper_id: str) -> str | None:
        """Who pays for somebody; None for nobody."""
        return self._payers[shopper_id]

    def pays(self, shopper_id: str, payer: str | None) -> None:
        """Somebody else has this body from now on, and another payer; None for nobody."""
        self._payers[shopper_id] = payer

    def forget(self) -> None:
        """Forget what was told, who has left, and what is owed for; who is inside is kept."""
        del self._interactions[: self._told]
        self._told = 0
        self._visits = {number: visit for number, visit in self._visits.items() if visit.left_ns is None}
        self._used.clear()

    def come_in(self, shopper_id: str, time_ns: int) -> int:
        """Somebody crosses the entrance; returns the number of the visit."""
        self._visits[self._count] = TrueVisit(shopper_id, self._payers[shopper_id], time_ns, None)
        self._count += 1
        return self._count - 1

    def go_out(self, visit: int, time_ns: int) -> None:
        """Somebody crosses the exit."""
        begun = self._visits[visit]
        self._visits[visit] = TrueVisit(begun.shopper, begun.payer, begun.entered_ns, time_ns)

    def use(self, units: Sequence[int]) -> None:
        """Units leave the store, or are used up in it: now they are owed for."""
        self._used += units

    def note(
        self,
        shopper_id: str,
        kind: Handling,
        time_ns: int,
        place: Place,
        change_g: Mapping[str, float],
        sku: str | None,
        quantity: int,
    ) -> None:
        """Units left a shelf or reached one; the plates are told from the one that felt it most."""
        plates = tuple(sorted(change_g, key=lambda plate_id: (-change_g[plate_id], plate_id)))
        self._interactions.append(
            TrueInteraction(shopper_id, kind, time_ns, place.gondola, place.shelf, plates, sku, quantity)
        )

    def news(self) -> tuple[TrueInteraction, ...]:
        """What was noted since this was last asked."""
        told, self._told = self._told, len(self._interactions)
        return tuple(self._interactions[told:])

    def truth(self) -> Truth:
        """What has happened up to now.

        The payer of whoever took a unit off a shelf last owes for it once it has left or was used up, also when
        somebody else carried it out. Staff owe nothing; what people without a payer took is listed apart.
        """
        owed: dict[str, dict[str, int]] = {shopper: {} for shopper, payer in self._payers.items() if payer == shopper}
        owed |= {visit.payer: {} for visit in self._visits.values() if visit.payer is not None}
        unpaid: dict[tuple[int, str], int] = {}
        for unit in self._used:
            sku = self._stock.skus[int(self._stock.sku_index[unit])]
            taker = int(self._stock.taker[unit])
            if taker == NOBODY or sku == FOREIGN_SKU:
                continue
            shopper = self._shoppers[taker]
            payer = self._payers[shopper.shopper_id]
            if payer is not None:
                owed[payer][sku] = owed[payer].get(sku, 0) + 1
            elif shopper.role is not Role.STAFF:
                unpaid[taker, sku] = unpaid.get((taker, sku), 0) + 1
        return Truth(
            tuple(self._interactions),
            tuple(self._visits.values()),
            tuple(
                TrueReceipt(payer, tuple(TrueLine(sku, lines[sku]) for sku in sorted(lines)))
                for payer, lines in owed.items()
            ),
            tuple((self._shoppers[row].shopper_id, sku, count) for (row, sku), count in sorted(unpaid.items())),
        )
