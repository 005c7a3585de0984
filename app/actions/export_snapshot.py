"""A snapshot as files that other programs read: Parquet, open_clip's TSV, WebDataset shards, sentence-transformers.

Pictures go out byte for byte; `metadata.json` and `verdicts.jsonl` lie beside them. Importing what was exported gives
the same pairs again.
"""

import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NearmissError, NotFound
from app.media.pictures import mime_type, original_key
from app.media.snapshots import get_table
from app.media.store import MediaStore
from app.store.models import Image, Snapshot

Format = Literal["parquet", "tsv", "webdataset", "sentence-transformers"]
FORMATS: tuple[str, ...] = get_args(Format)
BATCH = 64  # rows in memory; they carry pictures
SHARD_PAIRS = 5_000
ENDINGS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/bmp": "bmp",
    "image/tiff": "tif",
}
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
HF_PICTURE = {"_type": "Image"}
Record = dict[str, Any]
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    num_pairs: int
    num_verdicts: int
    num_lost: int  # pairs whose picture is no longer in the media store


class _Snapshot:
    """The rows of a snapshot with their pictures."""

    def __init__(self, session: Session, store: MediaStore, snapshot: Snapshot) -> None:
        self.store, self.hash = store, snapshot.hash
        self.pairs = get_table(store, snapshot.pairs_key)
        self.verdicts = get_table(store, snapshot.verdicts_key)
        self._sha256 = dict(zip(*(self.pairs[n].to_pylist() for n in ("image_id", "image_sha256"))))
        ids = {i for i in self.verdicts["image_id"].to_pylist() if i not in self._sha256}
        for image in session.scalars(select(Image).where(Image.id.in_(sorted(ids)[:30_000]))):
            self._sha256[image.id] = image.sha256
        self.num_lost = self.num_read = 0
        self.tell: Tell = lambda done, total: None
        self.num_sweeps = 1
        self._endings: dict[int, str] = {}

    def rows(self, *, as_paired: bool = False) -> Iterator[Record]:
        """The pairs, those of an image together, with `file` and `data`; pairs of lost pictures are counted.

        `as_paired` keeps the snapshot's own order, in which a run numbers its pairs.
        """
        self.num_lost = 0
        by_image = [("image_id", "ascending"), ("caption_id", "ascending")]
        table = self.pairs if as_paired else self.pairs.sort_by(by_image)
        records = (record for batch in table.to_batches(BATCH) for record in batch.to_pylist())
        for image_id, group in groupby(records, key=lambda record: record["image_id"]):
            found = list(group)
            data = self.picture(image_id)
            if data is None:
                self.num_lost += len(found)
                continue
            name = self.name(image_id, data)
            for record in found:
                self.num_read += 1
                self.tell(self.num_read, self.num_sweeps * len(self.pairs))
                yield {**record, "file": name, "data": data}

    def picture(self, image_id: int) -> bytes | None:
        """The original's bytes, None where they are gone."""
        try:
            return self.store.get(original_key(self._sha256[image_id]))
        except (KeyError, NotFound, OSError):
            return None

    def name(self, image_id: int, data: bytes) -> str:
        """A file name of our own making: those of the source may be hostile or double."""
        if image_id not in self._endings:
            self._endings[image_id] = ENDINGS[mime_type(data)]
        return f"{image_id:09d}.{self._endings[image_id]}"

    def captions(self) -> dict[int, str]:
        """The text of each caption that stands in a pair or was written."""
        found = dict(zip(*(self.pairs[n].to_pylist() for n in ("caption_id", "caption"))))
        written = zip(*(self.verdicts[n].to_pylist() for n in ("caption_id", "written")))
        return found | {id_: text for id_, text in written if text is not None}


