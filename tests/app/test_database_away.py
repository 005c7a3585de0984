"""While Postgres takes nobody, the door answers 503 with a sentence, and everything works again by itself."""

import time

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text

from app.actions.accounts import HASHER
from app.actions.credentials import issue
from app.api import create_app
from app.settings import Settings
from app.store.database import Database
from app.store.models import PersonRow
from app.store.schema import migrate


@pytest.fixture
def server(postgres_url):
    """Statements for the server itself; one connection, so that it stays when the other database is closed."""
    engine = create_engine(
        postgres_url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        yield lambda statement: connection.execute(text(statement))
    engine.dispose()


def test_503_at_the_door_while_the_database_is_away(server, postgres_url, tmp_path):
    server("create database away")
    url = postgres_url.rsplit("/", 1)[0] + "/away"
    settings = Settings(home=tmp_path, database_url=url)
    database = Database(settings)
    migrate(database.engine)
    with database.transaction() as session:
        person = PersonRow(name="ana", role="admin", password_hash=HASHER.hash("x"))
        session.add(person)
        session.flush()
        token = issue(session, person_id=person.id, kind="token", lives_s=3600)
    database.close()
    headers = {"X-Nearmiss": "1", "Authorization": f"Bearer {token}"}
    with TestClient(create_app(settings), base_url="http://127.0.0.1:7860", headers=headers) as client:
        assert client.get("/api/me").json()["name"] == "ana"
        server("alter database away allow_connections false")
        server("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'away'")
        for method, path in (("GET", "/api/me"), ("GET", "/api/data-sets"), ("POST", "/api/uploads")):
            answer = client.request(method, path)
            assert answer.status_code == 503, (path, answer.text)
            assert answer.json() == {
                "error": "the database does not answer; nothing is lost, try again in a moment"
            }
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        server("alter database away allow_connections true")
        give_up = time.monotonic() + 30
        while client.get("/api/me").status_code != 200 and time.monotonic() < give_up:
            time.sleep(0.2)
        assert client.get("/api/me").json()["name"] == "ana"
        assert client.get("/readyz").status_code == 200
    server("drop database away with (force)")
