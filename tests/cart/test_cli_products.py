"""Tests of ``tillfree gallery``."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from store_sim.product_pictures import ProductStudio, Setting, invented_shop
from tests.cart.running import Tillfree, refusal


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enrolment pictures of three products, a folder each, and a crop of each on a shelf beside them."""
    folder = tmp_path_factory.mktemp("products")
    studio, rng = ProductStudio(invented_shop(4, 3)), np.random.default_rng(2)
    for row in range(3):
        own = folder / "enrolment" / f"sku-{row}"
        own.mkdir(parents=True)
        for number, image in enumerate(studio.enrolment(row, rng, 4)):
            cv2.imwrite(str(own / f"{number}.png"), image)
        crop = studio.picture(row, Setting.SHELF, rng, size_px=90.0).image
        cv2.imwrite(str(folder / f"crop-{row}.png"), crop)
    return folder


def test_products_are_enrolled_shown_named_and_removed(tillfree: Tillfree, pictures: Path, tmp_path: Path) -> None:
    gallery, sheet = tmp_path / "shop.npz", tmp_path / "sheet.png"
    ran = tillfree("gallery", "enrol", gallery, pictures / "enrolment", "--sheet", sheet)
    assert ran.status == 0, ran.err
    assert "3 products, 12 pictures" in ran.out
    assert cv2.imread(str(sheet)) is not None
    shown = tillfree("gallery", "show", gallery).out
    assert all(f"sku-{row}" in shown for row in range(3))
    named = tillfree("gallery", "name", gallery, *(pictures / f"crop-{row}.png" for row in range(3)))
    assert named.status == 0, named.err
    alike = tillfree("gallery", "name", gallery, *[pictures / "crop-0.png"] * 3, "--one-thing")
    assert alike.status == 0, alike.err
    assert "3 pictures" in alike.out
    assert "crop-0" not in alike.out
    assert tillfree("gallery", "remove", gallery, "sku-1").status == 0
    assert "sku-1" not in tillfree("gallery", "show", gallery).out


def test_a_folder_without_products_is_refused(tillfree: Tillfree, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = tillfree("gallery", "enrol", tmp_path / "g.npz", tmp_path / "empty")
    assert "expected one for each product" in refusal(ran)


def test_what_is_no_picture_is_refused_by_its_name(tillfree: Tillfree, tmp_path: Path) -> None:
    (tmp_path / "in" / "sku").mkdir(parents=True)
    (tmp_path / "in" / "sku" / "a.png").write_bytes(b"no picture")
    assert "a.png: expected a picture" in refusal(tillfree("gallery", "enrol", tmp_path / "g.npz", tmp_path / "in"))


def test_what_is_no_gallery_is_refused(tillfree: Tillfree, tmp_path: Path) -> None:
    (tmp_path / "g.npz").write_bytes(b"nothing of the kind")
    assert "g.npz" in refusal(tillfree("gallery", "show", tmp_path / "g.npz"))
