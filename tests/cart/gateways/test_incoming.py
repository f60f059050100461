import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from cart.checkout import Checkout
from cart.gateways.incoming import (
    FAKE_PROVIDER,
    ForgedWebhookError,
    IncomingEvent,
    Reception,
    read_fake_webhook,
    receive,
)
from cart.gateways.stripe import KEY, PROVIDER, read_stripe_webhook
from cart.payments import FakeGateway, Fault, PaymentState
from cart.repository import Database
from cart.sessions import SessionStatus
from cart.tables import ReceivedWebhookRow
from tests.cart.gateways.fake_stripe import event_body
from tests.cart.till import LATER, Weather, check_books, enter, sweep, till

SECRET = "whsec_dGlsbGZyZWUgdGVzdCBzZWNyZXQ="
AT = datetime(2027, 1, 1, 12, tzinfo=UTC)
FAKE_BODY = json.dumps({"type": "payment.captured", "data": {"reference": "fake-1", "idempotency_key": "charge:1"}})
INTENT = {"id": "pi_1", "object": "payment_intent", "metadata": {KEY: "charge:1"}}


def fake_headers(body: str = FAKE_BODY, sent: datetime = AT, secret: str = SECRET) -> dict[str, str]:
    """What the fake gateway sends along."""
    signature = Webhook(secret).sign("evt_1", sent, body)
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(sent.timestamp())),
        "webhook-signature": f"v1,bm90IHRoaXMgb25l {signature}",
    }


def read_fake(body: str = FAKE_BODY, headers: dict[str, str] | None = None) -> IncomingEvent:
    return read_fake_webhook(body.encode(), fake_headers() if headers is None else headers, SECRET, AT)


def stripe_signature(body: bytes, sent: datetime = AT, secret: str = SECRET) -> str:
    """What Stripe sends along."""
    return str(stripe.WebhookSignature.generate_signature_header(body.decode(), secret, int(sent.timestamp())))


def test_a_message_of_the_fake_gateway_is_read() -> None:
    assert read_fake() == IncomingEvent(FAKE_PROVIDER, "evt_1", "payment.captured", "charge:1", "fake-1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "evt_2"),
        ("webhook-id", ""),
        ("webhook-timestamp", str(int(AT.timestamp()) + 1)),
        ("webhook-timestamp", "soon"),
        ("webhook-timestamp", "-1"),
        ("webhook-timestamp", "9" * 13),
        ("webhook-signature", "v1,bm90IHRoaXMgb25l"),
        ("webhook-signature", "é"),
        ("webhook-signature", ""),
    ],
)
def test_a_forged_header_of_the_fake_gateway_is_refused(name: str, value: str) -> None:
    with pytest.raises(ForgedWebhookError):
        read_fake(headers=fake_headers() | {name: value})


def test_a_forged_body_or_secret_is_refused() -> None:
    with pytest.raises(ForgedWebhookError, match="signature"):
        read_fake(FAKE_BODY.replace("fake-1", "fake-2"))
    with pytest.raises(ForgedWebhookError, match="signature"):
        read_fake(headers=fake_headers(secret="whsec_YW5vdGhlcg=="))
    with pytest.raises(ForgedWebhookError, match="signature"):
        read_fake_webhook(b"\xff\xfe", fake_headers(), SECRET, AT)


@pytest.mark.parametrize("body", ["[]", "{", '{"type": 1, "data": {}}', '{"type": "a", "data": []}', "[" * 20_000])
def test_what_is_signed_but_no_event_is_refused(body: str) -> None:
    with pytest.raises(ForgedWebhookError, match="expected"):
        read_fake(body, fake_headers(body))


