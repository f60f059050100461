"""Requests under an idempotency key are answered once, whatever the network, the caller or the process does."""

import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import Response
from hypothesis import given
from hypothesis import strategies as st

from cart.accounts import Role
from cart.api.idempotency import ABANDONED_AFTER, Claim, Replies, fingerprint_of, parse_key
from cart.api.problems import ProblemError
from cart.payments import Fault, GatewayCall
from cart.repository import Database
from cart.tables import IdempotentReplyRow
from tests.cart.api.shops import NOON, PASSWORD, ApiStore

KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
ADA = {"email": "ada@example.com", "password": PASSWORD}


def test_a_repeat_gets_the_first_answer_and_does_nothing() -> None:
    store = ApiStore()
    boss, manager = store.signed_in("boss", Role.MANAGER)
    visit = store.paid_visit(boss)
    place = f"/v1/sessions/{visit.session_id}/refunds"
    wish = {"amount_minor": 100, "reason": "a kind word"}
    answers = [manager.post(place, json=wish, headers=KEY) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true", "true"]
    assert store.gateway.refunded_minor("EUR") == 100


def test_a_repeat_gets_the_headers_that_belong_to_the_answer() -> None:
    store = ApiStore()
    first, second = (store.client().post("/v1/accounts", json=ADA, headers=KEY) for _ in range(2))
    assert (second.status_code, second.headers["Location"]) == (201, first.headers["Location"])
    assert second.headers["content-type"] == first.headers["content-type"]


def test_a_refund_without_a_key_is_refused() -> None:
    store = ApiStore()
    boss, manager = store.signed_in("boss", Role.MANAGER)
    visit = store.paid_visit(boss)
    wish = {"amount_minor": 100, "reason": "a kind word"}
    answer = manager.post(f"/v1/sessions/{visit.session_id}/refunds", json=wish)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:tillfree:problem:idempotency-key-missing")


def test_the_same_key_with_another_request_is_refused() -> None:
    store = ApiStore()
    client = store.client()
    assert client.post("/v1/accounts", json=ADA, headers=KEY).status_code == 201
    for other in ({**ADA, "email": "grace@example.com"}, {**ADA, "password": "another password"}):
        answer = client.post("/v1/accounts", json=other, headers=KEY)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:tillfree:problem:idempotency-key-reused")


def test_a_key_is_its_callers_own() -> None:
    store = ApiStore()
    _, ada = store.signed_in("ada")
    _, grace = store.signed_in("grace")
    answers = [client.post("/v1/account/debt/payments", headers=KEY) for client in (ada, grace)]
    assert ["Idempotent-Replayed" in answer.headers for answer in answers] == [False, False]


def test_a_business_refusal_is_repeated_and_an_unfit_request_can_be_mended() -> None:
    store = ApiStore()
    store.account("ada")
    client = store.client()
    refused = [client.post("/v1/accounts", json=ADA, headers=KEY) for _ in range(2)]
    assert [answer.status_code for answer in refused] == [409, 409]
    assert refused[1].headers["Idempotent-Replayed"] == "true"
    other = {"Idempotency-Key": "other"}
    assert client.post("/v1/accounts", json={"email": "x"}, headers=other).status_code == 422
    mended = {**ADA, "email": "grace@example.com"}
    assert client.post("/v1/accounts", json=mended, headers=other).status_code == 201


def test_an_answer_that_leaves_it_open_can_be_asked_for_again() -> None:
    store = ApiStore()
    boss, manager = store.signed_in("boss", Role.MANAGER)
    visit = store.visit(boss)
    store.take(visit.session_id)
    silent = iter([True] * 8)

    def fault(call: GatewayCall, key: str) -> Fault | None:
        return Fault.LOST_REQUEST if next(silent, False) else None

    store.gateway._fault = fault
    store.checkout.close(visit.session_id, store.at)
    place, wish = f"/v1/sessions/{visit.session_id}/refunds", {"amount_minor": 50, "reason": "a kind word"}
    assert manager.post(place, json=wish, headers=KEY).status_code == 503
    while next(silent, False):
        pass
    store.checkout.resume(store.at)
    assert manager.post(place, json=wish, headers=KEY).status_code == 201
    assert store.gateway.refunded_minor("EUR") == 50


def test_the_process_may_die_between_the_refund_and_its_answer() -> None:
    store = ApiStore()
    boss, manager = store.signed_in("boss", Role.MANAGER)
    visit = store.paid_visit(boss)
    place, wish = f"/v1/sessions/{visit.session_id}/refunds", {"amount_minor": 50, "reason": "a kind word"}
    assert manager.post(place, json=wish, headers=KEY).status_code == 201
    with store.database.transaction() as repository:  # as if the answer had not been kept
        (row,) = repository.sql.query(IdempotentReplyRow)
        row.status_code = row.body = None
    assert manager.post(place, json=wish, headers=KEY).status_code == 409
    store.at += ABANDONED_AFTER + timedelta(seconds=1)
    assert manager.post(place, json=wish, headers=KEY).status_code == 201
    assert store.gateway.refunded_minor("EUR") == 50


def test_no_secret_is_kept_with_an_answer() -> None:
    store = ApiStore()
    store.client().post("/v1/accounts", json=ADA, headers=KEY)
    with store.database.reading() as repository:
        (row,) = repository.sql.query(IdempotentReplyRow)
        assert PASSWORD.encode() not in (row.body or b"")
        plain = fingerprint_of("POST", "/v1/accounts", "application/json", b"", "key", secret=False)
        assert row.request_sha256 != plain


@pytest.mark.parametrize("header", ["", '""', '"half', "two words", "ta\tb", "é", "x" * 256, '"a", "b"', "a,b"])
def test_what_is_no_key_is_refused(header: str) -> None:
    with pytest.raises(ProblemError) as refused:
        parse_key(header)
    assert refused.value.status == 400


@given(
    st.text(
        alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='",\\'),
        min_size=1,
        max_size=255,
    )
)
def test_a_key_may_be_quoted_or_not(key: str) -> None:
    assert parse_key(key) == parse_key(f'"{key}"') == key


