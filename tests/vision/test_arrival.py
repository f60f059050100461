import numpy as np
import pytest

from vision.arrays import ImageArray
from vision.arrival import PictureMemory
from vision.frames import Frame

STEP_NS = 100_000_000
PLACE_PX = np.array([40.0, 30.0])


def picture(rng: np.random.Generator, arm_from_right_px: int) -> ImageArray:
    """A shelf with texture and noise, and an arm that reaches in from the right as far as the given column."""
    shelf = np.random.default_rng(1).integers(60, 140, (60, 80, 3)).astype(float)
    shelf[22:38, arm_from_right_px:] = (60, 90, 200)
    return np.clip(shelf + rng.normal(0, 3, shelf.shape), 0, 255).astype(np.uint8)


def remember(columns: list[int], keep_s: float = 1.5) -> PictureMemory:
    rng = np.random.default_rng(2)
    memory = PictureMemory(keep_s)
    for index, column in enumerate(columns):
        memory.add(Frame("shelf", index, index * STEP_NS, picture(rng, column)))
    return memory


def test_a_hand_arrived_when_its_place_first_looked_as_it_does_now() -> None:
    memory = remember([80, 80, 80, 60, 30, 30, 30, 30])
    assert memory.arrival_ns("shelf", PLACE_PX, 6.0) == 4 * STEP_NS


def test_a_place_that_always_looked_like_this_tells_nothing() -> None:
    assert remember([30] * 8).arrival_ns("shelf", PLACE_PX, 6.0) is None


def test_a_hand_that_left_and_came_again_arrived_the_second_time() -> None:
    memory = remember([80, 30, 30, 80, 80, 30, 30])
    assert memory.arrival_ns("shelf", PLACE_PX, 6.0) == 5 * STEP_NS


def test_only_the_last_pictures_are_remembered() -> None:
    memory = remember([80] * 5 + [30] * 20, keep_s=1.0)
    assert memory.arrival_ns("shelf", PLACE_PX, 6.0) is None


def test_a_place_at_the_edge_and_an_unknown_camera_are_no_error() -> None:
    memory = remember([80, 80, 30, 30])
    assert memory.arrival_ns("shelf", np.array([79.0, 30.0]), 8.0) == 2 * STEP_NS
    assert memory.arrival_ns("elsewhere", PLACE_PX, 6.0) is None


def test_a_memory_of_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match="positive time"):
        PictureMemory(0)