@pytest.mark.parametrize("late_s", [-301, -300, 300, 301])
def test_messages_are_taken_for_five_minutes_either_way(late_s: int) -> None:
    sent = AT - timedelta(seconds=late_s)
    body = event_body("evt_1", "payment_intent.succeeded", INTENT)
    readings: list[Callable[[], object]] = [
        lambda: read_fake(headers=fake_headers(sent=sent)),
        lambda: read_stripe_webhook(body, stripe_signature(body, sent), SECRET, AT),
    ]
    for read in readings:
        if abs(late_s) <= 300:
            read()
        else:
            with pytest.raises(ForgedWebhookError, match="ago" if late_s > 0 else "future"):
                read()


def test_stripes_own_library_would_take_a_message_from_the_future() -> None:
    # Why the age is checked here: if this fails one day, the check may go.
    body = event_body("evt_1", "payment_intent.succeeded", INTENT)
    signature = stripe_signature(body, datetime.now(UTC) + timedelta(seconds=3600))
    stripe.Webhook.construct_event(body, signature, SECRET)
    with pytest.raises(ForgedWebhookError, match="future"):
        read_stripe_webhook(body, signature, SECRET, datetime.now(UTC))


@pytest.mark.parametrize(
    ("subject", "key", "reference"),
    [
        (INTENT, "charge:1", "pi_1"),
        ({"id": "ch_1", "object": "charge", "payment_intent": "pi_1", "metadata": {}}, None, "pi_1"),
        (
            {"id": "re_1", "object": "refund", "payment_intent": "pi_1", "metadata": {KEY: "refund:1"}},
            "refund:1",
            "pi_1",
        ),
        ({"id": "cus_1", "object": "customer"}, None, None),
        ({"id": 7, "object": "payment_intent", "metadata": [1]}, None, None),
    ],
)
def test_a_message_of_stripe_says_which_payment_it_is_about(
    subject: dict[str, object], key: str | None, reference: str | None
) -> None:
    body = event_body("evt_1", "payment_intent.succeeded", subject)
    event = read_stripe_webhook(body, stripe_signature(body), SECRET, AT)
    assert event == IncomingEvent(PROVIDER, "evt_1", "payment_intent.succeeded", key, reference)


def test_a_forged_message_of_stripe_is_refused() -> None:
    body = event_body("evt_1", "payment_intent.succeeded", INTENT)
    signature = stripe_signature(body)
    forged: list[tuple[bytes, str | None]] = [
        (body + b" ", signature),
        (body, stripe_signature(body, secret="whsec_other")),
        (body, None),
        (body, "nonsense"),
        (body, signature.replace("v1=", "v0=")),
        (body, f"{signature},t=1"),
        (body, f"t={int(AT.timestamp()) - 5},{signature.partition(',')[2]}"),
        (b"\xff", signature),
        (b"[]", stripe_signature(b"[]")),
        (b'{"object": "event", "id": 1}', stripe_signature(b'{"object": "event", "id": 1}')),
    ]
    for sent, header in forged:
        with pytest.raises(ForgedWebhookError):
            read_stripe_webhook(sent, header, SECRET, AT)


def left_open(database: Database, weather: Weather) -> tuple[FakeGateway, UUID]:
    """A visit whose shopper has left, while the gateway has not said whether it took the money."""
    gateway = FakeGateway(weather)
    return gateway, leave_unanswered(till(database, gateway), weather)


def leave_unanswered(checkout: Checkout, weather: Weather) -> UUID:
    """A visit that ends in silence."""
    session_id = enter(checkout, ("bar", 2))
    weather.fault = Fault.LOST_REPLY
    assert checkout.close(session_id, LATER).status is SessionStatus.CLOSED
    weather.fault = None
    return session_id


def captured(gateway: FakeGateway, event_id: str = "evt_1", kind: str = "payment.captured") -> IncomingEvent:
    """A message about the gateway's first payment."""
    payment = gateway.payments[0]
    return IncomingEvent(FAKE_PROVIDER, event_id, kind, payment.request.idempotency_key, payment.reference)


