"""An installation with a folder to import, and its jobs as the worker does them, without broker."""

import io
from pathlib import Path
from types import SimpleNamespace

from PIL import Image as Picture
from sqlalchemy import func, select

from app.settings import Settings
from app.store.database import Database
from app.store.models import Caption, Image, Job, Pair
from app.store.schema import migrate
from tests.work_on import work_on


def png(value: int) -> bytes:
    """A small picture of one colour."""
    out = io.BytesIO()
    Picture.new("RGB", (8, 8), (value, 2, 3)).save(out, "PNG")
    return out.getvalue()


class Desk(SimpleNamespace):
    """An installation with its source folder."""

    def do(self, make) -> Job:
        """The job that `make(session)` queues, done."""
        with self.database.transaction() as session:
            job_id = make(session).id
        return work_on(self.settings, self.database, job_id)

    def counts(self) -> tuple[int, ...]:
        with self.database.reading() as session:
            return tuple(session.scalar(select(func.count()).select_from(t)) for t in (Image, Caption, Pair))

    def pairs(self, *, retired: bool = False) -> set[tuple[str, str, str]]:
        """(picture's hash, caption, split) of the standing or the retired pairs."""
        query = select(Image.sha256, Caption.text, Pair.split).select_from(Pair).join(Image).join(Caption)
        query = query.where(Pair.retired_at.is_not(None) if retired else Pair.retired_at.is_(None))
        with self.database.reading() as session:
            return {tuple(row) for row in session.execute(query)}


def make_desk(folder: Path, url: str = "") -> Desk:
    """One in `folder`, with four pictures; `url` is its database, else SQLite."""
    folder.mkdir(parents=True)
    settings = Settings(home=folder / "home", database_url=url, lease_s=20)
    settings.home.mkdir()
    database = Database(settings)
    migrate(database.engine)
    source = folder / "source"
    source.mkdir()
    for i in range(4):
        (source / f"{i}.png").write_bytes(png(i))
    return Desk(settings=settings, database=database, source=source)
