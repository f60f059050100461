"""The shop: visits, cart events, flags, charges, transfers and receipts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_APPEND_ONLY = ("cart_events", "review_flags", "transfers", "receipt_lines")


def upgrade() -> None:
    """Make all tables, and on SQLite the triggers that keep history from being changed."""
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("shopper_id", sa.String(), nullable=False),
        sa.Column("has_account", sa.Boolean(), nullable=False),
        sa.Column("party_size", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("session_id", name="pk_sessions"),
        sa.CheckConstraint("party_size >= 1", name=op.f("ck_sessions_party_size")),
        sa.CheckConstraint("(status = 'open') = (closed_at IS NULL)", name=op.f("ck_sessions_closed_at")),
    )
    op.create_index("ix_sessions_shopper_id", "sessions", ["shopper_id"])

    op.create_table(
        "cart_events",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sku", sa.String(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("cause_id", sa.Uuid()),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_cart_events"),
        sa.CheckConstraint("quantity <> 0", name=op.f("ck_cart_events_quantity")),
        sa.CheckConstraint("probability BETWEEN 0 AND 1", name=op.f("ck_cart_events_probability")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"], name="fk_cart_events_session_id"),
    )
    op.create_index("ix_cart_events_session_id", "cart_events", ["session_id"])

    op.create_table(
        "review_flags",
        sa.Column("flag_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("cause_id", sa.Uuid()),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("flag_id", name="pk_review_flags"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"], name="fk_review_flags_session_id"),
    )
    op.create_index("ix_review_flags_session_id", "review_flags", ["session_id"])

    op.create_table(
        "charges",
        sa.Column("charge_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=False),
        sa.Column("gateway_reference", sa.String()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("charge_id", name="pk_charges"),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_charges_amount_minor")),
        sa.CheckConstraint("sequence >= 1", name=op.f("ck_charges_sequence")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"], name="fk_charges_session_id"),
        sa.UniqueConstraint("idempotency_key", name="uq_charges_idempotency_key"),
    )
    live = sa.text("status IN ('pending', 'posted')")
    op.create_index(
        "uq_charges_live",
        "charges",
        ["session_id", "kind", "sequence"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_index("ix_charges_status", "charges", ["status"])
    op.create_index("ix_charges_session_id", "charges", ["session_id"])

    op.create_table(
        "transfers",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("debit_account_id", sa.String(), nullable=False),
        sa.Column("credit_account_id", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("pending_id", sa.Uuid()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_transfers"),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_transfers_amount_minor")),
        sa.CheckConstraint("debit_account_id <> credit_account_id", name=op.f("ck_transfers_two_accounts")),
        sa.CheckConstraint(
            "(phase IN ('post', 'void')) = (pending_id IS NOT NULL)", name=op.f("ck_transfers_pending_id")
        ),
        sa.UniqueConstraint("transfer_id", name="uq_transfers_transfer_id"),
        sa.UniqueConstraint("pending_id", name="uq_transfers_pending_id"),
        sa.ForeignKeyConstraint(["pending_id"], ["transfers.transfer_id"], name="fk_transfers_pending_id"),
    )
    op.create_index("ix_transfers_debit_account_id", "transfers", ["debit_account_id"])
    op.create_index("ix_transfers_credit_account_id", "transfers", ["credit_account_id"])

    op.create_table(
        "receipts",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("receipt_number", sa.BigInteger()),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "sequence", name="pk_receipts"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"], name="fk_receipts_session_id"),
        sa.UniqueConstraint("receipt_number", name="uq_receipts_receipt_number"),
    )

    op.create_table(
        "receipt_lines",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sku", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("unit_price_minor", sa.BigInteger()),
        sa.Column("tax_rate_bp", sa.Integer(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "sequence", "position", name="pk_receipt_lines"),
        sa.ForeignKeyConstraint(
            ["session_id", "sequence"],
            ["receipts.session_id", "receipts.sequence"],
            name="fk_receipt_lines_session_id_sequence",
        ),
        sa.CheckConstraint("unit_price_minor >= 0", name=op.f("ck_receipt_lines_unit_price_minor")),
        sa.CheckConstraint("quantity <> 0", name=op.f("ck_receipt_lines_quantity")),
    )

    op.create_table(
        "counters",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )

    if op.get_bind().dialect.name == "sqlite":
        for table in _APPEND_ONLY:
            for verb in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}"
                    f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )


def downgrade() -> None:
    """Drop all tables."""
    for table in (
        "counters",
        "receipt_lines",
        "receipts",
        "transfers",
        "charges",
        "review_flags",
        "cart_events",
        "sessions",
    ):
        op.drop_table(table)
