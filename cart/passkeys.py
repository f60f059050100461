"""Passkeys: signing in with a key that never leaves its device (Web Authentication level 2).

No e-mail address is asked for: the passkey itself says whose it is, so nothing can be found out about who has an
account. The protocol's own checks are the ``webauthn`` library's; here are the challenges, which work once and for five
minutes, the counters, and what belongs to whom.
"""

import json
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from cart import audit
from cart.accounts import Accounts, AccountStatus, IssuedToken, checked_text
from cart.errors import AccountBlocked, AccountNotFound, NotAllowed, PasskeyNotFound, PasskeyRefused, SignInFailed
from cart.repository import Database, Repository
from cart.tables import AccountRow, PasskeyChallengeRow, PasskeyRow

CHALLENGE_LIFETIME = timedelta(minutes=5)
LONGEST_LABEL = 100
MOST_PASSKEYS = 20
"""An account has no more."""
LONGEST_CREDENTIAL = 100_000
"""Length of a credential's JSON in characters; real ones have a few thousand at most."""

_CHALLENGE_BYTES = 32
_LONGEST_CREDENTIAL_ID = 1023  # Web Authentication, 4, "Credential ID"
_log = logging.getLogger(__name__)


class Purpose(StrEnum):
    """What a challenge is for; it is good for nothing else."""

    REGISTRATION = "registration"
    SIGN_IN = "sign_in"


