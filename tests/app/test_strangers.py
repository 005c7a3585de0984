"""Holes that were found by reading the code as an attacker would, and one that had been closed already (cross-site)."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.datastructures import Headers

from app.actions.accounts import add_person, remove_person
from app.actions.credentials import issue
from app.actions.rights import Who
from app.api import create_app, log_in, streams
from app.errors import NearmissError
from app.settings import Settings
from app.store.database import Database
from app.store.schema import migrate
from tests.resting_run import add_resting_run

FORWARDED = [
    {"X-Forwarded-For": "203.0.113.5"},
    {"X-Real-IP": "203.0.113.5"},
    {"Forwarded": "for=203.0.113.5"},
    {"X-Forwarded-Host": "desk.example"},
]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(Settings(home=tmp_path))
    migrate(made.engine)
    yield made
    made.close()


@pytest.fixture
def client(database: Database) -> Iterator[TestClient]:
    log_in.attempts.forget()
    app = create_app(database.settings)
    with TestClient(app, base_url="http://127.0.0.1:7860", follow_redirects=False) as made:
        yield made


@pytest.mark.parametrize("header", FORWARDED)
def test_nobody_is_the_local_user_through_a_proxy(client: TestClient, header: dict[str, str]) -> None:
    assert client.get("/api/data-sets").status_code == 200
    assert client.get("/api/data-sets", headers=header).status_code == 401


@pytest.mark.parametrize(
    "own",
    [
        {"host": "127.0.0.1", "hosts": "desk.example"},  # a proxy on the same machine
        {
            "host": "0.0.0.0",
            "hosts": "desk.example",
            "published_on_loopback": True,
        },  # compose with a site's name
    ],
)
def test_a_page_with_a_name_elsewhere_has_accounts(database: Database, own: dict[str, object]) -> None:
    settings = database.settings.model_copy(update=own)
    with pytest.raises(NearmissError, match="no account yet"):
        create_app(settings)


def test_a_strangers_form_is_not_read_beyond_its_first_kilobytes(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    monkeypatch.setattr(log_in, "parse_qs", lambda text: parsed.append(len(text)) or {})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    fields = b"&".join(b"%x=1" % number for number in range(250_000))  # 1.2 s of the event loop
    assert client.post("/log-in", content=fields, headers=form).status_code in (400, 401)
    assert client.post("/join/x", content=fields, headers=form).status_code in (400, 404)
    assert max(parsed, default=0) <= log_in.MAX_FORM_BYTES


def test_one_network_of_ipv6_is_one_address(database: Database) -> None:
    log_in.attempts.forget()
    settings = database.settings.model_copy(update={"trusted_proxies": "testclient"})
    wrong = {"name": "admin", "password": "x"}
    with TestClient(create_app(settings), base_url="http://127.0.0.1:7860", follow_redirects=False) as client:
        tries = [
            client.post("/log-in", data=wrong, headers={"X-Forwarded-For": f"2001:db8::{number:x}"})
            for number in range(1, 12)
        ]
        assert [t.status_code for t in tries] == [401] * 10 + [429]
        other = client.post("/log-in", data=wrong, headers={"X-Forwarded-For": "2001:db8:0:1::1"})
        assert other.status_code == 401


@pytest.mark.parametrize("path", ["/join/x/config", "/join/x/gradio_api/info", "/join/a/b", "/join/"])
def test_an_invitations_address_opens_nothing_below_it(
    client: TestClient, database: Database, path: str
) -> None:
    with database.transaction() as session:
        add_person(session, name="ana", role="admin", password="a long enough one")
    assert client.get(path).status_code == 401


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_programs_on_other_ports_of_this_host_are_other_sites(client: TestClient, site: str) -> None:
    assert client.get("/api/data-sets", headers={"Sec-Fetch-Site": site}).status_code == 403
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/log-in", headers=link).status_code == 200


def _with_run(database: Database) -> tuple[int, str]:
    with database.transaction() as session:
        person = add_person(session, name="ana", role="viewer", password="a long enough one")
        add_person(session, name="admin", role="admin", password="a long enough one")
        add_resting_run(session)
        return person.id, issue(session, person_id=person.id, kind="token", lives_s=3600)


def test_a_stream_ends_when_its_reader_may_no_longer_see_the_run(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    person_id, token = _with_run(database)
    monkeypatch.setattr(streams, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(streams, "KEEP_ALIVE_EVERY", 10**9)
    headers = Headers({"authorization": f"Bearer {token}"})
    who = Who("ana", "viewer", person_id)

    async def read() -> bool:
        events = streams._events(database, 1, 0, headers, who)
        reading = asyncio.ensure_future(anext(events, None))
        await asyncio.sleep(0.4)
        open_before = not reading.done()
        with database.transaction() as session:
            remove_person(session, person_id=person_id, by="admin")
        await asyncio.wait_for(reading, 20)
        return open_before

    assert asyncio.run(read())
    assert streams._open.total() == 0


def test_one_person_cannot_take_all_streams(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = _with_run(database)
    monkeypatch.setitem(streams._open, "ana", streams.MAX_STREAMS_OF_ONE)
    answer = client.get("/api/runs/1/events/stream", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 409 and "too many event streams" in answer.json()["error"]
