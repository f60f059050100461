"""Accounts: opening one, one's own, and other people's."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from cart import audit
from cart.accounts import Account, AccountStatus, Role, may_create
from cart.api.conditions import NOT_MODIFIED, check_unchanged, tag_of, tagged
from cart.api.paging import USUAL_ENTRIES, After, Limit, Listing, Page, id_key
from cart.api.problems import ProblemError
from cart.api.routes.tokens import NewToken, TokenShown, new_token, token_shown
from cart.api.routing import Caller, SeesAll, ShopRoute, TheShop
from cart.api.schemas import (
    Body,
    DeviceName,
    DeviceScope,
    Email,
    Locale,
    Name,
    PaymentReference,
    Secret,
    Shown,
    problems,
)
from cart.api.shop import Shop
from cart.errors import (
    AccountDetailsRefused,
    AccountNotFound,
    EmailTaken,
    ErasureRefused,
    NotAllowed,
    PaymentDeclined,
    PaymentUnknown,
    SignInFailed,
    TooManyAttempts,
)
from cart.privacy import Privacy

router = APIRouter(route_class=ShopRoute, tags=["accounts"])

_EXPORT = {
    "description": "One list of records for each kind.",
    "content": {"application/json": {"schema": {"type": "object", "additionalProperties": True}}},
}
DEMO_PAYMENT_METHOD = "fake:demo"
"""How an account pays in the demo, whose money is none."""


class AccountShown(Shown):
    """An account."""

    account_id: UUID
    email: str | None = Field(description="Null for a device, and once the account is erased.")
    name: str
    role: Role
    status: AccountStatus
    locale: str
    has_payment_method: bool = Field(description="Whether it can pay, and so come in.")
    created_at: datetime


class AccountOpening(Body):
    """Who opens an account."""

    email: Email
    password: Secret = Field(description="8 to 128 characters.")
    name: Name | None = Field(default=None, description="What to be called; the e-mail address' beginning by default.")
    locale: Locale = "en"


class WorkerOpening(AccountOpening):
    """Somebody who is to work here."""

    role: Role = Field(description="Anything but device.")


class RoleChange(Body):
    """What somebody is to the store from now on."""

    role: Role = Field(description="Anything but device.")


class DeviceOpening(Body):
    """A gate or a scale that is to speak to the store."""

    name: DeviceName = Field(description="What it is called; a gate's name as it stands in its routes.")
    scopes: list[DeviceScope] | None = Field(
        default=None,
        min_length=1,
        max_length=50,
        description="`gate:front`, `scale:*` ...; those of its name by default.",
    )


class DeviceShown(Shown):
    """A gate or a scale that may speak to the store."""

    account_id: UUID
    name: str
    status: AccountStatus
    created_at: datetime
    tokens: list[TokenShown] = Field(description="Those that work, newest first.")


class AccountChange(Body):
    """What is to change; what is left out stays."""

    name: Name | None = None
    locale: Locale | None = None


class PasswordChange(Body):
    """A new password; every other token of the account stops working."""

    old_password: Secret
    new_password: Secret = Field(description="8 to 128 characters.")


class PaymentMethod(Body):
    """How the account pays from now on."""

    reference: PaymentReference | None = Field(
        description="The payment provider's own name for it, never a card's number; null takes it away."
    )


class Debt(Shown):
    """What an account owes; while it does, it cannot come in."""

    amount_minor: int
    currency: str


class DebtPayment(Shown):
    """What came of paying a debt."""

    sessions: list[UUID] = Field(description="Visits that were tried.")
    amount_minor: int = Field(description="What is still owed.")
    currency: str


def account_shown(account: Account) -> AccountShown:
    """Tell of an account."""
    return AccountShown(
        account_id=account.account_id,
        email=account.email,
        name=account.name,
        role=account.role,
        status=account.status,
        locale=account.locale,
        has_payment_method=account.payment_method is not None,
        created_at=account.created_at,
    )


def _tag(account: Account) -> str:
    return tag_of(account_shown(account).model_dump_json())


@router.post(
    "/v1/accounts",
    status_code=201,
    response_model=AccountShown,
    responses=problems(EmailTaken, s409="The first request under this key is not answered yet"),
)
def open_account(opening: AccountOpening, shop: TheShop) -> Any:
    """Open a shopper's account. In the demo it can pay at once."""
    name = opening.name or opening.email.strip().partition("@")[0][:100] or "shopper"
    account = shop.accounts.create(opening.email, opening.password, name, Role.SHOPPER, opening.locale)
    if shop.demo is not None:
        account = shop.accounts.set_payment_method(account.account_id, DEMO_PAYMENT_METHOD)
    return _created(account, "/v1/account")


