from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_sim.figures import Figures
from store_sim.happenings import ActiveFault, Happenings, Knock, PlateLoad, PlatePress
from store_sim.scales import (
    RATE_HZ,
    SAMPLES_A_BLOCK,
    PlateSensors,
    PlateSettings,
    distances_m,
    gondola_lines_m,
    planned_masses_g,
)
from store_sim.scenarios import Fault, FaultKind
from vision.arrays import FloatArray, IntArray
from vision.frames import GateEvent, ScaleSamples
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout

START_NS = 1_900_000_000_000_000_000
STILL = PlateSettings(
    white_g=0, wander_g=0, hum_g=0, vibration_g=0, coupling=0, ring=0, creep=0, drift_g=0, hold_share=0, day_spread=0
)


def store(gondolas: int = 2, shelves: int = 2, plates: int = 6, mass_g: float = 100.0) -> StoreLayout:
    made = []
    for gondola in range(1, gondolas + 1):
        for shelf in range(1, shelves + 1):
            for number in range(1, plates + 1):
                pose = np.eye(4)
                pose[:3, 3] = [0.1 * number + 2.0 * gondola, 0.3, 0.4 * shelf]
                box = Box(pose, np.array([0.1, 0.4, 0.35]))
                made.append(Plate(f"{gondola}/{shelf}/{number}", gondola, shelf, number, box))
    bins = tuple(
        Bin(plate.plate_id, "s", plate.gondola_id, plate.shelf_id, (plate.plate_id,), plate.box) for plate in made
    )
    product = ProductRecord("s", "Soup", mass_g, 100, "EUR")
    return StoreLayout("test", bins=bins, plates=tuple(made), products=(product,))


def walkers(*places_m: tuple[float, float], speed_mps: float = 0.65, stride: float = 0.0) -> Figures:
    n = len(places_m)
    return Figures(
        tuple(f"p{k}" for k in range(n)),
        np.zeros(n, int),
        np.zeros(n, int),
        np.full(n, 1.7),
        np.array(places_m, float).reshape(n, 2),
        np.zeros(n),
        np.full(n, speed_mps),
        np.full(n, stride),
        np.full((n, 2, 3), np.nan),
        np.zeros((n, 2)),
        np.zeros((n, 2), bool),
        np.zeros(n, bool),
        np.zeros(n, bool),
    )


def ns(time_s: float) -> int:
    return START_NS + round(time_s * 1e9)


def played(
    layout: StoreLayout,
    plates: PlateSettings,
    happens: Sequence[tuple[float, Happenings]] = (),
    seconds: float = 4.0,
    seed: int = 1,
    people: Callable[[float], Figures] = lambda time_s: walkers(),
) -> list[ScaleSamples]:
    sensors = PlateSensors(layout, np.random.default_rng(seed), plates)
    told: list[ScaleSamples] = []
    waiting = sorted(happens, key=lambda entry: entry[0])
    for step in range(round(seconds * 30)):
        time_s = step / 30
        now = Happenings()
        if waiting and waiting[0][0] <= time_s:
            now = waiting.pop(0)[1]
        sensors.feel(now, people(time_s), ns(time_s))
        told += sensors.messages(ns(time_s))
    return told


def curve(blocks: Sequence[ScaleSamples], plate_id: str) -> tuple[IntArray, FloatArray]:
    own = [block for block in blocks if plate_id in block.plate_id]
    times = np.concatenate([block.timestamp_ns for block in own])
    return times, np.concatenate([block.grams[:, block.plate_id.index(plate_id)] for block in own]).astype(float)


def loaded(plate_id: str, at_s: float, grams: float, rise_s: float = 0.1) -> tuple[float, Happenings]:
    return at_s, Happenings(loads=(PlateLoad(plate_id, ns(at_s), grams, rise_s),))


def failing(kind: FaultKind, target: str | None, at_s: float, seconds: float, amount: float | None) -> Happenings:
    fault = Fault(at_s, kind, target, seconds, amount)
    return Happenings(faults=(ActiveFault(fault, ns(at_s), ns(at_s + seconds)),))


def test_blocks_have_twelve_samples_of_one_gondola_at_60_hz() -> None:
    for block in played(store(), PlateSettings()):
        assert len(block.timestamp_ns) == SAMPLES_A_BLOCK
        assert block.grams.dtype == np.float32
        assert block.rate_hz == RATE_HZ
        assert len({name.split("/")[0] for name in block.plate_id}) == 1
        assert np.abs(np.diff(block.timestamp_ns) - 1e9 / 60).max() < 1


def test_blocks_of_a_gondola_follow_each_other_without_a_gap() -> None:
    blocks = played(store(), PlateSettings())
    for gondola in ("1", "2"):
        own = [block for block in blocks if block.plate_id[0].startswith(f"{gondola}/")]
        times = np.concatenate([block.timestamp_ns for block in own])
        assert len(own) >= 18
        assert set(np.diff(times).tolist()) == {16_666_667}


