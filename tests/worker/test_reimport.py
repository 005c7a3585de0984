"""A changed source read again, a killed import, embeddings that come along, originals in place, uploads."""

import csv
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

from app.actions.decide import Decision, decide
from app.actions.import_data_set import import_again, import_data_set, uploads_of
from app.actions.start_mining import start_mining
from app.actions.take_snapshot import pair_columns
from app.errors import Conflict, NearmissError, NotFound
from app.jobs import lease
from app.jobs.view import rejected_rows
from app.media.pictures import original_key
from app.media.store import MediaStore
from app.media.vectors import get_vectors
from app.store.models import CurrentVerdict, DataSet, Embedding, Image, Job, Suggestion
from tests.import_desk import png

VERDICT = "00000000-0000-4000-8000-000000000001"


def write(desk, *rows, name="x.csv"):
    lines = ["image,caption,split", *(",".join(row) for row in rows)]
    (desk.source / name).write_text("\n".join(lines) + "\n")
    return str(desk.source / name)


def first_import(desk, source, **options):
    return desk.do(lambda session: import_data_set(session, name="x", source=source, **options))


def test_a_changed_source_adds_updates_and_retires_and_verdicts_stay(both_desks):
    desk = both_desks
    source = write(desk, ("0.png", "zero", "train"), ("1.png", "one", "train"), ("2.png", "two", "train"))
    assert first_import(desk, source).state == "finished"
    with desk.database.transaction() as session:
        decide(
            session,
            decisions=[Decision(uuid=VERDICT, image_id=2, caption_id=2, answer="broken_pair")],
            person="a",
        )
    (desk.source / "0.png").write_bytes(png(99))  # other bytes under the same name
    write(desk, ("0.png", "zero", "train"), ("2.png", "two", "test"), ("3.png", "three", "train"))
    assert desk.do(lambda session: import_again(session, data_set_id=1)).state == "finished"
    assert {pair[1:] for pair in desk.pairs()} == {("zero", "train"), ("two", "held_out"), ("three", "train")}
    assert {pair[1] for pair in desk.pairs(retired=True)} == {"one"}
    with desk.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(CurrentVerdict)) == 1
        assert session.get_one(DataSet, 1).num_pairs == 3 == len(pair_columns(session, 1)["split"])
        changed = session.scalar(select(Image.sha256).where(Image.key == "0.png"))
    assert MediaStore(desk.settings.resolved_media_url).get(original_key(changed)) == png(99)
    write(desk, ("1.png", "one", "train"), ("3.png", "three", "train"))
    desk.do(lambda session: import_again(session, data_set_id=1))
    assert {pair[1] for pair in desk.pairs()} == {"one", "three"}  # what came back stands again
    assert desk.counts() == (4, 4, 4)


def test_a_second_import_waits_for_the_first(desk):
    source = write(desk, ("0.png", "zero", "train"))
    with desk.database.transaction() as session:
        import_data_set(session, name="x", source=source)
    with desk.database.transaction() as session, pytest.raises(Conflict, match="under way"):
        import_again(session, data_set_id=1)


