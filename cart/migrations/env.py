"""What Alembic runs: migrations on the connection it was handed, or on a database of its own configuration."""

from alembic import context
from sqlalchemy import Connection

from cart.tables import Base


def run(connection: Connection) -> None:
    """Bring the connected database to the revision asked for."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite can roll DDL back, once transactions are begun explicitly as cart.repository does.
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
