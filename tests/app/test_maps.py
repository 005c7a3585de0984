"""The map: its columns come as they were kept, with what people said of each image; a lasso's images become cards."""

import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.api import create_app
from app.media.maps import COLUMNS, put_map
from app.media.store import MediaStore
from app.store.database import Database
from app.store.models import Embedding, EmbeddingMap


@pytest.fixture
def client(seeded: Database) -> Iterator[TestClient]:
    headers = {"X-Nearmiss": "1"}
    with TestClient(create_app(seeded.settings), base_url="http://127.0.0.1:7860", headers=headers) as client:
        yield client


def columns_of(data: bytes) -> dict[str, np.ndarray]:
    """As static/map.js lays its arrays over the bytes."""
    num, at, found = int.from_bytes(data[:8], "little"), 8, {}
    for name, kind in (*COLUMNS, ("said", "<u1")):
        found[name] = np.frombuffer(data, kind, count=num, offset=at)
        at += found[name].nbytes
    assert at == len(data)
    return found


def test_points_carry_their_columns_and_what_was_said(client: TestClient, seeded: Database) -> None:
    assert client.get("/api/data-sets/1/map").json()["id"] is None
    assert client.get("/api/data-sets/1/map/points").status_code == 404
    assert client.post("/api/data-sets/1/map").status_code == 400, "there are no embeddings"
    ids = np.array([12, 1, 7])
    made = {"id": ids, "x": ids / 10, "y": -ids / 10, "score": ids * 0.0, "cluster": np.array([0, 1, 1])}
    with seeded.transaction() as session:
        key = put_map(MediaStore(seeded.settings.resolved_media_url), made)
        session.add(EmbeddingMap(data_set_id=1, model_id=1, key=key, num_images=3))
        session.add(
            Embedding(
                data_set_id=1, model_id=1, image_key="a b", caption_key="a b", num_images=3, num_captions=0
            )
        )
    for caption, answer in ((2, "match"), (3, "no_match"), (4, "no_match")):
        said = {"uuid": str(uuid.uuid4()), "image_id": 1, "caption_id": caption, "answer": answer}
        client.post("/api/verdicts", json={"verdicts": [said]}).raise_for_status()
    said = {"uuid": str(uuid.uuid4()), "image_id": 3, "caption_id": 1, "answer": "unsure"}  # not on the map
    client.post("/api/verdicts", json={"verdicts": [said]}).raise_for_status()
    found = columns_of(client.get("/api/data-sets/1/map/points").content)
    assert found["id"].tolist() == [12.0, 1.0, 7.0] and found["x"].tolist() == pytest.approx([1.2, 0.1, 0.7])
    assert found["said"].tolist() == [0, 0b0011, 0] and found["cluster"].tolist() == [0, 1, 1]
    jobs = [client.post("/api/data-sets/1/map").json()["job"]["id"] for _ in range(2)]
    assert jobs[0] == jobs[1], "a second click does not make a second job"


def test_images_of_a_lasso_become_cards_of_this_data_set(client: TestClient) -> None:
    cards = client.post("/api/data-sets/1/map/cards", json={"image_ids": [3, 1, 99]}).json()
    assert [card["image_id"] for card in cards] == [3, 1]
    assert client.post("/api/data-sets/1/map/cards", json={"image_ids": list(range(2001))}).status_code == 422
