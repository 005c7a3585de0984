"""Snapshots in Parquet: the same rows give the same bytes, so that a hash names the data."""

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.media.store import MediaStore

PAIRS = pa.schema(
    [
        ("image_id", pa.int64()),
        ("caption_id", pa.int64()),
        ("image_sha256", pa.string()),
        ("caption", pa.string()),
        ("caption_sha256", pa.string()),
        ("split", pa.string()),
    ]
)
VERDICTS = pa.schema(
    [
        ("image_id", pa.int64()),
        ("caption_id", pa.int64()),
        ("answer", pa.string()),
        ("confidence", pa.float64()),
        ("source", pa.string()),
        ("verdict_id", pa.int64()),
        ("written", pa.string()),  # the text of a caption that stands in no pair: a written negative
    ]
)


@dataclass(frozen=True)
class Frozen:
    """Media keys of the two tables, and the hash that names them together."""

    hash: str
    pairs_key: str
    verdicts_key: str


def put_snapshot(store: MediaStore, *, pairs: dict[str, list[Any]], verdicts: dict[str, list[Any]]) -> Frozen:
    """Keep columns (in the order of their ids) as two Parquet files."""
    pairs_data, verdicts_data = _parquet(pairs, PAIRS), _parquet(verdicts, VERDICTS)
    both = hashlib.sha256(pairs_data).digest() + hashlib.sha256(verdicts_data).digest()
    return Frozen(
        hash=hashlib.sha256(both).hexdigest(),
        pairs_key=store.put(pairs_data, kind="snapshots", suffix=".parquet"),
        verdicts_key=store.put(verdicts_data, kind="snapshots", suffix=".parquet"),
    )


def put_again(
    store: MediaStore, *, pairs: dict[str, list[Any]], verdicts: dict[str, list[Any]]
) -> tuple[str, str]:
    """Keep the tables of a snapshot from which something was erased: their new keys; the snapshot's hash stays its name."""
    return (
        store.put(_parquet(pairs, PAIRS), kind="snapshots", suffix=".parquet"),
        store.put(_parquet(verdicts, VERDICTS), kind="snapshots", suffix=".parquet"),
    )


def get_table(store: MediaStore, key: str) -> pa.Table:
    """The table under a snapshot's key. Raises NotFound."""
    return pq.read_table(pa.BufferReader(store.get(key)))


def _parquet(columns: dict[str, list[Any]], schema: pa.Schema) -> bytes:
    out = io.BytesIO()
    columns = {name: columns.get(name, [None] * len(columns["image_id"])) for name in schema.names}
    pq.write_table(pa.table(columns, schema=schema), out, compression="zstd")
    return out.getvalue()
