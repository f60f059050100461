import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from store_sim.autocheckout import read_site
from store_sim.bodies import coco_keypoints, grips
from store_sim.figures import Goods, Whereabouts
from store_sim.meshes import panel
from store_sim.raster import Projection, Rect, metres, painted, rasterise
from store_sim.render import Picture, Renderer, Thing, keypoints_seen, visible_boxes
from tests.store_sim.pictured import BARREL, a_camera, a_shop, people, some_goods, with_units
from vision.arrays import FloatArray, IntArray
from vision.cameras import Camera
from vision.layout import StoreLayout, Surface

ALL_BUT_SOLES = 0.98  # a pixel of a shoe may dip into the floor


def drawn(layout: StoreLayout, *places: tuple[float, float], goods: Goods | None = None) -> Picture:
    renderer = Renderer(layout, [layout.cameras[0].camera_id], 3)
    figures, skeletons = people(*places)
    return renderer.render(layout.cameras[0].camera_id, figures, skeletons, goods or some_goods(), with_ids=True)


def ids_of(picture: Picture, kind: Thing) -> IntArray:
    assert picture.ids is not None
    assert picture.things is not None
    return np.asarray(np.where(picture.things.kind[picture.ids] == kind, picture.things.row[picture.ids], -1))


def marker_error_px(camera: Camera, points_m: FloatArray) -> FloatArray:
    """How far right and below their true places small markers are drawn that face the camera, shape (n, 2)."""
    errors = []
    lens = Projection(camera)
    width, height = camera.resolution_wh
    for point in points_m:
        true = camera.image_points(point[None])[0]
        away = float(camera.cam_from_world[2, :3] @ point + camera.cam_from_world[2, 3])
        if not (away > 0.3 and 4 < true[0] < width - 4 and 4 < true[1] < height - 4):
            continue
        # The polynomial folds points from far outside back into the picture; no light comes that way.
        ray = (point - camera.position_m) / np.linalg.norm(point - camera.position_m)
        if not np.allclose(camera.ray_directions(true[None])[0], ray, atol=1e-3):
            continue
        half = 1.5 * away / camera.intrinsics[0, 0]  # 3 px wide
        right, down = (camera.cam_from_world[axis, :3] * half for axis in (0, 1))
        mesh = panel(point - right - down, 2 * right, 2 * down)
        if np.ptp(camera.image_points(mesh.points_m), axis=0).min() < 1.5:
            continue  # where the polynomial is about to fold, a lens squeezes everything
        buffer, depth = np.zeros((height, width, 3), np.float32), np.ones((height, width), np.float32)
        seen = lens.project(mesh.points_m)
        faces = seen.faces_in(mesh.faces, Rect(0, 0, width, height))
        rasterise(seen.drawn, faces, painted(mesh, mesh.material), buffer, depth)
        rows, columns = np.nonzero(depth < 1)
        errors.append([columns.mean() + 0.5 - true[0], rows.mean() + 0.5 - true[1]])
    assert len(errors) > 10
    return np.array(errors)


def check_errors(errors_px: FloatArray) -> None:
    # A square covers whole pixels only, so that its middle may be some half a pixel off in each direction.
    assert np.abs(errors_px).max() < 0.7
    assert np.abs(errors_px.mean(axis=0)).max() < 0.15


def test_true_points_are_drawn_on_their_pixels() -> None:
    points = np.random.default_rng(0).uniform([0, 0.5, 0], [4, 3, 2], (200, 3))
    for distortion in (np.zeros(5), BARREL, np.array([0.3, -0.1, 0.002, 0.001, 0.0])):
        check_errors(marker_error_px(a_camera(distortion=distortion), points))


def test_true_points_are_drawn_on_their_pixels_for_the_nano_stores_cameras(shared: Path) -> None:
    points = np.random.default_rng(0).uniform([-0.3, -1.4, 0], [4.8, 0.4, 2], (150, 3))
    for camera in read_site(shared / "nanostore" / "site").cameras:
        check_errors(marker_error_px(camera, points))


