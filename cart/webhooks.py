"""Webhooks out: addresses of other programs that are told what happens, signed by the Standard Webhooks specification.

What happened is one message of the outbox, ``webhook:{type}:{id}``. Its turn makes one delivery for each endpoint that
wants to know, a message of its own with its own patience, so that an endpoint that is away holds up nobody. A receiver
gets each event at least once and in no certain order: ``webhook-id`` is the same for every try of an event, and the
event's own time says which is newer.
"""

import asyncio
import base64
import json
import logging
import secrets
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy import delete, func, select, update
from standardwebhooks import Webhook

from cart import audit
from cart.addresses import ResolvedAddress, check_public_url
from cart.errors import AddressRefused, EndpointNotFound
from cart.outbox import Effect, GivenUpError, Handler, Message, MessageStatus, NotYetError, message_id, put
from cart.repository import Database, Repository
from cart.tables import AccountRow, OutboxRow, WebhookEndpointRow

_log = logging.getLogger(__name__)

EVENT_TYPES = frozenset(
    {
        "visit.closed",
        "visit.needs_review",
        "receipt.issued",
        "payment.failed",
        "refund.posted",
        "debt.paid",
        "entry.refused",
        "entry.without_code",
        "dispute.opened",
        "dispute.settled",
        "review.decided",
        "webhook.test",
    }
)
"""What there is to be told."""
MOST_ENDPOINTS = 20
_SECRET_BYTES = 32
_LONGEST_RETRY_AFTER_S = 4 * 3600.0
_REST_S = 30.0
_USER_AGENT = "Tillfree-Webhooks/1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that is told of events.

    Attributes:
        endpoint_id: Identity.
        url: Where it is.
        events: Which types it is told of, sorted; empty for all.
        created_at: Since when, timezone-aware.
        failing_since: When the first of its failures in a row was; None while it answers.
        disabled_at: Since when nothing is sent any more; None while it is.
    """

    endpoint_id: UUID
    url: str
    events: tuple[str, ...]
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewSecret:
    """An endpoint with its secret, which is shown this once.

    Attributes:
        endpoint: The endpoint.
        secret: What its receiver verifies messages with, ``whsec_...``.
    """

    endpoint: Endpoint
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to an endpoint, or what became of it.

    Attributes:
        event_type: Its type, out of ``EVENT_TYPES``.
        created_at: When it happened, timezone-aware.
        status: Waiting, done, or given up.
        attempts: How many tries have failed.
        due_at: When it is tried next, while it waits.
        ended_at: When it was taken, or given up; None before.
        last_error: Why the last try failed; empty if none did.
    """

    event_type: str
    created_at: datetime
    status: MessageStatus
    attempts: int
    due_at: datetime
    ended_at: datetime | None
    last_error: str


