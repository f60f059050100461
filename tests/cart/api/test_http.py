"""What every answer has in common: problems, headers, pages, conditions, limits, health."""

import math
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.accounts import Role
from cart.api.limits import Rate, RateLimiter
from cart.api.negotiation import choose
from cart.api.paging import decode_cursor, encode_cursor
from cart.api.problems import ProblemError
from cart.api.shop import Readiness
from cart.outbox import Effect, put
from cart.payments import Fault
from tests.cart.api.shops import NOON, PASSWORD, ApiStore

PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing/here", 404),
        ("GET", "/v1/sessions/", 404),
        ("DELETE", "/v1/accounts", 405),
        ("TRACE", "/healthz", 405),
        ("GET", "/v1/account", 401),
        ("GET", "/v1/products?limit=0", 422),
        ("GET", "/v1/products?cursor=AAAA", 400),
    ],
)
def test_every_refusal_is_a_problem(method: str, path: str, status: int) -> None:
    answer = ApiStore().client().request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    if status == 405:
        assert answer.headers["Allow"]
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_validation_problem_says_where_and_repeats_nothing_that_was_sent() -> None:
    answer = ApiStore().client().post("/v1/accounts", json={"email": "ada@example.com", "password": {"my": "secret"}})
    assert answer.json()["errors"] == [{"where": "body.password", "problem": "Input should be a valid string"}]
    assert "secret" not in answer.text


