"""A job's own process: `python -m worker.job` reads "JOB_ID TOKEN" from its input, works, reports, ends.

It imports torch while it waits, so that a spare one begins at once.
"""

import sys
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.jobs import lease
from app.logs import begin_logs, job_id
from app.settings import get_settings
from app.store.models import Job
from clipcore.errors import ClipcoreError
from worker.context import JobContext, Stopped
from worker.supervise import EXIT_REPORTED

Work = Callable[[JobContext, Job], Callable[[Session], None]]
"""Does the work and returns what writes its results, in the same transaction that finishes the job."""


def main() -> int:
    """The process's exit code: 0 whenever the row says how the job ended."""
    settings = get_settings()
    begin_logs(settings)
    import torch  # noqa: F401  warmed up before the job is known

    import worker.fine_tune  # noqa: F401

    line = sys.stdin.readline().split()
    if len(line) != 2:
        return 0  # the worker went away and gave no job
    job_id.set(f"job-{int(line[0])}")
    context = JobContext(settings, int(line[0]), int(line[1]))
    context.start()
    return run(context)


def run(context: JobContext) -> int:
    """Works and writes the end of the job."""
    with context.database.reading() as session:
        job = session.scalars(select(Job).where(Job.id == context.job_id)).one()
    job_id, token = context.job_id, context.token
    try:
        results = work_of(job.kind)(context, job)
    except Stopped as stopped:
        endings = {"cancel": lease.cancelled, "pause": lease.paused, "stop": lease.release}
        ending = endings[stopped.reason]
        context.end(lambda session: ending(session, job_id, token=token))
        return 0
    except (NearmissError, ClipcoreError) as error:
        reason = str(error)
        context.end(lambda session: lease.fail(session, job_id, token=token, reason=reason))
        return EXIT_REPORTED
    except MemoryError:
        context.end(
            lambda s: lease.fail(s, job_id, token=token, reason="out of memory: choose a smaller micro-batch")
        )
        return EXIT_REPORTED

    def finish(session: Session) -> None:
        results(session)
        lease.finish(session, job_id, token=token)

    context.end(finish)
    return 0


def work_of(kind: str) -> Work:
    """The function for a kind of job."""
    if kind == "import":
        from worker.import_rows import import_rows

        return import_rows
    if kind == "mine":
        from worker.mine import mine_data_set

        return mine_data_set
    if kind == "fine_tune":
        from worker.fine_tune import run_fine_tune

        return run_fine_tune
    raise NearmissError(f"this worker knows no job of kind {kind!r}; update it")


if __name__ == "__main__":
    sys.exit(main())
