"""An import as its worker does it: what is added, what is refused, and the same again."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image as Picture
from sqlalchemy import func, select

from app.actions.import_data_set import import_data_set
from app.jobs import lease
from app.settings import Settings
from app.store.database import Database
from app.store.models import Caption, Event, Image, Job, Pair
from app.store.schema import migrate
from worker.context import JobContext
from worker.job import run


def png(value: int) -> bytes:
    out = io.BytesIO()
    Picture.new("RGB", (8, 8), (value, 2, 3)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def place(tmp_path: Path):
    settings = Settings(home=tmp_path / "home", lease_s=5)
    settings.home.mkdir()
    database = Database(settings)
    migrate(database.engine)
    (tmp_path / "source").mkdir()
    for i in range(2):
        (tmp_path / "source" / f"{i}.png").write_bytes(png(i))
    yield settings, database, tmp_path / "source"
    database.close()


def do(settings, database, job_id):
    with database.transaction() as session:
        token = lease.claim(session, job_id, worker="w")
    context = JobContext(settings, job_id, token)
    context.start()
    run(context)


def counts(database):
    with database.reading() as session:
        return tuple(session.scalar(select(func.count()).select_from(t)) for t in (Image, Caption, Pair))


def test_captions_share_images_and_images_share_captions(place):
    settings, database, source = place
    lines = [("0.png", "one"), ("0.png", "two"), ("1.png", "one"), ("0.png", "nul \0"), ("0.png", "\ud800")]
    lines += [("none.png", "x")]
    text = "".join(json.dumps({"image": i, "caption": c}) + "\n" for i, c in lines)
    (source / "x.jsonl").write_text(text)
    with database.transaction() as session:
        job_id = import_data_set(session, name="x", source=str(source / "x.jsonl")).id
    do(settings, database, job_id)
    with database.reading() as session:
        job = session.get(Job, job_id)
        told = session.scalar(select(Event.body).where(Event.kind == "rejected"))
    assert (job.state, counts(database)) == ("finished", (2, 2, 3))
    assert told["num"] == 3 and any("none.png" in line for line in told["examples"])


def test_import_that_begins_again_adds_nothing_twice(place):
    settings, database, source = place
    (source / "x.csv").write_text("image,caption\n0.png,one\n1.png,two\n")
    with database.transaction() as session:
        job = import_data_set(session, name="x", source=str(source / "x.csv"))
        again = Job(kind="import", queue="cpu", data_set_id=job.data_set_id, request=dict(job.request))
        session.add(again)
        session.flush()
        ids = job.id, again.id
    for job_id in ids:
        do(settings, database, job_id)
    assert counts(database) == (2, 2, 2)
