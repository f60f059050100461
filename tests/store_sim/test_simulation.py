"""A scenario played as its sensors tell it: which ticks there are, and what faults make of them."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store_sim.recording import RecordingSource
from store_sim.scenarios import Action, Fault, FaultKind, Place, Scenario, ScenarioEvent, ScenarioShopper
from store_sim.simulation import Simulation, as_played, record, turned
from store_sim.truth import TrueInteraction, TrueLine, TrueReceipt, TrueVisit, Truth
from vision.cameras import Camera
from vision.frames import Frame, Tick
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout
from vision.shelf import Handling

SECOND = 1_000_000_000
MUESLI, RICE = "2000000001012", "2000000001029"
SENSORS = frozenset({"scales", "joints"})


def make_camera(camera_id: str, x_m: float) -> Camera:
    """A small camera under the ceiling by the door that looks at the shelf."""
    ahead = np.array([0.0, 3.0, -1.5]) / np.linalg.norm([3.0, 1.5])
    right = np.array([1.0, 0.0, 0.0])
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = [right, np.cross(ahead, right), ahead]
    cam_from_world[:3, 3] = -cam_from_world[:3, :3] @ [x_m, 0.2, 2.5]
    intrinsics = np.array([[60.0, 0, 48], [0, 60, 27], [0, 0, 1]])
    return Camera(camera_id, intrinsics, np.zeros(5), cam_from_world, (96, 54))


def make_store() -> StoreLayout:
    """A room of 4 m by 3.4 m with one gondola along its far wall, two products, two cameras."""
    plates, bins = [], []
    for number in (1, 2, 3, 4):
        world_from_box = np.eye(4)
        world_from_box[:3, 3] = 1.0 + 0.3 * number, 3.0, 1.0
        box = Box(world_from_box, np.array([0.3, 0.4, 0.35]))
        plates.append(Plate(f"1/1/{number}", 1, 1, number, box))
    for first, sku in ((0, MUESLI), (2, RICE)):
        box = Box(plates[first].box.world_from_box, np.array([0.6, 0.4, 0.35]))
        ids = tuple(plate.plate_id for plate in plates[first : first + 2])
        bins.append(Bin(f"1/1/{first + 1}", sku, 1, 1, ids, box, capacity=12))
    return StoreLayout(
        name="corner",
        cameras=(make_camera("left", 1.0), make_camera("right", 3.0)),
        bins=tuple(bins),
        plates=tuple(plates),
        products=(
            ProductRecord(MUESLI, "Muesli", 500.0, 399, "EUR"),
            ProductRecord(RICE, "Rice", 1000.0, 249, "EUR"),
        ),
        walkable_m=np.array([[0.2, 0.0], [4.0, 0.0], [4.0, 2.9], [0.2, 2.9]]),
        entrance_m=np.array([[0.5, 0.0], [1.5, 0.0]]),
        exit_m=np.array([[2.5, 0.0], [3.5, 0.0]]),
    )


def make_scenario(*faults: Fault) -> Scenario:
    """Ada takes two packs of muesli and puts one back."""
    place = Place(1, 1, (1, 2))
    return Scenario(
        "visit",
        (ScenarioShopper("ada", 0.5),),
        (
            ScenarioEvent(6.0, "ada", Action.PICK, MUESLI, 2, place),
            ScenarioEvent(10.0, "ada", Action.PUT_BACK, MUESLI, 1, place),
        ),
        faults=faults,
    )


def play(*faults: Fault, seed: int = 1, **options: Any) -> list[Tick]:
    return list(Simulation(make_store(), make_scenario(*faults), seed, **({"sensors": SENSORS} | options)))


def frames(ticks: list[Tick], camera_id: str) -> list[Frame]:
    return [frame for tick in ticks for frame in tick.frames if frame.camera_id == camera_id]


def test_it_streams_plates_joints_and_gates_in_the_order_of_time() -> None:
    ticks = play()
    times_ns = np.array([tick.timestamp_ns for tick in ticks])
    assert (np.diff(times_ns) > 0).all()
    bodies = [tick.bodies for tick in ticks if tick.bodies is not None]
    assert np.median(np.diff([one.timestamp_ns for one in bodies])) == pytest.approx(SECOND / 15, abs=2)
    assert sum(len(block.timestamp_ns) for tick in ticks for block in tick.scales) > 300
    for tick in ticks:
        for block in tick.scales:
            assert block.timestamp_ns[-1] <= tick.timestamp_ns
    gates = [event for tick in ticks for event in tick.gates]
    assert [(event.event, event.code) for event in gates] == [("passed-in", "ada"), ("passed-out", None)]


def test_truth_and_receipts_tell_what_happened() -> None:
    simulation = Simulation(make_store(), make_scenario(), 1, sensors=SENSORS)
    assert simulation.true_receipts == {"ada": {}}
    for _ in simulation:
        pass
    assert simulation.true_receipts == {"ada": {MUESLI: 1}}
    assert [one.kind for one in simulation.truth.interactions] == [Handling.PICK, Handling.PUT_BACK]
    assert simulation.has_gates
    assert simulation.notices == ()


def test_its_length_is_an_estimate_until_the_end() -> None:
    simulation = Simulation(make_store(), make_scenario(), 1, sensors=SENSORS)
    assert simulation.duration_s > 10
    last_ns = 0
    for tick in simulation:
        last_ns = tick.timestamp_ns
    assert simulation.duration_s == pytest.approx((last_ns - simulation.start_ns) / SECOND, abs=0.2)


def test_only_the_sensors_asked_for_speak() -> None:
    assert all(tick.bodies is None for tick in play(sensors=frozenset({"scales"})))
    assert not any(tick.scales for tick in play(sensors=frozenset({"joints"})))
    with pytest.raises(ValueError, match="got radar"):
        play(sensors=frozenset({"radar"}))
    with pytest.raises(ValueError, match="got door"):
        play(sensors=frozenset({"cameras"}), cameras=("door",))


def test_a_store_without_plates_and_cameras_still_has_gates() -> None:
    store = make_store()
    bare = replace(store, plates=(), cameras=(), bins=tuple(replace(one, plate_ids=()) for one in store.bins))
    scenario = replace(make_scenario(), events=())
    ticks = list(Simulation(bare, scenario, 1, sensors=frozenset({"scales", "cameras"})))
    assert [len(tick.gates) for tick in ticks] == [1, 1]


def test_what_one_sensor_says_does_not_depend_on_the_others() -> None:
    alone, both = play(sensors=frozenset({"scales"})), play(sensors=SENSORS)
    one = [block for tick in alone for block in tick.scales]
    other = [block for tick in both for block in tick.scales]
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.grams, b.grams)
    single = play(sensors=frozenset({"cameras"}), cameras=("right",), pixels=False)
    pair = play(sensors=frozenset({"cameras"}), pixels=False)
    assert [f.timestamp_ns for f in frames(single, "right")] == [f.timestamp_ns for f in frames(pair, "right")]


def test_cameras_without_pixels_give_blank_frames_of_the_right_size_at_10_hz() -> None:
    simulation = Simulation(make_store(), make_scenario(), 1, sensors=frozenset({"cameras"}), pixels=False)
    assert simulation.camera_ids == ("left", "right")
    assert simulation.resolutions_wh == {"left": (96, 54), "right": (96, 54)}
    ticks = list(simulation)
    left = frames(ticks, "left")
    assert {frame.image.shape for frame in left} == {(54, 96, 3)}
    assert [frame.frame_idx for frame in left] == list(range(len(left)))
    assert set(np.diff([frame.timestamp_ns for frame in left])) <= {SECOND // 10, SECOND // 10 + 1, SECOND // 10 - 1}


def film(*cameras: str, seconds: float = 2.0) -> list[Frame]:
    """The first frames of the right camera, drawn; what is too much fog is only haze."""
    fault = Fault(1.0, FaultKind.CAMERA_FOGGED, "right", None, 7.0)
    moved = Fault(0.5, FaultKind.CAMERA_MOVED, "right", None, 20.0)
    simulation = Simulation(
        make_store(), make_scenario(moved, fault), 1, sensors=frozenset({"cameras"}), cameras=cameras
    )
    return frames(list(islice(simulation, round(10 * seconds))), "right")


def test_cameras_draw_what_they_see_and_another_camera_does_not_change_it() -> None:
    alone, together = film("right"), film("right", "left")
    assert len(alone) > 15
    for one, other in zip(alone, together, strict=True):
        assert (one.frame_idx, one.timestamp_ns) == (other.frame_idx, other.timestamp_ns)
        np.testing.assert_array_equal(one.image, other.image)
    contrast = {frame.frame_idx: float(frame.image.std()) for frame in alone}
    assert contrast[2] > 10
    assert contrast[15] < contrast[2] / 2  # what is left is mostly noise
    before, after = (next(f.image for f in alone if f.frame_idx == k).astype(float) for k in (2, 8))
    assert np.abs(before - after).mean() > 5


def test_it_remembers_the_truth_behind_its_last_frames_only() -> None:
    simulation = Simulation(make_store(), make_scenario(), 1, sensors=frozenset({"cameras"}), pixels=False)
    seen = []
    for tick in simulation:
        for frame in tick.frames:
            scene = simulation.scene(frame)
            assert scene is not None
            assert scene.camera.camera_id == frame.camera_id
            assert len(scene.figures) == len(scene.skeletons)
            seen.append(frame)
    assert simulation.scene(replace(seen[0], camera_id="door")) is None
    assert simulation.scene(replace(seen[-1], frame_idx=10**6)) is None


def test_a_dead_camera_leaves_a_gap_in_its_numbers() -> None:
    ticks = play(Fault(3.0, FaultKind.CAMERA_DEAD, "left", 2.0), sensors=frozenset({"cameras"}), pixels=False)
    left, right = ([frame.frame_idx for frame in frames(ticks, name)] for name in ("left", "right"))
    assert 18 <= len(right) - len(left) <= 21
    assert max(np.diff(left)) in (19, 20, 21, 22)
    assert set(np.diff(right)) == {1}


def test_a_turned_camera_sees_something_else_for_good() -> None:
    camera = make_camera("a", 1.0)
    quarter = turned(camera, np.pi / 2)
    np.testing.assert_allclose(quarter.position_m, camera.position_m, atol=1e-12)
    np.testing.assert_allclose(
        quarter.world_from_cam[:3, 2], camera.world_from_cam[:3, 0], atol=1e-12
    )  # what was to its right is now ahead
    fault = Fault(3.0, FaultKind.CAMERA_MOVED, "left", None, 10.0)
    simulation = Simulation(
        make_store(), make_scenario(fault), 1, sensors=frozenset({"cameras"}), pixels=False, cameras=("left",)
    )
    angles = []
    for tick in simulation:
        for frame in tick.frames:
            scene = simulation.scene(frame)
            assert scene is not None
            ahead = simulation.layout.cameras[0].cam_from_world[2, :3], scene.camera.cam_from_world[2, :3]
            angles.append(np.rad2deg(np.arccos(np.clip(ahead[0] @ ahead[1], -1, 1))))
    assert angles[0] == pytest.approx(0, abs=1e-3)
    assert angles[-1] == pytest.approx(10, abs=1e-6)
    assert len(set(np.round(angles, 3))) == 2


def test_a_skewed_clock_shifts_the_stamps_of_what_it_hits() -> None:
    ticks = play(Fault(3.0, FaultKind.CLOCK_SKEW, "joints", 2.0, 5.0))
    ahead = [(tick.bodies.timestamp_ns - tick.timestamp_ns) / SECOND for tick in ticks if tick.bodies is not None]
    assert set(np.round(ahead, 6)) == {0.0, 5.0}
    assert 28 <= sum(np.array(ahead) > 1) <= 31
    ticks = play(Fault(3.0, FaultKind.CLOCK_SKEW, "gondola 1".removeprefix("gondola "), 2.0, -5.0))
    behind = [(tick.timestamp_ns - block.timestamp_ns[-1]) / SECOND for tick in ticks for block in tick.scales]
    assert max(behind) > 4.9
    assert min(behind) < 1


def test_late_messages_come_later_and_in_order() -> None:
    usual, late = play(), play(Fault(3.0, FaultKind.MESSAGES_LATE, "joints", 2.0, 1.0))
    sent = [tick.bodies.timestamp_ns for tick in usual if tick.bodies is not None]
    came = [(tick.timestamp_ns, tick.bodies.timestamp_ns) for tick in late if tick.bodies is not None]
    assert [stamp for _, stamp in came] == sent
    delay_s = np.array([arrived - stamp for arrived, stamp in came]) / SECOND
    assert delay_s.max() == pytest.approx(1.0, abs=0.2)
    assert delay_s[-1] == 0
    assert (np.diff([arrived for arrived, _ in came]) > 0).all()


def test_late_scales_arrive_whole() -> None:
    usual, late = play(), play(Fault(3.0, FaultKind.MESSAGES_LATE, None, None, 3.0))
    sent = [block for tick in usual for block in tick.scales]
    came = [block for tick in late for block in tick.scales]
    assert len(came) == len(sent)
    for one, other in zip(came, sent, strict=True):
        np.testing.assert_array_equal(one.grams, other.grams)


def test_doubled_messages_come_twice() -> None:
    ticks = play(Fault(0.0, FaultKind.MESSAGES_DOUBLED))
    stamps = [int(block.timestamp_ns[0]) for tick in ticks for block in tick.scales]
    assert sorted(stamps) == sorted(list(set(stamps)) * 2)
    bodies = [tick.bodies.timestamp_ns for tick in ticks if tick.bodies is not None]
    assert len(bodies) == 2 * len(set(bodies))
    some = play(Fault(0.0, FaultKind.MESSAGES_DOUBLED, "joints", None, 0.3))
    bodies = [tick.bodies.timestamp_ns for tick in some if tick.bodies is not None]
    assert 0.15 < len(bodies) / len(set(bodies)) - 1 < 0.45


def test_what_is_late_at_the_end_arrives_all_the_same_and_time_goes_on() -> None:
    usual = play()
    ticks = play(Fault(0.0, FaultKind.MESSAGES_LATE, None, None, 3.0), Fault(0.0, FaultKind.MESSAGES_DOUBLED))
    assert (np.diff([tick.timestamp_ns for tick in ticks]) > 0).all()
    sent, came = (sum(len(tick.scales) for tick in some) for some in (usual, ticks))
    assert came == 2 * sent
    sent, came = (sum(tick.bodies is not None for tick in some) for some in (usual, ticks))
    assert came == 2 * sent


def test_a_power_cut_silences_everything_while_the_world_goes_on() -> None:
    simulation = Simulation(make_store(), make_scenario(Fault(5.0, FaultKind.POWER_CUT, None, 3.0)), 1, sensors=SENSORS)
    ticks = list(simulation)
    gaps_s = np.diff([tick.timestamp_ns for tick in ticks]) / SECOND
    assert gaps_s.max() == pytest.approx(3.0, abs=0.15)
    assert simulation.true_receipts == {"ada": {MUESLI: 1}}


def test_a_recording_replays_the_same_ticks(tmp_path: Path) -> None:
    told: list[float] = []
    simulation = Simulation(
        make_store(), make_scenario(), 3, sensors=frozenset({"scales", "joints", "cameras"}), pixels=False
    )
    record(simulation, tmp_path / "visit", progress=told.append)
    again = Simulation(
        make_store(), make_scenario(), 3, sensors=frozenset({"scales", "joints", "cameras"}), pixels=False
    )
    source = RecordingSource(tmp_path / "visit")
    assert source.seed == 3
    assert source.store == "corner"
    assert source.has_gates
    assert source.start_ns == again.start_ns
    for live, replayed in zip(again, source, strict=True):
        assert_same(replayed, live)
    assert told == sorted(told)
    assert told[-1] > 10
    assert source.notices == ()
    assert source.truth_path is not None
    assert source.layout_path is not None


def assert_same(got: Tick, expected: Tick) -> None:
    """Equal but for what is in the pictures."""
    assert got.timestamp_ns == expected.timestamp_ns
    assert got.gates == expected.gates
    assert len(got.scales) == len(expected.scales)
    for mine, theirs in zip(got.scales, expected.scales, strict=True):
        assert (mine.plate_id, mine.rate_hz) == (theirs.plate_id, theirs.rate_hz)
        np.testing.assert_array_equal(mine.timestamp_ns, theirs.timestamp_ns)
        np.testing.assert_array_equal(mine.grams, theirs.grams)
    assert (got.bodies is None) == (expected.bodies is None)
    if got.bodies is not None and expected.bodies is not None:
        assert (got.bodies.timestamp_ns, got.bodies.target_id) == (
            expected.bodies.timestamp_ns,
            expected.bodies.target_id,
        )
        np.testing.assert_array_equal(got.bodies.joints_m, expected.bodies.joints_m)
        np.testing.assert_array_equal(got.bodies.score, expected.bodies.score)
    assert [(f.camera_id, f.frame_idx, f.timestamp_ns, f.image.shape) for f in got.frames] == [
        (f.camera_id, f.frame_idx, f.timestamp_ns, f.image.shape) for f in expected.frames
    ]


def test_a_store_with_gates_that_said_nothing_is_recorded_as_one_with_gates(tmp_path: Path) -> None:
    scenario = make_scenario(Fault(0.0, FaultKind.POWER_CUT, None, 5.0))
    simulation = Simulation(make_store(), replace(scenario, events=()), 1, sensors=frozenset({"joints"}))
    record(simulation, tmp_path / "quiet")
    assert RecordingSource(tmp_path / "quiet").has_gates


def test_a_scenario_as_played_has_the_moments_at_which_things_happened() -> None:
    place = Place(1, 1, (1,))
    scenario = Scenario(
        "two",
        (ScenarioShopper("ada", 1.0, returns_at_s=40.0), ScenarioShopper("ben", 2.0)),
        (
            ScenarioEvent(5.0, "ada", Action.PICK, "a", 1, place),
            ScenarioEvent(6.0, "ben", Action.TOUCH, place=place, seconds=2.0),
            ScenarioEvent(8.0, "ada", Action.HAND_OVER, "a", 1, other="ben"),
            ScenarioEvent(9.0, "ben", Action.PUT_BACK, "a", 1, place),
        ),
        faults=(Fault(0.5, FaultKind.BUMP, "1"), Fault(7.0, FaultKind.DRIFT, "1")),
    )

    def handled(shopper: str, kind: Handling, at_s: float) -> TrueInteraction:
        return TrueInteraction(shopper, kind, 100 * SECOND + round(at_s * 1e9), 1, 1, ("1/1/1",), "a", 1)

    def visit(shopper: str, entered_s: float, left_s: float) -> TrueVisit:
        return TrueVisit(shopper, shopper, 100 * SECOND + round(entered_s * 1e9), 100 * SECOND + round(left_s * 1e9))

    truth = Truth(
        (handled("ada", Handling.PICK, 7.5), handled("ben", Handling.PUT_BACK, 12.25)),
        (visit("ada", 1.5, 20.0), visit("ben", 2.5, 21.0), visit("ada", 41.0, 50.0)),
        (TrueReceipt("ada", ()), TrueReceipt("ben", (TrueLine("b", 2),))),
    )
    played = as_played(scenario, truth, 100 * SECOND)
    assert [(event.shopper, event.t_s) for event in played.events] == [
        ("ben", 6.5),
        ("ada", 7.5),
        ("ada", 10.5),
        ("ben", 12.25),
    ]
    assert [(one.enters_at_s, one.leaves_at_s, one.returns_at_s) for one in played.shoppers] == [
        (1.5, 20.0, 41.0),
        (2.5, 21.0, None),
    ]
    assert [fault.t_s for fault in played.faults] == [0.5, 9.5]
    assert played.receipts == {"ada": {}, "ben": {"b": 2}}
