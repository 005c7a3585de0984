"""Every format that is read, in files that their own libraries wrote, and what hostile ones come to."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from app.actions.import_data_set import place_of
from app.errors import NearmissError
from app.sources import tar_shards
from app.sources.open_source import open_source, preview_source
from app.sources.rows import Rejected, Row
from app.store.database import Database


def png(value: int = 1) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 2, 3)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    return tmp_path


def read(source: Path, **options):
    rows = list(open_source(str(source), **options)[0])
    return [r for r in rows if isinstance(r, Row)], [r for r in rows if isinstance(r, Rejected)]


def told(rows):
    return [(row.key, row.caption) for row in rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_table_in_any_encoding_and_separator(place, encoding, separator):
    text = separator.join(("image", "caption")) + "\n" + separator.join(("0.png", "café")) + "\n"
    (place / "x.csv").write_text(text, encoding=encoding)
    assert told(read(place / "x.csv")[0]) == [("0.png", "café")]


def test_several_captions_of_an_image_are_a_row_each(place):
    (place / "flickr.csv").write_text("image,caption\n0.png,one\n0.png,two\n1.png,one\n")
    (place / "x.token").write_text("0.png#0\tone\n0.png#1\ttwo\n1.png#0\tone\n")
    (place / "x.jsonl").write_text(
        json.dumps({"image": "0.png", "captions": ["one", "two"]})
        + '\n{"image": "1.png", "caption": "one"}\n'
    )
    expected = [("0.png", "one"), ("0.png", "two"), ("1.png", "one")]
    for name in ("flickr.csv", "x.token", "x.jsonl"):
        assert told(read(place / name)[0]) == expected


def test_columns_are_mapped_by_wish_and_previewed(place):
    (place / "x.csv").write_text("pic,words\n0.png,hello\nno.png,gone\n")
    with pytest.raises(NearmissError, match="pic, words"):
        read(place / "x.csv")
    wish = {"image": "pic", "caption": "words"}
    first, second = preview_source(str(place / "x.csv"), columns=wish)
    assert (first.image, first.caption, first.reason) == ("0.png", "hello", "")
    assert "no.png" in second.reason and second.where == "line 3"


def test_coco_and_karpathy(place):
    coco = {
        "images": [{"id": 7, "file_name": "0.png"}, {"id": 8, "file_name": "none.png"}],
        "annotations": [{"image_id": 7, "caption": "one"}, {"image_id": 7, "caption": "two"}],
    }
    (place / "captions_val2017.json").write_text(json.dumps(coco))
    rows, refused = read(place / "captions_val2017.json")
    assert told(rows) == [("0.png", "one"), ("0.png", "two")] and "none.png" in refused[0].reason
    karpathy = {"images": [{"filename": "1.png", "split": "val", "sentences": [{"raw": "one"}]}]}
    (place / "dataset.json").write_text(json.dumps(karpathy))
    assert [(r.caption, r.split) for r in read(place / "dataset.json")[0]] == [("one", "held_out")]


def test_parquet_with_paths_and_with_bytes(place):
    pq.write_table(pa.table({"image": ["0.png"], "text": ["one"]}), place / "x.parquet")
    assert told(read(place / "x.parquet")[0]) == [("0.png", "one")]
    pictures = [{"bytes": png(5), "path": "five.png"}]
    pq.write_table(pa.table({"image": pictures, "caption": ["five"]}), place / "y.parquet")
    rows, _ = read(place / "y.parquet")
    assert told(rows) == [("five.png", "five")] and rows[0].image == png(5)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_imagefolder_metadata(place, name):
    columns = {"file_name": ["0.png", "../secret.png"], "text": ["one", "two"]}
    if name.endswith("csv"):
        (place / name).write_text("file_name,text\n0.png,one\n../secret.png,two\n")
    elif name.endswith("jsonl"):
        (place / name).write_text(
            "".join(json.dumps({"file_name": f, "text": t}) + "\n" for f, t in zip(*columns.values()))
        )
    else:
        pq.write_table(pa.table(columns), place / name)
    rows, refused = read(place)
    assert told(rows) == [("0.png", "one")] and "outside" in refused[0].reason


def test_datasets_saved_to_disk_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    pictures = [{"bytes": png(i), "path": f"{i}.png"} for i in range(2)]
    part = datasets.Dataset.from_dict({"image": pictures, "caption": ["a", "b"]}, features=features)
    datasets.DatasetDict({"train": part, "test": part.select([0])}).save_to_disk(str(tmp_path / "saved"))
    rows, refused = read(tmp_path / "saved")
    assert [(r.caption, r.split) for r in rows] == [("a", "train"), ("b", "train"), ("a", "held_out")]
    assert not refused and rows[0].image == png(0)


def test_webdataset_shards_are_read(tmp_path):
    wds = pytest.importorskip("webdataset")
    with wds.TarWriter(str(tmp_path / "00000.tar")) as writer:
        writer.write({"__key__": "a", "png": png(1), "txt": "one"})
        writer.write({"__key__": "b", "png": png(2), "json": {"captions": ["two", "three"], "split": "val"}})
        writer.write({"__key__": "c", "txt": "no picture"})
    rows, refused = read(tmp_path)
    assert [(r.key, r.caption, r.split) for r in rows] == [
        ("00000.tar/a", "one", "train"),
        ("00000.tar/b", "two", "held_out"),
        ("00000.tar/b", "three", "held_out"),
    ]
    assert "no picture" in refused[0].reason


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def good(key: str) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(f"{key}.png"), png()), (tarfile.TarInfo(f"{key}.txt"), b"fine")]


def test_hostile_members_are_refused_and_the_others_read(tmp_path):
    link = tarfile.TarInfo("l.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    up = tarfile.TarInfo("../../up.png")
    shard = archive(tmp_path / "x.tar", *good("a"), (link, b""), (up, png()), *good("z"))
    rows, refused = read(shard)
    assert [r.key for r in rows] == ["x.tar/a", "x.tar/z"]
    assert "link" in refused[0].reason and "leaves the archive" in refused[1].reason
    assert not (tmp_path.parent / "up.png").exists()


def test_truncated_shard_keeps_its_beginning(tmp_path):
    shard = archive(tmp_path / "x.tar", *good("a"), *good("b"))
    shard.write_bytes(shard.read_bytes()[:2600])
    rows, refused = read(shard)
    assert [r.key for r in rows] == ["x.tar/a"] and "copy it again" in refused[-1].reason


def test_giant_header_and_bomb_are_refused_before_they_fill_memory(tmp_path, monkeypatch):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 7 << 30
    (tmp_path / "x.tar").write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 2048)
    rows, refused = read(tmp_path / "x.tar")
    assert not rows and "header" in refused[0].reason
    monkeypatch.setattr(tar_shards, "MAX_RATIO", 2)
    with tarfile.open(tmp_path / "y.tar.gz", "w:gz") as tar:
        for i in range(3):
            member = tarfile.TarInfo(f"{i}.bin")
            member.size = 4 << 20
            tar.addfile(member, io.BytesIO(bytes(4 << 20)))
    rows, refused = read(tmp_path / "y.tar.gz")
    assert not rows and any("times its size" in r.reason for r in refused)


def test_broken_lines_are_refused_by_number_and_the_rest_is_read(place):
    (place / "x.csv").write_text(f"image,caption\n0.png,{'x' * (3 << 20)}\n1.png,a,b\n2.png,fine\n")
    rows, refused = read(place / "x.csv")
    assert told(rows)[-1] == ("2.png", "fine") and "line 3" in [r.where for r in refused]
    deep = '{"image": "0.png", "caption": ' + "[" * 100_000 + "\n"
    (place / "x.jsonl").write_text(
        deep + '[1]\n{"image": "0.png", "caption": NaN}\n{"image": "0.png", "text": "ok"}\n'
    )
    rows, refused = read(place / "x.jsonl")
    assert told(rows)[-1] == ("0.png", "ok") and [r.where for r in refused][:2] == ["line 1", "line 2"]


def test_hostile_parquet_and_web_addresses_are_sentences(place):
    (place / "x.parquet").write_bytes(b"PAR1" + b"\xff" * 200 + b"PAR1")
    with pytest.raises(NearmissError, match="no Parquet file"):
        read(place / "x.parquet")
    (place / "x.csv").write_text("image,caption\nhttp://10.0.0.1/a.png,secret\n")
    assert "img2dataset" in read(place / "x.csv")[1][0].reason


def test_surrogates_and_nul_in_names_are_refused_and_can_be_written_down(place):
    lines = [
        {"image": "\ud800.png", "caption": "x"},
        {"\ud800": "x", "pic": "y"},
        {"image": "a\0.png", "caption": "x"},
        {"image": "0.png", "caption": "fine"},
    ]
    (place / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows, refused = read(place / "x.jsonl")
    assert told(rows) == [("0.png", "fine")] and [r.where for r in refused] == ["line 1", "line 2", "line 3"]
    assert all(r.reason.encode() for r in refused)


@pytest.mark.parametrize("name", ["/etc", "../etc", "http://127.0.0.1/x", "etc", "app/api", "a/../b", ""])
def test_a_hub_name_never_means_a_place_on_our_disk(seeded: Database, name: str) -> None:
    with seeded.reading() as session, pytest.raises(NearmissError, match="OWNER/NAME"):
        place_of(session, f"hf:{name}")


def test_a_header_over_several_lines_is_refused_in_one_line(tmp_path):
    (tmp_path / "x.csv").write_text('"image,\nwords\x1b[31m",caption\n0.png,a\n')
    with pytest.raises(NearmissError, match="needs one of") as refused:
        list(open_source(str(tmp_path / "x.csv"))[0])
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_promised_number_of_rows_leaves_out_the_header(tmp_path, end):
    (tmp_path / "x.csv").write_text("image,caption\n0.png,a\n1.png,b" + end)
    (tmp_path / "x.jsonl").write_text(
        '{"image": "0.png", "caption": "a"}\n{"image": "1.png", "caption": "b"}' + end
    )
    assert [open_source(str(tmp_path / name))[1] for name in ("x.csv", "x.jsonl")] == [2, 2]
