"""Verdicts as files: what is exported comes back exactly, other tools' files are mapped, spreadsheets run nothing."""

import csv
import io
import json
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from app.actions.add_rows import NewRow, add_rows
from app.actions.decide import Decision, decide
from app.actions.import_verdicts import Taken, import_batch
from app.actions.verdict_files import verdict_lines, write_verdicts
from app.errors import NearmissError
from app.sources.verdicts import read_verdicts, verdict_columns
from app.store.database import Database
from app.store.models import CurrentVerdict, DataSet, Verdict
from app.store.text import text_hash

TEXTS = [
    "=1+1",
    "'=1",
    "@sum",
    "-3",
    "a, b",
    'say "so"',
    "two\nlines",
    "\u202etxet",
    "😀",
    "'tis",
    "Ä",
    "plain",
]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Two data sets of the same twelve pairs, in one database; their ids differ."""
    from app.settings import Settings
    from app.store.schema import migrate

    database = Database(Settings(home=tmp_path_factory.mktemp("twins")))
    migrate(database.engine)
    with database.transaction() as session:
        session.add_all([DataSet(id=1, name="first"), DataSet(id=2, name="second")])
        session.flush()
        rows = [NewRow(f"{n}.png", text_hash(str(n)), 8, 8, text) for n, text in enumerate(TEXTS)]
        add_rows(session, data_set_id=1, rows=rows)
        add_rows(session, data_set_id=2, rows=rows[::-1])
    yield database
    database.close()


def stands(database: Database, data_set_id: int) -> set[tuple[Any, ...]]:
    """What stands, by names and texts instead of ids."""
    with database.reading() as session:
        lines = list(verdict_lines(session, data_set_id))
    return {(v.image, v.caption, v.verdict, v.confidence, v.person, v.time) for v in lines}


def written(database: Database, data_set_id: int, format: str, **options: int) -> bytes:
    with database.reading() as session:
        return b"".join(write_verdicts(session, data_set_id, format=format, **options))  # type: ignore[arg-type]


def taken_over(database: Database, data_set_id: int, path: Path, **options: Any) -> Taken:
    taken, bulk_id = Taken(), str(uuid.uuid4())
    rows = read_verdicts(path, columns=options.get("columns", {}), words=options.get("words", {}))
    while batch := list(islice(rows, 5)):
        with database.transaction() as session:
            import_batch(session, data_set_id, rows=batch, person="me", bulk_id=bulk_id, taken=taken)
    return taken


SAID = st.tuples(
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from(["match", "no_match", "unsure", "broken_pair"]),
    st.floats(0, 1),
    st.sampled_from(["ana", "=bob", "Zoë, K."]),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(SAID, max_size=12), format=st.sampled_from(["jsonl", "parquet", "csv"]))
def test_what_is_exported_comes_back_exactly(
    twins: Database, tmp_path_factory: pytest.TempPathFactory, said: list[Any], format: str
) -> None:
    with twins.transaction() as session:
        session.execute(delete(CurrentVerdict))
        session.execute(delete(Verdict))
        for image, caption, answer, confidence, person in said:
            meant = answer if image != caption else {"no_match": "broken_pair"}.get(answer, answer)
            meant = meant if image == caption or answer != "broken_pair" else "no_match"
            one = Decision(str(uuid.uuid4()), image, caption, meant, confidence)
            decide(session, decisions=[one], person=person)
    path = tmp_path_factory.mktemp("files") / f"verdicts.{format}"
    path.write_bytes(written(twins, 1, format))
    taken = taken_over(twins, 2, path)
    assert taken.num_rejected == 0
    assert stands(twins, 2) == stands(twins, 1)
    again = taken_over(twins, 2, path)
    assert (again.num_new, again.num_same) == (0, taken.num_new), "a file that comes again changes nothing"


@pytest.fixture
def judged(seeded: Database) -> Database:
    with seeded.transaction() as session:
        said = [
            (1, 2, "match"),
            (1, 3, "no_match"),
            (1, 4, "no_match"),
            (1, 5, "no_match"),
            (2, 2, "broken_pair"),
        ]
        decisions = [Decision(str(uuid.uuid4()), i, c, a) for i, c, a in said]  # type: ignore[arg-type]
        decide(session, decisions=decisions, person="ana")
    return seeded


def test_sentence_transformers_shapes_hold_what_was_decided(judged: Database) -> None:
    def lines(format: str, **options: int) -> list[Any]:
        return [json.loads(line) for line in written(judged, 1, format, **options).splitlines()]

    triplets = lines("triplet")
    assert {(t["anchor"], t["positive"]) for t in triplets} == {("0.png", "thing 0"), ("0.png", "thing 1")}
    assert len(triplets) == 6 and list(triplets[0]) == ["anchor", "positive", "negative"]
    labelled = {(x["image"], x["caption"], x["label"]) for x in lines("labeled-pair")}
    assert ("1.png", "thing 1", 0) in labelled and ("0.png", "thing 1", 1) in labelled and len(labelled) == 6
    tuples = lines("n-tuple", num_negatives=2)
    assert len(tuples) == 2 and list(tuples[0]) == ["anchor", "positive", "negative_1", "negative_2"]
    with judged.reading() as session, pytest.raises(NearmissError, match="no format"):
        write_verdicts(session, 1, format="xlsx")  # type: ignore[arg-type]


def test_no_cell_of_the_csv_begins_a_formula(twins: Database) -> None:
    with twins.transaction() as session:
        decide(
            session,
            decisions=[Decision(str(uuid.uuid4()), 12, i, "match") for i in range(1, 13)],
            person="=cmd|x",
        )
    cells = [cell for row in csv.reader(io.StringIO(written(twins, 1, "csv").decode())) for cell in row]
    assert len(cells) > 13 * 8 - 1 and not [
        c for c in cells if c.startswith(("=", "+", "-", "@", "\t", "\r"))
    ]


def test_another_tools_file_is_mapped_and_refusals_say_why(judged: Database, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text(
        "pic,sentence,choice\n5.png,thing 7,good\n5.png,a new text,bad\nx.png,thing 1,good\n"
        "5.png,thing 5,bad\n5.png,thing 8,what\n5.png,,good\n5.png,thing 9\n"
    )
    assert verdict_columns(path) == ["pic", "sentence", "choice"]
    with pytest.raises(NearmissError, match="which one is the image"):
        list(read_verdicts(path, columns={}, words={}))
    words = {"good": "match", "Bad": "no_match"}
    taken = taken_over(judged, 1, path, columns={"image": "pic"}, words=words)
    assert taken.num_new == 2 and taken.num_rejected == 5
    for reason in ("no image 'x.png'", "say broken_pair", "'what'", "no caption", "no verdict"):
        assert any(reason in line for line in taken.rejected), (reason, taken.rejected)
    assert ("5.png", "a new text", "no_match", 1.0, "me") in {v[:5] for v in stands(judged, 1)}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.parquet", b"nothing"),
        ("a.exe", b"x"),
        ("a.jsonl", b'[1]\n{"image": "0.png"}\n\xff\xfe\n'),
        ("a.csv", b"image,caption,verdict\n0.png,\x00,match\n" + b"x" * 3_000_000),
    ],
)
def test_a_broken_file_is_a_sentence_or_refused_rows(
    judged: Database, tmp_path: Path, name: str, data: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    try:
        assert taken_over(judged, 1, path).num_new == 0
    except NearmissError as error:
        assert "\n" not in str(error)