def test_a_block_is_delivered_after_its_last_sample_and_soon() -> None:
    layout, settings_ = store(gondolas=3), PlateSettings()
    sensors = PlateSensors(layout, np.random.default_rng(0), settings_)
    late_s = []
    for step in range(120):
        sensors.feel(Happenings(), walkers(), ns(step / 30))
        for come_ns in range(ns(step / 30), ns((step + 1) / 30), 1_000_000):
            for block in sensors.messages(come_ns):
                late_s.append((come_ns - int(block.timestamp_ns[-1])) * 1e-9)
    assert min(late_s) >= settings_.delay_least_s
    assert np.mean(late_s) < settings_.delay_least_s + 2 * settings_.delay_mean_s


def test_nothing_comes_before_the_world_has_begun() -> None:
    assert PlateSensors(store(), np.random.default_rng(0)).messages(START_NS) == []


def test_equal_seeds_give_equal_readings_and_others_do_not() -> None:
    happens = [loaded("1/1/3", 1.0, -100.0)]
    one, same, other = (played(store(), PlateSettings(), happens, seed=seed) for seed in (5, 5, 6))
    assert [block.plate_id for block in one] == [block.plate_id for block in same]
    for first, second in zip(one, same, strict=True):
        np.testing.assert_array_equal(first.timestamp_ns, second.timestamp_ns)
        np.testing.assert_array_equal(first.grams, second.grams)
    assert any((first.grams != second.grams).any() for first, second in zip(one, other, strict=False))


@settings(deadline=None, max_examples=20)
@given(
    st.lists(
        st.tuples(st.floats(0.1, 2.5), st.sampled_from(["1/1/2", "1/2/4", "2/1/1"]), st.floats(-700, 700)), max_size=6
    )
)
def test_a_plate_ends_at_its_beginning_plus_all_that_came_and_went(loads: list[tuple[float, str, float]]) -> None:
    happens = [loaded(plate_id, at_s, grams) for at_s, plate_id, grams in loads]
    blocks = played(store(), STILL, happens)
    for plate_id in ("1/1/2", "1/2/4", "2/1/1", "2/2/6"):
        _, grams = curve(blocks, plate_id)
        due = sum(mass for _, name, mass in loads if name == plate_id)
        # All of it has come one second before the end, as one happening a step is played.
        assert grams[-12:].mean() - grams[0] == pytest.approx(due, abs=2 * STILL.quantum_g)


def test_a_load_comes_while_it_rises_and_not_before() -> None:
    times, grams = curve(played(store(), STILL, [loaded("1/1/3", 1.0, -200.0, 0.2)]), "1/1/3")
    after_s = (times - START_NS) * 1e-9
    assert np.abs(grams[after_s < 0.89] - grams[0]).max() == 0
    assert -170 < (grams[np.abs(after_s - 1.0).argmin()] - grams[0]) < -30
    assert grams[after_s > 1.12][0] - grams[0] == pytest.approx(-200, abs=1)


def test_a_press_leaves_nothing_behind() -> None:
    press = Happenings(presses=(PlatePress("1/1/3", ns(1.0), ns(1.6), 80.0),))
    times, grams = curve(played(store(), STILL, [(1.0, press)]), "1/1/3")
    after_s = (times - START_NS) * 1e-9
    pressed = grams[(after_s > 1.0) & (after_s < 1.6)] - grams[0]
    assert 60 < pressed.max() < 120
    assert grams[-1] == pytest.approx(grams[0], abs=STILL.quantum_g)


def test_neighbours_of_a_shelf_feel_a_little_of_a_load_and_other_shelves_nothing() -> None:
    settings_ = replace(STILL, coupling=0.02)
    blocks = played(store(), settings_, [loaded("1/1/3", 1.0, -1000.0)])
    for name in ("1/1/1", "1/1/2", "1/1/4", "1/1/5"):
        _, grams = curve(blocks, name)
        assert -20.5 <= grams[-1] - grams[0] <= 0.25
    for name in ("1/1/6", "1/2/3", "2/1/3"):
        _, grams = curve(blocks, name)
        assert grams[-1] == grams[0]


def test_neighbours_quiver_when_a_load_is_lifted_off_and_come_to_rest() -> None:
    times, grams = curve(played(store(), replace(STILL, ring=0.05), [loaded("1/1/3", 1.0, -1000.0)]), "1/1/2")
    after_s = (times - START_NS) * 1e-9
    assert np.abs(grams[(after_s > 0.9) & (after_s < 1.2)] - grams[0]).max() > 1
    assert np.abs(grams[after_s > 1.6] - grams[0]).max() <= 0.25


