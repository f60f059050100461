"""What hands and goods do to plates: they lean, lift, set down, hover, and take weight away or bring it."""

from collections.abc import Mapping, Sequence

import numpy as np

from store_sim.happenings import PlateLoad, PlatePress

NANOSECONDS = 1_000_000_000
LEAN_G, LEAN_SPREAD = 30.0, 0.75
"""Pressure of a hand that takes something, median and spread of its logarithm: now and then 200 g, as the real visit
recorded in the NanoStore shows swings of up to 228 g near a hand."""
HANDLING_G, HANDLING_SPREAD = 40.0, 0.6  # of one that moves goods about
RELEASE_G = 22.0  # of one that lets go of what it set down
REST_G, REST_SPREAD, MOST_REST_G = 120.0, 0.8, 1500.0
"""Weight of a hand that rests: the forearm and hand of an adult weigh 1.6 kg (2.2 % of the body; Winter, Biomechanics),
of which most hangs on the shoulder, and little of the rest on goods instead of the shelf's edge."""
BRUSH_G, BRUSH_SPREAD = 40.0, 0.6  # of a bag or a sleeve, like a hand that moves goods about
TILTED = (0.2, 0.6)  # part of the weight that leaves when something is tipped, about what one edge carries
LEANS_BEFORE_PUTTING = 0.4  # who puts something down leans on the shelf first this often

Shares = Sequence[tuple[str, float]]
"""Plates under something, and what part of it each carries."""


