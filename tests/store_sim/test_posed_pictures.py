"""Tests of ``store_sim.posed_pictures``: what it draws is what it says."""

from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from store_sim.posed_pictures import (
    PosedPeople,
    make_posed_dataset,
    make_posed_shelf,
    posed_pictures,
    read_posed_shelf,
)
from vision.arrays import ImageArray

pytestmark = pytest.mark.slow


@cache
def made() -> tuple[tuple[ImageArray, PosedPeople], ...]:
    """Some pictures of one shop."""
    return tuple(posed_pictures(5, 16))


def test_pictures_show_people_who_hold_things() -> None:
    everybody = [people for _, people in made()]
    assert sum(len(people) for people in everybody) >= 16
    assert sum(int((people.holds == 1).sum()) for people in everybody) >= 3
    assert all(image.shape == (360, 640, 3) for image, _ in made())


def test_boxes_lie_in_the_picture_and_joints_in_or_near_boxes() -> None:
    for _, people in made():
        assert (people.xyxy[:, :2] >= 0).all()
        assert (people.xyxy[:, 2:] <= [640, 360]).all()
        for box, points in zip(people.xyxy, people.keypoints, strict=True):
            seen = points[points[:, 2] == 2, :2]
            # A joint that can be seen lies on its person, give or take the pixel beside it.
            assert (seen >= box[:2] - 2).all()
            assert (seen <= box[2:] + 2).all()


def test_what_is_held_is_near_the_hand() -> None:
    for _, people in made():
        own = people.holds == 1
        assert np.isfinite(people.held_xyxy[own]).all()
        assert np.isnan(people.held_xyxy[~own]).all()
        wrists = people.keypoints[:, 9:11]
        longer = (people.xyxy[:, 2:] - people.xyxy[:, :2]).max(axis=1, initial=0)
        middle = (people.held_xyxy[..., :2] + people.held_xyxy[..., 2:]) / 2
        away = np.linalg.norm(middle - wrists[..., :2], axis=2) / longer[:, None]
        assert (away[own & (wrists[..., 2] > 0)] < 0.6).all()


def test_equal_numbers_give_equal_pictures() -> None:
    for (image, people), (again, others) in zip(made()[:3], posed_pictures(5, 3), strict=True):
        assert np.array_equal(image, again)
        assert np.array_equal(people.keypoints, others.keypoints)


def test_a_written_shop_is_read_as_it_was(tmp_path: Path) -> None:
    make_posed_shelf(tmp_path / "shop.npz", 5, 3)
    shelf = read_posed_shelf(tmp_path / "shop.npz")
    assert len(shelf) == 3
    for row, (image, people) in enumerate(made()[:3]):
        for field in fields(PosedPeople):
            assert np.array_equal(
                getattr(shelf.people_in(row), field.name), getattr(people, field.name), equal_nan=True
            )
        assert abs(shelf.image(row).astype(float) - image).mean() < 4  # it is compressed once more


def test_shops_that_are_there_are_kept(tmp_path: Path) -> None:
    make_posed_dataset(tmp_path, 1, 3, count=1)
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    make_posed_dataset(tmp_path, 1, 3, count=1)
    assert file.stat().st_mtime_ns == before


def test_another_file_is_no_shop(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="expected a shelf of pictures"):
        read_posed_shelf(tmp_path / "other.npz")
