"""Entry codes: what a shopper's phone shows at the gate, made offline from a secret that it holds.

A code is ``TF1:`` and 35 bytes in base32 (RFC 4648), 60 characters of the QR code's alphanumeric mode, so it fits
version 3 (29 x 29 modules) at error correction level M. The bytes, big-endian:

====== ====== ==========================================================================================
offset length meaning
====== ====== ==========================================================================================
0      4      store tag, the first bytes of SHA-256 of the store's id
4      8      key id, which names the account's key
12     4      time step, Unix seconds divided by 15
16     1      counter, so that a payer can make several codes in one step, one for each guest
17     18     the first bytes of HMAC-SHA-256 (RFC 2104), keyed with the secret
====== ====== ==========================================================================================

The signature covers a fixed text, the store's whole id and the 17 bytes before it, so a code is good at one store, for
one key, in one step. It is the idea of a time-based one-time password (RFC 6238) with 144 instead of some 20 bits, and
with the step written in the code: a late code can be told from a forged one. 35 bytes fill 56 characters exactly, so
every code has one spelling only; the reader takes no other.

Whether a code was shown before is not decided here; see ``cart.doors``.
"""

import hashlib
import hmac
import re
from base64 import b32decode, b32encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from cart.events import check_aware

PREFIX = "TF1:"
STEP_S = 15
STEPS_EITHER_SIDE = 1
"""Clocks of phone and store may differ by so many steps."""
MAX_COUNTER = 255
CODE_LENGTH = 60
SECRET_BYTES = 32

_TAG_BYTES, _KEY_BYTES, _STEP_BYTES = 4, 8, 4
_SIGNED_BYTES = _TAG_BYTES + _KEY_BYTES + _STEP_BYTES + 1
_SIGNATURE_BYTES = 18
_PURPOSE = b"tillfree entry code 1"
_SHAPE = re.compile(r"TF1:[A-Z2-7]{56}")
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_LAST_STEP = 256**_STEP_BYTES - 1


class CodeRefusal(StrEnum):
    """Why an entry code is not taken."""

    MALFORMED = "malformed"
    OTHER_STORE = "other_store"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    REVOKED = "revoked"
    EXPIRED = "expired"
    TOO_EARLY = "too_early"
    ALREADY_USED = "already_used"
    """Never the answer of ``check_code``, which remembers nothing."""


class CodeRefusedError(Exception):
    """An entry code is not taken.

    Attributes:
        refusal: Why.
        key_id: The key whose signature was found good, as of a code that comes too late; else None.
    """

    def __init__(self, refusal: CodeRefusal, key_id: str | None = None) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal
        self.key_id = key_id


@dataclass(frozen=True, slots=True)
class EntryKey:
    """A secret from which entry codes are made; a phone holds a copy.

    Attributes:
        key_id: 16 hexadecimal digits.
        account_id: Who pays.
        secret: 32 random bytes; it is kept out of ``repr``.
        created_at: Timezone-aware.
        revoked_at: Since when it is worth nothing; None while it is good.
    """

    key_id: str
    account_id: UUID
    secret: bytes = field(repr=False)
    created_at: datetime
    revoked_at: datetime | None = None

    def __post_init__(self) -> None:
        if not _KEY_ID.fullmatch(self.key_id):
            raise ValueError(f"EntryKey.key_id: expected 16 hexadecimal digits, got {self.key_id!r:.40}")
        if len(self.secret) != SECRET_BYTES:
            raise ValueError(f"EntryKey.secret: expected {SECRET_BYTES} bytes, got {len(self.secret)}")
        check_aware("EntryKey.created_at", self.created_at)


@dataclass(frozen=True, slots=True)
class EntryCode:
    """A code to show at a gate.

    Attributes:
        code: Its text, for a QR code.
        expires_at: From then on a store whose clock agrees with its maker's refuses it.
        step_s: How long a step lasts, seconds; the code that follows is made after it.
    """

    code: str
    expires_at: datetime
    step_s: int = STEP_S


@dataclass(frozen=True, slots=True)
class ReadCode:
    """What is written in an entry code, whether or not its signature is good.

    Attributes:
        store_tag: Four bytes that stand for the store.
        key_id: 16 hexadecimal digits.
        step: Unix seconds divided by 15, of the phone's clock.
        counter: 0 to 255.
        signature: 18 bytes.
    """

    store_tag: bytes
    key_id: str
    step: int
    counter: int
    signature: bytes

    @property
    def begins_at(self) -> datetime:
        """When the code's step begins."""
        return datetime.fromtimestamp(self.step * STEP_S, UTC)


def new_key(account_id: UUID, at: datetime, random_bytes: Callable[[int], bytes]) -> EntryKey:
    """Make a key for an account.

    Args:
        account_id: Who pays for those who come in with its codes.
        at: Now, timezone-aware.
        random_bytes: Gives so many unpredictable bytes, such as ``secrets.token_bytes``.
    """
    return EntryKey(random_bytes(_KEY_BYTES).hex(), account_id, random_bytes(SECRET_BYTES), at)


