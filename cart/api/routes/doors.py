"""Doors: entry codes, scans at gates, guests, what gates are ordered and say, samples of scales."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field, Strict, ValidationError
from starlette.concurrency import run_in_threadpool

from cart.api.problems import ProblemError
from cart.api.routes.visits import SessionShown, own_session, session_shown
from cart.api.routing import Caller, ShopRoute, TheShop, read_body
from cart.api.schemas import Body, GateName, PlateName, Shown, problems
from cart.api.shop import ScaleMessage, Shop
from cart.doors import MAX_GUESTS, Decision, Doorman, ScanDecision, ScanReason
from cart.entry_codes import STEP_S
from cart.errors import AccountNotFound, GrantNotFound, GuestsRefused, SessionAlreadyClosed, SessionNotFound

router = APIRouter(route_class=ShopRoute, tags=["doors"])

MOST_PICTURE_BYTES = 4 * 1024 * 1024
SAMPLES_A_MESSAGE = 12
"""As scales of the AutoCheckout format send them."""
_PICTURES = ("image/jpeg", "image/png")
_LONGEST_CODE = 512


class EntryCodeShown(Shown):
    """A code to show at a gate, as the text of a QR code."""

    code: str
    expires_at: datetime
    step_s: int = Field(description="The next code is made after so many seconds.")
    store_id: str


class EntryKeyShown(Shown):
    """A secret from which a phone makes entry codes without a network; it is shown this once."""

    key_id: str
    secret: str = Field(description="32 bytes in hexadecimal digits.")
    store_id: str
    step_s: int
    format: Literal["TF1"] = Field(default="TF1", description="How a code is made of it; see the documentation.")


class ScanBody(Body):
    """What a gate has read."""

    code: Annotated[str, Field(max_length=_LONGEST_CODE, description="The text of the QR code, whatever it is.")]


class ScanAnswer(Shown):
    """Whether the gate opens."""

    decision: Decision
    reason: ScanReason
    session_id: UUID | None = Field(description="The visit that begins, or that a guest joins.")
    scan_id: UUID
    grant_id: UUID | None = Field(description="The gate opens once for it.")
    expires_at: datetime | None = Field(description="And not from then on.")


class Guests(Body):
    """How many more people may come in on this visit's account."""

    guests_allowed: Annotated[int, Strict(), Field(ge=0, le=MAX_GUESTS, description="0 closes the party.")]


class CommandShown(Shown):
    """An order to a gate to open once."""

    grant_id: UUID
    gate_id: str
    issued_at: datetime
    expires_at: datetime


class Commands(Shown):
    """Orders that are good and not answered, oldest first."""

    items: list[CommandShown]


class GateAnswerBody(Body):
    """What a gate did about an order."""

    opened: Annotated[bool, Strict()] = Field(description="Whether it opened for it.")
    passed: Annotated[bool, Strict()] = Field(
        default=True, description="False if it opened and shut again without anybody passing."
    )


class Samples(Body):
    """Samples of one plate, evenly spaced."""

    timestamp_ns: Annotated[int, Strict(), Field(ge=0, lt=2**63, description="Of the first one, on the store's clock.")]
    rate_hz: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
    grams: Annotated[
        list[Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]],
        Field(min_length=SAMPLES_A_MESSAGE, max_length=SAMPLES_A_MESSAGE),
    ]


KeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]


@router.post("/v1/entry-codes", status_code=201, responses=problems(AccountNotFound, 503))
def make_entry_code(shop: TheShop, caller: Caller) -> EntryCodeShown:
    """Get a code to show at a gate; it is good once and for about half a minute."""
    doorman = _doorman(shop)
    made = doorman.entry_code(caller.account_id)
    return EntryCodeShown(code=made.code, expires_at=made.expires_at, step_s=made.step_s, store_id=doorman.store_id)


@router.post("/v1/entry-keys", status_code=201, responses=problems(AccountNotFound, 503))
def enrol_phone(shop: TheShop, caller: Caller) -> EntryKeyShown:
    """Get a secret from which this phone makes codes by itself, also without a network."""
    doorman = _doorman(shop)
    key = doorman.issue_key(caller.account_id)
    return EntryKeyShown(key_id=key.key_id, secret=key.secret.hex(), store_id=doorman.store_id, step_s=STEP_S)


