"""The tables. Times are UTC, written by the database; texts have passed `app.store.text.clean`.

Vocabulary: docs/decisions.md and the glossary in the README. Verdicts are append-only; `current_verdicts`
is their projection, kept in the same transaction, so that a queue never has to scan the log.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Answer = Literal["match", "no_match", "unsure", "broken_pair"]
JobKind = Literal["import", "embed", "mine", "rank", "fine_tune", "export", "push", "map", "measure"]
JobState = Literal["queued", "claimed", "running", "pausing", "paused", "finished", "failed", "cancelled"]
ANSWERS: tuple[str, ...] = get_args(Answer)
JOB_STATES: tuple[str, ...] = get_args(JobState)


class Utc(TypeDecorator[datetime]):
    """A time that comes back aware of its zone, UTC, from SQLite too."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """SQLite hands out naive times; they were written in UTC."""
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER
Created = Annotated[datetime, mapped_column(Utc(), server_default=func.now())]


class Table(DeclarativeBase):
    """Root of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class DataSet(Table):
    """A collection of pairs, imported from one source."""

    __tablename__ = "data_sets"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    source: Mapped[str] = mapped_column(Text, default="")  # what a person named: a folder, a file, "demo"
    num_images: Mapped[int] = mapped_column(default=0)  # counted at import, so that no page counts rows
    num_captions: Mapped[int] = mapped_column(default=0)
    num_pairs: Mapped[int] = mapped_column(default=0)
    attribution: Mapped[str] = mapped_column(Text, default="")  # shown in the page beside the pictures
    licence: Mapped[str] = mapped_column(String(200), default="")
    overlap: Mapped[float] = mapped_column(Float, default=0.1, server_default="0.1")  # share judged by two
    control_share: Mapped[float] = mapped_column(Float, default=0.04, server_default="0.04")
    created_at: Mapped[Created]


class Image(Table):
    """A picture: its bytes lie in the media store under `sha256`."""

    __tablename__ = "images"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(Text)  # stable within the data set: the path in its source
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    width: Mapped[int]
    height: Mapped[int]
    erased_at: Mapped[datetime | None] = mapped_column(Utc())
    created_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("data_set_id", "key"),)


class Caption(Table):
    """A text; identical texts of one data set share one row."""

    __tablename__ = "captions"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    text: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    erased_at: Mapped[datetime | None] = mapped_column(Utc())
    created_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("data_set_id", "sha256"),)


class Pair(Table):
    """An image and a caption that the data set puts together."""

    __tablename__ = "pairs"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), index=True)
    caption_id: Mapped[int] = mapped_column(ForeignKey("captions.id", ondelete="CASCADE"), index=True)
    split: Mapped[str] = mapped_column(String(20), default="train")  # train or held_out
    created_at: Mapped[Created]
    retired_at: Mapped[datetime | None] = mapped_column(Utc())  # when a re-import no longer found it
    __table_args__ = (
        UniqueConstraint("image_id", "caption_id"),
        CheckConstraint("split in ('train', 'held_out')", name="split"),
        Index("ix_pairs_page", "data_set_id", "split", "id"),
        Index("ix_pairs_data_set", "data_set_id", "id"),
    )


class Model(Table):
    """A checkpoint with its lineage: an open_clip name, a local folder, or what a run produced."""

    __tablename__ = "models"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    location: Mapped[str] = mapped_column(Text)  # open_clip's own spelling, or media:KEY for a run's result
    pretrained: Mapped[str] = mapped_column(String(200), default="")
    run_id: Mapped[int | None] = mapped_column(Id)  # the run that made it; no cycle of foreign keys
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("models.id"))
    licence: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[Created]


class Embedding(Table):
    """Where the vectors of one model for one data set lie: float16 rows aligned with `ids` in the file."""

    __tablename__ = "embeddings"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    image_key: Mapped[str] = mapped_column(Text)  # media keys
    caption_key: Mapped[str] = mapped_column(Text)
    num_images: Mapped[int]
    num_captions: Mapped[int]
    created_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("data_set_id", "model_id"),)


