"""Erasing a picture or a text for good (the server's admins: it goes in every data set), and what a run takes on the disk."""

from fastapi import APIRouter

from app.actions.collect_garbage import RunDisk, disk_of_run
from app.actions.erase import Erased, erase_caption, erase_image
from app.api.access import SERVER_ADMIN, Db, Id

router = APIRouter(prefix="/api")


@router.post("/images/{image_id}/erase", dependencies=[SERVER_ADMIN])
def image(image_id: Id, database: Db) -> Erased:
    """The picture's bytes go, in every data set that holds them. There is no undo."""
    with database.transaction() as session:
        return erase_image(session, image_id=image_id)


@router.post("/captions/{caption_id}/erase", dependencies=[SERVER_ADMIN])
def caption(caption_id: Id, database: Db) -> Erased:
    """The text goes, in every data set and snapshot that holds it. There is no undo."""
    with database.transaction() as session:
        return erase_caption(session, caption_id=caption_id)


@router.get("/runs/{run_id}/disk")
def disk(run_id: Id, database: Db) -> RunDisk:
    """What a run's checkpoints, result and folder take, in bytes."""
    with database.reading() as session:
        return disk_of_run(session, run_id)
