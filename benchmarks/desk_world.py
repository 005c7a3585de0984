"""The desk's world: as many pairs as wished on 300 drawings, their suggestions, vectors, map, words and annotators."""

import json
import random
import sys

import numpy as np
from result import ROOT
from sqlalchemy import text

sys.path.insert(0, str(ROOT))
from app.actions.add_model import add_model
from app.actions.credentials import issue
from app.demo import BASE_MODEL
from app.demo.openmoji import drawings, rasterise
from app.media.maps import put_map
from app.media.pictures import check_picture, keep_picture
from app.media.store import MediaStore
from app.media.vectors import put_vectors
from app.store.database import Database
from app.store.models import (
    Caption,
    DataSet,
    Embedding,
    EmbeddingMap,
    Image,
    Pair,
    PersonRow,
    Suggestion,
)
from app.store.schema import migrate
from app.store.text import text_hash
from app.store.words import index_words

NUM_PICTURES, MOST_SUGGESTIONS, MOST_MAPPED = 300, 200_000, 100_000
CHUNK = 5_000  # rows a transaction; the numbers of pairs are multiples of it
WORDS = [
    "red",
    "blue",
    "small",
    "large",
    "dog",
    "cat",
    "house",
    "tree",
    "river",
    "person",
    "ship",
    "road",
    "hat",
    "chair",
    "lamp",
    "green",
    "old",
    "new",
]
SEQUENCES = ("images", "captions", "pairs", "suggestions")


def fill(database: Database, num_pairs: int) -> None:
    """One data set: as many images as pairs, 300 drawings shared by them, and at most 200,000 open suggestions."""
    migrate(database.engine)
    rng = random.Random(0)
    store = MediaStore(database.settings.resolved_media_url)
    hashes = keep_drawings(store)
    with database.transaction() as session:
        nums = {"num_images": num_pairs, "num_captions": num_pairs, "num_pairs": num_pairs}
        session.add(DataSet(id=1, name="large", **nums))
        add_model(session, name="tiny", location="demo:openmoji-tiny")
    add_pairs(database, num_pairs, hashes, rng)
    add_candidates(database, num_pairs, rng)
    keep_vectors(database, store, min(num_pairs, MOST_SUGGESTIONS))
    indexed = 1
    while indexed:
        with database.transaction() as session:
            indexed = index_words(session)
    with database.engine.begin() as connection:
        connection.execute(text("analyze"))


def add_people(database: Database, num: int) -> list[str]:
    """A token each of so many annotators; from now on everybody has to log in."""
    tokens = []
    with database.transaction() as session:
        for number in range(num):
            person = PersonRow(name=f"annotator {number}", role="annotator", password_hash="none")
            session.add(person)
            session.flush()
            tokens.append(issue(session, person_id=person.id, kind="token", lives_s=86400.0))
    return tokens


def keep_drawings(store: MediaStore) -> list[str]:
    """The hashes of the 300 pictures."""
    hashes = []
    for drawing in drawings()[:NUM_PICTURES]:
        picture = check_picture(rasterise(drawing))
        keep_picture(store, picture)
        hashes.append(picture.sha256)
    return hashes


def add_pairs(database: Database, num_pairs: int, hashes: list[str], rng: random.Random) -> None:
    """Images, captions of six words and a number, pairs: each with the same ids from 1."""
    one = {"data_set_id": 1}
    size = {"width": 72, "height": 72}
    for start in range(0, num_pairs, CHUNK):
        span = range(start + 1, min(start + CHUNK, num_pairs) + 1)
        texts = {i: f"{' '.join(rng.choices(WORDS, k=6))} {i}" for i in span}
        rows = {
            Image: [one | size | {"id": i, "key": f"{i}.png", "sha256": rng.choice(hashes)} for i in span],
            Caption: [one | {"id": i, "text": t, "sha256": text_hash(t)} for i, t in texts.items()],
            Pair: [one | {"id": i, "image_id": i, "caption_id": i, "split": "train"} for i in span],
        }
        with database.transaction() as session:
            for table, values in rows.items():
                session.execute(table.__table__.insert(), values)


def add_candidates(database: Database, num_pairs: int, rng: random.Random) -> None:
    """The open suggestions; on Postgres the ids of what comes next follow those that were given here."""
    for start in range(1, min(num_pairs, MOST_SUGGESTIONS) + 1, CHUNK):
        values = [suggestion(i, rng, num_pairs) for i in range(start, start + CHUNK)]
        with database.transaction() as session:
            session.execute(Suggestion.__table__.insert(), values)
    if database.engine.dialect.name == "postgresql":
        with database.transaction() as session:
            for table in SEQUENCES:
                session.execute(text(f"select setval('{table}_id_seq', (select max(id) from {table}))"))


def suggestion(i: int, rng: random.Random, num_pairs: int) -> dict[str, object]:
    """A candidate of an image and a caption a little further on; every image of a hundred has eight."""
    image = i - i % 8 + 1
    return {
        "data_set_id": 1,
        "model_id": 1,
        "image_id": min(image, num_pairs),
        "caption_id": (i + 16) % num_pairs + 1,
        "proposed": rng.choice(("match", "no_match")),
        "probability": rng.random(),
        "score": rng.random(),
        "impact": rng.random(),
        "uncertainty": rng.random(),
        "shuffle": rng.random(),
        "group_key": "",
        "signals": {},
        "reasons": ["the model ranks it above its own caption"],
        "state": "open",
    }


def keep_vectors(database: Database, store: MediaStore, num_images: int) -> None:
    """Random directions as the images' embeddings by the demo's model, and a map of at most 100,000 of them."""
    rng = np.random.default_rng(0)
    ids = np.arange(1, num_images + 1)
    dimensions = json.loads((BASE_MODEL / "open_clip_config.json").read_text())["model_cfg"]["embed_dim"]
    vectors = rng.standard_normal((num_images, dimensions), np.float32)
    key = put_vectors(store, ids, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    mapped = ids[:MOST_MAPPED]
    centres = rng.uniform(-0.8, 0.8, (12, 2))[mapped % 12]
    x, y = (centres + rng.normal(0, 0.07, (len(mapped), 2))).T
    score = rng.uniform(-0.2, 0.6, len(mapped))
    points = put_map(store, {"id": mapped, "x": x, "y": y, "score": score, "cluster": mapped % 12})
    with database.transaction() as session:
        one = {"data_set_id": 1, "model_id": 1}
        nums = {"num_images": num_images, "num_captions": 0}
        session.add(Embedding(**one, image_key=key, caption_key=key, **nums))
        session.add(EmbeddingMap(**one, key=points, num_images=len(mapped)))
