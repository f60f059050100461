"""How the command speaks: consoles, progress bars, and what is wrong with the input in one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cart.errors import StoreError

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)


class UsageError(Exception):
    """The command cannot be carried out as it was given; the message is one line."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what is wrong with the input into one line on standard error and exit status 2."""
    try:
        yield
    except (UsageError, ValueError, OSError, StoreError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            message = f"{error.filename}: {error.strerror.lower()}"  # Python's own wording begins with a number
        print(f"tillfree: {message}", file=sys.stderr)
        raise typer.Exit(2) from error


def progress_bar(*extra: DownloadColumn) -> Progress:
    """A progress bar that is gone when the work is done, and absent where nobody looks."""
    # On a terminal the bar and the lines have to share a console: only then does each line go above the bar.
    console = OUT if OUT.is_terminal else ERR
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *extra,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 visit``, ``2 visits``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
