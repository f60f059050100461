"""What all tables share: the registry, times in UTC, and rows that the database itself keeps from being changed."""

from datetime import UTC, datetime
from typing import ClassVar
from uuid import UUID

from sqlalchemy import DDL, DateTime, Dialect, Double, MetaData, TypeDecorator, Uuid, event
from sqlalchemy.orm import DeclarativeBase

from cart.events import check_aware


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware time, kept in UTC; SQLite keeps it without its timezone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn a timezone-aware time into UTC; a naive one is a ``ValueError``."""
        if value is None:
            return None
        check_aware("database time", value)
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the time its timezone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The tables' common registry; constraints get predictable names, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {UUID: Uuid(), datetime: UtcDateTime(), float: Double()}


APPEND_ONLY: list[str] = []
"""Tables whose rows are only ever added, in the order in which they were declared."""


def append_only_ddl(table: str, verb: str, dialect: str) -> tuple[str, ...]:
    """The statements that make a database refuse to change (``UPDATE``) or remove (``DELETE``) rows of a table.

    Raises:
        ValueError: No statements are known for that dialect.
    """
    name = f"{table}_no_{verb.lower()}"
    if dialect == "sqlite":
        return (
            f"CREATE TRIGGER {name} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END",
        )
    if dialect == "postgresql":
        return (
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$",
            f"CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()",
        )
    raise ValueError(f"dialect: expected sqlite or postgresql, got {dialect}")


def keep_history(row: type[Base]) -> None:
    """Have the database refuse changes of a table's rows wherever the table is made without a migration."""
    name = row.__tablename__
    APPEND_ONLY.append(name)
    for verb in ("UPDATE", "DELETE"):
        for dialect in ("sqlite", "postgresql"):
            for statement in append_only_ddl(name, verb, dialect):
                ddl = DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
                event.listen(Base.metadata.tables[name], "after_create", ddl.execute_if(dialect=dialect))
