"""Events: a key, so that a report whose answer was lost is not kept twice."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("key", sa.String(40)))
    op.create_index("uq_events_job_key", "events", ["job_id", "key"], unique=True)


def downgrade() -> None:
    op.drop_index("uq_events_job_key", table_name="events")
    with op.batch_alter_table("events") as table:
        table.drop_column("key")
