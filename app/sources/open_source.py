"""Which reader reads a source, and what its first rows look like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from app.errors import NearmissError
from app.sources.coco import read_coco
from app.sources.folder import num_rows_of, read_folder
from app.sources.hugging_face import PREFIX, read_hub
from app.sources.parquet import parquet_columns, read_parquet
from app.sources.records import Rows
from app.sources.rows import Rejected, Row
from app.sources.tables import json_columns, read_json_lines, read_table, table_columns
from app.sources.tar_shards import read_shards

TABLES = {".csv": read_table, ".tsv": read_table, ".txt": read_table, ".token": read_table}
TABLES |= {".jsonl": read_json_lines, ".ndjson": read_json_lines, ".parquet": read_parquet}


@dataclass(frozen=True)
class PreviewRow:
    """What an import would make of a row: `reason` when it would be refused."""

    where: str
    image: str = ""
    caption: str = ""
    split: str = ""
    reason: str = ""


def open_source(
    source: str, *, columns: Mapping[str, str] | None = None, roots: Sequence[Path] | None = None
) -> tuple[Rows, int | None]:
    """The rows of a source and about how many there are, where it is known beforehand.

    `columns` maps image, caption and split to a table's own names; with `roots`, pictures that lie under none of
    these folders are refused. Raises NearmissError with the remedy.
    """
    rows, total = _open(source, columns)
    return (rows if roots is None else _inside(rows, [root.resolve() for root in roots])), total


def _inside(rows: Rows, roots: Sequence[Path]) -> Rows:
    for row in rows:
        path = row.image if isinstance(row, Row) and isinstance(row.image, Path) else None
        if path is not None and not any(path.resolve().is_relative_to(root) for root in roots):
            reason = "its picture lies in a folder that may not be read; copy it beside the file"
            yield Rejected(row.where, reason, row.key)
        else:
            yield row


def columns_of(source: str) -> list[str]:
    """The columns of a table, for a person to map; [] where there is nothing to map. Raises NearmissError."""
    path = Path(source).expanduser()
    if path.is_dir():
        found = [*path.glob("metadata.*"), *path.glob("*/metadata.*"), *path.glob("metadata/*.parquet")]
        path = next(
            (p for p in [*sorted(found), *sorted(path.glob("*.parquet"))] if p.suffix in TABLES), path
        )
    kind = path.suffix.lower()
    if not path.is_file() or kind not in TABLES:
        return []
    if kind == ".parquet":
        return parquet_columns(path)
    return json_columns(path) if kind in (".jsonl", ".ndjson") else table_columns(path)


def _open(source: str, columns: Mapping[str, str] | None) -> tuple[Rows, int | None]:
    if source == "demo":
        from app.demo.openmoji import drawings, rows

        return rows(), len(drawings())
    if source.startswith(PREFIX):
        return read_hub(source.removeprefix(PREFIX), wish=columns), None
    path = Path(source).expanduser()
    if path.is_dir():
        return read_folder(path, wish=columns)
    if not path.is_file():
        raise NearmissError(f"there is no folder or file {source!r}; check the path")
    if path.name.lower().endswith((".tar", ".tar.gz", ".tgz")):
        return read_shards([path]), None
    if path.suffix.lower() == ".json":
        return read_coco(path)
    read = TABLES.get(path.suffix.lower())
    if path.suffix.lower() == ".zip":
        raise NearmissError(
            f"{path.name} is a zip; unpack it and name its folder (exports are read like that too)"
        )
    if read is None:
        raise NearmissError(
            f"{path.name} is of no known kind; name a folder, .csv, .tsv, .jsonl, .parquet, .tar or COCO's .json"
        )
    return read(path, root=path.parent, anywhere=True, wish=columns), num_rows_of([path])


def preview_source(
    source: str,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int = 10,
    roots: Sequence[Path] | None = None,
) -> list[PreviewRow]:
    """The first rows as an import would read them. Raises NearmissError."""
    rows, _ = open_source(source, columns=columns, roots=roots)
    return [_preview(row) for row in islice(rows, limit)]


def _preview(row: Row | Rejected) -> PreviewRow:
    if isinstance(row, Rejected):
        return PreviewRow(row.where, reason=row.reason)
    return PreviewRow(row.where, row.key, row.caption[:500], row.split)
