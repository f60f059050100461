"""The layout by the API: versions, refusals, changing over."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from cart.accounts import Role
from cart.api.app import create_app
from cart.floor_state import MarkedPicture
from cart.layouts import Layouts
from cart.live_view import LiveView
from cart.pictures import jpeg_of
from store_sim.demo_shop import demo_layout
from tests.cart.api.shops import NOON, ApiStore, FloorAtOnce
from vision.layout import layout_to_yaml


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


class OneCamera(LiveView):
    """A floor of which cam1 shows a grey picture."""

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """It alone."""
        return ("cam1",)

    def picture(self, camera_id: str, known: datetime | None = None) -> MarkedPicture | None:
        """The grey picture."""
        jpeg = jpeg_of(np.full((180, 320, 3), 128, np.uint8))
        return MarkedPicture(camera_id, NOON, NOON, jpeg, (640, 360), (), ())


@pytest.fixture
def engineer() -> Any:
    """Speaks for an engineer to a store whose layout is the demo's."""
    store, base = ApiStore(), demo_layout()
    layouts = Layouts(store.database, base, lambda: store.at, "EUR")
    layouts.serve(FloorAtOnce())
    store.app = create_app(replace(store.shop, layouts=layouts, live=OneCamera(base, lambda: store.at)))
    _, client = store.signed_in("emma", Role.ENGINEER)
    return client


def document() -> dict[str, Any]:
    """The demo's layout."""
    found: dict[str, Any] = yaml.safe_load(layout_to_yaml(demo_layout()))
    return found


def test_a_good_layout_meets_no_objection(engineer: Any) -> None:
    told = engineer.post("/v1/layout/check", json={"document": document()})
    assert (told.status_code, told.json()) == (200, {"items": []})
    assert [each["version"] for each in engineer.get("/v1/layout/versions").json()["items"]] == [0]


def test_every_objection_says_where(engineer: Any) -> None:
    wrong = document()
    wrong["bins"][3] |= {"bin": wrong["bins"][2]["bin"], "plates": ["9/9/9"]}
    wrong["exit_m"] = [[0, 0], [0, 0.01]]
    told = engineer.post("/v1/layout/check", json={"document": wrong}).json()["items"]
    assert [each["place"] for each in told] == [["bins", 3], ["bins", 3, "plates"], ["exit_m"]]
    assert "listed twice" in told[0]["message"]


def test_boxes_without_extent_and_lone_intrinsics_are_told_together(engineer: Any) -> None:
    wrong = document()
    wrong["plates"][1]["size_m"] = [0.2, 0, 0.4]
    wrong["cameras"]["cam2"]["world_from_cam"] = None
    told = engineer.post("/v1/layout/check", json={"document": wrong}).json()["items"]
    assert [each["place"] for each in told] == [["cameras", "cam2"], ["plates", 1]]


def test_a_currency_that_the_store_does_not_trade_in_is_told_before_saving(engineer: Any) -> None:
    wrong = document()
    for product in wrong["products"]:
        product["currency"] = "USD"
    (told,) = engineer.post("/v1/layout/check", json={"document": wrong}).json()["items"]
    assert (told["place"], "USD" in told["message"]) == ([], True)


def pairs_of_cam1(*places_m: tuple[float, float, float]) -> dict[str, Any]:
    """What cam1 of the demo sees of some places."""
    pixels = demo_layout().cameras[0].image_points(np.array(places_m))
    points = [{"pixel": p, "world_m": m} for p, m in zip(pixels.tolist(), places_m, strict=True)]
    return {"points": points, "resolution_wh": [640, 360]}


FOUR = ((2.2, 2.0, 0.0), (4.0, 2.0, 0.0), (4.0, 4.0, 0.0), (2.2, 4.0, 0.0))


def test_with_a_known_lens_four_points_place_a_camera(engineer: Any) -> None:
    known = document()["cameras"]["cam1"]
    (fx, _, cx), (_, fy, cy), _ = known["intrinsics"]
    lens = {"focal_px": [fx, fy], "centre_px": [cx, cy], "distortion": known["distortion"]}
    told = engineer.post("/v1/cameras/cam1/calibration", json=pairs_of_cam1(*FOUR) | {"lens": lens}).json()
    assert told["rms_px"] < 0.1
    assert np.allclose(told["camera"]["world_from_cam"], known["world_from_cam"], atol=1e-3)
    assert told["left_out"] == []


def test_a_wrong_pair_is_said_to_be_left_out(engineer: Any) -> None:
    places = [(x, y, z) for x in (1.6, 3.0, 4.4) for y in (2.0, 4.0) for z in (0.0, 0.9)]
    pairs = pairs_of_cam1(*places)
    pairs["points"][4]["pixel"][0] += 80
    told = engineer.post("/v1/cameras/cam1/calibration", json=pairs | {"bends": True}).json()
    assert (told["left_out"], told["worst"]) == ([4], 4)


def test_a_lens_that_is_known_is_not_looked_for(engineer: Any) -> None:
    lens = {"focal_px": [250, 250], "centre_px": [320, 180]}
    told = engineer.post("/v1/cameras/cam1/calibration", json=pairs_of_cam1(*FOUR) | {"lens": lens, "bends": True})
    assert (told.status_code, told.headers["content-type"]) == (422, "application/problem+json")


def test_a_draft_is_drawn_into_what_its_camera_sees(engineer: Any) -> None:
    told = engineer.post("/v1/cameras/cam1/drawing", json={"document": document()})
    assert (told.status_code, told.headers["content-type"]) == (200, "image/jpeg")
    drawn = cv2.imdecode(np.frombuffer(told.content, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert drawn.shape == (180, 320, 3)
    assert (np.abs(drawn.astype(int) - 128).max(axis=2) > 40).mean() > 0.02
    draft = document()
    del draft["cameras"]["cam1"]["intrinsics"], draft["cameras"]["cam1"]["world_from_cam"]
    assert engineer.post("/v1/cameras/cam1/drawing", json={"document": draft}).status_code == 422
    assert engineer.post("/v1/cameras/cam9/drawing", json={"document": draft}).status_code == 404
