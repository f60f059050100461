"""Accounts of people and devices: what each role may do, signing in, and the bearer tokens that say who somebody is."""

import re
import secrets
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from cart import audit
from cart.errors import (
    AccountBlocked,
    AccountDetailsRefused,
    AccountNotFound,
    EmailTaken,
    NotAllowed,
    SignInFailed,
    TokenNotFound,
    TokenRefused,
)
from cart.events import check_aware
from cart.passwords import Passwords, Throttle
from cart.repository import Database, Repository
from cart.tables import AccountRow, PasswordRow, TokenRow

LOCALES = ("en", "he", "ar", "ru", "sl")
"""Languages that a shopper is written to in."""
TOKEN_PREFIX = "tf_"
"""What every token begins with, so that one that leaked is found by whoever looks for secrets."""
LONGEST_EMAIL, LONGEST_NAME, LONGEST_LABEL, LONGEST_REFERENCE = 254, 100, 100, 255
LONGEST_LIFETIME = timedelta(days=1100)
"""No token lives longer."""

_SECRET_BYTES = 32
_TOKEN = re.compile(r"tf_[A-Za-z0-9_-]{43}")
# Where a mail address ends and begins as browsers check it (WHATWG HTML, "valid e-mail address"), and letters of any
# script before the @ (RFC 6531).
_LOCAL_PART = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}")
_DOMAIN_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_REFERENCE = re.compile(r"[A-Za-z0-9_.:-]+")
_SCOPE = re.compile(r"[a-z][a-z-]*(?::(?:\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,63}))?")
_SHORTEST_CARD, _LONGEST_CARD = 13, 19  # digits of a card's number, ISO/IEC 7812
_LONG_NUMBER = re.compile(rf"\d{{{_SHORTEST_CARD},}}")


class Role(StrEnum):
    """What somebody is to the store."""

    OWNER = "owner"
    MANAGER = "manager"
    STAFF = "staff"
    REVIEWER = "reviewer"
    """Decides what was in a cart."""
    ENGINEER = "engineer"
    """Looks after cameras and recordings; sees no shopper's records."""
    VIEWER = "viewer"
    """Sees how the store does, and changes nothing."""
    SHOPPER = "shopper"
    DEVICE = "device"
    """A gate or a scale."""


class AccountStatus(StrEnum):
    """Whether an account can be used."""

    ACTIVE = "active"
    BLOCKED = "blocked"
    ERASED = "erased"
    """Nothing in it says any more whose it was."""


_PERSON = frozenset({"account", "entry", "shop"})
_STAFF = _PERSON | {"store", "visits", "cameras", "gate:*"}

SCOPES: Mapping[Role, frozenset[str]] = MappingProxyType(
    {
        Role.OWNER: _STAFF
        | {"reviews", "refunds", "people", "prices", "webhooks", "audit", "privacy", "recordings", "layout", "scale:*"},
        Role.MANAGER: _STAFF | {"reviews", "refunds", "people", "prices", "webhooks", "audit", "privacy", "layout"},
        Role.STAFF: _STAFF,
        Role.REVIEWER: _PERSON | {"store", "visits", "cameras", "reviews"},
        Role.ENGINEER: _PERSON | {"store", "cameras", "recordings", "layout", "scale:*"},
        Role.VIEWER: _PERSON | {"store"},
        Role.SHOPPER: _PERSON,
        Role.DEVICE: frozenset({"gate:*", "scale:*"}),
    }
)
"""What each role may do.

``account`` is one's own account, tokens and passkeys; ``entry`` makes entry codes; ``shop`` is one's own visits,
receipts and questions. ``store`` is how the store does, ``visits`` anybody's visits and receipts, ``reviews`` and
``refunds`` deciding on them; ``cameras`` what cameras see; ``people`` other accounts, ``privacy`` their export and
erasure; ``prices``, ``webhooks``, ``audit``, ``recordings``, ``layout`` are what they say. ``gate:front`` is one gate
and ``gate:*`` any; the same for scales.
"""

_CREATES: Mapping[Role, frozenset[Role]] = MappingProxyType(
    {Role.OWNER: frozenset(Role), Role.MANAGER: frozenset(Role) - {Role.OWNER, Role.MANAGER}}
)


def may_create(creator: Role | None, role: Role) -> bool:
    """Tell who may open an account of a role.

    Args:
        creator: Who asks; None for anybody from outside, who may become a shopper.
        role: Role of the account.
    """
    return role is Role.SHOPPER or (creator is not None and role in _CREATES.get(creator, ()))


