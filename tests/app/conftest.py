"""The store's tests run on SQLite and on a real Postgres, both built by the migrations."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from app.actions.add_model import add_model
from app.actions.add_rows import NewRow, add_rows
from app.actions.add_suggestions import NewSuggestion, add_suggestions
from app.settings import Settings
from app.store.database import Database
from app.store.models import DataSet
from app.store.schema import migrate
from app.store.words import index_words


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file that the migrations built; a test's own is a copy."""
    home = tmp_path_factory.mktemp("migrated")
    made = Database(Settings(home=home))
    migrate(made.engine)
    made.close()
    return home / "nearmiss.db"


@pytest.fixture(scope="session")
def template(postgres_url: str) -> str:
    """The name of a Postgres database that the migrations built; a test's own is a copy."""
    create(postgres_url, "migrated")
    made = Database(Settings(database_url=beside(postgres_url, "migrated")))
    migrate(made.engine)
    made.close()
    return "migrated"


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a home whose database is empty, or has its tables where a test asks for `database`; leases are short."""
    has_tables, url = "database" in request.fixturenames, ""
    if request.param == "postgres":
        server, name = request.getfixturevalue("postgres_url"), f"t{uuid.uuid4().hex}"
        create(server, name, template=request.getfixturevalue("template") if has_tables else "template1")
        url = beside(server, name)
    elif has_tables:
        shutil.copy(request.getfixturevalue("migrated"), tmp_path)
    return Settings(home=tmp_path, database_url=url, lease_s=0.5, max_attempts=3)


def create(server: str, name: str, *, template: str = "template1") -> None:
    """A database of the server at that URL."""
    engine = create_engine(server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"create database {name} template {template}"))
    engine.dispose()


def beside(server: str, name: str) -> str:
    """The URL of another database of the same server."""
    return server.rsplit("/", 1)[0] + "/" + name


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """A migrated database."""
    made = Database(settings)
    yield made
    made.close()


@pytest.fixture
def seeded(database: Database) -> Database:
    """Data set 1 with 12 pairs (2 held out), model 1, and a suggestion of each image with each next caption."""
    with database.transaction() as session:
        data_set = DataSet(name="things")
        session.add(data_set)
        session.flush()
        rows = [
            NewRow(f"{i}.png", f"{i:064x}", 8, 8, f"thing {i}", "train" if i < 10 else "held_out")
            for i in range(12)
        ]
        add_rows(session, data_set_id=data_set.id, rows=rows)
        model = add_model(session, name="tiny", location="local-dir:tiny")
        found = [
            NewSuggestion(i, j, "no_match", probability=i / 20, score=0.5, impact=i + j / 100)
            for i in range(1, 13)
            for j in range(1, 13)
            if i != j
        ]
        add_suggestions(session, data_set_id=data_set.id, model_id=model.id, suggestions=found)
        index_words(session)
    return database
