"""What happens to every request before its route sees it: who asks, how often, may they, was it answered before."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID, uuid5

from fastapi import Depends, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from cart.accounts import Principal
from cart.api.idempotency import HEADER, KEY_PATTERN, Claim, Replies, fingerprint_of, kept_headers, parse_key
from cart.api.limits import Rate, RateLimiter
from cart.api.problems import CHALLENGE, ProblemError, to_problem
from cart.api.rules import Keyed, Pace, Rule, rule_of
from cart.api.schemas import problem_content
from cart.api.shop import Shop
from cart.errors import StoreError

_log = logging.getLogger(__name__)

Answer = Callable[[Request], Awaitable[Response]]

BODY_TIMEOUT_S = 30.0
"""A body that takes longer to come is not waited for."""
_LONGEST_TOKEN = 512


class ShopRoute(APIRoute):
    """A route that asks the table of rules first, and answers nobody if that has none for it."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        # Taken from FastAPI, whose own answer to a body that is too large is no problem of RFC 9457.
        self._most_bytes: int | None = options.pop("max_body_size", None)
        methods = set(options.get("methods") or ("GET",))
        rules = [rule for rule in (rule_of(method, path) for method in methods) if rule is not None]
        if rules:
            takes_body = not methods <= {"GET", "HEAD", "DELETE"}
            options["responses"] = {**_answers_of(rules[0], takes_body=takes_body), **(options.get("responses") or {})}
            options["openapi_extra"] = {**_extra_of(rules[0]), **(options.get("openapi_extra") or {})}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the gatekeeper before FastAPI's own handler."""
        answer = super().get_route_handler()
        path, most_bytes = self.path, self._most_bytes

        async def handle(request: Request) -> Response:
            request.state.route = path
            limit = request.app.state.shop.settings.max_request_bytes if most_bytes is None else most_bytes
            bounded = Request(request.scope, _bounded(request.receive, limit))
            return await _serve(bounded, rule_of(request.method, path), answer)

        return handle


def _answers_of(rule: Rule, *, takes_body: bool) -> dict[int | str, dict[str, Any]]:
    """What a route may answer because of its rule, whatever it is about."""
    statuses = {400: "The request cannot be read.", 422: "The request does not fit.", 500: "The store failed."}
    if takes_body:
        statuses |= {408: "The body did not come in time.", 413: "The body is too large."}
    if rule.scope is not None:
        statuses |= {401: "No token, or one that does not work.", 403: "The caller may not do this."}
    if rule.pace is not Pace.FREE:
        statuses[429] = "Too many requests, see Retry-After."
    if rule.keyed is not Keyed.NO:
        statuses[409] = "The first request under this key is not answered yet."
    if rule.demo_only:
        statuses[404] = "This is no demo store."
    return {status: problem_content(text) for status, text in statuses.items()}


def _extra_of(rule: Rule) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if rule.scope is not None:
        extra["security"] = [{"bearer": []}, {}] if rule.public_in_demo else [{"bearer": []}]
        extra["x-scope"] = rule.scope if rule.everybodys is None else f"{rule.scope} | {rule.everybodys}"
    if rule.keyed is not Keyed.NO:
        parameter = {
            "name": HEADER,
            "in": "header",
            "required": rule.keyed is Keyed.REQUIRED,
            "description": "Any string of yours that names this request; its repeat gets the first one's answer.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": KEY_PATTERN},
        }
        extra["parameters"] = [parameter]
    return extra


def _bounded(receive: Receive, most_bytes: int) -> Receive:
    """Receive a body up to a size; what is larger is not read to its end."""
    read = 0

    async def receive_bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > most_bytes:
            raise HTTPException(413, f"expected a body of at most {most_bytes} bytes")
        return message

    return receive_bounded


async def _serve(request: Request, rule: Rule | None, answer: Answer) -> Response:
    headers: dict[str, str] = {}
    try:
        response = await _guarded(request, rule, answer, headers)
    except Exception as error:
        known = to_problem(error)
        if known is None:
            raise
        response = known
    for name, value in headers.items():
        response.headers.setdefault(name, value)
    return response


async def _guarded(request: Request, rule: Rule | None, answer: Answer, headers: dict[str, str]) -> Response:
    shop: Shop = request.app.state.shop
    if rule is None:
        raise ProblemError(403, "nobody may call this route")
    if rule.demo_only and shop.demo is None:
        raise ProblemError(404, "this is no demo store")
    principal, refusal = None, None
    is_public = rule.scope is None or (rule.public_in_demo and shop.demo is not None)
    if rule.scope is not None:
        principal, refusal = await _authenticate(request, shop, public=is_public)
    request.state.principal, request.state.rule = principal, rule
    _take(request, rule, principal, headers)
    if refusal is not None:
        raise refusal
    if principal is not None and not is_public:
        _check(rule, principal, request)
    if rule.keyed is Keyed.NO:
        return await answer(request)
    return await _answer_once(request, rule, principal, answer)


async def _authenticate(request: Request, shop: Shop, *, public: bool) -> tuple[Principal | None, Exception | None]:
    """Find out who asks; who does not say so is somebody only where the route is public."""
    header = request.headers.get("authorization")
    if header is None:
        return None, None if public else _unauthenticated("expected a bearer token")
    scheme, _, secret = header.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret or len(secret) > _LONGEST_TOKEN or not secret.isascii():
        return None, _unauthenticated("expected Authorization: Bearer and a token")
    try:
        return await run_in_threadpool(shop.accounts.authenticate, secret), None
    except StoreError as error:
        if error.status == HTTPStatus.UNAUTHORIZED:
            return None, _unauthenticated(str(error), 'error="invalid_token"')
        return None, error