class Webhooks:
    """Endpoints, and what is sent to them. Safe to call from several threads.

    Args:
        database: The shop's.
        now: The time, timezone-aware.
        new_id: Makes ids of endpoints.
        new_secret: Makes random bytes, so many as it is asked for.
        allow_private: Let endpoints be on this machine or in its own network, and let them speak plain HTTP.
        timeout_s: A delivery takes at most this long, name server and all, seconds.
        give_up_after: An endpoint that has failed for so long is disabled.
        tls: What certificates are checked against; None for those that everybody trusts.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID] = uuid4,
        new_secret: Callable[[int], bytes] = secrets.token_bytes,
        *,
        allow_private: bool = False,
        timeout_s: float = 10.0,
        give_up_after: timedelta = timedelta(days=5),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if timeout_s <= 0 or give_up_after <= timedelta(0):
            raise ValueError(f"Webhooks: expected times above 0, got {timeout_s} s and {give_up_after}")
        self._database = database
        self._now = now
        self._new_id = new_id
        self._new_secret = new_secret
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._give_up_after = give_up_after
        self._tls = tls
        self._resting_until: dict[UUID, datetime] = {}

    def create(self, url: str, events: Collection[str] = (), actor_id: UUID | None = None) -> NewSecret:
        """Add an endpoint.

        Args:
            url: ``https://``, leading to a public address.
            events: Which types it is told of, out of ``EVENT_TYPES``; none for all.
            actor_id: Who adds it.

        Raises:
            AddressRefused: The address is none that the shop sends to.
            ValueError: An unknown type, or there are ``MOST_ENDPOINTS`` already.
        """
        unknown = sorted(set(events) - EVENT_TYPES)
        if unknown:
            raise ValueError(f"events: expected some of {', '.join(sorted(EVENT_TYPES))}, got {', '.join(unknown)}")
        self._check(url)
        secret = self._make_secret()
        at = self._now()
        row = WebhookEndpointRow(
            endpoint_id=self._new_id(),
            url=url,
            secret=secret,
            events=sorted(set(events)),
            created_at=at,
            failing_since=None,
            disabled_at=None,
        )
        with self._database.transaction() as repository:
            if (repository.sql.scalar(select(func.count()).select_from(WebhookEndpointRow)) or 0) >= MOST_ENDPOINTS:
                raise ValueError(f"expected at most {MOST_ENDPOINTS} endpoints")
            repository.sql.add(row)
            repository.sql.flush()
            self._audit(repository, actor_id, "webhook.created", row.endpoint_id, at)
            return NewSecret(_endpoint(row), secret)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """All endpoints, oldest first."""
        with self._database.reading() as repository:
            rows = repository.sql.scalars(
                select(WebhookEndpointRow).order_by(WebhookEndpointRow.created_at, WebhookEndpointRow.endpoint_id)
            )
            return tuple(_endpoint(row) for row in rows)

    def endpoint(self, endpoint_id: UUID) -> Endpoint:
        """One endpoint.

        Raises:
            EndpointNotFound: There is none of this id.
        """
        with self._database.reading() as repository:
            return _endpoint(_row(repository, endpoint_id))

    def rotate_secret(self, endpoint_id: UUID, actor_id: UUID | None = None) -> NewSecret:
        """Give an endpoint a new secret; the old one signs nothing any more.

        Raises:
            EndpointNotFound: There is none of this id.
        """
        secret = self._make_secret()
        with self._database.transaction() as repository:
            row = _row(repository, endpoint_id)
            row.secret = secret
            self._audit(repository, actor_id, "webhook.secret_rotated", endpoint_id, self._now())
            return NewSecret(_endpoint(row), secret)

    def enable(self, endpoint_id: UUID, actor_id: UUID | None = None) -> Endpoint:
        """Send to an endpoint again, after it was disabled.

        Raises:
            EndpointNotFound: There is none of this id.
            AddressRefused: Its address is none any more that the shop sends to.
        """
        self._check(self.endpoint(endpoint_id).url)
        with self._database.transaction() as repository:
            row = _row(repository, endpoint_id)
            row.disabled_at = row.failing_since = None
            self._audit(repository, actor_id, "webhook.enabled", endpoint_id, self._now())
            self._resting_until.pop(endpoint_id, None)
            return _endpoint(row)

    def disable(self, endpoint_id: UUID, actor_id: UUID | None = None) -> Endpoint:
        """Send nothing to an endpoint any more, until it is enabled.

        Raises:
            EndpointNotFound: There is none of this id.
        """
        at = self._now()
        with self._database.transaction() as repository:
            row = _row(repository, endpoint_id)
            row.disabled_at = row.disabled_at or at
            self._audit(repository, actor_id, "webhook.disabled", endpoint_id, at)
            return _endpoint(row)

    def remove(self, endpoint_id: UUID, actor_id: UUID | None = None) -> None:
        """Forget an endpoint; what is still to be sent to it is not sent.

        Raises:
            EndpointNotFound: There is none of this id.
        """
        with self._database.transaction() as repository:
            _row(repository, endpoint_id)
            repository.sql.execute(delete(WebhookEndpointRow).where(WebhookEndpointRow.endpoint_id == endpoint_id))
            self._audit(repository, actor_id, "webhook.removed", endpoint_id, self._now())

    def send_test(self, endpoint_id: UUID) -> None:
        """Send an endpoint a ``webhook.test``, whatever types it is told of.

        Raises:
            EndpointNotFound: There is none of this id.
        """
        at = self._now()
        test_id = self._new_id()
        with self._database.transaction() as repository:
            _row(repository, endpoint_id)
            event = {"type": "webhook.test", "at": at.isoformat()}
            _put_delivery(repository, endpoint_id, f"webhook:webhook.test:{test_id}", event, at)

    def deliveries(self, endpoint_id: UUID, limit: int = 50) -> tuple[Delivery, ...]:
        """The newest deliveries to an endpoint, as long as they are kept, newest first.

        Args:
            endpoint_id: Which.
            limit: At most so many.

        Raises:
            EndpointNotFound: There is none of this id.
        """
        prefix = _delivery_key(endpoint_id, "")
        to_it = OutboxRow.deduplication_key.startswith(prefix, autoescape=True)
        query = select(OutboxRow).where(OutboxRow.kind == Effect.WEBHOOK.value, to_it)
        with self._database.reading() as repository:
            _row(repository, endpoint_id)
            rows = repository.sql.scalars(
                query.order_by(OutboxRow.created_at.desc(), OutboxRow.message_id).limit(limit)
            )
            return tuple(
                Delivery(
                    # Not out of the payload, which is emptied when somebody is forgotten.
                    row.deduplication_key.removeprefix(prefix).split(":")[1],
                    row.created_at,
                    MessageStatus(row.status),
                    row.attempts,
                    row.due_at,
                    row.finished_at,
                    _reason(row.last_error or ""),
                )
                for row in rows
            )

    def handlers(self) -> dict[Effect, Handler]:
        """What the sweeper calls."""
        return {Effect.WEBHOOK: self.handle}

    def handle(self, message: Message) -> None:
        """Tell of an event: make its deliveries, or make one of them.

        Raises:
            NotYetError: The endpoint did not take it.
            GivenUpError: The endpoint is gone or disabled.
        """
        if "endpoint_id" in message.payload:
            self._deliver(message)
        else:
            self._fan_out(message)

    def _fan_out(self, message: Message) -> None:
        event_type = message.payload.get("type")
        with self._database.transaction() as repository:
            for row in repository.sql.scalars(select(WebhookEndpointRow)).all():
                if row.disabled_at is None and (not row.events or event_type in row.events):
                    _put_delivery(repository, row.endpoint_id, message.key, message.payload, message.created_at)

    def _deliver(self, message: Message) -> None:
        endpoint_id = UUID(message.payload["endpoint_id"])
        now = self._now()
        with self._database.reading() as repository:
            row = repository.sql.get(WebhookEndpointRow, endpoint_id)
            if row is None or row.disabled_at is not None:
                raise GivenUpError("the endpoint is gone or disabled")
            url, secret, failing = row.url, row.secret, row.failing_since is not None
        rests_until = self._resting_until.get(endpoint_id)
        if rests_until is not None and now < rests_until:
            raise NotYetError("the endpoint failed a moment ago", (rests_until - now).total_seconds(), counts=False)
        webhook_id, body = envelope(message.payload["event_key"], message.payload["event"])
        headers = signed_headers(secret, webhook_id, body, now)
        try:
            # Again before each delivery, and the very address that is found is connected to: what a name means changes.
            status, retry_after = asyncio.run(self._post(url, headers, body))
        except AddressRefused as error:
            self._failed(endpoint_id, now, gone=False)
            raise NotYetError(str(error)) from error
        except TimeoutError as error:
            self._resting_until[endpoint_id] = now + timedelta(seconds=_REST_S)
            self._failed(endpoint_id, now, gone=False)
            raise NotYetError(f"no answer within {self._timeout_s:g} s") from error
        except (httpx.HTTPError, OSError) as error:
            self._resting_until[endpoint_id] = now + timedelta(seconds=_REST_S)
            self._failed(endpoint_id, now, gone=False)
            raise NotYetError(f"no answer: {type(error).__name__}") from error
        if 200 <= status < 300:
            if failing:
                with self._database.transaction() as repository:
                    repository.sql.execute(
                        update(WebhookEndpointRow)
                        .where(WebhookEndpointRow.endpoint_id == endpoint_id)
                        .values(failing_since=None)
                    )
            return
        self._failed(endpoint_id, now, gone=status == httpx.codes.GONE)
        if status == httpx.codes.GONE:
            raise GivenUpError("the endpoint says that it is gone (410)")
        raise NotYetError(f"expected an answer of 200 to 299, got {status}", retry_after)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, float | None]:
        """Send, and give the answer's status and how long it asks us to wait; its body is not read."""
        # One limit on everything: a receiver that drips its answer keeps every single read short.
        async with asyncio.timeout(self._timeout_s):
            found = await asyncio.to_thread(self._check, url)
            if self._tls is None:
                self._tls = httpx.create_ssl_context()
            async with (
                httpx.AsyncClient(
                    verify=self._tls, follow_redirects=False, trust_env=False, timeout=self._timeout_s
                ) as client,
                client.stream(
                    "POST",
                    found.connect_url,
                    content=body,
                    headers={"host": found.host_header, **headers},
                    extensions={"sni_hostname": found.host},
                ) as response,
            ):
                return response.status_code, _retry_after_s(response.headers.get("retry-after"))

    def _check(self, url: str) -> ResolvedAddress:
        schemes = ("http", "https") if self._allow_private else ("https",)
        return check_public_url(url, allow_private=self._allow_private, schemes=schemes)

    def _failed(self, endpoint_id: UUID, at: datetime, *, gone: bool) -> None:
        """Remember since when an endpoint fails, and disable it once that is too long."""
        with self._database.transaction() as repository:
            row = repository.sql.get(WebhookEndpointRow, endpoint_id, with_for_update=True, populate_existing=True)
            if row is None or row.disabled_at is not None:
                return
            row.failing_since = row.failing_since or at
            if gone or at - row.failing_since >= self._give_up_after:
                row.disabled_at = at
                _log.warning("webhook endpoint %s is disabled after failures", endpoint_id)
                self._audit(repository, None, "webhook.disabled", endpoint_id, at)
                for owner_id in repository.sql.scalars(
                    select(AccountRow.account_id).where(AccountRow.role == "owner", AccountRow.email.is_not(None))
                ):
                    letter = {
                        "letter": "webhook_disabled",
                        "account_id": str(owner_id),
                        "endpoint_id": str(endpoint_id),
                    }
                    key = f"mail:webhook_disabled:{endpoint_id}:{owner_id}:{at.isoformat()}"
                    put(repository, Effect.MAIL, key, letter, at)

    def _make_secret(self) -> str:
        return "whsec_" + base64.b64encode(self._new_secret(_SECRET_BYTES)).decode()

    def _audit(
        self, repository: Repository, actor_id: UUID | None, action: str, endpoint_id: UUID, at: datetime
    ) -> None:
        audit.record(repository, actor_id, action, f"webhook_endpoint:{endpoint_id}", {}, at)


