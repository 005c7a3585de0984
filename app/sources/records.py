"""From a record (a line, an object, a Parquet row) to rows: which column is the picture, which the captions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import NearmissError
from app.sources.rows import Rejected, Row, Split

IMAGE_COLUMNS = (
    "filepath",
    "file_name",
    "image",
    "path",
    "image_path",
    "image_name",
    "filename",
    "img",
    "jpg",
    "anchor",
)
CAPTION_COLUMNS = ("title", "text", "caption", "captions", "comment", "sentence", "txt", "positive")
HELD_OUT = {"held_out", "test", "validation", "val", "valid"}
NUMBERED = re.compile(r"(caption|text|sentence)_?\d+")  # caption_0 … caption_4 of one image
WEB = re.compile(r"https?://", re.IGNORECASE)
Rows = Iterator[Row | Rejected]


@dataclass(frozen=True)
class Columns:
    """Which columns are read: the picture's, one or several captions', the split's where there is one."""

    image: str
    captions: tuple[str, ...]
    split: str = "split"


def map_columns(found: Sequence[str], *, source: str, wish: Mapping[str, str] | None = None) -> Columns:
    """The mapping that a person wishes (`image`, `caption`, `split` → a column's name), else by known names.

    Raises NearmissError with the columns that were found.
    """
    wish = wish or {}
    for role, name in wish.items():
        if role not in ("image", "caption", "split") or name not in found:
            raise NearmissError(
                f"{source} has no column {name!r} for {role!r}; map image, caption or split to one of {_list(found)}"
            )
    image = wish.get("image") or next((name for name in IMAGE_COLUMNS if name in found), "")
    numbered = tuple(name for name in found if NUMBERED.fullmatch(name))
    known = next((name for name in CAPTION_COLUMNS if name in found), "")
    captions = (wish["caption"],) if "caption" in wish else ((known,) if known else numbered)
    if not image or not captions:
        raise NearmissError(
            f"{source} has the columns {_list(found)}; it needs one of {', '.join(IMAGE_COLUMNS)} "
            f"and one of {', '.join(CAPTION_COLUMNS)}"
        )
    return Columns(image, captions, wish.get("split", "split"))


def rows_of(
    record: Mapping[str, Any], columns: Columns, *, root: Path, where: str, anywhere: bool = False
) -> Rows:
    """A row for each caption of the record. Pictures are paths under `root` (`anywhere`: also others) or bytes."""
    found = _picture(record.get(columns.image), root, where, anywhere)
    if isinstance(found, Rejected):
        yield found
        return
    key, image = found
    texts = [text for name in columns.captions for text in _texts(record.get(name))]
    if not texts:
        yield Rejected(where, "it lacks a caption; fill the column")
    for text in texts:
        yield Row(key, image, text, split_of(record.get(columns.split)), where)


def split_of(value: Any) -> Split:
    """Every usual name of a validation or test split is `held_out`."""
    return "held_out" if str(value or "").strip().lower() in HELD_OUT else "train"


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return [text for text in (str(v).strip() for v in values if v is not None) if text]


def _picture(value: Any, root: Path, where: str, anywhere: bool) -> tuple[str, Path | bytes] | Rejected:
    data, name = value, ""
    if isinstance(value, Mapping):  # Hugging Face's picture: {"bytes": …, "path": …}
        data, name = value.get("bytes") or value.get("path"), str(value.get("path") or "")
    if isinstance(data, bytes) and data:
        return name or where, data
    if not isinstance(data, str) or not data.strip():
        return Rejected(where, "it lacks a picture; fill the column")
    data = data.strip()
    if WEB.match(data):
        return Rejected(where, f"{data[:80]!r} is an address on the web; download it first, with img2dataset")
    if "\0" in data or len(data) > 4096:
        return Rejected(where, f"{data[:40]!r} is no path; correct it")
    try:
        path = (root / data).resolve()
    except (OSError, ValueError, RuntimeError):  # half a surrogate pair, a circle of links
        return Rejected(where, f"{data[:80]!r} is no path; correct it")
    if not anywhere and not path.is_relative_to(root.resolve()):
        return Rejected(where, f"{data!r} lies outside the folder; put the picture inside it")
    try:
        there = path.is_file()
    except OSError:
        there = False
    return (data, path) if there else Rejected(where, f"there is no file {data!r}; check the path", data)


def _list(found: Sequence[str]) -> str:
    return ", ".join(_sayable(str(name)[:60]) for name in found[:30]) or "none"


def _sayable(text: str) -> str:
    """One line, without characters that a terminal or a page would obey."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown.encode("utf-8", "backslashreplace").decode()
