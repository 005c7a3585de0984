"""`nearmiss mine`: look for suggestions, with the newest model or a named one, and say what came of it."""

from typing import cast

import typer
from sqlalchemy import select

from app.actions.start_mining import start_mining
from app.cli.import_ import follow
from app.counted import counted
from app.errors import NearmissError
from app.settings import get_settings
from app.store.database import Database
from app.store.models import DataSet, Model
from app.store.reads.data_sets import mined_numbers, num_open
from app.store.schema import check
from clipcore.mining.languages import Language


def run(data_set: str, *, model: str, language: str, wait: bool) -> None:
    """Raises NearmissError for unknown names and when the job failed."""
    settings = get_settings()
    database = Database(settings)
    check(database.engine)
    with database.transaction() as session:
        data_set_id = session.scalar(select(DataSet.id).where(DataSet.name == data_set))
        if data_set_id is None:
            raise NearmissError(f"there is no data set {data_set!r}; look in the page's Data tab")
        newest = select(Model.id).order_by(Model.id.desc()).limit(1)
        model_id = session.scalar(newest.where(Model.name == model) if model else newest)
        if model_id is None:
            raise NearmissError(f"there is no model {model!r}; add one with nearmiss add-model")
        job_id = start_mining(
            session,
            data_set_id=data_set_id,
            model_id=model_id,
            language=cast(Language, language),  # start_mining refuses what it does not know
            person=settings.person,
        ).id
    view = follow(database, job_id, wait=wait)
    if view.state == "queued":
        typer.echo(f"mining is queued as job {job_id}: {view.reason}")
        return
    if view.state != "finished":
        raise NearmissError(f"mining {view.state}: {view.reason}")
    with database.reading() as session:
        told, open_ones = mined_numbers(session, data_set_id) or {}, num_open(session, data_set_id)
    typer.echo(
        f"{counted(open_ones, 'suggestion is', 'suggestions are')} open;"
        f" {counted(told.get('disputed', 0), 'verdict is', 'verdicts are')} asked again"
    )
