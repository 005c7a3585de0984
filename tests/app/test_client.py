"""The typed client against a real server on a socket, the event stream, and webhooks."""

import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
import uvicorn
from sqlalchemy import select

from app.api import create_app, streams
from app.api.streams import MAX_STREAMS
from app.client import ApiError, Nearmiss
from app.errors import NearmissError
from app.jobs import lease, webhooks
from app.settings import Settings
from app.store.database import Database
from app.store.models import Run


@pytest.fixture
def nearmiss(seeded: Database) -> Iterator[Nearmiss]:
    config = uvicorn.Config(create_app(seeded.settings), host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with Nearmiss(f"http://127.0.0.1:{port}") as client:
        yield client
    server.should_exit = True
    thread.join()


def start_run(nearmiss: Nearmiss) -> int:
    return nearmiss.start_run(1, 1, preset="adapter", name="tried").id


def test_the_client_reads_decides_and_takes_back(nearmiss):
    assert [one.name for one in nearmiss.data_sets()] == ["things"]
    assert [pair.caption for pair in nearmiss.pairs(1, words="thing 11")] == ["thing 11"]
    assert len(list(nearmiss.pairs(1))) == 12
    first = nearmiss.suggestions(1, limit=1)[0]
    verdict = nearmiss.decide(first.image_id, first.caption_id, "no_match", suggestion_id=first.suggestion_id)
    assert nearmiss.decide(first.image_id, first.caption_id, "no_match", key=verdict) == verdict
    assert [said["verdict"] for said in nearmiss.verdicts(1)] == ["no_match"]
    nearmiss.undo(verdict)
    assert list(nearmiss.verdicts(1)) == []
    assert nearmiss.models()[0].name == "tiny"


def test_the_client_previews_searches_and_steers(nearmiss, tmp_path):
    (tmp_path / "x.csv").write_text("pic,words\nno.png,hello\n")
    seen = nearmiss.preview(str(tmp_path / "x.csv"), columns={"image": "pic", "caption": "words"})
    assert (list(seen.columns), seen.problem) == (["pic", "words"], "") and "no.png" in seen.rows[0]["reason"]
    assert nearmiss.pair(3).caption == "thing 2"
    assert "thing 3" in [pair.caption for pair in nearmiss.search(1, "thing 3")]
    run = start_run(nearmiss)
    assert nearmiss.steer_run(run, "pause").state == "paused"
    assert nearmiss.cancel(nearmiss.run(run).job_id).state == "cancelled"
    export = nearmiss.export(1, "tsv")
    with pytest.raises(ApiError, match="export again"):
        nearmiss.download(export.id, tmp_path / "x.zip")
    with pytest.raises(ApiError, match="no checkpoint"):
        nearmiss.checkpoint(run, tmp_path / "y.zip")


def test_errors_are_the_servers_sentences(nearmiss):
    with pytest.raises(ApiError, match="no data set 99") as caught:
        nearmiss.data_set(99)
    assert caught.value.status == 404
    with pytest.raises(ApiError, match="is it running"), Nearmiss("http://127.0.0.1:9") as nobody:
        nobody.data_sets()


def test_files_are_uploaded_and_imported(nearmiss, tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "x.csv").write_bytes(b"image,caption\n" + b"0.png,x\n" * 200_000)
    (tmp_path / "shop" / "empty.txt").write_bytes(b"")
    source = nearmiss.upload(tmp_path / "shop")
    job = nearmiss.import_data_set("shop", source, columns={"image": "image"})
    assert job.state == "queued" and nearmiss.job(job.id).kind == "import"
    with pytest.raises(ApiError):
        nearmiss.rejected(job.id)


def test_events_are_streamed_to_the_runs_end(nearmiss, seeded):
    run = nearmiss.run(start_run(nearmiss))
    with seeded.transaction() as session:
        token = lease.claim(session, run.job_id, worker="w")
        lease.start(session, run.job_id, token=token)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(nearmiss.events(run.id)))
    reader.start()
    time.sleep(0.3)
    with seeded.transaction() as session:
        lease.heartbeat(session, run.job_id, token=token, events=[lease.NewEvent("log", {"text": "hello"})])
        lease.fail(session, run.job_id, token=token, reason="for the test")
    reader.join(10)
    assert not reader.is_alive() and [event.kind for event in seen][-2:] == ["log", "state"]
    with pytest.raises(ApiError, match="no run"):
        next(nearmiss.events(999))


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)  # seconds long, and about sockets
def test_five_hundred_streams_and_slow_clients_leave_the_server_answering(nearmiss, seeded):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (most, most)
    )  # both ends of 600 connections are this process's
    run = start_run(nearmiss)
    host, port = "127.0.0.1", nearmiss._http.base_url.port
    ask = f"GET /api/runs/{run}/events/stream HTTP/1.1\r\nHost: {host}\r\n".encode()
    slow = [socket.create_connection((host, port)) for _ in range(100)]
    for connection in slow:
        connection.sendall(ask)  # and the request never ends
    opened = []
    for _ in range(MAX_STREAMS):
        opened.append(socket.create_connection((host, port), timeout=60))
        opened[-1].sendall(ask + b"\r\n")
    try:
        for connection in opened:
            assert connection.recv(64).startswith(b"HTTP/1.1 200"), "a stream did not begin"
        began = time.monotonic()
        assert [one.name for one in nearmiss.data_sets()] == ["things"]
        assert time.monotonic() - began < 10  # under a second on a quiet machine
        with pytest.raises(ApiError, match="too many event streams"):
            next(nearmiss.events(run))
    finally:
        for connection in (*opened, *slow):
            connection.close()
    give_up = time.monotonic() + 60
    while streams._open.total() and time.monotonic() < give_up:
        time.sleep(0.1)
    assert streams._open.total() == 0, "whoever goes away must give the stream back"


