"""`nearmiss import`: queue it, follow it to its end, and say what was refused."""

import time
from pathlib import Path

import typer
from sqlalchemy import select

from app.actions.import_data_set import import_again, import_data_set
from app.counted import counted
from app.errors import NearmissError
from app.jobs import presence
from app.jobs.states import OVER
from app.jobs.view import JobView, get_job, rejected_rows, view_job
from app.jobs.waiting import why_waiting
from app.media.store import MediaStore
from app.settings import Settings, get_settings
from app.sources.open_source import columns_of, preview_source
from app.store.database import Database
from app.store.models import DataSet, Model
from app.store.schema import check

LOOK_EVERY_S = 0.3
QUOTED = 10  # refused rows that are printed; all of them go into the report


def preview(source: str, columns: dict[str, str]) -> None:
    """Prints the columns and the first rows as an import would read them. Raises NearmissError."""
    found = columns_of(source)
    if found:
        typer.echo(f"columns: {', '.join(found)}")
    for row in preview_source(source, columns=columns):
        said = f"refused: {row.reason}" if row.reason else f"{row.image}\t{row.split}\t{row.caption}"
        typer.echo(f"{row.where}\t{said}")


def run(
    source: str,
    name: str,
    *,
    columns: dict[str, str] | None = None,
    in_place: bool = False,
    again: bool = False,
    model: str = "",
    wait: bool = True,
) -> None:
    """Raises NearmissError when the import failed."""
    if not name:
        raise NearmissError("the data set has no name; add --name NAME")
    settings = get_settings()
    database = Database(settings)
    check(database.engine)
    path = (
        source if source == "demo" or source.startswith("hf:") else str(Path(source).expanduser().resolve())
    )
    with database.transaction() as session:
        if again:
            known = session.scalar(select(DataSet.id).where(DataSet.name == name))
            if known is None:
                raise NearmissError(f"there is no data set {name!r} to import again; leave --again out")
            job = import_again(
                session,
                data_set_id=known,
                source=path,
                person=settings.person,
                columns=columns,
                trusted=True,
            )
        else:
            model_id = session.scalar(select(Model.id).where(Model.name == model)) if model else None
            if model and model_id is None:
                raise NearmissError(f"there is no model {model!r}; add it with nearmiss add-model")
            job = import_data_set(
                session,
                name=name,
                source=path,
                person=settings.person,
                columns=columns,
                originals="referenced" if in_place else "copied",
                model_id=model_id,
                trusted=True,
            )
        job_id = job.id
    view = follow(database, job_id, wait=wait)
    if view.state == "queued":
        typer.echo(f"the import is queued as job {job_id}: {view.reason}")
        return
    _say_rejected(database, settings, job_id)
    if view.state != "finished":
        raise NearmissError(f"the import {view.state}: {view.reason}")
    typer.echo(
        f"{counted(view.done - view.num_rejected, 'pair')} imported as {name!r}; suggestions are being looked for"
    )


def follow(database: Database, job_id: int, *, wait: bool) -> JobView:
    """Prints progress until the job is over; leaves it queued where nobody can take it, or on Ctrl+C."""
    shown = ""
    while True:
        with database.reading() as session:
            job = get_job(session, job_id)
            view, reason = view_job(session, job), why_waiting(session, job)
            nobody = presence.num_connected(session, job.queue) == 0
        if view.state in OVER or (view.state == "queued" and (nobody or not wait)):
            if shown:
                typer.echo()
            return view
        line = reason or f"{view.done} of {view.total or '?'} {view.unit or 'rows'}"
        if line != shown:
            typer.echo(f"\r{line:<70}", nl=False)
            shown = line
        time.sleep(LOOK_EVERY_S)


def _say_rejected(database: Database, settings: Settings, job_id: int) -> None:
    with database.reading() as session:
        body = rejected_rows(session, get_job(session, job_id))
    if not body:
        return
    for line in body["examples"][:QUOTED]:
        typer.echo(f"  refused: {line}")
    media = MediaStore(settings.resolved_media_url)
    report = settings.home / f"rejected-{job_id}.csv"
    report.write_bytes(media.get(body["report_key"]))
    typer.echo(
        f"{counted(body['num'], 'row was', 'rows were')} refused; all of them with their reasons: {report}"
    )
