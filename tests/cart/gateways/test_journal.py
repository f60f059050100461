import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cart.gateways.journal import Call, GatewayFault, Journal, RefusedError, StoredFailureError, delivery_order


@pytest.fixture
def journal() -> Journal:
    return Journal(":memory:")


def test_books_survive_their_process(tmp_path: Path) -> None:
    with Journal(tmp_path / "gateway.db") as journal:
        payment = journal.authorise("hold:1", "ada", 500, "EUR")
        journal.capture(payment.reference, 199)
        journal.refund(payment.reference, 50, "refund:1")
    with Journal(tmp_path / "gateway.db") as journal:
        (found,) = journal.look_up("hold:1")
        assert (found.state, found.captured_minor, found.refunded_minor) == ("captured", 199, 50)
        assert journal.look_up_refund("refund:1") == 50
        assert [event.kind for event in journal.events()] == [
            "payment.authorised",
            "payment.captured",
            "payment.refunded",
        ]


def test_a_key_makes_one_payment_until_it_is_forgotten(journal: Journal) -> None:
    first = journal.authorise("hold:1", "ada", 500, "EUR")
    assert journal.authorise("hold:1", "ada", 500, "EUR") == first
    with pytest.raises(RefusedError, match="another") as refused:
        journal.authorise("hold:1", "ada", 501, "EUR")
    assert refused.value.status == 422
    assert journal.prune_keys() == 1
    assert journal.authorise("hold:1", "ada", 500, "EUR") != first
    assert len(journal.look_up("hold:1")) == 2


def test_no_more_is_captured_than_held_and_no_other_amount_than_before(journal: Journal) -> None:
    payment = journal.authorise("hold:1", "ada", 500, "EUR")
    for amount in (0, -1, 501):
        with pytest.raises(RefusedError, match="1 to 500"):
            journal.capture(payment.reference, amount)
    assert journal.capture(payment.reference, 200) == journal.capture(payment.reference, 200)
    with pytest.raises(RefusedError) as refused:
        journal.capture(payment.reference, 201)
    assert refused.value.status == 409
    assert journal.captured_minor("EUR") == 200


def test_a_hold_that_is_gone_cannot_be_captured(journal: Journal) -> None:
    voided = journal.void(journal.authorise("hold:1", "ada", 500, "EUR").reference)
    declined = journal.authorise("hold:2", "ada", 500, "EUR")
    with pytest.raises(RefusedError):
        journal.capture(declined.reference, declined=True)
    for payment in (voided, declined):
        with pytest.raises(RefusedError, match="no hold"):
            journal.capture(payment.reference)
    assert journal.void(voided.reference) == voided
    with pytest.raises(RefusedError, match="no such payment"):
        journal.capture("fake-9")


def test_what_was_captured_cannot_be_voided(journal: Journal) -> None:
    payment = journal.capture(journal.authorise("hold:1", "ada", 500, "EUR").reference)
    with pytest.raises(RefusedError, match="cannot be voided"):
        journal.void(payment.reference)


def test_a_declined_account_stays_in_the_books(journal: Journal) -> None:
    for _ in range(2):
        with pytest.raises(RefusedError, match="does not pay"):
            journal.authorise("hold:1", "ada", 500, "EUR", declined=True)
    assert [payment.state for payment in journal.payments()] == ["declined"]


def test_a_kept_failure_is_answered_until_its_key_is_forgotten(journal: Journal) -> None:
    journal.authorise("hold:1", "ada", 500, "EUR")
    journal.fail_key("hold:1")
    journal.keep_failure("hold:2", "x")
    for key in ("hold:1", "hold:2"):
        with pytest.raises(StoredFailureError):
            journal.check_key(key)
    with pytest.raises(StoredFailureError):
        journal.authorise("hold:1", "ada", 500, "EUR")
    assert len(journal.look_up("hold:1")) == 1
    journal.prune_keys()
    journal.check_key("hold:1")


def test_ordered_faults_are_played_in_order(journal: Journal) -> None:
    journal.order_fault(Call.CAPTURE, GatewayFault.LOST_REPLY, 2)
    journal.order_fault(Call.CAPTURE, GatewayFault.DECLINE)
    assert journal.next_ordered_fault(Call.VOID) is None
    played = [journal.next_ordered_fault(Call.CAPTURE) for _ in range(4)]
    assert played == [GatewayFault.LOST_REPLY, GatewayFault.LOST_REPLY, GatewayFault.DECLINE, None]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-10, 600)), max_size=12), st.integers(1, 500))
def test_refunds_never_exceed_what_was_captured(asked: list[tuple[int, int]], captured: int) -> None:
    with Journal(":memory:") as journal:
        payment = journal.capture(journal.authorise("hold:1", "ada", 500, "EUR").reference, captured)
        for number, amount in asked:
            try:
                payment = journal.refund(payment.reference, amount, f"refund:{number}")
            except RefusedError:
                continue
        carried_out = [journal.look_up_refund(f"refund:{number}") or 0 for number in range(4)]
        assert sum(carried_out) == journal.payments()[0].refunded_minor <= captured


def test_a_refund_is_given_once_for_its_key(journal: Journal) -> None:
    payment = journal.capture(journal.authorise("hold:1", "ada", 500, "EUR").reference)
    assert journal.refund(payment.reference, 100, "refund:1") == journal.refund(payment.reference, 100, "refund:1")
    with pytest.raises(RefusedError, match="400 is left"):
        journal.refund(payment.reference, 401, "refund:2")
    assert journal.look_up_refund("refund:2") is None


def test_events_are_delivered_twice_and_in_any_order_only_when_told(journal: Journal) -> None:
    for number in range(20):
        journal.authorise(f"hold:{number}", "ada", 500, "EUR")
    events = journal.events(unsent=True)
    assert delivery_order(events, random.Random(1), doubled=0.0, shuffled=False) == list(events)
    disordered = delivery_order(events, random.Random(1), doubled=1.0, shuffled=True)
    assert len(disordered) == 40
    assert disordered != sorted(disordered, key=lambda event: event.number)
    assert set(disordered) == set(events)
    journal.mark_sent(events[0])
    assert len(journal.events(unsent=True)) == 19
