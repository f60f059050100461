"""Bringing holds, charges and refunds to their end at the gateway, and writing what became of them.

Each of them is written down, with its idempotency key, in the transaction that gives reason for it, and put into the
outbox there. Only then is the gateway called, first by whoever wrote it and later, if that gave no clear answer or the
process died, by the sweeper, through the same functions. A second transaction writes the result. After any silence the
gateway is asked what it knows before it is told anything, and a fresh key is never made for a retry.

A hold is captured by the charge at the exit, for as much of it as the visit cost. What exceeds it is a second charge of
its own: the shop then has the hold in any case, where voiding it and charging the whole could end with nothing.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid5

from cart import outbox
from cart.errors import LedgerConflict, PaymentDeclined, PaymentUnknown
from cart.events import ReviewFlag
from cart.ledger import (
    GATEWAY,
    REFUNDS_DUE,
    SALES,
    TAX,
    Transfer,
    TransferCode,
    TransferPhase,
    shopper_account,
)
from cart.money import divide_half_away
from cart.outbox import Effect, Handler, Message, NotYetError
from cart.payments import (
    Charge,
    ChargeKind,
    ChargeStatus,
    Hold,
    HoldStatus,
    Payment,
    PaymentGateway,
    PaymentRequest,
    PaymentState,
    Refund,
    RefundKind,
    RefundStatus,
)
from cart.receipts import Receipt
from cart.repository import Database, Repository
from cart.sessions import Session, SessionStatus

_log = logging.getLogger(__name__)

RECEIPTS = "receipts"
"""The running number of receipts."""
# So long does the sweeper leave an effect to whoever wrote it; after that, they are taken to have died.
OWN_TIME = timedelta(seconds=10)
_PAYMENT, _REFUND = "payment", "refund"
_CHARGE_STATUS = {
    PaymentState.CAPTURED: ChargeStatus.POSTED,
    PaymentState.VOIDED: ChargeStatus.VOIDED,
    PaymentState.DECLINED: ChargeStatus.FAILED,
}
# Visits whose sale stands in the ledger.
BOOKED = frozenset({SessionStatus.CLOSED, SessionStatus.CHARGED, SessionStatus.PAYMENT_FAILED})


@dataclass(frozen=True, slots=True)
class Dues:
    """What a visit costs as the ledger has it.

    Attributes:
        subtotal_minor: Without tax, minor unit.
        tax_minor: The tax, minor unit.
    """

    subtotal_minor: int = 0
    tax_minor: int = 0

    @property
    def total_minor(self) -> int:
        """With tax, minor unit."""
        return self.subtotal_minor + self.tax_minor


def dues_of(receipt: Receipt, refunds: Sequence[Refund]) -> Dues:
    """What a receipt comes to, less what was given back out of goodwill, tax in proportion.

    Raises:
        ValueError: A price is not known.
    """
    total_minor, tax_minor = receipt.total_minor, receipt.tax_minor
    if total_minor is None or tax_minor is None:
        raise ValueError(f"visit {receipt.session_id}: expected a known price for everything")
    given_minor = min(total_minor, sum(r.amount_minor for r in refunds if r.kind is RefundKind.GOODWILL))
    tax_off_minor = divide_half_away(tax_minor * given_minor, total_minor) if given_minor else 0
    return Dues(total_minor - given_minor - (tax_minor - tax_off_minor), tax_minor - tax_off_minor)


@dataclass(frozen=True, slots=True)
class Money:
    """What moved for a visit.

    Attributes:
        charges: Every charge, oldest first.
        refunds: Every refund, oldest first.
    """

    charges: tuple[Charge, ...]
    refunds: tuple[Refund, ...]

    @classmethod
    def of(cls, repository: Repository, session_id: UUID) -> "Money":
        """Read it."""
        return cls(repository.charges(session_id), repository.refunds(session_id))

    @property
    def taken_minor(self) -> int:
        """What was taken, minor unit."""
        return sum(charge.amount_minor for charge in self.charges if charge.status is ChargeStatus.POSTED)

    @property
    def given_minor(self) -> int:
        """What was given back, minor unit; what the gateway refused counts too, as the store owes it elsewhere."""
        return sum(refund.amount_minor for refund in self.refunds)

    @property
    def kept_minor(self) -> int:
        """What was taken and not given back: the most that can be refunded, minor unit."""
        return self.taken_minor - self.given_minor

    @property
    def is_settled(self) -> bool:
        """Whether no charge is pending."""
        return all(charge.status is not ChargeStatus.PENDING for charge in self.charges)

    def next_sequence(self, kind: ChargeKind) -> int:
        """The sequence of the next charge of a kind."""
        return max((charge.sequence for charge in self.charges if charge.kind is kind), default=0) + 1


def book(
    repository: Repository, source_id: UUID, session: Session, currency: str, before: Dues, after: Dues, at: datetime
) -> None:
    """Write into the ledger how what a visit costs has changed: a sale and its tax, or the reverse of both.

    The goods have left the store, so a sale stands whatever the payment does: until it is paid it is owed.

    Args:
        repository: The transaction.
        source_id: What gives the transfers their ids: a charge, a refund, or a correction.
        session: The visit.
        currency: ISO 4217 code.
        before: What it cost until now.
        after: What it costs from now on.
        at: Now.
    """
    shopper = shopper_account(session.shopper_id)
    for name, account, code, change_minor in (
        ("sale", SALES, TransferCode.SALE, after.subtotal_minor - before.subtotal_minor),
        ("tax", TAX, TransferCode.TAX, after.tax_minor - before.tax_minor),
    ):
        if change_minor:
            debit, credit = (shopper, account) if change_minor > 0 else (account, shopper)
            repository.add_transfer(
                Transfer(
                    uuid5(source_id, name),
                    debit,
                    credit,
                    abs(change_minor),
                    currency,
                    code,
                    TransferPhase.IMMEDIATE,
                    at,
                )
            )


def write_charge(repository: Repository, charge: Charge, session: Session, at: datetime) -> None:
    """Write a pending charge with its key; what happens after this can always be picked up again."""
    repository.add_charge(charge)
    repository.add_transfer(
        Transfer(
            uuid5(charge.charge_id, _PAYMENT),
            GATEWAY,
            shopper_account(session.shopper_id),
            charge.amount_minor,
            charge.currency,
            TransferCode.PAYMENT,
            TransferPhase.PENDING,
            at,
        )
    )
    payload = {"charge_id": str(charge.charge_id), "session_id": str(charge.session_id)}
    outbox.put(repository, Effect.CHARGE, _charge_message(charge), payload, at, at + OWN_TIME)


def write_hold(repository: Repository, hold: Hold, at: datetime) -> None:
    """Write a pending hold with its key."""
    repository.add_hold(hold)
    outbox.put(repository, Effect.HOLD, hold.idempotency_key, _hold_payload(hold), at, at + OWN_TIME)


def release_hold(repository: Repository, hold: Hold, at: datetime) -> None:
    """Decide to let a hold go, if there is something to let go."""
    if hold.status in (HoldStatus.PENDING, HoldStatus.HELD):
        repository.change_hold(replace(hold, status=HoldStatus.RELEASING))
        outbox.put(repository, Effect.HOLD, _void_message(hold), _hold_payload(hold), at, at + OWN_TIME)


def write_refunds(
    repository: Repository,
    session: Session,
    money: Money,
    amount_minor: int,
    kind: RefundKind,
    reason: str,
    cause_id: UUID | None,
    new_id: Callable[[], UUID],
    at: datetime,
) -> tuple[Refund, ...]:
    """Write pending refunds with their keys: of the newest charge first, of older ones if that is not enough.

    Returns:
        What was written, one refund for each charge that is given back from.

    Raises:
        ValueError: It is more than was taken and not given back.
    """
    refunds, left_minor = [], amount_minor
    for charge in reversed([c for c in money.charges if c.status is ChargeStatus.POSTED]):
        given_minor = sum(r.amount_minor for r in money.refunds if r.charge_id == charge.charge_id)
        part_minor = min(left_minor, charge.amount_minor - given_minor)
        if part_minor > 0:
            left_minor -= part_minor
            refunds.append(
                Refund(
                    new_id(),
                    session.session_id,
                    charge.charge_id,
                    part_minor,
                    charge.currency,
                    RefundStatus.PENDING,
                    kind,
                    reason,
                    at,
                    cause_id,
                )
            )
    if left_minor:
        raise ValueError(f"refund: expected at most {money.kept_minor}, got {amount_minor}")
    for refund in refunds:
        repository.add_refund(refund)
        repository.add_transfer(
            Transfer(
                uuid5(refund.refund_id, _REFUND),
                shopper_account(session.shopper_id),
                GATEWAY,
                refund.amount_minor,
                refund.currency,
                TransferCode.REFUND,
                TransferPhase.PENDING,
                at,
            )
        )
        payload = {"refund_id": str(refund.refund_id), "session_id": str(refund.session_id)}
        outbox.put(repository, Effect.REFUND, refund.idempotency_key, payload, at, at + OWN_TIME)
    return tuple(refunds)


def tell(repository: Repository, kind: str, of: object, session: Session, at: datetime) -> None:
    """Have whoever listens told of something that happened to a visit.

    Args:
        repository: The transaction.
        kind: Such as ``visit.closed``.
        of: What it happened to; with the kind it makes the message's key.
        session: The visit.
        at: Now.
    """
    payload = {
        "type": kind,
        "at": at.isoformat(),
        "session_id": str(session.session_id),
        "shopper_id": session.shopper_id,
    }
    outbox.put(repository, Effect.WEBHOOK, f"webhook:{kind}:{of}", payload, at)


def conclude(repository: Repository, session: Session, money: Money, receipt: Receipt, at: datetime) -> Session:
    """Write where a visit stands once no charge of it is pending, and have its shopper told.

    Returns:
        The visit, ``charged`` or ``payment_failed``; as it was while a charge is pending.
    """
    if not money.is_settled:
        return session
    is_paid = dues_of(receipt, money.refunds).total_minor <= money.kept_minor
    session = replace(session, status=SessionStatus.CHARGED if is_paid else SessionStatus.PAYMENT_FAILED)
    repository.change_session(session)
    if is_paid and receipt.receipt_number is None:
        repository.issue_receipt(session.session_id, repository.next_number(RECEIPTS), at, receipt.sequence)
        tell(repository, "receipt.issued", f"{session.session_id}:{receipt.sequence}", session, at)
    send_receipt(repository, session, receipt.sequence, at)
    return session


def send_receipt(repository: Repository, session: Session, sequence: int, at: datetime) -> None:
    """Have a receipt sent; once more if it was sent while its total was owed, and now is paid."""
    key = f"receipt:{session.session_id}:{sequence}"
    payload = {
        "session_id": str(session.session_id),
        "sequence": sequence,
        "shopper_id": session.shopper_id,
        "status": session.status.value,
    }
    if not outbox.put(repository, Effect.RECEIPT, key, payload, at) and session.status is SessionStatus.CHARGED:
        outbox.put(repository, Effect.RECEIPT, f"{key}:paid", payload, at)


class Settlement:
    """Carries out holds, charges and refunds at the gateway, and writes the results. Safe to call from threads.

    Args:
        database: Where everything is kept.
        gateway: Who moves the money.
        new_id: Makes the id of the charge that takes the place of a hold's capture.
        now: The time, for effects that the sweeper carries out.
        attempts: How often an unclear outcome is tried within one ``settle``, at least 1.
    """

    def __init__(
        self,
        database: Database,
        gateway: PaymentGateway,
        new_id: Callable[[], UUID],
        now: Callable[[], datetime],
        attempts: int,
    ) -> None:
        self._database = database
        self._gateway = gateway
        self._new_id = new_id
        self._now = now
        self._attempts = attempts

    def handlers(self) -> dict[Effect, Handler]:
        """What the sweeper does for holds, charges and refunds: try each once."""
        return {
            Effect.HOLD: lambda message: self._handle(message, "hold_id", self.hold),
            Effect.CHARGE: lambda message: self._handle(message, "charge_id", self.charge),
            Effect.REFUND: lambda message: self._handle(message, "refund_id", self.refund),
        }

    def _handle(self, message: Message, field: str, carry_out: "_Step") -> None:
        try:
            carry_out(UUID(_field(message.payload, field)), self._now(), heard_of=True)
        except PaymentUnknown as error:
            raise NotYetError(str(error)) from error

    def settle(
        self,
        session_id: UUID,
        at: datetime,
        read: "Callable[[Repository, UUID], _Read]",
        *,
        known: Collection[UUID] | None = None,
    ) -> "_Read":
        """Try to bring everything of a visit that is pending to its end.

        Args:
            session_id: A visit.
            at: Now.
            read: What the caller wants to know of the visit afterwards, read at the moment nothing is left to try.
            known: What was pending before the caller wrote anything (``pending``), so that the gateway may have heard
                of it and is asked before it is told again: it may have forgotten its key. None if the caller wrote
                nothing: it may have heard of everything.

        Returns:
            What was read.
        """
        tried: set[UUID] = set()
        while True:
            with self._database.reading() as repository:
                steps = self._steps(repository, session_id)
                left = {key: step for key, step in steps.items() if key not in tried}
                if not left:
                    return read(repository, session_id)
            for key, step in left.items():
                # What came into being in an earlier round here is new to the gateway.
                self._try(step, key, at, heard_of=(known is None or key in known) and not tried)
            tried |= left.keys()

    def pending(self, repository: Repository, session_id: UUID) -> frozenset[UUID]:
        """Which charges, refunds and holds of a visit wait for the gateway's answer."""
        return frozenset(self._steps(repository, session_id))

    def _steps(self, repository: Repository, session_id: UUID) -> "dict[UUID, _Step]":
        steps: dict[UUID, _Step] = {}
        for charge in repository.charges(session_id):
            if charge.status is ChargeStatus.PENDING:
                steps[charge.charge_id] = self.charge
        for refund in repository.refunds(session_id):
            if refund.status is RefundStatus.PENDING:
                steps[refund.refund_id] = self.refund
        hold = repository.hold(session_id)
        if hold is not None and hold.status in (HoldStatus.PENDING, HoldStatus.RELEASING):
            steps[hold.hold_id] = self.hold
        return steps

    def _try(self, step: "_Step", key: UUID, at: datetime, *, heard_of: bool) -> None:
        for attempt in range(self._attempts):
            try:
                step(key, at, heard_of=heard_of or attempt > 0)
            except PaymentUnknown as error:
                _log.warning("%s %s: attempt %d: %s", step.__name__, key, attempt + 1, error)
            else:
                return

    def charge(self, charge_id: UUID, at: datetime, *, heard_of: bool) -> None:
        """Bring a charge to its end; nothing happens if it is there already.

        Args:
            charge_id: The charge.
            at: Now.
            heard_of: Whether the gateway may have heard of it before.

        Raises:
            PaymentUnknown: The gateway gave no clear answer.
        """
        with self._database.reading() as repository:
            charge = repository.charge_by_id(charge_id)
            if charge is None or charge.status is not ChargeStatus.PENDING:
                return
            shopper_id = repository.session(charge.session_id).shopper_id
            hold = None if charge.hold_id is None else repository.hold_by_id(charge.hold_id)
        request = _request(charge if hold is None else hold, shopper_id)
        # A gateway may have forgotten the key of an old payment and would then take the money again.
        payment = self._gateway.look_up(request.idempotency_key) if heard_of else None
        if payment is None and hold is not None:
            payment = Payment(hold.gateway_reference or "", request, PaymentState.AUTHORISED)
        elif payment is None:
            try:
                payment = self._gateway.authorise(request)
            except PaymentDeclined as error:
                _log.info("charge %s: %s", charge_id, error)
                self._write_charge(replace(charge, status=ChargeStatus.FAILED), at)
                return
        if payment.request != request:
            raise PaymentUnknown(f"{request.idempotency_key}: the gateway knows another payment under this key")
        if payment.state is PaymentState.AUTHORISED:
            payment = self._capture(payment, charge)
        if payment.state is PaymentState.CAPTURED and payment.captured_minor != charge.amount_minor:
            raise PaymentUnknown(
                f"{request.idempotency_key}: expected {charge.amount_minor} to be taken, it was"
                f" {payment.captured_minor}"
            )
        status = _CHARGE_STATUS[payment.state]
        self._write_charge(replace(charge, status=status, gateway_reference=payment.reference), at)

    def _capture(self, payment: Payment, charge: Charge) -> Payment:
        try:
            if charge.amount_minor == payment.request.amount_minor:
                return self._gateway.capture(payment)
            return self._gateway.capture(payment, charge.amount_minor)
        except PaymentDeclined as error:
            _log.info("charge %s: %s", charge.charge_id, error)
            return replace(payment, state=PaymentState.VOIDED)

    def _write_charge(self, result: Charge, at: datetime) -> None:
        """Write what became of a charge, unless somebody else did so meanwhile."""
        with self._database.transaction() as repository:
            session = repository.session(result.session_id)
            current = repository.charge_by_id(result.charge_id)
            if current is None or current.status is not ChargeStatus.PENDING:
                return
            repository.change_charge(result)
            outbox.finish(repository, _charge_message(result), at)
            pending = _pending_transfer(repository, result.charge_id, _PAYMENT)
            posted = result.status is ChargeStatus.POSTED
            if posted:
                repository.add_transfer(pending.post(uuid5(result.charge_id, f"{_PAYMENT}:post"), at))
            else:
                repository.add_transfer(pending.void(uuid5(result.charge_id, f"{_PAYMENT}:void"), at))
            hold = None if result.hold_id is None else repository.hold_by_id(result.hold_id)
            if hold is not None:
                repository.change_hold(replace(hold, status=HoldStatus.CAPTURED if posted else HoldStatus.VOIDED))
                if not posted:
                    # The hold has expired, which says nothing about the shopper: a payment of its own is tried. That is
                    # a new charge after a definite no, so it has a new key.
                    self._replace_charge(repository, result, session, at)
                    return
            receipt = repository.receipt(session)
            if receipt is None:
                raise LedgerConflict(f"charge {result.charge_id}: visit {session.session_id} has no receipt")
            if not posted:
                tell(repository, "payment.failed", result.charge_id, session, at)
            elif result.kind is ChargeKind.DEBT:
                tell(repository, "debt.paid", result.charge_id, session, at)
            conclude(repository, session, Money.of(repository, session.session_id), receipt, at)

    def _replace_charge(self, repository: Repository, charge: Charge, session: Session, at: datetime) -> None:
        again = Charge(
            self._new_id(),
            charge.session_id,
            charge.kind,
            charge.sequence,
            charge.amount_minor,
            charge.currency,
            ChargeStatus.PENDING,
            at,
        )
        write_charge(repository, again, session, at)

    def hold(self, hold_id: UUID, at: datetime, *, heard_of: bool) -> None:
        """Bring a hold to where it belongs: held while the visit is open, let go when it is to be.

        Args:
            hold_id: The hold.
            at: Now.
            heard_of: Whether the gateway may have heard of it before.

        Raises:
            PaymentUnknown: The gateway gave no clear answer.
        """
        with self._database.reading() as repository:
            hold = repository.hold_by_id(hold_id)
            if hold is None:
                return
            session = repository.session(hold.session_id)
        request = _request(hold, session.shopper_id)
        if hold.status is HoldStatus.PENDING:
            self._place(hold, request, at, heard_of=heard_of, wanted=session.status is SessionStatus.OPEN)
        elif hold.status is HoldStatus.RELEASING:
            self._let_go(hold, request, at)

    def _place(self, hold: Hold, request: PaymentRequest, at: datetime, *, heard_of: bool, wanted: bool) -> None:
        payment = self._gateway.look_up(request.idempotency_key) if heard_of or not wanted else None
        if payment is None and wanted:
            try:
                payment = self._gateway.authorise(request)
            except PaymentDeclined as error:
                _log.info("hold %s: %s", hold.hold_id, error)
        if payment is not None and payment.request != request:
            raise PaymentUnknown(f"{request.idempotency_key}: the gateway knows another payment under this key")
        if payment is not None and payment.state is PaymentState.AUTHORISED:
            result = replace(hold, status=HoldStatus.HELD, gateway_reference=payment.reference)
        else:
            result = replace(hold, status=HoldStatus.FAILED)
        with self._database.transaction() as repository:
            session = repository.session(hold.session_id)
            current = repository.hold_by_id(hold.hold_id)
            if current is None:
                return
            outbox.finish(repository, hold.idempotency_key, at)
            if result.status is HoldStatus.HELD:
                self._write_held(repository, current, result, session, at)
            elif current.status is HoldStatus.PENDING:
                repository.change_hold(result)
                if session.status is SessionStatus.OPEN:
                    tell(repository, "payment.failed", hold.hold_id, session, at)
                    if not repository.cart_events(session.session_id):
                        end_unused(repository, session, hold.currency, at)

    def _write_held(self, repository: Repository, current: Hold, result: Hold, session: Session, at: datetime) -> None:
        if current.status is HoldStatus.PENDING:
            repository.change_hold(result)
            if session.status is not SessionStatus.OPEN:
                release_hold(repository, result, at)
        elif current.status is HoldStatus.RELEASING:
            repository.change_hold(replace(current, gateway_reference=result.gateway_reference))
        elif current.status in (HoldStatus.VOIDED, HoldStatus.FAILED) and current.gateway_reference is None:
            # It was given up as never heard of while this call was under way: it is let go after all.
            repository.change_hold(replace(result, status=HoldStatus.RELEASING))
            key = f"{_void_message(result)}:{result.gateway_reference}"
            outbox.put(repository, Effect.HOLD, key, _hold_payload(result), at)

    def _let_go(self, hold: Hold, request: PaymentRequest, at: datetime) -> None:
        payment = self._gateway.look_up(request.idempotency_key)
        if payment is not None and payment.state is PaymentState.AUTHORISED:
            try:
                payment = self._gateway.void(payment)
            except PaymentDeclined as error:
                raise PaymentUnknown(f"{request.idempotency_key}: was to be let go: {error}") from error
        if payment is not None and payment.state is PaymentState.CAPTURED:
            raise LedgerConflict(f"hold {hold.hold_id}: was to be let go, but the gateway has captured it")
        with self._database.transaction() as repository:
            repository.session(hold.session_id)
            current = repository.hold_by_id(hold.hold_id)
            if current is None or current.status is not HoldStatus.RELEASING:
                return
            reference = current.gateway_reference if payment is None else payment.reference
            repository.change_hold(replace(current, status=HoldStatus.VOIDED, gateway_reference=reference))
            outbox.finish(repository, hold.idempotency_key, at)
            outbox.finish(repository, _void_message(hold), at)

    def refund(self, refund_id: UUID, at: datetime, *, heard_of: bool) -> None:
        """Bring a refund to its end; nothing happens if it is there already.

        Args:
            refund_id: The refund.
            at: Now.
            heard_of: Whether the gateway may have heard of it before.

        Raises:
            PaymentUnknown: The gateway gave no clear answer.
        """
        with self._database.reading() as repository:
            refund = repository.refund_by_id(refund_id)
            if refund is None or refund.status is not RefundStatus.PENDING:
                return
            charge = repository.charge_by_id(refund.charge_id)
            if charge is None:
                raise LedgerConflict(f"refund {refund_id} has no charge")
            shopper_id = repository.session(refund.session_id).shopper_id
            hold = None if charge.hold_id is None else repository.hold_by_id(charge.hold_id)
            given_minor = sum(
                r.amount_minor
                for r in repository.refunds(refund.session_id)
                if r.charge_id == charge.charge_id and r.status is RefundStatus.POSTED
            )
        payment = Payment(
            charge.gateway_reference or "",
            _request(charge if hold is None else hold, shopper_id),
            PaymentState.CAPTURED,
            charge.amount_minor,
            given_minor,
        )
        found_minor = self._gateway.look_up_refund(refund.idempotency_key) if heard_of else None
        if found_minor is None:
            try:
                self._gateway.refund(payment, refund.amount_minor, refund.idempotency_key)
            except PaymentDeclined as error:
                # Nothing may be left to give because it was given under this very key, which the gateway forgot.
                if self._gateway.look_up_refund(refund.idempotency_key) != refund.amount_minor:
                    _log.error("refund %s: %s", refund_id, error)
                    self._write_refund(replace(refund, status=RefundStatus.FAILED), at)
                    return
        elif found_minor != refund.amount_minor:
            raise PaymentUnknown(f"{refund.idempotency_key}: the gateway knows another refund under this key")
        self._write_refund(replace(refund, status=RefundStatus.POSTED, gateway_reference=charge.gateway_reference), at)

    def _write_refund(self, result: Refund, at: datetime) -> None:
        """Write what became of a refund, unless somebody else did so meanwhile."""
        with self._database.transaction() as repository:
            session = repository.session(result.session_id)
            current = repository.refund_by_id(result.refund_id)
            if current is None or current.status is not RefundStatus.PENDING:
                return
            repository.change_refund(result)
            outbox.finish(repository, result.idempotency_key, at)
            pending = _pending_transfer(repository, result.refund_id, _REFUND)
            if result.status is RefundStatus.POSTED:
                repository.add_transfer(pending.post(uuid5(result.refund_id, f"{_REFUND}:post"), at))
                tell(repository, "refund.posted", result.refund_id, session, at)
                return
            repository.add_transfer(pending.void(uuid5(result.refund_id, f"{_REFUND}:void"), at))
            repository.add_transfer(
                Transfer(
                    uuid5(result.refund_id, "due"),
                    pending.debit_account_id,
                    REFUNDS_DUE,
                    result.amount_minor,
                    result.currency,
                    TransferCode.REFUND,
                    TransferPhase.IMMEDIATE,
                    at,
                )
            )
            reason = "the gateway refused a refund: it has to be paid another way"
            repository.add_flag(ReviewFlag(session.session_id, reason, result.refund_id, at))


def end_unused(repository: Repository, session: Session, currency: str, at: datetime) -> None:
    """End a visit that nobody came for."""
    ended = replace(session, status=SessionStatus.ABANDONED, closed_at=at)
    repository.change_session(ended)
    repository.add_receipt(Receipt.of(ended, (), currency, at))


_Step = Callable[..., None]
_Read = TypeVar("_Read")


def _charge_message(charge: Charge) -> str:
    return f"charge:{charge.charge_id}"


def _void_message(hold: Hold) -> str:
    return f"void:{hold.hold_id}"


def _hold_payload(hold: Hold) -> dict[str, str]:
    return {"hold_id": str(hold.hold_id), "session_id": str(hold.session_id)}


def _field(payload: Mapping[str, Any], name: str) -> str:
    return str(payload[name])


def _request(asked: Charge | Hold, shopper_id: str) -> PaymentRequest:
    return PaymentRequest(asked.idempotency_key, shopper_id, asked.amount_minor, asked.currency)


def _pending_transfer(repository: Repository, source_id: UUID, name: str) -> Transfer:
    pending = repository.transfer(uuid5(source_id, name))
    if pending is None:
        raise LedgerConflict(f"{name} {source_id} has no pending transfer")
    return pending
