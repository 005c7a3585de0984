"""The store's tests run on SQLite and on a real Postgres, both built by the migrations."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
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


def postgres_bin() -> Path | None:
    """The folder of initdb and postgres: Debian's, or that of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def unprivileged() -> str | None:
    """The user to run Postgres as; it refuses root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A temporary Postgres on a free port of this machine."""
    folder = postgres_bin()
    if folder is None:
        if os.environ.get("CI"):
            pytest.fail("Postgres is missing; install postgresql")
        pytest.skip("Postgres is not installed, so its half of the store's tests does not run here")
    user = unprivileged()
    data = Path(tempfile.mkdtemp(prefix="nm-pg-"))
    if user is not None:
        shutil.chown(data, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    init = [
        str(folder / "initdb"),
        "-D",
        str(data / "db"),
        "-A",
        "trust",
        "-U",
        "nearmiss",
        "-E",
        "UTF8",
        "-N",
    ]
    subprocess.run([*init, "--locale=C"], check=True, capture_output=True, user=user, cwd="/tmp")
    options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}"]
    server = subprocess.Popen(
        [str(folder / "postgres"), "-D", str(data / "db"), "-p", str(port), *options],
        user=user,
        cwd="/tmp",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        ready = [str(folder / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
        for _ in range(100):
            if subprocess.run(ready, capture_output=True).returncode == 0:
                break
            subprocess.run(["sleep", "0.2"])
        yield f"postgresql://nearmiss@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(data, ignore_errors=True)


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
    return database
