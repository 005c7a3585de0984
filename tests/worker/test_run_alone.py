"""A run of the page, its YAML by `nearmiss finetune`, and the code that the page shows: the same weights."""

import json
import os
import subprocess
import sys
import uuid

import pytest
from PIL import Image
from safetensors.torch import load_file
from sqlalchemy import select

from app.actions.add_model import add_model
from app.actions.decide import Decision, decide
from app.actions.export_snapshot import export_snapshot
from app.actions.import_data_set import import_data_set
from app.actions.plan_run import plan_run
from app.actions.start_push import has_hub_token, start_push
from app.actions.start_run import start_run
from app.errors import NearmissError
from app.media.store import MediaStore
from app.report.report_of_run import report_of_run
from app.store.models import Event, Job, Pair, Run, Snapshot

pytestmark = pytest.mark.timeout(300)
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
TOWERS = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
}
WISH = {
    "preset": "scratch",
    "overrides": {
        "epochs": 2,
        "batch": {"size": 6, "micro_batch": 4},
        "device": "cpu",
        "labels": {"match": "mask", "no_match_weight": 2.0},
    },
}


@pytest.fixture
def trained(desk, tmp_path):
    """Eleven pairs, four verdicts, one finished run named as nobody should name it."""
    (tmp_path / "towers").mkdir()
    (tmp_path / "towers" / "open_clip_config.json").write_text(json.dumps(TOWERS))
    lines = []
    for i in range(11):
        Image.new("RGB", (16, 16), (20 * i, 255 - 20 * i, 7 * i)).save(desk.source / f"p{i}.png")
        caption = HOSTILE if i == 10 else f"a thing of kind {i}"
        lines.append(
            json.dumps({"image": f"p{i}.png", "caption": caption, "split": "test" if i > 7 else "train"})
        )
    (desk.source / "x.jsonl").write_text("\n".join(lines))
    job = desk.do(lambda s: import_data_set(s, name="x", source=str(desk.source / "x.jsonl")))
    assert job.state == "finished", job.reason
    with desk.database.transaction() as session:
        add_model(session, name="tiny", location=f"local-dir:{tmp_path / 'towers'}")
        pairs = session.scalars(select(Pair).order_by(Pair.id)).all()
        said = [(0, 1, "match"), (2, 3, "no_match"), (4, 5, "unsure"), (8, 9, "no_match")]
        wanted = [
            Decision(
                uuid=str(uuid.uuid4()),
                image_id=pairs[i].image_id,
                caption_id=pairs[c].caption_id,
                answer=answer,
            )
            for i, c, answer in said
        ]
        decide(session, decisions=wanted, person="ana")
    job = desk.do(
        lambda s: s.get_one(Job, start_run(s, data_set_id=1, model_id=1, name=HOSTILE, **WISH).job_id)
    )
    assert job.state == "finished", job.reason
    with desk.database.reading() as session:
        run = session.scalars(select(Run)).one()
        snapshot = session.get_one(Snapshot, run.snapshot_id)
        store = MediaStore(desk.settings.resolved_media_url)
        export_snapshot(session, store=store, snapshot=snapshot, folder=tmp_path / "data", format="tsv")
        store.get_folder(run.checkpoint_key, tmp_path / "page")
    return run


def weights(folder):
    return load_file(folder / "open_clip_model.safetensors")


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(bool((one[name] == other[name]).all()) for name in one)


def run_python(arguments, folder):
    env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_yaml_and_code_give_the_weights_of_the_page_and_the_report_is_one_escaped_file(
    desk, trained, tmp_path
):
    data = tmp_path / "data"
    with desk.database.reading() as session:
        code = plan_run(session, data_set_id=1, model_id=1, config_yaml=trained.config_yaml).code
        report = report_of_run(session, run_id=trained.id)
        events = session.scalars(select(Event).where(Event.job_id == trained.job_id)).all()
    (data / "run.yaml").write_text(trained.config_yaml)
    tables = ["--pairs", "pairs.tsv", "--verdicts", "verdicts.jsonl"]
    told = run_python(["-m", "app.cli.main", "finetune", "run.yaml", *tables, "--dry-run"], data)
    for name in ("masks", "hard_negatives", "extra_positives"):
        assert f"'{name}': {trained.preflight['labels'][name]}" in told
    run_python(["-m", "app.cli.main", "finetune", "run.yaml", *tables, "--out", "by-yaml"], data)
    (data / "program.py").write_text(code)
    run_python(["program.py"], data)
    for folder in ("by-yaml", "run"):
        assert_same(weights(tmp_path / "page"), weights(data / folder / "checkpoint"))

    kinds = {event.kind for event in events}
    assert {"step", "evaluated", "batch", "epoch"} <= kinds
    points = [p for e in events if e.kind == "step" for p in e.body["points"]]
    assert [p[0] for p in points] == [1, 2, 3, 4] and all(len(p) == 5 for p in points)
    assert trained.preflight["took"]["steps"] == 4 and trained.preflight["took"]["memory_bytes"] > 1e7

    assert (
        (desk.settings.home / "runs" / f"run-{trained.id}" / "report.html")
        .read_text()
        .startswith("<!doctype")
    )
    assert "<img src=x" not in report and report.count("</script>") == 3
    assert "default-src 'none'" in report
    assert not [word for word in ('src="http', "fetch(", 'href="http', "import {") if word in report]


def test_pushing_needs_a_token_and_a_name_and_tells_the_token_to_nobody(desk, trained, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with desk.database.transaction() as session, pytest.raises(NearmissError, match="no hub token is set"):
        start_push(session, run_id=trained.id, repository="me/it")
    with desk.database.transaction() as session, pytest.raises(NearmissError, match="ORGANISATION/NAME"):
        start_push(session, run_id=trained.id, repository="../../etc")
    told = type(desk.settings)(home=desk.settings.home, hub_token="hf_secret")
    assert has_hub_token(told) and "hf_secret" not in repr(told) and "hf_secret" not in told.model_dump_json()