@router.get("/v1/accounts")
def list_accounts(
    request: Request, shop: TheShop, cursor: After = None, limit: Limit = USUAL_ENTRIES, role: Role | None = None
) -> Page[AccountShown]:
    """List accounts, in the order of their ids."""
    found = shop.accounts.accounts(role=role, after=id_key("accounts", cursor), limit=limit + 1)
    return Listing("accounts", request, limit).page(found, lambda account: (str(account.account_id),), account_shown)


@router.get(
    "/v1/accounts/{account_id}",
    response_model=AccountShown,
    responses={**problems(AccountNotFound), 304: NOT_MODIFIED},
)
def read_account(account_id: UUID, request: Request, shop: TheShop, caller: Caller, sees_all: SeesAll) -> Response:
    """Read an account: one's own, or, for managers, anybody's."""
    if account_id != caller.account_id and not sees_all:
        raise AccountNotFound(f"there is no account {account_id}")
    account = shop.accounts.account(account_id)
    _note_look(shop, caller.account_id, account_id, "account")
    return tagged(request, account_shown(account))


@router.post("/v1/accounts/{account_id}/block", responses=problems(AccountNotFound, NotAllowed))
def block_account(account_id: UUID, shop: TheShop, caller: Caller) -> AccountShown:
    """Keep an account from being used; its tokens stop working."""
    return account_shown(shop.accounts.block(account_id, by=caller))


@router.delete("/v1/accounts/{account_id}/block", responses=problems(AccountNotFound, NotAllowed))
def unblock_account(account_id: UUID, shop: TheShop, caller: Caller) -> AccountShown:
    """Let an account be used again; it needs new tokens."""
    return account_shown(shop.accounts.unblock(account_id, by=caller))


@router.put("/v1/accounts/{account_id}/role", responses=problems(AccountNotFound, NotAllowed))
def change_role(account_id: UUID, change: RoleChange, shop: TheShop, caller: Caller) -> AccountShown:
    """Make somebody something else to the store, but not oneself; they have to sign in anew."""
    return account_shown(shop.accounts.set_role(account_id, change.role, by=caller))


@router.post(
    "/v1/workers",
    status_code=201,
    response_model=AccountShown,
    responses=problems(EmailTaken, NotAllowed, AccountDetailsRefused),
)
def open_worker(opening: WorkerOpening, shop: TheShop, caller: Caller) -> Any:
    """Open an account of a role."""
    if opening.role is Role.DEVICE:
        raise ProblemError(422, "role: a device has no password, see /v1/devices", "validation")
    name = opening.name or opening.email.strip().partition("@")[0][:100] or str(opening.role)
    account = shop.accounts.create(opening.email, opening.password, name, opening.role, opening.locale, by=caller)
    return _created(account, f"/v1/accounts/{account.account_id}")


@router.post(
    "/v1/devices", status_code=201, response_model=NewToken, responses=problems(NotAllowed, AccountDetailsRefused)
)
def open_device(opening: DeviceOpening, shop: TheShop, caller: Caller) -> Any:
    """Open an account for a gate or a scale; its token is shown this once."""
    return new_token(shop.accounts.create_device(opening.name, opening.scopes, by=caller))


@router.get("/v1/devices")
def list_devices(
    request: Request, shop: TheShop, caller: Caller, cursor: After = None, limit: Limit = USUAL_ENTRIES
) -> Page[DeviceShown]:
    """List the accounts of gates and scales with their tokens, in the order of their ids."""
    found = shop.accounts.accounts(role=Role.DEVICE, after=id_key("devices", cursor), limit=limit + 1)

    def shown(device: Account) -> DeviceShown:
        return DeviceShown(
            account_id=device.account_id,
            name=device.name,
            status=device.status,
            created_at=device.created_at,
            tokens=[token_shown(token, caller.token_id) for token in shop.accounts.tokens(device.account_id)],
        )

    return Listing("devices", request, limit).page(found, lambda device: (str(device.account_id),), shown)


@router.get("/v1/account", response_model=AccountShown, responses={304: NOT_MODIFIED})
def read_own(request: Request, shop: TheShop, caller: Caller) -> Response:
    """Read one's own account."""
    return tagged(request, account_shown(shop.accounts.account(caller.account_id)))