def test_a_full_plate_tells_no_more_than_it_can() -> None:
    layout = store(mass_g=1000.0)  # eight units of it stand there: 12 kg are left
    _, grams = curve(played(layout, STILL, [loaded("1/1/3", 1.0, 15_000.0)]), "1/1/3")
    assert grams.max() - grams[0] == pytest.approx(12_000, abs=1)


def test_a_stuck_plate_repeats_its_reading_and_then_tells_the_truth() -> None:
    happens = [(0.9, failing(FaultKind.PLATE_STUCK, "1/1/3", 1.0, 1.5, None)), loaded("1/1/3", 1.5, -300.0)]
    times, grams = curve(played(store(), replace(STILL, white_g=0.5), happens), "1/1/3")
    after_s = (times - START_NS) * 1e-9
    stuck = (after_s >= 1.0) & (after_s < 2.5)
    assert len(set(grams[stuck].tolist())) == 1
    assert len(set(grams[after_s < 0.95].tolist())) > 1
    assert grams[after_s > 2.5].mean() - grams[after_s < 1].mean() == pytest.approx(-300, abs=2)


def test_a_drift_runs_its_amount_over_its_seconds_and_stops() -> None:
    happens = [(0.9, failing(FaultKind.DRIFT, "1/1", 1.0, 2.0, -50.0))]
    blocks = played(store(), STILL, happens)
    times, grams = curve(blocks, "1/1/3")
    after_s = (times - START_NS) * 1e-9
    assert grams[after_s > 3.3].mean() - grams[0] == pytest.approx(-50, abs=1)
    assert grams[np.abs(after_s - 2.0).argmin()] - grams[0] == pytest.approx(-25, abs=7)
    _, elsewhere = curve(blocks, "1/2/3")
    assert elsewhere[-1] == elsewhere[0]


def test_a_bump_shakes_what_it_hits_and_fades() -> None:
    lively = replace(STILL, vibration_g=1.0, ambient_share=0.0, damping=0.06)
    happens = [(1.0, failing(FaultKind.BUMP, "1", 1.0, 0.5, 200.0))]
    blocks = played(store(), lively, happens)
    for name, shaken in (("1/2/5", True), ("2/2/5", False)):
        times, grams = curve(blocks, name)
        after_s = (times - START_NS) * 1e-9
        swing = np.abs(grams - grams[0])
        assert (swing[(after_s > 1.0) & (after_s < 1.3)].max() > 50) == shaken
        assert swing[after_s > 3].max() < 30
        assert swing[after_s < 0.95].max() <= 0.25


def test_a_knock_begins_with_the_swing_it_was_given() -> None:
    lively = replace(STILL, vibration_g=1.0, ambient_share=0.0, damping=0.02)
    knock = Happenings(knocks=(Knock(1, ns(1.0), 100.0),))
    blocks = played(store(), lively, [(1.0, knock)])
    swings = [np.abs(grams - grams[0]).max() for _, grams in (curve(blocks, f"1/1/{k}") for k in range(1, 7))]
    # At 60 Hz a swing of 16 Hz is seen four times, hardly ever at its height.
    assert 40 < np.median(swings) < 200


def test_people_who_walk_by_shake_the_plates_and_those_who_stand_do_not() -> None:
    def walking(time_s: float) -> Figures:
        return walkers((2.5, -0.4), stride=0.8 * time_s)

    quiet = played(store(), PlateSettings(), seconds=6)
    shaken = played(store(), PlateSettings(), seconds=6, people=walking)
    standing = played(store(), PlateSettings(), seconds=6, people=lambda time_s: walkers((2.5, -0.4), stride=0.3))
    noise = [
        np.concatenate([block.grams for block in b if "1/1/1" in block.plate_id]).std(axis=0)
        for b in (quiet, shaken, standing)
    ]
    assert np.median(noise[1] / noise[0]) > 1.5
    np.testing.assert_allclose(noise[2], noise[0])


def test_somebody_far_away_shakes_less() -> None:
    near_settings = replace(PlateSettings(), walk_length_m=3.0)
    noise = []
    for away_m in (0.5, 8.0):
        blocks = played(
            store(),
            near_settings,
            seconds=6,
            people=lambda t, a=away_m: walkers((2.5, -a), stride=0.8 * t),  # type: ignore[misc]
        )
        noise.append(np.concatenate([block.grams for block in blocks if "1/1/1" in block.plate_id]).std(axis=0))
    assert np.median(noise[0] / noise[1]) > 1.2


