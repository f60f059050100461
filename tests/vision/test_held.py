from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from cart.galleries import studio_looker
from store_sim.product_pictures import PrintedProduct, ProductStudio, Setting, invented_shop
from vision.detections import COCO_PERSON, KEYPOINT_COUNT, RIGHT_WRIST, Detections
from vision.frames import Frame
from vision.held import HeldLooker
from vision.top_down import HELD_PRODUCT

CLASS_NAMES = "person", HELD_PRODUCT
PRODUCTS = tuple(printed.record for printed in invented_shop(5, 8))


def a_view(held_xyxy: Sequence[float], image: np.ndarray) -> tuple[Frame, Detections]:
    """Somebody whose right hand holds something there."""
    keypoints = np.full((2, KEYPOINT_COUNT, 3), np.nan, np.float32)
    keypoints[:, RIGHT_WRIST] = 150, 80, 0.9
    keypoints[0, 0] = 100, 20, 0.9
    xyxy = np.array([[50, 0, 200, 190], held_xyxy], np.float32)
    seen = Detections("cam1", 5, xyxy, np.array([0.9, 0.8], np.float32), np.array([COCO_PERSON, 1]), keypoints)
    return Frame("cam1", 0, 5, image), seen


def test_what_a_hand_holds_is_named_from_its_picture() -> None:
    looker = studio_looker(PRODUCTS)
    studio = ProductStudio([PrintedProduct(product) for product in PRODUCTS])
    right = 0
    for row, product in enumerate(PRODUCTS):
        image = np.full((200, 300, 3), 128, np.uint8)
        pack = studio.picture(row, Setting.HAND, np.random.default_rng(row), size_px=60, view_deg=(10, 15)).image
        height, width = pack.shape[:2]
        image[40 : 40 + height, 140 : 140 + width] = pack
        frame, seen = a_view([140, 40, 140 + width, 40 + height], image)
        look = looker.look(frame, seen, CLASS_NAMES)
        assert look.owner_xyxy.tolist() == [[50, 0, 200, 190]]
        assert look.size_px.tolist() == [max(height, width)]
        right += looker.gallery.skus[int(look.similarity[0].argmax())] == product.sku
    assert right >= 6  # of eight; variants may be taken for one another


def test_things_that_are_too_small_or_outside_the_picture_are_left_out() -> None:
    looker = studio_looker(PRODUCTS[:2])
    image = np.zeros((200, 300, 3), np.uint8)
    for box in ([140, 40, 146, 48], [299.5, 40, 330, 90], [310, 40, 330, 90]):
        frame, seen = a_view(box, image)
        assert not len(looker.look(frame, seen, CLASS_NAMES))
    frame, seen = a_view([140, 40, 190, 90], image)
    assert not len(looker.look(frame, seen, ("person", "bottle")))


def test_a_gallery_of_another_model_is_refused() -> None:
    looker = studio_looker(PRODUCTS[:1])
    strange = replace(looker.gallery, model_sha256="0" * 64)
    with pytest.raises(ValueError, match="enrol its pictures again"):
        HeldLooker(looker._recogniser, strange)
