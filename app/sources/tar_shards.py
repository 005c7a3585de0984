"""WebDataset shards: members are streamed and grouped by their name; nothing is ever extracted."""

import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from app.errors import NearmissError
from app.sources.records import Rows, split_of
from app.sources.rows import Rejected, Row

PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
WANTED = {*PICTURES, "txt", "json"}
MAX_MEMBER_BYTES = 64 << 20  # also of a sample's members together
MAX_MEMBERS = 10_000_000  # of a shard
MAX_HEADER_BYTES = 1 << 20  # of an extended header, which tarfile keeps in memory
MAX_RATIO = 200  # unpacked to packed; photographs reach about 1, captions 5
EXTENDED = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
EXTENDED |= {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
Sample = dict[str, bytes]


class _Header(tarfile.TarInfo):
    """A header that says no before a giant extension is read."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type in EXTENDED and member.size > MAX_HEADER_BYTES:
            raise NearmissError(f"a header of {member.size:,} bytes stands in the archive; write it again")
        return member


def read_shards(shards: list[Path]) -> Rows:
    """A row for each caption of each sample: a picture with .txt or .json (caption, captions, split)."""
    for shard in shards:
        yield from _read(shard)


def _read(shard: Path) -> Rows:
    name, parts, num = "", Sample(), 0
    try:
        for found in _members(shard):
            if isinstance(found, Rejected):
                yield found
                continue
            key, ending, data = found
            if key != name:
                if parts:
                    yield from _rows(shard, name, parts)
                name, parts = key, Sample()
            num += 1
            if num > MAX_MEMBERS:
                raise NearmissError(f"it has more than {MAX_MEMBERS:,} members; write smaller shards")
            if sum(map(len, parts.values())) + len(data) > MAX_MEMBER_BYTES:
                said = f"its sample has more than {MAX_MEMBER_BYTES:,} bytes; make the picture smaller"
                yield Rejected(f"{shard.name}: {key[:200]!r}", said, f"{shard.name}/{key}")
            else:
                parts[ending] = data
    except NearmissError as error:
        yield Rejected(shard.name, str(error), unread=True)
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        said = f"it ends or breaks after {num} members ({str(error)[:80]}); copy it again"
        yield Rejected(shard.name, said, unread=True)
    if parts:
        yield from _rows(shard, name, parts)


def _members(shard: Path) -> Iterator[tuple[str, str, bytes] | Rejected]:
    """(sample, ending, content); what no reader wants is passed over unread, under the ending ""."""
    with shard.open("rb") as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header) as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # else a million members stay in memory
            where = f"{shard.name}: {member.name[:200]!r}"
            if member.offset > MAX_RATIO * max(file.tell(), 1 << 20):
                raise NearmissError(
                    f"it unpacks to more than {MAX_RATIO} times its size; write it uncompressed"
                )
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                yield Rejected(where, "it is a link, a device or a sparse file; put a plain file there")
            elif member.name.startswith("/") or ".." in member.name.split("/"):
                yield Rejected(where, "its name leaves the archive; give it a plain name")
            elif (split := _split(member.name))[1] not in WANTED:
                yield split[0], "", b""
            elif member.size > MAX_MEMBER_BYTES:
                yield Rejected(where, f"it has {member.size:,} bytes; at most {MAX_MEMBER_BYTES:,} are taken")
            else:
                content = archive.extractfile(member)
                data = content.read() if content is not None else b""
                if len(data) != member.size:
                    raise tarfile.ReadError("unexpected end of data")
                yield *split, data


def _split(path: str) -> tuple[str, str]:
    """WebDataset's rule: the sample's name ends at the first dot after the last slash."""
    ending = path.rpartition("/")[2].partition(".")[2]
    return (path[: len(path) - len(ending) - 1] if ending else path), ending.lower()


def _rows(shard: Path, name: str, parts: Sample) -> Rows:
    where = f"{shard.name}: {name[:200]!r}"
    picture = next((parts[ending] for ending in PICTURES if ending in parts), None)
    if picture is None:
        yield Rejected(where, f"it has no picture ({', '.join(PICTURES)}); add one to the sample")
        return
    about: dict[str, Any] = {}
    try:
        if "json" in parts:
            read = json.loads(parts["json"])
            about = read if isinstance(read, dict) else {}
        text = parts.get("txt", b"").decode("utf-8-sig")
    except (ValueError, RecursionError) as error:
        yield Rejected(where, f"its text cannot be read ({str(error)[:80]}); write UTF-8 and JSON")
        return
    given = about.get("captions")
    texts = given if isinstance(given, list) else [text or about.get("caption")]
    splits = about.get("splits")
    if not isinstance(splits, list) or len(splits) != len(texts):
        splits = [about.get("split")] * len(texts)
    captions = [
        (t.strip(), s) for t, s in zip(texts, splits, strict=True) if isinstance(t, str) and t.strip()
    ]
    if not captions:
        yield Rejected(where, "it has no caption; add a .txt or a .json with `caption`")
    for caption, split in captions:
        yield Row(f"{shard.name}/{name}", picture, caption, split_of(split), where)
