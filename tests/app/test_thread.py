"""From rows to verdicts to a queued run, over the real routes on a migrated database."""

import io
import threading
import uuid
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.actions.add_model import add_model
from app.actions.add_rows import NewRow, add_rows
from app.actions.add_suggestions import NewSuggestion, add_suggestions
from app.api.server import create_app
from app.errors import NearmissError
from app.jobs import lease
from app.media.pictures import check_picture, keep_picture
from app.media.store import MediaStore
from app.settings import Settings
from app.sources.open_source import open_source
from app.sources.rows import Rejected, Row
from app.store.database import Database
from app.store.models import DataSet, Job, Pair
from app.store.schema import migrate

HOSTILE = "<img src=x onerror=alert(1)>"


def png(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (24, 24), (value, 255 - value, 9)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def place(tmp_path):
    """Settings of a home of its own, with twelve pairs, a model and one suggestion."""
    settings = Settings(home=tmp_path, broker_url=f"redis+socket://{tmp_path}/no.sock", lease_s=5)
    database = Database(settings)
    migrate(database.engine)
    store, rows = MediaStore(settings.resolved_media_url), []
    for i in range(12):
        picture = check_picture(png(20 * i))
        keep_picture(store, picture)
        caption = HOSTILE if i == 0 else f"a thing number {i}"
        rows.append(NewRow(f"{i}.png", picture.sha256, 24, 24, caption, "held_out" if i > 9 else "train"))
    with database.transaction() as session:
        data_set = DataSet(name="things")
        session.add(data_set)
        session.flush()
        add_rows(session, data_set_id=data_set.id, rows=rows)
        model = add_model(session, name="base", location="demo:openmoji-tiny")
        pairs = session.query(Pair).order_by(Pair.id).all()
        found = NewSuggestion(pairs[0].image_id, pairs[1].caption_id, "no_match", 0.2, 0.5, 0.3)
        add_suggestions(session, data_set_id=data_set.id, model_id=model.id, suggestions=[found])
    yield settings, database
    database.close()


@pytest.fixture
def client(place):
    settings, _ = place
    with TestClient(create_app(settings), base_url=f"http://127.0.0.1:{settings.port}") as client:
        client.headers["X-Nearmiss"] = "1"
        yield client


def verdict(item, answer="no_match"):
    return {
        "uuid": str(uuid.uuid4()),
        "image_id": item["image_id"],
        "caption_id": item["caption_id"],
        "answer": answer,
    }


def test_verdict_is_saved_once_undone_and_comes_back(client):
    item = client.get("/api/data-sets/1/queue").json()["items"][0]
    said = verdict(item)
    for _ in range(2):
        assert client.post("/api/verdicts", json={"verdicts": [said]}).json()["saved"] == [said["uuid"]]
    assert client.get("/api/data-sets/1/queue").json()["items"] == []
    undone = client.post("/api/verdicts/undo", json={"uuid": str(uuid.uuid4())}).json()
    assert undone["retracted"]["uuid"] == said["uuid"]
    assert len(client.get("/api/data-sets/1/queue").json()["items"]) == 1


def test_verdicts_appear_in_the_counts_before_the_click(client):
    item = client.get("/api/data-sets/1/queue").json()["items"][0]
    client.post("/api/verdicts", json={"verdicts": [verdict(item)]})
    body = {"data_set_id": 1, "model_id": 1, "preset": "adapter", "overrides": {}}
    report = client.post("/api/runs/preview", json=body).json()
    assert report["labels"]["hard_negatives"] == 1 and report["num_pairs"] == 10
    assert "nearmiss worker gpu" in report["waiting"]


def test_run_is_saved_without_broker_and_a_double_submit_is_one_run(client):
    body = {"data_set_id": 1, "model_id": 1, "preset": "adapter", "overrides": {}, "request_key": "k" * 20}
    first, second = (client.post("/api/runs", json=body).json()["run"]["id"] for _ in range(2))
    assert first == second
    listed = client.get("/api/runs", params={"data_set_id": 1}).json()["runs"]
    assert len(listed) == 1 and listed[0]["state"] == "queued" and listed[0]["reason"]


def test_pictures_and_pairs_are_served_and_captions_stay_text(client):
    page = client.get("/api/data-sets/1/pairs", params={"limit": 5}).json()
    assert page["items"][0]["caption"] == HOSTILE and page["next"] is not None
    answer = client.get(f"/api/images/{page['items'][0]['image_id']}/256")
    assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_foreign_sites_and_hosts_are_refused(client):
    said = {"verdicts": []}
    assert client.post("/api/verdicts", json=said, headers={"Origin": "http://evil.example"}).status_code in (
        400,
        403,
    )
    assert client.get("/api/data-sets", headers={"Host": "evil.example"}).status_code in (400, 403, 421)
    bare = TestClient(client.app, base_url=str(client.base_url))
    assert bare.post("/api/verdicts", json=said).status_code in (400, 403)


def test_errors_are_one_sentence(client):
    answer = client.get("/api/data-sets/99/pairs")
    assert answer.status_code == 404 and "data set 99" in answer.json()["error"]


def test_eight_writers_lose_no_verdict(place, client):
    _, database = place
    with database.reading() as session:
        pairs = session.query(Pair).order_by(Pair.id).all()
    errors = []

    def write(me: int) -> None:
        for i in range(20):
            body = verdict(
                {"image_id": pairs[me].image_id, "caption_id": pairs[(me + 1 + i % 8) % 10].caption_id}
            )
            answer = client.post("/api/verdicts", json={"verdicts": [body]})
            if answer.status_code != 200:
                errors.append(answer.text)

    threads = [threading.Thread(target=write, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    from app.store.models import Verdict

    with database.reading() as session:
        assert not errors and session.query(Verdict).count() == 160


def test_only_the_holder_of_the_token_can_finish_a_job(place):
    _, database = place
    with database.transaction() as session:
        session.add(Job(kind="mine", queue="gpu", data_set_id=1))
    with database.transaction() as session:
        token = lease.claim(session, 1, worker="a")
        assert token is not None and lease.claim(session, 1, worker="b") is None
    with database.transaction() as session:
        lease.start(session, 1, token=token)
        with pytest.raises(lease.Lost):
            lease.finish(session, 1, token=token + 1)
        lease.finish(session, 1, token=token)


def test_table_with_bad_rows_imports_the_rest(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "pairs.tsv").write_text(
        "filepath\ttitle\na.png\tfine\nmissing.png\tgone\na.png\t\n", encoding="utf-16"
    )
    rows = list(open_source(str(tmp_path / "pairs.tsv"))[0])
    assert [type(row) for row in rows] == [Row, Rejected, Rejected]
    assert rows[1].where == "line 3" and "missing.png" in rows[1].reason


def test_folder_refuses_paths_that_leave_it(tmp_path: Path):
    (tmp_path / "metadata.csv").write_text("file_name,text\n../../etc/passwd,secret\n")
    rows = list(open_source(str(tmp_path))[0])
    assert isinstance(rows[0], Rejected) and "outside" in rows[0].reason
    (tmp_path / "empty").mkdir()
    with pytest.raises(NearmissError, match="holds no pictures"):
        open_source(str(tmp_path / "empty"))
