"""Taking money: what the shop asks of a payment gateway, and a gateway that holds everything in memory.

A payment goes in two steps, a hold (``authorise``) and its ``capture``; ``void`` lets a hold go. Each call may succeed,
be declined for good (``PaymentDeclined``), or end in silence (``PaymentUnknown``), when the money may or may not have
moved. Whoever calls again after a silence uses the same idempotency key, and looks the payment up first: a gateway may
forget old keys.
"""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from cart.errors import IdempotencyKeyReused, PaymentDeclined, PaymentUnknown
from cart.events import check_aware
from cart.money import minor_digits


class ChargeStatus(StrEnum):
    """Where a charge stands."""

    PENDING = "pending"
    """Its outcome is not known; the gateway may or may not have heard of it."""
    POSTED = "posted"
    """The money is ours."""
    VOIDED = "voided"
    """The hold was let go; nothing was taken."""
    FAILED = "failed"
    """The gateway declined for good; nothing was taken."""


class ChargeKind(StrEnum):
    """What a charge is for."""

    CAPTURE = "capture"


@dataclass(frozen=True, slots=True)
class Charge:
    """One try to take money for a visit.

    Attributes:
        charge_id: Identity of the charge.
        session_id: The visit.
        kind: What it is for.
        sequence: 1 is the capture at the exit. A visit has at most one pending or posted charge of a kind and sequence.
        amount_minor: Positive, minor unit.
        currency: ISO 4217 code.
        status: Where it stands.
        created_at: When it was written down, before the gateway was called; timezone-aware.
        gateway_reference: The gateway's own name for the payment; None before it is known.
    """

    charge_id: UUID
    session_id: UUID
    kind: ChargeKind
    sequence: int
    amount_minor: int
    currency: str
    status: ChargeStatus
    created_at: datetime
    gateway_reference: str | None = None

    def __post_init__(self) -> None:
        check_aware("Charge.created_at", self.created_at)
        _check_amount("Charge", self.amount_minor, self.currency)
        if self.sequence < 1:
            raise ValueError(f"Charge.sequence: expected at least 1, got {self.sequence}")

    @property
    def idempotency_key(self) -> str:
        """The key of every gateway call for this charge; a new key needs a new charge."""
        return idempotency_key(self.charge_id)


