"""Tests of cart.evaluate."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cart import evaluate as evaluation_module
from cart.evaluate import (
    Case,
    Evaluation,
    EvaluationJob,
    EvaluationSettings,
    FailedCase,
    RandomCase,
    StagedCase,
    due_of,
    evaluate,
    jobs_for,
    parse_sensors,
    read_cases,
    summarise,
)
from cart.scoring import CaseScore
from store_sim.random_days import RandomDay
from store_sim.scenarios import Scenario, ScenarioShopper, library
from store_sim.truth import TrueLine, TrueReceipt, Truth
from tests.cart.running import HEARS_CTRL_C
from tests.cart.test_scoring import owes, saw, scored, took, visit
from tests.conftest import PROJECT

JOINTS = EvaluationSettings(frozenset({"scales", "joints"}))
ISSUE_KEYS = {"name", "class", "seed", "f1", "tp", "fp", "fn", "visits", "reviewed", "wrong_charges", "receipt_s"}


def a_score(
    charged: int = 1, due: int = 1, status: str = "charged", name: str = "a", class_name: str = "x"
) -> CaseScore:
    score = scored((owes("A", water=due),), (visit("A", status, water=charged),), (took("A", 10),), (saw("A", 10),))
    return replace(score, name="a", class_name=class_name, cpu_s=1.0)


@dataclass(frozen=True)
class Impossible:
    """A case that cannot be staged, or takes its process with it."""

    name: str
    is_fatal: bool = False
    class_name: str = "impossible"

    def staged(self) -> StagedCase:
        if self.is_fatal:
            os._exit(3)
        raise ValueError(f"{self.name}:\nno plate 3/4/11")


@dataclass(frozen=True)
class Sleepy:
    """A case that takes longer than anybody waits."""

    name: str
    class_name: str = "sleepy"

    def staged(self) -> StagedCase:
        time.sleep(600)
        raise ValueError("never")


def test_a_summary_has_mean_and_pooled_scores() -> None:
    summary = summarise([a_score(1, 1), a_score(6, 2)])
    assert summary.mean_f1 == pytest.approx((1 + 0.5) / 2)
    assert summary.precision == pytest.approx(3 / 7)
    assert summary.recall == 1.0
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


def test_a_case_that_fails_is_told_and_the_others_go_on() -> None:
    heard: list[tuple[int, int, str]] = []
    jobs = [EvaluationJob(Impossible(f"case {k}"), k, JOINTS) for k in range(3)]
    evaluation = evaluate(jobs, 1, lambda done, total, result: heard.append((done, total, result.name)))
    assert evaluation.cases == ()
    assert evaluation.failed[1] == FailedCase("case 1", "impossible", 1, "ValueError: case 1: no plate 3/4/11")
    assert heard == [(1, 3, "case 0"), (2, 3, "case 1"), (3, 3, "case 2")]


@pytest.mark.slow  # starting a process takes seconds, for it imports everything
def test_a_process_that_dies_takes_only_its_own_case_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROJECT))  # the workers have to find this module
    monkeypatch.setattr(evaluation_module, "JOBS_A_WORKER", 2)
    jobs = [EvaluationJob(Impossible(f"case {k}", is_fatal=k == 1), 0, JOINTS) for k in range(5)]
    failed = evaluate(jobs, 2).failed
    assert [case.name for case in failed] == [f"case {k}" for k in range(5)]
    assert failed[1].error == "the process that played it ended with 3"
    assert all("no plate" in case.error for k, case in enumerate(failed) if k != 1)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_and_says_nothing_more() -> None:
    script = (
        f"{HEARS_CTRL_C}from tests.cart.test_evaluate import JOINTS, Sleepy\n"
        "from cart.evaluate import EvaluationJob, evaluate\n"
        "if __name__ == '__main__':\n"
        "    print('ready', flush=True)\n"
        "    evaluate([EvaluationJob(Sleepy('a'), k, JOINTS) for k in range(4)], 2)\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    time.sleep(0.3)  # the workers are importing now: the moment at which they are the easiest to upset
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode != 0
    assert errors.count("Traceback") == 1  # the one of the first process, for the command to turn into a word


def test_no_process_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="processes: expected at least 1, got 0"):
        evaluate((), 0)
    assert evaluate(()).results == ()


def library_case_path(name: str) -> Path:
    (path,) = (path for path in library() if path.stem == name)
    return path


def library_case(name: str) -> Case:
    return read_cases([library_case_path(name)])[0]


def played(case: Case, settings: EvaluationSettings = JOINTS, seed: int = 0) -> CaseScore:
    evaluation = evaluate([EvaluationJob(case, seed, settings)], 1)
    assert evaluation.failed == ()
    return evaluation.cases[0]


def test_a_played_visit_is_charged_for_what_was_carried_out() -> None:
    score = played(library_case("right_bin"))
    assert (score.tp, score.fp, score.fn, score.visits, score.remarks) == (1, 0, 0, 1, ())
    assert score.interaction_f1 > 0.7
    assert score.receipt_s is not None
    assert 0 < score.receipt_s < 15
    assert score.store_s > 20
    assert score.cpu_s > 0


def test_who_comes_in_without_a_code_is_on_nobodys_receipt() -> None:
    score = played(library_case("tailgater"))
    assert (score.visits, score.no_account, score.fp, score.wrong_charges) == (2, 1, 0, 0)


def test_a_group_on_one_code_is_one_visit() -> None:
    score = played(library_case("group_on_one_code"))
    assert score.visits == 1
    assert score.f1 > 0.8


def test_a_random_day_is_played_and_named_by_its_size() -> None:
    score = played(RandomCase(RandomDay(3, gondolas=3, products=20, visits=2, confusing_share=0.4)))
    assert (score.name, score.class_name) == ("random-day-3", "random day, 40 % confusing, small shop")
    assert score.visits >= 1
    assert score.true_interactions > 0


@pytest.mark.parametrize("number", [1002, 1004])
def test_days_that_once_went_wrong_are_right_without_a_look(number: int) -> None:
    # 1002: somebody sets a bag down and takes it up again. 1004: a plate's own step was told with its neighbour's too.
    score = played(RandomCase(RandomDay(number)))
    assert (score.fp, score.fn, score.reviewed) == (0, 0, 0)


def test_cameras_alone_are_played_with_an_oracle() -> None:
    score = played(library_case("walks_through"), EvaluationSettings(frozenset({"scales", "cameras"})))
    assert score.visits >= 1


def test_a_case_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_module, "LONGEST_WAIT_S", 1.0)
    monkeypatch.setattr(evaluation_module, "LONGEST_STRETCH", 0.0)
    (failed,) = evaluate([EvaluationJob(library_case("right_bin"), 0, JOINTS)], 1).failed
    assert failed.error == "ValueError: expected it to end within 1 s of store time, it did not"


def test_scenarios_that_cannot_happen_are_refused_by_file_and_event(tmp_path: Path) -> None:
    text = library_case_path("right_bin").read_text(encoding="utf-8").replace('"put_back"', '"pick"')
    layout = library_case_path("right_bin").parents[1] / "corner_shop.yaml"
    entry = json.loads(text) | {"site": str(layout)}
    entry["events"] = [event | {"barcode": "nothing such"} for event in entry["events"]]
    (tmp_path / "bad.json").write_text(json.dumps(entry), encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.json: event 1: "):
        read_cases([tmp_path / "bad.json"])


@pytest.mark.slow
def test_a_case_comes_out_the_same_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROJECT))
    jobs = jobs_for([library_case("hand_over_across_groups")], 2, JOINTS)
    here, there = evaluate(jobs, 1).cases, evaluate(jobs, 2).cases
    assert [replace(case, cpu_s=0.0) for case in here] == [replace(case, cpu_s=0.0) for case in there]


@pytest.mark.slow
def test_the_twenty_labelled_visits_are_played_to_the_end(shared: Path) -> None:
    files = sorted((shared / "nanostore" / "cases").glob("*.json"))
    evaluation = evaluate(jobs_for(read_cases(files, shared / "nanostore" / "site"), 1, JOINTS))
    assert len(evaluation.cases) == 20
    assert evaluation.failed == ()
    assert [case.remarks for case in evaluation.cases] == [()] * 20
    assert evaluation.summary().mean_f1 > 0.9  # may rise, not fall


def test_a_part_of_the_account_that_there_is_not_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="expected some of stock, splitting, joint, stay, hands, pictures, got"):
        EvaluationSettings(without=frozenset({"magic"}))
