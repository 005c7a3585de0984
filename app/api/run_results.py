"""What is left of runs: controlled comparisons, comparison, report, and the way to the hub."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.actions.compare_runs import Comparison, Gain, arms_of, compare_runs, gains_of_run
from app.actions.start_comparison import start_comparison
from app.actions.start_push import has_hub_token, start_push
from app.actions.view_run import RunView, view_run
from app.api.access import MAX_ID, Db, Id, Person
from app.api.runs import Wish
from app.jobs.view import JobView, view_job
from app.report.report_of_run import report_of_run
from app.store.reads.captions import caption_texts
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


@router.post("/run-comparisons")
def compare_arms(body: NewComparison, database: Db, person: Person) -> dict[str, list[RunView]]:
    """Start the three arms: {runs}."""
    with database.transaction() as session:
        ids = [run.id for run in start_comparison(session, **body.model_dump(), person=person)]
    with database.reading() as session:
        return {"runs": [view_run(session, *get_run(session, run_id)) for run_id in ids]}


@router.get("/run-comparisons")
def comparison(database: Db, ids: RowIds) -> Comparison:
    """Runs side by side; the first is what the others are held against."""
    with database.reading() as session:
        return compare_runs(session, run_ids=ids)


@router.get("/runs/{run_id}/gains")
def gains(run_id: Id, database: Db) -> dict[str, Any]:
    """{gains: against the run's own base, arms: ids of the runs that were started with it, can_push}."""
    with database.reading() as session:
        run, _ = get_run(session, run_id)
        found: list[Gain] = gains_of_run(session, run)
        can_push = has_hub_token(database.settings)
        return {"gains": [asdict(g) for g in found], "arms": arms_of(session, run), "can_push": can_push}


@router.get("/runs/{run_id}/report")
def report(run_id: Id, database: Db) -> Response:
    """One HTML file that opens without a network."""
    with database.reading() as session:
        text = report_of_run(session, run_id=run_id)
    named = {"Content-Disposition": f'attachment; filename="nearmiss-run-{run_id}.html"'}
    return Response(text, media_type="text/html; charset=utf-8", headers=named)


@router.post("/runs/{run_id}/push")
def push(run_id: Id, body: Hub, database: Db, person: Person) -> dict[str, JobView]:
    """Send the checkpoint to the hub: {job}."""
    with database.transaction() as session:
        job = start_push(session, run_id=run_id, **body.model_dump(), person=person)
        return {"job": view_job(session, job)}


@router.get("/captions")
def captions(database: Db, ids: Annotated[list[int], Query(max_length=200)]) -> dict[int, str]:
    """Caption id → text, for at most 200."""
    with database.reading() as session:
        return caption_texts(session, ids)
