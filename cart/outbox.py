"""The outbox: effects that a transaction decides on are written in it, and carried out after it, at least once.

A charge, a receipt by mail, a webhook or an order to a gate must neither be lost when the process dies after the commit
nor happen when the commit fails. So what is to be done is a row of the same transaction (the *transactional outbox*
pattern); whoever wrote it may do it at once and say so, and a sweeper does what was left behind. An effect may thus be
carried out twice, and its receiver is given a key by which it can tell.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID, uuid5

from sqlalchemy import func, select, update

from cart.repository import Database, Repository
from cart.tables import OutboxRow

_log = logging.getLogger(__name__)

_NAMESPACE = UUID("1b0f0f4e-6c3e-5d0b-9a9e-2f6f6a3d8b11")
_LONGEST_ERROR = 500
_CLAIMED_FOR_S = 60.0


class Effect(StrEnum):
    """What kind of thing leaves the shop."""

    HOLD = "hold"
    """Bring a hold of money to its end."""
    CHARGE = "charge"
    REFUND = "refund"
    DECISION = "decision"
    """Correct a visit as it was decided; see ``cart.decisions``."""
    RECEIPT = "receipt"
    """Send a receipt to its shopper."""
    MAIL = "mail"
    WEBHOOK = "webhook"
    GATE = "gate"
    """Have a gate open."""


MONEY = frozenset({Effect.HOLD, Effect.CHARGE, Effect.REFUND, Effect.DECISION})
"""What is never given up: as long as an outcome is not known, it is asked for."""

LANES: tuple[frozenset[Effect], ...] = (
    frozenset({Effect.GATE}),
    MONEY,
    frozenset({Effect.RECEIPT, Effect.MAIL}),
    frozenset({Effect.WEBHOOK}),
)
"""What is carried out one after another; a receiver that takes its time holds up its own lane alone."""
_CLAIMED = LANES[2] | LANES[3]


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
    """A handler could not carry its effect out, or does not know whether it has; the message says why.

    Args:
        message: Why.
        wait_s: How long to wait at least before the next try, seconds; None to leave it to the sweeper.
        counts: Whether it was a try. Waiting for something else is none, and is never given up.
    """

    def __init__(self, message: str, wait_s: float | None = None, *, counts: bool = True) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.counts = counts


class GivenUpError(Exception):
    """A handler says that an effect can never be carried out, or no longer makes sense."""


Handler = Callable[[Message], None]


def message_id(key: str) -> UUID:
    """The id of the effect with this key."""
    return uuid5(_NAMESPACE, key)


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
    if repository.sql.get(OutboxRow, message_id(key)) is not None:
        return False
    repository.sql.add(
        OutboxRow(
            message_id=message_id(key),
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


def give_up(repository: Repository, key: str, at: datetime, reason: str) -> None:
    """Say that an effect can never be carried out; a person has to look."""
    repository.sql.execute(
        update(OutboxRow)
        .where(OutboxRow.deduplication_key == key, OutboxRow.status == MessageStatus.WAITING.value)
        .values(status=MessageStatus.FAILED.value, finished_at=at, last_error=reason[:_LONGEST_ERROR])
    )


def is_waiting(repository: Repository, keys: Collection[str]) -> bool:
    """Whether any of these effects is still to be carried out."""
    row = repository.sql.scalar(
        select(OutboxRow.message_id)
        .where(OutboxRow.deduplication_key.in_(keys), OutboxRow.status == MessageStatus.WAITING.value)
        .limit(1)
    )
    return row is not None


def waiting(
    repository: Repository, at: datetime, limit: int = 100, effects: Collection[Effect] = frozenset(Effect)
) -> tuple[Message, ...]:
    """What is due of some kinds of effects, the longest due first."""
    rows = repository.sql.scalars(
        select(OutboxRow)
        .where(
            OutboxRow.status == MessageStatus.WAITING.value,
            OutboxRow.due_at <= at,
            OutboxRow.kind.in_(sorted(effect.value for effect in effects)),
        )
        .order_by(OutboxRow.due_at, OutboxRow.created_at, OutboxRow.message_id)
        .limit(limit)
    )
    return tuple(_message(row) for row in rows)


def failed(repository: Repository, limit: int = 100) -> tuple[tuple[Message, str], ...]:
    """What was given up, with its last error, newest first: a person has to look."""
    rows = repository.sql.scalars(
        select(OutboxRow)
        .where(OutboxRow.status == MessageStatus.FAILED.value)
        .order_by(OutboxRow.finished_at.desc(), OutboxRow.message_id)
        .limit(limit)
    )
    return tuple((_message(row), row.last_error or "") for row in rows)


def backlog(repository: Repository) -> dict[Effect, int]:
    """How many messages of each kind are waiting."""
    counts = repository.sql.execute(
        select(OutboxRow.kind, func.count())
        .where(OutboxRow.status == MessageStatus.WAITING.value)
        .group_by(OutboxRow.kind)
    )
    return {Effect(kind): count for kind, count in counts}


def _message(row: OutboxRow) -> Message:
    return Message(
        row.message_id,
        Effect(row.kind),
        row.deduplication_key,
        row.payload,
        row.attempts,
        row.created_at,
        row.due_at,
    )


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an effect is tried.

    Attributes:
        first_wait_s: Wait after the first failure; it doubles with each further one ...
        longest_wait_s: ... up to this.
        attempts: After so many failures an effect that is not money is given up.
    """

    first_wait_s: float = 1.0
    longest_wait_s: float = 900.0
    attempts: int = 20

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_wait_s <= 0 or self.longest_wait_s < self.first_wait_s:
            raise ValueError(
                f"Patience: expected at least 1 attempt and 0 < first_wait_s <= longest_wait_s,"
                f" got {self.attempts}, {self.first_wait_s} and {self.longest_wait_s}"
            )

    def wait_s(self, failures: int) -> float:
        """How long to wait after so many failures, at least 1.

        >>> [Patience(1.0, 5.0).wait_s(failures) for failures in (1, 2, 3, 4, 400)]
        [1.0, 2.0, 4.0, 5.0, 5.0]
        """
        return min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(failures - 1, 60))