def test_the_document_is_openapi_3_1_and_names_typed_answers(nearmiss):
    document = nearmiss._ask("GET", "/api/openapi.json")
    assert document["openapi"].startswith("3.1")
    for path in ("/api/data-sets", "/api/data-sets/{data_set_id}/pairs", "/api/runs/{run_id}", "/api/models"):
        answer = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert "$ref" in json.dumps(answer)


class Listener(BaseHTTPRequestHandler):
    heard: list[dict[str, object]] = []
    status = 200

    def do_POST(self) -> None:
        Listener.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(Listener.status)
        if Listener.status == 302:
            self.send_header("Location", "http://169.254.169.254/latest")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Listener.heard, Listener.status = [], 200
    yield f"http://localhost:{server.server_port}/hook"
    server.shutdown()


def test_the_end_of_a_run_is_told_once_it_is_committed(nearmiss, seeded, listener):
    seeded.settings.webhooks, seeded.settings.webhook_private = listener, True
    run = nearmiss.run(start_run(nearmiss))
    with seeded.transaction() as session:
        token = lease.claim(session, run.job_id, worker="w")
        lease.start(session, run.job_id, token=token)
    with seeded.transaction() as session:
        lease.fail(session, run.job_id, token=token, reason="for the test")
        assert Listener.heard == []
    for _ in range(100):
        if Listener.heard:
            break
        time.sleep(0.05)
    assert [(h["event"], h["run_id"], h["state"], h["reason"]) for h in Listener.heard] == [
        ("run_over", run.id, "failed", "for the test")
    ]
    with seeded.reading() as session:
        assert session.scalar(select(Run.id)) == run.id


def test_private_addresses_and_redirects_are_refused(listener, monkeypatch):
    closed, opened = Settings(), Settings(webhook_private=True)
    with pytest.raises(NearmissError, match="private network"):
        webhooks.post(closed, listener, {})
    assert Listener.heard == []
    Listener.status = 302
    with pytest.raises(NearmissError, match="redirects"):
        webhooks.post(opened, listener, {})
    for address in (
        "10.0.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:127.0.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "fd00::1",
        "2002:7f00:1::",
    ):
        found = [(0, 0, 0, "", ("93.184.216.34", 80)), (0, 0, 0, "", (address, 80))]
        monkeypatch.setattr(webhooks.socket, "getaddrinfo", lambda *_, found=found, **__: found)
        with pytest.raises(NearmissError, match="private network"):
            webhooks.post(closed, "http://public.example/", {})
    for url in ("ftp://x/", "http:///x", "file:///etc/passwd", "http://me:secret@x/"):
        with pytest.raises(NearmissError, match="http"):
            webhooks.post(opened, url, {})


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch):
    """A name that answers differently the second time reaches nobody else."""
    asked = []

    def lookup(*_: object, **__: object) -> list[object]:
        asked.append(1)
        return [(0, 0, 0, "", ("93.184.216.34" if len(asked) == 1 else "127.0.0.1", 80))]

    monkeypatch.setattr(webhooks.socket, "getaddrinfo", lookup)
    sent = []

    def handle(self: object, request: httpx.Request) -> httpx.Response:
        sent.append((request.url.host, request.headers["host"]))
        return httpx.Response(200, request=request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    assert webhooks.post(Settings(), "http://rebound.example/x", {}) == 200
    assert sent == [("93.184.216.34", "rebound.example")]
