"""Parquet, read in small batches: pictures as paths, as bytes, or as Hugging Face writes them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import NearmissError
from app.sources.records import Rows, map_columns, rows_of
from app.sources.rows import Rejected
from app.sources.tables import Wish

BATCH = 64  # rows; they may carry pictures
MAX_GROUP_BYTES = 2 << 30  # a row group that unpacks to more is refused before it is read


def read_parquet(path: Path, *, root: Path, anywhere: bool, wish: Wish = None) -> Rows:
    """The rows of one file. Raises NearmissError for a file that is no Parquet or lacks the columns."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NearmissError(f"{path.name} is no Parquet file ({_short(error)}); write it again") from None
    columns = map_columns(file.schema_arrow.names, source=path.name, wish=wish)
    wanted = [columns.image, *columns.captions]
    wanted += [columns.split] if columns.split in file.schema_arrow.names else []
    start = 0
    for group in range(file.num_row_groups):
        number, start = start, start + file.metadata.row_group(group).num_rows
        num_bytes = file.metadata.row_group(group).total_byte_size
        if num_bytes > MAX_GROUP_BYTES:
            yield Rejected(
                f"row group {group + 1}",
                f"it unpacks to {num_bytes:,} bytes; write smaller groups",
                unread=True,
            )
            continue
        try:
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=wanted):
                for record in batch.to_pylist():
                    number += 1
                    where = f"{path.name} row {number}"
                    yield from rows_of(record, columns, root=root, where=where, anywhere=anywhere)
        except (pa.ArrowException, OSError, ValueError) as error:
            said = f"it is damaged ({_short(error)}); write the file again"
            yield Rejected(f"row group {group + 1}", said, unread=True)


def num_parquet_rows(path: Path) -> int | None:
    """How many rows its footer promises; None where it has none."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError, ValueError):
        return None


def parquet_columns(path: Path) -> list[str]:
    """The names of its columns. Raises NearmissError."""
    try:
        return [str(name) for name in pq.read_schema(path).names]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NearmissError(f"{path.name} is no Parquet file ({_short(error)}); write it again") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