def _open_index(order: str) -> Index:
    """Only open suggestions are indexed for the queue, so that decided ones never slow it."""
    is_open = text("state = 'open'")
    name = f"ix_suggestions_open_{order}"
    return Index(name, "data_set_id", order, "id", sqlite_where=is_open, postgresql_where=is_open)


class Suggestion(Table):
    """A candidate with a proposed verdict, a probability, and the signals behind it."""

    __tablename__ = "suggestions"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    caption_id: Mapped[int] = mapped_column(ForeignKey("captions.id", ondelete="CASCADE"))
    proposed: Mapped[str] = mapped_column(String(20))  # an Answer
    probability: Mapped[float] = mapped_column(Float)  # that the caption truly describes the image
    score: Mapped[float] = mapped_column(Float)  # cosine under the model
    impact: Mapped[float] = mapped_column(Float)  # orders the queue; larger comes first
    uncertainty: Mapped[float] = mapped_column(Float)  # 1 at a probability of one half, 0 at 0 or 1
    shuffle: Mapped[float] = mapped_column(Float)  # a fixed random number, for the random part of the queue
    group_key: Mapped[str] = mapped_column(String(64), default="")  # near-duplicates share one decision
    signals: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)  # name → number
    reasons: Mapped[list[str]] = mapped_column(JSON, default=list)  # short sentences
    state: Mapped[str] = mapped_column(String(10), default="open")  # open, decided, or retired by a new model
    created_at: Mapped[Created]
    __table_args__ = (
        UniqueConstraint("model_id", "image_id", "caption_id"),
        CheckConstraint(f"proposed in {ANSWERS!r}", name="proposed"),
        CheckConstraint("state in ('open', 'decided', 'retired')", name="state"),
        _open_index("impact"),
        _open_index("uncertainty"),
        _open_index("shuffle"),
        _open_index("score"),
        Index("ix_suggestions_image", "image_id", "caption_id"),
        Index("ix_suggestions_caption", "caption_id"),
        Index(
            "ix_suggestions_group",
            "data_set_id",
            "group_key",
            sqlite_where=text("group_key <> ''"),
            postgresql_where=text("group_key <> ''"),
        ),
        Index(
            "ix_suggestions_open_band",
            "data_set_id",
            "proposed",
            "probability",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )


class Verdict(Table):
    """One answer of one person, never changed; `retracts_id` makes a row an undo of another."""

    __tablename__ = "verdicts"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36), unique=True)  # made by the client: a retry is idempotent
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    caption_id: Mapped[int] = mapped_column(ForeignKey("captions.id", ondelete="CASCADE"))
    answer: Mapped[str | None] = mapped_column(String(20))  # None on an undo
    confidence: Mapped[float] = mapped_column(Float, default=1.0)
    person: Mapped[str] = mapped_column(String(200))
    source: Mapped[str] = mapped_column(String(20), default="manual")  # manual, blind, bulk, import or api
    # a vote on what another person had decided already: it is counted, and what stands stays
    is_second: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    model_id: Mapped[int | None] = mapped_column(ForeignKey("models.id"))  # whose score was shown
    score: Mapped[float | None] = mapped_column(Float)
    retracts_id: Mapped[int | None] = mapped_column(ForeignKey("verdicts.id"), unique=True)
    bulk_id: Mapped[str | None] = mapped_column(String(36), index=True)  # what was decided in one step
    created_at: Mapped[Created]
    __table_args__ = (
        CheckConstraint(f"answer is null or answer in {ANSWERS!r}", name="answer"),
        CheckConstraint("(answer is null) = (retracts_id is not null)", name="undo"),
        Index("ix_verdicts_candidate", "image_id", "caption_id", "id"),
        Index("ix_verdicts_data_set", "data_set_id", "id"),
        Index("ix_verdicts_person", "person", "id"),
    )


