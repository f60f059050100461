"""Webhooks that a payment provider sends: checked, counted once, and taken as a hint to ask, never as the truth.

They come late, twice and in any order, so nothing they say about a payment's state is believed. A message only brings
forward what the outbox has to find out about that payment anyway, in one transaction with the note that it was dealt
with; the sweeper then asks the provider. Whatever order messages come in, the state reached is the provider's.
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select, update
from standardwebhooks import Webhook

from cart.events import check_aware
from cart.outbox import MONEY, MessageStatus
from cart.repository import Database, Repository
from cart.tables import ChargeRow, HoldRow, OutboxRow, ReceivedWebhookRow, RefundRow

DEFAULT_TOLERANCE_S = 300
"""How far the time of a message may be off, in seconds, either way; what Stripe and Standard Webhooks suggest."""
FAKE_PROVIDER = "fake"
_LONGEST_BODY = 1_000_000


class ForgedWebhookError(Exception):
    """A webhook that is not to be believed: forged, stale, from the future, or no event. Answer it with 400."""


@dataclass(frozen=True, slots=True)
class IncomingEvent:
    """A provider's message, its origin checked.

    Attributes:
        provider: Who sent it.
        event_id: The provider's name for the event, the same on each delivery.
        kind: What happened, in the provider's words.
        idempotency_key: Of the payment or refund that it is about; None if it does not say.
        reference: The provider's name for the payment; None if it does not say.
    """

    provider: str
    event_id: str
    kind: str
    idempotency_key: str | None
    reference: str | None


class Reception(StrEnum):
    """What came of a message."""

    HURRIED = "hurried"
    """Something of that payment was not known yet, and is asked for next."""
    NOTHING_OPEN = "nothing_open"
    """Everything about that payment is known already, or it is none of ours."""
    SEEN_BEFORE = "seen_before"


def check_age(sent_s: int, at: datetime, tolerance_s: int) -> None:
    """Refuse a message whose time is too far off, either way.

    Args:
        sent_s: When it says it was sent, seconds since 1970.
        at: Now, timezone-aware.
        tolerance_s: Largest difference, seconds.

    Raises:
        ForgedWebhookError: It is too old, or from the future.
    """
    check_aware("at", at)
    age_s = at.timestamp() - sent_s
    if age_s > tolerance_s:
        raise ForgedWebhookError(f"sent {age_s:.0f} s ago, expected at most {tolerance_s}")
    if age_s < -tolerance_s:
        raise ForgedWebhookError(f"sent {-age_s:.0f} s in the future, expected at most {tolerance_s}")


def read_json_object(body: bytes) -> dict[str, Any]:
    """Read a message's body.

    Raises:
        ForgedWebhookError: It is too long, or no JSON object.
    """
    if len(body) > _LONGEST_BODY:
        raise ForgedWebhookError(f"expected at most {_LONGEST_BODY} bytes, got {len(body)}")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ForgedWebhookError("expected JSON") from error
    if not isinstance(value, dict):
        raise ForgedWebhookError("expected a JSON object")
    return value


def read_fake_webhook(
    body: bytes, headers: Mapping[str, str], secret: str, at: datetime, tolerance_s: int = DEFAULT_TOLERANCE_S
) -> IncomingEvent:
    """Check a webhook of the fake gateway, which signs as Standard Webhooks 1.0.0 says.

    Args:
        body: The request's body, byte for byte.
        headers: Its headers, by their names in lower case.
        secret: ``whsec_...``.
        at: Now, timezone-aware.
        tolerance_s: How far the message's time may be off, either way.

    Raises:
        ForgedWebhookError: It is not the gateway's, too old, from the future, or no event.
    """
    event_id, sent, signatures = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (sent.isascii() and sent.isdigit() and len(sent) <= 12 and event_id and signatures):
        raise ForgedWebhookError("expected the headers webhook-id, webhook-timestamp and webhook-signature")
    check_age(int(sent), at, tolerance_s)
    if not _is_signed(body, event_id, int(sent), signatures, secret):
        raise ForgedWebhookError("the signature is not the gateway's")
    event = read_json_object(body)
    data = event.get("data")
    if not isinstance(data, dict) or not isinstance(event.get("type"), str):
        raise ForgedWebhookError("expected an event, got something else")
    key, reference = data.get("idempotency_key"), data.get("reference")
    return IncomingEvent(
        FAKE_PROVIDER,
        event_id,
        event["type"],
        key if isinstance(key, str) else None,
        reference if isinstance(reference, str) else None,
    )


def receive(database: Database, event: IncomingEvent, at: datetime) -> Reception:
    """Take a message in: each counts once, and brings forward what is not known about its payment.

    Args:
        database: The shop's.
        event: From ``read_stripe_webhook`` or ``read_fake_webhook``.
        at: Now, timezone-aware.
    """
    with database.transaction() as repository:
        sql = repository.sql
        if sql.get(ReceivedWebhookRow, (event.provider, event.event_id)) is not None:
            return Reception.SEEN_BEFORE
        sql.add(ReceivedWebhookRow(provider=event.provider, event_id=event.event_id, kind=event.kind, received_at=at))
        sql.flush()
        keys = _keys_of_visit(repository, event)
        if not keys:
            return Reception.NOTHING_OPEN
        hurried = sql.execute(
            update(OutboxRow)
            .where(
                OutboxRow.deduplication_key.in_(keys),
                OutboxRow.kind.in_([effect.value for effect in MONEY]),
                OutboxRow.status == MessageStatus.WAITING.value,
            )
            .values(due_at=at)
            .returning(OutboxRow.message_id)
        ).all()
        return Reception.HURRIED if hurried else Reception.NOTHING_OPEN


def _keys_of_visit(repository: Repository, event: IncomingEvent) -> list[str]:
    """Everything that the outbox may have to find out about the visit that a message is about."""
    sql = repository.sql
    tables = (HoldRow, ChargeRow, RefundRow)
    visits: set[UUID] = set()
    for table in tables:
        known = []
        if event.idempotency_key is not None:
            known.append(table.idempotency_key == event.idempotency_key)
        if event.reference is not None:
            known.append(table.gateway_reference == event.reference)
        if known:
            visits.update(sql.scalars(select(table.session_id).where(or_(*known))))
    if not visits:
        return []
    holds = sql.scalars(select(HoldRow.hold_id).where(HoldRow.session_id.in_(visits))).all()
    return [
        *(f"{verb}:{hold}" for hold in holds for verb in ("hold", "void")),
        *(
            f"charge:{made}"
            for made in sql.scalars(select(ChargeRow.charge_id).where(ChargeRow.session_id.in_(visits)))
        ),
        *(
            f"refund:{made}"
            for made in sql.scalars(select(RefundRow.refund_id).where(RefundRow.session_id.in_(visits)))
        ),
    ]


def _is_signed(body: bytes, event_id: str, sent_s: int, signatures: str, secret: str) -> bool:
    # The library's own check reads the clock, and would refuse what is to be checked at another time.
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    expected = Webhook(secret).sign(event_id, datetime.fromtimestamp(sent_s, UTC), text).encode()
    return any(hmac.compare_digest(expected, signature.encode()) for signature in signatures.split(" "))
