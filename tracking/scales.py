"""Turns raw plate samples into weight changes: steady levels, the steps between them, and how sure each step is.

A reading is averaged over a tenth of a second. Each plate has a steady level and a scale of how far short means
stray from it when nobody is there (a running median, which no single touch can move). People who walk by shake a whole
gondola, so the scale is multiplied by how much more than usual the plates of a shelf stray right now, by their median:
a hand moves a few plates, a step moves all. A plate that leaves its level is followed until it is steady again; what is
then missing or added is a change if it is far outside what both levels' means may err by. A hand that only presses
comes back to the old level and leaves nothing.

With Gaussian errors a level that did not change would pass ``certain_sigmas`` once in 26 million settlings. Real errors
are not Gaussian: the tests measure the rate with vibration, wander and touches.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tracking.types import Unsettled, WeightChange
from vision.arrays import BoolArray, FloatArray, IntArray
from vision.frames import ScaleSamples
from vision.layout import Plate

NANOSECONDS = 1_000_000_000
MAD_TO_SIGMA = 1.4826
"""Standard deviation of a Gaussian over its median absolute deviation (Hampel, 1974)."""

COMPANION_S = 1.0
"""So long before and after a change a plate beside it is averaged: about one period of the electronics' wander."""

COMPANION_SIGMAS = 4.5
"""From where on the difference is a step: a plate beside a change is looked at some thousand times a day."""

_LOG = logging.getLogger(__name__)

_Columns: TypeAlias = IntArray | slice  # a slice where they follow each other, which needs no gathering


@dataclass(frozen=True, slots=True)
class ScaleSettings:
    """How weight changes are told from noise.

    Attributes:
        bin_s: Readings are averaged over this long: one to two periods of a loaded shelf's own vibration, 7 to 12 Hz.
        short_s: Length of the short mean that must leave, or keep to, the level.
        settle_s: A level is steady when short means keep together for this long: no hand holds its pressure
            within a few grams for longer, and few people take two things from one plate faster.
        pause_s: Readings that keep together for this long inside a change may be a level between two things that were
            taken, or a hand's pressure: what explains them better is left to attribution.
        pause_share: They keep together if they differ by no more than this share of the change, or by noise ...
        pause_from: ... and such a level lies this share of the change, at least, away from both its ends.
        confirm_s: The level after a change must last this long, while no plate beside it moves, before the change is
            told. Back at the old level before that, it was a touch or a hold.
        confirm_rise_s: The same for a plate that carries more than before: that may be a hand that rests on it.
        patience_s: A change waits no longer than this for plates beside it to come to rest.
        level_s: Memory of the level: longer than the electronics' wander (about 1.5 Hz), shorter than its drift.
        learn_s: Readings from which a plate's first level and scale are taken.
        leave_sigmas: A short mean this far from the level begins an active segment. Not rare, and harmless: what
            returns is no change.
        steady_sigmas: Largest spread of short means that counts as steady.
        still_sigmas: Largest standard deviation of short means around a new level that lasts.
        tired_s: After this long without rest a plate is allowed more spread, in proportion.
        certain_sigmas: A difference of two levels this large is a change.
        weak_sigmas: One this large counts if a neighbour changed for certain at the same moment.
        smallest_g: Nothing that is sold weighs less. Hysteresis of a touched plate stays below it.
        floor_g: Short means of the best plates stray by this much.
        drift_g: Random walk of a level, grams a square root of a second.
        creep: Share of a load by which a load cell's level is off just after a step.
        coupling: Share of a plate's change that its shelf, bending, gives to other plates.
        merge_s: Neighbouring plates under one item let go of it within this time; if within ``settle_s``, it may still
            have been one item, as a hand that presses hides the moment.
        join_s: A confirmed change waits no longer than this for others of its shelf that may belong to it.
        couple_s: Coupled plates step within this time of the plate that was relieved.
        history_s: Readings kept for curves and for the moment of a step.
        curve_s: Time of the curve before and after a change.
        saturation_g: Above it a plate's reading stops following its load.
    """

    bin_s: float = 0.1
    short_s: float = 0.3
    settle_s: float = 0.8
    pause_s: float = 0.3
    pause_share: float = 0.05
    pause_from: float = 0.1
    confirm_s: float = 2.5
    confirm_rise_s: float = 4.0
    patience_s: float = 8.0
    level_s: float = 2.0
    learn_s: float = 1.2
    leave_sigmas: float = 5.0
    steady_sigmas: float = 4.0
    still_sigmas: float = 1.5
    tired_s: float = 6.0
    certain_sigmas: float = 5.5
    weak_sigmas: float = 3.0
    smallest_g: float = 5.0
    floor_g: float = 0.15
    drift_g: float = 0.3
    creep: float = 0.0005
    coupling: float = 0.04
    merge_s: float = 0.4
    join_s: float = 2.0
    couple_s: float = 0.7
    history_s: float = 20.0
    curve_s: float = 1.0
    saturation_g: float = 20_000.0

    def __post_init__(self) -> None:
        for name in ("bin_s", "short_s", "settle_s", "level_s", "learn_s", "tired_s", "floor_g", "history_s"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"ScaleSettings.{name}: expected a positive number, got {value}")
        if self.history_s < 4 * self.settle_s:
            raise ValueError(f"ScaleSettings.history_s: expected at least four times settle_s, got {self.history_s} s")


