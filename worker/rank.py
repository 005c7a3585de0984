"""One of the processes of a run: `python -m worker.rank JOB_ID TOKEN`, started by torchrun's launcher."""

import logging
import os
import signal
import sys

from sqlalchemy import select

from app.settings import get_settings
from app.store.models import Job
from clipcore.distributed import rank, start
from clipcore.errors import ClipcoreError
from worker.context import JobContext
from worker.fine_tune import train_beside
from worker.job import run
from worker.supervise import EXIT_REPORTED, die_with_parent


def main() -> int:
    """Rank 0 is the job's process as any other; the rest train beside it and say nothing."""
    die_with_parent(signal.SIGKILL)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    job_id, token = int(sys.argv[1]), int(sys.argv[2])
    if int(os.environ["RANK"]) == 0:
        context = JobContext(get_settings(), job_id, token)
        context.start()
        return run(context)
    start()  # waits for rank 0, which brings checkpoint and vectors here before it joins
    assert rank() > 0
    context = JobContext(get_settings(), job_id, token)  # never started: this rank holds nothing
    with context.database.reading() as session:
        job = session.scalars(select(Job).where(Job.id == job_id)).one()
    try:
        train_beside(context, job)
    except ClipcoreError:
        return EXIT_REPORTED  # rank 0 has met the same and says so
    return 0


if __name__ == "__main__":
    sys.exit(main())
