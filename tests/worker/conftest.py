"""Desks on SQLite, and on a real Postgres where a test asks for both."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.import_desk import Desk, make_desk


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