def test_an_import_killed_halfway_resumes_without_duplicates(desk):
    for i in range(4, 1500):
        (desk.source / f"{i}.png").write_bytes(png(i % 250) + bytes([i // 250]))
    source = write(desk, *((f"{i}.png", f"caption {i}", "train") for i in range(1500)))
    with desk.database.transaction() as session:
        job_id = import_data_set(session, name="x", source=source).id
    with desk.database.transaction() as session:
        token = lease.claim(session, job_id, worker="w")
    env = {**os.environ, "NEARMISS_HOME": str(desk.settings.home), "NEARMISS_LEASE_S": "20"}
    patch = "import worker.import_rows as w, worker.job as j; w.BATCH = 100; j.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", patch], stdin=subprocess.PIPE, text=True, env=env, start_new_session=True
    )
    process.stdin.write(f"{job_id} {token}\n")
    process.stdin.close()
    for _ in range(2400):  # a loaded machine starts slowly
        if desk.counts()[2] >= 100 or process.poll() is not None:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = desk.counts()[2]
    assert 0 < before < 1500
    with desk.database.transaction() as session:
        session.get_one(Job, job_id).state = "queued"
        session.flush()
        token = lease.claim(session, job_id, worker="w2")
    from worker.context import JobContext
    from worker.job import run

    context = JobContext(desk.settings, job_id, token)
    context.start()
    run(context)
    assert desk.counts() == (1500, 1500, 1500) and len(desk.pairs()) == 1500


def test_rejected_rows_come_as_a_table_of_place_reason_and_remedy(desk):
    (desk.source / "bad.png").write_bytes(b"<svg onload=alert(1)>")
    rows = [("0.png", "fine", "train"), ("bad.png", "x", "train"), ("=cmd.png", "y", "train")]
    job = first_import(desk, write(desk, *rows))
    with desk.database.reading() as session:
        body = rejected_rows(session, job)
    data = MediaStore(desk.settings.resolved_media_url).get(body["report_key"]).decode()
    told = {row["where"]: row for row in csv.DictReader(io.StringIO(data))}
    assert body["num"] == 2 == len(told)
    assert told["line 3"]["remedy"] == "convert it to PNG" and "b'<svg onl'" in told["line 3"]["reason"]
    assert told["line 4"]["remedy"] == "check the path"
    assert not any(cell.startswith("=") for row in told.values() for cell in row.values())


def embeddings(desk, *, width=16, captions=4):
    generator = np.random.default_rng(0)
    for kind in ("img_emb", "text_emb", "metadata"):
        (desk.source / kind).mkdir()
    for shard in range(2):
        own = slice(2 * shard, 2 * shard + 2)
        names = [f"{i}.png" for i in range(4)][own]
        table = {"image_path": [str(desk.source / n) for n in names], "caption": [f"says {n}" for n in names]}
        pq.write_table(pa.table(table), desk.source / "metadata" / f"metadata_{shard}.parquet")
        for kind in ("img_emb", "text_emb"):
            rows = generator.normal(size=(2, width)).astype(np.float16)
            np.save(desk.source / kind / f"{kind}_{shard}.npy", rows)


def test_embeddings_that_come_along_are_mined_without_towers(desk):
    embeddings(desk)
    assert first_import(desk, str(desk.source)).state == "finished"
    with desk.database.reading() as session:
        row = session.scalars(select(Embedding)).one()
        ids = session.execute(select(Image.id, Image.key).order_by(Image.id)).all()
    kept_ids, vectors = get_vectors(MediaStore(desk.settings.resolved_media_url), row.image_key)
    assert kept_ids.tolist() == [i for i, _ in ids]
    source = np.concatenate([np.load(desk.source / "img_emb" / f"img_emb_{i}.npy") for i in (0, 1)]).astype(
        np.float32
    )
    source /= np.linalg.norm(source, axis=1, keepdims=True)
    order = [int(key.rpartition("/")[2][0]) for _, key in ids]
    assert np.allclose(vectors, source[order], atol=2e-3)
    job = desk.do(lambda session: start_mining(session, data_set_id=1, model_id=row.model_id, person="a"))
    assert (job.state, job.reason) == ("finished", "")
    with desk.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Suggestion)) > 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: np.save(d / "img_emb" / "img_emb_1.npy", np.zeros((3, 16), np.float32)), "has 3 rows"),
        (lambda d: np.save(d / "text_emb" / "text_emb_1.npy", np.zeros((2, 9), np.float32)), "width"),
        (lambda d: (d / "img_emb" / "img_emb_0.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xff"), "no .npy"),
        (
            lambda d: np.save(d / "img_emb" / "img_emb_0.npy", np.array([[{}]] * 2), allow_pickle=True),
            "no .npy",
        ),
        (lambda d: np.save(d / "img_emb" / "img_emb_0.npy", np.full((2, 16), np.nan, np.float32)), "NaN"),
        (lambda d: (d / "metadata" / "metadata_1.parquet").unlink(), "one of each"),
    ],
)
def test_hostile_embeddings_fail_with_a_sentence(desk, damage, said):
    embeddings(desk)
    damage(desk.source)
    job = first_import(desk, str(desk.source))
    assert job.state == "failed" and said in job.reason


def test_originals_may_stay_in_place(desk):
    source = write(desk, ("0.png", "zero", "train"))
    first_import(desk, source, originals="referenced")
    media = MediaStore(desk.settings.resolved_media_url)
    with desk.database.reading() as session:
        key = original_key(session.scalar(select(Image.sha256)))
    path = media.local_path(key)
    assert path.is_symlink() and media.get(key) == png(0)
    desk.do(lambda session: import_data_set(session, name="copy", source=source))
    assert media.get(key) == png(0)
    media.delete(key)
    assert (desk.source / "0.png").exists()


def test_pictures_outside_the_allowed_folders_are_refused(desk, tmp_path):
    (tmp_path / "secret.png").write_bytes(png(7))
    desk.settings.import_roots = str(desk.source)
    source = write(desk, ("0.png", "fine", "train"), (str(tmp_path / "secret.png"), "secret", "train"))
    job = first_import(desk, source)
    assert job.state == "finished" and {pair[1] for pair in desk.pairs()} == {"fine"}
    with desk.database.transaction() as session, pytest.raises(NearmissError, match="outside"):
        import_data_set(session, name="y", source=str(tmp_path / "secret.png"))


def test_an_upload_in_pieces_is_imported_and_forgotten(desk):
    uploads = uploads_of(desk.settings)
    upload = uploads.begin()
    table = b"image,caption\n0.png,zero\n/etc/hostname,x\n"
    for name, data in (("shop/x.csv", table), ("shop/0.png", png(0))):
        for offset in range(0, len(data), 20):
            uploads.add(upload.id, name, offset=offset, data=data[offset : offset + 20])
            uploads.add(
                upload.id, name, offset=offset, data=data[offset : offset + 20]
            )  # again, after a lost answer
    (uploads.folder(upload.id) / "shop" / "x.csv").rename(uploads.folder(upload.id) / "shop" / "metadata.csv")
    job = first_import(desk, f"upload:{upload.id}")
    assert (job.state, {pair[1] for pair in desk.pairs()}) == ("finished", {"zero"})
    with pytest.raises(NotFound):
        uploads.look(upload.id)