class CurrentVerdict(Table):
    """The latest standing verdict on an image and a caption."""

    __tablename__ = "current_verdicts"
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    caption_id: Mapped[int] = mapped_column(ForeignKey("captions.id", ondelete="CASCADE"), primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    verdict_id: Mapped[int] = mapped_column(ForeignKey("verdicts.id", ondelete="CASCADE"))
    answer: Mapped[str] = mapped_column(String(20))
    __table_args__ = (Index("ix_current_verdicts_data_set", "data_set_id", "answer", "verdict_id"),)


class ItemLease(Table):
    """Whose desk a suggestion lies on; nobody else is asked until it is answered or the time is over."""

    __tablename__ = "item_leases"
    suggestion_id: Mapped[int] = mapped_column(
        ForeignKey("suggestions.id", ondelete="CASCADE"), primary_key=True
    )
    person: Mapped[str] = mapped_column(String(200))
    until: Mapped[float] = mapped_column(Float)  # epoch seconds of the database's clock


class SecondVote(Table):
    """Two people's votes on one candidate; `waiting` until somebody else has judged it too."""

    __tablename__ = "second_votes"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    caption_id: Mapped[int] = mapped_column(ForeignKey("captions.id", ondelete="CASCADE"))
    suggestion_id: Mapped[int] = mapped_column(ForeignKey("suggestions.id", ondelete="CASCADE"))
    planned: Mapped[bool]  # asked on purpose; else two people were at it at once
    first_verdict_id: Mapped[int] = mapped_column(ForeignKey("verdicts.id", ondelete="CASCADE"), index=True)
    second_verdict_id: Mapped[int | None] = mapped_column(
        ForeignKey("verdicts.id", ondelete="CASCADE"), index=True
    )
    settled_verdict_id: Mapped[int | None] = mapped_column(
        ForeignKey("verdicts.id", ondelete="CASCADE"), index=True
    )
    state: Mapped[str] = mapped_column(String(10), default="waiting")
    created_at: Mapped[Created]
    __table_args__ = (
        CheckConstraint("state in ('waiting', 'agreed', 'disputed', 'settled')", name="state"),
        Index("ix_second_votes_state", "data_set_id", "state", "id"),
        Index("ix_second_votes_candidate", "image_id", "caption_id"),
    )


class Control(Table):
    """A question whose answer is known, mixed into a person's queue. Its answer measures; it is no verdict."""

    __tablename__ = "controls"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    caption_id: Mapped[int] = mapped_column(ForeignKey("captions.id", ondelete="CASCADE"))
    expected: Mapped[str] = mapped_column(String(20))  # match of a known pair, no_match of a random one
    person: Mapped[str] = mapped_column(String(200))
    uuid: Mapped[str | None] = mapped_column(String(36), unique=True)  # of the answer
    answer: Mapped[str | None] = mapped_column(String(20))
    created_at: Mapped[Created]
    __table_args__ = (
        CheckConstraint("expected in ('match', 'no_match')", name="expected"),
        Index("ix_controls_person", "data_set_id", "person", "answer"),
    )


class Mend(Table):
    """A corrected caption: the broken pair was retired and a new one took its place."""

    __tablename__ = "mends"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"), index=True)
    old_pair_id: Mapped[int] = mapped_column(ForeignKey("pairs.id", ondelete="CASCADE"), index=True)
    new_pair_id: Mapped[int] = mapped_column(ForeignKey("pairs.id", ondelete="CASCADE"), index=True)
    person: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[Created]
    undone_at: Mapped[datetime | None] = mapped_column(Utc())


class BulkCheck(Table):
    """A blind random sample that decides whether a slice of the queue may be accepted in one step."""

    __tablename__ = "bulk_checks"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"), index=True)
    proposed: Mapped[str] = mapped_column(String(20))  # with the band, the rule of the slice
    min_probability: Mapped[float] = mapped_column(Float)
    max_probability: Mapped[float] = mapped_column(Float)
    image_ids: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))  # null: of all images
    target_error: Mapped[float] = mapped_column(Float)
    alpha: Mapped[float] = mapped_column(Float)  # the level of this try
    attempt: Mapped[int]
    seed: Mapped[int] = mapped_column(Id)
    person: Mapped[str] = mapped_column(String(200))
    last_suggestion_id: Mapped[int] = mapped_column(Id)  # the slice holds none that came later
    last_verdict_id: Mapped[int] = mapped_column(Id)  # only later answers count
    slice_size: Mapped[int]
    sample_ids: Mapped[list[int]] = mapped_column(JSON)  # suggestions, in the order of the draw
    num_errors: Mapped[int | None]  # written when the sample is complete, before anybody sees it; never again
    bulk_id: Mapped[str] = mapped_column(String(36), unique=True)
    state: Mapped[str] = mapped_column(String(10), default="open")  # open, applied or undone
    created_at: Mapped[Created]
    __table_args__ = (
        CheckConstraint(f"proposed in {ANSWERS!r}", name="proposed"),
        CheckConstraint("state in ('open', 'applied', 'undone')", name="state"),
    )


