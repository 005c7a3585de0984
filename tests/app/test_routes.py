"""The routes as a browser meets them: the gate, the sentences, the run before and after the click."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from app.api import create_app
from app.errors import NearmissError, NotReady
from app.store.database import Database


@pytest.fixture
def client(seeded: Database) -> Iterator[TestClient]:
    """A browser of this machine."""
    headers = {"X-Nearmiss": "1"}
    with TestClient(create_app(seeded.settings), base_url="http://127.0.0.1:7860", headers=headers) as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "rebound.example"}, 421),
        ({"Host": "[::1].evil"}, 421),
        ({"Host": "[::1]:7860"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://127.0.0.1:7860"}, 200),
    ],
)
def test_foreign_hosts_and_origins_are_refused(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.get("/api/data-sets", headers=headers).status_code == status


def test_a_change_needs_the_header_that_a_form_cannot_send(client: TestClient) -> None:
    del client.headers["X-Nearmiss"]
    answer = client.post("/api/data-sets", json={"name": "x", "source": "demo"})
    assert answer.status_code == 403
    assert "X-Nearmiss" in answer.json()["error"]


def test_large_bodies_are_refused_and_every_answer_bears_the_headers(client: TestClient) -> None:
    answer = client.post("/api/verdicts", content=b"x" * (2 * 2**20 + 1))
    assert answer.status_code == 413
    for reply in (answer, client.get("/healthz")):
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/pairs/999", 404), ("/api/pairs/x", 422), ("/api/nothing", 404), ("/api/runs/9", 404)],
)
def test_errors_are_one_sentence(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert "\n" not in answer.json()["error"]


def test_an_address_that_others_reach_is_refused(database: Database) -> None:
    with pytest.raises(NearmissError, match="there is no account yet"):
        create_app(database.settings.model_copy(update={"host": "0.0.0.0"}))


def test_pages_by_key_visit_every_pair_once(client: TestClient) -> None:
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = client.get(f"/api/data-sets/1/pairs?limit=5&after={after}").json()
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
    assert len(seen) == len(set(seen)) == 12


def test_verdicts_become_counts_before_the_click_and_a_frozen_run_after_it(client: TestClient) -> None:
    verdicts = [
        {"uuid": str(uuid.uuid4()), "image_id": 1, "caption_id": 2, "answer": "match"},
        {"uuid": str(uuid.uuid4()), "image_id": 1, "caption_id": 3, "answer": "no_match"},
        {"uuid": str(uuid.uuid4()), "image_id": 2, "caption_id": 3, "answer": "unsure"},
        {"uuid": str(uuid.uuid4()), "image_id": 3, "caption_id": 3, "answer": "broken_pair"},
    ]
    assert client.post("/api/verdicts", json={"verdicts": verdicts}).json()["saved"]
    wish = {"data_set_id": 1, "model_id": 1, "preset": "adapter"}
    report = client.post("/api/runs/preview", json=wish).json()
    labels = {"extra_positives": 1, "hard_negatives": 1, "masks": 1, "broken_pairs": 1}
    assert {name: report["labels"][name] for name in labels} == labels
    assert report["num_pairs"] == 9  # ten of the training split without the broken one
    wish |= {"request_key": str(uuid.uuid4())}
    runs = [client.post("/api/runs", json=wish).json()["run"] for _ in range(2)]
    assert runs[0]["id"] == runs[1]["id"]
    again = client.post("/api/runs", json=wish | {"request_key": str(uuid.uuid4())}).json()["run"]
    assert again["snapshot"]["hash"] == runs[0]["snapshot"]["hash"]
    assert runs[0]["snapshot"]["counts"]["pairs"] == 12
    assert "epochs: 30" in runs[0]["config_yaml"]
    undo = {"uuid": str(uuid.uuid4()), "retracts": verdicts[0]["uuid"]}
    assert client.post("/api/verdicts/undo", json=undo).json()["retracted"]["answer"] == "match"
    later = client.post("/api/runs", json=wish | {"request_key": str(uuid.uuid4())}).json()["run"]
    assert later["snapshot"]["hash"] != runs[0]["snapshot"]["hash"]


def test_an_unknown_setting_is_one_sentence_and_nothing_is_queued(client: TestClient) -> None:
    wish = {"data_set_id": 1, "model_id": 1, "overrides": {"optimiser": {"learning": 1}}}
    answer = client.post("/api/runs", json=wish)
    assert answer.status_code == 400
    assert "learning" in answer.json()["error"]
    assert client.get("/api/runs").json() == {"runs": []}


def test_search_falls_back_to_words_and_says_so(client: TestClient) -> None:
    answer = client.get("/api/data-sets/1/search?q=thing 3").json()
    assert [item["caption"] for item in answer["items"]] == ["thing 3"]
    assert "nearmiss worker search" in answer["note"]
    assert not answer["ask_again"], "nobody is there who could answer soon"


def test_search_tells_the_page_to_ask_again_while_its_worker_loads_the_model(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loading(*_: object) -> None:
        raise NotReady("still loading")

    monkeypatch.setattr("app.api.search._by_meaning", loading)
    answer = client.get("/api/data-sets/1/search?q=thing 3").json()
    assert answer["ask_again"] and "still loading" in answer["note"]
    assert [item["caption"] for item in answer["items"]] == ["thing 3"]
    assert client.get("/api/data-sets/1/search?image_id=1").status_code == 503


def test_a_model_is_added_once_and_a_name_that_means_another_is_refused(client: TestClient) -> None:
    wish = {"location": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}
    for _ in range(2):
        names = [model["name"] for model in client.post("/api/models", json=wish).json()]
        assert names.count("ViT-B-32 laion2b_s34b_b79k") == 1
    other = {"location": "local-dir:/elsewhere", "name": "ViT-B-32 laion2b_s34b_b79k"}
    answer = client.post("/api/models", json=other)
    assert answer.status_code == 409 and "choose another name" in answer.json()["error"]
    assert client.post("/api/models", json={"location": ""}).status_code == 422


def test_a_model_by_path_lies_below_the_folders_that_may_be_imported(
    client: TestClient, seeded: Database, tmp_path: Path
) -> None:
    (roots := tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    (roots / "link").symlink_to(tmp_path / "closed")
    seeded.settings.import_roots = str(roots)

    def add(location: str, pretrained: str = "") -> tuple[int, str]:
        answer = client.post("/api/models", json={"location": location, "pretrained": pretrained})
        return answer.status_code, answer.json()["error"] if answer.status_code >= 400 else ""

    assert add(f"local-dir:{roots}/mine") == (200, "")
    assert add("ViT-B-16", f"{roots}/weights.safetensors") == (200, "")
    for location, pretrained in (
        (f"local-dir:{tmp_path}/closed", ""),
        (f"local-dir:{roots}/../closed", ""),
        (f"local-dir:{roots}/link", ""),
        ("local-dir:~", ""),
        ("ViT-B-32", "/etc/shadow"),
        ("ViT-B-32", "../weights.safetensors"),
    ):
        code, said = add(location, pretrained)
        assert code == 400 and str(roots) in said and "may be read" in said, (location, pretrained, said)
    assert add("media:models/1")[0] == 400


def test_a_server_beside_tables_of_another_version_lives_but_is_not_ready(
    client: TestClient, seeded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/readyz").status_code == 200

    def unread(*_: object) -> None:
        raise AssertionError("strangers may ask as often as they like: the migrations are read once")

    monkeypatch.setattr("alembic.script.ScriptDirectory.from_config", unread)
    for version, remedy in (("9999", "install the newer Nearmiss"), ("0001", "nearmiss migrate")):
        with seeded.engine.begin() as connection:
            connection.execute(text("update alembic_version set version_num = :v"), {"v": version})
        answer = client.get("/readyz")
        assert answer.status_code >= 400 and remedy in answer.json()["error"], answer.text
        assert client.get("/healthz").status_code == 200
