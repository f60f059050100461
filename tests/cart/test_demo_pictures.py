"""The demo's products are drawn once, and what somebody has chosen stays."""

import io
import threading
from datetime import UTC, datetime

from PIL import Image

from cart.catalog import Catalogue
from cart.demo_pictures import draw_in_background, draw_missing
from cart.demo_store import demo_store_layout
from cart.pipeline import catalogue_of
from cart.pricing import load_catalogue
from cart.product_pictures import picture_of, put_picture
from cart.repository import Database

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_each_product_gets_its_picture_once_and_a_chosen_one_stays() -> None:
    database = Database.in_memory()
    products = demo_store_layout().products[:3]
    catalogue: Catalogue = catalogue_of(products, "EUR")
    with database.transaction() as repository:
        load_catalogue(repository, catalogue, NOON)
        put_picture(repository, products[1].sku, b"chosen", NOON)
    running = threading.Event()
    assert draw_missing(database, products, lambda: NOON, running) == 2
    assert draw_missing(database, products, lambda: NOON, running) == 0
    with database.reading() as repository:
        first, chosen, third = (picture_of(repository, product.sku) for product in products)
    assert first is not None
    assert chosen is not None
    assert third is not None
    assert chosen.media == b"chosen"
    assert first.media != third.media
    image = Image.open(io.BytesIO(first.media))
    assert max(image.size) in (319, 320, 321)
    opacity = image.getchannel("A")
    assert opacity.getextrema() == (0, 255)
    assert opacity.getpixel((image.width // 2, image.height // 2)) == 255


def test_whoever_closes_the_store_need_not_wait_for_pictures() -> None:
    database = Database.in_memory()
    products = demo_store_layout().products
    with database.transaction() as repository:
        load_catalogue(repository, catalogue_of(products, "EUR"), NOON)
    stopping = threading.Event()
    stopping.set()
    assert draw_missing(database, products, lambda: NOON, stopping) == 0
    thread = threading.Thread(target=draw_in_background, args=(database, products, lambda: NOON, stopping))
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
