import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.held_pictures import HeldPictures
from vision.arrays import FloatArray
from vision.held import HeldLooks
from vision.products import Calibration

CALIBRATION = Calibration(2.5, 0.1, 0.5, 0.0, 0.0)
SKUS = "salted", "smoked", "water"


def looks(owner_xyxy: list[list[float]], similarity: list[list[float]], timestamp_ns: int = 0) -> HeldLooks:
    n = len(owner_xyxy)
    return HeldLooks(
        "cam1", timestamp_ns, np.array(owner_xyxy, float).reshape(n, 4), np.full(n, 40.0), np.array(similarity, float)
    )


def pictures(similarity: list[list[float]], at_s: list[float], who: int = 1) -> HeldPictures:
    n = len(at_s)
    times_ns = np.array([round(s * 1e9) for s in at_s], np.int64)
    return HeldPictures(
        times_ns, np.full(n, who, np.int64), np.full(n, 40.0), np.array(similarity, float), SKUS, CALIBRATION
    )


def test_a_held_thing_belongs_to_whose_box_its_owners_box_is() -> None:
    people, boxes = np.array([7, 8]), np.array([[0, 0, 50, 100], [200, 0, 250, 100]], float)
    seen = looks([[205, 5, 252, 98], [2, 0, 50, 100], [500, 0, 550, 100]], [[0.9, 0, 0], [0, 0.9, 0], [0, 0, 0.9]])
    known = HeldPictures.of(seen, people, boxes, SKUS, CALIBRATION)
    assert known.identity_id.tolist() == [8, 7]
    assert known.similarity.argmax(axis=1).tolist() == [0, 1]


def test_nobody_known_holds_nothing() -> None:
    known = HeldPictures.of(
        looks([[0, 0, 9, 9]], [[1, 0, 0]]), np.zeros(0, np.int64), np.zeros((0, 4)), SKUS, CALIBRATION
    )
    assert not len(known.timestamp_ns)
    assert HeldPictures.joined([]) is None


def test_the_product_that_the_picture_is_most_like_is_the_likelier() -> None:
    seen = pictures([[0.8, 0.3, 0.1], [0.7, 0.4, 0.2]], [0.2, 0.4])
    said = seen.likelihood(1, 0, 10**9, ["salted", "smoked", "not enrolled"], 0.3)
    assert set(said) == {"salted", "smoked"}
    assert said["salted"] > 1 > said["smoked"] > 0.25


def test_pictures_of_another_time_or_person_say_nothing() -> None:
    seen = pictures([[0.8, 0.3, 0.1]], [5.0])
    assert seen.likelihood(1, 0, 10**9, SKUS, 0.3) == {}
    assert seen.likelihood(2, 0, 10**10, SKUS, 0.3) == {}
    assert seen.likelihood(1, 0, 10**10, ["salted"], 0.3) == {}  # nothing to choose between


def test_pictures_of_several_frames_are_put_in_the_order_of_time() -> None:
    both = HeldPictures.joined([pictures([[1, 0, 0]], [3.0]), pictures([[0, 1, 0]], [1.0])])
    assert both is not None
    assert both.timestamp_ns.tolist() == [10**9, 3 * 10**9]
    assert both.similarity.argmax(axis=1).tolist() == [1, 0]


@given(
    similarity=st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=1, max_size=6),
    stray=st.floats(0, 1),
)
def test_likelihoods_average_to_one_and_never_rule_out_more_than_strays_allow(
    similarity: list[list[float]], stray: float
) -> None:
    seen = pictures(similarity, [0.1 * i for i in range(len(similarity))])
    said: FloatArray = np.array(list(seen.likelihood(1, 0, 10**9, SKUS, stray).values()))
    assert said.mean() == pytest.approx(1)
    assert said.min() >= stray - 1e-9
