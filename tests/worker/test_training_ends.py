"""How a run ends when something fails inside it: each way is a sentence on the row, and the checkpoint stays."""

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from sqlalchemy import select

import clipcore.checkpoint
import clipcore.finetune
import worker.fine_tune
from app.actions.add_model import add_model
from app.actions.add_rows import NewRow, add_rows
from app.actions.clone_run import clone_run
from app.actions.collect_garbage import collect, disk_of_run, find_garbage
from app.actions.data_set_quota import over_quota
from app.actions.erase import erase_caption, erase_image
from app.actions.import_data_set import import_again
from app.actions.keep_results import keep_result
from app.actions.plan_run import plan_run
from app.actions.start_measuring import start_measuring
from app.actions.start_run import start_run
from app.actions.steer_job import pause_job, resume_job
from app.errors import NearmissError
from app.jobs import lease, presence
from app.jobs.expire import crashed
from app.media.pictures import keep_file
from app.media.snapshots import get_table
from app.media.store import MediaStore
from app.settings import Settings
from app.store.database import Database
from app.store.models import Caption, DataSet, Event, Image, Job, Model, Run, Snapshot
from app.store.reads.runs import get_run
from app.store.schema import migrate
from clipcore.events import StepDone
from clipcore.step import Stepper
from tests.work_on import work_on
from worker.by_hand import main as by_hand

pytestmark = pytest.mark.timeout(900)  # on a machine that eight others use
TINY = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
}
OVERRIDES = {"epochs": 50, "max_steps": 12, "save_every_s": 0.0, "batch": {"size": 8, "micro_batch": 4}}
Disk = namedtuple("Disk", "total used free")


@dataclass
class House:
    """An installation with 20 pictures and a tiny model; no broker."""

    settings: Settings
    database: Database

    def start(self, **changes: Any) -> int:
        overrides = OVERRIDES | changes
        with self.database.transaction() as session:
            return start_run(session, data_set_id=1, model_id=1, preset="scratch", overrides=overrides).id

    def work(self, run_id: int, *, settings: Settings | None = None) -> tuple[str, str]:
        """Claims the run and works on it to an end: (state, reason)."""
        with self.database.transaction() as session:
            job_id = session.get_one(Run, run_id).job_id
        job = work_on(settings or self.settings, self.database, job_id)
        return job.state, job.reason

    def state(self, run_id: int) -> tuple[str, str]:
        with self.database.reading() as session:
            job = session.get_one(Job, session.get_one(Run, run_id).job_id)
            return job.state, job.reason

    def resume(self, run_id: int) -> None:
        with self.database.transaction() as session:
            resume_job(session, job_id=session.get_one(Run, run_id).job_id)

    def said(self, run_id: int, kind: str = "log") -> list[dict[str, Any]]:
        with self.database.reading() as session:
            job_id = session.get_one(Run, run_id).job_id
            query = select(Event.body).where(Event.job_id == job_id, Event.kind == kind).order_by(Event.id)
            return list(session.scalars(query))

    def weights(self, run_id: int) -> str:
        """The key of the weights' file, which is their hash."""
        with self.database.reading() as session:
            key = session.get_one(Run, run_id).checkpoint_key
        manifest = MediaStore(self.settings.resolved_media_url).manifest(key)
        return next(value for name, value in manifest.items() if name.endswith(".safetensors"))

    def folder(self, run_id: int) -> Path:
        return self.settings.home / "runs" / f"run-{run_id}"


@pytest.fixture
def house(tmp_path: Path):
    torch.set_num_threads(1)
    settings = Settings(home=tmp_path / "home", lease_s=30)
    settings.home.mkdir()
    database = Database(settings)
    migrate(database.engine)
    model = tmp_path / "tiny"
    model.mkdir()
    (model / "open_clip_config.json").write_text(json.dumps(TINY))
    rng, rows = np.random.default_rng(0), []
    for i in range(20):
        path = tmp_path / f"{i}.png"
        Picture.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
        found = keep_file(path, media_url=settings.resolved_media_url)
        assert isinstance(found, tuple), found
        rows.append(NewRow(path.name, *found, f"thing number {i}", "train" if i < 16 else "held_out"))
    with database.transaction() as session:
        session.add(DataSet(name="things"))
        session.flush()
        add_rows(session, data_set_id=1, rows=rows)
        add_model(session, name="tiny", location=f"local-dir:{model}")
    yield House(settings, database)
    database.close()


