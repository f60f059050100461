"""The world plays scenarios: what happens, when, where hands and bodies are, and who owes what."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store_sim.day import day_layout
from store_sim.figures import Whereabouts
from store_sim.navigation import floor_plan
from store_sim.rules import due_receipts, due_unpaid
from store_sim.scenarios import (
    Action,
    Fault,
    FaultKind,
    Role,
    Scenario,
    ScenarioEvent,
    ScenarioShopper,
    read_scenario,
    site_of,
)
from store_sim.world import FAREWELL_S, START_NS, STEPS_PER_S, World
from tests.store_sim.shops import (
    PLATES,
    UNSENSED,
    a_scenario,
    a_shop,
    at,
    event,
    mass_g,
    pick,
    played,
    receipts,
    sku_at,
)
from vision.arrays import FloatArray
from vision.layout import Box, StoreLayout
from vision.shelf import Handling

CASES = [
    *("ALL-SIMPLE-CHIP-1", "TEAM-8-1", "TEAM-PEI-1", "TEAM-PEI-JD-1"),
    *(f"cps-test-{k}" for k in ("01", 10, 11, 12, 19, 2, 20, 21, 22, 24, 4, 5, 6, 7, 8, 9)),
]


def every_action() -> Scenario:
    """Two shoppers and a clerk do everything that there is to do."""
    return a_scenario(
        [
            pick(8.0, "Ann", at(1, 1, 1, 2), 2),
            event(10.0, "Ben", Action.TOUCH, place=at(2, 1, 3), seconds=2.0),
            event(12.0, "Ann", Action.HOLD, place=at(1, 2, 3, 4), seconds=3.0),
            event(14.0, "Cem", Action.RESTOCK, place=at(2, 2, 1, 2), quantity=6),
            event(18.0, "Ann", Action.HAND_OVER, barcode="111", other="Ben"),
            event(20.0, "Ben", Action.CONCEAL, barcode="111"),
            event(22.0, "Ann", Action.PUT_BACK, place=at(2, 1, 5, 6), barcode="111"),
            event(24.0, "Ben", Action.PLACE_FOREIGN, place=at(1, 1, 5, 6), mass_g=180.0),
            event(26.0, "Ann", Action.SWAP_PLACE, other="Ben"),
            event(28.0, "Ben", Action.TAKE_FOREIGN, place=at(1, 1, 5, 6)),
            event(30.0, "Ann", Action.REACH_ACROSS, other="Ben"),
            pick(31.0, "Ann", at(1, 2, 5, 6)),
            pick(34.0, "Ann", at(UNSENSED, 1), barcode="311"),
            event(36.0, "Ann", Action.CONSUME, barcode="123"),
            event(38.0, "Ann", Action.DROP, barcode="311"),
        ],
        ScenarioShopper("Ann", 1.0),
        ScenarioShopper("Ben", 2.0),
        ScenarioShopper("Cem", 3.0, role=Role.STAFF),
    )


def test_every_action_can_be_done_and_the_right_ones_pay() -> None:
    scenario = every_action()
    world, steps = played(scenario)
    assert receipts(world) == due_receipts(scenario) == {"Ann": {"111": 1, "123": 1}, "Ben": {}}
    assert [v.shopper for v in world.truth.visits] == ["Ann", "Ben", "Cem"]
    assert all(v.left_ns is not None for v in world.truth.visits)
    done = [(i.shopper, i.kind, i.sku, i.quantity) for i in world.truth.interactions]
    assert ("Ben", Handling.PUT_BACK, None, 1) in done
    assert ("Ben", Handling.PICK, None, 1) in done
    assert sum(q for who, _, _, q in done if who == "Cem") == 6
    assert [i for step in steps for i in step.interactions] == list(world.truth.interactions)
    floor = world.goods.whereabouts == Whereabouts.FLOOR
    assert [world.goods.skus[k] for k in world.goods.sku_index[floor]] == ["311"]


def test_two_worlds_from_one_seed_are_equal_and_another_seed_differs() -> None:
    scenario = every_action()
    one, other = World(a_shop(), scenario), World(a_shop(), scenario)
    one.reset(5)
    other.reset(5)
    while not one.done:
        assert one.step() == other.step()
        a, b = one.figures, other.figures
        assert a.person_id == b.person_id
        assert a.position_m.tobytes() == b.position_m.tobytes()
        assert a.grip_m.tobytes() == b.grip_m.tobytes()
    assert other.done
    assert one.truth == other.truth
    assert one.goods.position_m.tobytes() == other.goods.position_m.tobytes()
    _, first = played(scenario, 5)
    _, second = played(scenario, 6)
    assert first != second


def test_a_world_that_is_reset_begins_anew() -> None:
    world, steps = played(every_action(), 3)
    world.reset(3)
    assert world.now_ns == START_NS
    again = []
    while not world.done:
        again.append(world.step())
    assert again == steps


@pytest.mark.parametrize("seed", [0, 1])
def test_a_hand_is_in_the_bin_when_goods_leave_or_arrive(seed: int) -> None:
    layout = a_shop()
    boxes: dict[tuple[int | None, int | None], list[Box]] = {}
    for a_bin in layout.bins:
        assert a_bin.box is not None
        boxes.setdefault((a_bin.gondola_id, a_bin.shelf_id), []).append(a_bin.box)
    world = World(layout, every_action())
    world.reset(seed)
    while not world.done:
        step = world.step()
        figures = world.figures
        for done in step.interactions:
            row = figures.person_id.index(done.shopper)
            grips = figures.grip_m[row][figures.reach[row] >= 1]
            near = [box.distances_m(grips).min() for box in boxes[done.gondola_id, done.shelf_id] if len(grips)]
            assert min(near) < 1e-6


def test_plates_lose_what_was_taken_and_gain_what_was_put() -> None:
    scenario = a_scenario(
        [
            pick(8.0, "Ann", at(1, 1, 1, 2), 3),
            event(14.0, "Ann", Action.PUT_BACK, place=at(2, 2, 1, 2), barcode="111", quantity=2),
        ]
    )
    world, steps = played(scenario)
    loads = [load for step in steps for load in step.loads]
    taken = [load for load in loads if load.plate_id.startswith("1/1/")]
    put = [load for load in loads if load.plate_id.startswith("2/2/")]
    assert sum(load.grams for load in taken) == pytest.approx(-3 * mass_g("111"), rel=0.08)
    assert sum(load.grams for load in put) == pytest.approx(2 * mass_g("111"), rel=0.08)
    first, second = world.truth.interactions
    assert set(first.plate_ids) == {load.plate_id for load in taken}
    assert set(second.plate_ids) == {load.plate_id for load in put}
    assert all(0 <= load.time_ns - first.time_ns < 0.15e9 for load in taken)
    assert all(0.03 < load.rise_s < 0.3 for load in loads)


def test_what_is_only_held_weighs_less_meanwhile_and_is_charged_to_nobody() -> None:
    scenario = a_scenario([event(8.0, "Ann", Action.HOLD, place=at(1, 1, 1, 2), seconds=4.0)])
    world, steps = played(scenario)
    assert receipts(world) == {"Ann": {}}
    assert not world.truth.interactions
    loads = [load for step in steps for load in step.loads]
    assert sum(load.grams for load in loads) == pytest.approx(0.0, abs=1e-6)
    assert min(load.grams for load in loads) < -0.1 * mass_g("111")
    seconds = [(load.time_ns - START_NS) / 1e9 for load in loads]
    assert min(seconds) == pytest.approx(8.0, abs=0.2)
    assert max(seconds) == pytest.approx(12.0, abs=0.2)
    assert (world.goods.whereabouts == Whereabouts.SHELF).all()


def test_without_delay_everything_happens_when_the_script_says() -> None:
    scenario = a_scenario([pick(8.0, "Ann", at(1, 1, 1, 2)), pick(16.0, "Ann", at(2, 2, 5, 6))])
    world, _ = played(scenario)
    assert [(i.time_ns - START_NS) / 1e9 for i in world.truth.interactions] == pytest.approx([8.0, 16.0], abs=1e-6)


def test_the_script_waits_for_who_is_on_the_way_and_never_swaps_events() -> None:
    scenario = a_scenario(
        [
            pick(4.0, "Ann", at(2, 2, 5, 6)),
            pick(4.5, "Ben", at(1, 1, 1, 2)),
            pick(4.6, "Ann", at(1, 2, 1, 2)),
            pick(9.0, "Ben", at(2, 1, 1, 2)),
        ]
    )
    world, _ = played(scenario)
    done = world.truth.interactions
    assert [i.shopper for i in done] == ["Ann", "Ben", "Ann", "Ben"]
    gaps = np.diff([i.time_ns / 1e9 for i in done])
    assert (gaps >= np.diff([e.t_s for e in scenario.events]) - 1.5 / STEPS_PER_S).all()


def test_shoppers_act_at_once_and_one_grip_takes_several_products() -> None:
    scenario = a_scenario(
        [
            pick(9.0, "Ann", at(1, 1, 1, 2)),
            pick(9.0, "Ben", at(2, 1, 1, 2)),
            pick(9.0, "Ann", at(1, 1, 3, 4)),
        ]
    )
    world, _ = played(scenario)
    # Ben's pick lies between Ann's in the file, so hers are two grips only if the file's order were the rule.
    times = {(i.shopper, i.sku): i.time_ns for i in world.truth.interactions}
    assert times["Ann", "111"] == times["Ann", "112"]
    assert abs(times["Ann", "111"] - times["Ben", "211"]) < 1e9


def test_strangers_who_act_at_once_do_not_do_it_in_the_same_instant() -> None:
    scenario = a_scenario([pick(9.0, "Ann", at(1, 1, 1, 2)), pick(9.0, "Ben", at(2, 1, 1, 2))])
    apart_s = []
    for seed in range(8):
        one, other = played(scenario, seed)[0].truth.interactions
        apart_s.append((other.time_ns - one.time_ns) * 1e-9)
    assert 0.05 < np.median(apart_s) < 0.5
    assert max(apart_s) < 1.2


def test_nobody_takes_what_is_under_anothers_hand_while_there_is_more() -> None:
    place = at(1, 1, 1, 2)
    scenario = a_scenario([event(9.0, "Ann", Action.TOUCH, place=place, seconds=4.0), pick(11.0, "Ben", place)])
    world = World(a_shop(), scenario)
    world.reset(0)
    nearest_m = []
    while not world.done:
        if world.step().interactions:
            hands = world.figures.grip_m[world.figures.reach >= 1]
            nearest_m.append(float(np.linalg.norm(hands[0] - hands[1])))
    assert nearest_m[0] > 0.05


@pytest.mark.parametrize("first", ["Ann", "Ben"])
@pytest.mark.parametrize("gap_s", [0.0, 0.4, 3.0])
def test_two_who_need_the_same_spot_do_not_block_each_other(first: str, gap_s: float) -> None:
    second = "Ben" if first == "Ann" else "Ann"
    scenario = a_scenario(
        [
            pick(9.0, first, at(1, 1, 1)),
            pick(9.0 + gap_s, second, at(1, 1, 1)),
            pick(14.0, second, at(1, 1, 1)),
            pick(14.0 + gap_s, first, at(1, 1, 1)),
        ],
        ScenarioShopper("Ann", 1.0),
        ScenarioShopper("Ben", 2.0),
    )
    world, _ = played(scenario)
    assert receipts(world) == {"Ann": {"111": 2}, "Ben": {"111": 2}}
    assert world.now_s < 45


def test_who_stands_in_the_way_of_an_earlier_event_steps_aside() -> None:
    # Ben is to hold something before the only bin that Ann needs, later than her, but is there first.
    scenario = a_scenario(
        [
            pick(15.0, "Ann", at(1, 1, 1)),
            event(15.2, "Ben", Action.HOLD, place=at(1, 1, 1, 2), seconds=1.0),
        ],
        ScenarioShopper("Ann", 12.0),
        ScenarioShopper("Ben", 1.0),
    )
    world, _ = played(scenario)
    assert receipts(world) == {"Ann": {"111": 1}, "Ben": {}}


def test_thirty_shoppers_fit_into_the_small_shop() -> None:
    names = [f"s{k:02d}" for k in range(30)]
    events = [
        pick(5.0 + 1.5 * k, name, at(1 + k % 2, 1 + k // 2 % 2, 1 + k % PLATES), 1) for k, name in enumerate(names)
    ]
    shoppers = [ScenarioShopper(name, 1.0 + 0.5 * k, leaves_at_s=60.0) for k, name in enumerate(names)]
    scenario = a_scenario(events, *shoppers)
    world = World(a_shop(), scenario)
    most = 0
    while not world.done:
        world.step()
        most = max(most, world.people_inside)
    assert most == 30
    assert receipts(world) == due_receipts(scenario)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 2**32 - 1), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2), st.integers(1, 6)), max_size=6)
)
def test_nobody_walks_through_fixtures_or_each_other(seed: int, visits: list[tuple[int, int, int]]) -> None:
    events = [
        pick(6.0 + 1.5 * k, f"s{who}", at(gondola, 1 + k % 2, number), 1)
        for k, (who, gondola, number) in enumerate(visits)
    ]
    shoppers = [ScenarioShopper(f"s{k}", 1.0 + k, leaves_at_s=16.0) for k in range(4)]
    layout = a_shop()
    plan = floor_plan(layout)
    world = World(layout, a_scenario(events, *shoppers))
    world.reset(seed)
    before: dict[str, FloatArray] = {}
    low, high = plan.obstacles_m.min(axis=1), plan.obstacles_m.max(axis=1)
    while not world.done:
        world.step()
        figures = world.figures
        for name, position in zip(figures.person_id, figures.position_m, strict=True):
            outside = np.maximum(np.maximum(low - position, position - high), 0)
            assert np.linalg.norm(outside, axis=1).min() > 0.14
            assert np.linalg.norm(position - before.get(name, position)) <= 2.0 / STEPS_PER_S
        before = dict(zip(figures.person_id, figures.position_m, strict=True))


def test_gates_know_codes_of_groups_and_staff_but_not_of_tailgaters() -> None:
    scenario = a_scenario(
        [pick(10.0, "Ben", at(1, 1, 1, 2)), pick(12.0, "Tom", at(2, 1, 1, 2))],
        ScenarioShopper("Ann", 1.0, group="family"),
        ScenarioShopper("Ben", 1.8, group="family", checks_in=False),
        ScenarioShopper("Tom", 2.4, checks_in=False),
        ScenarioShopper("Sue", 5.0, role=Role.STAFF),
    )
    world, steps = played(scenario)
    gates = [gate for step in steps for gate in step.gates]
    assert [(g.event, g.code) for g in gates if g.gate_id == "entrance"] == [
        ("passed-in", "Ann"),
        ("passed-in", "Ann"),
        ("passed-in", None),
        ("passed-in", "staff:Sue"),
    ]
    assert [(g.event, g.code) for g in gates if g.gate_id == "exit"] == [("passed-out", None)] * 4
    assert receipts(world) == {"Ann": {"111": 1}}
    assert world.truth.unpaid == (("Tom", "211", 1),) == due_unpaid(scenario)


def test_who_comes_back_makes_a_new_visit_and_one_receipt() -> None:
    scenario = a_scenario(
        [pick(7.0, "Ann", at(1, 1, 1, 2)), pick(35.0, "Ann", at(1, 1, 1, 2))],
        ScenarioShopper("Ann", 1.0, returns_at_s=28.0),
    )
    world, _ = played(scenario)
    first, second = world.truth.visits
    assert first.left_ns is not None
    assert first.left_ns < second.entered_ns == pytest.approx(START_NS + 28e9, abs=1e9)
    assert receipts(world) == {"Ann": {"111": 2}}


def test_entering_takes_place_when_the_script_says() -> None:
    world, _ = played(a_scenario([pick(9.0, "Ann", at(1, 1, 1, 2))], ScenarioShopper("Ann", 3.0)))
    assert world.truth.visits[0].entered_ns == pytest.approx(START_NS + 3e9, abs=0.5e9)


def test_the_world_is_done_some_seconds_after_the_last_has_left() -> None:
    world, _ = played(a_scenario([pick(9.0, "Ann", at(1, 1, 1, 2))]))
    left_ns = world.truth.visits[0].left_ns
    assert left_ns is not None
    assert FAREWELL_S <= (world.now_ns - left_ns) / 1e9 < FAREWELL_S + 3
    assert world.people_inside == 0


def test_an_empty_scenario_is_over_soon() -> None:
    world, steps = played(Scenario("nobody", (), ()))
    assert len(steps) == FAREWELL_S * STEPS_PER_S
    assert not world.truth.visits


def test_faults_begin_on_the_scripts_clock() -> None:
    faults = (Fault(4.4, FaultKind.BUMP, "1", None, 300.0), Fault(4.45, FaultKind.POWER_CUT, None, 2.0))
    scenario = a_scenario(
        [pick(4.3, "Ann", at(2, 2, 5, 6)), pick(5.0, "Ann", at(2, 2, 5, 6))], ScenarioShopper("Ann", 3.0), faults=faults
    )
    world, steps = played(scenario)
    bump, cut = [fault for step in steps for fault in step.faults]
    late_s = (world.truth.interactions[0].time_ns - START_NS) / 1e9 - 4.3
    assert late_s > 0.5
    assert (bump.start_ns - START_NS) / 1e9 == pytest.approx(4.4 + late_s, abs=0.05)
    assert cut.end_ns - cut.start_ns == 2_000_000_000


def test_more_than_two_hands_full_goes_into_the_bag_or_under_the_arm() -> None:
    events = [pick(8.0 + 3.0 * k, "Ann", at(1, 1 + k // 3, 1 + 2 * (k % 3))) for k in range(5)]
    world = World(a_shop(), a_scenario(events))
    most = 0
    while not world.done:
        world.step()
        most = max(most, int((world.goods.holder >= 0).sum()))
    assert most == 5
    assert sum(receipts(world)["Ann"].values()) == 5


@pytest.mark.parametrize(
    ("events", "number", "reason"),
    [
        ([event(6.0, "Ann", Action.PUT_BACK, place=at())], 1, "holds 0 of 111"),
        ([pick(6.0, "Ann", at(1, 1, 1, 2), 9)], 1, "8 of 111 stand there, not 9"),
        ([pick(6.0, "Ann", at(1, 1, 1, 2)), pick(8.0, "Ann", at(9, 1, 1))], 2, "no such place"),
        ([event(6.0, "Ann", Action.TAKE_FOREIGN, place=at())], 1, "nothing foreign"),
        ([event(6.0, "Ann", Action.DROP, barcode="111")], 1, "holds 0 of 111"),
    ],
)
@pytest.mark.parametrize("keeps_order", [True, False])
def test_what_can_never_happen_is_refused_with_file_event_and_reason(
    events: list[ScenarioEvent], number: int, reason: str, keeps_order: bool
) -> None:
    scenario = a_scenario(events, path=Path("cases/odd.json"))
    with pytest.raises(ValueError, match=rf"^cases/odd.json: event {number}: .*{reason}"):
        played(scenario, keeps_order=keeps_order)


def test_an_event_of_somebody_who_comes_only_after_it_is_refused() -> None:
    scenario = a_scenario([pick(6.0, "Ann", at())], ScenarioShopper("Ann", 9.0))
    with pytest.raises(ValueError, match=r"test: event 1: .*Ann is not in the store"):
        played(scenario)


def test_without_a_common_order_nobody_waits_for_strangers() -> None:
    # Ann's event is early but she comes late; with one clock for all, Ben would wait for her.
    scenario = a_scenario(
        [pick(5.0, "Ann", at(2, 2, 5, 6)), pick(7.0, "Ben", at(1, 1, 1, 2))],
        ScenarioShopper("Ann", 4.9),
        ScenarioShopper("Ben", 1.0),
    )
    own, _ = played(scenario, keeps_order=False)
    shared, _ = played(scenario)
    assert [i.shopper for i in shared.truth.interactions] == ["Ann", "Ben"]
    times = {i.shopper: (i.time_ns - START_NS) / 1e9 for i in own.truth.interactions}
    assert times["Ben"] == pytest.approx(7.0, abs=0.05)
    assert receipts(own) == receipts(shared)


def test_without_a_common_order_a_pick_waits_for_what_another_puts_there() -> None:
    scenario = a_scenario(
        [
            pick(8.0, "Ann", at(1, 1, 1, 2)),
            pick(10.0, "Ben", at(2, 2, 5, 6), barcode="111"),
            event(20.0, "Ann", Action.PUT_BACK, place=at(2, 2, 5, 6), barcode="111"),
        ]
    )
    world, _ = played(scenario, keeps_order=False)
    assert [(i.shopper, i.kind) for i in world.truth.interactions] == [
        ("Ann", Handling.PICK),
        ("Ann", Handling.PUT_BACK),
        ("Ben", Handling.PICK),
    ]
    assert receipts(world) == {"Ann": {}, "Ben": {"111": 1}}


def test_things_that_look_alike_and_jackets_that_come_off() -> None:
    scenario = a_scenario(
        [pick(9.0, "Ann", at()), pick(10.0, "Ben", at(2, 1))],
        ScenarioShopper("Ann", 1.0, outfit="red", jacket_off_at_s=9.5),
        ScenarioShopper("Ben", 2.0, outfit="red"),
    )
    world = World(a_shop(), scenario)
    looks = []
    while not world.done:
        world.step()
        figures = world.figures
        if len(figures) == 2:
            looks.append((figures.outfit[0] == figures.outfit[1], figures.build[0] == figures.build[1]))
    assert looks[0] == (True, True)
    assert looks[-1] == (False, True)


def test_a_layout_without_doors_gets_them() -> None:
    scenario = a_scenario([pick(9.0, "Ann", at())])
    world = World(a_shop(has_doors=False), scenario)
    while not world.done:
        world.step()
    assert receipts(world) == {"Ann": {sku_at(1, 1, 1): 1}}
    assert world.layout.entrance_m is not None


def nanostore_case(shared: Path, name: str) -> tuple[StoreLayout, Scenario]:
    scenario = read_scenario(shared / "nanostore" / "cases" / f"{name}.json")
    return day_layout(site_of(scenario, shared / "nanostore" / "site"), scenario), scenario


@pytest.mark.parametrize("name", CASES)
def test_labelled_visits_end_with_the_receipts_of_their_labels(shared: Path, name: str) -> None:
    layout, scenario = nanostore_case(shared, name)
    world = World(layout, scenario)
    late_s = 0.0
    while not world.done:
        world.step()
        late_s = max(late_s, world.now_s - world.script_s)
    assert receipts(world) == scenario.receipts
    assert len(world.truth.interactions) == len(scenario.events)
    assert late_s < 8