class Guidelines(Table):
    """One version of what the annotators of a data set agreed on; the newest counts."""

    __tablename__ = "guidelines"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    text: Mapped[str] = mapped_column(Text)
    person: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[Created]
    __table_args__ = (Index("ix_guidelines_data_set", "data_set_id", "id"),)


def _standing_tag(name: str, *columns: str, unique: bool = False) -> Index:
    """Only tags that were not taken off are indexed; what was taken off is history."""
    stands = text("removed_bulk_id is null")
    return Index(name, *columns, unique=unique, sqlite_where=stands, postgresql_where=stands)


class Tag(Table):
    """A word of the team's own for images of a data set."""

    __tablename__ = "tags"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("data_set_id", "name"),)


class ImageTag(Table):
    """A tag on an image, from the step that put it on to the step that took it off; either is undone as one."""

    __tablename__ = "image_tags"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    tag_id: Mapped[int] = mapped_column(ForeignKey("tags.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), index=True)
    person: Mapped[str] = mapped_column(String(200))
    bulk_id: Mapped[str] = mapped_column(String(36), index=True)
    removed_bulk_id: Mapped[str | None] = mapped_column(String(36), index=True)
    created_at: Mapped[Created]
    __table_args__ = (_standing_tag("uq_image_tags_standing", "tag_id", "image_id", unique=True),)


class Comment(Table):
    """What a person noted about an image, or about one caption of it."""

    __tablename__ = "comments"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    caption_id: Mapped[int | None] = mapped_column(ForeignKey("captions.id", ondelete="CASCADE"))
    text: Mapped[str] = mapped_column(Text)
    person: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[Created]
    __table_args__ = (Index("ix_comments_image", "image_id", "id"),)


class EmbeddingMap(Table):
    """Where the images of a data set lie in two dimensions, under one model: columns in the media store."""

    __tablename__ = "embedding_maps"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(Text)  # media key
    num_images: Mapped[int]
    created_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("data_set_id", "model_id"),)


class DuplicateGroup(Table):
    """Images or captions that are near duplicates of each other, as the latest mining found them."""

    __tablename__ = "duplicate_groups"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(10))  # image or caption
    members_hash: Mapped[str] = mapped_column(
        String(64)
    )  # of the ids: a settled group that stays the same stays settled
    size: Mapped[int]
    settled: Mapped[str | None] = mapped_column(String(10))  # same, different or one: how a person settled it
    bulk_id: Mapped[str | None] = mapped_column(String(36))  # of the verdicts that came with it
    retired_pairs: Mapped[list[int]] = mapped_column(JSON, default=list)  # ids, for the undo
    person: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[Created]
    __table_args__ = (
        UniqueConstraint("data_set_id", "kind", "members_hash"),
        CheckConstraint("kind in ('image', 'caption')", name="kind"),
        CheckConstraint("settled in ('same', 'different', 'one')", name="settled"),
        Index("ix_duplicate_groups_page", "data_set_id", "kind", "id"),
    )


