"""Explore: words of captions (full text), tags, comments, near duplicates, open suggestions by score."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
STANDS = sa.text("removed_bulk_id is null")
IS_OPEN = sa.text("state = 'open'")

# a plain table of its own: imports stay free of it, and it follows by the highest id that it holds
SQLITE_WORDS = (
    "CREATE VIRTUAL TABLE caption_words USING fts5(words, scope, tokenize = 'unicode61 remove_diacritics 0')",
    "CREATE TRIGGER caption_words_deleted AFTER DELETE ON captions"
    " BEGIN DELETE FROM caption_words WHERE rowid = old.id; END",
    "CREATE TRIGGER caption_words_erased AFTER UPDATE OF text, erased_at ON captions"
    " BEGIN DELETE FROM caption_words WHERE rowid = old.id; END",
)
POSTGRES_WORDS = (
    "CREATE TABLE caption_words (caption_id bigint PRIMARY KEY REFERENCES captions ON DELETE CASCADE,"
    " data_set_id bigint NOT NULL, words tsvector NOT NULL)",
    "CREATE INDEX caption_words_words ON caption_words USING gin (words)",
    "CREATE INDEX caption_words_data_set ON caption_words (data_set_id, caption_id)",
    "CREATE FUNCTION forget_caption_words() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN DELETE FROM caption_words WHERE caption_id = OLD.id; RETURN NULL; END $$",
    "CREATE TRIGGER caption_words_erased AFTER UPDATE OF text, erased_at ON captions"
    " FOR EACH ROW EXECUTE FUNCTION forget_caption_words()",
)


def upgrade() -> None:
    is_postgres = op.get_bind().dialect.name == "postgresql"
    for statement in POSTGRES_WORDS if is_postgres else SQLITE_WORDS:
        op.execute(statement)
    op.create_index(
        "ix_suggestions_open_score",
        "suggestions",
        ["data_set_id", "score", "id"],
        sqlite_where=IS_OPEN,
        postgresql_where=IS_OPEN,
    )
    op.create_table(
        "tags",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        _belongs("tags", "data_set_id", "data_sets"),
        sa.PrimaryKeyConstraint("id", name="pk_tags"),
        sa.UniqueConstraint("data_set_id", "name", name="uq_tags_data_set_id_name"),
    )
    op.create_table(
        "image_tags",
        sa.Column("id", ID, nullable=False),
        sa.Column("tag_id", ID, nullable=False),
        sa.Column("image_id", ID, nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("bulk_id", sa.String(length=36), nullable=False),
        sa.Column("removed_bulk_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        _belongs("image_tags", "tag_id", "tags"),
        _belongs("image_tags", "image_id", "images"),
        sa.PrimaryKeyConstraint("id", name="pk_image_tags"),
    )
    op.create_index(
        "uq_image_tags_standing",
        "image_tags",
        ["tag_id", "image_id"],
        unique=True,
        sqlite_where=STANDS,
        postgresql_where=STANDS,
    )
    for column in ("image_id", "bulk_id", "removed_bulk_id"):
        op.create_index(f"ix_image_tags_{column}", "image_tags", [column])
    op.create_table(
        "comments",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("image_id", ID, nullable=False),
        sa.Column("caption_id", ID, nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        _belongs("comments", "data_set_id", "data_sets"),
        _belongs("comments", "image_id", "images"),
        _belongs("comments", "caption_id", "captions"),
        sa.PrimaryKeyConstraint("id", name="pk_comments"),
    )
    op.create_index("ix_comments_image", "comments", ["image_id", "id"])
    op.create_table(
        "duplicate_groups",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("members_hash", sa.String(length=64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("settled", sa.String(length=10), nullable=True),
        sa.Column("bulk_id", sa.String(length=36), nullable=True),
        sa.Column("retired_pairs", sa.JSON(), nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("kind in ('image', 'caption')", name="ck_duplicate_groups_kind"),
        sa.CheckConstraint("settled in ('same', 'different', 'one')", name="ck_duplicate_groups_settled"),
        _belongs("duplicate_groups", "data_set_id", "data_sets"),
        sa.PrimaryKeyConstraint("id", name="pk_duplicate_groups"),
        sa.UniqueConstraint(
            "data_set_id", "kind", "members_hash", name="uq_duplicate_groups_data_set_id_kind_members_hash"
        ),
    )
    op.create_index("ix_duplicate_groups_page", "duplicate_groups", ["data_set_id", "kind", "id"])
    op.create_table(
        "duplicates",
        sa.Column("group_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        _belongs("duplicates", "group_id", "duplicate_groups"),
        sa.PrimaryKeyConstraint("group_id", "item_id", name="pk_duplicates"),
    )
    op.create_index("ix_duplicates_item_id", "duplicates", ["item_id"])


def _belongs(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{to}.id"], name=f"fk_{table}_{column}_{to}", ondelete="CASCADE"
    )


def downgrade() -> None:
    for table in ("duplicates", "duplicate_groups", "comments", "image_tags", "tags"):
        op.drop_table(table)
    op.drop_index("ix_suggestions_open_score", table_name="suggestions")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER caption_words_erased ON captions")
        op.execute("DROP FUNCTION forget_caption_words()")
    else:
        op.execute("DROP TRIGGER caption_words_erased")
        op.execute("DROP TRIGGER caption_words_deleted")
    op.execute("DROP TABLE caption_words")
