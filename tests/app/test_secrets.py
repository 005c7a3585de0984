"""Canaries: secrets of the settings, of URLs and of requests never come out again."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app import redact as redacting
from app.actions.accounts import add_person
from app.actions.credentials import issue
from app.api import create_app
from app.errors import NearmissError
from app.jobs.states import move
from app.logs import JsonLines, Lines, begin_logs, hide_secrets
from app.settings import Settings
from app.store.database import Database
from app.store.models import Event, Job

CANARIES = ["db-canary-1", "broker%2Fcanary", "media-canary-3", "hook-canary-4", "oidc-canary-5"]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    redacting._known.clear()


def _settings(settings: Settings) -> Settings:
    urls = {
        "broker_url": f"redis://:{CANARIES[1]}@127.0.0.1:1/0",
        "media_url": f"s3://key:{CANARIES[2]}@bucket/x",
        "webhooks": f"https://u:{CANARIES[3]}@hooks.example/x",
        "oidc_client_secret": SecretStr(CANARIES[4]),
    }
    return settings.model_copy(update=urls)


def _clean(text: str) -> bool:
    return not any(canary in text for canary in [*CANARIES, "broker/canary"])


def test_settings_do_not_say_their_secrets(settings: Settings) -> None:
    told = _settings(settings).model_copy(update={"database_url": f"postgresql://me:{CANARIES[0]}@host/db"})
    assert _clean(repr(told)) and _clean(str(told))


@pytest.mark.parametrize("form", [JsonLines, Lines])
def test_no_log_line_bears_a_secret(settings: Settings, form: type[logging.Formatter]) -> None:
    told = _settings(settings).model_copy(update={"database_url": f"postgresql://me:{CANARIES[0]}@host/db"})
    hide_secrets(told)
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(form())
    log = logging.Logger("canary")
    log.addHandler(handler)
    try:
        raise OperationalError(
            f"connect {told.database_url}", {}, Exception(f"password {CANARIES[0]} refused")
        )
    except OperationalError:
        log.exception("away: %s %s broker/canary", told.broker_url, told.media_url)
    log.warning(
        "GET https://x.example/?api_token=abcdef123&x=1 Authorization: Bearer abcdefghijk %s", CANARIES[4]
    )
    assert (
        _clean(said.getvalue())
        and "abcdef123" not in said.getvalue()
        and "abcdefghijk" not in said.getvalue()
    )
    assert "***" in said.getvalue() and "x=1" in said.getvalue()


def test_no_answer_reason_or_event_bears_a_secret(seeded: Database) -> None:
    settings = _settings(seeded.settings)
    app = create_app(settings)

    @app.get("/api/boom/{data_set_id}")
    def boom(data_set_id: int) -> None:
        raise NearmissError(f"cannot open {settings.media_url} with {CANARIES[4]}")

    @app.get("/api/bang/{data_set_id}")
    def bang(data_set_id: int) -> None:
        raise RuntimeError(settings.broker_url)

    log = io.StringIO()
    with redirect_stderr(log):
        begin_logs(settings.model_copy(update={"log_json": True}))
        with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
            answers = [client.get(f"/api/{what}/1") for what in ("boom", "bang")]
    assert [a.status_code for a in answers] == [400, 500]
    assert _clean("".join(a.text for a in answers)) and "***" in answers[0].text
    assert _clean(log.getvalue())
    with seeded.transaction() as session:
        session.add(Job(id=1, kind="mine", queue="gpu", data_set_id=1))
        session.flush()
        move(session, "cancel", 1, reason=f"{settings.media_url} is away")
    with seeded.reading() as session:
        job, event = session.scalars(select(Job)).one(), session.scalars(select(Event)).one()
        assert _clean(job.reason) and _clean(json.dumps(event.body)) and "is away" in job.reason


def test_a_requests_line_has_its_id_and_pattern_and_no_secret(seeded: Database) -> None:
    log = io.StringIO()
    with redirect_stderr(log):
        begin_logs(seeded.settings.model_copy(update={"log_json": True}))
        with TestClient(create_app(seeded.settings), base_url="http://127.0.0.1") as client:
            answer = client.get("/join/the-secret-of-an-invitation")
            client.get("/api/data-sets/1", headers={"X-Request-Id": 'forged"\n'})
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    requests = [line for line in lines if line["logger"] == "nearmiss.requests"]
    assert [line["route"] for line in requests] == ["/join/{secret}", "/api/data-sets/{data_set_id}"]
    assert requests[0]["request_id"] == answer.headers["x-request-id"] and requests[1]["person"] == "me"
    assert "the-secret" not in log.getvalue() and "forged" not in log.getvalue()


def test_metrics_count_what_happens_and_are_for_admins(seeded: Database) -> None:
    with seeded.transaction() as session:
        person = add_person(session, name="ana", role="admin", password="a long enough one")
        other = add_person(session, name="bob", role="annotator", password="a long enough one")
        tokens = [issue(session, person_id=p.id, kind="token", lives_s=60) for p in (person, other)]
        session.add(Job(kind="mine", queue="gpu", data_set_id=1, token=2, state="queued"))
        session.flush()
        session.add(Event(job_id=1, kind="state", body={"reason": "the worker stopped answering at step 4"}))
    with TestClient(create_app(seeded.settings), base_url="http://127.0.0.1") as client:
        assert client.get("/metrics").status_code == 401
        bearer = [{"Authorization": f"Bearer {token}"} for token in tokens]
        assert client.get("/metrics", headers=bearer[1]).status_code == 403
        client.get("/api/data-sets/1", headers=bearer[0])
        text = client.get("/metrics", headers=bearer[0]).text
    wanted = [
        'nearmiss_queue_length{queue="gpu"} 1.0',
        'nearmiss_jobs{kind="mine",queue="gpu",state="queued"} 1.0',
        "nearmiss_lease_losses_total 1.0",
        "nearmiss_verdicts_total 0.0",
        'nearmiss_requests_total{method="GET",route="/api/data-sets/{data_set_id}",status="2xx"} 1.0',
        'nearmiss_requests_total{method="GET",route="/metrics",status="4xx"}',
    ]
    assert [line for line in wanted if line not in text] == []
