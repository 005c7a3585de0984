"""Memory or disk that ran out, in sentences that say what to do."""

import shutil
from pathlib import Path

from sqlalchemy import select

from app.store.models import Job, Run
from clipcore.config import FineTuneConfig
from worker.context import JobContext

SAID_BY_ALLOCATORS = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is Python's, the processor allocator's or a GPU's way of saying so."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in SAID_BY_ALLOCATORS)


def remedy(context: JobContext, job: Job) -> str:
    """What a person can change: a smaller micro-batch has the same gradient, and then a smaller batch."""
    with context.database.reading() as session:
        run = session.scalar(select(Run).where(Run.job_id == job.id))
        saved = session.scalar(select(Job.done).where(Job.id == job.id))
    if run is None:
        return "free some on this machine, then resume"
    batch = FineTuneConfig.from_yaml(run.config_yaml).batch
    smaller = min(batch.micro_batch, batch.size) // 2
    change = f"batch.micro_batch {smaller}" if smaller >= 1 else "a smaller model"
    if batch.num_resident != 0:
        change += " and batch.num_resident 0"
    return (
        f"it ended at step {saved} and its last checkpoint is kept; start it again with {change},"
        " which changes nothing in the result but its speed"
    )


def no_room(error: OSError, home: Path) -> str:
    """For a write that found the disk full: what is free now."""
    free = shutil.disk_usage(home).free / 1e9
    what = f" for {Path(str(error.filename)).name}" if error.filename else ""
    return (
        f"the disk is full{what}, {free:.1f} GB free: make room, then resume; the last checkpoint is intact"
    )
