"""Plays scenarios and says what came of it in one word, here or in a process of its own.

Run as a program it answers every line of JSON on its standard input, ``{"path", "site", "seed"}``, with what
:func:`played` gives as a line of JSON on its standard output.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from store_sim.day import day_layout
from store_sim.scenarios import read_scenario, site_of
from store_sim.simulation import Simulation
from tests.conftest import PROJECT
from vision.frames import Tick

SENSORS = frozenset({"scales", "joints"})
BEGINNING = 40  # ticks: what differs, differs in the first two seconds


def digest(ticks: Iterable[Tick]) -> tuple[str, str]:
    """Boil every number and name of some ticks down to two words: one of the first ``BEGINNING`` ticks, one of all."""
    word, beginning = hashlib.blake2b(digest_size=16), ""
    for number, tick in enumerate(ticks, start=1):
        word.update(repr((tick.timestamp_ns, tick.gates)).encode())
        for block in tick.scales:
            word.update(repr((block.plate_id, block.rate_hz)).encode())
            word.update(np.asarray(block.timestamp_ns).tobytes())
            word.update(np.asarray(block.grams).tobytes())
        if tick.bodies is not None:
            word.update(repr((tick.bodies.timestamp_ns, tick.bodies.target_id)).encode())
            word.update(np.asarray(tick.bodies.joints_m).tobytes())
            word.update(np.asarray(tick.bodies.score).tobytes())
        for frame in tick.frames:
            word.update(repr((frame.camera_id, frame.frame_idx, frame.timestamp_ns, frame.image.shape)).encode())
            word.update(np.ascontiguousarray(frame.image).tobytes())
        if number == BEGINNING:
            beginning = word.hexdigest()
    return beginning, word.hexdigest()


def played(path: Path, site: Path | None, seed: int, most_ticks: int | None = None) -> tuple[str, str, str]:
    """Play a scenario file with scales and joints, to its end or for some ticks; give its digest and its receipts."""
    scenario = read_scenario(path)
    simulation = Simulation(day_layout(site_of(scenario, site), scenario), scenario, seed, sensors=SENSORS)
    beginning, whole = digest(islice(simulation, most_ticks))
    return beginning, whole, repr(simulation.true_receipts)


class OtherProcess:
    """The same in another process, which orders its sets and dictionaries of text by another seed."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        self._running = running

    def ask(self, path: Path, site: Path | None, seed: int) -> None:
        """Let it begin to play."""
        assert self._running.stdin is not None
        request = {"path": str(path), "site": None if site is None else str(site), "seed": seed}
        self._running.stdin.write(json.dumps(request) + "\n")
        self._running.stdin.flush()

    def answer(self) -> tuple[str, ...]:
        """Wait for what came of it."""
        assert self._running.stdout is not None
        return tuple(json.loads(self._running.stdout.readline()))


@contextmanager
def other_process() -> Iterator[OtherProcess]:
    """Start one, and end it."""
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.store_sim.copies"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    with running:
        yield OtherProcess(running)
        assert running.stdin is not None
        running.stdin.close()


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        site = None if request["site"] is None else Path(request["site"])
        words = played(Path(request["path"]), site, request["seed"])
        sys.stdout.write(json.dumps(words) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
