"""Random days of random shops by number: the same number is the same shop and the same day everywhere."""

from dataclasses import dataclass

import numpy as np

from store_sim.random_shop import random_layout
from store_sim.random_visits import CONFUSING_SHARE, random_scenario
from store_sim.scenarios import Scenario
from vision.layout import StoreLayout

SHOPPERS_DRAWN = (1.0, 6.0)
"""People at once, on average, in a shop that nobody has said more about: quiet to busy."""
USUAL_VISITS = 10


@dataclass(frozen=True, slots=True)
class RandomDay:
    """A day in a shop, both made up; what is None is drawn.

    Attributes:
        number: Which one.
        gondolas: Gondolas of the shop, 3 to 60.
        products: Different products it sells, 20 to 2,000.
        visits: People who come.
        shoppers_at_once: How many of them are inside at once, on average, 1 to 30.
        confusing_share: Share of their actions that are confusing, 0 to 0.8.
    """

    number: int
    gondolas: int | None = None
    products: int | None = None
    visits: int = USUAL_VISITS
    shoppers_at_once: float | None = None
    confusing_share: float = CONFUSING_SHARE

    @property
    def name(self) -> str:
        """Name for reports and files."""
        return f"random-day-{self.number}"

    def made(self) -> tuple[StoreLayout, Scenario]:
        """Build the shop and write its day.

        Raises:
            ValueError: A number is out of range.

        >>> layout, scenario = RandomDay(7, gondolas=3, products=20, visits=2).made()
        >>> len({a_bin.gondola_id for a_bin in layout.bins}), scenario.name
        (3, 'random-day-7')
        """
        shop, day = (np.random.default_rng(each) for each in np.random.SeedSequence(self.number).spawn(2))
        layout = random_layout(shop, gondolas=self.gondolas, products=self.products)
        at_once = self.shoppers_at_once
        if at_once is None:
            at_once = float(day.uniform(*SHOPPERS_DRAWN))
        scenario = random_scenario(
            layout,
            day,
            visits=self.visits,
            shoppers_at_once=at_once,
            confusing_share=self.confusing_share,
            name=self.name,
        )
        return layout, scenario
