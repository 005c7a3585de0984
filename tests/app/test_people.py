"""Accounts, on both databases: who comes in, as what, and what is kept of a secret."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.actions.accounts import add_person
from app.actions.credentials import issue
from app.actions.rights import Role
from app.api import create_app
from app.api.log_in import attempts
from app.store.database import Database
from app.store.models import Credential, PersonRow

PASSWORD = "a long enough one"


@pytest.fixture
def client(seeded: Database) -> Iterator[TestClient]:
    headers = {"X-Nearmiss": "1"}
    attempts.forget()
    app = create_app(seeded.settings)
    with TestClient(app, base_url="http://127.0.0.1:7860", headers=headers, follow_redirects=False) as client:
        yield client


def _add(database: Database, role: Role) -> int:
    with database.transaction() as session:
        return add_person(session, name=role, role=role, password=PASSWORD).id


def _log_in(client: TestClient, name: str, password: str = PASSWORD) -> int:
    return client.post("/log-in", data={"name": name, "password": password}).status_code


def test_without_accounts_the_local_user_needs_no_log_in(client: TestClient) -> None:
    assert client.get("/api/data-sets").status_code == 200


def test_a_session_opens_and_log_out_ends_it_on_the_server(client: TestClient, seeded: Database) -> None:
    _add(seeded, "admin")
    assert _log_in(client, "admin", "wrong") == 401
    assert _log_in(client, "nobody") == 401
    assert _log_in(client, "a\0b") == _log_in(client, " ") == 400
    assert _log_in(client, "admin") == 303
    secret = client.cookies["nearmiss_session"]
    assert client.get("/api/data-sets").status_code == 200
    assert client.post("/log-out").status_code == 303
    client.cookies.set("nearmiss_session", secret)
    assert client.get("/api/data-sets").status_code == 401


def test_roles_bound_what_a_person_changes(client: TestClient, seeded: Database) -> None:
    for role in ("viewer", "annotator", "admin"):
        _add(seeded, role)  # type: ignore[arg-type]
    got = {}
    for role in ("viewer", "annotator", "admin"):
        assert _log_in(client, role) == 303
        mining, data_sets = (
            client.post("/api/data-sets/1/mine", json={}),
            client.post("/api/data-sets", json={}),
        )
        got[role] = (mining.status_code == 403, data_sets.status_code == 403)
    assert got == {"viewer": (True, True), "annotator": (False, True), "admin": (False, False)}


def test_a_token_works_until_it_expires_and_is_no_session(client: TestClient, seeded: Database) -> None:
    person_id = _add(seeded, "annotator")
    with seeded.transaction() as session:
        good = issue(session, person_id=person_id, kind="token", lives_s=60)
        old = issue(session, person_id=person_id, kind="token", lives_s=-1)
    status = [
        client.get("/api/data-sets", headers={"Authorization": f"Bearer {secret}"}).status_code
        for secret in (good, old, "x")
    ]
    assert status == [200, 401, 401]
    client.cookies.set("nearmiss_session", good)
    assert client.get("/api/data-sets").status_code == 401


def test_no_secret_is_stored_as_it_is(client: TestClient, seeded: Database) -> None:
    _add(seeded, "admin")
    _log_in(client, "admin")
    with seeded.reading() as session:
        assert session.scalars(select(Credential.hash)).one() != client.cookies["nearmiss_session"]
        assert session.scalars(select(PersonRow.password_hash)).one().startswith("$argon2id$")


def test_the_eleventh_attempt_within_a_minute_is_refused(client: TestClient, seeded: Database) -> None:
    _add(seeded, "admin")
    assert [_log_in(client, "admin", "wrong") for _ in range(10)] == [401] * 10
    assert _log_in(client, "admin") == 429


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/data-sets"),
        ("POST", "/api/data-sets/1/import"),
        ("POST", "/api/previews"),
        ("POST", "/api/uploads"),
        ("POST", "/api/models"),
        ("GET", "/api/folders"),
    ],
)
def test_only_an_admin_names_paths_on_the_server(
    client: TestClient, seeded: Database, method: str, path: str
) -> None:
    _add(seeded, "admin")
    _add(seeded, "annotator")
    _log_in(client, "annotator")
    assert client.request(method, path, json={}).status_code == 403
    assert client.get("/api/models").status_code == client.get("/api/data-sets").status_code == 200
