from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update
from sqlalchemy.exc import DatabaseError

from cart import audit
from cart.repository import Database
from cart.tables import AuditRow
from tests.cart.people import START

ADA, EVE, REVIEWER = UUID(int=1), UUID(int=2), UUID(int=3)


@pytest.fixture
def database() -> Iterator[Database]:
    with Database.in_memory() as opened:
        yield opened


def write(database: Database, *entries: tuple[UUID | None, str, str]) -> None:
    with database.transaction() as repository:
        for actor_id, action, subject in entries:
            audit.record(repository, actor_id, action, subject, {"n": 1}, START)


def test_an_entry_is_read_as_it_was_written(database: Database) -> None:
    with database.transaction() as repository:
        audit.record(repository, REVIEWER, "visit.decided", "session:1", {"lines": [{"sku": "042"}], "n": None}, START)
    with database.reading() as repository:
        (entry,) = audit.page(repository).entries
    assert (entry.at, entry.actor_id, entry.action, entry.subject) == (START, REVIEWER, "visit.decided", "session:1")
    assert entry.detail == {"lines": [{"sku": "042"}], "n": None}


def test_the_log_goes_with_the_transaction_that_it_tells_of(database: Database) -> None:
    class PowerCutError(Exception):
        pass

    def fail() -> None:
        with database.transaction() as repository:
            audit.record(repository, ADA, "account.created", "account:1", {}, START)
            raise PowerCutError

    with pytest.raises(PowerCutError):
        fail()
    with database.reading() as repository:
        assert audit.page(repository).entries == ()


@given(st.integers(0, 23), st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_pages_give_every_entry_once_newest_first(count: int, limit: int) -> None:
    with Database.in_memory() as database:
        write(database, *[(ADA, "looked", f"account:{number}") for number in range(count)])
        read: list[str] = []
        older_than: int | None = None
        with database.reading() as repository:
            while True:
                page = audit.page(repository, older_than=older_than, limit=limit)
                read += [entry.subject for entry in page.entries]
                assert len(page.entries) <= limit
                older_than = page.older_than
                if older_than is None:
                    break
        assert read == [f"account:{number}" for number in reversed(range(count))]


def test_the_log_is_read_by_subject_actor_and_action(database: Database) -> None:
    write(database, (ADA, "x.done", "a"), (EVE, "x.done", "b"), (ADA, "y.done", "b"), (None, "y.done", "a"))

    def found(**by: Any) -> list[tuple[UUID | None, str, str]]:
        with database.reading() as repository:
            return [(e.actor_id, e.action, e.subject) for e in audit.page(repository, **by).entries]

    assert found(subject="a") == [(None, "y.done", "a"), (ADA, "x.done", "a")]
    assert found(actor_id=ADA) == [(ADA, "y.done", "b"), (ADA, "x.done", "a")]
    assert found(action="x.done") == [(EVE, "x.done", "b"), (ADA, "x.done", "a")]
    assert found(subject="b", actor_id=ADA, action="y.done") == [(ADA, "y.done", "b")]
    assert found(subject="c") == []


def test_it_is_read_by_families_of_actions_and_by_time(database: Database) -> None:
    with database.transaction() as repository:
        for hour, action in enumerate(("account.created", "account.blocked", "accounting.done", "account")):
            audit.record(repository, ADA, action, "a", {}, START + timedelta(hours=hour))

    def found(**wanted: Any) -> list[str]:
        with database.reading() as repository:
            return [entry.action for entry in audit.page(repository, **wanted).entries]

    assert found(action="account") == ["account", "account.blocked", "account.created"]
    assert found(action="account.blocked") == ["account.blocked"]
    assert found(action="a_count") == []
    second, third = START + timedelta(hours=1), START + timedelta(hours=2)
    assert found(since=second, until=third) == ["account.blocked"]
    assert found(until=second) == ["account.created"]
    assert found(since=third, action="account") == ["account"]


def test_it_is_known_who_looked_at_a_shoppers_records(database: Database) -> None:
    with database.transaction() as repository:
        audit.looked(repository, REVIEWER, ADA, "session:1", START)
        audit.looked(repository, ADA, ADA, "session:1", START)
        audit.looked(repository, REVIEWER, EVE, "session:2", START)
        audit.looked(repository, None, ADA, "export", START)
        audit.record(repository, REVIEWER, "account.blocked", audit.account_subject(ADA), {}, START)
        entries = audit.who_looked(repository, ADA).entries
    assert [(entry.actor_id, entry.detail["what"]) for entry in entries] == [(None, "export"), (REVIEWER, "session:1")]


@pytest.mark.parametrize(
    "detail",
    [
        {"email": "ada@example.com"},
        {"a": [{"b": ["write to ada@example.com please"]}]},
        {"ada@example.com": 1},
        {"text": "иван@почта.рф"},
    ],
)
def test_an_entry_with_an_email_address_is_refused_and_the_refusal_does_not_repeat_it(
    database: Database, detail: dict[str, Any]
) -> None:
    with database.transaction() as repository:
        with pytest.raises(ValueError, match="without e-mail addresses") as refused:
            audit.record(repository, ADA, "account.changed", "account:1", detail, START)
        assert "@" not in str(refused.value)
        with pytest.raises(ValueError, match="without e-mail addresses"):
            audit.record(repository, ADA, "account.changed", "account:ada@example.com", {}, START)


@pytest.mark.parametrize(("action", "subject"), [("", "a"), ("a", "")])
def test_an_entry_says_what_was_done_to_what(database: Database, action: str, subject: str) -> None:
    with database.transaction() as repository, pytest.raises(ValueError, match="audit"):
        audit.record(repository, ADA, action, subject, {}, START)


def test_an_entry_says_when_in_no_doubt(database: Database) -> None:
    with database.transaction() as repository, pytest.raises(ValueError, match="timezone"):
        audit.record(repository, ADA, "a", "b", {}, datetime(2026, 1, 1))


@pytest.mark.parametrize("limit", [0, -1, audit.LONGEST_PAGE + 1])
def test_a_page_of_no_or_too_many_entries_is_refused(database: Database, limit: int) -> None:
    with database.reading() as repository, pytest.raises(ValueError, match="limit"):
        audit.page(repository, limit=limit)


@pytest.mark.parametrize("statement", [update(AuditRow).values(action="nothing happened"), delete(AuditRow)])
def test_the_database_refuses_to_change_or_remove_an_entry(database: Database, statement: Any) -> None:
    write(database, (ADA, "x.done", "a"))

    def tamper() -> None:
        with database.transaction() as repository:
            repository.sql.execute(statement)

    with pytest.raises(DatabaseError, match="append-only"):
        tamper()
    with database.reading() as repository:
        assert [entry.action for entry in audit.page(repository).entries] == ["x.done"]
