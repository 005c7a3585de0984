"""Items that are the same: captions of one text, images of the same bytes. Groups are keys that equal items share."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipcore.example import Example
from clipcore.shards import ShardPicture

END = 1024  # bytes


def identical_captions(examples: Sequence[Example], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Caption id → its text without outer blanks, for captions whose text stands under several ids."""
    texts = {x.caption_id: x.caption.strip() for x in examples} | {
        k: v.strip() for k, v in (extra or {}).items()
    }
    return _shared(texts)


def identical_images(examples: Sequence[Example]) -> dict[str, str]:
    """Image id → hash of its bytes, for images that stand under several ids, whichever files or shards they lie in.

    Read are only pictures of equal size, of shards their last kilobyte first. Pictures in memory are compared by their
    bytes; those in shards behind a network, and other callables, by nothing: that would be a request each.
    """
    sources = {x.image_id: x.image for x in examples}
    sizes: dict[str, Any] = {id_: _size(source) for id_, source in sources.items()}
    sizes = {id_: size for id_, size in sizes.items() if size is not None}
    alike = _alike(sizes)
    ends = {id_: (sizes[id_], _end(sources[id_])) for id_ in alike}
    return _shared({id_: _digest(sources[id_]) for id_ in _alike(ends)})


def _alike(marks: Mapping[str, Any]) -> list[str]:
    """The ids whose mark another one bears too."""
    often = Counter(marks.values())
    return [id_ for id_, mark in marks.items() if often[mark] > 1]


def _end(source: Any) -> bytes:
    """The last kilobyte of a picture in a shard; nothing of any other: those are read whole at once."""
    return source.part(max(0, source.size - END), source.size) if isinstance(source, ShardPicture) else b""


def _shared(keys: Mapping[str, str]) -> dict[str, str]:
    """Only the keys that several ids bear: a group of one needs no entry."""
    often = Counter(keys.values())
    return {id_: key for id_, key in keys.items() if often[key] > 1}


def _size(source: Any) -> int | None:
    if isinstance(source, bytes):
        return len(source)
    if isinstance(source, str | Path):
        try:
            return Path(source).stat().st_size
        except OSError:
            return None  # reading it will say so
    if isinstance(source, ShardPicture):
        return source.size if source.is_local else None
    if hasattr(source, "tobytes") and hasattr(source, "size"):
        return int(source.size[0] * source.size[1])
    return None


def _digest(source: Any) -> str:
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if isinstance(source, ShardPicture):
        source = source()
    parts: Iterable[bytes] = (
        [source] if isinstance(source, bytes) else [repr(source.mode).encode(), source.tobytes()]
    )
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
