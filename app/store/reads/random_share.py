"""The share of false negatives among the suggestions, from a simple random sample of them.

Each suggestion has a fixed random number, `shuffle`, and the random tenth of the queue asks them in its order. All below
the first one that is still open are decided, whichever part of the queue asked them, so they are a simple random sample
of all suggestions: every one had the same chance to be in it, and the plain share is the inverse-probability estimate.
What a bulk accept settled was looked at by nobody and does not count: which slice that is has nothing to do with the random
numbers, so the others below the first open one are a simple random sample of what no bulk accept settled.
"""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.store.models import CurrentVerdict, Suggestion, Verdict
from app.store.reads.data_sets import IS_OPEN


@dataclass(frozen=True)
class RandomShare:
    """Of `num_judged` suggestions drawn at random `num_match` were false negatives ("can't tell" is none)."""

    num_judged: int
    num_match: int


def random_share(session: Session, data_set_id: int) -> RandomShare:
    """What the random sample says so far, over suggestions of all models that a person decided one by one."""
    candidate = (Suggestion.image_id == CurrentVerdict.image_id) & (
        Suggestion.caption_id == CurrentVerdict.caption_id
    )
    first_open = session.scalar(
        select(func.min(Suggestion.shuffle)).where(Suggestion.data_set_id == data_set_id, IS_OPEN)
    )
    query = (
        select(CurrentVerdict.answer, func.count(func.distinct(CurrentVerdict.verdict_id)))
        .join(Suggestion, candidate)
        .join(Verdict, Verdict.id == CurrentVerdict.verdict_id)
        .where(Verdict.source != "bulk")
        .where(CurrentVerdict.data_set_id == data_set_id, Suggestion.proposed != "broken_pair")
        .where(Suggestion.shuffle < (2.0 if first_open is None else first_open))
        .group_by(CurrentVerdict.answer)
    )
    found = {answer: num for answer, num in session.execute(query)}
    return RandomShare(sum(found.values()), found.get("match", 0))
