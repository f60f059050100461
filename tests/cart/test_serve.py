"""A whole store runs: a newcomer comes in over HTTP, a body shops for them, the receipt is what it carried out."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from cart.catalog import Catalogue
from cart.config import Settings
from cart.demo_store import DemoStore, StoreClock
from cart.live_store import Came, FloorEvent, Handled, Left, moment
from cart.serve import DEMO_TAX_BP, OWNER, ServeOptions, StoreServer
from cart.sessions import SessionStatus

OATS, JAM, CAKE = "2000000001012", "2000000001050", "2000000001173"
ME = {"email": "you@example.com", "password": "correct horse battery"}
AS_FAST_AS_IT_GOES = 1000.0
LONGEST_S = 120.0
PATIENT = Settings(no_show_after_s=86_400.0, gate_command_life_s=60.0)
"""A store that runs far faster than this test waits for it, however late a slow machine makes its next request."""


@contextmanager
def a_demo_store(
    folder: Path | None = None, settings: Settings | None = None, **options: Any
) -> Iterator[tuple[StoreServer, httpx.Client, list[FloorEvent]]]:
    """The simulated store, running on a free port, as fast as it goes."""
    database = "sqlite://" if folder is None else f"sqlite:///{folder / 'shop.db'}"
    happened: list[FloorEvent] = []
    usual = {"demo": True, "seed": 3, "port": 0, "speed": AS_FAST_AS_IT_GOES, "regulars": False} | options
    server = StoreServer(ServeOptions(database, folder, **usual), settings or PATIENT, happened.append)
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=30.0) as client:
            yield server, client, happened
    finally:
        assert server.stop(LONGEST_S)


def signed_in(client: httpx.Client) -> dict[str, str]:
    """Open an account and sign in."""
    assert client.post("/v1/accounts", json=ME | {"name": "You"}).status_code == 201
    token = client.post("/v1/tokens", json=ME).json()["token"]
    return {"authorization": f"Bearer {token}"}


def let_in(client: httpx.Client, me: dict[str, str]) -> str:
    """Show a fresh code at the gate; the visit."""
    code = client.post("/v1/entry-codes", headers=me).json()["code"]
    decided = client.post("/v1/gates/entrance/scans", json={"code": code}).json()
    assert decided["decision"] == "open", decided
    session_id: str = decided["session_id"]
    return session_id


def ended(client: httpx.Client, me: dict[str, str], session_id: str) -> dict[str, Any]:
    """Wait until a visit has ended."""
    deadline_s = time.monotonic() + LONGEST_S
    while True:
        visit: dict[str, Any] = client.get(f"/v1/sessions/{session_id}", headers=me).json()
        if visit["status"] not in ("open", "closed"):
            return visit
        assert time.monotonic() < deadline_s, visit
        time.sleep(0.05)


def test_a_newcomer_shops_and_the_receipt_says_what_the_body_carried_out(tmp_path: Path) -> None:
    with a_demo_store(tmp_path) as (server, client, happened):
        me = signed_in(client)
        session_id = let_in(client, me)
        lines = [{"sku": OATS, "quantity": 2}, {"sku": JAM}]
        sent = client.post(f"/v1/demo/sessions/{session_id}/shop", headers=me, json={"lines": lines})
        assert sent.status_code == 202
        visit = ended(client, me, session_id)
        assert visit["status"] == "charged"
        receipts = client.get("/v1/receipts", headers=me).json()["items"]
        receipt = client.get(f"/v1/receipts/{receipts[0]['receipt_id']}", headers=me).json()
        assert {line["sku"]: line["quantity"] for line in receipt["lines"]} == {OATS: 2, JAM: 1}
        assert receipt["total_minor"] == 2 * 219 + 325
        assert server.demo is not None
        assert (server.demo.tally.right, server.demo.tally.wrong) == (1, 0)
        # What it was decided on is kept for whoever has to look at it.
        assert server.shop.evidence is not None
        pieces = server.shop.evidence.of(UUID(session_id))
        assert {piece.facts.kind for piece in pieces} == {"pick"}
        assert all(piece.facts.weight is not None and len(piece.facts.weight.grams) > 10 for piece in pieces)
        assert max(piece.facts.candidates[0].probability for piece in pieces) > 0.9
        kinds = [type(event) for event in happened]
        assert kinds[0] is Came
        assert kinds[-1] is Left
        assert Handled in kinds
        assert client.get("/readyz").status_code == 200
        deadline_s = time.monotonic() + LONGEST_S
        while not list((tmp_path / "mail").glob("*.eml")):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


def test_what_has_no_price_waits_for_a_person_and_two_bodies_never_shop_on_one_grant() -> None:
    with a_demo_store() as (_, client, _events):
        me = signed_in(client)
        session_id = let_in(client, me)
        path = f"/v1/demo/sessions/{session_id}/shop"
        for lines, status in (([{"sku": OATS, "quantity": 7}], 422), ([{"sku": "nothing"}], 422)):
            assert client.post(path, headers=me, json={"lines": lines}).status_code == status
        assert client.post(path, headers=me, json={"lines": [{"sku": CAKE}]}).status_code == 202
        assert client.post(path, headers=me).status_code == 409
        assert ended(client, me, session_id)["status"] == "needs_review"
        assert client.post(path, headers=me).status_code == 409


def test_a_party_shops_on_the_payers_account() -> None:
    with a_demo_store(speed=10.0) as (_, client, _events):
        me = signed_in(client)
        session_id = let_in(client, me)
        party = {"guests_allowed": 1}
        assert client.put(f"/v1/sessions/{session_id}/guests", headers=me, json=party).status_code == 200
        # The next code is made in the next step of the clock, or is another one of the same. Should the payer's order
        # to the gate have run out meanwhile, they are let in anew: the code after that is the guest's.
        deadline_s = time.monotonic() + LONGEST_S
        while True:
            code = client.post("/v1/entry-codes", headers=me).json()["code"]
            decided = client.post("/v1/gates/entrance/scans", json={"code": code}).json()
            if decided["decision"] == "open" and decided["reason"] != "welcome":
                break
            assert time.monotonic() < deadline_s, decided
            time.sleep(0.05)
        assert (decided["reason"], decided["session_id"]) == ("guest", session_id)
        for sku in (OATS, JAM):
            body = {"lines": [{"sku": sku}]}
            assert client.post(f"/v1/demo/sessions/{session_id}/shop", headers=me, json=body).status_code == 202
        visit = ended(client, me, session_id)
        assert (visit["status"], visit["party_size"]) in (("charged", 2), ("needs_review", 2))


def test_who_is_let_in_and_never_comes_is_let_go() -> None:
    patience = Settings(no_show_after_s=5.0, gate_command_life_s=2.0)
    with a_demo_store(settings=patience) as (server, client, _):
        me = signed_in(client)
        session_id = let_in(client, me)
        assert ended(client, me, session_id)["status"] == "abandoned"
        assert client.post(f"/v1/demo/sessions/{session_id}/shop", headers=me).status_code == 409
        assert server.demo is not None
        assert server.demo.tally.right == 0


def test_regulars_come_by_themselves_and_are_charged_for_what_they_take() -> None:
    with a_demo_store(regulars=True, seed=4) as (server, _, happened):
        deadline_s = time.monotonic() + LONGEST_S
        while sum(isinstance(event, Left) for event in list(happened)) < 2:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        statuses = {event.session.status for event in list(happened) if isinstance(event, Left)}
        assert statuses <= {
            SessionStatus.CHARGED,
            SessionStatus.NEEDS_REVIEW,
            SessionStatus.EMPTY,
            SessionStatus.NO_ACCOUNT,
        }
        assert server.demo is not None
        assert server.demo.tally.wrong == 0


def test_whoever_is_inside_when_the_store_stops_is_looked_at_by_a_person(tmp_path: Path) -> None:
    with a_demo_store(tmp_path, speed=1.0) as (server, client, happened):
        me = signed_in(client)
        session_id = let_in(client, me)
        client.post(f"/v1/demo/sessions/{session_id}/shop", headers=me, json={"lines": [{"sku": OATS}]})
        deadline_s = time.monotonic() + LONGEST_S
        while not any(isinstance(event, Came) for event in list(happened)):
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        owner = server.owner
        assert owner is not None
    with a_demo_store(tmp_path) as (server, client, _):
        assert server.owner is None
        token = client.post("/v1/tokens", json={"email": OWNER, "password": owner.password}).json()["token"]
        staff = {"authorization": f"Bearer {token}"}
        waiting = client.get("/v1/reviews", headers=staff).json()["items"]
        assert [visit["session_id"] for visit in waiting] == [session_id]


def test_streams_of_live_carts_do_not_keep_the_store_from_closing() -> None:
    ended_streams, broken = threading.Event(), list[httpx.HTTPError]()
    with a_demo_store(speed=1.0) as (server, client, _):
        me = signed_in(client)
        session_id = let_in(client, me)

        def listen() -> None:
            with httpx.Client(base_url=server.url, timeout=60.0) as other:
                try:
                    with other.stream("GET", f"/v1/sessions/{session_id}/cart/events", headers=me) as stream:
                        for _ in stream.iter_raw():
                            pass
                except httpx.HTTPError as error:
                    broken.append(error)
            ended_streams.set()

        threading.Thread(target=listen, daemon=True).start()
        time.sleep(0.5)
    assert ended_streams.wait(LONGEST_S)
    # It ended; whoever keeps the store from closing is cut off.
    assert broken == []


def as_owner(client: httpx.Client, password: str) -> dict[str, str]:
    """Sign in as the first owner."""
    token = client.post("/v1/tokens", json={"email": OWNER, "password": password}).json()["token"]
    return {"authorization": f"Bearer {token}"}


def product_of(client: httpx.Client, sku: str) -> dict[str, Any]:
    """What the store tells of a product."""
    items = client.get("/v1/products", params={"limit": 100}).json()["items"]
    return next((item | {"picture_url": None} for item in items if item["sku"] == sku), {})


def test_what_staff_have_said_of_a_product_outlives_a_restart(tmp_path: Path) -> None:
    with a_demo_store(tmp_path, speed=1.0) as (server, client, _):
        assert server.owner is not None
        owner = as_owner(client, server.owner.password)
        oats = {"name": "Oats, ours", "tax_rate_bp": 900}
        assert client.put(f"/v1/products/{OATS}", headers=owner, json=oats).status_code == 200
        price = {"unit_price_minor": 333}
        assert client.post(f"/v1/products/{JAM}/prices", headers=owner, json=price).status_code == 201
        before = [product_of(client, sku) for sku in (OATS, JAM, CAKE)]
    with a_demo_store(tmp_path, speed=1.0) as (_, client, _):
        assert [product_of(client, sku) for sku in (OATS, JAM, CAKE)] == before
        assert [each["unit_price_minor"] for each in before] == [219, 333, None]


def test_a_product_that_is_laid_out_anew_is_taxed_like_the_others() -> None:
    sku = "2000000009001"
    with a_demo_store() as (server, client, _):
        assert server.owner is not None
        owner = as_owner(client, server.owner.password)
        newest = client.get("/v1/layout", headers=owner)
        document = newest.json()["document"]
        document["products"].append({"sku": sku, "name": "Figs", "unit_price_minor": 450, "currency": "EUR"})
        match = {"if-match": newest.headers["etag"]}
        body = {"document": document, "apply": "now"}
        assert client.put("/v1/layout", headers=owner | match, json=body).status_code == 200
        deadline_s = time.monotonic() + LONGEST_S
        while not product_of(client, sku):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert product_of(client, sku)["tax_rate_bp"] == product_of(client, OATS)["tax_rate_bp"] == DEMO_TAX_BP


def test_the_demos_sensors_speak_when_it_is_so_late_and_not_before() -> None:
    clock = StoreClock()
    demo = DemoStore(Catalogue("EUR", []), clock, 1, regulars=False)
    time.sleep(0.3)  # the rest of the store is put together
    opened_at = clock()
    for tick in islice(demo, 15):
        # Clocks are read one after the other, and waits end a little early.
        assert opened_at <= moment(tick.timestamp_ns) <= clock() + timedelta(milliseconds=20)


LIVE_VIEWS = {
    "pictures": "/v1/cameras/live",
    "floor": "/v1/floor/events",
    "place": "/v1/sessions/{session_id}/place/events",
}


@pytest.mark.parametrize("path", LIVE_VIEWS.values(), ids=LIVE_VIEWS.keys())
def test_streams_of_live_views_end_by_themselves_when_the_store_closes(path: str) -> None:
    ended_well: list[bool] = []
    with a_demo_store(speed=1.0) as (server, client, _):
        session_id = let_in(client, signed_in(client))
        owner = server.accounts.by_email(OWNER)
        assert owner is not None
        staff = {"authorization": f"Bearer {server.accounts.issue_token(owner.account_id, 'test').secret}"}
        heard = threading.Event()

        def listen() -> None:
            with httpx.Client(base_url=server.url, timeout=LONGEST_S) as other:
                try:
                    with other.stream("GET", path.format(session_id=session_id), headers=staff) as stream:
                        for _ in stream.iter_raw():
                            heard.set()
                    ended_well.append(True)
                except httpx.HTTPError:
                    ended_well.append(False)

        listening = threading.Thread(target=listen, daemon=True)
        listening.start()
        assert heard.wait(LONGEST_S)
    listening.join(LONGEST_S)
    assert ended_well == [True]


def test_a_second_store_on_one_file_is_refused_until_the_first_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cart.serve.CLAIM_S", 0.2)
    options = ServeOptions(f"sqlite:///{tmp_path / 'shop.db'}", tmp_path, port=0, demo=True)
    first = StoreServer(options, Settings())
    with pytest.raises(OSError, match="another process runs a store"):
        StoreServer(options, Settings())
    first.start()
    assert first.stop()
    again = StoreServer(options, Settings())
    again.start()
    assert again.stop()


def test_a_port_that_is_taken_is_told_before_anything_is_begun(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = ServeOptions(f"sqlite:///{tmp_path / 'shop.db'}", tmp_path, port=taken.getsockname()[1], demo=True)
        with pytest.raises(OSError, match="cannot listen"):
            StoreServer(options, Settings())
    assert os.listdir(tmp_path) == []
