from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DatabaseError

from cart.cart import CartLine
from cart.checkout import Outcome
from cart.errors import DecisionRefused, NotUnderReview, SessionNotFound
from cart.events import CartEvent
from cart.outbox import Effect
from cart.payments import Fault, no_fault
from cart.questions import UNKNOWN, Answer, Question
from cart.reviews import LONGEST_PAGE
from cart.sessions import SessionStatus
from cart.tables import AuditRow, DecisionRow
from tests.cart.aftercare import NOON, Shop, shop
from tests.cart.databases import KINDS


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with shop(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Shop]:
    """For what has nothing to do with the kind of database."""
    with shop("sqlite", tmp_path) as opened:
        yield opened


def reviewed(store: Shop, *items: tuple[str, int]) -> UUID:
    return store.visit(store.account(), *items, flags=["the camera was blind for 4 s"])


def actions(store: Shop) -> list[tuple[str, UUID | None]]:
    with store.database.reading() as repository:
        return [(row.action, row.actor_id) for row in repository.sql.scalars(select(AuditRow))]


def test_a_reviewed_visit_is_charged_as_decided_and_its_shopper_is_told(store: Shop) -> None:
    reviewer, session_id = store.account("Grace", "reviewer"), reviewed(store, ("bar", 2), ("tea", 1))
    outcome = store.reviews.decide(session_id, reviewer, {"bar": 1, "tea": 1}, "the second bar went back")
    assert (outcome.status, outcome.receipt.total_minor) == (SessionStatus.CHARGED, 449)
    assert store.kept_minor == 449
    case = store.reviews.case(session_id)
    (decision,) = case.decisions
    assert (decision.lines, decision.reviewer_id, decision.note) == (
        (("bar", 1), ("tea", 1)),
        reviewer,
        "the second bar went back",
    )
    assert not case.waits
    assert store.reviews.queue().visits == ()
    assert ("visit.decided", reviewer) in actions(store)
    assert store.types_told().count("review.decided") == 1
    store.sweeper.sweep(store.at)
    store.sweeper.sweep(store.at)
    subjects = [letter.subject for letter in store.post.letters]
    assert len(subjects) == 2
    assert "Your visit was looked at" in subjects
    assert any(letter.attachments for letter in store.post.letters)


def test_a_decision_for_nothing_charges_nothing(store: Shop) -> None:
    session_id = reviewed(store, ("bar", 2))
    outcome = store.reviews.decide(session_id, store.account(), {})
    assert (outcome.status, store.gateway.payments) == (SessionStatus.EMPTY, ())


def test_the_queue_has_the_longest_waiting_first_and_pages_of_it_miss_and_repeat_nobody(store: Shop) -> None:
    waiting = []
    for _ in range(5):
        # Two at one moment: the page's border must not lose one of them.
        waiting += [reviewed(store, ("bar", 1)), reviewed(store, ("bar", 1))]
        store.later(minutes=1)
    store.visit(store.account(), ("bar", 1))
    seen, after = [], None
    while True:
        page = store.reviews.queue(after, limit=3)
        seen += [(visit.waiting_since, visit.session.session_id) for visit in page.visits]
        after = page.after
        if after is None:
            break
    assert seen == sorted(seen)
    assert sorted(session_id for _, session_id in seen) == sorted(waiting)


def test_a_visit_with_open_questions_of_its_shopper_waits_since_they_were_asked(store: Shop) -> None:
    ada = store.account()
    session_id = store.visit(ada, ("wine", 2))
    first = reviewed(store, ("bar", 1))
    store.later(days=1)
    store.disputes.open(session_id, ada, "wine", 1, "I had one")
    page = store.reviews.queue()
    assert [(v.session.session_id, v.waiting_since, v.open_disputes) for v in page.visits] == [
        (first, NOON, 0),
        (session_id, NOON + timedelta(days=1), 1),
    ]


@pytest.mark.parametrize("after", ["x", "", "bm90aGluZw", "MjAyNi0wMS0wMXw3", "é"])
def test_a_page_that_was_never_given_is_refused(small: Shop, after: str) -> None:
    with pytest.raises(ValueError, match="after"):
        small.reviews.queue(after)


