"""Tables of pairs: TSV, CSV, JSONL and Parquet as examples, every complaint with its line. Pictures are not opened."""

import csv
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from clipcore.errors import ClipcoreError
from clipcore.example import Example, caption_id_of

IMAGE_COLUMNS = ("filepath", "file_name", "image", "path")
CAPTION_COLUMNS = ("title", "text", "caption", "captions")
SPLITS = {"": "train", "train": "train"} | dict.fromkeys(
    ("held_out", "val", "valid", "validation", "dev", "test"), "held_out"
)
Record = dict[str, Any]
LARGEST_FIELD = 1 << 17  # characters of a cell; more is an open quote


def read_table(table: Path, base: Path) -> list[Example]:
    """The examples of a table, each (image, caption) once; image paths are relative to `base`.

    Raises ClipcoreError, one sentence with the line: a broken row, an unknown split, one id for two things; and, once
    for all, pictures that are missing.
    """
    if not table.is_file():
        raise ClipcoreError(f"There is no file {table}: give a TSV, CSV, JSONL or Parquet table.")
    examples = [x for where, record in _records(table) for x in _examples(record, base, f"{table}, {where}")]
    if not examples:
        raise ClipcoreError(
            f"{table} holds no rows: it needs an image and a caption column and one row a pair."
        )
    _refuse_missing(examples, table)
    return without_repetition(examples)


def without_repetition(examples: Sequence[Example]) -> list[Example]:
    """The examples in order, a pair that stands twice once; raises ClipcoreError where one id means two things."""
    images: dict[str, Any] = {}
    captions: dict[str, str] = {}
    pairs: dict[tuple[str, str], Example] = {}
    for x in examples:
        image, caption = images.setdefault(x.image_id, x.image), captions.setdefault(x.caption_id, x.caption)
        if image != x.image:
            raise ClipcoreError(
                f"The image id {x.image_id!r} stands for {image} and for {x.image}: give each an id of its own."
            )
        if caption != x.caption:
            raise ClipcoreError(
                f"The caption id {x.caption_id!r} stands for {caption!r} and for {x.caption!r}: "
                "give each an id of its own."
            )
        pairs.setdefault((x.image_id, x.caption_id), x)
    if len(pairs) < len(examples):
        logging.getLogger(__name__).warning(
            "%d of %d pairs stand more than once and are used once.",
            len(examples) - len(pairs),
            len(examples),
        )
    return list(pairs.values())


def split_of(value: Any, where: str) -> str:
    """ "train" or "held_out" for a split's usual names; raises ClipcoreError for another."""
    name = str(value or "").strip().lower()
    if name not in SPLITS:
        raise ClipcoreError(f"{where}: the split is {value!r}; use one of {', '.join(filter(None, SPLITS))}.")
    return SPLITS[name]


def caption_of(value: Any, where: str) -> str:
    """A caption as text that every database and file can hold; raises ClipcoreError for NUL and lone surrogates."""
    text = str(value)
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise ClipcoreError(f"{where}: the caption holds a NUL or half a character; remove it.")
    return text


# -- records ---------------------------------------------------------------------------------------------------


def _records(table: Path) -> Iterator[tuple[str, Record]]:
    """(where, record) of each row that is not blank; `where` counts lines from 1."""
    if table.suffix == ".parquet":
        yield from _parquet(table)
    elif table.suffix == ".jsonl":
        yield from _jsonl(table)
    else:
        yield from _csv(table)


def _parquet(table: Path) -> Iterator[tuple[str, Record]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        row = 0
        with pq.ParquetFile(table) as file:
            for batch in file.iter_batches():
                for record in batch.to_pylist():
                    row += 1
                    yield f"row {row}", record
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClipcoreError(f"{table} cannot be read as Parquet ({told}): write it again.") from None


def _jsonl(table: Path) -> Iterator[tuple[str, Record]]:
    for line, text in _lines(table):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ClipcoreError(f"{table}, line {line} is not JSON ({error}): correct it.") from None
        if not isinstance(record, dict):
            raise ClipcoreError(
                f'{table}, line {line} is not an object: write {{"filepath": …, "title": …}}.'
            )
        yield f"line {line}", record


def _csv(table: Path) -> Iterator[tuple[str, Record]]:
    csv.field_size_limit(LARGEST_FIELD)  # of the whole process, so each reader says its own
    lines = (text for _, text in _lines(table))
    head = next(lines, "")
    rows = csv.reader(chain([head], lines), delimiter="\t" if "\t" in head else ",", strict=True)
    try:
        names = next(rows, [])
        for row in rows:
            if not any(value.strip() for value in row):
                continue
            where = f"line {rows.line_num}"
            if len(row) > len(names):
                raise ClipcoreError(
                    f"{table}, {where} has {len(row)} fields under {len(names)} columns: quote the field."
                )
            yield where, dict(zip(names, row))
    except csv.Error as error:
        raise ClipcoreError(
            f"{table}, line {rows.line_num} cannot be read ({error}): correct its quotes."
        ) from None


def _lines(table: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends; raises ClipcoreError at the first that is not UTF-8."""
    with table.open("rb") as file:
        for line, content in enumerate(file, 1):
            try:
                text = content.decode("utf-8-sig" if line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                found = (
                    "UTF-16"
                    if content[:2] in (b"\xff\xfe", b"\xfe\xff")
                    else f"byte 0x{content[error.start]:02x}"
                )
                raise ClipcoreError(
                    f"{table}, line {line} is not UTF-8 ({found}): save the table as UTF-8, "
                    f"for example by `iconv -f {'UTF-16' if found == 'UTF-16' else 'LATIN1'} -t UTF-8`."
                ) from None
            yield line, text


# -- examples --------------------------------------------------------------------------------------------------


def _examples(record: Record, base: Path, where: str) -> Iterator[Example]:
    """One example a caption: a JSON or Parquet row may carry a list of them."""
    image = next((record[k] for k in IMAGE_COLUMNS if record.get(k)), None)
    found = next((record[k] for k in CAPTION_COLUMNS if record.get(k)), None)
    if image is None or found is None:
        raise ClipcoreError(
            f"{where} lacks an image or a caption (found {sorted(map(str, record))}): "
            "name the columns filepath and title."
        )
    captions = found if isinstance(found, list) else [found]
    if record.get("caption_id") and len(captions) > 1:
        raise ClipcoreError(f"{where} has one caption_id for {len(captions)} captions: give each a row.")
    name, source = _image(image, base, where)
    for caption in captions:
        text = caption_of(caption, where)
        yield Example(
            image_id=str(record.get("image_id") or name),
            caption_id=str(record.get("caption_id") or caption_id_of(text)),
            image=source,
            caption=text,
            split=split_of(record.get("split"), where),
        )


def _image(image: Any, base: Path, where: str) -> tuple[str, Any]:
    """(name, source) of a path, or of the {"bytes", "path"} that Hugging Face's Parquet files carry."""
    if isinstance(image, dict) and isinstance(image.get("bytes"), bytes):
        return str(image.get("path") or where), image["bytes"]
    if not isinstance(image, str) or "\0" in image:
        raise ClipcoreError(f"{where}: the image is a {type(image).__name__}; give the path of a file.")
    return image, base / image


def _refuse_missing(examples: Iterable[Example], table: Path) -> None:
    paths = dict.fromkeys(x.image for x in examples if isinstance(x.image, Path))
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ClipcoreError(
            f"{len(missing)} of the {len(paths)} pictures in {table} are missing, the first is {missing[0]}: "
            "correct the paths or give the folder they are relative to."
        )
