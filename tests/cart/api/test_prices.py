"""What the API tells of offers over time and of what became of coupons."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cart.accounts import Role
from tests.cart.api.shops import ApiStore
from tests.cart.databases import KINDS, fresh

PERCENT = {"kind": "percent_off", "percent_bp": 1000}


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ApiStore]:
    """A store over either database."""
    with fresh(request.param, tmp_path) as database:
        yield ApiStore(database=database)


def test_offers_of_the_past_and_the_future_are_listed_with_their_times(store: ApiStore) -> None:
    _, boss = store.signed_in("boss", Role.MANAGER)

    def put_up(name: str, **more: Any) -> str:
        made = boss.post("/v1/offers", json={"name": name, "skus": ["042"], "deal": PERCENT, **more})
        assert made.status_code == 201
        return str(made.json()["offer_id"])

    ended = put_up("old")
    store.pass_time(minutes=1)
    put_up("running")
    later = store.at + timedelta(days=1)
    put_up("planned", valid_from=later.isoformat(), valid_until=(later + timedelta(days=7)).isoformat())
    store.pass_time(minutes=1)
    assert boss.delete(f"/v1/offers/{ended}").status_code == 204
    first = boss.get("/v1/offers/history", params={"limit": 2}).json()
    rest = boss.get(first["next"]).json()
    offers = first["items"] + rest["items"]
    assert [offer["name"] for offer in offers] == ["planned", "running", "old"]
    assert [offer["valid_until"] is None for offer in offers] == [False, True, False]
    assert offers[0]["deal"] == PERCENT
    assert [offer["name"] for offer in boss.get("/v1/offers").json()["items"]] == ["running"]
    _, ada = store.signed_in("ada")
    assert ada.get("/v1/offers/history").status_code == 403


def test_a_used_coupon_says_when_and_on_which_visit(store: ApiStore) -> None:
    _, boss = store.signed_in("boss", Role.MANAGER)
    ada, client = store.signed_in("ada")
    for code in ("SPRING", "SUMMER"):
        body = {"code": code, "name": "1 off", "amount_minor": 100}
        assert boss.post("/v1/coupons", json=body).status_code == 201
    assert client.post("/v1/coupons/spring/claim").status_code == 200
    visit = store.paid_visit(ada)
    spring, summer = boss.get("/v1/coupons").json()["items"]
    assert (spring["is_used"], spring["session_id"]) == (True, str(visit.session_id))
    assert spring["used_at"] is not None
    assert (summer["is_used"], summer["used_at"], summer["session_id"]) == (False, None, None)
