"""What simulated shoppers are about: the errands that a scenario gives them, and how far each has come."""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from store_sim.crowd import RIGHT
from store_sim.habits import Fidget
from store_sim.scenarios import Action, ScenarioEvent, ScenarioShopper
from store_sim.stock import NOBODY, Slot
from vision.arrays import FloatArray

RAISE_S, QUICK_RAISE_S = 0.55, 0.36  # from an arm at ease into the bin
CONTACTS = frozenset(
    {Action.PICK, Action.PUT_BACK, Action.TOUCH, Action.HOLD, Action.PLACE_FOREIGN, Action.TAKE_FOREIGN, Action.RESTOCK}
)
MEETINGS = frozenset({Action.HAND_OVER, Action.SWAP_PLACE})


class Phase(IntEnum):
    """Where somebody is in their visit."""

    AWAY = 0
    COMING_IN = 1
    INSIDE = 2
    GOING_OUT = 3


class State(IntEnum):
    """How far an errand has come."""

    WAITING = 0  # it is too early to go there
    GOING = 1
    THERE = 2  # stands where it is to be done
    STOWING = 3  # makes a hand free, or gets the goods out
    REACHING = 4
    PREPARED = 5  # the hand is there: it can happen
    AFTER = 6  # it has happened, the hand is on its way back
    DONE = 7


@dataclass(slots=True)
class Errand:
    """What one shopper does at once: an event, or several picks in one grip.

    Attributes:
        numbers: Numbers of its events, from 1.
        events: The events.
        t_s: When, on the script's clock.
        state: How far it has come.
    """

    numbers: list[int]
    events: list[ScenarioEvent]
    t_s: float
    state: State = State.WAITING

    @property
    def first(self) -> ScenarioEvent:
        """Its first event, which says all but the products."""
        return self.events[0]

    @property
    def happened(self) -> bool:
        """Whether its moment is past."""
        return self.state >= State.AFTER


@dataclass(slots=True)
class Person:
    """What one shopper is doing.

    Attributes:
        row: Of the body in the crowd.
        shopper: What the scenario says of them.
        payer: Who pays for them.
        visits: Those still to come: when each begins, and what is done in it.
        wanted: Others' errands that they are needed for.
        errands: What is still to be done in this visit.
        phase: Where they are in it.
        door_m: Where they go through the door, shape (2,).
        inner_m: Where they stand before they go out, shape (2,).
        is_through: Whether they have crossed the line.
        engaged_by: Row of who wants something of them and for whom they stand still.
        across: Row of who they reach across the next time.
        hands: Which hands do the present errand.
        rows: Units that it is about, event by event.
        slots: Where these are to stand, or stood.
        spot_m: Where to stand for it, shape (2,).
        focus_m: What they look at, shape (2,).
        review_s: When to think again about where to go.
        ready_s: When the hand has been where it is for long enough; inf before it is there.
        withdraw_s: When it goes back.
        end_s: When the next errand may begin.
        last_s: When the errand before was due, on the script's clock.
        last_hand: Which hand did it.
        raise_s: How long the hand takes; 0 before that is settled.
        dwell_s: How long it stays before anything happens.
        travel_s: How long the way takes about.
        remaining: Units still to be delivered.
        visit: Number of the visit in the truth.
        held_s: How long they have held their own clock up.
        stood_s: How long they have stood still meanwhile.
        obstacle: Why they cannot do it now; empty if they can.
        withdrawn: Whether no hand is out for an errand.
        moment_s: When they act of those who act at once; nan before that is settled.
        rummages_s: How long the hand moves goods about before it takes any.
        aim_m: Where that hand is to end, shape (3,).
        fidget: What a hand does besides.
        handles: Whether they walk to a shelf to handle something on it.
        is_asked: Whether it is settled that they do nothing besides before this errand.
    """

    row: int
    shopper: ScenarioShopper
    payer: str | None
    visits: list[tuple[float, list[Errand]]]
    wanted: list[Errand] = field(default_factory=list)
    errands: list[Errand] = field(default_factory=list)
    phase: Phase = Phase.AWAY
    door_m: FloatArray = field(default_factory=lambda: np.zeros(2))
    inner_m: FloatArray = field(default_factory=lambda: np.zeros(2))
    is_through: bool = False
    engaged_by: int = NOBODY
    across: int = NOBODY
    hands: list[int] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    slots: list[list[Slot]] = field(default_factory=list)
    spot_m: FloatArray = field(default_factory=lambda: np.zeros(2))
    focus_m: FloatArray = field(default_factory=lambda: np.zeros(2))
    review_s: float = 0.0
    ready_s: float = 0.0
    withdraw_s: float = 0.0
    end_s: float = 0.0
    last_s: float = -1e9
    last_hand: int = RIGHT
    raise_s: float = RAISE_S
    dwell_s: float = 0.5
    travel_s: float = 0.0
    remaining: int = 0
    visit: int = NOBODY
    held_s: float = 0.0
    stood_s: float = 0.0
    obstacle: str = ""
    withdrawn: bool = True
    moment_s: float = np.nan
    rummages_s: float = 0.0
    aim_m: FloatArray = field(default_factory=lambda: np.zeros(3))
    fidget: Fidget | None = None
    handles: bool = False
    is_asked: bool = False

    @property
    def errand(self) -> Errand | None:
        """What is to be done now, or None."""
        return self.errands[0] if self.errands else None


def one_grip(before: ScenarioEvent, event: ScenarioEvent) -> bool:
    """Whether two events of one shopper, one after the other in the file, are one grip."""
    return (
        before.action is Action.PICK
        and event.action is Action.PICK
        and before.t_s == event.t_s
        and before.place is not None
        and event.place is not None
        and (before.place.gondola, before.place.shelf) == (event.place.gondola, event.place.shelf)
    )
