"""Which recording a path is: our own folder, an AutoCheckout folder, or video files."""

from collections.abc import Sequence
from pathlib import Path

from store_sim import autocheckout, recording
from vision.frames import Source
from vision.layout import Plate
from vision.sources import VIDEO_SUFFIXES, FileOpener, VideoFilesSource, VideoReader, video_files

SITE_FOLDER = "site"


def open_recording(
    paths: Sequence[Path], plates: Sequence[Plate] | None = None, opener: FileOpener = VideoReader
) -> Source:
    """Open whatever was recorded.

    One folder is our own recording (it holds ``recording.json``), an AutoCheckout recording (``plate_data.jsonl`` or
    ``full_targets.jsonl``) or a folder of video files, in this order; anything else must be video files, one a camera.

    Args:
        paths: One folder, or one or more video files.
        plates: The plates of the store, for AutoCheckout recordings: columns of other plates are left out. None: those
            of the site that ``find_site`` finds, if there is one.
        opener: Opens each video; ``vision.child_source.ChildReader`` for recordings that somebody else made.

    Raises:
        OSError: Something is missing or may not be read.
        ValueError: Folders and files are mixed, there is more than one folder, or it is no recording of any kind.
    """
    if not paths:
        raise ValueError("expected a recording folder or video files, got no path")
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: expected a recording, there is no such file or folder")
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        return VideoFilesSource(_checked_files(paths), opener=opener)
    if len(paths) > 1:
        what = "several folders" if len(folders) == len(paths) else "folders mixed with files"
        raise ValueError(f"expected one recording folder or several video files, got {what}: {folders[0]} and others")
    return _open_folder(folders[0], plates, opener)


def find_site(paths: Sequence[Path]) -> Path | None:
    """Find the site that belongs to a recording: ``site/`` inside it, else beside it.

    For files, inside means in the folder that they lie in.

    Args:
        paths: The recording, as for ``open_recording``.

    Returns:
        A folder with at least one file of a site, or None.
    """
    for path in paths:
        folder = (path if path.is_dir() else path.parent).resolve()
        for candidate in (folder / SITE_FOLDER, folder.parent / SITE_FOLDER):
            if autocheckout.is_site(candidate):
                return candidate
    return None


def _checked_files(paths: Sequence[Path]) -> list[Path]:
    for path in paths:
        if path.name in (autocheckout.PLATES_FILE, autocheckout.TARGETS_FILE, recording.MANIFEST_FILE):
            raise ValueError(f"{path}: expected video files or one folder; give the folder that this file lies in")
    return list(paths)


def _open_folder(folder: Path, plates: Sequence[Plate] | None, opener: FileOpener) -> Source:
    if (folder / recording.MANIFEST_FILE).exists():
        return recording.RecordingSource(folder, opener)
    if any((folder / name).exists() for name in (autocheckout.PLATES_FILE, autocheckout.TARGETS_FILE)):
        if plates is None:
            site = find_site([folder])
            plates = None if site is None else autocheckout.read_site(site).plates
        return autocheckout.AutoCheckoutSource(folder, plates, opener)
    videos = video_files(folder)
    if not videos:
        if autocheckout.is_site(folder):
            raise ValueError(f"{folder}: expected a recording, got a site; give it with --site")
        suffixes = ", ".join(VIDEO_SUFFIXES)
        raise ValueError(
            f"{folder}: expected {recording.MANIFEST_FILE}, {autocheckout.PLATES_FILE}, {autocheckout.TARGETS_FILE} "
            f"or video files ({suffixes}), found none of them"
        )
    return VideoFilesSource(videos, opener=opener)
