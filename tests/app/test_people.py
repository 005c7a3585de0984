"""Accounts, on both databases: who comes in, as what, and what is kept of a secret."""

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from sqlalchemy import select
from typer.testing import CliRunner

import app.cli.people
from app.actions import accounts
from app.actions.accounts import add_person
from app.actions.credentials import issue
from app.actions.first_start import say_first_password
from app.actions.rights import Role
from app.api import create_app
from app.api.log_in import attempts
from app.cli.main import cli
from app.store.database import Database
from app.store.models import Credential, DataSet, PersonRow

PASSWORD = "a long enough one"


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """argon2id all the same, without its cost."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(accounts, "HASHER", quick)
    monkeypatch.setattr(accounts, "NOBODY", quick.hash("nobody"))


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


def test_an_invitation_makes_one_account_on_one_data_set(client: TestClient, seeded: Database) -> None:
    _add(seeded, "admin")
    with seeded.transaction() as session:
        session.add(DataSet(id=2, name="other"))
    _log_in(client, "admin")
    secret = client.post("/api/invitations", json={"role": "annotator", "data_set_id": 1}).json()["secret"]
    client.post("/log-out")
    assert "Choose a name" in client.get(f"/join/{secret}").text
    short = client.post(f"/join/{secret}", data={"name": "ana", "password": "short"})
    assert short.status_code == 400 and "give 10 to" in short.text
    assert client.post(f"/join/{secret}", data={"name": "ana", "password": PASSWORD}).status_code == 303
    assert [s["id"] for s in client.get("/api/data-sets").json()] == [1]
    assert client.get("/api/me").json()["role"] is None
    again = client.post(f"/join/{secret}", data={"name": "bob", "password": PASSWORD})
    assert again.status_code == 404 and "was used" in again.text
    assert client.get("/join/made-up").status_code == 404


def test_a_changed_password_ends_all_other_sessions_and_tokens(client: TestClient, seeded: Database) -> None:
    person_id = _add(seeded, "annotator")
    _log_in(client, "annotator")
    with seeded.transaction() as session:
        token = issue(session, person_id=person_id, kind="token", lives_s=60)
    wrong = client.post("/api/me/password", json={"old": "wrong", "new": "another long one"})
    assert wrong.status_code == 401
    assert client.post("/api/me/password", json={"old": PASSWORD, "new": "short"}).status_code == 400
    done = client.post("/api/me/password", json={"old": PASSWORD, "new": "another long one"})
    assert done.status_code == 200 and client.get("/api/me").status_code == 200
    client.cookies.clear()
    assert client.get("/api/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert (_log_in(client, "annotator"), _log_in(client, "annotator", "another long one")) == (401, 303)


def test_a_token_is_made_shown_once_listed_without_it_and_ended(client: TestClient, seeded: Database) -> None:
    _add(seeded, "admin")
    _log_in(client, "admin")
    wish = {"name": "nightly", "role": "viewer", "days": 7}
    secret = client.post("/api/me/tokens", json=wish).json()["secret"]
    listed = client.get("/api/me/tokens")
    assert secret not in listed.text and listed.json()[0]["name"] == "nightly"
    bearer = {"Authorization": f"Bearer {secret}"}
    assert client.get("/api/data-sets", headers=bearer).status_code == 200
    assert client.post("/api/data-sets/1/mine", json={"model_id": 1}, headers=bearer).status_code == 403
    assert client.post("/api/me/tokens", json=wish, headers=bearer).status_code == 400
    assert client.delete(f"/api/me/tokens/{listed.json()[0]['id']}").json() == []
    assert client.get("/api/data-sets", headers=bearer).status_code == 401


def test_the_last_admin_stays_and_what_admins_do_is_on_record(client: TestClient, seeded: Database) -> None:
    admin_id, other = _add(seeded, "admin"), _add(seeded, "annotator")
    _log_in(client, "admin")
    for refused in (
        client.delete(f"/api/people/{admin_id}"),
        client.post(f"/api/people/{admin_id}/role", json={"role": "viewer"}),
    ):
        assert refused.status_code == 409 and "last admin" in refused.json()["error"]
    client.post(f"/api/people/{other}/role", json={"role": "viewer", "limited": True})
    client.post(f"/api/data-sets/1/people/{other}", json={"role": "annotator"})
    client.post(f"/api/people/{other}/password")
    client.delete(f"/api/people/{other}")
    actions = [line["action"] for line in client.get("/api/audit").json()]
    wanted = ["removed a person", "set a password", "granted access", "set a role", "logged in"]
    assert actions[:5] == wanted and "password" not in client.get("/api/audit").text.replace(
        "set a password", ""
    )


def test_the_first_account_is_an_admins(client: TestClient) -> None:
    wish = {"name": "ana", "role": "annotator", "password": PASSWORD}
    assert client.post("/api/people", json=wish).status_code == 409
    assert client.post("/api/people", json=wish | {"role": "admin"}).status_code == 200
    assert client.get("/api/people").status_code == 401


def test_behind_a_trusted_proxy_attempts_count_by_person_and_the_cookie_is_secure(seeded: Database) -> None:
    _add(seeded, "admin")
    settings = seeded.settings.model_copy(update={"hosts": "desk.example", "trusted_proxies": "testclient"})
    from_proxy = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "https"}
    with TestClient(create_app(settings), base_url="http://desk.example", follow_redirects=False) as client:
        attempts.forget()
        right, wrong = {"name": "admin", "password": PASSWORD}, {"name": "admin", "password": "x"}
        for _ in range(10):
            client.post("/log-in", data=wrong, headers=from_proxy)
        assert client.post("/log-in", data=right, headers=from_proxy).status_code == 429
        other = from_proxy | {"X-Forwarded-For": "203.0.113.6"}
        answer = client.post("/log-in", data=right, headers=other)
        assert answer.status_code == 303 and "Secure" in answer.headers["set-cookie"]
        assert "max-age" in answer.headers["strict-transport-security"]
    attempts.forget()
    with TestClient(
        create_app(seeded.settings), base_url="http://127.0.0.1", follow_redirects=False
    ) as client:
        answer = client.post(
            "/log-in", data=right, headers=from_proxy
        )  # nobody is trusted: a claim is not believed
        assert answer.status_code == 303 and "Secure" not in answer.headers["set-cookie"]


def test_a_first_start_that_others_reach_has_an_admin_with_a_password_printed_once(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = database.settings.model_copy(update={"host": "0.0.0.0", "hosts": "desk.example"})
    say_first_password(settings)
    said = capsys.readouterr().out
    password = said.split("password ")[1].split(" ")[0]
    say_first_password(settings)
    assert capsys.readouterr().out == ""
    attempts.forget()
    with TestClient(create_app(settings), base_url="http://desk.example", follow_redirects=False) as client:
        assert client.get("/api/data-sets").status_code == 401
        assert _log_in(client, "admin", password) == 303


def test_the_command_makes_a_token_that_opens(
    client: TestClient, seeded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(seeded, "admin")
    monkeypatch.setattr(app.cli.people, "get_settings", lambda: seeded.settings)
    done = CliRunner().invoke(cli, ["token", "admin", "--role", "viewer"])
    assert done.exit_code == 0, done.output
    bearer = {"Authorization": f"Bearer {done.output.split()[-1]}"}
    assert client.get("/api/data-sets", headers=bearer).status_code == 200
