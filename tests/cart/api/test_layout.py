"""The layout by the API: versions, refusals, changing over."""

from dataclasses import replace

from cart.accounts import Role
from cart.api.app import create_app
from cart.layouts import Layouts
from store_sim.demo_shop import demo_layout
from tests.cart.api.shops import ApiStore, FloorAtOnce


def test_a_layout_is_kept_applied_and_used_again_after_a_restart() -> None:
    store, floor, base = ApiStore(), FloorAtOnce(), demo_layout()
    layouts = Layouts(store.database, base, lambda: store.at, "EUR")
    layouts.serve(floor)
    store.app = create_app(replace(store.shop, layouts=layouts))
    _, client = store.signed_in("emma", Role.ENGINEER)
    told = client.get("/v1/layout")
    document = told.json()["document"] | {"name": "moved"}
    changed = client.put("/v1/layout", json={"document": document}, headers={"If-Match": told.headers["etag"]})
    assert (changed.status_code, changed.json()["active_version"]) == (200, 1)
    assert floor.layout is not None
    assert floor.layout.name == "moved"
    again = client.put("/v1/layout", json={"document": document}, headers={"If-Match": told.headers["etag"]})
    assert again.status_code == 412
    wrong = client.put("/v1/layout", json={"document": document | {"bins": [{"bin": ""}]}})
    assert wrong.status_code == 422
    assert "bins.0.bin" in wrong.json()["detail"]
    assert [each["version"] for each in client.get("/v1/layout/versions").json()["items"]] == [1, 0]
    assert Layouts(store.database, base, lambda: store.at, "EUR").starting(base).name == "moved"
    other = replace(base, name="other")
    assert Layouts(store.database, other, lambda: store.at, "EUR").starting(other).name == "other"
