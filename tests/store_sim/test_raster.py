import numpy as np

from store_sim.meshes import panel
from store_sim.raster import Projection, Rect, metres, painted, rasterise, rasterise_depth
from tests.store_sim.pictured import BARREL, a_camera
from vision.arrays import FloatArray

WHOLE = Rect(0, 0, 320, 180)


def buffers() -> tuple[FloatArray, FloatArray]:
    return np.zeros((180, 320, 3), np.float32), np.ones((180, 320), np.float32)


def test_points_within_the_picture_are_seen_as_the_camera_says() -> None:
    camera = a_camera()
    points = np.random.default_rng(0).uniform([0.5, 0.5, 0], [3.5, 2.5, 1.8], (500, 3)).astype(np.float32)
    true = camera.image_points(points)
    inside = ((true > 0) & (true < [320, 180])).all(axis=1)
    seen = Projection(camera).project(points)
    assert inside.sum() > 100
    assert np.abs(np.stack([seen.x, seen.y], 1) - true)[inside].max() < 0.01


def test_beyond_the_picture_points_never_fold_back_into_it() -> None:
    camera = a_camera(distortion=np.array([-0.483, 0.077, 0.0, 0.0, 0.0]))
    lens = Projection(camera)
    away = np.linspace(0.0, 6.0, 200)
    origin, axes = camera.position_m, camera.cam_from_world[:3, :3]
    points = origin + axes[2] + away[:, None] * axes[0]
    seen = lens.project(points.astype(np.float32))
    assert (np.diff(seen.x) > 0).all()


def test_triangles_behind_the_camera_or_beside_the_picture_are_left_out() -> None:
    camera = a_camera(distortion=np.zeros(5))
    axes = camera.cam_from_world[:3, :3]
    lens = Projection(camera)

    def kept(ahead: float, right: float) -> int:
        corner = camera.position_m + ahead * axes[2] + right * axes[0]
        mesh = panel(corner, 0.1 * axes[0], 0.1 * axes[1])
        return len(lens.project(mesh.points_m).faces_in(mesh.faces, WHOLE))

    assert kept(2.0, 0.0) == 2
    assert kept(-2.0, 0.0) == 0
    assert kept(2.0, 5.0) == 0
    assert kept(2.0, -5.0) == 0


def test_no_triangles_give_no_triangles() -> None:
    seen = Projection(a_camera()).project(np.zeros((0, 3), np.float32))
    assert len(seen.faces_in(np.zeros((0, 3), np.int32), WHOLE)) == 0


def test_nearer_triangles_hide_farther_ones_whatever_comes_first() -> None:
    camera = a_camera(distortion=BARREL)
    axes = camera.cam_from_world[:3, :3]
    lens = Projection(camera)
    meshes = []
    for away, material in ((1.0, 1), (2.0, 2)):
        corner = camera.position_m + away * axes[2] - 0.2 * axes[0] - 0.2 * axes[1]
        meshes.append(panel(corner, 0.4 * axes[0], 0.4 * axes[1]).marked(material=material))
    for order in (meshes, meshes[::-1]):
        buffer, depth = buffers()
        for mesh in order:
            rasterise(lens.project(mesh.points_m).drawn, mesh.faces, painted(mesh, mesh.material), buffer, depth)
        assert int(buffer[95, 157, 2]) == 1
        assert metres(depth)[95, 157] == np.float32(1.0) or abs(metres(depth)[95, 157] - 1) < 1e-3


def test_a_depth_of_nothing_keeps_everything_out_and_infinite_means_nothing() -> None:
    camera = a_camera(distortion=np.zeros(5))
    axes = camera.cam_from_world[:3, :3]
    mesh = panel(camera.position_m + 2 * axes[2] - axes[0] - axes[1], 2 * axes[0], 2 * axes[1])
    seen = Projection(camera).project(mesh.points_m)
    closed = np.zeros((180, 320), np.float32)
    rasterise_depth(seen.drawn, mesh.faces, closed)
    assert not closed.any()
    _, depth = buffers()
    assert np.isinf(metres(depth)).all()


def test_triangles_are_seen_from_outside_only() -> None:
    camera = a_camera(distortion=np.zeros(5))
    axes = camera.cam_from_world[:3, :3]
    corner = camera.position_m + 2 * axes[2] - 0.2 * axes[0] - 0.2 * axes[1]
    facing = panel(corner, 0.4 * axes[0], 0.4 * axes[1])
    for faces, seen in ((facing.faces, True), (facing.faces[:, ::-1], False)):
        _, depth = buffers()
        rasterise_depth(Projection(camera).project(facing.points_m).drawn, np.ascontiguousarray(faces), depth)
        assert (depth < 1).any() == seen


def test_rays_find_the_points_that_pixels_show() -> None:
    camera = a_camera()
    lens = Projection(camera)
    depth = np.full((180, 320), 2.0, np.float32)
    points = lens.world_points(depth, WHOLE)
    pixels = camera.image_points(points.reshape(-1, 3).astype(float)).reshape(180, 320, 2)
    assert np.abs(pixels - np.stack(np.meshgrid(np.arange(320) + 0.5, np.arange(180) + 0.5), axis=-1)).max() < 0.05
    part = Rect(30, 20, 60, 50)
    every_third = lens.world_points(depth[part.rows_columns][1::3, 1::3], part, step=3)
    assert np.array_equal(every_third, points[part.rows_columns][1::3, 1::3])