def covers(granted: Collection[str], scope: str) -> bool:
    """Tell whether a scope lies within others: ``gate:*`` covers ``gate:front``.

    >>> covers({"gate:*"}, "gate:front"), covers({"gate:front"}, "gate:*"), covers({"gate:front"}, "gate:back")
    (True, False, False)
    """
    kind, colon, _ = scope.partition(":")
    return scope in granted or (bool(colon) and f"{kind}:*" in granted)


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody, or a device, that the store knows.

    Attributes:
        account_id: Identity; a visit's ``shopper_id`` is its text.
        email: Normalised, see ``normal_email``; None for a device, and once the account is erased.
        name: What they are called; empty once the account is erased.
        role: What they are to the store.
        status: Whether it can be used.
        locale: Language they are written to in, one of ``LOCALES``.
        payment_method: The payment provider's own name for how they pay; never a card's number.
        created_at: When, timezone-aware.
    """

    account_id: UUID
    email: str | None
    name: str
    role: Role
    status: AccountStatus
    locale: str
    payment_method: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is behind a request.

    Attributes:
        account_id: The account.
        role: Its role.
        scopes: What the token may do: what it was given, as far as the role allows it today.
        token_id: The token.
    """

    account_id: UUID
    role: Role
    scopes: frozenset[str]
    token_id: UUID

    def may(self, scope: str) -> bool:
        """Tell whether this scope, such as ``reviews`` or ``gate:front``, is granted."""
        return covers(self.scopes, scope)


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a bearer token; the secret itself is not.

    Attributes:
        token_id: Identity.
        account_id: Whose.
        scopes: What it may do at most; None for all that the role allows.
        label: What its owner calls it.
        created_at: When, timezone-aware.
        expires_at: It does not work from then on.
        revoked_at: When it was taken back; None if it was not.
    """

    token_id: UUID
    account_id: UUID
    scopes: tuple[str, ...] | None
    label: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, repr=False)
class IssuedToken:
    """A new token with its secret, which is shown this once.

    Attributes:
        secret: What is sent as ``Authorization: Bearer ...``; 256 random bits.
        token: What is kept of it.
    """

    secret: str
    token: Token

    def __repr__(self) -> str:
        return f"IssuedToken(secret='{TOKEN_PREFIX}...', token={self.token!r})"


def default_lifetimes() -> dict[Role, timedelta]:
    """How long a token of each role works if nobody says otherwise: a shopper's phone stays signed in, staff do not."""
    return {
        role: {Role.SHOPPER: timedelta(days=90), Role.DEVICE: timedelta(days=365)}.get(role, timedelta(hours=12))
        for role in Role
    }


def normal_email(email: str) -> str:
    """The one spelling under which an e-mail address is kept: NFKC, lower case, the domain in ASCII (IDNA).

    Strictly, the part before the @ may tell upper from lower case (RFC 5321); no provider of note does.

    Raises:
        AccountDetailsRefused: It is no e-mail address.

    >>> normal_email(" Ada@Example.COM ")
    'ada@example.com'
    """
    # Far beyond the longest address nothing is worth normalising.
    local, at, domain = unicodedata.normalize("NFKC", email[: 4 * LONGEST_EMAIL]).strip().lower().rpartition("@")
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        domain = ""
    labels = domain.split(".")
    normal = f"{local}@{domain}"
    if (
        not at
        or _LOCAL_PART.fullmatch(local) is None
        or not local.isprintable()
        or any(_DOMAIN_LABEL.fullmatch(label) is None for label in labels)
        or len(normal) > LONGEST_EMAIL
        or len(email) > 4 * LONGEST_EMAIL
    ):
        raise AccountDetailsRefused("email: expected an address such as ada@example.com")
    return normal


def looks_like_card_number(text: str) -> bool:
    """Tell whether a text holds what may be a payment card's number: 13 to 19 digits with a right Luhn check digit.

    Spaces, dots, dashes and underlines between the digits do not hide it, nor more digits before or after it, nor
    digits of other scripts. So most longer numbers look like a card's; payment providers' names hold none.

    >>> looks_like_card_number("4242-4242-4242-4242"), looks_like_card_number("pm_1Q2w3E4r5T6z7U8i9O0p")
    (True, False)
    """
    digits = re.sub(r"[\s._/-]", "", unicodedata.normalize("NFKC", text))
    for run in _LONG_NUMBER.findall(digits):
        values = [unicodedata.digit(character) for character in run]
        for length in range(_SHORTEST_CARD, _LONGEST_CARD + 1):
            for start in range(len(values) - length + 1):
                if _is_luhn(values[start : start + length]):
                    return True
    return False


