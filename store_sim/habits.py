"""What shoppers do besides what a scenario says: they rummage, finger what stands beside, lean on shelves, brush by.

None of it is in a script, and none of it changes what anybody owes, but load cells and cameras get all of it. No study
known to us publishes rates, so they are chosen by what one sees in any shop, and kept low: in the one recorded visit of
``BENCHMARK-1``, which was staged, the shopper does none of it, and in the two picks of ``cps-test-01`` the hand is at
the shelf for one and for nearly two seconds before the goods leave, longer than reaching and gripping take.
"""

from dataclasses import dataclass, fields

import numpy as np

from vision.arrays import FloatArray

FINGERS_S = (0.4, 1.4)
"""Somebody lifts a corner, reads a label, lets go; what is looked at for longer is a ``touch`` of a scenario."""
RUMMAGES_S = (0.5, 2.2)
"""The hand finds the pack that it wants, as behind those in front or the right flavour, in about that time."""
LEAST_SPARE_S = 1.2
"""Who has less time than this until the next thing does nothing besides."""
POINTING_M = 0.15
"""A finger that points is so far before the front of what it points at, as far as a hand is long."""
ASIDE_M = 0.35
"""What stands beside something: three plates to either side."""
WOBBLE_M, WOBBLE_TICKS = 0.03, 8
"""A hand that rummages moves so far, to somewhere else four times a second."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How often an average shopper on an average day does what nobody told them to; all are shares of occasions.

    Attributes:
        rummages: Who is about to take something, and has time, moves what stands there first.
        fingers: Who stands before a shelf waiting for their moment handles something beside it.
        handles: Who only looks at a shelf handles something on it.
        points: Whose hand goes out like this only points, a hand's breadth before the goods.
        leans: Who reaches into a shelf rests the other hand on it.
        spills: A hand that leans on goods leans on those of the next plate too: hands are as wide as plates.
        tilts: Goods are tipped or dragged before they are lifted, or set down on an edge: their weight moves in two
            parts.
        changes_hands: What was taken goes over into the other hand.
        brushes: Who walks by close enough to knock against a shelf also brushes goods.
        day_spread: Standard deviation of the logarithm of all of them from day to day.
        person_spread: The same from person to person: some touch everything, most nothing.
    """

    rummages: float = 0.15
    fingers: float = 0.1
    handles: float = 0.15
    points: float = 0.4
    leans: float = 0.06
    spills: float = 0.3
    tilts: float = 0.15
    changes_hands: float = 0.15
    brushes: float = 0.5
    day_spread: float = 0.3
    person_spread: float = 0.6

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"Habits.{name}: expected a share from 0 to 1, got {value}")


NO_HABITS = Habits(**{one.name: 0.0 for one in fields(Habits)})
"""Of people who do what they are told and nothing else."""


@dataclass(slots=True)
class Fidget:
    """A hand that is out for nothing that a scenario says.

    Attributes:
        hand: Which.
        unit: What it handles; None for a hand that rests on the shelf or points.
        plates: Plates under it, and what part of it each carries.
        seconds: How long it stays.
        begun_s: When it was sent.
        end_s: When it goes back; inf before it is there.
    """

    hand: int
    unit: int | None
    plates: list[tuple[str, float]]
    seconds: float
    begun_s: float
    end_s: float = np.inf


def restlessness(habits: Habits, people: int, rng: np.random.Generator) -> FloatArray:
    """Draw how much more than usual each of some people does on this day, shape (n,)."""
    return np.asarray(np.exp(rng.normal(0, habits.day_spread) + rng.normal(0, habits.person_spread, people)))
