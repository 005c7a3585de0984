"""Verdicts in files of this or another tool: records, the columns of each role, and what other tools call an answer."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import NearmissError
from app.sources.rows import Rejected
from app.sources.tables import MAX_LINE, encoding_of

ROLES: dict[str, tuple[str, ...]] = {
    "image": ("image", "image_name", "filepath", "file_name", "filename", "path", "anchor"),
    "caption": ("caption", "text", "title", "sentence"),
    "verdict": ("verdict", "answer", "label", "choice", "annotation", "status"),
    "confidence": ("confidence", "score"),
    "person": ("person", "annotator", "user", "created_by", "completed_by"),
    "time": ("time", "created_at", "timestamp", "updated_at"),
}
NEEDED = ("image", "caption", "verdict")
WORDS = {
    "match": (
        "match",
        "yes",
        "y",
        "true",
        "1",
        "1.0",
        "positive",
        "pos",
        "correct",
        "entailment",
        "false negative",
    ),
    "no_match": (
        "no_match",
        "no",
        "n",
        "false",
        "0",
        "0.0",
        "negative",
        "neg",
        "wrong",
        "contradiction",
        "hard negative",
    ),
    "unsure": ("unsure", "maybe", "partly", "can't tell", "neutral", "skip", "?"),
    "broken_pair": ("broken_pair", "broken", "broken pair"),
}
ANSWER_OF = {word: answer for answer, words in WORDS.items() for word in words}
BATCH = 1_000
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # a spreadsheet would run what begins so


@dataclass(frozen=True)
class SaidRow:
    """A verdict as a file says it; `verdict` is one of our four answers."""

    where: str
    image: str
    caption: str
    verdict: str
    confidence: float
    person: str
    time: str


def verdict_columns(path: Path) -> list[str]:
    """The columns of a file. Raises NearmissError."""
    for record in _records(path):
        return [str(name) for name in record[1]] if isinstance(record, tuple) else []
    return []


def read_verdicts(
    path: Path, *, columns: Mapping[str, str], words: Mapping[str, str]
) -> Iterator[SaidRow | Rejected]:
    """`columns` maps roles to columns, `words` a tool's own words to our answers. Raises NearmissError."""
    wrong = set(columns) - set(ROLES)
    if wrong or set(words.values()) - set(WORDS):
        raise NearmissError(
            f"columns are mapped for {', '.join(ROLES)}; words mean one of {', '.join(WORDS)}"
        )
    answer_of = ANSWER_OF | {word.strip().lower(): answer for word, answer in words.items()}
    for record in _records(path):
        if isinstance(record, Rejected):
            yield record
            continue
        where, values = record
        place = {role: _column(role, list(values), columns, path) for role in ROLES}
        yield _row(where, values, place, answer_of)


def _row(
    where: str, values: Mapping[str, Any], place: Mapping[str, str], answer_of: Mapping[str, str]
) -> SaidRow | Rejected:
    found = {role: _text(values.get(name)) if name else "" for role, name in place.items()}
    for role in NEEDED:
        if not found[role].strip():
            return Rejected(where, f"it has no {role}; fill the column {place[role]!r}")
    answer = answer_of.get(found["verdict"].strip().lower())
    if answer is None:
        said = found["verdict"][:40]
        return Rejected(where, f"its verdict is {said!r}; say what it means with words, such as {said}=match")
    try:
        confidence = float(found["confidence"] or 1.0)
    except ValueError:
        confidence = -1.0
    if not 0.0 <= confidence <= 1.0:
        return Rejected(where, f"its confidence is {found['confidence'][:40]!r}; give a number from 0 to 1")
    return SaidRow(
        where, found["image"], found["caption"], answer, confidence, found["person"], found["time"]
    )


def _text(value: Any) -> str:
    return "" if value is None else str(int(value)) if isinstance(value, bool) else str(value)


def _column(role: str, found: Sequence[str], columns: Mapping[str, str], path: Path) -> str:
    wish = columns.get(role)
    if wish is not None and wish not in found:
        raise NearmissError(f"{path.name} has no column {wish!r}; it has {', '.join(map(str, found[:30]))}")
    name = wish or next((name for name in ROLES[role] if name in found), "")
    if not name and role in NEEDED:
        raise NearmissError(
            f"{path.name} has the columns {', '.join(map(str, found[:30]))}; say which one is the {role}"
        )
    return name


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]] | Rejected]:
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path)
    elif path.suffix in (".csv", ".tsv", ".txt"):
        yield from _table(path)
    else:
        raise NearmissError(f"{path.name} is of no known kind; name a .jsonl, .parquet, .csv or .tsv file")


def _json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]] | Rejected]:
    with path.open(encoding=encoding_of(path), errors="surrogateescape") as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict):
                yield f"line {number}", record
            else:
                yield Rejected(f"line {number}", "it is no JSON object; write one a line")


def _table(path: Path) -> Iterator[tuple[str, Mapping[str, Any]] | Rejected]:
    with path.open(encoding=encoding_of(path), errors="surrogateescape", newline="") as file:
        head = file.readline(MAX_LINE)
        file.seek(0)
        reader = csv.DictReader(file, delimiter=max("\t,;|", key=head.count))
        while True:
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Rejected(f"line {reader.line_num}", f"it cannot be read ({error}); check its quotes")
                continue
            where = f"line {reader.line_num}"
            if None in record:
                yield Rejected(where, "it has more fields than the header; put quotes around the caption")
                continue
            yield where, {name: plain_cell(value or "") for name, value in record.items()}


def _parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]] | Rejected]:
    try:
        file = pq.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(BATCH):
            for record in batch.to_pylist():
                number += 1
                yield f"row {number}", record
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NearmissError(f"{path.name} is no Parquet file ({str(error)[:120]}); write it again") from None


def plain_cell(text: str) -> str:
    """Without the apostrophe that keeps a spreadsheet from taking the text for a formula."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(FORMULA) else text
