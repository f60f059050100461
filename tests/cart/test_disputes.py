from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product
from math import prod
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from cart.disputes import Dispute, DisputeRules, DisputeStatus, quantity_probabilities
from cart.errors import (
    DecisionRefused,
    DisputeNotFound,
    DisputeRefused,
    LineNotFound,
    NotUnderReview,
    SessionNotFound,
    StoreError,
)
from cart.outbox import Effect
from cart.sessions import SessionStatus
from cart.tables import AuditRow
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


def test_a_small_matter_goes_back_at_once(store: Shop) -> None:
    ada = store.account()
    session_id = store.visit(ada, ("bar", 2), ("tea", 1), sure=0.99)
    dispute = store.disputes.open(session_id, ada, "bar", 1, "I put one back")
    assert dispute.status is DisputeStatus.SETTLED
    assert dispute.settled_at == NOON
    assert dispute.outcome == (
        "The store takes your word for it: there is now 1 x Oat bar on your receipt, which makes it 1.99 USD less."
    )
    assert (store.quantities(session_id), store.kept_minor) == ({"bar": 1, "tea": 1}, 449)
    outcome = store.checkout.outcome(session_id)
    assert outcome is not None
    assert (outcome.status, outcome.receipt.total_minor) == (SessionStatus.CHARGED, 449)
    assert store.types_told().count("dispute.opened") == store.types_told().count("dispute.settled") == 1
    store.sweeper.sweep(store.at)
    assert "Your question about Oat bar is settled" in [letter.subject for letter in store.post.letters]


def test_where_the_store_was_not_sure_more_goes_back_at_once_too(tmp_path: Path) -> None:
    with shop("sqlite", tmp_path, DisputeRules(unsure_limit_minor=9900)) as store:
        ada = store.account()
        unsure, sure = store.visit(ada, ("wine", 1), sure=0.94), store.visit(ada, ("wine", 1), sure=0.95)
        assert store.disputes.open(unsure, ada, "wine", 0).status is DisputeStatus.SETTLED
        assert store.disputes.open(sure, ada, "wine", 0).status is DisputeStatus.IN_REVIEW
        assert store.kept_minor == 9900


def test_however_unsure_the_store_was_large_sums_go_to_a_person(store: Shop) -> None:
    ada = store.account()
    session_id = store.visit(ada, ("wine", 1), sure=0.5)
    assert store.disputes.open(session_id, ada, "wine", 0).status is DisputeStatus.IN_REVIEW
    assert store.kept_minor == 9900


def test_after_so_many_refunds_at_once_a_person_looks(store: Shop) -> None:
    ada, grace = store.account(), store.account("Grace")
    visits = [store.visit(ada, ("bar", 1)) for _ in range(5)]
    asked = [store.disputes.open(session_id, ada, "bar", 0).status for session_id in visits]
    assert asked == [DisputeStatus.SETTLED] * 3 + [DisputeStatus.IN_REVIEW] * 2
    assert store.disputes.open(store.visit(grace, ("bar", 1)), grace, "bar", 0).status is DisputeStatus.SETTLED
    store.later(days=90)
    assert store.disputes.open(store.visit(ada, ("bar", 1)), ada, "bar", 0).status is DisputeStatus.SETTLED


