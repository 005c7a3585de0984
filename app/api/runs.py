"""Fine-tunes: the preview of what would happen, the start, and everything to watch."""

import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.actions.add_model import add_model, demand_place
from app.actions.clone_run import clone_run
from app.actions.plan_run import plan_run
from app.actions.presets import PresetView, list_presets
from app.actions.rights import demand
from app.actions.start_measuring import start_measuring
from app.actions.start_run import start_run
from app.actions.view_run import EventPage, ModelView, RunView, list_models, page_of_events, view_run
from app.api.access import (
    ANYBODY,
    ASKS_ITSELF,
    MAX_ID,
    SERVER_ADMIN,
    Caller,
    Db,
    Id,
    Person,
    demand_rows,
)
from app.api.checkpoints import zip_of_folder
from app.api.jobs import Verb, steer_job
from app.errors import NotFound
from app.jobs.view import JobView, view_job
from app.media.store import MediaStore
from app.store.reads.data_sets import list_data_sets
from app.store.reads.owners import owners_of
from app.store.reads.previews import Previews, previews
from app.store.reads.runs import get_run, page_of_runs

router = APIRouter(prefix="/api")
NAMES = Path(__file__).parent / "open_clip_names.json"
RowId = Annotated[int, Field(ge=1, le=MAX_ID)]


class Wish(BaseModel):
    """What to train; `config_yaml`, when given, takes the place of preset and overrides."""

    data_set_id: RowId
    model_id: RowId
    preset: str = Field(default="adapter", max_length=40)
    overrides: dict[str, Any] = Field(default_factory=dict)
    config_yaml: str | None = Field(default=None, max_length=100_000)
    processes: int = Field(default=1, ge=1, le=64)


class NewRun(Wish):
    """The same with a key that makes a second click harmless."""

    name: str = Field(default="", max_length=200)
    request_key: str | None = Field(default=None, min_length=8, max_length=64)


@router.get("/models", dependencies=[ASKS_ITSELF])
def models(database: Db, caller: Caller) -> list[ModelView]:
    """All models that the caller sees, the newest last: base models, and those of runs on data sets that they see."""
    with database.reading() as session:
        found = list_models(session)
        owners = owners_of(session, "model_id", [model.id for model in found])
        return [m for m in found if m.run_id is None or caller.sees_all or caller.sees(owners[m.id])]


class NewModel(BaseModel):
    """A base model in open_clip's spelling: an architecture with `pretrained`, hf-hub:…, or local-dir:…"""

    location: str = Field(min_length=1, max_length=1000)
    pretrained: str = Field(default="", max_length=200)
    name: str = Field(default="", max_length=200)


@router.post("/models", dependencies=[SERVER_ADMIN])
def new_model(body: NewModel, database: Db, caller: Caller) -> list[ModelView]:
    """Adds a base model; all models, the newest last. It is loaded, and refused with a sentence, when first used."""
    name = body.name or f"{body.location} {body.pretrained}".strip()
    with database.transaction() as session:
        demand_place(session, location=body.location, pretrained=body.pretrained)
        add_model(session, name=name, location=body.location, pretrained=body.pretrained)
    return models(database, caller)


@router.get("/open-clip-models", dependencies=[ANYBODY])
def open_clip_models() -> dict[str, list[str]]:
    """open_clip's architectures with the tags of their weights, as `docs/make_open_clip_names.py` found them."""
    found: dict[str, list[str]] = json.loads(NAMES.read_text(encoding="utf-8"))
    return found


@router.get("/presets", dependencies=[ANYBODY])
def presets() -> list[PresetView]:
    """The presets with the fields that a form shows."""
    return list_presets()


@router.post("/runs/preview", dependencies=[ASKS_ITSELF])
def preview(body: Wish, database: Db, caller: Caller) -> dict[str, Any]:
    """What would happen: steps, counts, warnings, refusals, the reason for waiting, the configuration."""
    with database.reading() as session:
        demand_rows(session, caller, "viewer", data_set_id=[body.data_set_id], model_id=[body.model_id])
        return plan_run(session, **body.model_dump()).report()


