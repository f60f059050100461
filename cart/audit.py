"""Who did what, and who looked at whose records: a log that is only ever added to.

An entry outlives the account it is about, so nothing in it may say who somebody is: it names accounts by their ids, and
an entry with an e-mail address in it is refused.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select

from cart.events import check_aware
from cart.repository import Repository
from cart.tables import AuditRow

LOOKED = "looked"
"""Action of somebody who read another one's records."""
LONGEST_PAGE = 500

_EMAIL_LIKE = re.compile(r"[^\s@]@[^\s@]")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that was done.

    Attributes:
        position: Place in the log, rising.
        at: When, timezone-aware.
        actor_id: The account that did it; None for the store itself, or somebody without an account.
        action: What, such as ``account.blocked``.
        subject: What it was done to, such as ``account:...`` or ``session:...``.
        detail: What else there is to say, JSON.
    """

    position: int
    at: datetime
    actor_id: UUID | None
    action: str
    subject: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A part of the log, newest first.

    Attributes:
        entries: What is in it.
        older_than: Pass it to get the next page; None on the last one.
    """

    entries: tuple[AuditEntry, ...]
    older_than: int | None


def account_subject(account_id: UUID) -> str:
    """The subject of an entry about an account."""
    return f"account:{account_id}"


def record(
    repository: Repository,
    actor_id: UUID | None,
    action: str,
    subject: str,
    detail: Mapping[str, Any],
    at: datetime,
) -> None:
    """Write an entry, in the transaction of what it tells of.

    Args:
        repository: The transaction.
        actor_id: The account that does it; None for the store itself, or somebody without an account.
        action: What, such as ``account.blocked``.
        subject: What it is done to, such as ``account:...``.
        detail: What else there is to say, JSON; ids, never names or addresses.
        at: Now, timezone-aware.

    Raises:
        ValueError: No action or subject, or an e-mail address in any of it.
    """
    check_aware("at", at)
    if not action or not subject:
        raise ValueError(f"audit: expected an action and a subject, got {action!r} and {subject!r}")
    if any(_EMAIL_LIKE.search(text) for text in (action, subject, *_texts(detail))):
        # The message does not repeat it: errors are logged.
        raise ValueError(f"audit: expected an entry without e-mail addresses, got one in {action!r}")
    repository.sql.add(AuditRow(at=at, actor_id=actor_id, action=action, subject=subject, detail=dict(detail)))
    repository.sql.flush()


def looked(repository: Repository, actor_id: UUID | None, account_id: UUID, what: str, at: datetime) -> None:
    """Write that somebody read records of an account; one's own are not worth an entry.

    Args:
        repository: The transaction.
        actor_id: Who looked; None for the store itself.
        account_id: Whose records.
        what: Which records, such as ``session:...`` or ``export``.
        at: Now, timezone-aware.
    """
    if actor_id != account_id:
        record(repository, actor_id, LOOKED, account_subject(account_id), {"what": what}, at)


def subjects(repository: Repository, action: str) -> set[str]:
    """What an action was ever done to."""
    return set(repository.sql.scalars(select(AuditRow.subject).where(AuditRow.action == action).distinct()))


def page(
    repository: Repository,
    *,
    subject: str | None = None,
    actor_id: UUID | None = None,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    older_than: int | None = None,
    limit: int = 50,
) -> AuditPage:
    """Read the log, newest first.

    Args:
        repository: The transaction.
        subject: Only entries about it.
        actor_id: Only what this account did.
        action: Only this action, or those of its family: ``account`` has ``account.blocked`` in it.
        since: Only what was done then or later, timezone-aware.
        until: Only what was done before, timezone-aware.
        older_than: Only entries before this position: the previous page's ``older_than``.
        limit: At most so many, 1 to 500.

    Raises:
        ValueError: The limit is out of bounds.
    """
    if not 1 <= limit <= LONGEST_PAGE:
        raise ValueError(f"limit: expected 1 to {LONGEST_PAGE}, got {limit}")
    query = select(AuditRow).order_by(AuditRow.position.desc()).limit(limit + 1)
    if subject is not None:
        query = query.where(AuditRow.subject == subject)
    if actor_id is not None:
        query = query.where(AuditRow.actor_id == actor_id)
    if action is not None:
        of_family = AuditRow.action.startswith(f"{action}.", autoescape=True)
        query = query.where(or_(AuditRow.action == action, of_family))
    if since is not None:
        query = query.where(AuditRow.at >= since)
    if until is not None:
        query = query.where(AuditRow.at < until)
    if older_than is not None:
        query = query.where(AuditRow.position < older_than)
    rows = repository.sql.scalars(query).all()
    entries = tuple(
        AuditEntry(row.position, row.at, row.actor_id, row.action, row.subject, row.detail) for row in rows[:limit]
    )
    return AuditPage(entries, entries[-1].position if len(rows) > limit else None)


def who_looked(
    repository: Repository, account_id: UUID, *, older_than: int | None = None, limit: int = 50
) -> AuditPage:
    """Read who looked at an account's records, newest first; the arguments are those of ``page``."""
    return page(repository, subject=account_subject(account_id), action=LOOKED, older_than=older_than, limit=limit)


def _texts(value: object) -> Iterable[str]:
    """Every text in a JSON value, keys as well."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield str(key)
            yield from _texts(member)
    elif isinstance(value, Iterable):
        for member in value:
            yield from _texts(member)
