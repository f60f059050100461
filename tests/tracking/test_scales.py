import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_sim.autocheckout import AutoCheckoutSource, read_site
from tests.tracking.plates import RATE_HZ, START_NS, Load, a_gondola, seconds_of
from tracking.scales import ScaleSettings, WeightWatcher
from tracking.types import WeightChange
from vision.frames import ScaleSamples
from vision.layout import Plate

SEEDS = st.integers(0, 10_000)


def watch(
    plates: Sequence[Plate], blocks: Iterable[ScaleSamples], chosen: ScaleSettings | None = None
) -> list[WeightChange]:
    watcher = WeightWatcher(plates, chosen)
    changes = [change for block in blocks for change in watcher.update(block)]
    return changes + watcher.finish()


def changes_of(load: Load, samples: int = 12, start_ns: int = START_NS) -> list[WeightChange]:
    return watch(load.plates, load.blocks(samples, start_ns))


def a_load(seconds: float = 14.0, seed: int = 1, plates: int = 6) -> Load:
    return Load(a_gondola(plates=plates), seconds, np.random.default_rng(seed))


def test_a_pick_is_one_change_with_its_plate_mass_and_time() -> None:
    (change,) = changes_of(a_load().press("1/2/3", 5.4, 6.1, 120).put("1/2/3", 6.0, -250, coupling=0.01))
    assert change.plate_ids == ("1/2/3",)
    assert change.delta_g == pytest.approx(-250, abs=4 * change.sigma_g)
    assert change.sigma_g < 3
    assert seconds_of(change.time_ns) == pytest.approx(6.0, abs=0.3)
    assert change.start_ns <= change.time_ns <= change.end_ns


def test_the_curve_runs_from_the_old_level_at_zero_to_the_new_one() -> None:
    (change,) = changes_of(a_load().put("1/1/2", 6.0, 400))
    assert change.curve_g[:5] == pytest.approx(0, abs=6)
    assert change.curve_g[-5:] == pytest.approx(400, abs=6)
    assert (np.diff(change.curve_ns) > 0).all()
    assert change.curve_ns[0] < change.start_ns < change.curve_ns[-1]


def test_a_plate_is_unsettled_from_the_pick_until_it_is_told() -> None:
    load = a_load().put("1/2/3", 6.0, -250)
    watcher = WeightWatcher(load.plates)
    place_m = next(plate.box.centre_m for plate in load.plates if plate.plate_id == "1/2/3")
    since_s: list[float | None] = []
    for block in load.blocks():
        told = watcher.update(block)
        unsettled = watcher.unsettled()
        since_s.append(min((seconds_of(each.since_ns) for each in unsettled), default=None))
        assert all(each.place_m is not None and (each.place_m == place_m).all() for each in unsettled)
        if told:
            break
    assert since_s[-1] is None
    assert since_s[-2] == pytest.approx(6.0, abs=0.4)


@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_asking_what_settles_changes_nothing_and_says_what_will_be_told(seed: int) -> None:
    load = a_load(20.0, seed).put("1/2/3", 6.0, -250).put("1/2/4", 6.2, -120).put("1/1/1", 9.0, 180)
    watcher, settling, told = WeightWatcher(load.plates), [], []
    for block in load.blocks():
        told += watcher.update(block)
        settling += watcher.settling()
    told += watcher.finish()
    assert [(c.plate_ids, c.delta_g, c.time_ns) for c in told] == [
        (c.plate_ids, c.delta_g, c.time_ns) for c in watch(load.plates, load.blocks())
    ]
    for change in told:
        # The last that was said of it before it was told.
        last = next(each for each in reversed(settling) if set(each.plate_ids) & set(change.plate_ids))
        assert last.delta_g == pytest.approx(change.delta_g, abs=5)
        assert abs(last.time_ns - change.time_ns) < 400_000_000


def test_a_put_back_raises_the_level() -> None:
    (change,) = changes_of(a_load().put("1/1/1", 7.0, 61.5))
    assert change.delta_g == pytest.approx(61.5, abs=4 * change.sigma_g)


