"""Statistics of recorded plates: how they hum, swing, drift and take a pick, measured on real and simulated ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import welch

from store_sim.scales import MASS_G, RATE_HZ, TRAY_G, distances_m, gondola_lines_m, planned_masses_g
from vision.arrays import BoolArray, FloatArray, IntArray, check_shape
from vision.frames import ScaleSamples, Source, TrackedBodies
from vision.layout import StoreLayout

NANOSECONDS = 1_000_000_000

_STANDING_MPS, _WALKING_MPS = 0.15, 0.3
_RINGS_S = 1.5  # plates swing on for so long after the last step
_SWING_HZ = 4.0  # no plate swings more slowly: below is wander, hands and loads
_WANDER_HZ, _HUM_HZ = (0.7, 2.2), (23.0, 26.0)  # where these lines lie in every plate of the recording
_NEAR_PEAK_HZ = 1.5
_WELCH_SAMPLES = 120  # half a hertz
_LINE_SAMPLES = 2048
_LEVEL_S = 1.5
_NO_STEP_SHARE = 1.8  # shaken more than this, against the usual, it was a door and not a step
_LEAST_STEP_G = 20.0  # nothing less is taken for the pick of a recording


@dataclass(frozen=True, slots=True)
class GondolaRecording:
    """All readings of the plates of one gondola.

    Attributes:
        gondola_id: Which.
        plate_id: Name of each column as ``gondola/shelf/plate``, length p.
        timestamp_ns: Store clock of each sample, shape (s,), rising.
        grams: Readings, shape (s, p); nan where a plate did not answer.
        delivered_ns: Store clock when each message came, shape (m,).
        last_sample_ns: Store clock of the last sample of each message, shape (m,).
    """

    gondola_id: int
    plate_id: tuple[str, ...]
    timestamp_ns: IntArray
    grams: FloatArray
    delivered_ns: IntArray
    last_sample_ns: IntArray

    def __post_init__(self) -> None:
        check_shape("GondolaRecording.timestamp_ns", self.timestamp_ns, ("s",))
        check_shape("GondolaRecording.grams", self.grams, (len(self.timestamp_ns), len(self.plate_id)))
        check_shape("GondolaRecording.delivered_ns", self.delivered_ns, ("m",))
        check_shape("GondolaRecording.last_sample_ns", self.last_sample_ns, (len(self.delivered_ns),))


@dataclass(frozen=True, slots=True)
class PlateRecording:
    """What the plates of a store said for a while, and how those walked who shook them.

    Attributes:
        gondolas: In order of their numbers.
        walked_ns: Store clock of each look at the people, shape (t,), rising.
        walked_m: Where the one who moved most was then, shape (t, 2), metres; nan for nobody.
        speed_mps: How fast, shape (t,); 0 for nobody.
    """

    gondolas: tuple[GondolaRecording, ...]
    walked_ns: IntArray
    walked_m: FloatArray
    speed_mps: FloatArray

    def __post_init__(self) -> None:
        check_shape("PlateRecording.walked_ns", self.walked_ns, ("t",))
        check_shape("PlateRecording.walked_m", self.walked_m, (len(self.walked_ns), 2))
        check_shape("PlateRecording.speed_mps", self.speed_mps, (len(self.walked_ns),))


def record_plates(source: Source) -> PlateRecording:
    """Read a source to its end and keep what its plates said."""
    blocks: list[tuple[int, ScaleSamples]] = []
    bodies: list[TrackedBodies] = []
    for tick in source:
        blocks += [(tick.timestamp_ns, samples) for samples in tick.scales if samples.grams.size]
        if tick.bodies is not None:
            bodies.append(tick.bodies)
    return plate_recording(blocks, *_walks(bodies))


def plate_recording(
    blocks: Iterable[tuple[int, ScaleSamples]], walked_ns: IntArray, walked_m: FloatArray, speed_mps: FloatArray
) -> PlateRecording:
    """Put messages together; of a gondola that names its plates differently later, only those as at first.

    Args:
        blocks: Messages with some plate and some sample, with the store clock at their delivery, in that order.
        walked_ns: See :class:`PlateRecording`, as the rest.
        walked_m: Where the one who moved most was.
        speed_mps: How fast.
    """
    by_gondola: dict[int, list[tuple[int, ScaleSamples]]] = {}
    for came_ns, samples in blocks:
        by_gondola.setdefault(int(samples.plate_id[0].split("/")[0]), []).append((came_ns, samples))
    gondolas = []
    for gondola_id, own in sorted(by_gondola.items()):
        plate_id = own[0][1].plate_id
        own = [(came_ns, samples) for came_ns, samples in own if samples.plate_id == plate_id]
        gondolas.append(
            GondolaRecording(
                gondola_id,
                plate_id,
                np.concatenate([samples.timestamp_ns for _, samples in own]),
                np.concatenate([samples.grams for _, samples in own]),
                np.array([came_ns for came_ns, _ in own], np.int64),
                np.array([samples.timestamp_ns[-1] for _, samples in own], np.int64),
            )
        )
    return PlateRecording(tuple(gondolas), walked_ns, walked_m, speed_mps)


def _walks(bodies: Sequence[TrackedBodies]) -> tuple[IntArray, FloatArray, FloatArray]:
    """Where the fastest person was, ten times a second, and how fast, over 0.7 s so that joints' noise is no walk."""
    if not bodies:
        return np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0)
    clock_ns = np.arange(bodies[0].timestamp_ns, bodies[-1].timestamp_ns + 1, NANOSECONDS // 10)
    paths: dict[str, list[tuple[int, float, float]]] = {}
    for moment in bodies:
        for name, joints in zip(moment.target_id, moment.joints_m, strict=True):
            seen = np.isfinite(joints[1:4]).all(axis=1)  # neck and shoulders
            if seen.any():
                x, y = joints[1:4][seen, :2].mean(axis=0)
                paths.setdefault(name, []).append((moment.timestamp_ns, float(x), float(y)))
    where, speed = np.full((len(clock_ns), 2), np.nan), np.zeros(len(clock_ns))
    for path in paths.values():
        times = np.array([time_ns for time_ns, _, _ in path])
        inside = np.flatnonzero((clock_ns >= times[0]) & (clock_ns <= times[-1]))
        if len(inside) < 8:
            continue
        points = np.stack([np.interp(clock_ns[inside], times, [step[axis] for step in path]) for axis in (1, 2)], 1)
        padded = np.pad(points, ((3, 3), (0, 0)), mode="edge")
        smooth = np.stack([np.convolve(padded[:, axis], np.ones(7) / 7, "valid") for axis in (0, 1)], axis=1)
        pace = np.hypot(*(np.gradient(smooth, 0.1, axis=0).T))
        faster = pace >= speed[inside]
        speed[inside[faster]], where[inside[faster]] = pace[faster], smooth[faster]
    return clock_ns, where, speed


@dataclass(frozen=True, slots=True)
class PlateStatistics:
    """Numbers that tell how plates behave; nan where a recording does not show it.

    Attributes:
        quiet_low_g: Standard deviation of a plate when nobody walks: lowest tenth of the plates.
        quiet_g: The same of the median plate.
        quiet_high_g: The same, highest tenth.
        walk_low_g: Standard deviation of a plate when somebody walks: lowest tenth.
        walk_g: The same of the median plate.
        walk_high_g: The same, highest tenth.
        quiet_lag: Correlation of a reading with the one before, nobody walking, median plate.
        walk_lag: The same, somebody walking.
        white_g: White noise: what is left below all lines and swings, median of the calmer half of the plates.
        white_spread: Standard deviation of its logarithm.
        wander_g: Amplitude of the slow wander, median plate.
        wander_spread: Standard deviation of its logarithm over plates.
        wander_hz: Frequency, of the plates that wander most.
        wander_hz_spread: Standard deviation of its logarithm.
        hum_g: Amplitude of the hum, median plate.
        hum_spread: Standard deviation of its logarithm.
        hum_hz: Frequency, of the plates that hum most.
        hum_follows: Correlation of its logarithm with that of the swing that walking adds.
        vibration_g: Standard deviation that walking adds above 4 Hz, of a plate with goods of 100 g.
        vibration_exponent: It goes with this power of the mass.
        vibration_shelf_spread: Standard deviation of its logarithm from shelf to shelf, the mass allowed for.
        vibration_plate_spread: The same within a shelf.
        resonance_low_hz: Frequency at which a plate swings most: lowest tenth.
        resonance_hz: The same of the median plate.
        resonance_high_hz: The same, highest tenth.
        resonance_at_mass_hz: Of a shelf with goods of 100 g.
        resonance_exponent: It goes with this power of the mass.
        resonance_shelf_spread: Standard deviation of its logarithm from shelf to shelf, the mass allowed for.
        resonance_plate_spread: The same within a shelf.
        sharpness: Share of the swings' power within 1.5 Hz of the peak, median plate.
        burstiness: Excess kurtosis of lively plates while somebody walks, above 4 Hz, median: 0 for even shaking.
        neighbour_correlation: Of plates side by side, somebody walking, above 4 Hz, mean.
        ambient_share: Swings at the peak when nobody walks, as a share of those when somebody does.
        walk_length_m: Distance over which shaking falls to 1/e; nan if it does not fall.
        loudest_share: Shaking in the loudest second, as a multiple of the usual while somebody walks.
        drift_g: Random walk of a level, grams a square root of a second.
        zero_g: Median of the first levels.
        zero_spread_g: Robust standard deviation of the first levels.
        quantum_g: Step between readings.
        hold_share: Share of readings that repeat the one before beyond chance.
        delay_least_s: Shortest time from a message's last sample to its delivery.
        delay_mean_s: Mean time beyond that.
        stagger_s: From one gondola's first message to the next one's.
        step_g: The greatest lasting change of a plate.
        fall_s: How long it took, from a tenth to nine tenths.
        press_g: Greatest force against it in the second before.
        press_s: How long that force was above its half.
        after_g: Standard deviation of the plate in the half second from 0.1 s after.
        coupling: Greatest lasting change of one of four plates beside it, as a share of the step.
        ring: Greatest passing swing of those plates within 0.15 s, as a share of the step.
        creep: Change of the level from the first to the third half second after, as a share.
    """

    quiet_low_g: float
    quiet_g: float
    quiet_high_g: float
    walk_low_g: float
    walk_g: float
    walk_high_g: float
    quiet_lag: float
    walk_lag: float
    white_g: float
    white_spread: float
    wander_g: float
    wander_spread: float
    wander_hz: float
    wander_hz_spread: float
    hum_g: float
    hum_spread: float
    hum_hz: float
    hum_follows: float
    vibration_g: float
    vibration_exponent: float
    vibration_shelf_spread: float
    vibration_plate_spread: float
    resonance_low_hz: float
    resonance_hz: float
    resonance_high_hz: float
    resonance_at_mass_hz: float
    resonance_exponent: float
    resonance_shelf_spread: float
    resonance_plate_spread: float
    sharpness: float
    burstiness: float
    neighbour_correlation: float
    ambient_share: float
    walk_length_m: float
    loudest_share: float
    drift_g: float
    zero_g: float
    zero_spread_g: float
    quantum_g: float
    hold_share: float
    delay_least_s: float
    delay_mean_s: float
    stagger_s: float
    step_g: float
    fall_s: float
    press_g: float
    press_s: float
    after_g: float
    coupling: float
    ring: float
    creep: float


def statistics_of(recording: PlateRecording, layout: StoreLayout) -> PlateStatistics:
    """Measure what the plates of a recording do.

    The recording should show a few seconds in which everybody stands, some in which somebody walks, and one pick.

    Args:
        recording: At least one gondola.
        layout: Where the plates are and what is planned for them; plates it does not list are left out.

    Raises:
        ValueError: There is no gondola, or there are not two seconds without and two seconds with somebody walking.
    """
    if not recording.gondolas:
        raise ValueError("statistics of plates: expected at least one gondola, got none")
    quiet_ns, walk_ns = _spans(recording)
    spectra = [_Spectra.of(gondola, quiet_ns, walk_ns) for gondola in recording.gondolas]
    names = tuple(name for gondola in recording.gondolas for name in gondola.plate_id)
    every = _Spectra.joined(spectra)
    step = _step_of(recording)
    numbers = {
        **_noises(every),
        **_swings(names, every, layout),
        **_shakes(recording, layout, every, walk_ns),
        **_electronics(recording, quiet_ns, walk_ns, step),
        **step.numbers,
    }
    return PlateStatistics(**numbers)


Spans = tuple[tuple[int, int], ...]


def _spans(recording: PlateRecording) -> tuple[Spans, Spans]:
    """From when to when nobody walked, and from when to when somebody did; the deed of the recording left out."""
    clock_ns, speed = recording.walked_ns, recording.speed_mps
    walks = speed > _WALKING_MPS
    moving = np.flatnonzero(speed > _STANDING_MPS)
    quiet = np.ones(len(clock_ns), bool)
    for k in moving:
        quiet[max(k - 3, 0) : k + round(10 * _RINGS_S)] = False
    step_ns = _step_of(recording).time_ns
    if step_ns is not None:
        deed = (clock_ns > step_ns - NANOSECONDS) & (clock_ns < step_ns + NANOSECONDS)
        walks &= ~deed
        quiet &= ~deed
    first_ns = max(int(gondola.timestamp_ns[0]) for gondola in recording.gondolas)
    last_ns = min(int(gondola.timestamp_ns[-1]) for gondola in recording.gondolas)
    inside = (clock_ns >= first_ns) & (clock_ns <= last_ns)
    spans = tuple(_runs(clock_ns, mask & inside) for mask in (quiet, walks))
    for what, found in zip(("nobody walks", "somebody walks"), spans, strict=True):
        if sum(end - start for start, end in found) < 2 * NANOSECONDS:
            raise ValueError(f"statistics of plates: expected two seconds in which {what}, got fewer")
    return spans[0], spans[1]


def _runs(clock_ns: IntArray, mask: BoolArray) -> Spans:
    """Runs of true, as (from, to), that last at least half a second."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    runs = [(int(clock_ns[start]), int(clock_ns[end - 1])) for start, end in edges.reshape(-1, 2).tolist()]
    return tuple(run for run in runs if run[1] - run[0] >= NANOSECONDS // 2)


@dataclass(frozen=True, slots=True)
class _Spectra:
    """Of every plate, in rows of p: deviations in grams, correlations, and power over frequency, shape (f, p)."""

    quiet_g: FloatArray
    walk_g: FloatArray
    quiet_lag: FloatArray
    walk_lag: FloatArray
    hz: FloatArray
    quiet_power: FloatArray
    walk_power: FloatArray
    line_hz: FloatArray
    line_g: FloatArray
    burst: FloatArray
    beside: FloatArray  # (p - 1,): correlation with the next plate while somebody walks; nan across shelves

    @classmethod
    def of(cls, gondola: GondolaRecording, quiet_ns: Spans, walk_ns: Spans) -> "_Spectra":
        quiet, walk = (_pieces(gondola, spans) for spans in (quiet_ns, walk_ns))
        hz, quiet_power = _power(quiet)
        _, walk_power = _power(walk)
        longest = max(quiet, key=len)
        window = np.hanning(len(longest))[:, None]
        amplitude = np.abs(np.fft.rfft(longest * window, _LINE_SAMPLES, axis=0)) * 2 / window.sum()
        shaken = np.concatenate([_above_swing(piece) for piece in walk])
        shaken = shaken / np.maximum(shaken.std(axis=0), 1e-9)
        burst = (shaken**4).mean(axis=0) - 3
        beside = (shaken[:, 1:] * shaken[:, :-1]).mean(axis=0)
        shelf = [name.rsplit("/", 1)[0] for name in gondola.plate_id]
        beside[[one != other for one, other in zip(shelf[1:], shelf, strict=False)]] = np.nan
        return cls(
            _deviation(quiet),
            _deviation(walk),
            _lag(quiet),
            _lag(walk),
            hz,
            quiet_power,
            walk_power,
            np.fft.rfftfreq(_LINE_SAMPLES, 1 / RATE_HZ),
            amplitude,
            burst,
            beside,
        )

    @classmethod
    def joined(cls, parts: Sequence["_Spectra"]) -> "_Spectra":
        def side_by_side(name: str) -> FloatArray:
            return np.concatenate([getattr(part, name) for part in parts], axis=-1)

        return cls(
            side_by_side("quiet_g"),
            side_by_side("walk_g"),
            side_by_side("quiet_lag"),
            side_by_side("walk_lag"),
            parts[0].hz,
            side_by_side("quiet_power"),
            side_by_side("walk_power"),
            parts[0].line_hz,
            side_by_side("line_g"),
            side_by_side("burst"),
            side_by_side("beside"),
        )

    @property
    def excess(self) -> FloatArray:
        """Power that walking adds above 4 Hz, shape (f, p)."""
        added = np.clip(self.walk_power - self.quiet_power, 0, None)
        return np.where((self.hz > _SWING_HZ)[:, None], added, 0)

    @property
    def swing_g(self) -> FloatArray:
        """Standard deviation that walking adds above 4 Hz, shape (p,)."""
        return np.asarray(np.sqrt(np.maximum(self.excess.sum(axis=0) * (self.hz[1] - self.hz[0]), 1e-4)))


def _pieces(gondola: GondolaRecording, spans: Spans) -> list[FloatArray]:
    """Readings in given spans, straightened: each of shape (s, p) with mean and trend 0; silent plates read 0."""
    pieces = []
    for start_ns, end_ns in spans:
        inside = (gondola.timestamp_ns >= start_ns) & (gondola.timestamp_ns <= end_ns)
        grams = np.nan_to_num(gondola.grams[inside].astype(float))
        if len(grams) < RATE_HZ / 3:
            continue
        time = np.linspace(-1, 1, len(grams))[:, None]
        grams = grams - grams.mean(axis=0)
        pieces.append(grams - time * (time * grams).sum(axis=0) / (time**2).sum())
    return pieces


def _deviation(pieces: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(np.sqrt(np.concatenate([piece**2 for piece in pieces]).mean(axis=0)))


def _lag(pieces: Sequence[FloatArray]) -> FloatArray:
    products = np.concatenate([piece[1:] * piece[:-1] for piece in pieces]).mean(axis=0)
    return np.asarray(products / np.maximum(_deviation(pieces) ** 2, 1e-9))


def _power(pieces: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Power spectral density (Welch, 1967), g²/Hz over Hz, in steps of half a hertz."""
    long = np.concatenate(pieces)
    hz, power = welch(long, RATE_HZ, nperseg=min(_WELCH_SAMPLES, len(long)), axis=0)
    return np.asarray(hz), np.asarray(power)


def _above_swing(piece: FloatArray) -> FloatArray:
    """Readings without what is slower than plates swing, shape (s, p): less their mean over a quarter of a second."""
    wide = round(RATE_HZ / _SWING_HZ)
    padded = np.pad(piece, ((wide // 2, wide - 1 - wide // 2), (0, 0)), mode="edge")
    sums = np.cumsum(np.concatenate([np.zeros((1, piece.shape[1])), padded]), axis=0)
    return np.asarray(piece - (sums[wide:] - sums[:-wide]) / wide)


def _noises(every: _Spectra) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for what, deviation_g in (("quiet", every.quiet_g), ("walk", every.walk_g)):
        low, middle, high = np.percentile(deviation_g, (10, 50, 90))
        numbers |= {f"{what}_low_g": low, f"{what}_g": middle, f"{what}_high_g": high}
    numbers["quiet_lag"] = float(np.median(every.quiet_lag))
    numbers["walk_lag"] = float(np.median(every.walk_lag))
    # White noise is as strong at every frequency; the lower quarter of a spectrum shows it, times 0.288 in a single
    # periodogram and hardly less in a mean of several, which these are.
    above = every.quiet_power[every.hz > _WANDER_HZ[1]]
    white_g = np.sqrt(np.percentile(above, 25, axis=0) * RATE_HZ / 2)
    calm = white_g <= np.median(white_g)
    numbers["white_g"] = float(np.median(white_g[calm]))
    numbers["white_spread"] = float(np.log(np.maximum(white_g[calm], 1e-3)).std())
    for what, (low_hz, high_hz) in (("wander", _WANDER_HZ), ("hum", _HUM_HZ)):
        inside = (every.line_hz > low_hz) & (every.line_hz < high_hz)
        amplitude = np.maximum(every.line_g[inside].max(axis=0), 1e-3)
        hz = every.line_hz[inside][every.line_g[inside].argmax(axis=0)]
        strong = amplitude >= np.percentile(amplitude, 60)
        numbers[f"{what}_g"] = float(np.median(amplitude))
        numbers[f"{what}_spread"] = float(np.log(amplitude).std())
        numbers[f"{what}_hz"] = float(np.median(hz[strong]))
        if what == "wander":
            numbers["wander_hz_spread"] = float(np.log(hz[strong]).std())
        else:
            numbers["hum_follows"] = float(np.corrcoef(np.log(amplitude), np.log(every.swing_g))[0, 1])
    return numbers


def _swings(names: Sequence[str], every: _Spectra, layout: StoreLayout) -> dict[str, float]:
    masses_g = planned_masses_g(layout)
    mass_g = np.array([masses_g.get(name, np.nan) for name in names])
    mass = np.log((mass_g + TRAY_G) / (MASS_G + TRAY_G))
    shelves = [name.rsplit("/", 1)[0] for name in names]
    rows = {name: row for row, name in enumerate(dict.fromkeys(shelves))}
    shelf = np.array([rows[name] for name in shelves])
    excess = every.excess
    peak = every.hz[excess.argmax(axis=0)]
    swing = np.log(every.swing_g)
    known = np.isfinite(mass)
    numbers: dict[str, float] = {}
    slope, at_mass, shelf_spread, plate_spread = _regression(mass[known], swing[known], shelf[known])
    numbers |= {"vibration_g": np.exp(at_mass), "vibration_exponent": slope}
    numbers |= {"vibration_shelf_spread": shelf_spread, "vibration_plate_spread": plate_spread}
    slope, at_mass, shelf_spread, plate_spread = _regression(mass[known], np.log(peak[known]), shelf[known])
    numbers |= {"resonance_at_mass_hz": np.exp(at_mass), "resonance_exponent": slope}
    numbers |= {"resonance_shelf_spread": shelf_spread, "resonance_plate_spread": plate_spread}
    low, middle, high = np.percentile(peak, (10, 50, 90))
    numbers |= {"resonance_low_hz": low, "resonance_hz": middle, "resonance_high_hz": high}
    near = np.abs(every.hz[:, None] - peak) <= _NEAR_PEAK_HZ
    lively = every.swing_g > np.median(every.swing_g)
    share = (excess * near).sum(axis=0) / np.maximum(excess.sum(axis=0), 1e-9)
    numbers["sharpness"] = float(np.median(share[lively]))
    numbers["burstiness"] = float(np.median(every.burst[lively]))
    quiet = (every.quiet_power * near).sum(axis=0) / np.maximum((every.walk_power * near).sum(axis=0), 1e-9)
    numbers["ambient_share"] = float(np.sqrt(np.median(quiet[lively])))
    numbers["neighbour_correlation"] = float(np.nanmean(every.beside)) if np.isfinite(every.beside).any() else np.nan
    return numbers


def _regression(x: FloatArray, y: FloatArray, group: IntArray) -> tuple[float, float, float, float]:
    """Fit a line; return its slope, its value at 0, and the residuals' deviation between and within groups."""
    if len(x) < 3 or np.ptp(x) < 1e-6:
        slope, at_zero = 0.0, float(y.mean()) if len(y) else np.nan
    else:
        slope, at_zero = (float(number) for number in np.polyfit(x, y, 1))
    rest = y - slope * x - at_zero
    means = np.bincount(group, rest) / np.maximum(np.bincount(group), 1)
    return slope, at_zero, float(means[np.unique(group)].std()), float((rest - means[group]).std())


def _shakes(recording: PlateRecording, layout: StoreLayout, every: _Spectra, walk_ns: Spans) -> dict[str, float]:
    """How shaking falls with distance, and how strong it is at most, by the second."""
    lines = gondola_lines_m(layout)
    first = 0
    away, shaken, loud = [], [], []
    usual = np.maximum(every.swing_g, 1e-3)
    for gondola in recording.gondolas:
        own = slice(first, first + len(gondola.plate_id))
        first = own.stop
        lively = np.flatnonzero(every.swing_g[own] > every.quiet_g[own])
        if not len(lively):
            continue
        grams = _above_swing(np.nan_to_num(gondola.grams[:, lively].astype(float)))
        for start in range(0, len(grams) - int(RATE_HZ) + 1, int(RATE_HZ) // 2):
            piece = grams[start : start + int(RATE_HZ)]
            strength = float(np.median(piece.std(axis=0) / usual[own][lively]))
            loud.append(strength)
            middle_ns = int(gondola.timestamp_ns[start + int(RATE_HZ) // 2])
            walking = any(begin <= middle_ns <= end for begin, end in walk_ns)
            at = int(np.searchsorted(recording.walked_ns, middle_ns))
            if walking and at < len(recording.walked_ns) and gondola.gondola_id in lines and strength > 0:
                point = recording.walked_m[at]
                if np.isfinite(point).all() and strength < _NO_STEP_SHARE:
                    away.append(float(distances_m(lines[gondola.gondola_id][None], point)[0]))
                    shaken.append(np.log(strength))
    length_m = np.nan
    if len(away) > 5 and np.ptp(away) > 0.5:
        slope = float(np.polyfit(away, shaken, 1)[0])
        length_m = -1 / slope if slope < 0 else np.nan
    return {"walk_length_m": length_m, "loudest_share": float(max(loud)) if loud else np.nan}


def _electronics(recording: PlateRecording, quiet_ns: Spans, walk_ns: Spans, step: "_Step") -> dict[str, float]:
    firsts, lasts, repeats, jumps = [], [], [], []
    # Levels of a second and a half: as early and as late as possible.
    begin_ns, end_ns = quiet_ns[0][0], quiet_ns[-1][1]
    apart_s = (end_ns - begin_ns) / NANOSECONDS - _LEVEL_S
    for gondola in recording.gondolas:
        after_s = (gondola.timestamp_ns - begin_ns) / NANOSECONDS
        before_s = (end_ns - gondola.timestamp_ns) / NANOSECONDS
        levels = [
            np.nanmedian(gondola.grams[(aside >= 0) & (aside < _LEVEL_S)], axis=0) for aside in (after_s, before_s)
        ]
        firsts.append(levels[0])
        still = np.array([name.rsplit("/", 1)[0] != step.shelf for name in gondola.plate_id])
        lasts.append((levels[1] - levels[0])[still])
        change = np.diff(gondola.grams.astype(float), axis=0)
        jumps.append(change[(change != 0) & (np.abs(change) < 40)])
        walking = np.zeros(len(change), bool)
        for start, end in walk_ns:
            walking |= (gondola.timestamp_ns[1:] >= start) & (gondola.timestamp_ns[1:] <= end)
        repeats.append(change[walking])
    quantum_g = _quantum_g(np.concatenate(jumps))
    held = []
    for change in repeats:
        wide = change.std(axis=0)
        for column in np.flatnonzero(wide > 12 * quantum_g):
            chance = quantum_g / (wide[column] * np.sqrt(2 * np.pi))
            held.append(float((change[:, column] == 0).mean() - chance))
    zeros = np.concatenate(firsts)
    moved = np.concatenate(lasts)
    late_s = [(gondola.delivered_ns - gondola.last_sample_ns) * 1e-9 for gondola in recording.gondolas]
    starts = np.sort([int(gondola.timestamp_ns[0]) for gondola in recording.gondolas])
    least_s = float(np.concatenate(late_s).min())
    return {
        # Means of a Gaussian's absolute value are 0.8 of its deviation; the largest may be hands, not drift.
        "drift_g": float(np.abs(np.sort(np.abs(moved))[: max(1, round(0.95 * len(moved)))]).mean() / 0.8)
        / np.sqrt(apart_s)
        if apart_s > 2
        else np.nan,
        "zero_g": float(np.nanmedian(zeros)),
        "zero_spread_g": float(1.4826 * np.nanmedian(np.abs(zeros - np.nanmedian(zeros)))),
        "quantum_g": quantum_g,
        "hold_share": float(np.mean(held)) if held else np.nan,
        "delay_least_s": least_s,
        "delay_mean_s": float(np.concatenate(late_s).mean()) - least_s,
        "stagger_s": float(np.diff(starts).mean() * 1e-9) if len(starts) > 1 else np.nan,
    }


def _quantum_g(jumps_g: FloatArray) -> float:
    """Return the step of which all jumps are multiples, grams; 0 if readings are not in steps."""
    sizes = np.abs(jumps_g)
    if not len(sizes):
        return np.nan
    step_g = float(sizes.min())
    for _ in range(3):
        few = sizes[sizes < 20 * step_g]
        step_g = float(np.median(few / np.maximum(np.rint(few / step_g), 1)))
    parts = sizes / step_g
    return step_g if step_g > 1e-3 and float(np.abs(parts - np.rint(parts)).mean()) < 0.1 else 0.0


@dataclass(frozen=True, slots=True)
class _Step:
    """The greatest lasting change of a recording, and its numbers; ``time_ns`` None if there is none."""

    time_ns: int | None
    plate_id: str
    numbers: dict[str, float]

    @property
    def shelf(self) -> str:
        """The shelf of the plate, as ``gondola/shelf``."""
        return self.plate_id.rsplit("/", 1)[0]


_NO_STEP = dict.fromkeys(("step_g", "fall_s", "press_g", "press_s", "after_g", "coupling", "ring", "creep"), np.nan)


def _step_of(recording: PlateRecording) -> _Step:
    second = int(RATE_HZ)
    best: tuple[float, GondolaRecording, int] | None = None
    for gondola in recording.gondolas:
        if len(gondola.grams) < 4 * second:
            continue
        change = np.nan_to_num(
            np.median(gondola.grams[-2 * second :], axis=0) - np.median(gondola.grams[: 2 * second], axis=0)
        )
        column = int(np.abs(change).argmax())
        if best is None or abs(change[column]) > best[0]:
            best = float(abs(change[column])), gondola, column
    if best is None or best[0] < _LEAST_STEP_G:
        return _Step(None, "", _NO_STEP)
    _, gondola, column = best
    grams = gondola.grams[:, column].astype(float)
    early = np.median(grams[: 2 * second])
    step_g = float(np.median(grams[-2 * second :]) - early)
    share = (grams - early) / step_g
    # The last reading before half of the change had come for good.
    at = int(np.flatnonzero(share < 0.5)[-1])
    begin = at - int(np.argmax(share[at : max(at - second, 0) : -1] < 0.1))
    end = at + int(np.argmax(share[at : at + second] > 0.9))
    if at < second or end + 2 * second > len(grams):
        return _Step(int(gondola.timestamp_ns[at]), gondola.plate_id[column], _NO_STEP)
    against = -share[max(at - second, 0) : at + 1] * abs(step_g)
    press_g = max(float(against.max()), 0.0)
    shelf = gondola.plate_id[column].rsplit("/", 1)[0]
    beside = [
        k
        for k in range(max(column - 2, 0), min(column + 3, len(gondola.plate_id)))
        if k != column and gondola.plate_id[k].rsplit("/", 1)[0] == shelf
    ]
    after = slice(end + 6, end + 36)
    numbers = {
        "step_g": step_g,
        "fall_s": (end - begin) / RATE_HZ,
        "press_g": press_g,
        "press_s": float((against > press_g / 2).sum() / RATE_HZ),
        "after_g": float(grams[after].std()),
        "creep": float((grams[end + 60 : end + 90].mean() - grams[end + 3 : end + 33].mean()) / step_g),
    }
    rows = gondola.grams[:, beside].astype(float)
    before, later = rows[max(at - 2 * second, 0) : max(at - 30, 1)].mean(axis=0), rows[end + 12 : end + 60].mean(axis=0)
    passing = rows[at - 2 : end + 9] - np.where(np.arange(at - 2, end + 9)[:, None] < at, before, later)
    numbers["coupling"] = float(((later - before) / step_g).max()) if beside else np.nan
    numbers["ring"] = float(np.abs(passing / step_g).max()) if beside else np.nan
    return _Step(int(gondola.timestamp_ns[at]), gondola.plate_id[column], numbers)


def pick_of(recording: PlateRecording) -> tuple[str, int] | None:
    """Find the greatest lasting change of a recording: its plate, and its moment on the store clock; None if none."""
    step = _step_of(recording)
    return None if step.time_ns is None else (step.plate_id, step.time_ns)
