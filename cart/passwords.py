"""Passwords: argon2id hashes, how long a password is, and how many wrong ones are put up with."""

import threading
import unicodedata
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cart.errors import AccountDetailsRefused, TooManyAttempts
from cart.events import check_aware

SHORTEST, LONGEST = 8, 128
"""Length of a password in characters (Unicode code points), as NIST SP 800-63B asks for and more."""


@dataclass(frozen=True, slots=True)
class Argon2Cost:
    """What a hash costs whoever makes it.

    The default is what the OWASP Password Storage Cheat Sheet recommends for argon2id (RFC 9106): 19 MiB, two passes,
    one lane.

    Attributes:
        memory_kib: Memory, at least 8 KiB a lane.
        passes: Passes over the memory, at least 1.
        lanes: Lanes computed side by side, at least 1.
    """

    memory_kib: int = 19 * 1024
    passes: int = 2
    lanes: int = 1

    def __post_init__(self) -> None:
        if self.passes < 1 or self.lanes < 1 or self.memory_kib < 8 * self.lanes:
            raise ValueError(f"Argon2Cost: expected at least 1 pass, 1 lane and 8 KiB a lane, got {self}")


class Passwords:
    """Makes and checks argon2id hashes.

    A password is normalised to NFKC first (NIST SP 800-63B), so that it does not matter which keyboard it is typed on.

    Args:
        cost: What a new hash costs. Hashes of another cost still verify; ``is_outdated`` tells them.
    """

    def __init__(self, cost: Argon2Cost | None = None) -> None:
        cost = cost or Argon2Cost()
        self._hasher = PasswordHasher(time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes)
        # Verified in place of the hash that an unknown account does not have, so that both take the same time.
        self._nobodys_hash = self._hasher.hash("nobody's password")

    def hash(self, password: str) -> str:
        """Hash a new password.

        Raises:
            AccountDetailsRefused: It is too short, too long, or no text.
        """
        normal = unicodedata.normalize("NFKC", password)
        if not SHORTEST <= len(normal) <= LONGEST or len(password) > LONGEST:
            raise AccountDetailsRefused(
                f"password: expected {SHORTEST} to {LONGEST} characters, got {max(len(normal), len(password))}"
            )
        try:
            return self._hasher.hash(normal)
        except UnicodeEncodeError as error:
            raise AccountDetailsRefused("password: expected text, got half a character") from error

    def verify(self, argon2_hash: str | None, password: str) -> bool:
        """Tell whether a password is the one behind a hash.

        Args:
            argon2_hash: The hash; None if the account is unknown or has no password, which takes as long.
            password: What was typed, of any length.
        """
        # Nothing longer than the longest can be right, and normalising a long text would be work for nothing.
        typed = unicodedata.normalize("NFKC", password[: LONGEST + 1]).encode("utf-8", "surrogatepass")
        try:
            matches = self._hasher.verify(argon2_hash or self._nobodys_hash, typed)
        except (VerificationError, InvalidHashError):
            return False
        return matches and argon2_hash is not None and len(password) <= LONGEST

    def is_outdated(self, argon2_hash: str) -> bool:
        """Tell whether a hash was made at another cost than new ones are."""
        return self._hasher.check_needs_rehash(argon2_hash)


class Throttle:
    """Counts tries in a sliding window of time, in this process's memory; safe to share between threads.

    It starts anew when the process does, and two processes count apart; so it is a brake on guessing, not a lock.

    Args:
        limit: How many tries a window has room for, at least 1.
        window: Its length.
        longest: How many keys are remembered; beyond it the one that was used longest ago is forgotten.
    """

    def __init__(self, limit: int, window: timedelta, longest: int = 100_000) -> None:
        if limit < 1 or window <= timedelta(0) or longest < 1:
            raise ValueError(
                f"Throttle: expected a limit and a length of at least 1 and a window above 0,"
                f" got {limit}, {longest} and {window}"
            )
        self._limit, self._window, self._longest = limit, window, longest
        self._tries: OrderedDict[Hashable, deque[datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: Hashable, at: datetime) -> None:
        """Count a try; one beyond the limit is not counted.

        Args:
            key: Whose, such as an address.
            at: Now, timezone-aware.

        Raises:
            TooManyAttempts: The window is full.
        """
        check_aware("at", at)
        with self._lock:
            tries = self._tries.setdefault(key, deque())
            self._tries.move_to_end(key)
            while tries and tries[0] <= at - self._window:
                tries.popleft()
            if len(tries) >= self._limit:
                wait_s = max(1, ceil((tries[0] + self._window - at).total_seconds()))
                raise TooManyAttempts(f"too many failures, try again in {wait_s} s", wait_s)
            tries.append(at)
            while len(self._tries) > self._longest:
                self._tries.popitem(last=False)

    def give_back(self, key: Hashable, at: datetime) -> None:
        """Uncount a try made at that time: it was none of those that are to be limited."""
        with self._lock:
            tries = self._tries.get(key)
            if tries is not None and at in tries:
                tries.remove(at)

    def clear(self, keys: Iterable[Hashable]) -> None:
        """Forget all tries of some keys."""
        with self._lock:
            for key in keys:
                self._tries.pop(key, None)
