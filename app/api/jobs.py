"""Jobs of every kind: how far they are, and what a person can do with them."""

from typing import Any, Literal

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from app.actions.steer_job import cancel_job, order_job, pause_job, resume_job
from app.api.access import ANYBODY, ASKS_ITSELF, Caller, Db, Id, Person
from app.errors import NotFound
from app.jobs.presence import connected
from app.jobs.view import JobView, get_job, rejected_rows, unfinished_jobs, view_job
from app.media.store import MediaStore
from app.store.database import Database

router = APIRouter(prefix="/api")
Verb = Literal["cancel", "pause", "resume", "retry", "first", "last"]


@router.get("/jobs/{job_id}")
def job(job_id: Id, database: Db) -> JobView:
    """One job."""
    with database.reading() as session:
        return view_job(session, get_job(session, job_id))


@router.post("/jobs/{job_id}/{verb}")
def steer(job_id: Id, verb: Verb, database: Db, person: Person) -> JobView:
    """Cancel, pause, resume (retry is the same for a failed job), or move to the queue's front or end."""
    return steer_job(database, job_id, verb, person)


@router.get("/jobs/{job_id}/rejected")
def rejected(job_id: Id, database: Db) -> Response:
    """The rows that an import refused, as a CSV: where, reason, remedy."""
    with database.reading() as session:
        body = rejected_rows(session, get_job(session, job_id))
    if not body:
        raise NotFound(f"job {job_id} refused no rows; nothing needs mending")
    if "report_key" not in body:
        return PlainTextResponse("\n".join(body["examples"]))
    data = MediaStore(database.settings.resolved_media_url).get(body["report_key"])
    named = {"Content-Disposition": f'attachment; filename="rejected-{job_id}.csv"'}
    return Response(data, media_type="text/csv; charset=utf-8", headers=named)


@router.get("/jobs", dependencies=[ASKS_ITSELF])
def unfinished(database: Db, caller: Caller) -> list[JobView]:
    """What is under way and what waits, in the order in which it will be taken."""
    with database.reading() as session:
        jobs = [job for job in unfinished_jobs(session) if caller.sees(job.data_set_id)]
        return [view_job(session, job) for job in jobs]


@router.get("/workers", dependencies=[ANYBODY])
def workers(database: Db) -> list[dict[str, Any]]:
    """The workers that are connected now."""
    with database.reading() as session:
        return [{"name": w.name, "queue": w.queue, "about": w.about} for w in connected(session)]


def steer_job(database: Database, job_id: int, verb: Verb, person: str) -> JobView:
    """The job after the verb."""
    with database.transaction() as session:
        if verb == "cancel":
            cancel_job(session, job_id=job_id, person=person)
        elif verb == "pause":
            pause_job(session, job_id=job_id, person=person)
        elif verb in ("first", "last"):
            order_job(session, job_id=job_id, first=verb == "first")
        else:
            resume_job(session, job_id=job_id)
    with database.reading() as session:
        return view_job(session, get_job(session, job_id))
