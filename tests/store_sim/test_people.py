from dataclasses import replace

import numpy as np

from store_sim.bodies import coco_keypoints
from store_sim.meshes import Textures
from store_sim.people import KEPT_DRESSES, Wardrobe
from tests.store_sim.pictured import people


def test_everybody_has_a_body_around_their_joints() -> None:
    figures, skeletons = people((2.0, 1.2), (3.0, 1.5))
    mesh = Wardrobe(Textures()).dressed(figures, skeletons)
    for row, points in enumerate(coco_keypoints(skeletons)):
        skin = mesh.points_m[mesh.thing == row]
        assert len(skin) > 500
        away = np.linalg.norm(skin[None] - points[:, None], axis=2).min(axis=1)
        assert away.max() < 0.15
        assert -0.02 < skin[:, 2].min() < 0.02


def test_nobody_is_an_empty_mesh() -> None:
    assert len(Wardrobe(Textures()).dressed(*people())) == 0


def test_equal_outfits_look_alike_and_a_bag_shows() -> None:
    textures = Textures()
    wardrobe = Wardrobe(textures)
    figures, skeletons = people((2.0, 1.2), (3.0, 1.5))
    alike = replace(figures, build=np.zeros(2, np.int64), outfit=np.zeros(2, np.int64))
    mesh = wardrobe.dressed(alike, skeletons)
    assert len(set(mesh.material.tolist())) == 1
    with_bag = wardrobe.dressed(replace(alike, bag=np.array([True, False])), skeletons)
    assert len(with_bag) > len(mesh)
    assert len(set(with_bag.material.tolist())) == 2


def test_a_long_day_needs_no_more_textures() -> None:
    textures = Textures()
    wardrobe = Wardrobe(textures)
    figures, skeletons = people((2.0, 1.2))
    materials = set()
    for outfit in range(3 * KEPT_DRESSES):
        mesh = wardrobe.dressed(replace(figures, outfit=np.array([outfit])), skeletons)
        materials.update(mesh.material.tolist())
    assert len(materials) <= KEPT_DRESSES + 1
