"""Who stood where a short while ago: whoever was within reach of a shelf may have taken what nobody was seen taking."""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from tracking.types import Identities
from vision.arrays import FloatArray, IntArray

NANOSECONDS = 1_000_000_000
KEPT_EVERY_S = 0.2  # people walk a foot's length in it
KEPT_S = 20.0  # weight changes are judged within a few seconds, late messages included within 15
REACH_M = 1.2  # from the feet to the middle of a bin: an arm (0.7 m), a bent back (0.3 m), half a shelf's depth (0.2 m)
UNSEEN_S = 1.0  # in which nobody walks to a shelf and back
AROUND_S = 1.0  # a grip takes about as long


@dataclass(frozen=True, slots=True)
class _Moment:
    timestamp_ns: int
    identity_id: IntArray
    position_m: FloatArray
    places: dict[int, tuple[list[float], list[list[float]]]]
    """Where each stood and where their hands were, as plain numbers: one person is asked for many moments."""


class Whereabouts:
    """Floor positions and hands of the last seconds, thinned out."""

    def __init__(self) -> None:
        self._moments: deque[_Moment] = deque()

    def add(self, people: Identities) -> None:
        """Remember where everybody is now; times must not run backwards."""
        if self._moments and people.timestamp_ns - self._moments[-1].timestamp_ns < KEPT_EVERY_S * NANOSECONDS:
            return
        places = zip(people.position_m.tolist(), people.hands_m.tolist(), strict=True)
        by_identity = dict(zip(people.identity_id.tolist(), places, strict=True))
        self._moments.append(_Moment(people.timestamp_ns, people.identity_id, people.position_m, by_identity))
        oldest_ns = people.timestamp_ns - int(KEPT_S * NANOSECONDS)
        while self._moments[0].timestamp_ns < oldest_ns:
            self._moments.popleft()

    def within_reach(self, place_m: FloatArray, timestamp_ns: int, until_ns: int | None = None) -> dict[int, float]:
        """Who could have reached a place at a time, and how near they stood.

        Args:
            place_m: A place in the store, its x and y first, metres.
            timestamp_ns: Store clock, nanoseconds.
            until_ns: Until when; None for an instant.

        Returns:
            Least distance on the floor, metres, of identities that stood within ``REACH_M`` of it at any moment up to
            ``AROUND_S`` before or after, in rising order. Nobody who has no place on the floor, and nobody where the
            time is forgotten.
        """
        around_ns = int(AROUND_S * NANOSECONDS)
        first_ns = timestamp_ns - around_ns
        last_ns = (timestamp_ns if until_ns is None else until_ns) + around_ns
        found: dict[int, float] = {}
        for moment in self._moments:
            if first_ns <= moment.timestamp_ns <= last_ns:
                distance_m = np.linalg.norm(moment.position_m - np.asarray(place_m)[:2], axis=1)
                for row in np.flatnonzero(distance_m <= REACH_M).tolist():
                    who = int(moment.identity_id[row])
                    found[who] = min(found.get(who, REACH_M), float(distance_m[row]))
        return dict(sorted(found.items()))

    def may_have_been_near(
        self,
        identity_id: int,
        place_m: FloatArray,
        since_ns: int,
        until_ns: int,
        within_m: float,
        hand_within_m: float = np.inf,
    ) -> bool:
        """Whether somebody may have stood near a place, or had a hand there, at any time of a stretch.

        Args:
            identity_id: Who.
            place_m: A place in the store, metres, shape (3,).
            since_ns: Beginning of the stretch, store clock.
            until_ns: Its end.
            within_m: How near they stood, metres on the floor ...
            hand_within_m: ... and how near a hand was, metres, where both hands are known.

        Returns:
            True also where it is not known: the beginning is forgotten, they had no place on the floor, or nobody saw
            them for longer than ``UNSEEN_S``.
        """
        if not self._moments or self._moments[0].timestamp_ns > since_ns:
            return True
        place = np.asarray(place_m).tolist()
        unseen = 0
        for moment in self._moments:
            if since_ns <= moment.timestamp_ns <= until_ns:
                own = moment.places.get(identity_id)
                if own is None:
                    unseen += 1
                    continue
                position, hands = own
                # nan is not farther than anything
                is_far = math.dist(position, place[:2]) > within_m
                if not is_far and not all(math.dist(hand, place) > hand_within_m for hand in hands):
                    return True
        return unseen * KEPT_EVERY_S > UNSEEN_S
