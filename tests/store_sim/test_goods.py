import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_sim.autocheckout import read_site
from store_sim.goods import LOOKALIKE, Pack, labels_of, look_of, pack_of
from vision.arrays import ImageArray
from vision.layout import ProductRecord

names = st.text("abcdefghij klmnopqrstuvwxyz0123456789.,&'ßñ🍚", max_size=40)
masses = st.one_of(st.just(float("nan")), st.floats(0.01, 1e5))


def product(name: str, mass_g: float = 300.0, sku: str = "4006381333931") -> ProductRecord:
    return ProductRecord(sku, name, mass_g, 199, "EUR")


@pytest.mark.parametrize(
    ("name", "mass_g", "kind"),
    [
        ("FIJI WATER .5 LTR", 538, Pack.BOTTLE),
        ("COCA-COLA 12OZ", 384, Pack.CAN),
        ("COCA-COLA_16OZ", 551, Pack.BOTTLE),
        ("Trident original flavor 14 sticks", 34.5, Pack.SMALL_BOX),
        ("Kettle Chips Sea Salt & Vinegar", 62.3, Pack.BAG),
        ("KIND PLUS BAR", 41.9, Pack.BAR),
        ("Haribo Gold Bears Gummi Candy", 295, Pack.POUCH),
        ("Tostitos Salsa", 689, Pack.JAR),
        ("Half Roast Chicken", 618, Pack.TRAY),
        ("Noosa Limon - 4 oz", 122, Pack.CUP),
        ("Tall Oak Oat Drink 1 l", 1047, Pack.CARTON),
        ("Harbour Sardines", 178, Pack.TIN),
        ("Garden Gate Herbal Tea", 71, Pack.BOX),
    ],
)
def test_the_words_of_a_name_say_what_pack_it_is(name: str, mass_g: float, kind: Pack) -> None:
    assert pack_of(product(name, mass_g)) is kind


@given(names, masses)
def test_every_product_has_a_size_that_fits_a_shelf_and_a_hand(name: str, mass_g: float) -> None:
    size_m = look_of(product(name, mass_g)).size_m
    assert (size_m > 0.01).all()
    assert (size_m <= [0.25, 0.2, 0.37]).all()


@settings(deadline=None, max_examples=40)
@given(names, masses)
def test_every_label_can_be_drawn_and_is_a_texture(name: str, mass_g: float) -> None:
    labels = labels_of(product(name, mass_g))
    for texture in (labels.front, labels.side, labels.top, labels.wrap):
        assert texture.dtype == np.uint8
        for length in texture.shape[:2]:
            assert length & (length - 1) == 0
            assert 32 <= length <= 512


def test_a_heavier_unit_of_the_same_pack_is_larger() -> None:
    sizes = [look_of(product("Spring Water", mass_g)).size_m for mass_g in (300, 600, 1200)]
    assert (np.diff(sizes, axis=0) > 0).all()


def test_an_import_of_the_same_name_looks_the_same_but_for_its_barcode() -> None:
    own, other = product("Red Barn Passata", sku="1"), product("Red Barn Passata" + LOOKALIKE, sku="2")
    assert np.array_equal(look_of(own).size_m, look_of(other).size_m)
    assert np.array_equal(labels_of(own).front, labels_of(other).front)
    assert not np.array_equal(labels_of(own).side, labels_of(other).side)


def difference(one: ImageArray, other: ImageArray) -> float:
    """Mean difference of two labels as a far camera sees them, levels."""
    seen = [cv2.resize(image, (12, 16), interpolation=cv2.INTER_AREA).astype(float) for image in (one, other)]
    return float(np.abs(seen[0] - seen[1]).mean())


def test_no_two_products_of_the_real_store_look_alike(shared: Path) -> None:
    products = read_site(shared / "nanostore" / "site").products
    seen: dict[bytes, str] = {}
    small = {}
    for item in products:
        front = labels_of(item).front
        assert seen.setdefault(front.tobytes(), item.name) == item.name
        small[item.name] = front
    fronts = list(small.values())
    rng = np.random.default_rng(0)
    differences = [difference(*(fronts[k] for k in rng.choice(len(fronts), 2, replace=False))) for _ in range(400)]
    assert np.percentile(differences, 5) > 20  # also those that a far camera sees as a few pixels mostly differ clearly


def test_another_process_draws_the_same_label() -> None:
    code = (
        "import zlib; from store_sim.goods import labels_of; from vision.layout import ProductRecord;"
        "item = ProductRecord('4006381333931', 'Mill Street Penne', 300.0, 199, 'EUR');"
        "print(zlib.crc32(labels_of(item).front.tobytes()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) == zlib.crc32(labels_of(product("Mill Street Penne")).front.tobytes())
