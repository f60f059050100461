from dataclasses import replace

import numpy as np

from store_sim.figures import Whereabouts
from store_sim.merchandise import Merchandise
from store_sim.meshes import Textures
from store_sim.scenery import gondolas_of
from tests.store_sim.pictured import a_shop, people, some_goods, with_units


def merchandise() -> Merchandise:
    layout = a_shop()
    return Merchandise(layout, gondolas_of(layout), Textures())


def test_every_unit_stands_in_its_gondola() -> None:
    shelves, goods = merchandise(), some_goods()
    shelves.look(goods, 10)
    assert list(shelves.cells) == [0]
    assert set(shelves.cells[0].thing.tolist()) == set(range(10, 10 + len(goods.sku_index)))


def test_nothing_is_made_again_while_nothing_moves() -> None:
    shelves, goods = merchandise(), some_goods()
    shelves.look(goods, 1)
    before = shelves.cells[0]
    assert shelves.look(goods, 1) is None
    assert shelves.look(replace(goods, version=goods.version + 1), 1) is None
    assert shelves.cells[0] is before


def test_what_moves_is_told_by_where_it_was_and_where_it_is() -> None:
    shelves, goods = merchandise(), some_goods()
    shelves.look(goods, 1)
    position = goods.position_m.copy()
    position[5] = [2.0, 1.5, 0.0]
    moved = shelves.look(with_units(replace(goods, position_m=position), [5], Whereabouts.FLOOR), 1)
    assert moved is not None
    for place, around in zip((goods.position_m[5], position[5]), moved.reshape(2, 8, 3), strict=True):
        assert (around.min(0) < place).all()
        assert (around.max(0) > place).all()
        assert np.ptp(around, axis=0).max() < 0.4
    assert sorted(shelves.cells) == [0, 1]
    assert set(shelves.cells[1].thing.tolist()) == {6}
    assert 6 not in shelves.cells[0].thing


def test_other_goods_are_all_new() -> None:
    shelves, goods = merchandise(), some_goods()
    looks = [goods, with_units(goods, [0], Whereabouts.GONE), replace(goods, skus=goods.skus[::-1])]
    moved = [shelves.look(look, 1) for look in looks]
    assert [None if corners is None else len(corners) for corners in moved] == [0, 8, 0]


def test_units_held_in_one_hand_hang_side_by_side() -> None:
    shelves, goods = merchandise(), some_goods()
    figures, skeletons = people((2.0, 1.2), (3.0, 1.4))
    assert len(shelves.held(figures, skeletons, goods, 1)) == 0
    goods = with_units(goods, [0, 1], Whereabouts.HAND, holder=1)
    held = shelves.held(figures, skeletons, goods, 1)
    middles = [held.points_m[held.thing == thing].mean(axis=0) for thing in (1, 2)]
    assert 0.03 < np.linalg.norm(middles[0] - middles[1]) < 0.2
    assert np.linalg.norm(np.mean(middles, axis=0)[:2] - figures.position_m[1]) < 0.7


def test_what_somebody_outside_holds_is_not_drawn() -> None:
    shelves = merchandise()
    figures, skeletons = people((2.0, 1.2))
    goods = with_units(some_goods(), [0], Whereabouts.HAND, holder=1)
    assert len(shelves.held(figures, skeletons, goods, 1)) == 0


def test_products_that_no_catalogue_has_are_drawn_too() -> None:
    assert len(merchandise().pack("foreign")) > 4


def test_what_is_put_away_lies_in_a_trolley_and_is_unseen_in_a_bag() -> None:
    shelves = merchandise()
    figures, _ = people((2.0, 1.2), (3.0, 1.4))
    goods = with_units(some_goods(), [0, 1, 2], Whereabouts.BAG, holder=0)
    assert len(shelves.carted(figures, goods, 1)) == 0
    pushing = replace(figures, trolley=np.array([True, False]))
    carted = shelves.carted(pushing, goods, 1)
    assert set(carted.thing.tolist()) == {1, 2, 3}
    # Facing south, the basket is half a metre to a metre in front.
    assert carted.points_m[:, 1].max() < figures.position_m[0, 1] - 0.4
    assert carted.points_m[:, 2].min() > 0.5
    assert np.abs(carted.points_m[:, 0] - 2.0).max() < 0.3
