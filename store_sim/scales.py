"""Load cells of a simulated store: what 60 Hz plates say of loads, hands, steps and knocks."""

from dataclasses import dataclass

import numpy as np

from store_sim.figures import Figures
from store_sim.happenings import Happenings
from vision.frames import ScaleSamples
from vision.layout import StoreLayout

RATE_HZ = 60.0
SAMPLES_A_BLOCK = 12


@dataclass(frozen=True, slots=True)
class PlateSettings:
    """How load cells behave."""

    noise_g: float = 0.5


class PlateSensors:
    """The load cells under all plates of a store.

    Args:
        layout: The store; every one of its plates answers.
        rng: Randomness of zeros, noise and delays; two sensors with equal generators give equal readings.
        settings: How the cells behave.
    """

    def __init__(self, layout: StoreLayout, rng: np.random.Generator, settings: PlateSettings | None = None) -> None:
        self._settings = settings or PlateSettings()
        self._rng = rng
        self._columns = {plate.plate_id: k for k, plate in enumerate(layout.plates)}
        self._level_g = rng.uniform(-500, 3000, len(layout.plates))
        self._of_gondola = {
            gondola: [k for k, plate in enumerate(layout.plates) if plate.gondola_id == gondola]
            for gondola in dict.fromkeys(plate.gondola_id for plate in layout.plates)
        }
        self._ids = [plate.plate_id for plate in layout.plates]
        self._next_ns: int | None = None

    def feel(self, happenings: Happenings, figures: Figures, now_ns: int) -> None:
        """Take in what a step of the world did, and who stands where at its end."""
        if self._next_ns is None:
            self._next_ns = now_ns
        for load in happenings.loads:
            self._level_g[self._columns[load.plate_id]] += load.grams

    def messages(self, now_ns: int) -> list[ScaleSamples]:
        """Return the blocks of 12 samples of one gondola each that were delivered since the last call, in order."""
        blocks = []
        step_ns = round(1e9 / RATE_HZ)
        while self._next_ns is not None and self._next_ns + SAMPLES_A_BLOCK * step_ns <= now_ns:
            times = self._next_ns + np.arange(SAMPLES_A_BLOCK) * step_ns
            for columns in self._of_gondola.values():
                noise = self._rng.normal(0, self._settings.noise_g, (SAMPLES_A_BLOCK, len(columns)))
                grams = (self._level_g[columns] + noise).astype(np.float32)
                blocks.append(ScaleSamples(times, tuple(self._ids[k] for k in columns), grams, RATE_HZ))
            self._next_ns += SAMPLES_A_BLOCK * step_ns
        return blocks