def test_refunds_at_once_are_counted_even_if_all_are_asked_for_at_the_same_moment(store: Shop) -> None:
    ada = store.account()
    visits = [store.visit(ada, ("bar", 1)) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        asked = list(pool.map(lambda session_id: store.disputes.open(session_id, ada, "bar", 0).status, visits))
    assert asked.count(DisputeStatus.SETTLED) == 3


def test_more_than_was_billed_is_never_charged_without_a_person(store: Shop) -> None:
    ada = store.account()
    session_id = store.visit(ada, ("bar", 1), sure=0.5)
    dispute = store.disputes.open(session_id, ada, "bar", 2, "I have two")
    assert (dispute.status, store.kept_minor) == (DisputeStatus.IN_REVIEW, 199)
    settled = store.disputes.settle(dispute.dispute_id, store.account("Grace", "reviewer"), 2)
    assert (settled.status, store.kept_minor) == (DisputeStatus.SETTLED, 398)
    assert settled.outcome == (
        "A person looked at what the store saw: there is 2 x Oat bar on your receipt, which makes it 1.99 USD more."
    )


def test_a_person_may_leave_the_line_as_it_is(store: Shop) -> None:
    ada = store.account()
    session_id = store.visit(ada, ("wine", 2))
    before = store.checkout.receipts(session_id)
    dispute = store.disputes.open(session_id, ada, "wine", 0)
    settled = store.disputes.settle(dispute.dispute_id, store.account("Grace", "reviewer"), 2, "both are in the clip")
    assert settled.outcome == "A person looked at what the store saw: there is 2 x Old wine on your receipt."
    assert (store.checkout.receipts(session_id), store.kept_minor) == (before, 19800)
    # What the reviewer noted is not for the shopper.
    store.sweeper.sweep(store.at)
    assert not any("clip" in letter.text for letter in store.post.letters)


def test_a_line_that_a_person_has_looked_at_is_not_settled_by_the_machine(store: Shop) -> None:
    ada, reviewer = store.account(), store.account("Grace", "reviewer")
    session_id = store.visit(ada, ("bar", 1), sure=0.5, flags=["not sure"])
    store.reviews.decide(session_id, reviewer, {"bar": 1})
    assert store.disputes.open(session_id, ada, "bar", 0).status is DisputeStatus.IN_REVIEW


def test_a_settled_line_may_be_asked_about_anew_and_an_open_one_not(store: Shop) -> None:
    ada, reviewer = store.account(), store.account("Grace", "reviewer")
    session_id = store.visit(ada, ("wine", 2))
    first = store.disputes.open(session_id, ada, "wine", 1)
    with pytest.raises(DisputeRefused, match="already"):
        store.disputes.open(session_id, ada, "wine", 0)
    store.disputes.settle(first.dispute_id, reviewer, 2)
    second = store.disputes.open(session_id, ada, "wine", 1)
    assert [each.dispute_id for each in store.disputes.of_visit(session_id)] in (
        [first.dispute_id, second.dispute_id],
        [second.dispute_id, first.dispute_id],
    )


def test_one_line_asked_about_many_times_at_once_is_one_question(store: Shop) -> None:
    ada = store.account()
    session_id = store.visit(ada, ("wine", 2))

    def ask(_: int) -> Dispute | DisputeRefused:
        try:
            return store.disputes.open(session_id, ada, "wine", 1)
        except DisputeRefused as error:
            return error

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(ask, range(6)))
    assert sum(isinstance(result, Dispute) for result in results) == 1
    assert len(store.disputes.of_visit(session_id)) == 1


def test_two_reviewers_at_once_and_one_of_them_settles(store: Shop) -> None:
    ada = store.account()
    session_id = store.visit(ada, ("wine", 2))
    dispute_id = store.disputes.open(session_id, ada, "wine", 0).dispute_id
    reviewers = [store.account("Grace", "reviewer") for _ in range(4)]

    def settle(number: int) -> Dispute | StoreError:
        try:
            return store.disputes.settle(dispute_id, reviewers[number], number)
        except NotUnderReview as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(settle, range(4)))
    assert sum(isinstance(result, Dispute) for result in results) == 1
    assert store.kept_minor == 9900 * store.quantities(session_id).get("wine", 0)


def test_somebody_elses_visit_is_not_there(small: Shop) -> None:
    session_id = small.visit(small.account(), ("bar", 1))
    with pytest.raises(SessionNotFound):
        small.disputes.open(session_id, small.account("Eve"), "bar", 0)
    with pytest.raises(SessionNotFound):
        small.disputes.open(uuid4(), small.account("Eve"), "bar", 0)