def test_the_inside_of_large_faces_is_bent_like_their_points() -> None:
    layout = a_shop()
    camera = layout.cameras[0]
    picture = drawn(layout)
    assert picture.depth_m is not None
    floor = Projection(camera).world_points(picture.depth_m, Rect(0, 0, *camera.resolution_wh))
    inside = (
        (np.abs(floor[..., 2]) < 0.03)
        & (floor[..., 1] > 0.8)
        & (floor[..., 1] < 3.3)
        & (np.abs(floor[..., 0] - 2) < 1.9)
    )
    inside &= ids_of(picture, Thing.SCENERY) == 0
    assert inside.sum() > 1000
    columns, rows = np.nonzero(inside)[::-1]
    true = camera.floor_points(np.stack([columns + 0.5, rows + 0.5], axis=1))
    true_px = camera.image_points(np.column_stack([true, np.zeros(len(true))]))
    drawn_px = camera.image_points(floor[inside].astype(float) * [1, 1, 0])
    assert np.abs(true_px - drawn_px).max() < 1.0


def test_depth_is_in_metres_along_the_axis() -> None:
    layout = a_shop()
    picture = drawn(layout, (2.0, 1.2))
    assert picture.depth_m is not None
    shown = ids_of(picture, Thing.PERSON) == 0
    camera = layout.cameras[0]
    middle = camera.cam_from_world[:3, :3] @ np.array([2.0, 1.2, 0.9]) + camera.cam_from_world[:3, 3]
    assert np.abs(np.median(picture.depth_m[shown]) - middle[2]) < 0.3


def test_boxes_are_the_smallest_around_what_is_seen() -> None:
    picture = drawn(a_shop(), (1.5, 1.3), (2.6, 1.6))
    boxes = visible_boxes(picture)
    assert boxes.kind.tolist() == [Thing.PERSON, Thing.PERSON]
    assert boxes.row.tolist() == [0, 1]
    for row, box in zip(boxes.row, boxes.xyxy.astype(int), strict=True):
        shown = ids_of(picture, Thing.PERSON) == row
        inside = np.zeros_like(shown)
        inside[box[1] : box[3], box[0] : box[2]] = True
        assert shown[inside].sum() == shown.sum()
        assert shown[box[1]].any()
        assert shown[box[3] - 1].any()
        assert shown[:, box[0]].any()
        assert shown[:, box[2] - 1].any()
    assert boxes.share.min() > ALL_BUT_SOLES


def test_a_gondola_hides_who_stands_behind_it() -> None:
    layout = a_shop()
    before, behind, half = (drawn(layout, place) for place in ((2.0, 1.2), (2.0, -0.35), (3.3, -0.35)))
    assert (ids_of(before, Thing.PERSON) == 0).sum() > 500
    assert visible_boxes(before).share.min() > ALL_BUT_SOLES
    hidden = visible_boxes(behind)
    assert len(hidden) == 1
    assert hidden.share[0] < 0.7
    assert visible_boxes(half).share[0] > hidden.share[0]
    assert (ids_of(behind, Thing.GONDOLA) == 1).sum() > 0


def test_people_hide_each_other() -> None:
    picture = drawn(a_shop(), (2.0, 1.0), (2.0, 1.5))
    boxes = visible_boxes(picture)
    assert boxes.share[boxes.row == 1] > ALL_BUT_SOLES
    assert boxes.share[boxes.row == 0] < 0.7


