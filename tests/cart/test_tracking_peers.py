from pathlib import Path

import pytest

from cart.tracking_bench import crowd
from cart.tracking_peers import installed, peers, run_norfair, run_peer


def test_every_peer_that_is_installed_follows_a_crowd() -> None:
    frames = crowd(6, 20)
    for peer in peers():
        if not installed(peer):
            continue
        rows, seconds = run_peer(peer, frames, 30.0)
        assert len(rows) == 20
        assert max(len(ids) for ids, _ in rows) >= 4, peer.name
        assert seconds > 0


def test_a_python_without_norfair_is_said_in_one_line(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'norfair'\" >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(OSError, match="norfair did not run: ModuleNotFoundError: No module named 'norfair'"):
        next(run_norfair(fake, [crowd(2, 3)]))
