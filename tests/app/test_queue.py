"""What a person does with runs that wait: by the routes, and by `nearmiss runs` on the same actions."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

import app.cli.gc
import app.cli.runs
from app.api import create_app
from app.cli.main import cli
from app.store.database import Database

WISH = {"data_set_id": 1, "model_id": 1, "preset": "adapter", "overrides": {"batch": {"size": 4}}}


@pytest.fixture
def client(seeded: Database) -> Iterator[TestClient]:
    headers = {"X-Nearmiss": "1"}
    with TestClient(create_app(seeded.settings), base_url="http://127.0.0.1:7860", headers=headers) as client:
        yield client


@pytest.fixture
def command(seeded: Database, monkeypatch: pytest.MonkeyPatch):
    """`nearmiss …` on the test's installation: its output."""
    for module in (app.cli.runs, app.cli.gc):
        monkeypatch.setattr(module, "get_settings", lambda: seeded.settings)

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(cli, list(arguments))
        assert done.exit_code == 0, done.output + str(done.exception)
        return done.output

    return call


def start(client: TestClient, **changes: object) -> dict:
    answer = client.post("/api/runs", json=WISH | changes)
    assert answer.status_code == 200, answer.text
    return answer.json()["run"]


def test_waiting_runs_are_moved_paused_resumed_and_cancelled(client: TestClient) -> None:
    runs = [start(client) for _ in range(3)]
    jobs = [run["job_id"] for run in runs]
    assert client.post(f"/api/runs/{runs[2]['id']}/first").json()["priority"] == 1
    assert client.post(f"/api/runs/{runs[0]['id']}/last").json()["priority"] == -1
    assert client.post(f"/api/runs/{runs[1]['id']}/pause").json()["state"] == "paused"
    order = [job["id"] for job in client.get("/api/jobs").json()]
    assert order == [jobs[2], jobs[0], jobs[1]]
    assert client.post(f"/api/runs/{runs[1]['id']}/retry").json()["state"] == "queued"
    assert client.post(f"/api/runs/{runs[1]['id']}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/api/runs/{runs[1]['id']}/first").status_code == 409


def test_a_clone_takes_over_what_is_not_changed_and_a_second_click_makes_no_second_run(
    client: TestClient,
) -> None:
    run = start(client, processes=2)
    body = {"overrides": {"seed": 7}, "request_key": "click-12345"}
    clones = [client.post(f"/api/runs/{run['id']}/clone", json=body).json()["run"] for _ in range(2)]
    assert clones[0]["id"] == clones[1]["id"] != run["id"]
    assert clones[0]["name"] == f"{run['name']} again"
    old, new = run["config_yaml"].splitlines(), clones[0]["config_yaml"].splitlines()
    assert [line for line in new if line not in old] == ["seed: 7"]
    bad = client.post(f"/api/runs/{run['id']}/clone", json={"overrides": {"sed": 7}})
    assert bad.status_code == 400 and "Unknown key" in bad.json()["error"]


def test_the_commands_say_what_they_did(client: TestClient, command) -> None:
    run = start(client)
    assert f"run {run['id']} is paused" in command("runs", "pause", str(run["id"]))
    assert f"run {run['id']} is queued" in command("runs", "resume", str(run["id"]))
    assert "is queued" in command("runs", "first", str(run["id"]))
    assert "is queued" in command("runs", "clone", str(run["id"]), "--set", "optimiser.lr=1e-4")
    assert "lr: 0.0001" in client.get(f"/api/runs/{run['id'] + 1}").json()["config_yaml"]
    assert f"run {run['id']} is cancelled" in command("runs", "cancel", str(run["id"]))
    assert run["name"] in command("runs", "list")
    assert "would become free" in command("gc", "--dry-run")


def test_what_is_erased_leaves_pages_and_queue(client: TestClient, command) -> None:
    num = client.get("/api/data-sets").json()[0]["num_open_suggestions"]
    assert client.post("/api/images/3/erase").json()["num_pairs"] == 1
    assert "erased 1 caption; 1 pair left" in command("erase", "caption", "5", "--yes")
    assert client.post("/api/images/3/erase").json()["num_rows"] == 0, "a second time changes nothing"
    assert client.get("/api/images/3/original").status_code == 404
    captions = [item["caption"] for item in client.get("/api/data-sets/1/pairs").json()["items"]]
    assert len(captions) == 10 and "" not in captions
    assert client.get("/api/data-sets").json()[0]["num_open_suggestions"] < num
    assert client.post("/api/images/999/erase").status_code == 404
