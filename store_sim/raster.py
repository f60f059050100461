"""A camera's projection before OpenCV's triangle rasteriser, and its buffers.

The rasteriser knows pinhole cameras only. Points are therefore projected here, lens distortion and all, and handed to
it at the place where its own pinhole puts them on the very same pixel, at their true depth.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from store_sim.meshes import Mesh
from vision.arrays import FloatArray, IntArray
from vision.cameras import Camera

NEAR_M, FAR_M = 0.08, 80.0  # nothing comes nearer to a ceiling camera than its own housing
BRIGHTEST = 1.6  # light above 1 that a picture can still tell, as under a lamp


@dataclass(frozen=True, slots=True)
class Rect:
    """Rows top to bottom, columns left to right of a picture, the ends left out."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def empty(self) -> bool:
        """Whether there is no pixel in it."""
        return self.right <= self.left or self.bottom <= self.top

    @property
    def rows_columns(self) -> tuple[slice, slice]:
        """It as an index into pictures, shape (h, w, ...)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def overlap(self, other: "Rect") -> "Rect":
        """Return what lies in both."""
        return Rect(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def scaled(self, times: int) -> "Rect":
        """Return the same part of a picture that is so many times finer."""
        return Rect(self.left * times, self.top * times, self.right * times, self.bottom * times)


@dataclass(frozen=True, slots=True)
class Projected:
    """Points of a mesh as one camera sees them.

    Attributes:
        drawn: What goes into the rasteriser, shape (v, 3), float32.
        x: Column, shape (v,), float32 pixels.
        y: Row, shape (v,), float32 pixels.
        depth_m: Distance along the axis, shape (v,), float32.
    """

    drawn: FloatArray
    x: FloatArray
    y: FloatArray
    depth_m: FloatArray

    def faces_in(self, faces: IntArray, rect: Rect) -> IntArray:
        """Keep the triangles that lie before the camera and may touch a part of the picture."""
        # Which sides of the part a point is beyond; a triangle all beyond one side cannot touch it.
        beyond = (self.x < rect.left) * np.uint8(1) | (self.x > rect.right) * np.uint8(2)
        beyond |= (self.y < rect.top) * np.uint8(4) | (self.y > rect.bottom) * np.uint8(8)
        behind = np.uint8(16)
        beyond |= (self.depth_m <= NEAR_M) * behind
        if not len(beyond) or np.bitwise_and.reduce(beyond):
            return np.zeros((0, 3), np.int32)
        first, second, third = (beyond[faces[:, corner]] for corner in range(3))
        keep = (first & second & third == 0) & ((first | second | third) & behind == 0)
        return np.ascontiguousarray(faces[keep])


class Projection:
    """A camera's projection, continued smoothly beyond the picture, where the published polynomial may fold back."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.width, self.height = camera.resolution_wh
        self._matrix = camera.cam_from_world.astype(np.float32)
        self._rays: FloatArray | None = None
        k1, k2, _, _, k3 = (float(k) for k in camera.distortion)
        radius = np.linspace(0.0, 6.0, 6001)
        bent = radius * (1 + k1 * radius**2 + k2 * radius**4 + k3 * radius**6)
        rising = np.diff(bent) > 1e-5
        folds = int(np.argmin(rising)) if not rising.all() else len(radius) - 1
        corners = np.array([[x, y] for x in (0, self.width) for y in (0, self.height)], float)
        flat = (corners - camera.intrinsics[:2, 2]) / np.diag(camera.intrinsics)[:2]
        reached = float(np.interp(np.linalg.norm(flat, axis=1).max(), bent[: folds + 1], radius[: folds + 1]))
        self._radius_max = min(1.15 * reached, 0.995 * float(radius[folds]))

    def project(self, points_m: FloatArray) -> Projected:
        """See points, shape (v, 3), float32, world metres; what lies behind the camera gets a depth below 0."""
        px, py, pz = points_m.T
        m = self._matrix
        # Written out: a matrix product may round differently with the number of rows.
        x, y, z = (m[i, 0] * px + m[i, 1] * py + m[i, 2] * pz + m[i, 3] for i in range(3))
        before = np.maximum(z, np.float32(1e-3))
        x, y = x / before, y / before
        radius = np.sqrt(x * x + y * y)
        beyond = np.maximum(radius / np.float32(self._radius_max), np.float32(1))
        x, y = x / beyond, y / beyond
        k1, k2, p1, p2, k3 = (np.float32(k) for k in self.camera.distortion)
        square = x * x + y * y
        radial = 1 + square * (k1 + square * (k2 + square * k3))
        bent_x = (x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x)) * beyond
        bent_y = (y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y) * beyond
        fx, skew, cx = (np.float32(value) for value in self.camera.intrinsics[0])
        fy, cy = np.float32(self.camera.intrinsics[1, 1]), np.float32(self.camera.intrinsics[1, 2])
        column, row = fx * bent_x + skew * bent_y + cx, fy * bent_y + cy
        half = np.float32(self.height / 2)
        # The rasteriser sees 90 degrees from top to bottom, y up, along -z.
        drawn = np.stack(
            [
                (column - np.float32(self.width / 2)) / half * before,
                -(row - half) / half * before,
                -before,
            ],
            axis=1,
        )
        return Projected(np.ascontiguousarray(drawn, np.float32), column, row, z)

    def rect_of(self, points_m: FloatArray, margin_px: int = 2) -> Rect:
        """The part of the picture that points, shape (n, 3), lie in; all of it if one is behind the camera."""
        seen = self.project(points_m.astype(np.float32))
        if (seen.depth_m <= NEAR_M).all():
            return Rect(0, 0, 0, 0)
        if (seen.depth_m <= NEAR_M).any():
            return Rect(0, 0, self.width, self.height)
        return Rect(
            max(0, int(np.floor(seen.x.min())) - margin_px),
            max(0, int(np.floor(seen.y.min())) - margin_px),
            min(self.width, int(np.ceil(seen.x.max())) + margin_px),
            min(self.height, int(np.ceil(seen.y.max())) + margin_px),
        )

    def world_points(self, depth_m: FloatArray, rect: Rect, step: int = 1) -> FloatArray:
        """Find the world points that pixels show.

        Args:
            depth_m: Their depths, shape (h, w), metres.
            rect: The part of the picture.
            step: Take every so-manieth row and column of it, from the middle of the first such square.

        Returns:
            Shape (h, w, 3), float32, metres; the camera's own place where nothing is seen.
        """
        if self._rays is None:
            columns, rows = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
            directions = self.camera.ray_directions(np.stack([columns.ravel(), rows.ravel()], axis=1))
            along = directions @ self.camera.cam_from_world[2, :3]
            self._rays = (directions / along[:, None]).astype(np.float32).reshape(self.height, self.width, 3)
        reach = np.where(np.isfinite(depth_m), depth_m, np.float32(0))
        rays = self._rays[rect.rows_columns][step // 2 :: step, step // 2 :: step]
        return np.asarray(rays * reach[..., None] + self.camera.position_m.astype(np.float32))


def _settings(shading: int) -> cv2.TriangleRasterizeSettings:
    settings = cv2.TriangleRasterizeSettings()
    settings.setCullingMode(cv2.RASTERIZE_CULLING_CW)
    settings.setShadingType(shading)
    # Keeps the depth buffer as it is between calls, where the other mode converts it back and forth and loses digits.
    settings.setGlCompatibleMode(cv2.RASTERIZE_COMPAT_INVDEPTH)
    return settings


_FLAT, _SMOOTH = _settings(cv2.RASTERIZE_SHADING_FLAT), _settings(cv2.RASTERIZE_SHADING_SHADED)
_WORLD = np.eye(4)


def rasterise(
    drawn: FloatArray, faces: IntArray, values: FloatArray, buffer: FloatArray, depth: FloatArray, *, flat: bool = False
) -> None:
    """Draw triangles into a buffer (h, w, 3) and a depth (h, w), both float32, in place."""
    settings = _FLAT if flat else _SMOOTH
    cv2.triangleRasterize(drawn, faces, values, buffer, depth, _WORLD, np.pi / 2, NEAR_M, FAR_M, settings)


def rasterise_depth(drawn: FloatArray, faces: IntArray, depth: FloatArray) -> None:
    """Draw triangles into a depth (h, w), float32, alone, in place."""
    cv2.triangleRasterizeDepth(drawn, faces, depth, _WORLD, np.pi / 2, NEAR_M, FAR_M, _SMOOTH)


def metres(depth: FloatArray) -> FloatArray:
    """Distance along the axis from the rasteriser's depth, which is linear in one over it and 1 for nothing."""
    with np.errstate(divide="ignore"):
        metres = FAR_M * NEAR_M / (FAR_M - depth * (FAR_M - NEAR_M))
    return np.where(depth < 1, metres, np.inf).astype(np.float32)


def painted(mesh: Mesh, number: IntArray) -> FloatArray:
    """Texture place and, in one number, material (whole part) and light (fraction), shape (v, 3), float32."""
    light = np.clip(mesh.light / np.float32(BRIGHTEST), 0.03, 0.97)
    return np.column_stack([mesh.texture_uv, number + light]).astype(np.float32)


def rect_around(seen: Projected, faces: IntArray, lens: Projection) -> Rect:
    """The part of the picture that triangles lie in."""
    x, y = seen.x[faces], seen.y[faces]
    return Rect(
        int(np.clip(np.floor(x.min()) - 1, 0, lens.width)),
        int(np.clip(np.floor(y.min()) - 1, 0, lens.height)),
        int(np.clip(np.ceil(x.max()) + 1, 0, lens.width)),
        int(np.clip(np.ceil(y.max()) + 1, 0, lens.height)),
    )