def test_a_touch_that_is_taken_back_is_no_change() -> None:
    load = a_load(24.0)
    load.press("1/1/3", 4.0, 4.6, 228).press("1/2/5", 7.0, 9.5, 90).press("1/1/1", 13.0, 17.0, 3000, hysteresis_g=1.5)
    assert changes_of(load) == []


def test_an_item_lifted_and_set_down_again_is_no_change() -> None:
    assert changes_of(a_load().put("1/1/4", 5.0, -300).put("1/1/4", 6.6, 300)) == []


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_chain_of_picks_gives_each_pick(count: int) -> None:
    load = a_load(20.0)
    for n in range(count):
        load.put("1/1/4", 5.0 + 1.8 * n, -80, coupling=0.01)
    (whole,) = changes_of(load)
    assert whole.delta_g == pytest.approx(-80 * count, abs=5)
    changes = whole.parts
    assert [change.plate_ids for change in changes] == [("1/1/4",)] * count
    assert [change.delta_g for change in changes] == pytest.approx([-80] * count, abs=5)
    assert [seconds_of(c.time_ns) for c in changes] == pytest.approx([5.0 + 1.8 * n for n in range(count)], abs=0.3)


@pytest.mark.parametrize("apart_s", [0.6, 1.0])
def test_two_hands_one_after_the_other_are_two_moments_of_one_change(apart_s: float) -> None:
    (change,) = changes_of(a_load(20.0).put("1/1/4", 5.0, -310).put("1/1/4", 5.0 + apart_s, -290))
    assert change.delta_g == pytest.approx(-600, abs=4)
    assert [part.delta_g for part in change.parts] == pytest.approx([-310, -290], abs=12)
    assert [seconds_of(p.time_ns) for p in change.parts] == pytest.approx([5.0, 5.0 + apart_s], abs=0.15)


def test_one_grip_of_two_has_one_moment() -> None:
    (change,) = changes_of(a_load(20.0).put("1/1/4", 5.0, -600, rise_s=0.15))
    assert change.parts == ()


def restless(seed: int) -> Load:
    """Plates of which the fifth strays by several grams all the time, as some do."""
    load = a_load(24.0, seed=seed)
    t = np.arange(len(load.grams)) / RATE_HZ
    load.grams[:, 4] += 9.0 * np.sin(2 * np.pi * 1.2 * t) + 2.0 * np.sin(2 * np.pi * 0.31 * t)
    return load


@pytest.mark.parametrize("seed", range(4))
def test_a_restless_plate_gives_its_share_of_what_stood_on_two(seed: int) -> None:
    (change,) = changes_of(restless(seed).put("1/1/4", 9.0, -40).put("1/1/5", 9.0, -38))
    assert set(change.plate_ids) == {"1/1/4", "1/1/5"}
    assert change.delta_g == pytest.approx(-78, abs=8)


@pytest.mark.parametrize("seed", range(4))
def test_a_restless_plate_beside_a_change_gives_nothing_of_its_own(seed: int) -> None:
    (change,) = changes_of(restless(seed).put("1/1/4", 9.0, -300))
    assert change.plate_ids == ("1/1/4",)


def test_levels_that_last_are_changes_of_their_own() -> None:
    changes = changes_of(a_load(24.0).put("1/1/4", 5.0, 80).put("1/1/4", 11.0, -80))
    assert [change.delta_g for change in changes] == pytest.approx([80, -80], abs=4)
    assert [change.parts for change in changes] == [(), ()]


@pytest.mark.parametrize("force_g", [-17.0, 14.0])
def test_a_hand_that_rests_before_it_takes_is_part_of_the_change(force_g: float) -> None:
    load = a_load(20.0).put("1/1/4", 5.0, force_g).put("1/1/4", 6.2, -62 - force_g)
    (change,) = changes_of(load)
    assert change.delta_g == pytest.approx(-62, abs=3)
    assert seconds_of(change.time_ns) == pytest.approx(6.2, abs=0.3)
    assert [part.delta_g for part in change.parts] == pytest.approx([force_g, -62 - force_g], abs=3)