def test_a_door_shakes_the_whole_shop() -> None:
    gate = Happenings(gates=(GateEvent(ns(1.0), "exit", "passed-out"),))
    shaken = played(store(), PlateSettings(), [(1.0, gate)])
    for gondola in ("1", "2"):
        grams = np.concatenate([block.grams for block in shaken if block.plate_id[0].startswith(gondola)])
        assert np.median(grams[66:110].std(axis=0) / grams[:54].std(axis=0)) > 2


def test_a_door_far_away_shakes_less() -> None:
    gate = Happenings(gates=(GateEvent(ns(1.0), "exit", "passed-out"),))
    lively = replace(STILL, vibration_g=5.0, walk_length_m=3.0)
    strength = []
    for away_m in (1.0, 9.0):
        layout = replace(store(), exit_m=np.array([[2.0, -away_m], [3.0, -away_m]]))
        grams = np.concatenate([b.grams for b in played(layout, lively, [(1.0, gate)]) if "1/1/1" in b.plate_id])
        strength.append(float(np.median(grams[66:110].std(axis=0))))
    assert strength[0] > 3 * strength[1]


def test_readings_are_multiples_of_the_step_between_them() -> None:
    for block in played(store(), PlateSettings()):
        parts = block.grams.astype(float) / PlateSettings().quantum_g
        np.testing.assert_allclose(parts, np.rint(parts), atol=0.01)


def test_a_plate_that_does_not_answer_reads_nan() -> None:
    blocks = played(store(), replace(PlateSettings(), silent_share=1.0), [loaded("1/1/3", 1.0, -100)])
    assert all(np.isnan(block.grams).all() for block in blocks)


def test_two_plates_of_a_converter_repeat_their_readings_together() -> None:
    noisy = replace(STILL, white_g=50.0, hold_share=0.1)
    blocks = played(store(plates=8, shelves=1), noisy, seconds=20)
    held = np.diff(np.concatenate([block.grams for block in blocks if "1/1/1" in block.plate_id]), axis=0) == 0
    assert 0.03 < held.mean() < 0.25
    assert (held[:, 0] == held[:, 1]).mean() > 0.99
    assert (held[:, 0] == held[:, 2]).mean() < 0.99


def test_heavy_goods_swing_more_and_more_slowly() -> None:
    def swing(mass_g: float) -> tuple[float, float]:
        even = replace(STILL, vibration_g=2.0, ambient_share=1.0, vibration_shelf_spread=0, vibration_plate_spread=0)
        blocks = played(store(mass_g=mass_g), even, seconds=10)
        grams = np.concatenate([block.grams for block in blocks if "1/1/1" in block.plate_id]).astype(float)
        grams -= grams.mean(axis=0)
        crossings = np.abs(np.diff(np.sign(grams), axis=0)).mean()
        return float(grams.std()), float(crossings)

    (light_g, quick), (heavy_g, slow) = swing(30.0), swing(800.0)
    assert heavy_g > 4 * light_g
    assert slow < quick


def test_a_store_without_plates_says_nothing() -> None:
    assert played(StoreLayout("empty"), PlateSettings()) == []


def test_an_unknown_plate_is_refused() -> None:
    with pytest.raises(ValueError, match="one of the store's plates, got '9/9/9'"):
        played(store(), PlateSettings(), [loaded("9/9/9", 0.5, 10)])


def test_time_that_runs_backwards_is_refused() -> None:
    sensors = PlateSensors(store(), np.random.default_rng(0))
    sensors.feel(Happenings(), walkers(), ns(1.0))
    with pytest.raises(ValueError, match="expected a time from"):
        sensors.feel(Happenings(), walkers(), ns(0.5))


@pytest.mark.parametrize(
    ("name", "value"), [("white_g", -1.0), ("damping", 2.0), ("quantum_g", 0.0), ("drift_g", float("nan"))]
)
def test_settings_that_cannot_be_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"PlateSettings.{name}"):
        replace(PlateSettings(), **{name: value})


def test_an_item_on_two_plates_weighs_half_on_each() -> None:
    layout = store(gondolas=1, shelves=1, plates=2, mass_g=300.0)
    wide = Bin("wide", "s", 1, 1, ("1/1/1", "1/1/2"), layout.bins[0].box)
    assert planned_masses_g(replace(layout, bins=(wide,))) == {"1/1/1": 150.0, "1/1/2": 150.0}
    assert min(planned_masses_g(replace(layout, bins=())).values()) > 0


def test_a_gondola_is_a_line_along_its_plates() -> None:
    lines = gondola_lines_m(store(gondolas=1))
    np.testing.assert_allclose(np.sort(lines[1][:, 0]), [2.1, 2.7], atol=0.05)
    np.testing.assert_allclose(distances_m(lines[1][None], np.array([2.4, -0.5])), [1.0], atol=0.05)
    np.testing.assert_allclose(distances_m(lines[1][None], np.array([3.7, 0.5])), [1.0], atol=0.05)