class WeightWatcher:
    """Finds lasting weight changes in the samples of a store's plates, as they stream in.

    Blocks may have any length, gaps and nan between; samples that lie before what was already read of their gondola are
    ignored. All plates of a gondola are expected in the same block.

    Args:
        plates: The plates the store has; samples of any other plate are ignored.
        settings: How changes are told from noise.
    """

    def __init__(self, plates: Sequence[Plate], settings: ScaleSettings | None = None) -> None:
        self._settings = settings or ScaleSettings()
        by_gondola: defaultdict[int, list[Plate]] = defaultdict(list)
        for plate in plates:
            by_gondola[plate.gondola_id].append(plate)
        self._plates = {
            gondola_id: tuple(sorted(own, key=lambda p: (p.shelf_id, p.number)))
            for gondola_id, own in by_gondola.items()
        }
        self._gondola_of = {plate.plate_id: plate.gondola_id for plate in plates}
        self._gondolas: dict[int, _Gondola] = {}
        self._columns: dict[tuple[str, ...], tuple[tuple[int, _Columns, _Columns], ...]] = {}

    @property
    def saturated_plates(self) -> frozenset[str]:
        """Plates that have reported more than they can carry."""
        return frozenset(
            gondola.plates[j].plate_id
            for gondola in self._gondolas.values()
            for j in np.flatnonzero(gondola.saturated_ever).tolist()
        )

    def unsettled(self) -> list[Unsettled]:
        """Movements of plates that may still turn out to be changes."""
        return [
            Unsettled(since_ns, plate.box.centre_m)
            for gondola in self._gondolas.values()
            for plate, since_ns in gondola.unsettled()
        ]

    def settling(self) -> list[WeightChange]:
        """Changes as they would be told if every plate that rests at another level stayed there; some are undone."""
        return [change for gondola in self._gondolas.values() for change in gondola.settling()]

    def update(self, samples: ScaleSamples) -> list[WeightChange]:
        """Take one block of samples in and return the changes that have settled by now, in the order of their time."""
        changes: list[WeightChange] = []
        for gondola_id, theirs, ours in self._columns_of(samples.plate_id):
            gondola = self._gondolas.get(gondola_id)
            if gondola is None:
                gondola = _Gondola(self._plates[gondola_id], samples.rate_hz, self._settings)
                self._gondolas[gondola_id] = gondola
            changes += gondola.update(np.asarray(samples.timestamp_ns), samples.grams[:, theirs], ours)
        return sorted(changes, key=lambda change: change.time_ns)

    def finish(self) -> list[WeightChange]:
        """End the stream and return the changes that were still settling, in the order of their time."""
        changes = [change for gondola in self._gondolas.values() for change in gondola.finish()]
        self._gondolas.clear()
        return sorted(changes, key=lambda change: change.time_ns)

    def _columns_of(self, plate_ids: tuple[str, ...]) -> tuple[tuple[int, _Columns, _Columns], ...]:
        known = self._columns.get(plate_ids)
        if known is None:
            places: defaultdict[int, dict[str, int]] = defaultdict(dict)
            for column, plate_id in enumerate(plate_ids):
                gondola_id = self._gondola_of.get(plate_id)
                if gondola_id is not None:
                    places[gondola_id].setdefault(plate_id, column)
            known = tuple(
                (
                    gondola_id,
                    _columns(list(own.values())),
                    _columns([[p.plate_id for p in self._plates[gondola_id]].index(plate_id) for plate_id in own]),
                )
                for gondola_id, own in places.items()
            )
            self._columns[plate_ids] = known
        return known


def _columns(numbers: list[int]) -> _Columns:
    if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return slice(numbers[0], numbers[0] + len(numbers))
    return np.array(numbers)


@dataclass(slots=True)
class _Step:
    """A plate's move from one steady level to another, while it may still turn out to be nothing."""

    column: int
    start_ns: int
    end_ns: int
    rested_ns: int
    before_g: float
    before_var: float
    after_g: float = 0.0
    after_var: float = 0.0
    time_ns: int = 0
    closed_ns: int = 0
    saturated: bool = False
    moves: tuple["_Step", ...] = ()

    @property
    def delta_g(self) -> float:
        return self.after_g - self.before_g

    @property
    def single_moves(self) -> tuple["_Step", ...]:
        """The moves between levels too short-lived to be sure of; itself if there was none."""
        return self.moves or (self,)


_LEARNING, _STEADY, _ACTIVE = 0, 1, 2


