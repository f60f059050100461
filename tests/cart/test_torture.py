from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.gateways.fake import make_gateway
from cart.gateways.journal import Journal
from cart.gateways.remote import RemoteGateway
from cart.outbox import Effect
from cart.payments import FakeGateway, PaymentRequest
from cart.repository import Database
from cart.torture import Audit, Counts, Driver, TortureSettings, Trip, examine, plan, settle_all, torture
from cart.torture_shop import HOLD_MINOR, PRICES_MINOR, FreshKeys, make_shop
from tests.cart.gateways.serving import PATIENT_S, served
from tests.cart.postgresql import empty_database
from tests.cart.running import Tillfree
from tests.cart.till import LATER


@given(st.integers(0, 2**32), st.integers(0, 20_000))
def test_what_a_shopper_owes_is_what_they_carry_out(seed: int, number: int) -> None:
    trip = plan(seed, number)
    assert trip.total_minor == sum(PRICES_MINOR[sku] * units for _, sku, units in trip.events) >= 0
    assert 0 <= trip.refund_minor <= trip.total_minor
    assert len({event for event, _, _ in trip.events}) == len(trip.events) >= 1
    assert plan(seed, number) == trip


def test_shoppers_come_in_every_kind() -> None:
    trips = [plan(1, number) for number in range(500)]
    assert 200 < sum(trip.with_hold for trip in trips) < 300
    assert sum(trip.total_minor == 0 for trip in trips) > 5
    assert sum(trip.with_hold and trip.total_minor > HOLD_MINOR for trip in trips) > 50
    assert sum(trip.with_hold and 0 < trip.total_minor < HOLD_MINOR for trip in trips) > 20
    assert sum(trip.refund_minor > 0 for trip in trips) > 10


def test_a_fresh_key_for_each_try_holds_the_money_twice() -> None:
    gateway = FakeGateway()
    careless = FreshKeys(gateway)
    request = PaymentRequest("charge:1", "ada", 199, "EUR")
    first, second = careless.authorise(request), careless.authorise(request)
    assert first.request == second.request == request
    assert len(gateway.payments) == 2
    assert careless.look_up("charge:1") is None
    taken = careless.capture(first)
    assert careless.refund(taken, 10, "refund:1").refunded_minor == 10
    assert careless.refund(taken, 10, "refund:1").refunded_minor == 20
    assert careless.look_up_refund("refund:1") is None
    assert careless.void(second).state == "voided"


@pytest.mark.parametrize("wrong", [{"exits": 0}, {"workers": 0}, {"kills": -1}, {"lost_replies": 0.9, "errors": 0.2}])
def test_settings_must_make_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="TortureSettings"):
        TortureSettings(**wrong)


TRIPS = [plan(3, number) for number in range(12)]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Path, list[str]]]:
    """A shop that a dozen shoppers have walked through, and its gateway's journal."""
    folder = tmp_path_factory.mktemp("walked")
    with Database.open(f"sqlite:///{folder / 'shop.db'}") as database, Journal(folder / "gateway.db") as journal:
        with served(make_gateway(journal)) as url, RemoteGateway(url, PATIENT_S) as gateway:
            app = make_shop(database, gateway, str(folder / "mailbox.txt"), lambda: LATER)
            with served(app) as shop, Driver(shop, Counts()) as driver:
                for trip in TRIPS:
                    driver.go_through(trip)
                    driver.go_through(replace(trip, refund_minor=0))  # whoever is not sure does it once more
                assert driver.ask("/settle", {}).json() == {"waiting": 0, "pending": 0}
        yield database, folder / "gateway.db", (folder / "mailbox.txt").read_text("utf-8").split()


def look(walked: tuple[Database, Path, list[str]], tamper: Callable[[Journal], object], folder: Path) -> Audit:
    """Examine the books after somebody has changed the gateway's."""
    database, file, mail = walked
    with Journal(file) as original, Journal(folder / "copy.db") as journal:
        original._sql.backup(journal._sql)
        tamper(journal)
        return examine(TRIPS, database, journal, mail)


