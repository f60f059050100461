"""Recordings are found by name, and no name leads out of their folder."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cart.errors import RecordingNotFound, RecordingRefused
from cart.recordings import Recordings

TRAVERSALS = [
    "",
    ".",
    "..",
    "/",
    "//",
    "../secret.txt",
    "../recordings/monday.mp4",
    "monday.mp4/..",
    "week/../../secret.txt",
    "week/../monday.mp4",
    "./monday.mp4",
    "week/./tuesday.mp4",
    "week//tuesday.mp4",
    "/etc/passwd",
    "//etc/passwd",
    "///etc/passwd",
    "~",
    "~root",
    "~/x",
    "week/~x",
    "....//secret.txt",
    "..\\secret.txt",
    "..%2fsecret.txt/..",
    "C:\\secret.txt",
    "\\\\host\\share",
    "monday.mp4\x00",
    "monday.mp4\x00.txt",
    "\x00",
    "week\n/tuesday.mp4",
    "\x1b[2J",
    "week/\u202etuesday.mp4",
    "\u2028",
    ".hidden",
    "week/.hidden",
    ".git/config",
    "a/" * 9 + "b",
    "x" * 600,
    "file:///etc/passwd\n",
    "concat:../secret.txt|../secret.txt/..",
    "proc/self/../../../etc/passwd",
    "link-to-file",
    "link-to-folder/secret.txt",
    "link-to-folder",
    "link-inside",
    "with-link",
    "with-deep-link",
    "pipe",
    "with-pipe",
]


@pytest.fixture
def recordings(tmp_path: Path) -> Recordings:
    """A folder of recordings beside a secret, with traps in it."""
    root = tmp_path / "recordings"
    (root / "week").mkdir(parents=True)
    (root / "monday.mp4").write_bytes(b"monday")
    (root / "week" / "tuesday.mp4").write_bytes(b"tuesday")
    (root / ".hidden").write_bytes(b"hidden")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link-to-file").symlink_to(tmp_path / "secret.txt")
    (root / "link-to-folder").symlink_to(outside)
    (root / "link-inside").symlink_to(root / "monday.mp4")
    for name, where in (("with-link", "."), ("with-deep-link", "a/b")):
        (root / name / where).mkdir(parents=True)
        (root / name / where / "frame.mp4").symlink_to(tmp_path / "secret.txt")
    os.mkfifo(root / "pipe")
    (root / "with-pipe").mkdir()
    os.mkfifo(root / "with-pipe" / "frame.mp4")
    return Recordings(root)


@pytest.mark.parametrize("name", TRAVERSALS)
def test_no_name_leads_out_of_the_folder(recordings: Recordings, name: str) -> None:
    with pytest.raises(RecordingRefused) as refused:
        recordings.path(name)
    assert "secret" not in str(refused.value)


NOTHING = ["friday.mp4", "week/friday.mp4", "monday.mp4/x", "..%2f..%2fetc%2fpasswd", "week/" + "x" * 300]


@pytest.mark.parametrize("name", NOTHING)
def test_a_name_of_nothing_is_not_found(recordings: Recordings, name: str) -> None:
    with pytest.raises((RecordingNotFound, RecordingRefused)):
        recordings.path(name)


def test_files_and_folders_are_found(recordings: Recordings) -> None:
    assert recordings.path("monday.mp4").read_bytes() == b"monday"
    assert recordings.path("week/tuesday.mp4").read_bytes() == b"tuesday"
    assert recordings.path("week").is_dir()
    assert recordings.path("week/") == recordings.path("week")
    assert "monday.mp4" in recordings.names()
    assert not {".hidden", "link-to-file"} & set(recordings.names())


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="folder of recordings"):
        Recordings(tmp_path / "nothing")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["..", ".", "week", "link-to-folder", "monday.mp4", "secret.txt", "", "~"]), max_size=6)
)
def test_whatever_is_found_lies_in_the_folder(recordings: Recordings, parts: list[str]) -> None:
    try:
        found = recordings.path("/".join(parts))
    except (RecordingRefused, RecordingNotFound):
        return
    assert found.resolve().is_relative_to(recordings.root)
    assert found.resolve() == found
