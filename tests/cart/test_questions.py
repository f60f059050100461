import math
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.catalog import Catalogue
from cart.checkout import Checkout
from cart.payments import FakeGateway
from cart.questions import Answer, Possibility, Question, question_about, still_has
from cart.repository import Database

NAMES = {"042": "Oat bar", "043": "Nut bar"}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLACE = "Taken from shelf 3"


def ask(*possibilities: tuple[str, str | None, int, float], came_back: bool = False) -> Question:
    return question_about("ada", PLACE, [Possibility(*each) for each in possibilities], NAMES, came_back=came_back)


def test_twins_are_asked_as_one_or_the_other() -> None:
    question = ask(("ada", "042", 1, 0.5), ("ada", "043", 1, 0.48))
    assert question.text == "Taken from shelf 3: 1 x Oat bar or 1 x Nut bar?"
    assert [answer.sku for answer in question.answers] == ["042", "043", None]


def test_two_people_at_one_plate_are_asked_who_and_how_many() -> None:
    question = ask(("ada", "042", 3, 0.7), ("ben", "042", 1, 0.2), ("ben", "042", 3, 0.06))
    assert question.text == "Taken from shelf 3: 2 or 3 x Oat bar, by ada or by ben?"
    assert [(answer.quantity, round(answer.probability, 3)) for answer in question.answers] == [
        (3, 0.7),
        (2, 0.2),
        (0, 0.1),
    ]


def test_what_is_put_back_comes_out_of_the_cart() -> None:
    question = ask(("ada", "042", 2, 0.9), came_back=True)
    assert question.answers[0] == Answer("2 x Oat bar", "042", -2, 0.9)
    assert "by ada or by nobody who is known" in question.text


def test_what_is_not_known_is_asked_as_such() -> None:
    question = ask(("ada", None, 1, 0.8))
    assert question.text == "Taken from shelf 3: something that is not known, by ada or by nobody who is known?"
    assert question.answers[0].sku is None


def test_what_somebody_else_put_back_is_asked_of_who_has_it() -> None:
    question = still_has("ada", "042", 1, NAMES, "shelf 3", 0.6)
    assert question.text == "Does ada have 1 x Oat bar, or was it put on shelf 3?"
    assert question.answers == (Answer("1 x Oat bar came back", "042", -1, 0.6), Answer("ada has it", None, 0, 0.4))


@given(
    st.lists(
        st.tuples(st.sampled_from(["ada", "ben", "cem"]), st.sampled_from(["042", "043", None]), st.integers(1, 4)),
        min_size=1,
        max_size=12,
    ),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_a_question_has_answers_of_which_one_is_right_at_most(
    who_what: list[tuple[str, str | None, int]], random: "object", came_back: bool
) -> None:
    parts = [random.random() for _ in who_what]  # type: ignore[attr-defined]
    scale = 1 / max(1.0, math.fsum(parts))
    possibilities = [(*each, part * scale) for each, part in zip(who_what, parts, strict=True)]
    if all(who != "ada" for who, _, _ in who_what):
        with pytest.raises(ValueError, match="expected an explanation by ada"):
            ask(*possibilities)
        return
    question = ask(*possibilities, came_back=came_back)
    assert question.text.endswith("?")
    assert 2 <= len(question.answers) <= 6
    assert math.fsum(answer.probability for answer in question.answers) == pytest.approx(1)
    assert question.answers[-1] == Answer("nothing", None, 0, question.answers[-1].probability)
    assert all((answer.quantity < 0) == (came_back and answer.sku is not None) for answer in question.answers)


def test_a_question_is_kept_with_its_flag_and_asked_once() -> None:
    checkout = Checkout(Database.in_memory(), Catalogue("EUR", []), FakeGateway())
    visit = checkout.check_in("ada", NOON)
    question = ask(("ada", "042", 1, 0.5), ("ada", "043", 1, 0.48))
    checkout.flag(visit.session_id, "One of two", UUID(int=1), NOON, question)
    checkout.flag(visit.session_id, "One of two", UUID(int=1), NOON, question)
    checkout.flag(visit.session_id, "Twins", UUID(int=1), NOON, question)
    checkout.flag(visit.session_id, "A camera was blind", None, NOON)
    outcome = checkout.close(visit.session_id, NOON)
    assert outcome.questions == (question,)
    assert [flag.question for flag in outcome.flags] == [None, question, question]


def test_no_question_without_a_choice() -> None:
    with pytest.raises(ValueError, match="at least two"):
        Question("Was it?", (Answer("nothing", None, 0, 1.0),))
    with pytest.raises(ValueError, match="expected a question"):
        Question("It was", (Answer("a", None, 0, 0.5), Answer("b", None, 0, 0.5)))
    with pytest.raises(ValueError, match="does not fit"):
        Answer("a", "042", 0, 0.5)
