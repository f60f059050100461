"""Who may call what: one table from a route to its rule.

A route without a rule answers nobody. What a role may do is said by ``cart.accounts.SCOPES``; the table says which of
those scopes a route needs. So a token that was narrowed to some scopes is kept to them, and a token never does more
than its account's role allows today.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cart.accounts import SCOPES, Principal, Role, covers


class Keyed(StrEnum):
    """Whether a request takes an ``Idempotency-Key``."""

    NO = "no"
    YES = "yes"
    REQUIRED = "required"


class Pace(StrEnum):
    """Which rate limit counts."""

    USUAL = "usual"
    STRICT = "strict"
    """For what invites guessing, or costs much."""
    MACHINE = "machine"
    """For gates and scales."""
    FREE = "free"
    """For those who watch over the store."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a route.

    Attributes:
        scope: What a caller must be allowed; None for everybody, also without a token. ``gate:{gate}`` stands for the
            gate in the route's path. Where it is a matter of one's own things, others' do not exist for the caller.
        everybodys: What a caller must be allowed to see also what belongs to others; it lets them call the route
            without ``scope``, too. None if nobody sees others' things, or the route is not about anybody's.
        keyed: Whether it takes an idempotency key.
        pace: Which rate limit counts.
        public_in_demo: Whether in the demo no token is needed.
        demo_only: Whether the route exists in the demo alone.
        holds_password: Whether its body does.
    """

    scope: str | None
    everybodys: str | None = None
    keyed: Keyed = Keyed.NO
    pace: Pace = Pace.USUAL
    public_in_demo: bool = False
    demo_only: bool = False
    holds_password: bool = False

    @property
    def roles(self) -> frozenset[Role]:
        """Roles that may call the route at all."""
        return frozenset(role for role in Role if self._is_met(SCOPES[role], {}))

    def allows(self, principal: Principal, path: Mapping[str, str]) -> bool:
        """Tell whether somebody may call the route.

        Args:
            principal: Who.
            path: The parameters in the request's path.
        """
        return self._is_met(principal.scopes, path)

    def sees_all(self, principal: Principal) -> bool:
        """Tell whether somebody sees also what belongs to others."""
        return self.everybodys is not None and principal.may(self.everybodys)

    def _is_met(self, granted: frozenset[str], path: Mapping[str, str]) -> bool:
        if self.scope is None:
            return True
        kind, colon, parameter = self.scope.partition(":")
        # A role may call the route if it may for some gate.
        needed = f"{kind}:{path.get(parameter[1:-1], '*')}" if colon else kind
        return covers(granted, needed) or (self.everybodys is not None and covers(granted, self.everybodys))


_EVERYBODY = Rule(None)
_GUESSABLE = Rule(None, pace=Pace.STRICT)
_ACCOUNT = Rule("account")
_RARELY = Rule("account", pace=Pace.STRICT)
_PEOPLE = Rule("people")
_VISITS = Rule("shop", "visits")
_QUESTIONS = Rule("shop", "reviews")
_REVIEWS = Rule("reviews")
_DECISIONS = Rule("reviews", keyed=Keyed.YES)
_PRICES = Rule("prices")
_NEW_PRICES = Rule("prices", keyed=Keyed.YES)
_WEBHOOKS = Rule("webhooks")
_RECORDINGS = Rule("recordings")
_LAYOUT = Rule("layout")
_GATE = Rule("gate:{gate}", pace=Pace.MACHINE, public_in_demo=True)

RULES: dict[tuple[str, str], Rule] = {
    ("GET", "/healthz"): Rule(None, pace=Pace.FREE),
    ("GET", "/readyz"): Rule(None, pace=Pace.FREE),
    ("GET", "/metrics"): Rule("store", pace=Pace.FREE, public_in_demo=True),
    ("GET", "/openapi.json"): _EVERYBODY,
    # Accounts, tokens, passkeys.
    ("POST", "/v1/accounts"): Rule(None, keyed=Keyed.YES, pace=Pace.STRICT, holds_password=True),
    ("GET", "/v1/accounts"): _PEOPLE,
    ("GET", "/v1/accounts/{account_id}"): Rule("account", "people"),
    ("DELETE", "/v1/accounts/{account_id}"): Rule("privacy"),
    ("GET", "/v1/accounts/{account_id}/export"): Rule("privacy", pace=Pace.STRICT),
    ("POST", "/v1/accounts/{account_id}/block"): _PEOPLE,
    ("DELETE", "/v1/accounts/{account_id}/block"): _PEOPLE,
    ("PUT", "/v1/accounts/{account_id}/role"): _PEOPLE,
    ("POST", "/v1/workers"): Rule("people", pace=Pace.STRICT, holds_password=True),
    ("POST", "/v1/devices"): _PEOPLE,
    ("GET", "/v1/devices"): _PEOPLE,
    ("GET", "/v1/account"): _ACCOUNT,
    ("PATCH", "/v1/account"): _ACCOUNT,
    ("DELETE", "/v1/account"): _RARELY,
    ("GET", "/v1/account/export"): _RARELY,
    ("PUT", "/v1/account/password"): Rule("account", pace=Pace.STRICT, holds_password=True),
    ("PUT", "/v1/account/payment-method"): _ACCOUNT,
    ("GET", "/v1/account/debt"): _ACCOUNT,
    ("POST", "/v1/account/debt/payments"): Rule("account", keyed=Keyed.YES),
    ("POST", "/v1/account/tokens"): _RARELY,
    ("POST", "/v1/tokens"): Rule(None, pace=Pace.STRICT, holds_password=True),
    ("GET", "/v1/tokens"): _ACCOUNT,
    ("DELETE", "/v1/tokens/{token_id}"): Rule("account", "people"),
    ("POST", "/v1/passkeys/registrations"): _RARELY,
    ("POST", "/v1/passkeys"): _RARELY,
    ("GET", "/v1/passkeys"): _ACCOUNT,
    ("DELETE", "/v1/passkeys/{credential_id}"): _ACCOUNT,
    ("POST", "/v1/passkeys/challenges"): _GUESSABLE,
    ("POST", "/v1/passkeys/tokens"): _GUESSABLE,
    # Doors.
    ("POST", "/v1/entry-codes"): Rule("entry"),
    ("POST", "/v1/entry-keys"): Rule("entry", pace=Pace.STRICT),
    ("DELETE", "/v1/entry-keys/{key_id}"): Rule("entry"),
    ("PUT", "/v1/sessions/{session_id}/guests"): Rule("entry"),
    ("POST", "/v1/gates/{gate}/scans"): Rule("gate:{gate}", keyed=Keyed.YES, pace=Pace.MACHINE, public_in_demo=True),
    ("GET", "/v1/gates/{gate}/commands"): _GATE,
    ("POST", "/v1/gates/{gate}/commands/{grant_id}/answer"): _GATE,
    ("POST", "/v1/scales/{plate}/samples"): Rule("scale:{plate}", pace=Pace.MACHINE),
    # Visits and receipts.
    ("GET", "/v1/sessions"): _VISITS,
    ("GET", "/v1/sessions/{session_id}"): _VISITS,
    ("GET", "/v1/sessions/{session_id}/cart"): _VISITS,
    ("GET", "/v1/sessions/{session_id}/cart/events"): _VISITS,
    ("GET", "/v1/sessions/{session_id}/place/events"): _VISITS,
    ("GET", "/v1/receipts"): _VISITS,
    ("GET", "/v1/receipts/{receipt_id}"): _VISITS,
    ("GET", "/v1/receipts/{receipt_id}/evidence"): _VISITS,
    ("GET", "/v1/receipts/{receipt_id}/evidence/{evidence_id}/picture"): _VISITS,
    ("POST", "/v1/receipts/{receipt_id}/disputes"): Rule("shop", keyed=Keyed.YES),
    # After a visit.
    ("GET", "/v1/disputes"): _QUESTIONS,
    ("GET", "/v1/disputes/{dispute_id}"): _QUESTIONS,
    ("POST", "/v1/disputes/{dispute_id}/settlement"): _DECISIONS,
    ("GET", "/v1/reviews"): _REVIEWS,
    ("GET", "/v1/reviews/{session_id}"): _REVIEWS,
    ("GET", "/v1/reviews/{session_id}/evidence/{evidence_id}"): _REVIEWS,
    ("POST", "/v1/reviews/{session_id}/decision"): _DECISIONS,
    ("POST", "/v1/sessions/{session_id}/refunds"): Rule("refunds", keyed=Keyed.REQUIRED),
    # Products and prices: what a customer reads on the shelf everybody may read here.
    ("GET", "/v1/products"): _EVERYBODY,
    ("PUT", "/v1/products/{sku}"): _PRICES,
    ("GET", "/v1/products/{sku}/picture"): _EVERYBODY,
    ("PUT", "/v1/products/{sku}/picture"): _PRICES,
    ("DELETE", "/v1/products/{sku}/picture"): _PRICES,
    ("GET", "/v1/products/{sku}/prices"): _PRICES,
    ("POST", "/v1/products/{sku}/prices"): _NEW_PRICES,
    ("GET", "/v1/offers"): _EVERYBODY,
    ("GET", "/v1/offers/history"): _PRICES,
    ("POST", "/v1/offers"): _NEW_PRICES,
    ("DELETE", "/v1/offers/{offer_id}"): _PRICES,
    ("GET", "/v1/coupons"): Rule("shop", "prices"),
    ("POST", "/v1/coupons"): _NEW_PRICES,
    ("POST", "/v1/coupons/{code}/claim"): Rule("shop", pace=Pace.STRICT),
    # Running the store.
    ("GET", "/v1/store"): _EVERYBODY,
    ("GET", "/v1/webhooks"): _WEBHOOKS,
    ("POST", "/v1/webhooks"): Rule("webhooks", keyed=Keyed.YES),
    ("GET", "/v1/webhooks/{endpoint_id}/deliveries"): _WEBHOOKS,
    ("POST", "/v1/webhooks/{endpoint_id}/test"): _WEBHOOKS,
    ("POST", "/v1/webhooks/{endpoint_id}/secret"): _WEBHOOKS,
    ("POST", "/v1/webhooks/{endpoint_id}/pause"): _WEBHOOKS,
    ("DELETE", "/v1/webhooks/{endpoint_id}/pause"): _WEBHOOKS,
    ("DELETE", "/v1/webhooks/{endpoint_id}"): _WEBHOOKS,
    ("POST", "/v1/payments/webhook"): Rule(None, pace=Pace.MACHINE),
    ("GET", "/v1/audit"): Rule("audit"),
    ("GET", "/v1/cameras"): Rule("store"),
    ("GET", "/v1/cameras/live"): Rule("cameras"),
    ("GET", "/v1/cameras/{camera_id}/picture"): Rule("cameras"),
    ("GET", "/v1/floor"): Rule("shop", "store"),
    ("GET", "/v1/floor/events"): Rule("store"),
    ("GET", "/v1/gates"): Rule("store"),
    ("GET", "/v1/scales"): Rule("store"),
    ("GET", "/v1/statistics"): Rule("store"),
    ("GET", "/v1/layout"): _LAYOUT,
    ("PUT", "/v1/layout"): _LAYOUT,
    ("POST", "/v1/layout/check"): _LAYOUT,
    ("GET", "/v1/layout/versions"): _LAYOUT,
    ("GET", "/v1/layout/versions/{version}"): _LAYOUT,
    ("POST", "/v1/layout/versions/{version}/apply"): _LAYOUT,
    ("POST", "/v1/cameras/{camera_id}/calibration"): Rule("layout", pace=Pace.STRICT),
    ("POST", "/v1/cameras/{camera_id}/drawing"): Rule("cameras"),
    # Recordings.
    ("GET", "/v1/recordings"): _RECORDINGS,
    ("POST", "/v1/replays"): _RECORDINGS,
    ("GET", "/v1/replays"): _RECORDINGS,
    ("GET", "/v1/replays/{replay_id}"): _RECORDINGS,
    ("GET", "/v1/replays/{replay_id}/moments"): _RECORDINGS,
    ("GET", "/v1/replays/{replay_id}/pictures"): _RECORDINGS,
    ("DELETE", "/v1/replays/{replay_id}"): _RECORDINGS,
    # The demo.
    ("GET", "/v1/demo/products"): Rule(None, demo_only=True),
    ("POST", "/v1/demo/sessions/{session_id}/shop"): Rule("shop", "visits", keyed=Keyed.YES, demo_only=True),
}
"""The rule of every route, by HTTP method and path as the route declares it."""


def rule_of(method: str, path: str) -> Rule | None:
    """The rule of a route; None if it has none, so that nobody may call it."""
    return RULES.get((method, path))
