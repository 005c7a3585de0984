"""The import: rows from a source, pictures checked and shrunk in a pool of processes, rows added in batches.

Rows are known by their key, so an import that was killed and begins again adds nothing twice.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import demo
from app.actions.add_model import add_model
from app.actions.add_rows import NewRow, add_rows
from app.actions.start_mining import start_mining
from app.errors import NearmissError
from app.media.pictures import Picture, check_picture, keep_picture
from app.media.store import MediaStore
from app.sources.open_source import open_source
from app.sources.rows import Rejected, Row
from app.store.models import DataSet, Job, Model
from app.store.text import clean
from worker.context import JobContext

BATCH = 500
REPORTED = 20  # rejected rows quoted in an event; all of them go to the report


def import_rows(context: JobContext, job: Job) -> Callable[[Session], None]:
    """Imports `request["source"]` into the data set; a report lists what was refused and why."""
    data_set_id, source = int(job.request["data_set_id"]), str(job.request["source"])
    rows, total = open_source(source)
    rejected: list[str] = []
    num_rows = 0
    url = context.settings.resolved_media_url
    with ProcessPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for batch in _batches(rows):
            context.check()
            new = list(_checked(pool, url, batch, rejected))
            if new:
                context.database_write(partial(add_rows, data_set_id=data_set_id, rows=new))
            num_rows += len(batch)
            context.progress(num_rows, max(total or 0, num_rows), "rows")
    if num_rows == len(rejected):
        first = rejected[0] if rejected else "it holds no pictures with captions"
        raise NearmissError(f"nothing could be imported from {source!r}: {first}")
    if rejected:
        key = context.media.put("\n".join(rejected).encode(), kind="reports", suffix=".txt")
        body = {"num": len(rejected), "examples": rejected[:REPORTED], "report_key": key}
        context.report("rejected", body)
    return lambda session: _after_import(session, data_set_id, source, job.created_by)


def _batches(rows: Iterator[Row | Rejected]) -> Iterator[list[Row | Rejected]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def _checked(
    pool: ProcessPoolExecutor, media_url: str, batch: list[Row | Rejected], rejected: list[str]
) -> Iterator[NewRow]:
    rows = [row for row in batch if isinstance(row, Row)]
    rejected += [_sayable(f"{row.where}: {row.reason}") for row in batch if isinstance(row, Rejected)]
    for row, found in zip(rows, pool.map(_keep, rows, [media_url] * len(rows), chunksize=16), strict=True):
        try:
            if isinstance(found, str):
                raise NearmissError(found)
            clean(row.key, what="picture's name", limit=4096)
            text = clean(row.caption, what="caption")
            yield NewRow(row.key, found.sha256, found.width, found.height, text, row.split)
        except NearmissError as error:
            rejected.append(_sayable(f"{row.where or row.key}: {error}"))


def _sayable(text: str) -> str:
    """File names and columns may hold half a surrogate pair, which no report and no database takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _keep(row: Row, media_url: str) -> Picture | str:
    """In a pool's process: checks the picture and keeps it with its thumbnails; a sentence when it cannot."""
    try:
        data = row.image if isinstance(row.image, bytes) else row.image.read_bytes()
        picture = check_picture(data)
        keep_picture(MediaStore(media_url), picture)
        return Picture(b"", picture.sha256, picture.width, picture.height, {})
    except NearmissError as error:
        return str(error)
    except OSError as error:
        return f"the picture cannot be read ({error.strerror or error}); check the path"


def _after_import(session: Session, data_set_id: int, source: str, person: str) -> None:
    """The demo brings its attribution and base model; suggestions are looked for when there is a model."""
    if source == "demo":
        values = {"attribution": demo.ATTRIBUTION, "licence": demo.LICENCE}
        session.execute(update(DataSet).where(DataSet.id == data_set_id).values(values))
        add_model(session, name="openmoji-tiny", location="demo:openmoji-tiny", licence=demo.LICENCE)
    model_id = session.scalar(select(Model.id).order_by(Model.id).limit(1))
    if model_id is not None:
        start_mining(session, data_set_id=data_set_id, model_id=model_id, person=person)
