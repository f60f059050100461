"""What real cameras gave is remembered, small and for a while, without holding up the floor."""

import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest

from cart.pictures import WIDEST_PX, RememberedPictures, made_narrow
from vision.frames import Frame, Tick

SECOND_NS = 1_000_000_000
FPS = 30


def look(pictures: RememberedPictures, at_s: float, camera_id: str = "door", *, side_px: int = 200) -> Frame:
    """A camera gives a picture whose brightness tells when."""
    image = np.full((side_px, 2 * side_px, 3), int(at_s * 10) % 256, np.uint8)
    frame = Frame(camera_id, int(at_s * FPS), round(at_s * SECOND_NS), image)
    pictures.watched(Tick(frame.timestamp_ns, (frame,)), cast(Any, None), ())
    return frame


def settle(pictures: RememberedPictures, count: int, until_s: float = 1000.0) -> list[int]:
    """When the pictures were taken that are kept, once there are so many."""
    patience = time.monotonic() + 60
    while True:
        kept = [taken.timestamp_ns for taken in pictures.between("door", 0, round(until_s * SECOND_NS), 1000)]
        if len(kept) >= count or time.monotonic() > patience:
            return kept
        time.sleep(0.02)


@pytest.fixture
def pictures() -> Iterator[RememberedPictures]:
    pictures = RememberedPictures(["door"], remembered_s=2.0, fps=10)
    yield pictures
    pictures.close()


def test_the_newest_is_as_it_came_and_those_before_are_small_and_fewer(pictures: RememberedPictures) -> None:
    for number in range(31):
        newest = look(pictures, number / FPS, side_px=WIDEST_PX)
        settle(pictures, 1 + number // 3)
    taken = pictures.latest("door")
    assert taken is not None
    assert taken.image is newest.image
    kept = pictures.between("door", 0, SECOND_NS, 1000)
    assert [round(each.timestamp_ns / SECOND_NS, 1) for each in kept] == [number / 10 for number in range(11)]
    assert {each.image.shape[1] for each in kept} == {WIDEST_PX}
    # What a picture shows is of its own instant.
    assert [round(float(each.image.mean())) for each in kept] == [int(each.timestamp_ns / 1e8) for each in kept]
    assert len(pictures.between("door", 0, SECOND_NS, 5)) == 6


def test_what_is_old_is_forgotten(pictures: RememberedPictures) -> None:
    for number in range(40):
        look(pictures, number / 10)
        settle(pictures, min(number, 19))
    kept = settle(pictures, 20)
    assert kept[-1] - kept[0] <= 2 * SECOND_NS
    assert pictures.between("door", 0, SECOND_NS, 10) == []


def test_what_takes_too_much_room_is_forgotten_sooner() -> None:
    pictures = RememberedPictures(["door"], fps=10, most_bytes=10_000)
    rng = np.random.default_rng(1)
    for number in range(10):
        image = rng.integers(0, 255, (100, 100, 3), np.uint8)  # noise: some 8,000 bytes each
        frame = Frame("door", number, number * SECOND_NS, image)
        pictures.watched(Tick(frame.timestamp_ns, (frame,)), cast(Any, None), ())
    patience = time.monotonic() + 60
    while settle(pictures, 1)[-1:] != [9 * SECOND_NS] and time.monotonic() < patience:
        time.sleep(0.02)
    assert settle(pictures, 1) == [9 * SECOND_NS]
    pictures.close()


def test_cameras_that_nobody_named_are_not_kept(pictures: RememberedPictures) -> None:
    look(pictures, 1.0, "another")
    assert pictures.latest("another") is None
    assert pictures.between("another", 0, 9 * SECOND_NS, 10) == []


def test_its_thread_ends_with_it() -> None:
    before = set(threading.enumerate())
    pictures = RememberedPictures(["door"])
    (own,) = set(threading.enumerate()) - before
    pictures.close()
    assert not own.is_alive()


def test_only_what_is_too_wide_is_made_narrow() -> None:
    wide, narrow = np.zeros((90, 400, 3), np.uint8), np.zeros((90, 100, 3), np.uint8)
    assert made_narrow(wide, 200).shape == (45, 200, 3)
    assert made_narrow(narrow, 200) is narrow
