"""Data sets: the list, the import, mining, the queue and the progress of decisions."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.actions.import_data_set import Originals, import_again, import_data_set
from app.actions.rights import Who
from app.actions.start_mining import start_mining
from app.actions.verdict_files import write_verdicts
from app.actions.write_negative import write_negative
from app.api.access import ASKS_ITSELF, MAX_ID, SERVER_ADMIN, Caller, Db, Id, Person, demand_rows
from app.errors import NearmissError
from app.jobs.view import JobView, get_job, view_job
from app.store.models import DataSet
from app.store.reads.boards import MAX_BOARDS, Boards, next_boards
from app.store.reads.data_sets import (
    Progress,
    get_data_set,
    latest_job,
    list_data_sets,
    mined_numbers,
    num_decided,
    num_open,
    progress,
)
from app.store.reads.models import model_for
from app.store.reads.queue import Order, Queue, next_items
from clipcore.mining.languages import Language

router = APIRouter(prefix="/api/data-sets")


@dataclass(frozen=True)
class DataSetView:
    """A data set with its counts and the latest import, mining and export.

    `source` is a place on the server: only its admins see it, for others it is "". `mining_model_id` looks for suggestions
    where nobody chooses a model: the newest that knows the data set, else the newest base model.
    """

    id: int
    name: str
    source: str
    num_pairs: int
    num_images: int
    num_captions: int
    num_verdicts: int
    num_open_suggestions: int
    attribution: str
    licence: str
    import_job: JobView | None
    mining_job: JobView | None
    export_job: JobView | None
    mining_model_id: int | None
    mined: (
        dict[str, Any] | None
    )  # numbers before work: rate of false negatives, collisions per epoch, quality


class NewDataSet(BaseModel):
    """A folder or file on this machine, `upload:ID`, `hf:OWNER/NAME`, or "demo"; `columns`: see /api/previews.

    `originals` are copied or stay in place; `model_id` made the embeddings that the source brings.
    """

    name: str = Field(max_length=1000)
    source: str = Field(max_length=10_000)
    columns: dict[str, str] = Field(default_factory=dict, max_length=3)
    originals: Originals = "copied"
    model_id: int | None = Field(default=None, ge=1, le=MAX_ID)


class Again(BaseModel):
    """The changed source; "": the same place as before. `columns`: those of the import before when not given."""

    source: str = Field(default="", max_length=10_000)
    columns: dict[str, str] = Field(default_factory=dict, max_length=3)


class Mining(BaseModel):
    """The model whose eyes are used (none: `mining_model_id` of the data set), and the language in which negatives are
    written (auto: the captions tell)."""

    model_id: int | None = Field(default=None, ge=1, le=MAX_ID)
    language: Language = "auto"


class Wording(BaseModel):
    """What an image does not show, in a person's words; `uuid` names the verdict, so that a retry changes nothing."""

    uuid: str = Field(max_length=36)
    image_id: int = Field(ge=1, le=MAX_ID)
    text: str = Field(max_length=10_000)


@router.get("", dependencies=[ASKS_ITSELF])
def data_sets(database: Db, caller: Caller) -> list[DataSetView]:
    """All data sets that the caller sees."""
    with database.reading() as session:
        return [_view(session, one, caller) for one in list_data_sets(session) if caller.sees(one.id)]


@router.post("", dependencies=[SERVER_ADMIN])
def import_one(body: NewDataSet, database: Db, person: Person) -> dict[str, JobView]:
    """Begin an import: {job}."""
    with database.transaction() as session:
        job = import_data_set(session, **body.model_dump(), person=person)
        job_id = job.id
    return {"job": _job(database, job_id)}


@router.post("/{data_set_id}/import", dependencies=[SERVER_ADMIN])
def import_changed(data_set_id: Id, body: Again, database: Db, person: Person) -> dict[str, JobView]:
    """Import a changed source again: adds, updates, retires what vanished; verdicts stay: {job}."""
    with database.transaction() as session:
        job = import_again(session, data_set_id=data_set_id, **body.model_dump(), person=person)
        job_id = job.id
    return {"job": _job(database, job_id)}


@router.get("/{data_set_id}")
def data_set(data_set_id: Id, database: Db, caller: Caller) -> DataSetView:
    """One data set."""
    with database.reading() as session:
        return _view(session, get_data_set(session, data_set_id), caller)