def test_an_item_over_two_plates_of_which_one_is_handled_again_is_not_torn_apart() -> None:
    load = a_load(24.0).put("1/1/3", 6.0, -90).put("1/1/4", 6.0, -48).put("1/1/4", 8.2, -138)
    (change,) = changes_of(load)
    assert [set(part.plate_ids) for part in change.parts] == [{"1/1/3", "1/1/4"}, {"1/1/4"}]
    assert [part.delta_g for part in change.parts] == pytest.approx([-138, -138], abs=4)


def test_what_is_put_on_two_plates_is_told_as_soon_as_what_is_put_on_one() -> None:
    told_s = []
    for both in (False, True):
        load = a_load(20.0).put("1/1/3", 6.0, 400)
        if both:
            load.put("1/1/4", 6.0, 300)
        watcher = WeightWatcher(load.plates)
        told_s.append(next(seconds_of(int(b.timestamp_ns[-1])) for b in load.blocks() if watcher.update(b)))
    assert told_s[1] == pytest.approx(told_s[0], abs=0.5)


def test_a_shelf_that_bends_under_a_pressing_hand_gives_no_change_of_its_own() -> None:
    load = a_load(20.0, seed=3).press("1/1/4", 5.0, 6.2, 300).put("1/1/3", 6.0, -900, coupling=0.02)
    assert [change.plate_ids for change in changes_of(load)] == [("1/1/3",)]


def test_very_quiet_plates_do_not_take_a_bending_shelf_for_footsteps() -> None:
    load = Load(a_gondola(plates=9), 20.0, np.random.default_rng(0), quiet_g=0.1, wander_g=0.0, drift_g=0.02)
    (change,) = changes_of(load.put("1/1/5", 8.0, 300, coupling=0.02).put("1/1/4", 8.0, 30))
    assert set(change.plate_ids) == {"1/1/4", "1/1/5"}
    assert change.delta_g == pytest.approx(330, abs=10)


def test_an_item_over_two_plates_is_one_change_of_their_sum() -> None:
    (change,) = changes_of(a_load().put("1/1/4", 6.0, -300).put("1/1/5", 6.15, -140))
    assert change.plate_ids == ("1/1/4", "1/1/5")
    assert change.delta_g == pytest.approx(-440, abs=4)


def test_what_one_plate_loses_and_the_next_gains_is_told_as_a_change_of_nothing() -> None:
    (change,) = changes_of(a_load().put("1/1/4", 6.0, -300).put("1/1/5", 6.1, 300))
    assert change.delta_g == pytest.approx(0, abs=4 * change.sigma_g)
    assert [round(each.delta_g, -1) for each in change.by_plate] == [-300, 300]


def test_picks_at_once_from_plates_apart_are_two_changes() -> None:
    changes = changes_of(a_load().put("1/1/1", 6.0, -300).put("1/1/5", 6.1, -150).put("1/2/5", 6.0, -60))
    assert sorted(change.plate_ids for change in changes) == [("1/1/1",), ("1/1/5",), ("1/2/5",)]


def test_what_a_bending_shelf_gives_to_other_plates_is_no_change_of_its_own() -> None:
    (change,) = changes_of(a_load(seed=3).put("1/1/3", 6.0, -900, coupling=0.02))
    assert change.plate_ids == ("1/1/3",)


def test_a_light_product_is_found_while_somebody_walks_by() -> None:
    (change,) = changes_of(a_load(plates=12).shake(4.0, 9.0, 3.0).put("1/1/7", 7.0, -20))
    assert change.plate_ids == ("1/1/7",)
    assert change.delta_g == pytest.approx(-20, abs=4)


def test_footsteps_alone_change_nothing() -> None:
    assert changes_of(a_load(30.0, plates=12).shake(5.0, 25.0, 12.0)) == []


