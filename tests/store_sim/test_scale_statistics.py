from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from store_sim.scale_fit import simulated_visit
from store_sim.scale_statistics import PlateRecording, pick_of, record_plates, statistics_of
from store_sim.scales import PlateSettings
from tests.store_sim.plates import benchmark, store
from vision.frames import JOINT_NAMES, ScaleSamples, SourceNotice, Tick, TrackedBodies


class Ticks:
    """A source of ready ticks."""

    def __init__(self, ticks: list[Tick]) -> None:
        self._ticks = ticks
        self.start_ns = ticks[0].timestamp_ns
        self.duration_s = (ticks[-1].timestamp_ns - self.start_ns) * 1e-9
        self.camera_ids: tuple[str, ...] = ()
        self.resolutions_wh: dict[str, tuple[int, int]] = {}
        self.notices: tuple[SourceNotice, ...] = ()
        self.has_gates = False

    def __iter__(self) -> Iterator[Tick]:
        return iter(self._ticks)


def replayed(recording: PlateRecording) -> Ticks:
    """The recording as a source whose bodies walk as its walker did."""
    ticks = []
    for gondola in recording.gondolas:
        first = 0
        for came_ns, last_ns in zip(gondola.delivered_ns.tolist(), gondola.last_sample_ns.tolist(), strict=True):
            end = int(np.searchsorted(gondola.timestamp_ns, last_ns)) + 1
            block = ScaleSamples(
                gondola.timestamp_ns[first:end], gondola.plate_id, gondola.grams[first:end], rate_hz=60.0
            )
            ticks.append(Tick(came_ns, scales=(block,)))
            first = end
    for time_ns, place in zip(recording.walked_ns.tolist(), recording.walked_m, strict=True):
        names = ("walker",) if np.isfinite(place).all() else ()
        joints = np.full((len(names), len(JOINT_NAMES), 3), 1.4)
        joints[:, :, :2] = place
        bodies = TrackedBodies(time_ns, names, joints, np.ones((len(names), len(JOINT_NAMES))))
        ticks.append(Tick(time_ns, bodies=bodies))
    return Ticks(sorted(ticks, key=lambda tick: tick.timestamp_ns))


def test_a_source_is_recorded_with_its_blocks_and_its_walker() -> None:
    visit = simulated_visit(store(), "1/2/4", 300.0, seed=3)
    again = record_plates(replayed(visit))
    assert [gondola.gondola_id for gondola in again.gondolas] == [1, 2, 3]
    for one, other in zip(visit.gondolas, again.gondolas, strict=True):
        assert one.plate_id == other.plate_id
        np.testing.assert_array_equal(one.grams, other.grams)
        np.testing.assert_array_equal(one.delivered_ns, other.delivered_ns)
    walked = np.interp(visit.walked_ns, again.walked_ns, again.speed_mps)
    assert np.abs(walked - visit.speed_mps)[5:-20].mean() < 0.1


def test_the_pick_of_a_visit_is_found() -> None:
    pick = pick_of(simulated_visit(store(), "2/3/5", 300.0, seed=3))
    assert pick is not None
    assert pick[0] == "2/3/5"
    assert (pick[1] - 1_900_000_000_000_000_000) * 1e-9 == pytest.approx(12.55, abs=0.1)


def test_a_visit_without_a_pick_has_none() -> None:
    assert pick_of(simulated_visit(store(), "2/3/5", 0.0, seed=3)) is None


def test_statistics_find_the_settings_that_were_put_in() -> None:
    known = replace(PlateSettings(), quantum_g=0.5, hum_hz=25.0, hum_g=1.0, wander_g=2.0, wander_hz=1.2, day_spread=0.0)
    shown = statistics_of(simulated_visit(store(), "2/3/5", 300.0, 5, known), store())
    assert shown.quantum_g == pytest.approx(0.5, abs=1e-3)
    assert shown.hum_hz == pytest.approx(25.0, abs=0.2)
    assert shown.hum_g == pytest.approx(1.0, rel=0.4)
    assert shown.wander_g == pytest.approx(2.0, rel=0.4)
    assert shown.wander_hz == pytest.approx(1.2, rel=0.2)
    assert shown.step_g == pytest.approx(-300, abs=3)


def test_statistics_need_somebody_who_walks() -> None:
    visit = simulated_visit(store(), "2/3/5", 300.0, seed=3)
    standing = replace(visit, speed_mps=np.zeros_like(visit.speed_mps))
    with pytest.raises(ValueError, match="somebody walks"):
        statistics_of(standing, store())


def test_statistics_need_a_gondola() -> None:
    with pytest.raises(ValueError, match="at least one gondola"):
        statistics_of(PlateRecording((), np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0)), store())


def test_the_real_pick_is_found(shared: Path) -> None:
    recording, layout = benchmark(shared)
    pick = pick_of(recording)
    assert pick is not None
    assert pick[0] == "1/5/11"
    assert statistics_of(recording, layout).step_g == pytest.approx(-623, abs=1)