def export_snapshot(
    session: Session,
    *,
    store: MediaStore,
    snapshot: Snapshot,
    folder: Path,
    format: Format,
    tell: Tell | None = None,
) -> Exported:
    """Write the snapshot into a new or empty folder; `tell` hears how many pairs were written and how many will be.

    Raises NearmissError for a folder that holds files.
    """
    if format not in FORMATS:
        raise NearmissError(f"there is no format {format!r}; choose one of {', '.join(FORMATS)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NearmissError(f"{folder} is not an empty folder; name a new one")
    folder.mkdir(parents=True, exist_ok=True)
    source = _Snapshot(session, store, snapshot)
    source.tell = tell or source.tell
    num_pairs = _WRITERS[format](source, folder)
    num_verdicts = _verdicts(source, folder)
    about = {
        "format": format,
        "snapshot": snapshot.hash,
        "pairs": num_pairs,
        "verdicts": num_verdicts,
        "pairs_without_picture": source.num_lost,
    }
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return Exported(folder, num_pairs, num_verdicts, source.num_lost)


def _parquet(source: _Snapshot, folder: Path) -> int:
    """train.parquet and held_out.parquet, as Hugging Face's `datasets` shows pictures."""
    columns = {"image": PICTURE, "caption": pa.string(), "split": pa.string()}
    features = {"image": HF_PICTURE, "caption": _value("string"), "split": _value("string")}
    rows = (_with_picture(row, caption=row["caption"], split=row["split"]) for row in source.rows())
    return _write_parquet(folder / "pairs.parquet", columns, features, rows)


def _tsv(source: _Snapshot, folder: Path) -> int:
    """pairs.tsv with filepath, title and split, as open_clip's --train-data reads it, and images/."""
    (folder / "images").mkdir()
    num = 0
    with (folder / "pairs.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_ALL)  # \r too
        table.writerow(["filepath", "title", "split", "image_id", "caption_id"])
        for row in source.rows(as_paired=True):
            path = folder / "images" / row["file"]
            if not path.exists():
                path.write_bytes(row["data"])
            ids = [row["image_id"], row["caption_id"]]  # clipcore's: the same ids give the same batches
            table.writerow([f"images/{row['file']}", row["caption"], row["split"], *ids])
            num += 1
    return num


def _webdataset(source: _Snapshot, folder: Path) -> int:
    """00000.tar …: a sample an image: the picture, .txt (the first caption) and .json (captions, splits, labels)."""
    labels = _labels(source)
    num = size = number = 0
    archive = tarfile.open(folder / "00000.tar", "w")  # noqa: SIM115  closed below, one after the other
    try:
        for image_id, group in groupby(source.rows(), key=lambda row: row["image_id"]):
            if size >= SHARD_PAIRS:
                archive.close()
                number, size = number + 1, 0
                archive = tarfile.open(folder / f"{number:05d}.tar", "w")  # noqa: SIM115
            rows = list(group)
            _sample(archive, rows, labels.get(image_id, []))
            num, size = num + len(rows), size + len(rows)
    finally:
        archive.close()
    return num


def _sample(archive: tarfile.TarFile, rows: list[Record], labels: list[Record]) -> None:
    key, _, ending = rows[0]["file"].rpartition(".")
    about = {
        "captions": [row["caption"] for row in rows],
        "splits": [row["split"] for row in rows],
        "split": rows[0]["split"],
        "labels": labels,
    }
    parts = {
        ending: rows[0]["data"],
        "txt": rows[0]["caption"].encode(),
        "json": json.dumps(about, ensure_ascii=False).encode(),
    }
    for suffix, data in parts.items():
        member = tarfile.TarInfo(f"{key}.{suffix}")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


def _sentence_transformers(source: _Snapshot, folder: Path) -> int:
    """pairs.parquet (anchor, positive), triplets.parquet (anchor, positive, negative), labelled.parquet
    (image, caption, label 1 or 0): the columns in the order that its losses expect."""
    source.num_sweeps = 3
    text = _value("string")
    pairs: list[tuple[str, dict[str, Any], dict[str, Any], Callable[[], Iterator[Record]]]] = [
        (
            "labelled",
            {"image": PICTURE, "caption": pa.string(), "label": pa.int64()},
            {"image": HF_PICTURE, "caption": text, "label": _value("int64")},
            lambda: _labelled(source),
        ),
        (
            "triplets",
            {"anchor": PICTURE, "positive": pa.string(), "negative": pa.string()},
            {"anchor": HF_PICTURE, "positive": text, "negative": text},
            lambda: _triplets(source),
        ),
    ]
    for name, columns, features, rows in pairs:
        _write_parquet(folder / f"{name}.parquet", columns, features, rows())
    columns = {"anchor": PICTURE, "positive": pa.string(), "split": pa.string()}
    features = {"anchor": HF_PICTURE, "positive": text, "split": text}
    rows_ = (
        _with_picture(row, name="anchor", positive=row["caption"], split=row["split"])
        for row in source.rows()
    )
    return _write_parquet(folder / "pairs.parquet", columns, features, rows_)


def _labelled(source: _Snapshot) -> Iterator[Record]:
    labels = _labels(source)
    for _, group in groupby(source.rows(), key=lambda row: row["image_id"]):
        rows = list(group)
        broken = {
            said["caption"]
            for said in labels.get(rows[0]["image_id"], [])
            if said["verdict"] == "broken_pair"
        }
        for row in rows:
            if row["caption"] not in broken:
                yield _with_picture(row, name="image", caption=row["caption"], label=1)
        for said in labels.get(rows[0]["image_id"], []):
            if said["verdict"] in ("match", "no_match"):
                yield _with_picture(
                    rows[0], name="image", caption=said["caption"], label=int(said["verdict"] == "match")
                )


def _triplets(source: _Snapshot) -> Iterator[Record]:
    labels = _labels(source)
    for row in source.rows():
        for said in labels.get(row["image_id"], []):
            if said["verdict"] == "no_match" and row["split"] == "train":
                yield _with_picture(row, name="anchor", positive=row["caption"], negative=said["caption"])


def _labels(source: _Snapshot) -> dict[int, list[Record]]:
    """Image id → what people said about it: caption, verdict, confidence."""
    captions = source.captions()
    found: dict[int, list[Record]] = {}
    for said in source.verdicts.to_pylist():
        text = captions.get(said["caption_id"])
        if text is not None:
            label = {"caption": text, "verdict": said["answer"], "confidence": said["confidence"]}
            found.setdefault(said["image_id"], []).append(label)
    return found


def _verdicts(source: _Snapshot, folder: Path) -> int:
    """verdicts.jsonl: the picture by its hash, the caption by its text, and the ids that pairs.tsv and a run use."""
    num = 0
    captions = source.captions()
    with (folder / "verdicts.jsonl").open("w", encoding="utf-8") as file:
        for said in source.verdicts.to_pylist():
            text = captions.get(said["caption_id"])
            if text is None:
                continue
            line = {
                "image_id": said["image_id"],
                "caption_id": said["caption_id"],
                "image_sha256": source._sha256.get(said["image_id"], ""),
                "caption": text,
                "verdict": said["answer"],
                "confidence": said["confidence"],
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            num += 1
    return num


def _with_picture(row: Record, name: str = "image", **others: Any) -> Record:
    return {name: {"bytes": row["data"], "path": row["file"]}, **others}


def _value(dtype: str) -> dict[str, str]:
    return {"dtype": dtype, "_type": "Value"}


def _write_parquet(path: Path, columns: dict[str, Any], features: Any, rows: Iterator[Record]) -> int:
    about = json.dumps({"info": {"features": features}})
    schema = pa.schema(list(columns.items()), metadata={"huggingface": about})
    num = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(rows, BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            num += len(batch)
    return num


_WRITERS: dict[str, Callable[[_Snapshot, Path], int]] = {
    "parquet": _parquet,
    "tsv": _tsv,
    "webdataset": _webdataset,
    "sentence-transformers": _sentence_transformers,
}


def choose_snapshot(session: Session, *, data_set_id: int, start: str) -> Snapshot:
    """The data set's only snapshot whose hash begins with `start`. Raises NotFound, NearmissError."""
    query = select(Snapshot).where(Snapshot.data_set_id == data_set_id)
    found: Sequence[Snapshot] = session.scalars(
        query.where(Snapshot.hash.startswith(start, autoescape=True))
    ).all()
    if not found:
        raise NotFound(f"this data set has no snapshot {start!r}; leave --snapshot out for the present state")
    if len(found) > 1:
        raise NearmissError(f"{len(found)} snapshots begin with {start!r}; give more characters")
    return found[0]
