"""A folder: shards, saved Hugging Face data, embeddings, imagefolder metadata, or pictures with texts beside them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from app.errors import NearmissError
from app.sources.hugging_face import read_saved
from app.sources.parquet import num_parquet_rows, parquet_columns, read_parquet
from app.sources.records import IMAGE_COLUMNS, Rows, split_of
from app.sources.rows import Rejected, Row
from app.sources.tables import Wish, num_lines, read_json_lines, read_table
from app.sources.tar_shards import read_shards
from app.sources.vectors import is_vectors_folder, read_vectors_folder

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
READERS = {"metadata.csv": read_table, "metadata.jsonl": read_json_lines, "metadata.parquet": read_parquet}


def read_folder(folder: Path, *, wish: Wish = None) -> tuple[Rows, int | None]:
    """Rows and their number where it is known. Raises NearmissError for a folder with nothing to read."""
    if (folder / "dataset_info.json").is_file() or (folder / "dataset_dict.json").is_file():
        return read_saved(folder, wish=wish)
    if is_vectors_folder(folder):
        return read_vectors_folder(folder, wish=wish), None
    shards = sorted([*folder.glob("*.tar"), *folder.glob("*.tar.gz"), *folder.glob("*.tgz")])
    if shards:
        return read_shards(shards), None
    parts = sorted(folder.glob("*/metadata.*")) or sorted(folder.glob("metadata.*"))
    if (folder / "metadata").is_dir():  # clip-retrieval's and img2dataset's: metadata/*.parquet
        parts = sorted((folder / "metadata").glob("*.parquet"))
    parts = [part for part in parts if part.name in READERS or part.suffix == ".parquet"]
    if (folder / "pairs.tsv").is_file():  # our own export, and open_clip's habit
        table = folder / "pairs.tsv"
        return read_table(table, root=folder, anywhere=False, wish=wish), num_rows_of([table])
    if (folder / "pairs.parquet").is_file():  # sentence-transformers' triplets beside it say the same again
        parts = [folder / "pairs.parquet"]
    if parts or (parts := [path for path in sorted(folder.glob("*.parquet")) if wish or _has_pictures(path)]):
        return chain.from_iterable(_part(folder, part, wish) for part in parts), num_rows_of(parts)
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not pictures:
        raise NearmissError(
            f"the folder {folder} holds no pictures ({', '.join(sorted(PICTURES))}), no metadata.csv,"
            " metadata.jsonl or metadata.parquet, no Parquet and no .tar shards"
        )
    return _sidecars(folder, pictures), len(pictures)


def num_rows_of(tables: Sequence[Path]) -> int | None:
    """About how many rows there will be; None where nobody knows."""
    found = [_num_rows(one) for one in tables]
    return None if None in found else sum(num for num in found if num)


def _num_rows(table: Path) -> int | None:
    if table.suffix == ".parquet":
        return num_parquet_rows(table)
    has_header = table.suffix in (".csv", ".tsv")
    return max(0, num_lines(table) - has_header)


def _has_pictures(table: Path) -> bool:
    """img2dataset's tables beside its folders name none: the pictures have their captions beside them."""
    return any(name in IMAGE_COLUMNS for name in parquet_columns(table))


def _part(folder: Path, part: Path, wish: Wish) -> Rows:
    read = READERS.get(part.name, read_parquet)
    split = part.parent.name if part.name in READERS and part.parent != folder else ""
    root = part.parent if split else folder
    for row in read(part, root=root, anywhere=False, wish=wish):
        if isinstance(row, Row) and split:
            yield Row(f"{split}/{row.key}", row.image, row.caption, split_of(split), f"{split} {row.where}")
        elif split and row.key:
            yield replace(row, key=f"{split}/{row.key}")
        else:
            yield row


def _sidecars(folder: Path, pictures: list[Path]) -> Iterator[Row | Rejected]:
    """Pictures with their captions in a .txt of the same name, one a line."""
    for path in pictures:
        where, text = str(path.relative_to(folder)), path.with_suffix(".txt")
        if not path.resolve().is_relative_to(folder.resolve()):
            yield Rejected(where, "it is a link out of the folder; put the picture inside it", where)
        elif not text.is_file() or not text.resolve().is_relative_to(folder.resolve()):
            yield Rejected(where, f"it has no caption; write one into {text.name} beside it")
        elif text.stat().st_size > 1 << 20:
            yield Rejected(where, f"{text.name} has more than 1 MB; keep one caption a line in it", where)
        else:
            yield from _captions(where, path, text)


def _captions(where: str, path: Path, text: Path) -> Iterator[Row | Rejected]:
    try:
        lines = [line.strip() for line in text.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except UnicodeDecodeError:
        yield Rejected(where, f"{text.name} is not UTF-8; save it as UTF-8", where)
        return
    except OSError as error:
        yield Rejected(where, f"{text.name} cannot be read ({error.strerror}); check the disk", where)
        return
    if not lines:
        yield Rejected(where, f"{text.name} is empty; write a caption into it")
    for line in lines:
        yield Row(where, path, line, where=where)
