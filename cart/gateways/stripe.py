"""Stripe as the payment gateway: holds on a saved payment method, captured at the exit; and its webhooks, checked.

Every payment is a PaymentIntent with manual capture, made off-session on a customer and payment method that Stripe
keeps. No card data passes through the shop: an account knows only Stripe's own names for who pays and how
(``cus_.../pm_...``).

Stripe forgets idempotency keys after 24 hours, so a payment carries its key in its metadata, by which it is searched.
The search sees new payments only after about a minute (an hour, at worst), so those of the last hours are listed too.
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

import stripe

from cart.errors import IdempotencyKeyReused, PaymentDeclined, PaymentUnknown
from cart.gateways.incoming import (
    DEFAULT_TOLERANCE_S,
    ForgedWebhookError,
    IncomingEvent,
    check_age,
    read_json_object,
)
from cart.payments import Payment, PaymentRequest, PaymentState
from cart.repository import Database
from cart.tables import AccountRow

_log = logging.getLogger(__name__)

KEY = "tillfree_key"
"""Metadata in which a payment or a refund carries its idempotency key, which outlives Stripe's own memory of it."""
SHOPPER = "tillfree_shopper"
PROVIDER = "stripe"

_REFERENCE = re.compile(r"(cus_[A-Za-z0-9]+)/(pm_[A-Za-z0-9]+)")
_STATES = {
    "requires_capture": PaymentState.AUTHORISED,
    "succeeded": PaymentState.CAPTURED,
    "canceled": PaymentState.VOIDED,
    # The hold was refused, or the bank wants to see the shopper, who is not there.
    "requires_payment_method": PaymentState.DECLINED,
    "requires_action": PaymentState.DECLINED,
}
# Where nobody can pay whatever is tried: the customer or the payment method is gone, or cannot be used.
_NO_PAYER = frozenset({"resource_missing", "payment_method_customer_decline", "payment_method_unactivated"})
_WRONG_STATE = frozenset(
    {"payment_intent_unexpected_state", "charge_already_refunded", "charge_already_captured", "charge_not_refundable"}
)
_HOLD_GONE = frozenset({"charge_expired_for_capture", "capture_charge_authorization_expired"})


@dataclass(frozen=True, slots=True)
class StripePayer:
    """Who pays and how, by Stripe's names.

    Attributes:
        customer: ``cus_...``.
        payment_method: ``pm_...``, attached to that customer.
    """

    customer: str
    payment_method: str

    @classmethod
    def parse(cls, reference: str) -> Self:
        """Read an account's payment reference.

        Raises:
            ValueError: It is none of Stripe's.

        >>> StripePayer.parse("cus_9s6XKzkNRiz8i3/pm_1MqLiJLkdIwHu7ix").customer
        'cus_9s6XKzkNRiz8i3'
        """
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise ValueError("payment reference: expected cus_.../pm_...")  # not repeated: it might be a card's number
        return cls(match[1], match[2])


def payer_of_account(database: Database) -> Callable[[str], StripePayer | None]:
    """Look payers up in the shop's accounts.

    Args:
        database: Where accounts are kept.

    Returns:
        What gives an account's payer by the account's id; None if it has none, or one that Stripe cannot have issued.
    """

    def look_up(shopper_id: str) -> StripePayer | None:
        try:
            account_id = UUID(shopper_id)
        except ValueError:
            return None
        with database.reading() as repository:
            account = repository.sql.get(AccountRow, account_id)
            reference = None if account is None else account.payment_method
        try:
            return None if reference is None else StripePayer.parse(reference)
        except ValueError:
            return None

    return look_up


