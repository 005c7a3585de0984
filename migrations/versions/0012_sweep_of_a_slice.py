"""Bulk checks: the images that a check is about, null where it is about all."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("bulk_checks", sa.Column("image_ids", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("bulk_checks") as table:
        table.drop_column("image_ids")
