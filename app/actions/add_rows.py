"""Add an import's rows: pictures are kept in the media store before, texts have passed the gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.store.insert import CHUNK, insert_missing
from app.store.models import Caption, DataSet, Image, Pair
from app.store.text import text_hash

MAX_ROWS = 5_000  # a transaction: 50,000 rows pushed the p99 of others to 1 s


@dataclass(frozen=True)
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


def add_rows(session: Session, *, data_set_id: int, rows: Sequence[NewRow]) -> Added:
    """Add what is missing of at most 5,000 rows; adding the same rows again changes nothing."""
    if len(rows) > MAX_ROWS:
        raise NearmissError(f"{len(rows)} rows in one transaction; add at most {MAX_ROWS} at a time")
    images = {row.key: row for row in rows}
    texts = {text_hash(row.caption): row.caption for row in rows}
    new_images = [
        {"data_set_id": data_set_id, "key": r.key, "sha256": r.sha256, "width": r.width, "height": r.height}
        for r in images.values()
    ]
    new_texts = [{"data_set_id": data_set_id, "sha256": h, "text": text} for h, text in texts.items()]
    num_images = insert_missing(session, Image, new_images, key=["data_set_id", "key"])
    num_captions = insert_missing(session, Caption, new_texts, key=["data_set_id", "sha256"])
    image_ids = _ids(session, Image.key, Image.id, Image.data_set_id == data_set_id, list(images))
    caption_ids = _ids(session, Caption.sha256, Caption.id, Caption.data_set_id == data_set_id, list(texts))
    pairs: dict[tuple[int, int], dict[str, Any]] = {}
    for row in rows:
        both = image_ids[row.key], caption_ids[text_hash(row.caption)]
        pairs.setdefault(both, _pair(data_set_id, both, row.split))
    num_pairs = insert_missing(session, Pair, list(pairs.values()), key=["image_id", "caption_id"])
    added = Added(num_images=num_images, num_captions=num_captions, num_pairs=num_pairs)
    _count(session, data_set_id, added)
    return added


def _pair(data_set_id: int, both: tuple[int, int], split: str) -> dict[str, Any]:
    return {"data_set_id": data_set_id, "image_id": both[0], "caption_id": both[1], "split": split}


def _ids(session: Session, name: Any, id_: Any, where: Any, names: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(names), CHUNK):
        chunk = select(name, id_).where(where, name.in_(names[start : start + CHUNK]))
        found |= {row[0]: row[1] for row in session.execute(chunk)}
    return found


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
