"""The watched queries of a data set, and which held-out captions would be worth watching."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.store.models import Caption, Pair, Probe, Suggestion, Verdict

Pick = Literal["worst", "disputed", "random"]


@dataclass(frozen=True)
class WatchedProbe:
    """A query: a text or an image."""

    id: int
    text: str | None
    image_id: int | None


def watched_probes(session: Session, data_set_id: int) -> list[WatchedProbe]:
    """In the order in which they were added."""
    rows = session.scalars(select(Probe).where(Probe.data_set_id == data_set_id).order_by(Probe.id))
    return [WatchedProbe(probe.id, probe.text, probe.image_id) for probe in rows]


def texts_to_watch(session: Session, data_set_id: int, *, pick: Pick, limit: int) -> list[str]:
    """Texts of held-out captions that are not watched yet.

    worst: the model ranks most above their own image; disputed: people answered differently, then those about which
    the proposal is least sure; random: any.
    """
    texts: list[str] = []
    for query in _queries(data_set_id, pick):
        known = select(Probe.text).where(Probe.data_set_id == data_set_id, Probe.text.is_not(None))
        rows = session.scalars(query.where(Caption.text.not_in(known)).limit(limit * 4))
        texts = list(dict.fromkeys([*texts, *rows]))[:limit]
        if len(texts) == limit:
            break
    return texts


def _queries(data_set_id: int, pick: Pick) -> list[Select[str]]:
    held_out = (
        select(Pair.id)
        .where(Pair.caption_id == Caption.id, Pair.split == "held_out", Pair.retired_at.is_(None))
        .exists()
    )
    texts = select(Caption.text).where(
        Caption.data_set_id == data_set_id, Caption.erased_at.is_(None), held_out
    )
    if pick == "random":
        return [texts.order_by(func.random())]
    suggested = texts.join(Suggestion, Suggestion.caption_id == Caption.id).group_by(Caption.id, Caption.text)
    if pick == "worst":
        return [suggested.order_by(func.max(Suggestion.impact).desc())]
    answers = func.count(func.distinct(Verdict.answer))
    quarrel = (
        select(Verdict.caption_id)
        .where(Verdict.data_set_id == data_set_id, Verdict.answer.is_not(None))
        .group_by(Verdict.image_id, Verdict.caption_id)
        .having(answers > 1)
    )
    return [texts.where(Caption.id.in_(quarrel)), suggested.order_by(func.max(Suggestion.uncertainty).desc())]
