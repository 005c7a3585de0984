"""Verdicts as files: download in six shapes, take over from this or another tool."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from app.actions.import_data_set import place_of
from app.actions.import_verdicts import BATCH, Taken, import_batch
from app.actions.verdict_files import ENDINGS, NUM_NEGATIVES, VerdictFormat, write_verdicts
from app.api.access import SERVER_ADMIN, Db, Id, Person
from app.errors import NearmissError
from app.sources.rows import Rejected
from app.sources.verdicts import read_verdicts, verdict_columns
from app.store.reads.data_sets import get_data_set

router = APIRouter(prefix="/api/data-sets/{data_set_id}/verdict-files")
TYPES = {"jsonl": "application/jsonl", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


class VerdictSource(BaseModel):
    """A file or `upload:ID`; `columns` maps image, caption, verdict, confidence, person and time to the file's own;
    `words` maps a tool's own words to match, no_match, unsure or broken_pair. `preview`: only look."""

    source: str = Field(min_length=1, max_length=10_000)
    columns: dict[str, str] = Field(default_factory=dict, max_length=6)
    words: dict[str, str] = Field(default_factory=dict, max_length=50)
    preview: bool = False


@dataclass(frozen=True)
class Line:
    """A row as it would be taken over, or `reason` why not."""

    where: str
    image: str = ""
    caption: str = ""
    verdict: str = ""
    reason: str = ""


@dataclass(frozen=True)
class VerdictImport:
    """What came of it; a preview shows columns and first lines. `bulk_id` takes the whole import back (explore/undo)."""

    columns: list[str]
    lines: list[Line]
    num_new: int
    num_same: int
    num_rejected: int
    rejected: list[str]
    bulk_id: str | None


@router.get("/{format}")
def download(
    data_set_id: Id,
    format: VerdictFormat,
    database: Db,
    num_negatives: Annotated[int, Query(ge=1, le=20)] = NUM_NEGATIVES,
) -> StreamingResponse:
    """The standing verdicts: jsonl, parquet, csv, or triplet, labeled-pair, n-tuple for sentence-transformers."""
    with database.reading() as session:
        get_data_set(session, data_set_id)

    def pieces() -> Iterator[bytes]:
        with database.reading() as session:
            yield from write_verdicts(session, data_set_id, format=format, num_negatives=num_negatives)

    ending = ENDINGS.get(format, "jsonl")
    name = f"verdicts-{data_set_id}.{ending}" if format in ENDINGS else f"{format}-{data_set_id}.{ending}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(pieces(), media_type=TYPES[ending], headers=headers)


@router.post("", dependencies=[SERVER_ADMIN])
def take_over(data_set_id: Id, body: VerdictSource, database: Db, person: Person) -> VerdictImport:
    """Import verdicts in batches; the same file again changes nothing."""
    with database.reading() as session:
        get_data_set(session, data_set_id)
    path = _file(database, body.source)
    columns = verdict_columns(path)
    rows = read_verdicts(path, columns={r: c for r, c in body.columns.items() if c}, words=body.words)
    if body.preview:
        return VerdictImport(columns, _first(rows), 0, 0, 0, [], None)
    taken, bulk_id = Taken(), str(uuid4())
    while batch := list(islice(rows, BATCH)):
        with database.transaction() as session:
            import_batch(session, data_set_id, rows=batch, person=person, bulk_id=bulk_id, taken=taken)
    return VerdictImport(
        columns, [], taken.num_new, taken.num_same, taken.num_rejected, taken.rejected, bulk_id
    )


def _file(database: Db, source: str) -> Path:
    """An upload's file, or one that the server may read."""
    with database.reading() as session:
        path = Path(place_of(session, source)[0])
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.is_file())
        path = inside[0] if inside else path
    return path


def _first(rows: Iterator[object]) -> list[Line]:
    """The first lines; while the columns are not mapped yet, one that says which is missing."""
    try:
        return [_line(row) for row in islice(rows, 10)]
    except NearmissError as error:
        return [Line("columns", reason=str(error))]


def _line(row: object) -> Line:
    if isinstance(row, Rejected):
        return Line(row.where, reason=row.reason)
    return Line(row.where, row.image[:200], row.caption[:500], row.verdict)  # type: ignore[attr-defined]