class Duplicate(Table):
    """A member of a group: an image's or a caption's id."""

    __tablename__ = "duplicates"
    group_id: Mapped[int] = mapped_column(
        ForeignKey("duplicate_groups.id", ondelete="CASCADE"), primary_key=True
    )
    item_id: Mapped[int] = mapped_column(Id, primary_key=True, index=True)


class Snapshot(Table):
    """Frozen data and verdicts, named by the hash of their content (Parquet in the media store)."""

    __tablename__ = "snapshots"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    pairs_key: Mapped[str] = mapped_column(Text)  # media keys
    verdicts_key: Mapped[str] = mapped_column(Text)
    counts: Mapped[dict[str, int]] = mapped_column(JSON)  # pairs, held_out, and one entry per answer
    created_at: Mapped[Created]


class Job(Table):
    """Work that outlives a request. The row is the truth; a queue message is only a wake-up.

    A worker holds it by a lease: `token` (a fencing number, one more at each claim) and `lease_until`.
    """

    __tablename__ = "jobs"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    queue: Mapped[str] = mapped_column(String(20))  # gpu or cpu
    data_set_id: Mapped[int | None] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    request: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)  # ids and options of the work
    request_key: Mapped[str | None] = mapped_column(String(64), unique=True)  # idempotency of the submit
    state: Mapped[str] = mapped_column(String(20), default="queued")
    priority: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)  # since the last progress that was saved
    token: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str] = mapped_column(String(200), default="")
    lease_until: Mapped[float | None] = mapped_column(Float)  # epoch seconds of the database's clock
    asked_to: Mapped[str | None] = mapped_column(String(20))  # cancel or pause
    sent_at: Mapped[float | None] = mapped_column(
        Float
    )  # epoch seconds of the last wake-up; None: the broker has none
    done: Mapped[int] = mapped_column(default=0)  # progress in `unit`s
    total: Mapped[int] = mapped_column(default=0)
    unit: Mapped[str] = mapped_column(String(20), default="")
    rate: Mapped[float | None] = mapped_column(Float)  # units per second
    reason: Mapped[str] = mapped_column(Text, default="")  # why it waits, failed or was cancelled
    created_by: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[Created]
    started_at: Mapped[datetime | None] = mapped_column(Utc())
    finished_at: Mapped[datetime | None] = mapped_column(Utc())
    __table_args__ = (
        CheckConstraint(f"state in {JOB_STATES!r}", name="state"),
        CheckConstraint("asked_to is null or asked_to in ('cancel', 'pause')", name="asked_to"),
        Index("ix_jobs_next", "queue", "state", "priority", "id"),
        Index("ix_jobs_data_set", "data_set_id", "kind", "id"),
    )


class Worker(Table):
    """A worker that says every few seconds that it is there: how the page knows whether a job can start."""

    __tablename__ = "workers"
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    queue: Mapped[str] = mapped_column(String(20))
    about: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)  # host, process id, device, version
    seen_at: Mapped[float] = mapped_column(Float)  # epoch seconds of the database's clock


class Run(Table):
    """One fine-tune job: a frozen configuration on a snapshot, from a model to a model."""

    __tablename__ = "runs"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"), index=True)
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshots.id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))  # where it starts from
    name: Mapped[str] = mapped_column(String(200))
    preset: Mapped[str] = mapped_column(String(40), default="")
    config_yaml: Mapped[str] = mapped_column(Text)  # clipcore.config, frozen
    preflight: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)  # counts shown before the launch
    metrics_before: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    metrics_after: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    result_model_id: Mapped[int | None] = mapped_column(Id)
    checkpoint_key: Mapped[str] = mapped_column(Text, default="")  # media key of the exported checkpoint
    experiment: Mapped[str | None] = mapped_column(String(36), index=True)  # arms of one comparison share it
    created_at: Mapped[Created]


