"""Search by meaning (words, an image, a picture that is brought) through the search worker; by words where none answers."""

import base64
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from app.api.access import MAX_ID, VIEWER, Db, Id
from app.api.explore import Wish
from app.errors import NearmissError, NotReady, Unavailable
from app.jobs.presence import num_connected
from app.jobs.send import ask_search
from app.jobs.waiting import no_worker
from app.media.pictures import check_query
from app.store.database import Database
from app.store.reads.data_sets import get_data_set
from app.store.reads.embeddings import newest_embedding
from app.store.reads.explore import Card, cards_of_images, page_of_cards
from app.store.reads.filters import Filter

router = APIRouter(prefix="/api/data-sets")
MAX_FOUND = 1_000
MAX_PICTURE_BYTES = 1_000_000


@dataclass(frozen=True)
class Results:
    """Cards with their cosine to the query, the best first. `note` says, in a sentence, why the search was by words.

    `ask_again`: the search worker is there but not ready, so the same question will soon be answered by meaning.
    """

    items: list[Card]
    next: str | None
    note: str | None
    ask_again: bool = False


@router.get("/{data_set_id}/search")
def search(
    data_set_id: Id,
    database: Db,
    wanted: Wish,
    image_id: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_FOUND)] = 60,
) -> Results:
    """Pairs whose image fits the words of `q`, or is like the image `image_id`; the other filters keep what they keep."""
    if image_id is None and not wanted.words:
        raise NearmissError("nothing is asked for; give q (words) or image_id")
    asked: dict[str, Any] = {"image_id": image_id} if image_id is not None else {"text": wanted.words}
    try:
        return _by_meaning(database, data_set_id, wanted, asked, limit)
    except Unavailable as error:
        if image_id is not None:
            raise
        with database.reading() as session:
            page = page_of_cards(session, data_set_id, replace(wanted, show="pairs"), limit=min(limit, 200))
        return Results(page.items, None, f"{error}; these results are by words", isinstance(error, NotReady))


@router.post(
    "/{data_set_id}/search",
    dependencies=[VIEWER],
    openapi_extra={
        "requestBody": {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def search_by_picture(
    data_set_id: Id,
    request: Request,
    database: Db,
    wanted: Wish,
    limit: Annotated[int, Query(ge=1, le=MAX_FOUND)] = 60,
) -> Results:
    """Pairs whose image is like the picture that is sent: PNG, JPEG or WebP, at most 1 MB and 2,048 px a side."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_PICTURE_BYTES:
            raise NearmissError(f"the picture has more than {MAX_PICTURE_BYTES:,} bytes; make it smaller")
    asked = {"picture": base64.b64encode(data).decode()}
    await run_in_threadpool(check_query, data)
    return await run_in_threadpool(_by_meaning, database, data_set_id, wanted, asked, limit)


def _by_meaning(
    database: Database, data_set_id: int, wanted: Filter, asked: dict[str, Any], limit: int
) -> Results:
    """Raises Unavailable, NotFound."""
    with database.reading() as session:
        get_data_set(session, data_set_id)
        with_towers = "image_id" not in asked
        is_embedded = newest_embedding(session, data_set_id, with_towers=with_towers) is not None
        has_vectors = is_embedded or newest_embedding(session, data_set_id) is not None
        if num_connected(session, "search") == 0:
            raise Unavailable(no_worker("search"))
    if has_vectors and not is_embedded:
        raise Unavailable(
            "the data set has only the vectors that came with it, and no model that could read the query;"
            " find suggestions with a model first"
        )
    if not is_embedded:
        raise Unavailable("the data set has no embeddings yet; find suggestions first")
    kept = replace(wanted, show="pairs", words="", person="", min_score=None, max_score=None)
    k = limit if kept == Filter() else MAX_FOUND  # a filter keeps only some of them
    answer = ask_search(database.settings, {"data_set_id": data_set_id, "k": k, **asked})
    scores = dict(zip(answer["image_ids"], answer["scores"], strict=True))
    with database.reading() as session:
        found = cards_of_images(session, data_set_id, kept, scores)
    return Results(found[:limit], None, answer.get("note"))
