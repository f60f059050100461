"""How well detectors see people, joints and held products on rendered shops whose truth is known to the pixel.

Average precision is COCO's (https://cocodataset.org/#detection-eval): 101 steps of recall, overlaps of 0.5 to 0.95.
People of whom almost nothing is to be seen are neither wanted nor held against a detector.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from store_sim.posed_pictures import PosedPeople, PosedShelf
from vision.arrays import BoolArray, FloatArray, ImageArray, IntArray
from vision.boxes import intersections, iou_matrix
from vision.detections import KEYPOINT_COUNT, LEFT_WRIST, RIGHT_WRIST, Detections
from vision.detector import ObjectDetector
from vision.frames import Frame
from vision.top_down import held_products

WANTED_PX = 16.0  # longer side; smaller people are specks at the far end of an aisle
WANTED_HIDDEN = 0.8
OVERLAPS = np.arange(0.5, 0.96, 0.05)
RECALLS = np.linspace(0, 1, 101)
SIZES_PX = ((0.0, 80.0), (80.0, 160.0), (160.0, 1e9))
"""Longer sides of people by which wrists are told apart."""
NEAR_SHARE = 0.05  # of a person's longer side: 8 cm on somebody who stands
FALSE_SHARE = 0.5  # of a box that must lie on people not wanted, so that it is not held against the detector


@dataclass(frozen=True, slots=True)
class Joints:
    """How well some joints are placed, over those that can be seen and whose person was found.

    Attributes:
        count: How many.
        median_px: Median error.
        median_share: The same as a share of the person's longer side.
        near: Share with an error below ``NEAR_SHARE``.
        said_seen: Share that the detector says is seen.
    """

    count: int
    median_px: float
    median_share: float
    near: float
    said_seen: float


@dataclass(frozen=True, slots=True)
class Scores:
    """What a detector is worth on a set of pictures; nan where it gives nothing to measure.

    Attributes:
        pictures: How many.
        people: People wanted.
        ap50: Average precision at overlap 0.5.
        ap50_95: The mean over overlaps 0.5 to 0.95.
        threshold: Confidence of the next two.
        precision: Share of what is found that is there, at overlap 0.5.
        recall: Share of who is there that is found.
        joints: All 17, but of visible ones only.
        wrists: Wrists.
        wrists_by_size: Wrists by ``SIZES_PX``.
        seen_f1: Of saying which joints are seen, at 0.5.
        hidden_said_seen: Share of hidden joints that are said to be seen.
        held_f1: Of saying which hands hold something, at 0.5.
        held_precision: Of the same.
        held_recall: Of the same.
        held_overlap: Median overlap of the boxes of what is held, where it is.
    """

    pictures: int
    people: int
    ap50: float
    ap50_95: float
    threshold: float
    precision: float
    recall: float
    joints: Joints
    wrists: Joints
    wrists_by_size: tuple[Joints, ...]
    seen_f1: float
    hidden_said_seen: float
    held_f1: float
    held_precision: float
    held_recall: float
    held_overlap: float


@dataclass(frozen=True, slots=True)
class _Seen:
    """One picture's people and what was found, matched at an overlap of 0.5 and the threshold."""

    true: PosedPeople
    found: Detections
    row_of_true: IntArray
    row_of_found: IntArray


def pictures_of(shelves: Sequence[PosedShelf]) -> Iterator[tuple[ImageArray, PosedPeople]]:
    """Give all pictures of shops one after the other, with who is in them."""
    for shelf in shelves:
        for row in range(len(shelf)):
            yield shelf.image(row), shelf.people_in(row)


