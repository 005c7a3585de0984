"""Search by meaning through the search worker; by words where no worker answers."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import select

from app.api.access import Db, Id
from app.errors import Unavailable
from app.jobs.presence import num_connected
from app.jobs.send import ask_search
from app.jobs.waiting import no_worker
from app.store.database import Database
from app.store.models import Embedding
from app.store.reads.data_sets import get_data_set
from app.store.reads.pairs import PairItem, page_of_pairs, pairs_of_images

router = APIRouter(prefix="/api/data-sets")


@dataclass(frozen=True)
class Found(PairItem):
    """A pair with its cosine to the query."""

    score: float


@dataclass(frozen=True)
class Results:
    """`note` says, in a sentence, why the search was by words."""

    items: list[dict[str, Any]]
    next: int | None
    note: str | None


@router.get("/{data_set_id}/search")
def search(
    data_set_id: Id,
    database: Db,
    q: Annotated[str, Query(min_length=1, max_length=200)],
    limit: Annotated[int, Query(ge=1, le=200)] = 60,
) -> Results:
    """Pairs whose image fits `q`, the best first."""
    try:
        scores = _by_meaning(database, data_set_id, q, limit)
    except Unavailable as error:
        return _by_words(database, data_set_id, q, limit, note=str(error))
    with database.reading() as session:
        pairs = pairs_of_images(session, list(scores))
    found = [Found(**asdict(pair), score=scores[pair.image_id]) for pair in pairs]
    return Results(items=[asdict(pair) for pair in found], next=None, note=None)


def _by_meaning(database: Database, data_set_id: int, text: str, limit: int) -> dict[int, float]:
    """Image id → cosine, the best first."""
    with database.reading() as session:
        get_data_set(session, data_set_id)
        newest = select(Embedding.model_id).where(Embedding.data_set_id == data_set_id)
        model_id = session.scalar(newest.order_by(Embedding.id.desc()).limit(1))
        if num_connected(session, "search") == 0:
            raise Unavailable(f"{no_worker('search')}; these results are by words")
    if model_id is None:
        raise Unavailable(
            "the data set has no embeddings yet; find suggestions first; these results are by words"
        )
    request = {"data_set_id": data_set_id, "text": text, "k": limit}
    answer = ask_search(database.settings, request)
    return dict(zip(answer["image_ids"], answer["scores"], strict=True))


def _by_words(database: Database, data_set_id: int, words: str, limit: int, *, note: str) -> Results:
    with database.reading() as session:
        page = page_of_pairs(session, data_set_id, words=words, limit=limit)
    return Results(items=[asdict(pair) for pair in page.items], next=None, note=note)