class Touches:
    """Gathers what plates feel in one step of the world."""

    def __init__(self, rng: np.random.Generator, tilts: float = 0.0) -> None:
        """Nothing is felt yet.

        Args:
            rng: Decides how hard and how long; the world's own.
            tilts: Share of the times that weight moves in two parts.
        """
        self._rng, self._tilts = rng, tilts
        self._now_ns = 0
        self._planned: list[PlateLoad] = []
        self.loads: list[PlateLoad] = []
        self.presses: list[PlatePress] = []

    def begin(self, now_ns: int) -> None:
        """Begin a step: forget the last one; what was planned for now is felt."""
        self._now_ns = now_ns
        self.presses = []
        self.loads = [load for load in self._planned if load.time_ns <= now_ns]
        self._planned = [load for load in self._planned if load.time_ns > now_ns]

    def weigh(self, change_g: Mapping[str, float], sign: float = 1.0, after_s: float = 0.0) -> float:
        """Weight comes (``sign`` 1) or goes (-1), plate by plate, from now on, or from a while after.

        Returns:
            Seconds until all of it has: for so long the hand is on it.
        """
        rng = self._rng
        if self._tilts and change_g and rng.random() < self._tilts:
            first = float(rng.uniform(*TILTED))
            rise_s = float(rng.uniform(0.06, 0.15))
            self._come(change_g, sign * first, after_s, rise_s)
            sign, after_s = sign * (1 - first), after_s + rise_s + float(rng.uniform(0.05, 0.3))
        rise_s = float(rng.uniform(0.06, 0.2))  # goods tip and slide before they have left
        self._come(change_g, sign, after_s, rise_s)
        return after_s + rise_s

    def _come(self, change_g: Mapping[str, float], part: float, after_s: float, rise_s: float) -> None:
        middle_ns = self._now_ns + round((after_s + rise_s / 2) * NANOSECONDS)
        loads = [PlateLoad(plate_id, middle_ns, part * grams, rise_s) for plate_id, grams in change_g.items()]
        if after_s > 0:
            self._planned += loads
        else:
            self.loads += loads

    def lean(self, plates: Shares) -> None:
        """A hand arrives, leans on the shelf and shifts the goods before anything is taken or put."""
        rng = self._rng
        force_g = LEAN_G * float(np.exp(LEAN_SPREAD * rng.standard_normal()))
        length_s, after_s = rng.uniform(0.2, 0.45), rng.uniform(0.0, 0.12)
        for plate_id, share in plates:
            self._press(plate_id, after_s, length_s, force_g * share)

    def set_down(self, gained_g: Mapping[str, float]) -> None:
        """Goods reach plates: set down, not lowered by a crane; then the hand lets go."""
        rng = self._rng
        total_g = sum(gained_g.values())
        for plate_id, grams in gained_g.items():
            self._press(plate_id, 0.0, rng.uniform(0.08, 0.16), grams * rng.uniform(0.1, 0.45))
            release_g = RELEASE_G * float(np.exp(0.5 * rng.standard_normal()))
            self._press(plate_id, 0.1, rng.uniform(0.15, 0.35), release_g * grams / total_g)

    def handle(self, plates: Shares, mass_g: float, seconds: float) -> None:
        """A hand presses goods, and lifts them a little, for some seconds.

        Args:
            plates: What is under them.
            mass_g: What they weigh: more than that cannot be lifted. 0 if nothing stands there.
            seconds: How long.
        """
        rng, at_s = self._rng, 0.0
        while at_s < seconds:
            length_s = min(rng.uniform(0.25, 0.9), max(0.2, seconds - at_s))
            force_g = HANDLING_G * float(np.exp(HANDLING_SPREAD * rng.standard_normal()))
            if rng.random() > 0.65:
                force_g = -min(0.8 * mass_g, rng.uniform(20, 90))
            for plate_id, share in plates:
                self._press(plate_id, at_s, length_s, force_g * share)
            at_s += length_s + rng.uniform(0.05, 0.4)

    def hover(self, lifted_g: Mapping[str, float], seconds: float) -> None:
        """Goods are lifted off, now clear of their plates and now leaning on them, and come back after some seconds.

        The weight that leaves comes back to the gram; what the hand does besides is felt as pressure.
        """
        rng, at_s, gone = self._rng, 0.0, 0.0
        while at_s < seconds:
            part = float(rng.uniform(0.9, 1.0) if rng.random() < 0.6 else rng.uniform(0.2, 0.8))
            self._plan(lifted_g, at_s, gone - part)
            gone = part
            length_s = float(rng.uniform(0.8, 3.0))
            if part < 0.8:  # who leans it on the plate does not hold it still
                for plate_id, grams in lifted_g.items():
                    most_s = max(0.2, min(length_s, seconds - at_s) - 0.2)
                    self._press(plate_id, at_s + 0.2, most_s, grams * (1 - part) * rng.uniform(-0.3, 0.3))
            at_s += length_s
        self._plan(lifted_g, seconds, gone)

    def rest(self, plates: Shares, seconds: float) -> None:
        """A hand comes to rest on the goods, stays for some seconds and goes."""
        rng = self._rng
        force_g = min(REST_G * float(np.exp(REST_SPREAD * rng.standard_normal())), MOST_REST_G)
        carried_g = {plate_id: force_g * share for plate_id, share in plates}
        self._plan(carried_g, 0.0, 1.0)
        self._plan(carried_g, seconds, -1.0)
        for plate_id, grams in carried_g.items():
            self._press(plate_id, 0.3, max(seconds - 0.4, 0.1), grams * rng.uniform(-0.3, 0.3))

    def brush(self, plates: Shares) -> None:
        """Somebody's bag or sleeve goes along the goods."""
        rng = self._rng
        force_g = BRUSH_G * float(np.exp(BRUSH_SPREAD * rng.standard_normal()))
        for plate_id, share in plates:
            self._press(plate_id, rng.uniform(0.0, 0.2), rng.uniform(0.15, 0.5), force_g * share)

    def _plan(self, mass_g: Mapping[str, float], after_s: float, part: float) -> None:
        rise_s = float(self._rng.uniform(0.08, 0.25))
        middle_ns = self._now_ns + round((after_s + rise_s / 2) * NANOSECONDS)
        self._planned += [PlateLoad(plate_id, middle_ns, part * grams, rise_s) for plate_id, grams in mass_g.items()]

    def _press(self, plate_id: str, after_s: float, length_s: float, grams: float) -> None:
        start_ns = self._now_ns + round(after_s * NANOSECONDS)
        self.presses.append(PlatePress(plate_id, start_ns, start_ns + round(length_s * NANOSECONDS), float(grams)))
