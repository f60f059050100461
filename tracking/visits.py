"""Visits: who came in when, and when they were last there."""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tracking.types import Identities
from vision.arrays import FloatArray
from vision.layout import StoreLayout

NEAR_EXIT_M = 1.0
"""Who is last seen this near to the exit left through it: a stride and the floor error."""


class Leaving(StrEnum):
    """How a visit ended."""

    EXIT = "exit"
    VANISHED = "vanished"
    RECORDING_ENDED = "recording_ended"


@dataclass(frozen=True, slots=True)
class VisitEnd:
    """Somebody is no longer in the store.

    Attributes:
        identity_id: Who.
        last_seen_ns: When they were last seen inside.
        leaving: How.
    """

    identity_id: int
    last_seen_ns: int
    leaving: Leaving


class VisitWatcher:
    """Says who came and who went, from everybody's identities at each instant."""

    def __init__(self, layout: StoreLayout) -> None:
        self._exit_m = layout.exit_m
        self._last_seen: dict[int, tuple[int, FloatArray]] = {}

    def update(self, people: Identities) -> tuple[list[tuple[int, int]], list[VisitEnd]]:
        """Take everybody at one instant.

        Returns:
            Who is new, as (identity_id, first seen in ns), and who has gone.
        """
        came = [
            (identity_id, first_ns)
            for identity_id, first_ns in zip(people.identity_id.tolist(), people.first_seen_ns.tolist(), strict=True)
            if identity_id not in self._last_seen
        ]
        here = set(people.identity_id.tolist())
        gone = [self._end(identity_id, None) for identity_id in list(self._last_seen) if identity_id not in here]
        for row, identity_id in enumerate(people.identity_id.tolist()):
            self._last_seen[identity_id] = int(people.last_seen_ns[row]), people.position_m[row]
        return came, gone

    def finish(self) -> list[VisitEnd]:
        """End the visits of those who were there when the recording ended."""
        return [self._end(identity_id, Leaving.RECORDING_ENDED) for identity_id in list(self._last_seen)]

    def _end(self, identity_id: int, leaving: Leaving | None) -> VisitEnd:
        last_ns, position_m = self._last_seen.pop(identity_id)
        if leaving is None:
            exited = self._exit_m is not None and near_line(self._exit_m, position_m)
            leaving = Leaving.EXIT if exited else Leaving.VANISHED
        return VisitEnd(identity_id, last_ns, leaving)


def near_line(line_m: FloatArray, position_m: FloatArray, within_m: float = NEAR_EXIT_M) -> bool:
    """Whether a position, shape (2,), is within a distance of a line, shape (2, 2), metres; nan is not."""
    # Plain numbers: this is asked of everybody at every instant, and arrays of two are slow.
    (x0, y0), (x1, y1) = line_m.tolist()
    along_x, along_y = x1 - x0, y1 - y0
    x, y = position_m.tolist()
    away_x, away_y = x - x0, y - y0
    length2 = along_x * along_x + along_y * along_y
    share = min(1.0, max(0.0, (away_x * along_x + away_y * along_y) / length2)) if length2 else 0.0
    return math.hypot(share * along_x - away_x, share * along_y - away_y) <= within_m


def line_distances(line_m: FloatArray, positions_m: FloatArray) -> FloatArray:
    """How far positions, shape (n, 2), are from a line, shape (2, 2), metres: shape (n,); nan for nan."""
    along = line_m[1] - line_m[0]
    away = positions_m - line_m[0]
    length2 = float(along @ along)
    share = np.clip(away @ along / length2, 0.0, 1.0) if length2 else np.zeros(len(away))
    off = share[:, None] * along - away
    return np.asarray(np.hypot(off[:, 0], off[:, 1]))
