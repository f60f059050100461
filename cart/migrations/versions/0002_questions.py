"""What a reviewer is asked, beside the reason why."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give flags a question; those that are there have none."""
    op.add_column("review_flags", sa.Column("question", sa.JSON()))


def downgrade() -> None:
    """Forget the questions."""
    op.drop_column("review_flags", "question")
