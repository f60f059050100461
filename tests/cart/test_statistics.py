"""What is counted of a store's hours and days."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, insert

from cart.accounts import Role
from cart.statistics import By, Figures, statistics
from cart.tables import ReceiptRow, SessionRow
from tests.cart.api.shops import NOON, ApiStore

DAY = timedelta(days=1)


def figures(store: ApiStore) -> Figures:
    with store.database.reading() as repository:
        return statistics(repository, NOON - DAY, NOON + DAY, By.HOUR, UTC).total


def test_a_store_without_visits_has_nothing_to_count() -> None:
    assert figures(ApiStore()) == Figures()


def test_visits_are_counted_by_what_became_of_them() -> None:
    store = ApiStore()
    ada = store.account("ada")
    store.paid_visit(ada, quantity=2)
    store.doubtful_visit(ada)
    store.checkout.close(store.visit(ada).session_id, store.at)  # took nothing
    store.visit(ada)  # is still inside
    stranger = store.checkout.check_in("somebody", store.at, has_account=False)
    store.take(stranger.session_id, quantity=3)
    store.checkout.close(stranger.session_id, store.at)
    found = figures(store)
    assert (found.visits, found.charged, found.empty, found.waiting) == (4, 1, 1, 1)
    assert (found.takings_minor, found.shrink_units, found.shrink_minor) == (398, 3, 597)
    assert (found.corrected, found.reviewed, found.disputes) == (0, 0, 0)
    assert found.receipt_p50_s == found.receipt_p95_s == 0


def test_a_wrong_charge_counts_when_it_is_put_right_and_a_look_before_the_charge_does_not() -> None:
    store = ApiStore()
    ada = store.account("ada")
    reviewer = store.account("rita", Role.REVIEWER)
    wrong, doubtful = store.paid_visit(ada, quantity=20), store.doubtful_visit(ada)
    assert store.shop.reviews is not None
    assert store.shop.disputes is not None
    dispute = store.shop.disputes.open(wrong.session_id, ada.account_id, "042", 0, "none")
    store.shop.disputes.settle(dispute.dispute_id, reviewer.account_id, 19, "true")
    store.shop.reviews.decide(doubtful.session_id, reviewer.account_id, {"042": 1}, "one")
    found = figures(store)
    assert (found.corrected, found.disputes, found.waiting) == (1, 1, 0)
    assert found.reviewed >= 1
    assert found.refunded_minor == 199
    assert found.takings_minor == 20 * 199 + 199


def test_days_are_those_of_the_store_and_have_23_hours_in_spring() -> None:
    zone = ZoneInfo("Europe/Berlin")
    since = datetime(2026, 3, 28, tzinfo=zone)
    store = ApiStore()
    with store.database.reading() as repository:
        days = statistics(repository, since, since + 3 * DAY, By.DAY, zone).periods
        hours = statistics(repository, since + DAY, since + 2 * DAY, By.HOUR, zone).periods
    assert [day.start.isoformat() for day in days] == [
        "2026-03-28T00:00:00+01:00",
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
    ]
    assert len(hours) == 23


def test_a_visit_counts_in_the_hour_it_ended() -> None:
    store = ApiStore()
    ada = store.account("ada")
    store.at = NOON + timedelta(minutes=59)
    store.paid_visit(ada)
    store.at = NOON + timedelta(hours=1)
    store.paid_visit(ada)
    zone = ZoneInfo("Asia/Kathmandu")  # 5:45 ahead: 12:59 and 13:00 are 18:44 and 18:45 there
    with store.database.reading() as repository:
        utc = statistics(repository, NOON, NOON + timedelta(hours=2), By.HOUR, UTC).periods
        there = statistics(repository, NOON, NOON + timedelta(hours=2), By.HOUR, zone).periods
    assert [period.figures.visits for period in utc] == [1, 1]
    assert [period.figures.visits for period in there] == [0, 2, 0]


def test_times_out_of_order_and_too_many_periods_are_refused() -> None:
    with ApiStore().database.reading() as repository:
        with pytest.raises(ValueError, match="expected a time after"):
            statistics(repository, NOON, NOON, By.DAY, UTC)
        with pytest.raises(ValueError, match="at most 800 periods"):
            statistics(repository, NOON - 100 * DAY, NOON, By.HOUR, UTC)


def test_ten_thousand_visits_are_counted_quickly() -> None:
    store = ApiStore()
    ids = [uuid4() for _ in range(10_000)]
    at = {session_id: NOON - timedelta(minutes=number) for number, session_id in enumerate(ids)}

    def visit(session_id: UUID) -> dict[str, object]:
        shopper = {"session_id": session_id, "shopper_id": "s", "has_account": True, "party_size": 1}
        return shopper | {"status": "charged", "opened_at": at[session_id], "closed_at": at[session_id]}

    with store.database.transaction() as repository:
        repository.sql.execute(insert(SessionRow), [visit(session_id) for session_id in ids])
        repository.sql.execute(
            insert(ReceiptRow),
            [
                {"session_id": session_id, "sequence": 1, "currency": "EUR", "receipt_number": number}
                | {"issued_at": at[session_id] + timedelta(seconds=2)}
                for number, session_id in enumerate(ids)
            ],
        )
    asked: list[str] = []
    with store.database.reading() as repository:
        event.listen(repository.sql.get_bind(), "before_cursor_execute", lambda *told: asked.append(told[2]))
        found = statistics(repository, NOON - 8 * DAY, NOON + DAY, By.DAY, UTC)
    assert 0 < len(asked) < 10, "the database adds up, however many visits there were"
    assert (found.total.visits, found.total.receipt_p95_s) == (10_000, 2)


def test_the_api_tells_figures_and_refuses_what_it_cannot_count() -> None:
    store = ApiStore()
    store.paid_visit(store.account("ada"))
    store.pass_time(minutes=1)
    _, viewer = store.signed_in("vera", Role.VIEWER)
    told = viewer.get("/v1/statistics").json()
    assert told["currency"] == "EUR"
    assert len(told["items"]) == 8
    assert told["items"][-1]["visits"] == told["total"]["visits"] == 1
    assert viewer.get("/v1/statistics", params={"from": "2020-01-01T00:00:00Z", "by": "hour"}).status_code == 422
    assert store.signed_in("sam")[1].get("/v1/statistics").status_code == 403


def test_money_is_in_what_the_store_trades_in_whatever_the_settings_say() -> None:
    store = ApiStore(currency="JPY")
    told = store.signed_in("vera", Role.VIEWER)[1].get("/v1/statistics").json()
    assert told["currency"] == store.shop.checkout.currency != "JPY"
