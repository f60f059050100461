import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vision.arrays import FloatArray
from vision.boxes import (
    box_areas,
    clipped,
    cxcywh_from_xyxy,
    intersections,
    iou_matrix,
    non_maximum_suppression,
    xyxy_from_cxcywh,
)

numbers = st.floats(-1000, 1000, width=32)


@st.composite
def boxes(draw: st.DrawFn, max_count: int = 12) -> FloatArray:
    count = draw(st.integers(0, max_count))
    corners = draw(arrays(np.float64, (count, 2), elements=numbers))
    sizes = draw(arrays(np.float64, (count, 2), elements=st.floats(0, 500, width=32)))
    return np.concatenate([corners, corners + sizes], axis=1)


@given(boxes())
def test_centre_and_size_turn_back_into_corners(xyxy: FloatArray) -> None:
    np.testing.assert_allclose(xyxy_from_cxcywh(cxcywh_from_xyxy(xyxy)), xyxy, atol=1e-6)


@given(boxes(), boxes())
def test_overlap_is_symmetric_and_between_nothing_and_all(a: FloatArray, b: FloatArray) -> None:
    iou = iou_matrix(a, b)
    assert iou.shape == (len(a), len(b))
    assert ((iou >= 0) & (iou <= 1 + 1e-9)).all()
    np.testing.assert_allclose(iou, iou_matrix(b, a).T)
    assert (intersections(a, b) <= np.minimum(box_areas(a)[:, None], box_areas(b)[None, :]) + 1e-6).all()


def test_a_box_overlaps_itself_fully_and_an_empty_one_not_at_all() -> None:
    xyxy = np.array([[0.0, 0.0, 4.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    assert iou_matrix(xyxy, xyxy).tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_a_box_turned_inside_out_has_no_area() -> None:
    assert box_areas(np.array([[5.0, 5.0, 1.0, 1.0]])).tolist() == [0.0]


@given(boxes(), st.integers(0, 3), st.floats(0.1, 0.9))
def test_what_suppression_keeps_does_not_overlap_and_what_goes_has_a_better_one(
    xyxy: FloatArray, classes: int, threshold: float
) -> None:
    confidence = np.linspace(0.1, 0.9, len(xyxy))
    class_id = np.arange(len(xyxy)) % (classes + 1)
    kept = non_maximum_suppression(xyxy, confidence, class_id, iou_threshold=threshold)
    assert (np.diff(confidence[kept]) < 0).all()
    iou = iou_matrix(xyxy, xyxy) * (class_id[:, None] == class_id[None, :])
    among = iou[np.ix_(kept, kept)]
    np.fill_diagonal(among, 0)
    assert (among <= threshold).all()
    for gone in sorted(set(range(len(xyxy))) - set(kept.tolist())):
        better = [row for row in kept if confidence[row] > confidence[gone]]
        assert iou[gone, better].max() > threshold


def test_boxes_of_other_classes_are_left_alone() -> None:
    xyxy = np.array([[0.0, 0.0, 10.0, 10.0]] * 2)
    kept = non_maximum_suppression(xyxy, np.array([0.5, 0.9]), np.array([0, 1]), iou_threshold=0.5)
    assert kept.tolist() == [1, 0]


def test_equal_scores_are_taken_in_order_and_no_more_than_asked() -> None:
    xyxy = np.array([[20.0 * i, 0.0, 20.0 * i + 10, 10.0] for i in range(5)])
    kept = non_maximum_suppression(xyxy, np.full(5, 0.5), np.zeros(5, int), iou_threshold=0.5, max_count=3)
    assert kept.tolist() == [0, 1, 2]


def test_nothing_in_gives_nothing_out() -> None:
    kept = non_maximum_suppression(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), iou_threshold=0.5)
    assert kept.shape == (0,)
    assert kept.dtype == np.int64


def test_boxes_are_cut_at_the_edges_of_the_picture() -> None:
    assert clipped(np.array([[-5.0, 10.0, 700.0, 400.0]]), (640, 360)).tolist() == [[0.0, 10.0, 640.0, 360.0]]


def test_wrong_shapes_are_told() -> None:
    with pytest.raises(ValueError, match=r"expected shape \(n, 4\), got \(4,\)"):
        iou_matrix(np.zeros(4), np.zeros((1, 4)))