def test_a_slow_drift_changes_nothing() -> None:
    load = a_load(60.0)
    load.grams += np.linspace(0, 60, len(load.grams))[:, None]
    assert changes_of(load) == []


def test_columns_that_do_not_measure_are_ignored() -> None:
    load = a_load().put("1/1/5", 6.0, -200)
    load.grams[:, 0] = -8388607.0
    load.grams[:, 1] = np.nan
    load.grams[:, 5] = load.grams[:, 4]
    (change,) = changes_of(load)
    assert change.plate_ids == ("1/1/5",)
    assert change.delta_g == pytest.approx(-200, abs=3)


def test_plates_that_the_store_does_not_list_are_ignored() -> None:
    load = a_load().put("1/1/5", 6.0, -200).put("1/2/2", 8.0, -300)
    (change,) = watch([p for p in load.plates if p.shelf_id == 2], load.blocks())
    assert change.plate_ids == ("1/2/2",)


def test_a_pick_during_missing_messages_is_found() -> None:
    load = a_load(20.0).put("1/1/2", 8.0, -150)
    blocks = [b for b in load.blocks() if not 7.0 <= seconds_of(int(b.timestamp_ns[0])) < 9.5]
    (change,) = watch(load.plates, blocks)
    assert change.delta_g == pytest.approx(-150, abs=5 * change.sigma_g)
    assert seconds_of(change.start_ns) < 8.0 < seconds_of(change.end_ns)


def test_readings_missing_here_and_there_do_no_harm() -> None:
    load = a_load().put("1/1/2", 6.0, -150)
    load.grams[load.rng.random(load.grams.shape) < 0.2] = np.nan
    (change,) = changes_of(load)
    assert change.delta_g == pytest.approx(-150, abs=5)


def test_repeated_and_overlapping_blocks_count_once() -> None:
    load = a_load().put("1/1/2", 6.0, -150)
    blocks = list(load.blocks())
    names = blocks[0].plate_id
    doubled = []
    for block, following in zip(blocks, [*blocks[1:], blocks[-1]], strict=True):
        times = np.concatenate((block.timestamp_ns, following.timestamp_ns[:5]))
        doubled.append(ScaleSamples(times, names, np.concatenate((block.grams, following.grams[:5])), RATE_HZ))
        doubled.append(block)
    (change,), (expected,) = watch(load.plates, doubled), watch(load.plates, blocks)
    assert change.delta_g == pytest.approx(expected.delta_g)
    assert change.time_ns == expected.time_ns


def test_an_overloaded_plate_is_said_and_its_change_doubted() -> None:
    load = a_load().put("1/1/2", 6.0, 30_000)
    np.clip(load.grams, None, 20_000, out=load.grams)
    watcher = WeightWatcher(load.plates)
    changes = [change for block in load.blocks() for change in watcher.update(block)]
    assert watcher.saturated_plates == {"1/1/2"}
    (change,) = changes + watcher.finish()
    assert change.sigma_g > 0.9 * change.delta_g


def test_a_pick_just_before_the_end_is_told_at_the_end() -> None:
    load = a_load(10.0).put("1/1/2", 9.0, -150)
    watcher = WeightWatcher(load.plates)
    assert [change for block in load.blocks() for change in watcher.update(block)] == []
    (change,) = watcher.finish()
    assert change.delta_g == pytest.approx(-150, abs=5)


def test_silence_and_empty_blocks_give_nothing() -> None:
    plates = a_gondola()
    watcher = WeightWatcher(plates)
    assert watcher.finish() == []
    empty = ScaleSamples(np.zeros(0, np.int64), ("1/1/1",), np.zeros((0, 1), np.float32), RATE_HZ)
    assert watcher.update(empty) == []
    assert watcher.finish() == []


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="bin_s"):
        ScaleSettings(bin_s=0)
    with pytest.raises(ValueError, match="history_s"):
        ScaleSettings(history_s=1)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, offset=st.floats(-5000, 5000))
