from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from store_sim.scale_fit import fit_settings, simulated_visit
from store_sim.scale_statistics import PlateRecording, PlateStatistics, statistics_of
from store_sim.scales import PlateSettings
from tests.store_sim.plates import benchmark, store
from vision.layout import StoreLayout

HELD_OUT_SEEDS = (1001, 1002, 1003, 1004)
"""Seeds that the fit has not seen."""

FACTORS = {
    "quiet_low_g": 1.3,
    "quiet_g": 1.3,
    "quiet_high_g": 1.6,
    "walk_low_g": 1.5,
    "walk_g": 1.6,
    "walk_high_g": 1.8,
    "white_g": 1.2,
    "white_spread": 1.5,
    "wander_g": 1.4,
    "wander_spread": 1.2,
    "wander_hz": 1.1,
    "wander_hz_spread": 1.3,
    "hum_g": 1.4,
    "hum_spread": 1.2,
    "hum_hz": 1.01,
    "hum_follows": 1.4,
    "vibration_g": 1.5,
    "vibration_exponent": 1.5,
    "vibration_shelf_spread": 1.5,
    "vibration_plate_spread": 1.2,
    "resonance_low_hz": 1.6,
    "resonance_hz": 1.3,
    "resonance_high_hz": 1.2,
    "resonance_at_mass_hz": 1.2,
    "resonance_exponent": 2.0,
    "resonance_shelf_spread": 1.5,
    "resonance_plate_spread": 1.3,
    "sharpness": 1.25,
    "burstiness": 3.0,
    "neighbour_correlation": 1.3,
    "ambient_share": 1.5,
    "loudest_share": 1.5,
    "drift_g": 1.4,
    "zero_g": 1.3,
    "zero_spread_g": 1.3,
    "quantum_g": 1.001,
    "hold_share": 1.5,
    "delay_least_s": 1.4,
    "delay_mean_s": 1.4,
    "stagger_s": 1.05,
    "step_g": 1.01,
    "fall_s": 1.4,
    "press_g": 1.4,
    "press_s": 1.5,
    "after_g": 4.0,
    "coupling": 2.0,
    "ring": 2.0,
}
"""How far a simulated statistic may lie from the real one, as a ratio. Left out are those whose value in one recording
is chance: correlations near 0, creep (none was seen) and the length over which steps fade (one walk of 2.7 m)."""


def test_a_simulated_visit_is_the_same_for_the_same_seed() -> None:
    one, same, other = (simulated_visit(store(), "1/2/4", 300.0, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.gondolas[1].grams, same.gondolas[1].grams)
    assert (one.gondolas[1].grams != other.gondolas[1].grams).any()


@pytest.mark.slow
def test_a_fit_finds_settings_again_that_made_a_recording() -> None:
    truth = replace(PlateSettings(), white_g=0.6, wander_g=0.8, vibration_g=5.0, ambient_share=0.2, day_spread=0.0)
    shown = [statistics_of(simulated_visit(store(), "2/3/5", 300.0, seed, truth), store()) for seed in range(50, 58)]
    middle = {one.name: float(np.nanmedian([getattr(each, one.name) for each in shown])) for one in fields(shown[0])}
    found = fit_settings(PlateStatistics(**middle), store(), seeds=range(4), rounds=5)
    assert found.white_g == pytest.approx(truth.white_g, rel=0.15)
    assert found.wander_g == pytest.approx(truth.wander_g, rel=0.3)
    assert found.vibration_g == pytest.approx(truth.vibration_g, rel=0.4)
    assert found.ambient_share == pytest.approx(truth.ambient_share, rel=0.4)


def test_a_fit_needs_a_store_with_plates() -> None:
    shown = statistics_of(simulated_visit(store(), "2/3/5", 300.0, 5), store())
    with pytest.raises(ValueError, match="store with plates"):
        fit_settings(shown, StoreLayout("empty"))


@pytest.fixture(scope="module")
def real(shared: Path) -> tuple[PlateRecording, StoreLayout]:
    return benchmark(shared)


def test_simulated_plates_show_the_statistics_of_real_ones(real: tuple[PlateRecording, StoreLayout]) -> None:
    recording, layout = real
    truth = statistics_of(recording, layout)
    shown = [
        statistics_of(
            simulated_visit(layout, "1/5/11", abs(truth.step_g), seed, replace(PlateSettings(), day_spread=0.0)), layout
        )
        for seed in HELD_OUT_SEEDS
    ]
    off = {}
    for name, factor in FACTORS.items():
        ratio = float(np.median([getattr(one, name) for one in shown])) / getattr(truth, name)
        if not 1 / factor <= ratio <= factor:
            off[name] = ratio
    assert not off


@pytest.mark.slow
def test_the_defaults_are_what_the_fit_finds(real: tuple[PlateRecording, StoreLayout]) -> None:
    recording, layout = real
    found = fit_settings(statistics_of(recording, layout), layout)
    usual = PlateSettings()
    off = {
        one.name: (getattr(found, one.name), getattr(usual, one.name))
        for one in fields(PlateSettings)
        if getattr(found, one.name) != pytest.approx(getattr(usual, one.name), rel=0.15, abs=0.002)
    }
    assert not off
