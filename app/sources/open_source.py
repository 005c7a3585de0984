"""Which reader reads a source: the demo, a folder, or a table of paths and captions."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from app.errors import NearmissError
from app.sources.rows import Rejected, Row, Split

IMAGE_COLUMNS = ("filepath", "file_name", "image", "path")
CAPTION_COLUMNS = ("title", "text", "caption")
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
METADATA = ("metadata.csv", "metadata.jsonl")
HELD_OUT = {"held_out", "test", "validation", "val", "valid"}
Rows = Iterator[Row | Rejected]
LARGEST_FIELD = 1 << 20  # characters of a cell


def open_source(source: str) -> tuple[Rows, int | None]:
    """The rows of a source and their number, where it is known beforehand. Raises NearmissError with the remedy."""
    if source == "demo":
        from app.demo.openmoji import drawings, rows

        return rows(), len(drawings())
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() in {".csv", ".tsv", ".txt"}:
        return _table(path, root=path.parent, anywhere=True), None
    if path.suffix.lower() == ".jsonl":
        return _json_lines(path, root=path.parent, anywhere=True), None
    raise NearmissError(f"{path} is no folder and no .csv, .tsv or .jsonl file; name one of these")


def _folder(folder: Path) -> tuple[Rows, int | None]:
    for name in METADATA:
        if (folder / name).is_file():
            read = _table if name.endswith(".csv") else _json_lines
            return read(folder / name, root=folder, anywhere=False), None
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not pictures:
        raise NearmissError(
            f"the folder {folder} holds no pictures ({', '.join(sorted(PICTURES))}) and no metadata.csv or metadata.jsonl"
        )
    return _sidecars(folder, pictures), len(pictures)


def _sidecars(folder: Path, pictures: list[Path]) -> Rows:
    """Pictures with their caption in a .txt of the same name."""
    for path in pictures:
        where, text = str(path.relative_to(folder)), path.with_suffix(".txt")
        if not text.is_file():
            yield Rejected(where, f"it has no caption; write one into {text.name} beside it")
            continue
        try:
            yield Row(where, path, text.read_text(encoding="utf-8-sig").strip(), where=where)
        except UnicodeDecodeError:
            yield Rejected(where, f"{text.name} is not UTF-8; save it as UTF-8")


def _table(path: Path, *, root: Path, anywhere: bool) -> Rows:
    """A CSV or TSV with a header; separator and encoding are found out."""
    csv.field_size_limit(LARGEST_FIELD)  # of the whole process, so each reader says its own
    encoding = _encoding(path)
    with path.open(encoding=encoding, newline="", errors="replace") as file:
        head = file.readline()
        file.seek(0)
        separator = max("\t,;|", key=head.count)
        reader = csv.DictReader((line.replace("\0", "") for line in file), delimiter=separator)
        _check_columns(reader.fieldnames or [], path)
        lines = iter(reader)
        while True:
            try:
                record = next(lines)
            except StopIteration:
                return
            except csv.Error as error:
                yield Rejected(f"line {reader.line_num}", f"it cannot be read ({error}); check its quotes")
                continue
            yield _row(record, root, f"line {reader.line_num}", anywhere)


def _json_lines(path: Path, *, root: Path, anywhere: bool) -> Rows:
    with path.open(encoding=_encoding(path), errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("no object")
            except (ValueError, RecursionError) as error:
                yield Rejected(
                    f"line {number}", f"it is not a JSON object ({str(error)[:80]}); write one a line"
                )
                continue
            yield _row(record, root, f"line {number}", anywhere)


def _row(record: dict[str, Any], root: Path, where: str, anywhere: bool) -> Row | Rejected:
    name = next((str(record[k]) for k in IMAGE_COLUMNS if record.get(k)), "")
    caption = next((str(record[k]) for k in CAPTION_COLUMNS if record.get(k)), "")
    if not name or not caption.strip():
        return Rejected(where, f"it lacks {'a picture' if not name else 'a caption'}; fill the column")
    path = (root / name).resolve()
    if not anywhere and not path.is_relative_to(root.resolve()):
        return Rejected(where, f"{name!r} lies outside the folder; put the picture inside it")
    if not path.is_file():
        return Rejected(where, f"there is no file {name!r}; check the path")
    split = "held_out" if str(record.get("split") or "").lower() in HELD_OUT else "train"
    return Row(name, path, caption.strip(), cast(Split, split), where)


def _check_columns(columns: Any, path: Path) -> None:
    found = [str(name) for name in columns]
    if not set(found) & set(IMAGE_COLUMNS) or not set(found) & set(CAPTION_COLUMNS):
        raise NearmissError(
            f"{path.name} has the columns {', '.join(found) or 'none'}; it needs one of {', '.join(IMAGE_COLUMNS)} "
            f"and one of {', '.join(CAPTION_COLUMNS)}"
        )


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    return "utf-8-sig"
