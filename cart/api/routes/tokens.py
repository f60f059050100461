"""Signing in: bearer tokens for passwords and passkeys, and one's own tokens."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request
from pydantic import Field, Strict, StringConstraints

from cart.accounts import IssuedToken, Token
from cart.api.problems import ProblemError
from cart.api.routing import Caller, SeesAll, ShopRoute, TheShop, address_of
from cart.api.schemas import Body, Email, Name, Secret, Shown, problems
from cart.api.shop import Shop
from cart.errors import (
    AccountBlocked,
    AccountDetailsRefused,
    NotAllowed,
    PasskeyNotFound,
    PasskeyRefused,
    SignInFailed,
    TokenNotFound,
    TooManyAttempts,
)
from cart.passkeys import Passkey, PasskeyChallenge, Passkeys

router = APIRouter(route_class=ShopRoute, tags=["signing in"])

ScopeName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]*(:(\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,63}))?$")]


class SignIn(Body):
    """Who signs in."""

    email: Email
    password: Secret
    label: Name = Field(default="sign-in", description="What the token is called in one's list.")


class NewToken(Shown):
    """A token with its secret, which is shown this once."""

    token: str = Field(description="To be sent as `Authorization: Bearer ...`.")
    token_id: UUID
    account_id: UUID
    scopes: list[str] | None = Field(description="What it may do at most; null for all that its account's role may.")
    label: str
    expires_at: datetime


class TokenShown(Shown):
    """A token that works, without its secret."""

    token_id: UUID
    scopes: list[str] | None
    label: str
    created_at: datetime
    expires_at: datetime
    is_this_one: bool = Field(description="Whether the request was made with it.")


class Tokens(Shown):
    """One's tokens, newest first."""

    items: list[TokenShown]


class TokenWish(Body):
    """A further token of one's own."""

    label: Name
    scopes: list[ScopeName] | None = Field(
        default=None,
        min_length=1,
        max_length=50,
        description="What it may do at most; all that this one may by default.",
    )
    lifetime_s: Annotated[int, Strict(), Field(ge=60, le=1100 * 86_400)] | None = Field(
        default=None, description="How long it works, seconds; as usual for the role by default."
    )


class ChallengeShown(Shown):
    """What a browser is to answer."""

    challenge_id: UUID
    public_key: dict[str, Any] = Field(description="For `PublicKeyCredential.parse...OptionsFromJSON`.")
    expires_at: datetime


class PasskeyAnswer(Body):
    """A browser's answer to a challenge."""

    challenge_id: UUID
    credential: dict[str, Any] = Field(description="As `PublicKeyCredential.toJSON` gives it.")
    label: Name = "passkey"


class PasskeyShown(Shown):
    """A passkey of one's own."""

    credential_id: str
    label: str
    created_at: datetime
    last_used_at: datetime | None


class PasskeyList(Shown):
    """One's passkeys, oldest first."""

    items: list[PasskeyShown]


def new_token(issued: IssuedToken) -> NewToken:
    """Tell of a new token."""
    token = issued.token
    return NewToken(
        token=issued.secret,
        token_id=token.token_id,
        account_id=token.account_id,
        scopes=None if token.scopes is None else list(token.scopes),
        label=token.label,
        expires_at=token.expires_at,
    )


def token_shown(token: Token, this_one: UUID) -> TokenShown:
    """Tell of a token; ``this_one`` is the one that the request was made with."""
    return TokenShown(
        token_id=token.token_id,
        scopes=None if token.scopes is None else list(token.scopes),
        label=token.label,
        created_at=token.created_at,
        expires_at=token.expires_at,
        is_this_one=token.token_id == this_one,
    )


@router.post(
    "/v1/tokens",
    status_code=201,
    responses=problems(SignInFailed, AccountBlocked, AccountDetailsRefused, TooManyAttempts),
)
def sign_in(who: SignIn, request: Request, shop: TheShop) -> NewToken:
    """Sign in with an e-mail address and a password."""
    return new_token(shop.accounts.sign_in(who.email, who.password, address=address_of(request), label=who.label))


