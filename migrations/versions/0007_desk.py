"""Several people at one queue: leases, second votes, controls; mended captions; indexes for groups and bands."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
GROUPED, OPEN = sa.text("group_key <> ''"), sa.text("state = 'open'")


def upgrade() -> None:
    op.add_column("data_sets", sa.Column("overlap", sa.Float(), server_default="0.1", nullable=False))
    op.add_column("data_sets", sa.Column("control_share", sa.Float(), server_default="0.04", nullable=False))
    no = sa.Column("is_second", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    op.add_column("verdicts", no)
    op.create_table(
        "item_leases",
        sa.Column("suggestion_id", ID, autoincrement=False, nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        _to("item_leases", "suggestion_id", "suggestions"),
        sa.PrimaryKeyConstraint("suggestion_id", name="pk_item_leases"),
    )
    op.create_table(
        "second_votes",
        *_candidate("second_votes"),
        sa.Column("suggestion_id", ID, nullable=False),
        sa.Column("planned", sa.Boolean(), nullable=False),
        sa.Column("first_verdict_id", ID, nullable=False),
        sa.Column("second_verdict_id", ID, nullable=True),
        sa.Column("settled_verdict_id", ID, nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.CheckConstraint(
            "state in ('waiting', 'agreed', 'disputed', 'settled')", name="ck_second_votes_state"
        ),
        _to("second_votes", "suggestion_id", "suggestions"),
        *(_to("second_votes", f"{which}_verdict_id", "verdicts") for which in ("first", "second", "settled")),
    )
    for which in ("first", "second", "settled"):
        op.create_index(f"ix_second_votes_{which}_verdict_id", "second_votes", [f"{which}_verdict_id"])
    op.create_index("ix_second_votes_state", "second_votes", ["data_set_id", "state", "id"])
    op.create_index("ix_second_votes_candidate", "second_votes", ["image_id", "caption_id"])
    op.create_table(
        "controls",
        *_candidate("controls"),
        sa.Column("expected", sa.String(length=20), nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=True),
        sa.Column("answer", sa.String(length=20), nullable=True),
        sa.CheckConstraint("expected in ('match', 'no_match')", name="ck_controls_expected"),
        sa.UniqueConstraint("uuid", name="uq_controls_uuid"),
    )
    op.create_index("ix_controls_person", "controls", ["data_set_id", "person", "answer"])
    op.create_table(
        "mends",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("old_pair_id", ID, nullable=False),
        sa.Column("new_pair_id", ID, nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("undone_at", TIME, nullable=True),
        _to("mends", "data_set_id", "data_sets"),
        _to("mends", "old_pair_id", "pairs"),
        _to("mends", "new_pair_id", "pairs"),
        sa.PrimaryKeyConstraint("id", name="pk_mends"),
    )
    for column in ("data_set_id", "old_pair_id", "new_pair_id"):
        op.create_index(f"ix_mends_{column}", "mends", [column])
    op.create_index(
        "ix_suggestions_group", "suggestions", ["data_set_id", "group_key"],
        sqlite_where=GROUPED, postgresql_where=GROUPED,
    )  # fmt: skip
    op.create_index(
        "ix_suggestions_open_band", "suggestions", ["data_set_id", "proposed", "probability"],
        sqlite_where=OPEN, postgresql_where=OPEN,
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("ix_suggestions_open_band", "suggestions")
    op.drop_index("ix_suggestions_group", "suggestions")
    for table in ("mends", "controls", "second_votes", "item_leases"):
        op.drop_table(table)
    op.drop_column("verdicts", "is_second")
    op.drop_column("data_sets", "control_share")
    op.drop_column("data_sets", "overlap")


def _to(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_{column}_{other}"
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete="CASCADE")


def _candidate(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("image_id", ID, nullable=False),
        sa.Column("caption_id", ID, nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        _to(table, "data_set_id", "data_sets"),
        _to(table, "image_id", "images"),
        _to(table, "caption_id", "captions"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    ]