def after(monkeypatch, num_steps: int, act) -> None:
    """Has `act()` called in the run after so many steps."""
    real = worker.fine_tune.fine_tune

    def disturbed(*arguments, **options):
        steps = 0
        for event in real(*arguments, **options):
            yield event
            steps += isinstance(event, StepDone)
            if isinstance(event, StepDone) and steps == num_steps:
                act()

    monkeypatch.setattr(worker.fine_tune, "fine_tune", disturbed)


def test_a_run_leaves_its_folder_its_result_and_no_checkpoint_to_resume_from(house):
    run_id = house.start()
    assert house.work(run_id) == ("finished", "")
    folder = house.folder(run_id)
    assert {"config.yaml", "snapshot.json", "metrics.jsonl", "train.log"} <= {
        p.name for p in folder.iterdir()
    }
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["what"] == "step"] == list(range(1, 13))
    assert not (folder / "checkpoints").exists()
    with house.database.reading() as session:
        disk = disk_of_run(session, run_id)
    assert disk.training_bytes == 0 and disk.result_bytes > 100_000 and disk.folder_bytes > 0


def test_a_full_disk_pauses_the_run_says_what_it_needs_and_it_goes_on_to_the_same_bits(house, monkeypatch):
    alone = house.start()
    house.work(alone)
    run_id = house.start()
    real = shutil.disk_usage
    with monkeypatch.context() as patch:
        full = lambda path: Disk(10**9, 10**9, 300_000)  # noqa: E731
        after(patch, 5, lambda: patch.setattr(clipcore.checkpoint.shutil, "disk_usage", full))
        state, reason = house.work(run_id)
    assert shutil.disk_usage is real
    assert state == "paused" and "needs 4" in reason and "0.3 MB free" in reason
    house.resume(run_id)
    assert house.work(run_id)[0] == "finished"
    assert any("resumed from step" in body["text"] for body in house.said(run_id))
    assert house.weights(run_id) == house.weights(alone)
    steps = [
        json.loads(x)["step"]
        for x in (house.folder(run_id) / "metrics.jsonl").read_text().splitlines()
        if '"step", "step"' in x
    ]
    assert steps == sorted(set(steps)), "metrics.jsonl holds what was done twice"


def test_memory_that_runs_out_suggests_a_smaller_batch_and_keeps_the_checkpoint(house, monkeypatch):
    run_id = house.start()
    after(monkeypatch, 4, lambda: torch.empty(10**16))
    state, reason = house.work(run_id)
    assert state == "failed" and reason.startswith("out of memory")
    assert "batch.micro_batch 2" in reason and "its last checkpoint is kept" in reason
    monkeypatch.undo()
    house.resume(run_id)
    assert house.work(run_id)[0] == "finished"


def measure(house, **wish) -> tuple[str, str]:
    with house.database.transaction() as session:
        presence.seen(session, name="gpu@here:1", queue="gpu", about={})
        job_id = start_measuring(session, data_set_id=1, model_id=1, **wish).id
    job = work_on(house.settings, house.database, job_id)
    return job.state, job.reason


def test_memory_is_measured_by_real_steps_before_the_run_and_what_does_not_fit_is_refused(house, monkeypatch):
    wish = {"preset": "scratch", "overrides": OVERRIDES}
    with house.database.transaction() as session, pytest.raises(NearmissError, match="no GPU worker"):
        start_measuring(session, data_set_id=1, model_id=1, **wish)
    state, reason = measure(house, **wish)
    assert state == "finished" and reason.startswith("one step takes"), reason
    with house.database.reading() as session:
        known = plan_run(session, data_set_id=1, model_id=1, **wish).measured
        other = OVERRIDES | {"batch": {"size": 8, "micro_batch": 8}}
        assert (
            plan_run(
                session, data_set_id=1, model_id=1, preset="scratch", overrides=other
            ).measured.memory_bytes
            is None
        )
    assert known.memory_bytes is not None and known.memory_limit_bytes is not None
    assert 1e8 < known.memory_bytes < known.memory_limit_bytes and known.seconds
    assert not (house.settings.home / "runs").exists(), "measuring left a run's folder"

    real = clipcore.finetune.fine_tune

    def too_large(*arguments, **options):
        for event in real(*arguments, **options):
            if isinstance(event, StepDone):
                torch.empty(10**16)
            yield event

    monkeypatch.setattr("worker.measure.fine_tune", too_large)
    assert measure(house, **wish)[1].startswith("a step does not fit")
    monkeypatch.undo()
    with pytest.raises(
        NearmissError, match=r"does not fit .* choose batch.micro_batch 2 and batch.num_resident 0"
    ):
        house.start()
    assert measure(house, **wish)[0] == "finished"  # measured again, on a larger worker
    house.start()


