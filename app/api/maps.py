"""The map of a data set: whether there is one, its points as binary columns, and what people said about each image."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.actions.start_map import start_map
from app.api.access import MAX_ID, VIEWER, Db, Id, Person
from app.errors import NotFound
from app.jobs.view import JobView, get_job, view_job
from app.media.maps import map_ids
from app.media.store import MediaStore
from app.store.models import ANSWERS, CurrentVerdict, EmbeddingMap, Model
from app.store.reads.data_sets import get_data_set, latest_job
from app.store.reads.explore import Card, cards_of_images
from app.store.reads.filters import Filter

router = APIRouter(prefix="/api/data-sets/{data_set_id}/map")
MOST = 2_000  # images by name


@dataclass(frozen=True)
class MapView:
    """The latest map and the latest job; either may be missing."""

    id: int | None
    num_images: int
    model: str
    created_at: datetime | None
    job: JobView | None


class Lassoed(BaseModel):
    """Images that were chosen on the map."""

    image_ids: list[Annotated[int, Field(ge=1, le=MAX_ID)]] = Field(max_length=MOST)


@router.get("")
def look(data_set_id: Id, database: Db) -> MapView:
    """What there is."""
    with database.reading() as session:
        get_data_set(session, data_set_id)
        found, job = _latest(session, data_set_id), latest_job(session, data_set_id, "map")
        view = view_job(session, job) if job else None
        if found is None:
            return MapView(None, 0, "", None, view)
        return MapView(
            found.id, found.num_images, session.get_one(Model, found.model_id).name, found.created_at, view
        )


@router.post("")
def make(data_set_id: Id, database: Db, person: Person) -> dict[str, JobView]:
    """Have it computed (again): {job}."""
    with database.transaction() as session:
        job_id = start_map(session, data_set_id=data_set_id, person=person).id
    with database.reading() as session:
        return {"job": view_job(session, get_job(session, job_id))}


@router.get("/points")
def points(data_set_id: Id, database: Db) -> Response:
    """The columns of `app.media.maps`, then for each image which answers stand on it (bits in the order of ANSWERS)."""
    with database.reading() as session:
        found = _latest(session, data_set_id)
        if found is None:
            raise NotFound("there is no map of this data set yet; have it made")
        key = found.key
        said = session.execute(
            select(CurrentVerdict.image_id, CurrentVerdict.answer).where(
                CurrentVerdict.data_set_id == data_set_id
            )
        ).all()
    data = MediaStore(database.settings.resolved_media_url).get(key)
    ids = map_ids(data)
    order = np.argsort(ids)
    bits = np.zeros(len(ids), np.uint8)
    if said:
        image_ids = np.array([row.image_id for row in said], np.int64)
        flags = np.array([1 << ANSWERS.index(row.answer) for row in said], np.uint8)
        place = np.searchsorted(ids, image_ids, sorter=order)
        known = place < len(ids)
        at = order[place[known]]
        same = ids[at] == image_ids[known]
        np.bitwise_or.at(bits, at[same], flags[known][same])
    return Response(data + bits.tobytes(), media_type="application/octet-stream")


@router.post("/cards", dependencies=[VIEWER])
def chosen(data_set_id: Id, body: Lassoed, database: Db) -> list[Card]:
    """The first pair of each image that was chosen."""
    with database.reading() as session:
        return cards_of_images(session, data_set_id, Filter(), dict.fromkeys(body.image_ids))


def _latest(session: Session, data_set_id: int) -> EmbeddingMap | None:
    query = select(EmbeddingMap).where(EmbeddingMap.data_set_id == data_set_id)
    return session.scalar(query.order_by(EmbeddingMap.model_id.desc()).limit(1))
