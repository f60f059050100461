"""Tests of store_sim.ahead."""

import os
from functools import partial

import numpy as np
import pytest

from store_sim.ahead import AheadSimulation
from store_sim.demo_shop import demo_simulation
from store_sim.simulation import JOINTS, SCALES


def test_it_gives_the_ticks_and_the_truth_of_the_simulation_itself() -> None:
    there = demo_simulation(4, frozenset({SCALES, JOINTS}))
    with AheadSimulation(partial(demo_simulation, 4, frozenset({SCALES, JOINTS}))) as ahead:
        assert (ahead.start_ns, ahead.camera_ids, ahead.layout.name) == (there.start_ns, (), there.layout.name)
        with pytest.raises(ValueError, match="read to its end"):
            _ = ahead.truth
        for ours, theirs in zip(ahead, there, strict=True):
            assert (ours.timestamp_ns, ours.gates) == (theirs.timestamp_ns, theirs.gates)
            assert all(
                np.array_equal(mine.grams, other.grams, equal_nan=True)
                for mine, other in zip(ours.scales, theirs.scales, strict=True)
            )
        assert ahead.truth.receipts == there.truth.receipts
        assert ahead.duration_s == there.duration_s
        assert ahead.cpu_s > 0


def test_what_cannot_be_played_is_said_in_this_process() -> None:
    with pytest.raises(ValueError, match="expected sensors out of"):
        AheadSimulation(partial(demo_simulation, 4, frozenset({"smell"})))


def test_a_process_that_is_gone_is_an_error() -> None:
    with pytest.raises(OSError, match="ended early"):
        AheadSimulation(partial(os._exit, 3))


def test_it_can_be_left_before_its_end() -> None:
    with AheadSimulation(partial(demo_simulation, 4, frozenset({SCALES, JOINTS}))) as ahead:
        next(iter(ahead))
    assert not ahead._process.is_alive()
