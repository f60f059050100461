"""What everybody wears of late, held against what each identity wore when it came in.

In a crowd tracks go over to neighbours, one after another, and often no two people are seen to meet and part
(``tracking.encounters`` needs that). So all who have been near each other are asked together, again and again, until it
is clear that they still wear what their identities wore at first, or rather what another one's did.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tracking.looks import look_distances
from vision.arrays import BoolArray, FloatArray, IntArray

NANOSECONDS = 1_000_000_000
_NEWEST_SHARE = 0.1  # of one instant in what is worn of late: the last ten or so count
_NO_MATCH = 9.0  # more than any distance
_STAYING = 0.02  # equal costs move nobody


@dataclass(frozen=True, slots=True)
class WardrobeSettings:
    """When clothes say that identities have gone round. Fitted on rendered shops of five and ten people.

    Attributes:
        near_m: Only among those who were within this of each other can identities go round.
        clear_m: What somebody wore at first is learnt while nobody is within this ...
        first_views: ... in so many instants ...
        least_views: ... of which so many are enough to ask by.
        late_views: So many instants of late are enough to ask about.
        margin: By how much clothes must fit better the other way, in Hellinger distances a person ...
        hold_s: ... and for how long.
        usual: How far somebody who is not seen now is taken to be from what they wore at first.
    """

    near_m: float = 1.2
    clear_m: float = 0.8
    first_views: int = 25
    least_views: int = 10
    late_views: int = 8
    margin: float = 0.15
    hold_s: float = 0.8
    usual: float = 0.25


@dataclass(frozen=True, slots=True)
class Exchange:
    """Identities that have gone round.

    Attributes:
        keys: The people. Each is who the next one is taken for, and the last who the first is.
        since_ns: When two of them first came near each other.
    """

    keys: tuple[int, ...]
    since_ns: int


@dataclass(slots=True)
class _Worn:
    """A mean of looks.

    Attributes:
        look: Shape (k,).
        views: How many instants there were.
    """

    look: FloatArray
    views: int = 0

    def add(self, look: FloatArray, least_share: float = 0.0) -> None:
        self.views += 1
        share = max(1 / self.views, least_share)
        self.look = (1 - share) * self.look + share * look


class Wardrobe:
    """Remembers what identities wore at first and what people wear of late, for as long as these are followed."""

    def __init__(self, settings: WardrobeSettings | None = None) -> None:
        self._settings = settings or WardrobeSettings()
        self._first: dict[int, _Worn] = {}  # by identity
        self._late: dict[int, _Worn] = {}  # by who is followed
        # Who came near whom and is not known to be themselves again, and since when.
        self._met_ns: dict[tuple[int, int], int] = {}
        self._own_since_ns: dict[tuple[int, int], int] = {}
        self._ring_since_ns: dict[tuple[tuple[int, int], ...], int] = {}

    def update(
        self, timestamp_ns: int, keys: Sequence[int], numbers: Sequence[int], places_m: FloatArray, now: FloatArray
    ) -> list[Exchange]:
        """Take everybody at one instant.

        Args:
            timestamp_ns: Store clock.
            keys: Who is followed; a key stays with a body for as long as that is followed.
            numbers: Their identities.
            places_m: Where they are on the floor, shape (n, 2), metres.
            now: What they wear in the pictures of this instant (``tracking.looks``), shape (n, k), nan where not seen.

        Returns:
            Who should be whom, where that is clear. It is told until ``numbers`` follow it.
        """
        settings = self._settings
        self._forget(keys, numbers)
        away_m = np.linalg.norm(places_m[:, None] - places_m[None], axis=2)
        np.fill_diagonal(away_m, np.inf)
        near = {_pair(keys[i], keys[j]) for i, j in np.argwhere(np.triu(away_m < settings.near_m, 1)).tolist()}
        for pair in near:
            self._met_ns.setdefault(pair, timestamp_ns)
        seen = np.asarray(np.isfinite(now).all(axis=1))
        for j in np.flatnonzero(seen).tolist():
            self._late.setdefault(keys[j], _Worn(now[j])).add(now[j], _NEWEST_SHARE)
            first = self._first.setdefault(numbers[j], _Worn(now[j]))
            if first.views < settings.first_views and (away_m[j] >= settings.clear_m).all():
                first.add(now[j])
        known = [j for j, number in enumerate(numbers) if self._views(self._first.get(number)) >= settings.least_views]
        if len(known) < 2:
            self._ring_since_ns, self._own_since_ns = {}, {}
            return []
        cost, asked = self._costs([keys[j] for j in known], [numbers[j] for j in known], seen[known])
        found = self._rings(timestamp_ns, [keys[j] for j in known], [numbers[j] for j in known], cost, asked)
        self._release(timestamp_ns, [keys[j] for j in known], cost, asked, near)
        return found

    def _forget(self, keys: Collection[int], numbers: Collection[int]) -> None:
        here, known = set(keys), set(numbers)
        self._first = {number: worn for number, worn in self._first.items() if number in known}
        self._late = {key: worn for key, worn in self._late.items() if key in here}
        self._met_ns = {pair: ns for pair, ns in self._met_ns.items() if here.issuperset(pair)}

    @staticmethod
    def _views(worn: _Worn | None) -> int:
        return 0 if worn is None else worn.views

    def _costs(self, keys: Sequence[int], numbers: Sequence[int], seen: BoolArray) -> tuple[FloatArray, BoolArray]:
        """How far what n people wear of late is from what each identity wore at first, shape (n, n); who was asked."""
        first = np.array([self._first[number].look for number in numbers])
        asked = seen & np.array([self._views(self._late.get(key)) >= self._settings.late_views for key in keys])
        cost = np.full((len(keys), len(keys)), self._settings.usual)
        if asked.any():
            late = [self._late[key].look for key, is_asked in zip(keys, asked.tolist(), strict=True) if is_asked]
            cost[asked] = look_distances(np.array(late), first)
        return cost, asked

    def _rings(
        self, timestamp_ns: int, keys: Sequence[int], numbers: Sequence[int], cost: FloatArray, asked: BoolArray
    ) -> list[Exchange]:
        """Identities that have gone round for long enough."""
        settings, n = self._settings, len(keys)
        met, row = np.eye(n, dtype=bool), {key: i for i, key in enumerate(keys)}
        for a, b in self._met_ns:
            if a in row and b in row:
                met[row[a], row[b]] = met[row[b], row[a]] = True
        chosen = linear_sum_assignment(np.where(met, cost - _STAYING * np.eye(n), _NO_MATCH))[1]
        found, still = [], {}
        for ring in _cycles(chosen):
            told = [i for i in ring if asked[i]]
            gain = sum(float(cost[i, i] - cost[i, chosen[i]]) for i in told)
            if not told or gain < settings.margin * len(told):
                continue
            name = tuple(sorted((keys[i], numbers[chosen[i]]) for i in ring))
            since_ns = still[name] = self._ring_since_ns.get(name, timestamp_ns)
            if timestamp_ns - since_ns >= settings.hold_s * NANOSECONDS:
                pairs = [_pair(keys[i], keys[int(chosen[i])]) for i in ring]
                found.append(Exchange(tuple(keys[i] for i in ring), min(self._met_ns[pair] for pair in pairs)))
        self._ring_since_ns = still
        return found

    def _release(
        self,
        timestamp_ns: int,
        keys: Sequence[int],
        cost: FloatArray,
        asked: BoolArray,
        near: Collection[tuple[int, int]],
    ) -> None:
        """Ask no longer about those who met, have parted, and surely are who they were."""
        row = {key: i for i, key in enumerate(keys)}
        still = {}
        for pair in [pair for pair in self._met_ns if pair not in near and row.keys() >= set(pair)]:
            i, j = row[pair[0]], row[pair[1]]
            gain = min(cost[i, j] - cost[i, i], cost[j, i] - cost[j, j])
            if not (asked[i] and asked[j]) or gain < self._settings.margin:
                continue
            since_ns = still[pair] = self._own_since_ns.get(pair, timestamp_ns)
            if timestamp_ns - since_ns >= self._settings.hold_s * NANOSECONDS:
                del self._met_ns[pair]
        self._own_since_ns = still


def _pair(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


def _cycles(chosen: IntArray) -> list[list[int]]:
    """The cycles of a permutation that move anybody; after each member comes where it goes.

    >>> _cycles(np.array([1, 0, 2, 5, 3, 4]))
    [[0, 1], [3, 5, 4]]
    """
    cycles, done = [], set()
    for start in range(len(chosen)):
        cycle, at = [], start
        while at not in done:
            done.add(at)
            cycle.append(at)
            at = int(chosen[at])
        if len(cycle) > 1:
            cycles.append(cycle)
    return cycles
