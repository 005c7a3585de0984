"""What jobs report, in the order of their ids: the page reads everything after the last id it has.

| kind | body |
|---|---|
| state | to, reason |
| step | points: list of [step, loss, learning rate]; loss, parts, logit_scale, examples_per_s, eta_s, epoch |
| evaluated | when: before, during or after; metrics |
| saved | key |
| mined | suggestions, verdicts, false_negatives, collisions_per_epoch, quality |
| neighbours | key, model_id: what the next mining extends |
| log | text |
| rejected | num, examples: list of sentences (an import's refused rows), report_key |
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.models import Event


def read_events(session: Session, job_id: int, *, after: int = 0, limit: int = 500) -> list[Event]:
    """At most `limit` events of the job with an id larger than `after`, in order."""
    page = select(Event).where(Event.job_id == job_id, Event.id > after).order_by(Event.id).limit(limit)
    return list(session.scalars(page))
