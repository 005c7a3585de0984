"""A job's own process: `python -m worker.job QUEUE` reads "JOB_ID TOKEN" from its input, works, reports, ends.

One of the gpu queue imports torch while it waits, so that a spare one begins at once. Most jobs of the cpu queue need none
of it, and importing it made up most of a short export.
"""

import errno
import logging
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.jobs import lease
from app.jobs.expire import crashed
from app.logs import begin_logs
from app.logs import job_id as job_in_logs
from app.settings import Settings, get_settings
from app.store.database import Database
from app.store.models import Job
from app.store.schema import why_no_answer
from clipcore.errors import ClipcoreError, DiskFull
from worker.context import JobContext, Stopped
from worker.shortage import is_out_of_memory, no_room, remedy
from worker.supervise import EXIT_REPORTED

log = logging.getLogger(__name__)
Row = TypeVar("Row")
Work = Callable[[JobContext, Job], Callable[[Session], None]]
"""Does the work and returns what writes its results, in the same transaction that finishes the job."""


def main() -> int:
    """The process's exit code: 0 whenever the row says how the job ended."""
    begin_logs(get_settings())
    if sys.argv[1:] == ["gpu"]:
        import worker.fine_tune  # noqa: F401  warmed up before the job is known

    line = sys.stdin.readline().split()
    if len(line) != 2:
        return 0  # the worker went away and gave no job
    job_id, token = int(line[0]), int(line[1])
    job_in_logs.set(f"job-{job_id}")
    processes = _processes(get_settings(), job_id)
    if processes > 1:
        from worker.together import train_together

        return train_together(job_id, token, processes)
    context = JobContext(get_settings(), job_id, token)
    context.start()
    return run(context)


def _processes(settings: Settings, job_id: int) -> int:
    database = Database(settings)
    request = _read(database, lambda session: session.scalar(select(Job.request).where(Job.id == job_id)))
    database.close()
    return int((request or {}).get("processes") or 1)


def _read(database: Database, look: Callable[[Session], Row]) -> Row:
    """What `look` finds; a database that is away is waited for."""
    while True:
        try:
            with database.reading() as session:
                return look(session)
        except DBAPIError as error:
            log.warning("the database is away, waiting to begin: %s", error)
            time.sleep(1)


def run(context: JobContext) -> int:
    """Works and writes the end of the job."""
    mine = select(Job).where(Job.id == context.job_id)
    job = _read(context.database, lambda session: session.scalars(mine).one())
    job_id, token = context.job_id, context.token
    try:
        results = work_of(job.kind)(context, job)
    except Stopped as stopped:
        endings = {"cancel": lease.cancelled, "pause": lease.paused, "stop": lease.release}
        ending = endings[stopped.reason]
        context.end(lambda session: ending(session, job_id, token=token))
        return 0
    except DiskFull as full:
        reason = str(full)
        context.end(lambda session: lease.paused(session, job_id, token=token, reason=reason))
        return 0
    except (NearmissError, ClipcoreError) as error:
        reason = str(error)
        context.end(lambda session: lease.fail(session, job_id, token=token, reason=reason))
        return EXIT_REPORTED
    except DBAPIError as error:  # reading or writing for itself, not in a heartbeat, which waits
        what = why_no_answer(context.database.engine)
        log.warning("%s: %s", what, error)
        context.end(lambda session: crashed(session, job_id, token=token, what=what))
        return EXIT_REPORTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = no_room(error, context.settings.home)
        context.end(lambda session: lease.paused(session, job_id, token=token, reason=reason))
        return 0
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = f"out of memory: {remedy(context, job)}"
        context.end(lambda session: lease.fail(session, job_id, token=token, reason=reason))
        return EXIT_REPORTED

    def finish(session: Session) -> None:
        results(session)
        lease.finish(session, job_id, token=token, note=context.note)

    context.end(finish)
    return 0


def work_of(kind: str) -> Work:
    """The function for a kind of job."""
    if kind == "import":
        from worker.import_rows import import_rows

        return import_rows
    if kind == "export":
        from worker.export import export_data_set

        return export_data_set
    if kind == "map":
        from worker.map import make_map

        return make_map
    if kind == "mine":
        from worker.mine import mine_data_set

        return mine_data_set
    if kind == "rank":
        from worker.rank_suggestions import rank_suggestions

        return rank_suggestions
    if kind == "fine_tune":
        from worker.fine_tune import run_fine_tune

        return run_fine_tune
    if kind == "measure":
        from worker.measure import measure_run

        return measure_run
    if kind == "push":
        from worker.push import push_checkpoint

        return push_checkpoint
    raise NearmissError(f"this worker knows no job of kind {kind!r}; update it")


if __name__ == "__main__":
    sys.exit(main())
