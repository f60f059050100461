"""From COCO key-points to hands and feet: where a body touches shelves and the floor."""

import numpy as np

from vision.arrays import BoolArray, FloatArray, check_shape
from vision.detections import (
    KEYPOINT_COUNT,
    LEFT_ANKLE,
    LEFT_ELBOW,
    LEFT_WRIST,
    RIGHT_ANKLE,
    RIGHT_ELBOW,
    RIGHT_WRIST,
)

LEFT_KNEE, RIGHT_KNEE = 13, 14

MIN_VISIBILITY = 0.5
"""A pose model's visibility is a sigmoid trained on "seen or not"; above one half, seen is the likelier."""

GRIP_PER_FOREARM = 0.375
"""How far the middle of the grip lies beyond the wrist, as a share of the length from elbow to wrist.

Elbow to grip is about 36 cm and elbow to wrist 26 cm in a median adult (Pheasant & Haslegrave, *Bodyspace*, 2006),
which gives 0.35 to 0.4 over men and women.
"""

SOLE_PER_SHANK = 0.16
"""How far the sole lies beyond the ankle, as a share of the length from knee to ankle.

Ankle height is 0.039 and knee to ankle 0.246 of a person's height (Drillis & Contini, *Body Segment Parameters*, 1966).
"""

EDGE_SHARE = 0.04
"""A box this close to the picture's edge, as a share of its own side, is taken as cut by it: what detectors miss by."""


def hand_points(keypoints: FloatArray, *, min_visibility: float = MIN_VISIBILITY) -> tuple[FloatArray, FloatArray]:
    """Find the hands of people: beyond the wrist, along the forearm.

    Args:
        keypoints: (x, y, visibility) of COCO's 17 points, shape (n, 17, 3), pixels; (n, 0, 3) gives no hands.
        min_visibility: Visibility from which a point counts as seen.

    Returns:
        Left and right hand, shape (n, 2, 2), pixels, nan where the wrist is not seen; where only the elbow is not seen
        the wrist itself stands for the hand. And the visibility of each wrist, shape (n, 2), 0 where the hand is nan.

    >>> body = np.zeros((1, 17, 3))
    >>> body[0, LEFT_ELBOW], body[0, LEFT_WRIST] = (100, 50, 0.9), (140, 50, 0.8)
    >>> hands, score = hand_points(body)
    >>> hands[0].tolist(), score[0].tolist()
    ([[155.0, 50.0], [nan, nan]], [0.8, 0.0])
    """
    elbows, elbows_seen = _seen(keypoints, LEFT_ELBOW, RIGHT_ELBOW, min_visibility)
    wrists, wrists_seen = _seen(keypoints, LEFT_WRIST, RIGHT_WRIST, min_visibility)
    hands = _beyond(elbows, elbows_seen, wrists, wrists_seen, GRIP_PER_FOREARM)
    return hands, np.asarray(np.where(wrists_seen, wrists[..., 2], 0.0))


def body_feet(
    xyxy: FloatArray,
    keypoints: FloatArray,
    resolution_wh: tuple[int, int],
    *,
    min_visibility: float = MIN_VISIBILITY,
) -> FloatArray:
    """Find the point on the floor that people stand on.

    Feet that are seen decide: the middle of the soles, each a little beyond its ankle along the shin. Else it is the
    bottom centre of the box, unless the picture's lower, left or right edge cuts the box: such a box ends where the
    picture ends, not where the person stands, so there is no answer.

    Args:
        xyxy: Boxes (left, top, right, bottom), shape (n, 4), pixels.
        keypoints: (x, y, visibility) of COCO's 17 points, shape (n, 17, 3), or (n, 0, 3) from a plain detector.
        resolution_wh: Width and height of the picture, pixels.
        min_visibility: Visibility from which a key-point counts as seen.

    Returns:
        Foot points (x, y), shape (n, 2), pixels; nan where the feet are not in the picture.
    """
    check_shape("xyxy", xyxy, ("n", 4))
    check_shape("keypoints", keypoints, (len(xyxy), "k", 3))
    width, height = resolution_wh
    boxes = np.asarray(xyxy, np.float64)
    margin_x = np.maximum((boxes[:, 2] - boxes[:, 0]) * EDGE_SHARE, 2.0)
    margin_y = np.maximum((boxes[:, 3] - boxes[:, 1]) * EDGE_SHARE, 2.0)
    cut = np.asarray(
        (boxes[:, 3] > height - margin_y)
        | (boxes[:, 0] < margin_x)
        | (boxes[:, 2] > width - margin_x)
        | ~np.isfinite(boxes).all(axis=1)
    )
    feet = np.column_stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]])
    feet[cut] = np.nan

    knees, knees_seen = _seen(keypoints, LEFT_KNEE, RIGHT_KNEE, min_visibility)
    ankles, ankles_seen = _seen(keypoints, LEFT_ANKLE, RIGHT_ANKLE, min_visibility)
    knees_seen &= _inside(knees, width, height)
    ankles_seen &= _inside(ankles, width, height)
    soles = _beyond(knees, knees_seen, ankles, ankles_seen, SOLE_PER_SHANK)
    known = np.asarray(np.isfinite(soles).all(axis=2))
    count = known.sum(axis=1)
    stands = count > 0
    feet[stands] = np.where(known[..., None], soles, 0.0).sum(axis=1)[stands] / count[stands, None]
    return feet


def _seen(keypoints: FloatArray, left: int, right: int, min_visibility: float) -> tuple[FloatArray, BoolArray]:
    """Give the left and right joint of people, shape (n, 2, 3), and which of them are seen, shape (n, 2)."""
    if keypoints.ndim == 3 and keypoints.shape[1] == 0:
        return np.full((len(keypoints), 2, 3), np.nan), np.zeros((len(keypoints), 2), bool)
    check_shape("keypoints", keypoints, ("n", KEYPOINT_COUNT, 3))
    points = keypoints[:, left : right + 1].astype(np.float64)
    with np.errstate(invalid="ignore"):
        return points, np.isfinite(points).all(axis=2) & (points[..., 2] >= min_visibility)


def _inside(points: FloatArray, width: int, height: int) -> BoolArray:
    """Which points are in the picture, shape (n, 2)."""
    x, y = points[..., 0], points[..., 1]
    return np.asarray((x >= 0) & (x < width) & (y >= 0) & (y < height))


def _beyond(near: FloatArray, near_seen: BoolArray, far: FloatArray, far_seen: BoolArray, share: float) -> FloatArray:
    """Go on from the far joints of the left and right limb by a share of its length, shape (n, 2, 2)."""
    near_xy, far_xy = near[..., :2], far[..., :2]
    with np.errstate(invalid="ignore"):
        beyond = np.where(near_seen[..., None], far_xy + share * (far_xy - near_xy), far_xy)
    return np.asarray(np.where(far_seen[..., None], beyond, np.nan))