def test_only_lines_of_the_receipt_are_asked_about_and_only_if_they_say_something_else(small: Shop) -> None:
    ada = small.account()
    session_id = small.visit(ada, ("bar", 2))
    with pytest.raises(LineNotFound):
        small.disputes.open(session_id, ada, "tea", 1)
    with pytest.raises(DisputeRefused, match="what it says"):
        small.disputes.open(session_id, ada, "bar", 2)


@pytest.mark.parametrize("claimed", [-1, 1001])
def test_claims_have_bounds(small: Shop, claimed: int) -> None:
    with pytest.raises(ValueError, match="claimed_quantity"):
        small.disputes.open(uuid4(), uuid4(), "bar", claimed)


def test_messages_have_a_bound_and_no_control_characters(small: Shop) -> None:
    ada = small.account()
    session_id = small.visit(ada, ("wine", 2))
    with pytest.raises(ValueError, match="message"):
        small.disputes.open(session_id, ada, "wine", 0, "x" * 2001)
    dispute = small.disputes.open(session_id, ada, "wine", 0, " one\x00\x1b[31m\nline\r ")
    assert dispute.message == "one[31m\nline"


def test_a_visit_under_review_or_still_open_is_not_asked_about(small: Shop) -> None:
    ada = small.account()
    reviewed = small.visit(ada, ("bar", 1), flags=["not sure"])
    with pytest.raises(DisputeRefused, match="anyhow"):
        small.disputes.open(reviewed, ada, "bar", 0)
    inside = small.checkout.check_in(str(ada), NOON).session_id
    with pytest.raises(DisputeRefused, match="no receipt"):
        small.disputes.open(inside, ada, "bar", 0)


def test_after_ninety_days_it_is_too_late(small: Shop) -> None:
    ada = small.account()
    session_id = small.visit(ada, ("wine", 2))
    small.later(days=90)
    assert small.disputes.open(session_id, ada, "wine", 1).status is DisputeStatus.IN_REVIEW
    other = small.visit(ada, ("wine", 2))
    small.later(days=90, seconds=1)
    with pytest.raises(DisputeRefused, match="90 days"):
        small.disputes.open(other, ada, "wine", 1)


def test_there_are_bounds_on_the_number_of_questions(tmp_path: Path) -> None:
    with shop("sqlite", tmp_path, DisputeRules(per_visit=2, per_account=3)) as store:
        ada = store.account()
        first, second = (store.visit(ada, ("bar", 9), ("tea", 9), ("wine", 9)) for _ in range(2))
        for sku in ("bar", "tea"):
            store.disputes.open(first, ada, sku, 1)
        with pytest.raises(DisputeRefused, match="at most 2"):
            store.disputes.open(first, ada, "wine", 1)
        store.disputes.open(second, ada, "bar", 1)
        with pytest.raises(DisputeRefused, match="at most 3"):
            store.disputes.open(second, ada, "tea", 1)


