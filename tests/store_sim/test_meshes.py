import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_sim.meshes import Mesh, Textures, block, box_sides, disc, joined, panel, pillow, turned_solid

BOTTLE = np.array([[0.03, 0.0], [0.03, 0.12], [0.012, 0.16], [0.012, 0.2]])


def every_closed_shape() -> dict[str, Mesh]:
    return {
        "block": block([-0.1, -0.2, 0], [0.1, 0.2, 0.3]),
        "bottle": joined([turned_solid(BOTTLE, 24), disc(0.012, 0.2, 24)]),
        "bag": pillow(0.15, 0.05, 0.2, cells=8),
    }


@pytest.mark.parametrize("name", ["block", "bottle", "bag"])
def test_triangles_go_anticlockwise_as_seen_from_outside(name: str) -> None:
    mesh = every_closed_shape()[name]
    first, second, third = (mesh.points_m[mesh.faces[:, corner]] for corner in range(3))
    across = np.cross(second - first, third - first)
    real = np.linalg.norm(across, axis=1) > 1e-9
    assert ((across * mesh.normals[mesh.faces[:, 0]]).sum(axis=1)[real] > 0).all()


@pytest.mark.parametrize("name", ["block", "bottle", "bag"])
def test_normals_are_unit_vectors(name: str) -> None:
    assert np.allclose(np.linalg.norm(every_closed_shape()[name].normals, axis=1), 1, atol=1e-5)


@given(st.floats(0.01, 3), st.floats(0.01, 3), st.floats(0.05, 0.5))
def test_a_panel_is_cut_into_pieces_no_longer_than_said(wide: float, high: float, step: float) -> None:
    mesh = panel(np.zeros(3), np.array([wide, 0, 0]), np.array([0, 0, -high]), step_m=step)
    corners = mesh.points_m[mesh.faces]
    assert np.ptp(corners[..., 0], axis=1).max() <= step + 1e-5
    assert np.ptp(corners[..., 2], axis=1).max() <= step + 1e-5
    assert mesh.points_m.min(0).tolist() == pytest.approx([0, 0, -high], abs=1e-5)
    assert mesh.texture_uv.max(0).tolist() == pytest.approx([1, 1])


def test_a_panels_texture_repeats_by_its_length() -> None:
    mesh = panel(np.zeros(3), np.array([2.0, 0, 0]), np.array([0, 0, -1.0]), texture_m=0.5)
    assert mesh.texture_uv.max(0).tolist() == pytest.approx([4, 2])


def test_the_sides_of_a_box_look_where_they_should() -> None:
    normals = [side.normals[0].round().tolist() for side in box_sides([0, 0, 0], [1, 2, 3])]
    assert normals == [[1, 0, 0], [-1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]]


def test_copies_stand_turned_in_their_places() -> None:
    mesh = block([0, 0, 0], [0.2, 0.1, 0.3], step_m=1.0).marked(material=4)
    copies = mesh.repeated(
        np.array([[1.0, 0, 0], [0, 2.0, 0.5]]), np.array([0, np.pi / 2]), np.array([1, 0.5]), np.array([7, 9])
    )
    half = len(mesh.points_m)
    assert np.allclose(copies.points_m[:half], mesh.points_m + np.array([1, 0, 0]), atol=1e-6)
    turned = np.stack([-mesh.points_m[:, 1], mesh.points_m[:, 0], mesh.points_m[:, 2]], 1)
    turned += np.array([0, 2, 0.5], np.float32)
    assert np.allclose(copies.points_m[half:], turned, atol=1e-6)
    assert copies.thing[copies.faces[0]].tolist() == [7, 7, 7]
    assert copies.thing[copies.faces[-1]].tolist() == [9, 9, 9]
    assert copies.light[half:].max() == pytest.approx(0.5)
    assert set(copies.material.tolist()) == {4}


def test_joining_keeps_every_triangle() -> None:
    one, other = panel(np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 1.0, 0])), disc(0.1, 0.2)
    both = joined([one, other])
    assert len(both) == len(one) + len(other)
    assert np.array_equal(both.points_m[both.faces[len(one) :]], other.points_m[other.faces])
    assert len(joined([])) == 0


def test_textures_give_their_texels_and_repeat() -> None:
    textures = Textures()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (height, width, 3), np.uint8) for height, width in ((4, 8), (1, 1), (64, 128))]
    materials = [textures.add(image) for image in images]
    for material, image in zip(materials, images, strict=True):
        height, width = image.shape[:2]
        v, u = ((np.arange(n) + 0.5) / n for n in (height, width))
        grid_u, grid_v = np.meshgrid(u, v)
        number = np.full(grid_u.shape, material)
        assert np.array_equal(textures.sample(number, grid_u, grid_v), image)
        assert np.array_equal(textures.sample(number, grid_u + 3, grid_v - 2), image)


def test_a_texture_can_be_replaced_by_one_of_its_size() -> None:
    textures = Textures()
    material = textures.add(np.zeros((4, 4, 3), np.uint8))
    beside = textures.plain((9, 8, 7))
    textures.replace(material, np.full((4, 4, 3), 5, np.uint8))
    half = np.array([0.5])
    assert textures.sample(np.array([material]), half, half).tolist() == [[5, 5, 5]]
    assert textures.sample(np.array([beside]), half, half).tolist() == [[9, 8, 7]]
    with pytest.raises(ValueError, match="texture"):
        textures.replace(material, np.zeros((2, 4, 3), np.uint8))


def test_textures_without_texels_are_refused() -> None:
    with pytest.raises(ValueError, match="texture"):
        Textures().add(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="texture"):
        Textures().add(np.zeros((4, 4), np.uint8))
