"""How often one caller may ask: token buckets in this process, told in ``RateLimit-*`` headers.

A token bucket lets a burst through and refills evenly. The header fields are those of the IETF draft "RateLimit header
fields for HTTP" (draft-ietf-httpapi-ratelimit-headers, revision 6). Several processes would each count for themselves.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MOST_CALLERS = 20_000


@dataclass(frozen=True, slots=True)
class Rate:
    """How much is allowed.

    Attributes:
        requests: So many at once, at least 1 ...
        window_s: ... and as many again over this time, evenly, seconds.
    """

    requests: int
    window_s: float = 60.0

    def __post_init__(self) -> None:
        if self.requests < 1 or self.window_s <= 0:
            raise ValueError(
                f"Rate: expected at least 1 request in a positive time, got {self.requests}, {self.window_s}"
            )


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a caller has left.

    Attributes:
        allowed: Whether this request may go on.
        rate: What is allowed.
        remaining: Further requests that would be let through now.
        reset_s: When the bucket is full again, or, for a request that was refused, when the next one may come; seconds.
    """

    allowed: bool
    rate: Rate
    remaining: int
    reset_s: float

    @property
    def headers(self) -> dict[str, str]:
        """The header fields that tell the caller."""
        headers = {
            "RateLimit-Limit": str(self.rate.requests),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(math.ceil(self.reset_s)),
        }
        return headers if self.allowed else {**headers, "Retry-After": str(max(1, math.ceil(self.reset_s)))}


class RateLimiter:
    """Counts requests of many callers; safe to call from several threads.

    The callers longest unseen are forgotten when there are too many, which is what a full bucket comes to anyway.

    Args:
        clock: Seconds, never going back.
        most_callers: How many buckets are kept.

    >>> now = 0.0
    >>> limiter = RateLimiter(lambda: now)
    >>> rate = Rate(2, window_s=60)
    >>> [limiter.take("ada", rate).allowed for _ in range(3)]
    [True, True, False]
    >>> now = 30.0
    >>> limiter.take("ada", rate).allowed, limiter.take("grace", rate).remaining
    (True, 1)
    """

    def __init__(self, clock: Callable[[], float], most_callers: int = _MOST_CALLERS) -> None:
        if most_callers < 1:
            raise ValueError(f"most_callers: expected at least 1, got {most_callers}")
        self._clock = clock
        self._most_callers = most_callers
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, rate: Rate) -> Allowance:
        """Count a request.

        Args:
            caller: Whose bucket it is; each has one rate.
            rate: What is allowed.
        """
        per_s = rate.requests / rate.window_s
        with self._lock:
            now = self._clock()
            tokens, then = self._buckets.pop(caller, (float(rate.requests), now))
            tokens = min(float(rate.requests), tokens + (now - then) * per_s)
            # A sum of many small refills may end a hair below a whole one.
            allowed = tokens >= 1.0 - 1e-9
            if allowed:
                tokens = max(0.0, tokens - 1.0)
            self._buckets[caller] = tokens, now
            if len(self._buckets) > self._most_callers:
                self._buckets.popitem(last=False)
        missing = rate.requests - tokens if allowed else 1.0 - tokens
        return Allowance(allowed, rate, math.floor(tokens + 1e-9), missing / per_s)