def test_goods_vanish_where_they_are_taken_and_nowhere_else() -> None:
    layout = a_shop()
    goods = some_goods()
    renderer = Renderer(layout, ["cam1"], 3)
    figures, skeletons = people()
    full = renderer.render("cam1", figures, skeletons, goods, with_ids=True)
    row = int(np.unique(ids_of(full, Thing.UNIT))[-1])
    assert (ids_of(full, Thing.UNIT) == row).sum() > 5
    taken = renderer.render("cam1", figures, skeletons, with_units(goods, [row], Whereabouts.GONE), with_ids=True)
    assert not (ids_of(taken, Thing.UNIT) == row).any()
    rows, columns = np.nonzero((full.image != taken.image).any(axis=2))
    place = layout.cameras[0].image_points(goods.position_m[row][None] + [0, 0, 0.1])[0]
    assert len(rows) > 5
    assert np.hypot(columns - place[0], rows - place[1]).max() < 30


def test_a_renderer_that_saw_goods_come_and_go_draws_as_a_new_one() -> None:
    layout = a_shop()
    figures, skeletons = people((2.4, 1.2))
    goods = some_goods()
    steps = [goods, with_units(goods, [3, 4], Whereabouts.GONE)]
    moved = steps[-1].position_m.copy()
    moved[10] = [2.0, 1.1, 0.0]
    steps.append(with_units(replace(steps[-1], position_m=moved), [10], Whereabouts.FLOOR))
    steps.append(with_units(steps[-1], [3], Whereabouts.SHELF))
    old = Renderer(layout, ["cam1"], 3)
    for step in steps:
        one = old.render("cam1", figures, skeletons, step, with_ids=True)
        new = Renderer(layout, ["cam1"], 3).render("cam1", figures, skeletons, step, with_ids=True)
        assert np.array_equal(one.image, new.image)
        assert one.ids is not None
        assert new.ids is not None
        assert np.array_equal(one.ids, new.ids)


def test_the_worlds_own_arrays_may_change_between_pictures() -> None:
    layout = a_shop()
    goods = some_goods()
    renderer = Renderer(layout, ["cam1"], 3)
    figures, skeletons = people()
    full = renderer.render("cam1", figures, skeletons, goods)
    goods.whereabouts[:4] = int(Whereabouts.GONE)
    later = renderer.render("cam1", figures, skeletons, replace(goods, version=2))
    assert not np.array_equal(full.image, later.image)


def test_a_unit_in_a_hand_is_seen_at_the_hand() -> None:
    layout = a_shop(a_camera((2.0, 3.4, 2.5), (2.0, 0.8, 0.8), resolution_wh=(640, 360)))
    figures, skeletons = people((2.0, 1.2), grip_m=(2.45, 0.9, 1.1))
    goods = with_units(some_goods(), [0], Whereabouts.HAND, holder=0)
    picture = Renderer(layout, ["cam1"], 3).render("cam1", figures, skeletons, goods, with_ids=True)
    boxes = visible_boxes(picture)
    unit = boxes.xyxy[boxes.kind == Thing.UNIT]
    assert boxes.row[boxes.kind == Thing.UNIT].tolist() == [0]
    hand = layout.cameras[0].image_points(grips(skeletons)[0, 1][None])[0]
    assert unit[0, 0] - 12 < hand[0] < unit[0, 2] + 12
    assert unit[0, 1] - 12 < hand[1] < unit[0, 3] + 12


def test_key_points_are_seen_hidden_or_outside() -> None:
    layout = a_shop()
    camera = layout.cameras[0]
    figures, skeletons = people((2.0, 1.3), (2.0, -0.35), (2.0, 9.0))
    picture = Renderer(layout, ["cam1"], 3).render("cam1", figures, skeletons, some_goods(), with_ids=True)
    seen = keypoints_seen(picture, camera, coco_keypoints(skeletons))
    assert (seen[0] > 0).all()
    assert (seen[0] == 2).sum() >= 8
    ankles = seen[1, -2:]
    assert (ankles == 1).all()
    assert (seen[2] == 0).all()


def test_two_pictures_of_one_scene_are_equal_in_another_process_too() -> None:
    script = "import tests.store_sim.test_render as scene; print(scene.digest())"
    project = Path(__file__).parents[2]
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=project, check=False)
    assert other.stdout.strip() == digest() == digest(), other.stderr


