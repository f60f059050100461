"""Who came in with which code: binds what a gate says to the person who crossed the line at that moment."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from tracking.types import Identities, MixUp
from vision.arrays import FloatArray
from vision.frames import GateEvent
from vision.layout import StoreLayout

NANOSECONDS = 1_000_000_000
PASSED_IN = "passed-in"


@dataclass(frozen=True, slots=True)
class EntrySettings:
    """When somebody is taken to be who the gate let in.

    Attributes:
        apart_s: Longest time between a gate's word and the crossing it is about: a tracker finds people late, and
            nobody needs longer from the reader into the store.
        wait_s: So long is waited after a crossing for a gate that has not spoken, and after a gate's word for a person
            whom nobody has seen yet.
        settle_s: A crossing and a gate's word are put together only when both are this old, so that somebody whom a
            tracker finds late is not missed in favour of whoever comes next.
        crossing_s: Standard deviation of a crossing's moment, for somebody who was seen crossing ...
        guessed_s: ... and for somebody who was first seen inside, whose moment is reckoned back.
        doubt: A code is sure when no exchange with another one is more probable than this share of it.
        doorstep_m: Who is first seen farther inside than this did not come in just now.
        walking_mps: To tell when somebody who is first seen inside crossed the line.
        hurrying_mps: Nobody is farther inside than this takes them.
        missed_s: A word that was about nobody in view is somebody who is inside and not yet found, for so long.
        real_s: Who was followed inside for so long was there, also if they were lost before the gate spoke.
        stride_m: Who goes back before the line by more than this has not crossed it yet. Who is first seen farther
            inside was not seen crossing: somebody hid them, or was taken for them. If others are then ...
        beside_m: ... within this of them, which of them came in as whom is open.
    """

    apart_s: float = 2.0
    wait_s: float = 2.5
    settle_s: float = 0.8
    crossing_s: float = 0.1
    guessed_s: float = 0.7
    doubt: float = 0.05
    doorstep_m: float = 2.0
    walking_mps: float = 1.2
    hurrying_mps: float = 2.0
    missed_s: float = 60.0
    real_s: float = 1.0
    stride_m: float = 0.3
    beside_m: float = 1.2


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody is in the store.

    Attributes:
        identity_id: Who, as the trackers number them.
        code: What the gate read for them; None for somebody whom no gate let in.
        entered_ns: When they crossed the line, or were first seen, store clock.
        is_sure: False if the code may as well be that of somebody who came in at nearly the same moment.
        came_in: False for somebody whom no gate let in and who is first seen deep inside, or inside beside somebody:
            nobody comes in but by the door, so they are nobody at all (a detector's second look at whom they are
            beside), or somebody who was lost.
    """

    identity_id: int
    code: str | None
    entered_ns: int
    is_sure: bool = True
    came_in: bool = True


@dataclass(slots=True)
class _Newcomer:
    first_ns: int
    inside_m: float
    crossed_ns: int | None = None
    is_guessed: bool = False
    last_ns: int = 0
    beside: tuple[int, ...] = ()
    """Who was beside them when they were first seen, if nobody had seen them crossing."""


