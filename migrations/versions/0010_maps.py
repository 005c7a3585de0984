"""Maps: images of a data set in two dimensions."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "embedding_maps",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("model_id", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("num_images", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        _belongs("data_set_id", "data_sets"),
        _belongs("model_id", "models"),
        sa.PrimaryKeyConstraint("id", name="pk_embedding_maps"),
        sa.UniqueConstraint("data_set_id", "model_id", name="uq_embedding_maps_data_set_id_model_id"),
    )


def _belongs(column: str, to: str) -> sa.ForeignKeyConstraint:
    name = f"fk_embedding_maps_{column}_{to}"
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=name, ondelete="CASCADE")


def downgrade() -> None:
    op.drop_table("embedding_maps")
