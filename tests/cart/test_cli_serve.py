"""What ``tillfree serve`` prints, and what it refuses before anything is begun."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from cart.cli_serve import TO_TRY, _line
from cart.live_store import Came, FloorEvent, Handled, Left
from cart.sessions import Session, SessionStatus
from tests.cart.running import Tillfree

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
VISIT = UUID("84f5408c-ad3d-4800-abb2-1fb40a2dbd85")
SHOPPER = "762b1aa1-1e99-4e1b-a597-565482dfc846"
INSIDE = Session(VISIT, SHOPPER, True, 1, SessionStatus.OPEN, NOON)
PAID = Session(VISIT, SHOPPER, True, 1, SessionStatus.CHARGED, NOON, NOON)
IN_REVIEW = Session(VISIT, SHOPPER, True, 1, SessionStatus.NEEDS_REVIEW, NOON, NOON)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Came(INSIDE, True), "visit 84f5408c came in"),
        (Came(INSIDE, False), "visit 84f5408c came in without a code: staff are told"),
        (
            Handled(VISIT, True, "Oat Drink", 2, 0.9999, "gondola 1, shelf 1, plate 2"),
            "visit 84f5408c took 2 x Oat Drink at gondola 1, shelf 1, plate 2 (99% sure)",
        ),
        (Handled(None, True, "Oat Drink", 2, 0.1, "gondola 1"), ""),
        (Left(PAID, 7, 438, "EUR", (("1", 2),), ()), "visit 84f5408c left: charged 4.38 EUR, receipt 7"),
        (
            Left(IN_REVIEW, None, None, "EUR", (), ("a price is not known",)),
            "visit 84f5408c left: needs review (a price is not known)",
        ),
    ],
)
def test_every_event_is_one_line_that_names_nobody(event: FloorEvent, line: str) -> None:
    assert _line(event) == line
    assert SHOPPER not in _line(event)


def test_what_a_newcomer_types_is_a_handful_of_short_lines() -> None:
    commands = [line for line in TO_TRY.splitlines() if line.startswith("  ")]
    assert sum("curl" in line for line in commands) == 7
    assert max(map(len, TO_TRY.replace("ADDRESS", "http://127.0.0.1:8000").splitlines())) < 140


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--demo", "--source", "x.mp4"], "--demo: expected no --source"),
        (["--source", "simulator", "--source", "x.mp4"], "no other source beside it"),
        (["--source", "rtsp://10.0.0.7/live"], "10.0.0.7 is private"),
        (["--source", "rtsp://user:secret@127.0.0.1/live"], "127.0.0.1 is this machine"),
        (["--source", "http://169.254.169.254/latest"], "169.254.169.254 is link-local"),
        (["--source", "tcp://93.184.215.14:9"], "begins with"),
        (["--source", "rtsp://93.184.215.14/live", "--source", "x.mp4"], "cannot be served together"),
        (["--source", "nothing.mp4"], "nothing.mp4"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(
    tillfree: Tillfree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = tillfree("serve", "--port", "0", "--database", "sqlite://", *words)
    assert ran.status == 2
    assert reason in ran.err
    assert ran.err.count("\n") == 1
    assert "secret" not in ran.err


def test_a_recording_is_not_read_from_outside_the_folder_of_recordings(
    tillfree: Tillfree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TILLFREE_RECORDINGS_FOLDER", str(folder))
    for name in ("../secret.mp4", str(tmp_path / "secret.mp4"), "link.mp4"):
        ran = tillfree("serve", "--port", "0", "--database", "sqlite://", "--source", name)
        assert (ran.status, "recording" in ran.err) == (2, True)
