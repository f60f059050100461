"""Requests that mean no good: each gets a clear answer, and the store goes on."""

import json
from collections.abc import Iterator
from functools import cache

import httpx
import pytest

from cart.accounts import Account, Role
from cart.api.rules import RULES
from tests.cart.api.shops import PASSWORD, ApiStore
from tests.cart.api.test_rules import Victim, body_of

PROBLEM = "application/problem+json"
DEEP = 20_000
BODIES = {
    "nothing": b"",
    "no JSON": b"{'single': quotes}",
    "cut off": b'{"email": "ada@exam',
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep and never closed": b"[" * 60_000,
    "a huge number": b'{"quantity": 1' + b"0" * 5_000 + b"}",
    "a huge exponent": b'{"quantity": 1e999999999}',
    "not a number": b'{"quantity": NaN, "amount_minor": Infinity}',
    "bad UTF-8": b'{"email": "\xff\xfe\xfa"}',
    "an overlong UTF-8": b'{"email": "\xc0\xaf"}',
    "half a character": b'{"email": "\\ud800@example.com", "password": "\\udfff"}',
    "NUL": b'{"email": "a\\u0000da@example.com", "password": "correct\\u0000horse", "name": "\\u0000"}',
    "UTF-16": '{"email": "ada@example.com"}'.encode("utf-16"),
    "UTF-32": '{"email": "ada@example.com"}'.encode("utf-32"),
    "the same key twice": b'{"email": "a@b.co", "email": "c@d.co"}',
    "many keys": json.dumps({f"key{n}": n for n in range(4_000)}).encode(),
    "a list": b"[]",
    "a string": b'"text"',
    "null": b"null",
    "true": b"true",
    "prototype": b'{"__proto__": {"role": "owner"}, "role": "owner", "constructor": {}}',
    "binary": bytes(range(256)) * 16,
}
TYPES = [
    None,
    "",
    "application/xml",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "text/plain",
    "application/json\x7f",
    "/" * 200,
]
TAKE_BODIES = sorted(path for method, path in RULES if method == "POST" and body_of("POST", path, "x") is not None)


@cache
def shared() -> tuple[ApiStore, Victim, Account]:
    """One store for all of them: it has to survive."""
    store = ApiStore(demo=True)
    return store, Victim(store), store.account("boss", Role.OWNER)


def is_clear(answer: httpx.Response) -> bool:
    """Whether an answer is a clear no."""
    return 400 <= answer.status_code < 500 and answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_hostile_body_is_refused_by_every_route_that_takes_one(body: bytes) -> None:
    store, victim, boss = shared()
    client = store.client(store.token_of(boss))
    for route in TAKE_BODIES:
        path = route
        for name, value in victim.places(route).items():
            path = path.replace("{" + name + "}", value)
        headers = {"Content-Type": "application/json", "Idempotency-Key": "hostile"}
        answer = client.post(path, content=body, headers=headers)
        # A gate answers a code that is none with a refusal; this store takes no payment webhooks at all.
        assert is_clear(answer) or answer.json().get("decision") == "refuse", (route, answer.status_code, answer.text)
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("media_type", TYPES)
def test_a_body_of_another_type_is_refused(media_type: str | None) -> None:
    store, _, boss = shared()
    client = store.client(store.token_of(boss))
    headers = {} if media_type is None else {"Content-Type": media_type}
    content = json.dumps({"email": "new@example.com", "password": PASSWORD}).encode()
    if media_type is None:
        request = client.build_request("POST", "/v1/accounts", content=content)
        request.headers.pop("content-type", None)
        assert is_clear(client.send(request))
        return
    for path in ("/v1/accounts", "/v1/gates/front/scans"):
        assert is_clear(client.post(path, content=content, headers=headers)), path


@pytest.mark.parametrize(
    "path",
    [
        "/v1/sessions/%00",
        "/v1/sessions/%ff%fe",
        "/v1/sessions/..%2f..%2fetc%2fpasswd",
        "/v1/sessions/../../etc/passwd",
        "/v1/sessions/' OR 1=1 --",
        "/v1/sessions/" + "9" * 5_000,
        "/v1/receipts/%00",
        "/v1/receipts/00000000-0000-0000-0000-000000000000-99999999999999999999",
        "/v1/receipts/00000000-0000-0000-0000-000000000000-0",
        "/v1/receipts/00000000-0000-0000-0000-000000000000-%d9%a1",
        "/v1/receipts/00000000-0000-0000-0000-000000000000%0a",
        "/v1/gates/%2e%2e/commands",
        "/v1/gates/front%0d%0aSet-Cookie:x/commands",
        "/v1/gates/" + "x" * 500 + "/commands",
        "/v1/products/%00/prices",
        "/v1/products/042%00/prices",
        "/v1/accounts/{}",
        "/v1/products?limit=1e3",
        "/v1/products?limit=99999999999999999999999",
        "/v1/products?limit=-1",
        "/v1/products?limit=%00",
        "/v1/products?cursor=%ff",
        "/v1/products?cursor=" + "A" * 10_000,
        "/v1/products?cursor=WyJwcm9kdWN0cyIsIlx1MDAwMCJd",
        "/v1/sessions?cursor=WyJzZXNzaW9ucyIsIjk5OTktMTItMzFUMjM6NTk6NTktMjM6NTkiLCJ4Il0",
        "/v1/audit?cursor=WyJhdWRpdCIsOTk5OTk5OTk5OTk5OTk5OTk5OTk5OTldCg",
        "/v1/audit?subject=%00",
        "/v1/audit?actor_id=1",
        "/v1/sessions?status=open&status=%00",
        "/v1/sessions?mine=perhaps",
        "//v1/sessions",
        "/v1//sessions",
        "/V1/SESSIONS",
        "/v1/sessions;x=1",
        "/" + "a/" * 3_000,
    ],
)
def test_a_hostile_address_is_refused(path: str) -> None:
    store, _, boss = shared()
    client = store.client(store.token_of(boss))
    answer = client.get(path)
    assert is_clear(answer), (answer.status_code, answer.text)
    assert "\r" not in str(answer.headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", b"Bearer"),
        ("Authorization", b"Bearer "),
        ("Authorization", b"Basic YWRhOmFkYQ=="),
        ("Authorization", b"Bearer " + b"x" * 100_000),
        ("Authorization", b"Bearer \xff\xfe"),
        ("Authorization", b"Bearer tf_" + b"A" * 43),
        ("Authorization", b"Bearer a b c"),
        ("Authorization", b"bearer " + b"tf_' OR 1=1 --"),
    ],
)
def test_hostile_credentials_are_refused(name: str, value: bytes) -> None:
    answer = shared()[0].client().get("/v1/account", headers={name.encode(): value})
    assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("If-None-Match", b'"' * 100_000),
        ("If-None-Match", b"W/" * 50_000),
        ("If-None-Match", b"\xff\xfe"),
        ("Accept-Language", b"," * 100_000),
        ("Content-Length", b"-5"),
        ("X-Forwarded-For", b"1.2.3.4, " * 10_000),
        ("Host", b"evil.example"),
        ("Cookie", b"a=b; " * 20_000),
        ("Range", b"bytes=0-0,1-1," * 5_000),
    ],
)
def test_a_hostile_header_changes_nothing(name: str, value: bytes) -> None:
    store, _, boss = shared()
    answer = store.client(store.token_of(boss)).get("/v1/account", headers={name.encode(): value})
    assert answer.status_code == 200
    assert "evil" not in answer.text


