"""Settings of simulated load cells, fitted so that they show the statistics of real ones.

The defaults of ``store_sim.scales.PlateSettings`` are
``fit_settings(statistics_of(record_plates(source), layout), recorded_layout(...))`` of AutoCheckout's BENCHMARK-1,
read with ``store_sim.autocheckout``; ``store_sim.scale_statistics`` measures, ``simulated_visit`` plays a visit like
that one to the simulated plates, and ``store_sim.scale_comparison`` puts both side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from store_sim.figures import Figures
from store_sim.happenings import Happenings, PlateLoad, PlatePress
from store_sim.scale_statistics import NANOSECONDS, PlateRecording, PlateStatistics, plate_recording, statistics_of
from store_sim.scales import PlateSensors, PlateSettings, gondola_lines_m, planned_masses_g
from vision.arrays import FloatArray
from vision.frames import GateEvent, ScaleSamples
from vision.layout import StoreLayout

_START_NS = 1_900_000_000 * NANOSECONDS
_STEPS_PER_S = 1.6  # of the walker in BENCHMARK-1
_PRESS_G, _RISE_S = 55.0, 0.07  # of the pick in BENCHMARK-1


def fit_settings(
    real: PlateStatistics, layout: StoreLayout, seeds: Sequence[int] = range(12), rounds: int = 6
) -> PlateSettings:
    """Find the settings with which simulated plates show the statistics of real ones (indirect inference).

    Numbers that can be read off, like the step between readings, are taken as they are. Of the others, each setting is
    corrected by how far the statistic it governs lies from the real one in the median of several simulated visits, some
    rounds long. What the real statistics lack keeps its default, and so does what one recording cannot tell: the spread
    from day to day, saturation, creep below what noise hides.

    Args:
        real: Statistics of a recording with one pick.
        layout: The store it was recorded in, with those plates only that were recorded.
        seeds: Of the simulated visits.
        rounds: How often to correct.

    Raises:
        ValueError: The store has no plate, or the statistics lack the pick.
    """
    if not layout.plates or not np.isfinite(real.step_g):
        raise ValueError("fit of plates: expected a store with plates and statistics of a pick, got none")
    usual = PlateSettings()
    read = {name: getattr(real, name) for name in _READ_OFF}
    fitted = replace(usual, day_spread=0.0, **{name: value for name, value in read.items() if np.isfinite(value)})
    heaviest = max(planned_masses_g(layout).items(), key=lambda entry: (entry[1], entry[0]))[0]
    for _ in range(rounds):
        shown = [
            statistics_of(simulated_visit(layout, heaviest, abs(real.step_g), seed, fitted), layout) for seed in seeds
        ]
        changes: dict[str, float] = {}
        for name, statistic, law in _GOVERNS:
            told = np.array([getattr(one, statistic) for one in shown])
            want = getattr(real, statistic)
            have = float(np.nanmedian(told)) if np.isfinite(told).any() else np.nan
            if np.isfinite(want) and np.isfinite(have):
                changes[name] = law.corrected(getattr(fitted, name), have, want)
        fitted = replace(fitted, **changes)
    return replace(fitted, day_spread=usual.day_spread)


class _Law(Enum):
    """How a statistic changes with the setting that governs it."""

    RATIO = "in proportion"
    SUM = "by as much"
    ODDS = "the odds fall as the setting rises"

    def corrected(self, setting: float, have: float, want: float) -> float:
        if self is _Law.SUM:
            return setting + _HASTE * (want - have)
        if self is _Law.ODDS:
            return float(setting * (have / (1 - have) * (1 - want) / want) ** _HASTE)
        # The walk of one recording is too short for great corrections.
        return float(setting * np.clip(max(want, 1e-9) / max(have, 1e-9), 0.5, 2) ** _HASTE)


_HASTE = 0.7  # of a correction, so that settings that share a statistic settle
_READ_OFF = (
    "wander_hz",
    "hum_hz",
    "zero_g",
    "zero_spread_g",
    "quantum_g",
    "delay_least_s",
    "delay_mean_s",
    "stagger_s",
    "walk_length_m",
)
_GOVERNS = (
    ("white_g", "white_g", _Law.RATIO),
    ("white_spread", "white_spread", _Law.RATIO),
    ("wander_g", "wander_g", _Law.RATIO),
    ("wander_spread", "wander_spread", _Law.RATIO),
    ("wander_hz_spread", "wander_hz_spread", _Law.RATIO),
    ("hum_g", "hum_g", _Law.RATIO),
    ("hum_spread", "hum_spread", _Law.RATIO),
    ("hum_follows", "hum_follows", _Law.RATIO),
    ("vibration_g", "vibration_g", _Law.RATIO),
    ("vibration_exponent", "vibration_exponent", _Law.SUM),
    ("vibration_shelf_spread", "vibration_shelf_spread", _Law.RATIO),
    ("vibration_plate_spread", "vibration_plate_spread", _Law.RATIO),
    ("resonance_hz", "resonance_at_mass_hz", _Law.RATIO),
    ("resonance_exponent", "resonance_exponent", _Law.SUM),
    ("resonance_shelf_spread", "resonance_shelf_spread", _Law.RATIO),
    ("resonance_plate_spread", "resonance_plate_spread", _Law.RATIO),
    ("damping", "sharpness", _Law.ODDS),
    ("common_share", "neighbour_correlation", _Law.RATIO),
    ("ambient_share", "ambient_share", _Law.RATIO),
    ("door_share", "loudest_share", _Law.RATIO),
    ("coupling", "coupling", _Law.RATIO),
    ("ring", "ring", _Law.RATIO),
    ("drift_g", "drift_g", _Law.RATIO),
    ("hold_share", "hold_share", _Law.RATIO),
)


def recorded_layout(recording: PlateRecording, layout: StoreLayout) -> StoreLayout:
    """Return a store with those of its plates that a recording has readings of, and the bins on them."""
    there = {name for gondola in recording.gondolas for name in gondola.plate_id}
    bins = (replace(a_bin, plate_ids=tuple(p for p in a_bin.plate_ids if p in there)) for a_bin in layout.bins)
    plates = tuple(plate for plate in layout.plates if plate.plate_id in there)
    return replace(layout, bins=tuple(a_bin for a_bin in bins if a_bin.plate_ids), plates=plates)


@dataclass(frozen=True, slots=True)
class _Path:
    """How somebody walks: corners of the way, shape (n, 2), metres, and when they are there, shape (n,), seconds."""

    times_s: FloatArray
    way_m: FloatArray

    def at(self, time_s: float) -> FloatArray:
        return np.array([np.interp(time_s, self.times_s, self.way_m[:, axis]) for axis in (0, 1)])


def simulated_visit(
    layout: StoreLayout, plate_id: str, grams: float, seed: int, settings: PlateSettings | None = None
) -> PlateRecording:
    """Play a visit like BENCHMARK-1's to simulated plates: somebody stands, walks by, takes one item and leaves.

    The person stands 2.7 m from the plate for five seconds, walks to it in four, waits, takes one step nearer, takes
    the item with a press of a tenth of a second before it leaves, and is out of the door four seconds later.

    Args:
        layout: The store.
        plate_id: The plate that is picked from.
        grams: Mass of the item.
        seed: Of the plates and of their noise.
        settings: How the plates behave.

    Raises:
        ValueError: The layout has no such plate.
    """
    plate = next((plate for plate in layout.plates if plate.plate_id == plate_id), None)
    if plate is None:
        raise ValueError(f"simulated visit: expected a plate of the layout, got {plate_id!r:.40}")
    along, inwards = plate.box.world_from_box[:2, 0], plate.box.world_from_box[:2, 1]
    spot = (plate.box.world_from_box @ [*(plate.box.size_m[:1] / 2), 0, 0, 1])[:2]
    gondolas = gondola_lines_m(layout)
    middle = np.mean([line.mean(axis=0) for line in gondolas.values()], axis=0)
    side = 1.0 if (middle - spot) @ along >= 0 else -1.0  # towards the rest of the store

    def beside(along_m: float, off_m: float) -> FloatArray:
        return np.asarray(spot + side * along_m * along - off_m * inwards)

    corners = [
        (0.0, beside(2.7, 0.75)),
        (4.8, beside(2.65, 0.7)),
        (8.9, beside(0.05, 0.9)),
        (10.9, beside(0.05, 0.9)),
        (11.6, beside(0.2, 0.65)),
        (13.5, beside(0.2, 0.65)),
        (14.2, beside(-0.2, 0.9)),
        (14.9, beside(-0.5, 1.3)),
        (16.2, beside(-0.5, 1.56)),
    ]
    path = _Path(np.array([time_s for time_s, _ in corners]), np.stack([point for _, point in corners]))
    pick_s, opens_s, end_s = 12.55, 15.0, 17.2
    happens = [
        (pick_s - 0.05, Happenings(presses=(PlatePress(plate_id, *_around(pick_s - 0.12, 0.2), _PRESS_G),))),
        (pick_s, Happenings(loads=(PlateLoad(plate_id, _START_NS + round(pick_s * NANOSECONDS), -grams, _RISE_S),))),
        (opens_s, Happenings(gates=(GateEvent(_START_NS + round(opens_s * NANOSECONDS), "exit", "passed-out"),))),
    ]
    sensors = PlateSensors(layout, np.random.default_rng(seed), settings)
    blocks: list[tuple[int, ScaleSamples]] = []
    clock_ns, where, speeds = [], [], []
    stride, before = 0.0, path.at(0)
    for step in range(round(end_s * 30)):
        time_s = step / 30
        now_ns = _START_NS + round(time_s * NANOSECONDS)
        here = path.at(time_s)
        speed = float(np.hypot(*(here - before)) * 30)
        before = here
        inside = time_s <= path.times_s[-1]
        if speed > 0.05:
            stride += _STEPS_PER_S / 2 / 30
        due = [what for when_s, what in happens if step == round(when_s * 30)]
        sensors.feel(due[0] if due else Happenings(), _walker(here, speed, stride, inside), now_ns)
        # Deliveries are finer than steps.
        for come_ns in range(now_ns, now_ns + NANOSECONDS // 30, NANOSECONDS // 1000):
            blocks += [(come_ns, samples) for samples in sensors.messages(come_ns)]
        if step % 3 == 0:
            clock_ns.append(now_ns)
            where.append(here if inside else np.full(2, np.nan))
            speeds.append(speed if inside else 0.0)
    return plate_recording(blocks, np.array(clock_ns, np.int64), np.array(where), np.array(speeds))


def _around(time_s: float, length_s: float) -> tuple[int, int]:
    return (
        _START_NS + round((time_s - length_s / 2) * NANOSECONDS),
        _START_NS + round((time_s + length_s / 2) * NANOSECONDS),
    )


def _walker(place_m: FloatArray, speed_mps: float, stride: float, inside: bool) -> Figures:
    n = int(inside)
    return Figures(
        ("walker",)[:n],
        np.zeros(n, int),
        np.zeros(n, int),
        np.full(n, 1.75),
        place_m[None, :][:n],
        np.zeros(n),
        np.full(n, speed_mps),
        np.full(n, stride),
        np.full((n, 2, 3), np.nan),
        np.zeros((n, 2)),
        np.zeros((n, 2), bool),
        np.zeros(n, bool),
        np.zeros(n, bool),
    )
