"""The export: a snapshot of the present state, its files in one zip in the media store."""

import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.orm import Session

from app.actions.export_snapshot import export_snapshot
from app.actions.forget_archives import forget_archives
from app.actions.take_snapshot import take_snapshot
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
        context.media.put_file_at(key, archive)
    about: dict[str, int | str] = {
        "pairs": done.num_pairs,
        "verdicts": done.num_verdicts,
        "pairs_without_picture": done.num_lost,
    }
    about |= {"format": format, "snapshot": snapshot.hash, "num_bytes": size}
    context.report("exported", {"key": key, "name": f"{name}.zip", **about})
    return lambda session: forget_archives(session, data_set_id=data_set_id, but_job_id=job.id)


def _zipped(folder: Path, target: Path, name: str, check: Callable[[], None]) -> Path:
    """Stored without compression, since pictures do not shrink; each file is deleted once it is in."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            check()
            archive.write(path, f"{name}/{path.relative_to(folder).as_posix()}")
            path.unlink()
    return target
