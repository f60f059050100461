"""Scenarios: visits written down as what shoppers do (``tillfree-scenario/1``), read, checked and written."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

FORMAT = "tillfree-scenario/1"
USUAL_COUNT = 8
"""Units that every product starts with unless a count says otherwise."""


class Action(StrEnum):
    """What a shopper does in one event."""

    PICK = "pick"
    PUT_BACK = "put_back"
    TOUCH = "touch"
    HOLD = "hold"
    HAND_OVER = "hand_over"
    DROP = "drop"
    CONSUME = "consume"
    CONCEAL = "conceal"
    PLACE_FOREIGN = "place_foreign"
    TAKE_FOREIGN = "take_foreign"
    RESTOCK = "restock"
    SWAP_PLACE = "swap_place"
    REACH_ACROSS = "reach_across"


class Role(StrEnum):
    """Who somebody is to the store."""

    SHOPPER = "shopper"
    STAFF = "staff"
    CHILD = "child"


class FaultKind(StrEnum):
    """What fails or disturbs."""

    CAMERA_DEAD = "camera_dead"
    CAMERA_FOGGED = "camera_fogged"
    CAMERA_MOVED = "camera_moved"
    CLOCK_SKEW = "clock_skew"
    PLATE_STUCK = "plate_stuck"
    BUMP = "bump"
    DRIFT = "drift"
    MESSAGES_LATE = "messages_late"
    MESSAGES_DOUBLED = "messages_doubled"
    POWER_CUT = "power_cut"


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the shelves, as the site numbers it. ``plates`` is empty on a fixture without scales."""

    gondola: int
    shelf: int
    plates: tuple[int, ...]

    @property
    def plate_ids(self) -> tuple[str, ...]:
        """The plates as ``gondola/shelf/plate``."""
        return tuple(f"{self.gondola}/{self.shelf}/{plate}" for plate in self.plates)


@dataclass(frozen=True, slots=True)
class ScenarioShopper:
    """Somebody who comes; seconds are on the scenario's clock.

    Attributes:
        shopper_id: Unique in the scenario.
        enters_at_s: When they come in.
        group: Who has the same text shares one payer: the first listed who has a code.
        leaves_at_s: Not before then they go; None: after their last event.
        checks_in: False for somebody who walks in without a code.
        role: Shopper, staff or child.
        returns_at_s: When they come back for a new visit after having left; None: they do not.
    """

    shopper_id: str
    enters_at_s: float
    group: str | None = None
    leaves_at_s: float | None = None
    checks_in: bool = True
    role: Role = Role.SHOPPER
    returns_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class ScenarioProduct:
    """A product the scenario names; ``mass_g`` None is not known to the catalogue."""

    barcode: str
    name: str
    mass_g: float | None


@dataclass(frozen=True, slots=True)
class StockOverride:
    """What stood on plates that day instead of the planned product."""

    barcode: str
    place: Place
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that fails; ``target`` names the camera, plate, gondola or stream it hits, None for everything."""

    t_s: float
    kind: FaultKind
    target: str | None = None
    seconds: float | None = None
    amount: float | None = None


@dataclass(frozen=True, slots=True)
class ScenarioEvent:
    """One thing a shopper does; which fields are set depends on the action.

    Attributes:
        t_s: The moment the item leaves or reaches its place, or the deed begins, seconds on the scenario's clock.
        shopper: Who.
        action: What.
        barcode: Of what.
        quantity: Units in one grip.
        place: Where on the shelves.
        seconds: How long (touch, hold).
        other: The other shopper (hand_over, swap_place, reach_across).
        mass_g: Mass of a foreign object, grams.
    """

    t_s: float
    shopper: str
    action: Action
    barcode: str | None = None
    quantity: int = 1
    place: Place | None = None
    seconds: float | None = None
    other: str | None = None
    mass_g: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One visit, or several at once.

    Attributes:
        name: Of the case.
        class_name: The class it is reported under; empty if none.
        site: The store it plays in: ``nanostore``, or a path to a layout, as written in the file.
        shoppers: Who comes, in the order listed.
        products: What the scenario says of products.
        stock_overrides: What stood elsewhere that day.
        faults: What fails, in time order.
        events: What happens, in time order.
        receipts: What each payer should be charged, as payer -> barcode -> quantity; None if the file has none.
        source: Where it comes from.
        notes: Free text.
        path: The file, None for a scenario made in memory.
    """

    name: str
    shoppers: tuple[ScenarioShopper, ...]
    events: tuple[ScenarioEvent, ...]
    class_name: str = ""
    site: str = ""
    products: tuple[ScenarioProduct, ...] = ()
    stock_overrides: tuple[StockOverride, ...] = ()
    faults: tuple[Fault, ...] = ()
    receipts: dict[str, dict[str, int]] | None = None
    source: str = ""
    notes: tuple[str, ...] = field(default=())
    path: Path | None = None