def make_code(key: EntryKey, store_id: str, at: datetime, counter: int = 0) -> str:
    """Make an entry code; everything it needs is known offline.

    Args:
        key: The phone's key.
        store_id: The store whose gates shall take it.
        at: Now by the phone's clock, timezone-aware.
        counter: 0 to 255; each gives another code in the same step.

    >>> from uuid import UUID
    >>> key = EntryKey("00112233445566aa", UUID(int=1), bytes(range(32)), datetime(2026, 1, 1, tzinfo=UTC))
    >>> code = make_code(key, "main-street", datetime(2026, 1, 2, 12, tzinfo=UTC))
    >>> len(code), code[:4], check_code(code, key, "main-street", datetime(2026, 1, 2, 12, 0, 20, tzinfo=UTC)).counter
    (60, 'TF1:', 0)
    """
    if not 0 <= counter <= MAX_COUNTER:
        raise ValueError(f"counter: expected 0 to {MAX_COUNTER}, got {counter}")
    signed = (
        store_tag(store_id)
        + bytes.fromhex(key.key_id)
        + step_of(at).to_bytes(_STEP_BYTES, "big")
        + counter.to_bytes(1, "big")
    )
    return PREFIX + b32encode(signed + _signature(key.secret, store_id, signed)).decode("ascii")


def make_entry_code(key: EntryKey, store_id: str, at: datetime, counter: int = 0) -> EntryCode:
    """Make an entry code and say how long it lasts."""
    end = (step_of(at) + 1 + STEPS_EITHER_SIDE) * STEP_S
    return EntryCode(make_code(key, store_id, at, counter), datetime.fromtimestamp(end, UTC))


def read_code(code: str) -> ReadCode:
    """Read what is written in a code, without judging it.

    Raises:
        CodeRefusedError: ``malformed``.
    """
    if not _SHAPE.fullmatch(code):
        raise CodeRefusedError(CodeRefusal.MALFORMED)
    content = b32decode(code[len(PREFIX) :])
    at_key, at_step = _TAG_BYTES, _TAG_BYTES + _KEY_BYTES
    return ReadCode(
        content[:at_key],
        content[at_key:at_step].hex(),
        int.from_bytes(content[at_step : at_step + _STEP_BYTES], "big"),
        content[_SIGNED_BYTES - 1],
        content[_SIGNED_BYTES:],
    )


def check_code(code: str, key: EntryKey | None, store_id: str, at: datetime) -> ReadCode:
    """Judge a code by everything but whether it was shown before.

    What a code says about itself counts only once its signature is good, so nobody learns from forged ones which keys
    are revoked.

    Args:
        code: What was shown.
        key: The key that the code names, see ``read_code``; None if there is none.
        store_id: This store.
        at: Now by the store's clock, timezone-aware.

    Raises:
        CodeRefusedError: Anything but ``already_used``.
    """
    read = read_code(code)
    if not hmac.compare_digest(read.store_tag, store_tag(store_id)):
        raise CodeRefusedError(CodeRefusal.OTHER_STORE)
    if key is None or key.key_id != read.key_id:
        raise CodeRefusedError(CodeRefusal.UNKNOWN_KEY)
    signed = b32decode(code[len(PREFIX) :])[:_SIGNED_BYTES]
    if not hmac.compare_digest(read.signature, _signature(key.secret, store_id, signed)):
        raise CodeRefusedError(CodeRefusal.BAD_SIGNATURE)
    if key.revoked_at is not None:
        raise CodeRefusedError(CodeRefusal.REVOKED, key.key_id)
    ahead = read.step - step_of(at)
    if ahead < -STEPS_EITHER_SIDE:
        raise CodeRefusedError(CodeRefusal.EXPIRED, key.key_id)
    if ahead > STEPS_EITHER_SIDE:
        raise CodeRefusedError(CodeRefusal.TOO_EARLY, key.key_id)
    return read


def fingerprint(code: str) -> str:
    """SHA-256 of a code, hexadecimal: under this name the store remembers that it was shown."""
    return hashlib.sha256(code.encode("ascii")).hexdigest()


def step_of(at: datetime) -> int:
    """The time step that a moment lies in: Unix seconds divided by 15, rounded down."""
    check_aware("at", at)
    step = int((at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=STEP_S))
    if not 0 <= step <= _LAST_STEP:
        raise ValueError(f"at: expected a time from 1970 on, got {at.isoformat()}")
    return step


def store_tag(store_id: str) -> bytes:
    """Four bytes that stand for a store in a code, so that another store's code can be told from a forged one."""
    if not store_id:
        raise ValueError("store_id: expected text, got nothing")
    return hashlib.sha256(store_id.encode("utf-8")).digest()[:_TAG_BYTES]


def _signature(secret: bytes, store_id: str, signed: bytes) -> bytes:
    name = store_id.encode("utf-8")
    message = _PURPOSE + len(name).to_bytes(4, "big") + name + signed
    return hmac.digest(secret, message, "sha256")[:_SIGNATURE_BYTES]
