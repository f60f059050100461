from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.weights import resolve_weights
from vision.arrays import FloatArray, ImageArray
from vision.products import (
    INPUT_PX,
    PADDING,
    Calibration,
    Gallery,
    ProductRecogniser,
    Recognition,
    contact_sheet,
    cropped_to_product,
    letterboxed,
    recognition,
    together,
)

CALIBRATION = Calibration(3.0, 0.2, 0.8, 0.02, 0.02)


class Port:
    def __init__(self, name: str, shape: list[int | str]) -> None:
        self.name, self.shape = name, shape


class MeanColours:
    """Stands in for a network: embeds the mean colours of the quarters of a crop."""

    def get_inputs(self) -> list[Port]:
        return [Port("crops", ["n", INPUT_PX, INPUT_PX, 3])]

    def get_outputs(self) -> list[Port]:
        return [Port("embeddings", ["n", 12])]

    def run(self, names: Any, inputs: dict[str, ImageArray]) -> list[FloatArray]:
        halves = inputs["crops"].reshape(-1, 2, INPUT_PX // 2, 2, INPUT_PX // 2, 3).mean(axis=(2, 4)).reshape(-1, 12)
        vectors = halves - 120.0
        return [(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)]


def a_recogniser(model: str = "a" * 64) -> ProductRecogniser:
    return ProductRecogniser(MeanColours(), model, CALIBRATION)


def a_pack(colour: tuple[int, int, int], size_px: int = 60, noise: int = 0) -> ImageArray:
    image = np.full((size_px, size_px, 3), colour, np.uint8)
    image[: size_px // 2] = image[: size_px // 2] // 2
    return np.asarray(image + np.random.default_rng(noise).integers(0, 9, image.shape, np.uint8))


RED, GREEN, BLUE = (20, 30, 220), (30, 200, 40), (230, 60, 20)


def a_gallery() -> Gallery:
    gallery = Gallery.empty(a_recogniser())
    for sku, colour in (("red", RED), ("green", GREEN)):
        gallery = gallery.enrol(sku, [a_pack(colour, 60, k) for k in range(2)], a_recogniser())
    return gallery


def test_an_enrolled_product_is_recognised_in_another_size() -> None:
    said = a_recogniser().recognise([a_pack(GREEN, 33, 7), a_pack(RED, 90, 8)], a_gallery())
    assert said.best() == ["green", "red"]
    assert said.top(0, 1)[0][0] == "green"


def test_what_is_not_in_the_gallery_is_not_known() -> None:
    said = a_recogniser().recognise([a_pack(BLUE)], a_gallery())
    assert said.best() == [None]
    assert said.unknown[0] > 0.5


def test_only_products_that_come_into_question_are_answered() -> None:
    said = a_recogniser().recognise([a_pack(GREEN)], a_gallery(), among=["red", "no such"])
    assert said.skus == ("red",)
    assert said.best() == [None]


def test_nothing_is_known_from_an_empty_gallery() -> None:
    said = a_recogniser().recognise([a_pack(GREEN)], Gallery.empty(a_recogniser()))
    assert said.best() == [None]
    assert said.unknown.tolist() == [1.0]


def test_no_crops_give_no_answers() -> None:
    assert len(a_recogniser().recognise([], a_gallery())) == 0


@given(st.integers(1, 6), st.integers(0, 5), st.floats(10, 200))
def test_probabilities_add_up_to_one(crops: int, skus: int, size_px: float) -> None:
    similarity = np.random.default_rng(crops + skus).uniform(-1, 1, (crops, skus))
    said = recognition(similarity, np.full(crops, size_px), tuple(map(str, range(skus))), CALIBRATION)
    assert np.allclose(said.probability.sum(axis=1) + said.unknown, 1)
    assert (said.probability >= 0).all()


def a_recognition(*probability: float) -> Recognition:
    """Of crops, each of which shows the first of two products with a probability, and never the second."""
    known = np.column_stack([probability, np.zeros(len(probability))])
    return Recognition(("a", "b"), known, 1 - known.sum(axis=1), known)


def test_crops_that_say_the_same_make_no_surer_and_others_weigh_against_each_other() -> None:
    assert together(a_recognition(0.8, 0.8, 0.8)).probability[0, 0] == pytest.approx(0.8)
    assert together(a_recognition(0.8, 0.2)).probability[0, 0] == pytest.approx(0.5)
    assert together(a_recognition(0.99, 0.4)).best() == ["a"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_crops_of_one_thing_give_one_answer(probability: list[float]) -> None:
    said = together(a_recognition(*probability))
    assert said.probability.shape == (1, 2)
    assert said.probability.sum() + said.unknown.sum() == pytest.approx(1)


def test_no_crops_show_nothing_together() -> None:
    with pytest.raises(ValueError, match="at least one crop"):
        together(a_recognition())


def test_products_are_removed_and_replaced() -> None:
    gallery = a_gallery().remove("red")
    assert gallery.skus == ("green",)
    assert gallery.sku_row.tolist() == [0, 0]
    again = gallery.replace("green", [a_pack(BLUE)], a_recogniser())
    assert a_recogniser().recognise([a_pack(BLUE)], again).best() == ["green"]
    assert a_recogniser().recognise([a_pack(GREEN)], again).best() == [None]


def test_a_product_is_enrolled_once() -> None:
    with pytest.raises(ValueError, match="product red is enrolled already"):
        a_gallery().enrol("red", [a_pack(RED)], a_recogniser())


def test_a_product_needs_a_picture() -> None:
    with pytest.raises(ValueError, match="at least one picture of product blue"):
        a_gallery().enrol("blue", [], a_recogniser())


def test_a_product_that_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(ValueError, match="expected one of its 2 products, got blue"):
        a_gallery().remove("blue")


def test_a_gallery_belongs_to_one_model_until_it_is_embedded_again() -> None:
    other = a_recogniser("b" * 64)
    with pytest.raises(ValueError, match="enrol its pictures again"):
        other.recognise([a_pack(RED)], a_gallery())
    assert other.recognise([a_pack(RED)], a_gallery().embedded_again(other)).best() == ["red"]


def test_a_gallery_is_the_same_after_saving(tmp_path: Path) -> None:
    gallery, file = a_gallery(), tmp_path / "shop.gallery"
    gallery.save(file)
    read = Gallery.load(file)
    assert (read.skus, read.model_sha256) == (gallery.skus, gallery.model_sha256)
    assert np.array_equal(read.embeddings, gallery.embeddings)
    assert np.array_equal(read.pictures, gallery.pictures)
    assert [part.name for part in tmp_path.iterdir()] == ["shop.gallery"]


def test_a_damaged_gallery_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "shop.gallery"
    a_gallery().save(file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="the gallery is damaged"):
        Gallery.load(file)
    file.write_bytes(b"PK something else")
    with pytest.raises(ValueError, match="expected a gallery"):
        Gallery.load(file)


def test_the_sheet_shows_every_product() -> None:
    sheet = contact_sheet(a_gallery(), columns=2)
    assert sheet.shape == (2 * (INPUT_PX + 2 + 14), 2 * (INPUT_PX + 2), 3)


def test_letterboxes_show_the_root_of_proportions() -> None:
    square = letterboxed(np.zeros((160, 40, 3), np.uint8))
    assert (square[:, :16] == PADDING).all()
    assert (square[:, 16:48] == 0).all()
    assert (square[:, 48:] == PADDING).all()


def test_a_square_is_letterboxed_once_for_all() -> None:
    square = letterboxed(a_pack(RED, 100))
    assert np.array_equal(letterboxed(square), square)


def test_what_shrinks_one_way_and_grows_the_other_is_averaged() -> None:
    stripes = np.zeros((128, 20, 3), np.uint8)
    stripes[::2] = 200
    square = letterboxed(stripes)
    assert (square[:, 20:44] == 100).all()


@pytest.mark.parametrize("crop", [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_crops_without_pixels_or_of_other_types_are_refused(crop: Any) -> None:
    with pytest.raises(ValueError, match="expected uint8 with at least one pixel"):
        letterboxed(crop)


def test_a_picture_on_a_plain_ground_is_cut_to_the_product() -> None:
    picture = np.full((200, 300, 3), 230, np.uint8)
    cv2.rectangle(picture, (100, 40), (180, 160), (40, 90, 160), -1)
    assert cropped_to_product(picture).shape[:2] == pytest.approx((121, 81), abs=4)


def test_a_picture_that_is_cut_already_is_left_as_it_is() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (50, 40, 3), np.uint8)
    assert cropped_to_product(picture).shape == (50, 40, 3)


def test_a_calibration_reads_what_it_wrote() -> None:
    assert Calibration.from_json(CALIBRATION.as_json()) == CALIBRATION
    with pytest.raises(ValueError, match="calibration: expected numbers"):
        Calibration.from_json("{}")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.onnx"
    file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="expected an ONNX model"):
        ProductRecogniser.load(file)


def test_the_shipped_model_tells_packs_apart_that_it_never_saw() -> None:
    from store_sim.product_pictures import ProductStudio, Setting, invented_shop

    recogniser = ProductRecogniser.load(resolve_weights("tillfree-products"))
    studio = ProductStudio(invented_shop(77, 10, variants=0.0))
    rng = np.random.default_rng(5)
    gallery = Gallery.empty(recogniser)
    for row in range(10):
        gallery = gallery.enrol(str(row), studio.enrolment(row, rng), recogniser)
    view = (20.0, 15.0)
    crops = [studio.picture(row, Setting.SHELF, rng, size_px=80, view_deg=view).image for row in range(10)]
    similarity = recogniser.recognise(crops, gallery).similarity
    assert (similarity.argmax(axis=1) == np.arange(10)).sum() >= 9