class StripeGateway:
    """A ``PaymentGateway`` through Stripe's own library. Safe to call from several threads.

    Args:
        api_key: A secret or, better, a restricted key with rights to PaymentIntents and Refunds alone.
        payer: Finds who pays, by the shopper's id; None if nobody does.
        now: The time, timezone-aware; bounds how far back refunds and new payments are listed.
        timeout_s: How long to wait for each piece of an answer.
        api_base: Where Stripe is, if not at its own address, as for tests.
        refunds_looked_back: How long ago a refund may have been made to be found.

    Raises:
        ValueError: The key is empty, or the time-out is not positive.
    """

    def __init__(
        self,
        api_key: str,
        payer: Callable[[str], StripePayer | None],
        now: Callable[[], datetime],
        timeout_s: float = 20.0,
        api_base: str | None = None,
        refunds_looked_back: timedelta = timedelta(days=40),
    ) -> None:
        if not api_key.strip():
            raise ValueError("api_key: expected one of Stripe's secret keys, got nothing")
        if timeout_s <= 0:
            raise ValueError(f"timeout_s: expected a positive number, got {timeout_s}")
        self._http = stripe.RequestsClient(timeout=timeout_s)
        # Who calls us tries again and looks first; silent tries of the library would only hide what happened.
        self._stripe = stripe.StripeClient(
            api_key,
            max_network_retries=0,
            http_client=self._http,
            base_addresses={} if api_base is None else {"api": api_base},
        )
        self._payer = payer
        self._now = now
        self._refunds_looked_back = refunds_looked_back

    def close(self) -> None:
        """Close all connections."""
        self._http.close()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def authorise(self, request: PaymentRequest) -> Payment:
        """Hold an amount on the shopper's saved payment method; see ``PaymentGateway.authorise``."""
        key = request.idempotency_key
        payer = self._payer(request.shopper_id)
        if payer is None:
            raise PaymentDeclined(f"{key}: the account has no way to pay")
        with _told_apart(key):
            intent = self._stripe.v1.payment_intents.create(
                {
                    "amount": request.amount_minor,
                    "currency": request.currency.lower(),
                    "customer": payer.customer,
                    "payment_method": payer.payment_method,
                    "capture_method": "manual",
                    "confirm": True,
                    "off_session": True,
                    "metadata": {KEY: key, SHOPPER: request.shopper_id},
                },
                {"idempotency_key": key},
            )
        # A repeat is answered with what was true the first time; what is true now has to be asked for.
        if _is_replay(intent):
            intent = self._fetch(intent.id, key)
        payment = _payment(intent)
        if payment.state is PaymentState.DECLINED:
            raise PaymentDeclined(f"{key}: the account does not pay")
        return payment

    def capture(self, payment: Payment, amount_minor: int | None = None) -> Payment:
        """Take a held amount, or a part of it and let the rest go; see ``PaymentGateway.capture``."""
        key = payment.request.idempotency_key
        wanted = payment.request.amount_minor if amount_minor is None else amount_minor
        try:
            with _told_apart(key):
                # Without a key of ours: the payment's own state keeps it from being captured twice, while a kept 500
                # would bar the way for a day.
                intent = self._stripe.v1.payment_intents.capture(payment.reference, {"amount_to_capture": wanted})
        except _StateConflictError:
            intent = self._fetch(payment.reference, key)
        found = _payment(intent)
        if found.state is PaymentState.AUTHORISED:
            raise PaymentUnknown(f"{key}: Stripe refused to capture a hold that it still has")
        if found.state is not PaymentState.CAPTURED:
            raise PaymentDeclined(f"{key}: there is no hold, the payment is {found.state}")
        if found.captured_minor != wanted:
            raise PaymentUnknown(f"{key}: {found.captured_minor} was captured before, expected {wanted}")
        return found

    def void(self, payment: Payment) -> Payment:
        """Let a hold go; see ``PaymentGateway.void``."""
        key = payment.request.idempotency_key
        try:
            with _told_apart(key):
                intent = self._stripe.v1.payment_intents.cancel(payment.reference)
        except _StateConflictError:
            intent = self._fetch(payment.reference, key)
        found = _payment(intent)
        if found.state is PaymentState.AUTHORISED:
            raise PaymentUnknown(f"{key}: Stripe refused to let a hold go that it still has")
        if found.state is PaymentState.CAPTURED:
            raise PaymentDeclined(f"{key}: cannot be voided, the payment is {found.state}")
        return found

    def refund(self, payment: Payment, amount_minor: int, idempotency_key: str) -> Payment:
        """Give something back; see ``PaymentGateway.refund``."""
        try:
            with _told_apart(idempotency_key):
                refund = self._stripe.v1.refunds.create(
                    {
                        "payment_intent": payment.reference,
                        "amount": amount_minor,
                        "metadata": {KEY: idempotency_key},
                    },
                    {"idempotency_key": idempotency_key},
                )
        except _StateConflictError as error:
            raise PaymentDeclined(f"{idempotency_key}: there is nothing left to give back") from error
        if refund.status in ("failed", "canceled"):
            raise PaymentDeclined(f"{idempotency_key}: the refund {refund.status}")
        return _payment(self._fetch(payment.reference, idempotency_key))

    def look_up(self, idempotency_key: str) -> Payment | None:
        """Find a payment by the key in its metadata; see ``PaymentGateway.look_up``.

        Of several, the one that took money counts, else the first that still holds some.
        """
        quoted = idempotency_key.replace("\\", "\\\\").replace("'", "\\'")
        intents = self._stripe.v1.payment_intents
        with _told_apart(idempotency_key):
            query = f"metadata['{KEY}']:'{quoted}'"
            found = [intent.id for intent in intents.search({"query": query, "limit": 100}).auto_paging_iter()]
            if not found:
                since = int((self._now() - _SEARCH_LAG).timestamp())
                found = [
                    intent.id
                    for intent in intents.list({"created": {"gte": since}, "limit": 100}).auto_paging_iter()
                    if _metadata(intent).get(KEY) == idempotency_key
                ]
        # What was found may be a copy an hour old: it says which payment, and the payment itself says how it stands.
        payments = [_payment(self._fetch(reference, idempotency_key)) for reference in reversed(found)]
        order = (PaymentState.CAPTURED, PaymentState.AUTHORISED)
        ranked = sorted(payments, key=lambda made: order.index(made.state) if made.state in order else len(order))
        return ranked[0] if ranked else None

    def look_up_refund(self, idempotency_key: str) -> int | None:
        """What was given back under a key; see ``PaymentGateway.look_up_refund``.

        Stripe does not search refunds, so those of the last weeks are listed.
        """
        since = int((self._now() - self._refunds_looked_back).timestamp())
        total, known = 0, False
        with _told_apart(idempotency_key):
            for refund in self._stripe.v1.refunds.list({"created": {"gte": since}, "limit": 100}).auto_paging_iter():
                if _metadata(refund).get(KEY) == idempotency_key and refund.status not in ("failed", "canceled"):
                    total, known = total + refund.amount, True
        return total if known else None

    def _fetch(self, reference: str, key: str) -> stripe.PaymentIntent:
        with _told_apart(key):
            return self._stripe.v1.payment_intents.retrieve(reference, {"expand": _EXPANDED})


