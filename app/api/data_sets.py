"""Data sets, pairs, pictures, imports, mining, models, search."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import func, select

from app.actions.import_data_set import import_data_set
from app.actions.start_mining import start_mining
from app.actions.steer_job import cancel_job, pause_job, resume_job
from app.api.session import Deployment, Reading, Writing
from app.errors import NotFound, Unavailable
from app.jobs.send import ask_search
from app.jobs.waiting import why_waiting
from app.media.pictures import mime_type, original_key, thumbnail_key
from app.media.store import MediaStore
from app.store.models import Event, Image, Job, Model
from app.store.reads import data_sets as sets
from app.store.reads.pairs import page_of_pairs, pair_detail, pairs_of_images

routes = APIRouter(prefix="/api")
FOR_EVER = "private, max-age=31536000, immutable"


class ImportRequest(BaseModel):
    """A folder or file on this machine, or "demo"."""

    name: str
    source: str


class MineRequest(BaseModel):
    """The model to look with."""

    model_id: int


def job_view(session: Any, job: Job | None) -> dict[str, Any] | None:
    """A job for the page."""
    if job is None:
        return None
    left = (job.total - job.done) / job.rate if job.rate and job.total else None
    rejected = session.scalar(
        select(Event)
        .where(Event.job_id == job.id, Event.kind == "rejected")
        .order_by(Event.id.desc())
        .limit(1)
    )
    names = ("id", "kind", "state", "done", "total", "unit", "rate")
    return {name: getattr(job, name) for name in names} | {
        "eta_s": left,
        "reason": job.reason or why_waiting(session, job) or "",
        "num_rejected": rejected.body["num"] if rejected else 0,
    }


@routes.get("/data-sets")
def list_data_sets(session: Reading) -> list[dict[str, Any]]:
    """All data sets with their counts and latest jobs."""
    names = ("id", "name", "num_images", "num_captions", "num_pairs", "attribution", "licence")
    return [
        {name: getattr(row, name) for name in names}
        | {
            "num_verdicts": sum(sets.num_decided(session, row.id).values()),
            "num_open_suggestions": sets.num_open(session, row.id),
            "import_job": job_view(session, sets.latest_job(session, row.id, "import")),
            "mining_job": job_view(session, sets.latest_job(session, row.id, "mine")),
        }
        for row in sets.list_data_sets(session)
    ]


@routes.post("/data-sets")
def create_data_set(body: ImportRequest, session: Writing, settings: Deployment) -> dict[str, Any]:
    """Queues an import."""
    job = import_data_set(session, name=body.name, source=body.source, person=settings.person)
    return {"job": job_view(session, job), "data_set_id": job.data_set_id}


@routes.get("/data-sets/{data_set_id}/pairs")
def list_pairs(
    data_set_id: int, session: Reading, q: str = "", split: str = "", after: int = 0, limit: int = 60
) -> dict[str, Any]:
    """A page of pairs by key."""
    return asdict(page_of_pairs(session, data_set_id, words=q, split=split, after=after, limit=limit))


@routes.get("/pairs/{pair_id}")
def get_pair(pair_id: int, session: Reading) -> dict[str, Any]:
    """A pair with its candidates and history."""
    return asdict(pair_detail(session, pair_id))


@routes.get("/data-sets/{data_set_id}/search")
def search(data_set_id: int, session: Reading, settings: Deployment, q: str = "") -> dict[str, Any]:
    """Pairs whose image is nearest to the text; by words, with a sentence, when no search worker answers."""
    sets.get_data_set(session, data_set_id)
    try:
        found = ask_search(settings, {"data_set_id": data_set_id, "text": q})
    except Unavailable as error:
        page = asdict(page_of_pairs(session, data_set_id, words=q))
        return page | {"next": None, "note": f"{error}; shown are captions with these words"}
    score = dict(zip(found["image_ids"], found["scores"], strict=True))
    items = [asdict(pair) for pair in pairs_of_images(session, found["image_ids"])]
    items = sorted(
        ({**item, "score": score[item["image_id"]]} for item in items), key=lambda item: -item["score"]
    )
    return {"items": items, "next": None, "note": found.get("note")}


@routes.get("/images/{image_id}/{size}")
def get_image(image_id: int, size: str, session: Reading, settings: Deployment) -> Response:
    """A thumbnail (256, 512) or the original; its bytes never change."""
    image = session.get(Image, image_id)
    if image is None or image.erased_at is not None or size not in ("256", "512", "original"):
        raise NotFound(f"there is no image {image_id} of size {size}; sizes are 256, 512 and original")
    store = MediaStore(settings.resolved_media_url)
    original = size == "original"
    data = store.get(original_key(image.sha256) if original else thumbnail_key(image.sha256, px=int(size)))
    kind = mime_type(data) if original else "image/webp"
    return Response(
        data, media_type=kind, headers={"Cache-Control": FOR_EVER, "ETag": f'"{image.sha256}-{size}"'}
    )


@routes.post("/data-sets/{data_set_id}/mine")
def mine(data_set_id: int, body: MineRequest, session: Writing, settings: Deployment) -> dict[str, Any]:
    """Queues a search for suggestions."""
    job = start_mining(session, data_set_id=data_set_id, model_id=body.model_id, person=settings.person)
    return {"job": job_view(session, job)}


@routes.get("/models")
def list_models(session: Reading) -> list[dict[str, Any]]:
    """All models, the oldest first."""
    rows = session.scalars(select(Model).order_by(Model.id))
    return [{"id": m.id, "name": m.name, "licence": m.licence, "run_id": m.run_id} for m in rows]


@routes.get("/jobs/{job_id}")
def get_job(job_id: int, session: Reading) -> dict[str, Any] | None:
    """A job's state and progress."""
    return job_view(session, _job(session, job_id))


@routes.get("/jobs/{job_id}/rejected")
def get_rejected(job_id: int, session: Reading, settings: Deployment) -> Response:
    """Why rows of an import were refused, a line each."""
    last = select(func.max(Event.id)).where(Event.job_id == job_id, Event.kind == "rejected")
    event = session.get(Event, session.scalar(last) or 0)
    if event is None:
        raise NotFound(f"job {job_id} refused no rows")
    return Response(
        MediaStore(settings.resolved_media_url).get(event.body["report_key"]), media_type="text/plain"
    )


@routes.post("/jobs/{job_id}/{verb}")
def steer(job_id: int, verb: str, session: Writing) -> dict[str, Any] | None:
    """Cancel, pause or resume."""
    actions: dict[str, Any] = {"cancel": cancel_job, "pause": pause_job, "resume": resume_job}
    if verb not in actions:
        raise NotFound(f"a job knows no {verb!r}; use cancel, pause or resume")
    return job_view(session, actions[verb](session, job_id=job_id))


def _job(session: Any, job_id: int) -> Job:
    job: Job | None = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}; reload the page")
    return job
