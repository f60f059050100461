"""Every route has a rule, and every rule is kept: each role calls each route."""

import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi.routing import APIRoute

from cart.accounts import SCOPES, Account, Role
from cart.api.app import openapi_of
from cart.api.routes import ROUTERS
from cart.api.rules import RULES, Keyed, Rule, rule_of
from cart.evidence import EvidenceKind, InteractionFacts
from cart.product_pictures import made_small, put_picture
from tests.cart.api.shops import NOON, PASSWORD, RECORDING, ApiStore, picture_file

ROUTES = [
    (method, route)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
]
# What is one's own alone, whoever asks: nobody may let guests in on another's visit, or ask about another's receipt.
OWN_ONLY = {
    ("PUT", "/v1/sessions/{session_id}/guests"),
    ("POST", "/v1/receipts/{receipt_id}/disputes"),
    ("DELETE", "/v1/entry-keys/{key_id}"),
    ("DELETE", "/v1/passkeys/{credential_id}"),
    ("POST", "/v1/coupons/{code}/claim"),
}
# What a valid-looking request comes to where that is no success.
OTHERWISE = {
    ("POST", "/v1/passkeys"): {422},  # nobody has answered the challenge
    ("POST", "/v1/passkeys/tokens"): {401},
    ("POST", "/v1/payments/webhook"): {404},  # this store's gateway sends nothing
    ("PUT", "/v1/account/password"): {204, 401},  # somebody else's password
    ("DELETE", "/v1/accounts/{account_id}"): {204, 409},  # there is a visit under way
    ("GET", "/v1/floor"): {404},  # this store's floor is not looked at
    ("GET", "/v1/cameras/live"): {404},
    ("GET", "/v1/cameras/{camera_id}/picture"): {404},
    ("POST", "/v1/cameras/{camera_id}/drawing"): {404},
    ("DELETE", "/v1/account"): {204, 403, 409},  # the last owner stays
    ("POST", "/v1/disputes/{dispute_id}/settlement"): {200, 409},
}
PARAMETERS = {
    ("GET", "/v1/replays/{replay_id}/pictures"): {"camera_id": "north", "t_s": "1"},
}
LAST = ("POST /v1/accounts/{account_id}/block", "DELETE /v1/tokens/", "DELETE /v1/account", "PUT /v1/account/password")


class Victim:
    """A shopper with one of everything, whom nobody else may see."""

    def __init__(self, store: ApiStore) -> None:
        store.give_layouts()
        self.replay = store.give_replays()
        self.account: Account = store.account("victim")
        store.accounts.set_payment_method(self.account.account_id, "pm_1")
        self.token = store.accounts.issue_token(self.account.account_id, "phone")
        self.paid = store.paid_visit(self.account, quantity=20)
        self.doubtful = store.doubtful_visit(self.account)
        self.open = store.visit(self.account)
        store.take(self.open.session_id)
        assert store.shop.disputes is not None
        assert store.shop.doorman is not None
        self.dispute = store.shop.disputes.open(self.paid.session_id, self.account.account_id, "042", 0, "none")
        self.key = store.shop.doorman.issue_key(self.account.account_id)
        interaction = uuid4()
        facts = InteractionFacts("pick", "b1", "shelf 3", NOON, NOON)
        self.evidence = store.evidence.add(
            self.doubtful.session_id, interaction, EvidenceKind.PICTURE, facts, b"\xff\xd8picture", "image/jpeg"
        )
        self.seen = store.evidence.add(
            self.paid.session_id, interaction, EvidenceKind.INTERACTION, store.facts_of(self.account)
        )
        store.evidence.add(self.paid.session_id, interaction, EvidenceKind.HAND, facts, b"\xff\xd8hand", "image/jpeg")
        with store.database.transaction() as repository:
            put_picture(repository, "042", made_small(picture_file()), NOON)
        code = store.shop.doorman.entry_code(self.account.account_id).code
        self.grant = store.shop.doorman.open_by_hand("front").grant_id
        self.code = code
        assert store.shop.webhooks is not None
        self.endpoint = store.shop.webhooks.create("http://192.168.0.1/hook").endpoint.endpoint_id

    def places(self, route: str) -> dict[str, str]:
        """What stands in the path of a route."""
        session = self.open
        if route.startswith("/v1/reviews"):
            session = self.doubtful
        if "refunds" in route:
            session = self.paid
        return {
            "account_id": str(self.account.account_id),
            "token_id": str(self.token.token.token_id),
            "credential_id": "AAAA",
            "key_id": self.key.key_id,
            "session_id": str(session.session_id),
            "gate": "front",
            "plate": "front",
            "grant_id": str(self.grant),
            "receipt_id": str(self.paid.session_id),
            "dispute_id": str(self.dispute.dispute_id),
            "evidence_id": str(self.seen if "receipts" in route else self.evidence),
            "sku": "042",
            "camera_id": "north",
            "version": "0",
            "replay_id": str(self.replay),
            "offer_id": str(UUID(int=1)),
            "code": "NOBODYS",
            "endpoint_id": str(self.endpoint),
        }


