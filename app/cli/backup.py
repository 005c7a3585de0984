"""`nearmiss backup` and `restore`: one .tar of JSON lines and media files, checked whole before anything is written."""

import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import typer
from sqlalchemy import select

from app.counted import counted
from app.errors import Conflict, NearmissError
from app.media.lift import lift_second_level
from app.media.store import MediaStore
from app.settings import get_settings
from app.store.database import Database
from app.store.dump import count_on, dump, load, snapshot, tables_of
from app.store.schema import check, migrate, version_of

MANIFEST = "manifest.json"  # the last member: without it the backup was not finished
MEMBER = re.compile(r"(tables/[a-z_]+\.jsonl|media/[\w-]+(/[\w.-]+)+)")
MAX_MANIFEST_BYTES = 2**30


def run_backup(to: str, *, media: bool) -> None:
    """Writes `to`, readable by its owner only. Raises NearmissError where it exists or cannot be written."""
    settings, target = get_settings(), Path(to)
    database = Database(settings)
    check(database.engine)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise NearmissError(f"{target} cannot be made: {error.strerror}; name a new file") from None
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
            sums = _write_tables(database, archive)
            if media:  # after the tables: files are never changed, so all that the rows name are there
                sums |= _write_media(MediaStore(settings.resolved_media_url), archive)
            about = {"nearmiss": version("nearmiss"), "schema": version_of(database.engine), "sums": sums}
            _add(archive, MANIFEST, io.BytesIO(json.dumps(about).encode()))
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        database.close()
    typer.echo(
        f"{target}: {counted(len(sums), 'file')}, {target.stat().st_size / 1e6:,.1f} MB; keep it as safe as the server"
    )


def run_restore(source: str) -> None:
    """Fills an empty database and the media store. Raises NearmissError for anything else, before it writes."""
    settings = get_settings()
    about = verify(source)
    settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings)
    _refuse_rows(database)
    migrate(database.engine, to=about["schema"])
    store = MediaStore(settings.resolved_media_url)
    with (
        tarfile.open(source) as archive,
        database.engine.execution_options(nearmiss_begin="BEGIN IMMEDIATE").begin() as connection,
    ):
        for name in (n for n in about["sums"] if n.startswith("media/")):
            store.copy_from(name.removeprefix("media/"), _open(archive, name))
        num_rows = 0
        for table in tables_of(connection):
            name = f"tables/{table.name}.jsonl"
            if name in about["sums"]:
                lines = io.TextIOWrapper(_open(archive, name), encoding="utf-8", newline="\n")
                num_rows += load(connection, table, lines)
                count_on(connection, table)
    migrate(database.engine)
    lift_second_level(settings.resolved_media_url)
    database.close()
    typer.echo(f"{counted(num_rows, 'row is', 'rows are')} back; workers and page may be started")


def verify(source: str) -> dict[str, Any]:
    """The manifest, after every member was read and compared with its sum. Raises NearmissError."""
    try:
        with tarfile.open(source) as archive:
            members = {member.name: member for member in archive}
            if MANIFEST not in members or members[MANIFEST].size > MAX_MANIFEST_BYTES:
                raise NearmissError(f"{source} is no finished backup of Nearmiss; take another one")
            about: dict[str, Any] = json.load(_open(archive, MANIFEST))
            if set(members) != {*about["sums"], MANIFEST}:
                raise NearmissError(f"{source} has other files than it says; take another backup")
            for name, wanted in about["sums"].items():
                is_ours = MEMBER.fullmatch(name) and ".." not in name and members[name].isfile()
                if not is_ours or _sum(_open(archive, name)) != wanted:
                    raise NearmissError(f"{source} is damaged at {name[:100]!r}; take another backup")
            return about
    except (OSError, tarfile.TarError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, NearmissError):
            raise
        raise NearmissError(f"{source} cannot be read as a backup: {error}") from None


def _write_tables(database: Database, archive: tarfile.TarFile) -> dict[str, str]:
    sums = {}
    with snapshot(database.engine) as connection, connection.begin():
        for table in tables_of(connection):
            with tempfile.TemporaryFile() as lines:
                _spool(lines, dump(connection, table))
                name = f"tables/{table.name}.jsonl"
                sums[name] = _add(archive, name, lines)
    return sums


def _write_media(store: MediaStore, archive: tarfile.TarFile) -> dict[str, str]:
    sums = {}
    for key in store.all_keys():
        with store.open(key) as file:
            sums[f"media/{key}"] = _add(archive, f"media/{key}", file)
    return sums


def _spool(file: IO[bytes], lines: Iterable[str]) -> None:
    for line in lines:
        file.write(line.encode("utf-8"))
    file.seek(0)


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes]) -> str:
    """Adds the file; its SHA-256."""
    sum_ = _sum(file)
    about = tarfile.TarInfo(name)
    about.size, about.mode = file.tell(), 0o600
    file.seek(0)
    archive.addfile(about, file)
    return sum_


def _sum(file: IO[bytes]) -> str:
    found = hashlib.sha256()
    while piece := file.read(2**20):
        found.update(piece)
    return found.hexdigest()


def _open(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise NearmissError(f"{name[:100]!r} in the backup is no file; take another backup")
    return file


def _refuse_rows(database: Database) -> None:
    with database.engine.connect() as connection:
        for table in tables_of(connection):
            if connection.execute(select(table).limit(1)).first() is not None:
                raise Conflict(
                    f"the database holds rows already ({table.name}); restore into an empty one:"
                    " name another NEARMISS_HOME or NEARMISS_DATABASE_URL"
                )