def test_a_loss_that_is_not_finite_ends_the_run_at_that_step_and_lists_the_batch(house):
    run_id = house.start(optimiser={"lr": 1e30, "warmup": 0.0, "clip_norm": 0.0})
    state, reason = house.work(run_id)
    assert state == "failed" and reason.startswith("The loss is nan at step 2")
    listed = next(body["text"] for body in house.said(run_id) if "not finite" in body["text"])
    assert listed.count("×") == 1 + 8, "all pairs of the batch are named"


def test_another_worker_goes_on_from_the_media_store_to_the_same_bits(house, tmp_path, monkeypatch):
    alone = house.start()
    house.work(alone)
    run_id = house.start()

    def pause():
        with house.database.transaction() as session:
            pause_job(session, job_id=session.get_one(Run, run_id).job_id)

    with monkeypatch.context() as patch:
        patch.setattr("worker.context.FLUSH_S", 0.01)
        after(patch, 3, pause)
        slow = worker.fine_tune.keep_checkpoint
        patch.setattr(worker.fine_tune, "keep_checkpoint", lambda *a: (time.sleep(0.05), slow(*a))[1])
        assert house.work(run_id) == ("paused", "paused by a person")
    elsewhere = Settings(
        home=tmp_path / "elsewhere",
        database_url=house.settings.resolved_database_url,
        media_url=house.settings.resolved_media_url,
    )
    elsewhere.home.mkdir()
    house.resume(run_id)
    assert house.work(run_id, settings=elsewhere)[0] == "finished"
    assert any("resumed from step" in body["text"] for body in house.said(run_id))
    assert house.weights(run_id) == house.weights(alone)


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(house, monkeypatch):
    run_id = house.start()
    after(monkeypatch, 6, lambda: torch.empty(10**16))
    house.work(run_id)
    monkeypatch.undo()
    newest = max((house.folder(run_id) / "checkpoints").glob("step-*")) / "state.safetensors"
    data = bytearray(newest.read_bytes())
    data[random.Random(0).randrange(len(data))] ^= 1
    newest.write_bytes(data)
    house.resume(run_id)
    assert house.work(run_id)[0] == "finished"
    said = [body["text"] for body in house.said(run_id)]
    assert any("is damaged" in text and "going back to the one before" in text for text in said)


def test_a_process_killed_three_times_without_a_new_checkpoint_has_failed_and_keeps_the_old_one(
    house, monkeypatch
):
    run_id = house.start()
    after(monkeypatch, 6, lambda: torch.empty(10**16))
    house.work(run_id)  # steps and checkpoints, then an end
    monkeypatch.undo()
    house.resume(run_id)
    for _ in range(3):
        with house.database.transaction() as session:
            job_id = session.get_one(Run, run_id).job_id
            token = lease.claim(session, job_id, worker="w")
            assert token is not None
            crashed(session, job_id, token=token, what="its process was killed by SIGKILL")
    state, reason = house.state(run_id)
    assert state == "failed" and reason.startswith("failed 3× at step 6")
    assert list((house.folder(run_id) / "checkpoints").glob("step-*"))


def test_a_clone_with_the_same_data_ends_with_the_same_weights_and_a_bad_change_is_refused(house):
    run_id = house.start()
    house.work(run_id)
    with house.database.transaction() as session:
        again = clone_run(session, run_id=run_id, same_data=True).id
    house.work(again)
    assert house.weights(again) == house.weights(run_id)
    with house.database.transaction() as session, pytest.raises(NearmissError, match="Unknown key"):
        clone_run(session, run_id=run_id, overrides={"optimizer": {"lr": 1.0}})


