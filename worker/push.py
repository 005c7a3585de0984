"""A checkpoint to the hub."""

import os
import tempfile
from pathlib import Path

from app.store.models import Job, Model
from app.store.reads.runs import get_run
from clipcore.hub import push
from worker.context import JobContext
from worker.embed import Results


def push_checkpoint(context: JobContext, job: Job) -> Results:
    """Uploads the folder that open_clip loads; the address goes into the job's log."""
    with context.database.reading() as session:
        run, _ = get_run(session, int(job.request["run_id"]))
        base = session.get_one(Model, run.model_id)
    token = context.settings.hub_token.get_secret_value()
    if token:
        os.environ["HF_TOKEN"] = token  # this process does nothing else
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "checkpoint"
        context.media.get_folder(run.checkpoint_key, target)
        context.check()
        address = push(
            target,
            str(job.request["repository"]),
            base=base.location.removeprefix("hf-hub:") if base.location.startswith("hf-hub:") else "",
            licence=base.licence,
            private=bool(job.request.get("private", True)),
        )
    context.report("log", {"text": f"pushed to {address}"})

    context.note = f"pushed to {address}"
    return lambda session: None
