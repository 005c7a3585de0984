"""Near duplicates are found by their group without reading all suggestions."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_suggestions_group", "suggestions", ["data_set_id", "group_key"])


def downgrade() -> None:
    op.drop_index("ix_suggestions_group", table_name="suggestions")
