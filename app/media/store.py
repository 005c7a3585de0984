"""Content-addressed files over fsspec: a folder by default, S3 and the like by URL.

A key is `KIND/ab/SHA256[.suffix]`; the same bytes have the same key, so that writing twice is harmless
and a reader may cache for ever.
"""

import ctypes
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import fsspec

from app.errors import NearmissError, NotFound


class MediaStore:
    """The files under `url` (`file:///folder`, `s3://bucket/prefix`, `memory://`)."""

    def __init__(self, url: str) -> None:
        self._files: Any
        # object stores have no folders to make, and refuse the option
        options = {"auto_mkdir": True} if url.startswith("file:") else {}
        self._files, self._root = fsspec.core.url_to_fs(url, **options)
        self._local = "file" in self._files.protocol

    def put(self, data: bytes, *, kind: str, suffix: str = "") -> str:
        """Keep `data`; its key."""
        key = content_key(hashlib.sha256(data).hexdigest(), kind=kind, suffix=suffix)
        self.put_at(key, data)
        return key

    def put_at(self, key: str, data: bytes, *, flush: bool = True) -> None:
        """Keep `data` under a key that its reader can compute, as thumbnails are; whole or not at all.

        Without `flush` it survives this process, but a power cut only after `flush()`.
        """
        if self.exists(key) and not self._is_reference(key):
            return
        if not self._local:
            self._files.pipe_file(self._full(key), data)  # object stores write whole objects
            return
        with self._part(key) as part, part.open("wb") as file:
            file.write(data)
            if flush:
                file.flush()
                os.fsync(file.fileno())

    def copy_from(self, key: str, source: IO[bytes]) -> None:
        """Keep what `source` reads under `key`, piece by piece: whole or not at all."""
        if not self._local:
            with self._files.open(self._full(key), "wb") as target:
                shutil.copyfileobj(source, target, 2**20)
            return
        with self._part(key) as part, part.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
            target.flush()
            os.fsync(target.fileno())

    def all_keys(self) -> Iterator[str]:
        """All keys, in order; unfinished writes are left out."""
        root = str(self._root).rstrip("/")
        found = self._files.find(root) if self._files.exists(root) else []
        for path in sorted(found):
            if not path.endswith(".part") and self.exists(path[len(root) + 1 :]):
                yield path[len(root) + 1 :]

    def put_file_at(self, key: str, path: Path) -> None:
        """Keep a file that nobody will change under a key: without a copy where the disk is the same; whole or not at all."""
        if self.exists(key):
            return
        if not self._local:
            self._files.put_file(str(path), self._full(key))
            return
        with self._part(key) as part:
            try:
                os.link(path, part)
            except OSError:  # another disk, or a file system without links
                shutil.copyfile(path, part)
                _sync_file(part)

    def refer_at(self, key: str, path: Path) -> None:
        """Keep under `key` a link to a file that stays where it is. Raises NearmissError where the store is elsewhere."""
        if not self._local:
            raise NearmissError(
                "originals can stay in place only when the media store is a folder; copy them instead"
            )
        if not self.exists(key):
            with self._part(key) as part:
                part.symlink_to(path.resolve())

    def flush(self) -> None:
        """What was put without flushing is on the disk when this returns."""
        if self._local and Path(self._root).exists():
            _sync_file_system(Path(self._root))

    @contextmanager
    def _part(self, key: str) -> Iterator[Path]:
        """A name beside the key's, which takes its place at the end: whole or not at all."""
        target = Path(self._full(key))
        part = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _is_reference(self, key: str) -> bool:
        return self._local and Path(self._full(key)).is_symlink()

    def get(self, key: str) -> bytes:
        """The bytes. Raises NotFound."""
        try:
            data: bytes = self._files.cat_file(self._full(key))
        except FileNotFoundError:
            raise NotFound(f"the media store has no {key}; was it erased or moved?") from None
        return data

    def open(self, key: str) -> BinaryIO:
        """A readable file. Raises NotFound."""
        try:
            file: BinaryIO = self._files.open(self._full(key), "rb")
        except FileNotFoundError:
            raise NotFound(f"the media store has no {key}; was it erased or moved?") from None
        return file

    def get_file(self, key: str, target: Path) -> None:
        """Copy what is kept to the file `target`. Raises NotFound."""
        with self.open(key) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 2**20)

    def exists(self, key: str) -> bool:
        """Whether the key is kept."""
        full = self._full(key)
        return Path(full).exists() if self._local else bool(self._files.exists(full))

    def delete(self, key: str) -> None:
        """Forget the key; nothing happens where it is not kept."""
        if self.exists(key) or self._is_reference(key):
            self._files.rm_file(self._full(key))

    def local_path(self, key: str) -> Path | None:
        """Where the file lies on this machine, or None when the store is elsewhere."""
        return Path(self._full(key)) if self._local else None

    def put_folder(self, folder: Path, *, kind: str) -> str:
        """Keep all files of `folder`: the key of a manifest (JSON: relative path → key)."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        manifest = {
            path.relative_to(folder).as_posix(): self.put(path.read_bytes(), kind="files") for path in paths
        }
        return self.put(json.dumps(manifest, sort_keys=True).encode(), kind=kind, suffix=".json")

    def get_folder(self, key: str, into: Path) -> Path:
        """Write the files of a manifest into the folder `into`, which is made; returns it. Raises NotFound."""
        for name, file_key in self.manifest(key).items():
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.get(file_key))
        return into

    def manifest(self, key: str) -> dict[str, str]:
        """Relative path → key of what `put_folder` kept. Raises NotFound."""
        files: dict[str, str] = json.loads(self.get(key))
        return files

    def names_below(self, prefix: str) -> list[str]:
        """The names of files and folders directly below a prefix, in order; empty where there is none."""
        try:
            found = self._files.ls(self._full(prefix), detail=False)
        except FileNotFoundError:
            return []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in found)

    def walk(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        """(key, bytes, seconds since 1970 of its last change, 0 where the store tells none) of all files below a prefix."""
        root = self._full(prefix).rstrip("/")
        try:
            found = self._files.find(root, detail=True)
        except FileNotFoundError:
            return
        for name, about in found.items():
            changed = about.get("mtime") or about.get("LastModified") or about.get("created") or 0.0
            at = changed.timestamp() if hasattr(changed, "timestamp") else float(changed)
            yield name[len(self._root) :].lstrip("/"), int(about.get("size") or 0), at

    def size(self, key: str) -> int:
        """Bytes of what is kept. Raises NotFound."""
        try:
            return int(self._files.size(self._full(key)))
        except FileNotFoundError:
            raise NotFound(f"the media store has no {key}; was it erased or moved?") from None

    def delete_below(self, prefix: str) -> None:
        """Forget every key below a prefix."""
        if self._files.exists(self._full(prefix)):
            self._files.rm(self._full(prefix), recursive=True)

    def _full(self, key: str) -> str:
        if ".." in key or key.startswith("/"):
            raise NotFound(f"{key!r} is no key of the media store")
        return f"{self._root}/{key}"


def _sync_file(path: Path) -> None:
    place = os.open(path, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def _sync_file_system(folder: Path) -> None:
    """One wait for all files, where one for each would cost more than decoding them."""
    if sys.platform != "linux":
        os.sync()
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        ctypes.CDLL(None).syncfs(place)
    finally:
        os.close(place)


def content_key(sha256: str, *, kind: str, suffix: str = "") -> str:
    """The key of content with this hash.

    One folder level: a million files lie 4,000 to a folder; a second level made a folder for nearly each of the first
    65,536 files, which cost more than writing them.
    """
    return f"{kind}/{sha256[:2]}/{sha256}{suffix}"
