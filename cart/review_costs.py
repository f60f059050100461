"""What a store holds a wrong charge, a missed item and a person's look to cost, and when a look pays."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReviewCosts:
    """Prices of mistakes, all in one unit: only their ratios count.

    Charging somebody for what they have with probability p costs ``(1 - p) * wrong_charge`` in expectation, and letting
    somebody go who has something with probability p costs ``p * missed_item``. A person looks when that is more than
    the look costs.

    >>> costs = ReviewCosts(wrong_charge=100, missed_item=50, review=5)
    >>> costs.charge_probability, costs.suspect_probability
    (0.95, 0.1)

    Attributes:
        wrong_charge: A unit charged to somebody who does not have it: the refund, the answer to a complaint, a shopper
            who does not come back.
        missed_item: A unit that nobody pays.
        review: A person's look at one open question.

    Raises:
        ValueError: A cost is not a positive number, or a look costs more than half of a wrong charge or a missed item:
            then nothing would ever be looked at that is not decided anyhow.
    """

    wrong_charge: float = 200.0
    missed_item: float = 200.0
    review: float = 30.0

    def __post_init__(self) -> None:
        for name in ("wrong_charge", "missed_item", "review"):
            cost = getattr(self, name)
            if not (math.isfinite(cost) and cost > 0):
                raise ValueError(f"ReviewCosts.{name}: expected a positive number, got {cost}")
        if self.review > min(self.wrong_charge, self.missed_item) / 2:
            raise ValueError(
                f"ReviewCosts.review: expected at most half of what a mistake costs, got {self.review} "
                f"with mistakes of {self.wrong_charge} and {self.missed_item}"
            )

    @property
    def charge_probability(self) -> float:
        """From this probability on charging is cheaper than a look."""
        return 1 - self.review / self.wrong_charge

    @property
    def suspect_probability(self) -> float:
        """From this probability on a look is cheaper than letting somebody go."""
        return self.review / self.missed_item
