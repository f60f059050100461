"""Triangle meshes of shop things and the textures on them, as arrays that ``store_sim.render`` draws."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from vision.arrays import FloatArray, ImageArray, IntArray, check_shape

ROUND_SIDES = 10  # a bottle is some 20 px wide to a ceiling camera: its outline is then round to a third of a pixel


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles with a texture.

    Attributes:
        points_m: Shape (v, 3), float32 metres.
        normals: Unit vectors outwards, shape (v, 3), float32.
        texture_uv: Place in the texture, shape (v, 2), float32: (0, 0) top left, (1, 1) bottom right, repeating.
        material: Texture of each point, shape (v,), the same at all three corners of a triangle.
        light: How bright each point is lit, shape (v,), float32: 1 is full light.
        thing: What each point belongs to, shape (v,), the same at all three corners of a triangle.
        faces: Rows of the corners, shape (f, 3), int32, anticlockwise as seen from outside; not seen from inside.
    """

    points_m: FloatArray
    normals: FloatArray
    texture_uv: FloatArray
    material: IntArray
    light: FloatArray
    thing: IntArray
    faces: IntArray

    def __post_init__(self) -> None:
        v = len(self.points_m)
        check_shape("Mesh.points_m", self.points_m, (v, 3))
        check_shape("Mesh.normals", self.normals, (v, 3))
        check_shape("Mesh.texture_uv", self.texture_uv, (v, 2))
        check_shape("Mesh.material", self.material, (v,))
        check_shape("Mesh.light", self.light, (v,))
        check_shape("Mesh.thing", self.thing, (v,))
        check_shape("Mesh.faces", self.faces, ("f", 3))

    def __len__(self) -> int:
        return len(self.faces)

    def marked(self, *, material: int | None = None, thing: int | None = None) -> Self:
        """Return the mesh with one material or belonging to one thing."""
        mesh = self
        if material is not None:
            mesh = replace(mesh, material=np.full(len(self.points_m), material, np.int32))
        if thing is not None:
            mesh = replace(mesh, thing=np.full(len(self.points_m), thing, np.int32))
        return mesh

    def placed(self, world_from_mesh: FloatArray) -> Self:
        """Move the mesh by a rigid transform, shape (4, 4)."""
        rotation, shift = world_from_mesh[:3, :3], world_from_mesh[:3, 3]
        return replace(
            self,
            points_m=(self.points_m @ rotation.T + shift).astype(np.float32),
            normals=(self.normals @ rotation.T).astype(np.float32),
        )

    def repeated(self, position_m: FloatArray, yaw_rad: FloatArray, light: FloatArray, thing: IntArray) -> Self:
        """Stand copies of the mesh on places.

        Args:
            position_m: Where the mesh's origin goes, shape (n, 3).
            yaw_rad: Where its x axis looks, shape (n,), anticlockwise from world x.
            light: Light at each place, shape (n,), times the mesh's own.
            thing: What each copy is, shape (n,).
        """
        n, v = len(position_m), len(self.points_m)
        cos, sin = (function(yaw_rad)[:, None].astype(np.float32) for function in (np.cos, np.sin))

        def turned(vectors: FloatArray) -> FloatArray:
            x, y, z = vectors.T
            return np.stack([cos * x - sin * y, sin * x + cos * y, np.broadcast_to(z, (n, v))], axis=-1)

        points = turned(self.points_m) + position_m[:, None].astype(np.float32)
        return replace(
            self,
            points_m=points.reshape(-1, 3),
            normals=turned(self.normals).reshape(-1, 3),
            texture_uv=np.tile(self.texture_uv, (n, 1)),
            material=np.tile(self.material, n),
            light=(self.light * light[:, None].astype(np.float32)).reshape(-1),
            thing=np.repeat(thing.astype(np.int32), v),
            faces=(self.faces + np.arange(n, dtype=np.int32)[:, None, None] * v).reshape(-1, 3),
        )


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Make one mesh of several; of none, an empty one."""
    if not meshes:
        return _mesh(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 2)), np.zeros((0, 3), np.int32))
    starts = np.cumsum([0, *(len(mesh.points_m) for mesh in meshes[:-1])])
    return Mesh(
        np.concatenate([mesh.points_m for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.texture_uv for mesh in meshes]),
        np.concatenate([mesh.material for mesh in meshes]),
        np.concatenate([mesh.light for mesh in meshes]),
        np.concatenate([mesh.thing for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]).astype(np.int32),
    )


def panel(
    corner_m: FloatArray,
    right_m: FloatArray,
    down_m: FloatArray,
    *,
    step_m: float = 0.1,
    texture_m: float | None = None,
) -> Mesh:
    """A flat rectangle, cut into small triangles so that a lens can bend it.

    Args:
        corner_m: Its top left corner as seen from the side it faces, shape (3,).
        right_m: From there to the top right corner, shape (3,).
        down_m: And to the bottom left corner, shape (3,).
        step_m: Longest side of the cuts.
        texture_m: Length that the texture covers before it repeats; once over the whole panel if left out.
    """
    right, down, corner = (np.asarray(vector, float) for vector in (right_m, down_m, corner_m))
    wide, high = float(np.linalg.norm(right)), float(np.linalg.norm(down))
    columns, rows = (max(1, int(np.ceil(length / step_m - 1e-6))) for length in (wide, high))
    u, v = (axis.ravel() for axis in np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1)))
    points = corner + u[:, None] * right + v[:, None] * down
    normal = np.cross(down, right)
    normal /= np.linalg.norm(normal)
    texture = np.stack([u, v], axis=1) * (1.0 if texture_m is None else np.array([wide, high]) / texture_m)
    return _mesh(points, np.tile(normal, (len(points), 1)), texture, _cells(rows, columns))


def box_sides(
    low_m: Sequence[float] | FloatArray,
    high_m: Sequence[float] | FloatArray,
    *,
    step_m: float = 0.1,
    texture_m: float | None = None,
) -> tuple[Mesh, ...]:
    """Front (x), back, right, left, top and underside of a box along the axes between two corners, shape (3,)."""
    low, high = np.asarray(low_m, float), np.asarray(high_m, float)
    x, y, z = np.diag(high - low)
    sides = (
        (low + x + z, y, -z),
        (low + y + z, -y, -z),
        (low + z, x, -z),
        (high, -x, -z),
        (low + z + y, x, -y),
        (low, x, y),
    )
    return tuple(panel(corner, right, down, step_m=step_m, texture_m=texture_m) for corner, right, down in sides)


def block(
    low_m: Sequence[float] | FloatArray,
    high_m: Sequence[float] | FloatArray,
    *,
    step_m: float = 0.1,
    texture_m: float | None = None,
) -> Mesh:
    """A box along the axes from one corner, shape (3,), to the opposite one."""
    return joined(box_sides(low_m, high_m, step_m=step_m, texture_m=texture_m))


def turned_solid(profile: FloatArray, sides: int = ROUND_SIDES) -> Mesh:
    """A body of revolution around z.

    Args:
        profile: (radius, height) from the bottom to the top, shape (k, 2); the texture goes once around, its middle in
            front (x), and from the top down.
        sides: How many sides stand for the circle.
    """
    radius, height = np.asarray(profile, float).T
    angle = np.linspace(-np.pi, np.pi, sides + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.concatenate(
        [radius[:, None, None] * ring, np.broadcast_to(height[:, None, None], (len(radius), sides + 1, 1))], axis=2
    )
    outwards = np.gradient(height) + 1e-9
    upwards = -np.gradient(radius)
    slope = np.hypot(outwards, upwards)
    normals = np.concatenate(
        [
            (outwards / slope)[:, None, None] * ring,
            np.broadcast_to((upwards / slope)[:, None, None], (len(radius), sides + 1, 1)),
        ],
        axis=2,
    )
    top = height.max() or 1.0
    texture = np.stack(
        [
            np.broadcast_to(np.linspace(0, 1, sides + 1), (len(radius), sides + 1)),
            np.broadcast_to(1 - height[:, None] / top, (len(radius), sides + 1)),
        ],
        axis=2,
    )
    # Rows go up here, which turns the triangles around.
    faces = _cells(len(radius) - 1, sides)[:, ::-1]
    return _mesh(points.reshape(-1, 3), normals.reshape(-1, 3), texture.reshape(-1, 2), faces)


def disc(radius_m: float, height_m: float, sides: int = ROUND_SIDES) -> Mesh:
    """A level disc facing up; the texture lies square on it."""
    angle = np.linspace(-np.pi, np.pi, sides + 1)[:-1]
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.column_stack([ring * radius_m, np.full(sides, height_m)])
    inner = np.arange(1, sides - 1)
    return _mesh(
        points,
        np.tile([0.0, 0.0, 1.0], (sides, 1)),
        0.5 + 0.49 * ring,
        np.stack([np.zeros_like(inner), inner, inner + 1], axis=1),
    )


def pillow(width_m: float, depth_m: float, height_m: float, cells: int = 4) -> Mesh:
    """A filled bag standing on its lower seam: thick in the middle, flat at the seams; its front looks along x."""
    u, v = np.meshgrid(np.linspace(0, 1, cells + 1), np.linspace(0, 1, cells + 1))
    bulge = (4 * u * (1 - u)) ** 0.6 * (np.clip(4 * v * (1 - v), 0, 1)) ** 0.5 * depth_m / 2
    halves = []
    for side in (1.0, -1.0):
        points = np.stack([side * bulge, side * (u - 0.5) * width_m, (1 - v) * height_m], axis=-1)
        normals = np.stack([np.full_like(u, 0.8 * side), side * (u - 0.5), 0.9 * (0.5 - v)], axis=-1)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        halves.append(
            _mesh(
                points.reshape(-1, 3),
                normals.reshape(-1, 3),
                np.stack([u, v], axis=-1).reshape(-1, 2),
                _cells(cells, cells),
            )
        )
    return joined(halves)


def _cells(rows: int, columns: int) -> IntArray:
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    right, below, across = corner + 1, corner + columns + 1, corner + columns + 2
    return np.concatenate([np.stack([corner, below, right], 1), np.stack([right, below, across], 1)]).astype(np.int32)


def _mesh(points: FloatArray, normals: FloatArray, texture: FloatArray, faces: IntArray) -> Mesh:
    v = len(points)
    return Mesh(
        points.astype(np.float32),
        normals.astype(np.float32),
        texture.astype(np.float32),
        np.zeros(v, np.int32),
        np.ones(v, np.float32),
        np.zeros(v, np.int32),
        faces.astype(np.int32),
    )


class Textures:
    """All textures of a scene in one row of texels; a material is the number of one."""

    def __init__(self) -> None:
        """Start without any."""
        self._texels: ImageArray = np.zeros((4096, 3), np.uint8)
        self._used = 0
        # Start, width and height of each.
        self._spans: IntArray = np.zeros((16, 3), np.int32)
        self._count = 0

    def add(self, image: ImageArray) -> int:
        """Take a texture, shape (h, w, 3) uint8 BGR, and return its material.

        Raises:
            ValueError: It has another shape or no texel.
        """
        check_shape("texture", image, ("h", "w", 3))
        height, width = image.shape[:2]
        if not image.size:
            raise ValueError("texture: expected at least one texel, got none")
        end = self._used + height * width
        if end > len(self._texels):
            self._texels = np.concatenate([self._texels, np.zeros((max(end, len(self._texels)), 3), np.uint8)])
        if self._count == len(self._spans):
            self._spans = np.concatenate([self._spans, np.zeros_like(self._spans)])
        self._spans[self._count] = self._used, width, height
        self._texels[self._used : end] = image.reshape(-1, 3)
        self._used = end
        self._count += 1
        return self._count - 1

    def plain(self, bgr: Sequence[int] | ImageArray) -> int:
        """Take one colour, and return its material."""
        return self.add(np.array(bgr, np.uint8).reshape(1, 1, 3))

    def replace(self, material: int, image: ImageArray) -> None:
        """Put another texture of the same size, shape (h, w, 3) uint8 BGR, in a material's place.

        Raises:
            ValueError: It has another size.
        """
        start, width, height = self._spans[material].tolist()
        check_shape("texture", image, (height, width, 3))
        self._texels[start : start + height * width] = image.reshape(-1, 3)

    def sample(self, material: IntArray, u: FloatArray, v: FloatArray) -> ImageArray:
        """Look up texels: shape (..., 3) for inputs of shape (...); places beyond 0 to 1 repeat the texture."""
        start, width, height = (self._spans[:, column][material] for column in range(3))
        # A hair beyond the last texel by rounding is the last texel, not the first again.
        column = ((u - np.floor(u - np.float32(1e-6))) * width).astype(np.int32)
        row = ((v - np.floor(v - np.float32(1e-6))) * height).astype(np.int32)
        np.minimum(column, width - 1, out=column)
        np.minimum(row, height - 1, out=row)
        return np.asarray(self._texels[start + row * width + column])