class _Gondola:
    """The plates of one gondola: one column each, all taking a step every ``bin_s``."""

    def __init__(self, plates: tuple[Plate, ...], rate_hz: float, settings: ScaleSettings) -> None:
        self.plates = plates
        self._settings = settings
        # A slow scale still gets a few readings into each mean.
        bin_s = max(settings.bin_s, 2 / rate_hz)
        self._bin_ns = round(bin_s * NANOSECONDS)
        self._short = max(1, round(settings.short_s / bin_s))
        self._settle = max(self._short + 1, round(settings.settle_s / bin_s))
        self._memory = max(self._settle, round(settings.level_s / bin_s))
        self._learn = max(self._settle, round(settings.learn_s / bin_s))
        rows = max(self._learn + 2, round(settings.history_s / bin_s))
        p = len(plates)

        shelves = sorted({plate.shelf_id for plate in plates})
        self._shelf = np.array([shelves.index(plate.shelf_id) for plate in plates])
        place = np.zeros(p, np.int64)
        for shelf in range(len(shelves)):
            own = self._shelf == shelf
            place[own] = np.arange(own.sum())
        self._shelf_place = (self._shelf, place)
        self._shelf_grid = (len(shelves), int(place.max()) + 1)
        self._shelf_rows = np.arange(len(shelves))
        self._shaking_decay = float(np.exp(-self._bin_ns / NANOSECONDS / settings.settle_s))

        self._first_ns: int | None = None
        self._last_ns = np.iinfo(np.int64).min
        self._bin = 0
        self._sum: FloatArray = np.zeros(p)
        self._count: FloatArray = np.zeros(p)
        self._copied: IntArray = np.zeros(p, np.int64)
        self._copied_enough = round(rate_hz)

        # Kept twice as long as needed, so that moving it up is rare.
        self._rows = rows
        self._history: FloatArray = np.full((2 * rows, p), np.nan)
        self._shorts: FloatArray = np.full((2 * rows, p), np.nan)
        self._times_ns: IntArray = np.zeros(2 * rows, np.int64)
        self._end = 0

        self._state: IntArray = np.full(p, _LEARNING)
        self._level: FloatArray = np.full(p, np.nan)
        self._level_n: FloatArray = np.zeros(p)
        self._steady_n: IntArray = np.zeros(p, np.int64)
        self._stray: FloatArray = np.full(p, np.nan)
        self._stray_n: FloatArray = np.zeros(p)
        self._shaking: FloatArray = np.ones(len(shelves))
        self._start_ns: IntArray = np.zeros(p, np.int64)
        self._before_var: FloatArray = np.zeros(p)
        self._clipped: BoolArray = np.zeros(p, bool)
        self.saturated_ever: BoolArray = np.zeros(p, bool)

        # Steps of each plate that may still be undone, oldest first.
        self._pending: dict[int, list[_Step]] = {}
        self._closed: list[_Step] = []

    def update(self, times_ns: IntArray, grams: FloatArray, columns: _Columns) -> list[WeightChange]:
        """Take samples of some of the columns in."""
        if len(times_ns) and times_ns[0] <= self._last_ns:
            new = times_ns > self._last_ns
            times_ns, grams = times_ns[new], grams[new]
        if not len(times_ns):
            return []
        if self._first_ns is None:
            self._first_ns = int(times_ns[0])
        self._last_ns = int(times_ns[-1])
        readings = np.full((len(times_ns), len(self.plates)), np.nan)
        readings[:, columns] = grams
        # One sum tells whether all are finite: it is not if one of them is not, and float32 cannot make it overflow.
        is_whole = math.isfinite(np.add.reduce(readings, axis=None))
        if not is_whole:
            readings[~np.isfinite(readings)] = np.nan
        is_whole &= not self._leave_out_copies(readings)
        changes: list[WeightChange] = []
        numbers = ((times_ns - self._first_ns) // self._bin_ns).tolist()
        begin = 0
        for number, same in groupby(numbers):
            part = readings[begin : begin + len(list(same))]
            begin += len(part)
            if number != self._bin:
                self._close_bin()
                changes += self._told()
                # A hole: a few empty means are enough to know that the plates were not heard.
                missing = number - self._bin - 1
                for _ in range(min(missing, self._short)):
                    self._bin += 1
                    self._close_bin()
                self._bin = number
            if is_whole:
                self._sum += np.add.reduce(part, axis=0)
                self._count += len(part)
            else:
                finite = np.isfinite(part)
                self._sum += np.where(finite, part, 0).sum(axis=0)
                self._count += finite.sum(axis=0)
        if np.fmax.reduce(readings, axis=None) >= self._settings.saturation_g:
            over = (readings >= self._settings.saturation_g).any(axis=0)
            for j in np.flatnonzero(over & ~self.saturated_ever).tolist():
                _LOG.warning("plate %s reports more than it can carry", self.plates[j].plate_id)
            self.saturated_ever |= over
            self._clipped |= over
        return changes

    def unsettled(self) -> list[tuple[Plate, int]]:
        """Each plate that moves or has moved, and when that began, store clock, until it is told or forgotten."""
        moving = [(j, int(self._start_ns[j])) for j in np.flatnonzero(self._state == _ACTIVE).tolist()]
        steps = [step for pending in self._pending.values() for step in pending] + self._closed
        return [(self.plates[j], since_ns) for j, since_ns in moving + [(step.column, step.start_ns) for step in steps]]

    def settling(self) -> list[WeightChange]:
        """Changes that are not told yet, as they would be if every plate that rests stayed as it is."""
        steps = [
            whole
            for column, pending in self._pending.items()
            if self._state[column] == _STEADY
            for whole in self._wholes(column, [replace(step) for step in pending])
        ]
        steps = sorted([*steps, *self._closed], key=lambda step: step.time_ns)
        shelves = sorted({int(self._shelf[step.column]) for step in steps})
        return [
            change
            for shelf in shelves
            for change in self._joined([step for step in steps if self._shelf[step.column] == shelf])
        ]

    def finish(self) -> list[WeightChange]:
        """Close every plate with what is known of its level."""
        if self._first_ns is None:
            return []
        if self._count.any():
            self._close_bin()
        self._settle_plates(np.flatnonzero(self._state == _ACTIVE), self._short + 1, give_up=True)
        for column in list(self._pending):
            self._close_steps(column)
        self._state[self._state == _ACTIVE] = _STEADY
        return self._told()

    def _leave_out_copies(self, readings: FloatArray) -> bool:
        """Blank columns that have repeated their left neighbour's readings, digit for digit, for a second, if any."""
        if readings.shape[1] < 2 or len(readings) < 2:
            return False
        if not (readings[0, 1:] == readings[0, :-1]).any():  # then none repeats it all along
            self._copied[:] = 0
            return False
        same = (readings[:, 1:] == readings[:, :-1]).all(axis=0) & (readings[:, 1:] != readings[:1, 1:]).any(axis=0)
        same &= self._shelf[1:] == self._shelf[:-1]
        self._copied[1:] = np.where(same, self._copied[1:] + len(readings), 0)
        copies = self._copied >= self._copied_enough
        readings[:, copies] = np.nan
        return bool(copies.any())

    def _close_bin(self) -> None:
        """Take the mean of the readings of one bin as every plate's next value."""
        with np.errstate(invalid="ignore", divide="ignore"):
            value = self._sum / self._count
        self._sum[:] = 0
        self._count[:] = 0
        if self._end == len(self._times_ns):
            for kept in (self._history, self._shorts, self._times_ns):
                kept[: self._rows] = kept[self._rows :]
            self._end = self._rows
        assert self._first_ns is not None
        now_ns = self._first_ns + self._bin * self._bin_ns + self._bin_ns // 2
        end = self._end
        self._history[end] = value
        self._times_ns[end] = now_ns
        first = max(0, end + 1 - self._short)
        short = np.add.reduce(self._history[first : end + 1], axis=0) / (end + 1 - first)
        self._shorts[end] = short
        self._end = end + 1
        self._step(now_ns, short)

    def _step(self, now_ns: int, short: FloatArray) -> None:
        settings = self._settings
        heard = np.isfinite(short)
        steady = self._state == _STEADY
        away = np.abs(short - self._level)
        # Against no less than the best plates stray: a shelf that bends by a gram does not shake.
        usual = np.maximum(self._stray, settings.floor_g / MAD_TO_SIGMA)
        strays = steady & (away > 0)
        self._measure_shaking(np.where(strays, away / usual, np.inf))
        sigma = self._sigma()

        # Silence is no sign of rest: something may happen to the plate meanwhile.
        left = steady & (~heard | (away > settings.leave_sigmas * sigma))
        if left.any():
            for j in np.flatnonzero(left).tolist():
                self._leave(j, float(sigma[j]))
            steady &= ~left
            strays &= steady
        self._follow_level(steady, strays, away)

        resting = np.flatnonzero((self._state != _STEADY) & heard)
        if len(resting):
            self._learn_plates(resting[self._state[resting] == _LEARNING])
            self._settle_plates(resting[self._state[resting] == _ACTIVE], self._settle)
        if self._pending:
            self._confirm(now_ns)

    def _confirm(self, now_ns: int) -> None:
        """Close the steps whose new level has lasted."""
        moving = self._state == _ACTIVE
        rising = {column for column, steps in self._pending.items() if self._level[column] > steps[0].before_g}
        unsure = moving.copy()
        unsure[list(rising)] = True
        same_shelf = self._shelf[1:] == self._shelf[:-1]
        by_moving, by_unsure = np.zeros_like(moving), np.zeros_like(moving)
        for beside, of in ((by_moving, moving), (by_unsure, unsure)):
            beside[1:] |= of[:-1] & same_shelf
            beside[:-1] |= of[1:] & same_shelf
        for column, steps in list(self._pending.items()):
            if moving[column]:
                continue
            # One thing may stand on two plates: they wait for each other to be at rest, not to be sure.
            if not (by_moving if column in rising else by_unsure)[column]:
                steps[-1].rested_ns += self._bin_ns
            wanted_s = self._settings.confirm_rise_s if column in rising else self._settings.confirm_s
            confirmed = steps[-1].rested_ns >= wanted_s * NANOSECONDS and self._lies_still(column)
            if confirmed or now_ns - steps[0].end_ns >= self._settings.patience_s * NANOSECONDS:
                self._close_steps(column)

    def _lies_still(self, column: int) -> bool:
        """Whether a plate strayed no more than usual while its new level was confirmed: a hand's pressure does."""
        length = round(self._settings.confirm_s * NANOSECONDS / self._bin_ns)
        shorts = self._shorts[max(0, self._end - length) : self._end, column]
        shorts = shorts[np.isfinite(shorts)]
        usual = max(MAD_TO_SIGMA * float(self._stray[column]), self._settings.floor_g)
        sigma_g = usual * float(self._shaking[self._shelf[column]])
        return len(shorts) > 1 and float(shorts.std()) <= self._settings.still_sigmas * sigma_g

    def _sigma(self) -> FloatArray:
        """Standard deviation of a short mean around its level right now, shape (p,), grams."""
        return np.asarray(np.maximum(MAD_TO_SIGMA * self._stray, self._settings.floor_g) * self._shaking[self._shelf])

    def _measure_shaking(self, ratio: FloatArray) -> None:
        """Update how much more than usual each shelf's plates stray, from the ratio of each, inf where it has none."""
        grid: NDArray[Any]
        if ratio.size == self._shelf_grid[0] * self._shelf_grid[1]:  # shelves with equally many plates, in order
            grid = np.sort(ratio.reshape(self._shelf_grid), axis=1)
        else:
            grid = np.full(self._shelf_grid, np.inf)
            grid[self._shelf_place] = ratio
            grid.sort(axis=1)
        count = np.add.reduce(grid < np.inf, axis=1, dtype=np.int64)
        median = grid[self._shelf_rows, np.maximum(0, count - 1) // 2]
        total = int(np.add.reduce(count))
        # A shelf with few plates at rest cannot tell a step from a hand.
        now = np.where(count >= 3, median, 1.0)
        if total >= 3:
            ratio.sort()
            now = np.maximum(now, ratio[(total - 1) // 2])
        # Vibration comes and goes with steps, twice a second; between them it is not over.
        self._shaking = np.maximum(np.maximum(now, 1 + (self._shaking - 1) * self._shaking_decay), 1.0)

    def _leave(self, j: int, sigma_g: float) -> None:
        """Begin an active segment of plate j; its level stays as it was before."""
        self._state[j] = _ACTIVE
        first = max(0, self._end - self._memory, self._end - self._steady_n[j] - 1)
        beyond = np.abs(self._history[first : self._end, j] - self._level[j]) > 2 * sigma_g
        beyond |= np.isnan(self._history[first : self._end, j])
        quiet = np.flatnonzero(~beyond)
        begin = min(first + int(quiet[-1]) + 1 if len(quiet) else first, self._end - 1)
        self._start_ns[j] = self._times_ns[begin]
        self._before_var[j] = self._level_var(j)
        self._clipped[j] = False
        if j in self._pending:
            step = self._pending[j][-1]
            step.after_g = float(self._level[j])
            step.after_var = float(self._before_var[j])

    def _level_var(self, j: int) -> float:
        """Variance of a steady plate's level: from its usual straying, and from how it strays in the last seconds."""
        since = min(int(self._steady_n[j]) + self._settle - self._short, self._memory)
        shorts = self._shorts[max(0, self._end - 1 - since) : self._end - 1, j]
        shorts = shorts[np.isfinite(shorts)]
        usual = max(MAD_TO_SIGMA * float(self._stray[j]), self._settings.floor_g) ** 2
        # Overlapping means: about one independent one in each stretch of ``short``; the usual counts as four.
        independent = len(shorts) / self._short
        recent = float(shorts.var()) if len(shorts) > 1 else 0.0
        variance = (4 * usual + independent * recent) / (4 + independent)
        return self._mean_var(variance**0.5, float(self._level_n[j]))

    def _mean_var(self, sigma_g: float, n: float) -> float:
        """Variance of a level averaged over n bins, of which each ``short`` together err by ``sigma_g``."""
        return sigma_g**2 * min(1.0, self._short / max(n, 1.0))

    def _follow_level(self, rows: BoolArray, strays: BoolArray, away: FloatArray) -> None:
        """Let steady plates' levels and their usual straying, if they stray at all, follow the readings."""
        self._steady_n += rows
        # The newest readings may already belong to a touch that is not yet noticed.
        lag = self._short + 1
        if self._end > lag:
            late = self._history[self._end - 1 - lag]
            follows = rows & (self._steady_n > lag) & np.isfinite(late)
            np.minimum(self._level_n + 1, self._memory, out=self._level_n, where=follows)
            np.add(self._level, (late - self._level) / np.maximum(self._level_n, 1.0), out=self._level, where=follows)
        # Robbins-Monro for the median: a step up when above, a step down when below, smaller the more was seen.
        self._stray_n += strays
        gain = np.maximum(0.01, 0.5 / (5 + self._stray_n))
        side = np.sign(away - self._stray * self._shaking[self._shelf])
        np.multiply(self._stray, np.exp(gain * side), out=self._stray, where=strays)

    def _learn_plates(self, columns: IntArray) -> None:
        """Give plates without a level their first one, from readings that keep together."""
        if not len(columns) or self._end < self._learn:
            return
        shorts = self._shorts[self._end - self._learn + self._short : self._end, columns]
        whole = np.isfinite(self._history[self._end - self._learn : self._end, columns]).all(axis=0)
        columns, shorts = columns[whole], shorts[:, whole]
        if not len(columns):
            return
        level = np.median(shorts, axis=0)
        stray = np.maximum(np.median(np.abs(shorts - level), axis=0), self._settings.floor_g / MAD_TO_SIGMA)
        # Few readings may agree by chance: at first no plate is better than half as good as its fellows.
        stray = np.maximum(stray, 0.5 * np.median(stray))
        calm = np.ptp(shorts, axis=0) <= 3 * self._settings.steady_sigmas * MAD_TO_SIGMA * stray
        for k in np.flatnonzero(calm).tolist():
            j = int(columns[k])
            self._state[j] = _STEADY
            self._level[j] = self._history[self._end - self._learn : self._end, j].mean()
            self._level_n[j] = self._learn
            self._stray[j] = stray[k]
            self._stray_n[j] = 0
            self._steady_n[j] = 0

    def _settle_plates(self, columns: IntArray, length: int, *, give_up: bool = False) -> None:
        """End the active segments of plates whose last ``length`` values keep together."""
        if not len(columns) or self._end < length:
            return
        settings = self._settings
        now_ns = int(self._times_ns[self._end - 1])
        window = self._history[self._end - length : self._end, columns]
        shorts = self._shorts[self._end - length + self._short - 1 : self._end, columns]
        sigma = self._sigma()[columns]
        active_s = (now_ns - self._start_ns[columns]) / NANOSECONDS
        allowed = settings.steady_sigmas * sigma * np.maximum(1.0, active_s / settings.tired_s)
        with np.errstate(invalid="ignore"):
            rests = np.isfinite(window).all(axis=0) & (np.ptp(shorts, axis=0) <= allowed * (3 if give_up else 1))
        for k in np.flatnonzero(rests).tolist():
            j = int(columns[k])
            scatter = float(shorts[:, k].std(ddof=1)) if len(shorts) > 1 else 0.0
            # Its first readings may still ring.
            after_g = float(window[self._short - 1 :, k].mean())
            self._settle_one(j, after_g, max(float(sigma[k]), scatter), length)

    def _settle_one(self, j: int, after_g: float, sigma_g: float, length: int) -> None:
        settings = self._settings
        begin_ns = int(self._times_ns[self._end - length])
        now_ns = int(self._times_ns[self._end - 1])
        end_ns = max(begin_ns, int(self._start_ns[j]))
        after_var = self._mean_var(sigma_g, length)
        pending = self._pending.get(j, [])
        gap_s = (end_ns - int(self._start_ns[j])) / NANOSECONDS
        sigma_step = float(np.sqrt(self._before_var[j] + after_var + settings.drift_g**2 * gap_s))
        delta_g = after_g - float(self._level[j])
        old_n = float(self._level_n[j])
        old_level = float(self._level[j])
        self._state[j] = _STEADY
        self._steady_n[j] = 0
        if abs(delta_g) < settings.weak_sigmas * sigma_step:
            # The same level, seen again.
            self._level_n[j] = min(old_n + length, self._memory)
            self._level[j] += delta_g * length / (old_n + length)
            return
        self._level[j] = after_g
        self._level_n[j] = length
        gap_g = settings.drift_g * gap_s**0.5
        for k, step in enumerate(pending):
            sigma_back = math.hypot(step.before_var**0.5, after_var**0.5, gap_g)
            if abs(after_g - step.before_g) < max(settings.smallest_g, settings.weak_sigmas * sigma_back):
                # Back where it was: a touch, or something lifted and set down again.
                del pending[k:]
                if not pending:
                    self._pending.pop(j, None)
                return
        step = _Step(
            column=j,
            start_ns=int(self._start_ns[j]),
            end_ns=end_ns,
            rested_ns=now_ns - end_ns,
            before_g=old_level,
            before_var=float(self._before_var[j]),
            saturated=bool(self._clipped[j]),
        )
        self._pending.setdefault(j, []).append(step)

    def _close_steps(self, column: int) -> None:
        """Take a plate's pending steps as final."""
        self._closed += self._wholes(column, self._pending.pop(column))

    def _wholes(self, column: int, steps: list[_Step]) -> list[_Step]:
        """A plate's pending steps as they are if nothing follows: those between which no level lasted are one."""
        if self._state[column] == _STEADY:
            steps[-1].after_g = float(self._level[column])
            steps[-1].after_var = self._level_var(column)
        runs: list[list[_Step]] = []
        for step in steps:
            step.time_ns = self._moment(step)
            step.saturated |= bool(self._clipped[column])
            if runs and not self._lasted(runs[-1][-1], step):
                runs[-1].append(step)
            else:
                runs.append([step])
        wholes = []
        for run in runs:
            whole = run[0]
            if len(run) > 1:
                whole = replace(
                    run[0],
                    end_ns=run[-1].end_ns,
                    after_g=run[-1].after_g,
                    after_var=run[-1].after_var,
                    saturated=any(step.saturated for step in run),
                    moves=tuple(run),
                )
                whole.time_ns = self._moment(whole)
            else:
                whole.moves = self._moves_within(whole)
            whole.closed_ns = int(self._times_ns[self._end - 1])
            wholes.append(whole)
        return wholes

    def _moves_within(self, step: _Step) -> tuple[_Step, ...]:
        """The moves of a step that paused on its way, as where two hands take one after the other; none if it did not.

        The pause is too short for a level that the plate is sure to have rested at.
        """
        settings, j = self._settings, step.column
        times = self._times_ns[: self._end]
        inside = slice(*np.searchsorted(times, [step.start_ns, step.end_ns + self._bin_ns]).tolist())
        values, times = self._history[inside, j], times[inside]
        length = round(settings.pause_s * NANOSECONDS / self._bin_ns)
        size_g = abs(step.delta_g)
        if size_g < 2 * settings.smallest_g or len(values) < length + 2:
            return ()
        sigma_g = float(self._sigma()[j])
        spread_g = max(settings.pause_share * size_g, settings.steady_sigmas * sigma_g)
        least_g = max(settings.pause_from * size_g, settings.smallest_g)
        levels = sorted((step.before_g, step.after_g))
        pauses: list[tuple[int, int]] = []
        first = 0
        while first + length <= len(values):
            last = first + length
            if not np.ptp(values[first:last]) <= spread_g:  # nan is no pause
                first += 1
                continue
            while last < len(values) and np.ptp(values[first : last + 1]) <= spread_g:
                last += 1
            if levels[0] + least_g <= values[first:last].mean() <= levels[1] - least_g:
                pauses.append((first, last))
            first = last
        if not pauses:
            return ()
        moves, before_g, before_var, begin = [], step.before_g, step.before_var, 0
        for first, last in [*pauses, (len(values), len(values))]:
            is_last = first == len(values)
            after_g = step.after_g if is_last else float(values[first:last].mean())
            after_var = (
                step.after_var if is_last else self._mean_var(max(sigma_g, float(values[first:last].std())), 1.0)
            )
            move = replace(
                step,
                start_ns=int(times[begin]),
                end_ns=step.end_ns if is_last else int(times[first]),
                rested_ns=step.rested_ns if is_last else int(times[last - 1] - times[first]),
                before_g=before_g,
                before_var=before_var,
                after_g=after_g,
                after_var=after_var,
                moves=(),
            )
            move.time_ns = self._moment(move)
            moves.append(move)
            before_g, before_var, begin = after_g, after_var, min(last, len(values)) - 1
        return tuple(moves)

    def _lasted(self, step: _Step, following: _Step) -> bool:
        """Whether the level between two steps lasted long enough to be more than a hand's pressure."""
        rise = step.after_g > step.before_g
        wanted_s = self._settings.confirm_rise_s if rise else self._settings.confirm_s
        return following.start_ns - step.end_ns >= wanted_s * NANOSECONDS

    def _moment(self, step: _Step) -> int:
        """When the plate went from one level to the other: the split that both levels explain best."""
        times = self._times_ns[: self._end]
        inside = slice(*np.searchsorted(times, [step.start_ns, step.end_ns + self._bin_ns]).tolist())
        values = self._history[inside, step.column]
        heard = np.isfinite(values)
        if not heard.any():
            return (step.start_ns + step.end_ns) // 2
        values, times = values[heard], times[inside][heard]
        # Absolute distances, none larger than the step: pressure before and after counts little.
        most = abs(step.delta_g)
        miss_before = np.minimum(np.abs(values - step.before_g), most)
        miss_after = np.minimum(np.abs(values - step.after_g), most)
        cost = np.concatenate(([0.0], np.cumsum(miss_before))) + np.concatenate(
            (np.cumsum(miss_after[::-1])[::-1], [0.0])
        )
        # A hand that presses hides the moment: what leaves does so at the end of the contact, what comes at its start.
        best = int(cost.argmin()) if step.delta_g > 0 else len(cost) - 1 - int(cost[::-1].argmin())
        edge = int(times[min(best, len(times) - 1)]) - self._bin_ns // 2
        return min(max(edge, step.start_ns), step.end_ns)

    def _told(self) -> list[WeightChange]:
        """Join closed steps of neighbouring plates and return what is certain."""
        if not self._closed:
            return []
        now_ns = int(self._times_ns[self._end - 1])
        told: list[WeightChange] = []
        for shelf in sorted({int(self._shelf[step.column]) for step in self._closed}):
            mine = [step for step in self._closed if self._shelf[step.column] == shelf]
            busy_ns = {
                j: self._pending[j][0].start_ns if j in self._pending else int(self._start_ns[j])
                for j in np.flatnonzero(self._shelf == shelf).tolist()
                if j in self._pending or self._state[j] == _ACTIVE
            }
            oldest_busy_ns = min(busy_ns.values(), default=now_ns)
            mine.sort(key=lambda step: step.time_ns)
            if any(self._waits(step, busy_ns, oldest_busy_ns, now_ns) for step in mine):
                continue
            self._closed = [step for step in self._closed if self._shelf[step.column] != shelf]
            told += self._joined(mine)
        return told

    def _waits(self, step: _Step, busy_ns: dict[int, int], oldest_busy_ns: int, now_ns: int) -> bool:
        """Whether plates that are not settled yet may belong to a closed step."""
        settings = self._settings
        latest_ns = step.time_ns + round(settings.couple_s * NANOSECONDS)
        if latest_ns >= oldest_busy_ns and now_ns - step.closed_ns < settings.join_s * NANOSECONDS:
            return True
        # The other half of what stood on two plates; that plate may be handled again before it comes to rest.
        beside = any(
            abs(self.plates[step.column].number - self.plates[j].number) == 1 and latest_ns >= began_ns
            for j, began_ns in busy_ns.items()
        )
        return beside and now_ns - step.end_ns < (settings.patience_s + settings.join_s) * NANOSECONDS

    def _joined(self, steps: list[_Step]) -> list[WeightChange]:
        """Changes of one shelf, each with the moves that it may be made of."""
        settings = self._settings
        changes = []
        for group in self._groups(steps, settings.settle_s):
            group += self._companions(group)
            moves = [move for step in group for move in step.single_moves]
            parts = [part for own in self._groups(moves, settings.merge_s) if (part := self._change(own)) is not None]
            change = self._change(group, doubtful=len(parts) > 1)
            if change is not None:
                parts = sorted(parts, key=lambda part: part.time_ns) if len(parts) > 1 else []
                changes.append(replace(change, parts=tuple(parts)))
        return changes

    def _companions(self, group: list[_Step]) -> list[_Step]:
        """Steps of restless plates beside a group that never left their level as noise goes, but have a new one since.

        What stood on two plates leaves both. A plate that strays by several grams all the time takes up a small step of
        its own by and by; the means of a second before and after tell it, where a neighbour says when to look.
        """
        settings = self._settings
        start_ns, end_ns = min(step.start_ns for step in group), max(step.end_ns for step in group)
        sign, size_g = math.copysign(1.0, sum(step.delta_g for step in group)), max(abs(s.delta_g) for s in group)
        length = round(COMPANION_S * NANOSECONDS / self._bin_ns)
        times = self._times_ns[: self._end]
        begin, end = np.searchsorted(times, [start_ns, end_ns + self._bin_ns]).tolist()
        own = {step.column for step in group} | {step.column for step in self._closed} | set(self._pending)
        found = []
        for j in self._beside({step.column for step in group}) - own:
            before, after = self._history[max(0, begin - 4 * length) : begin, j], self._history[end : end + length, j]
            if self._state[j] != _STEADY or len(before) < 4 * length or len(after) < length:
                continue
            if self._start_ns[j] >= times[begin - 4 * length]:  # it has left its level and is told of by itself
                continue
            # How far means of a second stray of late; footsteps do not count, for they go by within one.
            means = np.convolve(before, np.full(length, 1 / length), "valid")
            delta_g = float(after.mean() - means[-1])  # nan is none
            variance = float(max(means.std(), settings.floor_g)) ** 2
            least_g = max(settings.smallest_g, 2 * settings.coupling * size_g, COMPANION_SIGMAS * (2 * variance) ** 0.5)
            # A plate that has what it had again was touched, or is part of something else.
            lately_g = float(self._history[self._end - length : self._end, j].mean())
            if delta_g * sign >= least_g and abs(lately_g - after.mean()) < least_g / 2:
                step = replace(group[0], column=j, before_g=float(means[-1]), after_g=float(after.mean()), moves=())
                step.before_var = step.after_var = variance
                found.append(step)
                self._level[j], self._level_n[j] = step.after_g, length
        return found

    def _beside(self, columns: set[int]) -> set[int]:
        """Plates next to these on their shelf."""
        numbers = {(plate.shelf_id, plate.number): j for j, plate in enumerate(self.plates)}
        at = [(self.plates[j].shelf_id, self.plates[j].number) for j in columns]
        near = {numbers.get((shelf_id, number + side)) for shelf_id, number in at for side in (-1, 1)}
        return {j for j in near if j is not None} - columns

    def _groups(self, steps: list[_Step], apart_s: float) -> list[list[_Step]]:
        """Steps of one shelf by what made them, without those that only follow from others.

        Args:
            steps: The steps.
            apart_s: Plates that one thing let go of may step this long after each other.
        """
        own = [step for step in steps if not any(self._follows(step, other) for other in steps)]
        groups = []
        while own:
            group = [own.pop(0)]
            grown = True
            while grown:
                near = [step for step in own if any(self._together(step, member, apart_s) for member in group)]
                own = [step for step in own if step not in near]
                group += near
                grown = bool(near)
            groups.append(group)
        return groups

    def _follows(self, step: _Step, other: _Step) -> bool:
        """Whether a step is no more than the bending of the shelf under another one."""
        if abs(step.delta_g) > self._settings.coupling * abs(other.delta_g):
            return False
        # A hand that presses hides the moment, so the spans are compared.
        slack_ns = self._settings.couple_s * NANOSECONDS
        return step.start_ns <= other.end_ns + slack_ns and step.end_ns >= other.start_ns - slack_ns

    def _together(self, one: _Step, other: _Step, apart_s: float) -> bool:
        apart = abs(self.plates[one.column].number - self.plates[other.column].number)
        if apart != 1:
            return False
        slack_ns = apart_s * NANOSECONDS
        return any(abs(a.time_ns - b.time_ns) <= slack_ns for a in one.single_moves for b in other.single_moves)

    def _change(self, group: list[_Step], *, doubtful: bool = False) -> WeightChange | None:
        """What a group of steps comes to; None if it may be nothing, unless it is wanted all the same."""
        settings = self._settings
        group = sorted(group, key=lambda step: -abs(step.delta_g))
        delta_g = sum(step.delta_g for step in group)
        gap_s = [(step.end_ns - step.start_ns) / NANOSECONDS + settings.confirm_s for step in group]
        variance = sum(step.before_var + step.after_var for step in group) + settings.drift_g**2 * sum(gap_s)
        variance += sum((settings.creep * step.delta_g) ** 2 for step in group)
        least_g = max(settings.smallest_g, settings.certain_sigmas * variance**0.5)
        # One thing taken and another of its mass put beside it at one moment leave the sum as it was.
        is_exchange = min(max(step.delta_g for step in group), -min(step.delta_g for step in group)) >= least_g
        if abs(delta_g) < least_g and not (doubtful or is_exchange):
            return None
        if any(step.saturated for step in group):
            # Only so much is known: a part of the load was not weighed.
            variance += delta_g**2
        start_ns = min(step.start_ns for step in group)
        end_ns = max(step.end_ns for step in group)
        around_ns = round(settings.curve_s * NANOSECONDS)
        rows = slice(*np.searchsorted(self._times_ns[: self._end], [start_ns - around_ns, end_ns + around_ns]).tolist())
        columns = [step.column for step in group]
        alone = []
        if len(group) > 1:
            alone = [self._change([step], doubtful=True) for step in sorted(group, key=lambda step: step.column)]
        return WeightChange(
            plate_ids=tuple(self.plates[j].plate_id for j in columns),
            delta_g=float(delta_g),
            sigma_g=float(variance**0.5),
            start_ns=start_ns,
            time_ns=group[0].time_ns,
            end_ns=end_ns,
            curve_ns=self._times_ns[rows].copy(),
            curve_g=self._history[rows][:, columns].sum(axis=1) - sum(step.before_g for step in group),
            by_plate=tuple(change for change in alone if change is not None),
        )