def _unauthenticated(detail: str, more: str = "") -> ProblemError:
    challenge = f"{CHALLENGE}, {more}" if more else CHALLENGE
    return ProblemError(401, detail, "unauthenticated", {"WWW-Authenticate": challenge})


def _take(request: Request, rule: Rule, principal: Principal | None, headers: dict[str, str]) -> None:
    """Count the request against its caller's rate limit."""
    settings = request.app.state.shop.settings
    limiter: RateLimiter = request.app.state.limiter
    if rule.pace is Pace.FREE:
        return
    caller = address_of(request) if principal is None else str(principal.account_id)
    if rule.pace is Pace.STRICT:
        per_minute = settings.sign_ins_per_minute
    elif rule.pace is Pace.MACHINE:
        per_minute = settings.device_requests_per_minute
    else:
        per_minute = settings.requests_per_minute
    allowance = limiter.take(f"{rule.pace}:{caller}", Rate(per_minute))
    headers.update(allowance.headers)
    if not allowance.allowed:
        raise ProblemError(429, "too many requests, see Retry-After", "rate-limited")


def address_of(request: Request) -> str:
    """Where a request comes from, as far as the server knows."""
    return "address:unknown" if request.client is None else f"address:{request.client.host}"


def _check(rule: Rule, principal: Principal, request: Request) -> None:
    if rule.allows(principal, request.path_params):
        return
    if principal.role in rule.roles:
        raise ProblemError(403, f"this token does not include {rule.scope}", "scope")
    raise ProblemError(403, f"a {principal.role} may not do this", "role")


async def _answer_once(request: Request, rule: Rule, principal: Principal | None, answer: Answer) -> Response:
    values = request.headers.getlist(HEADER)
    if not values:
        if rule.keyed is Keyed.REQUIRED:
            raise ProblemError(400, f"expected the header {HEADER}", "idempotency-key-missing")
        return await answer(request)
    key = parse_key(values[0] if len(values) == 1 else "")
    shop: Shop = request.app.state.shop
    replies: Replies = request.app.state.replies
    caller = address_of(request) if principal is None else str(principal.account_id)
    address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    media_type = request.headers.get("content-type", "")
    body = await read_body(request)
    fingerprint = await run_in_threadpool(
        fingerprint_of, request.method, address, media_type, body, key, secret=rule.holds_password
    )
    claim = await run_in_threadpool(replies.claim, caller, key, fingerprint, shop.now())
    if isinstance(claim, Response):
        return claim
    request.state.idempotency_key = key
    try:
        response, refused = await _answer_or_problem(request, answer)
    except BaseException:
        await _release(replies, claim)
        raise
    # What says nothing of what has happened, or was refused before anything could happen, may be tried again.
    if refused or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        await _release(replies, claim)
    else:
        kind = response.headers.get("content-type")
        await run_in_threadpool(
            replies.keep, claim, response.status_code, kind, kept_headers(response), bytes(response.body)
        )
    return response


async def _answer_or_problem(request: Request, answer: Answer) -> tuple[Response, bool]:
    """The route's answer, and whether the interface refused the request before the store was asked."""
    try:
        return await answer(request), False
    except Exception as error:
        known = to_problem(error)
        if known is None:
            raise
        return known, not isinstance(error, StoreError)


async def _release(replies: Replies, claim: Claim) -> None:
    # Also when the client has gone and this task is being cancelled.
    await asyncio.shield(run_in_threadpool(replies.release, claim))


async def read_body(request: Request) -> bytes:
    """Read a request's body, which the route can then read again.

    Raises:
        ProblemError: 408, it does not come.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.body()
    except TimeoutError:
        raise ProblemError(408, "the body did not come in time", "slow-body") from None


def _shop(request: Request) -> Shop:
    shop: Shop = request.app.state.shop
    return shop


def _caller(request: Request) -> Principal:
    principal: Principal | None = request.state.principal
    if principal is None:
        raise _unauthenticated("expected a bearer token")
    return principal


def _anybody(request: Request) -> Principal | None:
    principal: Principal | None = request.state.principal
    return principal


def _sees_all(request: Request) -> bool:
    principal: Principal | None = request.state.principal
    rule: Rule = request.state.rule
    return principal is not None and rule.sees_all(principal)


def _cause(request: Request) -> UUID:
    # A repeat under the same key gives the same id, should the answer that was kept be lost.
    shop: Shop = request.app.state.shop
    principal: Principal | None = request.state.principal
    key: str | None = getattr(request.state, "idempotency_key", None)
    return (
        shop.new_id() if key is None or principal is None else uuid5(principal.account_id, f"{request.url.path}:{key}")
    )


TheShop = Annotated[Shop, Depends(_shop)]
Caller = Annotated[Principal, Depends(_caller)]
MaybeCaller = Annotated[Principal | None, Depends(_anybody)]
SeesAll = Annotated[bool, Depends(_sees_all)]
"""Whether the caller sees also what belongs to others."""
Cause = Annotated[UUID, Depends(_cause)]
"""An id for what a request does, the same for its repeat under the same idempotency key."""
