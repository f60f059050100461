from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cart.errors import LedgerConflict
from cart.ledger import Balance, Ledger, Transfer, TransferCode, TransferPhase
from cart.repository import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def transfer(number: int, amount_minor: int = 100, **changes: Any) -> Transfer:
    made = Transfer(
        UUID(int=number),
        "gateway",
        "shopper:ada",
        amount_minor,
        "USD",
        TransferCode.PAYMENT,
        TransferPhase.IMMEDIATE,
        NOON,
    )
    return replace(made, **changes)


@st.composite
def sequences(draw: st.DrawFn) -> list[Transfer]:
    """Transfers of every phase, among them repeats, conflicts, and resolutions of what is not pending."""
    written: list[Transfer] = []
    for _ in range(draw(st.integers(0, 15))):
        accounts = draw(st.lists(st.sampled_from("abcd"), min_size=2, max_size=2, unique=True))
        made = transfer(
            draw(st.integers(1, 20)),
            draw(st.integers(1, 10**9)),
            debit_account_id=accounts[0],
            credit_account_id=accounts[1],
            currency=draw(st.sampled_from(["USD", "JPY"])),
            phase=draw(st.sampled_from([TransferPhase.IMMEDIATE, TransferPhase.PENDING])),
        )
        if written:
            earlier = draw(st.sampled_from(written))
            made = draw(
                st.sampled_from(
                    [
                        made,
                        earlier,
                        earlier.post(made.transfer_id, NOON),
                        earlier.void(made.transfer_id, NOON),
                        transfer(made.transfer_id.int, phase=TransferPhase.POST, pending_id=earlier.transfer_id),
                    ]
                )
            )
        written.append(made)
    return written


def accepted(add: Callable[[Transfer], None], transfers: list[Transfer]) -> list[bool]:
    answers = []
    for one in transfers:
        try:
            add(one)
        except LedgerConflict:
            answers.append(False)
        else:
            answers.append(True)
    return answers


@given(sequences())
def test_the_books_sum_to_zero_under_any_sequence(transfers: list[Transfer]) -> None:
    ledger = Ledger()
    for one in transfers:
        accepted(ledger.add, [one])
        assert all(total == Balance(0, 0) for total in ledger.sums())
    assert Ledger(ledger.transfers).sums() == ledger.sums()


@settings(max_examples=40, deadline=None)
@given(sequences())
def test_the_database_accepts_and_refuses_what_the_books_do(transfers: list[Transfer]) -> None:
    ledger = Ledger()
    with Database.in_memory() as database:
        with database.transaction() as repository:
            assert accepted(repository.add_transfer, transfers) == accepted(ledger.add, transfers)
        with database.reading() as repository:
            assert repository.ledger().transfers == ledger.transfers


def test_a_pending_transfer_reserves_and_its_post_moves() -> None:
    pending = transfer(1, phase=TransferPhase.PENDING)
    ledger = Ledger([pending])
    assert ledger.balance("gateway", "USD") == Balance(0, 100)
    ledger.add(pending.post(UUID(int=2), NOON))
    assert ledger.balance("gateway", "USD") == Balance(100, 0)
    assert ledger.balance("shopper:ada", "USD") == Balance(-100, 0)


def test_a_voided_transfer_leaves_nothing() -> None:
    pending = transfer(1, phase=TransferPhase.PENDING)
    ledger = Ledger([pending, pending.void(UUID(int=2), NOON)])
    assert ledger.balance("gateway", "USD") == Balance(0, 0)


def test_a_pending_transfer_is_resolved_once() -> None:
    pending = transfer(1, phase=TransferPhase.PENDING)
    ledger = Ledger([pending, pending.post(UUID(int=2), NOON)])
    for again in (pending.post(UUID(int=3), NOON), pending.void(UUID(int=4), NOON)):
        with pytest.raises(LedgerConflict, match="posted or voided before"):
            ledger.add(again)
    assert ledger.balance("gateway", "USD") == Balance(100, 0)


def test_a_post_must_fit_its_pending_transfer() -> None:
    ledger = Ledger([transfer(1, phase=TransferPhase.PENDING)])
    with pytest.raises(LedgerConflict, match="differs"):
        ledger.add(transfer(2, 99, phase=TransferPhase.POST, pending_id=UUID(int=1)))
    with pytest.raises(LedgerConflict, match="not a pending"):
        ledger.add(transfer(2, phase=TransferPhase.POST, pending_id=UUID(int=7)))


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_minor": 0},
        {"credit_account_id": "gateway"},
        {"currency": "XXX"},
        {"phase": TransferPhase.POST},
        {"pending_id": UUID(int=3)},
        {"created_at": datetime(2026, 1, 1)},
    ],
)
def test_a_transfer_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|does not fit"):
        transfer(1, **changes)
