"""Pictures of the simulated store as its ceiling cameras see it, with an exact id of what every pixel shows.

The rasteriser is OpenCV's own (``cv2.triangleRasterize``), so pictures need no display, no accelerator and no further
package. What stands still is drawn once for every camera, twice as fine as the picture, and drawn anew only where goods
have moved; a frame then costs only the people in it, who are drawn against the depth of what stands still. Points go
through the camera's own projection, distortion and all, before they are drawn, so a true point lands on its very pixel;
large faces are cut into small ones so that a lens can bend them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from store_sim.bodies import Skeletons
from store_sim.figures import Figures, Goods
from store_sim.merchandise import Merchandise
from store_sim.meshes import Mesh, Textures, joined
from store_sim.people import Wardrobe
from store_sim.raster import (
    BRIGHTEST,
    Projected,
    Projection,
    Rect,
    metres,
    painted,
    rasterise,
    rasterise_depth,
    rect_around,
)
from store_sim.scenery import (
    frame_mesh,
    gondola_mesh,
    gondolas_of,
    handle_m,
    paints,
    room_meshes,
    room_of,
    surface_mesh,
    trolley_mesh,
)
from vision.arrays import FloatArray, ImageArray, IntArray, check_shape
from vision.cameras import Camera
from vision.layout import StoreLayout

FINER = 2  # what stands still is drawn so much finer and shrunk: smooth edges and quiet labels
OUTSIDE_BGR = (212, 206, 200)  # a bright day where the world ends
GLASS_SHEEN = 0.1  # light that a pane sends back at steep angles: 8 % for two surfaces, and dust
MIRROR_LOSS = 0.12  # light that a shop's mirror does not send back
MOST_STALE = 64  # changes that a camera that nobody asks remembers one by one
BOUND_MARGIN_PX = 12  # a line through a strong lens bows less than this between points of a fifth of it
KEYPOINT_DEPTH_M = 0.17  # joints lie inside of bodies, at most half a stout trunk's depth


class Thing(IntEnum):
    """What a pixel may show."""

    SCENERY = 0  # floor, walls, doors, reflections
    GONDOLA = 1
    UNIT = 2  # one unit of a product
    PERSON = 3  # with clothes, bag and trolley


@dataclass(frozen=True, slots=True)
class Things:
    """What the ids of a picture stand for; the id is the row.

    Attributes:
        kind: Values of ``Thing``, shape (t,); row 0 is the scenery.
        row: Shape (t,): the gondola's number, the row in ``Goods``, or the row in ``Figures``; 0 for scenery.
    """

    kind: IntArray
    row: IntArray

    def __post_init__(self) -> None:
        check_shape("Things.kind", self.kind, ("t",))
        check_shape("Things.row", self.row, (len(self.kind),))


@dataclass(frozen=True, slots=True)
class Moving:
    """People and what they hold as the rasteriser drew them.

    Attributes:
        drawn: Corners before the rasteriser, shape (v, 3).
        faces: Triangles that may be in the picture, shape (f, 3).
        thing: The id each triangle belongs to, shape (f,).
    """

    drawn: FloatArray
    faces: IntArray
    thing: IntArray


@dataclass(frozen=True, slots=True)
class Picture:
    """What one camera sees at one instant, without the faults of its lens (``store_sim.lens``) but with its distortion.

    Attributes:
        camera_id: Which camera.
        image: Shape (h, w, 3), uint8 BGR.
        ids: Row of ``things`` that each pixel shows, shape (h, w), int32; None where no ids were asked for.
        depth_m: Distance of what each pixel shows along the camera's axis, shape (h, w), float32; infinite for
            nothing; None where no ids were asked for.
        things: What the ids stand for; None where no ids were asked for.
        moving: What moves in it, from which ``visible_boxes`` finds silhouettes; None where no ids were asked for.
    """

    camera_id: str
    image: ImageArray
    ids: IntArray | None = None
    depth_m: FloatArray | None = None
    things: Things | None = None
    moving: Moving | None = None


@dataclass(frozen=True, slots=True)
class VisibleBoxes:
    """The smallest boxes around what can be seen of people and of products in hands and trolleys.

    Attributes:
        kind: ``Thing.PERSON`` or ``Thing.UNIT``, shape (n,).
        row: Row in ``Figures`` or ``Goods``, shape (n,).
        xyxy: Shape (n, 4), float32 pixels, from the top-left corner of the top-left pixel.
        share: Part of its silhouette within the picture that nothing hides, shape (n,), above 0, at most 1.
    """

    kind: IntArray
    row: IntArray
    xyxy: FloatArray
    share: FloatArray

    def __post_init__(self) -> None:
        check_shape("VisibleBoxes.kind", self.kind, ("n",))
        check_shape("VisibleBoxes.row", self.row, (len(self.kind),))
        check_shape("VisibleBoxes.xyxy", self.xyxy, (len(self.kind), 4))
        check_shape("VisibleBoxes.share", self.share, (len(self.kind),))

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True, slots=True)
class _Bounded:
    """A mesh and points of a grid through the box around it, shape (k, 3), float32, by which it is soon left out."""

    mesh: Mesh
    around_m: FloatArray

    @classmethod
    def of(cls, mesh: Mesh) -> "_Bounded":
        if not len(mesh.points_m):
            return cls(mesh, mesh.points_m)
        low, high = mesh.points_m.min(axis=0), mesh.points_m.max(axis=0)
        return cls(mesh, (low + _GRID * (high - low)).astype(np.float32))


# Under a strong lens a box's edges bow: points along them are needed, not its corners alone.
_GRID = np.stack(np.meshgrid(*[np.linspace(0, 1, 5)] * 3), axis=-1).reshape(-1, 3)


@dataclass(slots=True)
class _Mirror:
    """A mirror as one camera sees it.

    Attributes:
        thing: What the mirror's pixels are marked with while drawing.
        normal: Unit vector towards the camera, shape (3,).
        offset: So that ``normal @ p + offset`` is the distance before the mirror.
        image: What is seen in it, shape (h, w, 3), uint8; only right where the mirror is.
        depth: Rasteriser's depth of that, shape (h, w), float32.
    """

    thing: int
    normal: FloatArray
    offset: float
    image: ImageArray
    depth: FloatArray

    def reflected(self, points_m: FloatArray) -> FloatArray:
        away = points_m @ self.normal.astype(np.float32) + np.float32(self.offset)
        return np.asarray(points_m - 2 * away[:, None] * self.normal.astype(np.float32))

    def faces(self, mesh: Mesh) -> IntArray:
        """Triangles before the mirror; their corners go the other way round in it."""
        before = mesh.points_m @ self.normal.astype(np.float32) + np.float32(self.offset) > 0.01
        return np.asarray(mesh.faces[before[mesh.faces].all(axis=1)][:, ::-1])


@dataclass(slots=True)
class _View:
    """What one camera sees of all that stands still.

    Attributes:
        lens: Its projection.
        image: Shape (h, w, 3), uint8.
        depth: The rasteriser's, shape (h, w), float32.
        marks: ``Mesh.thing`` of each pixel, below 0 for mirrors, shape (h, w).
        ids: The same with 0 for mirrors.
        glass: The rasteriser's depth of the nearest pane, shape (h, w), float32; None without glass.
        mirrors: What is seen in each.
        stale_m: Corners, each shape (n, 3), around what has moved since; no rows when nothing is right.
    """

    lens: Projection
    image: ImageArray
    depth: FloatArray
    marks: IntArray
    ids: IntArray
    glass: FloatArray | None = None
    mirrors: list[_Mirror] = field(default_factory=list)
    stale_m: list[FloatArray] = field(default_factory=lambda: [np.zeros((0, 3))])


class Renderer:
    """Draws one store for some of its cameras; keeps what stands still, so that a frame costs only what moves."""

    def __init__(self, layout: StoreLayout, camera_ids: Sequence[str], seed: int, *, antialias: bool = False) -> None:
        """Build the shop.

        Args:
            layout: The store (the day's layout).
            camera_ids: Cameras that pictures will be asked of; they must be calibrated.
            seed: Decides floor, wall and paint; equal seeds give equal pictures.
            antialias: Whether people's edges are smoothed too (the shop's always are).

        Raises:
            ValueError: The layout has no such calibrated camera.
        """
        cameras = {camera.camera_id: camera for camera in layout.cameras}
        missing = [camera_id for camera_id in camera_ids if camera_id not in cameras]
        if missing:
            known = ", ".join(cameras) or "none"
            raise ValueError(f"layout {layout.name}: expected calibrated cameras ({known}), got {missing[0]}")
        self._layout, self._antialias = layout, antialias
        self._textures = Textures()
        self._paint = paints(self._textures, np.random.default_rng([seed, 1]))
        self._gondolas = gondolas_of(layout)
        self._room = room_of(layout, self._gondolas)
        still = list(room_meshes(layout, self._gondolas, self._room, self._paint))
        for index, gondola in enumerate(self._gondolas):
            mesh = gondola_mesh(gondola, self._gondolas, self._room, self._paint, 1 + index)
            still.append(mesh)
        self._glass: list[Mesh] = []
        self._mirrors: list[tuple[int, FloatArray]] = []
        for surface in layout.surfaces:
            flat = surface_mesh(surface, self._paint, self._room)
            if surface.kind in ("glass", "door"):
                self._glass.append(flat)
                still.append(frame_mesh(surface, self._room, self._paint))
            elif surface.kind == "mirror":
                mark = -2 - len(self._mirrors)
                self._mirrors.append((mark, surface.corners_m))
                still.append(flat.marked(thing=mark))
                still.append(frame_mesh(surface, self._room, self._paint))
            else:
                still.append(flat)
        self._still = [_Bounded.of(mesh) for mesh in still]
        self._cells: dict[int, _Bounded] = {}
        self._merchandise = Merchandise(layout, self._gondolas, self._textures)
        self._trolley = trolley_mesh(self._paint)
        self._wardrobe = Wardrobe(self._textures)
        self._views = {camera_id: self._new_view(cameras[camera_id]) for camera_id in camera_ids}
        self._dressed: tuple[Skeletons, Mesh] | None = None

    def aim(self, camera: Camera) -> None:
        """See through this camera from now on instead of the layout's of the same id, as after somebody knocked it.

        Raises:
            ValueError: The renderer was not built for a camera of this id.
        """
        self._view(camera.camera_id)
        self._views[camera.camera_id] = self._new_view(camera)

    def render(
        self, camera_id: str, figures: Figures, skeletons: Skeletons, goods: Goods, *, with_ids: bool = False
    ) -> Picture:
        """Draw what a camera sees.

        Args:
            camera_id: One of the cameras it was built for.
            figures: People.
            skeletons: Their posed bodies, ``store_sim.bodies.pose(figures)``.
            goods: Every unit of every product.
            with_ids: Whether to tell what each pixel shows as well.

        Raises:
            ValueError: There is no such camera, or figures and skeletons differ in number.
        """
        if len(figures) != len(skeletons):
            raise ValueError(f"render: expected a skeleton for each of {len(figures)} figures, got {len(skeletons)}")
        view = self._view(camera_id)
        self._note(self._merchandise.look(goods, 1 + len(self._gondolas)))
        self._refresh(view)
        image, depth = view.image.copy(), view.depth.copy()
        ids = view.ids.copy() if with_ids else None
        first = 1 + len(self._gondolas)
        moving = joined(
            [
                self._people(figures, skeletons, first + len(goods.sku_index)),
                self._trolleys(figures, first + len(goods.sku_index)),
                self._merchandise.held(figures, skeletons, goods, first),
                self._merchandise.carted(figures, goods, first),
            ]
        )
        self._cast_shadows(view, figures, skeletons, image)
        drawn = self._draw_moving(view, moving, image, depth, ids)
        if not with_ids:
            return Picture(camera_id, image)
        numbers = [0, *(gondola.number or 0 for gondola in self._gondolas)]
        counts = [1, len(self._gondolas), len(goods.sku_index), len(figures)]
        things = Things(
            np.repeat(np.array(list(Thing), np.int64), counts),
            np.concatenate([numbers, np.arange(counts[2]), np.arange(counts[3])]).astype(np.int64),
        )
        return Picture(camera_id, image, ids, metres(depth), things, drawn)

    def _view(self, camera_id: str) -> _View:
        if camera_id not in self._views:
            raise ValueError(f"render: expected one of the cameras {', '.join(self._views)}, got {camera_id}")
        return self._views[camera_id]

    def _new_view(self, camera: Camera) -> _View:
        width, height = camera.resolution_wh
        view = _View(
            Projection(camera),
            np.zeros((height, width, 3), np.uint8),
            np.ones((height, width), np.float32),
            np.zeros((height, width), np.int32),
            np.zeros((height, width), np.int32),
        )
        for mark, corners in self._mirrors:
            normal = np.cross(corners[1] - corners[0], corners[3] - corners[0])
            normal /= np.linalg.norm(normal)
            if normal @ (camera.position_m - corners[0]) < 0:
                normal = -normal
            blank = np.zeros((height, width, 3), np.uint8), np.ones((height, width), np.float32)
            view.mirrors.append(_Mirror(mark, normal, -float(normal @ corners[0]), *blank))
        if self._glass:
            pane = np.ones((height, width), np.float32)
            mesh = joined(self._glass)
            seen = view.lens.project(mesh.points_m)
            faces = seen.faces_in(mesh.faces, Rect(0, 0, width, height))
            if len(faces):
                rasterise_depth(seen.drawn, faces, pane)
            view.glass = pane
        return view

    def _note(self, moved_m: FloatArray | None) -> None:
        """Let every camera know where goods have moved."""
        if moved_m is None:
            return
        for view in self._views.values():
            if len(view.stale_m) == MOST_STALE or not len(moved_m):
                view.stale_m = [np.zeros((0, 3))]
            elif all(len(corners) for corners in view.stale_m):
                view.stale_m.append(moved_m)

    def _refresh(self, view: _View) -> None:
        """Draw what stands still, as far as it has changed since this camera looked last."""
        if not view.stale_m:
            return
        rect = Rect(0, 0, view.lens.width, view.lens.height)
        if all(len(corners) for corners in view.stale_m):
            rect = view.lens.rect_of(np.concatenate(view.stale_m))
        view.stale_m = []
        if not rect.empty or view.mirrors:
            self._bake(view, rect)

    def _bake(self, view: _View, rect: Rect) -> None:
        """Draw what stands still in a part of the picture, and what is seen of it in mirrors."""
        again = np.zeros(view.depth.shape, bool)
        if not rect.empty:
            area = rect.rows_columns
            view.image[area], view.depth[area], view.marks[area] = self._standing(view.lens, rect)
            view.ids[area] = np.maximum(view.marks[area], 0)
            again[area] = True
        for mirror in view.mirrors:
            shown = view.marks == mirror.thing
            if not shown.any():
                continue
            rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
            around = Rect(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
            seen, mirror.depth[around.rows_columns], _ = self._standing(view.lens, around, mirror)
            mirror.image[around.rows_columns] = _dimmed(seen)
            view.image[shown] = mirror.image[shown]
            again |= shown
        if view.glass is not None:
            again &= view.glass < view.depth
            view.image[again] = _through_glass(view.image[again])

    def _standing(
        self, lens: Projection, rect: Rect, mirror: _Mirror | None = None
    ) -> tuple[ImageArray, FloatArray, IntArray]:
        """Draw what stands still in a part of a picture, or in a mirror.

        Returns:
            Of that part, the picture (h, w, 3) uint8, the rasteriser's depth (h, w) and what each pixel is of
            ``Mesh.thing`` (h, w), 0 for nothing.
        """
        fine = np.zeros((lens.height * FINER, lens.width * FINER, 3), np.float32)
        fine_depth = np.zeros(fine.shape[:2], np.float32)  # 0 keeps everything out
        marks = np.zeros((lens.height, lens.width, 3), np.float32)
        depth = np.zeros(marks.shape[:2], np.float32)
        area, fine_area = rect.rows_columns, rect.scaled(FINER).rows_columns
        fine_depth[fine_area] = 1.0
        depth[area] = 1.0
        for mesh in self._standing_meshes(lens, rect, mirror):
            if mirror is None:
                seen, faces = lens.project(mesh.points_m), mesh.faces
            else:
                seen, faces = lens.project(mirror.reflected(mesh.points_m)), mirror.faces(mesh)
            faces = seen.faces_in(faces, rect)
            if len(faces):
                rasterise(seen.drawn, faces, painted(mesh, mesh.material), fine, fine_depth)
                things = np.repeat(mesh.thing[:, None].astype(np.float32), 3, axis=1)
                rasterise(seen.drawn, faces, things, marks, depth, flat=True)
        image = self._resolved(fine[fine_area], fine_depth[fine_area])
        return image, depth[area], np.rint(marks[area][..., 0]).astype(np.int32) * (depth[area] < 1)

    def _standing_meshes(self, lens: Projection, rect: Rect, mirror: _Mirror | None) -> Iterator[Mesh]:
        """What stands still and may be seen in a part of the picture."""
        cells = self._merchandise.cells
        for number in cells:
            if number not in self._cells or self._cells[number].mesh is not cells[number]:
                self._cells[number] = _Bounded.of(cells[number])
        # Always in the same order: where two surfaces lie in one place the first is seen.
        for bounded in (*self._still, *(self._cells[number] for number in sorted(cells))):
            if not len(bounded.mesh):
                continue
            around = bounded.around_m if mirror is None else mirror.reflected(bounded.around_m)
            if not lens.rect_of(around, margin_px=BOUND_MARGIN_PX).overlap(rect).empty:
                yield bounded.mesh

    def _resolved(self, values: FloatArray, depth: FloatArray) -> ImageArray:
        """Turn rasterised places in textures into a picture, and shrink it."""
        material = np.floor(values[..., 2]).astype(np.int32)
        light = (values[..., 2] - material) * np.float32(BRIGHTEST)
        colour = self._textures.sample(material, values[..., 0], values[..., 1]).astype(np.float32)
        colour *= light[..., None]
        colour[depth >= 1] = OUTSIDE_BGR
        size = colour.shape[1] // FINER, colour.shape[0] // FINER
        return _bytes(cv2.resize(np.minimum(colour, 255), size, interpolation=cv2.INTER_AREA))

    def _people(self, figures: Figures, skeletons: Skeletons, first: int) -> Mesh:
        if self._dressed is None or self._dressed[0] is not skeletons:
            self._dressed = skeletons, self._wardrobe.dressed(figures, skeletons)
        mesh = self._dressed[1]
        return replace(mesh, thing=mesh.thing + np.int32(first))

    def _trolleys(self, figures: Figures, first: int) -> Mesh:
        rows = np.flatnonzero(figures.trolley)
        if not len(rows):
            return joined([])
        heading = figures.heading_rad[rows]
        position = np.zeros((len(rows), 3))
        for place, row in zip(position, rows, strict=True):
            place[:2] = handle_m(figures.position_m[row], figures.heading_rad[row], figures.height_m[row])
        return self._trolley.repeated(position, heading, np.ones(len(rows)), first + rows)

    def _cast_shadows(self, view: _View, figures: Figures, skeletons: Skeletons, image: ImageArray) -> None:
        """Darken what lies under and beside people: lamps all over the ceiling leave soft shadows around the feet."""
        for row in range(len(figures)):
            spots = [(figures.position_m[row], 0.34, 0.27, 0.5)]
            for ankle in skeletons.joints_m[row, -2:]:
                lifted = float(np.exp(-max(ankle[2] - 0.08, 0.0) / 0.15))
                spots.append((ankle[:2], 0.4 * lifted, 0.1, 0.12))
            reach = np.array([[x, y, z] for x in (-0.6, 0.6) for y in (-0.6, 0.6) for z in (0.0, 0.6)])
            rect = view.lens.rect_of(reach + np.array([*figures.position_m[row], 0.0]))
            if rect.empty:
                continue
            area = rect.rows_columns
            # Soft things need no fine grid: every third pixel, and smoothly between.
            points = view.lens.world_points(metres(view.depth[area][1::3, 1::3]), rect, step=3)
            height = np.maximum(points[..., 2], 0)
            kept = np.ones(height.shape, np.float32)
            for middle, strength, wide, high in spots:
                square = (points[..., 0] - np.float32(middle[0])) ** 2 + (points[..., 1] - np.float32(middle[1])) ** 2
                kept *= 1 - np.float32(strength) * np.exp(
                    square * np.float32(-0.5 / wide**2) - height * np.float32(1 / high)
                )
            if kept.size and kept.min() < 0.995:
                fine = cv2.resize(kept, (rect.right - rect.left, rect.bottom - rect.top))
                image[area] = cv2.multiply(image[area], cv2.merge([fine] * 3), dtype=cv2.CV_8U)

    def _draw_moving(
        self,
        view: _View,
        mesh: Mesh,
        image: ImageArray,
        depth: FloatArray,
        ids: IntArray | None,
    ) -> Moving:
        """Draw people and what they hold over what stands still."""
        lens = view.lens
        # One number says both material and thing, so that one pass gives colours and ids.
        pairs, slot = np.unique(mesh.thing.astype(np.int64) << 20 | mesh.material, return_inverse=True)
        materials, things = (pairs & (1 << 20) - 1).astype(np.int32), (pairs >> 20).astype(np.int32)
        values = painted(mesh, slot)
        for mirror in view.mirrors:
            self._draw_mirrored(view, mirror, mesh, values, materials, image)
        seen = lens.project(mesh.points_m)
        faces = seen.faces_in(mesh.faces, Rect(0, 0, lens.width, lens.height))
        drawn = Moving(seen.drawn, faces, mesh.thing[faces[:, 0]])
        if not len(faces):
            return drawn
        rect = rect_around(seen, faces, lens)
        area = rect.rows_columns
        buffer = np.empty((lens.height, lens.width, 3), np.float32)
        rasterise(seen.drawn, faces, values, buffer, depth)
        fresh = depth[area] < view.depth[area]
        shown = np.floor(buffer[area][fresh][:, 2]).astype(np.int32)
        if ids is not None:
            ids[area][fresh] = things[shown]
        if self._antialias:
            self._smooth(view, seen, faces, values, materials, image, rect)
            return drawn
        colour = self._coloured(buffer[area][fresh], materials)
        if view.glass is not None:
            behind = view.glass[area][fresh] < depth[area][fresh]
            colour[behind] = _through_glass(colour[behind])
        image[area][fresh] = colour
        return drawn

    def _coloured(self, values: FloatArray, materials: IntArray) -> ImageArray:
        """Colours, shape (n, 3) uint8, of rasterised values, shape (n, 3)."""
        slot = np.floor(values[:, 2]).astype(np.int32)
        light = (values[:, 2] - slot) * np.float32(BRIGHTEST)
        return _bytes(self._textures.sample(materials[slot], values[:, 0], values[:, 1]) * light[:, None])

    def _smooth(
        self,
        view: _View,
        seen: Projected,
        faces: IntArray,
        values: FloatArray,
        materials: IntArray,
        image: ImageArray,
        rect: Rect,
    ) -> None:
        """Draw people twice as fine and blend their edges with what is behind."""
        lens = view.lens
        fine = np.empty((lens.height * FINER, lens.width * FINER, 3), np.float32)
        still = np.zeros(fine.shape[:2], np.float32)
        area, fine_area = rect.rows_columns, rect.scaled(FINER).rows_columns
        still[fine_area] = np.repeat(np.repeat(view.depth[area], FINER, 0), FINER, 1)
        depth = still.copy()
        rasterise(seen.drawn, faces, values, fine, depth)
        fresh = depth[fine_area] < still[fine_area]
        drawn = fine[fine_area][fresh]
        colour = self._coloured(drawn, materials)
        if view.glass is not None:
            panes = np.repeat(np.repeat(view.glass[area], FINER, 0), FINER, 1)
            behind = panes[fresh] < depth[fine_area][fresh]
            colour[behind] = _through_glass(colour[behind])
        canvas = np.repeat(np.repeat(image[area], FINER, 0), FINER, 1)
        canvas[fresh] = colour
        image[area] = cv2.resize(canvas, (rect.right - rect.left, rect.bottom - rect.top), interpolation=cv2.INTER_AREA)

    def _draw_mirrored(
        self, view: _View, mirror: _Mirror, mesh: Mesh, values: FloatArray, materials: IntArray, image: ImageArray
    ) -> None:
        shown = view.marks == mirror.thing
        if not shown.any():
            return
        lens = view.lens
        seen = lens.project(mirror.reflected(mesh.points_m))
        faces = mirror.faces(mesh)
        faces = seen.faces_in(faces, Rect(0, 0, lens.width, lens.height))
        if not len(faces):
            return
        depth = np.where(shown, mirror.depth, np.float32(0))
        still = depth.copy()
        buffer = np.zeros((lens.height, lens.width, 3), np.float32)
        rasterise(seen.drawn, faces, values, buffer, depth)
        fresh = depth < still
        colour = _dimmed(self._coloured(buffer[fresh], materials))
        if view.glass is not None:
            behind = view.glass[fresh] < view.depth[fresh]
            colour[behind] = _through_glass(colour[behind])
        image[fresh] = colour


def visible_boxes(picture: Picture) -> VisibleBoxes:
    """Find the exact boxes of the people and carried units that can be seen, by their ids.

    Raises:
        ValueError: The picture was drawn without ids.
    """
    ids, things, moving, _ = _with_ids(picture)
    kinds, rows, boxes, shares = [], [], [], []
    alone = np.ones(ids.shape, np.float32)
    for thing in np.unique(moving.thing):
        shown = np.equal(ids, thing)
        lines, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
        if not len(lines):
            continue
        rasterise_depth(moving.drawn, np.ascontiguousarray(moving.faces[moving.thing == thing]), alone)
        whole = int((alone < 1).sum())
        alone[:] = 1.0
        kinds.append(int(things.kind[thing]))
        rows.append(int(things.row[thing]))
        boxes.append([columns[0], lines[0], columns[-1] + 1, lines[-1] + 1])
        shares.append(int(shown.sum()) / whole)
    return VisibleBoxes(
        np.array(kinds, np.int64),
        np.array(rows, np.int64),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(shares),
    )


def keypoints_seen(picture: Picture, camera: Camera, points_m: FloatArray) -> IntArray:
    """Tell which points of people can be seen, in COCO's words.

    Args:
        picture: Drawn with ids.
        camera: The camera it was drawn with.
        points_m: Key points of the people in ``Figures`` order, shape (n, k, 3), world metres.

    Returns:
        Shape (n, k): 2 visible, 1 in the picture but hidden (also by the person's own body), 0 outside the picture.

    Raises:
        ValueError: The picture was drawn without ids.
    """
    ids, things, _, shown_m = _with_ids(picture)
    check_shape("points_m", points_m, ("n", "k", 3))
    people = np.flatnonzero(things.kind == Thing.PERSON)
    flat = points_m.reshape(-1, 3)
    image_points = camera.image_points(flat)
    depth_m = flat @ camera.cam_from_world[2, :3] + camera.cam_from_world[2, 3]
    height, width = ids.shape
    with np.errstate(invalid="ignore"):
        inside = np.all((image_points >= 0) & (image_points < np.array([width, height])), axis=1)
    pixels = np.where(np.reshape(inside, (-1, 1)), image_points, 0).astype(np.int64)
    column, row = pixels[:, 0], pixels[:, 1]
    owner = np.repeat(people[: len(points_m)], points_m.shape[1])
    # A wrist may lie a pixel beside the drawn arm: its neighbours count as well.
    near = np.zeros(len(flat), bool)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            at = np.clip(row + down, 0, height - 1), np.clip(column + right, 0, width - 1)
            near |= np.equal(ids[at], owner) & (shown_m[at] > depth_m - KEYPOINT_DEPTH_M)
    return np.where(inside, np.where(near, 2, 1), 0).reshape(points_m.shape[:2])


def _with_ids(picture: Picture) -> tuple[IntArray, Things, Moving, FloatArray]:
    ids, things, moving, depth_m = picture.ids, picture.things, picture.moving, picture.depth_m
    if ids is None or things is None or moving is None or depth_m is None:
        raise ValueError(f"camera {picture.camera_id}: expected a picture drawn with ids, got one without")
    return ids, things, moving, depth_m


def _bytes(image: NDArray[Any]) -> ImageArray:
    return np.asarray(np.clip(image + np.float32(0.5), 0, 255), np.uint8)


def _through_glass(colours: ImageArray) -> ImageArray:
    """Colours, shape (n, 3) uint8, as seen through a pane."""
    return _bytes(colours * np.float32(1 - GLASS_SHEEN) + np.float32(GLASS_SHEEN * 190))


def _dimmed(colours: ImageArray) -> ImageArray:
    """Colours, shape (..., 3) uint8, as seen in a mirror."""
    return _bytes(colours * np.float32(1 - MIRROR_LOSS))
