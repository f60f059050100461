"""The outside tracker: what it is told, what it says, and how wrong it is."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from store_sim.figures import Figures
from store_sim.joints import JointSettings, JointTracker, joint_statistics
from store_sim.replay import open_recording
from vision.arrays import FloatArray
from vision.frames import JOINT_NAMES, TrackedBodies
from vision.layout import Bin, Box, StoreLayout

WRIST = JOINT_NAMES.index("right_wrist")
EXACT = JointSettings(
    sway_m=(0.0,) * 8,
    white_m=(0.0,) * 8,
    bias_m=0.0,
    gaps_per_s=(0.0,) * 8,
    shelf_gaps_per_s=0.0,
    body_gaps_per_s=0.0,
    starts_s=0.0,
    mixes_per_s=0.0,
    swaps_per_s=0.0,
)
BODY_M = np.array(
    [
        [0.05, 0, 1.63],
        [0, 0, 1.48],
        [0, 0.18, 1.42],
        [0, -0.18, 1.42],
        [0.05, 0.2, 1.1],
        [0.05, -0.2, 1.1],
        [0.1, 0.2, 0.86],
        [0.1, -0.2, 0.86],
    ]
)
ROOM = StoreLayout(
    "room",
    walkable_m=np.array([[0.0, 0], [6, 0], [6, 4], [0, 4]]),
    entrance_m=np.array([[1.0, 0], [2, 0]]),
    exit_m=np.array([[4.0, 0], [5, 0]]),
)


def people(*places: tuple[float, float], names: Sequence[str] | None = None) -> Figures:
    n = len(places)
    zero, no = np.zeros(n), np.zeros(n, bool)
    return Figures(
        person_id=tuple(names or [f"p{row}" for row in range(n)]),
        build=np.zeros(n, int),
        outfit=np.arange(n),
        height_m=zero + 1.75,
        position_m=np.array(places, float).reshape(n, 2),
        heading_rad=zero,
        speed_mps=zero,
        stride=zero,
        grip_m=np.full((n, 2, 3), np.nan),
        reach=np.zeros((n, 2)),
        carries=np.zeros((n, 2), bool),
        bag=no,
        trolley=no,
    )


def joints_of(figures: Figures) -> FloatArray:
    return np.asarray(np.column_stack([figures.position_m, np.zeros(len(figures))])[:, None] + BODY_M)


def watched(
    figures: Figures, seconds: float, settings: JointSettings, layout: StoreLayout = ROOM, seed: int = 0
) -> list[TrackedBodies]:
    tracker = JointTracker(layout, np.random.default_rng(seed), settings)
    joints = joints_of(figures)
    return [tracker.see(figures, joints, round(k / 15 * 1e9)) for k in range(round(15 * seconds))]


def test_without_errors_it_says_where_joints_are() -> None:
    figures = people((1, 1), (3, 2))
    for seen in watched(figures, 1, EXACT):
        assert len(seen.target_id) == 2
        np.testing.assert_allclose(seen.joints_m, joints_of(figures), atol=1e-12)
        assert ((seen.score > 0) & (seen.score <= 1)).all()


def test_target_ids_tell_nothing_and_stay() -> None:
    names = {seen.target_id for seen in watched(people((1, 1), (3, 2), names=["ada", "ben"]), 2, EXACT)}
    assert len(names) == 1
    ((one, other),) = names
    assert one != other
    assert one.isdigit()
    assert other.isdigit()


def test_only_people_inside_or_near_a_door_are_tracked() -> None:
    inside, at_the_door, outside, behind_glass = (2, 2), (1.5, -0.5), (1.5, -2), (6.3, 2)
    seen = watched(people(inside, at_the_door, outside, behind_glass), 1, EXACT)[-1]
    np.testing.assert_allclose(seen.joints_m[:, 1, :2], [inside, at_the_door])


def test_everybody_is_in_sight_where_no_floor_is_drawn() -> None:
    assert len(watched(people((90, 90)), 1, EXACT, StoreLayout("open"))[-1].target_id) == 1


def test_somebody_who_returns_gets_a_new_name() -> None:
    tracker = JointTracker(ROOM, np.random.default_rng(0), EXACT)
    names = []
    for k, place in enumerate([(2.0, 2.0)] * 15 + [(1.5, -3.0)] * 15 + [(2.0, 2.0)] * 15):
        figures = people(place)
        names.append(tracker.see(figures, joints_of(figures), round(k / 15 * 1e9)).target_id)
    assert names[14] != names[-1]
    assert names[29] == ()


def test_somebody_who_leaves_is_listed_without_joints_for_a_moment() -> None:
    tracker = JointTracker(ROOM, np.random.default_rng(0), EXACT)
    figures = people((2, 2), (4, 2), names=["ada", "ben"])
    before = tracker.see(figures, joints_of(figures), 0)
    alone = people((4, 2), names=["ben"])
    seen = [tracker.see(alone, joints_of(alone), round(k / 15 * 1e9)) for k in range(1, 15)]
    assert seen[0].target_id == before.target_id[::-1]
    assert np.isnan(seen[0].joints_m[1]).all()
    assert (seen[0].score[1] == 0).all()
    assert seen[-1].target_id == before.target_id[1:]


def test_an_empty_store_gives_nobody() -> None:
    box = Box(np.eye(4), np.array([1.0, 1.0, 2.0]))
    for bins in ((), (Bin("b", gondola_id=1, shelf_id=1, box=box),)):
        seen = watched(people(), 0.2, JointSettings(), replace(ROOM, bins=bins))
        assert all(one.target_id == () for one in seen)


def test_wrists_are_lost_more_often_inside_a_gondola() -> None:
    box = Box(np.eye(4), np.array([1.0, 1.0, 2.0]))
    shelf = StoreLayout("shop", bins=(Bin("b", gondola_id=1, shelf_id=1, box=box),))
    settings = replace(EXACT, gaps_per_s=(0.02,) * 8, shelf_gaps_per_s=1.0)
    inside, away = watched(people((0.5, 0.5), (5, 5)), 200, settings, shelf)[::5], 0
    lost = np.mean([np.isnan(seen.joints_m[:, :, 0]) for seen in inside], axis=0)
    assert lost[0, WRIST] > 5 * lost[1, WRIST]
    assert lost[0, away] < 0.05


def test_a_lost_joint_has_no_place_and_no_score() -> None:
    seen = watched(people((2, 2)), 60, replace(EXACT, gaps_per_s=(0.5,) * 8))
    lost = np.array([np.isnan(one.joints_m[0]).all(axis=1) for one in seen])
    assert 0.02 < lost.mean() < 0.3
    np.testing.assert_array_equal(lost, np.array([one.score[0] == 0 for one in seen]))


def test_a_wrist_at_a_shelf_is_seen_badly_and_seems_nearer_to_the_elbow() -> None:
    box = Box(np.eye(4), np.array([1.0, 1.0, 2.0]))
    shelf = StoreLayout("shop", bins=(Bin("b", gondola_id=1, shelf_id=1, box=box),))
    figures = people((0.5, 0.5), (5, 5))
    settings = replace(JointSettings(), bias_m=0.0, shelf_gaps_per_s=0.0, body_gaps_per_s=0.0, day_spread=0.0)
    seen = watched(figures, 120, settings, shelf)[15:]
    error = np.array([one.joints_m - joints_of(figures) for one in seen])
    forearm = np.array([one.joints_m[:, WRIST] - one.joints_m[:, WRIST - 2] for one in seen])
    assert np.nanstd(error[:, 0, WRIST]) > 1.5 * np.nanstd(error[:, 1, WRIST])
    short = np.linalg.norm(forearm, axis=2)
    assert 0.75 < np.nanmean(short[:, 0]) / np.nanmean(short[:, 1]) < 0.97
    badly = np.nanmean([one.score[:, WRIST] < 0.7 for one in seen], axis=0)
    assert 0.1 < badly[0] < 0.35
    assert badly[1] < 0.06


def test_days_differ() -> None:
    days = [watched(people((2, 2)), 30, JointSettings(), seed=seed) for seed in range(12)]
    doubt = [np.median(1 - np.concatenate([one.score for one in seen])) for seen in days]
    assert max(doubt) > 1.5 * min(doubt)


def test_who_was_lost_for_long_comes_back_under_another_name() -> None:
    seen = watched(people((2, 2)), 60, replace(EXACT, body_gaps_per_s=0.1, body_gap_s=4.0))
    assert len({name for one in seen for name in one.target_id}) > 2
    assert all(len(one.target_id) <= 1 for one in seen)


def test_a_body_is_lost_as_a_whole_and_comes_back_under_its_name() -> None:
    seen = watched(people((2, 2)), 120, replace(EXACT, body_gaps_per_s=0.2, renamed_after_s=np.inf))
    counts = {len(one.target_id) for one in seen}
    assert counts == {0, 1}
    assert len({name for one in seen for name in one.target_id}) == 1


def test_people_far_apart_are_never_confused() -> None:
    figures = people((1, 1), (3, 1))
    for seen in watched(figures, 60, replace(EXACT, mixes_per_s=5.0, swaps_per_s=5.0)):
        np.testing.assert_allclose(seen.joints_m, joints_of(figures), atol=1e-12)


def test_joints_of_people_close_together_are_mixed_up_for_a_moment() -> None:
    figures = people((1, 1), (1.3, 1))
    seen = watched(figures, 60, replace(EXACT, mixes_per_s=0.5))
    wrong = np.array([(np.abs(one.joints_m - joints_of(figures)) > 0.1).any() for one in seen])
    assert 0.01 < wrong.mean() < 0.5
    assert len({one.target_id for one in seen}) == 1


def test_identities_of_people_who_touch_may_be_swapped_for_good() -> None:
    seen = watched(people((1, 1), (1.3, 1)), 60, replace(EXACT, swaps_per_s=0.1))
    orders = [one.target_id for one in seen]
    assert len(set(orders)) == 2
    assert sum(a != b for a, b in zip(orders[1:], orders, strict=False)) < 30


def test_equal_seeds_give_equal_errors_and_others_do_not() -> None:
    figures = people((1, 1), (1.3, 1), (4, 3))
    one, two, other = (watched(figures, 5, JointSettings(), seed=seed) for seed in (3, 3, 4))
    for a, b in zip(one, two, strict=True):
        assert a.target_id == b.target_id
        np.testing.assert_array_equal(a.joints_m, b.joints_m)
        np.testing.assert_array_equal(a.score, b.score)
    assert not np.array_equal(one[-1].joints_m, other[-1].joints_m)


def test_a_bias_is_the_same_for_everybody_all_day() -> None:
    figures = people((1, 1), (4, 3))
    errors = [one.joints_m - joints_of(figures) for one in watched(figures, 3, replace(EXACT, bias_m=0.05))]
    np.testing.assert_allclose(errors, np.broadcast_to(errors[0][0, 0], np.shape(errors)), atol=1e-12)
    assert np.abs(errors[0]).max() > 0.001


def test_joints_that_are_seen_badly_are_more_wrong() -> None:
    figures = people(*((2.0 * k, 2.0) for k in range(10)))
    seen = watched(figures, 20, replace(JointSettings(), bias_m=0.0, body_gaps_per_s=0.0), StoreLayout("open"))
    error = np.concatenate([np.linalg.norm(one.joints_m - joints_of(figures), axis=2) for one in seen[15:]])
    score = np.concatenate([one.score for one in seen[15:]])
    assert np.nanmean(error[score > 0.95]) < 0.5 * np.nanmean(error[(score < 0.8) & (score > 0)])


def test_time_must_not_run_backwards_and_joints_must_fit() -> None:
    tracker = JointTracker(ROOM, np.random.default_rng(0))
    figures = people((1, 1))
    tracker.see(figures, joints_of(figures), 1000)
    with pytest.raises(ValueError, match="went back by 1 ns"):
        tracker.see(figures, joints_of(figures), 999)
    with pytest.raises(ValueError, match="joints"):
        tracker.see(figures, joints_of(figures)[:, :3], 2000)


def test_settings_must_name_every_joint() -> None:
    with pytest.raises(ValueError, match="sway_m: expected 8 numbers, got 1"):
        JointSettings(sway_m=(0.1,))
    with pytest.raises(ValueError, match="white_m: expected no number below 0"):
        JointSettings(white_m=(-0.1,) * 8)
    with pytest.raises(ValueError, match="gap_s: expected a number above 0"):
        JointSettings(gap_s=0)


def test_statistics_need_somebody_to_look_at() -> None:
    with pytest.raises(ValueError, match="tracked for 2 s"):
        joint_statistics(watched(people(), 5, EXACT))
    with pytest.raises(ValueError, match="tracked for 2 s"):
        joint_statistics(watched(people((1, 1)), 1, EXACT))


def test_simulated_errors_are_like_those_of_the_real_tracker(shared: Path) -> None:
    source = open_recording([shared / "nanostore" / "BENCHMARK-1"])
    real = joint_statistics([tick.bodies for tick in source if tick.bodies is not None])
    stills = [watched(people((2, 2)), 18, JointSettings(), seed=seed) for seed in range(8)]
    simulated = [joint_statistics(seen) for seen in stills]

    def mean(name: str) -> FloatArray:
        return np.asarray(np.mean([getattr(one, name) for one in simulated], axis=0))

    # A head nods against its neck and hands move in all of the real recording: at most the same, and not far less.
    ratio = mean("bone_sd_m") / real.bone_sd_m
    assert (ratio > 0.5).all()
    assert (ratio < 1.3).all()
    ratio = mean("shake_m") / real.shake_m
    assert (ratio > 0.4).all()
    assert (ratio < 1.4).all()
    assert np.abs(mean("score")[2] - real.score[2]).max() < 0.03
    assert real.rate_hz == pytest.approx(15, abs=0.5)
    assert real.missing_share.max() < 0.01