def test_the_zero_of_a_plate_means_nothing(seed: int, offset: float) -> None:
    load = a_load(seed=seed).put("1/1/2", 6.0, -150)
    before = changes_of(load)
    load.grams += offset * np.random.default_rng(seed).random(len(load.plates))
    after = changes_of(load)
    assert [change.plate_ids for change in after] == [change.plate_ids for change in before]
    assert [change.delta_g for change in after] == pytest.approx([change.delta_g for change in before], abs=0.1)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, samples=st.integers(1, 200))
def test_the_length_of_messages_changes_nothing(seed: int, samples: int) -> None:
    load = a_load(seed=seed).press("1/1/3", 5.5, 6.2, 150).put("1/1/2", 6.0, -150)
    short, long = changes_of(load, 12), changes_of(load, samples)
    assert [(c.plate_ids, c.time_ns, c.delta_g) for c in short] == [(c.plate_ids, c.time_ns, c.delta_g) for c in long]


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, later_ns=st.integers(-(10**17), 10**17))
def test_the_hour_changes_nothing(seed: int, later_ns: int) -> None:
    load = a_load(seed=seed).put("1/1/2", 6.0, -150)
    now, later = changes_of(load), changes_of(load, start_ns=START_NS + later_ns)
    assert [(c.plate_ids, c.delta_g) for c in now] == [(c.plate_ids, c.delta_g) for c in later]
    assert [c.time_ns + later_ns for c in now] == [c.time_ns for c in later]


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, force_g=st.floats(20, 2000), lasting_s=st.floats(0.2, 1.8))
def test_any_touch_and_return_gives_nothing(seed: int, force_g: float, lasting_s: float) -> None:
    assert changes_of(a_load(seed=seed).press("1/1/3", 5.0, 5.0 + lasting_s, force_g)) == []


@pytest.mark.slow
def test_light_and_heavy_products_are_found_over_random_noise_and_few_changes_are_invented() -> None:
    found = expected = invented = 0
    errors = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        load = Load(a_gondola(shelves=6, plates=12), 60.0, rng).shake(10.0, 40.0, 3.0)
        truth = []
        at_s = 5.0
        while at_s < 55:
            plate_id = load.plates[int(rng.integers(len(load.plates)))].plate_id
            delta_g = float(rng.choice([-1, 1]) * rng.uniform(10, 700))
            load.press(plate_id, at_s - 0.6, at_s + 0.1, rng.uniform(20, 230))
            load.put(plate_id, at_s, delta_g, coupling=0.012)
            load.press(load.plates[int(rng.integers(len(load.plates)))].plate_id, at_s + 1.5, at_s + 2.7, 150)
            truth.append((at_s, plate_id, delta_g))
            at_s += rng.uniform(4, 7)
        left = changes_of(load)
        for at_s, plate_id, delta_g in truth:
            match = next((c for c in left if plate_id in c.plate_ids and abs(seconds_of(c.time_ns) - at_s) < 1.0), None)
            expected += 1
            if match is not None:
                left.remove(match)
                found += 1
                errors.append((match.delta_g - delta_g) / match.sigma_g)
        invented += len(left)
    assert found >= 0.97 * expected
    assert invented <= 0.05 * expected
    # The stated deviation is one: no smaller than the errors, and not many times larger.
    assert 0.2 < float(np.median(np.abs(errors))) * 1.4826 < 1.2


def test_a_real_visit_has_one_change(shared: Path) -> None:
    nanostore = shared / "nanostore"
    layout = read_site(nanostore / "site")
    source = AutoCheckoutSource(nanostore / "BENCHMARK-1", layout.plates)
    (change,) = watch(layout.plates, (block for tick in source for block in tick.scales))
    assert change.plate_ids == ("1/5/11",)
    assert change.delta_g == pytest.approx(-623, abs=1.5)
    assert not math.isnan(change.sigma_g)
    assert change.sigma_g < 5