_EXPANDED = ["latest_charge"]
# Twice what Stripe gives as the worst case.
_SEARCH_LAG = timedelta(hours=2)


class _StateConflictError(PaymentUnknown):
    """Stripe says that the payment is not in a state for that; whoever can, asks which it is in."""


@contextmanager
def _told_apart(key: str) -> Iterator[None]:
    """Sort Stripe's errors into a definite no, a wrong key, and everything else, which is not known."""
    try:
        yield
    except stripe.CardError as error:
        raise PaymentDeclined(f"{key}: {error.code}") from error
    except stripe.IdempotencyError as error:
        raise IdempotencyKeyReused(f"{key} was used for another payment") from error
    except stripe.InvalidRequestError as error:
        if error.code in _HOLD_GONE:
            raise PaymentDeclined(f"{key}: the hold is gone: {error.code}") from error
        if error.code in _NO_PAYER:
            raise PaymentDeclined(f"{key}: {error.code} {error.param or ''}".rstrip()) from error
        if error.param == "amount":
            # Less than Stripe takes at all, or more than is left to give back.
            raise PaymentDeclined(f"{key}: the amount is refused: {error.code}") from error
        if error.code in _WRONG_STATE:
            raise _StateConflictError(f"{key}: {error.code}") from error
        _log.error("%s: Stripe does not understand the request: %s", key, error.code)
        raise PaymentUnknown(f"{key}: Stripe refused the request: {error.code}") from error
    except stripe.StripeError as error:
        # Also a wrong API key and too many requests: nothing happened then, and once that is put right it can.
        raise PaymentUnknown(f"{key}: {type(error).__name__} {error.http_status or ''}".rstrip()) from error


