from dataclasses import replace

import numpy as np
import pytest

from store_sim.goods import look_of
from store_sim.meshes import Mesh, Textures, joined
from store_sim.scenery import (
    frame_mesh,
    gondola_mesh,
    gondolas_of,
    pack_mesh,
    paints,
    room_meshes,
    room_of,
    surface_mesh,
    trolley_mesh,
)
from tests.store_sim.pictured import CRISPS, WATER, a_camera, a_shop
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout, Surface


def turned(layout: StoreLayout, angle_rad: float) -> StoreLayout:
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    turn = np.eye(4)
    turn[:2, :2] = [[cosine, -sine], [sine, cosine]]
    bins = []
    for a_bin in layout.bins:
        assert a_bin.box is not None
        bins.append(replace(a_bin, box=replace(a_bin.box, world_from_box=turn @ a_bin.box.world_from_box)))
    return replace(layout, bins=tuple(bins))


def room_walls(layout: StoreLayout) -> list[Mesh]:
    gondolas = gondolas_of(layout)
    paint = paints(Textures(), np.random.default_rng(0))
    meshes = room_meshes(layout, gondolas, room_of(layout, gondolas), paint)
    return [mesh for mesh in meshes if mesh.material[0] == paint.wall]


def test_gondolas_are_found_from_bins_however_they_are_turned() -> None:
    for angle in (0.0, 0.7, np.pi / 2, 3.0):
        (gondola,) = gondolas_of(turned(a_shop(), angle))
        assert gondola.number == 1
        assert [float(shelf.low_m[2]) for shelf in gondola.shelves] == pytest.approx([0.3, 0.9])
        assert [shelf.covered for shelf in gondola.shelves] == [True, False]
        assert (gondola.high_m - gondola.low_m).tolist() == pytest.approx([2.0, 0.4, 1.1])


def test_gondolas_are_found_from_plates_too() -> None:
    boxes = [Box(np.diag([1.0, 1, 1, 1]), np.array([0.1, 0.4, 0.3])) for _ in range(2)]
    boxes[1].world_from_box[:3, 3] = [0.1, 0, 0]
    plates = tuple(Plate(f"4/1/{n}", 4, 1, n, box) for n, box in enumerate(boxes, start=1))
    (gondola,) = gondolas_of(StoreLayout("plates", plates=plates))
    assert gondola.number == 4
    assert (gondola.high_m - gondola.low_m).tolist() == pytest.approx([0.2, 0.4, 0.3])


def test_drawn_bins_make_no_gondola() -> None:
    drawn = Bin("b", camera_id="*", polygon_px=np.array([[0, 0], [9, 0], [9, 9.0]]))
    assert gondolas_of(StoreLayout("drawn", bins=(drawn,))) == ()


def test_it_is_darker_deep_in_a_covered_shelf() -> None:
    (gondola,) = gondolas_of(a_shop())
    before, front, back = gondola.shade(np.array([[2.0, 0.7, 0.5], [2.0, 0.45, 0.5], [2.0, 0.15, 0.5]]))
    assert before == 1.0
    assert before > front > back
    assert back > gondola.shade(np.array([[2.0, 0.15, 0.75]]))[0] > 0.2
    assert gondola.shade(np.array([[2.0, 0.15, 1.2]]))[0] > back


def test_the_room_holds_everything_and_lamps_hang_in_it() -> None:
    layout = a_shop(a_camera(), a_camera((-0.5, 3.0, 2.9), (2, 1, 1), camera_id="cam2"))
    room = room_of(layout, gondolas_of(layout))
    assert room.low_m[0] < -0.5
    assert room.high_m[2] > 2.9
    assert (room.lamps_m >= room.low_m).all()
    assert (room.lamps_m <= room.high_m).all()


