import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import JSON, Boolean, Column, Double, Engine, Integer, String, Uuid, text
from sqlalchemy.exc import DatabaseError, IntegrityError, StatementError

import cart.migrations
from cart.errors import SessionNotFound
from cart.events import CartEvent, ReviewFlag
from cart.ledger import Transfer, TransferCode, TransferPhase
from cart.payments import (
    Charge,
    ChargeKind,
    ChargeStatus,
    Hold,
    HoldStatus,
    Refund,
    RefundKind,
    RefundStatus,
)
from cart.receipts import Receipt, ReceiptLine
from cart.repository import Database, Queue, make_engine, upgrade
from cart.sessions import Session, SessionStatus
from cart.tables import APPEND_ONLY, Base, UtcDateTime

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
VISIT = UUID(int=1)


def visit() -> Session:
    return Session(VISIT, "ada", True, 2, SessionStatus.OPEN, NOON)


def charge(number: int = 2) -> Charge:
    return Charge(UUID(int=number), VISIT, ChargeKind.CAPTURE, 1, 199, "USD", ChargeStatus.PENDING, NOON)


@pytest.fixture
def database() -> Iterator[Database]:
    with Database.in_memory() as opened:
        yield opened


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Engine]:
    engine = make_engine(f"sqlite:///{tmp_path}/shop.db")
    yield engine
    engine.dispose()


