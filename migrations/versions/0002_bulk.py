"""Bulk accept: checks by a blind sample, and verdicts that were given in one step."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
ANSWERS = "('match', 'no_match', 'unsure', 'broken_pair')"


def upgrade() -> None:
    op.add_column("verdicts", sa.Column("bulk_id", sa.String(length=36), nullable=True))
    op.create_index("ix_verdicts_bulk_id", "verdicts", ["bulk_id"], unique=False)
    op.create_table(
        "bulk_checks",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("proposed", sa.String(length=20), nullable=False),
        sa.Column("min_probability", sa.Float(), nullable=False),
        sa.Column("max_probability", sa.Float(), nullable=False),
        sa.Column("target_error", sa.Float(), nullable=False),
        sa.Column("alpha", sa.Float(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("seed", ID, nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("last_suggestion_id", ID, nullable=False),
        sa.Column("last_verdict_id", ID, nullable=False),
        sa.Column("slice_size", sa.Integer(), nullable=False),
        sa.Column("sample_ids", sa.JSON(), nullable=False),
        sa.Column("num_errors", sa.Integer(), nullable=True),
        sa.Column("bulk_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(f"proposed in {ANSWERS}", name=op.f("ck_bulk_checks_proposed")),
        sa.CheckConstraint("state in ('open', 'applied', 'undone')", name=op.f("ck_bulk_checks_state")),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_bulk_checks_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_bulk_checks"),
        sa.UniqueConstraint("bulk_id", name="uq_bulk_checks_bulk_id"),
    )
    op.create_index("ix_bulk_checks_data_set_id", "bulk_checks", ["data_set_id"], unique=False)


def downgrade() -> None:
    op.drop_table("bulk_checks")
    op.drop_index("ix_verdicts_bulk_id", "verdicts")
    op.drop_column("verdicts", "bulk_id")
