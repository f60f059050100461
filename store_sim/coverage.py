"""Which cameras to look through when not all of them are wanted: those that together see doors and most shelves."""

from collections.abc import Sequence

import numpy as np

from vision.arrays import BoolArray, FloatArray, IntArray
from vision.cameras import Camera
from vision.layout import StoreLayout

FARTHEST_M = 5.0
"""A hand in a bin farther away is a few pixels of a 640x360 picture."""
LOOKS_AT_ENOUGH = 2
"""A bin that two cameras see can be placed in the world by a hand's two rays; a third adds little."""
DOOR_WEIGHT = 0.5
"""A door against all bins: who is not seen coming in has no account, so it comes before what two cameras share. One
look is enough, for a code is bound to whoever stands there."""
DOORSTEP_M = 0.4
"""A door is seen by whoever sees people from head to foot a step inside it."""


def choose_cameras(layout: StoreLayout, count: int) -> tuple[str, ...]:
    """Choose the cameras that together see the doors, most bins at least twice, and then most of the floor.

    One after the other, whichever adds most (greedy cover); equal ones in the layout's order.

    Args:
        layout: The store with its calibrated cameras.
        count: How many.

    Returns:
        Their ids, in the layout's order; all of them when there are not more.

    Raises:
        ValueError: ``count`` is below 1, or the store has no calibrated camera.
    """
    if count < 1:
        raise ValueError(f"expected at least one camera, got {count}")
    if not layout.cameras:
        raise ValueError(f"layout {layout.name}: there is no calibrated camera")
    targets, weights, enough = _targets(layout)
    seen = np.stack([visible(camera, targets) for camera in layout.cameras])
    looks = np.zeros(len(targets), int)
    chosen: list[int] = []
    while len(chosen) < min(count, len(layout.cameras)):
        # The second look at a bin is worth as much as the first, a third next to nothing.
        worth = weights * np.where(looks < enough, 1.0, np.where(enough > 1, 0.05, 0.0))
        gains = [0.0 if i in chosen else float(worth[seen[i]].sum()) + 1e-9 for i in range(len(seen))]
        best = int(np.argmax(gains))
        chosen.append(best)
        looks += seen[best]
    return tuple(layout.cameras[i].camera_id for i in sorted(chosen))


def named_cameras(layout: StoreLayout, names: Sequence[str]) -> tuple[str, ...]:
    """Check that a store has these cameras; give them in its order.

    Raises:
        ValueError: It has no such calibrated camera; the message lists those it has.
    """
    known = [camera.camera_id for camera in layout.cameras]
    for name in names:
        if name not in known:
            raise ValueError(f"layout {layout.name}: there is no camera {name}, only {', '.join(known) or 'none'}")
    return tuple(camera_id for camera_id in known if camera_id in names)


def visible(camera: Camera, points_m: FloatArray) -> BoolArray:
    """Which world points, shape (n, 3), metres, lie in a camera's picture and near enough; walls hide nothing here."""
    pixels = camera.image_points(points_m)
    width, height = camera.resolution_wh
    with np.errstate(invalid="ignore"):
        inside = (pixels[:, 0] >= 0) & (pixels[:, 0] < width) & (pixels[:, 1] >= 0) & (pixels[:, 1] < height)
    near = np.linalg.norm(points_m - camera.position_m, axis=1) <= FARTHEST_M
    return np.asarray(inside & near)


def _targets(layout: StoreLayout) -> tuple[FloatArray, FloatArray, IntArray]:
    """Points to be seen, shape (n, 3), metres, their weights (n,), and how many looks at each are enough (n,).

    They are the bins' fronts, the floor they face, and people in the doors.
    """
    fronts, floor = [], []
    for a_bin in layout.bins:
        if a_bin.box is None:
            continue
        size = a_bin.box.size_m
        axes = a_bin.box.world_from_box
        fronts.append((axes @ [size[0] / 2, 0.0, size[2] / 2, 1.0])[:3])
        floor.append(((axes @ [size[0] / 2, -0.5, 0.0, 1.0])[:3]) * [1, 1, 0])
    people: list[FloatArray] = []
    doors = [line for line in (layout.entrance_m, layout.exit_m) if line is not None]
    middle = np.mean(floor, axis=0)[:2] if floor else np.zeros(2)
    for line in doors:
        across = np.array([line[0, 1] - line[1, 1], line[1, 0] - line[0, 0]])
        across *= np.sign(across @ (middle - line.mean(axis=0))) * DOORSTEP_M / np.linalg.norm(across)
        people += [np.array([*(line.mean(axis=0) + across), height_m]) for height_m in (0.1, 1.0, 1.7)]
    points = np.array(fronts + floor + people).reshape(-1, 3)
    counts = [len(fronts), len(floor), len(people)]
    a_person = DOOR_WEIGHT * max(len(fronts), 1) * len(doors) / max(len(people), 1)
    weights = np.repeat([1.0, 0.2, a_person], counts)
    return points, weights, np.repeat([LOOKS_AT_ENOUGH, LOOKS_AT_ENOUGH, 1], counts)