def digest() -> str:
    picture = drawn(a_shop(), (1.5, 1.3), (2.6, 1.6))
    assert picture.ids is not None
    return hashlib.sha256(picture.image.tobytes() + picture.ids.tobytes()).hexdigest()


def test_seeds_paint_shops_differently() -> None:
    layout = a_shop()
    figures, skeletons = people()
    one, other = (Renderer(layout, ["cam1"], seed).render("cam1", figures, skeletons, some_goods()) for seed in (1, 2))
    assert not np.array_equal(one.image, other.image)


def test_a_mirror_shows_people_without_being_them() -> None:
    # On the south wall above the gondola, facing north.
    corners = np.array([[1.0, 0.06, 1.5], [3.0, 0.06, 1.5], [3.0, 0.06, 2.4], [1.0, 0.06, 2.4]])
    camera = a_camera((2.0, 3.4, 1.9), (2.0, 0.1, 1.7))
    layout = a_shop(camera, surfaces=(Surface("mirror", corners),))
    empty, near = drawn(layout), drawn(layout, (2.7, 2.6))
    shown = (empty.image != near.image).any(axis=2)
    person = ids_of(near, Thing.PERSON) == 0
    x, y = camera.image_points(np.array([[1.2, 0.06, 1.6], [2.8, 0.06, 2.3]])).astype(int).T
    glass = np.zeros_like(shown)
    glass[min(y) : max(y), min(x) : max(x)] = True
    assert (shown & glass & ~person).sum() > 50
    assert not (person & glass & (ids_of(empty, Thing.SCENERY) != 0)).any()


def test_people_behind_glass_are_seen_paler() -> None:
    pane = np.array([[0.5, 1.8, 0.0], [3.5, 1.8, 0.0], [3.5, 1.8, 2.4], [0.5, 1.8, 2.4]])
    clear = drawn(a_shop(), (2.0, 1.2))
    behind = drawn(a_shop(surfaces=(Surface("glass", pane),)), (2.0, 1.2))
    person = (ids_of(clear, Thing.PERSON) == 0) & (ids_of(behind, Thing.PERSON) == 0)
    assert person.sum() > 500
    assert behind.image[person].std() < 0.95 * clear.image[person].std()


def test_a_wall_hides() -> None:
    pane = np.array([[0.0, 1.8, 0.0], [4.0, 1.8, 0.0], [4.0, 1.8, 2.6], [0.0, 1.8, 2.6]])
    hidden = drawn(a_shop(surfaces=(Surface("wall", pane),)), (2.0, 1.2))
    assert len(visible_boxes(hidden)) == 0


def test_a_moved_camera_sees_through_its_new_place() -> None:
    layout = a_shop()
    renderer = Renderer(layout, ["cam1"], 3)
    figures, skeletons = people((2.0, 1.3))
    straight = visible_boxes(renderer.render("cam1", figures, skeletons, some_goods(), with_ids=True))
    renderer.aim(a_camera(aim_m=(2.3, 0.8, 0.8)))
    turned = visible_boxes(renderer.render("cam1", figures, skeletons, some_goods(), with_ids=True))
    # Facing south, east is to the left: what stood in the middle goes right.
    assert turned.xyxy[0, 0] > straight.xyxy[0, 0] + 5


def test_smoothing_changes_edges_only() -> None:
    layout = a_shop()
    figures, skeletons = people((2.0, 1.3))
    rough, smooth = (
        Renderer(layout, ["cam1"], 3, antialias=antialias).render(
            "cam1", figures, skeletons, some_goods(), with_ids=True
        )
        for antialias in (False, True)
    )
    assert rough.ids is not None
    assert smooth.ids is not None
    assert np.array_equal(rough.ids, smooth.ids)
    differs = np.abs(rough.image.astype(int) - smooth.image).max(axis=2) > 40
    assert 0 < differs.sum() < 0.3 * (ids_of(rough, Thing.PERSON) == 0).sum()


