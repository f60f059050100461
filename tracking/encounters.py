"""People who passed each other so closely that places alone do not say who went on where.

Whoever stand within an arm's length hide each other in every picture, and two identities may go on with each other's
bodies. Clothes of before and after tell whether they did. Where clothes are alike, or were not seen, the doubt is told,
so that nobody is charged for somebody else's things.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from tracking.looks import look_distances
from vision.arrays import FloatArray, IntArray

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class EncounterSettings:
    """When two people have met, and what clothes say about it.

    Attributes:
        known_s: Who is followed for less is not met, unless the two are known to be two: what turns up beside somebody
            is mostly a second look at them.
        near_m: Two people whose places are nearer than this have met ...
        apart_m: ... and have parted when farther than this from each other.
        doubt_m: Without clothes to tell, those who came nearer than this may have been exchanged: less than two bodies
            need, so that one place was wrong.
        looked: Clothes of somebody seen this often before they met are known, ...
        enough: ... and seen this often afterwards they are compared.
        patience_s: ... or once they have been apart for so long, with half of that.
        margin: By how much clothes must fit better one way than the other, in Hellinger distances of both people
            together. Chosen while looking at the demo, where people dressed differently gave 0.3 to 0.55.
    """

    known_s: float = 2.0
    near_m: float = 0.5
    apart_m: float = 1.0
    doubt_m: float = 0.3
    looked: int = 10
    enough: int = 10
    patience_s: float = 2.0
    margin: float = 0.25


@dataclass(frozen=True, slots=True)
class Parting:
    """How an encounter ended.

    Attributes:
        keys: The two people.
        exchanged: Whether each goes on with what was the other's body, as far as can be told.
        is_sure: Whether clothes told it, or places did.
        looks: What both wore before they met, in the order of ``keys``, shape (2, k).
        since_ns: When they met.
    """

    keys: tuple[int, int]
    exchanged: bool
    is_sure: bool
    looks: FloatArray
    since_ns: int


@dataclass(slots=True)
class Encounter:
    """Two people who have met and of whom it is not clear yet how they went on.

    Attributes:
        looks: What both wore before they met, shape (2, k).
        dressed: Whether that is known.
        after: Sum of what they wore since they parted, shape (2, k) ...
        count: ... and how often it was seen, shape (2,).
        since_ns: When they came near each other.
        closest_m: How near they came.
        near_ns: When they were last near each other.
        near_place_m: Where that was, shape (2,).
        parted_ns: When they were apart again, None until then.
    """

    looks: FloatArray
    dressed: bool
    after: FloatArray
    since_ns: int
    closest_m: float = np.inf
    near_ns: int = 0
    near_place_m: FloatArray = field(default_factory=lambda: np.full(2, np.nan))
    count: IntArray = field(default_factory=lambda: np.zeros(2, np.int64))
    parted_ns: int | None = None


class Encounters:
    """Watches who comes close to whom, and says how it ended."""

    def __init__(self, settings: EncounterSettings | None = None) -> None:
        self._settings = settings or EncounterSettings()
        self._open: dict[tuple[int, int], Encounter] = {}

    def update(
        self,
        timestamp_ns: int,
        keys: Sequence[int],
        first_ns: IntArray,
        places_m: FloatArray,
        looks: FloatArray,
        looked: FloatArray,
        now: FloatArray,
        are_two: Collection[tuple[int, int]] = (),
    ) -> list[Parting]:
        """Take everybody at one instant; give the partings after which somebody is, or may be, somebody else.

        Args:
            timestamp_ns: Store clock, nanoseconds.
            keys: Who, in rising order; a key stays with an identity while it is followed.
            first_ns: When each was first seen, shape (n,).
            places_m: Where they are on the floor, shape (n, 2), metres.
            looks: What they have worn so far (``tracking.looks``), shape (n, k).
            looked: How often that was seen, shape (n,).
            now: What they wear in the pictures of this instant, shape (n, k), nan where it is not seen.
            are_two: Pairs of keys, the smaller one first, whom a camera has shown side by side for long enough.
        """
        settings = self._settings
        row = {key: i for i, key in enumerate(keys)}
        ended = [pair for pair in self._open if pair[0] not in row or pair[1] not in row]
        partings = [self._parting(pair, self._open.pop(pair)) for pair in ended]
        away = np.linalg.norm(places_m[:, None] - places_m[None], axis=2)
        is_known = timestamp_ns - first_ns >= settings.known_s * NANOSECONDS
        for i, j in np.argwhere(np.triu(away < settings.near_m, 1)).tolist():
            pair = keys[i], keys[j]
            met = self._open.get(pair)
            if met is None:
                if not (is_known[i] and is_known[j]) and pair not in are_two:
                    continue
                dressed = bool(min(looked[i], looked[j]) >= settings.looked)
                met = Encounter(looks[[i, j]].copy(), dressed, np.zeros((2, looks.shape[1])), timestamp_ns)
                self._open[pair] = met
            elif met.parted_ns is not None:  # together again before it was clear who is who
                met.parted_ns, met.count[:], met.after[:] = None, 0, 0.0
            met.closest_m = min(met.closest_m, float(away[i, j]))
            met.near_ns, met.near_place_m = timestamp_ns, places_m[[i, j]].mean(axis=0)
        seen = np.asarray(np.isfinite(now).all(axis=1)).tolist()
        for pair, met in list(self._open.items()):
            both = row[pair[0]], row[pair[1]]
            if met.parted_ns is None and away[both] > settings.apart_m:
                met.parted_ns = timestamp_ns
            if met.parted_ns is None:
                continue
            for side, i in enumerate(both):
                if seen[i]:
                    met.after[side] += now[i]
                    met.count[side] += 1
            waited_s = (timestamp_ns - met.parted_ns) / NANOSECONDS
            if not met.dressed or (met.count >= settings.enough).all() or waited_s > settings.patience_s:
                partings.append(self._parting(pair, self._open.pop(pair)))
        return _telling(partings)

    def finish(self) -> list[Parting]:
        """End all that is open, as nothing more will be seen."""
        partings = [self._parting(pair, met) for pair, met in self._open.items()]
        self._open.clear()
        return _telling(partings)

    def of(self, key: int) -> list[Encounter]:
        """The encounters of somebody that are still open: who is lost in one may go on as either of the two."""
        return [met for pair, met in self._open.items() if key in pair]

    def forget(self, keys: Collection[int]) -> None:
        """What happened among these people is known."""
        self._open = {pair: met for pair, met in self._open.items() if not (pair[0] in keys and pair[1] in keys)}

    def _parting(self, pair: tuple[int, int], met: Encounter) -> Parting:
        if met.dressed and (met.count >= self._settings.enough / 2).all():
            away = look_distances(met.looks, met.after / met.count[:, None])
            gain = float(away[0, 0] + away[1, 1] - away[0, 1] - away[1, 0])
            if abs(gain) >= self._settings.margin:
                return Parting(pair, gain > 0, True, met.looks, met.since_ns)
        return Parting(pair, False, met.closest_m >= self._settings.doubt_m, met.looks, met.since_ns)


def _telling(partings: Sequence[Parting]) -> list[Parting]:
    """Leave out those after which everybody is who they were."""
    return [parting for parting in partings if parting.exchanged or not parting.is_sure]
