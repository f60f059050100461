"""Hands that one camera alone sees: no place in the store, but a line of sight, which is still evidence."""

from collections.abc import Mapping

import numpy as np

from tracking.hands import MAX_MISS_M
from tracking.types import HandLines, Identities
from vision.arrays import BoolArray, FloatArray, IntArray
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
    found: list[tuple[IntArray, FloatArray, FloatArray, FloatArray]] = []
    for view in people.sightings if row_of else ():
        camera = cameras.get(view.camera_id)
        if camera is None:
            continue
        rows = np.array([row_of.get(identity_id, -1) for identity_id in view.identity_id.tolist()], np.int64)
        i, side = np.nonzero((rows >= 0)[:, None] & np.isfinite(view.hands_px).all(axis=2) & (view.hand_score > 0))
        rows, score = rows[i], view.hand_score[i, side].astype(float)
        directions = camera.ray_directions(view.hands_px[i, side])
        offsets = people.hands_m[rows] - camera.position_m  # (k, hands, 3)
        along = np.einsum("khi,ki->kh", offsets, directions)
        away = np.linalg.norm(offsets - along[..., None] * directions[:, None], axis=2)
        alone = ~(placed[rows] & (away <= MAX_MISS_M)).any(axis=1)
        rows, directions, score = rows[alone], directions[alone], score[alone]
        here = np.zeros_like(glimpsed)
        np.add.at(here, rows, score)
        found.append((rows, np.broadcast_to(camera.position_m, (len(rows), 3)), directions, score))
        glimpsed = np.maximum(glimpsed, here)
    share = np.clip(missing - glimpsed, 0, HANDS) / HANDS
    none = np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)
    rows, origins, directions, score = (np.concatenate(column) for column in zip(none, *found, strict=True))
    lines = HandLines(
        np.full(len(rows), people.timestamp_ns, np.int64),
        people.identity_id[rows],
        origins,
        directions,
        score,
        people.position_m[rows],
    )
    return lines, np.asarray(share)
