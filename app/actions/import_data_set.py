"""Begin an import: the data set's row and the job that fills it, or fills it again from a changed source."""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.data_set_quota import check_data_set_quota
from app.actions.import_roots import import_roots
from app.errors import Conflict, NearmissError, NotFound
from app.jobs.enqueue import enqueue
from app.jobs.states import OVER
from app.media.uploads import PREFIX as UPLOAD
from app.media.uploads import Uploads
from app.settings import Settings
from app.store.database import settings_of
from app.store.models import DataSet, Job, Model
from app.store.text import clean

SourceKind = Literal["path", "demo"]
Originals = Literal["copied", "referenced"]
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def import_data_set(
    session: Session,
    *,
    name: str,
    source: str,
    kind: SourceKind | None = None,
    person: str = "",
    columns: Mapping[str, str] | None = None,
    originals: Originals = "copied",
    model_id: int | None = None,
    trusted: bool = False,
) -> Job:
    """The queued import of a folder or file on this machine, of an upload, or of the demo. Its data set exists at once.

    `columns` maps image, caption and split to a table's columns; `originals` are copied or stay where they are;
    `model_id` made the embeddings that the source brings; `trusted`: the operator's command, free of the allowed folders.
    Raises NotFound where there is no such path, Conflict where the name is taken.
    """
    name = clean(name, what="name", limit=200)
    options = _options(session, source, kind, columns, originals, model_id, trusted)
    if session.scalar(select(DataSet.id).where(DataSet.name == name)) is not None:
        raise Conflict(f"a data set named {name!r} exists already; choose another name")
    data_set = DataSet(name=name, source=options["source"])
    session.add(data_set)
    session.flush()
    request = {"data_set_id": data_set.id, **options}
    return enqueue(session, kind="import", data_set_id=data_set.id, request=request, person=person)


def import_again(
    session: Session,
    *,
    data_set_id: int,
    source: str = "",
    person: str = "",
    columns: Mapping[str, str] | None = None,
    trusted: bool = False,
) -> Job:
    """The queued re-import of a changed source (by default the same): adds, updates, and retires what vanished.

    Options that are not given are those of the import before. Raises NotFound, Conflict while an import runs, and
    NearmissError where the data set holds more than it may.
    """
    data_set = session.get(DataSet, data_set_id)
    if data_set is None:
        raise NotFound(f"there is no data set {data_set_id}; reload the page")
    imports = select(Job).where(Job.data_set_id == data_set_id, Job.kind == "import").order_by(Job.id.desc())
    last = session.scalar(imports.limit(1))
    if last is not None and last.state not in OVER:
        raise Conflict("an import of this data set is under way; wait for its end or cancel it")
    check_data_set_quota(session, data_set_id)
    before: dict[str, Any] = dict(last.request) if last is not None else {}
    options = _options(
        session,
        source or data_set.source,
        None,
        columns or before.get("columns"),
        before.get("originals", "copied"),
        before.get("model_id"),
        trusted,
    )
    data_set.source = options["source"]
    request = {"data_set_id": data_set_id, **options, "again": True}
    return enqueue(session, kind="import", data_set_id=data_set_id, request=request, person=person)


def place_of(session: Session, source: str, *, trusted: bool = False) -> tuple[str, list[Path] | None]:
    """(what a reader opens, the folders that its pictures must lie in; None: any). Raises NotFound, NearmissError."""
    if source == "demo":
        return source, None
    if source.startswith("hf:"):
        name = source.removeprefix("hf:")
        if (
            not HUB_NAME.fullmatch(name) or ".." in name or Path(name).exists()
        ):  # else `datasets` reads our disk
            raise NearmissError(f"{name[:200]!r} is no name of the hub; give hf:OWNER/NAME")
        return source, None
    if source.startswith(UPLOAD):
        uploads = uploads_of(settings_of(session))
        upload_id = source.removeprefix(UPLOAD)
        return str(uploads.source(upload_id)), [uploads.folder(upload_id)]
    path = Path(source).expanduser()
    roots = None if trusted else import_roots(session)
    try:
        there, real = path.exists(), path.resolve()
    except (OSError, ValueError, RuntimeError):
        there, real = False, path
    if roots is not None and not any(real.is_relative_to(root) for root in roots):
        raise NearmissError(
            f"{source[:200]!r} lies outside the folders that may be imported; choose one below "
            + ", ".join(map(str, roots))
        )
    if not there:
        raise NotFound(f"there is no folder or file {source[:200]!r} on the server; check the path")
    return str(path), roots


def uploads_of(settings: Settings) -> Uploads:
    """The uploads of this installation, in its home folder."""
    quotas = (int(gb * 1e9) for gb in (settings.upload_gb, settings.upload_person_gb))
    return _uploads(settings.home.resolve() / "uploads", *quotas)


@lru_cache(maxsize=8)
def _uploads(folder: Path, quota_bytes: int, person_quota_bytes: int) -> Uploads:
    return Uploads(
        folder, quota_bytes=quota_bytes, person_quota_bytes=person_quota_bytes
    )  # kept, since it counts what has come


def _options(
    session: Session,
    source: str,
    kind: SourceKind | None,
    columns: Mapping[str, str] | None,
    originals: Originals,
    model_id: int | None,
    trusted: bool,
) -> dict[str, Any]:
    source = clean(source, what="source")
    chosen: SourceKind = kind or ("demo" if source == "demo" else "path")
    if chosen == "path":
        place_of(session, source, trusted=trusted)
    if originals == "referenced" and source.startswith(UPLOAD):
        raise NearmissError("an upload is temporary, so its pictures cannot stay in place; copy them")
    if model_id is not None and session.get(Model, model_id) is None:
        raise NotFound(f"there is no model {model_id}; reload the page")
    options: dict[str, Any] = {"source": source, "kind": chosen, "originals": originals, "trusted": trusted}
    wish = {role: clean(name, what="column") for role, name in (columns or {}).items() if name}
    return options | ({"columns": wish} if wish else {}) | ({"model_id": model_id} if model_id else {})
