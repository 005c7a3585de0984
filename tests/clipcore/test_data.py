"""Tables of pairs: what is read, and the one sentence for what cannot be."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clipcore import ClipcoreError, FineTuneData
from clipcore.data import items


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    for name in "abc":
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    return folder


def read(folder: Path, content: str | bytes, name: str = "pairs.tsv") -> FineTuneData:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return FineTuneData.from_table(folder / name)


def pairs(data):
    return [(x.image_id, x.caption, x.split) for x in (*data.train, *data.held_out)]


ROWS = [("a.png", "a cat", "train"), ("a.png", "ein Kätzchen 猫", "train"), ("b.png", "a dog", "held_out")]


@pytest.mark.parametrize("kind", ["tsv", "csv", "bom.csv", "jsonl", "parquet", "list.jsonl", "list.parquet"])
def test_every_format_gives_the_same_pairs(folder, kind):
    records = [{"filepath": f, "title": t, "split": s} for f, t, s in ROWS]
    if kind.startswith("list"):
        records = [
            {"filepath": "a.png", "captions": ["a cat", "ein Kätzchen 猫"], "split": "train"},
            {"filepath": "b.png", "captions": ["a dog"], "split": "val"},
        ]
    if kind.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(records), folder / f"t.{kind}")
        data = FineTuneData.from_table(folder / f"t.{kind}")
    elif kind.endswith("jsonl"):
        data = read(folder, "\n\n".join(map(json.dumps, records)) + "\n \n", f"t.{kind}")
    else:
        between = "\t" if kind == "tsv" else ","
        lines = [between.join(row) for row in [("filepath", "title", "split"), *ROWS]]
        text = "\r\n".join([lines[0], "", lines[1], between * 2, *lines[2:], ""])
        data = read(folder, text.encode("utf-8-sig" if "bom" in kind else "utf-8"), f"t.{kind}")
    assert pairs(data) == ROWS
    found = items(data)
    assert len(found.images) == 2 and len(found.captions) == 3


def test_pictures_inside_parquet_are_read(folder):
    content = (folder / "a.png").read_bytes()
    table = pa.Table.from_pylist([{"image": {"bytes": content, "path": "x.png"}, "text": "a cat"}])
    pq.write_table(table, folder / "inside.parquet")
    (example,) = FineTuneData.from_table(folder / "inside.parquet").train
    assert (example.image_id, example.image) == ("x.png", content)


def test_repeated_pair_is_used_once_and_told(folder, caplog):
    data = read(folder, "filepath\ttitle\na.png\tx\nb.png\ty\na.png\tx\na.png\tx\n")
    assert pairs(data) == [("a.png", "x", "train"), ("b.png", "y", "train")]
    assert "2 of 4 pairs stand more than once" in caplog.text


HEAD = "filepath\ttitle\n"
BAD = {
    "latin-1": (
        "t.tsv",
        HEAD.encode() + "a.png\tKätzchen\n".encode("latin-1"),
        "line 2 is not UTF-8 .byte 0xe4",
    ),
    "utf-16": (
        "t.tsv",
        (HEAD + "a.png\tx\n").encode("utf-16"),
        "line 1 is not UTF-8 .UTF-16.*iconv -f UTF-16",
    ),
    "ragged": ("t.tsv", HEAD + "a.png\tx\na.png\tx\ty\n", "line 3 has 3 fields under 2 columns"),
    "no caption": ("t.tsv", HEAD + "\na.png\n", "line 3 lacks an image or a caption"),
    "no columns": (
        "t.tsv",
        "picture\twords\na.png\tx\n",
        "line 2 lacks .*'picture', 'words'.* name the columns",
    ),
    "huge field": ("t.tsv", HEAD + "a.png\t" + "x" * 200_000, "line 2 cannot be read"),
    "open quote": ("t.csv", 'filepath,title\na.png,"x\n', "cannot be read"),
    "broken json": (
        "t.jsonl",
        '{"filepath": "a.png", "title": "x"}\n\n{"filepath": \n',
        "line 3 is not JSON",
    ),
    "deep json": ("t.jsonl", "[" * 100_000, "line 1 is not JSON"),
    "no object": ("t.jsonl", "[1]\n", "line 1 is not an object"),
    "half a character": ("t.jsonl", r'{"filepath": "a.png", "title": "\ud800"}', "line 1: the caption holds"),
    "nul": ("t.tsv", HEAD + "a.png\tx\0y\n", "line 2: the caption holds a NUL"),
    "number": ("t.jsonl", '{"filepath": 3, "title": "x"}', "line 1: the image is a int"),
    "split": (
        "t.tsv",
        "filepath\ttitle\tsplit\na.png\tx\tprod\n",
        "line 2: the split is 'prod'; use one of train",
    ),
    "empty": ("t.tsv", HEAD, "holds no rows"),
    "nothing": ("t.tsv", "", "holds no rows"),
    "parquet": ("t.parquet", b"PAR1" + bytes(40) + b"PAR1", "cannot be read as Parquet"),
    "missing": (
        "t.tsv",
        HEAD + "a.png\tx\nz/1.png\ty\nz/2.png\ty\n",
        r"2 of the 3 pictures in .* are missing, the first is .*z/1\.png",
    ),
    "one id": (
        "t.tsv",
        "image_id\t" + HEAD + "7\ta.png\tx\n7\tb.png\ty\n",
        "image id '7' stands for .*a.png and",
    ),
    "one caption id": (
        "t.tsv",
        "caption_id\t" + HEAD + "7\ta.png\tx\n7\tb.png\ty\n",
        "caption id '7' stands for 'x' and for 'y'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_table_is_refused_with_one_sentence_and_its_line(folder, case):
    name, content, expected = BAD[case]
    with pytest.raises(ClipcoreError, match=expected) as found:
        read(folder, content, name)
    assert "\n" not in str(found.value)


def test_missing_table_is_refused(tmp_path):
    with pytest.raises(ClipcoreError, match="There is no file"):
        FineTuneData.from_table(tmp_path / "none.tsv")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from(["tsv", "csv", "jsonl", "parquet"]), st.booleans())
def test_hostile_table_gives_pairs_or_a_sentence(tmp_path, content, kind, headed):
    head = b"filepath,title\n" if headed and kind != "parquet" else b""
    try:
        assert read(tmp_path, head + content, f"t.{kind}").train
    except ClipcoreError as error:
        assert str(error)
