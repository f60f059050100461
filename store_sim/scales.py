"""Load cells of a simulated store: what 60 Hz plates say of loads, hands, steps, doors and knocks.

A plate with goods on it is a mass on a spring. Every shelf swings at a frequency of its own, every plate on it besides
at one near it, both hardly damped; the heavier the goods, the lower the frequency and the wider the swing. What drives
the swings is the floor: each step of somebody who walks is a short burst that rings on in all plates of the shop, a
door that closes a greater one. On top come the electronics: white noise, a slow wander of about 1.5 Hz that differs
from plate to plate, a hum that one shelf shares, a random walk of the zero, steps of a fixed size, and two plates on
one converter that now and then repeats its last reading. Loads and hands act through the shelf: they bend it a little
under its other plates, and make those plates ring.

All of this was seen in the one real recording there is, AutoCheckout's BENCHMARK-1, and every default of
``PlateSettings`` was measured on it with ``store_sim.scale_fit.fit_settings(statistics_of(...))``, unless the attribute
says otherwise.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from store_sim.day import USUAL_COUNT, reach_of
from store_sim.figures import Figures
from store_sim.happenings import ActiveFault, Happenings
from store_sim.scenarios import FaultKind
from vision.arrays import FloatArray, IntArray
from vision.frames import ScaleSamples
from vision.layout import Plate, StoreLayout

RATE_HZ = 60.0
SAMPLES_A_BLOCK = 12
STEP_NS = round(1e9 / RATE_HZ)
BLOCK_S = SAMPLES_A_BLOCK / RATE_HZ

MASS_G = 100.0
"""Mass of one unit of the goods on a plate at which ``vibration_g`` and ``resonance_hz`` are told."""

TRAY_G = 30.0
"""What a plate itself swings with, told like the goods' mass for one unit of eight: with it, BENCHMARK-1's plates swing
in proportion to what is on them, as they should."""

_USUAL_MASS_G = 60.0  # of a plate that nothing is planned for: the median plate of the NanoStore's planogram
_LOWEST_HZ, _HIGHEST_HZ = 5.0, 28.0  # of a swing: no plate was slower, and 60 Hz show nothing faster
_WALK_MPS = 0.65  # pace of the walker in the recording, by whom vibration is told
_STEPS_PER_S = 1.6  # of that walker
_STRONGEST_STEP = 2.5  # heel strikes grow with speed only up to a run
_JOLT_S, _JOLT_HZ = 0.06, 11.0  # a shelf that was let go quivers so briefly and so fast (neighbours of the pick)
_JOLT_FILTER = np.array([1, -np.exp((-1 / _JOLT_S + 2j * np.pi * _JOLT_HZ) / RATE_HZ)])
_ONE = np.ones(1, complex)
_JOLT_OVER_NS = round(6 * _JOLT_S * 1e9)
_STEP_SPREAD = 0.2  # steps of one person differ by about a fifth (envelope of the recording)
_BURST_S = 0.15  # a step's burst dies away in this time, while half of its power
_LINGERS_S = 0.8  # stays in the floor for this long (envelope of the recording)
_DOOR_BURST_S = 0.3
_T_SCALE = 0.88  # of a t with 3 degrees of freedom whose median deviation is that of a Gaussian of 1
_DOOR_SHUTS_NS, _DOOR_SHUT = 1_200_000_000, 0.6  # later, and how strongly against the opening
# Of the burst and of what lingers, for a mean square of 1 in all while somebody walks.
_STEP_PEAKS = 1 / np.sqrt(_STEPS_PER_S * np.array([[_BURST_S], [_LINGERS_S]]) * np.exp(2 * _STEP_SPREAD**2))
_DOOR_PEAK = 1 / np.sqrt(_DOOR_BURST_S / 2)  # a mean square of 1 in the second after it
_KNOCK_G = 150.0  # first swing of a bump fault that says no amount; twice the strongest in the recording
_DRIFT_G, _DRIFT_S = 40.0, 60.0  # of a drift fault that says neither: far beyond what plates do by themselves
_CREEP_S = 5.0  # in which a creeping plate comes to rest; too little of it in the recording to be measured
_TREMOR = 0.12  # a hand's pressure is not steady: standard deviation as a share of its greatest force
_SKEW = 0.3  # hands are quicker in pressing or in letting go: spread of the exponent that bends their course
_HELD_EVERY = 3  # a converter that falls behind repeats every third reading
_MOST_CLOCKS = 4  # gondolas are measured in so many turns; more would only cost time
_MIN_RISE_S = 1e-3
_HISTORY = 64  # steps of the world to look back on, a good two seconds
_WARM_UP = 120  # samples that plates swing before the recording begins
_NEIGHBOURS = 2  # plates on either side that a load is felt on
_HELD_SPREAD = 0.8  # of the share of repeated readings over pairs

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PlateSettings:
    """How load cells behave; "spread" is the standard deviation of a logarithm over plates.

    Attributes:
        white_g: White noise of the median plate, standard deviation.
        white_spread: Its spread.
        wander_g: Amplitude of the slow wander of the median plate.
        wander_spread: Its spread.
        wander_hz: Its frequency.
        wander_hz_spread: Its spread.
        hum_g: Amplitude of the hum of the median plate.
        hum_spread: Its spread.
        hum_hz: Its frequency, the same in the whole shop.
        hum_follows: Correlation of its logarithm with that of the vibration: lively plates hum more.
        vibration_g: Standard deviation of a plate with goods of 100 g a unit while somebody walks in the shop.
        vibration_exponent: It grows with this power of the mass of the goods and the plate.
        vibration_shelf_spread: Its spread from shelf to shelf.
        vibration_plate_spread: Its spread within a shelf.
        resonance_hz: Frequency at which a shelf with goods of 100 g a unit swings.
        resonance_exponent: It changes with this power of the mass of the goods and the plate.
        resonance_shelf_spread: Its spread from shelf to shelf.
        resonance_plate_spread: Its spread within a shelf.
        damping: Share of the critical damping at ``resonance_hz``.
        damping_spread: Its spread.
        common_share: Share of a plate's vibration, in variance, that it has in common with its shelf.
        ambient_share: Vibration when nobody moves, as a share of that when somebody walks.
        walk_length_m: The distance from a gondola at which a step shakes it 1/e times as much as beside it.
        door_share: Vibration in the second after a door moved, as a multiple of that when somebody walks.
        coupling: Most that a plate's change of load shows in one of the two plates on either side, as a share.
        ring: Amplitude at which those plates ring after a load is lifted off at once, as a share; one sigma.
        creep: Share of a load that shows only after a while.
        drift_g: Random walk of the zero, grams a square root of a second.
        zero_g: Reading of the median plate when the recording begins.
        zero_spread_g: Its robust standard deviation over plates (1.48 times the median deviation).
        quantum_g: Step between two possible readings.
        hold_share: Share of the readings of a pair of plates that repeat the reading before.
        delay_least_s: Shortest time from the last sample of a message to its delivery.
        delay_mean_s: Mean time beyond that; exponential.
        stagger_s: From one gondola's message to the next one's.
        saturation_g: Greatest load that a plate tells (organiser's fact, not measured).
        day_spread: Spread from day to day of the electronics' noise, of what the floor swings with, of how hard loads
            and hands shake their neighbours, and of drift, each by itself. That noise differs from case to case and
            from shelf to shelf is the organiser's fact. There is one recorded day, and on it the quiet gondolas' median
            noise runs from 0.5 to 1.2 g: days, which change weather, goods and people besides, differ no less.
        silent_share: Share of plates that do not answer: all read nan.
    """

    white_g: float = 0.27
    white_spread: float = 0.0885
    wander_g: float = 0.346
    wander_spread: float = 1.02
    wander_hz: float = 1.52
    wander_hz_spread: float = 0.178
    hum_g: float = 0.349
    hum_spread: float = 1.1
    hum_hz: float = 24.42
    hum_follows: float = 0.493
    vibration_g: float = 2.1
    vibration_exponent: float = 0.939
    vibration_shelf_spread: float = 0.473
    vibration_plate_spread: float = 0.54
    resonance_hz: float = 16.5
    resonance_exponent: float = -0.309
    resonance_shelf_spread: float = 0.304
    resonance_plate_spread: float = 0.287
    damping: float = 0.0514
    damping_spread: float = 0.5
    common_share: float = 0.433
    ambient_share: float = 0.12
    walk_length_m: float = 14.7
    door_share: float = 2.43
    coupling: float = 0.0171
    ring: float = 0.0518
    creep: float = 0.0005
    drift_g: float = 0.042
    zero_g: float = 1010.0
    zero_spread_g: float = 721.0
    quantum_g: float = 0.241
    hold_share: float = 0.0543
    delay_least_s: float = 0.0022
    delay_mean_s: float = 0.0042
    stagger_s: float = 0.0383
    saturation_g: float = 20_000.0
    day_spread: float = 0.4
    silent_share: float = 0.0

    def __post_init__(self) -> None:
        signed = ("vibration_exponent", "resonance_exponent", "zero_g")
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            if not np.isfinite(value) or (value < 0 and name not in signed):
                raise ValueError(f"PlateSettings.{name}: expected a number from 0, got {value}")
        for name in ("damping", "common_share", "hum_follows", "coupling", "creep", "hold_share", "silent_share"):
            if getattr(self, name) > 1:
                raise ValueError(f"PlateSettings.{name}: expected a share from 0 to 1, got {getattr(self, name)}")
        for name in ("resonance_hz", "damping", "walk_length_m", "quantum_g", "saturation_g"):
            if getattr(self, name) == 0:
                raise ValueError(f"PlateSettings.{name}: expected a number above 0, got 0")


class PlateSensors:
    """The load cells under all plates of a store.

    Hand over every step of the world with ``feel``, then ask for ``messages``. A block is computed when it is complete,
    from everything felt until then.

    Args:
        layout: The store; what it plans for a plate decides how the plate swings and when it is full.
        rng: Randomness of zeros, noise and delays; two sensors with equal generators that feel the same are equal.
        settings: How the cells behave.
    """

    def __init__(self, layout: StoreLayout, rng: np.random.Generator, settings: PlateSettings | None = None) -> None:
        self._layout, self._rng = layout, rng
        self._settings = settings = settings or PlateSettings()
        gondolas: dict[int, list[Plate]] = {}
        for plate in layout.plates:
            gondolas.setdefault(plate.gondola_id, []).append(plate)
        own = list(gondolas.values())
        self._lines_m = np.array(list(gondola_lines_m(layout).values())).reshape(-1, 2, 2)
        # Electronics and floor have days of their own; the settings below stand for today.
        noisy = float(np.exp(rng.normal(0, settings.day_spread)))
        lively, shaken, drifting = np.exp(rng.spawn(1)[0].normal(0, settings.day_spread, 3)).tolist()
        settings = replace(
            settings,
            white_g=noisy * settings.white_g,
            wander_g=noisy * settings.wander_g,
            hum_g=noisy * settings.hum_g,
            vibration_g=lively * settings.vibration_g,
            coupling=min(shaken * settings.coupling, 1.0),
            ring=shaken * settings.ring,
            drift_g=drifting * settings.drift_g,
        )
        unit_g = planned_masses_g(layout)
        clocks = min(len(own), _MOST_CLOCKS, max(1, int(BLOCK_S / max(settings.stagger_s, STEP_NS * 1e-9))))
        self._banks = [
            _Bank([own[row] for row in rows], rows, unit_g, round(turn * settings.stagger_s * 1e9), rng, settings)
            for turn, rows in enumerate(np.array_split(np.arange(len(own)), max(clocks, 1)))
            if len(rows)
        ]
        self._places = {
            plate_id: (bank, column) for bank in self._banks for column, plate_id in enumerate(bank.plate_ids)
        }
        self._felt_ns: int | None = None
        self._feet: dict[str, int] = {}
        self._steps = np.zeros((2, len(own)))
        self._door = np.zeros(len(own))
        self._doors: list[tuple[int, FloatArray]] = []
        # How strongly each gondola is shaken by the doors, by their distance.
        self._near_door = {
            event: np.ones(len(own))
            if line is None
            else np.exp(-distances_m(self._lines_m, np.asarray(line).mean(axis=0)) / settings.walk_length_m)
            for event, line in (("passed-in", layout.entrance_m), ("passed-out", layout.exit_m))
        }
        self._shaken: deque[FloatArray] = deque(maxlen=_HISTORY)
        self._shaken_ns: deque[int] = deque(maxlen=_HISTORY)
        self._posted: list[tuple[int, int, ScaleSamples]] = []
        self._made = 0

    def feel(self, happenings: Happenings, figures: Figures, now_ns: int) -> None:
        """Take in what a step of the world did, and who stands where at its end.

        Raises:
            ValueError: A plate is named that the store does not have, or time ran backwards.
        """
        if self._felt_ns is not None and now_ns < self._felt_ns:
            raise ValueError(f"PlateSensors: expected a time from {self._felt_ns} ns on, got {now_ns} ns")
        elapsed_s = 0.0 if self._felt_ns is None else (now_ns - self._felt_ns) * 1e-9
        if self._felt_ns is None:
            for bank in self._banks:
                bank.start_ns += now_ns
        self._felt_ns = now_ns
        for load in happenings.loads:
            half_ns = round(max(load.rise_s, _MIN_RISE_S) * 5e8)
            self._push(load.plate_id, load.time_ns - half_ns, load.time_ns + half_ns, load.grams, lasts=True)
        for press in happenings.presses:
            self._push(press.plate_id, press.start_ns, press.end_ns, press.grams, lasts=False)
        for knock in happenings.knocks:
            hit = [plate.plate_id for plate in self._layout.plates if plate.gondola_id == knock.gondola_id]
            self._knock(hit, knock.time_ns, knock.grams)
        for active in happenings.faults:
            self._fail(active)
        self._shake(happenings, figures, elapsed_s)

    def messages(self, now_ns: int) -> list[ScaleSamples]:
        """Return the blocks of 12 samples of one gondola each that were delivered since the last call, in order."""
        if self._felt_ns is None:
            return []
        shaken: FloatArray | None = None
        for bank in self._banks:
            while bank.start_ns + (SAMPLES_A_BLOCK - 1) * STEP_NS <= now_ns:
                if shaken is None:
                    shaken = np.array(self._shaken)
                for samples in bank.measured(shaken, self._shaken_ns):
                    delay_s = self._settings.delay_least_s + self._rng.exponential(self._settings.delay_mean_s)
                    self._posted.append((int(samples.timestamp_ns[-1]) + round(delay_s * 1e9), self._made, samples))
                    self._made += 1
        self._posted.sort(key=lambda entry: entry[:2])
        delivered = 0
        while delivered < len(self._posted) and self._posted[delivered][0] <= now_ns:
            delivered += 1
        come, self._posted = self._posted[:delivered], self._posted[delivered:]
        return [samples for _, _, samples in come]

    def _push(self, plate_id: str, start_ns: int, end_ns: int, grams: float, *, lasts: bool) -> None:
        bank, column = self._place(plate_id)
        skew = float(np.exp(self._rng.normal(0, _SKEW)))
        bank.forces.append(_Force(column, start_ns, max(end_ns, start_ns + 1), grams, lasts, skew))

    def _place(self, plate_id: str) -> "tuple[_Bank, int]":
        place = self._places.get(plate_id)
        if place is None:
            raise ValueError(f"PlateSensors: expected one of the store's plates, got {plate_id!r:.40}")
        return place

    def _knock(self, plate_ids: Sequence[str], time_ns: int, grams: float) -> None:
        for plate_id in plate_ids:
            bank, column = self._place(plate_id)
            swing_g = grams * np.exp(self._rng.normal(0, 0.4)) * self._rng.choice((-1, 1))
            bank.knocks.append((time_ns, column, float(swing_g)))

    def _fail(self, active: ActiveFault) -> None:
        fault = active.fault
        if fault.kind not in (FaultKind.PLATE_STUCK, FaultKind.BUMP, FaultKind.DRIFT):
            return
        hit = reach_of(fault, self._layout).plates
        if fault.kind is FaultKind.BUMP:
            self._knock(hit, active.start_ns, _KNOCK_G if fault.amount is None else fault.amount)
            return
        rate_gps = (_DRIFT_G if fault.amount is None else fault.amount) / (fault.seconds or _DRIFT_S)
        for plate_id in hit:
            bank, column = self._place(plate_id)
            if fault.kind is FaultKind.DRIFT:
                bank.drifts.append((active.start_ns, active.end_ns, column, rate_gps))
            else:
                bank.stuck.append((active.start_ns, active.end_ns, column))

    def _shake(self, happenings: Happenings, figures: Figures, elapsed_s: float) -> None:
        """Let the floor swing: how strongly each gondola is shaken now, 1 when somebody walks by."""
        self._steps *= np.exp(-elapsed_s / np.array([[_BURST_S], [_LINGERS_S]]))
        self._door *= np.exp(-elapsed_s / _DOOR_BURST_S)
        feet = dict(zip(figures.person_id, np.floor(2 * (figures.stride % 1)).astype(int).tolist(), strict=True))
        for row, (person, foot) in enumerate(feet.items()):
            if self._feet.get(person, foot) != foot:
                strength = min(float(figures.speed_mps[row]) / _WALK_MPS, _STRONGEST_STEP)
                strength *= float(np.exp(self._rng.normal(0, _STEP_SPREAD)))
                away_m = distances_m(self._lines_m, figures.position_m[row])
                fading = strength * np.exp(-away_m / self._settings.walk_length_m)
                self._steps = np.hypot(self._steps, _STEP_PEAKS * fading)
        self._feet = feet
        now_ns = self._felt_ns or 0
        for gate in happenings.gates:
            near = self._near_door.get(gate.event)
            if near is not None:  # the door opens, and falls shut behind them
                strength_at = _DOOR_PEAK * self._settings.door_share * near
                self._doors += [(now_ns, strength_at), (now_ns + _DOOR_SHUTS_NS, _DOOR_SHUT * strength_at)]
        for _, strength_at in (door for door in self._doors if door[0] <= now_ns):
            self._door = np.hypot(self._door, strength_at)
        self._doors = [door for door in self._doors if door[0] > now_ns]
        self._shaken.append(
            np.sqrt((self._steps**2).sum(axis=0) + self._door**2 + self._settings.ambient_share**2).astype(np.float32)
        )
        self._shaken_ns.append(now_ns)


@dataclass(slots=True)
class _Force:
    """What acts on a plate from one moment to another: a load that ``lasts``, or a pressure that ends."""

    column: int
    start_ns: int
    end_ns: int
    grams: float
    lasts: bool
    skew: float
    before_g: float = 0.0  # at the sample before the block in hand
    jolt: NDArray[np.complex128] = field(default_factory=lambda: np.zeros(1, complex))  # and what quivers after it

    def at(self, times_ns: IntArray) -> FloatArray:
        """Grams at given times, shape (s,)."""
        share = np.clip((times_ns - self.start_ns) / (self.end_ns - self.start_ns), 0, 1)
        if not self.lasts:
            return np.asarray(self.grams * np.sin(np.pi * share**self.skew))
        # Goods tip before they are off, and stand at once when they come down.
        return np.asarray(self.grams * (share**1.5 if self.grams < 0 else 1 - (1 - share) ** 1.5))


class _Bank:
    """The plates of gondolas that are measured at the same instants.

    Attributes:
        plate_ids: Their plates, gondola by gondola.
        start_ns: The first sample of the next block.
        forces: What acts on plates now or soon.
        knocks: Swings to come, as (time, column, grams).
        drifts: Zeros that run, as (from, to, column, grams a second).
        stuck: Plates that repeat their reading, as (from, to, column).
    """

    def __init__(
        self,
        gondolas: Sequence[Sequence[Plate]],
        rows: IntArray,
        unit_g: Mapping[str, float],
        offset_ns: int,
        rng: np.random.Generator,
        settings: PlateSettings,
    ) -> None:
        self._rng, self._settings = rng, settings
        plates = [plate for own in gondolas for plate in own]
        self.plate_ids = tuple(plate.plate_id for plate in plates)
        self.start_ns = offset_ns
        self.forces: list[_Force] = []
        self.knocks: list[tuple[int, int, float]] = []
        self.drifts: list[tuple[int, int, int, float]] = []
        self.stuck: list[tuple[int, int, int]] = []
        ends = np.cumsum([len(own) for own in gondolas]).tolist()
        self._parts = [
            (slice(end - len(own), end), tuple(plate.plate_id for plate in own))
            for end, own in zip(ends, gondolas, strict=True)
        ]
        names = [(plate.gondola_id, plate.shelf_id) for plate in plates]
        shelves = {name: row for row, name in enumerate(dict.fromkeys(names))}
        self._shelf = np.array([shelves[name] for name in names], np.intp)
        gondola_row = np.repeat(rows, [len(own) for own in gondolas])
        gondola_of_shelf = np.zeros(len(shelves), np.intp)
        gondola_of_shelf[self._shelf] = gondola_row
        # The first oscillators are the plates' own, the others the shelves'.
        self._gondola = np.concatenate([gondola_row, gondola_of_shelf])
        self._draw_noise(len(plates))
        self._draw_swings(np.array([unit_g[plate_id] for plate_id in self.plate_ids]))
        self._draw_neighbours(plates)

    def measured(self, shaken: FloatArray, shaken_ns: Sequence[int]) -> list[ScaleSamples]:
        """Take the next block, one message a gondola.

        Args:
            shaken: How strongly each gondola was shaken, shape (t, g).
            shaken_ns: When, length t, rising.
        """
        rng, settings, plates = self._rng, self._settings, len(self.plate_ids)
        times_ns = self.start_ns + STEP_NS * np.arange(SAMPLES_A_BLOCK, dtype=np.int64)
        felt = np.searchsorted(np.fromiter(shaken_ns, np.int64, len(shaken)), times_ns)
        drive = rng.standard_normal((SAMPLES_A_BLOCK, len(self._gondola)), np.float32)
        drive *= shaken[np.minimum(felt, len(shaken) - 1)].take(self._gondola, axis=1)
        drive *= self._drive
        load = self._loads(times_ns, drive)
        swing = self._swung(drive)

        grams = rng.standard_normal((SAMPLES_A_BLOCK, plates), np.float32)
        grams *= self._white_g
        own, common = swing[:, :plates], swing[:, plates:].take(self._shelf, axis=1)
        own *= self._own_g
        common *= self._common_g
        grams += own
        grams += common
        grams += self._wander.real * self._turn_cos
        grams -= self._wander.imag * self._turn_sin
        self._wander *= self._turn
        phase = 2 * np.pi * settings.hum_hz * (self._taken + np.arange(SAMPLES_A_BLOCK)) / RATE_HZ
        self._taken += SAMPLES_A_BLOCK
        grams += np.stack([np.cos(phase), np.sin(phase)], axis=1).astype(np.float32) @ self._hum_g
        grams += load
        np.minimum(grams, self._most_g, out=grams)
        self._run_away(times_ns)
        grams += self._zero_g
        grams *= np.float32(1 / settings.quantum_g)
        np.rint(grams, out=grams)
        grams *= np.float32(settings.quantum_g)
        self._repeat(grams, times_ns)
        self.start_ns += SAMPLES_A_BLOCK * STEP_NS
        return [ScaleSamples(times_ns, names, grams[:, part], RATE_HZ) for part, names in self._parts]

    def _draw_noise(self, plates: int) -> None:
        settings, rng = self._settings, self._rng
        self._white_g = (settings.white_g * _spread(rng, settings.white_spread, plates)).astype(np.float32)
        wander_g = settings.wander_g * _spread(rng, settings.wander_spread, plates)
        self._wander = (wander_g * np.exp(2j * np.pi * rng.random(plates))).astype(np.complex64)
        wander_hz = settings.wander_hz * _spread(rng, settings.wander_hz_spread, plates)
        turns = np.exp(2j * np.pi / RATE_HZ * wander_hz * np.arange(SAMPLES_A_BLOCK + 1)[:, None])
        self._turn_cos, self._turn_sin = turns[:-1].real.astype(np.float32), turns[:-1].imag.astype(np.float32)
        self._turn = turns[-1].astype(np.complex64)
        self._taken = 0
        # Student's t with 3 degrees of freedom, which the recording's zeros follow: a few lie far out.
        zero_g = settings.zero_g + settings.zero_spread_g * _T_SCALE * rng.standard_t(3, plates)
        self._zero_g = zero_g.astype(np.float32)
        self._zero_g[rng.random(plates) < settings.silent_share] = np.nan

    def _draw_swings(self, unit_g: FloatArray) -> None:
        settings, rng = self._settings, self._rng
        plates, shelves = len(unit_g), int(self._shelf.max()) + 1
        relative = (unit_g + TRAY_G) / (MASS_G + TRAY_G)
        of_shelf = np.bincount(self._shelf, relative, shelves) / np.bincount(self._shelf, minlength=shelves)
        vibration_g = settings.vibration_g * relative**settings.vibration_exponent
        vibration_g *= _spread(rng, settings.vibration_shelf_spread, shelves)[self._shelf]
        vibration_g *= _spread(rng, settings.vibration_plate_spread, plates)
        lively = np.log(np.maximum(vibration_g, 1e-9))
        lively = (lively - lively.mean()) / max(float(lively.std()), 1e-9)
        hums = settings.hum_follows * lively + np.sqrt(1 - settings.hum_follows**2) * rng.normal(size=plates)
        hum_g = settings.hum_g * np.exp(settings.hum_spread * hums)
        angle = 2 * np.pi * rng.random(shelves)[self._shelf]
        self._hum_g = (hum_g * np.stack([np.cos(angle), np.sin(angle)])).astype(np.float32)
        self._own_g = (vibration_g * np.sqrt(1 - settings.common_share)).astype(np.float32)
        self._common_g = (vibration_g * np.sqrt(settings.common_share)).astype(np.float32)

        shelf_hz = settings.resonance_hz * of_shelf**settings.resonance_exponent
        shelf_hz *= _spread(rng, settings.resonance_shelf_spread, shelves)
        plate_hz = shelf_hz[self._shelf] * _spread(rng, settings.resonance_plate_spread, plates)
        hz = np.clip(np.concatenate([plate_hz, shelf_hz]), _LOWEST_HZ, _HIGHEST_HZ)
        # Friction between parts damps in proportion to the frequency (Kelvin and Voigt): heavy plates ring longest.
        damping = settings.damping * hz / settings.resonance_hz * _spread(rng, settings.damping_spread, len(hz))
        damping = np.minimum(damping, 0.7)
        decay = np.exp(-2 * np.pi / RATE_HZ * damping * hz)
        angle = 2 * np.pi / RATE_HZ * hz * np.sqrt(1 - damping**2)
        # A damped oscillator, sampled: y[n] = a1 y[n-1] - a2 y[n-2] + drive, with the drive that gives variance 1
        # (Box & Jenkins, Time Series Analysis, 3.2.4).
        a1, a2 = 2 * decay * np.cos(angle), decay**2
        drive = np.sqrt((1 - a2) * ((1 + a2) ** 2 - a1**2) / (1 + a2))
        self._a1, self._a2, self._drive = a1.astype(np.float32), a2.astype(np.float32), drive.astype(np.float32)
        self._swing = np.zeros((2, len(hz)), np.float32)
        quiet = rng.standard_normal((_WARM_UP, len(hz)), np.float32) * self._drive * np.float32(settings.ambient_share)
        self._swung(quiet)
        # One sample of this drive lets a plate's own oscillator swing by 1 g.
        self._kick = np.sin(angle[:plates]) / np.maximum(vibration_g * np.sqrt(1 - settings.common_share), 1e-6)

        self._level_g = np.zeros(plates)  # of the loads that came and went
        self._rested_g = np.zeros(plates)  # what a creeping plate has come to know of it
        self._most_g = (settings.saturation_g - USUAL_COUNT * unit_g).astype(np.float32)

    def _draw_neighbours(self, plates: Sequence[Plate]) -> None:
        settings, rng = self._settings, self._rng
        shape = (len(plates), 2 * _NEIGHBOURS + 1)
        self._coupling = settings.coupling * rng.random(shape)
        self._coupling[:, _NEIGHBOURS] = 1
        self._ringing = settings.ring * rng.normal(size=shape)
        # A plate that was unloaded itself hardly rings: nothing stands on it now that could swing.
        self._ringing[:, _NEIGHBOURS] *= 0.7
        self._reach = []
        for column, shelf in enumerate(self._shelf):
            near = np.arange(max(column - _NEIGHBOURS, 0), min(column + _NEIGHBOURS + 1, len(plates)))
            near = near[self._shelf[near] == shelf]
            self._reach.append((near, near - column + _NEIGHBOURS))
        pairs = [(plate.gondola_id, plate.shelf_id, (plate.number + 1) // 2) for plate in plates]
        rows = {pair: row for row, pair in enumerate(dict.fromkeys(pairs))}
        self._pair = np.array([rows[pair] for pair in pairs], np.intp)
        held = settings.hold_share * _spread(rng, _HELD_SPREAD, len(rows)) / np.exp(_HELD_SPREAD**2 / 2)
        self._held_rate = np.minimum(_HELD_EVERY * held, 1)
        quantum_g = np.float32(settings.quantum_g)
        self._last_g = np.rint(self._zero_g / quantum_g) * quantum_g

    def _loads(self, times_ns: IntArray, drive: Float32Array) -> FloatArray:
        """Weigh the loads and hands, shape (s, p) or (p,), grams, and add to the drive what they let ring."""
        settings, end_ns = self._settings, int(times_ns[-1])
        creeping = settings.creep * (self._level_g - self._rested_g)
        acting = [force for force in self.forces if force.start_ns <= end_ns]
        level_g = self._level_g - creeping
        if acting:
            level_g = np.repeat(level_g[None], len(times_ns), axis=0)
        for force in acting:
            near, side = self._reach[force.column]
            grams = force.at(times_ns)
            quiver, last = lfilter(_ONE, _JOLT_FILTER, np.diff(grams, prepend=force.before_g), zi=force.jolt)
            force.before_g, force.jolt = float(grams[-1]), last
            if not force.lasts:
                grams *= 1 + _TREMOR * self._rng.normal(size=len(grams))
            level_g[:, near] += grams[:, None] * self._coupling[force.column, side]
            level_g[:, near] += quiver.real[:, None] * self._ringing[force.column, side]
            if force.lasts and force.end_ns + _JOLT_OVER_NS <= end_ns:
                self._level_g[near] += force.grams * self._coupling[force.column, side]
        if acting:
            self.forces = [force for force in self.forces if force.end_ns + _JOLT_OVER_NS > end_ns]
        self._rested_g += (self._level_g - self._rested_g) * (1 - np.exp(-BLOCK_S / _CREEP_S))
        if self.knocks:
            for time_ns, column, grams_first in self.knocks:
                if time_ns <= end_ns:
                    drive[np.searchsorted(times_ns, time_ns), column] += grams_first * self._kick[column]
            self.knocks = [knock for knock in self.knocks if knock[0] > end_ns]
        return level_g

    def _swung(self, drive: Float32Array) -> Float32Array:
        """Let the oscillators swing through a block, shape (s, p + shelves): standard deviation 1 at a drive of 1."""
        before, last = self._swing
        for row in drive:  # each row turns from what drives into what swings
            row += self._a1 * last
            row -= self._a2 * before
            before, last = last, row
        self._swing[0], self._swing[1] = before, last
        return drive

    def _run_away(self, times_ns: IntArray) -> None:
        """Let the zeros drift until the end of a block."""
        drift_g = np.float32(self._settings.drift_g * np.sqrt(BLOCK_S))
        self._zero_g += drift_g * self._rng.standard_normal(len(self._zero_g), np.float32)
        if self.drifts:
            start_ns, end_ns = int(times_ns[0]), int(times_ns[-1]) + STEP_NS
            for since_ns, until_ns, column, rate_gps in self.drifts:
                overlap_s = (min(until_ns, end_ns) - max(since_ns, start_ns)) * 1e-9
                self._zero_g[column] += np.float32(max(overlap_s, 0) * rate_gps)
            self.drifts = [drift for drift in self.drifts if drift[1] > end_ns]

    def _repeat(self, grams: Float32Array, times_ns: IntArray) -> None:
        """Repeat readings, shape (s, p), in place: of converters that fall behind, and of stuck plates."""
        late = self._rng.random(len(self._held_rate)) < self._held_rate
        phase = int(self._rng.integers(_HELD_EVERY))
        columns = np.flatnonzero(late[self._pair])
        for row in range(phase, len(grams), _HELD_EVERY):
            grams[row, columns] = grams[row - 1, columns] if row else self._last_g[columns]
        for since_ns, until_ns, column in self.stuck:
            still = np.flatnonzero((times_ns >= since_ns) & (times_ns < until_ns))
            if len(still):
                grams[still, column] = grams[still[0] - 1, column] if still[0] else self._last_g[column]
        if self.stuck:
            self.stuck = [entry for entry in self.stuck if entry[1] > times_ns[-1]]
        self._last_g = grams[-1].copy()


def _spread(rng: np.random.Generator, sigma: float, count: int) -> FloatArray:
    """Draw factors around 1 whose logarithms have a standard deviation."""
    return np.exp(rng.normal(0, sigma, count))


def planned_masses_g(layout: StoreLayout) -> dict[str, float]:
    """Return what one unit of the planned product weighs on each plate, grams.

    An item that stands on two plates weighs half on each; a plate without a plan, or whose product's mass nobody knows,
    gets a usual mass.
    """
    masses = {product.sku: product.mass_g for product in layout.products}
    units = {plate.plate_id: 0.0 for plate in layout.plates}
    for a_bin in layout.bins:
        mass_g = masses.get(a_bin.sku or "", np.nan)
        for plate_id in a_bin.plate_ids:
            if np.isfinite(mass_g) and mass_g > 0:
                units[plate_id] += mass_g / len(a_bin.plate_ids)
    return {plate_id: unit_g or _USUAL_MASS_G for plate_id, unit_g in units.items()}


def gondola_lines_m(layout: StoreLayout) -> dict[int, FloatArray]:
    """Return where gondolas stand on the floor: lines through their plates along the shelves, (2, 2) each, metres."""
    plates: dict[int, list[Plate]] = {}
    for plate in layout.plates:
        plates.setdefault(plate.gondola_id, []).append(plate)
    lines = {}
    for gondola_id, own in plates.items():
        points = np.concatenate([plate.box.corners_m[:, :2] for plate in own])
        along = own[0].box.world_from_box[:2, 0]
        along = along / max(float(np.hypot(*along)), 1e-9)
        middle = points.mean(axis=0)
        reach = (points - middle) @ along
        lines[gondola_id] = np.asarray(middle + np.array([[reach.min()], [reach.max()]]) * along)
    return lines


def distances_m(lines_m: FloatArray, point_m: FloatArray) -> FloatArray:
    """Distances of a point, shape (2,), from lines, shape (g, 2, 2): shape (g,), metres."""
    starts, ways = lines_m[:, 0], lines_m[:, 1] - lines_m[:, 0]
    share = np.einsum("gi,gi->g", point_m - starts, ways) / np.maximum(np.einsum("gi,gi->g", ways, ways), 1e-9)
    nearest = starts + np.clip(share, 0, 1)[:, None] * ways
    return np.asarray(np.hypot(*(point_m - nearest).T))
