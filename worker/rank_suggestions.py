"""Live ranking as a job: the verdicts so far refit the proposal, and the open suggestions get new places."""

from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.actions.bulk_accept import is_sampling
from app.store.models import CurrentVerdict, Job, Suggestion
from clipcore.mining.refit import Ranking, refit
from clipcore.mining.signals import SIGNALS
from worker.context import JobContext
from worker.embed import Results

BATCH = 1_000  # rows a transaction: an annotator never waits longer than these take


def rank_suggestions(context: JobContext, job: Job) -> Results:
    """Renews probability, proposal and place of the open suggestions of `request["data_set_id"]`."""
    data_set_id = int(job.request["data_set_id"])
    with context.database.reading() as session:
        waiting = _open(session, data_set_id)
        judged = _judged(session, data_set_id)
        busy = is_sampling(session, data_set_id)
    if busy or not waiting or not judged:
        return lambda session: None
    ranking = refit(
        _table([signals for _, signals in waiting]),
        verdict_VF=_table([row[2] for row in judged]),
        is_match_V=np.array([row[3] == "match" for row in judged]),
        image_V=[row[0] for row in judged],
        caption_V=[row[1] for row in judged],
    )
    rows = _rows([id_ for id_, _ in waiting], ranking)
    for start in range(0, len(rows), BATCH):
        context.database_write(partial(_write, rows=rows[start : start + BATCH]))
        context.progress(min(start + BATCH, len(rows)), len(rows), "suggestions")
        context.check()
    body = {"verdicts": len(judged), "suggestions": len(rows), "learned": ranking.is_refit}
    context.report("ranked", body | {"quality": ranking.quality.as_dict()})
    return lambda session: None


def _open(session: Session, data_set_id: int) -> list[tuple[int, dict[str, float]]]:
    """Open candidates with signals: written negatives and doubted pairs have places of their own."""
    query = select(Suggestion.id, Suggestion.signals, Suggestion.proposed).where(
        Suggestion.data_set_id == data_set_id,
        Suggestion.state == "open",
        Suggestion.proposed != "broken_pair",
    )
    return [(row.id, row.signals) for row in session.execute(query) if _complete(row.signals)]


def _judged(session: Session, data_set_id: int) -> list[tuple[int, int, dict[str, float], str]]:
    """(image, caption, signals, answer) of suggestions with a standing yes or no, by hand or by import."""
    candidate = (Suggestion.image_id == CurrentVerdict.image_id) & (
        Suggestion.caption_id == CurrentVerdict.caption_id
    )
    query = (
        select(CurrentVerdict.image_id, CurrentVerdict.caption_id, Suggestion.signals, CurrentVerdict.answer)
        .join(Suggestion, candidate)
        .where(CurrentVerdict.data_set_id == data_set_id, CurrentVerdict.answer.in_(("match", "no_match")))
        .order_by(Suggestion.id)
    )
    latest = {(row[0], row[1]): row for row in session.execute(query) if _complete(row[2])}
    return [tuple(row) for row in latest.values()]  # type: ignore[misc]


def _complete(signals: dict[str, Any]) -> bool:
    """A written negative has none; a signal newer than the suggestion is 0 below, which says nothing."""
    return bool(signals)


def _table(signals: list[dict[str, float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([[one.get(name, 0.0) for name in SIGNALS] for one in signals], dtype=np.float64)


def _rows(ids: list[int], ranking: Ranking) -> list[dict[str, Any]]:
    columns = zip(ids, ranking.probability, ranking.impact, ranking.proposed, strict=True)
    return [
        {
            "id": id_,
            "probability": round(float(p), 4),
            "impact": round(float(impact), 5),
            "uncertainty": 1.0 - abs(2.0 * round(float(p), 4) - 1.0),
            "proposed": proposed,
        }
        for id_, p, impact, proposed in columns
    ]


def _write(session: Session, *, rows: list[dict[str, Any]]) -> None:
    session.execute(update(Suggestion), rows)  # by primary key
