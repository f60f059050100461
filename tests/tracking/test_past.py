"""Tests of tracking.past."""

import math
from uuid import UUID

import numpy as np
import pytest

from tracking.past import Past
from tracking.types import Candidate, Evidence, Interaction, WeightChange
from vision.shelf import Handling

SECOND_NS = 1_000_000_000


def an_interaction(
    number: int,
    *candidates: Candidate,
    kind: Handling = Handling.PICK,
    plate_ids: tuple[str, ...] = ("1/1/1",),
    moved_g: float | None = None,
) -> Interaction:
    """The interaction of that number, which happened after as many seconds."""
    moment = number * SECOND_NS
    weight = None
    if moved_g is not None:
        weight = WeightChange(plate_ids, moved_g, 2.0, moment, moment, moment, np.arange(99), np.zeros(99))
    return Interaction(
        UUID(int=number),
        kind,
        "1/1/1",
        plate_ids,
        "water",
        1,
        moment,
        moment,
        moment,
        candidates,
        Evidence(weight=weight),
    )


def test_nobody_holds_anything_at_first() -> None:
    assert len(Past()) == 0
    assert len(Past().held()) == 0


def test_who_took_something_holds_it_and_what_it_weighed_is_known() -> None:
    past = Past([an_interaction(1, Candidate(7, "water", 2, 0.9), Candidate(8, None, 1, 0.1), moved_g=-600.0)])
    held = past.held()
    assert held.identity_id.tolist() == [7, 8]
    assert held.sku == ("water", None)
    assert held.quantity.tolist() == [2, 1]
    assert held.probability.tolist() == pytest.approx([0.9, 0.1])
    assert held.unit_g.tolist() == [300.0, 600.0]
    assert held.unit_sigma_g.tolist() == [1.0, 2.0]


def test_mass_is_not_known_where_no_scale_spoke() -> None:
    assert math.isnan(Past([an_interaction(1, Candidate(7, "water", 1, 0.5))]).held().unit_g[0])


def test_what_came_back_is_held_no_more() -> None:
    taken = an_interaction(1, Candidate(7, "water", 1, 0.8))
    half = an_interaction(2, Candidate(7, "water", 1, 0.4), kind=Handling.PUT_BACK)
    whole = an_interaction(3, Candidate(7, "water", 1, 1.0), kind=Handling.PUT_BACK)
    assert Past([taken, half]).held().probability.tolist() == pytest.approx([0.4])
    assert len(Past([taken, whole]).held()) == 0


def test_what_happened_at_a_plate_is_found_in_order() -> None:
    told = [
        an_interaction(number, plate_ids=plates)
        for number, plates in enumerate((("1/1/1",), ("1/1/2",), ("1/1/1", "1/1/2")))
    ]
    past = Past(told)
    assert past.at_plates(["1/1/2", "1/1/1"]) == told
    assert past.at_plates(["1/1/2"]) == told[1:]
    assert past.at_plates(["9/9/9"]) == []


def test_what_is_forgotten_leaves_no_trace() -> None:
    told = [an_interaction(number, Candidate(number, "water", 1, 1.0)) for number in range(4)]
    past = Past(told)
    past.forget(2 * SECOND_NS)
    assert past.interactions == tuple(told[2:])
    assert UUID(int=1) not in past
    assert UUID(int=2) in past
    assert past.held().identity_id.tolist() == [2, 3]
    assert past.at_plates(["1/1/1"]) == told[2:]


def test_curves_and_hands_behind_an_interaction_are_not_kept_for_the_day() -> None:
    (kept,) = Past([an_interaction(1, Candidate(7, "water", 1, 0.9), moved_g=-300.0)]).interactions
    assert kept.evidence.weight is not None
    assert kept.evidence.weight.delta_g == -300.0
    assert len(kept.evidence.weight.curve_g) == 0
