"""What is left of runs: controlled comparisons, comparison, report, and the way to the hub."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.actions.compare_runs import Comparison, Gain, arms_of, compare_runs, gains_of_run
from app.actions.keep_results import keep_result
from app.actions.rights import demand
from app.actions.start_comparison import start_comparison
from app.actions.start_push import demand_push, has_hub_token, may_push, start_push
from app.actions.view_run import RunView, view_run
from app.api.access import ASKS_ITSELF, DATA_SET_ADMIN, MAX_ID, Caller, Db, Id, Person, demand_rows
from app.api.runs import Wish
from app.jobs.view import JobView, view_job
from app.report.report_of_run import report_of_run
from app.store.reads.captions import captions_of_looks
from app.store.reads.runs import get_run

router = APIRouter(prefix="/api")
RowIds = Annotated[list[Annotated[int, Query(ge=1, le=MAX_ID)]], Query(max_length=20)]


class NewComparison(Wish):
    """The same run without labels, with sham labels and with the verdicts."""

    name: str = Field(default="", max_length=150)
    request_key: str = Field(min_length=8, max_length=50)


class Hub(BaseModel):
    """Where to push."""

    repository: str = Field(min_length=3, max_length=200)
    private: bool = True


@router.post("/run-comparisons", dependencies=[ASKS_ITSELF])
def compare_arms(body: NewComparison, database: Db, caller: Caller) -> dict[str, list[RunView]]:
    """Start the three arms: {runs}."""
    with database.transaction() as session:
        demand_rows(session, caller, "annotator", data_set_id=[body.data_set_id], model_id=[body.model_id])
        runs = start_comparison(session, **body.model_dump(), person=caller.name)
        for run in runs:
            demand(caller, "viewer", run.data_set_id)  # a known request key answers the runs of that time
        ids = [run.id for run in runs]
    with database.reading() as session:
        return {"runs": [view_run(session, *get_run(session, run_id)) for run_id in ids]}


@router.get("/run-comparisons", dependencies=[ASKS_ITSELF])
def comparison(database: Db, caller: Caller, ids: RowIds) -> Comparison:
    """Runs side by side; the first is what the others are held against."""
    with database.reading() as session:
        demand_rows(session, caller, "viewer", run_id=ids)
        return compare_runs(session, run_ids=ids)


@router.get("/runs/{run_id}/gains")
def gains(run_id: Id, database: Db, caller: Caller) -> dict[str, Any]:
    """{gains: against the run's own base, arms: ids of the runs that were started with it, can_push}."""
    with database.reading() as session:
        run, _ = get_run(session, run_id)
        found: list[Gain] = gains_of_run(session, run)
        can_push = has_hub_token(database.settings) and may_push(caller, database.settings)
        return {"gains": [asdict(g) for g in found], "arms": arms_of(session, run), "can_push": can_push}


@router.get("/runs/{run_id}/report")
def report(run_id: Id, database: Db) -> Response:
    """One HTML file that opens without a network."""
    with database.reading() as session:
        text = report_of_run(session, run_id=run_id)
    named = {"Content-Disposition": f'attachment; filename="nearmiss-run-{run_id}.html"'}
    return Response(text, media_type="text/html; charset=utf-8", headers=named)


@router.post("/runs/{run_id}/push", dependencies=[DATA_SET_ADMIN])
def push(run_id: Id, body: Hub, database: Db, caller: Caller) -> dict[str, JobView]:
    """Send the checkpoint to the hub with the server's token: {job}."""
    demand_push(caller, database.settings)
    with database.transaction() as session:
        job = start_push(session, run_id=run_id, **body.model_dump(), person=caller.name)
        return {"job": view_job(session, job)}


class Keep(BaseModel):
    """Whether a run's weights stay whatever the retention policy says."""

    kept: bool = True


@router.post("/runs/{run_id}/keep")
def keep(run_id: Id, body: Keep, database: Db, person: Person) -> dict[str, bool]:
    """Keep a run's weights, or no longer: {kept}."""
    with database.transaction() as session:
        keep_result(session, run_id=run_id, kept=body.kept, person=person)
    return {"kept": body.kept}


@router.get("/runs/{run_id}/captions")
def captions(run_id: Id, database: Db) -> dict[int, str]:
    """Caption id → text, of the batches that were looked at."""
    with database.reading() as session:
        _, job = get_run(session, run_id)
        return captions_of_looks(session, job.id)
