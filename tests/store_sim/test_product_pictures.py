import numpy as np
import pytest

from store_sim.product_pictures import ENROL_VIEWS, ProductStudio, Setting, invented_shop


def a_studio() -> ProductStudio:
    return ProductStudio(invented_shop(4, 8))


@pytest.mark.parametrize("setting", list(Setting))
def test_equal_generators_give_equal_pictures(setting: Setting) -> None:
    first = a_studio().picture(3, setting, np.random.default_rng(1))
    again = a_studio().picture(3, setting, np.random.default_rng(1))
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, a_studio().picture(3, setting, np.random.default_rng(2)).image)


def test_a_crop_has_about_the_size_that_was_asked_for() -> None:
    picture = a_studio().picture(0, Setting.SHELF, np.random.default_rng(1), size_px=60)
    assert 45 <= max(picture.image.shape[:2]) <= 85
    assert picture.size_px == 60


def test_hands_hide_part_of_a_pack_and_nothing_hides_an_enrolled_one() -> None:
    studio, rng = a_studio(), np.random.default_rng(3)
    held = [studio.picture(row, Setting.HAND, rng).covered for row in range(8)]
    assert 0.05 < np.mean(held) < 0.7
    assert studio.picture(0, Setting.ENROLMENT, rng).covered == 0


def test_a_shop_enrols_pictures_from_every_side() -> None:
    pictures = a_studio().enrolment(1, np.random.default_rng(3))
    assert len(pictures) == len(ENROL_VIEWS)
    assert all(min(picture.shape[:2]) >= 16 and picture.dtype == np.uint8 for picture in pictures)


def test_variants_share_a_design_but_not_their_words() -> None:
    shop = invented_shop(6, 60, variants=1.0)
    alike = [product for product in shop if product.like is not None]
    assert alike
    assert all(product.design != product.record.name for product in alike)
    assert not [product for product in invented_shop(6, 60, variants=0.0) if product.like is not None]


def test_a_studio_needs_products() -> None:
    with pytest.raises(ValueError, match="at least one product"):
        ProductStudio(())