class EntryBinder:
    """Gives each new person the code that a gate read when they came in.

    Gates and trackers see the same moment: a gate says when somebody passed, a tracker when somebody crossed the
    entrance line. The two are matched in time, all that are open at once together. Nobody comes in but by the door: a
    code that nobody was seen with belongs to whoever turns up inside later.

    Args:
        layout: Where the entrance line is, and which side of it is inside. Without a line people count as having
            crossed when they are first seen.
        settings: Tolerances.
    """

    def __init__(self, layout: StoreLayout, settings: EntrySettings | None = None) -> None:
        self._settings = settings or EntrySettings()
        self._line_m = layout.entrance_m
        self._inward = np.zeros(2) if layout.entrance_m is None else inward(layout, layout.entrance_m)
        self._newcomers: dict[int, _Newcomer] = {}
        self._known: set[int] = set()
        self._words: list[GateEvent] = []
        self._missed: list[GateEvent] = []
        self._bound: list[int] = []
        self._doubted: list[GateEvent] = []
        self._mix_ups: list[MixUp] = []

    def take_mix_ups(self) -> list[MixUp]:
        """Give the pairs of identities of whom each may have come in as the other, as far as has turned out by now.

        Trackers that see two people as one keep the first one's identity for either of them once they part.
        """
        mix_ups, self._mix_ups = self._mix_ups, []
        return mix_ups

    def hear(self, gates: Sequence[GateEvent]) -> None:
        """Take what gates said."""
        self._words += [event for event in gates if event.event == PASSED_IN]

    def update(self, people: Identities) -> list[Entry]:
        """Take everybody at one instant.

        Returns:
            Whoever is bound, or known to have come in without a code, since the last call.
        """
        now_ns = people.timestamp_ns
        here = people.identity_id.tolist()
        self._known.intersection_update(here)
        for row, identity_id in enumerate(here):
            if identity_id not in self._known:
                self._see(people, row)
        gone = [identity_id for identity_id in self._newcomers if identity_id not in here]
        entries = self._matched(now_ns, gone) + self._overdue(now_ns, gone)
        for identity_id in (*gone, *self._bound):
            self._newcomers.pop(identity_id, None)
        self._bound = []
        return entries

    def _see(self, people: Identities, row: int) -> None:
        now_ns, identity_id = people.timestamp_ns, int(people.identity_id[row])
        first_ns, inside_m = int(people.first_seen_ns[row]), self._inside_m(people.position_m[row])
        newcomer = self._newcomers.get(identity_id)
        if newcomer is not None:
            newcomer.last_ns = now_ns
        if newcomer is None:
            newcomer = _Newcomer(first_ns, inside_m)
            if inside_m >= 0:
                newcomer.crossed_ns = first_ns - round(inside_m / self._settings.walking_mps * NANOSECONDS)
                newcomer.is_guessed = True
                newcomer.beside = self._beside(people, row) if inside_m > self._settings.stride_m else ()
            self._newcomers[identity_id] = newcomer
        elif newcomer.crossed_ns is None and inside_m >= 0:
            newcomer.crossed_ns = now_ns
        elif newcomer.crossed_ns is not None and inside_m < -self._settings.stride_m:
            # Back before the line: it was somebody else who crossed it, or they have turned round.
            newcomer.crossed_ns, newcomer.is_guessed = None, False

    def _beside(self, people: Identities, row: int) -> tuple[int, ...]:
        """Who else, known before, is beside somebody."""
        away_m = np.linalg.norm(people.position_m - people.position_m[row], axis=1)
        near = people.identity_id[away_m <= self._settings.beside_m].tolist()
        return tuple(other for other in near if other in self._known or other in self._newcomers)

    def _inside_m(self, position_m: FloatArray) -> float:
        """How far inside the entrance line a place is, metres; 0 where that cannot be known."""
        if self._line_m is None or not np.isfinite(position_m).all():
            return 0.0
        return float((position_m - self._line_m[0]) @ self._inward)

    def _matched(self, now_ns: int, gone: Sequence[int]) -> list[Entry]:
        crossed = [
            (identity_id, newcomer.crossed_ns)
            for identity_id, newcomer in self._newcomers.items()
            if newcomer.crossed_ns is not None and newcomer.inside_m <= self._settings.doorstep_m
        ]
        if not crossed or not self._words:
            return []
        apart_s = np.abs(
            np.array([[word.timestamp_ns - crossed_ns for word in self._words] for _, crossed_ns in crossed])
            / NANOSECONDS
        )
        too_far = apart_s > self._settings.apart_s
        rows, columns = linear_sum_assignment(np.where(too_far, 1e6, apart_s))
        entries, heard = [], set()
        settled_ns = now_ns - round(self._settings.settle_s * NANOSECONDS)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            identity_id, crossed_ns = crossed[row]
            # Who is lost already cannot wait for a better word.
            settled = identity_id in gone or max(crossed_ns, self._words[column].timestamp_ns) <= settled_ns
            if not too_far[row, column] and settled:
                heard.add(column)
                word = self._words[column]
                rivals = self._exchangeable(row, column, apart_s, [who for who, _ in crossed])
                sure = not rivals and word not in self._doubted
                # Whoever gets the other word later is as unsure, though this one is then no longer there.
                self._doubted += rivals
                entries.append(self._entered(identity_id, word.code, crossed_ns, sure))
        self._words = [word for column, word in enumerate(self._words) if column not in heard]
        return entries

    def _exchangeable(self, row: int, column: int, apart_s: FloatArray, crossed: Sequence[int]) -> list[GateEvent]:
        """Other codes that may as well be this person's."""
        settings = self._settings
        spread_s = np.array(
            [settings.guessed_s if self._newcomers[who].is_guessed else settings.crossing_s for who in crossed]
        )
        cost = 0.5 * (apart_s / spread_s[:, None]) ** 2
        found = []
        for other, word in enumerate(self._words):
            if other == column or word.code == self._words[column].code:
                continue
            own = cost[row, column]
            # With nobody else who may have it, the other word is about somebody whom no tracker has found.
            swaps = [
                cost[row, other] + cost[rival, column] - own - cost[rival, other]
                for rival in range(len(crossed))
                if rival != row
            ] or [cost[row, other] - own]
            if min(swaps) < -np.log(settings.doubt):
                found.append(word)
        return found

    def _overdue(self, now_ns: int, gone: Sequence[int]) -> list[Entry]:
        """Newcomers whom no gate has spoken of in time, and words that were about nobody in view."""
        settings = self._settings
        wait_ns = round(settings.wait_s * NANOSECONDS)
        self._missed += [
            word for word in self._words if word.timestamp_ns + wait_ns <= now_ns and word.code is not None
        ]
        oldest_ns = now_ns - round(settings.missed_s * NANOSECONDS)
        self._missed = [word for word in self._missed if word.timestamp_ns > oldest_ns]
        self._words = [word for word in self._words if word.timestamp_ns + wait_ns > now_ns]
        self._doubted = [word for word in self._doubted if word.timestamp_ns + 2 * wait_ns > now_ns]
        entries = []
        for identity_id, newcomer in self._newcomers.items():
            if identity_id in self._known or newcomer.crossed_ns is None:
                continue
            since_ns = max(newcomer.first_ns, newcomer.crossed_ns)
            lost = identity_id in gone and newcomer.last_ns - since_ns >= settings.real_s * NANOSECONDS
            if lost or since_ns + wait_ns <= now_ns:
                nobody = self._entered(identity_id, None, newcomer.first_ns)
                is_of_the_door = newcomer.inside_m <= settings.doorstep_m and not newcomer.beside
                nobody = replace(nobody, came_in=is_of_the_door)
                entries.append(self._found_late(identity_id, newcomer) or nobody)
        return entries

    def _found_late(self, identity_id: int, newcomer: _Newcomer) -> Entry | None:
        """Somebody who is first seen deep inside came in earlier, unseen: with a code that nobody was found for."""
        settings = self._settings
        if newcomer.inside_m <= settings.doorstep_m:
            return None
        earliest_ns = newcomer.first_ns - round(newcomer.inside_m / settings.hurrying_mps * NANOSECONDS)
        fitting = [word for word in self._missed if word.timestamp_ns <= earliest_ns]
        if not fitting:
            return None
        word = fitting[-1]
        self._missed.remove(word)
        others = any(
            other.inside_m > settings.doorstep_m
            for number, other in self._newcomers.items()
            if number != identity_id and number not in self._known
        )
        sure = len({each.code for each in fitting}) == 1 and not others
        return self._entered(identity_id, word.code, word.timestamp_ns, sure)

    def _entered(self, identity_id: int, code: str | None, entered_ns: int, sure: bool = True) -> Entry:
        self._known.add(identity_id)
        newcomer = self._newcomers[identity_id]
        self._mix_ups += [MixUp((other, identity_id), min(entered_ns, newcomer.first_ns)) for other in newcomer.beside]
        self._bound.append(identity_id)
        return Entry(identity_id, code, entered_ns, sure)


def inward(layout: StoreLayout, line_m: FloatArray) -> FloatArray:
    """Unit vector, shape (2,), from a line to the side that the store lies on."""
    along = line_m[1] - line_m[0]
    normal = np.array([-along[1], along[0]]) / np.linalg.norm(along)
    if layout.walkable_m is not None:
        middle = layout.walkable_m.mean(axis=0)
    else:
        centres = [a_bin.box.centre_m[:2] for a_bin in layout.bins if a_bin.box is not None]
        middle = np.mean(centres, axis=0) if centres else line_m[0] + normal
    return np.asarray(normal if (middle - line_m.mean(axis=0)) @ normal >= 0 else -normal)
