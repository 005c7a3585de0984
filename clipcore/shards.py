"""WebDataset shards: tar files whose members of one key are a sample. Nothing is extracted.

One pass over the headers finds each sample's caption (.txt, or .json) and where its picture lies; the bytes of a
picture are read when it is needed. Members are names and byte ranges here: no path of theirs is ever opened.
"""

import itertools
import json
import logging
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import fsspec

from clipcore.errors import ClipcoreError
from clipcore.example import Example, caption_id_of
from clipcore.tables import CAPTION_COLUMNS, caption_of, split_of, without_repetition

PICTURES = frozenset(("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm"))
LARGEST_TEXT = 1 << 20  # bytes of a caption or its JSON; more is no caption
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True)
class ShardPicture:
    """A picture in a shard: calling it reads its `size` bytes at `offset`."""

    url: str
    offset: int
    size: int
    member: str

    def __call__(self) -> bytes:
        return self.part(0, self.size)

    def part(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end` of the picture. Raises OSError where the shard has fewer."""
        files, path = fsspec.core.url_to_fs(self.url)
        content: bytes = files.cat_file(path, start=self.offset + start, end=self.offset + end)
        if len(content) != end - start:
            raise OSError(f"{self} is cut off: the shard changed since it was indexed")
        return content

    @property
    def is_local(self) -> bool:
        """Whether the shard is a file of this machine."""
        return "://" not in self.url or self.url.startswith("file://")

    def __str__(self) -> str:
        return f"{self.member} in {self.url}"


def read_shards(urls: str | Sequence[str], *, shard_in_id: bool = False) -> list[Example]:
    """The examples of all shards; see FineTuneData.from_webdataset. Raises ClipcoreError naming shard and member."""
    given = [urls] if isinstance(urls, str) else list(urls)
    shards = [found for pattern in given for found in _found(pattern)]
    if not shards:
        raise ClipcoreError("No shards were given: name at least one tar file.")
    examples: list[Example] = []
    num_incomplete = 0
    for shard in shards:
        for sample in _samples(shard):
            if sample.picture is None or sample.captions is None:
                num_incomplete += 1
            else:
                examples += _examples(sample, shard, shard_in_id)
    if not examples:
        raise ClipcoreError(
            f"{', '.join(given)} holds no pairs: a sample needs a picture and a .txt or .json of the same key."
        )
    if num_incomplete:
        logging.getLogger(__name__).warning(
            "%d samples without a picture or a caption are left out.", num_incomplete
        )
    return without_repetition(examples)


def expand_braces(pattern: str) -> list[str]:
    """The names that `{000..009}` and `{a,b}` stand for, in order; leading zeros are kept."""
    pieces = BRACES.split(pattern)
    return [
        "".join(parts) for parts in itertools.product(*(_choices(p, i % 2) for i, p in enumerate(pieces)))
    ]


def _choices(piece: str, inside_braces: int) -> list[str]:
    if not inside_braces:
        return [piece]
    numbers = RANGE.fullmatch(piece)
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        padded = any(n.startswith("0") and len(n) > 1 for n in numbers.groups())
        width = max(len(numbers[1]), len(numbers[2])) if padded else 0
        step = 1 if last >= first else -1
        return [f"{k:0{width}d}" for k in range(first, last + step, step)]
    return piece.split(",") if "," in piece else ["{" + piece + "}"]


def _found(pattern: str) -> list[str]:
    """The shards of a pattern: braces count them out, * and ? look what is there."""
    found: list[str] = []
    for url in expand_braces(str(pattern)):
        if "*" in url or "?" in url:
            files, path = fsspec.core.url_to_fs(url)
            there = sorted(files.glob(path))
            if not there:
                raise ClipcoreError(f"No shard is named like {url}: check the path.")
            found += [files.unstrip_protocol(path) for path in there]
        else:
            found.append(url)
    return found


# -- one shard -------------------------------------------------------------------------------------------------


@dataclass
class _Sample:
    key: str
    picture: ShardPicture | None = None
    captions: list[str] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def _samples(url: str) -> Iterator[_Sample]:
    """The samples of a shard: its members of one key, which stand together."""
    sample: _Sample | None = None
    for member, content in _members(url):
        key, kind = _key(member.name)
        if sample is None or sample.key != key:
            if sample is not None:
                yield sample
            sample = _Sample(key)
        where = f"{member.name} in {url}"
        if kind in PICTURES and sample.picture is None:
            sample.picture = ShardPicture(url, member.offset_data, member.size, member.name)
        elif kind == "txt":
            sample.captions = [caption_of(_text(content, where).strip(), where)]
        elif kind == "json":
            sample.facts = _json(content, where)
            found = next((sample.facts[k] for k in CAPTION_COLUMNS if sample.facts.get(k)), None)
            if sample.captions is None and found is not None:
                listed = found if isinstance(found, list) else [found]
                sample.captions = [caption_of(x, where) for x in listed]
    if sample is not None:
        yield sample


def _members(url: str) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Regular files of a tar with, for captions, their content. Raises ClipcoreError for what is no whole tar."""
    last = "its beginning"
    try:
        with fsspec.open(url, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # a million of them would stay in memory
                last = member.name
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                    continue  # folders, links, devices, holes
                if member.size < 0:
                    raise tarfile.ReadError("a negative size")
                wanted = _key(member.name)[1] in ("txt", "json")
                if wanted and member.size > LARGEST_TEXT:
                    raise ClipcoreError(
                        f"{last} in {url} has {member.size} bytes: a caption has at most {LARGEST_TEXT}."
                    )
                found = archive.extractfile(member) if wanted else None
                yield member, found.read() if found else b""
            file.seek(archive.offset)
            end = file.read(tarfile.BLOCKSIZE)
        if len(end) < tarfile.BLOCKSIZE or any(end):
            raise tarfile.ReadError("no end mark")
    except FileNotFoundError:
        raise ClipcoreError(f"There is no shard {url}: check the path and the numbers in braces.") from None
    except ClipcoreError:
        raise
    except (tarfile.TarError, OSError, ValueError, OverflowError, ImportError, EOFError) as error:
        raise ClipcoreError(
            f"{url} is cut off, compressed or no tar ({error}; read up to {last}): write it again as a plain tar."
        ) from None


def _key(name: str) -> tuple[str, str]:
    """(key, kind) as WebDataset has them: the path up to the first dot of the file's name, and the last suffix."""
    folder, _, file = name.rpartition("/")
    stem = file.partition(".")[0]
    return (f"{folder}/{stem}" if folder else stem), file.rpartition(".")[2].lower() if "." in file else ""


def _text(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ClipcoreError(f"{where} is not UTF-8: write the shard again.") from None


def _json(content: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(_text(content, where))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ClipcoreError):
            raise
        raise ClipcoreError(f"{where} is not JSON ({error}): write the shard again.") from None
    return found if isinstance(found, dict) else {}


def _examples(sample: _Sample, url: str, shard_in_id: bool) -> Iterator[Example]:
    shard = url.rpartition("/")[2].removesuffix(".tar")
    key = f"{shard}/{sample.key}" if shard_in_id else sample.key
    for caption in sample.captions or ():
        if caption:
            yield Example(
                image_id=str(sample.facts.get("image_id") or key),
                caption_id=caption_id_of(caption),
                image=sample.picture,
                caption=caption,
                split=split_of(sample.facts.get("split"), f"{sample.key} in {url}"),
            )
