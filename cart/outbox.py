"""The outbox: effects that a transaction decides on are written in it, and carried out after it, at least once.

A charge, a receipt by mail, a webhook or an order to a gate must neither be lost when the process dies after the commit
nor happen when the commit fails. So what is to be done is a row of the same transaction (the *transactional outbox*
pattern); whoever wrote it may do it at once and say so, and a sweeper does what was left behind. An effect may thus be
carried out twice, and its receiver is given a key by which it can tell.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import select, update

from cart.repository import Database, Repository
from cart.tables import OutboxRow

_log = logging.getLogger(__name__)

_NAMESPACE = UUID("1b0f0f4e-6c3e-5d0b-9a9e-2f6f6a3d8b11")
_LONGEST_ERROR = 500


class Effect(StrEnum):
    """What kind of thing leaves the shop."""

    HOLD = "hold"
    """Bring a hold of money to its end."""
    CHARGE = "charge"
    REFUND = "refund"
    RECEIPT = "receipt"
    """Send a receipt to its shopper."""
    MAIL = "mail"
    WEBHOOK = "webhook"
    GATE = "gate"
    """Have a gate open."""


MONEY = frozenset({Effect.HOLD, Effect.CHARGE, Effect.REFUND})
"""What is never given up: as long as an outcome is not known, it is asked for."""


class MessageStatus(StrEnum):
    """Where a message stands."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    """Tried for as long as it made sense; a person has to look."""


@dataclass(frozen=True, slots=True)
class Message:
    """An effect to carry out.

    Attributes:
        message_id: Derived from the key.
        effect: What kind.
        key: What makes it the same effect, such as ``charge:{charge_id}``.
        payload: What the handler needs to know, JSON.
        attempts: How often it was tried.
        created_at: When it was decided on, timezone-aware.
        due_at: Not to be tried before.
    """

    message_id: UUID
    effect: Effect
    key: str
    payload: Mapping[str, Any]
    attempts: int
    created_at: datetime
    due_at: datetime


class NotYetError(Exception):
    """A handler could not carry its effect out, or does not know whether it has; the message says why."""


class GivenUpError(Exception):
    """A handler says that an effect can never be carried out, or no longer makes sense."""


Handler = Callable[[Message], None]


def put(
    repository: Repository,
    effect: Effect,
    key: str,
    payload: Mapping[str, Any],
    at: datetime,
    due_at: datetime | None = None,
) -> bool:
    """Decide on an effect, in the transaction that gives reason for it.

    Args:
        repository: The transaction.
        effect: What kind.
        key: What makes it the same effect; the same key again changes nothing.
        payload: What its handler needs to know, JSON.
        at: Now, timezone-aware.
        due_at: When the sweeper may take it up; now, unless it is to be left to the caller for a while.

    Returns:
        Whether it is new.
    """
    message_id = uuid5(_NAMESPACE, key)
    if repository.sql.get(OutboxRow, message_id) is not None:
        return False
    repository.sql.add(
        OutboxRow(
            message_id=message_id,
            kind=effect.value,
            deduplication_key=key,
            payload=dict(payload),
            status=MessageStatus.WAITING.value,
            attempts=0,
            due_at=due_at or at,
            created_at=at,
        )
    )
    repository.sql.flush()
    return True


def finish(repository: Repository, key: str, at: datetime) -> None:
    """Say that an effect was carried out; the sweeper will not take it up any more."""
    repository.sql.execute(
        update(OutboxRow)
        .where(OutboxRow.deduplication_key == key, OutboxRow.status == MessageStatus.WAITING.value)
        .values(status=MessageStatus.DONE.value, finished_at=at, last_error=None)
    )


def waiting(repository: Repository, at: datetime, limit: int = 100) -> tuple[Message, ...]:
    """What is due, oldest first."""
    rows = repository.sql.scalars(
        select(OutboxRow)
        .where(OutboxRow.status == MessageStatus.WAITING.value, OutboxRow.due_at <= at)
        .order_by(OutboxRow.due_at, OutboxRow.message_id)
        .limit(limit)
    )
    return tuple(
        Message(
            row.message_id,
            Effect(row.kind),
            row.deduplication_key,
            row.payload,
            row.attempts,
            row.created_at,
            row.due_at,
        )
        for row in rows
    )


class Sweeper:
    """Carries out what is due.

    Args:
        database: Where messages are kept.
        handlers: What to do for each kind of effect. A handler may be called twice for one message, and for one that
            somebody else is carrying out at that moment. It returns when the effect has happened, raises ``NotYetError``
            or ``GivenUpError``, or anything else, which is taken for ``NotYetError``.
        first_wait_s: Wait after the first failure; it doubles with each further one ...
        longest_wait_s: ... up to this.
        attempts: After so many failures an effect that is not money is given up.
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[Effect, Handler],
        first_wait_s: float = 1.0,
        longest_wait_s: float = 900.0,
        attempts: int = 20,
    ) -> None:
        if attempts < 1 or first_wait_s <= 0 or longest_wait_s < first_wait_s:
            raise ValueError(
                f"Sweeper: expected at least 1 attempt and 0 < first_wait_s <= longest_wait_s,"
                f" got {attempts}, {first_wait_s} and {longest_wait_s}"
            )
        self._database = database
        self._handlers = dict(handlers)
        self._first_wait_s, self._longest_wait_s = first_wait_s, longest_wait_s
        self._attempts = attempts
        self._turn = threading.Lock()

    def sweep(self, at: datetime) -> int:
        """Try everything that is due, once each.

        Returns:
            How many effects were carried out.
        """
        with self._turn:
            with self._database.reading() as repository:
                due = waiting(repository, at)
            return sum(self._try(message, at) for message in due)

    def _try(self, message: Message, at: datetime) -> bool:
        handler = self._handlers.get(message.effect)
        if handler is None:
            return False
        try:
            handler(message)
        except GivenUpError as error:
            self._write(message, at, str(error), given_up=True)
            return False
        except Exception as error:
            log = _log.warning if isinstance(error, NotYetError) else _log.exception
            log("%s: attempt %d: %s", message.key, message.attempts + 1, error)
            spent = message.effect not in MONEY and message.attempts + 1 >= self._attempts
            self._write(message, at, f"{type(error).__name__}: {error}", given_up=spent)
            return False
        with self._database.transaction() as repository:
            finish(repository, message.key, at)
        return True

    def _write(self, message: Message, at: datetime, error: str, *, given_up: bool) -> None:
        wait_s = min(self._longest_wait_s, self._first_wait_s * 2.0 ** min(message.attempts, 30))
        with self._database.transaction() as repository:
            repository.sql.execute(
                update(OutboxRow)
                .where(OutboxRow.message_id == message.message_id, OutboxRow.status == MessageStatus.WAITING.value)
                .values(
                    attempts=message.attempts + 1,
                    last_error=error[:_LONGEST_ERROR],
                    due_at=at + timedelta(seconds=wait_s),
                    status=(MessageStatus.FAILED if given_up else MessageStatus.WAITING).value,
                    finished_at=at if given_up else None,
                )
            )
