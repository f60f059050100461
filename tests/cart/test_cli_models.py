"""Tests of ``tillfree models evaluate``; the other commands of ``tillfree models`` are tested in ``test_cli``."""

from pathlib import Path

import pytest

from tests.cart.running import Tillfree, refusal


@pytest.mark.slow
def test_models_are_measured_on_rendered_shops(tillfree: Tillfree, tmp_path: Path) -> None:
    arguments = ["models", "evaluate", "--shops", "1", "--pictures", "3", "--folder", str(tmp_path)]
    ran = tillfree(*arguments, "--weights", "tillfree")
    assert ran.status == 0, ran.err
    assert "people: AP50" in ran.out
    assert "which hands hold: F1" in ran.out
    assert "in 3 pictures of 1 shop" in ran.out
    (shop,) = tmp_path.rglob("shop*.npz")
    before = shop.stat().st_mtime_ns
    assert tillfree(*arguments, "--weights", "tillfree-people").status == 0
    assert shop.stat().st_mtime_ns == before


def test_joints_alone_cannot_be_measured(tillfree: Tillfree) -> None:
    ran = tillfree("models", "evaluate", "--weights", "tillfree-joints")
    assert refusal(ran) == "tillfree-joints: expected a detector of people, got 0 detectors"