def idempotency_key(charge_id: UUID) -> str:
    """The one idempotency key of a charge."""
    return f"charge:{charge_id}"


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A hold to ask the gateway for.

    Attributes:
        idempotency_key: The same on every try for the same charge.
        shopper_id: Whose account pays.
        amount_minor: Positive, minor unit.
        currency: ISO 4217 code.
    """

    idempotency_key: str
    shopper_id: str
    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        _check_amount("PaymentRequest", self.amount_minor, self.currency)


class PaymentState(StrEnum):
    """Where a payment stands at the gateway."""

    AUTHORISED = "authorised"
    CAPTURED = "captured"
    VOIDED = "voided"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Payment:
    """What the gateway knows of a payment.

    Attributes:
        reference: The gateway's own name for it.
        request: What was asked for.
        state: Where it stands.
    """

    reference: str
    request: PaymentRequest
    state: PaymentState


class PaymentGateway(Protocol):
    """Whoever moves the money. Every call may raise ``PaymentUnknown``, and each may be repeated safely."""

    def authorise(self, request: PaymentRequest) -> Payment:
        """Hold an amount on the shopper's account.

        A repeat under the same idempotency key gives the same payment in its present state.

        Raises:
            PaymentDeclined: No, for good.
            PaymentUnknown: No clear answer.
            IdempotencyKeyReused: The key was used for another payment.
        """
        ...

    def capture(self, payment: Payment) -> Payment:
        """Take a held amount; a repeat changes nothing.

        Raises:
            PaymentDeclined: The hold is gone: expired, voided or declined.
            PaymentUnknown: No clear answer.
        """
        ...

    def void(self, payment: Payment) -> Payment:
        """Let a hold go; a repeat changes nothing.

        Raises:
            PaymentDeclined: The amount was captured already.
            PaymentUnknown: No clear answer.
        """
        ...

    def look_up(self, idempotency_key: str) -> Payment | None:
        """Find the payment made under a key, also an old one; None if the gateway never heard of it.

        Raises:
            PaymentUnknown: No clear answer.
        """
        ...


class GatewayCall(StrEnum):
    """Which call of a gateway."""

    AUTHORISE = "authorise"
    CAPTURE = "capture"
    VOID = "void"
    LOOK_UP = "look_up"


class Fault(StrEnum):
    """What can go wrong with one call of the fake gateway."""

    DECLINE = "decline"
    """A definite no. A declined capture lets the hold go. Looking up cannot be declined and answers as usual."""
    LOST_REQUEST = "lost_request"
    """The call timed out and never arrived."""
    LOST_REPLY = "lost_reply"
    """The call was carried out, but its answer never came."""


def no_fault(call: GatewayCall, idempotency_key: str) -> Fault | None:
    """Every call succeeds."""
    return None


class FakeGateway:
    """A gateway that keeps its payments in memory and fails as told; safe to call from several threads.

    Args:
        fault: Asked once before every call, with the call and its idempotency key, what shall go wrong with it.
        declined_shoppers: Accounts that never pay.

    >>> gateway = FakeGateway()
    >>> payment = gateway.authorise(PaymentRequest("charge:1", "ada", 199, "USD"))
    >>> gateway.capture(payment).state, gateway.captured_minor("USD")
    (<PaymentState.CAPTURED: 'captured'>, 199)
    """

    def __init__(
        self,
        fault: Callable[[GatewayCall, str], Fault | None] = no_fault,
        declined_shoppers: Collection[str] = (),
    ) -> None:
        self._fault = fault
        self._declined_shoppers = frozenset(declined_shoppers)
        self._lock = threading.RLock()
        self._payments: dict[str, Payment] = {}
        self._reference_by_key: dict[str, str] = {}

    @property
    def payments(self) -> tuple[Payment, ...]:
        """Every payment ever asked for, oldest first."""
        with self._lock:
            return tuple(self._payments.values())

    def captured_minor(self, currency: str) -> int:
        """Everything taken in one currency, in its minor unit."""
        return sum(
            payment.request.amount_minor
            for payment in self.payments
            if payment.state is PaymentState.CAPTURED and payment.request.currency == currency
        )

    def forget_keys(self) -> None:
        """Forget idempotency keys, as real gateways do after a day; payments can still be looked up."""
        with self._lock:
            self._reference_by_key.clear()

    def authorise(self, request: PaymentRequest) -> Payment:
        """Hold an amount; see ``PaymentGateway.authorise``."""
        return self._call(
            GatewayCall.AUTHORISE, request.idempotency_key, lambda declined: self._authorised(request, declined)
        )

    def capture(self, payment: Payment) -> Payment:
        """Take a held amount; see ``PaymentGateway.capture``."""
        return self._call(
            GatewayCall.CAPTURE, payment.request.idempotency_key, lambda declined: self._captured(payment, declined)
        )

    def void(self, payment: Payment) -> Payment:
        """Let a hold go; see ``PaymentGateway.void``."""
        return self._call(
            GatewayCall.VOID, payment.request.idempotency_key, lambda declined: self._voided(payment, declined)
        )

    def look_up(self, idempotency_key: str) -> Payment | None:
        """Find a payment by its key; see ``PaymentGateway.look_up``."""
        with self._lock:
            if self._fault(GatewayCall.LOOK_UP, idempotency_key) in (Fault.LOST_REQUEST, Fault.LOST_REPLY):
                raise PaymentUnknown(f"{GatewayCall.LOOK_UP} of {idempotency_key} timed out")
            found = [p for p in self._payments.values() if p.request.idempotency_key == idempotency_key]
            return found[0] if found else None

    def _call(self, call: GatewayCall, key: str, carry_out: Callable[[bool], Payment]) -> Payment:
        # The lock is held while the fault is asked for, so that a scripted list of faults is used up in order.
        with self._lock:
            fault = self._fault(call, key)
            if fault is Fault.LOST_REQUEST:
                raise PaymentUnknown(f"{call} of {key} timed out")
            try:
                payment = carry_out(fault is Fault.DECLINE)
            except PaymentDeclined:
                if fault is Fault.LOST_REPLY:
                    raise PaymentUnknown(f"{call} of {key} timed out") from None
                raise
            if fault is Fault.LOST_REPLY:
                raise PaymentUnknown(f"{call} of {key} timed out")
            return payment

    def _authorised(self, request: PaymentRequest, declined: bool) -> Payment:
        reference = self._reference_by_key.get(request.idempotency_key)
        if reference is not None:
            payment = self._payments[reference]
            if payment.request != request:
                raise IdempotencyKeyReused(f"{request.idempotency_key} was used for another payment")
        else:
            refused = declined or request.shopper_id in self._declined_shoppers
            state = PaymentState.DECLINED if refused else PaymentState.AUTHORISED
            payment = Payment(f"fake-{len(self._payments) + 1}", request, state)
            self._payments[payment.reference] = payment
            self._reference_by_key[request.idempotency_key] = payment.reference
        if payment.state is PaymentState.DECLINED:
            raise PaymentDeclined(f"{request.idempotency_key}: the account does not pay")
        return payment

    def _captured(self, payment: Payment, declined: bool) -> Payment:
        known = self._known(payment)
        if known.state is PaymentState.AUTHORISED:
            state = PaymentState.VOIDED if declined else PaymentState.CAPTURED
            known = self._payments[known.reference] = replace(known, state=state)
        if known.state is not PaymentState.CAPTURED:
            raise PaymentDeclined(f"{known.request.idempotency_key}: there is no hold, the payment is {known.state}")
        return known

    def _voided(self, payment: Payment, declined: bool) -> Payment:
        known = self._known(payment)
        if known.state is PaymentState.CAPTURED or declined:
            raise PaymentDeclined(f"{known.request.idempotency_key}: cannot be voided, the payment is {known.state}")
        if known.state is PaymentState.AUTHORISED:
            known = self._payments[known.reference] = replace(known, state=PaymentState.VOIDED)
        return known

    def _known(self, payment: Payment) -> Payment:
        try:
            return self._payments[payment.reference]
        except KeyError:
            raise PaymentDeclined(f"{payment.reference}: no such payment") from None


def _check_amount(what: str, amount_minor: int, currency: str) -> None:
    minor_digits(currency)
    if amount_minor <= 0:
        raise ValueError(f"{what}.amount_minor: expected a positive number, got {amount_minor}")