def test_a_settlement_whose_process_died_is_carried_out_by_the_sweeper_once(
    store: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = store.account()
    session_id = store.visit(ada, ("bar", 2))

    def die(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store.checkout, "correct", die)
        with pytest.raises(KeyboardInterrupt):
            store.disputes.open(session_id, ada, "bar", 1)
    (dispute,) = store.disputes.of_visit(session_id)
    assert dispute.status is DisputeStatus.OPEN
    for _ in range(2):
        store.later(minutes=1)
        store.sweeper.sweep(store.at)
    assert store.disputes.dispute(dispute.dispute_id).status is DisputeStatus.SETTLED
    assert (store.kept_minor, store.types_told().count("dispute.settled")) == (199, 1)


def test_what_is_settled_or_unknown_cannot_be_settled(small: Shop) -> None:
    ada = small.account()
    reviewer = small.account("Grace", "reviewer")
    settled = small.disputes.open(small.visit(ada, ("bar", 2)), ada, "bar", 1)
    with pytest.raises(NotUnderReview, match="settled"):
        small.disputes.settle(settled.dispute_id, reviewer, 2)
    with pytest.raises(DisputeNotFound):
        small.disputes.settle(uuid4(), reviewer, 2)
    with pytest.raises(DisputeNotFound):
        small.disputes.dispute(uuid4())
    waiting = small.disputes.open(small.visit(ada, ("wine", 2)), ada, "wine", 1)
    with pytest.raises(DecisionRefused):
        small.disputes.settle(waiting.dispute_id, reviewer, -1)
    assert small.disputes.dispute(waiting.dispute_id).status is DisputeStatus.IN_REVIEW


def test_while_a_person_has_to_look_the_evidence_is_kept(small: Shop) -> None:
    ada = small.account()
    session_id = small.visit(ada, ("wine", 2))
    small.later(days=29)
    small.disputes.open(session_id, ada, "wine", 1)
    small.later(days=29)
    assert (small.evidence.expire(), len(small.evidence.of(session_id))) == (0, 1)
    small.later(days=1)
    assert (small.evidence.expire(), small.evidence.of(session_id)) == (1, ())


def test_the_replay_goes_by_all_candidates_of_all_interactions(small: Shop) -> None:
    ada = small.account()
    session_id = small.visit(ada, ("bar", 2), ("bar", -1), ("tea", 1), sure=0.8)
    replay = small.disputes.replay(session_id, "bar", 2)
    # One is billed. Two taken and one back: 0.8 * 0.8; two taken, none back: 0.8 * 0.2.
    assert (replay.billed_quantity, replay.difference_minor) == (1, -199)
    assert replay.billed_probability == pytest.approx(0.64)
    assert replay.claimed_probability == pytest.approx(0.16)


def test_without_evidence_the_replay_goes_by_how_sure_each_line_was(small: Shop) -> None:
    ada = small.account()
    session_id = small.visit(ada, ("bar", 2), ("bar", -1), sure=0.8, seen=False)
    assert small.disputes.replay(session_id, "bar", 2).billed_probability == pytest.approx(0.64)


def test_who_asked_and_who_decided_is_written_down(small: Shop) -> None:
    ada = small.account()
    small.disputes.open(small.visit(ada, ("bar", 2)), ada, "bar", 1)
    with small.database.reading() as repository:
        actions = [(row.action, row.actor_id) for row in repository.sql.scalars(select(AuditRow))]
    assert actions == [("dispute.opened", ada), ("visit.decided", None)]
    assert small.told(Effect.DECISION)[0]["status"] == "done"


Changes = list[dict[int, float]]


@st.composite
def changes(draw: st.DrawFn) -> Changes:
    found: Changes = []
    for _ in range(draw(st.integers(0, 4))):
        steps = draw(st.lists(st.integers(-3, 3).filter(bool), unique=True, max_size=3))
        weights = [draw(st.floats(0.01, 1)) for _ in steps]
        share = draw(st.floats(0, 1)) / (sum(weights) or 1)
        found.append({step: weight * share for step, weight in zip(steps, weights, strict=True)})
    return found


@given(changes())
def test_quantities_are_as_likely_as_all_their_combinations_together(found: Changes) -> None:
    whole = [change | {0: 1 - sum(change.values())} for change in found]
    expected: dict[int, float] = {}
    for combination in product(*[change.items() for change in whole]):
        quantity = sum(step for step, _ in combination)
        expected[quantity] = expected.get(quantity, 0.0) + prod(probability for _, probability in combination)
    spread = quantity_probabilities(found)
    assert sum(spread.values()) == pytest.approx(1)
    for quantity, probability in expected.items():
        assert spread.get(quantity, 0.0) == pytest.approx(probability, abs=1e-9)


@pytest.mark.parametrize(
    "wrong", [{"sure_from": 1.1}, {"small_minor": -1}, {"window": timedelta(days=-1)}, {"per_visit": -1}]
)
def test_rules_have_bounds(wrong: dict[str, float | timedelta]) -> None:
    with pytest.raises(ValueError, match="DisputeRules"):
        DisputeRules(**wrong)  # type: ignore[arg-type]