@router.get("/v1/tokens")
def list_tokens(shop: TheShop, caller: Caller) -> Tokens:
    """List one's tokens that work."""
    return Tokens(items=[token_shown(token, caller.token_id) for token in shop.accounts.tokens(caller.account_id)])


@router.post(
    "/v1/account/tokens", status_code=201, responses=problems(NotAllowed, AccountBlocked, AccountDetailsRefused)
)
def issue_token(wish: TokenWish, shop: TheShop, caller: Caller) -> NewToken:
    """Make a further token, such as a narrower one for a program."""
    lifetime = None if wish.lifetime_s is None else timedelta(seconds=wish.lifetime_s)
    return new_token(shop.accounts.issue_token(caller, wish.label, wish.scopes, lifetime))


@router.delete("/v1/tokens/{token_id}", status_code=204, responses=problems(TokenNotFound))
def revoke_token(token_id: UUID, shop: TheShop, caller: Caller, sees_all: SeesAll) -> None:
    """Take a token back; signing out is taking back one's own."""
    shop.accounts.revoke(token_id, account_id=None if sees_all else caller.account_id, by=caller.account_id)


@router.post("/v1/passkeys/registrations", status_code=201, responses=problems(AccountBlocked, 404))
def begin_passkey(shop: TheShop, caller: Caller) -> ChallengeShown:
    """Begin to add a passkey to one's account."""
    return _challenge(_passkeys(shop).registration_options(caller.account_id))


@router.post("/v1/passkeys", status_code=201, responses=problems(PasskeyRefused, AccountBlocked, 404))
def add_passkey(answer: PasskeyAnswer, shop: TheShop, caller: Caller) -> PasskeyShown:
    """Add a passkey with the browser's answer."""
    return _passkey(_passkeys(shop).register(caller.account_id, answer.challenge_id, answer.credential, answer.label))


@router.get("/v1/passkeys", responses=problems(404))
def list_passkeys(shop: TheShop, caller: Caller) -> PasskeyList:
    """List one's passkeys."""
    return PasskeyList(items=[_passkey(passkey) for passkey in _passkeys(shop).passkeys(caller.account_id)])


@router.delete("/v1/passkeys/{credential_id}", status_code=204, responses=problems(PasskeyNotFound))
def remove_passkey(
    credential_id: Annotated[str, Path(min_length=1, max_length=1400, pattern=r"^[A-Za-z0-9_-]+$")],
    shop: TheShop,
    caller: Caller,
) -> None:
    """Take a passkey from one's account."""
    _passkeys(shop).remove(caller.account_id, credential_id)


@router.post("/v1/passkeys/challenges", status_code=201, responses=problems(404))
def begin_passkey_sign_in(shop: TheShop) -> ChallengeShown:
    """Begin to sign in with a passkey."""
    return _challenge(_passkeys(shop).sign_in_options())


@router.post("/v1/passkeys/tokens", status_code=201, responses=problems(SignInFailed, AccountBlocked, 404))
def sign_in_with_passkey(answer: PasskeyAnswer, shop: TheShop) -> NewToken:
    """Sign in with a passkey's answer."""
    return new_token(_passkeys(shop).sign_in(answer.challenge_id, answer.credential, label=answer.label))


def _passkeys(shop: Shop) -> Passkeys:
    if shop.passkeys is None:
        raise ProblemError(404, "this store takes no passkeys")
    return shop.passkeys


def _challenge(challenge: PasskeyChallenge) -> ChallengeShown:
    return ChallengeShown(
        challenge_id=challenge.challenge_id, public_key=dict(challenge.options), expires_at=challenge.expires_at
    )


def _passkey(passkey: Passkey) -> PasskeyShown:
    return PasskeyShown(
        credential_id=passkey.credential_id,
        label=passkey.label,
        created_at=passkey.created_at,
        last_used_at=passkey.last_used_at,
    )
