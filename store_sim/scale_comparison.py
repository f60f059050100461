"""Real and simulated plates side by side: curves around the same deed, and statistics, for a report."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from store_sim.scale_statistics import PlateRecording, pick_of, statistics_of
from vision.arrays import FloatArray, check_shape
from vision.layout import StoreLayout


@dataclass(frozen=True, slots=True)
class ComparedCurve:
    """One plate's curve around the same deed in a real and in a simulated recording.

    Attributes:
        title: What is seen, for people.
        plate_id: The real plate, ``gondola/shelf/plate``; the simulated one stands at the same place, or, where the
            title names a plate by how lively it is, has the same rank among all.
        real_s: Time of the real readings, shape (a,), seconds from the deed.
        real_g: Real readings, shape (a,), grams from the level before the deed.
        simulated_s: Time of the simulated readings, shape (b,), seconds from the deed.
        simulated_g: Simulated readings, shape (b,), grams from the level before the deed.
    """

    title: str
    plate_id: str
    real_s: FloatArray
    real_g: FloatArray
    simulated_s: FloatArray
    simulated_g: FloatArray

    def __post_init__(self) -> None:
        check_shape("ComparedCurve.real_s", self.real_s, ("a",))
        check_shape("ComparedCurve.real_g", self.real_g, (len(self.real_s),))
        check_shape("ComparedCurve.simulated_s", self.simulated_s, ("b",))
        check_shape("ComparedCurve.simulated_g", self.simulated_g, (len(self.simulated_s),))


@dataclass(frozen=True, slots=True)
class ComparedStatistic:
    """One number of a real and of a simulated recording.

    Attributes:
        name: What was measured, for people.
        unit: In what unit, for people; empty for a ratio.
        real: Of the real recording; nan if it shows none.
        simulated: Of the simulated one; nan if it shows none.
    """

    name: str
    unit: str
    real: float
    simulated: float


@dataclass(frozen=True, slots=True)
class PlateComparison:
    """Real and simulated plates side by side, for a report.

    Attributes:
        real_name: The real recording.
        simulated_name: The simulated one.
        curves: Curves of single plates.
        statistics: Numbers over all plates.
    """

    real_name: str
    simulated_name: str
    curves: tuple[ComparedCurve, ...]
    statistics: tuple[ComparedStatistic, ...]


def curves_of(
    recording: PlateRecording, plate_ids: Sequence[str], around_ns: int, before_s: float = 2.0, after_s: float = 3.0
) -> tuple[tuple[FloatArray, FloatArray], ...]:
    """Cut the curves of plates out of a recording.

    Args:
        recording: Where from.
        plate_ids: Which plates.
        around_ns: Second 0 of the curves, store clock.
        before_s: How long before it they begin.
        after_s: How long after it they end.

    Returns:
        For each plate its times, seconds from ``around_ns``, and its readings, grams from the median over the time
        before second -0.5 (or from the first reading), both of shape (s,).

    Raises:
        ValueError: The recording has no such plate.
    """
    curves = []
    for plate_id in plate_ids:
        gondola = next((g for g in recording.gondolas if plate_id in g.plate_id), None)
        if gondola is None:
            raise ValueError(f"curves of plates: expected a plate of the recording, got {plate_id!r:.40}")
        times_s = (gondola.timestamp_ns - around_ns) * 1e-9
        inside = (times_s >= -before_s) & (times_s <= after_s)
        grams = gondola.grams[inside, gondola.plate_id.index(plate_id)].astype(float)
        times_s = times_s[inside]
        early = grams[times_s < -0.5]
        zero_g = np.nanmedian(early) if len(early) else grams[0] if len(grams) else 0.0
        curves.append((np.asarray(times_s), np.asarray(grams - zero_g)))
    return tuple(curves)


def compare(
    real: PlateRecording, simulated: PlateRecording, layout: StoreLayout, real_name: str, simulated_name: str
) -> PlateComparison:
    """Put a real and a simulated recording of one pick side by side.

    Args:
        real: A recording of real plates.
        simulated: One of simulated plates in the same store.
        layout: The store.
        real_name: What to call the real one.
        simulated_name: What to call the simulated one.

    Raises:
        ValueError: One of them does not show what statistics need (see ``statistics_of``), or no pick.
    """
    picks = []
    for name, recording in ((real_name, real), (simulated_name, simulated)):
        pick = pick_of(recording)
        if pick is None:
            raise ValueError(f"{name}: expected a plate whose load changes for good, there is none")
        picks.append(pick)
    curves = []
    for title, offset, before_s, after_s in _VIEWS:
        pair = []
        for recording, (plate_id, time_ns) in zip((real, simulated), picks, strict=True):
            own = next(gondola.plate_id for gondola in recording.gondolas if plate_id in gondola.plate_id)
            shelf = plate_id.rsplit("/", 1)[0]
            beside = [name for name in own if name.rsplit("/", 1)[0] == shelf]
            row = beside.index(plate_id) + offset
            name = beside[row if 0 <= row < len(beside) else beside.index(plate_id) - offset]
            pair.append((name, *curves_of(recording, [name], time_ns, before_s, after_s)[0]))
        (name, real_s, real_g), (_, simulated_s, simulated_g) = pair
        curves.append(ComparedCurve(title, name, real_s, real_g, simulated_s, simulated_g))
    for title, rank in (("A lively plate, the whole visit", 0.95), ("A middling plate, the whole visit", 0.5)):
        sides = []
        for recording, (plate_id, time_ns) in zip((real, simulated), picks, strict=True):
            name = _ranked(recording, plate_id, rank)
            sides.append((name, *curves_of(recording, [name], time_ns, 14, 6)[0]))
        (name, real_s, real_g), (_, simulated_s, simulated_g) = sides
        curves.append(ComparedCurve(title, name, real_s, real_g, simulated_s, simulated_g))
    told = [statistics_of(recording, layout) for recording in (real, simulated)]
    statistics = tuple(
        ComparedStatistic(name, unit, *(getattr(one, attribute) * factor for one in told))
        for attribute, name, unit, factor in _TOLD
    )
    return PlateComparison(real_name, simulated_name, tuple(curves), statistics)


def _ranked(recording: PlateRecording, besides: str, rank: float) -> str:
    """Name the plate of that rank among all by how much it moves, 0 least to 1 most; not one of a given shelf."""
    shelf = besides.rsplit("/", 1)[0]
    moves = sorted(
        (float(deviation), name)
        for gondola in recording.gondolas
        for deviation, name in zip(np.nan_to_num(gondola.grams).std(axis=0), gondola.plate_id, strict=True)
        if name.rsplit("/", 1)[0] != shelf
    )
    return moves[round(rank * (len(moves) - 1))][1] if moves else besides


_VIEWS = (
    ("The plate that is picked from", 0, 2.0, 3.0),
    ("The plate beside it", -1, 2.0, 3.0),
    ("The plate beside that one", -2, 2.0, 3.0),
    ("The plate on its other side", 1, 2.0, 3.0),
)
_TOLD = (
    ("quiet_low_g", "Noise, nobody walks: calm plates", "g", 1),
    ("quiet_g", "Noise, nobody walks: median plate", "g", 1),
    ("quiet_high_g", "Noise, nobody walks: lively plates", "g", 1),
    ("walk_low_g", "Noise, somebody walks: calm plates", "g", 1),
    ("walk_g", "Noise, somebody walks: median plate", "g", 1),
    ("walk_high_g", "Noise, somebody walks: lively plates", "g", 1),
    ("quiet_lag", "Correlation with the reading before, nobody walks", "", 1),
    ("walk_lag", "Correlation with the reading before, somebody walks", "", 1),
    ("white_g", "White noise", "g", 1),
    ("wander_g", "Slow wander, amplitude", "g", 1),
    ("wander_hz", "Slow wander, frequency", "Hz", 1),
    ("hum_g", "Hum, amplitude", "g", 1),
    ("hum_hz", "Hum, frequency", "Hz", 1),
    ("vibration_g", "Swing of a plate with goods of 100 g while somebody walks", "g", 1),
    ("vibration_exponent", "Its growth with the mass, exponent", "", 1),
    ("resonance_low_hz", "Frequency of swings, slow plates", "Hz", 1),
    ("resonance_hz", "Frequency of swings, median plate", "Hz", 1),
    ("resonance_high_hz", "Frequency of swings, quick plates", "Hz", 1),
    ("sharpness", "Power of a swing near its frequency", "%", 100),
    ("burstiness", "Bursts: excess kurtosis while somebody walks", "", 1),
    ("neighbour_correlation", "Correlation of neighbours while somebody walks", "", 1),
    ("ambient_share", "Swings when nobody walks, share", "%", 100),
    ("walk_length_m", "Distance over which a step fades to 1/e", "m", 1),
    ("loudest_share", "Loudest second against a usual one", "", 1),
    ("drift_g", "Drift of the zero, in a second", "g", 1),
    ("zero_g", "Zero of the median plate", "g", 1),
    ("zero_spread_g", "Spread of the zeros", "g", 1),
    ("quantum_g", "Step between readings", "g", 1),
    ("hold_share", "Readings repeated", "%", 100),
    ("step_g", "The pick", "g", 1),
    ("fall_s", "Time it takes", "ms", 1000),
    ("press_g", "Press before it", "g", 1),
    ("press_s", "Time of the press", "ms", 1000),
    ("after_g", "Noise just after it", "g", 1),
    ("coupling", "Coupling to a neighbour", "%", 100),
    ("ring", "Ringing of a neighbour", "%", 100),
    ("creep", "Creep after it", "%", 100),
    ("delay_least_s", "Delivery, shortest", "ms", 1000),
    ("delay_mean_s", "Delivery, mean beyond that", "ms", 1000),
    ("stagger_s", "From one gondola's message to the next", "ms", 1000),
)
