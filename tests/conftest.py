"""What tests in every package share."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings, ground truth and weights that the project may not carry itself."""
    folder = Path(os.environ.get("TILLFREE_SHARED") or PROJECT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"needs the shared recordings, expected at {folder} (set TILLFREE_SHARED)")
    return folder
