"""Databases of both kinds for tests: SQLite in a file, and a real PostgreSQL, copied from a template."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import psycopg

from cart.repository import Database, make_engine, upgrade
from tests.cart.postgresql import server_url

KINDS = ("sqlite", "postgresql")


@cache
def _template() -> str:
    """The name of a database with the shop's tables: a copy of it is made faster than they are."""
    name = f"template_{uuid4().hex}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    engine = make_engine(_url(name))
    upgrade(engine)
    engine.dispose()
    return name


def _url(name: str) -> str:
    head, _, query = server_url().partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}".replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def fresh_url(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty shop's database of a kind, in a folder if it is a file."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/shop-{uuid4().hex}.db"
        return
    name = f"copy_{uuid4().hex}"
    template = _template()
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    try:
        yield _url(name)
    finally:
        with psycopg.connect(server_url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def fresh(kind: str, folder: Path) -> Iterator[Database]:
    """An empty shop's database of a kind, closed at the end."""
    with fresh_url(kind, folder) as url, Database.open(url) as database:
        yield database