def test_an_error_that_nobody_expected_says_nothing_about_our_insides(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ApiStore()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(store.accounts, "sign_in", fail)
    client = store.client(raise_server_exceptions=False)
    answer = client.post("/v1/tokens", json={"email": "ada@example.com", "password": PASSWORD})
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert answer.json() == {"type": "about:blank", "title": "The store failed", "status": 500}
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/healthz", "/v1/account", "/nothing"])
def test_security_headers_are_on_every_answer(path: str) -> None:
    headers = ApiStore().client().get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_a_receipt_page_may_have_its_own_style_and_no_script() -> None:
    store = ApiStore()
    ada, client = store.signed_in("ada")
    visit = store.paid_visit(ada)
    page = client.get(f"/v1/receipts/{visit.session_id}", headers={"Accept": "text/html"})
    policy = page.headers["content-security-policy"]
    assert "style-src 'unsafe-inline'" in policy
    assert "script-src" not in policy
    assert "default-src 'none'" in policy


def test_pages_hold_every_entry_once_in_order_and_end() -> None:
    store = ApiStore()
    ada, client = store.signed_in("ada")
    visits = []
    for _ in range(7):
        visits.append(str(store.paid_visit(ada, quantity=1).session_id))
        store.pass_time(seconds=1)
    for place, name in (("/v1/receipts", "session_id"), ("/v1/sessions", "session_id")):
        found, url = [], f"{place}?limit=3"
        while url:
            page = client.get(url).json()
            found += [item[name] for item in page["items"]]
            assert (page["next"] is None) == (page["next_cursor"] is None)
            url = page["next"]
        assert found == visits[::-1]


def test_what_comes_in_while_pages_are_turned_moves_nothing() -> None:
    store = ApiStore()
    ada, client = store.signed_in("ada")
    visits = []
    for _ in range(4):
        visits.append(str(store.paid_visit(ada, quantity=1).session_id))
        store.pass_time(seconds=1)
    first = client.get("/v1/sessions?limit=2").json()
    store.paid_visit(ada)
    second = client.get(first["next"]).json()
    assert [item["session_id"] for item in first["items"] + second["items"]] == visits[::-1]


def test_visits_are_found_by_how_their_number_or_their_shoppers_begins() -> None:
    store = ApiStore()
    ada, client = store.signed_in("ada")
    ben = store.account("ben")
    _, staff = store.signed_in("sam", Role.STAFF)
    visits = {str(store.paid_visit(who).session_id): who for who in (ada, ben, ben)}

    def found(text: str, by: httpx.Client = staff) -> set[str]:
        answer = by.get("/v1/sessions", params={"begins_with": text})
        assert answer.status_code == 200, answer.text
        return {each["session_id"] for each in answer.json()["items"]}

    of_ben = {visit for visit, who in visits.items() if who is ben}
    for visit in visits:
        for text in (visit, visit[:8], visit.upper()[:13]):
            assert found(text) == {each for each in visits if each.startswith(text.lower())}
    assert found(str(ben.account_id)) == of_ben
    assert found(str(ben.account_id)[:10]) >= of_ben
    # Nobody finds more by it than they may see.
    assert found(str(ben.account_id), client) == set()
    assert found("_") == found("no-such") == set()
    page = staff.get("/v1/sessions", params={"begins_with": str(ben.account_id), "limit": 1}).json()
    rest = staff.get(page["next"]).json()
    assert {each["session_id"] for each in (*page["items"], *rest["items"])} == of_ben
    for wrong in ("", "%", "a b", "x" * 101):
        assert staff.get("/v1/sessions", params={"begins_with": wrong}).status_code == 422


def test_a_cursor_of_another_list_or_a_made_up_one_is_refused() -> None:
    store = ApiStore()
    _, boss = store.signed_in("boss", Role.OWNER)
    lists = ["sessions", "receipts", "reviews", "disputes", "products", "coupons", "audit", "accounts"]
    for name in lists:
        for cursor in (encode_cursor("another", ("x", "y")), encode_cursor(name, (True,)), "AAAA", "-_-_", "W10"):
            answer = boss.get(f"/v1/{name}", params={"cursor": cursor})
            assert answer.status_code == 400, (name, cursor)


@given(st.lists(st.one_of(st.text(max_size=20), st.integers(-(2**62), 2**62)), max_size=3))
def test_a_cursor_holds_its_key(parts: list[str | int]) -> None:
    key = tuple(parts)
    assert decode_cursor("list", encode_cursor("list", key), tuple(type(part) for part in key)) == key


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    with suppress(ProblemError):
        (key,) = decode_cursor("list", text, (str,))
        assert isinstance(key, str)


def test_what_one_has_already_is_not_sent_again() -> None:
    store = ApiStore()
    ada, client = store.signed_in("ada")
    visit = store.visit(ada).session_id
    paid = store.paid_visit(ada).session_id
    for path in ("/v1/account", f"/v1/sessions/{visit}", f"/v1/sessions/{visit}/cart", f"/v1/receipts/{paid}"):
        tag = client.get(path).headers["ETag"]
        for wanted in (tag, f'"other", W/{tag}', "*"):
            again = client.get(path, headers={"If-None-Match": wanted})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    tag = client.get(f"/v1/sessions/{visit}/cart").headers["ETag"]
    store.take(visit)
    assert client.get(f"/v1/sessions/{visit}/cart", headers={"If-None-Match": tag}).status_code == 200


def test_each_form_of_a_receipt_has_its_own_tag() -> None:
    store = ApiStore()
    ada, client = store.signed_in("ada")
    path = f"/v1/receipts/{store.paid_visit(ada).session_id}"
    forms = ("application/json", "text/html", "application/pdf", "text/plain")
    answers = [client.get(path, headers={"Accept": form}) for form in forms]
    assert [answer.headers["content-type"].partition(";")[0] for answer in answers] == list(forms)
    assert len({answer.headers["ETag"] for answer in answers}) == 4
    assert all("Accept" in answer.headers["Vary"] for answer in answers)
    assert client.get(path, headers={"Accept": "image/png"}).status_code == 406


def test_a_change_to_what_was_changed_meanwhile_is_refused() -> None:
    store = ApiStore()
    _, client = store.signed_in("ada")
    tag = client.get("/v1/account").headers["ETag"]
    changed = client.patch("/v1/account", json={"name": "Ada L."}, headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["name"]) == (200, "Ada L.")
    late = client.patch("/v1/account", json={"name": "Ada K."}, headers={"If-Match": tag})
    assert (late.status_code, late.headers["content-type"]) == (412, PROBLEM)
    assert client.get("/v1/account").json()["name"] == "Ada L."
    assert client.patch("/v1/account", json={"locale": "sl"}, headers={"If-Match": changed.headers["ETag"]}).is_success


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("application/json;q=0, */*", "text/html"),
        ("text/*;q=0.5, application/json;q=0.4", "text/html"),
        ("TEXT/HTML", "text/html"),
    ],
)
def test_the_form_that_is_wanted_most_is_chosen(accept: str | None, chosen: str) -> None:
    assert choose(accept, ["application/json", "text/html"]) == chosen


@pytest.mark.parametrize("accept", ["image/png", "text/html;q=0", "text/html;q=nan", "text/html;q=x", ";;;,,,", "*"])
def test_a_form_that_there_is_not_is_refused(accept: str) -> None:
    with pytest.raises(ProblemError) as refused:
        choose(accept, ["application/json", "text/html"])
    assert refused.value.status == 406


def test_a_caller_who_asks_too_often_is_told_when_to_come_back() -> None:
    store = ApiStore(requests_per_minute=3)
    _, ada = store.signed_in("ada")
    _, grace = store.signed_in("grace")
    answers = [ada.get("/v1/account") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[3].headers["content-type"] == PROBLEM
    assert answers[3].headers["Retry-After"] == "20"
    assert grace.get("/v1/account").status_code == 200
    store.pass_time(seconds=20)
    assert ada.get("/v1/account").status_code == 200
    assert ada.get("/v1/account").status_code == 429


def test_signing_in_has_a_stricter_limit_for_each_address() -> None:
    store = ApiStore(sign_ins_per_minute=2)
    client = store.client()
    wrong = {"email": "ada@example.com", "password": "wrong password"}
    assert [client.post("/v1/tokens", json=wrong).status_code for _ in range(3)] == [401, 401, 429]
    assert client.post("/v1/accounts", json={**wrong, "email": "a@example.com"}).status_code == 429
    assert client.get("/v1/products").status_code == 200


def test_whoever_watches_over_the_store_is_not_limited() -> None:
    store = ApiStore(requests_per_minute=1)
    client = store.client()
    assert {client.get(path).status_code for path in ("/healthz", "/readyz") for _ in range(5)} == {200}


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 5))
def test_a_bucket_lets_through_no_more_than_a_burst_and_its_refill(pauses: list[float], burst: int) -> None:
    now = 0.0
    limiter = RateLimiter(lambda: now)
    passed = 0
    for pause in pauses:
        now += pause
        passed += limiter.take("ada", Rate(burst)).allowed
        assert passed <= burst + now * burst / 60 + 1e-6


