"""The standing verdicts as a file that `clipcore.PairLabels.from_file` reads."""

import json
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.models import Caption, CurrentVerdict, Image, Verdict


def export_verdicts(session: Session, *, data_set_id: int) -> Iterator[str]:
    """One JSON object a line: image_id and caption_id (the database's), verdict, confidence, and for people the
    image's key, the caption, who and when. Erased items are left out.
    """
    query = (
        select(CurrentVerdict, Verdict, Image.key, Caption.text)
        .join(Verdict, Verdict.id == CurrentVerdict.verdict_id)
        .join(Image, Image.id == CurrentVerdict.image_id)
        .join(Caption, Caption.id == CurrentVerdict.caption_id)
        .where(CurrentVerdict.data_set_id == data_set_id)
        .where(Image.erased_at.is_(None), Caption.erased_at.is_(None))
        .order_by(CurrentVerdict.image_id, CurrentVerdict.caption_id)
    )
    for current, verdict, key, caption in session.execute(query.execution_options(yield_per=1000)):
        line = {
            "image_id": str(current.image_id),
            "caption_id": str(current.caption_id),
            "verdict": current.answer,
            "confidence": verdict.confidence,
            "image": key,
            "caption": caption,
            "person": verdict.person,
            "time": verdict.created_at.isoformat(),
        }
        yield json.dumps(line, ensure_ascii=False) + "\n"
