"""What is written down of a day, and who owes what for it."""

import numpy as np

from store_sim.chronicle import Chronicle
from store_sim.scenarios import Role, ScenarioShopper
from store_sim.stock import Stock
from store_sim.truth import TrueLine, TrueReceipt, TrueVisit
from tests.store_sim.shops import a_scenario, a_shop, at
from vision.shelf import Handling

SCENARIO = a_scenario(
    [],
    ScenarioShopper("Ann", 1.0, group="family"),
    ScenarioShopper("Ben", 1.0, group="family"),
    ScenarioShopper("Cem", 1.0, role=Role.STAFF),
    ScenarioShopper("Tom", 1.0, checks_in=False),
)
ANN, BEN, CEM, TOM = range(4)


def a_day() -> tuple[Chronicle, Stock, list[int]]:
    stock = Stock(a_shop(), SCENARIO, np.random.default_rng(0))
    return Chronicle(SCENARIO, stock), stock, stock.standing(at(1, 1, 1, 2), "111")


def test_the_payer_of_the_taker_owes_also_for_what_somebody_else_carries_out() -> None:
    chronicle, stock, units = a_day()
    for unit, taker in zip(units, (BEN, CEM, TOM), strict=False):
        stock.take([unit], taker, 0)
    stock.hand_to(units[:1], TOM, 0)
    assert chronicle.truth().receipts == (TrueReceipt("Ann", ()),)
    chronicle.use(units[:3])
    assert chronicle.truth().receipts == (TrueReceipt("Ann", (TrueLine("111", 1),)),)
    assert chronicle.truth().unpaid == (("Tom", "111", 1),)


def test_visits_are_kept_in_the_order_people_come() -> None:
    chronicle, _, _ = a_day()
    ben, ann = chronicle.come_in("Ben", 5), chronicle.come_in("Ann", 6)
    assert chronicle.people_inside == 2
    chronicle.go_out(ann, 9)
    assert chronicle.truth().visits == (TrueVisit("Ben", "Ann", 5, None), TrueVisit("Ann", "Ann", 6, 9))
    assert (ben, chronicle.people_inside) == (0, 1)


def test_news_are_told_once() -> None:
    chronicle, _, _ = a_day()
    chronicle.note("Ann", Handling.PICK, 7, at(1, 1, 1, 2), {"1/1/1": 20.0, "1/1/2": 80.0}, "111", 1)
    (news,) = chronicle.news()
    assert news.plate_ids == ("1/1/2", "1/1/1")
    assert chronicle.news() == ()
    assert chronicle.truth().interactions == (news,)
