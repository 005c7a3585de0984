"""The import: rows from a source, pictures checked and shrunk in limited processes, rows added in batches.

Rows are known by their key, so an import that was killed and begins again adds nothing twice, and pictures that are
kept already are not decoded again. A re-import also takes over what changed and retires what vanished.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import demo
from app.actions.add_model import add_model
from app.actions.add_rows import NewRow, Place, add_rows, places_of, renew_rows
from app.actions.import_data_set import place_of, uploads_of
from app.actions.retire_pairs import image_ids_of, retire_page
from app.actions.start_mining import start_mining
from app.counted import counted
from app.errors import NearmissError
from app.media.decoders import Decoders
from app.media.pictures import keep_file
from app.media.uploads import PREFIX as UPLOAD
from app.sources.open_source import open_source
from app.sources.rows import Rejected, Row
from app.sources.vectors import is_vectors_folder, open_vectors
from app.store.models import DataSet, Job, Model
from app.store.text import clean
from app.store.words import index_words
from worker.context import JobContext
from worker.embed import forget_images
from worker.kept_vectors import Places, keep_vectors
from worker.rejected import RejectedRows

BATCH = 2_000  # rows a transaction
REPORT_EVERY = 100  # rows
BATCH_S = 4.0  # and no row waits longer for its own
Found = tuple[str, int, int] | str


@dataclass
class Import:
    """One import under way."""

    context: JobContext
    data_set_id: int
    again: bool
    rejected: RejectedRows = field(default_factory=RejectedRows)
    places: Places | None = None  # where rows with embeddings came to stand
    seen: set[int] = field(default_factory=set)  # ids of pairs, for a re-import
    changed: set[int] = field(default_factory=set)  # ids of images with other bytes
    unreadable: set[str] = field(default_factory=set)  # pictures that are named and cannot be read now
    num_unread: int = 0  # parts of the source that could not be read
    num_rows: int = 0


def import_rows(context: JobContext, job: Job) -> Callable[[Session], None]:
    """Imports `request["source"]` into the data set; a report lists what was refused and why."""
    request = job.request
    with context.database.reading() as session:
        source, roots = place_of(session, str(request["source"]), trusted=bool(request.get("trusted")))
    vectors = open_vectors(Path(source)) if is_vectors_folder(Path(source)) else None
    with _disk():
        rows, total = open_source(source, columns=request.get("columns"), roots=roots)
    work = Import(context, int(request["data_set_id"]), bool(request.get("again")))
    work.places = Places() if vectors is not None else None
    keep = partial(
        keep_file,
        media_url=context.settings.resolved_media_url,
        refer=request.get("originals") == "referenced",
    )
    with Decoders[Path | bytes, Found](keep) as decoders, _disk():
        _add_all(work, _checked(decoders, rows, work), total)
    if work.num_rows == work.rejected.num:
        first = work.rejected.examples[0] if work.rejected.num else "it holds no pictures with captions"
        raise NearmissError(f"nothing could be imported from {request['source']!r}: {first}")
    if work.rejected.num:
        context.report("rejected", work.rejected.keep(context.media))
    if work.again:
        _retire(work)
    _index_words(context)
    if vectors is not None and work.places is not None:
        model_id: int | None = keep_vectors(
            context, work.data_set_id, vectors, work.places, request.get("model_id")
        )
    else:
        model_id = request.get("model_id")
    return lambda session: _after_import(session, context, request, model_id, job.created_by)


@contextmanager
def _disk() -> Iterator[None]:
    """A disk that does not give the source becomes a sentence."""
    try:
        yield
    except OSError as error:
        raise NearmissError(
            f"the source cannot be read on ({error.strerror or error}); check the disk and resume the import"
        ) from None


def _add_all(work: Import, rows: Iterator[tuple[NewRow, int | None] | None], total: int | None) -> None:
    """Writes batches of the rows that were found good; None stands for a row that was refused."""
    batch: list[tuple[NewRow, int | None]] = []
    began = written = time.monotonic()
    with ThreadPoolExecutor(1, "writer") as writer:  # pictures are decoded on while a batch is written
        writing: Future[None] | None = None
        for row in rows:
            work.num_rows += 1
            if row is not None:
                batch.append(row)
            now = time.monotonic()
            if len(batch) >= BATCH or (now - written > BATCH_S and work.num_rows % 50 == 0):
                if writing is not None:
                    writing.result()
                writing, batch, written = writer.submit(_add, work, batch), [], now
            if work.num_rows % REPORT_EVERY == 0:
                rate = work.num_rows / max(now - began, 1e-9)
                about = max(total, work.num_rows) if total else 0  # 0: not known
                work.context.progress(work.num_rows, about, "rows", rate)
                work.context.check()
        if writing is not None:
            writing.result()
    _add(work, batch)
    work.context.progress(work.num_rows, work.num_rows, "rows")
    work.context.check()


def _add(work: Import, batch: list[tuple[NewRow, int | None]]) -> None:
    if not batch:
        return
    work.context.media.flush()  # pictures are safe before the rows that name them
    found: list[Any] = []
    work.context.database_write(
        lambda session: found.append(_write(session, work, [row for row, _ in batch]))
    )
    places, image_ids = found[-1]
    work.changed |= set(image_ids)
    work.seen |= {place.pair_id for place in places}
    if work.places is not None:
        work.places.add([(batch[p.n][1], p.image_id, p.caption_id) for p in places])


def _write(session: Session, work: Import, rows: list[NewRow]) -> tuple[list[Place], list[int]]:
    add_rows(session, data_set_id=work.data_set_id, rows=rows)
    image_ids = renew_rows(session, data_set_id=work.data_set_id).image_ids if work.again else []
    if image_ids:
        forget_images(session, work.context.media, work.data_set_id, image_ids)
    wanted = work.again or work.places is not None
    return (places_of(session, data_set_id=work.data_set_id) if wanted else []), image_ids


def _checked(
    decoders: Decoders[Path | bytes, Found], rows: Iterator[Row | Rejected], work: Import
) -> Iterator[tuple[NewRow, int | None] | None]:
    """Each row with its picture decoded; rows of one picture that follow each other share the decoding."""
    waiting: deque[list[Row]] = deque()
    refused: deque[Rejected] = deque()
    for _, found in decoders.map(_pictures(rows, waiting, refused)):
        yield from _refused(refused, work)
        for row in waiting.popleft():
            yield _new_row(row, found, work)
    yield from _refused(refused, work)


def _pictures(
    rows: Iterator[Row | Rejected], waiting: deque[list[Row]], refused: deque[Rejected]
) -> Iterator[Path | bytes]:
    group: list[Row] = []
    for row in chain(rows, [None]):
        if isinstance(row, Rejected):
            refused.append(row)
            continue
        if group and row is not None and row.key == group[0].key and row.image == group[0].image:
            group.append(row)
            continue
        if group:
            waiting.append(group)
            yield group[0].image
        group = [row] if row is not None else []


def _refused(refused: deque[Rejected], work: Import) -> Iterator[None]:
    while refused:
        row = refused.popleft()
        work.rejected.add(row.where, row.reason)
        work.num_unread += row.unread
        if work.again and row.key:
            work.unreadable.add(row.key)
        yield None


def _new_row(row: Row, found: Found, work: Import) -> tuple[NewRow, int | None] | None:
    try:
        if isinstance(found, str):
            if work.again:
                work.unreadable.add(row.key)
            raise NearmissError(found)
        clean(row.key, what="picture's name", limit=4096)
        text = clean(row.caption, what="caption")
    except NearmissError as error:
        work.rejected.add(row.where or row.key, str(error))
        return None
    return NewRow(row.key, *found, text, row.split), row.place


def _index_words(context: JobContext) -> None:
    """After the rows, so that they never wait for it; what comes later is taken in by the reconciler."""
    num = [1]
    while num[-1]:
        context.database_write(lambda session: num.append(index_words(session)))
        context.check()


def _retire(work: Import) -> None:
    """What the source certainly no longer has: not what could not be read just now."""
    if work.num_unread:
        said = f"{counted(work.num_unread, 'part')} of the source could not be read, so nothing was retired; mend them and import again"
        work.context.report("log", {"text": said})
        work.context.note = said
        return
    with work.context.database.reading() as session:
        kept = image_ids_of(session, data_set_id=work.data_set_id, keys=work.unreadable)
    pages: list[tuple[int | None, int]] = [(0, 0)]
    retire = partial(retire_page, data_set_id=work.data_set_id, seen=work.seen, keep_images=kept)
    while (after := pages[-1][0]) is not None:
        work.context.database_write(lambda s, after=after: pages.append(retire(s, after=after)))  # type: ignore[misc]
    num_retired = sum(num for _, num in pages)
    said = f"{counted(num_retired, 'pair is', 'pairs are')} no longer in the source and retired"
    work.context.report("log", {"text": f"{said}; {counted(len(work.changed), 'picture')} changed"})


def _after_import(
    session: Session, context: JobContext, request: dict[str, Any], model_id: int | None, person: str
) -> None:
    """The demo brings its attribution and base model; suggestions are looked for when there is a model."""
    data_set_id, source = int(request["data_set_id"]), str(request["source"])
    if source == "demo":
        values = {"attribution": demo.ATTRIBUTION, "licence": demo.LICENCE}
        session.execute(update(DataSet).where(DataSet.id == data_set_id).values(values))
        add_model(session, name="openmoji-tiny", location="demo:openmoji-tiny", licence=demo.LICENCE)
    if source.startswith(UPLOAD):
        uploads_of(context.settings).delete(source.removeprefix(UPLOAD))
    with_towers = select(Model.id).where(~Model.location.startswith("vectors:")).order_by(Model.id).limit(1)
    model_id = model_id or session.scalar(with_towers)
    if model_id is not None:
        start_mining(session, data_set_id=data_set_id, model_id=model_id, person=person)
