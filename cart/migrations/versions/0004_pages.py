"""Pages: pictures of products, versions of the layout."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NEW_HISTORY = ("layout_versions",)


def _append_only(table: str, verb: str, dialect: str) -> tuple[str, ...]:
    name = f"{table}_no_{verb.lower()}"
    if dialect == "sqlite":
        return (
            f"CREATE TRIGGER {name} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END",
        )
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$",
        f"CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()",
    )


def upgrade() -> None:
    """Make the tables, and the triggers that keep history from being changed."""
    op.create_table(
        "product_pictures",
        sa.Column("sku", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("media", sa.LargeBinary(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sku"], ["products.sku"], name=op.f("fk_product_pictures_sku")),
        sa.PrimaryKeyConstraint("sku", name=op.f("pk_product_pictures")),
    )
    op.create_table(
        "layout_versions",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_layout_versions")),
    )
    dialect = op.get_bind().dialect.name
    for table in _NEW_HISTORY:
        for verb in ("UPDATE", "DELETE"):
            for statement in _append_only(table, verb, dialect):
                op.execute(statement)


def downgrade() -> None:
    """Remove them."""
    if op.get_bind().dialect.name == "postgresql":
        for table in _NEW_HISTORY:
            for verb in ("update", "delete"):
                op.execute(f"DROP FUNCTION {table}_no_{verb}() CASCADE")
    op.drop_table("layout_versions")
    op.drop_table("product_pictures")
