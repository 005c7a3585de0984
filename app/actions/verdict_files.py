"""The standing verdicts as files: JSONL, Parquet and CSV that come back exactly, and sentence-transformers' three shapes.

An image is named by its name in the source, a caption by its text, so that a file fits any import of the same data.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.sources.verdicts import FORMULA
from app.store.models import Caption, CurrentVerdict, Image, Pair, Verdict
from app.store.reads.data_sets import get_data_set

VerdictFormat = Literal["jsonl", "parquet", "csv", "triplet", "labeled-pair", "n-tuple"]
VERDICT_FORMATS: tuple[str, ...] = get_args(VerdictFormat)
ENDINGS = {"jsonl": "jsonl", "parquet": "parquet", "csv": "csv"}  # the others: jsonl
NUM_NEGATIVES = 3  # columns of an n-tuple
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("caption_id", pa.string()),
        ("verdict", pa.string()),
        ("confidence", pa.float64()),
        ("image", pa.string()),
        ("caption", pa.string()),
        ("person", pa.string()),
        ("time", pa.string()),
    ]
)
Line = dict[str, Any]


@dataclass(frozen=True)
class VerdictLine:
    """One standing verdict; ids are the database's, as `clipcore` reads them."""

    image_id: str
    caption_id: str
    verdict: str
    confidence: float
    image: str
    caption: str
    person: str
    time: str


def write_verdicts(
    session: Session, data_set_id: int, *, format: VerdictFormat, num_negatives: int = NUM_NEGATIVES
) -> Iterator[bytes]:
    """The file in pieces. Raises NotFound, NearmissError for an unknown format; erased items are left out."""
    get_data_set(session, data_set_id)
    if format not in VERDICT_FORMATS:
        raise NearmissError(f"there is no format {format!r}; use one of {', '.join(VERDICT_FORMATS)}")
    lines = verdict_lines(session, data_set_id)
    if format == "parquet":
        return iter([_parquet(lines)])
    if format == "csv":
        return _csv(lines)
    if format == "jsonl":
        return _json_lines(asdict(line) for line in lines)
    by_image = _by_image(session, data_set_id, lines)
    if format == "labeled-pair":
        return _json_lines(_labelled(by_image))
    num = 1 if format == "triplet" else num_negatives
    return _json_lines(_tuples(by_image, num, numbered=format == "n-tuple"))


def verdict_lines(session: Session, data_set_id: int) -> Iterator[VerdictLine]:
    """By image and caption."""
    query = (
        select(CurrentVerdict, Verdict, Image.key, Caption.text)
        .join(Verdict, Verdict.id == CurrentVerdict.verdict_id)
        .join(Image, Image.id == CurrentVerdict.image_id)
        .join(Caption, Caption.id == CurrentVerdict.caption_id)
        .where(CurrentVerdict.data_set_id == data_set_id)
        .where(Image.erased_at.is_(None), Caption.erased_at.is_(None))
        .order_by(CurrentVerdict.image_id, CurrentVerdict.caption_id)
    )
    for current, verdict, key, caption in session.execute(query.execution_options(yield_per=1000)):
        yield VerdictLine(
            str(current.image_id),
            str(current.caption_id),
            current.answer,
            verdict.confidence,
            key,
            caption,
            verdict.person,
            _said_at(verdict.created_at),
        )


def _said_at(time: datetime) -> str:
    return time.isoformat()


def _json_lines(lines: Iterator[Line]) -> Iterator[bytes]:
    for line in lines:
        yield (json.dumps(line, ensure_ascii=False) + "\n").encode()


def _parquet(lines: Iterator[VerdictLine]) -> bytes:
    rows = [asdict(line) for line in lines]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), out, compression="zstd")
    return out.getvalue()


def _csv(lines: Iterator[VerdictLine]) -> Iterator[bytes]:
    yield _csv_row(SCHEMA.names)
    for line in lines:
        yield _csv_row([safe_cell(str(value)) for value in asdict(line).values()])


def safe_cell(text: str) -> str:
    """With an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _csv_row(cells: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
    return out.getvalue().encode()


@dataclass(frozen=True)
class _ImageVerdicts:
    image: str
    positives: list[str]  # own captions that are not broken, then those that a person called a match
    negatives: list[str]


def _by_image(session: Session, data_set_id: int, lines: Iterator[VerdictLine]) -> Iterator[_ImageVerdicts]:
    for image_id, group in groupby(lines, key=lambda line: line.image_id):
        said = list(group)
        broken = {line.caption for line in said if line.verdict == "broken_pair"}
        own = session.scalars(
            select(Caption.text)
            .join(Pair, Pair.caption_id == Caption.id)
            .where(Pair.image_id == int(image_id), Pair.retired_at.is_(None), Caption.erased_at.is_(None))
            .order_by(Pair.id)
        )
        matches = [line.caption for line in said if line.verdict == "match"]
        positives = [text for text in dict.fromkeys([*own, *matches]) if text not in broken]
        negatives = [line.caption for line in said if line.verdict == "no_match"]
        yield _ImageVerdicts(said[0].image, positives, negatives + sorted(broken))


def _labelled(images: Iterator[_ImageVerdicts]) -> Iterator[Line]:
    for one in images:
        for label, texts in ((1, one.positives), (0, one.negatives)):
            yield from ({"image": one.image, "caption": text, "label": label} for text in texts)


def _tuples(images: Iterator[_ImageVerdicts], num: int, *, numbered: bool) -> Iterator[Line]:
    """Each positive with each `num` negatives; fewer than `num` are left out, since all rows have the same columns."""
    for one in images:
        for positive in one.positives:
            for start in range(0, len(one.negatives) - num + 1, num):
                some = one.negatives[start : start + num]
                names = [f"negative_{n}" for n in range(1, num + 1)] if numbered else ["negative"]
                yield {"anchor": one.image, "positive": positive, **dict(zip(names, some))}
