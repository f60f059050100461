"""Tests of tracking.looks."""

import cv2
import numpy as np

from tracking.looks import LOOK_LENGTH, RecentLooks, look_distances, looks_of

NO_POINTS = np.zeros((2, 0, 3))
BOXES = np.array([[20.0, 10.0, 60.0, 110.0], [120.0, 10.0, 160.0, 110.0]])


def picture(*coats: tuple[int, int, int]) -> np.ndarray:
    image = np.full((120, 200, 3), 128, np.uint8)
    for (left, top, right, bottom), coat in zip(BOXES.astype(int), coats, strict=True):
        image[top:bottom, left:right] = coat
    return image


def coat(hue: int) -> tuple[int, int, int]:
    blue, green, red = cv2.cvtColor(np.array([[[hue, 200, 200]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def test_clothes_of_one_colour_are_alike_in_other_light_and_others_are_not() -> None:
    bright = looks_of(picture((0, 0, 220), (220, 0, 0)), BOXES, NO_POINTS)
    dim = looks_of(picture((0, 0, 180), (180, 0, 0)), BOXES, NO_POINTS)
    away = look_distances(bright, dim)
    assert away.diagonal().max() < 0.1
    assert min(away[0, 1], away[1, 0]) > 0.9


def test_what_is_not_in_the_picture_has_no_look() -> None:
    looks = looks_of(picture((0, 0, 220), (220, 0, 0)), BOXES + np.array([300.0, 0.0, 300.0, 0.0]), NO_POINTS)
    assert looks.shape == (2, LOOK_LENGTH)
    assert np.isnan(looks).all()
    assert looks_of(picture((0, 0, 1), (0, 0, 1)), np.zeros((0, 4)), np.zeros((0, 0, 3))).shape == (0, LOOK_LENGTH)


def test_a_shade_between_two_colours_is_like_both() -> None:
    """A hue that noise moves over the border of two bins stays what it was; another one does not come near."""
    border = 180 // 8 * 2  # where two of the eight bins meet
    first = looks_of(picture(coat(border - 2), coat(border - 2)), BOXES, NO_POINTS)
    second = looks_of(picture(coat(border + 2), coat(110)), BOXES, NO_POINTS)
    away = look_distances(first[:1], second)[0]
    assert away[0] < 0.3 < 0.9 < away[1]


def test_the_mean_of_several_looks_is_as_near_as_its_looks() -> None:
    looks = looks_of(picture((0, 0, 220), (220, 0, 0)), BOXES, NO_POINTS)
    both = looks.mean(axis=0, keepdims=True)
    assert look_distances(both, both)[0, 0] < 1e-6
    assert look_distances(both, looks).max() < look_distances(looks[:1], looks[1:])[0, 0]


def test_what_a_track_wore_of_late_is_steadier_than_one_picture_and_follows_a_change() -> None:
    red, blue = looks_of(picture((0, 0, 220), (220, 0, 0)), BOXES, NO_POINTS)
    unseen = np.full(LOOK_LENGTH, np.nan)
    recent, tracks = RecentLooks(), np.array([7])

    def after(looks: list[np.ndarray], from_ns: int) -> float:
        """How far from blue the track is once it has been seen so."""
        for step, look in enumerate(looks):
            worn = recent.update(from_ns + step, 0, tracks, look[None])
        return float(look_distances(worn, blue[None])[0, 0])

    assert np.isnan(recent.update(0, 0, tracks, unseen[None])).all()
    assert after([red] * 20, 1) > 0.9
    assert after([blue], 21) > 0.8
    assert after([unseen] * 5, 22) > 0.8
    assert after([blue] * 30, 27) < 0.3
    assert np.isnan(recent.update(57, 1, tracks, unseen[None])).all()
    recent.forget(57)
    assert np.isnan(recent.update(58, 0, tracks, unseen[None])).all()
