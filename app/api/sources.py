"""What an import can come from: folders of the server, uploads in pieces, and how their rows would be read."""

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.actions.import_data_set import place_of, uploads_of
from app.actions.import_roots import import_roots
from app.api.access import MAX_ID, SERVER_ADMIN, Db, Person
from app.errors import NearmissError, NotFound
from app.media.uploads import CHUNK_BYTES, Upload
from app.sources.folder import PICTURES
from app.sources.open_source import PreviewRow, columns_of, preview_source

router = APIRouter(prefix="/api", dependencies=[SERVER_ADMIN])
MAX_ENTRIES = 1000
MAX_LOOKED_AT = 200_000  # of a folder's files, so that a gigantic one answers too
Name = Annotated[str, Query(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class Entry:
    """A folder, or a file with its bytes."""

    name: str
    path: str
    is_folder: bool
    num_bytes: int


@dataclass(frozen=True)
class Folder:
    """What lies in a folder of the server; `parent` is None where one may go no higher."""

    path: str
    parent: str | None
    entries: list[Entry]
    shortened: bool


@dataclass(frozen=True)
class Preview:
    """A source's columns, for a person to map, and its first rows as an import would read them."""

    columns: list[str]
    rows: list[PreviewRow]
    problem: str  # why no row could be read, "" otherwise


@dataclass(frozen=True)
class Arrived:
    """How many bytes of the file are there."""

    num_bytes: int


class Source(BaseModel):
    """A folder, a file, `upload:ID` or `hf:OWNER/NAME`; `columns` maps image, caption and split to columns."""

    source: str = Field(min_length=1, max_length=10_000)
    columns: dict[str, str] = Field(default_factory=dict, max_length=3)


@router.get("/folders")
def folders(database: Db, path: Annotated[str, Query(max_length=4096)] = "") -> Folder:
    """A folder's content; without `path` the first allowed one, or the home folder where all are."""
    with database.reading() as session:
        roots = import_roots(session)
    at = _folder(path, roots)
    entries, shortened = _entries(at, roots)
    parent = at.parent if at not in roots and any(at.parent.is_relative_to(root) for root in roots) else None
    return Folder(str(at), str(parent) if parent else None, entries, shortened)


@router.post("/previews")
def preview(body: Source, database: Db) -> Preview:
    """The first rows; a source that cannot be read without columns mapped answers with its columns and the problem."""
    with database.reading() as session:
        place, roots = place_of(session, body.source)
    wish = {role: name for role, name in body.columns.items() if name}
    found = columns_of(place) if roots is not None else []
    try:
        return Preview(_sayable(found), preview_source(place, columns=wish, roots=roots), "")
    except NearmissError as error:
        if not found:
            raise
        return Preview(_sayable(found), [], str(error))


@router.post("/uploads")
def begin_upload(database: Db, person: Person) -> Upload:
    """A new, empty upload: send its files in pieces, then import `upload:ID`."""
    return uploads_of(database.settings).begin(person)


@router.get("/uploads/{upload_id}")
def upload(upload_id: str, database: Db) -> Upload:
    """What has arrived."""
    return uploads_of(database.settings).look(upload_id)


@router.get("/uploads/{upload_id}/file")
def upload_file(upload_id: str, name: Name, database: Db) -> Arrived:
    """Where to go on after a lost connection."""
    return Arrived(uploads_of(database.settings).size(upload_id, name))


@router.put(
    "/uploads/{upload_id}/file",
    openapi_extra={
        "requestBody": {
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        }
    },
)
async def add_piece(
    upload_id: str,
    name: Name,
    request: Request,
    database: Db,
    offset: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
) -> Arrived:
    """A piece of at most 1 MiB at the end of the file `name`; sending it again changes nothing."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > CHUNK_BYTES:
            raise NearmissError(f"the piece has more than {CHUNK_BYTES:,} bytes; send less at a time")
    uploads = uploads_of(database.settings)
    return Arrived(await run_in_threadpool(uploads.add, upload_id, name, offset=offset, data=data))


@router.delete("/uploads/{upload_id}")
def delete_upload(upload_id: str, database: Db) -> Arrived:
    """Forget an upload."""
    uploads_of(database.settings).delete(upload_id)
    return Arrived(0)


def _folder(path: str, roots: list[Path]) -> Path:
    if not path:
        home = Path.home().resolve()
        return home if any(home.is_relative_to(root) for root in roots) and home.is_dir() else roots[0]
    try:
        at = Path(path).expanduser().resolve()
        is_folder = at.is_dir()
    except (OSError, ValueError, RuntimeError):
        raise NotFound("there is no such folder on the server; choose another") from None
    if not is_folder or not any(at.is_relative_to(root) for root in roots):
        raise NotFound("there is no such folder on the server, or it may not be read; choose another")
    return at


def _entries(at: Path, roots: list[Path]) -> tuple[list[Entry], bool]:
    """Folders, then tables and shards, then pictures: a table among a million pictures is found."""
    try:
        with os.scandir(at) as children:
            some = [child for child in islice(children, MAX_LOOKED_AT) if not child.name.startswith(".")]
        some = [child for child in some if _can_be_said(child.name)]
        some.sort(key=_order)
        found = [entry for child in some[:MAX_ENTRIES] if (entry := _entry(Path(child.path), roots))]
    except (OSError, RuntimeError):
        raise NotFound("this folder may not be read; choose another") from None
    return found, len(some) > MAX_ENTRIES


def _entry(child: Path, roots: list[Path]) -> Entry | None:
    real = child.resolve()
    is_folder = real.is_dir()
    if not any(real.is_relative_to(root) for root in roots) or not (is_folder or real.is_file()):
        return None
    return Entry(child.name, str(child), is_folder, 0 if is_folder else real.stat().st_size)


def _order(child: "os.DirEntry[str]") -> tuple[bool, bool, str]:
    is_picture = Path(child.name).suffix.lower() in PICTURES
    return not child.is_dir(), is_picture, child.name.lower()


def _can_be_said(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sayable(names: list[str]) -> list[str]:
    return [name for name in names[:200] if _can_be_said(name)]
