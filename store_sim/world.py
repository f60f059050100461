"""The simulated store itself: plays a scenario step by step, and knows what really happened."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from store_sim.chronicle import Chronicle
from store_sim.crowd import LEFT, NO_HURRY, RIGHT, SWAP_PACE_MPS, Crowd
from store_sim.figures import Figures, Goods, Whereabouts
from store_sim.habits import (
    ASIDE_M,
    FINGERS_S,
    LEAST_SPARE_S,
    POINTING_M,
    RUMMAGES_S,
    WOBBLE_M,
    WOBBLE_TICKS,
    Fidget,
    Habits,
    restlessness,
)
from store_sim.happenings import ActiveFault, Happenings, Knock
from store_sim.navigation import (
    BODY_RADIUS_M,
    FARTHEST_M,
    Door,
    Router,
    floor_plan,
    fronts,
    placed,
    places_before,
    way_length_m,
    with_doors,
)
from store_sim.scenarios import Action, Place, Role, Scenario, ScenarioEvent, ScenarioShopper
from store_sim.shoppers import CONTACTS, MEETINGS, QUICK_RAISE_S, RAISE_S, Errand, Person, Phase, State, one_grip
from store_sim.stock import NOBODY, Stock
from store_sim.touches import LEANS_BEFORE_PUTTING, Touches
from store_sim.truth import Truth
from vision.arrays import FloatArray
from vision.frames import GateEvent
from vision.layout import StoreLayout
from vision.shelf import Handling

START_NS = 1_900_000_000_000_000_000  # an ordinary morning of the store clock
STEPS_PER_S = 30
STEP_S = 1 / STEPS_PER_S
PATIENCE_S = 60.0
"""An event that is held up for so long while everybody concerned stands still will never happen."""
LONGEST_HOLD_S = 600.0  # and neither will one for which people walk about for so long
FAREWELL_S = 6.0
"""How long the store runs on after the last has left: sensors and pipeline need time to tell."""
FOREVER_S = 86_400.0
"""How long a fault lasts that says nothing of an end."""

OUTSIDE_M = 1.0  # how far before the door people come into being
INSIDE_M = 0.6  # and how far inside they are free to go where they like
BEYOND_M = 1.2  # how far outside they are gone
SIDESTEP_MPS = 0.2  # in a doorway, besides walking through it
BROWSING_M, HANDLING_M = 0.8, 0.45  # from the front when one only looks, and when one handles something besides
ROOM_M = 0.46  # between people who stand side by side: the breadth of shoulders, median of adults
COMPANY_M = 0.55  # from others when one only looks: the near end of what is personal distance (Hall: 0.46 to 1.2 m)
NEAR_M = 0.12  # who is so near to their place has arrived
ARM_M = 0.78  # and what is so near needs no step
HURRY_S = 2.0  # with less time than this before an event one does without steps and tidiness
EARLY_S = 2.5  # people stand before a shelf for so long before they take something
DWELL_S, QUICK_DWELL_S = (0.35, 0.85), 0.12  # hand on the goods before they leave
RELEASE_S = 0.15  # and on them or in the bin afterwards
WITHDRAW_S = 0.55  # from the bin to an arm at ease; after half of it the hand is out of the shelf
FREE_AGAIN_S = 0.32  # after a grip the next thing may begin
STOW_S = 0.9  # into the bag, or out of it
AT_ONCE_S = 0.2
"""So little apart is "at once" of people who do not watch each other: a script tells moments by the half second, and no
two strangers lift things within the same thirtieth of one."""
TOGETHER_S = 8.0  # who acts at the same moment as others waits for them so long at most
HANDING_M = 0.85  # between two who pass something on
UNITS_A_GRIP = 4  # of a restocker, both hands full
RESTOCK_PAUSE_S = 0.9  # between two grips into the carton
BRUSH_TICKS = 10  # three times a second is often enough to look
BRUSH_PER_S, BRUSH_M = 0.05, 0.24  # somebody who walks so near to a shelf knocks against it every 20 s
BAG_HEIGHT_M, BRUSHED_M = 0.9, 0.45  # a bag hangs at hip height, as far from the body's middle as an arm


class World:
    """A store in which a scenario happens, in steps of 1/30 s.

    The script's clock runs with the store's, but stands still while the next due event cannot happen yet: its shopper
    is still on the way, or what they did before is not through. So events are never reordered and the gaps between them
    never shrink. Events of several shoppers at one moment happen a few tenths of a second apart, as far as each can
    happen by itself.

    One seed gives one course of things; two worlds with the same layout, scenario and seed are equal.
    """

    def __init__(
        self,
        layout: StoreLayout,
        scenario: Scenario,
        *,
        keeps_order: bool = True,
        habits: Habits | None = None,
        start_ns: int = START_NS,
    ) -> None:
        """Prepare a store; call :meth:`reset` next.

        Args:
            layout: The store as planned on that day (``store_sim.day.day_layout``). A floor plan and doors are
                added if it has none.
            scenario: What is to happen.
            keeps_order: True if all shoppers share the script's clock, as scenario files want it. False if everybody
                has a clock of their own, so that only each shopper's own events keep their order, and an event waits
                until what it needs is true: for long random days, where nobody should stand and wait for strangers.
            habits: What people do that the scenario does not say; usually what shoppers do.
            start_ns: What the store clock says when the day begins.

        Raises:
            ValueError: The layout has no place in the world for anything, or no room for people.
        """
        self.layout = with_doors(layout)
        self._scenario = scenario
        self._keeps_order = keeps_order
        self._start_ns = start_ns
        self._habits = habits or Habits()
        self._plan = floor_plan(self.layout)
        self._router = Router(self._plan)
        self._rows = {shopper.shopper_id: row for row, shopper in enumerate(scenario.shoppers)}
        self._browsing = self._places_to_look_from(BROWSING_M, 0.3)
        self._handling = self._places_to_look_from(HANDLING_M, BODY_RADIUS_M + 0.02)
        middles, _ = fronts(self.layout)
        gondolas = [item.gondola_id for item, _ in placed(self.layout)]
        self._gondola_fronts = [(g, middles[k]) for k, g in enumerate(gondolas) if g is not None]
        self._plate_fronts_m = np.array(
            [
                plate.box.world_from_box[:3, :3] @ [plate.box.size_m[0] / 2, 0.0, 0.0] + plate.box.world_from_box[:3, 3]
                for plate in self.layout.plates
            ]
        ).reshape(-1, 3)
        self._fronts_m = np.array([front for _, front in self._gondola_fronts]).reshape(-1, 2)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin the day anew; equal seeds give equal days."""
        self._rng = np.random.default_rng(seed)
        self.stock = Stock(self.layout, self._scenario, self._rng)
        self._chronicle = Chronicle(self._scenario, self.stock)
        self._crowd = Crowd(self._scenario.shoppers, self._plan, self._rng)
        self._tick = 0
        self._script_s = np.zeros(len(self._scenario.shoppers))
        self._everybody_script_s = 0.0
        self._people, self._order = self._cast()
        self._coming = sorted(self._people, key=lambda person: person.visits[0][0])
        self._active: list[Person] = []
        self._head = 0
        self._together_s = 0.0
        self._stalled_s = self._held_s = 0.0
        self._ended_s: float | None = None if self._people else 0.0
        self._faults = sorted(self._scenario.faults, key=lambda fault: fault.t_s)
        self._next_fault = 0
        self._jackets = [s.jacket_off_at_s for s in self._scenario.shoppers]
        self._reserved: set[int] = set()
        self._under_hands: set[int] = set()  # what somebody touches is not what another takes, if there is any other
        self._foreign: list[tuple[int, int]] = []  # unit and who put it there
        self._touches = Touches(self._rng, self._habits.tilts)
        self._restless = restlessness(self._habits, len(self._scenario.shoppers), self._rng)
        self._knocks: list[Knock] = []
        self._gates: list[GateEvent] = []
        self._guests: set[int] = set()  # bodies of people whom the scenario does not know

    @property
    def now_ns(self) -> int:
        """The store clock: the end of the last step."""
        return self._start_ns + round(self._tick * 1e9 / STEPS_PER_S)

    @property
    def now_s(self) -> float:
        """Seconds since the day began."""
        return self._tick * STEP_S

    @property
    def script_s(self) -> float:
        """The script's clock, seconds; that of the slowest shopper where everybody has their own."""
        return self._everybody_script_s if self._keeps_order else float(self._script_s.min(initial=self.now_s))

    @property
    def done(self) -> bool:
        """Whether everybody has left, and the store has run on for a few seconds."""
        return self._ended_s is not None and self.now_s >= self._ended_s + FAREWELL_S

    @property
    def figures(self) -> Figures:
        """Everybody who is there now, in the scenario's order; also those just outside the doors."""
        return self._crowd.figures()

    @property
    def goods(self) -> Goods:
        """Every unit of every product; things that are not the store's are called ``foreign``."""
        return self.stock.goods(self._crowd.ids)

    @property
    def people_inside(self) -> int:
        """How many have crossed the entrance and not yet the exit."""
        return self._chronicle.people_inside

    @property
    def truth(self) -> Truth:
        """What has happened up to now; receipts charge what has left the store or was used up in it by now."""
        return self._chronicle.truth()

    def step(self) -> Happenings:
        """Let 1/30 s pass.

        Returns:
            What happened in it.

        Raises:
            ValueError: An event can never happen; the message names the file, the event's number and the reason.
        """
        self._tick += 1
        self._touches.begin(self.now_ns)
        self._knocks, self._gates = [], []
        self._run_clocks()
        faults = self._begun_faults()
        self._let_in()
        for person in self._active:
            if person.phase != Phase.INSIDE:
                self._pass_doors(person)
            if person.phase == Phase.INSIDE:
                self._pursue(person)
        self._active = [person for person in self._active if person.phase != Phase.AWAY]
        self._happen()
        self._give_up()
        self._crowd.move(STEP_S)
        self._cross_lines()
        self._brush()
        return Happenings(
            tuple(self._touches.loads),
            tuple(self._touches.presses),
            tuple(self._knocks),
            self._chronicle.news(),
            tuple(self._gates),
            faults,
        )

    # Whom the scenario does not know

    @property
    def free_bodies(self) -> tuple[str, ...]:
        """Who is not there and will not come (or at infinity): their bodies can be somebody else's."""
        return tuple(
            person.shopper.shopper_id
            for person in self._people
            if person.phase == Phase.AWAY and (not person.visits or person.visits[0][0] == math.inf)
        )

    def come(self, shopper: ScenarioShopper, events: Sequence[ScenarioEvent], code: str | None) -> None:
        """Let somebody come whom the scenario does not know, in a body that is free; they will look like nobody else.

        What they cannot do after all, such as to take what is sold out, they leave be and go on. Only a world in which
        everybody has a clock of their own (``keeps_order=False``) takes them.

        Args:
            shopper: Who, named after the body (:attr:`free_bodies`); they enter at ``enters_at_s``.
            events: What they do, in time order, alone; times on the world's clock (:attr:`now_s`).
            code: What the gate will read; None for nothing.

        Raises:
            ValueError: There is no such free body, the world keeps an order, or an event needs others or new goods.
        """
        if self._keeps_order or shopper.shopper_id not in self.free_bodies:
            raise ValueError(f"World.come: expected a free body and a world without order, got {shopper.shopper_id}")
        for event in events:
            if event.action not in (Action.PICK, Action.PUT_BACK, Action.TOUCH, Action.HOLD):
                raise ValueError(f"World.come: expected something that one does alone with what is there: {event}")
        row = self._rows[shopper.shopper_id]
        errands = [Errand([number], [event], event.t_s) for number, event in enumerate(events, start=1)]
        self._people[row] = person = Person(row, shopper, code, [(shopper.enters_at_s, errands)])
        self._guests.add(row)
        self._crowd.change_body(row, shopper, self._rng)
        self._ended_s = None
        others = [other for other in self._coming if other.row != row]
        self._coming = sorted([*others, person], key=lambda one: one.visits[0][0])

    def forget(self) -> None:
        """Forget what is over, for a store that is open for ever: the truth is then of what happened since."""
        self._chronicle.forget()

    def refill(self, places: Mapping[str, Place]) -> int:
        """Stand what has left the store in its places again; no plate feels it, as if each were set to zero then.

        Args:
            places: Where each product belongs, by barcode; what has no place stays away.

        Returns:
            How many units came back.
        """
        gone = np.flatnonzero(self.stock.whereabouts == Whereabouts.GONE)
        gone = np.setdiff1d(gone, self.stock.undelivered)
        count = 0
        for unit in gone.tolist():
            place = places.get(self.stock.skus[int(self.stock.sku_index[unit])])
            if place is not None:
                middle_m = self.stock.middle_m(place, None)[:2]
                self.stock.put([unit], self.stock.slots(place, [unit], middle_m, self._rng), place)
                count += 1
        return count

    # The script

    def _cast(self) -> tuple[list[Person], list[Errand]]:
        by_shopper: dict[str, list[Errand]] = {shopper: [] for shopper in self._rows}
        everything = []
        for number, event in enumerate(self._scenario.events, start=1):
            own = by_shopper[event.shopper]
            if own and one_grip(own[-1].events[-1], event):
                own[-1].numbers.append(number)
                own[-1].events.append(event)
                continue
            errand = Errand([number], [event], event.t_s)
            own.append(errand)
            everything.append(errand)
        people = []
        for row, shopper in enumerate(self._scenario.shoppers):
            errands, back = by_shopper[shopper.shopper_id], shopper.returns_at_s
            visits = [(shopper.enters_at_s, [e for e in errands if back is None or e.t_s < back])]
            if back is not None:
                visits.append((back, [e for e in errands if e.t_s >= back]))
            people.append(Person(row, shopper, self._chronicle.payer(shopper.shopper_id), visits))
        for errand in everything:
            if errand.first.other is not None:
                people[self._rows[errand.first.other]].wanted.append(errand)
        everything.sort(key=lambda errand: errand.t_s)  # stable: the file's order where times are equal
        return people, everything

    def _clock_s(self, person: Person) -> float:
        return self._everybody_script_s if self._keeps_order else float(self._script_s[person.row])

    def _run_clocks(self) -> None:
        if self._keeps_order:
            while self._head < len(self._order) and self._order[self._head].happened:
                self._head += 1
            ahead = self._order[self._head].t_s if self._head < len(self._order) else np.inf
            self._everybody_script_s = max(self._everybody_script_s, min(self._everybody_script_s + STEP_S, ahead))
            return
        for person in self._active:
            errand = next((e for e in person.errands if not e.happened), None)
            script_s = float(self._script_s[person.row])
            ahead = np.inf if errand is None else errand.t_s
            self._script_s[person.row] = max(script_s, min(script_s + STEP_S, ahead))

    def _begun_faults(self) -> tuple[ActiveFault, ...]:
        clock_s = self._everybody_script_s if self._keeps_order else self.now_s
        begun = []
        while self._next_fault < len(self._faults) and self._faults[self._next_fault].t_s <= clock_s + 1e-9:
            fault = self._faults[self._next_fault]
            lasts_s = FOREVER_S if fault.seconds is None else fault.seconds
            begun.append(ActiveFault(fault, self.now_ns, self.now_ns + round(lasts_s * 1e9)))
            self._next_fault += 1
        for row, off_s in enumerate(self._jackets):
            if off_s is not None and self._clock_s(self._people[row]) >= off_s:
                self._crowd.change_clothes(row, int(self._rng.integers(0, 2**31)))
                self._jackets[row] = None
        return tuple(begun)

    def _is_due(self, person: Person, errand: Errand, ahead_s: float = 0.0) -> bool:
        return self._clock_s(person) >= errand.t_s - ahead_s - 1e-6

    def _may_begin(self, errand: Errand) -> bool:
        """Whether all that comes earlier in the script is at least in hand, so that nobody waits with a raised arm."""
        if not self._keeps_order:
            return True
        for earlier in self._order[self._head :]:
            if earlier.t_s >= errand.t_s:
                return True
            if earlier.state < State.REACHING:
                return False
        return True

    def _happen(self) -> None:
        """Let everything happen that is due and prepared."""
        if not self._keeps_order:
            for person in self._active:
                errand = person.errand
                if errand is not None and errand.state == State.PREPARED and self._is_due(person, errand):
                    self._act(person, errand)
            return
        t_s = self._order[self._head].t_s if self._head < len(self._order) else np.inf
        for person in self._active:
            errand = person.errand
            if errand is not None and errand.state == State.PREPARED and errand.t_s < t_s:
                self._act(person, errand)  # it began in time: staff bring the rest of a delivery
        if self._everybody_script_s < t_s - 1e-6:
            return
        at_once = [p for p in self._active if p.errand is not None and p.errand.t_s == t_s and not p.errand.happened]
        prepared = [p for p in at_once if p.errand is not None and p.errand.state == State.PREPARED]
        if not prepared:
            return
        self._together_s += STEP_S
        others = [p for p in at_once if p not in prepared and not p.obstacle]
        if others and self._together_s < TOGETHER_S:
            return
        for person in prepared:
            if person.errand is None:
                continue
            if math.isnan(person.moment_s):
                late_s = abs(float(self._rng.normal(0, AT_ONCE_S))) if len(at_once) > 1 else 0.0
                person.moment_s = self.now_s + late_s
            if self.now_s >= person.moment_s - 1e-9:
                self._act(person, person.errand)
                person.moment_s = np.nan
        if len(prepared) == len(at_once) and all(p.errand is None or p.errand.happened for p in prepared):
            self._together_s = 0.0

    def _give_up(self) -> None:
        """Raise if what is due will never happen."""
        if self._keeps_order:
            errand = self._order[self._head] if self._head < len(self._order) else None
            if errand is None or errand.happened or self._everybody_script_s < errand.t_s - 1e-6:
                self._stalled_s = self._held_s = 0.0
                return
            self._held_s += STEP_S
            busy = any(self._gets_on(p) for p in self._active if p.errand is not None and p.errand.t_s <= errand.t_s)
            self._stalled_s = 0.0 if busy else self._stalled_s + STEP_S
            if self._stalled_s > PATIENCE_S or self._held_s > LONGEST_HOLD_S:
                self._refuse(errand)
            return
        for person in self._active:
            late = person.errand
            if late is None or late.happened or not self._is_due(person, late) or person.phase != Phase.INSIDE:
                person.held_s = person.stood_s = 0.0
                continue
            person.held_s += STEP_S
            person.stood_s = 0.0 if self._gets_on(person) else person.stood_s + STEP_S
            if person.stood_s > PATIENCE_S or person.held_s > LONGEST_HOLD_S:
                if person.row in self._guests:
                    person.held_s = person.stood_s = 0.0
                    self._close(person, late)
                    continue
                self._refuse(late)

    def _gets_on(self, person: Person) -> bool:
        errand = person.errand
        if errand is None or person.phase == Phase.AWAY:
            return False
        return errand.state in (State.STOWING, State.REACHING, State.AFTER) or (
            bool(self._crowd.walking[person.row]) and float(self._crowd.speed_mps[person.row]) > 0.3
        )

    def _refuse(self, errand: Errand) -> None:
        person = self._people[self._rows[errand.first.shopper]]
        if person.phase == Phase.AWAY:
            reason = f"{person.shopper.shopper_id} is not in the store"
        elif person.errand is not errand:
            reason = f"{person.shopper.shopper_id} does not get to it"
        else:
            reason = person.obstacle or f"{person.shopper.shopper_id} cannot get there"
        source = self._scenario.path or self._scenario.name
        raise ValueError(f"{source}: event {errand.numbers[0]}: {errand.first.action} cannot happen: {reason}")

    # Doors

    def _let_in(self) -> None:
        """Let those appear before the entrance whose time has come, one behind the other."""
        crowd, door = self._crowd, self._plan.entrance
        clock_s = self._everybody_script_s if self._keeps_order else self.now_s
        while self._coming:
            person = self._coming[0]
            row, enters_s = person.row, person.visits[0][0]
            lead_s = OUTSIDE_M / float(crowd.usual_pace_mps[row]) + 0.2
            if clock_s < enters_s - lead_s:
                return
            at = self._in_door(door)
            start = at - OUTSIDE_M * door.inward
            others = crowd.position_m[crowd.present]
            if len(others) and (np.linalg.norm(others - start, axis=1) < ROOM_M).any():
                return
            self._coming.pop(0)
            person.errands = person.visits.pop(0)[1]
            person.door_m, person.is_through = at, False
            self._script_s[row] = max(0.0, enters_s - lead_s)
            crowd.appear(row, start, float(np.arctan2(door.inward[1], door.inward[0])))
            crowd.between[row] = True
            crowd.rank[row] = NO_HURRY / 2
            crowd.pace_mps[row] = crowd.usual_pace_mps[row]
            crowd.go(row, self._inner_point(door, at)[None])
            person.phase = Phase.COMING_IN
            self._active.append(person)
            self._active.sort(key=lambda one: one.row)

    def _pass_doors(self, person: Person) -> None:
        crowd, row = self._crowd, person.row
        position = crowd.position_m[row]
        if person.phase == Phase.COMING_IN:
            door = self._plan.entrance
            depth = float(door.depth_m(position))
            clear = float(self._plan.clearances_m(position)) >= BODY_RADIUS_M
            if person.is_through and depth > 0.3 and clear:
                crowd.between[row] = False
                crowd.stop(row)
                crowd.rank[row] = NO_HURRY
                person.phase = Phase.INSIDE
                person.review_s = 0.0
            else:
                self._keep_in_door(row, door)
            return
        door = self._plan.exit
        depth = float(door.depth_m(position))
        if not crowd.between[row]:
            inner = person.inner_m
            arrived = _apart(inner, position) < 0.35 or (depth < INSIDE_M and self._before(door, position))
            if arrived:
                crowd.between[row] = True
                crowd.go(row, (person.door_m - BEYOND_M * door.inward)[None])
            elif not crowd.walking[row] or (crowd.stuck_s[row] > 4.0 and self.now_s > person.review_s):
                person.review_s = self.now_s + 4.0
                crowd.go(row, self._router.route(position, inner))
            return
        self._keep_in_door(row, door)
        if person.is_through and depth < -OUTSIDE_M + 0.1:
            crowd.between[row] = False
            crowd.disappear(row)
            person.phase = Phase.AWAY
            if person.visits:
                self._coming = sorted([*self._coming, person], key=lambda one: one.visits[0][0])
            if not self._coming and all(p.phase == Phase.AWAY for p in self._active):
                self._ended_s = self.now_s

    def _in_door(self, door: Door) -> FloatArray:
        share = self._rng.uniform(0.35, 0.65)
        return np.asarray(door.line_m[0] * share + door.line_m[1] * (1 - share))

    def _inner_point(self, door: Door, at: FloatArray) -> FloatArray:
        """Where one stands who has just come in: the first clear place inwards of a point of the door."""
        ways = at + np.arange(INSIDE_M, 2.0, 0.1)[:, None] * door.inward
        clear = self._plan.clearances_m(ways) >= BODY_RADIUS_M + 0.05
        return np.asarray(ways[int(np.argmax(clear))])

    def _before(self, door: Door, position: FloatArray) -> bool:
        along = (door.line_m[1] - door.line_m[0]) / door.width_m
        return 0.1 < float((position - door.line_m[0]) @ along) < door.width_m - 0.1

    def _keep_in_door(self, row: int, door: Door) -> None:
        """Nobody passes through the wall beside a door: who comes too near to its ends is led to its middle."""
        position = self._crowd.position_m[row]
        if abs(float(door.depth_m(position))) < 0.8:
            along = (door.line_m[1] - door.line_m[0]) / door.width_m
            offset = float((position - door.line_m[0]) @ along)
            margin = min(0.25, 0.4 * door.width_m)
            aside = min(max(offset, margin), door.width_m - margin) - offset
            most = SIDESTEP_MPS * STEP_S
            self._crowd.position_m[row] += min(max(aside, -most), most) * along

    def _cross_lines(self) -> None:
        crowd = self._crowd
        if not crowd.between.any():
            return
        for row in np.flatnonzero(crowd.between & crowd.present).tolist():
            person = self._people[row]
            if person.is_through:
                continue
            if person.phase == Phase.COMING_IN and self._plan.entrance.depth_m(crowd.position_m[row]) > 0:
                person.is_through = True
                self._come_in(person)
            elif person.phase == Phase.GOING_OUT and self._plan.exit.depth_m(crowd.position_m[row]) < 0:
                person.is_through = True
                self._go_out(person)

    def _come_in(self, person: Person) -> None:
        code = person.payer
        if person.shopper.role is Role.STAFF and person.row not in self._guests:
            code = f"staff:{person.shopper.shopper_id}"
        self._gates.append(GateEvent(self.now_ns, "entrance", "passed-in", code))
        if person.row in self._guests:
            self._chronicle.pays(person.shopper.shopper_id, person.payer)
        person.visit = self._chronicle.come_in(person.shopper.shopper_id, self.now_ns)

    def _go_out(self, person: Person) -> None:
        self._gates.append(GateEvent(self.now_ns, "exit", "passed-out", None))
        self._chronicle.go_out(person.visit, self.now_ns)
        carried = np.flatnonzero(self.stock.holder == person.row).tolist()
        self._chronicle.use(carried)
        self.stock.gone(carried)
        self._crowd.carries[person.row] = False

    # What somebody inside does

    def _pursue(self, person: Person) -> None:
        errand = person.errand
        if person.fidget is not None:
            self._fidget(person, person.fidget)
        if errand is None or errand.state < State.REACHING:
            self._withdraw(person)
        if errand is None:
            self._leave_or_wait(person)
        elif person.engaged_by != NOBODY:
            self._attend(person)
        elif errand.state == State.WAITING:
            self._wait(person, errand)
        elif errand.state == State.GOING:
            self._walk_there(person, errand)
        elif errand.state == State.THERE:
            self._begin(person, errand)
        elif errand.state == State.STOWING:
            self._stow(person, errand)
        elif errand.state in (State.REACHING, State.PREPARED):
            self._reach(person, errand)
        else:
            self._finish(person, errand)

    def _leave_or_wait(self, person: Person) -> None:
        leaves_s = person.shopper.leaves_at_s
        returns_s = person.shopper.returns_at_s
        if leaves_s is not None and returns_s is not None and (leaves_s >= returns_s) == bool(person.visits):
            leaves_s = None  # it is told of the other visit
        back_s = person.visits[0][0] if person.visits else np.inf
        wanted = any(e.state < State.DONE and e.t_s < back_s for e in person.wanted)
        if person.engaged_by != NOBODY:
            self._attend(person)
        elif wanted or (leaves_s is not None and self._clock_s(person) < leaves_s - 1e-6):
            self._look_around(person, np.inf)
        elif person.withdrawn and person.fidget is None:
            door = self._plan.exit
            person.phase = Phase.GOING_OUT
            person.is_through = False
            person.door_m = self._in_door(door)
            person.inner_m = self._inner_point(door, person.door_m)
            self._crowd.anchored[person.row] = False
            self._crowd.pace_mps[person.row] = self._crowd.usual_pace_mps[person.row]
            self._crowd.rank[person.row] = NO_HURRY / 2
            self._crowd.go(
                person.row,
                self._router.route(self._crowd.position_m[person.row], person.inner_m),
            )

    def _attend(self, person: Person) -> None:
        """Stand and look at who wants something."""
        crowd = self._crowd
        if crowd.walking[person.row]:
            crowd.stop(person.row)
        crowd.look_rad[person.row] = _towards(crowd.position_m[person.row], crowd.position_m[person.engaged_by])

    def _wait(self, person: Person, errand: Errand) -> None:
        if self.now_s >= person.review_s or self._is_due(person, errand):
            goal = self._goal(person, errand)
            if goal is not None:
                way = self._router.route(self._crowd.position_m[person.row], goal)
                length = way_length_m(self._crowd.position_m[person.row], way)
                person.travel_s = 1.15 * length / float(self._crowd.usual_pace_mps[person.row])
        if self._is_due(person, errand, person.travel_s + EARLY_S):
            errand.state = State.GOING
            person.review_s = 0.0
            self._walk_there(person, errand)
        else:
            self._look_around(person, errand.t_s - self._clock_s(person) - person.travel_s - EARLY_S)

    def _look_around(self, person: Person, spare_s: float) -> None:
        """Stroll to something to look at when there is time, and otherwise stand."""
        crowd, row = self._crowd, person.row
        crowd.rank[row] = NO_HURRY
        if crowd.walking[row]:
            arrived = _apart(crowd.goal_m(row), crowd.position_m[row]) < 0.15
            if arrived or crowd.stuck_s[row] > 1.5:
                crowd.stop(row)
                crowd.look_rad[row] = _towards(crowd.position_m[row], person.focus_m)
                if arrived and person.handles and spare_s > LEAST_SPARE_S:
                    self._finger(person, spare_s)
        if self.now_s < person.review_s or person.fidget is not None:
            return
        person.review_s = self.now_s + float(self._rng.uniform(3.0, 8.0))
        if spare_s < 3.0:
            return
        person.handles = spare_s > 2 * EARLY_S and self._does(person, self._habits.handles)
        spots, focus = self._handling if person.handles else self._browsing
        near = np.flatnonzero(np.linalg.norm(spots - crowd.position_m[row], axis=1) < 4.0)
        others = crowd.position_m[crowd.present & (np.arange(len(crowd.present)) != row)]
        if len(near) and len(others):
            near = near[(np.linalg.norm(spots[near][:, None] - others, axis=2) > COMPANY_M).all(axis=1)]
        if len(near):
            chosen = int(near[int(self._rng.integers(len(near)))])
            person.focus_m = focus[chosen]
            crowd.go(row, self._router.route(crowd.position_m[row], spots[chosen]))

    def _places_to_look_from(self, away_m: float, clear_m: float) -> tuple[FloatArray, FloatArray]:
        middles, inward = fronts(self.layout)
        spots = middles - away_m * inward
        fits = self._plan.clearances_m(spots) > clear_m
        for door in (self._plan.entrance, self._plan.exit):
            fits &= np.linalg.norm(spots - door.middle_m, axis=1) > 1.0
        return spots[fits], middles[fits]

    def _goal(self, person: Person, errand: Errand) -> FloatArray | None:
        """Where an errand is to be done, as things stand; None if it cannot be done now."""
        event = errand.first
        here = self._crowd.position_m[person.row]
        person.obstacle = ""
        if event.action in CONTACTS:
            target = self._target(person, errand)
            return None if target is None else self._spot(person, *target)
        if event.action is Action.REACH_ACROSS and event.other is not None:
            person.across = self._rows[event.other]
            following = person.errands[1] if len(person.errands) > 1 else None
            target = None
            if following is not None and following.first.action in CONTACTS:
                target = self._target(person, following)
            person.obstacle = ""
            spot = None if target is None else self._spot(person, *target)
            return np.array(here) if spot is None else spot
        if event.action in MEETINGS and event.other is not None:
            other = self._people[self._rows[event.other]]
            if other.phase != Phase.INSIDE:
                person.obstacle = f"{event.other} is not in the store"
                return None
            there = self._crowd.position_m[other.row]
            away = here - there
            far = float(np.linalg.norm(away))
            keep = HANDING_M - 0.1
            return np.array(here if far <= keep else there + away / far * keep)
        return np.array(here)

    def _target(self, person: Person, errand: Errand) -> tuple[FloatArray, FloatArray, float] | None:
        """Where the hand will go, shape (3,), the way into that shelf and how deep; says why not in ``obstacle``."""
        person.obstacle = ""
        event = errand.first
        place = event.place
        if event.action is Action.TAKE_FOREIGN:
            unit = self._foreign_unit(person, event)
            if unit is None:
                person.obstacle = "nothing foreign stands there"
                return None
            return self._into(self.stock.place_of(unit), self.stock.grip_m(unit))
        if place is None or not self.stock.has(place):
            person.obstacle = "there is no such place on the shelves"
            return None
        if event.action in (Action.PICK, Action.HOLD):
            for one in errand.events:
                free = self._free_units(one)
                if len(free) < one.quantity:
                    person.obstacle = f"{len(free)} of {one.barcode} stand there, not {one.quantity}"
                    return None
            return self._into(place, self.stock.grip_m(self._free_units(event)[0]))
        if event.action is Action.PUT_BACK:
            carried = self.stock.carried(person.row, str(event.barcode))
            if len(carried) < event.quantity:
                person.obstacle = (
                    f"{person.shopper.shopper_id} holds {len(carried)} of {event.barcode}, not {event.quantity}"
                )
                return None
        return self._into(place, self.stock.middle_m(place, event.barcode))

    def _into(self, place: Place, point_m: FloatArray) -> tuple[FloatArray, FloatArray, float]:
        return point_m, self.stock.inward((place.gondola, place.shelf)), self.stock.depth_m(place, point_m)

    def _free_units(self, event: ScenarioEvent) -> list[int]:
        if event.place is None or event.barcode is None:
            return []
        free = [row for row in self.stock.standing(event.place, event.barcode) if row not in self._reserved]
        return sorted(free, key=self._under_hands.__contains__)

    def _foreign_unit(self, person: Person, event: ScenarioEvent) -> int | None:
        there = [
            (unit, owner)
            for unit, owner in self._foreign
            if unit not in self._reserved and (event.place is None or self.stock.is_at(unit, event.place))
        ]
        own = [unit for unit, owner in there if owner == person.row]
        return own[-1] if own else there[-1][0] if there else None

    def _spot(self, person: Person, target_m: FloatArray, inward: FloatArray, depth_m: float) -> FloatArray | None:
        """Where to stand to reach a point on a shelf: near it, clear of fixtures, not where somebody works."""
        crowd, row = self._crowd, person.row
        spots, aside, cost = places_before(self._plan, target_m[:2], inward, depth_m)
        if not len(spots):
            person.obstacle = "there is no room to stand before it"
            return None
        cost += 0.1 * np.linalg.norm(spots - crowd.position_m[row], axis=1)
        if person.across != NOBODY and crowd.present[person.across]:
            # Over their space: beyond them, as seen from where the hand goes.
            along = np.array([inward[1], -inward[0]])
            side = float((crowd.position_m[person.across] - target_m[:2]) @ along)
            beyond = side + math.copysign(ROOM_M, side if abs(side) > 0.05 else 1.0)
            cost += 3.0 * np.abs(aside - np.clip(beyond, -0.55, 0.55))
        others = np.array([p.row for p in self._active if p.row not in (row, person.across)], np.int64)
        if len(others):
            goes_first = crowd.rank[others] < crowd.rank[row]
            weight = np.where(crowd.anchored[others] | goes_first, 6.0, 0.5)
            goes_on = goes_first & crowd.walking[others]
            there = np.where(goes_on[:, None], crowd.goals_m(others), crowd.position_m[others])
            for places in (crowd.position_m[others], there):
                gap = np.sqrt(((spots[:, None] - places) ** 2).sum(axis=2))
                cost += (weight * np.maximum(ROOM_M - gap, 0)).sum(axis=1)
        person.focus_m = target_m[:2]
        return np.asarray(spots[int(np.argmin(cost))])

    def _walk_there(self, person: Person, errand: Errand) -> None:
        crowd, row = self._crowd, person.row
        event = errand.first
        crowd.rank[row] = errand.numbers[0] if self._keeps_order else 1e3 + errand.t_s
        now = self.now_s >= person.review_s
        at_once = event.action in (Action.DROP, Action.CONSUME, Action.CONCEAL)
        if at_once or (now and self._reaches_from_here(person, errand)):
            crowd.stop(row)
            errand.state, person.is_asked = State.THERE, True
            self._begin(person, errand)
            return
        if now:
            person.review_s = self.now_s + 0.7
            goal = self._goal(person, errand)
            if goal is None:
                if crowd.walking[row]:
                    crowd.stop(row)
                return
            if not crowd.walking[row] or _apart(goal, crowd.goal_m(row)) > 0.15 or crowd.stuck_s[row] > 3.0:
                person.spot_m = goal
                stuck_s = float(crowd.stuck_s[row])
                crowd.go(row, self._router.route(crowd.position_m[row], goal))
                crowd.stuck_s[row] = stuck_s
        elif person.obstacle:
            return
        if event.action in MEETINGS and event.other is not None:
            self._approach(person, errand, self._people[self._rows[event.other]])
            return
        off = _apart(person.spot_m, crowd.position_m[row])
        # Where it is crowded, somewhere near must do.
        enough = NEAR_M + 0.12 * min(4.0, float(crowd.stuck_s[row]))
        near = _apart(person.focus_m, crowd.position_m[row]) < FARTHEST_M
        if off < NEAR_M or (off < enough and near):
            crowd.stop(row)
            crowd.look_rad[row] = _towards(crowd.position_m[row], person.focus_m)
            errand.state, person.is_asked = State.THERE, False

    def _reaches_from_here(self, person: Person, errand: Errand) -> bool:
        """Whether somebody in a hurry need not take a step to do the next thing too."""
        if errand.first.action not in CONTACTS or self._clock_s(person) + HURRY_S < errand.t_s:
            return False
        here = self._crowd.position_m[person.row]
        target = self._target(person, errand)
        if target is None or _apart(target[0][:2], here) > ARM_M:
            return False
        inside_m = float((here - target[0][:2]) @ target[1])
        if inside_m > -target[2] - 0.25:  # beside the shelf, not before it
            return False
        person.spot_m, person.focus_m = here.copy(), target[0][:2]
        return True

    def _approach(self, person: Person, errand: Errand, other: Person) -> None:
        crowd = self._crowd
        gap = _apart(crowd.position_m[person.row], crowd.position_m[other.row])
        is_free = other.phase == Phase.INSIDE and other.engaged_by in (NOBODY, person.row) and other.withdrawn
        is_free &= other.errand is None or not State.STOWING <= other.errand.state <= State.AFTER
        is_free &= person.engaged_by == NOBODY
        if gap < 1.3 and is_free and self._is_due(person, errand, EARLY_S) and self._may_begin(errand):
            other.engaged_by = person.row
        if gap < HANDING_M + 0.1 and other.engaged_by == person.row:
            crowd.stop(person.row)
            crowd.look_rad[person.row] = _towards(crowd.position_m[person.row], crowd.position_m[other.row])
            errand.state = State.THERE

    def _begin(self, person: Person, errand: Errand) -> None:
        """Stand ready, and raise the hand when it is time."""
        crowd, row = self._crowd, person.row
        event = errand.first
        if person.fidget is not None:
            return
        if event.action in (Action.REACH_ACROSS, Action.SWAP_PLACE):
            if self._is_due(person, errand) and self._may_begin(errand):
                errand.state = State.PREPARED
            return
        spare_s = errand.t_s - person.last_s
        quick = self._is_due(person, errand) or spare_s < 2.5
        if not person.raise_s:
            person.raise_s = QUICK_RAISE_S if quick else RAISE_S
            person.dwell_s = QUICK_DWELL_S if spare_s < 1.5 else float(self._rng.uniform(*DWELL_S))
            person.rummages_s = 0.0
            spare_s = errand.t_s - self._clock_s(person) - person.raise_s - person.dwell_s - 0.2
            takes = event.action in (Action.PICK, Action.HOLD)
            if takes and spare_s > RUMMAGES_S[0] and self._does(person, self._habits.rummages):
                person.rummages_s = min(float(self._rng.uniform(*RUMMAGES_S)), spare_s)
                person.dwell_s += person.rummages_s
        if not self._is_due(person, errand, person.raise_s + person.dwell_s + 0.1) or not self._may_begin(errand):
            drifted = _apart(person.spot_m, crowd.position_m[row])
            if event.action in CONTACTS and drifted > 0.3 and self.now_s >= person.review_s:
                errand.state = State.GOING  # pushed away by somebody in a hurry
            elif not person.is_asked:
                person.is_asked = True
                ahead_s = errand.t_s - self._clock_s(person) - person.raise_s - person.dwell_s
                if ahead_s > LEAST_SPARE_S and self._does(person, self._habits.fingers):
                    self._finger(person, ahead_s)
            return
        if event.action in CONTACTS:
            target = self._target(person, errand)
            far = np.inf if target is None else _apart(target[0][:2], crowd.position_m[row])
            if target is None or far > FARTHEST_M + 0.1:
                errand.state = State.GOING
                person.review_s = 0.0 if target is not None else self.now_s + 0.5
                return
            person.focus_m = target[0][:2]
            look = _towards(crowd.position_m[row], person.focus_m)
            crowd.look_rad[row] = look
            if abs(_turn(look - float(crowd.heading_rad[row]))) > (1.0 if self._is_due(person, errand) else 0.5):
                return
        elif event.barcode is not None:
            carried = self.stock.carried(row, event.barcode)
            if len(carried) < event.quantity:
                person.obstacle = (
                    f"{person.shopper.shopper_id} holds {len(carried)} of {event.barcode}, not {event.quantity}"
                )
                return
            person.obstacle = ""
        crowd.anchored[row] = True
        self._choose_hands(person, errand)

    def _choose_hands(self, person: Person, errand: Errand) -> None:
        """Settle which hand does it, and make it free or fetch the goods if need be."""
        crowd, row = self._crowd, person.row
        event = errand.first
        held = [self.stock.in_hand(row, hand) for hand in (LEFT, RIGHT)]
        if event.action in (Action.PUT_BACK, Action.HAND_OVER, Action.DROP, Action.CONSUME, Action.CONCEAL):
            units = self.stock.carried(row, str(event.barcode))[: event.quantity]
            person.rows = [units]
            where = [int(self.stock.hand[u]) for u in units if self.stock.whereabouts[u] == Whereabouts.HAND]
            hand = where[0] if where else self._free_hand(person, held)
            person.hands = [hand]
            if len(where) == len(units) and all(h == hand for h in where):
                self._raise(person, errand)
                return
        else:
            hand = self._free_hand(person, held)
            person.hands = [hand]
            if not held[hand]:
                if len(errand.events) > 1 and not held[1 - hand]:
                    person.hands.append(1 - hand)
                self._raise(person, errand)
                return
            if self._is_due(person, errand, HURRY_S / 2):
                self._put_away(row, hand)  # it has had the time, while the other hand was busy
                self._raise(person, errand)
                return
        errand.state = State.STOWING
        crowd.send_hand(row, hand, crowd.hip_m(row, hand), STOW_S / 2)

    def _free_hand(self, person: Person, held: Sequence[Sequence[int]]) -> int:
        """The hand nearer to the goods if both are free, else the free one, else the one that is used to it."""
        row = person.row
        free = [hand for hand in (LEFT, RIGHT) if not held[hand]]
        favourite = int(self._crowd.favourite[row])
        if len(free) == 1:
            return free[0]
        if not free:
            return 1 - person.last_hand
        busy = self._crowd.reach[row] > 0.1
        if busy.any() and not busy.all():  # the other hand is still on its way back
            return int(np.argmin(busy))
        off = _turn(_towards(self._crowd.position_m[row], person.focus_m) - float(self._crowd.heading_rad[row]))
        if abs(off) > 0.35:
            return LEFT if off > 0 else RIGHT
        return favourite

    def _stow(self, person: Person, errand: Errand) -> None:
        crowd, row = self._crowd, person.row
        hand = person.hands[0]
        if not crowd.hand_arrived(row, hand):
            return
        if person.rows:
            self.stock.hand_to(person.rows[0], row, hand)
        else:
            self._put_away(row, hand)
        self._show_hands(row)
        self._raise(person, errand)

    def _put_away(self, row: int, hand: int) -> None:
        units = self.stock.in_hand(row, hand)
        if self._crowd.bag[row] or self._crowd.trolley[row]:
            self.stock.bag(units)
        else:
            self.stock.hand_to(units, row, 1 - hand)  # against the body, with the rest

    def _raise(self, person: Person, errand: Errand) -> None:
        """Take hold of what it is about and send the hands there."""
        crowd, row = self._crowd, person.row
        event, action = errand.first, errand.first.action
        aims: list[FloatArray] = []
        if action in (Action.PICK, Action.HOLD):
            person.rows = []
            for one in errand.events:
                units = self._free_units(one)[: one.quantity]
                if len(units) < one.quantity:  # somebody else was quicker
                    self._step_back(person, errand)
                    return
                person.rows.append(units)
                self._reserved.update(units)
                aims.append(self.stock.grip_m(units[0]))
        elif action is Action.TAKE_FOREIGN:
            unit = self._foreign_unit(person, event)
            if unit is None:
                self._step_back(person, errand)
                return
            person.rows = [[unit]]
            self._reserved.add(unit)
            aims.append(self.stock.grip_m(unit))
        elif action in (Action.PUT_BACK, Action.RESTOCK, Action.PLACE_FOREIGN) and event.place is not None:
            if action is Action.RESTOCK:
                person.remaining = person.remaining or event.quantity
                person.rows = [self._delivered(event, min(person.remaining, UNITS_A_GRIP))]
            elif action is Action.PLACE_FOREIGN:
                person.rows = [[self._brought(errand)]]
            self.stock.hand_to(person.rows[0], row, person.hands[0])
            person.slots = [self.stock.slots(event.place, person.rows[0], crowd.position_m[row], self._rng)]
            aims.append(self.stock.slot_grip_m(person.slots[0][0], person.rows[0][0]))
        elif action is Action.TOUCH and event.place is not None:
            units = self.stock.at(event.place)
            units = [unit for unit in units if unit not in self._reserved | self._under_hands] or units
            person.rows = [units[:1]]
            self._under_hands.update(units[:1])
            aims.append(self.stock.grip_m(units[0]) if units else self.stock.middle_m(event.place, None))
        elif action is Action.HAND_OVER and event.other is not None:
            other = self._rows[event.other]
            aims.append(self._between_m(row, other))
            taking = self._receiving_hand(other)
            crowd.send_hand(other, taking, aims[0], person.raise_s + 0.2)
        elif action is Action.CONSUME:
            aims.append(crowd.mouth_m(row, person.hands[0]))
        elif action is Action.CONCEAL:
            aims.append(crowd.hip_m(row, person.hands[0]))
        else:
            aims.append(crowd.down_m(row, person.hands[0]))
        self._show_hands(row)
        person.aim_m = aims[0]
        for hand, aim in zip(person.hands, aims, strict=False):
            crowd.send_hand(row, hand, aim, person.raise_s)
        person.ready_s = np.inf
        person.withdrawn = False
        errand.state = State.REACHING

    def _step_back(self, person: Person, errand: Errand) -> None:
        self._release(person)
        errand.state = State.GOING
        person.review_s = 0.0

    def _reach(self, person: Person, errand: Errand) -> None:
        crowd, row = self._crowd, person.row
        if person.ready_s == np.inf and all(crowd.hand_arrived(row, hand) for hand in person.hands):
            person.ready_s = self.now_s + person.dwell_s
            if errand.first.action in CONTACTS:
                self._press_before(person, errand)
                if self._does(person, self._habits.leans):
                    self._rest_hand(person, errand)
        if person.rummages_s and self.now_s < person.ready_s < np.inf and self._tick % WOBBLE_TICKS == 0:
            # The hand is back in its place a moment before it takes anything.
            off = self._rng.uniform(-WOBBLE_M, WOBBLE_M, 3) * (person.ready_s - self.now_s > 2 * WOBBLE_TICKS * STEP_S)
            crowd.send_hand(row, person.hands[0], person.aim_m + off, person.raise_s)
        if errand.state == State.REACHING and self.now_s >= person.ready_s - 1e-9:
            errand.state = State.PREPARED

    def _between_m(self, giver: int, other: int) -> FloatArray:
        crowd = self._crowd
        middle = (crowd.position_m[giver] + crowd.position_m[other]) / 2
        return np.array([*middle, 0.62 * min(float(crowd.height_m[giver]), float(crowd.height_m[other]))])

    def _receiving_hand(self, row: int) -> int:
        held = [self.stock.in_hand(row, hand) for hand in (LEFT, RIGHT)]
        favourite = int(self._crowd.favourite[row])
        return favourite if not held[favourite] or held[1 - favourite] else 1 - favourite

    def _delivered(self, event: ScenarioEvent, count: int) -> list[int]:
        index = self.stock.index(str(event.barcode))
        units = [unit for unit in self.stock.undelivered if self.stock.sku_index[unit] == index][:count]
        for unit in units:
            self.stock.undelivered.remove(unit)
        return units

    def _brought(self, errand: Errand) -> int:
        order = [n for n, e in enumerate(self._scenario.events, start=1) if e.action is Action.PLACE_FOREIGN]
        return self.stock.first_foreign + order.index(errand.numbers[0])

    # What happens when it happens

    def _act(self, person: Person, errand: Errand) -> None:
        action = errand.first.action
        person.last_s = errand.t_s
        self._reserved.difference_update(unit for units in person.rows for unit in units)
        person.end_s = self.now_s + FREE_AGAIN_S
        person.withdraw_s = self.now_s + RELEASE_S
        if action is Action.PICK:
            for k, (event, units) in enumerate(zip(errand.events, person.rows, strict=True)):
                hand = person.hands[min(k, len(person.hands) - 1)]
                lost = self.stock.take(units, person.row, hand)
                # Two hands do not lift at the same instant.
                settled_s = self._touches.weigh(lost, -1.0, float(self._rng.uniform(0.03, 0.35)) if k else 0.0)
                self._stay(person, settled_s)
                self._note(person, Handling.PICK, event.place, lost, event.barcode, event.quantity)
        elif action is Action.TAKE_FOREIGN:
            unit = person.rows[0][0]
            place = self.stock.place_of(unit)
            lost = self.stock.take([unit], person.row, person.hands[0])
            self._foreign = [entry for entry in self._foreign if entry[0] != unit]
            self._touches.weigh(lost, -1.0)
            self._note(person, Handling.PICK, place, lost, None, 1)
        elif action in (Action.PUT_BACK, Action.RESTOCK, Action.PLACE_FOREIGN):
            self._set_down(person, errand)
        elif action is Action.TOUCH:
            self._touch(person, errand)
        elif action is Action.HOLD:
            self._hold(person, errand)
        elif action is Action.HAND_OVER and errand.first.other is not None:
            other = self._rows[errand.first.other]
            hand = self._receiving_hand(other)
            self.stock.hand_to(person.rows[0][::-1], other, hand)
            self._show_hands(other)
            self._crowd.ease_hand(other, hand, WITHDRAW_S)
        elif action is Action.DROP:
            self.stock.drop(person.rows[0], self._floor_near(person), float(self._rng.uniform(-np.pi, np.pi)))
        elif action is Action.CONSUME:
            self._chronicle.use(person.rows[0])
            self.stock.gone(person.rows[0])
            person.end_s = self.now_s + 0.8
            person.withdraw_s = self.now_s + 0.5
        elif action is Action.CONCEAL:
            self.stock.bag(person.rows[0], hides=True)
        elif action is Action.REACH_ACROSS and errand.first.other is not None:
            person.across = self._rows[errand.first.other]
            person.end_s = self.now_s
        elif action is Action.SWAP_PLACE and errand.first.other is not None:
            self._swap(person, self._people[self._rows[errand.first.other]])
            person.end_s = self.now_s + 5.0
        if action is Action.PICK:
            person.across = NOBODY
        self._show_hands(person.row)
        errand.state = State.AFTER

    def _stay(self, person: Person, seconds: float) -> None:
        """Keep the hand on goods until all their weight has come or gone."""
        person.withdraw_s = max(person.withdraw_s, self.now_s + seconds)
        person.end_s = max(person.end_s, self.now_s + seconds + FREE_AGAIN_S - RELEASE_S)

    def _set_down(self, person: Person, errand: Errand) -> None:
        event = errand.first
        units = person.rows[0]
        gained = self.stock.put(units, person.slots[0], event.place)
        self._stay(person, self._touches.weigh(gained))
        self._touches.set_down(gained)
        sku = None if event.action is Action.PLACE_FOREIGN else event.barcode
        self._note(person, Handling.PUT_BACK, event.place, gained, sku, len(units))
        if event.action is Action.PLACE_FOREIGN:
            self._foreign.append((units[0], person.row))
        if event.action is Action.RESTOCK:
            person.remaining -= len(units)
            if person.remaining > 0:
                person.end_s = self.now_s + RESTOCK_PAUSE_S

    def _touch(self, person: Person, errand: Errand) -> None:
        seconds = errand.first.seconds or 1.0
        units = person.rows[0]
        mass_g = float(self.stock.mass_g[units[0]]) if units else 0.0
        self._touches.handle(self._plates_under(person, errand.first), mass_g, seconds)
        if units:
            self._touches.weigh(self.stock.nudge(units[0], float(self._rng.uniform(-0.02, 0.02))))
        person.end_s = self.now_s + max(seconds, FREE_AGAIN_S)
        person.withdraw_s = self.now_s + max(seconds - 0.1, RELEASE_S)

    def _hold(self, person: Person, errand: Errand) -> None:
        seconds = errand.first.seconds or 1.0
        person.slots = [[self.stock.slot_of(unit) for unit in person.rows[0]]]
        lifted = self.stock.take(person.rows[0], person.row, person.hands[0], takes=False)
        self._touches.hover(lifted, seconds)
        person.end_s = self.now_s + seconds + FREE_AGAIN_S
        person.withdraw_s = self.now_s + seconds + RELEASE_S
        person.ready_s = self.now_s + seconds

    def _swap(self, person: Person, other: Person) -> None:
        crowd = self._crowd
        one, two = crowd.position_m[person.row].copy(), crowd.position_m[other.row].copy()
        for row, goal in ((person.row, two), (other.row, one)):
            crowd.anchored[row] = False
            crowd.pace_mps[row] = SWAP_PACE_MPS
            crowd.go(row, goal[None])
            crowd.stuck_s[row] = 1.5  # they mean to pass, so they turn sideways at once
        other.engaged_by = NOBODY
        other.spot_m = one
        person.spot_m = two

    def _floor_near(self, person: Person) -> FloatArray:
        crowd, row = self._crowd, person.row
        turns = float(crowd.heading_rad[row]) + np.array([0.4, -0.4, 1.2, -1.2, 2.2, -2.2, 3.1, 0.0])
        places = crowd.position_m[row] + 0.35 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        return np.asarray(places[int(np.argmax(self._plan.clearances_m(places) > 0.1))])

    def _finish(self, person: Person, errand: Errand) -> None:
        """Take the hand back, and turn to the next thing."""
        crowd, row = self._crowd, person.row
        action = errand.first.action
        if action is Action.HOLD and person.slots and self.now_s >= person.ready_s - 1e-9:
            self._touches.set_down(self.stock.put(person.rows[0], person.slots[0]))
            person.slots = []
            self._show_hands(row)
        if action is Action.SWAP_PLACE:
            arrived = _apart(person.spot_m, crowd.position_m[row]) < 0.25
            if arrived or self.now_s >= person.end_s:
                other = self._people[self._rows[str(errand.first.other)]]
                for one in (person, other):
                    crowd.pace_mps[one.row] = crowd.usual_pace_mps[one.row]
                    if one.errand is None or one.errand.state != State.GOING:
                        crowd.stop(one.row)
                self._close(person, errand)
            return
        if self.now_s >= person.withdraw_s - 1e-9 and not person.withdrawn and person.hands:
            for hand in person.hands:
                crowd.ease_hand(row, hand, WITHDRAW_S)
            person.withdrawn = True
        if self.now_s >= person.end_s - 1e-9:
            if action is Action.RESTOCK and person.remaining > 0:
                person.raise_s, person.dwell_s = QUICK_RAISE_S, QUICK_DWELL_S
                self._raise(person, errand)
                errand.state = State.REACHING
                return
            self._close(person, errand)

    def _close(self, person: Person, errand: Errand) -> None:
        errand.state = State.DONE
        person.errands.pop(0)
        if errand.first.other is not None:
            other = self._people[self._rows[errand.first.other]]
            if other.engaged_by == person.row:
                other.engaged_by = NOBODY
        person.last_hand = person.hands[0] if person.hands else person.last_hand
        if errand.first.action is Action.PICK and len(person.hands) == 1:
            hand = person.hands[0]
            if not self.stock.in_hand(person.row, 1 - hand) and self._does(person, self._habits.changes_hands):
                self.stock.hand_to(self.stock.in_hand(person.row, hand), person.row, 1 - hand)
                self._show_hands(person.row)
        self._release(person)
        person.raise_s = 0.0
        person.review_s = self.now_s + (0.0 if person.errand is not None else 0.6)

    def _release(self, person: Person) -> None:
        """Let go of plans; hands go back."""
        self._reserved.difference_update(unit for units in person.rows for unit in units)
        self._under_hands.difference_update(unit for units in person.rows for unit in units)
        person.hands, person.rows, person.slots = [], [], []
        self._crowd.anchored[person.row] = False
        self._crowd.rank[person.row] = NO_HURRY
        self._withdraw(person)

    def _withdraw(self, person: Person) -> None:
        if not person.withdrawn:
            for hand in (LEFT, RIGHT):
                self._crowd.ease_hand(person.row, hand, WITHDRAW_S)
            person.withdrawn = True

    # What is felt and told

    def _show_hands(self, row: int) -> None:
        held = (self.stock.holder == row) & (self.stock.whereabouts == Whereabouts.HAND)
        hands = self.stock.hand[held]
        self._crowd.carries[row] = [(hands == LEFT).any(), (hands == RIGHT).any()]

    def _plates_under(self, person: Person, event: ScenarioEvent) -> list[tuple[str, float]]:
        if person.rows and person.rows[0] and event.action is not Action.PUT_BACK:
            shares = self.stock.shares(person.rows[0][0])
            if shares:
                return shares
        if event.place is None or not event.place.plate_ids:
            return []
        return [(event.place.plate_ids[len(event.place.plate_ids) // 2], 1.0)]

    def _press_before(self, person: Person, errand: Errand) -> None:
        """Let a hand that has arrived lean on the shelf."""
        event = errand.first
        if event.action in (Action.PUT_BACK, Action.RESTOCK, Action.PLACE_FOREIGN):
            if self._rng.random() > LEANS_BEFORE_PUTTING:
                return
            slot = person.slots[0][0]
            plates = self.stock.plates_at(slot, person.rows[0][0])
        else:
            plates = self._plates_under(person, event)
        plates = list(plates)
        if plates and self._rng.random() < self._habits.spills:
            beside = self.stock.beside(plates[0][0], int(self._rng.choice((-1, 1))))
            if beside is not None and beside not in [plate_id for plate_id, _ in plates]:
                plates.append((beside, float(self._rng.uniform(0.1, 0.6))))
        if person.rummages_s:
            self._rummage(person, event, plates)
        else:
            self._touches.lean(plates)

    # What nobody told them to do

    def _does(self, person: Person, share: float) -> bool:
        """Whether somebody does something that an average shopper does this often."""
        if person.fidget is not None or person.shopper.role is Role.STAFF:  # who have better things to do
            return False
        return bool(self._rng.random() < share * float(self._restless[person.row]))

    def _rummage(self, person: Person, event: ScenarioEvent, plates: list[tuple[str, float]]) -> None:
        """Move goods about before one of them is taken."""
        there = [] if event.place is None else self.stock.at(event.place)
        others = [unit for unit in there if unit not in self._reserved][:3]
        mass_g = float(self.stock.mass_g[others].max(initial=0.0))
        self._touches.handle(plates, mass_g, max(person.rummages_s - 0.3, 0.2))
        for unit in others[:2]:
            self._touches.weigh(self.stock.nudge(unit, float(self._rng.normal(0, 0.012))))

    def _finger(self, person: Person, spare_s: float) -> None:
        """Reach for something near what they look at, to handle it, and be done in some seconds."""
        crowd, row = self._crowd, person.row
        hands = [hand for hand in (LEFT, RIGHT) if crowd.reach[row, hand] == 0 and not self.stock.in_hand(row, hand)]
        units = self.stock.within_reach(crowd.position_m[row], person.focus_m, ARM_M, ASIDE_M)
        units = [unit for unit in units if unit not in self._reserved]
        if not hands or not units:
            return
        unit = units[int(self._rng.integers(len(units)))]
        hand = int(crowd.favourite[row]) if len(hands) == 2 else hands[0]
        seconds = min(float(self._rng.uniform(*FINGERS_S)), spare_s - RAISE_S - 0.2)
        place, aim_m = self.stock.place_of(unit), self.stock.grip_m(unit)
        points = bool(self._rng.random() < self._habits.points)
        if points:
            inward = self.stock.inward((place.gondola, place.shelf))
            aim_m[:2] -= (self.stock.depth_m(place, aim_m) + POINTING_M) * inward
        crowd.send_hand(row, hand, aim_m, RAISE_S)
        person.fidget = Fidget(hand, None if points else unit, [], seconds, self.now_s)

    def _rest_hand(self, person: Person, errand: Errand) -> None:
        """Rest the other hand on the shelf while one takes or puts something."""
        crowd, row = self._crowd, person.row
        hand = 1 - person.hands[0]
        place = errand.first.place
        if len(person.hands) > 1 or place is None or crowd.reach[row, hand] > 0 or self.stock.in_hand(row, hand):
            return
        aside_m = float(self._rng.uniform(0.12, ASIDE_M)) * (-1 if hand == LEFT else 1)
        point_m, plates = self.stock.edge((place.gondola, place.shelf), person.aim_m, aside_m)
        if not 0.4 < point_m[2] < 1.4 or _apart(point_m[:2], crowd.position_m[row]) > ARM_M:
            return
        crowd.send_hand(row, hand, point_m, QUICK_RAISE_S)
        seconds = person.dwell_s + float(self._rng.uniform(0.0, 0.5))
        person.fidget = Fidget(hand, None, plates, seconds, self.now_s)

    def _fidget(self, person: Person, fidget: Fidget) -> None:
        """Let a hand that is out for nothing get there, do it, and go back."""
        crowd, row = self._crowd, person.row
        if fidget.end_s == np.inf and crowd.hand_arrived(row, fidget.hand):
            fidget.end_s = self.now_s + fidget.seconds
            if fidget.unit is None:
                self._touches.rest(fidget.plates, fidget.seconds)
            elif self.stock.whereabouts[fidget.unit] == Whereabouts.SHELF:
                plates = self.stock.shares(fidget.unit)
                self._touches.handle(plates, float(self.stock.mass_g[fidget.unit]), fidget.seconds)
                if fidget.unit not in self._reserved:
                    self._touches.weigh(self.stock.nudge(fidget.unit, float(self._rng.normal(0, 0.01))))
        late = fidget.end_s == np.inf and self.now_s > fidget.begun_s + 2 * RAISE_S
        if late or self.now_s >= fidget.end_s:
            crowd.ease_hand(row, fidget.hand, WITHDRAW_S)
            person.fidget = None

    def _note(
        self,
        person: Person,
        kind: Handling,
        place: Place | None,
        change_g: dict[str, float],
        sku: str | None,
        quantity: int,
    ) -> None:
        if place is not None:
            shopper_id = person.shopper.shopper_id
            self._chronicle.note(shopper_id, kind, self.now_ns, place, change_g, sku, quantity)

    def _brush(self) -> None:
        """Now and then somebody who passes close by knocks against a shelf."""
        crowd = self._crowd
        if self._tick % BRUSH_TICKS or not len(self._fronts_m) or not crowd.walking.any():
            return
        rows = np.flatnonzero(crowd.present & crowd.walking & ~crowd.between & (crowd.speed_mps > 0.5))
        if not len(rows):
            return
        near = self._plan.clearances_m(crowd.position_m[rows]) < BRUSH_M
        hits = near & (self._rng.random(len(rows)) < BRUSH_PER_S * BRUSH_TICKS * STEP_S)
        for row in rows[hits].tolist():
            nearest = int(np.argmin(np.linalg.norm(self._fronts_m - crowd.position_m[row], axis=1)))
            if np.linalg.norm(self._fronts_m[nearest] - crowd.position_m[row]) < 0.6:
                grams = float(self._rng.lognormal(3.4, 0.5))
                self._knocks.append(Knock(self._gondola_fronts[nearest][0], self.now_ns, grams))
                if self._rng.random() < self._habits.brushes:
                    self._touches.brush(self._brushed(crowd.position_m[row]))

    def _brushed(self, position_m: FloatArray) -> list[tuple[str, float]]:
        """Plates whose goods a bag on the shoulder of somebody there meets, at the height of hips."""
        near = np.linalg.norm(self._plate_fronts_m[:, :2] - position_m, axis=1)
        near[abs(self._plate_fronts_m[:, 2] - BAG_HEIGHT_M) > BAG_HEIGHT_M / 3] = np.inf
        if not near.min(initial=np.inf) < BRUSHED_M:
            return []
        first = int(np.argmin(near))
        plate_id = self.layout.plates[first].plate_id
        beside = self.stock.beside(plate_id, int(self._rng.choice((-1, 1))))
        return [(plate_id, 1.0)] + ([] if beside is None else [(beside, float(self._rng.uniform(0.2, 1.0)))])


def _apart(one_m: FloatArray, other_m: FloatArray) -> float:
    return math.hypot(one_m[0] - other_m[0], one_m[1] - other_m[1])


def _towards(start_m: FloatArray, end_m: FloatArray) -> float:
    return math.atan2(end_m[1] - start_m[1], end_m[0] - start_m[0])


def _turn(angle_rad: float) -> float:
    """An angle between minus pi and pi."""
    return (angle_rad + math.pi) % (2 * math.pi) - math.pi
