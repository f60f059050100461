import numpy as np

from tracking.between import tracks_between
from tracking.types import Tracks
from vision.detections import Detections
from vision.seeing import Action, Look


def coasted(n: int, keypoints: int = 17) -> Tracks:
    boxes = np.tile([10.0, 10, 30, 70], (n, 1)).astype(np.float32)
    return Tracks(
        "a",
        5,
        np.arange(1, n + 1),
        boxes,
        np.full(n, 0.9),
        np.zeros(n, np.int64),
        np.full((n, keypoints, 3), 0.9),
        np.full((n, 2), np.nan),
        np.zeros(n, np.int64),
    )


def look(xyxy: list[list[float]], keypoints: int = 17) -> Look:
    n = len(xyxy)
    return Look(
        Action.BETWEEN,
        "",
        Detections.empty("a", 5),
        np.array(xyxy, float).reshape(n, 4),
        np.full((n, keypoints, 3), 0.7),
    )


def test_people_are_where_the_picture_shows_them() -> None:
    tracks = tracks_between(coasted(1), look([[14, 10, 34, 70]]))
    assert tracks.track_id.tolist() == [1]
    assert tracks.xyxy.tolist() == [[14, 10, 34, 70]]
    assert (tracks.keypoints == 0.7).all()


def test_who_was_lost_from_sight_stays_where_expected_and_shows_no_hands() -> None:
    tracks = tracks_between(coasted(2), look([[14, 10, 34, 70], [np.nan] * 4]))
    assert tracks.xyxy[1].tolist() == [10, 10, 30, 70]
    assert (tracks.keypoints[1, :, 2] == 0).all()
    assert (tracks.keypoints[0, :, 2] == 0.7).all()


def test_without_anybody_named_the_tracker_is_believed() -> None:
    assert tracks_between(coasted(2), look([])).xyxy.tolist() == coasted(2).xyxy.tolist()
    assert len(tracks_between(coasted(0, 0), look([], 0))) == 0
