"""How the command speaks: consoles, progress bars, and what is wrong with the input in one line."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cart.config import Settings
from cart.errors import StoreError

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)
STOPPED = 130  # how shells count what Ctrl-C ended: 128 and the signal's number


class UsageError(Exception):
    """The command cannot be carried out as it was given; the message is one line."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what is wrong with the input into one line on standard error and exit status 2; Ctrl-C into another."""
    try:
        yield
    except (UsageError, ValueError, OSError, StoreError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            message = f"{error.filename}: {error.strerror.lower()}"  # Python's own wording begins with a number
        print(f"tillfree: {message}", file=sys.stderr)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        print("tillfree: stopped by hand", file=sys.stderr)
        raise typer.Exit(STOPPED) from error


def check_outputs(files: Iterable[Path | None], report: Path | None) -> None:
    """Refuse what cannot be written before the work rather than after it.

    Args:
        files: Files to write; None for those not asked for.
        report: The folder for a report, if one is asked for.

    Raises:
        UsageError: A file's folder does not exist, a file is a folder or may not be written, or the report's folder is
            a file.
    """
    for file in files:
        if file is None:
            continue
        if not file.absolute().parent.is_dir():
            raise UsageError(f"{file}: there is no folder {file.absolute().parent} to write into")
        if file.is_dir():
            raise UsageError(f"{file}: expected a file to write, it is a folder")
        if not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
            raise UsageError(f"{file}: no permission to write it")
    if report is not None and report.exists() and not report.is_dir():
        raise UsageError(f"{report}: expected a folder to write the report into, it is a file")


def check_new_folder(folder: Path) -> None:
    """Refuse to write among what is there already.

    Raises:
        UsageError: It is a file, or a folder with something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: expected a new or an empty folder, there is something")


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


def settings_of_environment() -> Settings:
    """Read the store's settings from the environment.

    Raises:
        UsageError: One of them is not as it should be.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = error.errors()[0]
        name = "_".join(str(part) for part in wrong["loc"]).upper()
        raise UsageError(f"TILLFREE_{name}: {wrong['msg']}, got {wrong['input']}") from error
