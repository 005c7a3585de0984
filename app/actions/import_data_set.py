"""Begin an import: the data set's row and the job that fills it."""

from pathlib import Path
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound
from app.jobs.enqueue import enqueue
from app.store.models import DataSet, Job
from app.store.text import clean

SourceKind = Literal["path", "demo"]


def import_data_set(
    session: Session, *, name: str, source: str, kind: SourceKind | None = None, person: str = ""
) -> Job:
    """The queued import of a folder or file on this machine, or of the demo. Its data set exists at once.

    Raises NotFound where there is no such path, Conflict where the name is taken.
    """
    name, source = clean(name, what="name", limit=200), clean(source, what="source")
    chosen: SourceKind = kind or ("demo" if source == "demo" else "path")
    if chosen == "path" and not source.startswith("hf:") and not Path(source).expanduser().exists():
        raise NotFound(f"there is no folder or file {source!r} on the server; check the path")
    if session.scalar(select(DataSet.id).where(DataSet.name == name)) is not None:
        raise Conflict(f"a data set named {name!r} exists already; choose another name")
    data_set = DataSet(name=name, source=source)
    session.add(data_set)
    session.flush()
    request = {"data_set_id": data_set.id, "source": source, "kind": chosen}
    return enqueue(session, kind="import", data_set_id=data_set.id, request=request, person=person)
