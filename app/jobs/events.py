"""What jobs report, in the order of their ids: the page reads everything after the last id it has.

| kind | body |
|---|---|
| state | to, reason |
| step | points: list of [step, loss, learning rate, logit scale, pairs a second, parts of the loss where there are several]; loss, parts, lr, logit_scale, examples_per_s, memory_bytes, eta_s, epoch |
| evaluated | when: before, during or after; metrics; histograms; queries_key (before and after) |
| similarities | histograms |
| batch | image_ids, caption_ids, cosine, relations: list of {row, col, kind} |
| epoch | epoch, coverage |
| swept | mixes: list of {share, metrics}; recommended |
| saved | key |
| measured | memory_bytes, limit_bytes, step_s (None: memory ran out), fits |
| mined | suggestions, verdicts, false_negatives, collisions_per_epoch, quality |
| neighbours | key, model_id: what the next mining extends |
| log | text |
| kept | kept, by: whether a person keeps a run's weights |
| exported | key, name, num_bytes, pairs, verdicts, pairs_without_picture, format, snapshot |
| rejected | num, examples: list of sentences (an import's refused rows), report_key |
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.models import Event


def read_events(session: Session, job_id: int, *, after: int = 0, limit: int = 500) -> list[Event]:
    """At most `limit` events of the job with an id larger than `after`, in order."""
    page = select(Event).where(Event.job_id == job_id, Event.id > after).order_by(Event.id).limit(limit)
    return list(session.scalars(page))
