"""Add an import's rows: pictures are kept in the media store before, texts have passed the gate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.store import incoming
from app.store.models import DataSet
from app.store.text import text_hash

MAX_ROWS = 5_000  # a transaction: 50,000 rows pushed the p99 of others to 1 s


@dataclass(frozen=True, slots=True)
class NewRow:
    """A pair to add: `key` is the picture's stable name within the data set, `caption` is clean text."""

    key: str
    sha256: str
    width: int
    height: int
    caption: str
    split: str = "train"


@dataclass(frozen=True)
class Added:
    """How many rows were new; the others were there already, as after a resumed import."""

    num_images: int
    num_captions: int
    num_pairs: int


@dataclass(frozen=True)
class Renewed:
    """What a changed source changed: ids of images with other bytes than before, pairs that came back or changed split."""

    image_ids: list[int]
    num_returned: int
    num_moved: int


@dataclass(frozen=True)
class Place:
    """Where a row came to stand; `n` counts the rows of the call."""

    n: int
    image_id: int
    caption_id: int
    pair_id: int


def add_rows(session: Session, *, data_set_id: int, rows: Sequence[NewRow]) -> Added:
    """Add what is missing of at most 5,000 rows; adding the same rows again changes nothing."""
    if len(rows) > MAX_ROWS:
        raise NearmissError(f"{len(rows)} rows in one transaction; add at most {MAX_ROWS} at a time")
    incoming.load(session, _numbered(rows))
    added = Added(*incoming.spread(session, data_set_id))
    _count(session, data_set_id, added)
    return added


def renew_rows(session: Session, *, data_set_id: int) -> Renewed:
    """After `add_rows` in the same transaction: what its rows say differently from before is taken over."""
    ids = [row[0] for row in incoming.run(session, incoming.CHANGED, data_set_id)]
    if ids:
        incoming.run(session, incoming.RENEW, data_set_id)
    num_returned = incoming.run(session, incoming.RETURNED, data_set_id).rowcount
    num_moved = incoming.run(session, incoming.MOVED, data_set_id).rowcount
    if num_returned:
        _count(session, data_set_id, Added(0, 0, num_returned))
    return Renewed(ids, num_returned, num_moved)


def places_of(session: Session, *, data_set_id: int) -> list[Place]:
    """After `add_rows` in the same transaction: where each of its rows stands."""
    return [Place(*row) for row in incoming.run(session, incoming.PLACES, data_set_id)]


def _numbered(rows: Sequence[NewRow]) -> Iterator[tuple[Any, ...]]:
    keys: set[str] = set()
    texts: set[str] = set()
    for n, row in enumerate(rows):
        sha256 = text_hash(row.caption)
        new_key, new_text = int(row.key not in keys), int(sha256 not in texts)
        keys.add(row.key)
        texts.add(sha256)
        about = (row.sha256, row.width, row.height, row.caption, sha256, row.split)
        yield (n, row.key, *about, new_key, new_text)


def _count(session: Session, data_set_id: int, added: Added) -> None:
    session.execute(
        update(DataSet)
        .where(DataSet.id == data_set_id)
        .values(
            num_images=DataSet.num_images + added.num_images,
            num_captions=DataSet.num_captions + added.num_captions,
            num_pairs=DataSet.num_pairs + added.num_pairs,
        ),
        execution_options={"synchronize_session": "fetch"},
    )