def _metadata(thing: stripe.PaymentIntent | stripe.Refund) -> dict[str, str]:
    return {} if thing.metadata is None else thing.metadata.to_dict()


def _is_replay(intent: stripe.PaymentIntent) -> bool:
    answer = intent.last_response
    return answer is not None and answer.headers.get("Idempotent-Replayed") == "true"


def _payment(intent: stripe.PaymentIntent) -> Payment:
    """What a PaymentIntent says, in the shop's terms.

    Raises:
        PaymentUnknown: It is between two states, or none of ours.
    """
    metadata = _metadata(intent)
    key, shopper_id = metadata.get(KEY), metadata.get(SHOPPER)
    if not key or not shopper_id:
        raise PaymentUnknown(f"{intent.id}: Stripe answered with a payment that is not the shop's")
    state = _STATES.get(intent.status)
    if state is None:
        raise PaymentUnknown(f"{key}: the payment is still {intent.status}")
    charge = intent.latest_charge
    refunded_minor = charge.amount_refunded if isinstance(charge, stripe.Charge) else 0
    captured_minor = intent.amount_received if state is PaymentState.CAPTURED else 0
    request = PaymentRequest(key, shopper_id, intent.amount, intent.currency.upper())
    return Payment(intent.id, request, state, captured_minor, refunded_minor)


def read_stripe_webhook(
    body: bytes, signature: str | None, secret: str, at: datetime, tolerance_s: int = DEFAULT_TOLERANCE_S
) -> IncomingEvent:
    """Check a webhook of Stripe and say what it is about.

    The signature is checked by Stripe's library. Its age is checked here, both ways: the library takes a message that
    is dated in the future, with which a stolen message could be kept valid.

    Args:
        body: The request's body, byte for byte.
        signature: Its ``Stripe-Signature`` header.
        secret: The endpoint's signing secret, ``whsec_...``.
        at: Now, timezone-aware.
        tolerance_s: How far the message's time may be off, either way.

    Raises:
        ForgedWebhookError: It is not from Stripe, too old, from the future, or no event.
    """
    try:
        text = body.decode("utf-8")
        stripe.WebhookSignature.verify_header(text, signature, secret, tolerance=None)
    except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
        raise ForgedWebhookError("the signature is not Stripe's") from error
    # Of one that is signed: exactly one time, so that what is checked here is what was signed.
    times = re.findall(r"(?:^|,)t=(\d{1,12})(?=,|$)", signature or "")
    if len(times) != 1:
        raise ForgedWebhookError("the signature has no single time")
    check_age(int(times[0]), at, tolerance_s)
    event = read_json_object(body)
    event_id, kind = event.get("id"), event.get("type")
    if event.get("object") != "event" or not isinstance(event_id, str) or not isinstance(kind, str):
        raise ForgedWebhookError("expected an event, got something else")
    data = event.get("data")
    subject = data.get("object") if isinstance(data, dict) else None
    metadata = subject.get("metadata") if isinstance(subject, dict) else None
    key = metadata.get(KEY) if isinstance(metadata, dict) else None
    reference = None
    if isinstance(subject, dict):
        # A charge or a refund names its payment; a payment is its own subject.
        named = subject.get("id") if subject.get("object") == "payment_intent" else subject.get("payment_intent")
        reference = named if isinstance(named, str) else None
    return IncomingEvent(PROVIDER, event_id, kind, key if isinstance(key, str) else None, reference)
