"""Floors and doors of layouts, and ways around fixtures."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_sim.autocheckout import read_site
from store_sim.navigation import BODY_RADIUS_M, DOOR_M, Router, floor_plan, way_length_m, with_doors
from tests.store_sim.shops import a_shop
from vision.arrays import FloatArray
from vision.layout import Bin, Box, StoreLayout, polygon_margins


def a_box(x: float, y: float, width: float, depth: float, turn_rad: float = 0.0) -> Box:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(turn_rad), -np.sin(turn_rad)], [np.sin(turn_rad), np.cos(turn_rad)]]
    pose[:2, 3] = x, y
    return Box(pose, np.array([width, depth, 1.5]))


def a_room(*boxes: Box, size_m: float = 6.0) -> StoreLayout:
    bins = tuple(Bin(f"b{k}", "1", gondola_id=k, shelf_id=1, box=box) for k, box in enumerate(boxes))
    return StoreLayout(
        "room",
        bins=bins,
        walkable_m=np.array([[0, 0], [size_m, 0], [size_m, size_m], [0, size_m]]),
        entrance_m=np.array([[0.5, 0], [1.5, 0]]),
        exit_m=np.array([[0.5, 0], [1.5, 0]]),
    )


WALL = a_box(1.0, 2.8, 5.0, 0.4)  # from x = 1 to 6: one gets past it on the left only


def test_clearance_is_the_distance_to_the_nearest_fixture_or_wall() -> None:
    plan = floor_plan(a_room(WALL))
    points = np.array([[3.0, 2.0], [3.0, 3.0], [0.3, 5.0], [-0.5, 3.0], [3.0, 5.0]])
    assert plan.clearances_m(points) == pytest.approx([0.8, -0.2, 0.3, -0.5, 1.0], abs=0.06)


def test_clearance_is_the_same_however_many_threads_measure_it() -> None:
    room = a_room(WALL, a_box(2.0, 4.0, 0.7, 0.4, 0.5), size_m=30.0)
    threads = cv2.getNumThreads()
    try:
        plans = []
        for count in (1, 2):
            cv2.setNumThreads(count)
            plans.append(floor_plan(room))
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(plans[0].clearance_m, plans[1].clearance_m)


def test_ways_are_the_same_whether_they_were_kept_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = floor_plan(a_room(WALL))
    goals = [np.array(goal) for goal in ((5.0, 4.5), (2.0, 5.0), (4.0, 5.5), (5.0, 4.5))]
    start = np.array([5.0, 1.0])
    kept = Router(plan)
    ways = [kept.route(start, goal) for goal in goals]
    monkeypatch.setattr("store_sim.navigation.KEPT_BYTES", 0)  # room for one
    forgetful = Router(plan)
    for goal, way in zip(goals, ways, strict=True):
        np.testing.assert_array_equal(forgetful.route(start, goal), way)
    assert len(ways[0]) > 1


def test_ways_over_an_endless_floor_take_coarse_cells() -> None:
    router = Router(floor_plan(a_room(WALL, size_m=1e6)))
    way = router.route(np.array([3.0, 1.0]), np.array([9e5, 9e5]))
    assert way[-1].tolist() == [9e5, 9e5]


def test_fixtures_miles_apart_make_no_hall() -> None:
    room = replace(a_room(a_box(0, 0, 1, 0.4), a_box(9e5, 9e5, 1, 0.4)), walkable_m=None)
    with pytest.raises(
        ValueError, match=r"^layout room: expected fixtures within a hall, they stand over 90000\d m by"
    ):
        with_doors(room)


def test_a_door_is_found_in_a_wall_of_many_miles() -> None:
    layout = replace(a_room(WALL, size_m=1e6), entrance_m=None, exit_m=None)
    line = with_doors(layout).entrance_m
    assert line is not None
    assert np.linalg.norm(line[1] - line[0]) == pytest.approx(DOOR_M)


def test_a_turned_fixture_covers_what_it_stands_on_and_no_more() -> None:
    plan = floor_plan(a_room(a_box(3.0, 3.0, 1.5, 0.5, np.pi / 4)))
    middle = np.array([3.0, 3.0]) + 0.75 * np.sqrt([0.5, 0.5]) + 0.25 * np.array([-1, 1]) * np.sqrt(0.5)
    assert plan.clearances_m(middle) < -0.2
    beside_m = np.sqrt(0.5) - 0.5
    assert plan.clearances_m(np.array([3.0, 4.0])) == pytest.approx(beside_m, abs=0.06)


def test_a_way_leads_around_fixtures_and_is_short() -> None:
    plan = floor_plan(a_room(WALL))
    router = Router(plan)
    start, goal = np.array([3.0, 2.3]), np.array([3.0, 3.8])
    way = router.route(start, goal)
    assert way[-1].tolist() == goal.tolist()
    around = np.hypot(2.0 + BODY_RADIUS_M, 0.5) + np.hypot(2.0 + BODY_RADIUS_M, 0.6) + 0.4
    assert way_length_m(start, way) == pytest.approx(around, rel=0.1)
    assert router.route(np.array([0.5, 0.5]), np.array([0.5, 5.0])).tolist() == [[0.5, 5.0]]


@given(
    st.tuples(st.floats(0.3, 5.7), st.floats(0.3, 5.7)),
    st.tuples(st.floats(0.3, 5.7), st.floats(0.3, 5.7)),
)
def test_no_way_leads_through_a_fixture(one: tuple[float, float], other: tuple[float, float]) -> None:
    plan, router = ROOM, ROUTER
    start, goal = np.array(one), np.array(other)
    if plan.clearances_m(np.array([start, goal])).min() < BODY_RADIUS_M + 0.05:
        return
    corners = np.vstack([start, router.route(start, goal)])
    for a, b in pairwise(corners):
        assert plan.clearances_m(a + np.linspace(0, 1, 200)[:, None] * (b - a)).min() > 0.08


ROOM = floor_plan(a_room(WALL, a_box(2.0, 1.0, 1.0, 0.5, 0.6), a_box(3.5, 4.2, 0.5, 1.8)))
ROUTER = Router(ROOM)


def test_where_there_is_no_way_it_leads_straight_there() -> None:
    router = Router(floor_plan(a_room(a_box(0.0, 2.8, 6.0, 0.4))))
    assert router.route(np.array([3.0, 2.0]), np.array([3.0, 4.0])).tolist() == [[3.0, 4.0]]


def test_points_in_fixtures_are_pushed_out_and_others_left_alone() -> None:
    plan = floor_plan(a_room(WALL))
    points = np.array([[3.0, 2.65], [3.0, 1.0]])
    pushed = plan.pushed_clear(points, points, BODY_RADIUS_M)
    assert plan.clearances_m(pushed).min() >= BODY_RADIUS_M - plan.cell_m
    assert pushed[1].tolist() == [3.0, 1.0]


def test_no_room_for_anybody_is_refused() -> None:
    layout = replace(a_room(WALL), walkable_m=np.array([[0, 0], [0.3, 0], [0.3, 5.0], [0, 5.0]]))
    with pytest.raises(ValueError, match="expected room for a person"):
        Router(floor_plan(layout))


def test_doors_look_inwards_on_the_border_and_within_the_floor() -> None:
    plan = floor_plan(a_shop())
    assert plan.entrance.inward.tolist() == pytest.approx([1.0, 0.0])
    inner = replace(a_room(WALL), entrance_m=np.array([[0.5, 1.0], [1.5, 1.0]]))
    door = floor_plan(inner).entrance
    assert door.inward.tolist() == pytest.approx([0.0, 1.0])
    assert door.depth_m(np.array([[1.0, 1.4], [1.0, 0.2]])) == pytest.approx([0.4, -0.8])
    assert door.width_m == pytest.approx(1.0)


def test_what_a_layout_says_of_its_doors_is_kept() -> None:
    shop = a_shop()
    assert with_doors(shop) is shop or with_doors(shop).entrance_m is shop.entrance_m
    one = with_doors(replace(shop, entrance_m=None))
    assert one.entrance_m is shop.exit_m


def test_a_layout_with_nothing_in_the_world_has_no_floor() -> None:
    with pytest.raises(ValueError, match="place in the world, got none"):
        with_doors(StoreLayout("drawn"))


@pytest.mark.parametrize(
    "shop", [a_shop(has_doors=False), replace(a_room(WALL), walkable_m=None, entrance_m=None, exit_m=None)]
)
def test_a_derived_floor_lies_before_the_fronts_and_its_door_far_from_them(shop: StoreLayout) -> None:
    layout = with_doors(shop)
    assert layout.walkable_m is not None
    assert layout.entrance_m is not None
    boxes = [b.box for b in shop.bins if b.box is not None]
    for box in boxes:
        before = (box.world_from_box @ [box.size_m[0] / 2, -0.5, 0, 1])[:2]
        assert polygon_margins(layout.walkable_m, before[None])[0] > 0
    assert np.linalg.norm(np.diff(layout.entrance_m, axis=0)) == pytest.approx(DOOR_M)
    assert np.abs(polygon_margins(layout.walkable_m, layout.entrance_m)).max() < 0.02


def nearest_m(points: FloatArray, point: FloatArray) -> float:
    return float(np.linalg.norm(points - point, axis=1).min())


def test_the_derived_floor_of_the_nanostore_is_its_aisle(shared: Path) -> None:
    layout = with_doors(read_site(shared / "nanostore" / "site"))
    assert layout.walkable_m is not None
    # Known from its pictures: about x 0 to 4.4, y -1.46 to 0.09 (the last gondola reaches to 4.51).
    low, high = layout.walkable_m.min(axis=0), layout.walkable_m.max(axis=0)
    assert low.tolist() == pytest.approx([0.0, -1.46], abs=0.1)
    assert high.tolist() == pytest.approx([4.5, 0.09], abs=0.1)
    assert layout.entrance_m is not None
    assert layout.entrance_m[:, 1] == pytest.approx([-1.41, -1.41], abs=0.05)
    assert nearest_m(layout.entrance_m, np.array([4.4, -1.4])) > 2.0
