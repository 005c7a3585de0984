"""Written negatives: captions that stand in no pair, each suggested as `no_match` of the one image it was written for."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.add_suggestions import NewSuggestion, add_suggestions
from app.store.insert import CHUNK, insert_missing
from app.store.models import Caption, Pair
from app.store.text import text_hash

PROBABILITY = 0.05  # that an edit by rule is still true of its image
IMPACT = 0.5  # below what the model already confuses


def add_written(
    session: Session, *, data_set_id: int, model_id: int, written: Sequence[tuple[int, str, str]]
) -> int:
    """Keeps (image id, text, reason) as captions with a suggestion each; how many stand open.

    A text that is a pair's caption is left out: it may be true of another image, and so of this one.
    """
    texts = {text_hash(text): text for _, text, _ in written}
    rows = [{"data_set_id": data_set_id, "sha256": h, "text": text} for h, text in texts.items()]
    insert_missing(session, Caption, rows, key=["data_set_id", "sha256"])
    ids: dict[str, int] = {}
    paired = select(Pair.id).where(Pair.caption_id == Caption.id).exists()
    for start in range(0, len(texts), CHUNK):
        query = select(Caption.sha256, Caption.id).where(
            Caption.data_set_id == data_set_id,
            Caption.sha256.in_(list(texts)[start : start + CHUNK]),
            Caption.erased_at.is_(None),
            ~paired,
        )
        ids |= {row.sha256: row.id for row in session.execute(query)}
    found = [
        NewSuggestion(
            image_id=image_id,
            caption_id=ids[text_hash(text)],
            proposed="no_match",
            probability=PROBABILITY,
            score=0.0,
            impact=IMPACT,
            reasons=[reason],
        )
        for image_id, text, reason in written
        if text_hash(text) in ids
    ]
    return add_suggestions(session, data_set_id=data_set_id, model_id=model_id, suggestions=found)