def test_a_message_brings_forward_what_is_not_known_and_counts_once() -> None:
    with Database.in_memory() as database:
        gateway, session_id = left_open(database, Weather())
        checkout = till(database, gateway)
        assert sweep(database, checkout, LATER) == 0  # it is left to the one who closed the visit for a while
        assert receive(database, captured(gateway), LATER) is Reception.HURRIED
        assert receive(database, captured(gateway), LATER) is Reception.SEEN_BEFORE
        assert sweep(database, checkout, LATER) == 1
        assert checkout.session(session_id).status is SessionStatus.CHARGED
        assert receive(database, captured(gateway, "evt_2"), LATER) is Reception.NOTHING_OPEN
        check_books(database, gateway)
        with database.reading() as repository:
            assert repository.sql.get(ReceivedWebhookRow, (FAKE_PROVIDER, "evt_1")) is not None


def test_a_message_that_names_only_the_payment_or_only_the_key_is_enough() -> None:
    for reference_only in (True, False):
        with Database.in_memory() as database:
            gateway, _ = left_open(database, Weather())
            key, reference = gateway.payments[0].request.idempotency_key, gateway.payments[0].reference
            event = IncomingEvent(
                FAKE_PROVIDER, "evt_1", "x", None if reference_only else key, reference if reference_only else None
            )
            assert receive(database, event, LATER) is Reception.HURRIED


def test_a_message_about_nothing_of_ours_changes_nothing() -> None:
    with Database.in_memory() as database:
        for number, (key, reference) in enumerate(((None, None), ("charge:9", "pi_9"))):
            event = IncomingEvent(PROVIDER, f"evt_{number}", "customer.created", key, reference)
            assert receive(database, event, LATER) is Reception.NOTHING_OPEN


MESSAGES = ("payment.authorised", "payment.captured", "payment.refunded", "payment.voided")


def test_in_any_order_doubled_stale_and_forged_messages_lead_to_the_state_of_those_in_order() -> None:
    with Database.in_memory() as database:
        weather, visits = Weather(), count(1)
        gateway = FakeGateway(weather)
        checkout = till(database, gateway)

        @settings(deadline=None, max_examples=30)
        @given(st.lists(st.sampled_from([*range(len(MESSAGES)), "stale", "forged"]), min_size=1, max_size=8))
        def messages_arrive(arriving: list[int | str]) -> None:
            visit = next(visits)
            session_id = leave_unanswered(checkout, weather)
            payment = gateway.payments[-1]
            counted = 0
            for message in arriving:
                number = message if isinstance(message, int) else 0
                # What a message claims is not believed: a void, or a refund, that never was does no harm.
                data = {"reference": payment.reference, "idempotency_key": payment.request.idempotency_key}
                body = json.dumps({"type": MESSAGES[number], "data": data})
                event_id = f"evt_{visit}_{number}"
                sent = LATER - timedelta(hours=1) if message == "stale" else LATER
                headers = {
                    "webhook-id": event_id,
                    "webhook-timestamp": str(int(sent.timestamp())),
                    "webhook-signature": Webhook(SECRET).sign(event_id, sent, body),
                }
                if message == "forged":
                    body = body.replace("payment", "Payment")
                try:
                    event = read_fake_webhook(body.encode(), headers, SECRET, LATER)
                except ForgedWebhookError:
                    assert message in ("stale", "forged")
                    continue
                counted += receive(database, event, LATER) is not Reception.SEEN_BEFORE
                sweep(database, checkout, LATER)
            heard = {message for message in arriving if isinstance(message, int)}
            assert counted == len(heard)
            status = checkout.session(session_id).status
            assert status is (SessionStatus.CHARGED if heard else SessionStatus.CLOSED)
            sweep(database, checkout, LATER + timedelta(hours=1))
            assert checkout.session(session_id).status is SessionStatus.CHARGED
            assert gateway.look_up(payment.request.idempotency_key) == replace(
                payment, state=PaymentState.CAPTURED, captured_minor=398
            )
            check_books(database, gateway)

        messages_arrive()
