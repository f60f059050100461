"""Which cameras to look through when not all of them are wanted: those that together see most shelves, and the door."""

from collections.abc import Sequence

import numpy as np

from vision.arrays import BoolArray, FloatArray
from vision.cameras import Camera
from vision.layout import StoreLayout
from vision.shelf_faces import FLATTEST_SINE, watchable_faces

FARTHEST_M = 5.0
"""A hand in a bin farther away is a few pixels of a 640x360 picture."""
LOOKS_AT_ENOUGH = 2
"""A bin that two cameras see can be placed in the world by a hand's two rays; a third adds little."""
NEAR_M = 2.5
"""Up to here a look is worth most; farther away as much less as a hand's picture is smaller."""
DOORSTEP_M = 0.4
"""Whoever comes in is seen by a camera that sees people from head to foot so far inside the entrance."""


def choose_cameras(layout: StoreLayout, count: int) -> tuple[str, ...]:
    """Choose the cameras that together see most bins at least twice from before them, near enough to watch their faces.

    One after the other, whichever adds most (greedy cover); equal ones in the layout's order. A camera that hangs in
    the plane of the shelf fronts, or behind them, sees neither how deep a hand is nor what stands there. One of several
    sees the entrance, where that can be had: who is not seen coming in has no account.

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
    targets, outward, weights = _targets(layout)
    seen = np.stack([_look_worth(camera, targets, outward) for camera in layout.cameras])
    faces = [{face.bin_id for face, _ in watchable_faces(layout, camera)} for camera in layout.cameras]
    at_door = np.array([_sees_entrance(camera, layout) for camera in layout.cameras])
    looks = np.zeros(len(targets))
    watched: set[str] = set()
    chosen: list[int] = []
    while len(chosen) < min(count, len(layout.cameras)):
        # The second look at a bin is worth as much as the first, a third next to nothing; so is a second watched face.
        left = LOOKS_AT_ENOUGH - looks
        new = [np.minimum(look, left.clip(0)) + 0.05 * look for look in seen]
        gains = [float(weights @ new[i]) + len(faces[i] - watched) + 1e-9 for i in range(len(seen))]
        gains = [0.0 if i in chosen else gain for i, gain in enumerate(gains)]
        if len(chosen) == count - 1 > 0 and at_door.any() and not at_door[chosen].any():
            gains = [gain if at_door[i] else 0.0 for i, gain in enumerate(gains)]
        best = int(np.argmax(gains))
        chosen.append(best)
        looks += seen[best]
        watched |= faces[best]
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


def _sees_entrance(camera: Camera, layout: StoreLayout) -> bool:
    """Whether a camera sees somebody who comes in, from head to foot; False where the store has no entrance."""
    line = layout.entrance_m
    fronts = [a_bin.box.centre_m[:2] for a_bin in layout.bins if a_bin.box is not None]
    if line is None or not fronts:
        return False
    inward = np.array([line[0, 1] - line[1, 1], line[1, 0] - line[0, 0]]) / np.linalg.norm(line[1] - line[0])
    middle = line.mean(axis=0)
    if (np.mean(fronts, axis=0) - middle) @ inward < 0:
        inward = -inward
    x, y = middle + DOORSTEP_M * inward
    return bool(visible(camera, np.array([[x, y, 0.1], [x, y, 1.7]])).all())


def _look_worth(camera: Camera, points_m: FloatArray, outward: FloatArray) -> FloatArray:
    """How much a camera's look at points is worth, 0 to 1, shape (n,).

    Args:
        camera: It.
        points_m: The points, shape (n, 3).
        outward: Where they face, unit vectors, shape (n, 3): a look from behind or along the front is worth nothing.
    """
    away = camera.position_m - points_m
    distance_m = np.maximum(np.linalg.norm(away, axis=1), 1e-9)
    before = np.einsum("ni,ni->n", away, outward) / distance_m >= FLATTEST_SINE
    return np.asarray((visible(camera, points_m) & before) * np.minimum(1.0, NEAR_M / distance_m) ** 2)


def _targets(layout: StoreLayout) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points to be seen: the bins' fronts, and the floor before them, which faces up.

    Returns:
        Where they are, shape (n, 3), metres; where they face, unit vectors (n, 3); their weights (n,).
    """
    fronts, floor, outward = [], [], []
    for a_bin in layout.bins:
        if a_bin.box is None:
            continue
        size = a_bin.box.size_m
        axes = a_bin.box.world_from_box
        fronts.append((axes @ [size[0] / 2, 0.0, size[2] / 2, 1.0])[:3])
        outward.append(-axes[:3, 1])
        floor.append(((axes @ [size[0] / 2, -0.5, 0.0, 1.0])[:3]) * [1, 1, 0])
    points = np.array(fronts + floor).reshape(-1, 3)
    facing = np.array(outward + [np.array([0.0, 0.0, 1.0])] * len(floor)).reshape(-1, 3)
    return points, facing, np.repeat([1.0, 0.2], [len(fronts), len(floor)])
