"""Simulated people as meshes in the world: their bodies in the clothes that their outfits say."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from store_sim.bodies import BodyMeshes, Skeletons
from store_sim.figures import Figures
from store_sim.meshes import Mesh, Textures, joined
from store_sim.outfits import dress, texture_uv
from vision.arrays import FloatArray, IntArray

KEPT_DRESSES = 64  # remembered at least; twice the people that are ever at once in a shop


@dataclass(frozen=True, slots=True)
class _Worn:
    points: IntArray  # rows of the body's points that are worn
    faces: IntArray
    material: int


class Wardrobe:
    """Gives people bodies and clothes; who comes back within the hour is not painted again."""

    def __init__(self, textures: Textures) -> None:
        """Take the scene's textures, to which cloth is added.

        Raises:
            OSError: The file of baked bodies is missing.
        """
        self._textures = textures
        self._bodies = BodyMeshes.load()
        self._place = texture_uv(self._bodies)
        self._dresses: OrderedDict[tuple[int, int, bool], _Worn] = OrderedDict()

    def dressed(self, figures: Figures, skeletons: Skeletons) -> Mesh:
        """Everybody's body and clothes in the world; ``thing`` is the row in ``figures``."""
        if not len(figures):
            return joined([])
        points, normals = self._bodies.vertices(skeletons), self._bodies.vertex_normals(skeletons)
        light = _light(normals)
        meshes = []
        for row in range(len(figures)):
            key = int(figures.build[row]), int(figures.outfit[row]), bool(figures.bag[row])
            worn = self._worn(key, len(figures))
            rows = worn.points
            meshes.append(
                Mesh(
                    points[row, rows],
                    normals[row, rows],
                    self._place[rows],
                    np.full(len(rows), worn.material, np.int32),
                    light[row, rows],
                    np.full(len(rows), row, np.int32),
                    worn.faces,
                )
            )
        return joined(meshes)

    def _worn(self, key: tuple[int, int, bool], people: int) -> _Worn:
        if key in self._dresses:
            self._dresses.move_to_end(key)
            return self._dresses[key]
        build, outfit, bag = key
        new = dress(self._bodies, build, outfit, bag=bag)
        used, faces = np.unique(new.faces, return_inverse=True)
        if len(self._dresses) > max(KEPT_DRESSES, people):
            _, old = self._dresses.popitem(last=False)
            self._textures.replace(old.material, new.texture)
            material = old.material
        else:
            material = self._textures.add(new.texture)
        self._dresses[key] = _Worn(used, faces.reshape(-1, 3).astype(np.int32), material)
        return self._dresses[key]


def _light(normals: FloatArray) -> FloatArray:
    """Light on people under lamps all over a ceiling: most from above, the rest from walls and floor."""
    return np.asarray(0.76 + 0.32 * normals[..., 2] + 0.06 * normals[..., 0], np.float32)
