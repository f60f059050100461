"""Tests of cart.evaluation_report."""

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from cart import evaluation_report
from cart.evaluate import Evaluation, FailedCase
from cart.evaluation_report import ReportContext, render_evaluation_report, write_evaluation_report
from cart.scoring import Aside, CaseScore, SureUnits
from store_sim.scale_comparison import ComparedCurve, ComparedStatistic, PlateComparison
from store_sim.scenarios import Action
from tests.cart.test_report import HOSTILE, Page
from tests.cart.test_scoring import owes, put_back, saw, scored, took, visit

CONTEXT = ReportContext("the library", "tillfree evaluate --library", "2026-11-22", (("tillfree", "0.1.0"),), "scales")


def a_case(name: str = "long hold", seed: int = 0, class_name: str = "put-backs") -> CaseScore:
    """A took one water and put it back; the store missed that it came back."""
    score = scored(
        (owes("A"), owes("B", soda=1)),
        (visit("A", water=1), visit("B", soda=1)),
        (took("A", 10), put_back("A", 25), took("B", 12, "012000181139")),
        (saw("A", 10.3), saw("B", 12.1, "012000181139")),
    )
    return replace(score, name=name, seed=seed, class_name=class_name, cpu_s=2.0)


def a_right_case(name: str = "one water") -> CaseScore:
    score = scored((owes("A", water=1),), (visit("A", water=1),), (took("A", 10),), (saw("A", 10.3),))
    return replace(score, name=name, class_name="simple", cpu_s=1.0)


def plates() -> PlateComparison:
    times = np.linspace(-2, 3, 300)
    grams = np.where(times < 0, 0.0, -620.0)
    return PlateComparison(
        "BENCHMARK-1",
        "seed 0",
        (ComparedCurve("a pick", "1/5/11", times, grams + np.sin(9 * times), times, grams),),
        (
            ComparedStatistic("noise", "g", 1.1, 1.3),
            ComparedStatistic("bumps", "", float("nan"), 2.0),
        ),
    )


def page_of(*results: CaseScore | FailedCase, context: ReportContext = CONTEXT) -> Page:
    return Page(render_evaluation_report(Evaluation(results), context, plates()))


def test_a_page_says_scores_failures_and_sensors() -> None:
    page = page_of(a_case(), a_right_case())
    for words in (
        "tillfree evaluate --library",
        "long hold , seed 0: F1 66.7 %",
        "A : Spring water , charged 1, due 0",
        "nobody looks at it",
        "A put back 1 \u00d7 Spring water",
        "95 % A, 1 \u00d7 Spring water",
        "1 of 3 units charged without review",
        "simulated to real",
        "1.18",
        "none seen",
        "2026-11-22",
    ):
        assert words in page.text, words


def test_every_drawing_has_a_description_and_every_link_a_target() -> None:
    page = page_of(a_case(), a_case(seed=1), a_right_case())
    drawings = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "role")]
    assert len(page.values("svg", "aria-label")) == len(drawings) >= 5
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert all(href.removeprefix("#") in ids for href in page.values("a", "href"))
    assert len(ids) == sum(name == "id" for _, name, _ in page.attributes)


def test_the_page_asks_nobody_for_anything_and_runs_only_its_own_script() -> None:
    text = render_evaluation_report(Evaluation((a_case(),)), CONTEXT)
    assert not re.findall(r"(?:src|href)=\"(?!#)", text)
    assert "url(" not in text
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_hostile_names_stay_text() -> None:
    case = replace(a_case(HOSTILE, class_name=HOSTILE), remarks=(HOSTILE,))
    broken = FailedCase(HOSTILE, HOSTILE, 0, HOSTILE)
    page = page_of(case, broken, context=ReportContext(HOSTILE, HOSTILE, HOSTILE, ((HOSTILE, HOSTILE),)))
    assert "img" not in page.tags
    assert page.tags.count("script") == 1
    assert "\x00" not in page.text


def test_failed_cases_are_named_and_in_no_number() -> None:
    page = page_of(a_right_case(), FailedCase("broken", "simple", 1, "ValueError: no such plate"))
    assert "broken , seed 1: ValueError: no such plate" in page.text
    assert "1 case" in page.text


def test_a_page_without_any_case_is_still_a_page() -> None:
    page = page_of(FailedCase("broken", "simple", 0, "no"))
    assert "No case was played to the end." in page.text
    assert "Nothing was charged wrongly" in page.text


def test_too_many_wrong_lines_are_counted_but_not_told() -> None:
    cases = tuple(a_case(f"case {k}") for k in range(evaluation_report.WRONG_LINES_SHOWN + 3))
    page = page_of(*cases)
    assert "3 more lines are left out" in page.text
    assert page.tags.count("details") == evaluation_report.WRONG_LINES_SHOWN + 1  # and the plates' settings


def test_what_happened_away_from_the_shelves_is_told() -> None:
    case = a_case()
    aside = Aside(20.0, "A", Action.HAND_OVER, 1, "B")
    told = replace(case, wrong_lines=tuple(replace(line, asides=(aside,)) for line in case.wrong_lines))
    assert "A handed over 1 to B, at 20.0 s of the script" in page_of(told).text


def test_improbable_explanations_are_only_counted() -> None:
    case = a_case()
    beliefs = (replace(case.wrong_lines[0].beliefs[0], candidates=tuple(("A", f"tea {k}", 1, 0.1) for k in range(7))),)
    told = replace(case, wrong_lines=(replace(case.wrong_lines[0], beliefs=beliefs),))
    text = page_of(told).text
    assert "tea 3" in text
    assert "tea 4" not in text
    assert "30 % 3 other explanations" in text


def test_not_quite_right_is_never_written_as_all_right() -> None:
    nearly = replace(a_right_case(), tp=9999, fn=1)
    assert "> 99.9 %" in page_of(nearly).text


def test_a_reliability_plot_and_a_histogram_are_drawn() -> None:
    rng = np.random.default_rng(1)
    units = tuple(SureUnits(round(float(p), 2), 1, float(rng.random() < p)) for p in rng.uniform(0.5, 1, 300))
    case = replace(a_right_case(), sureness=units, receipts_s=(-1.0, 2.5, 3.5, 14.0))
    page = page_of(case)
    assert page.tags.count("circle") == 15
    assert "Histogram of 4 receipts: median 3.0 s, longest 14.0 s" in page.values("svg", "aria-label")


def test_without_a_real_recording_the_plates_are_only_described() -> None:
    text = Page(render_evaluation_report(Evaluation((a_case(),)), CONTEXT)).text
    assert "Evaluated with --real-scales" in text
    assert "saturation_g 20000" in text
    unweighed = replace(CONTEXT, sensors="cameras")
    assert "saturation_g" not in Page(render_evaluation_report(Evaluation((a_case(),)), unweighed)).text


def test_the_page_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    page = write_evaluation_report(Evaluation((a_case(),)), tmp_path / "deep" / "report", CONTEXT)
    assert page == tmp_path / "deep" / "report" / "index.html"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
