"""Taking money: what the shop asks of a payment gateway, and a gateway that holds everything in memory.

A payment goes in two steps, a hold (``authorise``) and its ``capture``, which may take less than was held and lets the
rest go; ``void`` lets the whole hold go, ``refund`` gives back some of what was captured. Each call may succeed, be
declined for good (``PaymentDeclined``), or end in silence (``PaymentUnknown``), when the money may or may not have
moved; an error 500 is silence too, however often a gateway replays it. Whoever calls again after a silence uses the
same idempotency key, and looks the payment up first: a gateway may forget old keys.
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
    """What a visit cost, or the difference that a correction makes."""
    DEBT = "debt"
    """What a declined payment left owed, paid later."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One try to take money for a visit.

    Attributes:
        charge_id: Identity of the charge.
        session_id: The visit.
        kind: What it is for.
        sequence: 1 is the capture at the exit; 2 takes what exceeds the hold; corrections go on from there. A visit has
            at most one pending or posted charge of a kind and sequence.
        amount_minor: Positive, minor unit.
        currency: ISO 4217 code.
        status: Where it stands.
        created_at: When it was written down, before the gateway was called; timezone-aware.
        gateway_reference: The gateway's own name for the payment; None before it is known.
        hold_id: The hold that is captured; None for a payment of its own.
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
    hold_id: UUID | None = None

    def __post_init__(self) -> None:
        check_aware("Charge.created_at", self.created_at)
        _check_amount("Charge", self.amount_minor, self.currency)
        if self.sequence < 1:
            raise ValueError(f"Charge.sequence: expected at least 1, got {self.sequence}")

    @property
    def idempotency_key(self) -> str:
        """The key of every gateway call for this charge, its hold's if it has one; a new key needs a new charge."""
        return idempotency_key(self.charge_id) if self.hold_id is None else hold_key(self.hold_id)


def idempotency_key(charge_id: UUID) -> str:
    """The one idempotency key of a charge with a payment of its own."""
    return f"charge:{charge_id}"


def hold_key(hold_id: UUID) -> str:
    """The one idempotency key of a hold, and of the charge that captures it."""
    return f"{_HOLD_KEY}{hold_id}"


def hold_of_key(key: str) -> UUID | None:
    """The hold that a key belongs to; None for the key of anything else."""
    return UUID(key.removeprefix(_HOLD_KEY)) if key.startswith(_HOLD_KEY) else None


class HoldStatus(StrEnum):
    """Where a hold stands."""

    PENDING = "pending"
    """Its outcome is not known; the gateway may or may not have heard of it."""
    HELD = "held"
    """The money is set aside for us."""
    CAPTURED = "captured"
    """What the visit cost was taken of it; the rest was let go."""
    RELEASING = "releasing"
    """It is to be let go; the gateway has not confirmed that yet."""
    VOIDED = "voided"
    """It was let go; nothing was taken."""
    FAILED = "failed"
    """The gateway declined for good, or never heard of it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside on a shopper's account while they shop.

    Attributes:
        hold_id: Identity of the hold.
        session_id: The visit; it has at most one hold.
        amount_minor: Positive, minor unit.
        currency: ISO 4217 code.
        status: Where it stands.
        created_at: When it was written down, before the gateway was called; timezone-aware.
        gateway_reference: The gateway's own name for the payment; None before it is known.
    """

    hold_id: UUID
    session_id: UUID
    amount_minor: int
    currency: str
    status: HoldStatus
    created_at: datetime
    gateway_reference: str | None = None

    def __post_init__(self) -> None:
        check_aware("Hold.created_at", self.created_at)
        _check_amount("Hold", self.amount_minor, self.currency)

    @property
    def idempotency_key(self) -> str:
        """The key of every gateway call for this hold, its capture included."""
        return hold_key(self.hold_id)


class RefundStatus(StrEnum):
    """Where a refund stands."""

    PENDING = "pending"
    """Its outcome is not known; the gateway may or may not have heard of it."""
    POSTED = "posted"
    """The money went back."""
    FAILED = "failed"
    """The gateway declined for good; the store owes the money and pays it another way."""