@pytest.mark.parametrize("limit", [0, LONGEST_PAGE + 1])
def test_pages_have_bounds(small: Shop, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        small.reviews.queue(limit=limit)


def test_a_case_shows_what_the_machine_had_beside_what_stands(store: Shop) -> None:
    ada, reviewer = store.account(), store.account("Grace", "reviewer")
    session_id = store.visit(ada, ("bar", 2), ("bar", -1), ("tea", 1), sure=0.7, flags=["not sure"])
    store.reviews.decide(session_id, reviewer, {"tea": 3})
    case = store.reviews.case(session_id, reviewer)
    assert case.machine_cart.lines == (CartLine("bar", 1, 0.7), CartLine("tea", 1, 0.7))
    assert [(line.sku, line.quantity) for line in case.cart.lines] == [("tea", 3)]
    assert case.receipt is not None
    assert [(line.sku, line.quantity) for line in case.receipt.lines] == [("tea", 3)]
    assert [flag.reason for flag in case.flags] == ["not sure"]
    assert [piece.facts.kind for piece in case.evidence].count("put_back") == 1
    assert len(case.evidence) == 3
    # These are somebody's records, so the look is written down.
    assert ("looked", reviewer) in actions(store)


def test_two_reviewers_at_once_and_one_of_them_decides(store: Shop) -> None:
    reviewers = [store.account("Grace", "reviewer") for _ in range(6)]
    session_id = reviewed(store, ("bar", 2))

    def decide(number: int) -> Outcome | NotUnderReview:
        try:
            return store.reviews.decide(session_id, reviewers[number], {"bar": number + 1})
        except NotUnderReview as error:
            return error

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(decide, range(6)))
    (winner,) = [result for result in results if isinstance(result, Outcome)]
    assert winner.status is SessionStatus.CHARGED
    assert store.kept_minor == winner.receipt.total_minor
    assert len(store.reviews.case(session_id).decisions) == 1


def test_what_is_decided_stays_decided_unless_it_is_reopened(store: Shop) -> None:
    reviewer, session_id = store.account(), reviewed(store, ("bar", 2))
    store.reviews.decide(session_id, reviewer, {"bar": 2})
    with pytest.raises(NotUnderReview):
        store.reviews.decide(session_id, reviewer, {})
    outcome = store.reviews.decide(session_id, reviewer, {"bar": 1}, reopen=True)
    assert (outcome.receipt.total_minor, store.kept_minor) == (199, 199)
    outcome = store.reviews.decide(session_id, reviewer, {"bar": 3}, reopen=True)
    assert (outcome.receipt.total_minor, store.kept_minor) == (597, 597)
    assert len(store.reviews.case(session_id).decisions) == 3
    assert store.reviews.case(session_id).machine_cart.lines == (CartLine("bar", 2, 1.0),)


def test_reopening_with_what_stands_changes_no_money_and_makes_no_receipt(store: Shop) -> None:
    reviewer, session_id = store.account(), store.visit(store.account(), ("bar", 2))
    before = store.checkout.receipts(session_id)
    store.reviews.decide(session_id, reviewer, {"bar": 2}, reopen=True)
    assert store.checkout.receipts(session_id) == before
    assert store.kept_minor == 398


def test_open_and_unknown_visits_and_those_without_an_account_are_not_decided(small: Shop) -> None:
    reviewer = small.account()
    open_id = small.checkout.check_in(str(small.account()), NOON).session_id
    stranger = small.checkout.check_in("unknown-1", NOON, has_account=False)
    small.checkout.close(stranger.session_id, NOON)
    for session_id in (open_id, stranger.session_id):
        with pytest.raises(NotUnderReview):
            small.reviews.decide(session_id, reviewer, {"bar": 1}, reopen=True)
    with pytest.raises(SessionNotFound):
        small.reviews.decide(uuid4(), reviewer, {})
    with pytest.raises(SessionNotFound):
        small.reviews.case(uuid4())


@pytest.mark.parametrize("lines", [{"bar": -1}, {"bar": 1001}, {"": 1}, {str(n): 1 for n in range(501)}])
def test_a_decision_that_is_no_cart_is_refused_and_changes_nothing(small: Shop, lines: dict[str, int]) -> None:
    session_id = reviewed(small, ("bar", 2))
    with pytest.raises(DecisionRefused):
        small.reviews.decide(session_id, small.account(), lines)
    assert small.reviews.case(session_id).waits
    assert small.reviews.case(session_id).decisions == ()


def test_a_note_has_a_bound(small: Shop) -> None:
    with pytest.raises(DecisionRefused, match="note"):
        small.reviews.decide(reviewed(small, ("bar", 1)), small.account(), {}, "x" * 2001)


def test_a_decision_that_cannot_be_priced_is_given_up_and_the_visit_waits_on(store: Shop) -> None:
    reviewer, session_id = store.account(), reviewed(store, ("bar", 2))
    with pytest.raises(DecisionRefused, match="price"):
        store.reviews.decide(session_id, reviewer, {"secret": 1})
    assert [event["status"] for event in store.told(Effect.DECISION)] == ["failed"]
    assert [visit.session.session_id for visit in store.reviews.queue().visits] == [session_id]
    assert store.reviews.decide(session_id, reviewer, {"bar": 1}).status is SessionStatus.CHARGED
    assert store.kept_minor == 199


