"""The export: a snapshot of the present state, its files in one zip in the media store."""

import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.export_snapshot import export_snapshot
from app.actions.take_snapshot import take_snapshot
from app.jobs.view import exported
from app.store.models import Job, Snapshot
from worker.context import JobContext

REPORT_EVERY = 100  # pairs


def export_data_set(context: JobContext, job: Job) -> Callable[[Session], None]:
    """Writes `request["format"]`; archives of earlier exports of the data set are deleted at the end."""
    assert job.data_set_id is not None
    snapshots: list[Snapshot] = []
    data_set_id, format = job.data_set_id, str(job.request["format"])
    context.database_write(lambda s: snapshots.append(take_snapshot(s, data_set_id=data_set_id)))
    snapshot, began = snapshots[-1], time.monotonic()

    def tell(num: int, total: int) -> None:
        if num % REPORT_EVERY == 0 or num == total:
            context.progress(num, total, "pairs", num / max(time.monotonic() - began, 1e-9))
            context.check()

    key, name = f"exports/{job.id}.zip", f"{format}-{snapshot.hash[:12]}"
    with tempfile.TemporaryDirectory(prefix="export-", dir=context.settings.home) as place:
        with context.database.reading() as session:
            done = export_snapshot(
                session,
                store=context.media,
                snapshot=snapshot,
                folder=Path(place) / "files",
                format=format,  # type: ignore[arg-type]  # checked there
                tell=tell,
            )
        archive = _zipped(done.folder, Path(place) / "archive.zip", name, context.check)
        size = archive.stat().st_size
        context.media.move_at(key, archive)
    about: dict[str, int | str] = {
        "pairs": done.num_pairs,
        "verdicts": done.num_verdicts,
        "pairs_without_picture": done.num_lost,
    }
    about |= {"format": format, "snapshot": snapshot.hash, "num_bytes": size}
    context.report("exported", {"key": key, "name": f"{name}.zip", **about})
    return lambda session: _forget_earlier(session, context, job)


def _zipped(folder: Path, target: Path, name: str, check: Callable[[], None]) -> Path:
    """Stored without compression, since pictures do not shrink; each file is deleted once it is in."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            check()
            archive.write(path, f"{name}/{path.relative_to(folder).as_posix()}")
            path.unlink()
    return target


def _forget_earlier(session: Session, context: JobContext, job: Job) -> None:
    """An archive is large and can be made again."""
    earlier = select(Job).where(Job.data_set_id == job.data_set_id, Job.kind == "export", Job.id < job.id)
    for one in session.scalars(earlier):
        if found := exported(session, one):
            context.media.delete(found["key"])
