"""Runs side by side, their controls, and the watched queries."""

import json
import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.actions.advise import advise
from app.actions.start_push import has_hub_token
from app.api import create_app
from app.media.store import MediaStore
from app.report.bundle import STATIC, bundle
from app.settings import Settings
from app.store.database import Database
from app.store.models import Event, Model, Run
from clipcore.config import preset as config_of
from clipcore.interval import paired_interval


@pytest.fixture
def client(seeded: Database) -> Iterator[TestClient]:
    headers = {"X-Nearmiss": "1"}
    with TestClient(create_app(seeded.settings), base_url="http://127.0.0.1:7860", headers=headers) as client:
        yield client


def say(client: TestClient, image_id: int, caption_id: int, answer: str) -> None:
    verdict = {"uuid": str(uuid.uuid4()), "image_id": image_id, "caption_id": caption_id, "answer": answer}
    assert client.post("/api/verdicts", json={"verdicts": [verdict]}).status_code == 200


def start(client: TestClient, **wish: object) -> int:
    body = {"data_set_id": 1, "model_id": 1, "request_key": str(uuid.uuid4()), **wish}
    return int(client.post("/api/runs", json=body).json()["run"]["id"])


def measured(database: Database, run_id: int, before: float, after: float) -> None:
    """Forty queries in twenty components whose mAP@R is about these."""
    store = MediaStore(database.settings.resolved_media_url)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, 40)
    with database.transaction() as session:
        run = session.get_one(Run, run_id)
        for when, value in (("before", before), ("after", after)):
            scores = {"ids": [f"image:{i}" for i in range(40)], "cluster": [i // 2 for i in range(40)]}
            scores["map_at_r"] = (value + (noise if when == "after" else 0) + np.zeros(40)).tolist()
            key = store.put(json.dumps(scores).encode(), kind="evaluations", suffix=".json")
            body = {"when": when, "metrics": {"map_at_r": value}, "queries_key": key}
            session.add(Event(job_id=run.job_id, kind="evaluated", step=0, body=body))


def test_comparison_names_what_differs_and_pairs_the_queries(client: TestClient, seeded: Database) -> None:
    say(client, 1, 2, "match")
    first = start(client)
    say(client, 1, 3, "no_match")
    second = start(client, overrides={"optimiser": {"lr": 0.5}})
    measured(seeded, first, 0.2, 0.3)
    measured(seeded, second, 0.2, 0.4)
    found = client.get(f"/api/run-comparisons?ids={first}&ids={second}").json()
    assert {"path": "optimiser.lr", "values": [0.003, 0.5]} in found["config"]
    assert all(row["values"][0] != row["values"][1] for row in found["config"])
    changed = found["runs"][1]["verdicts"]
    assert (changed["added"], changed["removed"], changed["changed"]) == (1, 0, 0)
    gains = {(g["run_id"], g["against"]): g for g in found["gains"]}
    assert gains[first, None]["gain"] == pytest.approx(0.1, abs=0.01)
    between = gains[second, first]
    assert between["gain"] == pytest.approx(0.1, abs=1e-6) and between["num_queries"] == 40
    assert between["low"] <= between["gain"] <= between["high"]
    assert "one more truth" in found["notes"][0]
    for ids, status in (
        ("ids=1", 400),
        (f"ids={first}&ids=999", 404),
        ("&".join(f"ids={i}" for i in range(1, 9)), 400),
    ):
        answer = client.get(f"/api/run-comparisons?{ids}")
        assert answer.status_code == status and list(answer.json()) == ["error"]


def test_controls_are_three_linked_runs_alike_in_all_but_their_labels_and_start_once(
    client: TestClient,
) -> None:
    wish = {"data_set_id": 1, "model_id": 1, "request_key": str(uuid.uuid4())}
    refused = client.post("/api/run-comparisons", json=wish)
    assert refused.status_code == 400 and "curate first" in refused.json()["error"]
    assert client.get("/api/runs").json() == {"runs": []}
    say(client, 1, 2, "match")
    say(client, 1, 3, "no_match")
    runs = client.post("/api/run-comparisons", json=wish).json()["runs"]
    again = client.post("/api/run-comparisons", json=wish).json()["runs"]
    assert [r["id"] for r in runs] == [r["id"] for r in again] and len(
        client.get("/api/runs").json()["runs"]
    ) == 3
    assert [r["arm"] for r in runs] == ["none", "sham", "given"] and len({r["experiment"] for r in runs}) == 1
    counts = [(r["counts"]["extra_positives"], r["counts"]["hard_negatives"]) for r in runs]
    assert counts == [(0, 0), (1, 1), (1, 1)]
    ids = [r["id"] for r in runs]
    assert client.get(f"/api/runs/{ids[1]}/gains").json()["arms"] == ids
    found = client.get("/api/run-comparisons", params={"ids": ids}).json()
    assert [row["path"] for row in found["config"]] == ["labels.use"]
    assert found["conclusion"] == "", "nothing is measured yet"


@pytest.mark.parametrize(
    ("plain", "sham", "given", "said"),
    [
        (0.3, 0.3, 0.4, "The verdicts helped"),
        (0.3, 0.4, 0.4, "not to be told from as many random labels"),
        (0.3, 0.3, 0.3, "cannot be told here"),
        (0.3, 0.3, 0.2, "did harm"),
    ],
)
def test_the_arms_are_held_against_each_other_and_what_came_out_is_said(
    client: TestClient, seeded: Database, plain: float, sham: float, given: float, said: str
) -> None:
    say(client, 1, 2, "match")
    wish = {"data_set_id": 1, "model_id": 1, "request_key": str(uuid.uuid4())}
    ids = [run["id"] for run in client.post("/api/run-comparisons", json=wish).json()["runs"]]
    for run_id, after in zip(ids, (plain, sham, given), strict=True):
        measured(seeded, run_id, 0.25, after)
    found = client.get("/api/run-comparisons", params={"ids": ids}).json()
    assert said in found["conclusion"] and "one seed" in found["conclusion"]
    between = {(g["run_id"], g["against"]): g["gain"] for g in found["gains"]}
    assert between[ids[2], ids[1]] == pytest.approx(given - sham, abs=1e-6)


def test_yaml_is_refused_in_sentences_and_shown_with_the_program(client: TestClient) -> None:
    wish = {"data_set_id": 1, "model_id": 1}
    plan = client.post("/api/runs/preview", json=wish | {"overrides": {"labels": {"match": "soft"}}}).json()
    assert "'match': 'soft'" in plan["code"] and "from clipcore import" in plan["code"]
    compile(plan["code"], "program", "exec")
    again = client.post("/api/runs/preview", json=wish | {"config_yaml": plan["config_yaml"]}).json()
    assert again["config_yaml"] == plan["config_yaml"]
    for text, word in (
        ("a: [", "not YAML"),
        ("labels: {match: hug}", "hug"),
        ("- 1", "must map"),
        ("epochs: x", "epochs"),
    ):
        answer = client.post("/api/runs/preview", json=wish | {"config_yaml": text})
        assert answer.status_code == 400 and word in answer.json()["error"], answer.text
    heads = client.post(
        "/api/runs/preview", json=wish | {"config_yaml": "loss: {heads: {huggy: 1.0}}"}
    ).json()
    assert any("huggy" in text for text in heads["refusals"])


def test_probes_are_typed_picked_and_removed(client: TestClient) -> None:
    path = "/api/data-sets/1/probes"
    assert client.get(path).json() == []
    own = client.post(path, json={"text": "a thing <b>"}).json()
    assert [p["text"] for p in own] == ["a thing <b>"]
    picked = client.post(path, json={"pick": "worst", "num": 2}).json()
    assert {p["text"] for p in picked[1:]} == {"thing 10", "thing 11"}  # the held-out ones
    empty = client.post(path, json={"pick": "random"})
    assert empty.status_code == 400 and "type a query" in empty.json()["error"]
    left = client.delete(f"{path}/{own[0]['id']}").json()
    assert [p["text"] for p in left] == [p["text"] for p in picked[1:]]
    assert client.post(path, json={}).status_code == 400
    assert client.delete(f"{path}/999").status_code == 404


def test_pushing_needs_a_token_and_a_name_and_tells_the_token_to_nobody(
    client: TestClient, seeded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    run_id = start(client)
    push = f"/api/runs/{run_id}/push"
    assert "no checkpoint" in client.post(push, json={"repository": "me/it"}).json()["error"]
    with seeded.transaction() as session:
        session.get_one(Run, run_id).checkpoint_key = "checkpoints/x"
    assert "no hub token is set" in client.post(push, json={"repository": "me/it"}).json()["error"]
    assert "ORGANISATION/NAME" in client.post(push, json={"repository": "../../etc"}).json()["error"]
    told = Settings(home=seeded.settings.home, hub_token=SecretStr("hf_secret"))
    assert has_hub_token(told) and "hf_secret" not in repr(told) and "hf_secret" not in told.model_dump_json()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    answer = client.post(push, json={"repository": "me/it"})
    assert answer.json()["job"]["kind"] == "push" and "hf_secret" not in answer.text
    gains = client.get(f"/api/runs/{run_id}/gains")
    assert gains.json()["can_push"] is True and "hf_secret" not in gains.text


def test_interval_is_that_of_resampled_clusters() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.random(60), rng.random(60)
    cluster = [i // 3 for i in range(60)]
    gain, low, high = paired_interval(before, after, cluster)
    means = (after - before).reshape(20, 3).mean(1)
    slow = [means[rng.integers(0, 20, 20)].mean() for _ in range(4000)]
    assert gain == pytest.approx(means.mean())
    assert np.quantile(slow, [0.025, 0.975]) == pytest.approx([low, high], abs=0.02)


def test_report_script_holds_every_module_that_it_needs_and_no_import() -> None:
    script = bundle("report.js", replaced={"api.js": "export const picture = () => 'data:,';"})
    assert "import {" not in script and "\nexport " not in script and "fetch(" not in script
    assert (
        script.index('modules["dom.js"] =')
        < script.index('modules["chart.js"] =')
        < script.index('modules["report.js"] =')
    )
    for file in STATIC.glob("*.js"):
        assert "innerHTML" not in file.read_text(encoding="utf-8").replace("no innerHTML", ""), file.name


@pytest.mark.parametrize(
    ("location", "preset", "changes", "word"),
    [
        ("demo:openmoji-tiny", "full", {}, "3e-4 and 3 epochs"),
        ("demo:openmoji-tiny", "full", {"optimiser": {"lr": 3e-4}}, None),
        ("ViT-B-32", "full", {}, None),
        ("ViT-B-32", "siglip", {}, "sigmoid loss"),
        ("ViT-B-16-SigLIP", "siglip", {}, None),
        ("demo:openmoji-tiny", "adapter", {}, None),
        ("demo:openmoji-tiny", "lora", {}, None),
    ],
)
def test_a_preset_says_where_it_is_not_made_for_the_model(
    location: str, preset: str, changes: dict[str, object], word: str | None
) -> None:
    told = advise(
        Model(name="base", location=location, pretrained=""), config_of(preset).with_values(changes)
    )
    assert len(told) == (word is not None) and (word is None or word in told[0])
