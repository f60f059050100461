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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what takes minutes and has a quicker test beside it, unless it is asked for."""
    if os.environ.get("TILLFREE_LONG"):
        return
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.skip(reason="takes minutes: make test LONG=1"))
