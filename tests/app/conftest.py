"""The store's tests run on SQLite and on a real Postgres, both built by the migrations."""

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


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of an empty home; leases are short."""
    url = ""
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_url")
        name = f"t{uuid.uuid4().hex}"
        engine = create_engine(
            server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.execute(text(f"create database {name}"))
        engine.dispose()
        url = server.rsplit("/", 1)[0] + "/" + name
    return Settings(home=tmp_path, database_url=url, lease_s=0.5, max_attempts=3)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """A migrated database."""
    made = Database(settings)
    migrate(made.engine)
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
