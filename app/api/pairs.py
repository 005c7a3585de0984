"""Browsing: pages of pairs, and one pair."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from app.api.access import MAX_ID, Db, Id
from app.store.reads.pairs import Page, PairDetail, page_of_pairs, pair_detail

router = APIRouter(prefix="/api")


@router.get("/data-sets/{data_set_id}/pairs")
def pairs(
    data_set_id: Id,
    database: Db,
    split: Literal["", "train", "held_out"] = "",
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 60,
) -> Page:
    """A page of pairs; `after`: the `next` of the page before. By words and other filters: `explore`."""
    with database.reading() as session:
        return page_of_pairs(session, data_set_id, split=split, after=after, limit=limit)


@router.get("/pairs/{pair_id}")
def pair(pair_id: Id, database: Db) -> PairDetail:
    """One pair with its candidates in both directions and the history of verdicts."""
    with database.reading() as session:
        return pair_detail(session, pair_id)