def test_a_decision_whose_process_died_is_carried_out_by_the_sweeper_once(
    store: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviewer, session_id = store.account(), reviewed(store, ("bar", 2))

    def die(*args: object) -> Outcome:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store.checkout, "correct", die)
        with pytest.raises(KeyboardInterrupt):
            store.reviews.decide(session_id, reviewer, {"bar": 1})
    # Until then nobody else decides.
    with pytest.raises(NotUnderReview, match="being carried out"):
        store.reviews.decide(session_id, reviewer, {"bar": 2})
    for _ in range(3):
        store.later(minutes=1)
        store.sweeper.sweep(store.at)
    outcome = store.checkout.outcome(session_id)
    assert outcome is not None
    assert (outcome.status, outcome.receipt.total_minor, store.kept_minor) == (SessionStatus.CHARGED, 199, 199)
    assert store.types_told().count("review.decided") == 1


def test_a_decision_whose_process_died_after_the_correction_corrects_nothing_twice(
    store: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviewer, session_id = store.account(), store.visit(store.account(), ("bar", 3))
    real = store.checkout.correct

    def die_after(*args: object) -> Outcome:
        real(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store.checkout, "correct", die_after)
        with pytest.raises(KeyboardInterrupt):
            store.reviews.decide(session_id, reviewer, {"bar": 1}, reopen=True)
    store.later(minutes=1)
    store.sweeper.sweep(store.at)
    assert (store.kept_minor, len(store.checkout.receipts(session_id))) == (199, 2)
    assert store.types_told().count("review.decided") == 1


def test_a_silent_gateway_leaves_the_decision_standing_and_the_money_to_the_sweeper(small: Shop) -> None:
    small.faults = lambda call, key: Fault.LOST_REPLY
    session_id = reviewed(small, ("bar", 2))
    assert small.reviews.decide(session_id, small.account(), {"bar": 1}).status is SessionStatus.CLOSED
    small.faults = no_fault
    small.later(minutes=5)
    small.sweeper.sweep(small.at)
    outcome = small.checkout.outcome(session_id)
    assert outcome is not None
    assert (outcome.status, small.kept_minor) == (SessionStatus.CHARGED, 199)


def test_decisions_are_never_changed(store: Shop) -> None:
    store.reviews.decide(reviewed(store, ("bar", 1)), store.account(), {"bar": 1})

    def change() -> None:
        with store.database.transaction() as repository:
            row = repository.sql.scalars(select(DecisionRow)).one()
            row.note = "something else"

    with pytest.raises(DatabaseError, match="append-only"):
        change()


def asked(store: Shop, *items: tuple[str, int]) -> tuple[UUID, list[UUID]]:
    """A visit that is still open, with one interaction for each item; and the interactions."""
    session_id = store.checkout.check_in(str(store.account()), NOON).session_id
    causes = [uuid4() for _ in items]
    for cause_id, (sku, quantity) in zip(causes, items, strict=True):
        store.checkout.record(CartEvent(uuid4(), session_id, NOON, sku, quantity, cause_id, 0.6))
    return session_id, causes


def test_answers_take_the_place_of_what_the_machine_had_and_the_rest_stays(store: Shop) -> None:
    session_id, (first, second, _) = asked(store, ("bar", 1), ("tea", 1), ("wine", 1))
    store.ask(session_id, first, ("bar", 1, 0.6), ("bar", 2, 0.3), (None, 0, 0.1))
    store.later(seconds=1)
    store.ask(session_id, second, ("tea", 1, 0.6), ("bar", 1, 0.3), (None, 0, 0.1))
    store.checkout.close(session_id, NOON)
    case = store.reviews.case(session_id)
    assert [question.cause_id for question in case.questions] == [first, second]
    outcome = store.reviews.answer(session_id, store.account(), {0: 1, 1: 1})
    assert {line.sku: line.quantity for line in outcome.receipt.lines} == {"bar": 3, "wine": 1}
    assert store.kept_minor == 3 * 199 + 9900


def test_nothing_is_an_answer(store: Shop) -> None:
    session_id, (first,) = asked(store, ("bar", 1))
    store.ask(session_id, first, ("bar", 1, 0.6), (None, 0, 0.4))
    store.checkout.close(session_id, NOON)
    assert store.reviews.answer(session_id, store.account(), {0: 1}).status is SessionStatus.EMPTY


def test_what_came_back_by_another_hand_is_taken_out(small: Shop) -> None:
    session_id, _ = asked(small, ("bar", 2))
    small.ask(session_id, uuid4(), ("bar", -1, 0.6), (None, 0, 0.4))
    small.checkout.close(session_id, NOON)
    outcome = small.reviews.answer(session_id, small.account(), {0: 0})
    assert [(line.sku, line.quantity) for line in outcome.receipt.lines] == [("bar", 1)]


def test_two_questions_about_one_interaction_count_once(small: Shop) -> None:
    session_id, _ = asked(small, ("bar", 2))
    cause_id = uuid4()
    small.ask(session_id, cause_id, ("bar", -1, 0.6), (None, 0, 0.4))
    small.later(seconds=1)
    still = Question("Does ada have it?", (Answer("came back", "bar", -1, 0.7), Answer("ada has it", None, 0, 0.3)))
    small.checkout.flag(session_id, "may be hers", cause_id, small.at, still)
    small.checkout.close(session_id, NOON)
    outcome = small.reviews.answer(session_id, small.account(), {0: 0, 1: 0})
    assert [(line.sku, line.quantity) for line in outcome.receipt.lines] == [("bar", 1)]


def test_two_interactions_that_look_the_same_are_two_questions(small: Shop) -> None:
    session_id, causes = asked(small, ("bar", 1), ("bar", 1))
    for cause_id in causes:
        small.ask(session_id, cause_id, ("bar", 1, 0.6), (None, 0, 0.4))
    small.checkout.close(session_id, NOON)
    assert len(small.reviews.case(session_id).questions) == 2
    outcome = small.reviews.answer(session_id, small.account(), {0: 0, 1: 1})
    assert [(line.sku, line.quantity) for line in outcome.receipt.lines] == [("bar", 1)]


@pytest.mark.parametrize(
    ("answers", "what"),
    [({}, "answers"), ({0: 0, 1: 0}, "answers"), ({0: 3}, "from 0 to 2"), ({0: -1}, "from 0 to 2"), ({0: 1}, "names")],
)
def test_answers_that_do_not_fit_are_refused(small: Shop, answers: dict[int, int], what: str) -> None:
    session_id, (first,) = asked(small, ("bar", 1))
    said = (Answer("1 x bar", "bar", 1, 0.5), Answer(UNKNOWN, None, 0, 0.3), Answer("nothing", None, 0, 0.2))
    small.checkout.flag(session_id, "not sure", first, NOON, Question("What was it?", said))
    small.checkout.close(session_id, NOON)
    with pytest.raises(DecisionRefused, match=what):
        small.reviews.answer(session_id, small.account(), answers)
    assert small.reviews.case(session_id).waits


def test_answers_that_leave_less_than_nothing_are_refused(small: Shop) -> None:
    session_id, _ = asked(small, ("bar", 1))
    small.ask(session_id, uuid4(), ("bar", -2, 0.6), (None, 0, 0.4))
    small.checkout.close(session_id, NOON)
    with pytest.raises(DecisionRefused, match="expected 0 to"):
        small.reviews.answer(session_id, small.account(), {0: 0})


def test_without_questions_there_is_nothing_to_answer(small: Shop) -> None:
    with pytest.raises(DecisionRefused, match="nothing is asked"):
        small.reviews.answer(reviewed(small, ("bar", 1)), small.account(), {})


def test_a_reviewed_decision_answers_the_shoppers_open_questions(store: Shop) -> None:
    ada = store.account()
    session_id = store.visit(ada, ("wine", 2))
    dispute = store.disputes.open(session_id, ada, "wine", 1)
    outcome = store.reviews.decide(session_id, store.account(), {"wine": 1})
    settled = store.disputes.dispute(dispute.dispute_id)
    assert (settled.status, outcome.receipt.total_minor, store.kept_minor) == ("settled", 9900, 9900)
    assert settled.outcome == (
        "A person looked at what the store saw: there is 1 x Old wine on your receipt, which makes it 99.00 USD less."
    )
    assert store.reviews.queue().visits == ()


def test_a_shopper_without_an_address_gets_no_letter_and_nothing_fails(small: Shop) -> None:
    session_id = small.checkout.check_in("ada", NOON).session_id
    small.checkout.record(CartEvent(uuid4(), session_id, NOON, "bar", 1))
    small.checkout.flag(session_id, "not sure", None, NOON)
    small.checkout.close(session_id, NOON)
    small.reviews.decide(session_id, small.account(), {"bar": 1})
    small.sweeper.sweep(small.at)
    assert small.post.letters == []
    assert {message["status"] for message in small.told(Effect.MAIL) + small.told(Effect.RECEIPT)} == {"done"}