def schema(engine: Engine) -> dict[str, list[str]]:
    """Every statement that makes the schema, by the name of what it makes, its parts sorted."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
    return {
        # SQLite writes a column that was added later behind the last one, on its line.
        name: sorted(
            part.strip().rstrip(",").strip() for part in re.split(r"\n|, (?=[a-z_]+ [A-Z]+(?:\([0-9]+\))?,)", sql)
        )
        for name, sql in rows
        if name != "alembic_version"
    }


def test_the_migrated_schema_equals_the_tables(empty: Engine, tmp_path: Path) -> None:
    upgrade(empty)
    with empty.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    made = make_engine(f"sqlite:///{tmp_path}/made.db")
    Base.metadata.create_all(made)
    # Also what Alembic does not compare: checks, partial indexes, triggers.
    assert schema(empty) == schema(made)
    made.dispose()


def test_migrating_again_changes_nothing_and_needs_no_working_directory(
    empty: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    upgrade(empty)
    before = schema(empty)
    upgrade(empty)
    assert schema(empty) == before
    assert os.listdir() == []


def test_a_migration_can_be_taken_back(empty: Engine) -> None:
    upgrade(empty)
    config = Config()
    config.set_main_option("script_location", str(Path(cart.migrations.__file__).parent))
    with empty.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert schema(empty) == {}


def test_a_migration_that_fails_leaves_nothing_behind(empty: Engine) -> None:
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE transfers (x)"))
    with pytest.raises(DatabaseError):
        upgrade(empty)
    assert set(schema(empty)) == {"transfers"}


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    Database.open(url).close()
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ValueError, match="does not fit this version"):
        Database.open(url)


@pytest.mark.parametrize("url", ["shop.db", "nosuch://x", "", "nosuch+driver://host/x"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^database: "):
        Database.open(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shop.db").write_bytes(b"not a database, by far" * 100)
    with pytest.raises(OSError, match="cannot be opened"):
        Database.open(f"sqlite:///{tmp_path}/shop.db")
    with pytest.raises(OSError, match="cannot be opened"):
        Database.open(f"sqlite:///{tmp_path}/missing/shop.db")


def test_a_database_file_has_write_ahead_logging_full_sync_and_foreign_keys(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/shop.db")
    with engine.connect() as connection:
        pragmas = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
        assert pragmas == ["wal", 2]
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    engine.dispose()


def test_everything_is_read_as_it_was_written(database: Database) -> None:
    event = CartEvent(UUID(int=3), VISIT, NOON, "042", -2, UUID(int=4), 0.123456789)
    flag = ReviewFlag(VISIT, "the camera was blind", UUID(int=4), NOON)
    closed = replace(visit(), status=SessionStatus.CLOSED, closed_at=NOON)
    lines = (ReceiptLine("042", "Oat bar", 2, 199, 700, 0.5), ReceiptLine("043", "043", 1, None, 0))
    receipt = Receipt.of(closed, lines, "USD", NOON)
    transfer = Transfer(UUID(int=5), "a", "b", 10**15, "USD", TransferCode.PAYMENT, TransferPhase.PENDING, NOON)
    with database.transaction() as repository:
        repository.add_session(visit())
        repository.add_cart_event(event)
        repository.add_flag(flag)
        repository.add_charge(charge())
        repository.add_transfer(transfer)
        repository.add_transfer(transfer)
        repository.add_receipt(receipt)
    with database.reading() as repository:
        assert repository.session(VISIT) == visit()
        assert repository.cart_event(UUID(int=3)) == event
        assert repository.cart_events(VISIT) == (event,)
        assert repository.flags(VISIT) == (flag,)
        assert repository.charge(VISIT) == charge()
        assert repository.pending_charges() == (charge(),)
        assert repository.ledger().transfers == (transfer,)
        assert repository.receipt(closed) == receipt


def test_a_time_is_kept_in_utc_and_a_naive_one_is_refused(database: Database) -> None:
    with database.transaction() as repository:
        repository.add_session(replace(visit(), opened_at=NOON.astimezone(timezone(timedelta(hours=-5)))))
    with database.reading() as repository:
        assert repository.session(VISIT).opened_at.isoformat() == NOON.isoformat()
    with pytest.raises(StatementError, match="timezone-aware"), database.transaction() as repository:
        repository.issue_receipt(VISIT, 1, datetime(2026, 1, 1))


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_the_database_refuses_to_change_history(database: Database, table: str) -> None:
    fillers: dict[type, object] = {
        UtcDateTime: NOON,
        Boolean: True,
        JSON: {},
        Double: 0.5,
        Integer: 1,
        Uuid: VISIT,
    }

    def filler(of: Column[Any]) -> object:
        return of.name if isinstance(of.type, String) else next(v for k, v in fillers.items() if isinstance(of.type, k))

    rows = Base.metadata.tables[table]
    engine = database._engine
    with engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")  # SQLite turns foreign keys off outside of transactions alone
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("BEGIN")
        connection.execute(rows.insert().values({c.name: filler(c) for c in rows.columns if not c.nullable}))
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN")
    column = next(c.name for c in rows.columns if isinstance(c.type, String))
    for statement in (f"UPDATE {table} SET {column} = 'y'", f"DELETE FROM {table}"):
        with pytest.raises(IntegrityError, match="append-only"), engine.begin() as connection:
            connection.execute(text(statement))


def test_the_database_refuses_a_second_charge_while_one_is_pending_or_posted(database: Database) -> None:
    with database.transaction() as repository:
        repository.add_session(visit())
        repository.add_charge(charge())
    with pytest.raises(IntegrityError), database.transaction() as repository:
        repository.add_charge(charge(3))
    with database.transaction() as repository:
        repository.change_charge(replace(charge(), status=ChargeStatus.POSTED))
    with pytest.raises(IntegrityError), database.transaction() as repository:
        repository.add_charge(charge(3))
    with database.transaction() as repository:
        repository.add_charge(replace(charge(4), sequence=2))


def test_a_new_charge_may_follow_a_declined_one(database: Database) -> None:
    with database.transaction() as repository:
        repository.add_session(visit())
        repository.add_charge(replace(charge(), status=ChargeStatus.FAILED))
        repository.add_charge(charge(3))


def test_an_event_needs_its_visit(database: Database) -> None:
    with pytest.raises(IntegrityError), database.transaction() as repository:
        repository.add_cart_event(CartEvent(UUID(int=3), VISIT, NOON, "042", 1))
    with pytest.raises(SessionNotFound), database.reading() as repository:
        repository.session(VISIT)


def test_a_transaction_that_fails_writes_nothing_and_gives_its_number_back(database: Database) -> None:
    def write_until_the_power_fails() -> None:
        with database.transaction() as repository:
            repository.add_session(visit())
            assert repository.next_number("receipts") == 1
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_until_the_power_fails()
    with database.transaction() as repository:
        assert repository.next_number("receipts") == 1
        assert repository.next_number("receipts") == 2
        assert repository.next_number("refunds") == 1
        repository.add_session(visit())


def test_holds_and_refunds_are_read_as_they_were_written(database: Database) -> None:
    hold = Hold(UUID(int=6), VISIT, 5000, "USD", HoldStatus.PENDING, NOON)
    refund = Refund(
        UUID(int=7),
        VISIT,
        UUID(int=2),
        50,
        "USD",
        RefundStatus.PENDING,
        RefundKind.GOODWILL,
        "it was warm",
        NOON,
        UUID(int=8),
    )
    captured = replace(charge(), hold_id=UUID(int=6))
    with database.transaction() as repository:
        repository.add_session(visit())
        repository.add_hold(hold)
        repository.add_charge(captured)
        repository.add_refund(refund)
    with database.reading() as repository:
        assert repository.hold(VISIT) == repository.hold_by_id(UUID(int=6)) == hold
        assert repository.unsettled_holds() == (hold,)
        assert repository.charge_by_id(UUID(int=2)) == captured
        assert repository.refunds(VISIT) == repository.pending_refunds() == (refund,)
        assert repository.refund_by_id(UUID(int=7)) == refund
        nobody = UUID(int=99)
        found = [
            repository.hold(nobody),
            repository.hold_by_id(nobody),
            repository.charge(nobody),
            repository.charge_by_id(nobody),
            repository.refund_by_id(nobody),
            repository.transfer(nobody),
            repository.cart_event(nobody),
        ]
        assert found == [None] * 7
    with database.transaction() as repository:
        repository.change_hold(replace(hold, status=HoldStatus.HELD, gateway_reference="x"))
        repository.change_refund(replace(refund, status=RefundStatus.POSTED, gateway_reference="x"))
    with database.reading() as repository:
        assert repository.hold(VISIT) == replace(hold, status=HoldStatus.HELD, gateway_reference="x")
        assert (repository.unsettled_holds(), repository.pending_refunds()) == ((), ())
    with pytest.raises(IntegrityError), database.transaction() as repository:
        repository.add_hold(replace(hold, hold_id=UUID(int=10)))


def test_a_visit_has_a_receipt_for_each_correction_and_the_newest_counts(database: Database) -> None:
    closed = replace(visit(), status=SessionStatus.CLOSED, closed_at=NOON)
    first, second = (
        Receipt.of(closed, (ReceiptLine("042", "Oat bar", n, 199, 700),), "USD", NOON, sequence=n) for n in (1, 2)
    )
    with database.transaction() as repository:
        repository.add_session(closed)
        repository.add_receipt(first)
        repository.add_receipt(second, UUID(int=7))
        repository.issue_receipt(VISIT, 1, NOON, sequence=2)
    with database.reading() as repository:
        newest = replace(second, receipt_number=1)
        assert repository.receipt(closed) == newest
        assert repository.receipt(closed, 1) == first
        assert repository.receipt(closed, 3) is None
        assert repository.receipts(closed) == (first, newest)
        assert repository.corrected_by(VISIT, UUID(int=7))
        assert not repository.corrected_by(VISIT, UUID(int=8))


def test_a_balance_in_sql_is_that_of_the_whole_ledger(database: Database) -> None:
    pending = Transfer(UUID(int=5), "a", "b", 70, "USD", TransferCode.PAYMENT, TransferPhase.PENDING, NOON)
    other = replace(pending, transfer_id=UUID(int=6), amount_minor=30)
    third = replace(pending, transfer_id=UUID(int=7), debit_account_id="c", credit_account_id="a", amount_minor=1)
    moved = replace(third, transfer_id=UUID(int=8), phase=TransferPhase.IMMEDIATE, amount_minor=500)
    euros = replace(moved, transfer_id=UUID(int=9), currency="EUR")
    with database.transaction() as repository:
        for transfer in (pending, other, third, moved, euros):
            repository.add_transfer(transfer)
        repository.add_transfer(pending.post(UUID(int=10), NOON))
        repository.add_transfer(other.void(UUID(int=11), NOON))
    with database.reading() as repository:
        for account in ("a", "b", "c", "nobody"):
            balance = repository.ledger().balance(account, "USD")
            assert repository.expected_minor(account, "USD") == balance.posted_minor + balance.pending_minor


def test_writers_get_their_turn_in_the_order_they_came() -> None:
    queue, order = Queue(), list[int]()

    def write(number: int) -> None:
        with queue:
            order.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    with queue:
        for waiting, thread in enumerate(threads, 1):
            thread.start()
            while queue.waiting < waiting:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(20))
    with queue:
        assert queue.waiting == 0


def test_who_stops_waiting_does_not_keep_others_from_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def __init__(self) -> None:
            self.calls = 0

        def acquire(self) -> bool:
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            return True

        def release(self) -> None: ...

    queue = Queue()
    with queue:
        monkeypatch.setattr("cart.repository.threading.Lock", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            queue.__enter__()
        assert queue.waiting == 0
    with queue:
        pass


def test_all_who_open_a_file_in_one_process_share_its_queue(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    with Database.open(url) as first, Database.open(url) as second, Database.in_memory() as other:
        assert first._writing is second._writing
        assert other._writing is not first._writing
        with ThreadPoolExecutor(8) as pool:
            numbers = list(pool.map(take_number, [first, second] * 20))
    assert sorted(numbers) == list(range(1, 41))


def take_number(database: Database) -> int:
    with database.transaction() as repository:
        return repository.next_number("receipts")


def test_a_plain_postgresql_url_is_reached_through_psycopg() -> None:
    engine = make_engine("postgresql://postgres@/shop?host=/nowhere")
    assert engine.url.drivername == "postgresql+psycopg"
    engine.dispose()
