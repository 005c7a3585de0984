"""An import as its worker does it, without broker: on SQLite, and on a real Postgres where a test asks for both."""

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image as Picture
from sqlalchemy import create_engine, func, select, text

from app.settings import Settings
from app.store.database import Database
from app.store.models import Caption, Image, Job, Pair
from app.store.schema import migrate
from tests.work_on import work_on


def png(value: int) -> bytes:
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


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = make_desk(tmp_path / "desk")
    yield made
    made.database.close()


@pytest.fixture(params=["sqlite", "postgres"])
def both_desks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = ""
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_url")
        engine = create_engine(
            server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
        )
        name = f"w{abs(hash(str(tmp_path))):x}"
        with engine.connect() as connection:
            connection.execute(text(f"create database {name}"))
        engine.dispose()
        url = server.rsplit("/", 1)[0] + "/" + name
    made = make_desk(tmp_path / "desk", url)
    yield made
    made.database.close()
