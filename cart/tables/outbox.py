"""Tables of what goes out and comes in: the outbox, webhooks either way, replies kept for idempotency keys."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from cart.tables.base import Base


class OutboxRow(Base):
    """An effect that was decided in a transaction and is carried out after it; see ``cart.outbox``."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index(
            "ix_outbox_due",
            "due_at",
            sqlite_where=text("status = 'waiting'"),
            postgresql_where=text("status = 'waiting'"),
        ),
    )

    message_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(index=True)
    deduplication_key: Mapped[str] = mapped_column(unique=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str]
    """``waiting``, ``done`` or ``failed`` (given up; a person is told)."""
    attempts: Mapped[int]
    due_at: Mapped[datetime]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    last_error: Mapped[str | None]


class WebhookEndpointRow(Base):
    """An address that is told of events; see ``cart.webhooks``."""

    __tablename__ = "webhook_endpoints"

    endpoint_id: Mapped[UUID] = mapped_column(primary_key=True)
    url: Mapped[str]
    secret: Mapped[str]
    events: Mapped[list[Any]] = mapped_column(JSON)
    created_at: Mapped[datetime]
    failing_since: Mapped[datetime | None]
    """When the first of its failures in a row was; None while it answers."""
    disabled_at: Mapped[datetime | None]


class ReceivedWebhookRow(Base):
    """A message of the payment provider that was dealt with; its primary key lets each count once."""

    __tablename__ = "received_webhooks"

    provider: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(index=True)


class IdempotentReplyRow(Base):
    """What a request under an ``Idempotency-Key`` was answered, so that its repeat is answered the same."""

    __tablename__ = "idempotent_replies"

    caller: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]
    status_code: Mapped[int | None]
    """None while the first request is being dealt with."""
    media_type: Mapped[str | None]
    headers: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Those that belong to the answer, such as ``Location``."""
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(index=True)