def clicked() -> list[dict[str, list[float]]]:
    """What a camera at (0, -3, 1.5) m that looks along y sees of eight points, focal length 500 px."""
    points = [(x, y, z) for x in (-1.0, 1.2) for y in (0.0, 2.0) for z in (0.2, 1.9)]
    return [
        {"pixel": [320 + 500 * x / (y + 3), 180 + 500 * (1.5 - z) / (y + 3)], "world_m": [x, y, z]}
        for x, y, z in points
    ]


def body_of(method: str, route: str, name: str) -> Any:
    """A body that fits a route; None if it takes none."""
    bodies: Mapping[str, Any] = {
        "POST /v1/accounts": {"email": f"new-{name}@example.com", "password": PASSWORD},
        "POST /v1/workers": {"email": f"worker-{name}@example.com", "password": PASSWORD, "role": "staff"},
        "POST /v1/devices": {"name": "back"},
        "PATCH /v1/account": {"name": "Another Name"},
        "PUT /v1/account/password": {"old_password": PASSWORD, "new_password": "battery staple"},
        "PUT /v1/account/payment-method": {"reference": "pm_2"},
        "POST /v1/account/tokens": {"label": "script"},
        "POST /v1/tokens": {"email": "victim@example.com", "password": PASSWORD},
        "POST /v1/passkeys": {"challenge_id": str(uuid4()), "credential": {}},
        "POST /v1/passkeys/tokens": {"challenge_id": str(uuid4()), "credential": {}},
        "PUT /v1/sessions/{session_id}/guests": {"guests_allowed": 1},
        "POST /v1/gates/{gate}/scans": {"code": "no code at all"},
        "POST /v1/gates/{gate}/commands/{grant_id}/answer": {"opened": True},
        "POST /v1/scales/{plate}/samples": {"timestamp_ns": 1, "rate_hz": 60, "grams": [0] * 12},
        "POST /v1/receipts/{receipt_id}/disputes": {"sku": "042", "claimed_quantity": 1},
        "POST /v1/disputes/{dispute_id}/settlement": {"quantity": 19},
        "POST /v1/reviews/{session_id}/decision": {"lines": [{"sku": "042", "quantity": 1}]},
        "POST /v1/sessions/{session_id}/refunds": {"amount_minor": 1, "reason": "a kind word"},
        "PUT /v1/accounts/{account_id}/role": {"role": "viewer"},
        "PUT /v1/products/{sku}": {"name": "Oat bar"},
        "POST /v1/products/{sku}/prices": {"unit_price_minor": 209},
        "POST /v1/offers": {"name": "2 for 3.00", "skus": ["042"], "deal": {"kind": "percent_off", "percent_bp": 100}},
        "POST /v1/coupons": {"code": "HELLO", "name": "5 off", "amount_minor": 500},
        "POST /v1/webhooks": {"url": "https://192.168.0.2/hook"},
        "POST /v1/payments/webhook": {},
        "PUT /v1/layout": {"document": {"format": "tillfree-layout/1", "name": "empty", "cameras": {}}},
        "POST /v1/layout/versions/{version}/apply": {"when": "now"},
        "POST /v1/layout/check": {"document": {"format": "tillfree-layout/1", "name": "empty"}},
        "POST /v1/cameras/{camera_id}/drawing": {"document": {"format": "tillfree-layout/1", "name": "empty"}},
        "POST /v1/cameras/{camera_id}/calibration": {"points": clicked(), "resolution_wh": [640, 360]},
        "POST /v1/replays": {"recording": RECORDING},
    }
    return bodies.get(f"{method} {route}")


def call(client: httpx.Client, victim: Victim, method: str, route: str, name: str) -> httpx.Response:
    """Call a route as if the caller might."""
    path = re.sub(r"{(\w+)}", lambda match: victim.places(route)[match[1]], route)
    rule = RULES[method, route]
    headers = {} if rule.keyed is Keyed.NO else {"Idempotency-Key": f"{name}-{method}-{route}".replace(" ", "")[:200]}
    if (method, route) == ("PUT", "/v1/products/{sku}/picture"):
        return client.put(path, content=picture_file(), headers={"Content-Type": "image/png"})
    query = PARAMETERS.get((method, route))
    return client.request(method, path, params=query, json=body_of(method, route, name), headers=headers)


def in_order() -> list[tuple[str, str]]:
    """All routes but the stream, those after which the caller or the victim is another one last."""
    routes = [key for key in RULES if not key[1].endswith("/events")]
    return sorted(
        routes, key=lambda key: next((i for i, last in enumerate(LAST, 1) if " ".join(key).startswith(last)), 0)
    )


def expected(rule: Rule, key: tuple[str, str], role: Role | None, *, demo: bool) -> set[int]:
    """The statuses that the table of rules means."""
    succeeds = OTHERWISE.get(key, {200, 201, 202, 204})
    if rule.demo_only and not demo:
        return {404}
    if rule.scope is None or (demo and rule.public_in_demo):
        return succeeds
    if role is None:
        return {401}
    if role not in rule.roles:
        return {403}
    sees_all = rule.everybodys is None or rule.everybodys in SCOPES[role]
    if key in OWN_ONLY or (not sees_all and "{" in key[1]):
        return {404}
    return succeeds


