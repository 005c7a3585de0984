"""Hugging Face `datasets`: a folder that `save_to_disk` wrote, or OWNER/NAME on the hub (streamed)."""

from pathlib import Path
from typing import Any

from app.errors import NearmissError
from app.sources.records import Rows, map_columns, rows_of
from app.sources.tables import Wish

PREFIX = "hf:"


def read_saved(folder: Path, *, wish: Wish = None) -> tuple[Rows, int]:
    """Rows and their number. Raises NearmissError without the package or for a damaged folder."""
    library = _library()
    try:
        loaded = library.load_from_disk(str(folder))
        parts = dict(loaded) if isinstance(loaded, library.DatasetDict) else {"": loaded}
        parts = {split: _undecoded(library, part) for split, part in parts.items()}
    except Exception as error:  # the library raises many kinds for damaged files
        raise NearmissError(
            f"{folder.name} cannot be read by `datasets` ({_short(error)}); save it again"
        ) from None
    return _rows(parts, folder, wish), sum(len(part) for part in parts.values())


def read_hub(name: str, *, wish: Wish = None) -> Rows:
    """The rows of OWNER/NAME, as they arrive. Raises NearmissError where the hub does not have it or cannot be reached."""
    library = _library()
    try:
        loaded = library.load_dataset(name, streaming=True)
        parts = {split: _undecoded(library, part) for split, part in loaded.items()}
    except Exception as error:  # network, licence gates, missing names
        raise NearmissError(
            f"{name} cannot be had from the hub ({_short(error)}); check name and network"
        ) from None
    return _rows(parts, Path(name), wish)


def _rows(parts: dict[str, Any], folder: Path, wish: Wish) -> Rows:
    for split, part in parts.items():
        columns = map_columns(list(part.features or []), source=folder.name, wish=wish)
        for number, record in enumerate(part, 1):
            where = f"{split or 'row'} {number}"
            record = {"split": split, **record}
            yield from rows_of(record, columns, root=folder, where=where)


def _undecoded(library: Any, part: Any) -> Any:
    """Pictures stay bytes: they are decoded later, in limited processes."""
    for name, feature in (part.features or {}).items():
        if isinstance(feature, library.Image):
            part = part.cast_column(name, library.Image(decode=False))
    return part


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise NearmissError("reading this needs `datasets`; pip install 'nearmiss[hub]'") from None
    return datasets


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
