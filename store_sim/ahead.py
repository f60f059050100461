"""A simulation in a process of its own: it draws the next pictures while who reads it looks at the last ones."""

import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self, TypeAlias

from store_sim.processes import deaf_to_ctrl_c, single_threaded
from store_sim.simulation import Simulation
from store_sim.truth import Truth
from vision.frames import SourceNotice, Tick
from vision.layout import StoreLayout

TICKS_AHEAD = 90
"""Three seconds of a world that steps thirty times a second: 30 pictures of each camera, 80 MB with four of them."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a source says of itself before it begins."""

    layout: StoreLayout
    start_ns: int
    duration_s: float
    camera_ids: tuple[str, ...]
    resolutions_wh: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Ended:
    """What a simulation leaves behind."""

    truth: Truth
    duration_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class _Failed:
    reason: str


_Message: TypeAlias = Tick | _Opened | _Ended | _Failed


class AheadSimulation:
    """A simulation played in another process (``vision.frames.Source``); use it as a context manager.

    It gives the very ticks of the simulation. What it gives does not depend on which process is faster.

    Args:
        make: Opens the simulation; has to survive pickling, for it is called in the other process.

    Raises:
        ValueError: The simulation cannot be played.
        OSError: The process ended before the simulation did.
    """

    def __init__(self, make: Callable[[], Simulation]) -> None:
        context = multiprocessing.get_context("spawn")
        self._near, far = context.Pipe(duplex=False)
        self._process = context.Process(target=_play, args=(make, far), daemon=True)
        with single_threaded(), deaf_to_ctrl_c():
            self._process.start()
        far.close()
        self._waiting: queue.Queue[_Message] = queue.Queue(TICKS_AHEAD)
        self._closing = threading.Event()
        self._ended: _Ended | None = None
        threading.Thread(target=self._receive, daemon=True).start()
        opened = self._next()
        assert isinstance(opened, _Opened)
        self._opened = opened

    @property
    def layout(self) -> StoreLayout:
        """The store as it is played in."""
        return self._opened.layout

    @property
    def start_ns(self) -> int:
        """Second 0 of the scenario, store clock."""
        return self._opened.start_ns

    @property
    def duration_s(self) -> float:
        """Length in seconds: an estimate until the end has been read."""
        return self._opened.duration_s if self._ended is None else self._ended.duration_s

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """The cameras, in the order of the layout."""
        return self._opened.camera_ids

    @property
    def resolutions_wh(self) -> dict[str, tuple[int, int]]:
        """Picture size of each camera, pixels."""
        return dict(self._opened.resolutions_wh)

    @property
    def has_gates(self) -> bool:
        """There are (``Simulation.has_gates``)."""
        return True

    @property
    def notices(self) -> tuple[SourceNotice, ...]:
        """None (``Simulation.notices``)."""
        return ()

    @property
    def has_ended(self) -> bool:
        """Whether it has been read to its end."""
        return self._ended is not None

    @property
    def truth(self) -> Truth:
        """What really happened.

        Raises:
            ValueError: The simulation has not been read to its end.
        """
        return self._outcome().truth

    @property
    def cpu_s(self) -> float:
        """Processor time that playing and drawing took, seconds.

        Raises:
            ValueError: The simulation has not been read to its end.
        """
        return self._outcome().cpu_s

    def __iter__(self) -> Iterator[Tick]:
        """Read from where it stands to the end."""
        while self._ended is None:
            message = self._next()
            if isinstance(message, _Ended):
                self._ended = message
            elif isinstance(message, Tick):
                yield message

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the other process, wherever it is."""
        self._closing.set()
        self._process.terminate()
        self._process.join()

    def _outcome(self) -> _Ended:
        if self._ended is None:
            raise ValueError("expected a simulation that has been read to its end")
        return self._ended

    def _next(self) -> _Message:
        message = self._waiting.get()
        if isinstance(message, _Failed):
            self.close()
            raise (ValueError if message.reason else OSError)(message.reason or "the simulation's process ended early")
        return message

    def _receive(self) -> None:
        """Take what comes as soon as it comes, as far as there is room for it."""
        message: _Message = _Failed("")
        while not self._closing.is_set() and not isinstance(message, _Ended):
            try:
                message = self._near.recv()
            except (EOFError, OSError):
                message = _Failed("")
                self._closing.set()
            while True:
                try:
                    self._waiting.put(message, timeout=0.5)
                    break
                except queue.Full:
                    if self._closing.is_set():
                        return


def _play(make: Callable[[], Simulation], far: Connection) -> None:
    """Play a simulation to its end and send its ticks."""
    try:
        began_s = time.process_time()
        simulation = make()
        far.send(
            _Opened(
                simulation.layout,
                simulation.start_ns,
                simulation.duration_s,
                simulation.camera_ids,
                simulation.resolutions_wh,
            )
        )
        for tick in simulation:
            far.send(tick)
        far.send(_Ended(simulation.truth, simulation.duration_s, time.process_time() - began_s))
    except (ValueError, OSError) as error:
        far.send(_Failed(str(error) or type(error).__name__))
