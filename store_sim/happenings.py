"""What a step of the simulated world did, for its sensors to feel."""

from dataclasses import dataclass

from store_sim.scenarios import Fault
from store_sim.truth import TrueInteraction
from vision.frames import GateEvent


@dataclass(frozen=True, slots=True)
class PlateLoad:
    """Mass came onto a plate for good, or left it.

    Attributes:
        plate_id: ``gondola/shelf/plate``.
        time_ns: The middle of the change, store clock.
        grams: Above 0 when it came.
        rise_s: How long the change took: goods tip and slide before they have left.
    """

    plate_id: str
    time_ns: int
    grams: float
    rise_s: float


@dataclass(frozen=True, slots=True)
class PlatePress:
    """A hand, or goods in a hand, pressed on a plate or lifted some of its load, and let go again.

    Attributes:
        plate_id: ``gondola/shelf/plate``.
        start_ns: When it began, store clock.
        end_ns: When it was over; it may lie ahead of the step that tells it.
        grams: Greatest force, above 0 downwards.
    """

    plate_id: str
    start_ns: int
    end_ns: int
    grams: float


@dataclass(frozen=True, slots=True)
class Knock:
    """Somebody bumped into a gondola.

    Attributes:
        gondola_id: Which.
        time_ns: When, store clock.
        grams: Amplitude of the first swing on its plates.
    """

    gondola_id: int
    time_ns: int
    grams: float


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault of the scenario that begins now, on the store clock (the scenario's own clock may have been delayed)."""

    fault: Fault
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Happenings:
    """Everything one step did, each tuple in time order."""

    loads: tuple[PlateLoad, ...] = ()
    presses: tuple[PlatePress, ...] = ()
    knocks: tuple[Knock, ...] = ()
    interactions: tuple[TrueInteraction, ...] = ()
    gates: tuple[GateEvent, ...] = ()
    faults: tuple[ActiveFault, ...] = ()
