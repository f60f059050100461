"""Boxes as plain arrays: formats, overlaps and suppression of duplicates."""

import numpy as np

from vision.arrays import FloatArray, IntArray, check_shape


def xyxy_from_cxcywh(boxes: FloatArray) -> FloatArray:
    """Turn boxes given by centre and size into corners.

    Args:
        boxes: (centre x, centre y, width, height), shape (..., 4), any unit.

    Returns:
        (left, top, right, bottom), same shape and unit.

    >>> xyxy_from_cxcywh(np.array([[5.0, 4.0, 4.0, 2.0]])).tolist()
    [[3.0, 3.0, 7.0, 5.0]]
    """
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def cxcywh_from_xyxy(boxes: FloatArray) -> FloatArray:
    """Turn boxes given by corners into centre and size.

    Args:
        boxes: (left, top, right, bottom), shape (..., 4), any unit.

    Returns:
        (centre x, centre y, width, height), same shape and unit.

    >>> cxcywh_from_xyxy(np.array([[3.0, 3.0, 7.0, 5.0]])).tolist()
    [[5.0, 4.0, 4.0, 2.0]]
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=-1)


def box_areas(xyxy: FloatArray) -> FloatArray:
    """Areas of boxes (left, top, right, bottom), shape (n, 4): shape (n,), 0 for a box turned inside out."""
    return np.asarray(np.prod(np.maximum(xyxy[..., 2:] - xyxy[..., :2], 0), axis=-1))


def intersections(a: FloatArray, b: FloatArray) -> FloatArray:
    """Areas shared by each pair of boxes.

    Args:
        a: Boxes (left, top, right, bottom), shape (n, 4).
        b: Boxes in the same unit, shape (m, 4).

    Returns:
        Shared areas, shape (n, m), square units.
    """
    check_shape("a", a, ("n", 4))
    check_shape("b", b, ("m", 4))
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    return np.asarray(np.maximum(width, 0) * np.maximum(height, 0))


def iou_matrix(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union of each pair of boxes.

    Args:
        a: Boxes (left, top, right, bottom), shape (n, 4).
        b: Boxes in the same unit, shape (m, 4).

    Returns:
        Overlaps 0 to 1, shape (n, m); 0 for two boxes without area.

    >>> one, two = np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 3.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    >>> iou_matrix(one, two).round(3).tolist()
    [[0.333, 0.0]]
    """
    shared = intersections(a, b)
    union = box_areas(a)[:, None] + box_areas(b)[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def non_maximum_suppression(
    xyxy: FloatArray,
    confidence: FloatArray,
    class_id: IntArray,
    *,
    iou_threshold: float,
    max_count: int | None = None,
) -> IntArray:
    """Keep the best box of every bunch of boxes of one class that overlap.

    Greedy: the most confident box stays, all of its class that overlap it by more than the threshold go, then the next.
    Equal confidences are taken in the order given, so the result does not depend on the machine.

    Args:
        xyxy: Boxes (left, top, right, bottom), shape (n, 4).
        confidence: Scores, shape (n,).
        class_id: Classes, shape (n,); boxes of different classes never suppress each other.
        iou_threshold: Largest overlap at which two boxes of one class both stay, 0 to 1.
        max_count: Most boxes to keep, None for all.

    Returns:
        Indices of the boxes kept, most confident first, shape (k,), int64.

    >>> boxes = np.array([[0.0, 0, 10, 10], [0.0, 0, 10, 9], [20.0, 0, 30, 10]])
    >>> non_maximum_suppression(boxes, np.array([0.5, 0.9, 0.3]), np.zeros(3, int), iou_threshold=0.6).tolist()
    [1, 2]
    """
    n = len(xyxy)
    check_shape("xyxy", xyxy, (n, 4))
    check_shape("confidence", confidence, (n,))
    check_shape("class_id", class_id, (n,))
    order = np.argsort(-confidence, kind="stable")
    boxes, classes = xyxy[order], class_id[order]
    duplicates = (iou_matrix(boxes, boxes) > iou_threshold) & (classes[:, None] == classes[None, :])
    standing = np.ones(n, np.bool_)
    kept: list[int] = []
    for row in range(n):
        if max_count is not None and len(kept) >= max_count:
            break
        if standing[row]:
            kept.append(row)
            standing &= ~duplicates[row]
    return np.asarray(order[kept], np.int64)


def clipped(xyxy: FloatArray, resolution_wh: tuple[int, int]) -> FloatArray:
    """Cut boxes (left, top, right, bottom), shape (n, 4), at the edges of a picture of the given size, pixels."""
    width, height = resolution_wh
    return np.clip(xyxy, 0, np.array([width, height, width, height], xyxy.dtype))