@router.patch(
    "/v1/account",
    response_model=AccountShown,
    responses=problems(AccountDetailsRefused, s412="The account was changed meanwhile (If-Match)"),
)
def change_own(change: AccountChange, request: Request, shop: TheShop, caller: Caller) -> Response:
    """Change one's name or language."""
    check_unchanged(request, _tag(shop.accounts.account(caller.account_id)))
    return tagged(
        request, account_shown(shop.accounts.change(caller.account_id, name=change.name, locale=change.locale))
    )


@router.put(
    "/v1/account/password",
    status_code=204,
    responses=problems(SignInFailed, AccountDetailsRefused, TooManyAttempts),
)
def change_password(change: PasswordChange, shop: TheShop, caller: Caller) -> None:
    """Change one's password."""
    shop.accounts.change_password(
        caller.account_id, change.old_password, change.new_password, keep_token_id=caller.token_id
    )


@router.put("/v1/account/payment-method", responses=problems(AccountDetailsRefused))
def set_payment_method(method: PaymentMethod, shop: TheShop, caller: Caller) -> AccountShown:
    """Say how one pays."""
    return account_shown(shop.accounts.set_payment_method(caller.account_id, method.reference))


@router.get("/v1/account/debt")
def read_debt(shop: TheShop, caller: Caller) -> Debt:
    """Read what one owes."""
    return Debt(amount_minor=shop.checkout.debt_of(str(caller.account_id)), currency=shop.checkout.currency)


@router.post("/v1/account/debt/payments", responses=problems(PaymentDeclined, PaymentUnknown))
def pay_debt(shop: TheShop, caller: Caller) -> DebtPayment:
    """Pay what one owes."""
    shopper_id = str(caller.account_id)
    outcomes = shop.checkout.pay_debt(shopper_id, shop.now())
    return DebtPayment(
        sessions=[outcome.session.session_id for outcome in outcomes],
        amount_minor=shop.checkout.debt_of(shopper_id),
        currency=shop.checkout.currency,
    )


@router.get("/v1/account/export", response_model=None, responses={200: _EXPORT, **problems(404)})
def export_own(shop: TheShop, caller: Caller) -> Response:
    """Get everything that is kept of one, as JSON (GDPR, articles 15 and 20)."""
    return _export(shop, caller.account_id, caller.account_id)


@router.get(
    "/v1/accounts/{account_id}/export", response_model=None, responses={200: _EXPORT, **problems(AccountNotFound)}
)
def export_account(account_id: UUID, shop: TheShop, caller: Caller) -> Response:
    """Get everything that is kept of somebody, for them."""
    return _export(shop, account_id, caller.account_id)


@router.delete("/v1/account", status_code=204, responses=problems(ErasureRefused, NotAllowed, 404))
def erase_own(shop: TheShop, caller: Caller) -> None:
    """Be forgotten (GDPR, article 17): what must be kept of visits and payments stays, under an id without a person."""
    _privacy(shop).erase(caller.account_id, by=caller.account_id)


@router.delete(
    "/v1/accounts/{account_id}", status_code=204, responses=problems(AccountNotFound, ErasureRefused, NotAllowed)
)
def erase_account(account_id: UUID, shop: TheShop, caller: Caller) -> None:
    """Forget somebody who asked for it."""
    if account_id != caller.account_id and not may_create(caller.role, shop.accounts.account(account_id).role):
        raise NotAllowed(f"a {caller.role} may not erase this account")
    _privacy(shop).erase(account_id, by=caller.account_id)


def _privacy(shop: Shop) -> Privacy:
    if shop.privacy is None:
        raise ProblemError(404, "this store neither exports nor erases accounts by itself")
    return shop.privacy


def _export(shop: Shop, account_id: UUID, by: UUID) -> Response:
    records = _privacy(shop).export(account_id, by=by)
    body = json.dumps(records, ensure_ascii=False, allow_nan=False)
    return Response(body, 200, {"Content-Disposition": 'attachment; filename="account.json"'}, "application/json")


def _created(account: Account, location: str) -> JSONResponse:
    return JSONResponse(
        account_shown(account).model_dump(mode="json"), 201, {"Location": location, "ETag": _tag(account)}
    )


def _note_look(shop: Shop, reader_id: UUID, account_id: UUID, what: str) -> None:
    if reader_id != account_id:
        with shop.database.transaction() as repository:
            audit.looked(repository, reader_id, account_id, what, shop.now())
