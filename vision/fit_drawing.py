"""The layout drawn into a camera's picture, so that a person sees whether it fits; and how a camera has moved."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from vision.arrays import FloatArray, ImageArray
from vision.camera_check import CameraMove, scene_points
from vision.cameras import Camera
from vision.layout import StoreLayout

FLOOR_COLOUR = (200, 160, 60)
BIN_COLOUR = (120, 200, 255)
GONDOLA_COLOUR = (60, 120, 255)
PANE_COLOUR = (200, 80, 200)
MOVE_COLOUR = (0, 0, 255)
GRID_STEP_M = 0.5
PIECE_M = 0.1  # lines are cut so short that they bend with the lens and end where the picture ends
NEAREST_M = 0.3  # what is nearer to the lens, or behind it, is not drawn
ARROW_GRID = (9, 6)
ARROW_STRETCH = 3.0  # moves are drawn three times as long: a pixel would not be seen


def layout_drawn(image: ImageArray, camera: Camera, layout: StoreLayout) -> ImageArray:
    """Draw where the layout says that things are.

    The floor has a grid every half metre where people walk; each gondola's bins stand in one outline, with an edge for
    every shelf and bin; glass, mirrors and doors are outlined.

    Args:
        image: The camera's picture, shape (h, w, 3) BGR; of any size of the same view.
        camera: Where the camera is taken to hang.
        layout: What stands where.

    Returns:
        A new picture.
    """
    canvas = image.copy()
    camera = camera.resized((image.shape[1], image.shape[0]))
    for line in _floor_lines(layout):
        _line(canvas, camera, line, FLOOR_COLOUR)
    for surface in layout.surfaces:
        _line(canvas, camera, np.concatenate([surface.corners_m, surface.corners_m[:1]]), PANE_COLOUR)
    gondolas: dict[int | None, list[FloatArray]] = {}
    for each in layout.bins:
        if each.box is None:
            continue
        if not _faces(camera, each.box.world_from_box):
            continue
        corners = each.box.corners_m  # x to the right along the shelf, y into it, z up; front first
        front = corners[[0, 1, 5, 4, 0]]
        _line(canvas, camera, front, BIN_COLOUR)
        gondolas.setdefault(each.gondola_id, []).append(corners[[0, 1, 5, 4]])
    for fronts in gondolas.values():
        points = np.concatenate(fronts)
        foot, top = points[:, 2].min(), points[:, 2].max()
        ends = _farthest(points[:, :2])
        outline = [[*ends[0], foot], [*ends[1], foot], [*ends[1], top], [*ends[0], top], [*ends[0], foot]]
        _line(canvas, camera, np.array(outline), GONDOLA_COLOUR, 2)
    return canvas


def draw_move(image: ImageArray, camera: Camera, layout: StoreLayout, move: CameraMove) -> ImageArray:
    """Draw arrows from where things were seen to where they are seen since a camera has moved, three times as long.

    Args:
        image: Today's picture, shape (h, w, 3) BGR.
        camera: As it hung before.
        layout: What stands where.
        move: How it has moved.

    Returns:
        A new picture.
    """
    canvas = image.copy()
    height, width = canvas.shape[:2]
    camera = camera.resized((width, height))
    across, down = (np.linspace(0.06, 0.94, count) for count in ARROW_GRID)
    grid = np.stack(np.meshgrid(across * width, down * height), axis=-1).reshape(-1, 2)
    points, _ = scene_points(camera, layout, grid)
    now = replace(camera, cam_from_world=move.cam_from_world).image_points(points)
    for start, end in zip(grid, grid + ARROW_STRETCH * (now - grid), strict=True):
        if np.isfinite(end).all() and np.abs(end).max() < 4 * max(width, height):
            cv2.arrowedLine(canvas, _pixel(start), _pixel(end), MOVE_COLOUR, 1, cv2.LINE_AA, tipLength=0.3)
    return canvas


def beside(images: Sequence[ImageArray], titles: Sequence[str]) -> ImageArray:
    """Put pictures of one height beside each other, each with its title at the top left."""
    shown = []
    for image, title in zip(images, titles, strict=True):
        copy = image.copy()
        for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(copy, title, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, width, cv2.LINE_AA)
        shown.append(copy)
    return np.concatenate(shown, axis=1)


def _faces(camera: Camera, world_from_box: FloatArray) -> bool:
    """Whether a camera stands before the front of a box rather than behind it."""
    inward = world_from_box[:3, 1]
    return bool((world_from_box[:3, 3] - camera.position_m) @ inward > 0)


def _farthest(points: FloatArray) -> tuple[list[float], list[float]]:
    """The two ends of points that lie along a line, shape (n, 2)."""
    middle = points.mean(axis=0)
    way = np.linalg.svd(points - middle, full_matrices=False)[2][0]
    along = (points - middle) @ way
    return points[along.argmin()].tolist(), points[along.argmax()].tolist()


def _floor_lines(layout: StoreLayout) -> list[FloatArray]:
    if layout.walkable_m is None:
        return []
    polygon = layout.walkable_m
    lines = [np.column_stack([np.concatenate([polygon, polygon[:1]]), np.zeros(len(polygon) + 1)])]
    contour = polygon.astype(np.float32)[:, None]
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    for axis in (0, 1):
        along = np.arange(low[1 - axis], high[1 - axis] + PIECE_M, PIECE_M)
        for at in np.arange(np.ceil(low[axis] / GRID_STEP_M), high[axis] / GRID_STEP_M) * GRID_STEP_M:
            line = np.zeros((len(along), 3))
            line[:, axis], line[:, 1 - axis] = at, along
            inside = [cv2.pointPolygonTest(contour, (float(x), float(y)), False) >= 0 for x, y, _ in line]
            for value, group in itertools.groupby(range(len(line)), key=lambda row: inside[row]):
                rows = list(group)
                if value and len(rows) > 1:
                    lines.append(line[rows])
    return lines


def _line(
    canvas: ImageArray, camera: Camera, points_m: FloatArray, colour: tuple[int, int, int], width_px: int = 1
) -> None:
    pieces = []
    for start, end in itertools.pairwise(points_m):
        count = max(int(np.linalg.norm(end - start) / PIECE_M), 1)
        pieces.append(start + (end - start) * np.linspace(0, 1, count + 1)[:, None])
    fine = np.concatenate(pieces)
    depth = fine @ camera.cam_from_world[2, :3] + camera.cam_from_world[2, 3]
    pixels = camera.image_points(fine)
    limit = 2 * max(canvas.shape[:2])
    pixels[(depth < NEAREST_M) | (np.abs(pixels) > limit).any(axis=1)] = np.nan
    for start, end in itertools.pairwise(pixels):
        if np.isfinite([start, end]).all():
            cv2.line(canvas, _pixel(start), _pixel(end), colour, width_px, cv2.LINE_AA)


def _pixel(point: FloatArray) -> tuple[int, int]:
    return int(np.floor(point[0])), int(np.floor(point[1]))