def test_shadows_darken_the_floor_at_the_feet() -> None:
    layout = a_shop()
    empty, stood = drawn(layout), drawn(layout, (2.0, 1.1))
    x, y = layout.cameras[0].image_points(np.array([[2.28, 1.1, 0.0]]))[0].astype(int)
    assert ids_of(stood, Thing.PERSON)[y, x] == -1
    assert stood.image[y, x].mean() < 0.93 * empty.image[y, x].mean()


def test_metres_undo_the_rasterisers_depth() -> None:
    camera = a_camera(distortion=np.zeros(5))
    lens = Projection(camera)
    forward = camera.cam_from_world[2, :3]
    for away in (0.3, 2.0, 7.0):
        right, down = (camera.cam_from_world[axis, :3] * 0.1 * away for axis in (0, 1))
        mesh = panel(camera.position_m + away * forward - right - down, 2 * right, 2 * down)
        buffer, depth = np.zeros((180, 320, 3), np.float32), np.ones((180, 320), np.float32)
        seen = lens.project(mesh.points_m)
        rasterise(seen.drawn, mesh.faces, painted(mesh, mesh.material), buffer, depth)
        assert np.allclose(metres(depth)[depth < 1], away, rtol=1e-3)


def test_what_cannot_be_drawn_is_refused() -> None:
    layout = a_shop()
    with pytest.raises(ValueError, match="cam9"):
        Renderer(layout, ["cam9"], 0)
    renderer = Renderer(layout, ["cam1"], 0)
    figures, skeletons = people((2.0, 1.3))
    with pytest.raises(ValueError, match="cam2"):
        renderer.render("cam2", figures, skeletons, some_goods())
    with pytest.raises(ValueError, match="skeleton"):
        renderer.render("cam1", figures, people()[1], some_goods())
    with pytest.raises(ValueError, match="cam3"):
        renderer.aim(a_camera(camera_id="cam3"))
    with pytest.raises(ValueError, match="ids"):
        visible_boxes(renderer.render("cam1", figures, skeletons, some_goods()))


def test_goods_may_change_where_only_a_mirror_could_show_them() -> None:
    corners = np.array([[1.0, 0.06, 1.5], [3.0, 0.06, 1.5], [3.0, 0.06, 2.4], [1.0, 0.06, 2.4]])
    camera = a_camera((2.0, 3.0, 1.9), (2.0, 0.1, 1.9))
    renderer = Renderer(a_shop(camera, surfaces=(Surface("mirror", corners),)), ["cam1"], 3)
    figures, skeletons = people()
    goods = some_goods()
    before = renderer.render("cam1", figures, skeletons, goods)
    position = goods.position_m.copy()
    position[0] = [2.0, 3.4, 0.0]
    behind = with_units(replace(goods, position_m=position), [0], Whereabouts.FLOOR)
    renderer.render("cam1", figures, skeletons, behind)
    gone = with_units(behind, [0], Whereabouts.GONE)
    after = renderer.render("cam1", figures, skeletons, gone)
    assert after.image.shape == before.image.shape


def test_a_camera_that_nobody_asked_for_long_is_right_all_the_same() -> None:
    layout = a_shop(a_camera(), a_camera((1.0, 3.2, 2.4), (2.2, 0.6, 0.6), camera_id="cam2"))
    renderer = Renderer(layout, ["cam1", "cam2"], 3)
    figures, skeletons = people()
    goods = some_goods()
    renderer.render("cam2", figures, skeletons, goods)
    for change in range(70):
        whereabouts = Whereabouts.GONE if change % 2 == 0 else Whereabouts.SHELF
        goods = with_units(goods, [change % 7 * 3], whereabouts)
        renderer.render("cam1", figures, skeletons, goods)
    late = renderer.render("cam2", figures, skeletons, goods)
    assert np.array_equal(late.image, Renderer(layout, ["cam2"], 3).render("cam2", figures, skeletons, goods).image)
