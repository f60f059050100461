"""Double-entry book-keeping: transfers that are written once, and the balances they add up to.

Every transfer moves an amount from one account to another, so all balances of a currency always sum to zero. Some
money is promised before it moves: a *pending* transfer reserves it, and a second transfer that names the first in
``pending_id`` either posts it or voids it, once. A mistake is corrected by a transfer the other way round.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from cart.errors import LedgerConflict
from cart.events import check_aware
from cart.money import minor_digits

SALES = "sales"
"""Account of what was sold, without tax."""
TAX = "tax"
"""Account of the tax contained in sales, owed to the state."""
GATEWAY = "gateway"
"""Account of money that the payment gateway holds for the store."""
REFUNDS_DUE = "refunds_due"
"""Account of refunds that the gateway would not carry out: the store owes them and has to pay them another way."""


def shopper_account(shopper_id: str) -> str:
    """Account of what a shopper owes the store; 0 once everything is paid."""
    return f"shopper:{shopper_id}"


class TransferCode(StrEnum):
    """Why money moves."""

    SALE = "sale"
    TAX = "tax"
    PAYMENT = "payment"
    REFUND = "refund"
    """Money given back; the sale and tax that go with it are transfers of their own code, the other way round."""


class TransferPhase(StrEnum):
    """What a transfer does to balances."""

    IMMEDIATE = "immediate"
    """Moves money at once."""
    PENDING = "pending"
    """Reserves money, to be posted or voided later."""
    POST = "post"
    """Moves the money of the pending transfer it names."""
    VOID = "void"
    """Lets the money of the pending transfer it names go."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One movement between two accounts; never changed once written.

    Attributes:
        transfer_id: Identity; the same transfer is counted once however often it comes.
        debit_account_id: Account whose balance rises.
        credit_account_id: Account whose balance falls.
        amount_minor: Positive, minor unit.
        currency: ISO 4217 code.
        code: Why.
        phase: Immediate, or a step of a two-step transfer.
        created_at: When it was written, timezone-aware.
        pending_id: The pending transfer that a post or a void resolves; None for the others.
    """

    transfer_id: UUID
    debit_account_id: str
    credit_account_id: str
    amount_minor: int
    currency: str
    code: TransferCode
    phase: TransferPhase
    created_at: datetime
    pending_id: UUID | None = None

    def __post_init__(self) -> None:
        check_aware("Transfer.created_at", self.created_at)
        minor_digits(self.currency)
        if self.amount_minor <= 0:
            raise ValueError(f"Transfer.amount_minor: expected a positive number, got {self.amount_minor}")
        if self.debit_account_id == self.credit_account_id:
            raise ValueError(f"Transfer: expected two accounts, got {self.debit_account_id} twice")
        if (self.pending_id is not None) != (self.phase in (TransferPhase.POST, TransferPhase.VOID)):
            raise ValueError(f"Transfer: phase {self.phase} does not fit pending_id {self.pending_id}")

    def post(self, transfer_id: UUID, at: datetime) -> "Transfer":
        """The transfer that moves the money this pending one reserves."""
        return self._resolved(TransferPhase.POST, transfer_id, at)

    def void(self, transfer_id: UUID, at: datetime) -> "Transfer":
        """The transfer that lets the money this pending one reserves go."""
        return self._resolved(TransferPhase.VOID, transfer_id, at)

    def _resolved(self, phase: TransferPhase, transfer_id: UUID, at: datetime) -> "Transfer":
        return Transfer(
            transfer_id,
            self.debit_account_id,
            self.credit_account_id,
            self.amount_minor,
            self.currency,
            self.code,
            phase,
            at,
            self.transfer_id,
        )


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds in one currency.

    Attributes:
        posted_minor: Debits less credits that have moved.
        pending_minor: Debits less credits that are reserved, not yet moved.
    """

    posted_minor: int = 0
    pending_minor: int = 0


def check_resolution(transfer: Transfer, pending: Transfer | None) -> None:
    """Check that a post or a void fits the pending transfer it names.

    Raises:
        LedgerConflict: There is no such pending transfer, or accounts, amount, currency or code differ from it.
    """
    if pending is None or pending.phase is not TransferPhase.PENDING:
        raise LedgerConflict(f"transfer {transfer.transfer_id}: {transfer.pending_id} is not a pending transfer")
    if _movement(transfer) != _movement(pending):
        raise LedgerConflict(f"transfer {transfer.transfer_id} differs from the pending {pending.transfer_id}")


def _movement(transfer: Transfer) -> tuple[str, str, int, str, TransferCode]:
    return (
        transfer.debit_account_id,
        transfer.credit_account_id,
        transfer.amount_minor,
        transfer.currency,
        transfer.code,
    )


class Ledger:
    """The books: a fold of transfers in the order they were written.

    Args:
        transfers: Transfers to start from, oldest first.
    """

    def __init__(self, transfers: Iterable[Transfer] = ()) -> None:
        self._transfers: dict[UUID, Transfer] = {}
        self._resolved_by: dict[UUID, UUID] = {}
        self._balances: dict[tuple[str, str], Balance] = {}
        for transfer in transfers:
            self.add(transfer)

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """Every transfer, oldest first."""
        return tuple(self._transfers.values())

    def add(self, transfer: Transfer) -> None:
        """Write a transfer; the same one again changes nothing.

        Raises:
            LedgerConflict: The id was used for another transfer, or a post or void does not fit a pending transfer
                that is still unresolved. The books are then as before.
        """
        known = self._transfers.get(transfer.transfer_id)
        if known == transfer:
            return
        if known is not None:
            raise LedgerConflict(f"transfer {transfer.transfer_id} came with two contents")
        if transfer.pending_id is not None:
            check_resolution(transfer, self._transfers.get(transfer.pending_id))
            if transfer.pending_id in self._resolved_by:
                raise LedgerConflict(f"transfer {transfer.pending_id} was posted or voided before")
            self._resolved_by[transfer.pending_id] = transfer.transfer_id
        self._transfers[transfer.transfer_id] = transfer
        moved = transfer.amount_minor if transfer.phase in (TransferPhase.IMMEDIATE, TransferPhase.POST) else 0
        reserved = 0
        if transfer.phase is TransferPhase.PENDING:
            reserved = transfer.amount_minor
        elif transfer.pending_id is not None:
            reserved = -transfer.amount_minor
        self._shift(transfer.debit_account_id, transfer.currency, moved, reserved)
        self._shift(transfer.credit_account_id, transfer.currency, -moved, -reserved)

    def balance(self, account_id: str, currency: str) -> Balance:
        """What an account holds; an account that was never used holds nothing."""
        return self._balances.get((account_id, currency), Balance())

    def sums(self) -> tuple[Balance, ...]:
        """The sum over all accounts, one for each currency; each is zero."""
        totals: dict[str, Balance] = {}
        for (_, currency), balance in self._balances.items():
            total = totals.get(currency, Balance())
            totals[currency] = Balance(
                total.posted_minor + balance.posted_minor, total.pending_minor + balance.pending_minor
            )
        return tuple(totals[currency] for currency in sorted(totals))

    def _shift(self, account_id: str, currency: str, posted_minor: int, pending_minor: int) -> None:
        before = self.balance(account_id, currency)
        self._balances[account_id, currency] = Balance(
            before.posted_minor + posted_minor, before.pending_minor + pending_minor
        )
