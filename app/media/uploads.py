"""Files that a browser brings in pieces: one private folder an upload, with a quota and an end of its life."""

import hashlib
import re
import shutil
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from app.errors import Conflict, NearmissError, NotFound

PREFIX = "upload:"
CHUNK_BYTES = 1 << 20  # of a piece; the gate refuses bodies of more than 2 MB
LIFE_S = 24 * 3600.0
MAX_FILES = 200_000
MAX_NAME = 1000  # characters of a path within the upload
ID = re.compile(r"[0-9a-f]{32}")
WHOSE = 12  # the first digits of an id name the person, so that a folder's name tells whose quota it uses
RECOUNT_S = 30.0  # between walks over all uploads; pieces are counted as they come
RESERVE_BYTES = 1 << 30  # stays free on the disk


@dataclass(frozen=True)
class Upload:
    """What has arrived: file names with their bytes, and how long it is kept, in seconds."""

    id: str
    num_files: int
    num_bytes: int
    expires_in_s: float
    chunk_bytes: int = CHUNK_BYTES


class Uploads:
    """The uploads under `folder`; all together hold at most `quota_bytes`, one person's `person_quota_bytes`."""

    def __init__(self, folder: Path, *, quota_bytes: int, person_quota_bytes: int | None = None) -> None:
        self._folder, self._quota = folder, quota_bytes
        self._person_quota = quota_bytes if person_quota_bytes is None else person_quota_bytes
        self._counted_at = float("-inf")
        self._num_files = 0
        self._num_bytes: Counter[str] = Counter()  # by person, of all uploads

    def begin(self, person: str = "") -> Upload:
        """A new, empty upload; expired ones are deleted."""
        self.expire()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        whose = hashlib.sha256(person.encode("utf-8", "surrogatepass")).hexdigest()[:WHOSE]
        name = whose + uuid.uuid4().hex[WHOSE:]
        (self._folder / name).mkdir(mode=0o700)
        return self.look(name)

    def look(self, upload_id: str) -> Upload:
        """Raises NotFound for one that never was or has expired."""
        place = self._place(upload_id)
        sizes = [path.stat().st_size for path in place.rglob("*") if path.is_file()]
        left = place.stat().st_mtime + LIFE_S - time.time()
        return Upload(upload_id, len(sizes), sum(sizes), max(0.0, left))

    def size(self, upload_id: str, name: str) -> int:
        """Bytes of the file `name` that have arrived, 0 before the first."""
        path = self._path(upload_id, name)
        return path.stat().st_size if path.is_file() else 0

    def add(self, upload_id: str, name: str, *, offset: int, data: bytes) -> int:
        """Put a piece at the end of the file `name`; its bytes so far. The same piece again changes nothing.

        Raises Conflict when `offset` is not where the file ends, NearmissError past a quota or for a bad name.
        """
        if len(data) > CHUNK_BYTES:
            raise NearmissError(f"the piece has {len(data):,} bytes; send at most {CHUNK_BYTES:,} at a time")
        path = self._path(upload_id, name)
        have = self.size(upload_id, name)
        if have >= offset + len(data) and offset + len(data) > 0:
            return have
        if offset != have:
            raise Conflict(f"{name!r} has {have} bytes so far, not {offset}; go on from there")
        self._room_for(len(data), whose=upload_id[:WHOSE], new_file=not path.exists())
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with path.open("ab") as file:
                file.write(data)
        except (NotADirectoryError, IsADirectoryError, FileExistsError):
            raise Conflict(f"{name!r} is both a file and a folder of this upload; begin anew") from None
        except OSError as error:
            raise NearmissError(f"{name[:80]!r} cannot be kept ({error.strerror}); rename it") from None
        return have + len(data)

    def source(self, upload_id: str) -> Path:
        """What an import reads: the only file, or the folder. Raises NotFound, NearmissError for an empty one."""
        place = self._place(upload_id)
        inside = list(place.iterdir())
        if not inside:
            raise NearmissError("the upload holds no file yet; send one first")
        return inside[0] if len(inside) == 1 else place

    def folder(self, upload_id: str) -> Path:
        """The upload's own folder. Raises NotFound."""
        return self._place(upload_id)

    def delete(self, upload_id: str) -> None:
        """Forget it; nothing happens where it is gone."""
        if ID.fullmatch(upload_id):
            shutil.rmtree(self._folder / upload_id, ignore_errors=True)

    def expire(self) -> None:
        """Delete what is older than a day."""
        if self._folder.is_dir():
            for place in self._folder.iterdir():
                if place.stat().st_mtime + LIFE_S < time.time():
                    shutil.rmtree(place, ignore_errors=True)

    def _place(self, upload_id: str) -> Path:
        place = self._folder / upload_id
        if not ID.fullmatch(upload_id) or not place.is_dir():
            raise NotFound(f"there is no upload {upload_id[:40]!r}, or its day is over; send the files again")
        return place

    def _path(self, upload_id: str, name: str) -> Path:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        odd = not parts or len(name) > MAX_NAME or name.startswith("/") or ":" in parts[0]
        if odd or any(_is_odd(part) for part in parts):
            raise NearmissError(f"{name[:80]!r} is no name for an uploaded file; rename it")
        return self._place(upload_id).joinpath(*parts)

    def _room_for(self, num_bytes: int, *, whose: str, new_file: bool) -> None:
        now = time.monotonic()
        if now - self._counted_at > RECOUNT_S:
            self._recount(now)
        if self._num_bytes[whose] + num_bytes > self._person_quota:
            raise NearmissError(
                f"your uploads may hold {self._person_quota / 1e9:.1f} GB in all; import or delete some of them first"
            )
        if self._num_bytes.total() + num_bytes > self._quota:
            raise NearmissError(
                f"uploads may hold {self._quota / 1e9:.1f} GB in all; import or delete some, or name a folder on the server"
            )
        if self._num_files >= MAX_FILES and new_file:
            raise NearmissError(f"uploads may hold {MAX_FILES:,} files; send tar shards or Parquet")
        free = shutil.disk_usage(self._folder).free
        if free < num_bytes + RESERVE_BYTES:
            raise NearmissError(f"the disk has {free / 1e9:.1f} GB left; make room first")
        self._num_files += new_file
        self._num_bytes[whose] += num_bytes

    def _recount(self, now: float) -> None:
        files = [path for path in self._folder.rglob("*") if path.is_file()]
        self._counted_at, self._num_files, self._num_bytes = now, len(files), Counter()
        for path in files:
            self._num_bytes[path.relative_to(self._folder).parts[0][:WHOSE]] += path.stat().st_size


def _is_odd(part: str) -> bool:
    """Hidden, unprintable (Unicode's direction marks too), or longer than file systems take."""
    return part.startswith(".") or not part.isprintable() or len(part.encode("utf-8", "replace")) > 240
