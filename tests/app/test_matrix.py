"""Every route × every role × own and foreign data set, enumerated from the application itself: a route that was added
and not classified fails here (see `app.api.access`). The page's own routes, Gradio's, are enumerated too."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import update

from app.actions.accounts import HASHER
from app.actions.credentials import issue
from app.api.access import Needs, needs_of
from app.api.door import GRADIO, OPEN
from app.api.server import create_app
from app.settings import Settings
from app.store.database import Database
from app.store.models import (
    BulkCheck,
    Caption,
    Comment,
    DataSet,
    DuplicateGroup,
    Grant,
    Image,
    Job,
    Mend,
    Model,
    Pair,
    PersonRow,
    Probe,
    Run,
    Snapshot,
    Suggestion,
    Verdict,
)
from app.store.reads.owners import NAMES
from app.store.schema import migrate
from app.ui.mount import mount

CANARY = "canary-of-a-foreign-data-set"
UUID = "6f1c2a34-0000-4000-8000-000000000001"
RANK = {"viewer": 0, "annotator": 1, "admin": 2}
LIMITED = ("limited viewer", "limited annotator", "limited admin")
EVERYWHERE = ("viewer", "annotator", "admin")
HEADERS = {"X-Nearmiss": "1"}
OTHERS = {
    "verb": "cancel",
    "size": "256",
    "upload_id": "0" * 32,
    "person_id": "99",
    "token_id": "99",
    "secret": "x",
}  # path parameters that name no row of a data set
# for each changing route that asks by itself: a body that names rows of the foreign data set
FOREIGN_BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/verdicts"): {
        "verdicts": [{"uuid": UUID[:-1] + "9", "image_id": 2, "caption_id": 2, "answer": "match"}]
    },
    ("POST", "/api/verdicts/undo"): {"uuid": UUID[:-1] + "8", "retracts": UUID[:-1] + "2"},
    ("POST", "/api/runs"): {"data_set_id": 2, "model_id": 1},
    ("POST", "/api/runs/preview"): {"data_set_id": 2, "model_id": 1},
    ("POST", "/api/runs/measure"): {"data_set_id": 2, "model_id": 1},
    ("POST", "/api/me/tokens"): {"data_set_id": 2},
    ("POST", "/api/run-comparisons"): {"data_set_id": 2, "model_id": 1, "request_key": UUID},
}


def _fill(database: Database, number: int, said: str) -> None:
    """Data set `number` with one row of each table, each with the id `number`."""
    with database.transaction() as session:

        def add(row: Any) -> None:
            session.add(row)
            session.flush()

        n = number
        add(DataSet(id=n, name=said, source=said))
        add(Image(id=n, data_set_id=n, key=said, sha256=f"{n:064x}", width=1, height=1))
        add(Caption(id=n, data_set_id=n, text=said, sha256=f"{n:064x}"))
        add(Pair(id=n, data_set_id=n, image_id=n, caption_id=n))
        add(Job(id=n, kind="fine_tune", queue="gpu", data_set_id=n, state="finished", reason=said))
        add(Snapshot(id=n, data_set_id=n, hash=f"{n:064x}", pairs_key="", verdicts_key="", counts={}))
        add(Model(id=n, name=f"base {n}" if n == 1 else said, location="x"))
        run = Run(id=n, job_id=n, data_set_id=n, snapshot_id=n, model_id=n, name=said, config_yaml=said)
        add(run)
        if n == 2:
            session.execute(update(Model).where(Model.id == 2).values(run_id=2))
        numbers = {"probability": 0.5, "score": 0.5, "impact": 0.5, "uncertainty": 0.5, "shuffle": 0.5}
        row = {"data_set_id": n, "image_id": n, "caption_id": n}
        add(Suggestion(id=n, model_id=n, proposed="match", **row, **numbers))
        add(Verdict(id=n, uuid=UUID[:-1] + str(n), answer="match", person=said, **row))
        add(Probe(id=n, data_set_id=n, text=said))
        add(Comment(id=n, data_set_id=n, image_id=n, text=said, person=said))
        add(DuplicateGroup(id=n, data_set_id=n, kind="image", members_hash=str(n), size=2))
        band = {"min_probability": 0.0, "max_probability": 1.0, "target_error": 0.05, "alpha": 0.05}
        last = {"last_suggestion_id": n, "last_verdict_id": n, "slice_size": 1, "sample_ids": [n]}
        about = {"person": said, "bulk_id": str(n), "attempt": 1, "seed": 1, "proposed": "match"}
        add(Mend(id=n, data_set_id=n, old_pair_id=n, new_pair_id=n, person=said))
        add(BulkCheck(id=n, data_set_id=n, **band, **last, **about))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """Client and one token a role; data set 1 is everybody's, data set 2 only of those with a role everywhere."""
    home = tmp_path_factory.mktemp("matrix")
    database = Database(Settings(home=home, oidc_issuer="http://127.0.0.1:9"))
    migrate(database.engine)
    _fill(database, 1, "own")
    _fill(database, 2, CANARY)
    tokens = {}
    with database.transaction() as session:
        for name in (*LIMITED, *EVERYWHERE):
            role = name.split()[-1]
            limited = name in LIMITED
            person = PersonRow(name=name, role="viewer" if limited else role, limited=limited)
            person.password_hash = HASHER.hash("x")
            session.add(person)
            session.flush()
            if limited:
                session.add(Grant(person_id=person.id, data_set_id=1, role=role))
            tokens[name] = issue(session, person_id=person.id, kind="token", lives_s=3600)
    app = mount(create_app(database.settings))
    with TestClient(app, base_url="http://127.0.0.1:7860", headers=HEADERS, follow_redirects=False) as client:
        client.__dict__["database"] = database
        yield client, tokens