def evaluate(detector: ObjectDetector, shelves: Sequence[PosedShelf], *, threshold: float = 0.4) -> Scores:
    """Measure a detector.

    Args:
        detector: Give it a low least confidence, so that the whole curve is measured.
        shelves: Shops that it has never learnt from.
        threshold: Confidence from which a person counts where one answer is asked for.

    Raises:
        ValueError: The pictures show nobody.
    """
    confidences: list[FloatArray] = []
    hits: list[BoolArray] = []  # (found, overlaps)
    judged: list[BoolArray] = []
    wanted_count, pictures = 0, 0
    right = wrong = 0
    seen: list[_Seen] = []
    held_right = held_found = held_there = 0
    held_overlaps: list[float] = []
    for image, people in pictures_of(shelves):
        pictures += 1
        everything = detector.detect([Frame("picture", 0, 0, image)])[0]
        found = everything.people()
        wanted = is_wanted(people)
        wanted_count += int(wanted.sum())
        hit, judge, pairs = _matched(found, people, wanted)
        confidences.append(found.confidence)
        hits.append(hit)
        judged.append(judge)
        sure = found.confidence >= threshold
        right += int((hit[:, 0] & sure).sum())
        wrong += int((~hit[:, 0] & judge[:, 0] & sure).sum())
        pairs = pairs[sure[pairs[:, 0]]]
        seen.append(_Seen(people, found, pairs[:, 1], pairs[:, 0]))
        counts = _held(everything, detector.class_names, people, pairs, held_overlaps)
        held_right, held_found, held_there = (
            held_right + counts[0],
            held_found + counts[1],
            held_there + counts[2],
        )
    if not wanted_count:
        raise ValueError("evaluate: expected pictures of people, got none")
    order = np.argsort(-np.concatenate(confidences), kind="stable")
    hit, judge = np.concatenate(hits)[order], np.concatenate(judged)[order]
    precisions = [average_precision(hit[judge[:, k], k], wanted_count) for k in range(len(OVERLAPS))]
    posed = detector.has_keypoints
    holds = held_there > 0 and any(name == "held product" for name in detector.class_names)
    precision = held_right / max(held_found, 1) if holds else float("nan")
    recall = held_right / held_there if holds else float("nan")
    f1 = 2 * held_right / max(held_found + held_there, 1) if holds else float("nan")
    wrists = [LEFT_WRIST, RIGHT_WRIST]
    return Scores(
        pictures,
        wanted_count,
        precisions[0],
        float(np.mean(precisions)),
        threshold,
        right / max(right + wrong, 1),
        right / wanted_count,
        _joints(seen if posed else [], list(range(KEYPOINT_COUNT))),
        _joints(seen if posed else [], wrists),
        tuple(_joints(seen if posed else [], wrists, sizes) for sizes in SIZES_PX),
        *_visibility(seen if posed else []),
        f1,
        precision,
        recall,
        float(np.median(held_overlaps)) if held_overlaps else float("nan"),
    )


def is_wanted(people: PosedPeople) -> BoolArray:
    """Say who must be found, shape (n,)."""
    longer = (people.xyxy[:, 2:] - people.xyxy[:, :2]).max(axis=1, initial=0)
    return np.asarray((longer >= WANTED_PX) & (people.hidden <= WANTED_HIDDEN))


def average_precision(hit: BoolArray, there: int) -> float:
    """Average precision over 101 steps of recall.

    Args:
        hit: Whether each thing found is there, most confident first, shape (n,).
        there: How many things there are.

    >>> round(average_precision(np.array([True, False, True]), 2), 3)
    0.835
    """
    right = np.cumsum(hit)
    recall = right / there
    precision = right / np.arange(1, len(hit) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, RECALLS, side="left")
    return float(np.where(place < len(hit), np.append(best_from_here, 0.0)[np.minimum(place, len(hit))], 0.0).mean())


