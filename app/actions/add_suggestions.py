"""Write what mining found; candidates with a standing verdict do not come back to the queue."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.store.insert import CHUNK, insert
from app.store.models import Answer, CurrentVerdict, Suggestion

MAX_SUGGESTIONS = 5_000  # a transaction


@dataclass(frozen=True)
class NewSuggestion:
    """A candidate as mining proposes it; `probability` that the caption truly describes the image."""

    image_id: int
    caption_id: int
    proposed: Answer
    probability: float
    score: float
    impact: float
    group_key: str = ""
    signals: dict[str, float] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    ask_again: bool = False  # a standing verdict that the newer model disputes


def add_suggestions(
    session: Session, *, data_set_id: int, model_id: int, suggestions: Sequence[NewSuggestion]
) -> int:
    """Add or renew at most 5,000 suggestions of one model; how many stand open."""
    if len(suggestions) > MAX_SUGGESTIONS:
        raise NearmissError(f"{len(suggestions)} suggestions at once; add at most {MAX_SUGGESTIONS}")
    num_open = 0
    ordered = sorted(suggestions, key=lambda s: (s.image_id, s.caption_id))
    for start in range(0, len(ordered), CHUNK):
        chunk = ordered[start : start + CHUNK]
        decided = _decided(session, chunk)
        rows = [
            _row(s, data_set_id, model_id, (s.image_id, s.caption_id) in decided and not s.ask_again)
            for s in chunk
        ]
        num_open += sum(row["state"] == "open" for row in rows)
        statement = insert(session, Suggestion).values(rows)
        renewed = {name: statement.excluded[name] for name in rows[0] if name not in KEY}
        session.execute(statement.on_conflict_do_update(index_elements=KEY, set_=renewed))
    return num_open


KEY = ["model_id", "image_id", "caption_id"]


def retire_suggestions(session: Session, *, data_set_id: int, keep_model_id: int) -> None:
    """Take the open suggestions of all other models out of the queue: call it once, after the new ones."""
    session.execute(
        update(Suggestion)
        .where(Suggestion.data_set_id == data_set_id, Suggestion.state == "open")
        .where(Suggestion.model_id != keep_model_id)
        .values(state="retired"),
        execution_options={"synchronize_session": False},
    )


def _decided(session: Session, chunk: Sequence[NewSuggestion]) -> set[tuple[int, int]]:
    both = tuple_(CurrentVerdict.image_id, CurrentVerdict.caption_id)
    found = select(CurrentVerdict.image_id, CurrentVerdict.caption_id)
    rows = session.execute(found.where(both.in_([(s.image_id, s.caption_id) for s in chunk])))
    return {(row.image_id, row.caption_id) for row in rows}


def _row(s: NewSuggestion, data_set_id: int, model_id: int, is_decided: bool) -> dict[str, Any]:
    return {
        "data_set_id": data_set_id,
        "model_id": model_id,
        "image_id": s.image_id,
        "caption_id": s.caption_id,
        "proposed": s.proposed,
        "probability": s.probability,
        "score": s.score,
        "impact": s.impact,
        "uncertainty": 1.0 - abs(2.0 * s.probability - 1.0),
        "shuffle": _fixed_random(s.image_id, s.caption_id),
        "group_key": s.group_key,
        "signals": s.signals,
        "reasons": s.reasons,
        "state": "decided" if is_decided else "open",
    }


def _fixed_random(image_id: int, caption_id: int) -> float:
    """The same number in 0 … 1 for the same candidate, so that a renewed suggestion keeps its place."""
    digest = hashlib.blake2b(f"{image_id} {caption_id}".encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 256**7
