"""Runs the command within this process, for tests of what it prints and how it ends."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """How a run of the command ended."""

    status: int
    out: str
    err: str


Tillfree = Callable[..., Ran]

HEARS_CTRL_C = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""For a process that is to be stopped: a shell's background job would hand down that Ctrl-C is ignored."""


def refusal(ran: Ran) -> str:
    """The one line in which the command says why it did not do it."""
    assert ran.status == 2, ran
    assert ran.err.count("\n") == 1, ran.err
    assert ran.err.startswith("tillfree: ")
    assert "Traceback" not in ran.err + ran.out
    return ran.err.removeprefix("tillfree: ").strip()
