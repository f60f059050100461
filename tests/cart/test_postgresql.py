"""The shop on a real PostgreSQL: the same code and migrations as on SQLite."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import JSON, Boolean, Column, Double, Integer, LargeBinary, String, Uuid, inspect, text
from sqlalchemy.exc import DatabaseError, IntegrityError

import cart.migrations
from cart.checkout import Outcome
from cart.errors import RefundExceedsPayment, StoreError
from cart.events import CartEvent
from cart.payments import ChargeStatus, FakeGateway, Fault, RefundStatus
from cart.repository import Database, make_engine, upgrade
from cart.sessions import SessionStatus
from cart.tables import APPEND_ONLY, Base, UtcDateTime
from tests.cart.postgresql import empty_database
from tests.cart.till import LATER, MUCH_LATER, NOON, Weather, books, check_books, enter, sweep, till

pytestmark = pytest.mark.slow
THREADS = 20


@pytest.fixture
def url() -> Iterator[str]:
    with empty_database() as made:
        yield made


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with Database.open(url) as opened:
        yield opened


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Make all calls at the same moment, one thread each; a refusal by the shop is an answer too."""
    start = threading.Barrier(len(calls))

    def make(call: Callable[[], Any]) -> Any:
        start.wait()
        try:
            return call()
        except StoreError as refusal:
            return refusal

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(make, calls))