def _matched(found: Detections, people: PosedPeople, wanted: BoolArray) -> tuple[BoolArray, BoolArray, IntArray]:
    """Match what was found to who is there, most confident first.

    Returns:
        Whether each found box is a hit, and whether it is judged, for every overlap, shapes (n, 10); and pairs of rows,
        found and true, at the first overlap.
    """
    hit = np.zeros((len(found), len(OVERLAPS)), bool)
    judge = np.ones((len(found), len(OVERLAPS)), bool)
    pairs: list[tuple[int, int]] = []
    overlaps = iou_matrix(found.xyxy, people.xyxy)
    area = np.prod(np.maximum(found.xyxy[:, 2:] - found.xyxy[:, :2], 1e-6), axis=1)
    on_unwanted = (intersections(found.xyxy, people.xyxy[~wanted]) / area[:, None]).max(axis=1, initial=0)
    order = np.argsort(-found.confidence, kind="stable")
    for k, least in enumerate(OVERLAPS):
        free = np.ones(len(people), bool)
        for row in order.tolist():
            if not len(people):
                continue
            candidates = np.where(free & (overlaps[row] >= least), overlaps[row] + wanted, 0)
            best = int(candidates.argmax())
            if candidates[best] > 0:
                free[best] = False
                hit[row, k] = wanted[best]
                judge[row, k] = wanted[best]
                if k == 0 and wanted[best]:
                    pairs.append((row, best))
            elif on_unwanted[row] > FALSE_SHARE:
                judge[row, k] = False
    return hit, judge, np.array(pairs, np.int64).reshape(-1, 2)


def _held(
    everything: Detections,
    class_names: Sequence[str],
    people: PosedPeople,
    pairs: IntArray,
    overlaps: list[float],
) -> tuple[int, int, int]:
    """Count hands rightly said to hold, said to hold, and holding; over people found. Overlaps of boxes are added."""
    said = held_products(everything, class_names)
    person_rows = np.flatnonzero(everything.class_id == 0)
    right = claimed = there = 0
    for found_row, true_row in pairs.tolist():
        for hand in range(2):
            truth = int(people.holds[true_row, hand])
            mine = np.flatnonzero((said.person_row == person_rows[found_row]) & (said.hand == hand))
            if truth < 0:
                continue
            there += truth
            claimed += int(len(mine) > 0)
            if truth and len(mine):
                right += 1
                overlaps.append(float(iou_matrix(said.xyxy[mine[:1]], people.held_xyxy[true_row, hand][None])[0, 0]))
    return right, claimed, there


def _joints(seen: Sequence[_Seen], which: list[int], sizes_px: tuple[float, float] = (0.0, 1e9)) -> Joints:
    errors, shares, said = [], [], []
    for one in seen:
        box = one.true.xyxy[one.row_of_true]
        longer = (box[:, 2:] - box[:, :2]).max(axis=1, initial=0)
        true = one.true.keypoints[one.row_of_true][:, which]
        found = one.found.keypoints[one.row_of_found][:, which]
        error = np.linalg.norm(found[..., :2] - true[..., :2], axis=2)
        error = np.where(np.isfinite(error), error, 1e6)
        asked = (true[..., 2] == 2) & ((longer >= sizes_px[0]) & (longer < sizes_px[1]))[:, None]
        errors.append(error[asked])
        shares.append((error / np.maximum(longer, 1)[:, None])[asked])
        said.append((np.nan_to_num(found[..., 2]) >= 0.5)[asked])
    if not errors or not sum(len(each) for each in errors):
        return Joints(0, *[float("nan")] * 4)
    error, share, told = np.concatenate(errors), np.concatenate(shares), np.concatenate(said)
    return Joints(
        len(error),
        float(np.median(error)),
        float(np.median(share)),
        float((share < NEAR_SHARE).mean()),
        float(told.mean()),
    )


def _visibility(seen: Sequence[_Seen]) -> tuple[float, float]:
    """F1 of saying which joints are seen, and the share of hidden ones in the picture said to be seen."""
    both = claimed = there = hidden = wrong = 0
    for one in seen:
        state = one.true.keypoints[one.row_of_true][..., 2]
        said = np.nan_to_num(one.found.keypoints[one.row_of_found][..., 2]) >= 0.5
        both += int((said & (state == 2)).sum())
        claimed += int(said.sum())
        there += int((state == 2).sum())
        hidden += int((state == 1).sum())
        wrong += int((said & (state == 1)).sum())
    if not there:
        return float("nan"), float("nan")
    return 2 * both / (claimed + there), wrong / max(hidden, 1)
