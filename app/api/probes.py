"""The queries that every run of a data set shows before and now."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.actions.add_probe import add_probe
from app.actions.remove_probe import remove_probe
from app.api.access import MAX_ID, Db, Id
from app.errors import NearmissError
from app.store.reads.probes import Pick, WatchedProbe, texts_to_watch, watched_probes

router = APIRouter(prefix="/api/data-sets/{data_set_id}/probes")
MOST = 24  # each costs a search at every preview


class NewProbe(BaseModel):
    """A text or an image; or `pick`, which chooses `num` held-out captions."""

    text: str | None = Field(default=None, max_length=500)
    image_id: int | None = Field(default=None, ge=1, le=MAX_ID)
    pick: Pick | None = None
    num: int = Field(default=3, ge=1, le=12)


@router.get("")
def probes(data_set_id: Id, database: Db) -> list[WatchedProbe]:
    """All of them."""
    with database.reading() as session:
        return watched_probes(session, data_set_id)


@router.post("")
def add(data_set_id: Id, body: NewProbe, database: Db) -> list[WatchedProbe]:
    """All of them, the new ones last; they are shown from the next run on."""
    with database.transaction() as session:
        texts = [body.text] if body.text is not None else []
        if body.pick is not None:
            texts = list(texts_to_watch(session, data_set_id, pick=body.pick, limit=body.num))
            if not texts:
                raise NearmissError("there is no further held-out caption to pick; type a query instead")
        num = len(watched_probes(session, data_set_id))
        if num + max(len(texts), 1) > MOST:
            raise NearmissError(
                f"{num} queries are watched already and {MOST} are the most; remove some first"
            )
        for text in texts:
            add_probe(session, data_set_id=data_set_id, text=text)
        if body.pick is None and (body.image_id is not None or not texts):
            add_probe(session, data_set_id=data_set_id, text=None, image_id=body.image_id)
    return probes(data_set_id, database)


@router.delete("/{probe_id}")
def remove(data_set_id: Id, probe_id: Id, database: Db) -> list[WatchedProbe]:
    """All that are left."""
    with database.transaction() as session:
        remove_probe(session, data_set_id=data_set_id, probe_id=probe_id)
    return probes(data_set_id, database)
