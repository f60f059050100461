"""The database's history, as Alembic revisions that ship with the package."""
