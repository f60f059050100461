"""Tests of store_sim.coverage."""

from dataclasses import replace

import numpy as np
import pytest

from store_sim.coverage import choose_cameras, named_cameras, visible
from vision.cameras import Camera
from vision.layout import Bin, Box, StoreLayout

DOWN = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])  # picture up is world +y


def camera(camera_id: str, x: float, y: float = -1.0) -> Camera:
    """A camera 2.5 m up that looks straight down."""
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = DOWN
    cam_from_world[:3, 3] = -DOWN @ [x, y, 2.5]
    intrinsics = np.array([[300.0, 0, 320], [0, 300, 180], [0, 0, 1]])
    return Camera(camera_id, intrinsics, np.zeros(5), cam_from_world, (640, 360))


def shelf(xs: range) -> tuple[Bin, ...]:
    bins = []
    for x in xs:
        place = np.eye(4)
        place[:3, 3] = (x, 0, 1)
        bins.append(Bin(f"b{x}", box=Box(place, np.array([0.4, 0.4, 0.3]))))
    return tuple(bins)


LAYOUT = StoreLayout(
    name="a long shelf", bins=shelf(range(6)), cameras=tuple(camera(f"c{x}", x) for x in (0, 0.05, 0.1, 2.5, 5))
)


def test_cameras_that_see_other_bins_come_before_near_copies() -> None:
    assert {"c2.5", "c5"} <= set(choose_cameras(LAYOUT, 4))


def test_one_of_several_cameras_sees_the_entrance() -> None:
    cameras = (*LAYOUT.cameras, camera("entrance", 20, 6), camera("entrance again", 20, 6))
    store = replace(LAYOUT, cameras=cameras, entrance_m=np.array([[19.5, 6.0], [20.5, 6.0]]))
    for count in (2, 3, 4):
        chosen = choose_cameras(store, count)
        assert "entrance" in chosen
        assert "entrance again" not in chosen
        assert set(chosen) - {"entrance"} == set(choose_cameras(LAYOUT, count - 1))
    assert choose_cameras(store, 1) == choose_cameras(LAYOUT, 1)


def test_a_camera_before_the_shelf_comes_before_those_above_and_behind_its_front() -> None:
    above, behind, before = camera("above", 2.5, 0.0), camera("behind", 2.5, 0.6), camera("before", 2.5, -0.6)
    assert choose_cameras(replace(LAYOUT, cameras=(above, behind, before)), 1) == ("before",)


def test_all_cameras_are_taken_when_there_are_not_more() -> None:
    assert choose_cameras(LAYOUT, 9) == tuple(c.camera_id for c in LAYOUT.cameras)


def test_what_lies_behind_or_far_from_a_camera_is_not_visible() -> None:
    points = np.array([[0.0, -1.0, 0.0], [0.0, -1.0, 3.0], [3.0, -1.0, 0.0]])
    assert visible(camera("c", 0), points).tolist() == [True, False, False]


def test_named_cameras_come_in_the_stores_order() -> None:
    assert named_cameras(LAYOUT, ["c5", "c0"]) == ("c0", "c5")


@pytest.mark.parametrize("count", [0, -1])
def test_at_least_one_camera_is_asked_for(count: int) -> None:
    with pytest.raises(ValueError, match="expected at least one camera"):
        choose_cameras(LAYOUT, count)


def test_an_unknown_camera_and_a_store_without_any_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no camera x, only c0, "):
        named_cameras(LAYOUT, ["x"])
    with pytest.raises(ValueError, match="no calibrated camera"):
        choose_cameras(StoreLayout(name="dark"), 2)