def test_the_migrated_schema_equals_the_tables_and_can_be_taken_back(url: str) -> None:
    engine = make_engine(url)
    upgrade(engine)
    upgrade(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        triggers = connection.execute(text("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")).scalars()
        assert sorted(triggers) == sorted(
            f"{table}_no_{verb}" for table in APPEND_ONLY for verb in ("update", "delete")
        )
        checks = inspect(connection)
        for table in Base.metadata.tables.values():
            made = {check["name"] for check in checks.get_check_constraints(table.name)}
            assert made == {c.name for c in table.constraints if str(c.name).startswith("ck_")}, table.name
    config = Config()
    config.set_main_option("script_location", str(Path(cart.migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_tables_made_without_a_migration_keep_history_too(url: str) -> None:
    engine = make_engine(url)
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal")).scalar()
    assert count == 2 * len(APPEND_ONLY)
    engine.dispose()


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_the_database_refuses_to_change_history(database: Database, table: str) -> None:
    fillers: dict[type, object] = {
        UtcDateTime: NOON,
        Boolean: True,
        JSON: {},
        Double: 0.5,
        Integer: 1,
        LargeBinary: b"x",
        Uuid: UUID(int=1),
    }

    def filler(of: Column[Any]) -> object:
        return of.name if isinstance(of.type, String) else next(v for k, v in fillers.items() if isinstance(of.type, k))

    rows = Base.metadata.tables[table]
    engine = database._engine
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # foreign keys are not looked at
        connection.execute(rows.insert().values({c.name: filler(c) for c in rows.columns if not c.nullable}))
    column = next(c.name for c in rows.columns if isinstance(c.type, String))
    for statement in (f"UPDATE {table} SET {column} = 'y'", f"DELETE FROM {table}"):
        with pytest.raises(DatabaseError, match="append-only"), engine.begin() as connection:
            connection.execute(text(statement))


def test_a_visit_is_held_closed_corrected_refunded_and_its_books_balance(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = enter(checkout, ("tea", 5), ("bar", 1))
    outcome = checkout.close(session_id, LATER)
    assert (outcome.status, outcome.receipt.total_minor) == (SessionStatus.CHARGED, 1449)
    cheaper = checkout.correct(session_id, {"tea": 1, "bar": 1}, UUID(int=7), LATER, "four went back")
    assert (cheaper.receipt.sequence, cheaper.receipt.total_minor) == (2, 449)
    dearer = checkout.correct(session_id, {"tea": 2, "bar": 1}, UUID(int=8), MUCH_LATER, "three went back")
    assert (dearer.status, dearer.paid_minor, dearer.receipt.receipt_number) == (SessionStatus.CHARGED, 699, 3)
    assert checkout.refund(session_id, 99, "sorry", None, MUCH_LATER).status is RefundStatus.POSTED
    with pytest.raises(RefundExceedsPayment):
        checkout.refund(session_id, 601, "sorry", None, MUCH_LATER)
    assert [receipt.total_minor for receipt in checkout.receipts(session_id)] == [1449, 449, 699]
    check_books(database, gateway)


def test_a_silence_is_made_good_by_the_sweeper_and_a_decline_is_paid_later(database: Database) -> None:
    weather = Weather(Fault.LOST_REPLY)
    gateway = FakeGateway(weather)
    checkout = till(database, gateway, hold_minor=None)
    session_id = enter(checkout, ("bar", 1))
    assert checkout.close(session_id, NOON).status is SessionStatus.CLOSED
    weather.fault = None
    assert sweep(database, checkout) == 1
    assert checkout.session(session_id).status is SessionStatus.CHARGED
    weather.fault = Fault.DECLINE
    assert checkout.close(enter(checkout, ("tea", 1)), NOON).status is SessionStatus.PAYMENT_FAILED
    assert checkout.debt_of("ada") == 250
    weather.fault = None
    (paid,) = checkout.pay_debt("ada", LATER)
    assert (paid.status, checkout.debt_of("ada")) == (SessionStatus.CHARGED, 0)
    check_books(database, gateway)


@pytest.mark.parametrize("hold_minor", [None, 1000])
def test_twenty_threads_that_close_one_visit_charge_it_once(database: Database, hold_minor: int | None) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway, hold_minor)
    session_id = enter(checkout, ("bar", 1))
    outcomes: list[Outcome] = at_once([lambda: checkout.close(session_id, LATER)] * THREADS)
    assert all(outcome.charge is not None for outcome in outcomes)
    final = checkout.outcome(session_id)
    assert final is not None
    assert [charge.status for charge in final.charges] == [ChargeStatus.POSTED]
    assert (gateway.captured_minor("USD"), final.receipt.receipt_number) == (199, 1)
    check_books(database, gateway)


def test_visits_closed_at_once_get_numbers_without_gaps(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_ids = [enter(checkout, ("bar", 1)) for _ in range(THREADS)]
    outcomes: list[Outcome] = at_once([lambda id=i: checkout.close(id, LATER) for i in session_ids])  # type: ignore[misc]
    numbers = sorted(outcome.receipt.receipt_number or 0 for outcome in outcomes)
    assert numbers == list(range(1, THREADS + 1))
    check_books(database, gateway)


def test_refunds_at_once_never_exceed_what_was_taken(database: Database) -> None:
    gateway = FakeGateway()
    checkout = till(database, gateway)
    session_id = enter(checkout, ("tea", 1))
    checkout.close(session_id, LATER)
    answers = at_once([lambda: checkout.refund(session_id, 100, "sorry", None, LATER)] * THREADS)
    assert sum(isinstance(answer, RefundExceedsPayment) for answer in answers) == THREADS - 2
    assert gateway.refunded_minor("USD") == 200
    check_books(database, gateway)


def test_one_correction_and_one_debt_at_once_count_once(database: Database) -> None:
    weather = Weather()
    gateway = FakeGateway(weather)
    checkout = till(database, gateway, hold_minor=None)
    session_id = enter(checkout, ("tea", 2))
    checkout.close(session_id, LATER)
    at_once([lambda: checkout.correct(session_id, {"tea": 1}, UUID(int=7), LATER, "one")] * THREADS)
    assert (gateway.refunded_minor("USD"), len(checkout.receipts(session_id))) == (250, 2)
    weather.fault = Fault.DECLINE
    checkout.close(enter(checkout, ("bar", 1)), LATER)
    weather.fault = None
    at_once([lambda: checkout.pay_debt("ada", LATER)] * THREADS)
    assert gateway.captured_minor("USD") == 500 + 199
    check_books(database, gateway)


def test_events_and_first_numbers_at_once_are_all_kept(database: Database) -> None:
    checkout = till(database)
    session_id = enter(checkout)
    event = CartEvent(uuid4(), session_id, NOON, "tea", 1)
    others = [CartEvent(uuid4(), session_id, NOON, "bar", 1) for _ in range(8)]
    at_once([lambda e=e: checkout.record(e) for e in [event, event, *others]])  # type: ignore[misc]
    assert {line.sku: line.quantity for line in checkout.cart(session_id).lines} == {"bar": 8, "tea": 1}

    def number() -> int:
        with database.transaction() as repository:
            return repository.next_number("a new series")

    assert sorted(at_once([number] * 8)) == list(range(1, 9))


def test_a_second_live_charge_is_refused_and_reading_sees_one_moment(database: Database) -> None:
    checkout = till(database)
    session_id = enter(checkout, ("bar", 1))
    outcome = checkout.close(session_id, LATER)
    assert outcome.charge is not None
    again = outcome.charge
    with pytest.raises(IntegrityError), database.transaction() as repository:
        repository.sql.execute(
            text(
                "INSERT INTO charges (charge_id, session_id, kind, sequence, amount_minor, currency, status,"
                " idempotency_key, created_at) SELECT :id, session_id, kind, sequence, amount_minor, currency,"
                " 'pending', 'another', created_at FROM charges WHERE charge_id = :of"
            ),
            {"id": uuid4(), "of": again.charge_id},
        )
    with database.reading() as repository:
        before = len(repository.ledger().transfers)
        checkout.close(enter(checkout, ("bar", 1)), LATER)
        assert len(repository.ledger().transfers) == before
    assert len(books(database).transfers) > before


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(DatabaseError, match="read-only"), database.reading() as repository:
        repository.next_number("receipts")


def test_a_server_that_is_not_there_is_an_oserror() -> None:
    with pytest.raises(OSError, match="cannot be opened"):
        Database.open("postgresql://postgres@/shop?host=/nowhere")
