"""When a shopper's question about a line is settled at once, and how many questions there may be."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class DisputeRules:
    """When a question about a line is settled at once.

    Attributes:
        sure_from: Billed with at least this probability, the store was sure.
        unsure_limit_minor: Where it was not, up to this much goes back at once, minor units.
        small_minor: Up to this much goes back at once however sure the store was.
        refunds_at_once: So often for one account ...
        window: ... within this time.
        oldest: A visit that ended longer ago cannot be asked about any more.
        per_visit: So many questions about one visit.
        per_account: So many by one account within ``window``.
        evidence_kept: While a person has to look, the visit's evidence is kept at least this long.
    """

    sure_from: float = 0.95
    unsure_limit_minor: int = 5000
    small_minor: int = 500
    refunds_at_once: int = 3
    window: timedelta = timedelta(days=90)
    oldest: timedelta = timedelta(days=90)
    per_visit: int = 10
    per_account: int = 30
    evidence_kept: timedelta = timedelta(days=30)

    def __post_init__(self) -> None:
        if not 0 <= self.sure_from <= 1:
            raise ValueError(f"DisputeRules.sure_from: expected 0 to 1, got {self.sure_from}")
        counts = self.unsure_limit_minor, self.small_minor, self.refunds_at_once, self.per_visit, self.per_account
        if min(counts) < 0 or min(self.window, self.oldest, self.evidence_kept) < timedelta(0):
            raise ValueError("DisputeRules: expected amounts, numbers and times of 0 or more")
