"""A simulated store that is open for ever: people whom nobody knew of in advance come in while it runs.

``store_sim.simulation`` plays what was written down to its end. Here nothing is written down: whoever runs the store
sends people in (:meth:`LiveStore.come_in`) with what they want, and takes what the store's sensors say, tick by tick.
Nothing grows with time: there are so many bodies, which people have one after the other, what was carried out stands on
the shelves again when its visit is over, and what really happened is told once.
"""

import math
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from store_sim.day import USUAL_COUNT
from store_sim.joints import JointSettings, JointTracker
from store_sim.live_pictures import Moments
from store_sim.random_visits import AFTER_S, LOOKING_S, PACE_MPS
from store_sim.scales import PlateSensors, PlateSettings
from store_sim.scenarios import Action, Place, Scenario, ScenarioEvent, ScenarioShopper
from store_sim.simulation import STEPS_A_BODY, posed
from store_sim.truth import TrueInteraction
from store_sim.world import START_NS, World
from vision.arrays import FloatArray
from vision.frames import GateEvent, ScaleSamples, Tick
from vision.layout import Bin, StoreLayout
from vision.shelf import Handling

NANOSECONDS = 1_000_000_000
BODIES = 12
"""As many people at once; more would stand in each other's way in a small shop."""
STEPS_TOGETHER = 6  # posing several instants at once takes hardly longer than posing one; a fifth of a second
MOST_WISHES, MOST_UNITS = 12, 4
MOST_OF_ONE = USUAL_COUNT - 2
"""Units of a product that one person can want: so many stand there also when somebody else has taken some."""
WAITING_LINE = 64
REMEMBERED_GRIPS = 2000
COMES_AFTER_S = 0.4  # the gate opens, and somebody begins to walk
BETWEEN_S = 1.2  # people of one party, behind each other
RESTS_S = 3.0
"""A body is nobody's for so long: an outside tracker has forgotten it by then."""
DONE = frozenset({Action.PICK, Action.PUT_BACK, Action.TOUCH})


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing that somebody means to do.

    Attributes:
        sku: With which product.
        quantity: Units in one grip, 1 to ``MOST_UNITS``.
        action: Take it, put it back where it belongs, or only touch it.
    """

    sku: str
    quantity: int = 1
    action: Action = Action.PICK

    def __post_init__(self) -> None:
        if not 1 <= self.quantity <= MOST_UNITS:
            raise ValueError(f"Wish: expected 1 to {MOST_UNITS} units of {self.sku}, got {self.quantity}")
        if self.action not in DONE:
            raise ValueError(f"Wish: expected one of {', '.join(sorted(DONE))}, got {self.action}")


@dataclass(frozen=True, slots=True)
class Departure:
    """Somebody has left, or several on one code: what they really carried out.

    Attributes:
        code: What the gate read; None for somebody without.
        left_ns: When the last of them crossed the exit line, store clock.
        lines: Units by barcode, of what they took themselves.
        inside: How many on the same code are still inside.
    """

    code: str | None
    left_ns: int
    lines: Mapping[str, int]
    inside: int


@dataclass(frozen=True, slots=True)
class Grip:
    """What a hand really did at a shelf.

    Attributes:
        time_ns: When the goods left or reached their place, store clock.
        sku: With which product.
        quantity: Units, below 0 for what was put back.
    """

    time_ns: int
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class _Coming:
    code: str | None
    wishes: tuple[Wish, ...]
    after_s: float


class LiveStore:
    """A simulated store that goes on, and takes new people while it does.

    Its sensors are load cells under the shelves, an outside tracker of joints, and a gate that tells the code of who
    comes in. One seed, and the same people sent in between the same ticks, give the same ticks.

    Args:
        layout: The store, with plates, and bins that say what stands where.
        seed: Decides paces, looks, habits and noise.
        start_ns: What the store clock says at the beginning.
        bodies: How many people there may be at once.
        plates: How good the load cells are; None for their defaults.
        joints: How good the tracker is; None for its defaults.

    Raises:
        ValueError: The layout has no place for people, or nothing to take.
    """

    def __init__(
        self,
        layout: StoreLayout,
        seed: int,
        *,
        start_ns: int = START_NS,
        bodies: int = BODIES,
        plates: PlateSettings | None = None,
        joints: JointSettings | None = None,
    ) -> None:
        if bodies < 1:
            raise ValueError(f"LiveStore: expected at least one body, got {bodies}")
        names = tuple(f"body {number}" for number in range(1, bodies + 1))
        scenario = Scenario(layout.name, tuple(ScenarioShopper(name, math.inf) for name in names), ())
        self._world = World(layout, scenario, keeps_order=False, start_ns=start_ns)
        self._world.reset(seed)
        self.layout = self._world.layout
        self._places = {str(a_bin.sku): a_bin for a_bin in self.layout.bins if _is_usable(a_bin)}
        if not self._places:
            raise ValueError(f"layout {layout.name}: expected bins with a product, a box, a gondola and a shelf")
        streams = [np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(3)]
        self._plates = PlateSensors(self.layout, streams[0], plates)
        self._tracker = JointTracker(self.layout, streams[1], joints)
        self._rng = streams[2]
        self._steps = 0
        self._free: deque[tuple[float, str]] = deque((-math.inf, name) for name in names)
        self._busy: dict[str, str | None] = {}
        self._lock = threading.Lock()
        self._line: deque[_Coming] = deque()
        self._carried: dict[str, dict[str, int]] = {}
        self._departures: list[Departure] = []
        self._grips: deque[Grip] = deque(maxlen=REMEMBERED_GRIPS)
        self.moments = Moments()

    @property
    def now_ns(self) -> int:
        """The store clock: how far the world has come."""
        return self._world.now_ns

    @property
    def products(self) -> tuple[str, ...]:
        """What people can take, by barcode."""
        return tuple(self._places)

    @property
    def people_inside(self) -> int:
        """How many have crossed the entrance and not yet the exit."""
        return self._world.people_inside

    @property
    def people_coming(self) -> int:
        """How many were sent in and have not yet crossed the entrance."""
        with self._lock:
            return len(self._line) + len(self._busy) - self._world.people_inside

    def come_in(self, code: str | None, wishes: Sequence[Wish], *, after_s: float = COMES_AFTER_S) -> None:
        """Send somebody in; from any thread. They come when there is a body for them, in the order they were sent.

        Args:
            code: What the gate will read when they pass; None for somebody who slips in without.
            wishes: What they mean to do, in this order; nothing for somebody who comes in and goes.
            after_s: How long after the next tick they may be at the door.

        Raises:
            ValueError: There is no such product, there are too many wishes, or too many people wait.
        """
        if len(wishes) > MOST_WISHES:
            raise ValueError(f"expected at most {MOST_WISHES} things to do, got {len(wishes)}")
        wanted: Counter[str] = Counter()
        for wish in wishes:
            if wish.sku not in self._places:
                raise ValueError(f"there is no product {wish.sku} in this store")
            wanted[wish.sku] += wish.quantity if wish.action is Action.PICK else 0
            if wanted[wish.sku] > MOST_OF_ONE:
                raise ValueError(f"expected at most {MOST_OF_ONE} units of {wish.sku}, got {wanted[wish.sku]}")
        with self._lock:
            if len(self._line) >= WAITING_LINE:
                raise ValueError(f"{WAITING_LINE} people wait before the door already")
            self._line.append(_Coming(code, tuple(wishes), after_s))

    def departures(self) -> tuple[Departure, ...]:
        """Who has left since this was last asked, and what they really carried out."""
        told, self._departures = tuple(self._departures), []
        return told

    def grips(self) -> tuple[Grip, ...]:
        """What hands have really done since this was last asked, in time order; the last two thousand if it is rare."""
        told = tuple(self._grips)
        self._grips.clear()
        return told

    def ticks(self) -> list[Tick]:
        """Let a fifth of a second pass.

        Returns:
            What arrived, in time order: at most one tick for each 1/30 s.
        """
        self._admit()
        moments: list[tuple[int, int, tuple[ScaleSamples, ...], tuple[GateEvent, ...]]] = []
        looks = []
        for _ in range(STEPS_TOGETHER):
            happenings, figures = self._world.step(), self._world.figures
            self._steps += 1
            now_ns = self._world.now_ns
            self._plates.feel(happenings, figures, now_ns)
            self._grips.extend(_grip(one) for one in happenings.interactions if one.sku is not None)
            moments.append((self._steps, now_ns, tuple(self._plates.messages(now_ns)), happenings.gates))
            if self._steps % STEPS_A_BODY == 0:
                looks.append(figures)
                self.moments.add(now_ns, figures, self._world.goods)
            if any(gate.event == "passed-out" for gate in happenings.gates):
                self._say_goodbye()
        bodies = iter(zip(looks, posed(looks), strict=True))
        ticks = []
        for step, now_ns, blocks, gates in moments:
            seen = None
            if step % STEPS_A_BODY == 0:
                figures, everybody = next(bodies)
                seen = self._tracker.see(figures, everybody.tracked_m, now_ns)
            if blocks or gates or seen is not None:
                ticks.append(Tick(now_ns, (), blocks, seen, gates))
        return ticks

    def _admit(self) -> None:
        """Give bodies that are free to those who wait."""
        now_s = self._world.now_s
        free = set(self._world.free_bodies)
        for name in [name for name in self._busy if name in free]:
            with self._lock:
                del self._busy[name]
            self._free.append((now_s, name))
        while True:
            with self._lock:
                if not self._line or not self._free or now_s - self._free[0][0] < RESTS_S:
                    return
                coming = self._line.popleft()
                _, name = self._free.popleft()
                self._busy[name] = coming.code
            shopper = ScenarioShopper(name, now_s + coming.after_s + BETWEEN_S)
            self._world.come(shopper, self._planned(shopper, coming.wishes), coming.code)

    def _planned(self, shopper: ScenarioShopper, wishes: Sequence[Wish]) -> list[ScenarioEvent]:
        """Say when each wish is due if somebody walks there at an ordinary pace, looks, and acts."""
        at_m = np.zeros(2) if self.layout.entrance_m is None else self.layout.entrance_m.mean(axis=0)
        t_s = shopper.enters_at_s + 1.5
        events = []
        for wish in wishes:
            a_bin = self._places[wish.sku]
            front_m = _front_m(a_bin)
            t_s += float(np.abs(front_m - at_m).sum()) / PACE_MPS + float(self._rng.uniform(*LOOKING_S))
            seconds = round(float(self._rng.uniform(0.6, 2.0)), 2) if wish.action is Action.TOUCH else None
            sku = None if wish.action is Action.TOUCH else wish.sku
            place = _place(a_bin)
            events.append(ScenarioEvent(t_s, shopper.shopper_id, wish.action, sku, wish.quantity, place, seconds))
            t_s += AFTER_S + (seconds or 0.0)
            at_m = front_m
        return events

    def _say_goodbye(self) -> None:
        """Keep what was carried out by those who have just left, and stand it on the shelves again."""
        truth = self._world.truth
        carried = {receipt.payer: {line.sku: line.quantity for line in receipt.lines} for receipt in truth.receipts}
        unpaid: dict[str, int] = {}
        for _, sku, count in truth.unpaid:
            unpaid[sku] = unpaid.get(sku, 0) + count
        for code, lines in carried.items():
            kept = self._carried.setdefault(code, {})
            for sku, count in lines.items():
                kept[sku] = kept.get(sku, 0) + count
        for visit in truth.visits:
            if visit.left_ns is None:
                continue
            inside = sum(other.left_ns is None and other.payer == visit.payer for other in truth.visits)
            if visit.payer is None:
                self._departures.append(Departure(None, visit.left_ns, unpaid, 0))
            else:
                lines = self._carried.get(visit.payer, {})
                self._departures.append(Departure(visit.payer, visit.left_ns, dict(lines), inside))
                if not inside:
                    self._carried.pop(visit.payer, None)
        inside_codes = {visit.payer for visit in truth.visits if visit.left_ns is None}
        self._carried = {code: lines for code, lines in self._carried.items() if code in inside_codes}
        self._world.forget()
        self._world.refill({sku: _place(a_bin) for sku, a_bin in self._places.items()})


def random_wishes(layout: StoreLayout, rng: np.random.Generator, *, most: int = 4) -> tuple[Wish, ...]:
    """Make up what an ordinary shopper means to do: take a few things, put one back now and then, touch another.

    Args:
        layout: The store.
        rng: Decides.
        most: Largest number of products.
    """
    skus = [str(a_bin.sku) for a_bin in layout.bins if _is_usable(a_bin)]
    count = 1 + int(rng.binomial(most - 1, 0.5))
    wishes: list[Wish] = []
    for sku in rng.choice(skus, min(count, len(skus)), replace=False).tolist():
        draw = rng.random()
        if draw < 0.1:
            wishes.append(Wish(sku, action=Action.TOUCH))
        else:
            wishes.append(Wish(sku, 2 if draw > 0.85 else 1))
    taken = [wish for wish in wishes if wish.action is Action.PICK and wish.quantity == 1]
    if len(taken) > 1 and rng.random() < 0.1:
        wishes.append(Wish(taken[0].sku, action=Action.PUT_BACK))
    return tuple(wishes)


def _grip(interaction: TrueInteraction) -> Grip:
    sign = 1 if interaction.kind is Handling.PICK else -1
    return Grip(interaction.time_ns, str(interaction.sku), sign * interaction.quantity)


def _is_usable(a_bin: Bin) -> bool:
    return None not in (a_bin.sku, a_bin.box, a_bin.gondola_id, a_bin.shelf_id)


def _place(a_bin: Bin) -> Place:
    numbers = tuple(int(plate_id.rsplit("/", 1)[-1]) for plate_id in a_bin.plate_ids)
    return Place(int(a_bin.gondola_id or 0), int(a_bin.shelf_id or 0), numbers)


def _front_m(a_bin: Bin) -> FloatArray:
    assert a_bin.box is not None
    return np.asarray((a_bin.box.world_from_box @ [a_bin.box.size_m[0] / 2, -0.4, 0, 1])[:2])