def _routes(client: TestClient) -> list[tuple[str, str, Needs | None]]:
    """Method, path and class of all routes of ours."""
    found = []
    for context in iter_route_contexts(client.app.routes):  # type: ignore[attr-defined]
        route = context.original_route
        if getattr(route, "dependant", None) is None:
            continue
        for method in sorted(route.methods):  # type: ignore[attr-defined]
            found.append((method, route.path, needs_of(route, method)))  # type: ignore[attr-defined]
    return found


def _address(path: str, number: int) -> str:
    for name in NAMES:
        path = path.replace("{" + name + "}", str(number))
    for name, value in OTHERS.items():
        path = path.replace("{" + name + "}", value)
    return path.replace("{", "").replace("}", "")


def _ask(client: TestClient, token: str | None, method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    json = {} if method != "GET" and body is None else body
    return client.request(method, path, headers=headers, json=json)


def test_every_route_has_a_class_and_only_the_open_ones_are_open(world: Any) -> None:
    client, _ = world
    routes = _routes(client)
    assert len(routes) > 40
    without = [(method, path) for method, path, needs in routes if needs is None]
    assert without == [], "classify these as app/api/access.py says"
    assert {path for _, path, needs in routes if needs and needs.kind == "open"} == OPEN


def test_a_stranger_gets_nothing_but_log_in_and_health(world: Any) -> None:
    client, _ = world
    for method, path, needs in _routes(client):
        if needs and needs.kind != "open":
            assert _ask(client, None, method, _address(path, 1)).status_code == 401, (method, path)
    page = client.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 303 and page.headers["location"] == "/log-in"
    assert client.get("/page/app.js").status_code == client.get("/config").status_code == 401


@pytest.mark.parametrize("role", LIMITED)
def test_foreign_rows_are_not_there(world: Any, role: str) -> None:
    client, tokens = world
    for method, path, needs in _routes(client):
        if needs and needs.kind == "data_set":
            answers = [_ask(client, tokens[role], method, _address(path, n)) for n in (2, 77)]
            assert [a.status_code for a in answers] == [404, 404], (method, path)
            foreign, missing = (a.text.replace("77", "2") for a in answers)
            assert foreign == missing, "the answer must not tell that the row exists"
        if needs and needs.kind in ("asks_itself", "anybody") and method == "GET":
            answer = _ask(client, tokens[role], method, _address(path, 1))
            assert answer.status_code < 500 and CANARY not in answer.text, path


@pytest.mark.parametrize("role", LIMITED)
def test_foreign_rows_in_a_body_are_not_there(world: Any, role: str) -> None:
    client, tokens = world
    asking = {
        (m, p) for m, p, needs in _routes(client) if needs and needs.kind == "asks_itself" and m != "GET"
    }
    assert asking == set(FOREIGN_BODIES), "a body for each changing route that asks by itself"
    for (method, path), body in FOREIGN_BODIES.items():
        answer = _ask(client, tokens[role], method, path, body)
        assert answer.status_code == 404 and CANARY not in answer.text, (method, path, answer.text)


@pytest.mark.parametrize("role", [*LIMITED, *EVERYWHERE])
def test_each_role_may_what_it_may(world: Any, role: str) -> None:
    client, tokens = world
    rank = RANK[role.split()[-1]]
    for method, path, needs in _routes(client):
        assert needs is not None
        if needs.kind == "open" or path == "/log-out":
            continue
        answer = _ask(client, tokens[role], method, _address(path, 1))
        asked = (method, path, answer.status_code, answer.text[:200])
        assert (answer.status_code != 401 and answer.status_code < 500) or answer.status_code == 503, asked
        if role in LIMITED:
            assert CANARY not in answer.text, asked
        if needs.kind == "server":
            assert (answer.status_code == 403) == (role != "admin"), asked
        if needs.kind == "data_set":
            assert (answer.status_code == 403) == (rank < RANK[needs.role or "viewer"]), asked


def test_a_viewer_changes_nothing_by_a_body(world: Any) -> None:
    client, tokens = world
    own = {"uuid": UUID[:-1] + "7", "image_id": 1, "caption_id": 1, "answer": "match"}
    bodies = {"/api/verdicts": {"verdicts": [own]}, "/api/runs": {"data_set_id": 1, "model_id": 1}}
    bodies["/api/verdicts/undo"] = {"uuid": UUID[:-1] + "6", "retracts": UUID[:-1] + "1"}
    for path, body in bodies.items():
        for role in ("viewer", "limited viewer"):
            assert _ask(client, tokens[role], "POST", path, body).status_code == 403, (path, role)


def test_a_token_reaches_no_further_than_it_was_made_for(world: Any) -> None:
    client, _ = world
    database: Database = client.__dict__["database"]
    with database.transaction() as session:
        reading = issue(session, person_id=6, kind="token", lives_s=60, cap="viewer")
        bound = issue(session, person_id=6, kind="token", lives_s=60, data_set_id=1)
    assert _ask(client, reading, "GET", "/api/data-sets/2").status_code == 200
    assert _ask(client, reading, "POST", "/api/data-sets/2/mine").status_code == 403
    assert _ask(client, reading, "GET", "/api/folders").status_code == 403
    assert _ask(client, bound, "GET", "/api/data-sets/1").status_code == 200
    assert _ask(client, bound, "GET", "/api/data-sets/2").status_code == 404
    assert _ask(client, bound, "GET", "/api/folders").status_code == 403
    assert CANARY not in _ask(client, bound, "GET", "/api/data-sets").text


def _gradio(routes: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for context in iter_route_contexts(routes):
        route = context.original_route
        inner = getattr(route, "routes", None) or getattr(getattr(route, "app", None), "routes", None)
        path = getattr(context, "path", None) or getattr(route, "path", "")
        if inner:
            yield from _gradio(inner, prefix + path.rstrip("/"))
        else:
            for method in sorted(getattr(route, "methods", None) or ["GET"]):
                yield method, prefix + path


def test_of_gradio_only_what_the_page_asks_for_is_open_and_only_after_log_in(world: Any) -> None:
    client, tokens = world
    mounted = next(r for r in client.app.routes if getattr(r, "path", None) == "" and hasattr(r, "app"))  # type: ignore[attr-defined]
    routes = set(_gradio(mounted.app.routes))
    assert len(routes) > 40 and ("POST", "/gradio_api/upload") in routes, sorted(routes)
    reached = set()
    for method, path in sorted(routes):
        address = path.replace("{path:path}", "x").replace("{", "").replace("}", "").replace(":path", "")
        if address in OPEN or method == "OPTIONS":
            continue
        assert client.request(method, address).status_code == 401, (method, path)
        if method in ("GET", "HEAD") and GRADIO.fullmatch(address):
            reached.add(path)
            continue
        answer = client.request(method, address, headers={"Authorization": f"Bearer {tokens['admin']}"})
        assert answer.status_code == 404, (method, path)
    assert not [
        p for p in reached if any(word in p for word in ("upload", "file", "proxy", "queue", "stream"))
    ]


def test_only_admins_of_the_server_see_where_a_data_set_came_from(world):
    client, tokens = world
    seen = {
        name: {data_set["source"] for data_set in _ask(client, tokens[name], "GET", "/api/data-sets").json()}
        | {_ask(client, tokens[name], "GET", "/api/data-sets/1").json()["source"]}
        for name in (*LIMITED, *EVERYWHERE)
    }
    assert seen.pop("admin") == {"own", CANARY}
    assert all(sources == {""} for sources in seen.values()), seen


def test_only_the_servers_admins_push_with_its_token_unless_it_says_otherwise(world, monkeypatch):
    client, tokens = world
    database: Database = client.__dict__["database"]
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    push, body = "/api/runs/1/push", {"repository": "shop/shoes"}
    with database.transaction() as session:
        bound = issue(session, person_id=6, kind="token", lives_s=60, data_set_id=1)

    def answers(token: str) -> tuple[int, str, bool]:
        answer = _ask(client, token, "POST", push, body)
        can_push = _ask(client, token, "GET", "/api/runs/1/gains").json()["can_push"]
        return answer.status_code, answer.json()["error"], can_push

    for token in (tokens["limited admin"], bound):
        status, said, can_push = answers(token)
        assert status == 403 and "needs the role admin on this server" in said and not can_push
    status, said, can_push = answers(tokens["admin"])
    assert status == 400 and "no checkpoint" in said and can_push
    settings = client.app.state.database.settings  # type: ignore[attr-defined]
    monkeypatch.setattr(settings, "hub_data_set_admins", True)
    assert answers(tokens["limited admin"])[::2] == (400, True)
    assert answers(tokens["annotator"])[0] == 403, "allowed to admins of the data set, not to annotators"