def test_the_callers_longest_unseen_are_forgotten() -> None:
    limiter = RateLimiter(lambda: 0.0, most_callers=2)
    rate = Rate(1)
    assert [limiter.take(name, rate).allowed for name in ("a", "b", "a", "c", "b")] == [True, True, False, True, True]


@pytest.mark.parametrize(("requests", "window_s"), [(0, 60.0), (1, 0.0), (1, -1.0)])
def test_a_rate_of_nothing_is_refused(requests: int, window_s: float) -> None:
    with pytest.raises(ValueError, match="Rate"):
        Rate(requests, window_s)


def test_a_store_is_ready_while_its_parts_work() -> None:
    store = ApiStore()
    answer = store.client().get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    assert [check["name"] for check in answer.json()["checks"]] == ["database", "sweeper", "gateway"]


def test_a_gateway_that_is_silent_or_a_sweeper_that_is_late_makes_it_not_ready() -> None:
    store = ApiStore()
    with store.database.transaction() as repository:
        put(repository, Effect.WEBHOOK, "webhook:1", {}, NOON)
    assert store.client().get("/readyz").status_code == 200
    store.pass_time(minutes=10)
    store.gateway._fault = lambda call, key: Fault.LOST_REQUEST
    answer = store.client().get("/readyz")
    assert answer.status_code == 503
    assert {check["name"]: check["ready"] for check in answer.json()["checks"]} == {
        "database": True,
        "sweeper": False,
        "gateway": False,
    }


def test_further_parts_can_be_asked_whether_they_are_ready() -> None:
    store = ApiStore()
    object.__setattr__(store.shop, "checks", (lambda: Readiness("cameras", False, "north is dark"),))
    answer = store.client().get("/readyz")
    assert (answer.status_code, answer.json()["checks"][-1]["name"]) == (503, "cameras")


def test_a_database_that_is_gone_is_said_without_details(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ApiStore()
    with store.database.transaction() as repository:
        repository.sql.connection().exec_driver_sql("DROP TABLE outbox")
    answer = store.client().get("/readyz").json()
    assert [check["detail"] for check in answer["checks"] if not check["ready"]] == ["OperationalError"]


def test_metrics_count_requests_by_route_and_what_the_store_does() -> None:
    store = ApiStore()
    ada, client = store.signed_in("ada")
    visit = store.paid_visit(ada)
    client.get(f"/v1/sessions/{visit.session_id}")
    client.get(f"/v1/sessions/{uuid4()}")
    client.get("/made/up/address")
    _, viewer = store.signed_in("vera", Role.VIEWER)
    text = viewer.get("/metrics").text
    assert 'tillfree_requests_total{method="GET",route="/v1/sessions/{session_id}",status="200"} 1.0' in text
    assert 'tillfree_requests_total{method="GET",route="/v1/sessions/{session_id}",status="404"} 1.0' in text
    assert 'route="unmatched",status="404"' in text
    assert "/made/up" not in text
    assert 'tillfree_visits{status="charged"} 1.0' in text
    assert 'tillfree_charges{status="posted"} 1.0' in text
    assert "tillfree_outbox{" in text
    assert str(visit.session_id) not in text


def test_two_applications_count_apart() -> None:
    first, second = ApiStore(), ApiStore()
    first.client().get("/healthz")
    _, viewer = second.signed_in("vera", Role.VIEWER)
    assert 'route="/healthz"' not in viewer.get("/metrics").text


def test_a_live_carts_price_is_that_of_now_with_offers() -> None:
    store = ApiStore()
    ada, client = store.signed_in("ada")
    _, boss = store.signed_in("boss", Role.OWNER)
    offer = {"name": "3 for 5.00", "skus": ["042"], "deal": {"kind": "bundle_price", "quantity": 3, "price_minor": 500}}
    assert boss.post("/v1/offers", json=offer).status_code == 201
    visit = store.visit(ada).session_id
    store.take(visit, quantity=3)
    cart = client.get(f"/v1/sessions/{visit}/cart").json()
    assert (cart["total_minor"], [each["amount_minor"] for each in cart["discounts"]]) == (500, [97])
    assert math.isclose(cart["lines"][0]["probability"], 1.0)
