"""Who changed what: every changing route has a line in the audit log, writes its own, or says why it needs none."""

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from app.api import create_app
from app.api.audit_lines import LINES, NO_LINE, OWN_LINE
from app.settings import Settings
from app.store.database import Database
from app.store.schema import migrate


@pytest.fixture
def client(tmp_path):
    settings = Settings(home=tmp_path)
    migrate(Database(settings).engine)
    headers = {"X-Nearmiss": "1"}
    with TestClient(create_app(settings), base_url="http://127.0.0.1:7860", headers=headers) as client:
        yield client


def test_every_changing_route_is_in_exactly_one_table(client):
    changing = set()
    for context in iter_route_contexts(client.app.routes):
        route = context.original_route
        if getattr(route, "dependant", None) is not None and route.methods - {"GET", "HEAD"}:
            changing.add(route.path)
    tables = [set(LINES), set(OWN_LINE), set(NO_LINE)]
    assert changing == set().union(*tables)
    assert sum(map(len, tables)) == len(changing)
    assert all(NO_LINE.values())


def test_a_change_leaves_a_line_and_a_refusal_or_a_look_leaves_none(client):
    assert client.post("/api/models", json={"location": "local-dir:/x", "name": "mine"}).status_code == 200
    assert client.post("/api/models", json={"location": "", "name": "refused"}).status_code >= 400
    assert client.get("/api/models").status_code == 200
    upload = client.post("/api/uploads").json()["id"]
    client.delete(f"/api/uploads/{upload}")
    lines = client.get("/api/audit").json()
    said = {(line["action"], line["detail"].get("name")) for line in lines}
    assert said == {("added a model", "mine"), ("began an upload", None), ("deleted an upload", None)}
    assert {line["person"] for line in lines} == {"me"}
