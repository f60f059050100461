"""Tests of cart.scoring."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.scoring import (
    BelievedCandidate,
    BelievedInteraction,
    CaseScore,
    ClosedVisit,
    Playback,
    SureUnits,
    VisitUnits,
    calibration,
    calibration_error,
    f1_score,
    score_case,
    upper_bound,
)
from store_sim.scenarios import Action, ScenarioEvent
from store_sim.truth import TrueInteraction, TrueLine, TrueReceipt, TrueVisit, Truth
from vision.layout import ProductRecord, StoreLayout
from vision.shelf import Handling

SECOND = 1_000_000_000
START = 1_900_000_000 * SECOND
WATER, SODA = "071142008582", "012000181139"
SHOP = StoreLayout(
    name="a shop",
    products=(
        ProductRecord(WATER, "Spring water", 621.7, 150, "USD"),
        ProductRecord(SODA, "Soda", 370.0, 250, "USD"),
    ),
)


def at(seconds: float) -> int:
    return START + round(seconds * SECOND)


def took(shopper: str, t_s: float, sku: str | None = WATER, quantity: int = 1, **changes: object) -> TrueInteraction:
    deed = TrueInteraction(shopper, Handling.PICK, at(t_s), 1, 5, ("1/5/11",), sku, quantity)
    return replace(deed, **changes)  # type: ignore[arg-type]


def put_back(shopper: str, t_s: float, sku: str | None = WATER, quantity: int = 1) -> TrueInteraction:
    return took(shopper, t_s, sku, quantity, kind=Handling.PUT_BACK)


def stay(shopper: str, payer: str | None, entered_s: float = 1.0, left_s: float | None = 30.0) -> TrueVisit:
    return TrueVisit(shopper, payer, at(entered_s), None if left_s is None else at(left_s))


def owes(payer: str, **lines: int) -> TrueReceipt:
    names = {"water": WATER, "soda": SODA}
    return TrueReceipt(payer, tuple(TrueLine(names[name], quantity) for name, quantity in sorted(lines.items())))


def visit(shopper: str, status: str = "charged", sure: float = 0.95, **lines: int) -> ClosedVisit:
    names = {"water": (WATER, 150), "soda": (SODA, 250)}
    return ClosedVisit(
        shopper,
        status != "no_account",
        status,
        at(1),
        at(30),
        at(33),
        tuple(VisitUnits(names[name][0], quantity, sure, names[name][1]) for name, quantity in sorted(lines.items())),
        ("somebody stood before it",) if status == "needs_review" else (),
    )


def saw(shopper: str, t_s: float, sku: str = WATER, quantity: int = 1, sure: float = 0.95) -> BelievedInteraction:
    return BelievedInteraction(
        Handling.PICK,
        at(t_s),
        1,
        5,
        "gondola 1, shelf 5, plate 11",
        sku,
        quantity,
        (BelievedCandidate(shopper, sku, quantity, sure),),
        shopper,
        -600.0,
    )


def scored(
    receipts: tuple[TrueReceipt, ...],
    visits: tuple[ClosedVisit, ...],
    deeds: tuple[TrueInteraction, ...] = (),
    beliefs: tuple[BelievedInteraction, ...] = (),
    stays: tuple[TrueVisit, ...] | None = None,
) -> CaseScore:
    if stays is None:
        stays = tuple(stay(receipt.payer, receipt.payer) for receipt in receipts)
    truth = Truth(deeds, stays, receipts)
    return score_case("a case", "a class", 0, receipts, truth, Playback(START, at(40), visits, beliefs), SHOP)


def test_units_are_counted_by_payer_and_barcode() -> None:
    score = scored((owes("A", water=2, soda=1), owes("B")), (visit("A", water=3, soda=0), visit("B", status="empty")))
    assert (score.tp, score.fp, score.fn) == (2, 1, 1)
    assert score.f1 == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert (score.visits, score.reviewed, score.wrong_charges, score.unreviewed_units) == (2, 0, 1, 3)
    assert (score.overcharged_minor, score.undercharged_minor) == (150, 250)


def test_the_right_product_on_the_wrong_account_is_wrong_and_missed() -> None:
    score = scored((owes("A", water=1), owes("B")), (visit("A", status="empty"), visit("B", water=1)))
    assert (score.tp, score.fp, score.fn, score.wrong_charges) == (0, 1, 1, 1)


def test_nothing_due_and_nothing_charged_is_perfect() -> None:
    assert scored((owes("A"),), (visit("A", status="empty"),)).f1 == 1.0


def test_a_payer_whose_visit_was_never_seen_misses_everything() -> None:
    score = scored((owes("A", water=2),), ())
    assert (score.fn, score.visits, score.undercharged_minor) == (2, 0, 300)
    assert score.wrong_lines[0].statuses == ()


def test_a_reviewed_cart_counts_as_it_stands_but_charges_nobody() -> None:
    score = scored((owes("A", water=1),), (visit("A", status="needs_review", water=2),))
    assert (score.tp, score.fp, score.reviewed, score.wrong_charges, score.unreviewed_units) == (1, 1, 1, 0, 0)
    assert (score.overcharged_minor, score.undercharged_minor) == (0, 0)


def test_units_of_a_payer_are_summed_over_visits_and_never_below_nothing() -> None:
    score = scored((owes("A", water=2),), (visit("A", water=1), visit("A", water=1, soda=-1)))
    assert (score.tp, score.fp, score.fn, score.visits) == (2, 0, 0, 2)
    assert scored((owes("A", water=1),), (visit("A", water=1), visit("A", water=-1))).tp == 1


def test_what_is_wrong_on_one_of_several_visits_is_blamed_on_the_one_nobody_looks_at() -> None:
    score = scored((owes("A", water=1),), (visit("A", water=1), visit("A", status="needs_review", water=1)))
    assert (score.fp, score.wrong_charges) == (1, 1)


def test_what_somebody_without_an_account_took_is_on_no_receipt() -> None:
    score = scored((owes("A"),), (visit("A", status="empty"), visit("unknown-2", status="no_account", water=3)))
    assert (score.tp, score.fp, score.fn) == (0, 0, 0)
    assert (score.visits, score.no_account, score.reviewed) == (2, 1, 0)


def test_charging_somebody_the_truth_does_not_know_is_wrong() -> None:
    score = scored((owes("A"),), (visit("A", status="empty"), visit("stranger", water=1)))
    assert (score.fp, score.wrong_charges) == (1, 1)


def test_interactions_match_once_in_who_what_where_and_when() -> None:
    receipts = (owes("A", water=2),)
    deeds = (took("A", 10), took("A", 11), took("A", 20, SODA))
    beliefs = (saw("A", 11.5), saw("A", 9.5), saw("A", 20, SODA), saw("A", 20.1, SODA))
    score = scored(receipts, (visit("A", water=2),), deeds, beliefs)
    assert (score.true_interactions, score.believed_interactions, score.matched_interactions) == (3, 4, 3)
    assert score.interaction_f1 == pytest.approx(6 / 7)
    for wrong in (saw("B", 10), saw("A", 12.1), saw("A", 10, SODA), saw("A", 10, WATER, 2)):
        assert scored(receipts, (), (deeds[0],), (wrong,)).matched_interactions == 0
    elsewhere = replace(saw("A", 10), shelf_id=4)
    assert scored(receipts, (), (deeds[0],), (elsewhere,)).matched_interactions == 0


def test_a_member_of_a_group_is_matched_by_whoever_pays() -> None:
    stays = (stay("A", "A"), stay("B", "A"))
    score = scored((owes("A", water=1),), (visit("A", water=1),), (took("B", 10),), (saw("A", 10.3),), stays)
    assert score.matched_interactions == 1


def test_a_deed_that_nobody_pays_for_is_matched_by_nobodys() -> None:
    stays = (stay("A", "A"), stay("T", None))
    beliefs = (saw("unknown-2", 10.3), replace(saw("A", 20), candidates=()))
    score = scored((owes("A"),), (), (took("T", 10), took("T", 20)), beliefs, stays)
    assert score.matched_interactions == 2
    assert scored((owes("A"),), (), (took("T", 10),), (saw("A", 10),), stays).matched_interactions == 0


def test_the_receipt_is_awaited_from_the_last_of_a_group_and_for_every_stay() -> None:
    stays = (stay("A", "A", 1, 20), stay("B", "A", 2, 30), stay("A", "A", 60, 80), stay("C", "C", 1, None))
    first, second = visit("A"), replace(visit("A"), entered_ns=at(61), left_ns=at(79), receipt_ns=at(84))
    score = scored((owes("A"), owes("C")), (first, second, visit("C")), stays=stays)
    assert score.receipts_s == pytest.approx((3.0, 4.0))
    assert score.receipt_s == pytest.approx(4.0)
    assert scored((owes("A"),), ()).receipt_s is None


def test_a_stay_whose_visit_fell_apart_waits_for_its_last_receipt() -> None:
    early = replace(visit("A"), left_ns=at(10), receipt_ns=at(12))
    assert scored((owes("A"),), (early, visit("A"))).receipts_s == pytest.approx((3.0,))


def test_a_wrong_line_tells_what_happened_and_what_was_believed() -> None:
    deeds = (took("A", 10), put_back("A", 15), took("B", 11, SODA), took("B", 29, SODA, gondola_id=3))
    receipts = (owes("A"), owes("B", soda=2))
    beliefs = (saw("A", 10.2), saw("B", 11.2, SODA), saw("B", 29, SODA))
    score = scored(receipts, (visit("A", water=1), visit("B", soda=2)), deeds, beliefs)
    (line,) = score.wrong_lines
    assert (line.payer, line.product, line.charged, line.due, line.statuses) == (
        "A",
        "Spring water",
        1,
        0,
        ("charged",),
    )
    assert [(deed.shopper, deed.t_s) for deed in line.deeds] == [("A", 10.0), ("B", 11.0), ("A", 15.0)]
    assert [belief.t_s for belief in line.beliefs] == pytest.approx([10.2, 11.2])
    assert line.beliefs[0].candidates == (("A", "Spring water", 1, 0.95),)
    assert line.stays_s == ((1.0, 30.0),)


def test_a_wrong_line_tells_what_was_done_away_from_the_shelves() -> None:
    events = (
        ScenarioEvent(12, "A", Action.DROP, WATER),
        ScenarioEvent(13, "B", Action.HAND_OVER, WATER, other="A"),
        ScenarioEvent(14, "B", Action.CONSUME, WATER),
        ScenarioEvent(15, "A", Action.DROP, SODA),
    )
    truth = Truth((took("A", 10),), (stay("A", "A"), stay("B", "B")), (owes("A"), owes("B")))
    playback = Playback(START, at(40), (visit("A", water=1), visit("B", status="empty")), ())
    (line,) = score_case("a case", "", 0, truth.receipts, truth, playback, SHOP, events).wrong_lines
    assert [(aside.t_s, aside.shopper, aside.action) for aside in line.asides] == [
        (12, "A", Action.DROP),
        (13, "B", Action.HAND_OVER),
    ]


def test_a_unit_is_as_right_as_its_line() -> None:
    score = scored((owes("A", water=1),), (visit("A", sure=0.9, water=2), visit("A", sure=0.6, water=1)))
    assert score.sureness == (SureUnits(0.9, 2, 2 / 3), SureUnits(0.6, 1, 1 / 3))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=6))
def test_counts_add_up_to_what_was_charged_and_what_was_due(lines: list[tuple[int, int, bool]]) -> None:
    receipts = tuple(owes(f"P{k}", water=due) for k, (due, _, _) in enumerate(lines))
    visits = tuple(
        visit(f"P{k}", "needs_review" if reviewed else "charged", water=charged)
        for k, (_, charged, reviewed) in enumerate(lines)
    )
    score = scored(receipts, visits)
    assert score.tp + score.fp == sum(charged for _, charged, _ in lines)
    assert score.tp + score.fn == sum(due for due, _, _ in lines)
    assert 0 <= score.wrong_charges <= min(score.fp, score.unreviewed_units)
    assert 0 <= score.f1 <= 1
    assert sum(entry.right for entry in score.sureness) == pytest.approx(score.tp)


def test_calibration_bins_have_equal_mass_and_no_order_within_a_tie() -> None:
    tied = [SureUnits(0.9, 50, 50), SureUnits(0.9, 50, 30)]
    bins = calibration(tied)
    assert len(bins) == 15
    assert {round(entry.right, 9) for entry in bins} == {0.8}
    assert sum(entry.units for entry in bins) == pytest.approx(100)
    assert calibration_error(bins) == pytest.approx(0.1)
    assert calibration_error(calibration(reversed(tied))) == pytest.approx(0.1)


def test_calibration_of_few_units_has_a_bin_for_each_and_of_none_has_none() -> None:
    bins = calibration([SureUnits(0.5, 1, 0), SureUnits(1.0, 1, 1)])
    assert [(entry.probability, entry.right, entry.units) for entry in bins] == [(0.5, 0.0, 1.0), (1.0, 1.0, 1.0)]
    assert calibration_error(bins) == pytest.approx(0.25)
    assert calibration([]) == ()
    assert calibration_error(()) is None


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9), st.floats(0, 1)), min_size=1, max_size=40),
    st.integers(1, 20),
)
def test_calibration_keeps_every_unit(rows: list[tuple[float, int, float]], count: int) -> None:
    bins = calibration([SureUnits(p, units, units * right) for p, units, right in rows], count)
    total = sum(units for _, units, _ in rows)
    assert sum(entry.units for entry in bins) == pytest.approx(total)
    assert np.allclose([entry.units for entry in bins], total / len(bins))
    assert sum(e.units * e.probability for e in bins) == pytest.approx(sum(p * u for p, u, _ in rows), abs=1e-9)
    assert [e.probability for e in bins] == sorted(e.probability for e in bins) or np.allclose(
        np.diff([e.probability for e in bins]).clip(max=0), 0
    )


@given(st.integers(1, 5000), st.data())
def test_the_upper_bound_lies_above_the_share_and_falls_with_more_units(units: int, data: st.DataObject) -> None:
    wrong = data.draw(st.integers(0, units))
    bound = upper_bound(wrong, units)
    assert bound is not None
    assert wrong / units <= bound <= 1
    assert bound >= (upper_bound(wrong, units + 100) or 0)


def test_f1_of_nothing_is_one() -> None:
    assert f1_score(0, 0, 0) == 1.0
    assert f1_score(0, 1, 0) == 0.0