@router.post("/{data_set_id}/mine")
def mine(data_set_id: Id, body: Mining, database: Db, caller: Caller) -> dict[str, JobView]:
    """Look for suggestions: {job}."""
    with database.transaction() as session:
        if body.model_id is not None:
            demand_rows(session, caller, "viewer", model_id=[body.model_id])
        wish = body.model_dump()
        job = start_mining(session, data_set_id=data_set_id, **wish, person=caller.name, sees=caller.sees)
        job_id = job.id
    return {"job": _job(database, job_id)}


@router.post("/{data_set_id}/written")
def write(data_set_id: Id, body: Wording, database: Db, person: Person) -> dict[str, int]:
    """A person's own wording of what an image does not show, kept as a hard negative of that image: {caption_id}."""
    with database.transaction() as session:
        verdict = write_negative(session, data_set_id=data_set_id, **body.model_dump(), person=person)
        return {"caption_id": verdict.caption_id}


@router.get("/{data_set_id}/queue")
def queue(
    data_set_id: Id,
    database: Db,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
    exclude: Annotated[str, Query(max_length=20_000)] = "",
    order: Order = "mixed",
    image_id: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
) -> Queue:
    """What to decide next; `exclude`: suggestion ids that the browser holds, with commas between."""
    with database.reading() as session:
        return next_items(
            session, data_set_id, order=order, limit=limit, exclude=_ids(exclude), image_id=image_id
        )


@router.get("/{data_set_id}/boards")
def boards(
    data_set_id: Id,
    database: Db,
    limit: Annotated[int, Query(ge=1, le=MAX_BOARDS)] = 3,
    exclude: Annotated[str, Query(max_length=20_000)] = "",
) -> Boards:
    """What to decide next, an anchor with its candidates at a time; `exclude` as for the queue."""
    with database.reading() as session:
        return next_boards(session, data_set_id, limit=limit, exclude=_ids(exclude))


@router.get("/{data_set_id}/progress")
def how_far(data_set_id: Id, database: Db, person: Person) -> Progress:
    """Decided by answer, remaining, and this person's verdicts a minute."""
    with database.reading() as session:
        return progress(session, data_set_id, person=person)


@router.get("/{data_set_id}/verdicts.jsonl")
def verdicts_file(data_set_id: Id, database: Db) -> StreamingResponse:
    """The standing verdicts as `clipcore` reads them."""
    with database.reading() as session:
        get_data_set(session, data_set_id)
        lines = list(write_verdicts(session, data_set_id, format="jsonl"))
    named = {"Content-Disposition": f'attachment; filename="verdicts-{data_set_id}.jsonl"'}
    return StreamingResponse(iter(lines), media_type="application/jsonl", headers=named)


def _ids(text: str) -> list[int]:
    parts = [part for part in text.split(",") if part]
    if not all(part.isascii() and part.isdecimal() and int(part) <= MAX_ID for part in parts):
        raise NearmissError(f"exclude is {text[:40]!r}; give suggestion ids with commas between")
    return [int(part) for part in parts]


def _job(database: Db, job_id: int) -> JobView:
    """Read again after the commit: by now the broker has or has not taken the wake-up."""
    with database.reading() as session:
        return view_job(session, get_job(session, job_id))


def _view(session: Session, data_set: DataSet, caller: Who) -> DataSetView:
    jobs = {kind: latest_job(session, data_set.id, kind) for kind in ("import", "mine", "export")}
    model = model_for(session, data_set.id, sees=caller.sees)
    views = {kind: view_job(session, job) if job else None for kind, job in jobs.items()}
    return DataSetView(
        id=data_set.id,
        name=data_set.name,
        source=data_set.source if caller.role_on(None) == "admin" else "",
        num_pairs=data_set.num_pairs,
        num_images=data_set.num_images,
        num_captions=data_set.num_captions,
        num_verdicts=sum(num_decided(session, data_set.id).values()),
        num_open_suggestions=num_open(session, data_set.id),
        attribution=data_set.attribution,
        licence=data_set.licence,
        import_job=views["import"],
        mining_job=views["mine"],
        export_job=views["export"],
        mining_model_id=model.id if model else None,
        mined=mined_numbers(session, data_set.id),
    )
