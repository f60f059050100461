"""Tests of cart.track_evaluation."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cart.track_evaluation import (
    Followed,
    Instant,
    Take,
    TrackingJob,
    document,
    film,
    floor_plan,
    follow,
    score,
    summarise,
    write_report,
)
from vision.layout import StoreLayout

JOB = TrackingJob(1, 0, 2)
WALKABLE_M = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])


def take_of(places: list[dict[int, tuple[float, float]]]) -> Take:
    """People by number at each tenth of a second; hands at a metre's height above them."""
    instants = []
    for k, here in enumerate(places):
        position = np.array(list(here.values()), float).reshape(-1, 2)
        hands = np.repeat(np.column_stack([position, np.ones(len(position))])[:, None], 2, axis=1)
        instants.append(Instant(k * 100_000_000, (), (), np.array(list(here), np.int64), position, hands))
    return Take(StoreLayout("floor", walkable_m=WALKABLE_M), tuple(instants), None)


def said(take: Take, names: list[dict[int, int]]) -> Followed:
    """Everybody followed exactly, under these names."""
    identity = tuple(
        np.array([name[p] for p in instant.person.tolist()], np.int64)
        for instant, name in zip(take.instants, names, strict=True)
    )
    position = tuple(instant.position_m for instant in take.instants)
    return Followed(identity, position, tuple(instant.hands_m for instant in take.instants), (), 1.0)


def test_whoever_is_followed_exactly_scores_one() -> None:
    take = take_of([{1: (1.0, 1.0), 2: (3.0, 3.0)}] * 10)
    result = score(JOB, take, said(take, [{1: 7, 2: 9}] * 10))
    assert (result.idf1, result.best_idf1, result.recall, result.breaks) == (1.0, 1.0, 1.0, ())
    assert result.floor_error_m.max() == result.hand_error_m.max() == 0.0


def test_an_exchange_half_way_costs_half() -> None:
    take = take_of([{1: (1.0, 1.0), 2: (3.0, 3.0)}] * 10)
    result = score(JOB, take, said(take, [{1: 7, 2: 9}] * 5 + [{1: 9, 2: 7}] * 5))
    assert result.idf1 == pytest.approx(0.5)
    assert (result.best_idf1, result.recall) == (1.0, 1.0)
    assert [(b.person, b.before, b.after) for b in result.breaks] == [(1, 7, 9), (2, 9, 7)]


def test_half_a_metre_off_is_nobody() -> None:
    take = take_of([{1: (1.0, 1.0)}] * 4)
    exact = said(take, [{1: 1}] * 4)
    off = replace(exact, position_m=tuple(p + np.array([0.6, 0.0]) for p in exact.position_m))
    assert score(JOB, take, off).idf1 == score(JOB, take, off).best_idf1 == 0.0


def test_takes_of_one_kind_are_one_row_with_a_page_and_a_document(tmp_path: Path) -> None:
    take = take_of([{1: (1.0, 1.0), 2: (3.0, 3.0)}] * 10)
    results = [
        score(JOB, take, said(take, [{1: 7, 2: 9}] * 5 + [{1: 9, 2: 7}] * 5)),
        score(replace(JOB, seed=1), take, said(take, [{1: 7, 2: 9}] * 10)),
    ]
    (row,) = summarise(results)
    assert (row.takes, row.told, row.target) == (2, 2, 0.97)
    assert row.idf1 == pytest.approx(0.75)
    picture = floor_plan(results[0])
    assert (picture[..., 2] > 200).any()
    assert "IDF1 0.500" in write_report(results, tmp_path / "page").read_text()
    assert len(list((tmp_path / "page").glob("*.png"))) == 2
    assert json.loads(json.dumps(document(results), allow_nan=False))["rows"][0]["hand_median_m"] == 0.0


def test_a_random_shop_is_filmed_the_same_twice_and_followed() -> None:
    job = TrackingJob(1, 0, 4, seconds=8.0)
    one, other = film(job), film(job)
    assert len(one.instants) == len(other.instants) > 50
    for a, b in zip(one.instants, other.instants, strict=True):
        np.testing.assert_array_equal(a.position_m, b.position_m)
        np.testing.assert_array_equal(a.detections[0].xyxy, b.detections[0].xyxy)
    result = score(job, one, follow(one))
    assert result.people == result.identities == 1
    assert result.idf1 > 0.9


@pytest.mark.parametrize("change", [{"fault": "stolen"}, {"shoppers": 0}, {"cameras": 0}, {"seconds": 0.0}])
def test_a_job_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(JOB, **change)  # type: ignore[arg-type]
