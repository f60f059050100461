"""Finds recordings by names that somebody else gives, and never leaves the folder in which they lie.

>>> from tempfile import TemporaryDirectory
>>> with TemporaryDirectory() as folder:
...     _ = (Path(folder) / "monday.mp4").write_bytes(b"...")
...     recordings = Recordings(Path(folder))
...     print(recordings.path("monday.mp4").name)
...     recordings.path("../etc/passwd")
Traceback (most recent call last):
...
cart.errors.RecordingRefused: expected the name of a recording below the folder of recordings
"""

import os
import stat
from pathlib import Path, PurePosixPath

from cart.errors import RecordingNotFound, RecordingRefused

LONGEST_NAME = 512
DEEPEST = 8
MOST_FILES = 10_000


class Recordings:
    """A folder of recordings.

    Args:
        root: The folder.

    Raises:
        OSError: There is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: expected a folder of recordings, there is none")
        self._root = root.resolve()

    @property
    def root(self) -> Path:
        """The folder, absolute."""
        return self._root

    def names(self) -> tuple[str, ...]:
        """What lies in it, sorted; hidden files and links are left out."""
        found = (entry for entry in os.scandir(self._root) if not entry.name.startswith(".") and not entry.is_symlink())
        return tuple(sorted(entry.name for entry in found))

    def path(self, name: str) -> Path:
        """Find a recording: a file, or a folder with everything in it.

        Nothing on the way to it may be a link, nor anything in it, nor a device or a pipe: a link can lead anywhere,
        and whoever reads a pipe may wait for ever.

        Args:
            name: Its path below the folder, with ``/`` between.

        Raises:
            RecordingRefused: The name leads elsewhere, or something in the recording does.
            RecordingNotFound: There is no such recording.
        """
        path = self._root
        for part in _parts(name):
            path = path / part
            try:
                mode = path.lstat().st_mode
            except (OSError, ValueError) as error:
                raise RecordingNotFound("there is no such recording") from error
            if stat.S_ISLNK(mode):
                raise RecordingRefused("expected a recording, this name leads through a link")
        # Whatever the parts say, this is what counts.
        if not path.resolve().is_relative_to(self._root) or path == self._root:
            raise RecordingRefused("expected the name of a recording below the folder of recordings")
        _check_inside(path)
        return path


def _parts(name: str) -> tuple[str, ...]:
    wrong = RecordingRefused("expected the name of a recording below the folder of recordings")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or "\\" in name:
        raise wrong
    if PurePosixPath(name).is_absolute() or "//" in name:
        raise wrong
    parts = name.removesuffix("/").split("/")
    if len(parts) > DEEPEST or any(not part or part.startswith((".", "~")) for part in parts):
        raise wrong
    return tuple(parts)


def _check_inside(path: Path) -> None:
    """Refuse what is no ordinary file or folder, and folders with anything else in them."""
    waiting, seen = [path], 0
    while waiting:
        here = waiting.pop()
        seen += 1
        if seen > MOST_FILES:
            raise RecordingRefused(f"expected a recording of at most {MOST_FILES} files")
        mode = here.lstat().st_mode
        if stat.S_ISDIR(mode):
            waiting += sorted(here.iterdir())
        elif not stat.S_ISREG(mode):
            raise RecordingRefused("expected a recording of files and folders, there is a link or a device in it")
