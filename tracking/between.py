"""People in a frame that no detector ran on: a tracker's guess, put right by what the picture shows of their motion."""

from dataclasses import replace

import numpy as np

from tracking.types import Tracks
from vision.cameras import Camera
from vision.pose import body_feet
from vision.seeing import Look


def tracks_between(coasted: Tracks, look: Look, camera: Camera | None = None) -> Tracks:
    """Put people where the picture shows that they have gone.

    Args:
        coasted: Where the tracker expects those whom the last detections showed (``Tracker.coast``).
        look: What was done with the frame, those people followed in it row for row.
        camera: Its calibration, for foot points; without one they are nan.

    Returns:
        The same people: box, key-points and foot point as carried along with the picture. Who was lost from sight in
        between stays where the tracker expects them, with hands that count as unseen, because hands move by
        themselves.
    """
    if len(look.xyxy) != len(coasted):
        return coasted  # nobody was named to be followed
    known = np.asarray(np.isfinite(look.xyxy).all(axis=1))
    xyxy = np.where(known[:, None], look.xyxy, coasted.xyxy).astype(np.float32)
    keypoints = coasted.keypoints.copy()
    if keypoints.shape == look.keypoints.shape:
        keypoints[known] = look.keypoints[known]
        keypoints[~known, :, 2] = 0
    floor_m = coasted.floor_m
    if camera is not None and len(xyxy):
        floor_m = camera.floor_points(body_feet(xyxy, keypoints, camera.resolution_wh))
        floor_m = np.where(known[:, None], floor_m, coasted.floor_m)
    return replace(coasted, xyxy=xyxy, keypoints=keypoints, floor_m=floor_m)
