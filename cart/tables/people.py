"""Tables of people: accounts, how they prove who they are, tokens, and who did what."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Integer, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from cart.tables.base import Base, keep_history


class AccountRow(Base):
    """Somebody, or a device, that the store knows; see ``cart.accounts.Account``."""

    __tablename__ = "accounts"
    __table_args__ = (CheckConstraint("(status = 'erased') = (erased_at IS NOT NULL)", "erased_at"),)

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(unique=True)
    """Lower case; None for a device, and once the account is erased."""
    name: Mapped[str]
    role: Mapped[str] = mapped_column(index=True)
    status: Mapped[str]
    locale: Mapped[str]
    payment_method: Mapped[str | None]
    """The payment provider's own name for how this account pays; never a card's number."""
    created_at: Mapped[datetime]
    erased_at: Mapped[datetime | None]


class PasswordRow(Base):
    """The argon2 hash of an account's password."""

    __tablename__ = "passwords"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"), primary_key=True)
    argon2_hash: Mapped[str]
    changed_at: Mapped[datetime]


class PasskeyRow(Base):
    """A WebAuthn credential of an account; see ``cart.passkeys``."""

    __tablename__ = "passkeys"

    credential_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"), index=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    sign_count: Mapped[int] = mapped_column(BigInteger)
    label: Mapped[str]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class PasskeyChallengeRow(Base):
    """A challenge that a passkey has to answer, once and soon."""

    __tablename__ = "passkey_challenges"

    challenge_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.account_id"))
    purpose: Mapped[str]
    challenge: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class TokenRow(Base):
    """A bearer token; only its SHA-256 is kept. See ``cart.accounts.Token``."""

    __tablename__ = "tokens"

    token_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"), index=True)
    secret_sha256: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[Any]] = mapped_column(JSON)
    label: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]


class AuditRow(Base):
    """Who did what, and who looked at whose records. Append-only."""

    __tablename__ = "audit_log"

    position: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor_id: Mapped[UUID | None] = mapped_column(index=True)
    action: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    """What it was done to, such as ``session:...`` or ``account:...``."""
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)


keep_history(AuditRow)
