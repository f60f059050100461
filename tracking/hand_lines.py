"""Hands that one camera alone sees: no place in the store, but a line of sight, which is still evidence."""

from collections.abc import Mapping

import numpy as np

from tracking.hands import MAX_MISS_M
from tracking.types import HandLines, Identities
from vision.arrays import BoolArray, FloatArray
from vision.cameras import Camera

HANDS = 2


def lone_hands(people: Identities, cameras: Mapping[str, Camera]) -> tuple[HandLines, FloatArray]:
    """Find the lines of sight of hands that could not be placed in the world.

    Args:
        people: Everybody at one instant, with what each camera saw of them.
        cameras: The calibrated cameras by name; sightings of others tell nothing here.

    Returns:
        Lines of those who stand somewhere and have a hand that is not in ``people.hands_m``; a line that passes a hand
        which is there belongs to that one and is left out. And the share of each person's hands that no camera surely
        saw, shape (n,): a hand in the world counts as seen, one on a line by its score.
    """
    placed: BoolArray = np.asarray(np.isfinite(people.hands_m).all(axis=2))
    missing = HANDS - placed.sum(axis=1)
    wanted = (missing > 0) & np.isfinite(people.position_m).all(axis=1)
    row_of = {identity_id: row for row, identity_id in enumerate(people.identity_id.tolist()) if wanted[row]}
    glimpsed = np.zeros(len(people.identity_id))
    found: list[tuple[int, FloatArray, FloatArray, float]] = []
    for view in people.sightings if row_of else ():
        camera = cameras.get(view.camera_id)
        if camera is None:
            continue
        seen = np.argwhere(np.isfinite(view.hands_px).all(axis=2) & (view.hand_score > 0))
        seen = seen[[identity_id in row_of for identity_id in view.identity_id[seen[:, 0]].tolist()]]
        directions = camera.ray_directions(view.hands_px[seen[:, 0], seen[:, 1]])
        here = np.zeros_like(glimpsed)
        for (i, side), direction in zip(seen.tolist(), directions, strict=True):
            row = row_of[int(view.identity_id[i])]
            offsets = people.hands_m[row, placed[row]] - camera.position_m
            away = np.linalg.norm(offsets - (offsets @ direction)[:, None] * direction, axis=1)
            if (away <= MAX_MISS_M).any():
                continue
            score = float(view.hand_score[i, side])
            found.append((row, camera.position_m, direction, score))
            here[row] += score
        glimpsed = np.maximum(glimpsed, here)
    share = np.clip(missing - glimpsed, 0, HANDS) / HANDS
    rows = np.array([row for row, *_ in found], np.int64)
    lines = HandLines(
        np.full(len(found), people.timestamp_ns, np.int64),
        people.identity_id[rows],
        np.array([origin for _, origin, _, _ in found]).reshape(-1, 3),
        np.array([direction for _, _, direction, _ in found]).reshape(-1, 3),
        np.array([score for *_, score in found], float),
        people.position_m[rows],
    )
    return lines, np.asarray(share)
