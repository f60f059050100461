"""What the tests of the command share."""

import sys

import pytest

from cart.cli import main
from tests.cart.running import Ran, Tillfree


@pytest.fixture
def tillfree(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tillfree:
    """Runs the command within this process; what C libraries print is caught too."""

    def run(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["tillfree", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    return run
