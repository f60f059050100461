"""What the API tells of gates and scales."""

from dataclasses import replace

from cart.accounts import Role
from cart.api.app import create_app
from cart.api.shop import PlateHealth
from tests.cart.api.shops import NOON, ApiStore


def test_a_gate_tells_how_often_it_opened_and_when_it_was_last_seen() -> None:
    store = ApiStore()
    ada = store.account("ada")
    assert store.shop.doorman is not None
    front = store.device("front")
    code = store.shop.doorman.entry_code(ada.account_id).code
    assert front.post("/v1/gates/front/scans", json={"code": code}).status_code == 200
    front.post("/v1/gates/front/scans", json={"code": "no code at all"})
    _, viewer = store.signed_in("vera", Role.VIEWER)
    (gate,) = viewer.get("/v1/gates").json()["items"]
    assert (gate["gate_id"], gate["opened_today"], gate["refused_today"], gate["healthy"]) == ("front", 1, 1, True)
    assert gate["last_scan_at"] == gate["last_seen_at"] == NOON.isoformat().replace("+00:00", "Z")
    store.pass_time(minutes=1)
    (gate,) = viewer.get("/v1/gates").json()["items"]
    assert (gate["healthy"], gate["detail"]) == (False, "it has not answered its last order")
    store.pass_time(days=1)
    _, viewer = store.signed_in("victor", Role.VIEWER)
    (gate,) = viewer.get("/v1/gates").json()["items"]
    assert (gate["opened_today"], gate["refused_today"]) == (0, 0)


def test_devices_are_listed_with_their_tokens_and_without_their_secrets() -> None:
    store = ApiStore()
    _, boss = store.signed_in("boss", Role.MANAGER)
    issued = boss.post("/v1/devices", json={"name": "back", "scopes": ["gate:back"]}).json()
    (device,) = boss.get("/v1/devices").json()["items"]
    assert (device["name"], device["status"], device["account_id"]) == ("back", "active", issued["account_id"])
    (token,) = device["tokens"]
    assert (token["token_id"], token["scopes"], token["is_this_one"]) == (issued["token_id"], ["gate:back"], False)
    assert issued["token"] not in boss.get("/v1/devices").text
    assert boss.delete(f"/v1/tokens/{issued['token_id']}").status_code == 204
    assert boss.get("/v1/devices").json()["items"][0]["tokens"] == []
    assert store.client(issued["token"]).get("/v1/gates/back/commands").status_code == 401


def test_scales_are_told_plate_by_plate() -> None:
    store = ApiStore()
    _, viewer = store.signed_in("vera", Role.VIEWER)
    assert viewer.get("/v1/scales").json() == {"items": []}
    plate = PlateHealth("1/2/3", 1, 2, NOON, 60.0, 412.5, True)
    store.app = create_app(replace(store.shop, plates=lambda: (plate,)))
    _, other = store.signed_in("victor", Role.VIEWER)
    (told,) = other.get("/v1/scales").json()["items"]
    assert (told["plate_id"], told["gondola_id"], told["rate_hz"], told["grams"]) == ("1/2/3", 1, 60, 412.5)
