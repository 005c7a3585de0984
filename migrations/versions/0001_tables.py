"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:

    op.create_table(
        "data_sets",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("num_images", sa.Integer(), nullable=False),
        sa.Column("num_captions", sa.Integer(), nullable=False),
        sa.Column("num_pairs", sa.Integer(), nullable=False),
        sa.Column("attribution", sa.Text(), nullable=False),
        sa.Column("licence", sa.String(length=200), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_data_sets"),
        sa.UniqueConstraint("name", name="uq_data_sets_name"),
    )
    op.create_table(
        "models",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("pretrained", sa.String(length=200), nullable=False),
        sa.Column("run_id", ID, nullable=True),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("licence", sa.String(length=200), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["models.id"], name="fk_models_parent_id_models"),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("name", name="uq_models_name"),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("queue", sa.String(length=20), nullable=False),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )
    op.create_table(
        "captions",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("erased_at", TIME, nullable=True),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_captions_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_captions"),
        sa.UniqueConstraint("data_set_id", "sha256", name="uq_captions_data_set_id_sha256"),
    )
    op.create_table(
        "embeddings",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("model_id", ID, nullable=False),
        sa.Column("image_key", sa.Text(), nullable=False),
        sa.Column("caption_key", sa.Text(), nullable=False),
        sa.Column("num_images", sa.Integer(), nullable=False),
        sa.Column("num_captions", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_embeddings_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name="fk_embeddings_model_id_models", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_embeddings"),
        sa.UniqueConstraint("data_set_id", "model_id", name="uq_embeddings_data_set_id_model_id"),
    )
    op.create_table(
        "images",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("erased_at", TIME, nullable=True),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_images_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
        sa.UniqueConstraint("data_set_id", "key", name="uq_images_data_set_id_key"),
    )
    op.create_index("ix_images_sha256", "images", ["sha256"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("queue", sa.String(length=20), nullable=False),
        sa.Column("data_set_id", ID, nullable=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("request_key", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("asked_to", sa.String(length=20), nullable=True),
        sa.Column("sent_at", sa.Float(), nullable=True),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("unit", sa.String(length=20), nullable=False),
        sa.Column("rate", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.CheckConstraint("asked_to is null or asked_to in ('cancel', 'pause')", name="ck_jobs_asked_to"),
        sa.CheckConstraint(
            "state in ('queued', 'claimed', 'running', 'pausing', 'paused', 'finished', 'failed', 'cancelled')",
            name="ck_jobs_state",
        ),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_jobs_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("request_key", name="uq_jobs_request_key"),
    )
    op.create_index("ix_jobs_data_set", "jobs", ["data_set_id", "kind", "id"], unique=False)
    op.create_index("ix_jobs_next", "jobs", ["queue", "state", "priority", "id"], unique=False)
    op.create_table(
        "snapshots",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("pairs_key", sa.Text(), nullable=False),
        sa.Column("verdicts_key", sa.Text(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_snapshots_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        sa.UniqueConstraint("hash", name="uq_snapshots_hash"),
    )
    op.create_table(
        "events",
        sa.Column("id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_events_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_job", "events", ["job_id", "id"], unique=False)
    op.create_table(
        "pairs",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("image_id", ID, nullable=False),
        sa.Column("caption_id", ID, nullable=False),
        sa.Column("split", sa.String(length=20), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("split in ('train', 'held_out')", name="ck_pairs_split"),
        sa.ForeignKeyConstraint(
            ["caption_id"], ["captions.id"], name="fk_pairs_caption_id_captions", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_pairs_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name="fk_pairs_image_id_images", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_pairs"),
        sa.UniqueConstraint("image_id", "caption_id", name="uq_pairs_image_id_caption_id"),
    )
    op.create_index("ix_pairs_caption_id", "pairs", ["caption_id"], unique=False)
    op.create_index("ix_pairs_data_set", "pairs", ["data_set_id", "id"], unique=False)
    op.create_index("ix_pairs_image_id", "pairs", ["image_id"], unique=False)
    op.create_index("ix_pairs_page", "pairs", ["data_set_id", "split", "id"], unique=False)
    op.create_table(
        "probes",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("image_id", ID, nullable=True),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("(text is null) <> (image_id is null)", name="ck_probes_one_query"),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_probes_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name="fk_probes_image_id_images", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_probes"),
    )
    op.create_index("ix_probes_data_set_id", "probes", ["data_set_id"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("snapshot_id", ID, nullable=False),
        sa.Column("model_id", ID, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("preset", sa.String(length=40), nullable=False),
        sa.Column("config_yaml", sa.Text(), nullable=False),
        sa.Column("preflight", sa.JSON(), nullable=False),
        sa.Column("metrics_before", sa.JSON(), nullable=True),
        sa.Column("metrics_after", sa.JSON(), nullable=True),
        sa.Column("result_model_id", ID, nullable=True),
        sa.Column("checkpoint_key", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_runs_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_runs_job_id_jobs", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_runs_model_id_models"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name="fk_runs_snapshot_id_snapshots"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("job_id", name="uq_runs_job_id"),
    )
    op.create_index("ix_runs_data_set_id", "runs", ["data_set_id"], unique=False)
    op.create_table(
        "suggestions",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("model_id", ID, nullable=False),
        sa.Column("image_id", ID, nullable=False),
        sa.Column("caption_id", ID, nullable=False),
        sa.Column("proposed", sa.String(length=20), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("impact", sa.Float(), nullable=False),
        sa.Column("uncertainty", sa.Float(), nullable=False),
        sa.Column("shuffle", sa.Float(), nullable=False),
        sa.Column("group_key", sa.String(length=64), nullable=False),
        sa.Column("signals", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(
            "proposed in ('match', 'no_match', 'unsure', 'broken_pair')", name="ck_suggestions_proposed"
        ),
        sa.CheckConstraint("state in ('open', 'decided', 'retired')", name="ck_suggestions_state"),
        sa.ForeignKeyConstraint(
            ["caption_id"], ["captions.id"], name="fk_suggestions_caption_id_captions", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_suggestions_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name="fk_suggestions_image_id_images", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name="fk_suggestions_model_id_models", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_suggestions"),
        sa.UniqueConstraint(
            "model_id", "image_id", "caption_id", name="uq_suggestions_model_id_image_id_caption_id"
        ),
    )
    op.create_index("ix_suggestions_caption", "suggestions", ["caption_id"], unique=False)
    op.create_index("ix_suggestions_image", "suggestions", ["image_id", "caption_id"], unique=False)
    op.create_index(
        "ix_suggestions_open_impact",
        "suggestions",
        ["data_set_id", "impact", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(
        "ix_suggestions_open_shuffle",
        "suggestions",
        ["data_set_id", "shuffle", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(
        "ix_suggestions_open_uncertainty",
        "suggestions",
        ["data_set_id", "uncertainty", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "verdicts",
        sa.Column("id", ID, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("image_id", ID, nullable=False),
        sa.Column("caption_id", ID, nullable=False),
        sa.Column("answer", sa.String(length=20), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("model_id", ID, nullable=True),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("retracts_id", ID, nullable=True),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(
            "answer is null or answer in ('match', 'no_match', 'unsure', 'broken_pair')",
            name="ck_verdicts_answer",
        ),
        sa.CheckConstraint("(answer is null) = (retracts_id is not null)", name="ck_verdicts_undo"),
        sa.ForeignKeyConstraint(
            ["caption_id"], ["captions.id"], name="fk_verdicts_caption_id_captions", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["data_set_id"], ["data_sets.id"], name="fk_verdicts_data_set_id_data_sets", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name="fk_verdicts_image_id_images", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_verdicts_model_id_models"),
        sa.ForeignKeyConstraint(["retracts_id"], ["verdicts.id"], name="fk_verdicts_retracts_id_verdicts"),
        sa.PrimaryKeyConstraint("id", name="pk_verdicts"),
        sa.UniqueConstraint("retracts_id", name="uq_verdicts_retracts_id"),
        sa.UniqueConstraint("uuid", name="uq_verdicts_uuid"),
    )
    op.create_index("ix_verdicts_candidate", "verdicts", ["image_id", "caption_id", "id"], unique=False)
    op.create_index("ix_verdicts_data_set", "verdicts", ["data_set_id", "id"], unique=False)
    op.create_index("ix_verdicts_person", "verdicts", ["person", "id"], unique=False)
    op.create_table(
        "current_verdicts",
        sa.Column("image_id", ID, nullable=False),
        sa.Column("caption_id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("verdict_id", ID, nullable=False),
        sa.Column("answer", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["caption_id"],
            ["captions.id"],
            name="fk_current_verdicts_caption_id_captions",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["data_set_id"],
            ["data_sets.id"],
            name="fk_current_verdicts_data_set_id_data_sets",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name="fk_current_verdicts_image_id_images", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["verdict_id"],
            ["verdicts.id"],
            name="fk_current_verdicts_verdict_id_verdicts",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("image_id", "caption_id", name="pk_current_verdicts"),
    )
    op.create_index(
        "ix_current_verdicts_data_set",
        "current_verdicts",
        ["data_set_id", "answer", "verdict_id"],
        unique=False,
    )
    op.create_table(
        "previews",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("probe_id", ID, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("result_ids", sa.JSON(), nullable=False),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["probe_id"], ["probes.id"], name="fk_previews_probe_id_probes", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_previews_run_id_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_previews"),
        sa.UniqueConstraint("run_id", "probe_id", "step", name="uq_previews_run_id_probe_id_step"),
    )