def _is_luhn(digits: list[int]) -> bool:
    # ISO/IEC 7812-1, annex B. Nothing but zeros passes too, and is nobody's card.
    doubled = [d * 2 - 9 * (d > 4) for d in digits[-2::-2]]
    return any(digits) and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def may_manage(by: Principal | Role, role: Role) -> bool:
    """Tell who may block, unblock or erase somebody else's account of a role: who may open one, but for shoppers.

    Args:
        by: Who asks; a token needs the scope ``people`` for it.
        role: Role of the account.
    """
    return role in _CREATES.get(_role(by), ()) and (isinstance(by, Role) or by.may("people"))


class Accounts:
    """Opens accounts, checks who somebody is, and hands out tokens. Safe to share between threads.

    Args:
        database: Where accounts are kept.
        now: The time, timezone-aware.
        new_id: Makes ids of accounts and tokens.
        passwords: Hashes passwords.
        per_account: Brake on failed sign-ins for one e-mail address.
        per_address: Brake on failed sign-ins from one network address.
        lifetimes: How long a token of each role works if nobody says otherwise.
        new_secret: Makes 256 random bits, base64url.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], UUID] = uuid4,
        *,
        passwords: Passwords | None = None,
        per_account: Throttle | None = None,
        per_address: Throttle | None = None,
        lifetimes: Mapping[Role, timedelta] | None = None,
        new_secret: Callable[[], str] = lambda: secrets.token_urlsafe(_SECRET_BYTES),
    ) -> None:
        self._database = database
        self._now = now
        self._new_id = new_id
        self._passwords = passwords or Passwords()
        self._per_account = per_account or Throttle(10, timedelta(minutes=15))
        self._per_address = per_address or Throttle(50, timedelta(minutes=15))
        self._lifetimes = {**default_lifetimes(), **(lifetimes or {})}
        self._new_secret = new_secret

    def create(
        self,
        email: str,
        password: str,
        name: str,
        role: Role = Role.SHOPPER,
        locale: str = "en",
        *,
        by: Principal | Role | None = None,
    ) -> Account:
        """Open an account. Anybody may become a shopper; see ``may_create`` for the rest.

        That an address is taken can be found out here; only mail to it could hide that, and an app that waits for mail
        keeps people from their first visit.

        Args:
            email: Where they are written to, and what they sign in with.
            password: 8 to 128 characters.
            name: What they are called.
            role: What they are to the store.
            locale: Language they are written to in, one of ``LOCALES``.
            by: Who asks; ``Role.OWNER`` for whoever runs the program itself, None for anybody from outside.

        Raises:
            NotAllowed: Who asks may not open accounts of this role.
            AccountDetailsRefused: Something of it is not accepted.
            EmailTaken: The address has an account.
        """
        _check_right(by, role)
        if role is Role.DEVICE:
            raise ValueError("role: expected a person's, got device; see create_device")
        email = normal_email(email)
        name = checked_text("name", name, LONGEST_NAME)
        _check_locale(locale)
        argon2_hash = self._passwords.hash(password)
        at = self._now()
        account_id = self._new_id()
        try:
            with self._database.transaction() as repository:
                if repository.sql.scalars(select(AccountRow.account_id).where(AccountRow.email == email)).first():
                    raise EmailTaken("there is an account with this e-mail address")
                account = _add_account(repository, account_id, email, name, role, locale, at)
                repository.sql.add(PasswordRow(account_id=account_id, argon2_hash=argon2_hash, changed_at=at))
                self._record(repository, _actor(by) or account_id, "account.created", account_id, {"role": role}, at)
        except IntegrityError as error:
            # Somebody else took it between our look and our commit. Nothing of the statement goes into the message.
            raise EmailTaken("there is an account with this e-mail address") from error
        return account

    def create_device(
        self,
        name: str,
        scopes: Collection[str] | None = None,
        lifetime: timedelta | None = None,
        *,
        by: Principal | Role = Role.OWNER,
    ) -> IssuedToken:
        """Open an account for a gate or a scale, with its token.

        Args:
            name: What it is called, such as ``front``: 1 to 64 of letters, digits, ``_``, ``.`` and ``-``.
            scopes: Which gates and scales it may speak for; those of its name, if it is not said.
            lifetime: How long the token works.
            by: Who asks.

        Raises:
            NotAllowed: Who asks may not, or a scope is none of a device's.
            AccountDetailsRefused: The name is not accepted.
        """
        _check_right(by, Role.DEVICE)
        if _SCOPE.fullmatch(f"gate:{name}") is None or name == "*":
            raise AccountDetailsRefused(
                "name: expected 1 to 64 letters, digits, '_', '.' and '-' for a device, the first no sign"
            )
        at = self._now()
        with self._database.transaction() as repository:
            account = _add_account(repository, self._new_id(), None, name, Role.DEVICE, LOCALES[0], at)
            self._record(repository, _actor(by), "account.created", account.account_id, {"role": Role.DEVICE.value}, at)
            return self.issue(
                repository,
                account.account_id,
                label=name,
                scopes=(f"gate:{name}", f"scale:{name}") if scopes is None else scopes,
                lifetime=lifetime,
                by=_actor(by),
            )

    def account(self, account_id: UUID) -> Account:
        """One account, also a blocked or an erased one.

        Raises:
            AccountNotFound: There is none.
        """
        with self._database.reading() as repository:
            return _account(_read(repository, account_id))

    def by_email(self, email: str) -> Account | None:
        """The account with an e-mail address; None if there is none, or it is no address at all."""
        try:
            email = normal_email(email)
        except AccountDetailsRefused:
            return None
        with self._database.reading() as repository:
            row = repository.sql.scalars(select(AccountRow).where(AccountRow.email == email)).first()
            return None if row is None else _account(row)

    def accounts(self, *, role: Role | None = None, after: UUID | None = None, limit: int = 50) -> tuple[Account, ...]:
        """Accounts in the order of their ids.

        Args:
            role: Only these.
            after: Only those after this id.
            limit: At most so many, 1 to 500.
        """
        if not 1 <= limit <= audit.LONGEST_PAGE:
            raise ValueError(f"limit: expected 1 to {audit.LONGEST_PAGE}, got {limit}")
        query = select(AccountRow).order_by(AccountRow.account_id).limit(limit)
        if role is not None:
            query = query.where(AccountRow.role == role.value)
        if after is not None:
            query = query.where(AccountRow.account_id > after)
        with self._database.reading() as repository:
            return tuple(_account(row) for row in repository.sql.scalars(query))

    def sign_in(self, email: str, password: str, *, address: str | None = None, label: str = "sign-in") -> IssuedToken:
        """Exchange an e-mail address and a password for a token.

        An unknown address takes as long, and is answered the same, as a wrong password. Failures are limited for each
        e-mail address and for each network address.

        Args:
            email: As typed.
            password: As typed.
            address: Network address of who asks, if there is one.
            label: What the token is called in its owner's list.

        Raises:
            SignInFailed: Not recognised.
            AccountBlocked: Recognised, but blocked.
            TooManyAttempts: There were too many failures; this try was not looked at.
        """
        label = checked_text("label", label, LONGEST_LABEL)
        try:
            normal: str | None = normal_email(email)
        except AccountDetailsRefused:
            normal = None
        at = self._now()
        if address is not None:
            self._per_address.take(address, at)
        # What is no address at all cannot fill the memory with keys of any length.
        self._per_account.take(normal, at)
        with self._database.reading() as repository:
            found = repository.sql.execute(
                select(AccountRow.account_id, AccountRow.status, PasswordRow.argon2_hash)
                .join(PasswordRow, PasswordRow.account_id == AccountRow.account_id)
                .where(AccountRow.email == normal)
            ).first()
        # The hash is checked outside of any transaction: it takes as long as dozens of commits.
        if not self._passwords.verify(None if found is None else found.argon2_hash, password) or found is None:
            raise SignInFailed("the e-mail address or the password is not right")
        if address is not None:
            self._per_address.give_back(address, at)
        self._per_account.clear([normal])
        if found.status != AccountStatus.ACTIVE:
            raise AccountBlocked("this account is blocked")
        fresh = self._passwords.hash(password) if self._passwords.is_outdated(found.argon2_hash) else None
        with self._database.transaction() as repository:
            _read(repository, found.account_id, locking=True)
            row = repository.sql.get(PasswordRow, found.account_id)
            if row is None or row.argon2_hash != found.argon2_hash:
                # Changed while we verified: the old password must not bring a token that outlives it.
                raise SignInFailed("the e-mail address or the password is not right")
            row.argon2_hash = fresh or row.argon2_hash
            return self.issue(repository, found.account_id, label=label, by=found.account_id)

    def change_password(
        self, account_id: UUID, old_password: str, new_password: str, *, keep_token_id: UUID | None = None
    ) -> None:
        """Change a password; every token of the account is revoked with it.

        Args:
            account_id: Whose.
            old_password: The present one.
            new_password: 8 to 128 characters.
            keep_token_id: A token that goes on working: that of the request itself.

        Raises:
            AccountNotFound: There is no such account, or it was erased.
            SignInFailed: The old password is wrong.
            AccountDetailsRefused: The new one is not accepted.
            TooManyAttempts: There were too many failures.
        """
        at = self._now()
        self._per_account.take(account_id, at)
        with self._database.reading() as repository:
            if _read(repository, account_id).status == AccountStatus.ERASED:
                raise AccountNotFound(f"there is no account {account_id}")
            row = repository.sql.get(PasswordRow, account_id)
            old_hash = None if row is None else row.argon2_hash
        if not self._passwords.verify(old_hash, old_password):
            raise SignInFailed("the present password is not right")
        self._per_account.clear([account_id])
        new_hash = self._passwords.hash(new_password)
        with self._database.transaction() as repository:
            _check_present(_read(repository, account_id, locking=True))
            changed = repository.sql.execute(
                update(PasswordRow)
                .where(PasswordRow.account_id == account_id, PasswordRow.argon2_hash == old_hash)
                .values(argon2_hash=new_hash, changed_at=at)
                .returning(PasswordRow.account_id)
            ).first()
            if changed is None:
                raise SignInFailed("the password was changed meanwhile")
            _revoke_all(repository, account_id, at, keep_token_id)
            self._record(repository, account_id, "password.changed", account_id, {}, at)

    def issue_token(
        self,
        for_whom: Principal | UUID,
        label: str,
        scopes: Collection[str] | None = None,
        lifetime: timedelta | None = None,
    ) -> IssuedToken:
        """Hand out a further token of an account.

        Args:
            for_whom: The account, or whoever asks for one of their own: they cannot give away more than they have.
            label: What it is called in its owner's list.
            scopes: What it may do at most; all that whoever asks may do, if it is not said.
            lifetime: How long it works; as long as is usual for the role, if it is not said.

        Raises:
            AccountNotFound: There is no such account, or it was erased.
            AccountBlocked: It is blocked.
            NotAllowed: A scope is beyond what it, or who asks, may do.
            AccountDetailsRefused: The label or the lifetime is not accepted.
        """
        account_id = for_whom if isinstance(for_whom, UUID) else for_whom.account_id
        if isinstance(for_whom, Principal):
            if scopes is None and for_whom.scopes != SCOPES[for_whom.role]:
                scopes = for_whom.scopes
            _check_scopes(scopes or (), for_whom.scopes)
        with self._database.transaction() as repository:
            return self.issue(repository, account_id, label=label, scopes=scopes, lifetime=lifetime, by=account_id)

    def issue(
        self,
        repository: Repository,
        account_id: UUID,
        *,
        label: str,
        scopes: Collection[str] | None = None,
        lifetime: timedelta | None = None,
        by: UUID | None = None,
    ) -> IssuedToken:
        """Hand out a token within somebody else's transaction; see ``issue_token``.

        Args:
            repository: The transaction.
            account_id: Whose.
            label: What it is called.
            scopes: What it may do at most.
            lifetime: How long it works.
            by: Who asked for it; None for the store itself.
        """
        row = _read(repository, account_id, locking=True)
        _check_usable(row)
        role = Role(row.role)
        if scopes is not None:
            if not scopes:
                raise AccountDetailsRefused("scopes: expected at least one, or none given at all")
            _check_scopes(scopes, SCOPES[role])
        lifetime = self._lifetimes[role] if lifetime is None else lifetime
        if not timedelta(0) < lifetime <= LONGEST_LIFETIME:
            raise AccountDetailsRefused(
                f"lifetime: expected up to {LONGEST_LIFETIME.days} days and above 0, got {lifetime}"
            )
        secret = f"{TOKEN_PREFIX}{self._new_secret()}"
        if _TOKEN.fullmatch(secret) is None:
            raise ValueError(f"new_secret: expected {_SECRET_BYTES} bytes in base64url")
        at = self._now()
        token = Token(
            self._new_id(),
            account_id,
            None if scopes is None else tuple(sorted(set(scopes))),
            checked_text("label", label, LONGEST_LABEL),
            at,
            at + lifetime,
        )
        repository.sql.add(
            TokenRow(
                token_id=token.token_id,
                account_id=account_id,
                secret_sha256=_digest(secret),
                scopes=["*"] if token.scopes is None else list(token.scopes),
                label=token.label,
                created_at=token.created_at,
                expires_at=token.expires_at,
                revoked_at=None,
            )
        )
        repository.sql.flush()
        self._record(repository, by, "token.issued", account_id, {"token_id": str(token.token_id)}, at)
        return IssuedToken(secret, token)

    def authenticate(self, secret: str) -> Principal:
        """Tell who is behind a bearer token: one read by an index.

        Raises:
            TokenRefused: It is unknown, expired or revoked, or its account is blocked or erased.
        """
        # The table is not asked about what can be no token.
        if _TOKEN.fullmatch(secret) is None:
            raise TokenRefused("the token is not known")
        with self._database.reading() as repository:
            found = repository.sql.execute(
                select(
                    TokenRow.token_id,
                    TokenRow.account_id,
                    TokenRow.scopes,
                    TokenRow.expires_at,
                    TokenRow.revoked_at,
                    AccountRow.role,
                    AccountRow.status,
                )
                .join(AccountRow, AccountRow.account_id == TokenRow.account_id)
                .where(TokenRow.secret_sha256 == _digest(secret))
            ).first()
        if found is None:
            raise TokenRefused("the token is not known")
        if found.revoked_at is not None or found.status != AccountStatus.ACTIVE:
            raise TokenRefused("the token was revoked")
        if found.expires_at <= self._now():
            raise TokenRefused("the token has expired")
        role = Role(found.role)
        return Principal(found.account_id, role, _granted(found.scopes, role), found.token_id)

    def tokens(self, account_id: UUID) -> tuple[Token, ...]:
        """The tokens of an account that still work, newest first, without their secrets."""
        with self._database.reading() as repository:
            rows = repository.sql.scalars(
                select(TokenRow)
                .where(
                    TokenRow.account_id == account_id,
                    TokenRow.revoked_at.is_(None),
                    TokenRow.expires_at > self._now(),
                )
                .order_by(TokenRow.created_at.desc(), TokenRow.token_id)
            )
            return tuple(_token(row) for row in rows)

    def revoke(self, token_id: UUID, *, account_id: UUID | None = None, by: UUID | None = None) -> None:
        """Take a token back; doing so again changes nothing.

        Args:
            token_id: The token.
            account_id: Whose it has to be; anybody's, if it is not said.
            by: Who does it; None for the store itself.

        Raises:
            TokenNotFound: There is no such token, or it is not that account's.
        """
        at = self._now()
        with self._database.transaction() as repository:
            row = repository.sql.get(TokenRow, token_id, with_for_update=True, populate_existing=True)
            if row is None or account_id not in (None, row.account_id):
                raise TokenNotFound(f"there is no token {token_id}")
            if row.revoked_at is None:
                row.revoked_at = at
                self._record(repository, by, "token.revoked", row.account_id, {"token_id": str(token_id)}, at)

    def revoke_all(self, account_id: UUID, *, by: UUID | None = None) -> int:
        """Take every token of an account back.

        Args:
            account_id: Whose.
            by: Who does it; None for the store itself.

        Returns:
            How many worked until now.
        """
        at = self._now()
        with self._database.transaction() as repository:
            revoked = _revoke_all(repository, account_id, at)
            if revoked:
                self._record(repository, by, "token.revoked", account_id, {"tokens": revoked}, at)
            return revoked

    def block(self, account_id: UUID, *, by: Principal | Role = Role.OWNER) -> Account:
        """Keep an account from being used; its tokens are revoked for good. A blocked one stays blocked.

        Args:
            account_id: Whose.
            by: Who asks; ``Role.OWNER`` for whoever runs the program itself.

        Raises:
            AccountNotFound: There is no such account, or it was erased.
            NotAllowed: Who asks may not, or it is the last owner who can sign in.
        """
        return self._set_status(account_id, AccountStatus.BLOCKED, by)

    def unblock(self, account_id: UUID, *, by: Principal | Role = Role.OWNER) -> Account:
        """Let an account be used again; it needs new tokens. The arguments and errors are those of ``block``."""
        return self._set_status(account_id, AccountStatus.ACTIVE, by)

    def _set_status(self, account_id: UUID, status: AccountStatus, by: Principal | Role) -> Account:
        at = self._now()
        with self._database.transaction() as repository:
            role = Role(_read(repository, account_id).role)
            if not may_manage(by, role):
                raise NotAllowed(f"a {_role(by)} may not block or unblock a {role}")
            if role is Role.OWNER and status is AccountStatus.BLOCKED:
                check_not_last_owner(repository, account_id)
            row = _read(repository, account_id, locking=True)
            _check_present(row)
            if row.status != status:
                if status is AccountStatus.BLOCKED:
                    _revoke_all(repository, account_id, at)
                row.status = status.value
                verb = "blocked" if status is AccountStatus.BLOCKED else "unblocked"
                self._record(repository, _actor(by), f"account.{verb}", account_id, {}, at)
            return _account(row)

    def set_role(self, account_id: UUID, role: Role, *, by: Principal | Role = Role.OWNER) -> Account:
        """Make somebody something else to the store; tokens are revoked, so that no old one does more than it did.

        Args:
            account_id: Whose.
            role: What they are from now on; the role they have already changes nothing.
            by: Who asks; ``Role.OWNER`` for whoever runs the program itself.

        Raises:
            AccountNotFound: There is no such account, or it was erased.
            NotAllowed: Who asks may not manage accounts of the old or of the new role, it is their own, one of the two
                is a device's, or it is the last owner who can sign in.
        """
        at = self._now()
        with self._database.transaction() as repository:
            if account_id == _actor(by):
                raise NotAllowed("nobody changes their own role")
            if Role(_read(repository, account_id).role) is Role.OWNER and role is not Role.OWNER:
                check_not_last_owner(repository, account_id)
            # Read anew under its lock: somebody else may have changed it meanwhile.
            row = _read(repository, account_id, locking=True)
            _check_present(row)
            old = Role(row.role)
            if not may_manage(by, old) or not may_manage(by, role):
                raise NotAllowed(f"a {_role(by)} may not make a {old} a {role}")
            if old is not role:
                if Role.DEVICE in (old, role):
                    raise NotAllowed("a device stays one, and nobody else becomes one")
                row.role = role.value
                _revoke_all(repository, account_id, at)
                detail = {"from": old.value, "to": role.value}
                self._record(repository, _actor(by), "account.role_changed", account_id, detail, at)
            return _account(row)

    def set_payment_method(self, account_id: UUID, reference: str | None) -> Account:
        """Say how an account pays from now on.

        Args:
            account_id: Whose.
            reference: The payment provider's own name for it, such as ``pm_1Q...``; None takes it away.

        Raises:
            AccountNotFound: There is no such account, or it was erased.
            AccountDetailsRefused: It looks like a card's number, or is no such name.
        """
        if reference is not None:
            _check_reference(reference)
        return self._change(account_id, {"payment_method": reference}, "payment_method.set")

    def change(self, account_id: UUID, *, name: str | None = None, locale: str | None = None) -> Account:
        """Change an account's name or language; what is not said stays.

        Raises:
            AccountNotFound: There is no such account, or it was erased.
            AccountDetailsRefused: Something of it is not accepted.
        """
        values: dict[str, str | None] = {}
        if name is not None:
            values["name"] = checked_text("name", name, LONGEST_NAME)
        if locale is not None:
            _check_locale(locale)
            values["locale"] = locale
        return self._change(account_id, values, "account.changed")

    def _change(self, account_id: UUID, values: Mapping[str, str | None], action: str) -> Account:
        at = self._now()
        with self._database.transaction() as repository:
            row = _read(repository, account_id, locking=True)
            _check_present(row)
            for column, value in values.items():
                setattr(row, column, value)
            if values:
                # Which, and not to what: the log outlives the account.
                self._record(repository, account_id, action, account_id, {"changed": sorted(values)}, at)
            return _account(row)

    def _record(
        self,
        repository: Repository,
        actor_id: UUID | None,
        action: str,
        account_id: UUID,
        detail: Mapping[str, Any],
        at: datetime,
    ) -> None:
        audit.record(repository, actor_id, action, audit.account_subject(account_id), detail, at)


def check_not_last_owner(repository: Repository, account_id: UUID) -> None:
    """Refuse what would leave the store without an owner who can sign in.

    Raises:
        NotAllowed: The account is the last active owner.
    """
    owners = repository.sql.scalars(
        select(AccountRow.account_id)
        .where(AccountRow.role == Role.OWNER.value, AccountRow.status == AccountStatus.ACTIVE.value)
        .order_by(AccountRow.account_id)
        # Two owners who block one another at the same moment take turns.
        .with_for_update()
    ).all()
    if owners == [account_id]:
        raise NotAllowed("this is the store's last owner")


def _role(by: Principal | Role) -> Role:
    return by if isinstance(by, Role) else by.role


def _actor(by: Principal | Role | None) -> UUID | None:
    return by.account_id if isinstance(by, Principal) else None


def _check_right(by: Principal | Role | None, role: Role) -> None:
    creator = None if by is None else _role(by)
    narrow = isinstance(by, Principal) and role is not Role.SHOPPER and not by.may("people")
    if narrow or not may_create(creator, role):
        who = "somebody from outside" if creator is None else f"a {creator}"
        raise NotAllowed(f"{who} may not open the account of a {role}")


def _check_scopes(scopes: Collection[str], granted: Collection[str]) -> None:
    for scope in scopes:
        if _SCOPE.fullmatch(scope) is None or not covers(granted, scope):
            raise NotAllowed(f"scope {scope[:80]!r} is beyond what is granted")


def _granted(kept: Collection[str], role: Role) -> frozenset[str]:
    """What a token may do today: its role may have changed since it was handed out."""
    if "*" in kept:
        return SCOPES[role]
    return frozenset(scope for scope in kept if covers(SCOPES[role], scope))


def _check_locale(locale: str) -> None:
    if locale not in LOCALES:
        raise AccountDetailsRefused(f"locale: expected one of {', '.join(LOCALES)}, got {locale[:20]!r}")


def _check_reference(reference: str) -> None:
    # The message repeats nothing of it.
    if looks_like_card_number(reference[: 2 * LONGEST_REFERENCE]):
        raise AccountDetailsRefused("payment method: this looks like a card's number, which the store must never see")
    if _REFERENCE.fullmatch(reference) is None or len(reference) > LONGEST_REFERENCE:
        raise AccountDetailsRefused(
            f"payment method: expected the payment provider's name for it, 1 to {LONGEST_REFERENCE} letters, digits,"
            " '_', '.', ':' and '-'"
        )


def checked_text(what: str, text: str, longest: int) -> str:
    """Tidy up a name that a person gave to something.

    Args:
        what: What it is, for the message.
        text: As typed.
        longest: How many characters it may have.

    Raises:
        AccountDetailsRefused: It is empty, too long, not printable, or holds what may be a card's number.
    """
    # Far beyond the longest text nothing is worth normalising.
    text = unicodedata.normalize("NFC", text[: 4 * longest]).strip()
    if not 1 <= len(text) <= longest or not text.isprintable():
        raise AccountDetailsRefused(f"{what}: expected 1 to {longest} printable characters, got {len(text)}")
    if looks_like_card_number(text):
        raise AccountDetailsRefused(f"{what}: this looks like a card's number, which the store must never see")
    return text


def _digest(secret: str) -> str:
    # A random secret of 256 bits needs no salt and no slow hash: it cannot be guessed from its digest.
    return sha256(secret.encode("ascii")).hexdigest()


def _add_account(
    repository: Repository, account_id: UUID, email: str | None, name: str, role: Role, locale: str, at: datetime
) -> Account:
    check_aware("Account.created_at", at)
    row = AccountRow(
        account_id=account_id,
        email=email,
        name=name,
        role=role.value,
        status=AccountStatus.ACTIVE.value,
        locale=locale,
        payment_method=None,
        created_at=at,
        erased_at=None,
    )
    repository.sql.add(row)
    repository.sql.flush()
    return _account(row)


def _read(repository: Repository, account_id: UUID, *, locking: bool = False) -> AccountRow:
    row = repository.sql.get(
        AccountRow,
        account_id,
        with_for_update=True if locking else None,
        # Whoever held the lock may have changed what this transaction has read before.
        populate_existing=locking,
    )
    if row is None:
        raise AccountNotFound(f"there is no account {account_id}")
    return row


def _check_present(row: AccountRow) -> None:
    if row.status == AccountStatus.ERASED:
        raise AccountNotFound(f"there is no account {row.account_id}")


def _check_usable(row: AccountRow) -> None:
    _check_present(row)
    if row.status != AccountStatus.ACTIVE:
        raise AccountBlocked("this account is blocked")


def _revoke_all(repository: Repository, account_id: UUID, at: datetime, keep_token_id: UUID | None = None) -> int:
    query = update(TokenRow).where(
        TokenRow.account_id == account_id, TokenRow.revoked_at.is_(None), TokenRow.expires_at > at
    )
    if keep_token_id is not None:
        query = query.where(TokenRow.token_id != keep_token_id)
    return len(repository.sql.execute(query.values(revoked_at=at).returning(TokenRow.token_id)).all())


def _account(row: AccountRow) -> Account:
    return Account(
        row.account_id,
        row.email,
        row.name,
        Role(row.role),
        AccountStatus(row.status),
        row.locale,
        row.payment_method,
        row.created_at,
    )


def _token(row: TokenRow) -> Token:
    return Token(
        row.token_id,
        row.account_id,
        None if "*" in row.scopes else tuple(row.scopes),
        row.label,
        row.created_at,
        row.expires_at,
        row.revoked_at,
    )
