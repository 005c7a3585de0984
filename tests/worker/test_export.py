"""What is exported is what is imported again, and other programs read it."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.actions.decide import Decision, decide
from app.actions.export_snapshot import FORMATS, export_snapshot
from app.actions.import_data_set import import_data_set
from app.actions.take_snapshot import take_snapshot
from app.errors import NearmissError
from app.media.store import MediaStore
from app.store.models import Caption, Image, Pair
from tests.import_desk import make_desk, png

CAPTIONS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\r\"',;|"), min_size=1, max_size=40
).filter(lambda text: bool(text.strip()))
ROWS = st.lists(
    st.tuples(st.integers(0, 3), CAPTIONS, st.sampled_from(["train", "test"])), min_size=1, max_size=8
)


def export(desk, folder: Path, format: str):
    with desk.database.transaction() as session:
        snapshot = take_snapshot(session, data_set_id=1)
    with desk.database.reading() as session:
        store = MediaStore(desk.settings.resolved_media_url)
        return export_snapshot(session, store=store, snapshot=snapshot, folder=folder, format=format)


def filled(desk, rows):
    lines = [json.dumps({"image": f"{i}.png", "caption": c, "split": s}) + "\n" for i, c, s in rows]
    (desk.source / "x.jsonl").write_text("".join(lines), encoding="utf-8")
    job = desk.do(lambda s: import_data_set(s, name="x", source=str(desk.source / "x.jsonl")))
    assert job.state == "finished", job.reason


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
@example(rows=[(0, 'a\rb\n"c"\td', "train"), (0, "x", "test")])
def test_import_of_an_export_gives_the_same_pairs(tmp_path_factory, format, rows):
    place = tmp_path_factory.mktemp("round")
    one, two = make_desk(place / "one"), make_desk(place / "two")
    try:
        filled(one, rows)
        export(one, place / "out", format)
        job = two.do(lambda s: import_data_set(s, name="y", source=str(place / "out")))
        assert (job.state, two.pairs()) == ("finished", one.pairs()) and one.pairs()
    finally:
        one.database.close()
        two.database.close()


@pytest.fixture
def judged(desk):
    """Two pictures, three pairs, one verdict of each answer that trains."""
    filled(desk, [(0, "zero", "train"), (0, "nought", "train"), (1, 'one\t"quoted"', "test")])
    ids = {"match": (1, 3), "no_match": (2, 1)}
    with desk.database.transaction() as session:
        decisions = [
            Decision(uuid=f"00000000-0000-4000-8000-00000000000{n}", image_id=i, caption_id=c, answer=answer)
            for n, (answer, (i, c)) in enumerate(ids.items())
        ]
        decide(session, decisions=decisions, person="a")
    return desk


def test_the_same_import_gives_the_same_rows_on_both_databases(both_desks):
    filled(both_desks, [(0, "zero", "train"), (0, "nought", "test"), (1, "zero", "train"), (3, "é", "train")])
    with both_desks.database.reading() as session:
        query = select(Pair.id, Image.id, Image.key, Image.sha256, Caption.id, Caption.text, Pair.split)
        rows = [
            tuple(row)
            for row in session.execute(query.select_from(Pair).join(Image).join(Caption).order_by(Pair.id))
        ]
    assert [(r[0], r[1], r[2], r[4], r[5], r[6]) for r in rows] == [
        (1, 1, "0.png", 1, "zero", "train"),
        (2, 1, "0.png", 2, "nought", "held_out"),
        (3, 2, "1.png", 1, "zero", "train"),
        (4, 3, "3.png", 3, "é", "train"),
    ]


def test_open_clips_loader_reads_the_tsv(judged, tmp_path, monkeypatch):
    csv_dataset = pytest.importorskip("open_clip_train.data").CsvDataset
    export(judged, tmp_path / "out", "tsv")
    monkeypatch.chdir(tmp_path / "out")
    data = csv_dataset(
        "pairs.tsv", lambda picture: picture.size, "filepath", "title", "\t", lambda texts: texts
    )
    assert sorted(data[i][1] for i in range(len(data))) == ["nought", 'one\t"quoted"', "zero"]
    assert data[0][0] == (8, 8)


def test_pandas_reads_the_tsv_as_open_clips_loader_does(judged, tmp_path):
    pandas = pytest.importorskip("pandas")
    export(judged, tmp_path / "out", "tsv")
    table = pandas.read_csv(tmp_path / "out" / "pairs.tsv", sep="\t")
    assert sorted(table["title"]) == ["nought", 'one\t"quoted"', "zero"]
    assert all((tmp_path / "out" / name).read_bytes() in (png(0), png(1)) for name in table["filepath"])


def test_webdataset_reads_the_shards(judged, tmp_path):
    wds = pytest.importorskip("webdataset")
    export(judged, tmp_path / "out", "webdataset")
    data = wds.WebDataset(str(tmp_path / "out" / "00000.tar"), shardshuffle=False).decode("pil")
    samples = {sample["txt"]: sample for sample in data}
    assert samples["zero"]["json"]["captions"] == ["zero", "nought"] and samples["zero"]["png"].size == (8, 8)
    assert samples["zero"]["json"]["labels"] == [
        {"caption": 'one\t"quoted"', "verdict": "match", "confidence": 1.0}
    ]


def test_datasets_reads_the_parquet_and_decodes_its_pictures(judged, tmp_path):
    datasets = pytest.importorskip("datasets")
    export(judged, tmp_path / "out", "parquet")
    data = datasets.Dataset.from_parquet(
        str(tmp_path / "out" / "pairs.parquet"), cache_dir=str(tmp_path / "c")
    )
    assert data[0]["image"].size == (8, 8) and set(data["split"]) == {"train", "held_out"}


def test_sentence_transformers_columns_are_in_the_order_of_its_losses(judged, tmp_path):
    done = export(judged, tmp_path / "out", "sentence-transformers")
    tables = {
        name: pq.read_table(tmp_path / "out" / f"{name}.parquet")
        for name in ("pairs", "triplets", "labelled")
    }
    assert tables["pairs"].column_names[:2] == ["anchor", "positive"]
    assert tables["triplets"].column_names == ["anchor", "positive", "negative"]
    labelled = {(row["caption"], row["label"]) for row in tables["labelled"].to_pylist()}
    assert ("zero", 0) in labelled and ("zero", 1) in labelled and ('one\t"quoted"', 1) in labelled
    assert (done.num_pairs, done.num_verdicts) == (3, 2)
    lines = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()]
    assert {line["verdict"] for line in lines} == {"match", "no_match"}


def test_a_folder_with_files_is_not_written_into(judged, tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(NearmissError, match="not an empty folder"):
        export(judged, tmp_path, "tsv")


def test_files_in_img2datasets_layout_are_read(desk):
    """img2dataset's `files` output: NNNNN/KEY.jpg + .txt + .json, a Parquet of the metadata beside each folder."""
    import pyarrow as pa

    (desk.source / "00000").mkdir()
    for i in range(2):
        (desk.source / f"{i}.png").rename(desk.source / "00000" / f"00000000{i}.jpg")
        (desk.source / "00000" / f"00000000{i}.txt").write_text(f"caption {i}")
        (desk.source / "00000" / f"00000000{i}.json").write_text(json.dumps({"caption": f"caption {i}"}))
    for i in (2, 3):
        (desk.source / f"{i}.png").unlink()
    table = {"url": ["http://x/0", "http://x/1", "http://x/2"], "caption": [f"caption {i}" for i in range(3)]}
    table |= {"key": [f"00000000{i}" for i in range(3)], "status": ["success"] * 2 + ["failed_to_download"]}
    pq.write_table(pa.table(table), desk.source / "00000.parquet")
    job = desk.do(lambda s: import_data_set(s, name="x", source=str(desk.source)))
    assert job.state == "finished", job.reason
    assert {pair[1] for pair in desk.pairs()} == {"caption 0", "caption 1"}