class Event(Table):
    """What a job reported; the page reads `where job_id = … and id > …`."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(40))  # step, evaluated, preview, saved, log, state
    step: Mapped[int | None]
    body: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    key: Mapped[str | None] = mapped_column(
        String(40)
    )  # "TOKEN-NUMBER" of a worker's report: written twice, kept once
    created_at: Mapped[Created]
    __table_args__ = (
        Index("ix_events_job", "job_id", "id"),
        Index("uq_events_job_key", "job_id", "key", unique=True),
    )


class Probe(Table):
    """A query whose results are watched: a text, or an image of the data set."""

    __tablename__ = "probes"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    data_set_id: Mapped[int] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"), index=True)
    text: Mapped[str | None] = mapped_column(Text)
    image_id: Mapped[int | None] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    created_at: Mapped[Created]
    __table_args__ = (CheckConstraint("(text is null) <> (image_id is null)", name="one_query"),)


class Preview(Table):
    """A probe's results at a step of a run: ids and scores, best first."""

    __tablename__ = "previews"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    probe_id: Mapped[int] = mapped_column(ForeignKey("probes.id", ondelete="CASCADE"))
    step: Mapped[int]
    result_ids: Mapped[list[int]] = mapped_column(JSON)
    scores: Mapped[list[float]] = mapped_column(JSON)
    created_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("run_id", "probe_id", "step"),)


class PersonRow(Table):
    """A person with an account; while there is none, the single local user needs no log-in."""

    __tablename__ = "people"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    role: Mapped[str] = mapped_column(String(20))  # viewer, annotator or admin, on every data set …
    limited: Mapped[bool] = mapped_column(default=False, server_default=false())  # … or only where granted
    password_hash: Mapped[str] = mapped_column(String(200))  # argon2id; empty: only from outside
    external_id: Mapped[str | None] = mapped_column(String(400))  # issuer and subject of an OIDC log-in
    created_at: Mapped[Created]
    __table_args__ = (
        CheckConstraint("role in ('viewer', 'annotator', 'admin')", name="role"),
        Index("ix_people_external_id", "external_id", unique=True),
    )


class Grant(Table):
    """A person's role on one data set, beyond the role that they have everywhere."""

    __tablename__ = "grants"
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), primary_key=True)
    data_set_id: Mapped[int] = mapped_column(
        ForeignKey("data_sets.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[Created]
    __table_args__ = (CheckConstraint("role in ('viewer', 'annotator', 'admin')", name="role"),)


class Invitation(Table):
    """A link that makes one account; only its secret's SHA-256 is kept."""

    __tablename__ = "invitations"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    data_set_id: Mapped[int | None] = mapped_column(ForeignKey("data_sets.id", ondelete="CASCADE"))
    created_by: Mapped[str] = mapped_column(String(200))
    used_by: Mapped[str | None] = mapped_column(String(200))
    expires_at: Mapped[float] = mapped_column(Float)  # epoch seconds of the database's clock
    created_at: Mapped[Created]
    __table_args__ = (CheckConstraint("role in ('viewer', 'annotator', 'admin')", name="role"),)


class Credential(Table):
    """A secret that stands for a person until it expires; only its SHA-256 is kept."""

    __tablename__ = "credentials"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(10))  # session (a browser's cookie) or token (a program's)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200), default="", server_default="")
    cap: Mapped[str | None] = mapped_column(String(20))  # a token's role, at most its person's
    data_set_id: Mapped[int | None] = mapped_column(
        Id
    )  # a token's only data set; ids are checked at each use
    expires_at: Mapped[float] = mapped_column(Float)  # epoch seconds of the database's clock
    created_at: Mapped[Created]
    __table_args__ = (CheckConstraint("kind in ('session', 'token')", name="kind"),)


class AuditEntry(Table):
    """Who did what; never changed. Verdicts are their own log."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    person: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(200))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[Created]
