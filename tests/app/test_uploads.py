"""Uploads in pieces, the folder chooser and the preview, as a browser meets them."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.actions.import_data_set import uploads_of
from app.actions.sweep import ARCHIVE, sweep
from app.api import create_app
from app.errors import Conflict, NearmissError, NotFound
from app.media.uploads import CHUNK_BYTES, LIFE_S, Uploads
from app.settings import Settings
from app.store.database import Database
from app.store.schema import migrate


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "open" / "x.csv").write_text("pic,words\nno.png,hello\n")
    (tmp_path / "open" / "link").symlink_to(tmp_path / "closed")
    settings = Settings(home=tmp_path / "home", import_roots=str(tmp_path / "open"), upload_gb=0.003)
    migrate(Database(settings).engine)
    headers = {"X-Nearmiss": "1"}
    with TestClient(create_app(settings), base_url="http://127.0.0.1:7860", headers=headers) as client:
        yield client


def put(client, upload, name, data, offset=0):
    query = {"name": name, "offset": offset}
    return client.put(f"/api/uploads/{upload}/file", params=query, content=data)


def test_pieces_join_and_a_repeated_or_misplaced_one_does_no_harm(client):
    upload = client.post("/api/uploads").json()["id"]
    assert put(client, upload, "a/b.txt", b"hello ").json() == {"num_bytes": 6}
    assert put(client, upload, "a/b.txt", b"hello ").json() == {"num_bytes": 6}
    assert put(client, upload, "a/b.txt", b"you", offset=9).status_code == 409
    assert put(client, upload, "a/b.txt", b"world", offset=6).json() == {"num_bytes": 11}
    assert client.get(f"/api/uploads/{upload}/file", params={"name": "a/b.txt"}).json() == {"num_bytes": 11}
    assert client.get(f"/api/uploads/{upload}").json()["num_files"] == 1


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "C:\\x", ".hidden", "a/.ssh/x", "a\0b", "a\nb", "x" * 999, "‮x"]
)
def test_hostile_names_are_refused(client, name):
    upload = client.post("/api/uploads").json()["id"]
    assert put(client, upload, name, b"x").status_code in (400, 422)


def test_quota_size_and_unknown_uploads_are_sentences(client):
    upload = client.post("/api/uploads").json()["id"]
    assert put(client, upload, "x", b"x" * (CHUNK_BYTES + 1)).status_code == 400
    sizes = [
        put(client, upload, "x", b"x" * CHUNK_BYTES, offset=i * CHUNK_BYTES).status_code for i in range(3)
    ]
    assert sizes == [200, 200, 400]
    assert put(client, "0" * 32, "x", b"x").status_code == 404
    assert put(client, "..", "x", b"x").status_code == 404
    assert client.post("/api/previews", json={"source": "upload:../.."}).status_code == 404
    folder = Path(client.app.state.database.settings.home) / "uploads"
    assert oct(folder.stat().st_mode)[-3:] == "700"


def test_uploads_end_after_a_day(tmp_path):
    uploads = Uploads(tmp_path / "u", quota_bytes=1000)
    old = uploads.begin()
    uploads.add(old.id, "x", offset=0, data=b"x")
    then = time.time() - LIFE_S - 1
    os.utime(tmp_path / "u" / old.id, (then, then))
    uploads.begin()
    with pytest.raises(NotFound):
        uploads.look(old.id)


def test_a_name_is_not_file_and_folder_at_once(tmp_path):
    uploads = Uploads(tmp_path / "u", quota_bytes=1000)
    one = uploads.begin()
    uploads.add(one.id, "a", offset=0, data=b"x")
    with pytest.raises((Conflict, NearmissError)):
        uploads.add(one.id, "a/b", offset=0, data=b"x")


def test_the_chooser_stays_in_the_allowed_folders(client, tmp_path):
    folder = client.get("/api/folders").json()
    assert [entry["name"] for entry in folder["entries"]] == ["x.csv"] and folder["parent"] is None
    for path in (
        tmp_path / "closed",
        tmp_path,
        "/",
        tmp_path / "open" / "link",
        tmp_path / "open" / ".." / "closed",
    ):
        assert client.get("/api/folders", params={"path": str(path)}).status_code == 404


def test_columns_are_shown_when_they_must_be_mapped(client, tmp_path):
    source = str(tmp_path / "open" / "x.csv")
    first = client.post("/api/previews", json={"source": source}).json()
    assert first["columns"] == ["pic", "words"] and "pic, words" in first["problem"]
    wish = {"source": source, "columns": {"image": "pic", "caption": "words"}}
    second = client.post("/api/previews", json=wish).json()
    assert second["problem"] == "" and "no.png" in second["rows"][0]["reason"]
    assert client.post("/api/previews", json={"source": "/etc/passwd"}).status_code == 400
    job = client.post("/api/data-sets", json={"name": "n", **wish}).json()["job"]
    assert job["state"] == "queued"


def test_a_table_is_found_among_more_pictures_than_are_shown(client, tmp_path):
    for i in range(1100):
        (tmp_path / "open" / f"{i}.jpg").touch()
    folder = client.get("/api/folders").json()
    assert (
        folder["entries"][0]["name"] == "x.csv"
        and folder["shortened"]
        and 999 <= len(folder["entries"]) <= 1000
    )


def test_one_person_cannot_fill_the_quota_of_all(tmp_path):
    uploads = Uploads(tmp_path / "u", quota_bytes=3000, person_quota_bytes=1000)
    anas, again, bens = uploads.begin("ana"), uploads.begin("ana"), uploads.begin("ben")
    uploads.add(anas.id, "x", offset=0, data=b"x" * 700)
    with pytest.raises(NearmissError, match=r"your uploads may hold 0\.0 GB in all; import or delete"):
        uploads.add(again.id, "y", offset=0, data=b"y" * 400)
    uploads.add(bens.id, "z", offset=0, data=b"z" * 900)
    fresh = Uploads(tmp_path / "u", quota_bytes=3000, person_quota_bytes=1000)  # after a restart
    with pytest.raises(NearmissError, match="your uploads"):
        fresh.add(again.id, "y", offset=0, data=b"y" * 400)


def test_old_archives_and_uploads_are_swept(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    settings = Settings(home=tmp_path / "home")
    then = time.time() - LIFE_S - 1
    old, young, other = (
        tmp_path / name for name in (f"{ARCHIVE}1.zip", f"{ARCHIVE}2.zip", "somebody-elses.zip")
    )
    for path in (old, young, other):
        path.write_bytes(b"x")
    os.utime(old, (then, then))
    os.utime(other, (then, then))
    uploads = uploads_of(settings)
    upload = uploads.begin("ana")
    os.utime(settings.home / "uploads" / upload.id, (then, then))
    sweep(settings)
    assert not old.exists() and young.exists() and other.exists()
    with pytest.raises(NotFound):
        uploads.look(upload.id)
