"""CSV, TSV and JSON lines: encoding and separator are found out, gigantic or broken lines are refused one by one."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from app.errors import NearmissError
from app.sources.records import Columns, Rows, map_columns, rows_of
from app.sources.rows import Rejected

MAX_LINE = 1 << 20  # characters
FLICKR = re.compile(r"[^\t]+#\d+\t")  # Flickr8k.token.txt: picture#number, tab, caption; no header
Wish = Mapping[str, str] | None


def read_table(path: Path, *, root: Path, anywhere: bool, wish: Wish = None) -> Rows:
    """A CSV or TSV with a header, or Flickr's token file."""
    csv.field_size_limit(MAX_LINE)  # of the whole process, so each reader says its own
    with _open(path, newline="") as file:
        head = file.readline(MAX_LINE)
        file.seek(0)
        if FLICKR.match(head):
            yield from _flickr(file, root, anywhere)
            return
        separator = max("\t,;|", key=head.count)
        reader = csv.DictReader(_lines(file), delimiter=separator, skipinitialspace=True)
        reader.fieldnames = [name.strip() for name in _header(reader, path)]
        columns = map_columns(reader.fieldnames, source=path.name, wish=wish)
        yield from _records(reader, columns, root, anywhere)


def read_json_lines(path: Path, *, root: Path, anywhere: bool, wish: Wish = None) -> Rows:
    """One JSON object a line; columns are those of each object."""
    with _open(path) as file:
        for number, line in enumerate(_lines(file), 1):
            where = f"line {number}"
            if not line.strip():
                continue
            try:
                record = _object(line)
                columns = map_columns(list(record), source="the object", wish=wish)
            except NearmissError as error:
                yield Rejected(where, str(error))
            except (ValueError, RecursionError) as error:
                said = f"it is not a JSON object ({str(error)[:80]}); write one a line"
                yield Rejected(where, said, unread=True)
            else:
                yield from rows_of(record, columns, root=root, where=where, anywhere=anywhere)


def num_lines(path: Path) -> int:
    """How many lines the file has, whatever its encoding: an estimate of its rows at a gigabyte a second."""
    num, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            num, last = num + block.count(b"\n"), block
    return num + (not last.rstrip(b"\0").endswith(b"\n"))


def table_columns(path: Path) -> list[str]:
    """The header of a CSV or TSV; [] for Flickr's token file. Raises NearmissError."""
    with _open(path, newline="") as file:
        head = file.readline(MAX_LINE)
        if FLICKR.match(head):
            return []
        reader = csv.DictReader([head], delimiter=max("\t,;|", key=head.count), skipinitialspace=True)
        return [name.strip() for name in _header(reader, path)]


def json_columns(path: Path) -> list[str]:
    """The names in the first object; [] where the first line is none."""
    with _open(path) as file:
        try:
            return list(_object(file.readline(MAX_LINE)))
        except (ValueError, RecursionError):
            return []


def _open(path: Path, newline: str | None = None) -> IO[str]:
    """Bytes that are no text become half surrogates, which the gate for texts refuses row by row."""
    encoding = encoding_of(path)
    errors = "replace" if encoding == "utf-16" else "surrogateescape"  # half a unit has no surrogate
    return path.open(encoding=encoding, newline=newline, errors=errors)


def encoding_of(path: Path) -> str:
    """utf-16 and utf-8 by their marks, utf-8 when the first megabyte is, else Windows' cp1252."""
    with path.open("rb") as file:
        head = file.read(1 << 20)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(head) < 1 << 20 or error.start < len(head) - 4:  # not merely a character cut in two
            return "cp1252"
    return "utf-8-sig"


def _lines(file: IO[str]) -> Iterator[str]:
    """Lines; one longer than the cap is cut, so that it never fills the memory."""
    while line := file.readline(MAX_LINE):
        yield line.replace("\0", "�")
        while len(line) == MAX_LINE and not line.endswith("\n"):
            line = file.readline(MAX_LINE)


def _object(line: str) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("no object")
    return record


def _header(reader: "csv.DictReader[str]", path: Path) -> list[str]:
    try:
        return list(reader.fieldnames or [])
    except csv.Error as error:
        raise NearmissError(
            f"the first line of {path.name} is no header ({error}); name the columns"
        ) from None


def _records(reader: "csv.DictReader[str]", columns: Columns, root: Path, anywhere: bool) -> Rows:
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Rejected(
                f"line {reader.line_num}", f"it cannot be read ({error}); check its quotes", unread=True
            )
            continue
        where = f"line {reader.line_num}"
        if None in record:
            yield Rejected(
                where, "it has more fields than the header; put quotes around the caption", unread=True
            )
            continue
        yield from rows_of(record, columns, root=root, where=where, anywhere=anywhere)


def _flickr(file: IO[str], root: Path, anywhere: bool) -> Rows:
    for number, line in enumerate(_lines(file), 1):
        name, _, caption = line.rstrip("\r\n").partition("\t")
        record = {"image": name.rpartition("#")[0], "caption": caption}
        columns = Columns("image", ("caption",))
        yield from rows_of(record, columns, root=root, where=f"line {number}", anywhere=anywhere)
