"""What a store's products look like: a gallery from a file, or every product of a simulated shop enrolled at once."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import numpy as np

from models.weights import resolve_weights
from store_sim.product_pictures import PrintedProduct, ProductStudio
from vision.arrays import ImageArray
from vision.held import HeldLooker
from vision.layout import ProductRecord
from vision.products import Gallery, ProductRecogniser, letterboxed

MODEL = "tillfree-products"


def studio_looker(products: Sequence[ProductRecord]) -> HeldLooker:
    """Enrol the products of a simulated shop from six pictures of each (``ENROL_VIEWS``); equal shops look equal.

    A product takes a seventh of a second the first time it is enrolled in a process.
    """
    recogniser = _recogniser(resolve_weights(MODEL))
    gallery = Gallery.empty(recogniser)
    for product in products:
        gallery = gallery.enrol(product.sku, _pictures(product), recogniser)
    return HeldLooker(recogniser, gallery)


def gallery_looker(file: Path, weights: str = MODEL) -> HeldLooker:
    """Read a gallery that ``tillfree gallery`` made.

    Raises:
        OSError: A file cannot be read.
        ValueError: It is no gallery, or one of another model.
    """
    return HeldLooker(_recogniser(resolve_weights(weights)), Gallery.load(file))


@lru_cache(maxsize=1)
def _recogniser(weights: Path) -> ProductRecogniser:
    return ProductRecogniser.load(weights)


@lru_cache(maxsize=512)
def _pictures(product: ProductRecord) -> tuple[ImageArray, ...]:
    rng = np.random.default_rng(crc32(product.sku.encode()))
    return tuple(letterboxed(picture) for picture in ProductStudio([PrintedProduct(product)]).enrolment(0, rng))
