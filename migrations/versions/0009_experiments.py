"""Runs that were started together as the arms of one comparison share an `experiment`."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("experiment", sa.String(length=36), nullable=True))
    op.create_index("ix_runs_experiment", "runs", ["experiment"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_runs_experiment", table_name="runs")
    op.drop_column("runs", "experiment")
