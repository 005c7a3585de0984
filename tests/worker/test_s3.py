"""The media store on an S3-compatible server by URL: import, pictures, export, and a server that is away."""

import io
import uuid
import zipfile

import fsspec
import pytest
from fastapi.testclient import TestClient

from app.actions.import_data_set import import_again, import_data_set
from app.actions.start_export import start_export
from app.api import create_app
from app.media.store import MediaStore
from tests.import_desk import make_desk, png

pytest.importorskip("s3fs")
pytest.importorskip("moto")


def use(monkeypatch, endpoint: str) -> None:
    """As a deployment sets it; decoding processes read it from their environment."""
    options = {"key": "nobody", "secret": "nothing", "endpoint_url": endpoint}
    for name, value in options.items():
        monkeypatch.setenv(f"FSSPEC_S3_{name.upper()}", value)
    monkeypatch.setitem(fsspec.config.conf, "s3", options)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    use(monkeypatch, f"http://{host}:{port}")
    bucket = f"pictures-{uuid.uuid4().hex}"  # the server's memory outlives its stop
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(bucket)
    made = make_desk(tmp_path / "desk")
    made.settings.media_url = f"s3://{bucket}/nearmiss"
    (made.source / "x.csv").write_text(
        "image,caption\n" + "".join(f"{i}.png,caption {i}\n" for i in range(4))
    )
    (made.source / "x.csv").open("a").write("broken.png,x\n")
    (made.source / "broken.png").write_bytes(b"<svg>")
    yield made
    made.database.close()
    server.stop()


def test_import_pictures_and_export_over_s3(desk, tmp_path):
    source = str(desk.source / "x.csv")
    job = desk.do(lambda s: import_data_set(s, name="x", source=source))
    assert (job.state, job.reason, desk.counts()) == ("finished", "", (4, 4, 4))
    export = desk.do(lambda s: start_export(s, data_set_id=1, format="tsv"))
    assert export.state == "finished", export.reason
    with TestClient(create_app(desk.settings), base_url="http://127.0.0.1:7860") as client:
        thumbnail = client.get("/api/images/1/256")
        assert thumbnail.headers["content-type"] == "image/webp" and len(thumbnail.content) > 20
        assert client.get("/api/images/1/original").content == png(0)
        assert b"broken.png" not in client.get(f"/api/jobs/{job.id}/rejected").content
        assert client.get(f"/api/jobs/{job.id}/rejected").text.count("\n") == 2
        archive = zipfile.ZipFile(io.BytesIO(client.get(f"/api/jobs/{export.id}/export").content))
    assert sum(name.endswith(".png") for name in archive.namelist()) == 4
    assert not (desk.settings.home / "media").exists()
    (desk.source / "0.png").write_bytes(png(99))
    desk.do(lambda s: import_again(s, data_set_id=1))
    assert png(99) in [MediaStore(desk.settings.media_url).get(key) for key in keys(desk)]


def keys(desk) -> list[str]:
    from sqlalchemy import select

    from app.media.pictures import original_key
    from app.store.models import Image

    with desk.database.reading() as session:
        return [original_key(sha256) for sha256 in session.scalars(select(Image.sha256))]


def test_originals_in_place_need_a_folder(desk):
    source = str(desk.source / "x.csv")
    job = desk.do(lambda s: import_data_set(s, name="x", source=source, originals="referenced"))
    assert job.state == "failed" and "copy them instead" in job.reason


def test_a_bucket_that_is_not_there_stops_the_import_with_a_sentence(desk):
    desk.settings.media_url = "s3://nowhere/nearmiss"
    job = desk.do(lambda s: import_data_set(s, name="x", source=str(desk.source / "x.csv")))
    assert job.state == "failed" and "media store cannot be written" in job.reason
    assert desk.counts() == (0, 0, 0)
