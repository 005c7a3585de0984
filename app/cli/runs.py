"""`nearmiss runs …`: the queue from the command line, by the same actions as the page."""

import json
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from app.actions.clone_run import clone_run
from app.actions.collect_garbage import disk_of_run
from app.actions.keep_results import keep_result
from app.actions.steer_job import cancel_job, order_job, pause_job, resume_job
from app.errors import NearmissError
from app.jobs.view import view_job
from app.jobs.waiting import why_waiting
from app.settings import get_settings
from app.store.database import Database
from app.store.models import Job
from app.store.reads.runs import get_run, page_of_runs
from app.store.schema import check

runs = typer.Typer(no_args_is_help=True, help="List, order, cancel, pause, resume, retry and clone runs.")


@runs.command("list")
def list_(limit: int = typer.Option(30, help="how many, the newest first")) -> None:
    """Id, state, progress, disk, name, and the reason of those that wait or have ended early."""
    with _database().reading() as session:
        for run, job in page_of_runs(session, limit=limit):
            disk = disk_of_run(session, run.id)
            size = (disk.training_bytes + disk.result_bytes) / 1e6
            reason = why_waiting(session, job) or job.reason
            place = f"{job.done}/{job.total}"
            line = f"{run.id:>5}  {job.state:<9}  {place:>11}  {size:>8.1f} MB  {run.name}"
            typer.echo(f"{line}  ({reason})" if reason else line)


@runs.command()
def cancel(run_id: int) -> None:
    """End it; a worker stops at its next heartbeat."""
    _steer(run_id, lambda session, job_id, person: cancel_job(session, job_id=job_id, person=person))


@runs.command()
def keep(run_id: int, off: bool = typer.Option(False, "--off", help="let the policy decide again")) -> None:
    """Keep a run's weights whatever the retention policy says."""
    settings = get_settings()
    with _database().transaction() as session:
        keep_result(session, run_id=run_id, kept=not off, person=settings.person)
        typer.echo(disk_of_run(session, run_id).policy)


@runs.command()
def pause(run_id: int) -> None:
    """Save a checkpoint and stop until it is resumed."""
    _steer(run_id, lambda session, job_id, person: pause_job(session, job_id=job_id, person=person))


@runs.command()
def resume(run_id: int) -> None:
    """Queue it again, from its last checkpoint."""
    _steer(run_id, lambda session, job_id, _: resume_job(session, job_id=job_id))


@runs.command()
def retry(run_id: int) -> None:
    """The same for a run that failed: from its last checkpoint, with fresh attempts."""
    resume(run_id)


@runs.command()
def first(run_id: int) -> None:
    """Before all others that wait."""
    _steer(run_id, lambda session, job_id, _: order_job(session, job_id=job_id, first=True))


@runs.command()
def last(run_id: int) -> None:
    """Behind all others that wait."""
    _steer(run_id, lambda session, job_id, _: order_job(session, job_id=job_id, first=False))


@runs.command()
def clone(
    run_id: int,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="as optimiser.lr=1e-4")
    ] = None,
    same_data: bool = typer.Option(False, help="on that run's snapshot instead of the present verdicts"),
    name: str = typer.Option("", help="name of the new run"),
) -> None:
    """Same again, with some values changed."""
    with _database().transaction() as session:
        run = clone_run(
            session,
            run_id=run_id,
            overrides=_nested(change or []),
            same_data=same_data,
            name=name,
            person=get_settings().person,
        )
        typer.echo(f"run {run.id} is queued")


def _database() -> Database:
    database = Database(get_settings())
    check(database.engine)
    return database


def _steer(run_id: int, act: Any) -> None:
    database = _database()
    with database.transaction() as session:
        job_id = get_run(session, run_id)[1].id
        act(session, job_id, get_settings().person)
    with database.reading() as session:
        _say(session, run_id, job_id)


def _say(session: Session, run_id: int, job_id: int) -> None:
    view = view_job(session, session.get_one(Job, job_id))
    asked = f", asked to {view.asked_to}" if view.asked_to else ""
    typer.echo(f"run {run_id} is {view.state}{asked}{f': {view.reason}' if view.reason else ''}")


def _nested(changes: list[str]) -> dict[str, Any]:
    """["optimiser.lr=1e-4"] as {"optimiser": {"lr": 1e-4}}; a value is JSON, else text."""
    found: dict[str, Any] = {}
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise NearmissError(f"--set takes PATH=VALUE, as in optimiser.lr=1e-4, not {change!r}")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        *outer, name = path.split(".")
        place = found
        for part in outer:
            place = place.setdefault(part, {})
        place[name] = value
    return found