def test_the_command_on_a_runs_folder_ends_with_the_weights_of_the_page_also_after_ctrl_c(
    house, tmp_path, capsys, monkeypatch
):
    run_id = house.start()
    house.work(run_id)
    yaml = str(house.folder(run_id) / "config.yaml")
    assert by_hand([yaml, "--dry-run"], settings=house.settings) == 0
    assert "steps: 12" in capsys.readouterr().out
    out = tmp_path / "by-hand"
    assert by_hand([yaml, "--out", str(out)], settings=house.settings) == 0
    weights = next((out / "checkpoint").glob("*.safetensors")).read_bytes()
    assert hashlib.sha256(weights).hexdigest() in house.weights(run_id)
    assert by_hand([yaml, "--snapshot", "nothing"], settings=house.settings) == 2
    assert "no snapshots begin with 'nothing'" in capsys.readouterr().err

    before = signal.getsignal(signal.SIGINT)
    take, steps = Stepper.take, iter(range(1, 20))

    def interrupted(self, batch):
        if next(steps) == 3:
            signal.raise_signal(signal.SIGINT)  # Ctrl+C in the middle of a step
        return take(self, batch)

    monkeypatch.setattr(Stepper, "take", interrupted)
    command = [yaml, "--out", str(tmp_path / "stopped")]
    assert by_hand(command, settings=house.settings) == 0 and "stopped at step 3" in capsys.readouterr().out
    assert by_hand(command, settings=house.settings) == 0
    assert next(steps) == 13, "it began anew"
    assert next((tmp_path / "stopped" / "checkpoint").glob("*.safetensors")).read_bytes() == weights
    signal.signal(signal.SIGINT, before)

    none = house.folder(run_id) / "none.yaml"
    none.write_text(Path(yaml).read_text().replace("epochs: 50", "epochs: 0"))
    assert by_hand([str(none), "--out", str(tmp_path / "none")], settings=house.settings) == 2
    assert "make no step" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_what_is_erased_is_nowhere_and_a_run_on_its_snapshot_still_trains(house):
    media = MediaStore(house.settings.resolved_media_url)
    run_id = house.start()
    house.work(run_id)
    with house.database.transaction() as session:
        sha256 = session.get_one(Image, 3).sha256
        assert erase_image(session, image_id=3).num_pairs == 1
        erased = erase_caption(session, caption_id=7)
    assert (erased.num_rows, erased.num_pairs, erased.num_snapshots) == (1, 1, 1)
    assert not any(sha256 in key for key, _, _ in media.walk(""))
    with house.database.reading() as session:
        snapshot = session.scalars(select(Snapshot)).one()
        table = get_table(media, snapshot.pairs_key).to_pydict()
        assert session.get_one(Caption, 7).text == ""
        assert session.get_one(DataSet, 1).num_pairs == 18
    assert snapshot.counts["erased"] == 2 and 7 in table["caption_id"] and sha256 in table["image_sha256"]
    left = [
        p for p in house.settings.home.rglob("*") if p.is_file() and b"thing number 6\x00" in p.read_bytes()
    ]
    assert "thing number 6" not in table["caption"] and not left
    with house.database.transaction() as session:
        again = clone_run(session, run_id=run_id, same_data=True).id
    assert house.work(again)[0] == "finished"


def test_garbage_is_what_no_row_names_and_a_dry_run_deletes_nothing(house):
    run_id = house.start()
    house.work(run_id)
    media = MediaStore(house.settings.resolved_media_url)
    before = {key for key, _, _ in media.walk("")}
    assert any(key.startswith("evaluations/") for key in before), "nothing to be kept by its event"
    keys = [media.put(b"of work that was given up", kind=kind) for kind in ("images", "evaluations")]
    with house.database.reading() as session:
        assert find_garbage(session) == [], "young files may belong to work under way"
    for other in (*keys, *before):  # the rest is as old and is named by rows
        os.utime(media.local_path(other), (1, 1))
    with house.database.reading() as session:
        garbage = find_garbage(session)
        assert [one.key for one in garbage] == keys and all(map(media.exists, keys))
        collect(session, garbage)
    assert {key for key, _, _ in media.walk("")} == before