def envelope(event_key: str, event: Mapping[str, Any]) -> tuple[str, bytes]:
    """The id and the body of an event as it is sent, the same on every try.

    Args:
        event_key: Its key in the outbox.
        event: Its payload there: ``type``, ``at``, and what else there is to know.

    >>> event = {"type": "visit.closed", "at": "2026-01-01T12:00:00+00:00", "session_id": "7"}
    >>> envelope("webhook:visit.closed:7", event)[1]
    b'{"type":"visit.closed","timestamp":"2026-01-01T12:00:00+00:00","data":{"session_id":"7"}}'
    """
    inner = {name: value for name, value in event.items() if name not in ("type", "at")}
    whole = {"type": event["type"], "timestamp": event["at"], "data": inner}
    return f"msg_{message_id(event_key).hex}", json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()


def signed_headers(secret: str, webhook_id: str, body: bytes, at: datetime) -> dict[str, str]:
    """The headers of a delivery, by Standard Webhooks 1.0.

    Args:
        secret: The endpoint's, ``whsec_...``.
        webhook_id: The event's id.
        body: What is sent.
        at: The moment of this try, timezone-aware.
    """
    moment = at.astimezone(UTC)
    return {
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, moment, body.decode()),
    }


def _put_delivery(
    repository: Repository, endpoint_id: UUID, event_key: str, event: Mapping[str, Any], at: datetime
) -> None:
    payload = {"endpoint_id": str(endpoint_id), "event_key": event_key, "event": dict(event)}
    put(repository, Effect.WEBHOOK, _delivery_key(endpoint_id, event_key), payload, at)


def _reason(error: str) -> str:
    """What an error of the outbox says, without the name of its kind where that says nothing more."""
    return error.removeprefix(f"{NotYetError.__name__}: ").removeprefix(f"{GivenUpError.__name__}: ")


def _delivery_key(endpoint_id: UUID, event_key: str) -> str:
    return f"webhook-delivery:{endpoint_id}:{event_key}"


def _row(repository: Repository, endpoint_id: UUID) -> WebhookEndpointRow:
    row = repository.sql.get(WebhookEndpointRow, endpoint_id)
    if row is None:
        raise EndpointNotFound(f"there is no webhook endpoint {endpoint_id}")
    return row


def _endpoint(row: WebhookEndpointRow) -> Endpoint:
    return Endpoint(row.endpoint_id, row.url, tuple(row.events), row.created_at, row.failing_since, row.disabled_at)


def _retry_after_s(header: str | None) -> float | None:
    """How many seconds an answer asks to wait; None if it does not say so in seconds."""
    if header is None or not (header.isascii() and header.isdigit()) or len(header) > 9:
        return None
    return min(float(header), _LONGEST_RETRY_AFTER_S)
