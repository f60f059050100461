"""Tests of store_sim.shelf_pictures."""

from dataclasses import replace
from functools import cache
from itertools import islice

import cv2
import numpy as np
import pytest

from store_sim.shelf_pictures import (
    EVENT_S,
    NANOSECONDS,
    QUIET_S,
    RATE_HZ,
    RESOLUTION_WH,
    Disturbance,
    ShelfSequence,
    shelf_sequence,
)
from vision.arrays import ImageArray
from vision.shelf import Handling
from vision.shelf_faces import LEAST_FACE_PX

SEED = 5
UNTIL_CHANGE = int((QUIET_S + 1.0) * RATE_HZ)


@cache
def a_sequence() -> ShelfSequence:
    return shelf_sequence(SEED, changes=4)


def pictures(disturbance: Disturbance, first: int, count: int) -> list[ImageArray]:
    frames = replace(a_sequence(), disturbance=disturbance).frames()
    return [frame.image for frame in islice(frames, first, first + count)]


def test_equal_seeds_give_equal_shelves_changes_and_pictures() -> None:
    again = shelf_sequence(SEED, changes=4)
    assert again.changes == a_sequence().changes
    for one, other in zip(a_sequence().states, again.states, strict=True):
        np.testing.assert_array_equal(one, other)
    for first, second in zip(islice(a_sequence().frames(), 8), islice(again.frames(), 8), strict=True):
        np.testing.assert_array_equal(first.image, second.image)
    assert shelf_sequence(SEED + 1, changes=1).changes != a_sequence().changes[:1]


def test_every_change_is_drawn_in_its_own_face() -> None:
    sequence = a_sequence()
    assert len(sequence.states) == len(sequence.changes) + 1
    outlines = {face.bin_id: np.asarray(face.polygon_px) for face in sequence.faces}
    for change, before, after in zip(sequence.changes, sequence.states[:-1], sequence.states[1:], strict=True):
        changed = cv2.absdiff(before, after).max(axis=2) > 0
        face = np.zeros(changed.shape, np.uint8)
        cv2.fillPoly(face, [np.rint(outlines[change.bin_id]).astype(np.int32)], 1)
        assert changed.any()
        # What stands behind the front of a bin may show a little beyond the outline of that front.
        assert (changed & face.astype(bool)).sum() > 0.6 * changed.sum()


def test_what_was_taken_and_put_back_looks_as_it_did() -> None:
    sequence = a_sequence()
    there: dict[str, list[int]] = {}
    returns = 0
    for number, change in enumerate(sequence.changes):
        if change.handling is Handling.PICK:
            there.setdefault(change.bin_id, []).append(number)
        else:
            taken = there[change.bin_id].pop()
            outline = np.asarray(next(f.polygon_px for f in sequence.faces if f.bin_id == change.bin_id))
            (left, top), (right, bottom) = outline.min(axis=0).astype(int), outline.max(axis=0).astype(int)
            part = np.s_[top:bottom, left:right]
            np.testing.assert_array_equal(sequence.states[number + 1][part], sequence.states[taken][part])
            returns += 1
    assert returns  # this seed has some


def test_the_picture_changes_when_the_truth_says_so() -> None:
    sequence = a_sequence()
    change = sequence.changes[0]
    assert change.time_ns == pytest.approx((QUIET_S + 1.6) * NANOSECONDS)
    frames = list(islice(sequence.frames(), int((QUIET_S + EVENT_S) * RATE_HZ)))
    assert [frame.frame_idx for frame in frames] == list(range(len(frames)))
    changed = cv2.absdiff(sequence.states[0], sequence.states[1]).max(axis=2) > 20
    first, last = frames[UNTIL_CHANGE - 3].image.astype(int), frames[-1].image.astype(int)
    before, after = (sequence.states[k].astype(int) for k in (0, 1))
    assert np.abs(first - before)[changed].mean() < np.abs(first - after)[changed].mean()
    assert np.abs(last - after)[changed].mean() < np.abs(last - before)[changed].mean()


def test_faces_are_large_enough_to_be_watched_and_lie_in_the_picture() -> None:
    for face in a_sequence().faces:
        outline = np.asarray(face.polygon_px)
        assert (np.ptp(outline, axis=0) >= LEAST_FACE_PX).all()
        assert (outline >= 0).all()
        assert (outline <= RESOLUTION_WH).all()


def test_the_exposure_jumps_only_where_it_is_asked_for() -> None:
    after_first = int((QUIET_S + 0.9 * EVENT_S) * RATE_HZ)
    (quiet,), (bright,) = (pictures(d, after_first, 1) for d in (Disturbance.NONE, Disturbance.EXPOSURE))
    ratio = (bright.astype(float) + 8) / (quiet.astype(float) + 8)
    assert abs(np.log(np.median(ratio))) > 0.05


def test_shadows_and_daylight_wander_but_leave_the_shelf_as_it_is() -> None:
    for disturbance in (Disturbance.SHADOW, Disturbance.LIGHT):
        first, last = pictures(disturbance, 0, UNTIL_CHANGE)[:: UNTIL_CHANGE - 1]
        ratio = cv2.GaussianBlur(np.log((last.astype(np.float32) + 8) / (first.astype(np.float32) + 8)), (0, 0), 20)
        assert np.ptp(ratio[..., 1]) > 0.05


def test_a_resting_hand_comes_between_changes() -> None:
    between = int((QUIET_S + 3.3) * RATE_HZ)
    hidden = []
    for disturbance in (Disturbance.NONE, Disturbance.HAND):
        (image,) = pictures(disturbance, between, 1)
        hidden.append(float((cv2.absdiff(image, a_sequence().states[1]).max(axis=2) > 60).mean()))
    assert hidden[1] > hidden[0] + 0.01


def test_a_trembling_camera_moves_the_picture() -> None:
    grey = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) for image in pictures(Disturbance.SHAKE, 0, 8)]
    shifts = [float(np.linalg.norm(cv2.phaseCorrelate(grey[0], other)[0])) for other in grey[1:]]
    assert 0.5 < max(shifts) < 6


def test_all_has_every_disturbance_and_none_has_only_itself() -> None:
    others = [d for d in Disturbance if d not in (Disturbance.ALL, Disturbance.NONE)]
    assert all(Disturbance.ALL.has(other) for other in others)
    assert not Disturbance.ALL.has(Disturbance.NONE)
    assert [d for d in Disturbance if d.has(Disturbance.SHADOW)] == [Disturbance.SHADOW, Disturbance.ALL]
