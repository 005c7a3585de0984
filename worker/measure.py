"""The first steps of a run that nobody has started, in this process of their own: the memory that they take.

Two steps, because the optimiser's moments exist from the second one on. Nothing is evaluated and nothing is kept.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from app.store.models import Job, Run
from clipcore.config import EvaluationConfig
from clipcore.events import Preparing, StepDone
from clipcore.finetune import fine_tune
from worker.context import JobContext
from worker.embed import Results
from worker.fine_tune import Work, work_of_run
from worker.shortage import is_out_of_memory
from worker.took import memory_limit_bytes, peak_memory_bytes

STEPS = 2


def measure_run(context: JobContext, job: Job) -> Results:
    """Reports `measured`; the sentence becomes the job's reason."""
    with context.database.reading() as session:
        run = Run(
            id=0,
            data_set_id=job.data_set_id,
            snapshot_id=job.request["snapshot_id"],
            model_id=job.request["model_id"],
            config_yaml=job.request["config_yaml"],
        )
        work = work_of_run(context, session, run)
    try:
        step_s = _take_steps(context, work)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        step_s = None
    peak, limit = peak_memory_bytes(), memory_limit_bytes()
    fits = step_s is not None and peak <= limit
    said = f"one step takes {step_s or 0:.2f} s and {peak / 1e9:.1f} GB of the worker's {limit / 1e9:.1f} GB"
    if not fits:
        said = f"a step does not fit into the worker's {limit / 1e9:.1f} GB"
    body = {"memory_bytes": peak, "limit_bytes": limit, "step_s": step_s, "fits": fits}
    context.report("measured", body)

    context.note = said
    return lambda session: None


def _take_steps(context: JobContext, work: Work) -> float:
    """Seconds of the last of them."""
    config = replace(work.config, max_steps=STEPS, epochs=STEPS, evaluation=EvaluationConfig(previews=0))
    data = replace(work.data, held_out=[])
    before, took = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        for event in fine_tune(config, data, work.labels, folder=Path(folder)):
            context.check()
            if isinstance(event, Preparing):
                context.progress(event.done, event.total, "items")
            if isinstance(event, StepDone):
                before, took = time.monotonic(), time.monotonic() - before
                context.progress(event.step, STEPS, "step")
                if event.step == STEPS:
                    break
    return took