@dataclass(frozen=True, slots=True)
class PasskeyChallenge:
    """What a browser is asked to answer.

    Attributes:
        challenge_id: To be given back with the answer.
        options: What ``navigator.credentials.create`` or ``get`` takes as ``publicKey``, as JSON with binary members in
            base64url (``PublicKeyCredential.parseCreationOptionsFromJSON`` and its sister read it).
        expires_at: An answer counts until then.
    """

    challenge_id: UUID
    options: Mapping[str, Any]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey of an account.

    Attributes:
        credential_id: Its name, base64url, given by the device that made it.
        account_id: Whose.
        label: What its owner calls it.
        created_at: When, timezone-aware.
        last_used_at: When somebody last signed in with it; None if nobody has.
    """

    credential_id: str
    account_id: UUID
    label: str
    created_at: datetime
    last_used_at: datetime | None


class Passkeys:
    """Adds passkeys to accounts, and signs in with them. Safe to share between threads.

    Args:
        database: Where passkeys and challenges are kept.
        accounts: Hands out tokens.
        rp_id: The domain that passkeys belong to, such as ``shop.example``; ``localhost`` on a desk.
        rp_name: The store's name, shown by the browser.
        origins: Where pages that ask for a passkey come from, such as ``https://shop.example``.
        now: The time, timezone-aware.
        new_id: Makes ids of challenges.
        random_bytes: Makes that many random bytes.
    """

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        rp_id: str,
        rp_name: str,
        origins: Sequence[str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], UUID] = uuid4,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        if not rp_id or not rp_name or not origins or isinstance(origins, str):
            raise ValueError("Passkeys: expected a domain, a name and a list of at least one origin")
        self._database = database
        self._accounts = accounts
        self._rp_id, self._rp_name, self._origins = rp_id, rp_name, list(origins)
        self._now = now
        self._new_id = new_id
        self._random_bytes = random_bytes

    def registration_options(self, account_id: UUID) -> PasskeyChallenge:
        """Begin to add a passkey to an account.

        Raises:
            AccountNotFound: There is no such account, or it was erased.
            AccountBlocked: It is blocked.
            NotAllowed: It is a device's, or has as many passkeys as an account may have.
        """
        with self._database.transaction() as repository:
            row = _usable(repository, account_id)
            if row.email is None:
                raise NotAllowed("a device has no passkeys")
            known = self._of(repository, account_id)
            if len(known) >= MOST_PASSKEYS:
                raise NotAllowed(f"an account has at most {MOST_PASSKEYS} passkeys")
            challenge = self._random_bytes(_CHALLENGE_BYTES)
            options = generate_registration_options(
                rp_id=self._rp_id,
                rp_name=self._rp_name,
                user_id=account_id.bytes,
                user_name=row.email,
                user_display_name=row.name,
                challenge=challenge,
                timeout=_milliseconds(CHALLENGE_LIFETIME),
                authenticator_selection=AuthenticatorSelectionCriteria(
                    # It has to say by itself whose it is; see the module.
                    resident_key=ResidentKeyRequirement.REQUIRED,
                    user_verification=UserVerificationRequirement.PREFERRED,
                ),
                exclude_credentials=[
                    PublicKeyCredentialDescriptor(base64url_to_bytes(passkey.credential_id)) for passkey in known
                ],
            )
            return self._kept(repository, Purpose.REGISTRATION, account_id, challenge, options_to_json(options))

    def register(
        self, account_id: UUID, challenge_id: UUID, credential: Mapping[str, Any] | str, label: str = "passkey"
    ) -> Passkey:
        """Add a passkey to an account.

        Args:
            account_id: Whose; the challenge has to be theirs.
            challenge_id: From ``registration_options``.
            credential: The browser's answer, as ``PublicKeyCredential.toJSON`` gives it.
            label: What its owner calls it.

        Raises:
            PasskeyRefused: The challenge is unknown, used or too old, the answer is not right, or the passkey is known.
            AccountNotFound: There is no such account, or it was erased.
            AccountBlocked: It is blocked.
            AccountDetailsRefused: The label is not accepted.
        """
        label = checked_text("label", label, LONGEST_LABEL)
        challenge = self._spent(challenge_id, Purpose.REGISTRATION, account_id)
        if challenge is None:
            raise PasskeyRefused("the challenge is unknown, was used or is too old; begin again")
        try:
            verified = verify_registration_response(
                credential=_as_dict(credential),
                expected_challenge=challenge,
                expected_rp_id=self._rp_id,
                expected_origin=self._origins,
            )
        except Exception as error:
            # The answer is a stranger's, and binary within: whatever its reading stumbles over, it is refused.
            raise PasskeyRefused(f"the answer is not right: {type(error).__name__}") from error
        if len(verified.credential_id) > _LONGEST_CREDENTIAL_ID:
            raise PasskeyRefused(f"the answer is not right: an id of more than {_LONGEST_CREDENTIAL_ID} bytes")
        credential_id = bytes_to_base64url(verified.credential_id)
        at = self._now()
        try:
            with self._database.transaction() as repository:
                _usable(repository, account_id)
                if repository.sql.get(PasskeyRow, credential_id) is not None:
                    raise PasskeyRefused("this passkey is known already")
                row = PasskeyRow(
                    credential_id=credential_id,
                    account_id=account_id,
                    public_key=verified.credential_public_key,
                    sign_count=verified.sign_count,
                    label=label,
                    created_at=at,
                    last_used_at=None,
                )
                repository.sql.add(row)
                repository.sql.flush()
                _record(repository, account_id, "passkey.added", account_id, credential_id, at)
                return _passkey(row)
        except IntegrityError as error:
            # The same passkey came twice at one moment.
            raise PasskeyRefused("this passkey is known already") from error

    def sign_in_options(self) -> PasskeyChallenge:
        """Begin to sign in, with whichever passkey the person picks."""
        challenge = self._random_bytes(_CHALLENGE_BYTES)
        options = generate_authentication_options(
            rp_id=self._rp_id,
            challenge=challenge,
            timeout=_milliseconds(CHALLENGE_LIFETIME),
            user_verification=UserVerificationRequirement.PREFERRED,
        )
        with self._database.transaction() as repository:
            return self._kept(repository, Purpose.SIGN_IN, None, challenge, options_to_json(options))

    def sign_in(
        self, challenge_id: UUID, credential: Mapping[str, Any] | str, *, label: str = "passkey"
    ) -> IssuedToken:
        """Exchange a passkey's answer for a token.

        A counter that does not rise is refused (Web Authentication, 6.1.1): there may be two copies of the key. It is
        written to the audit log.

        Args:
            challenge_id: From ``sign_in_options``.
            credential: The browser's answer, as ``PublicKeyCredential.toJSON`` gives it.
            label: What the token is called in its owner's list.

        Raises:
            SignInFailed: Not recognised; the reason is not given.
            AccountBlocked: Recognised, but blocked.
            AccountDetailsRefused: The label is not accepted.
        """
        label = checked_text("label", label, LONGEST_LABEL)
        challenge = self._spent(challenge_id, Purpose.SIGN_IN, None)
        if challenge is None:
            raise SignInFailed("the challenge is unknown, was used or is too old; begin again")
        refusal = SignInFailed("the passkey was not accepted")
        try:
            answer = _as_dict(credential)
            credential_id = bytes_to_base64url(base64url_to_bytes(answer["rawId"]))
            handle = answer["response"].get("userHandle")
            user = None if handle is None else base64url_to_bytes(handle)
        except Exception as error:
            raise refusal from error
        at = self._now()
        with self._database.transaction() as repository:
            row = repository.sql.get(PasskeyRow, credential_id, with_for_update=True, populate_existing=True)
            # A passkey that says by itself whose it is has to say it (7.2, step 6).
            if row is None or user != row.account_id.bytes:
                raise refusal
            try:
                verified = verify_authentication_response(
                    credential=answer,
                    expected_challenge=challenge,
                    expected_rp_id=self._rp_id,
                    expected_origin=self._origins,
                    credential_public_key=row.public_key,
                    # Checked below: a wrong signature must be told from a copied key.
                    credential_current_sign_count=0,
                )
            except Exception as error:
                # As above.
                raise refusal from error
            account = repository.sql.get(AccountRow, row.account_id)
            is_copied = bool(verified.new_sign_count or row.sign_count) and verified.new_sign_count <= row.sign_count
            if is_copied:
                _record(repository, None, "passkey.copied", row.account_id, credential_id, at)
            else:
                row.sign_count = verified.new_sign_count
                row.last_used_at = at
                if account is None or account.status == AccountStatus.BLOCKED:
                    raise AccountBlocked("this account is blocked")
                return self._accounts.issue(repository, row.account_id, label=label, by=row.account_id)
        # Outside of the transaction, which keeps the entry.
        _log.warning("a passkey's counter did not rise; the key may have been copied")
        raise refusal

    def passkeys(self, account_id: UUID) -> tuple[Passkey, ...]:
        """The passkeys of an account, oldest first."""
        with self._database.reading() as repository:
            return self._of(repository, account_id)

    def remove(self, account_id: UUID, credential_id: str) -> None:
        """Take a passkey from an account; tokens that came of it go on working.

        Raises:
            PasskeyNotFound: The account has no such passkey.
        """
        at = self._now()
        with self._database.transaction() as repository:
            removed = repository.sql.execute(
                delete(PasskeyRow)
                .where(PasskeyRow.credential_id == credential_id, PasskeyRow.account_id == account_id)
                .returning(PasskeyRow.credential_id)
            ).first()
            if removed is None:
                raise PasskeyNotFound("the account has no such passkey")
            _record(repository, account_id, "passkey.removed", account_id, credential_id, at)

    def _kept(
        self, repository: Repository, purpose: Purpose, account_id: UUID | None, challenge: bytes, options: str
    ) -> PasskeyChallenge:
        """Keep a challenge until it is answered."""
        expires_at = self._now() + CHALLENGE_LIFETIME
        row = PasskeyChallengeRow(
            challenge_id=self._new_id(),
            account_id=account_id,
            purpose=purpose.value,
            challenge=challenge,
            expires_at=expires_at,
        )
        repository.sql.add(row)
        repository.sql.flush()
        return PasskeyChallenge(row.challenge_id, json.loads(options), expires_at)

    def _spent(self, challenge_id: UUID, purpose: Purpose, account_id: UUID | None) -> bytes | None:
        """Take a challenge, whatever then comes of its answer; None if there is none to take.

        It is gone with this transaction, before the answer is looked at, so that nobody tries twice.
        """
        with self._database.transaction() as repository:
            found = repository.sql.execute(
                delete(PasskeyChallengeRow)
                .where(
                    PasskeyChallengeRow.challenge_id == challenge_id,
                    PasskeyChallengeRow.purpose == purpose.value,
                    PasskeyChallengeRow.account_id.is_(None)
                    if account_id is None
                    else PasskeyChallengeRow.account_id == account_id,
                )
                .returning(PasskeyChallengeRow.challenge, PasskeyChallengeRow.expires_at)
            ).first()
        return None if found is None or found.expires_at <= self._now() else bytes(found.challenge)

    def _of(self, repository: Repository, account_id: UUID) -> tuple[Passkey, ...]:
        rows = repository.sql.scalars(
            select(PasskeyRow)
            .where(PasskeyRow.account_id == account_id)
            .order_by(PasskeyRow.created_at, PasskeyRow.credential_id)
        )
        return tuple(_passkey(row) for row in rows)


def _as_dict(credential: Mapping[str, Any] | str) -> dict[str, Any]:
    if isinstance(credential, str):
        if len(credential) > LONGEST_CREDENTIAL:
            raise ValueError(f"credential: expected at most {LONGEST_CREDENTIAL} characters, got {len(credential)}")
        return dict(json.loads(credential))
    return dict(credential)


def _usable(repository: Repository, account_id: UUID) -> AccountRow:
    row = repository.sql.get(AccountRow, account_id, with_for_update=True, populate_existing=True)
    if row is None or row.status == AccountStatus.ERASED:
        raise AccountNotFound(f"there is no account {account_id}")
    if row.status == AccountStatus.BLOCKED:
        raise AccountBlocked("this account is blocked")
    return row


def _record(
    repository: Repository, actor_id: UUID | None, action: str, account_id: UUID, credential_id: str, at: datetime
) -> None:
    audit.record(repository, actor_id, action, audit.account_subject(account_id), {"credential_id": credential_id}, at)


def _passkey(row: PasskeyRow) -> Passkey:
    return Passkey(row.credential_id, row.account_id, row.label, row.created_at, row.last_used_at)


def _milliseconds(length: timedelta) -> int:
    return length // timedelta(milliseconds=1)
