"""Every error answer of the API: problem details of RFC 9457, whatever went wrong and wherever it did."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from cart.errors import StoreError, TooManyAttempts

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
CHALLENGE = 'Bearer realm="tillfree"'
"""How to say who one is (RFC 6750)."""
RETRY_AFTER_S = 5
"""When to ask again after an answer that says "not now"."""
_MOST_ERRORS = 20
_LONGEST_TEXT = 200


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="The place in the request, such as `body.email` or `query.limit`.")
    problem: str = Field(description="What is wrong there; never what was sent.")


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"type": "about:blank", "title": "Not Found", "status": 404}]}
    )

    type: str = Field(default="about:blank", description="A name for the kind of problem; `urn:tillfree:...` or blank.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status again.", ge=400, le=599)
    detail: str | None = Field(default=None, description="What happened this time, for people.")
    errors: list[FieldError] | None = Field(default=None, description="What is wrong with the request, place by place.")


class ProblemError(Exception):
    """A request that the interface itself says no to.

    Args:
        status: HTTP status.
        detail: What happened, for people.
        name: A name for the kind of problem, for programs, such as ``idempotency-key-missing``.
        headers: Further headers of the answer.
    """

    def __init__(
        self, status: int, detail: str, name: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.name = name
        self.headers = dict(headers or {})


def problem_response(
    status: int,
    title: str | None = None,
    detail: str | None = None,
    name: str | None = None,
    errors: Sequence[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Make a problem answer.

    Args:
        status: HTTP status.
        title: The kind of problem; the status' own phrase by default.
        detail: What happened this time.
        name: A name for the kind of problem, for programs.
        errors: What is wrong with the request, place by place.
        headers: Further headers.
    """
    problem = Problem(
        type="about:blank" if name is None else f"urn:tillfree:problem:{name}",
        title=title or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=None if errors is None else list(errors),
    )
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers, MEDIA_TYPE)


def store_problem(error: StoreError) -> JSONResponse:
    """What a fact about the business is answered with: its own status and title, its message as detail."""
    name = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in type(error).__name__).lstrip("-")
    # What is our own fault is told to the log and not to the world; a payment without an answer is nobody's secret.
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s: %s", type(error).__name__, error)
        return problem_response(error.status, error.title)
    wait_s = error.retry_after_s if isinstance(error, TooManyAttempts) else RETRY_AFTER_S
    headers = {"Retry-After": str(wait_s)} if error.status in (429, 503) else {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    return problem_response(error.status, error.title, str(error) or None, name, headers=headers)


def validation_problem(error: RequestValidationError) -> JSONResponse:
    """What a request is answered with that does not fit what the route takes.

    Nothing that was sent is repeated: it may be a password, and it may be large.
    """
    errors = [
        FieldError(where=_place(entry["loc"]), problem=_shortened(str(entry["msg"])))
        for entry in error.errors()[:_MOST_ERRORS]
    ]
    return problem_response(422, "The request does not fit", name="validation", errors=errors)


def _place(location: Sequence[Any]) -> str:
    return _shortened(".".join(str(step) for step in location))


def _shortened(text: str) -> str:
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    return printable if len(printable) <= _LONGEST_TEXT else printable[: _LONGEST_TEXT - 1] + "…"


def to_problem(error: Exception) -> Response | None:
    """The answer to an error that the interface knows; None for one that nobody expected."""
    match error:
        case StoreError():
            return store_problem(error)
        case ProblemError():
            return problem_response(error.status, None, error.detail, error.name, headers=error.headers)
        case RequestValidationError():
            return validation_problem(error)
        case HTTPException():
            detail = None if error.detail == HTTPStatus(error.status_code).phrase else _shortened(str(error.detail))
            return problem_response(error.status_code, detail=detail, headers=error.headers)
        case _:
            return None


def install(app: FastAPI) -> None:
    """Have an application answer every error that is known with problem details; see ``cart.api.app.Envelope``."""

    async def answer(request: Request, error: Exception) -> Response:
        response = to_problem(error)
        if response is None:
            raise error
        return response

    for kind in (StoreError, ProblemError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)
