import numpy as np
import pytest

from store_sim.bodies import BUILDS, CHILD, PARTS, PIECES, BodyMeshes
from store_sim.outfits import CONTINUED, TILES_A_ROW, dress, texture_uv
from vision.arrays import ImageArray

MAN, WOMAN = BUILDS.index("man-middle"), BUILDS.index("woman-middle")


@pytest.fixture(scope="module")
def meshes() -> BodyMeshes:
    return BodyMeshes.load()


def worn(meshes: BodyMeshes, build: int, outfit: int, *, bag: bool = False) -> set[str]:
    """Names of the pieces that somebody wears."""
    faces = dress(meshes, build, outfit, bag=bag).faces
    return {PIECES[k] for k in np.unique(meshes.piece[faces])}


def tile(texture: ImageArray, part: str) -> ImageArray:
    size = len(texture) // TILES_A_ROW
    row, column = divmod(PARTS.index(part), TILES_A_ROW)
    return texture[row * size : (row + 1) * size, column * size : (column + 1) * size]


def test_equal_seeds_on_equal_builds_look_alike(meshes: BodyMeshes) -> None:
    one, other = dress(meshes, MAN, 12), dress(meshes, MAN, 12)
    assert np.array_equal(one.faces, other.faces)
    assert np.array_equal(one.texture, other.texture)
    clothes = tile(dress(meshes, WOMAN, 12).texture, "torso")
    assert np.array_equal(clothes, tile(one.texture, "torso"))


def test_different_seeds_look_different(meshes: BodyMeshes) -> None:
    looks = {dress(meshes, MAN, 2 * seed).texture.tobytes() for seed in range(40)}
    assert len(looks) == 40


@pytest.mark.parametrize("build", [MAN, WOMAN, CHILD])
def test_an_odd_seed_wears_a_jacket_over_the_clothes_of_the_even_one(meshes: BodyMeshes, build: int) -> None:
    assert worn(meshes, build, 7) - worn(meshes, build, 6) == {"jacket"}
    assert np.array_equal(dress(meshes, build, 7).texture, dress(meshes, build, 6).texture)


def test_a_bag_is_carried_only_by_who_has_one(meshes: BodyMeshes) -> None:
    bags = [worn(meshes, MAN, seed, bag=True) - worn(meshes, MAN, seed) for seed in range(0, 60, 2)]
    assert {"shoulder-bag"} in bags
    assert {"backpack"} in bags
    assert all(len(bag) == 1 for bag in bags)


def test_skirts_hair_and_sleeves_differ_between_people(meshes: BodyMeshes) -> None:
    women = [worn(meshes, WOMAN, seed) for seed in range(0, 80, 2)]
    assert 0 < sum("skirt" in pieces for pieces in women) < 40
    assert 0 < sum("long-hair" in pieces for pieces in women) < 40
    men = [worn(meshes, MAN, seed) for seed in range(0, 80, 2)]
    assert not any("skirt" in pieces for pieces in men)
    assert sum("hair" in pieces for pieces in men) > 30
    shirts = [dress(meshes, MAN, seed).texture for seed in range(0, 80, 2)]
    bare = [np.abs(tile(t, "forearm").mean((0, 1)) - tile(t, "skin").mean((0, 1))).max() < 3 for t in shirts]
    assert 0 < sum(bare) < 40


def test_every_point_has_a_place_in_its_own_tile(meshes: BodyMeshes) -> None:
    place = texture_uv(meshes)
    assert place.shape == (len(meshes.part), 2)
    assert place.min() > 0
    assert place.max() < 1
    column, row = np.floor(place * TILES_A_ROW).astype(int).T
    own = row * TILES_A_ROW + column
    continued = {PARTS.index(name): PARTS.index(on) for name, on in CONTINUED.items()}
    assert np.array_equal(own, [continued.get(int(part), int(part)) for part in meshes.part])


def test_a_build_or_seed_that_does_not_exist_is_refused(meshes: BodyMeshes) -> None:
    with pytest.raises(ValueError, match="build: expected 0 to 14, got 15"):
        dress(meshes, 15, 0)
    with pytest.raises(ValueError, match="seed of 0 or more, got -1"):
        dress(meshes, 0, -1)
