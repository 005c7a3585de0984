"""A run of the page, its YAML by `nearmiss finetune`, and the code that the page shows: the same weights."""

import json
import runpy
import uuid

import pytest
from PIL import Image
from safetensors.torch import load_file
from sqlalchemy import select

from app import demo
from app.actions.add_model import add_model
from app.actions.decide import Decision, decide
from app.actions.export_snapshot import export_snapshot
from app.actions.import_data_set import import_data_set
from app.actions.plan_run import plan_run
from app.actions.start_run import start_run
from app.cli.finetune import model_of
from app.media.store import MediaStore
from app.report.report_of_run import report_of_run
from app.store.models import Event, Job, Pair, Run, Snapshot
from clipcore.__main__ import main as clipcore_command
from tests.tiny_towers import tiny_towers

pytestmark = pytest.mark.timeout(600)
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
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
    towers = tiny_towers(tmp_path / "towers")
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
        add_model(session, name="tiny", location=towers)
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


def test_yaml_and_code_give_the_weights_of_the_page_and_the_report_is_one_escaped_file(
    desk, trained, tmp_path, monkeypatch, capsys
):
    data = tmp_path / "data"
    with desk.database.reading() as session:
        code = plan_run(session, data_set_id=1, model_id=1, config_yaml=trained.config_yaml).code
        report = report_of_run(session, run_id=trained.id)
        events = session.scalars(select(Event).where(Event.job_id == trained.job_id)).all()
    (data / "run.yaml").write_text(trained.config_yaml)
    tables = ["--pairs", "pairs.tsv", "--verdicts", "verdicts.jsonl"]
    monkeypatch.chdir(data)
    assert clipcore_command(["run.yaml", *tables, "--dry-run"]) == 0
    told = capsys.readouterr().out
    for name in ("masks", "hard_negatives", "extra_positives"):
        assert f"'{name}': {trained.preflight['labels'][name]}" in told
    assert clipcore_command(["run.yaml", *tables, "--out", "by-yaml"]) == 0
    (data / "program.py").write_text(code)
    runpy.run_path("program.py")
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


def test_the_command_finds_models_that_only_this_installation_names(tmp_path):
    (tmp_path / "run.yaml").write_text("model: {name: 'demo:openmoji-tiny'}")
    (tmp_path / "own.yaml").write_text("model: {name: ViT-B-32}")
    found = model_of([str(tmp_path / "run.yaml"), "--pairs", "x"])
    assert found == f"local-dir:{demo.BASE_MODEL}"
    assert model_of([str(tmp_path / "own.yaml")]) is None
    assert model_of([str(tmp_path / "run.yaml"), "--model", "ViT-B-32"]) is None
    assert model_of(["adapter"]) is None and model_of(["not-there.yaml"]) is None