def test_the_room_ends_at_doors_and_walls_leave_openings_there() -> None:
    line = np.array([[1.0, 3.5], [2.2, 3.5]])
    step = np.array([[0.0, -0.9], [4.0, -0.9], [4.0, 3.5], [2.2, 3.5], [2.2, 4.4], [1.0, 4.4], [1.0, 3.5], [0.0, 3.5]])
    layout = replace(a_shop(a_camera((2.0, 3.0, 2.5))), walkable_m=step, entrance_m=line, exit_m=line)
    room = room_of(layout, gondolas_of(layout))
    assert room.high_m[1] == pytest.approx(3.56)
    for wall in room_walls(layout):
        x, y, z = wall.points_m.T
        in_door = (y > 3.5) & (x > 1.05) & (x < 2.15) & (z < 2.0)
        assert not in_door.any()


def test_a_glass_front_takes_the_place_of_a_wall() -> None:
    panes = tuple(
        Surface("glass", np.array([[x, 3.5, 0], [x + 1.3, 3.5, 0], [x + 1.3, 3.5, 2.4], [x, 3.5, 2.4]]))
        for x in (0.0, 1.35, 2.7)
    )
    closed, opened = (replace(a_shop(a_camera((2.0, 3.0, 2.5))), surfaces=surfaces) for surfaces in ((), panes))
    assert max(float(wall.points_m[:, 1].min()) for wall in room_walls(closed)) > 3.4
    assert max(float(wall.points_m[:, 1].min()) for wall in room_walls(opened)) < 3.0


def test_a_gondola_has_boards_under_its_goods_and_stands_on_the_floor() -> None:
    layout = a_shop()
    gondolas = gondolas_of(layout)
    paint = paints(Textures(), np.random.default_rng(0))
    mesh = gondola_mesh(gondolas[0], gondolas, room_of(layout, gondolas), paint, 5)
    assert mesh.points_m[:, 2].min() == pytest.approx(0.0)
    assert set(mesh.thing.tolist()) == {5}
    for height in (0.3, 0.9):
        tops = (np.abs(mesh.points_m[:, 2] - height) < 0.003) & (mesh.normals[:, 2] > 0.9)
        assert np.ptp(mesh.points_m[tops][:, 0]) == pytest.approx(2.0, abs=0.05)
    assert not ((mesh.points_m[:, 2] > 0.302) & (mesh.points_m[:, 2] < 0.3 + 0.004 - 0.038)).any()


@pytest.mark.parametrize("product", [WATER, CRISPS, ProductRecord("1", "Crackers box", 250, 1, "EUR")])
def test_a_pack_is_as_large_as_it_looks_and_its_label_is_in_front(product: ProductRecord) -> None:
    look = look_of(product)
    mesh = pack_mesh(look, 0, 1, 2, 3, 4)
    wide, deep, high = look.size_m
    assert mesh.points_m[:, 2].min() == pytest.approx(0, abs=1e-6)
    assert np.ptp(mesh.points_m, axis=0).tolist() == pytest.approx([deep, wide, high], rel=0.08)
    label = mesh.points_m[(mesh.material == 2) & (mesh.normals[:, 0] > 0.7)]
    assert label[:, 0].max() > 0.3 * deep


def test_panes_and_trolleys_have_their_places() -> None:
    layout = a_shop()
    room = room_of(layout, gondolas_of(layout))
    paint = paints(Textures(), np.random.default_rng(0))
    pane = Surface("door", np.array([[0, 2, 0], [1.0, 2, 0], [1.0, 2, 2.1], [0, 2, 2.1]]))
    for mesh in (surface_mesh(pane, paint, room), frame_mesh(pane, room, paint)):
        assert mesh.points_m.min(0).tolist() == pytest.approx([0, 2, 0], abs=0.06)
        assert mesh.points_m.max(0).tolist() == pytest.approx([1, 2, 2.1], abs=0.06)
    trolley = joined([trolley_mesh(paint)])
    assert trolley.points_m[:, 0].min() > -0.1
    assert 0.9 < trolley.points_m[:, 2].max() < 1.1