def test_every_route_has_a_rule_and_every_rule_has_a_route() -> None:
    assert {(method, route.path) for method, route in ROUTES} == set(RULES)


def test_the_application_serves_only_routes_with_a_rule() -> None:
    document = openapi_of(ApiStore(demo=True).app)
    served = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert served == set(RULES)


def test_a_route_without_a_rule_answers_nobody() -> None:
    store = ApiStore()
    store.app.add_api_route("/v1/forgotten", lambda: {"secret": 1}, methods=["GET"])
    _, owner = store.signed_in("boss", Role.OWNER)
    assert rule_of("GET", "/v1/forgotten") is None
    assert owner.get("/v1/forgotten").status_code == 403


def test_rules_name_only_scopes_that_some_role_has() -> None:
    known = {scope.partition(":")[0] for scopes in SCOPES.values() for scope in scopes}
    for rule in RULES.values():
        for scope in (rule.scope, rule.everybodys):
            assert scope is None or scope.partition(":")[0] in known


@pytest.mark.parametrize("demo", [False, True], ids=["store", "demo"])
@pytest.mark.parametrize("role", [None, *Role], ids=lambda role: str(role or "nobody"))
def test_each_role_may_call_what_its_rules_say_and_nothing_else(role: Role | None, demo: bool) -> None:
    store = ApiStore(demo=demo)
    victim = Victim(store)
    if role is not Role.OWNER:
        store.account("first-owner", Role.OWNER)
    client = store.client() if role is None else store.signed_in("front" if role is Role.DEVICE else "caller", role)[1]
    store.pass_time(seconds=1)  # a product's second price comes after its first
    wrong = {}
    for method, route in in_order():
        rule = RULES[method, route]
        answer = call(client, victim, method, route, "caller")
        wanted = expected(rule, (method, route), role, demo=demo)
        if answer.status_code not in wanted:
            wrong[method, route] = (answer.status_code, wanted, answer.text[:200])
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", (method, route)
        elif rule.everybodys is not None and role is not None and rule.everybodys not in SCOPES[role]:
            for secret in (str(victim.paid.session_id), str(victim.account.account_id), "victim@"):
                assert secret not in answer.text, (method, route)
    assert wrong == {}


@pytest.mark.parametrize("method", ["GET"])
def test_a_shopper_cannot_follow_another_ones_cart(method: str) -> None:
    store = ApiStore()
    victim = Victim(store)
    _, grace = store.signed_in("grace")
    assert grace.request(method, f"/v1/sessions/{victim.open.session_id}/cart/events").status_code == 404


def test_what_is_not_ones_own_is_answered_like_what_does_not_exist() -> None:
    store = ApiStore()
    victim = Victim(store)
    _, grace = store.signed_in("grace")
    for route in ("/v1/sessions/{}", "/v1/sessions/{}/cart", "/v1/receipts/{}", "/v1/receipts/{}-1"):
        hidden, absent = str(victim.paid.session_id), str(uuid4())
        answers = [grace.get(route.format(each)) for each in (hidden, absent)]
        assert [answer.status_code for answer in answers] == [404, 404]
        told = [answer.text.replace(each, "ID") for answer, each in zip(answers, (hidden, absent), strict=True)]
        assert told[0].replace("receipt ID-1", "visit ID") == told[1].replace("receipt ID-1", "visit ID")


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.DEVICE])
def test_a_narrowed_token_is_kept_to_its_scope(role: Role) -> None:
    store = ApiStore()
    victim = Victim(store)
    account = store.account("caller", role)
    client = store.client(store.token_of(account, "entry"))
    for method, route in in_order():
        rule = RULES[method, route]
        if rule.scope in (None, "entry") or rule.demo_only:
            continue
        answer = call(client, victim, method, route, "caller")
        assert answer.status_code == 403, (method, route, answer.text)


def test_a_gate_speaks_for_itself_alone() -> None:
    store = ApiStore()
    front = store.device("front")
    assert front.get("/v1/gates/front/commands").status_code == 200
    assert front.get("/v1/gates/back/commands").status_code == 403
    assert front.post("/v1/scales/back/samples", json={}).status_code == 403


def test_whoever_looks_at_anothers_records_is_written_down() -> None:
    store = ApiStore()
    victim = Victim(store)
    staff, client = store.signed_in("sam", Role.STAFF)
    _, owner = store.signed_in("boss", Role.OWNER)
    visit = victim.paid.session_id
    for place in (f"/v1/receipts/{visit}", f"/v1/sessions/{visit}", f"/v1/sessions/{visit}/cart"):
        assert client.get(place).status_code == 200
    looks = owner.get("/v1/audit", params={"action": "looked", "actor_id": str(staff.account_id)}).json()["items"]
    assert [look["detail"]["what"] for look in reversed(looks)] == [
        f"receipt:{visit}",
        f"session:{visit}",
        f"cart:{visit}",
    ]
    assert {look["subject"] for look in looks} == {f"account:{victim.account.account_id}"}
    assert json.dumps(looks).count("@") == 0