@router.post("/runs/measure", dependencies=[ASKS_ITSELF])
def measure(body: Wish, database: Db, caller: Caller) -> dict[str, JobView]:
    """Have a worker take the first steps and measure their memory, which the preview then tells: {job}."""
    with database.transaction() as session:
        demand_rows(session, caller, "annotator", data_set_id=[body.data_set_id], model_id=[body.model_id])
        job = start_measuring(session, **body.model_dump(), person=caller.name)
        return {"job": view_job(session, job)}


@router.post("/runs", dependencies=[ASKS_ITSELF])
def start(body: NewRun, database: Db, caller: Caller) -> dict[str, RunView]:
    """Start: {run}."""
    with database.transaction() as session:
        demand_rows(session, caller, "annotator", data_set_id=[body.data_set_id], model_id=[body.model_id])
        run = start_run(session, **body.model_dump(), person=caller.name)
        demand(caller, "viewer", run.data_set_id)  # a known request key answers its run of that time
        run_id = run.id
    return {"run": one(run_id, database)}


class Again(BaseModel):
    """What is different this time; `same_data`: on the snapshot of that run instead of the present verdicts."""

    overrides: dict[str, Any] = Field(default_factory=dict)
    same_data: bool = False
    name: str = Field(default="", max_length=200)
    request_key: str | None = Field(default=None, min_length=8, max_length=64)


@router.post("/runs/{run_id}/clone")
def again(run_id: Id, body: Again, database: Db, person: Person) -> dict[str, RunView]:
    """Same again with…: {run}."""
    with database.transaction() as session:
        new_id = clone_run(session, run_id=run_id, **body.model_dump(), person=person).id
    return {"run": one(new_id, database)}


@router.get("/runs", dependencies=[ASKS_ITSELF])
def runs(
    database: Db,
    caller: Caller,
    data_set_id: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, list[RunView]]:
    """Runs, the newest first; `before`: the last id of the page before."""
    with database.reading() as session:
        seen = None if caller.sees_all else [s.id for s in list_data_sets(session) if caller.sees(s.id)]
        page = page_of_runs(session, data_set_id=data_set_id, seen=seen, before=before, limit=limit)
        return {"runs": [view_run(session, run, job) for run, job in page]}


@router.get("/runs/{run_id}")
def one(run_id: Id, database: Db) -> RunView:
    """One run."""
    with database.reading() as session:
        return view_run(session, *get_run(session, run_id))


@router.get("/runs/{run_id}/events")
def events(
    run_id: Id,
    database: Db,
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> EventPage:
    """What happened after the event with id `after`, and when to ask again."""
    with database.reading() as session:
        _, job = get_run(session, run_id)
        return page_of_events(session, job, after=after, limit=limit)


@router.get("/runs/{run_id}/previews")
def watched(run_id: Id, database: Db) -> Previews:
    """The probes before and now."""
    with database.reading() as session:
        run, _ = get_run(session, run_id)
        return previews(session, run)


@router.get("/runs/{run_id}/checkpoint")
def checkpoint(run_id: Id, database: Db) -> Response:
    """The result as a zip of a plain open_clip folder."""
    with database.reading() as session:
        run, job = get_run(session, run_id)
    if not run.checkpoint_key:
        raise NotFound(f"run {run_id} has no checkpoint to download: it is {job.state}")
    store = MediaStore(database.settings.resolved_media_url)
    return zip_of_folder(store, run.checkpoint_key, name=f"nearmiss-run-{run_id}")


@router.post("/runs/{run_id}/{verb}")
def steer(run_id: Id, verb: Verb, database: Db, person: Person) -> JobView:
    """Cancel, pause, resume, retry, or move to the queue's front (first) or end (last)."""
    with database.reading() as session:
        _, job = get_run(session, run_id)
    return steer_job(database, job.id, verb, person)
