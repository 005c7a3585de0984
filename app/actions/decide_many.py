"""One answer for many cards at once, as one step: the rows are saved with one `bulk_id` and taken back together."""

from collections.abc import Sequence
from uuid import UUID, uuid5

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from app.actions.decide import MAX_DECISIONS, Decision, decide
from app.counted import counted
from app.errors import NearmissError
from app.store.models import Answer, Pair
from app.store.reads.explore import Card


def decide_many(session: Session, *, cards: Sequence[Card], answer: Answer, person: str, bulk_id: str) -> int:
    """How many verdicts were saved. No on a pair of the data set means that the pair is broken.

    The UUIDs follow from `bulk_id`, so that a step that is sent again changes nothing. Near duplicates are not
    answered along: what was selected is what is decided. Raises NearmissError for `broken_pair` on no pair.
    """
    num = 0
    for start in range(0, len(cards), MAX_DECISIONS):
        some = cards[start : start + MAX_DECISIONS]
        both = {(card.image_id, card.caption_id) for card in some}
        own = select(Pair.image_id, Pair.caption_id).where(tuple_(Pair.image_id, Pair.caption_id).in_(both))
        pairs = {(row.image_id, row.caption_id) for row in session.execute(own)}
        if answer == "broken_pair" and both - pairs:
            raise NearmissError(
                f"{counted(len(both - pairs), 'of these is no pair', 'of these are no pairs')} of the data set, and only a pair can be broken;"
                " answer No instead"
            )
        decisions = [
            _decision(bulk_id, image, caption, answer, (image, caption) in pairs)
            for image, caption in sorted(both)
        ]
        decide(session, decisions=decisions, person=person, source="bulk", bulk_id=bulk_id)
        num += len(decisions)
    return num


def _decision(bulk_id: str, image_id: int, caption_id: int, answer: Answer, is_pair: bool) -> Decision:
    meant: Answer = "broken_pair" if is_pair and answer == "no_match" else answer
    return Decision(str(uuid5(UUID(bulk_id), f"{image_id} {caption_id}")), image_id, caption_id, meant)