def test_a_quota_that_is_used_up_starts_no_run(house):
    house.settings.quota_gb = 1e-9
    with house.database.transaction() as session, pytest.raises(NearmissError, match="the quota is 1e-09 GB"):
        start_run(session, data_set_id=1, model_id=1, preset="scratch", overrides=OVERRIDES)


def test_a_data_set_that_holds_more_than_it_may_starts_no_run_and_takes_no_import(house):
    house.settings.data_set_quota_gb = (
        1e-6  # 1,000 bytes: a run's result is more, the twenty small pictures are not less
    )
    wish = {"data_set_id": 1, "model_id": 1, "preset": "scratch", "overrides": OVERRIDES}
    with house.database.reading() as session:
        refused = plan_run(session, **wish).preflight.refusals
    assert len(refused) == 1 and "may hold 1e-06 GB: let `nearmiss gc` take old runs" in refused[0]
    with house.database.transaction() as session, pytest.raises(NearmissError, match=r"runs 0\.00"):
        start_run(session, **wish)
    with house.database.transaction() as session, pytest.raises(NearmissError, match="may hold 1e-06 GB"):
        import_again(session, data_set_id=1)
    house.settings.data_set_quota_gb = 1.0
    run_id = house.start()
    house.work(run_id)
    with house.database.reading() as session:
        disk, pictures = disk_of_run(session, run_id), 20 * 70  # bytes: no picture is smaller than its header
        held = disk.training_bytes + disk.result_bytes + disk.folder_bytes
        house.settings.data_set_quota_gb = (
            held / 1e9
        )  # the run alone fits exactly, with the pictures it does not
        assert held > pictures and over_quota(session, 1) is not None
        assert over_quota(session, 2) is None, "another data set's bytes are not counted"


def test_old_weights_go_by_the_policy_but_for_the_best_the_kept_and_what_something_stands_on(house):
    runs = [house.start(seed=seed, max_steps=2) for seed in range(4)]
    assert all(house.work(run_id)[0] == "finished" for run_id in runs)
    old, best, kept, parent = runs
    long_ago = datetime.now(UTC) - timedelta(days=90)
    with house.database.transaction() as session:
        for run_id in runs:
            trained, job = get_run(session, run_id)
            trained.metrics_after = {"map_at_r": 0.9 if run_id == best else 0.1}
            job.finished_at = long_ago
        parent_model = session.get_one(Run, parent).result_model_id
        later = start_run(
            session, data_set_id=1, model_id=parent_model, preset="scratch", overrides=OVERRIDES
        ).id
        keep_result(session, run_id=kept, kept=True, person="Ana")
    with house.database.reading() as session:
        assert find_garbage(session) == [], "off by default"
    house.settings.keep_results_days, house.settings.keep_best_results = 60, 1
    media = MediaStore(house.settings.resolved_media_url)
    with house.database.transaction() as session:
        garbage = find_garbage(session)
        assert [one.key for one in garbage] == [f"runs/run-{old}"]
        assert "more than 60 days" in garbage[0].reason
        said = [disk_of_run(session, run_id).policy for run_id in runs]
        gone = session.get_one(Run, old).checkpoint_key
        model_id = session.get_one(Run, old).result_model_id
        assert collect(session, garbage) == garbage[0].num_bytes > 0
        assert media.exists(gone), "bytes go after the commit only"
    assert said[0] == "weights go 60 days after the end" and "1 best" in said[1]
    assert "a person" in said[2] and "a later run" in said[3]
    assert not media.exists(gone)
    with house.database.transaction() as session:
        assert session.get_one(Run, old).checkpoint_key == "" and session.get(Model, model_id) is None
        assert session.get_one(Run, old).metrics_after == {"map_at_r": 0.1}
        for run_id in (best, kept, parent):
            for key in media.manifest(session.get_one(Run, run_id).checkpoint_key).values():
                assert media.exists(key), "shared or of others"
        assert find_garbage(session) == []
        keep_result(session, run_id=kept, kept=False, person="Ana")
    with house.database.reading() as session:
        assert [one.key for one in find_garbage(session)] == [f"runs/run-{kept}"]
    assert house.work(later)[0] == "finished", "it stands on weights that stayed"
