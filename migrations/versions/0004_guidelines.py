"""Guidelines of a data set, a row a version."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "guidelines",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_guidelines_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_guidelines"),
    )
    op.create_index("ix_guidelines_data_set", "guidelines", ["data_set_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_table("guidelines")