@router.delete("/v1/entry-keys/{key_id}", status_code=204, responses=problems(404, 503))
def revoke_entry_key(key_id: KeyId, shop: TheShop, caller: Caller) -> None:
    """Make a phone's secret worthless, as when it was lost."""
    if not _doorman(shop).revoke_key(caller.account_id, key_id):
        raise ProblemError(404, f"there is no entry key {key_id}")


@router.post(
    "/v1/gates/{gate}/scans",
    response_model=ScanAnswer,
    responses=problems(503, s404="The demo has no such gate", s415="Neither JSON nor a JPEG or PNG picture"),
    max_body_size=MOST_PICTURE_BYTES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": ScanBody.model_json_schema()},
                **{kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in _PICTURES},
            },
        }
    },
)
async def scan(gate: GateName, request: Request, shop: TheShop) -> Any:
    """Decide on an entry code that was shown at a gate; a refusal is an answer like any other.

    Send what a reader read, or the picture of a camera with the QR code in it.
    """
    # Elsewhere a gate has a token of its own that names it; the demo's are open to everybody.
    if shop.demo is not None and gate not in shop.demo.gate_ids:
        raise ProblemError(
            404, f"the demo has no gate {gate!r}; it has {', '.join(sorted(shop.demo.gate_ids))}", "gate"
        )
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await read_body(request)
    if media_type in _PICTURES:
        decided = await run_in_threadpool(_doorman(shop).scan_picture, gate, body)
    elif media_type == "application/json":
        try:
            shown = ScanBody.model_validate_json(body)
        except ValidationError as error:
            raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from None
        decided = await run_in_threadpool(_doorman(shop).scan, gate, shown.code)
    else:
        raise ProblemError(415, f"expected application/json, {' or '.join(_PICTURES)}", "media-type")
    request.app.state.live.touch()
    return _answer(decided)


@router.put(
    "/v1/sessions/{session_id}/guests", responses=problems(SessionNotFound, SessionAlreadyClosed, GuestsRefused, 503)
)
def let_guests_in(session_id: UUID, guests: Guests, shop: TheShop, caller: Caller) -> SessionShown:
    """Say how many more people may come in on one's own open visit: each scans a further code of the payer's."""
    own_session(shop, caller, session_id, sees_all=False)
    _doorman(shop).set_guests(session_id, guests.guests_allowed)
    return session_shown(shop, own_session(shop, caller, session_id, sees_all=False))


@router.get("/v1/gates/{gate}/commands", responses=problems(503))
def read_commands(gate: GateName, shop: TheShop) -> Commands:
    """Read what a gate is ordered, for gates that ask; they open once for each grant and answer it."""
    return Commands(
        items=[
            CommandShown(
                grant_id=each.grant_id, gate_id=each.gate_id, issued_at=each.issued_at, expires_at=each.expires_at
            )
            for each in _doorman(shop).commands_for(gate)
        ]
    )


@router.post("/v1/gates/{gate}/commands/{grant_id}/answer", status_code=204, responses=problems(GrantNotFound, 503))
def answer_command(gate: GateName, grant_id: UUID, answer: GateAnswerBody, shop: TheShop) -> None:
    """Say what the gate did about an order; the first answer counts."""
    doorman = _doorman(shop)
    if answer.opened and not answer.passed:
        doorman.did_not_pass(grant_id, gate_id=gate)
    else:
        doorman.answer(grant_id, answer.opened, gate_id=gate)


@router.post("/v1/scales/{plate}/samples", status_code=204, responses=problems(404))
def take_samples(plate: PlateName, samples: Samples, shop: TheShop) -> None:
    """Take what a plate has weighed."""
    if shop.scales is None:
        raise ProblemError(404, "this store takes no samples by HTTP")
    shop.scales(ScaleMessage(plate, samples.timestamp_ns, samples.rate_hz, tuple(samples.grams)))


def _doorman(shop: Shop) -> Doorman:
    if shop.doorman is None:
        raise ProblemError(503, "this store lets nobody in")
    return shop.doorman


def _answer(decided: ScanDecision) -> ScanAnswer:
    return ScanAnswer(
        decision=decided.decision,
        reason=decided.reason,
        session_id=decided.session_id,
        scan_id=decided.scan_id,
        grant_id=decided.grant_id,
        expires_at=decided.expires_at,
    )