@pytest.mark.parametrize(
    "accept", [b"," * 100_000, b"text/html;" * 20_000, b"*/*;q=1e400", b"\xff\xfe", b"a" * 100_000]
)
def test_a_hostile_wish_for_a_form_is_answered(accept: bytes) -> None:
    store, victim, boss = shared()
    path = f"/v1/receipts/{victim.paid.session_id}"
    answer = store.client(store.token_of(boss)).get(path, headers={b"accept": accept})
    assert answer.status_code in (200, 406)


@pytest.mark.parametrize("path", ["/v1/accounts", "/v1/tokens", "/v1/entry-codes", "/v1/webhooks", "/v1/offers"])
def test_a_body_that_is_too_large_is_not_read_to_its_end(path: str) -> None:
    store, _, boss = shared()
    client = store.client(store.token_of(boss))
    read = 0

    def flood() -> Iterator[bytes]:
        nonlocal read
        for _ in range(1_000):
            read += 1
            yield b" " * 10_000

    for keyed in ({}, {"Idempotency-Key": "flood"}):
        content = client.post(path, content=b" " * 1_000_000, headers={"Content-Type": "application/json", **keyed})
        streamed = client.post(path, content=flood(), headers={"Content-Type": "application/json", **keyed})
        if path != "/v1/entry-codes":  # takes no body, so it reads none
            assert (content.status_code, streamed.status_code) == (413, 413)
            assert content.headers["content-type"] == streamed.headers["content-type"] == PROBLEM


def test_a_picture_may_be_larger_but_not_without_end() -> None:
    store, _, _ = shared()
    client = store.client()
    headers = {"Content-Type": "image/jpeg"}
    assert (
        client.post("/v1/gates/front/scans", content=b"\xff\xd8" * 500_000, headers=headers).json()["decision"]
        == "refuse"
    )
    assert client.post("/v1/gates/front/scans", content=b"\xff\xd8" * 4_000_000, headers=headers).status_code == 413


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 1_000,
        b"\xff\xd8\xff\xe0" + b"\0" * 1_000,
        b"GIF89a" + b"\xff" * 1_000,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        # A picture that says it is 60,000 pixels wide and high.
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0\xc5\xd0\xc0\xd5",
    ],
)
def test_what_is_no_picture_keeps_the_gate_shut(content: bytes) -> None:
    store, _, _ = shared()
    for kind in ("image/png", "image/jpeg"):
        answer = store.client().post("/v1/gates/front/scans", content=content, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["decision"], answer.json()["session_id"]) == (200, "refuse", None)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "gopher://127.0.0.1:70/",
        "https://user:pass@example.com@127.0.0.1/",
        "https://[::ffff:169.254.169.254]/",
        "https://0x7f.1/\x00",
        "javascript:alert(1)",
        "https://" + "a" * 3_000,
    ],
)
def test_a_webhook_to_where_the_store_must_not_go_is_refused(url: str) -> None:
    store, _, boss = shared()
    assert store.client(store.token_of(boss)).post("/v1/webhooks", json={"url": url}).status_code == 422


def test_a_client_cannot_give_itself_a_role_or_money() -> None:
    store, _, _ = shared()
    client = store.client()
    for extra in ({"role": "owner"}, {"scopes": ["people"]}, {"payment_method": "pm_1"}, {"account_id": "1"}):
        body = {"email": "mallory@example.com", "password": PASSWORD, **extra}
        assert client.post("/v1/accounts", json=body).status_code == 422
    _, ada = store.signed_in("mallory")
    assert ada.patch("/v1/account", json={"role": "owner"}).status_code == 422
    assert ada.post("/v1/account/tokens", json={"label": "wide", "scopes": ["people"]}).status_code == 403