class RefundKind(StrEnum):
    """What a refund is for."""

    CORRECTION = "correction"
    """A corrected receipt is cheaper than what was paid."""
    GOODWILL = "goodwill"
    """Money given back with the receipt as it is."""


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back of one posted charge.

    Attributes:
        refund_id: Identity of the refund.
        session_id: The visit.
        charge_id: The charge it is taken from.
        amount_minor: Positive, minor unit.
        currency: ISO 4217 code.
        status: Where it stands.
        kind: What it is for.
        reason: One sentence.
        created_at: When it was written down, before the gateway was called; timezone-aware.
        cause_id: The decision behind it; None if there is no such thing.
        gateway_reference: The gateway's own name for the payment it was taken from; None before it is posted.
    """

    refund_id: UUID
    session_id: UUID
    charge_id: UUID
    amount_minor: int
    currency: str
    status: RefundStatus
    kind: RefundKind
    reason: str
    created_at: datetime
    cause_id: UUID | None = None
    gateway_reference: str | None = None

    def __post_init__(self) -> None:
        check_aware("Refund.created_at", self.created_at)
        _check_amount("Refund", self.amount_minor, self.currency)
        if not self.reason:
            raise ValueError("Refund.reason: expected a sentence, got nothing")

    @property
    def idempotency_key(self) -> str:
        """The key of every gateway call for this refund; a new key needs a new refund."""
        return f"refund:{self.refund_id}"


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
        captured_minor: How much was taken, minor unit; 0 unless it is captured.
        refunded_minor: How much of that was given back, minor unit.
    """

    reference: str
    request: PaymentRequest
    state: PaymentState
    captured_minor: int = 0
    refunded_minor: int = 0


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

    def capture(self, payment: Payment, amount_minor: int | None = None) -> Payment:
        """Take a held amount, or part of it and let the rest go; a repeat changes nothing.

        Args:
            payment: The hold.
            amount_minor: Positive, at most what is held; None for all of it.

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

    def refund(self, payment: Payment, amount_minor: int, idempotency_key: str) -> Payment:
        """Give back some of what was captured; a repeat under the same key changes nothing.

        Args:
            payment: What was captured.
            amount_minor: Positive, minor unit.
            idempotency_key: The refund's own, the same on every try.

        Returns:
            The payment after it.

        Raises:
            PaymentDeclined: No, for good: it is more than was taken and not given back, or the account is gone.
            PaymentUnknown: No clear answer.
            IdempotencyKeyReused: The key was used for another refund.
        """
        ...

    def look_up(self, idempotency_key: str) -> Payment | None:
        """Find the payment made under a key, also an old one; None if the gateway never heard of it.

        Raises:
            PaymentUnknown: No clear answer.
        """
        ...

    def look_up_refund(self, idempotency_key: str) -> int | None:
        """Find the refund made under a key, also an old one.

        Returns:
            What was given back, minor unit; None if the gateway carried out no such refund.

        Raises:
            PaymentUnknown: No clear answer.
        """
        ...


class GatewayCall(StrEnum):
    """Which call of a gateway."""

    AUTHORISE = "authorise"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"
    LOOK_UP = "look_up"
    LOOK_UP_REFUND = "look_up_refund"


class Fault(StrEnum):
    """What can go wrong with one call of the fake gateway."""

    DECLINE = "decline"
    """A definite no. A declined capture lets the hold go. Looking up cannot be declined and answers as usual."""
    LOST_REQUEST = "lost_request"
    """The call timed out and never arrived."""
    LOST_REPLY = "lost_reply"
    """The call was carried out, but its answer never came."""
    STORED_ERROR = "stored_error"
    """The call was carried out and answered by an error 500, and so is every repeat until its key is forgotten."""


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
    >>> gateway.refund(payment, 50, "refund:1").refunded_minor, gateway.refunded_minor("USD")
    (50, 50)
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
        self._refunds: list[tuple[str, str, int]] = []
        self._refund_by_key: dict[str, tuple[str, int]] = {}
        self._stored_errors: set[tuple[GatewayCall, str]] = set()

    @property
    def payments(self) -> tuple[Payment, ...]:
        """Every payment ever asked for, oldest first."""
        with self._lock:
            return tuple(self._payments.values())

    def captured_minor(self, currency: str) -> int:
        """Everything taken in one currency, in its minor unit."""
        return sum(payment.captured_minor for payment in self.payments if payment.request.currency == currency)

    def refunded_minor(self, currency: str) -> int:
        """Everything given back in one currency, in its minor unit."""
        return sum(payment.refunded_minor for payment in self.payments if payment.request.currency == currency)

    def forget_keys(self) -> None:
        """Forget idempotency keys, as real gateways do after a day; payments can still be looked up."""
        with self._lock:
            self._reference_by_key.clear()
            self._refund_by_key.clear()
            self._stored_errors.clear()

    def authorise(self, request: PaymentRequest) -> Payment:
        """Hold an amount; see ``PaymentGateway.authorise``."""
        return self._call(
            GatewayCall.AUTHORISE, request.idempotency_key, lambda declined: self._authorised(request, declined)
        )

    def capture(self, payment: Payment, amount_minor: int | None = None) -> Payment:
        """Take a held amount; see ``PaymentGateway.capture``.

        Raises:
            ValueError: The amount is not positive, or more than is held.
        """
        amount = payment.request.amount_minor if amount_minor is None else amount_minor
        if not 1 <= amount <= payment.request.amount_minor:
            raise ValueError(f"amount_minor: expected 1 to {payment.request.amount_minor}, got {amount}")
        return self._call(
            GatewayCall.CAPTURE,
            payment.request.idempotency_key,
            lambda declined: self._captured(payment, amount, declined),
        )

    def void(self, payment: Payment) -> Payment:
        """Let a hold go; see ``PaymentGateway.void``."""
        return self._call(
            GatewayCall.VOID, payment.request.idempotency_key, lambda declined: self._voided(payment, declined)
        )

    def refund(self, payment: Payment, amount_minor: int, idempotency_key: str) -> Payment:
        """Give back some of what was captured; see ``PaymentGateway.refund``.

        Raises:
            ValueError: The amount is not positive.
        """
        _check_amount("refund", amount_minor, payment.request.currency)
        return self._call(
            GatewayCall.REFUND,
            idempotency_key,
            lambda declined: self._given_back(payment, amount_minor, idempotency_key, declined),
        )

    def look_up(self, idempotency_key: str) -> Payment | None:
        """Find a payment by its key; see ``PaymentGateway.look_up``."""
        with self._lock:
            self._ask(GatewayCall.LOOK_UP, idempotency_key)
            found = [p for p in self._payments.values() if p.request.idempotency_key == idempotency_key]
            return found[0] if found else None

    def look_up_refund(self, idempotency_key: str) -> int | None:
        """Find what was given back under a key; see ``PaymentGateway.look_up_refund``."""
        with self._lock:
            self._ask(GatewayCall.LOOK_UP_REFUND, idempotency_key)
            found = [amount_minor for _, key, amount_minor in self._refunds if key == idempotency_key]
            return found[0] if found else None

    def _ask(self, call: GatewayCall, key: str) -> None:
        if self._fault(call, key) not in (None, Fault.DECLINE):
            raise PaymentUnknown(f"{call} of {key} timed out")

    def _call(self, call: GatewayCall, key: str, carry_out: Callable[[bool], Payment]) -> Payment:
        # The lock is held while the fault is asked for, so that a scripted list of faults is used up in order.
        with self._lock:
            fault = self._fault(call, key)
            if fault is Fault.LOST_REQUEST:
                raise PaymentUnknown(f"{call} of {key} timed out")
            if (call, key) in self._stored_errors:
                raise PaymentUnknown(f"{call} of {key}: error 500")
            if fault is Fault.STORED_ERROR:
                self._stored_errors.add((call, key))
            silent = fault in (Fault.LOST_REPLY, Fault.STORED_ERROR)
            try:
                payment = carry_out(fault is Fault.DECLINE)
            except PaymentDeclined:
                if silent:
                    raise PaymentUnknown(f"{call} of {key} was not answered") from None
                raise
            if silent:
                raise PaymentUnknown(f"{call} of {key} was not answered")
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

    def _captured(self, payment: Payment, amount_minor: int, declined: bool) -> Payment:
        known = self._known(payment)
        if known.state is PaymentState.AUTHORISED:
            state, taken_minor = (PaymentState.VOIDED, 0) if declined else (PaymentState.CAPTURED, amount_minor)
            known = self._payments[known.reference] = replace(known, state=state, captured_minor=taken_minor)
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

    def _given_back(self, payment: Payment, amount_minor: int, key: str, declined: bool) -> Payment:
        known = self._known(payment)
        before = self._refund_by_key.get(key)
        if before is not None:
            if before != (known.reference, amount_minor):
                raise IdempotencyKeyReused(f"{key} was used for another refund")
            return known
        left_minor = known.captured_minor - known.refunded_minor
        if declined or amount_minor > left_minor:
            raise PaymentDeclined(f"{key}: cannot give {amount_minor} back, {left_minor} are left of the payment")
        known = replace(known, refunded_minor=known.refunded_minor + amount_minor)
        self._payments[known.reference] = known
        self._refunds.append((known.reference, key, amount_minor))
        self._refund_by_key[key] = (known.reference, amount_minor)
        return known

    def _known(self, payment: Payment) -> Payment:
        try:
            return self._payments[payment.reference]
        except KeyError:
            raise PaymentDeclined(f"{payment.reference}: no such payment") from None


_HOLD_KEY = "hold:"


def _check_amount(what: str, amount_minor: int, currency: str) -> None:
    minor_digits(currency)
    if amount_minor <= 0:
        raise ValueError(f"{what}.amount_minor: expected a positive number, got {amount_minor}")
