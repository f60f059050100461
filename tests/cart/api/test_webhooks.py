"""What the API tells of addresses that are told what happens."""

from pathlib import Path
from typing import Any

import pytest

from cart.accounts import Role
from cart.webhooks import Webhooks
from tests.cart.api.shops import ApiStore
from tests.cart.databases import KINDS, fresh

HOOK = {"url": "https://192.168.0.1/hook", "events": ["visit.closed"]}


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_is_tested_paused_and_given_a_new_secret(kind: str, tmp_path: Path) -> None:
    with fresh(kind, tmp_path) as database:
        _check_an_address(ApiStore(database=database))


def _check_an_address(store: ApiStore) -> None:
    _, boss = store.signed_in("boss", Role.MANAGER)
    made = boss.post("/v1/webhooks", json=HOOK).json()
    place = f"/v1/webhooks/{made['endpoint_id']}"
    assert boss.get(f"{place}/deliveries").json() == {"items": []}
    assert boss.post(f"{place}/test").status_code == 204
    (delivery,) = boss.get(f"{place}/deliveries").json()["items"]
    assert (delivery["type"], delivery["status"], delivery["attempts"]) == ("webhook.test", "waiting", 0)
    assert delivery["next_at"] is not None
    assert boss.post(f"{place}/pause").json()["disabled_at"] is not None
    assert boss.delete(f"{place}/pause").json()["disabled_at"] is None
    anew = boss.post(f"{place}/secret").json()
    assert anew["secret"].startswith("whsec_")
    assert anew["secret"] != made["secret"]
    listed = boss.get("/v1/webhooks").text
    assert made["secret"] not in listed
    assert anew["secret"] not in listed


def test_one_cannot_resume_an_address_that_the_store_would_not_send_to() -> None:
    store = ApiStore()
    _, boss = store.signed_in("boss", Role.OWNER)
    made = boss.post("/v1/webhooks", json=HOOK).json()
    boss.post(f"/v1/webhooks/{made['endpoint_id']}/pause")
    strict: dict[str, Any] = {"webhooks": Webhooks(store.database, lambda: store.at)}
    store._give(**strict)
    refused = boss.delete(f"/v1/webhooks/{made['endpoint_id']}/pause")
    assert (refused.status_code, refused.json()["type"].split(":")[-1]) == (422, "address-refused")
