"""A checkpoint's whole way to a hub: action, job, the real `huggingface_hub` client, and a stand-in for the hub here.

No hub can be reached from where the tests run, so nothing here says that huggingface.co itself answers like this; the
stand-in speaks the plain upload (LFS), not Xet.
"""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest
from huggingface_hub import constants
from pydantic import SecretStr
from sqlalchemy import select

from app.actions.start_push import start_push
from app.media.store import MediaStore
from app.store.models import DataSet, Event, Job, Model, Run, Snapshot
from tests.json_answers import JsonAnswers

GOOD, READ_ONLY = "hf_good", "hf_read_only"
WEIGHTS = bytes(range(256)) * 40


class Hub(JsonAnswers):
    """Takes uploads to any repository with the good token; what it took stands in `server.took`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        here, took = f"http://127.0.0.1:{self.server.server_port}", self.server.took
        if token == READ_ONLY:
            return self.answer(403, {"error": "this token may only read"})
        if token != GOOD:
            return self.answer(401, {"error": "Invalid credentials in Authorization header"})
        if self.path == "/api/repos/create":
            took["created"] = json.loads(body)
            return self.answer(200, {"url": f"{here}/shop/shoes"})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "shouldIgnore": False, "uploadMode": self.mode(f["path"])} for f in files
            ]
            return self.answer(200, {"files": modes})
        if self.path.endswith("/objects/batch"):
            objects = json.loads(body)["objects"]
            actions = [o | {"actions": {"upload": {"href": f"{here}/lfs/{o['oid']}"}}} for o in objects]
            return self.answer(200, {"objects": actions, "transfer": "basic"})
        if "/commit/" in self.path:
            took["commit"] = [json.loads(line) for line in body.splitlines()]
            about = {"commitUrl": f"{here}/shop/shoes/commit/{'0' * 40}", "commitOid": "0" * 40}
            return self.answer(200, about)
        return self.answer(404, {"error": "not found"})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.took["large"] = body
        self.answer(200, {})

    def mode(self, path: str) -> str:
        return "lfs" if path.endswith(".safetensors") else "regular"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.took = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "replaced by the settings'")  # and put back after the test
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def checkpoint(desk, tmp_path):
    """A finished run whose result lies in the media store."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text('{"model_cfg": {}}')
    (folder / "open_clip_model.safetensors").write_bytes(WEIGHTS)
    key = MediaStore(desk.settings.resolved_media_url).put_folder(folder, kind="checkpoints")
    with desk.database.transaction() as session:
        session.add(DataSet(id=1, name="shop"))
        session.add(Model(id=1, name="base", location="hf-hub:laion/CLIP", licence="mit"))
        session.flush()
        session.add(Snapshot(id=1, data_set_id=1, hash="x", pairs_key="", verdicts_key="", counts={}))
        session.add(Job(id=1, kind="fine_tune", queue="gpu", data_set_id=1, state="finished"))
        session.flush()
        about = {"name": "shoes", "config_yaml": "", "checkpoint_key": key}
        session.add(Run(id=1, job_id=1, data_set_id=1, snapshot_id=1, model_id=1, **about))


def push(desk, token: str) -> tuple[Job, str]:
    """The push with a token, done, and everything that it left in the database."""
    desk.settings.hub_token = SecretStr(token)
    job = desk.do(lambda session: start_push(session, run_id=1, repository="shop/shoes"))
    with desk.database.reading() as session:
        events = session.scalars(select(Event).where(Event.job_id == job.id)).all()
        return job, json.dumps([event.body for event in events]) + job.reason


def test_a_checkpoint_arrives_whole_in_a_private_repository_with_its_card(desk, checkpoint, hub):
    job, said = push(desk, GOOD)
    assert job.state == "finished", job.reason
    assert f"pushed to http://127.0.0.1:{hub.server_port}/shop/shoes" in job.reason and GOOD not in said
    assert (hub.took["created"]["organization"], hub.took["created"]["name"]) == ("shop", "shoes")
    assert hub.took["created"]["visibility"] == "private" and hub.took["large"] == WEIGHTS
    committed = {one["value"].get("path"): one for one in hub.took["commit"]}
    assert committed["open_clip_model.safetensors"]["key"] == "lfsFile"
    card = base64.b64decode(committed["README.md"]["value"]["content"]).decode()
    assert 'base_model: "laion/CLIP"' in card and 'license: "mit"' in card and GOOD not in card
    assert base64.b64decode(committed["open_clip_config.json"]["value"]["content"]) == b'{"model_cfg": {}}'


@pytest.mark.parametrize("token", ["hf_revoked", READ_ONLY])
def test_a_refused_token_is_a_sentence_without_the_token(desk, checkpoint, hub, token):
    job, said = push(desk, token)
    assert job.state == "failed" and "commit" not in hub.took
    assert "The hub did not take shop/shoes" in job.reason and "the token's rights" in job.reason
    assert token not in said and "Traceback" not in job.reason


def test_a_hub_that_does_not_answer_is_a_sentence(desk, checkpoint, hub):
    hub.shutdown()
    hub.server_close()
    job, _ = push(desk, GOOD)
    assert job.state == "failed" and "The hub did not take shop/shoes" in job.reason, job.reason
