"""Who may replay recordings, and what they are told."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from cart.accounts import Role
from cart.recordings import Recordings
from cart.replays import Replays
from tests.cart.api.shops import ApiStore


def test_engineers_and_owners_replay_recordings_and_nobody_else(tmp_path: Path) -> None:
    store = ApiStore()
    store.account("first-owner", Role.OWNER)
    for role in (Role.SHOPPER, Role.STAFF, Role.MANAGER, Role.REVIEWER, Role.VIEWER):
        _, client = store.signed_in(f"somebody-{role.value}", role)
        assert client.get("/v1/recordings").status_code == 403, role
    _, engineer = store.signed_in("emil", Role.ENGINEER)
    assert engineer.get("/v1/recordings").status_code == 404
    folder = tmp_path / "recordings"
    (folder / "monday").mkdir(parents=True)
    replays = Replays(tmp_path / "replays", Recordings(folder), lambda: store.at)
    store.app.state.shop = replace(store.shop, replays=replays)
    assert engineer.get("/v1/recordings").json() == {"items": [{"name": "monday"}]}
    assert engineer.post("/v1/replays", json={"recording": "../replays"}).status_code == 422
    assert engineer.post("/v1/replays", json={"recording": "tuesday"}).status_code == 404
    assert engineer.post("/v1/replays", json={"recording": "monday", "without": ["ears"]}).status_code == 422
    begun = engineer.post("/v1/replays", json={"recording": "monday", "without": ["scales"], "label": "blind"})
    assert begun.status_code == 202
    address = f"/v1/replays/{begun.json()['replay_id']}"
    (kept,) = engineer.get("/v1/replays").json()["items"]
    assert (kept["label"], kept["without"]) == ("blind", ["scales"])
    assert engineer.get(address).json()["document"] is None
    assert engineer.get(f"{address}/moments", params={"from_s": 0, "to_s": 9}).json() == {"items": []}
    assert engineer.get(f"{address}/moments", params={"from_s": 9, "to_s": 0}).status_code == 422
    assert engineer.get(f"{address}/pictures", params={"camera_id": "..", "t_s": 0}).status_code == 404
    assert engineer.delete(address).status_code == 204
    assert engineer.get(address).status_code == 404
    assert engineer.get(f"/v1/replays/{uuid4()}").status_code == 404
    replays.close()