def test_books_of_a_shop_that_did_everything_right_have_no_violations(
    walked: tuple[Database, Path, list[str]], tmp_path: Path
) -> None:
    audit = look(walked, lambda journal: None, tmp_path)
    assert audit.violations == 0, audit
    assert audit.charged + audit.empty == len(TRIPS)
    assert audit.expected_minor == audit.gateway_minor == audit.ledger_minor > 0


def _charge_again(journal: Journal) -> None:
    journal.capture(journal.authorise("again", TRIPS[0].shopper_id, 5, "EUR").reference)


def _give_back(journal: Journal) -> None:
    payment = next(p for p in journal.payments() if p.captured_minor > p.refunded_minor)
    journal.refund(payment.reference, 1, "refund:again")


def _take_less(journal: Journal) -> None:
    journal._sql.execute("UPDATE payments SET captured_minor = captured_minor - 1 WHERE number = 2")


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (_charge_again, {"doubled": 1, "difference_minor": -5}),
        (_give_back, {"wrong_refunds": 1, "difference_minor": 1}),
        (_take_less, {"lost": 1, "difference_minor": 1}),
        (lambda journal: journal.authorise("again", "ada", 5, "EUR"), {"stray_holds": 1, "difference_minor": 0}),
    ],
)
def test_what_is_wrong_at_the_gateway_is_found(
    walked: tuple[Database, Path, list[str]],
    tmp_path: Path,
    tamper: Callable[[Journal], object],
    found: dict[str, int],
) -> None:
    audit = look(walked, tamper, tmp_path)
    assert audit.violations > 0
    assert {name: getattr(audit, name) for name in found} == found


def test_a_lost_visit_and_an_unsent_receipt_are_found(walked: tuple[Database, Path, list[str]], tmp_path: Path) -> None:
    database, file, mail = walked
    stranger = replace(next(trip for trip in TRIPS if trip.total_minor), number=999, refund_minor=0)
    with Journal(file) as journal:
        assert examine([*TRIPS, stranger], database, journal, mail).lost == 1
        assert examine(TRIPS, database, journal, mail[1:]).unsent_receipts == 1
        assert examine(TRIPS, database, journal, [*mail, mail[0]]).receipts_sent_again == 1


def test_a_shopper_whose_hold_is_not_clear_is_not_let_in_but_may_come_again(tmp_path: Path) -> None:
    trip = Trip(1, plan(1, 1).events, True, plan(1, 1).total_minor, 0)
    with Database.open(f"sqlite:///{tmp_path / 'shop.db'}") as database, Journal(tmp_path / "gateway.db") as journal:
        with served(make_gateway(journal)) as url, RemoteGateway(url, PATIENT_S) as gateway:
            httpx.post(
                f"{url}/admin/faults",
                json={"call": "look_up", "fault": "lost_reply", "times": 2},
                trust_env=False,
                timeout=PATIENT_S,
            )
            httpx.post(
                f"{url}/admin/faults",
                json={"call": "authorise", "fault": "error_after", "times": 1},
                trust_env=False,
                timeout=PATIENT_S,
            )
            counts = Counts()
            app = make_shop(database, gateway, str(tmp_path / "mail"), lambda: LATER)
            with served(app) as shop, Driver(shop, counts) as driver:
                driver.go_through(trip)
                driver.ask("/settle", {})
        assert counts.refused_entries == 1
        audit = examine([trip], database, journal, (tmp_path / "mail").read_text("utf-8").split())
        assert audit.violations == 0, audit
        assert [payment.state for payment in journal.payments()] == ["voided", "captured", "captured"]


