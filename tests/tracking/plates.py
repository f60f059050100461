"""Builds plate readings with known changes: noise, wander, footsteps, hands that press, coupling, drift and steps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from vision.arrays import FloatArray, IntArray
from vision.frames import ScaleSamples
from vision.layout import Box, Plate

RATE_HZ = 60.0
START_NS = 1_700_000_000_000_000_000
PLATE_M = np.array([0.1, 0.4, 0.3])


def a_plate(gondola: int, shelf: int, number: int) -> Plate:
    """A plate of a gondola whose front lower left corner is at (2 * gondola, 0, 0)."""
    world_from_box = np.eye(4)
    world_from_box[:3, 3] = (2.0 * gondola + PLATE_M[0] * (number - 1), 0.0, PLATE_M[2] * shelf)
    return Plate(f"{gondola}/{shelf}/{number}", gondola, shelf, number, Box(world_from_box, PLATE_M))


def a_gondola(gondola: int = 1, shelves: int = 2, plates: int = 6) -> list[Plate]:
    return [a_plate(gondola, shelf, number) for shelf in range(1, shelves + 1) for number in range(1, plates + 1)]


@dataclass
class Load:
    """Readings of one gondola's plates over a time, to which things are done.

    Attributes:
        plates: One column each.
        seconds: How long.
        rng: Where the noise comes from.
        quiet_g: White noise of a reading, median over the plates.
        wander_g: Slow oscillation of the electronics (1.2 to 1.8 Hz), amplitude of the worst plates.
        drift_g: Random walk, grams a square root of a second.
    """

    plates: Sequence[Plate]
    seconds: float
    rng: np.random.Generator
    quiet_g: float = 0.6
    wander_g: float = 1.5
    drift_g: float = 0.15
    grams: FloatArray = field(init=False)
    shelf_of: IntArray = field(init=False)

    def __post_init__(self) -> None:
        rng, p = self.rng, len(self.plates)
        n = round(self.seconds * RATE_HZ)
        t = np.arange(n)[:, None] / RATE_HZ
        self.shelf_of = np.array([plate.shelf_id for plate in self.plates])
        level = rng.uniform(-500, 8000, p)
        noise = self.quiet_g * rng.lognormal(0, 0.4, p) * rng.standard_normal((n, p))
        amplitude = self.wander_g * rng.beta(0.5, 3, p)
        wander = amplitude * np.sin(2 * np.pi * rng.uniform(1.2, 1.8, p) * t + rng.uniform(0, 6.3, p))
        drift = np.cumsum(rng.standard_normal((n, p)), axis=0) * self.drift_g / np.sqrt(RATE_HZ)
        self.grams = level + noise + wander + drift

    def shake(self, begin_s: float, end_s: float, amplitude_g: float) -> "Load":
        """Somebody walks by: two steps a second, each ringing every plate at its own 6 to 12 Hz and its own gain."""
        rng, p = self.rng, len(self.plates)
        t = np.arange(len(self.grams)) / RATE_HZ
        gain = amplitude_g * rng.lognormal(0, 0.4, p)
        hertz = rng.uniform(6, 12, p)
        at_s = begin_s
        while at_s < end_s:
            since = np.maximum(0, t - at_s)
            ringing = np.exp(-since / 0.25) * (t > at_s) * rng.lognormal(0, 0.5)
            self.grams += gain * ringing[:, None] * np.sin(2 * np.pi * hertz * since[:, None] + rng.uniform(0, 0.6, p))
            at_s += rng.uniform(0.4, 0.6)
        return self

    def put(self, plate_id: str, at_s: float, delta_g: float, *, coupling: float = 0.0, rise_s: float = 0.08) -> "Load":
        """Something comes (or goes, below 0); the plate rings a little, other plates of the shelf take a share."""
        j = self._column(plate_id)
        t = np.arange(len(self.grams)) / RATE_HZ - at_s
        step = np.clip(t / rise_s, 0, 1)
        ringing = 0.15 * np.exp(-np.maximum(t, 0) / 0.12) * np.sin(2 * np.pi * 9 * t) * (t > 0)
        self.grams[:, j] += delta_g * (step + ringing)
        if coupling:
            near = (self.shelf_of == self.shelf_of[j]) & (np.arange(len(self.plates)) != j)
            share = coupling * self.rng.uniform(-1, 1, int(near.sum()))
            self.grams[:, near] += delta_g * step[:, None] * share
        return self

    def press(
        self, plate_id: str, begin_s: float, end_s: float, force_g: float, *, hysteresis_g: float = 0.0
    ) -> "Load":
        """A hand leans on a plate, never quite still (5 % of its force), and a little on both neighbours."""
        j = self._column(plate_id)
        t = np.arange(len(self.grams)) / RATE_HZ
        envelope = np.clip((t - begin_s) / 0.15, 0, 1) * np.clip((end_s - t) / 0.15, 0, 1)
        tremor = np.interp(t, np.arange(0, self.seconds + 1, 0.12), self._sway(0.12))
        force = force_g * envelope * (1 + 0.05 * tremor)
        self.grams[:, j] += force + hysteresis_g * (t > end_s)
        for k in (j - 1, j + 1):
            if 0 <= k < len(self.plates) and self.shelf_of[k] == self.shelf_of[j]:
                self.grams[:, k] += self.rng.uniform(-0.1, 0.3) * force
        return self

    def blocks(self, samples: int = 12, start_ns: int = START_NS) -> Iterator[ScaleSamples]:
        """The readings as messages."""
        times_ns = start_ns + np.round(np.arange(len(self.grams)) * (1e9 / RATE_HZ)).astype(np.int64)
        names = tuple(plate.plate_id for plate in self.plates)
        for first in range(0, len(times_ns), samples):
            part = slice(first, first + samples)
            yield ScaleSamples(times_ns[part], names, self.grams[part].astype(np.float32), RATE_HZ)

    def _column(self, plate_id: str) -> int:
        return [plate.plate_id for plate in self.plates].index(plate_id)

    def _sway(self, every_s: float) -> FloatArray:
        return self.rng.standard_normal(len(np.arange(0, self.seconds + 1, every_s)))


def seconds_of(time_ns: int) -> float:
    return (time_ns - START_NS) / 1e9
