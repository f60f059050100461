"""Pages of a list: at most ``limit`` entries, and an opaque cursor that says after which entry the next page starts.

A cursor names the list it belongs to and the key of the last entry seen; it gives nobody any right, so it is checked
and not signed. Entries that come in while somebody turns pages are neither lost nor shown twice.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from fastapi import Query, Request
from pydantic import BaseModel, Field

from cart.api.problems import ProblemError

MOST_ENTRIES = 100
USUAL_ENTRIES = 20
_LONGEST_CURSOR = 300
_PATTERN = "^[A-Za-z0-9_-]+$"

Key = tuple[str | int, ...]
_Entry = TypeVar("_Entry")
_Model = TypeVar("_Model", bound=BaseModel)

Limit = Annotated[int, Query(ge=1, le=MOST_ENTRIES, description="How many entries a page has at most.")]
"""Give it ``USUAL_ENTRIES`` as default."""
After = Annotated[
    str | None,
    Query(
        alias="cursor",
        min_length=1,
        max_length=_LONGEST_CURSOR,
        pattern=_PATTERN,
        description="Where the page before ended: its `next_cursor`.",
    ),
]


class Page(BaseModel, Generic[_Model]):
    """One page of a list."""

    items: list[_Model]
    next_cursor: str | None = Field(description="What to ask the next page with; null on the last one.")
    next: str | None = Field(description="Address of the next page, relative; null on the last one.")


def encode_cursor(name: str, key: Key) -> str:
    """Write a cursor.

    Args:
        name: The list.
        key: Of the last entry seen.
    """
    return base64.urlsafe_b64encode(json.dumps([name, *key], separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(name: str, cursor: str, kinds: tuple[type, ...]) -> Key:
    """Read a cursor.

    Args:
        name: The list it has to belong to.
        cursor: As it was given out.
        kinds: What its key consists of.

    Raises:
        ProblemError: 400, it is no cursor of this list.

    >>> decode_cursor("receipts", encode_cursor("receipts", ("2026-01-01", 7)), (str, int))
    ('2026-01-01', 7)
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        entry = json.loads(text)
    except (binascii.Error, ValueError, RecursionError):
        raise _no_cursor(name) from None
    if not isinstance(entry, list) or len(entry) != len(kinds) + 1 or entry[0] != name:
        raise _no_cursor(name)
    key = tuple(entry[1:])
    # bool is an int to Python, and a number out of range would only fail in the database.
    if any(type(part) is not kind for part, kind in zip(key, kinds, strict=True)):
        raise _no_cursor(name)
    if any(isinstance(part, int) and abs(part) >= 2**63 for part in key):
        raise _no_cursor(name)
    return key


def moment_and_id(name: str, cursor: str | None) -> tuple[datetime, UUID] | None:
    """Read a cursor of a list that is ordered by time and id; None for the first page.

    Raises:
        ProblemError: 400, it is no cursor of this list.
    """
    if cursor is None:
        return None
    moment, entry_id = decode_cursor(name, cursor, (str, str))
    try:
        at, found = datetime.fromisoformat(str(moment)), UUID(str(entry_id))
    except ValueError:
        raise _no_cursor(name) from None
    if at.tzinfo is None or at.utcoffset() is None:
        raise _no_cursor(name)
    return at, found


def position(name: str, cursor: str | None) -> int | None:
    """Read a cursor of a list that is ordered by a running number; None for the first page.

    Raises:
        ProblemError: 400, it is no cursor of this list.
    """
    return None if cursor is None else int(decode_cursor(name, cursor, (int,))[0])


def id_key(name: str, cursor: str | None) -> UUID | None:
    """Read a cursor of a list that is ordered by id; None for the first page.

    Raises:
        ProblemError: 400, it is no cursor of this list.
    """
    if cursor is None:
        return None
    try:
        return UUID(str(decode_cursor(name, cursor, (str,))[0]))
    except ValueError:
        raise _no_cursor(name) from None


def text_key(name: str, cursor: str | None) -> str | None:
    """Read a cursor of a list that is ordered by a text; None for the first page.

    Raises:
        ProblemError: 400, it is no cursor of this list.
    """
    if cursor is None:
        return None
    text = str(decode_cursor(name, cursor, (str,))[0])
    if "\0" in text or not text.isprintable():
        raise _no_cursor(name)
    return text


@dataclass(frozen=True, slots=True)
class Listing:
    """A list that is read page by page.

    Attributes:
        name: Its name, part of its cursors.
        request: The request for a page, whose address the next page's is made from.
        limit: Entries a page.
    """

    name: str
    request: Request
    limit: int

    def page(
        self, found: Sequence[_Entry], key: Callable[[_Entry], Key], model: Callable[[_Entry], _Model]
    ) -> Page[_Model]:
        """Make a page.

        Args:
            found: Up to ``limit + 1`` entries; one more than fits says that there is a next page.
            key: What its cursor names an entry by.
            model: What is told of an entry.
        """
        shown = found[: self.limit]
        cursor = encode_cursor(self.name, key(shown[-1])) if len(found) > self.limit else None
        return self.with_cursor([model(entry) for entry in shown], cursor)

    def with_cursor(self, items: list[_Model], cursor: str | None) -> Page[_Model]:
        """Make a page whose next one begins at a cursor; None for the last one."""
        address = None if cursor is None else self.request.url.include_query_params(cursor=cursor)
        return Page(
            items=items, next_cursor=cursor, next=None if address is None else f"{address.path}?{address.query}"
        )


def _no_cursor(name: str) -> ProblemError:
    return ProblemError(400, f"cursor: expected a next_cursor of {name}", "cursor")
