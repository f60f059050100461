"""Requests that are answered once: the ``Idempotency-Key`` header of draft-ietf-httpapi-idempotency-key-header-07.

The first request under a key claims it, in a transaction of its own, before anything happens; its answer is kept, and a
repeat gets that answer. Keys belong to the caller, so nobody reads another's answer. An answer that leaves open what
happened (5xx) is not kept: the request may be tried again, and what it does is safe to repeat. Nor is a claim for ever
whose process died before it could answer.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from fastapi.responses import Response
from sqlalchemy import ColumnElement, delete, update
from sqlalchemy.exc import IntegrityError

from cart.api.problems import ProblemError
from cart.repository import Database
from cart.tables import IdempotentReplyRow

HEADER = "Idempotency-Key"
ABANDONED_AFTER = timedelta(seconds=90)
"""Longer than any request takes: its process died, and the key may be claimed anew."""
_KEPT_HEADERS = ("location", "etag")
KEY_PATTERN = r"^[A-Za-z0-9_.:-]+$"
"""What documents promise; a few more characters are taken."""
# A structured field string (RFC 9651), or the same characters bare, as most clients send it.
_KEY = re.compile(
    r'"(?P<quoted>[\x20\x21\x23-\x5b\x5d-\x7e]{1,255})"|(?P<bare>[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]{1,255})'
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that this request alone may answer.

    Attributes:
        caller: Whose key.
        key: The key.
        fingerprint: Of the request.
        claimed_at: When; a claim that was taken over meanwhile has another time.
    """

    caller: str
    key: str
    fingerprint: str
    claimed_at: datetime


def parse_key(header: str) -> str:
    """Read the header's value.

    Raises:
        ProblemError: 400, it is no key.

    >>> parse_key('"8e03978e"'), parse_key("8e03978e")
    ('8e03978e', '8e03978e')
    """
    match = _KEY.fullmatch(header.strip())
    if match is None:
        raise ProblemError(
            400, f"{HEADER}: expected a string of 1 to 255 visible ASCII characters", "idempotency-key-invalid"
        )
    return match["quoted"] or match["bare"]


def fingerprint_of(method: str, path: str, media_type: str, body: bytes, key: str, *, secret: bool) -> str:
    """What makes a repeat the same request.

    Args:
        method: HTTP method.
        path: With the query.
        media_type: Of the body.
        body: The body.
        key: The idempotency key.
        secret: Whether the body holds a password. Its print must then be slow to compute, or whoever reads the
            database could find the password by trying.
    """
    parts = "\n".join((method, path, media_type)).encode("utf-8", "surrogateescape") + b"\n" + body
    if secret:
        return hashlib.scrypt(parts, salt=key.encode(), n=2**14, r=8, p=1, dklen=32).hex()
    return hashlib.sha256(parts).hexdigest()


class Replies:
    """Answers that are kept.

    Args:
        database: Where.
        keep: How long; an older answer counts as forgotten, whether or not it was thrown away yet.
    """

    def __init__(self, database: Database, keep: timedelta) -> None:
        self._database = database
        self._keep = keep

    def claim(self, caller: str, key: str, fingerprint: str, at: datetime) -> Claim | Response:
        """Claim a key, or find what was answered under it.

        Args:
            caller: Whose key.
            key: The key.
            fingerprint: Of the request.
            at: Now.

        Raises:
            ProblemError: 409, the first request is not answered yet; 422, the key came with another request.
        """
        claim = Claim(caller, key, fingerprint, at)
        try:
            with self._database.transaction() as repository:
                row = repository.sql.get(
                    IdempotentReplyRow, (caller, key), with_for_update=True, populate_existing=True
                )
                if row is not None and row.created_at < at - self._keep:
                    repository.sql.delete(row)
                    repository.sql.flush()
                    row = None
                if row is None:
                    repository.sql.add(
                        IdempotentReplyRow(caller=caller, key=key, request_sha256=fingerprint, created_at=at)
                    )
                    return claim
                if row.request_sha256 != fingerprint:
                    raise ProblemError(422, f"this {HEADER} was used for another request", "idempotency-key-reused")
                if row.status_code is not None:
                    return _response(row)
                if row.created_at < at - ABANDONED_AFTER:
                    row.created_at = at
                    return claim
        except IntegrityError:
            # Somebody else claimed it between our look and our commit.
            pass
        raise ProblemError(409, f"the first request under this {HEADER} is not answered yet", "idempotency-key-in-use")

    def keep(self, claim: Claim, status: int, media_type: str | None, headers: dict[str, str], body: bytes) -> None:
        """Keep the answer to a claimed request, unless its claim was taken over."""
        with self._database.transaction() as repository:
            repository.sql.execute(
                update(IdempotentReplyRow)
                .where(*_is(claim))
                .values(status_code=status, media_type=media_type, headers=headers, body=body)
            )

    def release(self, claim: Claim) -> None:
        """Let a claimed key go without an answer, so that the request can be tried again."""
        with self._database.transaction() as repository:
            repository.sql.execute(delete(IdempotentReplyRow).where(*_is(claim)))


def kept_headers(response: Response) -> dict[str, str]:
    """Those headers of an answer that belong to it and not to the connection."""
    return {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}


def _is(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        IdempotentReplyRow.caller == claim.caller,
        IdempotentReplyRow.key == claim.key,
        IdempotentReplyRow.created_at == claim.claimed_at,
        IdempotentReplyRow.status_code.is_(None),
    )


def _response(row: IdempotentReplyRow) -> Response:
    headers = {**(row.headers or {}), "Idempotent-Replayed": "true"}
    return Response(row.body or b"", row.status_code or 200, headers, row.media_type)