def test_two_keys_at_once_are_refused() -> None:
    client = ApiStore().client()
    answer = client.post("/v1/accounts", json=ADA, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert answer.status_code == 400


def test_of_many_who_claim_a_key_at_once_one_gets_it(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'shop.db'}")
    replies = Replies(database, timedelta(hours=24))
    start = threading.Barrier(16)
    outcomes: list[Any] = []

    def claim() -> None:
        start.wait()
        try:
            outcomes.append(type(replies.claim("ada", "key", "print", NOON)))
        except ProblemError as refused:
            outcomes.append(refused.status)

    threads = [threading.Thread(target=claim) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {Claim: 1, 409: 15}
    database.close()


def test_a_claim_that_was_taken_over_keeps_nothing() -> None:
    replies = Replies(Database.in_memory(), timedelta(hours=24))
    first = replies.claim("ada", "key", "print", NOON)
    second = replies.claim("ada", "key", "print", NOON + ABANDONED_AFTER + timedelta(seconds=1))
    assert isinstance(first, Claim)
    assert isinstance(second, Claim)
    replies.keep(first, 200, "text/plain", {}, b"late")
    replies.release(first)
    replies.keep(second, 200, "text/plain", {}, b"right")
    kept = replies.claim("ada", "key", "print", NOON + timedelta(hours=1))
    assert isinstance(kept, Response)
    assert kept.body == b"right"


def test_an_old_answer_is_forgotten() -> None:
    replies = Replies(Database.in_memory(), timedelta(hours=24))
    claim = replies.claim("ada", "key", "print", NOON)
    assert isinstance(claim, Claim)
    replies.keep(claim, 200, None, {}, b"")
    assert isinstance(replies.claim("ada", "key", "another print", NOON + timedelta(hours=25)), Claim)
