"""`nearmiss export`: a snapshot with its pictures, in a folder."""

from pathlib import Path

import typer
from sqlalchemy import select

from app.actions.export_snapshot import choose_snapshot, export_snapshot
from app.actions.take_snapshot import take_snapshot
from app.counted import counted
from app.errors import NearmissError
from app.media.store import MediaStore
from app.settings import get_settings
from app.store.database import Database
from app.store.models import DataSet
from app.store.schema import check


def run(data_set: str, to: str, *, format: str, snapshot: str) -> None:
    """Raises NearmissError."""
    settings = get_settings()
    database = Database(settings)
    check(database.engine)
    with database.transaction() as session:
        data_set_id = session.scalar(select(DataSet.id).where(DataSet.name == data_set))
        if data_set_id is None:
            raise NearmissError(f"there is no data set {data_set!r}; look in the page's Data tab")
        if snapshot:
            chosen = choose_snapshot(session, data_set_id=data_set_id, start=snapshot)
        else:
            chosen = take_snapshot(session, data_set_id=data_set_id)
    with database.reading() as session:
        done = export_snapshot(
            session,
            store=MediaStore(settings.resolved_media_url),
            snapshot=chosen,
            folder=Path(to).expanduser(),
            format=format,  # type: ignore[arg-type]  # checked there
        )
    typer.echo(
        f"{counted(done.num_pairs, 'pair')} and {counted(done.num_verdicts, 'verdict')} of snapshot {chosen.hash[:12]} in {done.folder}"
    )
    if done.num_lost:
        typer.echo(
            f"{counted(done.num_lost, 'pair was', 'pairs were')} left out: what they show is no longer in the media store"
        )
