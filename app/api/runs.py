"""Runs: the counts before the click, the click, and what the page reads while one goes on."""

import io
import zipfile
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.actions.plan_run import plan_run
from app.actions.start_run import start_run
from app.actions.steer_job import cancel_job, pause_job, resume_job
from app.api.session import Deployment, Reading, Writing
from app.errors import NotFound
from app.jobs.events import read_events
from app.jobs.states import OVER
from app.jobs.waiting import why_waiting
from app.media.store import MediaStore
from app.store.models import Job, Run
from app.store.reads.previews import previews
from app.store.reads.runs import get_run, page_of_runs

routes = APIRouter(prefix="/api")
POLL_MS = 1000
FIELDS = [
    {"path": "epochs", "label": "Epochs"},
    {"path": "batch.size", "label": "Batch size"},
    {"path": "optimiser.lr", "label": "Learning rate"},
    {"path": "labels.match", "label": "A “Yes” becomes", "choices": ["attract", "mask", "soft"]},
    {"path": "labels.no_match_weight", "label": "Weight of a hard negative"},
    {"path": "labels.hard_negatives_per_row", "label": "Hard negatives appended per image"},
    {"path": "seed", "label": "Seed"},
]
PRESETS = [
    (
        "adapter",
        "Quick adapter",
        "One linear map per tower on cached embeddings, merged into the checkpoint. Seconds.",
    ),
    ("full", "Full", "All weights of both towers, through gradient caching. Minutes on a CPU for the demo."),
    ("lora", "LoRA", "Low-rank updates on attention and MLP matrices, merged at the end."),
]


class RunBody(BaseModel):
    """What to train, from where, and how."""

    data_set_id: int
    model_id: int
    preset: str = "adapter"
    overrides: dict[str, Any] = {}
    config_yaml: str | None = None
    request_key: str | None = None


@routes.get("/presets")
def list_presets() -> list[dict[str, Any]]:
    """The presets with the fields that a person most often changes."""
    from clipcore.config import preset

    found = []
    for name, title, what in PRESETS:
        config = asdict(preset(name))
        found.append(
            {"name": name, "title": title, "what": what, "fields": [_filled(f, config) for f in FIELDS]}
        )
    return found


def _filled(field: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    value: Any = config
    for part in field["path"].split("."):
        value = value[part]
    return field | {"value": value}


@routes.post("/runs/preview")
def preview(body: RunBody, session: Reading) -> dict[str, Any]:
    """The counts before the click."""
    return _plan(session, body).report() | {"seconds": _plan(session, body).estimated_s}


def _plan(session: Any, body: RunBody) -> Any:
    return plan_run(session, **body.model_dump(exclude={"request_key"}))


@routes.post("/runs")
def create(body: RunBody, session: Writing, settings: Deployment) -> dict[str, Any]:
    """The click."""
    run = start_run(session, **body.model_dump(), person=settings.person)
    return {"run": {"id": run.id, "name": run.name}}


@routes.get("/runs")
def list_runs(
    session: Reading, data_set_id: int | None = None, before: int | None = None, limit: int = 50
) -> dict[str, Any]:
    """Runs, the newest first."""
    rows = page_of_runs(session, data_set_id=data_set_id, before=before, limit=limit)
    return {"runs": [_row(session, run, job) for run, job in rows]}


def _row(session: Any, run: Run, job: Job) -> dict[str, Any]:
    state = {name: getattr(job, name) for name in ("state", "done", "total", "rate")}
    reason = job.reason or why_waiting(session, job) or ""
    return {"id": run.id, "name": run.name, "preset": run.preset, "reason": reason, "job_id": job.id} | state


@routes.get("/runs/{run_id}")
def get_one(run_id: int, session: Reading) -> dict[str, Any]:
    """A run whole."""
    run, job = get_run(session, run_id)
    return _row(session, run, job) | {
        "config_yaml": run.config_yaml,
        "counts": run.preflight.get("labels", {}),
        "metrics_before": run.metrics_before,
        "metrics_after": run.metrics_after,
        "has_checkpoint": bool(run.checkpoint_key),
        "result_model_id": run.result_model_id,
    }


@routes.get("/runs/{run_id}/events")
def events(run_id: int, session: Reading, after: int = 0, limit: int = 1000) -> dict[str, Any]:
    """What the run reported after an id."""
    _, job = get_run(session, run_id)
    left = (job.total - job.done) / job.rate if job.rate else None
    found = read_events(session, job.id, after=after, limit=min(limit, 2000))
    return {
        "events": [{"id": e.id, "kind": e.kind, "step": e.step, "body": e.body} for e in found],
        "state": job.state,
        "done": job.done,
        "total": job.total,
        "rate": job.rate,
        "eta_s": left,
        "next_poll_ms": POLL_MS * (10 if job.state in OVER else 1),
    }


@routes.get("/runs/{run_id}/previews")
def get_previews(run_id: int, session: Reading) -> dict[str, Any]:
    """The probes before and now."""
    return asdict(previews(session, get_run(session, run_id)[0]))


@routes.get("/runs/{run_id}/checkpoint")
def checkpoint(run_id: int, session: Reading, settings: Deployment) -> Response:
    """The plain open_clip folder as a zip."""
    run, _ = get_run(session, run_id)
    if not run.checkpoint_key:
        raise NotFound(f"run {run_id} has no checkpoint yet; wait until it has finished")
    store, out = MediaStore(settings.resolved_media_url), io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, key in store.manifest(run.checkpoint_key).items():
            archive.writestr(name, store.get(key))
    headers = {"Content-Disposition": f'attachment; filename="run-{run_id}.zip"'}
    return Response(out.getvalue(), media_type="application/zip", headers=headers)


@routes.post("/runs/{run_id}/{verb}")
def steer(run_id: int, verb: str, session: Writing) -> dict[str, Any]:
    """Cancel, pause or resume."""
    actions: dict[str, Any] = {"cancel": cancel_job, "pause": pause_job, "resume": resume_job}
    if verb not in actions:
        raise NotFound(f"a run knows no {verb!r}; use cancel, pause or resume")
    _, job = get_run(session, run_id)
    actions[verb](session, job_id=job.id)
    return {"state": job.state}
