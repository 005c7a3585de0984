"""An export as the page asks for it: queued, written by a worker, downloaded, replaced by the next."""

import io
import zipfile

import pytest
from fastapi.testclient import TestClient

from app.actions.erase import erase_image
from app.actions.export_snapshot import FORMATS
from app.actions.import_data_set import import_data_set
from app.actions.start_export import start_export
from app.api import create_app
from app.errors import Conflict, NearmissError
from app.jobs.view import exported
from app.media.store import MediaStore
from worker.context import JobContext, Stopped


@pytest.fixture
def filled(desk):
    lines = [f"{i}.png,caption {i}" for i in range(4)]
    (desk.source / "x.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    desk.do(lambda s: import_data_set(s, name="x", source=str(desk.source / "x.csv")))
    return desk


def browser(desk):
    return TestClient(
        create_app(desk.settings), base_url="http://127.0.0.1:7860", headers={"X-Nearmiss": "1"}
    )


@pytest.mark.parametrize("format", FORMATS)
def test_an_archive_is_downloaded_and_imports_as_the_same_pairs(filled, tmp_path, format):
    job = filled.do(lambda s: start_export(s, data_set_id=1, format=format))
    assert (job.state, job.reason, job.done) == ("finished", "", job.total)
    with browser(filled) as client:
        answer = client.get(f"/api/jobs/{job.id}/export")
        assert answer.status_code == 200 and format in answer.headers["content-disposition"]
        seen = client.get("/api/data-sets/1").json()["export_job"]
        assert (seen["id"], seen["state"]) == (job.id, "finished")
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(tmp_path / "out")
    [folder] = (tmp_path / "out").iterdir()
    filled.do(lambda s: import_data_set(s, name="y", source=str(folder)))
    assert filled.counts() == (8, 8, 8) and {pair[1] for pair in filled.pairs()} == {
        f"caption {i}" for i in range(4)
    }
    assert not list(filled.settings.home.glob("export-*"))


def test_the_next_export_takes_the_place_of_the_one_before(filled):
    first = filled.do(lambda s: start_export(s, data_set_id=1, format="tsv"))
    filled.do(lambda s: start_export(s, data_set_id=1, format="tsv"))
    with filled.database.reading() as session:
        key = exported(session, first)["key"]
    assert not MediaStore(filled.settings.resolved_media_url).exists(key)
    with browser(filled) as client:
        answer = client.get(f"/api/jobs/{first.id}/export")
        assert answer.status_code == 404 and "export again" in answer.json()["error"]


def test_one_export_at_a_time_and_formats_by_name(filled):
    with browser(filled) as client:
        assert (
            client.post("/api/data-sets/1/export", json={"format": "tsv"}).json()["job"]["state"] == "queued"
        )
        assert client.post("/api/data-sets/1/export", json={"format": "tsv"}).status_code == 409
        assert client.post("/api/data-sets/1/export", json={"format": "exe"}).status_code == 422
        assert client.post("/api/data-sets/9/export", json={"format": "tsv"}).status_code == 404
    with filled.database.transaction() as session, pytest.raises(Conflict):
        start_export(session, data_set_id=1, format="tsv")
    with filled.database.transaction() as session, pytest.raises(NearmissError, match="tsv"):
        start_export(session, data_set_id=1, format="exe")


def test_a_cancelled_export_leaves_nothing_behind(filled, monkeypatch):
    def stop(self):
        raise Stopped("cancel")

    monkeypatch.setattr(JobContext, "check", stop)
    job = filled.do(lambda s: start_export(s, data_set_id=1, format="parquet"))
    assert job.state == "cancelled" and not list(filled.settings.home.glob("export-*"))
    assert not (filled.settings.home / "media" / "exports").exists()


def test_what_is_erased_leaves_no_archive_behind(filled):
    job = filled.do(lambda s: start_export(s, data_set_id=1, format="tsv"))
    with filled.database.transaction() as session:
        erase_image(session, image_id=1)
    with browser(filled) as client:
        assert client.get(f"/api/jobs/{job.id}/export").status_code == 404
