"""Exports: begin one, and download the archive that it wrote."""

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import FileResponse, Response, StreamingResponse

from app.actions.export_snapshot import Format
from app.actions.start_export import start_export
from app.api.access import Db, Id, Person
from app.errors import NotFound
from app.jobs.view import JobView, exported, get_job, view_job
from app.media.store import MediaStore

router = APIRouter(prefix="/api")
CHUNK_BYTES = 1 << 20


class Export(BaseModel):
    """How the archive is to be written."""

    format: Format


@router.post("/data-sets/{data_set_id}/export")
def export(data_set_id: Id, body: Export, database: Db, person: Person) -> dict[str, JobView]:
    """Freeze the present state and write it as an archive: {job}."""
    with database.transaction() as session:
        job_id = start_export(session, data_set_id=data_set_id, format=body.format, person=person).id
    with database.reading() as session:
        return {"job": view_job(session, get_job(session, job_id))}


@router.get("/jobs/{job_id}/export")
def archive(job_id: Id, database: Db) -> Response:
    """The archive of a finished export. The next export of its data set takes its place."""
    with database.reading() as session:
        found = exported(session, get_job(session, job_id))
    store = MediaStore(database.settings.resolved_media_url)
    if not found or not store.exists(found["key"]):
        raise NotFound(f"job {job_id} has no archive, or a later export took its place; export again")
    path = store.local_path(found["key"])
    if path is not None:
        return FileResponse(path, media_type="application/zip", filename=found["name"])
    named = {"Content-Disposition": f'attachment; filename="{found["name"]}"'}
    file = store.open(found["key"])
    return StreamingResponse(
        iter(lambda: file.read(CHUNK_BYTES), b""), media_type="application/zip", headers=named
    )
