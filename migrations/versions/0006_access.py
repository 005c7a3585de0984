"""Access by data set, invitations, bounded tokens, accounts from outside, and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
ROLE = "role in ('viewer', 'annotator', 'admin')"


def upgrade() -> None:
    op.add_column("people", sa.Column("limited", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("people", sa.Column("external_id", sa.String(length=400)))
    op.create_index("ix_people_external_id", "people", ["external_id"], unique=True)
    op.add_column("credentials", sa.Column("name", sa.String(length=200), server_default="", nullable=False))
    op.add_column("credentials", sa.Column("cap", sa.String(length=20)))
    op.add_column("credentials", sa.Column("data_set_id", ID))
    op.create_table(
        "grants",
        sa.Column("person_id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(ROLE, name="ck_grants_role"),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name="fk_grants_person_id_people", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_grants_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("person_id", "data_set_id", name="pk_grants"),
    )
    op.create_index("ix_grants_data_set_id", "grants", ["data_set_id"], unique=False)
    op.create_table(
        "invitations",
        sa.Column("id", ID, nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("data_set_id", ID),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("used_by", sa.String(length=200)),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(ROLE, name="ck_invitations_role"),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_invitations_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_invitations"),
        sa.UniqueConstraint("hash", name="uq_invitations_hash"),
    )
    op.create_table(
        "audit",
        sa.Column("id", ID, nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=200), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )


def downgrade() -> None:
    for table in ("audit", "invitations", "grants"):
        op.drop_table(table)
    for column in ("data_set_id", "cap", "name"):
        op.drop_column("credentials", column)
    op.drop_index("ix_people_external_id", "people")
    op.drop_column("people", "external_id")
    op.drop_column("people", "limited")
