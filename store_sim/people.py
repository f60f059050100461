"""Simulated people as meshes: bodies, and the clothes that their outfits say."""

import numpy as np

from store_sim.bodies import SKELETON, Skeletons
from store_sim.figures import Figures
from store_sim.meshes import Mesh, Textures, joined
from vision.arrays import FloatArray

_LIMBS = (
    ("pelvis", "chest", 0.085, "top"),
    ("chest", "neck", 0.08, "top"),
    ("head", "head", 0.065, "skin"),
    ("left_shoulder", "left_elbow", 0.03, "top"),
    ("right_shoulder", "right_elbow", 0.03, "top"),
    ("left_elbow", "left_wrist", 0.024, "skin"),
    ("right_elbow", "right_wrist", 0.024, "skin"),
    ("left_hip", "left_knee", 0.048, "legs"),
    ("right_hip", "right_knee", 0.048, "legs"),
    ("left_knee", "left_ankle", 0.035, "legs"),
    ("right_knee", "right_ankle", 0.035, "legs"),
)


class Wardrobe:
    """Gives people bodies and clothes."""

    def __init__(self, textures: Textures, seed: int) -> None:
        """Put cloth into a scene's textures."""
        self._textures = textures

    def dressed(self, figures: Figures, skeletons: Skeletons) -> Mesh:
        """Everybody's body and clothes in the world; ``thing`` is the row in ``figures``."""
        meshes = []
        for row in range(len(figures)):
            rng = np.random.default_rng(int(figures.outfit[row]))
            colours = {
                "skin": self._textures.plain((120, 150, 200)),
                "top": self._textures.plain(tuple(int(c) for c in rng.integers(30, 220, 3))),
                "legs": self._textures.plain(tuple(int(c) for c in rng.integers(20, 120, 3))),
            }
            for start, end, radius, part in _LIMBS:
                a, b = (skeletons.joints_m[row, SKELETON.index(name)] for name in (start, end))
                size = radius * figures.height_m[row]
                meshes.append(_capsule(a, b, size).marked(material=colours[part], thing=row))
        return joined(meshes)


def _capsule(start: FloatArray, end: FloatArray, radius_m: float) -> Mesh:
    from store_sim.meshes import turned_solid

    way = end - start
    length = float(np.linalg.norm(way))
    z = way / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    x = np.cross(z, [0.0, 1.0, 0.1])
    x /= np.linalg.norm(x)
    turn = np.linspace(0, np.pi / 2, 4)
    low = np.stack([np.sin(turn), -np.cos(turn)], 1) * radius_m
    high = np.stack([np.cos(turn), np.sin(turn)], 1) * radius_m + [0, length]
    world = np.eye(4)
    world[:3, :3] = np.stack([x, np.cross(z, x), z], 1)
    world[:3, 3] = start
    return turned_solid(np.concatenate([low, high]), 10).placed(world)
