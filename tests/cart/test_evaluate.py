"""Tests of cart.evaluate."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cart.evaluate import (
    Evaluation,
    EvaluationSettings,
    FailedCase,
    due_of,
    jobs_for,
    parse_sensors,
    summarise,
)
from cart.scoring import CaseScore
from store_sim.scenarios import Scenario, ScenarioShopper
from store_sim.truth import TrueLine, TrueReceipt, Truth
from tests.cart.test_scoring import owes, saw, scored, took, visit

ISSUE_KEYS = {"name", "class", "seed", "f1", "tp", "fp", "fn", "visits", "reviewed", "wrong_charges", "receipt_s"}


def a_score(
    charged: int = 1, due: int = 1, status: str = "charged", name: str = "a", class_name: str = "x"
) -> CaseScore:
    score = scored((owes("A", water=due),), (visit("A", status, water=charged),), (took("A", 10),), (saw("A", 10),))
    return replace(score, name=name, class_name=class_name, cpu_s=1.0)


def test_a_summary_has_mean_and_pooled_scores() -> None:
    summary = summarise([a_score(1, 1), a_score(6, 2)])
    assert summary.mean_f1 == pytest.approx((1 + 0.5) / 2)
    assert (summary.precision, summary.recall) == (pytest.approx(3 / 7), 1.0)
    assert summary.f1 == pytest.approx(2 * 3 / 10)
    assert (summary.wrong_charges, summary.unreviewed_units) == (4, 7)
    assert summary.wrong_charges_per_1000_units == pytest.approx(4000 / 7)
    assert summary.receipt_median_s == pytest.approx(3.0)
    (money,) = summary.money_wrong
    assert money.overcharged_minor_per_1000_visits == pytest.approx(4 * 150 * 1000 / 2)


def test_reviewed_visits_are_counted_among_all() -> None:
    summary = summarise([a_score(), a_score(3, 1, "needs_review")])
    assert (summary.review_rate, summary.wrong_charges, summary.unreviewed_units) == (0.5, 0, 1)


def test_nothing_played_is_no_number_and_still_a_document(tmp_path: Path) -> None:
    Evaluation((FailedCase("a", "x", 0, "broken"),)).write(tmp_path / "e.json")
    document = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    assert document["cases"] == []
    assert document["mean_f1"] is None
    assert document["receipt_max_s"] is None
    assert document["failed"] == [{"name": "a", "class": "x", "seed": 0, "error": "broken"}]


def test_a_document_has_what_others_read_and_no_nan(tmp_path: Path) -> None:
    nobody = replace(a_score(), receipts_s=(), cpu_s=float("nan"))
    Evaluation((a_score(), nobody)).write(tmp_path / "e.json")
    text = (tmp_path / "e.json").read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=pytest.fail)
    assert all(set(case) >= ISSUE_KEYS for case in document["cases"])
    assert set(document) >= {"mean_f1", "precision", "recall", "f1", "review_rate", "wrong_charges_per_1000_units"}
    assert [case["receipt_s"] for case in document["cases"]] == [3.0, None]
    assert document["classes"][0]["class"] == "x"


def test_classes_are_summarised_apart() -> None:
    evaluation = Evaluation((a_score(class_name="b"), a_score(0, 1, class_name="a"), a_score(class_name="b")))
    assert [(name, each.cases, each.mean_f1) for name, each in evaluation.by_class()] == [("a", 1, 0.0), ("b", 2, 1.0)]


def test_what_is_due_is_what_the_scenario_says_and_else_what_happened() -> None:
    happened = (TrueReceipt("A", ()),)
    truth = Truth((), (), happened)
    scenario = Scenario("s", (ScenarioShopper("A", 1.0),), (), receipts={"A": {"2": 1, "1": 2, "3": 0}})
    assert due_of(scenario, truth) == (TrueReceipt("A", (TrueLine("1", 2), TrueLine("2", 1))),)
    assert due_of(replace(scenario, receipts=None), truth) == happened


@pytest.mark.parametrize("text", ["", "scales,ears", "joint"])
def test_sensors_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="sensors: expected some of cameras, joints, scales"):
        parse_sensors(text)


def test_a_store_that_cannot_see_people_is_refused() -> None:
    with pytest.raises(ValueError, match="scales do not see people"):
        EvaluationSettings(frozenset({"scales"}))
    with pytest.raises(ValueError, match="got ears"):
        EvaluationSettings(frozenset({"ears", "joints"}))


def test_cameras_without_a_model_are_looked_at_by_an_oracle_and_it_is_said() -> None:
    settings = EvaluationSettings(frozenset({"cameras", "scales"}))
    assert settings.has_oracle
    assert settings.sensor_words == "scales, cameras with an oracle in place of a model"
    assert not EvaluationSettings(frozenset({"cameras"}), weights=(Path("a.onnx"),)).has_oracle


def test_there_is_a_job_for_every_seed() -> None:
    with pytest.raises(ValueError, match="seeds: expected at least 1, got 0"):
        jobs_for((), 0, EvaluationSettings())