def test_what_the_gateway_keeps_a_failure_of_for_a_day_is_charged_and_given_back_after_it(tmp_path: Path) -> None:
    trip = Trip(1, plan(1, 1).events, False, plan(1, 1).total_minor, 100)
    with Database.open(f"sqlite:///{tmp_path / 'shop.db'}") as database, Journal(tmp_path / "gateway.db") as journal:
        with served(make_gateway(journal)) as url, RemoteGateway(url, PATIENT_S) as gateway:
            order = {"call": "authorise", "fault": "error_before", "times": 1}
            httpx.post(f"{url}/admin/faults", json=order, trust_env=False, timeout=PATIENT_S)
            counts = Counts()
            app = make_shop(database, gateway, str(tmp_path / "mail"), lambda: LATER)
            with served(app) as shop, Driver(shop, counts) as driver:
                assert not driver.go_through(trip)
                assert not driver.give_back(trip)
                settle_all(driver, url)
                assert driver.give_back(trip)
                settle_all(driver, url)
        assert counts.left_to_sweeper == 1
        audit = examine([trip], database, journal, (tmp_path / "mail").read_text("utf-8").split())
        assert audit.violations == 0, audit


@pytest.mark.slow
def test_500_exits_of_a_shop_that_is_killed_are_charged_once(tmp_path: Path) -> None:
    said: list[int] = []
    settings = TortureSettings(exits=500, kills=12, gateway_kills=2)
    result = torture(f"sqlite:///{tmp_path / 'shop.db'}", tmp_path, settings, said.append)
    assert result.audit.violations == 0, result
    assert result.audit.charged + result.audit.empty == sum(said) == 500
    assert (result.counts.kills, result.counts.gateway_kills) == (12, 2)
    assert result.counts.broken_requests > 0
    assert sum(result.gateway_faults.values()) > 10
    with pytest.raises(ValueError, match="empty"):
        torture(f"sqlite:///{tmp_path / 'shop.db'}", tmp_path, settings)


@pytest.mark.slow
def test_exits_of_a_killed_shop_are_charged_once_on_postgresql_too(tmp_path: Path) -> None:
    with empty_database() as url:
        result = torture(url, tmp_path, TortureSettings(exits=120, kills=5, gateway_kills=1))
    assert result.audit.violations == 0, result
    assert result.counts.kills == 5


@pytest.mark.slow
def test_a_shop_with_a_fresh_key_for_each_try_is_found_out(tmp_path: Path) -> None:
    settings = TortureSettings(exits=120, kills=4, gateway_kills=0, lost_replies=0.1, fresh_keys=True)
    result = torture(f"sqlite:///{tmp_path / 'shop.db'}", tmp_path, settings)
    assert result.audit.doubled > 0
    assert result.audit.stray_holds > 0
    assert result.audit.gateway_minor > result.audit.ledger_minor


@pytest.mark.slow
def test_the_command_prints_the_figures_and_its_status_tells_the_end(tillfree: Tillfree, tmp_path: Path) -> None:
    ran = tillfree("torture", "--exits", 20, "--kills", 1, "--gateway-kills", 0, "--keep", tmp_path / "kept")
    assert ran.status == 0, ran
    assert "0 violations" in ran.out
    assert "difference" in ran.out
    assert (tmp_path / "kept" / "gateway.db").exists()
    again = tillfree("torture", "--exits", 20, "--keep", tmp_path / "kept")
    assert again.status == 2
    assert "empty folder" in again.err


def test_the_command_starts_a_database_or_is_given_one(tillfree: Tillfree) -> None:
    ran = tillfree("torture", "--postgresql", "--database", "sqlite:///x.db")
    assert ran.status == 2
    assert "--database" in ran.err


def test_receipts_are_an_effect_that_the_tortured_shop_carries_out() -> None:
    with Database.in_memory() as database:
        app = make_shop(database, FakeGateway(), "/dev/null", lambda: LATER)
        assert Effect.RECEIPT in app.state.sweeper._handlers