LONG_PATIENCE: dict[Effect, Patience] = {
    Effect.RECEIPT: Patience(5.0, 3600.0, 57),
    Effect.MAIL: Patience(5.0, 3600.0, 57),
    Effect.WEBHOOK: Patience(5.0, 4 * 3600.0, 38),
}
"""Other people's servers may be away for a weekend: mail is tried for two days, a webhook for about five."""


class Sweeper:
    """Carries out what is due.

    Args:
        database: Where messages are kept.
        handlers: What to do for each kind of effect. A handler may be called twice for one message, and for one that
            somebody else is carrying out at that moment. It returns when the effect has happened, raises
            ``NotYetError`` or ``GivenUpError``, or anything else, which is taken for ``NotYetError``.
        first_wait_s: Wait after the first failure of an effect that ``patience`` does not name; it doubles with each
            further one ...
        longest_wait_s: ... up to this.
        attempts: After so many failures an effect that is not money is given up.
        patience: The same for effects that need more of it.
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[Effect, Handler],
        first_wait_s: float = 1.0,
        longest_wait_s: float = 900.0,
        attempts: int = 20,
        patience: Mapping[Effect, Patience] | None = None,
    ) -> None:
        self._database = database
        self._handlers = dict(handlers)
        self._usual = Patience(first_wait_s, longest_wait_s, attempts)
        self._patience = dict(LONG_PATIENCE if patience is None else patience)
        self._turns = {lane: threading.Lock() for lane in LANES}

    def sweep(
        self,
        at: datetime,
        lanes: Iterable[frozenset[Effect]] = LANES,
        stopped: Callable[[], bool] = lambda: False,
    ) -> int:
        """Try everything that is due in some lanes, once each. Calls for one lane take turns.

        Args:
            at: Now, timezone-aware.
            lanes: Which lanes, of ``LANES``.
            stopped: Asked before each message; what is left then stays for the next time.

        Returns:
            How many effects were carried out.
        """
        return sum(self._sweep_lane(lane, at, stopped) for lane in lanes)

    def _sweep_lane(self, lane: frozenset[Effect], at: datetime, stopped: Callable[[], bool]) -> int:
        # What nobody here can carry out must not stand before what somebody can.
        effects = lane & self._handlers.keys()
        if not effects:
            return 0
        with self._turns[lane]:
            with self._database.reading() as repository:
                due = waiting(repository, at, effects=effects)
            return sum(self._try(message, at) for message in due if not stopped() and self._claim(message, at))

    def _claim(self, message: Message, at: datetime) -> bool:
        """Keep other processes off a letter or a webhook for a while; whoever dies over it leaves it to the next.

        Money needs no claim, its receivers know its keys, and a restarted process should not have to wait.
        """
        if message.effect not in _CLAIMED:
            return True
        with self._database.transaction() as repository:
            claimed = repository.sql.execute(
                update(OutboxRow)
                .where(
                    OutboxRow.message_id == message.message_id,
                    OutboxRow.status == MessageStatus.WAITING.value,
                    OutboxRow.due_at == message.due_at,
                )
                .values(due_at=at + timedelta(seconds=_CLAIMED_FOR_S))
                .returning(OutboxRow.message_id)
            )
            return claimed.first() is not None

    def _try(self, message: Message, at: datetime) -> bool:
        try:
            self._handlers[message.effect](message)
        except GivenUpError as error:
            _log.warning("%s: given up: %s", message.key, error)
            self._put_off(message, at, error, message.attempts + 1, given_up=True)
        except NotYetError as error:
            _log.info("%s: attempt %d: %s", message.key, message.attempts + 1, error)
            self._fail(message, at, error, error.wait_s, counts=error.counts)
        except Exception as error:
            _log.exception("%s: attempt %d", message.key, message.attempts + 1)
            self._fail(message, at, error, None, counts=True)
        else:
            with self._database.transaction() as repository:
                finish(repository, message.key, at)
            return True
        return False

    def _fail(self, message: Message, at: datetime, error: Exception, wait_s: float | None, *, counts: bool) -> None:
        patience = self._patience.get(message.effect, self._usual)
        attempts = message.attempts + counts
        due_at = at + timedelta(seconds=max(wait_s or 0.0, patience.wait_s(max(attempts, 1))))
        spent = message.effect not in MONEY and counts and attempts >= patience.attempts
        self._put_off(message, due_at if not spent else at, error, attempts, given_up=spent)

    def _put_off(self, message: Message, due_at: datetime, error: Exception, attempts: int, *, given_up: bool) -> None:
        with self._database.transaction() as repository:
            repository.sql.execute(
                update(OutboxRow)
                .where(OutboxRow.message_id == message.message_id, OutboxRow.status == MessageStatus.WAITING.value)
                .values(
                    attempts=attempts,
                    last_error=f"{type(error).__name__}: {error}"[:_LONGEST_ERROR],
                    due_at=due_at,
                    status=(MessageStatus.FAILED if given_up else MessageStatus.WAITING).value,
                    finished_at=due_at if given_up else None,
                )
            )


class SweeperThread:
    """Sweeps once in a while, each lane in a thread of its own, until it is stopped. Use it as a context manager.

    Args:
        sweeper: What sweeps.
        now: The time, timezone-aware.
        every_s: How long to wait between two sweeps of a lane, seconds.
    """

    def __init__(self, sweeper: Sweeper, now: Callable[[], datetime], every_s: float = 1.0) -> None:
        if every_s <= 0:
            raise ValueError(f"every_s: expected more than 0 seconds, got {every_s}")
        self._sweeper = sweeper
        self._now = now
        self._every_s = every_s
        self._stopping = threading.Event()
        self._threads = [
            # Daemons: a receiver that never answers must not keep the process from ending.
            threading.Thread(target=self._run, args=(lane,), name=f"sweeper-{number}", daemon=True)
            for number, lane in enumerate(LANES)
        ]

    def start(self) -> None:
        """Begin to sweep."""
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether every lane is being swept."""
        return all(thread.is_alive() for thread in self._threads)

    def stop(self, timeout_s: float = 1.0) -> bool:
        """End it. What is being carried out at this moment goes on; whatever is not finished then stays in the outbox.

        Args:
            timeout_s: How long to wait for that, seconds, all lanes together.

        Returns:
            Whether every lane has ended.
        """
        self._stopping.set()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, lane: frozenset[Effect]) -> None:
        while not self._stopping.is_set():
            try:
                self._sweeper.sweep(self._now(), (lane,), self._stopping.is_set)
            except Exception:
                # Such as a database that is away: it comes back, and then everything is still there.
                _log.exception("sweeping failed; it goes on")
            self._stopping.wait(self._every_s)
