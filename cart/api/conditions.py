"""Conditional requests (RFC 9110, section 13): answers named by ``ETag``, so that nothing is sent or changed twice."""

import hashlib
import re

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel

from cart.api.problems import ProblemError

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
NOT_MODIFIED = {"description": "It is as you know it.", "content": {}}
PRIVATE = "private, no-cache"
"""May be kept by its owner alone, and is asked for each time."""


def tag_of(content: bytes | str) -> str:
    """The entity tag of an answer's content.

    >>> tag_of("a") == tag_of("a"), tag_of("a") == tag_of("b")
    (True, False)
    """
    raw = content.encode() if isinstance(content, str) else content
    return f'"{hashlib.sha256(raw).hexdigest()[:32]}"'


def tagged(request: Request, content: BaseModel, tag: str | None = None) -> Response:
    """Answer with JSON and its tag, or with 304 if the asker has just that.

    Args:
        request: The request.
        content: What is told.
        tag: Names what is told; made from it by default.
    """
    body = content.model_dump_json().encode()
    return tagged_bytes(request, body, "application/json", tag or tag_of(body))


def tagged_bytes(request: Request, body: bytes, media_type: str, tag: str, vary: str | None = None) -> Response:
    """Answer with content and its tag, or with 304 if the asker has just that."""
    headers = {"ETag": tag, "Cache-Control": PRIVATE}
    if vary is not None:
        headers["Vary"] = vary
    if _names(request.headers.get("if-none-match"), tag, weak=True):
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, media_type)


def check_unchanged(request: Request, tag: str) -> None:
    """Refuse a change to what is no longer as the asker saw it; without ``If-Match`` nothing is checked.

    Raises:
        ProblemError: 412, it was changed meanwhile.
    """
    wanted = request.headers.get("if-match")
    if wanted is not None and not _names(wanted, tag, weak=False):
        raise ProblemError(412, "it was changed meanwhile, read it again", "changed")


def _names(header: str | None, tag: str, *, weak: bool) -> bool:
    if header is None:
        return False
    if header.strip() == "*":
        return True
    tags = _TAG.findall(header)
    return tag in ([each.removeprefix("W/") for each in tags] if weak else tags)
