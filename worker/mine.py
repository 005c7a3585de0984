"""Mining as a job: vectors, clipcore.mining, rows. Verdicts so far teach the proposal; decided candidates stay out."""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.add_suggestions import NewSuggestion, add_suggestions, retire_suggestions
from app.store.models import Caption, CurrentVerdict, Image, Job, Model, Pair, Suggestion
from clipcore.mining.mine import SIGNALS, Suggestions, mine
from clipcore.mining.propose import Proposer
from worker.context import JobContext
from worker.embed import Results, Vectors, vectors_of

BATCH = 2_000


def mine_data_set(context: JobContext, job: Job) -> Results:
    """Finds candidates of `request["data_set_id"]` with `request["model_id"]` and writes them as suggestions."""
    data_set_id, model_id = int(job.request["data_set_id"]), int(job.request["model_id"])
    with context.database.reading() as session:
        model = session.scalars(select(Model).where(Model.id == model_id)).one()
        learned = _proposer(session, data_set_id)
    vectors = vectors_of(context, data_set_id, model)
    context.check()
    found = _mine(context, vectors, data_set_id, learned)
    rows = iter(_rows(found, vectors))
    done = 0
    while batch := list(islice(rows, BATCH)):
        context.database_write(
            partial(add_suggestions, data_set_id=data_set_id, model_id=model_id, suggestions=batch)
        )
        done += len(batch)
        context.progress(done, len(found), "suggestions")
        context.check()
    context.report(
        "log", {"text": f"{len(found)} suggestions; the proposal has seen {learned.num_verdicts} verdicts"}
    )
    return lambda session: retire_suggestions(session, data_set_id=data_set_id, keep_model_id=model_id)


def _mine(context: JobContext, vectors: Vectors, data_set_id: int, learned: Proposer) -> Suggestions:
    with context.database.reading() as session:
        pairs = session.execute(
            select(Pair.image_id, Pair.caption_id, Pair.split).where(Pair.data_set_id == data_set_id)
        ).all()
        hashes = {
            i: h
            for i, h in session.execute(
                select(Image.id, Image.sha256).where(Image.data_set_id == data_set_id)
            )
        }
        texts = {
            i: t
            for i, t in session.execute(
                select(Caption.id, Caption.text).where(Caption.data_set_id == data_set_id)
            )
        }
        decided = session.execute(
            select(CurrentVerdict.image_id, CurrentVerdict.caption_id).where(
                CurrentVerdict.data_set_id == data_set_id
            )
        ).all()
    image_at = {int(id_): place for place, id_ in enumerate(vectors.image_ids_I)}
    caption_at = {int(id_): place for place, id_ in enumerate(vectors.caption_ids_C)}
    return mine(
        vectors.image_ID,
        vectors.caption_CD,
        pairs=_places(pairs, image_at, caption_at),
        captions=[texts[int(id_)] for id_ in vectors.caption_ids_C],
        image_hashes=[hashes[int(id_)] for id_ in vectors.image_ids_I],
        image_split=_splits({p.image_id: p.split for p in pairs}, vectors.image_ids_I),
        caption_split=_splits({p.caption_id: p.split for p in pairs}, vectors.caption_ids_C),
        decided=_places(decided, image_at, caption_at),
        proposer=learned,
        progress=lambda done, total: context.progress(done, total, "blocks"),
    )


def _places(
    rows: Sequence[Any], image_at: dict[int, int], caption_at: dict[int, int]
) -> list[tuple[int, int]]:
    known = [r for r in rows if r.image_id in image_at and r.caption_id in caption_at]
    return [(image_at[r.image_id], caption_at[r.caption_id]) for r in known]


def _splits(split_of: dict[int, str], ids: Any) -> list[str]:
    return [split_of.get(int(id_), "train") for id_ in ids]


def _proposer(session: Session, data_set_id: int) -> Proposer:
    """What the verdicts on earlier suggestions teach about the signals."""
    rows = session.execute(
        select(Suggestion.signals, CurrentVerdict.answer)
        .join(
            CurrentVerdict,
            (CurrentVerdict.image_id == Suggestion.image_id)
            & (CurrentVerdict.caption_id == Suggestion.caption_id),
        )
        .where(Suggestion.data_set_id == data_set_id, CurrentVerdict.answer.in_(("match", "no_match")))
        .order_by(Suggestion.id)
    ).all()
    known = [row for row in rows if all(name in row.signals for name in SIGNALS)]
    signals = np.array([[row.signals[name] for name in SIGNALS] for row in known]).reshape(-1, len(SIGNALS))
    return Proposer.fit(signals, np.array([row.answer == "match" for row in known], dtype=bool))


def _rows(found: Suggestions, vectors: Vectors) -> list[NewSuggestion]:
    return [
        NewSuggestion(
            image_id=int(vectors.image_ids_I[found.image[i]]),
            caption_id=int(vectors.caption_ids_C[found.caption[i]]),
            proposed="match" if found.probability[i] >= 0.5 else "no_match",
            probability=round(float(found.probability[i]), 4),
            score=round(float(found.score[i]), 4),
            impact=round(float(found.impact[i]), 5),
            group_key=found.group[i],
            signals={name: round(float(values[i]), 4) for name, values in found.signals.items()},
            reasons=found.reasons[i],
        )
        for i in range(len(found))
    ]
