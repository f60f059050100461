"""Pictures of what the demo sells, drawn from the very packs that stand on its shelves."""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

import cv2
from PIL import Image

from cart.priorities import give_way
from cart.product_pictures import encoded, pictured, put_picture
from cart.repository import Database
from cart.tables import ProductRow
from store_sim.product_pictures import PrintedProduct, ProductStudio
from vision.layout import ProductRecord

_log = logging.getLogger(__name__)

SIZE_PX = 320
BREATH_S = 0.05
"""Between two packs, so that whoever serves the store's first visitors has the processor."""


def draw_missing(
    database: Database, products: Sequence[ProductRecord], now: Callable[[], datetime], stopping: threading.Event
) -> int:
    """Draw the products that have no picture yet, one after another.

    Args:
        database: The shop's.
        products: What it sells.
        now: The time, timezone-aware.
        stopping: Ends it early.

    Returns:
        How many pictures were drawn.
    """
    with database.reading() as repository:
        known = pictured(repository, [product.sku for product in products])
    missing = [product for product in products if product.sku not in known]
    drawn = 0
    if not missing:
        return drawn
    studio = ProductStudio([PrintedProduct(product) for product in missing])
    for row, product in enumerate(missing):
        if stopping.wait(BREATH_S):
            break
        image = Image.fromarray(cv2.cvtColor(studio.portrait(row, SIZE_PX), cv2.COLOR_BGRA2RGBA))
        media = encoded(image)
        with database.transaction() as repository:
            # Somebody may have given it one meanwhile, which is theirs to choose.
            if repository.sql.get(ProductRow, product.sku) is not None and not pictured(repository, [product.sku]):
                put_picture(repository, product.sku, media, now())
                drawn += 1
    return drawn


def draw_in_background(
    database: Database, products: Sequence[ProductRecord], now: Callable[[], datetime], stopping: threading.Event
) -> None:
    """Draw the products that have no picture yet in the thread that calls this, after everything else.

    A demo without pictures is a demo still: what fails is logged.
    """
    give_way()
    try:
        draw_missing(database, products, now, stopping)
    except Exception:
        _log.exception("the demo's products could not be drawn")
